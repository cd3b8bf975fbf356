/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - the contract between the machine and what runs its vCPUs.
 *
 * An engine runs vCPUs and nothing else.  run() returns with an exit that the
 * machine handles (a port access, MMIO, an MSR it does not know, ...); for reads
 * the machine fills in exit->data and calls run() again, which first finishes the
 * interrupted instruction.  Engines never call up.  Everything that is not
 * deterministic enters a vCPU through run()'s answered exits, inject() and
 * set_state(): a run can be recorded there.
 *
 * Threads: run(), inject(), window(), get_state() and set_state() on the vCPU's own thread,
 * or on any one thread while the machine is paused.  kick() from any thread.
 */
#pragma once

#include "base/err.h"
#include "cpu/cpuid.h"
#include "cpu/state.h"
#include "mem/mem.h"

struct engine_vm; /* each engine's own */
struct engine_vcpu;

enum exit_reason {
	EXIT_PIO,	/* port access: @addr port, @size 1/2/4, @write, @data, @count (strings) */
	EXIT_MMIO,	/* @addr gpa, @size 1..8, @write, @data */
	EXIT_RDMSR,	/* @addr MSR; answer @data, or set @fail for #GP */
	EXIT_WRMSR,	/* @addr MSR, @data; set @fail for #GP */
	EXIT_CR8,	/* MOV to/from CR8 (TPR): @write, @data (0..15).  Software APIC only */
	EXIT_HYPERCALL, /* VMCALL/VMMCALL: args in @hypercall; answer @data into RAX */
	EXIT_HLT,	/* HLT executed with nothing pending */
	EXIT_SHUTDOWN,	/* triple fault */
	EXIT_WINDOW,	/* window() was asked for and an interrupt can be injected now */
	EXIT_KICK,	/* kick() or nothing in particular; at an instruction boundary */
	EXIT_EOI,	/* in-kernel APIC: EOI of level vector @addr (split irqchip) */
	EXIT_COUNT,	/* count_stop()'s count was reached; at an instruction boundary */
	EXIT_ERROR,	/* the engine cannot go on; @error says why */
};
enum { EXIT_REASONS = EXIT_ERROR + 1 };

#define COUNT_NEVER UINT64_MAX

struct engine_exit {
	enum exit_reason reason;
	uint8_t size;
	bool write;
	bool fail;
	uint64_t addr;
	uint64_t data;
	uint64_t hypercall[5]; /* nr (RAX), RBX, RCX, RDX, RSI */
	uint8_t cpl;	       /* of the access, for hypercalls */
	char error[160];
};

enum engine_dump { ENGINE_DUMP_OPS = 1, ENGINE_DUMP_IR = 2, ENGINE_DUMP_ASM = 4 };

struct engine_look {   /* what a translator writes for a person; descriptors are borrowed */
	unsigned dump; /* enum engine_dump; to @dump_fd, @dump_max bytes at most, ... */
	int dump_fd;
	uint64_t dump_max;
	uint64_t first, last; /* ... for blocks that have one of these guest addresses */
	bool perf_map;	      /* perf's map of the code, to @perf_fd */
	int perf_fd;
};

struct engine_vm_config {
	struct mem *mem;
	const struct cpu_model *model;
	unsigned ncpus;
	bool kernel_irqchip;	 /* kvm: controllers in the kernel */
	bool check;		 /* soft: every block against the interpreter; slow */
	bool count;		 /* soft, interp: count_stop() is wanted, and exact counts */
	uint8_t tsc_shift;	 /* soft: the TSC counts the host's / 2^this */
	struct engine_look look; /* soft */
	bool no_avx512;		 /* soft: do without, as on other hosts (for tests) */
	size_t code_cache;	 /* soft: bytes for translated code, 0: the default */
	bool warm_up; /* soft: while the cache is too small, do not translate what runs seldom */
	uint64_t tsc_khz; /* of the guest; the host's unless restored elsewhere */
};

struct engine_stats {	/* of a vCPU: monotonic counters, racy reads are fine */
	uint64_t insns; /* guest instructions, where the engine counts them all */
	bool insns_exact;
	uint64_t exits;
	uint64_t tlb_misses;
	uint64_t decoded; /* instructions decoded or translated */
	/* the translator's */
	uint64_t lookups, lookup_misses; /* of the next block, where no jump led to it */
	uint64_t link_exits;		 /* jumps that left, to be linked */
	uint64_t helpers;		 /* instructions run by their handlers */
	uint64_t steps;			 /* ... left to the interpreter */
	uint64_t slow, refills;		 /* accesses that missed the TLB; of those, filled in */
};

struct engine_vm_stats { /* of the translator all vCPUs share; racy reads are fine */
	uint64_t cache_bytes, cache_used;
	uint64_t blocks, guest_bytes, code_bytes; /* translated so far */
	uint64_t copied;			  /* blocks, instead of translating them again */
	uint64_t links, invalidated;
	uint64_t evictions; /* of parts of the cache, to make room */
};

struct engine_ops {
	const char *name; /* "kvm", "soft", "interp" */

	/* Usable on this host?  0, or -errno with a sentence that says why not. */
	int (*probe)(struct errbuf *err);

	int (*vm_new)(const struct engine_vm_config *cfg, struct engine_vm **out,
		      struct errbuf *err);
	void (*vm_free)(struct engine_vm *vm);

	/* @index: 0..ncpus-1, also the APIC ID.  State: reset state. */
	int (*vcpu_new)(struct engine_vm *vm, unsigned index, struct engine_vcpu **out,
			struct errbuf *err);
	void (*vcpu_free)(struct engine_vcpu *v);

	/* Run until an exit.  Returns 0 with *exit filled in (EXIT_ERROR included). */
	int (*run)(struct engine_vcpu *v, struct engine_exit *exit);
	/* Make run() return EXIT_KICK soon, or at once when it is called next. Any thread. */
	void (*kick)(struct engine_vcpu *v);

	/* May an external interrupt be injected now (IF, shadow, nothing pending)? */
	bool (*can_inject)(struct engine_vcpu *v);
	/* Deliver external interrupt @vector before the next instruction; can_inject() held. */
	void (*inject)(struct engine_vcpu *v, uint8_t vector);
	/* Deliver an NMI as soon as the guest can take one. */
	void (*inject_nmi)(struct engine_vcpu *v);
	/* Ask for EXIT_WINDOW as soon as can_inject() holds. */
	void (*window)(struct engine_vcpu *v, bool want);

	/*
	 * Instructions retired so far, exact while the vCPU is not in run(), where the VM
	 * was made with @count.  One that faults does not count, one that is started over
	 * after an outside access counts once, a repeated string instruction once when it is
	 * complete, the delivery of an event not at all.  Own thread.  NULL: not counted.
	 */
	uint64_t (*insn_count)(const struct engine_vcpu *v);
	/*
	 * Make run() return EXIT_COUNT once, at the first instruction boundary with @count
	 * instructions retired (or more: at once), before anything that is pending there is
	 * delivered.  COUNT_NEVER: not any more.  Own thread.  NULL or -ENOTSUP: not counted.
	 */
	int (*count_stop)(struct engine_vcpu *v, uint64_t count, struct errbuf *err);

	/* The whole architectural state, at an instruction boundary. */
	int (*get_state)(struct engine_vcpu *v, struct cpu_state *s);
	/* Validated: -EINVAL with a sentence for a state no processor can be in. */
	int (*set_state)(struct engine_vcpu *v, const struct cpu_state *s, struct errbuf *err);

	/* mem_log_start/stop/harvest happened: stop writing to pages now clean unmarked. */
	void (*log_changed)(struct engine_vm *vm);
	/* Move the engine's own dirty pages into @mem's log (kvm); may be NULL. */
	int (*log_sync)(struct engine_vm *vm);

	/* Any thread. */
	void (*stats)(const struct engine_vcpu *v, struct engine_stats *out);
	/* Any thread.  False: this engine has no translator.  May be NULL. */
	bool (*vm_stats)(const struct engine_vm *vm, struct engine_vm_stats *out);

	/* kvm only, else NULL: descriptors for irq/kernel.c and for ioeventfd. */
	int (*vm_fd)(struct engine_vm *vm);
	int (*vcpu_fd)(struct engine_vcpu *v);
	/* kvm only, else NULL: the paravirtual clock now reads @ns. */
	int (*set_clock)(struct engine_vm *vm, uint64_t ns);
	/* kvm only, else NULL: guest writes of @size at @gpa signal @fd instead of exiting. */
	int (*ioeventfd)(struct engine_vm *vm, int fd, uint64_t gpa, unsigned size, bool add);
};

extern const struct engine_ops engine_interp, engine_soft, engine_kvm;

/*
 * The engine called @name ("auto", "kvm", "soft", "interp").  "auto" probes and
 * writes a clause of why into @why, else that is "".  NULL with a sentence when unusable.
 */
const struct engine_ops *engine_find(const char *name, char *why, size_t why_len,
				     struct errbuf *err);
