/* SPDX-License-Identifier: Apache-2.0 */
/*
 * litmus.c - may two to four processors see each other's loads and stores in this order?
 *
 * Each test is a few loads and stores per role (SDM vol. 3A, 8.2.3; the names are those
 * of the literature).  A round runs it on many independent pairs of variables; roles
 * move on by one processor each round.  Outcomes are counted by the bits read, first
 * one lowest; those that x86 forbids must not be there.  The weak ones that it allows
 * are only counted: how often they show is the host's business.
 */
#include "litmus.h"

enum { CELLS = 256, OUTCOMES = 16, NONE = -1, MAX_TESTS = 12 };

struct cell {
	volatile uint64_t x __attribute__((aligned(64)));
	volatile uint64_t y __attribute__((aligned(64)));
};

static struct cell cells[MAX_TESTS][CELLS];
static volatile uint8_t seen[MAX_TESTS][4][CELLS]; /* bits that each role read */

#define STORE(to, v) __asm__ volatile("movq %1, %0" : "=m"(to) : "r"((uint64_t)(v)) : "memory")
#define FENCE()	     __asm__ volatile("mfence" ::: "memory")
#define LOCKED()     __asm__ volatile("lock; addl $0, (%%rsp)" ::: "memory", "cc")

static inline unsigned load(volatile uint64_t *p)
{
	uint64_t v;

	__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*p) : "memory");
	return v != 0;
}

static inline void exchange(volatile uint64_t *p, uint64_t v)
{
	__asm__ volatile("xchgq %0, %1" : "+r"(v), "+m"(*p)::"memory");
}

/* --- store buffering ------------------------------------------------------------------- */

#define ROLE(name) static unsigned name(struct cell *c)
ROLE(sb_0)
{
	STORE(c->x, 1);
	return load(&c->y);
}
ROLE(sb_1)
{
	STORE(c->y, 1);
	return load(&c->x);
}
ROLE(sb_fence_0)
{
	STORE(c->x, 1);
	FENCE();
	return load(&c->y);
}
ROLE(sb_fence_1)
{
	STORE(c->y, 1);
	FENCE();
	return load(&c->x);
}
ROLE(sb_lock_0)
{
	STORE(c->x, 1);
	LOCKED();
	return load(&c->y);
}
ROLE(sb_lock_1)
{
	STORE(c->y, 1);
	LOCKED();
	return load(&c->x);
}
ROLE(sb_xchg_0)
{
	exchange(&c->x, 1);
	return load(&c->y);
}
ROLE(sb_xchg_1)
{
	exchange(&c->y, 1);
	return load(&c->x);
}
/* A processor sees its own store early (SDM 8.2.3.5). */
ROLE(forward_0)
{
	unsigned own;

	STORE(c->x, 1);
	own = load(&c->x);
	return own | load(&c->y) << 1;
}
ROLE(forward_1)
{
	unsigned own;

	STORE(c->y, 1);
	own = load(&c->y);
	return own | load(&c->x) << 1;
}

/* --- order of stores, and of loads ------------------------------------------------------- */

ROLE(mp_0)
{
	STORE(c->x, 1);
	STORE(c->y, 1);
	return 0;
}
ROLE(mp_1)
{
	unsigned first = load(&c->y);

	return first | load(&c->x) << 1;
}
/* The same by bytes of the two words. */
ROLE(mp_byte_0)
{
	__asm__ volatile("movb $1, %0; movb $1, %1"
			 : "=m"(*((volatile uint8_t *)&c->x + 7)),
			   "=m"(*((volatile uint8_t *)&c->y + 3))::"memory");
	return 0;
}
ROLE(lb_0)
{
	unsigned v = load(&c->x);

	STORE(c->y, 1);
	return v;
}
ROLE(lb_1)
{
	unsigned v = load(&c->y);

	STORE(c->x, 1);
	return v;
}
ROLE(read_twice)
{
	unsigned first = load(&c->x);

	return first | load(&c->x) << 1;
}
ROLE(store_x)
{
	STORE(c->x, 1);
	return 0;
}
ROLE(store_y)
{
	STORE(c->y, 1);
	return 0;
}
ROLE(read_xy)
{
	unsigned first = load(&c->x);

	return first | load(&c->y) << 1;
}
ROLE(xchg_x)
{
	exchange(&c->x, 1);
	return 0;
}
ROLE(xchg_y)
{
	exchange(&c->y, 1);
	return 0;
}

/* --- the tests ------------------------------------------------------------------------------ */

static const struct test {
	const char *name;
	unsigned nroles;
	unsigned (*role[4])(struct cell *c);
	uint8_t bits[4]; /* that each role reads */
	int forbidden;	 /* outcome */
	int weak;	 /* outcome that only reordering explains, and is allowed */
} tests[] = {
	{"SB", 2, {sb_0, sb_1}, {1, 1}, NONE, 0},
	{"SB+mfence", 2, {sb_fence_0, sb_fence_1}, {1, 1}, 0, NONE},
	{"SB+lock", 2, {sb_lock_0, sb_lock_1}, {1, 1}, 0, NONE},
	{"SB+xchg", 2, {sb_xchg_0, sb_xchg_1}, {1, 1}, 0, NONE},
	{"SB+forward", 2, {forward_0, forward_1}, {2, 2}, NONE, 5},
	{"MP", 2, {mp_0, mp_1}, {0, 2}, 1, NONE},
	{"MP+bytes", 2, {mp_byte_0, mp_1}, {0, 2}, 1, NONE},
	{"LB", 2, {lb_0, lb_1}, {1, 1}, 3, NONE},
	{"CoRR", 2, {store_x, read_twice}, {0, 2}, 1, NONE},
	{"WRC", 3, {store_x, lb_0, mp_1}, {0, 1, 2}, 3, NONE},
	{"IRIW", 4, {store_x, store_y, read_xy, mp_1}, {0, 0, 2, 2}, 5, NONE},
	{"IRIW+xchg", 4, {xchg_x, xchg_y, read_xy, mp_1}, {0, 0, 2, 2}, 5, NONE},
};

enum { NTESTS = sizeof(tests) / sizeof(tests[0]) };
_Static_assert((int)NTESTS <= (int)MAX_TESTS, "cells");

static uint64_t counts[MAX_TESTS][OUTCOMES];

static void count_outcomes(unsigned k)
{
	const struct test *t = &tests[k];

	for (unsigned n = 0; n < CELLS; n++) {
		unsigned outcome = 0, shift = 0;

		for (unsigned role = 0; role < t->nroles; role++) {
			outcome |= (unsigned)seen[k][role][n] << shift;
			shift += t->bits[role];
		}
		counts[k][outcome]++;
	}
}

static void report(unsigned k)
{
	const struct test *t = &tests[k];

	print(t->name);
	for (unsigned n = 0; n < OUTCOMES; n++) {
		if (!counts[k][n])
			continue;
		print(" ");
		print_number(n);
		print((int)n == t->forbidden ? "!:" : (int)n == t->weak ? "*:" : ":");
		print_number(counts[k][n]);
	}
	print("\n");
	check(t->forbidden == NONE || !counts[k][t->forbidden], t->name);
}

static void run_test(unsigned k, unsigned role, uint32_t *random)
{
	for (unsigned n = 0; n < CELLS; n++) {
		*random = *random * 1664525 + 1013904223;
		for (unsigned wait = *random >> 28; wait; wait--)
			__asm__ volatile("");
		seen[k][role][n] = (uint8_t)tests[k].role[role](&cells[k][n]);
	}
}

static void worker(unsigned cpu)
{
	uint32_t random = cpu * 77 + 1;

	for (unsigned n = 0; n < rounds; n++) {
		unsigned role = (cpu + n) % ncpus;

		if (!cpu)
			memset(cells, 0, sizeof(cells));
		barrier();
		for (unsigned k = 0; k < NTESTS; k++)
			if (tests[k].nroles <= ncpus && role < tests[k].nroles)
				run_test(k, role, &random);
		barrier();
		for (unsigned k = 0; k < NTESTS && !cpu; k++)
			if (tests[k].nroles <= ncpus)
				count_outcomes(k);
	}
	for (unsigned k = 0; k < NTESTS && !cpu; k++)
		if (tests[k].nroles <= ncpus)
			report(k);
}

int main(void)
{
	run_on_all(100);
	print("PASS\nlitmus done\n");
	return 0;
}
