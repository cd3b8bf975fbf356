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
 * Whether the budget lasts only matters where run() is to return at a count.  Once that was
 * asked for (d->count_stops), entries look, and all code made before goes.  Nothing else looks,
 * so the budget ends DBT_COUNT_SLACK instructions, more than a block has, before the count; what
 * is left is run one by one in the interpreter.
 *
 * In memory the budget is a chain from block to block that is longer than many a block, so
 * where the host has AVX-512 it is in XMM16 while translated code runs, which no guest's
 * code uses (Intel SDM vol. 2, 2.7: EVEX).
 */
#include "cpu/dbt/lower.h"

_Static_assert((int)DBT_COUNT_SLACK >= DBT_MAX_UNROLLED, "what runs unchecked");
_Static_assert(DBT_MAX_UNROLLED < 128, "charges fit an imm8");
_Static_assert(DBT_MAX_UNROLLED < (int)COUNT_CHARGES, "there is an entry in d.charge");

enum { EVEX_66_W1 = 0xfd, EVEX_F3_W1 = 0xfe };
enum { EVEX_NO_VVVV = 0x08, EVEX_16_BCST = 0x10 }; /* no second source; XMM16, and m64 twice */

/* GS EVEX.128.0F.W1 @op XMM16, [@field] */
static void emit_xmm16(struct assembler *a, unsigned pp, unsigned src, unsigned op, size_t field)
{
	struct host_op m = op_vcpu(field);

	a1(a, 0x65);
	a1(a, 0x62);
	a1(a, 0xe1);
	a1(a, pp);
	a1(a, src);
	a1(a, op);
	a_modrm(a, 0, &m);
}

void emit_count_load(const struct dbt *d, struct assembler *a)
{
	if (d->count_vec) /* vmovq xmm16, [budget] */
		emit_xmm16(a, EVEX_F3_W1, EVEX_NO_VVVV, 0x7e, VC(d.budget));
}

void emit_count_store(const struct dbt *d, struct assembler *a)
{
	if (d->count_vec)
		emit_xmm16(a, EVEX_66_W1, EVEX_NO_VVVV, 0xd6, VC(d.budget));
}

/* vpaddq xmm16, xmm16, [@n] */
static void emit_charge_vec(struct assembler *a, int n)
{
	emit_xmm16(a, EVEX_66_W1, EVEX_16_BCST, 0xd4,
		   VC(d.charge) + (size_t)(COUNT_CHARGES + n) * sizeof(int64_t));
}

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

/* Flags are at home, or nobody wants them any more. */
static void emit_charge(struct lowering *l, unsigned n)
{
	if (l->d->count_vec)
		emit_charge_vec(&l->a, -(int)n);
	else
		emit_budget(&l->a, ALU_SUB, n);
}

void count_entry(struct lowering *l)
{
	static const uint8_t vmovq_rcx_xmm16[] = {0x62, 0xe1, 0xfd, 0x08, 0x7e, 0xc1};
	unsigned n;

	if (!l->d->count)
		return;
	n = next_charge(l);
	emit_charge(l, n);
	if (!l->d->count_stops)
		return;
	if (l->d->count_vec) {
		for (unsigned k = 0; k < sizeof(vmovq_rcx_xmm16); k++)
			a1(&l->a, vmovq_rcx_xmm16[k]);
		a_op(&l->a, true, 0x85, H_RCX, op_reg(H_RCX));
	}
	cold_new(l, COLD_COUNT, a_jcc(&l->a, CC_S))->ahead = (uint8_t)n;
}

void count_before(struct lowering *l)
{
	unsigned n;

	if (!l->d->count || l->t != l->insns + l->charged)
		return;
	n = next_charge(l);
	if (l->host && !l->d->count_vec)
		emit_budget_lea(&l->a, -(int32_t)n);
	else
		emit_charge(l, n);
}

uint8_t count_ahead(const struct lowering *l)
{
	return l->d->count ? (uint8_t)(l->insns + l->charged - l->t) : 0;
}

void emit_count_back(struct lowering *l, unsigned n, bool flags_free)
{
	if (n && l->d->count_vec)
		emit_charge_vec(&l->a, (int)n);
	else if (n && flags_free)
		emit_budget(&l->a, ALU_ADD, n);
	else if (n)
		emit_budget_lea(&l->a, (int32_t)n);
}
