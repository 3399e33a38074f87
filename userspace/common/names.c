/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include <pintle/abi.h>

#include "util.h"

struct name {
	const char *name;
	const char *help;
};

#define X(symbol, text, says) [PINTLE_OUTCOME_##symbol] = {text, says},
static const struct name outcomes[] = {PINTLE_OUTCOMES(X)};
#undef X

#define X(symbol, text, says) [PINTLE_MODE_##symbol] = {text, says},
static const struct name modes[] = {PINTLE_MODES(X)};
#undef X

#define X(symbol, text, says) [PINTLE_REQUESTS_##symbol] = {text, says},
static const struct name requests[] = {PINTLE_REQUESTS(X)};
#undef X

#define X(symbol, text, says) [PINTLE_ONESHOT_##symbol] = {text, says},
static const struct name oneshots[] = {PINTLE_ONESHOTS(X)};
#undef X

static int parse(const struct name *names, size_t count, const char *text, uint32_t *value)
{
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(text, names[i].name)) {
			*value = (uint32_t)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *outcome_name(uint32_t outcome)
{
	return outcome < ARRAY_SIZE(outcomes) ? outcomes[outcome].name : "unknown";
}

const char *mode_name(uint32_t mode)
{
	return mode < ARRAY_SIZE(modes) ? modes[mode].name : "unknown";
}

const char *requests_name(uint32_t r)
{
	return r < ARRAY_SIZE(requests) ? requests[r].name : "unknown";
}

const char *oneshot_name(uint32_t oneshot)
{
	return oneshot < ARRAY_SIZE(oneshots) ? oneshots[oneshot].name : "unknown";
}

const char *outcome_help(uint32_t outcome)
{
	return outcome < ARRAY_SIZE(outcomes) ? outcomes[outcome].help : "";
}

const char *mode_help(uint32_t mode)
{
	return mode < ARRAY_SIZE(modes) ? modes[mode].help : "";
}

const char *oneshot_help(uint32_t oneshot)
{
	return oneshot < ARRAY_SIZE(oneshots) ? oneshots[oneshot].help : "";
}

int outcome_parse(const char *text, uint32_t *outcome)
{
	return parse(outcomes, ARRAY_SIZE(outcomes), text, outcome);
}

int mode_parse(const char *text, uint32_t *mode)
{
	return parse(modes, ARRAY_SIZE(modes), text, mode);
}

int requests_parse(const char *text, uint32_t *r)
{
	return parse(requests, ARRAY_SIZE(requests), text, r);
}
