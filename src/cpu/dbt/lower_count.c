/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lower_count.c - exact counts of instructions in translated code (--count).
 *
 * d.budget says how many instructions may still run.  A block is charged for in advance:
 * its entry subtracts its instructions, up to a conditional jump backwards, behind which
 * the next charge follows (loops mostly take it, and then owe nothing).  A jump forwards
 * that leaves in the middle, and every site that calls C, gives back what was charged
 * for and not run; sites carry that number.
 *
 * Only the entry looks whether the budget lasts, so it ends DBT_COUNT_SLACK instructions,
 * more than a block has, before the count at which run() is to return.  What is left is
 * run one by one in the interpreter.  At the entry guest flags are at home, as charging
 * destroys those of the host.
 */
#include "cpu/dbt/lower.h"

_Static_assert((int)DBT_COUNT_SLACK >= DBT_MAX_INSNS, "what runs unchecked");
_Static_assert(DBT_MAX_INSNS < 128, "charges fit an imm8");

static void emit_budget(struct assembler *a, unsigned alu, unsigned n)
{
	a_op(a, true, 0x83, alu, op_vcpu(VC(d.budget)));
	a1(a, n);
}

/* The same, leaving flags alone.  Uses RCX. */
static void emit_budget_lea(struct assembler *a, int32_t n)
{
	a_load(a, H_RCX, op_vcpu(VC(d.budget)));
	a_lea(a, true, H_RCX, op_mem(H_RCX, n));
	a_store(a, H_RCX, op_vcpu(VC(d.budget)));
}

static bool is_jump_back(const struct t_insn *t)
{
	return t->native && t->i.op == OP_JCC && t->rip + t->i.len + t->i.imm <= t->rip;
}

/* Charge from l->charged on, as far as one charge goes.  How many instructions that are. */
static unsigned next_charge(struct lowering *l)
{
	unsigned from = l->charged;

	while (l->charged < l->n)
		if (is_jump_back(&l->insns[l->charged++]))
			break;
	return l->charged - from;
}

void count_entry(struct lowering *l)
{
	struct cold_jump *j;
	unsigned n;

	if (!l->d->count)
		return;
	n = next_charge(l);
	emit_budget(&l->a, ALU_SUB, n);
	j = cold_new(l, COLD_COUNT, a_jcc(&l->a, CC_S));
	j->ahead = (uint8_t)n;
}

void count_before(struct lowering *l)
{
	unsigned n;

	if (!l->d->count || l->t != l->insns + l->charged)
		return;
	n = next_charge(l);
	if (l->host)
		emit_budget_lea(&l->a, -(int32_t)n);
	else
		emit_budget(&l->a, ALU_SUB, n);
}

uint8_t count_ahead(const struct lowering *l)
{
	return l->d->count ? (uint8_t)(l->insns + l->charged - l->t) : 0;
}

void emit_count_back(struct assembler *a, unsigned n, bool flags_free)
{
	if (n && flags_free)
		emit_budget(a, ALU_ADD, n);
	else if (n)
		emit_budget_lea(a, (int32_t)n);
}
