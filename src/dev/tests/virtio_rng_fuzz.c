/* SPDX-License-Identifier: Apache-2.0 */
/* virtio_rng_fuzz.c - a script of register accesses and ring contents for the entropy device. */
#include "dev/tests/vfuzz.h"

VFUZZ(VICTIM_RNG)
