/* SPDX-License-Identifier: Apache-2.0 */
/* vm_config_test.c - sizes and options: what is taken, and the sentences for what is not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "api/vm_config.h"

static void sizes_are_read_with_their_unit(void **state)
{
	uint64_t v = 7;

	assert_int_equal(parse_size("4096", &v), 0);
	assert_int_equal(v, 4096);
	assert_int_equal(parse_size("512M", &v), 0);
	assert_int_equal(v, 512 << 20);
	assert_int_equal(parse_size("2GiB", &v), 0);
	assert_int_equal(v, 2ULL << 30);
	assert_int_equal(parse_size("3k", &v), 0);
	assert_int_equal(v, 3072);
	v = 7;
	for (const char *const *s =
		     (const char *const[]){"", "M", "-1", " 1", "1X", "1MM", "0x10",
					   "99999999999999999999", "99999999999T", NULL};
	     *s; s++) {
		assert_true(parse_size(*s, &v) < 0);
		assert_int_equal(v, 7);
	}
}

static int parse(struct vm_config *c, struct errbuf *err, const char *a, const char *b)
{
	char *argv[] = {(char *)"run", (char *)a, (char *)b, NULL};

	vm_config_init(c);
	return vm_config_parse(c, b ? 3 : 2, argv, err);
}

static void options_fill_in_the_configuration(void **state)
{
	struct errbuf err = {0};
	struct vm_config c;

	assert_int_equal(parse(&c, &err, "--disk", "a,,b.raw,readonly"), 0);
	assert_string_equal(c.disk[0].path, "a,b.raw");
	assert_true(c.disk[0].readonly);
	vm_config_fini(&c);
	assert_int_equal(parse(&c, &err, "--net", "user,forward=1:2,forward=udp:3:4"), 0);
	assert_int_equal(c.net[0].nforwards, 2);
	assert_string_equal(c.net[0].forward[1], "udp:3:4");
	vm_config_fini(&c);
	assert_int_equal(parse(&c, &err, "debian", NULL), 0);
	assert_string_equal(c.image, "debian");
	vm_config_fini(&c);
}

static void mistakes_name_the_option_and_the_value(void **state)
{
	static const char *const wrong[][2] = {
		{"--memory", "much"},	  {"--cpus", "0"},	{"--cpus", "1.5"},
		{"--disk", ",readonly"},  {"--disk", "a,rw"},	{"--net", "bridge"},
		{"--net", "user,port=1"}, {"--net", "tap="},	{"--sandbox", "maybe"},
		{"--kernel", ""},	  {"-d", "everything"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct errbuf err = {0};
		struct vm_config c;

		assert_true(parse(&c, &err, wrong[i][0], wrong[i][1]) < 0);
		assert_non_null(strstr(err.msg, wrong[i][0]));
		vm_config_fini(&c);
	}
}

static void lock_step_takes_one_vcpu(void **state)
{
	struct errbuf err = {0};
	struct vm_config c;

	assert_int_equal(parse(&c, &err, "--kernel", "k"), 0);
	c.check = true;
	assert_int_equal(vm_config_check(&c, &err), 0);
	c.cpus = 2;
	assert_int_equal(vm_config_check(&c, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "--check"));
	vm_config_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_read_with_their_unit),
		cmocka_unit_test(options_fill_in_the_configuration),
		cmocka_unit_test(lock_step_takes_one_vcpu),
		cmocka_unit_test(mistakes_name_the_option_and_the_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
