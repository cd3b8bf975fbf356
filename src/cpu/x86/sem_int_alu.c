/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_alu.c - ADD OR ADC SBB AND SUB XOR CMP TEST, all forms without LOCK.
 *
 * One template for each form; tables hold a handler for each operation, size and
 * address kind.  Words and high bytes are too rare for address kinds.
 */
#include "cpu/x86/sem_int.h"

#define PLAIN(suf, mod, insn)                              \
	asm(insn suf " %" mod "[s], %" mod "[d]" FLAGS_OUT \
	    : [d] "+r"(d), "=a"(*ax)                       \
	    : [s] "r"(s)                                   \
	    : "cc")
#define CARRY(suf, mod, insn)                                                 \
	asm("bt $0, %k[f]\n\t" insn suf " %" mod "[s], %" mod "[d]" FLAGS_OUT \
	    : [d] "+r"(d), "=a"(*ax)                                          \
	    : [s] "r"(s), [f] "r"(f)                                          \
	    : "cc")
#define TEST_ONLY(suf, mod, insn)                          \
	asm(insn suf " %" mod "[s], %" mod "[d]" FLAGS_OUT \
	    : "=a"(*ax)                                    \
	    : [s] "r"(s), [d] "r"(d)                       \
	    : "cc")

/* @d op @s with flags @f before and *@ax after; only the low @sz bytes of @d are operated on. */
static ALWAYS_INLINE uint64_t alu(enum x86_op op, unsigned sz, uint64_t d, uint64_t s, uint64_t f,
				  uint64_t *ax)
{
	switch (op) {
	case OP_ADD: ASM_BY_SIZE(sz, PLAIN, "add"); break;
	case OP_OR: ASM_BY_SIZE(sz, PLAIN, "or"); break;
	case OP_ADC: ASM_BY_SIZE(sz, CARRY, "adc"); break;
	case OP_SBB: ASM_BY_SIZE(sz, CARRY, "sbb"); break;
	case OP_AND: ASM_BY_SIZE(sz, PLAIN, "and"); break;
	case OP_SUB: ASM_BY_SIZE(sz, PLAIN, "sub"); break;
	case OP_XOR: ASM_BY_SIZE(sz, PLAIN, "xor"); break;
	case OP_CMP: ASM_BY_SIZE(sz, TEST_ONLY, "cmp"); break;
	default: ASM_BY_SIZE(sz, TEST_ONLY, "test"); break;
	}
	return d;
}

static ALWAYS_INLINE bool writes(enum x86_op op)
{
	return op != OP_CMP && op != OP_TEST;
}

static ALWAYS_INLINE void alu_rr(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz,
				 bool hi)
{
	uint64_t ax;
	uint64_t d = alu(op, sz, RM_IN(hi), REG_IN(hi), c->s.rflags, &ax);

	if (writes(op))
		RM_OUT(hi, d);
	flags_out(c, ax);
}

/* The same with the register as destination (FORM_R_RM with two registers). */
static ALWAYS_INLINE void alu_rr2(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz,
				  bool hi)
{
	uint64_t ax;
	uint64_t d = alu(op, sz, REG_IN(hi), RM_IN(hi), c->s.rflags, &ax);

	if (writes(op))
		REG_OUT(hi, d);
	flags_out(c, ax);
}

static ALWAYS_INLINE void alu_ri(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz,
				 bool hi)
{
	uint64_t ax;
	uint64_t d = alu(op, sz, RM_IN(hi), i->imm, c->s.rflags, &ax);

	if (writes(op))
		RM_OUT(hi, d);
	flags_out(c, ax);
}

static ALWAYS_INLINE void alu_rm(struct vcpu *c, const struct insn *i, enum ea_kind k, insn_fn *any,
				 enum x86_op op, unsigned sz, bool hi)
{
	uint64_t s, d, ax;

	OR_SLOW(mem_load(c, i, k, sz, &s));
	d = alu(op, sz, REG_IN(hi), s, c->s.rflags, &ax);
	if (writes(op))
		REG_OUT(hi, d);
	flags_out(c, ax);
}

static ALWAYS_INLINE void alu_m(struct vcpu *c, const struct insn *i, enum ea_kind k, insn_fn *any,
				enum x86_op op, unsigned sz, uint64_t s)
{
	uint64_t d, ax;
	void *p = NULL;

	if (writes(op)) {
		OR_SLOW(mem_rmw_begin(c, i, k, sz, &p, &d));
		d = alu(op, sz, d, s, c->s.rflags, &ax);
		mem_rmw_end(c, k, sz, p, d);
	} else {
		OR_SLOW(mem_load(c, i, k, sz, &d));
		alu(op, sz, d, s, c->s.rflags, &ax);
	}
	flags_out(c, ax);
}

static ALWAYS_INLINE void alu_mr(struct vcpu *c, const struct insn *i, enum ea_kind k, insn_fn *any,
				 enum x86_op op, unsigned sz, bool hi)
{
	alu_m(c, i, k, any, op, sz, REG_IN(hi));
}

static ALWAYS_INLINE void alu_mi(struct vcpu *c, const struct insn *i, enum ea_kind k, insn_fn *any,
				 enum x86_op op, unsigned sz, bool hi)
{
	alu_m(c, i, k, any, op, sz, i->imm);
}

#define REG_FORM(op, form)                                      \
	HANDLER(op##_##form##_1, alu_##form, OP_##op, 1, false) \
	HANDLER(op##_##form##_2, alu_##form, OP_##op, 2, false) \
	HANDLER(op##_##form##_4, alu_##form, OP_##op, 4, false) \
	HANDLER(op##_##form##_8, alu_##form, OP_##op, 8, false) \
	HANDLER(op##_##form##_hi, alu_##form, OP_##op, 1, true)
#define MEM_FORM(op, form)                                          \
	HANDLERS_EA(op##_##form##_1, alu_##form, OP_##op, 1, false) \
	HANDLER_ANY(op##_##form##_2, alu_##form, OP_##op, 2, false) \
	HANDLERS_EA(op##_##form##_4, alu_##form, OP_##op, 4, false) \
	HANDLERS_EA(op##_##form##_8, alu_##form, OP_##op, 8, false) \
	HANDLER_ANY(op##_##form##_hi, alu_##form, OP_##op, 1, true)
#define ALL_FORMS(op)     \
	REG_FORM(op, rr)  \
	REG_FORM(op, rr2) \
	REG_FORM(op, ri)  \
	MEM_FORM(op, rm)  \
	MEM_FORM(op, mr)  \
	MEM_FORM(op, mi)

ALL_FORMS(ADD)
ALL_FORMS(OR)
ALL_FORMS(ADC)
ALL_FORMS(SBB)
ALL_FORMS(AND)
ALL_FORMS(SUB)
ALL_FORMS(XOR)
ALL_FORMS(CMP)
ALL_FORMS(TEST)

struct alu_table {
	insn_fn *rr[SIZES], *rr2[SIZES], *ri[SIZES];
	insn_fn *rm[SIZES][EA_KINDS], *mr[SIZES][EA_KINDS], *mi[SIZES][EA_KINDS];
};

#define REG_ROW(name)                                             \
	{                                                         \
		name##_1, name##_2, name##_4, name##_8, name##_hi \
	}
#define MEM_ROW(name)                                                                    \
	{                                                                                \
		ROW_EA(name##_1), ROW_ANY(name##_2), ROW_EA(name##_4), ROW_EA(name##_8), \
			ROW_ANY(name##_hi)                                               \
	}
#define TABLE(op)                                                                    \
	[OP_##op - OP_ADD] = {REG_ROW(op##_rr), REG_ROW(op##_rr2), REG_ROW(op##_ri), \
			      MEM_ROW(op##_rm), MEM_ROW(op##_mr),  MEM_ROW(op##_mi)}

static const struct alu_table tables[] = {
	TABLE(ADD), TABLE(OR),	TABLE(ADC), TABLE(SBB),	 TABLE(AND),
	TABLE(SUB), TABLE(XOR), TABLE(CMP), TABLE(TEST),
};

insn_fn *bind_alu(const struct insn *i)
{
	const struct alu_table *t;
	unsigned sz = operand_index(i);

	if (i->op < OP_ADD || i->op > OP_TEST)
		return NULL;
	t = &tables[i->op - OP_ADD];
	switch (i->form) {
	case FORM_RM_R: return has_mem(i) ? t->mr[sz][ea_kind(i)] : t->rr[sz];
	case FORM_R_RM: return has_mem(i) ? t->rm[sz][ea_kind(i)] : t->rr2[sz];
	case FORM_RM_I: return has_mem(i) ? t->mi[sz][ea_kind(i)] : t->ri[sz];
	default: return NULL;
	}
}
