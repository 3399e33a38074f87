/* SPDX-License-Identifier: Apache-2.0 */
#include "skeleton.h"

#include "pintle.skel.h"

struct pintle_bpf *skeleton_open(void)
{
	return pintle_bpf__open();
}
