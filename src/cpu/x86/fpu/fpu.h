/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fpu.h - what the files of x86/fpu/ share: checks, operands, stubs.
 *
 * Floating point and vectors run on the host's own unit.  The most frequent moves
 * are C (move.c); every other instruction is re-encoded once, with canonical
 * operands, into a stub (emit.c) that lives in a code arena (stubs.c) and is called
 * with pointers to the guest's registers or memory.
 */
#pragma once

#include "cpu/x86/access.h"
#include "cpu/x86/fpu/stub.h"

enum {
	MXCSR_VALID = 0xffff, /* no MISALIGNSSE: bit 17 is reserved for the guest */
	FCW_INIT = 0x37f,
	FCW_VALID = 0x1f7f, /* bit 6 reads as one */
	FSW_ES = 0x80,
	FSW_B = 0x8000,
	FSW_EXC = 0x3f,
	FSW_TOP = 0x3800,
	FSW_TOP_SHIFT = 11,
	XSTATE_SUPPORTED = XCR0_X87 | XCR0_SSE | XCR0_AVX,
};

/* --- stubs ------------------------------------------------------------------ */

/* emit.c: pure. */
uint32_t stub_key(const struct insn *i); /* equal keys: equal code; never 0 */
unsigned stub_emit(const struct insn *i, uint8_t out[static STUB_MAX_BYTES]);
bool stub_uses_mxcsr(const struct insn *i);
bool stub_uses_xmm0(const struct insn *i); /* implicitly */

/* stubs.c: the stub of @i, made on first use.  Any thread. */
stub_fn *stub_find(struct fpu_stubs *s, const struct insn *i);
/* --- may the guest use the unit now? (SDM vol. 3A, 13.1 and vol. 2, 2.4) ------ */

void sse_denied(struct vcpu *c) NORETURN;
void avx_denied(struct vcpu *c) NORETURN;

static ALWAYS_INLINE void check_sse(struct vcpu *c)
{
	if (unlikely(c->s.cr0 & (CR0_EM | CR0_TS) || !(c->s.cr4 & CR4_OSFXSR)))
		sse_denied(c);
}

static ALWAYS_INLINE void check_avx(struct vcpu *c)
{
	if (unlikely((c->s.cr0 & (CR0_PE | CR0_TS)) != CR0_PE || c->s.rflags & FL_VM ||
		     !(c->s.cr4 & CR4_OSXSAVE) ||
		     (c->s.xcr0 & (XCR0_SSE | XCR0_AVX)) != (XCR0_SSE | XCR0_AVX)))
		avx_denied(c);
}

static ALWAYS_INLINE void check_vec(struct vcpu *c, const struct insn *i)
{
	if (i->flags & INSN_VEX)
		check_avx(c);
	else
		check_sse(c);
}

/*
 * An unmasked exception waits to be raised.  ES says the same, but a restored state may
 * lie, and the host's unit would find out.
 */
static inline bool x87_pending(const struct cpu_fxsave *fx)
{
	return fx->fsw & ~fx->fcw & FSW_EXC;
}

static inline void check_mmx(struct vcpu *c)
{
	if (c->s.cr0 & CR0_EM)
		raise_ud(c);
	if (c->s.cr0 & CR0_TS)
		raise_exc(c, EXC_NM);
	if (x87_pending(&c->s.fx))
		raise_exc(c, EXC_MF);
}

/* --- operands ----------------------------------------------------------------- */

static ALWAYS_INLINE gva_t vec_lin(struct vcpu *c, const struct insn *i, unsigned size,
				   unsigned access)
{
	gva_t lin = insn_lin(c, i, size, access);

	if (unlikely(i->flags & INSN_ALIGN && lin & (size - 1)))
		raise_gp(c, 0);
	return lin;
}

/* Memory operand of @size <= 32 bytes: guest RAM itself, or a copy in @bounce. */
static ALWAYS_INLINE const void *vec_mem(struct vcpu *c, const struct insn *i, unsigned size,
					 void *bounce)
{
	gva_t lin = vec_lin(c, i, size, ACCESS_READ);
	const void *p = tlb_read_ptr(c, lin, size);

	if (likely(p))
		return p;
	lin_load_slow(c, lin, bounce, size);
	return bounce;
}

/* ... or the vector register in its place. */
static ALWAYS_INLINE const void *vec_src(struct vcpu *c, const struct insn *i, unsigned size,
					 void *bounce)
{
	if (i->flags & INSN_MEM)
		return vec_mem(c, i, size, bounce);
	return c->s.vec[i->rm].b;
}

static ALWAYS_INLINE void vec_zero_upper(struct cpu_vec *v)
{
	memset(v->b + 16, 0, 16);
}

/* Copy @len bytes of guest memory, up to a page, that may span two.  Raises before it writes. */
void lin_copy_in(struct vcpu *c, void *buf, gva_t lin, unsigned len);
void lin_copy_out(struct vcpu *c, gva_t lin, const void *buf, unsigned len);

/* --- x87 state ------------------------------------------------------------------ */

/* ES and B follow from flags and masks. */
static inline void fsw_update_es(struct cpu_fxsave *fx)
{
	fx->fsw &= (uint16_t) ~(FSW_ES | FSW_B);
	if (x87_pending(fx))
		fx->fsw |= FSW_ES | FSW_B;
}

static inline void fcw_set(struct cpu_fxsave *fx, uint16_t fcw)
{
	fx->fcw = (fcw & FCW_VALID) | 0x40;
	fsw_update_es(fx);
}

/* Change TOP while the physical registers stay: st[] is counted from TOP. */
void x87_set_top(struct cpu_fxsave *fx, unsigned top);
void x87_init(struct cpu_fxsave *fx);
/* What any MMX instruction does: TOP 0, all tags valid. */
void mmx_enter(struct cpu_fxsave *fx);

static inline unsigned x87_top(const struct cpu_fxsave *fx)
{
	return (fx->fsw & FSW_TOP) >> FSW_TOP_SHIFT;
}

/* x87env.c: FNSTENV, FLDENV, FNSAVE, FRSTOR. */
void x87_fnstenv(struct vcpu *c, const struct insn *i);
void x87_fldenv(struct vcpu *c, const struct insn *i);
void x87_fnsave(struct vcpu *c, const struct insn *i);
void x87_frstor(struct vcpu *c, const struct insn *i);

/* --- binding ---------------------------------------------------------------------- */

insn_fn *bind_move(const struct insn *i);   /* move.c: NULL: no direct handler */
insn_fn *bind_vec(const struct insn *i);    /* vec.c */
insn_fn *bind_xstate(const struct insn *i); /* xstate.c, fxsave.c */
insn_fn op_x87, op_wait, op_emms, op_maskmov, op_gather, op_vzeroupper, op_vzeroall, op_sse4a;
insn_fn op_fxsave, op_fxrstor, op_ldmxcsr, op_stmxcsr;
