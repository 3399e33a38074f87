// SPDX-License-Identifier: Apache-2.0
/* lab_policy.c - the list of policies, and how a policy and its values are read. */
#include "lab_policy.h"

#include <stdlib.h>

#include "../../userspace/base/util.h"
#include "../../userspace/config/config.h"

static const struct lab_policy *const policies[] = {
	&lab_policy_random,      &lab_policy_round_robin,  &lab_policy_least_connections,
	&lab_policy_two_choices, &lab_policy_session_hash, &lab_policy_chwbl,
	&lab_policy_epp,         &lab_policy_epp_sticky,   &lab_policy_prequal,
	&lab_policy_sglang,      &lab_policy_pintle,       &lab_policy_oracle,
};

const struct lab_policy *lab_policy_at(size_t i)
{
	return i < ARRAY_SIZE(policies) ? policies[i] : NULL;
}

static const struct lab_policy *policy_find(const char *name, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(policies); i++)
		if (strlen(policies[i]->name) == length &&
		    !strncmp(policies[i]->name, name, length))
			return policies[i];
	return NULL;
}

/* Reads a number, or one of the key's words. */
static bool value_read(const struct lab_key *k, const char *text, double *out)
{
	size_t length = strlen(text);
	char *end;

	*out = 0;
	for (const char *word = k->words; word && *word && length; ++*out) {
		size_t n = strcspn(word, " ");

		if (n == length && !strncmp(word, text, n))
			return true;
		word += n + strspn(word + n, " ");
	}
	*out = strtod(text, &end);
	return end != text && !*end && *out >= k->min && *out <= k->max;
}

static int key_set(const struct lab_policy *p, double *values, struct config **config,
		   const char *key, const char *text, char *why, size_t size)
{
	if (p->load && !strcmp(key, "config")) {
		int err;

		if (*config) {
			snprintf(why, size, "key config is there twice; write one of them");
			return -EINVAL;
		}
		err = p->load(text, values, config);

		if (err)
			snprintf(why, size, "%s: cannot be used as a configuration", text);
		return err;
	}
	for (size_t i = 0; i < LAB_MAX_KEYS && p->keys[i].name; i++) {
		const struct lab_key *k = &p->keys[i];
		double value;

		if (strcmp(k->name, key))
			continue;
		if (!value_read(k, text, &value)) {
			snprintf(why, size,
				 "%s of policy %s is \"%s\"; write a number from %g to %g%s%s", key,
				 p->name, text, k->min, k->max, k->words ? ", or one of: " : "",
				 k->words ?: "");
			return -EINVAL;
		}
		values[i] = value;
		return 0;
	}
	snprintf(why, size, "policy %s has no key \"%s\"; --list shows which it has", p->name, key);
	return -EINVAL;
}

int lab_policy_parse(const char *spec, const struct lab_policy **out, double *values,
		     struct config **config, char *why, size_t size)
{
	size_t length = strcspn(spec, ":");
	const struct lab_policy *p = policy_find(spec, length);
	_cleanup_(config_freep) struct config *file = NULL;
	_cleanup_free_ char *rest = NULL;
	char *pair, *save = NULL;

	if (!p) {
		snprintf(why, size, "no policy \"%.*s\"; --list shows which there are",
			 (int)MIN(length, 64U), spec);
		return -EINVAL;
	}
	for (size_t i = 0; i < LAB_MAX_KEYS; i++)
		values[i] = p->keys[i].value;
	rest = strdup(spec[length] ? spec + length + 1 : "");
	if (!rest)
		return -ENOMEM;
	for (pair = strtok_r(rest, ",", &save); pair; pair = strtok_r(NULL, ",", &save)) {
		char *equals = strchr(pair, '=');
		int err;

		if (!equals) {
			snprintf(why, size, "\"%s\" is not KEY=VALUE", pair);
			return -EINVAL;
		}
		*equals = '\0';
		err = key_set(p, values, &file, pair, equals + 1, why, size);
		if (err)
			return err;
	}
	*out = p;
	if (config)
		*config = TAKE_PTR(file);
	return 0;
}
