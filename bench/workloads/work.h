/* SPDX-License-Identifier: Apache-2.0 */
/* work.h - what the benchmark's workloads share: their table, a clock, data and checksums. */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct run {
	unsigned n;	    /* how much to do; the row's size times the scale */
	double start, stop; /* seconds; stop is 0 until run_stop() */
	const char *skip;   /* set when the machine cannot run this row */
};

struct workload {
	const char *name;
	unsigned n;			   /* size: about 0.1 s natively on a 3 GHz machine */
	uint64_t (*work)(struct run *run); /* returns the checksum of what it computed */
};

/* One table a group, ended by an entry without a name. */
extern const struct workload integer_workloads[];
extern const struct workload float_workloads[];
extern const struct workload vector_workloads[];
extern const struct workload memory_workloads[];
extern const struct workload system_workloads[];
extern const struct workload smp_workloads[];
extern const struct workload io_workloads[];

/* Real programs and libraries, listed among the integer and vector workloads. */
uint64_t work_zlib(struct run *run);
uint64_t work_zstd(struct run *run);
uint64_t work_bzip2(struct run *run);
uint64_t work_sqlite(struct run *run);
uint64_t work_lua(struct run *run);
uint64_t work_tcc(struct run *run);
uint64_t work_gcc(struct run *run);
uint64_t work_perl(struct run *run);
uint64_t work_aes_gcm(struct run *run);
uint64_t work_chacha(struct run *run);
uint64_t work_sha256(struct run *run);

/* Answer a TCP client's small requests for ever; used on the host by the io rows. */
void serve_tcp(void) __attribute__((noreturn));

double now(void); /* seconds of CLOCK_MONOTONIC */

/* The clock runs from run_start() to run_stop(), or to the return without the latter. */
void run_start(struct run *run);
void run_stop(struct run *run);

/* Print @what with errno and end the process: the row is an error. */
void fail(const char *what) __attribute__((noreturn));

void *must_alloc(size_t bytes);

static inline uint64_t next_random(uint64_t *seed) /* xorshift64*; the seed is not 0 */
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dULL;
}

static inline uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 29;
}

static inline uint64_t mix_double(uint64_t hash, double value)
{
	union {
		double d;
		uint64_t u;
	} pun = {.d = value};

	return mix(hash, pun.u);
}

uint64_t hash_bytes(const void *data, size_t bytes);

/* Fill @buf with English-looking text that compresses about as text does. */
void make_text(char *buf, size_t bytes);

/* C source of @functions functions; must be freed. */
char *make_source(unsigned functions);

/* A file of the benchmark ($BENCH_DIR/@name); the buffer is static and constant after. */
const char *bench_file(char buf[256], const char *name);

#endif
