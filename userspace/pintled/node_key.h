/* SPDX-License-Identifier: Apache-2.0 */
/* node_key.h - the key of a node's hashes, where node.keyFile gives it: then nodes with the same
 * file come to the same hashes. */
#ifndef PINTLE_NODE_KEY_H
#define PINTLE_NODE_KEY_H

#include <linux/types.h>

/** Reads the key. Returns 0; or -errno, logged, with *key untouched. */
int node_key_read(const char *path, __u64 key[2]);

#endif
