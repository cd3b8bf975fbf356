/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chip.h - what the files of src/irq/ share: the controllers' registers.
 *
 * Everything here is guarded by softchip.lock.  The models are pure registers:
 * they call each other through the functions below and never block.  A controller
 * with chip == NULL is a detached copy of registers (irq/kernel.c keeps the
 * kernel's state in such copies).
 */
#pragma once

#include <pthread.h>
#include "base/bitmap.h"
#include "irq/soft.h"

/* --- 8259A pair ---------------------------------------------------------- */

struct pic_unit {
	uint8_t irr, isr, imr;
	uint8_t lines; /* level of each input */
	uint8_t elcr;  /* 1: level triggered */
	uint8_t base;  /* ICW2 */
	uint8_t icw3;
	uint8_t init_state; /* next ICW expected: 0 (none), 2, 3, 4 */
	uint8_t lowest;	    /* priority: input after the lowest one, 0..7 */
	bool want_icw4, single, auto_eoi, rotate_aeoi, sfnm, special_mask, read_isr, poll;
};

struct pic {
	struct softchip *chip;
	struct pic_unit unit[2]; /* master, slave */
	bool output;		 /* INT of the master */
};

void pic_reset(struct pic *p);
void pic_set_line(struct pic *p, unsigned irq, bool level);
/* INTA cycles: the vector, a spurious one when the request went away. */
uint8_t pic_ack(struct pic *p);
uint8_t pic_read(struct pic *p, uint16_t port);
void pic_write(struct pic *p, uint16_t port, uint8_t val);
/* Recompute INT after the registers were replaced, telling nobody. */
void pic_recompute(struct pic *p);

/* --- 82093AA ------------------------------------------------------------- */

enum { IOAPIC_PINS = IRQCHIP_LINES, IOAPIC_VERSION = 0x11 };
enum {
	RTE_DM = 7 << 8,
	RTE_LOGICAL = 1 << 11,
	RTE_STATUS = 1 << 12,
	RTE_REMOTE_IRR = 1 << 14,
	RTE_LEVEL = 1 << 15,
	RTE_MASK = 1 << 16,
};

struct ioapic {
	struct softchip *chip;
	uint64_t rte[IOAPIC_PINS];
	uint32_t lines; /* asserted inputs, whatever the RTE's polarity says */
	uint32_t id;	/* bits 24..27 */
	uint8_t select;
};

void ioapic_reset(struct ioapic *io);
void ioapic_set_line(struct ioapic *io, unsigned pin, bool level);
uint32_t ioapic_read(struct ioapic *io, uint32_t off);
void ioapic_write(struct ioapic *io, uint32_t off, uint32_t val);
/* A local APIC ended level interrupt @vector. */
void ioapic_eoi(struct ioapic *io, uint8_t vector);
/* Send what the lines ask for and is not under way. */
void ioapic_resample(struct ioapic *io);

/* --- local APIC ---------------------------------------------------------- */

enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
enum {
	LVT_MASKED = 1 << 16,
	LVT_DM = 7 << 8,
	LVT_LEVEL = 1 << 15,
	LVT_TIMER_MODE = 3 << 17,
	LVT_TIMER_PERIODIC = 1 << 17,
	LVT_TIMER_DEADLINE = 2 << 17,
};
enum apic_dm { /* delivery modes, everywhere the same three bits */
	       DM_FIXED = 0,
	       DM_LOWEST = 1,
	       DM_SMI = 2,
	       DM_NMI = 4,
	       DM_INIT = 5,
	       DM_SIPI = 6,
	       DM_EXTINT = 7,
};
enum { /* ESR */
       ESR_SEND_ILLEGAL = 1 << 5,
       ESR_RECV_ILLEGAL = 1 << 6,
       ESR_BAD_REG = 1 << 7,
};
enum { SVR_ENABLE = 1 << 8, SVR_WRITABLE = 0x3ff };
enum {
	APIC_BASE_BSP = 1 << 8,
	APIC_BASE_X2 = 1 << 10,
	APIC_BASE_EN = 1 << 11,
};
#define APIC_BASE_ADDR	  0x000ffffffffff000ULL
#define APIC_BASE_DEFAULT 0xfee00000ULL
enum { LAPIC_VERSION = 0x00050014 };
enum { /* register offsets, xAPIC */
       APIC_ID = 0x20,
       APIC_VERSION = 0x30,
       APIC_TPR = 0x80,
       APIC_APR = 0x90,
       APIC_PPR = 0xa0,
       APIC_EOI = 0xb0,
       APIC_RRD = 0xc0,
       APIC_LDR = 0xd0,
       APIC_DFR = 0xe0,
       APIC_SVR = 0xf0,
       APIC_ISR = 0x100,
       APIC_TMR = 0x180,
       APIC_IRR = 0x200,
       APIC_ESR = 0x280,
       APIC_ICR = 0x300,
       APIC_ICR_HI = 0x310,
       APIC_LVT = 0x320,
       APIC_TICR = 0x380,
       APIC_TCCR = 0x390,
       APIC_TDCR = 0x3e0,
       APIC_SELF_IPI = 0x3f0,
};

struct lapic {
	struct softchip *chip;
	uint32_t index; /* vCPU, and APIC ID */
	uint64_t base;	/* IA32_APIC_BASE */
	uint32_t tpr, ldr, dfr, svr, esr, esr_new;
	uint64_t icr;
	uint32_t lvt[LVT_COUNT];
	uint64_t isr[4], tmr[4], irr[4];
	uint32_t ticr, tdcr;
	bool timer_on;
	uint64_t timer_ns; /* VM time of expiry while timer_on */
	uint64_t tsc_deadline;
	struct timer timer;
	bool pending; /* atomic, written under the lock: softchip_pending() */
};

static inline bool lapic_hw_enabled(const struct lapic *l)
{
	return l->base & APIC_BASE_EN;
}

static inline bool lapic_is_x2(const struct lapic *l)
{
	return (l->base & (APIC_BASE_EN | APIC_BASE_X2)) == (APIC_BASE_EN | APIC_BASE_X2);
}

static inline bool lapic_sw_enabled(const struct lapic *l)
{
	return lapic_hw_enabled(l) && (l->svr & SVR_ENABLE);
}

/* lapic.c */
void lapic_reset(struct lapic *l, bool init);
uint32_t lapic_read_reg(struct lapic *l, uint32_t reg);
void lapic_write_reg(struct lapic *l, uint32_t reg, uint32_t val);
void lapic_eoi(struct lapic *l);
uint8_t lapic_ppr(const struct lapic *l);
/* Accept a fixed interrupt.  False when the APIC is off and the message is lost. */
bool lapic_accept(struct lapic *l, uint8_t vector, bool level);
/* Deliver LVT entry @which (timer, LINT, error). */
void lapic_local_irq(struct lapic *l, enum lapic_lvt which);
void lapic_error(struct lapic *l, uint32_t esr_bits);
/* Recompute .pending; tells the vCPU when it became true. */
void lapic_update(struct lapic *l);
/* The vector to take now, removed from IRR; -1: none. */
int lapic_take(struct lapic *l);
/* Does the PIC reach this processor now? */
bool lapic_takes_pic(const struct lapic *l);
/* The level of the PIC's INT changed. */
void lapic_pic_edge(struct lapic *l, bool level);

/* lapic_msr.c */
int lapic_rdmsr(struct lapic *l, uint32_t msr, uint64_t *val);
int lapic_wrmsr(struct lapic *l, uint32_t msr, uint64_t val);

/* lapic_timer.c */
void lapic_timer_init(struct lapic *l, struct loop *loop, const struct vclock *clock);
void lapic_timer_stop(struct lapic *l);
uint32_t lapic_timer_count(const struct lapic *l, uint64_t now_ns);
void lapic_timer_set_initial(struct lapic *l, uint32_t count);
void lapic_timer_set_divide(struct lapic *l, uint32_t tdcr);
void lapic_timer_set_lvt(struct lapic *l, uint32_t lvt);
void lapic_timer_set_deadline(struct lapic *l, uint64_t tsc);
/* After loading: arm the host timer for what the registers say. */
void lapic_timer_resume(struct lapic *l);
unsigned lapic_timer_divisor(uint32_t tdcr);
enum { LAPIC_MIN_PERIOD_NS = 100000 };

/* lapic_ipi.c */
struct apic_msg {
	uint32_t dest;
	bool logical, level;
	bool wide; /* destination has x2APIC's 32 bits; else 8 */
	uint8_t vector;
	enum apic_dm mode;
};
/* Send to all processors @msg names.  True when at least one accepted it. */
bool apic_deliver(struct softchip *chip, const struct apic_msg *msg);
void lapic_send_icr(struct lapic *l, uint64_t icr);

/* --- the whole ------------------------------------------------------------- */

struct softchip { /* @lock guards everything but lapic.pending (atomic) */
	struct irqchip irqchip;
	pthread_mutex_t lock;
	struct softchip_config cfg;
	struct pic pic;
	struct ioapic ioapic;
	unsigned next_lowest; /* where the search for a lowest-priority target starts */
	unsigned ncpus;
	struct lapic lapic[];
};

static inline void chip_notify(struct lapic *l, enum soft_event ev, unsigned arg)
{
	if (l->chip)
		l->chip->cfg.notify(l->chip->cfg.ctx, l->index, ev, arg);
}

static inline uint64_t lapic_now(const struct lapic *l)
{
	return l->chip ? vclock_ns(l->chip->cfg.clock) : 0;
}

/* The PIC's INT changed: tell the processors it is wired to. */
void softchip_pic_changed(struct softchip *chip, bool level);

/* softchip_state.c: KVM_GET_LAPIC's layout */
void lapic_to_page(const struct lapic *l, uint64_t now_ns, uint8_t page[1024]);
int lapic_from_page(struct lapic *l, uint64_t now_ns, const uint8_t page[1024]);
