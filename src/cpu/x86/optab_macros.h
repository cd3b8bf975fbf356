/* SPDX-License-Identifier: Apache-2.0 */
/* optab_macros.h - shorthand for the integer rows of optab_1byte.c and optab_0f.c. */
#pragma once

#include "cpu/x86/optab.h"

#define MR   INSN_MEM_R
#define MW   INSN_MEM_W
#define MRW  (INSN_MEM_R | INSN_MEM_W)
#define BR   INSN_BRANCH
#define ENDS INSN_ENDS

/* ROW(operation, form, opsize, immediate, memory size, INSN_ flags, AT_ attributes) */
#define ROW(o, f, s, i, m, fl, at)                                                             \
	{                                                                                      \
		.kind = ROW_OP, .op = OP_##o, .form = FORM_##f, .size = SZ_##s, .imm = IM_##i, \
		.msize = m, .flags = fl, .attr = at                                            \
	}
#define REGROW(o, f, s, i, m, fl, at, n)                                                       \
	{                                                                                      \
		.kind = ROW_OP, .op = OP_##o, .form = FORM_##f, .size = SZ_##s, .imm = IM_##i, \
		.msize = m, .flags = fl, .attr = at, .arg = n                                  \
	}
#define GROUP(by, rows)                          \
	{                                        \
		.kind = ROW_BY_##by, .sub = rows \
	}
#define SIMPLE(o) ROW(o, NONE, V, NONE, 0, 0, 0)
