/* SPDX-License-Identifier: Apache-2.0 */
/* kick.h - the signal that gets a thread out of KVM_RUN. */
#pragma once

#include <pthread.h>

/* Install the (empty) handler.  0 or -1 with errno. */
int kick_install(void);
void kick_send(pthread_t thread);
