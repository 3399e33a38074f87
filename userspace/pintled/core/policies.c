/* SPDX-License-Identifier: Apache-2.0 */
#include "policies.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "../../base/log.h"

static struct pintle_policy_key policies_key_of(const struct config_found *f)
{
	struct pintle_policy_key key = {0};

	snprintf(key.pool, sizeof(key.pool), "%s", f->name);
	return key;
}

/* `pintle diff` reads the map at any time: an entry is not written where it is the same. */
static void policy_put(const struct maps *m, const struct config_found *f)
{
	const struct pintle_policy_key key = policies_key_of(f);
	struct pintle_policy v = {0}, there;

	if ((size_t)snprintf(v.keys, sizeof(v.keys), "%s", f->keys) >= sizeof(v.keys)) {
		log_warn("the keys of pool %s are too long to be kept for the next pintled",
			 f->name);
		return;
	}
	if (!bpf_map_lookup_elem(m->fd[MAP_policies], &key, &there) &&
	    !memcmp(&there, &v, sizeof(v)))
		return;
	if (bpf_map_update_elem(m->fd[MAP_policies], &key, &v, BPF_ANY))
		log_err_r(errno, "failed to write the keys of pool %s", f->name);
}

static bool is_kept(const void *key, const void *arg)
{
	const struct config_founds *found = arg;
	const struct pintle_policy_key *k = key;

	for (size_t i = 0; i < found->count; i++) {
		const struct pintle_policy_key one = policies_key_of(&found->all[i]);

		if (found->all[i].holds && found->all[i].keys && !memcmp(&one, k, sizeof(one)))
			return true;
	}
	return false;
}

void policies_put(const struct maps *m, const struct config_founds *found)
{
	for (size_t i = 0; i < found->count; i++)
		if (found->all[i].holds && found->all[i].keys)
			policy_put(m, &found->all[i]);
	maps_prune(m, MAP_policies, is_kept, found);
}
