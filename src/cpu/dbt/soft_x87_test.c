/* SPDX-License-Identifier: Apache-2.0 */
/* soft_x87_test.c - x87 and MMX code that runs translated, and what makes it stop doing so. */
#define GUEST_ENGINE engine_soft
#include "cpu/interp/guest.h"

static int setup(void **state)
{
	*state = guest_new(1);
	guest_long(*state);
	guest_state(*state)->fx.fcw = 0x37f;
	guest_state(*state)->fx.ftw = 0;
	return 0;
}

static int teardown(void **state)
{
	guest_free(*state);
	return 0;
}

#define RAN_TO_HLT(g) assert_int_equal(guest_run(g), EXIT_HLT)

static uint64_t left_translated_code(const struct guest *g)
{
	struct engine_stats st;

	GUEST_ENGINE.stats(g->v, &st);
	return st.helpers + st.steps;
}

GUEST_CODE(x87_loop, "code64",
	   "movl $1000, %ecx\n"
	   "fld1\n"
	   "fldz\n"
	   "1: fadd %st(1), %st\n"
	   "fstpt 0x20010\n"
	   "fldt 0x20010\n"
	   "fcomi %st(1), %st\n"
	   "fcmovu %st(1), %st\n"
	   "fnstsw %ax\n"
	   "fldcw 0x20000\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "fistpll 0x20020\n"
	   "fstp %st(0)\n"
	   "movl $1000, %ecx\n"
	   "movq 0x20020, %mm3\n"
	   "2: paddd 0x20020, %mm3\n"
	   "movd %mm3, %edx\n"
	   "decl %ecx\n"
	   "jnz 2b\n"
	   "emms\n"
	   "hlt\n");

static void x87_and_mmx_loops_call_no_handlers(void **state)
{
	struct guest *g = *state;

	poke64(g, G_DATA, 0x0f7f); /* to zero */
	guest_load(g, G_CODE, x87_loop);
	RAN_TO_HLT(g);
	assert_int_equal(peek64(g, G_DATA + 0x20), 1000);
	assert_int_equal(guest_state(g)->gpr[GPR_RDX], 1001000);
	assert_int_equal(guest_state(g)->fx.fcw, 0x0f7f);
	assert_int_equal(guest_state(g)->fx.ftw, 0);
	assert_in_range(left_translated_code(g), 0, 20);
}

GUEST_CODE(x87_fault, "code64",
	   "movl $0x20000, %ebx\n"
	   "fldpi\n"
	   "fldl 8(%rbx)\n" /* 0x10007 */
	   "fld1\n"	    /* 0x1000a */
	   "incl %eax\n"
	   "fstpt 0x150000\n"); /* 0x1000e */
GUEST_CODE(to_hlt, "code64", "hlt\n");

static void a_fault_pops_nothing_and_finds_the_pointers_of_the_instruction_before(void **state)
{
	struct guest *g = *state;
	const struct cpu_fxsave *fx = &guest_state(g)->fx;
	uint64_t rip;

	guest_load(g, G_CODE, x87_fault);
	guest_load(g, 0x10400, to_hlt);
	guest_gate(g, EXC_PF, 0x10400, 0);
	poke64(g, G_PT + 0x150 * 8, 0);
	RAN_TO_HLT(g);
	rip = peek64(g, guest_state(g)->gpr[GPR_RSP] + 8);
	assert_int_equal(fx->ftw, 0xe0);
	assert_int_equal(fx->fdp, G_DATA + 8);
	assert_int_equal(fx->fop, 0x1e8);
	assert_int_equal(fx->fip, rip - 4);
	assert_int_equal(left_translated_code(g), 1); /* HLT */
}

GUEST_CODE(x87_unmask, "code64",
	   "movl $3, %ecx\n"
	   "1: fld1\n"
	   "fldz\n"
	   "fldcw 0x20000\n"
	   "fdivrp %st, %st(1)\n"
	   "fnop\n"
	   "decl %ecx\n"
	   "jnz 1b\n");
GUEST_CODE(mf_handler, "code64",
	   "fnstsw %ax\n"
	   "hlt\n");

static void an_exception_that_fldcw_unmasks_is_raised(void **state)
{
	struct guest *g = *state;

	guest_load(g, G_CODE, x87_unmask);
	guest_load(g, 0x10400, mf_handler);
	guest_gate(g, EXC_MF, 0x10400, 0);
	poke64(g, G_DATA, 0x037b); /* divisions by zero are not masked */
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->gpr[GPR_RAX] & 0xc4, 0x84); /* ES and ZE */
	assert_int_equal(guest_state(g)->gpr[GPR_RCX], 3);
}

GUEST_CODE(x87_no_device, "code64",
	   "fldpi\n"
	   "movq %cr0, %rax\n"
	   "orl $8, %eax\n"
	   "movq %rax, %cr0\n"
	   "fldpi\n");
GUEST_CODE(nm_handler, "code64",
	   "clts\n"
	   "fstpl 0x20000\n"
	   "hlt\n");

static void the_unit_survives_its_absence(void **state)
{
	struct guest *g = *state;

	guest_load(g, G_CODE, x87_no_device);
	guest_load(g, 0x10400, nm_handler);
	guest_gate(g, EXC_NM, 0x10400, 0);
	RAN_TO_HLT(g);
	assert_int_equal(peek64(g, G_DATA), 0x400921fb54442d18);
	assert_int_equal(guest_state(g)->fx.ftw, 0);
}

GUEST_CODE(x87_with_vectors, "code64",
	   "movl $0x3ff0, %eax\n"
	   "movd %eax, %xmm5\n"
	   "fld1\n"
	   "movd %xmm5, %edx\n"
	   "movdq2q %xmm5, %mm1\n"
	   "movq2dq %mm1, %xmm7\n"
	   "movd %xmm7, %ebx\n"
	   "hlt\n");

static void loading_the_unit_leaves_vectors_alone(void **state)
{
	struct guest *g = *state;
	const struct cpu_state *s = guest_state(g);

	guest_load(g, G_CODE, x87_with_vectors);
	RAN_TO_HLT(g);
	assert_int_equal(s->gpr[GPR_RDX], 0x3ff0);
	assert_int_equal(s->gpr[GPR_RBX], 0x3ff0);
	assert_int_equal(s->fx.ftw, 0xff);
	assert_int_equal(s->fx.fsw & 0x3800, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(x87_and_mmx_loops_call_no_handlers),
		T(a_fault_pops_nothing_and_finds_the_pointers_of_the_instruction_before),
		T(an_exception_that_fldcw_unmasks_is_raised),
		T(the_unit_survives_its_absence),
		T(loading_the_unit_leaves_vectors_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
