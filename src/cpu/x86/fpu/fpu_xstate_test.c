/* SPDX-License-Identifier: Apache-2.0 */
/* fpu_xstate_test.c - FXSAVE and XSAVE images: the host's own are right. */
#include "cpu/x86/fpu/fpu_fixture.h"

enum { ROUNDS = 30000, AREA = 1024, HEADER = 512, MXCSR_MASK_AT = 28 };

struct region { /* bytes of a component */
	unsigned from, to;
};

static const struct region x87_regions[] = {{0, 24}, {32, 160}}, sse_regions[] = {{160, 416}},
			   avx_regions[] = {{576, 832}};

static struct insn insn_of(const uint8_t *code)
{
	uint8_t buf[INSN_MAX_LEN] = {0};
	struct insn i;

	memcpy(buf, code, 4);
	assert_true(x86_decode(buf, sizeof(buf), MODE_64, &i) > 0);
	return i;
}

/* --- states and images -------------------------------------------------------------- */

static void random_state(struct fpu_fix *f)
{
	struct cpu_state *s = &f->c->s;
	uint64_t r = fpu_rnd(f);

	fpu_fix_reset(f);
	s->fx.fsw = (uint16_t)(r & 0x7f7f);
	fcw_set(&s->fx, (uint16_t)(r >> 16) | (r & 0x80 ? 0x3f : 0));
	s->fx.ftw = (uint8_t)(r >> 32);
	s->fx.fip = r >> 40 & 0xffff;
	s->fx.fdp = r >> 44 & 0xffff;
	s->fx.fop = r >> 50 & 0x7ff;
	if (!(r >> 60 & 3))
		x87_init(&s->fx);
	s->fx.mxcsr = r & 0x800000 ? MXCSR_HOST : r >> 40 & 0xffff;
	for (unsigned n = 0; n < 16; n++) {
		uint64_t v[6] = {fpu_rnd(f), fpu_rnd(f), fpu_rnd(f),
				 fpu_rnd(f), fpu_rnd(f), fpu_rnd(f)};

		if (r >> 61 & 1)
			memcpy(s->vec[n].b, v, 16);
		if (r >> 62 & 1)
			memcpy(s->vec[n].b + 16, v + 2, 16);
		if (r >> 63 & 1 && n < 8)
			memcpy(s->fx.st[n], v + 4, 10);
	}
	s->gpr[GPR_RBX] = (uintptr_t)f->data + 64 * (fpu_rnd(f) % 100);
	s->gpr[GPR_RAX] = fpu_rnd(f) & 7;
	if (!(r >> 8 & 31))
		s->gpr[GPR_RBX] += 1 + (r >> 13 & 31);
}

static void random_area(struct fpu_fix *f)
{
	for (unsigned k = 0; k < DATA_BYTES; k += 8) {
		uint64_t v = fpu_rnd(f);

		memcpy(f->data + k, &v, 8);
	}
}

static void native_from(struct fpu_fix *f)
{
	struct native_state *n = native_state(f->native);
	const struct cpu_state *s = &f->c->s;

	memset(n->fx, 0, sizeof(n->fx));
	memcpy(n->fx, &s->fx, offsetof(struct cpu_fxsave, xmm));
	memcpy(n->vec, s->vec, sizeof(n->vec));
	memcpy(n->gpr, s->gpr, sizeof(n->gpr));
	n->rflags = s->rflags;
}

/* --- saving ----------------------------------------------------------------------------- */

/* What need not be the same is made the same: the host may find more in use than we do. */
static void forgive(uint8_t *ours, const uint8_t *host, bool xsave)
{
	uint64_t our_bv, host_bv, more;

	memcpy(ours + MXCSR_MASK_AT, host + MXCSR_MASK_AT, 4); /* bit 17 is the host's alone */
	if (!xsave)
		return;
	memcpy(&our_bv, ours + HEADER, 8);
	memcpy(&host_bv, host + HEADER, 8);
	assert_int_equal(our_bv & ~host_bv, 0);
	more = host_bv & ~our_bv;
	memcpy(ours + HEADER, host + HEADER, 8);
	for (unsigned n = 0; n < 2 && more & XCR0_X87; n++)
		memcpy(ours + x87_regions[n].from, host + x87_regions[n].from,
		       x87_regions[n].to - x87_regions[n].from);
	if (more & XCR0_SSE)
		memcpy(ours + sse_regions->from, host + sse_regions->from, 256);
	if (more & XCR0_SSE)
		memcpy(ours + 24, host + 24, 4);
	if (more & XCR0_AVX)
		memcpy(ours + avx_regions->from, host + avx_regions->from, 256);
}

static void save_both(struct fpu_fix *f, const uint8_t code[4], unsigned len)
{
	static uint8_t before[DATA_BYTES], host[DATA_BYTES];
	struct insn i = insn_of(code);
	uint8_t *area = (uint8_t *)(uintptr_t)f->c->s.gpr[GPR_RBX];
	size_t at = (size_t)(area - f->data);
	int got;

	memcpy(before, f->data, DATA_BYTES);
	native_from(f);
	native_run(f->native, code, len);
	memcpy(host, f->data, DATA_BYTES);
	memcpy(f->data, before, DATA_BYTES);
	got = fpu_run(f, &i, native_rip(f->native, len));
	assert_int_equal(got, native_state(f->native)->vector);
	if (got == NO_FAULT)
		forgive(area, host + at, i.op != OP_FXSAVE);
	assert_memory_equal(f->data, host, DATA_BYTES);
}

static void saved_images_are_the_hosts(void **state)
{
	static const uint8_t code[][4] = {
		{0x48, 0x0f, 0xae, 0x03}, {0x48, 0x0f, 0xae, 0x23}, {0x48, 0x0f, 0xae, 0x33},
		{0x48, 0x0f, 0xc7, 0x23}, {0x0f, 0xae, 0x03},	    {0x0f, 0xae, 0x23},
		{0x0f, 0xae, 0x33},	  {0x0f, 0xc7, 0x23},
	};
	struct fpu_fix *f = fpu_fix_new();

	print_message("seed %#lx\n", (long)f->seed);
	for (unsigned k = 0; k < ROUNDS; k++) {
		unsigned n = (unsigned)(fpu_rnd(f) % ARRAY_SIZE(code));

		if (!(k & 7))
			random_area(f);
		random_state(f);
		save_both(f, code[n], n < 4 ? 4 : 3);
	}
	fpu_fix_free(f);
}

/* --- restoring ------------------------------------------------------------------------------ */

static void random_header(struct fpu_fix *f, uint8_t *area)
{
	uint64_t r = fpu_rnd(f), h[8] = {r & 7};

	if (r & 8) { /* compacted */
		h[1] = BIT(63) | (r >> 4 & 7);
		if (r & 0x700)
			h[0] &= h[1];
	} else if (!(r & 0x1e00)) {
		h[1] = r >> 4 & 7;
	}
	if (!(r & 0xf0000))
		h[0] |= BIT(r >> 20 & 1 ? 8 : 4);
	if (!(r & 0xf000000))
		h[1] |= BIT(11);
	if (!(r & 0xf0000000))
		h[2 + (r >> 32) % 6] = 1;
	memcpy(area + HEADER, h, sizeof(h));
}

static void random_image(struct fpu_fix *f, uint8_t *area)
{
	uint64_t r = fpu_rnd(f);
	uint32_t mxcsr = (uint32_t)r & 0xffff;

	if (!(r >> 32 & 15))
		mxcsr |= 0x40000;
	memcpy(area + 24, &mxcsr, 4);
	if (!(r >> 36 & 1)) /* no exception pending */
		area[0] |= 0x3f;
	random_header(f, area);
}

static void same_registers(struct fpu_fix *f)
{
	const struct native_state *n = native_state(f->native);
	const struct cpu_state *s = &f->c->s;
	struct cpu_fxsave fx;

	memcpy(&fx, n->fx, sizeof(fx));
	assert_memory_equal(s->vec, n->vec, sizeof(n->vec));
	assert_int_equal(s->fx.fcw, fx.fcw);
	assert_int_equal(s->fx.fsw, fx.fsw);
	assert_int_equal(s->fx.ftw, fx.ftw);
	assert_int_equal(s->fx.mxcsr, fx.mxcsr);
	for (unsigned k = 0; k < 8; k++)
		assert_memory_equal(s->fx.st[k], fx.st[k], 10);
	if (!(fx.fsw & FSW_ES))
		return;
	assert_int_equal(s->fx.fop, fx.fop);
	assert_int_equal(s->fx.fip & 0xffffffff, fx.fip & 0xffffffff);
	assert_int_equal(s->fx.fdp & 0xffffffff, fx.fdp & 0xffffffff);
}

static void restored_registers_are_the_hosts(void **state)
{
	static const uint8_t code[][4] = {
		{0x48, 0x0f, 0xae, 0x0b},
		{0x48, 0x0f, 0xae, 0x2b},
		{0x0f, 0xae, 0x0b},
		{0x0f, 0xae, 0x2b},
	};
	struct fpu_fix *f = fpu_fix_new();

	print_message("seed %#lx\n", (long)f->seed);
	for (unsigned k = 0; k < ROUNDS; k++) {
		unsigned n = (unsigned)(fpu_rnd(f) % ARRAY_SIZE(code)), len = n < 2 ? 4 : 3;
		struct insn i = insn_of(code[n]);
		int got;

		if (!(k & 7))
			random_area(f);
		random_state(f);
		random_image(f, (uint8_t *)(uintptr_t)f->c->s.gpr[GPR_RBX]);
		native_from(f);
		native_run(f->native, code[n], len);
		got = fpu_run(f, &i, native_rip(f->native, len));
		assert_int_equal(got, native_state(f->native)->vector);
		same_registers(f);
	}
	fpu_fix_free(f);
}

/* --- what the host cannot show -----------------------------------------------------------------
 */

static int run_code(struct fpu_fix *f, const char *code)
{
	struct insn i = insn_of((const uint8_t *)code);

	return fpu_run(f, &i, 0x1000);
}

static void xsetbv_takes_only_states_the_model_has(void **state)
{
	static const struct {
		uint64_t rax, rcx;
		int want;
	} cases[] = {{7, 0, NO_FAULT}, {3, 0, NO_FAULT}, {1, 0, NO_FAULT}, {0, 0, EXC_GP},
		     {5, 0, EXC_GP},   {2, 0, EXC_GP},	 {0xf, 0, EXC_GP}, {7, 1, EXC_GP}};
	struct fpu_fix *f = fpu_fix_new();
	struct vcpu *c = f->c;

	for (unsigned k = 0; k < ARRAY_SIZE(cases); k++) {
		fpu_fix_reset(f);
		c->s.gpr[GPR_RAX] = cases[k].rax;
		c->s.gpr[GPR_RCX] = cases[k].rcx;
		assert_int_equal(run_code(f, "\x0f\x01\xd1"), cases[k].want);
		if (cases[k].want == NO_FAULT)
			assert_int_equal(c->s.xcr0, cases[k].rax);
	}
	c->cpl = 3;
	c->s.gpr[GPR_RAX] = 7;
	c->s.gpr[GPR_RCX] = 0;
	assert_int_equal(run_code(f, "\x0f\x01\xd1"), EXC_GP);
	assert_int_equal(run_code(f, "\x0f\x01\xd0"), NO_FAULT);
	c->s.cr4 &= ~(uint64_t)CR4_OSXSAVE;
	assert_int_equal(run_code(f, "\x0f\x01\xd1"), EXC_UD);
	assert_int_equal(run_code(f, "\x0f\x01\xd0"), EXC_UD);
	assert_int_equal(run_code(f, "\x0f\xae\x23"), EXC_UD);
	fpu_fix_free(f);
}

static void xsaves_and_xrstors_are_for_ring_0_and_bring_everything_back(void **state)
{
	struct fpu_fix *f = fpu_fix_new();
	struct vcpu *c = f->c;
	struct cpu_state was;

	for (unsigned k = 0; k < 200; k++) {
		random_state(f);
		c->s.gpr[GPR_RBX] = (uintptr_t)f->data + 4096 - 64 * (k % 16);
		c->s.gpr[GPR_RAX] = 7;
		c->cpl = 3;
		assert_int_equal(run_code(f, "\x48\x0f\xc7\x2b"), EXC_GP);
		assert_int_equal(run_code(f, "\x48\x0f\xc7\x1b"), EXC_GP);
		c->cpl = 0;
		memset(f->data, 0, DATA_BYTES);
		was = c->s;
		assert_int_equal(run_code(f, "\x48\x0f\xc7\x2b"), NO_FAULT);
		memset(c->s.vec, 0x77, sizeof(c->s.vec));
		memset(c->s.fx.st, 0x77, sizeof(c->s.fx.st));
		c->s.fx.mxcsr = 0x1234;
		assert_int_equal(run_code(f, "\x48\x0f\xc7\x1b"), NO_FAULT);
		assert_memory_equal(c->s.vec, was.vec, sizeof(was.vec));
		assert_memory_equal(c->s.fx.st, was.fx.st, sizeof(was.fx.st));
		assert_int_equal(c->s.fx.mxcsr, was.fx.mxcsr);
		assert_int_equal(c->s.fx.fsw, was.fx.fsw);
	}
	fpu_fix_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(saved_images_are_the_hosts),
		cmocka_unit_test(restored_registers_are_the_hosts),
		cmocka_unit_test(xsetbv_takes_only_states_the_model_has),
		cmocka_unit_test(xsaves_and_xrstors_are_for_ring_0_and_bring_everything_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
