/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adapter_list.h - the LoRA adapters that a server has loaded, by its metrics page: pure functions.
 *
 * vLLM's page has a series of vllm:lora_requests_info for each combination of adapters that were
 * used at the same time, also of former ones. The series' value is the time when that was last. The
 * server keeps as many adapters as it has slots, and evicts the one that was not used for longest:
 * so it has those that were used last.
 */
#ifndef PINTLE_ADAPTER_LIST_H
#define PINTLE_ADAPTER_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADAPTER_LIST_MAX  64   /* adapters; those that were used longer ago are forgotten */
#define ADAPTER_SLOTS_MAX 1024 /* a larger number is not believed */

struct adapter_list {
	size_t slots;  /* adapters that can be loaded at once; 0: the page does not say */
	size_t used;   /* of these, those that requests use or wait for */
	size_t loaded; /* the first so many of `id` are loaded, or are about to be */
	size_t n;
	uint64_t id[ADAPTER_LIST_MAX]; /* hash_text() of the names */
};

/** Reads a page. Any bytes are safe; what cannot be read is left out. */
void adapter_list_read(const char *page, size_t size, struct adapter_list *out);

#endif
