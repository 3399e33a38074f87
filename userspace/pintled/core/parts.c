/* SPDX-License-Identifier: Apache-2.0 */
#include "parts.h"

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/follow.h"
#include "../devices/hand.h"
#include "../devices/in_pods.h"
#include "../devices/oneshot.h"
#include "../observe/audit.h"
#include "../observe/bindings.h"
#include "../observe/history.h"
#include "../observe/judge.h"
#include "../observe/same_model.h"
#include "../observe/pass.h"
#include "../observe/poll.h"
#include "../observe/reconcile.h"
#include "../observe/seats.h"
#include "../observe/telemetry.h"
#include "../observe/tenant_minutes.h"
#include "../publish/clients.h"
#include "../publish/order.h"
#include "../publish/overload.h"
#include "../publish/client_pods.h"
#include "../publish/register.h"
#include "../publish/tenants.h"
#include "cluster.h"
#include "hosts.h"

/* ---- beginning --------------------------------------------------------------------- */

static int bindings_begin(struct parts *p)
{
	p->bindings = bindings_new(p->ground.maps);
	return p->bindings ? 0 : log_err_r(ENOMEM, "bindings");
}

static int telemetry_begin(struct parts *p)
{
	return telemetry_new(p->ground.maps, &p->telemetry);
}

static int tenant_minutes_begin(struct parts *p)
{
	return tenant_minutes_new(p->ground.maps, &p->tenant_minutes);
}

static int poller_begin(struct parts *p)
{
	return poller_new(p->ground.loop, p->ground.netns_fd, p->ground.maps, &p->poller);
}

static int pods_begin(struct parts *p)
{
	p->pods = pods_new(p->ground.maps);
	return p->pods ? 0 : log_err_r(ENOMEM, "pods");
}

static int clients_begin(struct parts *p)
{
	return clients_new(p->ground.loop, p->ground.maps, &p->clients);
}

static int audit_begin(struct parts *p)
{
	return audit_new(p->ground.loop, p->ground.maps, &p->audit);
}

static int models_begin(struct parts *p)
{
	return models_new(p->ground.loop, p->ground.netns_fd, p->ground.maps,
			  poller_adapters(p->poller), &p->models);
}

static int hosts_begin(struct parts *p)
{
	return hosts_start(p->hosts, p->ground.loop, p->ground.netns_fd, p->ground.maps,
			   p->on_hosts, p->daemon);
}

static int orders_begin(struct parts *p)
{
	return orders_new(&p->orders);
}

static int overload_begin(struct parts *p)
{
	return overload_new(p->ground.loop, p->ground.maps, p->ground.netns_fd, &p->overload);
}

static int judge_begin(struct parts *p)
{
	return judge_new(p->ground.loop, p->ground.maps, &p->judge);
}

static int keeper_begin(struct parts *p)
{
	return keeper_new(p->ground.maps, p->poller, &p->keeper);
}

static int exporter_begin(struct parts *p)
{
	return p->config->metrics ? exporter_new(p->ground.loop, p->config->metrics,
						 p->exporter_callbacks, p->daemon, &p->exporter)
				  : 0;
}

static int oneshot_begin(struct parts *p)
{
	return oneshot_new(&p->ground, &p->oneshot);
}

static int hand_begin(struct parts *p)
{
	return hand_new(&p->ground, &p->hand);
}

static int in_pods_begin(struct parts *p)
{
	return in_pods_new(&p->ground, p->hand, &p->in_pods);
}

static int pass_begin(struct parts *p)
{
	if (!p->ground.pass)
		return 0;
	pass_start(p->ground.pass, p->ground.loop, p->poller);
	poller_tell(p->poller, pass_probed, p->ground.pass);
	return 0;
}

/* ---- the configuration --------------------------------------------------------------- */

#define CONFIGURE(part)                                                                            \
	static int part##_learn(struct parts *p)                                                   \
	{                                                                                          \
		part##_configure(p->part, p->config, p->publication);                              \
		return 0;                                                                          \
	}
CONFIGURE(audit)
CONFIGURE(models)
CONFIGURE(hosts)
CONFIGURE(judge)
CONFIGURE(oneshot)
CONFIGURE(in_pods)
#undef CONFIGURE

static int poller_learn(struct parts *p)
{
	return poller_configure(p->poller, p->config, p->publication);
}

static int clients_learn(struct parts *p)
{
	clients_name_pods(p->clients, pods_left_alone(p->pods));
	clients_configure(p->clients, p->config);
	return 0;
}

static int overload_learn(struct parts *p)
{
	overload_configure(p->overload, p->config, p->publication, p->orders);
	return 0;
}

/* From this look on, answers are the last minute's. */
static int tenant_minutes_learn(struct parts *p)
{
	tenant_minutes_look(p->tenant_minutes, p->config, p->publication);
	return 0;
}

static int pass_learn(struct parts *p)
{
	pass_configure(p->ground.pass, p->config, p->publication);
	return 0;
}

static int hand_learn(struct parts *p)
{
	hand_configure(p->hand, p->config);
	return 0;
}

/* ---- looking --------------------------------------------------------------------------- */

#define LOOK(part, look)                                                                           \
	static void look##_now(struct parts *p)                                                    \
	{                                                                                          \
		look(p->part);                                                                     \
	}
LOOK(telemetry, telemetry_look)
LOOK(telemetry, telemetry_check_fill)
LOOK(poller, poller_count)
LOOK(clients, clients_rescan)
LOOK(keeper, keeper_look)
LOOK(oneshot, oneshot_look)
LOOK(oneshot, oneshot_refresh)
LOOK(hand, hand_look)
LOOK(hand, hand_refresh)
LOOK(in_pods, in_pods_look)
LOOK(ground.maps, tenants_settle)
LOOK(ground.maps, follow_tend)
#undef LOOK

static void tenant_minutes_look_now(struct parts *p)
{
	tenant_minutes_look(p->tenant_minutes, p->config, p->publication);
}

static void listeners_look_now(struct parts *p)
{
	if (poller_suspects_listener(p->poller) || register_has_room(p->ground.maps))
		register_listeners(p->ground.maps, p->ground.netns_fd);
	else
		register_tell(p->ground.maps);
}

/* What opened or ended between a takeover's copy of the counts and its last link is missing there,
 * which is no drift. Under load it takes some rounds to find all of it. */
void parts_recount(struct parts *p)
{
	uint64_t wrong = reconcile(&p->ground, !p->recounting);

	if (wrong)
		bindings_forget_open(p->bindings);
	else
		p->recounting = false;
	seats_look(p->ground.seats);
}

static void parts_recount_now(struct parts *p)
{
	parts_recount(p);
}

static void bindings_walk_now(struct parts *p)
{
	bindings_walk(p->bindings);
}

static void pods_look_now(struct parts *p)
{
	pods_look(p->pods, p->cluster, p->clients);
}

static void orders_update_now(struct parts *p)
{
	orders_update(p->orders, p->ground.maps, p->publication, poller_others(p->poller));
}

static void overload_look_now(struct parts *p)
{
	overload_look(p->overload, p->orders);
}

static void keeper_tend_now(struct parts *p)
{
	keeper_tend(p->keeper, p->config, p->publication);
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
END(pods)
END(clients)
END(audit)
END(models)
END(hosts)
END(orders)
END(overload)
END(judge)
END(keeper)
END(exporter)
END(oneshot)
END(hand)
END(in_pods)
#undef END

/* The attachment frees it. */
static void pass_end(struct parts *p)
{
	if (p->ground.pass)
		pass_stop(p->ground.pass);
}

/* ---- the table ----------------------------------------------------------------------------- */

struct part {
	const char *name;
	enum parts_stage stage;
	int (*begin)(struct parts *p);
	int (*learn)(struct parts *p); /* the configuration */
	void (*end)(struct parts *p);
	/* What is called in every `period`th round of the clock. */
	struct {
		void (*look)(struct parts *p);
		enum parts_clock clock;
		unsigned int period;
		bool first; /* in the first round, too */
	} ticks[2];
};

/* A part's own functions have its name. */
#define PART(part)     .name = #part, .begin = part##_begin, .end = part##_end
#define LEARNING(part) PART(part), .learn = part##_learn
#define EVERY(clock_, period_, look_)                                                              \
	{                                                                                          \
		.look = look_##_now, .clock = clock_, .period = period_                            \
	}
#define FIRST_AND_EVERY(clock_, period_, look_)                                                    \
	{                                                                                          \
		.look = look_##_now, .clock = clock_, .period = period_, .first = true             \
	}
/* clang-format off */
static const struct part parts[] = {
	{.name = "cluster", .end = cluster_end},
	{PART(bindings)},
	{PART(telemetry), .ticks = {EVERY(PARTS_BEAT, 1, telemetry_look),
				    FIRST_AND_EVERY(PARTS_HOUSE, 30, telemetry_check_fill)}},
	{LEARNING(tenant_minutes), .ticks = {EVERY(PARTS_HOUSE, 1, tenant_minutes_look)}},
	{LEARNING(poller), .ticks = {EVERY(PARTS_BEAT, 1, poller_count)}},
	{PART(pods)},
	{LEARNING(clients), .ticks = {EVERY(PARTS_HOUSE, 15, clients_rescan),
				      EVERY(PARTS_HOUSE, 15, pods_look)}},
	{LEARNING(audit)},
	{LEARNING(models)},
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
	{LEARNING(pass), .stage = PARTS_ATTACHED},
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

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		for (size_t k = 0; k < ARRAY_SIZE(parts[i].ticks) && parts[i].ticks[k].look; k++) {
			if (parts[i].ticks[k].clock == clock &&
			    (round % parts[i].ticks[k].period == 0 ||
			     (parts[i].ticks[k].first && round == 1)))
				parts[i].ticks[k].look(p);
		}
}

void parts_free(struct parts *p)
{
	for (size_t i = ARRAY_SIZE(parts); i-- > 0;)
		if (parts[i].end)
			parts[i].end(p);
}
