/* SPDX-License-Identifier: Apache-2.0 */
/* soft_test.c - the interpreter's tests, on the translator. */
#define GUEST_ENGINE engine_soft
#include "cpu/interp/interp_test.c"
