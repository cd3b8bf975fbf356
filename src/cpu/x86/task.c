/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task.c - hardware task switches, 16- and 32-bit TSS (SDM vol. 3A, 7.2 and 7.3).
 *
 * Up to the commit point faults belong to the old task and leave it as it was.  From
 * then on (registers and TR are the new task's) they belong to the new one: insn_rip
 * is moved to its first instruction, so that raise_*() reports there.  Segments are
 * first loaded as bare selectors, then checked one by one.
 */
#include "cpu/x86/sys.h"

enum { TSS16_MIN = 0x2b, TSS32_MIN = 0x67, DR6_BT = 1 << 15 };

struct layout { /* where things are in a TSS */
	uint8_t eip, eflags, gpr, seg, nseg, ldt, size;
};

static const struct layout layout16 = {
	.eip = 0x0e, .eflags = 0x10, .gpr = 0x12, .seg = 0x22, .nseg = 4, .ldt = 0x2a, .size = 2};
static const struct layout layout32 = {
	.eip = 0x20, .eflags = 0x24, .gpr = 0x28, .seg = 0x48, .nseg = 6, .ldt = 0x60, .size = 4};
enum { TSS32_CR3 = 0x1c, TSS32_TRAP = 0x64 };

struct image { /* a TSS, read or to be written */
	uint64_t gpr[8], eip, eflags, cr3;
	uint16_t seg[SEG_COUNT], ldt;
	bool trap;
};

static const struct layout *layout_of(unsigned type)
{
	return type & TYPE_32 ? &layout32 : &layout16;
}

static void save_image(struct vcpu *c, uint64_t eip, uint64_t eflags)
{
	const struct layout *l = layout_of(c->s.tr.attr);
	uint64_t base = c->s.tr.base;

	sys_store(c, base + l->eip, l->size, eip);
	sys_store(c, base + l->eflags, l->size, eflags);
	for (unsigned i = 0; i < 8; i++)
		sys_store(c, base + l->gpr + i * l->size, l->size, c->s.gpr[i]);
	for (unsigned i = 0; i < l->nseg; i++)
		sys_store(c, base + l->seg + i * l->size, 2, c->s.seg[i].sel);
}

static void read_image(struct vcpu *c, uint64_t base, unsigned type, struct image *m)
{
	const struct layout *l = layout_of(type);

	memset(m, 0, sizeof(*m));
	m->eip = sys_load(c, base + l->eip, l->size);
	m->eflags = sys_load(c, base + l->eflags, l->size);
	for (unsigned i = 0; i < 8; i++)
		m->gpr[i] = sys_load(c, base + l->gpr + i * l->size, l->size);
	for (unsigned i = 0; i < l->nseg; i++)
		m->seg[i] = (uint16_t)sys_load(c, base + l->seg + i * l->size, 2);
	m->ldt = (uint16_t)sys_load(c, base + l->ldt, 2);
	if (l == &layout32) {
		m->cr3 = sys_load(c, base + TSS32_CR3, 4);
		m->trap = sys_load(c, base + TSS32_TRAP, 2) & 1;
	}
}

/* Mark the old task's descriptor free, when this switch ends it. */
static void clear_old_busy(struct vcpu *c)
{
	struct desc d;

	if (desc_read(c, c->s.tr.sel, &d))
		desc_set_busy(c, &d, false);
}

static NORETURN void bad_tss(struct vcpu *c, uint16_t sel)
{
	raise_err(c, EXC_TS, SEL_ERR(sel));
}

/* --- in the new task ---------------------------------------------------------------- */

static void load_ldt(struct vcpu *c, uint16_t sel)
{
	struct desc d;

	c->s.ldt = (struct cpu_seg){.sel = sel};
	if (sel_is_null(sel))
		return;
	if (sel & SEL_TI)
		bad_tss(c, sel);
	desc_need(c, sel, EXC_TS, 0, &d);
	if (!desc_is_sys(&d, BIT(TYPE_LDT)) || !desc_present(&d))
		bad_tss(c, sel);
	c->s.ldt = desc_to_seg(c, &d, sel);
}

static void load_cs(struct vcpu *c, uint16_t sel)
{
	unsigned rpl = sel & SEL_RPL;
	struct cpu_seg s;
	struct desc d;

	if (sel_is_null(sel))
		bad_tss(c, sel);
	desc_need(c, sel, EXC_TS, 0, &d);
	if (!desc_is_code(&d) || (desc_conforming(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl))
		bad_tss(c, sel);
	if (!desc_present(&d))
		raise_err(c, EXC_NP, SEL_ERR(sel));
	desc_set_accessed(c, &d);
	s = desc_to_seg(c, &d, sel);
	seg_set(c, SEG_CS, &s);
}

static void load_ss(struct vcpu *c, uint16_t sel, unsigned cpl)
{
	struct cpu_seg s;
	struct desc d;

	ss_check(c, sel, cpl, EXC_TS, 0, &d);
	s = desc_to_seg(c, &d, sel);
	seg_set(c, SEG_SS, &s);
}

static void load_data(struct vcpu *c, enum cpu_seg_id seg, uint16_t sel, unsigned cpl)
{
	struct cpu_seg s;
	struct desc d;
	unsigned attr;

	if (sel_is_null(sel))
		return;
	desc_need(c, sel, EXC_TS, 0, &d);
	attr = desc_attr(&d);
	if (!(attr & ATTR_S) || (attr & (ATTR_X | ATTR_W)) == ATTR_X)
		bad_tss(c, sel);
	if ((attr & (ATTR_X | ATTR_C)) != (ATTR_X | ATTR_C) &&
	    ((sel & SEL_RPL) > desc_dpl(&d) || cpl > desc_dpl(&d)))
		bad_tss(c, sel);
	if (!desc_present(&d))
		raise_err(c, EXC_NP, SEL_ERR(sel));
	desc_set_accessed(c, &d);
	s = desc_to_seg(c, &d, sel);
	seg_set(c, seg, &s);
}

/* The new task's segments.  A fault finds those not yet checked null. */
static void load_segments(struct vcpu *c, const struct image *m)
{
	static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	unsigned cpl = m->seg[SEG_CS] & SEL_RPL;

	load_ldt(c, m->ldt);
	if (in_vm86(c)) {
		for (unsigned i = 0; i < SEG_COUNT; i++)
			seg_set_vm86(c, i, m->seg[i]);
		vcpu_update_mode(c);
		return;
	}
	load_ss(c, m->seg[SEG_SS], cpl);
	load_cs(c, m->seg[SEG_CS]);
	vcpu_update_mode(c);
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		load_data(c, data[i], m->seg[data[i]], cpl);
	vcpu_update_mode(c);
	rip_check(c, &c->s.seg[SEG_CS], c->s.rip, 0);
}

/* --- the switch ------------------------------------------------------------------------- */

static void load_cr3(struct vcpu *c, const struct image *m, unsigned type)
{
	uint64_t old = c->s.cr3;

	if (!(c->s.cr0 & CR0_PG) || !(type & TYPE_32))
		return;
	c->s.cr3 = m->cr3;
	if (mmu_load_pdptrs(c)) {
		c->s.cr3 = old;
		raise_gp(c, 0);
	}
	tlb_flush_nonglobal(c);
}

static void commit(struct vcpu *c, const struct image *m, const struct cpu_seg *tr)
{
	struct cpu_seg cs = c->s.seg[SEG_CS];

	for (unsigned i = 0; i < 8; i++)
		c->s.gpr[i] =
			tr->attr & TYPE_32 ? m->gpr[i] : (c->s.gpr[i] & ~0xffffULL) | m->gpr[i];
	c->s.rip = c->insn_rip = m->eip;
	c->s.tr = *tr;
	c->s.cr0 |= CR0_TS;
	c->s.dr7 &= ~(uint64_t)0x155; /* the local breakpoints */
	vcpu_debug_changed(c);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		seg_set_null(c, i, m->seg[i]);
	cs.sel = m->seg[SEG_CS]; /* the new privilege; the rest when its descriptor is read */
	seg_set(c, SEG_CS, &cs);
	c->s.rflags = (m->eflags & 0x277fd5) | FL_RES1;
	c->s.int_shadow = 0;
	vcpu_update_mode(c);
}

void task_switch(struct vcpu *c, uint16_t sel, struct desc *d, enum task_why why, uint64_t next_rip,
		 uint32_t ext)
{
	unsigned type = desc_type(d);
	struct cpu_seg tr = desc_to_seg(c, d, sel);
	bool nested = why == TASK_CALL || why == TASK_INT;
	uint64_t flags = c->s.rflags;
	struct image m;

	if (tr.limit < (type & TYPE_32 ? TSS32_MIN : TSS16_MIN) ||
	    c->s.tr.limit < (c->s.tr.attr & TYPE_32 ? TSS32_MIN : TSS16_MIN))
		raise_err(c, EXC_TS, SEL_ERR(sel) | ext);
	read_image(c, tr.base, type, &m);
	if (nested)
		sys_store(c, tr.base, 2, c->s.tr.sel);
	save_image(c, next_rip, why == TASK_IRET ? flags & ~(uint64_t)FL_NT : flags);
	load_cr3(c, &m, type);
	if (!nested)
		clear_old_busy(c);
	if (why != TASK_IRET)
		desc_set_busy(c, d, true);
	tr.attr |= TYPE_BUSY;
	if (nested)
		m.eflags |= FL_NT;
	commit(c, &m, &tr);
	load_segments(c, &m);
	if (m.trap) {
		c->db_pending |= DR6_BT;
		c->end_block = true;
	}
}
