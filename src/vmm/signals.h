/* SPDX-License-Identifier: Apache-2.0 */
/* signals.h - SIGTERM, SIGINT and SIGHUP as events of the loop. */
#pragma once

#include "base/err.h"
#include "base/loop.h"

struct signals { /* owner: the loop's thread */
	struct loop_watch watch;
	void (*fn)(void *ctx, int signo);
	void *ctx;
};

/* Block the signals in this and all later threads, and call @fn for each.  SIGPIPE is ignored. */
MUST_CHECK int signals_init(struct signals *s, struct loop *loop, void (*fn)(void *ctx, int signo),
			    void *ctx, struct errbuf *err);
void signals_fini(struct signals *s); /* takes a zeroed one */
/* Get SIGHUP when the parent process ends. */
void signals_follow_parent(void);
