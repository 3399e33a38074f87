/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tc.h - attaches a BPF program to devices of a network namespace, by clsact, beside others'
 * filters.
 *
 * The handle tells our filters from others. It is the kernel's id of a map that the program uses:
 * as long as the filter exists, so does the map, and no other map has that id. A filter's name says
 * whether its clsact was added for it: then clsact is removed with the last of our filters, unless
 * somebody else uses it by then. While clsact is added or removed, packets that leave by the device
 * are lost (the kernel takes all of its qdiscs out of use).
 */
#ifndef PINTLE_TC_H
#define PINTLE_TC_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tc_kind { TC_OTHER, TC_BRIDGE, TC_VLAN, TC_VETH };

struct tc_device {
	uint32_t index;
	uint32_t master; /* index of the bridge or bond whose port it is; 0: none */
	uint32_t lower;  /* of a VLAN: index of the device whose frames it has; 0: not in this
			  * namespace */
	uint32_t peer;   /* index of its other end, in another namespace; 0: it has none */
	enum tc_kind kind;
	bool loopback;
	bool ethernet;         /* packets begin with an Ethernet header; else with the IP header */
	uint32_t arp_announce; /* the sysctl; UINT32_MAX: not known */
	char name[IF_NAMESIZE];
};

/** Lists all devices of the namespace (as in netns.h). Returns 0 with *out (free() it) and *n; or
 * -errno, not logged, both untouched. */
int tc_devices(int netns_fd, struct tc_device **out, size_t *n);

/** Sets the device's sysctl arp_announce; needs no /proc/sys. Returns 0 or -errno, not logged. */
int tc_set_arp_announce(int netns_fd, uint32_t device, uint32_t value);

enum tc_direction { TC_IN, TC_OUT };

/* A device, and one direction in which packets pass it. */
struct tc_point {
	uint32_t device;
	enum tc_direction direction;
};

/* Filters of one program. */
struct tc_ours {
	const char *name; /* of the program; begins with "pintle_" */
	uint32_t handle;
	uint32_t priority; /* the least: those of a lower one run before it */
};

/** Returns the handle of our filters, which is the id of that map; 0: it cannot be read. */
uint32_t tc_handle(int map_fd);

/** Lists where our filters are. Returns as tc_devices(). A device that is removed meanwhile has
 * none. */
int tc_find(int netns_fd, uint32_t handle, struct tc_point **out, size_t *n);

/** Returns whether it is one of them. */
bool tc_has_point(const struct tc_point *all, size_t n, struct tc_point at);

/** Names the first filter of others that packets meet before our filter with that program. Returns
 * false if there is none, or it cannot be found out. */
#define TC_NAME_SIZE 64
bool tc_before(int netns_fd, struct tc_point at, const char *program, char name[TC_NAME_SIZE]);

/** Returns whether the device has a clsact that no Pintle has added, or an ingress qdisc that has
 * that direction: then a filter there changes no qdisc. False, too, if it cannot be found out. */
bool tc_has_place(int netns_fd, struct tc_point at);

/** Attaches the program; if our filter exists there, replaces its program so that every packet
 * meets one of the two. A new filter gets the first priority, from o->priority on, that is not
 * taken by other kinds of filters. Returns 0; -ENODEV: the device is gone; -EBUSY: an ingress qdisc
 * is in the place of clsact, and has no outgoing direction; or -errno; not logged. */
int tc_attach(int netns_fd, struct tc_point at, const struct tc_ours *o, int prog_fd);

/** Removes our filter there. Returns 0, also when there was none; or -errno, not logged. */
int tc_detach(int netns_fd, struct tc_point at, uint32_t handle);

/** Removes our filters everywhere; with TC_ANY, filters of every Pintle, running or gone. Returns 0
 * or -errno, not logged. */
#define TC_ANY UINT32_MAX
int tc_detach_all(int netns_fd, uint32_t handle);

#endif
