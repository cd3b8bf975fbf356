/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_exec.c - run single instructions on the host itself.
 *
 * The instruction is put between code that loads all sixteen registers and RFLAGS from
 * memory and code that stores them; absolute addresses below 2 GiB need no register.
 * RSP is the guest's in between, so signals arrive on a stack of their own.  32-bit
 * code is reached by far return to the compatibility segment that Linux keeps for
 * 32-bit programs.
 */
#include "cpu/tests/host_exec.h"

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, CODE_OFF = 512, NREGS = 16, RSP = 4 };
enum { USER32_CS = 0x23, USER_CS = 0x33, USER_DS = 0x2b };
static const int signals[] = {SIGFPE, SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
enum { NSIGNALS = sizeof(signals) / sizeof(signals[0]) };

struct slots { /* in the data page */
	uint64_t in[NREGS], out[NREGS], in_flags, out_flags, host_rsp;
	uint32_t far_off;
	uint16_t far_sel;
};

struct host_exec {
	uint8_t *map, *code, *buf;
	struct slots *s;
	uint8_t *at; /* end of the code so far */
	struct sigaction old[NSIGNALS];
	stack_t old_stack;
	void *stack;
	bool armed;
};

/* The handler has no other way to find it; tests that use this are single-threaded. */
static sigjmp_buf on_signal;

static void handler(int sig)
{
	siglongjmp(on_signal, sig);
}

static void emit(struct host_exec *h, const void *bytes, size_t n)
{
	memcpy(h->at, bytes, n);
	h->at += n;
}

static void emit_str(struct host_exec *h, const char *s)
{
	emit(h, s, strlen(s));
}

static void emit_abs32(struct host_exec *h, const void *p)
{
	uint32_t a = (uint32_t)(uintptr_t)p;

	emit(h, &a, 4);
}

/* MOV between register @n and [@p]. */
static void emit_mov(struct host_exec *h, unsigned n, const void *p, int store)
{
	uint8_t b[] = {(uint8_t)(0x48 | (n >> 3) << 2), store ? 0x89 : 0x8b,
		       (uint8_t)(0x04 | (n & 7) << 3), 0x25};

	emit(h, b, sizeof(b));
	emit_abs32(h, p);
}

static void emit_enter(struct host_exec *h)
{
	h->at = h->code;
	emit_str(h, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57"); /* push rbx rbp r12..r15 */
	emit_mov(h, RSP, &h->s->host_rsp, 1);
	emit_str(h, "\xff\x34\x25"); /* push [in_flags]; popfq */
	emit_abs32(h, &h->s->in_flags);
	emit_str(h, "\x9d");
}

static void emit_leave(struct host_exec *h)
{
	emit_mov(h, RSP, &h->s->out[RSP], 1);
	emit_mov(h, RSP, &h->s->host_rsp, 0);
	for (unsigned n = 0; n < NREGS; n++)
		if (n != RSP)
			emit_mov(h, n, &h->s->out[n], 1);
	emit_str(h, "\x9c\x8f\x04\x25"); /* pushfq; pop [out_flags] */
	emit_abs32(h, &h->s->out_flags);
	emit_str(h, "\xfc\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3"); /* cld; pops; ret */
}

/* At the first run: cmocka puts its own handlers in place once a test's setup is through. */
static void take_signals(struct host_exec *h)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_NODEFER};

	for (unsigned n = 0; !h->armed && n < NSIGNALS; n++)
		sigaction(signals[n], &sa, &h->old[n]);
	h->armed = true;
}

static int call(struct host_exec *h, struct host_regs *r)
{
	void (*fn)(void) = (void (*)(void))(uintptr_t)h->code;
	int sig;

	memcpy(h->s->in, r->gpr, sizeof(r->gpr));
	h->s->in_flags = r->rflags;
	take_signals(h);
	sig = sigsetjmp(on_signal, 1);
	if (sig)
		return sig;
	fn();
	memcpy(r->gpr, h->s->out, sizeof(r->gpr));
	r->rflags = h->s->out_flags;
	return 0;
}

int host_exec_run(struct host_exec *h, const uint8_t *code, size_t len, struct host_regs *r)
{
	emit_enter(h);
	for (unsigned n = 0; n < NREGS; n++)
		if (n != RSP)
			emit_mov(h, n, &h->s->in[n], 0);
	emit_mov(h, RSP, &h->s->in[RSP], 0);
	emit_str(h, "\xe9"); /* jmp to the instruction */
	emit(h, &(uint32_t){(uint32_t)(h->code + CODE_OFF - (h->at + 4))}, 4);
	h->at = h->code + CODE_OFF;
	emit(h, code, len);
	emit_leave(h);
	return call(h, r);
}

/* MOV between the low half of register @n and [@p], in 32-bit code. */
static void emit_mov32(struct host_exec *h, unsigned n, const void *p, int store)
{
	uint8_t b[] = {store ? 0x89 : 0x8b, (uint8_t)(0x05 | n << 3)};

	emit(h, b, sizeof(b));
	emit_abs32(h, p);
}

/* JMP FAR [far_off] is not to be had with an offset known here; so PUSH, PUSH, RETF. */
static void emit_enter_32(struct host_exec *h)
{
	uint8_t *patch;

	/* mov eax, 2b; mov ds, eax; mov es, eax */
	emit_str(h, "\xb8\x2b");
	emit(h, "\0\0", 3);
	emit_str(h, "\x8e\xd8\x8e\xc0\x6a\x23\x68"); /* push 23; push target */
	patch = h->at;
	h->at += 4;
	emit_str(h, "\x48\xcb"); /* retfq */
	memcpy(patch, &(uint32_t){(uint32_t)(uintptr_t)h->at}, 4);
}

int host_exec_run32(struct host_exec *h, const uint8_t *code, size_t len, struct host_regs *r)
{
	uint8_t *patch;

	emit_enter(h);
	emit_enter_32(h);
	/* the far return has to find a stack below 4 GiB only for what comes */
	for (unsigned n = 0; n < 8; n++)
		emit_mov32(h, n, &h->s->in[n], 0);
	emit_str(h, "\xe9");
	emit(h, &(uint32_t){(uint32_t)(h->code + CODE_OFF - (h->at + 4))}, 4);
	h->at = h->code + CODE_OFF;
	emit(h, code, len);
	for (unsigned n = 0; n < 8; n++)
		emit_mov32(h, n, &h->s->out[n], 1);
	emit_str(h, "\xea"); /* jmp far 33:next */
	patch = h->at;
	h->at += 4;
	emit(h, "\x33", 2);
	memcpy(patch, &(uint32_t){(uint32_t)(uintptr_t)h->at}, 4);
	emit_mov(h, RSP, &h->s->host_rsp, 0);
	emit_str(h, "\x9c\x8f\x04\x25");
	emit_abs32(h, &h->s->out_flags);
	emit_str(h, "\xfc\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3");
	memset(h->s->out, 0, sizeof(h->s->out));
	return call(h, r);
}

uint64_t host_exec_code(const struct host_exec *h)
{
	return (uintptr_t)h->code + CODE_OFF;
}

uint8_t *host_exec_buf(const struct host_exec *h)
{
	return h->buf;
}

struct host_exec *host_exec_new(void)
{
	struct host_exec *h = calloc(1, sizeof(*h));
	stack_t st = {.ss_size = 65536};

	if (!h)
		return NULL;
	h->map = mmap(NULL, (4 + HOST_BUF_PAGES) * PAGE, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (h->map == MAP_FAILED ||
	    mprotect(h->map, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) < 0 ||
	    mprotect(h->map + 3 * PAGE, HOST_BUF_BYTES, PROT_READ | PROT_WRITE) < 0) {
		free(h);
		return NULL;
	}
	h->code = h->map;
	h->s = (struct slots *)(h->map + PAGE);
	h->buf = h->map + 3 * PAGE;
	h->stack = st.ss_sp = malloc(st.ss_size);
	sigaltstack(&st, &h->old_stack);
	return h;
}

void host_exec_free(struct host_exec *h)
{
	if (!h)
		return;
	for (unsigned n = 0; h->armed && n < NSIGNALS; n++)
		sigaction(signals[n], &h->old[n], NULL);
	sigaltstack(&h->old_stack, NULL);
	munmap(h->map, (4 + HOST_BUF_PAGES) * PAGE);
	free(h->stack);
	free(h);
}
