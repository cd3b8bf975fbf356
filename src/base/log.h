/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - lines for the operator, on stderr.
 *
 * One layer logs: the one that swallows the error.  Debug lines belong to a
 * kind, switched on by "-d KIND"; a kind that is off costs one load and test.
 * The set of kinds is process-wide and fixed before the first VM thread starts,
 * the only file-scope state of its sort.
 */
#pragma once

#include "base/cleanup.h"

enum log_kind {
	LOG_EXEC = 1 << 0,  /* engine: exits, exceptions taken by the guest */
	LOG_INT = 1 << 1,   /* interrupts delivered */
	LOG_DEV = 1 << 2,   /* devices: register accesses */
	LOG_GUEST = 1 << 3, /* what the guest did wrong (guest_error()) */
	LOG_PCI = 1 << 4,
	LOG_VIRTIO = 1 << 5,
	LOG_NET = 1 << 6,
	LOG_BLOCK = 1 << 7,
	LOG_QMP = 1 << 8,
	LOG_MSR = 1 << 9,
	LOG_BOOT = 1 << 10, /* loaders, memory map, tables */
};

extern unsigned log_kinds;

/* Parse "exec,dev" or "all" or "help" names into a mask; -1 for an unknown name. */
int log_parse_kinds(const char *names, unsigned *mask);
/* Space-separated names of all kinds, for help texts. */
const char *log_kind_names(void);

void log_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_info(const char *fmt, ...) PRINTF_LIKE(1, 2);
void log_debug_line(enum log_kind kind, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_on(kind) unlikely(log_kinds &(kind))
#define log_debug(kind, ...)                               \
	do {                                               \
		if (log_on(kind))                          \
			log_debug_line(kind, __VA_ARGS__); \
	} while (0)
