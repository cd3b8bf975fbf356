/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.c - page walks: from a linear address to a page and its rights.
 *
 * A walk goes down the tables first, reading each entry once and remembering where
 * it stood; then it checks rights; only a walk that succeeds sets accessed and
 * dirty bits, with a compare-and-swap against the value it used, so that another
 * vCPU's change of an entry between the read and the update is never lost: the walk
 * starts over.  Intel SDM vol. 3A, chapter 4; tables 4-2, 4-4 to 4-6, 4-11, 4-15 to 4-20.
 */
#include "cpu/x86/mmu.h"

enum {
	PTE_P = 1 << 0,
	PTE_W = 1 << 1,
	PTE_U = 1 << 2,
	PTE_A = 1 << 5,
	PTE_D = 1 << 6,
	PTE_PS = 1 << 7,
	PTE_G = 1 << 8,
};
#define PTE_NX	 BIT(63)
#define PTE_ADDR 0x000ffffffffff000ULL

enum { WALK_LEVELS = 4, WALK_RETRIES = 64 };

struct step {	   /* one entry used by a walk */
	void *ptr; /* NULL: not in RAM */
	gpa_t gpa;
	uint64_t val;
};

struct tables { /* what a walk found */
	struct step step[WALK_LEVELS];
	unsigned n, entry_size;
	uint64_t leaf;
	gpa_t gpa; /* of the 4 KiB page */
	uint8_t shift;
	bool user, write, nx, global;
	bool absent, reserved;
};

static uint64_t bits_from(unsigned lo, unsigned hi) /* lo..hi inclusive; empty when lo > hi */
{
	return lo > hi ? 0 : (hi == 63 ? ~0ULL : BIT(hi + 1) - 1) & ~(BIT(lo) - 1);
}

/* Tables outside RAM read as all ones, like an empty bus. */
static uint64_t read_entry(struct vcpu *c, struct tables *t, gpa_t gpa)
{
	struct step *s = &t->step[t->n++];

	s->gpa = gpa;
	s->ptr = mem_ptr(c->mem, gpa, t->entry_size);
	if (!s->ptr)
		s->val = t->entry_size == 8 ? ~0ULL : 0xffffffffULL;
	else if (t->entry_size == 8)
		s->val = __atomic_load_n((uint64_t *)s->ptr, __ATOMIC_RELAXED);
	else
		s->val = __atomic_load_n((uint32_t *)s->ptr, __ATOMIC_RELAXED);
	return s->val;
}

static void set_leaf(struct tables *t, uint64_t entry, gpa_t base, unsigned shift, gva_t lin)
{
	t->leaf = entry;
	t->shift = (uint8_t)shift;
	t->gpa = base | (lin & (BIT(shift) - 1) & ~0xfffULL);
}

static void descend_legacy(struct vcpu *c, gva_t lin, struct tables *t)
{
	unsigned phys = MIN(c->model->phys_bits, 40);
	uint64_t e = read_entry(c, t, (c->s.cr3 & 0xfffff000) + (lin >> 22 & 1023) * 4);

	t->user = e & PTE_U;
	t->write = e & PTE_W;
	if (!(e & PTE_P)) {
		t->absent = true;
		return;
	}
	if (e & PTE_PS && c->s.cr4 & CR4_PSE) {
		uint64_t high = phys > 32 ? e >> 13 & (BIT(phys - 32) - 1) : 0;

		t->reserved = e & bits_from(phys > 32 ? phys - 19 : 13, 21);
		t->global = e & PTE_G;
		set_leaf(t, e, (e & 0xffc00000) | high << 32, 22, lin);
		return;
	}
	e = read_entry(c, t, (e & 0xfffff000) + (lin >> 12 & 1023) * 4);
	t->user &= !!(e & PTE_U);
	t->write &= !!(e & PTE_W);
	t->global = e & PTE_G;
	t->absent = !(e & PTE_P);
	set_leaf(t, e, e & 0xfffff000, 12, lin);
}

/* Reserved bits of a present 8-byte entry of @level (1: page table); @leaf: it maps a page. */
static uint64_t reserved_bits(const struct vcpu *c, unsigned level, bool leaf)
{
	uint64_t r = bits_from(c->model->phys_bits, c->long_mode ? 51 : 62);

	if (!(c->s.efer & EFER_NXE))
		r |= PTE_NX;
	if (level == 4 || (level == 3 && !cpu_has(c->model, FEAT_PDPE1GB)))
		r |= PTE_PS;
	if (leaf && level > 1)
		r |= bits_from(13, 12 + 9 * (level - 1) - 1);
	return r;
}

static void descend_wide(struct vcpu *c, gva_t lin, struct tables *t)
{
	unsigned level = c->long_mode ? 4 : 2;
	uint64_t table = c->s.cr3 & PTE_ADDR;

	t->user = t->write = true;
	if (!c->long_mode) {
		uint64_t pdpte = c->pdptr[lin >> 30 & 3];

		t->absent = !(pdpte & PTE_P);
		table = pdpte & PTE_ADDR;
		if (t->absent)
			return;
	}
	for (;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint64_t e = read_entry(c, t, table + (lin >> shift & 511) * 8);
		bool leaf = level == 1 || (e & PTE_PS && level <= 3);

		t->absent = !(e & PTE_P);
		if (t->absent)
			return;
		t->reserved = e & reserved_bits(c, level, leaf);
		if (t->reserved)
			return;
		t->user &= !!(e & PTE_U);
		t->write &= !!(e & PTE_W);
		t->nx |= !!(e & PTE_NX);
		table = e & PTE_ADDR;
		if (!leaf)
			continue;
		t->global = e & PTE_G;
		set_leaf(t, e, table & ~(BIT(shift) - 1), shift, lin);
		return;
	}
}

/* SDM vol. 3A, 4.6.1. */
static uint8_t rights_of(const struct vcpu *c, enum tlb_view view, const struct tables *t)
{
	uint8_t r = t->nx ? 0 : RIGHT_X;

	if (view == TLB_USER)
		return t->user ? r | RIGHT_R | (t->write ? RIGHT_W : 0) : 0;
	if (t->user && c->s.cr4 & CR4_SMEP)
		r = 0;
	if (t->user && view == TLB_SMAP)
		return r;
	return r | RIGHT_R | (t->write || !(c->s.cr0 & CR0_WP) ? RIGHT_W : 0);
}

static uint32_t fault_code(const struct vcpu *c, unsigned access, enum tlb_view view,
			   const struct tables *t)
{
	bool id = c->s.cr4 & CR4_SMEP || (c->s.cr4 & CR4_PAE && c->s.efer & EFER_NXE);

	return (t->absent ? 0 : PF_P) | (t->reserved ? PF_RSVD : 0) |
	       (access == ACCESS_WRITE ? PF_W : 0) | (view == TLB_USER ? PF_U : 0) |
	       (access == ACCESS_EXEC && id ? PF_ID : 0);
}

static bool swap_entry(const struct step *s, unsigned size, uint64_t val)
{
	uint64_t old = s->val;
	uint32_t old32 = (uint32_t)old;

	if (size == 8)
		return __atomic_compare_exchange_n((uint64_t *)s->ptr, &old, val, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint32_t *)s->ptr, &old32, (uint32_t)val, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* Set accessed bits, and the leaf's dirty bit for a write.  False: an entry changed. */
static bool mark_used(struct vcpu *c, struct tables *t, bool write)
{
	for (unsigned i = 0; i < t->n; i++) {
		const struct step *s = &t->step[i];
		uint64_t set = s->val | PTE_A | (write && i == t->n - 1 ? PTE_D : 0);

		if (set == s->val || !s->ptr)
			continue;
		if (!swap_entry(s, t->entry_size, set))
			return false;
		mem_mark_dirty(c->mem, s->gpa, t->entry_size);
	}
	if (write)
		t->leaf |= PTE_D;
	return true;
}

static int walk_once(struct vcpu *c, gva_t lin, unsigned access, enum tlb_view view, struct walk *w,
		     bool *raced)
{
	static const uint8_t need[] = {RIGHT_R, RIGHT_W, RIGHT_X};
	bool wide = c->s.cr4 & CR4_PAE;
	struct tables t = {.entry_size = wide ? 8 : 4};

	if (wide)
		descend_wide(c, lin, &t);
	else
		descend_legacy(c, lin, &t);
	w->rights = t.absent || t.reserved ? 0 : rights_of(c, view, &t);
	if (!(w->rights & need[access])) {
		w->error = fault_code(c, access, view, &t);
		return -1;
	}
	*raced = !mark_used(c, &t, access == ACCESS_WRITE);
	w->gpa = t.gpa;
	w->shift = t.shift;
	w->global = t.global && c->s.cr4 & CR4_PGE;
	w->dirty = t.leaf & PTE_D;
	return 0;
}

int mmu_walk(struct vcpu *c, gva_t lin, unsigned access, enum tlb_view view, struct walk *w)
{
	bool raced = false;

	if (!(c->s.cr0 & CR0_PG)) {
		*w = (struct walk){.gpa = lin & 0xfffff000,
				   .shift = 12,
				   .dirty = true,
				   .rights = RIGHT_R | RIGHT_W | RIGHT_X};
		return 0;
	}
	for (unsigned i = 0; i < WALK_RETRIES; i++) {
		int ret = walk_once(c, lin, access, view, w, &raced);

		if (ret || !raced)
			return ret;
	}
	vcpu_unwind(c, UNWIND_RESTART); /* let the run loop see a kick */
}

int mmu_load_pdptrs(struct vcpu *c)
{
	uint64_t reserved = bits_from(c->model->phys_bits, 63) | 0x1e6;
	uint64_t pdpte[4];

	if (!(c->s.cr0 & CR0_PG) || !(c->s.cr4 & CR4_PAE) || c->s.efer & EFER_LMA)
		return 0;
	for (unsigned i = 0; i < 4; i++) {
		const uint64_t *p = mem_ptr(c->mem, (c->s.cr3 & 0xffffffe0) + i * 8, 8);

		pdpte[i] = p ? __atomic_load_n(p, __ATOMIC_RELAXED) : ~0ULL;
		if (pdpte[i] & PTE_P && pdpte[i] & reserved)
			return -1;
	}
	for (unsigned i = 0; i < 4; i++)
		c->pdptr[i] = pdpte[i];
	return 0;
}
