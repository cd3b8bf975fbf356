/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seg.c - descriptors, segment registers, and the stacks that transfers build on.
 *
 * A descriptor is read as one 8-byte load with supervisor rights, whatever CPL is.
 * Loading a register is: find and check the descriptor, set its accessed bit (which
 * may fault), then write the register.  Segment-relative accesses that need a look at
 * limit and type end up in seg_lin_slow().  Intel SDM vol. 3A, chapters 3 and 5.
 */
#include "cpu/x86/sys.h"

/* --- descriptors ------------------------------------------------------------- */

/* Linear address of [@sel's offset + @at, 8 bytes), if it is within its table. */
static bool desc_lin(const struct vcpu *c, uint16_t sel, unsigned at, gva_t *lin)
{
	unsigned off = (sel & ~7U) + at;
	uint64_t base = c->s.gdt.base;
	uint32_t limit = c->s.gdt.limit;

	if (sel & SEL_TI) {
		if (!(c->s.ldt.attr & ATTR_P))
			return false;
		base = c->s.ldt.base;
		limit = c->s.ldt.limit;
	}
	*lin = base + off;
	return off + 7 <= limit;
}

bool desc_read(struct vcpu *c, uint16_t sel, struct desc *d)
{
	if (!desc_lin(c, sel, 0, &d->lin))
		return false;
	d->lo = sys_load(c, d->lin, 8);
	d->hi = 0;
	return true;
}

bool desc_read_hi(struct vcpu *c, uint16_t sel, struct desc *d)
{
	gva_t lin;

	if (!desc_lin(c, sel, 8, &lin))
		return false;
	d->hi = sys_load(c, lin, 8);
	return true;
}

void desc_need(struct vcpu *c, uint16_t sel, enum cpu_exception vec, uint32_t ext, struct desc *d)
{
	if (!desc_read(c, sel, d))
		raise_err(c, vec, SEL_ERR(sel) | ext);
}

uint32_t desc_limit(const struct desc *d)
{
	uint32_t limit = (uint32_t)((d->lo & 0xffff) | (d->lo >> 32 & 0xf0000));

	return desc_attr(d) & ATTR_G ? limit << 12 | 0xfff : limit;
}

struct cpu_seg desc_to_seg(const struct vcpu *c, const struct desc *d, uint16_t sel)
{
	struct cpu_seg s = {.sel = sel, .attr = (uint16_t)desc_attr(d), .limit = desc_limit(d)};

	s.base = (d->lo >> 16 & 0xffffff) | (d->lo >> 32 & 0xff000000);
	if (c->long_mode && !(s.attr & ATTR_S))
		s.base |= d->hi << 32;
	return s;
}

/* Type bits live in byte 5. */
static void store_type(struct vcpu *c, const struct desc *d)
{
	sys_store(c, d->lin + 5, 1, d->lo >> 40 & 0xff);
}

void desc_set_accessed(struct vcpu *c, struct desc *d)
{
	if (desc_attr(d) & ATTR_A)
		return;
	d->lo |= (uint64_t)ATTR_A << 40;
	store_type(c, d);
}

void desc_set_busy(struct vcpu *c, struct desc *d, bool busy)
{
	d->lo &= ~((uint64_t)TYPE_BUSY << 40);
	if (busy)
		d->lo |= (uint64_t)TYPE_BUSY << 40;
	store_type(c, d);
}

/* --- registers ------------------------------------------------------------------ */

void seg_set(struct vcpu *c, enum cpu_seg_id seg, const struct cpu_seg *val)
{
	c->hidden[seg].base = 0; /* what mode.c put aside belonged to the old value */
	c->s.seg[seg] = *val;
}

void seg_set_null(struct vcpu *c, enum cpu_seg_id seg, uint16_t sel)
{
	const struct cpu_seg null = {.sel = sel};

	seg_set(c, seg, &null);
}

/* Real mode changes selector and base alone: "big real mode" keeps its limits. */
void seg_set_real(struct vcpu *c, enum cpu_seg_id seg, uint16_t sel)
{
	struct cpu_seg s = c->s.seg[seg];

	s.sel = sel;
	s.base = (uint64_t)sel << 4;
	if (!(s.attr & ATTR_P)) /* null before */
		s.attr |= ATTR_P | ATTR_S | ATTR_W | ATTR_A;
	seg_set(c, seg, &s);
}

void seg_set_vm86(struct vcpu *c, enum cpu_seg_id seg, uint16_t sel)
{
	const struct cpu_seg s = {.sel = sel,
				  .base = (uint64_t)sel << 4,
				  .limit = 0xffff,
				  .attr = ATTR_P | ATTR_DPL | ATTR_S | ATTR_W | ATTR_A};

	seg_set(c, seg, &s);
}

void seg_set_flat(struct vcpu *c, uint16_t cs, uint16_t ss, unsigned dpl, bool l)
{
	unsigned common = ATTR_G | ATTR_P | dpl << ATTR_DPL_SHIFT | ATTR_S | ATTR_W | ATTR_A;
	const struct cpu_seg code = {.sel = (uint16_t)((cs & ~SEL_RPL) | dpl),
				     .limit = 0xffffffff,
				     .attr = (uint16_t)(common | ATTR_X | (l ? ATTR_L : ATTR_DB))};
	const struct cpu_seg stack = {.sel = (uint16_t)((ss & ~SEL_RPL) | dpl),
				      .limit = 0xffffffff,
				      .attr = (uint16_t)(common | ATTR_DB)};

	seg_set(c, SEG_CS, &code);
	seg_set(c, SEG_SS, &stack);
	vcpu_update_mode(c);
}

void seg_drop_inner(struct vcpu *c, unsigned cpl)
{
	static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};

	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		const struct cpu_seg *s = &c->s.seg[data[i]];
		bool conforming = (s->attr & (ATTR_X | ATTR_C)) == (ATTR_X | ATTR_C);

		/* null ones keep their bases: FS.base and GS.base live on in 64-bit mode */
		if (s->attr & ATTR_P && !conforming &&
		    (unsigned)(s->attr & ATTR_DPL) >> ATTR_DPL_SHIFT < cpl)
			seg_set_null(c, data[i], 0);
	}
}

void ss_check(struct vcpu *c, uint16_t sel, unsigned cpl, enum cpu_exception vec, uint32_t ext,
	      struct desc *d)
{
	if (sel_is_null(sel))
		raise_err(c, vec, ext);
	desc_need(c, sel, vec, ext, d);
	if ((sel & SEL_RPL) != cpl || !desc_is_writable(d) || desc_dpl(d) != cpl)
		raise_err(c, vec, SEL_ERR(sel) | ext);
	if (!desc_present(d))
		raise_err(c, EXC_SS, SEL_ERR(sel) | ext);
	desc_set_accessed(c, d);
}

/* DS, ES, FS, GS: data or readable code that both CPL and RPL may use. */
static void data_check(struct vcpu *c, uint16_t sel, struct desc *d)
{
	unsigned attr;

	desc_need(c, sel, EXC_GP, 0, d);
	attr = desc_attr(d);
	if (!(attr & ATTR_S) || (attr & (ATTR_X | ATTR_W)) == ATTR_X)
		raise_gp(c, SEL_ERR(sel));
	if ((attr & (ATTR_X | ATTR_C)) != (ATTR_X | ATTR_C) &&
	    ((sel & SEL_RPL) > desc_dpl(d) || c->cpl > desc_dpl(d)))
		raise_gp(c, SEL_ERR(sel));
	if (!desc_present(d))
		raise_err(c, EXC_NP, SEL_ERR(sel));
	desc_set_accessed(c, d);
}

static void load_null(struct vcpu *c, enum cpu_seg_id seg, uint16_t sel)
{
	if (seg == SEG_SS && (c->mode != MODE_64 || c->cpl == 3 || (sel & SEL_RPL) != c->cpl))
		raise_gp(c, 0);
	seg_set_null(c, seg, sel);
}

static void load_protected(struct vcpu *c, enum cpu_seg_id seg, uint16_t sel)
{
	struct cpu_seg s;
	struct desc d;

	if (sel_is_null(sel)) {
		load_null(c, seg, sel);
		return;
	}
	if (seg == SEG_SS)
		ss_check(c, sel, c->cpl, EXC_GP, 0, &d);
	else
		data_check(c, sel, &d);
	s = desc_to_seg(c, &d, sel);
	seg_set(c, seg, &s);
}

void seg_load(struct vcpu *c, enum cpu_seg_id seg, uint16_t sel)
{
	if (seg == SEG_CS)
		raise_ud(c);
	if (in_vm86(c))
		seg_set_vm86(c, seg, sel);
	else if (!(c->s.cr0 & CR0_PE))
		seg_set_real(c, seg, sel);
	else
		load_protected(c, seg, sel);
	vcpu_update_mode(c);
}

/* --- accesses through segments ----------------------------------------------------- */

static bool type_allows(const struct vcpu *c, uint16_t attr, unsigned access)
{
	if (!in_protected(c)) /* real mode has limits only */
		return true;
	if (!(attr & ATTR_P))
		return false;
	if (attr & ATTR_X)
		return access != ACCESS_WRITE && attr & ATTR_W;
	return access != ACCESS_WRITE || attr & ATTR_W;
}

static bool limit_allows(const struct cpu_seg *s, uint64_t off, unsigned size)
{
	uint64_t last = off + size - 1;

	if ((s->attr & (ATTR_X | ATTR_C)) == ATTR_C) /* data that grows down */
		return off > s->limit && last <= (s->attr & ATTR_DB ? 0xffffffff : 0xffff);
	return last <= s->limit || s->limit == 0xffffffff;
}

gva_t seg_lin_slow(struct vcpu *c, unsigned seg, uint64_t ea, unsigned size, unsigned access)
{
	const struct cpu_seg *s = &c->s.seg[seg];

	if (!type_allows(c, s->attr, access) || !limit_allows(s, ea, size))
		raise_err(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
	return (ea + s->base) & c->addr_mask;
}

/* --- stacks --------------------------------------------------------------------------- */

struct stack stack_new(const struct cpu_seg *seg, uint64_t sp, unsigned cpl, uint32_t err)
{
	return (struct stack){.seg = *seg,
			      .sp = sp,
			      .mask = seg->attr & ATTR_DB ? 0xffffffff : 0xffff,
			      .system = cpl != 3,
			      .err = err};
}

struct stack stack_wide(uint64_t sp, unsigned cpl, uint32_t err)
{
	return (struct stack){
		.sp = sp, .mask = ~0ULL, .wide = true, .system = cpl != 3, .err = err};
}

struct stack stack_current(struct vcpu *c)
{
	struct stack k = stack_wide(c->s.gpr[GPR_RSP], c->cpl, 0);

	k.system = false; /* the current view is the right one */
	if (c->mode != MODE_64) {
		k.wide = false;
		k.seg = c->s.seg[SEG_SS];
		k.mask = stack_mask(c);
	}
	return k;
}

static gva_t stack_lin(struct vcpu *c, const struct stack *k, uint64_t sp, unsigned size)
{
	c->last_seg = SEG_SS;
	if (k->wide) {
		if (!is_canonical(sp) || !is_canonical(sp + size - 1))
			raise_err(c, EXC_SS, k->err);
		return sp;
	}
	if (!limit_allows(&k->seg, sp, size))
		raise_err(c, EXC_SS, k->err);
	return (uint32_t)(k->seg.base + sp);
}

void stack_push(struct vcpu *c, struct stack *k, unsigned size, uint64_t v)
{
	uint64_t sp = (k->sp - size) & k->mask;
	gva_t lin = stack_lin(c, k, sp, size);

	if (k->system)
		sys_store(c, lin, size, v);
	else
		lin_store(c, lin, size, v);
	k->sp = (k->sp & ~k->mask) | sp;
}

uint64_t stack_pop(struct vcpu *c, struct stack *k, unsigned size)
{
	uint64_t sp = k->sp & k->mask;
	gva_t lin = stack_lin(c, k, sp, size);
	uint64_t v = k->system ? sys_load(c, lin, size) : lin_load(c, lin, size);

	k->sp = (k->sp & ~k->mask) | ((sp + size) & k->mask);
	return v;
}

void stack_commit(struct vcpu *c, const struct stack *k)
{
	c->s.gpr[GPR_RSP] = (c->s.gpr[GPR_RSP] & ~k->mask) | (k->sp & k->mask);
}

void tss_stack(struct vcpu *c, unsigned cpl, uint32_t ext, uint16_t *ss, uint32_t *sp)
{
	const struct cpu_seg *tr = &c->s.tr;
	bool wide = tr->attr & TYPE_32;
	unsigned off = wide ? cpl * 8 + 4 : cpl * 4 + 2;

	if (off + (wide ? 5 : 3) > tr->limit)
		raise_err(c, EXC_TS, SEL_ERR(tr->sel) | ext);
	*sp = (uint32_t)sys_load(c, tr->base + off, wide ? 4 : 2);
	*ss = (uint16_t)sys_load(c, tr->base + off + (wide ? 4 : 2), 2);
}

uint64_t tss_rsp(struct vcpu *c, unsigned offset, uint32_t ext)
{
	const struct cpu_seg *tr = &c->s.tr;
	uint64_t rsp;

	if (offset + 7 > tr->limit)
		raise_err(c, EXC_TS, SEL_ERR(tr->sel) | ext);
	rsp = sys_load(c, tr->base + offset, 8);
	if (!is_canonical(rsp))
		raise_err(c, EXC_SS, ext);
	return rsp;
}

void rip_check(struct vcpu *c, const struct cpu_seg *cs, uint64_t rip, uint32_t err)
{
	if (c->long_mode && cs->attr & ATTR_L ? !is_canonical(rip) : rip > cs->limit)
		raise_gp(c, err);
}
