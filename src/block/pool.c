/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - a raw file served by threads, where the kernel refuses io_uring.
 *
 * Four threads take requests off one list and run each to its end.  More would
 * only queue in the kernel instead; fewer would let one slow flush hold up reads.
 *
 * System calls of the threads: preadv, pwritev, fdatasync, fallocate, futex, write
 * (eventfd), sched_yield.  Of the loop's thread: read and write (eventfd), futex,
 * poll (drain).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#include "base/thread.h"
#include "block/internal.h"

enum { POOL_THREADS = 4 };

struct pool {
	struct block b;
	int fd;
	struct completer comp;
	int (*thread_init)(void *arg);
	void *thread_arg;

	pthread_mutex_t lock; /* leaf; guards what follows */
	pthread_cond_t cond;
	struct list queue;
	bool quit;
	int init_ret;
	unsigned nready;

	pthread_t thread[POOL_THREADS];
	unsigned nthreads;
};

static int64_t run_step(const struct pool *p, const struct xfer_step *s)
{
	ssize_t n = -1;

	switch (s->kind) {
	case XFER_READ: n = preadv(p->fd, s->iov, (int)s->niov, (off_t)s->offset); break;
	case XFER_WRITE: n = pwritev(p->fd, s->iov, (int)s->niov, (off_t)s->offset); break;
	case XFER_SYNC: n = fdatasync(p->fd); break;
	case XFER_ALLOCATE: n = fallocate(p->fd, s->mode, (off_t)s->offset, (off_t)s->bytes); break;
	}
	return n < 0 ? -errno : n;
}

static void run_request(struct pool *p, struct block_req *req)
{
	struct xfer_step s;
	struct xfer x;
	int64_t res;

	xfer_init(&x, req);
	do {
		xfer_next(&x, &s);
		res = run_step(p, &s);
		if (res == -EAGAIN)
			sched_yield();
	} while (!xfer_result(&x, res));
	completer_add(&p->comp, req, x.ret);
}

/* NULL: the pool is being freed. */
static struct block_req *take_request(struct pool *p)
{
	struct block_req *req;
	LOCK_SCOPE(&p->lock);

	while (list_empty(&p->queue) && !p->quit)
		pthread_cond_wait(&p->cond, &p->lock);
	if (p->quit)
		return NULL;
	req = list_entry(p->queue.next, struct block_req, link);
	list_del(&req->link);
	return req;
}

static void *pool_main(void *arg)
{
	struct pool *p = arg;
	struct block_req *req;
	int ret;

	thread_name("blk-pool");
	ret = p->thread_init ? p->thread_init(p->thread_arg) : 0;
	pthread_mutex_lock(&p->lock);
	p->nready++;
	if (ret)
		p->init_ret = ret;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
	if (ret)
		return NULL;
	while ((req = take_request(p)))
		run_request(p, req);
	return NULL;
}

static void pool_submit(struct block *b, struct block_req *req)
{
	struct pool *p = container_of(b, struct pool, b);
	int ret = block_check(b, req);

	if (ret) {
		completer_add(&p->comp, req, ret);
		return;
	}
	LOCK_SCOPE(&p->lock);
	list_init(&req->link);
	list_add(&p->queue, &req->link);
	pthread_cond_signal(&p->cond);
}

static void pool_event(struct loop_watch *w, uint32_t events)
{
	struct pool *p = container_of(w, struct pool, comp.watch);

	completer_clear(&p->comp);
	completer_run(&p->comp);
}

static void pool_wait(struct block *b)
{
	struct pool *p = container_of(b, struct pool, b);

	completer_wait(&p->comp);
	pool_event(&p->comp.watch, 0);
}

static void stop_threads(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
	while (p->nthreads)
		pthread_join(p->thread[--p->nthreads], NULL);
}

static void free_pool(struct pool *p)
{
	stop_threads(p);
	completer_fini(&p->comp);
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void pool_free(struct block *b)
{
	struct pool *p = container_of(b, struct pool, b);
	int fd = p->fd;

	free_pool(p);
	lock_drop(fd);
	close(fd);
}

static const struct block_ops pool_ops = {
	.name = "threads",
	.submit = pool_submit,
	.wait = pool_wait,
	.free = pool_free,
};

static int start_threads(struct pool *p)
{
	while (p->nthreads < POOL_THREADS) {
		int ret = pthread_create(&p->thread[p->nthreads], NULL, pool_main, p);

		if (ret)
			return -ret;
		p->nthreads++;
	}
	LOCK_SCOPE(&p->lock);
	while (p->nready < POOL_THREADS)
		pthread_cond_wait(&p->cond, &p->lock);
	return p->init_ret;
}

int block_pool_new(const struct file *f, struct loop *loop, const struct block_open_opts *opts,
		   struct block **out)
{
	struct pool *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return -ENOMEM;
	block_init(&p->b, &pool_ops, f, loop);
	p->fd = f->fd;
	p->thread_init = opts->thread_init;
	p->thread_arg = opts->thread_arg;
	list_init(&p->queue);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->cond, NULL);
	ret = completer_init(&p->comp, loop, pool_event);
	if (!ret)
		ret = start_threads(p);
	if (ret) {
		free_pool(p);
		return ret;
	}
	*out = &p->b;
	return 0;
}
