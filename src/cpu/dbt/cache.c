/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.c - the code cache of a VM: memory, look-up, links.
 *
 * The code's memory is mapped twice, writable for whoever translates and executable for
 * the vCPUs; no page is ever both.  The cache is a ring of equal segments.  Code and what
 * describes it (blocks, links, sites) are taken from the current one, and go with it
 * when the ring comes round (evict.c).  Both count: code and description of a segment
 * may take its size together, each in a mapping of its own.
 *
 * Pages, of code and of RAM, outlive segments: they go with the last of their blocks.
 */
#include "cpu/dbt/dbt.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "cpu/interp/interp.h"

/* --- memory ---------------------------------------------------------------------------- */

static void *map_lazily(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/*
 * The code, mapped twice: shared memory is mapped again by mremap() from a size of 0.  It has no
 * name of its own, because perf looks for symbols of what looks anonymous to it only.
 */
static int map_code(struct dbt *d)
{
	void *rw = mmap(NULL, d->map_bytes, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	void *rx;

	if (rw == MAP_FAILED)
		return -errno;
	d->rw = rw;
	rx = mremap(rw, 0, d->map_bytes, MREMAP_MAYMOVE);
	if (rx == MAP_FAILED)
		return -errno;
	d->rx = rx;
	return mprotect(rx, d->map_bytes, PROT_READ | PROT_EXEC) < 0 ? -errno : 0;
}

/*
 * A block takes some 500 bytes; there are a few in a page.  The hash tables are 5/128 of the bound
 * where that is a power of two.
 */
static void set_sizes(struct dbt *d, size_t bytes)
{
	bytes = MAX(bytes, (size_t)DBT_MIN_CACHE);
	d->limit = bytes;
	d->hash_bits = 63 - (unsigned)__builtin_clzll(bytes / 512);
	d->page_bits = d->hash_bits - 2;
	d->pages.bytes = MAX(bytes / 128 * 3, (size_t)DBT_MIN_PAGES);
	d->segment_bytes =
		(uint32_t)MIN(bytes / DBT_SEGMENTS, (size_t)DBT_MAX_SEGMENT) & ~(MEM_PAGE_SIZE - 1);
	d->nsegments = (uint32_t)((bytes - bytes / 16) / d->segment_bytes);
	d->bytes = (size_t)d->nsegments * d->segment_bytes;
	d->map_bytes = DBT_GLUE_BYTES + d->bytes;
	d->segment_sites = d->segment_bytes / sizeof(struct dbt_site);
}

static size_t site_bytes(const struct dbt *d)
{
	return (size_t)d->nsegments * d->segment_sites * sizeof(struct dbt_site);
}

static size_t hash_bytes(unsigned bits)
{
	return sizeof(void *) << bits;
}

static int map_all(struct dbt *d, struct errbuf *err)
{
	int ret = map_code(d);

	d->meta = map_lazily(d->bytes);
	d->sites = map_lazily(site_bytes(d));
	d->hash = map_lazily(hash_bytes(d->hash_bits));
	d->templates = map_lazily(hash_bytes(d->hash_bits));
	d->page_hash = map_lazily(hash_bytes(d->page_bits));
	d->ram_hash = map_lazily(hash_bytes(d->page_bits));
	d->pages.mem = map_lazily(d->pages.bytes);
	d->heat = map_lazily(sizeof(*d->heat) << DBT_HEAT_BITS);
	d->segments = calloc(d->nsegments, sizeof(*d->segments));
	if (!ret && (!d->meta || !d->sites || !d->hash || !d->templates || !d->page_hash ||
		     !d->ram_hash || !d->pages.mem || !d->heat || !d->segments))
		ret = -ENOMEM;
	if (ret)
		return err_set(err, ret, "cannot map %zu bytes of translated code: %s", d->limit,
			       strerror(-ret));
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
	set_sizes(d, bytes);
	d->mem = mem;
	d->vm = vm;
	d->next_xid = 1;
	d->host_avx = __builtin_cpu_supports("avx");
	d->host_bmi2 = __builtin_cpu_supports("bmi2");
	d->count = vm->count;
	d->count_vec = vm->count && !vm->no_avx512 && __builtin_cpu_supports("avx512f") &&
		       __builtin_cpu_supports("avx512vl");
	ret = map_all(d, err);
	if (!ret)
		ret = mem_watch_start(mem, dbt_code_written, d);
	if (ret) {
		dbt_free(d);
		return ret;
	}
	dbt_emit_glue(d);
	assert(d->used <= DBT_GLUE_BYTES);
	d->segment = d->nsegments - 1;
	dbt_next_segment(d);
	*out = d;
	return 0;
}

static void unmap(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

void dbt_free(struct dbt *d)
{
	if (!d)
		return;
	mem_watch_stop(d->mem);
	unmap(d->rw, d->map_bytes);
	unmap(d->rx, d->map_bytes);
	unmap(d->meta, d->bytes);
	unmap(d->sites, site_bytes(d));
	unmap(d->hash, hash_bytes(d->hash_bits));
	unmap(d->templates, hash_bytes(d->hash_bits));
	unmap(d->page_hash, hash_bytes(d->page_bits));
	unmap(d->ram_hash, hash_bytes(d->page_bits));
	unmap(d->pages.mem, d->pages.bytes);
	unmap(d->heat, sizeof(*d->heat) << DBT_HEAT_BITS);
	free(d->segments);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static size_t code_start(const struct dbt *d)
{
	return DBT_GLUE_BYTES + (size_t)d->segment * d->segment_bytes;
}

static size_t segment_used(const struct dbt *d, size_t code)
{
	size_t meta = d->meta_used - (size_t)d->segment * d->segment_bytes;
	size_t sites = d->nsites - (size_t)d->segment * d->segment_sites;

	return code - code_start(d) + meta + sites * sizeof(struct dbt_site);
}

size_t dbt_room(const struct dbt *d, size_t code)
{
	size_t used = segment_used(d, code);

	return used < d->segment_bytes ? d->segment_bytes - used : 0;
}

bool dbt_segment_empty(const struct dbt *d)
{
	return !segment_used(d, d->used);
}

size_t dbt_used(const struct dbt *d)
{
	size_t bytes = segment_used(d, d->used);

	for (unsigned n = 0; n < d->nsegments; n++)
		bytes += n == d->segment ? 0 : d->segments[n].bytes;
	return MIN(bytes, d->bytes) + 2 * hash_bytes(d->hash_bits) + 2 * hash_bytes(d->page_bits) +
	       d->pages.used;
}

/* Give back the whole pages in [@from, @to). */
static void release(uint8_t *from, uint8_t *to, int advice)
{
	uintptr_t start = ALIGN_UP((uintptr_t)from, (uintptr_t)MEM_PAGE_SIZE);
	uintptr_t end = (uintptr_t)to & ~((uintptr_t)MEM_PAGE_SIZE - 1);

	if (start < end)
		madvise((void *)start, end - start, advice);
}

/*
 * The current segment is full: of code, descriptions and sites together.  Each may have taken more
 * of its own area when the segment was full before.
 */
static void release_tails(struct dbt *d)
{
	size_t next = (size_t)d->segment + 1;
	uint8_t *sites = (uint8_t *)d->sites;

	release(d->rw + d->used, d->rw + DBT_GLUE_BYTES + next * d->segment_bytes, MADV_REMOVE);
	release(d->meta + d->meta_used, d->meta + next * d->segment_bytes, MADV_DONTNEED);
	release(sites + d->nsites * sizeof(*d->sites),
		sites + next * d->segment_sites * sizeof(*d->sites), MADV_DONTNEED);
}

void dbt_next_segment(struct dbt *d)
{
	if (d->used > DBT_GLUE_BYTES) {
		d->segments[d->segment].bytes = (uint32_t)segment_used(d, d->used);
		release_tails(d);
	}
	d->segment = (d->segment + 1) % d->nsegments;
	d->segments[d->segment] = (struct dbt_segment){.since_ns = host_ns()};
	d->used = code_start(d);
	d->meta_used = (size_t)d->segment * d->segment_bytes;
	d->nsites = d->segment * d->segment_sites;
}

void *dbt_alloc(struct dbt *d, size_t bytes)
{
	uint8_t *p = d->meta + d->meta_used;

	bytes = ALIGN_UP(bytes, 8);
	if (bytes > dbt_room(d, d->used))
		return NULL;
	d->meta_used += bytes;
	return p;
}

void dbt_rewind(struct dbt *d, const struct dbt_mark *to)
{
	d->meta_used = to->meta_used;
	d->nsites = to->nsites;
}

struct dbt_site *dbt_site_new(struct dbt *d)
{
	if (dbt_room(d, d->used) < sizeof(struct dbt_site))
		return NULL;
	return &d->sites[d->nsites++];
}

/* --- pages ----------------------------------------------------------------------------- */

static size_t hash_page(const struct dbt *d, uint64_t v)
{
	return (v >> 12) * 0x9e3779b97f4a7c15ULL >> (64 - d->page_bits);
}

static void *page_alloc(struct dbt_pages *a, size_t bytes)
{
	void *p = a->mem + a->used;

	if (bytes > a->bytes - a->used)
		return NULL;
	a->used += bytes;
	return p;
}

struct ram_page *dbt_ram_page(struct dbt *d, gpa_t gpa)
{
	struct ram_page *p = d->ram_hash[hash_page(d, gpa)];

	while (p && p->gpa != gpa)
		p = p->next;
	return p;
}

static struct ram_page *ram_page_get(struct dbt *d, gpa_t gpa)
{
	struct ram_page *p = dbt_ram_page(d, gpa), **head = &d->ram_hash[hash_page(d, gpa)];

	if (!p) {
		p = d->pages.ram;
		if (p)
			d->pages.ram = p->next;
		else
			p = page_alloc(&d->pages, sizeof(*p));
		if (!p)
			return NULL;
		*p = (struct ram_page){.next = *head, .gpa = gpa};
		*head = p;
	}
	p->npages++;
	return p;
}

static void ram_page_put(struct dbt *d, struct ram_page *p)
{
	struct ram_page **at = &d->ram_hash[hash_page(d, p->gpa)];

	if (--p->npages)
		return;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	p->next = d->pages.ram;
	d->pages.ram = p;
}

static struct code_page **page_head(struct dbt *d, gva_t page, const uint8_t *host)
{
	return &d->page_hash[hash_page(d, page ^ (uintptr_t)host)];
}

struct code_page *dbt_page(struct dbt *d, gva_t page, const uint8_t *host, gpa_t gpa, uint8_t key)
{
	struct code_page **head = page_head(d, page, host), *p;
	struct ram_page *ram;

	for (p = *head; p; p = p->next)
		if (p->page == page && p->host == host && p->key == key)
			return p;
	if (d->next_xid == (uint32_t)DBT_LINK_NEVER)
		return NULL;
	ram = ram_page_get(d, gpa);
	if (!ram)
		return NULL;
	p = d->pages.code;
	if (p)
		d->pages.code = p->next;
	else
		p = page_alloc(&d->pages, sizeof(*p));
	if (!p) {
		ram_page_put(d, ram);
		return NULL;
	}
	*p = (struct code_page){.next = *head,
				.page = page,
				.host = host,
				.xid = d->next_xid++,
				.ram = ram,
				.key = key};
	*head = p;
	return p;
}

void dbt_page_put(struct dbt *d, struct code_page *p, unsigned nblocks)
{
	struct code_page **at;

	if (!p)
		return;
	p->nblocks -= nblocks;
	if (p->nblocks)
		return;
	at = page_head(d, p->page, p->host);
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	ram_page_put(d, p->ram);
	p->next = d->pages.code;
	d->pages.code = p;
}

/* --- blocks ---------------------------------------------------------------------------- */

static struct dbt_block **hash_head(const struct dbt *d, uint32_t xid, uint64_t rip, bool plain)
{
	uint64_t h = ((uint64_t)xid << 13 | (uint64_t)plain << 12 | (rip & 0xfff)) *
		     0x9e3779b97f4a7c15ULL;

	return &d->hash[h >> (64 - d->hash_bits)];
}

struct dbt_block *dbt_find(const struct dbt *d, uint32_t xid, uint64_t rip, bool plain)
{
	struct dbt_block *b;

	b = __atomic_load_n(hash_head(d, xid, rip, plain), __ATOMIC_ACQUIRE);
	for (; b; b = __atomic_load_n(&b->next, __ATOMIC_ACQUIRE))
		if (b->rip == rip && b->xid == xid && b->plain == plain &&
		    !__atomic_load_n(&b->dead, __ATOMIC_ACQUIRE))
			return b;
	return NULL;
}

static void note_block(struct dbt_block *b, unsigned n, struct code_page *p)
{
	struct block_ref *r = &b->refs[n];

	b->pages[n] = p;
	p->nblocks++;
	*r = (struct block_ref){.next = p->ram->blocks, .at = &p->ram->blocks, .block = b};
	if (r->next)
		r->next->at = &r->next;
	p->ram->blocks = r;
}

void dbt_insert(struct dbt *d, struct dbt_block *b, const struct code_at *at)
{
	struct dbt_block **head = hash_head(d, b->xid, b->rip, b->plain);

	note_block(b, 0, at->page.code);
	if (at->next.host)
		note_block(b, 1, at->next.code);
	b->older = d->segments[d->segment].blocks;
	d->segments[d->segment].blocks = b;
	b->next = *head;
	__atomic_store_n(head, b, __ATOMIC_RELEASE);
	dbt_reuse_offer(d, b);
}

void dbt_remove(struct dbt *d, struct dbt_block *b)
{
	struct dbt_block **p = hash_head(d, b->xid, b->rip, b->plain);

	while (*p && *p != b)
		p = &(*p)->next;
	if (*p)
		__atomic_store_n(p, b->next, __ATOMIC_RELEASE);
}

/* --- links --------------------------------------------------------------------------------- */

void dbt_link(struct dbt *d, struct dbt_link *k, struct dbt_block *to)
{
	uint32_t entry = k->poll ? to->code_poll : k->flags_host ? to->code_flags : to->code;

	if (k->to || k->from->dead || to->dead)
		return;
	if (k->xid && k->xid != to->xid && k->unlinked_at == d->epoch)
		return; /* somebody may still be behind the guard */
	__atomic_store_n(&k->to, to, __ATOMIC_RELAXED);
	if (k->guard)
		k->xid = to->xid;
	k->next_in = to->in;
	k->in_at = &to->in;
	if (to->in)
		to->in->in_at = &k->next_in;
	to->in = k;
	a_patch(d->rw + k->jump, d->rw + entry);
	if (k->guard) /* after the jump: who passes the guard finds it there */
		__atomic_store_n((uint32_t *)(d->rw + k->guard), to->xid, __ATOMIC_RELEASE);
	d->stats.links++;
}

/*
 * A vCPU may be between guard and jump just now, so one that is guarded does not lead to another
 * page before all have been seen outside.
 */
void dbt_unlink(struct dbt *d, struct dbt_link *k)
{
	if (k->guard)
		__atomic_store_n((uint32_t *)(d->rw + k->guard), (uint32_t)DBT_LINK_NEVER,
				 __ATOMIC_RELEASE);
	a_patch(d->rw + k->jump, d->rw + k->unlinked);
	__atomic_store_n(&k->to, NULL, __ATOMIC_RELAXED);
	k->unlinked_at = d->epoch;
}
