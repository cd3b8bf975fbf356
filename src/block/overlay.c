/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlay.c - a filter that keeps writes in memory and drops them at the end.
 *
 * One private mapping as large as the disk, without reservation, holds what was
 * written at its own offset: it costs host memory by touched 4 KiB pages, and needs
 * no look-up.  A bitmap says which sectors are there.  A read that needs the
 * file goes there as a whole and the overlay's sectors are laid over it when it
 * comes back, so a read under way sees a concurrent write entirely or not at
 * all per sector.  Zeroed and discarded sectors are in the overlay as zeroes; whole
 * pages of them are given back.  A flush has nothing to do.
 *
 * System calls of its own: madvise, write and read (eventfd), futex, poll (drain).
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bitmap.h"
#include "block/internal.h"

enum { SECTOR = 512, PAGE = 4096 };

struct child { /* a read below, on behalf of @req */
	struct block_req lower;
	struct block_req *req;
	struct overlay *overlay;
	struct child *next; /* free ones */
};

struct overlay {
	struct block b;
	struct block *lower;
	struct completer comp;
	uint8_t *data;	   /* b.bytes of it */
	uint64_t *present; /* one bit a sector */
	size_t present_bytes;
	struct child *free;
};

/* --- sectors ------------------------------------------------------------------------ */

static bool all_present(const struct overlay *o, uint64_t offset, uint64_t bytes)
{
	for (uint64_t s = offset / SECTOR; s < (offset + bytes) / SECTOR; s++)
		if (!bitmap_test(o->present, s))
			return false;
	return true;
}

static void set_present(struct overlay *o, uint64_t offset, uint64_t bytes)
{
	uint64_t s = offset / SECTOR, end = (offset + bytes) / SECTOR;

	while (s < end) {
		if (s % 64 == 0 && end - s >= 64) {
			o->present[s / 64] = ~0ULL;
			s += 64;
		} else {
			bitmap_set(o->present, s++);
		}
	}
}

/* --- reads --------------------------------------------------------------------------- */

/* Lay the sectors that are here over the caller's buffers. */
static void copy_present(const struct overlay *o, const struct block_req *req)
{
	uint64_t pos = req->offset;

	for (unsigned i = 0; i < req->niov; i++) {
		uint8_t *to = req->iov[i].iov_base;
		size_t left = req->iov[i].iov_len;

		while (left) {
			size_t n = MIN(left, (size_t)(SECTOR - pos % SECTOR));

			if (bitmap_test(o->present, pos / SECTOR))
				memcpy(to, o->data + pos, n);
			to += n;
			pos += n;
			left -= n;
		}
	}
}

static void read_done(struct block_req *lower, int ret)
{
	struct child *c = container_of(lower, struct child, lower);
	struct overlay *o = c->overlay;
	struct block_req *req = c->req;

	c->next = o->free;
	o->free = c;
	if (!ret)
		copy_present(o, req);
	block_done(req, ret);
}

static int read_below(struct overlay *o, struct block_req *req)
{
	struct child *c = o->free;

	if (c)
		o->free = c->next;
	else
		c = malloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->overlay = o;
	c->req = req;
	c->lower = (struct block_req){.op = BLOCK_READ,
				      .offset = req->offset,
				      .bytes = req->bytes,
				      .iov = req->iov,
				      .niov = req->niov,
				      .done = read_done};
	block_submit(o->lower, &c->lower);
	return 0;
}

/* --- writes ----------------------------------------------------------------------------- */

static void write_data(struct overlay *o, const struct block_req *req)
{
	uint64_t pos = req->offset;

	for (unsigned i = 0; i < req->niov; i++) {
		if (req->iov[i].iov_len)
			memcpy(o->data + pos, req->iov[i].iov_base, req->iov[i].iov_len);
		pos += req->iov[i].iov_len;
	}
	set_present(o, req->offset, req->bytes);
}

static int write_zeroes(struct overlay *o, const struct block_req *req)
{
	uint64_t end = req->offset + req->bytes;
	uint64_t first = MIN(ALIGN_UP(req->offset, (uint64_t)PAGE), end);
	uint64_t last = MAX(ALIGN_DOWN(end, (uint64_t)PAGE), first);

	memset(o->data + req->offset, 0, first - req->offset);
	memset(o->data + last, 0, end - last);
	if (last > first && madvise(o->data + first, last - first, MADV_DONTNEED) < 0)
		return -errno;
	set_present(o, req->offset, req->bytes);
	return 0;
}

static void overlay_submit(struct block *b, struct block_req *req)
{
	struct overlay *o = container_of(b, struct overlay, b);
	int ret = block_check(b, req);

	if (!ret && req->op == BLOCK_READ && !all_present(o, req->offset, req->bytes)) {
		ret = read_below(o, req);
		if (!ret)
			return;
	} else if (!ret && req->op == BLOCK_READ) {
		copy_present(o, req);
	} else if (!ret && req->op == BLOCK_WRITE) {
		write_data(o, req);
	} else if (!ret && req->op != BLOCK_FLUSH) {
		ret = write_zeroes(o, req);
	}
	completer_add(&o->comp, req, ret);
}

/* --- life ------------------------------------------------------------------------------- */

static void overlay_kick(struct block *b)
{
	block_kick(container_of(b, struct overlay, b)->lower);
}

static void overlay_event(struct loop_watch *w, uint32_t events)
{
	struct overlay *o = container_of(w, struct overlay, comp.watch);

	completer_clear(&o->comp);
	completer_run(&o->comp);
}

/* What is below first; all the rest is answered already. */
static void overlay_wait(struct block *b)
{
	struct overlay *o = container_of(b, struct overlay, b);

	block_drain(o->lower);
	overlay_event(&o->comp.watch, 0);
}

static void free_overlay(struct overlay *o)
{
	struct child *c;

	while ((c = o->free)) {
		o->free = c->next;
		free(c);
	}
	completer_fini(&o->comp);
	if (o->data != MAP_FAILED)
		munmap(o->data, o->b.bytes);
	if (o->present != MAP_FAILED)
		munmap(o->present, o->present_bytes);
	free(o);
}

static void overlay_free(struct block *b)
{
	struct overlay *o = container_of(b, struct overlay, b);
	struct block *lower = o->lower;

	free_overlay(o);
	block_free(lower);
}

static const struct block_ops overlay_ops = {
	.name = "overlay",
	.submit = overlay_submit,
	.kick = overlay_kick,
	.wait = overlay_wait,
	.free = overlay_free,
};

static void *map_lazily(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	/* a huge page for one sector would cost 512 times what is needed */
	if (p != MAP_FAILED)
		madvise(p, bytes, MADV_NOHUGEPAGE);
	return p;
}

int block_overlay_new(struct block *lower, struct block **out, struct errbuf *err)
{
	struct file f = {.fd = -1, .bytes = lower->bytes, .path = lower->name};
	struct overlay *o = calloc(1, sizeof(*o));
	int ret;

	if (!o)
		return err_set(err, -ENOMEM, "disk '%s': out of memory", lower->name);
	block_init(&o->b, &overlay_ops, &f, lower->loop);
	o->lower = lower;
	o->present_bytes = BITMAP_WORDS(lower->bytes / SECTOR) * sizeof(uint64_t);
	o->data = map_lazily(lower->bytes);
	o->present = map_lazily(o->present_bytes);
	if (o->data == MAP_FAILED || o->present == MAP_FAILED) {
		ret = err_set(err, -errno,
			      "disk '%s': no address space for an overlay of %llu MiB: %m; check "
			      "'ulimit -v' and vm.overcommit_memory",
			      lower->name, (unsigned long long)lower->bytes >> 20);
	} else {
		ret = completer_init(&o->comp, lower->loop, overlay_event);
		if (ret)
			err_set(err, ret, "disk '%s': %s", lower->name, strerror(-ret));
	}
	if (ret) {
		free_overlay(o);
		return ret;
	}
	*out = &o->b;
	return 0;
}
