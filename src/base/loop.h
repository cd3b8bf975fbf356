/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - one thread's event loop: descriptors, timers, messages from other threads.
 *
 * A loop belongs to the thread that calls loop_run().  Watches are added and
 * removed on that thread (or before it runs).  loop_post(), loop_stop() and the
 * timer functions may be called from any thread.  Timers count in nanoseconds
 * of a vclock, so they stand still while the VM is paused.
 */
#pragma once

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/list.h"

struct loop;

MUST_CHECK int loop_new(struct loop **out);
void loop_free(struct loop *loop);
DEFINE_AUTO(loop);

/* Serve events until loop_stop().  Returns 0 or -errno of epoll. */
int loop_run(struct loop *loop);
/* Serve what is ready, waiting at most @timeout_ms (-1: until something is). */
int loop_run_once(struct loop *loop, int timeout_ms);
/* Ask loop_run() to return.  Any thread. */
void loop_stop(struct loop *loop);

/* --- descriptors ------------------------------------------------------- */

struct loop_watch { /* owned by the caller, embedded in its object */
	int fd;
	void (*fn)(struct loop_watch *w, uint32_t epoll_events);
	struct loop *loop; /* NULL: not added */
};

/* Call @w->fn on the loop's thread whenever @w->fd has @epoll_events (EPOLLIN ...). */
MUST_CHECK int loop_add(struct loop *loop, struct loop_watch *w, uint32_t epoll_events);
int loop_mod(struct loop_watch *w, uint32_t epoll_events);
/* No call of @w->fn happens after this returns; harmless when not added. */
void loop_del(struct loop_watch *w);

/* --- messages ---------------------------------------------------------- */

/* Run @fn(@arg) once on the loop's thread.  Any thread.  -ENOMEM or 0. */
int loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);
/* The same and wait until it ran.  Not from the loop's own thread. */
int loop_call(struct loop *loop, void (*fn)(void *arg), void *arg);

/* --- timers ------------------------------------------------------------ */

struct timer { /* guarded by the loop's timer lock */
	struct loop *loop;
	const struct vclock *clock;
	void (*fn)(struct timer *t);
	uint64_t deadline_ns; /* VM time */
	size_t heap_index;    /* 0: not armed */
};

void timer_init(struct timer *t, struct loop *loop, const struct vclock *clock,
		void (*fn)(struct timer *t));
/* (Re)arm to fire once at VM time @deadline_ns.  Any thread. */
void timer_arm(struct timer *t, uint64_t deadline_ns);
/* Disarm.  A callback already under way on the loop's thread may still finish. */
void timer_stop(struct timer *t);
bool timer_armed(const struct timer *t);
/* After the clock was started again: deadlines are recomputed.  Any thread. */
void loop_clock_changed(struct loop *loop);

/* --- a loop on a thread of its own --------------------------------------- */

struct iothread;
/*
 * Start a thread named @name (at most 15 characters) that runs a loop.
 * @init, if any, runs first on the new thread (to install its seccomp filter).
 */
MUST_CHECK int iothread_new(const char *name, int (*init)(void *arg), void *arg,
			    struct iothread **out);
/* Stop the loop and join the thread. */
void iothread_free(struct iothread *t);
DEFINE_AUTO(iothread);
struct loop *iothread_loop(struct iothread *t);
