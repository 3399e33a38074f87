/* SPDX-License-Identifier: Apache-2.0 */
/* verb_mode.c - sets what holds for a pool's new connections. */
#include "../net/listeners.h"
#include "../base/log.h"
#include "../maps/names.h"
#include "cli.h"
#include "output.h"
#include "traits.bpf.h"

/* ---- who else would answer ------------------------------------------------------- */

static bool takes_family(const struct listener *l, const struct frontend_addr *f)
{
	return l->families & (addr_is_v4(&f->prefix) ? PINTLE_FAMILY_V4 : PINTLE_FAMILY_V6);
}

/* Whether the kernel's own lookup finds somebody for all of the frontend. */
static bool answered(const struct frontend_addr *f, const struct listener *ls, size_t n)
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

/* What is turned off is meant to fall through to somebody; often there is nobody. */
static void warn_of_refusals(const struct state *s, const struct state_pool *p)
{
	_cleanup_close_ int netns = open_steered_netns(s);
	_cleanup_free_ struct listener *ls = NULL;
	size_t n = 0;

	/* Not seeing the namespace, the announced ones are what we can tell of. */
	if (netns >= 0 && listeners_dump(netns, &ls, &n))
		n = 0;
	for (size_t i = 0; i < p->frontend_count; i++) {
		const struct state_frontend *f = &p->frontends[i];

		if (answered(&f->addr, ls, n) || (netns < 0 && !f->announced))
			continue;
		log_warn(
			"nothing but Pintle answers %s: with %s off, connections to it are refused",
			f->text, p->name);
	}
}

/* ---- the override ---------------------------------------------------------------- */

static int mode_run(const struct cli *cli, uint32_t mode)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	const struct state_pool *p;
	int status = open_state(cli, MAPS_WRITE, &m, &s);

	if (status)
		return status;
	p = find_pool(s, cli->words[0]);
	if (!p || override_pool(m, p, PINTLE_OVERRIDE_MODE, mode, mode == p->mode_configured))
		return EXIT_FAILED;
	/* Where clients' packets come to a frontend elsewhere, its listeners are not seen here. */
	if (mode == PINTLE_MODE_OFF && hook_has(p->decided_by, PINTLE_TRAIT_AT_SERVERS))
		warn_of_refusals(s, p);
	printf("%s: mode %s%s\n", p->name, mode_name(mode),
	       mode == p->mode_configured ? ", as configured"
					  : ", until it is set again or `pintle reset`");
	return output_finish();
}

int run_mode(struct cli *cli)
{
	uint32_t mode;

	if (mode_parse(cli->words[1], &mode)) {
		log_error("no mode '%s'; there are enforce, baseline and off", cli->words[1]);
		return usage_error(cli);
	}
	return mode_run(cli, mode);
}

int run_enable(struct cli *cli)
{
	return mode_run(cli, PINTLE_MODE_ENFORCE);
}

int run_disable(struct cli *cli)
{
	return mode_run(cli, PINTLE_MODE_OFF);
}
