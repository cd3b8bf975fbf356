/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - host time, and a VM's clock that stands still while the VM is paused.
 *
 * struct vclock maps host monotonic nanoseconds to the VM's nanoseconds since
 * power-on.  Devices and timers of a VM use the VM's clock only, so that a saved
 * machine resumes where it stopped.
 */
#pragma once

#include "base/cleanup.h"
#include <time.h>

static inline uint64_t host_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t host_wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline uint64_t host_tsc(void)
{
	return __builtin_ia32_rdtsc();
}

struct vclock {		       /* any thread reads; written only while the VM is paused */
	uint64_t base_ns;      /* VM time when it was last started or stopped */
	uint64_t host_base_ns; /* host_ns() at that moment */
	uint8_t slow_shift;    /* it runs at the host's speed / 2^this; set before it starts */
	bool running;
};

static inline uint64_t vclock_ns(const struct vclock *c)
{
	uint64_t since = (host_ns() - c->host_base_ns) >> c->slow_shift;

	return c->running ? c->base_ns + since : c->base_ns;
}

/* A time-stamp counter that runs as slowly. */
static inline uint64_t vclock_tsc(const struct vclock *c)
{
	return host_tsc() >> c->slow_shift;
}

static inline void vclock_start(struct vclock *c)
{
	if (c->running)
		return;
	c->host_base_ns = host_ns();
	c->running = true;
}

static inline void vclock_stop(struct vclock *c)
{
	c->base_ns = vclock_ns(c);
	c->running = false;
}

/* (a * b) / c in 128 bits: frequency conversions without overflow. */
static inline uint64_t mul_div64(uint64_t a, uint64_t b, uint64_t c)
{
	return (uint64_t)((unsigned __int128)a * b / c);
}
