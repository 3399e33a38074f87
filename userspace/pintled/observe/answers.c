// SPDX-License-Identifier: Apache-2.0
#include "answers.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../policy/failing.h"
#include "rule/eligible.bpf.h"

/* So many pages in a row must be answered with an error of the server. */
#define PAGES_BAD 2

/* An endpoint's answers, and the verdict on it. */
struct seen {
	uint32_t generation;
	struct failing looks;
	bool heard;             /* it has had a good page */
	unsigned int bad_pages; /* pages in a row that were answered with a 5xx */
	/* The verdict, and what it was passed on; 0: none. */
	enum pintle_failing why;
	uint64_t since_ns, until_ns;
	uint64_t alone; /* the one client whose word it was; 0: several's, or nobody's */
	struct failing_page page;
	unsigned int row; /* verdicts in a row */
	bool probed;      /* the probe passed the verdict, of which the page says nothing */
	bool ejected;
};

/* The verdicts in one pool, and the client that failed at several members. */
struct judged {
	uint32_t generation;
	size_t verdicts; /* of its members, now */
	/* A client that fails at one member after the other has itself to blame. */
	uint64_t disbelieved, disbelieved_until_ns;
	unsigned int times;
};

struct answers {
	const struct maps *m;
	const struct config *config;
	const struct publication *publication;
	struct seen *seen[PINTLE_MAX_ENDPOINTS];
	struct judged pools[PINTLE_MAX_POOLS];
};

int answers_new(const struct maps *m, struct answers **out)
{
	struct answers *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->m = m;
	*out = a;
	return 0;
}

void answers_free(struct answers *a)
{
	for (size_t i = 0; a && i < PINTLE_MAX_ENDPOINTS; i++)
		free(a->seen[i]);
	free(a);
}

static struct seen *answers_find(const struct answers *a, const struct pintle_ref *of)
{
	struct seen *s = a->seen[of->id];

	return s && s->generation == of->generation ? s : NULL;
}

/* NULL: no memory, and then nothing is known of it. */
static struct seen *answers_seen(struct answers *a, const struct pintle_ref *of)
{
	struct seen *s = answers_find(a, of);

	if (s)
		return s;
	free(a->seen[of->id]);
	s = a->seen[of->id] = calloc(1, sizeof(*s));
	if (s)
		s->generation = of->generation;
	return s;
}

void answers_configure(struct answers *a, const struct config *c, const struct publication *p)
{
	bool keep[PINTLE_MAX_ENDPOINTS] = {false};

	assert(p->pool_count == c->pool_count);
	a->config = c;
	a->publication = p;
	for (size_t i = 0; i < c->pool_count; i++)
		for (size_t j = 0; j < c->pools[i].endpoint_count; j++)
			keep[p->pools[i].endpoints[j].id] =
				answers_find(a, &p->pools[i].endpoints[j]);
	for (size_t i = 0; i < PINTLE_MAX_ENDPOINTS; i++)
		if (!keep[i])
			free(TAKE_PTR(a->seen[i]));
}

/* ---- verdicts -------------------------------------------------------------------------- */

static const char *const reasons[PINTLE_FAILING_COUNT] = {
	[PINTLE_FAILING_CLIENTS] = "several clients got short answers at once, or none at all",
	[PINTLE_FAILING_COUNTERS] =
		"its page counts errors, or no work, for what it answers its clients",
	[PINTLE_FAILING_PAGE] = "its own page is answered with an error of the server",
	[PINTLE_FAILING_PROBE] = "it answers the probe with an error of the server",
	[PINTLE_FAILING_BUSY] = "it asks for a pause (Retry-After)",
};

static void verdict_pass(struct seen *s, enum pintle_failing why, uint64_t now, uint64_t until_ns)
{
	const struct failing *f = &s->looks;

	if (!s->why)
		s->since_ns = now;
	s->why = why;
	s->probed = false;
	s->until_ns = until_ns;
	s->page = f->looks[f->newest].last;
}

/* What came before the verdict is no evidence for the next one. */
static void verdict_end(struct seen *s)
{
	s->why = PINTLE_FAILING_NOT;
	s->alone = 0;
	s->looks.count = 0;
}

static uint64_t verdict_until(struct seen *s, const struct config_ejection *e, uint64_t now)
{
	return now + failing_time_ns(MIN(e->time_ns, e->max_time_ns), s->row++, e->max_time_ns);
}

/* ---- witnesses -------------------------------------------------------------------------- */

/* A pool, whose members the functions below look at. */
struct court {
	struct answers *a;
	const struct config_pool *pool;
	const struct published_pool *published;
	struct judged *judged;
	uint64_t now;
};

static struct seen *court_seen(const struct court *c, size_t i)
{
	struct seen *s = c->a->seen[c->published->endpoints[i].id];

	return s && s->generation == c->published->endpoints[i].generation ? s : NULL;
}

static const struct pintle_answers *court_answers(const struct court *c, size_t i)
{
	return &c->a->m->answers[c->published->endpoints[i].id];
}

static bool is_recent(const struct court *c, uint64_t ns)
{
	return ns && c->now - ns <= FAILING_WINDOW_NS;
}

/* Whether what the member answers at length, or late, are errors, too. */
static bool court_errs(const struct court *c, size_t i)
{
	const struct seen *s = court_seen(c, i);
	struct failing_shown shown;

	return s && (s->why || (failing_shows(&s->looks, FAILING_LEAST_AGAIN, c->now, &shown) &&
				shown.errors));
}

/* Whether the member answers this client otherwise than briefly, and not with errors. */
static bool court_member_serves(const struct court *c, size_t i, uint64_t client)
{
	const struct pintle_answers *n = court_answers(c, i);

	for (size_t j = 0; j < PINTLE_ANSWERED; j++)
		if (n->clients[j].client == client && is_recent(c, n->clients[j].other_ns))
			return !court_errs(c, i);
	return false;
}

static bool court_serves_client(const struct court *c, uint64_t client)
{
	for (size_t i = 0; i < c->pool->endpoint_count; i++)
		if (court_member_serves(c, i, client))
			return true;
	return false;
}

/* Counts the clients that had nothing but bad answers since then. One of them is in *client. What a
 * page counts as errors alone is bad whatever its shape is. */
static void court_clients(const struct court *c, size_t member, const struct failing_shown *shown,
			  struct failing_witnesses *w, uint64_t *client)
{
	const struct pintle_answers *n = court_answers(c, member);
	uint64_t since_ns = shown->since_ns;

	for (size_t i = 0; i < PINTLE_ANSWERED; i++) {
		const struct pintle_answered *by = &n->clients[i];
		bool other = by->client && by->other_ns > since_ns;
		bool brief = by->client && by->brief_ns > since_ns;

		w->answered += brief || other;
		if (!(brief && by->brief_ns >= by->other_ns) && !(other && shown->only_errors))
			continue;
		w->clients++;
		w->known |= court_serves_client(c, by->client);
		*client = by->client;
	}
}

/* Whether other members answer somebody otherwise than briefly since then, or are just doing so. */
static bool court_serves_others(const struct court *c, size_t member, uint64_t since_ns)
{
	for (size_t i = 0; i < c->pool->endpoint_count; i++) {
		if (i != member && c->a->m->works[c->published->endpoints[i].id].answering)
			return true;
		for (size_t j = 0; i != member && j < PINTLE_ANSWERED; j++)
			if (court_answers(c, i)->clients[j].other_ns > since_ns)
				return true;
	}
	return false;
}

/* Whether this client's word counts though nobody else says the same. */
static bool court_believes(const struct court *c, size_t member, uint64_t client)
{
	bool others = false;

	if (c->judged->disbelieved == client && c->now < c->judged->disbelieved_until_ns)
		return false;
	for (size_t i = 0; i < c->pool->endpoint_count; i++) {
		if (i != member && court_member_serves(c, i, client))
			return true;
		for (size_t j = 0; j < PINTLE_ANSWERED; j++) {
			const struct pintle_answered *by = &court_answers(c, i)->clients[j];

			others |= by->client && by->client != client &&
				  (is_recent(c, by->other_ns) || is_recent(c, by->brief_ns));
		}
	}
	return !others;
}

/* The member that was ejected by the word of this client alone, which answers none of its members
 * well; else -1. */
static ssize_t court_same_client(const struct court *c, size_t member, uint64_t client)
{
	for (size_t i = 0; i < c->pool->endpoint_count; i++) {
		const struct seen *s = court_seen(c, i);

		if (i != member && s && s->why && s->alone == client)
			return (ssize_t)i;
	}
	return -1;
}

/* ---- judgement -------------------------------------------------------------------------- */

/* One client that fails at one member after the other, and is answered well nowhere, brings its
 * errors with it: the former member is acquitted. */
static bool court_blames_client(const struct court *c, size_t member, uint64_t client)
{
	ssize_t former = court_same_client(c, member, client);
	struct judged *j = c->judged;

	if (former < 0 || court_serves_client(c, client))
		return false;
	verdict_end(court_seen(c, (size_t)former));
	j->disbelieved = client;
	j->disbelieved_until_ns = c->now + failing_time_ns(c->pool->ejection.time_ns, j->times++,
							   c->pool->ejection.max_time_ns);
	log_info("%s: one client alone gets errors, from one endpoint after the other; for a while "
		 "its errors eject none",
		 c->pool->name);
	return true;
}

static void court_hear(const struct court *c, size_t member, struct seen *s,
		       const struct failing_shown *shown)
{
	struct failing_witnesses w = {0};
	uint64_t client = 0;
	enum pintle_failing why;

	court_clients(c, member, shown, &w, &client);
	w.others_served = court_serves_others(c, member, shown->since_ns);
	w.alone_believed = w.clients == 1 && court_believes(c, member, client);
	for (size_t i = 0; i < c->pool->endpoint_count; i++) {
		const struct seen *other = court_seen(c, i);

		if (i != member && other && !other->why)
			failing_witness(&other->looks, c->now, &w);
	}
	why = failing_judge(shown, &w);
	if (!why || (w.clients == 1 && court_blames_client(c, member, client)))
		return;
	s->alone = w.clients == 1 ? client : 0;
	verdict_pass(s, why, c->now, verdict_until(s, &c->pool->ejection, c->now));
}

static uint64_t court_least(const struct court *c, const struct seen *s)
{
	uint64_t least = s->row ? FAILING_LEAST_AGAIN : FAILING_LEAST;

	return MAX(least, (uint64_t)c->pool->ejection.failures);
}

static void court_try(const struct court *c, size_t member, struct seen *s)
{
	struct failing_shown shown;

	if (s->why &&
	    (c->now >= s->until_ns || (s->why <= PINTLE_FAILING_COUNTERS &&
				       failing_serves(&s->looks, &s->page, FAILING_LEAST))))
		verdict_end(s);
	if (s->why || !failing_shows(&s->looks, court_least(c, s), c->now, &shown))
		return;
	if (failing_suspects(&shown))
		court_hear(c, member, s, &shown);
	else if (failing_recovered(&shown))
		s->row = 0;
}

/* Whether the kernel has ejected the member, for failures of its clients. */
static bool court_is_out(const struct court *c, size_t i)
{
	const struct pintle_health *h = &c->a->m->health[c->published->endpoints[i].id];

	return hook_has(c->pool->decided_by, PINTLE_TRAIT_EJECTS) &&
	       health_ejected(h->ejected_until_ns, h->answered_ns, h->failed_ns, c->now);
}

/* Whether connections may go to the member, its answers apart. */
static bool court_may_serve(const struct court *c, size_t i)
{
	const struct pintle_ref *of = &c->published->endpoints[i];
	const struct pintle_health *h = &c->a->m->health[of->id];

	return !court_is_out(c, i) &&
	       (h->unfit == PINTLE_UNFIT_NOT || h->unfit == PINTLE_UNFIT_FAILING) &&
	       !ineligible_standing(h, c->now) &&
	       (c->pool->reach != PINTLE_REACH_LISTENER || h->listening_since_ns) &&
	       eligible_scraped_ns(&c->a->m->scores[of->id], of->generation);
}

static void court_tell(const struct court *c, size_t i, const struct seen *s, bool again)
{
	const char *name = c->pool->endpoints[i].name;

	if (!again)
		log_info("%s/%s is no longer ejected for its answers", c->pool->name, name);
	else
		log_warn("%s/%s is ejected for %.1f s: %s", c->pool->name, name,
			 (double)(s->until_ns - MIN(s->until_ns, c->now)) / (double)NSEC_PER_SEC,
			 reasons[s->why]);
}

static bool court_eject(const struct court *c, size_t i, bool ejected)
{
	struct pintle_answers *n = &c->a->m->answers[c->published->endpoints[i].id];
	struct seen *s = court_seen(c, i);
	bool changed;

	if (!s)
		return false;
	changed = s->ejected != ejected;
	s->ejected = ejected;
	__atomic_store_n(&n->failing_until_ns, ejected ? s->until_ns : 0, __ATOMIC_RELAXED);
	if (changed && ejected)
		__atomic_fetch_add(&n->failings, 1, __ATOMIC_RELAXED);
	if (changed)
		court_tell(c, i, s, ejected);
	return changed;
}

/* Whether the member is among the `most` that failed first. */
static bool court_is_first(const struct court *c, size_t member, size_t most)
{
	const struct seen *s = court_seen(c, member), *other;
	size_t before = 0;

	for (size_t i = 0; i < c->pool->endpoint_count; i++) {
		other = court_seen(c, i);
		before += other && other->why && i != member &&
			  (other->since_ns < s->since_ns ||
			   (other->since_ns == s->since_ns && i < member));
	}
	return before < most;
}

/* How many members may be ejected for their answers. */
static size_t court_most(const struct court *c)
{
	size_t most =
		(size_t)floor(c->pool->ejection.max_share * (double)c->pool->endpoint_count + 1e-9);

	for (size_t i = 0; most && i < c->pool->endpoint_count; i++)
		most -= court_is_out(c, i);
	return most;
}

/* Ejects whom the verdicts name, within the pool's bounds. */
static bool court_sentence(const struct court *c)
{
	size_t most = court_most(c);
	bool changed = false, left = false;

	c->judged->verdicts = 0;
	for (size_t i = 0; i < c->pool->endpoint_count; i++) {
		const struct seen *s = court_seen(c, i);

		c->judged->verdicts += s && s->why;
		left |= !(s && s->why) && court_may_serve(c, i);
	}
	for (size_t i = 0; i < c->pool->endpoint_count; i++) {
		const struct seen *s = court_seen(c, i);

		changed |= court_eject(c, i, left && s && s->why && court_is_first(c, i, most));
	}
	return changed;
}

bool answers_judge(struct answers *a, size_t pool, size_t member)
{
	struct court c = {
		.a = a,
		.pool = &a->config->pools[pool],
		.published = &a->publication->pools[pool],
		.judged = &a->pools[a->publication->pools[pool].ref.id],
		.now = monotonic_ns(),
	};
	struct seen *s;

	if (c.judged->generation != c.published->ref.generation)
		*c.judged = (struct judged){.generation = c.published->ref.generation};
	s = court_seen(&c, member);
	if (s && c.pool->ejection.failures)
		court_try(&c, member, s);
	else if (s && s->why)
		verdict_end(s); /* a reload, or `pintle set`, has turned ejections off */
	/* Most pools have no verdict, and 1,000 members. */
	return c.judged->verdicts || (s && (s->why || s->ejected)) ? court_sentence(&c) : false;
}

/* ---- evidence --------------------------------------------------------------------------- */

void answers_page(struct answers *a, const struct pintle_ref *of, bool own, const char *page,
		  size_t size, const struct signals *signals, uint64_t begun_ns)
{
	struct seen *s = answers_seen(a, of);
	struct failing_page p = {0};

	if (!s)
		return;
	if (page) {
		outcomes_read(page, size, &p.outcomes);
		p.counts_tokens = signals->present[SIGNAL_OUTPUT_TOKENS];
		p.tokens = p.counts_tokens ? signals->value[SIGNAL_OUTPUT_TOKENS] : 0;
		p.prompt_tokens = signals->present[SIGNAL_PROMPT_TOKENS]
					  ? signals->value[SIGNAL_PROMPT_TOKENS]
					  : 0;
	}
	failing_see(&s->looks, &a->m->answers[of->id], &p, begun_ns);
	s->bad_pages = 0;
	s->heard = true;
	if (own && !s->probed && (s->why == PINTLE_FAILING_PAGE || s->why == PINTLE_FAILING_BUSY))
		verdict_end(s);
}

/* The pool of an endpoint: the caller has it, but seldom needs it. */
static const struct config_ejection *ejection_of(const struct answers *a,
						 const struct pintle_ref *of)
{
	for (size_t i = 0; i < a->config->pool_count; i++)
		for (size_t j = 0; j < a->config->pools[i].endpoint_count; j++)
			if (a->publication->pools[i].endpoints[j].id == of->id)
				return &a->config->pools[i].ejection;
	return NULL;
}

static bool status_is_pause(unsigned int status, uint64_t retry_ns)
{
	return retry_ns && (status == 429 || status == 503);
}

void answers_status(struct answers *a, const struct pintle_ref *of, unsigned int status,
		    uint64_t retry_ns)
{
	const struct config_ejection *e = status ? ejection_of(a, of) : NULL;
	struct seen *s = e && e->failures ? answers_seen(a, of) : NULL;
	uint64_t now = monotonic_ns();

	/* A server that has never answered has not failed: it is not chosen yet. */
	if (!s || !(s->heard || eligible_scraped_ns(&a->m->scores[of->id], of->generation)))
		return;
	if (status_is_pause(status, retry_ns)) {
		verdict_pass(s, PINTLE_FAILING_BUSY, now, now + MIN(retry_ns, e->max_time_ns));
		return;
	}
	s->bad_pages = status >= 500 && status <= 599 ? s->bad_pages + 1 : 0;
	if (s->bad_pages >= PAGES_BAD && (!s->why || s->why == PINTLE_FAILING_PAGE))
		verdict_pass(s, PINTLE_FAILING_PAGE, now, now + e->time_ns);
}

void answers_probed(struct answers *a, const struct pintle_ref *of, unsigned int status,
		    uint64_t retry_ns)
{
	const struct config_ejection *e = ejection_of(a, of);
	struct seen *s = e && e->failures ? answers_seen(a, of) : NULL;
	uint64_t now = monotonic_ns();

	if (!s)
		return;
	if (status >= 200 && status <= 299) {
		s->row = 0;
		s->looks.count = 0;
		if (s->why && s->why != PINTLE_FAILING_PAGE)
			verdict_end(s);
	} else if (status_is_pause(status, retry_ns)) {
		verdict_pass(s, PINTLE_FAILING_BUSY, now, now + MIN(retry_ns, e->max_time_ns));
		s->probed = true;
	} else if (status >= 500 && status <= 599) {
		verdict_pass(s, PINTLE_FAILING_PROBE, now,
			     s->why ? MAX(s->until_ns, now + e->time_ns)
				    : verdict_until(s, e, now));
	}
}

bool answers_doubts(const struct answers *a, const struct pintle_ref *of, uint64_t since_ns)
{
	const struct seen *s = answers_find(a, of);
	const struct pintle_answers *n = &a->m->answers[of->id];

	struct failing_shown shown;

	if (s && s->why)
		return true;
	/* Answers of any shape for which the page counts errors, or nothing. */
	if (s && failing_newest_ns(&s->looks) > since_ns &&
	    failing_shows(&s->looks, FAILING_LEAST, monotonic_ns(), &shown) &&
	    (shown.errors || shown.still))
		return true;
	for (size_t i = 0; i < PINTLE_ANSWERED; i++)
		if (n->clients[i].brief_ns > MAX(since_ns, n->clients[i].other_ns))
			return true;
	return false;
}

uint32_t answers_failing(const struct answers *a, const struct pintle_ref *of)
{
	const struct seen *s = answers_find(a, of);

	return s && s->ejected ? s->why : PINTLE_FAILING_NOT;
}
