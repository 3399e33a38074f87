/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_hand.c - what pools with `decide: request` need of this machine, besides the kernel. */
#include <bpf/bpf.h>

#include "../maps/kernel.h"
#include "../net/netdev.h"
#include "../net/netns.h"
#include "../net/tc.h"
#include "doctor.h"

/* ---- in the steered namespace ----------------------------------------------------------- */

bool doctor_cookies_off(const struct doctor *d)
{
	long value;

	return d->netns >= 0 && !netns_sysctl(d->netns, KERNEL_HAND_SYSCTL, &value) && !value;
}

/* ---- programs before the hand-off ------------------------------------------------------- */

/* Returns false where the name cannot be read, as without CAP_SYS_ADMIN. */
static bool program_name(uint32_t id, char *name, size_t size)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = {0};
	uint32_t length = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length))
		return false;
	if (info.name[0])
		state_text(name, size, info.name, sizeof(info.name));
	else
		snprintf(name, size, "tcx program %u", id);
	return true;
}

/* Names the program of others that sees the device's packets before the hand-off. */
static bool before_hand(const struct doctor *d, const struct tc_device *device,
			char name[TC_NAME_SIZE])
{
	const char *hand = device->ethernet ? "pintle_hand" : "pintle_hand3";
	uint32_t ids[NETDEV_TCX_MAX],
		n = netdev_tcx_programs(d->netns, device->index, NETDEV_TCX_INGRESS, ids);
	bool found = false;

	for (uint32_t i = 0; i < n; i++) {
		char program[TC_NAME_SIZE];

		if (!program_name(ids[i], program, sizeof(program)))
			return false;
		if (!strcmp(program, hand))
			return found;
		if (!found && strncmp(program, "pintle_", strlen("pintle_")) != 0) {
			snprintf(name, TC_NAME_SIZE, "%s", program);
			found = true;
		}
	}
	return found || tc_before(d->netns, (struct tc_point){device->index, TC_IN}, hand, name);
}

static bool has_hand(const struct doctor *d, const char *device)
{
	for (size_t i = 0; i < d->s->device_count; i++)
		if (!strcmp(d->s->devices[i].name, device))
			return true;
	return false;
}

static void say_before(struct doctor *d)
{
	_cleanup_free_ struct tc_device *devices = NULL;
	char name[TC_NAME_SIZE];
	size_t n = 0;

	if (!d->privileged || d->netns < 0 || tc_devices(d->netns, &devices, &n))
		return; /* other checks say that they could not look */
	for (size_t i = 0; i < n; i++) {
		if (!has_hand(d, devices[i].name) || !before_hand(d, &devices[i], name))
			continue;
		doctor_say(d, VERDICT_WARN,
			   "if that program takes packets to the frontends, as Cilium's do, use "
			   "decide: connection there, or let it pass them",
			   "%s: %s sees packets before the hand-off; connections that it takes are "
			   "decided by their addresses",
			   devices[i].name, name);
	}
}

/* ---- pools ---------------------------------------------------------------------------------- */

/* Only the first request of a kept connection is decided. */
static void say_kept(struct doctor *d)
{
	for (size_t i = 0; i < d->s->pool_count; i++) {
		const struct state_pool *p = &d->s->pools[i];

		if (p->decide == PINTLE_DECIDE_REQUEST && p->frontend_count &&
		    p->requests == PINTLE_REQUESTS_AS_THEY_COME)
			doctor_say(d, VERDICT_OK, NULL,
				   "%s: only the first request of a connection is decided; "
				   "requests: one-per-connection decides each",
				   p->name);
	}
}

void doctor_hand_more(struct doctor *d)
{
	say_before(d);
	say_kept(d);
}
