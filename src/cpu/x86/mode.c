/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mode.c - what the fast paths cache of the control registers, and breakpoints.
 *
 * Everything here is derived from cpu_state.  64-bit code ignores the bases of ES,
 * CS, SS and DS, which the fast path adds all the same: they are put aside while it
 * runs, and come back when compatibility code finds the same selectors again.
 */
#include "cpu/x86/access.h"
#include "cpu/x86/mmu.h"

/* In force while alignment is checked: nothing ever hits, and nobody writes to it. */
static const struct tlb_entry tlb_never[TLB_SIZE] = {
	[0 ... TLB_SIZE - 1] = {TLB_INVALID(0), TLB_INVALID(0)},
};

/* --- privilege and mode ----------------------------------------------------- */

/* SS.DPL is the CPL (also right after CR0.PE was set); a null SS leaves it to CS. */
static uint8_t current_cpl(const struct cpu_state *s)
{
	const struct cpu_seg *ss = &s->seg[SEG_SS];

	if (!(s->cr0 & CR0_PE))
		return 0;
	if (s->rflags & FL_VM)
		return 3;
	if (ss->attr & ATTR_P)
		return (ss->attr & ATTR_DPL) >> ATTR_DPL_SHIFT;
	return s->seg[SEG_CS].sel & 3;
}

void vcpu_update_view(struct vcpu *c)
{
	const struct cpu_state *s = &c->s;

	if (c->cpl == 3)
		c->view = TLB_USER;
	else if (s->cr4 & CR4_SMAP && s->cr0 & CR0_PG && !(s->rflags & FL_AC))
		c->view = TLB_SMAP;
	else
		c->view = TLB_SUPER;
	c->align_check = c->cpl == 3 && s->cr0 & CR0_AM && s->rflags & FL_AC;
	c->tlb = c->align_check || c->journal ? (struct tlb_entry *)tlb_never : c->tlb_all[c->view];
}

/* Writable data up to 4 GiB that does not grow down: nothing to check. */
static bool seg_is_flat(const struct cpu_seg *seg)
{
	return (seg->attr & (ATTR_P | ATTR_S | ATTR_X | ATTR_C | ATTR_W)) ==
		       (ATTR_P | ATTR_S | ATTR_W) &&
	       seg->limit == 0xffffffff;
}

static bool base_ignored(unsigned seg)
{
	return seg != SEG_FS && seg != SEG_GS;
}

static void hide_bases(struct vcpu *c)
{
	for (unsigned i = 0; i < SEG_COUNT; i++) {
		struct cpu_seg *seg = &c->s.seg[i];

		c->flat[i] = true;
		if (!base_ignored(i) || !seg->base)
			continue;
		c->hidden[i].base = seg->base;
		c->hidden[i].limit = seg->limit;
		c->hidden[i].sel = seg->sel;
		seg->base = 0;
	}
}

void vcpu_restore_bases(const struct vcpu *c, struct cpu_state *s)
{
	for (unsigned i = 0; i < SEG_COUNT; i++)
		if (c->hidden[i].base && !s->seg[i].base && s->seg[i].sel == c->hidden[i].sel &&
		    s->seg[i].limit == c->hidden[i].limit)
			s->seg[i].base = c->hidden[i].base;
}

static void show_bases(struct vcpu *c)
{
	vcpu_restore_bases(c, &c->s);
	for (unsigned i = 0; i < SEG_COUNT; i++) {
		c->hidden[i].base = 0;
		c->flat[i] = seg_is_flat(&c->s.seg[i]);
	}
}

void vcpu_update_mode(struct vcpu *c)
{
	const struct cpu_state *s = &c->s;
	uint16_t cs = s->seg[SEG_CS].attr;
	uint64_t key = (s->cr0 & (CR0_PE | CR0_WP | CR0_PG)) |
		       (s->cr4 & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP))
			       << 32 |
		       (s->efer & (EFER_LMA | EFER_NXE)) << 8;

	c->long_mode = s->efer & EFER_LMA;
	c->cpl = current_cpl(s);
	if (c->long_mode && cs & ATTR_L) {
		c->mode = MODE_64;
		c->addr_mask = ~0ULL;
		hide_bases(c);
	} else {
		c->mode = cs & ATTR_DB ? MODE_32 : MODE_16;
		c->addr_mask = 0xffffffff;
		show_bases(c);
	}
	if (key != c->paging_key) {
		c->paging_key = key;
		tlb_flush_all(c);
	}
	c->end_block = true;
	vcpu_update_view(c);
}

/* --- breakpoints (SDM vol. 3B, 18.2) ------------------------------------------ */

enum { DR_EXEC = 0, DR_WRITE = 1, DR_IO = 2, DR_RW = 3 };

static bool dr_enabled(const struct vcpu *c, unsigned n, unsigned *kind)
{
	*kind = c->s.dr7 >> (16 + 4 * n) & 3;
	return c->s.dr7 >> (2 * n) & 3;
}

void vcpu_debug_changed(struct vcpu *c)
{
	bool data = false, exec = false;
	unsigned kind;

	for (unsigned n = 0; n < 4; n++) {
		if (!dr_enabled(c, n, &kind))
			continue;
		exec |= kind == DR_EXEC;
		data |= kind == DR_WRITE || kind == DR_RW;
	}
	if (data || c->watch_data)
		tlb_flush_all(c);
	c->watch_data = data;
	c->watch_exec = exec;
	c->end_block = true;
	if (exec)
		__atomic_fetch_or(&c->requests, REQ_EVENT, __ATOMIC_RELAXED);
}

uint32_t debug_data_hit(const struct vcpu *c, gva_t lin, unsigned size, unsigned access)
{
	static const uint8_t len[] = {1, 2, 8, 4};
	uint32_t hit = 0;
	unsigned kind;

	for (unsigned n = 0; n < 4; n++) {
		unsigned bytes = len[c->s.dr7 >> (18 + 4 * n) & 3];
		gva_t at = c->s.dr[n] & ~(gva_t)(bytes - 1);

		if (!dr_enabled(c, n, &kind) || kind == DR_EXEC || kind == DR_IO ||
		    (kind == DR_WRITE && access != ACCESS_WRITE))
			continue;
		if (at - lin < size || lin - at < bytes)
			hit |= 1U << n;
	}
	return hit;
}

uint32_t debug_exec_hit(const struct vcpu *c, gva_t lin)
{
	uint32_t hit = 0;
	unsigned kind;

	for (unsigned n = 0; n < 4; n++)
		if (dr_enabled(c, n, &kind) && kind == DR_EXEC && c->s.dr[n] == lin)
			hit |= 1U << n;
	return hit;
}

void debug_queue(struct cpu_state *s, uint32_t bits)
{
	s->dr6 = (s->dr6 & ~0xfULL) | bits;
	s->exc_pending = 1;
	s->exc_vector = EXC_DB;
	s->exc_has_error = 0;
	s->exc_error = 0;
}
