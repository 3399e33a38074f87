// SPDX-License-Identifier: Apache-2.0
#include "failing.h"

#include <math.h>

/* The other members' answers are as brief by chance in one of so many cases. */
#define FAILING_ODDS 1e6

static uint64_t look_sum(const struct failing_look *l)
{
	return l->brief + l->large + l->slow + l->none;
}

static const struct failing_look *look_before(const struct failing *f, size_t back)
{
	return &f->looks[(f->newest + FAILING_LOOKS - back) % FAILING_LOOKS];
}

/* Whether the server, or what is known of it, began anew between two pages. */
static bool page_is_anew(const struct failing_page *was, const struct failing_page *now)
{
	return now->tokens < was->tokens || now->outcomes.ok < was->outcomes.ok ||
	       now->outcomes.failed < was->outcomes.failed ||
	       now->outcomes.refused < was->outcomes.refused;
}

static struct failing_look *look_push(struct failing *f, uint64_t at_ns)
{
	const struct failing_look *last = look_before(f, 0), *before = look_before(f, 1);

	if (f->count < 2 || last->first_ns - before->first_ns >= FAILING_APART_NS) {
		f->newest = (f->newest + 1) % FAILING_LOOKS;
		f->count += f->count < FAILING_LOOKS;
	}
	f->looks[f->newest] = (struct failing_look){.first_ns = at_ns};
	return &f->looks[f->newest];
}

/* Whether both count the same. */
static bool page_is_same(const struct failing_page *was, const struct failing_page *now)
{
	return now->tokens <= was->tokens && now->prompt_tokens <= was->prompt_tokens &&
	       now->outcomes.ok <= was->outcomes.ok &&
	       now->outcomes.refused <= was->outcomes.refused && !page_is_anew(was, now);
}

void failing_see(struct failing *f, const struct pintle_answers *a, const struct failing_page *page,
		 uint64_t at_ns)
{
	struct failing_look *l = &f->looks[f->newest];
	uint64_t sum = a->brief + a->large + a->slow + a->none;

	if (!f->still_ns || !page_is_same(&f->page, page))
		f->still_ns = at_ns;
	f->page = *page;
	if (f->count && (sum < look_sum(l) || page_is_anew(&l->last, page)))
		f->count = 0;
	if (!f->count || sum != look_sum(l)) {
		l = look_push(f, at_ns);
		l->first = *page;
	}
	l->brief = a->brief;
	l->large = a->large;
	l->slow = a->slow;
	l->none = a->none;
	l->last_ns = at_ns;
	l->last = *page;
}

/* How far back the newest look is whose answers the page must have counted by now. */
static size_t look_settled(const struct failing *f)
{
	uint64_t now = look_before(f, 0)->last_ns;
	size_t back = 0;

	while (back < f->count && look_before(f, back)->first_ns + FAILING_LAG_NS > now)
		back++;
	return back;
}

/* The newest page that can have counted none of the answers after look `back`; else the oldest
 * there is. */
static const struct failing_page *page_before(const struct failing *f, size_t back)
{
	uint64_t at = look_before(f, back)->last_ns;

	if (look_before(f, back)->first_ns + FAILING_LAG_NS <= at)
		return &look_before(f, back)->first;
	while (back + 1 < f->count && look_before(f, back)->first_ns + FAILING_LAG_NS > at)
		back++;
	return look_before(f, back)->last_ns + FAILING_LAG_NS <= at ? &look_before(f, back)->last
								    : &look_before(f, back)->first;
}

/* What a page counts as done since an earlier one. A stream has its status before its first token:
 * where the engine itself has done nothing of all that was begun, an error stands in its place. */
static double page_ok(const struct failing_page *from, const struct failing_page *to)
{
	const struct outcomes *was = &from->outcomes, *is = &to->outcomes;
	double ok = is->ok - was->ok;

	if (is->made > 0 && is->made <= was->made && to->tokens <= from->tokens)
		ok -= is->promised - was->promised;
	return MAX(ok, 0.0);
}

static void page_tells(struct failing_shown *s, const struct failing_page *from,
		       const struct failing_page *to)
{
	double answers = (double)s->answers, failed = to->outcomes.failed - from->outcomes.failed;
	double ok = page_ok(from, to), tokens = to->tokens - from->tokens;
	double refused = to->outcomes.refused - from->outcomes.refused;

	s->errors = failed >= answers / 2 && ok <= answers / 10;
	s->only_errors = failed >= 0.9 * answers && ok <= answers / 10;
	s->opposed = ok + refused >= answers / 2 || (!to->outcomes.told && tokens >= answers);
	s->idle = !s->errors && ok + refused <= 0 && tokens <= 0 &&
		  to->prompt_tokens <= from->prompt_tokens &&
		  (to->outcomes.ok > 0 || to->tokens > 0);
}

bool failing_shows(const struct failing *f, uint64_t least, uint64_t now, struct failing_shown *out)
{
	size_t back = f->count ? look_settled(f) : 0;
	const struct failing_look *to = look_before(f, back);

	for (size_t i = back + 1; i < f->count; i++) {
		const struct failing_look *from = look_before(f, i);

		if (now - from->last_ns > FAILING_WINDOW_NS)
			return false;
		if (look_sum(to) - look_sum(from) < least)
			continue;
		*out = (struct failing_shown){
			.since_ns = from->last_ns,
			.answers = look_sum(to) - look_sum(from),
			.bad = to->brief - from->brief + to->none - from->none,
			.none = to->none - from->none,
			.large = to->large - from->large,
		};
		page_tells(out, page_before(f, i), &look_before(f, 0)->last);
		out->still =
			out->idle && look_before(f, 0)->last_ns >= f->still_ns + FAILING_COPY_NS;
		return true;
	}
	return false;
}

uint64_t failing_newest_ns(const struct failing *f)
{
	return f->count ? look_before(f, 0)->first_ns : 0;
}

bool failing_serves(const struct failing *f, const struct failing_page *before, uint64_t least)
{
	const struct failing_page *now = &look_before(f, 0)->last;
	double ok = page_ok(before, now);

	return f->count && ok >= (double)least &&
	       ok >= now->outcomes.failed - before->outcomes.failed;
}

/* Whether the answers have the shape of errors. */
static bool shape_is_bad(const struct failing_shown *s)
{
	return 10 * s->bad >= 9 * s->answers || s->only_errors ||
	       (s->errors && 10 * s->large <= s->answers);
}

bool failing_suspects(const struct failing_shown *s)
{
	return !s->opposed && (s->still || shape_is_bad(s));
}

/* Whether so many answers in a row would be so unlikely to be brief at another member that they are
 * no chance. */
static bool others_disagree(const struct failing_shown *s, const struct failing_witnesses *w)
{
	double share;

	if (w->large < 3 || 2 * w->large < w->answers)
		return false;
	share = (double)(w->answers - w->large + 1) / (double)(w->answers + 2);
	return (double)s->bad * -log(share) >= log(FAILING_ODDS);
}

/* Whether all who say so may have asked for what is brief everywhere, as for /health. */
static bool may_watch(const struct failing_witnesses *w)
{
	return w->others_served && !w->known && w->clients < FAILING_MANY;
}

enum pintle_failing failing_judge(const struct failing_shown *s, const struct failing_witnesses *w)
{
	bool missing;

	if (!failing_suspects(s))
		return PINTLE_FAILING_NOT;
	/* Whatever these are, nothing was worked on for any of so many clients. */
	if (s->still && w->answered >= FAILING_MANY)
		return PINTLE_FAILING_COUNTERS;
	if (!shape_is_bad(s) || !w->clients)
		return PINTLE_FAILING_NOT;
	if (w->clients == 1)
		return w->alone_believed && (s->errors || (s->idle && others_disagree(s, w)))
			       ? PINTLE_FAILING_COUNTERS
			       : PINTLE_FAILING_NOT;
	missing = 10 * s->none >= 9 * s->answers;
	if (!s->errors && !missing && may_watch(w))
		return PINTLE_FAILING_NOT;
	if (s->errors || s->idle)
		return PINTLE_FAILING_COUNTERS;
	return missing || others_disagree(s, w) ? PINTLE_FAILING_CLIENTS : PINTLE_FAILING_NOT;
}

bool failing_recovered(const struct failing_shown *s)
{
	return s->opposed || 2 * s->bad < s->answers;
}

void failing_witness(const struct failing *f, uint64_t now, struct failing_witnesses *to)
{
	const struct failing_look *newest = look_before(f, 0), *from;

	for (size_t i = f->count; i-- > 1;) {
		from = look_before(f, i);
		if (now - from->last_ns > FAILING_WINDOW_NS)
			continue;
		to->answers += look_sum(newest) - look_sum(from);
		to->large += newest->large - from->large;
		return;
	}
}

uint64_t failing_time_ns(uint64_t first_ns, unsigned int before, uint64_t most_ns)
{
	uint64_t ns = first_ns;

	for (; before && ns && ns < most_ns; before--)
		ns *= 2;
	return MIN(ns, most_ns);
}
