/* SPDX-License-Identifier: Apache-2.0 */
/* state_trial.c - A/B tests: which mode they say, and what was measured. */
#include "state_internal.h"

#include <bpf/bpf.h>

#include "rule/trial.bpf.h"

bool state_read_trial(const struct maps *m, uint32_t pool, const struct pintle_override *o,
		      uint64_t now, struct pintle_trial *out)
{
	struct pintle_ref key = {pool, o->generation};

	return o->flags & PINTLE_OVERRIDE_TRIAL &&
	       !bpf_map_lookup_elem(m->fd[MAP_trials], &key, out) && trial_block_count(out) &&
	       now < out->until_ns;
}

uint32_t state_trial_mode(const struct pintle_trial *t, bool daemonless, uint64_t now,
			  uint32_t otherwise)
{
	uint32_t number = trial_block(t, now);

	return daemonless || number == TRIAL_NO_BLOCK ? otherwise : trial_mode_in(t, number);
}

bool state_trial_result(const struct maps *m, const struct state_pool *p,
			struct pintle_trial_result *out)
{
	for (uint32_t i = 0; i < PINTLE_MAX_TRIALS; i++)
		if (!maps_value(m, MAP_trial_results, i, out) && out->pool.id == p->id &&
		    out->pool.generation == p->generation)
			return true;
	return false;
}
