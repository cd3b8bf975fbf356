/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_lock.c - LOCK forms, XCHG, XADD, CMPXCHG, CMPXCHG8B and CMPXCHG16B.
 *
 * The host's locked instruction runs on guest memory itself.  An operand that crosses
 * pages or is not RAM is copied out under split_lock(), the same instruction runs on
 * the copy, and the copy goes back.  XADD, CMPXCHG and their like lock in any case:
 * more order than asked for harms nobody.
 */
#include "cpu/x86/sem_int.h"

void *atomic_begin_slow(struct vcpu *c, gva_t lin, unsigned sz, uint64_t *copy)
{
	split_lock(c);
	*copy = rmw_load(c, lin, sz);
	return copy;
}

void atomic_end_slow(struct vcpu *c, unsigned sz, uint64_t copy)
{
	rmw_store(c, sz, copy);
	split_unlock(c);
}

/* --- LOCK on what has a plain form as well ------------------------------------ */

#define LOCKED2(suf, mod, insn)                                                        \
	asm volatile("bt $0, %k[f]\n\tlock " insn suf " %" mod "[s], (%[p])" FLAGS_OUT \
		     : "=a"(ax)                                                        \
		     : [s] "r"(s), [p] "r"(p), [f] "r"(f)                              \
		     : "cc", "memory")
#define LOCKED1(suf, mod, insn)                                           \
	asm volatile("bt $0, %k[f]\n\tlock " insn suf " (%[p])" FLAGS_OUT \
		     : "=a"(ax)                                           \
		     : [p] "r"(p), [f] "r"(f)                             \
		     : "cc", "memory")

static ALWAYS_INLINE void locked(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz,
				 uint64_t s)
{
	uint64_t copy, ax, f = c->s.rflags;
	void *p = atomic_begin(c, i, sz, &copy);

	switch (op) {
	case OP_ADD: ASM_BY_SIZE(sz, LOCKED2, "add"); break;
	case OP_OR: ASM_BY_SIZE(sz, LOCKED2, "or"); break;
	case OP_ADC: ASM_BY_SIZE(sz, LOCKED2, "adc"); break;
	case OP_SBB: ASM_BY_SIZE(sz, LOCKED2, "sbb"); break;
	case OP_AND: ASM_BY_SIZE(sz, LOCKED2, "and"); break;
	case OP_SUB: ASM_BY_SIZE(sz, LOCKED2, "sub"); break;
	case OP_XOR: ASM_BY_SIZE(sz, LOCKED2, "xor"); break;
	case OP_INC: ASM_BY_SIZE(sz, LOCKED1, "inc"); break;
	case OP_DEC: ASM_BY_SIZE(sz, LOCKED1, "dec"); break;
	case OP_NEG: ASM_BY_SIZE(sz, LOCKED1, "neg"); break;
	default: ASM_BY_SIZE(sz, LOCKED1, "not"); break;
	}
	atomic_end(c, sz, p, &copy);
	if (op != OP_NOT)
		flags_out(c, ax);
}

static ALWAYS_INLINE void lock_mr(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	locked(c, i, op, sz, REG_IN(sz == 1));
}

static ALWAYS_INLINE void lock_mi(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	locked(c, i, op, sz, i->imm);
}

#define LOCK_SIZES(name, template, ...)             \
	HANDLER(name##_1, template, __VA_ARGS__, 1) \
	HANDLER(name##_2, template, __VA_ARGS__, 2) \
	HANDLER(name##_4, template, __VA_ARGS__, 4) \
	HANDLER(name##_8, template, __VA_ARGS__, 8)
#define LOCK_ROW(name)                                 \
	{                                              \
		name##_1, name##_2, name##_4, name##_8 \
	}
#define LOCK_BOTH(op)                         \
	LOCK_SIZES(op##_mr, lock_mr, OP_##op) \
	LOCK_SIZES(op##_mi, lock_mi, OP_##op)

LOCK_BOTH(ADD)
LOCK_BOTH(OR)
LOCK_BOTH(ADC)
LOCK_BOTH(SBB)
LOCK_BOTH(AND)
LOCK_BOTH(SUB)
LOCK_BOTH(XOR)
LOCK_SIZES(INC, lock_mi, OP_INC)
LOCK_SIZES(DEC, lock_mi, OP_DEC)
LOCK_SIZES(NEG, lock_mi, OP_NEG)
LOCK_SIZES(NOT, lock_mi, OP_NOT)

static insn_fn *const alu_mr[][4] = {
	LOCK_ROW(ADD_mr), LOCK_ROW(OR_mr),  LOCK_ROW(ADC_mr), LOCK_ROW(SBB_mr),
	LOCK_ROW(AND_mr), LOCK_ROW(SUB_mr), LOCK_ROW(XOR_mr),
};
static insn_fn *const alu_mi[][4] = {
	LOCK_ROW(ADD_mi), LOCK_ROW(OR_mi),  LOCK_ROW(ADC_mi), LOCK_ROW(SBB_mi),
	LOCK_ROW(AND_mi), LOCK_ROW(SUB_mi), LOCK_ROW(XOR_mi),
};
static insn_fn *const unary_m[][4] = {LOCK_ROW(INC), LOCK_ROW(DEC), LOCK_ROW(NEG), LOCK_ROW(NOT)};

/* --- XCHG and XADD --------------------------------------------------------------- */

/* Bytes write one byte, wherever the register's is; others go out whole. */
static ALWAYS_INLINE void swap_out(struct vcpu *c, const struct insn *i, unsigned sz, uint64_t v)
{
	if (sz == 1)
		REG_OUT(true, v);
	else
		c->s.gpr[i->reg] = reg_merge(c->s.gpr[i->reg], v, sz);
}

#define XCHG_MEM(suf, mod, insn) \
	asm volatile(insn suf " %" mod "[s], (%[p])" : [s] "+r"(s) : [p] "r"(p) : "memory")

static ALWAYS_INLINE void xchg_m(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t copy, s = REG_IN(sz == 1);
	void *p = atomic_begin(c, i, sz, &copy);

	ASM_BY_SIZE(sz, XCHG_MEM, "xchg");
	atomic_end(c, sz, p, &copy);
	swap_out(c, i, sz, s);
}

static ALWAYS_INLINE void xchg_r(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t a = REG_IN(sz == 1), b = RM_IN(sz == 1);

	if (sz == 1) {
		RM_OUT(true, a);
	} else {
		c->s.gpr[i->rm] = reg_merge(b, a, sz);
	}
	swap_out(c, i, sz, b);
}

#define XADD_MEM(suf, mod, insn)                                       \
	asm volatile("lock " insn suf " %" mod "[s], (%[p])" FLAGS_OUT \
		     : [s] "+r"(s), "=a"(ax)                           \
		     : [p] "r"(p)                                      \
		     : "cc", "memory")
#define XADD_REG(suf, mod, insn)                           \
	asm(insn suf " %" mod "[s], %" mod "[d]" FLAGS_OUT \
	    : [s] "+r"(s), [d] "+r"(d), "=a"(ax)           \
	    :                                              \
	    : "cc")

static ALWAYS_INLINE void xadd_m(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t copy, ax, s = REG_IN(sz == 1);
	void *p = atomic_begin(c, i, sz, &copy);

	ASM_BY_SIZE(sz, XADD_MEM, "xadd");
	atomic_end(c, sz, p, &copy);
	swap_out(c, i, sz, s);
	flags_out(c, ax);
}

/* The sum is written last: it stays when both operands are one register. */
static ALWAYS_INLINE void xadd_r(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t ax, s = REG_IN(sz == 1), d = RM_IN(sz == 1);

	ASM_BY_SIZE(sz, XADD_REG, "xadd");
	swap_out(c, i, sz, s);
	if (sz == 1)
		RM_OUT(true, d);
	else
		c->s.gpr[i->rm] = reg_merge(c->s.gpr[i->rm], d, sz);
	flags_out(c, ax);
}

/* --- CMPXCHG ------------------------------------------------------------------------ */

#define CMPXCHG_MEM(suf, mod, insn)                                                         \
	asm volatile("lock " insn suf " %" mod "[s], (%[p])\n\tmov %%rax, %[acc]" FLAGS_OUT \
		     : [acc] "=&r"(acc), "+&a"(ax)                                          \
		     : [p] "r"(p), [s] "r"(s)                                               \
		     : "cc", "memory")
#define CMPXCHG_REG(suf, mod, insn)                                             \
	asm(insn suf " %" mod "[s], %" mod "[d]\n\tmov %%rax, %[acc]" FLAGS_OUT \
	    : [acc] "=&r"(acc), [d] "+&r"(d), "+&a"(ax)                         \
	    : [s] "r"(s)                                                        \
	    : "cc")

static ALWAYS_INLINE void cmpxchg_m(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t copy, acc, s = REG_IN(sz == 1), ax = c->s.gpr[GPR_RAX];
	void *p = atomic_begin(c, i, sz, &copy);

	ASM_BY_SIZE(sz, CMPXCHG_MEM, "cmpxchg");
	atomic_end(c, sz, p, &copy);
	c->s.gpr[GPR_RAX] = acc;
	flags_out(c, ax);
}

/* The accumulator is written first: when it is the destination too, the two were equal. */
static ALWAYS_INLINE void cmpxchg_r(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t acc, s = REG_IN(sz == 1), d = RM_IN(sz == 1), ax = c->s.gpr[GPR_RAX];

	ASM_BY_SIZE(sz, CMPXCHG_REG, "cmpxchg");
	c->s.gpr[GPR_RAX] = acc;
	RM_OUT(sz == 1, d);
	flags_out(c, ax);
}

#define EACH(op)                     \
	HANDLER(op##_m_1, op##_m, 1) \
	HANDLER(op##_m_2, op##_m, 2) \
	HANDLER(op##_m_4, op##_m, 4) \
	HANDLER(op##_m_8, op##_m, 8) \
	HANDLER(op##_r_1, op##_r, 1) \
	HANDLER(op##_r_2, op##_r, 2) \
	HANDLER(op##_r_4, op##_r, 4) \
	HANDLER(op##_r_8, op##_r, 8)
EACH(xchg)
EACH(xadd)
EACH(cmpxchg)

static insn_fn *const exchange[][2][4] = {
	{LOCK_ROW(xchg_r), LOCK_ROW(xchg_m)},
	{LOCK_ROW(xadd_r), LOCK_ROW(xadd_m)},
	{LOCK_ROW(cmpxchg_r), LOCK_ROW(cmpxchg_m)},
};

/* The double ones change ZF only. */
static void set_zf(struct vcpu *c, bool zf)
{
	c->s.rflags = (c->s.rflags & ~(uint64_t)FL_ZF) | (zf ? FL_ZF : 0);
}

static void cmpxchg8b(struct vcpu *c, const struct insn *i)
{
	uint64_t *r = c->s.gpr, copy, rax = r[GPR_RAX], rdx = r[GPR_RDX];
	void *p = atomic_begin(c, i, 8, &copy);
	bool zf;

	asm volatile("lock cmpxchg8b (%[p])"
		     : "+a"(rax), "+d"(rdx), "=@ccz"(zf)
		     : [p] "r"(p), "b"(r[GPR_RBX]), "c"(r[GPR_RCX])
		     : "memory");
	atomic_end(c, 8, p, &copy);
	r[GPR_RAX] = rax;
	r[GPR_RDX] = rdx;
	set_zf(c, zf);
}

/* Aligned, so it is never split: either RAM in one page or not RAM at all. */
static void cmpxchg16b(struct vcpu *c, const struct insn *i)
{
	uint64_t *r = c->s.gpr, rax = r[GPR_RAX], rdx = r[GPR_RDX];
	uint64_t copy[2] __attribute__((aligned(16)));
	gva_t lin = insn_lin(c, i, 16, ACCESS_WRITE);
	void *p;
	bool zf;

	if (lin & 15)
		raise_gp(c, 0);
	p = atomic_ptr(c, lin, 16);
	if (!p)
		lin_load_slow(c, lin, copy, 16);
	asm volatile("lock cmpxchg16b (%[p])"
		     : "+a"(rax), "+d"(rdx), "=@ccz"(zf)
		     : [p] "r"(p ? p : copy), "b"(r[GPR_RBX]), "c"(r[GPR_RCX])
		     : "memory");
	if (!p)
		lin_store_slow(c, lin, copy, 16);
	r[GPR_RAX] = rax;
	r[GPR_RDX] = rdx;
	set_zf(c, zf);
}

insn_fn *bind_lock(const struct insn *i)
{
	unsigned sz = size_index(i->opsize);

	switch (i->op) {
	case OP_XCHG: return exchange[0][has_mem(i)][sz];
	case OP_XADD: return exchange[1][has_mem(i)][sz];
	case OP_CMPXCHG: return exchange[2][has_mem(i)][sz];
	case OP_CMPXCHG8B: return cmpxchg8b;
	case OP_CMPXCHG16B: return cmpxchg16b;
	default: break;
	}
	if (!(i->flags & INSN_LOCK))
		return NULL;
	if (i->op >= OP_ADD && i->op <= OP_XOR && i->form == FORM_RM_I)
		return alu_mi[i->op - OP_ADD][sz];
	if (i->op >= OP_ADD && i->op <= OP_XOR)
		return alu_mr[i->op - OP_ADD][sz];
	if (i->op >= OP_INC && i->op <= OP_NOT)
		return unary_m[i->op - OP_INC][sz];
	return NULL;
}
