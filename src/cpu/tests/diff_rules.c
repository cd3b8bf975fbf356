/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_rules.c - groups of instructions, what is not compared, and which flags are.
 */
#include <string.h>
#include "cpu/tests/diff.h"

enum {
	G_INT,
	G_SHIFT,
	G_MULDIV,
	G_BITS,
	G_MOVE,
	G_STACK,
	G_STRING,
	G_BRANCH,
	G_FAR,
	G_SEGMENT,
	G_SYSTEM,
	G_HINT,
	G_X87,
	G_MMX,
	G_SSE,
	G_AVX,
	G_AVX2,
	G_FMA,
	G_CRYPTO,
	G_FPUSTATE,
	G_INVALID,
	G_COUNT,
};

static const char *const group_names[G_COUNT] = {
	"int",	  "shift", "muldiv",  "bits",	"move",	  "stack",    "string",
	"branch", "far",   "segment", "system", "hint",	  "x87",      "mmx",
	"sse",	  "avx",   "avx2",    "fma",	"crypto", "fpustate", "invalid",
};
enum { MXCSR_MM = 1 << 17 }; /* AMD: no alignment checks for SSE; no model offers it */

_Static_assert((int)G_COUNT <= (int)GROUP_MAX, "diff_gen has one list a group");

static const char not_deterministic[] = "the result depends on time, chance or the host's identity";
static const char host_tables[] = "shows the host's descriptor tables (no UMIP here)";
static const char system_call[] = "enters the host's kernel";
static const char hypercall[] = "may be carried out by the host's hypervisor";
static const char xinuse[] = "the image tells which state is in use, which hosts track differently";

static const struct {
	uint16_t op;
	int8_t group; /* -1: not compared */
	const char *why;
} by_op[] = {
	{OP_SHLD, G_SHIFT},
	{OP_SHRD, G_SHIFT},
	{OP_ROL, G_SHIFT},
	{OP_ROR, G_SHIFT},
	{OP_RCL, G_SHIFT},
	{OP_RCR, G_SHIFT},
	{OP_SHL, G_SHIFT},
	{OP_SHR, G_SHIFT},
	{OP_SAR, G_SHIFT},
	{OP_SHLX, G_SHIFT},
	{OP_SHRX, G_SHIFT},
	{OP_SARX, G_SHIFT},
	{OP_RORX, G_SHIFT},
	{OP_MUL, G_MULDIV},
	{OP_IMUL, G_MULDIV},
	{OP_IMUL2, G_MULDIV},
	{OP_DIV, G_MULDIV},
	{OP_IDIV, G_MULDIV},
	{OP_MULX, G_MULDIV},
	{OP_AAM, G_MULDIV},
	{OP_AAD, G_MULDIV},
	{OP_BT, G_BITS},
	{OP_BTS, G_BITS},
	{OP_BTR, G_BITS},
	{OP_BTC, G_BITS},
	{OP_BSF, G_BITS},
	{OP_BSR, G_BITS},
	{OP_POPCNT, G_BITS},
	{OP_LZCNT, G_BITS},
	{OP_TZCNT, G_BITS},
	{OP_ANDN, G_BITS},
	{OP_BEXTR, G_BITS},
	{OP_BLSI, G_BITS},
	{OP_BLSMSK, G_BITS},
	{OP_BLSR, G_BITS},
	{OP_BZHI, G_BITS},
	{OP_PDEP, G_BITS},
	{OP_PEXT, G_BITS},
	{OP_CRC32, G_BITS},
	{OP_BSWAP, G_BITS},
	{OP_MOV, G_MOVE},
	{OP_MOVZX, G_MOVE},
	{OP_MOVSX, G_MOVE},
	{OP_MOVSXD, G_MOVE},
	{OP_LEA, G_MOVE},
	{OP_XCHG, G_MOVE},
	{OP_XADD, G_MOVE},
	{OP_CMPXCHG, G_MOVE},
	{OP_CMPXCHG8B, G_MOVE},
	{OP_CMPXCHG16B, G_MOVE},
	{OP_MOVBE, G_MOVE},
	{OP_MOVNTI, G_MOVE},
	{OP_CMOVCC, G_MOVE},
	{OP_SETCC, G_MOVE},
	{OP_CBW, G_MOVE},
	{OP_CWD, G_MOVE},
	{OP_XLAT, G_MOVE},
	{OP_BOUND, G_MOVE},
	{OP_LAHF, G_MOVE},
	{OP_SAHF, G_MOVE},
	{OP_PUSH, G_STACK},
	{OP_POP, G_STACK},
	{OP_PUSHA, G_STACK},
	{OP_POPA, G_STACK},
	{OP_PUSHF, G_STACK},
	{OP_POPF, G_STACK},
	{OP_ENTER, G_STACK},
	{OP_LEAVE, G_STACK},
	{OP_PUSH_S, G_STACK},
	{OP_MOVS, G_STRING},
	{OP_CMPS, G_STRING},
	{OP_STOS, G_STRING},
	{OP_LODS, G_STRING},
	{OP_SCAS, G_STRING},
	{OP_JMP, G_BRANCH},
	{OP_JMP_RM, G_BRANCH},
	{OP_JCC, G_BRANCH},
	{OP_CALL, G_BRANCH},
	{OP_CALL_RM, G_BRANCH},
	{OP_RET, G_BRANCH},
	{OP_JCXZ, G_BRANCH},
	{OP_LOOP, G_BRANCH},
	{OP_LOOPE, G_BRANCH},
	{OP_LOOPNE, G_BRANCH},
	{OP_INT3, G_BRANCH},
	{OP_INTO, G_BRANCH},
	{OP_UD, G_BRANCH},
	{OP_JMP_FAR, G_FAR},
	{OP_JMP_FAR_M, G_FAR},
	{OP_CALL_FAR, G_FAR},
	{OP_CALL_FAR_M, G_FAR},
	{OP_RET_FAR, G_FAR},
	{OP_IRET, G_FAR},
	{OP_INT, G_FAR},
	{OP_MOV_R_S, G_SEGMENT},
	{OP_MOV_S_R, G_SEGMENT},
	{OP_POP_S, G_SEGMENT},
	{OP_LDS, G_SEGMENT},
	{OP_LES, G_SEGMENT},
	{OP_LFS, G_SEGMENT},
	{OP_LGS, G_SEGMENT},
	{OP_LSS, G_SEGMENT},
	{OP_LAR, G_SEGMENT},
	{OP_LSL, G_SEGMENT},
	{OP_VERR, G_SEGMENT},
	{OP_VERW, G_SEGMENT},
	{OP_ARPL, G_SEGMENT},
	{OP_RDFSBASE, G_SEGMENT},
	{OP_RDGSBASE, G_SEGMENT},
	{OP_WRFSBASE, G_SEGMENT},
	{OP_WRGSBASE, G_SEGMENT},
	{OP_INS, G_SYSTEM},
	{OP_OUTS, G_SYSTEM},
	{OP_IN, G_SYSTEM},
	{OP_OUT, G_SYSTEM},
	{OP_CLI, G_SYSTEM},
	{OP_STI, G_SYSTEM},
	{OP_CLAC, G_SYSTEM},
	{OP_STAC, G_SYSTEM},
	{OP_LLDT, G_SYSTEM},
	{OP_LTR, G_SYSTEM},
	{OP_LGDT, G_SYSTEM},
	{OP_LIDT, G_SYSTEM},
	{OP_SWAPGS, G_SYSTEM},
	{OP_MOV_R_CR, G_SYSTEM},
	{OP_MOV_CR_R, G_SYSTEM},
	{OP_MOV_R_DR, G_SYSTEM},
	{OP_MOV_DR_R, G_SYSTEM},
	{OP_CLTS, G_SYSTEM},
	{OP_LMSW, G_SYSTEM},
	{OP_HLT, G_SYSTEM},
	{OP_INVLPG, G_SYSTEM},
	{OP_INVPCID, G_SYSTEM},
	{OP_INVD, G_SYSTEM},
	{OP_WBINVD, G_SYSTEM},
	{OP_RDMSR, G_SYSTEM},
	{OP_WRMSR, G_SYSTEM},
	{OP_MONITOR, G_SYSTEM},
	{OP_MWAIT, G_SYSTEM},
	{OP_SYSRET, G_SYSTEM},
	{OP_XSETBV, G_SYSTEM},
	{OP_XSAVES, G_SYSTEM},
	{OP_XRSTORS, G_SYSTEM},
	{OP_NOP, G_HINT},
	{OP_PAUSE, G_HINT},
	{OP_PREFETCH, G_HINT},
	{OP_CLFLUSH, G_HINT},
	{OP_CLFLUSHOPT, G_HINT},
	{OP_CLWB, G_HINT},
	{OP_LFENCE, G_HINT},
	{OP_MFENCE, G_HINT},
	{OP_SFENCE, G_HINT},
	{OP_WAIT, G_X87},
	{OP_EMMS, G_MMX},
	{OP_FXSAVE, G_FPUSTATE},
	{OP_FXRSTOR, G_FPUSTATE},
	{OP_LDMXCSR, G_FPUSTATE},
	{OP_STMXCSR, G_FPUSTATE},
	{OP_VZEROUPPER, G_AVX},
	{OP_VZEROALL, G_AVX},

	{OP_RDTSC, -1, not_deterministic},
	{OP_RDTSCP, -1, not_deterministic},
	{OP_RDPID, -1, not_deterministic},
	{OP_RDPMC, -1, not_deterministic},
	{OP_RDRAND, -1, not_deterministic},
	{OP_RDSEED, -1, not_deterministic},
	{OP_CPUID, -1, not_deterministic},
	{OP_XGETBV, -1, not_deterministic},
	{OP_SGDT, -1, host_tables},
	{OP_SIDT, -1, host_tables},
	{OP_SLDT, -1, host_tables},
	{OP_STR, -1, host_tables},
	{OP_SMSW, -1, host_tables},
	{OP_SYSCALL, -1, system_call},
	{OP_SYSENTER, -1, system_call},
	{OP_VMCALL, -1, hypercall},
	{OP_VMMCALL, -1, hypercall},
	{OP_SYSEXIT, -1, hypercall},
	{OP_ICEBP, -1, hypercall},
	{OP_XSAVE, -1, xinuse},
	{OP_XSAVEOPT, -1, xinuse},
	{OP_XSAVEC, -1, xinuse},
	{OP_XRSTOR, -1, xinuse},
};

bool diff_group_invalid(unsigned group)
{
	return group == G_INVALID;
}

unsigned diff_group_count(void)
{
	return G_COUNT;
}

const char *diff_group_name(unsigned group)
{
	return group_names[group];
}

static int vector_group(const struct insn *i)
{
	switch (i->feature) {
	case FEAT_AES:
	case FEAT_PCLMUL:
	case FEAT_SHA:
	case FEAT_GFNI:
	case FEAT_VAES:
	case FEAT_VPCLMUL: return G_CRYPTO;
	case FEAT_FMA: return G_FMA;
	default: break;
	}
	if (i->feature == FEAT_AVX2)
		return G_AVX2;
	if (i->flags & INSN_VEX)
		return G_AVX;
	return i->vk_reg == VK_MMX || i->vk_rm == VK_MMX ? G_MMX : G_SSE;
}

int diff_group_of(const struct insn *i, const char **why)
{
	if (i->op == OP_X87)
		return G_X87;
	if (i->op == OP_VEC || i->op == OP_MASKMOV || i->op == OP_GATHER)
		return vector_group(i);
	/* a stack segment load inhibits the debug trap behind it, and 0x80 is a system call */
	if (i->op == OP_INT && i->imm == 0x80) {
		*why = system_call;
		return -1;
	}
	for (size_t n = 0; n < ARRAY_SIZE(by_op); n++) {
		if (by_op[n].op != i->op)
			continue;
		*why = by_op[n].why;
		return by_op[n].group;
	}
	return G_INT;
}

void diff_list_skipped(FILE *f)
{
	const char *last = NULL;

	for (size_t n = 0; n < ARRAY_SIZE(by_op); n++) {
		if (by_op[n].group >= 0)
			continue;
		if (by_op[n].why != last)
			fprintf(f, "%s  %s:", last ? "\n" : "", by_op[n].why);
		last = by_op[n].why;
		fprintf(f, " %s", x86_op_name(by_op[n].op));
	}
	fprintf(f, "\n");
}

bool diff_many_accesses(const struct insn *i)
{
	switch (i->op) {
	case OP_IRET:
	case OP_RET_FAR:
	case OP_JMP_FAR_M:
	case OP_CALL_FAR:
	case OP_CALL_FAR_M:
	case OP_FXSAVE:
	case OP_FXRSTOR: return true;
	case OP_X87: return i->msize > 10;
	default: return false;
	}
}

bool diff_excluded(const struct diff_case *c)
{
	static const uint8_t vmcall[] = {0x0f, 0x01, 0xc1}; /* with a prefix it is no instruction */
	const char *why;
	struct insn i;
	int len = x86_decode(c->code, c->nbytes, (enum x86_mode)c->mode, &i);

	return len > 0 ? diff_group_of(&i, &why) < 0
		       : !!memmem(c->code, c->nbytes, vmcall, sizeof(vmcall));
}

/* Zen takes VPERMQ and VPERMPD with W0, too. */
static bool is_vpermq_w0(const struct diff_case *c)
{
	const uint8_t *b = c->code;

	while (b < c->code + c->nbytes - 4 && *b != 0xc4)
		b++;
	return b[0] == 0xc4 && (b[1] & 0x1f) == 3 && !(b[2] & 0x80) && b[3] <= 1;
}

/*
 * Encodings that Zen 4 has and no model offers: AVX-512's EVEX and mask registers,
 * CLZERO, RDPRU, MONITORX, MWAITX, SVM.  The decoder stops at a prefix's first mistake, so the
 * opcode is looked for behind all that may be prefixes.
 */
static bool is_host_extension(const struct diff_case *c)
{
	const uint8_t *b = c->code, *end = c->code + c->nbytes - 4;

	while (b < end && (strchr("\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3", *b) ||
			   (c->mode == MODE_64 && (*b & 0xf0) == 0x40)))
		b++;
	if (b[0] == 0x62)
		return true;
	if (b[0] == 0x0f && b[1] == 0x01)
		return b[2] >= 0xfa || (b[2] & 0xf8) == 0xd8;
	if (b[0] == 0xc5)
		return (b[2] & 0xf0) == 0x40 || (b[2] & 0xf0) == 0x90;
	if (b[0] == 0xc4)
		return ((b[1] & 0x1f) == 1 && ((b[3] & 0xf0) == 0x40 || (b[3] & 0xf0) == 0x90)) ||
		       ((b[1] & 0x1f) == 3 && (b[3] & 0xf0) == 0x30);
	return false;
}

/* Some microcode looks at LOCK last, when the operand has already faulted. */
static bool is_late_lock(const struct diff_case *c, const struct diff_result *native)
{
	return memchr(c->code, 0xf0, 4) && native->vector != VEC_NONE;
}

bool diff_bit_string(const struct insn *i)
{
	return i->form == FORM_RM_R &&
	       (i->op == OP_BT || i->op == OP_BTS || i->op == OP_BTR || i->op == OP_BTC);
}

/* Zen wants offsets to be canonical even where adding FS or GS makes good addresses of them. */
static bool is_bad_offset(const struct diff_case *c, const struct insn *i)
{
	uint64_t base = i->seg == SEG_FS ? c->fsbase : i->seg == SEG_GS ? c->gsbase : 0;
	int64_t ea = (int64_t)(diff_operand(c, i) - base);

	return base && (i->op == OP_GATHER || diff_bit_string(i) || ea != ea << 16 >> 16);
}

/*
 * A bit offset can reach the run area, far past the windows, which only the child
 * has.  16-bit code can call into the 64-bit segment by a pointer it found; Zen 4 then
 * pushes by all of RSP, whose upper half the host's kernel chose when it returned to a
 * 16-bit stack (and it retries the fault for ever where that code's segment is an LDT's).
 */
bool diff_out_of_reach(const struct diff_case *c, const struct diff_result *soft)
{
	return (soft->vector == EXC_PF && soft->cr2 / 4096 == DIFF_RUN / 4096) ||
	       (c->mode == MODE_16 && soft->cs == DIFF_CS64);
}

bool diff_host_only(const struct diff_case *c, const struct diff_result *native)
{
	struct insn i;
	int len = x86_decode(c->code, c->nbytes, (enum x86_mode)c->mode, &i);

	if (native->fx.mxcsr & MXCSR_MM)
		return true;
	if (len == X86_UD)
		return is_vpermq_w0(c) || is_late_lock(c, native) || is_host_extension(c);
	return i.flags & INSN_MEM && i.adsize == 8 && is_bad_offset(c, &i);
}
