// SPDX-License-Identifier: Apache-2.0
/* load_run.c - a run's phases, its start and its end. */
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "../../userspace/base/files.h"
#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"
#include "load_internal.h"

/* -- the end ---------------------------------------------------------------------- */

/* Once libuv's handles are closed, SIGINT and SIGTERM would kill the process again. A user who
 * presses Ctrl-C twice must not lose the report. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void run_close(struct run *run)
{
	if (run->closing)
		return;
	run->closing = true;
	block_signals();
	while (!LIST_EMPTY(&run->requests))
		request_drop(LIST_FIRST(&run->requests));
	while (!LIST_EMPTY(&run->sessions))
		session_free(LIST_FIRST(&run->sessions));
	client_close(&run->client);
	load_timers_close(&run->timers);
	for (size_t i = 0; i < ARRAY_SIZE(run->signals); i++)
		uv_close((uv_handle_t *)&run->signals[i], NULL);
	/* A callback of libcurl may be on the stack: load_run() frees the servers after the loop.
	 */
	uv_stop(&run->loop);
}

void run_maybe_end(struct run *run)
{
	if (run->stopping && !run->reading && !run->measured_live)
		run_close(run);
}

static void on_read_end(void *arg)
{
	struct run *run = arg;

	run->reading = false;
	run_maybe_end(run);
}

/* Lets no session and no turn begin any more; requests under way go on. */
static void run_stop(struct run *run)
{
	if (run->stopping || run->closing)
		return;
	run->stopping = true;
	if (run->servers && run->started) {
		load_servers_cancel(run->servers);
		run->reading = true;
		load_servers_read(run->servers, 1, on_read_end, run);
	}
	run_maybe_end(run);
}

void run_failed(struct run *run, int error)
{
	if (!run->error)
		run->error = log_err_r(error, "the run ends early");
	run_close(run);
}

void run_set_timer(struct run *run, struct load_timer *timer, uint64_t at_ns)
{
	if (load_timer_set(&run->timers, timer, at_ns))
		run_failed(run, ENOMEM);
}

bool run_in_window(const struct run *run, uint64_t at_ns)
{
	return at_ns >= run->from_ns && at_ns < run->to_ns;
}

/* -- phases ----------------------------------------------------------------------- */

static void on_window_begins(struct load_timer *t)
{
	struct run *run = (struct run *)((char *)t - offsetof(struct run, window_begins));

	if (!run->servers)
		return;
	run->reading = true;
	load_servers_read(run->servers, 0, on_read_end, run);
}

static void on_window_ends(struct load_timer *t)
{
	run_stop((struct run *)((char *)t - offsetof(struct run, window_ends)));
}

static void show_progress(const struct run *run, uint64_t now_ns)
{
	_cleanup_free_ struct stats_row *total = calloc(1, sizeof(*total));
	size_t second = (size_t)((now_ns - run->start_ns) / NSEC_PER_SEC);
	uint32_t pieces = 0;

	if (!total)
		return;
	if (second && second <= run->stats.second_count)
		pieces = run->stats.seconds[second - 1].pieces;
	stats_total(&run->stats, total);
	fprintf(stderr,
		"\r\033[K%zu s%s: %u in flight, %ju ok, %ju errors, %u tokens/s, TTFT p50 %.0f ms, "
		"p95 %.0f ms",
		second,
		now_ns < run->from_ns ? " (warm-up)"
		: run->stopping       ? " (waiting for the last)"
				      : "",
		run->live, (uintmax_t)total->outcomes[LOAD_OK], (uintmax_t)stats_errors(total),
		pieces, (double)durations_quantile(&total->ttft, 0.5) * 1e-6,
		(double)durations_quantile(&total->ttft, 0.95) * 1e-6);
}

static void on_tick(struct load_timer *t)
{
	struct run *run = (struct run *)((char *)t - offsetof(struct run, tick));

	show_progress(run, t->at_ns);
	run_set_timer(run, t, t->at_ns + NSEC_PER_SEC);
}

static void run_start(struct run *run)
{
	const struct run_config *config = run->config;

	run->started = true;
	run->start_ns = monotonic_ns();
	run->from_ns = run->start_ns + config->warmup_ns;
	run->to_ns = run->from_ns + config->duration_ns;
	run->client.now_ns = run->start_ns;
	if (config->warmup_ns)
		run_set_timer(run, &run->window_begins, run->from_ns);
	run_set_timer(run, &run->window_ends, run->to_ns);
	if (config->progress)
		run_set_timer(run, &run->tick, run->start_ns + NSEC_PER_SEC);
	if (config->trace) {
		trace_start(run);
		return;
	}
	for (size_t i = 0; i < config->workload->class_count && !run->closing; i++)
		class_start(&run->classes[i]);
}

/* Without a warm-up, the servers' counters are read before the first request. */
static void on_first_read(void *arg)
{
	struct run *run = arg;

	run->reading = false;
	if (run->stopping)
		run_close(run);
	else
		run_start(run);
}

/* The first signal ends the run with what has been measured; the second ends it without waiting for
 * the servers' pages. */
static void on_signal(uv_signal_t *signal, int number)
{
	struct run *run = signal->data;
	uint64_t now_ns = monotonic_ns();

	(void)number;
	if (run->interrupted || !run->started) {
		run->interrupted = true;
		run_close(run);
		return;
	}
	run->interrupted = true;
	if (!run->stopping)
		run->to_ns = MAX(now_ns, run->from_ns);
	run_stop(run);
	while (!LIST_EMPTY(&run->requests) && !run->closing)
		request_break(LIST_FIRST(&run->requests), LOAD_CANCELLED);
}

/* -- setting up ------------------------------------------------------------------- */

static int make_classes(struct run *run)
{
	const struct run_config *config = run->config;
	size_t count = config->workload->class_count;

	run->classes = calloc(count, sizeof(*run->classes));
	if (!run->classes)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const struct workload_class *c = &config->workload->classes[i];
		struct class_state *class = &run->classes[i];

		*class = (struct class_state){.run = run, .c = c, .index = (unsigned int)i};
		class->timer.fire = class_on_arrival;
		class->source = source_slice(&config->source, (unsigned int)i, (unsigned int)count);
		rng_init(&class->arrivals, config->seed, ~(uint64_t)i, 0);
		if (zipf_init(&class->groups, (uint32_t)MAX(c->groups, 1), c->zipf))
			return -ENOMEM;
	}
	if (config->trace) {
		run->trace_sessions =
			calloc(config->trace->sessions, sizeof(struct client_session *));
		if (!run->trace_sessions)
			return -ENOMEM;
	}
	return 0;
}

static int run_prepare(struct run *run)
{
	const struct run_config *config = run->config;
	int err = stats_init(&run->stats, config->workload->class_count);

	if (!err)
		err = make_classes(run);
	if (err)
		return log_err_r(err, "no memory for the run");
	for (size_t i = 0; i < config->workload->class_count; i++)
		snprintf(run->stats.classes[i].name, sizeof(run->stats.classes[i].name), "%s",
			 config->workload->classes[i].name);
	if (config->server_count)
		err = load_servers_new(&run->loop, config->servers, config->server_count,
				       &run->servers);
	if (!err)
		err = load_timers_init(&run->timers, &run->loop);
	return err;
}

static void run_begin(struct run *run)
{
	static const int numbers[] = {SIGINT, SIGTERM};

	client_init(&run->client);
	for (size_t i = 0; i < ARRAY_SIZE(run->signals); i++) {
		uv_signal_init(&run->loop, &run->signals[i]);
		run->signals[i].data = run;
		uv_signal_start(&run->signals[i], on_signal, numbers[i]);
	}
	run->window_begins.fire = on_window_begins;
	run->window_ends.fire = on_window_ends;
	run->trace_timer.fire = trace_on_due;
	run->tick.fire = on_tick;
	if (run->servers && !run->config->warmup_ns) {
		run->reading = true;
		load_servers_read(run->servers, 0, on_first_read, run);
	} else {
		run_start(run);
	}
}

static void result_write(struct run *run, struct run_result *out)
{
	struct rusage usage;
	uint64_t now_ns = monotonic_ns();

	getrusage(RUSAGE_SELF, &usage);
	*out = (struct run_result){
		.stats = run->stats,
		.elapsed_ns = run->started ? now_ns - run->start_ns : 0,
		.window_ns = run->to_ns - run->from_ns,
		.interrupted = run->interrupted,
		.connections = run->client.made,
		.reused = run->client.reused,
		.retried = run->client.retried,
		.cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
			       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6,
	};
}

int load_run(const struct run_config *config, struct run_result *out)
{
	_cleanup_free_ struct run *run = calloc(1, sizeof(*run));
	int err;

	if (!run)
		return log_err_r(ENOMEM, "no memory for the run");
	run->config = config;
	run->timers.fd = -1;
	run->client.target = config->target;
	run->client.loop = &run->loop;
	files_raise_limit();
	uv_loop_init(&run->loop);
	err = run_prepare(run);
	if (!err) {
		run_begin(run);
		if (!run->closing)
			uv_run(&run->loop, UV_RUN_DEFAULT);
		err = run->error;
	}
	if (config->progress)
		fprintf(stderr, "\r\033[K");
	load_servers_free(run->servers);
	while (uv_run(&run->loop, UV_RUN_DEFAULT)) /* uv_stop() cuts one call short, even a later */
		;
	uv_loop_close(&run->loop);
	load_timers_free(&run->timers);
	if (err)
		stats_free(&run->stats);
	else
		result_write(run, out);
	for (size_t i = 0; run->classes && i < config->workload->class_count; i++)
		zipf_free(&run->classes[i].groups);
	free(run->classes);
	free(run->trace_sessions);
	return err;
}
