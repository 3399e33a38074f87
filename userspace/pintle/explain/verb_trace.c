/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verb_trace.c - follows the decisions of a pool, and how their connections end. Each follower has
 * a ring of its own (../maps/follow.h): one that reads too slowly loses records, and no other does.
 */
#include <bpf/libbpf.h>
#include <ctype.h>

#include "../../base/log.h"
#include "../../maps/follow.h"
#include "../../maps/names.h"
#include "explain.h"
#include "../following.h"
#include "rule/tiers.bpf.h"
#include "traits.bpf.h"

#define RATE     100
#define MAX_RATE 100000
#define MILLI    1000.0
#define MICRO    1000000.0

struct tracer {
	struct following all;
	struct follow follow;
	struct ring_buffer *ring; /* the follower's */
	struct follow_asked asked;
	uint64_t renewed_ns;
	uint64_t lost, over; /* told of already */
};

/* One line: the decision, or the end. */
struct trace_row {
	const struct tracer *tracer;
	const struct pintle_trace *t;
	bool ended;
	const struct state_pool *asked, *pool; /* NULL: gone; pool: whose endpoints were compared */
	const struct explanation *e;           /* of the decision; NULL: it cannot be explained */
	struct event_row client;
};

/* ---- what a record says --------------------------------------------------------------- */

/* Where the rule sent the connection; at the end, where it was: in mode shadow elsewhere, perhaps.
 */
static const struct state_endpoint *trace_endpoint_of(const struct trace_row *r)
{
	return state_endpoint_find(r->tracer->all.s,
				   r->ended && r->t->went.generation ? &r->t->went : &r->t->chosen);
}

/* A connection that no endpoint got ends with its decision. */
static bool has_end(const struct pintle_trace *t)
{
	return t->flags & PINTLE_TRACE_ENDED;
}

static const char *cause_of(const struct pintle_trace *t)
{
	return ending_name(MIN(t->cause, (uint32_t)PINTLE_ENDING_ERROR));
}

static const char *failure_of(const struct pintle_trace *t)
{
	return hook_has(t->hook, PINTLE_TRAIT_FAILURES) && t->failure < PINTLE_FAILURE_COUNT
		       ? failure_name(t->failure)
		       : NULL;
}

static uint64_t time_of(const struct trace_row *r)
{
	return r->ended ? r->t->ended_ns : r->t->decided_ns;
}

/* ---- as JSON -------------------------------------------------------------------------- */

#define GET(name)    GETTER(name, const struct trace_row *r, const void *arg)
#define COLUMN(name) .get = get_##name

GET(time)
{
	char when[WORDS_SIZE];

	return value_text(wall_rfc3339(time_of(r), when));
}

GET(monotonic)
{
	return value_count(time_of(r));
}

GET(event)
{
	return value_text(r->ended ? "ended" : "decided");
}

/* A connection has the same number in both lines, and no other has. */
GET(decided_ns)
{
	return value_count(r->t->decided_ns);
}

GET(hook)
{
	return r->t->hook && r->t->hook < PINTLE_HOOK_COUNT ? value_text(hook_name(r->t->hook))
							    : value_none();
}

GET(asked)
{
	return value_text_or_none(r->asked ? r->asked->name : NULL);
}

/* A connection that no fallback took is the pool's that was asked, as in `stats`. */
static const struct state_pool *trace_pool_of(const struct trace_row *r)
{
	return r->t->tier >= TIER_FALLBACK && !r->t->chosen.generation ? r->asked : r->pool;
}

GET(pool)
{
	const struct state_pool *p = trace_pool_of(r);

	return value_text_or_none(p ? p->name : NULL);
}

GET(endpoint)
{
	const struct state_endpoint *e = trace_endpoint_of(r);

	return value_text_or_none(e ? e->name : NULL);
}

GET(outcome)
{
	return r->t->outcome < PINTLE_OUTCOME_COUNT ? value_text(outcome_name(r->t->outcome))
						    : value_none();
}

GET(client)
{
	return event_address(r->t->tuple.remote, r->t->tuple.remote_port);
}

GET(client_pod)
{
	return event_pod(r->client.pod);
}

GET(client_cgroup)
{
	return value_text_or_none(r->client.cgroup);
}

GET(frontend)
{
	return event_address(r->t->tuple.local, r->t->tuple.local_port);
}

GET(address)
{
	const struct state_endpoint *e = trace_endpoint_of(r);

	return value_text_or_none(e ? e->address : NULL);
}

GET(cookie)
{
	char text[32];

	snprintf(text, sizeof(text), "%llx", r->t->cookie);
	return r->t->cookie ? value_text(text) : value_none();
}

GET(decision)
{
	return !r->ended && r->e ? value_json(explain_object(r->e)) : value_none();
}

GET(first_token_seconds)
{
	return value_number(VALUE_SECONDS, r->t->first_us / MICRO, r->ended && r->t->answers);
}

GET(slowest_token_seconds)
{
	return value_number(VALUE_SECONDS, r->t->most_us / MICRO, r->ended && r->t->answers);
}

GET(answers)
{
	return r->ended ? value_count(r->t->answers) : value_none();
}

GET(duration_seconds)
{
	return value_number(VALUE_SECONDS, (double)r->t->duration_ns / (double)NSEC_PER_SEC,
			    r->ended);
}

GET(bytes_received)
{
	return r->ended ? value_count(r->t->bytes_received) : value_none();
}

GET(bytes_acknowledged)
{
	return r->ended ? value_count(r->t->bytes_acknowledged) : value_none();
}

GET(srtt_us)
{
	return r->ended ? value_count(r->t->srtt_us) : value_none();
}

GET(cause)
{
	return r->ended ? value_text(cause_of(r->t)) : value_none();
}

GET(error)
{
	return r->ended ? value_text_or_none(event_error(r->t->error)) : value_none();
}

GET(failure)
{
	return r->ended ? value_text_or_none(failure_of(r->t)) : value_none();
}

GET(lost)
{
	const struct pintle_follower *f = follow_counts(&r->tracer->follow);

	return value_count(f ? f->lost : r->tracer->lost);
}

GET(left_out)
{
	const struct pintle_follower *f = follow_counts(&r->tracer->follow);

	return value_count(f ? f->over : r->tracer->over);
}

static const struct column columns[] = {
	{.key = "time", COLUMN(time), .help = "text: RFC 3339 time"},
	{.key = "monotonic_ns",
	 COLUMN(monotonic),
	 .help = "the same on the kernel's monotonic clock"},
	{.key = "event", COLUMN(event), .help = "text: decided, ended"},
	{.key = "decided_ns",
	 COLUMN(decided_ns),
	 .help = "of the decision: with client and frontend it tells which end belongs to it"},
#define X(symbol, name, ...) name ", "
	{.key = "hook", COLUMN(hook), .help = "text: " PINTLE_HOOKS(X) "or null: unknown"},
#undef X
	{.key = "asked", COLUMN(asked), .help = "text: the pool that the client asked for"},
	{.key = "pool",
	 COLUMN(pool),
	 .help = "text: the one that decided: that pool, its canary or a fallback; null: gone"},
	{.key = "endpoint",
	 COLUMN(endpoint),
	 .help = "text: where it goes; ended: where it was; null: nowhere, or gone"},
	{.key = "outcome", COLUMN(outcome), .help = "text: why, as in `stats`"},
	{.key = "client",
	 COLUMN(client),
	 .help = "text: address and port; at the connect hook known once the SYN is sent: ended"},
	{.key = "frontend", COLUMN(frontend), .help = "text: what it connected to"},
	{.key = "address",
	 COLUMN(address),
	 .help = "text: the endpoint's address, which is the peer at a client's socket (connect)"},
	{.key = "cookie",
	 COLUMN(cookie),
	 .help = "text: the socket's, as `ss -e` shows it after sk:; null: there is none yet"},
	{.key = "client_pod",
	 COLUMN(client_pod),
	 .help = "text: the client's pod, NAMESPACE/NAME; null: none of this node"},
	{.key = "client_cgroup",
	 COLUMN(client_cgroup),
	 .help = "text: the cgroup that connected, below the cgroup2 root; null: not known"},
	{.key = "decision",
	 COLUMN(decision),
	 .help = "{...}: the object of `pintle explain -o json`, as the kernel decided; its "
		 "candidates are those that were compared, and its pool is theirs: the last fallback "
		 "where none took it; null: ended, or the pool is gone"},
	{.key = "first_token_seconds",
	 COLUMN(first_token_seconds),
	 .help = "the client's wait for the first token of the first answer that was seen; null, as "
		 "the next: none was seen"},
	{.key = "slowest_token_seconds",
	 COLUMN(slowest_token_seconds),
	 .help = "the longest such wait on the connection"},
	{.key = "answers",
	 COLUMN(answers),
	 .help = "answers whose first token was seen; null, as all that follow: decided"},
	{.key = "duration_seconds",
	 COLUMN(duration_seconds),
	 .help = "from established (at clients' sockets: its SYN) to the end"},
	{.key = "bytes_received", COLUMN(bytes_received), .help = "from the client"},
	{.key = "bytes_acknowledged", COLUMN(bytes_acknowledged), .help = "by the client"},
	{.key = "srtt_us", COLUMN(srtt_us), .help = "smoothed round-trip time, microseconds"},
#define X(symbol, name, ...) name ", "
	{.key = "cause",
	 COLUMN(cause),
	 .help = "text: how it ended: " PINTLE_ENDINGS(X) "as in the metrics"},
#undef X
	{.key = "error", COLUMN(error), .help = "text: what ended it; null: in order"},
	{.key = "failure",
	 COLUMN(failure),
	 .help = "text: how the endpoint failed its client: refused, unanswered, unreachable, reset; "
		 "or null"},
	{.key = "lost",
	 COLUMN(lost),
	 .help = "records of this follower that found no room, since it began; never null"},
	{.key = "left_out",
	 COLUMN(left_out),
	 .help = "decisions, or ends, beyond --rate, since it began; never null"},
};
static const struct columns trace_columns = COLUMNS(columns);

/* ---- as text -------------------------------------------------------------------------- */

static void print_clients(const struct trace_row *r)
{
	char client[ADDR_TEXT_SIZE], frontend[ADDR_TEXT_SIZE];
	const struct pintle_trace *t = r->t;
	struct addr ip;

	memcpy(ip.bytes, t->tuple.remote, sizeof(ip.bytes));
	if (t->tuple.remote_port)
		addr_format(&ip, t->tuple.remote_port, client);
	else
		snprintf(client, sizeof(client), "sk:%llx", t->cookie);
	memcpy(ip.bytes, t->tuple.local, sizeof(ip.bytes));
	addr_format(&ip, t->tuple.local_port, frontend);
	printf("  %-21s > %s", client, frontend);
}

static void trace_print_adapter(const struct explanation *e)
{
	const char *name = state_adapter_name(e->state, e->adapter);

	printf("  adapter %s", name ?: "-");
	if (e->x->likeliest)
		printf(" %s", explain_adapter_name(e->x->likeliest->adapter));
}

static void print_decision(const struct trace_row *r)
{
	const struct explanation *e = r->e;
	const struct explain *x = e ? e->x : NULL;
	char age[WORDS_SIZE];

	if (!x)
		return;
	if (x->likeliest)
		printf("  load %.1f", x->likeliest->load / MILLI);
	if (x->mode != PINTLE_MODE_BASELINE)
		printf("  least %.1f", x->least / MILLI);
	if (x->bound.endpoint.generation || x->home.endpoint.generation)
		printf("  may be ahead by %.1f", (double)x->extra / MILLI);
	if (x->likeliest && x->likeliest->signals.scraped_ns)
		printf("  page %s old",
		       age_text((double)(e->now_ns - x->likeliest->signals.scraped_ns) /
					(double)NSEC_PER_SEC,
				age));
	if (e->adapter)
		trace_print_adapter(e);
	if (e->has_prompt)
		printf("  prompt %u B, cached %u", e->prompt.prompt.bytes,
		       x->likeliest ? x->likeliest->have : 0);
	if (e->x->class_id < e->pool->class_count)
		printf("  class %s", e->pool->classes[e->x->class_id].name);
	if (e->session[0])
		printf("  session %s", e->session);
	if (r->t->flags & PINTLE_TRACE_WOULD)
		printf("  (shadow)");
}

static void print_end(const struct trace_row *r)
{
	const struct pintle_trace *t = r->t;
	char wait[WORDS_SIZE];

	if (t->answers)
		printf("  first token %s", wait_text(t->first_us / MICRO, wait));
	if (t->answers > 1)
		printf(", slowest of %u %s", t->answers, wait_text(t->most_us / MICRO, wait));
	printf("  %llu B in  %llu B out  %s", t->bytes_received, t->bytes_acknowledged,
	       wait_text((double)t->duration_ns / (double)NSEC_PER_SEC, wait));
	if (failure_of(t))
		printf("  failed: %s", failure_of(t));
	else if (event_error(t->error))
		printf("  %s", event_error(t->error));
	if (t->cookie)
		printf("  sk:%llx", t->cookie);
}

/* Where the connection goes, as POOL/NAME if another pool than the one that was asked has it. */
static const char *where_text(const struct trace_row *r, char *buf, size_t size)
{
	const struct state_endpoint *endpoint = trace_endpoint_of(r);
	const struct state_pool *pool = trace_pool_of(r);

	if (!endpoint)
		return "-";
	if (!pool || pool == r->asked)
		return endpoint->name;
	snprintf(buf, size, "%s/%s", pool->name, endpoint->name);
	return buf;
}

static void trace_print_text(const struct trace_row *r)
{
	const struct cli *cli = r->tracer->all.cli;
	char where[2 * PINTLE_NAME_SIZE];
	bool failed = r->ended ? r->t->error || failure_of(r->t) : !r->t->chosen.generation;
	enum tone tone = failed ? TONE_BAD : TONE_PLAIN;
	char when[WORDS_SIZE];

	wall_text(time_of(r), when);
	printf("%s.%03u  %s%-7s  %-12s  %-12s%s", strchr(when, ' ') ? strchr(when, ' ') + 1 : when,
	       wall_msec(time_of(r)), tone_begin(cli, tone), r->ended ? "ended" : "decided",
	       where_text(r, where, sizeof(where)),
	       r->ended                               ? cause_of(r->t)
	       : r->t->outcome < PINTLE_OUTCOME_COUNT ? outcome_name(r->t->outcome)
						      : "-",
	       tone_end(cli, tone));
	print_clients(r);
	if (r->ended)
		print_end(r);
	else
		print_decision(r);
	putchar('\n');
}

/* ---- one record ----------------------------------------------------------------------- */

static void row_print(struct tracer *x, struct trace_row *r, bool ended)
{
	r->ended = ended;
	if (!x->all.cli->json)
		trace_print_text(r);
	else if (following_print_json(&trace_columns, r))
		x->all.broken = true;
}

/* Explains the decision, if its pool is still there. */
static bool record_explain(const struct tracer *x, const struct trace_row *r, struct explanation *e,
			   struct explain **out)
{
	const struct pintle_trace *t = r->t;

	if (!r->pool || !r->asked || explain_traced(x->all.m, t, out))
		return false;
	*e = (struct explanation){
		.cli = x->all.cli,
		.state = x->all.s,
		.pool = r->pool,
		.asked = r->asked,
		.x = *out,
		.now_ns = t->decided_ns,
		.made = true,
		.group_known = t->home.generation,
		.access_known = true,
		.forbidden = t->outcome == PINTLE_OUTCOME_FORBIDDEN,
		.adapter = t->adapter,
		.has_prompt = t->prompt_bytes,
	};
	e->prompt.prompt.bytes = t->prompt_bytes;
	e->prompt.known.longest = t->prompt_known;
	if (t->key.session.kind != PINTLE_KEY_NONE)
		state_session_format(&t->key.session, e->session);
	return true;
}

/* Whoever follows only some connections gets the decision together with the end. */
static int on_record(void *arg, void *data, size_t size)
{
	struct tracer *x = arg;
	_cleanup_(explain_freep) struct explain *explained = NULL;
	struct pintle_event as_event = {.type = PINTLE_EVENT_DECIDED};
	struct explanation e;
	struct pintle_trace t;
	struct trace_row r = {.tracer = x, .t = &t};

	if (size < sizeof(t) || x->all.broken || following_stopped)
		return 0;
	memcpy(&t, data, sizeof(t));
	r.asked = state_pool_find(x->all.s, &t.asked);
	r.pool = state_pool_find(x->all.s, &(struct pintle_ref){t.key.pool, t.key.pool_generation});
	as_event.cgroup = t.cgroup;
	as_event.tuple = t.tuple;
	r.client.e = &as_event;
	if (x->all.cli->json) /* text does not show them */
		event_clients_find(x->all.m, &x->all.clients, &r.client);
	if (!has_end(&t) || x->asked.what) {
		if (record_explain(x, &r, &e, &explained))
			r.e = &e;
		row_print(x, &r, false);
	}
	if (has_end(&t))
		row_print(x, &r, true);
	return 0;
}

/* ---- following ------------------------------------------------------------------------ */

/* In JSON each object has the sums. */
static void trace_tell_lost(struct tracer *x)
{
	const struct pintle_follower *f = follow_counts(&x->follow);
	uint64_t lost, over;

	if (!f)
		return;
	lost = f->lost;
	over = f->over;
	if (lost > x->lost && !x->all.cli->json)
		log_warn("%llu records were lost, because they were not read in time",
			 (unsigned long long)(lost - x->lost));
	if (over > x->over && !x->all.cli->json)
		log_warn("%llu connections beyond --rate %u were left out",
			 (unsigned long long)(over - x->over), x->asked.rate);
	x->lost = lost;
	x->over = over;
}

static int begin(struct tracer *x)
{
	int err = follow_begin(x->all.m, &x->asked, &x->follow);

	if (err == -EBUSY) {
		log_error("%d `pintle trace` follow already; end one of them",
			  PINTLE_MAX_FOLLOWERS);
		return err;
	}
	if (err)
		return log_err_r(err, "cannot follow");
	x->lost = x->over = 0;
	x->renewed_ns = monotonic_ns();
	x->ring = ring_buffer__new(x->follow.ring, on_record, x, NULL);
	return x->ring ? 0 : log_err_r(errno, "cannot open the ring");
}

static void trace_end(struct tracer *x)
{
	ring_buffer__free(x->ring);
	x->ring = NULL;
	follow_end(&x->follow);
}

/* The process was stopped, or its reader stood still. */
static int begin_anew(struct tracer *x)
{
	log_warn("it stood still for %llu s: what happened meanwhile was not traced",
		 FOLLOW_LEASE_NS / NSEC_PER_SEC);
	ring_buffer__consume(x->ring);
	trace_end(x);
	return begin(x);
}

/* Keeps the slot, and the names. The pool may be a new one of the same name. */
static int renew(void *arg)
{
	struct tracer *x = arg;
	uint64_t now = monotonic_ns();
	const struct state_pool *p;

	if (now - x->renewed_ns < FOLLOWING_RENEW_NS)
		return 0;
	x->renewed_ns = now;
	if (following_pinned(&x->all) || following_names(&x->all))
		return -EIO;
	p = find_pool(x->all.s, x->all.cli->words[0]);
	if (!p)
		return -ENOENT;
	x->asked.pool = (struct pintle_ref){p->id, p->generation};
	if (follow_renew(&x->follow, &x->asked.pool))
		return begin_anew(x);
	trace_tell_lost(x);
	return 0;
}

static int follow_begun(struct tracer *x)
{
	int status = begin(x) ? EXIT_FAILED : following_run(&x->all, &x->ring, renew, x);

	if (status == EXIT_OK)
		trace_tell_lost(x);
	trace_end(x);
	return status;
}

/* ---- the verb --------------------------------------------------------------------------- */

static int rate_take(const struct cli *cli, struct follow_asked *asked)
{
	unsigned long n = RATE;
	char *end = "";

	if (cli->rate)
		n = isdigit((unsigned char)cli->rate[0]) ? strtoul(cli->rate, &end, 10) : 0;
	asked->rate = (uint32_t)MIN(n, (unsigned long)UINT32_MAX);
	if (!*end && asked->rate && asked->rate <= MAX_RATE)
		return 0;
	log_error("'%s' is no rate; --rate takes connections a second, from 1 to %d", cli->rate,
		  MAX_RATE);
	return EXIT_USAGE;
}

static int run_trace(struct cli *cli)
{
	_cleanup_(maps_closep) struct maps *m = NULL;
	struct tracer x = {.all.cli = cli, .follow = FOLLOW_NONE};
	const struct state_pool *p;
	int status = rate_take(cli, &x.asked);

	if (!status)
		status = open_state(cli, MAPS_WRITE, &m, &x.all.s);
	if (status)
		return status;
	x.all.m = m;
	if (cli->slow_ns)
		x.asked.what |= PINTLE_FOLLOW_SLOW;
	x.asked.slow_ns = cli->slow_ns;
	if (cli->failed)
		x.asked.what |= PINTLE_FOLLOW_FAILED;
	p = find_pool(x.all.s, cli->words[0]);
	if (p) {
		x.asked.pool = (struct pintle_ref){p->id, p->generation};
		/* A second signal ends the process that cannot write what it has. */
		following_catch(SA_RESETHAND);
		status = event_clients_read(m, &x.all.clients) ? EXIT_FAILED : follow_begun(&x);
	} else {
		status = EXIT_FAILED;
	}
	following_free(&x.all);
	return status;
}

const struct command command_trace = {
	.name = "trace",
	.kind = VERB,
	.arguments = "POOL [--rate N] [--slow TIME] [--failed]",
	.summary = "decisions as they happen, and how their connections end (root)",
	.help = "Prints a line for each decision, with what it was made of, and one for the end of its\n"
		"connection, until Ctrl-C; with -o json one object a line. The kernel writes them only\n"
		"while somebody follows, and at most N a second. Up to 8 can follow at once. With --slow\n"
		"or --failed both lines come at the end, of slow or failed connections alone. Needs\n"
		"root, and no daemon.",
	.run = run_trace,
	.columns = &trace_columns,
	.options = OPTIONS_NOUN | OPTION_TRACE,
	.least = 1,
	.most = 1,
	.words = {WORD_POOL},
};
