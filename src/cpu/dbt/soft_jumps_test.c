/* SPDX-License-Identifier: Apache-2.0 */
/* soft_jumps_test.c - where jumps of translated code lead, and small loops. */
#define GUEST_ENGINE engine_soft
#include <pthread.h>
#include "cpu/dbt/dbt.h"
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

/* The address check of what CALL pushes is shared: it does not touch flags. */
GUEST_CODE(calls_in_a_frame, "code64",
	   "movq %rax, 0x10(%rsp)\n"
	   "addq %rbx, %rax\n"
	   "call 1f\n"
	   "hlt\n"
	   "1: pushfq\n"
	   "popq %rdx\n"
	   "ret\n");

static void a_call_leaves_flags_alone(void **state)
{
	static const struct {
		uint64_t a, b, flags;
	} sums[] = {{1, 2, FL_PF},
		    {1, 3, 0},
		    {~0ULL, 1, FL_ZF | FL_PF | FL_CF | FL_AF},
		    {1ULL << 63, 1, FL_SF},
		    {~0ULL >> 1, 1, FL_SF | FL_OF | FL_AF | FL_PF}};
	struct guest *g = guest_new(1);

	for (unsigned n = 0; n < ARRAY_SIZE(sums); n++) {
		guest_long(g);
		guest_load(g, G_CODE, calls_in_a_frame);
		guest_state(g)->gpr[GPR_RSP] = G_STACK - 0x100;
		guest_state(g)->gpr[GPR_RAX] = sums[n].a;
		guest_state(g)->gpr[GPR_RBX] = sums[n].b;
		assert_int_equal(guest_run(g), EXIT_HLT);
		assert_int_equal(guest_state(g)->gpr[GPR_RDX], sums[n].flags | FL_RES1);
	}
	guest_free(g);
}

/* --- small loops: there are several copies of the body in translated code ------------------- */

GUEST_CODE(sum_up, "code64",
	   "1: addq (%rbx), %rax\n"
	   "movq (%rbx), %xmm1\n"
	   "addq $8, %rbx\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "hlt\n");
GUEST_CODE(to_hlt, "code64", "hlt\n");

enum { END = 0x150000, ROUNDS = 40, H_PF = 0x10400 };

/* The translation of what is at @rip. */
static const struct dbt_block *block_at(const struct guest *g, uint64_t rip)
{
	const struct dbt *d = g->vm->dbt;

	for (size_t n = 0; n < 1ULL << d->hash_bits; n++)
		for (const struct dbt_block *b = d->hash[n]; b; b = b->next)
			if (b->rip == rip && !b->plain)
				return b;
	fail_msg("nothing is translated at %llx", (unsigned long long)rip);
	return NULL;
}

/* At END is no memory. */
static void load_loop(struct guest *g, uint64_t rip)
{
	guest_long(g);
	guest_load(g, rip, sum_up);
	guest_load(g, H_PF, to_hlt);
	guest_gate(g, EXC_PF, H_PF, 0);
	poke64(g, G_PT + END / 512, 0);
	for (unsigned k = 0; k < ROUNDS; k++)
		poke64(g, END - 8 * ROUNDS + 8 * k, 1ULL << k);
	guest_state(g)->rip = rip;
	guest_state(g)->gpr[GPR_RBX] = END - 8 * ROUNDS;
}

static void a_small_loop_has_several_copies_of_its_body(void **state)
{
	struct guest *g = guest_new(1);
	const struct dbt_block *b;

	load_loop(g, G_CODE);
	guest_state(g)->gpr[GPR_RCX] = ROUNDS;
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(guest_state(g)->gpr[GPR_RAX], (1ULL << ROUNDS) - 1);
	b = block_at(g, G_CODE);
	assert_in_range(b->ninsns, 10, DBT_MAX_UNROLLED);
	assert_int_equal(b->ninsns % 5, 0);
	assert_int_equal(b->bytes, sum_up_end - sum_up - 1);
	guest_free(g);
}

/* Wherever the code's page ends. */
static void a_small_loop_ends_and_faults_in_the_right_round(void **state)
{
	unsigned loop = (unsigned)(sum_up_end - sum_up - 1);
	struct guest *g = guest_new(1);

	for (unsigned n = 1; n < ROUNDS + 4; n++) {
		uint64_t rip = G_CODE + 0x1000 - loop - n % 4, done = MIN(n, (unsigned)ROUNDS);
		const struct cpu_state *s = guest_state(g);

		load_loop(g, rip);
		guest_state(g)->gpr[GPR_RCX] = n;
		assert_int_equal(guest_run(g), EXIT_HLT);
		assert_int_equal(s->gpr[GPR_RAX], (1ULL << done) - 1);
		assert_int_equal(s->gpr[GPR_RCX], n - done);
		assert_int_equal(s->gpr[GPR_RBX], END - 8 * ROUNDS + 8 * done);
		assert_int_equal(s->cr2, done < n ? END : 0);
		assert_int_equal(s->rip, done < n ? H_PF + 1 : rip + loop + 1);
		if (done < n) { /* the error code, RIP, CS, RFLAGS: DEC left no flag but PF */
			assert_int_equal(peek64(g, s->gpr[GPR_RSP] + 8), rip);
			assert_int_equal(peek64(g, s->gpr[GPR_RSP] + 24) & ~(uint64_t)FL_PF,
					 FL_RES1 | FL_RF);
		} else { /* ZF and PF */
			assert_int_equal(s->rflags, FL_RES1 | FL_ZF | FL_PF);
		}
	}
	guest_free(g);
}

/* Two ways back: the first is taken in odd rounds. */
GUEST_CODE(two_ways, "code64",
	   "1: incl (%rbx)\n"
	   "movd (%rbx), %xmm0\n"
	   "testl $1, (%rbx)\n"
	   "jnz 1b\n"
	   "addq $3, %rax\n"
	   "cmpl $1000, (%rbx)\n"
	   "jb 1b\n"
	   "hlt\n"
	   "2: movq (%rdx), %rdx\n" /* not the same address twice: no copies for this alone */
	   "testb $1, %dl\n"
	   "jnz 2b\n"
	   "incl (%rbx)\n"
	   "movd (%rbx), %xmm0\n"
	   "addq $3, %rax\n"
	   "decl %ecx\n"
	   "jnz 2b\n"
	   "hlt\n");

static void a_loop_that_begins_again_in_the_middle_does_so(void **state)
{
	static const uint8_t from[] = {0x48, 0x8b, 0x12}; /* MOV RDX, [RDX] */
	struct guest *g = guest_new(1);
	const struct cpu_state *s = guest_state(g);
	size_t at = 0;

	guest_long(g);
	guest_load(g, G_CODE, two_ways);
	guest_state(g)->gpr[GPR_RBX] = G_DATA;
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(peek64(g, G_DATA), 1000);
	assert_int_equal(s->gpr[GPR_RAX], 3 * 500);

	while (memcmp(two_ways + at, from, sizeof(from)))
		at++;
	guest_long(g);
	poke64(g, G_DATA, 0);
	poke64(g, G_DATA + 0x100, G_DATA + 0x111); /* a ring of three: two are odd */
	poke64(g, G_DATA + 0x111, G_DATA + 0x123);
	poke64(g, G_DATA + 0x123, G_DATA + 0x100);
	guest_state(g)->rip = G_CODE + at;
	guest_state(g)->gpr[GPR_RBX] = G_DATA;
	guest_state(g)->gpr[GPR_RDX] = G_DATA + 0x100;
	guest_state(g)->gpr[GPR_RCX] = 100;
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(peek64(g, G_DATA), 100);
	assert_int_equal(s->gpr[GPR_RAX], 300);
	assert_int_equal(s->gpr[GPR_RDX], G_DATA + 0x100);
	guest_free(g);
}

/* RDI is where the ADD's constant is. */
GUEST_CODE(rewrites_itself, "code64",
	   "1: addl (%rsi), %edx\n"
	   "addl $1, %eax\n"
	   "movd (%rsi), %xmm3\n"
	   "movb %cl, (%rdi)\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "hlt\n");

static void a_small_loop_that_writes_to_itself_runs_what_it_wrote(void **state)
{
	struct guest *g = guest_new(1);

	for (unsigned n = 1; n < 20; n++) {
		guest_long(g);
		guest_load(g, G_CODE, rewrites_itself);
		guest_state(g)->gpr[GPR_RSI] = G_DATA;
		guest_state(g)->gpr[GPR_RDI] = G_CODE + 4;
		guest_state(g)->gpr[GPR_RCX] = n;
		assert_int_equal(guest_run(g), EXIT_HLT);
		/* 1, and what all rounds but the last wrote */
		assert_int_equal(guest_state(g)->gpr[GPR_RAX], n * (n + 1) / 2);
	}
	guest_free(g);
}

static void a_small_loop_goes_on_in_the_next_page(void **state)
{
	struct guest *g = guest_new(1);

	for (unsigned n = 0; n < 80; n++) {
		load_loop(g, G_CODE);
		for (unsigned k = 0; k < 80; k++)
			poke64(g, G_DATA + 0x1000 - 40 * 8 + k * 8, k);
		guest_state(g)->gpr[GPR_RBX] = G_DATA + 0x1000 - 40 * 8 + n * 8;
		guest_state(g)->gpr[GPR_RCX] = 80 - n;
		assert_int_equal(guest_run(g), EXIT_HLT);
		assert_int_equal(guest_state(g)->gpr[GPR_RAX], 79 * 80 / 2 - (n * n - n) / 2);
	}
	guest_free(g);
}

GUEST_CODE(wait_for_it, "code64",
	   "1: movd (%rbx), %xmm0\n"
	   "cmpl $0, (%rbx)\n"
	   "je 1b\n"
	   "hlt\n");

static void a_kick_stops_a_small_endless_loop(void **state)
{
	struct guest *g = guest_new(1);

	guest_long(g);
	guest_load(g, G_CODE, wait_for_it);
	guest_state(g)->gpr[GPR_RBX] = G_DATA;
	for (unsigned n = 0; n < 100; n++) {
		pthread_t t;

		assert_int_equal(pthread_create(&t, NULL, guest_kicker, g), 0);
		assert_int_equal(guest_run(g), EXIT_KICK);
		pthread_join(t, NULL);
		assert_in_range(guest_state(g)->rip, G_CODE, G_CODE + 7);
	}
	poke64(g, G_DATA, 1);
	assert_int_equal(guest_run(g), EXIT_HLT);
	guest_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(address_zero_is_no_empty_entry_while_something_is_requested),
		cmocka_unit_test(a_call_leaves_flags_alone),
		cmocka_unit_test(a_small_loop_has_several_copies_of_its_body),
		cmocka_unit_test(a_small_loop_ends_and_faults_in_the_right_round),
		cmocka_unit_test(a_loop_that_begins_again_in_the_middle_does_so),
		cmocka_unit_test(a_small_loop_that_writes_to_itself_runs_what_it_wrote),
		cmocka_unit_test(a_small_loop_goes_on_in_the_next_page),
		cmocka_unit_test(a_kick_stops_a_small_endless_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
