/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - split virtqueues (virtio 1.2, 2.7), read as what they are: hostile.
 *
 * Everything runs on the device's I/O loop.  Ring indices and descriptors are
 * loaded once each; a chain is at most as long as the queue, in at most
 * VIRTQ_MAX_SEGS pieces, every piece inside one RAM region.  Anything else breaks
 * the device (virtio_broken()) until the driver resets it.
 */
#include <string.h>

#include "dev/virtio/virtio.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_SIZE = 16 };
enum { AVAIL_NO_INTERRUPT = 1 };

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct table { /* the ring's descriptors, or an indirect table */
	const uint8_t *base;
	unsigned n;
};

static int broken(struct virtq *q, const char *why)
{
	virtio_broken(q->vd, why);
	return -1;
}

static struct mem *mem_of(const struct virtq *q)
{
	return q->vd->pci.dev.env->mem;
}

static bool has(const struct virtq *q, uint64_t feature)
{
	return q->vd->features & feature;
}

/* The ring's parts; NULL when the driver put one outside RAM. */
static uint8_t *avail_ring(const struct virtq *q)
{
	return mem_ptr(mem_of(q), q->avail, 6 + 2ULL * q->size);
}

static uint8_t *used_ring(const struct virtq *q)
{
	return mem_ptr(mem_of(q), q->used, 6 + 8ULL * q->size);
}

static uint16_t load16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
}

static void store16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)p, v, __ATOMIC_RELEASE);
}

/* --- chains ------------------------------------------------------------------------ */

static int add_piece(struct virtq *q, struct virtq_elem *e, const struct desc *d)
{
	bool in = d->flags & DESC_WRITE;
	unsigned *n = in ? &e->nin : &e->nout;
	uint32_t *total = in ? &e->in_len : &e->out_len;
	void *hva;

	if (!d->len)
		return 0;
	if (!in && e->nin)
		return broken(q, "a readable descriptor behind a writable one");
	if (*n == VIRTQ_MAX_SEGS || d->len > UINT32_MAX - *total)
		return broken(q, "a chain of too many descriptors or bytes");
	hva = mem_ptr(mem_of(q), d->addr, d->len);
	if (!hva)
		return broken(q, "a descriptor outside RAM");
	if (in)
		e->in_gpa[*n] = d->addr;
	(in ? e->in : e->out)[(*n)++] = (struct iovec){hva, d->len};
	*total += d->len;
	return 0;
}

/* Replace *t and *d by the indirect table that @d names and its first descriptor. */
static int enter_indirect(struct virtq *q, struct table *t, struct desc *d)
{
	if (!has(q, VIRTIO_F_INDIRECT_DESC) || d->flags & DESC_NEXT || !d->len ||
	    d->len % DESC_SIZE)
		return broken(q, "a malformed indirect descriptor");
	t->n = MIN(d->len / DESC_SIZE, 65536u);
	t->base = mem_ptr(mem_of(q), d->addr, d->len);
	if (!t->base)
		return broken(q, "an indirect table outside RAM");
	memcpy(d, t->base, sizeof(*d));
	if (d->flags & DESC_INDIRECT)
		return broken(q, "an indirect table inside another");
	return 0;
}

static int read_chain(struct virtq *q, struct virtq_elem *e)
{
	struct table t = {mem_ptr(mem_of(q), q->desc, (uint64_t)DESC_SIZE * q->size), q->size};
	struct desc d;

	if (!t.base)
		return broken(q, "descriptors outside RAM");
	memcpy(&d, t.base + DESC_SIZE * e->head, sizeof(d));
	if (d.flags & DESC_INDIRECT && enter_indirect(q, &t, &d) < 0)
		return -1;
	for (unsigned count = 1;; count++) {
		if (add_piece(q, e, &d) < 0)
			return -1;
		if (!(d.flags & DESC_NEXT))
			return 0;
		if (d.next >= t.n || count >= t.n || count >= VIRTQ_MAX_SIZE)
			return broken(q, "a descriptor chain that does not end");
		memcpy(&d, t.base + DESC_SIZE * d.next, sizeof(d));
		if (d.flags & DESC_INDIRECT)
			return broken(q, "an indirect descriptor in the middle of a chain");
	}
}

/* Tell the driver that we want to hear of the next buffer.  True: one is there already. */
static bool enable_kicks(struct virtq *q, const uint8_t *avail, uint8_t *used)
{
	if (has(q, VIRTIO_F_EVENT_IDX)) {
		store16(used + 4 + 8ULL * q->size, q->last_avail);
		mem_mark_dirty(mem_of(q), q->used + 4 + 8ULL * q->size, 2);
	}
	__atomic_thread_fence(
		__ATOMIC_SEQ_CST); /* pairs with the driver's: store idx, load event */
	return load16(avail + 2) != q->last_avail;
}

int virtq_pop(struct virtq *q, struct virtq_elem *e)
{
	const uint8_t *avail;
	uint8_t *used;

	if (!q->enabled || !q->vd->running || q->vd->broken)
		return 0;
	avail = avail_ring(q);
	used = used_ring(q);
	if (!avail || !used)
		return broken(q, "a ring outside RAM");
	if (load16(avail + 2) == q->last_avail && !enable_kicks(q, avail, used))
		return 0;
	if ((uint16_t)(load16(avail + 2) - q->last_avail) > q->size)
		return broken(q, "an available index that jumped");
	e->head = load16(avail + 4 + 2 * (q->last_avail % q->size));
	if (e->head >= q->size)
		return broken(q, "a head outside the ring");
	e->nout = e->nin = 0;
	e->out_len = e->in_len = 0;
	if (read_chain(q, e) < 0)
		return -1;
	q->last_avail++;
	return 1;
}

void virtq_unpop(struct virtq *q)
{
	q->last_avail--;
}

static void mark_written(struct virtq *q, const struct virtq_elem *e, uint32_t written)
{
	for (unsigned i = 0; i < e->nin && written; i++) {
		uint32_t n = MIN(written, (uint32_t)e->in[i].iov_len);

		mem_mark_dirty(mem_of(q), e->in_gpa[i], n);
		written -= n;
	}
}

void virtq_push(struct virtq *q, const struct virtq_elem *e, uint32_t written)
{
	const uint32_t entry[2] = {e->head, written};
	uint8_t *used = used_ring(q);
	unsigned at = 4 + 8 * (q->used_idx % MAX(q->size, 1u));

	mark_written(q, e, written);
	if (!used || !q->size)
		return;
	memcpy(used + at, entry, sizeof(entry));
	q->used_idx++;
	store16(used + 2, q->used_idx);
	mem_mark_dirty(mem_of(q), q->used, 4);
	mem_mark_dirty(mem_of(q), q->used + at, 8);
}

/* 2.7.7.2: has the index passed the one the driver waits for? */
static bool driver_wants(struct virtq *q, const uint8_t *avail)
{
	uint16_t old = q->signalled_used;
	bool valid = q->signalled_valid;
	uint16_t event;

	__atomic_thread_fence(
		__ATOMIC_SEQ_CST); /* pairs with the driver's: store event, load idx */
	if (!has(q, VIRTIO_F_EVENT_IDX))
		return !(load16(avail) & AVAIL_NO_INTERRUPT);
	event = load16(avail + 4 + 2ULL * q->size);
	q->signalled_used = q->used_idx;
	q->signalled_valid = true;
	return !valid || (uint16_t)(q->used_idx - event - 1) < (uint16_t)(q->used_idx - old);
}

void virtq_notify(struct virtq *q)
{
	const uint8_t *avail = avail_ring(q);

	if (!avail || !q->enabled || !driver_wants(q, avail))
		return;
	if (pci_msix_enabled(&q->vd->pci)) {
		pci_msix_notify(&q->vd->pci, __atomic_load_n(&q->msix_vector, __ATOMIC_RELAXED));
		return;
	}
	__atomic_fetch_or(&q->vd->isr, 1, __ATOMIC_SEQ_CST);
	pci_intx_set(&q->vd->pci, true);
}

/* --- bytes --------------------------------------------------------------------------- */

static size_t copy(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len,
		   bool to_iov)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		size_t part;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = MIN(iov[i].iov_len - off, len - done);
		if (to_iov)
			memcpy((uint8_t *)iov[i].iov_base + off, (uint8_t *)buf + done, part);
		else
			memcpy((uint8_t *)buf + done, (uint8_t *)iov[i].iov_base + off, part);
		done += part;
		off = 0;
	}
	return done;
}

size_t virtq_out_copy(const struct virtq_elem *e, size_t off, void *buf, size_t len)
{
	return copy(e->out, e->nout, off, buf, len, false);
}

size_t virtq_in_copy(struct virtq_elem *e, size_t off, const void *buf, size_t len)
{
	return copy(e->in, e->nin, off, (void *)buf, len, true);
}
