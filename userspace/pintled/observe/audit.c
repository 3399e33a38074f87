/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"

#include <assert.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/state_event.h"

#define TICK_MS    50
#define BATCH      512 /* events in a tick, so that a flood of them holds up no scrape */
#define RENEW_NS   NSEC_PER_SEC
#define RETRY_NS   NSEC_PER_SEC
#define JOURNAL    "/run/systemd/journal/socket"
#define IDENTIFIER "pintle-audit"

/* Lines, each with its newline. */
struct lines {
	char *text;
	size_t size, room;
	size_t count;    /* of events */
	uint64_t lost;   /* if not 0: they also say that so many were lost */
	bool incomplete; /* no memory for one of them */
};

struct audit {
	uv_loop_t *loop;
	const struct maps *m;
	const struct config *c; /* NULL: not yet configured */
	const struct publication *p;
	struct ring_buffer *ring;
	uv_timer_t timer;
	uv_fs_t request;
	struct lines lines; /* being made, or being written */
	struct event_clients clients;
	uint64_t renewed_ns, opened_ns, connected_ns, told_ns;
	uint64_t told;     /* how many were lost, as the newest line about that has it */
	size_t taken;      /* events in this tick */
	size_t unsent;     /* lines that journald did not take */
	int file, journal; /* -1: not open */
	bool torn;         /* the file ends within a line */
	bool failing;      /* logged */
	bool anew;         /* the file is to be opened anew */
	bool writing, closed;
};

/* ---- where lines go ---------------------------------------------------------------- */

static void audit_fail(struct audit *a, int err, const char *what, const char *path)
{
	if (!a->failing)
		log_err_r(err, "audit: cannot %s %s; what cannot be written is counted", what,
			  path);
	a->failing = true;
}

/* A file of somebody else's could be read by him. Sets *torn if the last line has no end. */
static int file_check(int fd, bool *torn)
{
	struct stat st;
	char last;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_uid != geteuid())
		return -EPERM;
	*torn = st.st_size && pread(fd, &last, 1, st.st_size - 1) == 1 && last != '\n';
	return 0;
}

static int audit_file_open(const char *path, bool *torn)
{
	const int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	_cleanup_close_ int fd = open(path, flags | O_CREAT | O_EXCL, 0640);
	int err;

	if (fd >= 0 && fchmod(fd, 0640)) /* whatever the umask is */
		return -errno;
	if (fd < 0 && errno == EEXIST)
		fd = open(path, flags);
	if (fd < 0)
		return -errno;
	err = file_check(fd, torn);
	return err ? err : TAKE_FD(fd);
}

static void close_file(struct audit *a)
{
	if (a->file >= 0)
		close(a->file);
	a->file = -1;
}

static void open_file(struct audit *a)
{
	const char *path = a->c->audit.file;
	int fd;

	close_file(a);
	a->anew = false;
	a->opened_ns = monotonic_ns();
	if (!path)
		return;
	fd = audit_file_open(path, &a->torn);
	if (fd < 0)
		audit_fail(a, fd, "open", path);
	else
		a->file = fd;
}

/* A file that was removed takes lines that nobody will ever read. */
static void look_after_file(struct audit *a)
{
	bool late = monotonic_ns() - a->opened_ns > RETRY_NS;
	struct stat st;

	if (a->anew || (a->c->audit.file && a->file < 0 && late) ||
	    (a->file >= 0 && (fstat(a->file, &st) || !st.st_nlink)))
		open_file(a);
}

static void open_journal(struct audit *a)
{
	static const struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = JOURNAL};

	if (a->journal >= 0)
		close(a->journal);
	a->journal = -1;
	a->connected_ns = monotonic_ns();
	if (!a->c->audit.journald)
		return;
	a->journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->journal < 0 || !connect(a->journal, (const struct sockaddr *)&to, sizeof(to)))
		return;
	audit_fail(a, -errno, "connect to", JOURNAL);
	close(a->journal);
	a->journal = -1;
}

/* One line, with its newline, in journald's native protocol. */
static bool journal_send(int fd, const char *line, size_t size)
{
	static const char head[] = "SYSLOG_IDENTIFIER=" IDENTIFIER "\nPRIORITY=6\nMESSAGE=";
	struct iovec v[] = {{(char *)head, sizeof(head) - 1}, {(char *)line, size}};
	const struct msghdr m = {.msg_iov = v, .msg_iovlen = ARRAY_SIZE(v)};

	return fd >= 0 && sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

/* Returns how many lines did not go there. */
static size_t journal_lines(struct audit *a)
{
	size_t failed = 0;

	for (char *at = a->lines.text, *end = at + a->lines.size; at < end;) {
		char *next = (char *)memchr(at, '\n', (size_t)(end - at)) + 1;

		failed += !journal_send(a->journal, at, (size_t)(next - at));
		at = next;
	}
	return failed;
}

/* ---- lines ------------------------------------------------------------------------- */

static void lines_add(struct lines *l, const struct event_row *row)
{
	cJSON *object = columns_object(&event_columns, row, NULL);
	char *text = object ? cJSON_PrintUnformatted(object) : NULL;
	size_t n = text ? strlen(text) : 0;

	cJSON_Delete(object);
	if (text && l->size + n + 1 > l->room) {
		size_t room = 2 * (l->size + n + 1);
		char *more = realloc(l->text, room);

		l->text = more ?: l->text;
		l->room = more ? room : l->room;
	}
	if (text && l->size + n + 1 <= l->room) {
		memcpy(l->text + l->size, text, n);
		l->text[l->size + n] = '\n';
		l->size += n + 1;
	} else {
		l->incomplete = true;
	}
	cJSON_free(text);
}

static void row_name(const struct audit *a, struct event_row *row)
{
	const struct pintle_event *e = row->e;

	for (size_t i = 0; i < a->p->pool_count; i++) {
		const struct published_pool *p = &a->p->pools[i];
		const struct config_pool *c = &a->c->pools[i];

		if (p->ref.id != e->pool || p->ref.generation != e->pool_generation)
			continue;
		row->pool = c->name;
		if (e->class_id < c->class_count)
			row->class = c->classes[e->class_id].name;
		for (size_t j = 0; j < c->endpoint_count; j++)
			if (p->endpoints[j].id == e->endpoint &&
			    p->endpoints[j].generation == e->generation)
				row->endpoint = c->endpoints[j].name;
		return;
	}
}

static uint64_t lost_of(const struct audit *a)
{
	const struct pintle_audited *n = a->m->audited;

	return __atomic_load_n(&n->lost, __ATOMIC_RELAXED) + n->unwritten;
}

static int audit_on_event(void *arg, void *data, size_t size)
{
	struct audit *a = arg;
	struct event_row row = {0};
	struct pintle_event e;
	uint64_t now = monotonic_ns();

	if (size < sizeof(e))
		return 0;
	memcpy(&e, data, sizeof(e));
	e.lost = lost_of(a);
	if (now - a->renewed_ns > RENEW_NS) {
		event_clients_read(a->m, &a->clients);
		a->renewed_ns = now;
	}
	row.e = &e;
	row_name(a, &row);
	event_clients_find(a->m, &a->clients, &row);
	lines_add(&a->lines, &row);
	a->lines.count++;
	/* The event is taken all the same. */
	return ++a->taken < BATCH ? 0 : -ECANCELED;
}

/* At most once a second: a line that cannot be written must not make another one each time. */
static void audit_tell_lost(struct audit *a)
{
	const struct pintle_event e = {
		.time_ns = monotonic_ns(), .type = PINTLE_EVENT_LOST, .lost = lost_of(a)};
	const struct event_row row = {.e = &e};

	if (e.lost == a->told || e.time_ns - a->told_ns < RETRY_NS)
		return;
	a->told_ns = e.time_ns;
	a->lines.lost = e.lost;
	lines_add(&a->lines, &row);
}

/* ---- writing ----------------------------------------------------------------------- */

static void audit_destroy(struct audit *a)
{
	if (a->writing || !a->closed)
		return;
	close_file(a);
	if (a->journal >= 0)
		close(a->journal);
	ring_buffer__free(a->ring);
	event_clients_free(&a->clients);
	free(a->lines.text);
	free(a);
}

/* `failed`: so many of the lines did not get everywhere. The line about what was lost is no event,
 * and is made again where it failed. */
static void lines_done(struct audit *a, size_t failed)
{
	size_t missing = MIN(failed + a->lines.incomplete, a->lines.count);
	struct pintle_audited *n = a->m->audited;

	n->unwritten += missing;
	n->written += a->lines.count - missing;
	if (!failed && a->lines.lost)
		a->told = a->lines.lost;
	if (!failed && a->failing) {
		log_info("audit: lines are written again");
		a->failing = false;
	}
	a->lines.size = a->lines.count = 0;
	a->lines.lost = 0;
	a->lines.incomplete = false;
}

/* How many lines end beyond the first `size` bytes. */
static size_t lines_beyond(const struct lines *l, size_t size)
{
	size_t n = 0;

	for (size_t i = size; i < l->size; i++)
		n += l->text[i] == '\n';
	return n;
}

static void on_written(uv_fs_t *request)
{
	struct audit *a = request->data;
	ssize_t n = request->result;
	size_t whole = n > 0 ? (size_t)n : 0, beyond = lines_beyond(&a->lines, whole);

	uv_fs_req_cleanup(request);
	a->writing = false;
	if (whole < a->lines.size) {
		audit_fail(a, n < 0 ? (int)n : -ENOSPC, "write to", a->c->audit.file ?: "its file");
		/* The next batch begins a line of its own. */
		a->torn = whole && a->lines.text[whole - 1] != '\n';
	}
	lines_done(a, MAX(beyond, a->unsent));
	audit_destroy(a);
}

static void lines_write(struct audit *a)
{
	const uv_buf_t text = {a->lines.text, a->lines.size};

	a->unsent = a->c->audit.journald ? journal_lines(a) : 0;
	if (a->unsent)
		audit_fail(a, -EIO, "send all lines to", JOURNAL);
	if (!a->c->audit.file) {
		lines_done(a, a->unsent);
		return;
	}
	if (a->torn && a->file >= 0)
		a->torn = write(a->file, "\n", 1) != 1;
	a->request.data = a;
	a->writing = a->file >= 0 &&
		     !uv_fs_write(a->loop, &a->request, a->file, &text, 1, -1, on_written);
	if (!a->writing)
		lines_done(a, lines_beyond(&a->lines, 0));
}

static void audit_on_tick(uv_timer_t *timer)
{
	struct audit *a = timer->data;

	if (a->writing)
		return;
	look_after_file(a);
	if (a->c->audit.journald && (a->journal < 0 || a->unsent) &&
	    monotonic_ns() - a->connected_ns > RETRY_NS)
		open_journal(a);
	a->taken = 0;
	ring_buffer__consume(a->ring);
	audit_tell_lost(a);
	if (a->lines.size)
		lines_write(a);
}

/* ---- life -------------------------------------------------------------------------- */

int audit_new(const struct ground *g, struct audit **out)
{
	struct audit *a = calloc(1, sizeof(*a));

	if (!a)
		return log_err_r(ENOMEM, "audit");
	a->loop = g->loop;
	a->m = g->maps;
	a->file = a->journal = -1;
	a->ring = ring_buffer__new(a->m->fd[MAP_audit], audit_on_event, a, NULL);
	if (!a->ring) {
		int err = log_err_r(errno, "cannot open the ring of the audit");

		free(a);
		return err;
	}
	uv_timer_init(a->loop, &a->timer);
	a->timer.data = a;
	*out = a;
	return 0;
}

void audit_configure(struct audit *a, const struct config *c, const struct publication *p)
{
	bool wanted = c->audit.file || c->audit.journald;

	assert(p->pool_count == c->pool_count);
	a->c = c;
	a->p = p;
	a->m->audited->what =
		!wanted ? 0 : PINTLE_AUDIT_TOLD_NO | (c->audit.all ? PINTLE_AUDIT_ENDS : 0);
	a->failing = false;
	a->anew = true; /* at the next tick, because a batch may be being written */
	open_journal(a);
	if (wanted)
		uv_timer_start(&a->timer, audit_on_tick, TICK_MS, TICK_MS);
	else
		uv_timer_stop(&a->timer);
}

static void audit_on_closed(uv_handle_t *handle)
{
	struct audit *a = handle->data;

	a->closed = true;
	audit_destroy(a);
}

void audit_free(struct audit *a)
{
	if (a)
		uv_close((uv_handle_t *)&a->timer, audit_on_closed);
}
