/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xdp.h - attaches the XDP program of the hand-off to the devices that have its TC program
 * (devices.h), where their drivers can, and no other XDP program is.
 *
 * Each link is pinned beside the maps, so that it outlives the daemon; the next one finds it there,
 * and replaces its program in one step.
 */
#ifndef PINTLE_XDP_H
#define PINTLE_XDP_H

#include "../../config/config.h"
#include "../../net/tc.h"
#include "../ground.h"

struct xdp;

/** Finds the links that are pinned. The ground must outlive it. Returns 0 and *out (xdp_free()
 * it), or -errno, logged. */
int xdp_new(const struct ground *g, struct xdp **out);

/** Sets how xdp_arrange() attaches from now on: enum config_xdp. */
void xdp_configure(struct xdp *x, uint32_t how);

/** Attaches and detaches, so that the program is at those of the `n` devices for which `has` is
 * set and that can, and tells in `hand_devices` how it is there. Failures are logged once for each
 * device. */
void xdp_arrange(struct xdp *x, const struct tc_device *devices, const bool *has, size_t n);

/** Leaves the program attached. NULL is fine. */
void xdp_free(struct xdp *x);

/** Detaches the links that are pinned in `dir`, and removes their pins. Failures are logged. */
void xdp_detach_all(const char *dir);

#endif
