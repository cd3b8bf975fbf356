/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soft.h - the software irqchip: two 8259A, one IOAPIC, a local APIC per vCPU.
 *
 * Lock: one mutex in struct softchip guards all controllers; it is a leaf lock
 * (device locks are taken before it, nothing after it).  The notify callback is
 * called with it held and must only set flags and kick.
 * Sources: Intel 8259A and 82093AA data sheets, SDM vol. 3A ch. 11.
 */
#pragma once

#include "base/loop.h"
#include "base/state.h"
#include "irq/irq.h"

struct softchip;

enum soft_event {
	SOFT_EVENT_IRQ, /* softchip_pending() may now hold */
	SOFT_EVENT_NMI,
	SOFT_EVENT_INIT,
	SOFT_EVENT_SIPI, /* @arg: vector */
	SOFT_EVENT_SMI,	 /* ignored by the machine */
};

struct softchip_config {
	unsigned ncpus;
	struct loop *loop;	    /* APIC timers run there */
	const struct vclock *clock; /* VM time, for APIC timers */
	/* Guest TSC now and its frequency, for TSC-deadline (any thread). */
	uint64_t (*guest_tsc)(void *ctx, unsigned cpu);
	uint64_t tsc_khz;
	/* Something happened to vCPU @cpu.  Called with the chip's lock held. */
	void (*notify)(void *ctx, unsigned cpu, enum soft_event ev, unsigned arg);
	void *ctx;
};

MUST_CHECK int softchip_new(const struct softchip_config *cfg, struct softchip **out);
void softchip_free(struct softchip *chip);
DEFINE_AUTO(softchip);
struct irqchip *softchip_irqchip(struct softchip *chip);
/* Power-on state of all controllers, or INIT of one local APIC. */
void softchip_reset(struct softchip *chip);
void softchip_init_cpu(struct softchip *chip, unsigned cpu);

/* Has vCPU @cpu an interrupt that its APIC (or the PIC through LINT0) would deliver now? */
bool softchip_pending(struct softchip *chip, unsigned cpu);
/* Acknowledge it: the vector, or -1 when there is none after all. */
int softchip_ack(struct softchip *chip, unsigned cpu);

/* Registers, all on behalf of vCPU @cpu.  @off: from the APIC base page, 4 bytes. */
uint32_t lapic_mmio_read(struct softchip *chip, unsigned cpu, uint32_t off);
void lapic_mmio_write(struct softchip *chip, unsigned cpu, uint32_t off, uint32_t val);
/* x2APIC MSRs 0x800..0x8ff, IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0): 0, or -1 for #GP. */
int lapic_msr_read(struct softchip *chip, unsigned cpu, uint32_t msr, uint64_t *val);
int lapic_msr_write(struct softchip *chip, unsigned cpu, uint32_t msr, uint64_t val);
/* CR8 is TPR's high half. */
unsigned lapic_get_cr8(struct softchip *chip, unsigned cpu);
void lapic_set_cr8(struct softchip *chip, unsigned cpu, unsigned cr8);

/* IOAPIC registers at 0xfec00000 (offset, 4 bytes) and the PIC's ports. */
uint32_t ioapic_mmio_read(struct softchip *chip, uint32_t off);
void ioapic_mmio_write(struct softchip *chip, uint32_t off, uint32_t val);
uint8_t pic_port_read(struct softchip *chip, uint16_t port); /* 20, 21, a0, a1, 4d0, 4d1 */
void pic_port_write(struct softchip *chip, uint16_t port, uint8_t val);

/* State tables: object is the struct softchip; "lapic" once a vCPU: index is the instance. */
extern const struct state_desc softchip_pic_state, softchip_ioapic_state;
extern const struct state_desc softchip_lapic_state;
void *softchip_lapic_object(struct softchip *chip, unsigned cpu);
void *softchip_pic_object(struct softchip *chip);
void *softchip_ioapic_object(struct softchip *chip);

/*
 * The same registers as one page in KVM_GET_LAPIC's layout (SDM table 11-1), for
 * moving a machine between the software and the kernel's controllers.
 */
void softchip_lapic_get_page(struct softchip *chip, unsigned cpu, uint8_t page[1024]);
int softchip_lapic_set_page(struct softchip *chip, unsigned cpu, const uint8_t page[1024]);
