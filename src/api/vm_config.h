/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm_config.h - what a VM is: one schema for the command line and all who read it.
 *
 * Both "caisson run" and caisson-vmm parse the same options by the same table, so
 * help, checks and spelling are in one place.
 */
#pragma once

#include "base/err.h"

enum { VM_MAX_DISKS = 16, VM_MAX_NETS = 8, VM_MAX_FORWARDS = 32, VM_MAX_CPUS = 64 };
#define VM_MIN_MEMORY (16ULL << 20)

struct vm_disk {
	char *path;
	bool readonly;
};

enum { VM_MIN_CODE_CACHE = 1 << 20 };
#define VM_MAX_CODE_CACHE (2ULL << 30)

enum vm_dump { VM_DUMP_OPS = 1, VM_DUMP_IR = 2, VM_DUMP_ASM = 4 };

enum vm_net_kind { VM_NET_USER, VM_NET_TAP };
struct vm_net {
	enum vm_net_kind kind;
	char *tap;
	char *forward[VM_MAX_FORWARDS];
	unsigned nforwards;
};

struct vm_config { /* owns its strings: vm_config_fini() */
	char *name, *kernel, *initrd, *append;
	char *engine, *cpu_model;
	char *console, *control;
	uint64_t memory_bytes;
	unsigned cpus;
	struct vm_disk disk[VM_MAX_DISKS];
	unsigned ndisks;
	struct vm_net net[VM_MAX_NETS];
	unsigned nnets;
	bool net_none, net_given;
	bool ephemeral, no_reboot, debug_exit, sandbox_off, quiet, help, check, count;
	uint64_t code_cache; /* bytes; 0: the engine's default */
	unsigned log_kinds;
	unsigned dump;	 /* enum vm_dump */
	char *dump_file; /* NULL: stderr */
	uint64_t dump_first, dump_last, dump_max;
	bool perf_map;
	char *image; /* the one positional argument, if any */
};

void vm_config_init(struct vm_config *c);
void vm_config_fini(struct vm_config *c);

/*
 * Parse argv[1..].  0, or -EINVAL with a sentence that names the option, the value
 * and what would be right.  c->help: "--help" was among them.
 */
MUST_CHECK int vm_config_parse(struct vm_config *c, int argc, char **argv, struct errbuf *err);
/* What needs the whole: defaults filled in, memory against the host, a kernel given. */
MUST_CHECK int vm_config_check(struct vm_config *c, struct errbuf *err);
/* The options' help, one paragraph an option. */
const char *vm_config_help(void);

/* "512M", "2G", "1048576": bytes.  -EINVAL without touching *out. */
MUST_CHECK int parse_size(const char *text, uint64_t *out);
