/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_mul.c - MUL IMUL DIV IDIV MULX.
 *
 * The host multiplies and divides.  A division that would trap is found before, in
 * 128-bit arithmetic.  Multiplication leaves four flags undefined, division all six;
 * some of them keep their old values on some processors, so those are loaded first.
 */
#include "cpu/x86/sem_int.h"

/* One operand against rAX (and rDX): all the one-operand forms look the same. */
#define ONE_OPERAND(suf, mod, insn)                                                             \
	asm(FLAGS_IN "mov %[a], %%rax\n\t" insn suf " %" mod "[s]\n\tmov %%rax, %[a]" FLAGS_OUT \
	    : [a] "+&r"(a), [d] "+&d"(d), "+&a"(ax)                                             \
	    : [s] "r"(s)                                                                        \
	    : "cc")

static ALWAYS_INLINE uint64_t operand(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t s;

	if (has_mem(i))
		mem_load(c, i, EA_ANY, sz, &s);
	else
		s = RM_IN(sz == 1);
	return s;
}

/* --- division errors ------------------------------------------------------------------ */

static ALWAYS_INLINE uint64_t low_bits(uint64_t v, unsigned sz)
{
	return sz == 8 ? v : v & (BIT(sz * 8) - 1);
}

/* The dividend: AX, DX:AX, EDX:EAX, RDX:RAX. */
static ALWAYS_INLINE unsigned __int128 dividend(uint64_t a, uint64_t d, unsigned sz)
{
	if (sz == 1)
		return (uint16_t)a;
	return (unsigned __int128)low_bits(d, sz) << (sz * 8) | low_bits(a, sz);
}

static ALWAYS_INLINE bool div_traps(uint64_t a, uint64_t d, uint64_t s, unsigned sz)
{
	return dividend(a, d, sz) >> (sz * 8) >= low_bits(s, sz);
}

/* |quotient| may be 2^(n-1) when it is negative, and must be less when it is not. */
static ALWAYS_INLINE bool idiv_traps(uint64_t a, uint64_t d, uint64_t s, unsigned sz)
{
	unsigned shift = 128 - sz * 16;
	__int128 n = (__int128)(dividend(a, d, sz) << shift) >> shift;
	int64_t m = (int64_t)(s << (64 - sz * 8)) >> (64 - sz * 8);
	unsigned __int128 size_n = n < 0 ? -(unsigned __int128)n : (unsigned __int128)n;
	uint64_t size_m = m < 0 ? -(uint64_t)m : (uint64_t)m;
	uint64_t limit = BIT(sz * 8 - 1) + ((n < 0) != (m < 0));

	return size_n >= (unsigned __int128)size_m * limit;
}

static ALWAYS_INLINE void one_operand(struct vcpu *c, const struct insn *i, enum x86_op op,
				      unsigned sz)
{
	uint64_t s = operand(c, i, sz), ax = flags_in(c);
	uint64_t a = c->s.gpr[GPR_RAX], d = c->s.gpr[GPR_RDX];

	switch (op) {
	case OP_MUL: ASM_BY_SIZE(sz, ONE_OPERAND, "mul"); break;
	case OP_IMUL: ASM_BY_SIZE(sz, ONE_OPERAND, "imul"); break;
	case OP_DIV:
		if (unlikely(div_traps(a, d, s, sz)))
			raise_exc(c, EXC_DE);
		ASM_BY_SIZE(sz, ONE_OPERAND, "div");
		break;
	default:
		if (unlikely(idiv_traps(a, d, s, sz)))
			raise_exc(c, EXC_DE);
		ASM_BY_SIZE(sz, ONE_OPERAND, "idiv");
		break;
	}
	c->s.gpr[GPR_RAX] = a;
	c->s.gpr[GPR_RDX] = d;
	flags_out(c, ax);
}

#define FORMS(op)                                \
	HANDLER(op##_1, one_operand, OP_##op, 1) \
	HANDLER(op##_2, one_operand, OP_##op, 2) \
	HANDLER(op##_4, one_operand, OP_##op, 4) \
	HANDLER(op##_8, one_operand, OP_##op, 8)
#define ROW(op)                                \
	{                                      \
		op##_1, op##_2, op##_4, op##_8 \
	}
FORMS(MUL)
FORMS(IMUL)
FORMS(DIV)
FORMS(IDIV)

/* --- IMUL with two and three operands --------------------------------------------------- */

#define IMUL2(suf, mod, insn)                                         \
	asm("sahf\n\t" insn suf " %" mod "[s], %" mod "[d]" FLAGS_OUT \
	    : [d] "+r"(d), "+&a"(ax)                                  \
	    : [s] "r"(s)                                              \
	    : "cc")

static ALWAYS_INLINE void imul2(struct vcpu *c, const struct insn *i, bool imm, unsigned sz)
{
	uint64_t s = operand(c, i, sz), ax = c->s.rflags << 8;
	uint64_t old = c->s.gpr[i->reg], d = imm ? i->imm : old;

	ASM_BY_WIDE(sz, IMUL2, "imul");
	c->s.gpr[i->reg] = imm ? reg_merge(old, d, sz) : d;
	flags_out(c, ax);
}

HANDLER(imul2_2, imul2, false, 2)
HANDLER(imul2_4, imul2, false, 4)
HANDLER(imul2_8, imul2, false, 8)
HANDLER(imul3_2, imul2, true, 2)
HANDLER(imul3_4, imul2, true, 4)
HANDLER(imul3_8, imul2, true, 8)

/* --- MULX: no flags; when both destinations are one register it gets the upper half -------- */

static void mulx_4(struct vcpu *c, const struct insn *i)
{
	uint64_t r = (operand(c, i, 4) & 0xffffffff) * (uint32_t)c->s.gpr[GPR_RDX];

	c->s.gpr[i->vvvv] = (uint32_t)r;
	c->s.gpr[i->reg] = r >> 32;
}

static void mulx_8(struct vcpu *c, const struct insn *i)
{
	unsigned __int128 r = (unsigned __int128)operand(c, i, 8) * c->s.gpr[GPR_RDX];

	c->s.gpr[i->vvvv] = (uint64_t)r;
	c->s.gpr[i->reg] = (uint64_t)(r >> 64);
}

insn_fn *bind_mul(const struct insn *i)
{
	static insn_fn *const mul[] = ROW(MUL), *const imul[] = ROW(IMUL), *const div[] = ROW(DIV),
			      *const idiv[] = ROW(IDIV);
	static insn_fn *const two[] = {NULL, imul2_2, imul2_4, imul2_8};
	static insn_fn *const three[] = {NULL, imul3_2, imul3_4, imul3_8};
	unsigned sz = size_index(i->opsize);

	switch (i->op) {
	case OP_MUL: return mul[sz];
	case OP_IMUL: return imul[sz];
	case OP_DIV: return div[sz];
	case OP_IDIV: return idiv[sz];
	case OP_IMUL2: return i->form == FORM_R_RM_I ? three[sz] : two[sz];
	case OP_MULX: return i->opsize == 8 ? mulx_8 : mulx_4;
	default: return NULL;
	}
}
