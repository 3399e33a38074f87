/* SPDX-License-Identifier: Apache-2.0 */
/* warnings.c - what an operator should know even though connections are steered. */
#include "warnings.h"

#include <limits.h>
#include <stdarg.h>

#include "../../base/text.h"
#include "../../config/config_here.h"
#include "../../maps/names.h"
#include "../../net/routes.h"
#include "../programs.h"
#include "traits.bpf.h"

/* A node with a thousand sick endpoints still shows the other kinds of warnings. */
#define MAX_OF_A_KIND 10

static void warn(cJSON *list, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void warn(cJSON *list, const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	cJSON *item;
	va_list ap;

	va_start(ap, fmt);
	text = text_vformat(fmt, ap);
	va_end(ap);
	if (!text)
		return;
	item = cJSON_CreateString(text);
	if (!cJSON_AddItemToArray(list, item))
		cJSON_Delete(item);
}

/* ---- the daemon and the links ---------------------------------------------------- */

static void daemon_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	const struct pintle_node *n = &s->node;

	(void)cli;
	if (!n->attached_ns)
		warn(list, "the maps are pinned, but nothing is attached: nothing is steered");
	if (!s->daemon_alive)
		warn(list, "pintled does not run: no page is read, and the scores grow old; "
			   "connections are steered by those in flight");
	if (n->version[0] && strcmp(n->version, PINTLE_VERSION) != 0)
		warn(list, "pintled is version %s, this program %s", n->version, PINTLE_VERSION);
	if (n->drift)
		warn(list,
		     "counters of connections in flight were wrong by %llu so far, and corrected: "
		     "another program takes callback flags away; `pintle doctor` names the "
		     "programs on the hook",
		     n->drift);
}

/* A program that runs before Pintle's and replaces the frontend's address leaves Pintle nothing to
 * steer. */
static void order_warning(cJSON *list, const struct cli *cli, const struct state *s)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = open_watched_cgroup(s, path);
	struct programs p;

	if (fd < 0 || programs_query(cli, fd, LINK_CONNECT4, &p) || p.own == p.count || !p.own)
		return;
	warn(list,
	     "at connect() %s (program %u) runs before Pintle's: what it rewrites is not "
	     "steered; `pintle doctor` says what helps",
	     p.all[0].name, p.all[0].id);
}

static void link_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	char why[LINK_TROUBLE_SIZE];

	if (geteuid())
		return;
	for (int i = 0; i < LINK_COUNT; i++)
		if (link_trouble(cli, s, (enum link_id)i, why))
			warn(list, "%s; %s", why, link_cure(s));
	if (link_wanted(s, LINK_CONNECT4))
		order_warning(list, cli, s);
}

/* ---- endpoints ------------------------------------------------------------------- */

static void unsteerable_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	char name[ENDPOINT_NAME_SIZE];
	int left = MAX_OF_A_KIND;

	(void)cli;
	for (size_t i = 0; i < s->endpoint_count && left; i++) {
		const struct state_endpoint *e = &s->endpoints[i];
		char why[64] = "";

		if (!e->unsteerable)
			continue;
		left--;
		/* Only this reason says too little by itself; for MPTCP the errno is a bare
		 * EINVAL. */
		if (e->unsteerable == PINTLE_UNSTEERABLE_OTHER && e->unsteerable_error)
			snprintf(why, sizeof(why), " (%s)", strerror(e->unsteerable_error));
		if (unsteerable_stranger(e->unsteerable))
			snprintf(why, sizeof(why), " (uid %u)", e->stranger);
		warn(list, "%s is %s%s: %s", endpoint_name(s, e, name),
		     unsteerable_text(e->unsteerable), why, unsteerable_cure(e->unsteerable));
	}
}

static bool pool_serves(const struct state_pool *p, bool v4)
{
	for (size_t i = 0; i < p->frontend_count; i++) {
		const struct frontend_addr *a = &p->frontends[i].addr;

		/* A prefix shorter than ::ffff:0:0/96 holds both families; nobody writes one. */
		if (addr_is_v4(&a->prefix) == v4)
			return true;
	}
	return false;
}

/* In a cluster the second family's address of a pod is an endpoint of its own, with more letters.
 */
static bool is_second_of(const char *name, const char *first)
{
	size_t n = strlen(first);

	return !strncmp(name, first, n) &&
	       (!strcmp(name + n, second_family(true)) || !strcmp(name + n, second_family(false)));
}

/* Whether clients of that family reach the endpoint's pod at its other address. */
static bool has_twin(const struct state *s, const struct state_pool *p,
		     const struct state_endpoint *e, uint32_t family)
{
	for (size_t i = 0; i < p->endpoint_count; i++) {
		const struct state_endpoint *other = &s->endpoints[p->first_endpoint + i];

		if (other->families & family &&
		    (is_second_of(other->name, e->name) || is_second_of(e->name, other->name)))
			return true;
	}
	return false;
}

static void family_warning(cJSON *list, const struct state *s, const struct state_pool *p,
			   uint32_t family, const char *lacks, const char *cure)
{
	char name[ENDPOINT_NAME_SIZE];
	int left = MAX_OF_A_KIND;

	for (size_t i = 0; i < p->endpoint_count && left; i++) {
		const struct state_endpoint *e = &s->endpoints[p->first_endpoint + i];

		if ((p->reach == PINTLE_REACH_LISTENER && !e->listening_since_ns) ||
		    e->families & family || has_twin(s, p, e, family))
			continue;
		left--;
		warn(list,
		     "%s takes no %s connection, and its pool has an %s frontend: it gets none of "
		     "those; %s",
		     endpoint_name(s, e, name), lacks, lacks, cure);
	}
}

static void family_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	static const char by_family[] = "make a pool for each family";

	(void)cli;
	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];

		bool listener = p->reach == PINTLE_REACH_LISTENER;

		if (pool_serves(p, false))
			family_warning(list, s, p, PINTLE_FAMILY_V6, "IPv6",
				       listener ? "have the server listen on [::]" : by_family);
		if (pool_serves(p, true))
			family_warning(list, s, p, PINTLE_FAMILY_V4, "IPv4",
				       listener ? "have the server listen on 0.0.0.0, or on [::] "
						  "without IPV6_V6ONLY"
						: by_family);
	}
}

static void scrape_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	char name[ENDPOINT_NAME_SIZE], age[WORDS_SIZE];
	int left = MAX_OF_A_KIND;

	(void)cli;
	for (size_t i = 0; i < s->endpoint_count && left; i++) {
		const struct state_endpoint *e = &s->endpoints[i];

		bool there = s->pools[e->pool].reach == PINTLE_REACH_LISTENER
				     ? e->listening_since_ns
				     : e->has_age;

		if (!s->daemon_alive || !e->scrape_failed || !there)
			continue;
		left--;
		warn(list,
		     "%s: its metrics page fails; its score is %s old; pintled's log says why",
		     endpoint_name(s, e, name), age_text(e->age_seconds, age));
	}
}

static void ejection_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	char name[ENDPOINT_NAME_SIZE], left_text[WORDS_SIZE];
	int left = MAX_OF_A_KIND;

	(void)cli;
	for (size_t i = 0; i < s->endpoint_count && left; i++) {
		const struct state_endpoint *e = &s->endpoints[i];

		if (!e->ejected)
			continue;
		left--;
		warn(list, "%s is ejected for %s more: connections to it failed %u time%s in a row",
		     endpoint_name(s, e, name), age_text(e->ejected_seconds, left_text),
		     e->failures_in_row, plural(e->failures_in_row));
	}
}

static void unfit_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	char name[ENDPOINT_NAME_SIZE], detail[32] = "";
	int left = MAX_OF_A_KIND;

	(void)cli;
	for (size_t i = 0; i < s->endpoint_count && left; i++) {
		const struct state_endpoint *e = &s->endpoints[i];
		bool faulty = e->unfit == PINTLE_UNFIT_FAULTY;

		if (e->failing) {
			left--;
			warn(list, "%s is ejected: %s", endpoint_name(s, e, name),
			     failing_help(e->failing));
			continue;
		}
		if (!faulty && e->unfit != PINTLE_UNFIT_UNHEALTHY)
			continue;
		left--;
		if (e->unfit_detail)
			snprintf(detail, sizeof(detail), faulty ? " (XID %u)" : " (HTTP status %u)",
				 e->unfit_detail);
		warn(list, "%s is %s: %s%s; it gets no new connections", endpoint_name(s, e, name),
		     unfit_name(e->unfit), unfit_help(e->unfit), e->unfit_detail ? detail : "");
	}
}

/* ---- pools ----------------------------------------------------------------------- */

/* Whether it gets connections of another pool. */
static bool named_by_another(const struct state *s, const struct state_pool *p)
{
	for (size_t i = 0; i < s->pool_count; i++)
		for (size_t j = 0; j < PINTLE_MAX_OTHERS; j++)
			if (state_pool_find(s, &s->pools[i].others[j].pool) == p)
				return true;
	return serves_models_of_others(s, p);
}

static void other_warnings(cJSON *list, const struct state *s, const struct state_pool *p)
{
	for (size_t i = 0; i < PINTLE_MAX_OTHERS; i++) {
		const struct pintle_other *o = &p->others[i];
		const struct state_pool *other = o->checked ? NULL : state_pool_find(s, &o->pool);

		if (other)
			warn(list,
			     "pool %s names %s, whose servers have none of its models "
			     "(/v1/models): no connection goes there",
			     p->name, other->name);
	}
}

/* The client's connection to pool a is established when its request turns out to be for a model of
 * pool b: what nobody takes then is reset. */
static void models_warning(cJSON *list, const struct state *s, const struct state_pool *p)
{
	const struct state_pool *from;
	const struct state_frontend *f =
		p->mode == PINTLE_MODE_OFF ? models_unanswered(s, p, &from) : NULL;

	if (f)
		warn(list,
		     "pool %s is off, and pool %s names it in its models: requests at %s for "
		     "these models are reset, because nothing but Pintle answers there; `pintle "
		     "mode %s baseline` serves them without the rule",
		     p->name, from->name, f->text, p->name);
}

static void pool_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	(void)cli;
	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];

		if (p->passes)
			warn(list,
			     "pintled has been gone for longer than daemonless of pool %s, or all of "
			     "its endpoints failed since: its connections are left as they came",
			     p->name);
		else if (!p->ready_count && p->mode != PINTLE_MODE_OFF)
			warn(list, "pool %s has no endpoint that is ready: connections %s", p->name,
			     without_own_endpoints(s, p));
		if (!p->frontend_count && !named_by_another(s, p))
			warn(list, "pool %s has no frontend: no connection comes to it", p->name);
		models_warning(list, s, p);
		other_warnings(list, s, p);
		if (p->mode >= PINTLE_MODE_COUNT)
			warn(list, "pool %s has a mode that this program does not know: %u",
			     p->name, p->mode);
	}
}

/* An address that was this node's may be taken away while pintled runs. */
static void local_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	_cleanup_close_ int netns = open_steered_netns(s);
	int left = MAX_OF_A_KIND;

	(void)cli;
	for (size_t i = 0; i < s->pool_count && netns >= 0; i++) {
		const struct state_pool *p = &s->pools[i];

		if (p->in_pods || !hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS))
			continue;
		for (size_t j = 0; j < p->frontend_count && left; j++) {
			const struct state_frontend *f = &p->frontends[j];

			if (f->announced || !routes_miss(netns, &f->addr))
				continue;
			left--;
			warn(list, "pool %s: %s " CONFIG_NOT_LOCAL, p->name, f->text);
		}
	}
}

/* A gateway that dials pods of llm/vllm by their own addresses passes the Service, and Pintle. */
static void direct_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	(void)cli;
	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];
		const char *slash = strchr(p->name, '/');
		uint64_t count = 0;

		for (size_t k = 0; k < p->endpoint_count; k++)
			count += s->endpoints[p->first_endpoint + k].direct_opened;
		if (!count || p->intercepts || p->reach != PINTLE_REACH_ADDRESS ||
		    p->mode == PINTLE_MODE_OFF)
			continue;
		if (slash)
			warn(list,
			     "%ju connection%s went past pool %s to its endpoints' own addresses; "
			     "to steer such connections, too: `kubectl annotate service -n %.*s "
			     "%.*s pintle.dev/intercept=endpoints`",
			     (uintmax_t)count, plural(count), p->name, (int)(slash - p->name),
			     p->name, (int)strcspn(slash + 1, ":"), slash + 1);
		else
			warn(list,
			     "%ju connection%s went past pool %s to its endpoints' own addresses; "
			     "to steer such connections, too, write `intercept: endpoints` into "
			     "the pool",
			     (uintmax_t)count, plural(count), p->name);
	}
}

/* With the key `source`, a thousand clients behind the NAT 192.0.2.1 are one session, and go to one
 * endpoint until its load is too high. */
static void session_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	char text[STATE_KEY_SIZE];

	(void)cli;
	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];

		if (p->largest_share <= 0 || p->ready_count < 2 || p->mode != PINTLE_MODE_ENFORCE)
			continue;
		warn(list,
		     "pool %s: one session (%s) makes %.0f %% of the connections: a gateway, a NAT "
		     "or a batch job? See docs/operations.md#clients-behind-one-address",
		     p->name, state_session_format(&p->largest, text), 100 * p->largest_share);
	}
}

/* Connections that are kept alive in a pool that wants one request on each, and why. */
static const struct {
	enum pintle_oneshot left;
	const char *why;
} kept_alive[] = {
	{PINTLE_ONESHOT_LEFT_UNSEEN, "passed one-shot by: nat of this machine leads another "
				     "address to the frontend, or one-shot is not attached where "
				     "they come from"},
	{PINTLE_ONESHOT_LEFT_NO_ROOM, "have no header to spare: their clients need one"},
};

static void kept_warnings(cJSON *list, const struct state_pool *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(kept_alive); i++) {
		uint64_t count = p->oneshots[kept_alive[i].left];

		if (count && count * 20 >= p->oneshots_total)
			warn(list,
			     "pool %s wants one request per connection, and %ju connection%s "
			     "%s; see docs/keep-alive.md#where-it-cannot-work",
			     p->name, (uintmax_t)count, plural(count), kept_alive[i].why);
	}
}

/* A connect pool's one-shot is attached on the nodes of its servers, perhaps none of them here. */
static void oneshot_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	(void)cli;
	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];

		if (p->requests != PINTLE_REQUESTS_ONE_PER_CONNECTION ||
		    !hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS))
			continue;
		kept_warnings(list, p);
		if (!s->node.devices)
			warn(list,
			     "pool %s wants one request per connection, and one-shot is attached "
			     "nowhere: %s",
			     p->name,
			     s->daemon_alive ? "pintled's log says why"
					     : "pintled attaches it when it starts");
	}
}

/* A client's rest is told of for so long after its newest failure. */
#define REST_TOLD_NS (600 * NSEC_PER_SEC)

static void rest_warning(cJSON *list, const struct state *s, const struct state_pool *p)
{
	const char *words = state_rest_words(p->rests);
	char age[WORDS_SIZE];

	if (p->decide != PINTLE_DECIDE_REQUEST || (!p->rest.newest_ns && !p->rest.until_ns))
		return;
	age_text((double)(s->now_ns - p->rest.newest_ns) / NSEC_PER_SEC, age);
	if (!p->rest.newest_ns)
		warn(list,
		     "pool %s: the hand-off rests%s, because nat of this node would take the sockets off "
		     "that become of what it hands over: connections are decided by their addresses; "
		     "`pintle doctor` names chains",
		     p->name, words);
	else if (p->rest.until_ns && !p->in_pods)
		warn(list,
		     "pool %s: the hand-off rests%s, because no socket became of what it handed over, "
		     "%s ago for the last time: connections are decided by their addresses; a "
		     "firewall or nat of this node does that, and `pintle doctor` names chains",
		     p->name, words, age);
	else if (s->now_ns - p->rest.newest_ns < REST_TOLD_NS)
		warn(list,
		     "pool %s: no socket became of some requests that were handed over, %s ago for "
		     "the last time%s; a firewall or nat does that, and `pintle doctor` names chains",
		     p->name, age,
		     p->in_pods ? ""
				: ": connections of such clients are decided by their addresses");
}

static void hand_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	(void)cli;
	for (size_t i = 0; i < s->pool_count; i++)
		rest_warning(list, s, &s->pools[i]);
	if (s->node.hand_rests)
		warn(list, "the hand-off rests, because net.ipv4.tcp_syncookies is 0: connections "
			   "to pools with decide: request are decided by their addresses; `sysctl "
			   "net.ipv4.tcp_syncookies=1` lets it begin again");
}

/* ---- what was set ---------------------------------------------------------------- */

static void setting_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	char age[WORDS_SIZE];
	int left = MAX_OF_A_KIND;
	int64_t ago = (int64_t)(s->now_ns - s->reload.judged_ns);

	(void)cli;
	if (s->reload.failed)
		warn(list,
		     "the newest reload failed %s ago, the former configuration still runs: %s",
		     age_text((double)MAX(ago, 0) / NSEC_PER_SEC, age),
		     s->reload.why[0] ? s->reload.why : "pintled's log says why");
	for (size_t i = 0; i < s->setting_count && left; i++) {
		const struct state_setting *t = &s->settings[i];

		if (!t->why[0])
			continue;
		left--;
		if (t->set)
			warn(list, "%s: %s is set to %s, which does not hold: %s", t->pool, t->key,
			     t->value, t->why);
		else
			warn(list, "%s: %s is %s still, though it was taken back: %s", t->pool,
			     t->key, t->runs, t->why);
	}
}

/* ---- names ----------------------------------------------------------------------- */

static void host_warnings(cJSON *list, const struct cli *cli, const struct state *s)
{
	char age[WORDS_SIZE];
	int left = MAX_OF_A_KIND;

	(void)cli;
	for (size_t i = 0; i < s->host_count && left; i++) {
		const struct state_host *h = &s->hosts[i];
		const char *pool = s->pools[h->pool].name;

		if (!h->why[0])
			continue;
		left--;
		if (h->fails)
			warn(list,
			     "%s/%s: DNS gives no good answer for %s for %s: %s; connections go on to "
			     "%u address%s",
			     pool, h->name, h->host, age_text(h->failing_seconds, age), h->why,
			     h->addresses, h->addresses == 1 ? "" : "es");
		else
			warn(list,
			     "%s/%s: %u of the addresses of %s %s left out: %s; docs/limits.md says "
			     "what helps",
			     pool, h->name, h->left, h->host, h->left == 1 ? "is" : "are", h->why);
	}
}

cJSON *warnings_collect(const struct cli *cli, const struct state *s)
{
	static void (*const kinds[])(cJSON *, const struct cli *, const struct state *) = {
		daemon_warnings,  link_warnings,   pool_warnings,     unsteerable_warnings,
		family_warnings,  scrape_warnings, ejection_warnings, unfit_warnings,
		oneshot_warnings, direct_warnings, session_warnings,  setting_warnings,
		host_warnings,    hand_warnings,   local_warnings,
	};
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; list && i < ARRAY_SIZE(kinds); i++)
		kinds[i](list, cli, s);
	return list;
}
