// SPDX-License-Identifier: Apache-2.0
/*
 * pic.c - two cascaded 8259A interrupt controllers with the PC's ELCR.
 *
 * Each unit keeps IRR, ISR and IMR as the data sheet names them.  Priorities are
 * relative to "lowest": the input at that number has the highest priority, the one
 * before it the lowest.  An edge is latched in IRR until it is acknowledged, even
 * when the input falls (as the kernel's model does, so that devices may pulse); a
 * level input's IRR follows the wire, so a level that goes away before INTA gives
 * the spurious IRQ 7 (or 15).  ICW1's LTIM bit is ignored, the ELCR replaces it.
 *
 * Sources: Intel 8259A data sheet (231468), 82371 data sheet for the ELCR.
 */
#include "irq/chip.h"

enum { CASCADE = 2, NONE = 8 };
/* Inputs that may be level triggered: not 0, 1, 2, 8 and 13. */
static const uint8_t elcr_mask[2] = {0xf8, 0xde};

/* Rank of the most urgent of @bits: 0 the highest, NONE when there is none. */
static unsigned best_rank(const struct pic_unit *u, uint8_t bits)
{
	unsigned rank = 0;

	if (!bits)
		return NONE;
	while (!(bits >> ((rank + u->lowest) & 7) & 1))
		rank++;
	return rank;
}

/* The input this unit asks service for, or -1. */
static int request(const struct pic_unit *u, bool master)
{
	unsigned rank = best_rank(u, u->irr & (uint8_t)~u->imr);
	uint8_t busy = u->isr;

	if (rank == NONE)
		return -1;
	if (u->special_mask)
		busy &= (uint8_t)~u->imr;
	if (master && u->sfnm)
		busy &= (uint8_t) ~(1 << CASCADE);
	if (best_rank(u, busy) <= rank)
		return -1;
	return (int)((rank + u->lowest) & 7);
}

static void set_input(struct pic_unit *u, unsigned n, bool level)
{
	uint8_t bit = (uint8_t)(1 << n);

	if (level) {
		if ((u->elcr & bit) || !(u->lines & bit))
			u->irr |= bit;
		u->lines |= bit;
	} else {
		if (u->elcr & bit)
			u->irr &= (uint8_t)~bit;
		u->lines &= (uint8_t)~bit;
	}
}

/* What INT should be.  The slave's is the master's input 2 and followed like a level. */
static bool compute_output(struct pic *p)
{
	if (request(&p->unit[1], false) >= 0)
		p->unit[0].irr |= 1 << CASCADE;
	else
		p->unit[0].irr &= (uint8_t) ~(1 << CASCADE);
	return request(&p->unit[0], true) >= 0;
}

void pic_recompute(struct pic *p)
{
	p->output = compute_output(p);
}

static void pic_update(struct pic *p)
{
	bool out = compute_output(p);

	if (out == p->output)
		return;
	p->output = out;
	if (p->chip)
		softchip_pic_changed(p->chip, out);
}

void pic_set_line(struct pic *p, unsigned irq, bool level)
{
	if (irq > 15 || irq == CASCADE)
		return;
	set_input(&p->unit[irq >> 3], irq & 7, level);
	pic_update(p);
}

static void ack_unit(struct pic_unit *u, unsigned n)
{
	uint8_t bit = (uint8_t)(1 << n);

	if (!u->auto_eoi)
		u->isr |= bit;
	else if (u->rotate_aeoi)
		u->lowest = (n + 1) & 7;
	if (!(u->elcr & bit))
		u->irr &= (uint8_t)~bit;
}

uint8_t pic_ack(struct pic *p)
{
	int n = request(&p->unit[0], true), s;
	uint8_t vector;

	if (n < 0) {
		/* spurious: no ISR bit is set */
		return p->unit[0].base + 7;
	}
	ack_unit(&p->unit[0], (unsigned)n);
	vector = p->unit[0].base + (uint8_t)n;
	if (n == CASCADE) {
		s = request(&p->unit[1], false);
		if (s >= 0)
			ack_unit(&p->unit[1], (unsigned)s);
		vector = p->unit[1].base + (uint8_t)(s < 0 ? 7 : s);
	}
	/* INT falls between two acknowledged interrupts: an edge for LINT0 */
	p->output = false;
	if (p->chip)
		softchip_pic_changed(p->chip, false);
	pic_update(p);
	return vector;
}

/* --- registers ----------------------------------------------------------- */

static void write_icw1(struct pic_unit *u, uint8_t val)
{
	u->irr &= u->elcr;
	u->imr = u->isr = 0;
	u->lowest = 0;
	u->special_mask = u->read_isr = u->poll = false;
	u->rotate_aeoi = false;
	u->want_icw4 = val & 1;
	u->single = val & 2;
	if (!u->want_icw4)
		u->auto_eoi = u->sfnm = false;
	u->init_state = 2;
}

/* End the most urgent interrupt in service; returns its input or -1. */
static int eoi_nonspecific(struct pic_unit *u)
{
	uint8_t busy = u->special_mask ? u->isr & (uint8_t)~u->imr : u->isr;
	unsigned rank = best_rank(u, busy), n;

	if (rank == NONE)
		return -1;
	n = (rank + u->lowest) & 7;
	u->isr &= (uint8_t) ~(1 << n);
	return (int)n;
}

static void write_ocw2(struct pic_unit *u, uint8_t val)
{
	unsigned n = val & 7;
	int done;

	switch (val >> 5) {
	case 0: u->rotate_aeoi = false; break;
	case 4: u->rotate_aeoi = true; break;
	case 1: eoi_nonspecific(u); break;
	case 5:
		done = eoi_nonspecific(u);
		if (done >= 0)
			u->lowest = (uint8_t)((done + 1) & 7);
		break;
	case 3: u->isr &= (uint8_t) ~(1 << n); break;
	case 7:
		u->isr &= (uint8_t) ~(1 << n);
		u->lowest = (n + 1) & 7;
		break;
	case 6: u->lowest = (n + 1) & 7; break;
	}
}

static void write_ocw3(struct pic_unit *u, uint8_t val)
{
	u->poll = val & 4;
	if (val & 2)
		u->read_isr = val & 1;
	if (val & 0x40)
		u->special_mask = val & 0x20;
}

static void write_command(struct pic_unit *u, uint8_t val)
{
	if (val & 0x10)
		write_icw1(u, val);
	else if (val & 0x08)
		write_ocw3(u, val);
	else
		write_ocw2(u, val);
}

static void write_data(struct pic_unit *u, uint8_t val)
{
	switch (u->init_state) {
	case 2:
		u->base = val & 0xf8;
		u->init_state = !u->single ? 3 : u->want_icw4 ? 4 : 0;
		break;
	case 3:
		u->icw3 = val;
		u->init_state = u->want_icw4 ? 4 : 0;
		break;
	case 4:
		u->sfnm = val & 0x10;
		u->auto_eoi = val & 2;
		u->init_state = 0;
		break;
	default: u->imr = val; break;
	}
}

void pic_write(struct pic *p, uint16_t port, uint8_t val)
{
	struct pic_unit *u = &p->unit[(port & 0x80) ? 1 : 0];

	switch (port) {
	case 0x20:
	case 0xa0: write_command(u, val); break;
	case 0x21:
	case 0xa1: write_data(u, val); break;
	case 0x4d0:
	case 0x4d1:
		u = &p->unit[port & 1];
		u->elcr = val & elcr_mask[port & 1];
		u->irr = (u->irr & (uint8_t)~u->elcr) | (u->lines & u->elcr);
		break;
	default: return;
	}
	pic_update(p);
}

/* A poll read acknowledges like INTA does, for this unit alone. */
static uint8_t read_poll(struct pic *p, struct pic_unit *u)
{
	int n = request(u, u == &p->unit[0]);

	u->poll = false;
	if (n < 0)
		return 0;
	ack_unit(u, (unsigned)n);
	pic_update(p);
	return (uint8_t)(0x80 | n);
}

uint8_t pic_read(struct pic *p, uint16_t port)
{
	struct pic_unit *u = &p->unit[(port & 0x80) ? 1 : 0];

	if (port == 0x4d0 || port == 0x4d1)
		return p->unit[port & 1].elcr;
	if (port != 0x20 && port != 0x21 && port != 0xa0 && port != 0xa1)
		return 0xff;
	if (u->poll)
		return read_poll(p, u);
	if (port & 1)
		return u->imr;
	return u->read_isr ? u->isr : u->irr;
}

void pic_reset(struct pic *p)
{
	for (unsigned i = 0; i < 2; i++) {
		uint8_t lines = p->unit[i].lines;

		/* masked, as firmware would hand it over */
		p->unit[i] = (struct pic_unit){.lines = lines, .imr = 0xff};
	}
	pic_update(p);
}
