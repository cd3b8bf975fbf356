/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind_test.c - every instruction the decoder knows has exactly one semantics.
 *
 * All opcodes of all maps, with every ModRM byte and mandatory prefix, legacy and VEX,
 * in the three modes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "cpu/x86/vcpu.h"

enum { PREFIXES = 4, MAPS = 4 };

struct census {
	unsigned seen[OP_COUNT];
	unsigned bad;
};

static void count_binds(struct census *s, const struct insn *i, const uint8_t *code, unsigned len)
{
	unsigned n = !!bind_int(i) + !!bind_string(i) + !!bind_sys(i) + !!bind_fpu(i);

	s->seen[i->op]++;
	if (n == 1 || s->bad > 20)
		return;
	s->bad++;
	print_message("%s has %u semantics:", x86_op_name(i->op), n);
	for (unsigned k = 0; k < len; k++)
		print_message(" %02x", code[k]);
	print_message("\n");
}

static void try_code(struct census *s, enum x86_mode mode, const uint8_t *head, unsigned n)
{
	uint8_t code[15] = {0};
	struct insn i;
	int len;

	memcpy(code, head, n);
	len = x86_decode(code, sizeof(code), mode, &i);
	if (len > 0)
		count_binds(s, &i, code, (unsigned)len);
}

/* Opcode @op of @map with @modrm behind it, and each of the mandatory prefixes before it. */
static void try_legacy(struct census *s, enum x86_mode mode, unsigned map, uint8_t op,
		       uint8_t modrm)
{
	static const uint8_t prefix[PREFIXES] = {0, 0x66, 0xf3, 0xf2};

	for (unsigned p = 0; p < PREFIXES; p++) {
		uint8_t code[8];
		unsigned n = 0;

		if (p)
			code[n++] = prefix[p];
		for (unsigned rex = 0; rex < 2; rex++) {
			unsigned k = n;

			if (rex && mode != MODE_64)
				break;
			if (rex)
				code[k++] = 0x48;
			if (map)
				code[k++] = 0x0f;
			if (map > 1)
				code[k++] = map == 2 ? 0x38 : 0x3a;
			code[k++] = op;
			code[k++] = modrm;
			try_code(s, mode, code, k);
		}
	}
}

static void try_vex(struct census *s, enum x86_mode mode, unsigned map, uint8_t op, uint8_t modrm)
{
	for (unsigned n = 0; n < 32; n++) {
		unsigned vvvv = n & 16 ? 0x50 : 0x78; /* gathers want three different registers */
		uint8_t code[] = {
			0xc4,  (uint8_t)(0xe0 | map), (uint8_t)((n & 8) << 4 | vvvv | (n & 7)), op,
			modrm,
		};

		try_code(s, mode, code, sizeof(code));
	}
}

static void each_instruction_is_bound_once_and_each_operation_exists(void **state)
{
	static struct census s;
	unsigned missing = 0;

	for (unsigned mode = MODE_16; mode <= MODE_64; mode++) {
		for (unsigned n = 0; n < MAPS * 0x10000; n++) {
			unsigned map = n >> 16, op = n >> 8 & 0xff, modrm = n & 0xff;

			try_legacy(&s, mode, map, (uint8_t)op, (uint8_t)modrm);
			if (map)
				try_vex(&s, mode, map, (uint8_t)op, (uint8_t)modrm);
		}
	}
	for (unsigned op = OP_INVALID + 1; op < OP_COUNT; op++) {
		if (s.seen[op])
			continue;
		print_message("%s was never decoded\n", x86_op_name(op));
		missing++;
	}
	assert_int_equal(s.bad, 0);
	assert_int_equal(missing, 0);
}

/* The forms with LOCK are others than those without. */
static void locked_instructions_are_bound_once(void **state)
{
	static struct census s;

	for (unsigned n = 0; n < 2 * 0x10000; n++) {
		uint8_t code[4] = {0xf0, 0x0f, (uint8_t)(n >> 8), (uint8_t)n};

		if (n >> 16)
			try_code(&s, MODE_64, code, 4);
		code[1] = code[2];
		code[2] = code[3];
		if (!(n >> 16) && code[1] != 0x0f)
			try_code(&s, MODE_64, code, 3);
	}
	assert_int_equal(s.bad, 0);
	assert_true(s.seen[OP_XADD] && s.seen[OP_BTS] && s.seen[OP_ADD] && s.seen[OP_NOT]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_instruction_is_bound_once_and_each_operation_exists),
		cmocka_unit_test(locked_instructions_are_bound_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
