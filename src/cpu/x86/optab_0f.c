/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optab_0f.c - the integer and system part of the 0F map (SDM vol. 2, table A-3).
 *
 * Opcodes that are ROW_UD here are looked up by mandatory prefix in optab_vec.c.
 */
#include "cpu/state.h"
#include "cpu/x86/optab_macros.h"

#define MRM AT_MODRM
#define FROW(ft, o, f, s, i, m, fl, at)                                                        \
	{                                                                                      \
		.kind = ROW_OP, .op = OP_##o, .form = FORM_##f, .size = SZ_##s, .imm = IM_##i, \
		.msize = m, .flags = fl, .attr = at, .feat = FEAT_##ft, .feat_l = FEAT_##ft    \
	}
#define X8(b, row) [b... b + 7] = row
#define UD_ROW(at) ROW(UD, NONE, V, NONE, 0, ENDS, at)

static const struct row grp_00[8] = {
	ROW(SLDT, RM, V, NONE, 2, MW, MRM),	   ROW(STR, RM, V, NONE, 2, MW, MRM),
	ROW(LLDT, RM, W, NONE, 2, MR | ENDS, MRM), ROW(LTR, RM, W, NONE, 2, MR | ENDS, MRM),
	ROW(VERR, RM, W, NONE, 2, MR, MRM),	   ROW(VERW, RM, W, NONE, 2, MR, MRM),
};

/* 0F 01: system instructions by reg in memory forms, by reg and rm in register forms. */
static const struct row grp_01_c0[8] = {
	[1] = ROW(VMCALL, NONE, V, NONE, 0, ENDS, MRM | AT_NP),
};
static const struct row grp_01_c8[8] = {
	[0] = FROW(MONITOR, MONITOR, NONE, V, NONE, 0, ENDS, MRM | AT_NP),
	[1] = FROW(MONITOR, MWAIT, NONE, V, NONE, 0, ENDS, MRM | AT_NP),
	[2] = FROW(SMAP, CLAC, NONE, V, NONE, 0, ENDS, MRM | AT_NP),
	[3] = FROW(SMAP, STAC, NONE, V, NONE, 0, ENDS, MRM | AT_NP),
};
static const struct row grp_01_d0[8] = {
	[0] = FROW(XSAVE, XGETBV, NONE, V, NONE, 0, 0, MRM | AT_NP),
	[1] = FROW(XSAVE, XSETBV, NONE, V, NONE, 0, ENDS, MRM | AT_NP),
};
static const struct row grp_01_d8[8] = {
	[1] = ROW(VMMCALL, NONE, V, NONE, 0, ENDS, MRM),
};
static const struct row grp_01_f8[8] = {
	[0] = ROW(SWAPGS, NONE, V, NONE, 0, ENDS, MRM | AT_O64),
	[1] = FROW(RDTSCP, RDTSCP, NONE, V, NONE, 0, 0, MRM),
};
static const struct row grp_01_mem[8] = {
	ROW(SGDT, RM, F64, NONE, MS_DT, MW, MRM),
	ROW(SIDT, RM, F64, NONE, MS_DT, MW, MRM),
	ROW(LGDT, RM, F64, NONE, MS_DT, MR | ENDS, MRM),
	ROW(LIDT, RM, F64, NONE, MS_DT, MR | ENDS, MRM),
	ROW(SMSW, RM, V, NONE, 2, MW, MRM),
	{.kind = ROW_UD},
	ROW(LMSW, RM, W, NONE, 2, MR | ENDS, MRM),
	ROW(INVLPG, RM, B, NONE, 1, ENDS, MRM),
};
static const struct row grp_01_reg[8] = {
	GROUP(RM, grp_01_c0),
	GROUP(RM, grp_01_c8),
	GROUP(RM, grp_01_d0),
	GROUP(RM, grp_01_d8),
	ROW(SMSW, RM, V, NONE, 0, 0, MRM),
	{.kind = ROW_UD},
	ROW(LMSW, RM, W, NONE, 0, ENDS, MRM),
	GROUP(RM, grp_01_f8),
};
static const struct row by_01[2] = {GROUP(REG, grp_01_mem), GROUP(REG, grp_01_reg)};

static const struct row by_05[2] = {
	FROW(SYSCALL32, SYSCALL, NONE, V, NONE, 0, BR, 0),
	ROW(SYSCALL, NONE, V, NONE, 0, BR, 0),
};
static const struct row by_07[2] = {
	FROW(SYSCALL32, SYSRET, NONE, Y, NONE, 0, BR, 0),
	ROW(SYSRET, NONE, Y, NONE, 0, BR, 0),
};
static const struct row by_34[2] = {
	ROW(SYSENTER, NONE, V, NONE, 0, BR, 0),
	FROW(SYSENTER64, SYSENTER, NONE, V, NONE, 0, BR, 0),
};
static const struct row by_35[2] = {
	ROW(SYSEXIT, NONE, Y, NONE, 0, BR, 0),
	FROW(SYSENTER64, SYSEXIT, NONE, Y, NONE, 0, BR, 0),
};

/* PREFETCH, PREFETCHW, and reserved encodings that processors run as PREFETCH. */
#define PF  ROW(PREFETCH, RM, B, NONE, 1, 0, MRM | AT_MEM)
#define PFW FROW(PREFETCHW, PREFETCH, RM, B, NONE, 1, 0, MRM | AT_MEM)
static const struct row grp_0d[8] = {PF, PFW, PF, PF, PF, PF, PF, PF};
#define HINT ROW(NOP, RM, V, NONE, 0, 0, MRM)
static const struct row mod_pf[2] = {ROW(PREFETCH, RM, B, NONE, 1, 0, MRM), HINT};
static const struct row grp_18[8] = {
	GROUP(MOD, mod_pf),
	GROUP(MOD, mod_pf),
	GROUP(MOD, mod_pf),
	GROUP(MOD, mod_pf),
	HINT,
	HINT,
	HINT,
	HINT,
};

/* 0F AE: state, fences, FS and GS bases. */
static const struct row ae_mem_np[8] = {
	ROW(FXSAVE, RM, Y, NONE, 0, MW, MRM),
	ROW(FXRSTOR, RM, Y, NONE, 0, MR, MRM),
	ROW(LDMXCSR, RM, D, NONE, 4, MR, MRM),
	ROW(STMXCSR, RM, D, NONE, 4, MW, MRM),
	FROW(XSAVE, XSAVE, RM, Y, NONE, 0, MW, MRM),
	FROW(XSAVE, XRSTOR, RM, Y, NONE, 0, MR, MRM),
	FROW(XSAVEOPT, XSAVEOPT, RM, Y, NONE, 0, MW, MRM),
	ROW(CLFLUSH, RM, B, NONE, 1, MR, MRM),
};
static const struct row ae_reg_np[8] = {
	[5] = ROW(LFENCE, NONE, V, NONE, 0, 0, MRM),
	[6] = ROW(MFENCE, NONE, V, NONE, 0, 0, MRM),
	[7] = ROW(SFENCE, NONE, V, NONE, 0, 0, MRM),
};
static const struct row ae_mem_66[8] = {
	[6] = FROW(CLWB, CLWB, RM, B, NONE, 1, MR, MRM),
	[7] = FROW(CLFLUSHOPT, CLFLUSHOPT, RM, B, NONE, 1, MR, MRM),
};
static const struct row ae_reg_f3[8] = {
	FROW(FSGSBASE, RDFSBASE, RM, Y, NONE, 0, 0, MRM | AT_O64),
	FROW(FSGSBASE, RDGSBASE, RM, Y, NONE, 0, 0, MRM | AT_O64),
	FROW(FSGSBASE, WRFSBASE, RM, Y, NONE, 0, 0, MRM | AT_O64),
	FROW(FSGSBASE, WRGSBASE, RM, Y, NONE, 0, 0, MRM | AT_O64),
};
static const struct row ae_np[2] = {GROUP(REG, ae_mem_np), GROUP(REG, ae_reg_np)};
static const struct row ae_66[2] = {GROUP(REG, ae_mem_66), {.kind = ROW_UD}};
static const struct row ae_f3[2] = {{.kind = ROW_UD}, GROUP(REG, ae_reg_f3)};
static const struct row pp_ae[4] = {GROUP(MOD, ae_np), GROUP(MOD, ae_66), GROUP(MOD, ae_f3)};

/* 0F C7. */
static const struct row w_c7_1[2] = {
	ROW(CMPXCHG8B, RM, Y, NONE, 8, MRW, MRM | AT_LOCK),
	FROW(CX16, CMPXCHG16B, RM, Y, NONE, 16, MRW | INSN_ALIGN, MRM | AT_LOCK),
};
static const struct row c7_mem[8] = {
	[1] = GROUP(W, w_c7_1),
	[3] = FROW(XSAVES, XRSTORS, RM, Y, NONE, 0, MR, MRM | AT_NP),
	[4] = FROW(XSAVEC, XSAVEC, RM, Y, NONE, 0, MW, MRM | AT_NP),
	[5] = FROW(XSAVES, XSAVES, RM, Y, NONE, 0, MW, MRM | AT_NP),
};
#define RDR FROW(RDRAND, RDRAND, RM, V, NONE, 0, 0, MRM)
#define RDS FROW(RDSEED, RDSEED, RM, V, NONE, 0, 0, MRM)
static const struct row pp_c7_6[4] = {RDR, RDR};
static const struct row pp_c7_7[4] = {RDS, RDS, FROW(RDPID, RDPID, RM, M, NONE, 0, 0, MRM)};
static const struct row c7_reg[8] = {[6] = GROUP(PP, pp_c7_6), [7] = GROUP(PP, pp_c7_7)};
static const struct row mod_c7[2] = {GROUP(REG, c7_mem), GROUP(REG, c7_reg)};

static const struct row grp_ba[8] = {
	[4] = ROW(BT, RM_I, V, UB, MS_OP, MR, MRM),
	[5] = ROW(BTS, RM_I, V, UB, MS_OP, MRW, MRM | AT_LOCK),
	[6] = ROW(BTR, RM_I, V, UB, MS_OP, MRW, MRM | AT_LOCK),
	[7] = ROW(BTC, RM_I, V, UB, MS_OP, MRW, MRM | AT_LOCK),
};
static const struct row pp_b8[4] = {[2] = FROW(POPCNT, POPCNT, R_RM, V, NONE, MS_OP, MR, MRM)};
#define BSF_ROW ROW(BSF, R_RM, V, NONE, MS_OP, MR, MRM)
#define BSR_ROW ROW(BSR, R_RM, V, NONE, MS_OP, MR, MRM)
static const struct row pp_bc[4] = {
	BSF_ROW,
	BSF_ROW,
	FROW(BMI1, TZCNT, R_RM, V, NONE, MS_OP, MR, MRM),
	BSF_ROW,
};
static const struct row pp_bd[4] = {
	BSR_ROW,
	BSR_ROW,
	FROW(LZCNT, LZCNT, R_RM, V, NONE, MS_OP, MR, MRM),
	BSR_ROW,
};
static const struct row pp_c3[4] = {ROW(MOVNTI, RM_R, Y, NONE, MS_OP, MW, MRM | AT_MEM)};

#define CMOV  ROW(CMOVCC, R_RM, V, NONE, MS_OP, MR, MRM | AT_CC)
#define JCC   ROW(JCC, REL, D64, Z, 0, BR, AT_CC)
#define SETCC ROW(SETCC, RM, B, NONE, MS_OP, MW, MRM | AT_CC)
#define BSWAP ROW(BSWAP, RM, V, NONE, 0, 0, AT_OPREG)

const struct row optab_0f[256] = {
	[0x00] = GROUP(REG, grp_00),
	[0x01] = GROUP(MOD, by_01),
	[0x02] = ROW(LAR, R_RM, V, NONE, 0, MR, MRM | AT_SRC_W),
	[0x03] = ROW(LSL, R_RM, V, NONE, 0, MR, MRM | AT_SRC_W),
	[0x05] = GROUP(64, by_05),
	[0x06] = ROW(CLTS, NONE, V, NONE, 0, ENDS, 0),
	[0x07] = GROUP(64, by_07),
	[0x08] = ROW(INVD, NONE, V, NONE, 0, ENDS, 0),
	[0x09] = ROW(WBINVD, NONE, V, NONE, 0, ENDS, 0),
	[0x0b] = UD_ROW(0),
	[0x0d] = GROUP(REG, grp_0d),
	[0x18] = GROUP(REG, grp_18),
	[0x19] = HINT,
	[0x1a] = HINT,
	[0x1b] = HINT,
	[0x1c] = HINT,
	[0x1d] = HINT,
	[0x1e] = HINT,
	[0x1f] = HINT,
	[0x20] = ROW(MOV_R_CR, RM_R, M, NONE, 0, ENDS, MRM | AT_CR),
	[0x21] = ROW(MOV_R_DR, RM_R, M, NONE, 0, ENDS, MRM | AT_DR),
	[0x22] = ROW(MOV_CR_R, R_RM, M, NONE, 0, ENDS, MRM | AT_CR),
	[0x23] = ROW(MOV_DR_R, R_RM, M, NONE, 0, ENDS, MRM | AT_DR),
	[0x30] = ROW(WRMSR, NONE, V, NONE, 0, ENDS, 0),
	[0x31] = ROW(RDTSC, NONE, V, NONE, 0, 0, 0),
	[0x32] = ROW(RDMSR, NONE, V, NONE, 0, ENDS, 0),
	[0x33] = ROW(RDPMC, NONE, V, NONE, 0, 0, 0),
	[0x34] = GROUP(64, by_34),
	[0x35] = GROUP(64, by_35),
	X8(0x40, CMOV),
	X8(0x48, CMOV),
	X8(0x80, JCC),
	X8(0x88, JCC),
	X8(0x90, SETCC),
	X8(0x98, SETCC),
	[0xa0] = REGROW(PUSH_S, NONE, D64, NONE, 0, 0, 0, SEG_FS),
	[0xa1] = REGROW(POP_S, NONE, D64, NONE, 0, ENDS, 0, SEG_FS),
	[0xa2] = ROW(CPUID, NONE, V, NONE, 0, ENDS, 0),
	[0xa3] = ROW(BT, RM_R, V, NONE, MS_OP, MR, MRM),
	[0xa4] = ROW(SHLD, RM_R_I, V, UB, MS_OP, MRW, MRM),
	[0xa5] = ROW(SHLD, RM_R, V, NONE, MS_OP, MRW, MRM),
	[0xa8] = REGROW(PUSH_S, NONE, D64, NONE, 0, 0, 0, SEG_GS),
	[0xa9] = REGROW(POP_S, NONE, D64, NONE, 0, ENDS, 0, SEG_GS),
	[0xab] = ROW(BTS, RM_R, V, NONE, MS_OP, MRW, MRM | AT_LOCK),
	[0xac] = ROW(SHRD, RM_R_I, V, UB, MS_OP, MRW, MRM),
	[0xad] = ROW(SHRD, RM_R, V, NONE, MS_OP, MRW, MRM),
	[0xae] = GROUP(PP, pp_ae),
	[0xaf] = ROW(IMUL2, R_RM, V, NONE, MS_OP, MR, MRM),
	[0xb0] = ROW(CMPXCHG, RM_R, B, NONE, MS_OP, MRW, MRM | AT_LOCK),
	[0xb1] = ROW(CMPXCHG, RM_R, V, NONE, MS_OP, MRW, MRM | AT_LOCK),
	[0xb2] = ROW(LSS, R_RM, Z, NONE, MS_OPSEL, MR | ENDS, MRM | AT_MEM),
	[0xb3] = ROW(BTR, RM_R, V, NONE, MS_OP, MRW, MRM | AT_LOCK),
	[0xb4] = ROW(LFS, R_RM, Z, NONE, MS_OPSEL, MR | ENDS, MRM | AT_MEM),
	[0xb5] = ROW(LGS, R_RM, Z, NONE, MS_OPSEL, MR | ENDS, MRM | AT_MEM),
	[0xb6] = ROW(MOVZX, R_RM, V, NONE, 0, MR, MRM | AT_SRC_B),
	[0xb7] = ROW(MOVZX, R_RM, V, NONE, 0, MR, MRM | AT_SRC_W),
	[0xb8] = GROUP(PP, pp_b8),
	[0xb9] = UD_ROW(0), /* AMD looks at no ModRM of UD1 and UD0 */
	[0xba] = GROUP(REG, grp_ba),
	[0xbb] = ROW(BTC, RM_R, V, NONE, MS_OP, MRW, MRM | AT_LOCK),
	[0xbc] = GROUP(PP, pp_bc),
	[0xbd] = GROUP(PP, pp_bd),
	[0xbe] = ROW(MOVSX, R_RM, V, NONE, 0, MR, MRM | AT_SRC_B),
	[0xbf] = ROW(MOVSX, R_RM, V, NONE, 0, MR, MRM | AT_SRC_W),
	[0xc0] = ROW(XADD, RM_R, B, NONE, MS_OP, MRW, MRM | AT_LOCK),
	[0xc1] = ROW(XADD, RM_R, V, NONE, MS_OP, MRW, MRM | AT_LOCK),
	[0xc3] = GROUP(PP, pp_c3),
	[0xc7] = GROUP(MOD, mod_c7),
	X8(0xc8, BSWAP),
	[0xff] = UD_ROW(0),
};
