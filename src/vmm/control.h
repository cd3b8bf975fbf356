/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - the control socket: JSON, one object a line, in QMP's dialect.
 *
 * Owner: the machine loop's thread.  Clients are hostile: lines, queues and the
 * number of clients are bounded, and a mistake gets an error object, never a
 * disconnect (QEMU's docs/interop/qmp-spec.txt).
 */
#pragma once

#include <jansson.h>
#include "base/err.h"
#include "base/loop.h"
#include "machine/machine.h"

struct control;

/* Listen on Unix socket @path (replaced if a stale one is there). */
MUST_CHECK int control_new(struct loop *loop, const char *path, struct control **out,
			   struct errbuf *err);
void control_free(struct control *c); /* sends what is queued, unlinks the socket */
DEFINE_AUTO(control);
/* The machine that commands act on; before the loop runs.  @quit: what "quit" calls. */
void control_attach(struct control *c, struct machine *m, void (*quit)(void *ctx), void *ctx);
/* A client on @fd, which is taken: what a connection to the socket becomes. */
void control_add_client(struct control *c, int fd);
/* Tell every client.  Takes @data (may be NULL). */
void control_event(struct control *c, const char *name, json_t *data);
