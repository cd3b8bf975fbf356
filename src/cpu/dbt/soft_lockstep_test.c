/* SPDX-License-Identifier: Apache-2.0 */
/* soft_lockstep_test.c - what lock-step finds, and what it leaves as it was. */
#define GUEST_ENGINE engine_soft
#define GUEST_CHECK  true
#include "cpu/interp/guest.h"

#include "cpu/dbt/dbt.h"

static int setup(void **state)
{
	*state = guest_new(1);
	guest_long(*state);
	return 0;
}

static int teardown(void **state)
{
	guest_free(*state);
	return 0;
}

/* Make the translator wrong: the constant @from in its code becomes @to. */
static void corrupt(struct guest *g, uint32_t from, uint32_t to)
{
	struct dbt *d = g->v->c.dbt;
	unsigned found = 0;

	for (size_t at = 0; at + 4 <= d->map_bytes; at++) {
		if (memcmp(d->rw + at, &from, 4))
			continue;
		memcpy(d->rw + at, &to, 4);
		found++;
	}
	assert_in_range(found, 1, 4);
}

GUEST_CODE(twice, "code64",
	   "movl $2, %ecx\n"
	   "1: call 2f\n"
	   "decl %ecx\n"
	   "out %al, $0x80\n" /* where the test gets at it */
	   "jnz 1b\n"
	   "hlt\n"
	   "2: movl $0x12345678, %eax\n"
	   "movl %eax, 0x20000\n"
	   "addl $0x01020304, 0x20008\n"
	   "ret\n");

/* Run @g's code up to its first access to a port. */
static void run_to_port(struct guest *g)
{
	mem_written(g->mem, 0, G_RAM);
	assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
	assert_int_equal(g->exit.reason, EXIT_PIO);
}

static void a_wrong_register_ends_the_vm(void **state)
{
	struct guest *g = *state;

	guest_load(g, G_CODE, twice);
	run_to_port(g);
	corrupt(g, 0x12345678, 0x12345679);
	assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
	assert_int_equal(g->exit.reason, EXIT_ERROR);
	assert_non_null(strstr(g->exit.error, "lock-step"));
}

static void wrong_memory_ends_the_vm_with_memory_as_before(void **state)
{
	struct guest *g = *state;

	guest_load(g, G_CODE, twice);
	run_to_port(g);
	corrupt(g, 0x01020304, 0x01020314);
	assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
	assert_int_equal(g->exit.reason, EXIT_ERROR);
	assert_int_equal(peek64(g, G_DATA + 8), 0x01020304);
}

GUEST_CODE(crossing, "code64",
	   "movl $3, %ecx\n"
	   "1: movl $0x12345678, %edx\n"
	   "movl %edx, 0x20010\n"
	   "incl 0x20018\n"
	   "movq %rdx, 0x20ffc\n" /* over two pages: for the interpreter */
	   "incl 0x2001c\n"
	   "movl 0x200000, %ebx\n" /* a device: once */
	   "incl 0x20020\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "hlt\n");

static void what_stops_on_the_way_is_done_once(void **state)
{
	struct guest *g = *state;

	guest_load(g, G_CODE, crossing);
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(g->nlog, 3);
	assert_int_equal(guest_state(g)->gpr[GPR_RBX], 0x12);
	assert_int_equal(peek64(g, G_DATA + 0x18), 0x300000003);
	assert_int_equal(peek64(g, G_DATA + 0x20), 3);
	assert_int_equal(peek64(g, G_DATA + 0xffc), 0x12345678);
}

static void what_was_done_before_the_stop_is_compared(void **state)
{
	struct guest *g = *state;

	guest_load(g, G_CODE, crossing);
	mem_written(g->mem, 0, G_RAM);
	for (unsigned n = 0; n < 2; n++) { /* the loop's block is there the second time */
		assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
		assert_int_equal(g->exit.reason, EXIT_MMIO);
	}
	corrupt(g, 0x12345678, 0x12345679);
	assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
	assert_int_equal(g->exit.reason, EXIT_ERROR);
}

GUEST_CODE(to_next, "code64",
	   "movl $4, %ecx\n"
	   "1: testl $1, %ecx\n"
	   ".byte 0x74, 0\n" /* jz to the next instruction */
	   "incl 0x20000\n"
	   "cmpl $2, %ecx\n"
	   ".byte 0x72, 0\n"
	   "incl %edx\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "hlt\n");

static void a_jump_to_the_next_instruction_is_no_difference(void **state)
{
	struct guest *g = *state;

	guest_load(g, G_CODE, to_next);
	guest_state(g)->gpr[GPR_RDX] = 0;
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(peek64(g, G_DATA), 4);
	assert_int_equal(guest_state(g)->gpr[GPR_RDX], 4);
}

GUEST_CODE(clock_twice, "code64",
	   "rdtsc\n"
	   "hlt\n");

static void the_time_stamp_counter_is_as_slow_as_it_was_asked_to_be(void **state)
{
	struct guest *g = *state;
	uint64_t before, after, tsc;

	g->vm->soft.tsc_shift = 4;
	guest_load(g, G_CODE, clock_twice);
	before = __builtin_ia32_rdtsc() >> 4;
	assert_int_equal(guest_run(g), EXIT_HLT);
	after = __builtin_ia32_rdtsc() >> 4;
	tsc = guest_state(g)->gpr[GPR_RDX] << 32 | guest_state(g)->gpr[GPR_RAX];
	assert_in_range(tsc, before, after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(a_wrong_register_ends_the_vm),
		T(wrong_memory_ends_the_vm_with_memory_as_before),
		T(what_stops_on_the_way_is_done_once),
		T(what_was_done_before_the_stop_is_compared),
		T(a_jump_to_the_next_instruction_is_no_difference),
		T(the_time_stamp_counter_is_as_slow_as_it_was_asked_to_be),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
