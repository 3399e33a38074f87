/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device_links.h - BPF links to network devices, one for each device. Each is pinned beside the
 * maps, so that it outlives the daemon; the next one finds it there, and replaces its program in
 * one step.
 */
#ifndef PINTLE_DEVICE_LINKS_H
#define PINTLE_DEVICE_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../../net/tc.h"

struct device_link {
	uint64_t netns;  /* as in struct device_links */
	uint32_t device; /* its index */
	int fd;
	bool ours; /* runs this daemon's program */
};

/* The links of one kind. Where their devices are in several namespaces, the caller says by netns_fd
 * and netns which of these a call is about. */
struct device_links {
	int netns_fd;    /* of the devices */
	uint64_t netns;  /* its cookie, as no other namespace gets it; 0: the steered one */
	int type;        /* as for netdev_has_program() */
	const char *dir; /* of the pins */
	char prefix[48]; /* a pin's name is this, the namespace unless it is 0, and the device's
			  * index */
	struct device_link *all;
	size_t n, room;
};

/* How the names of pins of TC programs' links begin. */
#define DEVICE_LINKS_TCX "tcx_"

/** Finds the links that are pinned in l->dir by l->prefix, of all namespaces; *l has no links
 * before. One that cannot be opened, or for which there is no room, is removed; a failure is
 * logged. device_links_free() it; what it points to must live until then. */
void device_links_find(struct device_links *l);

/** Finds the links of a TC program for that direction that are pinned in `dir`. The same otherwise;
 * *l need not have a value before. */
void device_links_find_tcx(struct device_links *l, int netns_fd, const char *dir,
			   const char *program, enum tc_direction direction);

/** Returns the device's link, until the next change of *l; NULL: it has none. */
struct device_link *device_links_of(const struct device_links *l, uint32_t device);

/** Detaches, and forgets, those that are not where they belong: the device is gone, or was moved to
 * another namespace, which takes the link along; somebody has detached the link by force; or
 * something else is pinned by that name. */
void device_links_weed(struct device_links *l);

/** Takes a new link over, of this daemon's program, and pins it for `group` (as pins_own()).
 * Returns 0; or -errno: the link is detached, and closed: -EMFILE (not logged): there is no room
 * for more links beside the files that the daemon needs open; any other is logged. */
int device_links_add(struct device_links *l, uint32_t device, int fd, gid_t group);

/** Attaches a program for TC, which l->type says the direction of, at the device: by a link; or by
 * a filter `o` where there is no tcx (before Linux 6.6), where others have a place for filters, and
 * where our filter is already (`filtered`). A link, or filter, that is there runs the program from
 * now on. `group` as in pins_own(). Returns 0; or -errno, as device_links_add() and tc_attach(). */
int device_links_attach(struct device_links *l, uint32_t device, const struct tc_ours *o,
			bool filtered, int prog_fd, gid_t group);

/** Makes the link run that program, and pins it again where somebody removed the pin; that it could
 * not is logged. Returns 0; or -errno, logged: the link is detached, and forgotten. */
int device_links_renew(struct device_links *l, struct device_link *link, int prog_fd, gid_t group);

/** Detaches the link, and removes its pin. A failure is logged. */
void device_links_drop(struct device_links *l, struct device_link *link);

/** Leaves the links attached. */
void device_links_free(struct device_links *l);

/** Detaches all links whose pins in `dir` have a name that begins so, and removes the pins.
 * Failures are logged. */
void device_links_detach_all(const char *dir, const char *prefix);

#endif
