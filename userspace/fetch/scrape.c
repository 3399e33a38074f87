// SPDX-License-Identifier: Apache-2.0
#include "scrape.h"

#include <assert.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "../base/log.h"
#include "../base/util.h"
#include "fetch.h"
#include "secret.h"

#define MIN_TIME_NS  NSEC_PER_MSEC
#define SAY_AGAIN_NS (60 * NSEC_PER_SEC)

/* Spreads the first scrapes of many targets. */
#define FIRST_DELAY_NS      (10 * NSEC_PER_MSEC)
#define FIRST_DELAY_EACH_NS (NSEC_PER_MSEC / 4)
/* Scrapes of all targets start at common ticks, to share wake-ups; except where the interval is so
 * short that 10 ms would matter. */
#define TICK_MS                10
#define TICKS_FROM_INTERVAL_NS (100 * NSEC_PER_MSEC)
/*
 * At most so many young requests at once: otherwise, after a stall, the pages of 1,000 targets that
 * are all due would be in memory together. An older request is waiting for its server and no longer
 * counts, so that servers which hang do not hold up the others.
 */
#define YOUNG_MAX 16
#define YOUNG_NS  (50 * NSEC_PER_MSEC)

/* What is requested, and how. [1] is of the fallback URL; NULL: none. */
struct source {
	char *url[2];
	char *shown[2]; /* for logs */
	char *connect_to[2];
	struct secret *credentials;
	char *ca_file, *cert_file, *key_file, *post;
	bool open; /* no access is given: neither credentials nor certificates nor name */
};

/* When the next scrape follows, in intervals. Targets that stand for each other have no time in
 * common, even where it is rounded up to a tick. */
struct turn {
	double from, to;
};

static const struct turn turn_alone = {0.9, 1.1}, turn_first = {0.95, 1}, turn_second = {1.07, 1.1};

struct scrape_target {
	struct scraper *scraper;
	LIST_ENTRY(scrape_target) all;
	TAILQ_ENTRY(scrape_target) due, young;
	uv_timer_t timer; /* runs until the next scrape */
	struct source source;
	char *label;
	uint64_t interval_ns, timeout_ns;
	uint64_t rest_ns; /* in place of interval_ns, if longer, until a scrape fails; 0: none */
	unsigned int expect, status; /* of a health check; of the newest answer */
	uint64_t retry_ns;
	bool probe;
	const struct scrape_callbacks *callbacks;
	void *arg;

	struct scrape_target *pair; /* of the same page; or NULL */
	const struct turn *turn;    /* of the next scrape */
	struct fetch_lane *lane;
	struct fetch *fetch; /* in flight */
	uint64_t started_ns, due_ns, said_ns;
	unsigned int current; /* index of the URL that is tried first */
	unsigned int failures;
	int turned_away; /* of the newest scrape, as in struct fetch_result, and the next one */
	bool unframed;
	bool is_due;      /* in one of scraper->due */
	bool is_young;    /* in scraper->young */
	bool tried_other; /* in this scrape */
	bool in_done;
	bool again;      /* kicked while busy: scrape once more right after */
	bool rests_anew; /* no scrape has been scheduled by rest_ns yet */
	bool afresh;     /* its options changed in done(): ignore this result */
	bool loopback;   /* the newest connection was to a loopback address */
	bool removed;
	bool said;   /* a failure was logged, and no recovery since */
	bool worked; /* the newest scrape was good */
};

TAILQ_HEAD(target_queue, scrape_target);

struct scraper {
	uv_loop_t *loop;
	struct fetcher *fetcher;
	LIST_HEAD(, scrape_target) targets;
	struct secrets secrets;
	/* Waiting until a young request ends, or is no longer young: pages and probes, then checks.
	 * Checks that are more than the machine can make leave no score without a page. */
	struct target_queue due[2];
	struct target_queue young; /* the oldest first */
	unsigned int young_count;
	uv_timer_t aging; /* runs while a target is in `due` */
	unsigned short random[3];
	struct scrape_stats stats;
};

/* -- when the next scrape is ------------------------------------------------------ */

static void on_due(uv_timer_t *timer);

static void schedule(struct scrape_target *t, uint64_t delay_ns)
{
	uint64_t now = uv_now(t->scraper->loop);
	uint64_t at = now + (delay_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;

	if (delay_ns && t->interval_ns >= TICKS_FROM_INTERVAL_NS)
		at = (at + TICK_MS - 1) / TICK_MS * TICK_MS;
	t->due_ns = monotonic_ns() + delay_ns;
	uv_timer_start(&t->timer, on_due, at - now, 0);
}

/* `ns` times a random number between `from` and `to`. */
static uint64_t scrape_jitter(struct scraper *s, uint64_t ns, double from, double to)
{
	return (uint64_t)((double)ns * (from + (to - from) * erand48(s->random)));
}

static void schedule_first(struct scrape_target *t)
{
	uint64_t most = FIRST_DELAY_NS + t->scraper->stats.targets * FIRST_DELAY_EACH_NS;

	schedule(t, scrape_jitter(t->scraper, MIN(most, t->interval_ns), 0, 1));
}

static uint64_t interval_of(const struct scrape_target *t)
{
	return MAX(t->interval_ns, t->rest_ns);
}

/* The first rest ends at a random time: whatever makes many targets rest at once, on many nodes
 * perhaps, they are not scraped at once. */
static void schedule_regular(struct scrape_target *t)
{
	uint64_t due =
		t->started_ns + (t->rests_anew ? scrape_jitter(t->scraper, interval_of(t), 0, 1)
					       : scrape_jitter(t->scraper, interval_of(t),
							       t->turn->from, t->turn->to));
	uint64_t now = monotonic_ns();

	t->rests_anew = false;
	/* Where an answer takes longer than the interval, the server still gets a pause. */
	schedule(t, MAX(due > now ? due - now : 0, t->interval_ns / 10));
}

static void schedule_retry(struct scrape_target *t, bool soon)
{
	uint64_t most = MAX(soon ? SCRAPE_RETRY_SOON_NS : SCRAPE_RETRY_MAX_NS, t->interval_ns);
	uint64_t wait = t->interval_ns;

	for (unsigned int i = 1; i < t->failures && wait < most; i++)
		wait *= 2;
	schedule(t, scrape_jitter(t->scraper, MIN(wait, most), 0.8, 1));
}

/* -- what is said about it -------------------------------------------------------- */

static const char *target_kind(const struct scrape_target *t)
{
	return t->probe ? "probe" : t->expect ? "health check" : "scrape";
}

static void say_failure(struct scrape_target *t, const char *reason)
{
	const char *url = t->source.shown[t->current];
	uint64_t now = monotonic_ns();

	if (t->said || (t->pair && t->pair->said) ||
	    (t->said_ns && now - t->said_ns < SAY_AGAIN_NS)) {
		log_debug("%s of %s at %s failed: %s", target_kind(t), t->label, url, reason);
		return;
	}
	t->said = true;
	t->said_ns = now;
	log_warn("%s of %s at %s failed: %s; trying again, next messages suppressed",
		 target_kind(t), t->label, url, reason);
}

static void say_recovery(struct scrape_target *t)
{
	if (t->said)
		log_info("%s of %s at %s works again after %u failure%s", target_kind(t), t->label,
			 t->source.shown[t->current], t->failures, plural(t->failures));
	t->said = false;
}

/* -- a scrape --------------------------------------------------------------------- */

static void start_due(struct scraper *s);

static void leave_young(struct scrape_target *t)
{
	if (!t->is_young)
		return;
	assert(t->scraper->young_count > 0);
	TAILQ_REMOVE(&t->scraper->young, t, young);
	t->scraper->young_count--;
	t->is_young = false;
}

static struct target_queue *queue_of(const struct scrape_target *t)
{
	return &t->scraper->due[t->expect != 0];
}

static struct scrape_target *first_due(const struct scraper *s)
{
	struct scrape_target *t = TAILQ_FIRST(&s->due[0]);

	return t ? t : TAILQ_FIRST(&s->due[1]);
}

static void leave_due(struct scrape_target *t)
{
	if (t->is_due)
		TAILQ_REMOVE(queue_of(t), t, due);
	t->is_due = false;
}

/* Makes an answer with another status than the expected one a failure. */
static struct fetch_result judge_status(const struct scrape_target *t,
					const struct fetch_result *from, char reason[64])
{
	struct fetch_result r = *from;

	if (!t->expect || r.error || r.status == t->expect)
		return r;
	snprintf(reason, 64, "HTTP status %u instead of %u", r.status, t->expect);
	r.error = -EPROTO;
	r.reason = reason;
	r.answered = true;
	r.page = NULL;
	return r;
}

static void end_scrape(struct scrape_target *t, const struct fetch_result *result)
{
	char reason[64];
	struct fetch_result judged = judge_status(t, result, reason), *r = &judged;
	const char *bad;

	leave_young(t);
	t->turned_away = r->turned_away;
	t->unframed = r->unframed;
	t->status = r->status;
	t->retry_ns = r->retry_ns;
	t->turn = &turn_alone;
	t->in_done = true;
	bad = t->callbacks->done(t->arg, r->error, r->page, r->size);
	t->in_done = false;
	if (t->removed)
		return;
	t->worked = !t->afresh && !r->error && !bad;
	if (t->afresh) {
		schedule(t, 0);
	} else if (!t->worked) {
		t->failures += t->failures < UINT32_MAX;
		t->rest_ns = 0;
		t->scraper->stats.failed++;
		say_failure(t, r->error ? r->reason : bad);
		schedule_retry(t, r->no_connection || r->answered || t->loopback);
	} else {
		say_recovery(t);
		t->failures = 0;
		t->scraper->stats.bytes += r->size;
		schedule_regular(t);
	}
	if (t->again)
		schedule(t, 0);
	t->again = t->afresh = false;
}

static bool scrape_on_begin(void *arg, const struct fetch_connection *c)
{
	struct scrape_target *t = arg;

	return !t->callbacks->begin || t->callbacks->begin(t->arg, c);
}

static void scrape_on_end(void *arg, const struct fetch_result *r);

/* Returns 0, or -errno and *reason. */
static int start_fetch(struct scrape_target *t, bool fresh, uint64_t timeout_ms,
		       const char **reason)
{
	static const struct fetch_callbacks callbacks = {.begin = scrape_on_begin,
							 .end = scrape_on_end};
	const struct source *s = &t->source;
	struct fetch_access access = {
		.ca_file = s->ca_file,
		.cert_file = s->cert_file,
		.key_file = s->key_file,
		.connect_to = s->connect_to[t->current],
		.post = s->post,
	};
	enum fetch_how how = t->probe    ? FETCH_PROBE
			     : t->expect ? FETCH_CHECK
			     : fresh     ? FETCH_FRESH
					 : FETCH_KEPT;

	if (s->credentials && !(access.bearer = secret_text(s->credentials, reason)))
		return -EACCES;
	*reason = "out of memory";
	return fetch_start(t->lane, s->url[t->current], s->open ? NULL : &access, how, timeout_ms,
			   &callbacks, t, &t->fetch);
}

static void scrape_request(struct scrape_target *t)
{
	uint64_t spent = monotonic_ns() - t->started_ns;
	uint64_t left = t->timeout_ns > spent ? t->timeout_ns - spent : 0;
	bool fresh = t->callbacks->fresh && t->callbacks->fresh(t->arg);
	struct fetch_result failure = {0};

	if ((t->probe || t->source.post) && !fresh) {
		leave_young(t);
		schedule_regular(t);
		return;
	}
	t->scraper->stats.started++;
	t->scraper->stats.in_flight++;
	failure.error = start_fetch(t, fresh, left / NSEC_PER_MSEC, &failure.reason);
	if (failure.error) {
		t->scraper->stats.in_flight--;
		end_scrape(t, &failure);
	}
}

static void scrape_on_end(void *arg, const struct fetch_result *r)
{
	struct scrape_target *t = arg;
	struct scraper *s = t->scraper;

	assert(t->fetch && s->stats.in_flight > 0);
	t->fetch = NULL;
	s->stats.in_flight--;
	t->loopback = r->loopback;
	if (r->refused && !r->fresh) {
		scrape_request(t); /* the kept connection is closed: try a new one */
		return;
	}
	if ((r->no_connection || r->refused) && t->source.url[1] && !t->tried_other) {
		t->tried_other = true;
		t->current ^= 1;
		scrape_request(t);
		return;
	}
	end_scrape(t, r);
	start_due(s);
}

static void scrape_abandon(struct scrape_target *t)
{
	leave_due(t);
	leave_young(t);
	if (!t->fetch)
		return;
	fetch_cancel(TAKE_PTR(t->fetch));
	t->scraper->stats.in_flight--;
}

/* Whether a page of the other address is on its way, which may do for this: for a while it is
 * waited for. */
static bool waits_for_pair(const struct scrape_target *t)
{
	const struct scrape_target *other = t->pair;

	return t->worked && other && other->fetch && other->worked &&
	       monotonic_ns() - other->started_ns < t->interval_ns;
}

static void scrape_start(struct scrape_target *t)
{
	if (waits_for_pair(t)) {
		schedule(t, t->interval_ns / 10);
		return;
	}
	assert(!t->fetch && !t->is_young && !t->is_due && !t->removed);
	t->started_ns = monotonic_ns();
	t->tried_other = t->again = false;
	t->is_young = true;
	TAILQ_INSERT_TAIL(&t->scraper->young, t, young);
	t->scraper->young_count++;
	scrape_request(t);
}

static void on_aging(uv_timer_t *timer)
{
	start_due(timer->data);
}

static void start_due(struct scraper *s)
{
	uint64_t now = monotonic_ns();
	struct scrape_target *t;

	while ((t = TAILQ_FIRST(&s->young)) && now - t->started_ns >= YOUNG_NS)
		leave_young(t);
	while ((t = first_due(s)) && s->young_count < YOUNG_MAX) {
		leave_due(t);
		scrape_start(t);
	}
	if (first_due(s))
		uv_timer_start(&s->aging, on_aging, TICK_MS, 0);
}

static void on_due(uv_timer_t *timer)
{
	struct scrape_target *t = timer->data;

	t->is_due = true;
	TAILQ_INSERT_TAIL(queue_of(t), t, due);
	start_due(t->scraper);
}

/* -- targets ---------------------------------------------------------------------- */

static void free_source(struct source *s)
{
	for (int i = 0; i < 2; i++) {
		free(s->url[i]);
		free(s->shown[i]);
		free(s->connect_to[i]);
	}
	secret_put(s->credentials);
	free(s->ca_file);
	free(s->cert_file);
	free(s->key_file);
	free(s->post);
}

static int copy_url(const char *given, const char *server_name, struct source *s, int i)
{
	int r = fetch_check_url(given, &s->shown[i]);

	if (!r && server_name && !strncmp(given, "https:", 6))
		return fetch_name_server(given, server_name, &s->url[i], &s->connect_to[i]);
	if (!r && !(s->url[i] = strdup(given)))
		r = -ENOMEM;
	return r;
}

static int copy_text(const char *from, char **to)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

static int copy_source(struct scraper *scraper, const struct scrape_options *o, struct source *out)
{
	struct source s = {0};
	int r = copy_url(o->url, o->server_name, &s, 0);

	if (!r && o->fallback_url)
		r = copy_url(o->fallback_url, o->server_name, &s, 1);
	if (!r && o->credentials_file &&
	    !(s.credentials = secret_get(&scraper->secrets, o->credentials_file)))
		r = -ENOMEM;
	r = r ?: copy_text(o->ca_file, &s.ca_file);
	r = r ?: copy_text(o->cert_file, &s.cert_file);
	r = r ?: copy_text(o->key_file, &s.key_file);
	r = r ?: copy_text(o->post, &s.post);
	s.open = !s.credentials && !s.ca_file && !s.cert_file && !s.connect_to[0] && !s.post;
	if (r)
		free_source(&s);
	else
		*out = s;
	return r;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool same_source(const struct source *a, const struct source *b)
{
	return same_text(a->url[0], b->url[0]) && same_text(a->url[1], b->url[1]) &&
	       same_text(a->connect_to[0], b->connect_to[0]) && a->credentials == b->credentials &&
	       same_text(a->ca_file, b->ca_file) && same_text(a->cert_file, b->cert_file) &&
	       same_text(a->key_file, b->key_file) && same_text(a->post, b->post);
}

/* Replaces all options, or none. */
static int take_options(struct scraper *s, struct scrape_target *t, const struct scrape_options *o)
{
	struct source source;
	char *label;
	int r;

	if (!o->url || !o->label || o->interval_ns < MIN_TIME_NS || o->timeout_ns < MIN_TIME_NS)
		return -EINVAL;
	label = strdup(o->label);
	if (!label)
		return -ENOMEM;
	r = copy_source(s, o, &source);
	if (r) {
		free(label);
		return r;
	}
	free_source(&t->source);
	free(t->label);
	t->source = source;
	t->label = label;
	t->interval_ns = o->interval_ns;
	t->timeout_ns = o->timeout_ns;
	t->probe = o->probe;
	t->expect = o->expect;
	return 0;
}

static void free_strings(struct scrape_target *t)
{
	free_source(&t->source);
	free(t->label);
}

static void free_target(uv_handle_t *h)
{
	free_strings(h->data);
	free(h->data);
}

int scraper_add(struct scraper *s, const struct scrape_options *o,
		const struct scrape_callbacks *callbacks, void *arg, struct scrape_target **out)
{
	_cleanup_free_ struct scrape_target *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	r = take_options(s, t, o);
	if (r)
		return r;
	t->lane = fetcher_join(s->fetcher);
	if (!t->lane) {
		free_strings(t);
		return -ENOMEM;
	}
	t->scraper = s;
	t->turn = &turn_alone;
	t->callbacks = callbacks;
	t->arg = arg;
	uv_timer_init(s->loop, &t->timer);
	t->timer.data = t;
	LIST_INSERT_HEAD(&s->targets, t, all);
	s->stats.targets++;
	schedule_first(t);
	*out = TAKE_PTR(t);
	return 0;
}

void scraper_remove(struct scrape_target *t)
{
	if (!t || t->removed)
		return;
	t->removed = true;
	LIST_REMOVE(t, all);
	scraper_pair(t, NULL);
	scrape_abandon(t);
	/* The target is freed when its timer is closed, perhaps after the scraper, which owns the
	 * list of secrets. */
	secret_put(TAKE_PTR(t->source.credentials));
	fetcher_leave(t->lane);
	t->scraper->stats.targets--;
	uv_close((uv_handle_t *)&t->timer, free_target);
}

static void start_afresh(struct scrape_target *t)
{
	scrape_abandon(t);
	t->current = t->failures = 0;
	t->said = t->worked = false;
	t->said_ns = 0;
	if (t->in_done)
		t->afresh = true;
	else
		schedule(t, 0);
}

int scraper_set_options(struct scrape_target *t, const struct scrape_options *o)
{
	struct source before = t->source;
	int r;

	t->source = (struct source){0};
	r = take_options(t->scraper, t, o);
	if (r) {
		t->source = before;
		return r;
	}
	if (!same_source(&before, &t->source))
		start_afresh(t);
	else if (uv_is_active((uv_handle_t *)&t->timer) &&
		 t->due_ns > monotonic_ns() + interval_of(t))
		schedule_regular(t);
	free_source(&before);
	return 0;
}

void scraper_kick(struct scrape_target *t)
{
	if (t->removed || t->is_due)
		return;
	if (t->fetch || t->in_done)
		t->again = true;
	else
		schedule(t, 0);
}

void scraper_rest(struct scrape_target *t, uint64_t rest_ns)
{
	bool ends = t->rest_ns && !rest_ns;

	t->rests_anew = rest_ns && (t->rests_anew || !t->rest_ns);
	t->rest_ns = rest_ns;
	if (ends && !t->removed && !t->is_due && !t->fetch && !t->in_done)
		schedule_first(t);
}

static void part(struct scrape_target *t)
{
	if (t->pair)
		t->pair->pair = NULL;
	t->pair = NULL;
}

void scraper_pair(struct scrape_target *a, struct scrape_target *b)
{
	if (a->pair == b)
		return;
	part(a);
	if (!b)
		return;
	part(b);
	a->pair = b;
	b->pair = a;
}

struct scrape_target *scraper_other(const struct scrape_target *t)
{
	struct scrape_target *other = t->pair;

	return other && other->worked && !other->fetch && !other->in_done ? other : NULL;
}

void scraper_stand_for_other(struct scrape_target *t)
{
	struct scrape_target *other = scraper_other(t);

	if (!other)
		return;
	leave_due(other);
	other->started_ns = t->started_ns;
	other->turn = &turn_first;
	t->turn = &turn_second;
	schedule_regular(other);
}

unsigned int scraper_failures(const struct scrape_target *t)
{
	return t->failures;
}

unsigned int scraper_status(const struct scrape_target *t)
{
	return t->status;
}

uint64_t scraper_retry_ns(const struct scrape_target *t)
{
	return t->retry_ns;
}

int scraper_turned_away(const struct scrape_target *t)
{
	return t->turned_away;
}

bool scraper_unframed(const struct scrape_target *t)
{
	return t->unframed;
}

/* -- the scraper ------------------------------------------------------------------ */

int scraper_new(uv_loop_t *loop, int netns_fd, struct scraper **out)
{
	_cleanup_free_ struct scraper *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return log_err_r(ENOMEM, "no memory for the scraper");
	r = fetcher_new(loop, netns_fd, &s->fetcher);
	if (r)
		return r;
	s->loop = loop;
	TAILQ_INIT(&s->due[0]);
	TAILQ_INIT(&s->due[1]);
	TAILQ_INIT(&s->young);
	uv_timer_init(loop, &s->aging);
	s->aging.data = s;
	if (getrandom(s->random, sizeof(s->random), GRND_NONBLOCK) < 0)
		s->random[0] = (unsigned short)monotonic_ns();
	*out = TAKE_PTR(s);
	return 0;
}

static void free_scraper(uv_handle_t *h)
{
	free(h->data);
}

void scraper_free(struct scraper *s)
{
	if (!s)
		return;
	while (!LIST_EMPTY(&s->targets))
		scraper_remove(LIST_FIRST(&s->targets));
	fetcher_free(s->fetcher);
	uv_close((uv_handle_t *)&s->aging, free_scraper);
}

void scraper_stats(const struct scraper *s, struct scrape_stats *out)
{
	*out = s->stats;
	out->connects = fetcher_connects(s->fetcher);
}
