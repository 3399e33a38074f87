/* SPDX-License-Identifier: Apache-2.0 */
#include "rests.h"

#include <assert.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/kernel.h"
#include "../../maps/state.h"
#include "../../net/firewall.h"
#include "../../net/netns.h"

struct rests {
	const struct ground *ground;
	uint64_t failed_ns;                 /* the newest failure that was looked at */
	uint32_t resting[PINTLE_MAX_POOLS]; /* by id: the families, as it was logged */
	struct firewall wall;               /* as of the newest look */
	uint32_t wall_generation;           /* 0: it is to be read */
	uint64_t reread_ns;                 /* not before */
	uint32_t looks; /* since the kernel was asked for nftables, and had none */
};

/* ---- nat --------------------------------------------------------------------------------- */

/* While chains of nat stand, pintled sets this time again and again. Without pintled, the programs
 * try after it. */
#define NAT_REST_NS (60 * NSEC_PER_SEC)

/* Whether the hand-off is, or by `pintle set` may be, at work for the pool, on the node itself. */
static bool may_hand(const struct config_pool *p)
{
	return !p->in_pods && !p->splice && (p->decide == PINTLE_DECIDE_REQUEST || config_rests(p));
}

/* Returns the families of the pool's connections whose sockets nat would take off. Where some rule
 * may leave its packets untracked, only the outcome tells. */
static uint32_t nat_takes(const struct firewall *f, const struct config_pool *p)
{
	uint32_t families = 0;

	for (size_t i = 0; i < p->frontend_count; i++) {
		const struct frontend_addr *a = &p->frontends[i];

		if (firewall_untracks(f, a->port))
			return 0;
		families |= addr_is_v4(&a->prefix) ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6;
	}
	return families & firewall_nat(f);
}

static void family_by_nat(const struct maps *m, uint32_t id, const struct pintle_ref *pool)
{
	uint64_t now = monotonic_ns();
	struct pintle_rest r;

	if (maps_value(m, MAP_resting, id, &r))
		return;
	if (r.generation != pool->generation)
		r = (struct pintle_rest){.generation = pool->generation};
	if (r.by_nat && !r.trial && r.until_ns > now + NAT_REST_NS / 2)
		return;
	r.until_ns = now + NAT_REST_NS;
	r.by_nat = 1;
	r.trial = 0;
	maps_put(m, MAP_resting, &id, &r);
}

/* Lets the hand-off rest for these families, for as long as pintled says so. */
static void rest_by_nat(const struct maps *m, const struct pintle_ref *pool, uint32_t families)
{
	if (families & PINTLE_FAMILY_V4)
		family_by_nat(m, PINTLE_REST(pool->id, 0), pool);
	if (families & PINTLE_FAMILY_V6)
		family_by_nat(m, PINTLE_REST(pool->id, 1), pool);
}

void rests_begin(const struct maps *m, int netns_fd, const struct config *c,
		 const struct publication *p)
{
	struct firewall wall;
	bool read = false;

	assert(p->pool_count == c->pool_count);
	for (size_t i = 0; i < c->pool_count; i++) {
		if (!may_hand(&c->pools[i]) || !kernel_hands_over())
			continue;
		if (!read)
			firewall_read(netns_fd, &wall);
		read = true;
		rest_by_nat(m, &p->pools[i].ref, nat_takes(&wall, &c->pools[i]));
	}
}

/* ---- the log ------------------------------------------------------------------------------- */

/* What may be the reason. */
static const char *cause(const struct firewall *f)
{
	if (f->nat.count)
		return f->nat.names[0];
	if (f->legacy_nat)
		return "nat of iptables-legacy";
	if (f->strict)
		return "net.netfilter.nf_conntrack_tcp_loose is 0";
	return f->states.count ? f->states.names[0] : "no chain that pintled knows";
}

static void log_begin(const struct rests *r, const char *pool, const struct pintle_rest *rest,
		      uint32_t families)
{
	const char *words = state_rest_words(families);

	if (rest->newest_ns)
		log_warn(
			"pool %s: the hand-off rests%s, because no socket became of what it handed "
			"over: a firewall or nat keeps the first segment, whose SYN it never saw, "
			"from the server (%s); connections are decided by their addresses; "
			"`pintle doctor` says more",
			pool, words, cause(&r->wall));
	else
		log_warn(
			"pool %s: the hand-off rests%s, because nat would take the sockets off that "
			"become of what it hands over (%s); connections are decided by their "
			"addresses; `pintle doctor` says more",
			pool, words, cause(&r->wall));
}

static void log_end(const char *pool, const struct pintle_rest *rest, uint32_t families)
{
	log_info("pool %s: the hand-off no longer rests%s: %s", pool, state_rest_words(families),
		 rest->newest_ns ? "a socket became of what it handed over"
				 : "nothing says any more that nat takes sockets off");
}

/* ---- pools --------------------------------------------------------------------------------- */

static void rest_until(const struct maps *m, uint32_t id, struct pintle_rest *r, uint64_t when)
{
	r->until_ns = when;
	maps_put(m, MAP_resting, &id, r);
}

/* Sets until when the pool's hand-off rests for a family. `again`: what keeps segments from servers
 * has changed. If nobody failed, there is nothing to try; otherwise the next connection does. */
static void rest_settle(const struct rests *x, uint32_t id, struct pintle_rest *r, bool again,
			uint32_t family)
{
	const struct maps *m = x->ground->maps;

	if (r->by_nat && !r->newest_ns)
		rest_until(m, id, r, 0);
	else if (r->trial)
		return; /* one tries */
	else if (again)
		rest_until(m, id, r, monotonic_ns());
	else if (r->by_nat && firewall_nat(&x->wall) & family &&
		 r->until_ns < monotonic_ns() + NAT_REST_NS / 2)
		rest_until(m, id, r, monotonic_ns() + NAT_REST_NS);
}

static void settle_each(const struct rests *x, const struct pintle_ref *pool, bool again,
			uint32_t families)
{
	for (uint32_t v6 = 0; v6 <= 1; v6++) {
		uint32_t id = PINTLE_REST(pool->id, v6);
		uint32_t family = v6 ? PINTLE_FAMILY_V6 : PINTLE_FAMILY_V4;
		struct pintle_rest r;

		if (families & family && !maps_value(x->ground->maps, MAP_resting, id, &r) &&
		    r.until_ns && r.generation == pool->generation)
			rest_settle(x, id, &r, again, family);
	}
}

static void rests_look_at(struct rests *x, const struct config *c, uint32_t id, bool again)
{
	const struct maps *m = x->ground->maps;
	char text[sizeof(((struct pintle_name *)0)->name) + 1] = "";
	const struct config_pool *p;
	struct pintle_name name;
	struct pintle_rest r;
	uint32_t rests, former, taken = 0;
	struct pintle_ref ref;

	if (maps_value(m, MAP_names, id, &name) || !name.generation)
		return;
	memcpy(text, name.name, sizeof(name.name));
	ref = (struct pintle_ref){id, name.generation};
	p = config_pool_named(c, text);
	if (p && may_hand(p))
		taken = nat_takes(&x->wall, p);
	rest_by_nat(m, &ref, taken);
	settle_each(x, &ref, again, ~taken);
	if (state_rest(m, id, name.generation, &r, &rests))
		return;
	former = x->resting[id];
	x->resting[id] = rests;
	if (!p || p->decide != PINTLE_DECIDE_REQUEST)
		return;
	if (rests & ~former)
		log_begin(x, text, &r, rests);
	if (former & ~rests)
		log_end(text, &r, former & ~rests);
}

/* ---- looking ------------------------------------------------------------------------------- */

/* Where the kernel has no nftables, each question makes it look for a module. */
#define LOOKS_WITHOUT_NFTABLES 60
/* A large ruleset takes 5 % of the time at most. */
#define REREAD 20

/* Reads nftables if they have changed. What cannot be read stays as it was, until the next look. */
static void read_nftables(struct rests *x, struct firewall *wall)
{
	int netns = x->ground->netns_fd;
	uint64_t began = monotonic_ns();
	uint32_t generation = 0;
	struct firewall now;

	if (began < x->reread_ns)
		return;
	if (x->wall_generation || !x->looks)
		generation = firewall_generation(netns);
	x->looks = generation ? 0 : (x->looks + 1) % LOOKS_WITHOUT_NFTABLES;
	if (!generation || generation == x->wall_generation || firewall_read(netns, &now))
		return;
	x->wall_generation = generation;
	x->reread_ns = began + REREAD * (monotonic_ns() - began);
	*wall = now;
}

/* Whether what keeps segments from servers has changed since the newest look. */
static bool wall_changed(struct rests *x)
{
	struct firewall now = x->wall;
	bool same;

	read_nftables(x, &now);
	firewall_read_rest(x->ground->netns_fd, &now);
	same = !memcmp(&now, &x->wall, sizeof(now));
	x->wall = now;
	return !same;
}

static bool any_may_hand(const struct config *c)
{
	for (size_t i = 0; i < c->pool_count; i++)
		if (may_hand(&c->pools[i]))
			return true;
	return false;
}

/* Each connection that tries in vain is a client's, so what is known not to have changed is seldom
 * tried. */
void rests_look(struct rests *x, const struct config *c)
{
	const struct maps *m = x->ground->maps;
	struct pintle_rest newest;
	bool any = false, again;

	if (!kernel_hands_over() || maps_value(m, MAP_resting, PINTLE_REST_NEWEST, &newest))
		return;
	for (uint32_t id = 0; id < PINTLE_MAX_POOLS; id++)
		any |= x->resting[id] != 0;
	if (!any && newest.newest_ns == x->failed_ns && !any_may_hand(c))
		return;
	again = wall_changed(x);
	if (!any && newest.newest_ns == x->failed_ns && !again && !firewall_nat(&x->wall))
		return;
	x->failed_ns = newest.newest_ns;
	for (uint32_t id = 0; id < PINTLE_MAX_POOLS; id++)
		rests_look_at(x, c, id, again && x->resting[id]);
}

int rests_new(const struct ground *g, struct rests **out)
{
	struct rests *x = calloc(1, sizeof(*x));

	if (!x)
		return log_err_r(ENOMEM, "the hand-off's rests");
	x->ground = g;
	*out = x;
	return 0;
}

void rests_free(struct rests *r)
{
	free(r);
}
