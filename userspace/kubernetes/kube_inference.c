// SPDX-License-Identifier: Apache-2.0
#include "kube_inference.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "kube_parts.h"

__attribute__((format(printf, 2, 3))) static int refuse(char *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, KUBE_WHY_SIZE, fmt, ap);
	va_end(ap);
	return -EBADMSG;
}

/* ---- the pool -------------------------------------------------------------------------- */

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

static int read_selector(const cJSON *spec, struct kube_inference *p, char *why)
{
	const cJSON *labels = kube_member(kube_member(spec, "selector"), "matchLabels"), *one;
	size_t size = 0, n = 0;
	FILE *to = open_memstream(&p->selector, &size);
	bool good = true;

	if (!to)
		return refuse(why, "out of memory"), -ENOMEM;
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
		return refuse(why, "out of memory"), -ENOMEM;
	if (!good || !n || !cJSON_IsObject(labels))
		return refuse(why, "spec.selector.matchLabels has no label, or one that is none");
	return 0;
}

static int read_ports(const cJSON *spec, struct kube_inference *p, char *why)
{
	const cJSON *all = kube_member(spec, "targetPorts"), *one;

	cJSON_ArrayForEach (one, all) {
		uint16_t port = kube_port(kube_member(one, "number"));

		if (!port)
			return refuse(why, "one of spec.targetPorts is no port");
		if (p->port_count == KUBE_MAX_POOL_PORTS)
			return refuse(why, "spec.targetPorts has more than %d ports",
				      KUBE_MAX_POOL_PORTS);
		for (size_t i = 0; i < p->port_count; i++)
			if (p->ports[i] == port)
				return refuse(why, "spec.targetPorts has port %u twice", port);
		p->ports[p->port_count++] = port;
	}
	return p->port_count ? 0 : refuse(why, "spec.targetPorts has no port");
}

/* The API's default is FailClose, in an object with a picker. One without, which the API has since
 * v1.6.0 of the extension, asks for nothing: its pods are behind the Service anyway. */
static bool fails_close(const cJSON *spec)
{
	const cJSON *picker = kube_member(spec, "endpointPickerRef");
	const char *mode = kube_text(picker, "failureMode");

	return cJSON_IsObject(picker) && !(mode && !strcmp(mode, "FailOpen"));
}

void kube_inference_free(struct kube_inference *p)
{
	if (!p)
		return;
	free(p->selector);
	free(p);
}

static void inference_freep(struct kube_inference **p)
{
	kube_inference_free(*p);
}

int kube_inference_read(const cJSON *object, struct kube_inference **out, char why[KUBE_WHY_SIZE])
{
	_cleanup_(inference_freep) struct kube_inference *p = calloc(1, sizeof(*p));
	const cJSON *metadata = kube_member(object, "metadata"),
		    *spec = kube_member(object, "spec");
	int err;

	if (!p)
		return refuse(why, "out of memory"), -ENOMEM;
	if (!kube_take_name(kube_text(metadata, "namespace"), p->space, sizeof(p->space)) ||
	    !kube_take_name(kube_text(metadata, "name"), p->name, sizeof(p->name)))
		return refuse(why, "metadata has no name that the API allows");
	p->fail_close = fails_close(spec);
	err = read_selector(spec, p, why) ?: read_ports(spec, p, why);
	if (!err)
		*out = TAKE_PTR(p);
	return err;
}

/* ---- its pods -------------------------------------------------------------------------- */

static bool is_ready(const cJSON *status)
{
	const char *phase = kube_text(status, "phase"), *type, *word;
	const cJSON *one;

	cJSON_ArrayForEach (one, kube_member(status, "conditions")) {
		type = kube_text(one, "type");
		word = kube_text(one, "status");
		if (type && word && !strcmp(type, "Ready"))
			return !strcmp(word, "True") && phase && !strcmp(phase, "Running");
	}
	return false;
}

int kube_pool_pod_read(const cJSON *object, struct kube_pool_pod *out, char why[KUBE_WHY_SIZE])
{
	const cJSON *metadata = kube_member(object, "metadata");
	const cJSON *status = kube_member(object, "status"), *one;
	const char *only = kube_text(status, "podIP");
	struct kube_pool_pod p = {0};

	if (!kube_take_name(kube_text(metadata, "name"), p.name, sizeof(p.name)))
		return refuse(why, "metadata has no name that the API allows");
	cJSON_ArrayForEach (one, kube_member(status, "podIPs")) {
		if (p.address_count == ARRAY_SIZE(p.addresses) ||
		    !kube_take_address(kube_text(one, "ip"), &p.addresses[p.address_count]))
			return refuse(why, "status.podIPs are no two addresses");
		p.address_count++;
	}
	if (!p.address_count && only && *only) {
		if (!kube_take_address(only, &p.addresses[0]))
			return refuse(why, "status.podIP is no address");
		p.address_count = 1;
	}
	p.ready = is_ready(status);
	p.terminating = kube_member(metadata, "deletionTimestamp");
	*out = p;
	return 0;
}

/* ---- kinds ----------------------------------------------------------------------------- */

static int read_inference(const cJSON *object, void **out, char why[KUBE_WHY_SIZE])
{
	struct kube_inference *p = NULL;
	int err = kube_inference_read(object, &p, why);

	if (!err)
		*out = p;
	return err;
}

static void free_inference(void *now)
{
	kube_inference_free(now);
}

static int read_pod(const cJSON *object, void **out, char why[KUBE_WHY_SIZE])
{
	struct kube_pool_pod *p = calloc(1, sizeof(*p));
	int err = p ? kube_pool_pod_read(object, p, why) : -ENOMEM;

	if (!p)
		refuse(why, "out of memory");
	if (err)
		free(p);
	else
		*out = p;
	return err;
}

const struct kube_kind kube_inferences = {
	.what = "inferencepools",
	.one = "InferencePool",
	.group = "/apis/inference.networking.k8s.io/v1",
	.optional = true,
	.read = read_inference,
	.free = free_inference,
};

const struct kube_kind kube_pods = {
	.what = "pods",
	.one = "Pod",
	.group = "/api/v1",
	.optional = true,
	.read = read_pod,
	.free = free,
};

/* ---- as a pool of the configuration ---------------------------------------------------- */

static int add_pods(struct kube_making *m, const struct kube_inference *p,
		    const struct kube_pool_pod *const *pods, size_t pod_count)
{
	int err = 0;

	for (size_t k = 0; k < pod_count; k++) {
		const struct kube_pool_pod *pod = pods[k];

		for (size_t a = 0; pod->ready && a < pod->address_count; a++)
			for (size_t i = 0; !err && i < p->port_count; i++)
				err = kube_making_member(m, pod->name, &pod->addresses[a],
							 p->ports[i],
							 p->port_count > 1 ? p->ports[i] : 0,
							 pod->terminating, PLACE_UNKNOWN);
	}
	return err;
}

/* The policy's keys count for more than the pool's own. Returns the text, which the caller frees,
 * or NULL without memory. */
static char *keys_of(const struct kube_inference *p, const char *more)
{
	cJSON *keys = more ? cJSON_Parse(more) : cJSON_CreateObject();
	char *text = NULL;

	if (kube_member(keys, "failureMode") ||
	    cJSON_AddStringToObject(keys, "failureMode", p->fail_close ? "FailClose" : "FailOpen"))
		text = cJSON_PrintUnformatted(keys);
	cJSON_Delete(keys);
	return text;
}

int kube_inference_add(struct config_founds *to, const struct kube_inference *p,
		       const struct kube_service *const *services, size_t service_count,
		       const struct kube_pool_pod *const *pods, size_t pod_count,
		       const struct kube_extra *extra, char why[KUBE_WHY_SIZE])
{
	_cleanup_(kube_making_free) struct kube_making m = {0};
	_cleanup_free_ char *keys = keys_of(p, extra ? extra->keys : NULL);
	char name[KUBE_KEY_SIZE];
	int err = keys ? 0 : -ENOMEM;

	why[0] = '\0';
	for (size_t i = 0; !err && i < service_count; i++)
		err = kube_pools_frontends(&m, services[i], NULL, extra);
	if (!err)
		err = add_pods(&m, p, pods, pod_count);
	if (!err && !m.frontend_count)
		refuse(why,
		       "no Service has the label " KUBE_LABEL_MODE
		       " and the annotation " KUBE_ANNOTATION_POOL ": %s",
		       p->name);
	else if (!err && !m.member_count)
		refuse(why, "none of its pods is ready");
	if (err || why[0])
		return err;
	snprintf(name, sizeof(name), "%s/%s", p->space, p->name);
	return kube_making_put(&m, name, services[0]->mode, keys, to);
}
