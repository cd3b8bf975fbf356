/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_branch.c - near branches: JMP, Jcc, CALL, RET, JCXZ, LOOPcc.
 *
 * opsize 8 and the plain 64-bit stack are 64-bit mode; opsize 4 is never that.  A
 * target is checked before anything is written, as hardware does (SDM vol. 2, JMP,
 * CALL, RET): canonical in 64-bit mode, inside CS elsewhere.
 */
#include "cpu/x86/sem_int.h"

/* Where @t leads with operand size @sz. */
static ALWAYS_INLINE uint64_t near_target(uint64_t t, unsigned sz)
{
	return sz == 8 ? t : sz == 4 ? (uint32_t)t : (uint16_t)t;
}

/* May control not go to near_target() @t? */
static ALWAYS_INLINE bool bad_target(const struct vcpu *c, uint64_t t, unsigned sz)
{
	if (sz == 8)
		return (uint64_t)((int64_t)t >> 47) + 1 > 1;
	return t > c->s.seg[SEG_CS].limit && c->mode != MODE_64;
}

static ALWAYS_INLINE void jump(struct vcpu *c, uint64_t t, unsigned sz)
{
	t = near_target(t, sz);
	if (unlikely(bad_target(c, t, sz)))
		raise_gp(c, 0);
	c->s.rip = t;
}

/* --- JMP and Jcc ------------------------------------------------------------------- */

static ALWAYS_INLINE void jmp(struct vcpu *c, const struct insn *i, unsigned sz)
{
	jump(c, c->s.rip + i->imm, sz);
}

static ALWAYS_INLINE void jcc(struct vcpu *c, const struct insn *i, unsigned cc, unsigned sz)
{
	if (cond_true(c->s.rflags, cc))
		jump(c, c->s.rip + i->imm, sz);
}

static ALWAYS_INLINE void jmp_rm(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t t = c->s.gpr[i->rm];

	if (has_mem(i))
		mem_load(c, i, EA_ANY, sz, &t);
	jump(c, t, sz);
}

#define JCC(cc, sz) HANDLER(jcc_##sz##_##cc, jcc, cc, sz)
FOR_EACH_CC(JCC, 4)
FOR_EACH_CC(JCC, 8)
HANDLER(jcc_2, jcc, i->cc, 2)
HANDLER(jmp_2, jmp, 2)
HANDLER(jmp_4, jmp, 4)
HANDLER(jmp_8, jmp, 8)
HANDLER(jmp_rm_2, jmp_rm, 2)
HANDLER(jmp_rm_4, jmp_rm, 4)
HANDLER(jmp_rm_8, jmp_rm, 8)

/* --- CALL and RET ---------------------------------------------------------------------- */

/* AMD processors let the stack fault before the target. */
static void bad_call(struct vcpu *c, unsigned sz)
{
	uint64_t sp = (c->s.gpr[GPR_RSP] - sz) & stack_mask(c);

	lin_probe_write(c, seg_lin(c, SEG_SS, sp, sz, ACCESS_WRITE), sz);
	raise_gp(c, 0);
}

static ALWAYS_INLINE void call_to(struct vcpu *c, uint64_t t, unsigned sz)
{
	t = near_target(t, sz);
	if (unlikely(bad_target(c, t, sz)))
		bad_call(c, sz);
	push_val(c, sz, c->s.rip);
	c->s.rip = t;
}

static ALWAYS_INLINE void call(struct vcpu *c, const struct insn *i, unsigned sz)
{
	call_to(c, c->s.rip + i->imm, sz);
}

static ALWAYS_INLINE void call_rm(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t t = c->s.gpr[i->rm];

	if (has_mem(i))
		mem_load(c, i, EA_ANY, sz, &t);
	call_to(c, t, sz);
}

static ALWAYS_INLINE void ret(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t t = near_target(peek_val(c, sz, 0), sz);

	if (unlikely(bad_target(c, t, sz)))
		raise_gp(c, 0);
	stack_set(c, c->s.gpr[GPR_RSP] + sz + i->imm);
	c->s.rip = t;
}

HANDLER(call_2, call, 2)
HANDLER(call_4, call, 4)
HANDLER(call_slow_8, call, 8)
HANDLER(call_rm_2, call_rm, 2)
HANDLER(call_rm_4, call_rm, 4)
HANDLER(call_rm_8, call_rm, 8)
HANDLER(ret_2, ret, 2)
HANDLER(ret_4, ret, 4)
HANDLER(ret_slow_8, ret, 8)

static ALWAYS_INLINE void call_fast(struct vcpu *c, const struct insn *i, uint64_t t, insn_fn *any)
{
	uint64_t rip = c->s.rip, sp = c->s.gpr[GPR_RSP] - 8;
	void *p;

	OR_SLOW(!bad_target(c, t, 8) && fast_write_ptr(c, sp, 8, &p));
	host_store(p, 8, rip);
	c->s.gpr[GPR_RSP] = sp;
	c->s.rip = t;
}

HANDLER(call_8, call_fast, c->s.rip + i->imm, call_slow_8)
HANDLER(call_r_8, call_fast, c->s.gpr[i->rm], call_rm_8)

static void ret_8(struct vcpu *c, const struct insn *i)
{
	uint64_t sp = c->s.gpr[GPR_RSP], t;
	const struct tlb_entry *e = tlb_slot(c, sp);

	if (unlikely(e->read_tag != ((sp + 7) & ~0xfffULL))) {
		ret_slow_8(c, i);
		return;
	}
	t = host_load((const void *)(e->addend + sp), 8);
	if (unlikely(bad_target(c, t, 8))) {
		ret_slow_8(c, i);
		return;
	}
	c->s.gpr[GPR_RSP] = sp + 8 + i->imm;
	c->s.rip = t;
}

/* --- JCXZ, LOOP ------------------------------------------------------------------------- */

static void jcxz(struct vcpu *c, const struct insn *i)
{
	if (!gpr_get(c, GPR_RCX, i->adsize))
		jump(c, c->s.rip + i->imm, i->opsize);
}

/* The count is written last: a target outside faults with the old one. */
static void loop(struct vcpu *c, const struct insn *i)
{
	uint64_t n = gpr_get(c, GPR_RCX, i->adsize) - 1;
	bool zf = c->s.rflags & FL_ZF;
	bool taken = i->adsize == 8 ? n : i->adsize == 4 ? (uint32_t)n : (uint16_t)n;

	if (i->op != OP_LOOP)
		taken = taken && zf == (i->op == OP_LOOPE);
	if (taken)
		jump(c, c->s.rip + i->imm, i->opsize);
	gpr_set(c, GPR_RCX, i->adsize, n);
}

insn_fn *bind_branch(const struct insn *i)
{
	static insn_fn *const jccs[2][16] = {ROW_CC(jcc_4), ROW_CC(jcc_8)};
	static insn_fn *const jmps[] = {jmp_2, jmp_4, jmp_8};
	static insn_fn *const jmp_rms[] = {jmp_rm_2, jmp_rm_4, jmp_rm_8};
	static insn_fn *const calls[] = {call_2, call_4, call_8};
	static insn_fn *const call_rms[] = {call_rm_2, call_rm_4, call_rm_8};
	static insn_fn *const rets[] = {ret_2, ret_4, ret_8};
	unsigned sz = i->opsize == 8 ? 2 : i->opsize == 4;

	switch (i->op) {
	case OP_JMP: return jmps[sz];
	case OP_JMP_RM: return jmp_rms[sz];
	case OP_JCC: return sz ? jccs[sz - 1][i->cc] : jcc_2;
	case OP_CALL: return calls[sz];
	case OP_CALL_RM: return i->opsize == 8 && !has_mem(i) ? call_r_8 : call_rms[sz];
	case OP_RET: return rets[sz];
	case OP_JCXZ: return jcxz;
	case OP_LOOP:
	case OP_LOOPE:
	case OP_LOOPNE: return loop;
	default: return NULL;
	}
}
