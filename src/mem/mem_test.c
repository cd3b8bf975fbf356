/* SPDX-License-Identifier: Apache-2.0 */
/* mem_test.c - regions, bounds, laziness, the dirty log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "mem/mem.h"

static struct mem *two_regions(void)
{
	struct mem *m;

	assert_int_equal(mem_new(&m), 0);
	assert_int_equal(mem_add_ram(m, "low", 0, 16 << 20, NULL), 0);
	assert_int_equal(mem_add_ram(m, "high", 1ULL << 32, 8ULL << 30, NULL), 0);
	return m;
}

static void accesses_outside_ram_are_refused(void **state)
{
	struct mem *m = two_regions();
	uint8_t buf[16] = {0};

	assert_non_null(mem_ptr(m, 0, 16 << 20));
	assert_null(mem_ptr(m, 0, (16 << 20) + 1));
	assert_null(mem_ptr(m, 16 << 20, 1));
	assert_null(mem_ptr(m, UINT64_MAX, 2));
	assert_null(mem_ptr(m, 1, UINT64_MAX));
	assert_int_equal(mem_read(m, (16 << 20) - 8, buf, 16), -EFAULT);
	assert_int_equal(mem_write(m, UINT64_MAX - 3, buf, 16), -EFAULT);
	assert_int_equal(mem_write(m, (1ULL << 32) + 5, buf, 16), 0);
	mem_free(m);
}

static void bad_regions_are_refused(void **state)
{
	struct mem *m = two_regions();
	struct errbuf err = {0};

	assert_int_equal(mem_add_ram(m, "x", 0x1000, 0x1000, &err), -EINVAL);
	assert_int_equal(mem_add_ram(m, "x", 1ULL << 40, 0x1001, &err), -EINVAL);
	assert_int_equal(mem_add_ram(m, "x", 1ULL << 40, 0, &err), -EINVAL);
	assert_int_equal(mem_add_ram(m, "x", UINT64_MAX - 0xfff, 0x2000, &err), -EINVAL);
	mem_free(m);
}

static void untouched_memory_costs_nothing(void **state)
{
	struct mem *m = two_regions();

	assert_int_equal(mem_resident_bytes(m), 0);
	memset(mem_ptr(m, 1ULL << 32, 10000), 1, 10000);
	assert_int_equal(mem_resident_bytes(m), 3 * MEM_PAGE_SIZE);
	mem_discard_all(m);
	assert_int_equal(mem_resident_bytes(m), 0);
	assert_int_equal(*(uint8_t *)mem_ptr(m, 1ULL << 32, 1), 0);
	mem_free(m);
}

struct runs {
	unsigned n;
	gpa_t gpa[8];
	uint64_t bytes[8];
};

static void note_run(void *arg, gpa_t gpa, uint64_t bytes)
{
	struct runs *r = arg;

	r->gpa[r->n] = gpa;
	r->bytes[r->n++] = bytes;
}

static void a_harvest_gives_written_pages_once_in_runs(void **state)
{
	struct mem *m = two_regions();
	struct runs r = {0};

	mem_mark_dirty(m, 0, 4096); /* not logging: nothing */
	assert_int_equal(mem_log_start(m), 0);
	assert_int_equal(mem_log_start(m), -EALREADY);
	mem_mark_dirty(m, 63 * 4096 + 1, 4096);
	assert_non_null(mem_ptr_write(m, 65 * 4096, 1));
	mem_mark_dirty(m, 1ULL << 32, 1);
	mem_log_harvest(m, note_run, &r);
	assert_int_equal(r.n, 2);
	assert_int_equal(r.gpa[0], 63 * 4096);
	assert_int_equal(r.bytes[0], 3 * 4096);
	assert_int_equal(r.gpa[1], 1ULL << 32);
	r.n = 0;
	mem_log_harvest(m, note_run, &r);
	assert_int_equal(r.n, 0);
	mem_log_stop(m);
	mem_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accesses_outside_ram_are_refused),
		cmocka_unit_test(bad_regions_are_refused),
		cmocka_unit_test(untouched_memory_costs_nothing),
		cmocka_unit_test(a_harvest_gives_written_pages_once_in_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
