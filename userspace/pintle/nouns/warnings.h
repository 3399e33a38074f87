/* SPDX-License-Identifier: Apache-2.0 */
/* warnings.h - what an operator should know even though connections are steered: a sentence
 * each. */
#ifndef PINTLE_WARNINGS_H
#define PINTLE_WARNINGS_H

#include <cjson/cJSON.h>

#include "../cli.h"

/** Returns an array of strings, which the caller frees; or NULL when memory ran out. Links are
 * looked at only if root asks: other readers cannot open them. */
cJSON *warnings_collect(const struct cli *cli, const struct state *s);

#endif
