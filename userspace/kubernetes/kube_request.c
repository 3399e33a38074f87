// SPDX-License-Identifier: Apache-2.0
#include "kube_request.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../base/util.h"
#include "kube_client.h"

#define TIMEOUT_MS 10000
#define MAX_ANSWER (2U << 20)
#define APPLY      "application/apply-patch+yaml" /* JSON is YAML */

struct kube_request {
	struct kube_transfer transfer; /* the first member */
	struct kube_client *client;
	kube_answer_fn answer;
	void *arg;
	uv_timer_t soon; /* to answer from the loop what could not even be sent */
	bool busy;
	char *text; /* of the answer */
	size_t size, room;
	const char *failed; /* why it was not sent */
};

const char *kube_now(char buf[KUBE_NOW_SIZE])
{
	time_t now = time(NULL);
	struct tm tm;

	strftime(buf, KUBE_NOW_SIZE, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	return buf;
}

static void request_answer(struct kube_request *r, long status, const char *why)
{
	cJSON *object = r->text ? cJSON_ParseWithLength(r->text, r->size) : NULL;

	free(TAKE_PTR(r->text));
	r->size = r->room = 0;
	r->busy = false;
	r->answer(r->arg, status, cJSON_IsObject(object) ? object : NULL, why);
	cJSON_Delete(object);
}

/* What is too large is read to its end, and dropped. */
static size_t kube_request_on_answer(char *data, size_t one, size_t count, void *arg)
{
	struct kube_request *r = arg;
	size_t size = one * count;

	if (size > MAX_ANSWER - r->size)
		return size;
	if (r->size + size > r->room) {
		size_t room = MAX(2 * r->room, r->size + size);
		char *text = realloc(r->text, room);

		if (!text)
			return 0;
		r->text = text;
		r->room = room;
	}
	memcpy(r->text + r->size, data, size);
	r->size += size;
	return size;
}

static void on_request_done(struct kube_transfer *t, CURLcode result)
{
	struct kube_request *r = (struct kube_request *)t;
	char why[CURL_ERROR_SIZE];
	long status = 0;

	snprintf(why, sizeof(why), "%s", t->message[0] ? t->message : curl_easy_strerror(result));
	if (!result)
		curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	request_answer(r, status, result ? why : NULL);
}

static void on_soon(uv_timer_t *t)
{
	struct kube_request *r = t->data;

	request_answer(r, 0, r->failed);
}

static int prepare(struct kube_request *r, const char *method, const char *path, const char *body,
		   const char **why)
{
	struct kube_transfer *t = &r->transfer;
	const char *type = strcmp(method, "PATCH") ? "application/json" : APPLY;
	_cleanup_free_ char *url = NULL;
	int err = kube_client_prepare(r->client, t, body ? type : NULL, why);

	if (err)
		return err;
	if (asprintf(&url, "%s%s", kube_client_server(r->client), path) < 0) {
		url = NULL;
		return -ENOMEM;
	}
	curl_easy_setopt(t->easy, CURLOPT_URL, url);
	curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, kube_request_on_answer);
	curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
	if (body)
		curl_easy_setopt(t->easy, CURLOPT_COPYPOSTFIELDS, body);
	return 0;
}

bool kube_request_busy(const struct kube_request *r)
{
	return r->busy;
}

void kube_request_send(struct kube_request *r, const char *method, const char *path,
		       const char *body)
{
	const char *why = NULL;
	int err;

	assert(!r->busy);
	r->busy = true;
	err = prepare(r, method, path, body, &why) ?: kube_client_start(r->client, &r->transfer);
	if (!err)
		return;
	r->failed = why ?: "out of memory";
	uv_timer_start(&r->soon, on_soon, 0, 0);
}

struct kube_request *kube_request_new(struct kube_client *c, kube_answer_fn answer, void *arg)
{
	struct kube_request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct kube_request){
		.transfer = {.done = on_request_done, .easy = curl_easy_init()},
		.client = c,
		.answer = answer,
		.arg = arg,
	};
	if (!r->transfer.easy) {
		free(r);
		return NULL;
	}
	uv_timer_init(kube_client_loop(c), &r->soon);
	r->soon.data = r;
	kube_client_join(c);
	return r;
}

static void free_request(uv_handle_t *h)
{
	free(h->data);
}

void kube_request_free(struct kube_request *r)
{
	if (!r)
		return;
	if (r->busy && !uv_is_active((uv_handle_t *)&r->soon))
		kube_client_stop(r->client, &r->transfer);
	kube_client_leave(r->client);
	curl_easy_cleanup(r->transfer.easy);
	curl_slist_free_all(r->transfer.headers);
	free(r->text);
	uv_close((uv_handle_t *)&r->soon, free_request);
}
