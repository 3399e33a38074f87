// SPDX-License-Identifier: Apache-2.0
/*
 * lab_policy_pintle.c - Pintle on each node: the rule of bpf/rule/decide.bpf.h with the facts of
 * bpf/rule/eligible.bpf.h, the load formulas of policy/score.h and policy/work.h and the homes of
 * policy/maglev.h.
 *
 * The sequence is the lab's own, and differs from that of choose() (bpf/rule/choose.bpf.h):
 *
 *   - Keys of experiments leave out or replace parts of the formulas: `correction`, `ends`,
 *     `placed`, `exponent`, `crowd`, `follow`.
 *   - The lab's generator draws the sample, and the holders of a prompt's beginning are considered
 *     also where all endpoints are compared. So ties fall otherwise.
 *   - All endpoints are eligible. There are no shares, quotas and adapters, and no pools beside.
 *
 * On choose() each node would need its own rows of every map, these keys would need ways into the
 * kernel's text, and every figure in lab/docs would change.
 *
 * A node counts only its own connections, and sees those of other nodes in the scrapes. Handshakes
 * take no time in the lab, so no connection is ever pending.
 *
 * With the key `follow` a node knows of requests what the passes over its sockets find: every
 * PASS_NS it sees which connections wait, are answered or are idle. Between two passes it knows
 * only that connections opened and closed. A token is LAB_BYTES_PER_TOKEN bytes on the wire.
 */
#include <rule/eligible.bpf.h>
#include <stdlib.h>

#include "../../userspace/config/config.h"
#include "../../userspace/base/util.h"
#include "../../userspace/pintled/publish/publish.h"
#include "../../userspace/policy/maglev.h"
#include "../../userspace/policy/score.h"
#include "../../userspace/policy/others.h"
#include "../../userspace/policy/reserve.h"
#include "../../userspace/policy/work.h"
#include "../fleet/lab_index.h"
#include "lab_policy.h"
#include "lab_prefixes.h"

enum {
	MAX_EXTRA_LOAD,
	QUEUE,
	KV_CACHE,
	RUNNING,
	QUEUE_DEPTH,
	KV_THRESHOLD,
	EXPONENT,
	INTERVAL,
	STALENESS,
	TTL,
	KEY,
	GROUP,
	SAMPLE,
	CORRECTION,
	PLACED,
	ENDS,
	BINDINGS,
	FOLLOW,
	TIE,
	REQUEST_BYTES,
	CONTEXT_BYTES,
	CROWD,
	RETRY_AFTER,
	DECIDE,
	PREFIX,
	VISIBLE,
	PREFIXES,
};

#define PASS_NS 50000000ULL
#define NOTES   (1U << 18)
/* Engines run for so long when the experiment begins: prefix.bpf.h asks for it. */
#define BEGUN_NS (1ULL << 40)

/* What a node knows of an endpoint. Every endpoint is eligible. */
struct view {
	struct work_counts counts;
	struct pintle_work live;   /* as of now: the node will see it at its next pass */
	struct pintle_score score; /* its times are one more: 0 means never */
	/* With decide=request, whose size is known at once: uncached bytes of all that was placed,
	 * now and as of the newest pass. */
	uint64_t asked, asked_at_pass;
};

/* What a node knows of a session: see struct pintle_affinity. Two sessions with the same place in
 * the table forget each other. */
struct note {
	uint64_t key, pass;
	struct pintle_affinity known;
	struct pintle_learner learner;
	uint32_t idle; /* as of now */
};

/* By what an endpoint is full for a class, as a node knows it. */
struct full {
	struct pintle_inflight inflight;
	struct pintle_health health;
};

struct node {
	struct work_mean mean;
	struct others others;
	struct pintle_learners learners;
	uint64_t requests, bytes, pass;
};

struct pintle {
	struct lab_fleet fleet;
	double v[LAB_MAX_KEYS];
	struct config_weights weights;
	struct config_saturation saturation;
	struct pintle_pool pool; /* without rules: class_id_of() */
	struct rng random;
	struct lab_index *bindings;
	struct pintle_ref *homes; /* PINTLE_HOME_ENTRIES */
	struct view *views;       /* [node][endpoint] */
	struct node *nodes;
	struct full *full;             /* [node][endpoint]; NULL: the pool has no classes */
	struct note *notes;            /* by a hash of client and node: NOTES */
	struct lab_prefixes *prefixes; /* NULL: decided by connection */
	uint64_t outcomes[PINTLE_MAX_OUTCOMES];
};

static void pintle_destroy(void *self)
{
	struct pintle *p = self;

	lab_index_free(p->bindings);
	free(p->homes);
	free(p->views);
	free(p->nodes);
	free(p->full);
	free(p->notes);
	lab_prefixes_free(p->prefixes);
	free(p);
}

static int homes_build(struct pintle *p)
{
	uint32_t n = p->fleet.endpoints;
	_cleanup_free_ struct maglev_member *members = calloc(n, sizeof(*members));
	_cleanup_free_ char(*names)[16] = calloc(n, sizeof(*names));

	p->homes = calloc(PINTLE_HOME_ENTRIES, sizeof(*p->homes));
	if (!members || !names || !p->homes)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "gpu%u", i);
		members[i] = (struct maglev_member){i, 1, names[i], 1};
	}
	return maglev_build(members, n, p->homes, PINTLE_HOME_ENTRIES);
}

/* All nodes reserve the same endpoints, as daemons do. */
static int reserves_take(struct pintle *p)
{
	uint32_t n = p->fleet.endpoints;
	_cleanup_free_ struct reserve_member *members = calloc(n, sizeof(*members));
	int err;

	if (!members)
		return -ENOMEM;
	for (uint32_t e = 0; e < n; e++)
		members[e] = (struct reserve_member){.hash = lab_hash(e, 0x4e5e), .ready = true};
	err = reserve_fold(p->pool.class_of, p->pool.class_count, members, n);
	for (uint32_t i = 0; !err && i < p->fleet.nodes * n; i++)
		p->full[i].health.closed_classes = members[i % n].closed;
	return err;
}

static int classes_take(struct pintle *p)
{
	const struct config_pool *c = p->fleet.pool;
	size_t size;

	p->pool.class_count = c ? (uint32_t)c->class_count : 0;
	if (!p->pool.class_count)
		return 0;
	for (uint32_t i = 0; i < p->pool.class_count; i++)
		publish_class(&p->pool.class_of[i], c, &c->classes[i]);
	size = (size_t)p->fleet.nodes * p->fleet.endpoints * sizeof(*p->full);
	p->full = aligned_alloc(_Alignof(struct full), size);
	if (!p->full)
		return -ENOMEM;
	memset(p->full, 0, size);
	return reserves_take(p);
}

/* The class that is called as the workload calls the request's kind of work; without one, the
 * first. */
static uint32_t class_id_of(const struct pintle *p, const struct lab_request *r)
{
	for (uint32_t i = 0; r->label && i < p->pool.class_count; i++)
		if (!strcmp(p->pool.class_of[i].name, r->label))
			return i;
	return 0;
}

static const struct pintle_class *class_of(const struct pintle *p, const struct lab_request *r)
{
	return &p->pool.class_of[class_id_of(p, r)];
}

static int pintle_create(const struct lab_fleet *fleet, const double *v, void **out)
{
	bool by_context = v[MAX_EXTRA_LOAD] < 0;
	double extra = by_context ? CONFIG_EXTRA_UNKNOWN : v[MAX_EXTRA_LOAD];
	struct pintle *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->fleet = *fleet;
	memcpy(p->v, v, sizeof(p->v));
	p->weights = (struct config_weights){
		.queue = v[QUEUE], .kv_cache = v[KV_CACHE], .running = v[RUNNING]};
	p->saturation = (struct config_saturation){.queue_depth = v[QUEUE_DEPTH],
						   .kv_cache = v[KV_THRESHOLD]};
	p->pool = (struct pintle_pool){
		.ttl_ns = (uint64_t)(v[TTL] * 1e9),
		.max_extra_load = (uint64_t)(extra * 1000),
		.context_bytes = v[FOLLOW] > 0 && by_context ? (uint32_t)v[CONTEXT_BYTES] : 0,
		.staleness_ns = (uint64_t)(v[STALENESS] * 1e6),
		.departure = (uint32_t)(v[RUNNING] * 1000),
	};
	p->random.state = fleet->seed;
	p->views = calloc((size_t)fleet->nodes * fleet->endpoints, sizeof(*p->views));
	p->nodes = calloc(fleet->nodes, sizeof(*p->nodes));
	p->notes = calloc(NOTES, sizeof(*p->notes));
	err = p->views && p->nodes && p->notes
		      ? lab_index_new(fleet->nodes, (uint32_t)v[BINDINGS], &p->bindings)
		      : -ENOMEM;
	if (!err && v[DECIDE] > 0)
		err = lab_prefixes_new(fleet->nodes, (uint32_t)v[PREFIXES], &p->prefixes);
	if (!err)
		err = homes_build(p);
	if (!err)
		err = classes_take(p);
	if (err) {
		pintle_destroy(p);
		return err;
	}
	*out = p;
	return 0;
}

static struct view *view_of(const struct pintle *p, uint32_t node, uint32_t endpoint)
{
	return &p->views[(size_t)node * p->fleet.endpoints + endpoint];
}

static struct full *full_of(const struct pintle *p, uint32_t node, uint32_t endpoint)
{
	return p->full ? &p->full[(size_t)node * p->fleet.endpoints + endpoint] : NULL;
}

/* -- scores --------------------------------------------------------------------------- */

/* The published load with another exponent of the KV curve than the formula's. */
static uint32_t bend(const struct pintle *p, const struct signals *s)
{
	struct config_weights without = p->weights;
	struct pintle_score score;
	double kv, load;

	without.kv_cache = 0;
	score_compute(s, -1, &without, &p->saturation, &score);
	kv = s->value[SIGNAL_KV_CACHE] / p->saturation.kv_cache;
	load = score.model[0].published +
	       1000 * p->weights.kv_cache * p->saturation.queue_depth * pow(kv, p->v[EXPONENT]);
	return (uint32_t)MIN(load, (double)PINTLE_MAX_LOAD);
}

static void pintle_page(void *self, uint32_t node, uint32_t endpoint, const struct lab_page *page,
			uint64_t now_ns)
{
	struct pintle *p = self;
	struct view *view = view_of(p, node, endpoint);
	struct signals s = {
		.present = {[SIGNAL_WAITING] = true,
			    [SIGNAL_RUNNING] = true,
			    [SIGNAL_KV_CACHE] = true},
		.value = {[SIGNAL_WAITING] = page->waiting,
			  [SIGNAL_RUNNING] = page->running,
			  [SIGNAL_KV_CACHE] = page->kv_cache},
	};
	struct pintle_score *score = &view->score;
	struct others *others = &p->nodes[node].others;
	double own = (double)view->live.waiting + view->live.answering;

	score_compute(&s, -1, &p->weights, &p->saturation, score);
	if (p->v[EXPONENT] != 4)
		score->model[0].published = bend(p, &s);
	if (p->v[PLACED] > 0)
		score->model[0].arrival = (uint32_t)(p->v[PLACED] * 1000);
	score->inflight = view->counts.inflight;
	score->scraped_ns = now_ns + 1;
	others_page(others, page->waiting + page->running, own, p->fleet.endpoints);
	others_judge(others);
}

/* -- requests, as passes find them ------------------------------------------------------- */

/* Does what the node's passes until now did. They are made up for when somebody asks, or changes
 * what they would have seen: nothing changed since the newest of them. */
static void node_pass(struct pintle *p, uint32_t number, uint64_t now_ns)
{
	double scale = WORK_BYTES_PER_REQUEST / p->v[REQUEST_BYTES];
	struct node *node = &p->nodes[number];

	if (p->v[FOLLOW] == 0 || node->pass == now_ns / PASS_NS)
		return;
	node->pass = now_ns / PASS_NS;
	work_mean_update(&node->mean, node->requests, node->bytes);
	for (uint32_t e = 0; e < p->fleet.endpoints; e++) {
		struct view *view = view_of(p, number, e);

		view->live.passed_ns = node->pass * PASS_NS + 1;
		view->asked_at_pass = view->asked;
		work_fold(&view->live, &p->weights, node->mean.bytes, &view->counts, &view->score);
		view->score.prompt = (uint32_t)(view->score.prompt * scale);
		view->score.newcomer = (uint32_t)(view->score.newcomer * scale);
	}
}

static struct note *note_of(const struct pintle *p, const struct lab_request *r, uint64_t now_ns)
{
	uint64_t key = lab_hash(r->client, r->node) | 1;
	struct note *n = &p->notes[key % NOTES];

	if (n->key != key)
		*n = (struct note){.key = key, .pass = now_ns / PASS_NS};
	if (n->pass != now_ns / PASS_NS) {
		n->pass = now_ns / PASS_NS;
		n->known.idle = n->idle;
	}
	return n;
}

/* A request begins. `bound` says whether its session was bound to the endpoint when it came: then
 * what the session said and heard last is cached there, unless another request of it is under way,
 * which it does not continue. */
static void request_begins(struct pintle *p, struct lab_request *r, bool bound, uint32_t cached,
			   uint64_t now_ns)
{
	struct pintle_work *live = &view_of(p, r->node, r->endpoint)->live;
	struct node *node = &p->nodes[r->node];
	struct note *n = note_of(p, r, now_ns);
	uint64_t bytes = (uint64_t)r->prompt_tokens * LAB_BYTES_PER_TOKEN;

	if (bound && n->known.open <= n->idle + 1)
		cached = MAX(cached, n->known.context_bytes);
	bytes -= MIN(bytes, cached);
	r->charge = (uint32_t)bytes;
	view_of(p, r->node, r->endpoint)->asked += bytes;
	live->waiting++;
	live->prompt_bytes += bytes;
	node->requests++;
	node->bytes += bytes;
}

static void pintle_first(void *self, const struct lab_request *r, uint64_t now_ns)
{
	struct pintle *p = self;
	struct pintle_work *live = &view_of(p, r->node, r->endpoint)->live;

	node_pass(p, r->node, now_ns);
	live->waiting--;
	live->prompt_bytes -= r->charge;
	live->answering++;
}

static void pintle_again(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct pintle *p = self;
	struct note *n = note_of(p, r, now_ns);

	node_pass(p, r->node, now_ns);
	view_of(p, r->node, r->endpoint)->live.idle--;
	if (n->idle)
		n->idle--;
	request_begins(p, r, true, 0, now_ns);
}

static void pintle_answered(void *self, const struct lab_request *r, uint64_t now_ns)
{
	struct pintle *p = self;
	struct pintle_work *live = &view_of(p, r->node, r->endpoint)->live;
	struct note *n = note_of(p, r, now_ns);

	node_pass(p, r->node, now_ns);
	if (r->first_ns) {
		live->answering--;
	} else {
		live->waiting--;
		live->prompt_bytes -= r->charge;
	}
	live->idle++;
	n->idle++;
	n->known.context_bytes = (r->prompt_tokens + r->output_tokens) * LAB_BYTES_PER_TOKEN;
}

/* -- the rule, as choose.bpf.h asks it --------------------------------------------------- */

/* A decision under way. */
struct asked {
	struct pintle *p;
	const struct lab_request *r;
	uint64_t now_ns;
	const struct pintle_class *class;
	uint32_t class_id;
	/* with decide=request */
	struct pintle_prompt prompt;
	struct pintle_known known;
	const struct pintle_ref *home; /* of the prompt, or NULL */
};

static uint32_t steps(const struct asked *a, uint32_t endpoint)
{
	return prefix_steps(&a->known, endpoint, 1, a->now_ns + BEGUN_NS, 0);
}

static uint32_t have(const struct asked *a, uint32_t endpoint)
{
	uint32_t bytes = prefix_have(&a->known, &a->prompt, steps(a, endpoint));

	return a->home && endpoint == a->home->id ? prefix_home_have(bytes) : bytes;
}

static uint32_t missing(const struct asked *a, const struct decide_candidate *c)
{
	double per_chunk = 1000 * a->p->v[PREFIX] * PREFIX_CHUNK / a->p->v[REQUEST_BYTES];

	return prefix_missing(&a->prompt, c, have(a, c->endpoint), (uint32_t)per_chunk);
}

static void weigh(const struct asked *a, bool bound, struct decide_candidate *c)
{
	const struct pintle *p = a->p;
	const struct view *view = view_of(p, a->r->node, c->endpoint);
	struct decide_facts f = {.inflight = view->counts.inflight, .opened = view->counts.opened};
	struct eligible_score score = {.whole = true};

	eligible_score_take(&score, &view->score, 0, &p->pool, a->now_ns + 1);
	eligible_facts(&f, &p->pool, &score, a->now_ns + 1);
	/* The sizes of newcomers' prompts are known. */
	if (p->prefixes && f.passed) {
		double bytes = (double)(view->asked - view->asked_at_pass);

		f.prompt += (uint32_t)(1000 * bytes / p->v[REQUEST_BYTES]);
		f.newcomer = 0;
	}
	/* Keys `correction` and `ends` leave out parts of the rule. */
	if (p->v[CORRECTION] == 0 || (p->v[ENDS] == 0 && f.inflight < f.inflight_at_scrape))
		f.inflight_at_scrape = f.inflight;
	decide_weigh(c, &f, p->pool.departure, bound);
	if (a->class->flags & PINTLE_CLASS_BOUNDED) {
		const struct full *full = full_of(p, a->r->node, c->endpoint);

		c->full =
			eligible_full(a->class, a->class_id, &full->inflight, &full->health, false);
	}
}

/* Remembers whether the endpoint is full by its load. */
static void mark(const struct asked *a, const struct decide_state *rule,
		 const struct decide_candidate *c)
{
	uint32_t *marks, bit = 1U << a->class_id;

	if (!rule->limit || !c->fresh)
		return;
	marks = &full_of(a->p, a->r->node, c->endpoint)->health.full_classes;
	if (decide_full_by_load(rule->limit, decide_load(rule, c), c->full))
		*marks |= bit;
	else
		*marks &= ~bit;
}

/* Whether the node has as many connections of the class as it may have. */
static bool class_over(const struct asked *a)
{
	uint64_t n = 0;

	for (uint32_t e = 0; a->class->pool_connections && e < a->p->fleet.endpoints; e++)
		n += eligible_in_flight(
			&full_of(a->p, a->r->node, e)->inflight.by_class[a->class_id]);
	return eligible_all(n, a->class->pool_connections);
}

/* The binding that holds, or NULL. */
static const struct lab_entry *binding_of(const struct asked *a)
{
	const struct pintle *p = a->p;
	const struct lab_entry *e =
		p->v[KEY] > 0 ? lab_index_get(p->bindings, a->r->client, a->r->node) : NULL;

	return e && decide_binding_holds(e->used_ns, a->now_ns, p->pool.ttl_ns) ? e : NULL;
}

static bool crowded(const struct pintle *p, const struct note *n)
{
	if (p->v[CROWD] == DECIDE_MAX_BUSY)
		return decide_crowded(&n->known, true);
	return (double)n->known.open - n->known.idle > p->v[CROWD];
}

static int bound_find(const struct asked *a, struct decide_state *rule, struct decide_candidate *c)
{
	const struct pintle *p = a->p;
	const struct lab_entry *e = binding_of(a);
	const struct note *n = note_of(p, a->r, a->now_ns);
	uint32_t context = n->known.context_bytes;
	bool continues = true;

	if (p->prefixes && e) {
		continues = prefix_continues(&a->prompt, n->known.prompt_steps, steps(a, e->value));
		context = prefix_context(context, steps(a, e->value));
	}
	if (!(a->class->flags & PINTLE_CLASS_EXTRA))
		rule->extra = decide_extra(context, p->pool.context_bytes);
	if (!e || !continues || (p->v[FOLLOW] > 0 && crowded(p, n)))
		return 0;
	c->endpoint = e->value;
	return 1;
}

static int home_find(const struct asked *a, struct decide_candidate *c)
{
	const struct pintle *p = a->p;

	if (p->v[GROUP] == 0)
		return 0;
	c->endpoint = p->homes[decide_home(0, a->r->group + 1)].id;
	return 1;
}

/* The decide_find of decide_prefer_first(). */
static int preferred_find(struct decide_state *rule, const void *arg, uint32_t outcome,
			  struct decide_candidate *c)
{
	const struct asked *a = arg;
	bool bound = outcome == PINTLE_OUTCOME_STICKY;

	int found = bound ? bound_find(a, rule, c) : home_find(a, c);

	if (!found)
		return 0;
	c->generation = 1;
	weigh(a, bound, c);
	return found;
}

/* The decide_missing of decide_prefer_missing(). */
static uint32_t preferred_missing(const void *arg, const struct decide_candidate *c,
				  uint32_t outcome)
{
	(void)outcome;
	return missing(arg, c);
}

static void consider(const struct asked *a, struct decide_state *rule, struct decide_candidate *c)
{
	weigh(a, false, c);
	if (a->p->prefixes)
		decide_consider_missing(rule, c, missing(a, c));
	else
		decide_consider(rule, c);
}

/* The endpoints that hold much of the prompt, and its home, are candidates beside the sample. */
static void holders_consider(const struct asked *a, struct decide_state *rule)
{
	struct decide_candidate c = {.generation = 1};

	for (uint32_t i = 0; i < PINTLE_PREFIX_KNOWN; i++) {
		c.endpoint = a->known.of[i].endpoint;
		if (a->known.steps[i])
			consider(a, rule, &c);
	}
	if (a->home) {
		c.endpoint = (uint16_t)a->home->id;
		consider(a, rule, &c);
	}
}

/* Reads the prompt. */
static void prompt_take(struct asked *a)
{
	struct pintle *p = a->p;

	lab_prefixes_read(a->r, p->fleet.block_tokens, (uint32_t)p->v[VISIBLE], &a->prompt);
	lab_prefixes_search(p->prefixes, a->r->node, &a->prompt, a->now_ns + BEGUN_NS,
			    p->pool.ttl_ns, &a->known);
	if (prefix_seeks_home(&a->prompt, &a->known, p->nodes[a->r->node].others.level))
		a->home = &p->homes[prefix_home(&a->prompt)];
}

/* The chosen endpoint is given the prompt. */
static void prompt_learn(struct asked *a, uint32_t endpoint)
{
	struct pintle *p = a->p;
	struct note *n = note_of(p, a->r, a->now_ns);
	struct pintle_learner *l = &n->learner;
	uint32_t window = (uint32_t)(a->now_ns / MAX(p->pool.ttl_ns, 1ULL));
	uint32_t share =
		prefix_share(l, &p->nodes[a->r->node].learners, window, (uint32_t)p->v[PREFIXES]);

	l->added += lab_prefixes_learn(p->prefixes, a->r->node, &a->prompt, endpoint,
				       a->now_ns + BEGUN_NS, share);
	if (a->prompt.steps)
		n->known.prompt_steps = a->prompt.steps;
}

static void sample_consider(const struct asked *a, struct decide_state *rule)
{
	struct decide_candidate c = {.generation = 1};
	uint32_t n = a->p->fleet.endpoints, size = (uint32_t)a->p->v[SAMPLE];
	struct decide_sample drawn;

	if (!size)
		size = decide_sample_size(n, others_sample(a->p->nodes[a->r->node].others.level));
	decide_sample_all(&drawn, n);
	if (decide_sample_needed(n, size)) {
		uint32_t start = rng_below(&a->p->random, n);

		decide_sample_draw(&drawn, n, 0, start, rng_below(&a->p->random, DECIDE_STRIDES));
	}
	for (uint32_t i = 0; i < n; i++) {
		c.endpoint = decide_sample_member(&drawn, n, i);
		consider(a, rule, &c);
		decide_sample_take(&drawn, rule, &c);
		mark(a, rule, &c);
		if (decide_sample_done(&drawn, n, size, i))
			break;
	}
}

/* Clients that are refused together do not come again together. */
static uint32_t refuse(struct pintle *p, struct lab_request *r)
{
	r->retry_ns = (uint64_t)(p->v[RETRY_AFTER] * 1e9 * (1 + rng_unit(&p->random)));
	return LAB_REFUSED;
}

static uint32_t pintle_pick(void *self, struct lab_request *r, uint64_t now_ns)
{
	struct pintle *p = self;
	struct asked a = {
		.p = p,
		.r = r,
		.now_ns = now_ns,
		.class = class_of(p, r),
		.class_id = class_id_of(p, r),
	};
	struct decide_result result;
	struct decide_state rule;
	struct decide_candidate c = {0};

	const struct lab_entry *bound = binding_of(&a);
	bool extra = a.class->flags & PINTLE_CLASS_EXTRA;
	struct full *full;

	node_pass(p, r->node, now_ns);
	decide_begin(&rule, rng_next(&p->random), 0);
	rule.tie = p->v[TIE] < 0 ? others_tie(p->nodes[r->node].others.level)
				 : (uint32_t)(p->v[TIE] * 1000);
	rule.limit = a.class->limit;
	rule.full = class_over(&a);
	if (p->prefixes)
		prompt_take(&a);
	decide_prefer_missing(&rule, preferred_find, p->prefixes ? preferred_missing : NULL, &a,
			      &c);
	holders_consider(&a, &rule);
	sample_consider(&a, &rule);
	decide_end(&rule, extra ? a.class->max_extra_load : p->pool.max_extra_load,
		   a.class->admission, &result);
	p->outcomes[result.outcome]++;
	if (!result.generation)
		return refuse(p, r);
	view_of(p, r->node, result.endpoint)->counts.inflight++;
	view_of(p, r->node, result.endpoint)->counts.opened++;
	full = full_of(p, r->node, result.endpoint);
	if (full)
		full->inflight.by_class[a.class_id].placed++;
	note_of(p, r, now_ns)->known.open++;
	r->endpoint = result.endpoint;
	request_begins(p, r, bound && bound->value == result.endpoint, have(&a, result.endpoint),
		       now_ns);
	if (p->prefixes)
		prompt_learn(&a, result.endpoint);
	/* A binding for which there is no memory counts as one that the LRU forgot. */
	if (p->v[KEY] > 0)
		lab_index_put(p->bindings, r->client, r->node, result.endpoint, now_ns);
	return result.endpoint;
}

static void pintle_ended(void *self, const struct lab_request *r, uint64_t now_ns)
{
	struct pintle *p = self;
	struct note *n = note_of(p, r, now_ns);
	struct full *full = full_of(p, r->node, r->endpoint);

	if (full)
		full->inflight.by_class[class_id_of(p, r)].closed++;
	node_pass(p, r->node, now_ns);
	view_of(p, r->node, r->endpoint)->counts.inflight--;
	view_of(p, r->node, r->endpoint)->live.idle--;
	n->known.open -= n->known.open > 0;
	n->idle -= n->idle > 0;
	n->known.idle = MIN(n->known.idle, n->known.open);
}

static void pintle_outcomes(const void *self, uint64_t *counts)
{
	const struct pintle *p = self;

	memcpy(counts, p->outcomes, sizeof(p->outcomes));
}

/* -- settings ------------------------------------------------------------------------- */

static int pintle_load(const char *path, double *v, struct config **out)
{
	struct config *c = NULL;
	const struct config_pool *pool;
	int err = config_load(path, &yaml_sink_stderr, &c);

	if (err)
		return err;
	pool = &c->pools[0];
	v[MAX_EXTRA_LOAD] = pool->stickiness.max_extra_load;
	v[QUEUE] = pool->weights.queue;
	v[KV_CACHE] = pool->weights.kv_cache;
	v[RUNNING] = pool->weights.running;
	v[QUEUE_DEPTH] = pool->saturation.queue_depth;
	v[KV_THRESHOLD] = pool->saturation.kv_cache;
	v[INTERVAL] = (double)pool->scrape.interval_ns / 1e6;
	v[STALENESS] = (double)pool->saturation.staleness_ns / 1e6;
	v[TTL] = (double)pool->stickiness.ttl_ns / 1e9;
	v[KEY] = pool->stickiness.key_kind != PINTLE_KEY_NONE;
	v[GROUP] = pool->stickiness.group_kind != PINTLE_KEY_NONE;
	*out = c;
	return 0;
}

const struct lab_policy lab_policy_pintle = {
	.name = "pintle",
	.says = "the rule, on each node; config=FILE takes the settings of a file's first pool",
	.per_connection = true,
	.keys =
		{
			[MAX_EXTRA_LOAD] = {"maxExtraLoad", CONFIG_EXTRA_AUTO, CONFIG_EXTRA_AUTO,
					    1e6, "stickiness.maxExtraLoad; -1: auto"},
			[QUEUE] = {"queue", 2, 0, 1000, "weights.queue"},
			[KV_CACHE] = {"kvCache", 2, 0, 1000, "weights.kvCache"},
			[RUNNING] = {"running", 1, 0, 1000, "weights.running"},
			[QUEUE_DEPTH] = {"queueDepth", 5, 0, 1e6, "saturation.queueDepth"},
			[KV_THRESHOLD] = {"kvThreshold", 0.8, 0.01, 1, "saturation.kvCache"},
			[EXPONENT] = {"exponent", 4, 0.1, 32, "of the KV curve; 4 is built in"},
			[INTERVAL] = {"interval", 200, 10, 3600000, "scrape.interval, ms"},
			[STALENESS] = {"staleness", 2000, 10, 3600000, "saturation.staleness, ms"},
			[TTL] = {"ttl", 300, 0, 86400, "stickiness.ttl, s"},
			[KEY] = {"key", 1, 0, 1, "stickiness.key: 0 none, 1 source"},
			[GROUP] = {"group", 0, 0, 1, "stickiness.group: 0 none, 1 by tenant"},
			[SAMPLE] = {"sample", 0, 0, LAB_MAX_ENDPOINTS,
				    "endpoints looked at; 0: by what other nodes place"},
			[CORRECTION] = {"correction", 1, 0, 1,
					"0: what came and ended does not count"},
			[PLACED] = {"placed", 0, 0, 1000,
				    "weight since the scrape; 0: as built in"},
			[ENDS] = {"ends", 1, 0, 1, "0: ends since the scrape are not credited"},
			[BINDINGS] = {"bindings", 131072, 1, 1 << 24, "size of the binding table"},
			[TIE] = {"tie", -1, -1, 1000,
				 "loads no further apart are equal; -1: by what others place"},
			[REQUEST_BYTES] = {"requestBytes", WORK_BYTES_PER_REQUEST, 4, 1e6,
					   "of a prompt, that weigh as a request; 400 is built in"},
			[CONTEXT_BYTES] = {"contextBytes", WORK_CONTEXT_BYTES, 1, 1e6,
					   "of a session, for a request ahead; 400 is built in"},
			[CROWD] = {"crowd", DECIDE_MAX_BUSY, 0, 1e6,
				   "busy connections of a session that is held; 8 is built in"},
			[RETRY_AFTER] =
				{"retryAfter", 2, 0.001, 3600,
				 "a refused client comes again after so many s, or up to twice"},
			[FOLLOW] = {"follow", 1, 0, 1, "0: requests are not followed"},
			[DECIDE] =
				{"decide", 0, 0, 1,
				 "0 by connection, 1 by its prompt: the lab's; no hook has it yet",
				 "connection request"},
			[PREFIX] = {"prefix", 1.5, 0, 1000,
				    "weights.prefix, of decide=request: of a missing prompt"},
			[VISIBLE] = {"visible", 7200, 0, 65536,
				     "bytes of a prompt that decide=request sees"},
			[PREFIXES] = {"prefixes", 262144, 1, 1 << 24,
				      "size of the table of prefixes"},
		},
	.interval_key = INTERVAL,
	.load = pintle_load,
	.create = pintle_create,
	.destroy = pintle_destroy,
	.pick = pintle_pick,
	.first_token = pintle_first,
	.ended = pintle_ended,
	.again = pintle_again,
	.answered = pintle_answered,
	.page = pintle_page,
	.outcomes = pintle_outcomes,
};
