/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vvictim.h - each virtio device on a board with its back end, and scripts to torment it.
 *
 * A script is bytes: an operation and its operands, again and again.  The fuzzers get
 * theirs from libFuzzer, the hostile test from a random number generator.
 */
#pragma once

#include "dev/tests/vbackends.h"
#include "dev/tests/vdriver.h"

enum victim_kind { VICTIM_BLK, VICTIM_NET, VICTIM_RNG, VICTIM_CONSOLE, VICTIM_KINDS };

struct victim {
	struct vboard b;
	enum victim_kind kind;
	struct device *dev;
	struct vdrv d;
	struct memdisk disk;
	struct memwire wire;
};

const char *victim_name(enum victim_kind kind);
/* 0 or -errno. */
MUST_CHECK int victim_init(struct victim *v, enum victim_kind kind);
void victim_fini(struct victim *v);
/*
 * Carry out a script.  @calm: wait for the device after each kick, so that a script does
 * the same each time; otherwise its memory changes while the device looks.
 */
void victim_script(struct victim *v, const uint8_t *data, size_t len, bool calm);
/* After a reset the device must do its job again.  False: it does not. */
bool victim_works(struct victim *v);
