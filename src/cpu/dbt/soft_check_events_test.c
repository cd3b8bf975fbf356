/* SPDX-License-Identifier: Apache-2.0 */
/* soft_check_events_test.c - as soft_check_test.c, with events_test.c. */
#define GUEST_ENGINE engine_soft
#define GUEST_CHECK  true
#include "cpu/interp/events_test.c"
