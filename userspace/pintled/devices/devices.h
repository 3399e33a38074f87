/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices.h - attaches a TC program to the devices of the steered namespace by which clients'
 * packets reach the servers of some pools, and keeps it there.
 *
 *   decided at the servers' node    what comes in on every device, lo included
 *   decided at the clients' node    what goes out by the device that the kernel routes an
 *                                   endpoint's address to, where that is not by a gateway; by all
 *                                   ports of a bridge; for an address of this node what comes in
 *
 * Changes of links, addresses and routes are noticed without a call. The program is attached by tcx
 * (Linux 6.6), which changes no qdisc, so that no packet is lost; beside others' filters, in their
 * clsact, so that it keeps its place among them; and by a clsact of its own where there is no tcx.
 * Both outlive the daemon; the next daemon finds them, and replaces their program by its own.
 */
#ifndef PINTLE_DEVICES_H
#define PINTLE_DEVICES_H

#include <uv.h>

#include "../../net/tc.h"
#include "../../config/config.h"
#include "../ground.h"

struct devices;

/* A program for devices, and what belongs to it. */
struct devices_use {
	const char *name;           /* for messages: "one-shot" */
	const char *program;        /* where packets begin with an Ethernet header */
	const char *program_layer3; /* where they begin with that of IP */
	enum map_id map;            /* used by these programs alone: its id marks their filters */
	uint32_t priority;          /* of the filters, at least; the lower ones run first. In tcx 1
				     * is before, and another behind, the programs of others */
	/* At the devices of pods, in both directions: in front of others' programs for what a pod
	 * sends, and behind them for what it gets. */
	bool of_pods;
	/* NULL, or tells whether the program stays, though no pool wants it. */
	bool (*stays)(void *arg);
	uint32_t *count; /* written: how many directions of devices it is attached to */
	/* NULL, or called after each look at the devices, with those that have it for what comes
	 * in. */
	void (*arranged)(void *arg, const struct tc_device *devices, const bool *in, size_t n);
	void *arg;
};

/** Detaches the links that are pinned in `dir`, and removes their pins. Failures are logged. */
void devices_detach_all(const char *dir);

/** Removes the filters of a Pintle whose pins were removed by hand: they use maps that nothing else
 * can reach. To be called once, before any devices_new(). A failure is logged. */
void devices_sweep(const struct ground *g);

/** Makes *out; the ground and what `use` points to must outlive it. Returns 0 and *out
 * (devices_free() it), or -errno, logged. */
int devices_new(const struct ground *g, const struct devices_use *use, struct devices **out);
/** Has the program see, from now on, the packets to the pools i of `c` for which wanted[i] is set;
 * where none is set, it is detached and unloaded. `c` and `wanted` are kept by reference until the
 * next call. A failure is logged, and devices_refresh() tries again. */
void devices_see(struct devices *d, const struct config *c, const bool *wanted);
/** Attaches the program again where somebody detached it. To be called now and then, after
 * devices_see(). */
void devices_refresh(struct devices *d);
/** Leaves the program attached. NULL is fine. */
void devices_free(struct devices *d);

#endif
