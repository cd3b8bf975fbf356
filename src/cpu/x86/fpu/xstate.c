/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xstate.c - the XSAVE family, XGETBV and XSETBV.
 *
 * Components are x87, SSE and AVX; there are no supervisor components, so XSS is 0
 * and XSAVES differs from XSAVEC by its privilege only.  A component is "in use" when
 * its value is not the initial one.  The init optimisation is done as the
 * instructions demand; the modified optimisation is permitted, never required, and
 * not done.  With three components the standard and the compacted format have the same
 * offsets.  Images are read part by part and checked before anything is loaded.
 * Source: SDM vol. 1, chapter 13.
 */
#include "cpu/x86/fpu/xstate.h"

enum {
	XS_HEADER = 512,
	XS_HEADER_BYTES = 64,
	XS_AVX = 576,
	XS_AVX_BYTES = 256,
	XS_X87_BYTES = 24,
	XS_MXCSR = 24,
	XS_ST = 32,
	XS_ST_BYTES = 128,
	XS_XMM = 160,
};
#define XCOMP_COMPACT BIT(63)

struct xs_header {
	uint64_t xstate_bv, xcomp_bv, reserved[6];
};

struct xs_op {
	gva_t lin;
	uint64_t rfbm; /* requested-feature bitmap */
	bool wide, supervisor;
};

/* --- in use? ---------------------------------------------------------------------- */

static bool is_zero(const uint8_t *p, unsigned n)
{
	uint64_t any = 0, v;

	for (unsigned k = 0; k < n; k += 8) {
		memcpy(&v, p + k, 8);
		any |= v;
	}
	return !any;
}

static bool x87_in_use(const struct cpu_fxsave *fx)
{
	return fx->fcw != FCW_INIT || fx->fsw || fx->ftw || fx->fop || fx->fip || fx->fdp ||
	       !is_zero(fx->st[0], sizeof(fx->st));
}

static uint64_t in_use(const struct vcpu *c)
{
	uint64_t use = x87_in_use(&c->s.fx) ? XCR0_X87 : 0;

	for (unsigned n = 0; n < xmm_count(c); n++) {
		if (!is_zero(c->s.vec[n].b, 16))
			use |= XCR0_SSE;
		if (!is_zero(c->s.vec[n].b + 16, 16))
			use |= XCR0_AVX;
	}
	return use;
}

/* --- common checks --------------------------------------------------------------------- */

static struct xs_op xs_begin(struct vcpu *c, const struct insn *i, unsigned access)
{
	struct xs_op op = {.wide = i->opsize == 8};
	uint64_t mask = (uint32_t)c->s.gpr[GPR_RAX] | c->s.gpr[GPR_RDX] << 32;
	unsigned bytes = XS_AVX;

	op.supervisor = i->op == OP_XSAVES || i->op == OP_XRSTORS;
	if (!(c->s.cr4 & CR4_OSXSAVE))
		raise_ud(c);
	if (c->s.cr0 & CR0_TS)
		raise_exc(c, EXC_NM);
	if (op.supervisor && c->cpl)
		raise_gp(c, 0);
	op.rfbm = mask & c->s.xcr0 & XSTATE_SUPPORTED;
	if (op.rfbm & XCR0_AVX)
		bytes += XS_AVX_BYTES;
	op.lin = insn_lin(c, i, bytes, access);
	if (op.lin & 63)
		raise_gp(c, 0);
	return op;
}

/* --- saving ------------------------------------------------------------------------------- */

static void put_part(struct vcpu *c, const struct xs_op *op, unsigned off, const void *p,
		     unsigned n)
{
	lin_copy_out(c, (op->lin + off) & c->addr_mask, p, n);
}

static void save_avx(struct vcpu *c, const struct xs_op *op)
{
	uint8_t upper[16][16];

	for (unsigned n = 0; n < xmm_count(c); n++)
		memcpy(upper[n], c->s.vec[n].b + 16, 16);
	put_part(c, op, XS_AVX, upper, xmm_count(c) * 16);
}

/* Write components @what; @mxcsr: MXCSR and its mask too. */
static void save_parts(struct vcpu *c, const struct xs_op *op, uint64_t what, bool mxcsr)
{
	struct cpu_fxsave image;
	const uint8_t *bytes = (const uint8_t *)&image;

	if (what & XCR0_X87) {
		legacy_pack_x87(c, op->wide, &image);
		put_part(c, op, 0, bytes, XS_X87_BYTES);
	}
	if (mxcsr) {
		legacy_pack_mxcsr(c, &image);
		put_part(c, op, XS_MXCSR, bytes + XS_MXCSR, 8);
	}
	if (what & XCR0_X87)
		put_part(c, op, XS_ST, bytes + XS_ST, XS_ST_BYTES);
	if (what & XCR0_SSE) {
		legacy_pack_xmm(c, &image);
		put_part(c, op, XS_XMM, bytes + XS_XMM, xmm_count(c) * 16);
	}
	if (what & XCR0_AVX)
		save_avx(c, op);
}

/* XSAVE, XSAVEOPT: the header keeps the bits of components not asked for. */
static void op_xsave(struct vcpu *c, const struct insn *i)
{
	struct xs_op op = xs_begin(c, i, ACCESS_WRITE);
	uint64_t use = in_use(c), bv;

	lin_copy_in(c, &bv, (op.lin + XS_HEADER) & c->addr_mask, sizeof(bv));
	bv = (bv & ~op.rfbm) | (op.rfbm & use);
	save_parts(c, &op, i->op == OP_XSAVEOPT ? op.rfbm & use : op.rfbm,
		   op.rfbm & (XCR0_SSE | XCR0_AVX));
	put_part(c, &op, XS_HEADER, &bv, sizeof(bv));
}

/* XSAVEC, XSAVES. */
static void op_xsavec(struct vcpu *c, const struct insn *i)
{
	struct xs_op op = xs_begin(c, i, ACCESS_WRITE);
	uint64_t header[2], use = in_use(c);

	if (c->s.fx.mxcsr != MXCSR_HOST) /* the initial value, as it happens */
		use |= XCR0_SSE;
	header[0] = op.rfbm & use;
	header[1] = op.rfbm | XCOMP_COMPACT;
	save_parts(c, &op, header[0], header[0] & XCR0_SSE);
	put_part(c, &op, XS_HEADER, header, sizeof(header));
}

/* --- restoring ---------------------------------------------------------------------------------
 */

static void get_part(struct vcpu *c, const struct xs_op *op, unsigned off, void *p, unsigned n)
{
	lin_copy_in(c, p, (op->lin + off) & c->addr_mask, n);
}

static bool compaction_known(const struct vcpu *c)
{
	return cpu_has(c->model, FEAT_XSAVEC) || cpu_has(c->model, FEAT_XSAVES);
}

static bool header_valid(const struct vcpu *c, const struct xs_op *op, const struct xs_header *h)
{
	uint64_t reserved = 0;

	if (!(h->xcomp_bv & XCOMP_COMPACT)) /* bytes 8..23 are 0; the others are software's */
		return !op->supervisor && !(h->xstate_bv & ~c->s.xcr0) && !h->xcomp_bv &&
		       !h->reserved[0];
	for (unsigned n = 0; n < ARRAY_SIZE(h->reserved); n++)
		reserved |= h->reserved[n];
	return (op->supervisor || compaction_known(c)) && !reserved &&
	       !(h->xcomp_bv & ~XCOMP_COMPACT & ~c->s.xcr0) && !(h->xstate_bv & ~h->xcomp_bv);
}

struct xs_image {
	struct cpu_fxsave legacy;
	uint8_t upper[16][16];
	uint64_t load, init; /* components */
	bool load_mxcsr, init_mxcsr;
};

/* Read what will be loaded; everything that can fault happens here. */
static void read_image(struct vcpu *c, const struct xs_op *op, bool compact, struct xs_image *im)
{
	uint8_t *legacy = (uint8_t *)&im->legacy;

	im->load_mxcsr = compact ? im->load & XCR0_SSE : op->rfbm & (XCR0_SSE | XCR0_AVX);
	im->init_mxcsr = compact && im->init & XCR0_SSE;
	if (im->load & XCR0_X87) {
		get_part(c, op, 0, legacy, XS_X87_BYTES);
		get_part(c, op, XS_ST, legacy + XS_ST, XS_ST_BYTES);
	}
	if (im->load_mxcsr) {
		get_part(c, op, XS_MXCSR, legacy + XS_MXCSR, 4);
		if (im->legacy.mxcsr & ~(uint32_t)MXCSR_VALID)
			raise_gp(c, 0);
	}
	if (im->load & XCR0_SSE)
		get_part(c, op, XS_XMM, legacy + XS_XMM, xmm_count(c) * 16);
	if (im->load & XCR0_AVX)
		get_part(c, op, XS_AVX, im->upper, xmm_count(c) * 16);
}

static void load_image(struct vcpu *c, const struct xs_op *op, const struct xs_image *im)
{
	if (im->load & XCR0_X87) {
		legacy_load_x87(c, op->wide, &im->legacy);
	} else if (im->init & XCR0_X87) {
		x87_init(&c->s.fx);
		memset(c->s.fx.st, 0, sizeof(c->s.fx.st));
	}
	if (im->load_mxcsr)
		c->s.fx.mxcsr = im->legacy.mxcsr;
	else if (im->init_mxcsr)
		c->s.fx.mxcsr = MXCSR_HOST;
	if (im->load & XCR0_SSE)
		legacy_load_xmm(c, &im->legacy);
	for (unsigned n = 0; n < xmm_count(c); n++) {
		if (im->init & XCR0_SSE)
			memset(c->s.vec[n].b, 0, 16);
		if (im->load & XCR0_AVX)
			memcpy(c->s.vec[n].b + 16, im->upper[n], 16);
		else if (im->init & XCR0_AVX)
			vec_zero_upper(&c->s.vec[n]);
	}
}

/* XRSTOR, XRSTORS. */
static void op_xrstor(struct vcpu *c, const struct insn *i)
{
	struct xs_op op = xs_begin(c, i, ACCESS_READ);
	struct xs_header h;
	struct xs_image im;

	get_part(c, &op, XS_HEADER, &h, XS_HEADER_BYTES);
	if (!header_valid(c, &op, &h))
		raise_gp(c, 0);
	im.load = op.rfbm & h.xstate_bv;
	im.init = op.rfbm & ~h.xstate_bv;
	read_image(c, &op, h.xcomp_bv & XCOMP_COMPACT, &im);
	load_image(c, &op, &im);
}

/* --- XCR0
 * ------------------------------------------------------------------------------------------ */

static void op_xgetbv(struct vcpu *c, const struct insn *i)
{
	uint32_t n = (uint32_t)c->s.gpr[GPR_RCX];
	uint64_t v = c->s.xcr0;

	if (!(c->s.cr4 & CR4_OSXSAVE))
		raise_ud(c);
	if (n > 1 || (n == 1 && !cpu_has(c->model, FEAT_XGETBV1)))
		raise_gp(c, 0);
	if (n == 1) {
		v &= in_use(c);
	}
	c->s.gpr[GPR_RAX] = (uint32_t)v;
	c->s.gpr[GPR_RDX] = v >> 32;
}

static void op_xsetbv(struct vcpu *c, const struct insn *i)
{
	uint64_t v = (uint32_t)c->s.gpr[GPR_RAX] | c->s.gpr[GPR_RDX] << 32;
	uint64_t valid = XCR0_X87 | XCR0_SSE | (cpu_has(c->model, FEAT_AVX) ? XCR0_AVX : 0);

	if (!(c->s.cr4 & CR4_OSXSAVE))
		raise_ud(c);
	if (c->cpl || (uint32_t)c->s.gpr[GPR_RCX] || v & ~valid || !(v & XCR0_X87) ||
	    (v & XCR0_AVX && !(v & XCR0_SSE)))
		raise_gp(c, 0);
	c->s.xcr0 = v;
}

insn_fn *bind_xstate(const struct insn *i)
{
	switch (i->op) {
	case OP_FXSAVE: return op_fxsave;
	case OP_FXRSTOR: return op_fxrstor;
	case OP_LDMXCSR: return op_ldmxcsr;
	case OP_STMXCSR: return op_stmxcsr;
	case OP_XSAVE:
	case OP_XSAVEOPT: return op_xsave;
	case OP_XSAVEC:
	case OP_XSAVES: return op_xsavec;
	case OP_XRSTOR:
	case OP_XRSTORS: return op_xrstor;
	case OP_XGETBV: return op_xgetbv;
	case OP_XSETBV: return op_xsetbv;
	default: return NULL;
	}
}
