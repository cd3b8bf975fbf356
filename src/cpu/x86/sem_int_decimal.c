/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_decimal.c - DAA DAS AAA AAS AAM AAD SALC.
 *
 * 64-bit mode has lost them, so the host cannot help: the algorithms are those of SDM
 * vol. 2.  The flags left undefined there are those of the addition or subtraction
 * inside, as AMD processors have them (compared exhaustively with a host's 32-bit mode).
 */
#include "cpu/x86/sem_int.h"

static void al_set(struct vcpu *c, uint8_t v)
{
	gpr_set(c, GPR_RAX, 1, v);
}

/* SF, ZF and PF of a result of @bits bits. */
static uint32_t result_flags(uint32_t v, unsigned bits)
{
	uint32_t f = v >> (bits - 1) & 1 ? FL_SF : 0;

	if (!(v & (BIT(bits) - 1)))
		f |= FL_ZF;
	return f | (__builtin_parity(v & 0xff) ? 0 : FL_PF);
}

/* DAA adds its correction, DAS subtracts it; the rest is the same. */
static void adjust_packed(struct vcpu *c, bool subtract)
{
	uint8_t old = (uint8_t)c->s.gpr[GPR_RAX], fix = 0, al;
	bool af = (old & 0xf) > 9 || c->s.rflags & FL_AF;
	bool cf = old > 0x99 || c->s.rflags & FL_CF;
	uint32_t f;

	if (af)
		fix += 6;
	if (cf)
		fix += 0x60;
	else if (subtract)
		cf = fix > old; /* the low digit alone can borrow */
	al = (uint8_t)(subtract ? old - fix : old + fix);
	f = result_flags(al, 8) | (af ? FL_AF : 0) | (cf ? FL_CF : 0);
	if ((subtract ? (old ^ fix) & (old ^ al) : (al ^ old) & (al ^ fix)) & 0x80)
		f |= FL_OF;
	al_set(c, al);
	flags_set(c, f);
}

static void daa(struct vcpu *c, const struct insn *i)
{
	adjust_packed(c, false);
}

static void das(struct vcpu *c, const struct insn *i)
{
	adjust_packed(c, true);
}

/* AAA and AAS work on AX as a whole; what is in AL's upper half shows in flags only. */
static void adjust_unpacked(struct vcpu *c, bool subtract)
{
	uint16_t old = (uint16_t)c->s.gpr[GPR_RAX], ax = old, fix = 0;
	uint32_t f = 0;

	if ((old & 0xf) > 9 || c->s.rflags & FL_AF) {
		fix = 0x106;
		f = FL_AF | FL_CF;
	}
	ax = (uint16_t)(subtract ? old - fix : old + fix);
	f |= result_flags(ax, 16);
	if ((subtract ? (old ^ fix) & (old ^ ax) : (ax ^ old) & (ax ^ fix)) & 0x8000)
		f |= FL_OF;
	gpr_set(c, GPR_RAX, 2, ax & 0xff0f);
	flags_set(c, f);
}

static void aaa(struct vcpu *c, const struct insn *i)
{
	adjust_unpacked(c, false);
}

static void aas(struct vcpu *c, const struct insn *i)
{
	adjust_unpacked(c, true);
}

static void aam(struct vcpu *c, const struct insn *i)
{
	uint8_t al = (uint8_t)c->s.gpr[GPR_RAX], base = (uint8_t)i->imm;

	if (!base)
		raise_exc(c, EXC_DE);
	gpr_set(c, GPR_RAX, 2, (uint64_t)(al / base) << 8 | al % base);
	flags_set(c, result_flags(al % base, 8));
}

static void aad(struct vcpu *c, const struct insn *i)
{
	uint16_t ax = (uint16_t)c->s.gpr[GPR_RAX];
	uint8_t low = (uint8_t)ax, high = (uint8_t)((ax >> 8) * i->imm);
	uint8_t al = (uint8_t)(low + high);
	uint32_t f = result_flags(al, 8) | ((low ^ high ^ al) & FL_AF);

	if (al < low)
		f |= FL_CF;
	if ((al ^ low) & (al ^ high) & 0x80)
		f |= FL_OF;
	gpr_set(c, GPR_RAX, 2, al);
	flags_set(c, f);
}

/* Undocumented by Intel for long, in AMD's APM vol. 3: AL = CF ? FF : 0. */
static void salc(struct vcpu *c, const struct insn *i)
{
	al_set(c, c->s.rflags & FL_CF ? 0xff : 0);
}

insn_fn *bind_decimal(const struct insn *i)
{
	static insn_fn *const table[] = {daa, das, aaa, aas, aam, aad, salc};

	return i->op >= OP_DAA && i->op <= OP_SALC ? table[i->op - OP_DAA] : NULL;
}
