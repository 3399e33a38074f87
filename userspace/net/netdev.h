/* SPDX-License-Identifier: Apache-2.0 */
/* netdev.h - BPF programs of a network device: what XDP its driver can do, and links to it. */
#ifndef PINTLE_NETDEV_H
#define PINTLE_NETDEV_H

#include <stdbool.h>
#include <stdint.h>

/* Bits of the kernel's enum netdev_xdp_act (Linux 6.3), which older headers lack. */
#define NETDEV_XDP_BASIC    0x1 /* programs run, and send frames back */
#define NETDEV_XDP_NDO_XMIT 0x4 /* frames from XDP can leave by it */

/** Reads what XDP the device's driver can do. Returns 0; or -errno, not logged, with *features
 * untouched: -ENODEV: no such device. */
int netdev_xdp_features(int netns_fd, uint32_t device, uint64_t *features);

/** Returns whether the device takes the tags of VLANs off incoming frames; true where that is not
 * known. */
bool netdev_takes_tags(int netns_fd, const char *name);

/** Attaches an XDP program natively, by a link, where no other program is. Returns the link's
 * descriptor, which the caller closes; or -errno, not logged: -EBUSY or -EEXIST: another program is
 * attached. */
int netdev_xdp_attach(int netns_fd, uint32_t device, int prog_fd);

#define NETDEV_XDP_SAYS_SIZE 64
/** Writes which XDP program is attached to the device, natively or not: ": NAME (id 7)"; "": none,
 * or it cannot be found out. Returns `says`. */
const char *netdev_xdp_says(int netns_fd, uint32_t device, char says[NETDEV_XDP_SAYS_SIZE]);

/* Attach types of tcx (Linux 6.6), which older headers lack. */
#define NETDEV_TCX_INGRESS 46
#define NETDEV_TCX_EGRESS  47
#define NETDEV_TCX_MAX     64 /* programs at a device in one direction */

/** Attaches a TC program by a link, without a qdisc: to what comes in (NETDEV_TCX_INGRESS) or goes
 * out (NETDEV_TCX_EGRESS), before the other programs of its kind there (`first`), or behind them.
 * It runs before all filters. Returns as netdev_xdp_attach(): -ENODEV: no such device; -EINVAL: the
 * kernel has no tcx; -ERANGE: there are NETDEV_TCX_MAX. Waits for all CPUs (RCU): 10 ms, say. */
int netdev_tcx_attach(int netns_fd, uint32_t device, int type, bool first, int prog_fd);

/** Lists the ids of the TC programs that are attached there by tcx, in the order in which packets
 * meet them. Returns how many; 0, too, where that cannot be found out. */
uint32_t netdev_tcx_programs(int netns_fd, uint32_t device, int type, uint32_t ids[NETDEV_TCX_MAX]);

/** Returns whether the program with that id is attached to the device, which is one of this
 * namespace, in that way: BPF_XDP (natively), NETDEV_TCX_INGRESS or NETDEV_TCX_EGRESS. */
bool netdev_has_program(int netns_fd, uint32_t device, int type, uint32_t prog_id);

#endif
