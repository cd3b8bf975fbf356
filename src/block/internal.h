/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - what the files of src/block/ share. */
#pragma once

#include <pthread.h>
#include "block/block.h"

/* --- completer.c: finished requests on their way to the loop's thread ---------- */

struct completer { /* any thread adds, the loop's thread delivers */
	struct loop_watch watch;
	pthread_mutex_t lock; /* leaf; guards done */
	struct list done;     /* of block_req.link; block_req.state holds the result */
	bool ready;
};

/* Call @fn on the loop's thread when something was added; it calls completer_run(). */
MUST_CHECK int completer_init(struct completer *c, struct loop *loop,
			      void (*fn)(struct loop_watch *w, uint32_t events));
void completer_fini(struct completer *c);
void completer_add(struct completer *c, struct block_req *req, int ret);
/* The same without a signal: completer_run() follows at once. */
void completer_put(struct completer *c, struct block_req *req, int ret);
/* Reset the eventfd. */
void completer_clear(struct completer *c);
/* Deliver all that was added.  The last done() may free @c. */
void completer_run(struct completer *c);
/* Sleep until the eventfd is signalled. */
void completer_wait(struct completer *c);

/* --- xfer.c: one request as the sequence of system calls it takes -------------- */

enum xfer_kind { XFER_READ, XFER_WRITE, XFER_SYNC, XFER_ALLOCATE };

struct xfer_step {
	enum xfer_kind kind;
	struct iovec *iov; /* READ, WRITE */
	unsigned niov;
	uint64_t offset, bytes;
	int mode; /* ALLOCATE: FALLOC_FL_* */
};

struct xfer { /* owner: who runs the request */
	struct block_req *req;
	uint64_t done;
	struct iovec part; /* what is left of a buffer that a short transfer split */
	bool by_writing;   /* ZERO: the file system cannot, so zeroes are written */
	unsigned retries;
	int ret;
};

void xfer_init(struct xfer *x, struct block_req *req);
/* What to do next.  @s points into @x and its request. */
void xfer_next(struct xfer *x, struct xfer_step *s);
/* Take the result (count or -errno) of the step.  True: finished, @x->ret says how. */
bool xfer_result(struct xfer *x, int64_t res);

/* --- back ends ------------------------------------------------------------------ */

struct file { /* what an opened file is made of; moved into the back end */
	int fd;
	uint64_t bytes;
	bool readonly;
	const char *path; /* as given; for messages */
};

/* 0, or -errno when @req is not allowed on @b. */
int block_check(const struct block *b, const struct block_req *req);
void block_init(struct block *b, const struct block_ops *ops, const struct file *f,
		struct loop *loop);

/* Both take @f->fd when they succeed. */
MUST_CHECK int block_uring_new(const struct file *f, struct loop *loop, struct block **out);
MUST_CHECK int block_pool_new(const struct file *f, struct loop *loop,
			      const struct block_open_opts *opts, struct block **out);
/* Takes @lower when it succeeds. */
MUST_CHECK int block_overlay_new(struct block *lower, struct block **out, struct errbuf *err);

/* --- lock.c ----------------------------------------------------------------------- */

enum { LOCK_HOLDER_MAX = 112 };
/* Lock @fd for writing or reading, and leave @holder's name in the lock. */
MUST_CHECK int lock_take(int fd, const char *path, bool write, const char *holder,
			 struct errbuf *err);
void lock_drop(int fd);
