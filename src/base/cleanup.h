/* SPDX-License-Identifier: Apache-2.0 */
/* cleanup.h - scope-bound ownership and the few macros everything uses. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#define MUST_CHECK	  __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NORETURN	  __attribute__((noreturn))
#define UNUSED		  __attribute__((unused))
#define ALWAYS_INLINE	  inline __attribute__((always_inline))
#define likely(x)	  __builtin_expect(!!(x), 1)
#define unlikely(x)	  __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a)	  (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)	  BETTER_OF(a, <, b, __COUNTER__)
#define MAX(a, b)	  BETTER_OF(a, >, b, __COUNTER__)
#define ALIGN_DOWN(x, a)  ((x) & ~((__typeof__(x))(a)-1))
#define ALIGN_UP(x, a)	  ALIGN_DOWN((x) + (a)-1, a)
#define BIT(n)		  (1ULL << (n))

/* Evaluates @a and @b once each: another thread may change what they come from. */
#define BETTER_OF(a, than, b, n) BETTER_OF_NAMED(a, than, b, n)
#define BETTER_OF_NAMED(a, than, b, n)                 \
	({                                             \
		__typeof__(1 ? (a) : (b)) a_##n = (a); \
		__typeof__(a_##n) b_##n = (b);         \
		a_##n than b_##n ? a_##n : b_##n;      \
	})

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/*
 * AUTO(foo) struct foo *f: foo_free(f) runs when f leaves its scope.
 * Needs DEFINE_AUTO(foo) beside the declaration of foo_free(), which takes NULL.
 * MOVE(f) hands the value on and leaves NULL behind.
 */
#define AUTO(name) __attribute__((cleanup(auto_##name)))
#define DEFINE_AUTO(name)                               \
	static inline void auto_##name(struct name **p) \
	{                                               \
		name##_free(*p);                        \
	}                                               \
	struct name

#define MOVE(p)                             \
	({                                  \
		__typeof__(p) moved_ = (p); \
		(p) = NULL;                 \
		moved_;                     \
	})

/* AUTO_FD int fd = -1: closed on scope exit unless MOVE_FD()d. */
static inline void auto_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define AUTO_FD __attribute__((cleanup(auto_close)))
#define MOVE_FD(fd)                \
	({                         \
		int moved_ = (fd); \
		(fd) = -1;         \
		moved_;            \
	})

/* AUTO_PTR char *p: free(p) on scope exit. */
static inline void auto_free_ptr(void *p)
{
	free(*(void **)p);
}
#define AUTO_PTR __attribute__((cleanup(auto_free_ptr)))
