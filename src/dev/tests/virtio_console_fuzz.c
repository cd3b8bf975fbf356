/* SPDX-License-Identifier: Apache-2.0 */
/* virtio_console_fuzz.c - a script of register accesses and ring contents for the console. */
#include "dev/tests/vfuzz.h"

VFUZZ(VICTIM_CONSOLE)
