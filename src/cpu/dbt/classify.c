/* SPDX-License-Identifier: Apache-2.0 */
/*
 * classify.c - what an instruction does to flags and to general registers.
 *
 * Too much is harmless (a register that is not written costs a saved flag), too little
 * is wrong.  What is left undefined by the architecture counts as set where the host
 * computes it from the operands, and as kept where it may depend on the flags before.
 */
#include "cpu/dbt/lower.h"

enum { ALL_REGS = 0xffff };

static unsigned flags_of(const struct insn *i)
{
	unsigned count = (unsigned)i->imm & (i->opsize == 8 ? 63 : 31);

	switch (i->op) {
	case OP_ADD:
	case OP_SUB:
	case OP_CMP:
	case OP_AND:
	case OP_OR:
	case OP_XOR:
	case OP_TEST:
	case OP_NEG:
	case OP_XADD:
	case OP_CMPXCHG:
	case OP_POPCNT: return FE_FULL;
	case OP_ADC:
	case OP_SBB: return FE_READ | FE_FULL;
	case OP_SHL:
	case OP_SHR:
	case OP_SAR:
	case OP_SHLD:
	case OP_SHRD:
		return (i->form == FORM_RM_I || i->form == FORM_RM_R_I) && count &&
				       count < i->opsize * 8u
			       ? FE_FULL
			       : FE_PART;
	case OP_ROL:
	case OP_ROR:
	case OP_INC:
	case OP_DEC:
	case OP_BT:
	case OP_BTS:
	case OP_BTR:
	case OP_BTC:
	case OP_BSF:
	case OP_BSR:
	case OP_TZCNT:
	case OP_LZCNT:
	case OP_ANDN:
	case OP_BEXTR:
	case OP_BLSI:
	case OP_BLSMSK:
	case OP_BLSR:
	case OP_BZHI:
	case OP_CLC:
	case OP_STC:
	case OP_MUL:
	case OP_IMUL:
	case OP_IMUL2:
	case OP_DIV:
	case OP_IDIV:
	case OP_CMPXCHG8B:
	case OP_CMPXCHG16B: return FE_PART;
	case OP_RCL:
	case OP_RCR:
	case OP_CMC:
	case OP_ADCX:
	case OP_ADOX: return FE_READ | FE_PART;
	case OP_CMOVCC:
	case OP_SETCC:
	case OP_JCC: return FE_READ;
	case OP_VEC: return i->flags & INSN_WR_FLAGS ? FE_FULL : FE_NONE;
	case OP_X87: return x87_flags_of(i);
	default: return FE_NONE;
	}
}

static unsigned regs_of(const struct insn *i)
{
	unsigned rm = i->flags & INSN_MEM ? 0 : 1u << (i->rm & 15), reg = 1u << (i->reg & 15);

	switch (i->op) {
	case OP_CMP:
	case OP_TEST:
	case OP_BT:
	case OP_NOP:
	case OP_PREFETCH:
	case OP_JCC:
	case OP_JMP:
	case OP_JMP_RM: return 0;
	case OP_PUSH:
	case OP_CALL:
	case OP_CALL_RM:
	case OP_RET: return 1 << GPR_RSP;
	case OP_POP: return 1 << GPR_RSP | rm;
	case OP_LDMXCSR:
	case OP_STMXCSR: return 0;
	case OP_VEC: return vec_regs_of(i);
	case OP_X87:
	case OP_WAIT:
	case OP_EMMS: return x87_regs_of(i);
	default: break;
	}
	switch (i->form) {
	case FORM_RM:
	case FORM_RM_I:
	case FORM_RM_R_I:
		if (i->op == OP_MUL || i->op == OP_IMUL || i->op == OP_DIV || i->op == OP_IDIV)
			return 1 << GPR_RAX | 1 << GPR_RDX;
		if (i->op == OP_CMPXCHG8B || i->op == OP_CMPXCHG16B)
			return 1 << GPR_RAX | 1 << GPR_RDX;
		return rm;
	case FORM_RM_R:
		if (i->op == OP_CMPXCHG)
			return rm | 1 << GPR_RAX;
		return i->op == OP_XCHG || i->op == OP_XADD ? rm | reg : rm;
	case FORM_R_RM:
	case FORM_R_RM_I: return reg;
	default: return ALL_REGS;
	}
}

void classify(const struct lowering *l, struct t_insn *t)
{
	const struct insn *i = &t->i;

	if (is_vec(i))
		t->native = is_native_vec(l, i);
	else if (i->op == OP_X87 || i->op == OP_WAIT || i->op == OP_EMMS)
		t->native = is_native_x87(l, i);
	else if (i->flags & INSN_BRANCH)
		t->native = is_native_branch(i);
	else
		t->native = i->op != OP_INVALID && is_native_int(i);
	t->fe = (uint8_t)(t->native ? flags_of(i) : FE_HOME);
	t->writes = (uint16_t)(t->native ? regs_of(i) : ALL_REGS);
}
