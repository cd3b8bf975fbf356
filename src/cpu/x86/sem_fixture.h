/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_fixture.h - a vCPU whose pages are the test's own, at the same addresses.
 *
 * Nothing is mapped but the buffer of host_exec.h: the TLB holds its pages for good,
 * and any other address is a hole that looks like a device.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "cpu/tests/host_exec.h"
#include "cpu/x86/access.h"
#include "cpu/x86/mmu.h"

struct sem {
	struct vcpu *c;
	struct host_exec *h;
	struct mem *mem;
	struct cpu_model model;
	struct soft_vm vm;
	struct engine_exit exit;
	struct insn insn;
	uint8_t *buf;
	uint64_t seed;
};

static inline uint64_t rnd(struct sem *s)
{
	s->seed ^= s->seed << 13;
	s->seed ^= s->seed >> 7;
	s->seed ^= s->seed << 17;
	return s->seed;
}

/* Values with a bias to where arithmetic has edges. */
static inline uint64_t rnd_value(struct sem *s)
{
	uint64_t v = rnd(s), one = 1ULL << (v >> 8 & 63);

	switch (v & 7) {
	case 0: return v >> 32 & 0xff;
	case 1: return one;
	case 2: return 0 - one;
	case 3: return one - 1;
	case 4: return 0 - (v >> 32 & 0xff);
	default: return rnd(s);
	}
}

static inline void sem_flat_mode(struct sem *s, enum x86_mode mode)
{
	struct vcpu *c = s->c;

	c->mode = mode;
	c->long_mode = true;
	c->addr_mask = mode == MODE_64 ? ~0ULL : 0xffffffff;
	c->cpl = 3;
	c->view = TLB_USER;
	c->tlb = c->tlb_all[TLB_USER];
	for (unsigned n = 0; n < SEG_COUNT; n++) {
		c->flat[n] = true;
		c->s.seg[n].limit = 0xffffffff;
		c->s.seg[n].attr =
			ATTR_P | ATTR_S | ATTR_W | ATTR_A | (mode == MODE_16 ? 0 : ATTR_DB);
	}
}

static inline int sem_setup(void **state)
{
	struct sem *s = calloc(1, sizeof(*s));
	const char *seed = getenv("SEED");
	struct vcpu *c;

	assert_non_null(s);
	s->h = host_exec_new();
	assert_non_null(s->h);
	s->buf = host_exec_buf(s->h);
	s->seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15ULL | 1;
	c = s->c = aligned_alloc(64, ALIGN_UP(sizeof(*c), 64));
	assert_non_null(c);
	memset(c, 0, sizeof(*c));
	assert_int_equal(mem_new(&s->mem), 0);
	pthread_mutex_init(&s->vm.split, NULL);
	s->model.phys_bits = 40;
	c->mem = s->mem;
	c->model = &s->model;
	c->vm = &s->vm;
	c->exit = &s->exit;
	c->delivering = -1;
	c->cur = c->run_start = &s->insn;
	tlb_init(c);
	for (unsigned n = 0; n < HOST_BUF_PAGES; n++) {
		uint64_t page = (uintptr_t)s->buf + n * 4096;
		struct tlb_entry *e = &c->tlb_all[TLB_USER][page >> 12 & (TLB_SIZE - 1)];

		e->read_tag = e->write_tag = page;
	}
	sem_flat_mode(s, MODE_64);
	*state = s;
	return 0;
}

static inline int sem_teardown(void **state)
{
	struct sem *s = *state;

	host_exec_free(s->h);
	mem_free(s->mem);
	free(s->c);
	free(s);
	return 0;
}

enum { RAN = -1, LEFT = -2 }; /* results of sem_run() but for exception vectors */

/* Run s->insn at RIP @rip.  RAN, LEFT (an outside access in s->exit), or a vector. */
static inline int sem_run(struct sem *s, uint64_t rip)
{
	struct vcpu *c = s->c;
	int how;

	c->s.exc_pending = 0;
	c->insn_rip = rip;
	c->s.rip = rip + s->insn.len;
	c->run_start = c->cur = &s->insn;
	how = setjmp(c->env);
	if (how == UNWIND_FAULT)
		return c->s.exc_vector;
	if (how)
		return LEFT;
	s->insn.fn(c, &s->insn);
	return RAN;
}

static inline void sem_bind(struct sem *s)
{
	s->insn.fn = bind_int(&s->insn);
	if (!s->insn.fn)
		s->insn.fn = bind_string(&s->insn);
}

/* Decode and bind @code, which must be ours. */
static inline void sem_decode(struct sem *s, const char *code, unsigned len, enum x86_mode mode)
{
	assert_int_equal(x86_decode((const uint8_t *)code, len, mode, &s->insn), len);
	sem_bind(s);
	assert_non_null(s->insn.fn);
}

#define SEM_CODE(s, code, mode) sem_decode(s, code, sizeof(code) - 1, mode)
#define SEM_TEST(name)		cmocka_unit_test_setup_teardown(name, sem_setup, sem_teardown)
