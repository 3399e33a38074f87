/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_system.c - mounts, capabilities, sysctls. */
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "../../base/text.h"
#include "../../maps/kernel.h"
#include "../../net/cgroup2.h"
#include "doctor.h"

/* ---- capabilities ---------------------------------------------------------------- */

/* The capabilities that pintled uses, which manifests/ give it. */
static const struct {
	const char *name;
	const char *purpose;
	int bit;
	int includes_it; /* a wider capability that suffices as well; or the same */
	enum verdict without;
} capabilities[] = {
	{"CAP_BPF", "to load programs", CAP_BPF, CAP_BPF, VERDICT_FAIL},
	{"CAP_NET_ADMIN", "to attach them and to add routes", CAP_NET_ADMIN, CAP_NET_ADMIN,
	 VERDICT_FAIL},
	{"CAP_PERFMON", "for programs that read kernel memory", CAP_PERFMON, CAP_PERFMON,
	 VERDICT_FAIL},
	{"CAP_SYS_PTRACE", "to take over listeners that run already", CAP_SYS_PTRACE,
	 CAP_SYS_PTRACE, VERDICT_WARN},
	{"CAP_DAC_READ_SEARCH", "to find listeners of other users in /proc", CAP_DAC_READ_SEARCH,
	 CAP_DAC_OVERRIDE, VERDICT_WARN},
};

/* Whether pintled has to enter another network namespace, which takes a further capability. */
static bool other_netns(const struct doctor *d)
{
	return d->s && d->s->node.netns[0] && strcmp(d->s->node.netns, "/proc/self/ns/net") != 0;
}

static void capability_missing(struct doctor *d, enum verdict verdict, const char *name,
			       const char *purpose)
{
	doctor_say(d, verdict,
		   "run pintled as root, or with it (AmbientCapabilities=, "
		   "securityContext.capabilities)",
		   "%s is missing; pintled needs it %s", name, purpose);
}

/* Reads the capabilities of a process from its file `status`. `of`: its name, or NULL for any. */
static bool effective_read(const char *path, const char *of, uint64_t *mask)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char line[256], name[32] = "";

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Name: %31s", name) == 1 && of && strcmp(name, of) != 0)
			return false;
		if (sscanf(line, "CapEff: %" SCNx64, mask) == 1)
			return true;
	}
	return false;
}

/* Those of the pintled that runs; of this process, where none runs or its pid is of another PID
 * namespace. */
static void effective_of_daemon(const struct doctor *d, uint64_t *mask)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%u/status", d->s->node.pid);
	if (d->s->daemon_alive)
		effective_read(path, "pintled", mask);
}

/* Names the pools whose servers pintled may not enter the pods of. The systemd unit and the
 * DaemonSet do not grant it, and root, who runs doctor, has it: so pintled itself is looked at. */
static int pods_closed(struct doctor *d, uint64_t mask)
{
	int missing = 0;

	if (d->s)
		effective_of_daemon(d, &mask);
	for (size_t i = 0; d->s && i < d->s->pool_count; i++) {
		if (!d->s->pools[i].in_pods || mask & 1ULL << CAP_SYS_ADMIN)
			continue;
		missing++;
		doctor_say(d, VERDICT_FAIL, KERNEL_GRANT_PODS,
			   "pool %s: its servers are in pods, which pintled cannot enter without "
			   "CAP_SYS_ADMIN: no new connection reaches them",
			   d->s->pools[i].name);
	}
	return missing;
}

void doctor_capabilities(struct doctor *d)
{
	uint64_t mask;
	int missing = 0;

	if (d->userns) {
		doctor_say(d, VERDICT_FAIL,
			   "run pintled outside of it, not in a rootless container",
			   "this is a user namespace: its capabilities load no BPF programs");
		return;
	}
	if (!effective_read("/proc/self/status", NULL, &mask)) {
		doctor_say(d, VERDICT_WARN, "mount /proc", "/proc/self/status cannot be read");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++) {
		if (mask & (1ULL << capabilities[i].bit | 1ULL << capabilities[i].includes_it))
			continue;
		missing++;
		capability_missing(d, capabilities[i].without, capabilities[i].name,
				   capabilities[i].purpose);
	}
	if (other_netns(d) && !(mask & 1ULL << CAP_SYS_ADMIN)) {
		missing++;
		capability_missing(d, VERDICT_FAIL, "CAP_SYS_ADMIN", "to enter node.netns");
	}
	missing += pods_closed(d, mask);
	if (!missing)
		doctor_say(d, VERDICT_OK, NULL, "this process has all that pintled needs");
}

/* ---- bpffs ----------------------------------------------------------------------- */

/* The nearest directory that exists, at or above `path`. */
static void nearest_existing(const char *path, char *buf, size_t size)
{
	snprintf(buf, size, "%s", path);
	while (access(buf, F_OK) && errno == ENOENT) {
		char *slash = strrchr(buf, '/');

		if (!slash || slash == buf) {
			snprintf(buf, size, "%s", slash ? "/" : ".");
			return;
		}
		*slash = '\0';
	}
}

/* Warns of each directory above the pins that members of the reading group cannot pass. */
static void group_passes(struct doctor *d)
{
	gid_t gid = d->s ? d->s->node.group : 0;
	char path[PATH_MAX];
	char *slash;

	if (!gid)
		return;
	snprintf(path, sizeof(path), "%s", d->cli->bpffs);
	while ((slash = strrchr(path, '/')) && slash != path) {
		struct stat st;

		*slash = '\0';
		if (stat(path, &st) || st.st_mode & S_IXOTH ||
		    (st.st_gid == gid && st.st_mode & S_IXGRP))
			continue;
		doctor_say(d, VERDICT_WARN,
			   "mount a bpffs of Pintle's own and name it in node.bpffs, or chmod that "
			   "directory to 0711",
			   "group %u may read the pins, but cannot pass %s", gid, path);
	}
}

void doctor_bpffs(struct doctor *d)
{
	char path[PATH_MAX], cure[PATH_MAX + 64];
	struct statfs fs;

	nearest_existing(d->cli->bpffs, path, sizeof(path));
	if (statfs(path, &fs)) {
		doctor_say(d, VERDICT_WARN, "run it as root, or as a member of node.group",
			   "%s: %s", path, strerror(errno));
		return;
	}
	if ((unsigned long)fs.f_type != BPF_FS_MAGIC) {
		snprintf(cure, sizeof(cure), "mount -t bpf bpf %s",
			 strcmp(path, "/sys/fs") != 0 ? path : "/sys/fs/bpf");
		doctor_say(d, VERDICT_FAIL, cure, "%s is not on a bpffs", d->cli->bpffs);
		return;
	}
	doctor_say(d, VERDICT_OK, NULL, "%s is on a bpffs", d->cli->bpffs);
	group_passes(d);
}

/* ---- cgroup2 --------------------------------------------------------------------- */

void doctor_cgroup(struct doctor *d)
{
	char path[PATH_MAX], part[CGROUP2_WHY_SIZE];
	bool pinned = d->s && d->s->node.cgroup[0];
	int err = cgroup2_root(path, sizeof(path));
	/* A cgroup that node.cgroup names may be a part on purpose. */
	bool by_default = !err && (!pinned || !strcmp(path, d->s->node.cgroup));
	struct statfs fs;

	if (pinned) {
		snprintf(path, sizeof(path), "%s", d->s->node.cgroup);
		err = 0;
	}
	if (err)
		doctor_say(d, VERDICT_FAIL, "mount -t cgroup2 none /sys/fs/cgroup",
			   "no cgroup2 is mounted: %s", strerror(-err));
	else if (statfs(path, &fs))
		doctor_say(d, VERDICT_FAIL, "make node.cgroup, and pintled attaches to it",
			   "%s: %s", path, strerror(errno));
	else if ((unsigned long)fs.f_type != CGROUP2_SUPER_MAGIC)
		doctor_say(d, VERDICT_FAIL, "name a cgroup of version 2 in node.cgroup",
			   "%s is not in a cgroup2 file system", path);
	else if (by_default && cgroup2_part(part))
		doctor_say(d, VERDICT_FAIL, CGROUP2_PART_CURE, "%s", part);
	else
		doctor_say(d, VERDICT_OK, NULL, "%s is in a cgroup2 file system", path);
}

/* ---- sysctls --------------------------------------------------------------------- */

bool doctor_sysctl(const char *name, long *value)
{
	char path[128];
	_cleanup_fclose_ FILE *f = NULL;

	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	f = fopen(path, "re");
	return f && fscanf(f, "%ld", value) == 1;
}

/* Values below `least` or above `most` are warned of. Those of net/ are of this process's network
 * namespace. */
static const struct {
	const char *name;
	long least, most;
	const char *why, *cure;
} sysctls[] = {
	{"net/ipv4/tcp_syncookies", 0, 1, "cookies for every SYN lose options and hide the backlog",
	 "sysctl net.ipv4.tcp_syncookies=1; 2 is for tests"},
	{"kernel/unprivileged_bpf_disabled", 1, 2, "anybody may load programs",
	 "sysctl kernel.unprivileged_bpf_disabled=2; Pintle does not need it open"},
	{"net/core/optmem_max", 4096, LONG_MAX,
	 "a socket may be refused the storage that counts its connection",
	 "sysctl net.core.optmem_max=20480"},
	{"net/core/bpf_jit_enable", 1, 2, "programs are interpreted, which is slow",
	 "sysctl net.core.bpf_jit_enable=1"},
};

void doctor_sysctls(struct doctor *d)
{
	char good[256] = "", item[64];

	for (size_t i = 0; i < ARRAY_SIZE(sysctls); i++) {
		long value;

		/* A kernel that was built without the sysctl has nothing to set. */
		if (!doctor_sysctl(sysctls[i].name, &value))
			continue;
		if (value < sysctls[i].least || value > sysctls[i].most) {
			doctor_say(d, VERDICT_WARN, sysctls[i].cure, "%s is %ld: %s",
				   sysctls[i].name, value, sysctls[i].why);
			continue;
		}
		snprintf(item, sizeof(item), "%s %ld", strrchr(sysctls[i].name, '/') + 1, value);
		text_list_add(good, sizeof(good), item);
	}
	if (*good)
		doctor_say(d, VERDICT_OK, NULL, "%s", good);
}
