/* SPDX-License-Identifier: Apache-2.0 */
#include "following.h"

#include <bpf/libbpf.h>
#include <limits.h>
#include <poll.h>

#include "../base/log.h"
#include "output.h"

#define TICK_MSEC 200 /* the follower ends at most so long after a signal */

volatile sig_atomic_t following_stopped;

static void following_stop(int signal_number)
{
	(void)signal_number;
	following_stopped = 1;
}

void following_catch(int flags)
{
	/* Without SA_RESTART: the wait for the ring ends at once. */
	struct sigaction a = {.sa_handler = following_stop, .sa_flags = flags};

	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	sigaction(SIGHUP, &a, NULL);
}

int following_names(struct following *f)
{
	struct state *s = NULL;
	int err = event_clients_read(f->m, &f->clients);

	if (!err)
		err = state_read(f->m, &s);
	if (err)
		return log_err_r(err, "cannot go on following");
	state_free(f->s);
	f->s = s;
	return 0;
}

void following_free(struct following *f)
{
	state_free(f->s);
	event_clients_free(&f->clients);
}

int following_pinned(const struct following *f)
{
	char dir[PATH_MAX];

	maps_dir(f->cli->bpffs, dir, sizeof(dir));
	if (!access(dir, F_OK))
		return 0;
	log_error("the pins under %s are gone", f->cli->bpffs);
	return -ENOENT;
}

int following_print_json(const struct columns *c, const void *row)
{
	cJSON *object = columns_object(c, row, NULL);
	char *text = object ? cJSON_PrintUnformatted(object) : NULL;

	cJSON_Delete(object);
	if (!text)
		return -ENOMEM;
	puts(text);
	cJSON_free(text);
	return 0;
}

static bool reader_is_gone(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO};

	return poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLNVAL);
}

int following_run(struct following *f, struct ring_buffer **ring, int (*renew)(void *arg),
		  void *arg)
{
	while (!following_stopped && !f->broken) {
		int err;

		if (renew(arg))
			return EXIT_FAILED;
		err = ring_buffer__poll(*ring, TICK_MSEC);
		if (err < 0 && err != -EINTR) {
			log_err_r(err, "cannot read the ring");
			return EXIT_FAILED;
		}
		if (fflush(stdout) || ferror(stdout))
			break;
		f->broken |= reader_is_gone();
	}
	/* A reader that went away, such as head(1), has what it wanted; a disk that is full has
	 * not. */
	return output_finish();
}
