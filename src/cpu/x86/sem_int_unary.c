/* SPDX-License-Identifier: Apache-2.0 */
/* sem_int_unary.c - INC DEC NEG NOT, without LOCK.  INC and DEC keep the carry. */
#include "cpu/x86/sem_int.h"

#define UNARY(suf, mod, insn)                                    \
	asm("bt $0, %k[f]\n\t" insn suf " %" mod "[d]" FLAGS_OUT \
	    : [d] "+r"(d), "=a"(*ax)                             \
	    : [f] "r"(f)                                         \
	    : "cc")

static ALWAYS_INLINE uint64_t unary(enum x86_op op, unsigned sz, uint64_t d, uint64_t f,
				    uint64_t *ax)
{
	switch (op) {
	case OP_INC: ASM_BY_SIZE(sz, UNARY, "inc"); break;
	case OP_DEC: ASM_BY_SIZE(sz, UNARY, "dec"); break;
	default: ASM_BY_SIZE(sz, UNARY, "neg"); break;
	}
	return d;
}

static ALWAYS_INLINE void unary_r(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz,
				  bool hi)
{
	uint64_t ax, d = RM_IN(hi);

	if (op == OP_NOT) {
		RM_OUT(hi, reg_merge(d, ~d, sz));
		return;
	}
	d = unary(op, sz, d, c->s.rflags, &ax);
	RM_OUT(hi, d);
	flags_out(c, ax);
}

static ALWAYS_INLINE void unary_m(struct vcpu *c, const struct insn *i, enum ea_kind k,
				  insn_fn *any, enum x86_op op, unsigned sz)
{
	uint64_t d, ax;
	void *p = NULL;

	OR_SLOW(mem_rmw_begin(c, i, k, sz, &p, &d));
	if (op == OP_NOT) {
		mem_rmw_end(c, k, sz, p, ~d);
		return;
	}
	d = unary(op, sz, d, c->s.rflags, &ax);
	mem_rmw_end(c, k, sz, p, d);
	flags_out(c, ax);
}

#define FORMS(op)                                     \
	HANDLER(op##_r_1, unary_r, OP_##op, 1, false) \
	HANDLER(op##_r_2, unary_r, OP_##op, 2, false) \
	HANDLER(op##_r_4, unary_r, OP_##op, 4, false) \
	HANDLER(op##_r_8, unary_r, OP_##op, 8, false) \
	HANDLER(op##_r_hi, unary_r, OP_##op, 1, true) \
	HANDLER_ANY(op##_m_1, unary_m, OP_##op, 1)    \
	HANDLER_ANY(op##_m_2, unary_m, OP_##op, 2)    \
	HANDLERS_EA(op##_m_4, unary_m, OP_##op, 4)    \
	HANDLERS_EA(op##_m_8, unary_m, OP_##op, 8)

FORMS(INC)
FORMS(DEC)
FORMS(NEG)
FORMS(NOT)

static const struct {
	insn_fn *r[SIZES], *m[SIZES][EA_KINDS];
} tables[] = {
#define TABLE(op)                                                    \
	[OP_##op - OP_INC] = {                                       \
		{op##_r_1, op##_r_2, op##_r_4, op##_r_8, op##_r_hi}, \
		{ROW_ANY(op##_m_1), ROW_ANY(op##_m_2), ROW_EA(op##_m_4), ROW_EA(op##_m_8)}}
	TABLE(INC),
	TABLE(DEC),
	TABLE(NEG),
	TABLE(NOT),
#undef TABLE
};

insn_fn *bind_unary(const struct insn *i)
{
	unsigned sz = operand_index(i);

	if (i->op < OP_INC || i->op > OP_NOT)
		return NULL;
	if (has_mem(i))
		return tables[i->op - OP_INC].m[sz][ea_kind(i)];
	return tables[i->op - OP_INC].r[sz];
}
