/* SPDX-License-Identifier: Apache-2.0 */
/* util.h - _cleanup_*, which shows in a variable's type that it owns something, and tiny
 * helpers. */
#ifndef PINTLE_UTIL_H
#define PINTLE_UTIL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a)                                                                              \
	(sizeof(a) / sizeof((a)[0]) +                                                              \
	 sizeof(char[1 - 2 * __builtin_types_compatible_p(__typeof__(a), __typeof__(&(a)[0]))]) -  \
	 1)

/* <sys/param.h>, which libuv includes, defines these, too, but evaluates an argument twice. */
#undef MIN
#undef MAX
#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) a_ = (a);                                                            \
		__typeof__(b) b_ = (b);                                                            \
		a_ < b_ ? a_ : b_;                                                                 \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) a_ = (a);                                                            \
		__typeof__(b) b_ = (b);                                                            \
		a_ > b_ ? a_ : b_;                                                                 \
	})

#define NSEC_PER_SEC  1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

/* A variable declared with one of these is released when it leaves scope; TAKE_* passes the
 * ownership on instead. */
#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(pintle_freep)
/* The variable must start at -1. */
#define _cleanup_close_  _cleanup_(pintle_closep)
#define _cleanup_fclose_ _cleanup_(pintle_fclosep)

static inline void pintle_freep(void *p)
{
	free(*(void **)p);
}

static inline void pintle_closep(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void pintle_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) *pp_ = &(p);                                                         \
		__typeof__(p) taken_ = *pp_;                                                       \
		*pp_ = NULL;                                                                       \
		taken_;                                                                            \
	})
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *fdp_ = &(fd);                                                                 \
		int taken_ = *fdp_;                                                                \
		*fdp_ = -1;                                                                        \
		taken_;                                                                            \
	})

/** Makes room for one more element in the array `items` of `n` elements, which has room for `room`:
 * doubles the room, or begins with `first` elements. Returns false without memory, with the array
 * as before. */
#define ROOM_FOR_ONE(items, n, room, first)                                                        \
	({                                                                                         \
		if ((n) == (room)) {                                                               \
			size_t room_ = (room) ? 2 * (room) : (size_t)(first);                      \
			void *items_ = reallocarray((items), room_, sizeof(*(items)));             \
                                                                                                   \
			if (items_) {                                                              \
				(items) = items_;                                                  \
				(room) = room_;                                                    \
			}                                                                          \
		}                                                                                  \
		(n) < (room);                                                                      \
	})

/** Returns whether the error, a negative errno, says what this process or the machine is short of
 * just now, and so nothing of what was asked for. */
static inline bool is_shortage(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -ENOBUFS;
}

/** Returns the ending of a regular noun after a count: `printf("%zu pool%s", n, plural(n))`. */
static inline const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/** Returns CLOCK_MONOTONIC in nanoseconds: the clock of every time in the maps
 * (bpf_ktime_get_ns()). Never fails. */
static inline uint64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* What the calling thread has used of a CPU. */
static inline uint64_t thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

#endif
