/* SPDX-License-Identifier: Apache-2.0 */
/* kvm.h - what the files of the KVM engine share. */
#pragma once

#include <linux/kvm.h>
#include <pthread.h>
#include "cpu/engine.h"

struct engine_vm {
	int kvm_fd, vm_fd;
	struct mem *mem;
	const struct cpu_model *model;
	uint64_t tsc_khz;
	size_t run_bytes;	/* of the shared kvm_run area */
	bool log_on;		/* slots have dirty logging */
	bool log_failed;	/* they should have, but the kernel refused */
	struct engine_vm *soft; /* of engine_interp, for what the kernel cannot execute */
	bool exits_clean;	/* the kernel leaves no #UD behind when it gives up */
};

struct engine_vcpu { /* owner: its thread, except kick */
	struct engine_vm *vm;
	unsigned index;
	int fd;
	struct kvm_run *run;
	uint64_t xcr0_mask;	      /* vector state that the kernel can load */
	pthread_t thread;	      /* valid while in_run */
	bool in_run;		      /* atomic; pairs with kick() */
	uint32_t pio_done;	      /* elements of the current string I/O already given out */
	bool pio_answer, mmio_answer; /* the last exit was a read: its answer is due */
	uint64_t exits;
	struct engine_vcpu *soft; /* of engine_interp; made when first needed */
	bool rescuing;		  /* an access of the instruction in @soft is being answered */
	uint64_t rescues;
	struct cpu_state rescued; /* before the instruction */
};

/* state.c */
int kvm_get_state(struct engine_vcpu *v, struct cpu_state *s);
int kvm_set_state(struct engine_vcpu *v, const struct cpu_state *s, struct errbuf *err);
void kvm_set_fixed_msrs(int vcpu_fd);
/* The vCPU is in state @old as far as the kernel knows: make it @s.  @flush its translations. */
int kvm_change_state(struct engine_vcpu *v, const struct cpu_state *old, const struct cpu_state *s,
		     bool flush, struct errbuf *err);
/* rescue.c: false: no way; else the instruction is done, or @e wants an answer. */
int kvm_rescue_init(struct engine_vm *vm, const struct engine_vm_config *cfg, struct errbuf *err);
void kvm_rescue_fini(struct engine_vm *vm);
void kvm_rescue_vcpu_fini(struct engine_vcpu *v);
bool kvm_rescue(struct engine_vcpu *v, struct engine_exit *e);
void kvm_rescue_go_on(struct engine_vcpu *v, struct engine_exit *e);
/* cpuid.c: tell the kernel what the guest's CPUID answers. */
int kvm_set_cpuid(struct engine_vcpu *v, struct errbuf *err);
