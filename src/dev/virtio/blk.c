/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk.c - virtio block device (virtio 1.2, 5.2).
 *
 * A request is a chain: a 16-byte header and data to write in the readable part, data
 * to read and a status byte at the end of the writable part.  Requests under way come
 * from a fixed pool, so a guest can hold only so much of the host; while the pool is
 * empty the rings wait.  Guest memory is handed to the back end as it is; a batch of
 * requests is submitted by one block_kick().  Completions come in any order.
 *
 * DISCARD and WRITE_ZEROES carry several ranges, which are done one after another.
 * When the driver chose write-through, a write is followed by a flush before it is
 * reported.
 */
#include <errno.h>
#include <string.h>

#include "block/block.h"
#include "dev/virtio/virtio.h"

enum { /* feature bits */
       F_SEG_MAX = 2,
       F_RO = 5,
       F_BLK_SIZE = 6,
       F_FLUSH = 9,
       F_TOPOLOGY = 10,
       F_CONFIG_WCE = 11,
       F_MQ = 12,
       F_DISCARD = 13,
       F_WRITE_ZEROES = 14,
};
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum { SECTOR = 512, ID_LEN = 20, QUEUE_SIZE = 256, MAX_QUEUES = 16, UNMAP = 1 };
enum { MAX_REQS = 128, BATCH = 256, MAX_RANGES = 16 };
enum { MAX_RANGE_SECTORS = 1 << 22, MAX_BYTES = 1 << 30 };

struct blk_config { /* 5.2.4 */
	uint64_t capacity;
	uint32_t size_max, seg_max, geometry, blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
} __attribute__((packed));

struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct blk_range {
	uint64_t sector;
	uint32_t nsectors, flags;
};

struct blk_req { /* I/O loop */
	struct block_req io;
	struct list link; /* of the free ones */
	struct virtq *q;
	struct virtq_elem e;
	struct iovec iov[VIRTQ_MAX_SEGS]; /* the data: e without header and status */
	struct blk_range range[MAX_RANGES];
	unsigned nranges, at;
	bool flush_after;
};

struct blk {
	struct virtio_dev vd;
	struct block *block;
	struct blk_config cfg;
	uint8_t writeback; /* atomic: the driver's choice in cfg */
	uint8_t serial[ID_LEN];
	struct blk_req *reqs; /* the pool */
	struct list free;     /* I/O loop */
	bool starved;	      /* I/O loop: some queue waits for a free request */
};

static struct blk *to_blk(struct virtio_dev *vd)
{
	return container_of(vd, struct blk, vd);
}

static bool write_through(const struct blk *b)
{
	if (b->vd.features & BIT(F_CONFIG_WCE))
		return !__atomic_load_n(&b->writeback, __ATOMIC_RELAXED);
	return !(b->vd.features & BIT(F_FLUSH));
}

/* --- completion ------------------------------------------------------------------ */

static void finish(struct blk *b, struct blk_req *r, uint8_t status)
{
	struct virtq *q = r->q;

	virtq_in_copy(&r->e, r->e.in_len - 1, &status, 1);
	virtq_push(q, &r->e, r->e.in_len);
	virtq_notify(q);
	list_add(&b->free, &r->link);
	if (!b->starved)
		return;
	b->starved = false;
	for (unsigned i = 0; i < b->vd.nqueues; i++)
		virtio_kick(&b->vd, i);
}

static void start_range(struct blk *b, struct blk_req *r)
{
	const struct blk_range *g = &r->range[r->at++];

	r->io.offset = g->sector * SECTOR;
	r->io.bytes = (uint64_t)g->nsectors * SECTOR;
	r->io.unmap = g->flags & UNMAP;
	block_submit(b->block, &r->io);
}

static void on_done(struct block_req *io, int ret)
{
	struct blk_req *r = container_of(io, struct blk_req, io);
	struct blk *b = to_blk(r->q->vd);

	if (ret) {
		finish(b, r, ret == -EOPNOTSUPP ? S_UNSUPP : S_IOERR);
	} else if (r->at < r->nranges) {
		start_range(b, r);
		block_kick(b->block);
	} else if (r->flush_after) {
		r->flush_after = false;
		r->io.op = BLOCK_FLUSH;
		block_submit(b->block, io);
		block_kick(b->block);
	} else {
		finish(b, r, S_OK);
	}
}

/* --- requests: each returns the status to finish with at once, or -1: submitted --------- */

/* @len bytes from @off on as pieces in @out. */
static unsigned slice(const struct iovec *iov, unsigned n, size_t off, size_t len,
		      struct iovec *out)
{
	unsigned k = 0;

	for (unsigned i = 0; i < n && len; i++) {
		size_t part = iov[i].iov_len;

		if (off >= part) {
			off -= part;
			continue;
		}
		part = MIN(part - off, len);
		out[k++] = (struct iovec){(uint8_t *)iov[i].iov_base + off, part};
		len -= part;
		off = 0;
	}
	return k;
}

static bool on_disk(const struct blk *b, uint64_t sector, uint64_t nsectors)
{
	uint64_t capacity = b->cfg.capacity;

	return nsectors && nsectors <= capacity && sector <= capacity - nsectors;
}

static int transfer(struct blk *b, struct blk_req *r, const struct blk_header *h)
{
	bool write = h->type == T_OUT;
	const struct virtq_elem *e = &r->e;
	uint32_t bytes = write ? e->out_len - (uint32_t)sizeof(*h) : e->in_len - 1;

	if (bytes % SECTOR || bytes > MAX_BYTES || !on_disk(b, h->sector, bytes / SECTOR) ||
	    (write && b->block->readonly))
		return S_IOERR;
	r->io.op = write ? BLOCK_WRITE : BLOCK_READ;
	r->io.offset = h->sector * SECTOR;
	r->io.bytes = bytes;
	r->io.niov = write ? slice(e->out, e->nout, sizeof(*h), bytes, r->iov)
			   : slice(e->in, e->nin, 0, bytes, r->iov);
	r->flush_after = write && write_through(b);
	block_submit(b->block, &r->io);
	return -1;
}

static int flush(struct blk *b, struct blk_req *r)
{
	r->io.op = BLOCK_FLUSH;
	block_submit(b->block, &r->io);
	return -1;
}

static int ranges(struct blk *b, struct blk_req *r, uint32_t type)
{
	uint32_t bytes = r->e.out_len - (uint32_t)sizeof(struct blk_header);

	if (b->block->readonly || !bytes || bytes % sizeof(r->range[0]) || bytes > sizeof(r->range))
		return S_IOERR;
	r->nranges = bytes / (unsigned)sizeof(r->range[0]);
	r->at = 0;
	virtq_out_copy(&r->e, sizeof(struct blk_header), r->range, bytes);
	for (unsigned i = 0; i < r->nranges; i++) {
		const struct blk_range *g = &r->range[i];

		if (g->flags & ~(uint32_t)UNMAP || (type == T_DISCARD && g->flags & UNMAP))
			return S_UNSUPP;
		if (g->nsectors > MAX_RANGE_SECTORS || !on_disk(b, g->sector, g->nsectors))
			return S_IOERR;
	}
	r->io.op = type == T_DISCARD ? BLOCK_DISCARD : BLOCK_ZERO;
	start_range(b, r);
	return -1;
}

static int get_id(struct blk *b, struct blk_req *r)
{
	virtq_in_copy(&r->e, 0, b->serial, MIN(r->e.in_len - 1, (uint32_t)ID_LEN));
	return S_OK;
}

static int start_request(struct blk *b, struct blk_req *r, const struct blk_header *h)
{
	r->io = (struct block_req){.iov = r->iov, .done = on_done};
	r->nranges = r->at = 0;
	r->flush_after = false;
	switch (h->type) {
	case T_IN:
	case T_OUT: return transfer(b, r, h);
	case T_FLUSH: return flush(b, r);
	case T_GET_ID: return get_id(b, r);
	case T_DISCARD:
	case T_WRITE_ZEROES: return ranges(b, r, h->type);
	default: return S_UNSUPP;
	}
}

/* False: the ring has no more, or the device broke. */
static bool serve_one(struct blk *b, struct virtq *q)
{
	struct blk_req *r = list_first(&b->free, struct blk_req, link);
	struct blk_header h;
	int status;

	if (virtq_pop(q, &r->e) <= 0)
		return false;
	if (virtq_out_copy(&r->e, 0, &h, sizeof(h)) != sizeof(h) || !r->e.in_len) {
		virtio_broken(&b->vd, "a request without header or status");
		return false;
	}
	list_del(&r->link);
	r->q = q;
	status = start_request(b, r, &h);
	if (status >= 0)
		finish(b, r, (uint8_t)status);
	return true;
}

static void blk_queue_ready(struct virtio_dev *vd, struct virtq *q)
{
	struct blk *b = to_blk(vd);
	unsigned n = 0;

	while (n < BATCH && !list_empty(&b->free) && serve_one(b, q))
		n++;
	block_kick(b->block);
	if (list_empty(&b->free))
		b->starved = true; /* finish() comes back */
	else if (n == BATCH)
		virtio_kick(vd, q->index);
}

static void blk_reset(struct virtio_dev *vd)
{
	__atomic_store_n(&to_blk(vd)->writeback, 1, __ATOMIC_RELAXED);
}

static void blk_stop(struct virtio_dev *vd)
{
	block_drain(to_blk(vd)->block);
}

/* --- configuration ------------------------------------------------------------------ */

static void blk_config_read(struct virtio_dev *vd, unsigned off, void *buf, unsigned len)
{
	struct blk_config c = to_blk(vd)->cfg;

	c.writeback = __atomic_load_n(&to_blk(vd)->writeback, __ATOMIC_RELAXED);
	memcpy(buf, (const uint8_t *)&c + off, len);
}

static void blk_config_write(struct virtio_dev *vd, unsigned off, const void *buf, unsigned len)
{
	uint8_t on = *(const uint8_t *)buf & 1;

	if (off == offsetof(struct blk_config, writeback) && len == 1 &&
	    vd->features & BIT(F_CONFIG_WCE))
		__atomic_store_n(&to_blk(vd)->writeback, on, __ATOMIC_RELAXED);
}

static const struct virtio_ops ops = {
	.name = "virtio-blk",
	.device_id = 2,
	.pci_class = 0x010000 << 8,
	.config_read = blk_config_read,
	.config_write = blk_config_write,
	.reset = blk_reset,
	.stop = blk_stop,
	.queue_ready = blk_queue_ready,
};

static uint64_t fill_config(struct blk *b, unsigned nqueues)
{
	uint64_t features = BIT(F_SEG_MAX) | BIT(F_BLK_SIZE) | BIT(F_FLUSH) | BIT(F_TOPOLOGY) |
			    BIT(F_CONFIG_WCE) | BIT(F_MQ);

	b->cfg = (struct blk_config){
		.capacity = b->block->bytes / SECTOR,
		.seg_max = VIRTQ_MAX_SEGS - 2,
		.blk_size = SECTOR,
		.physical_block_exp = 3, /* 4 KiB, as the host's file systems have it */
		.min_io_size = 8,
		.num_queues = (uint16_t)nqueues,
		.max_discard_sectors = MAX_RANGE_SECTORS,
		.max_discard_seg = MAX_RANGES,
		.discard_sector_alignment = 8,
		.max_write_zeroes_sectors = MAX_RANGE_SECTORS,
		.max_write_zeroes_seg = MAX_RANGES,
		.write_zeroes_may_unmap = 1,
	};
	if (b->block->readonly)
		return features | BIT(F_RO);
	return features | BIT(F_WRITE_ZEROES) | (b->block->discard ? BIT(F_DISCARD) : 0);
}

/* --- life and state ------------------------------------------------------------------- */

static int blk_init(struct device *dev, const void *cfg, struct errbuf *err)
{
	struct blk *b = container_of(dev, struct blk, vd.pci.dev);
	const struct virtio_blk_config *c = cfg;
	struct virtio_setup s = {.host = c->host,
				 .loop = c->loop,
				 .queue_size = QUEUE_SIZE,
				 .config_len = sizeof(b->cfg)};

	list_init(&b->free);
	b->block = c->block;
	b->reqs = calloc(MAX_REQS, sizeof(*b->reqs));
	if (!b->reqs)
		return err_set(err, -ENOMEM, "%s: out of memory", dev->id);
	for (unsigned i = 0; i < MAX_REQS; i++)
		list_add(&b->free, &b->reqs[i].link);
	if (c->serial)
		memcpy(b->serial, c->serial, strnlen(c->serial, ID_LEN));
	s.nqueues = MAX(1u, MIN(c->nqueues, (unsigned)MAX_QUEUES));
	s.features = fill_config(b, s.nqueues);
	return virtio_setup(&b->vd, &ops, &s, err);
}

static void blk_fini(struct device *dev)
{
	struct blk *b = container_of(dev, struct blk, vd.pci.dev);

	virtio_teardown(&b->vd);
	free(b->reqs);
}

static int blk_post_load(void *obj, struct errbuf *err)
{
	struct blk *b = obj;

	b->writeback &= 1;
	return virtio_post_load(&b->vd, err);
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct blk, vd, virtio_dev_fields),
	STATE_INT(struct blk, writeback),
	STATE_FIELDS_END,
};

static const struct state_desc state = {
	.name = "virtio-blk",
	.version = 1,
	.fields = fields,
	.post_load = blk_post_load,
};

const struct dev_ops virtio_blk_ops = {
	.name = "virtio-blk",
	.size = sizeof(struct blk),
	.init = blk_init,
	.fini = blk_fini,
	.reset = virtio_reset,
	.read = virtio_read,
	.write = virtio_write,
	.pause = virtio_pause,
	.resume = virtio_resume,
	.state = &state,
};
