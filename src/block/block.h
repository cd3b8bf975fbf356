/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - a disk's bytes: asynchronous requests on a stack of back ends.
 *
 * A block device is an ops table; a filter (the in-memory overlay of
 * --ephemeral) holds the one below it.  Owner: one loop's thread submits and gets
 * completions; many requests may be under way, completed in any order.
 */
#pragma once

#include <sys/uio.h>
#include "base/err.h"
#include "base/loop.h"

struct block;
enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO };

struct block_req { /* caller's until submitted, again from @done on */
	enum block_op op;
	uint64_t offset, bytes; /* multiples of 512; within the disk */
	struct iovec *iov;	/* READ, WRITE: total length is @bytes.  Borrowed until @done */
	unsigned niov;
	bool unmap;				      /* ZERO: may deallocate */
	void (*done)(struct block_req *req, int ret); /* 0 or -errno; on the loop's thread */
	struct list link;			      /* of the back end while under way */
	struct block *block;
	int state; /* back end's own */
};

struct block_ops {
	const char *name;
	void (*submit)(struct block *b, struct block_req *req); /* never fails: done() says */
	void (*kick)(struct block *b); /* submit what is batched; may be NULL */
	void (*wait)(struct block *b); /* block until some complete, and say so */
	void (*free)(struct block *b);
};

struct block {
	const struct block_ops *ops;
	uint64_t bytes;		/* size of the disk */
	bool readonly, discard; /* discard: DISCARD and ZERO with unmap do something */
	unsigned inflight;	/* submitted, not done */
	struct loop *loop;
	char name[256]; /* for messages: the path as given */
};

enum { BLOCK_MAX_IOV = 256 };

struct block_open_opts {
	bool readonly;
	bool ephemeral;	    /* writes go to memory and are dropped with the block */
	const char *holder; /* VM name written into the lock for other VMs' messages */
	/* Runs first on each thread of the fallback's pool: its seccomp filter.  May be NULL. */
	int (*thread_init)(void *arg);
	void *thread_arg;
};

/*
 * Open raw file @path as a disk whose completions arrive on @loop: io_uring, or a
 * thread pool where the kernel refuses that.  Takes a lock that other writers
 * respect (an open file description lock; the message names the holder).
 * Errors with a sentence: missing, a directory, size no multiple of 512, locked.
 */
MUST_CHECK int block_open(const char *path, const struct block_open_opts *opts, struct loop *loop,
			  struct block **out, struct errbuf *err);
/* @inflight must be 0: see block_drain(). */
void block_free(struct block *b);
DEFINE_AUTO(block);

void block_submit(struct block *b, struct block_req *req);
void block_kick(struct block *b);
/*
 * Wait until nothing is under way, serving @b's completions and no other events of
 * the loop, so that it may be called from one of its callbacks.  On the loop's thread.
 */
void block_drain(struct block *b);

/* For back ends: @req is done.  On the loop's thread, never from within ops.submit. */
void block_done(struct block_req *req, int ret);
