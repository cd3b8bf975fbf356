/* SPDX-License-Identifier: Apache-2.0 */
/* bitmap.h - arrays of bits, with the atomic forms that logs and pending sets need. */
#pragma once

#include "base/cleanup.h"

#define BITMAP_WORDS(nbits) (((nbits) + 63) / 64)

static inline bool bitmap_test(const uint64_t *map, size_t bit)
{
	return map[bit / 64] >> (bit % 64) & 1;
}

static inline void bitmap_set(uint64_t *map, size_t bit)
{
	map[bit / 64] |= BIT(bit % 64);
}

static inline void bitmap_clear(uint64_t *map, size_t bit)
{
	map[bit / 64] &= ~BIT(bit % 64);
}

/* Set @bit; returns whether it was set before.  Full barrier only when it changes. */
static inline bool bitmap_test_and_set_atomic(uint64_t *map, size_t bit)
{
	uint64_t mask = BIT(bit % 64);

	if (__atomic_load_n(&map[bit / 64], __ATOMIC_RELAXED) & mask)
		return true;
	return __atomic_fetch_or(&map[bit / 64], mask, __ATOMIC_SEQ_CST) & mask;
}

static inline bool bitmap_test_and_clear_atomic(uint64_t *map, size_t bit)
{
	uint64_t mask = BIT(bit % 64);

	return __atomic_fetch_and(&map[bit / 64], ~mask, __ATOMIC_SEQ_CST) & mask;
}

/* Index of the highest set bit of @nwords words, or -1. */
static inline int bitmap_highest(const uint64_t *map, size_t nwords)
{
	for (size_t i = nwords; i-- > 0;)
		if (map[i])
			return (int)(i * 64 + 63 - (size_t)__builtin_clzll(map[i]));
	return -1;
}
