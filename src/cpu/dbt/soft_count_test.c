/* SPDX-License-Identifier: Apache-2.0 */
/* soft_count_test.c - exact counts, on the translator. */
#define GUEST_ENGINE engine_soft
#include "cpu/interp/count_test.c"
