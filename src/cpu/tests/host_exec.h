/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_exec.h - run single instructions on the host itself, for tests to compare with.
 *
 * Knows no CPU headers: glibc's <signal.h> has enumerators of the same names.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { HOST_BUF_PAGES = 4, HOST_BUF_BYTES = HOST_BUF_PAGES * 4096 };

struct host_regs {
	uint64_t gpr[16], rflags;
};

struct host_exec; /* one thread's; at most one at a time */

/*
 * Memory below 2 GiB: code, and a buffer of HOST_BUF_BYTES with an inaccessible page on
 * either side.  NULL: no memory there.
 */
struct host_exec *host_exec_new(void);
/* Where instructions run, so that RIP-relative operands can be made. */
uint64_t host_exec_code(const struct host_exec *h);
uint8_t *host_exec_buf(const struct host_exec *h);
/*
 * Run @len bytes of 64-bit code with @r, and store what became of it.  The code must
 * fall through.  Returns 0, or the signal it ended with (then @r is untouched).
 */
int host_exec_run(struct host_exec *h, const uint8_t *code, size_t len, struct host_regs *r);
/* The same as 32-bit code with EAX .. EDI and flat segments; -1: the host does not offer it. */
int host_exec_run32(struct host_exec *h, const uint8_t *code, size_t len, struct host_regs *r);
void host_exec_free(struct host_exec *h);
