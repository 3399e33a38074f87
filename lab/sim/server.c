// SPDX-License-Identifier: Apache-2.0
/* server.c - the servers of one process, the passing of time, start and end. */
#include "server.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>

#include "../../userspace/base/files.h"
#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "server_internal.h"

#define BACKLOG       2048 /* as vLLM's */
#define LAST_WORDS_MS 1000 /* after a signal, for answers to reach their clients */

/* -- time ------------------------------------------------------------------- */

uint64_t server_now(const struct server *s)
{
	uint64_t real = monotonic_ns() - s->sim->start_ns;

	return (uint64_t)((double)real * s->sim->c->speed);
}

/* Sets the timer for the model's next event. A timerfd, because libuv's timers count whole
 * milliseconds and a step takes only about six. */
static void server_arm(struct server *s)
{
	uint64_t next = model_next(s->model), at;
	struct itimerspec spec = {};

	if (next == s->armed_ns)
		return;
	s->armed_ns = next;
	if (next != MODEL_NEVER) {
		/* Rounded up: a wake-up just before the event would find nothing to do. */
		at = s->sim->start_ns + (uint64_t)ceil((double)next / s->sim->c->speed) + 1;
		spec.it_value.tv_sec = (time_t)(at / NSEC_PER_SEC);
		spec.it_value.tv_nsec = (long)(at % NSEC_PER_SEC);
	}
	timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

void server_settle(struct server *s)
{
	while (s->dirty) {
		struct conn *c = s->dirty;

		s->dirty = c->dirty_next;
		c->dirty = false;
		conn_settle(c);
	}
	adapters_note(s);
	server_arm(s);
}

static void on_wake(uv_poll_t *poll, int status, int events)
{
	struct server *s = poll->data;
	uint64_t expired;

	(void)status;
	(void)events;
	if (read(s->timer_fd, &expired, sizeof(expired)) < 0 && errno == EAGAIN)
		return;
	s->armed_ns = MODEL_NEVER;
	model_advance(s->model, server_now(s));
	server_settle(s);
}

/* -- start ------------------------------------------------------------------ */

static void server_announce(struct server *s)
{
	struct sockaddr_storage address;
	int size = sizeof(address);
	char host[64] = "";
	unsigned int port = 0;

	if (!uv_tcp_getsockname(&s->listener, (struct sockaddr *)&address, &size)) {
		if (address.ss_family == AF_INET6) {
			uv_ip6_name((struct sockaddr_in6 *)&address, host, sizeof(host));
			port = ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
		} else {
			uv_ip4_name((struct sockaddr_in *)&address, host, sizeof(host));
			port = ntohs(((struct sockaddr_in *)&address)->sin_port);
		}
	}
	printf("%s %s%s%s:%u\n", s->c->name, strchr(host, ':') ? "[" : "", host,
	       strchr(host, ':') ? "]" : "", port);
	fflush(stdout);
}

static int server_listen(struct server *s)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} address;
	int err = uv_ip4_addr(s->c->host, s->c->port, &address.v4);

	if (err)
		err = uv_ip6_addr(s->c->host, s->c->port, &address.v6);
	if (!err)
		err = uv_tcp_bind(&s->listener, &address.any, 0);
	if (!err)
		err = uv_listen((uv_stream_t *)&s->listener, BACKLOG, conn_accept);
	if (err)
		return log_err_r(err, "%s: cannot listen on %s port %u", s->c->name, s->c->host,
				 s->c->port);
	server_announce(s);
	return 0;
}

static void on_started(uv_timer_t *timer)
{
	struct server *s = timer->data;
	int err;

	s->ready = true;
	if (s->c->startup_503)
		return;
	err = server_listen(s);
	if (err) {
		s->sim->error = err;
		uv_stop(&s->sim->loop);
	}
}

static int server_start(struct server *s)
{
	const char *what = "";
	int err = model_new(&s->c->engine, job_event, job_steps, s, &s->model, &what);

	if (err)
		return log_err_r(err, "%s: %s", s->c->name, what);
	metrics_init(&s->metrics);
	s->armed_ns = MODEL_NEVER;
	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->timer_fd < 0)
		return log_err_r(errno, "timerfd");
	uv_tcp_init(&s->sim->loop, &s->listener);
	uv_poll_init(&s->sim->loop, &s->wake, s->timer_fd);
	uv_timer_init(&s->sim->loop, &s->startup);
	s->listener.data = s->wake.data = s->startup.data = s;
	uv_poll_start(&s->wake, UV_READABLE, on_wake);
	model_set_slow(s->model, 0, s->c->slow);
	if (s->c->startup_ns)
		uv_timer_start(&s->startup, on_started,
			       (uint64_t)((double)s->c->startup_ns / s->sim->c->speed / 1e6), 0);
	else
		s->ready = true;
	return s->ready || s->c->startup_503 ? server_listen(s) : 0;
}

/* -- end -------------------------------------------------------------------- */

static void close_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void sim_end(struct sim *sim)
{
	for (unsigned int i = 0; i < sim->c->count; i++)
		while (sim->servers[i].conns)
			conn_close(sim->servers[i].conns);
	uv_walk(&sim->loop, close_handle, NULL);
}

static void on_deadline(uv_timer_t *timer)
{
	sim_end(timer->data);
}

void sim_maybe_end(struct sim *sim)
{
	for (unsigned int i = 0; i < sim->c->count; i++)
		if (sim->servers[i].conns)
			return;
	sim_end(sim);
}

/* Ends as vLLM does: no new connections, and each stream is cut short with a clean end. A second
 * signal ends at once. */
static void on_signal(uv_signal_t *signal, int number)
{
	struct sim *sim = signal->data;

	if (sim->stopping) {
		sim_end(sim);
		return;
	}
	log_info("signal %d: ending", number);
	sim->stopping = true;
	for (unsigned int i = 0; i < sim->c->count; i++) {
		struct server *s = &sim->servers[i];
		struct conn *next;

		uv_timer_stop(&s->startup);
		if (!uv_is_closing((uv_handle_t *)&s->listener))
			uv_close((uv_handle_t *)&s->listener, NULL);
		for (struct conn *c = s->conns; c; c = next) {
			next = c->next;
			if (c->job)
				job_cut(c->job);
			else if (!c->writing && !c->out.size)
				conn_close(c);
			else
				c->keep = false;
		}
		server_settle(s);
	}
	uv_timer_start(&sim->deadline, on_deadline, LAST_WORDS_MS, 0);
	sim_maybe_end(sim);
}

static void raise_file_limit(unsigned int servers)
{
	uint64_t limit = files_raise_limit();

	if (limit < 1024 + 2 * servers)
		log_warn("only %ju files may be open (ulimit -n): few connections will fit",
			 (uintmax_t)limit);
}

static int sim_start(struct sim *sim)
{
	int err;

	for (unsigned int i = 0; i < sim->c->count; i++) {
		struct server *s = &sim->servers[i];

		s->sim = sim;
		s->c = &sim->c->servers[i];
		s->timer_fd = -1;
		err = server_start(s);
		if (err)
			return err;
	}
	return 0;
}

int sim_run(const struct sim_config *config)
{
	struct sim sim = {.c = config, .start_ns = monotonic_ns()};
	int err;

	sim.servers = calloc(config->count, sizeof(*sim.servers));
	if (!sim.servers)
		return log_err_r(ENOMEM, "%u servers", config->count);
	raise_file_limit(config->count);
	uv_loop_init(&sim.loop);
	uv_signal_init(&sim.loop, &sim.term);
	uv_signal_init(&sim.loop, &sim.interrupt);
	uv_timer_init(&sim.loop, &sim.idle_timer);
	uv_timer_init(&sim.loop, &sim.deadline);
	sim.term.data = sim.interrupt.data = sim.idle_timer.data = sim.deadline.data = &sim;
	uv_signal_start(&sim.term, on_signal, SIGTERM);
	uv_signal_start(&sim.interrupt, on_signal, SIGINT);
	err = sim_start(&sim);
	if (!err) {
		uv_run(&sim.loop, UV_RUN_DEFAULT);
		err = sim.error;
	}
	sim_end(&sim);
	uv_run(&sim.loop, UV_RUN_DEFAULT);
	uv_loop_close(&sim.loop);
	for (unsigned int i = 0; i < config->count; i++) {
		model_free(sim.servers[i].model);
		adapters_free(&sim.servers[i]);
		if (sim.servers[i].timer_fd >= 0)
			close(sim.servers[i].timer_fd);
	}
	free(sim.servers);
	return err;
}
