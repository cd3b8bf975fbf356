/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

unsigned log_kinds;

static const struct {
	const char *name;
	enum log_kind kind;
} kinds[] = {
	{"exec", LOG_EXEC}, {"int", LOG_INT},	    {"dev", LOG_DEV},	{"guest", LOG_GUEST},
	{"pci", LOG_PCI},   {"virtio", LOG_VIRTIO}, {"net", LOG_NET},	{"block", LOG_BLOCK},
	{"qmp", LOG_QMP},   {"msr", LOG_MSR},	    {"boot", LOG_BOOT},
};

const char *log_kind_names(void)
{
	return "exec int dev guest pci virtio net block qmp msr boot all";
}

static const char *kind_name(enum log_kind kind)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].kind == kind)
			return kinds[i].name;
	return "debug";
}

static int parse_one(const char *name, size_t len, unsigned *mask)
{
	if (len == 3 && !strncmp(name, "all", 3)) {
		*mask = ~0u;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strlen(kinds[i].name) == len && !strncmp(name, kinds[i].name, len)) {
			*mask |= kinds[i].kind;
			return 0;
		}
	}
	return -1;
}

int log_parse_kinds(const char *names, unsigned *mask)
{
	unsigned m = 0;

	for (;;) {
		size_t len = strcspn(names, ",");

		if (parse_one(names, len, &m) < 0)
			return -1;
		if (!names[len])
			break;
		names += len + 1;
	}
	*mask = m;
	return 0;
}

/* One write(2) a line, so that lines of several threads do not mix. */
static void emit(const char *prefix, const char *fmt, va_list ap)
{
	char line[1024];
	int n = snprintf(line, sizeof(line), "caisson: %s", prefix);
	int m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);

	if (m < 0)
		return;
	n = MIN(n + m, (int)sizeof(line) - 2);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nowhere left to say it */
}

void log_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit("error: ", fmt, ap);
	va_end(ap);
}

void log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit("warning: ", fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit("", fmt, ap);
	va_end(ap);
}

void log_debug_line(enum log_kind kind, const char *fmt, ...)
{
	char prefix[32];
	va_list ap;

	snprintf(prefix, sizeof(prefix), "%s: ", kind_name(kind));
	va_start(ap, fmt);
	emit(prefix, fmt, ap);
	va_end(ap);
}
