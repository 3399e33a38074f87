/* SPDX-License-Identifier: Apache-2.0 */
#include "in_pods.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include "../../base/hash.h"
#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/keys.h"
#include "../../maps/kernel.h"
#include "../../net/netns.h"
#include "../../net/routes.h"
#include "../../net/tc.h"
#include "device_links.h"
#include "../publish/register.h"
#include "../attach/programs.h"

#define PROGRAM  "pintle_hand_pod"
#define PRIORITY 16

struct in_pods {
	const struct ground *ground;
	const struct hand *hand;
	const struct maps *m;
	const struct config *config;
	const struct publication *publication;
	struct register_place *places; /* the namespaces that have endpoints */
	size_t n, room;
	struct register_place *leaving; /* those that had, and what is made there is there yet */
	size_t leaving_n, leaving_room;
	bool refused;         /* CAP_SYS_ADMIN is missing: what is in pods cannot be seen */
	bool unsure;          /* the newest look could not see all */
	struct addr *waiting; /* of pods that wait for the hand-off to see what they send */
	size_t waiting_n, waiting_room;
	uint64_t told; /* a hash of what is missing, as it was logged */
	int program;   /* -1: not loaded */
	struct device_links links;
};

/* ---- what is wanted ------------------------------------------------------------- */

/* Visits each endpoint in a pod. */
#define FOR_EACH_IN_PODS(x, i, j)                                                                  \
	for (size_t i = 0; i < (x)->config->pool_count; i++)                                       \
		for (size_t j = 0;                                                                 \
		     (x)->config->pools[i].in_pods && j < (x)->config->pools[i].endpoint_count;    \
		     j++)

static const struct addr *address_at(const struct in_pods *x, size_t i, size_t j)
{
	return &x->config->pools[i].endpoints[j].address.ip;
}

/* Visits each frontend whose endpoints are in pods. */
#define FOR_EACH_FRONTEND(x, i, j)                                                                 \
	for (size_t i = 0; i < (x)->config->pool_count; i++)                                       \
		for (size_t j = 0;                                                                 \
		     (x)->config->pools[i].in_pods && j < (x)->config->pools[i].frontend_count;    \
		     j++)

static const struct frontend_addr *frontend_at(const struct in_pods *x, size_t i, size_t j)
{
	return &x->config->pools[i].frontends[j];
}

static uint32_t count_wanted(const struct in_pods *x)
{
	uint32_t n = 0;

	FOR_EACH_IN_PODS(x, i, j)
	n++;
	return n;
}

/* ---- which namespace has an address ----------------------------------------------- */

struct owned {
	const struct in_pods *x;
	struct register_place *place;
	char device[IF_NAMESIZE]; /* that has the addresses; "": none is found yet */
};

static bool in_pods_is_wanted(const struct in_pods *x, const struct addr *ip)
{
	FOR_EACH_IN_PODS(x, i, j)
	if (!memcmp(address_at(x, i, j), ip, sizeof(*ip)))
		return true;
	return false;
}

static bool in_pods_read_address(const struct ifaddrs *a, struct addr *ip)
{
	const struct sockaddr *s = a->ifa_addr;

	if (s && s->sa_family == AF_INET)
		addr_from_v4(ip, ((const struct sockaddr_in *)(const void *)s)->sin_addr.s_addr);
	else if (s && s->sa_family == AF_INET6)
		memcpy(ip->bytes, &((const struct sockaddr_in6 *)(const void *)s)->sin6_addr,
		       sizeof(ip->bytes));
	return s && (s->sa_family == AF_INET || s->sa_family == AF_INET6);
}

/* Within the namespace: finds a device that has endpoints' addresses. */
static int find_owned(void *arg)
{
	struct owned *o = arg;
	struct register_place *p = o->place;
	struct ifaddrs *all;

	if (getifaddrs(&all))
		return -errno;
	for (const struct ifaddrs *a = all; a && p->ip_count < ARRAY_SIZE(p->ips);
	     a = a->ifa_next) {
		struct addr ip;

		if ((o->device[0] && strcmp(o->device, a->ifa_name) != 0) ||
		    !in_pods_read_address(a, &ip) || !in_pods_is_wanted(o->x, &ip))
			continue;
		p->ips[p->ip_count++] = ip;
		snprintf(o->device, sizeof(o->device), "%s", a->ifa_name);
	}
	freeifaddrs(all);
	return 0;
}

static const struct tc_device *device_by_index(const struct tc_device *all, size_t n,
					       uint32_t index)
{
	for (size_t i = 0; i < n; i++)
		if (all[i].index == index)
			return &all[i];
	return NULL;
}

static const struct tc_device *device_by_name(const struct tc_device *all, size_t n,
					      const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(all[i].name, name))
			return &all[i];
	return NULL;
}

/* Any pod that may add addresses to its devices can claim another's. So the node's own route must
 * lead to that pod: to its device, or to the bridge that has the device. Returns 1 if it does; 0;
 * or -errno: that cannot be told. */
static int is_reached(int node_fd, const struct addr *ip, const struct tc_device *ours)
{
	struct route_path r;
	int err = routes_to(node_fd, ip, &r);

	if (err)
		return is_shortage(err) ? err : 0;
	return r.type == RTN_UNICAST && !r.gateway &&
	       (r.device == ours->index || (ours->master && r.device == ours->master));
}

/* Fills in the devices at both ends of the pair by which the namespace is reached. The kernel drops
 * what the pod answers unless the hand-off sees it first. Returns as is_reached(). */
static int find_ends(struct in_pods *x, int fd, struct owned *o)
{
	_cleanup_free_ struct tc_device *there = NULL, *here = NULL;
	int node_fd = x->ground->netns_fd, reached;
	const struct tc_device *theirs, *ours;
	size_t n_there = 0, n_here = 0;
	int err = tc_devices(fd, &there, &n_there) ?: tc_devices(node_fd, &here, &n_here);

	if (err)
		return err;
	theirs = device_by_name(there, n_there, o->device);
	ours = theirs ? device_by_index(here, n_here, theirs->peer) : NULL;
	if (!ours || ours->peer != theirs->index)
		return 0;
	o->place->scope = ours->index;
	o->place->device = theirs->index;
	o->place->announce = theirs->arp_announce;
	for (size_t i = o->place->ip_count; i-- > 0;) {
		reached = is_reached(node_fd, &o->place->ips[i], ours);
		if (reached < 0)
			return reached;
		if (!reached)
			o->place->ips[i] = o->place->ips[--o->place->ip_count];
	}
	if (!o->place->ip_count)
		return 0;
	if (hand_sees(x->hand, ours->index))
		return 1;
	for (size_t i = 0; i < o->place->ip_count; i++)
		if (ROOM_FOR_ONE(x->waiting, x->waiting_n, x->waiting_room, 8))
			x->waiting[x->waiting_n++] = o->place->ips[i];
	return 0;
}

/* Returns as is_reached(), whether the namespace has endpoints. */
static int find_place(struct in_pods *x, int fd, struct register_place *place)
{
	struct owned o = {.x = x, .place = place};
	int err = netns_call(fd, find_owned, &o);

	if (err || !o.device[0])
		return err;
	return find_ends(x, fd, &o);
}

/* What cannot be looked at just now is as it was: a query that fails ends no service. */
struct search {
	struct in_pods *x;
	uint64_t own;                        /* inode */
	const struct register_place *former; /* as they were before */
	size_t former_n;
	int error; /* why not all could be looked at; 0: it could */
};

static const struct register_place *former_at(const struct search *s, uint64_t inode)
{
	for (size_t i = 0; i < s->former_n; i++)
		if (s->former[i].inode == inode)
			return &s->former[i];
	return NULL;
}

static int in_pods_add_place(struct in_pods *x, const struct register_place *place)
{
	for (size_t i = 0; i < x->n; i++)
		if (x->places[i].cookie == place->cookie || x->places[i].scope == place->scope)
			return 0;
	if (!ROOM_FOR_ONE(x->places, x->n, x->room, 8))
		return log_err_r(ENOMEM, "pods");
	x->places[x->n++] = *place;
	return 0;
}

/* What was made there is in `scopes`. */
static int note_leaving(struct in_pods *x, struct register_place *place)
{
	struct pintle_scope scope;

	if (bpf_map_lookup_elem(x->m->fd[MAP_scopes], &place->cookie, &scope))
		return 0;
	if (!ROOM_FOR_ONE(x->leaving, x->leaving_n, x->leaving_room, 8))
		return log_err_r(ENOMEM, "pods");
	place->scope = scope.scope;
	x->leaving[x->leaving_n++] = *place;
	return 0;
}

static int on_netns(int fd, const char *path, void *arg)
{
	struct search *s = arg;
	struct in_pods *x = s->x;
	const struct register_place *former;
	struct register_place place = {0};
	int err, found;

	if (netns_inode(fd, &place.inode) || place.inode == s->own)
		return 0;
	err = netns_cookie_quiet(fd, &place.cookie);
	if (err == -EPERM) {
		x->refused = true; /* in_pods_tell_missing() speaks of it */
		return 0;
	}
	if (err) {
		s->error = err;
		return is_shortage(err) ? err : 0;
	}
	snprintf(place.path, sizeof(place.path), "%s", path);
	found = find_place(x, fd, &place);
	if (is_shortage(found))
		s->error = found;
	former = found < 0 ? former_at(s, place.inode) : NULL;
	if (former && former->cookie == place.cookie)
		return in_pods_add_place(x, former);
	if (is_shortage(found))
		return 0;
	return found > 0 ? in_pods_add_place(x, &place) : note_leaving(x, &place);
}

static bool in_pods_is_known(const struct in_pods *x, uint64_t cookie)
{
	for (size_t i = 0; i < x->n; i++)
		if (x->places[i].cookie == cookie)
			return true;
	for (size_t i = 0; i < x->leaving_n; i++)
		if (x->leaving[i].cookie == cookie)
			return true;
	return false;
}

/* Finds the namespaces that have endpoints, and those that had. */
static void find_places(struct in_pods *x, struct search *s)
{
	uint64_t first;
	int err;

	x->places = NULL;
	x->n = x->room = x->leaving_n = 0;
	x->waiting_n = 0;
	x->refused = false;
	if (!count_wanted(x) && bpf_map_get_next_key(x->m->fd[MAP_scopes], NULL, &first))
		return;
	err = netns_inode(x->ground->netns_fd, &s->own) ?: netns_each(on_netns, s);
	if (err)
		s->error = err;
	for (size_t i = 0; s->error && i < s->former_n; i++)
		if (!in_pods_is_known(x, s->former[i].cookie))
			in_pods_add_place(x, &s->former[i]);
}

static const struct register_place *in_pods_place_of(const struct in_pods *x, const struct addr *ip)
{
	for (size_t i = 0; i < x->n; i++)
		for (size_t j = 0; j < x->places[i].ip_count; j++)
			if (!memcmp(&x->places[i].ips[j], ip, sizeof(*ip)))
				return &x->places[i];
	return NULL;
}

/* ---- a pod ------------------------------------------------------------------------- */

static struct tc_ours filter_of(const struct in_pods *x)
{
	return (struct tc_ours){PROGRAM, tc_handle(x->m->fd[MAP_pod_flows]), PRIORITY};
}

/* Adds the routes of frontends, and removes others of ours. */
static int routes_arrange(const struct in_pods *x, int fd)
{
	_cleanup_free_ struct frontend_addr *there = NULL;
	size_t n = 0;
	int err = routes_list_local(fd, &there, &n);

	for (size_t i = 0; i < n; i++) {
		bool wanted = false;

		FOR_EACH_FRONTEND(x, p, f)
		{
			const struct frontend_addr *a = frontend_at(x, p, f);

			wanted |= a->prefix_bits == there[i].prefix_bits &&
				  !memcmp(&a->prefix, &there[i].prefix, sizeof(a->prefix));
		}
		if (!wanted)
			err = routes_remove_local(fd, &there[i]) ?: err;
	}
	FOR_EACH_FRONTEND(x, p, f)
	{
		bool added;

		err = routes_add_local(fd, frontend_at(x, p, f), &added) ?: err;
	}
	return err;
}

/* From now on the links are those of that namespace, until `fd` is closed, without those that are
 * not where they belong. */
static struct device_links *links_in(struct in_pods *x, const struct register_place *p, int fd)
{
	x->links.netns_fd = fd;
	x->links.netns = p->cookie;
	device_links_weed(&x->links);
	return &x->links;
}

/* The pod may have got another device; and a pintled that knew no tcx may have put a filter beside
 * a link. */
static int place_detach_others(struct in_pods *x, struct tc_point at, int fd,
			       const struct tc_point *there, size_t n)
{
	struct device_links *l = &x->links;
	bool linked = device_links_of(l, at.device);
	int err = 0;

	for (size_t i = l->n; i-- > 0;)
		if (l->all[i].netns == l->netns && l->all[i].device != at.device)
			device_links_drop(l, &l->all[i]);
	for (size_t i = 0; i < n; i++)
		if (linked || !tc_has_point(&at, 1, there[i]))
			err = tc_detach(fd, there[i], filter_of(x).handle) ?: err;
	return err;
}

/* `again`: a filter that is there runs this daemon's program. */
static int place_attach(struct in_pods *x, const struct register_place *p, int fd, bool again)
{
	const struct tc_ours ours = filter_of(x);
	const struct tc_point at = {p->device, TC_IN};
	struct device_links *l = links_in(x, p, fd);
	_cleanup_free_ struct tc_point *there = NULL;
	size_t n = 0;
	int err = tc_find(fd, ours.handle, &there, &n);
	bool filtered = tc_has_point(there, n, at);

	if (err)
		return err;
	if (!again || !filtered || device_links_of(l, p->device)) {
		if (x->program < 0)
			x->program = programs_load_one(x->ground->maps, PROGRAM);
		err = x->program < 0 ? x->program
				     : device_links_attach(l, p->device, &ours, filtered,
							   x->program, x->m->node->group);
	}
	return err ?: place_detach_others(x, at, fd, there, n);
}

#define OWN_ADDRESS 2 /* arp_announce: ARP asks in the name of the device's own address */

/* A pod that does not know the link-layer address of its gateway asks by ARP, by default in the
 * name of the address that its packet is from. That is the frontend's, and so the node's own, and
 * the node answers no question that seems to be its own. */
static void place_announce(const struct register_place *p, int fd)
{
	int err = p->announce ? 0 : tc_set_arp_announce(fd, p->device, OWN_ADDRESS);

	if (err)
		log_err_r(err, "%s: arp_announce of the pod's device is not set to %d", p->path,
			  OWN_ADDRESS);
}

/* Gives back what place_announce() has set, unless somebody has set something else. */
static void place_announce_no_more(int fd, uint32_t device)
{
	_cleanup_free_ struct tc_device *all = NULL;
	const struct tc_device *d;
	size_t n = 0;

	if (!device || tc_devices(fd, &all, &n))
		return;
	d = device_by_index(all, n, device);
	if (d && d->arp_announce == OWN_ADDRESS)
		tc_set_arp_announce(fd, device, 0);
}

/* The program comes before the routes: without it the pod would answer whoever sends it packets to
 * a frontend. What is noted in `scopes` comes before all: by it they are found again. */
static int place_arrange(struct in_pods *x, const struct register_place *p, bool again)
{
	struct pintle_scope scope = {.scope = p->scope}, former = {0};
	_cleanup_close_ int fd = register_open(p);
	int err, scopes = x->m->fd[MAP_scopes];

	if (fd < 0)
		return fd;
	bpf_map_lookup_elem(scopes, &p->cookie, &former);
	if (!p->announce || former.announces == p->device)
		scope.announces = p->device;
	if (former.announces != p->device)
		place_announce_no_more(fd, former.announces);
	if (bpf_map_update_elem(scopes, &p->cookie, &scope, BPF_ANY))
		return -errno;
	err = place_attach(x, p, fd, again) ?: routes_arrange(x, fd);
	if (!err)
		place_announce(p, fd);
	return err;
}

/* Removes all but the link, whose pin is not there. */
static void place_clear(int fd, uint32_t handle, const struct pintle_scope *scope)
{
	_cleanup_free_ struct frontend_addr *there = NULL;
	size_t n = 0;

	place_announce_no_more(fd, scope->announces);
	routes_list_local(fd, &there, &n);
	for (size_t i = 0; i < n; i++)
		routes_remove_local(fd, &there[i]);
	tc_detach_all(fd, handle);
}

/* Whether the connection's segments still reach the pod: the node's program looks at those to
 * frontends alone. */
static bool is_wanted_flow(const struct in_pods *x, const struct pintle_tuple *t)
{
	struct addr local;

	memcpy(local.bytes, t->local, sizeof(local.bytes));
	FOR_EACH_FRONTEND(x, p, f)
	{
		const struct frontend_addr *a = frontend_at(x, p, f);

		if (a->port == t->local_port &&
		    addr_prefixes_overlap(&local, 128, &a->prefix, a->prefix_bits))
			return true;
	}
	return false;
}

/* Whether connections to servers in that pod are open. */
static bool is_used(const struct in_pods *x, uint32_t scope)
{
	struct pintle_tuple key, *previous = NULL;
	struct pintle_pod_flow f;
	int fd = x->m->fd[MAP_pod_flows];

	for (int i = 0; i < PINTLE_MAX_POD_FLOWS; i++) {
		if (bpf_map_get_next_key(fd, previous, &key))
			return false;
		if (!bpf_map_lookup_elem(fd, &key, &f) && f.scope == scope &&
		    is_wanted_flow(x, &key))
			return true;
		previous = &key;
	}
	return true; /* it began anew where a key was gone: not all was seen */
}

/* Forgets connections to pods whose device is gone. Else their segments would go nowhere, and so
 * would a client's next SYN from the same port, until the kernel gives up what is left of the
 * connection in a namespace that nobody has any more. */
static void flows_trim(const struct in_pods *x)
{
	_cleanup_free_ struct tc_device *all = NULL;
	struct pintle_tuple key, next;
	struct pintle_pod_flow f;
	int fd = x->m->fd[MAP_pod_flows];
	size_t n = 0;

	if (bpf_map_get_next_key(fd, NULL, &next) || tc_devices(x->ground->netns_fd, &all, &n))
		return;
	for (int i = 0, over = 0; !over && i < PINTLE_MAX_POD_FLOWS; i++) {
		key = next;
		over = bpf_map_get_next_key(fd, &key, &next);
		if (!bpf_map_lookup_elem(fd, &key, &f) && !device_by_index(all, n, f.scope))
			bpf_map_delete_elem(fd, &key);
	}
}

/* Takes away what was made in pods that have no endpoint any more, once their connections have
 * ended, or they are gone: an endpoint that is taken out of the configuration goes on with its open
 * ones. */
static void in_pods_leave(struct in_pods *x)
{
	for (size_t i = x->leaving_n; i-- > 0;) {
		_cleanup_close_ int fd = register_open(&x->leaving[i]);
		struct pintle_scope scope = {0};

		if (fd >= 0)
			links_in(x, &x->leaving[i], fd);
		if (is_shortage(fd) || (fd >= 0 && is_used(x, x->leaving[i].scope)))
			continue;
		bpf_map_lookup_elem(x->m->fd[MAP_scopes], &x->leaving[i].cookie, &scope);
		if (fd >= 0)
			place_clear(fd, filter_of(x).handle, &scope);
		x->leaving[i] = x->leaving[--x->leaving_n];
	}
}

/* ---- an endpoint -------------------------------------------------------------------- */

static struct pintle_address_key address_key(uint32_t scope, const struct endpoint_addr *at,
					     bool any)
{
	struct pintle_address_key key = {.scope = scope, .port = at->port};

	if (!any)
		memcpy(key.address, at->ip.bytes, sizeof(key.address));
	return key;
}

static int put_address(const struct in_pods *x, uint32_t scope, const struct pintle_ref *pool,
		       const struct pintle_ref *e, const struct endpoint_addr *at, bool any)
{
	const struct pintle_address_key key = address_key(scope, at, any);
	const struct pintle_address value = {
		.endpoint = e->id,
		.generation = e->generation,
		.pool = pool->id,
		.flags = any ? addr_is_v4(&at->ip) ? PINTLE_ADDRESS_V4 : PINTLE_ADDRESS_V6 : 0,
	};

	return bpf_map_update_elem(x->m->fd[MAP_addresses], &key, &value, BPF_ANY) ? -errno : 0;
}

/* What listens in the pod that was the endpoint's, now or later, is its listener no more. */
static void leave_scope(const struct in_pods *x, uint32_t scope, const struct pintle_ref *e,
			const struct endpoint_addr *at)
{
	int fd = x->m->fd[MAP_addresses];

	for (int any = 0; any < 2; any++) {
		const struct pintle_address_key key = address_key(scope, at, any);
		struct pintle_address there;

		if (!bpf_map_lookup_elem(fd, &key, &there) && there.endpoint == e->id)
			bpf_map_delete_elem(fd, &key);
	}
	register_forget(x->m, e->id);
}

/* The scope comes last: by it connections go to the pod. Nothing in another one would take them. */
static int put_endpoint(const struct in_pods *x, size_t i, size_t j,
			const struct register_place *place)
{
	const struct pintle_ref *ref = &x->publication->pools[i].endpoints[j];
	const struct pintle_ref *pool = &x->publication->pools[i].ref;
	const struct endpoint_addr *at = &x->config->pools[i].endpoints[j].address;
	uint32_t scope = place ? place->scope : PINTLE_SCOPE_NODE;
	struct pintle_endpoint e;
	int err = maps_value(x->m, MAP_endpoints, ref->id, &e);

	if (!err && place)
		err = put_address(x, scope, pool, ref, at, false)
			      ?: put_address(x, scope, pool, ref, at, true);
	if (err || e.generation != ref->generation || e.scope == scope)
		return err;
	if (e.scope != PINTLE_SCOPE_NODE)
		leave_scope(x, e.scope, ref, at);
	e.scope = scope;
	return maps_put(x->m, MAP_endpoints, &ref->id, &e);
}

/* ---- all ----------------------------------------------------------------------------- */

static void scopes_trim(const struct in_pods *x)
{
	uint64_t key, next, *at = NULL;

	while (!bpf_map_get_next_key(x->m->fd[MAP_scopes], at, &next)) {
		if (at && next == key)
			break;
		if (!in_pods_is_known(x, next)) {
			bpf_map_delete_elem(x->m->fd[MAP_scopes], &next);
			at = NULL; /* from the beginning: the key is gone */
			continue;
		}
		key = next;
		at = &key;
	}
}

/* Forgets the namespaces that are no place any more, and detaches the program there. */
static void forget(struct in_pods *x)
{
	for (size_t i = x->links.n; i-- > 0;)
		if (!in_pods_is_known(x, x->links.all[i].netns))
			device_links_drop(&x->links, &x->links.all[i]);
	scopes_trim(x);
	if (!x->n && x->program >= 0) {
		close(x->program);
		x->program = -1;
	}
}

static bool lacks_pods(const struct in_pods *x, size_t pool)
{
	FOR_EACH_IN_PODS(x, i, j)
	if (i == pool && !in_pods_place_of(x, address_at(x, i, j)))
		return true;
	return false;
}

static void tell_refused(const struct in_pods *x)
{
	for (size_t i = 0; i < x->config->pool_count; i++)
		if (lacks_pods(x, i))
			log_error(
				"pool %s: pintled may not enter the network namespaces of its "
				"servers' pods, so no new connection reaches them; " KERNEL_GRANT_PODS,
				x->config->pools[i].name);
}

/* Whether no pod has the address, nor one that is about to be its place. */
static bool in_pods_is_missing(const struct in_pods *x, const struct addr *ip)
{
	for (size_t i = 0; i < x->waiting_n; i++)
		if (!memcmp(&x->waiting[i], ip, sizeof(*ip)))
			return false;
	return !in_pods_place_of(x, ip);
}

/* Says what is missing when that changes, not each time that it is looked for. */
static void in_pods_tell_missing(struct in_pods *x)
{
	uint64_t told = HASH_START;

	FOR_EACH_IN_PODS(x, i, j)
	if (in_pods_is_missing(x, address_at(x, i, j))) {
		told = hash_bytes(told, address_at(x, i, j), sizeof(struct addr));
		told = hash_bytes(told, &x->refused, sizeof(x->refused));
	}
	if (told == x->told)
		return;
	x->told = told;
	if (x->refused) {
		tell_refused(x);
		return;
	}
	FOR_EACH_IN_PODS(x, i, j)
	{
		char ip[ADDR_TEXT_SIZE];

		if (in_pods_is_missing(x, address_at(x, i, j)))
			log_warn("%s/%s: no pod of this node has %s, by a device of its own that "
				 "the node's route to it leads to; it gets no connection",
				 x->config->pools[i].name, x->config->pools[i].endpoints[j].name,
				 addr_format_ip(address_at(x, i, j), ip));
	}
}

/* A namespace in which something is missing is no place; but one that was is still, if nothing but
 * means to look were missing. */
static void arrange_places(struct in_pods *x, struct search *s, bool again)
{
	for (size_t i = 0; i < x->n; i++) {
		int err = place_arrange(x, &x->places[i], again);

		if (is_shortage(err) && former_at(s, x->places[i].inode)) {
			s->error = err;
			continue;
		}
		if (err) {
			log_err_r(err, "%s: the hand-off is not attached there; trying again",
				  x->places[i].path);
			note_leaving(x, &x->places[i]);
			x->places[i--] = x->places[--x->n];
		}
	}
}

static void in_pods_arrange(struct in_pods *x, bool again)
{
	_cleanup_free_ struct register_place *former = x->places;
	struct search s = {.x = x, .former = former, .former_n = x->n};

	find_places(x, &s);
	arrange_places(x, &s, again);
	if (s.error && !x->unsure)
		log_err_r(s.error, "pods cannot be looked at, and are taken to be as they were; "
				   "trying again");
	x->unsure = s.error;
	FOR_EACH_IN_PODS(x, i, j)
	{
		const struct register_place *place = in_pods_place_of(x, address_at(x, i, j));

		if (place || !x->unsure)
			put_endpoint(x, i, j, place);
	}
	register_places(x->places, x->n);
	flows_trim(x);
	in_pods_leave(x);
	/* What cannot be looked at may be there yet, for a daemon that can, and for open
	 * connections. */
	if (!x->refused && !x->unsure)
		forget(x);
	x->m->node->pods = count_wanted(x);
	in_pods_tell_missing(x);
}

void in_pods_configure(struct in_pods *x, const struct config *c, const struct publication *p)
{
	x->config = c;
	x->publication = p;
	in_pods_arrange(x, false);
	if (count_wanted(x))
		register_listeners(x->m, x->ground->netns_fd);
}

static bool is_routed(const struct in_pods *x, int fd)
{
	FOR_EACH_FRONTEND(x, p, f)
	{
		struct route_path r;

		if (routes_to(fd, &frontend_at(x, p, f)->prefix, &r) || r.type != RTN_LOCAL)
			return false;
	}
	return true;
}

static bool is_arranged(struct in_pods *x, const struct register_place *p)
{
	_cleanup_close_ int fd = register_open(p);

	return fd >= 0 && !place_attach(x, p, fd, true) && is_routed(x, fd);
}

/* Whether no endpoint lacks a place, and all is in them; a program that is not is attached again.
 */
static bool is_settled(struct in_pods *x)
{
	if (x->unsure)
		return false;
	FOR_EACH_IN_PODS(x, i, j)
	if (!in_pods_place_of(x, address_at(x, i, j)))
		return false;
	for (size_t i = 0; i < x->n; i++)
		if (!is_arranged(x, &x->places[i]))
			return false;
	return true;
}

void in_pods_look(struct in_pods *x)
{
	if (!x || !x->config)
		return;
	if (is_settled(x)) {
		if (x->leaving_n) {
			flows_trim(x);
			in_pods_leave(x);
			forget(x);
		}
		return;
	}
	in_pods_arrange(x, true);
	if (!x->unsure)
		register_listeners(x->m, x->ground->netns_fd);
}

int in_pods_new(const struct ground *g, const struct hand *hand, struct in_pods **out)
{
	struct in_pods *x = calloc(1, sizeof(*x));

	if (!x)
		return log_err_r(ENOMEM, "pods");
	x->ground = g;
	x->hand = hand;
	x->m = g->maps;
	x->program = -1;
	device_links_find_tcx(&x->links, -1, g->dir, PROGRAM, TC_IN);
	*out = x;
	return 0;
}

void in_pods_free(struct in_pods *x)
{
	if (!x)
		return;
	register_places(NULL, 0);
	if (x->program >= 0)
		close(x->program);
	device_links_free(&x->links);
	free(x->places);
	free(x->leaving);
	free(x->waiting);
	free(x);
}

struct removal {
	int scopes_fd;
	uint32_t handle;
};

static int on_remove(int fd, const char *path, void *arg)
{
	const struct removal *r = arg;
	struct pintle_scope scope;
	uint64_t cookie;

	(void)path;
	if (!netns_cookie(fd, &cookie) && !bpf_map_lookup_elem(r->scopes_fd, &cookie, &scope))
		place_clear(fd, r->handle, &scope);
	return 0;
}

static int on_sweep(int fd, const char *path, void *arg)
{
	(void)path;
	tc_detach_all(fd, *(const uint32_t *)arg);
	return 0;
}

void in_pods_sweep(int flows_fd)
{
	uint32_t handle = tc_handle(flows_fd);

	netns_each(on_sweep, &handle);
}

void in_pods_remove(int scopes_fd, int flows_fd)
{
	struct removal r = {scopes_fd, tc_handle(flows_fd)};
	uint64_t first;

	if (!bpf_map_get_next_key(scopes_fd, NULL, &first))
		netns_each(on_remove, &r);
}
