/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_shift.c - shifts and rotates: D0..D3, C0, C1, SHLD, SHRD and those of BMI2.
 *
 * A count of 0 leaves the flags alone, rotates leave some of them always, and OF is
 * undefined for counts above 1.  So the guest's flags are made the host's first, and
 * the host does what it does.  Shifts by a constant that is not 0 rewrite all of them
 * but perhaps AF, which makes a shorter way in.
 */
#include "cpu/x86/sem_int.h"

#define SHIFT(suf, mod, insn)                                \
	asm(FLAGS_IN insn suf " %%cl, %" mod "[d]" FLAGS_OUT \
	    : [d] "+r"(d), "+&a"(*ax)                        \
	    : "c"(n)                                         \
	    : "cc")
#define SHIFT_CONST(suf, mod, insn)                            \
	asm("sahf\n\t" insn suf " %%cl, %" mod "[d]" FLAGS_OUT \
	    : [d] "+r"(d), "+&a"(*ax)                          \
	    : "c"(n)                                           \
	    : "cc")

/* Shift @d by @n, *@ax from flags_in() and for flags_out(). */
static ALWAYS_INLINE uint64_t shift(enum x86_op op, unsigned sz, uint64_t d, uint64_t n,
				    uint64_t *ax)
{
	switch (op) {
	case OP_ROL: ASM_BY_SIZE(sz, SHIFT, "rol"); break;
	case OP_ROR: ASM_BY_SIZE(sz, SHIFT, "ror"); break;
	case OP_RCL: ASM_BY_SIZE(sz, SHIFT, "rcl"); break;
	case OP_RCR: ASM_BY_SIZE(sz, SHIFT, "rcr"); break;
	case OP_SHL: ASM_BY_SIZE(sz, SHIFT, "shl"); break;
	case OP_SHR: ASM_BY_SIZE(sz, SHIFT, "shr"); break;
	default: ASM_BY_SIZE(sz, SHIFT, "sar"); break;
	}
	return d;
}

/* SHL, SHR and SAR by a count that is not 0.  *@ax: flags << 8. */
static ALWAYS_INLINE uint64_t shift_const(enum x86_op op, unsigned sz, uint64_t d, uint64_t n,
					  uint64_t *ax)
{
	switch (op) {
	case OP_SHL: ASM_BY_SIZE(sz, SHIFT_CONST, "shl"); break;
	case OP_SHR: ASM_BY_SIZE(sz, SHIFT_CONST, "shr"); break;
	default: ASM_BY_SIZE(sz, SHIFT_CONST, "sar"); break;
	}
	return d;
}

static ALWAYS_INLINE void shift_r(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz,
				  uint64_t n)
{
	uint64_t ax = flags_in(c), d = shift(op, sz, RM_IN(sz == 1), n, &ax);

	RM_OUT(sz == 1, d);
	flags_out(c, ax);
}

static ALWAYS_INLINE void shift_m(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz,
				  uint64_t n)
{
	uint64_t d, ax = flags_in(c);

	mem_rmw_begin(c, i, EA_ANY, sz, NULL, &d);
	d = shift(op, sz, d, n, &ax);
	mem_rmw_end(c, EA_ANY, sz, NULL, d);
	flags_out(c, ax);
}

static ALWAYS_INLINE void shift_rcl(struct vcpu *c, const struct insn *i, enum x86_op op,
				    unsigned sz)
{
	shift_r(c, i, op, sz, c->s.gpr[GPR_RCX]);
}

static ALWAYS_INLINE void shift_ri(struct vcpu *c, const struct insn *i, enum x86_op op,
				   unsigned sz)
{
	shift_r(c, i, op, sz, i->imm);
}

static ALWAYS_INLINE void shift_mcl(struct vcpu *c, const struct insn *i, enum x86_op op,
				    unsigned sz)
{
	shift_m(c, i, op, sz, c->s.gpr[GPR_RCX]);
}

static ALWAYS_INLINE void shift_mi(struct vcpu *c, const struct insn *i, enum x86_op op,
				   unsigned sz)
{
	shift_m(c, i, op, sz, i->imm);
}

static ALWAYS_INLINE void shift_const_r(struct vcpu *c, const struct insn *i, enum x86_op op,
					unsigned sz)
{
	uint64_t ax = c->s.rflags << 8;

	c->s.gpr[i->rm] = shift_const(op, sz, c->s.gpr[i->rm], i->imm, &ax);
	flags_out(c, ax);
}

#define SIZES4(name, template, op)         \
	HANDLER(name##_1, template, op, 1) \
	HANDLER(name##_2, template, op, 2) \
	HANDLER(name##_4, template, op, 4) \
	HANDLER(name##_8, template, op, 8)
#define ROW4(name)                                     \
	{                                              \
		name##_1, name##_2, name##_4, name##_8 \
	}
#define FORMS(op)                            \
	SIZES4(op##_rcl, shift_rcl, OP_##op) \
	SIZES4(op##_ri, shift_ri, OP_##op)   \
	SIZES4(op##_mcl, shift_mcl, OP_##op) \
	SIZES4(op##_mi, shift_mi, OP_##op)

FORMS(ROL)
FORMS(ROR)
FORMS(RCL)
FORMS(RCR)
FORMS(SHL)
FORMS(SHR)
FORMS(SAR)

#define CONST_FORMS(op)                                  \
	HANDLER(op##_const_4, shift_const_r, OP_##op, 4) \
	HANDLER(op##_const_8, shift_const_r, OP_##op, 8)
CONST_FORMS(SHL)
CONST_FORMS(SHR)
CONST_FORMS(SAR)

static const struct {
	insn_fn *cl[2][4], *imm[2][4]; /* register, memory */
} tables[] = {
#define TABLE(op) \
	[OP_##op - OP_ROL] = {{ROW4(op##_rcl), ROW4(op##_mcl)}, {ROW4(op##_ri), ROW4(op##_mi)}}
	TABLE(ROL), TABLE(ROR), TABLE(RCL), TABLE(RCR), TABLE(SHL), TABLE(SHR), TABLE(SAR),
#undef TABLE
};

static insn_fn *const const_table[][2] = {
	{SHL_const_4, SHL_const_8},
	{SHR_const_4, SHR_const_8},
	{SAR_const_4, SAR_const_8},
};

/* --- double shifts ---------------------------------------------------------------- */

#define DOUBLE(suf, mod, insn)                                            \
	asm(FLAGS_IN insn suf " %%cl, %" mod "[s], %" mod "[d]" FLAGS_OUT \
	    : [d] "+r"(d), "+&a"(ax)                                      \
	    : [s] "r"(c->s.gpr[i->reg]), "c"(n)                           \
	    : "cc")

static ALWAYS_INLINE void double_shift(struct vcpu *c, const struct insn *i, bool left, bool imm,
				       unsigned sz)
{
	uint64_t d, ax = flags_in(c), n = imm ? i->imm : c->s.gpr[GPR_RCX];

	if (has_mem(i))
		mem_rmw_begin(c, i, EA_ANY, sz, NULL, &d);
	else
		d = c->s.gpr[i->rm];
	if (left)
		ASM_BY_WIDE(sz, DOUBLE, "shld")
	else
		ASM_BY_WIDE(sz, DOUBLE, "shrd")
	if (has_mem(i))
		mem_rmw_end(c, EA_ANY, sz, NULL, d);
	else
		c->s.gpr[i->rm] = d;
	flags_out(c, ax);
}

#define DOUBLE_FORMS(name, left)                           \
	HANDLER(name##_cl_2, double_shift, left, false, 2) \
	HANDLER(name##_cl_4, double_shift, left, false, 4) \
	HANDLER(name##_cl_8, double_shift, left, false, 8) \
	HANDLER(name##_i_2, double_shift, left, true, 2)   \
	HANDLER(name##_i_4, double_shift, left, true, 4)   \
	HANDLER(name##_i_8, double_shift, left, true, 8)
DOUBLE_FORMS(shld, true)
DOUBLE_FORMS(shrd, false)

/* [operation][by immediate][size]; there is no byte form */
static insn_fn *const double_table[2][2][4] = {
	{{NULL, shld_cl_2, shld_cl_4, shld_cl_8}, {NULL, shld_i_2, shld_i_4, shld_i_8}},
	{{NULL, shrd_cl_2, shrd_cl_4, shrd_cl_8}, {NULL, shrd_i_2, shrd_i_4, shrd_i_8}},
};

/* --- BMI2: no flags ----------------------------------------------------------------- */

static ALWAYS_INLINE void shift_x(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	uint64_t v, r;
	unsigned n = (op == OP_RORX ? i->imm : c->s.gpr[i->vvvv]) & (sz * 8 - 1);

	if (has_mem(i))
		mem_load(c, i, EA_ANY, sz, &v);
	else
		v = gpr_get(c, i->rm, sz);
	switch (op) {
	case OP_SHLX: r = v << n; break;
	case OP_SHRX: r = v >> n; break;
	case OP_SARX: r = (uint64_t)(sz == 4 ? (int32_t)v >> n : (int64_t)v >> n); break;
	default: r = v >> n | v << (-n & (sz * 8 - 1)); break;
	}
	c->s.gpr[i->reg] = sz == 4 ? (uint32_t)r : r;
}

#define X_FORMS(op)                          \
	HANDLER(op##_4, shift_x, OP_##op, 4) \
	HANDLER(op##_8, shift_x, OP_##op, 8)
X_FORMS(SHLX)
X_FORMS(SHRX)
X_FORMS(SARX)
X_FORMS(RORX)

static insn_fn *const x_table[][2] = {
	{SHLX_4, SHLX_8},
	{SHRX_4, SHRX_8},
	{SARX_4, SARX_8},
	{RORX_4, RORX_8},
};

insn_fn *bind_shift(const struct insn *i)
{
	unsigned sz = size_index(i->opsize), n = i->op - OP_ROL;

	if (i->op == OP_SHLD || i->op == OP_SHRD)
		return double_table[i->op == OP_SHRD][i->form == FORM_RM_R_I][sz];
	if (i->op >= OP_SHLX && i->op <= OP_RORX)
		return x_table[i->op - OP_SHLX][i->opsize == 8];
	if (i->op < OP_ROL || i->op > OP_SAR)
		return NULL;
	if (i->form != FORM_RM_I)
		return tables[n].cl[has_mem(i)][sz];
	if (i->op >= OP_SHL && !has_mem(i) && sz >= SIZE_4 && i->imm & (i->opsize * 8 - 1))
		return const_table[i->op - OP_SHL][i->opsize == 8];
	return tables[n].imm[has_mem(i)][sz];
}
