/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optab_1byte.c - the one-byte opcode map (SDM vol. 2, tables ).
 *
 * Prefixes, 0F and (in 64-bit mode) REX never get here.  Aliases that the manuals
 * leave out (82, F6/1, C0/6, D0/6, D6, F1) are what processors do.
 */
#include "cpu/state.h"
#include "cpu/x86/optab_macros.h"

#define MRM AT_MODRM

/* The eight operations of 00..3F, six encodings each. */
#define ALU(b, o, fl, at)                                                                       \
	[b] = ROW(o, RM_R, B, NONE, MS_OP, fl, MRM | (at)),                                     \
	[b + 1] = ROW(o, RM_R, V, NONE, MS_OP, fl, MRM | (at)),                                 \
	[b + 2] = ROW(o, R_RM, B, NONE, MS_OP, MR, MRM),                                        \
	[b + 3] = ROW(o, R_RM, V, NONE, MS_OP, MR, MRM), [b + 4] = ROW(o, RM_I, B, B, 0, 0, 0), \
	[b + 5] = ROW(o, RM_I, V, Z, 0, 0, 0)

#define GRP1(s, i, at)                                                        \
	{                                                                     \
		ROW(ADD, RM_I, s, i, MS_OP, MRW, MRM | AT_LOCK | at),         \
			ROW(OR, RM_I, s, i, MS_OP, MRW, MRM | AT_LOCK | at),  \
			ROW(ADC, RM_I, s, i, MS_OP, MRW, MRM | AT_LOCK | at), \
			ROW(SBB, RM_I, s, i, MS_OP, MRW, MRM | AT_LOCK | at), \
			ROW(AND, RM_I, s, i, MS_OP, MRW, MRM | AT_LOCK | at), \
			ROW(SUB, RM_I, s, i, MS_OP, MRW, MRM | AT_LOCK | at), \
			ROW(XOR, RM_I, s, i, MS_OP, MRW, MRM | AT_LOCK | at), \
			ROW(CMP, RM_I, s, i, MS_OP, MR, MRM | at),            \
	}
static const struct row grp_80[8] = GRP1(B, B, 0);
static const struct row grp_81[8] = GRP1(V, Z, 0);
static const struct row grp_82[8] = GRP1(B, B, AT_NO64);
static const struct row grp_83[8] = GRP1(V, B, 0);

#define GRP2(f, s, i)                                                                           \
	{                                                                                       \
		ROW(ROL, f, s, i, MS_OP, MRW, MRM), ROW(ROR, f, s, i, MS_OP, MRW, MRM),         \
			ROW(RCL, f, s, i, MS_OP, MRW, MRM), ROW(RCR, f, s, i, MS_OP, MRW, MRM), \
			ROW(SHL, f, s, i, MS_OP, MRW, MRM), ROW(SHR, f, s, i, MS_OP, MRW, MRM), \
			ROW(SHL, f, s, i, MS_OP, MRW, MRM), ROW(SAR, f, s, i, MS_OP, MRW, MRM), \
	}
static const struct row grp_c0[8] = GRP2(RM_I, B, UB);
static const struct row grp_c1[8] = GRP2(RM_I, V, UB);
static const struct row grp_d0[8] = GRP2(RM_I, B, ONE);
static const struct row grp_d1[8] = GRP2(RM_I, V, ONE);
static const struct row grp_d2[8] = GRP2(RM, B, NONE);
static const struct row grp_d3[8] = GRP2(RM, V, NONE);

#define GRP3(s, i)                                                                            \
	{                                                                                     \
		ROW(TEST, RM_I, s, i, MS_OP, MR, MRM), ROW(TEST, RM_I, s, i, MS_OP, MR, MRM), \
			ROW(NOT, RM, s, NONE, MS_OP, MRW, MRM | AT_LOCK),                     \
			ROW(NEG, RM, s, NONE, MS_OP, MRW, MRM | AT_LOCK),                     \
			ROW(MUL, RM, s, NONE, MS_OP, MR, MRM),                                \
			ROW(IMUL, RM, s, NONE, MS_OP, MR, MRM),                               \
			ROW(DIV, RM, s, NONE, MS_OP, MR, MRM),                                \
			ROW(IDIV, RM, s, NONE, MS_OP, MR, MRM),                               \
	}
static const struct row grp_f6[8] = GRP3(B, B);
static const struct row grp_f7[8] = GRP3(V, Z);

static const struct row grp_fe[8] = {
	ROW(INC, RM, B, NONE, MS_OP, MRW, MRM | AT_LOCK),
	ROW(DEC, RM, B, NONE, MS_OP, MRW, MRM | AT_LOCK),
};
static const struct row grp_ff[8] = {
	ROW(INC, RM, V, NONE, MS_OP, MRW, MRM | AT_LOCK),
	ROW(DEC, RM, V, NONE, MS_OP, MRW, MRM | AT_LOCK),
	ROW(CALL_RM, RM, D64, NONE, MS_OP, MR | BR, MRM),
	ROW(CALL_FAR_M, RM, V, NONE, MS_OPSEL, MR | BR, MRM | AT_MEM),
	ROW(JMP_RM, RM, D64, NONE, MS_OP, MR | BR, MRM),
	ROW(JMP_FAR_M, RM, Z, NONE, MS_OPSEL, MR | BR, MRM | AT_MEM),
	ROW(PUSH, RM, D64, NONE, MS_OP, MR, MRM),
};
static const struct row grp_8f[8] = {ROW(POP, RM, D64, NONE, MS_OP, MW, MRM)};
static const struct row grp_c6[8] = {ROW(MOV, RM_I, B, B, MS_OP, MW, MRM)};
static const struct row grp_c7[8] = {ROW(MOV, RM_I, V, Z, MS_OP, MW, MRM)};

static const struct row by_63[2] = {
	ROW(ARPL, RM_R, W, NONE, MS_OP, MRW, MRM),
	ROW(MOVSXD, R_RM, V, NONE, 0, MR, MRM | AT_SRC_D),
};
static const struct row by_9e[2] = {
	ROW(SAHF, NONE, B, NONE, 0, 0, 0),
	{.kind = ROW_OP, .op = OP_SAHF, .size = SZ_B, .feat = FEAT_LAHF64},
};
static const struct row by_9f[2] = {
	ROW(LAHF, NONE, B, NONE, 0, 0, 0),
	{.kind = ROW_OP, .op = OP_LAHF, .size = SZ_B, .feat = FEAT_LAHF64},
};
static const struct row pp_90[4] = {
	SIMPLE(NOP),
	SIMPLE(NOP),
	SIMPLE(PAUSE),
	SIMPLE(NOP),
};
/* F2 and F3 choose the condition, whatever the opcode says (measured on Zen 4). */
#define LOOPE_ROW  ROW(LOOPE, REL, D64, B, 0, BR, 0)
#define LOOPNE_ROW ROW(LOOPNE, REL, D64, B, 0, BR, 0)
static const struct row pp_e0[4] = {LOOPNE_ROW, LOOPNE_ROW, LOOPE_ROW, LOOPNE_ROW};
static const struct row pp_e1[4] = {LOOPE_ROW, LOOPE_ROW, LOOPE_ROW, LOOPNE_ROW};
static const struct row by_90[2] = {
	GROUP(PP, pp_90),
	ROW(XCHG, RM_R, V, NONE, 0, 0, AT_OPREG),
};

#define X8(b, row) [b... b + 7] = row
#define INCR	   ROW(INC, RM, V, NONE, 0, 0, AT_OPREG | AT_NO64)
#define DECR	   ROW(DEC, RM, V, NONE, 0, 0, AT_OPREG | AT_NO64)
#define PUSHR	   ROW(PUSH, RM, D64, NONE, 0, 0, AT_OPREG)
#define POPR	   ROW(POP, RM, D64, NONE, 0, 0, AT_OPREG)
#define XCHGR	   ROW(XCHG, RM_R, V, NONE, 0, 0, AT_OPREG)
#define MOVRB	   ROW(MOV, RM_I, B, UB, 0, 0, AT_OPREG)
#define MOVRV	   ROW(MOV, RM_I, V, V, 0, 0, AT_OPREG)
#define JCCB	   ROW(JCC, REL, D64, B, 0, BR, AT_CC)
#define X87(n)                                                                        \
	{                                                                             \
		.kind = ROW_OP, .op = OP_X87, .form = FORM_X87, .attr = MRM, .arg = n \
	}
#define PUSHS(s, at) REGROW(PUSH_S, NONE, D64, NONE, 0, 0, at, s)
#define POPS(s, at)  REGROW(POP_S, NONE, D64, NONE, 0, ENDS, at, s)

const struct row optab_1byte[256] = {
	ALU(0x00, ADD, MRW, AT_LOCK),
	ALU(0x08, OR, MRW, AT_LOCK),
	ALU(0x10, ADC, MRW, AT_LOCK),
	ALU(0x18, SBB, MRW, AT_LOCK),
	ALU(0x20, AND, MRW, AT_LOCK),
	ALU(0x28, SUB, MRW, AT_LOCK),
	ALU(0x30, XOR, MRW, AT_LOCK),
	ALU(0x38, CMP, MR, 0),
	[0x06] = PUSHS(SEG_ES, AT_NO64),
	[0x07] = POPS(SEG_ES, AT_NO64),
	[0x0e] = PUSHS(SEG_CS, AT_NO64),
	[0x16] = PUSHS(SEG_SS, AT_NO64),
	[0x17] = POPS(SEG_SS, AT_NO64),
	[0x1e] = PUSHS(SEG_DS, AT_NO64),
	[0x1f] = POPS(SEG_DS, AT_NO64),
	[0x27] = ROW(DAA, NONE, B, NONE, 0, 0, AT_NO64),
	[0x2f] = ROW(DAS, NONE, B, NONE, 0, 0, AT_NO64),
	[0x37] = ROW(AAA, NONE, B, NONE, 0, 0, AT_NO64),
	[0x3f] = ROW(AAS, NONE, B, NONE, 0, 0, AT_NO64),
	X8(0x40, INCR),
	X8(0x48, DECR),
	X8(0x50, PUSHR),
	X8(0x58, POPR),
	[0x60] = ROW(PUSHA, NONE, V, NONE, 0, 0, AT_NO64),
	[0x61] = ROW(POPA, NONE, V, NONE, 0, 0, AT_NO64),
	[0x62] = ROW(BOUND, R_RM, V, NONE, MS_PAIR, MR, MRM | AT_MEM | AT_NO64),
	[0x63] = GROUP(64, by_63),
	[0x68] = ROW(PUSH, I, D64, Z, 0, 0, 0),
	[0x69] = ROW(IMUL2, R_RM_I, V, Z, MS_OP, MR, MRM),
	[0x6a] = ROW(PUSH, I, D64, B, 0, 0, 0),
	[0x6b] = ROW(IMUL2, R_RM_I, V, B, MS_OP, MR, MRM),
	[0x6c] = ROW(INS, STR, B, NONE, MS_OP, MW | INSN_IO | ENDS, AT_REP | AT_STR),
	[0x6d] = ROW(INS, STR, Z, NONE, MS_OP, MW | INSN_IO | ENDS, AT_REP | AT_STR),
	[0x6e] = ROW(OUTS, STR, B, NONE, MS_OP, MR | INSN_IO | ENDS, AT_REP | AT_STR),
	[0x6f] = ROW(OUTS, STR, Z, NONE, MS_OP, MR | INSN_IO | ENDS, AT_REP | AT_STR),
	X8(0x70, JCCB),
	X8(0x78, JCCB),
	[0x80] = GROUP(REG, grp_80),
	[0x81] = GROUP(REG, grp_81),
	[0x82] = GROUP(REG, grp_82),
	[0x83] = GROUP(REG, grp_83),
	[0x84] = ROW(TEST, RM_R, B, NONE, MS_OP, MR, MRM),
	[0x85] = ROW(TEST, RM_R, V, NONE, MS_OP, MR, MRM),
	[0x86] = ROW(XCHG, RM_R, B, NONE, MS_OP, MRW, MRM | AT_LOCK),
	[0x87] = ROW(XCHG, RM_R, V, NONE, MS_OP, MRW, MRM | AT_LOCK),
	[0x88] = ROW(MOV, RM_R, B, NONE, MS_OP, MW, MRM),
	[0x89] = ROW(MOV, RM_R, V, NONE, MS_OP, MW, MRM),
	[0x8a] = ROW(MOV, R_RM, B, NONE, MS_OP, MR, MRM),
	[0x8b] = ROW(MOV, R_RM, V, NONE, MS_OP, MR, MRM),
	[0x8c] = ROW(MOV_R_S, RM_R, V, NONE, 2, MW, MRM | AT_SEG),
	[0x8d] = ROW(LEA, R_RM, V, NONE, 0, 0, MRM | AT_MEM),
	[0x8e] = ROW(MOV_S_R, R_RM, V, NONE, 2, MR | ENDS, MRM | AT_CS),
	[0x8f] = GROUP(REG, grp_8f),
	[0x90] = GROUP(REXB, by_90),
	[0x91 ... 0x97] = XCHGR,
	[0x98] = ROW(CBW, NONE, V, NONE, 0, 0, 0),
	[0x99] = ROW(CWD, NONE, V, NONE, 0, 0, 0),
	[0x9a] = ROW(CALL_FAR, FAR, Z, FAR, 0, BR, AT_NO64),
	[0x9b] = SIMPLE(WAIT),
	[0x9c] = ROW(PUSHF, NONE, D64, NONE, 0, 0, 0),
	[0x9d] = ROW(POPF, NONE, D64, NONE, 0, ENDS, 0),
	[0x9e] = GROUP(64, by_9e),
	[0x9f] = GROUP(64, by_9f),
	[0xa0] = ROW(MOV, R_RM, B, MOFFS, MS_OP, MR, 0),
	[0xa1] = ROW(MOV, R_RM, V, MOFFS, MS_OP, MR, 0),
	[0xa2] = ROW(MOV, RM_R, B, MOFFS, MS_OP, MW, 0),
	[0xa3] = ROW(MOV, RM_R, V, MOFFS, MS_OP, MW, 0),
	[0xa4] = ROW(MOVS, STR, B, NONE, MS_OP, MRW, AT_REP | AT_STR),
	[0xa5] = ROW(MOVS, STR, V, NONE, MS_OP, MRW, AT_REP | AT_STR),
	[0xa6] = ROW(CMPS, STR, B, NONE, MS_OP, MR, AT_REPZ | AT_STR),
	[0xa7] = ROW(CMPS, STR, V, NONE, MS_OP, MR, AT_REPZ | AT_STR),
	[0xa8] = ROW(TEST, RM_I, B, B, 0, 0, 0),
	[0xa9] = ROW(TEST, RM_I, V, Z, 0, 0, 0),
	[0xaa] = ROW(STOS, STR, B, NONE, MS_OP, MW, AT_REP | AT_STR),
	[0xab] = ROW(STOS, STR, V, NONE, MS_OP, MW, AT_REP | AT_STR),
	[0xac] = ROW(LODS, STR, B, NONE, MS_OP, MR, AT_REP | AT_STR),
	[0xad] = ROW(LODS, STR, V, NONE, MS_OP, MR, AT_REP | AT_STR),
	[0xae] = ROW(SCAS, STR, B, NONE, MS_OP, MR, AT_REPZ | AT_STR),
	[0xaf] = ROW(SCAS, STR, V, NONE, MS_OP, MR, AT_REPZ | AT_STR),
	X8(0xb0, MOVRB),
	X8(0xb8, MOVRV),
	[0xc0] = GROUP(REG, grp_c0),
	[0xc1] = GROUP(REG, grp_c1),
	[0xc2] = ROW(RET, I, D64, UW, 0, BR, 0),
	[0xc3] = ROW(RET, I, D64, NONE, 0, BR, 0),
	[0xc4] = ROW(LES, R_RM, Z, NONE, MS_OPSEL, MR | ENDS, MRM | AT_MEM | AT_NO64),
	[0xc5] = ROW(LDS, R_RM, Z, NONE, MS_OPSEL, MR | ENDS, MRM | AT_MEM | AT_NO64),
	[0xc6] = GROUP(REG, grp_c6),
	[0xc7] = GROUP(REG, grp_c7),
	[0xc8] = ROW(ENTER, I, D64, ENTER, 0, 0, 0),
	[0xc9] = ROW(LEAVE, NONE, D64, NONE, 0, 0, 0),
	[0xca] = ROW(RET_FAR, I, V, UW, 0, BR, 0),
	[0xcb] = ROW(RET_FAR, I, V, NONE, 0, BR, 0),
	[0xcc] = ROW(INT3, NONE, V, NONE, 0, BR, 0),
	[0xcd] = ROW(INT, I, V, UB, 0, BR, 0),
	[0xce] = ROW(INTO, NONE, V, NONE, 0, BR, AT_NO64),
	[0xcf] = ROW(IRET, NONE, V, NONE, 0, BR, 0),
	[0xd0] = GROUP(REG, grp_d0),
	[0xd1] = GROUP(REG, grp_d1),
	[0xd2] = GROUP(REG, grp_d2),
	[0xd3] = GROUP(REG, grp_d3),
	[0xd4] = ROW(AAM, I, B, UB, 0, 0, AT_NO64),
	[0xd5] = ROW(AAD, I, B, UB, 0, 0, AT_NO64),
	[0xd6] = ROW(SALC, NONE, B, NONE, 0, 0, AT_NO64),
	[0xd7] = ROW(XLAT, STR, B, NONE, MS_OP, MR, AT_STR),
	[0xd8] = X87(0),
	[0xd9] = X87(1),
	[0xda] = X87(2),
	[0xdb] = X87(3),
	[0xdc] = X87(4),
	[0xdd] = X87(5),
	[0xde] = X87(6),
	[0xdf] = X87(7),
	[0xe0] = GROUP(PP, pp_e0),
	[0xe1] = GROUP(PP, pp_e1),
	[0xe2] = ROW(LOOP, REL, D64, B, 0, BR, 0),
	[0xe3] = ROW(JCXZ, REL, D64, B, 0, BR, 0),
	[0xe4] = ROW(IN, IO_I, B, UB, 0, INSN_IO | ENDS, 0),
	[0xe5] = ROW(IN, IO_I, Z, UB, 0, INSN_IO | ENDS, 0),
	[0xe6] = ROW(OUT, IO_I, B, UB, 0, INSN_IO | ENDS, 0),
	[0xe7] = ROW(OUT, IO_I, Z, UB, 0, INSN_IO | ENDS, 0),
	[0xe8] = ROW(CALL, REL, D64, Z, 0, BR, 0),
	[0xe9] = ROW(JMP, REL, D64, Z, 0, BR, 0),
	[0xea] = ROW(JMP_FAR, FAR, Z, FAR, 0, BR, AT_NO64),
	[0xeb] = ROW(JMP, REL, D64, B, 0, BR, 0),
	[0xec] = ROW(IN, NONE, B, NONE, 0, INSN_IO | ENDS, 0),
	[0xed] = ROW(IN, NONE, Z, NONE, 0, INSN_IO | ENDS, 0),
	[0xee] = ROW(OUT, NONE, B, NONE, 0, INSN_IO | ENDS, 0),
	[0xef] = ROW(OUT, NONE, Z, NONE, 0, INSN_IO | ENDS, 0),
	[0xf1] = ROW(ICEBP, NONE, V, NONE, 0, BR, 0),
	[0xf4] = ROW(HLT, NONE, V, NONE, 0, ENDS, 0),
	[0xf5] = SIMPLE(CMC),
	[0xf6] = GROUP(REG, grp_f6),
	[0xf7] = GROUP(REG, grp_f7),
	[0xf8] = SIMPLE(CLC),
	[0xf9] = SIMPLE(STC),
	[0xfa] = ROW(CLI, NONE, V, NONE, 0, ENDS, 0),
	[0xfb] = ROW(STI, NONE, V, NONE, 0, ENDS, 0),
	[0xfc] = SIMPLE(CLD),
	[0xfd] = SIMPLE(STD),
	[0xfe] = GROUP(REG, grp_fe),
	[0xff] = GROUP(REG, grp_ff),
};
