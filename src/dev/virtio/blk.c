/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk.c - virtio block device (virtio 1.2, 5.2).
 *
 * A request is a chain: a 16-byte header and data to write in the readable part,
 * data to read and a status byte in the writable part.  Requests under way come
 * from a fixed pool, so a guest can hold only so much of the host; when the pool is
 * empty the rings wait.  Completions may come in any order.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "block/block.h"
#include "dev/virtio/virtio.h"

enum {
	F_SEG_MAX = 2,
	F_RO = 5,
	F_BLK_SIZE = 6,
	F_FLUSH = 9,
	F_TOPOLOGY = 10,
	F_MQ = 12,
	F_DISCARD = 13,
	F_WRITE_ZEROES = 14,

	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_GET_ID = 8,
	T_DISCARD = 11,
	T_WRITE_ZEROES = 13,
	S_OK = 0,
	S_IOERR = 1,
	S_UNSUPP = 2,

	SECTOR = 512,
	ID_LEN = 20,
	HEADER = 16,
	QUEUE_SIZE = 256,
	MAX_QUEUES = 16,
	MAX_REQS = 64,
	MAX_ZERO_SECTORS = 1 << 22, /* 2 GiB a request */
	UNMAP = 1,
};

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

struct blk_range { /* of DISCARD and WRITE_ZEROES */
	uint64_t sector;
	uint32_t num_sectors, flags;
};

struct blk_req {
	struct block_req req;
	struct virtq *q;
	struct virtq_elem elem;
	struct iovec iov[VIRTQ_MAX_SEGS];
	uint32_t data_len; /* bytes written into the guest on success, without status */
	struct list link;  /* of the free list */
};

struct blk {
	struct virtio_dev vd;
	struct block *block;
	struct blk_config cfg;
	char serial[ID_LEN];
	struct blk_req *reqs; /* MAX_REQS */
	struct list free;     /* I/O loop's */
	bool starved;	      /* a queue waits for a free request */
	bool stopping;
};

static struct blk *blk_of(struct virtio_dev *vd)
{
	return container_of(vd, struct blk, vd);
}

static void finish(struct blk_req *r, uint8_t status)
{
	struct virtio_dev *vd = r->q->vd;
	uint32_t written = status == S_OK ? r->data_len : 0;

	/* the status byte is the last writable one */
	virtq_in_copy(&r->elem, r->elem.in_len - 1, &status, 1);
	/* marking is by prefix: the status byte's page is among them */
	virtq_push(r->q, &r->elem, status == S_OK ? written + 1 : r->elem.in_len);
	virtq_notify(r->q);
	list_add(&blk_of(vd)->free, &r->link);
}

static void serve(struct blk *b, struct virtq *q);

static void on_done(struct block_req *req, int ret)
{
	struct blk_req *r = container_of(req, struct blk_req, req);
	struct blk *b = blk_of(r->q->vd);

	finish(r, ret == 0 ? S_OK : ret == -EOPNOTSUPP ? S_UNSUPP : S_IOERR);
	if (!b->starved || b->stopping)
		return;
	b->starved = false;
	for (unsigned i = 0; i < b->vd.nqueues; i++)
		serve(b, &b->vd.vq[i]);
}

/* Bytes [@off, @off + @len) of @n pieces, as pieces in @out. */
static unsigned slice(const struct iovec *iov, unsigned n, size_t off, size_t len,
		      struct iovec *out)
{
	unsigned k = 0;

	for (unsigned i = 0; i < n && len; i++) {
		size_t part;

		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		part = MIN(iov[i].iov_len - off, len);
		out[k++] = (struct iovec){(uint8_t *)iov[i].iov_base + off, part};
		len -= part;
		off = 0;
	}
	return k;
}

static bool in_range(const struct blk *b, uint64_t sector, uint64_t bytes)
{
	uint64_t total = b->block->bytes / SECTOR;

	return bytes % SECTOR == 0 && sector <= total && bytes / SECTOR <= total - sector;
}

static void submit(struct blk *b, struct blk_req *r, enum block_op op, uint64_t sector,
		   uint64_t bytes)
{
	r->req.op = op;
	r->req.offset = sector * SECTOR;
	r->req.bytes = bytes;
	r->req.iov = r->iov;
	r->req.done = on_done;
	block_submit(b->block, &r->req);
}

static void read_or_write(struct blk *b, struct blk_req *r, const struct blk_header *h)
{
	bool out = h->type == T_OUT;
	uint32_t bytes = out ? r->elem.out_len - HEADER : r->elem.in_len - 1;

	if (!bytes || !in_range(b, h->sector, bytes) || (out && b->block->readonly)) {
		finish(r, S_IOERR);
		return;
	}
	r->req.niov = out ? slice(r->elem.out, r->elem.nout, HEADER, bytes, r->iov)
			  : slice(r->elem.in, r->elem.nin, 0, bytes, r->iov);
	r->data_len = out ? 0 : bytes;
	submit(b, r, out ? BLOCK_WRITE : BLOCK_READ, h->sector, bytes);
}

static void discard_or_zero(struct blk *b, struct blk_req *r, uint32_t type)
{
	struct blk_range range;
	uint64_t bytes;

	if (r->elem.out_len != HEADER + sizeof(range) ||
	    virtq_out_copy(&r->elem, HEADER, &range, sizeof(range)) != sizeof(range)) {
		finish(r, S_IOERR);
		return;
	}
	bytes = (uint64_t)range.num_sectors * SECTOR;
	if (range.flags & ~(uint32_t)UNMAP || (type == T_DISCARD && range.flags & UNMAP)) {
		finish(r, S_UNSUPP);
		return;
	}
	if (!bytes || range.num_sectors > MAX_ZERO_SECTORS || !in_range(b, range.sector, bytes) ||
	    b->block->readonly) {
		finish(r, S_IOERR);
		return;
	}
	r->req.unmap = range.flags & UNMAP;
	r->req.niov = 0;
	submit(b, r, type == T_DISCARD ? BLOCK_DISCARD : BLOCK_ZERO, range.sector, bytes);
}

static void get_id(struct blk *b, struct blk_req *r)
{
	r->data_len = MIN(r->elem.in_len - 1, (uint32_t)ID_LEN);
	virtq_in_copy(&r->elem, 0, b->serial, r->data_len);
	finish(r, S_OK);
}

static void start_request(struct blk *b, struct blk_req *r)
{
	struct blk_header h;

	r->data_len = 0;
	r->req.unmap = false;
	if (virtq_out_copy(&r->elem, 0, &h, sizeof(h)) != sizeof(h)) {
		finish(r, S_IOERR);
		return;
	}
	switch (h.type) {
	case T_IN:
	case T_OUT: read_or_write(b, r, &h); break;
	case T_FLUSH:
		r->req.niov = 0;
		submit(b, r, BLOCK_FLUSH, 0, 0);
		break;
	case T_GET_ID: get_id(b, r); break;
	case T_DISCARD:
	case T_WRITE_ZEROES: discard_or_zero(b, r, h.type); break;
	default: finish(r, S_UNSUPP); break;
	}
}

static void serve(struct blk *b, struct virtq *q)
{
	while (!list_empty(&b->free)) {
		struct blk_req *r = list_first(&b->free, struct blk_req, link);

		if (virtq_pop(q, &r->elem) <= 0)
			return;
		list_del(&r->link);
		r->q = q;
		if (!r->elem.in_len) {
			virtio_broken(q->vd, "a block request without a status byte");
			list_add(&b->free, &r->link);
			return;
		}
		start_request(b, r);
	}
	b->starved = true;
}

static void blk_queue_ready(struct virtio_dev *vd, struct virtq *q)
{
	struct blk *b = blk_of(vd);

	serve(b, q);
	block_kick(b->block);
}

static void blk_stop(struct virtio_dev *vd)
{
	struct blk *b = blk_of(vd);

	b->stopping = true;
	block_drain(b->block);
	b->stopping = b->starved = false;
}

static void blk_config_read(struct virtio_dev *vd, unsigned off, void *buf, unsigned len)
{
	memcpy(buf, (const uint8_t *)&blk_of(vd)->cfg + off, len);
}

static const struct virtio_ops blk_virtio_ops = {
	.name = "virtio-blk",
	.device_id = 2,
	.pci_class = 0x0100 << 8,
	.config_read = blk_config_read,
	.stop = blk_stop,
	.queue_ready = blk_queue_ready,
};

static uint64_t fill_config(struct blk *b, unsigned nqueues)
{
	uint64_t features =
		BIT(F_SEG_MAX) | BIT(F_BLK_SIZE) | BIT(F_FLUSH) | BIT(F_TOPOLOGY) | BIT(F_MQ);

	b->cfg = (struct blk_config){
		.capacity = b->block->bytes / SECTOR,
		.seg_max = VIRTQ_MAX_SEGS - 2,
		.blk_size = SECTOR,
		.physical_block_exp = 3,
		.min_io_size = 8,
		.num_queues = (uint16_t)nqueues,
		.max_discard_sectors = MAX_ZERO_SECTORS,
		.max_discard_seg = 1,
		.discard_sector_alignment = 8,
		.max_write_zeroes_sectors = MAX_ZERO_SECTORS,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
	if (b->block->readonly)
		return features | BIT(F_RO);
	return features | BIT(F_WRITE_ZEROES) | (b->block->discard ? BIT(F_DISCARD) : 0);
}

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
		return err_set(err, -ENOMEM, "disk: out of memory");
	for (unsigned i = 0; i < MAX_REQS; i++)
		list_add(&b->free, &b->reqs[i].link);
	memcpy(b->serial, c->serial, strnlen(c->serial, ID_LEN));
	s.nqueues = MAX(1u, MIN(c->nqueues, (unsigned)MAX_QUEUES));
	s.features = fill_config(b, s.nqueues);
	return virtio_setup(&b->vd, &blk_virtio_ops, &s, err);
}

static void blk_fini(struct device *dev)
{
	struct blk *b = container_of(dev, struct blk, vd.pci.dev);

	virtio_teardown(&b->vd);
	free(b->reqs);
}

static void blk_pre_save(void *obj)
{
	virtio_pre_save(&((struct blk *)obj)->vd);
}

static int blk_post_load(void *obj, struct errbuf *err)
{
	return virtio_post_load(&((struct blk *)obj)->vd, err);
}

static const struct state_field blk_fields[] = {
	STATE_STRUCT(struct blk, vd, virtio_dev_fields),
	STATE_FIELDS_END,
};
static const struct state_desc blk_state = {
	.name = "virtio-blk",
	.version = 1,
	.fields = blk_fields,
	.pre_save = blk_pre_save,
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
	.state = &blk_state,
};
