/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks_aim.c - where memory operands of random blocks go.
 *
 * Registers that are known to point into the middle of a window are used as they are.
 * Otherwise, and where the exact address matters, an instruction that sets the base
 * comes first.  How often an operand faults is a property of the case, so that some
 * blocks run to their end.
 */
#include <string.h>
#include "cpu/tests/blocks_gen.h"

enum { OP_LEA_RM = 0x8d, OP_MOV_IMM = 0xb8, REX_W = 0x48 };

static bool fits32(int64_t v)
{
	return v == (int32_t)v;
}

bool gen_put_rip(struct gen *g, const uint8_t *op, unsigned nop, uint64_t to, const void *imm,
		 unsigned nimm)
{
	uint8_t b[INSN_MAX_LEN];
	int64_t rel = (int64_t)(to - (gen_here(g) + nop + 4 + nimm));
	int32_t disp = (int32_t)rel;

	if (!fits32(rel) || nop + 4 + nimm > sizeof(b))
		return false;
	memcpy(b, op, nop);
	memcpy(b + nop, &disp, 4);
	if (nimm)
		memcpy(b + nop + 4, imm, nimm);
	return gen_put(g, b, nop + 4 + nimm);
}

static bool put_mov32(struct gen *g, unsigned reg, uint32_t v)
{
	uint8_t b[6];
	unsigned n = 0;

	if (reg >= 8)
		b[n++] = 0x41;
	b[n++] = (uint8_t)(OP_MOV_IMM | (reg & 7));
	memcpy(b + n, &v, 4);
	return gen_put(g, b, n + 4);
}

static bool put_mov64(struct gen *g, unsigned reg, uint64_t v)
{
	uint8_t b[10] = {(uint8_t)(REX_W | (reg >= 8)), (uint8_t)(OP_MOV_IMM | (reg & 7))};

	memcpy(b + 2, &v, 8);
	return gen_put(g, b, 10);
}

void gen_set(struct gen *g, unsigned reg, uint64_t value)
{
	const uint8_t lea[] = {(uint8_t)(REX_W | (reg >= 8 ? 4 : 0)), OP_LEA_RM,
			       (uint8_t)((reg & 7) << 3 | 5)};

	gen_forget(g, (uint16_t)(1u << reg));
	if (value <= 0xffffffff && rng_chance(&g->r, 50))
		put_mov32(g, reg, (uint32_t)value);
	else if (!rng_chance(&g->r, 70) || !gen_put_rip(g, lea, 3, value, NULL, 0))
		put_mov64(g, reg, value);
}

void gen_set_small(struct gen *g, unsigned reg, unsigned value)
{
	gen_forget(g, (uint16_t)(1u << reg));
	put_mov32(g, reg, value);
	g->mark.small |= (uint16_t)(1u << reg);
}

/* --- addresses ------------------------------------------------------------------------ */

static uint64_t faulting(struct gen *g, unsigned size, bool write)
{
	struct diff_rng *r = &g->r;

	switch (rng_below(r, write ? 9 : 8)) {
	case 0: return gen_lin(g, BLK_DATA + BLK_DATA_PAGES * 0x1000) - rng_below(r, size + 1);
	case 1: return gen_lin(g, BLK_DATA) - rng_below(r, size + 1);
	case 2: return gen_lin(g, BLK_OTHER) + rng_below(r, 0x800);
	case 3: return rng_integer(r) | 1ULL << 62;
	case 4: return rng_integer(r);
	case 5: return gen_lin(g, BLK_BIG + BLK_TEST_PAGES * 0x1000) - rng_below(r, 64) + 16;
	case 6: return gen_lin(g, BLK_RO) - rng_below(r, size + 1);
	case 7: return gen_lin(g, BLK_DEMAND + 0x4000) - rng_below(r, size + 1);
	default: return gen_lin(g, BLK_RO) + rng_below(r, 0xf00);
	}
}

static uint32_t harmless(struct gen *g, unsigned size, bool write)
{
	struct diff_rng *r = &g->r;
	unsigned k = rng_below(r, 100);
	uint32_t big = BLK_BIG + blk_gpa(BLK_DATA) - BLK_TEST;

	size = MAX(size, 1u);
	if (k < 12) /* across pages */
		return BLK_DATA + 0x1000 * (1 + rng_below(r, BLK_DATA_PAGES - 1)) -
		       rng_below(r, size + 1);
	if (k < 20)
		return BLK_STACK + 0x200 + rng_below(r, 0xc00);
	if (k < 24)
		return BLK_DEMAND + rng_below(r, 0x3000);
	if (k < 28)
		return big + rng_below(r, 0x3000);
	if (k < 32 && !write)
		return (rng_below(r, 2) ? BLK_RO : BLK_CODE) + rng_below(r, 0xc00);
	return BLK_DATA + rng_below(r, BLK_DATA_PAGES * 0x1000 - 0x800);
}

uint64_t gen_target(struct gen *g, unsigned size, bool align, bool write)
{
	uint64_t to;

	if (rng_chance(&g->r, g->wild))
		to = faulting(g, size, write);
	else
		to = gen_lin(g, harmless(g, size, write));
	if (align && rng_chance(&g->r, 97))
		to &= ~63ULL;
	else if (rng_chance(&g->r, 40))
		to &= ~7ULL;
	return to;
}

/* --- operands ------------------------------------------------------------------------- */

static unsigned operand_size(const struct insn *i)
{
	switch (i->op) {
	case OP_FXSAVE:
	case OP_FXRSTOR: return 512;
	case OP_XSAVE:
	case OP_XSAVEC:
	case OP_XSAVEOPT:
	case OP_XRSTOR: return 1024;
	default: return i->msize ? i->msize : i->opsize;
	}
}

static void patch32(struct diff_drawn *w, uint64_t disp)
{
	uint32_t v = (uint32_t)disp;

	memcpy(w->bytes + w->disp_at, &v, 4);
}

static uint64_t segment_base(const struct gen *g, const struct insn *i)
{
	return i->seg == SEG_FS ? g->c->in[0].fsbase : i->seg == SEG_GS ? g->c->in[0].gsbase : 0;
}

static bool aim_absolute(struct gen *g, struct diff_drawn *w, uint64_t ea)
{
	const struct insn *i = &w->insn;

	if (i->map == 0 && (i->opcode & 0xfc) == 0xa0 && i->op == OP_MOV) { /* moffs */
		memcpy(w->bytes + w->len - i->adsize, &ea, i->adsize);
		return true;
	}
	if (!w->disp_at)
		return false;
	if (i->flags & INSN_RIPREL)
		ea -= gen_here(g) + w->len;
	if (!fits32((int64_t)ea))
		return false;
	patch32(w, ea);
	return true;
}

/* Gathers: an index vector of small numbers. */
static void small_vector(struct gen *g, unsigned v, bool wide)
{
	/* VPSRLD or VPSRLQ of ymm by imm8: VEX.NDD.256.66.0F 72/73 /2 */
	uint8_t b[] = {0xc4,
		       (uint8_t)(0xe1 ^ (v >= 8 ? 0x20 : 0)),
		       (uint8_t)(0x05 | (~v & 15) << 3),
		       wide ? 0x73 : 0x72,
		       (uint8_t)(0xd0 | (v & 7)),
		       wide ? 56 : 25};

	gen_put(g, b, sizeof(b));
}

/* The index register's part of the address, after making it one that is known. */
static bool aim_index(struct gen *g, const struct insn *i, bool align, uint64_t *part)
{
	unsigned v = align ? 64 * rng_below(&g->r, 2) : rng_below(&g->r, 32);

	*part = 0;
	if (i->index == INSN_NOREG)
		return true;
	if (i->flags & INSN_VSIB) {
		if (rng_chance(&g->r, 90))
			small_vector(g, i->index, i->opcode & 1);
		return true;
	}
	if (i->index == i->base)
		return !align;
	gen_set_small(g, i->index, v);
	if (v >= 32)
		gen_forget(g, (uint16_t)(1u << i->index));
	*part = (uint64_t)v << i->scale;
	return true;
}

/* Is the operand in a window as registers are? */
static bool is_near(struct gen *g, struct diff_drawn *w, bool exact)
{
	const struct insn *i = &w->insn;
	bool index_ok = i->index == INSN_NOREG ||
			(!(i->flags & INSN_VSIB) && g->mark.small >> i->index & 1);

	if (i->base == INSN_NOREG || !(g->mark.ptr >> i->base & 1) || !index_ok || i->seg >= SEG_FS)
		return false;
	if (exact || (i->base != GPR_RSP && rng_chance(&g->r, g->wild + 20)))
		return false;
	if (w->disp_at)
		patch32(w, (uint64_t)((int64_t)rng_below(&g->r, 0x300) - 0x180));
	return true;
}

bool gen_aim(struct gen *g, struct diff_drawn *w)
{
	const struct insn *i = &w->insn;
	unsigned size = operand_size(i);
	bool align = i->flags & INSN_ALIGN || size >= 512, write = i->flags & INSN_MEM_W;
	uint64_t to, part = 0, value;

	if (is_near(g, w, align))
		return true;
	if (i->base == GPR_RSP || i->index == GPR_RSP || (i->adsize == 4 && !g->c->user_base))
		return rng_chance(&g->r, g->wild / 4);
	to = gen_target(g, size, align, write) - segment_base(g, i);
	if (i->base == INSN_NOREG && (i->index == INSN_NOREG || i->flags & INSN_VSIB)) {
		if (!aim_index(g, i, align, &part))
			return false;
		return aim_absolute(g, w, to);
	}
	if (i->base == INSN_NOREG) {
		gen_set(g, i->index, (to - (uint64_t)i->disp) >> i->scale);
		return !align || !(i->disp & 63) || rng_chance(&g->r, 10);
	}
	if (w->disp_at && rng_chance(&g->r, 90)) {
		patch32(w, rng_below(&g->r, 0x400));
		if (x86_decode(w->bytes, w->len, MODE_64, &w->insn) <= 0)
			return false;
	}
	if (!aim_index(g, i, align, &part))
		return false;
	value = to - (uint64_t)i->disp - part;
	if (i->index == i->base && !(i->flags & INSN_VSIB))
		value = (to - (uint64_t)i->disp) / (1u + (1u << i->scale));
	gen_set(g, i->base, value);
	if (i->seg < SEG_FS && to - gen_lin(g, BLK_DATA) - 0x200 < 0x3c00 && part + 512 < 1024)
		g->mark.ptr |= (uint16_t)(1u << i->base);
	return true;
}
