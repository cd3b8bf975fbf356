// SPDX-License-Identifier: Apache-2.0
/* pit_test.c - the i8254 and port 0x61, driven through the ports, by the data sheet. */
#include "dev/dev_fixture.h"

enum { CH0 = 0x40, CH2 = 0x42, CTL = 0x43, P61 = 0x61, HZ = 1193182 };

static struct device *start(struct board *b)
{
	dfx_init(b);
	return dfx_add(b, &pit_ops, NULL);
}

static void stop(struct board *b, struct device *dev)
{
	dev_free(dev);
	dfx_fini(b);
}

static void program(struct board *b, unsigned ch, unsigned mode, uint16_t count)
{
	dfx_out(b, CTL, (uint8_t)(ch << 6 | 0x30 | mode << 1));
	dfx_out(b, (uint16_t)(CH0 + ch), (uint8_t)count);
	dfx_out(b, (uint16_t)(CH0 + ch), (uint8_t)(count >> 8));
}

static uint16_t read_two(struct board *b, unsigned ch)
{
	uint8_t lo = dfx_in(b, (uint16_t)(CH0 + ch));

	return (uint16_t)(lo | dfx_in(b, (uint16_t)(CH0 + ch)) << 8);
}

static uint16_t read_count(struct board *b, unsigned ch)
{
	dfx_out(b, CTL, (uint8_t)(ch << 6)); /* latch */
	return read_two(b, ch);
}

/* VM time goes on by @n ticks of the chip and a half. */
static void pass(struct board *b, uint64_t n)
{
	b->clock.base_ns += mul_div64(2 * n + 1, 1000000000, 2 * HZ);
}

static void a_rate_generator_interrupts_again_and_again(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	program(&b, 0, 2, 59659); /* 20 Hz */
	assert_int_equal(b.edges[0], 0);
	for (unsigned i = 1; i <= 4; i++) {
		dfx_advance(&b, 50000000);
		assert_int_equal(b.edges[0], i);
	}
	/* ticks missed by a late host are dropped */
	dfx_advance(&b, 5000000000);
	assert_int_equal(b.edges[0], 5);
	dfx_out(&b, CTL, 0x34); /* control word: stopped until a count comes */
	dfx_advance(&b, 5000000000);
	assert_int_equal(b.edges[0], 5);
	stop(&b, dev);
}

static void terminal_count_interrupts_once_per_count(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	program(&b, 0, 0, 0); /* 65536 ticks: 55 ms */
	assert_false(b.level[0]);
	dfx_advance(&b, 20000000);
	assert_int_equal(b.edges[0], 0);
	dfx_advance(&b, 40000000);
	assert_int_equal(b.edges[0], 1);
	dfx_advance(&b, 500000000);
	assert_int_equal(b.edges[0], 1);
	program(&b, 0, 4, 0);
	dfx_advance(&b, 60000000);
	assert_int_equal(b.edges[0], 2);
	stop(&b, dev);
}

static void a_tiny_count_does_not_flood_the_host(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	program(&b, 0, 2, 2);
	for (unsigned i = 0; i < 20; i++)
		dfx_advance(&b, 10000); /* 0.2 ms and what the host takes */
	assert_true(b.edges[0] < 2000);
	stop(&b, dev);
}

static void counts_go_down_as_their_modes_say(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	program(&b, 0, 2, 1000);
	pass(&b, 300);
	assert_int_equal(read_count(&b, 0), 700);
	program(&b, 0, 3, 1000);
	pass(&b, 300);
	assert_int_equal(read_count(&b, 0), 400); /* by two */
	pass(&b, 300);
	assert_int_equal(read_count(&b, 0), 800); /* second half */
	program(&b, 0, 0, 100);
	pass(&b, 101);
	assert_int_equal(read_count(&b, 0), 0xffff); /* goes on below zero */
	dfx_out(&b, CTL, 0x31 | 2 << 1);	     /* BCD */
	dfx_out(&b, CH0, 0x00);
	dfx_out(&b, CH0, 0x10);
	pass(&b, 1);
	assert_int_equal(read_count(&b, 0), 0x0999);
	stop(&b, dev);
}

static void a_latched_count_waits_to_be_read(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	program(&b, 0, 2, 1000);
	pass(&b, 100);
	dfx_out(&b, CTL, 0);
	pass(&b, 100);
	dfx_out(&b, CTL, 0); /* a second latch is ignored */
	assert_int_equal(read_two(&b, 0), 900);
	assert_in_range(read_count(&b, 0), 798, 800);
	/* one-byte access modes */
	dfx_out(&b, CTL, 0x14);
	dfx_out(&b, CH0, 50);
	pass(&b, 10);
	assert_int_equal(dfx_in(&b, CH0), 40);
	dfx_out(&b, CTL, 0x24);
	dfx_out(&b, CH0, 0x10);
	pass(&b, 1);
	assert_int_equal(dfx_in(&b, CH0), 0x0f);
	stop(&b, dev);
}

static void read_back_latches_status_and_count(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	dfx_out(&b, CTL, 0x36);
	dfx_out(&b, CTL, 0xe2);				       /* status of channel 0 */
	assert_int_equal(dfx_in(&b, CH0), 0x80 | 0x40 | 0x36); /* null count */
	program(&b, 0, 3, 1000);
	pass(&b, 600);
	dfx_out(&b, CTL, 0xc2);			 /* both */
	assert_int_equal(dfx_in(&b, CH0), 0x36); /* OUT is low now */
	assert_int_equal(read_two(&b, 0), 800);
	stop(&b, dev);
}

static void port_61_gates_channel_two_and_shows_its_output(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	/* how an operating system measures its TSC */
	dfx_out(&b, P61, 1);
	program(&b, 2, 0, 1000);
	assert_int_equal(dfx_in(&b, P61) & 0x23, 0x01);
	pass(&b, 999);
	assert_int_equal(dfx_in(&b, P61) & 0x20, 0);
	pass(&b, 1);
	assert_int_equal(dfx_in(&b, P61) & 0x20, 0x20);
	/* a closed gate stops mode 0, an open one goes on */
	program(&b, 2, 0, 1000);
	pass(&b, 400);
	dfx_out(&b, P61, 2);
	pass(&b, 5000);
	assert_int_equal(dfx_in(&b, P61) & 0x23, 0x02);
	assert_int_equal(read_count(&b, 2), 600);
	dfx_out(&b, P61, 1);
	pass(&b, 500);
	assert_int_equal(read_count(&b, 2), 100);
	/* the one-shot waits for the gate's edge */
	program(&b, 2, 1, 1000);
	assert_int_equal(dfx_in(&b, P61) & 0x20, 0x20);
	dfx_out(&b, P61, 0);
	dfx_out(&b, P61, 1);
	assert_int_equal(dfx_in(&b, P61) & 0x20, 0);
	pass(&b, 1001);
	assert_int_equal(dfx_in(&b, P61) & 0x20, 0x20);
	stop(&b, dev);
}

static void the_refresh_bit_toggles_with_time(void **state)
{
	struct board b;
	struct device *dev = start(&b);
	uint8_t was = dfx_in(&b, P61) & 0x10;

	b.clock.base_ns += 15085;
	assert_int_equal(dfx_in(&b, P61) & 0x10, was ^ 0x10);
	stop(&b, dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rate_generator_interrupts_again_and_again),
		cmocka_unit_test(terminal_count_interrupts_once_per_count),
		cmocka_unit_test(a_tiny_count_does_not_flood_the_host),
		cmocka_unit_test(counts_go_down_as_their_modes_say),
		cmocka_unit_test(a_latched_count_waits_to_be_read),
		cmocka_unit_test(read_back_latches_status_and_count),
		cmocka_unit_test(port_61_gates_channel_two_and_shows_its_output),
		cmocka_unit_test(the_refresh_bit_toggles_with_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
