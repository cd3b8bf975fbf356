/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_operands.c - register and memory contents that fit an instruction.
 *
 * Addresses are made to hit the mapped pages most of the time, their edges often, and
 * unmapped, read-only and non-canonical addresses now and then; counts stay small;
 * branches go where traps wait.
 */
#include <string.h>
#include "cpu/tests/diff_gen.h"

/* --- where memory operands go ----------------------------------------------------- */

static uint64_t pick_target(struct diff_rng *r, const struct diff_case *c, unsigned size)
{
	unsigned k = rng_below(r, 100), off = rng_below(r, DIFF_WIN_SIZE - 512);

	size = size ? size : 1;
	if (k < 45)
		return DIFF_DATA + (off & ~63u);
	if (k < 65)
		return DIFF_DATA + off;
	if (k < 72)
		return DIFF_DATA + 0x1000 - rng_below(r, size + 1);
	if (k < 78)
		return DIFF_DATA + DIFF_WIN_SIZE - size;
	if (k < 82)
		return DIFF_DATA + DIFF_WIN_SIZE - 1 - rng_below(r, size);
	if (k < 84)
		return DIFF_DATA - rng_below(r, size + 1);
	if (k < 88)
		return DIFF_RO + (rng_below(r, 0x800) & ~15u);
	if (k < 90)
		return DIFF_RO - 0x2000 + rng_below(r, 64);
	if (k < 92 && c->mode == MODE_64)
		return rng_integer(r) | 1ULL << 62;
	return DIFF_DATA + (off & ~7u);
}

/* Linear address of the top of the stack. */
static uint64_t stack_lin(const struct diff_case *c)
{
	uint64_t sp = c->gpr[GPR_RSP];

	return (c->mode == MODE_16 ? (uint16_t)sp : sp) + diff_seg_base(c, SEG_SS);
}

static uint64_t reg_value(const struct diff_case *c, unsigned n)
{
	return n == INSN_NOREG ? 0 : c->gpr[n];
}

/* Choose registers (or the displacement) so that the operand of @i is at @target. */
static void aim(struct diff_case *c, const struct insn *i, unsigned disp_at, uint64_t target)
{
	uint64_t ea = target - diff_seg_base(c, i->seg);
	bool scaled = i->index != INSN_NOREG && !(i->flags & INSN_VSIB);
	uint64_t rest;

	if (i->map == 0 && (i->opcode & 0xfc) == 0xa0) { /* MOV moffs */
		memcpy(c->code + i->len - i->adsize, &ea, i->adsize);
		return;
	}
	if (i->base == INSN_NOREG && !scaled) {
		uint32_t disp = (uint32_t)(ea - (i->flags & INSN_RIPREL ? c->code_at + i->len : 0));

		if (disp_at)
			memcpy(c->code + disp_at, &disp, i->adsize == 2 ? 2 : 4);
		return;
	}
	if (i->base == INSN_NOREG) {
		c->gpr[i->index] = (ea - (uint64_t)i->disp) >> i->scale;
		return;
	}
	if (scaled && i->index == i->base) {
		c->gpr[i->base] = (ea - (uint64_t)i->disp) / (1u + (1u << i->scale));
		return;
	}
	rest = scaled ? reg_value(c, i->index) << i->scale : 0;
	c->gpr[i->base] = ea - (uint64_t)i->disp - rest;
}

/* Clip a patch to its window. */
static void set_patch(struct diff_case *c, uint64_t at, const void *bytes, unsigned len)
{
	unsigned win = at < DIFF_STACK ? WIN_DATA : WIN_STACK;
	uint64_t base = win == WIN_DATA ? DIFF_DATA : DIFF_STACK;
	struct diff_patch *p = &c->patch[win];

	if (at < base || at >= base + DIFF_WIN_SIZE)
		return;
	len = MIN(len, (unsigned)(base + DIFF_WIN_SIZE - at));
	p->at = (uint32_t)at;
	p->len = MIN(len, (unsigned)PATCH_MAX);
	memcpy(p->bytes, bytes, p->len);
}

/* --- what is there ------------------------------------------------------------------- */

/* An address to branch to: where traps wait, or where nothing is. */
static uint64_t branch_target(struct diff_rng *r, const struct diff_case *c)
{
	switch (rng_below(r, 16)) {
	case 0: return DIFF_DATA + rng_below(r, 0x1000); /* no-execute */
	case 1: return DIFF_CODE - 0x2000;		 /* nothing */
	case 2: return c->mode == MODE_64 ? rng_next(r) | 1ULL << 62 : rng_next(r);
	case 3: return rng_below(r, 0x4000);
	default: /* int3 */
		return DIFF_CODE + 0x1000 + rng_below(r, 0xf00) - diff_seg_base(c, SEG_CS);
	}
}

static uint16_t pick_selector(struct diff_rng *r)
{
	static const uint16_t sels[] = {
		0,    1,      3,    DIFF_CS32, DIFF_DS, DIFF_CS64, 0x20,      0x28,
		0x30, 0x08,   0x10, 0x18,      0x2a,	DIFF_CS16, DIFF_DS16, 0x17,
		0x0c, 0xfffb, 0x83, 0x33,      0x2b,	0x23,
	};

	return sels[rng_below(r, ARRAY_SIZE(sels))];
}

/*
 * Where to go by a far branch.  CALL pushes with the stack of the code it enters: not
 * from a 16-bit stack to 64-bit code.
 */
static uint16_t far_selector(struct diff_rng *r, const struct diff_case *c, const struct insn *i)
{
	bool call = i->op == OP_CALL_FAR || i->op == OP_CALL_FAR_M;
	uint16_t sel = pick_selector(r);

	return call && c->mode == MODE_16 && (sel | 3) == DIFF_CS64 ? DIFF_CS16 : sel;
}

/* Values for a memory operand. */
static void fill_memory(struct diff_rng *r, const struct insn *i, uint8_t *b)
{
	unsigned n = i->msize ? i->msize : 8;

	if (i->form == FORM_X87 && i->msize == 10 && rng_chance(r, 70)) {
		struct cpu_fxsave fx;

		rng_fpu_state(r, &fx);
		memcpy(b, fx.st[0], 10);
		if ((i->modrm >> 3 & 7) == 4)
			for (unsigned k = 0; k < 9; k++) /* BCD */
				b[k] = (uint8_t)(rng_below(r, 10) << 4 | rng_below(r, 10));
	} else if (i->form == FORM_VEC || i->form == FORM_X87) {
		rng_vector(r, b, PATCH_MAX);
	} else {
		for (unsigned k = 0; k < MIN(n, (unsigned)PATCH_MAX); k += 8) {
			uint64_t v = rng_integer(r);

			memcpy(b + k, &v, 8);
		}
	}
}

static void fill_special(struct diff_rng *r, const struct diff_case *c, const struct insn *i,
			 uint8_t *b)
{
	uint64_t target = branch_target(r, c);
	uint16_t sel = far_selector(r, c, i);
	uint32_t mxcsr = 0x1f80 ^ (rng_below(r, 16) << 13 | rng_below(r, 128));

	switch (i->op) {
	case OP_JMP_RM:
	case OP_CALL_RM: memcpy(b, &target, 8); break;
	case OP_JMP_FAR_M:
	case OP_CALL_FAR_M:
	case OP_LDS:
	case OP_LES:
	case OP_LSS:
	case OP_LFS:
	case OP_LGS:
		memcpy(b, &target, 8);
		memcpy(b + i->msize - 2, &sel, 2);
		break;
	case OP_MOV_S_R:
	case OP_LAR:
	case OP_LSL:
	case OP_VERR:
	case OP_VERW:
	case OP_ARPL: memcpy(b, &sel, 2); break;
	case OP_LDMXCSR:
		if (rng_chance(r, 90))
			memcpy(b, &mxcsr, 4);
		break;
	default: break;
	}
}

static void memory_operand(struct diff_rng *r, struct diff_case *c, const struct insn *i,
			   unsigned disp_at)
{
	uint64_t target = pick_target(r, c, i->msize);
	uint8_t b[PATCH_MAX + 8];

	if (i->adsize == 2 && c->mode != MODE_16)
		return; /* the low 64 KiB are not mapped: CR2 tells the address */
	if (diff_bit_string(i) && (i->reg == i->base || i->reg == i->index))
		return; /* an address as bit offset: sums that leave the canonical range */
	if (i->op == OP_GATHER)
		target = DIFF_DATA + 0x800 + rng_below(r, 0x1000);
	aim(c, i, disp_at, target);
	fill_memory(r, i, b);
	fill_special(r, c, i, b);
	if (rng_chance(r, 80))
		set_patch(c, target, b, i->msize ? i->msize : 8);
}

/* --- operations with operands of their own ------------------------------------------------ */

static void string_operands(struct diff_rng *r, struct diff_case *c, const struct insn *i)
{
	uint64_t base = diff_seg_base(c, i->seg);

	c->gpr[GPR_RSI] = pick_target(r, c, i->opsize) - base;
	c->gpr[GPR_RDI] = rng_chance(r, 20)
				  ? c->gpr[GPR_RSI] + rng_below(r, 32)
				  : pick_target(r, c, i->opsize) - diff_seg_base(c, SEG_ES);
	if (rng_chance(r, 40))
		c->rflags |= FL_DF;
	if (rng_chance(r, 96))
		c->gpr[GPR_RCX] = rng_below(r, 24);
	if (i->op == OP_XLAT)
		c->gpr[GPR_RBX] = pick_target(r, c, 1) - base - (c->gpr[GPR_RAX] & 0xff);
}

static uint16_t own_cs(const struct diff_case *c)
{
	return c->mode == MODE_64 ? DIFF_CS64 : c->mode == MODE_32 ? DIFF_CS32 : DIFF_CS16;
}

/* Stack contents: return addresses, selectors, flags, frames. */
static void stack_operands(struct diff_rng *r, struct diff_case *c, const struct insn *i)
{
	uint8_t b[PATCH_MAX] = {0};
	uint64_t frame[5] = {
		branch_target(r, c),
		rng_chance(r, 50) ? own_cs(c) : pick_selector(r),
		(rng_integer(r) & (FL_STATUS | FL_DF | FL_AC | FL_ID)) | FL_RES1 | FL_IF,
		DIFF_STACK + 0x800 - diff_seg_base(c, SEG_SS),
		rng_chance(r, 70) ? c->mode == MODE_16 ? DIFF_DS16 : DIFF_DS : pick_selector(r),
	};

	if (i->op == OP_POPF)
		frame[0] = frame[2] | (rng_next(r) & (FL_IOPL | FL_TF | FL_NT | FL_RF | FL_VM));
	if (i->op == OP_POP_S)
		frame[0] = pick_selector(r);
	if (i->op == OP_POP || i->op == OP_POPA || i->op == OP_LEAVE)
		for (unsigned n = 0; n < 5; n++)
			frame[n] = rng_integer(r);
	for (unsigned n = 0; n < 5; n++)
		memcpy(b + n * i->opsize, &frame[n], 8);
	if (rng_chance(r, 5))
		c->gpr[GPR_RSP] = pick_target(r, c, i->opsize) + (DIFF_STACK - DIFF_DATA) -
				  diff_seg_base(c, SEG_SS);
	if (rng_chance(r, 10))
		c->gpr[GPR_RSP] += rng_below(r, 8);
	set_patch(c, stack_lin(c), b, 40);
}

static void relative_branch(struct diff_rng *r, struct diff_case *c, const struct insn *i)
{
	unsigned n = i->opcode >= 0xe8 && i->opcode != 0xeb ? i->opsize == 2 ? 2 : 4
		     : i->map				    ? i->opsize == 2 ? 2 : 4
							    : 1;
	int32_t rel = (int32_t)rng_below(r, 100);

	/* not into the instruction itself, which could then run for ever */
	if (rng_chance(r, 40))
		rel = -28 - (int32_t)rng_below(r, 100);
	if (n > 1 && rng_chance(r, 20))
		rel = (int32_t)(branch_target(r, c) + diff_seg_base(c, SEG_CS) - c->code_at -
				i->len);
	memcpy(c->code + i->len - n, &rel, n);
	if (rng_chance(r, 50))
		c->gpr[GPR_RCX] = rng_below(r, 3);
}

static void far_immediate(struct diff_rng *r, struct diff_case *c, const struct insn *i)
{
	uint64_t target = branch_target(r, c);
	uint16_t sel = far_selector(r, c, i);

	memcpy(c->code + i->len - 2, &sel, 2);
	memcpy(c->code + i->len - 2 - i->opsize, &target, i->opsize);
}

static void branch_operands(struct diff_rng *r, struct diff_case *c, const struct insn *i)
{
	c->trap_fill = true;
	c->code_at = DIFF_CODE + 0x400 + rng_below(r, 0x800);
	switch (i->op) {
	case OP_JMP_RM:
	case OP_CALL_RM:
		if (!(i->flags & INSN_MEM))
			c->gpr[i->rm] = branch_target(r, c);
		break;
	case OP_JMP_FAR:
	case OP_CALL_FAR: far_immediate(r, c, i); break;
	default:
		if (i->form == FORM_REL)
			relative_branch(r, c, i);
	}
}

static void integer_operands(struct diff_rng *r, struct diff_case *c, const struct insn *i)
{
	switch (i->op) {
	case OP_DIV:
	case OP_IDIV:
		if (rng_chance(r, 60))
			c->gpr[GPR_RDX] = rng_chance(r, 50) ? 0 : rng_below(r, 4);
		if (i->opsize == 1)
			c->gpr[GPR_RAX] &= rng_chance(r, 70) ? 0x3ff : ~0ULL;
		break;
	case OP_BT:
	case OP_BTS:
	case OP_BTR:
	case OP_BTC: /* with memory the bit offset moves the address */
		if (i->form == FORM_RM_R && rng_chance(r, 80))
			c->gpr[i->reg] = (uint64_t)(int64_t)((int)rng_below(r, 2048) - 1024);
		break;
	case OP_MOV_S_R:
	case OP_LAR:
	case OP_LSL:
	case OP_VERR:
	case OP_VERW:
	case OP_ARPL:
		if (!(i->flags & INSN_MEM) && rng_chance(r, 80))
			c->gpr[i->rm] = (c->gpr[i->rm] & ~0xffffULL) | pick_selector(r);
		break;
	case OP_RET_FAR: /* processors look at the outer stack before they check the selector */
		if (i->opcode == 0xca)
			c->code[i->len - 1] = 0, c->code[i->len - 2] &= 0xf8;
		break;
	case OP_WRFSBASE:
	case OP_WRGSBASE:
		if (rng_chance(r, 60))
			c->gpr[i->rm] &= 0x7fffffffffff;
		break;
	case OP_XRSTOR: /* only what a model has */
	case OP_XSAVE:
		c->gpr[GPR_RAX] = rng_below(r, 8);
		c->gpr[GPR_RDX] = 0;
		break;
	default: break;
	}
}

/* Indices that stay in the window, masks that are mostly set. */
static void gather_operands(struct diff_rng *r, struct diff_case *c, const struct insn *i)
{
	bool wide = i->opcode & 1;

	for (unsigned n = 0; n < 8; n++) {
		int64_t v = (int)rng_below(r, 256) - 128;
		uint8_t *p = n * (wide ? 8 : 4) < 16
				     ? c->fx.xmm[i->index] + n * (wide ? 8 : 4)
				     : c->ymmh[i->index] + (n * (wide ? 8 : 4) - 16);

		if (rng_chance(r, 3))
			v = (int64_t)rng_integer(r);
		if (!wide || n < 4)
			memcpy(p, &v, wide ? 8 : 4);
	}
	for (unsigned n = 0; n < 4; n++) {
		uint64_t mask = rng_next(r) | rng_next(r);

		memcpy(n < 2 ? c->fx.xmm[i->vvvv] + n * 8 : c->ymmh[i->vvvv] + (n - 2) * 8, &mask,
		       8);
	}
}

/* Does @i use the stack? */
static bool uses_stack(const struct insn *i)
{
	switch (i->op) {
	case OP_PUSH:
	case OP_POP:
	case OP_PUSHA:
	case OP_POPA:
	case OP_PUSHF:
	case OP_POPF:
	case OP_PUSH_S:
	case OP_POP_S:
	case OP_ENTER:
	case OP_LEAVE:
	case OP_CALL:
	case OP_CALL_RM:
	case OP_CALL_FAR:
	case OP_CALL_FAR_M:
	case OP_RET:
	case OP_RET_FAR:
	case OP_IRET: return true;
	default: return false;
	}
}

void diff_operands(struct diff_rng *r, struct diff_case *c, const struct insn *i, unsigned disp_at)
{
	integer_operands(r, c, i);
	if (i->form == FORM_STR)
		string_operands(r, c, i);
	if (i->op == OP_ENTER || i->op == OP_LEAVE)
		c->gpr[GPR_RBP] =
			DIFF_STACK - diff_seg_base(c, SEG_SS) + 0x400 + rng_below(r, 0x1400);
	if (i->op == OP_MASKMOV && !(i->flags & INSN_MEM))
		c->gpr[GPR_RDI] = pick_target(r, c, i->msize) - diff_seg_base(c, i->seg);
	if (i->op == OP_GATHER)
		gather_operands(r, c, i);
	if (i->op == OP_FXSAVE && c->mode != MODE_64)
		c->rflags &= ~(uint64_t)FL_AC; /* before or after the segment's checks? */
	if (i->flags & INSN_BRANCH)
		branch_operands(r, c, i);
	if (uses_stack(i))
		stack_operands(r, c, i);
	if (i->flags & INSN_MEM)
		memory_operand(r, c, i, disp_at);
	if (i->op == OP_CALL_FAR_M) /* pushes with the width of the code it enters */
		c->gpr[GPR_RSP] = (uint32_t)c->gpr[GPR_RSP];
	if (i->op == OP_LEAVE) /* what it pops is at RBP */
		c->gpr[GPR_RBP] = c->gpr[GPR_RSP];
}
