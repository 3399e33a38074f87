/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profiles.h - engines by model and GPU, each with where its numbers come from.
 *
 * A profile carries a published measurement, and tests/unit/test_model.c holds it to
 * that: TTFT and ITL of the same requests within PROFILE_TOLERANCE.
 */
#ifndef PINTLE_SIM_PROFILES_H
#define PINTLE_SIM_PROFILES_H

#include "model.h"

#define PROFILE_TOLERANCE    0.15
#define PROFILE_MAX_REQUESTS 10

/* Requests that arrive together at an idle server, and what was measured then. */
struct profile_check {
	const char *source;
	uint32_t requests;
	uint32_t prompt[PROFILE_MAX_REQUESTS];
	uint32_t output[PROFILE_MAX_REQUESTS];
	double ttft_ms; /* mean over the requests; 0: not published */
	double itl_ms;  /* mean over the tokens */
};

struct profile {
	const char *name;
	const char *says;
	const char *source; /* of what is not measured by `checks` */
	struct model_config config;
	struct profile_check checks[2]; /* those with requests != 0 count */
};

/** All of them; *count says how many. */
const struct profile *profile_list(size_t *count);
/** The one with this name, or NULL. */
const struct profile *profile_find(const char *name);

#endif
