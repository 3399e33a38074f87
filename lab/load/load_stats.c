// SPDX-License-Identifier: Apache-2.0
#include "load_stats.h"

#include <stdio.h>

#include "../../userspace/base/util.h"

const char *const load_outcome_keys[LOAD_OUTCOME_COUNT] = {
#define X(symbol, key, says) [LOAD_##symbol] = key,
	LOAD_OUTCOMES(X)
#undef X
};

int stats_init(struct stats *s, size_t classes)
{
	*s = (struct stats){.classes = calloc(classes, sizeof(struct stats_row))};
	if (!s->classes)
		return -ENOMEM;
	s->class_count = classes;
	return 0;
}

void stats_free(struct stats *s)
{
	for (size_t i = 0; i < s->endpoint_count; i++)
		free(s->endpoints[i]);
	free(s->classes);
	free(s->seconds);
}

struct stats_row *stats_endpoint(struct stats *s, const char *name)
{
	struct stats_row *r;

	for (size_t i = 0; i < s->endpoint_count; i++)
		if (!strcmp(s->endpoints[i]->name, name))
			return s->endpoints[i];
	if (s->endpoint_count == STATS_MAX_ENDPOINTS)
		return s->endpoints[STATS_MAX_ENDPOINTS - 1];
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	if (s->endpoint_count == STATS_MAX_ENDPOINTS - 1)
		name = "(others)";
	snprintf(r->name, sizeof(r->name), "%s", name);
	s->endpoints[s->endpoint_count++] = r;
	return r;
}

struct stats_second *stats_second(struct stats *s, uint64_t since_start_ns)
{
	static struct stats_second nowhere;
	size_t second = (size_t)(since_start_ns / NSEC_PER_SEC);

	if (second >= s->second_room) {
		size_t room = MAX(2 * s->second_room, second + 64);
		struct stats_second *seconds = NULL;

		if (second < STATS_MAX_SECONDS)
			seconds = reallocarray(s->seconds, room, sizeof(*seconds));
		if (!seconds)
			return &nowhere;
		memset(seconds + s->second_room, 0, (room - s->second_room) * sizeof(*seconds));
		s->seconds = seconds;
		s->second_room = room;
	}
	s->second_count = MAX(s->second_count, second + 1);
	return &s->seconds[second];
}

void stats_total(const struct stats *s, struct stats_row *total)
{
	snprintf(total->name, sizeof(total->name), "total");
	for (size_t i = 0; i < s->class_count; i++) {
		const struct stats_row *r = &s->classes[i];

		total->sessions += r->sessions;
		for (size_t o = 0; o < LOAD_OUTCOME_COUNT; o++)
			total->outcomes[o] += r->outcomes[o];
		total->prompt_tokens += r->prompt_tokens;
		total->cached_tokens += r->cached_tokens;
		total->output_tokens += r->output_tokens;
		total->ended_in_window += r->ended_in_window;
		total->tokens_in_window += r->tokens_in_window;
		total->told_no += r->told_no;
		total->told_no_time += r->told_no_time;
		durations_merge(&total->ttft, &r->ttft);
		durations_merge(&total->itl, &r->itl);
		durations_merge(&total->tpot, &r->tpot);
		durations_merge(&total->e2e, &r->e2e);
	}
}

uint64_t stats_requests(const struct stats_row *r)
{
	uint64_t sum = 0;

	for (size_t o = 0; o < LOAD_OUTCOME_COUNT; o++)
		sum += r->outcomes[o];
	return sum;
}

uint64_t stats_errors(const struct stats_row *r)
{
	return stats_requests(r) - r->outcomes[LOAD_OK] - r->outcomes[LOAD_CANCELLED];
}
