/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the architectural state of one vCPU.
 *
 * What engines give and take, and nothing of any engine: a VM stopped under one
 * engine resumes under another.  Layouts follow the Intel SDM (vol. 1 ch. 13 for
 * the XSAVE legacy region, vol. 3A ch. 2 to 4 for system registers).
 */
#pragma once

#include "base/cleanup.h"
#include "base/state.h"

enum cpu_gpr {
	GPR_RAX,
	GPR_RCX,
	GPR_RDX,
	GPR_RBX,
	GPR_RSP,
	GPR_RBP,
	GPR_RSI,
	GPR_RDI,
	GPR_R8,
	GPR_R9,
	GPR_R10,
	GPR_R11,
	GPR_R12,
	GPR_R13,
	GPR_R14,
	GPR_R15,
};

enum cpu_seg_id { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

/* Segment attributes as in bits 8..15 and 20..23 of a descriptor, shifted down by 8. */
enum {
	ATTR_TYPE = 0x000f, /* code/data or system type */
	ATTR_A = 0x0001,    /* accessed */
	ATTR_W = 0x0002,    /* data: writable; code: readable */
	ATTR_C = 0x0004,    /* code: conforming; data: expand-down */
	ATTR_X = 0x0008,    /* code */
	ATTR_S = 0x0010,    /* code or data (not system) */
	ATTR_DPL = 0x0060,
	ATTR_DPL_SHIFT = 5,
	ATTR_P = 0x0080,
	ATTR_AVL = 0x1000,
	ATTR_L = 0x2000,
	ATTR_DB = 0x4000,
	ATTR_G = 0x8000,
};

struct cpu_seg {
	uint64_t base;
	uint32_t limit; /* in bytes, granularity applied */
	uint16_t sel;
	uint16_t attr; /* ATTR_*; 0 with sel < 4: a null selector, unusable */
};

struct cpu_dtr {
	uint64_t base;
	uint16_t limit;
	uint16_t pad[3];
};

enum {
	CR0_PE = 1u << 0,
	CR0_MP = 1u << 1,
	CR0_EM = 1u << 2,
	CR0_TS = 1u << 3,
	CR0_ET = 1u << 4,
	CR0_NE = 1u << 5,
	CR0_WP = 1u << 16,
	CR0_AM = 1u << 18,
	CR0_NW = 1u << 29,
	CR0_CD = 1u << 30,
};
#define CR0_PG (1u << 31)

enum {
	CR4_VME = 1 << 0,
	CR4_PVI = 1 << 1,
	CR4_TSD = 1 << 2,
	CR4_DE = 1 << 3,
	CR4_PSE = 1 << 4,
	CR4_PAE = 1 << 5,
	CR4_MCE = 1 << 6,
	CR4_PGE = 1 << 7,
	CR4_PCE = 1 << 8,
	CR4_OSFXSR = 1 << 9,
	CR4_OSXMMEXCPT = 1 << 10,
	CR4_UMIP = 1 << 11,
	CR4_LA57 = 1 << 12,
	CR4_VMXE = 1 << 13,
	CR4_FSGSBASE = 1 << 16,
	CR4_PCIDE = 1 << 17,
	CR4_OSXSAVE = 1 << 18,
	CR4_SMEP = 1 << 20,
	CR4_SMAP = 1 << 21,
};

enum {
	EFER_SCE = 1 << 0,
	EFER_LME = 1 << 8,
	EFER_LMA = 1 << 10,
	EFER_NXE = 1 << 11,
};

enum {
	FL_CF = 1 << 0,
	FL_RES1 = 1 << 1,
	FL_PF = 1 << 2,
	FL_AF = 1 << 4,
	FL_ZF = 1 << 6,
	FL_SF = 1 << 7,
	FL_TF = 1 << 8,
	FL_IF = 1 << 9,
	FL_DF = 1 << 10,
	FL_OF = 1 << 11,
	FL_IOPL = 3 << 12,
	FL_NT = 1 << 14,
	FL_RF = 1 << 16,
	FL_VM = 1 << 17,
	FL_AC = 1 << 18,
	FL_VIF = 1 << 19,
	FL_VIP = 1 << 20,
	FL_ID = 1 << 21,
	FL_STATUS = FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF,
};

enum cpu_exception {
	EXC_DE = 0,
	EXC_DB = 1,
	EXC_NMI = 2,
	EXC_BP = 3,
	EXC_OF = 4,
	EXC_BR = 5,
	EXC_UD = 6,
	EXC_NM = 7,
	EXC_DF = 8,
	EXC_TS = 10,
	EXC_NP = 11,
	EXC_SS = 12,
	EXC_GP = 13,
	EXC_PF = 14,
	EXC_MF = 16,
	EXC_AC = 17,
	EXC_MC = 18,
	EXC_XM = 19,
};

enum { XCR0_X87 = 1, XCR0_SSE = 2, XCR0_AVX = 4 };

/* Legacy region of an XSAVE image, standard 64-bit form (SDM vol. 1, 13.4.1). */
struct cpu_fxsave {
	uint16_t fcw, fsw;
	uint8_t ftw, pad; /* abridged tag word */
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];   /* ST(0) first */
	uint8_t xmm[16][16]; /* kept in vec[]; filled in only in images */
	uint8_t avail[96];
} __attribute__((aligned(16)));

struct cpu_vec { /* one YMM register, XMM in its low half */
	uint8_t b[32];
} __attribute__((aligned(32)));

enum { CPU_MTRR_VAR = 8, CPU_MTRR_FIX = 11 };

/* Why the vCPU does not run instructions although the VM runs. */
enum cpu_activity {
	CPU_ACTIVE = 0,
	CPU_HALTED = 1,	   /* HLT: until an interrupt */
	CPU_WAIT_SIPI = 2, /* AP after INIT */
	CPU_SHUTDOWN = 3,  /* triple fault: until reset */
};

struct cpu_state { /* owner: the vCPU's thread; others only while paused */
	uint64_t gpr[16];
	uint64_t rip, rflags;
	struct cpu_seg seg[SEG_COUNT], ldt, tr;
	struct cpu_dtr gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, xcr0, efer;
	uint64_t dr[4], dr6, dr7;

	/* MSRs */
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, misc_enable, xss, spec_ctrl, tsc_adjust;
	uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset while running */
	uint64_t tsc;	     /* guest TSC when the state was taken */
	uint64_t apic_base, tsc_deadline;
	uint64_t mtrr_def_type, mtrr_fix[CPU_MTRR_FIX], mtrr_base[CPU_MTRR_VAR],
		mtrr_mask[CPU_MTRR_VAR];
	uint64_t mcg_status;
	uint64_t pv_system_time; /* KVM's MSR 0x4b564d01 */

	/* pending events */
	uint8_t activity;   /* enum cpu_activity */
	uint8_t int_shadow; /* STI or MOV SS: no interrupt before the next instruction */
	uint8_t nmi_pending, nmi_blocked;
	uint8_t exc_pending; /* an exception was taken but not yet delivered */
	uint8_t exc_vector, exc_has_error;
	uint8_t int_injected; /* an external interrupt was accepted, not yet delivered */
	uint8_t int_vector;
	uint8_t pad[7];
	uint32_t exc_error, pad2;

	struct cpu_fxsave fx; /* x87 and MXCSR */
	struct cpu_vec vec[16];
};

/* Power-up and INIT values (SDM vol. 3A, table 10-1).  @init keeps what INIT keeps. */
void cpu_state_reset(struct cpu_state *s, bool is_bsp, bool init);

/* Field table for saving (base/state.h), and the check of a loaded state. */
extern const struct state_desc cpu_state_desc;

/* Write every register that differs, one a line, as "name: a b".  Returns their number. */
int cpu_state_diff(const struct cpu_state *a, const struct cpu_state *b, char *buf, size_t len);
/* Registers for a person, several lines. */
void cpu_state_print(const struct cpu_state *s, char *buf, size_t len);
