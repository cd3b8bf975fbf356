/* SPDX-License-Identifier: Apache-2.0 */
/* diff_native.h - what the trampoline (diff_tramp.S) and its driver share. */
#pragma once

#include <stddef.h>
#include "cpu/tests/diff.h"

/*
 * At DIFF_RUN in the child, so that code can reach it by absolute address with no
 * register to spare.  Offsets are spelled out in diff_tramp.S.
 */
struct run_area {
	uint64_t gpr[16];		   /* in and out */
	uint64_t rip, cs, rflags, rsp, ss; /* IRETQ frame */
	uint64_t fsbase, gsbase;
	uint64_t host_rsp, host_fsbase, host_gsbase;
	uint64_t out_rflags, out_fsbase, out_gsbase;
	uint16_t out_ds, out_es, out_fs, out_gs;
	uint64_t data_sel, out_ss;
	struct diff_result *active; /* of the case that runs: signals belong to it */
	uint64_t pad[6];
	uint8_t xin[832] __attribute__((aligned(64))); /* XSAVE images, x87 to AVX */
	uint8_t xout[832] __attribute__((aligned(64)));
};

_Static_assert(offsetof(struct run_area, rip) == 128, "diff_tramp.S");
_Static_assert(offsetof(struct run_area, fsbase) == 168, "diff_tramp.S");
_Static_assert(offsetof(struct run_area, host_rsp) == 184, "diff_tramp.S");
_Static_assert(offsetof(struct run_area, out_rflags) == 208, "diff_tramp.S");
_Static_assert(offsetof(struct run_area, out_ds) == 232, "diff_tramp.S");
_Static_assert(offsetof(struct run_area, data_sel) == 240, "diff_tramp.S");
_Static_assert(offsetof(struct run_area, xin) == 320, "diff_tramp.S");
_Static_assert(offsetof(struct run_area, xout) == 1152, "diff_tramp.S");

static inline struct run_area *run_area(void)
{
	return (struct run_area *)(uintptr_t)DIFF_RUN;
}

/* Load the state of the run area, run, come back with the state after it. */
void diff_run_native(void);
/* Where the tail page jumps to; where the signal handler returns to. */
extern const char diff_tail[], diff_resume[];
/* SA_SIGINFO handler: saves what C would clobber, then diff_on_signal(). */
void diff_signal_entry(int sig, void *info, void *context);
