/* SPDX-License-Identifier: Apache-2.0 */
/* interp_test.c - small guests on the interpreter: modes, code, device memory, kicks. */
#include "cpu/dbt/dbt.h"
#include "cpu/interp/guest.h"

#include <errno.h>
#include <pthread.h>

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

/* --- modes ------------------------------------------------------------------------ */

GUEST_CODE(real_sum, "code16",
	   "xorw %ax, %ax\n"
	   "movw $10, %cx\n"
	   "1: addw %cx, %ax\n"
	   "loop 1b\n"
	   "call 2f\n"
	   "hlt\n"
	   "2: movw $0x2000, %bx\n"
	   "movw %bx, %ds\n"
	   "movw %ax, (0x10)\n"
	   "ret\n");

static void real_mode_code_runs_and_is_counted_exactly(void **state)
{
	struct guest *g = *state;

	guest_real(g);
	guest_load(g, G_REAL, real_sum);
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->gpr[GPR_RAX] & 0xffff, 55);
	assert_int_equal(peek64(g, 0x20010) & 0xffff, 55);
	assert_int_equal(guest_state(g)->activity, CPU_HALTED);
	assert_retired(g, 2 + 20 + 1 + 4 + 1);
}

GUEST_CODE(to_protected, "code16",
	   "lgdtl (0x500)\n"
	   "movl %cr0, %eax\n"
	   "orl $1, %eax\n"
	   "movl %eax, %cr0\n"
	   "ljmpl $0x18, $1f - to_protected + 0x8000\n"
	   ".code32\n"
	   "1: movw $0x10, %ax\n"
	   "movw %ax, %ds\n"
	   "movw %ax, %ss\n"
	   "movl $0x30000, %esp\n"
	   "pushl $0x12345678\n"
	   "movl (%esp), %ebx\n"
	   "movl %ebx, 0x120000\n"
	   "hlt\n");

static void code_switches_itself_to_protected_mode(void **state)
{
	struct guest *g = *state;

	guest_tables(g);
	guest_real(g);
	poke64(g, 0x500, 0x3f | G_GDT << 16);
	guest_load(g, G_REAL, to_protected);
	RAN_TO_HLT(g);
	assert_int_equal(peek64(g, 0x120000), 0x12345678);
	assert_int_equal(g->v->c.mode, MODE_32);
	assert_int_equal(guest_state(g)->gpr[GPR_RSP], 0x2fffc);
}

GUEST_CODE(long_loop, "code64",
	   "movl $1000, %ecx\n"
	   "xorl %eax, %eax\n"
	   "1: addq %rcx, %rax\n"
	   "movq %rax, 0x20000\n"
	   "addq 0x20000, %rbx\n"
	   "decl %ecx\n"
	   "jnz 1b\n"
	   "hlt\n");

static void long_mode_code_runs_and_is_counted_exactly(void **state)
{
	struct guest *g = *state;
	struct engine_stats st;

	guest_long(g);
	guest_load(g, G_CODE, long_loop);
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->gpr[GPR_RAX], 500500);
	GUEST_ENGINE.stats(g->v, &st);
	assert_retired(g, 2 + 5000 + 1);
	assert_true(st.decoded < 20 || GUEST_CHECK);
	assert_int_equal(st.exits, 1);
}

GUEST_CODE(user_faults, "code64",
	   "pushq $0x3b\n"
	   "pushq $0x30800\n"
	   "pushq $0x202\n"
	   "pushq $0x33\n"
	   "pushq $0x10100\n"
	   "iretq\n");
GUEST_CODE(user_part, "code64",
	   "incl %eax\n"
	   "incl %eax\n"
	   "movb $1, 0x150000\n"
	   "incl %eax\n");
GUEST_CODE(pf_handler, "code64",
	   "popq %rbx\n"
	   "movq %cr2, %rdx\n"
	   "movq (%rsp), %rsi\n"
	   "hlt\n");

static void a_user_page_fault_reaches_its_handler_with_everything_exact(void **state)
{
	struct guest *g = *state;
	struct cpu_state *s = guest_state(g);

	guest_long(g);
	poke64(g, G_PT + 0x150 * 8, 0x150003);
	guest_gate(g, EXC_PF, G_CODE + 0x200, 0);
	guest_load(g, G_CODE, user_faults);
	guest_load(g, G_CODE + 0x100, user_part);
	guest_load(g, G_CODE + 0x200, pf_handler);
	s->gpr[GPR_RAX] = 0;
	RAN_TO_HLT(g);
	assert_int_equal(s->gpr[GPR_RBX], PF_P | PF_W | PF_U);
	assert_int_equal(s->gpr[GPR_RDX], 0x150000);
	assert_int_equal(s->gpr[GPR_RSI], G_CODE + 0x104);
	assert_int_equal(s->gpr[GPR_RAX], 2);
	assert_int_equal(g->v->c.cpl, 0);
	assert_retired(g, 6 + 2 + 4);
	assert_int_equal(peek64(g, G_STACK + 0x1000 - 40), G_CODE + 0x104);
	assert_int_equal(peek64(g, G_STACK + 0x1000 - 24), 0x10202); /* RF: a fault */
}

/* --- code ------------------------------------------------------------------------- */

GUEST_CODE(patch_next, "code64",
	   "movb $0xc3, %al\n"
	   "movb $0x42, 1f + 1 - patch_next + 0x10000\n"
	   "nop\n"
	   "1: movb $0, %bl\n"
	   "hlt\n");

static void a_store_into_the_running_block_takes_effect_at_once(void **state)
{
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, patch_next);
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->gpr[GPR_RBX] & 0xff, 0x42);
}

GUEST_CODE(call_out, "code64",
	   "1: outb %al, $0x80\n"
	   "movl $1, %ebx\n"
	   "hlt\n"
	   "jmp 1b\n");

static void code_changed_from_outside_is_decoded_anew(void **state)
{
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, call_out);
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->gpr[GPR_RBX], 1);
	for (unsigned i = 2; i < 6; i++) {
		g->ram[G_CODE + 3] = (uint8_t)i;
		guest_state(g)->activity = CPU_ACTIVE;
		RAN_TO_HLT(g);
		assert_int_equal(guest_state(g)->gpr[GPR_RBX], i);
	}
	assert_int_equal(g->nlog, 5);
}

GUEST_CODE(ten_bytes, "code64",
	   "movabsq $0x1122334455667788, %rax\n"
	   "hlt\n");

static void instructions_straddle_pages_that_are_apart(void **state)
{
	struct guest *g = *state;
	struct cpu_state s;

	guest_long(g);
	s = *guest_state(g);
	poke64(g, G_PT + 0x101 * 8, 0x180003);
	memcpy(g->ram + 0x100ffc, ten_bytes, 4);
	memcpy(g->ram + 0x180000, ten_bytes + 4, 7);
	s.rip = 0x100ffc;
	guest_set(g, &s);
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->gpr[GPR_RAX], 0x1122334455667788);
}

static void a_fetch_fault_names_the_page_and_only_when_its_bytes_are_needed(void **state)
{
	struct guest *g = *state;
	struct cpu_state s;

	guest_long(g);
	s = *guest_state(g);
	guest_gate(g, EXC_PF, G_CODE + 0x200, 0);
	guest_load(g, G_CODE + 0x200, pf_handler);
	poke64(g, G_PT + 0x101 * 8, BIT(63) | 0x180003);
	g->ram[0x100ffb] = 0x90;
	memcpy(g->ram + 0x100ffc, ten_bytes, 4);
	s.rip = 0x100ffb;
	guest_set(g, &s);
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->gpr[GPR_RBX], PF_P | PF_ID);
	assert_int_equal(guest_state(g)->gpr[GPR_RDX], 0x101000);
	assert_int_equal(guest_state(g)->gpr[GPR_RSI], 0x100ffc);
	assert_retired(g, 1 + 4);
}

GUEST_CODE(note_rip, "code64",
	   "movl $13, %edi\n"
	   "popq %rbx\n"
	   "popq %rsi\n"
	   "hlt\n");
GUEST_CODE(note_ud, "code64",
	   "movl $6, %edi\n"
	   "popq %rsi\n"
	   "hlt\n");

static void expect_fault(struct guest *g, const uint8_t *code, size_t n, unsigned vec)
{
	struct cpu_state s;

	guest_long(g);
	s = *guest_state(g);
	guest_gate(g, EXC_GP, G_CODE + 0x200, 0);
	guest_gate(g, EXC_UD, G_CODE + 0x300, 0);
	guest_load(g, G_CODE + 0x200, note_rip);
	guest_load(g, G_CODE + 0x300, note_ud);
	memset(g->ram + G_CODE, 0x90, 64);
	memcpy(g->ram + G_CODE + 1, code, n);
	guest_set(g, &s);
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->gpr[GPR_RDI], vec);
	assert_int_equal(guest_state(g)->gpr[GPR_RSI], G_CODE + 1);
}

static void what_is_no_instruction_or_too_long_faults_where_it_starts(void **state)
{
	struct guest *g = *state;
	uint8_t longest[16] = {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
			       0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90};

	expect_fault(g, (const uint8_t[]){0x0f, 0x0b}, 2, EXC_UD);
	expect_fault(g, (const uint8_t[]){0x0f, 0xff, 0xc0}, 3, EXC_UD);
	expect_fault(g, (const uint8_t[]){0xff, 0xff}, 2, EXC_UD);
	expect_fault(g, longest, sizeof(longest), EXC_GP);
}

/* No slot of the TLB may match what is left of a misaligned address. */
static void a_misaligned_vector_in_the_first_page_faults(void **state)
{
	static const uint8_t movaps[] = {0x0f, 0x28, 0x04, 0x25, 0, 0, 0, 0}; /* abs, %xmm0 */
	struct guest *g = *state;

	for (unsigned at = 1; at < 32; at++) {
		struct cpu_state s;

		if (at == 16)
			continue;
		guest_long(g);
		s = *guest_state(g);
		s.cr4 |= CR4_OSFXSR;
		guest_gate(g, EXC_GP, G_CODE + 0x200, 0);
		guest_load(g, G_CODE + 0x200, note_rip);
		memcpy(g->ram + G_CODE, movaps, sizeof(movaps));
		g->ram[G_CODE + 4] = (uint8_t)at;
		guest_set(g, &s);
		RAN_TO_HLT(g);
		assert_int_equal(guest_state(g)->gpr[GPR_RDI], EXC_GP);
		assert_int_equal(guest_state(g)->gpr[GPR_RSI], G_CODE);
	}
}

static void instructions_the_model_lacks_are_undefined_or_what_they_used_to_be(void **state)
{
	struct guest *g = *state;

	/* popcnt %eax, %eax */
	g->vm->soft.model.features = BIT(FEAT_BASE) | BIT(FEAT_NX);
	expect_fault(g, (const uint8_t[]){0xf3, 0x0f, 0xb8, 0xc0}, 4, EXC_UD);
	guest_long(g);
	/* lzcnt %eax, %ecx; hlt: bsr */
	memcpy(g->ram + G_CODE, (const uint8_t[]){0xf3, 0x0f, 0xbd, 0xc8, 0xf4}, 5);
	guest_state(g)->gpr[GPR_RAX] = 0x100;
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->gpr[GPR_RCX], 8);
}

static void code_beyond_the_segment_limit_is_not_fetched(void **state)
{
	struct guest *g = *state;
	struct cpu_state s;

	guest_real(g);
	s = *guest_state(g);
	memset(g->ram + 0xfff0, 0x90, 64);
	poke64(g, EXC_GP * 4, 0x9000);
	g->ram[0x9000] = 0xf4;
	s.rip = 0xfff0;
	guest_set(g, &s);
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->rip, 0x9001);
	assert_retired(g, 16 + 1);
}

static void a_full_arena_is_emptied_and_filled_again(void **state)
{
	struct guest *g = *state;
	struct vcpu *c = &g->v->c;

	guest_long(g);
	block_cache_free(c->blocks);
	assert_int_equal(block_cache_new(64 << 10, &c->blocks), 0);
	for (uint64_t at = 0x40000; at < 0x80000; at += 32) /* incl %eax; jmp .+30 */
		memcpy(g->ram + at, (const uint8_t[]){0xff, 0xc0, 0xeb, 28}, 4);
	/* cmp $0x6000, %eax; jb 0x40000; hlt */
	memcpy(g->ram + 0x80000,
	       (const uint8_t[]){0x3d, 0, 0x60, 0, 0, 0x0f, 0x82, 0xf5, 0xff, 0xfb, 0xff, 0xf4},
	       12);
	guest_state(g)->rip = 0x40000;
	guest_state(g)->gpr[GPR_RAX] = 0;
	RAN_TO_HLT(g);
	assert_int_equal(guest_state(g)->gpr[GPR_RAX], 0x6000);
	assert_true(c->decoded > 3 * 0x4000 - 100);
	assert_true(!c->dbt || c->dbt->stats.flushes > 1);
}

/* --- device memory ------------------------------------------------------------------ */

GUEST_CODE(mmio_ops, "code64",
	   "addl $5, 0x200010\n"
	   "movl $0x300, %edx\n"
	   "inw %dx, %ax\n"
	   "movl $0x20000, %esi\n"
	   "movl $0x200100, %edi\n"
	   "movsq\n"
	   "movl $3, %ecx\n"
	   "rep stosb\n"
	   "pushq 0x200018\n"
	   "lock incb 0x200020\n"
	   "hlt\n");

static void device_accesses_happen_once_each_and_in_order(void **state)
{
	struct guest *g = *state;
	static const struct {
		enum exit_reason reason;
		bool write;
		unsigned size;
		uint64_t addr, data;
	} want[] = {
		{EXIT_MMIO, false, 4, 0x200010, 0},   {EXIT_MMIO, true, 4, 0x200010, 0x15},
		{EXIT_PIO, false, 2, 0x300, 0},	      {EXIT_MMIO, true, 8, 0x200100, 77},
		{EXIT_MMIO, true, 1, 0x200108, 0x11}, {EXIT_MMIO, true, 1, 0x200109, 0x11},
		{EXIT_MMIO, true, 1, 0x20010a, 0x11}, {EXIT_MMIO, false, 8, 0x200018, 0},
		{EXIT_MMIO, false, 1, 0x200020, 0},   {EXIT_MMIO, true, 1, 0x200020, 0x14},
	};

	guest_long(g);
	poke64(g, 0x20000, 77);
	guest_load(g, G_CODE, mmio_ops);
	RAN_TO_HLT(g);
	assert_int_equal(g->nlog, ARRAY_SIZE(want));
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		assert_int_equal(g->log[i].reason, want[i].reason);
		assert_int_equal(g->log[i].write, want[i].write);
		assert_int_equal(g->log[i].size, want[i].size);
		assert_int_equal(g->log[i].addr, want[i].addr);
		if (want[i].write)
			assert_int_equal(g->log[i].data, want[i].data);
	}
	assert_int_equal(peek64(g, G_STACK - 8), 0x12);
	assert_retired(g, 11);
}

GUEST_CODE(spin, "code64", "1: jmp 1b");
GUEST_CODE(out_then_spin, "code64",
	   "outb %al, $0x80\n"
	   "movl $7, %ebx\n"
	   "1: jmp 1b\n");

static void a_kick_waits_for_the_instruction_that_has_its_answer(void **state)
{
	struct guest *g = *state;

	guest_long(g);
	guest_load(g, G_CODE, out_then_spin);
	assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
	assert_int_equal(g->exit.reason, EXIT_PIO);
	assert_int_equal(guest_state(g)->rip, G_CODE);
	assert_false(GUEST_ENGINE.can_inject(g->v));
	GUEST_ENGINE.kick(g->v);
	assert_int_equal(guest_run(g), EXIT_KICK);
	assert_int_equal(guest_state(g)->rip, G_CODE + 2);
	assert_int_equal(g->nlog, 0);
	assert_retired(g, 1);
}

static void a_kick_from_another_thread_stops_an_endless_loop(void **state)
{
	struct guest *g = *state;
	pthread_t t;

	guest_long(g);
	guest_load(g, G_CODE, spin);
	GUEST_ENGINE.kick(g->v);
	assert_int_equal(guest_run(g), EXIT_KICK); /* at once */
	assert_retired(g, 0);
	pthread_create(&t, NULL, guest_kicker, g);
	assert_int_equal(guest_run(g), EXIT_KICK);
	pthread_join(t, NULL);
	assert_int_equal(guest_state(g)->rip, G_CODE);
}

static void a_string_instruction_stops_for_a_kick_and_goes_on(void **state)
{
	struct guest *g = *state;
	struct cpu_state s;

	guest_long(g);
	for (unsigned i = 0; i < 512; i++) /* all of RAM and device memory: one page */
		if (i >= 0x20)
			poke64(g, G_PT + i * 8, 0x20007);
	s = *guest_state(g);
	s.gpr[GPR_RCX] = 0x100000;
	s.gpr[GPR_RDI] = 0x20000;
	s.gpr[GPR_RAX] = 0x5a;
	memcpy(g->ram + G_CODE, (const uint8_t[]){0xf3, 0xaa, 0xf4}, 3);
	guest_set(g, &s);
	GUEST_ENGINE.kick(g->v);
	assert_int_equal(guest_run(g), EXIT_KICK);
	guest_state(g)->gpr[GPR_RCX] = 0x1000;
	RAN_TO_HLT(g);
	assert_retired(g, 2);
	assert_int_equal(g->ram[0x20fff], 0x5a);
}

/* --- states ------------------------------------------------------------------------- */

static void a_state_no_processor_can_be_in_is_refused_with_a_sentence(void **state)
{
	struct guest *g = *state;
	struct cpu_state good, s;
	struct errbuf err;

#define REFUSED(change)                                                            \
	do {                                                                       \
		s = good;                                                          \
		change;                                                            \
		err = (struct errbuf){0};                                          \
		assert_int_equal(GUEST_ENGINE.set_state(g->v, &s, &err), -EINVAL); \
		assert_true(err.msg[0]);                                           \
	} while (0)

	guest_long(g);
	assert_int_equal(GUEST_ENGINE.get_state(g->v, &good), 0);
	guest_set(g, &good);
	REFUSED(s.cr0 &= ~(uint64_t)CR0_PE);
	REFUSED(s.efer &= ~(uint64_t)EFER_LMA);
	REFUSED(s.cr4 &= ~(uint64_t)CR4_PAE);
	REFUSED(s.cr4 |= CR4_VMXE);
	REFUSED(s.cr3 |= BIT(50));
	REFUSED(s.rip = BIT(47));
	REFUSED(s.fx.mxcsr |= 1 << 16);
	REFUSED(s.xcr0 = XCR0_SSE);
	REFUSED(s.rflags |= FL_VM);
	REFUSED(s.seg[SEG_GS].base = BIT(60));
	REFUSED(s.activity = 9);
	REFUSED((s.exc_pending = 1, s.exc_vector = 200));
	assert_int_equal(GUEST_ENGINE.get_state(g->v, &s), 0);
	s.tsc = good.tsc;
	assert_memory_equal(&s, &good, sizeof(s));
}

/* --- dirty log ------------------------------------------------------------------------ */

GUEST_CODE(writer, "code64",
	   "1: movl $0x100000, %edi\n"
	   "2: incq (%rdi)\n"
	   "addl $4096, %edi\n"
	   "cmpl $0x140000, %edi\n"
	   "jb 2b\n"
	   "jmp 1b\n");

static void *run_thread(void *arg)
{
	guest_run(arg);
	return NULL;
}

struct shadow {
	struct guest *g;
	uint8_t *copy;
	unsigned pages;
};

static void queue_page(void *arg, gpa_t gpa, uint64_t bytes)
{
	struct shadow *s = arg;

	for (uint64_t at = gpa; at < gpa + bytes; at += 4096, s->pages++)
		s->copy[at >> 12] = 1;
}

static void harvest(struct shadow *s, uint8_t *to)
{
	memset(s->copy, 0, G_RAM >> 12);
	mem_log_harvest(s->g->mem, queue_page, s);
	GUEST_ENGINE.log_changed(s->g->vm);
	for (unsigned p = 0; p < G_RAM >> 12; p++)
		if (s->copy[p])
			memcpy(to + p * 4096, s->g->ram + p * 4096, 4096);
}

static void no_write_is_lost_between_harvests_of_a_running_guest(void **state)
{
	struct guest *g = *state;
	struct shadow s = {.g = g, .copy = calloc(1, G_RAM >> 12)};
	uint8_t *to = malloc(G_RAM);
	pthread_t t;

	guest_long(g);
	guest_load(g, G_CODE, writer);
	assert_int_equal(mem_log_start(g->mem), 0);
	GUEST_ENGINE.log_changed(g->vm);
	memcpy(to, g->ram, G_RAM);
	pthread_create(&t, NULL, run_thread, g);
	while (s.pages < 2000)
		harvest(&s, to);
	GUEST_ENGINE.kick(g->v);
	pthread_join(t, NULL);
	harvest(&s, to);
	assert_memory_equal(to, g->ram, G_RAM);
	mem_log_stop(g->mem);
	free(s.copy);
	free(to);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(real_mode_code_runs_and_is_counted_exactly),
		TEST(code_switches_itself_to_protected_mode),
		TEST(long_mode_code_runs_and_is_counted_exactly),
		TEST(a_user_page_fault_reaches_its_handler_with_everything_exact),
		TEST(a_store_into_the_running_block_takes_effect_at_once),
		TEST(code_changed_from_outside_is_decoded_anew),
		TEST(instructions_straddle_pages_that_are_apart),
		TEST(a_fetch_fault_names_the_page_and_only_when_its_bytes_are_needed),
		TEST(what_is_no_instruction_or_too_long_faults_where_it_starts),
		TEST(a_misaligned_vector_in_the_first_page_faults),
		TEST(instructions_the_model_lacks_are_undefined_or_what_they_used_to_be),
		TEST(code_beyond_the_segment_limit_is_not_fetched),
		TEST(a_full_arena_is_emptied_and_filled_again),
		TEST(device_accesses_happen_once_each_and_in_order),
		TEST(a_kick_waits_for_the_instruction_that_has_its_answer),
		TEST(a_kick_from_another_thread_stops_an_endless_loop),
		TEST(a_string_instruction_stops_for_a_kick_and_goes_on),
		TEST(a_state_no_processor_can_be_in_is_refused_with_a_sentence),
		TEST(no_write_is_lost_between_harvests_of_a_running_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
