/* SPDX-License-Identifier: Apache-2.0 */
/* thread.h - small wrappers that keep lock and thread code one line long. */
#pragma once

#include <pthread.h>
#include "base/cleanup.h"

/* Name the calling thread, at most 15 characters (longer is cut). */
void thread_name(const char *name);

/* LOCK_SCOPE(&m): held until the enclosing block ends. */
static inline void auto_unlock(pthread_mutex_t **m)
{
	pthread_mutex_unlock(*m);
}
#define LOCK_SCOPE_CAT2(a, b) a##b
#define LOCK_SCOPE_CAT(a, b)  LOCK_SCOPE_CAT2(a, b)
#define LOCK_SCOPE(mutex)                                          \
	pthread_mutex_t *LOCK_SCOPE_CAT(scope_lock_, __LINE__)     \
		__attribute__((cleanup(auto_unlock), unused)) = ({ \
			pthread_mutex_t *m_ = (mutex);             \
			pthread_mutex_lock(m_);                    \
			m_;                                        \
		})
