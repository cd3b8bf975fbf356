/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intr.c - delivery of interrupts and exceptions, and INT n, INT3, INTO, ICEBP.
 *
 * Three forms: real mode's vector table, the gates of 16- and 32-bit protected mode
 * (task gates and virtual-8086 mode included), long mode's.  All follow the same
 * order: gate, code segment, stack, pushes, registers; nothing but memory below the
 * new stack pointer is written before the last check.  A fault on the way is raised
 * like any other: the run loop knows what was being delivered and combines the two.
 * Intel SDM vol. 2, INT n; vol. 3A, chapter 6; error codes 6.13.
 */
#include "cpu/x86/sys.h"

struct event {
	uint8_t vec;
	bool soft, has_error;
	uint32_t error, ext;
	uint64_t rip;
};

static uint32_t gate_err(const struct event *e)
{
	return e->vec * 8U | ERR_IDT | e->ext;
}

/* --- real mode ------------------------------------------------------------------ */

static void deliver_real(struct vcpu *c, const struct event *e)
{
	struct stack k = stack_current(c);
	uint32_t vector;

	if (e->vec * 4U + 3 > c->s.idt.limit)
		raise_gp(c, 0);
	vector = (uint32_t)sys_load(c, c->s.idt.base + e->vec * 4U, 4);
	stack_push(c, &k, 2, c->s.rflags);
	stack_push(c, &k, 2, c->s.seg[SEG_CS].sel);
	stack_push(c, &k, 2, e->rip);
	stack_commit(c, &k);
	c->s.rflags &= ~(uint64_t)(FL_IF | FL_TF | FL_AC | FL_RF);
	seg_set_real(c, SEG_CS, (uint16_t)(vector >> 16));
	c->s.rip = vector & 0xffff;
	vcpu_update_mode(c);
}

/* --- what protected and long mode share ------------------------------------------- */

/* Rights to use gate @d, and its presence. */
static void gate_check(struct vcpu *c, const struct event *e, const struct desc *d, unsigned types)
{
	if (!desc_is_sys(d, types))
		raise_gp(c, gate_err(e));
	if (e->soft && desc_dpl(d) < c->cpl)
		raise_gp(c, gate_err(e));
	if (!desc_present(d))
		raise_err(c, EXC_NP, gate_err(e));
}

/* The handler's code segment.  Returns the privilege it will run at. */
static unsigned code_check(struct vcpu *c, const struct event *e, uint16_t sel, struct desc *d)
{
	if (sel_is_null(sel))
		raise_gp(c, e->ext);
	desc_need(c, sel, EXC_GP, e->ext, d);
	if (!desc_is_code(d) || desc_dpl(d) > c->cpl ||
	    (c->long_mode && (desc_attr(d) & (ATTR_L | ATTR_DB)) != ATTR_L))
		raise_gp(c, SEL_ERR(sel) | e->ext);
	if (!desc_present(d))
		raise_err(c, EXC_NP, SEL_ERR(sel) | e->ext);
	desc_set_accessed(c, d);
	return desc_conforming(d) ? c->cpl : desc_dpl(d);
}

/* @trap: a trap gate leaves IF as it is. */
static void enter(struct vcpu *c, const struct cpu_seg *cs, uint64_t rip, bool trap)
{
	c->s.rflags &= ~(uint64_t)(FL_TF | FL_NT | FL_RF | FL_VM | (trap ? 0 : FL_IF));
	seg_set(c, SEG_CS, cs);
	c->s.rip = rip;
	vcpu_update_mode(c);
}

static bool is_trap_gate(const struct desc *d)
{
	return desc_type(d) & 1;
}

/* --- protected mode -------------------------------------------------------------------- */

static void deliver_task(struct vcpu *c, const struct event *e, const struct desc *gate)
{
	uint16_t sel = gate_selector(gate);
	unsigned size;
	struct stack k;
	struct desc d;

	if (sel & SEL_TI || sel_is_null(sel))
		raise_gp(c, SEL_ERR(sel) | e->ext);
	desc_need(c, sel, EXC_GP, e->ext, &d);
	if (!desc_is_sys(&d, BIT(TYPE_TSS16) | BIT(TYPE_TSS32)))
		raise_gp(c, SEL_ERR(sel) | e->ext);
	if (!desc_present(&d))
		raise_err(c, EXC_NP, SEL_ERR(sel) | e->ext);
	size = desc_type(&d) & TYPE_32 ? 4 : 2;
	task_switch(c, sel, &d, TASK_INT, e->rip, e->ext);
	if (!e->has_error)
		return;
	k = stack_current(c);
	stack_push(c, &k, size, e->error);
	stack_commit(c, &k);
}

/* Frame in the order it is pushed, from EFLAGS on. */
static void push_frame(struct vcpu *c, struct stack *k, const struct event *e, unsigned size)
{
	stack_push(c, k, size, c->s.rflags);
	stack_push(c, k, size, c->s.seg[SEG_CS].sel);
	stack_push(c, k, size, e->rip);
	if (e->has_error)
		stack_push(c, k, size, e->error);
}

static void deliver_inner(struct vcpu *c, const struct event *e, const struct desc *gate,
			  const struct cpu_seg *cs, uint64_t rip)
{
	static const uint8_t vm_order[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};
	unsigned size = desc_type(gate) & TYPE_32 ? 4 : 2, cpl = cs->sel & SEL_RPL;
	bool vm = in_vm86(c);
	struct cpu_seg ss;
	struct stack k;
	struct desc d;
	uint16_t sel;
	uint32_t sp;

	tss_stack(c, cpl, e->ext, &sel, &sp);
	ss_check(c, sel, cpl, EXC_TS, e->ext, &d);
	ss = desc_to_seg(c, &d, sel);
	k = stack_new(&ss, sp, cpl, SEL_ERR(sel) | e->ext);
	for (unsigned i = 0; vm && i < ARRAY_SIZE(vm_order); i++)
		stack_push(c, &k, size, c->s.seg[vm_order[i]].sel);
	stack_push(c, &k, size, c->s.seg[SEG_SS].sel);
	stack_push(c, &k, size, c->s.gpr[GPR_RSP]);
	push_frame(c, &k, e, size);
	for (unsigned i = 0; vm && i < ARRAY_SIZE(vm_order); i++)
		seg_set_null(c, vm_order[i], 0);
	seg_set(c, SEG_SS, &ss);
	stack_commit(c, &k);
	enter(c, cs, rip, is_trap_gate(gate));
}

static void deliver_protected(struct vcpu *c, const struct event *e)
{
	const unsigned types = BIT(TYPE_TASK_GATE) | BIT(TYPE_INT16) | BIT(TYPE_TRAP16) |
			       BIT(TYPE_INT32) | BIT(TYPE_TRAP32);
	struct desc gate = {0}, code;
	struct cpu_seg cs;
	struct stack k;
	uint64_t rip;
	uint16_t sel;
	unsigned cpl;

	if (e->vec * 8U + 7 > c->s.idt.limit)
		raise_gp(c, gate_err(e));
	gate.lo = sys_load(c, c->s.idt.base + e->vec * 8U, 8);
	gate_check(c, e, &gate, types);
	if (desc_type(&gate) == TYPE_TASK_GATE) {
		deliver_task(c, e, &gate);
		return;
	}
	sel = gate_selector(&gate);
	cpl = code_check(c, e, sel, &code);
	if (in_vm86(c) && cpl != 0)
		raise_gp(c, SEL_ERR(sel) | e->ext);
	cs = desc_to_seg(c, &code, (uint16_t)((sel & ~SEL_RPL) | cpl));
	rip = gate_offset(&gate) & (desc_type(&gate) & TYPE_32 ? 0xffffffff : 0xffff);
	rip_check(c, &cs, rip, e->ext);
	if (cpl < c->cpl) {
		deliver_inner(c, e, &gate, &cs, rip);
		return;
	}
	k = stack_current(c);
	k.err = e->ext;
	push_frame(c, &k, e, desc_type(&gate) & TYPE_32 ? 4 : 2);
	stack_commit(c, &k);
	enter(c, &cs, rip, is_trap_gate(&gate));
}

/* --- long mode ------------------------------------------------------------------------------ */

/* Where the frame goes: the IST, the TSS's stack of an inner privilege, or this stack. */
static struct stack long_stack(struct vcpu *c, const struct event *e, const struct desc *gate,
			       unsigned cpl)
{
	unsigned ist = gate->lo >> 32 & 7;
	uint64_t rsp = c->s.gpr[GPR_RSP];
	struct stack k;

	if (ist)
		rsp = tss_rsp(c, 28 + 8 * ist, e->ext);
	else if (cpl < c->cpl)
		rsp = tss_rsp(c, 4 + 8 * cpl, e->ext);
	k = stack_wide(rsp & ~0xfULL, cpl, e->ext);
	if (cpl == c->cpl)
		k.system = false; /* the current view is the right one */
	return k;
}

static void deliver_long(struct vcpu *c, const struct event *e)
{
	struct desc gate = {0}, code;
	uint64_t rip, lin = c->s.idt.base + e->vec * 16U;
	struct cpu_seg cs;
	struct stack k;
	uint16_t sel;
	unsigned cpl;

	if (e->vec * 16U + 15 > c->s.idt.limit)
		raise_gp(c, gate_err(e));
	gate.lo = sys_load(c, lin, 8);
	gate.hi = sys_load(c, lin + 8, 8);
	gate_check(c, e, &gate, BIT(TYPE_INT32) | BIT(TYPE_TRAP32));
	sel = gate_selector(&gate);
	cpl = code_check(c, e, sel, &code);
	cs = desc_to_seg(c, &code, (uint16_t)((sel & ~SEL_RPL) | cpl));
	rip = gate_offset(&gate) | gate.hi << 32;
	rip_check(c, &cs, rip, e->ext);
	k = long_stack(c, e, &gate, cpl);
	stack_push(c, &k, 8, c->s.seg[SEG_SS].sel);
	stack_push(c, &k, 8, c->s.gpr[GPR_RSP]);
	push_frame(c, &k, e, 8);
	if (cpl < c->cpl)
		seg_set_null(c, SEG_SS, (uint16_t)cpl);
	c->s.gpr[GPR_RSP] = k.sp;
	enter(c, &cs, rip, is_trap_gate(&gate));
}

void deliver_event(struct vcpu *c, uint8_t vec, bool soft_int, bool has_error, uint32_t error,
		   uint64_t return_rip)
{
	const struct event e = {.vec = vec,
				.soft = soft_int,
				.has_error = has_error,
				.error = error,
				.ext = soft_int ? 0 : ERR_EXT,
				.rip = return_rip};

	if (!(c->s.cr0 & CR0_PE))
		deliver_real(c, &e);
	else if (c->long_mode)
		deliver_long(c, &e);
	else
		deliver_protected(c, &e);
}

/* --- instructions -------------------------------------------------------------------------------
 */

void op_int(struct vcpu *c, const struct insn *i)
{
	if (in_vm86(c) && iopl(c) < 3)
		raise_gp(c, 0);
	deliver_event(c, (uint8_t)i->imm, true, false, 0, c->s.rip);
}

void op_int3(struct vcpu *c, const struct insn *i)
{
	deliver_event(c, EXC_BP, true, false, 0, c->s.rip);
}

void op_into(struct vcpu *c, const struct insn *i)
{
	if (c->s.rflags & FL_OF)
		deliver_event(c, EXC_OF, true, false, 0, c->s.rip);
}

/*
 * Also INT1: privileged like a hardware event, whatever the gate's DPL is.  Traps that
 * MOV SS held back come along: a second #DB would overwrite the frame on the IST stack.
 */
void op_icebp(struct vcpu *c, const struct insn *i)
{
	deliver_event(c, EXC_DB, false, false, 0, c->s.rip);
	c->s.dr6 |= c->db_pending;
	c->db_pending = 0;
}
