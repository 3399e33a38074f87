/* SPDX-License-Identifier: Apache-2.0 */
#include "parts.h"

#include <assert.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/follow.h"
#include "../devices/hand.h"
#include "../devices/in_pods.h"
#include "../devices/splice.h"
#include "../devices/oneshot.h"
#include "../observe/audit.h"
#include "../observe/bindings.h"
#include "../observe/history.h"
#include "../observe/judge.h"
#include "../observe/same_model.h"
#include "../observe/pass.h"
#include "../observe/poll.h"
#include "../observe/reconcile.h"
#include "../attach/seats.h"
#include "../observe/telemetry.h"
#include "../observe/tenant_minutes.h"
#include "../publish/clients.h"
#include "../publish/order.h"
#include "../publish/overload.h"
#include "../publish/client_pods.h"
#include "../publish/register.h"
#include "../publish/tenants.h"
#include "../publish/cluster.h"
#include "hosts.h"

/* ---- beginning --------------------------------------------------------------------- */

#define BEGIN(part)                                                                                \
	static int part##_begin(struct parts *p)                                                   \
	{                                                                                          \
		return part##_new(p->ground, &p->part);                                            \
	}
#define BEGIN_WITH(part, with)                                                                     \
	static int part##_begin(struct parts *p)                                                   \
	{                                                                                          \
		return part##_new(p->ground, with, &p->part);                                      \
	}
BEGIN(bindings)
BEGIN(telemetry)
BEGIN(tenant_minutes)
BEGIN(poller)
BEGIN(client_pods)
BEGIN(clients)
BEGIN(audit)
BEGIN(orders)
BEGIN(overload)
BEGIN(judge)
BEGIN(oneshot)
BEGIN(hand)
BEGIN(splice)
BEGIN_WITH(same_model, poller_adapters(p->poller))
BEGIN_WITH(pass, p->poller)
BEGIN_WITH(keeper, p->poller)
BEGIN_WITH(in_pods, p->hand)
#undef BEGIN
#undef BEGIN_WITH

static int hosts_begin(struct parts *p)
{
	return hosts_start(p->hosts, p->ground, p->on_hosts, p->daemon);
}

static int exporter_begin(struct parts *p)
{
	return p->config->metrics ? exporter_new(p->ground->loop, p->config->metrics,
						 p->exporter_callbacks, p->daemon, &p->exporter)
				  : 0;
}

/* ---- the configuration --------------------------------------------------------------- */

#define LEARN(part, learn)                                                                         \
	static int part##_learn(struct parts *p)                                                   \
	{                                                                                          \
		learn(p->part, p->config, p->publication);                                         \
		return 0;                                                                          \
	}
LEARN(audit, audit_configure)
LEARN(same_model, same_model_configure)
LEARN(pass, pass_configure)
LEARN(hosts, hosts_configure)
LEARN(judge, judge_configure)
LEARN(oneshot, oneshot_configure)
LEARN(in_pods, in_pods_configure)
/* From this look on, answers are the last minute's. */
LEARN(tenant_minutes, tenant_minutes_look)
#undef LEARN

static int poller_learn(struct parts *p)
{
	return poller_configure(p->poller, p->config, p->publication);
}

static int clients_learn(struct parts *p)
{
	clients_name_pods(p->clients, client_pods_left_alone(p->client_pods));
	clients_configure(p->clients, p->config);
	return 0;
}

static int overload_learn(struct parts *p)
{
	overload_configure(p->overload, p->config, p->publication, p->orders);
	return 0;
}

static int splice_learn(struct parts *p)
{
	splice_configure(p->splice, p->config);
	return 0;
}

static int hand_learn(struct parts *p)
{
	hand_configure(p->hand, p->config);
	return 0;
}

/* ---- looking --------------------------------------------------------------------------- */

#define LOOK(look, ...)                                                                            \
	static void look##_now(struct parts *p)                                                    \
	{                                                                                          \
		look(__VA_ARGS__);                                                                 \
	}
LOOK(telemetry_look, p->telemetry)
LOOK(telemetry_check_fill, p->telemetry)
LOOK(poller_count, p->poller)
LOOK(clients_rescan, p->clients)
LOOK(keeper_look, p->keeper)
LOOK(oneshot_look, p->oneshot)
LOOK(oneshot_refresh, p->oneshot)
LOOK(hand_look, p->hand)
LOOK(hand_refresh, p->hand)
LOOK(in_pods_look, p->in_pods)
LOOK(splice_look, p->splice)
LOOK(splice_refresh, p->splice)
LOOK(tenants_settle, p->ground->maps)
LOOK(follow_tend, p->ground->maps)
LOOK(bindings_walk, p->bindings)
LOOK(client_pods_look, p->client_pods, p->cluster, p->clients)
LOOK(orders_update, p->orders, p->publication, poller_others(p->poller))
LOOK(overload_look, p->overload, p->orders)
LOOK(keeper_tend, p->keeper, p->config, p->publication)
LOOK(tenant_minutes_look, p->tenant_minutes, p->config, p->publication)
#undef LOOK

static void listeners_look_now(struct parts *p)
{
	const struct ground *g = p->ground;

	if (poller_suspects_listener(p->poller) || register_has_room(g->maps))
		register_listeners(g->maps, g->netns_fd);
	else
		register_tell(g->maps);
}

/* What opened or ended between a takeover's copy of the counts and its last link is missing there,
 * which is no drift. Under load it takes some rounds to find all of it. */
void parts_recount_now(struct parts *p)
{
	uint64_t wrong = reconcile(p->ground, !p->recounting);

	if (wrong)
		bindings_forget_open(p->bindings);
	else
		p->recounting = false;
	seats_look(p->ground->seats);
}

/* ---- ending ------------------------------------------------------------------------------ */

#define END(part)                                                                                  \
	static void part##_end(struct parts *p)                                                    \
	{                                                                                          \
		part##_free(p->part);                                                              \
		p->part = NULL;                                                                    \
	}
END(bindings)
END(telemetry)
END(tenant_minutes)
END(cluster)
END(poller)
END(client_pods)
END(clients)
END(audit)
END(same_model)
END(pass)
END(hosts)
END(orders)
END(overload)
END(judge)
END(keeper)
END(exporter)
END(oneshot)
END(hand)
END(in_pods)
END(splice)
#undef END

/* ---- the table ----------------------------------------------------------------------------- */

struct part {
	const char *name;
	enum parts_stage stage;
	int (*begin)(struct parts *p);
	int (*learn)(struct parts *p); /* the configuration */
	void (*end)(struct parts *p);
	/* What is called in each round of the clock that leaves `round` when divided by `period`.
	 */
	struct {
		void (*look)(struct parts *p);
		enum parts_clock clock;
		unsigned int period, round;
	} ticks[2];
};

/* A part's own functions have its name. */
#define PART(part)     .name = #part, .begin = part##_begin, .end = part##_end
#define LEARNING(part) PART(part), .learn = part##_learn
#define EVERY(clock_, period_, look_)                                                              \
	{                                                                                          \
		.look = look_##_now, .clock = clock_, .period = period_                            \
	}
#define FIRST_OF_EVERY(clock_, period_, look_)                                                     \
	{                                                                                          \
		.look = look_##_now, .clock = clock_, .period = period_, .round = 1                \
	}
/* clang-format off */
static const struct part parts[] = {
	{.name = "cluster", .end = cluster_end},
	{PART(bindings)},
	{PART(telemetry), .ticks = {EVERY(PARTS_BEAT, 1, telemetry_look),
				    FIRST_OF_EVERY(PARTS_HOUSE, 30, telemetry_check_fill)}},
	{LEARNING(tenant_minutes), .ticks = {EVERY(PARTS_HOUSE, 1, tenant_minutes_look)}},
	{LEARNING(poller), .ticks = {EVERY(PARTS_BEAT, 1, poller_count)}},
	{PART(client_pods)},
	{LEARNING(clients), .ticks = {EVERY(PARTS_HOUSE, 15, clients_rescan),
				      EVERY(PARTS_HOUSE, 15, client_pods_look)}},
	{LEARNING(audit)},
	{LEARNING(same_model)},
	{LEARNING(pass)},
	{LEARNING(hosts)},
	{PART(orders), .ticks = {EVERY(PARTS_TEND, 1, orders_update)}},
	{LEARNING(overload), .ticks = {EVERY(PARTS_TEND, 1, overload_look)}},
	{LEARNING(judge)},
	{PART(keeper), .ticks = {EVERY(PARTS_TEND, 1, keeper_tend),
				 EVERY(PARTS_HOUSE, 1, keeper_look)}},
	{PART(exporter)},
	{LEARNING(oneshot), .stage = PARTS_ATTACHED,
	 .ticks = {EVERY(PARTS_BEAT, 1, oneshot_look), EVERY(PARTS_HOUSE, 15, oneshot_refresh)}},
	{LEARNING(hand), .stage = PARTS_ATTACHED,
	 .ticks = {EVERY(PARTS_HOUSE, 1, hand_look), EVERY(PARTS_HOUSE, 15, hand_refresh)}},
	{LEARNING(in_pods), .stage = PARTS_ATTACHED, .ticks = {EVERY(PARTS_HOUSE, 1, in_pods_look)}},
	{LEARNING(splice), .stage = PARTS_ATTACHED,
	 .ticks = {EVERY(PARTS_HOUSE, 1, splice_look), EVERY(PARTS_HOUSE, 15, splice_refresh)}},
	{.name = "listeners", .ticks = {EVERY(PARTS_HOUSE, 1, listeners_look)}},
	{.name = "counts", .ticks = {EVERY(PARTS_HOUSE, 5, parts_recount),
				     EVERY(PARTS_HOUSE, 5, bindings_walk)}},
	{.name = "leavings", .ticks = {EVERY(PARTS_HOUSE, 5, tenants_settle),
				       EVERY(PARTS_HOUSE, 5, follow_tend)}},
};
/* clang-format on */

int parts_new(struct parts *p, enum parts_stage stage)
{
	int err = 0;

	assert(p->ground && p->ground->maps->writable);
	for (size_t i = 0; !err && i < ARRAY_SIZE(parts); i++) {
		if (parts[i].stage != stage || !parts[i].begin)
			continue;
		err = parts[i].begin(p);
		if (err)
			log_debug("part %s did not begin: %s", parts[i].name, strerror(-err));
	}
	return err;
}

int parts_configure(struct parts *p, enum parts_stage stage, const struct config *c,
		    const struct publication *pub)
{
	int err = 0;

	assert(pub->pool_count == c->pool_count);
	p->config = c;
	p->publication = pub;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (parts[i].stage == stage && parts[i].learn)
			err = parts[i].learn(p) ?: err;
	return err;
}

void parts_tick(struct parts *p, enum parts_clock clock)
{
	uint64_t round = ++p->rounds[clock];

	assert(p->publication /* parts_configure() was called */);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		for (size_t k = 0; k < ARRAY_SIZE(parts[i].ticks) && parts[i].ticks[k].look; k++) {
			if (parts[i].ticks[k].clock == clock &&
			    round % parts[i].ticks[k].period == parts[i].ticks[k].round)
				parts[i].ticks[k].look(p);
		}
}

void parts_free(struct parts *p)
{
	for (size_t i = ARRAY_SIZE(parts); i-- > 0;)
		if (parts[i].end)
			parts[i].end(p);
}
