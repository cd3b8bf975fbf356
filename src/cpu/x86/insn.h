/* SPDX-License-Identifier: Apache-2.0 */
/*
 * insn.h - one decoded x86-64 instruction, and the decoder.
 *
 * The decoder normalises: defaults, prefixes and REX are folded into sizes and
 * register numbers, short forms (PUSH r, ADD A,imm, INC r) become the general one,
 * so that semantics see few forms.  It knows encodings, not CPU features: a row
 * names the feature it needs and the engine compares that with the model.
 * Source: Intel SDM vol. 2 (ch. 2, appendix A), AMD APM vol. 3 for what only AMD has.
 *
 * Conventions (where the enums below leave room):
 * - imm is sign-extended to 64 bits where the instruction sign-extends or does not
 *   care, so handlers truncate it to their size.  Shift counts, ports, vectors, RET n
 *   and vector imm8 are zero-extended; shift counts are not masked.  D0/D1 have imm 1.
 *   Two immediate bytes of EXTRQ and INSERTQ: imm = first | second << 8.
 * - Shifts by CL are FORM_RM; SHLD/SHRD by CL FORM_RM_R.  C3 and CB are FORM_I, imm 0.
 * - IMUL2 is FORM_R_RM or FORM_R_RM_I.  XCHG is FORM_RM_R (90+r: reg is RAX); with
 *   memory it locks without INSN_LOCK.  MOV moffs has INSN_MEM, no base, disp.
 * - CBW, CWD: opsize of the result (CBW) or of each half (CWD): 2, 4, 8.
 * - XLAT: FORM_STR, seg and adsize.  MONITOR: seg and adsize too.
 * - REP MOVS/STOS/LODS/INS/OUTS: F2 repeats like F3; both set INSN_REP only.
 *   CMPS/SCAS: F3 INSN_REP, F2 INSN_REPNE.
 * - Segment registers: number (enum cpu_seg_id) in reg; PUSH_S, POP_S are FORM_NONE,
 *   MOV_R_S FORM_RM_R, MOV_S_R FORM_R_RM (msize 2; register forms by opsize).
 *   MOV_R_CR/DR FORM_RM_R, MOV_CR/DR_R FORM_R_RM: control register number in reg.
 * - LDS .. LSS: opsize of the offset; msize opsize + 2.  JMP_FAR_M, CALL_FAR_M: the
 *   same, FORM_RM; CALL_FAR_M with REX.W has opsize 8 (what it pushes), msize 6.  LGDT ..: FORM_RM,
 * opsize 2, 4, 8, msize 6 or 10.  BOUND: msize 2 * opsize.  SLDT, STR, SMSW: opsize for registers,
 * msize 2.
 * - LAR, LSL: srcsize 2.  MOVSXD: srcsize 4, also with opsize 2 (as AMD).
 * - IN, OUT by DX: FORM_NONE.  JCXZ, LOOP*: the counter has adsize bytes.
 * - Near branches and stack operations: opsize as AMD has it, so a 66 prefix makes
 *   them 16 bits wide in 64-bit mode as well (RIP is then cut to opsize).
 * - RDFSBASE .., MOVNTI, XSAVE family, FXSAVE, SYSRET, SYSEXIT: opsize 8 with REX.W, else 4.
 *   FXSAVE and XSAVE family: msize 0, they are larger than it can tell.
 * - REG_HI and RM_HI also hold for srcsize 1 (r/m of MOVZX, MOVSX, CRC32).
 * - FORM_X87: opcode (D8..DF) and modrm tell the operation, msize the memory operand.
 * - FORM_VEC: map, opcode, pp (and INSN_VEX, INSN_REX_W, modrm) tell the operation.
 *   INSN_VEX_L is cleared where L is ignored, INSN_REX_W where it is outside 64-bit
 *   mode.  Operands in opcode order: reg, vvvv, r/m; VK_NONE: not there.  Shifts by
 *   immediate have rm as source (and as destination unless VEX, then vvvv);
 *   vk_reg is VK_NONE.  A VK_GPR operand has opsize 4, or 8 with REX.W; in memory it has
 *   msize bytes.  Memory of msize bytes is read or written even where the register
 *   is wider (VK_YMM with msize 4: VBROADCASTSS).  GATHER: vvvv is the mask,
 *   index a vector register of vk_rm, msize the size of one element.
 * - VEX.128 AES, PCLMUL and GFNI name that feature; AVX they have by XCR0.
 */
#pragma once

#include "base/cleanup.h"
#include "cpu/cpuid.h"

enum x86_mode { MODE_16, MODE_32, MODE_64 }; /* CS.L and CS.D, not the CPU's mode */

enum x86_op {
	OP_INVALID,
#define X86_OP(name) OP_##name,
#include "cpu/x86/ops.def"
#undef X86_OP
	OP_COUNT,
};

/* Which operands there are, after normalisation. */
enum x86_form {
	FORM_NONE,
	FORM_RM,   /* r/m only; short forms with the register in the opcode too */
	FORM_RM_R, /* r/m (destination first), register */
	FORM_R_RM,
	FORM_RM_I,   /* also ADD A,imm and MOV r,imm (rm is the register) */
	FORM_R_RM_I, /* IMUL r, r/m, imm; RORX */
	FORM_RM_R_I, /* SHLD/SHRD r/m, r, imm8 */
	FORM_R_V_RM, /* VEX: reg, vvvv, r/m (ANDN, PDEP ...) */
	FORM_R_RM_V, /* VEX: reg, r/m, vvvv (BEXTR, SHLX ...) */
	FORM_V_RM,   /* VEX: vvvv, r/m (BLSR ...) */
	FORM_I,	     /* immediate only: PUSH imm, INT n, RET n; ENTER: imm = size | level << 16 */
	FORM_REL,    /* imm: signed displacement from the next instruction */
	FORM_FAR,    /* imm: offset, disp: selector */
	FORM_STR,    /* string instruction: implicit operands, seg override in seg */
	FORM_IO_I,   /* IN/OUT with port in imm */
	FORM_VEC,    /* vector, MMX or mixed: see the vec fields */
	FORM_X87,
};

enum {
	INSN_MEM = 1 << 0,    /* r/m is memory: base, index, scale, disp, seg */
	INSN_LOCK = 1 << 1,   /* LOCK prefix, and legal here (else decode fails) */
	INSN_REP = 1 << 2,    /* F3 where it is a repeat prefix */
	INSN_REPNE = 1 << 3,  /* F2 where it is a repeat prefix */
	INSN_REG_HI = 1 << 4, /* byte register reg is AH, CH, DH, BH (reg is 0..3) */
	INSN_RM_HI = 1 << 5,  /* the same of rm */
	INSN_RIPREL = 1 << 6, /* address is next RIP + disp */
	INSN_VEX = 1 << 7,
	INSN_VEX_L = 1 << 8,
	INSN_REX_W = 1 << 9,   /* REX.W or VEX.W */
	INSN_BRANCH = 1 << 10, /* may change RIP: ends a block */
	INSN_ENDS = 1 << 11,   /* ends a block for another reason: mode, CR, serialising, STI ... */
	INSN_MEM_R = 1 << 12,  /* reads its memory operand */
	INSN_MEM_W = 1 << 13,  /* writes its memory operand */
	INSN_ALIGN = 1 << 14,  /* memory operand must be aligned to its size (#GP) */
	INSN_REG_W = 1 << 15,  /* vector forms: writes the reg operand */
	INSN_RM_W = 1 << 16,   /* vector forms: writes the r/m operand */
	INSN_ADDR32 = 1 << 17, /* had a 67 prefix (LEA, string, JCXZ: adsize tells all) */
	INSN_OPSIZE = 1 << 18, /* had a 66 prefix */
	INSN_VVVV_W = 1 << 19, /* writes vvvv (gathers; vector shifts by immediate write vvvv) */
	INSN_WR_FLAGS = 1 << 20, /* vector forms: writes RFLAGS (PTEST, COMISS ...) */
	INSN_IO = 1 << 21,
	INSN_VSIB = 1 << 22, /* index names a vector register */
};

enum { INSN_NOREG = 0xff, INSN_MAX_LEN = 15 };

/* Kind of the register operand of a vector form. */
enum vec_kind { VK_NONE, VK_XMM, VK_YMM, VK_MMX, VK_GPR };

struct vcpu;
struct insn;
typedef void insn_fn(struct vcpu *c, const struct insn *i);

struct insn {
	insn_fn *fn;	/* bound by the engine, NULL after decoding */
	uint64_t imm;	/* sign- or zero-extended as the instruction asks */
	int64_t disp;	/* sign-extended; all 64 bits for moffs */
	uint32_t flags; /* INSN_* */
	uint16_t op;	/* enum x86_op */
	uint8_t form;	/* enum x86_form */
	uint8_t len;
	uint8_t opsize;	       /* operand size in bytes, defaults applied */
	uint8_t srcsize;       /* MOVZX, MOVSX, MOVSXD, CRC32: size of the source */
	uint8_t adsize;	       /* address size in bytes: 2, 4, 8 */
	uint8_t msize;	       /* bytes of the memory operand; 0: by opsize (or none) */
	uint8_t seg;	       /* segment of the memory operand (override or default) */
	uint8_t reg, rm, vvvv; /* register numbers, REX and VEX folded in */
	uint8_t base, index;   /* INSN_NOREG: none */
	uint8_t scale;	       /* shift: 0..3 */
	uint8_t cc;	       /* condition code 0..15 of Jcc, SETcc, CMOVcc */
	uint8_t feature;       /* enum cpu_feature needed */
	uint8_t map, opcode,
		pp; /* map 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A; pp 0, 1: 66, 2: F3, 3: F2 */
	uint8_t modrm;
	uint8_t vk_reg, vk_vvvv, vk_rm; /* enum vec_kind, vector forms */
	uint8_t is4;			/* register in imm8[7:4] (VBLENDVPS ...), else INSN_NOREG */
};

/* Failures of x86_decode(). */
enum {
	X86_UD = -1,	    /* no such instruction: #UD */
	X86_TOO_LONG = -2,  /* over 15 bytes: #GP(0) */
	X86_TRUNCATED = -3, /* needs more than @avail bytes */
};

/*
 * Decode one instruction of @avail bytes at @code (no byte beyond is read).
 * Returns its length (1..15) with *@out filled in, or X86_* above.
 * Pure: no state, no allocation, any thread.
 */
int x86_decode(const uint8_t *code, size_t avail, enum x86_mode mode, struct insn *out);

/*
 * What a CPU without @i->feature makes of the encoding: LZCNT runs as BSR, TZCNT as
 * BSF, WBNOINVD as WBINVD, PREFETCHW as PREFETCH.  Returns true with *@i changed, or
 * false: #UD.  For engines, when the model lacks i->feature.
 */
bool x86_without_feature(struct insn *i);

/* The SDM's name of @op in lower case, for dumps. */
const char *x86_op_name(unsigned op);
