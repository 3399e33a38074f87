// SPDX-License-Identifier: Apache-2.0
#include "probe.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/util.h"

#define CHAT "/chat/completions"

struct probe {
	struct scrape_target *target;
	const struct probe_callbacks *callbacks;
	void *arg;
	uint64_t asked_ns;
	char *asks;
};

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && !strcmp(text + n - m, end);
}

char *probe_request(const struct config_probe *p)
{
	cJSON *o = cJSON_CreateObject(), *message;
	char *text;

	if (p->model)
		cJSON_AddStringToObject(o, "model", p->model);
	if (ends_with(p->path, CHAT)) {
		message = cJSON_CreateObject();
		cJSON_AddStringToObject(message, "role", "user");
		cJSON_AddStringToObject(message, "content", "Hi");
		cJSON_AddItemToArray(cJSON_AddArrayToObject(o, "messages"), message);
	} else {
		cJSON_AddStringToObject(o, "prompt", "Hi");
	}
	cJSON_AddNumberToObject(o, "max_tokens", 1);
	cJSON_AddFalseToObject(o, "stream");
	text = cJSON_PrintUnformatted(o);
	cJSON_Delete(o);
	return text;
}

static bool probe_fresh(void *arg)
{
	struct probe *p = arg;

	if (!p->callbacks->wants(p->arg, p->asked_ns))
		return false;
	p->asked_ns = monotonic_ns();
	return true;
}

static const char *probe_done(void *arg, int error, const char *page, size_t size)
{
	struct probe *p = arg;

	(void)error;
	(void)page;
	(void)size;
	p->callbacks->done(p->arg, scraper_status(p->target), scraper_retry_ns(p->target),
			   p->asked_ns);
	return NULL;
}

static const struct scrape_callbacks callbacks = {.fresh = probe_fresh, .done = probe_done};

int probe_configure(struct probe **p, struct scraper *s, const struct config_probe *config,
		    const struct scrape_options *to, const struct probe_callbacks *calls, void *arg)
{
	struct scrape_options options = *to;
	_cleanup_free_ char *post = NULL, *asks = NULL;
	struct probe *made;
	int err;

	if (!config->path) {
		probe_free(TAKE_PTR(*p));
		return 0;
	}
	post = probe_request(config);
	if (!post || asprintf(&asks, "%s %s %s %s", config->path, to->credentials_file ?: "",
			      to->cert_file ?: "", post) < 0) {
		asks = NULL;
		return -ENOMEM;
	}
	options.post = post;
	options.expect = 200;
	options.interval_ns = config->interval_ns;
	options.timeout_ns = config->timeout_ns;
	if (*p) {
		err = scraper_set_options((*p)->target, &options);
		if (err)
			return err;
		free((*p)->asks);
		(*p)->asks = TAKE_PTR(asks);
		return 0;
	}
	made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->callbacks = calls;
	made->arg = arg;
	err = scraper_add(s, &options, &callbacks, made, &made->target);
	if (err) {
		free(made);
		return err;
	}
	made->asks = TAKE_PTR(asks);
	*p = made;
	return 0;
}

const char *probe_asks(const struct probe *p)
{
	return p->asks;
}

uint64_t probe_known_ns(const struct config_probe *p)
{
	uint64_t wait = MAX(p->interval_ns, (uint64_t)SCRAPE_RETRY_MAX_NS);

	/* Intervals vary by a tenth. */
	return p->path ? wait + wait / 4 + p->timeout_ns : 0;
}

void probe_free(struct probe *p)
{
	if (!p)
		return;
	scraper_remove(p->target);
	free(p->asks);
	free(p);
}
