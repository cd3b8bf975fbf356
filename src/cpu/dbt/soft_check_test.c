/* SPDX-License-Identifier: Apache-2.0 */
/* soft_check_test.c - the interpreter's tests (interp_test.c), on the translator in lock-step. */
#define GUEST_ENGINE engine_soft
#define GUEST_CHECK  true
#include "cpu/interp/interp_test.c"
