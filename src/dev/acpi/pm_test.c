// SPDX-License-Identifier: Apache-2.0
/* pm_test.c - ACPI fixed hardware, driven through its ports, by ACPI 6.4. */
#include "dev/acpi/pm.h"
#include "dev/dev_fixture.h"

enum { PORT = 0x600, SCI = 9, STS = PORT, EN = PORT + 2, CNT = PORT + 4, TMR = PORT + 8 };
enum { GPE_STS = PORT + PM_GPE0, GPE_EN = PORT + PM_GPE0 + 2, RESET = PORT + PM_RESET };

static struct device *start(struct board *b)
{
	struct pm_config cfg = {PORT, SCI};

	dfx_init(b);
	return dfx_add(b, &pm_ops, &cfg);
}

static void stop(struct board *b, struct device *dev)
{
	dev_free(dev);
	dfx_fini(b);
}

static uint32_t rd(struct board *b, uint16_t port, unsigned size)
{
	return (uint32_t)bus_read(b->env.pio, port, size);
}

static void wr(struct board *b, uint16_t port, uint32_t val, unsigned size)
{
	bus_write(b->env.pio, port, val, size);
}

static void the_power_button_raises_the_sci_until_it_is_acknowledged(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	pm_power_button(dev);
	assert_false(b.level[SCI]); /* not enabled */
	assert_int_equal(rd(&b, STS, 2), 0x100);
	wr(&b, EN, 0x100, 2);
	assert_true(b.level[SCI]);
	wr(&b, STS, 0x20, 2); /* another bit: write one to clear */
	assert_true(b.level[SCI]);
	wr(&b, STS, 0x100, 2);
	assert_false(b.level[SCI]);
	assert_int_equal(rd(&b, STS, 4), 0x01000000);
	stop(&b, dev);
}

static void the_machine_is_always_in_acpi_mode(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	assert_int_equal(rd(&b, CNT, 2), 1);
	wr(&b, CNT, 0, 2);
	assert_int_equal(rd(&b, CNT, 2), 1);
	stop(&b, dev);
}

static void s5_turns_the_machine_off_and_other_states_do_not(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	wr(&b, CNT, PM_SLP_TYP_S5 << 10, 2);
	assert_int_equal(b.requests[DEV_REQ_POWEROFF], 0);
	wr(&b, CNT, 3 << 10 | 1 << 13, 2);
	assert_int_equal(b.requests[DEV_REQ_POWEROFF], 0);
	wr(&b, CNT, PM_SLP_TYP_S5 << 10 | 1 << 13, 2);
	assert_int_equal(b.requests[DEV_REQ_POWEROFF], 1);
	assert_int_equal(rd(&b, CNT, 2) & 1 << 13, 0); /* SLP_EN reads as zero */
	/* by bytes too */
	wr(&b, CNT + 1, PM_SLP_TYP_S5 << 2 | 1 << 5, 1);
	assert_int_equal(b.requests[DEV_REQ_POWEROFF], 2);
	stop(&b, dev);
}

static void the_reset_register_resets(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	wr(&b, RESET, 0, 1);
	assert_int_equal(b.requests[DEV_REQ_RESET], 0);
	wr(&b, RESET, PM_RESET_VALUE, 1);
	assert_int_equal(b.requests[DEV_REQ_RESET], 1);
	stop(&b, dev);
}

static void the_timer_counts_at_its_frequency_in_32_bits(void **state)
{
	struct board b;
	struct device *dev = start(&b);
	uint32_t t0 = rd(&b, TMR, 4);

	b.clock.base_ns += 1000000000;
	assert_int_equal(rd(&b, TMR, 4) - t0, 3579545);
	b.clock.base_ns += 1200ULL * 1000000000; /* wraps after 1199.9 s */
	assert_int_equal(rd(&b, TMR, 4) - t0, (uint32_t)(1201ULL * 3579545));
	assert_int_equal(rd(&b, TMR, 2), rd(&b, TMR, 4) & 0xffff);
	stop(&b, dev);
}

static void the_timers_carry_sets_its_status_and_interrupts(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	assert_int_equal(rd(&b, STS, 2) & 1, 0);
	b.clock.base_ns += 600ULL * 1000000000;
	assert_int_equal(rd(&b, STS, 2) & 1, 1);
	wr(&b, STS, 1, 2);
	wr(&b, EN, 1, 2);
	assert_false(b.level[SCI]);
	dfx_advance(&b, 500ULL * 1000000000);
	assert_false(b.level[SCI]);
	dfx_advance(&b, 120ULL * 1000000000);
	assert_true(b.level[SCI]);
	wr(&b, STS, 1, 2);
	assert_false(b.level[SCI]);
	stop(&b, dev);
}

static void general_purpose_events_are_empty_but_present(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	wr(&b, GPE_EN, 0xffff, 2);
	assert_int_equal(rd(&b, GPE_EN, 2), 0xffff);
	assert_int_equal(rd(&b, GPE_STS, 2), 0);
	wr(&b, GPE_STS, 0xffff, 2);
	assert_false(b.level[SCI]);
	dev_reset(dev);
	assert_int_equal(rd(&b, GPE_EN, 2), 0);
	stop(&b, dev);
}

static void a_loaded_state_raises_its_sci(void **state)
{
	struct errbuf err = {0};
	struct board b;
	struct device *dev = start(&b);

	wr(&b, EN, 0x100, 2);
	pm_power_button(dev);
	b.level[SCI] = false;
	assert_int_equal(pm_ops.state->post_load(dev, &err), 0);
	assert_true(b.level[SCI]);
	stop(&b, dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_power_button_raises_the_sci_until_it_is_acknowledged),
		cmocka_unit_test(the_machine_is_always_in_acpi_mode),
		cmocka_unit_test(s5_turns_the_machine_off_and_other_states_do_not),
		cmocka_unit_test(the_reset_register_resets),
		cmocka_unit_test(the_timer_counts_at_its_frequency_in_32_bits),
		cmocka_unit_test(the_timers_carry_sets_its_status_and_interrupts),
		cmocka_unit_test(general_purpose_events_are_empty_but_present),
		cmocka_unit_test(a_loaded_state_raises_its_sci),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
