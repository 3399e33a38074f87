/* SPDX-License-Identifier: Apache-2.0 */
/*
 * register.h - servers that sockops did not see listen(), because they listened before Pintle was
 * attached or run outside its cgroup: finds their LISTEN sockets by inet_diag and puts them into
 * `sockets`.
 */
#ifndef PINTLE_REGISTER_H
#define PINTLE_REGISTER_H

#include "../../maps/maps.h"
#include "../../net/addr.h"

/* The network namespace of a pod that has endpoints. */
struct register_place {
	uint64_t cookie, inode;
	char path[64];      /* where it was found */
	uint32_t scope;     /* of its keys: the index of the node's end of its device */
	uint32_t device;    /* the index of its own end, there */
	uint32_t announce;  /* that device's arp_announce, as it was found */
	struct addr ips[4]; /* of its endpoints */
	size_t ip_count;
};

/** Opens the namespace. Returns a descriptor, or -errno: it is gone. */
int register_open(const struct register_place *p);

/** Has register_listeners() look at these namespaces, too. They are kept by reference. */
void register_places(const struct register_place *all, size_t n);

/** Logs once for each endpoint why its newest listener is of no use, whether sockops or
 * register_listeners() found that out. Cheap. */
void register_tell(const struct maps *m);

/** Compares the LISTEN sockets of the namespace with `sockets`: adds listeners that are missing
 * there, removes listeners that are not believed to be the endpoint (any more), and corrects
 * `health`. Cheap when nothing is missing (one dump). A listener whose descriptor cannot be had is
 * logged once, and tried again at the next call. Returns 0 or -errno. */
int register_listeners(const struct maps *m, int netns_fd);

/** Takes the endpoint's listeners out of `sockets`, so that no new connection goes there. The next
 * register_listeners() corrects `health`, and adds those again that are still the endpoint's. */
void register_forget(const struct maps *m, uint32_t endpoint);

/** Returns listening_since_ns of an endpoint; 0: nobody listens. Looks at the endpoint's slots
 * first: when a listener that was found here closes, the kernel empties its slot but reports
 * nothing. */
uint64_t register_listening_since(const struct maps *m, uint32_t endpoint);

/** Returns whether an endpoint with more listeners than slots has a free slot now, so that
 * register_listeners() would fill it. Cheap. */
bool register_has_room(const struct maps *m);

#endif
