/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iret.c - IRET in every mode (SDM vol. 2, IRET).
 *
 * Pops and checks come first; flags are worked out with the old privilege and
 * written together with the segments.  NMIs are unblocked even if the IRET faults.
 */
#include "cpu/x86/sys.h"

/* Flags any program may load; RF, AC, ID only with 32 bits and more. */
enum {
	FLAGS_LOW = FL_STATUS | FL_TF | FL_DF | FL_NT,
	FLAGS_HIGH = FL_RF | FL_AC | FL_ID,
};

static uint64_t flags_mask(const struct vcpu *c, unsigned size)
{
	uint64_t mask = FLAGS_LOW | (size > 2 ? FLAGS_HIGH : 0);

	if (c->cpl <= iopl(c))
		mask |= FL_IF;
	if (c->cpl == 0) {
		mask |= FL_IOPL;
		if (size > 2)
			mask |= FL_VIF | FL_VIP;
	}
	return mask;
}

/* Real mode, and virtual-8086 mode with IOPL 3. */
static void iret_real(struct vcpu *c, unsigned size)
{
	struct stack k = stack_current(c);
	uint64_t rip = stack_pop(c, &k, size), flags, mask = FLAGS_LOW | FL_IF;
	uint16_t sel = (uint16_t)stack_pop(c, &k, size);
	bool vm = in_vm86(c);

	flags = stack_pop(c, &k, size);
	if (rip > (vm ? 0xffff : c->s.seg[SEG_CS].limit))
		raise_gp(c, 0);
	if (size > 2)
		mask |= FLAGS_HIGH;
	if (!vm)
		mask |= FL_IOPL;
	stack_commit(c, &k);
	flags_merge(c, flags, mask);
	if (vm)
		seg_set_vm86(c, SEG_CS, sel);
	else
		seg_set_real(c, SEG_CS, sel);
	c->s.rip = rip;
	vcpu_update_mode(c);
}

/* NT: back to the task that the current one interrupted or was called from. */
static void iret_task(struct vcpu *c)
{
	uint16_t sel = (uint16_t)sys_load(c, c->s.tr.base, 2);
	struct desc d;

	if (sel & SEL_TI || sel_is_null(sel))
		raise_err(c, EXC_TS, SEL_ERR(sel));
	desc_need(c, sel, EXC_TS, 0, &d);
	if (!desc_is_sys(&d, BIT(TYPE_TSS16_BUSY) | BIT(TYPE_TSS32_BUSY)))
		raise_err(c, EXC_TS, SEL_ERR(sel));
	if (!desc_present(&d))
		raise_err(c, EXC_NP, SEL_ERR(sel));
	task_switch(c, sel, &d, TASK_IRET, c->s.rip, 0);
}

/* From privilege 0 to virtual-8086 mode. */
static void iret_vm86(struct vcpu *c, struct stack *k, uint64_t rip, uint16_t cs, uint64_t flags)
{
	static const uint8_t order[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	uint64_t rsp = stack_pop(c, k, 4);
	uint16_t ss = (uint16_t)stack_pop(c, k, 4), sel[ARRAY_SIZE(order)];

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		sel[i] = (uint16_t)stack_pop(c, k, 4);
	flags_merge(c, flags, FLAGS_LOW | FLAGS_HIGH | FL_IF | FL_IOPL | FL_VIF | FL_VIP | FL_VM);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		seg_set_vm86(c, order[i], sel[i]);
	seg_set_vm86(c, SEG_CS, cs);
	seg_set_vm86(c, SEG_SS, ss);
	c->s.gpr[GPR_RSP] = rsp;
	c->s.rip = rip & 0xffff;
	vcpu_update_mode(c);
}

static void iret_protected(struct vcpu *c, unsigned size)
{
	struct stack k = stack_current(c);
	uint64_t rip = stack_pop(c, &k, size), flags, mask = flags_mask(c, size), rsp = 0;
	uint16_t sel = (uint16_t)stack_pop(c, &k, size), ss_sel = 0;
	struct cpu_seg cs, ss;
	struct desc d;
	bool outer;

	flags = stack_pop(c, &k, size);
	if (flags & FL_VM && c->cpl == 0 && size == 4 && !c->long_mode) {
		iret_vm86(c, &k, rip, sel, flags);
		return;
	}
	outer = c->mode == MODE_64 || (sel & SEL_RPL) > c->cpl;
	if (outer) {
		rsp = stack_pop(c, &k, size);
		ss_sel = (uint16_t)stack_pop(c, &k, size);
	}
	return_check_cs(c, sel, &d);
	cs = desc_to_seg(c, &d, sel);
	rip_check(c, &cs, rip, 0);
	if (outer)
		ss = return_check_ss(c, ss_sel, sel & SEL_RPL, c->long_mode && cs.attr & ATTR_L);
	flags_merge(c, flags, mask);
	if (outer) {
		return_commit(c, &cs, &ss, rip, rsp);
		return;
	}
	stack_commit(c, &k);
	seg_set(c, SEG_CS, &cs);
	c->s.rip = rip;
	vcpu_update_mode(c);
}

void op_iret(struct vcpu *c, const struct insn *i)
{
	c->s.nmi_blocked = 0;
	if (!in_protected(c)) {
		if (in_vm86(c) && iopl(c) < 3)
			raise_gp(c, 0);
		iret_real(c, i->opsize);
	} else if (!(c->s.rflags & FL_NT)) {
		iret_protected(c, i->opsize);
	} else if (c->long_mode) {
		raise_gp(c, 0);
	} else {
		iret_task(c);
	}
}
