/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_mov.c - MOV MOVZX MOVSX MOVSXD LEA CMOVcc SETcc.
 *
 * The commonest instructions there are: sizes, address kinds and conditions are all
 * constants here.  Registers are written whole, so a MOV of a byte or word merges.
 */
#include "cpu/x86/sem_int.h"

/* --- MOV -------------------------------------------------------------------------- */

static ALWAYS_INLINE void mov_to(struct vcpu *c, unsigned n, unsigned sz, uint64_t v)
{
	c->s.gpr[n] = reg_merge(c->s.gpr[n], v, sz);
}

static ALWAYS_INLINE void mov_rr(struct vcpu *c, const struct insn *i, unsigned sz)
{
	mov_to(c, i->rm, sz, c->s.gpr[i->reg]);
}

static ALWAYS_INLINE void mov_rr2(struct vcpu *c, const struct insn *i, unsigned sz)
{
	mov_to(c, i->reg, sz, c->s.gpr[i->rm]);
}

static ALWAYS_INLINE void mov_ri(struct vcpu *c, const struct insn *i, unsigned sz)
{
	mov_to(c, i->rm, sz, i->imm);
}

static ALWAYS_INLINE void mov_rm(struct vcpu *c, const struct insn *i, enum ea_kind k, insn_fn *any,
				 unsigned sz)
{
	uint64_t v;

	OR_SLOW(mem_load(c, i, k, sz, &v));
	mov_to(c, i->reg, sz, v);
}

static ALWAYS_INLINE void mov_mr(struct vcpu *c, const struct insn *i, enum ea_kind k, insn_fn *any,
				 unsigned sz)
{
	OR_SLOW(mem_store(c, i, k, sz, c->s.gpr[i->reg]));
}

static ALWAYS_INLINE void mov_mi(struct vcpu *c, const struct insn *i, enum ea_kind k, insn_fn *any,
				 unsigned sz)
{
	OR_SLOW(mem_store(c, i, k, sz, i->imm));
}

#define REG_FORM(form)             \
	HANDLER(form##_1, form, 1) \
	HANDLER(form##_2, form, 2) \
	HANDLER(form##_4, form, 4) \
	HANDLER(form##_8, form, 8)
#define MEM_FORM(form)                 \
	HANDLERS_EA(form##_1, form, 1) \
	HANDLERS_EA(form##_2, form, 2) \
	HANDLERS_EA(form##_4, form, 4) \
	HANDLERS_EA(form##_8, form, 8)
#define REG_ROW(name)                                  \
	{                                              \
		name##_1, name##_2, name##_4, name##_8 \
	}
#define MEM_ROW(name)                                                                  \
	{                                                                              \
		ROW_EA(name##_1), ROW_EA(name##_2), ROW_EA(name##_4), ROW_EA(name##_8) \
	}

REG_FORM(mov_rr)
REG_FORM(mov_rr2)
REG_FORM(mov_ri)
MEM_FORM(mov_rm)
MEM_FORM(mov_mr)
MEM_FORM(mov_mi)

/* AH .. BH on one side or both, and whatever goes with them. */
static void mov_rr_hi(struct vcpu *c, const struct insn *i)
{
	RM_OUT(true, REG_IN(true));
}

static void mov_rr2_hi(struct vcpu *c, const struct insn *i)
{
	REG_OUT(true, RM_IN(true));
}

static void mov_ri_hi(struct vcpu *c, const struct insn *i)
{
	RM_OUT(true, i->imm);
}

static void mov_rm_hi(struct vcpu *c, const struct insn *i)
{
	uint64_t v;

	mem_load(c, i, EA_ANY, 1, &v);
	REG_OUT(true, v);
}

static void mov_mr_hi(struct vcpu *c, const struct insn *i)
{
	mem_store(c, i, EA_ANY, 1, REG_IN(true));
}

static insn_fn *bind_mov_hi(const struct insn *i)
{
	switch (i->form) {
	case FORM_RM_R: return has_mem(i) ? mov_mr_hi : mov_rr_hi;
	case FORM_R_RM: return has_mem(i) ? mov_rm_hi : mov_rr2_hi;
	default: return mov_ri_hi;
	}
}

static insn_fn *bind_plain_mov(const struct insn *i)
{
	static insn_fn *const rr[] = REG_ROW(mov_rr), *const rr2[] = REG_ROW(mov_rr2),
			      *const ri[] = REG_ROW(mov_ri);
	static insn_fn *const rm[][EA_KINDS] = MEM_ROW(mov_rm), *const mr[][EA_KINDS] =
									MEM_ROW(mov_mr);
	static insn_fn *const mi[][EA_KINDS] = MEM_ROW(mov_mi);
	unsigned sz = size_index(i->opsize);

	if (i->flags & (INSN_REG_HI | INSN_RM_HI))
		return bind_mov_hi(i);
	switch (i->form) {
	case FORM_RM_R: return has_mem(i) ? mr[sz][ea_kind(i)] : rr[sz];
	case FORM_R_RM: return has_mem(i) ? rm[sz][ea_kind(i)] : rr2[sz];
	case FORM_RM_I: return has_mem(i) ? mi[sz][ea_kind(i)] : ri[sz];
	default: return NULL;
	}
}

/* --- MOVZX, MOVSX, MOVSXD ------------------------------------------------------------ */

static ALWAYS_INLINE uint64_t extend(uint64_t v, unsigned from, bool sign)
{
	switch (from) {
	case 1: return sign ? (uint64_t)(int8_t)v : (uint8_t)v;
	case 2: return sign ? (uint64_t)(int16_t)v : (uint16_t)v;
	default: return sign ? (uint64_t)(int32_t)v : (uint32_t)v;
	}
}

static ALWAYS_INLINE void movx_r(struct vcpu *c, const struct insn *i, unsigned from, unsigned to,
				 bool sign)
{
	mov_to(c, i->reg, to, extend(c->s.gpr[i->rm], from, sign));
}

/* From AH .. BH. */
static void movx_hi(struct vcpu *c, const struct insn *i)
{
	uint64_t v = extend(RM_IN(true), 1, i->op == OP_MOVSX);

	gpr_set(c, i->reg, i->opsize, v);
}

static ALWAYS_INLINE void movx_m(struct vcpu *c, const struct insn *i, enum ea_kind k, insn_fn *any,
				 unsigned from, unsigned to, bool sign)
{
	uint64_t v;

	OR_SLOW(mem_load(c, i, k, from, &v));
	mov_to(c, i->reg, to, extend(v, from, sign));
}

#define MOVX(name, from, to, sign)                \
	HANDLER(name##_r, movx_r, from, to, sign) \
	HANDLERS_EA(name##_m, movx_m, from, to, sign)
#define MOVX_ROW(name)                     \
	{                                  \
		name##_r, ROW_EA(name##_m) \
	}
MOVX(movzx_1_2, 1, 2, false)
MOVX(movzx_1_8, 1, 8, false)
MOVX(movzx_2_2, 2, 2, false)
MOVX(movzx_2_8, 2, 8, false)
MOVX(movsx_1_2, 1, 2, true)
MOVX(movsx_1_4, 1, 4, true)
MOVX(movsx_1_8, 1, 8, true)
MOVX(movsx_2_2, 2, 2, true)
MOVX(movsx_2_4, 2, 4, true)
MOVX(movsx_2_8, 2, 8, true)
MOVX(movsx_4_2, 4, 2, true)
MOVX(movsx_4_4, 4, 4, true)
MOVX(movsx_4_8, 4, 8, true)

struct movx_row {
	insn_fn *r, *m[EA_KINDS];
};

static insn_fn *bind_movx(const struct insn *i)
{
	/* zero-extension to 32 bits is the same as to 64 */
	static const struct movx_row zx[2][3] = {
		{MOVX_ROW(movzx_1_2), MOVX_ROW(movzx_1_8), MOVX_ROW(movzx_1_8)},
		{MOVX_ROW(movzx_2_2), MOVX_ROW(movzx_2_8), MOVX_ROW(movzx_2_8)},
	};
	/* MOVSXD to 16 bits reads 32, on AMD processors at least */
	static const struct movx_row sx[3][3] = {
		{MOVX_ROW(movsx_1_2), MOVX_ROW(movsx_1_4), MOVX_ROW(movsx_1_8)},
		{MOVX_ROW(movsx_2_2), MOVX_ROW(movsx_2_4), MOVX_ROW(movsx_2_8)},
		{MOVX_ROW(movsx_4_2), MOVX_ROW(movsx_4_4), MOVX_ROW(movsx_4_8)},
	};
	unsigned from = size_index(i->srcsize), to = size_index(i->opsize) - SIZE_2;
	const struct movx_row *row = i->op == OP_MOVZX ? &zx[from][to] : &sx[from][to];

	if (i->flags & INSN_RM_HI)
		return movx_hi;
	return has_mem(i) ? row->m[ea_kind(i)] : row->r;
}

/* --- LEA -------------------------------------------------------------------------------- */

static ALWAYS_INLINE void lea(struct vcpu *c, const struct insn *i, enum ea_kind k, insn_fn *any,
			      unsigned sz)
{
	mov_to(c, i->reg, sz, ea_value(c, i, k));
}

HANDLER_ANY(lea_2, lea, 2)
HANDLERS_EA(lea_4, lea, 4)
HANDLERS_EA(lea_8, lea, 8)

/* The address has no segment here, so that an override changes nothing. */
static insn_fn *bind_lea(const struct insn *i)
{
	static insn_fn *const table[][EA_KINDS] = {ROW_ANY(lea_2), ROW_EA(lea_4), ROW_EA(lea_8)};

	return table[size_index(i->opsize) - SIZE_2][ea_kind(i)];
}

/* --- CMOVcc: the load happens, and the upper half is cleared, in any case ------------------ */

static ALWAYS_INLINE void cmov(struct vcpu *c, const struct insn *i, unsigned sz, uint64_t v,
			       unsigned cc)
{
	uint64_t old = c->s.gpr[i->reg];

	c->s.gpr[i->reg] = reg_merge(old, cond_true(c->s.rflags, cc) ? v : old, sz);
}

static ALWAYS_INLINE void cmov_r(struct vcpu *c, const struct insn *i, unsigned cc, unsigned sz)
{
	cmov(c, i, sz, c->s.gpr[i->rm], cc);
}

static ALWAYS_INLINE void cmov_m(struct vcpu *c, const struct insn *i, unsigned cc, unsigned sz)
{
	uint64_t v;

	mem_load(c, i, EA_ANY, sz, &v);
	cmov(c, i, sz, v, cc);
}

#define CMOV(cc, form, sz) HANDLER(cmov_##form##_##sz##_##cc, cmov_##form, cc, sz)
FOR_EACH_CC(CMOV, r, 4)
FOR_EACH_CC(CMOV, r, 8)
FOR_EACH_CC(CMOV, m, 4)
FOR_EACH_CC(CMOV, m, 8)
HANDLER(cmov_r_2, cmov_r, i->cc, 2)
HANDLER(cmov_m_2, cmov_m, i->cc, 2)

static insn_fn *bind_cmov(const struct insn *i)
{
	static insn_fn *const table[2][2][16] = {
		{ROW_CC(cmov_r_4), ROW_CC(cmov_r_8)},
		{ROW_CC(cmov_m_4), ROW_CC(cmov_m_8)},
	};

	if (i->opsize == 2)
		return has_mem(i) ? cmov_m_2 : cmov_r_2;
	return table[has_mem(i)][i->opsize == 8][i->cc];
}

/* --- SETcc ---------------------------------------------------------------------------------- */

static ALWAYS_INLINE void setcc_r(struct vcpu *c, const struct insn *i, unsigned cc)
{
	mov_to(c, i->rm, 1, cond_true(c->s.rflags, cc));
}

static ALWAYS_INLINE void setcc_m(struct vcpu *c, const struct insn *i, unsigned cc)
{
	mem_store(c, i, EA_ANY, 1, cond_true(c->s.rflags, cc));
}

static void setcc_hi(struct vcpu *c, const struct insn *i)
{
	RM_OUT(true, cond_true(c->s.rflags, i->cc));
}

#define SETCC(cc, form) HANDLER(setcc_##form##_##cc, setcc_##form, cc)
FOR_EACH_CC(SETCC, r)
FOR_EACH_CC(SETCC, m)

static insn_fn *bind_setcc(const struct insn *i)
{
	static insn_fn *const table[2][16] = {ROW_CC(setcc_r), ROW_CC(setcc_m)};

	return i->flags & INSN_RM_HI ? setcc_hi : table[has_mem(i)][i->cc];
}

insn_fn *bind_mov(const struct insn *i)
{
	switch (i->op) {
	case OP_MOV: return bind_plain_mov(i);
	case OP_MOVZX:
	case OP_MOVSX:
	case OP_MOVSXD: return bind_movx(i);
	case OP_LEA: return bind_lea(i);
	case OP_CMOVCC: return bind_cmov(i);
	case OP_SETCC: return bind_setcc(i);
	default: return NULL;
	}
}
