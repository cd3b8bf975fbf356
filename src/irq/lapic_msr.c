// SPDX-License-Identifier: Apache-2.0
/*
 * lapic_msr.c - the local APIC through MSRs: IA32_APIC_BASE with its transitions,
 * IA32_TSC_DEADLINE, and the x2APIC registers with their #GP rules.
 *
 * Sources: Intel SDM vol. 3A, 11.4.4 (APIC_BASE), 11.12 (x2APIC, table 11-6 for the
 * registers, 11.12.5 for the state transitions).
 */
#include "irq/chip.h"

enum {
	MSR_APIC_BASE = 0x1b,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_X2_FIRST = 0x800,
	MSR_X2_LAST = 0x8ff,
};
enum { GP = -1 };

/* Reserved bits of ICR in x2APIC mode; bit 12, delivery status, is ignored. */
#define ICR_RESERVED 0xfff32000ULL

static int write_base(struct lapic *l, uint64_t val)
{
	uint64_t known = APIC_BASE_ADDR | APIC_BASE_BSP | APIC_BASE_X2 | APIC_BASE_EN;
	bool en = val & APIC_BASE_EN, x2 = val & APIC_BASE_X2;

	if ((val & ~known) || (x2 && !en))
		return GP;
	if (lapic_is_x2(l) && en && !x2)
		return GP; /* x2APIC is left by disabling only */
	if (!lapic_hw_enabled(l) && x2)
		return GP; /* and entered from xAPIC only */
	if (lapic_hw_enabled(l) && !en)
		lapic_reset(l, true);
	l->base = val;
	lapic_update(l);
	return 0;
}

/* --- x2APIC registers ------------------------------------------------------- */

enum { R = 1, W = 2 };

static unsigned access_of(uint32_t reg)
{
	switch (reg) {
	case APIC_ID:
	case APIC_VERSION:
	case APIC_PPR:
	case APIC_LDR:
	case APIC_TCCR:
	case APIC_ISR ... APIC_IRR + 0x7f: return R;
	case APIC_TPR:
	case APIC_SVR:
	case APIC_ESR:
	case APIC_ICR:
	case APIC_LVT ... APIC_LVT + 0x5f:
	case APIC_TICR:
	case APIC_TDCR: return R | W;
	case APIC_EOI:
	case APIC_SELF_IPI: return W;
	default: return 0;
	}
}

/* Bits that must be zero in a write to @reg. */
static uint64_t reserved_of(uint32_t reg)
{
	switch (reg) {
	case APIC_TPR:
	case APIC_SELF_IPI: return ~0xffULL;
	case APIC_SVR: return ~(uint64_t)SVR_WRITABLE;
	case APIC_EOI:
	case APIC_ESR: return ~0ULL;
	case APIC_ICR: return ICR_RESERVED;
	case APIC_TDCR: return ~0xbULL;
	case APIC_TICR: return ~0xffffffffULL;
	case APIC_LVT + LVT_TIMER * 0x10: return ~0x710ffULL;
	case APIC_LVT + LVT_ERROR * 0x10: return ~0x110ffULL;
	case APIC_LVT + LVT_LINT0 * 0x10:
	case APIC_LVT + LVT_LINT1 * 0x10: return ~0x1f7ffULL;
	default: return ~0x117ffULL; /* thermal, performance counters */
	}
}

static void self_ipi(struct lapic *l, uint8_t vector)
{
	if (vector < 16)
		lapic_error(l, ESR_SEND_ILLEGAL);
	else
		lapic_accept(l, vector, false);
}

static int write_x2(struct lapic *l, uint32_t reg, uint64_t val)
{
	if (!lapic_is_x2(l) || !(access_of(reg) & W) || (val & reserved_of(reg)))
		return GP;
	if (reg == APIC_ICR)
		lapic_send_icr(l, val);
	else if (reg == APIC_SELF_IPI)
		self_ipi(l, (uint8_t)val);
	else
		lapic_write_reg(l, reg, (uint32_t)val);
	return 0;
}

static int read_x2(struct lapic *l, uint32_t reg, uint64_t *val)
{
	if (!lapic_is_x2(l) || !(access_of(reg) & R))
		return GP;
	*val = reg == APIC_ICR ? l->icr : lapic_read_reg(l, reg);
	return 0;
}

/* --- entry ------------------------------------------------------------------- */

int lapic_rdmsr(struct lapic *l, uint32_t msr, uint64_t *val)
{
	switch (msr) {
	case MSR_APIC_BASE: *val = l->base; return 0;
	case MSR_TSC_DEADLINE: *val = l->tsc_deadline; return 0;
	case MSR_X2_FIRST ... MSR_X2_LAST: return read_x2(l, (msr - MSR_X2_FIRST) << 4, val);
	default: return GP;
	}
}

int lapic_wrmsr(struct lapic *l, uint32_t msr, uint64_t val)
{
	switch (msr) {
	case MSR_APIC_BASE: return write_base(l, val);
	case MSR_TSC_DEADLINE: lapic_timer_set_deadline(l, val); return 0;
	case MSR_X2_FIRST ... MSR_X2_LAST: return write_x2(l, (msr - MSR_X2_FIRST) << 4, val);
	default: return GP;
	}
}
