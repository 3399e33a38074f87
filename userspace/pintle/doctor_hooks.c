/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_hooks.c - who else is on our hooks, who listens in a way that cannot be steered. */
#include <bpf/bpf.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "../common/cgroup2.h"
#include "../common/links.h"
#include "../common/listeners.h"
#include "doctor.h"

#define MAX_PROGRAMS 64 /* the kernel's own limit on a cgroup's hook */

/* ---- programs on a hook ---------------------------------------------------------- */

struct program {
	uint32_t id;
	char name[BPF_OBJ_NAME_LEN];
};

static void program_name(struct program *p)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(p->id);
	struct bpf_prog_info info = {0};
	uint32_t size = sizeof(info);

	snprintf(p->name, sizeof(p->name), "?");
	if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) && info.name[0])
		state_text(p->name, sizeof(p->name), info.name, sizeof(info.name));
}

/* In the order in which they run. Returns how many, or -errno. */
static int programs_query(int fd, enum bpf_attach_type type, uint32_t flags, struct program *out)
{
	uint32_t ids[MAX_PROGRAMS], count = MAX_PROGRAMS, attach_flags;

	if (bpf_prog_query(fd, type, flags, &attach_flags, ids, &count))
		return -errno;
	count = MIN(count, (uint32_t)MAX_PROGRAMS);
	for (uint32_t i = 0; i < count; i++) {
		out[i].id = ids[i];
		program_name(&out[i]);
	}
	return (int)count;
}

/* The program of our link, by the pin; 0: none, or not to be seen. */
static uint32_t own_program(const struct doctor *d, const char *pin)
{
	_cleanup_close_ int fd = -1;
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);
	char dir[PATH_MAX], path[PATH_MAX];

	maps_dir(d->cli->bpffs, dir, sizeof(dir));
	if (snprintf(path, sizeof(path), "%s/%s", dir, pin) >= (int)sizeof(path))
		return 0;
	fd = bpf_obj_get(path);
	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) ? info.prog_id : 0;
}

static void programs_tell(struct doctor *d, const char *where, int fd, enum bpf_attach_type type,
			  uint32_t flags, const char *pin, const char *cure)
{
	struct program programs[MAX_PROGRAMS] = {0};
	char list[1024] = "";
	uint32_t own = own_program(d, pin);
	int n = programs_query(fd, type, flags, programs);
	size_t at = 0;
	int others = 0;

	if (n < 0) {
		doctor_say(d, VERDICT_WARN, "run it as root", "programs on %s cannot be listed: %s",
			   where, strerror(-n));
		return;
	}
	for (int i = 0; i < n; i++) {
		bool ours = own && programs[i].id == own;

		others += !ours;
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s (id %u%s)",
				       at ? ", then " : "", programs[i].name, programs[i].id,
				       ours ? ", ours" : "");
		at = MIN(at, sizeof(list) - 1);
	}
	if (!n)
		doctor_say(d, VERDICT_OK, NULL, "no program on %s", where);
	else if (others)
		doctor_say(d, VERDICT_WARN, cure, "%d program%s on %s: %s", n, n == 1 ? "" : "s",
			   where, list);
	else
		doctor_say(d, VERDICT_OK, NULL, "on %s only %s", where, list);
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
			   "the namespace that is steered, %s, cannot be found: %s",
			   d->s ? d->s->node.netns : "our own", strerror(-d->netns));
		return;
	}
	programs_tell(d, d->s ? "the steered namespace" : "this network namespace", d->netns,
		      BPF_SK_LOOKUP, 0, link_kinds[LINK_LOOKUP].pin,
		      "see that no other program assigns sockets for the same addresses: the last "
		      "one that does decides");
}

void doctor_sockops_hook(struct doctor *d)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -1;

	if (d->s && d->s->node.cgroup[0])
		snprintf(path, sizeof(path), "%s", d->s->node.cgroup);
	else if (cgroup2_root(path, sizeof(path)))
		return; /* told by the check of cgroup2 */
	/* Whether it is a cgroup is told by the check of cgroup2. */
	if (d->privileged)
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		doctor_say(d, VERDICT_WARN, "run it as root",
			   "other sockops programs were not looked for");
		return;
	}
	programs_tell(
		d, path, fd, BPF_CGROUP_SOCK_OPS, BPF_F_QUERY_EFFECTIVE,
		link_kinds[LINK_SOCKOPS].pin,
		"see that the others add to the callback flags, and do not replace them: else "
		"ends of connections are missed, and pintled has to recount");
}

/* ---- listeners ------------------------------------------------------------------- */

/* With nothing pinned anybody may be meant to be steered to. */
static const struct state_endpoint *endpoint_at(const struct doctor *d, const struct listener *l)
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
		return; /* told by the check of sk_lookup */
	if (d->netns < 0 || listeners_dump(d->netns, &ls, &n)) {
		doctor_say(d, VERDICT_WARN, "run it as root",
			   "MPTCP listeners were not looked for");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const struct state_endpoint *e = d->s ? endpoint_at(d, &ls[i]) : NULL;

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
		doctor_say(d, VERDICT_OK, NULL, "no MPTCP listener among %zu that were looked at",
			   n);
}

/* ---- what is pinned -------------------------------------------------------------- */

void doctor_daemon(struct doctor *d)
{
	unsigned int version;

	if (d->s && d->s->daemon_alive)
		doctor_say(d, VERDICT_OK, NULL, "pintled %s runs, pid %u", d->s->node.version,
			   d->s->node.pid);
	else if (d->s)
		doctor_say(d, VERDICT_WARN, "start pintled",
			   "maps are pinned under %s, but pintled "
			   "does not run",
			   d->cli->bpffs);
	else if (maps_other_version(d->cli->bpffs, &version))
		doctor_say(
			d, VERDICT_FAIL,
			"use the pintled and pintle of one version, or remove those pins with the "
			"pintled that made them: pintled --detach",
			"%s holds maps of version %u, and this program knows version %d only",
			d->cli->bpffs, version, PINTLE_ABI_VERSION);
	else
		doctor_say(d, VERDICT_OK, NULL, "nothing can be seen under %s", d->cli->bpffs);
}
