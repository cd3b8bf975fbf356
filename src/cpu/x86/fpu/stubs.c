/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stubs.c - the arena of generated stubs, and their look-up.
 *
 * One memory file is mapped twice: executable for the vCPUs, writable for the one
 * that adds a stub; no page is ever both.  A stub has a fixed slot of 64 bytes and
 * is never changed once published, so the look-up takes no lock: an open-addressed
 * table of (key, slot) words, each written once with release order.  The decoder's
 * rows bound the number of keys (about 80000, most of them imm8 values); the
 * arena has room for all of them, and costs memory only for those used.
 *
 * After fpu_stubs_new() the only system call is futex, when two vCPUs add at once.
 */
#include "cpu/x86/fpu/fpu.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

enum {
	ARENA_BYTES = STUB_SLOTS * STUB_MAX_BYTES,
	TABLE_BITS = 18,
	TABLE_SIZE = 1 << TABLE_BITS,
	X86_INT3 = 0xcc,
};

struct fpu_stubs {	      /* code and table: atomic reads; @lock for adding */
	pthread_mutex_t lock; /* leaf */
	uint8_t *rw, *rx;     /* the arena's two mappings, ARENA_BYTES each */
	uint32_t used;	      /* slots */
	uint64_t *table;      /* key in bits 0..31, slot in bits 32..63; 0: free */
};

/* --- arena ------------------------------------------------------------------- */

static int arena_file(void)
{
	int fd = memfd_create("caisson-stubs", MFD_CLOEXEC | MFD_EXEC);

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create("caisson-stubs", MFD_CLOEXEC);
	return fd;
}

static void *map_shared(int fd, int prot)
{
	void *p = mmap(NULL, ARENA_BYTES, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int arena_map(struct fpu_stubs *s, struct errbuf *err)
{
	AUTO_FD int fd = arena_file();
	void *table;

	if (fd < 0 || ftruncate(fd, ARENA_BYTES) < 0)
		return err_set(err, -errno, "memory file for generated code: %m");
	s->rw = map_shared(fd, PROT_READ | PROT_WRITE);
	s->rx = map_shared(fd, PROT_READ | PROT_EXEC);
	if (!s->rw || !s->rx)
		return err_set(err, -errno, "cannot map generated code: %m");
	table = mmap(NULL, TABLE_SIZE * sizeof(*s->table), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (table == MAP_FAILED)
		return err_set(err, -errno, "cannot map the table of generated code: %m");
	s->table = table;
	return 0;
}

static uint32_t hash(uint32_t key)
{
	return key * 0x9e3779b1U >> (32 - TABLE_BITS);
}

static stub_fn *slot_code(const struct fpu_stubs *s, uint64_t word)
{
	return (stub_fn *)(s->rx + (word >> 32) * STUB_MAX_BYTES);
}

/* Insert under the lock; another vCPU may have been first. */
static __attribute__((noinline)) stub_fn *stub_add(struct fpu_stubs *s, const struct insn *i,
						   uint32_t key)
{
	uint8_t code[STUB_MAX_BYTES];
	stub_fn *fn = NULL;
	uint32_t h;

	pthread_mutex_lock(&s->lock);
	for (h = hash(key); s->table[h]; h = (h + 1) & (TABLE_SIZE - 1)) {
		if ((uint32_t)s->table[h] == key) {
			fn = slot_code(s, s->table[h]);
			break;
		}
	}
	if (!fn && s->used < STUB_SLOTS) {
		uint64_t word = (uint64_t)s->used << 32 | key;

		memset(code, X86_INT3, sizeof(code));
		stub_emit(i, code);
		memcpy(s->rw + (size_t)s->used * STUB_MAX_BYTES, code, sizeof(code));
		s->used++;
		/* pairs with the acquire in stub_find() */
		__atomic_store_n(&s->table[h], word, __ATOMIC_RELEASE);
		fn = slot_code(s, word);
	}
	pthread_mutex_unlock(&s->lock);
	return fn;
}

stub_fn *stub_find(struct fpu_stubs *s, const struct insn *i)
{
	uint32_t key = stub_key(i);

	for (uint32_t h = hash(key);; h = (h + 1) & (TABLE_SIZE - 1)) {
		uint64_t word = __atomic_load_n(&s->table[h], __ATOMIC_ACQUIRE);

		if (likely((uint32_t)word == key))
			return slot_code(s, word);
		if (!word)
			return stub_add(s, i, key);
	}
}

/* --- life cycle ---------------------------------------------------------------------- */

int fpu_stubs_new(struct fpu_stubs **out, struct errbuf *err)
{
	struct fpu_stubs *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(err, -ENOMEM, "generated code: out of memory");
	pthread_mutex_init(&s->lock, NULL);
	rc = arena_map(s, err);
	if (rc) {
		fpu_stubs_free(s);
		return rc;
	}
	trap_install();
	*out = s;
	return 0;
}

void fpu_stubs_free(struct fpu_stubs *s)
{
	if (!s)
		return;
	if (s->rw)
		munmap(s->rw, ARENA_BYTES);
	if (s->rx)
		munmap(s->rx, ARENA_BYTES);
	if (s->table)
		munmap(s->table, TABLE_SIZE * sizeof(*s->table));
	pthread_mutex_destroy(&s->lock);
	free(s);
}
