// SPDX-License-Identifier: Apache-2.0
/*
 * ioapic.c - the 82093AA I/O APIC: 24 pins, each with a redirection table entry.
 *
 * A rising edge on an unmasked edge pin sends its message at once; an edge on a
 * masked pin is ignored, as the data sheet says.  A level pin sends while it is
 * asserted, unmasked and its remote IRR is clear; an accepting local APIC sets
 * remote IRR, its EOI clears it, and a wire that is still asserted sends again.
 * Polarity is the wire's business: a line that is "set" is asserted.  Writing an
 * entry as edge clears remote IRR (operating systems rely on that to un-wedge it).
 *
 * Source: Intel 82093AA data sheet (290566).
 */
#include "irq/chip.h"

enum { REG_SELECT = 0x00, REG_WINDOW = 0x10 };
enum { IDX_ID = 0, IDX_VERSION = 1, IDX_ARB = 2, IDX_RTE = 0x10 };
#define RTE_WRITABLE 0xff0000000001afffULL /* all but delivery status, remote IRR, reserved */

/* Send pin @pin's message; true when somebody took it. */
static bool send(struct ioapic *io, unsigned pin)
{
	uint64_t rte = io->rte[pin];
	struct apic_msg msg = {
		.dest = (uint32_t)(rte >> 56),
		.logical = rte & RTE_LOGICAL,
		.level = rte & RTE_LEVEL,
		.vector = (uint8_t)rte,
		.mode = (enum apic_dm)(rte >> 8 & 7),
	};

	return io->chip && apic_deliver(io->chip, &msg);
}

static void service_level(struct ioapic *io, unsigned pin)
{
	uint64_t rte = io->rte[pin];

	if (!(rte & RTE_LEVEL) || (rte & (RTE_MASK | RTE_REMOTE_IRR)) || !(io->lines >> pin & 1))
		return;
	/* only fixed and lowest priority are ended by an EOI */
	if (send(io, pin) && (rte >> 8 & 7) <= DM_LOWEST)
		io->rte[pin] |= RTE_REMOTE_IRR;
}

void ioapic_set_line(struct ioapic *io, unsigned pin, bool level)
{
	if (pin >= IOAPIC_PINS || (io->lines >> pin & 1) == level)
		return;
	io->lines ^= 1u << pin;
	if (!level || (io->rte[pin] & RTE_MASK))
		return;
	if (io->rte[pin] & RTE_LEVEL)
		service_level(io, pin);
	else
		send(io, pin);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t rte = io->rte[pin];

		if ((uint8_t)rte != vector || !(rte & RTE_LEVEL) || !(rte & RTE_REMOTE_IRR))
			continue;
		io->rte[pin] &= ~(uint64_t)RTE_REMOTE_IRR;
		service_level(io, pin);
	}
}

void ioapic_resample(struct ioapic *io)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		service_level(io, pin);
}

/* --- registers ----------------------------------------------------------- */

static void write_rte(struct ioapic *io, unsigned idx, uint32_t val)
{
	unsigned pin = (idx - IDX_RTE) / 2, shift = idx % 2 * 32;
	uint64_t mask, rte;

	if (pin >= IOAPIC_PINS)
		return;
	rte = io->rte[pin];
	mask = RTE_WRITABLE & (0xffffffffULL << shift);
	rte = (rte & ~mask) | ((uint64_t)val << shift & mask);
	if (!(rte & RTE_LEVEL))
		rte &= ~(uint64_t)RTE_REMOTE_IRR;
	io->rte[pin] = rte;
	service_level(io, pin);
}

void ioapic_write(struct ioapic *io, uint32_t off, uint32_t val)
{
	switch (off) {
	case REG_SELECT: io->select = (uint8_t)val; break;
	case REG_WINDOW:
		if (io->select == IDX_ID)
			io->id = val & 0x0f000000;
		else if (io->select >= IDX_RTE)
			write_rte(io, io->select, val);
		break;
	default: break;
	}
}

static uint32_t read_window(const struct ioapic *io)
{
	unsigned pin = (io->select - IDX_RTE) / 2u;

	switch (io->select) {
	case IDX_ID:
	case IDX_ARB: return io->id;
	case IDX_VERSION: return IOAPIC_VERSION | (IOAPIC_PINS - 1) << 16;
	default: break;
	}
	if (io->select < IDX_RTE || pin >= IOAPIC_PINS)
		return 0;
	return (uint32_t)(io->rte[pin] >> (io->select % 2 * 32));
}

uint32_t ioapic_read(struct ioapic *io, uint32_t off)
{
	switch (off) {
	case REG_SELECT: return io->select;
	case REG_WINDOW: return read_window(io);
	default: return 0;
	}
}

void ioapic_reset(struct ioapic *io)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		io->rte[pin] = RTE_MASK;
	io->id = 0;
	io->select = 0;
}
