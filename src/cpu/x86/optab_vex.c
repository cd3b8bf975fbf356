/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optab_vex.c - the VEX maps; built like optab_vec.c from vec_vex.def.
 */
#include "cpu/x86/optab_vec.h"

/* VMOVSS, VMOVSD: registers merge with vvvv, memory does not. */
static const struct row vmovss_ld[2] = {
	VECROW(VEC, AVX, AVX, NONE, X, N, X, 4, LD, AT_LIG),
	VECROW(VEC, AVX, AVX, NONE, X, X, X, 4, LD, AT_LIG),
};
static const struct row vmovsd_ld[2] = {
	VECROW(VEC, AVX, AVX, NONE, X, N, X, 8, LD, AT_LIG),
	VECROW(VEC, AVX, AVX, NONE, X, X, X, 8, LD, AT_LIG),
};
static const struct row vmovss_st[2] = {
	VECROW(VEC, AVX, AVX, NONE, X, N, X, 4, ST, AT_LIG),
	VECROW(VEC, AVX, AVX, NONE, X, X, X, 4, ST, AT_LIG),
};
static const struct row vmovsd_st[2] = {
	VECROW(VEC, AVX, AVX, NONE, X, N, X, 8, ST, AT_LIG),
	VECROW(VEC, AVX, AVX, NONE, X, X, X, 8, ST, AT_LIG),
};
static const struct row vmovddup[2] = {
	VECROW(VEC, AVX, AVX, NONE, X, N, X, 8, LD, 0),
	VECROW(VEC, AVX, AVX, NONE, Y, N, Y, 32, LD, 0),
};

/* Broadcasts: from memory they are AVX, from a register AVX2. */
static const struct row vbroadcastss[2] = {
	VECROW(VEC, AVX, AVX, NONE, V, N, X, 4, LD, AT_W0),
	VECROW(VEC, AVX2, AVX2, NONE, V, N, X, 4, LD, AT_W0),
};
static const struct row vbroadcastsd[2] = {
	VECROW(VEC, AVX, AVX, NONE, Y, N, X, 8, LD, AT_L1 | AT_W0),
	VECROW(VEC, AVX2, AVX2, NONE, Y, N, X, 8, LD, AT_L1 | AT_W0),
};

/* Shifts by immediate write vvvv. */
#define SHI VECROW(VEC, AVX, AVX2, UB, N, V, V, 0, INSN_VVVV_W, AT_REG)
static const struct row avx_71[8] = {[2] = SHI, [4] = SHI, [6] = SHI};
static const struct row avx_72[8] = {[2] = SHI, [4] = SHI, [6] = SHI};
static const struct row avx_73[8] = {[2] = SHI, [3] = SHI, [6] = SHI, [7] = SHI};

static const struct row vzero[2] = {
	INTROW(VZEROUPPER, AVX, NONE, V, NONE, 0, 0, 0),
	INTROW(VZEROALL, AVX, NONE, V, NONE, 0, 0, 0),
};
static const struct row avx_ae[8] = {
	[2] = INTROW(LDMXCSR, AVX, RM, D, NONE, 4, INSN_MEM_R, AT_MODRM | AT_MEM | AT_L0),
	[3] = INTROW(STMXCSR, AVX, RM, D, NONE, 4, INSN_MEM_W, AT_MODRM | AT_MEM | AT_L0),
};
static const struct row avx_f7[2] = {
	[1] = VECROW(MASKMOV, AVX, AVX, NONE, X, N, X, 16, INSN_MEM_W, AT_STR | AT_L0),
};

#define BMI(op) \
	INTROW(op, BMI1, V_RM, Y, NONE, MS_OP, INSN_MEM_R, AT_MODRM | AT_L0 | AT_VVVV | AT_WG)
static const struct row bmi_f3[8] = {[1] = BMI(BLSR), [2] = BMI(BLSMSK), [3] = BMI(BLSI)};

/* Gathers by W: element size, and which of data and index may be the narrower. */
#define GA		 (LD | INSN_VVVV_W | INSN_VSIB)
#define GROW(kr, ki, ms) VECROW(GATHER, AVX2, AVX2, NONE, kr, kr, ki, ms, GA, AT_MEM)
static const struct row gather_d[2] = {GROW(V, V, 4), GROW(V, X, 8)};
static const struct row gather_q[2] = {GROW(X, V, 4), GROW(V, V, 8)};

#define ID(map, pp, o) VROW_##map##_##pp##_##o

enum {
	VROW_UD,
#define V(map, pp, o, ft, fl1, im, kr, kv, km, ms, fl, at) ID(map, pp, o),
#define I(map, pp, o, ft, op, f, s, im, ms, fl, at)	   ID(map, pp, o),
#define M(map, pp, o, ft, fl, at)			   ID(map, pp, o),
#define G(map, pp, o, by, grp)				   ID(map, pp, o),
#include "cpu/x86/vec_vex.def"
#undef V
#undef I
#undef M
#undef G
	VROW_COUNT,
};

static const struct row rows[VROW_COUNT] = {
#define V(map, pp, o, ft, ftl, im, kr, kv, km, ms, fl, at) \
	[ID(map, pp, o)] = VECROW(VEC, ft, ftl, im, kr, kv, km, ms, fl, at),
#define I(map, pp, o, ft, op, f, s, im, ms, fl, at) \
	[ID(map, pp, o)] = INTROW(op, ft, f, s, im, ms, fl, at),
#define M(map, pp, o, ft, fl, at) \
	[ID(map, pp, o)] = VECROW(MASKMOV, ft, ft, NONE, V, V, V, MS_V, fl, (at) | AT_MEM),
#define G(map, pp, o, by, grp) [ID(map, pp, o)] = {.kind = ROW_##by, .sub = grp},
#include "cpu/x86/vec_vex.def"
#undef V
#undef I
#undef M
#undef G
};

static const uint16_t numbers[VMAP_COUNT][PP_COUNT][256] = {
#define N(map, pp, o)					   [VMAP_##map][PP_##pp][0x##o] = ID(map, pp, o),
#define V(map, pp, o, ft, fl1, im, kr, kv, km, ms, fl, at) N(map, pp, o)
#define I(map, pp, o, ft, op, f, s, im, ms, fl, at)	   N(map, pp, o)
#define M(map, pp, o, ft, fl, at)			   N(map, pp, o)
#define G(map, pp, o, by, grp)				   N(map, pp, o)
#include "cpu/x86/vec_vex.def"
#undef N
#undef V
#undef I
#undef M
#undef G
};

const struct row *optab_vex(unsigned map, unsigned pp, unsigned opcode)
{
	return &rows[numbers[map - 1][pp][opcode]];
}
