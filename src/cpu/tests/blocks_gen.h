/* SPDX-License-Identifier: Apache-2.0 */
/* blocks_gen.h - what blocks_gen.c, blocks_aim.c and blocks_kinds.c share. */
#pragma once

#include "cpu/tests/blocks.h"

enum { GEN_MAX_FIXUPS = 12, GEN_MAX_SUBS = 3 };

struct gen_mark {	     /* what is known at a place */
	uint16_t ptr, small; /* registers that point into a window; that are below 32 */
};

struct gen_fixup {	/* a forward reference, resolved @skip statements later */
	uint32_t field; /* offset of the relative displacement */
	uint8_t size;	/* 0: free; 1, 4 */
	uint8_t skip;
	struct gen_mark mark;
};

struct gen {
	struct diff_rng r;
	const struct diff_gen *d;
	const struct blk_options *o;
	struct blk_case *c;
	uint8_t *buf;	  /* window that is written: @c's code, or subroutines */
	uint32_t win, at; /* its offset (BLK_CODE or BLK_SUBS), and where in it */
	uint32_t limit;	  /* where it ends */
	bool listed;	  /* instructions become items of the case */
	unsigned left;	  /* instructions that may still come */
	unsigned wild;	  /* percent of operands that fault */
	bool in_sub;
	uint16_t clobbered;
	struct gen_mark mark;
	struct gen_mark stmt_mark[BLK_MAX_ITEMS]; /* statements so far, to loop back to */
	uint32_t stmt_at[BLK_MAX_ITEMS];
	unsigned nstmts;
	struct gen_fixup fix[GEN_MAX_FIXUPS];
	uint32_t sub_at[GEN_MAX_SUBS]; /* offsets in BLK_SUBS */
	uint16_t sub_clobbers[GEN_MAX_SUBS];
	unsigned nsubs;
	struct gen_site {    /* bytes of code that may be overwritten */
		uint32_t at; /* window offset */
		uint8_t form;
	} site[8], sub_site[GEN_MAX_SUBS];
	unsigned nsites, nsub_sites;
};

/* Linear address of window offset @off, and of the next byte to be written. */
static inline uint64_t gen_lin(const struct gen *g, uint32_t off)
{
	return blk_base(g->c) + off;
}
static inline uint64_t gen_here(const struct gen *g)
{
	return gen_lin(g, g->win + g->at);
}

/* --- blocks_gen.c ------------------------------------------------------------------- */

/* Append one instruction.  False: no room (nothing was written). */
bool gen_put(struct gen *g, const uint8_t *bytes, unsigned len);
/* The same of up to 15 bytes. */
#define GEN_PUT(g, ...) \
	gen_put(g, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
/* The relative displacement in the last @size bytes leads behind @skip statements. */
void gen_refer(struct gen *g, unsigned size, unsigned skip);
/* A new statement begins: references may lead here. */
void gen_statement(struct gen *g);
/* A register's content is not what it was. */
void gen_forget(struct gen *g, uint16_t regs);
/*
 * Draw one instruction of group @group of diff_rules.c, with all of @flags (INSN_*), and
 * what it needs before it.
 */
void gen_draw(struct gen *g, unsigned group, uint32_t flags);

/* --- blocks_aim.c ---------------------------------------------------------------------- */

/* @reg = @value, by any of the ways there are. */
void gen_set(struct gen *g, unsigned reg, uint64_t value);
void gen_set_small(struct gen *g, unsigned reg, unsigned value);
/* An address for an operand of @size bytes. */
uint64_t gen_target(struct gen *g, unsigned size, bool align, bool write);
/*
 * Make the memory operand of @w hit something: sets registers before it and patches its
 * displacement.  False: draw another.
 */
bool gen_aim(struct gen *g, struct diff_drawn *w);
/* Put an instruction with a RIP-relative operand: opcode bytes, disp32 to @to, immediate. */
bool gen_put_rip(struct gen *g, const uint8_t *op, unsigned nop, uint64_t to, const void *imm,
		 unsigned nimm);

/* --- blocks_kinds.c ---------------------------------------------------------------------- */

/* Put something of a random kind. */
void gen_any(struct gen *g);
/* Straight-line code only, for bodies of loops and subroutines. */
void gen_plain(struct gen *g);

/* --- blocks_flow.c: one statement each --------------------------------------------------- */

void flow_jcc(struct gen *g);
void flow_jump(struct gen *g);
void flow_loop(struct gen *g);
void flow_call(struct gen *g);
void flow_trap(struct gen *g);
void flow_group(struct gen *g); /* blocks_group.c */
void flow_frame(struct gen *g); /* there, too */

/* --- blocks_sys.c: the same --------------------------------------------------------------- */

void sys_smc(struct gen *g);
void sys_paging(struct gen *g);
void sys_control(struct gen *g);
void sys_debug(struct gen *g);
void sys_flags(struct gen *g);
void sys_fpu(struct gen *g);
void sys_io(struct gen *g);
void sys_mmio(struct gen *g);
void sys_ident(struct gen *g);
void sys_segment(struct gen *g);
/* An instruction that can be overwritten; where. */
struct gen_site sys_put_site(struct gen *g);
