/* SPDX-License-Identifier: Apache-2.0 */
/* support_loaded.h - one loaded skeleton for all tests of a file, as cmocka's group set-up, with
 * the programs that PROGRAMS names. */
#ifndef PINTLE_TESTS_SUPPORT_LOADED_H
#define PINTLE_TESTS_SUPPORT_LOADED_H

#include "support_bpf.h"

static struct pintle_bpf *skel;

static int load(void **state)
{
	(void)state;
	skel = load_programs(PROGRAMS);
	return skel ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	pintle_bpf__destroy(skel);
	return 0;
}

#endif
