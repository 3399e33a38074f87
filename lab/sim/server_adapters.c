// SPDX-License-Identifier: Apache-2.0
/* server_adapters.c - which LoRA adapters were used when, as the page tells it. */
#include <stdlib.h>
#include <time.h>

#include "server_internal.h"

#define MAX_SERIES 1024 /* vLLM has no bound; later combinations are left out */

/* The names of the adapters with running requests, or with waiting ones. */
static void names_add(const struct server *s, bool waiting, struct buf *b)
{
	const char *gap = "";

	for (uint32_t id = 1; id <= s->c->engine.adapters; id++) {
		uint32_t load[2];

		model_adapter_load(s->model, id, &load[0], &load[1]);
		if (!load[waiting])
			continue;
		buf_printf(b, "%s%s", gap, s->c->adapters[id - 1]);
		gap = ",";
	}
}

static struct adapter_series *series_find(struct server *s, const char *labels)
{
	for (size_t i = 0; i < s->series_count; i++)
		if (!strcmp(s->series[i].labels, labels))
			return &s->series[i];
	return NULL;
}

static struct adapter_series *series_add(struct server *s, char *labels)
{
	struct adapter_series *more =
		s->series_count < MAX_SERIES
			? reallocarray(s->series, s->series_count + 1, sizeof(*more))
			: NULL;

	if (!more)
		return NULL;
	s->series = more;
	s->series[s->series_count] = (struct adapter_series){.labels = labels};
	return &s->series[s->series_count++];
}

void adapters_note(struct server *s)
{
	struct adapter_series *series;
	struct timespec now;
	struct buf b = {};

	if (!s->c->engine.adapters)
		return;
	buf_puts(&b, "running_lora_adapters=\"");
	names_add(s, false, &b);
	buf_puts(&b, "\",waiting_lora_adapters=\"");
	names_add(s, true, &b);
	buf_add(&b, "\"", 2);
	series = b.failed ? NULL : series_find(s, b.data);
	if (!series && !b.failed) {
		series = series_add(s, b.data);
		if (series)
			b = (struct buf){};
	}
	buf_free(&b);
	clock_gettime(CLOCK_REALTIME, &now);
	if (series)
		series->when = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void adapters_free(struct server *s)
{
	for (size_t i = 0; i < s->series_count; i++)
		free(s->series[i].labels);
	free(s->series);
}
