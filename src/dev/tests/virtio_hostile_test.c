/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_hostile_test.c - guests that do anything at any moment, for each virtio device:
 * registers of all sizes and offsets, configuration space, rings that change while the
 * device looks at them.  It must survive, and work again after a reset.
 *
 * Meant for the address and undefined-behaviour sanitizers.  The rings race on
 * purpose, so the thread sanitizer has nothing to say here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "dev/tests/vvictim.h"

enum { SCRIPTS = 300, MAX_LEN = 2000 };

static void torment(enum victim_kind kind)
{
	unsigned seed = (unsigned)time(NULL) ^ (unsigned)kind << 24;
	uint8_t script[MAX_LEN];
	struct victim v;

	print_message("%s: seed %u\n", victim_name(kind), seed);
	assert_int_equal(victim_init(&v, kind), 0);
	for (unsigned i = 0; i < SCRIPTS; i++) {
		size_t len = (size_t)rand_r(&seed) % MAX_LEN;

		for (size_t k = 0; k < len; k++)
			script[k] = (uint8_t)(rand_r(&seed) >> 8);
		victim_script(&v, script, len, false);
		if (i % 8 == 0)
			assert_true(victim_works(&v));
	}
	assert_true(victim_works(&v));
	victim_fini(&v);
}

static void the_block_device_survives_any_guest(void **state)
{
	torment(VICTIM_BLK);
}

static void the_network_card_survives_any_guest(void **state)
{
	torment(VICTIM_NET);
}

static void the_entropy_device_survives_any_guest(void **state)
{
	torment(VICTIM_RNG);
}

static void the_console_survives_any_guest(void **state)
{
	torment(VICTIM_CONSOLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_block_device_survives_any_guest),
		cmocka_unit_test(the_network_card_survives_any_guest),
		cmocka_unit_test(the_entropy_device_survives_any_guest),
		cmocka_unit_test(the_console_survives_any_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
