/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - the table of keys, the walk along it, and the file. */
#include "config.h"

#include <arpa/inet.h>
#include <fcntl.h>

#include "config_internal.h"
#include "engine_names.h"
#include "util.h"

#define CONFIG_MAX_BYTES (1024 * 1024)

/* ---- the table ------------------------------------------------------------- */

static const char *const api_versions[] = {"pintle.dev/v1alpha1", NULL};
static const char *const kinds[] = {"PintleConfig", NULL};
static const char *const failure_modes[] = {
	[PINTLE_FAIL_OPEN] = "FailOpen", [PINTLE_FAIL_CLOSE] = "FailClose", NULL};

#define X(symbol, name, says) name,
static const char *const engines[] = {PINTLE_ENGINES(X) NULL};
static const char *const modes[] = {PINTLE_MODES(X) NULL};
#undef X

static const struct config_list pool_list = {
	.size = sizeof(struct config_pool),
	.count = offsetof(struct config, pool_count),
	.line = offsetof(struct config_pool, line),
};
static const struct config_list endpoint_list = {
	.size = sizeof(struct config_endpoint),
	.count = offsetof(struct config_pool, endpoint_count),
	.line = offsetof(struct config_endpoint, line),
};
static const struct config_list frontend_list = {
	.size = sizeof(struct frontend_addr),
	.count = offsetof(struct config_pool, frontend_count),
};

/* The walk writes a session's key and group through this one struct. */
_Static_assert(sizeof(struct key_bits) == offsetof(struct config_stickiness, group_kind) &&
		       offsetof(struct key_bits, v4) ==
			       offsetof(struct config_stickiness, key_bits_v4) &&
		       offsetof(struct key_bits, v6) ==
			       offsetof(struct config_stickiness, key_bits_v6),
	       "struct key_bits is not what struct config_stickiness holds");

#define NODE(member)     .offset = offsetof(struct config, member)
#define POOL(member)     .offset = offsetof(struct config_pool, member)
#define ENDPOINT(member) .offset = offsetof(struct config_endpoint, member)

#define MSEC     ((double)NSEC_PER_MSEC)
#define SEC      ((double)NSEC_PER_SEC)
#define HOUR     (3600 * SEC)
#define MAX_TEXT (PINTLE_TEXT_SIZE - 1)
#define MAX_NAME (PINTLE_NAME_SIZE - 1)
#define MAX_LOAD ((double)PINTLE_MAX_LOAD / 1000) /* request equivalents */

/* Parents stand before their keys; docs/configuration.md keeps this order. */
const struct key config_keys[] = {
	{"apiVersion", KEY_CONSTANT, .required = true, .choices = api_versions,
	 .help = "The layout of this file."},
	{"kind", KEY_CONSTANT, .required = true, .choices = kinds, .help = "What this file is."},

	{"node", KEY_MAP, .help = "What holds for the node as a whole."},
	{"node.bpffs", KEY_PATH, .max = MAX_TEXT, .preset = "/sys/fs/bpf/pintle", NODE(bpffs),
	 .help = "Directory, in a bpf file system, for the pinned maps and links."},
	{"node.netns", KEY_PATH, .max = MAX_TEXT, .preset = "/proc/self/ns/net", NODE(netns),
	 .help = "The network namespace whose listeners are steered; the default is pintled's own."},
	{"node.cgroup", KEY_PATH, .max = MAX_TEXT, NODE(cgroup),
	 .absent = "the cgroup2 root, found in the mount table",
	 .help = "The cgroup whose sockets are watched: model servers must run in or below it."},
	{"node.metrics", KEY_SERVE, .preset = "127.0.0.1:9464", NODE(metrics),
	 .help = "Where pintled serves /metrics, /healthz and /readyz."},
	{"node.group", KEY_ACCOUNT, .max = 31, .absent = "root", NODE(group),
	 .help = "The group that the pins belong to: its members can run the CLI's nouns."},

	{"pools", KEY_MAPS, .required = true, .max = PINTLE_MAX_POOLS, NODE(pools),
	 .list = &pool_list, .help = "The pools: each the endpoints of one model, and its policy."},
	{"pools[].name", KEY_NAME, .required = true, .max = MAX_NAME, POOL(name),
	 .help = "The pool's name, once in the file."},
	{"pools[].engine", KEY_WORD, .choices = engines, .preset = "vllm", POOL(engine),
	 .help = "Which engine's metric names the endpoints' pages use; see Engines."},
	{"pools[].frontends", KEY_FRONTENDS, .required = true, .max = CONFIG_MAX_FRONTENDS,
	 POOL(frontends), .list = &frontend_list,
	 .help = "What clients connect to: addresses or address prefixes, each with a port. An "
		 "address and port belongs to one frontend only. A prefix shorter than ::/96, "
		 "such as ::/0, takes in every IPv4 address too."},
	{"pools[].announce", KEY_BOOL, .preset = "false", POOL(announce),
	 .help = "Whether pintled adds local routes for the frontends, so that this node takes "
		 "their connections. Refused for prefixes shorter than /8 (IPv4) or /16 (IPv6)."},

	{"pools[].endpoints", KEY_MAPS, .required = true, .max = PINTLE_MAX_ENDPOINTS,
	 POOL(endpoints), .list = &endpoint_list, .help = "The model servers of the pool."},
	{"pools[].endpoints[].name", KEY_NAME, .required = true, .max = MAX_NAME, ENDPOINT(name),
	 .help = "The endpoint's name, once in the pool."},
	{"pools[].endpoints[].listen", KEY_LISTEN, .required = true, ENDPOINT(listen),
	 .help = "Where the model server listens. A port alone means any listener on it, "
		 "whatever its address; so only one endpoint can have that port."},
	{"pools[].endpoints[].metrics", KEY_URL, .max = 1023, ENDPOINT(metrics_url),
	 .absent = "`http://`, the address and port of `listen`, and `scrape.path`; for a port "
		   "alone 127.0.0.1, then ::1",
	 .help = "The endpoint's metrics page."},
	{"pools[].endpoints[].gpu", KEY_MAP, .absent = "no GPU figures",
	 .help = "Which GPU of the pool's `dcgm` page is the endpoint's: one of the two keys."},
	{"pools[].endpoints[].gpu.index", KEY_INTEGER, .min = 0, .max = 1023, ENDPOINT(gpu_index),
	 .absent = "not joined by index", .help = "The series' `gpu` label."},
	{"pools[].endpoints[].gpu.pod", KEY_NAME, .max = MAX_TEXT, ENDPOINT(gpu_pod),
	 .absent = "not joined by pod",
	 .help = "The series' `pod` label; of several GPUs the busiest counts."},

	{"pools[].mode", KEY_CHOICE, .choices = modes, .preset = "enforce", POOL(mode),
	 .help = "How the pool is steered until `pintle mode` says otherwise; see Modes."},
	{"pools[].failureMode", KEY_CHOICE, .choices = failure_modes, .preset = "FailOpen",
	 POOL(failure_mode),
	 .help = "With no endpoint ready: FailOpen hashes connections over all endpoints, "
		 "FailClose refuses them at once."},

	{"pools[].scrape", KEY_MAP, .help = "How the endpoints' metrics pages are read."},
	{"pools[].scrape.interval", KEY_DURATION, .min = 10 * MSEC, .max = HOUR, .preset = "200ms",
	 POOL(scrape.interval_ns), .help = "From one scrape of an endpoint to the next."},
	{"pools[].scrape.timeout", KEY_DURATION, .min = 10 * MSEC, .max = HOUR, .preset = "1s",
	 POOL(scrape.timeout_ns), .help = "A page that takes longer counts as a failure."},
	{"pools[].scrape.path", KEY_URL_PATH, .max = 255, .preset = "/metrics", POOL(scrape.path),
	 .help = "Path of the page, for endpoints without a `metrics` URL."},

	{"pools[].stickiness", KEY_MAP, .help = "What keeps a session on its endpoint."},
	{"pools[].stickiness.key", KEY_SESSION, .preset = "source", POOL(stickiness.key_kind),
	 .help = "What makes a session: `source` is the client's address, `source/24/64` its first "
		 "24 bits (IPv4) or 64 bits (IPv6). A length left out is 32 or 128."},
	{"pools[].stickiness.group", KEY_GROUP, .preset = "none", POOL(stickiness.group_kind),
	 .help = "Sessions of one group share a home: the endpoint that the first connection of "
		 "each prefers. Written as `key` is, but an IPv6 length left out is 64."},
	{"pools[].stickiness.ttl", KEY_DURATION, .min = 0, .max = 720 * HOUR, .preset = "300s",
	 POOL(stickiness.ttl_ns), .help = "A binding unused for so long is forgotten."},
	{"pools[].stickiness.maxExtraLoad", KEY_NUMBER, .min = 0, .max = MAX_LOAD, .preset = "8",
	 POOL(stickiness.max_extra_load),
	 .help = "By how many request equivalents the preferred endpoint may be ahead of the "
		 "least loaded one before a session leaves it."},

	{"pools[].weights", KEY_MAP,
	 .help = "What each signal adds to an endpoint's load, in request equivalents."},
	{"pools[].weights.queue", KEY_NUMBER, .min = 0, .max = 1000, .preset = "2",
	 POOL(weights.queue), .help = "A request that waits."},
	{"pools[].weights.kvCache", KEY_NUMBER, .min = 0, .max = 1000, .preset = "2",
	 POOL(weights.kv_cache),
	 .help = "A KV cache at its threshold, for each request of `saturation.queueDepth`; it "
		 "grows with the fourth power of the share in use."},
	{"pools[].weights.running", KEY_NUMBER, .min = 0, .max = 1000, .preset = "1",
	 POOL(weights.running),
	 .help = "A request that runs, and each connection opened since the scrape."},
	{"pools[].weights.gpu", KEY_NUMBER, .min = 0, .max = 1000, .preset = "0", POOL(weights.gpu),
	 .help = "A GPU in full use."},

	{"pools[].saturation", KEY_MAP, .help = "When an endpoint is full, and a score too old."},
	{"pools[].saturation.queueDepth", KEY_NUMBER, .min = 1, .max = MAX_LOAD, .preset = "5",
	 POOL(saturation.queue_depth),
	 .help = "Waiting requests from which on an endpoint is saturated."},
	{"pools[].saturation.kvCache", KEY_NUMBER, .min = 0.01, .max = 1, .preset = "0.8",
	 POOL(saturation.kv_cache),
	 .help = "Share of the KV cache in use from which on an endpoint is saturated."},
	{"pools[].saturation.staleness", KEY_DURATION, .min = 10 * MSEC, .max = HOUR,
	 .preset = "2s", POOL(saturation.staleness_ns),
	 .help = "A score older than this is not believed."},

	{"pools[].dcgm", KEY_MAP, .absent = "no GPU figures",
	 .help = "The DCGM exporter whose figures `endpoints[].gpu` picks from."},
	{"pools[].dcgm.url", KEY_URL, .required = true, .max = 1023, POOL(dcgm_url),
	 .help = "Its page, such as `http://127.0.0.1:9400/metrics`."},
	{"pools[].dcgm.interval", KEY_DURATION, .min = 10 * MSEC, .max = HOUR, .preset = "5s",
	 POOL(dcgm_interval_ns),
	 .help = "From one scrape of it to the next. The exporter itself collects every 30 s "
		 "unless told otherwise."},
};
const size_t config_key_count = ARRAY_SIZE(config_keys);

bool key_is_child(const struct key *k, const char *prefix)
{
	size_t length = strlen(prefix);

	return !strncmp(k->path, prefix, length) && !strpbrk(k->path + length, ".[");
}

const char *key_local(const struct key *k)
{
	const char *dot = strrchr(k->path, '.');

	return dot ? dot + 1 : k->path;
}

const char *key_label(const struct key *k)
{
	const char *label = k->path;

	for (const char *p = k->path; (p = strstr(p, "[].")); p += 3)
		label = p + 3;
	return label;
}

void key_prefix(const struct key *k, char prefix[KEY_PREFIX_SIZE])
{
	snprintf(prefix, KEY_PREFIX_SIZE, "%s%s", k->path, k->type == KEY_MAPS ? "[]." : ".");
}

/* ---- the walk -------------------------------------------------------------- */

struct walk {
	struct report *report;
	size_t elements[ARRAY_SIZE(config_keys)]; /* of a list's key, in the whole file */
};

static void read_map(struct walk *w, const struct node *map, const char *prefix, void *base);

/* Every default beneath one element is a line of the table, read as the file's lines are. */
static void read_presets(struct walk *w, const char *prefix, void *base)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *k = &config_keys[i];
		struct node n = {.kind = NODE_SCALAR, .plain = true};

		if (strncmp(k->path, prefix, strlen(prefix)) != 0 ||
		    strstr(k->path + strlen(prefix), "[]"))
			continue;
		if (!k->preset) {
			if (k->type == KEY_INTEGER) /* which has no NULL */
				*(int *)((char *)base + k->offset) = -1;
			continue;
		}
		n.text = (char *)k->preset;
		n.length = strlen(k->preset);
		value_read(w->report, k, &n, (char *)base + k->offset);
	}
}

static const char *in_what(const char *prefix, char buf[KEY_PREFIX_SIZE])
{
	if (!prefix[0])
		return "at the top";
	snprintf(buf, KEY_PREFIX_SIZE, "in %.*s", (int)strlen(prefix) - 1, prefix);
	return buf;
}

/* A key that is right, but stands in the wrong mapping. */
static const struct key *find_elsewhere(const char *text)
{
	for (size_t i = 0; i < config_key_count; i++) {
		if (!strcmp(key_local(&config_keys[i]), text))
			return &config_keys[i];
	}
	return NULL;
}

static void report_unknown(struct walk *w, const struct node *name, const char *prefix)
{
	char quoted[QUOTED_SIZE], place[KEY_PREFIX_SIZE], known[WANTED_SIZE] = "";
	struct nearest nearest = {0};
	const struct key *elsewhere = find_elsewhere(name->text);
	size_t used = 0;

	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *k = &config_keys[i];

		if (!key_is_child(k, prefix))
			continue;
		nearest_try(&nearest, name->text, key_local(k));
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s",
					 used ? ", " : "", key_local(k));
		used = MIN(used, sizeof(known) - 1);
	}
	quote(name->text, name->length, quoted);
	if (elsewhere)
		report_error(w->report, name->line, name->column,
			     "unknown key %s %s; the key that is read is %s", quoted,
			     in_what(prefix, place), elsewhere->path);
	else if (nearest.best)
		report_error(w->report, name->line, name->column,
			     "unknown key %s %s; did you mean \"%s\"?", quoted,
			     in_what(prefix, place), nearest.best);
	else
		report_error(w->report, name->line, name->column,
			     "unknown key %s %s; known here: %s", quoted, in_what(prefix, place),
			     known);
}

static const struct key *find_key(const struct node *name, const char *prefix)
{
	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *k = &config_keys[i];

		if (key_is_child(k, prefix) && strlen(key_local(k)) == name->length &&
		    !memcmp(key_local(k), name->text, name->length))
			return k;
	}
	return NULL;
}

/* What of a list may still be taken, of `n`'s children: the file's total is limited. */
static size_t admit_elements(struct walk *w, const struct key *k, const struct node *n)
{
	size_t *total = &w->elements[k - config_keys];
	size_t room = (size_t)k->max - *total;
	const struct node *excess;

	if (!n->count)
		report_error(w->report, n->line, n->column, "%s is empty; write at least one",
			     key_label(k));
	if (n->count > room) {
		excess = node_at(n, room);
		report_error(w->report, excess->line, excess->column,
			     "%s: more than %.0f in the file; take some out", key_label(k), k->max);
	}
	*total += MIN(n->count, room);
	return MIN(n->count, room);
}

/* Elements that are refused stay zero, so that element i goes with child i. */
static void *make_elements(struct walk *w, const struct key *k, const struct node *n, void *base,
			   size_t *count)
{
	void *elements;

	*count = admit_elements(w, k, n);
	elements = calloc(*count + 1, k->list->size);
	if (!elements) {
		w->report->out_of_memory = true;
		*count = 0;
		return NULL;
	}
	*(void **)((char *)base + k->offset) = elements;
	*(size_t *)((char *)base + k->list->count) = *count;
	return elements;
}

static void read_maps(struct walk *w, const struct key *k, const struct node *n, void *base)
{
	char prefix[KEY_PREFIX_SIZE];
	size_t count;
	char *element = make_elements(w, k, n, base, &count);
	const struct node *child = n->first;

	key_prefix(k, prefix);
	for (size_t i = 0; i < count; i++, child = child->next, element += k->list->size) {
		*(int *)(element + k->list->line) = child->line;
		read_presets(w, prefix, element);
		read_map(w, child, prefix, element);
	}
}

static void read_frontends(struct walk *w, const struct key *k, const struct node *n, void *base)
{
	size_t count;
	struct frontend_addr *frontends = make_elements(w, k, n, base, &count);
	const struct node *child = n->first;

	for (size_t i = 0; i < count; i++, child = child->next)
		value_read_frontend(w->report, k, child, &frontends[i]);
}

static void report_kind(struct walk *w, const struct node *n, const char *label, const char *wants)
{
	static const char *const kind_names[] = {
		[NODE_SCALAR] = "one value", [NODE_LIST] = "a list", [NODE_MAP] = "a mapping"};

	if (n->kind != NODE_BROKEN)
		report_error(w->report, n->line, n->column, "%s is %s; write %s", label,
			     kind_names[n->kind], wants);
}

static void read_value(struct walk *w, const struct key *k, const struct node *n, void *base)
{
	enum node_kind kind = k->type == KEY_MAP                                ? NODE_MAP
			      : k->type == KEY_MAPS || k->type == KEY_FRONTENDS ? NODE_LIST
										: NODE_SCALAR;
	char wants[WANTED_SIZE], prefix[KEY_PREFIX_SIZE];

	if (n->kind != kind) {
		report_kind(w, n, key_label(k), key_wants(k, wants));
		return;
	}
	switch (k->type) {
	case KEY_MAP:
		key_prefix(k, prefix);
		read_map(w, n, prefix, base);
		break;
	case KEY_MAPS:
		read_maps(w, k, n, base);
		break;
	case KEY_FRONTENDS:
		read_frontends(w, k, n, base);
		break;
	default:
		value_read(w->report, k, n, (char *)base + k->offset);
	}
}

static void report_missing(struct walk *w, const struct node *map, const char *prefix,
			   const struct node *const *seen)
{
	char wants[WANTED_SIZE], place[KEY_PREFIX_SIZE];

	for (size_t i = 0; i < config_key_count; i++) {
		const struct key *k = &config_keys[i];

		if (k->required && !seen[i] && key_is_child(k, prefix))
			report_error(w->report, map->line, map->column,
				     "\"%s\" is missing %s; add it: %s", key_local(k),
				     in_what(prefix, place), key_wants(k, wants));
	}
}

static void read_map(struct walk *w, const struct node *map, const char *prefix, void *base)
{
	const struct node *seen[ARRAY_SIZE(config_keys)] = {0};
	char place[KEY_PREFIX_SIZE];

	if (map->kind != NODE_MAP) {
		report_kind(w, map, prefix[0] ? in_what(prefix, place) + 3 : "the file",
			    "a mapping: keys with values");
		return;
	}
	for (const struct node *n = map->first; n && !report_full(w->report); n = n->next) {
		const struct key *k;

		if (n->key->kind != NODE_SCALAR) {
			report_kind(w, n->key, "a key", "a name");
			continue;
		}
		k = find_key(n->key, prefix);
		if (!k) {
			report_unknown(w, n->key, prefix);
			continue;
		}
		if (seen[k - config_keys]) {
			report_error(w->report, n->key->line, n->key->column,
				     "\"%s\" stands here again; keep this or that of line %d",
				     key_local(k), seen[k - config_keys]->line);
			continue;
		}
		seen[k - config_keys] = n->key;
		read_value(w, k, n, base);
	}
	report_missing(w, map, prefix, seen);
}

/* ---- the whole ------------------------------------------------------------- */

/* "http://" listen scrape.path, once both are known. */
static int derive_metrics_url(const struct config_pool *p, struct config_endpoint *e)
{
	struct addr loopback;
	char address[ADDR_TEXT_SIZE];

	if (e->metrics_url)
		return 0;
	addr_from_v4(&loopback, htonl(INADDR_LOOPBACK));
	addr_format(e->listen.any_ip ? &loopback : &e->listen.ip, e->listen.port, address);
	if (asprintf(&e->metrics_url, "http://%s%s", address, p->scrape.path) < 0) {
		e->metrics_url = NULL;
		return -ENOMEM;
	}
	e->metrics_fallback_v6 = e->listen.any_ip;
	return 0;
}

static int derive_metrics_urls(struct config *c)
{
	for (size_t p = 0; p < c->pool_count; p++) {
		for (size_t e = 0; e < c->pools[p].endpoint_count; e++) {
			int err = derive_metrics_url(&c->pools[p], &c->pools[p].endpoints[e]);

			if (err)
				return err;
		}
	}
	return 0;
}

static int read_text(struct report *r, const char *name, const char *text, size_t size,
		     struct config **out)
{
	_cleanup_(config_freep) struct config *c = calloc(1, sizeof(*c));
	_cleanup_(tree_free) struct tree tree = {0};
	struct walk w = {.report = r};

	if (!c || !(c->path = strdup(name))) {
		r->out_of_memory = true;
		return -ENOMEM;
	}
	if (!tree_read(&tree, text, size, r))
		return -EINVAL;
	if (!tree.root) {
		report_error(r, 1, 1, "the file holds no document; begin with apiVersion: %s",
			     api_versions[0]);
		return -EINVAL;
	}
	read_presets(&w, "", c);
	read_map(&w, tree.root, "", c);
	config_check(c, tree.root, r);
	if (r->errors || r->out_of_memory)
		return -EINVAL;
	if (derive_metrics_urls(c)) {
		r->out_of_memory = true;
		return -ENOMEM;
	}
	*out = TAKE_PTR(c);
	return 0;
}

int config_parse(const char *name, const char *text, size_t size, const struct config_sink *sink,
		 struct config **out)
{
	_cleanup_(report_free) struct report r = {0};
	locale_t outer = numbers_begin();
	int err;

	if (size > CONFIG_MAX_BYTES) {
		report_error(&r, 1, 1, "the file is larger than 1 MiB; take some out");
		err = -EINVAL;
	} else {
		err = read_text(&r, name, text, size, out);
	}
	numbers_end(outer);
	report_tell(&r, name, sink);
	return r.out_of_memory ? -ENOMEM : err;
}

/* Returns the bytes read, at most CONFIG_MAX_BYTES + 1, so that too much shows. */
static ssize_t read_whole(int fd, char *text)
{
	size_t size = 0;

	while (size <= CONFIG_MAX_BYTES) {
		ssize_t n = read(fd, text + size, CONFIG_MAX_BYTES + 1 - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		size += (size_t)n;
	}
	return (ssize_t)size;
}

int config_load(const char *path, const struct config_sink *sink, struct config **out)
{
	_cleanup_free_ char *text = malloc(CONFIG_MAX_BYTES + 1);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -errno : text ? read_whole(fd, text) : -ENOMEM;
	char message[256];

	if (size < 0) {
		snprintf(message, sizeof(message),
			 "cannot be read: %s; name a configuration file that can",
			 strerror((int)-size));
		sink->error(sink->arg, path, 1, 1, message);
		return (int)size;
	}
	return config_parse(path, text, (size_t)size, sink, out);
}

static void free_endpoint(struct config_endpoint *e)
{
	free(e->name);
	free(e->metrics_url);
	free(e->gpu_pod);
}

static void free_pool(struct config_pool *p)
{
	for (size_t i = 0; i < p->endpoint_count; i++)
		free_endpoint(&p->endpoints[i]);
	free(p->endpoints);
	free(p->frontends);
	free(p->name);
	free(p->scrape.path);
	free(p->dcgm_url);
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->pool_count; i++)
		free_pool(&c->pools[i]);
	free(c->pools);
	free(c->path);
	free(c->bpffs);
	free(c->netns);
	free(c->cgroup);
	free(c->metrics);
	free(c->group);
	free(c);
}
