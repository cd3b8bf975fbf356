/* SPDX-License-Identifier: Apache-2.0 */
/* diff_values.c - random operands with a bias to where arithmetic has its corners. */
#include <string.h>
#include "cpu/tests/diff.h"

uint64_t rng_next(struct diff_rng *r)
{
	uint64_t z = (r->s += 0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t rng_integer(struct diff_rng *r)
{
	static const uint64_t edges[] = {
		0,
		1,
		2,
		0x7f,
		0x80,
		0xff,
		0x100,
		0x7fff,
		0x8000,
		0xffff,
		0x10000,
		0x7fffffff,
		0x80000000,
		0xffffffff,
		0x100000000,
		~0ULL,
		1ULL << 63,
		~0ULL >> 1,
		~0ULL << 7,
		~0ULL << 8,
		~0ULL << 31,
		~0ULL << 32,
		0x5555555555555555,
		0x123456789abcdef0,
	};

	switch (rng_below(r, 8)) {
	case 0:
	case 1: return edges[rng_below(r, ARRAY_SIZE(edges))];
	case 2: return edges[rng_below(r, ARRAY_SIZE(edges))] + rng_below(r, 5) - 2;
	case 3: return rng_below(r, 256);
	case 4: return 1ULL << rng_below(r, 64);
	case 5: return rng_next(r) >> rng_below(r, 64);
	default: return rng_next(r);
	}
}

static uint32_t edge32(struct diff_rng *r)
{
	static const uint32_t v[] = {
		0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000,
		0xffc00000, 0x7f800001, 0xffa00000, 0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff,
		0xff7fffff, 0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000, 0x40490fdb, 0x4effffff,
		0x7fffffff, 0xffffffff, 0x34000000, 0x33800000, 0x3effffff, 0x00400000, 0x80800001,
	};

	return v[rng_below(r, ARRAY_SIZE(v))];
}

static uint64_t edge64(struct diff_rng *r)
{
	static const uint64_t v[] = {
		0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000,
		0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0xfff8000000000000,
		0x7ff0000000000001, 0xfff4000000000000, 0x0000000000000001, 0x800fffffffffffff,
		0x0010000000000000, 0x7fefffffffffffff, 0xffefffffffffffff, 0x41e0000000000000,
		0xc1e0000000000000, 0x43e0000000000000, 0xc3e0000000000000, 0x3fe0000000000000,
		0x400921fb54442d18, 0x41dfffffffc00000, 0x7fffffffffffffff, 0xffffffffffffffff,
		0x47f0000000000000, 0x36a0000000000000, 0x3810000000000000, 0x3ca0000000000000,
	};

	return v[rng_below(r, ARRAY_SIZE(v))];
}

/* A finite number of ordinary size. */
static uint64_t plain64(struct diff_rng *r)
{
	uint64_t exponent = 1023 - 40 + rng_below(r, 80);

	return (rng_next(r) & 0x800fffffffffffff) | exponent << 52;
}

static uint32_t plain32(struct diff_rng *r)
{
	return ((uint32_t)rng_next(r) & 0x807fffff) | (127 - 20 + rng_below(r, 40)) << 23;
}

void rng_vector(struct diff_rng *r, uint8_t *out, size_t len)
{
	unsigned kind = rng_below(r, 8);

	for (size_t n = 0; n < len; n += 8) {
		uint64_t v;

		switch (kind) {
		case 0: v = edge32(r) | (uint64_t)edge32(r) << 32; break;
		case 1: v = edge64(r); break;
		case 2: v = plain32(r) | (uint64_t)plain32(r) << 32; break;
		case 3: v = plain64(r); break;
		case 4: v = rng_integer(r); break;
		case 5: v = rng_integer(r) << 32 | (uint32_t)rng_integer(r); break;
		case 6:
			v = rng_below(r, 2) ? edge32(r) | (uint64_t)plain32(r) << 32 : plain64(r);
			break;
		default: v = rng_next(r);
		}
		memcpy(out + n, &v, MIN(len - n, (size_t)8));
	}
}

/* An 80-bit register: numbers, and every kind of encoding there is. */
static void rng_extended(struct diff_rng *r, uint8_t *out)
{
	static const uint16_t exponents[] = {0,	     1,	     0x3fff, 0x3ffe, 0x4000,
					     0x401e, 0x403e, 0x403f, 0x7ffe, 0x7fff,
					     0x3c01, 0x43fe, 0x3f81, 0x407e};
	static const uint64_t mantissas[] = {
		0,
		1,
		1ULL << 63,
		3ULL << 62,
		~0ULL,
		~0ULL >> 1,
		(1ULL << 63) + 1,
		1ULL << 62,
		0xaULL << 60,
	};
	uint16_t exponent = exponents[rng_below(r, ARRAY_SIZE(exponents))];
	uint64_t mantissa = mantissas[rng_below(r, ARRAY_SIZE(mantissas))];

	if (rng_chance(r, 60)) {
		exponent = (uint16_t)(0x3fff - 70 + rng_below(r, 140));
		mantissa = rng_next(r) | 1ULL << 63;
	} else if (rng_chance(r, 30)) {
		exponent = (uint16_t)(rng_next(r) & 0x7fff);
		mantissa = rng_next(r) | (uint64_t)rng_below(r, 8) << 61;
	}
	exponent |= (uint16_t)(rng_below(r, 2) << 15);
	memcpy(out, &mantissa, 8);
	memcpy(out + 8, &exponent, 2);
}

static uint32_t rng_mxcsr(struct diff_rng *r)
{
	uint32_t v = 0x1f80 | rng_below(r, 4) << 13;

	if (rng_chance(r, 20))
		v |= rng_below(r, 64); /* sticky flags */
	if (rng_chance(r, 20))
		v |= rng_below(r, 2) << 15 | rng_below(r, 2) << 6; /* FTZ, DAZ */
	if (rng_chance(r, 10))
		v &= ~(rng_below(r, 64) << 7); /* exceptions unmasked */
	return v;
}

void rng_fpu_state(struct diff_rng *r, struct cpu_fxsave *fx)
{
	uint16_t status;

	memset(fx, 0, sizeof(*fx));
	fx->fcw = (uint16_t)(0x7f | rng_below(r, 16) << 8); /* precision and rounding */
	if (rng_chance(r, 10))
		fx->fcw &= (uint16_t)~rng_below(r, 64);
	status = (uint16_t)(rng_below(r, 8) << 11 | (rng_next(r) & 0x4700));
	if (rng_chance(r, 15))
		status |= (uint16_t)rng_below(r, 128);
	if (status & 0x3f & ~fx->fcw && rng_chance(r, 80))
		status &= (uint16_t)~0x3f; /* seldom a pending exception */
	if (status & 0x3f & ~fx->fcw)
		status |= 0x8080; /* ES, B */
	fx->fsw = status;
	fx->ftw = rng_chance(r, 50) ? 0xff : (uint8_t)rng_next(r);
	for (unsigned n = 0; n < 8; n++)
		rng_extended(r, fx->st[n]);
	fx->mxcsr = rng_mxcsr(r);
	for (unsigned n = 0; n < 16; n++)
		rng_vector(r, fx->xmm[n], 16);
}
