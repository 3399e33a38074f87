/* SPDX-License-Identifier: Apache-2.0 */
/* state_explain.c - the rule, run on what the maps say. */
#include "state_explain.h"

#include <assert.h>
#include <bpf/bpf.h>

#include "rule/adapters.bpf.h"
#include "mix.bpf.h"
#include "rule/prefix.bpf.h"
#include "state_internal.h"

const char *explain_preference_name(enum explain_preference p)
{
	static const char *const names[] = {
#define X(symbol, name) [EXPLAIN_##symbol] = (name),
		EXPLAIN_PREFERENCES(X)
#undef X
	};

	return names[p];
}

const char *explain_full_name(enum explain_full full)
{
	static const char *const names[] = {
#define X(symbol, name) [EXPLAIN_FULL_##symbol] = (name),
		EXPLAIN_FULLS(X)
#undef X
	};

	return names[full];
}

/* What one decision needs, read once. */
struct question {
	const struct maps *m;
	const struct explain_asked *asked;
	struct pintle_pool pool;
	uint32_t members;
	bool responder;                      /* the overload responder takes the connection */
	uint32_t session_extra;              /* decide_extra() of the session */
	struct decide_candidate bound;       /* with generation 0: none is preferred */
	struct decide_candidate home;        /* likewise */
	struct decide_candidate *candidates; /* [i] is out->candidates[i], for any session */
	struct pintle_holders holders;       /* of the adapter that the request names */
	struct explain *out;
};

static const struct pintle_class *class_of(const struct question *q)
{
	return &q->pool.class_of[q->asked->class_id % PINTLE_MAX_CLASSES];
}

static uint32_t admission_of(const struct question *q)
{
	uint32_t admission = class_of(q)->admission;

	return q->asked->over_quota && admission == PINTLE_ADMISSION_PROCEED
		       ? PINTLE_ADMISSION_REFUSE
		       : admission;
}

static uint64_t max_extra(const struct question *q)
{
	const struct pintle_class *class = class_of(q);

	return class->flags & PINTLE_CLASS_EXTRA ? class->max_extra_load : q->pool.max_extra_load;
}

/* ---- endpoints ------------------------------------------------------------------- */

/* The parts of the load, by the text that adds them up: each with what makes the others left
 * out. */
static void parts_take(struct explain_candidate *to, const struct decide_facts *facts,
		       const struct decide_changes *changes, uint32_t departure)
{
	struct decide_changes still = *changes;
	struct decide_facts f = *facts;
	struct decide_candidate c = {0};

	to->rate = facts->rate ?: DECIDE_RATE;
	f.rate = 0;
	f.passed = 0;
	decide_weigh_changed(&c, &f, changes, departure, false);
	to->page = c.load;
	to->published = c.published;
	f.passed = facts->passed;
	f.published = 0;
	f.fresh = 0;
	still.came = still.placed = 0;
	decide_weigh_changed(&c, &f, &still, departure, false);
	to->prompts = c.load;
	f.fresh = 1;
	decide_weigh_changed(&c, &f, &still, departure, false);
	to->own = c.load - to->prompts;
	to->fresh = facts->fresh;
	to->passed = facts->passed;
	to->came = changes->came;
	to->ended = changes->ended;
	to->placed = changes->placed;
	to->newcomers = facts->passed ? changes->newcomers : 0;
	to->closed = facts->passed ? changes->closed : 0;
}

/* As prompt_missing() in bpf/rule/prompt.bpf.h, beside what the adapter costs. */
static void prompt_take(const struct question *q, const struct state_raw *raw,
			struct explain_candidate *to, const struct decide_candidate *c)
{
	const struct state_prompt *p = q->asked->prompt;

	if (!p)
		return;
	to->have = state_prompt_have(p, &to->endpoint,
				     state_prompt_steps(p, &to->endpoint, raw, q->asked->now_ns));
	to->missing = decide_cap((uint64_t)to->missing + prefix_missing(&p->prompt, c, to->have,
									q->pool.prompt_weight),
				 DECIDE_MAX_MISSING);
}

/* As adapter_missing() in bpf/rule/adapter.bpf.h. */
static int adapter_weigh(const struct question *q, struct explain_candidate *to)
{
	struct pintle_adapters row;
	int err;

	if (!q->asked->adapter || !q->pool.adapter_weight)
		return 0;
	err = maps_value(q->m, MAP_adapters, to->endpoint.id, &row);
	if (err)
		return err;
	to->adapter = adapters_state(&row, to->endpoint.generation, q->asked->adapter);
	to->missing = adapters_missing(to->adapter, q->pool.adapter_weight);
	return 0;
}

/* Fills in what is known of the endpoint to->endpoint, and its loads. */
static int endpoint_weigh(const struct question *q, bool bound, struct explain_candidate *to,
			  struct decide_candidate *c)
{
	const struct pintle_ref *ref = &to->endpoint;
	struct decide_changes changes;
	struct pintle_endpoint is;
	struct state_raw raw;
	const struct eligible_query query = {
		.pool = &q->pool,
		.endpoint = &is,
		.health = &raw.health,
		.override = &raw.override,
		.now = q->asked->now_ns,
		.family = q->asked->family,
	};
	int err;

	*c = (struct decide_candidate){.endpoint = ref->id, .generation = ref->generation};
	to->ineligible = INELIGIBLE_COUNT;
	to->missing = 0;
	if (ref->id >= PINTLE_MAX_ENDPOINTS)
		return 0;
	err = maps_value(q->m, MAP_endpoints, ref->id, &is);
	if (err ||
	    !eligible_member(&is, ref->generation, q->asked->pool.id, q->asked->pool.generation))
		return err;
	err = state_read_raw(q->m, q->asked->now_ns, &q->pool, ref->id, ref->generation, &raw)
		      ?: adapter_weigh(q, to);
	if (err)
		return err;
	to->signals = (struct explain_signals){
		.scraped_ns = eligible_scraped_ns(&raw.score, ref->generation),
		.flags = raw.score.flags,
		.waiting = raw.score.waiting,
		.running = raw.score.running,
		.kv_cache = raw.score.kv_cache,
		.gpu = raw.score.gpu,
	};
	to->ineligible = ineligible(&query, &raw.seen, q->out->daemonless);
	to->due = q->out->mode != PINTLE_MODE_SHADOW && !q->asked->over_quota &&
		  stands_still(to->ineligible) && eligible_due(&raw.health, q->asked->now_ns);
	decide_compare(&changes, &raw.facts);
	parts_take(to, &raw.facts, &changes, q->pool.departure);
	decide_weigh_changed(c, &raw.facts, &changes, q->pool.departure, bound);
	prompt_take(q, &raw, to, c);
	if (class_of(q)->flags & PINTLE_CLASS_BOUNDED)
		c->full = (__u8)eligible_full(class_of(q), q->asked->class_id, &raw.counts,
					      &raw.health, q->out->over);
	return 0;
}

/* As binding_find() in bpf/common.bpf.h, without renewing the entry's place in its LRU map. */
static bool binding_find(const struct question *q, const struct pintle_affinity_key *key,
			 struct pintle_affinity *a)
{
	return !bpf_map_lookup_elem(q->m->fd[MAP_affinity], key, a) ||
	       !bpf_map_lookup_elem(q->m->fd[MAP_affinity_beyond], key, a);
}

/* As share_judge() in bpf/rule/choose.bpf.h. */
static int share_read(struct question *q)
{
	const struct pintle_affinity_key key = {
		.pool = q->asked->pool.id,
		.pool_generation = q->asked->pool.generation,
		.session = q->asked->session,
	};
	struct pintle_bindings bindings;
	struct pintle_refusal refusal;
	struct explain *x = q->out;
	struct pintle_affinity a;
	int err;

	x->places = class_of(q)->places;
	if (!x->places || x->mode == PINTLE_MODE_SHADOW || x->mode == PINTLE_MODE_BASELINE)
		return 0;
	err = maps_value(q->m, MAP_bindings, key.pool, &bindings);
	if (err)
		return err;
	x->sessions = bindings.sharing[q->asked->class_id % PINTLE_MAX_CLASSES];
	if (key.session.kind == PINTLE_KEY_NONE)
		return 0;
	x->open = binding_find(q, &key, &a) ? a.open : 0;
	x->over = eligible_over(x->places, x->open, x->sessions);
	x->suspected = !bpf_map_lookup_elem(q->m->fd[MAP_refusals], &key, &refusal) &&
		       eligible_suspected(&refusal, q->asked->now_ns) &&
		       eligible_over(x->places, x->open + 1, x->sessions + !x->open);
	return 0;
}

/* As class_over() in bpf/rule/choose.bpf.h. */
static int pool_sum(struct question *q)
{
	struct pintle_inflight counts;
	struct explain *x = q->out;

	x->connections = eligible_bound(class_of(q)->connections, x->over);
	x->pool_connections = eligible_bound(class_of(q)->pool_connections, x->over);
	for (uint32_t i = 0; x->pool_connections && i < q->members; i++) {
		int err = maps_value(q->m, MAP_inflight, q->pool.members[i].id, &counts);

		if (err)
			return err;
		x->pool_in_flight += eligible_in_flight(
			&counts.by_class[q->asked->class_id % PINTLE_MAX_CLASSES]);
	}
	return 0;
}

static int members_read(struct question *q)
{
	struct explain *x = q->out;

	/* Room for what is preferred and no member. */
	x->candidates = calloc(q->members + 2, sizeof(*x->candidates));
	q->candidates = calloc(q->members + 2, sizeof(*q->candidates));
	if (!x->candidates || !q->candidates)
		return -ENOMEM;
	for (; x->count < q->members; x->count++) {
		int err;

		x->candidates[x->count].endpoint = q->pool.members[x->count];
		err = endpoint_weigh(q, false, &x->candidates[x->count], &q->candidates[x->count]);
		if (err)
			return err;
	}
	return 0;
}

static struct explain_candidate *candidate_find(struct explain *x, uint32_t id, uint32_t generation)
{
	for (size_t i = 0; i < x->count; i++)
		if (x->candidates[i].endpoint.id == id &&
		    x->candidates[i].endpoint.generation == generation)
			return &x->candidates[i];
	return NULL;
}

/* ---- what is preferred ------------------------------------------------------------- */

/* Weighs the endpoint of `p`, for the session that is bound to it or for a group at home there. */
static int preferred_weigh(struct question *q, struct explain_preferred *p, bool bound,
			   struct decide_candidate *out)
{
	struct explain_candidate c = {.endpoint = p->endpoint};
	struct decide_candidate weighed;
	struct explain *x = q->out;
	int err = endpoint_weigh(q, bound, &c, &weighed);

	if (err)
		return err;
	p->ineligible = c.ineligible;
	if (c.ineligible) {
		p->why = EXPLAIN_INELIGIBLE;
		return 0;
	}
	*out = weighed;
	p->why = EXPLAIN_HOLDS; /* so far: preference_judge() */
	if (candidate_find(x, p->endpoint.id, p->endpoint.generation))
		return 0;
	err = endpoint_weigh(q, false, &c, &q->candidates[x->count]);
	x->candidates[x->count++] = c;
	return err;
}

/* What the maps say of the endpoint to which the session is bound. */
struct bound_state {
	bool passed; /* its newest pass is believed */
	bool other;  /* the prompt does not continue what the session said before */
};

/* As prompt_context() in bpf/rule/prompt.bpf.h; a->context_bytes becomes what the prompt leaves of
 * it.
 */
static bool prompt_is_other(const struct question *q, const struct state_raw *raw,
			    struct pintle_affinity *a)
{
	const struct state_prompt *p = q->asked->prompt;
	const struct pintle_ref endpoint = {a->endpoint, a->generation};
	uint32_t steps, context = MIN(a->context_bytes, (uint32_t)DECIDE_MAX_CONTEXT);

	if (!p)
		return false;
	steps = state_prompt_steps(p, &endpoint, raw, q->asked->now_ns);
	a->context_bytes = prefix_context(context, steps);
	return !prefix_continues(&p->prompt, a->prompt_steps, steps);
}

static struct bound_state bound_look(const struct question *q, struct pintle_affinity *a)
{
	struct state_raw raw;

	if (a->endpoint >= PINTLE_MAX_ENDPOINTS ||
	    state_read_raw(q->m, q->asked->now_ns, &q->pool, a->endpoint, a->generation, &raw))
		return (struct bound_state){0};
	return (struct bound_state){
		.passed = raw.score.generation == a->generation &&
			  eligible_passed(&q->pool, raw.score.passed_ns, q->asked->now_ns),
		.other = prompt_is_other(q, &raw, a),
	};
}

static bool binding_read(const struct question *q, struct pintle_affinity *a)
{
	const struct pintle_affinity_key key = {
		.pool = q->asked->pool.id,
		.pool_generation = q->asked->pool.generation,
		.session = q->asked->session,
	};

	if (q->out->mode == PINTLE_MODE_SHADOW)
		return !bpf_map_lookup_elem(q->m->fd[MAP_shadow_bindings], &key, a);
	return binding_find(q, &key, a);
}

/* As bound_find() in bpf/rule/choose.bpf.h. */
static int bound_read(struct question *q)
{
	struct explain_preferred *p = &q->out->bound;
	struct pintle_affinity a;
	struct bound_state is;

	if (q->asked->session.kind == PINTLE_KEY_NONE)
		return 0;
	p->why = EXPLAIN_NONE;
	if (!binding_read(q, &a))
		return 0;
	if (q->asked->has_context)
		a.context_bytes = q->asked->context_bytes;
	is = bound_look(q, &a);
	if (is.passed && !(class_of(q)->flags & PINTLE_CLASS_EXTRA))
		q->session_extra = decide_extra(a.context_bytes, q->pool.context_bytes);
	*p = (struct explain_preferred){
		.endpoint = {a.endpoint, a.generation},
		.used_ns = a.used_ns,
		.bound_ns = a.bound_ns,
		.open = a.open,
		.idle = is.passed ? a.idle : 0,
		.context_bytes = a.context_bytes,
	};
	if (!decide_binding_holds(a.used_ns, q->asked->now_ns, q->pool.ttl_ns))
		p->why = EXPLAIN_EXPIRED;
	else if (is.other)
		p->why = EXPLAIN_OTHER;
	else if (decide_crowded(&a, is.passed))
		p->why = EXPLAIN_CROWD;
	else
		return preferred_weigh(q, p, true, &q->bound);
	return 0;
}

int state_read_homes(const struct maps *m, const struct pintle_ref *pool, struct pintle_homes **out)
{
	_cleanup_free_ struct pintle_homes *homes = malloc(sizeof(*homes));
	_cleanup_close_ int fd = -1;
	uint32_t id, zero = 0;

	if (!homes)
		return -ENOMEM;
	if (bpf_map_lookup_elem(m->fd[MAP_homes], &pool->id, &id))
		return errno == ENOENT ? 0 : -errno;
	fd = bpf_map_get_fd_by_id(id);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (bpf_map_lookup_elem(fd, &zero, homes))
		return -errno;
	if (homes->pool_generation == pool->generation)
		*out = TAKE_PTR(homes);
	return 0;
}

/* As home_find() in bpf/rule/choose.bpf.h. */
static int home_read(struct question *q)
{
	_cleanup_free_ struct pintle_homes *homes = NULL;
	struct explain_preferred *p = &q->out->home;
	uint64_t id[2];
	int err;

	if (q->asked->group.kind == PINTLE_KEY_NONE)
		return 0;
	p->why = EXPLAIN_NONE;
	err = state_read_homes(q->m, &q->asked->pool, &homes);
	if (err || !homes)
		return err;
	memcpy(id, q->asked->group.id, sizeof(id));
	p->endpoint = homes->home[decide_home(id[0], id[1])];
	return p->endpoint.generation ? preferred_weigh(q, p, false, &q->home) : 0;
}

/* ---- decisions ---------------------------------------------------------------------- */

/* The decide_find of decide_prefer_first(). */
static int preferred_find(struct decide_state *rule, const void *arg, __u32 outcome,
			  struct decide_candidate *c)
{
	const struct question *q = arg;
	bool bound = outcome == PINTLE_OUTCOME_STICKY;

	if (bound)
		rule->extra = q->session_extra;
	*c = bound ? q->bound : q->home;
	return !!c->generation;
}

/* The decide_missing of decide_prefer_missing(): the endpoint is one of the candidates. */
static uint32_t preferred_missing(const void *arg, const struct decide_candidate *c, __u32 outcome)
{
	const struct question *q = arg;
	const struct explain_candidate *there = candidate_find(q->out, c->endpoint, c->generation);

	(void)outcome;
	return there ? there->missing : 0;
}

static void candidate_consider(const struct question *q, struct decide_state *rule, size_t at)
{
	decide_consider_missing(rule, &q->candidates[at], q->out->candidates[at].missing);
}

/* As holder_consider() in bpf/rule/choose.bpf.h. */
static void holder_consider(const struct question *q, struct decide_state *rule, uint32_t id,
			    uint32_t generation)
{
	const struct explain_candidate *c = candidate_find(q->out, id, generation);

	if (generation && c && !c->ineligible)
		candidate_consider(q, rule, (size_t)(c - q->out->candidates));
}

static void holders_consider(const struct question *q, struct decide_state *rule)
{
	const struct state_prompt *p = q->asked->prompt;

	if (rule->baseline)
		return;
	for (size_t i = 0; p && i < PINTLE_PREFIX_KNOWN; i++)
		if (p->known.steps[i])
			holder_consider(q, rule, p->known.of[i].endpoint,
					p->known.of[i].generation);
	if (p)
		holder_consider(q, rule, p->home.id, p->home.generation);
	for (size_t i = 0; i < PINTLE_ADAPTER_HOLDERS; i++)
		holder_consider(q, rule, (uint32_t)q->holders.of[i],
				(uint32_t)(q->holders.of[i] >> 32));
}

static void rule_begin(const struct question *q, struct decide_state *rule, uint64_t seed,
		       uint32_t tie)
{
	struct decide_candidate c;

	decide_begin(rule, seed, q->out->mode == PINTLE_MODE_BASELINE);
	rule->tie = tie;
	if (rule->baseline)
		return;
	rule->limit = eligible_bound(class_of(q)->limit, q->out->over);
	rule->full = q->out->suspected || q->asked->over_quota ||
		     eligible_all(q->out->pool_in_flight, q->out->pool_connections);
	decide_prefer_missing(rule, preferred_find, preferred_missing, q, &c);
}

/* As choose() in bpf/rule/choose.bpf.h; the two random numbers are the kernel's
 * bpf_get_prandom_u32().
 */
static void decide_once(const struct question *q, uint32_t seed, uint32_t random,
			struct decide_result *r)
{
	const struct pintle_pool *pool = &q->pool;
	uint32_t n = pool->member_count, size = decide_sample_size(n, pool->sample);
	struct decide_sample drawn;
	struct decide_state rule;

	rule_begin(q, &rule, mix(seed), pool->tie);
	if (decide_sample_needed(n, size)) {
		decide_sample_draw(&drawn, n, q->out->daemonless ? 0 : pool->ready, random,
				   random >> 16);
		holders_consider(q, &rule);
	} else {
		decide_sample_all(&drawn, n);
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = decide_sample_member(&drawn, n, i);

		if (pool->ready && at < ARRAY_SIZE(pool->order))
			at = pool->order[at];
		if (at >= q->members)
			break;
		if (q->out->candidates[at].due) {
			*r = (struct decide_result){q->candidates[at].endpoint,
						    q->candidates[at].generation,
						    PINTLE_OUTCOME_TRIED};
			return;
		}
		if (!q->out->candidates[at].ineligible) {
			candidate_consider(q, &rule, at);
			decide_sample_take(&drawn, &rule, &q->candidates[at]);
		}
		if (decide_sample_done(&drawn, n, size, i))
			break;
	}
	decide_end(&rule, max_extra(q), decide_admission(admission_of(q), q->responder), r);
}

static void decide_often(struct question *q)
{
	struct explain *x = q->out;

	for (uint32_t i = 0; i < x->tries; i++) {
		uint64_t random = mix(mix(i) + 1);
		struct decide_result r = {.outcome = PINTLE_OUTCOME_NO_ENDPOINT};
		struct explain_candidate *c;

		if (q->asked->forbidden)
			r.outcome = PINTLE_OUTCOME_FORBIDDEN;
		else
			decide_once(q, (uint32_t)random, (uint32_t)(random >> 32), &r);
		x->outcomes[r.outcome]++;
		c = r.generation ? candidate_find(x, r.endpoint, r.generation) : NULL;
		if (c)
			c->chosen++;
	}
	x->outcome = PINTLE_OUTCOME_NO_ENDPOINT;
	for (uint32_t i = 0; i < PINTLE_OUTCOME_COUNT; i++)
		if (x->outcomes[i] > x->outcomes[x->outcome])
			x->outcome = i;
	for (size_t i = 0; i < x->count; i++)
		if (x->candidates[i].chosen > (x->likeliest ? x->likeliest->chosen : 0))
			x->likeliest = &x->candidates[i];
}

/* ---- loads, as they are compared ----------------------------------------------------- */

/* Whether the rule takes this one as the least loaded, if it is: beside fresh scores, a session
 * whose preferred endpoint is lost does not move to another old one. */
static bool is_rival(const struct decide_state *rule, const struct decide_candidate *c)
{
	return c->fresh || !rule->fresh.generation || !rule->preferred.generation ||
	       !rule->preferred.lost;
}

static enum explain_full full_of(const struct explain *x, const struct decide_state *rule,
				 const struct decide_candidate *c)
{
	if (c->full & DECIDE_FULL_CONNECTIONS)
		return EXPLAIN_FULL_CONNECTIONS;
	if (c->full & DECIDE_FULL_RESERVED)
		return EXPLAIN_FULL_RESERVED;
	if (rule->full)
		return x->over_quota  ? EXPLAIN_FULL_QUOTA
		       : x->suspected ? EXPLAIN_FULL_SHARE
				      : EXPLAIN_FULL_POOL;
	if (decide_full_by_load(rule->limit, decide_load(rule, c), 0))
		return EXPLAIN_FULL_LOAD;
	return decide_candidate_rank(rule, c) ? EXPLAIN_FULL_BEFORE : EXPLAIN_FULL_NOT;
}

/* What became of the preferred endpoint, as decide_end() has it, where all members are compared and
 * ties are broken by nothing; `rank` is that of the best one. */
static void preference_judge(struct question *q, const struct decide_state *rule, uint32_t rank)
{
	const struct decide_candidate preferred = decide_preferred(rule);
	bool bound = rule->preferred.outcome == PINTLE_OUTCOME_STICKY;
	struct explain_preferred *p = bound ? &q->out->bound : &q->out->home;

	if (!rule->preferred.generation)
		return;
	p->load = decide_load(rule, &preferred) + rule->preferred.missing;
	p->full = full_of(q->out, rule, &preferred);
	if (rule->preferred.lost && rule->fresh.generation)
		p->why = EXPLAIN_LOST;
	else if (!decide_within(rule, q->out->least, max_extra(q)))
		p->why = EXPLAIN_TOO_LOADED;
	else if (decide_candidate_rank(rule, &preferred) > rank)
		p->why = EXPLAIN_FULL;
	if (bound && q->out->home.why == EXPLAIN_HOLDS)
		q->out->home.why = EXPLAIN_SECOND;
}

/* How much the chosen one's load could grow. */
static void margin_take(struct explain *x, const struct explain_preferred *p,
			const uint32_t ranks[])
{
	const struct explain_candidate *chosen = x->likeliest;
	uint64_t most = UINT64_MAX, limit = x->limit, load;
	bool others = false;

	if (x->sample || x->mode == PINTLE_MODE_BASELINE || !chosen || chosen->chosen < x->tries ||
	    x->outcome == PINTLE_OUTCOME_TRIED)
		return;
	for (size_t i = 0; i < x->count; i++)
		if (&x->candidates[i] != chosen && !x->candidates[i].ineligible) {
			others = true;
			if (ranks[i] <= ranks[chosen - x->candidates])
				most = MIN(most, x->candidates[i].load);
		}
	load = chosen->load;
	if (p && p->why == EXPLAIN_HOLDS) {
		load = p->load;
		most += most == UINT64_MAX ? 0 : x->extra;
	}
	most -= MIN(load, most);
	load -= MIN(chosen->missing, load); /* which counts towards no limit */
	if (chosen->full == EXPLAIN_FULL_NOT && load < limit)
		most = MIN(most, limit - load - 1);
	if (!others || most >= UINT64_MAX / 2)
		return;
	x->has_margin = true;
	/* As the least load grows, the preferred endpoint comes within reach; a session's extra
	 * grows with it. */
	if (p && p->why == EXPLAIN_TOO_LOADED)
		most = MIN(most, (p->load - x->least - x->extra) / (x->by_context ? 2 : 1));
	x->margin = most;
}

static int loads_take(struct question *q)
{
	struct explain *x = q->out;
	_cleanup_free_ uint32_t *ranks = calloc(x->count + 1, sizeof(*ranks));
	const struct explain_preferred *p = NULL;
	uint32_t best = DECIDE_CLOSED;
	struct decide_state rule;

	if (!ranks)
		return -ENOMEM;

	rule_begin(q, &rule, 1, 0);
	rule.baseline = 0; /* which compares no loads */
	x->limit = rule.limit;
	for (size_t i = 0; i < x->count; i++)
		if (!x->candidates[i].ineligible)
			candidate_consider(q, &rule, i);
	x->least = UINT32_MAX;
	for (size_t i = 0; i < x->count; i++) {
		struct explain_candidate *c = &x->candidates[i];

		c->load = c->ineligible ? q->candidates[i].load
					: decide_load(&rule, &q->candidates[i]) + c->missing;
		if (c->ineligible)
			continue;
		c->full = full_of(x, &rule, &q->candidates[i]);
		ranks[i] = decide_candidate_rank(&rule, &q->candidates[i]);
		if (is_rival(&rule, &q->candidates[i]))
			best = MIN(best, ranks[i]);
	}
	for (size_t i = 0; i < x->count; i++)
		if (!x->candidates[i].ineligible && ranks[i] == best &&
		    is_rival(&rule, &q->candidates[i]))
			x->least = MIN(x->least, x->candidates[i].load);
	if (x->least == UINT32_MAX)
		x->least = 0;
	x->by_context = q->session_extra;
	x->extra = q->session_extra ? (uint64_t)q->session_extra + x->least : max_extra(q);
	preference_judge(q, &rule, best);
	if (rule.preferred.generation)
		p = rule.preferred.outcome == PINTLE_OUTCOME_STICKY ? &x->bound : &x->home;
	margin_take(x, p, ranks);
	return 0;
}

/* ---- the whole ----------------------------------------------------------------------- */

/* As pool_mode(), daemon_silent() and responder_of() in bpf/rule/choose.bpf.h, and what the hooks
 * do before they choose. */
static int circumstances_read(struct question *q)
{
	struct pintle_override o = {0};
	struct pintle_trial t;
	struct pintle_node node;
	uint64_t now = q->asked->now_ns;
	int err = maps_value(q->m, MAP_node, 0, &node);

	if (err)
		return err;
	if (maps_value(q->m, MAP_overrides, q->asked->pool.id, &o) ||
	    o.generation != q->pool.generation)
		o = (struct pintle_override){0};
	q->out->mode = o.flags & PINTLE_OVERRIDE_MODE ? o.mode : q->pool.mode;
	q->out->daemonless = eligible_daemonless(&q->pool, node.heartbeat_ns, now);
	if (state_read_trial(q->m, q->asked->pool.id, &o, now, &t))
		q->out->mode = state_trial_mode(&t, q->out->daemonless, now, q->out->mode);
	q->responder =
		!q->out->daemonless && node.responders[PINTLE_RESPONDER_AT(q->asked->family)].port;
	q->out->passes = q->out->mode == PINTLE_MODE_OFF ||
			 (hook_has(q->pool.decided_by, PINTLE_TRAIT_DAEMONLESS) &&
			  eligible_left(&q->pool, &node, now));
	return 0;
}

static int question_read(struct question *q)
{
	struct explain *x = q->out;
	uint32_t size;
	int err = maps_value(q->m, MAP_pools, q->asked->pool.id, &q->pool);

	if (err)
		return err;
	if (!q->pool.generation || q->pool.generation != q->asked->pool.generation)
		return -ESTALE;
	q->members = MIN(q->pool.member_count, (uint32_t)ARRAY_SIZE(q->pool.members));
	size = decide_sample_size(q->pool.member_count, q->pool.sample);
	x->sample = decide_sample_needed(q->pool.member_count, size) ? size : 0;
	x->tries = q->asked->tries;
	x->over_quota = q->asked->over_quota;
	err = circumstances_read(q) ?: share_read(q);
	if (!err && q->asked->adapter < PINTLE_MAX_ADAPTERS && q->asked->adapter)
		err = maps_value(q->m, MAP_adapter_holders, q->asked->adapter, &q->holders);
	if (!err)
		err = members_read(q);
	if (!err)
		err = pool_sum(q);
	if (err || x->passes || x->mode == PINTLE_MODE_BASELINE) {
		x->bound.why = x->home.why = EXPLAIN_MODE;
		return err;
	}
	err = bound_read(q);
	return err ?: home_read(q);
}

int explain_read(const struct maps *m, const struct explain_asked *asked, struct explain **out)
{
	_cleanup_(explain_freep) struct explain *x = calloc(1, sizeof(*x));
	_cleanup_free_ struct question *q = calloc(1, sizeof(*q));
	int err;

	assert(asked->tries && asked->pool.id < PINTLE_MAX_POOLS);
	if (!x || !q)
		return -ENOMEM;
	q->m = m;
	q->asked = asked;
	q->out = x;
	err = question_read(q);
	if (!err && x->passes) {
		x->outcome = PINTLE_OUTCOME_PASSED;
		x->outcomes[x->outcome] = x->tries;
	} else if (!err) {
		decide_often(q);
	}
	if (!err)
		err = loads_take(q);
	free(q->candidates);
	if (err)
		return err;
	*out = TAKE_PTR(x);
	return 0;
}

/* ---- a decision that was made ---------------------------------------------------------- */

/* The kernel made no loads for an endpoint that may not be chosen. */
static void traced_candidate(struct question *q, const struct pintle_trace_candidate *from)
{
	struct explain *x = q->out;
	struct explain_candidate *to = &x->candidates[x->count];
	struct decide_candidate *c = &q->candidates[x->count++];
	struct decide_changes changes;
	struct decide_facts facts;

	memcpy(c, from->candidate, sizeof(*c));
	memcpy(&facts, from->facts, sizeof(facts));
	to->endpoint = (struct pintle_ref){c->endpoint, c->generation};
	to->ineligible = MIN(from->ineligible, (uint32_t)INELIGIBLE_COUNT);
	to->signals = (struct explain_signals){from->scraped_ns, from->flags,    from->waiting,
					       from->running,    from->kv_cache, from->gpu};
	to->adapter = MIN(from->adapter, (uint16_t)ADAPTERS_LACKS);
	to->missing = from->missing;
	to->have = from->have;
	decide_compare(&changes, &facts);
	parts_take(to, &facts, &changes, q->pool.departure);
	if (to->ineligible)
		decide_weigh_changed(c, &facts, &changes, q->pool.departure, false);
}

/* Why the endpoint is not preferred: what the note says of it as a candidate. */
static void traced_ineligible(const struct question *q, struct explain_preferred *p)
{
	const struct explain_candidate *c =
		candidate_find(q->out, p->endpoint.id, p->endpoint.generation);

	p->why = EXPLAIN_INELIGIBLE;
	p->ineligible = c && c->ineligible ? c->ineligible : INELIGIBLE_COUNT;
}

/* As bound_find(), home_find() and decide_prefer_first() left it in `rule`. */
static void traced_preferred(struct question *q, const struct pintle_trace *t,
			     const struct decide_state *rule)
{
	const struct pintle_affinity *a = &t->bound;
	struct explain_preferred *bound = &q->out->bound, *home = &q->out->home;
	const struct explain_candidate *there = candidate_find(q->out, a->endpoint, a->generation);
	struct decide_candidate preferred = decide_preferred(rule);
	bool sticky = rule->preferred.outcome == PINTLE_OUTCOME_STICKY;

	preferred.endpoint = rule->preferred.endpoint;
	preferred.generation = rule->preferred.generation;
	preferred.lost = rule->preferred.lost;
	preferred.rate = DECIDE_RATE;
	if (q->asked->session.kind != PINTLE_KEY_NONE)
		bound->why = EXPLAIN_NONE;
	if (q->pool.group_kind != PINTLE_KEY_NONE)
		home->why = EXPLAIN_NONE;
	home->endpoint = t->home;
	if (a->generation) {
		bound->endpoint = (struct pintle_ref){a->endpoint, a->generation};
		bound->used_ns = a->used_ns;
		bound->bound_ns = a->bound_ns;
		bound->open = a->open;
		bound->idle = there && there->passed ? a->idle : 0;
		bound->context_bytes = a->context_bytes;
		if (preferred.generation && sticky)
			bound->why = EXPLAIN_HOLDS;
		else if (!decide_binding_holds(a->used_ns, t->decided_ns, q->pool.ttl_ns))
			bound->why = EXPLAIN_EXPIRED;
		else if (t->flags & PINTLE_TRACE_OTHER)
			bound->why = EXPLAIN_OTHER;
		else if (decide_crowded(a, there && there->passed))
			bound->why = EXPLAIN_CROWD;
		else
			traced_ineligible(q, bound);
	}
	if (home->endpoint.generation && preferred.generation)
		home->why = sticky ? EXPLAIN_SECOND : EXPLAIN_HOLDS;
	else if (home->endpoint.generation)
		traced_ineligible(q, home);
	if (preferred.generation)
		*(sticky ? &q->bound : &q->home) = preferred;
}

static int traced_read(struct question *q, const struct pintle_trace *t)
{
	struct explain *x = q->out;
	struct explain_candidate *chosen;
	struct decide_state rule;
	int err = maps_value(q->m, MAP_pools, t->key.pool, &q->pool);

	if (err)
		return err;
	if (!q->pool.generation || q->pool.generation != t->key.pool_generation)
		return -ESTALE;
	x->candidates = calloc(PINTLE_TRACED + 1, sizeof(*x->candidates));
	q->candidates = calloc(PINTLE_TRACED + 1, sizeof(*q->candidates));
	if (!x->candidates || !q->candidates)
		return -ENOMEM;
	memcpy(&rule, t->rule, sizeof(rule));
	x->mode = t->mode;
	x->daemonless = t->flags & PINTLE_TRACE_DAEMONLESS;
	x->over = t->flags & PINTLE_TRACE_OVER;
	x->connections = eligible_bound(class_of(q)->connections, x->over);
	x->pool_connections = eligible_bound(class_of(q)->pool_connections, x->over);
	x->suspected = t->flags & PINTLE_TRACE_FULL;
	if (rule.full && !x->over_quota && !x->suspected)
		x->pool_in_flight = x->pool_connections;
	if (decide_sample_needed(q->pool.member_count,
				 decide_sample_size(q->pool.member_count, q->pool.sample)))
		x->sample = t->compared;
	for (uint32_t i = 0; i < MIN(t->count, (uint32_t)PINTLE_TRACED); i++)
		traced_candidate(q, &t->of[i]);
	q->session_extra = rule.extra;
	if (x->mode == PINTLE_MODE_BASELINE)
		x->bound.why = x->home.why = EXPLAIN_MODE;
	else
		traced_preferred(q, t, &rule);
	x->outcome = MIN(t->outcome, (uint32_t)PINTLE_OUTCOME_COUNT - 1);
	x->outcomes[x->outcome] = x->tries;
	chosen =
		t->chosen.generation ? candidate_find(x, t->chosen.id, t->chosen.generation) : NULL;
	if (chosen) {
		chosen->chosen = x->tries;
		x->likeliest = chosen;
	}
	return 0;
}

int explain_traced(const struct maps *m, const struct pintle_trace *t, struct explain **out)
{
	const struct explain_asked asked = {
		.pool = {t->key.pool, t->key.pool_generation},
		.session = t->key.session,
		.class_id = t->class_id,
		.over_quota = t->flags & PINTLE_TRACE_OVER_QUOTA,
		.now_ns = t->decided_ns,
		.tries = 1,
	};
	_cleanup_(explain_freep) struct explain *x = calloc(1, sizeof(*x));
	_cleanup_free_ struct question *q = calloc(1, sizeof(*q));
	int err;

	if (!x || !q)
		return -ENOMEM;
	q->m = m;
	q->asked = &asked;
	q->out = x;
	x->tries = asked.tries;
	x->over_quota = asked.over_quota;
	err = asked.pool.id < PINTLE_MAX_POOLS ? traced_read(q, t) : -ESTALE;
	if (!err)
		err = loads_take(q);
	free(q->candidates);
	if (err)
		return err;
	*out = TAKE_PTR(x);
	return 0;
}

void explain_free(struct explain *x)
{
	if (!x)
		return;
	free(x->candidates);
	free(x);
}
