/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tc.h - one BPF program on devices of a network namespace, by clsact, beside whatever else is
 * there.
 *
 * Filters of ours are told from others by their handle, which is the kernel's id of a map that the
 * program uses: as long as a filter is there, so is the map, and no other has its id. A filter also
 * says whether its clsact was added for it: then the last of ours takes it away again, unless
 * somebody else uses it by then.
 */
#ifndef PINTLE_TC_H
#define PINTLE_TC_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tc_device {
	uint32_t index;
	uint32_t master; /* of which bridge or bond it is a port; 0: none */
	bool bridge;
	bool ethernet; /* packets begin with an Ethernet header; else with that of IP */
	char name[IF_NAMESIZE];
};

/** All devices of the namespace (as in netns.h). Returns 0 with *out (free() it) and *n; or -errno;
 * both are untouched then. */
int tc_devices(int netns_fd, struct tc_device **out, size_t *n);

enum tc_direction { TC_IN, TC_OUT };

/* Where packets pass a device, in one direction. */
struct tc_point {
	uint32_t device;
	enum tc_direction direction;
};

/** The handle of our filters, from that map's descriptor: 0 if it cannot be had. */
uint32_t tc_handle(int map_fd);

/** Where our filters are. As tc_devices(); a device that goes away meanwhile has none. */
int tc_find(int netns_fd, uint32_t handle, struct tc_point **out, size_t *n);

/** Puts the program there, in the place of our filter if there is one, without a packet going by
 * neither. Before all others where the kernel lets it. Returns 0; -ENODEV when the device is gone;
 * -EBUSY where an ingress qdisc lets nothing be attached to what goes out; or -errno. */
int tc_attach(int netns_fd, struct tc_point at, uint32_t handle, int prog_fd);

/** Takes our filter away from there. Returns 0, also when there was none; or -errno. */
int tc_detach(int netns_fd, struct tc_point at, uint32_t handle);

/** The same everywhere; with TC_ANY, filters of ours of whatever handle: of one Pintle or another,
 * running or long gone. */
#define TC_ANY UINT32_MAX
int tc_detach_all(int netns_fd, uint32_t handle);

#endif
