// SPDX-License-Identifier: Apache-2.0
#include "fetch.h"

#include <assert.h>
#include <sys/queue.h>

#include "../base/log.h"
#include "../base/text.h"
#include "../base/util.h"
#include "curl_loop.h"

/*
 * A fetch owns a handle of libcurl, with its buffers, and the page. That is a hundred times the
 * memory of a target, so a target has a fetch only during a request; a few idle ones are kept here
 * for the next requests.
 */
#define IDLE_MAX   16
#define IDLE_PAGES 4            /* so many idle fetches keep their room for a page */
#define PAGE_START (64U << 10)  /* first room for a page: a vLLM page fits */
#define PAGE_KEEP  (256U << 10) /* a larger buffer is not kept for the next page */
#define PAGES_TOTAL                                                                                \
	(64U << 20) /* of all fetches: many huge pages at once must not use up the memory */
#define RECEIVE_BUFFER (64L << 10) /* bytes that libcurl reads in each turn of the loop */
#define TIMEOUT_MAX_MS 86400000ULL /* libcurl's limit is an int */

#define CA_CACHE_S 60L /* how long libcurl keeps the file of authorities that it read */

#define LANE_SEATS  128 /* a lane takes 40 kB; 128 seats cost each request a microsecond */
#define LANE_SPARES 4   /* idle connections kept beyond one for each seat */

struct fetch_lane {
	struct fetcher *owner;
	SLIST_ENTRY(fetch_lane) all;
	struct curl_loop *http;
	unsigned int seats; /* in use */
};

struct fetch {
	struct fetcher *owner;
	struct fetch_lane *lane; /* lane of the newest request */
	LIST_ENTRY(fetch) all;
	SLIST_ENTRY(fetch) idle;
	CURL *easy;
	struct curl_slist *connect_to; /* libcurl makes no copy */
	bool has_access;               /* an access was set, by this request or an earlier one */
	const struct fetch_callbacks *callbacks; /* NULL: cancelled, or idle */
	enum fetch_how how;
	void *arg;
	char *page;
	size_t size, room;
	size_t head;     /* bytes of headers so far, and of the body of a status other than 200 */
	bool head_ended; /* by its empty line */
	bool framed;     /* the head says how long the body is, or that it comes in chunks */
	bool closes;     /* it says that the connection ends with the body; HTTP/1.0 does */
	bool refused;    /* by begin() */
	int error;       /* why we ended the transfer ourselves, -errno */
	const char *reason; /* the same as text */
	char message[CURL_ERROR_SIZE];
};

#define RETRY_MAX_S 86400

struct fetcher {
	uv_loop_t *loop;
	int netns_fd;
	SLIST_HEAD(, fetch_lane) lanes;
	struct curl_slist *headers, *post_headers;
	LIST_HEAD(, fetch) all;
	SLIST_HEAD(, fetch) idle;
	unsigned int idle_count;
	size_t pages; /* bytes of room of all fetches */
};

/* -- the page --------------------------------------------------------------------- */

static bool fetch_make_room(struct fetch *x, size_t need)
{
	size_t room = MAX(x->room, (size_t)PAGE_START);
	char *p;

	while (room < need)
		room *= 2;
	if (room == x->room)
		return true;
	if (x->owner->pages - x->room + room > PAGES_TOTAL)
		return false;
	p = realloc(x->page, room);
	if (!p)
		return false;
	x->owner->pages += room - x->room;
	x->page = p;
	x->room = room;
	return true;
}

static void fetch_drop_page(struct fetch *x)
{
	assert(x->owner->pages >= x->room);
	free(TAKE_PTR(x->page));
	x->owner->pages -= x->room;
	x->room = 0;
}

/* -- libcurl's callbacks ---------------------------------------------------------- */

static long fetch_status_of(const struct fetch *x)
{
	long status = 0;

	curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* To take fewer bytes than there are makes libcurl end the transfer. */
static size_t fetch_break_off(struct fetch *x, int error, const char *reason)
{
	x->error = error;
	x->reason = reason;
	return 0;
}

/* Reads and drops the body of a status other than 200, so that the connection can be kept. */
static size_t skip_error_page(struct fetch *x, size_t size)
{
	x->head += size;
	if (x->head <= FETCH_MAX_HEAD)
		return size;
	snprintf(x->message, sizeof(x->message), "HTTP status %ld", fetch_status_of(x));
	return fetch_break_off(x, -EPROTO, x->message);
}

static size_t fetch_on_body(char *data, size_t one, size_t count, void *arg)
{
	struct fetch *x = arg;
	size_t size = one * count;

	if (!x->callbacks)
		return 0;
	if (!x->size && fetch_status_of(x) != 200)
		return skip_error_page(x, size);
	if (size > FETCH_MAX_PAGE - x->size)
		return fetch_break_off(x, -EFBIG, "the page is larger than 4 MiB");
	if (!fetch_make_room(x, x->size + size))
		return fetch_break_off(x, -ENOBUFS, "no memory for the page");
	memcpy(x->page + x->size, data, size);
	x->size += size;
	return size;
}

static bool head_is(const char *data, size_t size, const char *name)
{
	return size > strlen(name) && !strncasecmp(data, name, strlen(name));
}

static bool head_has(const char *data, size_t size, const char *word)
{
	for (size_t i = 0; i + strlen(word) <= size; i++)
		if (!strncasecmp(data + i, word, strlen(word)))
			return true;
	return false;
}

/* What the line says of where the body ends. */
static void look_at_framing(struct fetch *x, const char *data, size_t size)
{
	if (head_is(data, size, "HTTP/")) {
		x->framed = false;
		x->closes = head_is(data, size, "HTTP/1.0");
	}
	x->framed |=
		head_is(data, size, "Content-Length:") || head_is(data, size, "Transfer-Encoding:");
	x->closes |= head_is(data, size, "Connection:") && head_has(data, size, "close");
}

static size_t on_head(char *data, size_t one, size_t count, void *arg)
{
	struct fetch *x = arg;
	size_t size = one * count;

	x->head += size;
	if (x->head > FETCH_MAX_HEAD)
		return fetch_break_off(x, -EFBIG, "the headers are larger than 64 KiB");
	look_at_framing(x, data, size);
	/* An interim answer (100) has a head of its own, and trailers come after the empty line. */
	if (size >= 5 && !memcmp(data, "HTTP/", 5))
		x->head_ended = false;
	else if (size <= 2 && (*data == '\r' || *data == '\n'))
		x->head_ended = true;
	/* For a probe a complete head is enough. */
	if (x->how == FETCH_PROBE && x->head_ended)
		return 0;
	/* For a check that of the final answer is. */
	return x->how == FETCH_CHECK && x->head_ended && fetch_status_of(x) >= 200 ? 0 : size;
}

static bool fetch_is_fresh(const struct fetch *x)
{
	long made = 0;

	curl_easy_getinfo(x->easy, CURLINFO_NUM_CONNECTS, &made);
	return made > 0;
}

static int on_connected(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct fetch *x = arg;
	struct fetch_connection c = {
		.fresh = fetch_is_fresh(x),
		.v6 = strchr(ip, ':') && strncmp(ip, "::ffff:", 7) != 0,
		.local_port = (uint16_t)local_port,
		.remote_port = (uint16_t)port,
	};

	addr_parse_ip(local_ip, &c.local);
	addr_parse_ip(ip, &c.remote);
	x->size = x->head = 0; /* the request may be sent for the second time */
	x->head_ended = false;
	if (x->callbacks)
		x->refused = !x->callbacks->begin(x->arg, &c);
	/* Aborting closes the connection. */
	return x->callbacks && !x->refused ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static void fetch_set_options(struct fetch *x)
{
	CURL *e = x->easy;

	curl_easy_setopt(e, CURLOPT_PRIVATE, x);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->message);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->owner->headers);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
	curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)FETCH_MAX_PAGE);
	/* After each request libcurl searches its whole cache of addresses for old ones. With 1,000
	 * targets that costs more than the request itself. */
	curl_easy_setopt(e, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
	curl_easy_setopt(e, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, fetch_on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_head);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
	curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_connected);
	curl_easy_setopt(e, CURLOPT_PREREQDATA, x);
}

/* -- what the end of a transfer means --------------------------------------------- */

static const struct {
	CURLcode code;
	int error;
	const char *reason; /* NULL: the system's text for its errno, else libcurl's */
} results[] = {
	{CURLE_OPERATION_TIMEDOUT, ETIMEDOUT, "no complete answer within the timeout"},
	{CURLE_PARTIAL_FILE, ECONNRESET, "the page was cut short"},
	{CURLE_GOT_NOTHING, ECONNRESET, "the server closed without an answer"},
	{CURLE_RECV_ERROR, EPROTO, NULL},
	{CURLE_SEND_ERROR, ECONNRESET, NULL},
	{CURLE_COULDNT_CONNECT, ECONNREFUSED, NULL},
	{CURLE_COULDNT_RESOLVE_HOST, EHOSTUNREACH, NULL},
	{CURLE_FILESIZE_EXCEEDED, EFBIG, "the page is larger than 4 MiB"},
	{CURLE_OUT_OF_MEMORY, ENOMEM, NULL},
#if LIBCURL_VERSION_NUM >= 0x080600
	{CURLE_TOO_LARGE, EFBIG, NULL}, /* of the headers: there are too many */
#endif
};

static bool fetch_is_loopback(const char *ip)
{
	return !strncmp(ip, "127.", 4) || !strncmp(ip, "::ffff:127.", 11) || !strcmp(ip, "::1");
}

static void explain_code(struct fetch *x, CURLcode code, struct fetch_result *r)
{
	long os_error = 0;

	r->error = -EPROTO;
	for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
		if (results[i].code != code)
			continue;
		r->error = -results[i].error;
		r->reason = results[i].reason;
		curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &os_error);
		if (!os_error && code == CURLE_COULDNT_CONNECT)
			os_error = -curl_loop_socket_error(x->lane->http);
		if (!r->reason && os_error > 0) {
			r->error = -(int)os_error;
			r->reason = strerror((int)os_error);
		}
	}
	text_make_printable(x->message, '?');
	if (!r->reason)
		r->reason = *x->message ? x->message : curl_easy_strerror(code);
}

/* A kept connection says nothing: libcurl asks again over a new one. */
static int turned_away(const struct fetch *x, CURLcode code, int error)
{
	if (code == CURLE_COULDNT_CONNECT)
		return error == -ECONNREFUSED ? ECONNREFUSED : 0;
	return (code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR) && error == -ECONNRESET &&
			       fetch_is_fresh(x) && !x->head
		       ? ECONNRESET
		       : 0;
}

/* Whether the server answered at all. These codes mean an answer that libcurl refused; without a
 * new connection they mean that libcurl refused the URL. */
static bool has_answered(const struct fetch *x, CURLcode code)
{
	return x->head ||
	       (fetch_is_fresh(x) &&
		(code == CURLE_UNSUPPORTED_PROTOCOL || /* not HTTP, or an unknown version of it */
		 code == CURLE_WEIRD_SERVER_REPLY || code == CURLE_PEER_FAILED_VERIFICATION));
}

/* "HTTP status 307, to http://10.0.0.5:8000/metrics/; name that page", without secrets. */
static void say_status(struct fetch *x, long status)
{
	_cleanup_free_ char *shown = NULL;
	char *to = NULL;

	if (curl_easy_getinfo(x->easy, CURLINFO_REDIRECT_URL, &to) || !to ||
	    fetch_check_url(to, &shown))
		snprintf(x->message, sizeof(x->message), "HTTP status %ld", status);
	else
		snprintf(x->message, sizeof(x->message),
			 "HTTP status %ld, to %.150s; name that page, redirects are not followed",
			 status, shown);
}

static void set_status(const struct fetch *x, struct fetch_result *r)
{
	curl_off_t seconds = 0;

	r->status = (unsigned int)fetch_status_of(x);
	if (!curl_easy_getinfo(x->easy, CURLINFO_RETRY_AFTER, &seconds) && seconds > 0)
		r->retry_ns = (uint64_t)MIN(seconds, (curl_off_t)RETRY_MAX_S) * NSEC_PER_SEC;
}

static void explain(struct fetch *x, CURLcode code, struct fetch_result *r)
{
	long status = fetch_status_of(x);
	char *ip = NULL;

	*r = (struct fetch_result){.no_connection = code == CURLE_COULDNT_CONNECT,
				   .refused = x->refused,
				   .fresh = fetch_is_fresh(x)};
	if (!curl_easy_getinfo(x->easy, CURLINFO_PRIMARY_IP, &ip) && ip)
		r->loopback = fetch_is_loopback(ip);
	if (x->refused) {
		r->error = -ESTALE;
		r->reason =
			"whoever answers there is not believed to be the endpoint (pintle status "
			"says why)";
	} else if (x->how == FETCH_PROBE && has_answered(x, code)) {
		r->page = "";
	} else if (x->how == FETCH_CHECK && x->head_ended && status >= 200) {
		r->page = "";
		set_status(x, r);
	} else if (x->error) {
		r->error = x->error;
		r->reason = x->reason;
	} else if (code) {
		explain_code(x, code, r);
		r->turned_away = turned_away(x, code, r->error);
	} else if (status != 200) {
		r->error = -EPROTO;
		r->answered = true;
		set_status(x, r);
		say_status(x, status);
		r->reason = x->message;
	} else if (!x->head_ended) {
		/* The head was cut short. libcurl takes that for an answer without a body, and a
		 * server that died here would look like one without load. */
		r->error = -ECONNRESET;
		r->reason = "the answer was cut short";
	} else if (!x->framed && !x->closes) {
		r->error = -EPROTO;
		r->answered = true;
		r->reason = "it ends with the connection, and its head says neither Content-Length "
			    "nor that: nothing tells whether the page is whole";
	} else {
		r->unframed = !x->framed;
		r->page = x->page ? x->page : "";
		r->size = x->size;
	}
}

/* -- fetches ---------------------------------------------------------------------- */

static struct fetch *new_fetch(struct fetcher *f)
{
	_cleanup_free_ struct fetch *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->easy = curl_easy_init();
	if (!x->easy)
		return NULL;
	x->owner = f;
	LIST_INSERT_HEAD(&f->all, x, all);
	fetch_set_options(x);
	return TAKE_PTR(x);
}

static struct fetch *get_fetch(struct fetcher *f)
{
	struct fetch *x = SLIST_FIRST(&f->idle);

	if (!x)
		return new_fetch(f);
	SLIST_REMOVE_HEAD(&f->idle, idle);
	f->idle_count--;
	return x;
}

static void free_fetch(struct fetch *x)
{
	LIST_REMOVE(x, all);
	curl_easy_cleanup(x->easy);
	curl_slist_free_all(x->connect_to);
	fetch_drop_page(x);
	free(x);
}

static void put_fetch(struct fetch *x)
{
	struct fetcher *f = x->owner;

	x->callbacks = NULL;
	if (f->idle_count >= IDLE_MAX) {
		free_fetch(x);
		return;
	}
	if (x->room > PAGE_KEEP || f->idle_count >= IDLE_PAGES)
		fetch_drop_page(x);
	SLIST_INSERT_HEAD(&f->idle, x, idle);
	f->idle_count++;
}

static void fetch_on_end(CURL *easy, CURLcode code, void *arg)
{
	const struct fetch_callbacks *callbacks;
	struct fetch_result result;
	struct fetch *x = NULL;

	(void)arg;
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&x);
	callbacks = TAKE_PTR(x->callbacks);
	if (callbacks) {
		explain(x, code, &result);
		callbacks->end(x->arg, &result);
	}
	put_fetch(x);
}

static bool set_connect_to(struct fetch *x, const char *text)
{
	struct curl_slist *list = text ? curl_slist_append(NULL, text) : NULL;

	if (text && !list)
		return false;
	curl_easy_setopt(x->easy, CURLOPT_CONNECT_TO, list);
	curl_slist_free_all(x->connect_to);
	x->connect_to = list;
	return true;
}

static bool set_post(struct fetch *x, const char *json)
{
	CURL *e = x->easy;

	if (!json)
		return !curl_easy_setopt(e, CURLOPT_HTTPGET, 1L) &&
		       !curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->owner->headers);
	return !curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, json) &&
	       !curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->owner->post_headers);
}

/* A handle is used for one target after another: whatever an earlier request set, this one must
 * set, too. */
static bool fetch_set_access(struct fetch *x, const struct fetch_access *access)
{
	static const struct fetch_access none;
	const struct fetch_access *a = access ? access : &none;
	char *ca_file = NULL, *ca_path = NULL;
	CURL *e = x->easy;

	if (!access && !x->has_access)
		return true;
	x->has_access = access;
	/* The paths that libcurl was built with: NULL would not restore them, but mean no
	 * authorities. */
	curl_easy_getinfo(e, CURLINFO_CAINFO, &ca_file);
	curl_easy_getinfo(e, CURLINFO_CAPATH, &ca_path);
	return !curl_easy_setopt(e, CURLOPT_CAINFO, a->ca_file ? a->ca_file : ca_file) &&
	       !curl_easy_setopt(e, CURLOPT_CAPATH, a->ca_file ? NULL : ca_path) &&
	       !curl_easy_setopt(e, CURLOPT_SSLCERT, a->cert_file) &&
	       !curl_easy_setopt(e, CURLOPT_SSLKEY, a->key_file) &&
	       !curl_easy_setopt(e, CURLOPT_HTTPAUTH,
				 (long)(a->bearer ? CURLAUTH_BEARER : CURLAUTH_BASIC)) &&
	       !curl_easy_setopt(e, CURLOPT_XOAUTH2_BEARER, a->bearer) && set_post(x, a->post) &&
	       set_connect_to(x, a->connect_to);
}

int fetch_start(struct fetch_lane *lane, const char *url, const struct fetch_access *access,
		enum fetch_how how, uint64_t timeout_ms, const struct fetch_callbacks *callbacks,
		void *arg, struct fetch **out)
{
	long fresh = how != FETCH_KEPT;
	long timeout = (long)MIN(timeout_ms, TIMEOUT_MAX_MS);
	struct fetch *x = get_fetch(lane->owner);

	*out = NULL;
	if (!x)
		return -ENOMEM;
	if (x->lane != lane) {
		x->lane = lane;
		curl_loop_adopt(lane->http, x->easy);
	}
	x->callbacks = callbacks;
	x->arg = arg;
	x->how = how;
	x->size = x->head = 0;
	x->error = 0;
	x->refused = false;
	x->reason = NULL;
	*x->message = '\0';
	*out = x;
	/* A connection that is used only once is not kept: it would push out a kept one. */
	curl_easy_setopt(x->easy, CURLOPT_FRESH_CONNECT, fresh);
	curl_easy_setopt(x->easy, CURLOPT_FORBID_REUSE, fresh);
	if (fetch_set_access(x, access) && !curl_easy_setopt(x->easy, CURLOPT_URL, url) &&
	    !curl_easy_setopt(x->easy, CURLOPT_TIMEOUT_MS, timeout ? timeout : 1) &&
	    !curl_loop_start(lane->http, x->easy))
		return 0;
	*out = NULL;
	put_fetch(x);
	return -ENOMEM;
}

void fetch_cancel(struct fetch *x)
{
	assert(x->callbacks);
	x->callbacks = NULL;
	/* From within a callback of libcurl the transfer cannot be removed. fetch_on_body() or
	 * on_connected() then ends it, because `callbacks` is NULL. */
	if (curl_loop_stop(x->lane->http, x->easy))
		put_fetch(x);
}

/* -- lanes, and the fetcher ------------------------------------------------------- */

static struct fetch_lane *new_lane(struct fetcher *f)
{
	_cleanup_free_ struct fetch_lane *lane = calloc(1, sizeof(*lane));

	if (!lane || curl_loop_new(f->loop, f->netns_fd, fetch_on_end, NULL, &lane->http))
		return NULL;
	lane->owner = f;
	SLIST_INSERT_HEAD(&f->lanes, lane, all);
	return TAKE_PTR(lane);
}

static void count_seats(struct fetch_lane *lane, int change)
{
	lane->seats += (unsigned int)change;
	assert(lane->seats <= LANE_SEATS);
	curl_loop_keep(lane->http, lane->seats + LANE_SPARES);
}

struct fetch_lane *fetcher_join(struct fetcher *f)
{
	struct fetch_lane *lane;

	lane = SLIST_FIRST(&f->lanes);
	while (lane && lane->seats >= LANE_SEATS)
		lane = SLIST_NEXT(lane, all);
	if (!lane)
		lane = new_lane(f);
	if (lane)
		count_seats(lane, 1);
	return lane;
}

void fetcher_leave(struct fetch_lane *lane)
{
	count_seats(lane, -1);
}

int fetcher_new(uv_loop_t *loop, int netns_fd, struct fetcher **out)
{
	_cleanup_free_ struct fetcher *f = calloc(1, sizeof(*f));

	if (!f)
		return log_err_r(ENOMEM, "no memory for the HTTP client");
	f->loop = loop;
	f->netns_fd = netns_fd;
	/* No User-Agent, nor any other header that one-shot may overwrite: where one-shot sees
	 * scrapes, too, it must leave their connections open. */
	f->headers = curl_slist_append(NULL, "Accept: text/plain;version=0.0.4");
	f->post_headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (!f->headers || !f->post_headers) {
		curl_slist_free_all(f->headers);
		curl_slist_free_all(f->post_headers);
		return log_err_r(ENOMEM, "no memory for the HTTP client");
	}
	if (!new_lane(f)) {
		curl_slist_free_all(f->headers);
		curl_slist_free_all(f->post_headers);
		return -ENOMEM;
	}
	*out = TAKE_PTR(f);
	return 0;
}

void fetcher_free(struct fetcher *f)
{
	struct fetch_lane *lane;

	if (!f)
		return;
	while (!LIST_EMPTY(&f->all))
		free_fetch(LIST_FIRST(&f->all));
	while ((lane = SLIST_FIRST(&f->lanes))) {
		SLIST_REMOVE_HEAD(&f->lanes, all);
		curl_loop_free(lane->http);
		free(lane);
	}
	curl_slist_free_all(f->headers);
	curl_slist_free_all(f->post_headers);
	free(f);
}

uint64_t fetcher_connects(const struct fetcher *f)
{
	const struct fetch_lane *lane;
	uint64_t n = 0;

	for (lane = SLIST_FIRST(&f->lanes); lane; lane = SLIST_NEXT(lane, all))
		n += curl_loop_connects(lane->http);
	return n;
}

static void free_url(CURLU **u)
{
	curl_url_cleanup(*u);
}

static void free_curl(char **text)
{
	curl_free(*text);
}

#define _cleanup_url_  _cleanup_(free_url)
#define _cleanup_curl_ _cleanup_(free_curl)

/* Removes what may be secret: user, password, and a query, which may hold a token. */
static int show_url(CURLU *u, char **shown)
{
	_cleanup_curl_ char *query = NULL, *text = NULL;

	if (!curl_url_get(u, CURLUPART_QUERY, &query, 0) &&
	    curl_url_set(u, CURLUPART_QUERY, "...", 0))
		return -ENOMEM;
	if (curl_url_set(u, CURLUPART_USER, NULL, 0) ||
	    curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) ||
	    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) ||
	    curl_url_get(u, CURLUPART_URL, &text, 0) || !(*shown = strdup(text)))
		return -ENOMEM;
	text_make_printable(*shown, '?');
	return 0;
}

int fetch_check_url(const char *url, char **shown)
{
	_cleanup_url_ CURLU *u = curl_url();
	_cleanup_curl_ char *scheme = NULL;

	if (!u)
		return -ENOMEM;
	if (curl_url_set(u, CURLUPART_URL, url, 0) ||
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
	    (strcmp(scheme, "http") && strcmp(scheme, "https")))
		return -EINVAL;
	return shown ? show_url(u, shown) : 0;
}

int fetch_name_server(const char *url, const char *name, char **named, char **connect_to)
{
	_cleanup_url_ CURLU *u = curl_url();
	_cleanup_curl_ char *host = NULL, *port = NULL, *text = NULL;
	_cleanup_free_ char *to = NULL, *copy = NULL;

	if (!u)
		return -ENOMEM;
	if (curl_url_set(u, CURLUPART_URL, url, 0) || curl_url_get(u, CURLUPART_HOST, &host, 0) ||
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) ||
	    curl_url_set(u, CURLUPART_HOST, name, 0) || curl_url_get(u, CURLUPART_URL, &text, 0))
		return -EINVAL;
	if (asprintf(&to, "::%s:%s", host, port) < 0) {
		to = NULL;
		return -ENOMEM;
	}
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	*named = TAKE_PTR(copy);
	*connect_to = TAKE_PTR(to);
	return 0;
}
