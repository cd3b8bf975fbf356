// SPDX-License-Identifier: Apache-2.0
/*
 * memory.c - memory rows: pointer chases through 32 KiB to 64 MiB, streams, random access.
 */
#include "work.h"

#include <string.h>

/* Follow one cycle through all of @bytes in random order, a cache line a step. */
static uint64_t chase(struct run *run, size_t bytes)
{
	size_t lines = bytes / 64;
	size_t *next = must_alloc(bytes), at = 0;
	uint64_t seed = 17;

	for (size_t i = 0; i < lines; i++)
		next[i * 8] = i * 8;
	for (size_t i = lines - 1; i; i--) { /* Sattolo's shuffle: a single cycle */
		size_t j = next_random(&seed) % i, swap = next[i * 8];

		next[i * 8] = next[j * 8];
		next[j * 8] = swap;
	}
	run_start(run);
	for (unsigned i = 0; i < run->n; i++)
		at = next[at];
	run_stop(run);
	return at;
}

static uint64_t work_chase_32k(struct run *run)
{
	return chase(run, 32 << 10);
}

static uint64_t work_chase_1m(struct run *run)
{
	return chase(run, 1 << 20);
}

static uint64_t work_chase_8m(struct run *run)
{
	return chase(run, 8 << 20);
}

static uint64_t work_chase_64m(struct run *run)
{
	return chase(run, 64 << 20);
}

enum { STREAM = 2 << 20 }; /* 16 MiB an array */

static uint64_t work_copy(struct run *run)
{
	uint64_t *a = must_alloc(STREAM * 8), *b = must_alloc(STREAM * 8);

	for (unsigned i = 0; i < STREAM; i++)
		a[i] = i * 3;
	run_start(run);
	for (unsigned r = 0; r < run->n; r++) {
		memcpy(b, a, STREAM * 8);
		memcpy(a + 1, b, STREAM * 8 - 8);
	}
	run_stop(run);
	return hash_bytes(a, STREAM * 8);
}

static uint64_t work_triad(struct run *run)
{
	double *a = must_alloc(STREAM * 8), *b = must_alloc(STREAM * 8);
	double *c = must_alloc(STREAM * 8);

	for (unsigned i = 0; i < STREAM; i++)
		b[i] = i, c[i] = i % 77;
	run_start(run);
	for (unsigned r = 0; r < run->n; r++)
		for (unsigned i = 0; i < STREAM; i++)
			a[i] = b[i] + 3.0 * c[i] + r;
	run_stop(run);
	return hash_bytes(a, STREAM * 8);
}

static uint64_t work_fill(struct run *run)
{
	uint64_t *a = must_alloc(STREAM * 8), sum = 0;

	run_start(run);
	for (unsigned r = 0; r < run->n; r++) {
		memset(a, (int)r + 1, STREAM * 8);
		sum += a[r * 4096 % STREAM];
	}
	run_stop(run);
	return sum;
}

static uint64_t work_random_read(struct run *run)
{
	enum { WORDS = 4 << 20 }; /* 32 MiB */
	uint64_t *a = must_alloc(WORDS * 8), seed = 5, sum = 0;

	for (unsigned i = 0; i < WORDS; i++)
		a[i] = i;
	run_start(run);
	for (unsigned i = 0; i < run->n; i++)
		sum += a[next_random(&seed) % WORDS];
	run_stop(run);
	return sum;
}

static uint64_t work_random_write(struct run *run)
{
	enum { WORDS = 4 << 20 };
	uint64_t *a = must_alloc(WORDS * 8), seed = 5;

	run_start(run);
	for (unsigned i = 0; i < run->n; i++) {
		uint64_t r = next_random(&seed);

		a[r % WORDS] ^= r;
	}
	run_stop(run);
	return hash_bytes(a, WORDS * 8);
}

const struct workload memory_workloads[] = {
	{"chase-32k", 30000000, work_chase_32k},
	{"chase-1m", 10000000, work_chase_1m},
	{"chase-8m", 2000000, work_chase_8m},
	{"chase-64m", 600000, work_chase_64m},
	{"copy", 30, work_copy},
	{"triad", 45, work_triad},
	{"fill", 300, work_fill},
	{"random-read", 8000000, work_random_read},
	{"random-write", 6000000, work_random_write},
	{0},
};
