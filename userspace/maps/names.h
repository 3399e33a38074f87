/* SPDX-License-Identifier: Apache-2.0 */
/* names.h - the names that abi.h's tables give to outcomes, modes and the like, as text and
 * back. */
#ifndef PINTLE_NAMES_H
#define PINTLE_NAMES_H

#include <stdbool.h>
#include <stdint.h>

/** Returns what the name of an endpoint ends in, behind its pod's and its rank's, if it is the
 * pod's address of its second family in a cluster. No pod can be called so. */
static inline const char *second_family(bool v4)
{
	return v4 ? "..ipv4" : "..ipv6";
}

/** Returns the name of an enum pintle_outcome ("sticky", ...), pintle_mode ("enforce", ...),
 * pintle_requests ("as-they-come", ...), pintle_oneshot ("rewritten_connection", ...),
 * pintle_decide ("connection", ...), pintle_hand ("asked", ...), pintle_hold ("joined", ...),
 * pintle_key ("source", ...), pintle_hook ("connect", ...), pintle_failure ("refused", ...),
 * pintle_ending ("closed", ...) or pintle_unfit ("unhealthy", ...; "" for PINTLE_UNFIT_NOT). A
 * value read from a map may be anything: "unknown" when it has no name. Never NULL, static. */
const char *outcome_name(uint32_t outcome);
const char *mode_name(uint32_t mode);
const char *admission_name(uint32_t admission);
const char *requests_name(uint32_t requests);
const char *oneshot_name(uint32_t oneshot);
const char *decide_name(uint32_t decide);
const char *hand_name(uint32_t hand);
const char *prompted_name(uint32_t prompted);
/* enum pintle_xdp */
const char *xdp_name(uint32_t xdp);
const char *xdp_help(uint32_t xdp);
const char *hold_name(uint32_t hold);
const char *key_name(uint32_t key);
const char *hook_name(uint32_t hook);
const char *failure_name(uint32_t failure);
const char *ending_name(uint32_t ending);
const char *request_end_name(uint32_t end);
const char *unfit_name(uint32_t unfit);
const char *failing_name(uint32_t failing);

/** Returns one line on what the value means, for help and documentation; "" when unknown.
 * Static. */
const char *outcome_help(uint32_t outcome);
const char *mode_help(uint32_t mode);
const char *oneshot_help(uint32_t oneshot);
const char *hand_help(uint32_t hand);
const char *prompted_help(uint32_t prompted);
const char *hold_help(uint32_t hold);
const char *key_help(uint32_t key);
const char *failure_help(uint32_t failure);
const char *unfit_help(uint32_t unfit);
const char *failing_help(uint32_t failing);

/** Finds the value whose name is exactly `text`. Returns 0, or -EINVAL with the out-parameter
 * untouched. */
int outcome_parse(const char *text, uint32_t *outcome);
int mode_parse(const char *text, uint32_t *mode);
int requests_parse(const char *text, uint32_t *requests);
int key_parse(const char *text, uint32_t *key);

/** Returns the id of the client with that name (struct pintle_client), the same on every node. */
uint64_t client_id(const char *name);

#endif
