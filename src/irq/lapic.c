// SPDX-License-Identifier: Apache-2.0
/*
 * lapic.c - the local APIC: registers, priorities, acceptance and dispensing.
 *
 * A fixed interrupt is accepted into IRR; the highest one above the processor
 * priority moves to ISR when the processor takes it; EOI ends the highest in
 * service and, for a level interrupt (TMR), tells the IOAPIC.  After each change
 * lapic_update() recomputes one flag, "pending": is there anything to take now?
 * It is the only thing read without the chip's lock, on every vCPU entry.
 *
 * There is no firmware below us, so power-on leaves the boot processor's LINT0 in
 * virtual wire mode (ExtINT) and LINT1 as NMI, as firmware would; ExtINT passes
 * while the APIC is still disabled by software, so that the 8259 works before the
 * operating system knows of the APIC.
 *
 * Sources: Intel SDM vol. 3A, chapter 11 ("Advanced Programmable Interrupt
 * Controller").
 */
#include "irq/chip.h"

/* Bits software may write: vector and mask, plus what each entry has. */
static const uint32_t lvt_writable[LVT_COUNT] = {
	[LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
	[LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff,	[LVT_ERROR] = 0x100ff,
};

/* --- priorities ---------------------------------------------------------- */

uint8_t lapic_ppr(const struct lapic *l)
{
	int isrv = bitmap_highest(l->isr, 4);
	uint8_t tpr = (uint8_t)l->tpr;

	if (isrv < 0 || (isrv & 0xf0) <= (tpr & 0xf0))
		return tpr;
	return (uint8_t)(isrv & 0xf0);
}

/* The vector to dispense now, or -1. */
static int deliverable(const struct lapic *l)
{
	int v = bitmap_highest(l->irr, 4);

	if (v < 0 || !lapic_hw_enabled(l) || (v & 0xf0) <= (lapic_ppr(l) & 0xf0))
		return -1;
	return v;
}

bool lapic_takes_pic(const struct lapic *l)
{
	uint32_t lint0 = l->lvt[LVT_LINT0];

	if (!lapic_hw_enabled(l))
		return l->index == 0; /* LINT0 is the INTR pin of the boot processor */
	return (lint0 & (LVT_MASKED | LVT_DM)) == DM_EXTINT << 8;
}

void lapic_update(struct lapic *l)
{
	bool now = deliverable(l) >= 0 || (l->chip && l->chip->pic.output && lapic_takes_pic(l));

	if (now == l->pending)
		return;
	/* pairs with the load in softchip_pending() */
	__atomic_store_n(&l->pending, now, __ATOMIC_RELEASE);
	if (now)
		chip_notify(l, SOFT_EVENT_IRQ, 0);
}

int lapic_take(struct lapic *l)
{
	int v;

	if (l->chip->pic.output && lapic_takes_pic(l)) {
		v = pic_ack(&l->chip->pic);
		lapic_update(l);
		return v;
	}
	v = deliverable(l);
	if (v >= 0) {
		bitmap_clear(l->irr, (size_t)v);
		bitmap_set(l->isr, (size_t)v);
	}
	lapic_update(l);
	return v;
}

/* --- acceptance ------------------------------------------------------------ */

bool lapic_accept(struct lapic *l, uint8_t vector, bool level)
{
	if (!lapic_sw_enabled(l))
		return false;
	if (vector < 16) {
		lapic_error(l, ESR_RECV_ILLEGAL);
		return false;
	}
	if (level)
		bitmap_set(l->tmr, vector);
	else
		bitmap_clear(l->tmr, vector);
	bitmap_set(l->irr, vector);
	lapic_update(l);
	return true;
}

void lapic_local_irq(struct lapic *l, enum lapic_lvt which)
{
	uint32_t lvt = l->lvt[which];
	unsigned mode = lvt >> 8 & 7;

	if (lvt & LVT_MASKED)
		return;
	if (which == LVT_TIMER || which == LVT_ERROR)
		mode = DM_FIXED;
	switch (mode) {
	case DM_FIXED:
		if (which == LVT_ERROR && (lvt & 0xff) < 16)
			l->esr_new |= ESR_RECV_ILLEGAL; /* must not report itself */
		else
			lapic_accept(l, (uint8_t)lvt, false);
		break;
	case DM_SMI: chip_notify(l, SOFT_EVENT_SMI, 0); break;
	case DM_NMI: chip_notify(l, SOFT_EVENT_NMI, 0); break;
	case DM_INIT: chip_notify(l, SOFT_EVENT_INIT, 0); break;
	default: break; /* ExtINT follows the wire, see lapic_update() */
	}
}

void lapic_error(struct lapic *l, uint32_t esr_bits)
{
	bool news = esr_bits & ~l->esr_new;

	l->esr_new |= esr_bits;
	if (news)
		lapic_local_irq(l, LVT_ERROR);
}

void lapic_pic_edge(struct lapic *l, bool level)
{
	if (level && lapic_hw_enabled(l) && (l->lvt[LVT_LINT0] & LVT_DM) != DM_EXTINT << 8)
		lapic_local_irq(l, LVT_LINT0);
	lapic_update(l);
}

void lapic_eoi(struct lapic *l)
{
	int v = bitmap_highest(l->isr, 4);

	if (v < 0)
		return;
	bitmap_clear(l->isr, (size_t)v);
	lapic_update(l);
	if (bitmap_test(l->tmr, (size_t)v) && l->chip)
		ioapic_eoi(&l->chip->ioapic, (uint8_t)v);
}

/* --- registers ------------------------------------------------------------- */

/* 32 bits of a 256-bit register. */
static uint32_t word(const uint64_t *map, uint32_t reg)
{
	unsigned i = reg >> 4 & 7;

	return (uint32_t)(map[i / 2] >> (i % 2 * 32));
}

static uint32_t read_ldr(const struct lapic *l)
{
	if (lapic_is_x2(l))
		return l->index >> 4 << 16 | 1u << (l->index & 15);
	return l->ldr;
}

static uint32_t read_bad(struct lapic *l)
{
	lapic_error(l, ESR_BAD_REG);
	return 0;
}

uint32_t lapic_read_reg(struct lapic *l, uint32_t reg)
{
	switch (reg) {
	case APIC_ID: return lapic_is_x2(l) ? l->index : l->index << 24;
	case APIC_VERSION: return LAPIC_VERSION;
	case APIC_TPR: return l->tpr;
	case APIC_APR: return 0;
	case APIC_PPR: return lapic_ppr(l);
	case APIC_EOI:
	case APIC_RRD: return 0;
	case APIC_LDR: return read_ldr(l);
	case APIC_DFR: return l->dfr;
	case APIC_SVR: return l->svr;
	case APIC_ISR ... APIC_ISR + 0x7f: return word(l->isr, reg);
	case APIC_TMR ... APIC_TMR + 0x7f: return word(l->tmr, reg);
	case APIC_IRR ... APIC_IRR + 0x7f: return word(l->irr, reg);
	case APIC_ESR: return l->esr;
	case APIC_ICR: return (uint32_t)l->icr;
	case APIC_ICR_HI: return (uint32_t)(l->icr >> 32);
	case APIC_LVT ... APIC_LVT + 0x5f: return l->lvt[(reg - APIC_LVT) >> 4];
	case APIC_TICR: return l->ticr;
	case APIC_TCCR: return lapic_timer_count(l, lapic_now(l));
	case APIC_TDCR: return l->tdcr;
	default: return read_bad(l);
	}
}

static void write_lvt(struct lapic *l, enum lapic_lvt which, uint32_t val)
{
	val &= lvt_writable[which];
	if (!(l->svr & SVR_ENABLE))
		val |= LVT_MASKED;
	if (which == LVT_TIMER)
		lapic_timer_set_lvt(l, val);
	else
		l->lvt[which] = val;
	if (which == LVT_LINT0)
		lapic_update(l);
}

static void write_svr(struct lapic *l, uint32_t val)
{
	l->svr = val & SVR_WRITABLE;
	if (l->svr & SVR_ENABLE)
		return;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->lvt[i] |= LVT_MASKED;
	lapic_update(l);
}

/* ESR shows what was gathered up to the last write (SDM 11.5.3). */
static void write_esr(struct lapic *l)
{
	l->esr = l->esr_new;
	l->esr_new = 0;
}

void lapic_write_reg(struct lapic *l, uint32_t reg, uint32_t val)
{
	switch (reg) {
	case APIC_TPR:
		l->tpr = val & 0xff;
		lapic_update(l);
		break;
	case APIC_EOI: lapic_eoi(l); break;
	case APIC_LDR: l->ldr = val & 0xff000000; break;
	case APIC_DFR: l->dfr = val | 0x0fffffff; break;
	case APIC_SVR: write_svr(l, val); break;
	case APIC_ESR: write_esr(l); break;
	case APIC_ICR: lapic_send_icr(l, (l->icr & 0xffffffff00000000ULL) | val); break;
	case APIC_ICR_HI: l->icr = (uint32_t)l->icr | (uint64_t)(val & 0xff000000) << 32; break;
	case APIC_LVT ... APIC_LVT + 0x5f:
		write_lvt(l, (enum lapic_lvt)((reg - APIC_LVT) >> 4), val);
		break;
	case APIC_TICR: lapic_timer_set_initial(l, val); break;
	case APIC_TDCR: lapic_timer_set_divide(l, val & 0xb); break;
	case APIC_ID: /* the ID is the vCPU's number for good */
	case APIC_RRD: break;
	default: lapic_error(l, ESR_BAD_REG); break;
	}
}

void lapic_reset(struct lapic *l, bool init)
{
	lapic_timer_stop(l);
	if (!init)
		l->base = APIC_BASE_DEFAULT | APIC_BASE_EN | (l->index ? 0 : APIC_BASE_BSP);
	l->tpr = l->ldr = l->esr = l->esr_new = 0;
	l->dfr = 0xffffffff;
	l->svr = 0xff;
	l->icr = 0;
	l->ticr = l->tdcr = 0;
	l->tsc_deadline = 0;
	for (unsigned i = 0; i < 4; i++)
		l->isr[i] = l->tmr[i] = l->irr[i] = 0;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		l->lvt[i] = LVT_MASKED;
	if (!init && !l->index) {
		l->lvt[LVT_LINT0] = DM_EXTINT << 8;
		l->lvt[LVT_LINT1] = DM_NMI << 8;
	}
	lapic_update(l);
}
