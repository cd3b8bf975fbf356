/* SPDX-License-Identifier: Apache-2.0 */
/* soft_evict_test.c - programs that are larger than the code cache. */
#define GUEST_ENGINE engine_soft
#include "cpu/dbt/dbt.h"
#include "cpu/interp/guest.h"

#include <pthread.h>

enum {
	PIECES = 1200, /* of code, each some 300 bytes in the cache, which is 128 KiB */
	PIECE_BYTES = 256,
	FIRST = 0x80000,
	LAPS = 5,
	FEW = 40, /* these fit */
};

static uint32_t factor(unsigned n)
{
	return n * 8 + 5;
}

static uint8_t *put(uint8_t *p, const void *code, size_t len, uint32_t imm)
{
	memcpy(p, code, len);
	memcpy(p + len, &imm, 4);
	return p + len + 4;
}

static uint8_t *piece(struct guest *g, unsigned n)
{
	return g->ram + FIRST + n * PIECE_BYTES;
}

/* @n pieces, each of which changes RAX and jumps to the next; RCX times all; then HLT. */
static void make_program(struct guest *g, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t *p = piece(g, i);

		p = put(p, "\x48\x69\xc0", 3, factor(i)); /* imul $factor, %rax, %rax */
		p = put(p, "\x48\x05", 2, i);		  /* add $i, %rax */
		if (i < n - 1) {
			put(p, "\xe9", 1, (uint32_t)(piece(g, i + 1) - (p + 5))); /* jmp */
			continue;
		}
		memcpy(p, "\xff\xc9", 2); /* dec %ecx; jnz */
		p = put(p + 2, "\x0f\x85", 2, (uint32_t)(piece(g, 0) - (p + 8)));
		*p = 0xf4;
	}
}

static uint64_t expected(uint64_t rax, unsigned n)
{
	for (unsigned lap = 0; lap < LAPS; lap++)
		for (unsigned i = 0; i < n; i++)
			rax = rax * factor(i) + i;
	return rax;
}

static void prepare(struct guest *g, unsigned cpu)
{
	g->v = g->vm->vcpu[cpu];
	guest_long(g);
	guest_state(g)->rip = FIRST;
	guest_state(g)->gpr[GPR_RAX] = cpu + 1;
	guest_state(g)->gpr[GPR_RCX] = LAPS;
}

static void run_program(struct guest *g, unsigned n)
{
	prepare(g, 0);
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(guest_state(g)->gpr[GPR_RAX], expected(1, n));
}

static int setup(void **state)
{
	*state = guest_new(2);
	return 0;
}

static int teardown(void **state)
{
	guest_free(*state);
	return 0;
}

static void a_program_larger_than_the_cache_runs_right(void **state)
{
	struct guest *g = *state;
	struct dbt *d = g->vm->dbt;

	make_program(g, PIECES);
	run_program(g, PIECES);
	assert_true(d->stats.flushes > LAPS * d->nsegments);
	assert_true(dbt_used(d) <= d->limit + DBT_MIN_PAGES);
	assert_true(dbt_used(d) > d->bytes / 2);
}

static void what_fits_stays(void **state)
{
	struct guest *g = *state;
	struct dbt *d = g->vm->dbt;
	uint64_t translated;

	make_program(g, FEW);
	run_program(g, FEW);
	translated = d->stats.translated;
	g->vm->vcpu[0]->c.d.links = 0;
	prepare(g, 0);
	assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
	assert_int_equal(g->exit.reason, EXIT_HLT);
	assert_int_equal(d->stats.translated, translated);
	assert_int_equal(d->stats.flushes, 0);
	assert_int_equal(g->vm->vcpu[0]->c.d.links, 0);
}

/* A caller that stays in use is linked to callees that come and go. */
static void only_the_oldest_segment_goes(void **state)
{
	struct guest *g = *state;
	struct dbt *d = g->vm->dbt;
	unsigned kept = 0;

	make_program(g, PIECES);
	run_program(g, PIECES);
	for (unsigned n = 0; n < d->nsegments; n++)
		kept += d->segments[n].blocks != NULL;
	assert_true(kept >= d->nsegments - 1);
}

static void pages_without_code_are_forgotten_and_their_memory_is_used_again(void **state)
{
	struct guest *g = *state;
	struct dbt *d = g->vm->dbt;
	unsigned watched = 0, known = 0;
	size_t used;

	make_program(g, PIECES);
	run_program(g, PIECES);
	used = d->pages.used;
	for (unsigned n = 0; n < PIECES; n += MEM_PAGE_SIZE / PIECE_BYTES) {
		gpa_t gpa = FIRST + n * PIECE_BYTES;

		watched += *mem_watch(g->mem, gpa) & WATCH_CODE;
		known += dbt_ram_page(d, gpa) != NULL;
	}
	assert_int_equal(watched, known);
	assert_in_range(known, 1, PIECES * PIECE_BYTES / MEM_PAGE_SIZE - 10);
	for (unsigned n = 0; n < 3; n++)
		run_program(g, PIECES);
	assert_int_equal(d->pages.used, used);
}

static void page_numbers_start_anew_when_they_are_used_up(void **state)
{
	struct guest *g = *state;
	struct dbt *d = g->vm->dbt;

	make_program(g, PIECES);
	run_program(g, PIECES);
	d->next_xid = (uint32_t)DBT_LINK_NEVER - 10;
	run_program(g, PIECES);
	assert_true(d->next_xid < 10000);
	run_program(g, PIECES);
}

/* All of the cache is replaced several times in a moment. */
static void code_warms_up_in_the_interpreter_where_the_cache_is_far_too_small(void **state)
{
	struct guest *g = *state;
	struct dbt *d = g->vm->dbt;
	uint64_t translated;

	make_program(g, PIECES);
	run_program(g, PIECES);
	assert_int_equal(d->warmup, 0);
	d->may_warm_up = true;
	run_program(g, PIECES);
	assert_true(d->warmup > 0);
	d->warmup = DBT_MAX_WARMUP;
	translated = d->stats.translated;
	run_program(g, PIECES); /* LAPS times each, which is not enough */
	assert_in_range(d->stats.translated - translated, 0, PIECES * LAPS / 10);
	d->may_warm_up = false; /* it stays as it is */
	d->warmup = LAPS - 1;
	run_program(g, PIECES);
	assert_true(d->stats.translated > translated + PIECES / 2);
}

static void *run_vcpu(void *arg)
{
	struct engine_vcpu *v = arg;
	struct engine_exit e = {0};

	GUEST_ENGINE.run(v, &e);
	return e.reason == EXIT_HLT ? v : NULL;
}

static void code_goes_while_another_vcpu_runs_it(void **state)
{
	struct guest *g = *state;
	struct engine_vcpu **v = g->vm->vcpu;
	pthread_t t[2];

	make_program(g, PIECES);
	mem_written(g->mem, 0, G_RAM);
	prepare(g, 0);
	prepare(g, 1);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, run_vcpu, v[i]), 0);
	for (unsigned i = 0; i < 2; i++) {
		void *halted;

		pthread_join(t[i], &halted);
		assert_ptr_equal(halted, v[i]);
		assert_int_equal(v[i]->c.s.gpr[GPR_RAX], expected(i + 1, PIECES));
	}
	assert_true(g->vm->dbt->stats.flushes > g->vm->dbt->nsegments);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_program_larger_than_the_cache_runs_right),
		TEST(what_fits_stays),
		TEST(only_the_oldest_segment_goes),
		TEST(pages_without_code_are_forgotten_and_their_memory_is_used_again),
		TEST(page_numbers_start_anew_when_they_are_used_up),
		TEST(code_warms_up_in_the_interpreter_where_the_cache_is_far_too_small),
		TEST(code_goes_while_another_vcpu_runs_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
