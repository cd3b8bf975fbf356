/* SPDX-License-Identifier: Apache-2.0 */
/* mxcsr.h - bits of MXCSR (Intel SDM vol. 1, 10.2.3). */
#pragma once

enum {
	MXCSR_HOST = 0x1f80, /* what C code runs under, and reset: all masked, round to nearest */
	MXCSR_FLAGS = 0x003f,
	MXCSR_MASKS = 0x1f80,
};
