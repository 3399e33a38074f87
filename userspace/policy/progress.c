// SPDX-License-Identifier: Apache-2.0
#include "progress.h"

/* Signals that only a working engine changes. Numbers of requests are not among them: some front
 * ends count those themselves. */
static const enum signal progress_signals[] = {
	SIGNAL_OUTPUT_TOKENS,  SIGNAL_PROMPT_TOKENS, SIGNAL_PREFIX_HITS,
	SIGNAL_PREFIX_QUERIES, SIGNAL_KV_CACHE,
};

static bool signal_moved(const struct progress *p, const struct signals *page, enum signal s)
{
	return page->present[s] != p->page.present[s] || page->value[s] != p->page.value[s];
}

void progress_page(struct progress *p, const struct signals *page, uint64_t now)
{
	bool moved = !p->paged;

	/* What came before the first page may be answered already. */
	if (!p->paged || signal_moved(p, page, SIGNAL_OUTPUT_TOKENS)) {
		p->token_ns = now;
		p->head_ns = 0;
	}
	p->counts = false;
	for (size_t i = 0; i < ARRAY_SIZE(progress_signals); i++) {
		enum signal s = progress_signals[i];

		p->counts |= page->present[s];
		moved |= signal_moved(p, page, s);
	}
	p->paged = true;
	p->page = *page;
	p->page_ns = now;
	if (p->own_page)
		p->told_ns = now;
	if (moved)
		p->moved_ns = now;
}

/* ---- silences that ended ----------------------------------------------------------- */

static void silence_slot(struct progress *p, uint64_t now)
{
	uint64_t slot = now / PROGRESS_SLOT_NS;

	for (uint64_t n = 0; p->slot < slot && n < PROGRESS_SLOTS; n++)
		p->longest_ns[++p->slot % PROGRESS_SLOTS] = 0;
	p->slot = slot;
}

static void silence_ended(struct progress *p, uint64_t now)
{
	uint64_t began = MAX(p->silent_ns, p->moved_ns), *longest;

	silence_slot(p, now);
	longest = &p->longest_ns[p->slot % PROGRESS_SLOTS];
	if (p->silent_ns && now > began)
		*longest = MAX(*longest, now - began);
}

uint64_t progress_limit(const struct progress *p)
{
	uint64_t longest = 0;

	for (size_t i = 0; i < PROGRESS_SLOTS; i++)
		longest = MAX(longest, p->longest_ns[i]);
	return MAX(2 * longest, p->counts ? PROGRESS_STALLED_NS : PROGRESS_ALONE_NS);
}

uint64_t progress_limit_lone(const struct progress *p, const struct pintle_work *w, uint64_t lone)
{
	bool shows = p->page.present[SIGNAL_KV_CACHE] && p->page_ns >= lone + PROGRESS_LAG_NS;
	uint64_t more = shows ? 0 : PROGRESS_LONE_NS, most = PROGRESS_LONE_MAX_NS - more;
	uint64_t prompts = w->waiting_bytes < most / PROGRESS_LONE_BYTE_NS
				   ? w->waiting_bytes * PROGRESS_LONE_BYTE_NS
				   : most;

	return MAX(progress_limit(p), more + prompts);
}

/* ---- the verdict ------------------------------------------------------------------- */

static bool page_has_requests(const struct signals *page)
{
	return page->value[SIGNAL_RUNNING] + page->value[SIGNAL_WAITING] > 0;
}

/* Whether a byte of an answer should come: an answer is under way, or a request waits. A client
 * that sends half a request makes it wait for ever: it counts until one that came after it is
 * answered. Clients that have made their handshakes and ask nothing yet look like heads: three of
 * them, on a machine whose passes came while the handshakes ended, owe nothing.
 */
static bool progress_owed(const struct progress *p, const struct pintle_work *w)
{
	return w->answering || w->asked_ns ||
	       (w->headed >= PROGRESS_HEADS && (!p->sealed || page_has_requests(&p->page)));
}

/* Whether the page says that the engine has requests, which it owes tokens. Only where the cache in
 * use is shown: other engines count the tokens of a long answer when it has ended. */
static bool page_has_work(const struct signals *page)
{
	return page->present[SIGNAL_KV_CACHE] && page_has_requests(page);
}

/* Returns since when a lone head has had nothing behind it; 0: there is none, or it may be a whole
 * answer. */
static uint64_t progress_lone_ns(const struct progress *p, const struct pintle_work *w)
{
	if (!w->headed || progress_owed(p, w) || p->sealed ||
	    !p->page.present[SIGNAL_OUTPUT_TOKENS])
		return 0;
	if (w->oldest_ns > p->token_ns + PROGRESS_LAG_NS || page_has_work(&p->page))
		return MAX(w->oldest_ns, p->moved_ns);
	return p->head_ns ? MAX(p->head_ns, p->moved_ns) : 0;
}

static bool progress_moves(const struct progress *p)
{
	return p->silent_ns && p->moved_ns > p->silent_ns && p->moved_ns > p->since_ns;
}

/* Whether the server has accepted nothing of what waits for that since its first waits, though it
 * has read what came later on other connections. One that serves one connection after the other
 * reads nothing else while it is at one. */
static bool accepts_no_more(const struct progress *p, const struct pintle_work *w, uint64_t now)
{
	return w->backlog && w->accepts_ns && now - p->passed_ns <= PROGRESS_GAP_NS &&
	       now - w->accepts_ns >= PROGRESS_STALLED_NS &&
	       MAX(w->read_ns, p->told_ns) > w->accepts_ns + PROGRESS_LAG_NS;
}

/* Whether the server was seen to read or to accept since the pass before. */
static bool progress_reads(const struct progress *p, const struct pintle_work *w)
{
	return w->read_ns != p->read_ns || w->out_ns != p->out_ns || w->backlog < p->backlog ||
	       p->told_ns > p->passed_ns;
}

static void look_at_reading(struct progress *p, const struct pintle_work *w, uint64_t now)
{
	bool stuck = w->untouched || w->backlog, reads = progress_reads(p, w);
	uint64_t gap = now - p->passed_ns;

	/* Those who waited in vain have left: that says nothing of the server. */
	if (!stuck && !reads && p->verdict == PINTLE_STANDING_STOPPED)
		stuck = true;
	if (accepts_no_more(p, w, now))
		p->stuck_ns = w->accepts_ns;
	else if (!stuck || reads)
		p->stuck_ns = stuck ? now : 0;
	else if (!p->stuck_ns)
		p->stuck_ns = now;
	else if (gap > PROGRESS_GAP_NS)
		p->stuck_ns += gap - PROGRESS_GAP_NS;
	p->passed_ns = now;
}

static void look_at_answers(struct progress *p, const struct pintle_work *w, uint64_t now)
{
	bool came = w->out_ns != p->out_ns;

	if (came) {
		/* A silence that was a verdict is none that the server is used to. */
		if (p->verdict == PINTLE_STANDING_NOT)
			silence_ended(p, now);
		p->silent_ns = 0;
	}
	if (!progress_owed(p, w) && p->verdict == PINTLE_STANDING_NOT)
		p->silent_ns = 0;
	else if (!p->silent_ns)
		p->silent_ns = now;
	silence_slot(p, now);
}

/* Of two heads one may be older than the newest token, and a whole answer. If one goes, it may be
 * the newer one. */
static void look_at_heads(struct progress *p, const struct pintle_work *w, uint64_t now)
{
	if (w->headed < p->headed)
		p->head_ns = 0;
	else if (w->headed > p->headed && !p->head_ns && now > p->token_ns + PROGRESS_LAG_NS)
		p->head_ns = now;
	p->headed = w->headed;
}

/* Whether nothing has come out since `silent` for so long; 0: something need not. */
static bool progress_too_long(uint64_t silent, uint64_t limit, uint64_t now)
{
	return silent && now >= silent && now - silent >= limit;
}

/* A probe that is answered is an answer that came; one that began before the verdict is not. */
static bool probe_ends(const struct progress *p)
{
	return p->verdict != PINTLE_STANDING_NOT && p->probed_ns > p->since_ns;
}

static uint32_t progress_judge(struct progress *p, const struct pintle_work *w, bool came,
			       uint64_t now)
{
	uint64_t silent = p->silent_ns ? MAX(p->silent_ns, p->moved_ns) : 0;
	uint64_t lone = progress_lone_ns(p, w);

	if (probe_ends(p)) {
		p->stuck_ns = p->silent_ns = p->stalled_ns = 0;
		return PINTLE_STANDING_NOT;
	}

	if (p->verdict == PINTLE_STANDING_STOPPED && (came || p->moved_ns > p->since_ns))
		p->stalled_ns = 0;
	if (p->stuck_ns && now - p->stuck_ns >= PROGRESS_STOPPED_NS) {
		if (p->verdict != PINTLE_STANDING_STOPPED) {
			p->stalled_ns = p->verdict == PINTLE_STANDING_STALLED ? p->since_ns : 0;
			p->since_ns = p->stuck_ns;
		}
		return PINTLE_STANDING_STOPPED;
	}
	/* A server that goes on has a while to answer; but that a front end goes on says nothing of
	 * the engine that stood still before. */
	if (p->verdict == PINTLE_STANDING_STOPPED && p->stalled_ns) {
		p->since_ns = p->stalled_ns;
		return PINTLE_STANDING_STALLED;
	}
	if (p->verdict == PINTLE_STANDING_STOPPED) {
		p->silent_ns = now;
		return PINTLE_STANDING_NOT;
	}
	if (p->verdict == PINTLE_STANDING_STALLED)
		return came || progress_moves(p) ? PINTLE_STANDING_NOT : PINTLE_STANDING_STALLED;
	if (progress_too_long(silent, progress_limit(p), now))
		p->since_ns = silent;
	else if (progress_too_long(lone, progress_limit_lone(p, w, lone), now))
		p->since_ns = lone;
	else
		return PINTLE_STANDING_NOT;
	return PINTLE_STANDING_STALLED;
}

void progress_probe(struct progress *p, bool good, uint64_t begun_ns, uint64_t until_ns)
{
	p->probed_until_ns = until_ns;
	if (good)
		p->probed_ns = begun_ns;
}

bool progress_will_tell(const struct progress *p, const struct pintle_work *w, uint64_t now)
{
	if (now < p->probed_until_ns)
		return true;
	if (p->verdict == PINTLE_STANDING_STOPPED)
		return w->backlog || w->untouched;
	return p->counts && page_has_requests(&p->page) && now - p->page_ns < PROGRESS_STALLED_NS;
}

bool progress_pass(struct progress *p, const struct pintle_work *w, uint64_t now)
{
	uint32_t before = p->verdict;
	bool came = w->out_ns != p->out_ns;

	look_at_reading(p, w, now);
	look_at_answers(p, w, now);
	look_at_heads(p, w, now);
	p->verdict = progress_judge(p, w, came, now);
	p->out_ns = w->out_ns;
	p->read_ns = w->read_ns;
	p->backlog = w->backlog;
	return p->verdict != before;
}
