/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_int_bmi.c - BMI1, BMI2 (but shifts and MULX), ADCX, ADOX, CRC32.
 *
 * The host's own instructions: a model shows these features only where the host has them.
 */
#include "cpu/x86/sem_int.h"

static ALWAYS_INLINE uint64_t operand(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t s;

	if (has_mem(i))
		mem_load(c, i, EA_ANY, sz, &s);
	else
		s = c->s.gpr[i->rm];
	return s;
}

/* --- three operands: r/m and vvvv, in the order of asm --------------------------------- */

#define THREE(suf, mod, insn)                                                \
	asm(FLAGS_IN insn " %" mod "[x], %" mod "[y], %" mod "[d]" FLAGS_OUT \
	    : [d] "=&r"(d), "+&a"(ax)                                        \
	    : [x] "r"(x), [y] "r"(y)                                         \
	    : "cc")

static ALWAYS_INLINE void three(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	uint64_t m = operand(c, i, sz), v = c->s.gpr[i->vvvv], ax = flags_in(c), d, x, y;
	bool count = op == OP_BEXTR || op == OP_BZHI; /* vvvv comes last there, so first in asm */

	x = count ? v : m;
	y = count ? m : v;
	switch (op) {
	case OP_ANDN: ASM_BY_REXW(sz, THREE, "andn"); break;
	case OP_BEXTR: ASM_BY_REXW(sz, THREE, "bextr"); break;
	case OP_BZHI: ASM_BY_REXW(sz, THREE, "bzhi"); break;
	case OP_PDEP: ASM_BY_REXW(sz, THREE, "pdep"); break;
	default: ASM_BY_REXW(sz, THREE, "pext"); break;
	}
	c->s.gpr[i->reg] = d;
	flags_out(c, ax);
}

/* --- BLSI BLSMSK BLSR: vvvv is the destination -------------------------------------------- */

#define TWO(suf, mod, insn)                                     \
	asm(FLAGS_IN insn " %" mod "[s], %" mod "[d]" FLAGS_OUT \
	    : [d] "=&r"(d), "+&a"(ax)                           \
	    : [s] "r"(s)                                        \
	    : "cc")

static ALWAYS_INLINE void lowest(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	uint64_t s = operand(c, i, sz), ax = flags_in(c), d;

	switch (op) {
	case OP_BLSI: ASM_BY_REXW(sz, TWO, "blsi"); break;
	case OP_BLSMSK: ASM_BY_REXW(sz, TWO, "blsmsk"); break;
	default: ASM_BY_REXW(sz, TWO, "blsr"); break;
	}
	c->s.gpr[i->vvvv] = d;
	flags_out(c, ax);
}

/* --- ADCX, ADOX ------------------------------------------------------------------------------ */

#define ADX(suf, mod, insn)                                     \
	asm(FLAGS_IN insn " %" mod "[s], %" mod "[d]" FLAGS_OUT \
	    : [d] "+r"(d), "+&a"(ax)                            \
	    : [s] "r"(s)                                        \
	    : "cc")

static ALWAYS_INLINE void adx(struct vcpu *c, const struct insn *i, enum x86_op op, unsigned sz)
{
	uint64_t s = operand(c, i, sz), ax = flags_in(c), d = c->s.gpr[i->reg];

	if (op == OP_ADCX)
		ASM_BY_REXW(sz, ADX, "adcx")
	else
		ASM_BY_REXW(sz, ADX, "adox")
	c->s.gpr[i->reg] = d;
	flags_out(c, ax);
}

#define FORMS(op, template)                   \
	HANDLER(op##_4, template, OP_##op, 4) \
	HANDLER(op##_8, template, OP_##op, 8)
FORMS(ANDN, three)
FORMS(BEXTR, three)
FORMS(BZHI, three)
FORMS(PDEP, three)
FORMS(PEXT, three)
FORMS(BLSI, lowest)
FORMS(BLSMSK, lowest)
FORMS(BLSR, lowest)
FORMS(ADCX, adx)
FORMS(ADOX, adx)

/* --- CRC32 --------------------------------------------------------------------------------------
 */

static void crc32(struct vcpu *c, const struct insn *i)
{
	uint64_t s, d = c->s.gpr[i->reg];

	if (has_mem(i))
		mem_load(c, i, EA_ANY, i->srcsize, &s);
	else
		s = RM_IN(i->srcsize == 1);
	switch (i->srcsize) {
	case 1: asm("crc32b %b[s], %k[d]" : [d] "+r"(d) : [s] "r"(s)); break;
	case 2: asm("crc32w %w[s], %k[d]" : [d] "+r"(d) : [s] "r"(s)); break;
	case 4: asm("crc32l %k[s], %k[d]" : [d] "+r"(d) : [s] "r"(s)); break;
	default: asm("crc32q %[s], %[d]" : [d] "+r"(d) : [s] "r"(s)); break;
	}
	c->s.gpr[i->reg] = d;
}

insn_fn *bind_bmi(const struct insn *i)
{
	bool wide = i->opsize == 8;

	switch (i->op) {
	case OP_ANDN: return wide ? ANDN_8 : ANDN_4;
	case OP_BEXTR: return wide ? BEXTR_8 : BEXTR_4;
	case OP_BLSI: return wide ? BLSI_8 : BLSI_4;
	case OP_BLSMSK: return wide ? BLSMSK_8 : BLSMSK_4;
	case OP_BLSR: return wide ? BLSR_8 : BLSR_4;
	case OP_BZHI: return wide ? BZHI_8 : BZHI_4;
	case OP_PDEP: return wide ? PDEP_8 : PDEP_4;
	case OP_PEXT: return wide ? PEXT_8 : PEXT_4;
	case OP_ADCX: return wide ? ADCX_8 : ADCX_4;
	case OP_ADOX: return wide ? ADOX_8 : ADOX_4;
	case OP_CRC32: return crc32;
	default: return NULL;
	}
}
