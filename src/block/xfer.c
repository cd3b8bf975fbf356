/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xfer.c - one request as the sequence of system calls it takes.
 *
 * The kernel may transfer less than asked for, may ask to try again, and a file
 * system may not know how to punch holes.  That logic lives here, without any
 * system call, and the ring and the thread pool both run it: xfer_next() says what
 * to do, xfer_result() takes the outcome.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

#include "block/internal.h"

enum {
	MAX_RETRIES = 10000, /* of EINTR and EAGAIN, for one request */
	ZERO_BYTES = 64 << 10,
	ZERO_IOVS = 64,
};

static const uint8_t zeroes[ZERO_BYTES];
/* const in fact: writes read from it */
static const struct iovec zero_iov[ZERO_IOVS] = {
	[0 ... ZERO_IOVS - 1] = {(void *)zeroes, ZERO_BYTES},
};

void xfer_init(struct xfer *x, struct block_req *req)
{
	*x = (struct xfer){.req = req};
}

/* The rest of the caller's buffers; a buffer split in two goes alone. */
static void next_data(struct xfer *x, struct xfer_step *s)
{
	uint64_t skip = x->done;
	unsigned i = 0;

	while (i < x->req->niov && skip >= x->req->iov[i].iov_len)
		skip -= x->req->iov[i++].iov_len;
	s->iov = x->req->iov + i;
	s->niov = x->req->niov - i;
	s->bytes = x->req->bytes - x->done;
	if (skip) {
		x->part.iov_base = (uint8_t *)s->iov->iov_base + skip;
		x->part.iov_len = s->iov->iov_len - skip;
		s->iov = &x->part;
		s->niov = 1;
		s->bytes = x->part.iov_len;
	}
}

static void next_zeroes(struct xfer *x, struct xfer_step *s)
{
	uint64_t left = x->req->bytes - x->done;

	s->kind = XFER_WRITE;
	if (left < ZERO_BYTES) {
		x->part = (struct iovec){(void *)zeroes, left};
		s->iov = &x->part;
		s->niov = 1;
		s->bytes = left;
		return;
	}
	s->iov = (struct iovec *)zero_iov;
	s->niov = (unsigned)MIN(left / ZERO_BYTES, (uint64_t)ZERO_IOVS);
	s->bytes = (uint64_t)s->niov * ZERO_BYTES;
}

void xfer_next(struct xfer *x, struct xfer_step *s)
{
	struct block_req *req = x->req;

	*s = (struct xfer_step){.offset = req->offset + x->done, .bytes = req->bytes - x->done};
	switch (req->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		s->kind = req->op == BLOCK_READ ? XFER_READ : XFER_WRITE;
		next_data(x, s);
		break;
	case BLOCK_FLUSH: s->kind = XFER_SYNC; break;
	case BLOCK_DISCARD:
		s->kind = XFER_ALLOCATE;
		s->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case BLOCK_ZERO:
		s->kind = XFER_ALLOCATE;
		s->mode = (req->unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) |
			  FALLOC_FL_KEEP_SIZE;
		if (x->by_writing)
			next_zeroes(x, s);
		break;
	}
}

static bool finish(struct xfer *x, int ret)
{
	x->ret = ret;
	return true;
}

static bool allocate_result(struct xfer *x, int64_t res)
{
	if (res != -EOPNOTSUPP && res != -ENOSYS)
		return finish(x, (int)res);
	if (x->req->op == BLOCK_DISCARD)
		return finish(x, 0); /* a hint only */
	x->by_writing = true;
	return false;
}

bool xfer_result(struct xfer *x, int64_t res)
{
	if ((res == -EINTR || res == -EAGAIN) && x->retries++ < MAX_RETRIES)
		return false;
	if (x->req->op == BLOCK_FLUSH)
		return finish(x, (int)res);
	if (x->req->op == BLOCK_DISCARD || (x->req->op == BLOCK_ZERO && !x->by_writing))
		return allocate_result(x, res);
	if (res < 0)
		return finish(x, (int)res);
	/* nothing at all: the file became shorter than the disk */
	if (!res || (uint64_t)res > x->req->bytes - x->done)
		return finish(x, -EIO);
	x->done += (uint64_t)res;
	return x->done == x->req->bytes ? finish(x, 0) : false;
}
