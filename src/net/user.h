/* SPDX-License-Identifier: Apache-2.0 */
/* user.h - what the files of the user-mode NAT share. */
#pragma once

#include <slirp/libslirp.h>
#include "net/net.h"

enum {
	USER_QUEUE_FRAMES = 256, /* for a guest that takes none: 1 MiB or these */
	USER_QUEUE_BYTES = 1 << 20,
	USER_GUEST_ERRORS_LOGGED = 20,
};

struct user_fd {		/* a socket of libslirp's, indexed by its number */
	uint32_t wanted, added; /* EPOLL*; added 0: not in the set */
	uint32_t ready;		/* EPOLL*, while slirp_pollfds_poll() runs */
	unsigned generation;	/* of the fill that named it last */
};

struct user_fds {
	int *list;
	unsigned n, cap;
};

struct user_timer {
	struct list link;
	SlirpTimerId id;
	void *cb_opaque;
	uint64_t expire_ns; /* of user.clock; UINT64_MAX: off */
};

struct user_frame {
	uint8_t *data;
	size_t len;
};

struct net_user { /* owner: the loop's thread, after net_user_new() armed the timer */
	struct net n;
	Slirp *slirp;
	struct vclock clock; /* stands still while paused */
	bool paused;
	bool started; /* atomic; the loop's thread may touch all this */

	/* user_poll.c */
	struct loop_watch set;	 /* an epoll set of libslirp's sockets */
	struct loop_watch timer; /* a timerfd: libslirp's timeouts, and kicks */
	uint64_t armed_ns;	 /* what the timerfd is set to; UINT64_MAX: off */
	bool kicked;		 /* it fires at once */
	struct user_fd *fd;
	unsigned nfd, generation;
	struct user_fds now, before;
	struct list timers;

	/* frames the NIC had no room for: a ring */
	struct user_frame queue[USER_QUEUE_FRAMES];
	unsigned head, count;
	size_t queued_bytes;
	uint64_t dropped, guest_errors;

	uint8_t frame[NET_MAX_FRAME]; /* from the guest, in one piece */
};

/* user_poll.c: libslirp's sockets and timers on our loop. */
MUST_CHECK int user_poll_init(struct net_user *u);
void user_poll_fini(struct net_user *u);
/* Hand @u over to the loop's thread. */
void user_poll_start(struct net_user *u);
/* Have libslirp look at its sockets and timers soon.  Cheap when called often. */
void user_poll_kick(struct net_user *u);
/* Tell libslirp the time before it is given a frame. */
void user_poll_tick(struct net_user *u);
void user_poll_pause(struct net_user *u);
void user_poll_resume(struct net_user *u);
/* SlirpCb: */
void user_unregister_fd(int fd, void *opaque);
void *user_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque);
void user_timer_free(void *timer, void *opaque);
void user_timer_mod(void *timer, int64_t expire_ms, void *opaque);

/* forward.c: add one "[tcp:|udp:][HOSTADDR:]HOSTPORT:GUESTPORT". */
MUST_CHECK int user_forward_add(Slirp *slirp, const char *spec, struct errbuf *err);
