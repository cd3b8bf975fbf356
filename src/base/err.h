/* SPDX-License-Identifier: Apache-2.0 */
/* err.h - an error for a person: one sentence naming object, value and remedy. */
#pragma once

#include "base/cleanup.h"

struct errbuf {
	int code; /* -errno of the first error set; 0: none */
	char msg[512];
};

/*
 * Store a sentence in @err and return @code (a -errno), so that callers can
 * write "return err_set(err, -EINVAL, ...)".  @err may be NULL.  %m in @fmt
 * formats the errno at entry.
 */
int err_set(struct errbuf *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Prefix the sentence already in @err with "fmt: ".  Returns err->code. */
int err_prefix(struct errbuf *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
