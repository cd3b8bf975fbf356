/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optab_vec.c - legacy-encoded opcodes that a mandatory prefix selects.
 *
 * vec_legacy.def is read twice: into an array of rows, and into a table that gives
 * the number of the row for map, prefix and opcode.  Row 0 is #UD.
 */
#include "cpu/x86/optab_vec.h"

/* Shifts by immediate: rm is source and destination. */
#define SHI(k) VECROW(VEC, BASE, BASE, UB, N, N, k, 0, INSN_RM_W, AT_REG)
static const struct row mmx_71[8] = {[2] = SHI(M), [4] = SHI(M), [6] = SHI(M)};
static const struct row mmx_72[8] = {[2] = SHI(M), [4] = SHI(M), [6] = SHI(M)};
static const struct row mmx_73[8] = {[2] = SHI(M), [6] = SHI(M)};
static const struct row sse_71[8] = {[2] = SHI(X), [4] = SHI(X), [6] = SHI(X)};
static const struct row sse_72[8] = {[2] = SHI(X), [4] = SHI(X), [6] = SHI(X)};
static const struct row sse_73[8] = {
	[2] = SHI(X),
	[3] = SHI(X),
	[6] = SHI(X),
	[7] = SHI(X),
};
static const struct row sse4a_78[8] = {
	VECROW(VEC, SSE4A, SSE4A, UB, N, N, X, 0, INSN_RM_W, AT_REG | AT_IMM2),
};

/* reg: data, rm: mask; the memory operand is seg:rDI */
static const struct row mmx_f7[2] = {
	[1] = VECROW(MASKMOV, BASE, BASE, NONE, M, N, M, 8, INSN_MEM_W, AT_STR),
};
static const struct row sse_f7[2] = {
	[1] = VECROW(MASKMOV, BASE, BASE, NONE, X, N, X, 16, INSN_MEM_W, AT_STR),
};

#define ID(map, pp, o) VROW_##map##_##pp##_##o

enum {
	VROW_UD,
#define V(map, pp, o, ft, im, kr, km, ms, fl, at)   ID(map, pp, o),
#define I(map, pp, o, ft, op, f, s, im, ms, fl, at) ID(map, pp, o),
#define G(map, pp, o, by, rows)			    ID(map, pp, o),
#include "cpu/x86/vec_legacy.def"
#undef V
#undef I
#undef G
	VROW_COUNT,
};

static const struct row rows[VROW_COUNT] = {
#define V(map, pp, o, ft, im, kr, km, ms, fl, at) \
	[ID(map, pp, o)] = VECROW(VEC, ft, ft, im, kr, N, km, ms, fl, at),
#define I(map, pp, o, ft, op, f, s, im, ms, fl, at) \
	[ID(map, pp, o)] = INTROW(op, ft, f, s, im, ms, fl, at),
#define G(map, pp, o, by, grp) [ID(map, pp, o)] = {.kind = ROW_##by, .sub = grp},
#include "cpu/x86/vec_legacy.def"
#undef V
#undef I
#undef G
};

static const uint16_t numbers[VMAP_COUNT][PP_COUNT][256] = {
#define V(map, pp, o, ft, im, kr, km, ms, fl, at)   [VMAP_##map][PP_##pp][0x##o] = ID(map, pp, o),
#define I(map, pp, o, ft, op, f, s, im, ms, fl, at) [VMAP_##map][PP_##pp][0x##o] = ID(map, pp, o),
#define G(map, pp, o, by, grp)			    [VMAP_##map][PP_##pp][0x##o] = ID(map, pp, o),
#include "cpu/x86/vec_legacy.def"
#undef V
#undef I
#undef G
};

const struct row *optab_vec(unsigned map, unsigned pp, unsigned opcode)
{
	return &rows[numbers[map - 1][pp][opcode]];
}
