/* SPDX-License-Identifier: Apache-2.0 */
#include "seats.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <time.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/rows.h"
#include "../../policy/drift.h"
#include "pintle.skel.h"
#include "walk.h"

struct seat_row {
	struct pintle_affinity_key key;
	struct pintle_tenant before;
	int64_t wrong;
};

struct seats {
	const struct maps *m;
	struct bpf_link *link;
	int correct_fd;
	struct seat_row *rows; /* sorted by key; `wrong` is what the newest look found */
	size_t count;
	bool told;
};

static int seats_by_key(const void *left, const void *right)
{
	return memcmp(left, right, sizeof(struct pintle_affinity_key));
}

static struct seat_row *seats_row_find(struct seat_row *rows, size_t count, const void *key)
{
	return count ? bsearch(key, rows, count, sizeof(*rows), seats_by_key) : NULL;
}

/* ---- a look ---------------------------------------------------------------------- */

struct looking {
	struct seat_row *rows;
	size_t count, room;
	bool again; /* the second walk of a look: `wrong` becomes what both agree on */
	uint64_t wrong;
};

static int row_add(const void *key, const void *value, void *arg)
{
	struct looking *l = arg;

	if (!ROOM_FOR_ONE(l->rows, l->count, l->room, 64))
		return -ENOMEM;
	l->rows[l->count++] = (struct seat_row){
		.key = *(const struct pintle_affinity_key *)key,
		.before = *(const struct pintle_tenant *)value,
	};
	return 0;
}

static int row_again(const void *key, const void *value, void *arg)
{
	struct looking *l = arg;
	struct seat_row *row = seats_row_find(l->rows, l->count, key);

	if (row)
		row->before = *(const struct pintle_tenant *)value;
	return 0;
}

/* A tenant that came during the walk has no row; the next look has it. Connections over the quota
 * are in `opened` for a moment: no more than were refused by the end of the walk. */
static int row_judge(const void *key, const void *value, void *arg)
{
	const struct pintle_tenant *after = value;
	struct looking *l = arg;
	struct seat_row *row = seats_row_find(l->rows, l->count, key);
	struct drift_count before;
	int64_t wrong;

	if (!row)
		return 0;
	before.begun = row->before.opened - (after->refused - row->before.refused);
	before.ended = row->before.closed;
	wrong = drift_of(before, (struct drift_count){after->opened, after->closed},
			 after->seen - row->before.seen);
	row->wrong = l->again ? drift_agreed(row->wrong, wrong) : wrong;
	l->wrong += row->wrong != 0;
	return 0;
}

/* One walk, over tenants whose counts before it are known. */
static int walk_judge(const struct seats *s, struct looking *l)
{
	int err = walk_run(s->link);

	l->wrong = 0;
	return err ?: map_each(s->m, MAP_tenants, row_judge, l);
}

static int seats_look_once(const struct seats *s, struct looking *l)
{
	const struct timespec moment = {.tv_nsec = 2000000};
	int err = map_each(s->m, MAP_tenants, row_add, l);

	if (err || !l->count)
		return err;
	qsort(l->rows, l->count, sizeof(*l->rows), seats_by_key);
	err = walk_judge(s, l);
	if (err || !l->wrong)
		return err;
	nanosleep(&moment, NULL);
	l->again = true;
	err = map_each(s->m, MAP_tenants, row_again, l);
	return err ?: walk_judge(s, l);
}

/* ---- corrections ----------------------------------------------------------------- */

static int tenant_correct(const struct seats *s, const struct pintle_affinity_key *key,
			  int64_t wrong)
{
	struct pintle_tenant_error e = {
		.tenant = *key,
		.opened = wrong < 0 ? (__u64)-wrong : 0,
		.closed = wrong > 0 ? (__u64)wrong : 0,
	};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &e, .ctx_size_in = sizeof(e));

	return bpf_prog_test_run_opts(s->correct_fd, &opts);
}

/* Two looks, because a program of the kernel may stand still for a while between the two numbers
 * that it changes: on a virtual machine whose CPU is taken away, say. */
static uint64_t correct(const struct seats *s, struct looking *l)
{
	unsigned int tenants = 0;
	uint64_t sum = 0;

	for (size_t i = 0; i < l->count; i++) {
		struct seat_row *now = &l->rows[i];
		struct seat_row *before = seats_row_find(s->rows, s->count, &now->key);
		int64_t wrong = before ? drift_agreed(before->wrong, now->wrong) : 0;

		if (!wrong || tenant_correct(s, &now->key, wrong))
			continue;
		now->wrong -= wrong;
		sum += (uint64_t)llabs(wrong);
		tenants++;
	}
	if (sum)
		log_info("counts of connections in flight were wrong by %llu at %u tenant%s; "
			 "corrected from the socket table",
			 (unsigned long long)sum, tenants, plural(tenants));
	return sum;
}

uint64_t seats_look(struct seats *s)
{
	struct looking l = {0};
	uint64_t sum = 0;
	int err;

	if (!s)
		return 0;
	err = seats_look_once(s, &l);
	if (err) {
		if (!s->told)
			log_err_r(err, "failed to count the connections of tenants");
		s->told = true;
		l.count = 0;
	} else {
		sum = correct(s, &l);
	}
	free(s->rows);
	s->rows = l.rows;
	s->count = l.count;
	return sum;
}

/* ---- life ------------------------------------------------------------------------ */

static int seats_prepare(struct seats *s, const struct pintle_bpf *skel)
{
	s->link = walk_attach(skel->progs.pintle_recount_seats, s->m->fd[MAP_seats]);
	if (!s->link)
		return log_err_r(errno, "failed to attach the iterator over tenants' connections");
	s->correct_fd =
		fcntl(bpf_program__fd(skel->progs.pintle_tenant_correct), F_DUPFD_CLOEXEC, 0);
	if (s->correct_fd < 0)
		return log_err_r(errno, "failed to keep the program that corrects tenants");
	return 0;
}

struct seats *seats_new(const struct pintle_bpf *skel, const struct maps *m)
{
	struct seats *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->m = m;
	s->correct_fd = -1;
	if (!seats_prepare(s, skel))
		return s;
	seats_free(s);
	return NULL;
}

void seats_free(struct seats *s)
{
	if (!s)
		return;
	bpf_link__destroy(s->link);
	if (s->correct_fd >= 0)
		close(s->correct_fd);
	free(s->rows);
	free(s);
}
