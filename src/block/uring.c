/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uring.c - a raw file served by io_uring.
 *
 * A request takes a slot (at most DEPTH, so the completion queue cannot overflow)
 * and one entry of the submission queue; kick() hands all new entries to the kernel
 * with one system call.  Completions signal the completer's eventfd.  Requests that
 * find no slot wait in a list.  Offsets and lengths are any multiple of 512 and
 * buffers any address: the page cache is used (no O_DIRECT).
 *
 * System calls at run time, all on the loop's thread: io_uring_enter, read and
 * write (eventfd), futex, poll (drain).  At the end munmap and close.
 */
#include <errno.h>
#include <liburing.h>

#include "base/log.h"
#include "block/internal.h"

enum { DEPTH = 256 };

struct slot {
	struct xfer x;
	struct slot *next; /* free ones */
};

struct uring {
	struct block b;
	int fd;
	struct completer comp;
	struct io_uring ring;
	struct slot slot[DEPTH];
	struct slot *free;
	struct list waiting; /* of block_req.link */
	bool unsubmitted;    /* the ring holds entries the kernel has not seen */
};

/* --- submission ------------------------------------------------------------------ */

static void submit_ring(struct uring *u)
{
	uint64_t one = 1;
	int ret;

	if (!u->unsubmitted)
		return;
	ret = io_uring_submit(&u->ring);
	u->unsubmitted = io_uring_sq_ready(&u->ring) != 0;
	if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
		log_error("disk '%s': io_uring_enter: error %d", u->b.name, -ret);
	/* short of memory, or completions to be taken first: come back from the loop */
	if (u->unsubmitted && write(u->comp.watch.fd, &one, sizeof(one)) < 0)
		return; /* the counter is full, so it is readable */
}

static struct io_uring_sqe *get_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (sqe)
		return sqe;
	submit_ring(u);
	return io_uring_get_sqe(&u->ring);
}

/* Enter the slot's next step into the ring.  False: the ring is full. */
static bool push_step(struct uring *u, struct slot *slot)
{
	struct io_uring_sqe *sqe = get_sqe(u);
	struct xfer_step s;

	if (!sqe)
		return false;
	xfer_next(&slot->x, &s);
	switch (s.kind) {
	case XFER_READ: io_uring_prep_readv(sqe, u->fd, s.iov, s.niov, s.offset); break;
	case XFER_WRITE: io_uring_prep_writev(sqe, u->fd, s.iov, s.niov, s.offset); break;
	case XFER_SYNC: io_uring_prep_fsync(sqe, u->fd, IORING_FSYNC_DATASYNC); break;
	case XFER_ALLOCATE:
		io_uring_prep_fallocate(sqe, u->fd, s.mode, (off_t)s.offset, (off_t)s.bytes);
		break;
	}
	io_uring_sqe_set_data(sqe, slot);
	u->unsubmitted = true;
	return true;
}

static bool start(struct uring *u, struct block_req *req)
{
	struct slot *slot = u->free;

	if (!slot)
		return false;
	xfer_init(&slot->x, req);
	if (!push_step(u, slot))
		return false;
	u->free = slot->next;
	return true;
}

static void uring_submit(struct block *b, struct block_req *req)
{
	struct uring *u = container_of(b, struct uring, b);
	int ret = block_check(b, req);

	if (ret) {
		completer_add(&u->comp, req, ret);
		return;
	}
	if (!list_empty(&u->waiting) || !start(u, req)) {
		list_init(&req->link);
		list_add(&u->waiting, &req->link);
	}
}

static void uring_kick(struct block *b)
{
	submit_ring(container_of(b, struct uring, b));
}

/* --- completion ------------------------------------------------------------------- */

static void put_slot(struct uring *u, struct slot *slot)
{
	slot->next = u->free;
	u->free = slot;
}

/* Finished requests go through the completer: done() may free the block. */
static void reap(struct uring *u)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct slot *slot = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		if (xfer_result(&slot->x, res)) {
			completer_put(&u->comp, slot->x.req, slot->x.ret);
			put_slot(u, slot);
		} else if (!push_step(u, slot)) {
			completer_put(&u->comp, slot->x.req, -EAGAIN);
			put_slot(u, slot);
		}
	}
}

static void start_waiting(struct uring *u)
{
	while (!list_empty(&u->waiting)) {
		struct block_req *req = list_entry(u->waiting.next, struct block_req, link);

		list_del(&req->link);
		if (!start(u, req)) {
			list_add(u->waiting.next, &req->link);
			return;
		}
	}
}

static void uring_event(struct loop_watch *w, uint32_t events)
{
	struct uring *u = container_of(w, struct uring, comp.watch);

	completer_clear(&u->comp); /* first: what completes from now on signals again */
	reap(u);
	start_waiting(u);
	submit_ring(u);
	completer_run(&u->comp);
}

static void uring_wait(struct block *b)
{
	struct uring *u = container_of(b, struct uring, b);

	completer_wait(&u->comp);
	uring_event(&u->comp.watch, 0);
}

/* --- life ------------------------------------------------------------------------- */

static void uring_free(struct block *b)
{
	struct uring *u = container_of(b, struct uring, b);

	io_uring_queue_exit(&u->ring);
	completer_fini(&u->comp);
	lock_drop(u->fd);
	close(u->fd);
	free(u);
}

static const struct block_ops uring_ops = {
	.name = "io_uring",
	.submit = uring_submit,
	.kick = uring_kick,
	.wait = uring_wait,
	.free = uring_free,
};

int block_uring_new(const struct file *f, struct loop *loop, struct block **out)
{
	struct uring *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return -ENOMEM;
	block_init(&u->b, &uring_ops, f, loop);
	u->fd = f->fd;
	list_init(&u->waiting);
	for (unsigned i = 0; i < DEPTH; i++)
		put_slot(u, &u->slot[i]);
	ret = io_uring_queue_init(DEPTH, &u->ring, 0);
	if (ret) {
		free(u);
		return ret;
	}
	ret = completer_init(&u->comp, loop, uring_event);
	if (!ret)
		ret = io_uring_register_eventfd(&u->ring, u->comp.watch.fd);
	if (ret) {
		completer_fini(&u->comp);
		io_uring_queue_exit(&u->ring);
		free(u);
		return ret;
	}
	*out = &u->b;
	return 0;
}
