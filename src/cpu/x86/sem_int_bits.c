/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_bits.c - BT BTS BTR BTC BSF BSR POPCNT LZCNT TZCNT.
 *
 * A bit offset in a register reaches any bit of memory: it is split into the address
 * of an operand-sized word and a bit in it, which the register form then works on.
 */
#include "cpu/x86/sem_int.h"

/* --- BT and its relatives ------------------------------------------------------------- */

#define BIT_OP(suf, mod, insn)                                      \
	asm(FLAGS_IN insn suf " %" mod "[n], %" mod "[d]" FLAGS_OUT \
	    : [d] "+r"(d), "+&a"(*ax)                               \
	    : [n] "r"(n)                                            \
	    : "cc")
#define LOCKED_BIT_OP(suf, mod, insn)                                           \
	asm volatile(FLAGS_IN "lock " insn suf " %" mod "[n], (%[p])" FLAGS_OUT \
		     : "+&a"(ax)                                                \
		     : [n] "r"(n), [p] "r"(p)                                   \
		     : "cc", "memory")

static ALWAYS_INLINE uint64_t bit_op(enum x86_op op, unsigned sz, uint64_t d, uint64_t n,
				     uint64_t *ax)
{
	switch (op) {
	case OP_BT: ASM_BY_WIDE(sz, BIT_OP, "bt"); break;
	case OP_BTS: ASM_BY_WIDE(sz, BIT_OP, "bts"); break;
	case OP_BTR: ASM_BY_WIDE(sz, BIT_OP, "btr"); break;
	default: ASM_BY_WIDE(sz, BIT_OP, "btc"); break;
	}
	return d;
}

static ALWAYS_INLINE uint64_t bit_offset(struct vcpu *c, const struct insn *i)
{
	return i->form == FORM_RM_I ? i->imm : c->s.gpr[i->reg];
}

static ALWAYS_INLINE void bit_r(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	uint64_t ax = flags_in(c), d = c->s.gpr[i->rm];

	d = bit_op(op, sz, d, bit_offset(c, i), &ax);
	if (op != OP_BT)
		c->s.gpr[i->rm] = d;
	flags_out(c, ax);
}

/* Linear address of the word that holds the bit, by a signed offset if it is in a register. */
static ALWAYS_INLINE gva_t bit_lin(struct vcpu *c, const struct insn *i, unsigned sz,
				   unsigned access)
{
	uint64_t ea = insn_ea(c, i);

	if (i->form == FORM_RM_R) {
		uint64_t v = c->s.gpr[i->reg];
		int64_t n = sz == 8 ? (int64_t)v : sz == 4 ? (int32_t)v : (int16_t)v;
		unsigned log = sz == 8 ? 6 : sz == 4 ? 5 : 4;

		ea += (uint64_t)(n >> log) * sz;
		if (i->adsize < 8)
			ea &= BIT(i->adsize * 8) - 1;
	}
	return seg_lin(c, i->seg, ea, sz, access);
}

static ALWAYS_INLINE void bit_m(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	uint64_t ax = flags_in(c), d, n = bit_offset(c, i);

	if (op == OP_BT) {
		d = lin_load(c, bit_lin(c, i, sz, ACCESS_READ), sz);
		bit_op(op, sz, d, n, &ax);
	} else {
		d = rmw_load(c, bit_lin(c, i, sz, ACCESS_WRITE), sz);
		d = bit_op(op, sz, d, n, &ax);
		rmw_store(c, sz, d);
	}
	flags_out(c, ax);
}

static ALWAYS_INLINE void bit_lock(struct vcpu *c, const struct insn *i, enum x86_op op,
				   unsigned sz)
{
	uint64_t copy, ax = flags_in(c), n = bit_offset(c, i) & (sz * 8 - 1);
	void *p = atomic_begin_at(c, bit_lin(c, i, sz, ACCESS_WRITE), sz, &copy);

	switch (op) {
	case OP_BTS: ASM_BY_WIDE(sz, LOCKED_BIT_OP, "bts"); break;
	case OP_BTR: ASM_BY_WIDE(sz, LOCKED_BIT_OP, "btr"); break;
	default: ASM_BY_WIDE(sz, LOCKED_BIT_OP, "btc"); break;
	}
	atomic_end(c, sz, p, &copy);
	flags_out(c, ax);
}

#define SIZES3(name, template, op)         \
	HANDLER(name##_2, template, op, 2) \
	HANDLER(name##_4, template, op, 4) \
	HANDLER(name##_8, template, op, 8)
#define ROW3(name)                                 \
	{                                          \
		NULL, name##_2, name##_4, name##_8 \
	}
SIZES3(BT_r, bit_r, OP_BT)
SIZES3(BT_m, bit_m, OP_BT)
#define FORMS(op)                      \
	SIZES3(op##_r, bit_r, OP_##op) \
	SIZES3(op##_m, bit_m, OP_##op) \
	SIZES3(op##_lock, bit_lock, OP_##op)
FORMS(BTS)
FORMS(BTR)
FORMS(BTC)

/* --- counting and scanning ----------------------------------------------------------------- */

#define SCAN(suf, mod, insn)                                        \
	asm(FLAGS_IN insn suf " %" mod "[s], %" mod "[d]" FLAGS_OUT \
	    : [d] "+r"(d), "+&a"(ax)                                \
	    : [s] "r"(s)                                            \
	    : "cc")

/* BSF and BSR of 0 leave the destination as the host does, in all its bits. */
static ALWAYS_INLINE void scan(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	uint64_t s, ax = flags_in(c), d = c->s.gpr[i->reg];

	if (has_mem(i))
		mem_load(c, i, EA_ANY, sz, &s);
	else
		s = c->s.gpr[i->rm];
	switch (op) {
	case OP_BSF: ASM_BY_WIDE(sz, SCAN, "bsf"); break;
	case OP_BSR: ASM_BY_WIDE(sz, SCAN, "bsr"); break;
	case OP_POPCNT: ASM_BY_WIDE(sz, SCAN, "popcnt"); break;
	case OP_LZCNT: ASM_BY_WIDE(sz, SCAN, "lzcnt"); break;
	default: ASM_BY_WIDE(sz, SCAN, "tzcnt"); break;
	}
	c->s.gpr[i->reg] = d;
	flags_out(c, ax);
}

SIZES3(BSF, scan, OP_BSF)
SIZES3(BSR, scan, OP_BSR)
SIZES3(POPCNT, scan, OP_POPCNT)
SIZES3(LZCNT, scan, OP_LZCNT)
SIZES3(TZCNT, scan, OP_TZCNT)

insn_fn *bind_bits(const struct insn *i)
{
	static insn_fn *const reg[][4] = {ROW3(BT_r), ROW3(BTS_r), ROW3(BTR_r), ROW3(BTC_r)};
	static insn_fn *const mem[][4] = {ROW3(BT_m), ROW3(BTS_m), ROW3(BTR_m), ROW3(BTC_m)};
	static insn_fn *const lock[][4] = {{NULL}, ROW3(BTS_lock), ROW3(BTR_lock), ROW3(BTC_lock)};
	static insn_fn *const scans[][4] = {ROW3(BSF), ROW3(BSR), ROW3(POPCNT), ROW3(LZCNT),
					    ROW3(TZCNT)};
	unsigned sz = size_index(i->opsize);

	if (i->op >= OP_BSF && i->op <= OP_TZCNT)
		return scans[i->op - OP_BSF][sz];
	if (i->op < OP_BT || i->op > OP_BTC)
		return NULL;
	if (i->flags & INSN_LOCK)
		return lock[i->op - OP_BT][sz];
	return has_mem(i) ? mem[i->op - OP_BT][sz] : reg[i->op - OP_BT][sz];
}
