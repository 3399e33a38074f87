// SPDX-License-Identifier: Apache-2.0
#include "kube_inference.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"
#include "kube_parts.h"

/* ---- the pool -------------------------------------------------------------------------- */

static int read_selector(const cJSON *spec, struct kube_inference *p, char *why)
{
	int err = kube_selector(kube_member(kube_member(spec, "selector"), "matchLabels"),
				&p->selector);

	if (err == -EBADMSG)
		kube_refuse(why, "spec.selector.matchLabels has no label, or one that is none");
	else if (err)
		kube_refuse(why, "out of memory");
	return err;
}

static int read_ports(const cJSON *spec, struct kube_inference *p, char *why)
{
	const cJSON *all = kube_member(spec, "targetPorts"), *one;

	cJSON_ArrayForEach (one, all) {
		uint16_t port = kube_port(kube_member(one, "number"));

		if (!port)
			return kube_refuse(why, "one of spec.targetPorts is no port");
		if (p->port_count == KUBE_MAX_POOL_PORTS)
			return kube_refuse(why, "spec.targetPorts has more than %d ports",
					   KUBE_MAX_POOL_PORTS);
		for (size_t i = 0; i < p->port_count; i++)
			if (p->ports[i] == port)
				return kube_refuse(why, "spec.targetPorts has port %u twice", port);
		p->ports[p->port_count++] = port;
	}
	return p->port_count ? 0 : kube_refuse(why, "spec.targetPorts has no port");
}

/* The API's default is FailClose, in an object with a picker. One without, which the API has since
 * v1.6.0 of the extension, asks for nothing: its pods are behind the Service anyway. */
static bool fails_close(const cJSON *spec)
{
	const cJSON *picker = kube_member(spec, "endpointPickerRef");

	return cJSON_IsObject(picker) && !kube_text_is(picker, "failureMode", "FailOpen");
}

void kube_inference_clear(struct kube_inference *p)
{
	free(TAKE_PTR(p->selector));
	kube_parents_clear(&p->parents);
}

int kube_inference_read(const cJSON *object, struct kube_inference *out, char why[KUBE_WHY_SIZE])
{
	_cleanup_(kube_inference_clear) struct kube_inference p = {0};
	const cJSON *spec = kube_member(object, "spec");
	int err =
		kube_take_id(kube_member(object, "metadata"), p.space, p.name, sizeof(p.name), why);

	if (err)
		return err;
	p.fail_close = fails_close(spec);
	err = read_selector(spec, &p, why) ?: read_ports(spec, &p, why);
	if (!err && kube_parents_read(object, &p.parents)) {
		err = -ENOMEM;
		kube_refuse(why, "out of memory");
	}
	if (err)
		return err;
	*out = p;
	p = (struct kube_inference){0};
	return 0;
}

/* ---- kinds ----------------------------------------------------------------------------- */

static int read_inference(const cJSON *object, void *to, char why[KUBE_WHY_SIZE])
{
	return kube_inference_read(object, to, why);
}

static void clear_inference(void *now)
{
	kube_inference_clear(now);
}

const struct kube_kind kube_inferences = {
	.what = "inferencepools",
	.called = "inferencepools.inference.networking.k8s.io/v1",
	.one = "InferencePool",
	.group = "/apis/inference.networking.k8s.io/v1",
	.optional = true,
	.size = sizeof(struct kube_inference),
	.read = read_inference,
	.clear = clear_inference,
};

/* ---- as a pool of the configuration ---------------------------------------------------- */

static int add_pods(struct kube_making *m, const struct kube_inference *p,
		    const struct kube_parts *parts)
{
	char page[KUBE_PAGE_SIZE];
	int err = 0;

	for (size_t k = 0; k < parts->pod_count; k++) {
		const struct kube_pod *pod = parts->pods[k];
		uint32_t place = kube_place(parts->here, pod->node, pod->zone);
		const char *gpus = kube_gpus(parts->here, pod->node, page);

		for (size_t a = 0; pod->ready && a < pod->address_count; a++)
			for (size_t i = 0; !err && i < p->port_count; i++)
				err = kube_making_member(m, pod->name, &pod->addresses[a],
							 p->ports[i],
							 p->port_count > 1 ? p->ports[i] : 0,
							 pod->terminating, place, gpus);
	}
	return err;
}

/* The policy's keys count for more than the pool's own. Returns the text, which the caller frees,
 * or NULL without memory. Sets *closes: they say FailClose. */
static char *keys_of(const struct kube_inference *p, const char *more, bool *closes)
{
	cJSON *keys = more ? cJSON_Parse(more) : cJSON_CreateObject();
	char *text = NULL;

	if (kube_member(keys, "failureMode") ||
	    cJSON_AddStringToObject(keys, "failureMode", p->fail_close ? "FailClose" : "FailOpen"))
		text = cJSON_PrintUnformatted(keys);
	*closes = kube_text_is(keys, "failureMode", "FailClose");
	cJSON_Delete(keys);
	return text;
}

int kube_inference_add(struct config_founds *to, const struct kube_inference *p,
		       const struct kube_service *const *services, size_t service_count,
		       const struct kube_parts *parts, const struct kube_extra *extra,
		       struct kube_whys *whys)
{
	_cleanup_(kube_making_free) struct kube_making m = {0};
	bool closes = false;
	_cleanup_free_ char *keys = keys_of(p, extra ? extra->keys : NULL, &closes);
	char name[KUBE_KEY_SIZE];
	int err = keys ? 0 : -ENOMEM;

	*whys = (struct kube_whys){0};
	for (size_t i = 0; !err && i < service_count; i++)
		err = kube_pools_frontends(&m, services[i], extra);
	if (!err)
		err = add_pods(&m, p, parts);
	if (!err && service_count)
		err = kube_pools_intercept(&m, services[0], parts, whys->direct);
	if (!err && !m.frontend_count)
		kube_refuse(whys->left,
			    "no Service has the label " KUBE_LABEL_MODE
			    " and the annotation " KUBE_ANNOTATION_POOL ": %s",
			    p->name);
	else if (!err && !m.member_count && !closes) {
		kube_refuse(whys->left, "none of its pods is ready");
		whys->idle = true;
	}
	if (err || whys->left[0])
		return err;
	snprintf(name, sizeof(name), "%s/%s", p->space, p->name);
	return kube_making_put(&m, name, services[0]->mode, keys, to);
}
