// SPDX-License-Identifier: Apache-2.0
#include "kube_watch.h"

#include <assert.h>
#include <sys/queue.h>

#include "../base/log.h"
#include "../base/util.h"
#include "../fetch/curl_loop.h"
#include "../fetch/secret.h"
#include "kube_client.h"
#include "kube_lines.h"
#include "kube_objects.h"

#define LIMIT_FIRST        250 /* objects of a page; fewer when a page was too large */
#define RETRY_AFTER_MAX_MS 60000

const struct kube_times kube_times = {
	.retry = 1000,
	.retry_max = 30000,
	.connect = 10000,
	.list_silence = 30000,
	.watch_silence = 90000,
	.lifetime = 600000,
};

enum phase {
	PAUSING, /* until the timer rings */
	LISTING, /* a page is on its way */
	WATCHING,
};

/* What is asked for next. */
enum next {
	NEXT_LIST,  /* from the beginning */
	NEXT_WATCH, /* from `version` on */
};

/* What goes wrong with the watches of one kind. */
struct trouble {
	const char *what;
	bool missing;   /* its objects are, and may be */
	char text[512]; /* "": nothing */
};

#define MAX_KINDS 16 /* of one client; troubles of further ones are logged alone */

/* A restarted API server says 403 for up to 1.5 s in spite of valid rights. */
#define REFUSED_FOR_GOOD 3

struct kube_client {
	uv_loop_t *loop;
	struct kube_access *access;
	const struct kube_times *times;
	struct curl_loop *http;
	struct secrets secrets;
	struct secret *token; /* NULL: access->token, or none */
	unsigned int users;   /* watches and requests */
	struct trouble troubles[MAX_KINDS];
	uint64_t failures, requests;
};

struct kube_watch {
	struct kube_transfer transfer; /* the first member */
	struct kube_client *client;
	const char *what;
	char *path, *selector;
	const struct kube_watch_callbacks *callbacks;
	void *arg;
	uv_timer_t timer;
	enum phase phase;
	enum next next;
	char version[KUBE_RV_SIZE];
	char *more;            /* token of the list's next page; NULL: its first page */
	unsigned int limit;    /* objects of a page */
	unsigned int failures; /* in a row */
	unsigned int refused;  /* 403 in a row */
	bool missing;
	bool single;       /* it is got, by kube_watch_get() */
	uint64_t heard_ns; /* the newest byte, or the request's start */
	bool fresh;        /* the next request is not to use a kept connection, which may hang */
	char *page;        /* of a list */
	size_t page_size, page_room;
	struct kube_lines lines;
	int broken; /* why we ended the answer ourselves, -errno */
	char reason[KUBE_WHY_SIZE];
};

/* ---- what goes wrong ------------------------------------------------------------------------ */

const char *kube_client_trouble(const struct kube_client *c)
{
	for (size_t i = 0; i < MAX_KINDS; i++)
		if (c->troubles[i].text[0] && !c->troubles[i].missing)
			return c->troubles[i].text;
	return NULL;
}

/* The kind that API servers have in one of two groups: it is missing only if they have it in
 * neither. */
#define IN_EITHER_GROUP "inferenceobjectives."

static bool trouble_is_missing(const struct kube_client *c, const struct trouble *t)
{
	size_t n = strlen(IN_EITHER_GROUP);
	bool alone = t->text[0] && strncmp(t->what, IN_EITHER_GROUP, n);

	for (size_t i = 0; i < MAX_KINDS; i++) {
		const struct trouble *u = &c->troubles[i];

		alone |=
			u != t && u->text[0] && u->missing && !strncmp(u->what, IN_EITHER_GROUP, n);
	}
	return t->text[0] && t->missing && alone;
}

const char *kube_client_missing(const struct kube_client *c, size_t i)
{
	for (size_t k = 0; k < MAX_KINDS; k++)
		if (trouble_is_missing(c, &c->troubles[k]) && !i--)
			return c->troubles[k].text;
	return NULL;
}

uint64_t kube_client_failures(const struct kube_client *c)
{
	return c->failures;
}

uint64_t kube_client_requests(const struct kube_client *c)
{
	return c->requests;
}

/* The one of this kind, or one that is free; NULL: there is no room. */
static struct trouble *trouble_of(struct kube_client *c, const char *what)
{
	struct trouble *free_one = NULL;

	for (size_t i = 0; i < MAX_KINDS; i++) {
		struct trouble *t = &c->troubles[i];

		if (t->what && !strcmp(t->what, what))
			return t;
		free_one = free_one ?: t->what ? NULL : t;
	}
	return free_one;
}

/* Many watches of a kind fail together: the log has each trouble once, until it is over. */
void kube_client_tell(struct kube_client *c, const char *what, const char *why, bool missing)
{
	struct trouble *t = trouble_of(c, what), spare = {0};
	char text[sizeof(t->text)];

	t = t ?: &spare;
	snprintf(text, sizeof(text), "%s: %s", what, why);
	c->failures++;
	if (!strcmp(text, t->text) && t->missing == missing)
		return;
	if (missing)
		log_info("Kubernetes: %s; going on without them", text);
	else if (!t->text[0])
		log_warn("Kubernetes: %s; trying again, and what is known stays", text);
	else
		log_info("Kubernetes: %s", text);
	t->what = what;
	t->missing = missing;
	snprintf(t->text, sizeof(t->text), "%s", text);
}

void kube_client_well(struct kube_client *c, const char *what)
{
	struct trouble *t = trouble_of(c, what);

	if (!t || !t->text[0])
		return;
	t->text[0] = '\0';
	t->missing = false;
	log_info("Kubernetes: %s answers for %s", c->access->server, what);
}

/* Between half of it and one and a half: 5,000 nodes do not come at once. */
static uint64_t watch_jitter(uint64_t ms)
{
	return ms / 2 + arc4random_uniform((uint32_t)MIN(ms, (uint64_t)UINT32_MAX - 1) + 1);
}

static void watch_on_timer(uv_timer_t *t);

static void watch_pause(struct kube_watch *w, enum next next, uint64_t ms)
{
	w->phase = PAUSING;
	w->next = next;
	uv_timer_start(&w->timer, watch_on_timer, ms, 0);
}

static uint64_t retry_after_ms(const struct kube_watch *w)
{
	curl_off_t s = 0;

	curl_easy_getinfo(w->transfer.easy, CURLINFO_RETRY_AFTER, &s);
	return s > 0 ? MIN((uint64_t)s * 1000, (uint64_t)RETRY_AFTER_MAX_MS) : 0;
}

static void watch_fail(struct kube_watch *w, enum next next, const char *why)
{
	const struct kube_times *times = w->client->times;
	uint64_t ms = times->retry;

	for (unsigned int i = 0; i < w->failures && ms < times->retry_max; i++)
		ms *= 2;
	ms = watch_jitter(MIN(ms, times->retry_max));
	w->failures++;
	kube_client_tell(w->client, w->what, why, w->missing);
	watch_pause(w, next, MAX(ms, retry_after_ms(w)));
}

static void watch_succeed(struct kube_watch *w)
{
	w->failures = w->refused = 0;
	w->missing = false;
	kube_client_well(w->client, w->what);
}

/* ---- pages ------------------------------------------------------------------------------------
 */

static void watch_drop_page(struct kube_watch *w)
{
	free(TAKE_PTR(w->page));
	w->page_size = w->page_room = 0;
}

static int keep_page(struct kube_watch *w, const char *data, size_t size)
{
	if (size > KUBE_MAX_TEXT - w->page_size)
		return -EFBIG;
	if (w->page_size + size > w->page_room) {
		size_t room = MAX(2 * w->page_room, w->page_size + size);
		char *page = realloc(w->page, room);

		if (!page)
			return -ENOMEM;
		w->page = page;
		w->page_room = room;
	}
	memcpy(w->page + w->page_size, data, size);
	w->page_size += size;
	return 0;
}

static void list_begin(struct kube_watch *w)
{
	free(TAKE_PTR(w->more));
	w->version[0] = '\0';
	w->callbacks->begin(w->arg);
}

static void watch_request(struct kube_watch *w, enum phase phase);

/* Hands the page's objects out, and asks for what comes next: another page, or the changes since
 * the list. */
static void take_single(struct kube_watch *w)
{
	cJSON *object = cJSON_ParseWithLength(w->page, w->page_size);

	watch_drop_page(w);
	if (!cJSON_IsObject(object)) {
		cJSON_Delete(object);
		watch_fail(w, NEXT_LIST, "an object is no JSON text, or too large for the memory");
		return;
	}
	watch_succeed(w);
	w->callbacks->object(w->arg, object, false);
	cJSON_Delete(object);
	w->callbacks->listed(w->arg);
	watch_pause(w, NEXT_LIST, watch_jitter(w->client->times->lifetime));
}

static void take_page(struct kube_watch *w)
{
	struct kube_page p;
	const cJSON *item;

	if (kube_page_read(w->page, w->page_size, &p)) {
		watch_drop_page(w);
		watch_fail(w, NEXT_LIST, "a list is no JSON text, or too large for the memory");
		return;
	}
	watch_drop_page(w);
	watch_succeed(w);
	cJSON_ArrayForEach (item, p.items)
		w->callbacks->object(w->arg, item, false);
	snprintf(w->version, sizeof(w->version), "%s", p.version);
	free(w->more);
	w->more = p.more ? strdup(p.more) : NULL;
	if (p.more && !w->more) {
		cJSON_Delete(p.root);
		watch_fail(w, NEXT_LIST, "out of memory");
		return;
	}
	cJSON_Delete(p.root);
	if (w->more) {
		watch_request(w, LISTING);
		return;
	}
	w->callbacks->listed(w->arg);
	watch_request(w, WATCHING);
}

/* ---- events -------------------------------------------------------------------------------------
 */

static bool watch_break_off(struct kube_watch *w, int why, const char *reason)
{
	w->broken = why;
	snprintf(w->reason, sizeof(w->reason), "%s", reason);
	return false;
}

/* Returns whether to go on. */
static bool watch_take_event(struct kube_watch *w, const struct kube_event *e)
{
	if (e->type == KUBE_ERROR)
		return watch_break_off(w, e->code == 410 ? -ESTALE : -EPROTO, e->reason);
	watch_succeed(w);
	if (e->type != KUBE_BOOKMARK)
		w->callbacks->object(w->arg, e->object, e->type == KUBE_DELETED);
	if (e->version[0])
		snprintf(w->version, sizeof(w->version), "%s", e->version);
	return true;
}

static bool on_line(const char *line, size_t size, void *arg)
{
	struct kube_watch *w = arg;
	struct kube_event e;
	bool go_on;

	/* Which object it was nobody can tell: a list says what there is. */
	if (kube_event_read(line, size, &e))
		return watch_break_off(w, -EBADMSG, "a watch's line is no event");
	go_on = watch_take_event(w, &e);
	cJSON_Delete(e.object);
	return go_on;
}

/* ---- requests
 * ------------------------------------------------------------------------------------ */

static long watch_status_of(const struct kube_watch *w)
{
	long status = 0;

	curl_easy_getinfo(w->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* To take fewer bytes than there are makes libcurl end the transfer. */
static size_t watch_on_body(char *data, size_t one, size_t count, void *arg)
{
	struct kube_watch *w = arg;
	size_t size = one * count;
	int err;

	w->heard_ns = monotonic_ns();
	if (watch_status_of(w) != 200)
		return size; /* a Status, which says no more than the number does */
	if (w->phase == LISTING)
		err = keep_page(w, data, size);
	else
		err = kube_lines_feed(&w->lines, data, size, on_line, w);
	if (err == -EFBIG && w->phase == WATCHING)
		watch_break_off(w, err, "an object is larger than the API allows");
	else if (err && err != -ECANCELED)
		watch_break_off(w, err,
				err == -EFBIG ? "a page is larger than 4 MiB" : "out of memory");
	return err ? 0 : size;
}

static int query(const struct kube_watch *w, enum phase phase, char **url)
{
	_cleanup_free_ char *more = NULL;
	const struct kube_times *times = w->client->times;
	uint64_t life =
		times->lifetime / 2000 + arc4random_uniform((uint32_t)(times->lifetime / 2000) + 1);
	const char *selector = w->selector ?: "";
	char *escaped = w->more ? curl_easy_escape(w->transfer.easy, w->more, 0) : NULL;
	int n = -1;

	if (w->single)
		n = asprintf(url, "%s%s", w->client->access->server, w->path);
	else if (phase == WATCHING)
		n = asprintf(url,
			     "%s%s?watch=1&allowWatchBookmarks=true&resourceVersion=%s"
			     "&timeoutSeconds=%ju&%s",
			     w->client->access->server, w->path, w->version,
			     (uintmax_t)MAX(life, (uint64_t)1), selector);
	else if (!w->more || escaped)
		n = asprintf(url, "%s%s?limit=%u%s%s&%s", w->client->access->server, w->path,
			     w->limit, escaped ? "&continue=" : "", escaped ?: "", selector);
	curl_free(escaped);
	return n < 0 ? -ENOMEM : 0;
}

/* The token is read for each request: a kubelet replaces it while pintled runs. Returns NULL and
 * *why where there is none. */
static const char *token_of(struct kube_client *c, const char **why)
{
	*why = NULL;
	return c->token ? secret_text(c->token, why) : c->access->token;
}

static int add_header(struct curl_slist **headers, const char *line)
{
	struct curl_slist *all = curl_slist_append(*headers, line);

	*headers = all ?: *headers;
	return all ? 0 : -ENOMEM;
}

/* By http the token would go unencrypted; kube_access.c allows that to this machine alone, where
 * `kubectl proxy` needs none. */
static int add_token(struct kube_client *c, struct curl_slist **headers, const char **why)
{
	const char *token = token_of(c, why);
	_cleanup_free_ char *line = NULL;
	int err;

	if (*why && !token)
		return -EACCES;
	if (!token || strncmp(c->access->server, "https://", 8) != 0)
		return 0;
	if (asprintf(&line, "Authorization: Bearer %s", token) < 0) {
		line = NULL;
		return -ENOMEM;
	}
	err = add_header(headers, line);
	explicit_bzero(line, strlen(line));
	return err;
}

static void set_pem(CURL *easy, const struct kube_pem *p, CURLoption file, CURLoption blob)
{
	struct curl_blob data = {.data = p->data, .len = p->size, .flags = CURL_BLOB_COPY};

	if (p->data)
		curl_easy_setopt(easy, blob, &data);
	else if (p->file)
		curl_easy_setopt(easy, file, p->file);
}

static void watch_set_options(struct kube_client *c, struct kube_transfer *t)
{
	const struct kube_access *a = c->access;
	CURL *e = t->easy;

	curl_easy_reset(e);
	curl_loop_adopt(c->http, e);
	curl_easy_setopt(e, CURLOPT_PRIVATE, t);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "pintled/" PINTLE_VERSION);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)c->times->connect);
	t->message[0] = '\0';
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->message);
	/* All watches share a connection. */
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1L);
	set_pem(e, &a->ca, CURLOPT_CAINFO, CURLOPT_CAINFO_BLOB);
	set_pem(e, &a->cert, CURLOPT_SSLCERT, CURLOPT_SSLCERT_BLOB);
	set_pem(e, &a->key, CURLOPT_SSLKEY, CURLOPT_SSLKEY_BLOB);
}

int kube_client_prepare(struct kube_client *c, struct kube_transfer *t, const char *content_type,
			const char **why)
{
	_cleanup_free_ char *line = NULL;
	int err;

	*why = NULL;
	curl_slist_free_all(TAKE_PTR(t->headers));
	err = add_header(&t->headers, "Accept: application/json");
	if (!err && content_type) {
		if (asprintf(&line, "Content-Type: %s", content_type) < 0)
			line = NULL;
		err = line ? add_header(&t->headers, line) : -ENOMEM;
	}
	if (!err)
		err = add_token(c, &t->headers, why);
	if (!err)
		watch_set_options(c, t);
	return err;
}

const char *kube_client_server(const struct kube_client *c)
{
	return c->access->server;
}

const char *kube_client_namespace(const struct kube_client *c)
{
	return c->access->space;
}

uv_loop_t *kube_client_loop(const struct kube_client *c)
{
	return c->loop;
}

const struct kube_times *kube_client_times(const struct kube_client *c)
{
	return c->times;
}

int kube_client_start(struct kube_client *c, struct kube_transfer *t)
{
	c->requests++;
	return curl_loop_start(c->http, t->easy);
}

void kube_client_stop(struct kube_client *c, struct kube_transfer *t)
{
	curl_loop_stop(c->http, t->easy);
}

void kube_client_join(struct kube_client *c)
{
	c->users++;
}

void kube_client_leave(struct kube_client *c)
{
	c->users--;
}

static void watch_options(struct kube_watch *w, enum phase phase, const char *url)
{
	CURL *e = w->transfer.easy;

	curl_easy_setopt(e, CURLOPT_URL, url);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, watch_on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, w);
	curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, w->fresh ? 1L : 0L);
	if (phase == LISTING)
		curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "gzip");
}

static uint64_t silence_ms(const struct kube_watch *w)
{
	return w->phase == WATCHING ? w->client->times->watch_silence
				    : w->client->times->list_silence;
}

static void watch_request(struct kube_watch *w, enum phase phase)
{
	_cleanup_free_ char *url = NULL;
	const char *why = NULL;
	int err = query(w, phase, &url) ?: kube_client_prepare(w->client, &w->transfer, NULL, &why);

	if (err) {
		watch_fail(w, NEXT_LIST, why ?: "out of memory");
		return;
	}
	watch_options(w, phase, url);
	w->fresh = false;
	w->phase = phase;
	w->broken = 0;
	w->heard_ns = monotonic_ns();
	kube_lines_reset(&w->lines);
	watch_drop_page(w);
	uv_timer_start(&w->timer, watch_on_timer, silence_ms(w),
		       MAX(silence_ms(w) / 4, (uint64_t)1));
	if (kube_client_start(w->client, &w->transfer))
		watch_fail(w, NEXT_LIST, "out of memory");
}

/* ---- ends
 * ------------------------------------------------------------------------------------------ */

/* Where the next request goes on: what is known stays good unless the version is too old, or a line
 * was lost. */
static enum next next_of(const struct kube_watch *w)
{
	return w->phase == WATCHING && w->version[0] ? NEXT_WATCH : NEXT_LIST;
}

static void end_by_us(struct kube_watch *w)
{
	/* A page of large objects: fewer at a time. */
	if (w->phase == LISTING && w->broken == -EFBIG && w->limit > 1) {
		w->limit = MAX(w->limit / 4, 1U);
		watch_pause(w, NEXT_LIST, watch_jitter(w->client->times->retry / 10));
		return;
	}
	/* The version is too old: an ordinary event, but not for all nodes in the same instant. */
	if (w->broken == -ESTALE && !w->failures) {
		w->failures++;
		watch_pause(w, NEXT_LIST, watch_jitter(w->client->times->retry / 2));
		return;
	}
	watch_fail(w, NEXT_LIST, w->reason);
}

/* Without the right to ask nobody learns whether there is such a kind: 403 comes before 404. */
static bool watch_is_missing(const struct kube_watch *w, long status)
{
	return w->callbacks->missing &&
	       (w->missing || status == 404 || w->refused >= REFUSED_FOR_GOOD);
}

static void end_by_status(struct kube_watch *w, long status)
{
	bool was = w->missing;
	char why[96];

	snprintf(why, sizeof(why), "HTTP status %ld%s", status,
		 status == 401   ? ", the token is not accepted"
		 : status == 403 ? ", the right to list or watch them is missing"
		 : status == 404 ? ", the API server does not have them"
				 : "");
	w->refused = status == 403 ? w->refused + 1 : 0;
	w->missing = watch_is_missing(w, status);
	/* An old continue token, or an old version. */
	watch_fail(w, status == 410 ? NEXT_LIST : next_of(w), why);
	if (w->missing && !was)
		w->callbacks->missing(w->arg);
}

static void end_in_order(struct kube_watch *w)
{
	if (w->phase == LISTING) {
		(w->single ? take_single : take_page)(w);
		return;
	}
	/* The watch's time is over, or the API server ends. A server that ends each watch at once
	 * must not be asked again at once. */
	if (!w->failures++)
		watch_pause(w, NEXT_WATCH, watch_jitter(w->client->times->retry / 10));
	else
		watch_fail(w, NEXT_WATCH, "a watch ends as soon as it begins");
}

static void on_watch_done(struct kube_transfer *t, CURLcode result)
{
	struct kube_watch *w = (struct kube_watch *)t;
	long status = watch_status_of(w);

	uv_timer_stop(&w->timer);
	if (w->broken)
		end_by_us(w);
	else if (result && !(result == CURLE_PARTIAL_FILE && status != 200))
		watch_fail(w, next_of(w), t->message[0] ? t->message : curl_easy_strerror(result));
	else if (status != 200)
		end_by_status(w, status);
	else
		end_in_order(w);
}

static void on_done(CURL *easy, CURLcode result, void *arg)
{
	struct kube_transfer *t = NULL;

	(void)arg;
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
	t->done(t, result);
}

static void end_silent(struct kube_watch *w)
{
	enum next next = next_of(w);

	kube_client_stop(w->client, &w->transfer);
	/* Other requests wait on the same connection, which may be as dead. */
	w->fresh = true;
	watch_fail(w, next, "no byte came for too long");
}

static void watch_on_timer(uv_timer_t *t)
{
	struct kube_watch *w = t->data;

	if (w->phase != PAUSING) {
		if (monotonic_ns() - w->heard_ns >= silence_ms(w) * NSEC_PER_MSEC)
			end_silent(w);
		return;
	}
	if (w->next == NEXT_WATCH) {
		watch_request(w, WATCHING);
		return;
	}
	list_begin(w);
	watch_request(w, LISTING);
}

const char *kube_watch_missing(const struct kube_watch *w)
{
	const struct trouble *t = w->missing ? trouble_of(w->client, w->what) : NULL;

	return !w->missing ? NULL : t && t->text[0] ? t->text : w->what;
}

/* ---- life
 * -------------------------------------------------------------------------------------------- */

static void watch_free_watch(uv_handle_t *h)
{
	struct kube_watch *w = h->data;

	free(w->path);
	free(w->selector);
	free(w);
}

struct kube_watch *kube_watch_new(struct kube_client *c, const char *what, const char *path,
				  const char *selector,
				  const struct kube_watch_callbacks *callbacks, void *arg)
{
	struct kube_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct kube_watch){
		.client = c,
		.what = what,
		.path = strdup(path),
		.selector = selector ? strdup(selector) : NULL,
		.callbacks = callbacks,
		.arg = arg,
		.transfer = {.done = on_watch_done, .easy = curl_easy_init()},
		.limit = LIMIT_FIRST,
	};
	if (!w->path || (selector && !w->selector) || !w->transfer.easy) {
		curl_easy_cleanup(w->transfer.easy);
		free(w->path);
		free(w->selector);
		free(w);
		return NULL;
	}
	kube_client_join(c);
	uv_timer_init(c->loop, &w->timer);
	w->timer.data = w;
	watch_pause(w, NEXT_LIST, 0);
	return w;
}

struct kube_watch *kube_watch_get(struct kube_client *c, const char *what, const char *path,
				  const struct kube_watch_callbacks *callbacks, void *arg)
{
	struct kube_watch *w = kube_watch_new(c, what, path, NULL, callbacks, arg);

	if (w)
		w->single = true;
	return w;
}

void kube_watch_free(struct kube_watch *w)
{
	if (!w)
		return;
	if (w->phase != PAUSING)
		kube_client_stop(w->client, &w->transfer);
	kube_client_leave(w->client);
	curl_easy_cleanup(w->transfer.easy);
	curl_slist_free_all(w->transfer.headers);
	free(w->more);
	watch_drop_page(w);
	kube_lines_free(&w->lines);
	uv_close((uv_handle_t *)&w->timer, watch_free_watch);
}

int kube_client_new(uv_loop_t *loop, struct kube_access *a, const struct kube_times *times,
		    struct kube_client **out)
{
	struct kube_client *c = calloc(1, sizeof(*c));
	int err = c ? 0 : log_err_r(ENOMEM, "Kubernetes");

	if (!err) {
		*c = (struct kube_client){.loop = loop, .access = a, .times = times};
		if (a->token_file && !(c->token = secret_get(&c->secrets, a->token_file)))
			err = log_err_r(ENOMEM, "Kubernetes");
	}
	if (!err)
		err = curl_loop_new(loop, -1, on_done, c, &c->http);
	if (err) {
		kube_access_free(a);
		free(c);
		return err;
	}
	curl_loop_multiplex(c->http);
	*out = c;
	return 0;
}

void kube_client_free(struct kube_client *c)
{
	if (!c)
		return;
	assert(!c->users);
	curl_loop_free(c->http);
	secret_put(c->token);
	kube_access_free(c->access);
	free(c);
}
