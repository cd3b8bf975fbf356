// SPDX-License-Identifier: Apache-2.0
/*
 * softchip_state.c - saved state of PIC, IOAPIC and local APICs, and the local
 * APIC's page in the kernel's layout.
 *
 * Only registers are saved.  What follows from them (the PIC's INT, the "pending"
 * flags, host timers) is rebuilt after loading.  A loaded state is hostile: values
 * that no sequence of register writes can produce are refused.
 */
#include <errno.h>
#include <string.h>

#include "base/thread.h"
#include "irq/chip.h"

/* Lock and recompute for a controller that belongs to a chip; detached copies need neither. */
static void refresh_cpus(struct softchip *chip)
{
	for (unsigned i = 0; i < chip->ncpus; i++)
		lapic_update(&chip->lapic[i]);
}

/* --- PIC -------------------------------------------------------------------- */

static const struct state_field unit_fields[] = {
	STATE_INT(struct pic_unit, irr),	  STATE_INT(struct pic_unit, isr),
	STATE_INT(struct pic_unit, imr),	  STATE_INT(struct pic_unit, lines),
	STATE_INT(struct pic_unit, elcr),	  STATE_INT(struct pic_unit, base),
	STATE_INT(struct pic_unit, icw3),	  STATE_INT(struct pic_unit, init_state),
	STATE_INT(struct pic_unit, lowest),	  STATE_INT(struct pic_unit, want_icw4),
	STATE_INT(struct pic_unit, single),	  STATE_INT(struct pic_unit, auto_eoi),
	STATE_INT(struct pic_unit, rotate_aeoi),  STATE_INT(struct pic_unit, sfnm),
	STATE_INT(struct pic_unit, special_mask), STATE_INT(struct pic_unit, read_isr),
	STATE_INT(struct pic_unit, poll),	  STATE_FIELDS_END,
};

static const struct state_field pic_fields[] = {
	STATE_STRUCTS(struct pic, unit, unit_fields),
	STATE_FIELDS_END,
};

static bool unit_valid(struct pic_unit *u, uint8_t elcr_mask)
{
	bool ok = u->lowest < 8 && u->init_state <= 4 && u->init_state != 1 &&
		  !(u->elcr & (uint8_t)~elcr_mask) && !(u->base & 7);

	ok &= state_bool_ok(&u->want_icw4);
	ok &= state_bool_ok(&u->single);
	ok &= state_bool_ok(&u->auto_eoi);
	ok &= state_bool_ok(&u->rotate_aeoi);
	ok &= state_bool_ok(&u->sfnm);
	ok &= state_bool_ok(&u->special_mask);
	ok &= state_bool_ok(&u->read_isr);
	ok &= state_bool_ok(&u->poll);
	u->lowest &= 7;
	return ok;
}

static int pic_post_load(void *obj, struct errbuf *err)
{
	struct pic *p = obj;
	bool ok;

	if (p->chip)
		pthread_mutex_lock(&p->chip->lock);
	ok = unit_valid(&p->unit[0], 0xf8);
	ok &= unit_valid(&p->unit[1], 0xde);
	pic_recompute(p);
	if (p->chip) {
		refresh_cpus(p->chip);
		pthread_mutex_unlock(&p->chip->lock);
	}
	return ok ? 0 : err_set(err, -EINVAL, "PIC: registers that no 8259A can hold");
}

const struct state_desc softchip_pic_state = {
	.name = "pic",
	.version = 1,
	.fields = pic_fields,
	.post_load = pic_post_load,
};

/* --- IOAPIC ------------------------------------------------------------------- */

static const struct state_field ioapic_fields[] = {
	STATE_ARRAY(struct ioapic, rte),
	STATE_INT(struct ioapic, lines),
	STATE_INT(struct ioapic, id),
	STATE_INT(struct ioapic, select),
	STATE_FIELDS_END,
};

static int ioapic_post_load(void *obj, struct errbuf *err)
{
	struct ioapic *io = obj;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t rte = io->rte[pin];

		if ((rte & ~0xff0000000001ffffULL) ||
		    ((rte & RTE_REMOTE_IRR) && !(rte & RTE_LEVEL)))
			return err_set(err, -EINVAL, "IOAPIC: pin %u has the invalid entry %#llx",
				       pin, (unsigned long long)rte);
	}
	if (io->lines >> IOAPIC_PINS || (io->id & ~0x0f000000u))
		return err_set(err, -EINVAL, "IOAPIC: lines %#x, ID %#x are out of range",
			       io->lines, io->id);
	return 0;
}

const struct state_desc softchip_ioapic_state = {
	.name = "ioapic",
	.version = 1,
	.fields = ioapic_fields,
	.post_load = ioapic_post_load,
};

/* --- local APIC ------------------------------------------------------------------ */

static const struct state_field lapic_fields[] = {
	STATE_INT(struct lapic, base),	       STATE_INT(struct lapic, tpr),
	STATE_INT(struct lapic, ldr),	       STATE_INT(struct lapic, dfr),
	STATE_INT(struct lapic, svr),	       STATE_INT(struct lapic, esr),
	STATE_INT(struct lapic, esr_new),      STATE_INT(struct lapic, icr),
	STATE_ARRAY(struct lapic, lvt),	       STATE_ARRAY(struct lapic, isr),
	STATE_ARRAY(struct lapic, tmr),	       STATE_ARRAY(struct lapic, irr),
	STATE_INT(struct lapic, ticr),	       STATE_INT(struct lapic, tdcr),
	STATE_INT(struct lapic, timer_on),     STATE_INT(struct lapic, timer_ns),
	STATE_INT(struct lapic, tsc_deadline), STATE_FIELDS_END,
};

static bool lapic_valid(struct lapic *l)
{
	bool ok = state_bool_ok(&l->timer_on);

	ok &= (l->base & (APIC_BASE_EN | APIC_BASE_X2)) != APIC_BASE_X2;
	ok &= !(l->base & ~(APIC_BASE_ADDR | APIC_BASE_BSP | APIC_BASE_X2 | APIC_BASE_EN));
	ok &= !((l->isr[0] | l->irr[0]) & 0xffff);
	ok &= l->tpr <= 0xff && !(l->svr & ~(uint32_t)SVR_WRITABLE) && !(l->tdcr & ~0xbu);
	ok &= !(l->ldr & 0xffffff) && (l->dfr & 0x0fffffff) == 0x0fffffff;
	for (unsigned i = 0; i < LVT_COUNT; i++)
		ok &= !(l->lvt[i] & ~0x7f7ffu);
	return ok;
}

static int lapic_post_load(void *obj, struct errbuf *err)
{
	struct lapic *l = obj;
	bool ok;

	if (l->chip)
		pthread_mutex_lock(&l->chip->lock);
	ok = lapic_valid(l);
	if (!ok)
		lapic_reset(l, true);
	lapic_timer_resume(l);
	lapic_update(l);
	if (l->chip)
		pthread_mutex_unlock(&l->chip->lock);
	return ok ? 0
		  : err_set(err, -EINVAL, "local APIC %u: registers that none can hold", l->index);
}

const struct state_desc softchip_lapic_state = {
	.name = "lapic",
	.version = 1,
	.fields = lapic_fields,
	.post_load = lapic_post_load,
};

void *softchip_lapic_object(struct softchip *chip, unsigned cpu)
{
	return &chip->lapic[cpu];
}

void *softchip_pic_object(struct softchip *chip)
{
	return &chip->pic;
}

void *softchip_ioapic_object(struct softchip *chip)
{
	return &chip->ioapic;
}

/* --- the kernel's page --------------------------------------------------------------- */

static void put32(uint8_t *page, uint32_t reg, uint32_t val)
{
	memcpy(page + reg, &val, 4);
}

static uint32_t get32(const uint8_t *page, uint32_t reg)
{
	uint32_t val;

	memcpy(&val, page + reg, 4);
	return val;
}

static void put256(uint8_t *page, uint32_t reg, const uint64_t map[4])
{
	for (unsigned i = 0; i < 8; i++)
		put32(page, reg + i * 16, (uint32_t)(map[i / 2] >> (i % 2 * 32)));
}

static void get256(const uint8_t *page, uint32_t reg, uint64_t map[4])
{
	for (unsigned i = 0; i < 4; i++)
		map[i] = get32(page, reg + i * 32) | (uint64_t)get32(page, reg + i * 32 + 16) << 32;
}

/* The ID is in xAPIC's place in both modes, as KVM has it without KVM_CAP_X2APIC_API. */
void lapic_to_page(const struct lapic *l, uint64_t now_ns, uint8_t page[1024])
{
	memset(page, 0, 1024);
	put32(page, APIC_ID, l->index << 24);
	put32(page, APIC_VERSION, LAPIC_VERSION);
	put32(page, APIC_TPR, l->tpr);
	put32(page, APIC_PPR, lapic_ppr(l));
	put32(page, APIC_LDR,
	      lapic_is_x2(l) ? l->index >> 4 << 16 | 1u << (l->index & 15) : l->ldr);
	put32(page, APIC_DFR, l->dfr);
	put32(page, APIC_SVR, l->svr);
	put256(page, APIC_ISR, l->isr);
	put256(page, APIC_TMR, l->tmr);
	put256(page, APIC_IRR, l->irr);
	put32(page, APIC_ESR, l->esr);
	put32(page, APIC_ICR, (uint32_t)l->icr);
	put32(page, APIC_ICR_HI, (uint32_t)(l->icr >> 32));
	for (uint32_t i = 0; i < LVT_COUNT; i++)
		put32(page, APIC_LVT + i * 16, l->lvt[i]);
	put32(page, APIC_TICR, l->ticr);
	put32(page, APIC_TCCR, lapic_timer_count(l, now_ns));
	put32(page, APIC_TDCR, l->tdcr);
}

int lapic_from_page(struct lapic *l, uint64_t now_ns, const uint8_t page[1024])
{
	uint32_t id = get32(page, APIC_ID), count = get32(page, APIC_TCCR);
	uint64_t deadline = l->tsc_deadline;

	if (id != l->index << 24 && id != l->index)
		return -EINVAL;
	l->tpr = get32(page, APIC_TPR) & 0xff;
	l->ldr = lapic_is_x2(l) ? 0 : get32(page, APIC_LDR) & 0xff000000;
	l->dfr = get32(page, APIC_DFR) | 0x0fffffff;
	l->svr = get32(page, APIC_SVR) & SVR_WRITABLE;
	get256(page, APIC_ISR, l->isr);
	get256(page, APIC_TMR, l->tmr);
	get256(page, APIC_IRR, l->irr);
	l->isr[0] &= ~0xffffULL;
	l->irr[0] &= ~0xffffULL;
	l->esr = get32(page, APIC_ESR) & 0xff;
	l->esr_new = 0;
	l->icr = get32(page, APIC_ICR) | (uint64_t)get32(page, APIC_ICR_HI) << 32;
	for (uint32_t i = 0; i < LVT_COUNT; i++)
		l->lvt[i] = get32(page, APIC_LVT + i * 16) & 0x7a7ff;
	l->ticr = get32(page, APIC_TICR);
	l->tdcr = get32(page, APIC_TDCR) & 0xb;
	if ((l->lvt[LVT_TIMER] & LVT_TIMER_MODE) == LVT_TIMER_DEADLINE) {
		l->tsc_deadline = deadline; /* an MSR, not in the page */
		return 0;
	}
	l->tsc_deadline = 0;
	/* a periodic timer is caught at zero only while it expires */
	if (!count && (l->lvt[LVT_TIMER] & LVT_TIMER_MODE) == LVT_TIMER_PERIODIC)
		count = l->ticr;
	l->timer_on = l->ticr && count;
	l->timer_ns = now_ns + (uint64_t)count * lapic_timer_divisor(l->tdcr);
	return 0;
}

void softchip_lapic_get_page(struct softchip *chip, unsigned cpu, uint8_t page[1024])
{
	LOCK_SCOPE(&chip->lock);
	lapic_to_page(&chip->lapic[cpu], lapic_now(&chip->lapic[cpu]), page);
}

int softchip_lapic_set_page(struct softchip *chip, unsigned cpu, const uint8_t page[1024])
{
	struct lapic *l = &chip->lapic[cpu];
	LOCK_SCOPE(&chip->lock);
	int ret = lapic_from_page(l, lapic_now(l), page);

	if (ret)
		return ret;
	lapic_timer_resume(l);
	lapic_update(l);
	return 0;
}
