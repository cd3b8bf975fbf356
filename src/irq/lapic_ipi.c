// SPDX-License-Identifier: Apache-2.0
/*
 * lapic_ipi.c - who an interrupt message is for, and giving it to them.
 *
 * Messages come from the IOAPIC and MSIs (8-bit destinations) and from ICR writes
 * (8 bits in xAPIC mode, 32 in x2APIC mode).  Lowest priority picks, among the
 * matching processors that are enabled, the one with the lowest processor priority
 * class; equals take turns.
 *
 * Source: Intel SDM vol. 3A, 11.6 (IPIs), 11.6.2 (destinations), 11.12.10 (x2APIC
 * logical destinations).
 */
#include "irq/chip.h"

enum { ICR_LOGICAL = 1 << 11, ICR_ASSERT = 1 << 14, ICR_LEVEL = 1 << 15 };
enum { SHORT_NONE, SHORT_SELF, SHORT_ALL, SHORT_OTHERS };

static bool matches_logical(const struct lapic *l, const struct apic_msg *msg)
{
	uint32_t ldr;

	if (lapic_is_x2(l)) {
		ldr = l->index >> 4 << 16 | 1u << (l->index & 15);
		return msg->dest >> 16 == ldr >> 16 && (msg->dest & ldr & 0xffff);
	}
	if (msg->dest > 0xff)
		return false;
	ldr = l->ldr >> 24;
	if (l->dfr >> 28 == 0xf)
		return msg->dest & ldr;
	return msg->dest >> 4 == ldr >> 4 && (msg->dest & ldr & 0xf);
}

static bool matches(const struct lapic *l, const struct apic_msg *msg)
{
	if (!lapic_hw_enabled(l))
		return false;
	if (msg->dest == (msg->wide ? 0xffffffff : 0xff))
		return true;
	return msg->logical ? matches_logical(l, msg) : msg->dest == l->index;
}

static bool deliver_one(struct lapic *l, const struct apic_msg *msg)
{
	if (!lapic_hw_enabled(l))
		return false;
	switch (msg->mode) {
	case DM_FIXED:
	case DM_LOWEST: return lapic_accept(l, msg->vector, msg->level);
	case DM_SMI: chip_notify(l, SOFT_EVENT_SMI, 0); return true;
	case DM_NMI: chip_notify(l, SOFT_EVENT_NMI, 0); return true;
	case DM_INIT: chip_notify(l, SOFT_EVENT_INIT, 0); return true;
	case DM_SIPI: chip_notify(l, SOFT_EVENT_SIPI, msg->vector); return true;
	default: return false; /* ExtINT by message: the 8259 is wired to LINT0 only */
	}
}

static bool deliver_lowest(struct softchip *chip, const struct apic_msg *msg)
{
	struct lapic *best = NULL;

	for (unsigned n = 0; n < chip->ncpus; n++) {
		struct lapic *l = &chip->lapic[(chip->next_lowest + n) % chip->ncpus];

		if (!lapic_sw_enabled(l) || !matches(l, msg))
			continue;
		if (!best || lapic_ppr(l) >> 4 < lapic_ppr(best) >> 4)
			best = l;
	}
	if (!best)
		return false;
	chip->next_lowest = (best->index + 1) % chip->ncpus;
	return deliver_one(best, msg);
}

bool apic_deliver(struct softchip *chip, const struct apic_msg *msg)
{
	bool any = false;

	if (msg->mode == DM_LOWEST)
		return deliver_lowest(chip, msg);
	for (unsigned i = 0; i < chip->ncpus; i++)
		if (matches(&chip->lapic[i], msg))
			any |= deliver_one(&chip->lapic[i], msg);
	return any;
}

static void deliver_shorthand(struct lapic *from, unsigned shorthand, const struct apic_msg *msg)
{
	struct softchip *chip = from->chip;

	if (shorthand == SHORT_SELF) {
		deliver_one(from, msg);
		return;
	}
	for (unsigned i = 0; i < chip->ncpus; i++)
		if (shorthand == SHORT_ALL || i != from->index)
			deliver_one(&chip->lapic[i], msg);
}

void lapic_send_icr(struct lapic *l, uint64_t icr)
{
	unsigned shorthand = icr >> 18 & 3;
	struct apic_msg msg = {
		.dest = lapic_is_x2(l) ? (uint32_t)(icr >> 32) : (uint32_t)(icr >> 56),
		.wide = lapic_is_x2(l),
		.logical = icr & ICR_LOGICAL,
		.vector = (uint8_t)icr,
		.mode = (enum apic_dm)(icr >> 8 & 7),
		/* IPIs are edge triggered whatever bit 15 says (SDM 11.6.1) */
		.level = false,
	};

	l->icr = icr & ~(uint64_t)RTE_STATUS;
	if (msg.mode == DM_INIT && (icr & ICR_LEVEL) && !(icr & ICR_ASSERT))
		return; /* INIT level de-assert: no effect since Pentium 4 */
	if (msg.mode <= DM_LOWEST && msg.vector < 16) {
		lapic_error(l, ESR_SEND_ILLEGAL);
		return;
	}
	if (shorthand == SHORT_NONE)
		apic_deliver(l->chip, &msg);
	else
		deliver_shorthand(l, shorthand, &msg);
}
