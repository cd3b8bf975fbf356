/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lower_int.c - integer instructions: emitted as they are, with other registers.
 *
 * A guest register in memory is a memory operand of the host's where that means the
 * same, and else goes through a scratch register.  AH, CH, DH and BH have no place in a
 * host encoding with REX: such an instruction runs on copies of its registers in RAX
 * and RCX.
 */
#include "cpu/dbt/encode.h"

enum { RAX_AH = 4, RCX_CH = 5 };

static bool is_mem(const struct insn *i)
{
	return i->flags & INSN_MEM;
}

static bool has_high_byte(const struct insn *i)
{
	return i->flags & (INSN_REG_HI | INSN_RM_HI);
}

/* --- emission ------------------------------------------------------------------------- */

/* Byte registers 4 to 7 are SPL and so on only with REX. */
static bool byte_needs_rex(unsigned host)
{
	return host >= 4;
}

static void flags_before(struct lowering *l)
{
	if (l->t->fe & (FE_READ | FE_PART))
		flags_to_host(l);
}

static void flags_after(struct lowering *l)
{
	if (l->t->fe & FE_FULL) {
		flags_set_all(l);
	} else if (l->t->fe & FE_PART) {
		l->home = false;
		l->recipe.kind = FLAGS_HOME;
		l->recipe_lasts = false;
	}
}

static void emit_insn(struct lowering *l, const struct insn *i, const struct native *n,
		      unsigned reg, struct host_op rm)
{
	struct host_enc e = n->enc;
	unsigned rm_size = i->srcsize ? i->srcsize : i->opsize;

	if (i->op == OP_SETCC || (rm_size == 1 && !rm.mem && byte_needs_rex(rm.base)))
		e.rex = !rm.mem && byte_needs_rex(rm.base);
	if (i->opsize == 1 && n->reg != REG_DIGIT && byte_needs_rex(reg))
		e.rex = true;
	e.lock = i->flags & INSN_LOCK && is_mem(i);
	a_enc(&l->a, &e, reg, rm);
	a_imm(&l->a, i->imm, n->imm_bytes);
}

/* With AH and its like: on copies in RAX (reg, or the only one) and RCX (r/m). */
static void emit_high(struct lowering *l, const struct insn *i, const struct native *n)
{
	bool same = !is_mem(i) && n->reg != REG_DIGIT && i->reg == i->rm;
	unsigned reg = n->digit;
	struct host_enc e = n->enc;
	struct host_op rm;

	if (is_mem(i))
		rm = emit_operand(l, i, true);
	flags_before(l);
	if (is_mem(i) && (rm.index != H_NONE || rm.base != H_RCX)) {
		a_lea(&l->a, true, H_RCX, rm);
		rm = op_mem(H_RCX, 0);
	} else if (!is_mem(i)) {
		unsigned copy = same || n->reg == REG_DIGIT ? H_RAX : H_RCX;

		a_mov(&l->a, copy, reg_read(l, i->rm, copy));
		rm = op_reg(i->flags & INSN_RM_HI ? (copy == H_RAX ? RAX_AH : RCX_CH) : copy);
	}
	if (n->reg != REG_DIGIT) {
		a_mov(&l->a, H_RAX, reg_read(l, i->reg, H_RAX));
		reg = i->flags & INSN_REG_HI ? RAX_AH : H_RAX;
	}
	e.lock = i->flags & INSN_LOCK && is_mem(i);
	a_enc(&l->a, &e, reg, rm);
	a_imm(&l->a, i->imm, n->imm_bytes);
	if (!is_mem(i) && n->rm != RM_IN) {
		unsigned copy = same || n->reg == REG_DIGIT ? H_RAX : H_RCX,
			 to = reg_dest(i->rm, copy);

		a_mov(&l->a, to, copy);
		reg_done(l, i->rm, copy);
	}
	if (n->reg == REG_OUT || n->reg == REG_INOUT) {
		a_mov(&l->a, reg_dest(i->reg, H_RAX), H_RAX);
		reg_done(l, i->reg, H_RAX);
	}
	flags_after(l);
}

/* A guest register as r/m: the host's, the vCPU's memory, or a copy in @scratch. */
static struct host_op register_operand(struct lowering *l, const struct insn *i,
				       const struct native *n, unsigned scratch, bool *copied)
{
	*copied = false;
	if (pinned(i->rm))
		return op_reg(host_of[i->rm]);
	if (!n->no_mem && (n->rm == RM_IN || i->opsize != 4))
		return op_vcpu(gpr_offset(i->rm));
	*copied = true;
	if (n->rm != RM_OUT)
		a_load(&l->a, scratch, op_vcpu(gpr_offset(i->rm)));
	return op_reg(scratch);
}

static void emit_generic(struct lowering *l, const struct insn *i, const struct native *n)
{
	bool by_cl = n->enc.map == 0 && (n->enc.op & 0xfe) == 0xd2, copied = false;
	unsigned reg = n->digit;
	struct host_op rm;

	if (n->enc.map == 1 && (n->enc.op == 0xa5 || n->enc.op == 0xad))
		by_cl = true;
	if (is_mem(i))
		rm = emit_operand(l, i,
				  (n->reg != REG_DIGIT && !pinned(i->reg)) ||
					  l->t->fe & (FE_READ | FE_PART));
	flags_before(l);
	if (!is_mem(i))
		rm = register_operand(l, i, n, by_cl ? H_RAX : H_RCX, &copied);
	if (by_cl)
		a_mov(&l->a, H_RCX, host_of[GPR_RCX]);
	if (n->reg != REG_DIGIT) {
		reg = reg_dest(i->reg, H_RAX);
		if (n->reg != REG_OUT)
			reg = reg_read(l, i->reg, H_RAX);
	}
	emit_insn(l, i, n, reg, rm);
	if (n->reg == REG_OUT || n->reg == REG_INOUT)
		reg_done(l, i->reg, reg);
	if (copied && n->rm != RM_IN) /* last: XADD of a register with itself */
		reg_done(l, i->rm, rm.base);
	flags_after(l);
}

/* --- others ----------------------------------------------------------------------------- */

static void emit_mov_imm(struct lowering *l, const struct insn *i)
{
	unsigned dst = reg_dest(i->rm, H_RAX);

	a_mov_imm(&l->a, dst, i->opsize == 4 ? (uint32_t)i->imm : i->imm);
	reg_done(l, i->rm, dst);
}

/* No flags, no access. */
static void emit_lea(struct lowering *l, const struct insn *i)
{
	struct ea ea = ea_of(l, i);
	unsigned dst = reg_dest(i->reg, H_RAX);
	struct host_op op = op_mem(H_NONE, (int32_t)ea.disp);

	if (ea.moves && i->opsize == 8 && !ea.ad32) {
		emit_mov_rip(l, dst, (uint64_t)ea.disp);
	} else if (ea.constant) {
		a_mov_imm(&l->a, dst, i->opsize == 4 ? (uint32_t)ea.disp : (uint64_t)ea.disp);
		if (ea.moves)
			reloc_note(l, RELOC_RIP32);
	} else {
		if (ea.base != INSN_NOREG)
			op.base = (uint8_t)reg_read(l, ea.base, H_RAX);
		if (ea.index != INSN_NOREG) {
			op.index = (uint8_t)reg_read(l, ea.index, H_RCX);
			op.scale = ea.scale;
		}
		a_lea(&l->a, i->opsize == 8 && !ea.ad32, dst, op);
	}
	reg_done(l, i->reg, dst);
}

/* MUL and IMUL of one operand: guest RAX moves into place and back. */
static void emit_mul(struct lowering *l, const struct insn *i)
{
	struct host_enc e = by_size(0, 0xf6 + (i->opsize != 1), i->opsize);
	struct host_op rm;

	if (is_mem(i))
		rm = emit_operand(l, i, true);
	else
		rm = pinned(i->rm) ? op_reg(host_of[i->rm]) : op_vcpu(gpr_offset(i->rm));
	flags_before(l);
	a_mov(&l->a, H_RAX, host_of[GPR_RAX]);
	e.rex = i->opsize == 1 && !rm.mem && byte_needs_rex(rm.base);
	a_enc(&l->a, &e, i->op == OP_MUL ? 4 : 5, rm);
	a_mov(&l->a, host_of[GPR_RAX], H_RAX);
	flags_after(l);
}

/* Leave for the interpreter on condition @cc. */
static void emit_step_if(struct lowering *l, unsigned cc)
{
	struct cold_jump *j = cold_new(l, COLD_STEP, a_jcc(&l->a, cc));
	struct dbt_site *s = site_new(l, &j->site);

	s->access = 0xff;
}

/*
 * DIV, IDIV of 32 and 64 bits.  What would raise #DE, and a dividend that is no sign
 * extension, is left to the interpreter.  Flags are undefined: the host decides, given the old
 * ones.
 */
static void emit_div(struct lowering *l, const struct insn *i)
{
	bool w = i->opsize == 8;
	struct assembler *a = &l->a;
	struct host_op tmp = op_vcpu(VC(d.tmp));

	flags_to_home(l);
	if (is_mem(i))
		a_op(a, w, 0x8b, H_RCX, emit_operand(l, i, false));
	else
		a_mov(a, H_RCX, reg_read(l, i->rm, H_RCX));
	l->host = false;
	if (i->op == OP_DIV) {
		a_op(a, w, 0x39, H_RCX, op_reg(H_RDX)); /* cmp rdx, rcx */
		emit_step_if(l, CC_AE);
		flags_to_host(l);
		a_mov(a, H_RAX, host_of[GPR_RAX]);
		a_op(a, w, 0xf7, 6, op_reg(H_RCX));
	} else {
		a_store(a, H_RCX, tmp);
		a_lea(a, w, H_RAX, op_mem(H_RCX, 1));
		a_alu_imm(a, w, ALU_CMP, op_reg(H_RAX), 1); /* 0 or -1 */
		emit_step_if(l, CC_BE);
		a_mov(a, H_RCX, host_of[GPR_RAX]);
		a_shift_imm(a, w, 7, H_RCX, w ? 63 : 31);
		a_op(a, w, 0x39, H_RCX, op_reg(H_RDX));
		emit_step_if(l, CC_NE);
		flags_to_host(l);
		a_mov(a, H_RAX, host_of[GPR_RAX]);
		a_op(a, w, 0xf7, 7, tmp);
	}
	a_mov(a, host_of[GPR_RAX], H_RAX);
	flags_after(l);
}

static void emit_push(struct lowering *l, const struct insn *i)
{
	struct assembler *a = &l->a;
	struct host_op to;

	if (i->form == FORM_I) {
		to = emit_stack(l, true);
		a_op(a, true, 0xc7, 0, to);
		a4(a, (uint32_t)i->imm);
	} else if (is_mem(i)) {
		a_load(a, H_RAX, emit_operand(l, i, false));
		a_store(a, H_RAX, op_vcpu(VC(d.tmp)));
		to = emit_stack(l, true);
		a_load(a, H_RAX, op_vcpu(VC(d.tmp)));
		a_store(a, H_RAX, to);
	} else {
		to = emit_stack(l, true);
		a_store(a, reg_read(l, i->rm, H_RAX), to);
	}
	a_lea(a, true, host_of[GPR_RSP], op_mem(host_of[GPR_RSP], -8));
}

static void emit_pop(struct lowering *l, const struct insn *i)
{
	struct assembler *a = &l->a;
	struct host_op from = emit_stack(l, false);
	unsigned dst = i->rm == GPR_RSP ? H_RAX : reg_dest(i->rm, H_RAX);

	a_load(a, dst, from);
	a_lea(a, true, host_of[GPR_RSP], op_mem(host_of[GPR_RSP], 8));
	if (i->rm == GPR_RSP)
		a_mov(a, host_of[GPR_RSP], H_RAX);
	else
		reg_done(l, i->rm, dst);
}

/* A register of its own to push or to pop. */
static bool moves_register(const struct t_insn *t, unsigned op)
{
	return t->native && t->i.op == op && t->i.form == FORM_RM && !is_mem(&t->i) &&
	       t->i.rm != GPR_RSP;
}

enum { STACK_RUN_MAX = 8 };

/* The host's operand for the first of the @n accesses from l->t on, all in one group or none. */
static struct host_op stack_run_operand(struct lowering *l, bool push, unsigned n)
{
	int32_t bytes = (int32_t)n * 8;
	const struct fold *f = shared_group(l, l->t);
	struct host_op top;

	if (f && f->members > n)
		return emit_stack(l, push);
	top = emit_access_stack(l, push ? -bytes : 0, (unsigned)bytes, push ? -8 : 0,
				push ? ACCESS_WRITE : ACCESS_READ);
	top.disp = push ? -8 : 0;
	return top;
}

unsigned lower_stack_run(struct lowering *l)
{
	bool push = l->t->i.op == OP_PUSH;
	const struct t_insn *end = l->insns + l->n, *t = l->t;
	struct assembler *a = &l->a;
	struct host_op top;
	unsigned n = 0;
	bool ret;

	while (t + n < end && n < STACK_RUN_MAX && t[n].fold == t->fold &&
	       moves_register(t + n, push ? OP_PUSH : OP_POP))
		n++;
	/* a return address behind what is popped is read with it */
	ret = !push && n && t + n < end && t[n].native && t[n].i.op == OP_RET &&
	      t[n].fold == t->fold;
	if (n + ret < 2)
		return 0;
	top = stack_run_operand(l, push, n + ret);
	for (unsigned k = 0; k < n; k++) {
		unsigned rm = t[k].i.rm;

		if (push) {
			a_store(a, reg_read(l, rm, H_RAX), top);
			top.disp -= 8;
		} else {
			a_load(a, reg_dest(rm, H_RAX), top);
			reg_done(l, rm, H_RAX);
			top.disp += 8;
		}
	}
	if (ret) {
		a_load(a, H_RAX, top);
		a_store(a, H_RAX, op_vcpu(VC(d.tmp)));
		l->ret_read = true;
	}
	a_lea(a, true, host_of[GPR_RSP], op_mem(host_of[GPR_RSP], (push ? -8 : 8) * (int32_t)n));
	return n;
}

static void emit_leave(struct lowering *l)
{
	struct assembler *a = &l->a;
	struct ea top = ea_reg(GPR_RBP, 0);
	struct host_op from = emit_access(l, &top, 8, ACCESS_READ, 1, false);

	a_load(a, H_RAX, from);
	a_lea(a, true, host_of[GPR_RSP], op_mem(host_of[GPR_RBP], 8));
	a_mov(a, host_of[GPR_RBP], H_RAX);
}

/* CBW, CWDE, CDQE; CWD, CDQ, CQO */
static void emit_convert(struct lowering *l, const struct insn *i)
{
	struct assembler *a = &l->a;

	a_mov(a, H_RAX, host_of[GPR_RAX]);
	if (i->opsize == 2)
		a1(a, 0x66);
	if (i->opsize == 8)
		a1(a, 0x48);
	a1(a, i->op == OP_CBW ? 0x98 : 0x99);
	if (i->op == OP_CBW)
		a_mov(a, host_of[GPR_RAX], H_RAX);
}

static void emit_bswap(struct lowering *l, const struct insn *i)
{
	unsigned reg = reg_read(l, i->rm, H_RAX), rex = (i->opsize == 8 ? 8u : 0) | reg >> 3;

	if (rex)
		a1(&l->a, 0x40 | rex);
	a1(&l->a, 0x0f);
	a1(&l->a, 0xc8 | (reg & 7));
	reg_done(l, i->rm, reg);
}

static void emit_cmpxchg(struct lowering *l, const struct insn *i)
{
	struct host_enc e = by_size(1, 0xb0 + (i->opsize != 1), i->opsize);
	struct assembler *a = &l->a;
	unsigned reg = host_of[i->reg];
	struct host_op rm;

	if (is_mem(i))
		rm = emit_operand(l, i, true);
	else
		rm = op_reg(host_of[i->rm] == host_of[GPR_RAX] ? H_RAX : host_of[i->rm]);
	e.lock = i->flags & INSN_LOCK && is_mem(i);
	e.rex = i->opsize == 1 && (byte_needs_rex(reg) || (!rm.mem && byte_needs_rex(rm.base)));
	a_mov(a, H_RAX, host_of[GPR_RAX]);
	a_enc(a, &e, reg, rm);
	a_mov(a, host_of[GPR_RAX], H_RAX);
	flags_set_all(l);
}

/* Every register that is left has a part in it, so R8 holds the address meanwhile. */
static void emit_cmpxchg_pair(struct lowering *l, const struct insn *i)
{
	struct host_enc e = {.map = 1, .op = 0xc7, .w = i->op == OP_CMPXCHG16B};
	struct assembler *a = &l->a;
	struct host_op rm = emit_operand(l, i, true);

	flags_before(l);
	a_store(a, H_R8, op_vcpu(VC(d.tmp)));
	a_lea(a, true, H_R8, rm);
	a_mov(a, H_RAX, host_of[GPR_RAX]);
	a_mov(a, H_RCX, host_of[GPR_RCX]);
	e.lock = i->flags & INSN_LOCK;
	a_enc(a, &e, 1, op_mem(H_R8, 0));
	a_mov(a, host_of[GPR_RAX], H_RAX);
	a_load(a, H_R8, op_vcpu(VC(d.tmp)));
	flags_after(l);
}

struct vex3 { /* BMI: three registers or two and a digit */
	uint8_t map, op, pp;
	bool imm;
};

static bool encode_vex(const struct insn *i, struct vex3 *v)
{
	switch (i->op) {
	case OP_ANDN: *v = (struct vex3){2, 0xf2, 0, false}; return true;
	case OP_BLSR:
	case OP_BLSMSK:
	case OP_BLSI: *v = (struct vex3){2, 0xf3, 0, false}; return true;
	case OP_BZHI: *v = (struct vex3){2, 0xf5, 0, false}; return true;
	case OP_PEXT: *v = (struct vex3){2, 0xf5, 2, false}; return true;
	case OP_PDEP: *v = (struct vex3){2, 0xf5, 3, false}; return true;
	case OP_MULX: *v = (struct vex3){2, 0xf6, 3, false}; return true;
	case OP_BEXTR: *v = (struct vex3){2, 0xf7, 0, false}; return true;
	case OP_SHLX: *v = (struct vex3){2, 0xf7, 1, false}; return true;
	case OP_SARX: *v = (struct vex3){2, 0xf7, 2, false}; return true;
	case OP_SHRX: *v = (struct vex3){2, 0xf7, 3, false}; return true;
	case OP_RORX: *v = (struct vex3){3, 0xf0, 3, true}; return true;
	default: return false;
	}
}

static void emit_vex3(struct lowering *l, const struct insn *i, const struct vex3 *v)
{
	bool blsx = i->form == FORM_V_RM, three = i->form == FORM_R_V_RM || i->form == FORM_R_RM_V;
	bool v_out = blsx || i->op == OP_MULX;
	unsigned reg, vvvv = 0;
	struct host_op rm;

	if (is_mem(i))
		rm = emit_operand(l, i, true);
	else
		rm = pinned(i->rm) ? op_reg(host_of[i->rm]) : op_vcpu(gpr_offset(i->rm));
	flags_before(l);
	if (blsx)
		reg = i->op == OP_BLSR ? 1 : i->op == OP_BLSMSK ? 2 : 3;
	else
		reg = reg_dest(i->reg, H_RAX);
	if (v_out)
		vvvv = reg_dest(i->vvvv, is_mem(i) ? H_RAX : H_RCX);
	else if (three)
		vvvv = reg_read(l, i->vvvv, is_mem(i) ? H_RAX : H_RCX);
	a_vex(&l->a, v->map, v->pp, i->opsize == 8, false, vvvv, v->op, reg, rm);
	if (v->imm)
		a1(&l->a, (uint8_t)i->imm);
	if (v_out)
		reg_done(l, i->vvvv, vvvv);
	if (!blsx)
		reg_done(l, i->reg, reg);
	flags_after(l);
}

static void emit_fence(struct lowering *l, unsigned modrm)
{
	a1(&l->a, 0x0f);
	a1(&l->a, 0xae);
	a1(&l->a, modrm);
}

static void emit_carry(struct lowering *l, unsigned op)
{
	flags_to_host(l);
	a1(&l->a, op);
	flags_after(l);
}

/* --- dispatch --------------------------------------------------------------------------- */

bool is_native_int(const struct insn *i)
{
	struct native n;
	struct vex3 v;

	if (is_mem(i) && i->adsize == 2)
		return false;
	switch (i->op) {
	case OP_NOP:
	case OP_PAUSE:
	case OP_PREFETCH:
	case OP_LFENCE:
	case OP_MFENCE:
	case OP_SFENCE:
	case OP_CLC:
	case OP_STC:
	case OP_CMC:
	case OP_CBW:
	case OP_CWD: return true;
	case OP_LEA: return i->opsize != 2;
	case OP_LEAVE: return i->opsize == 8;
	case OP_PUSH: return i->opsize == 8;
	case OP_POP: return i->opsize == 8 && !is_mem(i);
	case OP_BSWAP: return i->opsize >= 4;
	case OP_MUL:
	case OP_IMUL: return !has_high_byte(i);
	case OP_DIV:
	case OP_IDIV: return i->opsize >= 4;
	case OP_CMPXCHG:
		return !has_high_byte(i) && pinned(i->reg) && i->reg != GPR_RAX &&
		       (is_mem(i) || (pinned(i->rm) && i->rm != GPR_RAX));
	case OP_CMPXCHG8B:
	case OP_CMPXCHG16B: return true;
	default: break;
	}
	if (encode_vex(i, &v))
		return !is_mem(i) || i->op == OP_RORX || i->form == FORM_V_RM || pinned(i->reg) ||
		       pinned(i->vvvv);
	if (!encode(i, &n))
		return false;
	if (!has_high_byte(i))
		return true;
	if ((n.enc.op & 0xfe) == 0xd2 && !n.enc.map)
		return false; /* CL is in RCX */
	if (is_mem(i) || n.reg == REG_DIGIT || i->op == OP_CRC32)
		return n.enc.pfx == 0 && i->op != OP_SETCC;
	return true;
}

bool lower_int(struct lowering *l, const struct insn *i)
{
	struct native n;
	struct vex3 v;

	switch (i->op) {
	case OP_NOP:
	case OP_PREFETCH: return true;
	case OP_PAUSE:
		a1(&l->a, 0xf3);
		a1(&l->a, 0x90);
		return true;
	case OP_LFENCE: emit_fence(l, 0xe8); return true;
	case OP_MFENCE: emit_fence(l, 0xf0); return true;
	case OP_SFENCE: emit_fence(l, 0xf8); return true;
	case OP_CLC: emit_carry(l, 0xf8); return true;
	case OP_STC: emit_carry(l, 0xf9); return true;
	case OP_CMC: emit_carry(l, 0xf5); return true;
	case OP_CBW:
	case OP_CWD: emit_convert(l, i); return true;
	case OP_LEA: emit_lea(l, i); return true;
	case OP_LEAVE: emit_leave(l); return true;
	case OP_PUSH: emit_push(l, i); return true;
	case OP_POP: emit_pop(l, i); return true;
	case OP_BSWAP: emit_bswap(l, i); return true;
	case OP_MUL:
	case OP_IMUL: emit_mul(l, i); return true;
	case OP_DIV:
	case OP_IDIV: emit_div(l, i); return true;
	case OP_CMPXCHG: emit_cmpxchg(l, i); return true;
	case OP_CMPXCHG8B:
	case OP_CMPXCHG16B: emit_cmpxchg_pair(l, i); return true;
	case OP_MOV:
		if (i->form == FORM_RM_I && !is_mem(i) && i->opsize >= 4) {
			emit_mov_imm(l, i);
			return true;
		}
		break;
	default: break;
	}
	if (encode_vex(i, &v)) {
		emit_vex3(l, i, &v);
		return true;
	}
	if (!encode(i, &n))
		return false;
	if (has_high_byte(i))
		emit_high(l, i, &n);
	else
		emit_generic(l, i, &n);
	return true;
}
