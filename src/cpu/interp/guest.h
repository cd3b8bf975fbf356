/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.h - small guests for tests and benchmarks: a machine without devices.
 *
 * Guest code is assembled into the test itself by GUEST_CODE() and copied into RAM.
 * Long mode has 2 MiB of RAM and 2 MiB of device memory mapped one to one, a GDT,
 * an IDT whose gates point at handler stubs given by the test, and a TSS.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "cpu/interp/interp.h"

#ifndef GUEST_ENGINE
#define GUEST_ENGINE engine_interp /* the translator's tests are the same, on another engine */
#endif
#ifndef GUEST_CHECK
#define GUEST_CHECK false /* in lock-step */
#endif

#ifndef GUEST_COUNT
#define GUEST_COUNT false /* instructions, exactly */
#endif
#ifndef GUEST_NO_AVX512
#define GUEST_NO_AVX512 false
#endif

enum {
	G_RAM = 2 << 20,
	G_GDT = 0x1000,
	G_IDT = 0x2000,
	G_TSS = 0x3000,
	G_PML4 = 0x4000,
	G_PDPT = 0x5000,
	G_PD = 0x6000,
	G_PT = 0x7000,
	G_CODE = 0x10000,
	G_DATA = 0x20000,
	G_STACK = 0x30000,
	G_CS64 = 0x08,
	G_DS = 0x10,
	G_CS32 = 0x18,
	G_TR = 0x20,
	G_UCS64 = 0x33,
	G_UDS = 0x3b,
};
#define G_MMIO 0x200000ULL

/* GUEST_CODE(name, "code64", "instructions"): name and name_end are its bounds. */
#define GUEST_CODE(name, bits, ...)                                                          \
	extern const uint8_t name[], name##_end[];                                           \
	__asm__(".pushsection .rodata\n.global " #name ", " #name "_end\n" #name ":\n." bits \
		"\n" __VA_ARGS__ "\n.code64\n" #name "_end:\n.popsection")

struct guest {
	struct mem *mem;
	uint8_t *ram;
	struct cpu_model model;
	struct engine_vm *vm;
	struct engine_vcpu *v;
	struct engine_exit exit;
	struct engine_exit log[64]; /* outside accesses, in order */
	unsigned nlog;
	uint64_t answer; /* to the next read; counts up */
};

static inline struct guest *guest_new_checked(unsigned ncpus, bool check)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct engine_vm_config cfg = {
		.ncpus = ncpus, .check = check, .count = GUEST_COUNT, .no_avx512 = GUEST_NO_AVX512};

	assert_non_null(g);
	assert_int_equal(mem_new(&g->mem), 0);
	assert_int_equal(mem_add_ram(g->mem, "ram", 0, G_RAM, NULL), 0);
	g->ram = g->mem->region[0].hva;
	g->model.phys_bits = 40;
	g->model.features = ~0ULL;
	g->model.ncpus = ncpus;
	g->answer = 0x10;
	cfg.mem = g->mem;
	cfg.model = &g->model;
	cfg.check = GUEST_CHECK;
	cfg.code_cache = 128 << 10; /* small enough to be full now and then */
	assert_int_equal(GUEST_ENGINE.vm_new(&cfg, &g->vm, NULL), 0);
	for (unsigned i = 0; i < ncpus; i++) {
		struct engine_vcpu *v;

		assert_int_equal(GUEST_ENGINE.vcpu_new(g->vm, i, &v, NULL), 0);
	}
	g->v = g->vm->vcpu[0];
	return g;
}

static inline struct guest *guest_new(unsigned ncpus)
{
	return guest_new_checked(ncpus, false);
}

static inline void guest_free(struct guest *g)
{
	for (unsigned i = 0; i < g->vm->ncpus; i++)
		GUEST_ENGINE.vcpu_free(g->vm->vcpu[i]);
	GUEST_ENGINE.vm_free(g->vm);
	mem_free(g->mem);
	free(g);
}

static inline void poke64(struct guest *g, uint64_t at, uint64_t val)
{
	memcpy(g->ram + at, &val, 8);
}

static inline uint64_t peek64(struct guest *g, uint64_t at)
{
	uint64_t v;

	memcpy(&v, g->ram + at, 8);
	return v;
}

#define guest_load(g, at, name) memcpy((g)->ram + (at), name, (size_t)(name##_end - name))

/* So many instructions were complete, where they are counted. */
static inline void assert_retired(const struct guest *g, uint64_t n)
{
	if (!g->v->c.dbt || g->vm->count)
		assert_int_equal(g->v->c.insns, n);
}

static inline struct cpu_state *guest_state(struct guest *g)
{
	return &g->v->c.s;
}

/* Take over what a test wrote into a state. */
static inline void guest_set(struct guest *g, const struct cpu_state *s)
{
	struct errbuf err = {0};

	if (GUEST_ENGINE.set_state(g->v, s, &err))
		fail_msg("%s", err.msg);
}

/* Real mode at 0:G_REAL. */
enum { G_REAL = 0x8000 };
static inline void guest_real(struct guest *g)
{
	struct cpu_state s;

	cpu_state_reset(&s, true, false);
	s.seg[SEG_CS].sel = 0;
	s.seg[SEG_CS].base = 0;
	s.rip = G_REAL;
	s.gpr[GPR_RSP] = 0x7000;
	guest_set(g, &s);
}

static inline struct cpu_seg guest_seg(uint16_t sel, uint16_t attr)
{
	return (struct cpu_seg){.limit = 0xffffffff, .sel = sel, .attr = attr};
}

static inline void guest_gate(struct guest *g, unsigned vec, uint64_t handler, unsigned dpl)
{
	poke64(g, G_IDT + vec * 16,
	       (handler & 0xffff) | G_CS64 << 16 | 0x8e00ULL << 32 | (uint64_t)dpl << 45 |
		       (handler & 0xffff0000) << 32);
	poke64(g, G_IDT + vec * 16 + 8, handler >> 32);
}

static inline void guest_tables(struct guest *g)
{
	poke64(g, G_PML4, G_PDPT | 7);
	poke64(g, G_PDPT, G_PD | 7);
	poke64(g, G_PD, G_PT | 7);
	for (unsigned i = 0; i < 512; i++)
		poke64(g, G_PT + i * 8, i << 12 | 7);
	poke64(g, G_PD + 8, G_MMIO | 0x87);
	poke64(g, G_GDT + G_CS64, 0x00af9b000000ffffULL);
	poke64(g, G_GDT + G_DS, 0x00cf93000000ffffULL);
	poke64(g, G_GDT + G_CS32, 0x00cf9b000000ffffULL);
	poke64(g, G_GDT + G_TR, 0x00008b0000000067ULL | (uint64_t)G_TSS << 16);
	poke64(g, G_GDT + 0x30, 0x00affb000000ffffULL);
	poke64(g, G_GDT + 0x38, 0x00cff3000000ffffULL);
	poke64(g, G_TSS + 4, G_STACK + 0x1000); /* RSP0 */
}

/* 64-bit code at G_CODE, CPL 0, interrupts off. */
static inline void guest_long(struct guest *g)
{
	struct cpu_state s;

	guest_tables(g);
	cpu_state_reset(&s, true, false);
	s.cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET | CR0_NE;
	s.cr3 = G_PML4;
	s.cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_DE;
	s.efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	for (unsigned i = 0; i < SEG_COUNT; i++)
		s.seg[i] = guest_seg(G_DS, ATTR_P | ATTR_S | ATTR_W | ATTR_A | ATTR_DB | ATTR_G);
	s.seg[SEG_CS] =
		guest_seg(G_CS64, ATTR_P | ATTR_S | ATTR_X | ATTR_W | ATTR_A | ATTR_L | ATTR_G);
	s.tr = (struct cpu_seg){.base = G_TSS, .limit = 0x67, .sel = G_TR, .attr = ATTR_P | 0xb};
	s.ldt = (struct cpu_seg){0};
	s.gdt.base = G_GDT;
	s.gdt.limit = 0x3f;
	s.idt.base = G_IDT;
	s.idt.limit = 0xfff;
	s.rip = G_CODE;
	s.gpr[GPR_RSP] = G_STACK;
	s.rflags = FL_RES1;
	guest_set(g, &s);
}

/* Flat 32-bit code at G_CODE, CPL 0, no paging. */
static inline void guest_flat32(struct guest *g)
{
	struct cpu_state s;

	guest_long(g);
	s = *guest_state(g);
	s.cr0 = CR0_PE | CR0_ET | CR0_NE;
	s.cr4 = 0;
	s.efer = 0;
	s.seg[SEG_CS] =
		guest_seg(G_CS32, ATTR_P | ATTR_S | ATTR_X | ATTR_W | ATTR_A | ATTR_DB | ATTR_G);
	guest_set(g, &s);
}

/* A thread that kicks the first vCPU once it runs. */
static inline void *guest_kicker(void *arg)
{
	struct guest *g = arg;

	while (!__atomic_load_n(&g->v->running, __ATOMIC_ACQUIRE))
		;
	GUEST_ENGINE.kick(g->v);
	return NULL;
}

/* Run, logging and answering outside accesses, until another exit. */
static inline enum exit_reason guest_run(struct guest *g)
{
	mem_written(g->mem, 0, G_RAM); /* by the test itself, anywhere */
	for (;;) {
		assert_int_equal(GUEST_ENGINE.run(g->v, &g->exit), 0);
		if (g->exit.reason != EXIT_PIO && g->exit.reason != EXIT_MMIO)
			return g->exit.reason;
		assert_in_range(g->nlog, 0, ARRAY_SIZE(g->log) - 1);
		g->log[g->nlog++] = g->exit;
		if (!g->exit.write)
			g->exit.data = g->answer++;
	}
}
