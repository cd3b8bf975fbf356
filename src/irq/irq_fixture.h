/* SPDX-License-Identifier: Apache-2.0 */
/* irq_fixture.h - a software irqchip with a recording notify, for the unit tests. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "irq/chip.h"

enum { FX_CPUS = 4 };

struct fixture {
	struct loop *loop;
	struct vclock clock;
	struct softchip *chip;
	struct irqchip *irqchip;
	uint64_t tsc;		     /* what guest_tsc() says; 0: VM ns * 2 */
	unsigned events[FX_CPUS][5]; /* by enum soft_event */
	unsigned arg[FX_CPUS];	     /* of the latest event */
};

static inline uint64_t fx_tsc(void *ctx, unsigned cpu)
{
	struct fixture *f = ctx;

	return f->tsc ? f->tsc : vclock_ns(&f->clock) * 2;
}

static inline void fx_notify(void *ctx, unsigned cpu, enum soft_event ev, unsigned arg)
{
	struct fixture *f = ctx;

	f->events[cpu][ev]++;
	f->arg[cpu] = arg;
}

static inline void fx_init(struct fixture *f)
{
	struct softchip_config cfg = {
		.ncpus = FX_CPUS,
		.clock = &f->clock,
		.guest_tsc = fx_tsc,
		.tsc_khz = 2000000,
		.notify = fx_notify,
		.ctx = f,
	};

	memset(f, 0, sizeof(*f));
	f->clock.base_ns = 1000; /* stands still: tests move it */
	assert_int_equal(loop_new(&f->loop), 0);
	cfg.loop = f->loop;
	assert_int_equal(softchip_new(&cfg, &f->chip), 0);
	f->irqchip = softchip_irqchip(f->chip);
}

static inline void fx_fini(struct fixture *f)
{
	softchip_free(f->chip);
	loop_free(f->loop);
}

static inline void fx_line(struct fixture *f, unsigned gsi, bool level)
{
	f->irqchip->ops->set_line(f->irqchip, gsi, level);
}

static inline void fx_pulse(struct fixture *f, unsigned gsi)
{
	fx_line(f, gsi, true);
	fx_line(f, gsi, false);
}

/* Let VM time pass and run what is due.  The clock stands still again afterwards. */
static inline void fx_advance(struct fixture *f, uint64_t ns)
{
	f->clock.base_ns += ns;
	f->clock.running = true;
	f->clock.host_base_ns = host_ns();
	loop_clock_changed(f->loop);
	/* the timerfd fires within a nanosecond for what is due */
	loop_run_once(f->loop, 1);
	loop_run_once(f->loop, 0);
	vclock_stop(&f->clock);
}

/* The usual initialization: vectors @master.. and @slave.., everything unmasked. */
static inline void fx_init_pics(struct fixture *f, uint8_t master, uint8_t slave)
{
	static const uint16_t base[2] = {0x20, 0xa0};

	for (unsigned i = 0; i < 2; i++) {
		pic_port_write(f->chip, base[i], 0x11);
		pic_port_write(f->chip, base[i] + 1, i ? slave : master);
		pic_port_write(f->chip, base[i] + 1, i ? 2 : 4);
		pic_port_write(f->chip, base[i] + 1, 1);
	}
}

static inline void fx_enable_lapics(struct fixture *f)
{
	for (unsigned i = 0; i < FX_CPUS; i++)
		lapic_mmio_write(f->chip, i, APIC_SVR, 0x1ff);
}

static inline void fx_rte(struct fixture *f, unsigned pin, uint64_t rte)
{
	/* high half first: the low one unmasks */
	ioapic_mmio_write(f->chip, 0, 0x11 + pin * 2);
	ioapic_mmio_write(f->chip, 0x10, (uint32_t)(rte >> 32));
	ioapic_mmio_write(f->chip, 0, 0x10 + pin * 2);
	ioapic_mmio_write(f->chip, 0x10, (uint32_t)rte);
}

static inline uint64_t fx_get_rte(struct fixture *f, unsigned pin)
{
	uint64_t lo;

	ioapic_mmio_write(f->chip, 0, 0x10 + pin * 2);
	lo = ioapic_mmio_read(f->chip, 0x10);
	ioapic_mmio_write(f->chip, 0, 0x11 + pin * 2);
	return lo | (uint64_t)ioapic_mmio_read(f->chip, 0x10) << 32;
}
