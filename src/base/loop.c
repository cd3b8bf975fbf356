/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - epoll, one timerfd, one eventfd.
 *
 * Timers sit in a binary heap (index 0 unused, so heap_index 0 means not armed)
 * ordered by deadline in VM time.  The timerfd is set to the earliest one; a timer
 * whose clock stands still waits for loop_clock_changed().  Arming from another
 * thread only touches the timerfd when the new deadline is the earliest, which is
 * what wakes the loop.
 *
 * Locks: timer_lock and post_lock are leaves, never held while a callback runs.
 */
#include "base/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "base/thread.h"

struct post {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
};

struct loop {
	int epfd, timerfd, eventfd;
	struct loop_watch timer_watch, event_watch;
	bool stop; /* atomic */

	pthread_mutex_t post_lock;
	struct list posts;

	pthread_mutex_t timer_lock;
	struct timer **heap;
	size_t heap_len, heap_cap;
	uint64_t armed_host_ns; /* what the timerfd is set to; 0: off */

	/* events of the current epoll_wait, so that loop_del() can disarm them */
	struct epoll_event events[64];
	int nevents;
};

/* --- timers ------------------------------------------------------------ */

static void heap_put(struct loop *l, size_t i, struct timer *t)
{
	l->heap[i] = t;
	t->heap_index = i;
}

static void heap_up(struct loop *l, size_t i)
{
	struct timer *t = l->heap[i];

	for (; i > 1 && l->heap[i / 2]->deadline_ns > t->deadline_ns; i /= 2)
		heap_put(l, i, l->heap[i / 2]);
	heap_put(l, i, t);
}

static void heap_down(struct loop *l, size_t i)
{
	struct timer *t = l->heap[i];

	for (size_t kid; (kid = i * 2) <= l->heap_len; i = kid) {
		if (kid < l->heap_len && l->heap[kid + 1]->deadline_ns < l->heap[kid]->deadline_ns)
			kid++;
		if (l->heap[kid]->deadline_ns >= t->deadline_ns)
			break;
		heap_put(l, i, l->heap[kid]);
	}
	heap_put(l, i, t);
}

static void heap_remove(struct loop *l, struct timer *t)
{
	size_t i = t->heap_index;
	struct timer *last = l->heap[l->heap_len--];

	t->heap_index = 0;
	if (last == t)
		return;
	heap_put(l, i, last);
	heap_up(l, i);
	heap_down(l, last->heap_index);
}

/* Set the timerfd to the earliest running timer. */
static void rearm_locked(struct loop *l)
{
	struct itimerspec its = {0};
	uint64_t host = 0;

	if (l->heap_len && l->heap[1]->clock->running) {
		const struct vclock *c = l->heap[1]->clock;
		uint64_t now = vclock_ns(c), dl = l->heap[1]->deadline_ns;

		host = host_ns() + (dl > now ? (dl - now) << c->slow_shift : 1);
		its.it_value.tv_sec = (time_t)(host / 1000000000u);
		its.it_value.tv_nsec = (long)(host % 1000000000u);
	}
	if (!host && !l->armed_host_ns)
		return;
	l->armed_host_ns = host;
	timerfd_settime(l->timerfd, TFD_TIMER_ABSTIME, &its, NULL);
}

void timer_init(struct timer *t, struct loop *loop, const struct vclock *clock,
		void (*fn)(struct timer *t))
{
	*t = (struct timer){.loop = loop, .clock = clock, .fn = fn};
}

/* Room for one more timer.  Timers are few and made at start: failure is fatal. */
static void heap_reserve(struct loop *l)
{
	size_t cap = l->heap_cap ? l->heap_cap * 2 : 32;
	struct timer **h;

	if (l->heap_len + 2 < l->heap_cap)
		return;
	h = realloc(l->heap, cap * sizeof(*h));
	if (!h)
		abort();
	l->heap = h;
	l->heap_cap = cap;
}

void timer_arm(struct timer *t, uint64_t deadline_ns)
{
	struct loop *l = t->loop;
	LOCK_SCOPE(&l->timer_lock);

	if (t->heap_index) {
		bool was_first = t->heap_index == 1;

		t->deadline_ns = deadline_ns;
		heap_up(l, t->heap_index);
		heap_down(l, t->heap_index);
		if (!was_first && t->heap_index != 1)
			return;
	} else {
		heap_reserve(l);
		t->deadline_ns = deadline_ns;
		l->heap[++l->heap_len] = t;
		heap_up(l, l->heap_len);
		if (t->heap_index != 1)
			return;
	}
	rearm_locked(l);
}

void timer_stop(struct timer *t)
{
	struct loop *l = t->loop;

	if (!l)
		return;
	LOCK_SCOPE(&l->timer_lock);
	/* the timerfd may fire once for nothing: cheaper than setting it again */
	if (t->heap_index)
		heap_remove(l, t);
}

bool timer_armed(const struct timer *t)
{
	LOCK_SCOPE(&t->loop->timer_lock);
	return t->heap_index != 0;
}

void loop_clock_changed(struct loop *l)
{
	LOCK_SCOPE(&l->timer_lock);
	rearm_locked(l);
}

static struct timer *pop_due(struct loop *l)
{
	LOCK_SCOPE(&l->timer_lock);
	if (l->heap_len && l->heap[1]->clock->running &&
	    l->heap[1]->deadline_ns <= vclock_ns(l->heap[1]->clock)) {
		struct timer *t = l->heap[1];

		heap_remove(l, t);
		return t;
	}
	rearm_locked(l);
	return NULL;
}

static void on_timerfd(struct loop_watch *w, uint32_t events)
{
	struct loop *l = container_of(w, struct loop, timer_watch);
	struct timer *t;
	uint64_t n;

	if (read(l->timerfd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return;
	while ((t = pop_due(l)))
		t->fn(t);
}

/* --- messages ---------------------------------------------------------- */

static void wake(struct loop *l)
{
	uint64_t one = 1;

	/* EAGAIN: the counter is full, so the loop is awake anyway */
	if (write(l->eventfd, &one, sizeof(one)) < 0)
		return;
}

static struct post *take_post(struct loop *l)
{
	LOCK_SCOPE(&l->post_lock);
	struct post *p = list_first(&l->posts, struct post, link);

	if (p)
		list_del(&p->link);
	return p;
}

static void on_eventfd(struct loop_watch *w, uint32_t events)
{
	struct loop *l = container_of(w, struct loop, event_watch);
	struct post *p;
	uint64_t n;

	if (read(l->eventfd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return;
	while ((p = take_post(l))) {
		void (*fn)(void *) = p->fn;
		void *arg = p->arg;

		free(p);
		fn(arg);
	}
}

int loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct post *p = malloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->fn = fn;
	p->arg = arg;
	list_init(&p->link);
	pthread_mutex_lock(&l->post_lock);
	list_add(&l->posts, &p->link);
	pthread_mutex_unlock(&l->post_lock);
	wake(l);
	return 0;
}

struct call {
	void (*fn)(void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
};

static void run_call(void *arg)
{
	struct call *c = arg;

	c->fn(c->arg);
	LOCK_SCOPE(&c->lock);
	c->done = true;
	pthread_cond_signal(&c->cond);
}

int loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct call c = {.fn = fn, .arg = arg};
	int ret;

	pthread_mutex_init(&c.lock, NULL);
	pthread_cond_init(&c.cond, NULL);
	ret = loop_post(l, run_call, &c);
	if (!ret) {
		pthread_mutex_lock(&c.lock);
		while (!c.done)
			pthread_cond_wait(&c.cond, &c.lock);
		pthread_mutex_unlock(&c.lock);
	}
	pthread_cond_destroy(&c.cond);
	pthread_mutex_destroy(&c.lock);
	return ret;
}

/* --- descriptors ------------------------------------------------------- */

int loop_add(struct loop *l, struct loop_watch *w, uint32_t epoll_events)
{
	struct epoll_event ev = {.events = epoll_events, .data.ptr = w};

	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, w->fd, &ev) < 0)
		return -errno;
	w->loop = l;
	return 0;
}

int loop_mod(struct loop_watch *w, uint32_t epoll_events)
{
	struct epoll_event ev = {.events = epoll_events, .data.ptr = w};

	if (!w->loop)
		return -ENOENT;
	return epoll_ctl(w->loop->epfd, EPOLL_CTL_MOD, w->fd, &ev) < 0 ? -errno : 0;
}

void loop_del(struct loop_watch *w)
{
	struct loop *l = w->loop;

	if (!l)
		return;
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->fd, NULL);
	for (int i = 0; i < l->nevents; i++)
		if (l->events[i].data.ptr == w)
			l->events[i].data.ptr = NULL;
	w->loop = NULL;
}

/* --- life cycle ---------------------------------------------------------- */

int loop_new(struct loop **out)
{
	AUTO(loop) struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	list_init(&l->posts);
	pthread_mutex_init(&l->post_lock, NULL);
	pthread_mutex_init(&l->timer_lock, NULL);
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	l->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	l->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (l->epfd < 0 || l->timerfd < 0 || l->eventfd < 0)
		return -errno;
	l->timer_watch = (struct loop_watch){.fd = l->timerfd, .fn = on_timerfd};
	l->event_watch = (struct loop_watch){.fd = l->eventfd, .fn = on_eventfd};
	if (loop_add(l, &l->timer_watch, EPOLLIN) < 0 || loop_add(l, &l->event_watch, EPOLLIN) < 0)
		return -errno;
	*out = MOVE(l);
	return 0;
}

void loop_free(struct loop *l)
{
	struct post *p;

	if (!l)
		return;
	while ((p = take_post(l)))
		free(p);
	if (l->eventfd >= 0)
		close(l->eventfd);
	if (l->timerfd >= 0)
		close(l->timerfd);
	if (l->epfd >= 0)
		close(l->epfd);
	pthread_mutex_destroy(&l->post_lock);
	pthread_mutex_destroy(&l->timer_lock);
	free(l->heap);
	free(l);
}

int loop_run_once(struct loop *l, int timeout_ms)
{
	int n = epoll_wait(l->epfd, l->events, ARRAY_SIZE(l->events), timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	l->nevents = n;
	for (int i = 0; i < n; i++) {
		struct loop_watch *w = l->events[i].data.ptr;

		if (w)
			w->fn(w, l->events[i].events);
	}
	l->nevents = 0;
	return 0;
}

int loop_run(struct loop *l)
{
	int ret = 0;

	while (!ret && !__atomic_exchange_n(&l->stop, false, __ATOMIC_ACQ_REL))
		ret = loop_run_once(l, -1);
	return ret;
}

void loop_stop(struct loop *l)
{
	__atomic_store_n(&l->stop, true, __ATOMIC_RELEASE); /* pairs with loop_run() */
	wake(l);
}

/* --- I/O threads ----------------------------------------------------------- */

struct iothread {
	struct loop *loop;
	pthread_t thread;
	bool started;
	char name[16];
	int (*init)(void *arg);
	void *arg;
	int init_ret;
	pthread_barrier_t ready;
};

static void *iothread_main(void *arg)
{
	struct iothread *t = arg;

	thread_name(t->name);
	t->init_ret = t->init ? t->init(t->arg) : 0;
	pthread_barrier_wait(&t->ready);
	if (!t->init_ret)
		loop_run(t->loop);
	return NULL;
}

int iothread_new(const char *name, int (*init)(void *arg), void *arg, struct iothread **out)
{
	AUTO(iothread) struct iothread *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return -ENOMEM;
	for (size_t i = 0; i + 1 < sizeof(t->name) && name[i]; i++)
		t->name[i] = name[i];
	t->init = init;
	t->arg = arg;
	pthread_barrier_init(&t->ready, NULL, 2);
	ret = loop_new(&t->loop);
	if (ret)
		return ret;
	ret = pthread_create(&t->thread, NULL, iothread_main, t);
	if (!ret) {
		t->started = true;
		pthread_barrier_wait(&t->ready);
		ret = -t->init_ret;
	}
	if (ret)
		return -ret;
	*out = MOVE(t);
	return 0;
}

void iothread_free(struct iothread *t)
{
	if (!t)
		return;
	if (t->started) {
		loop_stop(t->loop);
		pthread_join(t->thread, NULL);
	}
	/* only now has the thread certainly left it */
	pthread_barrier_destroy(&t->ready);
	loop_free(t->loop);
	free(t);
}

struct loop *iothread_loop(struct iothread *t)
{
	return t->loop;
}
