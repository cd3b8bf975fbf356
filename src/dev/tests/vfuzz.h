/* SPDX-License-Identifier: Apache-2.0 */
/* vfuzz.h - the body of each virtio device's fuzz target: a script, then a sign of life. */
#pragma once

#include "dev/tests/vvictim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define VFUZZ(kind)                                                 \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) \
	{                                                           \
		struct victim v;                                    \
                                                                    \
		if (victim_init(&v, kind) < 0)                      \
			abort();                                    \
		victim_script(&v, data, len, true);                 \
		if (!victim_works(&v))                              \
			abort();                                    \
		victim_fini(&v);                                    \
		return 0;                                           \
	}
