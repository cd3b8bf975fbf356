/* SPDX-License-Identifier: Apache-2.0 */
/* assist.h - one instruction in software, for the kernel's sake. */
#pragma once

#include "cpu/engine.h"

enum assist_result {
	ASSIST_DONE, /* the instruction, or its fault, is in the state */
	ASSIST_EXIT, /* @e wants an answer; call again with it */
};

/*
 * Execute the instruction that @soft, a vCPU of engine_interp, stands at, and no more.
 * Afterwards engine_interp.get_state() has the result; a fault is a pending exception.
 * @flushed: it was one that drops translations without a change of the registers.
 */
enum assist_result assist_step(struct engine_vcpu *soft, struct engine_exit *e, bool *flushed);
