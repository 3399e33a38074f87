/* SPDX-License-Identifier: Apache-2.0 */
/* verb_unbind.c - forgets to which endpoint sessions are bound. */
#include <bpf/bpf.h>

#include "../common/log.h"
#include "cli.h"
#include "output.h"

/* ---- one session ----------------------------------------------------------------- */

/* 1: it was bound; 0: it was not; or -errno. */
static int binding_delete(const struct maps *m, const struct state_pool *p,
			  const struct pintle_session_key *session)
{
	struct pintle_affinity_key key = {
		.pool = p->id, .pool_generation = p->generation, .session = *session};

	if (!bpf_map_delete_elem(m->fd[MAP_affinity], &key))
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

/* The same, for all that the pool may know it by. */
static int unbind_in_pool(const struct maps *m, const struct state_pool *p,
			  const struct pintle_session_key *session)
{
	struct pintle_session_key key;
	int found = 0;

	for (size_t i = 0; state_session_in_pool(p, session, i, &key); i++) {
		int n = binding_delete(m, p, &key);

		if (n < 0)
			return n;
		found |= n;
	}
	return found;
}

static int unbind_session(const struct maps *m, const struct state *s,
			  const struct state_pool *only, const char *text)
{
	struct pintle_session_key key;
	int found = 0;

	if (state_session_parse(text, s->node.hint_key, &key)) {
		log_error(NOT_A_SESSION, text);
		return EXIT_USAGE;
	}
	state_session_resolve(m, &key);
	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_pool *p = &s->pools[i];
		int n = only && only != p ? 0 : unbind_in_pool(m, p, &key);

		if (n < 0) {
			log_err_r(n, "cannot unbind %s", text);
			return EXIT_FAILED;
		}
		if (n)
			printf("%s: %s is bound no more\n", p->name, text);
		found += n;
	}
	if (!found) {
		log_error("%s is not bound; `pintle sessions` shows who is", text);
		return EXIT_FAILED;
	}
	return output_finish();
}

/* ---- all of a pool --------------------------------------------------------------- */

struct harvest {
	uint32_t pool;
	struct pintle_affinity_key *keys;
	size_t count, room;
};

static int harvest_key(const struct pintle_affinity_key *key, const struct pintle_affinity *binding,
		       void *arg)
{
	struct harvest *h = arg;

	(void)binding;
	if (key->pool != h->pool)
		return 0;
	if (h->count == h->room) {
		size_t room = h->room ? 2 * h->room : 1024;
		struct pintle_affinity_key *more = realloc(h->keys, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		h->keys = more;
		h->room = room;
	}
	h->keys[h->count++] = *key;
	return 0;
}

/* Gathered first: deleting under the walk would make it miss some. */
static int unbind_pool(const struct maps *m, const struct state_pool *p)
{
	struct harvest h = {.pool = p->id};
	int err = state_bindings(m, harvest_key, &h);
	size_t gone = 0;

	for (size_t i = 0; !err && i < h.count; i++) {
		if (!bpf_map_delete_elem(m->fd[MAP_affinity], &h.keys[i]))
			gone++;
		else if (errno != ENOENT)
			err = -errno;
	}
	free(h.keys);
	if (err) {
		log_err_r(err, "cannot unbind the sessions of %s", p->name);
		return EXIT_FAILED;
	}
	printf("%s: %zu session%s bound no more\n", p->name, gone, gone == 1 ? " is" : "s are");
	return output_finish();
}

int run_unbind(struct cli *cli)
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
	return cli->word_count ? unbind_session(m, s, p, cli->words[0]) : unbind_pool(m, p);
}
