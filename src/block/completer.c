/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completer.c - finished requests on their way to the loop's thread.
 *
 * A list and an eventfd, which is written only when the list was empty.  Also
 * what a back end can answer at once goes this way: done() never runs inside
 * submit(), so devices need not expect to be entered again.
 */
#include "block/internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/thread.h"

int completer_init(struct completer *c, struct loop *loop,
		   void (*fn)(struct loop_watch *w, uint32_t events))
{
	int ret;

	list_init(&c->done);
	c->watch = (struct loop_watch){.fn = fn};
	c->watch.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (c->watch.fd < 0)
		return -errno;
	ret = loop_add(loop, &c->watch, EPOLLIN);
	if (ret) {
		close(c->watch.fd);
		return ret;
	}
	pthread_mutex_init(&c->lock, NULL);
	c->ready = true;
	return 0;
}

void completer_fini(struct completer *c)
{
	if (!c->ready)
		return;
	loop_del(&c->watch);
	close(c->watch.fd);
	pthread_mutex_destroy(&c->lock);
	c->ready = false;
}

void completer_add(struct completer *c, struct block_req *req, int ret)
{
	uint64_t one = 1;
	LOCK_SCOPE(&c->lock);
	bool wake = list_empty(&c->done);

	req->state = ret;
	list_init(&req->link);
	list_add(&c->done, &req->link);
	/* under the lock: once it is released, the loop may free @c */
	if (wake && write(c->watch.fd, &one, sizeof(one)) < 0)
		return; /* the counter is full, so it is readable */
}

void completer_put(struct completer *c, struct block_req *req, int ret)
{
	LOCK_SCOPE(&c->lock);

	req->state = ret;
	list_init(&req->link);
	list_add(&c->done, &req->link);
}

void completer_clear(struct completer *c)
{
	uint64_t n;

	if (read(c->watch.fd, &n, sizeof(n)) < 0)
		return; /* EAGAIN: nothing to clear */
}

void completer_run(struct completer *c)
{
	struct list done;

	list_init(&done);
	pthread_mutex_lock(&c->lock);
	if (!list_empty(&c->done)) {
		done = c->done;
		done.next->prev = done.prev->next = &done;
		list_init(&c->done);
	}
	pthread_mutex_unlock(&c->lock);
	while (!list_empty(&done)) {
		struct block_req *req = list_entry(done.next, struct block_req, link);

		list_del(&req->link);
		block_done(req, req->state);
	}
}

void completer_wait(struct completer *c)
{
	struct pollfd p = {.fd = c->watch.fd, .events = POLLIN};

	poll(&p, 1, -1); /* EINTR: the caller looks and comes back */
}
