/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_test.c - the KVM engine by its contract: state in and out, exits, kicks, dirty log.
 *
 * Guests are a few bytes of real-mode code at 0x1000.  Skipped, with the reason, where
 * /dev/kvm cannot be used.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "cpu/engine.h"

enum { RAM = 1 << 20, CODE = 0x1000, DATA = 0x5000, ROUNDS = 200, KICKS = 300 };

struct world {
	struct mem *mem;
	struct cpu_model model;
	struct engine_vm *vm;
	struct engine_vcpu *v;
	struct cpu_state s;
};

static const struct engine_ops *const kvm = &engine_kvm;

static int tear_down(void **state)
{
	struct world *w = *state;

	if (w && w->v)
		kvm->vcpu_free(w->v);
	if (w && w->vm)
		kvm->vm_free(w->vm);
	if (w)
		mem_free(w->mem);
	free(w);
	return 0;
}

/* NULL in *state where there is no KVM: NEED_KVM() then skips. */
static int set_up(void **state)
{
	struct errbuf err = {0};
	struct world *w;
	struct engine_vm_config c = {.ncpus = 1, .kernel_irqchip = true};

	*state = NULL;
	if (kvm->probe(&err) < 0) {
		printf("skipped: %s\n", err.msg);
		return 0;
	}
	w = calloc(1, sizeof(*w));
	*state = w;
	if (!w || mem_new(&w->mem) < 0 || mem_add_ram(w->mem, "ram", 0, RAM, &err) < 0 ||
	    cpu_model_find("x86-64-v3", 1, &w->model, &err) < 0)
		return -1;
	c.mem = w->mem;
	c.model = &w->model;
	if (kvm->vm_new(&c, &w->vm, &err) < 0 || kvm->vcpu_new(w->vm, 0, &w->v, &err) < 0) {
		printf("%s\n", err.msg);
		return -1;
	}
	cpu_state_reset(&w->s, true, false);
	return 0;
}

#define NEED_KVM(w)             \
	do {                    \
		if (!w)         \
			skip(); \
	} while (0)

static void set(struct world *w)
{
	struct errbuf err = {0};

	if (kvm->set_state(w->v, &w->s, &err) < 0)
		fail_msg("%s", err.msg);
}

/* Real mode, CS:IP = 0:CODE, all segments at 0. */
static void start(struct world *w, const void *code, size_t len)
{
	assert_int_equal(mem_write(w->mem, CODE, code, len), 0);
	w->s.seg[SEG_CS].sel = 0;
	w->s.seg[SEG_CS].base = 0;
	w->s.rip = CODE;
	set(w);
}

#define START(w, code) start(w, code, sizeof(code))

static struct engine_exit run(struct world *w)
{
	struct engine_exit e = {0};

	do
		assert_int_equal(kvm->run(w->v, &e), 0);
	while (e.reason == EXIT_KICK);
	return e;
}

/* --- state ----------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static uint64_t canonical(uint64_t v)
{
	return (uint64_t)((int64_t)(v << 16) >> 16);
}

static void fill(void *p, size_t len, uint64_t *seed)
{
	for (uint8_t *b = p; len--; b++)
		*b = (uint8_t)(next_random(seed) >> 24);
}

static void random_long_mode(struct cpu_state *s, uint64_t *seed)
{
	const unsigned data[] = {SEG_ES, SEG_SS, SEG_DS, SEG_FS, SEG_GS};

	s->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_MP | (next_random(seed) & CR0_WP);
	s->cr4 = CR4_PAE | CR4_OSFXSR | (next_random(seed) & (CR4_PGE | CR4_DE | CR4_TSD));
	s->cr3 = next_random(seed) & 0xff000;
	s->efer = EFER_LME | EFER_LMA | (next_random(seed) & (EFER_SCE | EFER_NXE));
	s->seg[SEG_CS] = (struct cpu_seg){.sel = 8,
					  .limit = 0xffffffff,
					  .attr = ATTR_G | ATTR_L | ATTR_P | ATTR_S | ATTR_X |
						  ATTR_W | ATTR_A};
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		s->seg[data[i]] = (struct cpu_seg){.sel = 0x10,
						   .limit = 0xffffffff,
						   .attr = ATTR_G | ATTR_DB | ATTR_P | ATTR_S |
							   ATTR_W | ATTR_A};
	s->seg[SEG_FS].base = canonical(next_random(seed));
	s->seg[SEG_GS].base = canonical(next_random(seed));
	s->tr = (struct cpu_seg){.base = canonical(next_random(seed)),
				 .sel = 0x38,
				 .limit = 0x67,
				 .attr = ATTR_P | 0xb};
	s->gdt.base = canonical(next_random(seed));
	s->idt.base = canonical(next_random(seed));
	s->idt.limit = (uint16_t)next_random(seed);
}

static void random_registers(struct cpu_state *s, uint64_t *seed)
{
	fill(s->gpr, sizeof(s->gpr), seed);
	s->rip = canonical(next_random(seed));
	s->rflags = FL_RES1 | (next_random(seed) & 0xcd5) | (next_random(seed) & FL_IF);
	s->cr2 = next_random(seed);
	s->cr8 = next_random(seed) & 15;
	for (unsigned i = 0; i < 4; i++)
		s->dr[i] = canonical(next_random(seed));
	s->dr6 = 0xffff0ff0 | (next_random(seed) & 0xf);
	s->dr7 = 0x400 | (next_random(seed) & 0xff);
	s->star = next_random(seed);
	s->lstar = canonical(next_random(seed));
	s->cstar = canonical(next_random(seed));
	s->sfmask = next_random(seed) & 0xffffffff;
	s->kernel_gs_base = canonical(next_random(seed));
	s->sysenter_cs = next_random(seed) & 0xffff;
	s->sysenter_esp = next_random(seed) & 0xffffffff;
	s->sysenter_eip = next_random(seed) & 0xffffffff;
	s->pat = 0x0007040600070406ULL;
	s->tsc_offset = 0 - next_random(seed) % (1ULL << 40);
}

static void random_vectors(struct cpu_state *s, uint64_t *seed)
{
	s->xcr0 = XCR0_X87 | XCR0_SSE | (next_random(seed) & XCR0_AVX);
	s->fx.fcw = 0x37f;
	s->fx.fsw = (uint16_t)next_random(seed) & 0x7f00;
	s->fx.ftw = (uint8_t)next_random(seed);
	s->fx.mxcsr = 0x1f80 | (next_random(seed) & 0x603f);
	for (unsigned i = 0; i < 8; i++)
		fill(s->fx.st[i], 10, seed);
	fill(s->vec, sizeof(s->vec), seed);
}

static void random_events(struct cpu_state *s, uint64_t *seed)
{
	const uint8_t activities[] = {CPU_ACTIVE, CPU_ACTIVE, CPU_HALTED, CPU_WAIT_SIPI};
	unsigned what = next_random(seed) % 4;

	s->activity = activities[next_random(seed) % 4];
	s->nmi_blocked = next_random(seed) & 1;
	s->nmi_pending = next_random(seed) & 1;
	s->int_shadow = what == 1;
	if (what == 2) {
		s->exc_pending = 1;
		s->exc_vector = 13;
		s->exc_has_error = 1;
		s->exc_error = (uint32_t)next_random(seed) & 0xffff;
	} else if (what == 3) {
		s->int_injected = 1;
		s->int_vector = (uint8_t)(0x20 + next_random(seed) % 0xe0);
	}
}

static void state_comes_back_as_it_was_set(void **state)
{
	struct world *w = *state;
	uint64_t seed = (uint64_t)time(NULL) << 1 | 1;
	char diff[2048];

	NEED_KVM(w);
	printf("seed %llu\n", (unsigned long long)seed);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct cpu_state back;

		cpu_state_reset(&w->s, true, false);
		if (next_random(&seed) & 1)
			random_long_mode(&w->s, &seed);
		random_registers(&w->s, &seed);
		random_vectors(&w->s, &seed);
		random_events(&w->s, &seed);
		set(w);
		assert_int_equal(kvm->get_state(w->v, &back), 0);
		w->s.tsc = back.tsc; /* it runs */
		if (!back.tsc_offset)
			w->s.tsc_offset = 0; /* kernels that emulate guests have none */
		back.exc_vector = w->s.exc_pending ? back.exc_vector : 0;
		back.exc_error = w->s.exc_pending ? back.exc_error : 0;
		back.int_vector = w->s.int_injected ? back.int_vector : 0;
		if (cpu_state_diff(&w->s, &back, diff, sizeof(diff)))
			fail_msg("round %u: set and got differ:\n%s", i, diff);
	}
}

static void states_of_no_processor_are_refused(void **state)
{
	struct world *w = *state;
	struct errbuf err = {0};
	struct cpu_state bad;

	NEED_KVM(w);
	bad = w->s;
	bad.rflags = 0;
	assert_true(kvm->set_state(w->v, &bad, &err) < 0);
	assert_non_null(strstr(err.msg, "RFLAGS"));
	bad = w->s;
	bad.cr0 |= CR0_PG;
	bad.cr0 &= ~(uint64_t)CR0_PE;
	assert_true(kvm->set_state(w->v, &bad, &err) < 0);
	bad = w->s;
	bad.activity = 77;
	assert_true(kvm->set_state(w->v, &bad, &err) < 0);
	bad = w->s;
	bad.efer = EFER_LMA; /* long mode active, not enabled: the kernel's to find */
	assert_true(kvm->set_state(w->v, &bad, &err) < 0);
}

/* --- exits ------------------------------------------------------------------------------- */

static void string_output_leaves_element_by_element(void **state)
{
	static const uint8_t code[] = {0xf3, 0x6e, 0xee}; /* rep outsb; out %al, (%dx) */
	struct world *w = *state;

	NEED_KVM(w);
	assert_int_equal(mem_write(w->mem, DATA, "hello", 5), 0);
	w->s.gpr[GPR_RSI] = DATA;
	w->s.gpr[GPR_RCX] = 5;
	w->s.gpr[GPR_RDX] = 0x123;
	w->s.gpr[GPR_RAX] = 0x99;
	START(w, code);
	for (unsigned i = 0; i < 6; i++) {
		struct engine_exit e = run(w);

		assert_int_equal(e.reason, EXIT_PIO);
		assert_true(e.write);
		assert_int_equal(e.addr, 0x123);
		assert_int_equal(e.size, 1);
		assert_int_equal(e.data, (uint8_t) "hello\x99"[i]);
		kvm->kick(w->v); /* a kick between elements loses none */
	}
	assert_int_equal(kvm->get_state(w->v, &w->s), 0);
	assert_int_equal(w->s.gpr[GPR_RCX], 0);
	assert_int_equal(w->s.gpr[GPR_RSI], DATA + 5);
}

static void string_input_takes_each_answer(void **state)
{
	static const uint8_t code[] = {0x66, 0xf3, 0x6d, 0xee}; /* rep insl; out %al, (%dx) */
	struct world *w = *state;
	struct engine_exit e = {0};
	uint32_t got[3];

	NEED_KVM(w);
	w->s.gpr[GPR_RDI] = DATA;
	w->s.gpr[GPR_RCX] = 3;
	w->s.gpr[GPR_RDX] = 0x123;
	START(w, code);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(kvm->run(w->v, &e), 0); /* takes the answer before */
		assert_int_equal(e.reason, EXIT_PIO);
		assert_false(e.write);
		assert_int_equal(e.size, 4);
		e.data = 0x11223300 + i;
	}
	assert_int_equal(kvm->run(w->v, &e), 0);
	assert_true(e.write);
	assert_int_equal(mem_read(w->mem, DATA, got, sizeof(got)), 0);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(got[i], 0x11223300 + i);
}

static void device_memory_is_read_and_written(void **state)
{
	/* mov (%si), %eax; inc %eax; mov %eax, 4(%si); hlt */
	static const uint8_t code[] = {0x66, 0x8b, 0x04, 0x66, 0x40, 0x66, 0x89, 0x44, 0x04, 0xf4};
	struct world *w = *state;
	struct engine_exit e;

	NEED_KVM(w);
	w->s.seg[SEG_DS].base = 0xd0000000;
	w->s.gpr[GPR_RSI] = 0x10;
	START(w, code);
	e = run(w);
	assert_int_equal(e.reason, EXIT_MMIO);
	assert_int_equal(e.addr, 0xd0000010);
	assert_int_equal(e.size, 4);
	assert_false(e.write);
	e.data = 0xfffffffe;
	assert_int_equal(kvm->run(w->v, &e), 0);
	assert_int_equal(e.reason, EXIT_MMIO);
	assert_int_equal(e.addr, 0xd0000014);
	assert_true(e.write);
	assert_int_equal(e.data, 0xffffffff);
}

/* The kernel's emulator has no PADDD, and an access to a device is for it to emulate. */
static void an_instruction_that_the_kernel_cannot_emulate_is_done_in_software(void **state)
{
	/* paddd (%si), %xmm0; out %al, (%dx) */
	static const uint8_t code[] = {0x66, 0x0f, 0xfe, 0x04, 0xee};
	struct world *w = *state;
	struct engine_exit e;
	struct cpu_state s;
	unsigned n = 0;

	NEED_KVM(w);
	w->s.cr4 |= CR4_OSFXSR;
	w->s.gpr[GPR_RSI] = 0;
	w->s.gpr[GPR_RDX] = 0x123;
	w->s.seg[SEG_DS].base = 0x200000; /* no RAM */
	memset(w->s.vec, 0, sizeof(w->s.vec));
	w->s.vec[0].b[0] = 5;
	START(w, code);
	e = run(w);
	for (; e.reason == EXIT_MMIO; n += 8) {
		assert_false(e.write);
		assert_int_equal(e.size, 8);
		assert_int_equal(e.addr, 0x200000 + n);
		e.data = n ? 0x300000004 : 0x200000001;
		assert_int_equal(kvm->run(w->v, &e), 0);
	}
	assert_int_equal(n, 16);
	if (e.reason == EXIT_KICK)
		e = run(w);
	assert_int_equal(e.reason, EXIT_PIO); /* the next instruction */
	assert_int_equal(kvm->get_state(w->v, &s), 0);
	assert_int_equal(s.vec[0].b[0], 6);
	assert_int_equal(s.vec[0].b[4], 2);
	assert_int_equal(s.vec[0].b[8], 4);
	assert_int_equal(s.vec[0].b[12], 3);
}

static void a_triple_fault_is_a_shutdown(void **state)
{
	static const uint8_t code[] = {0x0f, 0x0b}; /* ud2 */
	struct world *w = *state;

	NEED_KVM(w);
	w->s.cr0 |= CR0_PE;
	w->s.seg[SEG_CS].attr = ATTR_G | ATTR_DB | ATTR_P | ATTR_S | ATTR_X | ATTR_W | ATTR_A;
	w->s.seg[SEG_CS].limit = 0xffffffff;
	w->s.idt.limit = 0;
	START(w, code);
	assert_int_equal(run(w).reason, EXIT_SHUTDOWN);
}

/* --- kicks ----------------------------------------------------------------------------------- */

struct kicker { /* @rounds: atomic; the runner asks, the kicker answers */
	struct engine_vcpu *v;
	unsigned asked;
};

static void *kick_thread(void *arg)
{
	struct kicker *k = arg;

	for (unsigned i = 1; i <= KICKS; i++) {
		while (__atomic_load_n(&k->asked, __ATOMIC_ACQUIRE) < i)
			sched_yield();
		for (volatile unsigned spin = 0; spin < i % 50 * 100; spin++)
			;
		kvm->kick(k->v);
	}
	return NULL;
}

static void every_kick_from_another_thread_ends_a_run(void **state)
{
	static const uint8_t code[] = {0xeb, 0xfe}; /* jmp . */
	struct world *w = *state;
	struct kicker k = {0};
	pthread_t thread;

	NEED_KVM(w);
	START(w, code);
	k.v = w->v;
	assert_int_equal(pthread_create(&thread, NULL, kick_thread, &k), 0);
	for (unsigned i = 1; i <= KICKS; i++) {
		struct engine_exit e = {0};

		__atomic_store_n(&k.asked, i, __ATOMIC_RELEASE);
		assert_int_equal(kvm->run(w->v, &e), 0); /* would spin for ever */
		assert_int_equal(e.reason, EXIT_KICK);
	}
	pthread_join(thread, NULL);
}

static void a_kick_before_the_run_counts(void **state)
{
	static const uint8_t code[] = {0xeb, 0xfe};
	struct world *w = *state;
	struct engine_exit e = {0};

	NEED_KVM(w);
	START(w, code);
	kvm->kick(w->v);
	assert_int_equal(kvm->run(w->v, &e), 0);
	assert_int_equal(e.reason, EXIT_KICK);
}

/* --- dirty log -------------------------------------------------------------------------------- */

struct harvest {
	unsigned npages;
	gpa_t last;
};

static void note(void *arg, gpa_t gpa, uint64_t bytes)
{
	struct harvest *h = arg;

	h->npages += (unsigned)(bytes / MEM_PAGE_SIZE);
	h->last = gpa;
}

static struct harvest harvest(struct world *w)
{
	struct harvest h = {0};

	assert_int_equal(kvm->log_sync(w->vm), 0);
	mem_log_harvest(w->mem, note, &h);
	kvm->log_changed(w->vm);
	return h;
}

static void written_pages_are_harvested_once(void **state)
{
	/* mov %al, (%si); out %al, (%dx); mov %al, (%di); out %al, (%dx) */
	static const uint8_t code[] = {0x88, 0x04, 0xee, 0x88, 0x05, 0xee};
	struct world *w = *state;
	struct harvest h;

	NEED_KVM(w);
	w->s.gpr[GPR_RSI] = DATA;
	w->s.gpr[GPR_RDI] = DATA + 0x2000;
	w->s.gpr[GPR_RDX] = 0x123;
	START(w, code);
	assert_int_equal(mem_log_start(w->mem), 0);
	kvm->log_changed(w->vm);
	assert_int_equal(run(w).reason, EXIT_PIO);
	h = harvest(w);
	assert_int_equal(h.npages, 1);
	assert_int_equal(h.last, DATA);
	assert_int_equal(harvest(w).npages, 0);
	assert_int_equal(run(w).reason, EXIT_PIO);
	h = harvest(w);
	assert_int_equal(h.npages, 1);
	assert_int_equal(h.last, DATA + 0x2000);
	mem_log_stop(w->mem);
	kvm->log_changed(w->vm);
	assert_int_equal(kvm->log_sync(w->vm), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(state_comes_back_as_it_was_set),
		TEST(states_of_no_processor_are_refused),
		TEST(string_output_leaves_element_by_element),
		TEST(string_input_takes_each_answer),
		TEST(device_memory_is_read_and_written),
		TEST(an_instruction_that_the_kernel_cannot_emulate_is_done_in_software),
		TEST(a_triple_fault_is_a_shutdown),
		TEST(every_kick_from_another_thread_ends_a_run),
		TEST(a_kick_before_the_run_counts),
		TEST(written_pages_are_harvested_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
