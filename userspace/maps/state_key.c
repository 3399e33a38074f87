/* SPDX-License-Identifier: Apache-2.0 */
/* state_key.c - session keys as text, and back. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <ctype.h>
#include <limits.h>
#include <sys/stat.h>

#include "../net/cgroup2.h"
#include "hash.bpf.h"
#include "names.h"
#include "state_internal.h"

#define V4_BITS   96 /* of ::ffff:a.b.c.d, those before a.b.c.d */
#define HINT_BITS 64 /* of a hint's id, those that are the same for every client */

/* ---- to text -------------------------------------------------------------------- */

/* The first half of an id whose second half is a client_id(). */
#define NAMED 1
/* The same, not made by the kernel: a pod's namespace and name, which state_session_resolve() turns
 * into the pod's key. */
#define UNRESOLVED 2

/* Before the cookie of a network namespace, where a pod's name could stand. */
#define NETNS "netns:"

/* Kinds whose id is a client_id(), or else the cookie of the client's network namespace. */
static bool is_of_pod(uint32_t kind)
{
	return kind == PINTLE_KEY_POD || kind == PINTLE_KEY_NAMESPACE || kind == PINTLE_KEY_ACCOUNT;
}

/* Kinds whose id may be a client_id(). */
static bool is_of_name(uint32_t kind)
{
	return kind == PINTLE_KEY_CGROUP || is_of_pod(kind);
}

/* The two numbers, in host byte order, that the kernel makes an id of. */
struct halves {
	uint64_t high, low;
};

static struct halves halves_of(const struct pintle_session_key *key)
{
	struct halves h;

	memcpy(&h, key->id, sizeof(h));
	return h;
}

static void format_hex(const struct pintle_session_key *key, char *to)
{
	for (size_t i = 0; i < sizeof(key->id); i++)
		sprintf(to + 2 * i, "%02x", key->id[i]);
}

static void format_source(const struct pintle_session_key *key, char *buf)
{
	unsigned int bits = MIN(key->prefix_bits, 128U);
	struct addr ip;

	memcpy(ip.bytes, key->id, sizeof(ip.bytes));
	addr_format_ip(&ip, buf);
	if (bits < 128) {
		size_t n = strlen(buf);
		bool v4 = addr_is_v4(&ip) && bits >= V4_BITS;

		snprintf(buf + n, STATE_KEY_SIZE - n, "/%u", v4 ? bits - V4_BITS : bits);
	}
}

/* ---- destinations ---------------------------------------------------------------- */

/* The id of a destination has only the bits beyond the frontend's prefix. */

static struct addr state_key_addr_of(const struct pintle_session_key *key)
{
	struct addr ip;

	memcpy(ip.bytes, key->id, sizeof(ip.bytes));
	return ip;
}

/* Whether the first `bits` of both are the same. */
static bool state_key_same_prefix(const struct addr *a, const struct addr *b, unsigned int bits)
{
	return addr_prefixes_overlap(a, bits, b, bits);
}

/* f: the frontend whose prefix completes the address; NULL: the bits alone, as the kernel keeps
 * them. */
static void format_destination(const struct pintle_session_key *key, const struct frontend_addr *f,
			       char *buf)
{
	struct addr ip = state_key_addr_of(key);
	char text[ADDR_TEXT_SIZE];

	for (size_t i = 0; f && i < sizeof(ip.bytes); i++)
		ip.bytes[i] |= f->prefix.bytes[i];
	snprintf(buf, STATE_KEY_SIZE, "destination:%s", addr_format_ip(&ip, text));
}

void state_session_destination(const struct state_pool *p, const struct pintle_session_key *key,
			       char *buf)
{
	static const struct addr none;
	const struct frontend_addr *best = NULL;
	struct addr beyond = state_key_addr_of(key);

	if (key->kind != PINTLE_KEY_DESTINATION)
		return;
	for (size_t i = 0; i < p->frontend_count; i++) {
		const struct frontend_addr *f = &p->frontends[i].addr;

		if (state_key_same_prefix(&beyond, &none, f->prefix_bits) &&
		    (!best || f->prefix_bits > best->prefix_bits))
			best = f;
	}
	if (best)
		format_destination(key, best, buf);
}

/* The key that the kernel makes of the address in `of` if that belongs to the frontend; else
 * `of`. */
static struct pintle_session_key key_beyond(const struct pintle_session_key *of,
					    const struct frontend_addr *f)
{
	struct pintle_session_key key = *of;
	struct addr ip = state_key_addr_of(of);

	if (state_key_same_prefix(&ip, &f->prefix, f->prefix_bits))
		for (size_t i = 0; i < sizeof(ip.bytes); i++)
			key.id[i] = ip.bytes[i] & (uint8_t)~f->prefix.bytes[i];
	return key;
}

/* The key that the kernel makes of a client's address: its first bits, as many as count in the
 * pool. */
static struct pintle_session_key key_of_source(struct addr ip, uint32_t bits_v4, uint32_t bits_v6)
{
	struct pintle_session_key key = {
		.kind = PINTLE_KEY_SOURCE,
		.prefix_bits = addr_is_v4(&ip) ? V4_BITS + bits_v4 : bits_v6,
	};

	addr_mask(&ip, key.prefix_bits);
	memcpy(key.id, ip.bytes, sizeof(key.id));
	return key;
}

struct pintle_session_key state_source_key(const struct addr *ip, uint32_t bits_v4,
					   uint32_t bits_v6)
{
	return key_of_source(*ip, bits_v4, bits_v6);
}

bool state_session_in_pool(const struct state_pool *p, const struct pintle_session_key *asked,
			   size_t i, struct pintle_session_key *out)
{
	if (i == 0)
		*out = *asked;
	else if (asked->kind == PINTLE_KEY_SOURCE && asked->prefix_bits == 128 && i == 1)
		*out = key_of_source(state_key_addr_of(asked), p->key_bits_v4, p->key_bits_v6);
	else if (asked->kind == PINTLE_KEY_DESTINATION && i <= p->frontend_count)
		*out = key_beyond(asked, &p->frontends[i - 1].addr);
	else
		return false;
	return true;
}

/* ---- any key to text ------------------------------------------------------------- */

const char *state_session_format(const struct pintle_session_key *key, char *buf)
{
	const char *name = key_name(key->kind);
	struct halves h = halves_of(key);
	char hex[2 * sizeof(key->id) + 1];
	bool plain = key->prefix_bits == 128 && !h.high;
	bool named = key->prefix_bits == 128 && h.high == NAMED && is_of_name(key->kind);

	if (key->kind == PINTLE_KEY_SOURCE) {
		format_source(key, buf);
	} else if (named) {
		snprintf(buf, STATE_KEY_SIZE, "%s:#%016llx", name, (unsigned long long)h.low);
	} else if (plain && is_of_pod(key->kind)) {
		snprintf(buf, STATE_KEY_SIZE, "%s:" NETNS "%llu", name, (unsigned long long)h.low);
	} else if (plain && (key->kind == PINTLE_KEY_CGROUP || key->kind == PINTLE_KEY_CLIENT)) {
		snprintf(buf, STATE_KEY_SIZE, "%s:%llu", name, (unsigned long long)h.low);
	} else if (plain && key->kind == PINTLE_KEY_MARK) {
		snprintf(buf, STATE_KEY_SIZE, "mark:0x%llx", (unsigned long long)h.low);
	} else if (key->prefix_bits == 128 && key->kind == PINTLE_KEY_DESTINATION) {
		format_destination(key, NULL, buf);
	} else {
		format_hex(key, hex);
		if (key->prefix_bits == 128 &&
		    (key->kind == PINTLE_KEY_HINT || key->kind == PINTLE_KEY_REQUEST))
			snprintf(buf, STATE_KEY_SIZE, "%s:%s", name, hex);
		else
			snprintf(buf, STATE_KEY_SIZE, "key:%u/%u/%s", key->kind,
				 MIN(key->prefix_bits, 128U), hex);
	}
	return buf;
}

/* ---- from text ------------------------------------------------------------------ */

/* text: what follows the slash ("24"); NULL: there is no slash, and all `most` bits count. */
static int parse_bits(const char *text, unsigned int most, unsigned int *bits)
{
	char *end;
	long n;

	if (!text) {
		*bits = most;
		return 0;
	}
	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	n = strtol(text, &end, 10);
	if (*end || n < 0 || n > (long)most)
		return -EINVAL;
	*bits = (unsigned int)n;
	return 0;
}

static int parse_source(const char *text, struct pintle_session_key *key)
{
	char address[ADDR_TEXT_SIZE], *slash;
	unsigned int bits = 0;
	struct addr ip, masked;
	uint32_t v4;
	int err;

	if (snprintf(address, sizeof(address), "%s", text) >= (int)sizeof(address))
		return -EINVAL;
	slash = strchr(address, '/');
	if (slash)
		*slash++ = '\0';
	if (inet_pton(AF_INET, address, &v4) == 1) {
		addr_from_v4(&ip, v4);
		err = parse_bits(slash, 32, &bits);
		bits += V4_BITS;
	} else if (inet_pton(AF_INET6, address, ip.bytes) == 1) {
		err = parse_bits(slash, 128, &bits);
	} else {
		return -EINVAL;
	}
	if (err)
		return err;
	masked = ip;
	addr_mask(&masked, bits);
	if (memcmp(&masked, &ip, sizeof(ip)))
		return -EINVAL;
	*key = (struct pintle_session_key){.kind = PINTLE_KEY_SOURCE, .prefix_bits = bits};
	memcpy(key->id, ip.bytes, sizeof(key->id));
	return 0;
}

static struct pintle_session_key state_key_key_of(uint32_t kind, uint64_t high, uint64_t low)
{
	struct pintle_session_key key = {.kind = kind, .prefix_bits = 128};
	struct halves h = {high, low};

	memcpy(key.id, &h, sizeof(key.id));
	return key;
}

/* Reads the whole of `text` as one number: no sign, no space, nothing behind it. */
static bool state_key_parse_number(const char *text, int base, uint64_t *n)
{
	char *end;

	if (!isxdigit((unsigned char)*text))
		return false;
	errno = 0;
	*n = strtoull(text, &end, base);
	return !*end && !errno;
}

static bool parse_hex(const char *text, uint8_t id[16])
{
	uint8_t bytes[16];

	if (strlen(text) != 2 * sizeof(bytes))
		return false;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		unsigned int byte;

		if (!isxdigit((unsigned char)text[2 * i]) ||
		    !isxdigit((unsigned char)text[2 * i + 1]) ||
		    sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		bytes[i] = (uint8_t)byte;
	}
	memcpy(id, bytes, sizeof(bytes));
	return true;
}

static int parse_client(const char *text, struct pintle_session_key *key)
{
	uint64_t n;

	if (!state_key_parse_number(text, 10, &n))
		return -EINVAL;
	*key = state_key_key_of(PINTLE_KEY_CLIENT, 0, n);
	return 0;
}

static int parse_mark(const char *text, struct pintle_session_key *key)
{
	uint64_t n;

	if (!state_key_parse_number(text, 0, &n) || n > UINT32_MAX)
		return -EINVAL;
	*key = state_key_key_of(PINTLE_KEY_MARK, 0, n);
	return 0;
}

/* A cgroup's id is the inode of its directory. A pattern is the name of a tenant. */
static int parse_cgroup_path(const char *text, struct pintle_session_key *key)
{
	char path[2 * PATH_MAX], root[PATH_MAX];
	struct stat st;

	if (strpbrk(text, "*?[") && strlen(text) < PINTLE_CLIENT_NAME_SIZE) {
		*key = state_key_key_of(PINTLE_KEY_CGROUP, NAMED, client_id(text));
		return 0;
	}
	if (cgroup2_root(root, sizeof(root)))
		return -EINVAL;
	if ((size_t)snprintf(path, sizeof(path), "%s%s", root, text) >= sizeof(path) ||
	    stat(path, &st))
		return -EINVAL;
	*key = state_key_key_of(PINTLE_KEY_CGROUP, 0, st.st_ino);
	return 0;
}

/* "#0123456789abcdef": the client_id() of a name that is not known. */
static int parse_id(uint32_t kind, const char *text, struct pintle_session_key *key)
{
	uint64_t n;

	if (!state_key_parse_number(text, 16, &n))
		return -EINVAL;
	*key = state_key_key_of(kind, NAMED, n);
	return 0;
}

static int parse_cgroup(const char *text, struct pintle_session_key *key)
{
	uint64_t n;

	if (text[0] == '/')
		return parse_cgroup_path(text, key);
	if (text[0] == '#')
		return parse_id(PINTLE_KEY_CGROUP, text + 1, key);
	if (!*text || strlen(text) >= PINTLE_CLIENT_NAME_SIZE)
		return -EINVAL;
	*key = state_key_parse_number(text, 10, &n)
		       ? state_key_key_of(PINTLE_KEY_CGROUP, 0, n)
		       : state_key_key_of(PINTLE_KEY_CGROUP, NAMED, client_id(text));
	return 0;
}

/* `before` stands before the name in what client_id() takes. */
static int parse_of_pod(uint32_t kind, const char *before, const char *text,
			struct pintle_session_key *key)
{
	char name[STATE_POD_SIZE];
	uint64_t n;

	if (text[0] == '#')
		return parse_id(kind, text + 1, key);
	if (!strncmp(text, NETNS, strlen(NETNS))) {
		if (!state_key_parse_number(text + strlen(NETNS), 10, &n))
			return -EINVAL;
		*key = state_key_key_of(kind, 0, n);
		return 0;
	}
	if (!*text || snprintf(name, sizeof(name), "%s%s", before, text) >= (int)sizeof(name))
		return -EINVAL;
	*key = state_key_key_of(kind, NAMED, client_id(name));
	return 0;
}

/* A pod is named as "NAMESPACE/NAME", or by its uid. */
static int parse_pod(const char *text, struct pintle_session_key *key)
{
	if (!strchr(text, '/'))
		return parse_of_pod(PINTLE_KEY_POD, "pod/", text, key);
	if (strlen(text) >= STATE_POD_SIZE)
		return -EINVAL;
	*key = state_key_key_of(PINTLE_KEY_POD, UNRESOLVED, client_id(text));
	return 0;
}

static int parse_namespace(const char *text, struct pintle_session_key *key)
{
	return parse_of_pod(PINTLE_KEY_NAMESPACE, "", text, key);
}

static int parse_account(const char *text, struct pintle_session_key *key)
{
	return parse_of_pod(PINTLE_KEY_ACCOUNT, "", text, key);
}

static int parse_destination(const char *text, struct pintle_session_key *key)
{
	struct addr ip;
	uint32_t v4;

	if (inet_pton(AF_INET, text, &v4) == 1)
		addr_from_v4(&ip, v4);
	else if (inet_pton(AF_INET6, text, ip.bytes) != 1)
		return -EINVAL;
	*key = (struct pintle_session_key){.kind = PINTLE_KEY_DESTINATION, .prefix_bits = 128};
	memcpy(key->id, ip.bytes, sizeof(key->id));
	return 0;
}

static int parse_hash(uint32_t kind, const char *text, struct pintle_session_key *key)
{
	struct pintle_session_key k = {.kind = kind, .prefix_bits = 128};

	if (!parse_hex(text, k.id))
		return -EINVAL;
	*key = k;
	return 0;
}

static int parse_hint(const char *text, struct pintle_session_key *key)
{
	return parse_hash(PINTLE_KEY_HINT, text, key);
}

static int parse_request(const char *text, struct pintle_session_key *key)
{
	return parse_hash(PINTLE_KEY_REQUEST, text, key);
}

static int parse_opaque(const char *text, struct pintle_session_key *key)
{
	struct pintle_session_key k = {0};
	int at = 0;

	if (sscanf(text, "%9u/%3u/%n", &k.kind, &k.prefix_bits, &at) != 2 || !at ||
	    k.prefix_bits > 128 || !parse_hex(text + at, k.id))
		return -EINVAL;
	*key = k;
	return 0;
}

/* Makes the first half of the id as bpf/hooks/hint.bpf.c does. The second half depends on the
 * client too (of_client() in bpf/hooks/connect.bpf.c), so this key means the sessions of all
 * clients with that hint. */
static int hash_hint(const char *text, const __u64 hint_key[2], struct pintle_session_key *key)
{
	struct hash_input in = {.size = (uint32_t)strnlen(text, PINTLE_HINT_MAX + 1)};
	struct hash_output out;

	if (!hint_key || !in.size || in.size > PINTLE_HINT_MAX)
		return -EINVAL;
	memcpy(in.key, hint_key, sizeof(in.key));
	memcpy(in.word, text, in.size);
	hash_text(&in, &out);
	*key = state_key_key_of(PINTLE_KEY_HINT, out.word[0], 0);
	key->prefix_bits = HINT_BITS;
	return 0;
}

int state_session_parse(const char *text, const __u64 hint_key[2], struct pintle_session_key *key)
{
	static const struct {
		const char *prefix;
		int (*parse)(const char *text, struct pintle_session_key *key);
	} kinds[] = {
		{"client:", parse_client},
		{"cgroup:", parse_cgroup},
		{"pod:", parse_pod},
		{"namespace:", parse_namespace},
		{"serviceAccount:", parse_account},
		{"mark:", parse_mark},
		{"hint:", parse_hint},
		{"request:", parse_request},
		{"destination:", parse_destination},
		{"key:", parse_opaque},
	};

	if (!strncmp(text, "hint=", 5))
		return hash_hint(text + 5, hint_key, key);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t length = strlen(kinds[i].prefix);

		if (!strncmp(text, kinds[i].prefix, length))
			return kinds[i].parse(text + length, key);
	}
	return parse_source(text, key);
}

bool state_session_meant(const struct state_pool *p, const struct pintle_session_key *asked,
			 const struct pintle_session_key *key)
{
	struct pintle_session_key one;

	if (asked->kind == PINTLE_KEY_HINT && asked->prefix_bits == HINT_BITS)
		return key->kind == PINTLE_KEY_HINT && !memcmp(key->id, asked->id, HINT_BITS / 8);
	for (size_t i = 0; state_session_in_pool(p, asked, i, &one); i++)
		if (!memcmp(&one, key, sizeof(one)))
			return true;
	return false;
}

/* ---- names of clients ----------------------------------------------------------- */

#define MAX_STEPS (2 * PINTLE_MAX_CLIENTS)

int state_clients_read(const struct maps *m, struct pintle_client **out, size_t *n)
{
	_cleanup_free_ struct pintle_client *all = calloc(PINTLE_MAX_CLIENTS, sizeof(*all));
	uint64_t key, *previous = NULL;
	int fd = m->fd[MAP_clients];
	size_t count = 0;

	if (!all)
		return -ENOMEM;
	for (int i = 0; i < MAX_STEPS && count < PINTLE_MAX_CLIENTS; i++) {
		struct pintle_client c;

		if (bpf_map_get_next_key(fd, previous, &key))
			break;
		previous = &key;
		if (bpf_map_lookup_elem(fd, &key, &c))
			continue;
		all[count].id = c.id;
		all[count].left_alone = c.left_alone;
		state_text(all[count].name, sizeof(c.name), c.name, sizeof(c.name));
		count++;
	}
	*out = TAKE_PTR(all);
	*n = count;
	return 0;
}

/* The maps hold no more pods than these; one that changes while it is walked may begin anew. */
#define MAX_POD_STEPS (2 * PINTLE_MAX_PODS)

static void pod_take(struct state_pod *to, uint64_t id, const struct pintle_pod *from)
{
	to->id = id;
	to->space = from->space;
	to->account = from->account;
	state_text(to->space_name, sizeof(to->space_name), from->space_name,
		   sizeof(from->space_name));
	state_text(to->name, sizeof(to->name), from->name, sizeof(from->name));
	state_text(to->account_name, sizeof(to->account_name), from->account_name,
		   sizeof(from->account_name));
	for (size_t i = 0; i < ARRAY_SIZE(to->addresses); i++)
		memcpy(to->addresses[i].bytes, from->addresses[i], sizeof(from->addresses[i]));
}

int state_pods_read(const struct maps *m, struct state_pod **out, size_t *n)
{
	_cleanup_free_ struct state_pod *all = NULL;
	uint64_t key, *previous = NULL;
	int fd = m->fd[MAP_pods];
	size_t count = 0, room = 0;

	for (int i = 0; i < MAX_POD_STEPS && count < PINTLE_MAX_PODS; i++) {
		struct pintle_pod p;

		if (bpf_map_get_next_key(fd, previous, &key))
			break;
		previous = &key;
		if (bpf_map_lookup_elem(fd, &key, &p))
			continue;
		if (!ROOM_FOR_ONE(all, count, room, 64))
			return -ENOMEM;
		pod_take(&all[count++], key, &p);
	}
	*out = TAKE_PTR(all);
	*n = count;
	return 0;
}

/* The pod with this name, "NAMESPACE/NAME", as client_id(). */
static uint64_t pod_by_name(const struct maps *m, uint64_t name)
{
	_cleanup_free_ struct state_pod *pods = NULL;
	char text[STATE_POD_SIZE];
	size_t n = 0;

	if (state_pods_read(m, &pods, &n))
		return 0;
	for (size_t i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%s/%s", pods[i].space_name, pods[i].name);
		if (client_id(text) == name)
			return pods[i].id;
	}
	return 0;
}

void state_session_resolve(const struct maps *m, struct pintle_session_key *key)
{
	struct halves h = halves_of(key);
	struct pintle_client c;

	if (key->kind == PINTLE_KEY_CGROUP && !h.high &&
	    !bpf_map_lookup_elem(m->fd[MAP_clients], &h.low, &c))
		*key = state_key_key_of(PINTLE_KEY_CGROUP, NAMED, c.id);
	else if (key->kind == PINTLE_KEY_POD && h.high == UNRESOLVED)
		*key = state_key_key_of(PINTLE_KEY_POD, NAMED, pod_by_name(m, h.low));
}

static bool name_client(const struct state_known *known, uint64_t id, const char *kind,
			char buf[STATE_KEY_SIZE])
{
	for (size_t i = 0; i < known->client_count; i++) {
		const char *name = known->clients[i].name;

		if (known->clients[i].id != id)
			continue;
		if (!strcmp(kind, "pod") && !strncmp(name, "pod/", 4))
			name += 4;
		snprintf(buf, STATE_KEY_SIZE, "%s:%s", kind, name);
		return true;
	}
	return false;
}

/* Names the session by the first pod that has this key of it. */
static void name_by_pods(const struct state_known *known, uint32_t kind, uint64_t id,
			 struct state_session *s)
{
	const char *name = key_name(kind);

	for (size_t i = 0; i < known->pod_count; i++) {
		const struct state_pod *p = &known->pods[i];

		if (kind == PINTLE_KEY_NAMESPACE && p->space == id)
			snprintf(s->text, sizeof(s->text), "%s:%s", name, p->space_name);
		else if (kind == PINTLE_KEY_ACCOUNT && p->account == id)
			snprintf(s->text, sizeof(s->text), "%s:%s/%s", name, p->space_name,
				 p->account_name);
		else if (p->id == id && (kind == PINTLE_KEY_POD || kind == PINTLE_KEY_CGROUP))
			snprintf(s->pod, sizeof(s->pod), "%s/%s", p->space_name, p->name);
		else
			continue;
		break;
	}
	if (kind == PINTLE_KEY_POD && s->pod[0])
		snprintf(s->text, sizeof(s->text), "%s:%s", name, s->pod);
}

void state_session_name(const struct state_known *known, struct state_session *s)
{
	const struct pintle_session_key *key = &s->key.session;
	struct halves h = halves_of(key);

	if (!is_of_name(key->kind) || h.high != NAMED)
		return;
	if (key->kind == PINTLE_KEY_CGROUP || key->kind == PINTLE_KEY_POD)
		name_client(known, h.low, key_name(key->kind), s->text);
	name_by_pods(known, key->kind, h.low, s);
}

/* ---- a client's keys --------------------------------------------------------------- */

static bool is_left_alone(const struct maps *m, uint64_t client)
{
	_cleanup_free_ struct pintle_client *all = NULL;
	bool left = false;
	size_t n = 0;

	if (state_clients_read(m, &all, &n))
		return false;
	for (size_t i = 0; i < n; i++)
		left |= all[i].id == client && all[i].left_alone;
	return left;
}

void state_client_learn(const struct maps *m, struct state_client *c,
			const struct pintle_session_key *key)
{
	struct halves h = halves_of(key);
	struct pintle_pod pod;

	if (key->kind == PINTLE_KEY_SOURCE && key->prefix_bits == 128) {
		c->has_ip = true;
		c->ip = state_key_addr_of(key);
	}
	if (key->kind == PINTLE_KEY_CGROUP && !h.high)
		c->cgroup = h.low;
	if ((key->kind != PINTLE_KEY_CGROUP && key->kind != PINTLE_KEY_POD) || h.high != NAMED)
		return;
	c->id = h.low;
	c->left_alone = is_left_alone(m, c->id);
	if (bpf_map_lookup_elem(m->fd[MAP_pods], &c->id, &pod))
		return;
	c->space_id = pod.space;
	c->account_id = pod.account;
	c->left_alone |= pod.left_alone;
}

bool state_client_is_pod(const struct maps *m, struct state_client *c, char name[STATE_POD_SIZE])
{
	_cleanup_free_ struct state_pod *pods = NULL;
	struct pintle_session_key key;
	size_t n = 0;

	if (!c->has_ip || addr_is_any(&c->ip) || state_pods_read(m, &pods, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (memcmp(&pods[i].addresses[0], &c->ip, sizeof(c->ip)) != 0 &&
		    memcmp(&pods[i].addresses[1], &c->ip, sizeof(c->ip)) != 0)
			continue;
		snprintf(name, STATE_POD_SIZE, "%s/%s", pods[i].space_name, pods[i].name);
		key = state_key_key_of(PINTLE_KEY_POD, NAMED, pods[i].id);
		state_client_learn(m, c, &key);
		return true;
	}
	return false;
}

static bool key_named(uint32_t kind, uint64_t id, struct pintle_session_key *key)
{
	if (id)
		*key = state_key_key_of(kind, NAMED, id);
	return id;
}

/* Makes the key that key_of_tuple() or key_of_caller() makes in the kernel, of what is known of the
 * client; false: that is not enough. */
static bool key_of_client(const struct state_client *c, uint32_t kind, uint32_t bits_v4,
			  uint32_t bits_v6, struct pintle_session_key *key)
{
	switch (kind) {
	case PINTLE_KEY_NONE:
		*key = (struct pintle_session_key){0};
		return true;
	case PINTLE_KEY_SOURCE:
		if (c->has_ip)
			*key = key_of_source(c->ip, bits_v4, bits_v6);
		return c->has_ip;
	case PINTLE_KEY_CLIENT:
		if (c->netns)
			*key = state_key_key_of(kind, 0, c->netns);
		return c->netns;
	case PINTLE_KEY_CGROUP:
		if (!c->id && c->cgroup)
			*key = state_key_key_of(kind, 0, c->cgroup);
		return c->id ? key_named(kind, c->id, key) : c->cgroup;
	case PINTLE_KEY_POD:
		return key_named(kind, c->id, key);
	case PINTLE_KEY_NAMESPACE:
		return key_named(kind, c->space_id, key);
	case PINTLE_KEY_ACCOUNT:
		return key_named(kind, c->account_id, key);
	}
	return false;
}

bool state_client_session(const struct state_pool *p, const struct state_client *c,
			  struct pintle_session_key *key)
{
	const struct pintle_session_key *asked = &c->session;
	struct pintle_session_key one;

	/* A session that the request names comes before the client's (asking_session()). */
	if (asked->kind == PINTLE_KEY_REQUEST && p->decide == PINTLE_DECIDE_REQUEST) {
		*key = *asked;
		return true;
	}
	if (p->key_kind == PINTLE_KEY_NONE || asked->kind != p->key_kind)
		return key_of_client(c, p->key_kind, p->key_bits_v4, p->key_bits_v6, key);
	*key = *asked;
	/* The last that differs is the one that the kernel makes of an address. */
	for (size_t i = 1; state_session_in_pool(p, asked, i, &one); i++)
		if (memcmp(&one, asked, sizeof(one)))
			*key = one;
	return true;
}

void state_client_tenant(const struct state_pool *p, const struct state_client *c,
			 struct pintle_session_key *key)
{
	struct pintle_session_key found;

	*key = (struct pintle_session_key){0};
	if (key_of_client(c, p->tenant_key & 0xff, p->tenant_key >> 8 & 0xff,
			  p->tenant_key >> 16 & 0xff, &found))
		*key = found;
}

bool state_client_group(const struct state_pool *p, const struct state_client *c,
			struct pintle_session_key *key)
{
	const struct pintle_session_key *session = &c->session;

	if (key_of_client(c, p->group_kind, p->group_bits_v4, p->group_bits_v6, key))
		return true;
	/* A hint names a session and a group apart; of a prefix, a shorter one may be the group. */
	if (session->kind != p->group_kind || session->kind == PINTLE_KEY_HINT ||
	    session->kind == PINTLE_KEY_SOURCE)
		return false;
	if (p->key_kind == p->group_kind)
		return state_client_session(p, c, key);
	*key = *session;
	return true;
}

/* ---- paths of cgroups ------------------------------------------------------------ */

struct paths {
	struct state_session **wanted; /* by id */
	size_t count;
};

static uint64_t cgroup_of(const struct state_session *s)
{
	struct halves h = halves_of(&s->key.session);

	return s->key.session.kind == PINTLE_KEY_CGROUP && !h.high ? h.low : 0;
}

static int state_key_by_cgroup(const void *left, const void *right)
{
	uint64_t a = cgroup_of(*(struct state_session *const *)left);
	uint64_t b = cgroup_of(*(struct state_session *const *)right);

	return (a > b) - (a < b);
}

/* Several sessions may belong to the cgroup: one for each pool. */
static bool take_path(void *arg, const struct cgroup2_visit *v)
{
	const struct paths *p = arg;
	size_t from = 0, to = p->count;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (cgroup_of(p->wanted[middle]) < v->id)
			from = middle + 1;
		else
			to = middle;
	}
	for (; from < p->count && cgroup_of(p->wanted[from]) == v->id; from++) {
		if (strlen(v->path) + sizeof("cgroup:") > STATE_KEY_SIZE)
			break;
		snprintf(p->wanted[from]->text, STATE_KEY_SIZE, "cgroup:%s", v->path);
	}
	return true;
}

void state_sessions_paths(struct state_session *sessions, size_t n)
{
	_cleanup_free_ struct state_session **wanted =
		calloc(n + 1, sizeof(struct state_session *));
	struct paths p = {.wanted = wanted};
	char root[PATH_MAX];

	for (size_t i = 0; wanted && i < n; i++)
		if (cgroup_of(&sessions[i]))
			wanted[p.count++] = &sessions[i];
	if (!p.count || cgroup2_root(root, sizeof(root)))
		return;
	qsort(wanted, p.count, sizeof(*wanted), state_key_by_cgroup);
	cgroup2_walk(root, "", take_path, &p);
}
