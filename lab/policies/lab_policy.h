/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_policy.h - placement policies: Pintle's, and its rivals as they were published.
 *
 * One object serves all nodes, and keeps apart what each node knows: a policy that is not central
 * must decide only by what node `r->node` has seen.
 */
#ifndef PINTLE_SIM_LAB_POLICY_H
#define PINTLE_SIM_LAB_POLICY_H

#include "../fleet/lab.h"

struct config;
struct config_pool;

#define LAB_REFUSED UINT32_MAX

/* Bytes of text that a token stands for, in prompts and answers, where a policy sees bytes. */
#define LAB_BYTES_PER_TOKEN 4

struct lab_request {
	uint64_t id;
	uint64_t session;
	uint64_t client;   /* the source address */
	uint64_t group;    /* the tenant, which the prefix of the source address identifies */
	const char *label; /* the kind of work, as the workload calls it */
	uint64_t prefix;   /* hash of the beginning of the first user message */
	const uint64_t *blocks;
	uint32_t block_count; /* full blocks of the prompt */
	uint32_t prompt_tokens, output_tokens;
	uint32_t node;
	uint32_t endpoint;
	uint32_t part;
	uint32_t charge, seen; /* notes of the policy */
	uint32_t refusals;     /* how often the policy has refused it so far */
	uint64_t retry_ns;     /* set when it is refused: when it may come again, from then on */
	uint64_t arrived_ns, first_ns;
	bool measured;
};

/* What the lab's policies read from a metrics page. */
struct lab_page {
	uint32_t waiting, running;
	double kv_cache; /* 0..1 */
};

/* An engine's true state. */
struct lab_truth {
	uint32_t cached_tokens; /* of the request's prompt */
	uint32_t running, waiting;
	uint64_t computed; /* tokens of prompts whose first token is not out */
	double kv_cache;   /* 0..1 */
	double slow;       /* 1: healthy */
};

/* What a policy knows from the start. */
struct lab_fleet {
	uint32_t endpoints, nodes; /* nodes: 1 for a central policy */
	uint32_t block_tokens, blocks;
	double prefill_tokens_per_s; /* of one engine that only computes prompts */
	double pair_tokens;          /* time of one pair of attention / time of one token */
	/** For the oracle alone. */
	void (*truth)(void *arg, uint32_t endpoint, const struct lab_request *r,
		      struct lab_truth *out);
	void *arg;
	const struct config_pool *pool; /* of the file that key `config` names; or NULL */
	uint64_t seed;
};

struct lab_key {
	const char *name;
	double value; /* the default */
	double min, max;
	const char *says;
	const char *words; /* what may be written for 0, 1 and so on; or NULL */
};

struct lab_policy {
	const char *name, *says;
	bool central;        /* one picker sees all requests; else each node has its own */
	bool per_connection; /* places connections, and does not see requests */
	struct lab_key keys[LAB_MAX_KEYS];
	int interval_key; /* index of the key with the scrape interval in ms; -1: no scrapes */
	/** Sets values from a file, which it returns, too. 0, or -errno after a message on stderr.
	 * NULL: takes no file. */
	int (*load)(const char *path, double *values, struct config **config);
	/** 0 or -ENOMEM. */
	int (*create)(const struct lab_fleet *fleet, const double *values, void **out);
	void (*destroy)(void *self);
	/** Chooses an endpoint, and counts the placement at once. May set r->charge and r->seen. Or
	 * returns LAB_REFUSED, and sets r->retry_ns. */
	uint32_t (*pick)(void *self, struct lab_request *r, uint64_t now_ns);
	/** The rest may be NULL. */
	void (*first_token)(void *self, const struct lab_request *r, uint64_t now_ns);
	/** The connection closed. */
	void (*ended)(void *self, const struct lab_request *r, uint64_t now_ns);
	/** A request began on a connection that was kept, and may set r->charge: pick() was not
	 * asked.
	 */
	void (*again)(void *self, struct lab_request *r, uint64_t now_ns);
	/** The request is over, answered or not; its connection stays until ended(). */
	void (*answered)(void *self, const struct lab_request *r, uint64_t now_ns);
	void (*page)(void *self, uint32_t node, uint32_t endpoint, const struct lab_page *page,
		     uint64_t now_ns);
	void (*outcomes)(const void *self, uint64_t *counts); /* PINTLE_MAX_OUTCOMES */
};

/** The i-th policy, or NULL past the end. */
const struct lab_policy *lab_policy_at(size_t i);
/** Reads "NAME" or "NAME:KEY=VALUE,KEY=VALUE" into *out and values[LAB_MAX_KEYS], and the file that
 * key `config` names into *config, to be released with config_free(): NULL if there is none, or if
 * `config` is NULL. Returns 0; or -EINVAL, or an error of load(), with the reason in `why`; or
 * -ENOMEM. */
int lab_policy_parse(const char *spec, const struct lab_policy **out, double *values,
		     struct config **config, char *why, size_t size);

extern const struct lab_policy lab_policy_random, lab_policy_round_robin,
	lab_policy_least_connections, lab_policy_two_choices, lab_policy_session_hash,
	lab_policy_chwbl, lab_policy_epp, lab_policy_epp_sticky, lab_policy_prequal,
	lab_policy_sglang, lab_policy_pintle, lab_policy_oracle;

/* -- shared by several policies ------------------------------------------------------ */

/* The endpoint with the least load of all those added one by one; ties are broken at random. */
struct lab_least {
	double load;
	uint32_t endpoint, ties;
};

static inline void lab_least_add(struct lab_least *l, struct rng *random, double load,
				 uint32_t endpoint)
{
	if (l->ties && load > l->load)
		return;
	if (!l->ties || load < l->load)
		l->ties = 0;
	l->load = load;
	if (!rng_below(random, ++l->ties))
		l->endpoint = endpoint;
}

/* -- parts of policies that tests compare with cases computed by hand ------------------ */

/** KubeAI's test whether an endpoint with `load` requests may take another, where `n` endpoints
 * have `total` requests together. */
bool chwbl_load_ok(uint32_t load, uint64_t total, uint32_t n, double factor);

struct epp_weights {
	double queue, kv_cache, prefix;
};
/** Sets out[i], for each of n endpoints, to the weighted sum of EPP's default scorers. The prompt
 * has `blocks` blocks, of which endpoint i is assumed to have the first matched[i]. */
void epp_score(const struct epp_weights *w, const struct lab_page *pages, const uint32_t *matched,
	       uint32_t blocks, uint32_t n, double *out);

struct prequal_probe {
	uint32_t endpoint, rif, uses;
	double latency_ns;
	uint64_t at_ns;
};
/** The index of the probe that the rule chooses: among the cold probes, with `rif` of at most
 * theta, the least latency; without a cold probe, the least rif. n is at least 1. */
uint32_t prequal_choose(const struct prequal_probe *pool, uint32_t n, double theta);
/** How often a probe may be used, by the paper's equation (1): 1 to 10^9, which is without end. */
uint32_t prequal_reuse(uint32_t pool, uint32_t endpoints, double probes, double remove,
		       double delta);
/** The q-quantile of n counts, 1 <= n <= 256. */
double prequal_quantile(const uint32_t *counts, uint32_t n, double q);

/** Whether SGLang's gateway considers the loads unbalanced. */
bool sglang_unbalanced(uint64_t most, uint64_t least, double absolute, double relative);

#endif
