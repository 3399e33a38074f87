// SPDX-License-Identifier: Apache-2.0
#include "load_timers.h"

#include <sys/timerfd.h>

#include "../../userspace/base/log.h"
#include "../../userspace/base/util.h"

/* -- the heap: each timer is no later than its two children at 2i and 2i + 1 --------- */

static bool before(const struct load_timer *a, const struct load_timer *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void put(struct load_timers *t, size_t place, struct load_timer *timer)
{
	t->heap[place] = timer;
	timer->place = place;
}

static void settle(struct load_timers *t, size_t place, struct load_timer *timer)
{
	while (place > 1 && before(timer, t->heap[place / 2])) {
		put(t, place, t->heap[place / 2]);
		place /= 2;
	}
	for (;;) {
		size_t child = 2 * place;

		if (child < t->count && before(t->heap[child + 1], t->heap[child]))
			child++;
		if (child > t->count || !before(t->heap[child], timer))
			break;
		put(t, place, t->heap[child]);
		place = child;
	}
	put(t, place, timer);
}

int load_timer_set(struct load_timers *t, struct load_timer *timer, uint64_t at_ns)
{
	load_timer_clear(t, timer);
	if (t->count + 1 >= t->room) {
		size_t room = t->room ? 2 * t->room : 1024;
		struct load_timer **heap = reallocarray(t->heap, room, sizeof(struct load_timer *));

		if (!heap)
			return -ENOMEM;
		t->heap = heap;
		t->room = room;
	}
	timer->at_ns = at_ns;
	timer->order = t->order++;
	t->count++;
	settle(t, t->count, timer);
	return 0;
}

void load_timer_clear(struct load_timers *t, struct load_timer *timer)
{
	size_t place = timer->place;

	if (!place)
		return;
	timer->place = 0;
	t->count--;
	if (place <= t->count)
		settle(t, place, t->heap[t->count + 1]);
}

void load_timers_run(struct load_timers *t, uint64_t now_ns)
{
	while (t->count && t->heap[1]->at_ns <= now_ns) {
		struct load_timer *timer = t->heap[1];

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

/* Once before the loop waits, however often the first of the heap has changed. */
static void on_prepare(uv_prepare_t *prepare)
{
	struct load_timers *t = prepare->data;
	uint64_t at = t->count ? MAX(t->heap[1]->at_ns, (uint64_t)1) : 0;
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
	while (t->count) /* whoever fires them may still be on the stack */
		t->heap[t->count--]->place = 0;
	uv_close((uv_handle_t *)&t->poll, NULL);
	uv_close((uv_handle_t *)&t->prepare, NULL);
}

void load_timers_free(struct load_timers *t)
{
	if (t->fd >= 0)
		close(t->fd);
	free(t->heap);
	*t = (struct load_timers){.fd = -1};
}
