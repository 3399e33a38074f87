/* SPDX-License-Identifier: Apache-2.0 */
/* netdev.h - what a network device, or its driver, can do with XDP. */
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

/** Whether the device takes the tags of VLANs off incoming frames; true where that is not known. */
bool netdev_takes_tags(int netns_fd, const char *name);

/** Attaches an XDP program natively, by a link, where no other program is. Returns the link's
 * descriptor, which the caller closes; or -errno, not logged: -EBUSY or -EEXIST: another program is
 * attached. */
int netdev_xdp_attach(int netns_fd, uint32_t device, int prog_fd);

#endif
