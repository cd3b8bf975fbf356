/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - may this state run?
 *
 * A state can come from a file or the network.  What is refused here is what the
 * checks of MOV CR, WRMSR, segment loads and LDMXCSR keep a processor from ever
 * being in, as far as the engine's own code relies on it.
 */
#include <errno.h>
#include <stdio.h>

#include "cpu/interp/interp.h"

enum { MXCSR_VALID = 0xffff, XCR0_VALID = XCR0_X87 | XCR0_SSE | XCR0_AVX };
#define RFLAGS_VALID 0x3f7fd7ULL

struct rule {
	bool broken;
	const char *what;
	uint64_t value;
};

static int apply(const struct rule *rules, size_t n, struct errbuf *err)
{
	for (size_t i = 0; i < n; i++)
		if (rules[i].broken)
			return err_set(err, -EINVAL, "state: %s (%#llx)", rules[i].what,
				       (unsigned long long)rules[i].value);
	return 0;
}

/* CR4 bits @m offers. */
static uint64_t cr4_valid(const struct cpu_model *m)
{
	static const struct {
		uint32_t bit;
		uint8_t feature;
	} optional[] = {
		{CR4_UMIP, FEAT_UMIP},	   {CR4_FSGSBASE, FEAT_FSGSBASE}, {CR4_PCIDE, FEAT_PCID},
		{CR4_OSXSAVE, FEAT_XSAVE}, {CR4_SMEP, FEAT_SMEP},	  {CR4_SMAP, FEAT_SMAP},
	};
	uint64_t ok = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE |
		      CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	for (unsigned i = 0; i < ARRAY_SIZE(optional); i++)
		if (cpu_has(m, optional[i].feature))
			ok |= optional[i].bit;
	return ok;
}

static int check_control(const struct cpu_state *s, const struct cpu_model *m, struct errbuf *err)
{
	bool pg = s->cr0 & CR0_PG, lma = s->efer & EFER_LMA, lme = s->efer & EFER_LME;
	uint64_t cr3_bad = lma ? ~(BIT(m->phys_bits) - 1) : 0xffffffff00000000ULL;
	bool nx = cpu_has(m, FEAT_NX);
	const struct rule rules[] = {
		{s->cr0 >> 32, "CR0 has reserved bits set", s->cr0},
		{pg && !(s->cr0 & CR0_PE), "CR0 has PG without PE", s->cr0},
		{s->cr0 & CR0_NW && !(s->cr0 & CR0_CD), "CR0 has NW without CD", s->cr0},
		{s->cr4 & ~cr4_valid(m), "CR4 has bits the CPU model lacks", s->cr4},
		{s->cr4 & CR4_PCIDE && !lma, "CR4 has PCIDE outside long mode", s->cr4},
		{s->efer & ~(uint64_t)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE),
		 "EFER has reserved bits set", s->efer},
		{s->efer & EFER_NXE && !nx, "EFER has NXE, which the CPU model lacks", s->efer},
		{lma != (lme && pg), "EFER.LMA is not EFER.LME and CR0.PG", s->efer},
		{lma && !(s->cr4 & CR4_PAE), "long mode without CR4.PAE", s->cr4},
		{s->cr3 & cr3_bad, "CR3 is beyond the physical addresses", s->cr3},
		{s->cr8 > 15, "CR8 is above 15", s->cr8},
		{!(s->xcr0 & XCR0_X87) || s->xcr0 & ~(uint64_t)XCR0_VALID ||
			 (s->xcr0 & (XCR0_AVX | XCR0_SSE)) == XCR0_AVX,
		 "XCR0 is not a valid set", s->xcr0},
		{s->fx.mxcsr & ~(uint32_t)MXCSR_VALID, "MXCSR has reserved bits set", s->fx.mxcsr},
		{s->dr6 >> 32 || s->dr7 >> 32, "DR6 or DR7 has reserved bits set", s->dr7},
	};

	return apply(rules, ARRAY_SIZE(rules), err);
}

static int check_addresses(const struct cpu_state *s, struct errbuf *err)
{
	const uint64_t must[] = {
		s->gdt.base,
		s->idt.base,
		s->tr.base,
		s->ldt.base,
		s->seg[SEG_FS].base,
		s->seg[SEG_GS].base,
		s->kernel_gs_base,
		s->lstar,
		s->cstar,
		s->sysenter_esp,
		s->sysenter_eip,
	};
	uint64_t rip_bad = s->efer & EFER_LMA && s->seg[SEG_CS].attr & ATTR_L
				   ? !is_canonical(s->rip)
				   : s->rip >> 32;

	if (rip_bad)
		return err_set(err, -EINVAL, "state: RIP %#llx is no address in this mode",
			       (unsigned long long)s->rip);
	for (unsigned i = 0; i < ARRAY_SIZE(must); i++)
		if (!is_canonical(must[i]))
			return err_set(err, -EINVAL, "state: address %#llx is not canonical",
				       (unsigned long long)must[i]);
	return 0;
}

static int check_segments(const struct cpu_state *s, struct errbuf *err)
{
	uint16_t cs = s->seg[SEG_CS].attr;
	bool lma = s->efer & EFER_LMA, pe = s->cr0 & CR0_PE, vm = s->rflags & FL_VM;
	const struct rule rules[] = {
		{lma && (cs & (ATTR_L | ATTR_DB)) == (ATTR_L | ATTR_DB), "CS has both L and D", cs},
		{vm && (lma || !pe), "RFLAGS.VM outside protected mode", s->rflags},
		{s->rflags & ~RFLAGS_VALID, "RFLAGS has reserved bits set", s->rflags},
		{!(s->rflags & FL_RES1), "RFLAGS bit 1 is clear", s->rflags},
		{pe && !vm && !(cs & ATTR_P), "CS is not present", cs},
	};

	for (unsigned i = 0; i < SEG_COUNT; i++) {
		bool wide = i == SEG_FS || i == SEG_GS || lma;

		if (!wide && s->seg[i].base >> 32)
			return err_set(err, -EINVAL, "state: base of segment %u is %#llx", i,
				       (unsigned long long)s->seg[i].base);
	}
	return apply(rules, ARRAY_SIZE(rules), err);
}

static int check_events(const struct cpu_state *s, struct errbuf *err)
{
	const struct rule rules[] = {
		{s->activity > CPU_SHUTDOWN, "unknown activity", s->activity},
		{s->exc_pending && (s->exc_vector > 31 || s->exc_vector == EXC_NMI),
		 "a pending exception has no such vector", s->exc_vector},
		{s->int_shadow > 1 || s->nmi_pending > 1 || s->nmi_blocked > 1 ||
			 s->exc_pending > 1 || s->exc_has_error > 1 || s->int_injected > 1,
		 "an event flag is neither 0 nor 1", 0},
	};

	return apply(rules, ARRAY_SIZE(rules), err);
}

int interp_check_state(const struct cpu_state *s, const struct cpu_model *m, struct errbuf *err)
{
	int ret = check_control(s, m, err);

	if (!ret)
		ret = check_segments(s, err);
	if (!ret)
		ret = check_addresses(s, err);
	return ret ? ret : check_events(s, err);
}
