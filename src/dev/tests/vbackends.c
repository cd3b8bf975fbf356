/* SPDX-License-Identifier: Apache-2.0 */
/* vbackends.c - see vbackends.h.  Requests complete on the loop in reverse order. */
#include "vbackends.h"

#include <errno.h>
#include <string.h>

/* --- disk --------------------------------------------------------------------------- */

static struct memdisk *to_disk(struct block *b)
{
	return container_of(b, struct memdisk, block);
}

static void copy(struct memdisk *m, struct block_req *r)
{
	uint8_t *at = m->data + r->offset;

	for (unsigned i = 0; i < r->niov; i++) {
		if (r->op == BLOCK_READ)
			memcpy(r->iov[i].iov_base, at, r->iov[i].iov_len);
		else
			memcpy(at, r->iov[i].iov_base, r->iov[i].iov_len);
		at += r->iov[i].iov_len;
	}
}

static int run(struct memdisk *m, struct block_req *r)
{
	if (__atomic_load_n(&m->fail, __ATOMIC_RELAXED))
		return -EIO;
	switch (r->op) {
	case BLOCK_FLUSH: m->flushes++; return 0;
	case BLOCK_DISCARD:
	case BLOCK_ZERO:
		m->discards++;
		if (r->offset + r->bytes > m->block.bytes)
			return -EINVAL;
		memset(m->data + r->offset, 0, r->bytes);
		return 0;
	default:
		if (r->offset + r->bytes > m->block.bytes)
			return -EINVAL;
		copy(m, r);
		return 0;
	}
}

static void complete(struct memdisk *m)
{
	struct list batch;

	list_init(&batch);
	while (!list_empty(&m->pending)) {
		struct list *l = m->pending.prev; /* the latest first */

		list_del(l);
		list_add(&batch, l);
	}
	while (!list_empty(&batch)) {
		struct block_req *r = list_first(&batch, struct block_req, link);

		list_del(&r->link);
		m->block.inflight--;
		r->done(r, run(m, r));
	}
}

static void on_post(void *arg)
{
	struct memdisk *m = arg;

	m->posted = false;
	if (!__atomic_load_n(&m->hold, __ATOMIC_RELAXED))
		complete(m);
}

static void disk_submit(struct block *b, struct block_req *req)
{
	list_init(&req->link);
	list_add(&to_disk(b)->pending, &req->link);
}

static void disk_kick(struct block *b)
{
	struct memdisk *m = to_disk(b);

	m->kicks++;
	if (!m->posted && !list_empty(&m->pending))
		m->posted = loop_post(b->loop, on_post, m) == 0;
}

static void disk_wait(struct block *b)
{
	complete(to_disk(b));
}

static const struct block_ops disk_ops = {
	.name = "memory", .submit = disk_submit, .kick = disk_kick, .wait = disk_wait};

int memdisk_init(struct memdisk *m, struct loop *loop, uint64_t bytes)
{
	*m = (struct memdisk){
		.block = {.ops = &disk_ops, .bytes = bytes, .discard = true, .loop = loop}};
	list_init(&m->pending);
	m->data = calloc(1, bytes);
	return m->data ? 0 : -ENOMEM;
}

void memdisk_fini(struct memdisk *m)
{
	free(m->data);
}

/* --- wire --------------------------------------------------------------------------------- */

static struct memwire *to_wire(struct net *n)
{
	return container_of(n, struct memwire, net);
}

static bool wire_send(struct net *n, unsigned queue, const struct net_hdr *hdr,
		      const struct iovec *iov, unsigned niov, size_t len)
{
	struct memwire *w = to_wire(n);
	size_t at = 0;

	if (w->full)
		return false;
	if (w->nsent == WIRE_FRAMES)
		return true;
	w->sent[w->nsent].data = malloc(len);
	if (!w->sent[w->nsent].data)
		return true;
	for (unsigned i = 0; i < niov; i++) {
		memcpy(w->sent[w->nsent].data + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	if (at != len)
		abort(); /* the card counted wrongly */
	w->sent[w->nsent].hdr = *hdr;
	w->sent[w->nsent].queue = queue;
	w->sent[w->nsent++].len = len;
	return true;
}

static void offer(struct memwire *w)
{
	/* in two pieces, as a back end may hand it */
	size_t half = MIN(w->in_len, (size_t)100);
	struct iovec iov[2] = {{w->in, half}, {w->in + half, w->in_len - half}};

	if (!w->in_len || !w->net.client)
		return;
	w->in_taken =
		w->net.client->receive(w->net.client, w->in_queue, &w->in_hdr, iov, 2, w->in_len);
	if (w->in_taken)
		w->in_len = 0;
}

static void wire_rx_ready(struct net *n, unsigned queue)
{
	if (queue == to_wire(n)->in_queue)
		offer(to_wire(n));
}

static int wire_set_offloads(struct net *n, unsigned offloads)
{
	to_wire(n)->offloads = offloads;
	return 0;
}

static void wire_pause(struct net *n)
{
	to_wire(n)->paused++;
}

static void wire_resume(struct net *n)
{
	to_wire(n)->paused--;
}

static const struct net_ops wire_ops = {
	.name = "memory",
	.send = wire_send,
	.rx_ready = wire_rx_ready,
	.set_offloads = wire_set_offloads,
	.pause = wire_pause,
	.resume = wire_resume,
};

int memwire_init(struct memwire *w, struct loop *loop, unsigned features, unsigned queues)
{
	*w = (struct memwire){.net = {.ops = &wire_ops,
				      .loop = loop,
				      .features = features,
				      .nqueues = queues,
				      .mtu = 1500}};
	w->in = calloc(1, WIRE_MAX);
	return w->in ? 0 : -ENOMEM;
}

void memwire_fini(struct memwire *w)
{
	for (unsigned i = 0; i < w->nsent; i++)
		free(w->sent[i].data);
	free(w->in);
}

struct injection {
	struct memwire *w;
	unsigned queue;
	const void *data;
	size_t len;
	bool taken;
};

static void inject(void *arg)
{
	struct injection *i = arg;

	memcpy(i->w->in, i->data, i->len);
	i->w->in_len = i->len;
	i->w->in_queue = i->queue;
	offer(i->w);
	i->taken = i->w->in_taken;
}

bool memwire_inject(struct memwire *w, unsigned queue, const void *data, size_t len)
{
	struct injection i = {w, queue, data, len, false};

	return len <= WIRE_MAX && loop_call(w->net.loop, inject, &i) == 0 && i.taken;
}

static void open_wire(void *arg)
{
	struct memwire *w = arg;

	w->full = false;
	if (w->net.client)
		w->net.client->tx_ready(w->net.client);
}

void memwire_open(struct memwire *w)
{
	if (loop_call(w->net.loop, open_wire, w) < 0)
		abort();
}
