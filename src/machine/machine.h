/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - one PC: memory map, controllers, devices, vCPU threads, life cycle.
 *
 * Threads: the machine loop's thread owns the life cycle and calls everything
 * here, except where "any thread" is said.  vCPU threads and the I/O threads
 * are the machine's own.
 */
#pragma once

#include "base/err.h"
#include "base/loop.h"
#include "cpu/engine.h"
#include "dev/chardev.h"
#include "migrate/record.h"

struct machine;

enum {
	MACHINE_MAX_CPUS = 64,
	MACHINE_MAX_DISKS = 16,
	MACHINE_MAX_NETS = 8,
	MACHINE_MAX_FORWARDS = 32,
};
#define MACHINE_MIN_RAM (16ULL << 20)

enum machine_event {
	MACHINE_EVENT_RESET,	/* arg: the guest asked for it */
	MACHINE_EVENT_POWEROFF, /* the guest turned itself off */
	MACHINE_EVENT_STOP,
	MACHINE_EVENT_RESUME,
	MACHINE_EVENT_POWERDOWN,  /* the button was pressed */
	MACHINE_EVENT_DEBUG_EXIT, /* arg: exit status */
	MACHINE_EVENT_ERROR,	  /* an engine cannot go on; already logged */
};

struct machine_disk {
	const char *path;
	bool readonly;
};

enum machine_net_kind { MACHINE_NET_USER, MACHINE_NET_TAP };
struct machine_net {
	enum machine_net_kind kind;
	const char *tap; /* TAP: interface name */
	const char *forward[MACHINE_MAX_FORWARDS];
	unsigned nforwards;
};

struct machine_config { /* strings are borrowed for the machine's life */
	const char *name;
	const struct engine_ops *engine;
	const char *cpu_model;
	uint64_t ram_bytes; /* multiple of 4096, at least MACHINE_MIN_RAM */
	unsigned ncpus;
	const char *kernel, *initrd, *append; /* kernel NULL: wait for machine_load() */
	struct machine_disk disk[MACHINE_MAX_DISKS];
	unsigned ndisks;
	struct machine_net net[MACHINE_MAX_NETS];
	unsigned nnets;
	bool ephemeral;		 /* disk writes stay in memory */
	bool debug_exit;	 /* port 0xf4 */
	bool check;		 /* engine soft: lock-step with the interpreter */
	bool count;		 /* exact counts of guest instructions */
	size_t code_cache;	 /* engine soft: bytes; 0: the default */
	struct engine_look look; /* engine soft */
	bool no_reboot;		 /* a guest's reset ends the machine like power off */
	struct chardev *console; /* of serial0; borrowed */
	/* Runs first on each of the machine's threads: its seccomp filter.  May be NULL. */
	int (*thread_init)(void *ctx, const char *kind); /* "vcpu", "io", "net" */
	/* On the machine loop's thread. */
	void (*event)(void *ctx, enum machine_event ev, int arg);
	void *ctx;
};

enum machine_status {
	MACHINE_PRELAUNCH,
	MACHINE_RUNNING,
	MACHINE_PAUSED,
	MACHINE_SHUTDOWN,
	MACHINE_INTERNAL_ERROR
};

/*
 * Build the machine: RAM, controllers, devices, back ends, loaded kernel; vCPU
 * threads exist but run nothing until machine_resume().  Everything the machine
 * will ever open is open afterwards.  Errors with a sentence; nothing is left.
 */
MUST_CHECK int machine_new(const struct machine_config *cfg, struct loop *loop,
			   struct machine **out, struct errbuf *err);
/* Stops and joins all threads. */
void machine_free(struct machine *m);
DEFINE_AUTO(machine);

/* Start, or go on after machine_pause(). */
void machine_resume(struct machine *m);
/*
 * Stop every vCPU at an instruction boundary and drain all I/O.  On return the
 * whole state can be read and nothing changes until machine_resume().
 */
void machine_pause(struct machine *m);
/* Power-on state and the kernel loaded anew; the status stays as it was. */
MUST_CHECK int machine_reset(struct machine *m, struct errbuf *err);
/* Press the ACPI power button. */
void machine_powerdown(struct machine *m);
enum machine_status machine_status(const struct machine *m);
const struct machine_config *machine_config(const struct machine *m);

/* Paused: append the whole state, RAM included / load it into a machine of the same shape. */
MUST_CHECK int machine_save(struct machine *m, struct record_buf *out, struct errbuf *err);
MUST_CHECK int machine_load(struct machine *m, const uint8_t *data, size_t len, struct errbuf *err);

/* Thread ID (for query-cpus-fast) and registers of one vCPU; registers while paused. */
int machine_vcpu_tid(const struct machine *m, unsigned index);

struct machine_vcpu_stats {
	enum { VCPU_PAUSED, VCPU_RUNNING, VCPU_HALTED, VCPU_OFFLINE } state;
	uint64_t cpu_ns; /* of its thread */
	uint64_t exits[EXIT_REASONS];
	struct engine_stats engine;
};

/* Counters of one vCPU; it goes on meanwhile. */
void machine_vcpu_stats(struct machine *m, unsigned index, struct machine_vcpu_stats *out);
/* Counters of the translator.  False: the engine has none. */
bool machine_vm_stats(const struct machine *m, struct engine_vm_stats *out);
MUST_CHECK int machine_vcpu_state(struct machine *m, unsigned index, struct cpu_state *out);
uint64_t machine_ram_resident(const struct machine *m);
