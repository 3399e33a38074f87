/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profiles.h - engines by model and GPU, each with the source of its numbers.
 *
 * A profile carries published measurements. lab/tests/test_model.c gives the profile's engine the
 * same requests, and checks that TTFT and ITL are within PROFILE_TOLERANCE of what was published.
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
	const char *source; /* of the numbers in `config` */
	struct model_config config;
	struct profile_check checks[2]; /* an entry without requests is none */
};

/** All profiles, a static array of *count. */
const struct profile *profile_list(size_t *count);
/** The profile with this name, or NULL. */
const struct profile *profile_find(const char *name);

#endif
