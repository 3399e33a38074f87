/* SPDX-License-Identifier: Apache-2.0 */
/* verb_mode.c - sets a pool's mode: short for `pintle set POOL mode=MODE`. */
#include "../net/listeners.h"
#include "../base/log.h"
#include "../maps/names.h"
#include "cli.h"
#include "traits.bpf.h"

/* ---- what else answers ----------------------------------------------------------- */

static bool takes_family(const struct listener *l, const struct frontend_addr *f)
{
	return l->families & (addr_is_v4(&f->prefix) ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6);
}

/* Whether the kernel's own lookup finds a listener for every address of the frontend. */
static bool frontend_answered(const struct frontend_addr *f, const struct listener *ls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (ls[i].port != f->port || !takes_family(&ls[i], f))
			continue;
		if (ls[i].wildcard ||
		    (f->prefix_bits == 128 && !memcmp(&ls[i].ip, &f->prefix, sizeof(f->prefix))))
			return true;
	}
	return false;
}

void warn_of_refusals(const struct state *s, const struct state_pool *p)
{
	_cleanup_close_ int netns = -1;
	_cleanup_free_ struct listener *ls = NULL;
	size_t n = 0;

	/* A connect pool's frontend is answered on other nodes, whose listeners cannot be seen. */
	if (!hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS))
		return;
	netns = open_steered_netns(s);
	/* If the namespace cannot be seen, only announced frontends are judged: their addresses
	 * were not the node's, so hardly anything listens there. */
	if (netns >= 0 && listeners_dump(netns, &ls, &n))
		n = 0;
	for (size_t i = 0; i < p->frontend_count; i++) {
		const struct state_frontend *f = &p->frontends[i];

		if (frontend_answered(&f->addr, ls, n) || (netns < 0 && !f->announced))
			continue;
		log_warn(
			"nothing but Pintle answers %s: with %s off, connections to it are refused",
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
		"`address`, to whatever else serves the frontend. Warns of a frontend that nothing else answers. Holds until it is set\n"
		"again or `pintle reset`, over reload and restart. Setting what the file says takes\n"
		"the override back.",
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
