/* SPDX-License-Identifier: Apache-2.0 */
/* soft_smp_test.c - the interpreter's tests of several vCPUs, on the translator. */
#define GUEST_ENGINE engine_soft
#include "cpu/interp/smp_test.c"
