// SPDX-License-Identifier: Apache-2.0
#include "kube_objects.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/text.h"
#include "../base/util.h"
#include "kube_parts.h"

/* ---- parts ---------------------------------------------------------------------------- */

int kube_refuse(char why[KUBE_WHY_SIZE], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, KUBE_WHY_SIZE, fmt, ap);
	va_end(ap);
	return -EBADMSG;
}

const cJSON *kube_member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

const char *kube_text(const cJSON *object, const char *name)
{
	return cJSON_GetStringValue(kube_member(object, name));
}

bool kube_text_is(const cJSON *object, const char *name, const char *text)
{
	const char *is = kube_text(object, name);

	return is && !strcmp(is, text);
}

static bool is_true(const cJSON *object, const char *name)
{
	return cJSON_IsTrue(kube_member(object, name));
}

bool kube_take_name(const char *text, char *to, size_t size)
{
	static const char inner[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";
	size_t length = text ? strlen(text) : 0;

	if (!length || length >= size || strspn(text, inner) != length || strchr("-.", text[0]) ||
	    strchr("-.", text[length - 1]))
		return false;
	memcpy(to, text, length + 1);
	return true;
}

int kube_take_id(const cJSON *metadata, char space[KUBE_LABEL_SIZE], char *name, size_t size,
		 char why[KUBE_WHY_SIZE])
{
	if (kube_take_name(kube_text(metadata, "namespace"), space, KUBE_LABEL_SIZE) &&
	    kube_take_name(kube_text(metadata, "name"), name, size))
		return 0;
	return kube_refuse(why, "metadata has no name that the API allows");
}

void kube_take_plain(const char *text, const char *allowed, char *to, size_t size)
{
	bool plain = text && strlen(text) < size && strspn(text, allowed) == strlen(text);

	snprintf(to, size, "%s", plain ? text : "");
}

void kube_take_time(const char *text, char to[KUBE_TIME_SIZE])
{
	kube_take_plain(text, "0123456789-:.TZ", to, KUBE_TIME_SIZE);
}

/* A resourceVersion is opaque; it goes into URLs as it is. */
static void take_version(const cJSON *object, char to[KUBE_RV_SIZE])
{
	kube_take_plain(kube_text(kube_member(object, "metadata"), "resourceVersion"),
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~", to,
			KUBE_RV_SIZE);
}

bool kube_take_address(const char *text, struct addr *to)
{
	struct in_addr v4;

	if (text && inet_pton(AF_INET, text, &v4) == 1) {
		addr_from_v4(to, v4.s_addr);
		return true;
	}
	return text && inet_pton(AF_INET6, text, to->bytes) == 1;
}

uint16_t kube_port(const cJSON *value)
{
	double n = cJSON_IsNumber(value) ? value->valuedouble : 0;

	return n >= 1 && n <= UINT16_MAX && n == (double)(uint16_t)n ? (uint16_t)n : 0;
}

int64_t kube_count(const cJSON *value)
{
	double n = cJSON_IsNumber(value) ? value->valuedouble : 0;

	return n >= 1 && n < 9e15 ? (int64_t)n : 0;
}

static bool is_tcp(const cJSON *port)
{
	const char *protocol = kube_text(port, "protocol");

	return !protocol || !strcmp(protocol, "TCP");
}

/* A port's name: "" without one. */
static bool take_port_name(const cJSON *port, char to[KUBE_PORT_SIZE])
{
	const char *text = kube_text(port, "name");

	to[0] = '\0';
	return !text || !*text || kube_take_name(text, to, KUBE_PORT_SIZE);
}

/* ---- pages and events ------------------------------------------------------------------- */

/* Several documents in one text, or anything behind one, are refused. */
static cJSON *parse(const char *text, size_t size)
{
	const char *end = NULL;
	cJSON *root = cJSON_ParseWithLengthOpts(text, size, &end, false);
	size_t rest = root ? size - (size_t)(end - text) : 0;

	while (root && rest && strchr(" \t\r\n", end[0]) && end[0]) {
		end++;
		rest--;
	}
	if (root && !rest && cJSON_IsObject(root))
		return root;
	cJSON_Delete(root);
	return NULL;
}

static int take_type(const char *text, enum kube_event_type *type)
{
	static const char *const names[] = {
		[KUBE_ADDED] = "ADDED",     [KUBE_MODIFIED] = "MODIFIED",
		[KUBE_DELETED] = "DELETED", [KUBE_BOOKMARK] = "BOOKMARK",
		[KUBE_ERROR] = "ERROR",
	};

	for (size_t i = 0; text && i < ARRAY_SIZE(names); i++) {
		if (!strcmp(text, names[i])) {
			*type = (enum kube_event_type)i;
			return 0;
		}
	}
	return -EBADMSG;
}

/* `object` is a Status. */
static void take_status(const cJSON *object, struct kube_event *e)
{
	const cJSON *code = kube_member(object, "code");
	const char *message = kube_text(object, "message"), *reason = kube_text(object, "reason");

	e->code = cJSON_IsNumber(code) ? code->valueint : 0;
	snprintf(e->reason, sizeof(e->reason), "%s", message ?: reason ?: "no reason given");
	text_make_printable(e->reason, '?');
}

int kube_event_read(const char *line, size_t size, struct kube_event *out)
{
	cJSON *root = parse(line, size);
	struct kube_event e = {0};

	if (!root || take_type(kube_text(root, "type"), &e.type) ||
	    !cJSON_IsObject(kube_member(root, "object"))) {
		cJSON_Delete(root);
		return -EBADMSG;
	}
	e.object = cJSON_DetachItemFromObjectCaseSensitive(root, "object");
	cJSON_Delete(root);
	take_version(e.object, e.version);
	if (e.type == KUBE_ERROR)
		take_status(e.object, &e);
	*out = e;
	return 0;
}

int kube_page_read(const char *text, size_t size, struct kube_page *out)
{
	struct kube_page p = {.root = parse(text, size)};
	const char *more = kube_text(kube_member(p.root, "metadata"), "continue");

	p.items = cJSON_GetObjectItemCaseSensitive(p.root, "items");
	take_version(p.root, p.version);
	/* An empty list may be null. */
	if (!p.root || !p.version[0] || !(cJSON_IsArray(p.items) || cJSON_IsNull(p.items))) {
		cJSON_Delete(p.root);
		return -EBADMSG;
	}
	p.more = more && *more ? (char *)more : NULL;
	*out = p;
	return 0;
}

bool kube_object_key(const cJSON *object, char key[KUBE_KEY_SIZE])
{
	const cJSON *metadata = kube_member(object, "metadata");
	char space[KUBE_LABEL_SIZE], name[KUBE_NAME_SIZE];

	if (!kube_take_name(kube_text(metadata, "namespace"), space, sizeof(space)) ||
	    !kube_take_name(kube_text(metadata, "name"), name, sizeof(name)))
		return false;
	snprintf(key, KUBE_KEY_SIZE, "%s/%s", space, name);
	return true;
}

void kube_object_meta(const cJSON *object, struct kube_meta *out)
{
	const cJSON *metadata = kube_member(object, "metadata");

	*out = (struct kube_meta){0};
	kube_take_plain(kube_text(metadata, "uid"), "0123456789abcdefABCDEF-", out->uid,
			sizeof(out->uid));
	kube_take_time(kube_text(metadata, "creationTimestamp"), out->created);
	out->generation = kube_count(kube_member(metadata, "generation"));
}

/* ---- labels ---------------------------------------------------------------------------- */

/* A label's key, "a.b/c", or its value: what else it had would be another query. */
static bool is_label_part(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-._/";

	return text && strlen(text) < 320 && strspn(text, allowed) == strlen(text);
}

static void write_escaped(FILE *to, const char *text)
{
	for (; *text; text++)
		fputs(*text == '/' ? "%2F" : (char[]){*text, '\0'}, to);
}

int kube_selector(const cJSON *labels, char **out)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0, n = 0;
	FILE *to = open_memstream(&text, &size);
	bool good = cJSON_IsObject(labels);
	const cJSON *one;

	if (!to)
		return -ENOMEM;
	fputs("labelSelector=", to);
	cJSON_ArrayForEach (one, labels) {
		const char *value = cJSON_GetStringValue(one);

		good = good && one->string && one->string[0] && is_label_part(one->string) &&
		       is_label_part(value) && n < KUBE_MAX_LABELS;
		if (!good)
			break;
		fputs(n++ ? "%2C" : "", to);
		write_escaped(to, one->string);
		fputs("%3D", to);
		write_escaped(to, value);
	}
	if (fclose(to))
		return -ENOMEM;
	if (!good || !n)
		return -EBADMSG;
	*out = TAKE_PTR(text);
	return 0;
}

/* The next label of a selector from *at on, "KEY=VALUE", into `label` with line breaks around it.
 * Returns the character behind it. */
static char next_label(const char **at, char label[KUBE_EXCEPT_SIZE + 2])
{
	size_t length = strcspn(*at, ", ");

	snprintf(label, KUBE_EXCEPT_SIZE + 2, "\n%.*s\n", (int)length, *at);
	*at += length;
	return **at ? *(*at)++ : '\0';
}

static bool is_label(char *label)
{
	char *value = strchr(label, '=');

	if (!value || value == label + 1)
		return false;
	*value++ = '\0';
	value[strlen(value) - 1] = '\0'; /* the line break */
	return is_label_part(label + 1) && is_label_part(value);
}

bool kube_is_selectors(const char *text)
{
	char label[KUBE_EXCEPT_SIZE + 2];

	while (*text) {
		next_label(&text, label);
		if (!is_label(label))
			return false;
	}
	return true;
}

bool kube_selects(const char *selectors, const struct kube_pod *p)
{
	char label[KUBE_EXCEPT_SIZE + 2], behind;
	bool all = true;

	while (*selectors) {
		behind = next_label(&selectors, label);
		all = all && p->labels && strstr(p->labels, label);
		if (behind == ',')
			continue;
		if (all)
			return true;
		all = true;
	}
	return false;
}

/* ---- Services ------------------------------------------------------------------------------ */

static int read_cluster_ips(const cJSON *spec, struct kube_service *s, char *why)
{
	const cJSON *ips = kube_member(spec, "clusterIPs"), *ip;
	const char *only = kube_text(spec, "clusterIP"), *type = kube_text(spec, "type");

	if ((only && !strcmp(only, "None")) || (type && !strcmp(type, "ExternalName")))
		return 0;
	cJSON_ArrayForEach (ip, ips) {
		const char *text = cJSON_GetStringValue(ip);

		if (s->address_count == ARRAY_SIZE(s->addresses) ||
		    !kube_take_address(text, &s->addresses[s->address_count]))
			return kube_refuse(why, "spec.clusterIPs are no two addresses");
		s->address_count++;
	}
	if (!s->address_count && only && *only) {
		if (!kube_take_address(only, &s->addresses[0]))
			return kube_refuse(why, "spec.clusterIP is no address");
		s->address_count = 1;
	}
	return 0;
}

static int read_service_port(const cJSON *from, struct kube_port *p, char *why)
{
	const cJSON *target = kube_member(from, "targetPort");
	uint16_t number = kube_port(target);

	*p = (struct kube_port){.port = kube_port(kube_member(from, "port"))};
	if (!p->port || !take_port_name(from, p->name))
		return kube_refuse(why, "one of spec.ports is no port");
	if (number || !target)
		snprintf(p->target, sizeof(p->target), "%u", number ?: p->port);
	else if (!kube_take_name(cJSON_GetStringValue(target), p->target, sizeof(p->target)))
		return kube_refuse(why, "one of spec.ports has a targetPort that is none");
	return 0;
}

static int read_service_ports(const cJSON *spec, struct kube_service *s, char *why)
{
	const cJSON *port;
	int err = 0;

	cJSON_ArrayForEach (port, kube_member(spec, "ports")) {
		if (!is_tcp(port) || s->port_count == KUBE_MAX_PORTS)
			continue;
		err = read_service_port(port, &s->ports[s->port_count], why);
		if (err)
			break;
		s->port_count++;
	}
	return err;
}

static uint32_t read_outside(const cJSON *spec)
{
	const char *type = kube_text(spec, "type") ?: "";
	bool balanced = !strcmp(type, "LoadBalancer");
	uint32_t by = balanced ? KUBE_BY_LOAD_BALANCER : 0;
	const cJSON *port;

	if (cJSON_GetArraySize(kube_member(spec, "externalIPs")) > 0)
		by |= KUBE_BY_EXTERNAL_IP;
	if (!balanced && strcmp(type, "NodePort") != 0)
		return by;
	cJSON_ArrayForEach (port, kube_member(spec, "ports")) {
		if (kube_port(kube_member(port, "nodePort")))
			by |= KUBE_BY_NODE_PORT;
	}
	return by;
}

/* The value's former name is PreferClose. */
static void read_distribution(const cJSON *spec, struct kube_service *s)
{
	const char *text = kube_text(spec, "trafficDistribution") ?: "";

	snprintf(s->distribution, sizeof(s->distribution), "%s",
		 strcmp(text, "PreferClose") ? text : "PreferSameZone");
}

int kube_service_read(const cJSON *object, struct kube_service *out, char why[KUBE_WHY_SIZE])
{
	const cJSON *metadata = kube_member(object, "metadata"),
		    *spec = kube_member(object, "spec");
	const char *mode = kube_text(kube_member(metadata, "labels"), KUBE_LABEL_MODE);
	const char *policy = kube_text(spec, "internalTrafficPolicy");
	const cJSON *annotations = kube_member(metadata, "annotations");
	const char *pool = kube_text(annotations, KUBE_ANNOTATION_POOL);
	const char *except = kube_text(annotations, KUBE_INTERCEPT_EXCEPT) ?: "";
	_cleanup_(kube_service_clear) struct kube_service s = {0};
	int err = kube_take_id(metadata, s.space, s.name, sizeof(s.name), why);

	if (err)
		return err;
	snprintf(s.mode, sizeof(s.mode), "%s", mode ?: "");
	text_make_printable(s.mode, '?');
	if (pool && !kube_take_name(pool, s.pool, sizeof(s.pool)))
		return kube_refuse(why, "its annotation " KUBE_ANNOTATION_POOL
					" is no InferencePool's name");
	s.local = policy && !strcmp(policy, "Local");
	s.outside = read_outside(spec);
	read_distribution(spec, &s);
	snprintf(s.intercept, sizeof(s.intercept), "%s",
		 kube_text(annotations, KUBE_INTERCEPT) ?: "");
	text_make_printable(s.intercept, '?');
	/* A selector that is too long is cut, and then is none. */
	snprintf(s.except, sizeof(s.except), "%s",
		 strlen(except) < KUBE_EXCEPT_SIZE ? except : "?");
	text_make_printable(s.except, '?');
	if (kube_selector(kube_member(spec, "selector"), &s.selector) == -ENOMEM)
		return kube_refuse(why, "out of memory"), -ENOMEM;
	err = read_cluster_ips(spec, &s, why) ?: read_service_ports(spec, &s, why);
	if (err)
		return err;
	*out = s;
	s.selector = NULL;
	return 0;
}

void kube_service_clear(struct kube_service *s)
{
	free(TAKE_PTR(s->selector));
}

/* ---- nodes ------------------------------------------------------------------------------- */

/* A label's value: what names have, and capitals and "_". */
static void take_zone(const char *text, char to[KUBE_ZONE_SIZE])
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-._";

	to[0] = '\0';
	if (text && strlen(text) < KUBE_ZONE_SIZE && strspn(text, allowed) == strlen(text))
		snprintf(to, KUBE_ZONE_SIZE, "%s", text);
}

int kube_node_read(const cJSON *object, struct kube_node *out)
{
	take_zone(kube_text(kube_member(kube_member(object, "metadata"), "labels"),
			    "topology.kubernetes.io/zone"),
		  out->zone);
	return 0;
}

/* ---- EndpointSlices ----------------------------------------------------------------------------
 */

void kube_slice_clear(struct kube_slice *s)
{
	free(TAKE_PTR(s->endpoints));
}

/* A port without a number stands for all ports, which no Service has; it is left out. */
static int read_slice_ports(const cJSON *object, struct kube_slice *s, char *why)
{
	const cJSON *port;

	cJSON_ArrayForEach (port, kube_member(object, "ports")) {
		struct kube_slice_port *p = &s->ports[s->port_count];

		if (!is_tcp(port) || s->port_count == KUBE_MAX_PORTS ||
		    !kube_member(port, "port") || cJSON_IsNull(kube_member(port, "port")))
			continue;
		p->port = kube_port(kube_member(port, "port"));
		if (!p->port || !take_port_name(port, p->name))
			return kube_refuse(why, "one of ports is no port");
		s->port_count++;
	}
	return 0;
}

/* A hint that is cut would leave clients out: so all are dropped, as if there were none. */
static void take_hints(const cJSON *hints, char to[KUBE_HINT_SIZE])
{
	const cJSON *one;
	size_t n = 0;

	cJSON_ArrayForEach (one, hints) {
		const char *name = kube_text(one, "name");

		if (name && strpbrk(name, "\r\n"))
			continue;
		n += (size_t)snprintf(to + n, KUBE_HINT_SIZE - n, "\n%s\n", name ?: "");
		if (n < KUBE_HINT_SIZE)
			continue;
		to[0] = '\0';
		return;
	}
}

static int read_endpoint(const cJSON *from, struct kube_endpoint *e, char *why)
{
	const cJSON *conditions = kube_member(from, "conditions"),
		    *target = kube_member(from, "targetRef");
	const cJSON *address = cJSON_GetArrayItem(kube_member(from, "addresses"), 0);
	const cJSON *ready = kube_member(conditions, "ready"),
		    *serving = kube_member(conditions, "serving");
	const cJSON *hints = kube_member(from, "hints");
	const char *kind = kube_text(target, "kind");

	*e = (struct kube_endpoint){0};
	if (!kube_take_address(cJSON_GetStringValue(address), &e->address))
		return kube_refuse(why, "one of endpoints has no address");
	if (addr_is_special(&e->address))
		return kube_refuse(why, "one of endpoints has an address that no pod can have");
	e->ready = !cJSON_IsFalse(ready);
	e->serving = cJSON_IsBool(serving) ? cJSON_IsTrue(serving) : e->ready;
	e->terminating = is_true(conditions, "terminating");
	if (kind && !strcmp(kind, "Pod") &&
	    !kube_take_name(kube_text(target, "name"), e->name, sizeof(e->name)))
		return kube_refuse(why, "one of endpoints has a targetRef that names no pod");
	if (e->name[0])
		kube_take_name(kube_text(target, "uid"), e->uid, sizeof(e->uid));
	kube_take_name(kube_text(from, "nodeName"), e->node, sizeof(e->node));
	take_zone(kube_text(from, "zone"), e->zone);
	take_hints(kube_member(hints, "forZones"), e->for_zones);
	take_hints(kube_member(hints, "forNodes"), e->for_nodes);
	return 0;
}

static int objects_read_endpoints(const cJSON *object, struct kube_slice *s, char *why)
{
	const cJSON *all = kube_member(object, "endpoints"), *one;
	int n = cJSON_IsArray(all) ? cJSON_GetArraySize(all) : 0, err = 0;

	if (n > KUBE_MAX_ENDPOINTS)
		return kube_refuse(why, "it has more than %d endpoints", KUBE_MAX_ENDPOINTS);
	s->endpoints = calloc((size_t)n + 1, sizeof(*s->endpoints));
	if (!s->endpoints)
		return kube_refuse(why, "out of memory"), -ENOMEM;
	cJSON_ArrayForEach (one, all) {
		err = read_endpoint(one, &s->endpoints[s->endpoint_count], why);
		if (err)
			break;
		s->endpoint_count++;
	}
	return err;
}

int kube_slice_read(const cJSON *object, struct kube_slice *out, char why[KUBE_WHY_SIZE])
{
	_cleanup_(kube_slice_clear) struct kube_slice s = {0};
	const cJSON *metadata = kube_member(object, "metadata");
	const char *type = kube_text(object, "addressType");
	int err = kube_take_id(metadata, s.space, s.name, sizeof(s.name), why);

	if (err)
		return err;
	if (!kube_take_name(kube_text(kube_member(metadata, "labels"), KUBE_LABEL_SERVICE),
			    s.service, sizeof(s.service)))
		return kube_refuse(why, "it names no Service");
	err = read_slice_ports(object, &s, why);
	if (!err && !(type && !strcmp(type, "FQDN")))
		err = objects_read_endpoints(object, &s, why);
	if (err)
		return err;
	*out = s;
	s.endpoints = NULL;
	return 0;
}

/* ---- Pods ---------------------------------------------------------------------------------- */

/* The uid of a static pod in the API is that of its mirror; the kubelet calls the pod by the hash
 * of its file. */
#define CONFIG_HASH "kubernetes.io/config.hash"

static bool objects_take_uid(const cJSON *metadata, char to[KUBE_UID_SIZE])
{
	const char *hash = kube_text(kube_member(metadata, "annotations"), CONFIG_HASH);

	kube_take_plain(hash ?: kube_text(metadata, "uid"), "0123456789abcdef-", to, KUBE_UID_SIZE);
	return to[0];
}

static int take_pod_addresses(const cJSON *status, struct kube_pod *p, char *why)
{
	const char *only = kube_text(status, "podIP");
	const cJSON *one;

	cJSON_ArrayForEach (one, kube_member(status, "podIPs")) {
		if (p->address_count == ARRAY_SIZE(p->addresses) ||
		    !kube_take_address(kube_text(one, "ip"), &p->addresses[p->address_count]))
			return kube_refuse(why, "status.podIPs are no two addresses");
		if (addr_is_special(&p->addresses[p->address_count++]))
			return kube_refuse(why, "one of status.podIPs is one that no pod can have");
	}
	if (p->address_count || !only || !*only)
		return 0;
	if (!kube_take_address(only, &p->addresses[0]))
		return kube_refuse(why, "status.podIP is no address");
	if (addr_is_special(&p->addresses[0]))
		return kube_refuse(why, "status.podIP is one that no pod can have");
	p->address_count = 1;
	return 0;
}

static bool objects_is_ready(const cJSON *status)
{
	const cJSON *one;

	cJSON_ArrayForEach (one, kube_member(status, "conditions")) {
		const char *type = kube_text(one, "type"), *word = kube_text(one, "status");

		if (type && word && !strcmp(type, "Ready"))
			return !strcmp(word, "True");
	}
	return false;
}

static int take_labels(const cJSON *labels, struct kube_pod *p, char *why)
{
	size_t size = 0, n = 0;
	FILE *to = open_memstream(&p->labels, &size);
	const cJSON *one;

	if (!to)
		return kube_refuse(why, "out of memory"), -ENOMEM;
	cJSON_ArrayForEach (one, labels) {
		const char *value = cJSON_GetStringValue(one);

		if (is_label_part(one->string) && is_label_part(value) && n++ < KUBE_MAX_LABELS)
			fprintf(to, "\n%s=%s\n", one->string, value);
	}
	return fclose(to) ? (kube_refuse(why, "out of memory"), -ENOMEM) : 0;
}

void kube_pod_clear(struct kube_pod *p)
{
	free(TAKE_PTR(p->labels));
}

/* What meshes write on a pod whose connections their proxy takes, by rules in the pod's own
 * network: the proxy of a sidecar, or that of the node. */
static const struct {
	const char *annotation, *value; /* NULL: any */
} meshes[] = {
	{"sidecar.istio.io/status", NULL},
	{"ambient.istio.io/redirection", "enabled"},
	{"linkerd.io/proxy-version", NULL},
	{"kuma.io/sidecar-injected", "true"},
	{"consul.hashicorp.com/connect-inject-status", "injected"},
};

static bool is_meshed(const cJSON *annotations)
{
	bool any = false;

	for (size_t i = 0; !any && i < ARRAY_SIZE(meshes); i++) {
		const char *value = kube_text(annotations, meshes[i].annotation);

		any = value && (!meshes[i].value || !strcmp(value, meshes[i].value));
	}
	return any;
}

static enum kube_steer steer_of(const cJSON *metadata)
{
	const char *said = kube_text(kube_member(metadata, "annotations"), KUBE_STEER) ?: "";

	return !strcmp(said, "off")  ? KUBE_STEER_OFF
	       : !strcmp(said, "on") ? KUBE_STEER_ON
				     : KUBE_STEER_NOT_SAID;
}

int kube_namespace_read(const cJSON *object, struct kube_namespace *out)
{
	out->steer = steer_of(kube_member(object, "metadata"));
	return 0;
}

/* A mesh's proxy goes by the address that was asked for. An endpoint's, in the place of its
 * Service's, it would let pass as it is: without the mesh's mTLS. */
bool kube_pod_left_alone(const struct kube_pod *p, enum kube_steer space)
{
	enum kube_steer said = p->steer ?: space;

	return said ? said == KUBE_STEER_OFF : p->meshed;
}

int kube_pod_read(const cJSON *object, struct kube_pod *out, char why[KUBE_WHY_SIZE])
{
	const cJSON *metadata = kube_member(object, "metadata"),
		    *spec = kube_member(object, "spec"), *status = kube_member(object, "status"),
		    *labels = kube_member(metadata, "labels");
	const char *phase = kube_text(status, "phase");
	_cleanup_(kube_pod_clear) struct kube_pod p = {
		.host_network = is_true(spec, "hostNetwork"),
		.running = phase && !strcmp(phase, "Running"),
		.terminating = kube_member(metadata, "deletionTimestamp"),
		.steer = steer_of(metadata),
		.meshed = is_meshed(kube_member(metadata, "annotations")),
	};
	int err = kube_take_id(metadata, p.space, p.name, sizeof(p.name), why);

	if (err)
		return err;
	p.ready = p.running && objects_is_ready(status);
	if (!objects_take_uid(metadata, p.uid))
		return kube_refuse(why, "metadata has no uid that the API allows");
	if (!kube_take_name(kube_text(spec, "serviceAccountName") ?: "default", p.account,
			    sizeof(p.account)))
		return kube_refuse(why, "spec.serviceAccountName is no name that the API allows");
	kube_take_name(kube_text(spec, "nodeName"), p.node, sizeof(p.node));
	take_zone(kube_text(labels, "topology.kubernetes.io/zone"), p.zone);
	err = take_pod_addresses(status, &p, why) ?: take_labels(labels, &p, why);
	if (err)
		return err;
	*out = p;
	p.labels = NULL;
	return 0;
}

int kube_pod_read_into(const cJSON *object, void *to, char why[KUBE_WHY_SIZE])
{
	return kube_pod_read(object, to, why);
}

void kube_pod_clear_at(void *now)
{
	kube_pod_clear(now);
}
