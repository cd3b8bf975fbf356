/* SPDX-License-Identifier: Apache-2.0 */
/* stub.h - how a generated stub is called.  Knows nothing of the guest's state. */
#pragma once

#include "base/cleanup.h"
#include "cpu/x86/fpu/mxcsr.h"

/* What a stub needs besides pointers to its operands.  Offsets are in emitted code. */
struct stub_io {
	uint32_t mxcsr;	   /* in and out, of stubs that use it */
	uint32_t flags;	   /* out (x87: in too): LAHF in bits 8..15, SETO in bits 0..7 */
	uint64_t rax, rdx; /* in: PCMPESTRx */
	uint64_t rcx;	   /* out: PCMPxSTRI */
	void *xmm0;	   /* implicit XMM0 */
	const void *is4;   /* register in imm8[7:4] */
};

/*
 * @reg, @rm, @vvvv: the guest's registers of those roles, or (@rm) memory.  Registers
 * are 32-byte aligned vectors, or 8 bytes for VK_GPR and VK_MMX.  x87: @reg is a 512-byte
 * FXSAVE image, @rm the memory operand.
 */
typedef void stub_fn(void *reg, void *rm, void *vvvv, struct stub_io *io);

enum { STUB_MAX_BYTES = 64, STUB_SLOTS = 1 << 17 };

/*
 * Call @fn under io->mxcsr.  Returns true when it raised an unmasked exception: then
 * nothing is written but io->mxcsr.  The host's MXCSR is back afterwards.
 */
bool stub_call_fp(stub_fn *fn, void *reg, void *rm, void *vvvv, struct stub_io *io);

/* Install the process's SIGFPE handler unless it is; others' faults go to the one before. */
void trap_install(void);
