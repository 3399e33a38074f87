/* SPDX-License-Identifier: Apache-2.0 */
/* node_key.h - the key of a node's hashes, where node.keyFile gives it: then nodes with the same
 * file come to the same hashes. */
#ifndef PINTLE_NODE_KEY_H
#define PINTLE_NODE_KEY_H

#include <linux/types.h>

#define NODE_KEY_SAYS_SIZE 4096

/** Reads the key. Returns 0, and in `says` what is unwise about the file, or ""; or -errno, and in
 * `says` what is wrong, with *key untouched. Both with what would be right. */
int node_key_read(const char *path, __u64 key[2], char says[NODE_KEY_SAYS_SIZE]);

#endif
