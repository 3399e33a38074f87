// SPDX-License-Identifier: Apache-2.0
#include "scrape.h"

#include <ctype.h>
#include <sys/random.h>

#include "../common/log.h"
#include "../common/util.h"
#include "curl_loop.h"

/*
 * A transfer is what a request in flight needs: libcurl's handle with its buffers, and the page.
 * Targets borrow one for the time of a request. 1,000 targets have a dozen requests in flight,
 * and a transfer takes a hundred times the memory of a target.
 */
#define IDLE_TRANSFERS 8
#define PAGE_START     (64U << 10)  /* first room for a page: a vLLM page fits */
#define PAGE_KEEP      (256U << 10) /* a larger buffer is not kept for the next page */
#define PAGES_TOTAL                                                                                \
	(64U << 20) /* of all transfers: many huge pages at once must not be the end               \
		     */
#define RECEIVE_BUFFER (64L << 10)

#define IDLE_CONNECTIONS 16 /* kept beyond one for each target */
#define MIN_TIME_NS      NSEC_PER_MSEC
#define MAX_TIMEOUT_MS   86400000ULL /* libcurl's limit is an int */
#define SAY_AGAIN_NS     (60 * NSEC_PER_SEC)
/* The first scrapes of many targets are spread, so that their pages are not all here at once. */
#define FIRST_DELAY_NS      (10 * NSEC_PER_MSEC)
#define FIRST_DELAY_EACH_NS (NSEC_PER_MSEC / 4)

struct transfer {
	struct scraper *scraper;
	struct scrape_target *target; /* NULL: nobody waits for it any more */
	CURL *easy;
	struct transfer *next_idle;
	struct transfer *prev, *next; /* in scraper->transfers */
	char *page;
	size_t size, room;
	size_t head;        /* bytes of headers so far */
	int error;          /* why we broke it off ourselves, -errno */
	const char *reason; /* the same in words */
	char message[CURL_ERROR_SIZE];
};

struct urls {
	char *url[2];   /* [1]: the fallback, or NULL */
	char *shown[2]; /* for logs: without user and password, printable */
};

struct scrape_target {
	struct scraper *scraper;
	struct scrape_target *prev, *next;
	uv_timer_t timer; /* until the next scrape */
	struct urls urls;
	char *label;
	uint64_t interval_ns, timeout_ns;
	const struct scrape_callbacks *callbacks;
	void *arg;

	struct transfer *transfer; /* while a request is in flight */
	uint64_t started_ns, due_ns;
	unsigned int current; /* index of the URL that is tried first */
	unsigned int failures;
	bool tried_other; /* in this scrape */
	bool in_done;
	bool again;    /* asked for while busy: scrape once more right after */
	bool afresh;   /* the URL changed in done(): its result is of the past */
	bool loopback; /* the newest connection was to a loopback address */
	bool removed;
	bool said; /* that it fails, and not yet that it works again */
	uint64_t said_ns;
};

struct scraper {
	uv_loop_t *loop;
	struct curl_loop *http;
	struct curl_slist *headers;
	struct scrape_target *targets;
	struct transfer *transfers, *idle;
	unsigned int idle_count;
	size_t pages; /* bytes of room of all transfers */
	unsigned short random[3];
	struct scrape_stats stats;
};

static void end_scrape(struct scrape_target *t, int error, const char *reason, bool cheap,
		       const char *page, size_t size);

/* -- transfers -------------------------------------------------------------------- */

static bool set_page_room(struct transfer *tr, size_t room)
{
	struct scraper *s = tr->scraper;
	char *p;

	if (s->pages - tr->room + room > PAGES_TOTAL)
		return false;
	p = realloc(tr->page, room);
	if (!p)
		return false;
	s->pages += room - tr->room;
	tr->page = p;
	tr->room = room;
	return true;
}

static bool make_page_room(struct transfer *tr, size_t need)
{
	size_t room = MAX(tr->room, (size_t)PAGE_START);

	while (room < need)
		room *= 2;
	return room == tr->room || set_page_room(tr, room);
}

static void drop_page(struct transfer *tr)
{
	free(TAKE_PTR(tr->page));
	tr->scraper->pages -= tr->room;
	tr->room = 0;
}

/* For libcurl's callbacks: ends the transfer, saying why. */
static void break_off(struct transfer *tr, int error, const char *reason)
{
	tr->error = error;
	tr->reason = reason;
}

static long status_of(const struct transfer *tr)
{
	long status = 0;

	curl_easy_getinfo(tr->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

static size_t on_body(char *data, size_t one, size_t size, void *arg)
{
	struct transfer *tr = arg;
	size_t need = tr->size + size * one;

	size *= one;
	if (!tr->target)
		return 0;
	if (need > SCRAPE_MAX_PAGE) {
		break_off(tr, -EFBIG, "the page is larger than 4 MiB");
		return 0;
	}
	if (!tr->size && status_of(tr) != 200)
		return size; /* the text of an error: of no interest, but the connection lives on */
	if (!make_page_room(tr, need)) {
		break_off(tr, -ENOBUFS, "no memory for the page");
		return 0;
	}
	memcpy(tr->page + tr->size, data, size);
	tr->size = need;
	return size;
}

static size_t on_head(char *data, size_t one, size_t size, void *arg)
{
	struct transfer *tr = arg;

	(void)data;
	tr->head += size * one;
	if (tr->head <= SCRAPE_MAX_HEAD)
		return size * one;
	break_off(tr, -EFBIG, "the headers are larger than 64 KiB");
	return 0;
}

static int on_connected(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct transfer *tr = arg;
	struct scrape_target *t = tr->target;

	(void)ip;
	(void)local_ip;
	(void)port;
	(void)local_port;
	if (!t)
		return CURL_PREREQFUNC_ABORT;
	/* A request that is sent again begins again. */
	tr->size = tr->head = 0;
	if (t->callbacks->begin)
		t->callbacks->begin(t->arg);
	return tr->target ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static void set_options(struct transfer *tr)
{
	CURL *e = tr->easy;

	curl_easy_setopt(e, CURLOPT_PRIVATE, tr);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, tr->message);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, tr->scraper->headers);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "pintled/" PINTLE_VERSION);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_PROXY, "");
	curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
	curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)SCRAPE_MAX_PAGE);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, tr);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_head);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, tr);
	curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_connected);
	curl_easy_setopt(e, CURLOPT_PREREQDATA, tr);
	curl_loop_adopt(tr->scraper->http, e);
}

static struct transfer *new_transfer(struct scraper *s)
{
	_cleanup_free_ struct transfer *tr = calloc(1, sizeof(*tr));

	if (!tr)
		return NULL;
	tr->easy = curl_easy_init();
	if (!tr->easy)
		return NULL;
	tr->scraper = s;
	tr->next = s->transfers;
	if (tr->next)
		tr->next->prev = tr;
	s->transfers = tr;
	set_options(tr);
	return TAKE_PTR(tr);
}

static struct transfer *get_transfer(struct scraper *s)
{
	struct transfer *tr = s->idle;

	if (!tr)
		return new_transfer(s);
	s->idle = tr->next_idle;
	s->idle_count--;
	return tr;
}

static void free_transfer(struct transfer *tr)
{
	*(tr->prev ? &tr->prev->next : &tr->scraper->transfers) = tr->next;
	if (tr->next)
		tr->next->prev = tr->prev;
	curl_easy_cleanup(tr->easy);
	drop_page(tr);
	free(tr);
}

/* The transfer has ended or was stopped: it waits for the next request. */
static void put_transfer(struct transfer *tr)
{
	struct scraper *s = tr->scraper;

	tr->target = NULL;
	if (s->idle_count >= IDLE_TRANSFERS) {
		free_transfer(tr);
		return;
	}
	if (tr->room > PAGE_KEEP)
		drop_page(tr);
	tr->next_idle = s->idle;
	s->idle = tr;
	s->idle_count++;
}

/* Nobody waits for the request any more. Where libcurl is on the stack it goes on without
 * a target, and ends at its next step. */
static void abandon(struct scrape_target *t)
{
	struct transfer *tr = TAKE_PTR(t->transfer);

	if (!tr)
		return;
	tr->target = NULL;
	t->scraper->stats.in_flight--;
	if (curl_loop_stop(t->scraper->http, tr->easy))
		put_transfer(tr);
}

/* -- what a result means ---------------------------------------------------------- */

static const struct {
	CURLcode code;
	int error;
	const char *reason; /* NULL: libcurl's own words */
} results[] = {
	{CURLE_OPERATION_TIMEDOUT, ETIMEDOUT, "no complete answer within the timeout"},
	{CURLE_PARTIAL_FILE, ECONNRESET, "the page was cut short"},
	{CURLE_GOT_NOTHING, ECONNRESET, "the server closed without an answer"},
	{CURLE_RECV_ERROR, ECONNRESET, NULL},
	{CURLE_SEND_ERROR, ECONNRESET, NULL},
	{CURLE_COULDNT_CONNECT, ECONNREFUSED, NULL},
	{CURLE_COULDNT_RESOLVE_HOST, EHOSTUNREACH, NULL},
	{CURLE_FILESIZE_EXCEEDED, EFBIG, "the page is larger than 4 MiB"},
	{CURLE_OUT_OF_MEMORY, ENOMEM, NULL},
};

static void make_printable(char *text)
{
	for (; *text; text++)
		if (!isprint((unsigned char)*text))
			*text = '?';
}

/* The error of a transfer that did not bring a page, and its reason in words. */
static int explain(struct transfer *tr, CURLcode code, char *reason, size_t size)
{
	const char *words = tr->reason;
	int error = tr->error ? -tr->error : EPROTO;
	long os_error = 0;

	for (size_t i = 0; !tr->error && i < ARRAY_SIZE(results); i++) {
		if (results[i].code != code)
			continue;
		error = results[i].error;
		words = results[i].reason;
		curl_easy_getinfo(tr->easy, CURLINFO_OS_ERRNO, &os_error);
		if (!words && os_error > 0) {
			error = (int)os_error;
			words = strerror(error);
		}
	}
	if (!words)
		words = *tr->message ? tr->message : curl_easy_strerror(code);
	snprintf(reason, size, "%s", words);
	make_printable(reason);
	return -error;
}

/* -- when the next scrape is ------------------------------------------------------ */

static void on_due(uv_timer_t *timer);

static void schedule(struct scrape_target *t, uint64_t delay_ns)
{
	t->due_ns = monotonic_ns() + delay_ns;
	uv_timer_start(&t->timer, on_due, (delay_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC, 0);
}

/* `ns`, times something between `from` and `to`. */
static uint64_t jitter(struct scraper *s, uint64_t ns, double from, double to)
{
	return (uint64_t)((double)ns * (from + (to - from) * erand48(s->random)));
}

static uint64_t first_delay(struct scrape_target *t)
{
	uint64_t most = FIRST_DELAY_NS + t->scraper->stats.targets * FIRST_DELAY_EACH_NS;

	return jitter(t->scraper, MIN(most, t->interval_ns), 0, 1);
}

static void schedule_regular(struct scrape_target *t)
{
	uint64_t due = t->started_ns + jitter(t->scraper, t->interval_ns, 0.9, 1.1);
	uint64_t now = monotonic_ns();

	/* Where an answer takes longer than the interval, the server still gets a rest. */
	schedule(t, MAX(due > now ? due - now : 0, t->interval_ns / 10));
}

static void schedule_retry(struct scrape_target *t, bool cheap)
{
	uint64_t most = cheap || t->loopback ? SCRAPE_RETRY_SOON_NS : SCRAPE_RETRY_MAX_NS;
	uint64_t wait = t->interval_ns;

	most = MAX(most, t->interval_ns);
	for (unsigned int i = 1; i < t->failures && wait < most; i++)
		wait *= 2;
	schedule(t, jitter(t->scraper, MIN(wait, most), 0.8, 1));
}

/* -- a scrape --------------------------------------------------------------------- */

static void say_failure(struct scrape_target *t, const char *reason)
{
	uint64_t now = monotonic_ns();
	const char *url = t->urls.shown[t->current];

	if (t->said || (t->said_ns && now - t->said_ns < SAY_AGAIN_NS)) {
		log_debug("scrape of %s at %s failed: %s", t->label, url, reason);
		return;
	}
	t->said = true;
	t->said_ns = now;
	log_warn("scrape of %s at %s failed: %s; trying again, next messages suppressed", t->label,
		 url, reason);
}

static void say_recovery(struct scrape_target *t)
{
	if (t->said)
		log_info("scrape of %s at %s works again after %u failures", t->label,
			 t->urls.shown[t->current], t->failures);
	t->said = false;
}

static void launch(struct scrape_target *t)
{
	struct scraper *s = t->scraper;
	uint64_t spent = monotonic_ns() - t->started_ns;
	uint64_t left_ms = t->timeout_ns > spent ? (t->timeout_ns - spent) / NSEC_PER_MSEC : 0;
	struct transfer *tr = get_transfer(s);

	if (!tr)
		goto no_memory;
	tr->target = t;
	tr->size = tr->head = 0;
	tr->error = 0;
	tr->reason = NULL;
	*tr->message = '\0';
	t->transfer = tr;
	s->stats.in_flight++;
	s->stats.started++;
	if (!curl_easy_setopt(tr->easy, CURLOPT_URL, t->urls.url[t->current]) &&
	    !curl_easy_setopt(tr->easy, CURLOPT_TIMEOUT_MS,
			      (long)MIN(left_ms + 1, MAX_TIMEOUT_MS)) &&
	    !curl_loop_start(s->http, tr->easy))
		return;
	t->transfer = NULL;
	s->stats.in_flight--;
	put_transfer(tr);
no_memory:
	end_scrape(t, -ENOMEM, "no memory for a request", false, NULL, 0);
}

static void on_due(uv_timer_t *timer)
{
	struct scrape_target *t = timer->data;

	t->started_ns = monotonic_ns();
	t->tried_other = t->again = false;
	launch(t);
}

static bool is_loopback(const char *ip)
{
	return !strncmp(ip, "127.", 4) || !strncmp(ip, "::ffff:127.", 11) || !strcmp(ip, "::1");
}

static void note_address(struct scrape_target *t, CURL *easy)
{
	char *ip = NULL;

	if (!curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &ip) && ip && *ip)
		t->loopback = is_loopback(ip);
}

/* No connection came about: whether the other URL is being tried now. */
static bool try_other(struct scrape_target *t)
{
	if (!t->urls.url[1] || t->tried_other)
		return false;
	t->tried_other = true;
	t->current ^= 1;
	launch(t);
	return true;
}

static void end_scrape(struct scrape_target *t, int error, const char *reason, bool cheap,
		       const char *page, size_t size)
{
	const char *bad;

	t->in_done = true;
	bad = t->callbacks->done(t->arg, error, page, size);
	t->in_done = false;
	if (t->removed)
		return;
	if (t->afresh) {
		t->afresh = false;
		schedule(t, 0);
		return;
	}
	if (!error && !bad) {
		say_recovery(t);
		t->failures = 0;
		t->scraper->stats.bytes += size;
		schedule_regular(t);
	} else {
		t->failures += t->failures < UINT32_MAX;
		t->scraper->stats.failed++;
		say_failure(t, error ? reason : bad);
		schedule_retry(t, cheap);
	}
	if (t->again)
		schedule(t, 0);
}

static void on_transfer_end(CURL *easy, CURLcode code, void *arg)
{
	struct scrape_target *t;
	struct transfer *tr = NULL;
	char reason[CURL_ERROR_SIZE];
	long status;
	int error = 0;

	(void)arg;
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&tr);
	t = tr->target;
	if (!t) {
		put_transfer(tr);
		return;
	}
	status = status_of(tr);
	t->transfer = NULL;
	t->scraper->stats.in_flight--;
	note_address(t, easy);
	if (code == CURLE_COULDNT_CONNECT && try_other(t)) {
		put_transfer(tr);
		return;
	}
	if (code) {
		error = explain(tr, code, reason, sizeof(reason));
	} else if (status != 200) {
		error = -EPROTO;
		snprintf(reason, sizeof(reason), "HTTP status %ld", status);
	}
	end_scrape(t, error, reason, code == CURLE_COULDNT_CONNECT || (!code && status != 200),
		   error      ? NULL
		   : tr->page ? tr->page
			      : "",
		   tr->size);
	put_transfer(tr);
}

/* -- targets ---------------------------------------------------------------------- */

static void free_urls(struct urls *u)
{
	for (int i = 0; i < 2; i++) {
		free(u->url[i]);
		curl_free(u->shown[i]);
	}
}

/* Returns 0 and *shown (curl_free() frees it), or -EINVAL for what is no http(s) URL. */
static int check_url(const char *url, char **shown)
{
	CURLU *u = curl_url();
	char *scheme = NULL;
	int r = -EINVAL;

	if (!u)
		return -ENOMEM;
	if (!curl_url_set(u, CURLUPART_URL, url, 0) &&
	    !curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) &&
	    (!strcmp(scheme, "http") || !strcmp(scheme, "https")) &&
	    !curl_url_set(u, CURLUPART_USER, NULL, 0) &&
	    !curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) &&
	    !curl_url_get(u, CURLUPART_URL, shown, 0)) {
		make_printable(*shown);
		r = 0;
	}
	curl_free(scheme);
	curl_url_cleanup(u);
	return r;
}

static int copy_urls(const struct scrape_options *o, struct urls *out)
{
	const char *given[2] = {o->url, o->fallback_url};
	struct urls u = {0};
	int r = 0;

	for (int i = 0; i < 2 && given[i] && !r; i++) {
		r = check_url(given[i], &u.shown[i]);
		if (!r && !(u.url[i] = strdup(given[i])))
			r = -ENOMEM;
	}
	if (r)
		free_urls(&u);
	else
		*out = u;
	return r;
}

static int check_options(const struct scrape_options *o)
{
	return o->url && o->label && o->interval_ns >= MIN_TIME_NS && o->timeout_ns >= MIN_TIME_NS
		       ? 0
		       : -EINVAL;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static void free_target(uv_handle_t *h)
{
	struct scrape_target *t = h->data;

	free_urls(&t->urls);
	free(t->label);
	free(t);
}

static void count_targets(struct scraper *s, int change)
{
	s->stats.targets += (unsigned int)change;
	curl_loop_keep(s->http, s->stats.targets + IDLE_CONNECTIONS);
}

int scraper_add(struct scraper *s, const struct scrape_options *o,
		const struct scrape_callbacks *callbacks, void *arg, struct scrape_target **out)
{
	struct scrape_target *t;
	int r = check_options(o);

	if (r)
		return r;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->label = strdup(o->label);
	r = t->label ? copy_urls(o, &t->urls) : -ENOMEM;
	if (r) {
		free(t->label);
		free(t);
		return r;
	}
	t->scraper = s;
	t->interval_ns = o->interval_ns;
	t->timeout_ns = o->timeout_ns;
	t->callbacks = callbacks;
	t->arg = arg;
	uv_timer_init(s->loop, &t->timer);
	t->timer.data = t;
	t->next = s->targets;
	if (t->next)
		t->next->prev = t;
	s->targets = t;
	count_targets(s, 1);
	schedule(t, first_delay(t));
	*out = t;
	return 0;
}

void scraper_remove(struct scrape_target *t)
{
	if (!t || t->removed)
		return;
	t->removed = true;
	*(t->prev ? &t->prev->next : &t->scraper->targets) = t->next;
	if (t->next)
		t->next->prev = t->prev;
	count_targets(t->scraper, -1);
	abandon(t);
	uv_close((uv_handle_t *)&t->timer, free_target);
}

static void start_afresh(struct scrape_target *t)
{
	abandon(t);
	t->current = 0;
	t->failures = 0;
	t->said = false;
	t->said_ns = 0;
	t->loopback = false;
	t->afresh = t->in_done;
	if (!t->in_done)
		schedule(t, 0);
}

int scraper_set_options(struct scrape_target *t, const struct scrape_options *o)
{
	_cleanup_free_ char *label = NULL;
	struct urls urls;
	bool other;
	uint64_t now;
	int r = check_options(o);

	if (r)
		return r;
	label = strdup(o->label);
	if (!label)
		return -ENOMEM;
	r = copy_urls(o, &urls);
	if (r)
		return r;
	other = !same_text(urls.url[0], t->urls.url[0]) || !same_text(urls.url[1], t->urls.url[1]);
	free_urls(&t->urls);
	t->urls = urls;
	free(t->label);
	t->label = TAKE_PTR(label);
	t->interval_ns = o->interval_ns;
	t->timeout_ns = o->timeout_ns;
	if (other) {
		start_afresh(t);
		return 0;
	}
	now = monotonic_ns();
	if (!t->transfer && !t->in_done && t->due_ns > now + t->interval_ns)
		schedule_regular(t);
	return 0;
}

void scraper_kick(struct scrape_target *t)
{
	if (t->removed)
		return;
	if (t->transfer || t->in_done)
		t->again = true;
	else
		schedule(t, 0);
}

unsigned int scraper_failures(const struct scrape_target *t)
{
	return t->failures;
}

/* -- the scraper ------------------------------------------------------------------ */

int scraper_new(uv_loop_t *loop, int netns_fd, struct scraper **out)
{
	_cleanup_free_ struct scraper *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return log_err_r(ENOMEM, "no memory for the scraper");
	r = curl_loop_new(loop, netns_fd, on_transfer_end, s, &s->http);
	if (r)
		return r;
	s->headers = curl_slist_append(NULL, "Accept: text/plain;version=0.0.4");
	if (!s->headers) {
		curl_loop_free(s->http);
		return log_err_r(ENOMEM, "no memory for the scraper");
	}
	s->loop = loop;
	if (getrandom(s->random, sizeof(s->random), GRND_NONBLOCK) < 0)
		s->random[0] = (unsigned short)monotonic_ns();
	*out = TAKE_PTR(s);
	return 0;
}

void scraper_free(struct scraper *s)
{
	if (!s)
		return;
	while (s->targets)
		scraper_remove(s->targets);
	while (s->transfers) {
		struct transfer *tr = s->transfers;

		free_transfer(tr);
	}
	curl_loop_free(s->http);
	curl_slist_free_all(s->headers);
	free(s);
}

void scraper_stats(const struct scraper *s, struct scrape_stats *out)
{
	*out = s->stats;
	out->connects = curl_loop_connects(s->http);
}
