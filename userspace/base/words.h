/* SPDX-License-Identifier: Apache-2.0 */
/* words.h - ages and times as people say them. */
#ifndef PINTLE_WORDS_H
#define PINTLE_WORDS_H

#include <stdint.h>

#define WORDS_SIZE 32

/** Returns an age as people say it: "0.2 s", "47 s", "5 m", "3 h", "2 d". `buf` has WORDS_SIZE
 * bytes. */
const char *age_text(double seconds, char *buf);
/** Returns a short time, such as a wait: "0.43 ms", "4.3 ms", "43 ms", "1.25 s", "47 s". `buf` has
 * WORDS_SIZE bytes. */
const char *wait_text(double seconds, char *buf);
/** Returns a percentile of waits as wait_text() has times: "<1 ms" below the first bound of the
 * histograms. */
const char *quantile_text(double seconds, char *buf);
/** Returns a time of the maps (CLOCK_MONOTONIC, nanoseconds) as local wall-clock time, "2026-03-01
 * 14:02:11". `buf` has WORDS_SIZE bytes. */
const char *wall_text(uint64_t monotonic, char *buf);
/** Returns the milliseconds of that second. */
unsigned int wall_msec(uint64_t monotonic);
/** Returns it in UTC as RFC 3339 has it, "2026-03-01T13:02:11Z". */
const char *wall_rfc3339(uint64_t monotonic, char *buf);

#endif
