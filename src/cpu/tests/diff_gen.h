/* SPDX-License-Identifier: Apache-2.0 */
/* diff_gen.h - what diff_gen.c (encodings) and diff_operands.c (operands) share. */
#pragma once

#include "cpu/tests/diff.h"

enum tmpl_modrm {
	TM_NONE,  /* no ModRM byte */
	TM_MEM,	  /* memory, reg as given or random */
	TM_REG,	  /* register, reg as given or random, rm random */
	TM_FIXED, /* the whole byte is given */
};

struct tmpl { /* an encoding; the rest is filled in at random */
	uint16_t op;
	uint8_t vex, map, pp, opcode;
	uint8_t kind;  /* enum tmpl_modrm */
	uint8_t modrm; /* reg field (in place), or all of it */
};

/* Bytes of an encoding under construction. */
struct enc {
	uint8_t b[32];
	unsigned n;
	unsigned disp_at; /* of a displacement that may be patched; 0: none */
	bool ad16;	  /* 16-bit addressing */
};

/* Give registers and memory values that make sense for @i, whose bytes are c->code. */
void diff_operands(struct diff_rng *r, struct diff_case *c, const struct insn *i, unsigned disp_at);
