// SPDX-License-Identifier: Apache-2.0
#include "load_timers.h"

#include <sys/timerfd.h>

#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"

static struct load_timer *timer_of(uint64_t what)
{
	return (struct load_timer *)(uintptr_t)what;
}

static void timer_moved(void *arg, uint64_t what, uint32_t place)
{
	(void)arg;
	timer_of(what)->place = place + 1;
}

int load_timer_set(struct load_timers *t, struct load_timer *timer, uint64_t at_ns)
{
	load_timer_clear(t, timer);
	timer->at_ns = at_ns;
	timer->order = t->order++;
	t->heap.moved = timer_moved;
	return heap_put(
		&t->heap,
		(struct heap_entry){.at = at_ns, .order = timer->order, .what = (uintptr_t)timer});
}

void load_timer_clear(struct load_timers *t, struct load_timer *timer)
{
	if (!timer->place)
		return;
	heap_take(&t->heap, timer->place - 1);
	timer->place = 0;
}

void load_timers_run(struct load_timers *t, uint64_t now_ns)
{
	while (t->heap.count && t->heap.entries[0].at <= now_ns) {
		struct load_timer *timer = timer_of(t->heap.entries[0].what);

		load_timer_clear(t, timer);
		timer->fire(timer);
	}
}

/* -- on the loop -------------------------------------------------------------------- */

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct load_timers *t = poll->data;
	uint64_t expired;

	(void)status;
	(void)events;
	if (read(t->fd, &expired, sizeof(expired)) < 0 && errno == EAGAIN)
		return;
	t->armed_ns = 0;
	load_timers_run(t, monotonic_ns());
}

/* Sets the timerfd once before the loop waits, however often the earliest timer has changed. */
static void on_prepare(uv_prepare_t *prepare)
{
	struct load_timers *t = prepare->data;
	uint64_t at = t->heap.count ? MAX(t->heap.entries[0].at, (uint64_t)1) : 0;
	struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(at / NSEC_PER_SEC),
					       .tv_nsec = (long)(at % NSEC_PER_SEC)}};

	if (at == t->armed_ns)
		return;
	t->armed_ns = at;
	timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

int load_timers_init(struct load_timers *t, uv_loop_t *loop)
{
	*t = (struct load_timers){

		.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
	if (t->fd < 0)
		return log_err_r(errno, "timerfd");
	uv_poll_init(loop, &t->poll, t->fd);
	uv_prepare_init(loop, &t->prepare);
	t->poll.data = t->prepare.data = t;
	uv_poll_start(&t->poll, UV_READABLE, on_readable);
	uv_prepare_start(&t->prepare, on_prepare);
	return 0;
}

void load_timers_close(struct load_timers *t)
{
	if (t->fd < 0)
		return;
	while (t->heap.count) /* load_timers_run() may be on the stack, and must find none left */
		load_timer_clear(t, timer_of(t->heap.entries[t->heap.count - 1].what));
	uv_close((uv_handle_t *)&t->poll, NULL);
	uv_close((uv_handle_t *)&t->prepare, NULL);
}

void load_timers_free(struct load_timers *t)
{
	if (t->fd >= 0)
		close(t->fd);
	heap_free(&t->heap);
	*t = (struct load_timers){.fd = -1};
}
