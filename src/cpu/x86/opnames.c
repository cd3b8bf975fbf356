/* SPDX-License-Identifier: Apache-2.0 */
/*
 * opnames.c - names of operations, for dumps.
 *
 * Lower case as in listings, so they are spelled out rather than made from ops.def;
 * decode_test.c checks that none is missing.
 */
#include "cpu/x86/insn.h"

/* clang-format off */
static const char *const names[OP_COUNT] = {
	[OP_INVALID] = "(bad)",
	[OP_ADD] = "add", [OP_OR] = "or", [OP_ADC] = "adc", [OP_SBB] = "sbb", [OP_AND] = "and",
	[OP_SUB] = "sub", [OP_XOR] = "xor", [OP_CMP] = "cmp", [OP_TEST] = "test",
	[OP_INC] = "inc", [OP_DEC] = "dec", [OP_NEG] = "neg", [OP_NOT] = "not",
	[OP_MUL] = "mul", [OP_IMUL] = "imul", [OP_IMUL2] = "imul", [OP_DIV] = "div",
	[OP_IDIV] = "idiv", [OP_ROL] = "rol", [OP_ROR] = "ror", [OP_RCL] = "rcl",
	[OP_RCR] = "rcr", [OP_SHL] = "shl", [OP_SHR] = "shr", [OP_SAR] = "sar",
	[OP_SHLD] = "shld", [OP_SHRD] = "shrd", [OP_SHLX] = "shlx", [OP_SHRX] = "shrx",
	[OP_SARX] = "sarx", [OP_RORX] = "rorx", [OP_MOV] = "mov", [OP_MOVZX] = "movzx",
	[OP_MOVSX] = "movsx", [OP_MOVSXD] = "movsxd", [OP_LEA] = "lea", [OP_XCHG] = "xchg",
	[OP_XADD] = "xadd", [OP_CMPXCHG] = "cmpxchg", [OP_CMPXCHG8B] = "cmpxchg8b",
	[OP_CMPXCHG16B] = "cmpxchg16b", [OP_BSWAP] = "bswap", [OP_MOVBE] = "movbe",
	[OP_MOVNTI] = "movnti", [OP_CMOVCC] = "cmovcc", [OP_SETCC] = "setcc",
	[OP_PUSH] = "push", [OP_POP] = "pop", [OP_PUSHA] = "pusha", [OP_POPA] = "popa",
	[OP_PUSHF] = "pushf", [OP_POPF] = "popf", [OP_ENTER] = "enter", [OP_LEAVE] = "leave",
	[OP_LAHF] = "lahf", [OP_SAHF] = "sahf", [OP_XLAT] = "xlat", [OP_CBW] = "cbw",
	[OP_CWD] = "cwd", [OP_BOUND] = "bound", [OP_BT] = "bt", [OP_BTS] = "bts",
	[OP_BTR] = "btr", [OP_BTC] = "btc", [OP_BSF] = "bsf", [OP_BSR] = "bsr",
	[OP_POPCNT] = "popcnt", [OP_LZCNT] = "lzcnt", [OP_TZCNT] = "tzcnt", [OP_ANDN] = "andn",
	[OP_BEXTR] = "bextr", [OP_BLSI] = "blsi", [OP_BLSMSK] = "blsmsk", [OP_BLSR] = "blsr",
	[OP_BZHI] = "bzhi", [OP_PDEP] = "pdep", [OP_PEXT] = "pext", [OP_MULX] = "mulx",
	[OP_ADCX] = "adcx", [OP_ADOX] = "adox", [OP_CRC32] = "crc32", [OP_DAA] = "daa",
	[OP_DAS] = "das", [OP_AAA] = "aaa", [OP_AAS] = "aas", [OP_AAM] = "aam",
	[OP_AAD] = "aad", [OP_SALC] = "salc", [OP_JMP] = "jmp", [OP_JMP_RM] = "jmp",
	[OP_JCC] = "jcc", [OP_CALL] = "call", [OP_CALL_RM] = "call", [OP_RET] = "ret",
	[OP_JCXZ] = "jcxz", [OP_LOOP] = "loop", [OP_LOOPE] = "loope", [OP_LOOPNE] = "loopne",
	[OP_JMP_FAR] = "jmp far", [OP_JMP_FAR_M] = "jmp far", [OP_CALL_FAR] = "call far",
	[OP_CALL_FAR_M] = "call far", [OP_RET_FAR] = "ret far", [OP_IRET] = "iret",
	[OP_INT] = "int", [OP_INT3] = "int3", [OP_INTO] = "into", [OP_ICEBP] = "icebp",
	[OP_SYSCALL] = "syscall", [OP_SYSRET] = "sysret", [OP_SYSENTER] = "sysenter",
	[OP_SYSEXIT] = "sysexit", [OP_MOVS] = "movs", [OP_CMPS] = "cmps", [OP_STOS] = "stos",
	[OP_LODS] = "lods", [OP_SCAS] = "scas", [OP_INS] = "ins", [OP_OUTS] = "outs",
	[OP_IN] = "in", [OP_OUT] = "out", [OP_CLC] = "clc", [OP_STC] = "stc", [OP_CMC] = "cmc",
	[OP_CLD] = "cld", [OP_STD] = "std", [OP_CLI] = "cli", [OP_STI] = "sti",
	[OP_CLAC] = "clac", [OP_STAC] = "stac", [OP_MOV_R_S] = "mov", [OP_MOV_S_R] = "mov",
	[OP_PUSH_S] = "push", [OP_POP_S] = "pop", [OP_LDS] = "lds", [OP_LES] = "les",
	[OP_LFS] = "lfs", [OP_LGS] = "lgs", [OP_LSS] = "lss", [OP_LAR] = "lar",
	[OP_LSL] = "lsl", [OP_VERR] = "verr", [OP_VERW] = "verw", [OP_ARPL] = "arpl",
	[OP_LLDT] = "lldt", [OP_SLDT] = "sldt", [OP_LTR] = "ltr", [OP_STR] = "str",
	[OP_LGDT] = "lgdt", [OP_SGDT] = "sgdt", [OP_LIDT] = "lidt", [OP_SIDT] = "sidt",
	[OP_RDFSBASE] = "rdfsbase", [OP_RDGSBASE] = "rdgsbase", [OP_WRFSBASE] = "wrfsbase",
	[OP_WRGSBASE] = "wrgsbase", [OP_SWAPGS] = "swapgs", [OP_MOV_R_CR] = "mov",
	[OP_MOV_CR_R] = "mov", [OP_MOV_R_DR] = "mov", [OP_MOV_DR_R] = "mov",
	[OP_CLTS] = "clts", [OP_SMSW] = "smsw", [OP_LMSW] = "lmsw", [OP_HLT] = "hlt",
	[OP_INVLPG] = "invlpg", [OP_INVPCID] = "invpcid", [OP_INVD] = "invd",
	[OP_WBINVD] = "wbinvd", [OP_RDMSR] = "rdmsr", [OP_WRMSR] = "wrmsr",
	[OP_RDTSC] = "rdtsc", [OP_RDTSCP] = "rdtscp", [OP_RDPID] = "rdpid",
	[OP_RDPMC] = "rdpmc", [OP_CPUID] = "cpuid", [OP_MONITOR] = "monitor",
	[OP_MWAIT] = "mwait", [OP_VMCALL] = "vmcall", [OP_VMMCALL] = "vmmcall",
	[OP_RDRAND] = "rdrand", [OP_RDSEED] = "rdseed", [OP_NOP] = "nop", [OP_PAUSE] = "pause",
	[OP_PREFETCH] = "prefetch", [OP_CLFLUSH] = "clflush", [OP_CLFLUSHOPT] = "clflushopt",
	[OP_CLWB] = "clwb", [OP_LFENCE] = "lfence", [OP_MFENCE] = "mfence",
	[OP_SFENCE] = "sfence", [OP_UD] = "ud", [OP_WAIT] = "wait", [OP_FXSAVE] = "fxsave",
	[OP_FXRSTOR] = "fxrstor", [OP_XSAVE] = "xsave", [OP_XRSTOR] = "xrstor",
	[OP_XSAVEOPT] = "xsaveopt", [OP_XSAVEC] = "xsavec", [OP_XSAVES] = "xsaves",
	[OP_XRSTORS] = "xrstors", [OP_XGETBV] = "xgetbv", [OP_XSETBV] = "xsetbv",
	[OP_LDMXCSR] = "ldmxcsr", [OP_STMXCSR] = "stmxcsr", [OP_EMMS] = "emms",
	[OP_VZEROUPPER] = "vzeroupper", [OP_VZEROALL] = "vzeroall", [OP_VEC] = "vec",
	[OP_X87] = "x87", [OP_MASKMOV] = "maskmov", [OP_GATHER] = "gather",
};
/* clang-format on */

const char *x86_op_name(unsigned op)
{
	return op < OP_COUNT && names[op] ? names[op] : names[OP_INVALID];
}
