/* SPDX-License-Identifier: Apache-2.0 */
/* xstate.h - the legacy region of FXSAVE and XSAVE images, packed and loaded. */
#pragma once

#include "cpu/x86/fpu/fpu.h"

/* XMM registers the current mode has. */
unsigned xmm_count(const struct vcpu *c);

/* @wide: the form with REX.W, 64-bit pointers. */
void legacy_pack_x87(const struct vcpu *c, bool wide, struct cpu_fxsave *out);
void legacy_pack_mxcsr(const struct vcpu *c, struct cpu_fxsave *out);
void legacy_pack_xmm(const struct vcpu *c, struct cpu_fxsave *out);
void legacy_load_x87(struct vcpu *c, bool wide, const struct cpu_fxsave *in);
void legacy_load_xmm(struct vcpu *c, const struct cpu_fxsave *in);
