/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lower_mem.c - guest addresses and the checks of accesses.
 *
 * An address check is the TLB's compare, inline: the slot is found by the access's first
 * byte, and its distance from the page in the tag must leave room for the rest.  Two
 * scratch registers are enough because the address is computed again from guest
 * registers where it was overwritten.
 */
#include "cpu/dbt/lower.h"

/* --- addresses ------------------------------------------------------------------------ */

struct ea ea_reg(unsigned reg, int32_t disp)
{
	return (struct ea){.base = (uint8_t)reg, .index = INSN_NOREG, .seg = SEG_DS, .disp = disp};
}

struct ea ea_of(const struct lowering *l, const struct insn *i)
{
	struct ea ea = {.base = i->base,
			.index = i->index,
			.scale = i->scale,
			.seg = i->seg,
			.ad32 = i->adsize == 4,
			.disp = i->disp};

	if (i->flags & INSN_RIPREL) {
		ea.moves = true;
		ea.disp += (int64_t)(l->t->rip + i->len);
		ea.base = INSN_NOREG;
	}
	if (ea.base == INSN_NOREG && ea.index == INSN_NOREG) {
		ea.constant = true;
		if (ea.ad32)
			ea.disp = (uint32_t)ea.disp;
	}
	return ea;
}

static bool has_segment(const struct ea *ea)
{
	return ea->seg == SEG_FS || ea->seg == SEG_GS;
}

/* Base and index as one host operand without a segment; false: it has to be computed. */
static bool ea_direct(const struct ea *ea, int32_t extra, struct host_op *op)
{
	int64_t disp = ea->disp + extra;

	if (ea->constant || disp != (int32_t)disp ||
	    (ea->base != INSN_NOREG && !pinned(ea->base)) ||
	    (ea->index != INSN_NOREG && !pinned(ea->index)))
		return false;
	*op = op_mem(ea->base == INSN_NOREG ? H_NONE : host_of[ea->base], (int32_t)disp);
	if (ea->index != INSN_NOREG) {
		op->index = host_of[ea->index];
		op->scale = ea->scale;
	}
	return true;
}

/* base + index << scale + disp, some of it in memory. */
static void emit_sum(struct lowering *l, unsigned dst, const struct ea *ea, int32_t disp, bool w)
{
	struct assembler *a = &l->a;

	if (ea->index != INSN_NOREG) {
		unsigned index = reg_read(l, ea->index, dst);
		struct host_op op = op_mem_index(H_NONE, index, ea->scale, disp);

		if (ea->base != INSN_NOREG && pinned(ea->base))
			op.base = host_of[ea->base];
		a_lea(a, w, dst, op);
		if (ea->base != INSN_NOREG && !pinned(ea->base))
			a_op(a, w, 0x03, dst, op_vcpu(gpr_offset(ea->base)));
	} else {
		unsigned base = reg_read(l, ea->base, dst);

		a_lea(a, w, dst, op_mem(base, disp));
	}
}

void emit_address(struct lowering *l, unsigned dst, const struct ea *ea, int32_t extra)
{
	struct assembler *a = &l->a;
	bool seg = has_segment(ea);
	/* a segment's base is added to what is cut, the rest of the access to the sum */
	int32_t inner = seg && ea->ad32 ? 0 : extra;
	struct host_op op;

	if (ea->moves) {
		if (ea->ad32)
			reloc_never(l);
		emit_mov_rip(l, dst, (uint64_t)ea->disp + (uint64_t)(int64_t)inner);
	} else if (ea->constant) {
		a_mov_imm(a, dst, (uint64_t)ea->disp + (uint64_t)(int64_t)inner);
	} else if (ea_direct(ea, inner, &op)) {
		a_lea(a, !ea->ad32, dst, op);
	} else {
		emit_sum(l, dst, ea, (int32_t)(ea->disp + inner), !ea->ad32);
	}
	if (!seg)
		return;
	a_op(a, true, 0x03, dst, op_vcpu(VC(s.seg) + ea->seg * sizeof(struct cpu_seg)));
	if (inner != extra)
		a_alu_imm(a, true, ALU_ADD, op_reg(dst), extra);
}

static size_t field_offset(const struct lowering *l, size_t field)
{
	return VC(tlb_all) + l->view * sizeof(((struct vcpu *)0)->tlb_all[0]) + field;
}

static size_t tag_offset(const struct lowering *l, unsigned access)
{
	return field_offset(l, access == ACCESS_WRITE ? offsetof(struct tlb_entry, write_tag)
						      : offsetof(struct tlb_entry, read_tag));
}

static void cold_access(struct lowering *l, const struct ea *ea, unsigned size, unsigned access,
			unsigned align, unsigned cc, const uint8_t *retry)
{
	struct cold_access *c = &l->access[l->naccess];
	struct dbt_site *s = site_new(l, &c->site);

	s->access = (uint8_t)access;
	s->size = (uint8_t)size;
	s->align = (uint8_t)align;
	s->retry = (uint32_t)(retry - l->d->rw);
	c->ea = *ea;
	c->fold = NULL;
	c->jump = a_jcc(&l->a, cc);
	if (l->naccess == COLD_MAX - 1)
		l->failed = true;
	else
		l->naccess++;
}

/* The slot is known: the compare alone. */
static struct host_op access_constant(struct lowering *l, const struct ea *ea, unsigned size,
				      unsigned access)
{
	struct assembler *a = &l->a;
	uint64_t lin = (uint64_t)ea->disp, page = lin & ~0xfffULL;
	size_t slot = (lin >> 12 & (TLB_SIZE - 1)) * sizeof(struct tlb_entry);
	struct host_op tag = op_vcpu(tag_offset(l, access) + slot);
	const uint8_t *retry = a->p;

	if (ea->moves && ea->ad32)
		reloc_never(l);
	if ((int64_t)page == (int32_t)page) {
		a_op(a, true, 0x81, ALU_CMP, tag);
		a4(a, (uint32_t)page);
	} else {
		if (ea->moves)
			emit_mov_rip(l, H_RAX, page);
		else
			a_mov_imm(a, H_RAX, page);
		a_op(a, true, 0x3b, H_RAX, tag);
		if (ea->moves)
			reloc_note(l, RELOC_TLB);
	}
	cold_access(l, ea, size, access, 1, CC_NE, retry);
	a_load(a, H_RCX, op_vcpu(field_offset(l, offsetof(struct tlb_entry, addend)) + slot));
	if (ea->moves)
		reloc_note(l, RELOC_TLB);
	if ((int64_t)lin == (int32_t)lin)
		return op_mem(H_RCX, (int32_t)lin);
	a_op(a, true, 0x01, H_RAX, op_reg(H_RCX));
	return op_mem(H_RCX, (int32_t)(lin & 0xfff));
}

static bool constant_in_page(const struct ea *ea, unsigned size)
{
	return ea->constant && !has_segment(ea) && ((uint64_t)ea->disp & 0xfff) + size <= 0x1000;
}

enum { TLB_ENTRY_SHIFT = 5 };
_Static_assert(sizeof(struct tlb_entry) == 1 << TLB_ENTRY_SHIFT, "slots are found by a shift");

static void emit_slot(struct lowering *l)
{
	struct assembler *a = &l->a;

	if (l->d->host_bmi2) { /* rorx rcx, rax */
		a_vex(a, 3, 3, true, false, 0, 0xf0, H_RCX, op_reg(H_RAX));
		a1(a, 12 - TLB_ENTRY_SHIFT);
	} else {
		a_mov(a, H_RCX, H_RAX);
		a_shift_imm(a, true, 5, H_RCX, 12 - TLB_ENTRY_SHIFT);
	}
	a_alu_imm(a, false, ALU_AND, op_reg(H_RCX), (TLB_SIZE - 1) << TLB_ENTRY_SHIFT);
}

static struct host_op slot_field(const struct lowering *l, size_t field)
{
	return op_vcpu_index(field_offset(l, field), H_RCX, 0);
}

/*
 * Is [ea, ea + size) in one page that the TLB knows, and aligned?  RCX: the slot; RAX: the offset
 * in the page, unless @align asks for more than 1.
 */
static void emit_check(struct lowering *l, const struct ea *ea, const struct ea *fault,
		       unsigned fault_size, unsigned size, unsigned access, unsigned align)
{
	struct assembler *a = &l->a;
	struct host_op tag = op_vcpu_index(tag_offset(l, access), H_RCX, 0);
	const uint8_t *retry = a->p;

	emit_address(l, H_RAX, ea, 0);
	emit_slot(l);
	if (align == 1) {
		a_op(a, true, 0x2b, H_RAX, tag);
		a_alu_imm(a, true, ALU_CMP, op_reg(H_RAX), (int32_t)(MEM_PAGE_SIZE - size));
		cold_access(l, fault, fault_size, access, 1, CC_A, retry);
	} else {
		a_alu_imm(a, true, ALU_AND, op_reg(H_RAX), (int32_t)(-4096 | (int32_t)(align - 1)));
		a_op(a, true, 0x3b, H_RAX, tag);
		cold_access(l, fault, fault_size, access, align, CC_NE, retry);
	}
}

struct host_op emit_access_stack(struct lowering *l, int32_t disp, unsigned bytes, int32_t first,
				 unsigned access)
{
	struct ea all = ea_reg(GPR_RSP, disp), one = ea_reg(GPR_RSP, first);

	flags_clobber(l);
	emit_check(l, &all, &one, 8, bytes, access, 1);
	a_load(&l->a, H_RCX, slot_field(l, offsetof(struct tlb_entry, addend)));
	return op_mem_index(H_RCX, host_of[GPR_RSP], 0, 0);
}

/* Base register and displacement alone: what is added to them for the host's address. */
static bool ea_base_only(const struct ea *ea, struct host_op *op)
{
	if (has_segment(ea) || ea->ad32 || !ea_direct(ea, 0, op))
		return false;
	if (op->index != H_NONE && (op->base != H_NONE || op->scale))
		return false;
	if (op->index == H_NONE)
		op->index = op->base;
	op->base = H_RCX;
	return true;
}

struct host_op emit_access(struct lowering *l, const struct ea *ea, unsigned size, unsigned access,
			   unsigned align, bool keep_rax)
{
	struct assembler *a = &l->a;
	struct host_op op;

	flags_clobber(l);
	if (constant_in_page(ea, size) && !((uint64_t)ea->disp & (align - 1)))
		return access_constant(l, ea, size, access);
	emit_check(l, ea, ea, size, size, access, align);
	if (ea_base_only(ea, &op)) {
		a_load(a, H_RCX, slot_field(l, offsetof(struct tlb_entry, addend)));
		return op;
	}
	if (align != 1) {
		a_load(a, H_RCX, slot_field(l, offsetof(struct tlb_entry, addend)));
		emit_address(l, H_RAX, ea, 0);
		if (!keep_rax)
			return op_mem_index(H_RCX, H_RAX, 0, 0);
		a_op(a, true, 0x01, H_RAX, op_reg(H_RCX));
		return op_mem(H_RCX, 0);
	}
	if (!keep_rax) {
		a_op(a, true, 0x03, H_RAX, slot_field(l, offsetof(struct tlb_entry, host)));
		return op_mem(H_RAX, 0);
	}
	a_load(a, H_RCX, slot_field(l, offsetof(struct tlb_entry, host)));
	a_op(a, true, 0x01, H_RAX, op_reg(H_RCX));
	return op_mem(H_RCX, 0);
}

const struct fold *shared_group(const struct lowering *l, const struct t_insn *t)
{
	const struct fold *f = t->fold ? &l->fold[t->fold - 1] : NULL;

	return f && f->members > 1 ? f : NULL;
}

static struct host_op fold_slot(unsigned fold)
{
	return op_vcpu(VC(d.fold) + (fold - 1) * sizeof(uint64_t));
}

/*
 * RAX is the group's offset in the page, as far from alignment as its first access.  A miss
 * before it must not fill the TLB, either.
 */
static void emit_group_alignment(struct lowering *l, struct dbt_site *miss)
{
	struct cold_jump *j;

	miss->align = l->t->i.msize;
	a1(&l->a, 0xa8); /* test al, imm8 */
	a1(&l->a, l->t->i.msize - 1);
	j = cold_new(l, COLD_STEP, a_jcc(&l->a, CC_NE));
	site_new(l, &j->site)->access = 0xff;
}

/* The check just emitted is that of @f, and its miss goes the group's way. */
static void note_group(struct lowering *l, const struct fold *f)
{
	if (!l->naccess)
		return;
	l->access[l->naccess - 1].fold = f;
	l->access[l->naccess - 1].rip = l->t->rip;
}

/* The first of a group: check all of it, and keep the host's address of its start. */
static struct host_op emit_group(struct lowering *l, const struct ea *ea, unsigned size,
				 const struct fold *f)
{
	struct assembler *a = &l->a;
	struct ea all = *ea;
	struct host_op op, start;

	all.disp += f->lo - l->t->fold_off;
	flags_clobber(l);
	if (ea->constant) {
		op = access_constant(l, ea, size, f->write ? ACCESS_WRITE : ACCESS_READ);
		if (f->early) /* else there is nothing to cross */
			note_group(l, f);
		start = op;
		start.disp += (int32_t)(f->lo - l->t->fold_off);
		a_lea(a, true, H_RAX, start);
		a_store(a, H_RAX, fold_slot(l->t->fold));
		return op;
	}
	emit_check(l, &all, ea, size, (unsigned)(f->hi - f->lo),
		   f->write ? ACCESS_WRITE : ACCESS_READ, 1);
	note_group(l, f);
	if (l->t->i.flags & INSN_ALIGN)
		emit_group_alignment(l, &l->d->sites[l->d->nsites - 1]);
	if (ea_base_only(ea, &op) && ea_base_only(&all, &start)) {
		a_load(a, H_RCX, slot_field(l, offsetof(struct tlb_entry, addend)));
		a_lea(a, true, H_RAX, start);
		a_store(a, H_RAX, fold_slot(l->t->fold));
		return op;
	}
	a_load(a, H_RCX, slot_field(l, offsetof(struct tlb_entry, host)));
	a_op(a, true, 0x01, H_RAX, op_reg(H_RCX));
	a_store(a, H_RCX, fold_slot(l->t->fold));
	return op_mem(H_RCX, (int32_t)(l->t->fold_off - f->lo));
}

/* The access of the current instruction, whose check may be shared with others. */
static struct host_op emit_shared(struct lowering *l, const struct ea *ea, unsigned size,
				  unsigned access, unsigned align, bool keep_rax)
{
	const struct fold *f = shared_group(l, l->t);

	if (!f)
		return emit_access(l, ea, size, access, align, keep_rax);
	if (l->t == f->first)
		return emit_group(l, ea, size, f);
	a_load(&l->a, H_RCX, fold_slot(l->t->fold));
	return op_mem(H_RCX, (int32_t)(l->t->fold_off - f->lo));
}

struct host_op emit_operand(struct lowering *l, const struct insn *i, bool keep_rax)
{
	struct ea ea = ea_of(l, i);

	return emit_shared(l, &ea, i->msize ? i->msize : i->opsize,
			   i->flags & INSN_MEM_W ? ACCESS_WRITE : ACCESS_READ,
			   i->flags & INSN_ALIGN ? i->msize : 1, keep_rax);
}

struct host_op emit_stack(struct lowering *l, bool push)
{
	struct ea top = ea_reg(GPR_RSP, push ? -8 : 0);
	unsigned access = push ? ACCESS_WRITE : ACCESS_READ;

	if (l->t->i.flags & INSN_MEM) /* that operand is what may be in a group */
		return emit_access(l, &top, 8, access, 1, false);
	return emit_shared(l, &top, 8, access, 1, false);
}
