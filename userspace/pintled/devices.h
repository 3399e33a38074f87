/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices.h - on which devices of the steered namespace a TC program is, so that it sees what
 * clients send to the servers of some pools; and that it stays there.
 *
 *   decided at the servers' node    what comes in on every device, lo included
 *   decided at the clients' node    what goes out by the device that the kernel routes an
 *                                   endpoint's address to, where that is not by a gateway; by all
 *                                   ports of a bridge; for an address of this node what comes in
 *
 * Changes of links, addresses and routes are seen by themselves. Filters outlive the daemon; the
 * next daemon finds them, and puts its own program in their place.
 */
#ifndef PINTLE_DEVICES_H
#define PINTLE_DEVICES_H

#include <uv.h>

#include "attach.h"

struct devices;

/* What is attached. */
struct devices_use {
	const char *name;           /* for messages: "one-shot" */
	const char *program;        /* where packets begin with an Ethernet header */
	const char *program_layer3; /* where they begin with that of IP */
	enum map_id map;            /* that only these programs use: its id marks their filters */
	uint32_t *count; /* here stands how many directions of devices it is attached to */
};

/** Takes away the filters of a Pintle whose pins were removed by hand: they go by maps that nobody
 * can reach. To be called once, before any devices_new(); a failure is logged. */
void devices_sweep(const struct attachment *a);

/** The loop, the attachment and what `use` names must outlive it. Returns 0 and *out
 * (devices_free() it), or -errno, logged. */
int devices_new(uv_loop_t *loop, struct attachment *a, const struct devices_use *use,
		struct devices **out);
/** From now on the program sees what is sent to the pools i of `c` for which wanted[i] is set;
 * where none is, it is taken away and unloaded. Both are kept by reference, until the next call.
 * Failures are logged, and tried again by devices_refresh(). */
void devices_see(struct devices *d, const struct config *c, const bool *wanted);
/** To be called now and then: puts back what somebody took away. */
void devices_refresh(struct devices *d);
/** Filters stay. NULL is fine. */
void devices_free(struct devices *d);

#endif
