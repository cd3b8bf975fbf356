/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk_test.c - page walks against a second walker.
 *
 * The second walker is written mode by mode from the tables of SDM vol. 3A, chapter
 * 4, and works on a shadow copy of the same random tables; results, fault codes and
 * the bits that both leave behind in the tables must agree.
 */
#include "cpu/x86/mmu_fixture.h"

/* --- the second walker ------------------------------------------------------- */

struct ref {
	bool ok;
	uint32_t error;
	uint64_t gpa;
	unsigned n;
	struct {
		uint64_t gpa;
		unsigned size;
	} used[4];
	bool user, write, nx, global;
};

static uint64_t ref_read(const uint8_t *ram, uint64_t gpa, unsigned size)
{
	uint64_t v = 0;

	if (gpa + size > RAM_BYTES)
		return size == 8 ? ~0ULL : 0xffffffffULL;
	memcpy(&v, ram + gpa, size);
	return v;
}

static void ref_use(struct ref *r, uint64_t gpa, unsigned size)
{
	r->used[r->n].gpa = gpa;
	r->used[r->n++].size = size;
}

enum ref_end { REF_PAGE, REF_ABSENT, REF_RESERVED };

static enum ref_end ref_legacy(const struct vcpu *c, const uint8_t *ram, uint32_t lin,
			       struct ref *r)
{
	uint64_t at = (c->s.cr3 & 0xfffff000) | (lin >> 22) << 2;
	uint32_t pde = (uint32_t)ref_read(ram, at, 4), pte;

	ref_use(r, at, 4);
	if (!(pde & 1))
		return REF_ABSENT;
	if ((pde & 0x80) && (c->s.cr4 & CR4_PSE)) {
		unsigned m = c->model->phys_bits > 40 ? 40 : c->model->phys_bits;
		uint64_t hi = 0;

		for (unsigned bit = 13; bit <= 21; bit++) {
			bool is_addr = bit <= 20 && bit + 19 < m;

			if (pde >> bit & 1 && !is_addr)
				return REF_RESERVED;
			if (pde >> bit & 1)
				hi |= 1ULL << (bit + 19);
		}
		r->gpa = hi | (pde & 0xffc00000) | (lin & 0x3ff000);
		r->user = pde & 4;
		r->write = pde & 2;
		r->global = pde & 0x100;
		return REF_PAGE;
	}
	at = (pde & 0xfffff000) | (lin >> 12 & 0x3ff) << 2;
	pte = (uint32_t)ref_read(ram, at, 4);
	ref_use(r, at, 4);
	if (!(pte & 1))
		return REF_ABSENT;
	r->gpa = pte & 0xfffff000;
	r->user = pde & pte & 4;
	r->write = pde & pte & 2;
	r->global = pte & 0x100;
	return REF_PAGE;
}

static bool ref_bad_bits(const struct vcpu *c, uint64_t e, unsigned lo, unsigned hi)
{
	for (unsigned bit = lo; bit <= hi; bit++)
		if (e >> bit & 1)
			return true;
	return e >> 63 && !(c->s.efer & EFER_NXE);
}

/* PML4E and PDPTE (SDM tables 4-15 to 4-17), then as with PAE. */
static enum ref_end ref_wide(const struct vcpu *c, const uint8_t *ram, uint64_t lin, struct ref *r)
{
	bool lm = c->s.efer & EFER_LMA;
	unsigned top = lm ? 51 : 62, phys = c->model->phys_bits;
	uint64_t addr = 0xffffffffff000ULL, e, at, table;

	r->user = r->write = true;
	if (lm) {
		at = (c->s.cr3 & addr) + 8 * (lin >> 39 & 511);
		e = ref_read(ram, at, 8);
		ref_use(r, at, 8);
		if (!(e & 1))
			return REF_ABSENT;
		if (ref_bad_bits(c, e, phys, top) || e & 0x80)
			return REF_RESERVED;
		r->user &= e >> 2 & 1;
		r->write &= e >> 1 & 1;
		r->nx |= e >> 63;
		at = (e & addr) + 8 * (lin >> 30 & 511);
		e = ref_read(ram, at, 8);
		ref_use(r, at, 8);
		if (!(e & 1))
			return REF_ABSENT;
		if (ref_bad_bits(c, e, phys, top))
			return REF_RESERVED;
		if (e & 0x80 && (!cpu_has(c->model, FEAT_PDPE1GB) || ref_bad_bits(c, e, 13, 29)))
			return REF_RESERVED;
		r->user &= e >> 2 & 1;
		r->write &= e >> 1 & 1;
		r->nx |= e >> 63;
		if (e & 0x80) {
			r->gpa = (e & 0xfffffc0000000ULL) | (lin & 0x3ffff000);
			r->global = e & 0x100;
			return REF_PAGE;
		}
		table = e & addr;
	} else {
		e = c->pdptr[lin >> 30 & 3];
		if (!(e & 1))
			return REF_ABSENT;
		table = e & addr;
	}
	at = table + 8 * (lin >> 21 & 511);
	e = ref_read(ram, at, 8);
	ref_use(r, at, 8);
	if (!(e & 1))
		return REF_ABSENT;
	if (ref_bad_bits(c, e, phys, top) || (e & 0x80 && ref_bad_bits(c, e, 13, 20)))
		return REF_RESERVED;
	r->user &= e >> 2 & 1;
	r->write &= e >> 1 & 1;
	r->nx |= e >> 63;
	r->global = e & 0x100;
	if (e & 0x80) {
		r->gpa = (e & 0xfffffffe00000ULL) | (lin & 0x1ff000);
		return REF_PAGE;
	}
	at = (e & addr) + 8 * (lin >> 12 & 511);
	e = ref_read(ram, at, 8);
	ref_use(r, at, 8);
	if (!(e & 1))
		return REF_ABSENT;
	if (ref_bad_bits(c, e, phys, top))
		return REF_RESERVED;
	r->user &= e >> 2 & 1;
	r->write &= e >> 1 & 1;
	r->nx |= e >> 63;
	r->global = e & 0x100;
	r->gpa = e & addr;
	return REF_PAGE;
}

static bool ref_allowed(const struct vcpu *c, unsigned access, enum tlb_view view,
			const struct ref *r)
{
	if (view == TLB_USER) {
		if (!r->user)
			return false;
		return access == ACCESS_READ || (access == ACCESS_WRITE ? r->write : !r->nx);
	}
	if (access == ACCESS_EXEC)
		return !r->nx && !(r->user && c->s.cr4 & CR4_SMEP);
	if (r->user && view == TLB_SMAP)
		return false;
	return access == ACCESS_READ || r->write || !(c->s.cr0 & CR0_WP);
}

static void ref_walk(const struct vcpu *c, uint8_t *ram, uint64_t lin, unsigned access,
		     enum tlb_view view, struct ref *r)
{
	enum ref_end end;

	memset(r, 0, sizeof(*r));
	if (c->s.cr4 & CR4_PAE)
		end = ref_wide(c, ram, lin, r);
	else
		end = ref_legacy(c, ram, (uint32_t)lin, r);
	r->ok = end == REF_PAGE && ref_allowed(c, access, view, r);
	if (!r->ok) {
		if (end != REF_ABSENT)
			r->error |= 1;
		if (access == ACCESS_WRITE)
			r->error |= 2;
		if (view == TLB_USER)
			r->error |= 4;
		if (end == REF_RESERVED)
			r->error |= 8;
		if (access == ACCESS_EXEC &&
		    (c->s.cr4 & CR4_SMEP || (c->s.cr4 & CR4_PAE && c->s.efer & EFER_NXE)))
			r->error |= 16;
		return;
	}
	for (unsigned i = 0; i < r->n; i++) {
		if (r->used[i].gpa + r->used[i].size > RAM_BYTES)
			continue;
		ram[r->used[i].gpa] |= 0x20;
		if (i == r->n - 1 && access == ACCESS_WRITE)
			ram[r->used[i].gpa] |= 0x40;
	}
}

/* --- random walks ---------------------------------------------------------------- */

/* An entry whose reserved bits are mostly clear, so that walks get somewhere. */
static uint64_t random_entry(struct fix *f, bool wide)
{
	uint64_t r = rnd(f), e = (rnd(f) % RAM_PAGES) << 12 | (r & 0x17e) | (r >> 20 & 15 ? 1 : 0);

	if (!(r >> 24 & 3))
		e |= 0x80;
	if (e & 0x80 && r >> 26 & 3) /* a large page: mostly well-formed */
		e &= wide ? ~0x1fe000ULL : ~0x3fe000ULL;
	if (!(r >> 28 & 31))
		e |= rnd(f) & (wide ? 0x7ffffffffff00000ULL : 0xfff00000ULL);
	if (wide && !(r >> 33 & 3))
		e |= BIT(63);
	return e;
}

static void random_tables(struct fix *f, bool wide)
{
	unsigned size = wide ? 8 : 4;

	for (unsigned at = 0; at < RAM_BYTES; at += size) {
		uint64_t e = random_entry(f, wide);

		memcpy(f->ram + at, &e, size);
	}
}

enum mode_kind { LEGACY, PAE, LONG };

static void random_controls(struct fix *f, enum mode_kind kind)
{
	struct cpu_state *s = &f->c->s;
	static const uint8_t phys[] = {32, 36, 39, 40, 46, 52};
	uint64_t r = rnd(f);

	f->model.phys_bits = phys[r % ARRAY_SIZE(phys)];
	f->model.features = r >> 10 & 1 ? ~0ULL : ~BIT(FEAT_PDPE1GB);
	s->cr0 = CR0_PE | CR0_PG | (r >> 11 & 1 ? CR0_WP : 0);
	s->cr4 = (r >> 12 & 1 ? CR4_PSE : 0) | (r >> 13 & 1 ? CR4_SMEP : 0) | CR4_SMAP |
		 (r >> 14 & 1 ? CR4_PGE : 0) | (kind == LEGACY ? 0 : CR4_PAE);
	s->efer = (r >> 15 & 3 ? EFER_NXE : 0) | (kind == LONG ? EFER_LME | EFER_LMA : 0);
	s->cr3 = (rnd(f) % RAM_PAGES) << 12;
	f->c->long_mode = kind == LONG;
	for (unsigned i = 0; i < 4; i++) /* as if loaded */
		f->c->pdptr[i] = (rnd(f) % RAM_PAGES) << 12 | (rnd(f) & 7 ? 1 : 0);
}

static void walks_agree(struct fix *f, enum mode_kind kind)
{
	uint8_t *shadow = malloc(RAM_BYTES);
	unsigned ok = 0;

	assert_non_null(shadow);
	print_message("seed %#llx\n", (unsigned long long)f->seed);
	for (unsigned i = 0; i < 60000; i++) {
		enum tlb_view view = rnd(f) % TLB_VIEWS;
		unsigned access = rnd(f) % 3;
		uint64_t lin = rnd(f);
		struct walk w;
		struct ref r;
		int ret;

		if (i % 2000 == 0) {
			random_tables(f, kind != LEGACY);
			memcpy(shadow, f->ram, RAM_BYTES);
		}
		if (i % 50 == 0)
			random_controls(f, kind);
		lin = kind == LONG ? (uint64_t)((int64_t)(lin << 16) >> 16) : (uint32_t)lin;
		ref_walk(f->c, shadow, lin, access, view, &r);
		ret = mmu_walk(f->c, lin, access, view, &w);
		assert_int_equal(!ret, r.ok);
		if (!r.ok) {
			assert_int_equal(w.error, r.error);
			continue;
		}
		ok++;
		assert_int_equal(w.gpa, r.gpa);
		assert_int_equal(w.global, r.global && f->c->s.cr4 & CR4_PGE);
		for (unsigned a = ACCESS_READ; a <= ACCESS_EXEC; a++)
			assert_int_equal(!!(w.rights & 1 << a), ref_allowed(f->c, a, view, &r));
		if (i % 500 == 0)
			assert_memory_equal(shadow, f->ram, RAM_BYTES);
	}
	assert_memory_equal(shadow, f->ram, RAM_BYTES);
	assert_true(ok > 2000);
	free(shadow);
}

static void legacy_walks_agree_with_the_second_walker(void **state)
{
	walks_agree(*state, LEGACY);
}

static void pae_walks_agree_with_the_second_walker(void **state)
{
	walks_agree(*state, PAE);
}

static void long_mode_walks_agree_with_the_second_walker(void **state)
{
	walks_agree(*state, LONG);
}

static void reserved_bits_of_a_present_pdpte_are_refused(void **state)
{
	struct fix *f = *state;
	struct vcpu *c = f->c;
	uint64_t pdpte[4] = {0x1001, 0x1fe, 0, 0x2001};

	c->s.cr0 = CR0_PE | CR0_PG;
	c->s.cr4 = CR4_PAE;
	c->s.cr3 = 0x3020;
	memcpy(f->ram + 0x3020, pdpte, sizeof(pdpte));
	assert_int_equal(mmu_load_pdptrs(c), 0);
	assert_memory_equal(c->pdptr, pdpte, sizeof(pdpte));
	pdpte[2] = 0x1003;
	memcpy(f->ram + 0x3020, pdpte, sizeof(pdpte));
	assert_int_equal(mmu_load_pdptrs(c), -1);
	assert_int_equal(c->pdptr[2], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(legacy_walks_agree_with_the_second_walker),
		TEST(pae_walks_agree_with_the_second_walker),
		TEST(long_mode_walks_agree_with_the_second_walker),
		TEST(reserved_bits_of_a_present_pdpte_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
