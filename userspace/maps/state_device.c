/* SPDX-License-Identifier: Apache-2.0 */
/* state_device.c - the devices of the hand-off. */
#include <bpf/bpf.h>

#include "../base/text.h"
#include "../base/util.h"
#include "state_internal.h"

static int device_order_by_name(const void *a, const void *b)
{
	return strcmp(((const struct state_device *)a)->name,
		      ((const struct state_device *)b)->name);
}

int state_read_devices(const struct maps *m, struct state *s)
{
	uint32_t key, *previous = NULL;
	int fd = m->fd[MAP_hand_devices];

	s->devices = calloc(PINTLE_MAX_DEVICES, sizeof(*s->devices));
	if (!s->devices)
		return -ENOMEM;
	while (s->device_count < PINTLE_MAX_DEVICES && !bpf_map_get_next_key(fd, previous, &key)) {
		struct state_device *to = &s->devices[s->device_count];
		struct pintle_device d;

		previous = &key;
		if (bpf_map_lookup_elem(fd, &key, &d))
			continue;
		snprintf(to->name, sizeof(to->name), "%.*s", (int)sizeof(d.name), d.name);
		text_make_printable(to->name, '?');
		to->index = key;
		to->xdp = d.xdp;
		s->device_count++;
	}
	qsort(s->devices, s->device_count, sizeof(*s->devices), device_order_by_name);
	return 0;
}
