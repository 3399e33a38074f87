/* SPDX-License-Identifier: Apache-2.0 */
/* verb_classify.c - gives a session its class, and takes that back. */
#include <assert.h>
#include <bpf/bpf.h>

#include "../../base/log.h"
#include "../../maps/names.h"
#include "../cli.h"
#include "../output.h"

/* The sessions that are meant, by their keys in the pool. */
struct meant {
	const struct maps *m;
	const struct state_pool *pool;
	struct pintle_session_key asked;
	struct pintle_affinity_key *keys;
	size_t count, room;
};

static void meant_free(struct meant *w)
{
	free(w->keys);
}

static int meant_add(struct meant *w, const struct pintle_session_key *session)
{
	if (!ROOM_FOR_ONE(w->keys, w->count, w->room, 16))
		return -ENOMEM;
	w->keys[w->count++] =
		(struct pintle_affinity_key){w->pool->id, w->pool->generation, *session};
	return 0;
}

static bool in_pool(const struct meant *w, const struct pintle_affinity_key *key)
{
	return key->pool == w->pool->id && key->pool_generation == w->pool->generation;
}

static int key_collect(const struct pintle_affinity_key *key, void *arg)
{
	struct meant *w = arg;

	return in_pool(w, key) && state_session_meant(w->pool, &w->asked, &key->session)
		       ? meant_add(w, &key->session)
		       : 0;
}

static int binding_collect(const struct pintle_affinity_key *key,
			   const struct pintle_affinity *binding, void *arg)
{
	(void)binding;
	return key_collect(key, arg);
}

/* ---- which are meant ---------------------------------------------------------------- */

/* A prefix of another length than the pool's is none of its sessions. */
static bool has_right_length(const struct state_pool *p, const struct pintle_session_key *key)
{
	struct pintle_session_key whole = *key, own;

	if (key->kind != PINTLE_KEY_SOURCE)
		return true;
	whole.prefix_bits = 128;
	return state_session_in_pool(p, &whole, 1, &own) && own.prefix_bits == key->prefix_bits;
}

/* The one key that the pool has for a session, which need not be bound yet. */
static int meant_make(struct meant *w, const char *text)
{
	struct state_client c = {.session = w->asked};
	struct pintle_session_key key;

	if (w->pool->key_kind == PINTLE_KEY_NONE) {
		log_error("%s keeps no sessions; set its stickiness.key first", w->pool->name);
		return EXIT_FAILED;
	}
	state_client_learn(w->m, &c, &w->asked);
	if (!state_client_session(w->pool, &c, &key) || !has_right_length(w->pool, &key)) {
		log_error("%s names no session of %s, whose key is %s; `pintle sessions --pool %s` "
			  "shows how they are written",
			  text, w->pool->name, key_name(w->pool->key_kind), w->pool->name);
		return EXIT_FAILED;
	}
	return meant_add(w, &key) ? EXIT_FAILED : 0;
}

/* A hint's text means sessions of any client: those that there are. */
static bool verb_classify_is_text(const struct pintle_session_key *key)
{
	return key->kind == PINTLE_KEY_HINT && key->prefix_bits < 128;
}

static int meant_find(struct meant *w, const struct state *s, const char *text)
{
	if (state_session_parse(text, s->node.hint_key, &w->asked)) {
		log_error(NOT_A_SESSION, text);
		return EXIT_USAGE;
	}
	state_session_resolve(w->m, &w->asked);
	if (!verb_classify_is_text(&w->asked))
		return meant_make(w, text);
	if (state_bindings(w->m, binding_collect, w)) {
		log_error("cannot read the sessions");
		return EXIT_FAILED;
	}
	if (w->count)
		return 0;
	log_error("no session of %s is bound that said %s; classify it by hint:HASH, or once it "
		  "is bound",
		  w->pool->name, text);
	return EXIT_FAILED;
}

/* ---- writing ------------------------------------------------------------------------ */

/* Deletes the entry if its pool is gone: nobody else does. */
static int sweep_one(const struct pintle_affinity_key *key, void *arg)
{
	const struct meant *w = arg;
	struct pintle_pool *pool = malloc(sizeof(*pool));

	if (pool && key->pool < PINTLE_MAX_POOLS && !maps_value(w->m, MAP_pools, key->pool, pool) &&
	    pool->generation != key->pool_generation)
		bpf_map_delete_elem(w->m->fd[MAP_classified], key);
	free(pool);
	return 0;
}

static int classify_one(const struct meant *w, const struct pintle_affinity_key *key,
			const char *class)
{
	struct pintle_session_class said = {.since_ns = monotonic_ns()};

	assert(w->m->writable);
	strncpy(said.name, class, sizeof(said.name) - 1);
	if (!bpf_map_update_elem(w->m->fd[MAP_classified], key, &said, BPF_ANY))
		return 0;
	if (errno == E2BIG)
		log_error("%d sessions are classified, and there is room for no more; `pintle "
			  "unclassify` some, or write a rule for them",
			  PINTLE_MAX_CLASSIFIED);
	else
		log_err_r(errno, "cannot classify the session");
	return EXIT_FAILED;
}

static bool has_class(const struct state_pool *p, const char *class)
{
	char names[CLASSES_SIZE];

	for (uint32_t i = 0; i < p->class_count; i++)
		if (!strcmp(p->classes[i].name, class))
			return true;
	if (p->class_count)
		log_error("%s has no class '%s'; it has %s", p->name, class, class_names(p, names));
	else
		log_error("%s has no classes; write some into its configuration", p->name);
	return false;
}

static void verb_classify_tell(const struct meant *w, const char *text, const char *what)
{
	if (w->count == 1)
		printf("%s: %s %s\n", w->pool->name, text, what);
	else
		printf("%s: %s %s: %zu sessions\n", w->pool->name, text, what, w->count);
}

/* ---- the verbs ---------------------------------------------------------------------- */

static int meant_open(const struct cli *cli, struct meant *w, struct maps **m, struct state **s)
{
	int status = open_state(cli, MAPS_WRITE, m, s);

	if (status)
		return status;
	w->m = *m;
	w->pool = find_pool(*s, cli->words[0]);
	return w->pool ? 0 : EXIT_FAILED;
}

static int run_classify(struct cli *cli)
{
	_cleanup_(meant_free) struct meant w = {0};
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	int status = meant_open(cli, &w, &m, &s);

	if (!status && !has_class(w.pool, cli->words[2]))
		status = EXIT_FAILED;
	if (!status)
		status = meant_find(&w, s, cli->words[1]);
	if (status)
		return status;
	state_classified_walk(m, sweep_one, &w);
	for (size_t i = 0; i < w.count; i++)
		if (classify_one(&w, &w.keys[i], cli->words[2]))
			return EXIT_FAILED;
	verb_classify_tell(&w, cli->words[1],
			   "is classified; it holds for connections from now on");
	return output_finish();
}

static int run_unclassify(struct cli *cli)
{
	_cleanup_(meant_free) struct meant w = {0};
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	int status = meant_open(cli, &w, &m, &s);

	if (status)
		return status;
	if (state_session_parse(cli->words[1], s->node.hint_key, &w.asked)) {
		log_error(NOT_A_SESSION, cli->words[1]);
		return EXIT_USAGE;
	}
	state_session_resolve(m, &w.asked);
	if (state_classified_walk(m, key_collect, &w)) {
		log_error("cannot read the sessions");
		return EXIT_FAILED;
	}
	if (!w.count) {
		log_error("%s was not classified in %s; `pintle sessions` shows those that are",
			  cli->words[1], w.pool->name);
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < w.count; i++)
		if (bpf_map_delete_elem(m->fd[MAP_classified], &w.keys[i]) && errno != ENOENT) {
			log_err_r(errno, "cannot unclassify %s", cli->words[1]);
			return EXIT_FAILED;
		}
	verb_classify_tell(&w, cli->words[1], "is classified no more");
	return output_finish();
}

const struct command command_classify = {
	.name = "classify",
	.kind = VERB,
	.arguments = "POOL SESSION CLASS",
	.summary = "give a session its class",
	.help = "Comes before the pool's rules, over reload and restart, until `pintle unclassify`; a\n"
		"hint or a DSCP may still lower the class. SESSION is what `pintle sessions` shows or\n"
		"takes, or an address in it; it need not be bound yet. Connections that are open stay.",
	.run = run_classify,
	.options = OPTIONS_VERB,
	.least = 3,
	.most = 3,
	.words = {WORD_POOL, WORD_SESSION},
};

const struct command command_unclassify = {
	.name = "unclassify",
	.kind = VERB,
	.arguments = "POOL SESSION",
	.summary = "take back a session's class",
	.run = run_unclassify,
	.options = OPTIONS_VERB,
	.least = 2,
	.most = 2,
	.words = {WORD_POOL, WORD_SESSION},
};
