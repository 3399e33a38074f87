/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_hooks.c - whether Pintle's hooks are attached, which other programs are on them, and which
 * listeners cannot be steered to. */
#include <limits.h>

#include "../../net/listeners.h"
#include "../../net/netdev.h"
#include "../../maps/kernel.h"
#include "../../maps/names.h"
#include "doctor.h"
#include "../programs.h"
#include "traits.bpf.h"

/* ---- programs on a hook ---------------------------------------------------------- */

/* first_is_fine: only programs that run before Pintle's can do harm. */
static void programs_tell(struct doctor *d, const char *where, int fd, enum link_id link,
			  bool first_is_fine, const char *cure)
{
	struct programs p;
	char list[1024] = "";
	int err = programs_query(d->cli, fd, link, &p);
	size_t at = 0, others = 0;

	if (err) {
		doctor_say(d, VERDICT_WARN, d->for_privilege, "programs on %s cannot be listed: %s",
			   where, strerror(-err));
		return;
	}
	for (size_t i = 0; i < p.count; i++) {
		bool ours = p.all[i].ours;

		others += !ours && !(first_is_fine && i > p.own);
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s (id %u%s)",
				       at ? ", then " : "", p.all[i].name, p.all[i].id,
				       ours ? ", ours" : "");
		at = MIN(at, sizeof(list) - 1);
	}
	if (!p.count)
		doctor_say(d, VERDICT_OK, NULL, "no program on %s", where);
	else if (others)
		doctor_say(d, VERDICT_WARN, cure, "%zu program%s on %s: %s", p.count,
			   plural(p.count), where, list);
	else
		doctor_say(d, VERDICT_OK, NULL, "on %s%s %s", where, p.count == 1 ? " only" : "",
			   list);
}

/* Whether Pintle's own programs are attached. */
void doctor_attached(struct doctor *d)
{
	char why[LINK_TROUBLE_SIZE];
	size_t lost = 0, wanted = 0;

	if (!d->s || !d->privileged)
		return; /* nothing is pinned; or other checks say that they could not look */
	for (int i = 0; i < LINK_COUNT; i++) {
		wanted += link_wanted(d->s, (enum link_id)i);
		if (!link_trouble(d->cli, d->s, (enum link_id)i, why))
			continue;
		lost++;
		doctor_say(d, VERDICT_FAIL, link_cure(d->s), "%s", why);
	}
	if (!lost)
		doctor_say(d, VERDICT_OK, NULL, "%zu hooks are attached", wanted);
}

void doctor_lookup_hook(struct doctor *d)
{
	if (!d->privileged) {
		doctor_say(d, VERDICT_WARN, "run it as root",
			   "other sk_lookup programs were not looked for");
		return;
	}
	if (d->netns < 0) {
		doctor_say(d, VERDICT_FAIL, "see node.netns, and restart pintled",
			   "the steered namespace, %s, cannot be found: %s",
			   d->s ? d->s->node.netns : "our own", strerror(-d->netns));
		return;
	}
	programs_tell(d, d->s ? "the steered namespace" : "this network namespace", d->netns,
		      LINK_LOOKUP, false,
		      "make sure that no other program assigns sockets for the same addresses: the "
		      "last program that does decides");
}

/* Whether a link is attached where that one is, in the eyes of a user: with sockops, or with
 * connect(). With nothing pinned, no link is wanted that only some pools need. */
static bool is_beside(const struct doctor *d, enum link_id link, enum link_id with)
{
	const struct link_kind *k = &link_kinds[link];
	bool sockops = link_kinds[with].type == BPF_CGROUP_SOCK_OPS;

	return !k->netns && sockops == (k->type == BPF_CGROUP_SOCK_OPS) &&
	       (d->s ? link_wanted(d->s, link) : !k->key);
}

/* Names the programs that keep Pintle's off. Returns whether there are any. */
static bool holders_tell(struct doctor *d, int fd, enum link_id with)
{
	uint32_t told = 0;
	struct holder h;

	for (int i = 0; i < LINK_COUNT; i++) {
		if (!is_beside(d, (enum link_id)i, with) ||
		    !holder_find(fd, link_kinds[i].type, &h) || h.id == told)
			continue;
		told = h.id;
		doctor_say(d, VERDICT_FAIL, HOLDER_CURE,
			   "program %s (id %u) on %s lets no other be there: hook %s cannot be "
			   "attached",
			   h.name, h.id, h.cgroup, link_hook(&link_kinds[i]));
	}
	return told;
}

static void cgroup_hook(struct doctor *d, enum link_id link, const char *kind, bool first_is_fine,
			const char *cure)
{
	char path[PATH_MAX];
	/* The check `cgroup2` says whether the path is a cgroup. */
	_cleanup_close_ int fd = d->privileged ? open_watched_cgroup(d->s, path) : -EPERM;

	if (fd == -ENOENT)
		return; /* the check `cgroup2` said so */
	if (fd < 0)
		doctor_say(d, VERDICT_WARN, d->for_privilege,
			   "other %s programs were not looked for", kind);
	else if (!holders_tell(d, fd, link))
		programs_tell(d, path, fd, link, first_is_fine, cure);
}

void doctor_sockops_hook(struct doctor *d)
{
	cgroup_hook(d, LINK_SERVERS, "sockops", false,
		    "make sure that the others add to the callback flags, and do not replace them: "
		    "otherwise sockops misses ends of connections, and pintled has to recount");
}

void doctor_connect_hook(struct doctor *d)
{
	cgroup_hook(d, LINK_CONNECT4, "connect", true,
		    "make sure that no program that runs before Pintle's rewrites a frontend's "
		    "address; on Linux 6.15 and newer Pintle's runs first by itself, on older "
		    "ones the program that was attached first, or to a cgroup further down");
}

/* ---- listeners ------------------------------------------------------------------- */

/* The endpoint whose server the listener may be; NULL: none. */
static const struct state_endpoint *doctor_hooks_endpoint_at(const struct doctor *d,
							     const struct listener *l)
{
	for (size_t i = 0; i < d->s->endpoint_count; i++) {
		const struct state_endpoint *e = &d->s->endpoints[i];

		if (e->addr.port == l->port &&
		    (e->addr.any_ip || l->wildcard || !memcmp(&e->addr.ip, &l->ip, sizeof(l->ip))))
			return e;
	}
	return NULL;
}

void doctor_mptcp(struct doctor *d)
{
	_cleanup_free_ struct listener *ls = NULL;
	char where[ADDR_TEXT_SIZE], name[ENDPOINT_NAME_SIZE] = "";
	size_t n = 0, found = 0;

	if (d->netns < 0 && d->privileged)
		return; /* the check `sk_lookup` said so */
	if (d->netns < 0 || listeners_dump(d->netns, &ls, &n)) {
		doctor_say(d, VERDICT_WARN, d->for_privilege,
			   "MPTCP listeners were not looked for");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const struct state_endpoint *e = d->s ? doctor_hooks_endpoint_at(d, &ls[i]) : NULL;

		/* With nothing pinned, any listener may be meant as an endpoint. */
		if (!ls[i].mptcp || (d->s && !e))
			continue;
		found++;
		if (e)
			endpoint_name(d->s, e, name);
		doctor_say(d, VERDICT_WARN, unsteerable_cure(PINTLE_UNSTEERABLE_MPTCP),
			   "%s%sthe listener on %s cannot be steered to", name, e ? ": " : "",
			   addr_format(&ls[i].ip, ls[i].port, where));
	}
	if (!found)
		doctor_say(d, VERDICT_OK, NULL,
			   "no MPTCP listener among the %zu that were looked at", n);
}

/* ---- what is pinned -------------------------------------------------------------- */

/* Says to how many devices the program of `feature` is attached; `none` if to none. */
static void say_devices(struct doctor *d, uint32_t devices, const char *feature, const char *none)
{
	if (devices)
		doctor_say(d, VERDICT_OK, NULL, "%s: attached to %u device%s (bpftool net)",
			   feature, devices, plural(devices));
	else
		doctor_say(
			d, VERDICT_FAIL,
			d->s->daemon_alive
				? "see pintled's log; before Linux 6.6 the kernel needs sch_ingress "
				  "and cls_bpf (modprobe -a sch_ingress cls_bpf)"
				: "start pintled",
			"%s", none);
}

/* Speaks of one-shot only where a pool needs it on this node. A connect pool needs it on the nodes
 * of its servers. */
void doctor_oneshot(struct doctor *d)
{
	bool wanted = false;

	for (size_t i = 0; d->s && i < d->s->pool_count; i++)
		wanted |= d->s->pools[i].requests == PINTLE_REQUESTS_ONE_PER_CONNECTION &&
			  hook_has(d->s->pools[i].decided_by, PINTLE_TRAIT_AT_SERVERS);
	if (!d->s || (!wanted && !d->s->node.devices))
		return;
	say_devices(d, d->s->node.devices, "one request per connection",
		    "a pool wants one request per connection, and one-shot is attached nowhere");
}

#define MAX_DEVICES_SAID 8

static bool says_xdp(uint32_t how)
{
	return how != PINTLE_XDP_OFF && how != PINTLE_XDP_UNABLE && how != PINTLE_XDP_PORTS;
}

/* Speaks of devices that have XDP, or could have it. */
static void say_xdp(struct doctor *d)
{
	size_t said = 0;

	for (size_t i = 0; i < d->s->device_count && said < MAX_DEVICES_SAID; i++) {
		const struct state_device *at = &d->s->devices[i];
		bool has = at->xdp == PINTLE_XDP_NATIVE;
		char whose[NETDEV_XDP_SAYS_SIZE] = "";

		if (!says_xdp(at->xdp))
			continue;
		said++;
		if (at->xdp == PINTLE_XDP_TAKEN && d->netns >= 0)
			netdev_xdp_says(d->netns, at->index, whose);
		doctor_say(d, VERDICT_OK, NULL, "%s: handshakes are answered in %s: %s%s", at->name,
			   has ? "XDP" : "TC, not in XDP", xdp_help(at->xdp), whose);
	}
}

/* The first pod that connects shows whether the program sees both directions there. */
static void say_splice(struct doctor *d)
{
	const struct pintle_node *n = &d->s->node;

	say_devices(
		d, n->splice_devices, "splice",
		"a pool has splice, and its program is attached nowhere: the connections of pods "
		"are decided by their addresses");
	if (n->splice_devices && !n->splice_spaces)
		doctor_say(d, VERDICT_WARN, "a pod's first connection is decided by its addresses",
			   "splice: " STATE_SPLICE_UNSEEN);
}

static void say_handoff(struct doctor *d)
{
	bool handed = false, spliced = false;

	for (size_t i = 0; i < d->s->pool_count; i++) {
		const struct state_pool *p = &d->s->pools[i];

		spliced |= p->spliced;
		handed |= p->decide == PINTLE_DECIDE_REQUEST && !p->spliced;
	}
	if (spliced)
		say_splice(d);
	if (!handed)
		return;
	say_devices(d, d->s->node.hand_devices, "decide: request",
		    "a pool has decide: request, and the hand-off is attached nowhere: its "
		    "connections are decided by their addresses");
	say_xdp(d);
	doctor_hand_more(d);
}

/* Speaks of what the kernel can do also where no pool asks for it, because somebody may want to. */
void doctor_hand(struct doctor *d)
{
	bool wanted = false, handed = false;

	for (size_t i = 0; d->s && i < d->s->pool_count; i++) {
		const struct state_pool *p = &d->s->pools[i];

		wanted |= p->decide == PINTLE_DECIDE_REQUEST || p->by_connection;
		handed |= p->decide == PINTLE_DECIDE_REQUEST && !p->spliced;
	}
	if (access(KERNEL_BTF, R_OK))
		doctor_say(d, VERDICT_WARN, "see btf",
			   "whether this kernel can decide by request cannot be told without BTF");
	else if (!kernel_hands_over())
		doctor_say(
			d, wanted ? VERDICT_FAIL : VERDICT_OK,
			wanted ? "use Linux 6.9 or newer with CONFIG_SYN_COOKIES, or write decide: "
				 "connection"
			       : NULL,
			"this kernel cannot decide by request: it lacks bpf_sk_assign_tcp_reqsk()%s",
			wanted ? "" : "; no pool wants it");
	else if (!wanted)
		doctor_say(d, VERDICT_OK, NULL, "this kernel can decide by request");
	else if (handed && doctor_cookies_off(d))
		doctor_say(d, VERDICT_FAIL, "sysctl net.ipv4.tcp_syncookies=1",
			   "a pool has decide: request, and net.ipv4.tcp_syncookies is 0: the "
			   "hand-off rests, and connections are decided by their addresses");
	else
		say_handoff(d);
}

void doctor_daemon(struct doctor *d)
{
	char dir[PATH_MAX];
	unsigned int version;

	maps_dir(d->cli->bpffs, dir, sizeof(dir));
	if (d->s && d->s->daemon_alive)
		doctor_say(d, VERDICT_OK, NULL, "pintled %s runs, pid %u", d->s->node.version,
			   d->s->node.pid);
	else if (d->s)
		doctor_say(d, VERDICT_WARN, "start pintled",
			   "maps are pinned under %s, but pintled "
			   "does not run",
			   d->cli->bpffs);
	else if (maps_other_version(d->cli->bpffs, &version) && version < PINTLE_ABI_VERSION)
		doctor_say(d, VERDICT_WARN,
			   "start the pintled of this version, which takes them over",
			   "%s holds maps of version %u", d->cli->bpffs, version);
	else if (maps_other_version(d->cli->bpffs, &version))
		doctor_say(
			d, VERDICT_FAIL,
			"use the pintled and pintle of one version, or remove those pins with the "
			"pintled that made them: pintled --detach",
			"%s holds maps of version %u, and this program knows version %d only",
			d->cli->bpffs, version, PINTLE_ABI_VERSION);
	else if (!access(dir, F_OK))
		doctor_say(d, VERDICT_FAIL,
			   "start pintled, which puts back what is missing; while it runs it does "
			   "so within a second",
			   "the pins in %s are incomplete", dir);
	else
		doctor_say(d, VERDICT_OK, NULL, "no pins can be seen under %s", d->cli->bpffs);
}
