// SPDX-License-Identifier: Apache-2.0
#include "kube_cluster_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/hash.h"
#include "../base/util.h"
#include "kube_event.h"
#include "kube_request.h"

/* The API server forgets an Event after an hour. */
#define EVENT_AGAIN_S 1800
#define SETTLED_S     5

bool kube_is_young(time_t since)
{
	time_t age = time(NULL) - since;

	return age >= 0 && age < SETTLED_S;
}

/* ---- conditions -------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void set(struct kube_condition *c, const char *reason,
						      const char *fmt, ...)
{
	va_list ap;

	snprintf(c->reason, sizeof(c->reason), "%s", reason);
	va_start(ap, fmt);
	vsnprintf(c->message, sizeof(c->message), fmt, ap);
	va_end(ap);
}

/* One target of a policy, as a condition of its own. */
static void judge_target(const struct kube_cluster *c, const struct kube_item *item,
			 const struct kube_target *t, struct kube_condition *out)
{
	const struct kube_policy *p = item->now;
	const char *one = owner_kinds[t->kind].one;
	const struct kube_item *winner, *target;
	const struct owner *o;
	char key[KUBE_KEY_SIZE];

	snprintf(key, sizeof(key), "%s/%s", p->space, t->name);
	winner = kube_policy_of(c, t->kind, key);
	target = kube_store_find(c->all[owner_kinds[t->kind].store], key);
	o = owner_find(c, t->kind, key);
	*out = (struct kube_condition){0};
	if (winner != item)
		set(out, "Conflicted", "SteeringPolicy %s, which is older, is for %s %s",
		    strchr(winner->key, '/') + 1, one, t->name);
	else if (!target && t->kind == KUBE_TARGET_SERVICE)
		set(out, "TargetNotFound", "no Service %s carries the label " KUBE_LABEL_MODE,
		    t->name);
	else if (!target)
		set(out, "TargetNotFound", "there is no %s %s", one, t->name);
	else if (!target->now || !o)
		set(out, "NotSteered", "%s %s is left out: %s", one, t->name,
		    target->why ?: "it is not known yet");
	else if (o->told[0] || o->refused[0])
		set(out, "NotSteered", "%s %s is left to kube-proxy: %.300s", one, t->name,
		    o->told[0] ? o->told : o->refused);
	else if (o->unread[0] && !kube_is_young(o->unread_since))
		set(out, "NotSteered", "%s %s: %.300s", one, t->name, o->unread);
	else if (o->prefix[0])
		set(out, "PrefixRefused", "%s", o->prefix);
	else if (kube_request_lacks(o) && !kube_is_young(o->request.since))
		set(out, o->request.reason, "%s %s: %.400s", one, t->name, o->request.why);
	else if (!o->holding)
		set(out, "NotSteered", "%s %s makes no pool of its own", one, t->name);
	else
		*out = (struct kube_condition){.status = true};
}

static void judge_targets(const struct kube_cluster *c, const struct kube_item *item,
			  struct kube_condition conditions[KUBE_CONDITIONS])
{
	const struct kube_policy *p = item->now;
	struct kube_condition *programmed = &conditions[KUBE_PROGRAMMED], one;
	size_t good = 0, conflicts = 0;

	for (size_t i = 0; i < p->target_count; i++) {
		judge_target(c, item, &p->targets[i], &one);
		good += one.status;
		conflicts += !strcmp(one.reason, "Conflicted");
		if (!one.status && !programmed->reason[0])
			*programmed = one;
	}
	programmed->status = good == p->target_count;
	if (programmed->status)
		set(programmed, "Programmed", "%zu target%s steered by it", good,
		    good == 1 ? " is" : "s are");
	conditions[KUBE_ACCEPTED].status = conflicts < p->target_count;
	if (conditions[KUBE_ACCEPTED].status)
		set(&conditions[KUBE_ACCEPTED], "Accepted", "its keys are good");
	else
		set(&conditions[KUBE_ACCEPTED], "Conflicted", "%s", programmed->message);
}

static void judge_policy(const struct kube_cluster *c, const struct kube_item *item,
			 struct kube_condition conditions[KUBE_CONDITIONS])
{
	const struct kube_policy *p = item->now;

	if (p->keys) {
		judge_targets(c, item, conditions);
		return;
	}
	set(&conditions[KUBE_ACCEPTED], "Invalid", "%s", p->why);
	set(&conditions[KUBE_PROGRAMMED], "Invalid", "%s",
	    "the policy is not accepted: the pools go without it");
}

/* Whether the API server has it so. */
static bool is_told(const struct kube_condition *c, const struct kube_condition *told)
{
	return told->reason[0] && c->status == told->status && c->generation == told->generation &&
	       !strcmp(c->reason, told->reason) && !strcmp(c->message, told->message);
}

static void say_policy(struct kube_cluster *c, const struct kube_item *item)
{
	const struct kube_policy *p = item->now;
	struct kube_condition conditions[KUBE_CONDITIONS] = {0};
	char now[KUBE_NOW_SIZE], path[256 + KUBE_KEY_SIZE];
	uint64_t version = HASH_START;
	bool told = true;

	judge_policy(c, item, conditions);
	kube_conditions_date(conditions, KUBE_CONDITIONS, p->told, item->meta.generation,
			     kube_now(now));
	for (size_t i = 0; i < KUBE_CONDITIONS; i++) {
		told = told && is_told(&conditions[i], &p->told[i]);
		version = hash_bytes(version, &conditions[i], sizeof(conditions[i]));
	}
	if (told)
		return;
	snprintf(path, sizeof(path), "%s/namespaces/%s/steeringpolicies/%s/status",
		 KUBE_GROUP_POLICY, p->space, p->name);
	kube_teller_tell(c->teller, KUBE_TELL_STATUS, path, version,
			 kube_policy_status(p, conditions));
}

/* ---- Events ------------------------------------------------------------------------------ */

/* Returns one hash for all reasons that kube_same_reason() takes for the same. */
static uint64_t hash_reason(uint64_t hash, const char *why)
{
	while (*why) {
		size_t n = strcspn(why, " ");

		hash = strcspn(why, "0123456789") < n ? hash_bytes(hash, "0", 1)
						      : hash_bytes(hash, why, n);
		why += n;
		why += strspn(why, " ");
	}
	return hash;
}

/* An Event by the object and the reason: the same one, told again, is the same object. */
static void cluster_say_say(struct kube_cluster *c, struct kube_event_said *said)
{
	uint64_t hash = hash_reason(hash_text(said->uid), said->why);
	unsigned int again =
		said->once ? 0 : (unsigned int)((time(NULL) - said->since) / EVENT_AGAIN_S);
	char path[KUBE_EVENT_PATH_SIZE];

	said->instance = kube_lease_identity(c->lease);
	said->count = 1 + again;
	kube_event_path(said, hash, path);
	kube_teller_tell(c->teller, KUBE_TELL_EVENT, path, hash + again,
			 kube_event_body(said, hash));
}

/* By a Service's label. */
static const struct {
	const char *mode, *says;
} steered_as[] = {
	{"enforce", "its connections are steered"},
	{"shadow",
	 "its connections are kube-proxy's, and what the rule would do is counted (shadow)"},
	{"baseline", "its connections go to a ready pod at random (baseline)"},
};

static const char *mode_text(const struct kube_service *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(steered_as); i++)
		if (!strcmp(s->mode, steered_as[i].mode))
			return steered_as[i].says;
	return steered_as[0].says;
}

static const char *steered_text(const struct owner *o, const struct kube_item *item)
{
	if (o->kind == KUBE_TARGET_POOL)
		return "connections to the Services in front of it go to its pods, as their labels say";
	return mode_text(item->now);
}

static void say_lasting(struct kube_cluster *c, struct kube_event_said *said)
{
	if (!kube_is_young(said->since))
		cluster_say_say(c, said);
}

/* By the bits of KUBE_BY_*, the lowest first. */
static const char *const outsides[] = {
	NULL,
	"node ports",
	"load balancer",
	"node ports and load balancer",
	"external IPs",
	"node ports and external IPs",
	"load balancer and external IPs",
	"node ports, load balancer and external IPs",
};

/* The Event names the connections to a labelled Service that stay kube-proxy's. */
static void say_outside(struct kube_cluster *c, const struct owner *o, struct kube_event_said *said)
{
	uint32_t outside = owner_outside(o);
	char why[KUBE_WHY_SIZE];

	if (!outside)
		return;
	snprintf(
		why, sizeof(why),
		"connections to its %s are kube-proxy's: only pods' connections to its ClusterIP are "
		"steered",
		outsides[outside]);
	said->reason = "OnlyClusterIP";
	said->why = why;
	said->since = o->steered_since;
	said->normal = said->once = true;
	say_lasting(c, said);
}

static void say_owner(struct kube_cluster *c, const struct owner *o)
{
	const struct kube_item *item = owner_item(o);
	const char *slash = strchr(o->key, '/'), *left = owner_left(o);
	struct kube_event_said said = {.api_version = owner_kinds[o->kind].api_version,
				       .kind = owner_kinds[o->kind].one};

	if (!item || !slash || !item->meta.uid[0])
		return;
	said.name = slash + 1;
	said.uid = item->meta.uid;
	snprintf(said.space, sizeof(said.space), "%.*s", (int)(slash - o->key), o->key);
	if (left) {
		said.reason = o->no_room ? "NoRoom" : "LeftToKubeProxy";
		said.why = left;
		said.since = o->told_since;
		said.normal = o->told[0] && o->idle;
		say_lasting(c, &said);
	} else if (o->unread[0]) {
		said.reason = "LeftToKubeProxy";
		said.why = o->unread;
		said.since = o->unread_since;
		say_lasting(c, &said);
	} else if (o->steered && item->now) {
		said.reason = "Steered";
		said.why = steered_text(o, item);
		said.since = o->steered_since;
		said.normal = said.once = true;
		say_lasting(c, &said);
	}
	if (o->direct[0]) {
		said.reason = "NotIntercepted";
		said.why = o->direct;
		said.since = o->direct_since;
		said.normal = said.once = false;
		say_lasting(c, &said);
	}
	if (o->request.reason && o->steered) {
		said.reason = o->request.reason;
		said.why = o->request.why;
		said.since = o->request.since;
		said.normal = said.once = !kube_request_lacks(o);
		say_lasting(c, &said);
	}
	say_outside(c, o, &said);
}

/* ---- parents of InferencePools ------------------------------------------------------------ */

/* The Services that are to be in front of the pool, by age. */
static size_t parents_of(const struct kube_cluster *c, const struct kube_inference *p,
			 const struct kube_item *out[KUBE_MAX_PARENTS])
{
	size_t n = 0;

	KUBE_STORE_EACH(item, c->all[ALL_SERVICES])
	{
		const struct kube_service *s = item->now;

		if (n < KUBE_MAX_PARENTS && s && strcmp(s->mode, "off") != 0 &&
		    !strcmp(s->space, p->space) && !strcmp(s->pool, p->name))
			out[n++] = item;
	}
	qsort(out, n, sizeof(*out), kube_by_age);
	return n;
}

/* Whether a Service in front of the pool has it. Returns false where that is not known yet. */
static bool judge_parent(const struct kube_cluster *c, const struct owner *pool,
			 const struct kube_item *item, struct kube_condition *out)
{
	const struct owner *o = owner_find(c, KUBE_TARGET_SERVICE, item->key);
	const struct kube_item *target = owner_item(pool);
	const char *left = owner_left(pool);

	if (!o || !o->told_once)
		return false;
	if (!kube_is_frontend(item->now, target->now))
		set(out, "NotSupportedByParent", "%s", o->told);
	else if (left && pool->idle)
		set(out, "Accepted", "its connections are kube-proxy's: %.400s", left);
	else if (o->told[0] || left)
		set(out, "NotSteered", "%s", o->told[0] ? o->told : left);
	else if (pool->unread[0])
		set(out, "NotSteered", "%s", pool->unread);
	else if (pool->steered)
		set(out, "Accepted", "%s", mode_text(item->now));
	else
		return false;
	out->status = !strcmp(out->reason, "Accepted");
	return out->status || !kube_is_young(pool->unread[0] ? pool->unread_since : o->told_since);
}

static void judge_refs(struct kube_condition *out)
{
	set(out, "ResolvedRefs", "no reference is needed: pintled asks no endpoint picker");
	out->status = true;
}

/* Hashes what pintled itself has to say. What is there already does not count: an entry that
 * another writer takes away is not put back. */
static uint64_t hash_parents(const struct kube_item *item, const struct kube_parents *p)
{
	uint64_t version = hash_text(item->meta.uid);

	version = hash_bytes(version, &item->meta.generation, sizeof(item->meta.generation));
	for (size_t i = 0; i < p->count; i++) {
		version = hash_bytes(version, p->all[i].service, strlen(p->all[i].service));
		version = hash_bytes(version, p->all[i].conditions, sizeof(p->all[i].conditions));
	}
	return version;
}

/* Judges the parents; false: one is not known yet. */
static bool judge_parents(const struct kube_cluster *c, const struct owner *pool,
			  const struct kube_item *const *services, struct kube_parents *out)
{
	for (size_t i = 0; i < out->count; i++) {
		const struct kube_service *s = services[i]->now;
		struct kube_condition *conditions = out->all[i].conditions;

		snprintf(out->all[i].service, sizeof(out->all[i].service), "%s", s->name);
		if (!judge_parent(c, pool, services[i], &conditions[KUBE_POOL_ACCEPTED]))
			return false;
		judge_refs(&conditions[KUBE_POOL_RESOLVED]);
	}
	return true;
}

/* Only where no other controller has an entry, so that none is fought. */
static void say_pool(struct kube_cluster *c, const struct owner *o)
{
	const struct kube_item *item = owner_item(o), *services[KUBE_MAX_PARENTS];
	const struct kube_inference *p = item->now;
	_cleanup_(kube_parents_clear) struct kube_parents now = {0};
	char at[KUBE_NOW_SIZE], path[256 + KUBE_KEY_SIZE];
	uint64_t version;

	now.count = parents_of(c, p, services);
	if (p->parents.others || (!now.count && !p->parents.count))
		return;
	now.all = calloc(now.count + 1, sizeof(*now.all));
	if (!now.all || !judge_parents(c, o, services, &now))
		return;
	version = hash_parents(item, &now);
	kube_now(at);
	for (size_t i = 0; i < now.count; i++) {
		const struct kube_parent *was = kube_parent_of(&p->parents, now.all[i].service);

		kube_conditions_date(now.all[i].conditions, KUBE_POOL_CONDITIONS,
				     was ? was->conditions : NULL, item->meta.generation, at);
	}
	snprintf(path, sizeof(path), "%s/namespaces/%s/%s/%s/status", kube_inferences.group,
		 p->space, kube_inferences.what, p->name);
	kube_teller_tell(c->teller, KUBE_TELL_POOL, path, version,
			 kube_parents_status(p->space, p->name, &now));
}

/* Of this node each daemon says it for itself. A kubelet, too, has the name for the uid. */
static void say_node(struct kube_cluster *c)
{
	struct kube_event_said said = {.api_version = "v1",
				       .kind = "Node",
				       .name = c->node,
				       .uid = c->node,
				       .space = "default",
				       .reason = "PintleDoesNotSteer",
				       .why = c->node_why,
				       .since = c->node_since};

	if (c->node_why && c->node)
		cluster_say_say(c, &said);
}

void kube_cluster_say(struct kube_cluster *c)
{
	bool known = c->judged && kube_cluster_listed(c), leads = kube_lease_held(c->lease);
	const struct owner *o;

	/* What a daemon leaves out is told again later: so none leaves out what is not known yet.
	 */
	if (leads ? !known : !c->node_why)
		return;
	kube_teller_begin(c->teller);
	say_node(c);
	if (leads) {
		KUBE_STORE_EACH(item, c->all[ALL_POLICIES])
		if (item->now)
			say_policy(c, item);
		LIST_FOREACH(o, &c->owners, all)
		{
			say_owner(c, o);
			if (o->kind == KUBE_TARGET_POOL && owner_item(o) && owner_item(o)->now)
				say_pool(c, o);
		}
	}
	kube_teller_end(c->teller);
}

void kube_cluster_tell_node(struct kube_cluster *c, const char *why)
{
	c->node_why = why;
	c->node_since = time(NULL);
	kube_cluster_say(c);
}

bool kube_cluster_leads(const struct kube_cluster *c)
{
	return kube_lease_held(c->lease);
}
