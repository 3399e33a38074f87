/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mixture.c - TCP clients that begin and end in all possible ways, at random. Their servers are
 * peer.c.
 *
 *   mixture N SEED CGROUP TARGET...
 *
 * Makes N attempts, in several threads and their children, which make cgroups below CGROUP. TARGET
 * is NAME,KIND,WEIGHT,IPV4,IPV6,PORT; the first target must be plain, and answer.
 *
 * Lines on stdin are orders: `pause`, `go`, `quit`. Once nothing moves, `pause` is answered with
 * "paused" or, after N attempts, "ended", and with NAME=COUNT: the sockets that were placed and not
 * opened, and wait for another connect() or a close(). `quit` closes everything.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define COUNT(table) (sizeof(table) / sizeof(*(table)))

static const struct linger hard = {.l_onoff = 1};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- targets ----------------------------------------------------------------------- */

enum kind {
	PLAIN,
	HOLE,      /* answers nothing */
	FASTOPEN,  /* with MSG_FASTOPEN */
	DEFERRED,  /* with TCP_FASTOPEN_CONNECT */
	MULTIPATH, /* MPTCP */
	FIXED,     /* from a local port that other sockets use, too */
	KINDS
};
static const char *const kinds[KINDS] = {"plain",    "hole",      "fastopen",
					 "deferred", "multipath", "fixed"};

enum family { V4, V6, MAPPED, FAMILIES };

struct target {
	const char *name;
	enum kind kind;
	unsigned int weight;
	struct sockaddr_storage to[FAMILIES];
};
static struct target targets[16];
static unsigned int target_count, weights;

static void parse(const char *address, const char *port, struct sockaddr_storage *to)
{
	struct sockaddr_in *v4 = (void *)to;
	struct sockaddr_in6 *v6 = (void *)to;

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)atoi(port));
		return;
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)atoi(port));
	if (inet_pton(AF_INET6, address, &v6->sin6_addr) != 1)
		die(address);
}

static void parse_target(char *text)
{
	struct target *t = &targets[target_count++];
	const char *word, *v4, *v6;
	char mapped[64];

	t->name = strsep(&text, ",");
	word = strsep(&text, ",");
	while (t->kind < KINDS && strcmp(word, kinds[t->kind]) != 0)
		t->kind++;
	t->weight = (unsigned int)atoi(strsep(&text, ","));
	v4 = strsep(&text, ",");
	v6 = strsep(&text, ",");
	if (!text || t->kind == KINDS || target_count == COUNT(targets))
		die("target");
	snprintf(mapped, sizeof(mapped), "::ffff:%s", v4);
	parse(v4, text, &t->to[V4]);
	parse(v6, text, &t->to[V6]);
	parse(mapped, text, &t->to[MAPPED]);
	weights += t->weight;
}

/* ---- one socket --------------------------------------------------------------------- */

#define SLOTS   24
#define THREADS 3

struct slot {
	int fd; /* -1: none */
	const struct target *target;
	enum family family;
	bool nonblocking;
	bool unopened; /* placed, and neither opened nor given up */
	bool deferred; /* the first write connects */
	bool used;     /* has sent a SYN before */
};

struct worker {
	pthread_t thread;
	uint64_t random;
	struct slot slots[SLOTS];
};
static struct worker workers[THREADS];
static atomic_long attempts;
static long attempts_wanted;
static atomic_int pausing, resting, stopping;
static const char *cgroup;

static unsigned int below(struct worker *w, unsigned int n)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (unsigned int)(w->random >> 11) % n;
}

static int state_of(int fd)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof(info);

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
	return info.tcpi_state;
}

/* Without a route, a port or permission no SYN was sent. But with EADDRNOTAVAIL, a socket that was
 * used before has been in SYN_SENT, which the kernel reports to sockops. */
static bool never_left(const struct slot *s, int error)
{
	return error == ENETUNREACH || error == EHOSTUNREACH || error == EPERM ||
	       (error == EADDRNOTAVAIL && !s->used);
}

static void attempt(struct worker *w, struct slot *s, const struct target *t)
{
	const struct sockaddr *to = (const struct sockaddr *)&t->to[s->family];
	socklen_t size = s->family == V4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	int error = 0;

	attempts++;
	s->target = t;
	if (t->kind == FASTOPEN) {
		if (sendto(s->fd, "E", below(w, 5) ? 1 : 0, MSG_FASTOPEN | MSG_NOSIGNAL, to, size) <
		    0)
			error = errno;
	} else if (connect(s->fd, to, size)) {
		error = errno;
	}
	s->unopened = never_left(s, error);
	s->deferred = !error && t->kind == DEFERRED && state_of(s->fd) == TCP_SYN_SENT;
	s->used |= !s->unopened && !s->deferred;
}

static void bind_fixed(struct slot *s, uint16_t port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int on = 1;

	setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (s->family == V4)
		bind(s->fd, (struct sockaddr *)&v4, sizeof(v4));
	else
		bind(s->fd, (struct sockaddr *)&v6, sizeof(v6));
}

static const struct target *any_target(struct worker *w)
{
	unsigned int at = below(w, weights), i = 0;

	while (at >= targets[i].weight)
		at -= targets[i++].weight;
	return &targets[i];
}

static void begin(struct worker *w, struct slot *s)
{
	const struct timeval patience = {.tv_usec = 300000}, haste = {.tv_usec = 3000};
	const struct target *t = any_target(w);
	int on = 1;

	*s = (struct slot){.family = below(w, FAMILIES), .nonblocking = !below(w, 3)};
	if (t->kind == DEFERRED)
		s->nonblocking = false;
	s->fd = socket(s->family == V4 ? AF_INET : AF_INET6,
		       SOCK_STREAM | SOCK_CLOEXEC | (s->nonblocking ? SOCK_NONBLOCK : 0),
		       t->kind == MULTIPATH ? IPPROTO_MPTCP : 0);
	if (s->fd < 0)
		die("socket");
	setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (t->kind == HOLE && below(w, 4))
		setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &haste, sizeof(haste));
	if (t->kind == DEFERRED)
		setsockopt(s->fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on));
	if (t->kind == FIXED)
		bind_fixed(s, (uint16_t)(5000 + below(w, 4)));
	attempt(w, s, t);
}

/* ---- steps of a socket ------------------------------------------------------------------ */

static bool simple(const struct slot *s)
{
	return s->target->kind != DEFERRED && s->target->kind != MULTIPATH;
}

static void say(struct slot *s, char order)
{
	if (s->deferred)
		s->used = true;
	s->deferred = false;
	send(s->fd, &order, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void hear(struct slot *s)
{
	char buf[64];

	recv(s->fd, buf, sizeof(buf), s->target->kind == PLAIN ? 0 : MSG_DONTWAIT);
}

static void do_close(struct worker *w, struct slot *s)
{
	(void)w;
	close(s->fd);
	s->fd = -1;
}

static void do_reset(struct worker *w, struct slot *s)
{
	setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	do_close(w, s);
}

static void do_ask_reset_and_close(struct worker *w, struct slot *s)
{
	say(s, 'R');
	do_close(w, s);
}

static void do_ask_reset(struct worker *w, struct slot *s)
{
	(void)w;
	say(s, 'R');
	hear(s);
}

static void do_ask_close(struct worker *w, struct slot *s)
{
	(void)w;
	say(s, 'F');
	hear(s);
}

static void do_half_close(struct worker *w, struct slot *s)
{
	(void)w;
	if (!s->deferred)
		shutdown(s->fd, SHUT_WR);
}

static void do_ask_half_close(struct worker *w, struct slot *s)
{
	(void)w;
	say(s, 'H');
}

/* Leaves the socket in FIN_WAIT2 until the server closes. */
static void do_leave(struct worker *w, struct slot *s)
{
	say(s, 'Z');
	shutdown(s->fd, SHUT_WR);
	do_close(w, s);
}

static void do_disconnect(struct worker *w, struct slot *s)
{
	const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};

	if (!simple(s)) {
		do_close(w, s);
		return;
	}
	connect(s->fd, &nowhere, sizeof(nowhere));
	attempt(w, s, below(w, 2) ? &targets[0] : s->target);
}

/* Calls connect() again; where that is not possible, nothing changes. */
static void do_again(struct worker *w, struct slot *s)
{
	int error;
	socklen_t size = sizeof(error);

	if (!simple(s) || state_of(s->fd) != TCP_CLOSE)
		return;
	getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	attempt(w, s, below(w, 2) ? &targets[0] : s->target);
}

static void do_duplicate(struct worker *w, struct slot *s)
{
	int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);

	(void)w;
	close(s->fd);
	s->fd = fd;
}

static void do_pass_on(struct worker *w, struct slot *s)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	char byte = 'x';
	struct iovec data = {&byte, 1};
	struct msghdr m = {.msg_iov = &data,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = sizeof(control)};
	int pair[2];

	(void)w;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	control.head = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.head), &s->fd, sizeof(int));
	if (sendmsg(pair[0], &m, 0) != 1)
		die("sendmsg");
	close(s->fd);
	while (recvmsg(pair[1], &m, MSG_CMSG_CLOEXEC) != 1)
		if (errno != EINTR)
			die("recvmsg");
	memcpy(&s->fd, CMSG_DATA(&control.head), sizeof(int));
	close(pair[0]);
	close(pair[1]);
}

static void do_echo(struct worker *w, struct slot *s)
{
	(void)w;
	say(s, 'E');
	hear(s);
}

static const struct {
	unsigned int weight;
	void (*run)(struct worker *w, struct slot *s);
} actions[] = {
	{36, do_close},     {7, do_reset},      {8, do_ask_reset_and_close}, {6, do_ask_reset},
	{5, do_ask_close},  {5, do_half_close}, {4, do_ask_half_close},      {3, do_leave},
	{6, do_disconnect}, {7, do_again},      {3, do_duplicate},           {3, do_pass_on},
	{7, do_echo},
};

static void act(struct worker *w, struct slot *s)
{
	unsigned int at = below(w, 100), i = 0;

	/* A few are left to time out. */
	if (s->target->kind == HOLE && below(w, s < &w->slots[3] ? 500 : 3) &&
	    state_of(s->fd) == TCP_SYN_SENT)
		return;
	while (at >= actions[i].weight)
		at -= actions[i++].weight;
	actions[i].run(w, s);
}

/* ---- children ----------------------------------------------------------------------------
 */

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static int open_in_child(const struct target *t)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	connect(fd, (const struct sockaddr *)&t->to[V4], sizeof(struct sockaddr_in));
	return fd;
}

/* A child that dies with its connections open, or while it opens one. */
static void child_dies(void)
{
	for (int i = 0; i < 6; i++)
		open_in_child(&targets[0]);
	pause();
}

/* A child whose cgroup is removed before its connections end. */
static void child_moves(void)
{
	char group[256], procs[300], home[300];
	int fds[6];

	snprintf(group, sizeof(group), "%s/%d", cgroup, (int)getpid());
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", group);
	snprintf(home, sizeof(home), "%s/cgroup.procs", cgroup);
	if (mkdir(group, 0755))
		die(group);
	put(procs, "0");
	for (int i = 0; i < 6; i++)
		fds[i] = open_in_child(&targets[0]);
	put(home, "0");
	if (rmdir(group))
		die(group);
	for (int i = 0; i < 6; i++) {
		send(fds[i], "R", 1, MSG_NOSIGNAL);
		if (i & 1)
			close(fds[i]);
	}
}

static void child(struct worker *w, bool moves)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (moves)
			child_moves();
		else
			child_dies();
		_exit(0);
	}
	attempts += 6;
	if (!moves) {
		usleep(500 + below(w, 4000));
		kill(pid, SIGKILL);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid");
	if (moves && status) {
		fprintf(stderr, "a child ended with %d\n", status);
		exit(1);
	}
}

/* ---- in all --------------------------------------------------------------------------------
 */

static void rest(void)
{
	resting++;
	while (pausing && !stopping)
		usleep(200);
	resting--;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < SLOTS; i++)
		w->slots[i].fd = -1;
	while (!stopping) {
		struct slot *s = &w->slots[below(w, SLOTS)];
		unsigned int dice = below(w, 2000);

		if (pausing || attempts >= attempts_wanted) {
			if (pausing)
				rest();
			usleep(200);
			continue;
		}
		if (s->fd < 0)
			begin(w, s);
		else
			act(w, s);
		if (dice < 6)
			child(w, dice < 2);
	}
	for (int i = 0; i < SLOTS; i++)
		if (w->slots[i].fd >= 0)
			close(w->slots[i].fd);
	return NULL;
}

static void report(void)
{
	printf(attempts >= attempts_wanted ? "ended" : "paused");
	for (unsigned int t = 0; t < target_count; t++) {
		int n = 0;

		for (int i = 0; i < THREADS; i++)
			for (int j = 0; j < SLOTS; j++) {
				const struct slot *s = &workers[i].slots[j];

				n += s->fd >= 0 && s->target == &targets[t] &&
				     (s->unopened || s->deferred);
			}
		printf(" %s=%d", targets[t].name, n);
	}
	printf(" attempts=%ld\n", (long)attempts);
	fflush(stdout);
}

static void on_signal(int number)
{
	(void)number;
}

/* Interrupts the system calls of all workers now and then. */
static void *interrupt(void *arg)
{
	for (unsigned int i = 0; !stopping; i++) {
		usleep(3000);
		pthread_kill(workers[i % THREADS].thread, SIGUSR1);
	}
	return arg;
}

static void run(uint64_t seed)
{
	const struct sigaction action = {.sa_handler = on_signal};
	pthread_t interrupter;
	char line[16];

	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < THREADS; i++) {
		workers[i].random = (seed * THREADS + (uint64_t)i + 1) * 0x9e3779b97f4a7c15ULL;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			die("pthread_create");
	}
	if (pthread_create(&interrupter, NULL, interrupt, NULL))
		die("pthread_create");
	while (fgets(line, sizeof(line), stdin) && *line != 'q') {
		pausing = *line == 'p';
		while (pausing && resting < THREADS)
			usleep(200);
		while (!pausing && resting)
			usleep(200);
		if (pausing)
			report();
	}
	stopping = 1;
	pthread_join(interrupter, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		fprintf(stderr, "usage: mixture N SEED CGROUP TARGET...\n");
		return 2;
	}
	attempts_wanted = atol(argv[1]);
	cgroup = argv[3];
	for (int i = 4; i < argc; i++)
		parse_target(argv[i]);
	run(strtoull(argv[2], NULL, 10));
	return 0;
}
