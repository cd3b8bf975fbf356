/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evict.c - what makes translated code stale, and room for new code.
 *
 * A block that went stale stays where it is, but nothing leads to it any more.  Its
 * memory comes back with its segment.  For that every vCPU is outside translated code
 * for a moment: links into the segment and entries of jump tables that lead there are
 * taken back, and the epoch changes.  Who waited for the lock in between sees by the
 * epoch that the blocks, links and sites it knew may be gone.
 *
 * Who translates holds the lock and may wait for other vCPUs to drop their write tags,
 * so whoever waits for the lock does that meanwhile (dbt_lock()).
 */
#include "cpu/dbt/dbt.h"

#include <sched.h>

#include "base/clock.h"
#include "cpu/interp/interp.h"

/* --- locks and waiting ------------------------------------------------------------------- */

static void drop_write_tags(struct vcpu *c)
{
	uint32_t wanted = __atomic_load_n(&c->d.flush_wanted, __ATOMIC_SEQ_CST);

	if (wanted == c->d.flush_done)
		return;
	tlb_drop_writable(c);
	__atomic_store_n(&c->d.flush_done, wanted, __ATOMIC_SEQ_CST);
}

void dbt_take_requests(struct vcpu *c)
{
	__atomic_fetch_and(&c->requests, ~(uint32_t)REQ_CODE, __ATOMIC_SEQ_CST);
	if (__atomic_exchange_n(&c->d.gens_stale, false, __ATOMIC_SEQ_CST))
		memset(c->d.gens, 0, sizeof(c->d.gens));
	if (__atomic_exchange_n(&c->d.xids_stale, false, __ATOMIC_SEQ_CST))
		memset(c->tlb_xid, 0, sizeof(c->tlb_xid));
	drop_write_tags(c);
}

void dbt_lock(struct dbt *d, struct vcpu *c)
{
	bool in_code;

	if (!pthread_mutex_trylock(&d->lock))
		return;
	if (!c) { /* no vCPU: nobody waits for it */
		pthread_mutex_lock(&d->lock);
		return;
	}
	in_code = c->d.in_code;
	__atomic_store_n(&c->d.in_code, false, __ATOMIC_SEQ_CST);
	while (pthread_mutex_trylock(&d->lock)) {
		drop_write_tags(c);
		sched_yield();
	}
	__atomic_store_n(&c->d.in_code, in_code, __ATOMIC_SEQ_CST);
}

void dbt_unlock(struct dbt *d)
{
	pthread_mutex_unlock(&d->lock);
}

static bool has_dropped(struct engine_vcpu *v, uint32_t wanted)
{
	return __atomic_load_n(&v->c.d.flush_done, __ATOMIC_SEQ_CST) == wanted ||
	       !__atomic_load_n(&v->running, __ATOMIC_SEQ_CST);
}

/* No vCPU but @c can write to RAM behind the translator's back after this.  Locked. */
static void drop_write_tags_everywhere(struct dbt *d, struct vcpu *c)
{
	struct engine_vm *vm = d->vm;

	tlb_drop_writable(c);
	for (unsigned i = 0; i < vm->ncpus; i++) {
		if (!vm->vcpu[i] || &vm->vcpu[i]->c == c)
			continue;
		__atomic_add_fetch(&vm->vcpu[i]->c.d.flush_wanted, 1, __ATOMIC_SEQ_CST);
		vcpu_request(&vm->vcpu[i]->c, REQ_CODE);
	}
	for (unsigned i = 0; i < vm->ncpus; i++) {
		if (!vm->vcpu[i] || &vm->vcpu[i]->c == c)
			continue;
		while (!has_dropped(vm->vcpu[i], vm->vcpu[i]->c.d.flush_wanted))
			sched_yield();
	}
}

void dbt_watch(struct dbt *d, struct vcpu *c, gpa_t gpa)
{
	uint8_t *w = mem_watch(d->mem, gpa);
	uint8_t was = __atomic_fetch_or(w, WATCH_CODE, __ATOMIC_SEQ_CST);

	if (!(was & WATCH_WRITTEN))
		return;
	__atomic_fetch_and(w, (uint8_t)~WATCH_WRITTEN, __ATOMIC_SEQ_CST);
	drop_write_tags_everywhere(d, c);
}

/* --- staleness ------------------------------------------------------------------------------ */

void dbt_kill(struct dbt *d, struct dbt_block *b)
{
	struct dbt_link *next;

	if (b->dead)
		return;
	__atomic_store_n(&b->dead, true, __ATOMIC_RELEASE);
	dbt_remove(d, b);
	dbt_reuse_forget(d, b);
	for (struct dbt_link *k = b->in; k; k = next) {
		next = k->next_in;
		dbt_unlink(d, k);
	}
	b->in = NULL;
}

/* Jump tables may lead to dead blocks: every vCPU starts a new one before it goes on. */
static void forget_jumps(struct dbt *d)
{
	for (unsigned i = 0; i < d->vm->ncpus; i++) {
		struct engine_vcpu *v = d->vm->vcpu[i];

		if (!v)
			continue;
		__atomic_store_n(&v->c.d.gens_stale, true, __ATOMIC_SEQ_CST);
		vcpu_request(&v->c, REQ_CODE);
	}
}

/* Drop what was made of the page at @gpa.  Locked. */
static void drop_page(struct dbt *d, gpa_t gpa)
{
	struct ram_page *p = dbt_ram_page(d, gpa);
	uint8_t *w = mem_watch(d->mem, gpa);

	__atomic_fetch_and(w, (uint8_t)~WATCH_CODE, __ATOMIC_SEQ_CST);
	if (!p || !p->blocks)
		return;
	for (struct block_ref *r = p->blocks; r; r = r->next) {
		d->stats.invalidated += !r->block->dead;
		dbt_kill(d, r->block);
		r->at = NULL;
	}
	p->blocks = NULL;
	forget_jumps(d);
}

void dbt_code_written(void *arg, gpa_t gpa)
{
	struct dbt *d = arg;

	pthread_mutex_lock(&d->lock);
	drop_page(d, gpa);
	pthread_mutex_unlock(&d->lock);
}

void dbt_code_store(struct vcpu *c, gpa_t gpa)
{
	dbt_lock(c->dbt, c);
	drop_page(c->dbt, gpa);
	dbt_unlock(c->dbt);
}

/* --- eviction ------------------------------------------------------------------------------ */

static void wait_until_nobody_is_inside(struct dbt *d, const struct vcpu *c)
{
	for (unsigned i = 0; i < d->vm->ncpus; i++) {
		struct engine_vcpu *v = d->vm->vcpu[i];

		if (!v || &v->c == c)
			continue;
		vcpu_request(&v->c, REQ_CODE);
		while (__atomic_load_n(&v->c.d.in_code, __ATOMIC_SEQ_CST))
			sched_yield();
	}
}

/* Take @k off the list of jumps that lead where it does. */
static void leave_links(struct dbt_link *k)
{
	*k->in_at = k->next_in;
	if (k->next_in)
		k->next_in->in_at = k->in_at;
	k->to = NULL;
}

/* Take @r off the list of @p's blocks. */
static void leave_page(struct dbt *d, struct ram_page *p, struct block_ref *r)
{
	if (!r->at) /* it was written to */
		return;
	*r->at = r->next;
	if (r->next)
		r->next->at = r->at;
	if (!p->blocks)
		__atomic_fetch_and(mem_watch(d->mem, p->gpa), (uint8_t)~WATCH_CODE,
				   __ATOMIC_SEQ_CST);
}

static void void_jumps(struct dbt *d, unsigned n)
{
	uint32_t from = DBT_GLUE_BYTES + n * d->segment_bytes;

	for (unsigned i = 0; i < d->vm->ncpus; i++) {
		struct engine_vcpu *v = d->vm->vcpu[i];

		for (unsigned j = 0; v && j < JUMP_ENTRIES; j++)
			if (v->c.d.jumps[j].code - from < d->segment_bytes)
				v->c.d.jumps[j] = jump_void(j);
	}
}

static void next_epoch(struct dbt *d)
{
	__atomic_store_n(&d->epoch, d->epoch + 1, __ATOMIC_SEQ_CST);
}

/* Nobody is inside. */
static void evict_segment(struct dbt *d, unsigned n)
{
	struct dbt_segment *s = &d->segments[n];

	if (!s->blocks)
		return;
	next_epoch(d);
	for (struct dbt_block *b = s->blocks; b; b = b->older)
		dbt_kill(d, b);
	for (struct dbt_block *b = s->blocks; b; b = b->older) {
		for (struct dbt_link *k = b->out; k; k = k->next_out)
			if (k->to)
				leave_links(k);
		for (unsigned i = 0; i < 2 && b->pages[i]; i++) {
			leave_page(d, b->pages[i]->ram, &b->refs[i]);
			dbt_page_put(d, b->pages[i], 1);
		}
	}
	void_jumps(d, n);
	s->blocks = NULL;
	s->bytes = 0;
	next_epoch(d); /* what was unlinked here may be linked to any page */
	d->stats.flushes++;
}

/* Page numbers start anew; every vCPU forgets the old ones before it goes on. */
static void evict_all(struct dbt *d)
{
	for (unsigned n = 0; n < d->nsegments; n++)
		evict_segment(d, n);
	d->next_xid = 1;
	for (unsigned i = 0; i < d->vm->ncpus; i++) {
		struct engine_vcpu *v = d->vm->vcpu[i];

		if (v)
			__atomic_store_n(&v->c.d.xids_stale, true, __ATOMIC_SEQ_CST);
	}
	forget_jumps(d);
}

/*
 * The cache is far too small for what runs if all of it is replaced in a fraction of a second. Most
 * of the time goes into translating then, and what runs seldom drives out what runs often: so the
 * former has to prove itself in the interpreter first.
 */
static void adapt_warmup(struct dbt *d, const struct dbt_segment *s)
{
	uint64_t age = host_ns() - s->since_ns;
	uint8_t n = d->warmup;

	if (!d->may_warm_up)
		return;
	if (age < 300000000 && n < DBT_MAX_WARMUP)
		n++;
	else if (age > 1500000000 && n)
		n--;
	__atomic_store_n(&d->warmup, n, __ATOMIC_RELAXED);
}

static void evict(struct dbt *d, struct vcpu *c, bool all)
{
	__atomic_store_n(&d->flushing, true, __ATOMIC_SEQ_CST);
	wait_until_nobody_is_inside(d, c);
	if (all)
		evict_all(d);
	else
		evict_segment(d, (d->segment + 1) % d->nsegments);
	__atomic_store_n(&d->flushing, false, __ATOMIC_SEQ_CST);
}

void dbt_evict(struct dbt *d, struct vcpu *c)
{
	bool all = d->next_xid == (uint32_t)DBT_LINK_NEVER;
	const struct dbt_segment *next = &d->segments[(d->segment + 1) % d->nsegments];

	if (all || next->blocks) {
		adapt_warmup(d, next);
		evict(d, c, all);
	}
	dbt_next_segment(d);
}

void dbt_count_stops(struct dbt *d, struct vcpu *c)
{
	dbt_lock(d, c);
	if (!d->count_stops) {
		evict(d, c, true);
		dbt_next_segment(d);
		d->count_stops = true;
	}
	dbt_unlock(d);
}
