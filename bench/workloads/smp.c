// SPDX-License-Identifier: Apache-2.0
/*
 * smp.c - rows of two threads, for guests with two vCPUs: locks, atomics, hand-over, TLB
 * shootdown, and work that is simply parallel.
 */
#include "work.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>

struct pair {
	unsigned n;
	unsigned who; /* 0 or 1 */
	struct shared *shared;
	uint64_t result;
};

struct shared {
	_Alignas(64) pthread_mutex_t lock;
	_Alignas(64) pthread_barrier_t barrier;
	_Alignas(64) pthread_cond_t filled;
	pthread_cond_t emptied;
	uint64_t queue[64];
	unsigned head, tail;
	_Alignas(64) uint64_t counter;
	_Alignas(64) unsigned turn;
};

/* Run @body in two threads; returns both results mixed. */
static uint64_t run_pair(struct run *run, void *(*body)(void *))
{
	struct shared *shared = must_alloc(sizeof(*shared));
	struct pair pair[2];
	pthread_t thread[2];

	pthread_mutex_init(&shared->lock, NULL);
	pthread_barrier_init(&shared->barrier, NULL, 2);
	pthread_cond_init(&shared->filled, NULL);
	pthread_cond_init(&shared->emptied, NULL);
	run_start(run);
	for (unsigned i = 0; i < 2; i++) {
		pair[i] = (struct pair){.n = run->n, .who = i, .shared = shared};
		if (pthread_create(&thread[i], NULL, body, &pair[i]))
			fail("pthread_create");
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	run_stop(run);
	return mix(mix(shared->counter, pair[0].result), pair[1].result);
}

static void *mutex_body(void *arg)
{
	struct pair *p = arg;

	for (unsigned i = 0; i < p->n; i++) {
		pthread_mutex_lock(&p->shared->lock);
		p->shared->counter += i;
		pthread_mutex_unlock(&p->shared->lock);
		for (unsigned k = 0; k < 20; k++)
			p->result = mix(p->result, k);
	}
	return NULL;
}

static void *atomic_body(void *arg)
{
	struct pair *p = arg;

	for (unsigned i = 0; i < p->n; i++)
		__atomic_fetch_add(&p->shared->counter, i, __ATOMIC_SEQ_CST);
	return NULL;
}

static void *cas_body(void *arg)
{
	struct pair *p = arg;

	for (unsigned i = 0; i < p->n; i++) {
		uint64_t old = __atomic_load_n(&p->shared->counter, __ATOMIC_RELAXED);

		while (!__atomic_compare_exchange_n(&p->shared->counter, &old, old + i, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			;
	}
	return NULL;
}

static void *spinlock_body(void *arg)
{
	struct pair *p = arg;

	for (unsigned i = 0; i < p->n; i++) {
		for (unsigned spins = 0;
		     __atomic_exchange_n(&p->shared->turn, 1, __ATOMIC_ACQUIRE);)
			if (++spins % 128)
				__builtin_ia32_pause();
			else
				sched_yield();
		p->shared->counter += i;
		__atomic_store_n(&p->shared->turn, 0, __ATOMIC_RELEASE);
		for (unsigned k = 0; k < 20; k++)
			p->result = mix(p->result, k);
	}
	return NULL;
}

static void *barrier_body(void *arg)
{
	struct pair *p = arg;

	for (unsigned i = 0; i < p->n; i++) {
		for (unsigned k = 0; k < 1000; k++)
			p->result = mix(p->result, k);
		pthread_barrier_wait(&p->shared->barrier);
	}
	return NULL;
}

static void produce(struct shared *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		pthread_mutex_lock(&s->lock);
		while (s->head - s->tail == 64)
			pthread_cond_wait(&s->emptied, &s->lock);
		s->queue[s->head++ % 64] = i;
		pthread_cond_signal(&s->filled);
		pthread_mutex_unlock(&s->lock);
	}
}

static void *queue_body(void *arg)
{
	struct pair *p = arg;
	struct shared *s = p->shared;

	if (p->who) {
		produce(s, p->n);
		return NULL;
	}
	for (unsigned i = 0; i < p->n; i++) {
		pthread_mutex_lock(&s->lock);
		while (s->head == s->tail)
			pthread_cond_wait(&s->filled, &s->lock);
		p->result = mix(p->result, s->queue[s->tail++ % 64]);
		pthread_cond_signal(&s->emptied);
		pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

/* Unmapping in one thread must reach the other one's TLB by interrupt. */
static void *shootdown_body(void *arg)
{
	struct pair *p = arg;

	for (unsigned i = 0; i < p->n; i++) {
		unsigned char *page = mmap(NULL, 16384, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (page == MAP_FAILED)
			fail("mmap");
		p->result += ++page[4096] + i;
		munmap(page, 16384);
	}
	return NULL;
}

static void *compress_body(void *arg)
{
	enum { TEXT = 256 << 10 };
	struct pair *p = arg;
	char *text = must_alloc(TEXT);
	Bytef *out = must_alloc(compressBound(TEXT));

	make_text(text, TEXT);
	for (unsigned i = 0; i < p->n; i++) {
		uLongf packed = compressBound(TEXT);

		text[i] ^= (char)(1 + p->who);
		if (compress2(out, &packed, (Bytef *)text, TEXT, 6) != Z_OK)
			fail("zlib");
		p->result = mix(p->result, hash_bytes(out, packed));
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void *sort_body(void *arg)
{
	struct pair *p = arg;
	uint32_t *v = must_alloc((size_t)p->n * 4);
	uint64_t seed = p->who + 7;

	for (unsigned i = 0; i < p->n; i++)
		v[i] = (uint32_t)next_random(&seed);
	qsort(v, p->n, 4, compare);
	p->result = hash_bytes(v, (size_t)p->n * 4);
	return NULL;
}

static uint64_t work_mutex(struct run *run)
{
	return run_pair(run, mutex_body);
}

static uint64_t work_atomic(struct run *run)
{
	return run_pair(run, atomic_body);
}

static uint64_t work_cas(struct run *run)
{
	return run_pair(run, cas_body);
}

static uint64_t work_spinlock(struct run *run)
{
	return run_pair(run, spinlock_body);
}

static uint64_t work_barrier(struct run *run)
{
	return run_pair(run, barrier_body);
}

static uint64_t work_queue(struct run *run)
{
	return run_pair(run, queue_body);
}

static uint64_t work_shootdown(struct run *run)
{
	return run_pair(run, shootdown_body);
}

static uint64_t work_compress(struct run *run)
{
	return run_pair(run, compress_body);
}

static uint64_t work_sort(struct run *run)
{
	return run_pair(run, sort_body);
}

const struct workload smp_workloads[] = {
	{"mutex", 1500000, work_mutex},	     {"atomic-add", 12000000, work_atomic},
	{"cas", 10000000, work_cas},	     {"spinlock", 1500000, work_spinlock},
	{"barrier", 10000, work_barrier},    {"queue", 250000, work_queue},
	{"shootdown", 2000, work_shootdown}, {"zlib-2", 2, work_compress},
	{"sort-2", 500000, work_sort},	     {0},
};
