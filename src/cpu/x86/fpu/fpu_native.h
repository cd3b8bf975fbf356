/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fpu_native.h - run one instruction on the host between loading and saving all
 * registers, for tests.  A fault is caught: what the registers then hold is saved.
 *
 * Code and state are in one mapping, so the code reaches the state relative to RIP.
 */
#pragma once

#include "base/cleanup.h"

struct native_state {
	uint8_t fx[512]; /* in and out: FXSAVE64 image; its XMM part is not used */
	uint8_t vec[16][32];
	uint64_t gpr[16], rflags;
	uint64_t host_rsp;
	int vector; /* out: of the exception it raised, or -1 */
};

struct native;

struct native *native_new(void);
struct native_state *native_state(struct native *n);
/* Run @len bytes of @code at native_rip(). */
void native_run(struct native *n, const uint8_t *code, unsigned len);
uint64_t native_rip(struct native *n, unsigned len);
void native_free(struct native *n);
