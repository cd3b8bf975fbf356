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
	/*
	 * KVM_RUN returns EINTR whatever the flags say; SA_RESTART is for the call that
	 * the thread may have gone on to when the signal comes late.
	 */
	struct sigaction sa = {.sa_handler = ignore, .sa_flags = SA_RESTART};

	return sigaction(SIGUSR1, &sa, NULL);
}

void kick_send(pthread_t thread)
{
	pthread_kill(thread, SIGUSR1);
}
