/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.c - encodings of the integer instructions that run on explicit operands alone.
 *
 * From the operation, not from the guest's bytes: short forms, needless prefixes and
 * what an older processor makes of an encoding are then one case.
 */
#include "cpu/dbt/encode.h"

static bool is_mem(const struct insn *i)
{
	return i->flags & INSN_MEM;
}

struct host_enc by_size(unsigned map, unsigned op, unsigned size)
{
	return (struct host_enc){
		.map = (uint8_t)map, .op = (uint8_t)op, .p66 = size == 2, .w = size == 8};
}

static unsigned alu_number(unsigned op)
{
	switch (op) {
	case OP_ADD: return ALU_ADD;
	case OP_OR: return ALU_OR;
	case OP_ADC: return ALU_ADC;
	case OP_SBB: return ALU_SBB;
	case OP_AND: return ALU_AND;
	case OP_SUB: return ALU_SUB;
	case OP_XOR: return ALU_XOR;
	default: return ALU_CMP;
	}
}

static unsigned shift_number(unsigned op)
{
	switch (op) {
	case OP_ROL: return 0;
	case OP_ROR: return 1;
	case OP_RCL: return 2;
	case OP_RCR: return 3;
	case OP_SHL: return 4;
	case OP_SHR: return 5;
	default: return 7;
	}
}

static bool encode_alu(const struct insn *i, struct native *n)
{
	unsigned num = alu_number(i->op), wide = i->opsize != 1;

	n->rm = i->op == OP_CMP ? RM_IN : RM_INOUT;
	switch (i->form) {
	case FORM_RM_R:
		n->enc = by_size(0, num * 8 + wide, i->opsize);
		n->reg = REG_IN;
		return true;
	case FORM_R_RM:
		n->enc = by_size(0, num * 8 + 2 + wide, i->opsize);
		n->reg = i->op == OP_CMP ? REG_IN : REG_INOUT;
		n->rm = RM_IN;
		return true;
	default:
		n->digit = (uint8_t)num;
		n->imm_bytes = 1;
		n->enc = by_size(0, 0x80, i->opsize);
		if (wide && (int64_t)i->imm != (int8_t)i->imm) {
			n->enc.op = 0x81;
			n->imm_bytes = i->opsize == 2 ? 2 : 4;
		} else if (wide) {
			n->enc.op = 0x83;
		}
		return true;
	}
}

static bool encode_mov(const struct insn *i, struct native *n)
{
	unsigned wide = i->opsize != 1;

	switch (i->form) {
	case FORM_RM_R:
		n->enc = by_size(0, 0x88 + wide, i->opsize);
		n->reg = REG_IN;
		n->rm = i->opsize < 4 ? RM_INOUT : RM_OUT;
		return true;
	case FORM_R_RM:
		n->enc = by_size(0, 0x8a + wide, i->opsize);
		n->reg = i->opsize < 4 ? REG_INOUT : REG_OUT;
		n->rm = RM_IN;
		return true;
	default:
		n->enc = by_size(0, 0xc6 + wide, i->opsize);
		n->rm = i->opsize < 4 ? RM_INOUT : RM_OUT;
		n->imm_bytes = (uint8_t)MIN(i->opsize, 4);
		return true;
	}
}

/* An opcode of group 3, 4 or 5 or a shift: one operand and a digit. */
static bool encode_one(struct native *n, unsigned op, unsigned digit, const struct insn *i)
{
	n->enc = by_size(0, op + (i->opsize != 1), i->opsize);
	n->digit = (uint8_t)digit;
	n->rm = RM_INOUT;
	return true;
}

/* reg = f(r/m), in map @map with mandatory prefix @pfx. */
static bool encode_to_reg(struct native *n, const struct insn *i, unsigned map, unsigned op,
			  unsigned pfx, bool merges)
{
	n->enc = by_size(map, op, i->opsize);
	n->enc.pfx = (uint8_t)pfx;
	n->reg = merges || i->opsize == 2 ? REG_INOUT : REG_OUT;
	n->rm = RM_IN;
	return true;
}

static bool encode_bit(struct native *n, const struct insn *i, unsigned digit)
{
	n->rm = i->op == OP_BT ? RM_IN : RM_INOUT;
	if (i->form == FORM_RM_I) {
		n->enc = by_size(1, 0xba, i->opsize);
		n->digit = (uint8_t)digit;
		n->imm_bytes = 1;
		return true;
	}
	n->enc = by_size(1, 0x83 + digit * 8, i->opsize);
	n->reg = REG_IN;
	n->no_mem = true;
	return !is_mem(i); /* the bit offset moves the address */
}

static bool encode_extend(struct native *n, const struct insn *i, unsigned op)
{
	encode_to_reg(n, i, 1, op + (i->srcsize == 2), 0, false);
	return i->srcsize <= 2;
}

static bool encode_shift(const struct insn *i, struct native *n)
{
	encode_one(n, i->form == FORM_RM ? 0xd2 : 0xc0, shift_number(i->op), i);
	n->imm_bytes = i->form == FORM_RM_I;
	return i->form == FORM_RM_I || !is_mem(i); /* CL is in RCX, and so is the address */
}

static bool encode_double_shift(const struct insn *i, struct native *n)
{
	bool by_cl = i->form == FORM_RM_R;

	n->enc = by_size(1, (i->op == OP_SHLD ? 0xa4 : 0xac) + by_cl, i->opsize);
	n->reg = REG_IN;
	n->rm = RM_INOUT;
	n->imm_bytes = !by_cl;
	return !by_cl || (!is_mem(i) && pinned(i->rm) && pinned(i->reg));
}

static bool encode_exchange(const struct insn *i, struct native *n)
{
	n->enc = by_size(i->op == OP_XADD, (i->op == OP_XADD ? 0xc0 : 0x86) + (i->opsize != 1),
			 i->opsize);
	n->reg = REG_INOUT;
	n->rm = RM_INOUT;
	n->no_mem = true;
	return true;
}

static bool encode_crc32(const struct insn *i, struct native *n)
{
	n->enc = (struct host_enc){.map = 2,
				   .op = i->srcsize == 1 ? 0xf0 : 0xf1,
				   .pfx = 0xf2,
				   .p66 = i->srcsize == 2,
				   .w = i->opsize == 8};
	n->reg = REG_INOUT;
	return true;
}

bool encode(const struct insn *i, struct native *n)
{
	*n = (struct native){0};
	switch (i->op) {
	case OP_ADD:
	case OP_OR:
	case OP_ADC:
	case OP_SBB:
	case OP_AND:
	case OP_SUB:
	case OP_XOR:
	case OP_CMP: return encode_alu(i, n);
	case OP_MOV:
	case OP_MOVNTI: return encode_mov(i, n);
	case OP_TEST:
		if (i->form == FORM_RM_I) {
			encode_one(n, 0xf6, 0, i);
			n->imm_bytes = (uint8_t)MIN(i->opsize, 4);
		} else {
			n->enc = by_size(0, 0x84 + (i->opsize != 1), i->opsize);
			n->reg = REG_IN;
		}
		n->rm = RM_IN;
		return true;
	case OP_NOT: return encode_one(n, 0xf6, 2, i);
	case OP_NEG: return encode_one(n, 0xf6, 3, i);
	case OP_INC: return encode_one(n, 0xfe, 0, i);
	case OP_DEC: return encode_one(n, 0xfe, 1, i);
	case OP_ROL:
	case OP_ROR:
	case OP_RCL:
	case OP_RCR:
	case OP_SHL:
	case OP_SHR:
	case OP_SAR: return encode_shift(i, n);
	case OP_SHLD:
	case OP_SHRD: return encode_double_shift(i, n);
	case OP_IMUL2:
		if (i->form == FORM_R_RM)
			return encode_to_reg(n, i, 1, 0xaf, 0, true);
		encode_to_reg(n, i, 0, 0x69, 0, false);
		n->imm_bytes = i->opsize == 2 ? 2 : 4;
		return true;
	case OP_MOVZX: return encode_extend(n, i, 0xb6);
	case OP_MOVSX: return encode_extend(n, i, 0xbe);
	case OP_MOVSXD: return i->opsize != 2 && encode_to_reg(n, i, 0, 0x63, 0, false);
	case OP_XCHG:
	case OP_XADD: return encode_exchange(i, n);
	case OP_MOVBE:
		if (i->form == FORM_RM_R) {
			n->enc = by_size(2, 0xf1, i->opsize);
			n->reg = REG_IN;
			n->rm = RM_OUT;
			return true;
		}
		return encode_to_reg(n, i, 2, 0xf0, 0, false);
	case OP_CMOVCC: return encode_to_reg(n, i, 1, 0x40 + i->cc, 0, true);
	case OP_SETCC:
		n->enc = by_size(1, 0x90 + i->cc, 1);
		n->rm = RM_INOUT;
		return true;
	case OP_BT: return encode_bit(n, i, 4);
	case OP_BTS: return encode_bit(n, i, 5);
	case OP_BTR: return encode_bit(n, i, 6);
	case OP_BTC: return encode_bit(n, i, 7);
	case OP_BSF: return encode_to_reg(n, i, 1, 0xbc, 0, true);
	case OP_BSR: return encode_to_reg(n, i, 1, 0xbd, 0, true);
	case OP_TZCNT: return encode_to_reg(n, i, 1, 0xbc, 0xf3, false);
	case OP_LZCNT: return encode_to_reg(n, i, 1, 0xbd, 0xf3, false);
	case OP_POPCNT: return encode_to_reg(n, i, 1, 0xb8, 0xf3, false);
	case OP_CRC32: return encode_crc32(i, n);
	case OP_ADCX:
	case OP_ADOX:
		encode_to_reg(n, i, 2, 0xf6, i->op == OP_ADOX ? 0xf3 : 0, true);
		n->enc.p66 = i->op == OP_ADCX;
		return true;
	default: return false;
	}
}
