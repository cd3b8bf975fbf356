/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_stack.c - PUSH POP PUSHA POPA ENTER LEAVE.
 *
 * opsize 8 means 64-bit mode, whose stack is flat: those are the fast handlers.  rSP
 * is written when nothing can fault any more, so a fault in the middle leaves at most
 * data below the stack pointer.
 */
#include "cpu/x86/sem_int.h"

/* --- PUSH --------------------------------------------------------------------------- */

static ALWAYS_INLINE void push_slow(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t v = i->imm;

	if (i->form == FORM_RM) {
		if (has_mem(i))
			mem_load(c, i, EA_ANY, sz, &v);
		else
			v = c->s.gpr[i->rm];
	}
	push_val(c, sz, v);
}

HANDLER(push_2, push_slow, 2)
HANDLER(push_4, push_slow, 4)
HANDLER(push_slow_8, push_slow, 8)

static ALWAYS_INLINE void push_fast(struct vcpu *c, const struct insn *i, uint64_t v)
{
	uint64_t sp = c->s.gpr[GPR_RSP] - 8;
	void *p;

	if (unlikely(!fast_write_ptr(c, sp, 8, &p))) {
		push_slow_8(c, i);
		return;
	}
	host_store(p, 8, v);
	c->s.gpr[GPR_RSP] = sp;
}

HANDLER(push_r_8, push_fast, c->s.gpr[i->rm])
HANDLER(push_i_8, push_fast, i->imm)

static insn_fn *bind_push(const struct insn *i)
{
	if (i->opsize != 8)
		return i->opsize == 4 ? push_4 : push_2;
	if (has_mem(i))
		return push_slow_8;
	return i->form == FORM_RM ? push_r_8 : push_i_8;
}

/* --- POP ------------------------------------------------------------------------------ */

/* The stack pointer moves first: POP rSP ends with the value popped. */
static ALWAYS_INLINE void pop_r(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t v = peek_val(c, sz, 0);

	stack_set(c, c->s.gpr[GPR_RSP] + sz);
	c->s.gpr[i->rm] = reg_merge(c->s.gpr[i->rm], v, sz);
}

/* An address based on rSP is computed with rSP already moved (SDM vol. 2, POP). */
static ALWAYS_INLINE void pop_m(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t v = peek_val(c, sz, 0), old = c->s.gpr[GPR_RSP], new, ea;

	stack_set(c, old + sz);
	new = c->s.gpr[GPR_RSP];
	ea = insn_ea(c, i);
	c->s.gpr[GPR_RSP] = old;
	lin_store(c, seg_lin(c, i->seg, ea, sz, ACCESS_WRITE), sz, v);
	c->s.gpr[GPR_RSP] = new;
}

HANDLER(pop_r_2, pop_r, 2)
HANDLER(pop_r_4, pop_r, 4)
HANDLER(pop_r_slow_8, pop_r, 8)
HANDLER(pop_m_2, pop_m, 2)
HANDLER(pop_m_4, pop_m, 4)
HANDLER(pop_m_8, pop_m, 8)

static void pop_r_8(struct vcpu *c, const struct insn *i)
{
	uint64_t sp = c->s.gpr[GPR_RSP];
	const struct tlb_entry *e = tlb_slot(c, sp);

	if (unlikely(e->read_tag != ((sp + 7) & ~0xfffULL))) {
		pop_r_slow_8(c, i);
		return;
	}
	c->s.gpr[GPR_RSP] = sp + 8;
	c->s.gpr[i->rm] = host_load((const void *)(e->addend + sp), 8);
}

static insn_fn *bind_pop(const struct insn *i)
{
	static insn_fn *const r[] = {NULL, pop_r_2, pop_r_4, pop_r_8};
	static insn_fn *const m[] = {NULL, pop_m_2, pop_m_4, pop_m_8};

	unsigned sz = size_index(i->opsize);

	return has_mem(i) ? m[sz] : r[sz];
}

/* --- PUSHA, POPA -------------------------------------------------------------------------- */

static void pusha(struct vcpu *c, const struct insn *i)
{
	unsigned sz = i->opsize;
	uint64_t sp = c->s.gpr[GPR_RSP];

	for (unsigned n = 0; n < 8; n++) {
		sp -= sz;
		lin_store(c, seg_lin(c, SEG_SS, sp & stack_mask(c), sz, ACCESS_WRITE), sz,
			  c->s.gpr[n]);
	}
	stack_set(c, sp);
}

/*
 * A fault in the middle leaves the registers before it loaded, as AMD processors do; with
 * rSP as it was, starting over loads them again.
 */
static void popa(struct vcpu *c, const struct insn *i)
{
	unsigned sz = i->opsize;

	for (unsigned n = 0; n < 8; n++) {
		uint64_t v = peek_val(c, sz, n * sz);

		if (7 - n != GPR_RSP)
			gpr_set(c, 7 - n, sz, v);
	}
	stack_set(c, c->s.gpr[GPR_RSP] + 8 * sz);
}

/* --- ENTER, LEAVE --------------------------------------------------------------------------- */

static void push_at(struct vcpu *c, uint64_t *sp, unsigned sz, uint64_t v)
{
	*sp = (*sp - sz) & stack_mask(c);
	lin_store(c, seg_lin(c, SEG_SS, *sp, sz, ACCESS_WRITE), sz, v);
}

/* ENTER faults as a push at its final stack pointer would, though it writes nothing there. */
static void enter(struct vcpu *c, const struct insn *i)
{
	unsigned sz = i->opsize, level = i->imm >> 16 & 31;
	uint64_t mask = stack_mask(c), sp = c->s.gpr[GPR_RSP], bp = c->s.gpr[GPR_RBP], frame;

	push_at(c, &sp, sz, bp);
	frame = (c->s.gpr[GPR_RSP] & ~mask) | sp;
	for (unsigned n = 1; n < level; n++) {
		uint64_t at = (bp - n * sz) & mask;

		push_at(c, &sp, sz, lin_load(c, seg_lin(c, SEG_SS, at, sz, ACCESS_READ), sz));
	}
	if (level)
		push_at(c, &sp, sz, frame);
	sp = (sp - (uint16_t)i->imm) & mask;
	lin_probe_write(c, seg_lin(c, SEG_SS, sp, sz, ACCESS_WRITE), sz);
	gpr_set(c, GPR_RBP, sz, frame);
	stack_set(c, sp);
}

static ALWAYS_INLINE void leave_sized(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t bp = c->s.gpr[GPR_RBP], at = bp & stack_mask(c), v;

	v = lin_load(c, seg_lin(c, SEG_SS, at, sz, ACCESS_READ), sz);
	stack_set(c, at + sz);
	c->s.gpr[GPR_RBP] = reg_merge(bp, v, sz);
}

HANDLER(leave_2, leave_sized, 2)
HANDLER(leave_4, leave_sized, 4)
HANDLER(leave_8, leave_sized, 8)

insn_fn *bind_stack(const struct insn *i)
{
	switch (i->op) {
	case OP_PUSH: return bind_push(i);
	case OP_POP: return bind_pop(i);
	case OP_PUSHA: return pusha;
	case OP_POPA: return popa;
	case OP_ENTER: return enter;
	case OP_LEAVE: return i->opsize == 8 ? leave_8 : i->opsize == 4 ? leave_4 : leave_2;
	default: return NULL;
	}
}
