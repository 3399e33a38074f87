/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_prefixes.h - what stands for the kernel's map in the text of bpf/rule/prefix.bpf.h: each
 * node's table of prefixes, with exact LRU.
 */
#ifndef PINTLE_SIM_LAB_PREFIXES_H
#define PINTLE_SIM_LAB_PREFIXES_H

#include <rule/prefix.bpf.h>

#include "lab_policy.h"

struct lab_prefixes;

/** Tables of `capacity` entries (1..2^24) for nodes 0..nodes-1. 0 or -ENOMEM. */
int lab_prefixes_new(uint32_t nodes, uint32_t capacity, struct lab_prefixes **out);
void lab_prefixes_free(struct lab_prefixes *x);

/** Fills in *out with as much of the request's prompt as `visible` bytes show. The names of the
 * blocks stand for the hashes of the text. */
void lab_prefixes_read(const struct lab_request *r, uint32_t block_tokens, uint32_t visible,
		       struct pintle_prompt *out);
/** prefix_search() in the node's table. */
void lab_prefixes_search(struct lab_prefixes *x, uint32_t node, const struct pintle_prompt *p,
			 uint64_t now_ns, uint64_t ttl_ns, struct pintle_known *out);
/** prefix_learn() of all steps: the endpoint is given the prompt now. At most `share` entries are
 * added. Returns how many were. */
uint32_t lab_prefixes_learn(struct lab_prefixes *x, uint32_t node, const struct pintle_prompt *p,
			    uint32_t endpoint, uint64_t now_ns, uint32_t share);

#endif
