/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fpu_fixture.h - a vCPU without an engine for the tests of x86/fpu/.
 *
 * Guest linear addresses of two data pages are the host's: their TLB entries are
 * made by hand.  So the same instruction can run on both sides with the same operands.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "cpu/x86/fpu/fpu.h"
#include "cpu/x86/fpu/fpu_native.h"
#include "cpu/x86/mmu.h"

enum { DATA_BYTES = 2 * 4096, NO_FAULT = -1 };

struct fpu_fix {
	struct vcpu *c;
	struct cpu_model model;
	struct soft_vm vm;
	struct engine_exit exit;
	struct native *native;
	struct mem *mem; /* one empty page table: other addresses fault */
	uint8_t *data;	 /* DATA_BYTES, guard pages on both sides */
	uint64_t seed;
};

static inline uint64_t fpu_rnd(struct fpu_fix *f)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return f->seed;
}

static inline void fpu_fix_reset(struct fpu_fix *f)
{
	struct vcpu *c = f->c;

	memset(&c->s, 0, sizeof(c->s));
	c->s.cr0 = CR0_PE | CR0_MP | CR0_NE | CR0_PG;
	c->s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	c->s.efer = EFER_LME | EFER_LMA;
	c->s.xcr0 = 7;
	c->s.rflags = FL_RES1;
	c->s.fx.fcw = FCW_INIT;
	c->s.fx.mxcsr = MXCSR_HOST;
	c->mode = MODE_64;
	c->long_mode = true;
	c->addr_mask = ~0ULL;
	c->cpl = 0;
	memset(c->flat, 1, sizeof(c->flat));
}

static inline void fpu_fix_map(struct fpu_fix *f)
{
	struct vcpu *c = f->c;

	c->view = TLB_USER;
	c->tlb = c->tlb_all[c->view];
	for (uint8_t *p = f->data; p < f->data + DATA_BYTES; p += 4096) {
		struct tlb_entry *e = tlb_slot(c, (uintptr_t)p);

		e->read_tag = e->write_tag = (uintptr_t)p;
		e->addend = 0;
	}
}

/*
 * Called in the test itself: cmocka puts signal handlers back after a fixture's set-up.
 */
static inline struct fpu_fix *fpu_fix_new(void)
{
	struct fpu_fix *f = calloc(1, sizeof(*f));
	struct vcpu *c = aligned_alloc(64, ALIGN_UP(sizeof(*c), 64));
	uint8_t *area =
		mmap(NULL, DATA_BYTES + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_non_null(f);
	assert_non_null(c);
	assert_ptr_not_equal(area, MAP_FAILED);
	memset(c, 0, sizeof(*c));
	f->data = area + 4096;
	assert_int_equal(mprotect(f->data, DATA_BYTES, PROT_READ | PROT_WRITE), 0);
	f->seed = 0x9e3779b97f4a7c15ULL;
	f->model.features = ~0ULL;
	f->model.amd = __builtin_cpu_is("amd");
	pthread_mutex_init(&f->vm.split, NULL);
	assert_int_equal(mem_new(&f->mem), 0);
	assert_int_equal(mem_add_ram(f->mem, "ram", 0, 4096, NULL), 0);
	f->model.phys_bits = 40;
	c->mem = f->mem;
	c->model = &f->model;
	c->vm = &f->vm;
	c->exit = &f->exit;
	c->delivering = -1;
	f->c = c;
	tlb_init(c);
	f->native = native_new(); /* before the stubs': they chain to its handler */
	assert_int_equal(fpu_stubs_new(&c->stubs, NULL), 0);
	fpu_fix_reset(f);
	fpu_fix_map(f);
	return f;
}

static inline void fpu_fix_free(struct fpu_fix *f)
{
	native_free(f->native);
	fpu_stubs_free(f->c->stubs);
	munmap(f->data - 4096, DATA_BYTES + 8192);
	mem_free(f->mem);
	free(f->c);
	free(f);
}

/* Run @i as if it lay at @rip.  Returns the vector of the exception it raised, or NO_FAULT. */
static inline int fpu_run(struct fpu_fix *f, const struct insn *i, uint64_t rip)
{
	struct vcpu *c = f->c;
	insn_fn *fn = bind_fpu(i);

	assert_non_null(fn);
	c->cur = c->run_start = i;
	c->insn_rip = rip;
	c->s.rip = rip + i->len;
	c->s.exc_pending = 0;
	if (setjmp(c->env))
		return c->s.exc_vector;
	fn(c, i);
	return NO_FAULT;
}
