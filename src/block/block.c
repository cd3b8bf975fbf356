/* SPDX-License-Identifier: Apache-2.0 */
/* block.c - what all back ends have in common: checks, counting, draining. */
#include "block/block.h"

#include <errno.h>
#include <stdio.h>

#include "block/internal.h"

void block_init(struct block *b, const struct block_ops *ops, const struct file *f,
		struct loop *loop)
{
	b->ops = ops;
	b->bytes = f->bytes;
	b->readonly = f->readonly;
	b->discard = !f->readonly;
	b->loop = loop;
	snprintf(b->name, sizeof(b->name), "%s", f->path);
}

static bool iov_covers(const struct block_req *req)
{
	uint64_t left = req->bytes;

	if (req->niov > BLOCK_MAX_IOV)
		return false;
	for (unsigned i = 0; i < req->niov; i++) {
		if (req->iov[i].iov_len > left)
			return false;
		left -= req->iov[i].iov_len;
	}
	return left == 0;
}

int block_check(const struct block *b, const struct block_req *req)
{
	if (req->op == BLOCK_FLUSH)
		return 0;
	if (req->op > BLOCK_ZERO || (req->offset | req->bytes) % 512 || !req->bytes ||
	    req->bytes > b->bytes || req->offset > b->bytes - req->bytes)
		return -EINVAL;
	if (req->op != BLOCK_READ && b->readonly)
		return -EROFS;
	if ((req->op == BLOCK_READ || req->op == BLOCK_WRITE) && !iov_covers(req))
		return -EINVAL;
	return 0;
}

void block_submit(struct block *b, struct block_req *req)
{
	req->block = b;
	b->inflight++;
	b->ops->submit(b, req);
}

void block_done(struct block_req *req, int ret)
{
	req->block->inflight--;
	req->done(req, ret);
}

void block_kick(struct block *b)
{
	if (b->ops->kick)
		b->ops->kick(b);
}

void block_drain(struct block *b)
{
	while (b->inflight) {
		block_kick(b);
		if (b->ops->wait)
			b->ops->wait(b);
		else
			loop_run_once(b->loop, -1);
	}
}

void block_free(struct block *b)
{
	if (b)
		b->ops->free(b);
}
