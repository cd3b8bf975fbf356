/* SPDX-License-Identifier: Apache-2.0 */
/* count_test.c - instructions are counted exactly, and run() returns at a count. */
#define GUEST_COUNT true
#include "cpu/interp/guest.h"

#include <pthread.h>
#include <sched.h>

static int setup(void **state)
{
	*state = guest_new(1);
	return 0;
}

static int teardown(void **state)
{
	guest_free(*state);
	return 0;
}

enum { H_FAULT = G_CODE + 0x1000, H_IRQ = G_CODE + 0x1100 };

static uint64_t count(const struct guest *g)
{
	return GUEST_ENGINE.insn_count(g->v);
}

static void stop_at(struct guest *g, uint64_t n)
{
	assert_int_equal(GUEST_ENGINE.count_stop(g->v, n, NULL), 0);
}

static void assert_runs_to_hlt_in(struct guest *g, uint64_t n)
{
	uint64_t from = count(g);

	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(count(g) - from, n);
}

/* --- what counts ---------------------------------------------------------------------- */

GUEST_CODE(straight, "code64",
	   "movl $5, %eax\n"
	   "addl $6, %eax\n"
	   "pushq %rax\n"
	   "popq %rbx\n"
	   "hlt\n");

static void a_straight_run_counts_each_instruction_and_its_hlt(void **state)
{
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, straight);
	assert_runs_to_hlt_in(g, 5);
}

GUEST_CODE(loops, "code64",
	   "movl $1000, %ecx\n"
	   "1: movl $3, %edx\n"
	   "2: decl %edx\n"
	   "jnz 2b\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "3: call 4f\n"
	   "incl %ecx\n"
	   "cmpl $50, %ecx\n"
	   "jb 3b\n"
	   "movl $9, %ecx\n"
	   "5: loop 5b\n"
	   "hlt\n"
	   "4: ret\n");

static void every_round_of_a_loop_counts(void **state)
{
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, loops);
	assert_runs_to_hlt_in(g, 1 + 1000 * (1 + 6 + 2) + 50 * 5 + 1 + 9 + 1);
}

GUEST_CODE(jumps, "code64",
	   "xorl %edx, %edx\n"
	   "1: incl %edx\n"
	   "testl $1, %edx\n"
	   "jnz 2f\n"
	   "nop\n"
	   "testl $2, %edx\n"
	   "jnz 3f\n"
	   "nop\n"
	   "nop\n"
	   "2: nop\n"
	   "3: cmpl $100, %edx\n"
	   "jb 1b\n"
	   "hlt\n");

static void jumps_that_are_taken_leave_out_what_they_pass(void **state)
{
	struct guest *g = *state;

	/* odd: 3 + nop + 2; even: 4 + 2, and with bit 1 clear 3 nops; then 2 */
	guest_long(g);
	guest_load(g, G_CODE, jumps);
	assert_runs_to_hlt_in(g, 1 + 50 * 6 + 25 * 8 + 25 * 11 + 1);
}

GUEST_CODE(faulting, "code64",
	   "movl $20, %ebx\n"
	   "1: nop\n"
	   "movl %ebx, %eax\n"
	   "movl (%rsi), %eax\n" /* not mapped: the handler skips it */
	   "nop\n"
	   "ud2\n"
	   "decl %ebx\n"
	   "jnz 1b\n"
	   "hlt\n");
GUEST_CODE(skip_2_ud, "code64",
	   "addq $2, (%rsp)\n"
	   "iretq\n");
GUEST_CODE(skip_2_pf, "code64",
	   "addq $8, %rsp\n"
	   "addq $2, (%rsp)\n"
	   "iretq\n");

static void load_faulting(struct guest *g)
{
	guest_long(g);
	guest_load(g, G_CODE, faulting);
	guest_gate(g, EXC_UD, H_FAULT, 0);
	guest_load(g, H_FAULT, skip_2_ud);
	guest_gate(g, EXC_PF, H_FAULT + 0x40, 0);
	guest_load(g, H_FAULT + 0x40, skip_2_pf);
	guest_state(g)->gpr[GPR_RSI] = 0x7f0000000000;
}

static void faulting_instructions_and_deliveries_do_not_count(void **state)
{
	struct guest *g = *state;

	load_faulting(g);
	assert_runs_to_hlt_in(g, 1 + 20 * (2 + 3 + 1 + 2 + 2) + 1);
}

GUEST_CODE(strings, "code64",
	   "movl $0x20f00, %edi\n"
	   "movl $0x20000, %esi\n"
	   "movl $0x3000, %ecx\n"
	   "rep movsb\n"
	   "movl $3, %ecx\n"
	   "movl $0x80, %edx\n"
	   "rep outsb\n"
	   "xorl %ecx, %ecx\n"
	   "rep stosq\n"
	   "stosb\n"
	   "hlt\n");

static void a_repeated_string_instruction_counts_once(void **state)
{
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, strings);
	assert_runs_to_hlt_in(g, 11);
	assert_int_equal(g->nlog, 3);
}

GUEST_CODE(rep_fault, "code64",
	   "movl $0x1ffff8, %edi\n" /* the last bytes before device memory */
	   "movl $2, %ecx\n"
	   "nop\n"
	   "rep stosq\n"
	   "hlt\n");

static void one_that_faults_half_way_counts_when_it_is_complete(void **state)
{
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, rep_fault);
	poke64(g, G_PD + 8, 0);
	guest_gate(g, EXC_PF, H_FAULT, 0);
	g->ram[H_FAULT] = 0xf4;
	assert_runs_to_hlt_in(g, 3 + 1);
	assert_int_equal(guest_state(g)->gpr[GPR_RCX], 1);
}

GUEST_CODE(device, "code64",
	   "nop\n"
	   "movl (%rsi), %eax\n"
	   "addl %eax, (%rsi)\n"
	   "outb %al, $0x80\n"
	   "pushq (%rsi)\n"
	   "hlt\n");

static void an_instruction_started_over_counts_once(void **state)
{
	static const uint64_t at_exit[] = {1, 2, 2, 3, 4};
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, device);
	guest_state(g)->gpr[GPR_RSI] = G_MMIO;
	for (unsigned n = 0; n < ARRAY_SIZE(at_exit); n++) {
		assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
		assert_true(g->exit.reason == EXIT_MMIO || g->exit.reason == EXIT_PIO);
		assert_int_equal(count(g), at_exit[n]);
	}
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(count(g), 6);
}

GUEST_CODE(patch, "code64",
	   "movl $3, %ecx\n"
	   "1: movb $0x90, 2f(%rip)\n" /* INC EAX becomes two NOPs */
	   "movb $0x90, 2f + 1(%rip)\n"
	   "nop\n"
	   "2: incl %eax\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "hlt\n");

static void code_that_changes_itself_counts_as_it_runs(void **state)
{
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, patch);
	assert_runs_to_hlt_in(g, 1 + 3 * (3 + 2 + 2) + 1);
}

GUEST_CODE(stepped, "code64",
	   "pushfq\n"
	   "orl $0x100, (%rsp)\n"
	   "popfq\n"
	   "nop\n"
	   "nop\n"
	   "pushfq\n"
	   "andl $~0x100, (%rsp)\n"
	   "popfq\n"
	   "hlt\n");
GUEST_CODE(just_return, "code64", "iretq\n");

static void single_stepping_counts_the_traps_handler_alone(void **state)
{
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, stepped);
	guest_gate(g, EXC_DB, H_FAULT, 0);
	guest_load(g, H_FAULT, just_return);
	assert_runs_to_hlt_in(g, 9 + 5);
}

/* --- stopping at a count ---------------------------------------------------------------- */

static void run_returns_at_the_count_and_goes_on(void **state)
{
	struct guest *g = *state;
	uint64_t all = 1 + 1000 * 9 + 50 * 5 + 1 + 9 + 1;

	guest_long(g);
	guest_load(g, G_CODE, loops);
	for (uint64_t n = 1; n < all; n += n < 200 ? 1 : 997) {
		stop_at(g, n);
		assert_int_equal(guest_run(g), EXIT_COUNT);
		assert_int_equal(count(g), n);
	}
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(count(g), all);
}

static void code_that_ran_before_stops_at_the_first_count_asked_for(void **state)
{
	struct guest *g = *state;
	uint64_t all = 1 + 1000 * 9 + 50 * 5 + 1 + 9 + 1;

	guest_long(g);
	guest_load(g, G_CODE, loops);
	assert_runs_to_hlt_in(g, all);
	guest_long(g);
	stop_at(g, all + 5000);
	assert_int_equal(guest_run(g), EXIT_COUNT);
	assert_int_equal(count(g), all + 5000);
	assert_runs_to_hlt_in(g, all - 5000);
}

GUEST_CODE(endless, "code64",
	   "1: incl (%rsi)\n"
	   "jmp 1b\n");

static void *run_until_kicked(void *arg)
{
	struct engine_exit e = {0};

	GUEST_ENGINE.run(arg, &e);
	return e.reason == EXIT_KICK ? arg : NULL;
}

/* What both run was made before; the other is inside of it. */
static void so_does_code_that_another_vcpu_runs(void **state)
{
	struct guest *g = guest_new(2);
	struct engine_vcpu **v = g->vm->vcpu;
	volatile uint8_t *rounds = g->ram + G_DATA;
	pthread_t t;
	void *kicked;

	(void)state;
	for (int n = 1; n >= 0; n--) {
		g->v = v[n];
		guest_long(g);
		guest_load(g, G_CODE, endless);
		guest_state(g)->gpr[GPR_RSI] = G_DATA;
	}
	assert_int_equal(pthread_create(&t, NULL, run_until_kicked, v[1]), 0);
	while (!*rounds)
		sched_yield();
	stop_at(g, 10001);
	assert_int_equal(guest_run(g), EXIT_COUNT);
	assert_int_equal(count(g), 10001);
	GUEST_ENGINE.kick(v[1]);
	pthread_join(t, &kicked);
	assert_ptr_equal(kicked, v[1]);
	g->v = v[1];
	stop_at(g, count(g) + 10001);
	assert_int_equal(guest_run(g), EXIT_COUNT);
	guest_free(g);
}

static void a_count_of_the_past_stops_at_once(void **state)
{
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, loops);
	stop_at(g, 100);
	assert_int_equal(guest_run(g), EXIT_COUNT);
	stop_at(g, 7);
	assert_int_equal(guest_run(g), EXIT_COUNT);
	assert_int_equal(count(g), 100);
	stop_at(g, 5000);
	stop_at(g, COUNT_NEVER);
	assert_int_equal(guest_run(g), EXIT_HLT);
}

static void the_count_comes_before_the_hlt_it_ends_with(void **state)
{
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, straight);
	stop_at(g, 5);
	assert_int_equal(guest_run(g), EXIT_COUNT);
	assert_int_equal(guest_state(g)->activity, CPU_HALTED);
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(count(g), 5);
}

/* Stopped at @n directly, and by stopping everywhere before, the state is the same. */
static void every_count_is_the_state_that_stepping_finds(void **state)
{
	struct guest *g = *state, *step = guest_new(1);

	load_faulting(step);
	for (uint64_t n = 1; n < 200; n++) {
		stop_at(step, n);
		assert_int_equal(guest_run(step), EXIT_COUNT);
		load_faulting(g);
		stop_at(g, count(g) + n);
		assert_int_equal(guest_run(g), EXIT_COUNT);
		guest_state(g)->tsc = guest_state(step)->tsc;
		assert_memory_equal(guest_state(g), guest_state(step), sizeof(struct cpu_state));
	}
	guest_free(step);
}

GUEST_CODE(small_loop, "code64",
	   "1: addq (%rbx), %rax\n"
	   "movq (%rbx), %xmm2\n"
	   "addq %rax, 8(%rbx)\n"
	   "addq $16, %rbx\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "incl %edx\n"
	   "hlt\n");

static void load_small_loop(struct guest *g, uint64_t rounds)
{
	guest_long(g);
	guest_load(g, G_CODE, small_loop);
	for (unsigned n = 0; n < 0x400; n += 8)
		poke64(g, G_DATA + 0xf00 + n, n * n);
	guest_state(g)->gpr[GPR_RBX] = G_DATA + 0xf00; /* goes on in another page */
	guest_state(g)->gpr[GPR_RCX] = rounds;
}

static void a_small_loop_of_any_length_counts_and_stops_exactly(void **state)
{
	struct guest *g = *state, *step = guest_new(1);

	for (uint64_t rounds = 1; rounds < 40; rounds++) {
		load_small_loop(g, rounds);
		assert_runs_to_hlt_in(g, 6 * rounds + 2);
	}
	load_small_loop(step, 40);
	for (uint64_t n = 1; n < 6 * 40 + 2; n++) {
		stop_at(step, n);
		assert_int_equal(guest_run(step), EXIT_COUNT);
		load_small_loop(g, 40);
		stop_at(g, count(g) + n);
		assert_int_equal(guest_run(g), EXIT_COUNT);
		guest_state(g)->tsc = guest_state(step)->tsc;
		assert_memory_equal(guest_state(g), guest_state(step), sizeof(struct cpu_state));
		assert_memory_equal(g->ram + G_DATA, step->ram + G_DATA, 0x2000);
	}
	guest_free(step);
}

/* The interrupted RIP and RBX to a list at R15. */
GUEST_CODE(note, "code64",
	   "pushq %rax\n"
	   "movq 8(%rsp), %rax\n"
	   "movq %rax, (%r15)\n"
	   "movq %rbx, 8(%r15)\n"
	   "addq $16, %r15\n"
	   "popq %rax\n"
	   "iretq\n");

static void load_interrupted(struct guest *g)
{
	load_faulting(g);
	guest_gate(g, 40, H_IRQ, 0);
	guest_load(g, H_IRQ, note);
	guest_state(g)->gpr[15] = G_DATA;
	guest_state(g)->rflags |= FL_IF;
	memset(g->ram + G_DATA, 0, 0x1000);
}

static void interrupts_at_the_same_counts_make_the_same_run(void **state)
{
	struct guest *g = *state, *again = guest_new(1);
	uint64_t at[] = {3, 17, 18, 60, 119, 200}, next = 40;

	load_interrupted(g);
	load_interrupted(again);
	for (unsigned n = 0; n < ARRAY_SIZE(at); n++) {
		stop_at(g, at[n]);
		assert_int_equal(guest_run(g), EXIT_COUNT);
		if (GUEST_ENGINE.can_inject(g->v))
			GUEST_ENGINE.inject(g->v, 40);
		for (; next < at[n]; next += 40) { /* other stops on the way mean nothing */
			stop_at(again, next);
			assert_int_equal(guest_run(again), EXIT_COUNT);
		}
		stop_at(again, at[n]);
		assert_int_equal(guest_run(again), EXIT_COUNT);
		if (GUEST_ENGINE.can_inject(again->v))
			GUEST_ENGINE.inject(again->v, 40);
	}
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(guest_run(again), EXIT_HLT);
	assert_true(peek64(g, G_DATA));
	assert_int_equal(count(g), count(again));
	assert_memory_equal(g->ram, again->ram, G_RAM);
	guest_free(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_straight_run_counts_each_instruction_and_its_hlt),
		T(every_round_of_a_loop_counts),
		T(jumps_that_are_taken_leave_out_what_they_pass),
		T(faulting_instructions_and_deliveries_do_not_count),
		T(a_repeated_string_instruction_counts_once),
		T(one_that_faults_half_way_counts_when_it_is_complete),
		T(an_instruction_started_over_counts_once),
		T(code_that_changes_itself_counts_as_it_runs),
		T(single_stepping_counts_the_traps_handler_alone),
		T(run_returns_at_the_count_and_goes_on),
		T(code_that_ran_before_stops_at_the_first_count_asked_for),
		T(so_does_code_that_another_vcpu_runs),
		T(a_count_of_the_past_stops_at_once),
		T(the_count_comes_before_the_hlt_it_ends_with),
		T(every_count_is_the_state_that_stepping_finds),
		T(a_small_loop_of_any_length_counts_and_stops_exactly),
		T(interrupts_at_the_same_counts_make_the_same_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
