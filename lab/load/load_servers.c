// SPDX-License-Identifier: Apache-2.0
#include "load_servers.h"

#include <math.h>

#include "../../userspace/base/expfmt.h"
#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "../../userspace/fetch/fetch.h"

#define TIMEOUT_MS 5000

const char *const server_counter_keys[SERVER_COUNTER_COUNT] = {
#define X(symbol, key, name) [SERVER_##symbol] = key,
	SERVER_COUNTERS(X)
#undef X
};

static const char *const names[SERVER_COUNTER_COUNT] = {
#define X(symbol, key, name) [SERVER_##symbol] = name,
	SERVER_COUNTERS(X)
#undef X
};

struct reading {
	struct load_servers *owner;
	struct load_server *server;
	struct fetch *fetch; /* NULL: none under way */
};

struct load_servers {
	struct fetcher *fetcher;
	struct fetch_lane *lane;
	struct reading *readings;
	size_t count, left;
	int what;
	void (*done)(void *arg);
	void *arg;
};

static int find_counter(const char *name, size_t size)
{
	for (int i = 0; i < SERVER_COUNTER_COUNT; i++)
		if (strlen(names[i]) == size && !memcmp(names[i], name, size))
			return i;
	return -1;
}

static bool is_counter(const char *name, size_t size, void *arg)
{
	(void)arg;
	return find_counter(name, size) >= 0;
}

void load_server_parse(const char *page, size_t size, double counters[SERVER_COUNTER_COUNT])
{
	struct expfmt_reader reader;
	struct expfmt_sample sample;

	memset(counters, 0, SERVER_COUNTER_COUNT * sizeof(*counters));
	expfmt_init(&reader, page, size);
	while (expfmt_next(&reader, is_counter, NULL, &sample))
		if (isfinite(sample.value))
			counters[find_counter(sample.name, sample.name_len)] += sample.value;
}

static void one_read(struct load_servers *s)
{
	void (*done)(void *arg) = s->done;

	if (--s->left || !done)
		return;
	s->done = NULL;
	done(s->arg);
}

static bool on_begin(void *arg, const struct fetch_connection *connection)
{
	(void)arg;
	(void)connection;
	return true;
}

static void on_end(void *arg, const struct fetch_result *result)
{
	struct reading *reading = arg;
	struct load_servers *s = reading->owner;
	struct load_server *server = reading->server;

	reading->fetch = NULL;
	server->read[s->what] = !result->error;
	if (result->error)
		snprintf(server->problem, sizeof(server->problem), "%s", result->reason);
	else
		load_server_parse(result->page, result->size, server->at[s->what]);
	one_read(s);
}

static const struct fetch_callbacks callbacks = {.begin = on_begin, .end = on_end};

void load_servers_read(struct load_servers *s, int what, void (*done)(void *arg), void *arg)
{
	s->what = what;
	s->done = done;
	s->arg = arg;
	s->left = s->count + 1; /* one more for this loop: `done` must wait until all have begun */
	for (size_t i = 0; i < s->count; i++) {
		struct reading *reading = &s->readings[i];

		if (fetch_start(s->lane, reading->server->url, NULL, FETCH_KEPT, TIMEOUT_MS,
				&callbacks, reading, &reading->fetch))
			one_read(s);
	}
	one_read(s);
}

void load_servers_cancel(struct load_servers *s)
{
	s->done = NULL;
	for (size_t i = 0; i < s->count; i++)
		if (s->readings[i].fetch)
			fetch_cancel(TAKE_PTR(s->readings[i].fetch));
}

int load_servers_new(uv_loop_t *loop, struct load_server *list, size_t count,
		     struct load_servers **out)
{
	_cleanup_free_ struct load_servers *s = calloc(1, sizeof(*s));
	_cleanup_free_ struct reading *readings = calloc(count + 1, sizeof(*readings));
	int err;

	if (!s || !readings)
		return log_err_r(ENOMEM, "no memory for the servers' metrics");
	err = fetcher_new(loop, -1, &s->fetcher);
	if (err)
		return err;
	s->lane = fetcher_join(s->fetcher);
	if (!s->lane) {
		fetcher_free(s->fetcher);
		return log_err_r(ENOMEM, "no memory for the servers' metrics");
	}
	for (size_t i = 0; i < count; i++)
		readings[i] = (struct reading){.owner = s, .server = &list[i]};
	s->count = count;
	s->readings = TAKE_PTR(readings);
	*out = TAKE_PTR(s);
	return 0;
}

void load_servers_free(struct load_servers *s)
{
	if (!s)
		return;
	fetcher_leave(s->lane);
	fetcher_free(s->fetcher);
	free(s->readings);
	free(s);
}

double load_server_rise(const struct load_server *server, enum server_counter counter)
{
	double from = server->at[0][counter], to = server->at[1][counter];

	if (!server->read[0] || !server->read[1])
		return 0;
	return to >= from ? to - from : to;
}

double load_servers_sum(const struct load_server *list, size_t count, enum server_counter counter)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += load_server_rise(&list[i], counter);
	return sum;
}
