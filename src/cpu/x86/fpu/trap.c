/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trap.c - unmasked SIMD exceptions of stubs.
 *
 * A stub runs under the guest's own MXCSR.  Where that unmasks an exception the
 * host takes a SIGFPE at the very instruction, before it has written anything; the
 * handler finds the running call in a thread-local frame, notes MXCSR and makes the
 * stub return.  Signal dispositions belong to the process, so this is the one place
 * of the engine with file-scope state: the handler that was there before, and a frame
 * for each thread.  System calls: rt_sigreturn, and rt_sigprocmask before each
 * call that may trap, since a SIGFPE that is blocked would kill the process.
 */
#include "cpu/x86/fpu/stub.h"

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>
#include <xmmintrin.h>

struct trap_frame {
	uintptr_t code; /* of the running stub */
	bool faulted;
	uint32_t mxcsr; /* at the fault */
};

static _Thread_local struct trap_frame *volatile running; /* NULL: no trapping call */
static struct sigaction previous; /* written before the handler is installed */
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

/* A RET that the handler may return to, whatever stub was running. */
static uintptr_t ret_address(uintptr_t code)
{
	const uint8_t *p = (const uint8_t *)code + STUB_MAX_BYTES;

	while (*--p != 0xc3) /* the padding behind the stub's RET is INT3 */
		;
	return (uintptr_t)p;
}

static void on_sigfpe(int sig, siginfo_t *info, void *ctx)
{
	ucontext_t *uc = ctx;
	struct trap_frame *f = running;
	uintptr_t rip = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];

	if (f && rip - f->code < STUB_MAX_BYTES && uc->uc_mcontext.fpregs) {
		f->faulted = true;
		f->mxcsr = uc->uc_mcontext.fpregs->mxcsr;
		uc->uc_mcontext.fpregs->mxcsr = MXCSR_HOST;
		uc->uc_mcontext.gregs[REG_RIP] = (greg_t)ret_address(f->code);
		return;
	}
	if (previous.sa_flags & SA_SIGINFO)
		previous.sa_sigaction(sig, info, ctx);
	else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN)
		previous.sa_handler(sig);
	else /* runs into it again, and then dies of it */
		sigaction(SIGFPE, &previous, NULL);
}

static __attribute__((noinline)) bool call_trapping(stub_fn *fn, void *reg, void *rm, void *vvvv,
						    struct stub_io *io)
{
	struct trap_frame frame = {.code = (uintptr_t)fn};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGFPE);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	running = &frame;
	fn(reg, rm, vvvv, io);
	running = NULL;
	if (frame.faulted)
		io->mxcsr = frame.mxcsr;
	return frame.faulted;
}

bool stub_call_fp(stub_fn *fn, void *reg, void *rm, void *vvvv, struct stub_io *io)
{
	uint32_t control = io->mxcsr & ~(uint32_t)MXCSR_FLAGS;
	bool faulted = false;

	if (likely((control & MXCSR_MASKS) == MXCSR_MASKS))
		fn(reg, rm, vvvv, io);
	else
		faulted = call_trapping(fn, reg, rm, vvvv, io);
	if (unlikely(control != MXCSR_HOST)) /* flags may stay: C code does not look at them */
		_mm_setcsr(MXCSR_HOST);
	return faulted;
}

void trap_install(void)
{
	struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK}, old;

	sa.sa_sigaction = on_sigfpe;
	sigemptyset(&sa.sa_mask);
	pthread_mutex_lock(&install_lock);
	sigaction(SIGFPE, NULL, &old);
	if (!(old.sa_flags & SA_SIGINFO && old.sa_sigaction == on_sigfpe)) {
		previous = old;
		sigaction(SIGFPE, &sa, NULL);
	}
	pthread_mutex_unlock(&install_lock);
}
