/* SPDX-License-Identifier: Apache-2.0 */
/* memory.h - what the maps take of the kernel's memory, and what to say where there is too little.
 */
#ifndef PINTLE_MEMORY_H
#define PINTLE_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct bpf_map;
struct bpf_object;

/** Returns what the kernel allocates when the map is made: of a per-CPU map, for each CPU. The case
 * e2e/docs/maps_take_what_is_said compares it with the kernel's own figure. */
uint64_t memory_of_map(const struct bpf_map *map);
bool memory_is_per_cpu(const struct bpf_map *map);

/** Returns the same of a map of that type with so many entries. */
uint64_t memory_of_entries(const struct bpf_map *map, uint64_t entries);

/** Returns the sum over all maps of the object. */
uint64_t memory_of_maps(const struct bpf_object *obj);

/** Logs a warning where a limit leaves enough for `bytes` of maps, but not for the daemon itself,
 * too: the kernel may kill it, which then says nothing. Comes before maps are made. */
void memory_foresee(uint64_t bytes);

/** Returns whether libbpf's error means that there was no memory, and logs which limit `bytes` of
 * maps, or the daemon itself, would exceed, and what helps. */
bool memory_tell(int err, uint64_t bytes);

#endif
