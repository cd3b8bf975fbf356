/* SPDX-License-Identifier: Apache-2.0 */
/*
 * far.c - far jumps, calls and returns, directly and through gates.
 *
 * All checks come first, pushes next, registers last: a fault anywhere leaves the
 * instruction to be run again.  In long mode a call gate has 16 bytes and leads to
 * 64-bit code only; TSS and task gates are gone.  Intel SDM vol. 2, JMP, CALL, RET;
 * vol. 3A, 5.8.
 */
#include "cpu/x86/sys.h"

static uint64_t cut(uint64_t v, unsigned size)
{
	return size == 8 ? v : v & (BIT(size * 8) - 1);
}

static void enter(struct vcpu *c, const struct cpu_seg *cs, uint64_t rip)
{
	seg_set(c, SEG_CS, cs);
	c->s.rip = rip;
	vcpu_update_mode(c);
}

/* --- real and virtual-8086 mode ------------------------------------------------ */

static void enter_real(struct vcpu *c, uint16_t sel, uint64_t off)
{
	if (in_vm86(c))
		seg_set_vm86(c, SEG_CS, sel);
	else
		seg_set_real(c, SEG_CS, sel);
	c->s.rip = off;
	vcpu_update_mode(c);
}

static void check_real(struct vcpu *c, uint64_t off)
{
	if (off > (in_vm86(c) ? 0xffff : c->s.seg[SEG_CS].limit))
		raise_gp(c, 0);
}

/* --- direct ---------------------------------------------------------------------- */

static void need_present(struct vcpu *c, const struct desc *d, uint16_t sel)
{
	if (!desc_present(d))
		raise_err(c, EXC_NP, SEL_ERR(sel));
}

/* The code segment of a far pointer; CPL stays. */
static struct cpu_seg check_direct(struct vcpu *c, uint16_t sel, struct desc *d)
{
	bool ok = desc_conforming(d) ? desc_dpl(d) <= c->cpl
				     : (sel & SEL_RPL) <= c->cpl && desc_dpl(d) == c->cpl;

	if (!ok || desc_bad_long(c, d))
		raise_gp(c, SEL_ERR(sel));
	need_present(c, d, sel);
	desc_set_accessed(c, d);
	return desc_to_seg(c, d, (uint16_t)((sel & ~SEL_RPL) | c->cpl));
}

static void jump_direct(struct vcpu *c, uint16_t sel, uint64_t off, struct desc *d)
{
	struct cpu_seg cs = check_direct(c, sel, d);

	rip_check(c, &cs, off, 0);
	enter(c, &cs, off);
}

static void push_return(struct vcpu *c, struct stack *k, unsigned size)
{
	stack_push(c, k, size, c->s.seg[SEG_CS].sel);
	stack_push(c, k, size, c->s.rip);
}

static void call_direct(struct vcpu *c, uint16_t sel, uint64_t off, unsigned size, struct desc *d)
{
	struct cpu_seg cs = check_direct(c, sel, d);
	struct stack k = stack_current(c);

	push_return(c, &k, size);
	rip_check(c, &cs, off, 0); /* after the stack's faults (measured on Zen 4) */
	stack_commit(c, &k);
	enter(c, &cs, off);
}

/* --- call gates -------------------------------------------------------------------- */

struct gate_target {
	uint16_t sel;
	uint64_t off;
	unsigned size; /* of what is pushed: 2, 4, 8 */
	unsigned nparams;
	struct desc code;
};

/* Check gate @d of @sel and the code segment behind it. */
static void gate_open(struct vcpu *c, uint16_t sel, struct desc *d, bool jump,
		      struct gate_target *t)
{
	bool ok;

	if (desc_dpl(d) < c->cpl || desc_dpl(d) < (sel & SEL_RPL))
		raise_gp(c, SEL_ERR(sel));
	if (c->long_mode && (!desc_read_hi(c, sel, d) || d->hi >> 40 & 0x1f))
		raise_gp(c, SEL_ERR(sel));
	need_present(c, d, sel);
	t->sel = gate_selector(d);
	t->size = c->long_mode ? 8 : desc_type(d) == TYPE_CALL16 ? 2 : 4;
	t->off = cut(gate_offset(d) | d->hi << 32, t->size);
	t->nparams = d->lo >> 32 & 31;
	if (sel_is_null(t->sel))
		raise_gp(c, 0);
	desc_need(c, t->sel, EXC_GP, 0, &t->code);
	ok = desc_is_code(&t->code) && desc_dpl(&t->code) <= c->cpl;
	if (jump && !desc_conforming(&t->code))
		ok = ok && desc_dpl(&t->code) == c->cpl;
	if (c->long_mode)
		ok = ok && (desc_attr(&t->code) & (ATTR_L | ATTR_DB)) == ATTR_L;
	if (!ok)
		raise_gp(c, SEL_ERR(t->sel));
	need_present(c, &t->code, t->sel);
	desc_set_accessed(c, &t->code);
}

static void jump_gate(struct vcpu *c, uint16_t sel, struct desc *d)
{
	struct gate_target t;
	struct cpu_seg cs;

	gate_open(c, sel, d, true, &t);
	cs = desc_to_seg(c, &t.code, (uint16_t)((t.sel & ~SEL_RPL) | c->cpl));
	rip_check(c, &cs, t.off, 0);
	enter(c, &cs, t.off);
}

/* Through a gate to inner privilege @cpl, in 64-bit form. */
static void call_inner_wide(struct vcpu *c, const struct cpu_seg *cs, const struct gate_target *t,
			    unsigned cpl)
{
	struct stack k = stack_wide(tss_rsp(c, 4 + 8 * cpl, 0), cpl, 0);

	stack_push(c, &k, 8, c->s.seg[SEG_SS].sel);
	stack_push(c, &k, 8, c->s.gpr[GPR_RSP]);
	push_return(c, &k, 8);
	seg_set_null(c, SEG_SS, (uint16_t)cpl);
	c->s.gpr[GPR_RSP] = k.sp;
	enter(c, cs, t->off);
}

static void call_inner(struct vcpu *c, const struct cpu_seg *cs, const struct gate_target *t,
		       unsigned cpl)
{
	struct stack old = stack_current(c), new;
	struct cpu_seg ss;
	struct desc d;
	uint64_t params[31];
	uint16_t sel;
	uint32_t sp;

	tss_stack(c, cpl, 0, &sel, &sp);
	ss_check(c, sel, cpl, EXC_TS, 0, &d);
	ss = desc_to_seg(c, &d, sel);
	new = stack_new(&ss, sp, cpl, SEL_ERR(sel));
	for (unsigned i = 0; i < t->nparams; i++)
		params[i] = stack_pop(c, &old, t->size);
	stack_push(c, &new, t->size, c->s.seg[SEG_SS].sel);
	stack_push(c, &new, t->size, c->s.gpr[GPR_RSP]);
	for (unsigned i = t->nparams; i-- > 0;)
		stack_push(c, &new, t->size, params[i]);
	push_return(c, &new, t->size);
	seg_set(c, SEG_SS, &ss);
	stack_commit(c, &new);
	enter(c, cs, t->off);
}

static void call_gate(struct vcpu *c, uint16_t sel, struct desc *d)
{
	struct gate_target t;
	struct cpu_seg cs;
	struct stack k;
	unsigned cpl;

	gate_open(c, sel, d, false, &t);
	cpl = desc_conforming(&t.code) ? c->cpl : desc_dpl(&t.code);
	cs = desc_to_seg(c, &t.code, (uint16_t)((t.sel & ~SEL_RPL) | cpl));
	rip_check(c, &cs, t.off, 0);
	if (cpl < c->cpl) {
		if (c->long_mode)
			call_inner_wide(c, &cs, &t, cpl);
		else
			call_inner(c, &cs, &t, cpl);
		return;
	}
	k = c->long_mode ? stack_wide(c->s.gpr[GPR_RSP], c->cpl, 0) : stack_current(c);
	push_return(c, &k, t.size);
	stack_commit(c, &k);
	enter(c, &cs, t.off);
}

/* --- tasks ------------------------------------------------------------------------- */

static void to_task(struct vcpu *c, uint16_t sel, struct desc *d, enum task_why why)
{
	if (desc_dpl(d) < c->cpl || desc_dpl(d) < (sel & SEL_RPL))
		raise_gp(c, SEL_ERR(sel));
	if (desc_type(d) == TYPE_TASK_GATE) {
		need_present(c, d, sel);
		sel = gate_selector(d);
		if (sel & SEL_TI)
			raise_gp(c, SEL_ERR(sel));
		desc_need(c, sel, EXC_GP, 0, d);
	}
	if (sel & SEL_TI || !desc_is_sys(d, BIT(TYPE_TSS16) | BIT(TYPE_TSS32)))
		raise_gp(c, SEL_ERR(sel));
	need_present(c, d, sel);
	task_switch(c, sel, d, why, c->s.rip, 0);
}

/* --- JMP, CALL ------------------------------------------------------------------------ */

static void far_protected(struct vcpu *c, uint16_t sel, uint64_t off, unsigned size, bool call)
{
	unsigned gates = BIT(TYPE_CALL32), tasks = 0;
	struct desc d;

	if (!c->long_mode) {
		gates |= BIT(TYPE_CALL16);
		tasks = BIT(TYPE_TSS16) | BIT(TYPE_TSS32) | BIT(TYPE_TASK_GATE);
	}
	if (sel_is_null(sel))
		raise_gp(c, 0);
	desc_need(c, sel, EXC_GP, 0, &d);
	if (desc_is_code(&d) && call)
		call_direct(c, sel, off, size, &d);
	else if (desc_is_code(&d))
		jump_direct(c, sel, off, &d);
	else if (desc_is_sys(&d, gates) && call)
		call_gate(c, sel, &d);
	else if (desc_is_sys(&d, gates))
		jump_gate(c, sel, &d);
	else if (desc_is_sys(&d, tasks))
		to_task(c, sel, &d, call ? TASK_CALL : TASK_JMP);
	else
		raise_gp(c, SEL_ERR(sel));
}

static void far_jump(struct vcpu *c, uint16_t sel, uint64_t off, unsigned size)
{
	off = cut(off, size);
	if (in_protected(c)) {
		far_protected(c, sel, off, size, false);
		return;
	}
	check_real(c, off);
	enter_real(c, sel, off);
}

static void far_call(struct vcpu *c, uint16_t sel, uint64_t off, unsigned size)
{
	struct stack k;

	off = cut(off, size);
	if (in_protected(c)) {
		far_protected(c, sel, off, size, true);
		return;
	}
	check_real(c, off);
	k = stack_current(c);
	push_return(c, &k, size);
	stack_commit(c, &k);
	enter_real(c, sel, off);
}

static uint64_t load_pointer(struct vcpu *c, const struct insn *i, uint16_t *sel)
{
	unsigned size = i->msize - 2u; /* AMD: no 64-bit offsets, though CALL pushes 64 bits */
	uint64_t ea = insn_ea(c, i), off;

	off = lin_load(c, seg_lin(c, i->seg, ea, size, ACCESS_READ), size);
	ea += size;
	if (i->adsize != 8)
		ea = cut(ea, i->adsize);
	*sel = (uint16_t)lin_load(c, seg_lin(c, i->seg, ea, 2, ACCESS_READ), 2);
	return off;
}

void op_jmp_far(struct vcpu *c, const struct insn *i)
{
	far_jump(c, (uint16_t)i->disp, i->imm, i->opsize);
}

void op_call_far(struct vcpu *c, const struct insn *i)
{
	far_call(c, (uint16_t)i->disp, i->imm, i->opsize);
}

void op_jmp_far_m(struct vcpu *c, const struct insn *i)
{
	uint16_t sel;
	uint64_t off = load_pointer(c, i, &sel);

	far_jump(c, sel, off, i->opsize);
}

void op_call_far_m(struct vcpu *c, const struct insn *i)
{
	uint16_t sel;
	uint64_t off = load_pointer(c, i, &sel);

	far_call(c, sel, off, i->opsize);
}

/* --- returns --------------------------------------------------------------------------- */

void return_check_cs(struct vcpu *c, uint16_t sel, struct desc *d)
{
	unsigned rpl = sel & SEL_RPL;
	bool ok;

	if (sel_is_null(sel))
		raise_gp(c, 0);
	desc_need(c, sel, EXC_GP, 0, d);
	ok = desc_is_code(d) && rpl >= c->cpl && !desc_bad_long(c, d);
	ok = ok && (desc_conforming(d) ? desc_dpl(d) <= rpl : desc_dpl(d) == rpl);
	if (!ok)
		raise_gp(c, SEL_ERR(sel));
	need_present(c, d, sel);
	desc_set_accessed(c, d);
}

struct cpu_seg return_check_ss(struct vcpu *c, uint16_t sel, unsigned cpl, bool to_64)
{
	struct desc d;

	if (sel_is_null(sel) && to_64 && cpl != 3) {
		if ((sel & SEL_RPL) != cpl)
			raise_gp(c, 0);
		return (struct cpu_seg){.sel = sel};
	}
	ss_check(c, sel, cpl, EXC_GP, 0, &d);
	return desc_to_seg(c, &d, sel);
}

/*
 * A 16-bit stack takes SP only: bits 16..31 stay the inner stack's (Linux' espfix64
 * relies on just that).
 */
void return_commit(struct vcpu *c, const struct cpu_seg *cs, const struct cpu_seg *ss, uint64_t rip,
		   uint64_t rsp)
{
	unsigned old = c->cpl, cpl = cs->sel & SEL_RPL;
	bool to_64 = c->long_mode && cs->attr & ATTR_L;

	if (!to_64 && !(ss->attr & ATTR_DB))
		rsp = (c->s.gpr[GPR_RSP] & 0xffff0000) | (rsp & 0xffff);
	else if (!to_64)
		rsp = (uint32_t)rsp;
	c->s.gpr[GPR_RSP] = rsp;
	seg_set(c, SEG_SS, ss);
	if (cpl > old)
		seg_drop_inner(c, cpl);
	enter(c, cs, rip);
}

static void ret_real(struct vcpu *c, unsigned size, unsigned release)
{
	struct stack k = stack_current(c);
	uint64_t rip = stack_pop(c, &k, size);
	uint16_t sel = (uint16_t)stack_pop(c, &k, size);

	check_real(c, rip);
	k.sp += release;
	stack_commit(c, &k);
	enter_real(c, sel, rip);
}

static void ret_protected(struct vcpu *c, unsigned size, unsigned release)
{
	struct stack k = stack_current(c);
	uint64_t rip = stack_pop(c, &k, size), rsp;
	uint16_t sel = (uint16_t)stack_pop(c, &k, size), ss_sel;
	struct cpu_seg cs, ss;
	struct desc d;

	return_check_cs(c, sel, &d);
	cs = desc_to_seg(c, &d, sel);
	rip_check(c, &cs, rip, 0);
	k.sp = (k.sp & ~k.mask) | ((k.sp + release) & k.mask);
	if ((sel & SEL_RPL) == c->cpl) {
		stack_commit(c, &k);
		enter(c, &cs, rip);
		return;
	}
	rsp = stack_pop(c, &k, size);
	ss_sel = (uint16_t)stack_pop(c, &k, size);
	ss = return_check_ss(c, ss_sel, sel & SEL_RPL, c->long_mode && cs.attr & ATTR_L);
	return_commit(c, &cs, &ss, rip, rsp + release);
}

void op_ret_far(struct vcpu *c, const struct insn *i)
{
	if (in_protected(c))
		ret_protected(c, i->opsize, (unsigned)i->imm & 0xffff);
	else
		ret_real(c, i->opsize, (unsigned)i->imm & 0xffff);
}
