/* SPDX-License-Identifier: Apache-2.0 */
/* mmu_fixture.h - a vCPU with some RAM, without an engine, for the MMU's tests. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "cpu/x86/access.h"
#include "cpu/x86/mmu.h"

enum { RAM_PAGES = 64, RAM_BYTES = RAM_PAGES * 4096 };
#define MMIO_GPA 0x10000000ULL

struct fix {
	struct vcpu *c;
	struct mem *mem;
	struct cpu_model model;
	struct soft_vm vm;
	struct engine_exit exit;
	uint8_t *ram;
	uint64_t seed, value;
	struct engine_exit log[16];
	unsigned nlog;
};

static inline uint64_t rnd(struct fix *f)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return f->seed;
}

static inline int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));
	struct vcpu *c = aligned_alloc(64, ALIGN_UP(sizeof(*c), 64));

	assert_non_null(f);
	assert_non_null(c);
	memset(c, 0, sizeof(*c));
	f->seed = 0x9e3779b97f4a7c15ULL;
	assert_int_equal(mem_new(&f->mem), 0);
	assert_int_equal(mem_add_ram(f->mem, "ram", 0, RAM_BYTES, NULL), 0);
	f->ram = f->mem->region[0].hva;
	f->model.phys_bits = 40;
	f->model.features = ~0ULL;
	pthread_mutex_init(&f->vm.split, NULL);
	c->mem = f->mem;
	c->model = &f->model;
	c->vm = &f->vm;
	c->exit = &f->exit;
	c->delivering = -1;
	f->c = c;
	tlb_init(c);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fix *f = *state;

	mem_free(f->mem);
	free(f->c);
	free(f);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
