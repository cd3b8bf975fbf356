/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_poll.c - libslirp's sockets and timers on our loop.
 *
 * libslirp is written around poll(): before sleeping it is asked for the sockets
 * and the timeout it cares about (fill), afterwards it is told what is ready (poll).
 * Here the sockets live in an epoll set of their own, which the loop watches as one
 * descriptor.  After whatever may have changed libslirp's mind, one round is run:
 * collect what is ready, poll, fill, and correct the epoll set where the wishes
 * differ, so a round without changes costs no system call beyond the first.
 *
 * Frames from the guest come in batches, so they only "kick": the timerfd is set to
 * fire at once, and the round runs when the batch is through.  libslirp's clock
 * is read in poll only; a batch therefore begins with a poll of nothing, or a
 * socket opened after an idle hour would be an hour old at once.
 *
 * System calls: epoll_wait, epoll_ctl, timerfd_settime, read.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "net/user.h"

#define MS 1000000ULL

enum { MAX_EVENTS = 64, MAX_FDS = 1 << 20 };

/* --- the timer ---------------------------------------------------------------------- */

/* Fire at @at_ns of our clock, or earlier for nothing. */
static void arm(struct net_user *u, uint64_t at_ns)
{
	struct itimerspec its = {0};
	uint64_t now, delta;

	if (at_ns >= u->armed_ns)
		return;
	now = vclock_ns(&u->clock);
	delta = at_ns > now ? at_ns - now : 1;
	its.it_value.tv_sec = (time_t)(delta / (1000 * MS));
	its.it_value.tv_nsec = (long)(delta % (1000 * MS));
	u->armed_ns = at_ns;
	timerfd_settime(u->timer.fd, 0, &its, NULL);
}

void user_poll_kick(struct net_user *u)
{
	if (u->kicked || u->paused)
		return;
	u->kicked = true;
	arm(u, 0);
}

void user_poll_start(struct net_user *u)
{
	struct itimerspec now = {.it_value.tv_nsec = 1};

	u->paused = false;
	u->kicked = true;
	u->armed_ns = 0;
	__atomic_store_n(&u->started, true, __ATOMIC_RELEASE); /* pairs with on_timer() */
	timerfd_settime(u->timer.fd, 0, &now, NULL);
}

void *user_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct net_user *u = opaque;
	struct user_timer *t = malloc(sizeof(*t));

	if (!t)
		abort(); /* libslirp does the same, and this is at start */
	*t = (struct user_timer){.id = id, .cb_opaque = cb_opaque, .expire_ns = UINT64_MAX};
	list_init(&t->link);
	list_add(&u->timers, &t->link);
	return t;
}

void user_timer_free(void *timer, void *opaque)
{
	struct user_timer *t = timer;

	if (!t)
		return;
	list_del(&t->link);
	free(t);
}

void user_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	struct user_timer *t = timer;

	t->expire_ns = expire_ms > 0 ? (uint64_t)expire_ms * MS : 0;
	user_poll_kick(opaque);
}

static void run_timers(struct net_user *u)
{
	uint64_t now = vclock_ns(&u->clock);

	list_for_each_safe (l, &u->timers) {
		struct user_timer *t = list_entry(l, struct user_timer, link);

		if (t->expire_ns > now)
			continue;
		t->expire_ns = UINT64_MAX;
		slirp_handle_timer(u->slirp, t->id, t->cb_opaque);
	}
}

static uint64_t next_deadline(struct net_user *u, uint32_t timeout_ms)
{
	uint64_t at = UINT64_MAX;

	if (timeout_ms != UINT32_MAX)
		at = vclock_ns(&u->clock) + timeout_ms * MS;
	list_for_each (l, &u->timers)
		at = MIN(at, list_entry(l, struct user_timer, link)->expire_ns);
	return at;
}

/* --- the sockets ---------------------------------------------------------------------- */

static uint32_t to_epoll(int events)
{
	return (events & SLIRP_POLL_IN ? (uint32_t)EPOLLIN : 0) |
	       (events & SLIRP_POLL_OUT ? (uint32_t)EPOLLOUT : 0) |
	       (events & SLIRP_POLL_PRI ? (uint32_t)EPOLLPRI : 0) |
	       (events & SLIRP_POLL_ERR ? (uint32_t)EPOLLERR : 0) |
	       (events & SLIRP_POLL_HUP ? (uint32_t)EPOLLHUP : 0);
}

static int from_epoll(uint32_t events)
{
	return (events & EPOLLIN ? SLIRP_POLL_IN : 0) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

static bool grow(struct net_user *u, int fd)
{
	unsigned n = MAX(u->nfd * 2, (unsigned)fd + 64);
	struct user_fd *p;

	if (fd >= MAX_FDS)
		return false;
	p = realloc(u->fd, n * sizeof(*p));
	if (!p)
		return false;
	memset(p + u->nfd, 0, (n - u->nfd) * sizeof(*p));
	u->fd = p;
	u->nfd = n;
	return true;
}

static bool append(struct user_fds *l, int fd)
{
	if (l->n == l->cap) {
		unsigned cap = MAX(l->cap * 2, 64u);
		int *p = realloc(l->list, cap * sizeof(*p));

		if (!p)
			return false;
		l->list = p;
		l->cap = cap;
	}
	l->list[l->n++] = fd;
	return true;
}

/* The index libslirp keeps is the descriptor itself; -1: not polled this time. */
static int add_poll(int fd, int events, void *opaque)
{
	struct net_user *u = opaque;

	if (fd < 0 || ((unsigned)fd >= u->nfd && !grow(u, fd)) || !append(&u->now, fd))
		return -1;
	u->fd[fd].wanted = to_epoll(events);
	u->fd[fd].generation = u->generation;
	return fd;
}

static int get_revents(int idx, void *opaque)
{
	struct net_user *u = opaque;

	return idx >= 0 && (unsigned)idx < u->nfd ? from_epoll(u->fd[idx].ready) : 0;
}

/* libslirp is about to close @fd; the number may come back as another socket. */
void user_unregister_fd(int fd, void *opaque)
{
	struct net_user *u = opaque;

	if (fd < 0 || (unsigned)fd >= u->nfd)
		return;
	if (u->fd[fd].added)
		epoll_ctl(u->set.fd, EPOLL_CTL_DEL, fd, NULL);
	u->fd[fd].added = u->fd[fd].ready = 0;
}

static void set_wanted(struct net_user *u, int fd)
{
	struct user_fd *f = &u->fd[fd];
	struct epoll_event ev = {.events = f->wanted, .data.fd = fd};

	if (f->added == f->wanted)
		return;
	if (epoll_ctl(u->set.fd, f->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) == 0)
		f->added = f->wanted;
}

/* What was wanted before and is not now must go: epoll reports hang-ups regardless. */
static void correct_set(struct net_user *u)
{
	struct user_fds spare = u->before;

	for (unsigned i = 0; i < u->before.n; i++) {
		int fd = u->before.list[i];

		if (u->fd[fd].generation != u->generation)
			user_unregister_fd(fd, u);
	}
	for (unsigned i = 0; i < u->now.n; i++)
		set_wanted(u, u->now.list[i]);
	u->before = u->now;
	u->now = spare;
}

/* --- rounds ----------------------------------------------------------------------------- */

static void run_round(struct net_user *u)
{
	struct epoll_event ev[MAX_EVENTS];
	uint32_t timeout_ms = UINT32_MAX;
	int n = epoll_wait(u->set.fd, ev, MAX_EVENTS, 0);

	for (int i = 0; i < n; i++)
		u->fd[ev[i].data.fd].ready = ev[i].events;
	slirp_pollfds_poll(u->slirp, n < 0, get_revents, u);
	for (int i = 0; i < n; i++)
		u->fd[ev[i].data.fd].ready = 0;
	run_timers(u);
	u->generation++;
	u->now.n = 0;
	slirp_pollfds_fill(u->slirp, &timeout_ms, add_poll, u);
	correct_set(u);
	arm(u, next_deadline(u, timeout_ms));
}

static void on_set(struct loop_watch *w, uint32_t events)
{
	run_round(container_of(w, struct net_user, set));
}

static void on_timer(struct loop_watch *w, uint32_t events)
{
	struct net_user *u = container_of(w, struct net_user, timer);
	uint64_t n;

	if (!__atomic_load_n(&u->started, __ATOMIC_ACQUIRE) || read(u->timer.fd, &n, sizeof(n)) < 0)
		return; /* set again meanwhile */
	u->armed_ns = UINT64_MAX;
	u->kicked = false;
	run_round(u);
}

void user_poll_tick(struct net_user *u)
{
	if (!u->kicked)
		slirp_pollfds_poll(u->slirp, 1, get_revents, u);
}

/* --- life --------------------------------------------------------------------------------- */

void user_poll_pause(struct net_user *u)
{
	struct itimerspec off = {0};

	loop_del(&u->set);
	loop_del(&u->timer);
	timerfd_settime(u->timer.fd, 0, &off, NULL);
	u->armed_ns = UINT64_MAX;
	u->kicked = false;
}

void user_poll_resume(struct net_user *u)
{
	/* both were in the loop before, so there is room for them */
	if (loop_add(u->n.loop, &u->set, EPOLLIN) < 0 ||
	    loop_add(u->n.loop, &u->timer, EPOLLIN) < 0)
		abort();
	user_poll_kick(u);
}

int user_poll_init(struct net_user *u)
{
	int ret;

	u->armed_ns = UINT64_MAX;
	u->set = (struct loop_watch){.fd = epoll_create1(EPOLL_CLOEXEC), .fn = on_set};
	u->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	u->timer.fn = on_timer;
	if (u->set.fd < 0 || u->timer.fd < 0)
		return -errno;
	ret = loop_add(u->n.loop, &u->set, EPOLLIN);
	return ret ? ret : loop_add(u->n.loop, &u->timer, EPOLLIN);
}

void user_poll_fini(struct net_user *u)
{
	loop_del(&u->set);
	loop_del(&u->timer);
	if (u->set.fd >= 0)
		close(u->set.fd);
	if (u->timer.fd >= 0)
		close(u->timer.fd);
	free(u->fd);
	free(u->now.list);
	free(u->before.list);
}
