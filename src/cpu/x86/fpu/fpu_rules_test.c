/* SPDX-License-Identifier: Apache-2.0 */
/* fpu_rules_test.c - the bounds of the stubs, and when the guest gets which exception. */
#include "cpu/x86/fpu/fpu_fixture.h"

/* --- every stub there is ---------------------------------------------------------- */

struct form { /* coordinates in the vector opcode maps */
	unsigned vex, map, pp, opcode, w, l, modrm;
};

static int decode_form(const struct form *m, unsigned imm, struct insn *i)
{
	static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2};
	uint8_t code[INSN_MAX_LEN] = {0}, *p = code;

	if (m->map == 1 && (m->opcode == 0x38 || m->opcode == 0x3a))
		return X86_UD; /* these lead to the other maps */
	if (m->vex) {
		*p++ = 0xc4;
		*p++ = (uint8_t)(0xe0 | m->map);
		*p++ = (uint8_t)(m->w << 7 | 0x78 | m->l << 2 | m->pp);
	} else {
		if (m->pp)
			*p++ = prefix[m->pp];
		if (m->w)
			*p++ = 0x48;
		*p++ = 0x0f;
		if (m->map > 1)
			*p++ = m->map == 2 ? 0x38 : 0x3a;
	}
	*p++ = (uint8_t)m->opcode;
	*p++ = (uint8_t)m->modrm;
	*p++ = (uint8_t)imm;
	return x86_decode(code, sizeof(code), MODE_64, i);
}

static bool next_form(struct form *m)
{
	if ((m->modrm += 8) & 0x38)
		return true;
	m->modrm = m->modrm == 0x43 ? 0xc3 : 0x03; /* [rbx], then register 3 */
	if (m->modrm == 0xc3)
		return true;
	if ((m->l ^= 1))
		return true;
	if ((m->w ^= 1))
		return true;
	if ((m->opcode = (m->opcode + 1) & 0xff))
		return true;
	if ((m->pp = (m->pp + 1) & 3))
		return true;
	if ((m->map = m->map % 3 + 1) != 1)
		return true;
	return (m->vex ^= 1);
}

static bool is_stub(const struct insn *i)
{
	return i->op == OP_VEC && !(i->map == 1 && (i->opcode & 0xfe) == 0x78);
}

/* VEX forms without the second source need vvvv = 1111, those with it take any. */
static void the_arena_holds_every_stub(void **state)
{
	uint8_t *seen = calloc(1, 1 << 24); /* bits 0..26 of the key */
	struct form m = {.map = 1, .modrm = 0x03};
	uint8_t code[STUB_MAX_BYTES];
	unsigned count = 64 + 512; /* x87 */
	struct insn i;

	assert_non_null(seen);
	do {
		for (unsigned imm = 0; imm < 256; imm++) {
			uint32_t key;

			if (decode_form(&m, imm, &i) < 0 || !is_stub(&i))
				break;
			key = stub_key(&i) & 0x7ffffff;
			if (seen[key >> 3] >> (key & 7) & 1)
				continue;
			seen[key >> 3] |= (uint8_t)(1 << (key & 7));
			assert_true(stub_emit(&i, code) <= STUB_MAX_BYTES);
			count++;
		}
	} while (next_form(&m));
	print_message("%u stubs\n", count);
	assert_true(count > 10000);
	assert_true(count <= STUB_SLOTS);
	free(seen);
}

/* Operands end (or begin) at a page the host does not have. */
static void stubs_touch_no_byte_beyond_their_operand(void **state)
{
	struct fpu_fix *f = fpu_fix_new();
	struct form m = {.map = 1, .modrm = 0x03};
	unsigned runs = 0;
	struct insn i;

	do {
		if (decode_form(&m, 0x11, &i) < 0 || i.op != OP_VEC)
			continue;
		fpu_fix_reset(f);
		f->c->s.gpr[GPR_RBX] = (uintptr_t)f->data;
		assert_int_equal(fpu_run(f, &i, 0x1000), NO_FAULT);
		runs++;
		if (!(i.flags & INSN_MEM))
			continue;
		fpu_fix_reset(f);
		f->c->s.gpr[GPR_RBX] = (uintptr_t)f->data + DATA_BYTES - i.msize;
		assert_int_equal(fpu_run(f, &i, 0x1000), NO_FAULT);
		f->c->s.gpr[GPR_RBX]++;
		assert_int_equal(fpu_run(f, &i, 0x1000),
				 i.flags & INSN_ALIGN && i.msize > 1 ? EXC_GP : EXC_PF);
	} while (next_form(&m));
	print_message("%u forms\n", runs);
	fpu_fix_free(f);
}

struct finder {
	struct fpu_stubs *stubs;
	stub_fn *found[4096];
	unsigned n;
};

static void *find_many(void *arg)
{
	struct form m = {.map = 1, .modrm = 0x03};
	struct finder *d = arg;
	struct insn i;

	do {
		if (decode_form(&m, 0, &i) > 0 && is_stub(&i))
			d->found[d->n++] = stub_find(d->stubs, &i);
	} while (next_form(&m) && d->n < ARRAY_SIZE(d->found));
	return NULL;
}

static void threads_that_add_at_once_get_the_same_stubs(void **state)
{
	struct finder *d = calloc(4, sizeof(*d));
	struct fpu_stubs *s;
	pthread_t t[4];

	assert_non_null(d);
	assert_int_equal(fpu_stubs_new(&s, NULL), 0);
	for (unsigned k = 0; k < 4; k++) {
		d[k].stubs = s;
		assert_int_equal(pthread_create(&t[k], NULL, find_many, &d[k]), 0);
	}
	for (unsigned k = 0; k < 4; k++)
		pthread_join(t[k], NULL);
	for (unsigned k = 1; k < 4; k++)
		assert_memory_equal(d[k].found, d[0].found, sizeof(d->found));
	fpu_stubs_free(s);
	free(d);
}

/* --- who may use the unit --------------------------------------------------------------- */

static struct insn insn_of(const char *code, unsigned len)
{
	uint8_t buf[INSN_MAX_LEN] = {0};
	struct insn i;

	memcpy(buf, code, len);
	assert_true(x86_decode(buf, sizeof(buf), MODE_64, &i) > 0);
	return i;
}
#define INSN(lit) insn_of(lit, sizeof(lit) - 1)

static int run(struct fpu_fix *f, struct insn i)
{
	return fpu_run(f, &i, 0x1000);
}

static void legacy_sse_needs_osfxsr_and_neither_em_nor_ts(void **state)
{
	struct fpu_fix *f = fpu_fix_new();
	struct insn i[] = {INSN("\x0f\x58\xc1"), INSN("\x0f\x28\xc1"), INSN("\x0f\x50\xc1")};

	for (unsigned n = 0; n < ARRAY_SIZE(i); n++) {
		fpu_fix_reset(f);
		f->c->s.cr0 |= CR0_TS;
		assert_int_equal(run(f, i[n]), EXC_NM);
		f->c->s.cr0 |= CR0_EM;
		assert_int_equal(run(f, i[n]), EXC_UD);
		f->c->s.cr0 &= ~(uint64_t)(CR0_EM | CR0_TS);
		assert_int_equal(run(f, i[n]), NO_FAULT);
		f->c->s.cr4 &= ~(uint64_t)CR4_OSFXSR;
		assert_int_equal(run(f, i[n]), EXC_UD);
	}
	fpu_fix_free(f);
}

static void avx_needs_osxsave_and_its_bits_in_xcr0(void **state)
{
	struct fpu_fix *f = fpu_fix_new();
	struct insn i[] = {INSN("\xc5\xf4\x58\xc1"), INSN("\xc5\xfc\x28\xc1"), INSN("\xc5\xf8\x77"),
			   INSN("\xc4\xe2\x71\x2c\x03"), INSN("\xc5\xf8\x50\xc1")};

	for (unsigned n = 0; n < ARRAY_SIZE(i); n++) {
		fpu_fix_reset(f);
		f->c->s.gpr[GPR_RBX] = (uintptr_t)f->data;
		f->c->s.cr0 |= CR0_EM;
		assert_int_equal(run(f, i[n]), NO_FAULT);
		f->c->s.cr0 |= CR0_TS;
		assert_int_equal(run(f, i[n]), EXC_NM);
		f->c->s.xcr0 = XCR0_X87 | XCR0_SSE;
		assert_int_equal(run(f, i[n]), EXC_UD);
		f->c->s.xcr0 |= XCR0_AVX;
		f->c->s.cr4 &= ~(uint64_t)CR4_OSXSAVE;
		assert_int_equal(run(f, i[n]), EXC_UD);
	}
	fpu_fix_free(f);
}

static void x87_and_mmx_obey_em_ts_and_mp(void **state)
{
	struct fpu_fix *f = fpu_fix_new();
	struct insn fld1 = INSN("\xd9\xe8"), paddb = INSN("\x0f\xfc\xc1"), wait = INSN("\x9b");
	struct insn fnstsw = INSN("\xdf\xe0"), emms = INSN("\x0f\x77");

	f->c->s.cr0 |= CR0_TS;
	assert_int_equal(run(f, fld1), EXC_NM);
	assert_int_equal(run(f, fnstsw), EXC_NM);
	assert_int_equal(run(f, paddb), EXC_NM);
	assert_int_equal(run(f, emms), EXC_NM);
	assert_int_equal(run(f, wait), EXC_NM);
	f->c->s.cr0 &= ~(uint64_t)CR0_MP;
	assert_int_equal(run(f, wait), NO_FAULT);
	f->c->s.cr0 |= CR0_EM;
	assert_int_equal(run(f, fld1), EXC_NM);
	assert_int_equal(run(f, paddb), EXC_UD);
	f->c->s.cr0 &= ~(uint64_t)CR0_TS;
	assert_int_equal(run(f, fld1), EXC_NM);
	assert_int_equal(run(f, emms), EXC_UD);
	fpu_fix_free(f);
}

/* --- #MF and #XM ---------------------------------------------------------------------------- */

/* 1 / 0 with the exception unmasked: pending until the next instruction that waits. */
static void an_unmasked_x87_exception_is_raised_by_the_next_waiting_instruction(void **state)
{
	struct fpu_fix *f = fpu_fix_new();
	struct vcpu *c = f->c;

	c->s.fx.fcw = FCW_INIT & ~4;
	assert_int_equal(run(f, INSN("\xd9\xe8")), NO_FAULT); /* fld1 */
	assert_int_equal(run(f, INSN("\xd9\xee")), NO_FAULT); /* fldz */
	assert_int_equal(run(f, INSN("\xd8\xf9")), NO_FAULT); /* fdivr st, st(1) */
	assert_true(c->s.fx.fsw & FSW_ES);
	assert_int_equal(c->s.fx.fop, 0xf9);
	assert_int_equal(c->s.fx.fip, 0x1000);
	assert_int_equal(run(f, INSN("\xdf\xe0")), NO_FAULT); /* fnstsw ax */
	assert_int_equal(run(f, INSN("\xd9\xe8")), EXC_MF);
	assert_int_equal(run(f, INSN("\x9b")), EXC_MF);
	assert_int_equal(run(f, INSN("\x0f\x77")), EXC_MF);
	assert_int_equal(run(f, INSN("\x0f\xfc\xc1")), EXC_MF);
	assert_int_equal(run(f, INSN("\x0f\x58\xc1")), NO_FAULT); /* addps */
	c->s.cr0 &= ~(uint64_t)CR0_NE;				  /* as with IGNNE# */
	assert_int_equal(run(f, INSN("\xd9\xe8")), NO_FAULT);
	assert_true(c->s.fx.fsw & FSW_ES);
	assert_int_equal(run(f, INSN("\xdb\xe2")), NO_FAULT); /* fnclex */
	assert_false(c->s.fx.fsw & FSW_ES);
	fpu_fix_free(f);
}

static void an_unmasked_simd_exception_is_xm_or_ud_and_leaves_the_destination(void **state)
{
	struct fpu_fix *f = fpu_fix_new();
	struct insn divps = INSN("\x0f\x5e\xc1"), vdivps = INSN("\xc5\xfc\x5e\xc1");
	struct vcpu *c = f->c;
	float one = 1.0f;

	memcpy(c->s.vec[0].b, &one, sizeof(one));
	c->s.fx.mxcsr = MXCSR_HOST & ~0x200u; /* ZM */
	assert_int_equal(run(f, divps), EXC_XM);
	assert_memory_equal(c->s.vec[0].b, &one, sizeof(one));
	/* 0/0 in the other lanes is masked; its flag is set all the same */
	assert_int_equal(c->s.fx.mxcsr, (MXCSR_HOST & ~0x200u) | 5);
	assert_int_equal(run(f, vdivps), EXC_XM);
	assert_memory_equal(c->s.vec[0].b, &one, sizeof(one));
	c->s.cr4 &= ~(uint64_t)CR4_OSXMMEXCPT;
	assert_int_equal(run(f, divps), EXC_UD);
	c->s.fx.mxcsr = MXCSR_HOST;
	assert_int_equal(run(f, divps), NO_FAULT);
	assert_int_equal(c->s.fx.mxcsr, MXCSR_HOST | 5);
	fpu_fix_free(f);
}

/* --- environments ------------------------------------------------------------------ */

static void the_environment_has_four_layouts(void **state)
{
	static const uint32_t want32[2][4] = {
		/* IP, CS and opcode, DP, DS */
		{0xabcd1234, 0x04c10000, 0x56789abc, 0xffff0000}, /* protected */
		{0xffff1234, 0x0abcd4c1, 0xffff9abc, 0x05678000}, /* real */
	};
	static const uint16_t want16[2][4] = {
		{0x1234, 0, 0x9abc, 0},
		{0x1234, 0xd4c1, 0x9abc, 0x8000},
	};
	struct fpu_fix *f = fpu_fix_new();
	struct vcpu *c = f->c;

	for (unsigned real = 0; real < 2; real++) {
		fpu_fix_reset(f);
		c->s.gpr[GPR_RBX] = (uintptr_t)f->data;
		c->s.cr0 ^= real;
		c->s.fx.fip = 0xabcd1234;
		c->s.fx.fdp = 0x56789abc;
		c->s.fx.fop = 0x4c1;
		c->s.fx.ftw = 0x81;
		memset(c->s.fx.st[7], 0x80, 10);
		assert_int_equal(run(f, INSN("\xd9\x33")), NO_FAULT); /* fnstenv [rbx] */
		assert_memory_equal(f->data + 12, want32[real], 16);
		assert_int_equal(*(uint32_t *)(f->data + 8), 0xffff3ffd); /* R7 valid, R0 zero */
		assert_int_equal(c->s.fx.fcw & 0x3f, 0x3f);
		assert_int_equal(run(f, INSN("\x66\xd9\x33")), NO_FAULT);
		assert_memory_equal(f->data + 6, want16[real], 8);
		assert_int_equal(run(f, INSN("\xd9\x33")), NO_FAULT);
		x87_init(&c->s.fx);
		assert_int_equal(run(f, INSN("\xd9\x23")), NO_FAULT); /* fldenv [rbx] */
		assert_int_equal(c->s.fx.fip, 0xabcd1234);
		assert_int_equal(c->s.fx.fdp, 0x56789abc);
		assert_int_equal(c->s.fx.fop, 0x4c1);
		assert_int_equal(c->s.fx.ftw, 0x81);
	}
	fpu_fix_free(f);
}

/* --- faults part-way -------------------------------------------------------------------------- */

static void a_gather_that_faults_keeps_the_elements_before(void **state)
{
	struct fpu_fix *f = fpu_fix_new();
	struct insn gather =
		INSN("\xc4\xe2\x6d\x90\x0c\x23"); /* vpgatherdd ymm1, [rbx+ymm4], ymm2 */
	struct vcpu *c = f->c;
	uint32_t *dst = (uint32_t *)c->s.vec[1].b, *mask = (uint32_t *)c->s.vec[2].b;
	uint32_t *index = (uint32_t *)c->s.vec[4].b;

	c->s.gpr[GPR_RBX] = (uintptr_t)f->data;
	for (unsigned n = 0; n < 8; n++) {
		dst[n] = 0xdead0000 + n;
		mask[n] = n == 1 ? 0 : 0x80000000;
		index[n] = n * 4;
		memcpy(f->data + n * 4, &(uint32_t){100 + n}, 4);
	}
	index[5] = DATA_BYTES;
	assert_int_equal(run(f, gather), EXC_PF);
	assert_int_equal(c->s.cr2, (uintptr_t)f->data + DATA_BYTES);
	for (unsigned n = 0; n < 8; n++) {
		assert_int_equal(dst[n], n == 1 || n >= 5 ? 0xdead0000 + n : 100 + n);
		assert_int_equal(mask[n], n >= 5 ? 0x80000000 : 0);
	}
	index[5] = 20;
	assert_int_equal(run(f, gather), NO_FAULT);
	assert_int_equal(dst[1], 0xdead0001);
	assert_int_equal(dst[7], 107);
	assert_int_equal(mask[7], 0);
	fpu_fix_free(f);
}

static void masked_stores_fault_for_selected_elements_only_and_then_write_nothing(void **state)
{
	struct fpu_fix *f = fpu_fix_new();
	struct insn store = INSN("\xc4\xe2\x6d\x8e\x0b"); /* vpmaskmovd [rbx], ymm2, ymm1 */
	struct insn load = INSN("\xc4\xe2\x6d\x8c\x0b");
	struct vcpu *c = f->c;
	uint32_t *mask = (uint32_t *)c->s.vec[2].b;

	c->s.gpr[GPR_RBX] = (uintptr_t)f->data + DATA_BYTES - 16;
	memset(c->s.vec[1].b, 0x5a, 32);
	mask[0] = mask[3] = mask[4] = 0x80000000;
	assert_int_equal(run(f, store), EXC_PF);
	assert_int_equal(f->data[DATA_BYTES - 16], 0);
	mask[4] = 0;
	assert_int_equal(run(f, store), NO_FAULT);
	assert_int_equal(f->data[DATA_BYTES - 16], 0x5a);
	assert_int_equal(f->data[DATA_BYTES - 12], 0);
	assert_int_equal(f->data[DATA_BYTES - 1], 0x5a);
	assert_int_equal(run(f, load), NO_FAULT);
	assert_int_equal(c->s.vec[1].b[16], 0);
	mask[7] = 0x80000000;
	assert_int_equal(run(f, load), EXC_PF);
	fpu_fix_free(f);
}

static void a_store_that_faults_changes_no_register(void **state)
{
	struct fpu_fix *f = fpu_fix_new();
	struct vcpu *c = f->c;

	c->s.gpr[GPR_RBX] = (uintptr_t)f->data + DATA_BYTES - 4;
	assert_int_equal(run(f, INSN("\xd9\xe8")), NO_FAULT); /* fld1 */
	assert_int_equal(x87_top(&c->s.fx), 7);
	assert_int_equal(run(f, INSN("\xdd\x1b")), EXC_PF); /* fstp qword [rbx] */
	assert_int_equal(x87_top(&c->s.fx), 7);
	assert_int_equal(run(f, INSN("\x0f\x7f\x03")), EXC_PF); /* movq [rbx], mm0 */
	assert_int_equal(x87_top(&c->s.fx), 7);
	assert_int_equal(run(f, INSN("\xd9\x1b")), NO_FAULT); /* fstp dword [rbx] */
	assert_int_equal(x87_top(&c->s.fx), 0);
	fpu_fix_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_arena_holds_every_stub),
		cmocka_unit_test(stubs_touch_no_byte_beyond_their_operand),
		cmocka_unit_test(threads_that_add_at_once_get_the_same_stubs),
		cmocka_unit_test(legacy_sse_needs_osfxsr_and_neither_em_nor_ts),
		cmocka_unit_test(avx_needs_osxsave_and_its_bits_in_xcr0),
		cmocka_unit_test(x87_and_mmx_obey_em_ts_and_mp),
		cmocka_unit_test(
			an_unmasked_x87_exception_is_raised_by_the_next_waiting_instruction),
		cmocka_unit_test(an_unmasked_simd_exception_is_xm_or_ud_and_leaves_the_destination),
		cmocka_unit_test(the_environment_has_four_layouts),
		cmocka_unit_test(a_gather_that_faults_keeps_the_elements_before),
		cmocka_unit_test(
			masked_stores_fault_for_selected_elements_only_and_then_write_nothing),
		cmocka_unit_test(a_store_that_faults_changes_no_register),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
