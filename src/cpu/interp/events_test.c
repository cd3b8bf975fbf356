/* SPDX-License-Identifier: Apache-2.0 */
/* events_test.c - interrupts, traps and faults between and inside instructions. */
#include "cpu/interp/guest.h"

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

#define RAN_TO_HLT(g) assert_int_equal(guest_run(g), EXIT_HLT)

/* Handlers at H(vec) write the interrupted RIP to a list at G_DATA, through %r15. */
#define H(vec) (G_CODE + 0x1000 + (vec)*0x40)

GUEST_CODE(note_and_return, "code64",
	   "pushq %rax\n"
	   "movq 8(%rsp), %rax\n"
	   "movq %rax, (%r15)\n"
	   "addq $8, %r15\n"
	   "popq %rax\n"
	   "iretq\n");
GUEST_CODE(note_db, "code64",
	   "pushq %rax\n"
	   "movq 8(%rsp), %rax\n"
	   "movq %rax, (%r15)\n"
	   "movq %dr6, %rax\n"
	   "movq %rax, 8(%r15)\n"
	   "addq $16, %r15\n"
	   "xorl %eax, %eax\n"
	   "movq %rax, %dr6\n"
	   "orl $0x10000, 24(%rsp)\n"
	   "popq %rax\n"
	   "iretq\n");

static void handlers(struct guest *g)
{
	guest_long(g);
	for (unsigned v = 0; v < 64; v++) {
		guest_gate(g, v, H(v), 3);
		guest_load(g, H(v), note_and_return);
	}
	guest_load(g, H(EXC_DB), note_db);
	guest_state(g)->gpr[15] = G_DATA;
}

static uint64_t noted(struct guest *g, unsigned n)
{
	return peek64(g, G_DATA + n * 8);
}

static unsigned nnoted(struct guest *g)
{
	return (unsigned)(guest_state(g)->gpr[15] - G_DATA) / 8;
}

/* --- interrupts ----------------------------------------------------------------------- */

GUEST_CODE(open_window, "code64",
	   "nop\n"
	   "sti\n"
	   "nop\n"
	   "nop\n"
	   "cli\n"
	   "hlt\n");

static void the_window_opens_one_instruction_after_sti(void **state)
{
	struct guest *g = *state;

	handlers(g);
	guest_load(g, G_CODE, open_window);
	assert_false(GUEST_ENGINE.can_inject(g->v));
	GUEST_ENGINE.window(g->v, true);
	assert_int_equal(guest_run(g), EXIT_WINDOW);
	assert_int_equal(guest_state(g)->rip, G_CODE + 3);
	assert_true(GUEST_ENGINE.can_inject(g->v));
	GUEST_ENGINE.inject(g->v, 40);
	assert_false(GUEST_ENGINE.can_inject(g->v));
	GUEST_ENGINE.window(g->v, false);
	RAN_TO_HLT(g);
	assert_int_equal(nnoted(g), 1);
	assert_int_equal(noted(g, 0), G_CODE + 3);
}

GUEST_CODE(sti_hlt, "code64",
	   "sti\n"
	   "hlt\n"
	   "incl %ebx\n"
	   "cli\n"
	   "hlt\n");

static void an_interrupt_wakes_a_halted_cpu_behind_its_hlt(void **state)
{
	struct guest *g = *state;

	handlers(g);
	guest_load(g, G_CODE, sti_hlt);
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->activity, CPU_HALTED);
	RAN_TO_HLT(g); /* stays so */
	assert_true(GUEST_ENGINE.can_inject(g->v));
	GUEST_ENGINE.inject(g->v, 33);
	assert_int_equal(guest_state(g)->activity, CPU_ACTIVE);
	RAN_TO_HLT(g);
	assert_int_equal(noted(g, 0), G_CODE + 2);
	assert_int_equal(guest_state(g)->gpr[GPR_RBX], 1);
}

GUEST_CODE(nmi_program, "code64",
	   "nop\n"
	   "nop\n"
	   "hlt\n");
GUEST_CODE(nmi_body, "code64",
	   "pushq %rax\n"
	   "movq 8(%rsp), %rax\n"
	   "movq %rax, (%r15)\n"
	   "addq $8, %r15\n"
	   "outb %al, $0x80\n"
	   "nop\n"
	   "popq %rax\n"
	   "iretq\n");

static void an_nmi_is_held_back_until_the_last_ones_iret(void **state)
{
	struct guest *g = *state;

	handlers(g);
	guest_load(g, G_CODE, nmi_program);
	guest_load(g, H(EXC_NMI), nmi_body);
	GUEST_ENGINE.inject_nmi(g->v);
	assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
	assert_int_equal(g->exit.reason, EXIT_PIO);
	assert_int_equal(guest_state(g)->nmi_blocked, 1);
	GUEST_ENGINE.inject_nmi(g->v);
	assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
	assert_int_equal(g->exit.reason, EXIT_PIO); /* of the second */
	RAN_TO_HLT(g);
	assert_int_equal(nnoted(g), 2);
	assert_int_equal(noted(g, 0), G_CODE);
	assert_int_equal(noted(g, 1), G_CODE);
	assert_int_equal(guest_state(g)->nmi_blocked, 0);
}

/* --- single step -------------------------------------------------------------------------- */

GUEST_CODE(stepped, "code64",
	   "pushfq\n"
	   "orl $0x100, (%rsp)\n"
	   "popfq\n"
	   "nop\n"
	   "incl %ebx\n"
	   "pushfq\n"
	   "andl $~0x100, (%rsp)\n"
	   "popfq\n"
	   "nop\n"
	   "hlt\n");

static void tf_traps_behind_every_instruction_after_the_one_that_set_it(void **state)
{
	struct guest *g = *state;
	static const uint8_t at[] = {0xa, 0xc, 0xd, 0x14, 0x15};

	handlers(g);
	guest_load(g, G_CODE, stepped);
	RAN_TO_HLT(g);
	assert_int_equal(nnoted(g), 2 * ARRAY_SIZE(at));
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		assert_int_equal(noted(g, i * 2), G_CODE + at[i]);
		assert_int_equal(noted(g, i * 2 + 1) & 0x400f, 0x4000);
	}
}

GUEST_CODE(stepped_out, "code64",
	   "pushfq\n"
	   "orl $0x100, (%rsp)\n"
	   "popfq\n"
	   "outb %al, $0x80\n"
	   "nop\n"
	   "pushfq\n"
	   "andl $~0x100, (%rsp)\n"
	   "popfq\n"
	   "hlt\n");

/* It is stopped where the trap is due, and its state goes to a new life. */
static void a_trap_that_is_due_goes_with_the_state(void **state)
{
	struct guest *g = *state;
	struct cpu_state s;

	handlers(g);
	guest_load(g, G_CODE, stepped_out);
	assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
	assert_int_equal(g->exit.reason, EXIT_PIO);
	GUEST_ENGINE.kick(g->v);
	assert_int_equal(guest_run(g), EXIT_KICK);
	assert_int_equal(guest_state(g)->rip, G_CODE + 0xb);
	assert_int_equal(GUEST_ENGINE.get_state(g->v, &s), 0);
	guest_set(g, &s);
	RAN_TO_HLT(g);
	assert_int_equal(noted(g, 0), G_CODE + 0xb); /* not 0xc */
	assert_int_equal(noted(g, 1) & 0x400f, 0x4000);
}

GUEST_CODE(stepped_ss, "code64",
	   "movl $0x10, %eax\n"
	   "pushfq\n"
	   "orl $0x100, (%rsp)\n"
	   "popfq\n"
	   "movl %eax, %ss\n"
	   "nop\n"
	   "pushfq\n"
	   "andl $~0x100, (%rsp)\n"
	   "popfq\n"
	   "hlt\n");

static void mov_ss_keeps_traps_from_the_next_boundary(void **state)
{
	struct guest *g = *state;

	handlers(g);
	guest_load(g, G_CODE, stepped_ss);
	RAN_TO_HLT(g);
	assert_int_equal(noted(g, 0), G_CODE + 0x11); /* not 0x10 */
}

GUEST_CODE(stepped_rep, "code64",
	   "movl $0x28000, %edi\n"
	   "movl $3, %ecx\n"
	   "pushfq\n"
	   "orl $0x100, (%rsp)\n"
	   "popfq\n"
	   "rep stosb\n"
	   "pushfq\n"
	   "andl $~0x100, (%rsp)\n"
	   "popfq\n"
	   "hlt\n");

static void tf_traps_behind_every_element_of_a_string(void **state)
{
	struct guest *g = *state;
	struct cpu_state *s = guest_state(g);

	handlers(g);
	guest_load(g, G_CODE, stepped_rep);
	RAN_TO_HLT(g);
	assert_int_equal(nnoted(g), 2 * 6);
	assert_int_equal(noted(g, 0), G_CODE + 0x13);
	assert_int_equal(noted(g, 2), G_CODE + 0x13);
	assert_int_equal(noted(g, 4), G_CODE + 0x15);
	assert_int_equal(s->gpr[GPR_RCX], 0);
}

/* --- breakpoints ---------------------------------------------------------------------------- */

GUEST_CODE(watched, "code64",
	   "movl $1, 0x28000\n"
	   "movl $1, 0x28004\n"
	   "movl 0x28004, %eax\n"
	   "nop\n"
	   "hlt\n");

static void a_data_breakpoint_traps_behind_the_store(void **state)
{
	struct guest *g = *state;
	struct cpu_state s;

	handlers(g);
	guest_load(g, G_CODE, watched);
	s = *guest_state(g);
	s.dr[2] = 0x28004;
	s.dr7 = 0x400 | 1 << 4 | 1 << 24 | 3 << 26;
	guest_set(g, &s);
	RAN_TO_HLT(g);
	assert_int_equal(nnoted(g), 2);
	assert_int_equal(noted(g, 0), G_CODE + 22);
	assert_int_equal(noted(g, 1) & 0x400f, 4);
}

static void an_instruction_breakpoint_comes_first_and_rf_lets_it_pass(void **state)
{
	struct guest *g = *state;
	struct cpu_state s;

	handlers(g);
	guest_load(g, G_CODE, watched);
	s = *guest_state(g);
	s.dr[0] = G_CODE + 11;
	s.dr7 = 0x400 | 1;
	guest_set(g, &s);
	RAN_TO_HLT(g);
	assert_int_equal(nnoted(g), 2);
	assert_int_equal(noted(g, 0), G_CODE + 11);
	assert_int_equal(noted(g, 1) & 0x400f, 1);
	assert_int_equal(peek64(g, 0x28000), 1 | 1ULL << 32);
}

/* --- faults in delivery ------------------------------------------------------------------------
 */

GUEST_CODE(divide, "code64",
	   "nop\n"
	   "xorl %ecx, %ecx\n"
	   "divl %ecx\n"
	   "hlt\n");

static void a_bad_gate_makes_a_double_fault(void **state)
{
	struct guest *g = *state;

	handlers(g);
	guest_load(g, G_CODE, divide);
	poke64(g, G_IDT + EXC_DE * 16, 0);
	memcpy(g->ram + H(EXC_DF), (const uint8_t[]){0x5f, 0xf4}, 2); /* pop %rdi; hlt */
	guest_state(g)->gpr[GPR_RDI] = 99;
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->rip, H(EXC_DF) + 2);
	assert_int_equal(guest_state(g)->gpr[GPR_RDI], 0);
	assert_int_equal(peek64(g, guest_state(g)->gpr[GPR_RSP]), G_CODE + 3);
}

static void no_double_fault_handler_shuts_the_cpu_down(void **state)
{
	struct guest *g = *state;

	handlers(g);
	guest_load(g, G_CODE, divide);
	poke64(g, G_IDT + EXC_DE * 16, 0);
	poke64(g, G_IDT + EXC_DF * 16, 0);
	assert_int_equal(guest_run(g), EXIT_SHUTDOWN);
	assert_int_equal(guest_state(g)->activity, CPU_SHUTDOWN);
	assert_int_equal(guest_run(g), EXIT_SHUTDOWN);
	assert_retired(g, 2);
}

GUEST_CODE(push_fault, "code64",
	   "movl $0x151000, %esp\n"
	   "movl $0x10, %eax\n"
	   "divl %ecx\n"
	   "hlt\n");

static void a_page_fault_on_the_handlers_stack_replaces_a_contributory_exception(void **state)
{
	struct guest *g = *state;

	handlers(g);
	guest_load(g, G_CODE, push_fault);
	poke64(g, G_PT + 0x150 * 8, 0);
	guest_state(g)->gpr[GPR_RCX] = 0;
	/* #PF cannot push either: #DF, then shutdown */
	assert_int_equal(guest_run(g), EXIT_SHUTDOWN);
	assert_int_equal(guest_state(g)->cr2, 0x150ff8);
}

/* --- states in between ---------------------------------------------------------------------------
 */

static void a_pending_exception_of_a_restored_state_is_delivered_first(void **state)
{
	struct guest *g = *state;
	struct cpu_state s;

	handlers(g);
	guest_load(g, G_CODE, nmi_program);
	s = *guest_state(g);
	s.exc_pending = 1;
	s.exc_vector = EXC_UD;
	s.int_injected = 1;
	s.int_vector = 50;
	s.rflags |= FL_IF;
	guest_set(g, &s);
	RAN_TO_HLT(g);
	assert_int_equal(nnoted(g), 2);
	assert_int_equal(noted(g, 0), G_CODE);
	assert_int_equal(noted(g, 1), G_CODE);
}

/* --- accesses that lie close together ----------------------------------------------------- */

GUEST_CODE(neighbours, "code64",
	   "movq (%rbx), %rax\n"
	   "addq 8(%rbx), %rax\n"
	   "cmpq 24(%rbx), %rax\n"
	   "movq %rax, 16(%rbx)\n"
	   "incq 32(%rbx)\n"
	   "addq $8, %rbx\n"
	   "movb %al, 39(%rbx)\n"
	   "hlt\n");

enum { CLOSE_PAGE = 0x40000, CLOSE_SPAN = 48 };

/* Two pages of linear memory that are not neighbours in RAM. */
static uint8_t *close_at(struct guest *g, uint64_t lin)
{
	return g->ram + (lin < CLOSE_PAGE + 0x1000 ? lin + 0x10000 : lin + 0x7000);
}

static uint64_t close_get(struct guest *g, uint64_t lin)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v |= (uint64_t)*close_at(g, lin + i) << i * 8;
	return v;
}

enum { CLOSE_FIRST = CLOSE_PAGE + 0x1000 - 2 * CLOSE_SPAN };

/* The TLB stays as it is from one run to the next. */
static void close_start(struct guest *g, uint64_t lin, bool present)
{
	if (lin == CLOSE_FIRST)
		guest_long(g);
	guest_gate(g, EXC_PF, G_CODE + 0x800, 0);
	g->ram[G_CODE + 0x800] = 0xf4;
	poke64(g, G_PT + (CLOSE_PAGE >> 12) * 8, (CLOSE_PAGE + 0x10000) | 7);
	poke64(g, G_PT + ((CLOSE_PAGE >> 12) + 1) * 8, (CLOSE_PAGE + 0x8000) | 6 | present);
	guest_load(g, G_CODE, neighbours);
	for (unsigned i = 0; i < CLOSE_SPAN; i++)
		*close_at(g, lin + i) = (uint8_t)(lin * 7 + i * 37);
	guest_state(g)->gpr[GPR_RBX] = lin;
	guest_state(g)->gpr[GPR_RSP] = G_STACK;
	guest_state(g)->rip = G_CODE;
	guest_state(g)->activity = CPU_ACTIVE;
}

static void accesses_that_lie_close_together_may_cross_a_page(void **state)
{
	struct guest *g = *state;

	for (uint64_t lin = CLOSE_FIRST; lin < CLOSE_PAGE + 0x1010; lin++) {
		uint64_t sum, count;

		close_start(g, lin, true);
		sum = close_get(g, lin) + close_get(g, lin + 8);
		count = close_get(g, lin + 32) + 1;
		RAN_TO_HLT(g);
		assert_int_equal(guest_state(g)->gpr[GPR_RAX], sum);
		assert_int_equal(close_get(g, lin + 16), sum);
		assert_int_equal(close_get(g, lin + 32), count);
		assert_int_equal(*close_at(g, lin + 47), sum & 0xff);
	}
}

static void the_one_of_them_that_faults_is_the_one_reported(void **state)
{
	static const struct {
		uint8_t rip, end;
	} insn[] = {{0, 8}, {3, 16}, {7, 32}, {11, 24}, {15, 40}, {23, 48}, {26, 0}};
	struct guest *g = *state;

	for (uint64_t lin = CLOSE_FIRST; lin < CLOSE_PAGE + 0x1000; lin++) {
		uint64_t sp = G_STACK - 5 * 8 - 8;
		unsigned n = 0;

		close_start(g, lin, false);
		while (insn[n].end && lin + insn[n].end <= CLOSE_PAGE + 0x1000)
			n++;
		RAN_TO_HLT(g);
		if (!insn[n].end) {
			assert_int_equal(guest_state(g)->rip, G_CODE + insn[n].rip + 1);
			continue;
		}
		assert_int_equal(guest_state(g)->rip, G_CODE + 0x801);
		assert_int_equal(guest_state(g)->gpr[GPR_RSP], sp);
		assert_int_equal(peek64(g, sp + 8), G_CODE + insn[n].rip);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_window_opens_one_instruction_after_sti),
		TEST(an_interrupt_wakes_a_halted_cpu_behind_its_hlt),
		TEST(an_nmi_is_held_back_until_the_last_ones_iret),
		TEST(tf_traps_behind_every_instruction_after_the_one_that_set_it),
		TEST(a_trap_that_is_due_goes_with_the_state),
		TEST(mov_ss_keeps_traps_from_the_next_boundary),
		TEST(tf_traps_behind_every_element_of_a_string),
		TEST(a_data_breakpoint_traps_behind_the_store),
		TEST(an_instruction_breakpoint_comes_first_and_rf_lets_it_pass),
		TEST(a_bad_gate_makes_a_double_fault),
		TEST(no_double_fault_handler_shuts_the_cpu_down),
		TEST(a_page_fault_on_the_handlers_stack_replaces_a_contributory_exception),
		TEST(a_pending_exception_of_a_restored_state_is_delivered_first),
		TEST(accesses_that_lie_close_together_may_cross_a_page),
		TEST(the_one_of_them_that_faults_is_the_one_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
