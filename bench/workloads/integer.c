// SPDX-License-Identifier: Apache-2.0
/*
 * integer.c - integer rows: real programs (programs.c) and three kernels.
 */
#include "work.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t work_sort(struct run *run)
{
	uint32_t *v = must_alloc((size_t)run->n * 4);
	uint64_t seed = 7;

	for (unsigned i = 0; i < run->n; i++)
		v[i] = (uint32_t)next_random(&seed);
	run_start(run);
	qsort(v, run->n, 4, compare);
	run_stop(run);
	return hash_bytes(v, (size_t)run->n * 4);
}

/* Open addressing, 2^16 slots: insert, look up and delete keys. */
static uint64_t work_hash_table(struct run *run)
{
	enum { SLOTS = 1 << 16 };
	struct slot {
		uint64_t key, value;
	} *slots = must_alloc(SLOTS * sizeof(*slots));
	uint64_t seed = 99, sum = 0;

	run_start(run);
	for (unsigned i = 0; i < run->n; i++) {
		uint64_t key = next_random(&seed) % 40000 + 1;
		size_t at = mix(0, key) % SLOTS;

		while (slots[at].key && slots[at].key != key)
			at = (at + 1) % SLOTS;
		sum += slots[at].value;
		slots[at].key = key;
		slots[at].value += i;
	}
	return sum;
}

static uint64_t work_crc_base64(struct run *run)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	enum { BYTES = 48 << 10 };
	uint32_t table[256], crc = ~0U;
	unsigned char *in = must_alloc(BYTES), *out = must_alloc(BYTES / 3 * 4);

	for (uint32_t i = 0; i < 256; i++) {
		table[i] = i;
		for (int k = 0; k < 8; k++)
			table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320 : 0);
	}
	make_text((char *)in, BYTES);
	run_start(run);
	for (unsigned r = 0; r < run->n; r++) {
		unsigned char *o = out;

		for (unsigned i = 0; i < BYTES; i += 3, o += 4) {
			uint32_t v = (uint32_t)in[i] << 16 | (uint32_t)in[i + 1] << 8 | in[i + 2];

			o[0] = (unsigned char)digits[v >> 18];
			o[1] = (unsigned char)digits[v >> 12 & 63];
			o[2] = (unsigned char)digits[v >> 6 & 63];
			o[3] = (unsigned char)digits[v & 63];
		}
		for (unsigned i = 0; i < BYTES / 3 * 4; i++)
			crc = crc >> 8 ^ table[(crc ^ out[i]) & 255];
		in[r % BYTES] ^= (unsigned char)crc;
	}
	return crc;
}

/* A bytecode loop: fetch, switch, stack operations. */
static uint64_t work_bytecode(struct run *run)
{
	enum { PUSH, ADD, MUL, XOR, DUP, SWAP, SHIFT, NR_OPS };
	unsigned char code[256];
	uint64_t stack[16] = {1, 2, 3, 4}, seed = 5, swap;
	unsigned sp = 4;

	for (unsigned i = 0; i < sizeof(code); i++)
		code[i] = (unsigned char)(next_random(&seed) % NR_OPS);
	for (unsigned r = 0; r < run->n; r++)
		for (unsigned pc = 0; pc < sizeof(code); pc++) {
			uint64_t *top = &stack[sp & 15], *under = &stack[(sp - 1) & 15];

			switch (code[pc]) {
			case PUSH: stack[++sp & 15] = pc; break;
			case ADD: *under += *top, sp--; break;
			case MUL: *top *= 2 * *under + 1; break;
			case XOR: *top ^= *under; break;
			case DUP: stack[(sp + 1) & 15] = *top, sp++; break;
			case SWAP: swap = *top, *top = *under, *under = swap; break;
			default: *top = *top >> 7 | *top << 57; break;
			}
		}
	return hash_bytes(stack, sizeof(stack));
}

const struct workload integer_workloads[] = {
	{"zlib", 2, work_zlib},
	{"zstd", 24, work_zstd},
	{"bzip2", 2, work_bzip2},
	{"gcc", 16, work_gcc},
	{"tcc", 6000, work_tcc},
	{"lua", 40, work_lua},
	{"perl", 24, work_perl},
	{"sqlite", 40000, work_sqlite},
	{"bytecode", 250000, work_bytecode},
	{"sort", 1000000, work_sort},
	{"hash-table", 8000000, work_hash_table},
	{"crc-base64", 700, work_crc_base64},
	{0},
};
