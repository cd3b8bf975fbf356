/* SPDX-License-Identifier: Apache-2.0 */
/* virtio_net_fuzz.c - a script of register accesses and ring contents for the network card. */
#include "dev/tests/vfuzz.h"

VFUZZ(VICTIM_NET)
