/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem.c - see mem.h.
 *
 * A bit per page says "written since the last harvest".  Setting a bit that is set
 * is a plain load, so marking a hot page costs no bus lock.
 */
#include "mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/bitmap.h"

int mem_new(struct mem **out)
{
	struct mem *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	*out = m;
	return 0;
}

void mem_free(struct mem *mem)
{
	if (!mem)
		return;
	mem_log_stop(mem);
	for (unsigned i = 0; i < mem->nregions; i++) {
		free(mem->log[i]);
		munmap(mem->region[i].hva, mem->region[i].bytes);
		close(mem->region[i].fd);
	}
	free(mem);
}

static int map_region(struct mem_region *r, struct errbuf *err)
{
	AUTO_FD int fd = memfd_create(r->name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *p;

	if (fd < 0)
		return err_set(err, -errno, "memory '%s': memfd_create: %m", r->name);
	if (ftruncate(fd, (off_t)r->bytes) < 0)
		return err_set(err, -errno, "memory '%s': %llu MiB: %m; give the VM less", r->name,
			       (unsigned long long)r->bytes >> 20);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		return err_set(err, -errno, "memory '%s': sealing: %m", r->name);
	p = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED)
		return err_set(err, -errno, "memory '%s': mapping %llu MiB: %m", r->name,
			       (unsigned long long)r->bytes >> 20);
	madvise(p, r->bytes, MADV_DONTDUMP);
	r->hva = p;
	r->fd = MOVE_FD(fd);
	return 0;
}

int mem_add_ram(struct mem *mem, const char *name, gpa_t gpa, uint64_t bytes, struct errbuf *err)
{
	struct mem_region r = {.gpa = gpa, .bytes = bytes, .fd = -1};
	int ret;

	if (!bytes || (gpa | bytes) % MEM_PAGE_SIZE || gpa + bytes < gpa)
		return err_set(err, -EINVAL,
			       "memory '%s': %#llx bytes at %#llx is not page-aligned", name,
			       (unsigned long long)bytes, (unsigned long long)gpa);
	if (mem->nregions == MEM_MAX_REGIONS)
		return err_set(err, -ENOSPC, "memory '%s': more than %d regions", name,
			       MEM_MAX_REGIONS);
	for (unsigned i = 0; i < mem->nregions; i++)
		if (gpa < mem->region[i].gpa + mem->region[i].bytes &&
		    mem->region[i].gpa < gpa + bytes)
			return err_set(err, -EINVAL, "memory '%s' overlaps '%s'", name,
				       mem->region[i].name);
	strncpy(r.name, name, sizeof(r.name) - 1);
	ret = map_region(&r, err);
	if (ret)
		return ret;
	mem->region[mem->nregions++] = r;
	return 0;
}

/* Bytes from @gpa to the end of its region, at most @len; 0 when it is no RAM. */
static uint64_t span(const struct mem *mem, gpa_t gpa, uint64_t len)
{
	const struct mem_region *r = mem_find(mem, gpa);

	return r ? MIN(len, r->bytes - (gpa - r->gpa)) : 0;
}

int mem_read(const struct mem *mem, gpa_t gpa, void *buf, uint64_t len)
{
	for (uint8_t *to = buf; len;) {
		uint64_t n = span(mem, gpa, len);

		if (!n)
			return -EFAULT;
		memcpy(to, mem_ptr(mem, gpa, n), n);
		to += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

int mem_write(struct mem *mem, gpa_t gpa, const void *buf, uint64_t len)
{
	for (const uint8_t *from = buf; len;) {
		uint64_t n = span(mem, gpa, len);

		if (!n)
			return -EFAULT;
		memcpy(mem_ptr(mem, gpa, n), from, n);
		mem_written(mem, gpa, n);
		from += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

void mem_discard_all(struct mem *mem)
{
	for (unsigned i = 0; i < mem->nregions; i++) {
		const struct mem_region *r = &mem->region[i];

		if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			      (off_t)r->bytes) < 0)
			memset(r->hva, 0, r->bytes);
		mem_written(mem, r->gpa, r->bytes);
	}
}

/* --- code pages ------------------------------------------------------------ */

int mem_watch_start(struct mem *mem, void (*fn)(void *arg, gpa_t gpa), void *arg)
{
	for (unsigned i = 0; i < mem->nregions; i++) {
		size_t bytes = mem->region[i].bytes >> MEM_PAGE_SHIFT;
		void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (p == MAP_FAILED) {
			mem_watch_stop(mem);
			return -ENOMEM;
		}
		mem->watch[i] = p;
	}
	mem->watch_arg = arg;
	mem->code_written = fn;
	return 0;
}

void mem_watch_stop(struct mem *mem)
{
	mem->code_written = NULL;
	for (unsigned i = 0; i < mem->nregions; i++) {
		if (mem->watch[i])
			munmap(mem->watch[i], mem->region[i].bytes >> MEM_PAGE_SHIFT);
		mem->watch[i] = NULL;
	}
}

void mem_written_slow(struct mem *mem, gpa_t gpa, uint64_t len)
{
	gpa_t page = gpa & ~(gpa_t)(MEM_PAGE_SIZE - 1), end = gpa + len;

	/* what was written comes before the look: who sets the flag reads the page after it */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (; page < end; page += MEM_PAGE_SIZE)
		if (mem_find(mem, page) &&
		    __atomic_load_n(mem_watch(mem, page), __ATOMIC_RELAXED) & WATCH_CODE)
			mem->code_written(mem->watch_arg, page);
}

/* --- dirty log ----------------------------------------------------------- */

int mem_log_start(struct mem *mem)
{
	if (mem->logging)
		return -EALREADY;
	for (unsigned i = 0; i < mem->nregions; i++) {
		size_t words = BITMAP_WORDS(mem->region[i].bytes / MEM_PAGE_SIZE);

		free(mem->log[i]);
		mem->log[i] = calloc(words, 8);
		if (!mem->log[i])
			return -ENOMEM;
	}
	__atomic_store_n(&mem->logging, true, __ATOMIC_RELEASE);
	return 0;
}

/* The bitmaps stay until the next start or the end: a marker may still hold one. */
void mem_log_stop(struct mem *mem)
{
	__atomic_store_n(&mem->logging, false, __ATOMIC_RELEASE);
}

void mem_mark_dirty_slow(struct mem *mem, gpa_t gpa, uint64_t len)
{
	while (len) {
		uint64_t n = span(mem, gpa, len);
		const struct mem_region *r = mem_find(mem, gpa);
		size_t first, last;

		if (!n)
			return;
		first = (gpa - r->gpa) / MEM_PAGE_SIZE;
		last = (gpa - r->gpa + n - 1) / MEM_PAGE_SIZE;
		for (size_t p = first; p <= last; p++)
			bitmap_test_and_set_atomic(mem->log[r - mem->region], p);
		gpa += n;
		len -= n;
	}
}

static void harvest_region(struct mem *mem, unsigned idx,
			   void (*fn)(void *arg, gpa_t gpa, uint64_t bytes), void *arg)
{
	const struct mem_region *r = &mem->region[idx];
	size_t npages = r->bytes / MEM_PAGE_SIZE, start = 0, run = 0;

	for (size_t w = 0; w < BITMAP_WORDS(npages); w++) {
		uint64_t bits = __atomic_load_n(&mem->log[idx][w], __ATOMIC_RELAXED);

		if (bits)
			bits = __atomic_exchange_n(&mem->log[idx][w], 0, __ATOMIC_ACQ_REL);
		for (; bits; bits &= bits - 1) {
			size_t p = w * 64 + (size_t)__builtin_ctzll(bits);

			if (run && start + run == p) {
				run++;
				continue;
			}
			if (run)
				fn(arg, r->gpa + start * MEM_PAGE_SIZE, run * MEM_PAGE_SIZE);
			start = p;
			run = 1;
		}
	}
	if (run)
		fn(arg, r->gpa + start * MEM_PAGE_SIZE, run * MEM_PAGE_SIZE);
}

void mem_log_harvest(struct mem *mem, void (*fn)(void *arg, gpa_t gpa, uint64_t bytes), void *arg)
{
	for (unsigned i = 0; i < mem->nregions; i++)
		if (mem->log[i])
			harvest_region(mem, i, fn, arg);
}

uint64_t mem_bytes(const struct mem *mem)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < mem->nregions; i++)
		n += mem->region[i].bytes;
	return n;
}

uint64_t mem_resident_bytes(const struct mem *mem)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < mem->nregions; i++) {
		struct stat st;

		if (fstat(mem->region[i].fd, &st) == 0)
			n += (uint64_t)st.st_blocks * 512;
	}
	return n;
}
