/* SPDX-License-Identifier: Apache-2.0 */
/* optab_vec.h - shorthand for the vector rows of optab_vec.c and optab_vex.c. */
#pragma once

#include "cpu/x86/optab.h"

enum { VMAP_0F, VMAP_0F38, VMAP_0F3A, VMAP_COUNT };
enum { PP_NP, PP_66, PP_F3, PP_F2, PP_COUNT };

#define LD   (INSN_MEM_R | INSN_REG_W)
#define ST   (INSN_MEM_W | INSN_RM_W)
#define CMPF (INSN_MEM_R | INSN_WR_FLAGS)

#define KIND_N VK_NONE
#define KIND_X VK_XMM
#define KIND_Y VK_YMM
#define KIND_M VK_MMX
#define KIND_G VK_GPR
#define KIND_V VK_BY_L

#define VECROW(o, ft, ftl, im, kr, kv, km, ms, fl, at)                                           \
	{                                                                                        \
		.kind = ROW_OP, .op = OP_##o, .form = FORM_VEC, .size = SZ_Y, .feat = FEAT_##ft, \
		.feat_l = FEAT_##ftl, .imm = IM_##im, .kreg = KIND_##kr, .kvvvv = KIND_##kv,     \
		.krm = KIND_##km, .msize = ms, .flags = fl,                                      \
		.attr = (at) | AT_MODRM | (KIND_##kv ? AT_VVVV : 0)                              \
	}
#define INTROW(o, ft, f, s, im, ms, fl, at)                                                     \
	{                                                                                       \
		.kind = ROW_OP, .op = OP_##o, .form = FORM_##f, .size = SZ_##s, .imm = IM_##im, \
		.msize = ms, .feat = FEAT_##ft, .feat_l = FEAT_##ft, .flags = fl, .attr = at    \
	}
