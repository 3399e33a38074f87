/* SPDX-License-Identifier: Apache-2.0 */
#include "restore.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "../../maps/maps.h"
#include "kinds.h"

/* What pins of another build hold is read once it was carried over; attach.c says more of pins that
 * are not whole. */
int restore_state(const char *bpffs, struct state **out)
{
	char dir[PATH_MAX];
	struct maps *m = NULL;
	struct state *s = NULL;
	int err = 0;

	maps_dir(bpffs, dir, sizeof(dir));
	if (!access(dir, F_OK) && !map_kinds_differ(dir) && !maps_open_dir(dir, MAPS_READ, &m))
		err = state_read(m, &s);
	maps_close(m);
	if (!err)
		*out = s;
	return err;
}
