/* SPDX-License-Identifier: Apache-2.0 */
/* engine_test.c - engines by name. */
#include "cpu/engine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void soft_and_interp_are_found_by_name(void **state)
{
	char why[64] = "x";

	assert_ptr_equal(engine_find("soft", why, sizeof(why), NULL), &engine_soft);
	assert_string_equal(why, "");
	assert_ptr_equal(engine_find("interp", why, sizeof(why), NULL), &engine_interp);
}

static void auto_finds_a_usable_engine_and_says_why(void **state)
{
	char why[160] = "";
	struct errbuf err = {0};
	const struct engine_ops *e = engine_find("auto", why, sizeof(why), &err);

	assert_non_null(e);
	assert_int_equal(e->probe(&err), 0);
	assert_non_null(strstr(why, "CPU has"));
}

static void an_unknown_engine_is_refused_by_name(void **state)
{
	char why[64];
	struct errbuf err = {0};

	assert_null(engine_find("warp", why, sizeof(why), &err));
	assert_int_equal(err.code, -EINVAL);
	assert_non_null(strstr(err.msg, "'warp'"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(soft_and_interp_are_found_by_name),
		cmocka_unit_test(auto_finds_a_usable_engine_and_says_why),
		cmocka_unit_test(an_unknown_engine_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
