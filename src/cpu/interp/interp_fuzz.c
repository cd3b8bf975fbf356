/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interp_fuzz.c - arbitrary code in arbitrary modes must not hurt the engine.
 *
 * The input is a mode, registers and code; device accesses are answered from the
 * input too.  A guest may loop, so a thread kicks it every half millisecond.
 */
#include <pthread.h>
#include <time.h>

#include "cpu/interp/guest.h"

enum { HEADER = 40, KICKS = 2, EXITS = 200 };

static void *kicker(void *arg)
{
	struct guest *g = arg;
	const struct timespec ts = {.tv_nsec = 500000};

	for (;;) {
		nanosleep(&ts, NULL);
		GUEST_ENGINE.kick(g->v);
	}
	return NULL;
}

/* One VM for all inputs: its memory carries over, which is only more variety. */
static struct guest *fuzz_guest(void)
{
	static struct guest *g;
	pthread_t t;

	if (!g) {
		g = guest_new(1);
		pthread_create(&t, NULL, kicker, g);
	}
	return g;
}

static void load(struct guest *g, const uint8_t *data, size_t size)
{
	struct cpu_state s;
	unsigned flags = data[0];

	memset(g->ram + G_IDT, 0, 0x1000);
	if (flags % 3 == 0)
		guest_long(g);
	else if (flags % 3 == 1)
		guest_flat32(g);
	else
		guest_real(g);
	for (unsigned v = 0; v < 32 && flags & 0x80; v++)
		guest_gate(g, v, G_CODE + 0x800 + v * 8, 3);
	s = *guest_state(g);
	for (unsigned i = 0; i < 16; i++) /* mostly small: inside RAM and device memory */
		s.gpr[i] = flags & 0x40 ? (uint64_t)data[1 + i * 2] << 16 | data[2 + i * 2] << 4
					: (uint64_t)(int64_t)(int8_t)data[1 + i * 2]
						  << data[2 + i * 2] % 60;
	if (flags & 0x20)
		s.rflags |= FL_TF | FL_IF;
	if (flags & 0x10)
		s.dr7 = 0x400 | data[33] | (uint64_t)data[34] << 16 | (uint64_t)data[35] << 24;
	s.dr[0] = s.gpr[GPR_RSI];
	s.dr[1] = G_CODE + data[36];
	guest_set(g, &s);
	memcpy(g->ram + (s.rip & 0x1ffff), data + HEADER, MIN(size - HEADER, 0x800));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest *g = fuzz_guest();
	unsigned kicks = 0;
	struct cpu_state s;

	if (size < HEADER + 1)
		return 0;
	load(g, data, size);
	for (unsigned i = 0; i < EXITS && kicks < KICKS; i++) {
		GUEST_ENGINE.run(g->v, &g->exit);
		g->exit.data = data[i % size] * 0x0101010101010101ULL;
		g->exit.fail = data[i % size] & 1;
		if (g->exit.reason == EXIT_SHUTDOWN || g->exit.reason == EXIT_HLT)
			break;
		kicks += g->exit.reason == EXIT_KICK;
		if (GUEST_ENGINE.can_inject(g->v))
			GUEST_ENGINE.inject(g->v, data[i % size]);
	}
	GUEST_ENGINE.get_state(g->v, &s);
	return 0;
}
