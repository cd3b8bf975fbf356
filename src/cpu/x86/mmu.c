/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmu.c - the software TLB, and the accesses that its fast paths refuse.
 *
 * The TLB holds 4 KiB translations of RAM only, one table for each view of memory
 * (user, supervisor, supervisor under SMAP), so a tag that matches means that the
 * access is allowed.  A write tag is there only when the guest's dirty bit is set
 * and the page is marked in the dirty log; whoever clears the log flushes.  Bitmaps
 * of filled slots make a flush cost what was filled since the last one, and keep
 * global pages apart.  Pages mapped large fill slots one by one; large_base and
 * large_mask bound where such slots can be, so that INVLPG seldom has to search.
 *
 * Slow accesses first translate every page they touch, so that a fault comes before
 * any effect; then device memory is accessed (which may leave the engine and start
 * the instruction over), and RAM last.
 */
#include "cpu/x86/access.h"
#include "cpu/x86/mmu.h"

#define PAGE_OF(lin) ((lin) & ~0xfffULL)

/* --- flushing ------------------------------------------------------------- */

static void slot_drop(struct vcpu *c, unsigned view, unsigned i)
{
	struct tlb_entry *e = &c->tlb_all[view][i];

	e->read_tag = e->write_tag = c->tlb_exec[view][i] = TLB_INVALID(i);
	c->tlb_xid[view][i] = 0;
}

/* Guest addresses may lead elsewhere now: so must the translator's jump tables. */
static void jumps_drop(struct vcpu *c, unsigned views)
{
	for (unsigned v = 0; v < TLB_VIEWS; v++)
		if (views & 1u << v)
			c->d.gens[v] = 0;
}

static bool jumps_may_lead_to(const struct vcpu *c, gva_t lin)
{
	unsigned bit = jump_page_bit(lin);

	return c->d.jump_pages[bit / 64] >> bit % 64 & 1;
}

enum { EVERY_VIEW = (1 << TLB_VIEWS) - 1 };

void tlb_init(struct vcpu *c)
{
	for (unsigned v = 0; v < TLB_VIEWS; v++)
		for (unsigned i = 0; i < TLB_SIZE; i++)
			slot_drop(c, v, i);
	memset(c->tlb_used, 0, sizeof(c->tlb_used));
	memset(c->large_mask, 0, sizeof(c->large_mask));
	memset(c->large_base, 0, sizeof(c->large_base));
}

/* Drop the slots filled for @global pages or for others. */
static void flush_kind(struct vcpu *c, bool global)
{
	for (unsigned v = 0; v < TLB_VIEWS; v++) {
		for (unsigned w = 0; w < TLB_SIZE / 64; w++) {
			uint64_t used = c->tlb_used[v][global][w];

			c->tlb_used[v][global][w] = 0;
			for (; used; used &= used - 1) {
				unsigned i = w * 64 + (unsigned)__builtin_ctzll(used);

				if (c->tlb_info[v][i].global == global)
					slot_drop(c, v, i);
			}
		}
	}
}

void tlb_flush_nonglobal(struct vcpu *c)
{
	flush_kind(c, false);
	jumps_drop(c, c->d.jumps_nonglobal);
	c->d.jumps_nonglobal = 0;
}

static unsigned slot_of(const struct vcpu *c, const struct tlb_entry *e)
{
	return (unsigned)(e - c->tlb_all[0]) & (TLB_SIZE - 1);
}

void tlb_drop_writable(struct vcpu *c)
{
	unsigned n = c->d.nwritable;

	c->d.nwritable = 0;
	if (n <= ARRAY_SIZE(c->d.writable)) {
		while (n-- > 0)
			c->d.writable[n]->write_tag = TLB_INVALID(slot_of(c, c->d.writable[n]));
		return;
	}
	for (unsigned v = 0; v < TLB_VIEWS; v++) {
		for (unsigned w = 0; w < TLB_SIZE / 64; w++) {
			uint64_t used = c->tlb_used[v][0][w] | c->tlb_used[v][1][w];

			for (; used; used &= used - 1) {
				unsigned i = w * 64 + (unsigned)__builtin_ctzll(used);

				c->tlb_all[v][i].write_tag = TLB_INVALID(i);
			}
		}
	}
}

void tlb_flush_all(struct vcpu *c)
{
	jumps_drop(c, EVERY_VIEW);
	memset(c->d.jump_pages, 0, sizeof(c->d.jump_pages));
	flush_kind(c, false);
	flush_kind(c, true);
	c->large_mask[0] = c->large_mask[1] = 0;
}

/* Widen the range that large pages may cover by the page around @lin. */
static void large_note(struct vcpu *c, gva_t lin, unsigned shift)
{
	unsigned half = lin >> 63;
	uint64_t mask = ~(BIT(shift) - 1);

	if (!c->large_mask[half]) {
		c->large_mask[half] = mask;
		c->large_base[half] = lin & mask;
		return;
	}
	mask &= c->large_mask[half];
	while ((c->large_base[half] ^ lin) & mask)
		mask <<= 1;
	c->large_mask[half] = mask;
	c->large_base[half] &= mask;
}

static void flush_large(struct vcpu *c, gva_t lin)
{
	for (unsigned v = 0; v < TLB_VIEWS; v++) {
		for (unsigned w = 0; w < TLB_SIZE / 64; w++) {
			uint64_t used = c->tlb_used[v][0][w] | c->tlb_used[v][1][w];

			for (; used; used &= used - 1) {
				unsigned i = w * 64 + (unsigned)__builtin_ctzll(used);
				const struct tlb_info *t = &c->tlb_info[v][i];

				if (t->page_shift > 12 &&
				    !((t->number ^ lin >> 12) >> (t->page_shift - 12)))
					slot_drop(c, v, i);
			}
		}
	}
}

void tlb_flush_page(struct vcpu *c, gva_t lin)
{
	unsigned half = lin >> 63, i = lin >> 12 & (TLB_SIZE - 1);

	bool large = c->large_mask[half] && !((lin ^ c->large_base[half]) & c->large_mask[half]);

	if (large || jumps_may_lead_to(c, lin))
		jumps_drop(c, EVERY_VIEW);
	for (unsigned v = 0; v < TLB_VIEWS; v++)
		if (c->tlb_info[v][i].number == lin >> 12)
			slot_drop(c, v, i);
	if (large)
		flush_large(c, lin);
}

/* --- filling -------------------------------------------------------------- */

/* Beyond a segment or the canonical addresses. */
static NORETURN void raise_noncanonical(struct vcpu *c)
{
	raise_err(c, c->last_seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

/* Could an access to @page meet a data breakpoint? */
static bool page_watched(const struct vcpu *c, gva_t page)
{
	return c->watch_data && debug_data_hit(c, page, MEM_PAGE_SIZE, ACCESS_WRITE);
}

static void slot_fill(struct vcpu *c, gva_t page, enum tlb_view view, const struct walk *w)
{
	unsigned i = page >> 12 & (TLB_SIZE - 1);

	c->tlb_used[view][w->global][i / 64] |= BIT(i % 64);
	c->tlb_info[view][i] = (struct tlb_info){.number = page >> 12,
						 .page_shift = w->shift,
						 .global = w->global,
						 .writable = w->rights & RIGHT_W && w->dirty};
	if (w->shift > 12)
		large_note(c, page, w->shift);
}

/* The translator must hear of writes to pages that it made code of. */
static void note_writable(struct vcpu *c, gpa_t gpa)
{
	uint8_t *watch = mem_watch(c->mem, gpa);

	/* again: who translates the page meanwhile takes the flag away, and this vCPU's tags */
	while (__atomic_fetch_or(watch, WATCH_WRITTEN, __ATOMIC_SEQ_CST) & WATCH_CODE)
		dbt_code_store(c, gpa);
}

static void note_write(struct vcpu *c, gpa_t gpa)
{
	mem_mark_dirty(c->mem, gpa, MEM_PAGE_SIZE);
	if (c->dbt)
		note_writable(c, gpa);
}

/* The few latest slots that may be written to, so that dropping them is cheap. */
static void note_slot(struct vcpu *c, struct tlb_entry *e)
{
	if (c->d.nwritable < ARRAY_SIZE(c->d.writable))
		c->d.writable[c->d.nwritable] = e;
	if (c->d.nwritable <= ARRAY_SIZE(c->d.writable))
		c->d.nwritable++;
}

/* The dirty log and the translator must hear of the first write: so it is what the tag waits for.
 */
static void allow_writes(struct vcpu *c, struct tlb_entry *e, gva_t page)
{
	e->write_tag = page;
	note_slot(c, e);
}

/*
 * Only the write tag is missing: what is there holds.  Tags go whenever code is translated, and a
 * guest that changed its page tables and did not say so must not notice.
 */
static bool may_write_again(struct vcpu *c, struct tlb_entry *e, enum tlb_view view, gva_t page)
{
	gpa_t gpa;

	if (e->read_tag != page || !c->tlb_info[view][page >> 12 & (TLB_SIZE - 1)].writable ||
	    !mem_find_host(c->mem, e->host, &gpa))
		return false;
	note_write(c, gpa);
	allow_writes(c, e, page);
	return true;
}

static struct tlb_entry *fill(struct vcpu *c, gva_t lin, unsigned access, enum tlb_view view,
			      gpa_t *gpa)
{
	gva_t page = PAGE_OF(lin);
	unsigned i = page >> 12 & (TLB_SIZE - 1);
	struct tlb_entry *e = &c->tlb_all[view][i];
	uint64_t *exec = &c->tlb_exec[view][i];
	struct walk w;
	uint8_t *hva;

	if (unlikely(c->long_mode && !is_canonical(lin)))
		raise_noncanonical(c);
	c->tlb_misses++;
	if (access == ACCESS_WRITE && may_write_again(c, e, view, page))
		return e;
	if (mmu_walk(c, lin, access, view, &w))
		raise_pf(c, lin, w.error);
	*gpa = w.gpa | (lin & 0xfff);
	hva = mem_ptr(c->mem, w.gpa, MEM_PAGE_SIZE);
	if (!hva)
		return NULL;
	if (page_watched(c, page)) { /* must not be cached */
		if (w.rights & RIGHT_W && w.dirty && access == ACCESS_WRITE)
			note_write(c, w.gpa);
		c->tlb_scratch.addend = (uintptr_t)hva - page;
		return &c->tlb_scratch;
	}
	slot_fill(c, page, view, &w);
	if (*exec != page || e->host != hva || !(w.rights & RIGHT_X))
		c->tlb_xid[view][i] = 0;
	e->host = hva;
	e->addend = (uintptr_t)hva - page;
	e->read_tag = w.rights & RIGHT_R ? page : TLB_INVALID(i);
	*exec = w.rights & RIGHT_X ? page : TLB_INVALID(i);
	e->write_tag = TLB_INVALID(i);
	if (access == ACCESS_WRITE) {
		note_write(c, w.gpa);
		allow_writes(c, e, page);
	}
	return e;
}

struct tlb_entry *mmu_fill(struct vcpu *c, gva_t lin, unsigned access, gpa_t *gpa)
{
	return fill(c, lin, access, c->view, gpa);
}

/* --- slow accesses -------------------------------------------------------- */

struct part {	      /* of an access, inside one page */
	uint8_t *hva; /* NULL: not RAM */
	gpa_t gpa;    /* if not */
	unsigned size;
};

static void translate_part(struct vcpu *c, gva_t lin, unsigned access, enum tlb_view view,
			   struct part *p)
{
	struct tlb_entry *e = &c->tlb_all[view][lin >> 12 & (TLB_SIZE - 1)];
	gva_t tag = access == ACCESS_WRITE ? e->write_tag : e->read_tag;

	if (tag != PAGE_OF(lin))
		e = fill(c, lin, access, view, &p->gpa);
	p->hva = e ? (uint8_t *)(e->addend + lin) : NULL;
}

/* Translate all of [@lin, @lin + @size), at most 32 bytes: one or two parts. */
static unsigned translate(struct vcpu *c, gva_t lin, unsigned size, unsigned access,
			  enum tlb_view view, struct part part[2])
{
	unsigned first = MIN(size, MEM_PAGE_SIZE - (unsigned)(lin & 0xfff));

	part[0].size = first;
	if (first == size) {
		translate_part(c, lin, access, view, &part[0]);
		return 1;
	}
	part[1].size = size - first;
	if (c->long_mode && !(is_canonical(lin) && is_canonical(lin + first)))
		raise_noncanonical(c);
	translate_part(c, lin, access, view, &part[0]);
	lin += first;
	translate_part(c, c->mode == MODE_64 ? lin : lin & 0xffffffff, access, view, &part[1]);
	return 2;
}

/* Device memory in naturally aligned pieces of up to 8 bytes. */
static void mmio_part(struct vcpu *c, const struct part *p, uint8_t *buf, bool write)
{
	for (unsigned done = 0; done < p->size;) {
		gpa_t gpa = p->gpa + done;
		unsigned n = gpa & 7 ? 1U << __builtin_ctzll(gpa) : 8;
		uint64_t v = 0;

		while (n > p->size - done)
			n >>= 1;
		if (write)
			memcpy(&v, buf + done, n);
		ext_access(c, EXIT_MMIO, gpa, n, write, &v, NULL);
		if (!write)
			memcpy(buf + done, &v, n);
		done += n;
	}
}

/* Powers of two as one host access: other vCPUs must not see half of it. */
static void ram_part(struct vcpu *c, const struct part *p, uint8_t *buf, bool write)
{
	bool single = p->size <= 8 && !(p->size & (p->size - 1));
	uint64_t v = 0;

	if (!write && single) {
		v = host_load(p->hva, p->size);
		memcpy(buf, &v, p->size);
	} else if (!write) {
		memcpy(buf, p->hva, p->size);
	} else {
		if (unlikely(c->journal))
			journal_add(c, p->hva, p->size);
		if (single) {
			memcpy(&v, buf, p->size);
			host_store(p->hva, p->size, v);
		} else {
			memcpy(p->hva, buf, p->size);
		}
		if (PAGE_OF((uintptr_t)p->hva) == c->code_page)
			c->end_block = true;
	}
}

/* A data breakpoint traps once the instruction is complete. */
static void note_watch(struct vcpu *c, gva_t lin, unsigned size, unsigned access)
{
	uint32_t hit = c->watch_data ? debug_data_hit(c, lin, size, access) : 0;

	if (hit) {
		c->db_pending |= hit;
		c->end_block = true;
		__atomic_fetch_or(&c->requests, REQ_EVENT, __ATOMIC_RELAXED);
	}
}

static void access_parts(struct vcpu *c, gva_t lin, uint8_t *buf, unsigned size, unsigned access,
			 enum tlb_view view)
{
	bool write = access == ACCESS_WRITE;
	struct part part[2];
	unsigned n = translate(c, lin, size, access, view, part);

	note_watch(c, lin, size, access);
	for (unsigned pass = 0; pass < 2; pass++) {
		uint8_t *at = buf;

		for (unsigned i = 0; i < n; at += part[i++].size) {
			if (!pass && !part[i].hva)
				mmio_part(c, &part[i], at, write);
			else if (pass && part[i].hva)
				ram_part(c, &part[i], at, write);
		}
	}
}

/*
 * What the fast paths need not look at, because they cover no access like it: the end of
 * a flat segment of 32-bit code, which is at the end of a page, and alignment, which is
 * natural (as AMD has it: 16 bytes for vectors of 32, 8 for the x87's 10; what is read
 * or written in other sizes has checked itself).
 */
static void check_operand(struct vcpu *c, gva_t lin, unsigned size)
{
	unsigned mask = size == 10 ? 7 : size == 32 ? 15 : size & (size - 1) ? 0 : size - 1;

	if (unlikely(lin + size - 1 > c->addr_mask) && !c->s.seg[c->last_seg].base)
		raise_noncanonical(c);
	/* a non-canonical address is the greater mistake */
	if (unlikely(c->align_check) && lin & mask && is_canonical(lin))
		raise_err(c, EXC_AC, 0);
}

void lin_load_slow(struct vcpu *c, gva_t lin, void *buf, unsigned size)
{
	check_operand(c, lin, size);
	access_parts(c, lin, buf, size, ACCESS_READ, c->view);
}

void lin_store_slow(struct vcpu *c, gva_t lin, const void *buf, unsigned size)
{
	check_operand(c, lin, size);
	access_parts(c, lin, (uint8_t *)buf, size, ACCESS_WRITE, c->view);
}

void lin_probe_write(struct vcpu *c, gva_t lin, unsigned size)
{
	struct part part[2];

	check_operand(c, lin, size);
	translate(c, lin, size, ACCESS_WRITE, c->view, part);
}

void *lin_rmw_ptr(struct vcpu *c, gva_t lin, unsigned size)
{
	struct part part[2];

	check_operand(c, lin, size);
	if (translate(c, lin, size, ACCESS_WRITE, c->view, part) > 1 || !part[0].hva)
		return NULL;
	note_watch(c, lin, size, ACCESS_WRITE);
	if (unlikely(c->journal))
		journal_add(c, part[0].hva, size);
	if (PAGE_OF((uintptr_t)part[0].hva) == c->code_page)
		c->end_block = true;
	return part[0].hva;
}

/* Implicit accesses obey SMAP whatever AC says (SDM vol. 3A, 4.6.1). */
static enum tlb_view system_view(const struct vcpu *c)
{
	return c->s.cr4 & CR4_SMAP && c->s.cr0 & CR0_PG ? TLB_SMAP : TLB_SUPER;
}

static gva_t system_lin(struct vcpu *c, gva_t lin)
{
	c->last_seg = SEG_DS;
	return c->long_mode ? lin : (uint32_t)lin;
}

uint64_t sys_load(struct vcpu *c, gva_t lin, unsigned size)
{
	enum tlb_view view = system_view(c);
	struct tlb_entry *e;
	uint64_t v = 0;

	lin = system_lin(c, lin);
	e = &c->tlb_all[view][lin >> 12 & (TLB_SIZE - 1)];
	if (likely(e->read_tag == PAGE_OF(lin + size - 1)))
		return host_load((const void *)(e->addend + lin), size);
	access_parts(c, lin, (uint8_t *)&v, size, ACCESS_READ, view);
	return v;
}

void sys_store(struct vcpu *c, gva_t lin, unsigned size, uint64_t val)
{
	lin = system_lin(c, lin);
	access_parts(c, lin, (uint8_t *)&val, size, ACCESS_WRITE, system_view(c));
}

/* --- split locks ---------------------------------------------------------- */

void split_lock(struct vcpu *c)
{
	pthread_mutex_lock(&c->vm->split);
	c->split_held = true;
}

void split_unlock(struct vcpu *c)
{
	c->split_held = false;
	pthread_mutex_unlock(&c->vm->split);
}
