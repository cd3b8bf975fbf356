/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - abandoning an instruction: exceptions and accesses from outside.
 *
 * Both leave by longjmp() to the run loop.  An exception is first noted in
 * cpu_state as pending; the run loop delivers it.  When it was raised while another
 * event was being delivered the two are combined here (SDM vol. 3A, table 6-5).
 * An outside access is noted in the memo; the instruction starts over when its
 * answer is there, and finds it by position.
 */
#include "cpu/x86/access.h"

/* Whatever is half done goes; what is counted is only what was complete. */
void vcpu_unwind(struct vcpu *c, int how)
{
	if (c->split_held)
		split_unlock(c);
	c->insns += (uint64_t)(c->cur - c->run_start) + (how == UNWIND_DONE);
	c->run_start = c->cur;
	if (how != UNWIND_DONE)
		c->db_pending = 0;
	if (how == UNWIND_EXIT || how == UNWIND_RESTART) {
		c->s.rip = c->insn_rip;
		c->s.int_shadow = c->step_shadow;
		c->s.rflags |= c->step_flags & FL_RF;
	}
	longjmp(c->env, how);
}

static bool contributory(unsigned vec)
{
	return vec == EXC_DE || (vec >= EXC_TS && vec <= EXC_GP);
}

/*
 * The exception that results from @second during delivery of @first (as in
 * vcpu.delivering: interrupts are benign); -1: shutdown.
 */
static int combine(int first, unsigned second)
{
	bool serious = contributory(second) || second == EXC_PF;

	if (first == EXC_DF)
		return serious ? -1 : (int)second;
	if (first == EXC_PF && serious)
		return EXC_DF;
	if (first >= 0 && contributory((unsigned)first) && contributory(second))
		return EXC_DF;
	return (int)second;
}

static NORETURN void raise_any(struct vcpu *c, unsigned vec, bool has_error, uint32_t error)
{
	int result = combine(c->delivering, vec);

	c->s.rip = c->insn_rip;
	c->memo_n = c->memo_pos = 0;
	/* an interrupt whose delivery failed was acknowledged: it is lost, as on hardware */
	if (c->delivering >= DELIVER_NMI) {
		c->s.nmi_pending = 0;
		c->s.nmi_blocked = 1;
	} else if (c->delivering >= DELIVER_INT) {
		c->s.int_injected = 0;
	}
	c->delivering = -1;
	c->s.exc_pending = result >= 0;
	if (result < 0) {
		c->s.activity = CPU_SHUTDOWN;
		vcpu_unwind(c, UNWIND_FAULT);
	}
	c->s.exc_vector = (uint8_t)result;
	c->s.exc_has_error = result == EXC_DF || has_error;
	c->s.exc_error = result == EXC_DF ? 0 : error;
	c->s.rflags |= FL_RF; /* into the saved image of a fault (SDM vol. 3B, 18.3.1.1) */
	vcpu_unwind(c, UNWIND_FAULT);
}

void raise_exc(struct vcpu *c, enum cpu_exception vec)
{
	raise_any(c, vec, false, 0);
}

void raise_err(struct vcpu *c, enum cpu_exception vec, uint32_t error)
{
	raise_any(c, vec, true, error);
}

void raise_pf(struct vcpu *c, gva_t lin, uint32_t error)
{
	c->s.cr2 = lin;
	raise_any(c, EXC_PF, true, error);
}

static bool memo_matches(const struct ext_memo *m, enum exit_reason reason, uint64_t addr,
			 unsigned size, bool write, uint64_t data)
{
	return m->reason == reason && m->addr == addr && m->size == size && m->write == write &&
	       (!write || m->data == data);
}

static void fill_exit(struct vcpu *c, const struct ext_memo *m)
{
	struct engine_exit *e = c->exit;

	*e = (struct engine_exit){.reason = m->reason,
				  .size = m->size,
				  .write = m->write,
				  .addr = m->addr,
				  .data = m->write ? m->data : 0,
				  .cpl = c->cpl};
	if (m->reason == EXIT_HYPERCALL) {
		static const uint8_t regs[] = {GPR_RAX, GPR_RBX, GPR_RCX, GPR_RDX, GPR_RSI};

		for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
			e->hypercall[i] = c->s.gpr[regs[i]];
	}
}

void ext_access(struct vcpu *c, enum exit_reason reason, uint64_t addr, unsigned size, bool write,
		uint64_t *data, bool *fail)
{
	struct ext_memo *m = &c->memo[c->memo_pos];

	if (c->memo_pos < c->memo_n) {
		if (memo_matches(m, reason, addr, size, write, *data)) {
			c->memo_pos++;
			if (!write)
				*data = m->data;
			if (fail)
				*fail = m->fail;
			return;
		}
		c->memo_n = c->memo_pos; /* the instruction or its operands changed */
	}
	if (c->memo_n == MEMO_MAX) { /* no instruction needs so many: an empty bus */
		if (!write)
			*data = ~0ULL;
		if (fail)
			*fail = false;
		return;
	}
	*m = (struct ext_memo){.reason = reason,
			       .write = write,
			       .size = (uint8_t)size,
			       .addr = addr,
			       .data = *data};
	c->memo_n++;
	c->ext_waiting = true;
	fill_exit(c, m);
	vcpu_unwind(c, UNWIND_EXIT);
}

void exit_after(struct vcpu *c, enum exit_reason reason)
{
	if (reason == EXIT_HLT)
		c->s.activity = CPU_HALTED;
	else if (reason == EXIT_SHUTDOWN)
		c->s.activity = CPU_SHUTDOWN;
	c->memo_n = c->memo_pos = 0;
	*c->exit = (struct engine_exit){.reason = reason, .cpl = c->cpl};
	vcpu_unwind(c, UNWIND_DONE);
}
