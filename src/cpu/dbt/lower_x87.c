/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lower_x87.c - x87 instructions, and the unit that they share with MMX.
 *
 * The host's unit is the guest's from a block's first x87 or MMX instruction until a
 * handler runs or translated code is left (d.x87_live).  A TLB refill leaves it alone: no
 * C code on that way uses the unit.  Only code whose control word masks all exceptions
 * runs so (DBT_KEY_X87); an FLDCW that would unmask one is left to the interpreter.
 *
 * The host's last instruction and operand pointers are of no use.  The guest's stay in
 * s.fx: they are stored where a block is left, and where C code needs them in between
 * they are made from what the site tells.
 */
#include "cpu/dbt/lower.h"

enum {
	GROUP_FLDENV = 0xd94,
	GROUP_FLDCW = 0xd95,
	GROUP_FNSTENV = 0xd96,
	GROUP_FNSTCW = 0xd97,
	GROUP_FRSTOR = 0xdd4,
	GROUP_FNSAVE = 0xdd6,
	GROUP_FNSTSW = 0xdd7,
	FNSTSW_AX = 0xdfe0,
	FNCLEX = 0xdbe2,
	FNINIT = 0xdbe3,
	FCW_EXC = 0x3f,
};

static bool is_mem(const struct insn *i)
{
	return i->flags & INSN_MEM;
}

/* Opcode and the digit in ModRM, of a memory form. */
static unsigned group_of(const struct insn *i)
{
	return (unsigned)i->opcode << 4 | (i->modrm >> 3 & 7);
}

static unsigned reg_form(const struct insn *i)
{
	return (unsigned)i->opcode << 8 | i->modrm;
}

bool x87_ends_block(const struct lowering *l, const struct insn *i)
{
	if (!is_mem(i))
		return reg_form(i) == FNINIT && !l->x87;
	switch (group_of(i)) {
	case GROUP_FLDENV:
	case GROUP_FRSTOR: return true;
	case GROUP_FLDCW:
	case GROUP_FNSTENV:
	case GROUP_FNSAVE: return !l->x87;
	default: return false;
	}
}

bool is_native_x87(const struct lowering *l, const struct insn *i)
{
	if (!l->x87)
		return false;
	if (i->op != OP_X87)
		return true; /* WAIT, EMMS */
	if (!is_mem(i))
		return i->opcode != 0xdb || (i->modrm & 0xf8) != 0xe0 || reg_form(i) == FNCLEX;
	switch (group_of(i)) {
	case GROUP_FLDENV:
	case GROUP_FNSTENV:
	case GROUP_FRSTOR:
	case GROUP_FNSAVE: return false;
	default: return i->adsize != 2;
	}
}

unsigned x87_flags_of(const struct insn *i)
{
	unsigned group = i->modrm >> 3;

	if (is_mem(i))
		return FE_NONE;
	if ((i->opcode == 0xdb || i->opcode == 0xdf) && (group == 0x1d || group == 0x1e))
		return FE_FULL; /* FUCOMI, FCOMI */
	if ((i->opcode == 0xda || i->opcode == 0xdb) && group < 0x1c)
		return FE_READ; /* FCMOVcc */
	return FE_NONE;
}

unsigned x87_regs_of(const struct insn *i)
{
	return !is_mem(i) && i->op == OP_X87 && reg_form(i) == FNSTSW_AX ? 1 << GPR_RAX : 0;
}

/* --- the last instruction and its operand ---------------------------------------------- */

/* Control instructions leave the pointers alone. */
static bool sets_pointers(const struct insn *i)
{
	if (!is_mem(i))
		return reg_form(i) != FNSTSW_AX && reg_form(i) != FNCLEX;
	switch (group_of(i)) {
	case GROUP_FLDCW:
	case GROUP_FNSTCW:
	case GROUP_FNSTSW: return false;
	default: return true;
	}
}

static void note_pointers(struct lowering *l, const struct insn *i)
{
	struct x87_last *last = &l->last;

	reloc_never(l); /* what sites share is not copied */
	last->rip_off = (uint32_t)(l->t->rip - l->b->rip);
	last->fop = (uint16_t)((i->opcode & 7) << 8 | i->modrm);
	last->pending = true;
	if (is_mem(i)) {
		last->ea = ea_of(l, i);
		last->operand = true;
	}
	l->last_shared = NULL;
}

const struct x87_last *x87_at_site(struct lowering *l)
{
	struct x87_last *copy;

	if (!l->last.pending && !l->last.operand)
		return NULL;
	if (!l->last_shared) {
		copy = dbt_alloc(l->d, sizeof(*copy));
		if (!copy) {
			l->failed = true;
			return NULL;
		}
		*copy = l->last;
		l->last_shared = copy;
	}
	return l->last_shared;
}

void x87_set_pointers(struct vcpu *c, const struct dbt_site *s)
{
	const struct x87_last *last = s->x87;
	uint64_t at;

	if (last->pending) {
		c->s.fx.fip = s->block->rip + last->rip_off;
		c->s.fx.fop = last->fop;
	}
	if (!last->operand)
		return;
	at = (uint64_t)last->ea.disp;
	if (last->ea.base != INSN_NOREG)
		at += c->s.gpr[last->ea.base];
	if (last->ea.index != INSN_NOREG)
		at += c->s.gpr[last->ea.index] << last->ea.scale;
	c->s.fx.fdp = last->ea.ad32 ? (uint32_t)at : at;
}

/* RAX = the operand's offset; flags stay. */
static void emit_offset(struct lowering *l, const struct ea *ea)
{
	struct host_op op = op_mem(H_NONE, (int32_t)ea->disp);

	if (ea->constant) {
		a_mov_imm(&l->a, H_RAX, (uint64_t)ea->disp);
		return;
	}
	if (ea->base != INSN_NOREG)
		op.base = (uint8_t)reg_read(l, ea->base, H_RAX);
	if (ea->index != INSN_NOREG) {
		op.index = (uint8_t)reg_read(l, ea->index, H_RCX);
		op.scale = ea->scale;
	}
	a_lea(&l->a, !ea->ad32, H_RAX, op);
}

void x87_store_pointers(struct lowering *l, const struct x87_last *last)
{
	struct assembler *a = &l->a;

	if (last->operand) {
		emit_offset(l, &last->ea);
		a_store(a, H_RAX, op_vcpu(VC(s.fx.fdp)));
	}
	if (last->pending) { /* the tags beside FOP are the live unit's */
		a_op(a, false, 0xc7, 0, op_vcpu(VC(s.fx.ftw)));
		a4(a, (uint32_t)last->fop << 16);
		a_mov_imm(a, H_RAX, l->b->rip + last->rip_off);
		a_store(a, H_RAX, op_vcpu(VC(s.fx.fip)));
	}
}

void x87_before(struct lowering *l)
{
	const struct ea *ea = &l->last.ea;
	uint16_t writes = l->t->writes;

	if (l->t->i.op == OP_PUSH || l->t->i.op == OP_POP) /* it may be the first of several */
		writes = 0xffff;
	if (l->last.operand && ((ea->base != INSN_NOREG && writes >> ea->base & 1) ||
				(ea->index != INSN_NOREG && writes >> ea->index & 1))) {
		struct x87_last operand = {.operand = true, .ea = *ea};

		x87_store_pointers(l, &operand);
		l->last.operand = false;
		l->last_shared = NULL;
	}
}

void x87_before_exit(struct lowering *l)
{
	x87_store_pointers(l, &l->last);
	l->last.pending = l->last.operand = false;
	l->last_shared = NULL;
}

void x87_forget(struct lowering *l)
{
	l->x87_known = false;
	l->last.pending = l->last.operand = false;
	l->last_shared = NULL;
}

/* --- emission -------------------------------------------------------------------------- */

void need_x87(struct lowering *l)
{
	struct host_enc cmp = {.op = 0x80};
	struct cold_jump *j;

	if (l->x87_known)
		return;
	flags_clobber(l);
	a_enc(&l->a, &cmp, ALU_CMP, op_vcpu(VC(d.x87_live)));
	a1(&l->a, 0);
	j = cold_new(l, COLD_X87_LOAD, a_jcc(&l->a, CC_E));
	j->back = l->a.p;
	l->x87_known = true;
}

/* From a copy, because memory may change under the check. */
static void emit_fldcw(struct lowering *l, const struct insn *i)
{
	struct host_enc movzx = {.map = 1, .op = 0xb7};
	struct assembler *a = &l->a;
	struct host_op from = emit_operand(l, i, true);
	struct cold_jump *j;

	flags_clobber(l);
	a_enc(a, &movzx, H_RAX, from);
	a_store32(a, H_RAX, op_vcpu(VC(d.tmp)));
	a_op(a, false, 0xf7, 2, op_reg(H_RAX)); /* not eax; test al, 63 */
	a1(a, 0xa8);
	a1(a, FCW_EXC);
	j = cold_new(l, COLD_STEP, a_jcc(a, CC_NE));
	site_new(l, &j->site)->access = 0xff;
	a_op(a, false, 0xd9, 5, op_vcpu(VC(d.tmp)));
}

static void emit_mem(struct lowering *l, const struct insn *i)
{
	struct host_enc e = {.op = i->opcode};

	a_enc(&l->a, &e, i->modrm >> 3 & 7, emit_operand(l, i, false));
}

static void emit_reg(struct lowering *l, const struct insn *i)
{
	struct host_enc mov16 = {.op = 0x89, .p66 = true};

	if (l->t->fe & FE_READ)
		flags_to_host(l);
	a1(&l->a, i->opcode);
	a1(&l->a, i->modrm);
	if (reg_form(i) == FNSTSW_AX)
		a_enc(&l->a, &mov16, H_RAX, op_reg(host_of[GPR_RAX]));
	if (l->t->fe & FE_FULL)
		flags_set_all(l);
}

void lower_x87(struct lowering *l, const struct insn *i)
{
	if (i->op == OP_WAIT) /* nothing can be pending */
		return;
	need_x87(l);
	if (i->op == OP_EMMS) {
		a1(&l->a, 0x0f);
		a1(&l->a, 0x77);
		return;
	}
	if (!is_mem(i))
		emit_reg(l, i);
	else if (group_of(i) == GROUP_FLDCW)
		emit_fldcw(l, i);
	else
		emit_mem(l, i);
	if (sets_pointers(i))
		note_pointers(l, i);
}
