/* SPDX-License-Identifier: Apache-2.0 */
/* soft_jumps_test.c - where indirect jumps of translated code lead. */
#define GUEST_ENGINE engine_soft
#include "cpu/interp/guest.h"

GUEST_CODE(return_to_0, "code64",
	   "pushq $0\n"
	   "ret\n");
GUEST_CODE(at_0, "code64",
	   "movl $7, %ebx\n"
	   "hlt\n");

/* In lock-step nothing may be found in the table of jumps: as if a kick were always pending. */
static void address_zero_is_no_empty_entry_while_something_is_requested(void **state)
{
	struct guest *g = guest_new_checked(1, true);
	const struct cpu_state *s = guest_state(g);

	guest_long(g);
	guest_load(g, G_CODE, return_to_0);
	guest_load(g, 0, at_0);
	memset(guest_state(g)->vec, 0x5a, sizeof(s->vec));
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(s->gpr[GPR_RBX], 7);
	for (unsigned n = 0; n < sizeof(s->vec); n++)
		assert_int_equal(s->vec[n / 32].b[n % 32], 0x5a);
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(address_zero_is_no_empty_entry_while_something_is_requested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
