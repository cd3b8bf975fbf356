/* SPDX-License-Identifier: Apache-2.0 */
/* soft_counted_test.c - the interpreter's tests, on the translator that counts. */
#define GUEST_ENGINE engine_soft
#define GUEST_COUNT  true
#include "cpu/interp/interp_test.c"
