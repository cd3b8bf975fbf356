/* SPDX-License-Identifier: Apache-2.0 */
/*
 * look.h - what translated code looks like, for a person: dumps and perf's map.
 *
 * All of it is text made of addresses and instructions; the guest's bytes reach it only
 * through the disassembler.  Where nobody asked, it costs one test a translated block.
 */
#pragma once

#include <stdio.h>
#include "cpu/dbt/lower.h"

/*
 * The block of @l was translated from the code @at: dump it and name it, as asked for.
 * Locked.
 */
void dbt_look(struct lowering *l, const struct code_at *at);
/* @b was copied from block @from (reuse.c): the same, without what only lowering knows. */
void dbt_look_copy(struct dbt *d, const struct vcpu *c, const struct dbt_block *b,
		   const struct dbt_block *from, const struct code_at *at);
/* The code that all blocks share, for perf. */
void dbt_look_glue(struct dbt *d);

/* dump.c: parts of a dump.  @code: the block's bytes. */
void dump_ops(FILE *f, uint64_t rip, const uint8_t *code, size_t len);
void dump_ir(FILE *f, const struct lowering *l);
/*
 * dump_asm.c: the host code of @b.  @l: how it was lowered, or NULL if that is past;
 * @code: the guest's, or NULL.
 */
void dump_asm(FILE *f, const struct dbt *d, const struct dbt_block *b, const struct lowering *l,
	      const uint8_t *code);
/* "cmp rdi, 5" whose flags are the guest's, or "at home". */
const char *dump_recipe(char buf[48], const struct flags_recipe *r);
const char *dump_reg(unsigned reg, unsigned size);
