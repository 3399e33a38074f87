/* SPDX-License-Identifier: Apache-2.0 */
#include "listeners.h"

#include <assert.h>
#include <dirent.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netlink/attr.h>
#include <pintle/abi.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "../base/log.h"
#include "netlink.h"
#include "netns.h"
#include "../base/util.h"

/* ---- the kernel's table of sockets ---------------------------------------- */

/* inet_diag's timer code of a TIME_WAIT record: it is no longer a socket, but may still be listed
 * as FIN_WAIT2. */
#define TIMER_TIME_WAIT 3

#define STATE(s) (1U << (s))
static const uint32_t connection_states =
	STATE(TCP_SYN_SENT) | STATE(TCP_ESTABLISHED) | STATE(TCP_FIN_WAIT1) | STATE(TCP_FIN_WAIT2) |
	STATE(TCP_CLOSE_WAIT) | STATE(TCP_LAST_ACK) | STATE(TCP_CLOSING);

typedef int (*diag_fn)(const struct inet_diag_msg *m, struct nlattr **attributes, void *arg);

struct diag {
	diag_fn each;
	void *arg;
};

static int diag_answer(const struct nlmsghdr *h, void *arg)
{
	struct diag *d = arg;
	struct nlattr *attributes[INET_DIAG_MAX + 1];

	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return 0;
	if (nlmsg_parse((struct nlmsghdr *)h, sizeof(struct inet_diag_msg), attributes,
			INET_DIAG_MAX, NULL) < 0)
		return -EBADMSG;
	return d->each(nlmsg_data(h), attributes, d->arg);
}

static int diag_family(int netns_fd, uint8_t family, uint32_t states, uint16_t local_port,
		       struct diag *d)
{
	struct inet_diag_req_v2 request = {
		.sdiag_family = family,
		.sdiag_protocol = IPPROTO_TCP,
		/* The kernel reports the upper-layer protocol only with this extension. */
		.idiag_ext = 1U << (INET_DIAG_INFO - 1),
		.idiag_states = states,
		.id = {.idiag_sport = htons(local_port),
		       .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}},
	};
	_cleanup_(nl_msg_freep) struct nl_msg *msg =
		nlmsg_alloc_simple(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);

	if (!msg || nlmsg_append(msg, &request, sizeof(request), NLMSG_ALIGNTO) < 0)
		return -ENOMEM;
	return netlink_ask(netns_fd, NETLINK_SOCK_DIAG, msg, diag_answer, d);
}

static int diag(int netns_fd, uint32_t states, uint16_t local_port, diag_fn each, void *arg)
{
	struct diag d = {.each = each, .arg = arg};
	int r = diag_family(netns_fd, AF_INET, states, local_port, &d);

	return r ? r : diag_family(netns_fd, AF_INET6, states, local_port, &d);
}

static int diag_error(int r)
{
	if (r == -ENOENT)
		return log_err_r(r, "this kernel has no inet_diag for TCP (modprobe tcp_diag)");
	return log_err_r(r, "cannot read the table of TCP sockets");
}

static void diag_address(uint8_t family, const __be32 *raw, struct addr *out)
{
	if (family == AF_INET)
		addr_from_v4(out, raw[0]);
	else
		memcpy(out->bytes, raw, sizeof(out->bytes));
}

static uint64_t diag_cookie(const struct inet_diag_msg *m)
{
	return m->id.idiag_cookie[0] | (uint64_t)m->id.idiag_cookie[1] << 32;
}

static uint64_t diag_cgroup(struct nlattr **attributes)
{
	const struct nlattr *cgroup = attributes[INET_DIAG_CGROUP_ID];

	return cgroup && nla_len(cgroup) >= (int)sizeof(uint64_t) ? nla_get_u64(cgroup) : 0;
}

/* An MPTCP socket is listed by its inner TCP sockets, whose upper-layer protocol is "mptcp". */
static bool diag_is_mptcp(struct nlattr **attributes)
{
	struct nlattr *ulp[INET_ULP_INFO_MAX + 1], *info = attributes[INET_DIAG_ULP_INFO];

	return info && nla_parse_nested(ulp, INET_ULP_INFO_MAX, info, NULL) >= 0 &&
	       ulp[INET_ULP_INFO_NAME] && !nla_strcmp(ulp[INET_ULP_INFO_NAME], "mptcp");
}

static uint8_t families_taken(const struct listener *l)
{
	if (addr_is_v4(&l->ip))
		return PINTLE_FAMILY_V4;
	if (l->wildcard && !l->v6only)
		return PINTLE_FAMILY_V4 | PINTLE_FAMILY_V6;
	return PINTLE_FAMILY_V6;
}

struct listener_list {
	struct listener *items;
	size_t n, room;
};

static int add_listener(const struct inet_diag_msg *m, struct nlattr **attributes, void *arg)
{
	struct listener_list *list = arg;
	const struct nlattr *v6only = attributes[INET_DIAG_SKV6ONLY];
	struct listener *l;

	if (m->idiag_state != TCP_LISTEN)
		return 0;
	if (!ROOM_FOR_ONE(list->items, list->n, list->room, 64))
		return -ENOMEM;
	l = &list->items[list->n++];
	*l = (struct listener){
		.port = ntohs(m->id.idiag_sport),
		.v6 = m->idiag_family == AF_INET6,
		.v6only = v6only && nla_len(v6only) >= 1 && nla_get_u8(v6only),
		.mptcp = diag_is_mptcp(attributes),
		.inode = m->idiag_inode,
		.cookie = diag_cookie(m),
		.uid = m->idiag_uid,
		.cgroup = diag_cgroup(attributes),
	};
	diag_address(m->idiag_family, m->id.idiag_src, &l->ip);
	l->wildcard = addr_is_any(&l->ip);
	l->families = families_taken(l);
	return 0;
}

static int listeners_by_address(const void *a, const void *b)
{
	const struct listener *x = a, *y = b;
	int r = (x->port > y->port) - (x->port < y->port);

	if (!r)
		r = memcmp(&x->ip, &y->ip, sizeof(x->ip));
	return r ? r : (x->cookie > y->cookie) - (x->cookie < y->cookie);
}

/* A dump that was disturbed by a change may show a socket twice. */
static void sort_and_unite(struct listener_list *list)
{
	size_t kept = 0;

	if (!list->n)
		return;
	qsort(list->items, list->n, sizeof(*list->items), listeners_by_address);
	for (size_t i = 1; i < list->n; i++) {
		if (list->items[i].cookie != list->items[kept].cookie)
			list->items[++kept] = list->items[i];
	}
	list->n = kept + 1;
}

int listeners_dump(int netns_fd, struct listener **out, size_t *n)
{
	struct listener_list list = {0};
	int r = diag(netns_fd, STATE(TCP_LISTEN), 0, add_listener, &list);

	if (r) {
		free(list.items);
		return diag_error(r);
	}
	sort_and_unite(&list);
	*out = list.items;
	*n = list.n;
	return 0;
}

/* Where no socket has these addresses and ports, the kernel answers with a listener's. */
static int take_connection(const struct inet_diag_msg *m, struct nlattr **attributes, void *arg)
{
	struct diag_connection *of = arg;

	(void)attributes;
	of->state = m->idiag_state;
	of->inode = m->idiag_inode;
	of->cookie = diag_cookie(m);
	return 0;
}

static void diag_raw(const struct addr *ip, bool v4, __be32 *raw)
{
	memcpy(raw, ip->bytes + (v4 ? 12 : 0), v4 ? 4 : 16);
}

int connection_find(int netns_fd, struct diag_connection *of)
{
	bool v4 = addr_is_v4(&of->local);
	struct inet_diag_req_v2 request = {
		.sdiag_family = v4 ? AF_INET : AF_INET6,
		.sdiag_protocol = IPPROTO_TCP,
		.id = {.idiag_sport = htons(of->local_port),
		       .idiag_dport = htons(of->remote_port),
		       .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}},
	};
	_cleanup_(nl_msg_freep) struct nl_msg *msg = nlmsg_alloc_simple(SOCK_DIAG_BY_FAMILY, 0);
	struct diag d = {.each = take_connection, .arg = of};
	int r;

	diag_raw(&of->local, v4, request.id.idiag_src);
	diag_raw(&of->remote, v4, request.id.idiag_dst);
	of->state = TCP_LISTEN;
	if (!msg || nlmsg_append(msg, &request, sizeof(request), NLMSG_ALIGNTO) < 0)
		return -ENOMEM;
	r = netlink_ask(netns_fd, NETLINK_SOCK_DIAG, msg, diag_answer, &d);
	if (r && r != -ENOENT)
		return r;
	return !r && of->state != TCP_LISTEN;
}

struct connection_dump {
	int (*each)(const struct diag_connection *c, void *arg);
	void *arg;
	int stopped;
};

static int give_connection(const struct inet_diag_msg *m, struct nlattr **attributes, void *arg)
{
	struct connection_dump *dump = arg;
	struct diag_connection c = {
		.local_port = ntohs(m->id.idiag_sport),
		.remote_port = ntohs(m->id.idiag_dport),
		.state = m->idiag_state,
		.mptcp = diag_is_mptcp(attributes),
		.inode = m->idiag_inode,
		.cookie = diag_cookie(m),
	};

	if (m->idiag_timer == TIMER_TIME_WAIT || m->idiag_state > TCP_CLOSING ||
	    !(connection_states & STATE(m->idiag_state)))
		return 0;
	diag_address(m->idiag_family, m->id.idiag_src, &c.local);
	diag_address(m->idiag_family, m->id.idiag_dst, &c.remote);
	dump->stopped = dump->each(&c, dump->arg);
	return dump->stopped;
}

int connections_dump(int netns_fd, uint16_t local_port,
		     int (*each)(const struct diag_connection *c, void *arg), void *arg)
{
	struct connection_dump dump = {.each = each, .arg = arg};
	int r = diag(netns_fd, connection_states, local_port, give_connection, &dump);

	return r && !dump.stopped ? diag_error(r) : r;
}

/* ---- the processes that hold them ------------------------------------------ */

struct wanted {
	const struct listener *listener;
	int error; /* why it was not found, as far as known; 0: found */
};

struct search {
	struct wanted *wanted; /* by inode */
	size_t n, missing;
	uint64_t netns_inode, netns_cookie;
	bool hidden; /* a process did not let its descriptors be read */
	listener_fn each;
	void *arg;
};

static const struct {
	int code;
	const char *says;
} listener_errors[] = {
	{ESRCH, "no process that can be seen here holds it; run in the host's PID namespace "
		"(hostPID: true)"},
	{EACCES,
	 "no process that may be looked at holds it, and some may not be; CAP_SYS_PTRACE is "
	 "missing"},
	{EPERM, "the process that holds it does not hand it out; CAP_SYS_PTRACE, or pidfd_getfd in "
		"the seccomp profile, is missing"},
	{ENOSYS, "this kernel, or the seccomp profile, has no pidfd_getfd (Linux 5.6 has it)"},
	{EPROTONOSUPPORT, "it takes MPTCP connections, which cannot be steered; in Go, set "
			  "GODEBUG=multipathtcp=0"},
	{EXDEV, "it is of another network namespace"},
	{EMFILE, "too many files are open in this process; raise LimitNOFILE"},
};

const char *listener_error(int error)
{
	for (size_t i = 0; i < ARRAY_SIZE(listener_errors); i++) {
		if (listener_errors[i].code == abs(error))
			return listener_errors[i].says;
	}
	return "its descriptor could not be fetched";
}

static int by_inode(const void *a, const void *b)
{
	const struct wanted *x = a, *y = b;

	return (x->listener->inode > y->listener->inode) -
	       (x->listener->inode < y->listener->inode);
}

static struct wanted *find_wanted(const struct search *s, const char *link)
{
	struct listener key_listener = {0};
	const struct wanted key = {.listener = &key_listener};
	char end;

	if (sscanf(link, "socket:[%u%c", &key_listener.inode, &end) != 2 || end != ']')
		return NULL;
	return bsearch(&key, s->wanted, s->n, sizeof(key), by_inode);
}

/* Between readlink() in /proc and pidfd_getfd() the process may have closed the descriptor and
 * given its number to another file, or a new process may have got the PID. So the checks must be
 * made on what was fetched; the cookie decides. */
static int verify_listener(int fd, const struct listener *l, uint64_t netns_cookie)
{
	uint64_t netns, cookie;
	int listening;
	socklen_t netns_size = sizeof(netns), cookie_size = sizeof(cookie);
	socklen_t listening_size = sizeof(listening);

	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &netns, &netns_size))
		return errno == ENOTSOCK ? -ESRCH : -errno;
	if (netns != netns_cookie)
		return -EXDEV;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &listening_size))
		return -errno;
	if (!listening)
		return -ESRCH;
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &cookie_size))
		return -errno;
	return cookie == l->cookie ? 0 : -ESRCH;
}

static void fetch_listener(struct search *s, struct wanted *w, int pidfd, int number)
{
	_cleanup_close_ int fd = pidfd_getfd(pidfd, number, 0);
	int r = fd < 0 ? -errno : verify_listener(fd, w->listener, s->netns_cookie);

	if (r == -EBADF)
		r = -ESRCH; /* closed meanwhile */
	w->error = r;
	if (r)
		return;
	assert(s->missing > 0);
	s->missing--;
	s->each(w->listener, fd, s->arg);
}

static void listeners_closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

static void search_process(struct search *s, pid_t pid)
{
	_cleanup_close_ int pidfd = -1;
	_cleanup_(listeners_closedirp) DIR *d = NULL;
	char text[64];

	snprintf(text, sizeof(text), "/proc/%d/fd", (int)pid);
	d = opendir(text);
	if (!d) {
		s->hidden |= errno == EACCES || errno == EPERM;
		return;
	}
	for (struct dirent *e; s->missing && (e = readdir(d));) {
		ssize_t size = readlinkat(dirfd(d), e->d_name, text, sizeof(text) - 1);
		struct wanted *w;

		if (size <= 0) {
			s->hidden |= size < 0 && (errno == EACCES || errno == EPERM);
			continue;
		}
		text[size] = '\0';
		w = find_wanted(s, text);
		if (!w || !w->error || w->error == -EPROTONOSUPPORT)
			continue;
		if (pidfd < 0)
			pidfd = pidfd_open(pid, 0);
		if (pidfd < 0) {
			w->error = -errno;
			return;
		}
		fetch_listener(s, w, pidfd, atoi(e->d_name));
	}
}

static bool is_in_netns(pid_t pid, uint64_t inode)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	return !stat(path, &st) && st.st_ino == inode;
}

struct pids {
	pid_t *items;
	size_t n, room;
};

static int add_pid(struct pids *p, pid_t pid)
{
	if (!ROOM_FOR_ONE(p->items, p->n, p->room, 1024))
		return -ENOMEM;
	p->items[p->n++] = pid;
	return 0;
}

/* A listener is nearly always held by a process of its own namespace. Other processes, on a node
 * with many pods most of them, are searched last, unless there is no memory to note them. */
static void search_processes(struct search *s, DIR *proc)
{
	struct pids others = {0};

	for (struct dirent *e; s->missing && (e = readdir(proc));) {
		pid_t pid = atoi(e->d_name);

		if (pid <= 0)
			continue;
		if (is_in_netns(pid, s->netns_inode) || add_pid(&others, pid))
			search_process(s, pid);
	}
	for (size_t i = 0; i < others.n && s->missing; i++)
		search_process(s, others.items[i]);
	free(others.items);
}

static int search_prepare(struct search *s, int netns_fd, const struct listener *ls, size_t n)
{
	int r = netns_inode(netns_fd, &s->netns_inode);

	if (r)
		return log_err_r(r, "cannot read the inode of the network namespace");
	r = netns_cookie(netns_fd, &s->netns_cookie);
	if (r)
		return r;
	s->wanted = calloc(n ? n : 1, sizeof(*s->wanted));
	if (!s->wanted)
		return log_err_r(ENOMEM, "cannot look for %zu listeners", n);
	s->n = n;
	for (size_t i = 0; i < n; i++) {
		s->wanted[i].listener = &ls[i];
		s->wanted[i].error = ls[i].mptcp ? -EPROTONOSUPPORT : -ESRCH;
		s->missing += !ls[i].mptcp;
	}
	qsort(s->wanted, n, sizeof(*s->wanted), by_inode);
	return 0;
}

static int give_errors(const struct search *s)
{
	int found = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct wanted *w = &s->wanted[i];

		if (!w->error)
			found++;
		else if (w->error == -ESRCH && s->hidden)
			s->each(w->listener, -EACCES, s->arg);
		else
			s->each(w->listener, w->error, s->arg);
	}
	return found;
}

int listeners_fetch(int netns_fd, const struct listener *ls, size_t n, listener_fn each, void *arg)
{
	_cleanup_(listeners_closedirp) DIR *proc = opendir("/proc");
	struct search s = {.each = each, .arg = arg};
	int r;

	if (!proc)
		return log_err_r(errno, "cannot read /proc");
	r = search_prepare(&s, netns_fd, ls, n);
	if (r)
		return r;
	search_processes(&s, proc);
	r = give_errors(&s);
	free(s.wanted);
	return r;
}
