/* SPDX-License-Identifier: Apache-2.0 */
#include "restore.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "../maps/maps.h"

/* Pins of another layout hold nothing that this daemon could read; attach.c says more of pins that
 * are not whole. */
int restore_state(const char *bpffs, struct state **out)
{
	char dir[PATH_MAX];
	struct maps *m = NULL;
	struct state *s = NULL;
	int err = 0;

	maps_dir(bpffs, dir, sizeof(dir));
	if (!access(dir, F_OK) && !maps_open_dir(dir, MAPS_READ, &m))
		err = state_read(m, &s);
	maps_close(m);
	if (!err)
		*out = s;
	return err;
}
