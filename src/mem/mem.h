/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem.h - guest RAM: regions of guest-physical addresses backed by host memory.
 *
 * The only place that maps guest RAM.  Regions are sealed-size shared memory
 * files, mapped without reservation: a page costs host memory once it is
 * touched.  The set of regions is fixed before the first vCPU runs, so look-ups
 * take no lock.  Guest memory is shared with running vCPUs: whatever is read from
 * it is copied once and validated as the copy.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

typedef uint64_t gpa_t; /* guest-physical address */
typedef uint64_t gva_t; /* guest-virtual (linear) address */

enum { MEM_PAGE_SHIFT = 12, MEM_PAGE_SIZE = 4096, MEM_MAX_REGIONS = 8 };

struct mem_region { /* immutable once added */
	gpa_t gpa;
	uint64_t bytes;
	uint8_t *hva;
	int fd;
	char name[16];
};

struct mem { /* regions immutable while vCPUs run; logs are atomic */
	struct mem_region region[MEM_MAX_REGIONS];
	unsigned nregions;
	bool logging;			 /* read by engines with __atomic_load_n */
	uint64_t *log[MEM_MAX_REGIONS];	 /* one bit a page; allocated while logging */
	uint8_t *watch[MEM_MAX_REGIONS]; /* WATCH_*, a byte a page; NULL: nobody does */
	void (*code_written)(void *arg, gpa_t gpa);
	void *watch_arg;
};

MUST_CHECK int mem_new(struct mem **out);
void mem_free(struct mem *mem);
DEFINE_AUTO(mem);

/*
 * Add @bytes of RAM at @gpa, both multiples of 4096, not overlapping what is there.
 * Reads as zero.  Only before vCPUs exist.  -EINVAL, -ENOSPC, -ENOMEM with a sentence.
 */
MUST_CHECK int mem_add_ram(struct mem *mem, const char *name, gpa_t gpa, uint64_t bytes,
			   struct errbuf *err);

/* The region that holds @gpa, or NULL. */
static inline const struct mem_region *mem_find(const struct mem *mem, gpa_t gpa)
{
	for (unsigned i = 0; i < mem->nregions; i++)
		if (gpa - mem->region[i].gpa < mem->region[i].bytes)
			return &mem->region[i];
	return NULL;
}

/*
 * Host address of [@gpa, @gpa + @len), or NULL when that is not all inside one
 * region.  For reading; who writes calls mem_mark_dirty() after, or uses
 * mem_ptr_write().  Any thread.
 */
static inline void *mem_ptr(const struct mem *mem, gpa_t gpa, uint64_t len)
{
	const struct mem_region *r = mem_find(mem, gpa);

	if (!r || len > r->bytes - (gpa - r->gpa))
		return NULL;
	return r->hva + (gpa - r->gpa);
}

/* Mark [@gpa, @gpa + @len) written.  Any thread, lock-free; no-op when not logging. */
void mem_mark_dirty_slow(struct mem *mem, gpa_t gpa, uint64_t len);
static inline void mem_mark_dirty(struct mem *mem, gpa_t gpa, uint64_t len)
{
	if (unlikely(__atomic_load_n(&mem->logging, __ATOMIC_ACQUIRE)))
		mem_mark_dirty_slow(mem, gpa, len);
}

/* --- code pages ------------------------------------------------------------ */

/*
 * Flags of a page for an engine that keeps translations of guest code.  vCPUs set and
 * test them themselves; all others call mem_written() once they wrote.
 */
enum {
	WATCH_CODE = 1,	   /* translations exist */
	WATCH_WRITTEN = 2, /* some vCPU's TLB may allow writing */
};

/* Call @fn(@arg, page) when mem_written() meets a WATCH_CODE page.  -ENOMEM. */
MUST_CHECK int mem_watch_start(struct mem *mem, void (*fn)(void *arg, gpa_t gpa), void *arg);
void mem_watch_stop(struct mem *mem);

/* The flags of @gpa's page, atomic; @gpa is in RAM and watching has started. */
static inline uint8_t *mem_watch(const struct mem *mem, gpa_t gpa)
{
	const struct mem_region *r = mem_find(mem, gpa);

	return &mem->watch[r - mem->region][(gpa - r->gpa) >> MEM_PAGE_SHIFT];
}

/* The guest-physical address of @hva; false: it is not in RAM. */
static inline bool mem_find_host(const struct mem *mem, const void *hva, gpa_t *gpa)
{
	for (unsigned i = 0; i < mem->nregions; i++) {
		const struct mem_region *r = &mem->region[i];
		uint64_t off = (uint64_t)((const uint8_t *)hva - r->hva);

		if (off < r->bytes) {
			*gpa = r->gpa + off;
			return true;
		}
	}
	return false;
}

/* [@gpa, @gpa + @len) was written, by somebody else than a running vCPU.  Any thread. */
void mem_written_slow(struct mem *mem, gpa_t gpa, uint64_t len);
static inline void mem_written(struct mem *mem, gpa_t gpa, uint64_t len)
{
	mem_mark_dirty(mem, gpa, len);
	if (mem->code_written)
		mem_written_slow(mem, gpa, len);
}

/* mem_ptr() for writing at once, before any code there runs: marks the range first. */
static inline void *mem_ptr_write(struct mem *mem, gpa_t gpa, uint64_t len)
{
	void *p = mem_ptr(mem, gpa, len);

	if (p)
		mem_written(mem, gpa, len);
	return p;
}

/* Copy out of / into guest RAM.  0, or -EFAULT with nothing or a prefix copied. */
MUST_CHECK int mem_read(const struct mem *mem, gpa_t gpa, void *buf, uint64_t len);
MUST_CHECK int mem_write(struct mem *mem, gpa_t gpa, const void *buf, uint64_t len);

/* Give all RAM's host memory back: every byte reads as zero. */
void mem_discard_all(struct mem *mem);

/* --- dirty log ----------------------------------------------------------- */

/*
 * Start with every page clean, or stop and drop the log.  The caller then tells
 * the engine (engine_ops.log_changed), which must stop writing behind the log.
 */
MUST_CHECK int mem_log_start(struct mem *mem);
void mem_log_stop(struct mem *mem);
/*
 * Call @fn for each run of dirty pages and clear their bits.  One harvester.
 * The caller tells the engine (engine_ops.log_changed) before reading the pages.
 */
void mem_log_harvest(struct mem *mem, void (*fn)(void *arg, gpa_t gpa, uint64_t bytes), void *arg);

/* RAM bytes in all regions; bytes of them backed by host memory now. */
uint64_t mem_bytes(const struct mem *mem);
uint64_t mem_resident_bytes(const struct mem *mem);
