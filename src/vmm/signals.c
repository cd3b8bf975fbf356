/* SPDX-License-Identifier: Apache-2.0 */
/* signals.c - see signals.h. */
#include "vmm/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

static void on_signal(struct loop_watch *w, uint32_t events)
{
	struct signals *s = container_of(w, struct signals, watch);
	struct signalfd_siginfo si;

	if (read(w->fd, &si, sizeof(si)) == sizeof(si))
		s->fn(s->ctx, (int)si.ssi_signo);
}

int signals_init(struct signals *s, struct loop *loop, void (*fn)(void *ctx, int signo), void *ctx,
		 struct errbuf *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	s->fn = fn;
	s->ctx = ctx;
	s->watch.fn = on_signal;
	s->watch.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->watch.fd < 0 || loop_add(loop, &s->watch, EPOLLIN) < 0)
		return err_set(err, -errno, "signals: %m");
	return 0;
}

void signals_fini(struct signals *s)
{
	loop_del(&s->watch);
	if (s->watch.fd > 0)
		close(s->watch.fd);
}

void signals_follow_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGHUP);
}
