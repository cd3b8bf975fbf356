/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lower_vec.c - vector instructions: the guest's registers are the host's.
 *
 * All of them are loaded when a block first needs one, and stay until C code runs that
 * is not a TLB refill.  MXCSR is loaded with them; a guest that unmasks an exception runs
 * its floating point in the interpreter, which can deliver it.  MMX registers are x87's
 * (lower_x87.c).
 */
#include "cpu/dbt/lower.h"
#include "cpu/x86/fpu/mxcsr.h"

static bool is_mem(const struct insn *i)
{
	return i->flags & INSN_MEM;
}

static bool has_imm8(const struct insn *i)
{
	if (i->map == 3)
		return true;
	return i->map == 1 && ((i->opcode >= 0x70 && i->opcode <= 0x73) || i->opcode == 0xc2 ||
			       (i->opcode >= 0xc4 && i->opcode <= 0xc6));
}

/* EXTRQ and INSERTQ of SSE4a: two immediates. */
static bool is_special(const struct insn *i)
{
	return i->map == 1 && (i->opcode == 0x78 || i->opcode == 0x79);
}

/* Lengths in RAX and RDX, and an index in RCX. */
static bool is_pcmpstr(const struct insn *i)
{
	return i->map == 3 && (i->opcode & 0xfc) == 0x60;
}

static bool is_mxcsr(const struct insn *i)
{
	return i->op == OP_LDMXCSR || i->op == OP_STMXCSR;
}

static bool has_mmx(const struct insn *i)
{
	return i->vk_reg == VK_MMX || i->vk_rm == VK_MMX;
}

static bool has_xmm(const struct insn *i)
{
	return i->vk_reg == VK_XMM || i->vk_rm == VK_XMM || !has_mmx(i);
}

/* CVTPI2PS and CVTPI2PD from memory: whether they switch the unit to MMX depends on the CPU. */
static bool is_native_mmx(const struct insn *i)
{
	return !(is_mem(i) && i->opcode == 0x2a);
}

bool is_native_vec(const struct lowering *l, const struct insn *i)
{
	if (i->op == OP_VZEROUPPER || i->op == OP_VZEROALL)
		return l->avx;
	if (is_mxcsr(i) && i->adsize != 2)
		return i->flags & INSN_VEX ? l->avx : l->vec;
	if (i->op != OP_VEC || is_special(i) || (is_mem(i) && (i->adsize == 2 || !i->msize)))
		return false;
	if (has_mmx(i) && !(l->x87 && is_native_mmx(i)))
		return false;
	if (has_mmx(i) && !has_xmm(i))
		return true;
	return i->flags & INSN_VEX ? l->avx : l->vec;
}

static void need_vectors(struct lowering *l)
{
	struct host_enc cmp = {.op = 0x80};
	struct cold_jump *j;

	if (l->vec_known)
		return;
	flags_clobber(l);
	a_enc(&l->a, &cmp, ALU_CMP, op_vcpu(VC(d.vec_live)));
	a1(&l->a, 0);
	j = cold_new(l, COLD_VEC_LOAD, a_jcc(&l->a, CC_E));
	j->back = l->a.p;
	l->vec_known = true;
}

static void emit_legacy(struct lowering *l, const struct insn *i, unsigned reg, struct host_op rm)
{
	static const uint8_t prefix[] = {0, 0, 0xf3, 0xf2};
	struct host_enc e = {.map = i->map,
			     .op = i->opcode,
			     .pfx = prefix[i->pp],
			     .p66 = i->pp == 1,
			     .w = i->flags & INSN_REX_W};

	a_enc(&l->a, &e, reg, rm);
}

unsigned vec_regs_of(const struct insn *i)
{
	unsigned regs = 0;

	if (i->vk_reg == VK_GPR)
		regs |= 1u << (i->reg & 15);
	if (i->vk_rm == VK_GPR && !is_mem(i))
		regs |= 1u << (i->rm & 15);
	if (is_pcmpstr(i))
		regs |= 1 << GPR_RCX;
	return regs;
}

/* A value that unmasks an exception or is not valid is for the interpreter. */
static void emit_mxcsr(struct lowering *l, const struct insn *i)
{
	struct host_enc e = {.map = 1, .op = 0xae};
	struct assembler *a = &l->a;
	struct cold_jump *j;
	struct host_op from;

	need_vectors(l);
	if (i->op == OP_STMXCSR) {
		a_enc(a, &e, 3, emit_operand(l, i, false));
		return;
	}
	from = emit_operand(l, i, true);
	flags_clobber(l);
	a_load32(a, H_RAX, from);
	a_store32(a, H_RAX, op_vcpu(VC(d.tmp))); /* memory may change under the check */
	a_alu_imm(a, false, ALU_AND, op_reg(H_RAX), (int32_t)(0xffff0000 | MXCSR_MASKS));
	a_alu_imm(a, false, ALU_CMP, op_reg(H_RAX), MXCSR_MASKS);
	j = cold_new(l, COLD_STEP, a_jcc(a, CC_NE));
	site_new(l, &j->site)->access = 0xff;
	a_enc(a, &e, 2, op_vcpu(VC(d.tmp)));
}

bool lower_vec(struct lowering *l, const struct insn *i)
{
	bool reg_gpr = i->vk_reg == VK_GPR, rm_gpr = i->vk_rm == VK_GPR && !is_mem(i);
	unsigned reg = i->vk_reg == VK_NONE ? i->modrm >> 3 & 7 : i->reg;
	struct host_op rm;

	if (is_mxcsr(i)) {
		emit_mxcsr(l, i);
		return true;
	}
	if (has_xmm(i))
		need_vectors(l);
	if (has_mmx(i))
		need_x87(l);
	if (i->vk_reg == VK_MMX)
		reg &= 7;
	if (i->op != OP_VEC) {
		a1(&l->a, 0xc5);
		a1(&l->a, i->op == OP_VZEROUPPER ? 0xf8 : 0xfc);
		a1(&l->a, 0x77);
		return true;
	}
	if (is_mem(i)) {
		rm = emit_operand(l, i, is_pcmpstr(i) || (reg_gpr && host_of[i->reg] == H_NONE));
	} else if (!rm_gpr) {
		rm = op_reg(i->vk_rm == VK_MMX ? i->rm & 7 : i->rm);
	} else if (host_of[i->rm] != H_NONE) {
		rm = op_reg(host_of[i->rm]);
	} else {
		rm = i->flags & INSN_RM_W ? op_reg(H_RCX) : op_vcpu(gpr_offset(i->rm));
	}
	if (reg_gpr)
		reg = i->flags & INSN_REG_W ? reg_dest(i->reg, H_RAX) : reg_read(l, i->reg, H_RAX);
	if (is_pcmpstr(i))
		a_mov(&l->a, H_RAX, host_of[GPR_RAX]);
	if (i->flags & INSN_VEX)
		a_vex(&l->a, i->map, i->pp, i->flags & INSN_REX_W, i->flags & INSN_VEX_L,
		      i->vk_vvvv == VK_NONE ? 0 : i->vvvv, i->opcode, reg, rm);
	else
		emit_legacy(l, i, reg, rm);
	if (has_imm8(i))
		a1(&l->a, (uint8_t)i->imm);
	if (is_pcmpstr(i) && i->opcode & 1)
		a_mov(&l->a, host_of[GPR_RCX], H_RCX);
	if (rm_gpr && i->flags & INSN_RM_W)
		reg_done(l, i->rm, rm.base);
	if (reg_gpr && i->flags & INSN_REG_W)
		reg_done(l, i->reg, reg);
	if (l->t->fe & FE_FULL)
		flags_set_all(l);
	return true;
}
