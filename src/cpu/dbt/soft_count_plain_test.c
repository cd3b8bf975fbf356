/* SPDX-License-Identifier: Apache-2.0 */
/* soft_count_plain_test.c - exact counts, on the translator for hosts without AVX-512. */
#define GUEST_ENGINE	engine_soft
#define GUEST_NO_AVX512 true
#include "cpu/interp/count_test.c"
