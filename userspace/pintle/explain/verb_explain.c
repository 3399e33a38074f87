/* SPDX-License-Identifier: Apache-2.0 */
/* verb_explain.c - where a connection would go now, and why. */
#include <ctype.h>
#include <limits.h>
#include <linux/rtnetlink.h>

#include "../../base/file.h"
#include "../../base/log.h"
#include "../../base/text.h"
#include "../../maps/names.h"
#include "../../maps/state_explain.h"
#include "../../net/cgroup2.h"
#include "../../net/routes.h"
#include "rule/loaded_adapters.bpf.h"
#include "client_netns.h"
#include "rule/eligible.bpf.h"
#include "explain.h"
#include "handoff/pieces.bpf.h"
#include "rule/prefix.bpf.h"
#include "rule/tiers.bpf.h"
#include "traits.bpf.h"

#define MILLI   1000.0
#define MILLION 1000000.0

/* ---- candidates ------------------------------------------------------------------- */

/* Why an endpoint may not be chosen, by enum ineligible. */
static const char *const reasons[INELIGIBLE_COUNT + 1] = {
	[INELIGIBLE_NOT] = "eligible",        [INELIGIBLE_DOWN] = "down",
	[INELIGIBLE_FAMILY] = "other family", [INELIGIBLE_DRAINED] = "drained",
	[INELIGIBLE_EJECTED] = "ejected",     [INELIGIBLE_STARTING] = "starting",
	[INELIGIBLE_UNHEALTHY] = "unhealthy", [INELIGIBLE_FAULTY] = "faulty",
	[INELIGIBLE_STOPPED] = "stopped",     [INELIGIBLE_STALLED] = "stalled",
	[INELIGIBLE_UNHEARD] = "unheard",     [INELIGIBLE_ASLEEP] = "asleep",
	[INELIGIBLE_COUNT] = "gone",
};

static const char *verb_explain_name_of(const struct explanation *e, const struct pintle_ref *ref)
{
	const struct state_endpoint *p = state_endpoint_find(e->state, ref);

	return p ? p->name : "an endpoint that is gone";
}

static double verb_explain_share_of(const struct explanation *e, uint32_t times)
{
	return (double)times / e->x->tries;
}

static double verb_explain_seconds_since(const struct explanation *e, uint64_t then)
{
	int64_t ns = (int64_t)(e->now_ns - then);

	return (double)MAX(ns, 0) / (double)NSEC_PER_SEC;
}

#define GET(name)    GETTER(name, const struct explain_candidate *c, const struct explanation *e)
#define COLUMN(name) .get = get_##name

GET(endpoint)
{
	return value_text(verb_explain_name_of(e, &c->endpoint));
}

GET(eligible)
{
	return value_bool(!c->ineligible);
}

GET(why)
{
	return c->ineligible ? value_text(reasons[c->ineligible]) : value_none();
}

/* By enum explain_full. */
static const char *const fulls[EXPLAIN_FULL_COUNT] = {
	[EXPLAIN_FULL_CONNECTIONS] = "full: connections",
	[EXPLAIN_FULL_RESERVED] = "full: reserved",
	[EXPLAIN_FULL_POOL] = "full: pool",
	[EXPLAIN_FULL_SHARE] = "full: share",
	[EXPLAIN_FULL_QUOTA] = "full: quota",
	[EXPLAIN_FULL_LOAD] = "full: load",
	[EXPLAIN_FULL_BEFORE] = "full: was full",
};

GET(full)
{
	return c->full ? value_text(explain_full_name(c->full)) : value_none();
}

/* The enum pintle_failing for which it is ejected; 0: it is not, or for connections that failed. */
static uint32_t failing_of(const struct explain_candidate *c, const struct explanation *e)
{
	const struct state_endpoint *p = c->ineligible == INELIGIBLE_EJECTED
						 ? state_endpoint_find(e->state, &c->endpoint)
						 : NULL;

	return p ? p->failing : PINTLE_FAILING_NOT;
}

GET(ejected_for)
{
	uint32_t failing = failing_of(c, e);

	return failing ? value_text(failing_name(failing)) : value_none();
}

GET(state_text)
{
	const char *state = c->due          ? "to be tried"
			    : c->ineligible ? reasons[c->ineligible]
			    : c->full       ? fulls[c->full]
			    : !c->fresh     ? "eligible, stale"
					    : reasons[INELIGIBLE_NOT];
	struct value v = value_text(state);

	if (failing_of(c, e))
		snprintf(v.text, sizeof(v.text), "%s (%s)", state, failing_name(failing_of(c, e)));
	v.tone = c->ineligible ? TONE_BAD : c->fresh && !c->full ? TONE_GOOD : TONE_WARN;
	return v;
}

/* By enum adapters_state. */
static const char *const adapter_states[] = {
	[ADAPTERS_LOADED] = "loaded",
	[ADAPTERS_ROOM] = "room",
	[ADAPTERS_BUSY] = "busy",
	[ADAPTERS_LACKS] = "lacks",
};

const char *explain_adapter_name(uint32_t state)
{
	return adapter_states[state];
}

GET(adapter)
{
	return e->adapter ? value_text(explain_adapter_name(c->adapter)) : value_none();
}

GET(due)
{
	return value_bool(c->due);
}

GET(chance)
{
	return value_number(VALUE_SHARE, verb_explain_share_of(e, c->chosen), true);
}

GET(weight)
{
	return value_number(VALUE_NUMBER, (double)c->rate / DECIDE_RATE, true);
}

GET(fresh)
{
	return value_bool(c->fresh);
}

static bool knows_prompt(const struct explanation *e)
{
	return e->has_prompt && (e->made || e->x->tier == TIER_OWN);
}

#define GET_LOAD(name, there)                                                                      \
	GET(name)                                                                                  \
	{                                                                                          \
		return value_number(VALUE_NUMBER, c->name / MILLI, there);                         \
	}
#define GET_COUNT(name, there)                                                                     \
	GET(name)                                                                                  \
	{                                                                                          \
		return there ? value_count(c->name) : value_none();                                \
	}
GET_LOAD(load, true)
GET_LOAD(missing, e->adapter || knows_prompt(e))
GET_LOAD(page, true)
GET_LOAD(own, c->passed)
GET_LOAD(prompts, c->passed)
GET_LOAD(published, c->fresh)
GET_COUNT(came, true)
GET_COUNT(ended, true)
GET_COUNT(placed, true)
GET_COUNT(newcomers, c->passed)
GET_COUNT(closed, c->passed)

GET(have_bytes)
{
	return knows_prompt(e) ? value_count(c->have) : value_none();
}

/* The signals, which the rule does not read itself: it reads what the daemon made of them. */
#define GET_SIGNAL(name, SYMBOL, value)                                                            \
	GET(name)                                                                                  \
	{                                                                                          \
		const struct explain_signals *s = &c->signals;                                     \
		bool there = s->scraped_ns && s->flags & PINTLE_SIGNAL_##SYMBOL;                   \
		return there ? (value) : value_none();                                             \
	}
GET_SIGNAL(waiting, WAITING, value_count(s->waiting))
GET_SIGNAL(running, RUNNING, value_count(s->running))
GET_SIGNAL(kv_cache, KV_CACHE, value_number(VALUE_SHARE, MIN(s->kv_cache / MILLION, 1.0), true))
GET_SIGNAL(gpu, GPU, value_number(VALUE_SHARE, MIN(s->gpu / MILLION, 1.0), true))

GET(age_seconds)
{
	return value_number(VALUE_SECONDS, verb_explain_seconds_since(e, c->signals.scraped_ns),
			    c->signals.scraped_ns);
}

static const struct column columns[] = {
	{.key = "endpoint",
	 .heading = "CANDIDATE",
	 COLUMN(endpoint),
	 .help = "text: its name in the pool"},
	{.key = "eligible", COLUMN(eligible), .help = "bool: it may be chosen"},
	{.key = "why",
	 COLUMN(why),
	 .help = "text: why it may not: down, other family, drained, ejected, starting, unhealthy, "
		 "faulty, asleep, stopped, stalled, unheard; null: it may"},
	{.key = "ejected_for",
	 COLUMN(ejected_for),
	 .help = "text: by whose word its answers are errors: clients, counters, page, probe, or busy; "
		 "null: not ejected for its answers"},
	{.key = "full",
	 COLUMN(full),
	 .help = "text: why it is full for the class: connections, reserved, pool (the class has all "
		 "connections there that it may have), quota (the tenant has), share (the session has its "
		 "own, and comes back without a pause), load, was full (has no room again yet); null: it is not"},
	{.heading = "STATE", COLUMN(state_text)},
	{.key = "due",
	 COLUMN(due),
	 .help = "bool: it stands still, and the next connection that draws it is to try it"},
	{.key = "chance",
	 .heading = "CHANCE",
	 .right = true,
	 COLUMN(chance),
	 .help = "0..1: how likely it is chosen, of 10,000 decisions"},
	{.key = "load",
	 .heading = "LOAD",
	 .right = true,
	 COLUMN(load),
	 .help = "request equivalents that are compared: max(page, own) + prompts, divided by the "
		 "weight, and `missing`; not fresh: the "
		 "highest fresh `published` and what came since, or without any fresh one the "
		 "busy connections"},
	{.key = "adapter",
	 COLUMN(adapter),
	 .help = "text: the LoRA adapter that is asked for is there: loaded; room (it has a slot), "
		 "busy (requests use all slots), lacks (it does not list it); null: none is"},
	{.key = "have_bytes",
	 COLUMN(have_bytes),
	 .help = "bytes of the prompt that are cached there; null: no prompt is known"},
	{.key = "missing",
	 COLUMN(missing),
	 .help = "part of `load` for that adapter and for what of the prompt is not cached, which "
		 "counts towards no limit; null: neither is known"},
	{.key = "weight",
	 COLUMN(weight),
	 .help = "the configured one, or a part of it while the endpoint warms up"},
	{.key = "page",
	 .heading = "PAGE",
	 .right = true,
	 .spare = 3,
	 COLUMN(page),
	 .help = "its part by the metrics page: published + came + placed - ended"},
	{.key = "own",
	 .heading = "OWN",
	 .right = true,
	 .spare = 3,
	 COLUMN(own),
	 .help = "its part by this node's own requests there; null, as prompts, newcomers and "
		 "closed: no pass follows them now"},
	{.key = "prompts",
	 .heading = "PROMPTS",
	 .right = true,
	 .spare = 3,
	 COLUMN(prompts),
	 .help = "its part by prompts of this node that wait, and those of newcomers"},
	{.key = "newcomers",
	 .heading = "NEW",
	 .right = true,
	 .spare = 4,
	 COLUMN(newcomers),
	 .help = "connections opened since the newest pass, and open"},
	{.key = "published",
	 COLUMN(published),
	 .help = "request equivalents by the newest page alone; null: it is too old"},
	{.key = "came", COLUMN(came), .help = "connections more in flight than at that scrape"},
	{.key = "ended", COLUMN(ended), .help = "connections fewer in flight than at that scrape"},
	{.key = "placed", COLUMN(placed), .help = "placements more pending than at that scrape"},
	{.key = "closed", COLUMN(closed), .help = "connections of the newest pass that ended"},
	{.key = "fresh", COLUMN(fresh), .help = "bool: its page is young enough to be believed"},
	{.key = "waiting",
	 .heading = "WAIT",
	 .right = true,
	 .spare = 5,
	 COLUMN(waiting),
	 .help = "requests waiting, on that page; null, as the next three: it does not say"},
	{.key = "running",
	 .heading = "RUN",
	 .right = true,
	 .spare = 5,
	 COLUMN(running),
	 .help = "requests running"},
	{.key = "kv_cache",
	 .heading = "KV",
	 .right = true,
	 .spare = 5,
	 COLUMN(kv_cache),
	 .help = "share of the KV cache in use, 0..1"},
	{.key = "gpu", COLUMN(gpu), .help = "share of the GPU in use, 0..1"},
	{.key = "age_seconds",
	 .heading = "AGE",
	 .right = true,
	 .spare = 2,
	 COLUMN(age_seconds),
	 .help = "seconds since that page was requested; null: never"},
};
const struct columns explain_columns = COLUMNS(columns);

/* ---- the client ------------------------------------------------------------------- */

/* By enum pintle_key: the option from which a session of this kind follows. */
static const char *const options_of_keys[PINTLE_KEY_COUNT] = {
	[PINTLE_KEY_SOURCE] = "--source IP",
	[PINTLE_KEY_CLIENT] = "--pod NAMESPACE/NAME, or --session client:COOKIE",
	[PINTLE_KEY_CGROUP] = "--cgroup PATH, or --pod NAMESPACE/NAME",
	[PINTLE_KEY_POD] = "--pod NAMESPACE/NAME, or --session pod:netns:COOKIE",
	[PINTLE_KEY_NAMESPACE] = "--pod NAMESPACE/NAME, or --session namespace:NAME",
	[PINTLE_KEY_ACCOUNT] = "--pod NAMESPACE/NAME, or --session serviceAccount:NAMESPACE/NAME",
	[PINTLE_KEY_MARK] = "--session mark:0xMARK",
	[PINTLE_KEY_HINT] = "--session hint:HASH, or hint=TEXT",
	[PINTLE_KEY_DESTINATION] = "--session destination:ADDRESS",
};

static const char *option_of_key(uint32_t kind)
{
	const char *text = kind < PINTLE_KEY_COUNT ? options_of_keys[kind] : NULL;

	return text ?: "--session KEY";
}

/* Reads "PREFIX" "TEXT" as a session key, and learns from it. Returns 0 or -EINVAL, not logged. */
static int client_take(const struct maps *m, const struct state *s, const char *prefix,
		       const char *text, struct state_client *c, struct pintle_session_key *key)
{
	char word[PATH_MAX];

	if (snprintf(word, sizeof(word), "%s%s", prefix, text) >= (int)sizeof(word) ||
	    state_session_parse(word, s->node.hint_key, key))
		return -EINVAL;
	state_session_resolve(m, key);
	state_client_learn(m, c, key);
	return 0;
}

/* A path below the cgroup2 root, which may be written with it. */
static const char *cgroup_below(const char *path)
{
	char root[PATH_MAX];
	size_t n;

	if (cgroup2_root(root, sizeof(root)))
		return path;
	n = strlen(root);
	return !strncmp(path, root, n) && path[n] == '/' ? path + n : path;
}

static int verb_explain_client_read(const struct cli *cli, const struct maps *m,
				    const struct state *s, struct state_client *c)
{
	struct pintle_session_key key;

	if (cli->source && (client_take(m, s, "", cli->source, c, &key) || !c->has_ip)) {
		log_error("--source takes an address, such as 10.0.0.7, not '%s'", cli->source);
		return EXIT_USAGE;
	}
	if (cli->cgroup && (cli->cgroup[0] != '/' ||
			    client_take(m, s, "cgroup:", cgroup_below(cli->cgroup), c, &key))) {
		log_error("no cgroup '%s'; write its path below the cgroup2 root, such as "
			  "/system.slice/a.service",
			  cli->cgroup);
		return EXIT_USAGE;
	}
	if (cli->pod && (!strchr(cli->pod, '/') || client_take(m, s, "pod:", cli->pod, c, &key))) {
		log_error("--pod takes NAMESPACE/NAME, not '%s'", cli->pod);
		return EXIT_USAGE;
	}
	if (cli->pod && !c->id) {
		log_error("no pod %s is known on this node; run it where the pod runs, or give "
			  "--session",
			  cli->pod);
		return EXIT_FAILED;
	}
	if (cli->session && client_take(m, s, "", cli->session, c, &c->session)) {
		log_error(NOT_A_SESSION, cli->session);
		return EXIT_USAGE;
	}
	return 0;
}

/* Adds what the connect hook sees of a client besides: the pod that has its address, and the
 * network namespace of its processes. */
static void caller_learn(const struct cli *cli, const struct maps *m, struct explanation *e,
			 struct state_client *c)
{
	const struct state_pool *p = e->pool;
	char pod[STATE_POD_SIZE];
	int err;

	if (!hook_sees(p->decided_by, PINTLE_KEY_CLIENT))
		return;
	if (!c->id && state_client_is_pod(m, c, pod))
		snprintf(e->client_pod, sizeof(e->client_pod), "%s, pod %s", cli->source, pod);
	if (e->client_pod[0])
		e->client = e->client_pod;
	if (!c->id && !c->cgroup)
		return;
	err = client_netns(c->cgroup, c->id, &c->netns);
	/* A fallback's sessions may be its, too, but these are not what was asked for. */
	if (err && !cli->session && p->key_kind == PINTLE_KEY_CLIENT)
		log_warn("the network namespace of %s, which makes its session, is not known: %s",
			 e->client,
			 err == -ENOENT  ? "no process of it is seen here"
			 : err == -EPERM ? "it has no socket, and without one that takes "
					   "CAP_SYS_ADMIN, as root has it on the node"
					 : strerror(-err));
}

static const char *client_text(const struct cli *cli)
{
	const char *name = cli->session ?: cli->source ?: cli->pod ?: cli->cgroup;

	return name || !cli->header_count ? name : "a request";
}

/* ---- its session ------------------------------------------------------------------- */

struct hinted {
	const struct state_pool *pool;
	const struct pintle_session_key *asked;
	struct pintle_session_key found;
	size_t count;
};

static int hinted_take(const struct pintle_affinity_key *key, const struct pintle_affinity *binding,
		       void *arg)
{
	struct hinted *h = arg;

	(void)binding;
	if (key->pool != h->pool->id || key->pool_generation != h->pool->generation ||
	    !state_session_meant(h->pool, h->asked, &key->session))
		return 0;
	h->found = key->session;
	h->count++;
	return 0;
}

/* hint=TEXT means one session for each client that gave the hint: the one that is bound, or an
 * unbound one. */
static int hinted_find(const struct cli *cli, const struct maps *m, const struct state_pool *p,
		       struct pintle_session_key *key)
{
	struct hinted h = {.pool = p, .asked = key};
	int err = p->mode == PINTLE_MODE_SHADOW
			  ? state_bindings_of(m, MAP_shadow_bindings, hinted_take, &h)
			  : state_bindings(m, hinted_take, &h);

	if (err) {
		log_err_r(err, "cannot read the sessions");
		return EXIT_FAILED;
	}
	if (h.count > 1) {
		log_error(
			"%zu clients gave the hint of '%s'; write one session as `pintle sessions "
			"%s` shows it, with --session hint:HASH",
			h.count, cli->session, cli->session);
		return EXIT_FAILED;
	}
	if (h.count)
		*key = h.found;
	return 0;
}

/* Whether sessions of this pool have keys of so many bits. */
static bool is_whole(const struct state_pool *p, const struct pintle_session_key *key)
{
	struct addr ip;

	if (key->kind != PINTLE_KEY_SOURCE)
		return true;
	memcpy(ip.bytes, key->id, sizeof(ip.bytes));
	return key->prefix_bits == (addr_is_v4(&ip) ? 96 + p->key_bits_v4 : p->key_bits_v6);
}

/* An address, a pod or a cgroup names a client, and may not tell which session it has: then the
 * session is left out, as an unknown home is. */
static int session_find(const struct cli *cli, const struct maps *m, struct explanation *e,
			const struct state_client *c, struct pintle_session_key *key)
{
	const struct state_pool *p = e->pool;

	if (!client_text(cli))
		return 0;
	if (!state_client_session(p, c, key)) {
		e->session_unknown = !cli->session;
		if (e->session_unknown) {
			*key = (struct pintle_session_key){0};
			return 0;
		}
		log_error(
			"%s keeps sessions by %s (stickiness.key), and that of '%s' is not known; "
			"give %s",
			p->name, key_name(p->key_kind), client_text(cli),
			option_of_key(p->key_kind));
		return EXIT_USAGE;
	}
	if (!is_whole(p, key)) {
		log_error(
			"'%s' is no session of %s, whose sessions are addresses of %u bits (IPv4) "
			"or %u (IPv6); give an address",
			cli->session, p->name, p->key_bits_v4, p->key_bits_v6);
		return EXIT_USAGE;
	}
	if (key->kind == PINTLE_KEY_HINT && key->prefix_bits != 128)
		return hinted_find(cli, m, p, key);
	return 0;
}

#define PROMPT_MAX (1 << 24)

/* Reads the body. Returns its size, or an exit status, negative, after logging. */
static ssize_t prompt_body_read(const char *path, char **out)
{
	_cleanup_free_ char *text = malloc(PROMPT_MAX);
	const char *odd = NULL;
	_cleanup_close_ int fd = file_open(path, &odd);
	ssize_t size = fd < 0 ? fd : text ? file_read(fd, text, PROMPT_MAX) : -ENOMEM;

	if (size < 0) {
		log_error("%s cannot be read: %s; --prompt takes a file with a request's body",
			  path, odd ?: strerror((int)-size));
		return -EXIT_USAGE;
	}
	*out = TAKE_PTR(text);
	return size;
}

/* The beginning of a request with these headers, and this body. */
static int request_write(const struct cli *cli, const char *body, size_t size, char text[HOLD_MAX])
{
	size_t n = (size_t)snprintf(text, HOLD_MAX, "POST / HTTP/1.1\r\n");

	if (body)
		n += (size_t)snprintf(text + n, HOLD_MAX - n, "Content-Length: %zu\r\n", size);
	for (size_t i = 0; i <= cli->header_count && n < HOLD_MAX; i++)
		n += (size_t)snprintf(text + n, HOLD_MAX - n, "%s\r\n",
				      i < cli->header_count ? cli->headers[i] : "");
	if (n >= HOLD_MAX)
		return -E2BIG;
	size = MIN(size, HOLD_MAX - n);
	if (body)
		memcpy(text + n, body, size);
	return (int)(n + size);
}

/* Whether the body of --prompt may name the session, too. */
static bool body_may_name(const struct cli *cli, const struct state_pool *p)
{
	return cli->prompt && p->decide == PINTLE_DECIDE_REQUEST && p->asked.in_body &&
	       !cli->session && client_text(cli);
}

/* Sets the session to the one that the request names, if it does. */
static int verb_explain_request_take(const struct cli *cli, const struct maps *m,
				     struct explanation *e, struct state_client *c)
{
	const struct state_pool *p = e->pool;
	_cleanup_free_ char *body = NULL;
	char text[HOLD_MAX];
	ssize_t length = 0;
	int size, err;

	if (!cli->header_count && !body_may_name(cli, p))
		return 0;
	if (p->decide != PINTLE_DECIDE_REQUEST) {
		log_error("%s is decided by connection, and no header says its session; leave "
			  "--header out",
			  p->name);
		return EXIT_USAGE;
	}
	if (cli->session) {
		log_error("--session and --header both say the session; give one of them");
		return EXIT_USAGE;
	}
	if (body_may_name(cli, p))
		length = prompt_body_read(cli->prompt, &body);
	if (length < 0)
		return (int)-length;
	size = request_write(cli, body, (size_t)length, text);
	err = size < 0 ? size
		       : state_request_read(m, p, e->state->node.hint_key, c, text, (size_t)size,
					    &e->request);
	if (err == -EDESTADDRREQ) {
		log_error("the sessions of %s belong to clients' addresses; give --source IP, too",
			  p->name);
		return EXIT_USAGE;
	}
	if (err == -E2BIG) {
		log_error("the headers are longer than %d bytes; leave some out", HOLD_MAX);
		return EXIT_USAGE;
	}
	if (err) {
		log_err_r(err, "cannot read the maps of %s", p->name);
		return EXIT_FAILED;
	}
	e->has_request = true;
	c->session = e->request.session;
	return 0;
}

/* Finds out who has a beginning of the request's prompt. */
static int prompt_take(const struct cli *cli, const struct maps *m, struct explanation *e,
		       struct explain_asked *asked)
{
	const struct state_pool *p = e->pool;
	const struct pintle_ref pool = {p->id, p->generation};
	_cleanup_free_ char *body = NULL;
	ssize_t size;
	int err;

	if (!cli->prompt)
		return 0;
	size = prompt_body_read(cli->prompt, &body);
	if (size < 0)
		return (int)-size;
	err = state_prompt_read(m, &pool, body, (size_t)size, monotonic_ns(), &e->prompt);
	if ((err == -EOPNOTSUPP || err == -ENODATA) && body_may_name(cli, p))
		return 0;
	if (err == -EOPNOTSUPP) {
		log_error(
			"%s looks at no prompts; write stickiness: {prefix: true}, and weights.prefix "
			"above 0, or leave --prompt out",
			p->name);
		return EXIT_USAGE;
	}
	if (err == -ENODATA) {
		log_error("%s is too short: prompts count from %d bytes on; leave --prompt out",
			  cli->prompt, PREFIX_CHUNK);
		return EXIT_USAGE;
	}
	if (err == -EPERM) {
		log_error("what is cached of prompts may be read by root only; run it as root");
		return EXIT_FAILED;
	}
	if (err) {
		log_err_r(err, "cannot read what is cached of prompts to %s", p->name);
		return EXIT_FAILED;
	}
	e->has_prompt = true;
	asked->prompt = &e->prompt;
	return 0;
}

/* The families of which the connection may be: its address's, else those of the frontends. */
static uint32_t family_of(const struct state_pool *p, const struct state_client *c)
{
	uint32_t family = 0;

	if (c->has_ip)
		return addr_is_v4(&c->ip) ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6;
	for (size_t i = 0; i < p->frontend_count; i++)
		family |= addr_is_v4(&p->frontends[i].addr.prefix) ? PINTLE_FAMILY_V4
								   : PINTLE_FAMILY_V6;
	return family ?: PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6;
}

static int bytes_take(const struct cli *cli, struct explain_asked *asked)
{
	char *end;

	if (!cli->bytes)
		return 0;
	errno = 0;
	asked->context_bytes = (uint32_t)MIN(strtoull(cli->bytes, &end, 10), UINT32_MAX);
	asked->has_context = true;
	if (isdigit((unsigned char)cli->bytes[0]) && !*end && !errno)
		return 0;
	log_error("--bytes takes a number of bytes, such as 60000, not '%s'", cli->bytes);
	return EXIT_USAGE;
}

/* The frontends' port; 0: they have several. */
static uint16_t port_of(const struct state_pool *p)
{
	uint16_t port = p->frontend_count ? p->frontends[0].addr.port : 0;

	for (size_t i = 1; i < p->frontend_count; i++)
		if (p->frontends[i].addr.port != port)
			return 0;
	return port;
}

static int verb_explain_class_take(const struct cli *cli, const struct state_pool *p,
				   struct explain_asked *asked)
{
	char known[CLASSES_SIZE];

	for (uint32_t i = 0; cli->class && i < p->class_count; i++)
		if (!strcmp(cli->class, p->classes[i].name)) {
			asked->class_id = i;
			return 0;
		}
	if (!cli->class)
		return 0;
	if (p->class_count)
		log_error("%s has no class '%s'; it has %s", p->name, cli->class,
			  class_names(p, known));
	else
		log_error("%s has no classes; leave out --class", p->name);
	return EXIT_USAGE;
}

/* ---- in words ------------------------------------------------------------------------ */

static bool is_certain(const struct explain *x)
{
	return x->outcomes[x->outcome] == x->tries &&
	       (!x->likeliest || x->likeliest->chosen == x->tries);
}

static void print_chances(const struct explanation *e)
{
	const char *gap = "  by chance: ";

	for (uint32_t i = 0; i < PINTLE_OUTCOME_COUNT; i++) {
		if (!e->x->outcomes[i])
			continue;
		printf("%s%s %.1f %%", gap, outcome_name(i),
		       100 * verb_explain_share_of(e, e->x->outcomes[i]));
		gap = ", ";
	}
	if (e->x->sample)
		printf("; %u of %zu members are drawn and compared\n", e->x->sample, e->x->count);
	else
		printf("; equal loads\n");
}

static bool none_is_eligible(const struct explain *x)
{
	for (size_t i = 0; i < x->count; i++)
		if (!x->candidates[i].ineligible)
			return false;
	return true;
}

/* Why nobody of the class is let in. */
static void print_told_no(const struct explanation *e, const char *who)
{
	const struct explain *x = e->x;

	printf("%s: %s would be %s: ", e->pool->name, who,
	       x->outcome == PINTLE_OUTCOME_DIVERTED ? "answered by the overload responder"
						     : "refused");
	if (x->over_quota) {
		printf("its tenant has all that it may have\n");
		return;
	}
	if (x->suspected) {
		printf("it comes back without a pause, and has its share\n");
		return;
	}
	if (none_is_eligible(x)) {
		printf("no endpoint is ready, and the fallbacks are full\n");
		return;
	}
	if (eligible_all(x->pool_in_flight, x->pool_connections)) {
		printf("its class has %llu connections in the pool, of %u that it may have\n",
		       (unsigned long long)x->pool_in_flight, x->pool_connections);
		return;
	}
	printf("each endpoint is full for its class");
	if (x->limit)
		printf(", whose limit is %.1f", x->limit / MILLI);
	if (x->connections)
		printf(", which may have %u connections at each", x->connections);
	putchar('\n');
}

/* Whether the connection is one to another pool, whose frontend it came to, until its request is
 * read: then mode off of the pool of its model comes too late to leave it alone. */
static bool is_of_model(const struct explanation *e)
{
	return strcmp(e->asked->name, e->cli->words[0]) != 0 ||
	       (!e->asked->frontend_count && serves_models_of_others(e->state, e->asked));
}

static void print_choice(const struct explanation *e)
{
	const struct explain *x = e->x;
	const char *who = e->client ?: "a client without a session";

	if (x->passes && x->mode == PINTLE_MODE_OFF && is_of_model(e))
		printf("%s: %s would be reset, unless a server listens at the frontend itself: "
		       "mode off\n",
		       e->pool->name, who);
	else if (x->passes)
		printf("%s: %s would be left alone: %s\n", e->pool->name, who,
		       x->mode == PINTLE_MODE_OFF ? "mode off" : "no daemon has run for long");
	else if (x->outcome == PINTLE_OUTCOME_FORBIDDEN)
		printf("%s: %s would be refused: no rule of the pool's access lets this client "
		       "in\n",
		       e->pool->name, who);
	else if (outcome_has(x->outcome, PINTLE_TURNED_AWAY))
		print_told_no(e, who);
	else if (!x->likeliest)
		printf("%s: no endpoint may be chosen for %s: connections %s\n", e->pool->name, who,
		       without_endpoints(e->pool));
	else if (is_certain(x))
		printf("%s: %s would go to %s (%s)\n", e->pool->name, who,
		       verb_explain_name_of(e, &x->likeliest->endpoint), outcome_name(x->outcome));
	else
		printf("%s: %s would most likely go to %s (%.1f %%)\n", e->pool->name, who,
		       verb_explain_name_of(e, &x->likeliest->endpoint),
		       100 * verb_explain_share_of(e, x->likeliest->chosen));
	if (!x->passes && !is_certain(x))
		print_chances(e);
	if (x->mode == PINTLE_MODE_SHADOW)
		printf("  mode shadow: so says the rule, and the connection goes where it would "
		       "without it\n");
}

/* The words for what is preferred and what became of it, after "gpu1: ". */
static void print_preferred(const struct explanation *e, const struct explain_preferred *p)
{
	const struct explain *x = e->x;
	double load = p->load / MILLI, least = x->least / MILLI, extra = (double)x->extra / MILLI;
	char age[WORDS_SIZE];

	switch (p->why) {
	case EXPLAIN_EXPIRED:
		printf("expired: used last %s ago, stickiness.ttl is over\n",
		       age_text(verb_explain_seconds_since(e, p->used_ns), age));
		return;
	case EXPLAIN_OTHER:
		printf("the prompt does not continue what the session said before\n");
		return;
	case EXPLAIN_CROWD:
		printf("a crowd: %u of its connections are busy, more than %d\n", p->open - p->idle,
		       DECIDE_MAX_BUSY);
		return;
	case EXPLAIN_INELIGIBLE:
		printf("%s\n", reasons[p->ineligible]);
		return;
	case EXPLAIN_SECOND:
		printf("the binding comes first\n");
		return;
	case EXPLAIN_LOST:
		printf("its page has not come for long, and others' have\n");
		return;
	case EXPLAIN_FULL:
		if (p->full == EXPLAIN_FULL_CONNECTIONS)
			printf("the class has all %u connections there that it may have\n",
			       x->connections);
		else if (p->full == EXPLAIN_FULL_RESERVED)
			printf("reserved for classes of higher priority\n");
		else
			printf("load %.1f, %sfull for the class, whose limit is %.1f\n", load,
			       p->full == EXPLAIN_FULL_BEFORE ? "still " : "", x->limit / MILLI);
		return;
	case EXPLAIN_TOO_LOADED:
		printf("load %.1f, least %.1f: ahead by %.1f, %s %.1f%s\n", load, least,
		       load - least, x->sample ? "against an extra of" : "too much against", extra,
		       x->by_context ? ", by its context" : "");
		return;
	default:
		printf("load %.1f, least %.1f: may be ahead by %.1f%s\n", load, least, extra,
		       x->by_context ? ", by its context" : "");
	}
}

static void print_class(const struct explanation *e)
{
	static const char *const by[] = {
		[STATE_GIVER_NOBODY] = ", the pool's first",
		[STATE_GIVER_OPERATOR] = ", by `pintle classify`",
		[STATE_GIVER_RULE] = ", by the pool's rules",
		[STATE_GIVER_CLASSIFIER] = ", by what the session does",
	};

	if (e->x->class_id >= e->pool->class_count)
		return;
	if (e->x->tier != TIER_OWN) {
		printf("  class: %s, by its class in the pool that is asked\n",
		       e->pool->classes[e->x->class_id].name);
		return;
	}
	printf("  class: %s%s%s\n", e->pool->classes[e->x->class_id].name,
	       e->cli->class ? "" : by[e->by],
	       !e->cli->class && hook_sees(e->pool->decided_by, PINTLE_KEY_HINT)
		       ? "; a hint or DSCP may change it"
		       : "");
}

static void print_access(const struct explanation *e)
{
	if (e->left_alone)
		printf("  left alone: connections of this %s\n",
		       e->is_pod
			       ? "pod go on as they came; by its annotations, they are a mesh's"
			       : "client go on as they came; `clients` of the configuration says so");
	if (e->pool->allow_count && !e->access_known)
		printf("  access: left out, because the client is not named; give %s\n",
		       hook_sees(e->pool->decided_by, PINTLE_KEY_POD)
			       ? "--pod, --cgroup or --source"
			       : "--source");
}

static void print_tenant(const struct explanation *e)
{
	if (!e->tenant.key.session.kind)
		return;
	printf("  tenant, by %s: %llu connections in flight", key_name(e->tenant.key.session.kind),
	       (unsigned long long)e->tenant.in_flight);
	if (e->tenant.quota.connections)
		printf(", of %u that it may have", e->tenant.quota.connections);
	printf("%s\n", e->x->over_quota ? "; it gets no further one now" : "");
}

static void print_share(const struct explanation *e)
{
	const struct explain *x = e->x;

	if (x->places && x->sessions && x->open)
		printf("  share: %u connection%s open; %llu session%s of the class share%s %u%s\n",
		       x->open, plural(x->open), (unsigned long long)x->sessions,
		       plural(x->sessions), x->sessions == 1 ? "s" : "", x->places,
		       x->over ? ", so that its bounds are lower by an eighth" : "");
}

static void print_bound(const struct explanation *e)
{
	const struct explain_preferred *p = &e->x->bound;
	char since[WORDS_SIZE], used[WORDS_SIZE];

	if (p->why == EXPLAIN_MODE)
		return;
	if (p->why == EXPLAIN_NO_KEY) {
		if (e->pool->key_kind == PINTLE_KEY_NONE)
			printf("  bound: the pool keeps no sessions\n");
		else if (e->session_unknown)
			printf("  bound: not known, and left out; give %s\n",
			       option_of_key(e->pool->key_kind));
		return;
	}
	if (!p->endpoint.generation) {
		printf("  bound: not yet, or no more\n");
		return;
	}
	printf("  bound to %s for %s, used %s ago: ", verb_explain_name_of(e, &p->endpoint),
	       age_text(verb_explain_seconds_since(e, p->bound_ns), since),
	       age_text(verb_explain_seconds_since(e, p->used_ns), used));
	print_preferred(e, p);
}

/* Clients on the servers' machine connect from the frontend's own address: one source for all of
 * them. */
static void print_own(const struct explanation *e)
{
	if (e->own_source)
		printf("  source: an address of this machine, whose own clients are one session, because "
		       "all of them connect from the frontend's address; to try it as several: "
		       "curl --interface 127.0.0.2, 127.0.0.3, ...\n");
}

static void print_home(const struct explanation *e)
{
	const struct explain_preferred *p = &e->x->home;

	if (p->why == EXPLAIN_MODE || e->pool->group_kind == PINTLE_KEY_NONE)
		return;
	if (!e->group_known)
		printf("  home: not known, and left out; give %s\n",
		       option_of_key(e->pool->group_kind));
	else if (!p->endpoint.generation)
		printf("  home: none\n");
	else {
		printf("  home %s: ", verb_explain_name_of(e, &p->endpoint));
		print_preferred(e, p);
	}
}

static void print_request(const struct explanation *e)
{
	if (!e->has_request)
		return;
	if (e->request.hand == PINTLE_HAND_ASKED)
		printf("  request: %s names its session, %s\n", e->request.by, e->session);
	else
		printf("  request: %s: %s\n", hand_name(e->request.hand),
		       hand_help(e->request.hand));
}

static void print_holders(const struct explanation *e)
{
	const char *before = "  cached: ";

	for (size_t i = 0; i < e->x->count; i++) {
		const struct explain_candidate *c = &e->x->candidates[i];

		if (!c->have)
			continue;
		printf("%s%u bytes at %s", before, c->have, verb_explain_name_of(e, &c->endpoint));
		before = ", ";
	}
	puts(*before == ',' ? "" : "  cached: nowhere");
}

static void print_prompt(const struct explanation *e)
{
	double weight = e->pool->prompt_weight / MILLI * PINTLE_REQUEST_BYTES / PREFIX_CHUNK;

	if (knows_prompt(e)) {
		printf("  prompt: %u bytes, of which %u are known; each %d bytes that are not cached "
		       "weigh %.2g\n",
		       e->prompt.prompt.bytes, prefix_bytes(e->prompt.known.longest),
		       PINTLE_REQUEST_BYTES, weight);
		print_holders(e);
	} else if (e->pool->prompt_weight) {
		printf("  prompt: not known here; where it is cached, each %d bytes of it weigh %.2g "
		       "less\n",
		       PINTLE_REQUEST_BYTES, weight);
	}
}

static void verb_explain_print_adapter(const struct explanation *e)
{
	size_t loaded = 0;

	if (!e->adapter)
		return;
	for (size_t i = 0; i < e->x->count; i++)
		loaded += e->x->candidates[i].adapter == ADAPTERS_LOADED;
	printf("  adapter: loaded at %zu of %zu; else %.1f more, %.1f where requests use all slots, "
	       "%.1f where it is not listed\n",
	       loaded, e->x->count,
	       adapters_missing(ADAPTERS_ROOM, e->pool->adapter_weight) / MILLI,
	       adapters_missing(ADAPTERS_BUSY, e->pool->adapter_weight) / MILLI,
	       adapters_missing(ADAPTERS_LACKS, e->pool->adapter_weight) / MILLI);
}

/* The age of the newest score; -1: there is none. */
static double newest_age(const struct explanation *e)
{
	double age = -1;

	for (size_t i = 0; i < e->x->count; i++) {
		uint64_t scraped_ns = e->x->candidates[i].signals.scraped_ns;

		if (scraped_ns && (age < 0 || verb_explain_seconds_since(e, scraped_ns) < age))
			age = verb_explain_seconds_since(e, scraped_ns);
	}
	return age;
}

static void verb_explain_print_daemon(const struct explanation *e)
{
	double age = newest_age(e);
	char text[WORDS_SIZE];

	if (e->state->daemon_alive)
		return;
	printf("  pintled does not run: ");
	if (age < 0)
		printf("there are no scores\n");
	else
		printf("the newest score is %s old%s\n", age_text(age, text),
		       e->x->daemonless ? ", and readiness does not count" : "");
}

/* Another pool may serve the request's model than the one whose frontend it comes to. */
static void print_model(const struct explanation *e)
{
	if (!e->made && e->cli->model)
		printf("%s: requests for %s go to pool %s\n", e->cli->words[0], e->cli->model,
		       e->asked->name);
	else if (!e->made && e->asked->model_count)
		printf("%s: has models; --model NAME says where requests for one of them go\n",
		       e->asked->name);
}

/* Why another pool decides than the one that is asked. */
static void print_tier(const struct explanation *e)
{
	if (e->x->tier == TIER_CANARY)
		printf("%s: %s belongs to the %.2f %% of the sessions that go to its canary\n",
		       e->asked->name, e->client ?: "a client", 100 * e->asked->canary_share);
	else if (e->x->tier >= TIER_FALLBACK)
		printf("%s: has no place for it, so it goes to the first fallback that takes it\n",
		       e->asked->name);
	if (e->x->canary_drawn)
		printf("%s: of the connections without a session %.2f %% are drawn for its canary; of "
		       "the others:\n",
		       e->asked->name, 100 * e->asked->canary_share);
}

static int explain_text(const struct explanation *e)
{
	const struct explain *x = e->x;

	print_model(e);
	print_tier(e);
	print_choice(e);
	print_request(e);
	print_class(e);
	print_tenant(e);
	print_share(e);
	print_access(e);
	print_bound(e);
	print_own(e);
	print_home(e);
	print_prompt(e);
	verb_explain_print_adapter(e);
	if (x->has_margin)
		printf("  margin: its load could be %.1f higher\n", (double)x->margin / MILLI);
	verb_explain_print_daemon(e);
	putchar('\n');
	return output_rows(e->cli, &explain_columns, x->candidates, x->count,
			   sizeof(*x->candidates), e, "the pool has no members");
}

/* ---- as JSON --------------------------------------------------------------------------- */

static cJSON *verb_explain_text_or_null(const char *text)
{
	return text && text[0] ? cJSON_CreateString(text) : cJSON_CreateNull();
}

static cJSON *load_or_null(double milli, bool there)
{
	return there ? json_number(milli / MILLI) : cJSON_CreateNull();
}

static cJSON *preferred_json(const struct explanation *e, const struct explain_preferred *p,
			     bool bound)
{
	bool there = p->endpoint.generation;
	cJSON *o = cJSON_CreateObject();

	cJSON_AddItemToObject(
		o, "endpoint",
		verb_explain_text_or_null(there ? verb_explain_name_of(e, &p->endpoint) : NULL));
	cJSON_AddStringToObject(o, "why", explain_preference_name(p->why));
	cJSON_AddItemToObject(o, "ineligible",
			      verb_explain_text_or_null(p->why == EXPLAIN_INELIGIBLE
								? reasons[p->ineligible]
								: NULL));
	cJSON_AddItemToObject(o, "load", load_or_null(p->load, p->why >= EXPLAIN_LOST));
	if (!bound)
		return o;
	cJSON_AddItemToObject(o, "age_seconds",
			      there ? json_number(verb_explain_seconds_since(e, p->bound_ns))
				    : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "idle_seconds",
			      there ? json_number(verb_explain_seconds_since(e, p->used_ns))
				    : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "busy",
			      there ? json_count(p->open - MIN(p->idle, p->open))
				    : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "context_bytes",
			      p->context_bytes ? json_count(p->context_bytes) : cJSON_CreateNull());
	return o;
}

static cJSON *verb_explain_outcomes_json(const struct explanation *e)
{
	const uint32_t *outcomes = e->x->outcomes;
	cJSON *o = cJSON_CreateObject();

	for (uint32_t i = 0; i < PINTLE_OUTCOME_COUNT; i++)
		if (outcomes[i])
			cJSON_AddItemToObject(o, outcome_name(i),
					      json_number(verb_explain_share_of(e, outcomes[i])));
	return o;
}

static cJSON *candidates_json(const struct explanation *e)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; i < e->x->count; i++)
		cJSON_AddItemToArray(list,
				     columns_object(&explain_columns, &e->x->candidates[i], e));
	return list;
}

cJSON *explain_object(const struct explanation *e)
{
	const struct explain *x = e->x;
	double age = newest_age(e);
	cJSON *o = cJSON_CreateObject();

	cJSON_AddItemToObject(
		o, "model",
		verb_explain_text_or_null(e->made ? state_adapter_name(e->state, e->adapter)
						  : e->cli->model));
	cJSON_AddStringToObject(o, "asked", e->asked->name);
	cJSON_AddStringToObject(o, "pool", e->pool->name);
	cJSON_AddStringToObject(o, "mode", mode_name(x->mode));
	cJSON_AddItemToObject(o, "session", verb_explain_text_or_null(e->session));
	cJSON_AddItemToObject(
		o, "hand",
		verb_explain_text_or_null(e->has_request ? hand_name(e->request.hand) : NULL));
	cJSON_AddItemToObject(o, "session_by", verb_explain_text_or_null(e->request.by));
	cJSON_AddItemToObject(o, "prompt_bytes",
			      e->has_prompt ? json_count(e->prompt.prompt.bytes)
					    : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "prompt_known_bytes",
			      e->has_prompt ? json_count(prefix_bytes(e->prompt.known.longest))
					    : cJSON_CreateNull());
	cJSON_AddItemToObject(
		o, "class",
		verb_explain_text_or_null(e->x->class_id < e->pool->class_count
						  ? e->pool->classes[e->x->class_id].name
						  : NULL));
	cJSON_AddItemToObject(o, "may_connect",
			      e->access_known || !e->pool->allow_count
				      ? cJSON_CreateBool(!e->forbidden)
				      : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "class_by",
			      verb_explain_text_or_null(e->x->class_id < e->pool->class_count &&
									!e->cli->class && !e->made
								? state_giver_name(e->by)
								: NULL));
	cJSON_AddItemToObject(
		o, "chosen",
		verb_explain_text_or_null(
			x->likeliest ? verb_explain_name_of(e, &x->likeliest->endpoint) : NULL));
	cJSON_AddStringToObject(o, "outcome", outcome_name(x->outcome));
	cJSON_AddBoolToObject(o, "certain", is_certain(x) && !e->x->canary_drawn);
	cJSON_AddItemToObject(o, "outcomes", verb_explain_outcomes_json(e));
	cJSON_AddItemToObject(o, "sample", x->sample ? json_count(x->sample) : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "canary_share",
			      e->x->canary_drawn ? json_number(e->asked->canary_share)
						 : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "bound", preferred_json(e, &x->bound, true));
	cJSON_AddItemToObject(o, "home", preferred_json(e, &x->home, false));
	cJSON_AddBoolToObject(o, "group_known", e->group_known);
	cJSON_AddItemToObject(o, "least", load_or_null(x->least, true));
	cJSON_AddItemToObject(o, "extra", load_or_null((double)x->extra, true));
	cJSON_AddItemToObject(o, "limit", load_or_null(x->limit, x->limit));
	cJSON_AddItemToObject(o, "connections",
			      x->connections ? json_count(x->connections) : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "pool_connections",
			      x->pool_connections ? json_count(x->pool_connections)
						  : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "pool_in_flight",
			      x->pool_connections ? json_count(x->pool_in_flight)
						  : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "places", x->places ? json_count(x->places) : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "sessions",
			      x->places ? json_count(x->sessions) : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "open", x->places ? json_count(x->open) : cJSON_CreateNull());
	cJSON_AddBoolToObject(o, "over", x->over);
	cJSON_AddBoolToObject(o, "suspected", x->suspected);
	cJSON_AddBoolToObject(o, "over_quota", x->over_quota);
	cJSON_AddItemToObject(o, "margin", load_or_null((double)x->margin, x->has_margin));
	cJSON_AddBoolToObject(o, "daemon_alive", e->made ? !x->daemonless : e->state->daemon_alive);
	cJSON_AddItemToObject(o, "newest_age_seconds",
			      age < 0 ? cJSON_CreateNull() : json_number(age));
	cJSON_AddItemToObject(o, "candidates", candidates_json(e));
	return o;
}

/* The keys beside `candidates`, for --help and docs/cli.md. */
static const struct json_key keys[] = {
	{"model",
	 "text: as it was given; in `trace` the LoRA adapter that the request names, or null"},
	{"asked", "text: POOL, or with --model the pool that serves the model"},
	{"pool, mode, session",
	 "text: pool is the one that decides: POOL, its canary or a fallback; session is null if "
	 "none was given"},
	{"hand",
	 "text: how a connection with these headers is counted, as in `stats`; null: none were "
	 "given"},
	{"session_by", "text: the header or cookie that names the session; null: none does"},
	{"prompt_bytes, prompt_known_bytes",
	 "of --prompt, and of its longest beginning that anybody has; null: it was not given, or in "
	 "`trace` does not count"},
	{"class", "text: null where the pool has none"},
	{"class_by",
	 "text: default (the pool's first), operator, rule, classifier; null: --class was given, "
	 "or there is none"},
	{"may_connect", "bool: the pool's access lets the client in; null: it is not named"},
	{"chosen", "text: the likeliest endpoint; null: none"},
	{"outcome", "text: the likeliest outcome, as in `stats`"},
	{"certain", "bool: nothing is left to chance"},
	{"outcomes", "{OUTCOME: 0..1}: how likely each is"},
	{"sample", "the number of members that are drawn and compared; null: all are"},
	{"canary_share",
	 "0..1: the share of connections without a session, as this one, that are drawn for the canary; "
	 "all else is of the others. null: the session says, or there is no canary"},
	{"bound, home",
	 "{endpoint, why, ineligible, load}; why it is preferred or not: holds, "
	 "too_loaded, full, lost, second (the binding comes first), ineligible, crowd, "
	 "expired, none, mode, no_key"},
	{"least", "the least load of all candidates"},
	{"extra", "how far ahead of it the preferred one may be"},
	{"limit", "the load from which on an endpoint is full for the class; null: none"},
	{"connections", "how many the class may have at an endpoint; null: any number"},
	{"pool_connections", "the same in the pool"},
	{"pool_in_flight", "how many of these there are; null: they are not bounded"},
	{"places, sessions", "connections that the class's sessions share, and how many these are; "
			     "null: nothing is shared"},
	{"open", "connections of this session; null: nothing is shared"},
	{"over", "bool: these are more than its share, so that its bounds are lower"},
	{"suspected", "bool: it comes back without a pause, and has its share"},
	{"over_quota", "bool: its tenant has all that it may have"},
	{"margin", "how much higher the chosen one's load could be; null: left to chance"},
	{"newest_age_seconds", "age of the newest score"},
	{"candidates", "list of the objects below"},
	{0},
};

/* ---- the verb ---------------------------------------------------------------------------- */

/* Makes the keys of the client's session and group for the pool of each tier. */
static void keys_make(const struct explanation *e, const struct state_client *c,
		      struct explain_asked *asked)
{
	for (uint32_t tier = TIER_OWN; tier < TIER_COUNT; tier++) {
		struct explain_keys *to = &asked->keys[tier];
		const struct state_pool *p = e->asked;

		if (tier != TIER_OWN) {
			p = state_pool_find(e->state, &e->asked->others[tier - 1].pool);
			if (!p)
				continue;
			state_client_session(p, c, &to->session);
		}
		state_client_group(p, c, &to->group);
	}
}

/* Runs the rule. Returns 0 with e->x, which the caller frees, and e->pool, which decides; or an
 * exit status after logging. */
static int rule_run(struct explanation *e, const struct maps *m, const struct state_client *c,
		    const struct explain_asked *asked, struct explain **out)
{
	struct pintle_session_key group;
	int err = explain_read(m, asked, out);

	if (!err)
		e->pool = state_pool_find(e->state, &(*out)->pool);
	if (!err && !e->pool)
		err = -ESTALE;
	if (err == -EPERM) {
		log_error("the homes of %s's groups may be read by root only", e->asked->name);
		return EXIT_FAILED;
	}
	if (err) {
		log_err_r(err, "cannot read the maps of %s", e->asked->name);
		return EXIT_FAILED;
	}
	e->x = *out;
	e->adapter = e->x->tier == TIER_OWN ? asked->adapter : 0;
	e->group_known = state_client_group(e->pool, c, &group);
	if (e->x->session.kind != PINTLE_KEY_NONE)
		state_session_format(&e->x->session, e->session);
	return 0;
}

/* Only a pool in mode enforce holds tenants to their quotas. */
static void tenant_judge(struct explanation *e, const struct maps *m, const struct state_client *c,
			 struct explain_asked *asked)
{
	struct pintle_affinity_key key = {.pool = e->pool->id,
					  .pool_generation = e->pool->generation};

	if (e->pool->mode != PINTLE_MODE_ENFORCE || !e->pool->tenant_key)
		return;
	state_client_tenant(e->pool, c, &key.session);
	asked->over_quota = state_tenant_full(m, &key, asked->now_ns, &e->tenant);
}

static int explain_pool(struct explanation *e, const struct maps *m, const struct state_client *c,
			struct explain_asked *asked)
{
	_cleanup_(explain_freep) struct explain *x = NULL;
	struct pintle_affinity_key key = {e->pool->id, e->pool->generation,
					  asked->keys[TIER_OWN].session};
	struct state_judged judged;
	int status;

	asked->pool = (struct pintle_ref){e->pool->id, e->pool->generation};
	asked->family = family_of(e->pool, c);
	asked->now_ns = e->now_ns = monotonic_ns();
	asked->tries = EXPLAIN_TRIES;
	status = state_client_judge(m, &key, c, asked->family, port_of(e->pool), &judged);
	if (status) {
		log_err_r(status, "cannot read the maps of %s", e->pool->name);
		return EXIT_FAILED;
	}
	if (!e->cli->class) {
		asked->class_id = judged.class_id;
		e->by = judged.by;
	}
	e->access_known = c->has_ip || c->cgroup || c->id;
	e->left_alone = c->left_alone && e->pool->decided_by == PINTLE_HOOK_CONNECT;
	e->is_pod = c->space_id;
	e->forbidden = e->access_known && judged.forbidden;
	asked->forbidden = e->forbidden;
	tenant_judge(e, m, c, asked);
	keys_make(e, c, asked);
	status = rule_run(e, m, c, asked, &x);
	if (status)
		return status;
	if (asked->has_context && !x->by_context)
		log_warn("--bytes changes nothing: %s", !x->bound.endpoint.generation
								? "the session is not bound"
								: "contexts do not count there");
	return e->cli->json ? output_json(explain_object(e)) : explain_text(e);
}

/* Replaces e->pool by the pool that serves the model that is asked for. */
static int verb_explain_model_take(const struct cli *cli, struct explanation *e,
				   struct explain_asked *asked)
{
	const struct state_model *model;

	if (!cli->model)
		return 0;
	model = state_model_find(e->pool, cli->model);
	if (!model) {
		log_error("pool %s has no models; leave --model out", e->pool->name);
		return EXIT_FAILED;
	}
	/* Then no request is read. */
	if (e->pool->mode == PINTLE_MODE_OFF)
		return 0;
	if (model->pool == STATE_NO_POOL) {
		log_error("pool %s has no model \"%s\", and no default: such a request is answered "
			  "404, or reset (no_model); `pintle pools -o json` lists its models",
			  e->pool->name, cli->model);
		return EXIT_FAILED;
	}
	e->pool = e->asked = &e->state->pools[model->pool];
	if (e->pool->adapter_weight)
		asked->adapter = model->adapter;
	return 0;
}

/* Whether the client's address is this machine's, and says which session is its. */
static bool is_own_source(const struct explanation *e, const struct state_client *c)
{
	bool counts = c->has_ip && e->pool->key_kind == PINTLE_KEY_SOURCE && !e->has_request &&
		      hook_has(e->pool->decided_by, PINTLE_TRAIT_AT_SERVERS);
	_cleanup_close_ int netns = counts ? open_steered_netns(e->state) : -1;
	struct route_path to;

	return netns >= 0 && !routes_to(netns, &c->ip, &to) && to.type == RTN_LOCAL;
}

static int run_explain(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	struct explanation e = {.cli = cli, .client = client_text(cli)};
	struct explain_asked asked = {0};
	struct state_client c = {0};
	int status = bytes_take(cli, &asked);

	if (!status)
		status = open_state(cli, MAPS_READ, &m, &s);
	if (status)
		return status;
	e.state = s;
	e.pool = e.asked = find_pool(s, cli->words[0]);
	if (!e.pool)
		return EXIT_FAILED;
	status = verb_explain_model_take(cli, &e, &asked);
	if (!status)
		status = verb_explain_client_read(cli, m, s, &c);
	if (!status)
		caller_learn(cli, m, &e, &c);
	if (!status)
		status = verb_explain_request_take(cli, m, &e, &c);
	if (!status)
		status = prompt_take(cli, m, &e, &asked);
	if (!status)
		status = session_find(cli, m, &e, &c, &asked.keys[TIER_OWN].session);
	if (!status)
		status = verb_explain_class_take(cli, e.pool, &asked);
	e.own_source = !status && is_own_source(&e, &c);
	return status ? status : explain_pool(&e, m, &c, &asked);
}

const struct command command_explain = {
	.name = "explain",
	.kind = VERB,
	.arguments =
		"POOL [CLIENT] [--header LINE]... [--prompt FILE] [--model NAME] [--class NAME] [--bytes N]",
	.summary = "where a connection would go now, and why",
	.help = "Runs the rule on what the kernel sees now, and changes nothing. CLIENT is --source IP,\n"
		"--session KEY, --cgroup PATH or --pod POD; without it, the connection has no session.\n"
		"With --header and --prompt, a request with these headers, and this body, comes on it, to a\n"
		"pool that is decided by request.\n"
		"Where equal loads, or the sample of a large pool, leave the choice to chance, CHANCE\n"
		"says how likely each endpoint is.",
	.run = run_explain,
	.keys = keys,
	.columns = &explain_columns,
	.options = OPTIONS_NOUN | OPTION_CLIENT,
	.least = 1,
	.most = 1,
	.words = {WORD_POOL},
};
