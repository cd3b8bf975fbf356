/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.c - the code cache of a VM: memory, look-up, links, and what makes code stale.
 *
 * One memory file is mapped twice, writable for whoever translates and executable for
 * the vCPUs; no page is ever both.  Code and what describes it are taken from two
 * arenas that are only ever emptied as a whole, when no vCPU is in translated code.  A
 * block that went stale stays where it is until then, but nothing leads to it any more.
 *
 * Who translates holds the lock and may wait for other vCPUs to drop their write tags,
 * so whoever waits for the lock does that meanwhile (dbt_lock()).
 */
#include "cpu/dbt/dbt.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "cpu/interp/interp.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* --- memory ---------------------------------------------------------------------------- */

static int code_file(void)
{
	int fd = memfd_create("caisson-code", MFD_CLOEXEC | MFD_EXEC);

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create("caisson-code", MFD_CLOEXEC);
	return fd;
}

static void *map_lazily(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void *map_file(int fd, size_t bytes, int prot)
{
	void *p = mmap(NULL, bytes, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* What describes code is about as large as the code. */
static size_t meta_bytes(const struct dbt *d)
{
	return d->bytes;
}

static size_t site_bytes(const struct dbt *d)
{
	return d->max_sites * sizeof(struct dbt_site);
}

static int map_all(struct dbt *d, struct errbuf *err)
{
	AUTO_FD int fd = code_file();

	if (fd < 0 || ftruncate(fd, (off_t)d->bytes) < 0)
		return err_set(err, -errno, "memory file for translated code: %m");
	d->rw = map_file(fd, d->bytes, PROT_READ | PROT_WRITE);
	d->rx = map_file(fd, d->bytes, PROT_READ | PROT_EXEC);
	d->meta = map_lazily(meta_bytes(d));
	d->sites = map_lazily(site_bytes(d));
	if (!d->rw || !d->rx || !d->meta || !d->sites)
		return err_set(err, -errno, "cannot map %zu bytes of translated code: %m",
			       d->bytes);
	return 0;
}

int dbt_new(struct mem *mem, struct engine_vm *vm, size_t bytes, struct dbt **out,
	    struct errbuf *err)
{
	struct dbt *d = calloc(1, sizeof(*d));
	int ret;

	if (!d)
		return err_set(err, -ENOMEM, "translator: no memory");
	pthread_mutex_init(&d->lock, NULL);
	d->bytes = bytes;
	d->max_sites = (uint32_t)(bytes / 48);
	d->mem = mem;
	d->vm = vm;
	d->next_xid = 1;
	d->host_avx = __builtin_cpu_supports("avx");
	d->host_bmi2 = __builtin_cpu_supports("bmi2");
	ret = map_all(d, err);
	if (!ret)
		ret = mem_watch_start(mem, dbt_code_written, d);
	if (ret) {
		dbt_free(d);
		return ret;
	}
	dbt_emit_glue(d);
	*out = d;
	return 0;
}

void dbt_free(struct dbt *d)
{
	if (!d)
		return;
	mem_watch_stop(d->mem);
	if (d->rw)
		munmap(d->rw, d->bytes);
	if (d->rx)
		munmap(d->rx, d->bytes);
	if (d->meta)
		munmap(d->meta, meta_bytes(d));
	if (d->sites)
		munmap(d->sites, site_bytes(d));
	pthread_mutex_destroy(&d->lock);
	free(d);
}

void *dbt_alloc(struct dbt *d, size_t bytes)
{
	uint8_t *p = d->meta + d->meta_used;

	bytes = ALIGN_UP(bytes, 8);
	if (bytes > meta_bytes(d) - d->meta_used)
		return NULL;
	d->meta_used += bytes;
	return p;
}

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

/* --- finding code -------------------------------------------------------------------------- */

static size_t hash_block(uint32_t xid, uint64_t rip, bool plain)
{
	uint64_t h = ((uint64_t)xid << 13 | (uint64_t)plain << 12 | (rip & 0xfff)) *
		     0x9e3779b97f4a7c15ULL;

	return h >> (64 - DBT_HASH_BITS);
}

static size_t hash_page(uint64_t v)
{
	return (v >> 12) * 0x9e3779b97f4a7c15ULL >> (64 - DBT_PAGE_HASH_BITS);
}

struct dbt_block *dbt_find(const struct dbt *d, uint32_t xid, uint64_t rip, bool plain)
{
	struct dbt_block *b;

	b = __atomic_load_n(&d->hash[hash_block(xid, rip, plain)], __ATOMIC_ACQUIRE);
	for (; b; b = __atomic_load_n(&b->next, __ATOMIC_ACQUIRE))
		if (b->rip == rip && b->xid == xid && b->plain == plain &&
		    !__atomic_load_n(&b->dead, __ATOMIC_ACQUIRE))
			return b;
	return NULL;
}

uint32_t dbt_xid(struct dbt *d, gva_t page, const uint8_t *host, uint8_t key)
{
	struct code_page **head = &d->page_hash[hash_page(page ^ (uintptr_t)host)], *p;

	for (p = *head; p; p = p->next)
		if (p->page == page && p->host == host && p->key == key)
			return p->xid;
	p = dbt_alloc(d, sizeof(*p));
	if (!p || d->next_xid == (uint32_t)DBT_LINK_NEVER)
		return 0;
	*p = (struct code_page){
		.next = *head, .page = page, .host = host, .xid = d->next_xid++, .key = key};
	*head = p;
	return p->xid;
}

static struct ram_page *ram_page(struct dbt *d, gpa_t gpa, bool create)
{
	struct ram_page **head = &d->ram_hash[hash_page(gpa)], *p;

	for (p = *head; p; p = p->next)
		if (p->gpa == gpa)
			return p;
	if (!create)
		return NULL;
	p = dbt_alloc(d, sizeof(*p));
	if (!p)
		return NULL;
	*p = (struct ram_page){.next = *head, .gpa = gpa};
	*head = p;
	return p;
}

static int note_block(struct dbt *d, struct dbt_block *b, gpa_t gpa)
{
	struct ram_page *p = ram_page(d, gpa, true);
	struct block_ref *r = dbt_alloc(d, sizeof(*r));

	if (!p || !r)
		return -ENOMEM;
	*r = (struct block_ref){.next = p->blocks, .block = b};
	p->blocks = r;
	return 0;
}

int dbt_insert(struct dbt *d, struct dbt_block *b, const struct code_at *at)
{
	struct dbt_block **head = &d->hash[hash_block(b->xid, b->rip, b->plain)];

	if (note_block(d, b, at->page.gpa) || (at->next.host && note_block(d, b, at->next.gpa)))
		return -ENOMEM;
	b->next = *head;
	__atomic_store_n(head, b, __ATOMIC_RELEASE);
	return 0;
}

/* --- links --------------------------------------------------------------------------------- */

void dbt_link(struct dbt *d, struct dbt_link *k, struct dbt_block *to)
{
	uint32_t entry = k->poll ? to->code_poll : k->flags_host ? to->code_flags : to->code;

	if (k->to || k->from->dead || to->dead || (k->xid && k->xid != to->xid))
		return;
	k->to = to;
	if (k->guard)
		k->xid = to->xid;
	k->next_in = to->in;
	to->in = k;
	a_patch(d->rw + k->jump, d->rw + entry);
	if (k->guard) /* after the jump: who passes the guard finds it there */
		__atomic_store_n((uint32_t *)(d->rw + k->guard), to->xid, __ATOMIC_RELEASE);
	d->stats.links++;
}

/*
 * The jump leaves the translated code again.  A vCPU may be between guard and jump just now, so
 * one that is guarded never leads to another page.
 */
static void unlink_jump(struct dbt *d, struct dbt_link *k)
{
	if (k->guard)
		__atomic_store_n((uint32_t *)(d->rw + k->guard), (uint32_t)DBT_LINK_NEVER,
				 __ATOMIC_RELEASE);
	a_patch(d->rw + k->jump, d->rw + k->unlinked);
	k->to = NULL;
}

/* --- staleness ------------------------------------------------------------------------------ */

static void unhash(struct dbt *d, struct dbt_block *b)
{
	struct dbt_block **p = &d->hash[hash_block(b->xid, b->rip, b->plain)];

	while (*p && *p != b)
		p = &(*p)->next;
	if (*p)
		__atomic_store_n(p, b->next, __ATOMIC_RELEASE);
}

void dbt_kill(struct dbt *d, struct dbt_block *b)
{
	struct dbt_link *next;

	if (b->dead)
		return;
	__atomic_store_n(&b->dead, true, __ATOMIC_RELEASE);
	unhash(d, b);
	for (struct dbt_link *k = b->in; k; k = next) {
		next = k->next_in;
		unlink_jump(d, k);
	}
	b->in = NULL;
	d->stats.invalidated++;
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
	struct ram_page *p = ram_page(d, gpa, false);
	uint8_t *w = mem_watch(d->mem, gpa);

	__atomic_fetch_and(w, (uint8_t)~WATCH_CODE, __ATOMIC_SEQ_CST);
	if (!p || !p->blocks)
		return;
	for (struct block_ref *r = p->blocks; r; r = r->next)
		dbt_kill(d, r->block);
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

static void clear_watches(struct dbt *d)
{
	for (unsigned h = 0; h < 1 << DBT_PAGE_HASH_BITS; h++)
		for (struct ram_page *p = d->ram_hash[h]; p; p = p->next)
			__atomic_fetch_and(mem_watch(d->mem, p->gpa), (uint8_t)~WATCH_CODE,
					   __ATOMIC_SEQ_CST);
}

void dbt_flush(struct dbt *d, struct vcpu *c)
{
	__atomic_store_n(&d->flushing, true, __ATOMIC_SEQ_CST);
	wait_until_nobody_is_inside(d, c);
	clear_watches(d);
	memset(d->hash, 0, sizeof(d->hash));
	memset(d->page_hash, 0, sizeof(d->page_hash));
	memset(d->ram_hash, 0, sizeof(d->ram_hash));
	d->used = d->start;
	d->meta_used = 0;
	d->nsites = 0;
	d->next_xid = 1; /* every vCPU forgets the old ones before it goes on */
	d->epoch++;
	d->stats.flushes++;
	for (unsigned i = 0; i < d->vm->ncpus; i++) {
		struct engine_vcpu *v = d->vm->vcpu[i];

		if (v)
			__atomic_store_n(&v->c.d.xids_stale, true, __ATOMIC_SEQ_CST);
	}
	forget_jumps(d);
	__atomic_store_n(&d->flushing, false, __ATOMIC_SEQ_CST);
}
