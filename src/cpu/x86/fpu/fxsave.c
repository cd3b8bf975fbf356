/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fxsave.c - FXSAVE, FXRSTOR, LDMXCSR, STMXCSR, VZEROUPPER, VZEROALL.
 *
 * The legacy region is built and taken apart here for the XSAVE family too.  The
 * form without REX.W has 32-bit pointers with selectors, which are always 0.  AMD
 * processors save the pointers only with a pending exception, zero otherwise
 * (CPUID 8000_0008 EBX bit 2).  Source: SDM vol. 1, 10.5 and 13.4; AMD APM vol. 2, 11.4.4.
 */
#include "cpu/x86/fpu/xstate.h"
#include "cpu/x86/mmu.h"

/* What the slow path takes at once; under alignment checks bytes, which are aligned. */
static unsigned piece(const struct vcpu *c, unsigned n)
{
	return c->align_check ? 1 : MIN(n, 32);
}

void lin_copy_in(struct vcpu *c, void *buf, gva_t lin, unsigned len)
{
	uint8_t *to = buf;

	while (len) {
		unsigned n = MIN(len, MEM_PAGE_SIZE - (unsigned)(lin & (MEM_PAGE_SIZE - 1)));
		const void *p = tlb_read_ptr(c, lin, n);

		if (likely(p)) {
			memcpy(to, p, n);
		} else {
			n = piece(c, n);
			lin_load_slow(c, lin, to, n);
		}
		to += n;
		lin = (lin + n) & c->addr_mask;
		len -= n;
	}
}

void lin_copy_out(struct vcpu *c, gva_t lin, const void *buf, unsigned len)
{
	const uint8_t *from = buf;

	lin_probe_write(c, lin, 1);
	if ((lin ^ (lin + len - 1)) >> MEM_PAGE_SHIFT)
		lin_probe_write(c, ALIGN_DOWN(lin + len - 1, MEM_PAGE_SIZE) & c->addr_mask, 1);
	while (len) {
		unsigned n = MIN(len, MEM_PAGE_SIZE - (unsigned)(lin & (MEM_PAGE_SIZE - 1)));
		void *p = tlb_write_ptr(c, lin, n);

		if (likely(p)) {
			memcpy(p, from, n);
		} else {
			n = piece(c, n);
			lin_store_slow(c, lin, from, n);
		}
		from += n;
		lin = (lin + n) & c->addr_mask;
		len -= n;
	}
}

/* --- the legacy region ------------------------------------------------------------ */

void legacy_pack_x87(const struct vcpu *c, bool wide, struct cpu_fxsave *out)
{
	const struct cpu_fxsave *fx = &c->s.fx;

	memcpy(out, fx, offsetof(struct cpu_fxsave, mxcsr));
	out->pad = 0;
	if (c->model->amd && !(fx->fsw & FSW_ES)) {
		out->fop = 0;
		out->fip = out->fdp = 0;
	}
	if (!wide) {
		out->fip = (uint32_t)out->fip;
		out->fdp = (uint32_t)out->fdp;
	}
	memcpy(out->st, fx->st, sizeof(out->st));
	for (unsigned n = 0; n < 8; n++)
		memset(out->st[n] + 10, 0, 6);
}

void legacy_pack_mxcsr(const struct vcpu *c, struct cpu_fxsave *out)
{
	out->mxcsr = c->s.fx.mxcsr;
	out->mxcsr_mask = MXCSR_VALID;
}

void legacy_pack_xmm(const struct vcpu *c, struct cpu_fxsave *out)
{
	for (unsigned n = 0; n < xmm_count(c); n++)
		memcpy(out->xmm[n], c->s.vec[n].b, 16);
}

/* The pointers have 57 bits, those of the largest linear addresses there are. */
static uint64_t canonical(uint64_t a)
{
	return (uint64_t)((int64_t)(a << 7) >> 7);
}

void legacy_load_x87(struct vcpu *c, bool wide, const struct cpu_fxsave *in)
{
	struct cpu_fxsave *fx = &c->s.fx;

	fx->fsw = in->fsw;
	fcw_set(fx, in->fcw);
	fx->ftw = in->ftw;
	fx->fop = in->fop & 0x7ff;
	fx->fip = wide ? canonical(in->fip) : (uint32_t)in->fip;
	fx->fdp = wide ? canonical(in->fdp) : (uint32_t)in->fdp;
	memcpy(fx->st, in->st, sizeof(fx->st));
	for (unsigned n = 0; n < 8; n++)
		memset(fx->st[n] + 10, 0, 6);
}

void legacy_load_xmm(struct vcpu *c, const struct cpu_fxsave *in)
{
	for (unsigned n = 0; n < xmm_count(c); n++)
		memcpy(c->s.vec[n].b, in->xmm[n], 16);
}

unsigned xmm_count(const struct vcpu *c)
{
	return c->mode == MODE_64 ? 16 : 8;
}

/* --- FXSAVE, FXRSTOR ----------------------------------------------------------------- */

enum { FX_BYTES = 512, FX_WRITTEN_32 = 288, FX_WRITTEN_64 = 416 };

/*
 * The region is not aligned to 16 bytes: #GP, but #AC, where that is on, if it is not
 * even aligned to 4.  A non-canonical address comes first.
 */
static NORETURN void raise_misaligned(struct vcpu *c, gva_t lin)
{
	if (!is_canonical(lin))
		raise_err(c, c->last_seg == SEG_SS ? EXC_SS : EXC_GP, 0);
	if (c->align_check && lin & 3)
		raise_err(c, EXC_AC, 0);
	raise_gp(c, 0);
}

static gva_t fx_lin(struct vcpu *c, const struct insn *i, unsigned access)
{
	gva_t lin;

	if (c->s.cr0 & (CR0_EM | CR0_TS))
		raise_exc(c, EXC_NM);
	lin = insn_lin(c, i, FX_BYTES, access);
	if (lin & 15)
		raise_misaligned(c, lin);
	return lin;
}

void op_fxsave(struct vcpu *c, const struct insn *i)
{
	gva_t lin = fx_lin(c, i, ACCESS_WRITE);
	struct cpu_fxsave image;

	legacy_pack_x87(c, i->opsize == 8, &image);
	legacy_pack_mxcsr(c, &image);
	legacy_pack_xmm(c, &image);
	lin_copy_out(c, lin, &image, c->mode == MODE_64 ? FX_WRITTEN_64 : FX_WRITTEN_32);
}

void op_fxrstor(struct vcpu *c, const struct insn *i)
{
	gva_t lin = fx_lin(c, i, ACCESS_READ);
	struct cpu_fxsave image;

	lin_copy_in(c, &image, lin, c->mode == MODE_64 ? FX_WRITTEN_64 : FX_WRITTEN_32);
	if (image.mxcsr & ~(uint32_t)MXCSR_VALID)
		raise_gp(c, 0);
	legacy_load_x87(c, i->opsize == 8, &image);
	legacy_load_xmm(c, &image);
	c->s.fx.mxcsr = image.mxcsr;
}

/* --- MXCSR and upper halves ------------------------------------------------------------- */

void op_ldmxcsr(struct vcpu *c, const struct insn *i)
{
	uint32_t v;

	check_vec(c, i);
	v = (uint32_t)lin_load(c, insn_lin(c, i, 4, ACCESS_READ), 4);
	if (v & ~(uint32_t)MXCSR_VALID)
		raise_gp(c, 0);
	c->s.fx.mxcsr = v;
}

void op_stmxcsr(struct vcpu *c, const struct insn *i)
{
	check_vec(c, i);
	lin_store(c, insn_lin(c, i, 4, ACCESS_WRITE), 4, c->s.fx.mxcsr);
}

void op_vzeroupper(struct vcpu *c, const struct insn *i)
{
	check_avx(c);
	for (unsigned n = 0; n < xmm_count(c); n++)
		vec_zero_upper(&c->s.vec[n]);
}

void op_vzeroall(struct vcpu *c, const struct insn *i)
{
	check_avx(c);
	memset(c->s.vec, 0, xmm_count(c) * sizeof(c->s.vec[0]));
}
