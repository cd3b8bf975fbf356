/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optab.h - rows of the decoder's tables (private to the decoder and its tests).
 *
 * A row either describes an instruction or points to rows to choose from by some
 * field of the encoding.  The one-byte map and the integer part of the 0F map are
 * indexed by opcode; what a mandatory prefix selects (SSE and later, all of 0F38,
 * 0F3A and VEX) by map, prefix and opcode through a table of row numbers.
 */
#pragma once

#include "cpu/x86/insn.h"

enum row_kind {
	ROW_UD,
	ROW_OP,	     /* an instruction */
	ROW_BY_REG,  /* sub[modrm.reg] */
	ROW_BY_RM,   /* sub[modrm.rm] */
	ROW_BY_MOD,  /* sub[0] memory, sub[1] register */
	ROW_BY_PP,   /* sub[pp] */
	ROW_BY_64,   /* sub[1] in 64-bit mode, else sub[0] */
	ROW_BY_REXB, /* sub[REX.B] */
	ROW_BY_W,    /* sub[W] */
	ROW_BY_L,    /* sub[L] */
};

/* How opsize follows from mode, 66 and REX.W. */
enum row_size {
	SZ_V,	/* 2, 4, 8 */
	SZ_Z,	/* 2, 4: W only undoes 66 */
	SZ_Y,	/* 4, 8: 66 does not matter */
	SZ_M,	/* 8 in 64-bit mode, else 4 */
	SZ_D64, /* like V, but 8 by default in 64-bit mode: stack, near branches */
	SZ_F64, /* like V, but always 8 in 64-bit mode: LGDT */
	SZ_B,
	SZ_W,
	SZ_D,
	SZ_Q,
	SZ_COUNT,
};

enum row_imm {
	IM_NONE,
	IM_B,	  /* imm8, sign-extended */
	IM_UB,	  /* imm8 */
	IM_UW,	  /* imm16 */
	IM_Z,	  /* imm16 or imm32 by opsize, sign-extended */
	IM_V,	  /* all of opsize */
	IM_ONE,	  /* none encoded, imm = 1 */
	IM_ENTER, /* imm16, imm8 */
	IM_FAR,	  /* offset by opsize, selector */
	IM_MOFFS, /* address of adsize bytes */
	IM_IS4,	  /* imm8 that names a register */
};

/* Bytes of the memory operand: a number, or one of these. */
enum row_msize {
	MS_OP = 0xe0, /* opsize */
	MS_OPSEL,     /* far pointer: opsize, but at most 4, and 2 */
	MS_PAIR,      /* 2 * opsize */
	MS_DT,	      /* 10 in 64-bit mode, else 6: descriptor table register */
	MS_W,	      /* 4, or 8 with W */
	MS_V,	      /* 16, or 32 with L */
	MS_H,	      /* half, quarter, eighth of that */
	MS_Q,
	MS_E,
};

enum { VK_BY_L = 0x10 }; /* VK_XMM, or VK_YMM with L */

enum {
	AT_MODRM = 1 << 0,
	AT_LOCK = 1 << 1,   /* LOCK is legal with a memory operand */
	AT_NO64 = 1 << 2,   /* not in 64-bit mode */
	AT_O64 = 1 << 3,    /* in 64-bit mode only */
	AT_MEM = 1 << 4,    /* register form is #UD */
	AT_REG = 1 << 5,    /* memory form is #UD */
	AT_NP = 1 << 6,	    /* #UD with 66, F2 or F3 */
	AT_OPREG = 1 << 7,  /* r/m is the register in the opcode */
	AT_CC = 1 << 8,	    /* condition in the opcode */
	AT_REP = 1 << 9,    /* F2 and F3 repeat */
	AT_REPZ = 1 << 10,  /* F3 repeats while equal, F2 while not */
	AT_SEG = 1 << 11,   /* reg is a segment register */
	AT_CS = 1 << 12,    /* reg is a segment register, CS is #UD */
	AT_CR = 1 << 13,    /* reg is a control register, r/m a register whatever mod says */
	AT_DR = 1 << 14,    /* the same, debug register */
	AT_SRC_B = 1 << 15, /* srcsize 1 */
	AT_SRC_W = 1 << 16, /* srcsize 2 */
	AT_SRC_D = 1 << 17, /* srcsize 4 */
	AT_SRC_V = 1 << 18, /* srcsize 2, 4, 8 */
	AT_STR = 1 << 19,   /* memory flags hold without a memory operand in modrm */
	/* VEX only */
	AT_VVVV = 1 << 20, /* vvvv names a register, else it must be 1111 */
	AT_L0 = 1 << 21,   /* L must be 0 */
	AT_L1 = 1 << 22,   /* L must be 1 */
	AT_LIG = 1 << 23,  /* L is ignored */
	AT_W0 = 1 << 24,
	AT_W1 = 1 << 25,
	AT_WG = 1 << 26,   /* W is the size of a general register: ignored outside 64-bit mode */
	AT_IMM2 = 1 << 27, /* a second imm8 follows */
	AT_W64 = 1 << 28,  /* W must be 0 outside 64-bit mode */
};

struct row {
	uint8_t kind; /* enum row_kind */
	uint8_t form;
	uint16_t op;
	uint8_t size; /* enum row_size */
	uint8_t imm;  /* enum row_imm */
	uint8_t msize;
	uint8_t feat, feat_l;	  /* feature needed; with VEX.L */
	uint8_t kreg, kvvvv, krm; /* enum vec_kind or VK_BY_L */
	uint8_t arg;		  /* register number where the opcode implies one */
	uint32_t flags;		  /* INSN_*; memory flags are dropped for register operands */
	uint32_t attr;		  /* AT_* */
	const struct row *sub;
};

extern const struct row optab_1byte[256];
extern const struct row optab_0f[256]; /* ROW_UD: see optab_vec */

/* Rows by [map - 1][pp][opcode]. */
const struct row *optab_vec(unsigned map, unsigned pp, unsigned opcode);
const struct row *optab_vex(unsigned map, unsigned pp, unsigned opcode);

/*
 * Check the x87 instruction of opcode 0xd8 + @n and @i->modrm, and fill in the memory
 * operand's size and direction and the feature.  False: no such instruction.
 */
bool x87_operands(unsigned n, struct insn *i);
