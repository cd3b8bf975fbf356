/* SPDX-License-Identifier: Apache-2.0 */
/* soft_reuse_test.c - one page of code, run at several addresses. */
#define GUEST_ENGINE engine_soft
#include "cpu/dbt/dbt.h"
#include "cpu/interp/guest.h"

enum {
	LIB = 0x14000,
	LIB_DATA = 0x15000,
	FAR = 200, /* multiples of 512 GiB where it all is again */
	NEAR = 8,  /* times that LIB is mapped at NEAR_LIB */
	NEAR_LIB = 0x60000,
};

static int setup(void **state)
{
	struct guest *g = guest_new(1);

	guest_long(g);
	for (unsigned n = 1; n <= FAR; n++)
		poke64(g, G_PML4 + n * 8, G_PDPT | 7);
	for (unsigned n = 0; n < NEAR; n++) {
		poke64(g, G_PT + NEAR_LIB / 512 + n * 16, LIB | 7);
		poke64(g, G_PT + NEAR_LIB / 512 + n * 16 + 8, LIB_DATA | 7);
	}
	g->vm->dbt->verify_reuse = true;
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	struct guest *g = *state;

	assert_int_equal(g->vm->dbt->stats.reuse_differs, 0);
	guest_free(g);
	return 0;
}

/* A bit of all that depends on where code is: RBX is where it ran, RDI what it read. */
GUEST_CODE(lib, "code64",
	   "pushq %rbp\n"
	   "leaq lib(%rip), %rbx\n"
	   "leal lib(%rip), %esi\n"
	   "movl lib + 0x1000(%rip), %edi\n"
	   "incl lib + 0x1010(%rip)\n"
	   "call 2f\n"
	   "cmpl %ebx, %esi\n"
	   "jne 3f\n"
	   "xorl %eax, %eax\n"
	   "cpuid\n" /* destroys RBX, among others */
	   "leaq lib(%rip), %rbx\n"
	   "jmp 1f\n"
	   "3: ud2\n"
	   "1: movq lib_entry(%rip), %rdx\n"
	   "leaq 4f(%rip), %rcx\n"
	   "call *%rcx\n"
	   "popq %rbp\n"
	   "movl $9, %ecx\n"
	   "5: subq $1, lib + 0x1030(%rip)\n" /* a small loop */
	   "movq lib + 0x1030(%rip), %xmm0\n"
	   "decl %ecx\n"
	   "jnz 5b\n"
	   "ret\n"
	   "2: addl $5, %edi\n" /* patched by a test */
	   "ret\n"
	   "4: movdqu lib + 0xffc(%rip), %xmm1\n" /* over two pages */
	   "movw $7, lib + 0x1020(%rip)\n"
	   "ret\n"
	   "lib_entry: .quad 0\n");

/* Calls at the addresses in R12 and R13. */
GUEST_CODE(twice, "code64",
	   "callq *%r12\n"
	   "movq %rbx, %r14\n"
	   "callq *%r13\n"
	   "hlt\n");

static void run_at(struct guest *g, uint64_t first, uint64_t second)
{
	guest_load(g, G_CODE, twice);
	guest_load(g, LIB, lib);
	poke64(g, LIB_DATA, 37);
	guest_state(g)->gpr[GPR_R12] = first;
	guest_state(g)->gpr[GPR_R13] = second;
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(guest_state(g)->gpr[GPR_R14], first);
	assert_int_equal(guest_state(g)->gpr[GPR_RBX], second);
	assert_int_equal(guest_state(g)->gpr[GPR_RDI], 42);
	assert_int_equal(peek64(g, LIB_DATA + 0x10), 2);
	assert_int_equal(peek64(g, LIB_DATA + 0x20), 7);
	assert_int_equal(peek64(g, LIB_DATA + 0x30), -18);
}

static void what_was_translated_is_copied_to_another_address(void **state)
{
	struct guest *g = *state;

	run_at(g, (3ULL << 39) + LIB, (5ULL << 39) + NEAR_LIB);
	assert_in_range(g->vm->dbt->stats.reused, 5, 100);
}

static void near_the_ends_of_the_address_space_everything_is_translated(void **state)
{
	struct guest *g = *state;

	run_at(g, LIB, NEAR_LIB);
	assert_int_equal(g->vm->dbt->stats.reused, 0);
}

/* The second call finds other code: R15 is where a byte of it is, by another address. */
GUEST_CODE(rewritten, "code64",
	   "callq *%r12\n"
	   "movl %edi, %r14d\n"
	   "movb $9, (%r15)\n"
	   "callq *%r13\n"
	   "hlt\n");

static void what_was_written_to_is_not_copied(void **state)
{
	struct guest *g = *state;
	const uint8_t add[] = {0x83, 0xc7, 0x05};
	size_t at = 0;

	while (memcmp(lib + at, add, sizeof(add)))
		at++;
	guest_load(g, G_CODE, rewritten);
	guest_load(g, LIB, lib);
	poke64(g, LIB_DATA, 37);
	guest_state(g)->gpr[GPR_R12] = (3ULL << 39) + LIB;
	guest_state(g)->gpr[GPR_R13] = (5ULL << 39) + NEAR_LIB;
	guest_state(g)->gpr[GPR_R15] = LIB + at + 2;
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(guest_state(g)->gpr[GPR_R14], 42);
	assert_int_equal(guest_state(g)->gpr[GPR_RDI], 46);
}

/* Everywhere, several times: more than the cache holds. */
GUEST_CODE(everywhere, "code64",
	   "movl $2, %r15d\n"
	   "0: movl $8, %r14d\n"
	   "1: movl $200, %r12d\n"
	   "2: movq %r12, %r13\n"
	   "shlq $39, %r13\n"
	   "leaq -1(%r14), %rax\n"
	   "shlq $13, %rax\n"
	   "leaq 0x60000(%rax, %r13), %r13\n"
	   "callq *%r13\n"
	   "cmpq %r13, %rbx\n"
	   "jne 3f\n"
	   "decl %r12d\n"
	   "jnz 2b\n"
	   "decl %r14d\n"
	   "jnz 1b\n"
	   "decl %r15d\n"
	   "jnz 0b\n"
	   "hlt\n"
	   "3: ud2\n");

static void copies_come_and_go_with_the_cache(void **state)
{
	struct guest *g = *state;
	const struct dbt_stats *st = &g->vm->dbt->stats;

	g->vm->dbt->verify_reuse = false;
	guest_load(g, G_CODE, everywhere);
	guest_load(g, LIB, lib);
	assert_int_equal(guest_run(g), EXIT_HLT);
	assert_int_equal(guest_state(g)->gpr[GPR_R15], 0);
	assert_int_equal((uint32_t)peek64(g, LIB_DATA + 0x10), 2 * NEAR * FAR);
	assert_in_range(st->flushes, 1, 10000);
	assert_in_range(st->reused, 5 * NEAR * FAR, 30 * NEAR * FAR);
	assert_in_range(st->translated, 1, NEAR * FAR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(what_was_translated_is_copied_to_another_address),
		T(near_the_ends_of_the_address_space_everything_is_translated),
		T(what_was_written_to_is_not_copied),
		T(copies_come_and_go_with_the_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
