/* SPDX-License-Identifier: Apache-2.0 */
#include "names.h"

#include <pintle/abi.h>

#include "../base/hash.h"
#include "../base/util.h"

struct name {
	const char *name;
	const char *help;
};

#define X(symbol, text, says, traits) [PINTLE_OUTCOME_##symbol] = {text, says},
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

#define X(symbol, text, says) [PINTLE_DECIDE_##symbol] = {text, says},
static const struct name decides[] = {PINTLE_DECIDES(X)};
#undef X

#define X(symbol, text, says) [PINTLE_HAND_##symbol] = {text, says},
static const struct name hands[] = {PINTLE_HANDS(X)};
#undef X

#define X(symbol, text, says) [PINTLE_PROMPTED_##symbol] = {text, says},
static const struct name prompteds[] = {PINTLE_PROMPTEDS(X)};
#undef X

#define X(symbol, text, says) [PINTLE_XDP_##symbol] = {text, says},
static const struct name xdps[] = {PINTLE_XDPS(X)};
#undef X

#define X(symbol, text, says) [PINTLE_HOLD_##symbol] = {text, says},
static const struct name holds[] = {PINTLE_HOLDS(X)};
#undef X

#define X(symbol, text, says) [PINTLE_KEY_##symbol] = {text, says},
static const struct name keys[] = {PINTLE_KEYS(X)};
#undef X

#define X(symbol, text, says) [PINTLE_ADMISSION_##symbol] = {text, says},
static const struct name admissions[] = {PINTLE_ADMISSIONS(X)};
#undef X

#define X(symbol, text, says, ...) [PINTLE_HOOK_##symbol] = {text, says},
static const struct name hooks[] = {[PINTLE_HOOK_NONE] = {"none", ""}, PINTLE_HOOKS(X)};
#undef X

#define X(symbol, text, says) [PINTLE_UNFIT_##symbol] = {text, says},
static const struct name unfits[] = {PINTLE_UNFITS(X)};
#undef X

#define X(symbol, text, says) [PINTLE_FAILURE_##symbol] = {text, says},
static const struct name failures[] = {PINTLE_FAILURES(X)};
#undef X

#define X(symbol, text, says) [PINTLE_ENDING_##symbol] = {text, says},
static const struct name endings[] = {PINTLE_ENDINGS(X)};
#undef X

static int parse_name(const struct name *names, size_t count, const char *text, uint32_t *value)
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

const char *admission_name(uint32_t admission)
{
	return admission < ARRAY_SIZE(admissions) ? admissions[admission].name : "unknown";
}

const char *requests_name(uint32_t r)
{
	return r < ARRAY_SIZE(requests) ? requests[r].name : "unknown";
}

const char *oneshot_name(uint32_t oneshot)
{
	return oneshot < ARRAY_SIZE(oneshots) ? oneshots[oneshot].name : "unknown";
}

const char *decide_name(uint32_t decide)
{
	return decide < ARRAY_SIZE(decides) ? decides[decide].name : "unknown";
}

const char *hand_name(uint32_t hand)
{
	return hand < ARRAY_SIZE(hands) ? hands[hand].name : "unknown";
}

const char *prompted_name(uint32_t prompted)
{
	return prompted < ARRAY_SIZE(prompteds) ? prompteds[prompted].name : "unknown";
}

const char *xdp_name(uint32_t xdp)
{
	return xdp < ARRAY_SIZE(xdps) ? xdps[xdp].name : "unknown";
}

const char *xdp_help(uint32_t xdp)
{
	return xdp < ARRAY_SIZE(xdps) ? xdps[xdp].help : "";
}

const char *hold_name(uint32_t hold)
{
	return hold < ARRAY_SIZE(holds) ? holds[hold].name : "unknown";
}

const char *key_name(uint32_t key)
{
	return key < ARRAY_SIZE(keys) ? keys[key].name : "unknown";
}

const char *hook_name(uint32_t hook)
{
	return hook < ARRAY_SIZE(hooks) ? hooks[hook].name : "unknown";
}

const char *failure_name(uint32_t failure)
{
	return failure < ARRAY_SIZE(failures) ? failures[failure].name : "unknown";
}

const char *unfit_help(uint32_t unfit)
{
	return unfit < ARRAY_SIZE(unfits) ? unfits[unfit].help : "";
}

const char *unfit_name(uint32_t unfit)
{
	return unfit < ARRAY_SIZE(unfits) ? unfits[unfit].name : "unknown";
}

static const struct {
	const char *name, *help;
} failings[] = {
#define X(symbol, name, says) [PINTLE_FAILING_##symbol] = {name, says},
	PINTLE_FAILINGS(X)
#undef X
};

const char *failing_name(uint32_t failing)
{
	return failing < ARRAY_SIZE(failings) ? failings[failing].name : "unknown";
}

const char *failing_help(uint32_t failing)
{
	return failing < ARRAY_SIZE(failings) ? failings[failing].help : "";
}

static const char *const request_ends[] = {
#define X(symbol, name, says) [PINTLE_REQUEST_##symbol] = name,
	PINTLE_REQUEST_ENDS(X)
#undef X
};

const char *request_end_name(uint32_t end)
{
	return end < PINTLE_REQUEST_END_COUNT ? request_ends[end] : "?";
}

const char *ending_name(uint32_t ending)
{
	return ending < ARRAY_SIZE(endings) ? endings[ending].name : "unknown";
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

const char *hand_help(uint32_t hand)
{
	return hand < ARRAY_SIZE(hands) ? hands[hand].help : "";
}

const char *prompted_help(uint32_t prompted)
{
	return prompted < ARRAY_SIZE(prompteds) ? prompteds[prompted].help : "";
}

const char *hold_help(uint32_t hold)
{
	return hold < ARRAY_SIZE(holds) ? holds[hold].help : "";
}

int outcome_parse(const char *text, uint32_t *outcome)
{
	return parse_name(outcomes, ARRAY_SIZE(outcomes), text, outcome);
}

int mode_parse(const char *text, uint32_t *mode)
{
	return parse_name(modes, ARRAY_SIZE(modes), text, mode);
}

const char *key_help(uint32_t key)
{
	return key < ARRAY_SIZE(keys) ? keys[key].help : "";
}

const char *failure_help(uint32_t failure)
{
	return failure < ARRAY_SIZE(failures) ? failures[failure].help : "";
}

int key_parse(const char *text, uint32_t *key)
{
	return parse_name(keys, ARRAY_SIZE(keys), text, key);
}

int requests_parse(const char *text, uint32_t *r)
{
	return parse_name(requests, ARRAY_SIZE(requests), text, r);
}

uint64_t client_id(const char *name)
{
	return hash_text(name);
}
