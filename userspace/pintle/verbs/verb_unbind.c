/* SPDX-License-Identifier: Apache-2.0 */
/* verb_unbind.c - deletes bindings of sessions. */
#include <assert.h>

#include "../../base/log.h"
#include "../cli.h"
#include "../output.h"

/* The bindings to delete: of one session, of one pool, or of one session in one pool. */
struct wanted {
	const struct state *state;
	const struct state_pool *pool; /* NULL: any */
	bool one;                      /* only bindings of `session` */
	struct pintle_session_key session;
};

struct harvest {
	const struct wanted *wanted;
	struct pintle_affinity_key *keys;
	size_t count, room;
};

/* ---- which are meant --------------------------------------------------------------- */

static const struct state_pool *unbind_pool_of(const struct state *s,
					       const struct pintle_affinity_key *key)
{
	for (size_t i = 0; i < s->pool_count; i++)
		if (s->pools[i].id == key->pool)
			return &s->pools[i];
	return NULL;
}

static bool is_meant(const struct wanted *w, const struct pintle_affinity_key *key)
{
	const struct state_pool *p = unbind_pool_of(w->state, key);

	if (!p || (w->pool && w->pool != p))
		return false;
	if (!w->one)
		return true; /* also if the binding is expired, or of another generation */
	return key->pool_generation == p->generation &&
	       state_session_meant(p, &w->session, &key->session);
}

/* ---- unbinding --------------------------------------------------------------------- */

static int harvest_key(const struct pintle_affinity_key *key, const struct pintle_affinity *binding,
		       void *arg)
{
	struct harvest *h = arg;

	(void)binding;
	if (!is_meant(h->wanted, key))
		return 0;
	if (!ROOM_FOR_ONE(h->keys, h->count, h->room, 1024))
		return -ENOMEM;
	h->keys[h->count++] = *key;
	return 0;
}

/* Gathers the keys, then deletes them, and adds up in `gone` how many were deleted, by the pool's
 * index in the state. */
static int unbind_wanted(const struct maps *m, const struct wanted *w,
			 size_t gone[PINTLE_MAX_POOLS])
{
	struct harvest h = {.wanted = w};
	int err = state_bindings(m, harvest_key, &h);

	for (size_t i = 0; err >= 0 && i < h.count; i++) {
		const struct state_pool *p = unbind_pool_of(w->state, &h.keys[i]);

		assert(p); /* is_meant() found it */
		err = state_unbind(m, &h.keys[i], h.keys[i].pool_generation == p->generation);
		gone[p - w->state->pools] += err == 1;
	}
	free(h.keys);
	return MIN(err, 0);
}

static int unbind_session(const struct maps *m, const struct state *s,
			  const struct state_pool *only, const char *text)
{
	struct wanted w = {.state = s, .pool = only, .one = true};
	size_t gone[PINTLE_MAX_POOLS] = {0}, found = 0;
	int err;

	if (state_session_parse(text, s->node.hint_key, &w.session)) {
		log_error(NOT_A_SESSION, text);
		return EXIT_USAGE;
	}
	state_session_resolve(m, &w.session);
	err = unbind_wanted(m, &w, gone);
	if (err) {
		log_err_r(err, "cannot unbind %s", text);
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < s->pool_count; i++) {
		if (gone[i] == 1)
			printf("%s: %s is bound no more\n", s->pools[i].name, text);
		else if (gone[i])
			printf("%s: %s is bound no more: %zu sessions\n", s->pools[i].name, text,
			       gone[i]);
		found += gone[i];
	}
	if (!found) {
		log_error("%s is not bound; `pintle sessions` shows the sessions that are", text);
		return EXIT_FAILED;
	}
	return output_finish();
}

static int unbind_pool(const struct maps *m, const struct state *s, const struct state_pool *p)
{
	const struct wanted w = {.state = s, .pool = p};
	size_t gone[PINTLE_MAX_POOLS] = {0}, n;
	int err = unbind_wanted(m, &w, gone);

	if (err) {
		log_err_r(err, "cannot unbind the sessions of %s", p->name);
		return EXIT_FAILED;
	}
	n = gone[p - s->pools];
	printf("%s: %zu session%s bound no more\n", p->name, n, n == 1 ? " is" : "s are");
	return output_finish();
}

static int run_unbind(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	const struct state_pool *p = NULL;
	int status;

	if (!cli->word_count && !cli->pool) {
		log_error("unbind needs a SESSION, or --pool POOL for all of a pool");
		return usage_error(cli);
	}
	status = open_state(cli, MAPS_WRITE, &m, &s);
	if (status)
		return status;
	if (cli->pool) {
		p = find_pool(s, cli->pool);
		if (!p)
			return EXIT_FAILED;
	}
	return cli->word_count ? unbind_session(m, s, p, cli->words[0]) : unbind_pool(m, s, p);
}

const struct command command_unbind = {
	.name = "unbind",
	.kind = VERB,
	.arguments = "[SESSION] [--pool POOL]",
	.summary = "forget to which endpoint a session is bound",
	.help = "SESSION is what `pintle sessions` shows or takes, or an address in it. With --pool\n"
		"alone, all sessions of that pool. The next connection is decided afresh.",
	.run = run_unbind,
	.options = OPTIONS_VERB | OPTION_POOL,
	.most = 1,
	.words = {WORD_SESSION},
};
