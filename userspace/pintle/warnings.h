/* SPDX-License-Identifier: Apache-2.0 */
/* warnings.h - what an operator should know although it works: one sentence each. */
#ifndef PINTLE_WARNINGS_H
#define PINTLE_WARNINGS_H

#include <cjson/cJSON.h>

#include "cli.h"

/** An array of strings (the caller's), or NULL when memory ran out. Links are looked at only by
 * root: a reader cannot open them. */
cJSON *warnings_collect(const struct cli *cli, const struct state *s);

#endif
