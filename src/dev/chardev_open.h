/* SPDX-License-Identifier: Apache-2.0 */
/* chardev_open.h - the descriptors behind a chardev's specification (chardev.c only). */
#pragma once

#include "base/err.h"

enum chardev_out_kind {
	CHARDEV_PLAIN, /* non-blocking, or a file, which does not block for long */
	CHARDEV_SOCKET,
	CHARDEV_BLOCKING, /* must be polled, and written in small pieces */
};

struct chardev_ends { /* -1: none */
	int in_fd, out_fd, listen_fd;
	enum chardev_out_kind out_kind;
	bool in_tty, is_stdio;
	bool own_in, own_out; /* closed by chardev_close_ends() */
	char *path;	      /* of the socket, unlinked at the end */
};

#define CHARDEV_ENDS_NONE ((struct chardev_ends){.in_fd = -1, .out_fd = -1, .listen_fd = -1})

MUST_CHECK int chardev_open_ends(const char *spec, struct chardev_ends *e, struct errbuf *err);
/* Closes, unlinks, puts the terminal back. */
void chardev_close_ends(struct chardev_ends *e);
