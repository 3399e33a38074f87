/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_verdicts.h - the daemon's session classifier, fed with the lab's requests.
 *
 * A session is what Pintle sees of one: all requests from one client address. The lab counts
 * tokens; the kernel would see 4 bytes for each token of a request. All requests count, measured or
 * not.
 */
#ifndef PINTLE_LAB_VERDICTS_H
#define PINTLE_LAB_VERDICTS_H

#include <stdint.h>
#include <stdio.h>

#define LAB_REQUEST_BYTES 4 /* a token */

struct lab_verdicts;

/** A line of JSON goes to `out` for each client that had 5, and for each that had 20 requests. 0 or
 * -ENOMEM. */
int lab_verdicts_new(FILE *out, struct lab_verdicts **v);
void lab_verdicts_free(struct lab_verdicts *v);
/** A request of this client begins. 0 and *beside, the client's other requests under way; or
 * -ENOMEM. */
int lab_verdicts_begin(struct lab_verdicts *v, uint64_t client, uint32_t *beside);

struct lab_verdicts_request {
	uint64_t client;
	const char *class; /* the label: of the session's class, or part of the workload */
	uint64_t begun_ns, ended_ns;
	uint32_t prompt_tokens;
	uint32_t beside; /* from lab_verdicts_begin() */
};
/** The request ended; it must have begun. */
void lab_verdicts_end(struct lab_verdicts *v, const struct lab_verdicts_request *r);

#endif
