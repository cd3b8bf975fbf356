/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks_group.c - several accesses close together, through one register, fixed, or on the stack.
 *
 * Translators check such addresses together.  What they may get wrong: where a page
 * ends between them, which of them is aligned or writes, and that a register moved.
 */
#include <string.h>
#include "cpu/tests/blocks_gen.h"

struct group_insn {
	uint8_t bytes[4], n; /* before ModRM */
	uint8_t digit;	     /* of ModRM's reg field; REG: any */
};

enum { REG = 0xff };

static const struct group_insn insns[] = {
	{{0x8b}, 1, REG},	      /* MOV */
	{{0x89}, 1, REG},	      /* MOV to memory */
	{{0x88}, 1, REG},	      /* the same of a byte */
	{{0x01}, 1, REG},	      /* ADD to memory */
	{{0x3b}, 1, REG},	      /* CMP */
	{{0x0f, 0x10}, 2, REG},	      /* MOVUPS */
	{{0x0f, 0x11}, 2, REG},	      /* to memory */
	{{0x0f, 0x28}, 2, REG},	      /* MOVAPS */
	{{0x0f, 0x28}, 2, REG},	      /* often */
	{{0x0f, 0x29}, 2, REG},	      /* to memory */
	{{0x66, 0x0f, 0xfe}, 3, REG}, /* PADDD: aligned, too */
	{{0xf2, 0x0f, 0x58}, 3, REG}, /* ADDSD */
	{{0xc5, 0xfd, 0x6f}, 3, REG}, /* VMOVDQA of 32 bytes */
	{{0xc5, 0xfe, 0x7f}, 3, REG}, /* VMOVDQU of 32 bytes to memory */
	{{0x0f, 0x6f}, 2, REG},	      /* MOVQ to MMX */
	{{0x0f, 0x7f}, 2, REG},	      /* from MMX */
	{{0xdd}, 1, 0},		      /* FLD m64 */
	{{0xdd}, 1, 3},		      /* FSTP m64 */
	{{0xdb}, 1, 5},		      /* FLD m80 */
	{{0xdb}, 1, 7},		      /* FSTP m80 */
	{{0xd9}, 1, 7},		      /* FNSTCW */
	{{0xd9}, 1, 5},		      /* FLDCW */
	{{0x0f, 0xae}, 2, 2},	      /* LDMXCSR */
	{{0x0f, 0xae}, 2, 3},	      /* STMXCSR */
};

/* @off from the register, which is RBX, RSI or RDI: no SIB and no REX; or at @fixed. */
static void put_access(struct gen *g, unsigned base, int32_t off, uint64_t fixed)
{
	static const uint8_t regs[] = {GPR_RAX, GPR_RDX};
	const struct group_insn *i = &insns[rng_below(&g->r, ARRAY_SIZE(insns))];
	unsigned reg = i->digit == REG ? regs[rng_below(&g->r, 2)] : i->digit;
	uint8_t b[INSN_MAX_LEN];
	unsigned n = i->n;

	memcpy(b, i->bytes, n);
	b[n] = (uint8_t)(reg << 3 | (fixed ? 5 : 0x80 | base));
	memcpy(b + n + 1, &off, 4);
	if (fixed)
		gen_put_rip(g, b, n + 1, fixed + (uint64_t)(int64_t)off, NULL, 0);
	else
		gen_put(g, b, n + 5);
	if (i->digit == REG)
		gen_forget(g, (uint16_t)(1u << reg));
}

static uint64_t group_start(struct gen *g)
{
	uint32_t page = BLK_DATA + 0x1000 * (1 + rng_below(&g->r, BLK_DATA_PAGES - 1));
	uint64_t at = gen_lin(g, page);

	if (rng_chance(&g->r, 60))
		at += 0x400 + rng_below(&g->r, 0x400);
	else
		at += rng_below(&g->r, 128) - 64;
	if (rng_chance(&g->r, 85))
		at &= ~31ULL;
	return at;
}

void flow_group(struct gen *g)
{
	static const uint8_t bases[] = {GPR_RBX, GPR_RSI, GPR_RDI};
	unsigned base = bases[rng_below(&g->r, 3)], left = 2 + rng_below(&g->r, 6);
	unsigned step = rng_chance(&g->r, 80) ? 16 : 1;
	uint64_t start = group_start(g), fixed = rng_chance(&g->r, 25) ? start : 0;

	if (g->left < left + 4)
		return;
	if (!fixed)
		gen_set(g, base, start);
	while (left--) {
		uint32_t jump = 0;

		if (rng_chance(&g->r, 12) && GEN_PUT(g, 0x79, 0)) /* JNS over the access */
			jump = g->at;
		put_access(g, base, (int32_t)(step * rng_below(&g->r, 96 / step)) - 48, fixed);
		if (jump)
			g->buf[jump - 1] = (uint8_t)(g->at - jump);
		if (rng_chance(&g->r, 12)) /* ADD base, imm8 */
			GEN_PUT(g, 0x48, 0x83, (uint8_t)(0xc0 | base),
				(uint8_t)(16 * rng_below(&g->r, 4)));
	}
	if (!fixed)
		gen_forget(g, (uint16_t)(1u << base));
}

static void put_on_stack(struct gen *g)
{
	static const uint8_t saved[] = {GPR_RAX, GPR_RDX, GPR_RBX, GPR_RSI, GPR_RDI};
	uint8_t reg = saved[rng_below(&g->r, ARRAY_SIZE(saved))];
	uint8_t off = (uint8_t)(8 * rng_below(&g->r, 8)), sib = 0x24; /* [RSP + off] */

	switch (rng_below(&g->r, 13)) {
	case 12: GEN_PUT(g, 0xe8, 0, 0, 0, 0); break; /* CALL the next instruction */
	case 0:
	case 1:
	case 2:
	case 3: GEN_PUT(g, 0x50 | reg); break;
	case 4:
	case 5:
		GEN_PUT(g, 0x58 | reg);
		gen_forget(g, (uint16_t)(1u << reg));
		break;
	case 6: GEN_PUT(g, 0x6a, off); break;
	case 7: GEN_PUT(g, 0xff, 0x74, sib, off); break; /* PUSH [RSP + off] */
	case 8: GEN_PUT(g, 0x48, 0x83, rng_chance(&g->r, 50) ? 0xec : 0xc4, off); break;
	case 9:
	case 10: GEN_PUT(g, 0x48, 0x89, (uint8_t)(0x44 | reg << 3), sib, off); break;
	default:
		GEN_PUT(g, 0x48, 0x8b, (uint8_t)(0x44 | reg << 3), sib, off);
		gen_forget(g, (uint16_t)(1u << reg));
	}
}

void flow_frame(struct gen *g)
{
	unsigned left = 3 + rng_below(&g->r, 8);
	uint64_t top = gen_lin(g, BLK_STACK + 0x1000);

	if (g->in_sub || g->left < left + 6)
		return;
	if (rng_chance(&g->r, 60))
		top += 8 * rng_below(&g->r, 24) - 64;
	else
		top -= 0x400 + rng_below(&g->r, 0x80);
	gen_set(g, GPR_RSP, top);
	while (left--) {
		uint32_t jump = 0;

		if (rng_chance(&g->r, 8) && GEN_PUT(g, 0x79, 0)) /* JNS over it */
			jump = g->at;
		put_on_stack(g);
		if (jump)
			g->buf[jump - 1] = (uint8_t)(g->at - jump);
		if (rng_chance(&g->r, 15))
			gen_plain(g);
	}
	gen_set(g, GPR_RSP, gen_lin(g, BLK_STACK + 0x800) + 8 * rng_below(&g->r, 64));
}
