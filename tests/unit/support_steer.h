/* SPDX-License-Identifier: Apache-2.0 */
/*
 * support_steer.h - the daemon's parts on the real kernel: each test has a network namespace, a
 * bpffs and a cgroup of its own, and configurations as text. Needs root.
 */
#ifndef PINTLE_TESTS_SUPPORT_STEER_H
#define PINTLE_TESTS_SUPPORT_STEER_H

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../../userspace/net/cgroup2.h"
#include "../../userspace/config/config.h"
#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "../../userspace/pintled/attach/attach.h"
#include "../../userspace/pintled/attach/detach.h"
#include "../../userspace/pintled/attach/pins.h"
#include "../../userspace/pintled/publish/publish.h"
#include "../../userspace/net/routes.h"
#include "support_netns.h"

#define BPFFS      "/mnt/pintle"
#define STRING_(x) #x
#define STRING(x)  STRING_(x)
#define PINS       BPFFS "/v" STRING(PINTLE_ABI_VERSION)

/* Every address of 127/8 is local, so a frontend there needs no route. */
#define FRONTEND "127.77.0.1:8000"

#define wait_for(condition)                                                                        \
	do {                                                                                       \
		uint64_t until_ = monotonic_ns() + 120 * NSEC_PER_SEC;                             \
		while (!(condition) && monotonic_ns() < until_)                                    \
			usleep(1000);                                                              \
		assert_true(condition);                                                            \
	} while (0)

/* ---- places ---------------------------------------------------------------------- */

static char cgroup_home[PATH_MAX], cgroup[PATH_MAX];

static inline void join_cgroup(const char *dir)
{
	char path[PATH_MAX + 16];
	FILE *f;

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	f = fopen(path, "we");
	assert_non_null(f);
	fprintf(f, "%d\n", getpid());
	assert_int_equal(fclose(f), 0);
}

static inline int make_cgroup(void **state)
{
	(void)state;
	if (cgroup2_root(cgroup_home, sizeof(cgroup_home)))
		return -1;
	/* node.cgroup takes at most PINTLE_TEXT_SIZE bytes. */
	snprintf(cgroup, sizeof(cgroup), "%.90s/pintle-test-%d", cgroup_home, getpid());
	return mkdir(cgroup, 0755);
}

static inline int remove_cgroup(void **state)
{
	(void)state;
	join_cgroup(cgroup_home);
	return rmdir(cgroup);
}

static inline int setup_steer(void **state)
{
	(void)state;
	descriptors_before = open_descriptors();
	assert_int_equal(unshare(CLONE_NEWNS | CLONE_NEWNET), 0);
	set_lo(true);
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("bpf", "/mnt", "bpf", 0, "mode=0755"), 0);
	join_cgroup(cgroup);
	return 0;
}

/* Whatever the test did, a detach must leave nothing. */
static inline int teardown_steer(void **state)
{
	(void)state;
	detach(BPFFS, false);
	umount2("/mnt", MNT_DETACH);
	join_cgroup(cgroup_home);
	return teardown_netns(state);
}

#define steer_test(f) cmocka_unit_test_setup_teardown(f, setup_steer, teardown_steer)

/* ---- the log ----------------------------------------------------------------------- */

static int told_fd = -1, told_stderr = -1;

/* Captures stderr from here on. */
static inline void told_begin(void)
{
	fflush(stderr);
	told_fd = memfd_create("told", MFD_CLOEXEC);
	told_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_true(told_fd >= 0 && told_stderr >= 0);
	assert_int_equal(dup2(told_fd, STDERR_FILENO), STDERR_FILENO);
}

/* Ends the capture and returns its text; the caller frees it. */
static inline char *told_end(void)
{
	off_t size = lseek(told_fd, 0, SEEK_END);
	char *text = calloc(1, (size_t)size + 1);

	assert_non_null(text);
	assert_int_equal(pread(told_fd, text, (size_t)size, 0), size);
	assert_int_equal(dup2(told_stderr, STDERR_FILENO), STDERR_FILENO);
	close(told_fd);
	close(told_stderr);
	return text;
}

static inline int count_text(const char *text, const char *what)
{
	int n = 0;

	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

/* ---- configurations ------------------------------------------------------------------ */

/* `node` has further settings of the node, each after a comma. */
static inline char *config_text(const char *node, const char *pools)
{
	char *text;

	assert_true(asprintf(&text,
			     "apiVersion: pintle.dev/v1alpha1\n"
			     "kind: PintleConfig\n"
			     "node: {bpffs: %s, cgroup: \"%s\"%s}\n"
			     "pools:\n%s",
			     BPFFS, cgroup, node, pools) > 0);
	return text;
}

static inline struct config *config_with(const char *node, const char *pools)
{
	_cleanup_free_ char *text = config_text(node, pools);
	struct config *c = NULL;

	assert_int_equal(config_parse("test.yaml", text, strlen(text), &yaml_sink_stderr, &c), 0);
	return c;
}

#define POOL(name, frontend, more) "- {name: " name ", frontends: [\"" frontend "\"], " more "}\n"
#define SERVERS(list)              "endpoints: [" list "]"
#define AT(name, port)             "{name: " name ", listen: \"127.0.0.1:" #port "\"}"

/* ---- a steered node ------------------------------------------------------------------ */

struct steer {
	struct config *c;
	struct attachment *a;
	struct maps *m;
	struct publication *p;
};

static inline void steer_prepare(struct steer *s, const char *pools)
{
	s->c = config_with("", pools);
	assert_int_equal(attachment_prepare(s->c, NULL, &s->a), 0);
	s->m = attachment_ground(s->a)->maps;
}

/* Publishes another configuration. On an error of publish(), returns it and keeps the old one. */
static inline int steer_publish(struct steer *s, const char *pools)
{
	struct config *c = config_with("", pools);
	struct publication *p = NULL;
	int err = publish(s->m, attachment_ground(s->a)->netns_fd, c, s->p, &p);

	if (err) {
		config_free(c);
		return err;
	}
	config_free(s->c);
	publication_free(s->p);
	s->c = c;
	s->p = p;
	return 0;
}

/* Prepares, publishes and, with `attach`, attaches. No page is scraped: a server that listens is
 * ready. */
static inline void steer_start(struct steer *s, const char *pools, bool attach)
{
	*s = (struct steer){0};
	steer_prepare(s, pools);
	assert_int_equal(steer_publish(s, pools), 0);
	if (attach)
		assert_int_equal(attachment_commit(s->a, s->c), 0);
	s->m->node->heartbeat_ns = 1;
}

static inline void steer_end(struct steer *s)
{
	publication_free(s->p);
	attachment_free(s->a);
	config_free(s->c);
	*s = (struct steer){0};
}

static inline bool same_ref(struct pintle_ref a, struct pintle_ref b)
{
	return a.id == b.id && a.generation == b.generation;
}

/* ---- servers and clients ------------------------------------------------------------- */

static inline struct sockaddr_in address_v4(const char *ip, uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

	assert_int_equal(inet_pton(AF_INET, ip, &a.sin_addr), 1);
	return a;
}

static inline int listen_with(const char *ip, uint16_t port, int protocol)
{
	struct sockaddr_in a = address_v4(ip, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, protocol), one = 1;

	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1024), 0);
	return fd;
}

static inline int listen_at(const char *ip, uint16_t port)
{
	return listen_with(ip, port, 0);
}

/* Returns a connected socket, or -errno. */
static inline int connect_to(const char *ip, uint16_t port)
{
	struct sockaddr_in a = address_v4(ip, port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	assert_true(fd >= 0);
	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* ---- what is attached ------------------------------------------------------------------ */

static inline unsigned int lookups_attached(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	__u32 ids[64], n = ARRAY_SIZE(ids);

	assert_int_equal(bpf_prog_query(fd, BPF_SK_LOOKUP, 0, NULL, ids, &n), 0);
	close(fd);
	return n;
}

static inline unsigned int sockops_attached(void)
{
	int fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	__u32 ids[64], n = ARRAY_SIZE(ids);

	assert_int_equal(bpf_prog_query(fd, BPF_CGROUP_SOCK_OPS, 0, NULL, ids, &n), 0);
	close(fd);
	return n;
}

static inline size_t routes_there(void)
{
	struct frontend_addr *all = NULL;
	size_t n = 0;

	assert_int_equal(routes_list_local(-1, &all, &n), 0);
	free(all);
	return n;
}

#endif
