/* SPDX-License-Identifier: Apache-2.0 */
/* secret.h - secrets in files, such as bearer tokens: read again when the file changes, never
 * logged. */
#ifndef PINTLE_SECRET_H
#define PINTLE_SECRET_H

#include <sys/queue.h>

/* All secrets of one owner; each file is in it once. */
LIST_HEAD(secrets, secret);

struct secret;

/** The secret of that file (copied path), shared with all who ask for the same. Nothing is read
 * yet. To be given back with secret_put(). NULL: out of memory. */
struct secret *secret_get(struct secrets *all, const char *path);
/** Wipes it when nobody else has it. NULL is allowed. */
void secret_put(struct secret *s);

/** The text, one line of printable ASCII, valid until the next call; the file is looked at once a
 * second at most. Or NULL, and *why, words for the log in which nothing of the text stands. */
const char *secret_text(struct secret *s, const char **why);

#endif
