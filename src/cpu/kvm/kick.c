/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kick.c - see kick.h.  Apart from engine.c because <signal.h> and cpu/state.h both
 * name registers.
 */
#include "cpu/kvm/kick.h"

#include <signal.h>

static void ignore(int sig)
{
}

int kick_install(void)
{
	struct sigaction sa = {.sa_handler = ignore}; /* no SA_RESTART: KVM_RUN must return */

	return sigaction(SIGUSR1, &sa, NULL);
}

void kick_send(pthread_t thread)
{
	pthread_kill(thread, SIGUSR1);
}
