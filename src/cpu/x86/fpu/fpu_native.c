/* SPDX-License-Identifier: Apache-2.0 */
/* fpu_native.c - see fpu_native.h. */
#include "cpu/x86/fpu/fpu_native.h"

#include <assert.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { CODE_BYTES = 8192, INSN_AT = 2048 };

struct native {
	uint8_t code[CODE_BYTES];
	struct native_state s __attribute__((aligned(64)));
	uint8_t *p, *after;
	uint8_t stack[65536];
};

/* The one native run in progress; tests have one thread. */
static struct native *current;

static void bytes(struct native *n, const char *b, unsigned len)
{
	memcpy(n->p, b, len);
	n->p += len;
}
#define B(n, lit) bytes(n, lit, sizeof(lit) - 1)

/* ModRM with @reg and RIP-relative displacement to @field. */
static void rel(struct native *n, unsigned reg, const void *field)
{
	int32_t disp = (int32_t)((const uint8_t *)field - (n->p + 5));

	*n->p++ = (uint8_t)(0x05 | (reg & 7) << 3);
	memcpy(n->p, &disp, 4);
	n->p += 4;
}

static void ymm(struct native *n, bool store)
{
	for (unsigned r = 0; r < 16; r++) {
		*n->p++ = 0xc5;
		*n->p++ = r < 8 ? 0xfe : 0x7e; /* vmovdqu ymm */
		*n->p++ = store ? 0x7f : 0x6f;
		rel(n, r, n->s.vec[r]);
	}
}

static void gprs(struct native *n, bool store)
{
	for (unsigned r = 0; r < 16; r++) {
		*n->p++ = r < 8 ? 0x48 : 0x4c;
		*n->p++ = store ? 0x89 : 0x8b;
		rel(n, r, &n->s.gpr[r]);
	}
}

static void emit(struct native *n, const uint8_t *code, unsigned len)
{
	memset(n->code, 0x90, sizeof(n->code));
	n->p = n->code;
	B(n, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57"); /* push rbx, rbp, r12..r15 */
	B(n, "\x48\x89");
	rel(n, 4, &n->s.host_rsp);
	B(n, "\x48\x0f\xae");
	rel(n, 1, n->s.fx); /* fxrstor64 */
	ymm(n, false);
	B(n, "\xff");
	rel(n, 6, &n->s.rflags); /* push [rflags]; popfq */
	B(n, "\x9d");
	gprs(n, false);
	n->p = n->code + INSN_AT; /* over NOPs */
	memcpy(n->p - len, code, len);
	n->after = n->p;
	gprs(n, true);
	B(n, "\x48\x8b");
	rel(n, 4, &n->s.host_rsp);
	B(n, "\x9c\x8f");
	rel(n, 0, &n->s.rflags); /* pushfq; pop [rflags] */
	ymm(n, true);
	B(n, "\x48\x0f\xae");
	rel(n, 0, n->s.fx);		  /* fxsave64 */
	B(n, "\xdb\xe3\xfc\xc5\xf8\x77"); /* fninit; cld; vzeroupper */
	B(n, "\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3");
}

static void on_signal(int sig, siginfo_t *info, void *ctx)
{
	ucontext_t *uc = ctx;

	if (!current || (uint8_t *)uc->uc_mcontext.gregs[REG_RIP] >= current->after ||
	    (uint8_t *)uc->uc_mcontext.gregs[REG_RIP] < current->code) {
		signal(sig, SIG_DFL);
		return;
	}
	current->s.vector = (int)uc->uc_mcontext.gregs[REG_TRAPNO];
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)current->after;
}

struct native *native_new(void)
{
	static const int signals[] = {SIGFPE, SIGSEGV, SIGILL, SIGBUS};
	struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
	struct native *n = mmap(NULL, sizeof(*n), PROT_READ | PROT_WRITE | PROT_EXEC,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t st;

	assert(n != MAP_FAILED);
	st = (stack_t){.ss_sp = n->stack, .ss_size = sizeof(n->stack)};
	sigaltstack(&st, NULL);
	sa.sa_sigaction = on_signal;
	for (unsigned k = 0; k < ARRAY_SIZE(signals); k++)
		sigaction(signals[k], &sa, NULL);
	return n;
}

struct native_state *native_state(struct native *n)
{
	return &n->s;
}

uint64_t native_rip(struct native *n, unsigned len)
{
	return (uintptr_t)n->code + INSN_AT - len;
}

void native_run(struct native *n, const uint8_t *code, unsigned len)
{
	void (*fn)(void) = (void (*)(void))(uintptr_t)n->code;
	uint32_t mxcsr = 0x1f80;

	emit(n, code, len);
	n->s.vector = -1;
	current = n;
	fn();
	current = NULL;
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
}

void native_free(struct native *n)
{
	stack_t st = {.ss_flags = SS_DISABLE};

	sigaltstack(&st, NULL);
	munmap(n, sizeof(*n));
}
