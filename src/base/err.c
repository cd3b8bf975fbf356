/* SPDX-License-Identifier: Apache-2.0 */
/* err.c - see err.h. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct errbuf *err, int code, const char *fmt, ...)
{
	int saved_errno = errno;
	va_list ap;

	if (!err)
		return code;
	err->code = code;
	va_start(ap, fmt);
	errno = saved_errno;
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return code;
}

int err_prefix(struct errbuf *err, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	va_list ap;
	int n;

	if (!err)
		return -EINVAL;
	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	for (const char *p = ": "; n >= 0 && *p && (size_t)n + 1 < sizeof(err->msg); p++)
		err->msg[n++] = *p;
	for (const char *p = old; n >= 0 && *p && (size_t)n + 1 < sizeof(err->msg); p++)
		err->msg[n++] = *p;
	if (n >= 0 && (size_t)n < sizeof(err->msg))
		err->msg[n] = 0;
	return err->code;
}
