/* SPDX-License-Identifier: Apache-2.0 */
#include "client_pods.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/names.h"

struct client_pods {
	const struct maps *m;
	bool any_left; /* some pod is left alone */
	bool told_full, told_unfound;
};

/* What an earlier daemon knew holds until the API server answers. */
static bool any_left(const struct maps *m)
{
	uint64_t key, *previous = NULL;
	struct pintle_pod v;
	int fd = m->fd[MAP_pods];

	for (int i = 0; i < PINTLE_MAX_PODS && !bpf_map_get_next_key(fd, previous, &key); i++) {
		if (!bpf_map_lookup_elem(fd, &key, &v) && v.left_alone)
			return true;
		previous = &key;
	}
	return false;
}

int client_pods_new(const struct ground *g, struct client_pods **out)
{
	struct client_pods *p = calloc(1, sizeof(*p));

	if (!p)
		return log_err_r(ENOMEM, "pods");
	p->m = g->maps;
	p->any_left = any_left(p->m);
	*out = p;
	return 0;
}

void client_pods_free(struct client_pods *p)
{
	free(p);
}

/* As clients.c calls the pod. */
static void pod_client(const struct kube_pod *from, char name[PINTLE_CLIENT_NAME_SIZE])
{
	snprintf(name, PINTLE_CLIENT_NAME_SIZE, "pod/%.*s", PINTLE_CLIENT_NAME_SIZE - 5, from->uid);
}

static uint64_t pod_id(const struct kube_pod *from)
{
	char name[PINTLE_CLIENT_NAME_SIZE];

	pod_client(from, name);
	return client_id(name);
}

_Static_assert(sizeof(((struct pintle_pod *)0)->space_name) >= KUBE_LABEL_SIZE &&
		       sizeof(((struct pintle_pod *)0)->name) >= KUBE_NAME_SIZE &&
		       sizeof(((struct pintle_pod *)0)->account_name) >= KUBE_NAME_SIZE,
	       "struct pintle_pod has no room for the API's names");

static struct pintle_pod pod_value(const struct cluster *c, const struct kube_pod *from)
{
	char account[KUBE_LABEL_SIZE + KUBE_NAME_SIZE];
	struct pintle_pod v = {.space = client_id(from->space)};

	snprintf(account, sizeof(account), "%s/%s", from->space, from->account);
	v.account = client_id(account);
	for (size_t i = 0; !from->host_network && i < from->address_count; i++)
		memcpy(v.addresses[i], from->addresses[i].bytes, sizeof(v.addresses[i]));
	strcpy(v.space_name, from->space);
	strcpy(v.name, from->name);
	strcpy(v.account_name, from->account);
	v.left_alone = cluster_left_alone(c, from);
	return v;
}

/* The ids of the pods that there are, for maps_prune(). */
struct ids {
	uint64_t *all;
	size_t count;
};

static int by_number(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

static bool is_there(const void *key, const void *arg)
{
	const struct ids *ids = arg;

	return ids->count && bsearch(key, ids->all, ids->count, sizeof(*ids->all), by_number);
}

static void pod_put(struct client_pods *p, uint64_t id, const struct pintle_pod *v)
{
	struct pintle_pod there;

	if (!bpf_map_lookup_elem(p->m->fd[MAP_pods], &id, &there) &&
	    !memcmp(&there, v, sizeof(there)))
		return;
	if (!bpf_map_update_elem(p->m->fd[MAP_pods], &id, v, BPF_ANY) || p->told_full)
		return;
	log_err_r(errno, "failed to write to map pods; a pod that is missing there is known by its "
			 "uid alone");
	p->told_full = true;
}

/* Entries that are gone are removed first, to make room. */
static void client_pods_settle(struct client_pods *p, const struct cluster *c)
{
	const struct kube_store *store = cluster_pods(c);
	_cleanup_free_ uint64_t *all = calloc(kube_store_count(store) + 1, sizeof(*all));
	struct ids ids = {all, 0};

	if (!all)
		return;
	KUBE_STORE_EACH(item, store)
	if (item->now)
		ids.all[ids.count++] = pod_id(item->now);
	qsort(ids.all, ids.count, sizeof(*ids.all), by_number);
	maps_prune(p->m, MAP_pods, is_there, &ids);
	p->any_left = false;
	KUBE_STORE_EACH(item, store)
	{
		struct pintle_pod v;

		if (!item->now)
			continue;
		v = pod_value(c, item->now);
		p->any_left |= v.left_alone;
		pod_put(p, pod_id(item->now), &v);
	}
}

void client_pods_update(struct client_pods *p, const struct cluster *c)
{
	const struct ids none = {0};

	if (!c) {
		maps_prune(p->m, MAP_pods, is_there, &none);
		p->any_left = false;
	} else if (cluster_pods_known(c)) {
		client_pods_settle(p, c);
	}
}

bool client_pods_left_alone(const struct client_pods *p)
{
	return p->any_left;
}

void client_pods_look(struct client_pods *p, const struct cluster *c, const struct clients *x)
{
	const struct kube_store *store = cluster_pods(c);
	const struct kube_pod *missing = NULL;
	char name[PINTLE_CLIENT_NAME_SIZE];

	if (p->told_unfound || !store || !kube_store_known(store) || !clients_looked(x))
		return;
	KUBE_STORE_EACH(item, store)
	{
		const struct kube_pod *pod = item->now;

		if (!pod || !pod->running)
			continue;
		pod_client(pod, name);
		if (clients_found(x, name))
			return;
		missing = pod;
	}
	if (!missing)
		return;
	log_warn("Kubernetes: no pod of this node is found by its cgroup, such as %s/%s by its uid "
		 "%s: each network namespace is a client, and namespaces and service accounts are "
		 "not known; is node.cgroup the root of the node's cgroup2?",
		 missing->space, missing->name, missing->uid);
	p->told_unfound = true;
}
