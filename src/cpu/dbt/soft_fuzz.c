/* SPDX-License-Identifier: Apache-2.0 */
/* soft_fuzz.c - arbitrary code in arbitrary modes, on the translator. */
#define GUEST_ENGINE engine_soft
#include "cpu/interp/interp_fuzz.c"
