/* SPDX-License-Identifier: Apache-2.0 */
/* walk.h - runs a BPF iterator over the entries of a map, or over sockets. */
#ifndef PINTLE_WALK_H
#define PINTLE_WALK_H

struct bpf_link;
struct bpf_program;

/** Attaches a loaded iterator to a map. Returns a link, which the caller destroys, or NULL with
 * errno. */
struct bpf_link *walk_attach(const struct bpf_program *program, int map_fd);

/** Runs the iterator over all entries. Returns 0 or -errno. */
int walk_run(const struct bpf_link *link);

/** Attaches the iterator to the map, and runs it once. Returns 0 or -errno. */
int walk_once(const struct bpf_program *program, int map_fd);

/** Runs a loaded iterator that belongs to no map, given by its descriptor, once. An iterator over
 * sockets visits those of the caller's network namespace. Returns 0 or -errno. */
int walk_program(int program_fd);

#endif
