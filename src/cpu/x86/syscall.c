/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall.c - SYSCALL, SYSRET, SYSENTER, SYSEXIT.
 *
 * Where the vendors differ the model's vendor decides: AMD has SYSCALL outside 64-bit
 * mode, and no SYSENTER in long mode; Intel's SYSRET faults on a non-canonical RCX in
 * privilege 0, AMD's goes there.  The decoder's rows already keep out what a vendor
 * lacks by mode, but cannot tell compatibility mode from legacy mode.
 * Intel SDM vol. 2; AMD APM vol. 3.
 */
#include "cpu/x86/sys.h"

enum { SYSRET_FLAGS = 0x3c7fd7 & ~(FL_RF | FL_VM) };

void op_syscall(struct vcpu *c, const struct insn *i)
{
	uint16_t sel = (uint16_t)(c->s.star >> 32);

	if (!(c->s.efer & EFER_SCE) || !(c->s.cr0 & CR0_PE))
		raise_ud(c);
	if (c->long_mode) {
		c->s.gpr[GPR_RCX] = c->s.rip;
		c->s.gpr[GPR_R11] = c->s.rflags & ~(uint64_t)FL_RF;
		c->s.rip = c->mode == MODE_64 ? c->s.lstar : c->s.cstar;
		c->s.rflags &= ~(c->s.sfmask | FL_RF);
		c->s.rflags |= FL_RES1;
	} else {
		c->s.gpr[GPR_RCX] = (uint32_t)c->s.rip;
		c->s.rip = (uint32_t)c->s.star;
		c->s.rflags &= ~(uint64_t)(FL_IF | FL_RF | FL_VM);
	}
	seg_set_flat(c, sel, (uint16_t)((sel & ~SEL_RPL) + 8), 0, c->long_mode);
}

void op_sysret(struct vcpu *c, const struct insn *i)
{
	uint16_t sel = (uint16_t)(c->s.star >> 48);
	bool to_64 = i->opsize == 8;

	if (!(c->s.efer & EFER_SCE) || !in_protected(c))
		raise_ud(c);
	need_cpl0(c);
	if (to_64 && !c->model->amd && !is_canonical(c->s.gpr[GPR_RCX]))
		raise_gp(c, 0);
	c->s.rip = to_64 ? c->s.gpr[GPR_RCX] : (uint32_t)c->s.gpr[GPR_RCX];
	if (c->long_mode)
		c->s.rflags = (c->s.gpr[GPR_R11] & SYSRET_FLAGS) | FL_RES1;
	else
		c->s.rflags |= FL_IF;
	seg_set_flat(c, (uint16_t)(to_64 ? sel + 16 : sel), (uint16_t)(sel + 8), 3, to_64);
}

/* SYSENTER and SYSEXIT where there is neither: real mode is #GP, long mode on AMD #UD. */
static void sysenter_check(struct vcpu *c)
{
	if (c->long_mode && c->model->amd)
		raise_ud(c);
	if (!(c->s.cr0 & CR0_PE) || sel_is_null((uint16_t)c->s.sysenter_cs))
		raise_gp(c, 0);
}

void op_sysenter(struct vcpu *c, const struct insn *i)
{
	uint16_t sel = (uint16_t)(c->s.sysenter_cs & ~(uint64_t)SEL_RPL);

	sysenter_check(c);
	c->s.rflags &= ~(uint64_t)(FL_VM | FL_IF | FL_RF);
	c->s.gpr[GPR_RSP] = c->long_mode ? c->s.sysenter_esp : (uint32_t)c->s.sysenter_esp;
	c->s.rip = c->long_mode ? c->s.sysenter_eip : (uint32_t)c->s.sysenter_eip;
	seg_set_flat(c, sel, (uint16_t)(sel + 8), 0, c->long_mode);
}

void op_sysexit(struct vcpu *c, const struct insn *i)
{
	uint16_t sel = (uint16_t)(c->s.sysenter_cs & ~(uint64_t)SEL_RPL);
	uint64_t rip = c->s.gpr[GPR_RDX], rsp = c->s.gpr[GPR_RCX];
	bool to_64 = i->opsize == 8;

	sysenter_check(c);
	need_cpl0(c);
	if (to_64 && (!is_canonical(rip) || !is_canonical(rsp)))
		raise_gp(c, 0);
	c->s.rip = to_64 ? rip : (uint32_t)rip;
	c->s.gpr[GPR_RSP] = to_64 ? rsp : (uint32_t)rsp;
	sel = (uint16_t)(sel + (to_64 ? 32 : 16));
	seg_set_flat(c, sel, (uint16_t)(sel + 8), 3, to_64);
}
