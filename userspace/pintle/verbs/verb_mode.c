/* SPDX-License-Identifier: Apache-2.0 */
/* verb_mode.c - sets a pool's mode: short for `pintle set POOL mode=MODE`. */
#include "../../net/listeners.h"
#include "../../base/log.h"
#include "../../maps/names.h"
#include "../cli.h"
#include "traits.bpf.h"

/* ---- what else answers ----------------------------------------------------------- */

static bool mode_takes_family(const struct listener *l, const struct frontend_addr *f)
{
	return l->families & (addr_is_v4(&f->prefix) ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6);
}

/* Whether the kernel's own lookup finds a listener for every address of the frontend. */
static bool frontend_answered(const struct frontend_addr *f, const struct listener *ls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (ls[i].port != f->port || !mode_takes_family(&ls[i], f))
			continue;
		if (ls[i].wildcard ||
		    (f->prefix_bits == 128 && !memcmp(&ls[i].ip, &f->prefix, sizeof(f->prefix))))
			return true;
	}
	return false;
}

/* What listens in the namespace where Pintle steers. */
struct others {
	struct listener *ls; /* owned */
	size_t n;
	bool seen;
};

static void others_free(struct others *o)
{
	free(o->ls);
}

static struct others others_read(const struct state *s)
{
	_cleanup_close_ int netns = open_steered_netns(s);
	struct others o = {.seen = netns >= 0};

	if (o.seen && listeners_dump(netns, &o.ls, &o.n))
		o.n = 0;
	return o;
}

/* If the namespace cannot be seen, only announced frontends are judged: their addresses were not
 * the node's, so hardly anything listens there. */
static bool only_pintle_answers(const struct others *o, const struct state_frontend *f)
{
	return !frontend_answered(&f->addr, o->ls, o->n) && (o->seen || f->announced);
}

/* The first frontend of `from` that nothing else answers, if `from` sends requests to the pool. */
static const struct state_frontend *unanswered_by(const struct others *o, const struct state *s,
						  const struct state_pool *from,
						  const struct state_pool *p)
{
	if (from == p || from->mode == PINTLE_MODE_OFF || !pool_names_in_models(s, from, p))
		return NULL;
	for (size_t i = 0; i < from->frontend_count; i++)
		if (only_pintle_answers(o, &from->frontends[i]))
			return &from->frontends[i];
	return NULL;
}

const struct state_frontend *models_unanswered(const struct state *s, const struct state_pool *p,
					       const struct state_pool **from)
{
	const struct state_frontend *f = NULL;
	_cleanup_(others_free) struct others o = {0};

	if (!serves_models_of_others(s, p))
		return NULL;
	o = others_read(s);
	for (size_t i = 0; i < s->pool_count && !f; i++) {
		f = unanswered_by(&o, s, &s->pools[i], p);
		*from = &s->pools[i];
	}
	return f;
}

void warn_of_refusals(const struct state *s, const struct state_pool *p)
{
	_cleanup_(others_free) struct others o = {0};

	/* A connect pool's frontend is answered on other nodes, whose listeners cannot be seen. */
	if (!hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS))
		return;
	o = others_read(s);
	for (size_t i = 0; i < p->frontend_count; i++)
		if (only_pintle_answers(&o, &p->frontends[i]))
			log_warn(
				"nothing but Pintle answers %s: with %s off, connections to it are "
				"refused",
				p->frontends[i].text, p->name);
	for (size_t i = 0; i < s->pool_count; i++) {
		const struct state_frontend *f = unanswered_by(&o, s, &s->pools[i], p);

		if (f)
			log_warn("nothing but Pintle answers %s: with %s off, requests there for "
				 "its models are reset; mode baseline serves them without the rule",
				 f->text, p->name);
	}
}

/* ---- verbs ------------------------------------------------------------------------ */

static int run_mode(struct cli *cli)
{
	return setting_set(cli, cli->words[0], "mode", cli->words[1]);
}

static int run_enable(struct cli *cli)
{
	return setting_set(cli, cli->words[0], "mode", mode_name(PINTLE_MODE_ENFORCE));
}

static int run_disable(struct cli *cli)
{
	return setting_set(cli, cli->words[0], "mode", mode_name(PINTLE_MODE_OFF));
}

const struct command command_mode = {
	.name = "mode",
	.kind = VERB,
	.arguments = "POOL enforce|shadow|baseline|off",
	.summary = "set what holds for a pool's new connections",
	.help = "enforce: the rule; shadow: count what the rule would do, and deliver as baseline, or,\n"
		"where endpoints have an `address`, as off; baseline: at random over the ready\n"
		"endpoints; off: left to the kernel's own lookup, or, where endpoints have an\n"
		"`address`, to whatever else serves the frontend. Requests that other pools' `models` send\n"
		"to a pool that is off are reset, where nothing else answers these pools' frontends.\n"
		"Warns of a frontend that nothing else answers. Holds until it is set again or\n"
		"`pintle reset`, over reload and restart. Setting what the file says takes the override\n"
		"back.",
	.run = run_mode,
	.options = OPTIONS_VERB,
	.least = 2,
	.most = 2,
	.words = {WORD_POOL, WORD_MODE},
};

const struct command command_enable = {
	.name = "enable",
	.kind = VERB,
	.arguments = "POOL",
	.summary = "the same as mode POOL enforce",
	.run = run_enable,
	.options = OPTIONS_VERB,
	.least = 1,
	.most = 1,
	.words = {WORD_POOL},
};

const struct command command_disable = {
	.name = "disable",
	.kind = VERB,
	.arguments = "POOL",
	.summary = "the same as mode POOL off",
	.run = run_disable,
	.options = OPTIONS_VERB,
	.least = 1,
	.most = 1,
	.words = {WORD_POOL},
};
