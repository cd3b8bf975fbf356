/* SPDX-License-Identifier: Apache-2.0 */
/* virtio_blk_fuzz.c - a script of register accesses and ring contents for the block device. */
#include "dev/tests/vfuzz.h"

VFUZZ(VICTIM_BLK)
