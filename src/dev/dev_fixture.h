/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dev_fixture.h - a board for unit tests: buses, RAM, a loop, VM time that stands
 * still, wires that are watched and requests that are counted.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "dev/devices.h"

enum { DFX_RAM = 1 << 20 };

struct board {
	struct irqchip irqchip;
	bool level[IRQCHIP_LINES];
	unsigned edges[IRQCHIP_LINES]; /* rising */
	unsigned requests[DEV_REQ_ERROR + 1];
	int request_arg;
	struct vclock clock;
	struct dev_env env;
};

static inline void dfx_set_line(struct irqchip *chip, unsigned gsi, bool level)
{
	struct board *b = container_of(chip, struct board, irqchip);

	assert_true(gsi < IRQCHIP_LINES);
	b->edges[gsi] += level && !b->level[gsi];
	b->level[gsi] = level;
}

static inline void dfx_send_msi(struct irqchip *chip, struct msi msi)
{
}

static inline void dfx_request(void *ctx, enum dev_request req, int arg)
{
	struct board *b = ctx;

	b->requests[req]++;
	b->request_arg = arg;
}

static inline void dfx_init(struct board *b)
{
	static const struct irqchip_ops ops = {.set_line = dfx_set_line, .send_msi = dfx_send_msi};
	struct errbuf err = {0};

	memset(b, 0, sizeof(*b));
	b->irqchip.ops = &ops;
	b->clock.base_ns = 5000000000;
	assert_int_equal(mem_new(&b->env.mem), 0);
	assert_int_equal(mem_add_ram(b->env.mem, "ram", 0, DFX_RAM, &err), 0);
	assert_int_equal(bus_new(0xffff, &b->env.pio), 0);
	assert_int_equal(bus_new(UINT64_MAX, &b->env.mmio), 0);
	assert_int_equal(loop_new(&b->env.loop), 0);
	b->env.io_loop = b->env.net_loop = b->env.loop;
	b->env.irqchip = &b->irqchip;
	b->env.clock = &b->clock;
	b->env.request = dfx_request;
	b->env.ctx = b;
}

static inline void dfx_fini(struct board *b)
{
	bus_free(b->env.pio);
	bus_free(b->env.mmio);
	loop_free(b->env.loop);
	mem_free(b->env.mem);
}

static inline struct device *dfx_add(struct board *b, const struct dev_ops *ops, const void *cfg)
{
	struct errbuf err = {0};
	struct device *dev;

	assert_int_equal(dev_new(ops, &b->env, ops->name, 0, cfg, &dev, &err), 0);
	dev_reset(dev);
	return dev;
}

static inline uint8_t dfx_in(struct board *b, uint16_t port)
{
	return (uint8_t)bus_read(b->env.pio, port, 1);
}

static inline void dfx_out(struct board *b, uint16_t port, uint8_t val)
{
	bus_write(b->env.pio, port, val, 1);
}

/* Let VM time pass and run what is due.  The clock stands still again afterwards. */
static inline void dfx_advance(struct board *b, uint64_t ns)
{
	b->clock.base_ns += ns;
	b->clock.running = true;
	b->clock.host_base_ns = host_ns();
	loop_clock_changed(b->env.loop);
	loop_run_once(b->env.loop, 1);
	loop_run_once(b->env.loop, 0);
	vclock_stop(&b->clock);
}
