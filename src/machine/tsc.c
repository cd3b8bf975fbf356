/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tsc.c - how fast the host's time-stamp counter runs.
 *
 * Two readings of the pair (monotonic clock, TSC), 20 ms apart.  Each reading is
 * the tightest of several, so that a preemption between the two clocks does not
 * count: the error is some 100 ns in 20 ms, 5 ppm.
 */
#include <time.h>

#include "machine/internal.h"

struct reading {
	uint64_t ns, tsc;
};

static struct reading read_both(void)
{
	struct reading best = {0, 0};
	uint64_t best_width = UINT64_MAX;

	for (int i = 0; i < 16; i++) {
		uint64_t before = host_ns(), tsc = host_tsc(), after = host_ns();

		if (after - before < best_width) {
			best_width = after - before;
			best = (struct reading){before + (after - before) / 2, tsc};
		}
	}
	return best;
}

uint64_t tsc_measure_khz(void)
{
	struct timespec ts = {0, 20 * 1000 * 1000};
	struct reading a = read_both(), b;

	nanosleep(&ts, NULL);
	b = read_both();
	return mul_div64(b.tsc - a.tsc, 1000000, b.ns - a.ns);
}
