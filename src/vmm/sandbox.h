/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.h - lock the VM's process down before the first guest instruction.
 *
 * Three steps, because each needs what the next takes away: namespaces while the
 * process has one thread; a seccomp filter on each thread as it starts; then, when
 * everything is open, an empty root, no capabilities and the main thread's filter.
 */
#pragma once

#include "base/err.h"

/* Namespaces, as many as the host permits.  One thread, nothing opened yet. */
void sandbox_namespaces(void);
/* The filter of a thread of @kind: "vcpu", "io", "net", "main".  0 or -errno. */
MUST_CHECK int sandbox_thread(const char *kind);
/* Empty root, capabilities dropped, descriptors beyond the needed closed-on-exec. */
MUST_CHECK int sandbox_process(struct errbuf *err);
