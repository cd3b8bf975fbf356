/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crc32c.c - by the SSE4.2 instruction where the host has it, bit by bit elsewhere.
 */
#include "migrate/crc32c.h"

#include <string.h>

#include "base/cleanup.h"

enum { POLY_REFLECTED = 0x82f63b78 };

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *p,
								 size_t len)
{
	uint64_t c = crc;

	for (; len >= 8; len -= 8, p += 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		c = __builtin_ia32_crc32di(c, v);
	}
	while (len--)
		c = __builtin_ia32_crc32qi((uint32_t)c, *p++);
	return (uint32_t)c;
}

static uint32_t by_bits(uint32_t crc, const uint8_t *p, size_t len)
{
	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? (uint32_t)POLY_REFLECTED : 0);
	}
	return crc;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	crc = ~crc;
	crc = __builtin_cpu_supports("sse4.2") ? by_instruction(crc, data, len)
					       : by_bits(crc, data, len);
	return ~crc;
}
