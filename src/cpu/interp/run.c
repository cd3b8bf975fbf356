/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - the run loop.
 *
 * Three speeds.  run_blocks() is the hot one: look a block up, call its handlers one
 * by one, and poll c->requests between blocks.  Whatever needs a look between two
 * instructions (TF, RF, an interrupt shadow, instruction breakpoints, an instruction
 * that waits for an answer from outside) goes through interp_step().  events() stands
 * between: it delivers what is pending, in the order of SDM vol. 3A, table 6-2, and
 * decides whether to leave.
 *
 * Handlers leave in the middle by longjmp(); vcpu_unwind() has then counted what was
 * complete, and unwound() below decides how to go on.
 */
#include "cpu/dbt/dbt.h"
#include "cpu/interp/interp.h"

enum { DR6_BS = 1 << 14, DR7_GD = 1 << 13 };

static ALWAYS_INLINE void exec_insn(struct vcpu *c, const struct insn *i, uint64_t rip)
{
	c->insn_rip = rip;
	c->s.rip = rip + i->len;
	c->cur = i;
	i->fn(c, i);
}

/* A repeated string instruction that stopped half way is not complete. */
static ALWAYS_INLINE bool stopped_half_way(const struct vcpu *c, const struct block *b)
{
	return unlikely(b->rep_last) && c->s.rip == c->insn_rip;
}

static ALWAYS_INLINE void exec_block(struct vcpu *c, const struct block *b)
{
	const struct insn *i = b->insns, *end = i + b->n;
	uint64_t rip = c->s.rip & c->addr_mask;

	c->run_start = i;
	c->end_block = false;
	do {
		unsigned len = i->len;

		exec_insn(c, i, rip);
		rip += len;
		i++;
	} while (i != end && !c->end_block);
	c->insns += (uint64_t)(i - b->insns) - stopped_half_way(c, b);
}

static ALWAYS_INLINE bool at_full_speed(const struct vcpu *c)
{
	return !(__atomic_load_n(&c->requests, __ATOMIC_RELAXED) | c->s.int_shadow |
		 (c->s.rflags & (FL_TF | FL_RF)));
}

/* Not inlined: beside setjmp() nothing stays in registers. */
static __attribute__((noinline)) void run_blocks(struct vcpu *c)
{
	struct block *b = c->blocks->single;

	do {
		b = block_lookup(c, b);
		exec_block(c, b);
	} while (likely(at_full_speed(c)) && !interp_count_near(c) &&
		 !(c->dbt && c->mode == MODE_64));
}

void interp_block(struct vcpu *c)
{
	exec_block(c, block_lookup(c, c->blocks->single));
}

/* --- one instruction at a time -------------------------------------------------- */

static bool needs_step(const struct vcpu *c)
{
	return c->memo_n || c->s.int_shadow || c->watch_exec || interp_count_near(c) ||
	       c->s.rflags & (FL_TF | FL_RF);
}

/* An event that cleared TF takes the trap's place. */
static bool enters_handler(const struct insn *i)
{
	return i->op == OP_INT || i->op == OP_INT3 || i->op == OP_INTO || i->op == OP_ICEBP ||
	       i->op == OP_SYSCALL;
}

static void step_done(struct vcpu *c, const struct insn *i)
{
	ext_commit(c);
	if (c->step_flags & FL_TF && !(enters_handler(i) && !(c->s.rflags & FL_TF)))
		c->db_pending |= DR6_BS;
	/* a MOV SS shadow holds debug traps back, an STI shadow does not */
	c->db_hold = c->s.int_shadow && i->op != OP_STI;
	c->step_shadow = 0;
	c->step_flags = 0;
}

void interp_plain_run(struct vcpu *c, unsigned n)
{
	struct block *b = c->blocks->single;

	while (n) {
		const struct insn *i, *end;
		uint64_t rip;

		b = block_lookup(c, b);
		i = c->run_start = b->insns;
		end = i + MIN(n, b->n);
		n -= (unsigned)(end - i);
		rip = c->s.rip & c->addr_mask;
		c->end_block = false;
		do {
			unsigned len = i->len;

			exec_insn(c, i, rip);
			rip += len;
			i++;
			if (c->s.rip != rip)
				return;
		} while (i != end && !c->end_block);
		n += (unsigned)(end - i);
	}
}

void interp_step(struct vcpu *c)
{
	uint64_t rip = c->s.rip & c->addr_mask;
	const struct block *b;
	const struct insn *i;

	if (c->watch_exec && !(c->s.rflags & FL_RF)) {
		gva_t lin = (rip + c->s.seg[SEG_CS].base) & c->addr_mask;
		uint32_t hit = debug_exec_hit(c, lin);

		if (hit) { /* with what MOV SS held back: a second #DB would hit the first */
			debug_queue(&c->s, hit | c->db_pending);
			c->db_pending = 0;
			return;
		}
	}
	b = block_lookup(c, c->blocks->single);
	i = b->insns;
	c->step_shadow = c->s.int_shadow;
	c->step_flags = c->s.rflags & (FL_TF | FL_RF);
	c->s.int_shadow = 0;
	c->s.rflags &= ~(uint64_t)FL_RF;
	if (c->step_flags & FL_TF)
		vcpu_request(c, REQ_EVENT); /* string instructions: one element at a time */
	c->run_start = i;
	exec_insn(c, i, rip);
	if (interp_stopped_half_way(c))
		c->s.rflags |= c->step_flags & FL_RF;
	else
		c->insns++;
	step_done(c, i);
}

/* --- events --------------------------------------------------------------------- */

static bool leave(struct vcpu *c, enum exit_reason reason)
{
	*c->exit = (struct engine_exit){.reason = reason, .cpl = c->cpl};
	return true;
}

/* Deliver an event at the boundary before the instruction at s.rip. */
static void deliver(struct vcpu *c, int kind, uint8_t vec, bool has_error, uint32_t error)
{
	c->s.rip &= c->addr_mask;
	c->insn_rip = c->s.rip;
	c->run_start = c->cur = NULL;
	c->code_page = 0;
	c->s.int_shadow = 0;
	c->step_shadow = 0;
	c->step_flags = 0;
	c->delivering = kind | vec;
	deliver_event(c, vec, false, has_error, error, c->s.rip);
	c->delivering = -1;
	ext_commit(c);
}

static void deliver_exception(struct vcpu *c)
{
	uint8_t vec = c->s.exc_vector;

	deliver(c, DELIVER_EXC, vec, c->s.exc_has_error, c->s.exc_error);
	c->s.exc_pending = 0;
	if (vec == EXC_DB)
		c->s.dr7 &= ~(uint64_t)DR7_GD;
}

static void deliver_nmi(struct vcpu *c)
{
	deliver(c, DELIVER_NMI, EXC_NMI, false, 0);
	c->s.nmi_pending = 0;
	c->s.nmi_blocked = 1;
}

static void deliver_interrupt(struct vcpu *c)
{
	deliver(c, DELIVER_INT, c->s.int_vector, false, 0);
	c->s.int_injected = 0;
}

static bool nmi_deliverable(const struct vcpu *c)
{
	return c->s.nmi_pending && !c->s.nmi_blocked && !c->s.int_shadow;
}

bool interp_can_inject(const struct vcpu *c)
{
	return c->s.rflags & FL_IF && !c->s.int_shadow && !c->s.exc_pending && !c->s.int_injected &&
	       !c->db_pending && !c->memo_n && c->delivering < 0 && c->s.activity <= CPU_HALTED;
}

/* Stay out of the fast loop exactly as long as there is something to look for. */
static void settle_requests(struct vcpu *c)
{
	/* translated code looks at the window itself where IF may have been set */
	bool window = c->want_window && (!c->dbt || c->s.rflags & FL_IF);
	bool want = window || c->watch_exec || c->db_pending || c->s.exc_pending ||
		    c->s.int_injected || c->s.nmi_pending;
	bool have = __atomic_load_n(&c->requests, __ATOMIC_RELAXED) & REQ_EVENT;

	if (want && !have)
		vcpu_request(c, REQ_EVENT);
	else if (have && !want)
		__atomic_fetch_and(&c->requests, ~(uint32_t)REQ_EVENT, __ATOMIC_RELAXED);
}

static void take_requests(struct vcpu *c)
{
	uint32_t req = __atomic_load_n(&c->requests, __ATOMIC_ACQUIRE);

	if (req & REQ_FLUSH) {
		tlb_flush_all(c);
		__atomic_fetch_and(&c->requests, ~(uint32_t)REQ_FLUSH, __ATOMIC_SEQ_CST);
	}
	if (req & REQ_CODE)
		dbt_take_requests(c);
	if (req & REQ_NMI) {
		__atomic_fetch_and(&c->requests, ~(uint32_t)REQ_NMI, __ATOMIC_ACQ_REL);
		c->s.nmi_pending = 1;
	}
}

/* Exceptions and traps of the instruction before.  True: one was delivered. */
static bool deliver_traps(struct vcpu *c)
{
	if (!c->s.exc_pending && c->db_pending && !c->db_hold) {
		debug_queue(&c->s, c->db_pending);
		c->db_pending = 0;
	}
	c->db_hold = false;
	if (!c->s.exc_pending)
		return false;
	if (c->s.activity == CPU_HALTED)
		c->s.activity = CPU_ACTIVE;
	deliver_exception(c);
	return true;
}

static bool count_reached(const struct vcpu *c)
{
	return c->insns >= c->count_stop;
}

void interp_count_stop(struct vcpu *c, uint64_t count)
{
	uint64_t stop = MIN(count, (uint64_t)INT64_MAX); /* no one gets there */

	c->count_stop = stop;
	c->count_near = stop > COUNT_NEAR ? stop - COUNT_NEAR : 0;
	c->d.budget_end = stop > DBT_COUNT_SLACK ? stop - DBT_COUNT_SLACK : 0;
}

/* True: leave run() with *c->exit. */
static bool events(struct vcpu *c)
{
	bool resuming = c->memo_n > 0; /* finish what waits for its answer first */

	take_requests(c);
	if (c->s.activity == CPU_SHUTDOWN)
		return leave(c, EXIT_SHUTDOWN);
	if (!resuming && __atomic_load_n(&c->requests, __ATOMIC_ACQUIRE) & REQ_KICK) {
		__atomic_fetch_and(&c->requests, ~(uint32_t)REQ_KICK, __ATOMIC_ACQ_REL);
		return leave(c, EXIT_KICK);
	}
	if (!resuming && count_reached(c)) {
		interp_count_stop(c, COUNT_NEVER);
		return leave(c, EXIT_COUNT);
	}
	if (c->s.activity == CPU_WAIT_SIPI)
		return leave(c, EXIT_HLT);
	if (deliver_traps(c)) {
		settle_requests(c);
		return false;
	}
	if (resuming && c->delivering < 0)
		return false;
	if (nmi_deliverable(c)) {
		c->s.activity = CPU_ACTIVE;
		deliver_nmi(c);
	} else if (c->s.int_injected && c->s.rflags & FL_IF && !c->s.int_shadow) {
		c->s.activity = CPU_ACTIVE;
		deliver_interrupt(c);
	} else if (c->want_window && interp_can_inject(c)) {
		c->want_window = false;
		return leave(c, EXIT_WINDOW);
	} else if (c->s.activity == CPU_HALTED) {
		return leave(c, EXIT_HLT);
	}
	settle_requests(c);
	return false;
}

/* A handler left by longjmp().  True: leave run(). */
static bool unwound(struct vcpu *c, int how)
{
	if (how == UNWIND_DONE && c->cur)
		step_done(c, c->cur);
	if (how == UNWIND_FAULT)
		c->db_hold = false;
	c->step_shadow = 0;
	c->step_flags = 0;
	if (how == UNWIND_EXIT)
		return true;
	if (how != UNWIND_DONE)
		return false;
	if (c->exit->reason == EXIT_HLT && (c->db_pending || nmi_deliverable(c))) {
		c->s.activity = CPU_ACTIVE;
		return false;
	}
	return !count_reached(c); /* else that comes first */
}

void interp_loop(struct vcpu *c)
{
	int how = setjmp(c->env);

	if (how && c->dbt)
		dbt_unwound(c);
	if (how && unwound(c, how))
		return;
	for (;;) {
		if (events(c))
			return;
		if (needs_step(c))
			interp_step(c);
		else if (!c->dbt || !dbt_run(c))
			run_blocks(c);
	}
}
