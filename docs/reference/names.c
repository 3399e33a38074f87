/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - the names in abi.h, and what each means. */
#include "reference.h"

#include <pintle/abi.h>

#include "../../userspace/base/util.h"
#include "../../userspace/maps/names.h"
#include "../../userspace/maps/state.h"
#include "../../userspace/policy/agent_keys.h"

void outcomes_markdown(FILE *f)
{
	table_names(f, "outcome", "why, and where the connection went", PINTLE_OUTCOME_COUNT,
		    outcome_name, outcome_help);
}

void oneshots_markdown(FILE *f)
{
	table_names(f, "name", "meaning", PINTLE_ONESHOT_COUNT, oneshot_name, oneshot_help);
}

void agent_markdown(FILE *f)
{
	static const struct {
		const char *key, *from;
	} rows[] = {
#define X(key, from) {key, from},
		PINTLE_AGENT_KEYS(X)
#undef X
	};
	char name[CODE_SIZE];

	table_head(f, "key", "from", NULL);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		table_row(f, code(rows[i].key, name), rows[i].from, NULL);
}

void hands_markdown(FILE *f)
{
	table_names(f, "name", "meaning", PINTLE_HAND_COUNT, hand_name, hand_help);
}

void prompts_markdown(FILE *f)
{
	table_names(f, "name", "meaning", PINTLE_PROMPTED_COUNT, prompted_name, prompted_help);
}

void xdps_markdown(FILE *f)
{
	table_names(f, "name", "meaning", PINTLE_XDP_COUNT, xdp_name, xdp_help);
}

void holds_markdown(FILE *f)
{
	table_names(f, "name", "meaning", PINTLE_HOLD_COUNT, hold_name, hold_help);
}

void failures_markdown(FILE *f)
{
	table_names(f, "failure", "when", PINTLE_FAILURE_COUNT, failure_name, failure_help);
}

void states_markdown(FILE *f)
{
	table_names(f, "state", "meaning", STATE_COUNT, state_name, state_help);
}

void states_manual(FILE *f)
{
	for (uint32_t i = 0; i < STATE_COUNT; i++) {
		fprintf(f, ".It Sy %s\n", state_name(i));
		manual_sentence(f, state_help(i));
	}
}

/* "unsteerable: mptcp" without the state; NULL past the last reason. */
static const char *reason_name(uint32_t reason)
{
	const char *text = unsteerable_text(reason);
	const char *name = text ? strchr(text, ' ') + 1 : "none";

	return strcmp(name, "unknown") ? name : NULL;
}

void numbers_markdown(FILE *f)
{
	static const struct {
		const char *where;
		const char *(*name)(uint32_t);
		uint32_t count;
	} rows[] = {
		{"`outcome`; index in `stats`, after 16 x pool", outcome_name,
		 PINTLE_OUTCOME_COUNT},
		{"index in `oneshot_stats`, after 16 x pool", oneshot_name, PINTLE_ONESHOT_COUNT},
		{"index in `hand_stats`, after 16 x pool", hand_name, PINTLE_HAND_COUNT},
		{"index in `prompt_stats`, after 8 x pool", prompted_name, PINTLE_PROMPTED_COUNT},
		{"`pintle_device.xdp`", xdp_name, PINTLE_XDP_COUNT},
		{"index in `hold_stats`, after 16 x pool", hold_name, PINTLE_HOLD_COUNT},
		{"`pintle_pool.decide`; 256: the hand-off [rests](handoff.md#set-while-it-runs)",
		 decide_name, PINTLE_DECIDE_COUNT},
		{"`mode`", mode_name, PINTLE_MODE_COUNT},
		{"`requests`", requests_name, PINTLE_REQUESTS_COUNT},
		{"`decided_by`", hook_name, PINTLE_HOOK_COUNT},
		{"`kind` of a session, `key_kind`, `group_kind`", key_name, PINTLE_KEY_COUNT},
		{"index in `failures` of `health`", failure_name, PINTLE_FAILURE_COUNT},
		{"index in `count` of `ends`", ending_name, PINTLE_ENDING_COUNT},
		{"`unsteerable` of `health`", reason_name, UINT32_MAX},
	};
	const char *name;

	table_head(f, "number", "what it says", NULL);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char names[1024];
		size_t n = 0;

		for (uint32_t k = 0; k < rows[i].count && (name = rows[i].name(k)); k++)
			n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%u `%s`",
					      k ? ", " : "", k, name);
		table_row(f, rows[i].where, names, NULL);
	}
}
