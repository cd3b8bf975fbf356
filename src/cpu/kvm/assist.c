/* SPDX-License-Identifier: Apache-2.0 */
/*
 * assist.c - see assist.h.
 *
 * KVM itself emulates instructions: where hardware cannot run the guest's mode, and at
 * every access to a device.  It knows few vector instructions and gives up on the others
 * with an "internal error"; the interpreter knows them all.  This is its run loop without
 * the loop: events stay the kernel's business.
 *
 * Apart from engine.c because each engine has its own struct engine_vcpu.
 */
#include "cpu/kvm/assist.h"

#include "cpu/interp/interp.h"

/* The access that the last call left with is answered. */
static void take_answer(struct vcpu *c, const struct engine_exit *e)
{
	struct ext_memo *m = &c->memo[c->memo_n - 1];

	if (!m->write)
		m->data = e->data;
	m->fail = e->fail;
	c->ext_waiting = false;
}

/* A debug trap that the instruction earned is delivered before the next one. */
static void queue_trap(struct vcpu *c)
{
	if (c->db_pending && !c->s.exc_pending)
		debug_queue(&c->s, c->db_pending);
}

/* The part with setjmp(): locals do not live across it. */
static enum assist_result step(struct vcpu *c)
{
	int how;

	if (c->pdptr_stale && mmu_load_pdptrs(c))
		memset(c->pdptr, 0, sizeof(c->pdptr)); /* not present: #PF */
	c->pdptr_stale = false;
	c->run_start = c->cur = NULL; /* the fetch may fault */
	how = setjmp(c->env);
	c->memo_pos = 0;
	if (how == UNWIND_EXIT)
		return ASSIST_EXIT;
	if (!how || how == UNWIND_RESTART)
		interp_step(c);
	return ASSIST_DONE;
}

/* As the interpreter's loop does: pairs with its log_changed(). */
static void take_requests(struct vcpu *c)
{
	if (!(__atomic_load_n(&c->requests, __ATOMIC_SEQ_CST) & REQ_FLUSH))
		return;
	tlb_flush_all(c);
	__atomic_fetch_and(&c->requests, ~(uint32_t)REQ_FLUSH, __ATOMIC_SEQ_CST);
}

enum assist_result assist_step(struct engine_vcpu *soft, struct engine_exit *e, bool *flushed)
{
	struct vcpu *c = &soft->c;
	enum assist_result ret;

	if (c->ext_waiting)
		take_answer(c, e);
	e->reason = EXIT_KICK;
	c->exit = e;
	__atomic_store_n(&soft->running, true, __ATOMIC_SEQ_CST);
	take_requests(c);
	ret = step(c);
	__atomic_store_n(&soft->running, false, __ATOMIC_SEQ_CST);
	if (ret == ASSIST_EXIT)
		return ret;
	queue_trap(c);
	*flushed = c->cur && (c->cur->op == OP_INVPCID || c->cur->op == OP_INVLPG);
	c->s.rip &= c->addr_mask;
	return ret;
}
