/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diff_proc.h - the child process and its signals.
 *
 * Apart from the rest, because <signal.h> and cpu/state.h both name registers GPR_RAX.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct diff_trap {	  /* an exception the child took */
	uint64_t gpr[16]; /* in encoding order */
	uint64_t rip, rflags, error, vector, cr2;
	uint16_t cs, ss;
	const uint8_t *fpstate; /* XSAVE image, standard form, 64-bit */
	bool has_avx;		/* it has a header and AVX state */
};

/*
 * A case took @t (diff_native.c).  Says where to go on: *@rip and *@rsp, in 64-bit
 * code.  False: no case is running.
 */
bool diff_trapped(const struct diff_trap *t, uint64_t *rip, uint64_t *rsp);

/* C part of the handler; diff_tramp.S's diff_signal_entry jumps here. */
void diff_on_signal(int sig, void *info, void *context);

/* Catch SIGSEGV and its like on a stack of their own. */
bool diff_catch_signals(void (*entry)(int sig, void *info, void *context));

struct diff_proc { /* owner: the parent's thread */
	int pid;
	int go, done; /* eventfds */
	void (*batch)(void *arg);
	bool (*setup)(void *arg);
	void *arg;
};

/* Fork a child that calls @setup once and then @batch whenever proc_go() is called. */
bool proc_start(struct diff_proc *p);
void proc_go(struct diff_proc *p);
/* Wait for @batch to return; false: the child died or hung and was killed. */
bool proc_wait(struct diff_proc *p);
void proc_stop(struct diff_proc *p);
