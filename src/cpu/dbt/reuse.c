/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reuse.c - a translation copied to another virtual address.
 *
 * Every process maps the code of shared libraries somewhere else.  What was translated
 * of a page of RAM at one address is copied where the same page is run at another one.
 * While a block is lowered, reloc_note() is told what in its code depends on where the
 * guest's code is, and where the host's; what cannot be described so says reloc_never().
 * Only addresses far from both ends of the lower half are taken: all addresses in such
 * a block are 64-bit immediates then, before and after.
 *
 * The latest block of each place in RAM is the one that is copied.  It is alive, so the
 * guest's code is what it was.  With d->verify_reuse every copy is compared with what
 * translating anew makes of the code; lock-step does that.
 */
#include "cpu/dbt/look.h"
#include "cpu/dbt/lower.h"

struct dbt_reuse {     /* how to copy a block */
	gpa_t gpa;     /* of its page */
	uint32_t site; /* its first one */
	uint16_t nsites, nlinks, ninsns, nrelocs;
	uint8_t key;
	struct dbt_reloc relocs[];
};

static size_t reuse_bytes(unsigned nrelocs)
{
	return sizeof(struct dbt_reuse) + nrelocs * sizeof(struct dbt_reloc);
}

enum { SLACK = 64 }; /* of a segment: alignment */

#define LOWEST	(1ULL << 33)
#define HIGHEST ((1ULL << 47) - LOWEST)

static bool is_far(uint64_t rip)
{
	return rip >= LOWEST && rip < HIGHEST;
}

/* --- while lowering ------------------------------------------------------------------------ */

void reloc_start(struct lowering *l, const struct code_at *at)
{
	l->nrelocs = 0;
	l->fixed = !is_far(at->rip) || at->next.host;
	l->first_site = l->d->nsites;
}

void reloc_never(struct lowering *l)
{
	l->fixed = true;
}

static void note(struct lowering *l, enum reloc_kind kind, const uint8_t *at, unsigned n)
{
	if (l->fixed)
		return;
	if (l->nrelocs == RELOC_MAX) {
		l->fixed = true;
		return;
	}
	l->relocs[l->nrelocs++] = (struct dbt_reloc){.at = (uint16_t)(at - (l->d->rw + l->d->used)),
						     .kind = (uint8_t)kind,
						     .n = (uint8_t)n};
}

void reloc_note(struct lowering *l, enum reloc_kind kind)
{
	note(l, kind, l->a.p - (kind == RELOC_RIP64 ? 8 : 4), 0);
}

void emit_mov_rip(struct lowering *l, unsigned reg, uint64_t v)
{
	a_mov_imm(&l->a, reg, v);
	reloc_note(l, RELOC_RIP64);
}

void emit_mov_link(struct lowering *l, unsigned reg, const struct dbt_link *k)
{
	a_mov_imm(&l->a, reg, dbt_ref(l->d, k));
	note(l, RELOC_LINK, l->a.p - 4, k->number);
}

void emit_mov_block(struct lowering *l, unsigned reg)
{
	a_mov_imm(&l->a, reg, dbt_ref(l->d, l->b));
	reloc_note(l, RELOC_BLOCK);
}

void emit_to_glue(struct lowering *l, uint8_t *at, uint32_t glue)
{
	a_patch(at, l->d->rw + glue);
	note(l, RELOC_GLUE, at, 0);
}

void reloc_finish(struct lowering *l, const struct code_at *at)
{
	struct dbt *d = l->d;
	size_t bytes = reuse_bytes(l->nrelocs);
	struct dbt_reuse *r;

	if (l->fixed || l->b->end - l->b->start > UINT16_MAX ||
	    dbt_room(d, l->b->end) < bytes + SLACK)
		return;
	r = dbt_alloc(d, bytes);
	if (!r)
		return;
	*r = (struct dbt_reuse){.gpa = at->page.gpa,
				.site = l->first_site,
				.nsites = (uint16_t)(d->nsites - l->first_site),
				.nlinks = l->nlinks,
				.nrelocs = (uint16_t)l->nrelocs,
				.key = l->c->d.key};
	for (unsigned n = 0; n < r->nsites; n++)
		r->ninsns += d->sites[r->site + n].insn != NULL;
	memcpy(r->relocs, l->relocs, l->nrelocs * sizeof(struct dbt_reloc));
	l->b->reuse = r;
}

/* --- templates ------------------------------------------------------------------------------- */

static struct dbt_block **template_of(struct dbt *d, gpa_t gpa, uint64_t rip, uint8_t key,
				      bool plain)
{
	uint64_t h = (gpa | (rip & 0xfff)) ^ (uint64_t)key << 48 ^ (uint64_t)plain << 56;

	return &d->templates[h * 0x9e3779b97f4a7c15ULL >> (64 - d->hash_bits)];
}

static struct dbt_block **own_template(struct dbt *d, const struct dbt_block *b)
{
	return template_of(d, b->reuse->gpa, b->rip, b->reuse->key, b->plain);
}

void dbt_reuse_offer(struct dbt *d, struct dbt_block *b)
{
	if (b->reuse)
		*own_template(d, b) = b;
}

void dbt_reuse_forget(struct dbt *d, const struct dbt_block *b)
{
	if (b->reuse && *own_template(d, b) == b)
		*own_template(d, b) = NULL;
}

static struct dbt_block *find_template(struct dbt *d, const struct code_at *at, uint8_t key)
{
	struct dbt_block *b = *template_of(d, at->page.gpa, at->rip, key, at->plain);

	if (!b || b->dead || b->plain != at->plain || b->reuse->key != key ||
	    b->reuse->gpa != at->page.gpa || (b->rip ^ at->rip) & 0xfff)
		return NULL;
	return b;
}

/* --- copying ------------------------------------------------------------------------------- */

struct move { /* what changes */
	uint64_t rip;
	uint32_t code, site;
	struct dbt_block *block; /* the new one, or NULL */
	struct dbt_link *links;	 /* its own by number */
};

struct parts { /* what describes one block */
	struct dbt_block *block;
	struct dbt_link *links;
	struct insn *insns;
};

static void add32(uint8_t *at, uint32_t v)
{
	uint32_t old;

	memcpy(&old, at, 4);
	old += v;
	memcpy(at, &old, 4);
}

static void add64(uint8_t *at, uint64_t v)
{
	uint64_t old;

	memcpy(&old, at, 8);
	old += v;
	memcpy(at, &old, 8);
}

/* The offset of something in the slot of a page @pages further on. */
static void move_slot(uint8_t *at, size_t array, size_t size, uint64_t pages)
{
	uint32_t mask = (uint32_t)(TLB_SIZE * size - 1), old;

	memcpy(&old, at, 4);
	old -= (uint32_t)array;
	old = (old & ~mask) | ((old + (uint32_t)(pages * size)) & mask);
	old += (uint32_t)array;
	memcpy(at, &old, 4);
}

/* The number of @p, or 0 in place of it. */
static void put_ref(uint8_t *at, const struct dbt *d, const void *p)
{
	uint32_t ref = p ? dbt_ref(d, p) : 0;

	memcpy(at, &ref, 4);
}

static void relocate(const struct dbt *d, uint8_t *code, const struct dbt_reuse *r,
		     const struct move *m)
{
	for (const struct dbt_reloc *e = r->relocs; e < r->relocs + r->nrelocs; e++) {
		uint8_t *at = code + e->at;

		switch (e->kind) {
		case RELOC_RIP64: add64(at, m->rip); break;
		case RELOC_RIP32: add32(at, (uint32_t)m->rip); break;
		case RELOC_GLUE: add32(at, -m->code); break;
		case RELOC_SITE: add32(at, m->site); break;
		case RELOC_TLB:
			move_slot(at, VC(tlb_all), sizeof(struct tlb_entry), m->rip >> 12);
			break;
		case RELOC_XID: move_slot(at, VC(tlb_xid), sizeof(uint32_t), m->rip >> 12); break;
		case RELOC_BLOCK: put_ref(at, d, m->block); break;
		default: put_ref(at, d, m->block ? m->links + e->n : NULL);
		}
	}
}

static void move_site(struct dbt_site *s, const struct move *m)
{
	if (s->retry)
		s->retry += m->code;
	if (s->next)
		s->next += m->code;
}

static void copy_sites(struct dbt *d, const struct dbt_reuse *r, const struct parts *p,
		       const struct move *m)
{
	const struct dbt_site *from = &d->sites[r->site];
	struct insn *insn = p->insns;

	for (unsigned n = 0; n < r->nsites; n++) {
		struct dbt_site *s = &d->sites[d->nsites++];

		*s = from[n];
		s->block = p->block;
		move_site(s, m);
		if (s->insn) {
			*insn = *s->insn;
			s->insn = insn++;
		}
	}
}

/* The jumps out of @from lead nowhere yet in @b. */
static void copy_links(struct dbt *d, const struct dbt_block *from, struct dbt_block *b,
		       const struct move *m)
{
	struct dbt_link **tail = &b->out;

	for (const struct dbt_link *k = from->out; k; k = k->next_out) {
		struct dbt_link *c = m->links + k->number;

		*c = *k;
		c->from = b;
		c->to = NULL;
		c->next_in = NULL;
		c->xid = c->unlinked_at = 0;
		c->target += m->rip;
		c->jump += m->code;
		c->unlinked += m->code;
		if (c->guard) {
			c->guard += m->code;
			memset(d->rw + c->guard, 0xff, 4); /* DBT_LINK_NEVER */
		}
		a_patch(d->rw + c->jump, d->rw + c->unlinked);
		*tail = c;
		tail = &c->next_out;
	}
}

/* Room for all that describes a copy of @t, and for its code; false: there is none. */
static bool get_room(struct dbt *d, const struct dbt_block *t, struct parts *p)
{
	const struct dbt_reuse *r = t->reuse;
	size_t reuse = ALIGN_UP(reuse_bytes(r->nrelocs), 8);
	size_t bytes = sizeof(*p->block) + reuse + r->nlinks * sizeof(*p->links) +
		       r->ninsns * sizeof(*p->insns);
	uint8_t *at;

	if (dbt_room(d, d->used + t->end - t->start) <
	    bytes + r->nsites * sizeof(struct dbt_site) + SLACK)
		return false;
	at = dbt_alloc(d, bytes);
	if (!at)
		return false;
	p->block = (struct dbt_block *)at;
	p->links = (struct dbt_link *)(p->block + 1);
	p->insns = (struct insn *)(p->links + r->nlinks);
	p->block->reuse = (struct dbt_reuse *)(p->insns + r->ninsns);
	return true;
}

/* What is in @b of @t, at its own place. */
static void copy_description(struct dbt *d, struct dbt_block *b, const struct dbt_block *t,
			     const struct code_at *at, const struct move *m)
{
	struct dbt_reuse *r = b->reuse;

	*b = *t;
	b->next = b->older = NULL;
	b->in = b->out = NULL;
	b->pages[0] = b->pages[1] = NULL;
	memset(b->refs, 0, sizeof(b->refs));
	b->rip = at->rip;
	b->xid = at->page.xid;
	b->start += m->code;
	b->code += m->code;
	b->code_flags += m->code;
	b->code_poll += m->code;
	b->end += m->code;
	b->reuse = r;
	memcpy(r, t->reuse, reuse_bytes(t->reuse->nrelocs));
	r->site = d->nsites;
}

static struct dbt_block *copy_block(struct dbt *d, const struct dbt_block *t,
				    const struct code_at *at)
{
	const struct dbt_reuse *r = t->reuse;
	struct parts p;
	struct move m = {.rip = at->rip - t->rip,
			 .code = (uint32_t)d->used - t->start,
			 .site = d->nsites - r->site};
	struct dbt_block *b;

	if (!get_room(d, t, &p))
		return NULL;
	b = p.block;
	m.block = b;
	m.links = p.links;
	copy_description(d, b, t, at, &m);
	memcpy(d->rw + d->used, d->rw + t->start, t->end - t->start);
	relocate(d, d->rw + d->used, r, &m);
	copy_sites(d, r, &p, &m);
	copy_links(d, t, b, &m);
	d->used = ALIGN_UP(b->end, 16);
	d->stats.reused++;
	return b;
}

/* --- proof ----------------------------------------------------------------------------------- */

static bool same_site(const struct dbt_site *a, const struct dbt_site *b, const struct move *m)
{
	struct dbt_site x = *a, y = *b;

	move_site(&x, m);
	x.block = y.block = NULL;
	if (x.insn && y.insn) {
		if (memcmp(x.insn, y.insn, sizeof(*x.insn)))
			return false;
		x.insn = y.insn = NULL;
	}
	return x.rip_off == y.rip_off && x.access == y.access && x.size == y.size &&
	       x.align == y.align && x.ahead == y.ahead && x.ends == y.ends && x.retry == y.retry &&
	       x.next == y.next && x.insn == y.insn && x.x87 == y.x87 &&
	       !memcmp(&x.flags, &y.flags, sizeof(x.flags));
}

static bool same_link(const struct dbt_link *x, const struct dbt_link *y, const struct move *m)
{
	return x->number == y->number && x->target == y->target && x->poll == y->poll &&
	       x->flags_host == y->flags_host && x->plain == y->plain &&
	       x->jump + m->code == y->jump && x->unlinked + m->code == y->unlinked &&
	       (x->guard ? x->guard + m->code : 0) == y->guard;
}

static bool same_links(const struct dbt_block *a, const struct dbt_block *b, const struct move *m)
{
	const struct dbt_link *x = a->out, *y = b->out;

	for (; x && y; x = x->next_out, y = y->next_out)
		if (!same_link(x, y, m))
			return false;
	return !x && !y;
}

/* Does the code of @b name itself and its own links?  @code: a copy with 0 in their place. */
static bool own_refs(const struct dbt *d, const struct dbt_block *b, uint8_t *code)
{
	const struct dbt_reuse *r = b->reuse;

	memcpy(code, d->rw + b->start, b->end - b->start);
	for (const struct dbt_reloc *e = r->relocs; e < r->relocs + r->nrelocs; e++) {
		const struct dbt_link *k;
		uint32_t ref;

		if (e->kind != RELOC_LINK && e->kind != RELOC_BLOCK)
			continue;
		memcpy(&ref, code + e->at, sizeof(ref));
		k = dbt_at(d, ref);
		if (e->kind == RELOC_BLOCK ? (const void *)k != b
					   : k->from != b || k->number != e->n)
			return false;
		memset(code + e->at, 0, sizeof(ref));
	}
	return true;
}

static bool same_code(const struct dbt *d, const struct dbt_block *a, const struct dbt_block *b,
		      const struct move *m)
{
	uint8_t x[UINT16_MAX], y[UINT16_MAX];

	if (!own_refs(d, a, x) || !own_refs(d, b, y))
		return false;
	relocate(d, x, a->reuse, m);
	return !memcmp(x, y, a->end - a->start);
}

/* Is @b, a copy, what translating made of the same code, @anew, but for places and numbers? */
static bool same_block(struct dbt *d, const struct dbt_block *b, const struct dbt_block *anew)
{
	const struct dbt_reuse *r = b->reuse, *q = anew->reuse;
	struct move m = {0};

	if (!q || r->nrelocs != q->nrelocs || r->nsites != q->nsites || r->nlinks != q->nlinks ||
	    memcmp(r->relocs, q->relocs, r->nrelocs * sizeof(struct dbt_reloc)) ||
	    anew->end - anew->start != b->end - b->start || b->bytes != anew->bytes ||
	    b->ninsns != anew->ninsns || b->ncheck != anew->ncheck || b->xid != anew->xid)
		return false;
	m.code = anew->start - b->start;
	m.site = q->site - r->site;
	for (unsigned n = 0; n < r->nsites; n++)
		if (!same_site(&d->sites[r->site + n], &d->sites[q->site + n], &m))
			return false;
	return same_links(b, anew, &m) && same_code(d, b, anew, &m) &&
	       b->code + m.code == anew->code && b->code_flags + m.code == anew->code_flags &&
	       b->code_poll + m.code == anew->code_poll;
}

struct dbt_block *dbt_reuse(struct dbt *d, struct vcpu *c, const struct code_at *at, bool *full)
{
	struct dbt_block *t, *b, *anew;
	bool no_room;

	*full = false;
	if (!is_far(at->rip) || at->next.host)
		return NULL;
	t = find_template(d, at, c->d.key);
	if (!t)
		return NULL;
	b = copy_block(d, t, at);
	*full = !b && !dbt_segment_empty(d);
	if (b && unlikely(d->look.dump || d->look.perf_map))
		dbt_look_copy(d, c, b, t, at);
	if (!b || likely(!d->verify_reuse))
		return b;
	anew = dbt_translate(d, c, at, &no_room);
	if (!anew || (!anew->reuse && dbt_room(d, d->used) < 4096) || same_block(d, b, anew))
		return b;
	d->stats.reuse_differs++;
	return anew;
}
