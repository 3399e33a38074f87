/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* common.bpf.h - what several hooks do with the maps. */
#ifndef PINTLE_COMMON_BPF_H
#define PINTLE_COMMON_BPF_H

#include "address.bpf.h"
#include "health.bpf.h"
#include "traits.bpf.h"
#include "world.bpf.h"

#include <bpf/bpf_endian.h>
#include <linux/errno.h>
#include <linux/in.h>

#define AF_INET  2
#define AF_INET6 10

/* The scope of the network namespace that this copy of the programs serves; see PINTLE_SCOPE_NODE.
 */
const volatile __u32 scope __weak = PINTLE_SCOPE_NODE;

/* The verifier allows only reads of single context fields at constant offsets. So the compiler must
 * not merge two words into one load (volatile), nor the loads of two branches (a barrier in one).
 */
#define context_read(field) (*(const volatile __u32 *)&(field))

/* The contexts of sk_lookup and sockops have the same names for these fields. */
#define tuple_addresses(t, ctx)                                                                    \
	do {                                                                                       \
		if ((ctx)->family == AF_INET) {                                                    \
			address_v4((t)->local, context_read((ctx)->local_ip4));                    \
			address_v4((t)->remote, context_read((ctx)->remote_ip4));                  \
			barrier();                                                                 \
		} else {                                                                           \
			((__u32 *)(t)->local)[0] = context_read((ctx)->local_ip6[0]);              \
			((__u32 *)(t)->local)[1] = context_read((ctx)->local_ip6[1]);              \
			((__u32 *)(t)->local)[2] = context_read((ctx)->local_ip6[2]);              \
			((__u32 *)(t)->local)[3] = context_read((ctx)->local_ip6[3]);              \
			((__u32 *)(t)->remote)[0] = context_read((ctx)->remote_ip6[0]);            \
			((__u32 *)(t)->remote)[1] = context_read((ctx)->remote_ip6[1]);            \
			((__u32 *)(t)->remote)[2] = context_read((ctx)->remote_ip6[2]);            \
			((__u32 *)(t)->remote)[3] = context_read((ctx)->remote_ip6[3]);            \
		}                                                                                  \
	} while (0)

/* The client for whose share a binding counts; see `shares` in abi.h. With key `source` that is a
 * network, because a client with many addresses makes a session with each. With key `destination`,
 * and where requests name sessions, it is a host, because one host can make all sessions. */
static __always_inline __u64 client_of(const struct pintle_tuple *t, __u32 key_kind)
{
	bool host = key_kind == PINTLE_KEY_DESTINATION || key_kind == PINTLE_KEY_REQUEST;
	const __u32 *word = (const __u32 *)t->remote;
	__u64 high = bpf_ntohl(word[0]), v4 = bpf_ntohl(word[3]);

	if (address_is_v4(t->remote)) {
		if (v4 >> 24 == 127)
			v4 = 127 << 24;
		return PINTLE_CLIENT_V4 | (host ? v4 : v4 & 0xffff0000);
	}
	high = high << 32 | bpf_ntohl(word[1]);
	return host ? high : high & ~0xffffULL;
}

/* The verifier checks functions that are neither static nor inline once, each by itself, and not at
 * each call: that keeps the hooks far from its limit. Such functions can take only plain memory
 * without pointers, so each looks up its map entries anew. Those in several objects are weak, so
 * that the linker makes them one. */

/* How many bits of an address make a key, in one argument: of the client's IPv4 address, of its
 * IPv6 address, and of the frontend's prefix. */
#define KEY_BITS(v4, v6, frontend) ((v4) | (v6) << 8 | (frontend) << 16)

static __always_inline __u32 mask_of(__u32 bits, __u32 word)
{
	if (bits >= 32 * (word + 1))
		return ~0U;
	return bits <= 32 * word ? 0 : bpf_htonl(~0U << (32 - (bits & 31)));
}

/* Makes the key of a kind that follows from addresses, for both hooks: the first bits of the
 * client's address, or the bits of the destination beyond the frontend's prefix. The key is
 * PINTLE_KEY_NONE for a client without an address, whose socket is not bound. */
__weak __noinline int key_of_tuple(const struct pintle_tuple *t, __u32 kind, __u32 key_bits,
				   struct pintle_session_key *out)
{
	const __u32 *in;
	__u32 *to, bits, i;

	if (!t || !out)
		return 0;
	__builtin_memset(out, 0, sizeof(*out));
	if (kind == PINTLE_KEY_SOURCE) {
		if (address_is_any(t->remote))
			return 0;
		in = (const __u32 *)t->remote;
		bits = address_is_v4(t->remote) ? 96 + (key_bits & 0xff) : key_bits >> 8 & 0xff;
		out->prefix_bits = bits;
	} else if (kind == PINTLE_KEY_DESTINATION) {
		in = (const __u32 *)t->local;
		bits = key_bits >> 16;
		out->prefix_bits = 128;
	} else {
		return 0;
	}
	out->kind = kind;
	to = (__u32 *)out->id;
#pragma unroll
	for (i = 0; i < 4; i++) {
		__u32 mask = mask_of(bits, i);

		to[i] = in[i] & (kind == PINTLE_KEY_SOURCE ? mask : ~mask);
	}
	return 0;
}

/* Sets *pool to the pool to whose frontend the local address belongs, if `hook` decides that pool;
 * else its generation is 0. Returns the bits of the frontend's prefix. */
__weak __noinline int frontend_of(const struct pintle_tuple *t, __u32 hook, struct pintle_ref *pool)
{
	struct pintle_frontend_key key = {
		.prefixlen = PINTLE_FRONTEND_FIXED_BITS + 128,
		.protocol = IPPROTO_TCP,
	};
	struct pintle_frontend *f;

	if (!t || !pool)
		return 0;
	key.scope = t->scope;
	key.port = t->local_port;
	__builtin_memcpy(key.address, t->local, sizeof(key.address));
	f = bpf_map_lookup_elem(&frontends, &key);
	pool->id = f ? f->pool : 0;
	pool->generation = f && f->decided_by == hook ? f->generation : 0;
	return f ? f->prefix_bits & 0xff : 0;
}

/* Makes the key of the session of a server's connection, in the pool that *key names. Returns 0
 * where it has none. */
__weak __noinline int server_session(const struct pintle_tuple *t, struct pintle_affinity_key *key)
{
	struct pintle_pool *pool;
	struct pintle_ref ref;
	__u32 frontend_bits = 0;

	if (!t || !key)
		return 0;
	pool = pool_find(key->pool, key->pool_generation);
	if (!pool)
		return 0;
	if (pool->key_kind == PINTLE_KEY_DESTINATION)
		frontend_bits = frontend_of(t, PINTLE_HOOK_LOOKUP, &ref);
	key_of_tuple(t, pool->key_kind,
		     KEY_BITS(pool->key_bits_v4, pool->key_bits_v6, frontend_bits), &key->session);
	return key->session.kind != PINTLE_KEY_NONE;
}

/* The endpoint with this id and generation, or NULL if it is gone. */
static __always_inline struct pintle_endpoint *endpoint_find(__u32 id, __u32 generation)
{
	struct pintle_endpoint *e = bpf_map_lookup_elem(&endpoints, &id);

	return e && generation && e->generation == generation && e->pool_generation ? e : NULL;
}

static __always_inline bool ejected(const struct pintle_health *h, __u64 now)
{
	return health_ejected(h->ejected_until_ns, h->answered_ns, h->failed_ns, now);
}

/* Whether the id still belongs to the endpoint for which it was stored. An endpoint that was taken
 * out of the configuration keeps its id and generation until its last connection ends, so that its
 * connections' ends are still counted. */
static __always_inline bool endpoint_kept(__u32 id, __u32 generation)
{
	struct pintle_endpoint *e = bpf_map_lookup_elem(&endpoints, &id);

	return e && generation && e->generation == generation;
}

/* NULL once the id belongs to another endpoint. */
static __always_inline struct pintle_counters *counters_kept(__u32 endpoint, __u32 generation,
							     __u32 class_id)
{
	if (!endpoint_kept(endpoint, generation))
		return NULL;
	return counters_find(endpoint, class_id);
}

/* ---- decisions of the lookup hook -------------------------------------------- */

/* The difference is signed, because another CPU may have decided after this one read the clock. */
static __always_inline bool decision_expired(const struct pintle_decision *d, __u64 now)
{
	return (__s64)(now - d->decided_ns) > (__s64)PINTLE_PENDING_NS;
}

/* Counts that the decision's placement failed, once, even if several programs find that out. */
static __always_inline void placement_failed(struct pintle_decision *d)
{
	struct pintle_counters *n = counters_kept(d->endpoint, d->generation, d->class_id);

	if (n && !__sync_lock_test_and_set(&d->ended, 1))
		__sync_fetch_and_add(&n->failed, 1);
}

/* ---- bindings ---------------------------------------------------------------- */

/* Counts one more binding of the client, and returns true unless the client has its share already.
 * Only the daemon takes off bindings that are gone. Without a daemon a client's count only grows,
 * so the client reaches its share too early, never too late. */
static __always_inline bool share_take(__u64 client)
{
	__u64 *n = bpf_map_lookup_elem(&shares, &client), one = 1;

	if (!n) {
		bpf_map_update_elem(&shares, &client, &one, BPF_NOEXIST);
		return true;
	}
	if (*n >= PINTLE_CLIENT_SHARE)
		return false;
	__sync_fetch_and_add(n, 1);
	return true;
}

/* Makes a binding that was not found. Another CPU may have made it meanwhile: then that one stays.
 */
static __always_inline void binding_make(const struct pintle_affinity_key *key,
					 const struct pintle_affinity *a)
{
	void *map = share_take(a->client) ? (void *)&affinity : (void *)&affinity_beyond;
	__u32 pool = key->pool;
	struct pintle_bindings *n = bpf_map_lookup_elem(&bindings, &pool);

	if (!bpf_map_update_elem(map, key, a, BPF_NOEXIST) && n)
		__sync_fetch_and_add(&n->made, 1);
}

/* Binds the session to the endpoint, and returns the binding; NULL: there is none. Called only for
 * an established connection: a spoofed packet, or a connect() without an answer, binds nothing. */
static __always_inline struct pintle_affinity *bind_session(const struct pintle_affinity_key *key,
							    __u64 client, __u32 endpoint,
							    __u32 generation, __u64 now)
{
	struct pintle_affinity *old = binding_find(key);
	struct pintle_affinity a = {
		.endpoint = endpoint,
		.generation = generation,
		.bound_ns = now,
		.used_ns = now,
		.client = client,
	};

	if (old && old->endpoint == endpoint && old->generation == generation) {
		old->used_ns = now;
		return old;
	}
	if (old) {
		/* In place, and without `open` and `idle`: other CPUs count the session's
		 * connections to its former endpoint there. A reader that sees only a half of this
		 * finds no such endpoint, or the former one. The binding stays in its map,
		 * whichever client it counts for. */
		old->endpoint = endpoint;
		old->generation = generation;
		old->bound_ns = now;
		old->used_ns = now;
		old->client = client;
		old->context_bytes = 0; /* the new endpoint has cached nothing of it */
		return old;
	}
	binding_make(key, &a);
	return binding_find(key);
}

/* ---- what a session has open ---------------------------------------------------- */

/* Only the program that swaps `sharing` counts: so the count is the number of those marks, but for
 * bindings that were evicted. */
static __always_inline void sharing_begin(const struct pintle_affinity_key *key,
					  const struct pintle_pool *pool, struct pintle_affinity *a,
					  __u32 class_id)
{
	__u32 at = class_id & (PINTLE_MAX_CLASSES - 1);
	__u64 *n;

	if (!pool->class_of[at].places || __sync_lock_test_and_set(&a->sharing, 1 + at))
		return;
	n = sharing_of(key->pool, at);
	if (n)
		__sync_fetch_and_add(n, 1);
}

static __always_inline void sharing_end(const struct pintle_affinity_key *key,
					struct pintle_affinity *a)
{
	__u32 class = __sync_lock_test_and_set(&a->sharing, 0);
	__u64 *n = class ? sharing_of(key->pool, class - 1) : NULL;

	if (n && (__s64)__sync_fetch_and_add(n, -1) <= 0)
		__sync_fetch_and_add(n, 1);
}

/* Takes one off a count that never goes below 0. Suppose that a binding was evicted while two of
 * the session's connections were open, and was made anew by a third: three will be taken off a
 * count of one. The count is then too small until they have ended, which only lets the session be
 * sticky; below 0 it would read as four billion, and the session would never be sticky again. */
static __always_inline void session_take_off(__u32 *count)
{
	if ((__s32)__sync_fetch_and_add(count, -1) <= 0)
		__sync_fetch_and_add(count, 1);
}

/* Counts the connection as open in its session's binding `a`, if its pool's requests are followed.
 * Returns whether it was counted: then session_close() must be called once when it ends. */
static __always_inline bool session_open(const struct pintle_affinity_key *key,
					 struct pintle_affinity *a, __u32 class_id)
{
	struct pintle_pool *pool = pool_find(key->pool, key->pool_generation);

	if (!a || !pool || !pool->follow)
		return false;
	__sync_fetch_and_add(&a->open, 1);
	if (!a->sharing)
		sharing_begin(key, pool, a, class_id);
	return true;
}

/* Ends what session_open() began. `in` and `out` are all bytes of requests and of answers on the
 * connection; `t` is what the pass knows of it, NULL: it never saw it. */
static __always_inline void session_close(const struct pintle_affinity_key *key,
					  const struct pintle_turn *t, __u32 in, __u32 out)
{
	struct pintle_affinity *a = binding_find(key);

	if (!a)
		return;
	session_take_off(&a->open);
	if (a->sharing && !a->open)
		sharing_end(key, a);
	if (t && t->flags & PINTLE_TURN_RESTS)
		session_take_off(&a->idle);
	/* The newest request and its answer; without a turn there was no more than one. */
	if (t)
		in = t->in == in ? t->bytes : t->bytes + (in - t->in);
	if (t && t->state != PINTLE_TURN_UNSEEN)
		out -= t->answered;
	if (in)
		a->context_bytes = in + out;
}

/* A client's socket that connects again has a new connection. */
static __always_inline void turn_begin(struct pintle_turn *t, __u64 opened_ns)
{
	if (t->opened_ns == opened_ns)
		return;
	__builtin_memset(t, 0, sizeof(*t));
	t->opened_ns = opened_ns;
}

/* The majority vote of Boyer and Moore (MJRTY, 1981): a session with more than half of this CPU's
 * connections ends up in the entry. `share` is the session's part, a mean over the newest
 * connections. Two contexts on one CPU may interrupt each other here, which costs a vote. */
static __always_inline void majority_vote(const struct pintle_affinity_key *key)
{
	bool somebody = key->session.kind != PINTLE_KEY_NONE, same;
	const __u64 *a, *b = (const __u64 *)&key->session;
	__u32 pool = key->pool, seen;
	struct pintle_majority *m = bpf_map_lookup_elem(&majorities, &pool);

	if (!m)
		return;
	a = (const __u64 *)&m->session;
	same = somebody && a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
	if (m->pool_generation != key->pool_generation || (somebody && !same && !m->votes)) {
		m->session = key->session;
		m->pool_generation = key->pool_generation;
		m->votes = somebody;
		m->seen = 1;
		m->share = somebody ? PINTLE_MAJORITY_WHOLE : 0;
		return;
	}
	seen = m->seen < PINTLE_MAJORITY_WINDOW ? m->seen + 1 : PINTLE_MAJORITY_WINDOW;
	m->seen = seen;
	if (same) {
		m->votes += m->votes < PINTLE_MAJORITY_WINDOW;
		m->share += (PINTLE_MAJORITY_WHOLE - m->share) / seen;
	} else {
		m->votes -= !!m->votes;
		m->share -= m->share / seen;
	}
}

/* Whether a decision with this outcome binds its session. */
static __always_inline bool outcome_binds(const struct pintle_pool *pool, __u32 outcome)
{
	return pool->ttl_ns && outcome_has(outcome, PINTLE_BINDS);
}

/* ---- events ------------------------------------------------------------------ */

/* Events without room in the ring, one count for all hooks. Each event carries it to `pintle
 * events`. */
__u64 events_lost __weak = 0;

/* Who reads events. */
#define READ_BY_TAP   0x1 /* `pintle events`, while it follows */
#define READ_BY_AUDIT 0x2 /* the daemon, for the audit */

static __always_inline bool events_followed(__u64 now)
{
	__u32 slot = PINTLE_OVERRIDE_NODE;
	struct pintle_override *o = bpf_map_lookup_elem(&overrides, &slot);

	return o && o->tap_until_ns > now;
}

static __always_inline struct pintle_audited *audited_find(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&audited, &zero);
}

/* Returns READ_BY_*: who reads an event that the audit has with `what`, PINTLE_AUDIT_*. */
static __always_inline __u32 events_readers(__u64 now, __u32 what)
{
	struct pintle_audited *a = what ? audited_find() : NULL;

	return (events_followed(now) ? READ_BY_TAP : 0) | (a && a->what & what ? READ_BY_AUDIT : 0);
}

static __always_inline struct pintle_event *event_for_audit(void)
{
	struct pintle_event *e = bpf_ringbuf_reserve(&audit, sizeof(*e), 0);
	struct pintle_audited *a = e ? NULL : audited_find();

	if (a)
		__sync_fetch_and_add(&a->lost, 1);
	return e;
}

static __always_inline struct pintle_event *event_for_tap(void)
{
	struct pintle_event *e = bpf_ringbuf_reserve(&tap, sizeof(*e), 0);

	if (!e)
		__sync_fetch_and_add(&events_lost, 1);
	return e;
}

/* Reserves an event for *readers, with its head filled in, no failure, and zeros for the rest. The
 * caller submits it by event_end(). Where one ring is full, that is counted, and only the other
 * reader is left in *readers. Returns NULL without room for any. */
static __always_inline struct pintle_event *event_begin(__u32 *readers, __u32 type, __u32 hook,
							__u64 now)
{
	struct pintle_event *e = NULL;

	if (*readers & READ_BY_AUDIT)
		e = event_for_audit();
	if (!e) {
		*readers &= ~READ_BY_AUDIT;
		if (*readers & READ_BY_TAP)
			e = event_for_tap();
	}
	if (!e)
		return NULL;
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = now;
	e->type = type;
	e->hook = hook;
	e->failure = PINTLE_FAILURE_COUNT;
	e->lost = events_lost;
	return e;
}

static __always_inline void event_end(struct pintle_event *e, __u32 readers)
{
	if (readers == (READ_BY_TAP | READ_BY_AUDIT) && bpf_ringbuf_output(&tap, e, sizeof(*e), 0))
		__sync_fetch_and_add(&events_lost, 1);
	bpf_ringbuf_submit(e, 0);
}

#endif
