/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit.h - writes the audit: the events of the kernel's ring `audit` as JSON lines, to a file, to
 * journald, or to both.
 *
 * Nothing is lost silently. The kernel counts events that found the ring full, this module counts
 * lines that could not be written, and the audit itself says so in a line. Writing holds up
 * nothing: the file is written by libuv's threads, a batch at a time, and meanwhile the ring
 * fills. Without a daemon it fills, too, and the next daemon writes what is in it.
 */
#ifndef PINTLE_AUDIT_H
#define PINTLE_AUDIT_H

#include <uv.h>

#include "../../config/config.h"
#include "../ground.h"
#include "../publish/publication.h"

struct audit;

/** Reads nothing yet. Returns 0 and *out (audit_free() it, then
 * run the loop until its handles are closed), or -errno, logged. */
int audit_new(const struct ground *g, struct audit **out);

/** Audits what `c` asks for from now on, or nothing. Opens the file anew, so that a reload ends
 * what a rotation began. `c` and `p` are kept by reference until the next call. */
void audit_configure(struct audit *a, const struct config *c, const struct publication *p);

/** Frees it; what is in the ring stays for the next daemon. NULL is fine. */
void audit_free(struct audit *a);

#endif
