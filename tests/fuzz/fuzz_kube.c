/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_kube.c - any bytes as what the Kubernetes API server sends, in pieces: lines of a watch, and
 * a page of a list. No crash and no leak; whatever pools come out of it, the configuration takes or
 * refuses each, and never fails as a whole.
 *
 * sources: userspace/kubernetes/kube_lines.c userspace/kubernetes/kube_objects.c
 * sources: userspace/kubernetes/kube_pools.c userspace/kubernetes/kube_making.c
 * sources: userspace/kubernetes/kube_policy.c userspace/kubernetes/kube_inference.c
 * sources: userspace/kubernetes/kube_objective.c userspace/kubernetes/kube_condition.c
 * sources: userspace/kubernetes/kube_parent.c
 * sources: userspace/config/config_policy.c
 * sources: userspace/config/config.c userspace/config/config_check.c
 * sources: userspace/config/config_facts.c
 * sources: userspace/config/config_access.c userspace/config/config_classes.c
 * sources: userspace/config/config_hooks.c userspace/config/config_tenants.c
 * sources: userspace/config/config_others.c userspace/config/config_hosts.c
 * sources: userspace/config/config_keys.c userspace/config/config_models.c
 * sources: userspace/config/config_found.c userspace/config/config_settings.c
 * sources: userspace/config/config_asked.c userspace/config/config_types.c
 * sources: userspace/maps/names.c userspace/net/addr.c
 * sources: userspace/net/nested.c userspace/net/url.c userspace/base/expfmt.c
 * sources: userspace/yaml/yaml_key.c userspace/yaml/yaml_read.c userspace/yaml/yaml_report.c
 * sources: userspace/yaml/yaml_tree.c userspace/yaml/yaml_value.c
 * sources: userspace/base/file.c userspace/base/text.c
 */
#include <string.h>

#include "../../userspace/base/util.h"
#include "../../userspace/kubernetes/kube_lines.h"
#include "../../userspace/kubernetes/kube_inference.h"
#include "../../userspace/kubernetes/kube_objective.h"
#include "../../userspace/kubernetes/kube_policy.h"
#include "../../userspace/kubernetes/kube_pools.h"
#include "fuzz.h"

#define SLICES 4

/* The newest Service and pod, and slices. */
struct world {
	struct kube_service service;
	bool known;
	struct kube_slice slices[SLICES];
	size_t count;
	struct kube_pod pod;
	size_t pod_count;
};

/* Models lead to pools of the policy's own namespace. */
static void take_models(const struct kube_policy *p)
{
	cJSON *keys = cJSON_Parse(p->keys), *one;
	size_t length = strlen(p->space);

	cJSON_ArrayForEach (one, cJSON_GetObjectItemCaseSensitive(keys, "models")) {
		const char *pool = cJSON_GetStringValue(one);

		PROMISE(pool && !strncmp(pool, p->space, length) && pool[length] == '/' &&
			!strchr(pool + length + 1, '/'));
	}
	cJSON_Delete(keys);
}

/* Whatever a policy has, it holds or says why not, and what is written of it is JSON. */
static void take_policy(const cJSON *object)
{
	struct kube_policy p = {0};
	char why[KUBE_WHY_SIZE] = "", *text;
	cJSON *back;

	if (kube_policy_read(object, &p, why)) {
		PROMISE(why[0]);
		return;
	}
	PROMISE(!p.keys == (p.why[0] != 0));
	if (p.keys)
		take_models(&p);
	text = kube_policy_status(&p, p.told);
	back = text ? cJSON_Parse(text) : NULL;
	PROMISE(back);
	cJSON_Delete(back);
	free(text);
	kube_policy_clear(&p);
}

static const struct kube_here here = {.node = "node-a", .zone = "zone-1"};

static void take_inference(struct world *w, const cJSON *object)
{
	const struct kube_service *service = &w->service;
	const struct kube_pod *const pods[] = {&w->pod};
	const struct kube_parts parts = {.here = &here, .pods = pods, .pod_count = w->pod_count};
	struct config_founds f = {0};
	struct kube_inference p = {0};
	char *status;
	char why[KUBE_WHY_SIZE] = "";
	struct kube_whys whys;

	if (kube_inference_read(object, &p, why)) {
		PROMISE(why[0]);
		return;
	}
	PROMISE(!strpbrk(p.selector, " &?#\"\r\n"));
	PROMISE(!kube_inference_add(&f, &p, &service, w->known, &parts, NULL, &whys));
	status = kube_parents_status(p.space, p.name, &p.parents);
	PROMISE(status);
	free(status);
	config_founds_free(&f);
	kube_inference_clear(&p);
}

/* An objective for that policy's pool: its keys stay such as a policy may have. */
static void take_objective(const cJSON *object)
{
	struct kube_objective o = {0};
	const struct kube_objective *all = &o;
	struct kube_policy p = {0};
	char why[KUBE_WHY_SIZE] = "", *keys;

	if (kube_objective_read(object, &o, why)) {
		PROMISE(why[0]);
		return;
	}
	PROMISE(o.name[0] && o.priority >= -1000 && o.priority <= 1000);
	if (kube_policy_read(object, &p, why))
		return;
	PROMISE(!kube_objectives_apply(&all, 1, o.space, o.pool, p.keys, &keys));
	PROMISE(!p.keys || !config_policy_check(keys, why));
	free(keys);
	kube_policy_clear(&p);
}

static void take_object(struct world *w, const cJSON *object)
{
	char key[KUBE_KEY_SIZE], why[KUBE_WHY_SIZE] = "";
	struct kube_pod pod = {0};
	struct kube_service service = {0};

	if (!kube_pod_read(object, &pod, why)) {
		PROMISE(pod.uid[0] && pod.name[0] && pod.account[0] && pod.labels);
		kube_pod_clear(&w->pod);
		w->pod = pod;
		w->pod_count = 1;
	}
	if (kube_object_key(object, key))
		PROMISE(strchr(key, '/') && !strpbrk(key, " %?&\"\\"));
	if (!kube_service_read(object, &service, why)) {
		PROMISE(!service.selector || !strpbrk(service.selector, " &?#\"\r\n"));
		if (w->pod_count)
			PROMISE(!kube_selects(service.except, &w->pod) || service.except[0]);
		kube_service_clear(&w->service);
		w->service = service;
		w->known = true;
	} else {
		PROMISE(why[0]);
	}
	take_policy(object);
	take_inference(w, object);
	take_objective(object);
	if (w->count < SLICES && !kube_slice_read(object, &w->slices[w->count], why))
		w->count++;
}

static bool on_line(const char *line, size_t size, void *arg)
{
	struct kube_event e;

	PROMISE(size && !memchr(line, '\n', size));
	if (kube_event_read(line, size, &e))
		return true;
	PROMISE(!strpbrk(e.version, "&?#% \r\n"));
	take_object(arg, e.object);
	cJSON_Delete(e.object);
	return true;
}

static void ignore(void *arg, const char *file, int line, int column, const char *message)
{
	(void)arg;
	(void)file;
	(void)line;
	(void)column;
	PROMISE(message[0]);
}

static void check_pools(struct world *w)
{
	static const char file[] = "apiVersion: pintle.dev/v1alpha1\nkind: PintleConfig\n"
				   "kubernetes: {}\n";
	const struct config_text text = {"-", (char *)file, sizeof(file) - 1};
	const struct yaml_sink sink = {ignore, ignore, NULL};
	const struct kube_slice *slices[SLICES];
	const struct kube_pod *const pods[] = {&w->pod};
	const struct kube_parts parts = {.here = &here,
					 .slices = slices,
					 .slice_count = w->count,
					 .pods = pods,
					 .pod_count = w->pod_count};
	struct config_founds f = {0};
	struct config *c = NULL;
	struct kube_whys whys;
	size_t held = 0;

	for (size_t i = 0; i < SLICES; i++)
		slices[i] = &w->slices[i];
	PROMISE(!kube_pools_add(&f, &w->service, &parts, NULL, &whys));
	PROMISE(!config_parse_set(&text, &f, NULL, 0, &sink, &c) && c);
	for (size_t i = 0; i < f.count; i++) {
		PROMISE(f.all[i].holds || f.all[i].why[0]);
		held += f.all[i].holds;
	}
	PROMISE(held == c->pool_count);
	config_free(c);
	config_founds_free(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t piece = size ? data[0] + 1U : 1;
	struct world w = {0};
	struct kube_lines l = {0};
	struct kube_page p;
	const cJSON *item;

	for (size_t at = 1; at < size; at += piece)
		kube_lines_feed(&l, (const char *)data + at, MIN(piece, size - at), on_line, &w);
	kube_lines_free(&l);
	if (size && !kube_page_read((const char *)data + 1, size - 1, &p)) {
		cJSON_ArrayForEach (item, p.items)
			take_object(&w, item);
		cJSON_Delete(p.root);
	}
	if (w.known)
		check_pools(&w);
	for (size_t i = 0; i < w.count; i++)
		kube_slice_clear(&w.slices[i]);
	kube_service_clear(&w.service);
	kube_pod_clear(&w.pod);
	return 0;
}
