// SPDX-License-Identifier: Apache-2.0
#include "adapter_list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/expfmt.h"
#include "../base/hash.h"
#include "../base/util.h"

#define METRIC "vllm:lora_requests_info"

#define NAMES_SIZE 8192 /* of the names in a label; a longer text is not believed */

/* The names of one label. */
struct names {
	size_t n;
	uint64_t id[ADAPTER_LIST_MAX];
};

struct seen {
	uint64_t id;
	double when; /* it was used last */
};

struct reading {
	struct seen seen[ADAPTER_LIST_MAX];
	size_t n;
	double newest; /* value of a series */
	size_t slots;  /* of that series, as are the next two */
	struct names running, waiting;
};

static bool names_have(const struct names *names, uint64_t id)
{
	for (size_t i = 0; i < names->n; i++)
		if (names->id[i] == id)
			return true;
	return false;
}

static void names_add(struct names *names, uint64_t id)
{
	if (names->n < ARRAY_SIZE(names->id) && !names_have(names, id))
		names->id[names->n++] = id;
}

/* A name that is longer than the text has room for would be cut, and stand for another. */
static void names_read(const struct expfmt_sample *s, const char *label, struct names *out)
{
	char text[NAMES_SIZE], *rest = text;

	*out = (struct names){0};
	if (!expfmt_label(s, label, text, sizeof(text)) || strlen(text) == sizeof(text) - 1)
		return;
	for (char *name; (name = strsep(&rest, ","));)
		if (*name)
			names_add(out, hash_text(name));
}

static void seen_note(struct reading *r, uint64_t id, double when)
{
	struct seen *at = r->n < ARRAY_SIZE(r->seen) ? &r->seen[r->n] : NULL;

	for (size_t i = 0; i < r->n; i++) {
		if (r->seen[i].id == id) {
			r->seen[i].when = fmax(r->seen[i].when, when);
			return;
		}
		if (r->n == ARRAY_SIZE(r->seen) && (!at || r->seen[i].when < at->when))
			at = &r->seen[i];
	}
	if (r->n < ARRAY_SIZE(r->seen))
		r->n++;
	else if (at->when >= when)
		return;
	*at = (struct seen){id, when};
}

static size_t slots_read(const struct expfmt_sample *s)
{
	char text[16], *end;
	unsigned long n;

	if (!expfmt_label(s, "max_lora", text, sizeof(text)) || text[0] < '0' || text[0] > '9')
		return 0;
	n = strtoul(text, &end, 10);
	return *end || n > ADAPTER_SLOTS_MAX ? 0 : n;
}

static void series_read(struct reading *r, const struct expfmt_sample *s)
{
	struct names running, waiting;

	if (!isfinite(s->value) || s->value < 0)
		return;
	names_read(s, "running_lora_adapters", &running);
	for (size_t i = 0; i < running.n; i++)
		seen_note(r, running.id[i], s->value);
	if (s->value < r->newest)
		return;
	names_read(s, "waiting_lora_adapters", &waiting);
	r->newest = s->value;
	r->slots = slots_read(s);
	r->running = running;
	r->waiting = waiting;
}

static bool adapter_list_wanted(const char *name, size_t len, void *arg)
{
	(void)arg;
	return len == sizeof(METRIC) - 1 && !memcmp(name, METRIC, len);
}

static int newest_first(const void *left, const void *right)
{
	const struct seen *a = left, *b = right;

	return a->when > b->when ? -1 : a->when < b->when;
}

static void adapter_list_list_add(struct adapter_list *l, uint64_t id)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->id[i] == id)
			return;
	if (l->n < ARRAY_SIZE(l->id))
		l->id[l->n++] = id;
}

/* What requests wait for comes first: it will be loaded, whatever is now. */
static void list_make(struct reading *r, struct adapter_list *out)
{
	for (size_t i = 0; i < r->running.n; i++)
		adapter_list_list_add(out, r->running.id[i]);
	for (size_t i = 0; i < r->waiting.n; i++)
		adapter_list_list_add(out, r->waiting.id[i]);
	out->slots = r->slots;
	out->used = MIN(out->n, r->slots);
	out->loaded = out->n;
	qsort(r->seen, r->n, sizeof(*r->seen), newest_first);
	for (size_t i = 0; i < r->n; i++) {
		adapter_list_list_add(out, r->seen[i].id);
		if (i < r->slots)
			out->loaded = out->n;
	}
}

void adapter_list_read(const char *page, size_t size, struct adapter_list *out)
{
	struct expfmt_filter filter = {0};
	struct expfmt_reader reader;
	struct expfmt_sample sample;
	struct reading r = {0};

	*out = (struct adapter_list){0};
	expfmt_filter_add(&filter, METRIC);
	expfmt_init(&reader, page, size);
	reader.filter = &filter;
	while (expfmt_next(&reader, adapter_list_wanted, NULL, &sample))
		series_read(&r, &sample);
	if (r.slots)
		list_make(&r, out);
}
