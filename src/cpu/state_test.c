/* SPDX-License-Identifier: Apache-2.0 */
/* state_test.c - reset values, the field table, comparing and printing states. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "cpu/state.h"

static void power_up_starts_at_the_reset_vector(void **state)
{
	struct cpu_state s;

	memset(&s, 0xaa, sizeof(s));
	cpu_state_reset(&s, true, false);
	assert_int_equal(s.seg[SEG_CS].base + s.rip, 0xfffffff0);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.rflags, 2);
	assert_int_equal(s.efer | s.cr3 | s.cr4, 0);
	assert_int_equal(s.dr6, 0xffff0ff0);
	assert_int_equal(s.dr7, 0x400);
	assert_int_equal(s.pat, 0x0007040600070406);
	assert_int_equal(s.xcr0, 1);
	assert_int_equal(s.apic_base, 0xfee00900);
	assert_int_equal(s.activity, CPU_ACTIVE);
	assert_int_equal(s.fx.mxcsr, 0x1f80);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		assert_int_equal(s.seg[i].limit, 0xffff);
	assert_null(cpu_state_desc.pre_save);
	assert_int_equal(cpu_state_desc.post_load(&s, NULL), 0);
}

static void an_application_processor_waits_for_sipi(void **state)
{
	struct cpu_state s;

	cpu_state_reset(&s, false, false);
	assert_int_equal(s.activity, CPU_WAIT_SIPI);
	assert_int_equal(s.apic_base, 0xfee00800);
}

static void init_keeps_fpu_msrs_time_and_cache_bits(void **state)
{
	struct cpu_state s;

	cpu_state_reset(&s, false, false);
	s.cr0 = CR0_PE | CR0_ET | CR0_NE;
	s.cr4 = CR4_PAE;
	s.efer = EFER_LME;
	s.gpr[GPR_RAX] = 1;
	s.lstar = 0x1234;
	s.pat = 0x0606060606060606;
	s.mtrr_def_type = 0xc06;
	s.tsc_offset = 5;
	s.xcr0 = 7;
	s.fx.fcw = 0x37f;
	s.vec[3].b[17] = 9;
	s.exc_pending = 1;
	s.nmi_blocked = 1;
	cpu_state_reset(&s, false, true);
	assert_int_equal(s.cr0, CR0_ET);
	assert_int_equal(s.cr4 | s.efer | s.gpr[GPR_RAX], 0);
	assert_int_equal(s.lstar, 0x1234);
	assert_int_equal(s.pat, 0x0606060606060606);
	assert_int_equal(s.mtrr_def_type, 0xc06);
	assert_int_equal(s.tsc_offset, 5);
	assert_int_equal(s.xcr0, 7);
	assert_int_equal(s.fx.fcw, 0x37f);
	assert_int_equal(s.vec[3].b[17], 9);
	assert_int_equal(s.exc_pending | s.nmi_blocked, 0);
}

/* Bytes of the struct that @f covers. */
static void cover(const struct state_field *f, uint32_t base, uint8_t *seen)
{
	for (; f->kind != STATE_END; f++) {
		for (unsigned i = 0; i < f->count; i++) {
			uint32_t at = base + f->offset + i * f->size;

			if (f->kind == STATE_STRUCT)
				cover(f->sub, at, seen);
			else
				for (unsigned b = 0; b < f->size; b++) {
					assert_int_equal(seen[at + b], 0);
					seen[at + b] = 1;
				}
		}
	}
}

static void mark(uint8_t *seen, size_t at, size_t len)
{
	memset(seen + at, 1, len);
}

static void every_byte_but_padding_is_in_the_field_table_once(void **state)
{
	static uint8_t seen[sizeof(struct cpu_state)];
	struct cpu_state *s = NULL;

	memset(seen, 0, sizeof(seen));
	cover(cpu_state_desc.fields, 0, seen);
	mark(seen, offsetof(struct cpu_state, gdt.pad), sizeof(s->gdt.pad));
	mark(seen, offsetof(struct cpu_state, idt.pad), sizeof(s->idt.pad));
	mark(seen, offsetof(struct cpu_state, pad), sizeof(s->pad));
	mark(seen, offsetof(struct cpu_state, pad2), sizeof(s->pad2));
	mark(seen, offsetof(struct cpu_state, fx.pad), 1);
	mark(seen, offsetof(struct cpu_state, fx.xmm), sizeof(s->fx.xmm)); /* kept in vec */
	mark(seen, offsetof(struct cpu_state, fx.avail), sizeof(s->fx.avail));
	for (size_t i = 0; i < offsetof(struct cpu_state, vec) + sizeof(s->vec); i++) {
		/* alignment between members */
		if (i >= offsetof(struct cpu_state, pad2) + 4 && i < offsetof(struct cpu_state, fx))
			continue;
		if (i >= offsetof(struct cpu_state, fx) + sizeof(s->fx) &&
		    i < offsetof(struct cpu_state, vec))
			continue;
		if (!seen[i])
			fail_msg("byte %zu is in no field", i);
	}
}

static void differences_are_named_one_a_line(void **state)
{
	struct cpu_state a, b;
	char buf[1024];

	cpu_state_reset(&a, true, false);
	b = a;
	assert_int_equal(cpu_state_diff(&a, &b, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
	b.gpr[GPR_R9] = 0x10;
	b.seg[SEG_FS].limit = 1;
	b.dr[2] = 3;
	b.mtrr_fix[10] = 6;
	b.vec[15].b[31] = 0xff;
	b.activity = CPU_HALTED;
	assert_int_equal(cpu_state_diff(&a, &b, buf, sizeof(buf)), 6);
	assert_non_null(strstr(buf, "r9: 0 0x10\n"));
	assert_non_null(strstr(buf, "fs.limit: 0xffff 0x1\n"));
	assert_non_null(strstr(buf, "dr2: 0 0x3\n"));
	assert_non_null(strstr(buf, "mtrr_fix[10]: 0 0x6\n"));
	assert_non_null(strstr(buf, "activity: 0 0x1\n"));
	assert_non_null(strstr(buf, "vec[15].b: 00"));
}

static void text_that_does_not_fit_is_cut_off(void **state)
{
	struct cpu_state a, b;
	char buf[32];

	cpu_state_reset(&a, true, false);
	cpu_state_reset(&b, false, false);
	memset(b.vec, 1, sizeof(b.vec));
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(cpu_state_diff(&a, &b, buf, 8), 18);
	assert_int_equal(buf[7], 0);
	assert_int_equal(buf[8], 'x');
	assert_int_equal(cpu_state_diff(&a, &b, NULL, 0), 18);
	cpu_state_print(&a, buf, sizeof(buf));
	assert_int_equal(strlen(buf), sizeof(buf) - 1);
}

static void a_dump_names_what_matters(void **state)
{
	struct cpu_state s;
	char buf[4096];

	cpu_state_reset(&s, true, false);
	cpu_state_print(&s, buf, sizeof(buf));
	assert_non_null(strstr(buf, "rip 000000000000fff0"));
	assert_non_null(strstr(buf, "cs  f000 base 00000000ffff0000"));
	assert_non_null(strstr(buf, "running"));
}

static void impossible_states_are_refused(void **state)
{
	struct errbuf err = {0};
	struct cpu_state good, s;

	cpu_state_reset(&good, true, false);
#define REFUSED(edit)                                                 \
	do {                                                          \
		s = good;                                             \
		edit;                                                 \
		assert_true(cpu_state_desc.post_load(&s, &err) < 0);  \
		assert_non_null(strstr(err.msg, "no processor has")); \
		err.code = 0;                                         \
	} while (0)
	REFUSED(s.activity = 4);
	REFUSED(s.int_shadow = 2);
	REFUSED(s.rflags = 0);
	REFUSED(s.cr0 = CR0_PG);
	REFUSED(s.cr8 = 16);
	REFUSED(s.xcr0 = 2);
	REFUSED(s.dr7 = BIT(32));
	REFUSED(s.fx.mxcsr = 0x10000);
	REFUSED(s.lstar = BIT(60));
	REFUSED((s.exc_pending = 1, s.exc_vector = 32));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(power_up_starts_at_the_reset_vector),
		cmocka_unit_test(an_application_processor_waits_for_sipi),
		cmocka_unit_test(init_keeps_fpu_msrs_time_and_cache_bits),
		cmocka_unit_test(every_byte_but_padding_is_in_the_field_table_once),
		cmocka_unit_test(differences_are_named_one_a_line),
		cmocka_unit_test(text_that_does_not_fit_is_cut_off),
		cmocka_unit_test(a_dump_names_what_matters),
		cmocka_unit_test(impossible_states_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
