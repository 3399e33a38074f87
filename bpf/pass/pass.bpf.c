/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * pass.bpf.c - the pass: looks at every steered socket, follows its requests, and sums up what the
 * endpoints have to do.
 *
 * A *request* is data to the server and then data from it. TCP keeps the sums of both, so the pass
 * reads a few fields of each socket, and costs nothing for a byte, a segment or a token. It sees a
 * request up to one period late, and does not see one that was asked and answered in between.
 *
 *	unseen -> waiting -> headed -> answering -> idle -> waiting ...
 *
 * What the pass cannot tell apart:
 *   - a head that waits for its first token, and a whole answer of one small segment: both are
 *     `headed`, until more comes, the connection ends, or REQUEST_FORGOTTEN_NS have passed;
 *   - an answer that has ended, and one that is silent for ANSWER_SILENT_NS: both are `idle`; the
 *     next byte makes it `answering` again;
 *   - pipelined requests, and the streams of HTTP/2: one request. The handshake of TLS looks like a
 *     request with a short answer. Bytes and silence are true for all of these.
 *
 * Called by the daemon alone, one walk at a time: plain additions suffice.
 */
#include "answer.bpf.h"
#include "answered.bpf.h"
#include "hooks/client.bpf.h"
#include "evidence.bpf.h"
#include "iterator.bpf.h"

struct request_sock {
	struct sock_common __req_common;
} __attribute__((preserve_access_index));

struct inet_connection_sock {
	struct {
		struct request_sock *rskq_accept_head;
	} icsk_accept_queue;
	struct {
		__u32 lrcvtime;
	} icsk_ack;
} __attribute__((preserve_access_index));
struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 write_seq;
	__u32 snd_una;
	__u32 snd_wl1; /* sequence number of the newest segment that had news for the send window */
	__u32 lsndtime;
	__u32 data_segs_in;
	__u32 data_segs_out;
	__u64 bytes_acked;
	__u64 bytes_received;
} __attribute__((preserve_access_index));

#define MS 1000000ULL
/* An answer that is silent for so long has ended. */
#define ANSWER_SILENT_NS (1000 * MS)
/* A new connection that is silent for so long waits for nothing. */
#define UNSEEN_SILENT_NS (1000 * MS)
/* A short answer of one segment was a whole one, if nothing came for so long. */
#define REQUEST_FORGOTTEN_NS (120000 * MS)

/* A request that came so long after the newest byte of any answer cannot be called overtaken:
 * nobody can say that others are answered before it. Passes see bytes so much later. */
#define OVERTAKEN_NS (500 * MS)

/* When no pass has come for so long, whole requests have been missed. */
#define LONG_UNSEEN_MS 2000

/* What TCP says of a connection now, seen from the server: `in` are bytes of requests. */
struct seen {
	__u32 in;
	__u32 out;
	__u32 segments;     /* of answers */
	__u32 out_is_newer; /* the newest byte went out, and did not come in */
	__u32 in_stamp;     /* when the newest byte came; TCP's */
	__u32 out_stamp;
};

/* What is read of a socket. */
struct look {
	__u64 bytes_acked, bytes_received;
	__u32 rcv_nxt, copied_seq, write_seq, snd_una, snd_wl1;
	__u32 came, left; /* when data was received, and sent, last; ticks */
	__u32 segments_in, segments_out;
	__u32 state;
	bool accepted; /* an application has it */
};

/* Fills *l in by READ(a pointer to a socket, a member of it). */
#define LOOK(l, READ, sk, tp)                                                                      \
	do {                                                                                       \
		(l)->bytes_acked = READ(tp, bytes_acked);                                          \
		(l)->bytes_received = READ(tp, bytes_received);                                    \
		(l)->rcv_nxt = READ(tp, rcv_nxt);                                                  \
		(l)->copied_seq = READ(tp, copied_seq);                                            \
		(l)->write_seq = READ(tp, write_seq);                                              \
		(l)->snd_una = READ(tp, snd_una);                                                  \
		(l)->snd_wl1 = READ(tp, snd_wl1);                                                  \
		(l)->came = READ(tp, inet_conn.icsk_ack.lrcvtime);                                 \
		(l)->left = READ(tp, lsndtime);                                                    \
		(l)->segments_in = READ(tp, data_segs_in);                                         \
		(l)->segments_out = READ(tp, data_segs_out);                                       \
		(l)->state = READ(sk, __sk_common.skc_state);                                      \
		(l)->accepted = READ(sk, sk_socket);                                               \
	} while (0)
#define MEMBER(p, name) ((p)->name)

static __always_inline bool closing(__u32 state)
{
	return state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_FIN_WAIT2 ||
	       state == BPF_TCP_CLOSING || state == BPF_TCP_LAST_ACK;
}

static __always_inline bool closed_by_peer(__u32 state)
{
	return state == BPF_TCP_CLOSE_WAIT || state == BPF_TCP_CLOSING || state == BPF_TCP_LAST_ACK;
}

/* Bytes that the application of this socket has written. A FIN counts as one in sequence numbers.
 */
static __always_inline __u32 bytes_written(const struct look *l)
{
	return (__u32)l->bytes_acked + (l->write_seq - l->snd_una) - closing(l->state);
}

static __always_inline __u32 bytes_received(const struct look *l)
{
	return (__u32)l->bytes_received - closed_by_peer(l->state);
}

/* Whether the other end has acknowledged all that this end wrote. */
static __always_inline bool all_acknowledged(const struct look *l)
{
	return l->snd_una == l->write_seq;
}

/* Whether the newest segment that came had no data, and acknowledged something. */
static __always_inline bool came_acknowledgement(const struct look *l)
{
	return l->snd_wl1 == l->rcv_nxt;
}

/*
 * TCP's times are jiffies of up to 10 ms. A client that sends its next request as soon as it has
 * the whole answer to the one before does so in the same jiffy. Then acknowledgements tell which
 * came last. Say that client C has sent request 2 to server S: C's segment has acknowledged the
 * whole answer 1, and no segment without data has come after it; and C waits for an
 * acknowledgement, or has got one without data. If S has answered request 2, it is the other way
 * round.
 */
static __always_inline void see_server(struct seen *s, const struct look *l)
{
	__s32 later;

	s->in = bytes_received(l);
	s->out = bytes_written(l);
	s->segments = l->segments_out;
	s->in_stamp = l->came;
	s->out_stamp = l->left;
	later = s->out_stamp - s->in_stamp;
	s->out_is_newer = later ? later > 0 : !all_acknowledged(l) || came_acknowledgement(l);
}

/* A client's SYN counts as one byte that the server acknowledged. */
static __always_inline void see_client(struct seen *s, const struct look *l)
{
	__s32 later;

	s->in = bytes_written(l) - 1;
	s->out = bytes_received(l);
	s->segments = l->segments_in;
	s->in_stamp = l->left;
	s->out_stamp = l->came;
	later = s->out_stamp - s->in_stamp;
	s->out_is_newer = later ? later > 0 : all_acknowledged(l) && !came_acknowledgement(l);
}

/* ---- the session ------------------------------------------------------------------- */

static __always_inline struct pintle_affinity *session_find(const struct pintle_turn *t,
							    struct pintle_affinity_key *key)
{
	if (t->session.kind == PINTLE_KEY_NONE)
		return NULL;
	key->session = t->session;
	return binding_find(key);
}

/* Moves the connection from the session's busy ones to its idle ones, or back. */
static __always_inline void session_rest(struct pintle_turn *t, struct pintle_affinity *a)
{
	bool rests = t->state == PINTLE_TURN_IDLE;

	if (!a || rests == !!(t->flags & PINTLE_TURN_RESTS))
		return;
	t->flags ^= PINTLE_TURN_RESTS;
	if (rests)
		__sync_fetch_and_add(&a->idle, 1);
	else
		session_take_off(&a->idle);
}

/* ---- the turn ---------------------------------------------------------------------- */

/* What a look at a connection found of requests. */
struct asked {
	bool begun;  /* a new one */
	__u32 bytes; /* of a new one, or more of the one before */
};

/* A request began, or goes on, with more bytes. */
static __always_inline void turn_asked(struct pintle_turn *t, const struct asked *a, __u64 now)
{
	if (a->begun) {
		t->flags &= ~PINTLE_TURN_AHEAD;
		if (t->state == PINTLE_TURN_HEADED)
			t->flags |= PINTLE_TURN_AHEAD;
		t->bytes = a->bytes;
		t->begun_ns = now;
	} else {
		t->bytes += a->bytes;
	}
	t->came_ns = now;
	t->state = PINTLE_TURN_WAITING;
}

/* `before` is the sum of bytes out at the last look. */
static __always_inline void turn_answered(struct pintle_turn *t, const struct seen *s, __u32 before,
					  __u64 now)
{
	t->out_ns = now;
	if (t->state != PINTLE_TURN_UNSEEN && t->state != PINTLE_TURN_WAITING) {
		t->state = PINTLE_TURN_ANSWERING;
		return;
	}
	t->answered = before;
	t->state = answer_beyond_head(s->segments - t->segments, t->out - before, t->bytes)
			   ? PINTLE_TURN_ANSWERING
			   : PINTLE_TURN_HEADED;
}

static __always_inline void turn_silent(struct pintle_turn *t, __u64 opened_ns, __u64 now)
{
	if (t->state == PINTLE_TURN_ANSWERING) {
		if (now - t->out_ns > ANSWER_SILENT_NS)
			t->state = PINTLE_TURN_IDLE;
	} else if (t->state == PINTLE_TURN_HEADED) {
		if (now - t->out_ns > REQUEST_FORGOTTEN_NS)
			t->state = PINTLE_TURN_IDLE;
	} else if (t->state == PINTLE_TURN_UNSEEN) {
		if ((__s64)(now - opened_ns) > (__s64)UNSEEN_SILENT_NS)
			t->state = PINTLE_TURN_IDLE;
	}
}

/* Bytes since the last look. While another CPU takes in a FIN, the sum may be one too small for a
 * moment. */
static __always_inline __u32 more_of(__u32 *sum, __u32 seen)
{
	__s32 more = seen - *sum;

	if (more <= 0)
		return 0;
	*sum = seen;
	return more;
}

/* Whether passes did not come for long, so that many requests may have come and been answered. */
static __always_inline bool long_unseen(struct pintle_turn *t, __u64 opened_ns, __u64 now)
{
	__u32 at = now / MS, last = t->looked_ms ?: opened_ns / MS;

	t->looked_ms = at ?: 1;
	return at - last > LONG_UNSEEN_MS;
}

/* Takes the turn to what is seen now. Data of both directions since the last pass is an answer to
 * the new request, unless the request is newer: then it is the end of the answer before. After
 * LONG_UNSEEN_MS without a pass, because no daemon ran or requests were not followed, data of both
 * directions is many requests: how large the newest one is, is not known. Global, as pass_turn():
 * the verifier goes through it once, not for each state of its callers. */
__weak __noinline int turn_advance(struct pintle_turn *t, const struct seen *s, __u64 opened_ns,
				   __u64 now, struct asked *asked)
{
	__u32 before, in, out;
	bool waited, many;

	if (!t || !s || !asked)
		return 0;
	waited = t->state == PINTLE_TURN_WAITING;
	many = long_unseen(t, opened_ns, now);
	before = t->out;
	in = more_of(&t->in, s->in);
	out = more_of(&t->out, s->out);
	if (in) {
		asked->begun = !waited || out;
		asked->bytes = many && out && in > PROMPT_BYTES ? PROMPT_BYTES : in;
		turn_asked(t, asked, now);
		if (!s->out_is_newer)
			out = 0;
	}
	if (out)
		turn_answered(t, s, before, now);
	else if (!in)
		turn_silent(t, opened_ns, now);
	t->segments = s->segments;
	return 0;
}

/* The bytes of the request that the endpoint has not cached: what the session's newest request and
 * its answer do not cover, if the session is bound to this endpoint, nor, of a connection's first
 * request, what was known to be cached when it was placed. */
static __always_inline __u32 turn_uncached(const struct pintle_turn *t,
					   const struct pintle_affinity *a, __u32 endpoint,
					   __u32 generation)
{
	__u32 cached = t->requests <= 1 ? t->cached : 0;

	if (a && a->endpoint == endpoint && a->generation == generation &&
	    a->context_bytes > cached)
		cached = a->context_bytes;
	return t->bytes > cached ? t->bytes - cached : 0;
}

/* ---- the endpoint ------------------------------------------------------------------- */

/* A request that waits while requests after it are answered says nothing of the server: its client
 * may have sent half of it, and no more. */
static __always_inline void work_overtaken(struct pintle_work *w, const struct pintle_turn *t)
{
	if (t->begun_ns + OVERTAKEN_NS > w->out_ns && (!w->asked_ns || t->begun_ns < w->asked_ns))
		w->asked_ns = t->begun_ns;
}

static __always_inline void work_add(struct pintle_work *w, const struct pintle_turn *t,
				     __u32 uncached)
{
	w->connections++;
	switch (t->state) {
	case PINTLE_TURN_UNSEEN:
		w->unseen++;
		break;
	case PINTLE_TURN_IDLE:
		w->idle++;
		break;
	case PINTLE_TURN_ANSWERING:
		w->answering++;
		if (t->out_ns > w->out_ns)
			w->out_ns = t->out_ns;
		break;
	case PINTLE_TURN_HEADED:
	case PINTLE_TURN_WAITING:
		if (t->state == PINTLE_TURN_HEADED)
			w->headed++;
		else
			work_overtaken(w, t);
		w->waiting++;
		w->waiting_bytes += t->bytes;
		w->prompt_bytes += uncached;
		if (!w->oldest_ns || t->came_ns < w->oldest_ns)
			w->oldest_ns = t->came_ns;
		break;
	}
}

static __always_inline struct pintle_work *tally_of(__u32 endpoint, __u32 generation)
{
	return endpoint_kept(endpoint, generation) ? bpf_map_lookup_elem(&tally, &endpoint) : NULL;
}

/* What the server has not read, and whether it has read or accepted since the last pass. A server
 * may read the head of a request and leave its body for later, or read nothing while it computes
 * the answer to the request before: only a request of which it has read nothing at all, and before
 * which it owes none, says that it does not read. */
static __always_inline void work_read(struct pintle_work *w, struct pintle_turn *t,
				      const struct look *l, __u64 now)
{
	__u32 read = l->copied_seq, unread = l->rcv_nxt - read;

	if (!closed_by_peer(l->state)) {
		w->unread += unread;
		w->untouched += unread && unread == t->bytes && t->state == PINTLE_TURN_WAITING &&
				!(t->flags & PINTLE_TURN_AHEAD);
	}
	if ((l->accepted && !(t->flags & PINTLE_TURN_ACCEPTED)) || (t->read && t->read != read))
		w->read_ns = now;
	if (l->accepted)
		t->flags |= PINTLE_TURN_ACCEPTED;
	t->read = read;
}

/* A listener at which connections wait to be accepted: which is the first of them, as a number that
 * says no more, and since when it is the first. Its client's port is in that, because the next one
 * to wait is often given the memory of one that was just accepted. accept() takes the first one
 * away, and nothing else does: so the queue of a busy server changes its first, however long it is,
 * and that of a server that stands still, or of a socket that only keeps a port, does not. */
struct accept_queue {
	__u64 first;
	__u64 since_ns;
	__u64 port;
};
/* By the listener's cookie. Not pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PINTLE_MAX_ENDPOINTS);
	__type(key, __u64);
	__type(value, struct accept_queue);
} MAP(accept_queues);

static __always_inline __u64 queue_since(struct sock *sk, __u64 now)
{
	struct accept_queue *q, found = {.since_ns = now};
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct request_sock *first = tp ? tp->inet_conn.icsk_accept_queue.rskq_accept_head : NULL;
	__u64 cookie = bpf_get_socket_cookie(sk);

	if (!first) {
		bpf_map_delete_elem(&accept_queues, &cookie);
		return now;
	}
	found.first = (__u64)first;
	found.port = first->__req_common.skc_dport;
	q = bpf_map_lookup_elem(&accept_queues, &cookie);
	if (q && q->first == found.first && q->port == found.port)
		return q->since_ns;
	bpf_map_update_elem(&accept_queues, &cookie, &found, BPF_ANY);
	return now;
}

static __always_inline void work_listens(struct pintle_work *w, struct sock *sk)
{
	__u64 since = queue_since(sk, bpf_ktime_get_ns());

	w->backlog += sk->sk_ack_backlog;
	if (since > w->accepts_ns)
		w->accepts_ns = since;
}

/* A connection for the pass: whose it is, and since when it is open. */
struct passed {
	struct pintle_affinity_key key; /* the pool; the session is in the turn */
	__u32 endpoint;
	__u32 generation;
	__u64 opened_ns;
	__u32 counted; /* not 0: as open in its session's binding, so that its end is counted too */
	bool tries;    /* its client waits to see whether the endpoint serves again */
	/* The answer that was over when a further request came; bytes 0: there is none. The caller
	 * knows its client. */
	struct answered over;
};

/* Fills *p in from a record of `conns` or `connects`, which name these members alike. `left`: the
 * client has closed its end. */
#define PASSED(p, record, in_session, left)                                                        \
	do {                                                                                       \
		(p)->key.pool = (record)->pool;                                                    \
		(p)->key.pool_generation = (record)->pool_generation;                              \
		(p)->endpoint = (record)->endpoint;                                                \
		(p)->generation = (record)->generation;                                            \
		(p)->opened_ns = (record)->opened_ns;                                              \
		(p)->tries = (record)->outcome == PINTLE_OUTCOME_TRIED && !(left);                 \
		(p)->counted = in_session;                                                         \
	} while (0)

/* What the classifier wants of a look: the request that ended, and how the next one began. `bytes`
 * are those of the request before, `flowed` is turn_flows() before, `came`: bytes of answers came
 * since. */
static __always_inline void pass_evidence(const struct pintle_affinity_key *key,
					  const struct pintle_affinity *a, struct pintle_turn *t,
					  const struct seen *s, bool begun, __u32 bytes,
					  bool flowed, bool came, __u64 now)
{
	__u64 asked = tick_time(s->in_stamp, now), spoke = tick_time(s->out_stamp, now), ended;

	ended = !came || !s->out_is_newer ? spoke : flowed ? asked : t->spoke_ns;
	if (!begun)
		ended = spoke;
	if ((begun || t->state == PINTLE_TURN_IDLE) && __sync_lock_test_and_set(&t->owed, 0))
		evidence_tell(key, t, bytes, ended);
	if (begun) {
		t->asked_ns = asked;
		t->beside = session_beside(a, !(t->flags & PINTLE_TURN_RESTS));
		t->owed = 1;
	}
	t->spoke_ns = spoke;
}

/* Whether nothing beyond a head has come for what the connection is there for. A client that sends
 * nothing is not waited for. */
static __always_inline bool unanswered(const struct pintle_turn *t)
{
	return t->state != PINTLE_TURN_ANSWERING && t->state != PINTLE_TURN_IDLE;
}

/* An answer beyond its head is over when nothing came of it for so long; any answer is when a
 * further request begins. Of one that ended longer ago nobody can say which page has counted it. */
#define ANSWER_OVER_NS (500 * MS)

/* The fields are those before the look. */
static __always_inline void pass_over(struct passed *p, const struct pintle_turn *t, __u32 state,
				      __u32 out, __u32 answered, __u64 begun_ns, __u64 out_ns,
				      bool late)
{
	if (state == PINTLE_TURN_UNSEEN || t->flags & PINTLE_TURN_NOTED)
		return;
	if (late && state != PINTLE_TURN_WAITING)
		return;
	if (state == PINTLE_TURN_WAITING) {
		answered = out;
		out = t->out;
		out_ns = t->out_ns;
	}
	p->over.endpoint = p->endpoint;
	p->over.generation = p->generation;
	p->over.bytes = out - answered;
	p->over.took_ms = out_ns > begun_ns ? (out_ns - begun_ns) / MS : 0;
}

/* Takes a turn whose session is filled in. What a session's last turn leaves behind is its context:
 * the request and its answer. */
__weak __noinline int pass_turn(struct passed *p, struct pintle_turn *t, const struct seen *s,
				struct pintle_work *w, __u64 now)
{
	__u32 before, answered, out, state, uncached, fresh;
	struct pintle_affinity_key key;
	bool was_idle, flowed, over;
	struct pintle_affinity *a;
	struct asked asked = {};
	__u64 begun_ns, out_ns;

	if (!p || !t || !s || !w)
		return 0;
	key = p->key;
	a = session_find(t, &key);
	before = t->bytes;
	answered = t->answered;
	was_idle = t->state == PINTLE_TURN_IDLE || t->state == PINTLE_TURN_UNSEEN;
	flowed = turn_flows(t) || t->state == PINTLE_TURN_WAITING;
	begun_ns = t->begun_ns;
	out_ns = t->out_ns;
	out = t->out;
	state = t->state;

	t->flags |= PINTLE_TURN_BOUND;
	turn_advance(t, s, p->opened_ns, now, &asked);
	over = t->state == PINTLE_TURN_ANSWERING && now - t->out_ns > ANSWER_OVER_NS;
	if (asked.begun || over)
		pass_over(p, t, state, out, answered, begun_ns, out_ns,
			  !over && now - out_ns > ANSWER_OVER_NS);
	if (asked.begun)
		t->flags &= ~PINTLE_TURN_NOTED;
	else if (over)
		t->flags |= PINTLE_TURN_NOTED;
	w->requests += asked.begun;
	t->requests += asked.begun && t->requests < 65535;
	w->request_bytes += asked.bytes;
	if (a && before && !was_idle && (t->state == PINTLE_TURN_IDLE || asked.begun))
		a->context_bytes = before + (out - answered);
	uncached = turn_uncached(t, a, p->endpoint, p->generation);
	if (asked.begun) {
		w->uncached_bytes += uncached;
	} else if (t->bytes > before) {
		/* The request went on: only what is new of it is added. */
		fresh = t->bytes - before;
		w->uncached_bytes += fresh < uncached ? fresh : uncached;
	}
	if (a && p->counted && pool_classifies(key.pool, key.pool_generation))
		pass_evidence(&key, a, t, s, asked.begun, before, flowed, t->out != out, now);
	if (p->counted)
		session_rest(t, a);
	work_add(w, t, uncached);
	w->tries += p->tries && unanswered(t);
	return 0;
}

/* The session of a server's socket follows from its addresses, as in sockops. */
static __always_inline void turn_bind_server(struct pintle_turn *t, struct sock *sk,
					     const struct pintle_affinity_key *pool)
{
	struct pintle_tuple tuple = {.scope = scope};
	struct pintle_affinity_key key = *pool;

	tuple_of(&tuple, &sk->__sk_common);
	server_session(&tuple, &key);
	t->session = key.session;
}

static __always_inline void pass_answered(struct passed *p, __u64 client)
{
	p->over.client = client;
	if (p->over.bytes)
		answered_note(&p->over);
}

/* The same where only the socket knows its client. */
static __always_inline void pass_answered_at(struct passed *p, const struct sock *sk)
{
	struct pintle_tuple t = {};

	if (!p->over.bytes)
		return;
	tuple_of(&t, &sk->__sk_common);
	pass_answered(p, answered_client(&t));
}

static __always_inline bool pool_follows(__u32 id, __u32 generation)
{
	struct pintle_pool *pool = pool_find(id, generation);

	return pool && pool->follow;
}

/* The socket's turn, made if the socket has none; NULL: no memory. */
static __always_inline struct pintle_turn *turn_of(struct sock *sk, __u64 opened_ns)
{
	struct pintle_turn *t = bpf_sk_storage_get(&turns, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (t)
		turn_begin(t, opened_ns);
	return t;
}

/* Whether a socket that a server once accepted is a client's now: it was disconnected, and
 * connected to a frontend. Then its turn is a client's, too. */
static __always_inline bool became_client(struct sock *sk)
{
	struct pintle_connect *c = bpf_sk_storage_get(&connects, sk, NULL, 0);

	return c && c->generation && is_there(c, sk);
}

/* Walks over `conns`, and over `listeners`. */
SEC("iter/bpf_sk_storage_map")
int pintle_pass(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct pintle_conn *conn = ctx->value;
	struct sock *sk = ctx->sk;
	struct passed p = {};
	struct pintle_turn *t;
	struct pintle_work *w;
	struct asked asked = {};
	struct tcp_sock *tp;
	struct look l = {};
	struct seen s = {};
	__u64 now;

	if (!sk || !conn)
		return 0;
	w = tally_of(conn->endpoint, conn->generation);
	if (!w)
		return 0;
	if (conn->flags & PINTLE_CONN_LISTENER) {
		if (sk->__sk_common.skc_state == BPF_TCP_LISTEN)
			work_listens(w, sk);
		return 0;
	}
	tp = bpf_skc_to_tcp_sock(sk);
	if (!(conn->counted || conn->flags & PINTLE_CONN_EARLIER) ||
	    sk->__sk_common.skc_state == BPF_TCP_CLOSE || !tp)
		return 0;
	if (conn->flags & PINTLE_CONN_STEERED && !pool_follows(conn->pool, conn->pool_generation))
		return 0;
	if (became_client(sk))
		return 0;
	t = turn_of(sk, conn->opened_ns);
	if (!t)
		return 0;
	now = bpf_ktime_get_ns();
	LOOK(&l, MEMBER, sk, tp);
	see_server(&s, &l);
	if (conn->flags & PINTLE_CONN_STEERED) {
		PASSED(&p, conn, conn->flags & PINTLE_CONN_SESSION, closed_by_peer(l.state));
		if (!(t->flags & PINTLE_TURN_BOUND))
			turn_bind_server(t, sk, &p.key);
		pass_turn(&p, t, &s, w, now);
		pass_answered_at(&p, sk);
	} else {
		turn_advance(t, &s, conn->opened_ns, now, &asked);
	}
	work_read(w, t, &l, now);
	return 0;
}

/* A connection that the hand-off gave to a listener of this node. */
static __always_inline void pass_flow(struct pintle_hand_flow *f, const struct pintle_tuple *t,
				      struct pintle_work *w)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)f->socket;
	const struct sock *sk = (const struct sock *)tp;
	__u64 now = bpf_ktime_get_ns();
	struct passed p = {};
	struct look l = {};
	struct seen s = {};

	LOOK(&l, BPF_CORE_READ, sk, tp);
	/* It has ended meanwhile: what was seen may be another connection's. */
	if (*(volatile __u32 *)&f->busy != PINTLE_HAND_FLOW_PASSED)
		return;
	see_server(&s, &l);
	PASSED(&p, &f->conn, f->conn.flags & PINTLE_CONN_SESSION, closed_by_peer(l.state));
	pass_turn(&p, &f->turn, &s, w, now);
	pass_answered(&p, answered_client(t));
	work_read(w, &f->turn, &l, now);
}

SEC("iter/bpf_map_elem")
int pintle_pass_flows(struct bpf_iter__bpf_map_elem *ctx)
{
	const struct pintle_tuple *key = ctx->key;
	struct pintle_hand_flow *f = ctx->value;
	struct pintle_tuple t;
	struct pintle_work *w;

	if (!f || !key || !f->conn.counted || !f->conn.opened_ns ||
	    !pool_follows(f->conn.pool, f->conn.pool_generation))
		return 0;
	w = tally_of(f->conn.endpoint, f->conn.generation);
	if (!w || __sync_val_compare_and_swap(&f->busy, PINTLE_HAND_FLOW_FREE,
					      PINTLE_HAND_FLOW_PASSED) != PINTLE_HAND_FLOW_FREE)
		return 0;
	t = *key;
	if (hand_flow_there(f, &t))
		pass_flow(f, &t, w);
	if (__sync_val_compare_and_swap(&f->busy, PINTLE_HAND_FLOW_PASSED, PINTLE_HAND_FLOW_FREE) !=
	    PINTLE_HAND_FLOW_PASSED)
		bpf_map_delete_elem(&hand_flows, &t); /* nothing replaces it until then */
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int pintle_pass_connects(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct pintle_connect *c = ctx->value;
	struct sock *sk = ctx->sk;
	struct passed p = {};
	struct pintle_turn *t;
	struct pintle_work *w;
	struct tcp_sock *tp;
	struct look l = {};
	struct seen s = {};

	if (!sk || !c || !is_there(c, sk) || !pool_follows(c->pool, c->pool_generation))
		return 0;
	w = tally_of(c->endpoint, c->generation);
	if (w && c->placed && c->outcome == PINTLE_OUTCOME_TRIED)
		w->tries++;
	if (!c->counted || sk->__sk_common.skc_state == BPF_TCP_SYN_SENT)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	t = w && tp ? turn_of(sk, c->opened_ns) : NULL;
	if (!t)
		return 0;
	if (!(t->flags & PINTLE_TURN_BOUND))
		t->session = c->session;
	LOOK(&l, MEMBER, sk, tp);
	PASSED(&p, c, c->flags & PINTLE_CONNECT_SESSION, closing(l.state));
	see_client(&s, &l);
	pass_turn(&p, t, &s, w, bpf_ktime_get_ns());
	if (!(c->flags & PINTLE_CONNECT_APART))
		pass_answered(&p, c->client);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
