/* SPDX-License-Identifier: Apache-2.0 */
/*
 * litmus_atomic.c - locked instructions of two to four processors lose nothing.
 *
 * Every processor does the same number of increments by each kind of locked
 * instruction, aligned, across a cache line and across a page, and by wide compare and
 * exchange whose halves must stay equal.  Aligned plain stores are never seen in halves.
 */
#include "litmus.h"

enum { LINE = 64, PAGE = 4096 };

static uint8_t arena[4 * PAGE] __attribute__((aligned(4096)));
static volatile uint64_t torn;

static struct {
	volatile uint64_t xadd, inc, add, cmpxchg, under_lock, bits, sum;
	volatile uint32_t lock;
	volatile uint8_t bytes[8] __attribute__((aligned(8)));
	volatile uint64_t wide8[1] __attribute__((aligned(8)));
	volatile uint64_t wide16[2] __attribute__((aligned(16)));
	volatile uint64_t whole __attribute__((aligned(8)));
} v;

static void lock_inc(volatile void *p, unsigned size)
{
	if (size == 8)
		__asm__ volatile("lock; incq %0" : "+m"(*(volatile uint64_t *)p)::"memory", "cc");
	else if (size == 4)
		__asm__ volatile("lock; incl %0" : "+m"(*(volatile uint32_t *)p)::"memory", "cc");
	else
		__asm__ volatile("lock; incw %0" : "+m"(*(volatile uint16_t *)p)::"memory", "cc");
}

static void simple(unsigned cpu)
{
	uint64_t old = 1, sum = 0;

	for (unsigned n = 0; n < rounds; n++) {
		old = 1;
		__asm__ volatile("lock; xaddq %0, %1" : "+r"(old), "+m"(v.xadd)::"memory", "cc");
		sum += old;
		lock_inc(&v.inc, 8);
		__asm__ volatile("lock; addq $3, %0" : "+m"(v.add)::"memory", "cc");
		__asm__ volatile("lock; incb %0" : "+m"(v.bytes[cpu])::"memory", "cc");
		old = v.cmpxchg;
		while (!__atomic_compare_exchange_n(&v.cmpxchg, &old, old + 1, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
		while (__atomic_exchange_n(&v.lock, 1, __ATOMIC_ACQUIRE))
			pause_cpu();
		v.under_lock = v.under_lock + 1;
		__atomic_store_n(&v.lock, 0, __ATOMIC_RELEASE);
	}
	__atomic_fetch_add(&v.sum, sum, __ATOMIC_SEQ_CST); /* each value was handed out once */
}

/* A bit as a lock: only one processor at a time can have set it. */
static void bit_lock(void)
{
	static volatile uint64_t word;

	for (unsigned n = 0; n < rounds; n++) {
		bool was;

		do
			__asm__ volatile("lock; btsq $37, %1; setc %0"
					 : "=q"(was), "+m"(word)::"memory", "cc");
		while (was);
		v.bits = v.bits + 1;
		__asm__ volatile("lock; btrq $37, %0" : "+m"(word)::"memory", "cc");
	}
}

static bool cmpxchg16b(volatile uint64_t *p, uint64_t old[2], uint64_t lo, uint64_t hi)
{
	bool done;

	__asm__ volatile("lock; cmpxchg16b %1; setz %0"
			 : "=q"(done), "+m"(*p), "+m"(p[1]), "+a"(old[0]), "+d"(old[1])
			 : "b"(lo), "c"(hi)
			 : "memory", "cc");
	return done;
}

static bool cmpxchg8b(volatile uint64_t *p, uint32_t old[2], uint32_t lo, uint32_t hi)
{
	bool done;

	__asm__ volatile("lock; cmpxchg8b %1; setz %0"
			 : "=q"(done), "+m"(*p), "+a"(old[0]), "+d"(old[1])
			 : "b"(lo), "c"(hi)
			 : "memory", "cc");
	return done;
}

static void wide(void)
{
	for (unsigned n = 0; n < rounds; n++) {
		uint64_t old16[2] = {0, 0};
		uint32_t old8[2] = {0, 0};

		while (!cmpxchg16b(v.wide16, old16, old16[0] + 1, old16[1] + 1))
			if (old16[0] != old16[1])
				torn++;
		while (!cmpxchg8b(v.wide8, old8, old8[0] + 1, old8[1] + 1))
			if (old8[0] != old8[1])
				torn++;
	}
}

/* Operands across lines and pages: the processor locks the bus, engines have a slow path. */
static void split(void)
{
	for (unsigned n = 0; n < rounds; n++) {
		lock_inc(arena + LINE - 3, 8);
		lock_inc(arena + PAGE - 5, 8);
		lock_inc(arena + 2 * PAGE - 2, 4);
		lock_inc(arena + 3 * PAGE - 1, 2);
	}
}

static void whole(unsigned cpu)
{
	for (unsigned n = 0; n < rounds; n++) {
		uint64_t seen = v.whole;

		if (seen != 0 && seen != ~0ULL)
			torn++;
		if (cpu < 2)
			v.whole = n & 1 ? ~0ULL : 0;
	}
}

static uint64_t at(unsigned off, unsigned size)
{
	uint64_t n = 0;

	memcpy(&n, arena + off, size);
	return n;
}

static void equal(const char *name, uint64_t have, uint64_t want)
{
	print(name);
	print(" ");
	print_number(have);
	print("\n");
	check(have == want, name);
}

static void worker(unsigned cpu)
{
	uint64_t all = (uint64_t)ncpus * rounds;

	barrier();
	simple(cpu);
	barrier();
	bit_lock();
	barrier();
	wide();
	barrier();
	split();
	barrier();
	whole(cpu);
	barrier();
	if (cpu)
		return;
	equal("xadd", v.xadd, all);
	equal("xadd's sum", v.sum, all * (all - 1) / 2);
	equal("inc", v.inc, all);
	equal("add", v.add, 3 * all);
	for (unsigned n = 0; n < ncpus; n++)
		equal("byte", v.bytes[n], rounds & 0xff);
	equal("cmpxchg", v.cmpxchg, all);
	equal("xchg", v.under_lock, all);
	equal("bts", v.bits, all);
	equal("cmpxchg16b low", v.wide16[0], all);
	equal("cmpxchg16b high", v.wide16[1], all);
	equal("cmpxchg8b", v.wide8[0], all << 32 | all);
	equal("inc across a line", at(LINE - 3, 8), all);
	equal("inc across a page", at(PAGE - 5, 8), all);
	equal("inc of 4 across a page", at(2 * PAGE - 2, 4), all & 0xffffffff);
	equal("inc of 2 across a page", at(3 * PAGE - 1, 2), all & 0xffff);
	equal("torn", torn, 0);
}

int main(void)
{
	run_on_all(5000);
	print("PASS\nlitmus_atomic done\n");
	return 0;
}
