// SPDX-License-Identifier: Apache-2.0
/*
 * main.c - the benchmark's workloads as one program, run on the host and in guests alike.
 *
 * "work NAME SCALE" runs one row in this process and prints one line,
 *	RESULT name seconds checksum	or	RESULT name skip reason
 * The time is the process's own, without the preparation of data; the checksum must be the
 * same wherever the row ran.  "work --list" prints "group name size" lines, "work --serve" is
 * the host's end of the network row.
 */
#include "work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
	const char *name;
	const struct workload *workloads;
} groups[] = {
	{"integer", integer_workloads}, {"float", float_workloads},   {"vector", vector_workloads},
	{"memory", memory_workloads},	{"system", system_workloads}, {"smp", smp_workloads},
	{"io", io_workloads},
};

enum { NR_GROUPS = sizeof(groups) / sizeof(groups[0]) };

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

void run_start(struct run *run)
{
	run->start = now();
}

void run_stop(struct run *run)
{
	run->stop = now();
}

void fail(const char *what)
{
	printf("ERROR %s: %s\n", what, strerror(errno));
	exit(1);
}

void *must_alloc(size_t bytes)
{
	void *p = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);

	if (!p)
		fail("aligned_alloc");
	memset(p, 0, (bytes + 4095) & ~(size_t)4095);
	return p;
}

uint64_t hash_bytes(const void *data, size_t bytes)
{
	const unsigned char *p = data;
	uint64_t hash = bytes, word;

	for (; bytes >= 8; bytes -= 8, p += 8) {
		memcpy(&word, p, 8);
		hash = mix(hash, word);
	}
	for (; bytes; bytes--)
		hash = mix(hash, *p++);
	return hash;
}

void make_text(char *buf, size_t bytes)
{
	enum { WORDS = 2000 };
	static const char syllables[][4] = {"a",  "the", "er", "in", "ol", "an", "to", "st",
					    "en", "re",	 "ti", "is", "or", "de", "al", "ni"};
	uint64_t seed = 42;
	size_t at = 0;

	while (at + 24 < bytes) {
		/* squaring favours the low numbers: some words are frequent */
		uint64_t r = next_random(&seed) % WORDS;
		uint64_t word = r * r / WORDS * 0x9e3779b97f4a7c15ULL;
		unsigned n = 1 + (word >> 60) % 4;

		for (unsigned i = 0; i < n; i++) {
			const char *s = syllables[word >> (i * 4 + 20) & 15];

			while (*s)
				buf[at++] = *s++;
		}
		buf[at++] = next_random(&seed) % 12 ? ' ' : '\n';
	}
	memset(buf + at, '.', bytes - at);
}

char *make_source(unsigned functions)
{
	size_t room = 1024 + (size_t)functions * 900, at;
	char *text = must_alloc(room);

	at = (size_t)sprintf(text, "struct item { int key; long sum; struct item *next; };\n");
	for (unsigned i = 0; i < functions; i++)
		at += (size_t)sprintf(
			text + at,
			"static long f%u(struct item *p, int n, long x)\n"
			"{\n"
			"\tint i; long table[%u]; struct item it;\n"
			"\tit.key = n * %u; it.sum = x; it.next = p;\n"
			"\tfor (i = 0; i < %u; i++) {\n"
			"\t\ttable[i] = x ^ ((long)i << %u);\n"
			"\t\tif (table[i] & %u) x += table[i] * 3 - n; else x -= it.key;\n"
			"\t}\n"
			"\tswitch (n & 7) {\n"
			"\tcase 0: x += %u; break;\n"
			"\tcase 1: x ^= it.sum >> 3; break;\n"
			"\tcase 2: case 3: while (x > %u && n-- > 0) x = x / 2 + it.key; break;\n"
			"\tcase 5: it.sum += table[n & 3]; x = it.sum * 5; break;\n"
			"\tdefault: x = p ? x + p->key : x * 7 + %u;\n"
			"\t}\n"
			"\treturn n > 0 && x ? %s%u%s : x + it.sum;\n"
			"}\n",
			i, 8 + i % 9, 3 + i * 7 % 50, 4 + i % 5, 1 + i % 13, 1 << i % 6, i * 31,
			100 + i * 13 % 999, i * 17 % 777, i ? "f" : "n + ", i ? i - 1 : 0,
			i ? "(&it, n - 1, x)" : "");
	sprintf(text + at, "long entry(void) { return f%u(0, 40, 12345); }\n", functions - 1);
	return text;
}

const char *bench_file(char buf[256], const char *name)
{
	const char *dir = getenv("BENCH_DIR");

	snprintf(buf, 256, "%s/%s", dir ? dir : "/bench", name);
	return buf;
}

static int list(void)
{
	for (unsigned i = 0; i < NR_GROUPS; i++)
		for (const struct workload *w = groups[i].workloads; w->name; w++)
			printf("%s %s %u\n", groups[i].name, w->name, w->n);
	return 0;
}

static int work(const struct workload *w, double scale)
{
	struct run run = {.n = (unsigned)(w->n * scale) ?: 1};
	uint64_t sum;

	run_start(&run);
	sum = w->work(&run);
	if (!run.stop)
		run_stop(&run);
	if (run.skip)
		printf("RESULT %s skip %s\n", w->name, run.skip);
	else
		printf("RESULT %s %.6f %016lx\n", w->name, run.stop - run.start, sum);
	return 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list();
	if (argc == 2 && !strcmp(argv[1], "--serve"))
		serve_tcp();
	for (unsigned i = 0; argc == 3 && i < NR_GROUPS; i++)
		for (const struct workload *w = groups[i].workloads; w->name; w++)
			if (!strcmp(argv[1], w->name))
				return work(w, atof(argv[2]));
	fprintf(stderr, "usage: work --list | --serve | NAME SCALE\n");
	return 2;
}
