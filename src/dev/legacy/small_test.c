// SPDX-License-Identifier: Apache-2.0
/* small_test.c - the keyboard controller's reset, the debug exit, the chip's ports. */
#include "dev/dev_fixture.h"
#include "irq/soft.h"

static void the_keyboard_controller_resets_and_has_no_keyboard(void **state)
{
	struct board b;
	struct device *dev;

	dfx_init(&b);
	dev = dfx_add(&b, &i8042_ops, NULL);
	assert_int_equal(dfx_in(&b, 0x64) & 3, 0); /* nothing to read, ready for more */
	dfx_out(&b, 0x64, 0xff);		   /* pulses no line */
	dfx_out(&b, 0x64, 0xaa);
	assert_int_equal(dfx_in(&b, 0x64) & 1, 0);
	assert_int_equal(b.requests[DEV_REQ_RESET], 0);
	dfx_out(&b, 0x64, 0xfe);
	assert_int_equal(b.requests[DEV_REQ_RESET], 1);
	dfx_out(&b, 0x60, 0xfe); /* no output port write under way */
	assert_int_equal(b.requests[DEV_REQ_RESET], 1);
	dfx_out(&b, 0x64, 0xd1);
	dfx_out(&b, 0x60, 0x03);
	assert_int_equal(b.requests[DEV_REQ_RESET], 1);
	dfx_out(&b, 0x64, 0xd1);
	dfx_out(&b, 0x60, 0x02);
	assert_int_equal(b.requests[DEV_REQ_RESET], 2);
	dfx_out(&b, 0x64, 0xd0);
	assert_int_equal(dfx_in(&b, 0x64) & 1, 1);
	assert_int_equal(dfx_in(&b, 0x60), 3);
	assert_int_equal(dfx_in(&b, 0x64) & 1, 0);
	assert_int_equal(dfx_in(&b, 0x92), 2);
	dfx_out(&b, 0x92, 2);
	assert_int_equal(b.requests[DEV_REQ_RESET], 2);
	dfx_out(&b, 0x92, 3);
	assert_int_equal(b.requests[DEV_REQ_RESET], 3);
	dev_free(dev);
	dfx_fini(&b);
}

static void the_debug_exit_passes_its_status(void **state)
{
	struct debug_exit_config cfg = {0xf4};
	struct board b;
	struct device *dev;

	dfx_init(&b);
	dev = dfx_add(&b, &debug_exit_ops, &cfg);
	dfx_in(&b, 0xf4);
	assert_int_equal(b.requests[DEV_REQ_DEBUG_EXIT], 0);
	bus_write(b.env.pio, 0xf4, 0x1234, 4);
	assert_int_equal(b.requests[DEV_REQ_DEBUG_EXIT], 1);
	assert_int_equal(b.request_arg, 0x34 << 1 | 1);
	dev_free(dev);
	dfx_fini(&b);
}

static void notify(void *ctx, unsigned cpu, enum soft_event ev, unsigned arg)
{
}

static uint64_t tsc(void *ctx, unsigned cpu)
{
	return 0;
}

static void the_chips_registers_are_on_the_buses(void **state)
{
	struct softchip_config sc = {
		.ncpus = 1, .notify = notify, .guest_tsc = tsc, .tsc_khz = 1000000};
	struct softchip_dev_config cfg;
	struct board b;
	struct device *dev;

	dfx_init(&b);
	sc.loop = b.env.loop;
	sc.clock = &b.clock;
	assert_int_equal(softchip_new(&sc, &cfg.chip), 0);
	dev = dfx_add(&b, &softchip_dev_ops, &cfg);
	dfx_out(&b, 0x21, 0x5a);
	dfx_out(&b, 0xa1, 0xa5);
	assert_int_equal(dfx_in(&b, 0x21), 0x5a);
	assert_int_equal(dfx_in(&b, 0xa1), 0xa5);
	bus_write(b.env.pio, 0x4d0, 0x0cf8, 2);
	assert_int_equal(bus_read(b.env.pio, 0x4d0, 2), 0x0cf8);
	bus_write(b.env.mmio, 0xfec00000, 1, 4);
	assert_int_equal(bus_read(b.env.mmio, 0xfec00010, 4), 0x00170011);
	assert_int_equal(bus_read(b.env.mmio, 0xfec00012, 1), 0x17);
	assert_int_equal(bus_read(b.env.mmio, 0xfec00020, 4), 0);
	dev_free(dev);
	softchip_free(cfg.chip);
	dfx_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_keyboard_controller_resets_and_has_no_keyboard),
		cmocka_unit_test(the_debug_exit_passes_its_status),
		cmocka_unit_test(the_chips_registers_are_on_the_buses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
