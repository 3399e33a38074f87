/* SPDX-License-Identifier: Apache-2.0 */
/* config_here.h - what a configuration that is good asks of the machine on which it is to run, and
 * this one lacks: then somebody is served by nobody. */
#ifndef PINTLE_CONFIG_HERE_H
#define PINTLE_CONFIG_HERE_H

#include "config.h"

/* A frontend to which no packet comes. */
#define CONFIG_NOT_LOCAL                                                                           \
	"is no address of this machine, so that no connection to it arrives here; write "          \
	"announce: true, or add the address (`ip address add`)"

/** Calls `tell` with each thing that keeps clients of the file's pools from being served on this
 * machine, and the line of the file that it is about. `netns_fd`: where connections arrive, as in
 * netns.h; `cluster`: pintled has the API server of a cluster to ask. */
void config_here(const struct config *c, int netns_fd, bool cluster,
		 void (*tell)(void *arg, int line, const char *what), void *arg);

#endif
