/* SPDX-License-Identifier: Apache-2.0 */
/* sem_int_misc.c - BSWAP MOVBE MOVNTI XLAT CBW CWD LAHF SAHF BOUND. */
#include "cpu/x86/sem_int.h"

static void bswap_8(struct vcpu *c, const struct insn *i)
{
	c->s.gpr[i->rm] = __builtin_bswap64(c->s.gpr[i->rm]);
}

static void bswap_4(struct vcpu *c, const struct insn *i)
{
	c->s.gpr[i->rm] = __builtin_bswap32((uint32_t)c->s.gpr[i->rm]);
}

/* Undefined (SDM vol. 2, BSWAP): whatever the host makes of it.  EAX, so 66 0F C8. */
static void bswap_2(struct vcpu *c, const struct insn *i)
{
	uint64_t v = c->s.gpr[i->rm];

	asm(".byte 0x66, 0x0f, 0xc8" : "+a"(v));
	c->s.gpr[i->rm] = v;
}

static ALWAYS_INLINE uint64_t swapped(uint64_t v, unsigned sz)
{
	switch (sz) {
	case 2: return __builtin_bswap16((uint16_t)v);
	case 4: return __builtin_bswap32((uint32_t)v);
	default: return __builtin_bswap64(v);
	}
}

static ALWAYS_INLINE void movbe(struct vcpu *c, const struct insn *i, unsigned sz)
{
	uint64_t v;

	if (i->form == FORM_R_RM) {
		mem_load(c, i, EA_ANY, sz, &v);
		c->s.gpr[i->reg] = reg_merge(c->s.gpr[i->reg], swapped(v, sz), sz);
	} else {
		mem_store(c, i, EA_ANY, sz, swapped(c->s.gpr[i->reg], sz));
	}
}

HANDLER(movbe_2, movbe, 2)
HANDLER(movbe_4, movbe, 4)
HANDLER(movbe_8, movbe, 8)

/* A plain store: ordered more than the guest may count on. */
static void movnti(struct vcpu *c, const struct insn *i)
{
	mem_store(c, i, EA_ANY, i->opsize, c->s.gpr[i->reg]);
}

static void xlat(struct vcpu *c, const struct insn *i)
{
	uint64_t ea = c->s.gpr[GPR_RBX] + (uint8_t)c->s.gpr[GPR_RAX];

	if (i->adsize < 8)
		ea &= BIT(i->adsize * 8) - 1;
	gpr_set(c, GPR_RAX, 1, lin_load(c, seg_lin(c, i->seg, ea, 1, ACCESS_READ), 1));
}

static void cbw(struct vcpu *c, const struct insn *i)
{
	uint64_t v = c->s.gpr[GPR_RAX];

	switch (i->opsize) {
	case 2: c->s.gpr[GPR_RAX] = reg_merge(v, (uint64_t)(int8_t)v, 2); break;
	case 4: c->s.gpr[GPR_RAX] = (uint32_t)(int16_t)v; break;
	default: c->s.gpr[GPR_RAX] = (uint64_t)(int32_t)v; break;
	}
}

static void cwd(struct vcpu *c, const struct insn *i)
{
	uint64_t sign = c->s.gpr[GPR_RAX] >> (i->opsize * 8 - 1) & 1;

	gpr_set(c, GPR_RDX, i->opsize, 0 - sign);
}

static void lahf(struct vcpu *c, const struct insn *i)
{
	*reg8_ptr(c, GPR_RAX, true) = (uint8_t)c->s.rflags;
}

static void sahf(struct vcpu *c, const struct insn *i)
{
	uint8_t ah = *reg8_ptr(c, GPR_RAX, true);

	flags_set(c, (ah & (FL_STATUS & 0xff)) | (c->s.rflags & FL_OF));
}

static void bound(struct vcpu *c, const struct insn *i)
{
	unsigned sz = i->opsize;
	gva_t lin = insn_lin(c, i, 2 * sz, ACCESS_READ);
	uint64_t low = lin_load(c, lin, sz);
	uint64_t high = lin_load(c, (lin + sz) & c->addr_mask, sz);
	uint64_t v = c->s.gpr[i->reg];
	bool out = sz == 2 ? (int16_t)v < (int16_t)low || (int16_t)v > (int16_t)high
			   : (int32_t)v < (int32_t)low || (int32_t)v > (int32_t)high;

	if (out)
		raise_exc(c, EXC_BR);
}

insn_fn *bind_misc(const struct insn *i)
{
	static insn_fn *const bswaps[] = {NULL, bswap_2, bswap_4, bswap_8};
	static insn_fn *const movbes[] = {NULL, movbe_2, movbe_4, movbe_8};

	switch (i->op) {
	case OP_BSWAP: return bswaps[size_index(i->opsize)];
	case OP_MOVBE: return movbes[size_index(i->opsize)];
	case OP_MOVNTI: return movnti;
	case OP_XLAT: return xlat;
	case OP_CBW: return cbw;
	case OP_CWD: return cwd;
	case OP_LAHF: return lahf;
	case OP_SAHF: return sahf;
	case OP_BOUND: return bound;
	default: return NULL;
	}
}
