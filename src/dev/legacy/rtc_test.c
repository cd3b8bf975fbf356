// SPDX-License-Identifier: Apache-2.0
/* rtc_test.c - the MC146818: calendar and alarms as functions, the rest by its ports. */
#include <stdio.h>
#include <time.h>

#include "dev/dev_fixture.h"
#include "dev/legacy/rtc_time.h"

enum { GSI = 8, REG_A = 10, REG_B = 11, REG_C = 12, REG_D = 13 };
enum { SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10 };

static uint8_t rd(struct board *b, uint8_t reg)
{
	dfx_out(b, 0x70, reg);
	return dfx_in(b, 0x71);
}

static void wr(struct board *b, uint8_t reg, uint8_t val)
{
	dfx_out(b, 0x70, reg);
	dfx_out(b, 0x71, val);
}

static struct device *start(struct board *b)
{
	struct rtc_config cfg = {3ULL << 30, 5ULL << 30};

	dfx_init(b);
	return dfx_add(b, &rtc_ops, &cfg);
}

static void stop(struct board *b, struct device *dev)
{
	dev_free(dev);
	dfx_fini(b);
}

/* --- calendar ------------------------------------------------------------------ */

static void the_calendar_agrees_with_the_c_library(void **state)
{
	unsigned seed = (unsigned)time(NULL);

	print_message("seed %u\n", seed);
	for (unsigned i = 0; i < 20000; i++) {
		/* 1970 to 9999 */
		int64_t s = ((int64_t)rand_r(&seed) << 31 | rand_r(&seed)) % 253402300800LL;
		uint8_t regs[128] = {[RTC_REG_B] = RTC_B_24H | RTC_B_BINARY};
		time_t t = (time_t)s;
		struct tm tm;

		gmtime_r(&t, &tm);
		rtc_time_to_regs(s, regs);
		assert_int_equal(regs[RTC_SECOND], tm.tm_sec);
		assert_int_equal(regs[RTC_MINUTE], tm.tm_min);
		assert_int_equal(regs[RTC_HOUR], tm.tm_hour);
		assert_int_equal(regs[RTC_WEEKDAY], tm.tm_wday + 1);
		assert_int_equal(regs[RTC_DAY], tm.tm_mday);
		assert_int_equal(regs[RTC_MONTH], tm.tm_mon + 1);
		assert_int_equal(regs[RTC_CENTURY] * 100 + regs[RTC_YEAR], tm.tm_year + 1900);
		assert_true(rtc_regs_to_time(regs) == s);
	}
}

static void every_format_reads_back_what_it_wrote(void **state)
{
	static const uint8_t formats[] = {0, RTC_B_24H, RTC_B_BINARY, RTC_B_24H | RTC_B_BINARY};

	for (size_t f = 0; f < sizeof(formats); f++) {
		for (int64_t s = 951782400 - 86400; s < 951782400 + 86400; s += 61) {
			uint8_t regs[128] = {[RTC_REG_B] = formats[f]};

			rtc_time_to_regs(s, regs);
			assert_true(rtc_regs_to_time(regs) == s);
		}
	}
}

static void noon_and_midnight_are_twelve_in_twelve_hour_mode(void **state)
{
	uint8_t regs[128] = {0};

	rtc_time_to_regs(0, regs);
	assert_int_equal(regs[RTC_HOUR], 0x12);
	rtc_time_to_regs(12 * 3600, regs);
	assert_int_equal(regs[RTC_HOUR], 0x92);
	rtc_time_to_regs(23 * 3600, regs);
	assert_int_equal(regs[RTC_HOUR], 0x91);
}

static void nonsense_gives_some_bounded_time(void **state)
{
	unsigned seed = (unsigned)time(NULL);

	print_message("seed %u\n", seed);
	for (unsigned i = 0; i < 100000; i++) {
		uint8_t regs[128];
		int64_t s;

		for (unsigned k = 0; k < sizeof(regs); k++)
			regs[k] = (uint8_t)rand_r(&seed);
		s = rtc_regs_to_time(regs);
		assert_true(s > -RTC_MAX_S && s < RTC_MAX_S);
		rtc_time_to_regs(s, regs);
		rtc_alarm_between(regs, s - rand_r(&seed) % 100000, s);
	}
}

static void alarms_go_off_in_their_second_and_with_dont_cares(void **state)
{
	static const struct {
		uint8_t h, m, s;
		int64_t after, until;
		bool hit;
	} c[] = {
		{1, 2, 3, 3722, 3723, true},
		{1, 2, 3, 3723, 3724, false},
		{1, 2, 3, 3721, 3722, false},
		{1, 2, 3, 3723, 3723 + 86400, true},
		{1, 2, 3, 86400 + 3000, 86400 + 4000, true},
		{1, 2, 3, 4000, 86400 + 3722, false},
		{0xff, 2, 3, 7200, 7200 + 123, true},
		{0xff, 2, 3, 7200, 7200 + 122, false},
		{0xff, 0xc0, 3, 7263, 7264, false},
		{0xff, 0xc0, 3, 7262, 7263, true},
		{0xff, 0xff, 0xff, 100, 101, true},
		{0xff, 0xff, 0xff, 100, 100, false},
		{23, 59, 59, 86398, 86399, true},
		{0, 0, 0, 86399, 86400, true},
		{1, 0xff, 0, 3600, 3660, true},
		{1, 0xff, 0xff, 0, 3599, false},
		{25, 0, 0, 0, 1000000, false},
		{1, 60, 0, 0, 1000000, false},
		{1, 2, 60, 0, 1000000, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		uint8_t regs[128] = {[RTC_REG_B] = RTC_B_24H | RTC_B_BINARY,
				     [RTC_ALARM_HOUR] = c[i].h,
				     [RTC_ALARM_MINUTE] = c[i].m,
				     [RTC_ALARM_SECOND] = c[i].s};

		if (rtc_alarm_between(regs, c[i].after, c[i].until) != c[i].hit)
			fail_msg("case %zu", i);
	}
}

/* --- the chip -------------------------------------------------------------------- */

/* The guest's clock in seconds since 1970, read as a careful driver does. */
static int64_t guest_time(struct board *b)
{
	uint8_t regs[128] = {0}, again;

	do {
		for (unsigned i = 0; i < 10; i++)
			regs[i] = rd(b, (uint8_t)i);
		regs[RTC_CENTURY] = rd(b, RTC_CENTURY);
		again = rd(b, RTC_SECOND);
	} while (again != regs[RTC_SECOND]);
	regs[RTC_REG_B] = rd(b, REG_B);
	return rtc_regs_to_time(regs);
}

/* Not time(), which changes its second up to a tick later. */
static int64_t host_time(void)
{
	return (int64_t)(host_wall_ns() / 1000000000);
}

static void the_clock_shows_the_hosts_utc(void **state)
{
	struct board b;
	struct device *dev = start(&b);
	int64_t before = host_time(), got = guest_time(&b), after = host_time();

	assert_true(got >= before && got <= after);
	assert_int_equal(rd(&b, REG_D), 0x80);
	assert_int_equal(rd(&b, REG_B), 0x02);
	stop(&b, dev);
}

static void a_time_that_was_set_goes_on_from_there(void **state)
{
	uint8_t regs[128] = {[RTC_REG_B] = RTC_B_24H};
	struct board b;
	struct device *dev = start(&b);
	int64_t host;

	rtc_time_to_regs(1000000000, regs);
	host = host_time();
	wr(&b, REG_B, SET | RTC_B_24H);
	for (unsigned i = 0; i < 10; i++)
		wr(&b, (uint8_t)i, regs[i]);
	wr(&b, RTC_CENTURY, regs[RTC_CENTURY]);
	assert_int_equal(rd(&b, RTC_SECOND), regs[RTC_SECOND]); /* stands still */
	wr(&b, REG_B, RTC_B_24H);
	assert_true(guest_time(&b) - 1000000000 <= host_time() - host + 1);
	assert_true(guest_time(&b) >= 1000000000);
	/* a reset does not stop the battery */
	dev_reset(dev);
	assert_true(guest_time(&b) - 1000000000 <= host_time() - host + 1);
	/* one register at a time, without SET */
	wr(&b, RTC_YEAR, 0x21);
	assert_int_equal(rd(&b, RTC_YEAR), 0x21);
	assert_int_equal(rd(&b, RTC_CENTURY), 0x20);
	stop(&b, dev);
}

static void the_periodic_interrupt_has_the_rate_of_register_a(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	wr(&b, REG_A, 0x2f); /* 2 Hz */
	rd(&b, REG_C);
	b.clock.base_ns = 10 * 1000000000ULL;
	assert_int_equal(rd(&b, REG_C) & 0xc0, 0x40); /* flag, but no interrupt */
	wr(&b, REG_B, PIE | 2);
	assert_int_equal(b.edges[GSI], 0);
	dfx_advance(&b, 400000000);
	assert_int_equal(b.edges[GSI], 0);
	dfx_advance(&b, 200000000);
	assert_int_equal(b.edges[GSI], 1);
	assert_true(b.level[GSI]);
	assert_int_equal(rd(&b, REG_C) & 0xc0, 0xc0);
	assert_false(b.level[GSI]);
	dfx_advance(&b, 500000000);
	assert_int_equal(b.edges[GSI], 2);
	wr(&b, REG_A, 0x20); /* rate 0: off */
	rd(&b, REG_C);
	dfx_advance(&b, 5000000000);
	assert_int_equal(b.edges[GSI], 2);
	stop(&b, dev);
}

static void each_second_sets_the_update_flag_and_a_matching_alarm(void **state)
{
	struct board b;
	struct device *dev = start(&b);
	uint8_t c = 0;

	rd(&b, REG_C);
	for (uint8_t r = RTC_ALARM_SECOND; r <= RTC_ALARM_HOUR; r += 2)
		wr(&b, r, 0xff);
	while (!(c & UIE))
		c |= rd(&b, REG_C);
	assert_int_equal(c & 0xb0, UIE | AIE);
	/* with the interrupts enabled the loop raises the line by itself */
	wr(&b, REG_B, UIE | 2);
	vclock_start(&b.clock);
	loop_clock_changed(b.env.loop);
	while (!b.level[GSI])
		loop_run_once(b.env.loop, 100);
	assert_int_equal(rd(&b, REG_C) & 0x90, 0x90);
	wr(&b, REG_B, SET | UIE | 2);
	assert_int_equal(rd(&b, REG_B), SET | 2); /* SET clears UIE */
	stop(&b, dev);
}

static void cmos_keeps_bytes_and_tells_the_memory_size(void **state)
{
	struct board b;
	struct device *dev = start(&b);

	wr(&b, 0x40, 0xa5);
	assert_int_equal(rd(&b, 0x40), 0xa5);
	assert_int_equal(rd(&b, 0x15) | rd(&b, 0x16) << 8, 640);
	assert_int_equal(rd(&b, 0x34) | rd(&b, 0x35) << 8, ((3u << 30) - (16u << 20)) / 65536);
	assert_int_equal(rd(&b, 0x5b) | rd(&b, 0x5c) << 8 | rd(&b, 0x5d) << 16, (5ULL << 30) >> 16);
	assert_int_equal(dfx_in(&b, 0x70), 0xff);
	bus_write(b.env.pio, 0x70, 0x5541, 2); /* index and data at once */
	assert_int_equal(rd(&b, 0x41), 0x55);
	stop(&b, dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_calendar_agrees_with_the_c_library),
		cmocka_unit_test(every_format_reads_back_what_it_wrote),
		cmocka_unit_test(noon_and_midnight_are_twelve_in_twelve_hour_mode),
		cmocka_unit_test(nonsense_gives_some_bounded_time),
		cmocka_unit_test(alarms_go_off_in_their_second_and_with_dont_cares),
		cmocka_unit_test(the_clock_shows_the_hosts_utc),
		cmocka_unit_test(a_time_that_was_set_goes_on_from_there),
		cmocka_unit_test(the_periodic_interrupt_has_the_rate_of_register_a),
		cmocka_unit_test(each_second_sets_the_update_flag_and_a_matching_alarm),
		cmocka_unit_test(cmos_keeps_bytes_and_tells_the_memory_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
