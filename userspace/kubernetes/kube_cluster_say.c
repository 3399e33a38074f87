// SPDX-License-Identifier: Apache-2.0
#include "kube_cluster_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/hash.h"
#include "../base/util.h"
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
	kube_now(now);
	for (size_t i = 0; i < KUBE_CONDITIONS; i++) {
		struct kube_condition *one = &conditions[i];
		const struct kube_condition *was = &p->told[i];
		bool same = was->reason[0] && was->status == one->status && was->since[0];

		one->generation = item->meta.generation;
		told = told && is_told(one, was);
		version = hash_bytes(version, one, sizeof(*one));
		snprintf(one->since, sizeof(one->since), "%s", same ? was->since : now);
	}
	if (told)
		return;
	snprintf(path, sizeof(path), "%s/namespaces/%s/steeringpolicies/%s/status",
		 KUBE_GROUP_POLICY, p->space, p->name);
	kube_teller_tell(c->teller, KUBE_TELL_STATUS, path, version,
			 kube_policy_status(p, conditions));
}

/* ---- Events ------------------------------------------------------------------------------ */

/* What an Event says, and of which object. */
struct saying {
	const char *api_version, *kind, *name, *uid;
	char space[KUBE_LABEL_SIZE]; /* the Event's; "default": of an object that has none */
	const char *reason, *why;
	time_t since;
	bool normal; /* nothing is wrong */
	bool once;   /* it is not told again while it lasts */
};

static bool add_involved(cJSON *event, const struct saying *said)
{
	cJSON *to = cJSON_AddObjectToObject(event, "involvedObject");

	return cJSON_AddStringToObject(to, "apiVersion", said->api_version) &&
	       cJSON_AddStringToObject(to, "kind", said->kind) &&
	       cJSON_AddStringToObject(to, "namespace", said->space) &&
	       cJSON_AddStringToObject(to, "name", said->name) &&
	       cJSON_AddStringToObject(to, "uid", said->uid);
}

static char *event_body(const struct kube_cluster *c, const char *name, const struct saying *said)
{
	char now[KUBE_NOW_SIZE], first[KUBE_NOW_SIZE], *text = NULL;
	cJSON *event = cJSON_CreateObject();
	cJSON *metadata = cJSON_AddObjectToObject(event, "metadata");
	cJSON *source = cJSON_AddObjectToObject(event, "source");
	struct tm tm;

	kube_now(now);
	strftime(first, sizeof(first), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&said->since, &tm));
	if (cJSON_AddStringToObject(event, "apiVersion", "v1") &&
	    cJSON_AddStringToObject(event, "kind", "Event") &&
	    cJSON_AddStringToObject(metadata, "namespace", said->space) &&
	    cJSON_AddStringToObject(metadata, "name", name) && add_involved(event, said) &&
	    cJSON_AddStringToObject(event, "type", said->normal ? "Normal" : "Warning") &&
	    cJSON_AddStringToObject(event, "reason", said->reason) &&
	    cJSON_AddStringToObject(event, "message", said->why) &&
	    cJSON_AddStringToObject(event, "firstTimestamp", first) &&
	    cJSON_AddStringToObject(event, "lastTimestamp", now) &&
	    cJSON_AddNumberToObject(event, "count",
				    1 + (double)((time(NULL) - said->since) / EVENT_AGAIN_S)) &&
	    cJSON_AddStringToObject(source, "component", "pintle") &&
	    cJSON_AddStringToObject(event, "reportingComponent", "pintle.dev/pintled") &&
	    cJSON_AddStringToObject(event, "reportingInstance", kube_lease_identity(c->lease)))
		text = cJSON_PrintUnformatted(event);
	cJSON_Delete(event);
	return text;
}

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
static void say(struct kube_cluster *c, const struct saying *said)
{
	char name[KUBE_NAME_SIZE], path[KUBE_LABEL_SIZE + KUBE_NAME_SIZE + 64];
	uint64_t hash = hash_reason(hash_text(said->uid), said->why);

	snprintf(name, sizeof(name), "%.200s", said->name);
	while (strchr("-.", name[strlen(name) - 1]))
		name[strlen(name) - 1] = '\0';
	snprintf(name + strlen(name), 18, ".%016jx", (uintmax_t)hash);
	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/events/%s", said->space, name);
	if (!said->once)
		hash += (uint64_t)((time(NULL) - said->since) / EVENT_AGAIN_S);
	kube_teller_tell(c->teller, KUBE_TELL_EVENT, path, hash, event_body(c, name, said));
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

static const char *steered_text(const struct owner *o, const struct kube_item *item)
{
	const struct kube_service *s = item->now;

	if (o->kind == KUBE_TARGET_POOL)
		return "connections to the Services in front of it go to its pods, as their labels say";
	for (size_t i = 0; i < ARRAY_SIZE(steered_as); i++)
		if (!strcmp(s->mode, steered_as[i].mode))
			return steered_as[i].says;
	return steered_as[0].says;
}

static void say_lasting(struct kube_cluster *c, const struct saying *said)
{
	if (!kube_is_young(said->since))
		say(c, said);
}

static void say_owner(struct kube_cluster *c, const struct owner *o)
{
	const struct kube_item *item = owner_item(o);
	const char *slash = strchr(o->key, '/'), *left = owner_left(o);
	struct saying said = {.api_version = owner_kinds[o->kind].api_version,
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
}

/* Of this node each daemon says it for itself. A kubelet, too, has the name for the uid. */
static void say_node(struct kube_cluster *c)
{
	const struct saying said = {.api_version = "v1",
				    .kind = "Node",
				    .name = c->node,
				    .uid = c->node,
				    .space = "default",
				    .reason = "PintleDoesNotSteer",
				    .why = c->node_why,
				    .since = c->node_since};

	if (c->node_why && c->node)
		say(c, &said);
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
		say_owner(c, o);
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
