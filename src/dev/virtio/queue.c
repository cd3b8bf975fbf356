/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - split virtqueues: taking chains, returning them, deciding who is told.
 *
 * Everything here runs on the device's I/O loop.  Ring memory is shared with a
 * hostile guest that may change it at any moment, so each index and descriptor is
 * loaded once and only the copy is looked at.  A walk ends by construction: it takes
 * at most as many steps as the table has entries, and enters one indirect table at
 * most.  Whatever does not fit breaks the device and leaves the ring as it is.
 *
 * Barriers: an index is stored with release after what it publishes and loaded
 * with acquire before what it covers.  Both sides of "tell me" and "there is more"
 * are a store followed by a load of another word, which needs a full barrier.
 *
 * Source: virtio 1.2, 2.7.
 */
#include <string.h>

#include "dev/virtio/internal.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };
enum { RING_FLAGS = 0, RING_IDX = 2, RING_ENTRIES = 4 }; /* in both rings */

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static bool has(const struct virtq *q, uint64_t feature)
{
	return q->vd->features & feature;
}

static struct mem *mem_of(const struct virtq *q)
{
	return q->vd->pci.dev.env->mem;
}

/* Store before load; a fence that ThreadSanitizer's builds can have, too. */
static inline void full_barrier(void)
{
	__asm__ volatile("lock orl $0, (%%rsp)" ::: "memory", "cc");
}

static uint16_t load16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
}

static void store16(struct virtq *q, uint64_t off, uint16_t val)
{
	__atomic_store_n((uint16_t *)(q->used_hva + off), val, __ATOMIC_RELEASE);
	mem_written(mem_of(q), q->used + off, 2);
}

static int broken(struct virtq *q, const char *why)
{
	virtio_broken(q->vd, why);
	return -1;
}

/* --- where the ring is ----------------------------------------------------------- */

static uint64_t avail_bytes(unsigned size)
{
	return 6 + 2 * (uint64_t)size;
}

static uint64_t used_bytes(unsigned size)
{
	return 6 + 8 * (uint64_t)size;
}

bool virtq_placed(const struct virtq *q)
{
	const struct mem *mem = mem_of(q);

	return q->size && q->size <= q->max_size && !(q->size & (q->size - 1)) &&
	       !(q->desc % DESC_SIZE) && !(q->avail % 2) && !(q->used % 4) &&
	       mem_ptr(mem, q->desc, (uint64_t)q->size * DESC_SIZE) &&
	       mem_ptr(mem, q->avail, avail_bytes(q->size)) &&
	       mem_ptr(mem, q->used, used_bytes(q->size));
}

bool virtq_start(struct virtq *q)
{
	const struct mem *mem = mem_of(q);

	if (!virtq_placed(q))
		return false;
	q->desc_hva = mem_ptr(mem, q->desc, (uint64_t)q->size * DESC_SIZE);
	q->avail_hva = mem_ptr(mem, q->avail, avail_bytes(q->size));
	q->used_hva = mem_ptr(mem, q->used, used_bytes(q->size));
	q->signalled_valid = false;
	q->quiet = true; /* so that the next empty ring says that kicks are wanted */
	return true;
}

/* --- taking ---------------------------------------------------------------------- */

/* One descriptor, read once: the barrier keeps the compiler from reading it again. */
static struct desc read_desc(const uint8_t *table, unsigned i)
{
	struct desc d;

	memcpy(&d, table + (size_t)i * DESC_SIZE, sizeof(d));
	__asm__ volatile("" ::: "memory");
	return d;
}

static int add_segment(struct virtq *q, struct virtq_elem *e, const struct desc *d)
{
	bool in = d->flags & DESC_WRITE;
	unsigned *n = in ? &e->nin : &e->nout;
	uint32_t *total = in ? &e->in_len : &e->out_len;
	void *p;

	if (!in && e->nin)
		return broken(q, "a readable descriptor follows a writable one");
	if (!d->len)
		return 0;
	if (*n == VIRTQ_MAX_SEGS || d->len > UINT32_MAX - *total)
		return broken(q, "a chain is too long");
	p = mem_ptr(mem_of(q), d->addr, d->len);
	if (!p)
		return broken(q, "a buffer is outside RAM");
	if (in)
		e->in_gpa[*n] = d->addr;
	(in ? e->in : e->out)[(*n)++] = (struct iovec){p, d->len};
	*total += d->len;
	return 0;
}

static const uint8_t *indirect_table(struct virtq *q, const struct desc *d)
{
	if (!has(q, VIRTIO_F_INDIRECT_DESC) || d->flags & DESC_NEXT || !d->len ||
	    d->len % DESC_SIZE || d->len / DESC_SIZE > VIRTQ_MAX_SIZE)
		return NULL;
	return mem_ptr(mem_of(q), d->addr, d->len);
}

static int read_chain(struct virtq *q, struct virtq_elem *e)
{
	const uint8_t *table = q->desc_hva;
	unsigned n = q->size, steps = q->size, i = e->head;
	bool indirect = false;

	for (;;) {
		struct desc d;

		if (i >= n || !steps--)
			return broken(q, "a chain leaves its table or never ends");
		d = read_desc(table, i);
		if (d.flags & DESC_INDIRECT) {
			table = indirect ? NULL : indirect_table(q, &d);
			if (!table)
				return broken(q, "an indirect table is malformed");
			indirect = true;
			n = steps = d.len / DESC_SIZE;
			i = 0;
			continue;
		}
		if (add_segment(q, e, &d) < 0)
			return -1;
		if (!(d.flags & DESC_NEXT))
			return 0;
		i = d.next;
	}
}

static uint64_t avail_event_off(const struct virtq *q)
{
	return RING_ENTRIES + 8 * (uint64_t)q->size;
}

/* Ask to be kicked at the next chain; true when one has come meanwhile. */
static bool enable_kicks(struct virtq *q)
{
	if (has(q, VIRTIO_F_EVENT_IDX))
		store16(q, avail_event_off(q), q->last_avail);
	else if (q->quiet)
		store16(q, RING_FLAGS, 0);
	q->quiet = false;
	full_barrier();
	return load16(q->avail_hva + RING_IDX) != q->last_avail;
}

static void disable_kicks(struct virtq *q)
{
	/* with EVENT_IDX: the driver kicks when it passes the event, which we leave behind */
	if (!has(q, VIRTIO_F_EVENT_IDX) && !q->quiet)
		store16(q, RING_FLAGS, USED_NO_NOTIFY);
	q->quiet = true;
}

int virtq_pop(struct virtq *q, struct virtq_elem *e)
{
	uint16_t idx;

	if (!virtio_running(q->vd) || !q->enabled || !pci_bus_master(&q->vd->pci))
		return 0;
	if (virtio_is_broken(q->vd))
		return -1;
	idx = load16(q->avail_hva + RING_IDX);
	if (idx == q->last_avail) {
		if (!enable_kicks(q))
			return 0;
		idx = load16(q->avail_hva + RING_IDX);
	}
	if ((uint16_t)(idx - q->last_avail) > q->size)
		return broken(q, "the available index jumped");
	disable_kicks(q);
	e->head = load16(q->avail_hva + RING_ENTRIES + 2 * (q->last_avail & (q->size - 1u)));
	if (e->head >= q->size)
		return broken(q, "an available entry is outside the table");
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

/* --- returning -------------------------------------------------------------------- */

void virtq_mark(struct virtq *q, const struct virtq_elem *e, uint32_t written)
{
	for (unsigned i = 0; i < e->nin && written; i++) {
		uint32_t n = (uint32_t)MIN((size_t)written, e->in[i].iov_len);

		mem_written(mem_of(q), e->in_gpa[i], n);
		written -= n;
	}
}

void virtq_fill(struct virtq *q, unsigned nth, uint16_t head, uint32_t written)
{
	const uint32_t entry[2] = {head, written};
	uint64_t off = RING_ENTRIES + 8 * ((q->used_idx + nth) & (q->size - 1u));

	if (virtio_is_broken(q->vd))
		return;
	memcpy(q->used_hva + off, entry, sizeof(entry));
	mem_written(mem_of(q), q->used + off, sizeof(entry));
}

void virtq_publish(struct virtq *q, unsigned n)
{
	if (virtio_is_broken(q->vd))
		return;
	q->used_idx = (uint16_t)(q->used_idx + n);
	store16(q, RING_IDX, q->used_idx);
}

void virtq_push(struct virtq *q, const struct virtq_elem *e, uint32_t written)
{
	virtq_mark(q, e, written);
	virtq_fill(q, 0, e->head, written);
	virtq_publish(q, 1);
}

/* 2.7.7: whether the driver asked to hear of what was published since it last did. */
static bool driver_wants_it(struct virtq *q)
{
	uint16_t old = q->signalled_used, now = q->used_idx, event;
	bool valid = q->signalled_valid;

	full_barrier();
	if (!has(q, VIRTIO_F_EVENT_IDX))
		return !(load16(q->avail_hva + RING_FLAGS) & AVAIL_NO_INTERRUPT);
	event = load16(q->avail_hva + RING_ENTRIES + 2 * (uint64_t)q->size);
	q->signalled_used = now;
	q->signalled_valid = true;
	return !valid || (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

void virtq_notify(struct virtq *q)
{
	if (!virtio_is_broken(q->vd) && driver_wants_it(q))
		virtio_interrupt(q->vd, __atomic_load_n(&q->msix_vector, __ATOMIC_RELAXED),
				 ISR_QUEUE);
}

/* --- contents ----------------------------------------------------------------------- */

size_t virtq_out_copy(const struct virtq_elem *e, size_t off, void *buf, size_t len)
{
	uint8_t *to = buf;

	for (unsigned i = 0; i < e->nout && len; i++) {
		size_t n = e->out[i].iov_len;

		if (off >= n) {
			off -= n;
			continue;
		}
		n = MIN(n - off, len);
		memcpy(to, (const uint8_t *)e->out[i].iov_base + off, n);
		off = 0;
		to += n;
		len -= n;
	}
	return (size_t)(to - (uint8_t *)buf);
}

size_t virtq_in_copy(struct virtq_elem *e, size_t off, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	for (unsigned i = 0; i < e->nin && len; i++) {
		size_t n = e->in[i].iov_len;

		if (off >= n) {
			off -= n;
			continue;
		}
		n = MIN(n - off, len);
		memcpy((uint8_t *)e->in[i].iov_base + off, from, n);
		off = 0;
		from += n;
		len -= n;
	}
	return (size_t)(from - (const uint8_t *)buf);
}
