/* SPDX-License-Identifier: Apache-2.0 */
/* soft_events_test.c - the interpreter's tests of events, on the translator. */
#define GUEST_ENGINE engine_soft
#include "cpu/interp/events_test.c"
