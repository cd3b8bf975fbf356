/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_test.c - encodings of every form in all three modes, checked one by one.
 *
 * An instruction is described in one line: operation, form, o opsize, s srcsize,
 * registers, the memory operand as [segment: base + index << scale + disp] with a
 * adsize and its bytes, immediate, then flags.  The expected lines are from the manuals.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "cpu/state.h"
#include "cpu/x86/insn.h"

struct test_case {
	int mode;
	const char *bytes, *want;
};

static size_t from_hex(const char *s, uint8_t *out)
{
	size_t n = 0;

	for (; *s; s++) {
		if (*s == ' ')
			continue;
		out[n++] = (uint8_t)strtoul((char[]){s[0], s[1], 0}, NULL, 16);
		s++;
	}
	return n;
}

static enum x86_mode mode_of(int bits)
{
	return bits == 16 ? MODE_16 : bits == 32 ? MODE_32 : MODE_64;
}

static char *put(char *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static char *put(char *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	p += vsprintf(p, fmt, ap);
	va_end(ap);
	return p;
}

static char *put_mem(char *p, const struct insn *i)
{
	static const char *const segs[] = {"es", "cs", "ss", "ds", "fs", "gs"};

	p = put(p, " [%s:", segs[i->seg]);
	if (i->flags & INSN_RIPREL)
		p = put(p, "rip");
	if (i->base != INSN_NOREG)
		p = put(p, "r%u", i->base);
	if (i->index != INSN_NOREG)
		p = put(p, "+%c%u<<%u", i->flags & INSN_VSIB ? 'v' : 'r', i->index, i->scale);
	return put(p, "%+ld]a%u/%u", (long)i->disp, i->adsize, i->msize);
}

static char *put_flags(char *p, uint32_t f)
{
	static const struct {
		uint32_t f;
		const char *s;
	} names[] = {
		{INSN_LOCK, "lock"}, {INSN_REP, "rep"},	    {INSN_REPNE, "repne"},
		{INSN_VEX, "vex"},   {INSN_VEX_L, "l"},	    {INSN_REX_W, "w"},
		{INSN_BRANCH, "br"}, {INSN_ENDS, "ends"},   {INSN_MEM_R, "mr"},
		{INSN_MEM_W, "mw"},  {INSN_ALIGN, "align"}, {INSN_REG_W, "regw"},
		{INSN_RM_W, "rmw"},  {INSN_VVVV_W, "vw"},   {INSN_WR_FLAGS, "fl"},
		{INSN_IO, "io"},     {INSN_VSIB, "vsib"},
	};

	for (size_t n = 0; n < ARRAY_SIZE(names); n++)
		if (f & names[n].f)
			p = put(p, " %s", names[n].s);
	return p;
}

/* General register operand with its size's high-byte mark. */
static char *put_reg(char *p, const char *what, unsigned n, bool hi)
{
	return put(p, " %s%u%s", what, n, hi ? "h" : "");
}

static char *put_vec(char *p, const struct insn *i)
{
	static const char kinds[] = "-xymg";

	p = put(p, " %c%u", kinds[i->vk_reg], i->vk_reg ? i->reg : 0);
	p = put(p, " %c%u", kinds[i->vk_vvvv], i->vk_vvvv ? i->vvvv : 0);
	if (i->flags & INSN_MEM)
		p = put_mem(p, i);
	else
		p = put(p, " %c%u", kinds[i->vk_rm], i->rm);
	if (i->is4 != INSN_NOREG)
		p = put(p, " is4:%u", i->is4);
	return put(p, " %u.%02x.%u", i->map, i->opcode, i->pp);
}

static void describe(const struct insn *i, char *p)
{
	static const char *const forms[] = {
		"-",	"rm", "rm_r", "r_rm", "rm_i", "r_rm_i", "rm_r_i", "r_v_rm", "r_rm_v",
		"v_rm", "i",  "rel",  "far",  "str",  "io_i",	"vec",	  "x87",
	};
	bool reg = false, rm = false, v = false;

	p = put(p, "%s %s o%u", x86_op_name(i->op), forms[i->form], i->opsize);
	if (i->srcsize)
		p = put(p, " s%u", i->srcsize);
	switch (i->form) {
	case FORM_R_V_RM:
	case FORM_R_RM_V: v = true; __attribute__((fallthrough));
	case FORM_RM_R:
	case FORM_R_RM:
	case FORM_R_RM_I:
	case FORM_RM_R_I: reg = true; __attribute__((fallthrough));
	case FORM_RM:
	case FORM_RM_I: rm = true; break;
	case FORM_V_RM: v = rm = true; break;
	case FORM_NONE: reg = i->op == OP_PUSH_S || i->op == OP_POP_S; break;
	case FORM_STR: p = put(p, " seg%u a%u", i->seg, i->adsize); break;
	case FORM_VEC: p = put_vec(p, i); break;
	case FORM_X87: p = put(p, " %02x.%02x", i->opcode, i->modrm); break;
	default: break;
	}
	if (reg)
		p = put_reg(p, "r", i->reg, i->flags & INSN_REG_HI);
	if (v)
		p = put_reg(p, "v", i->vvvv, false);
	if (i->flags & INSN_MEM && i->form != FORM_VEC)
		p = put_mem(p, i);
	else if (rm)
		p = put_reg(p, "m", i->rm, i->flags & INSN_RM_HI);
	if (i->op == OP_JCC || i->op == OP_SETCC || i->op == OP_CMOVCC)
		p = put(p, " cc%u", i->cc);
	if (i->imm || i->form == FORM_I || i->form == FORM_REL)
		p = put(p, " #%ld", (long)i->imm);
	if (i->form == FORM_FAR)
		p = put(p, ":%ld", (long)i->disp);
	put_flags(p, i->flags);
}

static void check(const struct test_case *t, size_t n)
{
	for (; n--; t++) {
		uint8_t code[16];
		char got[256];
		struct insn i;
		size_t len = from_hex(t->bytes, code);
		int ret = x86_decode(code, len, mode_of(t->mode), &i);

		if (ret == X86_UD)
			strcpy(got, "#UD");
		else if (ret == X86_TOO_LONG)
			strcpy(got, "too long");
		else if (ret == X86_TRUNCATED)
			strcpy(got, "truncated");
		else
			describe(&i, got);
		if (strcmp(got, t->want) || (ret > 0 && (size_t)ret != len))
			fail_msg("%d %s:\n got  %s (%d)\n want %s", t->mode, t->bytes, got, ret,
				 t->want);
	}
}

#define CHECK(cases) check(cases, ARRAY_SIZE(cases))

#include "cpu/x86/decode_cases.h"
#include "cpu/x86/decode_vec_cases.h"

static void truncated_code_is_reported_for_every_length(void **state)
{
	static const char *const full[] = {
		"48 81 84 88 78 56 34 12 01 02 03 04",
		"c4 e3 7d 4a 44 88 01 30",
		"48 a1 01 02 03 04 05 06 07 08",
		"66 0f 3a 0f 05 01 02 03 04 05",
		"0f c7 48 08",
		"c8 01 02 03",
		"dd 90 01 02 03 04",
	};

	for (size_t k = 0; k < ARRAY_SIZE(full); k++) {
		uint8_t code[16];
		size_t len = from_hex(full[k], code);
		struct insn i;

		assert_int_equal(x86_decode(code, len, MODE_64, &i), len);
		for (size_t n = 0; n < len; n++)
			assert_int_equal(x86_decode(code, n, MODE_64, &i), X86_TRUNCATED);
	}
}

static void sixteen_bytes_are_too_long_and_fifteen_are_not(void **state)
{
	uint8_t code[16];
	struct insn i;

	memset(code, 0x66, sizeof(code));
	assert_int_equal(x86_decode(code, 14, MODE_32, &i), X86_TRUNCATED);
	assert_int_equal(x86_decode(code, 15, MODE_32, &i), X86_TOO_LONG);
	assert_int_equal(x86_decode(code, 16, MODE_32, &i), X86_TOO_LONG);
	code[14] = 0x90;
	assert_int_equal(x86_decode(code, 15, MODE_32, &i), 15);
	code[14] = 0x04; /* ADD AL, imm8: the immediate is byte 16 */
	assert_int_equal(x86_decode(code, 16, MODE_32, &i), X86_TOO_LONG);
}

static void every_operation_has_a_name(void **state)
{
	for (unsigned op = 1; op < OP_COUNT; op++)
		assert_string_not_equal(x86_op_name(op), "(bad)");
	assert_string_equal(x86_op_name(OP_COUNT), "(bad)");
	assert_string_equal(x86_op_name(OP_CMPXCHG16B), "cmpxchg16b");
}

static void older_processors_run_lzcnt_and_tzcnt_as_bsr_and_bsf(void **state)
{
	static const uint8_t lzcnt[] = {0xf3, 0x0f, 0xbd, 0xc1}, tzcnt[] = {0xf3, 0x0f, 0xbc, 0xc1},
			     popcnt[] = {0xf3, 0x0f, 0xb8, 0xc1};
	struct insn i;

	assert_int_equal(x86_decode(lzcnt, 4, MODE_64, &i), 4);
	assert_int_equal(i.feature, FEAT_LZCNT);
	assert_true(x86_without_feature(&i));
	assert_int_equal(i.op, OP_BSR);
	assert_int_equal(x86_decode(tzcnt, 4, MODE_64, &i), 4);
	assert_int_equal(i.feature, FEAT_BMI1);
	assert_true(x86_without_feature(&i));
	assert_int_equal(i.op, OP_BSF);
	assert_int_equal(x86_decode(popcnt, 4, MODE_64, &i), 4);
	assert_int_equal(i.feature, FEAT_POPCNT);
	assert_false(x86_without_feature(&i));
}

static void rows_name_the_feature_they_need(void **state)
{
	static const struct {
		const char *bytes;
		uint8_t feature;
	} t[] = {
		{"0f 58 c1", FEAT_BASE},
		{"66 0f 38 00 c1", FEAT_SSSE3},
		{"66 0f 3a 0c c1 00", FEAT_SSE41},
		{"66 0f 38 37 c1", FEAT_SSE42},
		{"c5 f9 fe c1", FEAT_AVX},
		{"c5 fd fe c1", FEAT_AVX2},
		{"c5 fd 58 c1", FEAT_AVX},
		{"c4 e2 79 dc c1", FEAT_AES},
		{"c4 e2 7d dc c1", FEAT_VAES},
		{"c4 e3 7d 44 c1 00", FEAT_VPCLMUL},
		{"c4 e2 7d 18 00", FEAT_AVX},
		{"c4 e2 7d 18 c0", FEAT_AVX2},
		{"c4 e2 f1 99 c1", FEAT_FMA},
		{"db 08", FEAT_SSE3},
		{"9f", FEAT_LAHF64},
		{"0f 34", FEAT_SYSENTER64},
		{"48 0f c7 08", FEAT_CX16},
		{"0f c7 08", FEAT_BASE},
		{"f3 0f ae c0", FEAT_FSGSBASE},
		{"66 0f ae 38", FEAT_CLFLUSHOPT},
		{"c5 ff 10 c1", FEAT_AVX},
	};

	for (size_t n = 0; n < ARRAY_SIZE(t); n++) {
		uint8_t code[16];
		struct insn i;

		assert_true(x86_decode(code, from_hex(t[n].bytes, code), MODE_64, &i) > 0);
		if (i.feature != t[n].feature)
			fail_msg("%s: feature %u, not %u", t[n].bytes, i.feature, t[n].feature);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arithmetic_has_all_its_encodings),
		cmocka_unit_test(opcode_aliases_decode_like_the_documented_ones),
		cmocka_unit_test(moves_and_stack_fold_sizes_in),
		cmocka_unit_test(addresses_follow_address_size_and_segment_rules),
		cmocka_unit_test(branches_take_operand_size_from_mode_and_prefix),
		cmocka_unit_test(strings_and_ports_know_their_repeat_prefixes),
		cmocka_unit_test(system_instructions_decode),
		cmocka_unit_test(bits_and_bmi_decode),
		cmocka_unit_test(lock_is_legal_only_where_memory_is_modified),
		cmocka_unit_test(x87_has_sizes_and_directions),
		cmocka_unit_test(sse_is_selected_by_mandatory_prefix),
		cmocka_unit_test(vex_fields_are_checked),
		cmocka_unit_test(what_is_not_an_instruction_is_refused),
		cmocka_unit_test(truncated_code_is_reported_for_every_length),
		cmocka_unit_test(sixteen_bytes_are_too_long_and_fifteen_are_not),
		cmocka_unit_test(every_operation_has_a_name),
		cmocka_unit_test(older_processors_run_lzcnt_and_tzcnt_as_bsr_and_bsf),
		cmocka_unit_test(rows_name_the_feature_they_need),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
