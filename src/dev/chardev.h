/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chardev.h - where a serial port's characters go: terminal, file, socket, nothing.
 *
 * Owner: the machine loop's thread for input; chardev_write() from any thread.
 */
#pragma once

#include "base/err.h"
#include "base/loop.h"

struct chardev;

struct chardev_client {
	/* How many bytes can be taken now. */
	size_t (*can_receive)(struct chardev_client *c);
	void (*receive)(struct chardev_client *c, const uint8_t *buf, size_t len);
};

/*
 * @spec: "stdio", "none", "file=PATH", "unix=PATH" (listens; one client at a time).
 * stdio: the terminal is put in raw mode and put back by chardev_free() and by
 * chardev_restore_terminal().  @escape is called on the loop when the escape key
 * (Ctrl-A) was followed by a key that is not Ctrl-A itself.
 */
MUST_CHECK int chardev_new(struct loop *loop, const char *spec, void (*escape)(void *ctx, int key),
			   void *ctx, struct chardev **out, struct errbuf *err);
void chardev_free(struct chardev *chr);
DEFINE_AUTO(chardev);

void chardev_attach(struct chardev *chr, struct chardev_client *client);
/* Queue @len bytes for output; never blocks; drops (and counts) beyond a bounded buffer. */
void chardev_write(struct chardev *chr, const uint8_t *buf, size_t len);
/* The client has room again. */
void chardev_accept(struct chardev *chr);
/* Wait (bounded) until queued output is out: before exit. */
void chardev_flush(struct chardev *chr);
/* Put the terminal back; async-signal-safe. */
void chardev_restore_terminal(void);
