/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kick_bench.c - how long a running vCPU takes to stop when asked.
 *
 * A guest runs something that never ends; this thread kicks it again and again, each
 * time when it has run for a moment, and notes how long run() took to return.  The
 * two threads want a core each: where there is none, the figures are the host's.
 */
#define GUEST_ENGINE engine_soft
#include "cpu/interp/guest.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { KICKS = 10000, RUN_NS = 50000 };

GUEST_CODE(tight, "code64", "1: jmp 1b\n");
GUEST_CODE(calls, "code64",
	   "1: call 2f\n"
	   "leaq 2f(%rip), %rax\n"
	   "call *%rax\n"
	   "jmp 1b\n"
	   "2: incq 0x20000\n"
	   "ret\n");
GUEST_CODE(pages, "code64",
	   "1: jmp 2f\n"
	   ".org pages + 0x1000\n"
	   "2: jmp 1b\n");
GUEST_CODE(copies, "code64",
	   "1: movl $0x40000, %esi\n"
	   "movl $0x100000, %edi\n"
	   "movl $0xa0000, %ecx\n"
	   "rep movsb\n"
	   "jmp 1b\n");
GUEST_CODE(fills_backwards, "code64",
	   "std\n"
	   "1: movl $0x1ffff0, %edi\n"
	   "movl $0xa0000, %ecx\n"
	   "rep stosb\n"
	   "jmp 1b\n");
GUEST_CODE(saves, "code64",
	   "1: movl $7, %eax\n"
	   "xorl %edx, %edx\n"
	   "fxsave64 0x20000\n"
	   "fxrstor64 0x20000\n"
	   "cpuid\n"
	   "jmp 1b\n");

static const struct program {
	const char *name;
	const uint8_t *code, *end;
} programs[] = {
	{"tight loop", tight, tight_end},
	{"calls", calls, calls_end},
	{"loop over two pages", pages, pages_end},
	{"rep movsb of 640K", copies, copies_end},
	{"rep stosb backwards", fills_backwards, fills_backwards_end},
	{"helpers", saves, saves_end},
};

struct runner {
	struct guest *g;
	uint64_t stopped; /* atomic: when run() returned; 0: it runs */
	bool quit;	  /* atomic */
};

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void *run(void *arg)
{
	struct runner *r = arg;
	struct engine_exit e;

	while (!__atomic_load_n(&r->quit, __ATOMIC_ACQUIRE)) {
		GUEST_ENGINE.run(r->g->v, &e);
		__atomic_store_n(&r->stopped, now(), __ATOMIC_RELEASE);
		while (__atomic_load_n(&r->stopped, __ATOMIC_ACQUIRE) &&
		       !__atomic_load_n(&r->quit, __ATOMIC_ACQUIRE))
			;
	}
	return NULL;
}

static uint64_t kick_once(struct runner *r)
{
	uint64_t start = now(), stopped;

	while (now() - start < RUN_NS)
		;
	start = now();
	GUEST_ENGINE.kick(r->g->v);
	while (!(stopped = __atomic_load_n(&r->stopped, __ATOMIC_ACQUIRE)))
		;
	__atomic_store_n(&r->stopped, 0, __ATOMIC_RELEASE);
	return stopped > start ? stopped - start : 0;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void measure(const struct program *p)
{
	static uint64_t ns[KICKS];
	struct guest *g = guest_new(1);
	struct runner r = {.g = g};
	unsigned late = 0;
	pthread_t t;

	guest_long(g);
	memcpy(g->ram + G_CODE, p->code, (size_t)(p->end - p->code));
	mem_written(g->mem, 0, G_RAM);
	pthread_create(&t, NULL, run, &r);
	for (unsigned i = 0; i < KICKS; i++) {
		ns[i] = kick_once(&r);
		late += ns[i] > 100000;
	}
	__atomic_store_n(&r.quit, true, __ATOMIC_RELEASE);
	GUEST_ENGINE.kick(g->v);
	pthread_join(t, NULL);
	qsort(ns, KICKS, sizeof(ns[0]), compare);
	printf("%-20s %8.1f %8.1f %8.1f %8.1f %8.1f %6u\n", p->name, ns[KICKS / 2] / 1e3,
	       ns[KICKS * 9 / 10] / 1e3, ns[KICKS * 99 / 100] / 1e3, ns[KICKS * 999 / 1000] / 1e3,
	       ns[KICKS - 1] / 1e3, late);
	guest_free(g);
}

int main(void)
{
	printf("microseconds from kick() to the end of run(), %d kicks each\n", KICKS);
	printf("%-20s %8s %8s %8s %8s %8s %6s\n", "guest", "median", "90 %", "99 %", "99.9 %",
	       "most", ">100");
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
		measure(&programs[i]);
	return 0;
}
