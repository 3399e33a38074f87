/* SPDX-License-Identifier: Apache-2.0 */
/* secret.h - reads secrets, such as bearer tokens, from files: again when the file changes. Never
 * logs them. */
#ifndef PINTLE_SECRET_H
#define PINTLE_SECRET_H

#include <sys/queue.h>

/* All secrets of one owner, one for each file. */
LIST_HEAD(secrets, secret);

struct secret;

/** Returns the secret of that file, shared by all users of the same path, which is copied. Reads
 * nothing yet. secret_put() it. NULL: out of memory. */
struct secret *secret_get(struct secrets *all, const char *path);
/** Wipes and frees the secret with its last user. NULL is fine. */
void secret_put(struct secret *s);

/** Returns the text, printable ASCII without spaces, valid until the next call for `s`; or NULL,
 * and in *why the reason, for the log, without anything of the file's text. Looks at the file once
 * a second at most. */
const char *secret_text(struct secret *s, const char **why);

#endif
