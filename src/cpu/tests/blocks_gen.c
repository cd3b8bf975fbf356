/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks_gen.c - programs of random instructions, and the registers they start with.
 *
 * A program is written statement by statement (blocks_kinds.c): an instruction with
 * what it needs before it, a jump, a loop, a store into code.  What registers hold is
 * followed only as far as it takes to keep memory operands in the windows.
 */
#include <string.h>
#include "cpu/tests/blocks_gen.h"

enum { HALT = 0xf4, SUB_ROOM = 0x180 };

/* --- writing ---------------------------------------------------------------------- */

bool gen_put(struct gen *g, const uint8_t *bytes, unsigned len)
{
	struct blk_case *c = g->c;

	if (!g->left || g->at + len > g->limit)
		return false;
	g->left--;
	if (g->listed && c->nitems < BLK_MAX_ITEMS)
		c->item[c->nitems++] = (struct blk_item){.at = g->win + g->at, .len = (uint8_t)len};
	memcpy(g->buf + g->at, bytes, len);
	g->at += len;
	return true;
}

void gen_refer(struct gen *g, unsigned size, unsigned skip)
{
	for (unsigned n = 0; n < GEN_MAX_FIXUPS; n++) {
		if (g->fix[n].size)
			continue;
		g->fix[n] = (struct gen_fixup){.field = g->at - size,
					       .size = (uint8_t)size,
					       .skip = (uint8_t)skip,
					       .mark = g->mark};
		return;
	}
}

static void resolve(struct gen *g, struct gen_fixup *f)
{
	int32_t rel = (int32_t)(g->at - f->field - f->size);

	if (f->size == 4 || rel < 128)
		memcpy(g->buf + f->field, &rel, f->size);
	f->size = 0;
	g->mark.ptr &= f->mark.ptr;
	g->mark.small &= f->mark.small;
}

void gen_statement(struct gen *g)
{
	for (unsigned n = 0; n < GEN_MAX_FIXUPS; n++) {
		struct gen_fixup *f = &g->fix[n];

		if (f->size && (!f->skip || !--f->skip))
			resolve(g, f);
	}
	if (g->nstmts == BLK_MAX_ITEMS)
		return;
	g->stmt_at[g->nstmts] = g->at;
	g->stmt_mark[g->nstmts++] = g->mark;
}

void gen_forget(struct gen *g, uint16_t regs)
{
	g->clobbered |= regs;
	g->mark.ptr &= (uint16_t)~regs;
	g->mark.small &= (uint16_t)~regs;
}

/* --- one drawn instruction --------------------------------------------------------------- */

/* Registers that @i may write: too many is harmless. */
static uint16_t writes(const struct insn *i)
{
	uint16_t rm = i->flags & INSN_MEM ? 0 : (uint16_t)(1u << (i->rm & 15));
	uint16_t reg = (uint16_t)(1u << (i->reg & 15)), vvvv = (uint16_t)(1u << (i->vvvv & 15));

	switch (i->op) {
	case OP_CMP:
	case OP_TEST:
	case OP_BT:
	case OP_NOP:
	case OP_PUSH: return 0;
	case OP_X87: return 1 << GPR_RAX;
	case OP_XCHG:
	case OP_XADD: return rm | reg;
	case OP_CMPXCHG: return rm | 1 << GPR_RAX;
	case OP_MUL:
	case OP_IMUL:
	case OP_DIV:
	case OP_IDIV:
	case OP_CMPXCHG8B:
	case OP_CMPXCHG16B:
	case OP_CWD:
	case OP_RDMSR: return 1 << GPR_RAX | 1 << GPR_RDX;
	case OP_CBW:
	case OP_LAHF:
	case OP_XLAT:
	case OP_LODS:
	case OP_IN: return 1 << GPR_RAX;
	case OP_LEAVE:
	case OP_ENTER: return 1 << GPR_RBP | 1 << GPR_RSP;
	case OP_MULX: return reg | vvvv;
	case OP_VEC:
		return (i->vk_reg == VK_GPR ? reg : 0) | (i->vk_rm == VK_GPR ? rm : 0) |
		       (i->map == 3 && (i->opcode & 0xfc) == 0x60 ? 1 << GPR_RCX : 0);
	default: break;
	}
	switch (i->form) {
	case FORM_RM:
	case FORM_RM_I:
	case FORM_RM_R:
	case FORM_RM_R_I: return rm;
	case FORM_R_RM:
	case FORM_R_RM_I:
	case FORM_R_V_RM:
	case FORM_R_RM_V: return reg;
	case FORM_V_RM: return vvvv;
	default: return 0;
	}
}

static void prepare_string(struct gen *g, const struct insn *i)
{
	bool from = i->op != OP_STOS && i->op != OP_SCAS && i->op != OP_INS;
	bool to = i->op != OP_LODS && i->op != OP_OUTS;
	bool all = rng_chance(&g->r, g->wild + 10);

	if (i->op == OP_XLAT) {
		if (!(g->mark.ptr >> GPR_RBX & 1))
			gen_set(g, GPR_RBX, gen_target(g, 256, false, false));
		return;
	}
	if (from && (all || !(g->mark.ptr >> GPR_RSI & 1)))
		gen_set(g, GPR_RSI, gen_target(g, i->opsize, false, false));
	if (to && (all || !(g->mark.ptr >> GPR_RDI & 1)))
		gen_set(g, GPR_RDI, gen_target(g, i->opsize, false, true));
	if (i->flags & (INSN_REP | INSN_REPNE) && (all || !(g->mark.small >> GPR_RCX & 1)))
		gen_set_small(g, GPR_RCX, rng_below(&g->r, 32));
	if (rng_chance(&g->r, 15))
		GEN_PUT(g, (uint8_t)(0xfc | rng_below(&g->r, 2))); /* CLD, STD */
}

/* What must be in registers for @i to do something sensible, most of the time. */
static void prepare(struct gen *g, const struct insn *i)
{
	bool sensible = !rng_chance(&g->r, 4 + g->wild / 2);

	if (i->form == FORM_STR)
		prepare_string(g, i);
	if (!sensible)
		return;
	switch (i->op) {
	case OP_DIV:
	case OP_IDIV:
		if (i->opsize == 1)
			gen_set_small(g, GPR_RAX, rng_below(&g->r, 0x200));
		else if (rng_chance(&g->r, 50))
			gen_set_small(g, GPR_RDX, rng_below(&g->r, 2));
		else
			GEN_PUT(g, 0x31, 0xd2);
		break;
	case OP_BT:
	case OP_BTS:
	case OP_BTR:
	case OP_BTC:
		if (i->flags & INSN_MEM && i->form == FORM_RM_R && i->reg != i->base &&
		    i->reg != i->index && i->reg != GPR_RSP)
			gen_set_small(g, i->reg, rng_below(&g->r, 0x300));
		break;
	case OP_MASKMOV:
		if (!(i->flags & INSN_MEM))
			gen_set(g, GPR_RDI, gen_target(g, i->msize, false, true));
		break;
	case OP_ENTER:
	case OP_LEAVE:
		gen_set(g, GPR_RBP, gen_lin(g, BLK_STACK + 0x400) + 8 * rng_below(&g->r, 0x180));
		break;
	case OP_XSAVE:
	case OP_XRSTOR:
	case OP_XSAVEOPT:
	case OP_XSAVEC:
		gen_set_small(g, GPR_RAX, rng_below(&g->r, 8));
		gen_set_small(g, GPR_RDX, 0);
		break;
	default: break;
	}
}

/* Does @i at CPL 0 most likely end all, so that it is to be rare? */
static bool is_fatal(const struct insn *i)
{
	switch (i->op) {
	case OP_LGDT:
	case OP_LIDT:
	case OP_LTR:
	case OP_LLDT:
	case OP_MOV_CR_R:
	case OP_MOV_DR_R:
	case OP_RDMSR:
	case OP_WRMSR:
	case OP_XSETBV:
	case OP_LMSW:
	case OP_HLT:
	case OP_MONITOR:
	case OP_MWAIT:
	case OP_SYSRET:
	case OP_XSAVES:
	case OP_XRSTORS:
	case OP_IRET:
	case OP_INVPCID:
	case OP_PUSH_S:
	case OP_POP_S:
	case OP_MOV_S_R:
	case OP_LFS:
	case OP_LGS:
	case OP_LSS: return true;
	default: return false;
	}
}

/* May @i be in a program, and often enough? */
static bool wanted(struct gen *g, const struct insn *i)
{
	const char *why;
	bool sp = writes(i) >> GPR_RSP & 1;

	if (i->flags & INSN_BRANCH && i->op != OP_IRET)
		return false;
	if (diff_group_of(i, &why) < 0)
		return false;
	if (is_fatal(i) && !rng_chance(&g->r, 5 + g->wild))
		return false;
	if (g->in_sub && (i->op == OP_PUSH || i->op == OP_POP || i->op == OP_PUSHF ||
			  i->op == OP_POPF || i->op == OP_ENTER || i->op == OP_LEAVE || sp))
		return false;
	return !sp || i->op == OP_ENTER || i->op == OP_LEAVE || rng_chance(&g->r, 4 + g->wild);
}

/* Does the architecture leave flags undefined that @i changes or keeps as it likes? */
static bool leaves_undefined(const struct insn *i)
{
	switch (i->op) {
	case OP_MUL:
	case OP_IMUL:
	case OP_IMUL2:
	case OP_DIV:
	case OP_IDIV:
	case OP_ROL:
	case OP_ROR:
	case OP_RCL:
	case OP_RCR:
	case OP_SHL:
	case OP_SHR:
	case OP_SAR:
	case OP_SHLD:
	case OP_SHRD:
	case OP_BT:
	case OP_BTS:
	case OP_BTR:
	case OP_BTC:
	case OP_BSF:
	case OP_BSR:
	case OP_LZCNT:
	case OP_TZCNT:
	case OP_ANDN:
	case OP_BEXTR:
	case OP_BLSI:
	case OP_BLSMSK:
	case OP_BLSR:
	case OP_BZHI: return true;
	default: return false;
	}
}

void gen_draw(struct gen *g, unsigned group, uint32_t flags)
{
	for (unsigned tries = 0; tries < (flags ? 400 : 60); tries++) {
		struct diff_drawn w;
		int len = diff_gen_draw(g->d, MODE_64, group, &g->r, &w);
		bool sp;

		if (len <= 0) {
			if (flags)
				continue;
			if (!diff_group_invalid(group) && rng_chance(&g->r, 97))
				continue;
			gen_put(g, w.bytes, w.len);
			return;
		}
		if ((w.insn.flags & flags) != flags || !wanted(g, &w.insn))
			continue;
		prepare(g, &w.insn);
		if (w.insn.flags & INSN_MEM && w.insn.op != OP_LEA && !gen_aim(g, &w))
			continue;
		gen_put(g, w.bytes, w.len);
		if (g->o->defined_flags && leaves_undefined(&w.insn)) {
			g->left++;
			GEN_PUT(g, BLK_DEFINE_FLAGS);
		}
		sp = writes(&w.insn) >> GPR_RSP & 1;
		gen_forget(g, writes(&w.insn));
		if (sp && rng_chance(&g->r, 90)) {
			gen_set(g, GPR_RSP,
				gen_lin(g, BLK_STACK + 0x800) + 8 * rng_below(&g->r, 64));
			g->mark.ptr |= 1 << GPR_RSP;
		}
		return;
	}
}

/* --- registers of a run ---------------------------------------------------------------------- */

static const struct gen_mark at_start = {
	.ptr = 1 << GPR_RBX | 1 << GPR_RBP | 1 << GPR_RSI | 1 << GPR_RDI | 1 << GPR_R8 |
	       1 << GPR_R12 | 1 << GPR_R13 | 1 << GPR_R14 | 1 << GPR_RSP,
	.small = 1 << GPR_RCX | 1 << GPR_R9,
};

static uint64_t run_flags(struct gen *g)
{
	struct diff_rng *r = &g->r;
	uint64_t v = FL_RES1 | (rng_next(r) & FL_STATUS);

	if (rng_chance(r, 90) && !g->c->irq)
		v |= FL_IF;
	if (rng_chance(r, 6))
		v |= FL_DF;
	if (rng_chance(r, 4))
		v |= FL_TF;
	if (rng_chance(r, g->c->am || g->c->smap ? 40 : 4))
		v |= FL_AC;
	if (rng_chance(r, 5))
		v |= FL_IOPL;
	if (rng_chance(r, 3))
		v |= rng_next(r) & (FL_ID | FL_RF | FL_NT);
	return v;
}

static void random_run(struct gen *g, struct blk_input *in)
{
	static const uint32_t budgets[] = {0, 1, 3, 10, 200};
	struct diff_rng *r = &g->r;

	for (unsigned n = 0; n < 16; n++) {
		in->gpr[n] = rng_integer(r);
		if (at_start.ptr >> n & 1)
			in->gpr[n] = gen_lin(g, BLK_DATA) + 0x400 + 64 * rng_below(r, 0xc0);
		if (at_start.small >> n & 1)
			in->gpr[n] = rng_below(r, 32);
	}
	in->gpr[GPR_RSP] = gen_lin(g, BLK_STACK) + 0x800 + 16 * rng_below(r, 0x80);
	if (rng_chance(r, 10))
		in->gpr[GPR_RSP] += rng_below(r, 16);
	in->rflags = run_flags(g);
	in->fsbase = gen_lin(g, BLK_DATA) + rng_below(r, 0x1000);
	in->gsbase = gen_lin(g, BLK_DATA) + 8 * rng_below(r, 0x200);
	in->budget = budgets[rng_below(r, ARRAY_SIZE(budgets))];
	in->restart = rng_chance(r, 70);
	rng_fpu_state(r, &in->fx);
	in->fx.fsw &= (uint16_t) ~(rng_chance(r, 90) ? 0x80ff : 0);
	in->fx.mxcsr_mask = 0xffff;
	for (unsigned n = 0; n < 16; n++)
		rng_vector(r, in->vec[n].b, 32);
}

static void random_case(struct gen *g)
{
	struct diff_rng *r = &g->r;
	struct blk_case *c = g->c;

	c->user = rng_chance(r, 55);
	c->user_base = c->user || rng_chance(r, 15);
	c->irq = rng_chance(r, 8);
	c->ts = rng_chance(r, 4);
	c->wp = rng_chance(r, 85);
	c->am = rng_chance(r, 8);
	c->smap = !c->user && !c->user_base && rng_chance(r, 20);
	c->pge = rng_chance(r, 60);
	c->pcid = !c->user && rng_chance(r, 15);
	c->dr7 = rng_chance(r, 3) ? 1 + rng_below(r, 15) : 0;
	c->dr_code = rng_chance(r, 40);
	c->nruns = 2 + rng_below(r, BLK_MAX_RUNS - 1);
	g->wild = (const unsigned[]){0, 0, 1, 2, 8}[rng_below(r, 5)];
	for (unsigned n = 0; n < c->nruns; n++)
		random_run(g, &c->in[n]);
	if (c->user_base && rng_chance(r, 60))
		for (unsigned n = 0; n < c->nruns; n++)
			c->in[n].place =
				(uint8_t)(rng_chance(r, 90) ? 1 + (c->number + n) % (BLK_PLACES - 1)
							    : 0);
	for (unsigned n = 1; n < c->nruns; n++) { /* aimed at by the program */
		c->in[n].fsbase = c->in[0].fsbase;
		c->in[n].gsbase = c->in[0].gsbase;
	}
}

/* --- programs ------------------------------------------------------------------------------------
 */

static void begin(struct gen *g, uint8_t *buf, uint32_t win, uint32_t at, unsigned left)
{
	g->buf = buf;
	g->win = win;
	g->at = at;
	g->limit = MIN(at + 0xc00u, 0x2000u - 0x40);
	g->left = left;
	g->nstmts = g->nsites = 0;
	g->clobbered = 0;
	memset(g->fix, 0, sizeof(g->fix));
}

/* Subroutines of one address space; the other has others at the same addresses. */
static void put_subs(struct gen *g, unsigned space)
{
	for (unsigned n = 0; n < g->nsubs; n++) {
		begin(g, g->c->subs[space], BLK_SUBS, g->sub_at[n], 3 + rng_below(&g->r, 6));
		g->limit = g->sub_at[n] + SUB_ROOM;
		g->in_sub = true;
		g->listed = space == 0;
		g->mark = (struct gen_mark){.ptr = 1 << GPR_RSP};
		if (space == 0 && rng_chance(&g->r, 60))
			g->sub_site[g->nsub_sites++] = sys_put_site(g);
		for (unsigned k = 2 + rng_below(&g->r, 4); k > 0; k--) {
			gen_statement(g);
			gen_plain(g);
		}
		g->limit += 16;
		g->left = 1;
		if (rng_chance(&g->r, 85))
			GEN_PUT(g, 0xc3);
		else
			GEN_PUT(g, 0xc2, (uint8_t)(8 * rng_below(&g->r, 3)), 0);
		g->sub_clobbers[n] |= g->clobbered;
		g->in_sub = false;
	}
}

static void put_end(struct gen *g)
{
	g->left = 2;
	g->limit += 16;
	switch (rng_below(&g->r, 10)) {
	case 0: GEN_PUT(g, 0xcc); break;
	case 1: GEN_PUT(g, 0x0f, 0x0b); break;
	case 2: GEN_PUT(g, 0x0f, 0x05); break;
	case 3: GEN_PUT(g, 0xcd, BLK_IRQ); break;
	default: break;
	}
	GEN_PUT(g, HALT);
}

static void put_main(struct gen *g)
{
	struct blk_case *c = g->c;
	unsigned want = 1 + rng_below(&g->r, g->o->max_insns);

	c->start =
		rng_chance(&g->r, 30) ? 0xf00 + rng_below(&g->r, 0x100) : rng_below(&g->r, 0xc00);
	begin(g, c->code, BLK_CODE, c->start, want);
	g->listed = true;
	g->mark = at_start;
	while (g->left) {
		unsigned before = g->left;

		gen_statement(g);
		gen_any(g);
		if (g->left == before && g->at + 64 > g->limit)
			break;
	}
	g->nstmts = 0;
	for (unsigned n = 0; n < GEN_MAX_FIXUPS; n++) /* what is left leads to the end */
		g->fix[n].skip = 0;
	gen_statement(g);
	put_end(g);
}

void blk_generate(const struct diff_gen *d, const struct blk_options *o, uint64_t seed,
		  uint64_t number, struct blk_case *c)
{
	static const uint32_t sub_at[GEN_MAX_SUBS] = {0x100, 0xf80, 0x600};
	struct gen g = {.r = {.s = seed}, .d = d, .o = o, .c = c};

	g.r.s = rng_next(&g.r) + number * 0x9e3779b97f4a7c15;
	g.r.s = rng_next(&g.r);
	memset(c, 0, sizeof(*c));
	c->seed = seed;
	c->number = number;
	memset(c->code, HALT, sizeof(c->code));
	memset(c->subs, HALT, sizeof(c->subs));
	random_case(&g);
	g.nsubs = 1 + rng_below(&g.r, GEN_MAX_SUBS);
	for (unsigned n = 0; n < g.nsubs; n++) {
		g.sub_at[n] = sub_at[n] + rng_below(&g.r, 0x60);
		c->table[n] = gen_lin(&g, BLK_SUBS + g.sub_at[n]);
	}
	put_subs(&g, 0);
	put_subs(&g, 1);
	put_main(&g);
}
