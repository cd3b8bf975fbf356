// SPDX-License-Identifier: Apache-2.0
/*
 * dev_hostile_test.c - every platform device against a guest that writes anything
 * anywhere: all sizes, all offsets, time passing, resets in between.
 *
 * Nothing may crash (run it under the address and undefined-behaviour sanitizers),
 * no line outside the board may be raised, and every state a device gets into must
 * be one that its own post_load accepts.
 */
#include <stdio.h>
#include <time.h>

#include "dev/acpi/pm.h"
#include "dev/dev_fixture.h"
#include "irq/soft.h"

enum { SECONDS = 3, BURST = 2000 };

struct range { /* on the port space, or MMIO */
	uint64_t base;
	unsigned len;
	bool mmio;
};

struct victim {
	const struct dev_ops *ops;
	const void *cfg;
	struct range range[5];
};

static const struct serial_config serial_cfg = {0x3f8, 4, NULL};
static const struct rtc_config rtc_cfg = {64 << 20, 0};
static const struct pm_config pm_cfg = {0x600, 9};
static const struct fw_cfg_config fw_cfg = {0};
static const struct debug_exit_config debug_cfg = {0xf4};
static struct softchip_dev_config chip_cfg; /* made in main() */

static const struct victim victims[] = {
	{&serial_ops, &serial_cfg, {{0x3f8, 8}}},
	{&rtc_ops, &rtc_cfg, {{0x70, 2}}},
	{&pit_ops, NULL, {{0x40, 4}, {0x61, 1}}},
	{&i8042_ops, NULL, {{0x60, 1}, {0x64, 1}, {0x92, 1}}},
	{&pm_ops, &pm_cfg, {{0x600, PM_BLOCK_LEN}}},
	{&fw_cfg_ops, &fw_cfg, {{0x510, 2}, {0x514, 8}}},
	{&debug_exit_ops, &debug_cfg, {{0xf4, 4}}},
	{&softchip_dev_ops,
	 &chip_cfg,
	 {{0x20, 2}, {0xa0, 2}, {0x4d0, 2}, {0xfec00000, 0x1000, true}}},
};

struct attack {
	struct board b;
	struct device *dev[ARRAY_SIZE(victims)];
	struct softchip *chip;
	unsigned seed;
};

static uint64_t rnd(struct attack *a)
{
	return (uint64_t)rand_r(&a->seed) << 42 ^ (uint64_t)rand_r(&a->seed) << 21 ^
	       (uint64_t)rand_r(&a->seed);
}

/* Values that are more likely to mean something than 64 random bits. */
static uint64_t value(struct attack *a)
{
	switch (rnd(a) % 5) {
	case 0: return rnd(a) & 0xff;
	case 1: return 1ULL << rnd(a) % 64;
	case 2: return ~0ULL;
	case 3: return __builtin_bswap32((uint32_t)rnd(a) & 0xfffff); /* a DMA address */
	default: return rnd(a) << 32 | rnd(a);
	}
}

static void one_access(struct attack *a, const struct victim *v)
{
	const struct range *r = &v->range[rnd(a) % ARRAY_SIZE(v->range)];
	struct bus *bus = r->mmio ? a->b.env.mmio : a->b.env.pio;
	unsigned size = 1 + (unsigned)(rnd(a) % 8);
	uint64_t addr;

	if (!r->len)
		return;
	/* now and then across the region's ends */
	addr = r->base + rnd(a) % (r->len + 8) - (rnd(a) % 8 ? 0 : 4);
	if (rnd(a) % 3)
		bus_write(bus, addr, value(a), size);
	else
		bus_read(bus, addr, size);
}

static void check_state(struct attack *a, unsigned i)
{
	struct errbuf err = {0};
	const struct state_desc *s = a->dev[i]->ops->state;

	if (s && s->post_load && s->post_load(a->dev[i], &err) < 0)
		fail_msg("%s refuses its own state: %s", a->dev[i]->id, err.msg);
}

/* Overwrite some of the declared fields of @obj. */
static void corrupt(struct attack *a, const struct state_field *f, void *obj)
{
	for (; f->kind != STATE_END; f++) {
		uint8_t *p = (uint8_t *)obj + f->offset;

		if (f->kind == STATE_STRUCT) {
			for (unsigned i = 0; i < f->count; i++)
				corrupt(a, f->sub, p + i * f->size);
			continue;
		}
		if (rnd(a) % 4)
			continue;
		for (unsigned i = 0; i < f->size * f->count; i++)
			p[i] = rnd(a) % 2 ? (uint8_t)rnd(a) : (uint8_t)(rnd(a) & 3);
	}
}

/* A saved state is hostile: it is refused, or as good as any other. */
static void load_junk(struct attack *a, struct device *dev)
{
	const struct state_desc *s = dev->ops->state;
	struct errbuf err = {0};

	if (!s)
		return;
	corrupt(a, s->fields, dev);
	if (s->post_load && s->post_load(dev, &err) < 0) {
		assert_int_not_equal(err.msg[0], 0);
		dev_reset(dev);
	}
}

static void scribble(struct attack *a)
{
	uint8_t junk[256];

	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)rnd(a);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(mem_write(a->b.env.mem, rnd(a) % (DFX_RAM - sizeof(junk)), junk,
					   sizeof(junk)),
				 0);
}

static void burst(struct attack *a)
{
	unsigned i = (unsigned)(rnd(a) % ARRAY_SIZE(victims));

	for (unsigned n = 0; n < BURST; n++) {
		if (!(rnd(a) % 4))
			i = (unsigned)(rnd(a) % ARRAY_SIZE(victims));
		one_access(a, &victims[i]);
	}
	for (i = 0; i < ARRAY_SIZE(victims); i++)
		check_state(a, i);
	switch (rnd(a) % 8) {
	case 0: dev_reset(a->dev[rnd(a) % ARRAY_SIZE(victims)]); break;
	case 1: softchip_reset(a->chip); break;
	case 2: scribble(a); break;
	case 4: load_junk(a, a->dev[rnd(a) % ARRAY_SIZE(victims)]); break;
	case 3: a->b.clock.base_ns += rnd(a) >> rnd(a) % 64; break;
	default: dfx_advance(&a->b, rnd(a) % 100000000); break;
	}
	a->b.clock.base_ns &= UINT64_MAX >> 4; /* centuries are enough */
}

static void notify(void *ctx, unsigned cpu, enum soft_event ev, unsigned arg)
{
}

static uint64_t tsc(void *ctx, unsigned cpu)
{
	return 0;
}

static void add_everything(struct attack *a)
{
	struct softchip_config sc = {.ncpus = 2,
				     .loop = a->b.env.loop,
				     .clock = &a->b.clock,
				     .guest_tsc = tsc,
				     .tsc_khz = 1000000,
				     .notify = notify};

	assert_int_equal(softchip_new(&sc, &a->chip), 0);
	chip_cfg.chip = a->chip;
	for (unsigned i = 0; i < ARRAY_SIZE(victims); i++)
		a->dev[i] = dfx_add(&a->b, victims[i].ops, victims[i].cfg);
	assert_int_equal(fw_cfg_add(a->dev[5], "etc/something", "0123456789", 10), 0);
}

static void no_guest_can_break_a_device(void **state)
{
	struct attack *a = calloc(1, sizeof(*a));
	time_t end = time(NULL) + SECONDS;
	unsigned bursts = 0;

	a->seed = (unsigned)time(NULL) ^ (unsigned)getpid();
	if (getenv("SEED"))
		a->seed = (unsigned)strtoul(getenv("SEED"), NULL, 0);
	print_message("SEED=%u\n", a->seed);
	dfx_init(&a->b);
	add_everything(a);
	/* a count first: a failure is repeated with SEED, whatever the machine's speed */
	while (bursts < 20 || time(NULL) < end) {
		burst(a);
		bursts++;
	}
	print_message("%u bursts of %u accesses\n", bursts, BURST);
	for (unsigned i = ARRAY_SIZE(victims); i-- > 0;)
		dev_free(a->dev[i]);
	softchip_free(a->chip);
	dfx_fini(&a->b);
	free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_guest_can_break_a_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
