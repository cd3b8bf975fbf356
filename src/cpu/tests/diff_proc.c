/* SPDX-License-Identifier: Apache-2.0 */
/* diff_proc.c - starting, feeding and watching the child; what a signal tells. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include "cpu/tests/diff_proc.h"

enum { HANG_MS = 10000, ALT_STACK = 64 << 10, MAGIC1_AT = 464 };
enum { MAGIC1 = 0x46505853 }; /* FP_XSTATE_MAGIC1: an XSAVE header follows */

void diff_on_signal(int sig, void *info, void *context)
{
	static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				      REG_RSI, REG_RDI, REG_R8,	 REG_R9,  REG_R10, REG_R11,
				      REG_R12, REG_R13, REG_R14, REG_R15};
	ucontext_t *u = context;
	greg_t *g = u->uc_mcontext.gregs;
	struct diff_trap t = {.fpstate = (const uint8_t *)u->uc_mcontext.fpregs};
	uint64_t rip, rsp, selectors = (uint64_t)g[REG_CSGSFS];
	uint32_t magic;

	for (unsigned n = 0; n < 16; n++)
		t.gpr[n] = (uint64_t)g[order[n]];
	t.rip = (uint64_t)g[REG_RIP];
	t.rflags = (uint64_t)g[REG_EFL];
	t.cs = (uint16_t)selectors;
	t.ss = (uint16_t)(selectors >> 48);
	t.error = (uint64_t)g[REG_ERR];
	t.vector = (uint64_t)g[REG_TRAPNO];
	t.cr2 = (uint64_t)g[REG_CR2];
	memcpy(&magic, t.fpstate + MAGIC1_AT, 4);
	t.has_avx = magic == MAGIC1;
	if (!diff_trapped(&t, &rip, &rsp))
		_exit(99);
	g[REG_RIP] = (greg_t)rip;
	g[REG_RSP] = (greg_t)rsp;
	g[REG_EFL] = 0x202;
	/* user code and data segments of 64-bit Linux */
	g[REG_CSGSFS] = (greg_t)((selectors & 0xffffffff0000) | 0x33 | 0x2bULL << 48);
}

bool diff_catch_signals(void (*entry)(int sig, void *info, void *context))
{
	static const int sigs[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
	struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
	stack_t ss = {.ss_size = ALT_STACK};

	sa.sa_sigaction = (void (*)(int, siginfo_t *, void *))entry;
	ss.ss_sp = malloc(ALT_STACK);
	if (!ss.ss_sp || sigaltstack(&ss, NULL))
		return false;
	for (unsigned n = 0; n < sizeof(sigs) / sizeof(sigs[0]); n++)
		if (sigaction(sigs[n], &sa, NULL))
			return false;
	return true;
}

static void child_main(const struct diff_proc *p)
{
	uint64_t v;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!p->setup(p->arg))
		_exit(98);
	while (read(p->go, &v, 8) == 8) {
		p->batch(p->arg);
		v = 1;
		if (write(p->done, &v, 8) != 8)
			break;
	}
	_exit(0);
}

bool proc_start(struct diff_proc *p)
{
	p->go = eventfd(0, EFD_CLOEXEC);
	p->done = eventfd(0, EFD_CLOEXEC);
	if (p->go < 0 || p->done < 0)
		return false;
	fflush(NULL);
	p->pid = fork();
	if (!p->pid)
		child_main(p);
	return p->pid > 0;
}

void proc_go(struct diff_proc *p)
{
	uint64_t v = 1;

	if (write(p->go, &v, 8) != 8)
		perror("diff-cpu: eventfd");
}

bool proc_wait(struct diff_proc *p)
{
	struct pollfd pfd = {.fd = p->done, .events = POLLIN};
	int status;
	uint64_t v;

	for (unsigned ms = 0; ms < HANG_MS; ms += 100) {
		if (poll(&pfd, 1, 100) > 0 && read(p->done, &v, 8) == 8)
			return true;
		if (waitpid(p->pid, &status, WNOHANG) == p->pid) {
			fprintf(stderr, "diff-cpu: child: %s %d\n",
				WIFEXITED(status) ? "exit" : "signal",
				WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
			p->pid = 0;
			break;
		}
	}
	proc_stop(p);
	return false;
}

void proc_stop(struct diff_proc *p)
{
	if (p->pid > 0) {
		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
	}
	p->pid = 0;
	if (p->go >= 0)
		close(p->go);
	if (p->done >= 0)
		close(p->done);
	p->go = p->done = -1;
}
