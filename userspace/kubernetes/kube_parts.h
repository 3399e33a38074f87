/* SPDX-License-Identifier: Apache-2.0 */
/* kube_parts.h - the parts of which the readers of objects are made. Any JSON is safe input. */
#ifndef PINTLE_KUBE_PARTS_H
#define PINTLE_KUBE_PARTS_H

#include "kube_objects.h"

/** Returns the object's member; NULL: it has none. */
const cJSON *kube_member(const cJSON *object, const char *name);
/** Returns the member's text; NULL: it has none. */
const char *kube_text(const cJSON *object, const char *name);
/** Returns whether the member is that text. */
bool kube_text_is(const cJSON *object, const char *name, const char *text);
/** Copies a text, which is fit for messages, requests and the configuration: a-z, 0-9, "-" and ".",
 * beginning and ending with a letter or digit, as the API has all names. Returns false, with `to`
 * as it was, where it is another (or NULL), or too long. */
bool kube_take_name(const char *text, char *to, size_t size);
/** Writes the reason into `why`. Returns -EBADMSG. */
__attribute__((format(printf, 2, 3))) int kube_refuse(char why[KUBE_WHY_SIZE], const char *fmt,
						      ...);
/** Copies an object's namespace and name. Returns 0; or -EBADMSG with the reason in `why`. */
int kube_take_id(const cJSON *metadata, char space[KUBE_LABEL_SIZE], char *name, size_t size,
		 char why[KUBE_WHY_SIZE]);
/** Copies a text of these characters alone; "" where it is another (or NULL), or too long. */
void kube_take_plain(const char *text, const char *allowed, char *to, size_t size);
/** Copies a time, "2026-11-21T07:20:25Z". */
void kube_take_time(const char *text, char to[KUBE_TIME_SIZE]);
/** Reads an IP address; false: it is none. */
bool kube_take_address(const char *text, struct addr *to);
/** Returns a port's number; 0: it is none. */
uint16_t kube_port(const cJSON *value);
/** Returns a count, above 0 and exact; 0: it is none. */
int64_t kube_count(const cJSON *value);

#endif
