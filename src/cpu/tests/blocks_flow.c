/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks_flow.c - jumps, loops, calls and traps in random blocks.
 *
 * Jumps go forward; loops count in memory, where little else writes, so that nearly
 * every block ends.
 */
#include <string.h>
#include "cpu/tests/blocks_gen.h"

enum { MAX_REPAIRS = 5 };

/* Flags from something, so that the branch has what to fuse with. */
static void put_compare(struct gen *g)
{
	struct diff_rng *r = &g->r;
	uint8_t modrm = (uint8_t)(0xc0 | rng_below(r, 64));
	uint8_t rex = (uint8_t)(0x40 | (rng_next(r) & 13));
	uint8_t b[8] = {rex, 0, modrm};

	switch (rng_below(r, 7)) {
	case 0: b[1] = (uint8_t)(0x38 + rng_below(r, 4)), gen_put(g, b, 3); break; /* CMP */
	case 1: b[1] = (uint8_t)(0x84 + rng_below(r, 2)), gen_put(g, b, 3); break; /* TEST */
	case 2:									   /* CMP r, imm8 */
		b[1] = 0x83, b[2] |= 0x38, b[3] = (uint8_t)rng_integer(r);
		gen_put(g, b, 4);
		break;
	case 3: /* DEC, INC */
		b[1] = 0xff, b[2] = (uint8_t)((modrm & 0xc7) | rng_below(r, 2) << 3);
		if ((b[2] & 7) != GPR_RSP || rex & 1) {
			gen_put(g, b, 3);
			gen_forget(g, (uint16_t)(1u << ((b[2] & 7) | (rex & 1) << 3)));
		}
		break;
	case 4: { /* SUB, AND of EAX */
		static const uint8_t ops[] = {0x2d, 0x25, 0x05, 0x35};
		uint32_t v = (uint32_t)rng_integer(r);

		b[0] = ops[rng_below(r, 4)];
		memcpy(b + 1, &v, 4);
		gen_put(g, b, 5);
		gen_forget(g, 1 << GPR_RAX);
		break;
	}
	default: break; /* whatever flags there are */
	}
}

void flow_jcc(struct gen *g)
{
	uint8_t cc = (uint8_t)rng_below(&g->r, 16);
	unsigned skip = 2 + rng_below(&g->r, 4);

	put_compare(g);
	if (rng_chance(&g->r, 60)) {
		if (GEN_PUT(g, (uint8_t)(0x70 | cc), 0))
			gen_refer(g, 1, skip);
	} else if (GEN_PUT(g, 0x0f, (uint8_t)(0x80 | cc), 0, 0, 0, 0)) {
		gen_refer(g, 4, skip);
	}
}

static void jump_indirect(struct gen *g, unsigned skip)
{
	if (g->left < 4)
		return;
	if (rng_chance(&g->r, 50)) { /* LEA r11; JMP r11 */
		GEN_PUT(g, 0x4c, 0x8d, 0x1d, 0, 0, 0, 0);
		gen_refer(g, 4, skip);
		gen_forget(g, 1 << GPR_R11);
		GEN_PUT(g, 0x41, 0xff, 0xe3);
		return;
	}
	GEN_PUT(g, 0x48, 0x8d, 0x05, 0, 0, 0, 0); /* LEA RAX; PUSH RAX; RET */
	gen_refer(g, 4, skip);
	gen_forget(g, 1 << GPR_RAX);
	GEN_PUT(g, 0x50);
	GEN_PUT(g, 0xc3);
}

/* IRETQ to a later statement, same privilege. */
static void jump_iret(struct gen *g, unsigned skip)
{
	bool user = g->c->user;

	if (g->left < 8)
		return;
	GEN_PUT(g, 0x6a, user ? BLK_SEL_DS3 : BLK_SEL_DS0);
	GEN_PUT(g, 0x54);
	GEN_PUT(g, 0x9c);
	GEN_PUT(g, 0x6a, user ? BLK_SEL_CS3 : BLK_SEL_CS0);
	GEN_PUT(g, 0x48, 0x8d, 0x05, 0, 0, 0, 0);
	gen_refer(g, 4, skip);
	gen_forget(g, 1 << GPR_RAX);
	GEN_PUT(g, 0x50);
	GEN_PUT(g, 0x48, 0xcf);
}

void flow_jump(struct gen *g)
{
	unsigned skip = 2 + rng_below(&g->r, 3);

	switch (rng_below(&g->r, 6)) {
	case 0:
		if (GEN_PUT(g, 0xeb, 0))
			gen_refer(g, 1, skip);
		break;
	case 1:
		if (GEN_PUT(g, 0xe9, 0, 0, 0, 0))
			gen_refer(g, 4, skip);
		break;
	case 2: /* LOOPNE, LOOPE, LOOP, JRCXZ */
		if (GEN_PUT(g, (uint8_t)(0xe0 + rng_below(&g->r, 4)), 0)) {
			gen_refer(g, 1, skip);
			gen_forget(g, 1 << GPR_RCX);
		}
		break;
	case 3: jump_iret(g, skip); break;
	default: jump_indirect(g, skip);
	}
}

/* --- loops ------------------------------------------------------------------------------ */

/* Make registers that pointed into windows at @m do so again. */
static bool repair(struct gen *g, const struct gen_mark *m)
{
	uint16_t ptr = m->ptr & (uint16_t)~g->mark.ptr, small = m->small & (uint16_t)~g->mark.small;

	if (__builtin_popcount(ptr) + __builtin_popcount(small) > MAX_REPAIRS)
		return false;
	for (unsigned n = 0; n < 16; n++) {
		if (ptr >> n & 1) {
			gen_set(g, n,
				gen_lin(g, n == GPR_RSP ? BLK_STACK + 0x800 : BLK_DATA + 0x800) +
					16 * rng_below(&g->r, 0x40));
			g->mark.ptr |= (uint16_t)(1u << n);
		}
		if (small >> n & 1)
			gen_set_small(g, n, rng_below(&g->r, 32));
	}
	return true;
}

/* Back to the statement at @to while the counter in memory lasts. */
static void loop_in_memory(struct gen *g, uint32_t to, uint64_t counter)
{
	static const uint8_t op[] = {0x83, 0x2d}; /* SUB dword, imm8 */
	const uint8_t one = 1;
	int32_t rel;

	if (!gen_put_rip(g, op, 2, counter, &one, 1))
		return;
	rel = (int32_t)(to - (g->at + 2));
	if (rel >= -128 && rng_chance(&g->r, 80)) {
		GEN_PUT(g, 0x7f, (uint8_t)rel);
		return;
	}
	rel -= 4;
	GEN_PUT(g, 0x0f, 0x8f, (uint8_t)rel, (uint8_t)(rel >> 8), (uint8_t)(rel >> 16),
		(uint8_t)(rel >> 24));
}

/* MOV ECX, n; ADD or the like; LOOP or DEC/JNZ. */
static void loop_tight(struct gen *g)
{
	uint32_t top;

	gen_set_small(g, GPR_RCX, 1 + rng_below(&g->r, 20));
	top = g->at;
	GEN_PUT(g, 0x48, (uint8_t)(0x01 + 8 * rng_below(&g->r, 8)), 0xd0); /* op RAX, RDX */
	gen_forget(g, 1 << GPR_RAX);
	if (rng_chance(&g->r, 50))
		GEN_PUT(g, 0x48, 0x83, 0xd2, 3); /* ADC RDX, 3 */
	gen_forget(g, 1 << GPR_RDX);
	if (rng_chance(&g->r, 40)) {
		GEN_PUT(g, 0xe2, (uint8_t)(top - (g->at + 2)));
		return;
	}
	GEN_PUT(g, 0xff, 0xc9);
	GEN_PUT(g, 0x75, (uint8_t)(top - (g->at + 2)));
}

void flow_loop(struct gen *g)
{
	static const uint8_t mov[] = {0xc7, 0x05};
	uint32_t count = 1 + rng_below(&g->r, rng_chance(&g->r, 20) ? 60 : 6);
	uint64_t counter = gen_lin(g, BLK_VARS + 4 * rng_below(&g->r, 64));
	uint32_t to = g->at;
	struct gen_mark m;

	if (g->left < 8)
		return;
	if (rng_chance(&g->r, 25)) {
		loop_tight(g);
		return;
	}
	if (!gen_put_rip(g, mov, 2, counter, &count, 4))
		return;
	to = g->at;
	m = g->mark;
	for (unsigned n = 1 + rng_below(&g->r, 5); n && g->left > 4; n--) {
		gen_statement(g);
		if (rng_chance(&g->r, 20))
			flow_jcc(g);
		else if (rng_chance(&g->r, 15))
			sys_smc(g);
		else if (!g->c->user && rng_chance(&g->r, 10))
			sys_paging(g);
		else if (rng_chance(&g->r, 10))
			flow_call(g);
		else
			gen_plain(g);
	}
	gen_statement(g);
	if (repair(g, &m))
		loop_in_memory(g, to, counter);
}

/* --- calls and traps ------------------------------------------------------------------------- */

void flow_call(struct gen *g)
{
	static const uint8_t direct[] = {0xe8}, indirect[] = {0xff, 0x15};
	unsigned n = rng_below(&g->r, g->nsubs);
	uint64_t to = gen_lin(g, BLK_SUBS + g->sub_at[n]);

	if (g->in_sub || g->left < 3)
		return;
	switch (rng_below(&g->r, 4)) {
	case 0:
		gen_put_rip(g, indirect, 2, gen_lin(g, BLK_VARS + BLK_TABLE + n * 8), NULL, 0);
		break;
	case 1:
		gen_set(g, GPR_R10, to);
		GEN_PUT(g, 0x41, 0xff, 0xd2);
		break;
	default: gen_put_rip(g, direct, 1, to, NULL, 0);
	}
	gen_forget(g, g->sub_clobbers[n]);
}

void flow_trap(struct gen *g)
{
	switch (rng_below(&g->r, 6)) {
	case 0:
	case 1: GEN_PUT(g, 0xcc); break;
	case 2: GEN_PUT(g, 0xcd, BLK_IRQ); break;
	case 3: GEN_PUT(g, 0xcd, (uint8_t)rng_next(&g->r)); break;
	case 4:
		if (!g->c->user)
			break;
		GEN_PUT(g, 0x0f, 0x05); /* SYSCALL */
		gen_forget(g, 1 << GPR_RCX | 1 << GPR_R11);
		break;
	default:
		if (rng_chance(&g->r, 30))
			GEN_PUT(g, 0x0f, 0x0b);
	}
}
