/* SPDX-License-Identifier: Apache-2.0 */
/* interp.h - what the files of the interpreter share. */
#pragma once

#include "cpu/interp/block.h"
#include "cpu/x86/mmu.h"

struct engine_vcpu { /* owner: the vCPU's thread */
	struct vcpu c;
	struct engine_vm *vm;
	bool running; /* atomic: inside run(); pairs with log_changed() */
};

struct engine_vm {
	struct soft_vm soft;
	struct dbt *dbt; /* NULL: interpreter only */
	unsigned ncpus;
	struct engine_vcpu *vcpu[]; /* @ncpus; set before the vCPU first runs */
};

/* Run until there is an exit in *c->exit. */
void interp_loop(struct vcpu *c);
/* Run one instruction, with a look at everything that can happen around it. */
void interp_step(struct vcpu *c);
/* ... or with none. */
void interp_plain_step(struct vcpu *c);
/* No external interrupt is refused: IF set, no shadow, nothing pending or half done. */
bool interp_can_inject(const struct vcpu *c);

static inline void vcpu_request(struct vcpu *c, uint32_t bits)
{
	__atomic_fetch_or(&c->requests, bits, __ATOMIC_SEQ_CST);
	__atomic_store_n(&c->d.gen_live, 0, __ATOMIC_SEQ_CST); /* translated code looks here */
}

/* A state that a processor modelled as @m can be in?  -EINVAL with a sentence. */
MUST_CHECK int interp_check_state(const struct cpu_state *s, const struct cpu_model *m,
				  struct errbuf *err);
