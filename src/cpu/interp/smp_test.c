/* SPDX-License-Identifier: Apache-2.0 */
/* smp_test.c - two vCPUs on two threads: atomics, memory order, code of others, flushes, kicks. */
#include "cpu/interp/guest.h"

#include <pthread.h>

enum { ROUNDS = 20000 };

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

struct runner {
	struct engine_vcpu *v;
	enum exit_reason reason;
};

static void *run_vcpu(void *arg)
{
	struct runner *r = arg;
	struct engine_exit e = {0};

	GUEST_ENGINE.run(r->v, &e);
	r->reason = e.reason;
	return NULL;
}

/* Run @rip0 on vCPU 0 and @rip1 on vCPU 1, in long mode, both until HLT. */
static void run_both(struct guest *g, uint64_t rip0, uint64_t rip1)
{
	struct runner r[2] = {{g->vm->vcpu[0], 0}, {g->vm->vcpu[1], 0}};
	const uint64_t rip[2] = {rip0, rip1};
	pthread_t t[2];

	for (unsigned i = 0; i < 2; i++) {
		g->v = r[i].v;
		guest_long(g);
		guest_state(g)->rip = rip[i];
		guest_state(g)->gpr[GPR_RSP] -= i * 0x1000;
		guest_state(g)->gpr[GPR_RCX] = ROUNDS;
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, run_vcpu, &r[i]);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(r[i].reason, EXIT_HLT);
	}
}

GUEST_CODE(locked, "code64",
	   "1: lock incq 0x20000\n"
	   "movl $1, %eax\n"
	   "lock xaddl %eax, 0x20008\n"
	   "lock incl 0x20ffe\n" /* crosses a page */
	   "movl $1, %eax\n"
	   "2: movl $1, %eax\n"
	   "xchgl %eax, 0x20010\n"
	   "testl %eax, %eax\n"
	   "jz 3f\n"
	   "pause\n"
	   "jmp 2b\n"
	   "3: incq 0x20018\n" /* under the spin lock */
	   "movl $0, 0x20010\n"
	   "4: movl 0x20020, %eax\n"
	   "leal 1(%rax), %edx\n"
	   "lock cmpxchgl %edx, 0x20020\n"
	   "jnz 4b\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "hlt\n");

static void locked_instructions_lose_nothing(void **state)
{
	struct guest *g = *state;

	guest_load(g, G_CODE, locked);
	run_both(g, G_CODE, G_CODE);
	assert_int_equal(peek64(g, 0x20000), 2 * ROUNDS);
	assert_int_equal(peek64(g, 0x20008), 2 * ROUNDS);
	assert_int_equal(peek64(g, 0x20018), 2 * ROUNDS);
	assert_int_equal(peek64(g, 0x20020), 2 * ROUNDS);
	assert_int_equal((uint32_t)(peek64(g, 0x20ff8) >> 48 | peek64(g, 0x21000) << 16),
			 2 * ROUNDS);
}

/* A value, then a flag; the reader must never see the flag's round before the value's. */
GUEST_CODE(order_writer, "code64",
	   "1: incq 0x20000\n"
	   "incq 0x20040\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "hlt\n");
GUEST_CODE(order_reader, "code64",
	   "1: movq 0x20040, %rax\n"
	   "movq 0x20000, %rbx\n"
	   "cmpq %rax, %rbx\n"
	   "jae 2f\n"
	   "incq 0x20080\n"
	   "2: decl %ecx\n"
	   "jnz 1b\n"
	   "hlt\n");

static void stores_are_seen_in_order(void **state)
{
	struct guest *g = *state;

	guest_load(g, G_CODE, order_writer);
	guest_load(g, G_CODE + 0x100, order_reader);
	run_both(g, G_CODE, G_CODE + 0x100);
	assert_int_equal(peek64(g, 0x20000), ROUNDS);
	assert_int_equal(peek64(g, 0x20080), 0);
}

/* One patches the immediate that the other executes, until it has seen the last one. */
GUEST_CODE(patcher, "code64",
	   "1: movl %ecx, 0x10201\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "movl $0, 0x10201\n"
	   "hlt\n");
GUEST_CODE(patched, "code64",
	   "1: movl $1000000, %eax\n"
	   "cmpl $0, %eax\n"
	   "jne 1b\n"
	   "hlt\n");

static void code_patched_by_another_cpu_takes_effect(void **state)
{
	struct guest *g = *state;

	guest_load(g, G_CODE, patcher);
	guest_load(g, G_CODE + 0x200, patched);
	run_both(g, G_CODE, G_CODE + 0x200);
}

/* Both write to pages whose accessed and dirty bits they take from each other. */
GUEST_CODE(ad_writer, "code64",
	   "1: movl $0x100000, %edi\n"
	   "2: incl (%rdi,%rbx,4)\n"
	   "addl $4096, %edi\n"
	   "cmpl $0x110000, %edi\n"
	   "jb 2b\n"
	   "movq %cr3, %rax\n"
	   "movq %rax, %cr3\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "hlt\n");
GUEST_CODE(ad_clearer, "code64",
	   "1: movl $0x7800, %edi\n" /* page table entries of 1 MiB and on */
	   "2: lock andl $~0x60, (%rdi)\n"
	   "addl $8, %edi\n"
	   "cmpl $0x7880, %edi\n"
	   "jb 2b\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "hlt\n");

static void page_tables_are_updated_atomically(void **state)
{
	struct guest *g = *state;

	guest_load(g, G_CODE, ad_writer);
	guest_load(g, G_CODE + 0x200, ad_clearer);
	run_both(g, G_CODE, G_CODE + 0x200);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(peek64(g, 0x100000 + i * 4096) & 0xffffffff, ROUNDS);
		assert_int_equal(peek64(g, G_PT + (0x100 + i) * 8) & ~0x60ULL,
				 (0x100ULL + i) << 12 | 7);
	}
}

static void *kicker_after_rounds(void *arg)
{
	struct guest *g = arg;

	while (__atomic_load_n((uint64_t *)(g->ram + G_DATA), __ATOMIC_RELAXED) < 10000)
		;
	GUEST_ENGINE.kick(g->v);
	return NULL;
}

static void a_kick_stops_a_loop_over_two_pages(void **state)
{
	/* incq 0x20000; jmp to it, the jump in the next page */
	static const uint8_t code[] = {0x48, 0xff, 0x04, 0x25, 0, 0, 2, 0, 0xeb, 0xf6};
	struct guest *g = *state;
	pthread_t t;

	guest_long(g);
	memcpy(g->ram + G_CODE + 0xff8, code, sizeof(code));
	guest_state(g)->rip = G_CODE + 0xff8;
	pthread_create(&t, NULL, kicker_after_rounds, g);
	assert_int_equal(guest_run(g), EXIT_KICK);
	pthread_join(t, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(locked_instructions_lose_nothing),
		TEST(stores_are_seen_in_order),
		TEST(code_patched_by_another_cpu_takes_effect),
		TEST(page_tables_are_updated_atomically),
		TEST(a_kick_stops_a_loop_over_two_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
