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
	bool count, no_avx512;
	unsigned ncpus;
	struct engine_vcpu *vcpu[]; /* @ncpus; set before the vCPU first runs */
};

/* Run until there is an exit in *c->exit. */
void interp_loop(struct vcpu *c);
/* Run one instruction, with a look at everything that can happen around it. */
void interp_step(struct vcpu *c);
/* Run what goes as one, at full speed only. */
void interp_block(struct vcpu *c);
/* Run up to @n instructions with none, to where one of them jumps. */
void interp_plain_run(struct vcpu *c, unsigned n);
/* Is a repeated string instruction that just ran not complete? */
static inline bool interp_stopped_half_way(const struct vcpu *c)
{
	const struct insn *i = c->cur;

	return i->form == FORM_STR && i->flags & (INSN_REP | INSN_REPNE) && c->s.rip == c->insn_rip;
}

/* Is the count at which run() is to return so near that a block might reach it? */
static inline bool interp_count_near(const struct vcpu *c)
{
	return unlikely(c->insns >= c->count_near);
}

/* Make run() return EXIT_COUNT when @count instructions have retired. */
void interp_count_stop(struct vcpu *c, uint64_t count);
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
