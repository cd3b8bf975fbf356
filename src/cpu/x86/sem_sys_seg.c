/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sem_sys_seg.c - instructions on segment and descriptor table registers.
 *
 * Loads go through seg_load(); what only inspects descriptors (LAR, LSL, VERR, VERW)
 * answers with ZF and never faults for a bad selector.
 */
#include "cpu/x86/sys.h"

/* The 16-bit operand of MOV Sreg, LLDT and the like. */
static uint16_t get_rm16(struct vcpu *c, const struct insn *i)
{
	if (!(i->flags & INSN_MEM))
		return (uint16_t)c->s.gpr[i->rm];
	return (uint16_t)lin_load(c, insn_lin(c, i, 2, ACCESS_READ), 2);
}

/* Store a selector: 16 bits to memory, zero-extended to opsize into a register. */
static void put_rm16(struct vcpu *c, const struct insn *i, uint16_t v)
{
	if (i->flags & INSN_MEM)
		lin_store(c, insn_lin(c, i, 2, ACCESS_WRITE), 2, v);
	else
		gpr_set(c, i->rm, i->opsize, v);
}

/* --- MOV, PUSH, POP, LDS ... ------------------------------------------------------- */

void op_mov_r_s(struct vcpu *c, const struct insn *i)
{
	put_rm16(c, i, c->s.seg[i->reg].sel);
}

/* No interrupt and no debug trap before the next instruction, which loads RSP. */
static void ss_loaded(struct vcpu *c)
{
	c->s.int_shadow = 1;
	c->end_block = true;
}

void op_mov_s_r(struct vcpu *c, const struct insn *i)
{
	seg_load(c, i->reg, get_rm16(c, i));
	if (i->reg == SEG_SS)
		ss_loaded(c);
}

void op_push_s(struct vcpu *c, const struct insn *i)
{
	push_val(c, i->opsize, c->s.seg[i->reg].sel);
}

void op_pop_s(struct vcpu *c, const struct insn *i)
{
	uint64_t mask = stack_mask(c), sp = c->s.gpr[GPR_RSP];
	uint16_t sel = (uint16_t)peek_val(c, i->opsize, 0);

	seg_load(c, i->reg, sel);
	c->s.gpr[GPR_RSP] = (sp & ~mask) | ((sp + i->opsize) & mask);
	if (i->reg == SEG_SS)
		ss_loaded(c);
}

void op_load_far_ptr(struct vcpu *c, const struct insn *i)
{
	enum cpu_seg_id seg = i->op == OP_LDS	? SEG_DS
			      : i->op == OP_LES ? SEG_ES
			      : i->op == OP_LFS ? SEG_FS
			      : i->op == OP_LGS ? SEG_GS
						: SEG_SS;
	uint64_t ea = insn_ea(c, i);
	uint64_t off = lin_load(c, seg_lin(c, i->seg, ea, i->opsize, ACCESS_READ), i->opsize);
	uint16_t sel;

	ea += i->opsize;
	if (i->adsize != 8)
		ea &= BIT(i->adsize * 8) - 1;
	sel = (uint16_t)lin_load(c, seg_lin(c, i->seg, ea, 2, ACCESS_READ), 2);
	seg_load(c, seg, sel);
	gpr_set(c, i->reg, i->opsize, off);
}

/* --- LAR, LSL, VERR, VERW, ARPL -------------------------------------------------------- */

static void need_protected(struct vcpu *c)
{
	if (!in_protected(c))
		raise_ud(c);
}

static void set_zf(struct vcpu *c, bool on)
{
	c->s.rflags = (c->s.rflags & ~(uint64_t)FL_ZF) | (on ? FL_ZF : 0);
}

/* Is there a descriptor that this code may see with @sel?  @types: system types allowed. */
static bool inspect(struct vcpu *c, uint16_t sel, unsigned types, struct desc *d)
{
	if (sel_is_null(sel) || !desc_read(c, sel, d))
		return false;
	if (!(desc_attr(d) & ATTR_S) && !desc_is_sys(d, types))
		return false;
	if (desc_is_code(d) && desc_conforming(d))
		return true;
	return desc_dpl(d) >= c->cpl && desc_dpl(d) >= (sel & SEL_RPL);
}

/* All but bits 16 to 19 is the manuals'; they are the limit's, and visible on AMD. */
enum { LAR_MASK = 0xffff00 };

void op_lar(struct vcpu *c, const struct insn *i)
{
	unsigned types =
		c->long_mode
			? BIT(TYPE_LDT) | BIT(TYPE_TSS32) | BIT(TYPE_TSS32_BUSY) | BIT(TYPE_CALL32)
			: BIT(TYPE_TSS16) | BIT(TYPE_LDT) | BIT(TYPE_TSS16_BUSY) |
				  BIT(TYPE_CALL16) | BIT(TYPE_TASK_GATE) | BIT(TYPE_TSS32) |
				  BIT(TYPE_TSS32_BUSY) | BIT(TYPE_CALL32);
	struct desc d;
	uint16_t sel;
	bool ok;

	need_protected(c);
	sel = get_rm16(c, i);
	ok = inspect(c, sel, types, &d);
	set_zf(c, ok);
	if (ok)
		gpr_set(c, i->reg, i->opsize, d.lo >> 32 & LAR_MASK);
}

void op_lsl(struct vcpu *c, const struct insn *i)
{
	unsigned types = BIT(TYPE_LDT) | BIT(TYPE_TSS32) | BIT(TYPE_TSS32_BUSY);
	struct desc d;
	uint16_t sel;
	bool ok;

	need_protected(c);
	if (!c->long_mode)
		types |= BIT(TYPE_TSS16) | BIT(TYPE_TSS16_BUSY);
	sel = get_rm16(c, i);
	ok = inspect(c, sel, types, &d);
	set_zf(c, ok);
	if (ok)
		gpr_set(c, i->reg, i->opsize, desc_limit(&d));
}

void op_verr(struct vcpu *c, const struct insn *i)
{
	struct desc d;

	need_protected(c);
	set_zf(c,
	       inspect(c, get_rm16(c, i), 0, &d) && (desc_attr(&d) & (ATTR_X | ATTR_W)) != ATTR_X);
}

void op_verw(struct vcpu *c, const struct insn *i)
{
	struct desc d;

	need_protected(c);
	set_zf(c, inspect(c, get_rm16(c, i), 0, &d) && desc_is_writable(&d));
}

/* Memory is written only where it changes (measured on Zen 4). */
void op_arpl(struct vcpu *c, const struct insn *i)
{
	bool mem = i->flags & INSN_MEM, raise;
	uint16_t rpl = c->s.gpr[i->reg] & SEL_RPL, val;

	need_protected(c);
	val = mem ? (uint16_t)lin_load(c, insn_lin(c, i, 2, ACCESS_READ), 2)
		  : (uint16_t)c->s.gpr[i->rm];
	raise = (val & SEL_RPL) < rpl;
	val = (uint16_t)((val & ~SEL_RPL) | rpl);
	if (raise && mem)
		lin_store(c, insn_lin(c, i, 2, ACCESS_WRITE), 2, val);
	else if (raise)
		gpr_set(c, i->rm, 2, val);
	set_zf(c, raise);
}

/* --- LDTR, TR ------------------------------------------------------------------------------- */

/* A system descriptor for LLDT or LTR: in the GDT, of @types, present. */
static void need_sys(struct vcpu *c, uint16_t sel, unsigned types, struct desc *d)
{
	if (sel & SEL_TI)
		raise_gp(c, SEL_ERR(sel));
	desc_need(c, sel, EXC_GP, 0, d);
	if (!desc_is_sys(d, types) || (c->long_mode && !desc_read_hi(c, sel, d)))
		raise_gp(c, SEL_ERR(sel));
	if (!desc_present(d))
		raise_err(c, EXC_NP, SEL_ERR(sel));
	if (c->long_mode && !is_canonical(desc_to_seg(c, d, sel).base))
		raise_gp(c, SEL_ERR(sel));
}

void op_lldt(struct vcpu *c, const struct insn *i)
{
	struct desc d;
	uint16_t sel;

	need_protected(c);
	need_cpl0(c);
	sel = get_rm16(c, i);
	if (sel_is_null(sel)) {
		c->s.ldt = (struct cpu_seg){.sel = sel};
		return;
	}
	need_sys(c, sel, BIT(TYPE_LDT), &d);
	c->s.ldt = desc_to_seg(c, &d, sel);
}

void op_ltr(struct vcpu *c, const struct insn *i)
{
	unsigned types = BIT(TYPE_TSS32) | (c->long_mode ? 0 : BIT(TYPE_TSS16));
	struct desc d;
	uint16_t sel;

	need_protected(c);
	need_cpl0(c);
	sel = get_rm16(c, i);
	if (sel_is_null(sel))
		raise_gp(c, 0);
	need_sys(c, sel, types, &d);
	desc_set_busy(c, &d, true);
	c->s.tr = desc_to_seg(c, &d, sel);
}

/* CR4.UMIP keeps programs from learning where the kernel's tables are. */
static void umip_check(struct vcpu *c)
{
	if (c->s.cr4 & CR4_UMIP && c->cpl)
		raise_gp(c, 0);
}

void op_sldt(struct vcpu *c, const struct insn *i)
{
	need_protected(c);
	umip_check(c);
	put_rm16(c, i, c->s.ldt.sel);
}

void op_str(struct vcpu *c, const struct insn *i)
{
	need_protected(c);
	umip_check(c);
	put_rm16(c, i, c->s.tr.sel);
}

/* --- GDTR, IDTR --------------------------------------------------------------------------------
 */

struct table_operand {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static struct cpu_dtr load_table(struct vcpu *c, const struct insn *i)
{
	unsigned bytes = i->opsize == 8 ? 10 : 6;
	struct table_operand op = {0};

	need_cpl0(c);
	lin_load_slow(c, insn_lin(c, i, bytes, ACCESS_READ), &op, bytes);
	if (i->opsize == 8 && !is_canonical(op.base))
		raise_gp(c, 0);
	if (i->opsize == 2)
		op.base &= 0xffffff;
	return (struct cpu_dtr){.base = op.base, .limit = op.limit};
}

static void store_table(struct vcpu *c, const struct insn *i, const struct cpu_dtr *t)
{
	const struct table_operand op = {.limit = t->limit, .base = t->base};
	unsigned bytes = i->opsize == 8 ? 10 : 6;

	umip_check(c);
	lin_store_slow(c, insn_lin(c, i, bytes, ACCESS_WRITE), &op, bytes);
}

void op_lgdt(struct vcpu *c, const struct insn *i)
{
	c->s.gdt = load_table(c, i);
}

void op_lidt(struct vcpu *c, const struct insn *i)
{
	c->s.idt = load_table(c, i);
}

void op_sgdt(struct vcpu *c, const struct insn *i)
{
	store_table(c, i, &c->s.gdt);
}

void op_sidt(struct vcpu *c, const struct insn *i)
{
	store_table(c, i, &c->s.idt);
}

/* --- FS and GS bases (64-bit mode only)
 * ------------------------------------------------------------ */

static void need_fsgsbase(struct vcpu *c)
{
	if (!(c->s.cr4 & CR4_FSGSBASE))
		raise_ud(c);
}

static void write_base(struct vcpu *c, const struct insn *i, enum cpu_seg_id seg)
{
	uint64_t base = gpr_get(c, i->rm, i->opsize);

	need_fsgsbase(c);
	if (!is_canonical(base))
		raise_gp(c, 0);
	c->s.seg[seg].base = base;
}

void op_rdfsbase(struct vcpu *c, const struct insn *i)
{
	need_fsgsbase(c);
	gpr_set(c, i->rm, i->opsize, c->s.seg[SEG_FS].base);
}

void op_rdgsbase(struct vcpu *c, const struct insn *i)
{
	need_fsgsbase(c);
	gpr_set(c, i->rm, i->opsize, c->s.seg[SEG_GS].base);
}

void op_wrfsbase(struct vcpu *c, const struct insn *i)
{
	write_base(c, i, SEG_FS);
}

void op_wrgsbase(struct vcpu *c, const struct insn *i)
{
	write_base(c, i, SEG_GS);
}

void op_swapgs(struct vcpu *c, const struct insn *i)
{
	uint64_t base = c->s.seg[SEG_GS].base;

	need_cpl0(c);
	c->s.seg[SEG_GS].base = c->s.kernel_gs_base;
	c->s.kernel_gs_base = base;
}
