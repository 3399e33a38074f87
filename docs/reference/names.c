/* SPDX-License-Identifier: Apache-2.0 */
/* names.c - the names of abi.h, and what each says. */
#include "reference.h"

#include <pintle/abi.h>

#include "../../userspace/maps/names.h"

void outcomes_markdown(FILE *f)
{
	table_names(f, "outcome", "why, and where the connection went", PINTLE_OUTCOME_COUNT,
		    outcome_name, outcome_help);
}

void oneshots_markdown(FILE *f)
{
	table_names(f, "name", "meaning", PINTLE_ONESHOT_COUNT, oneshot_name, oneshot_help);
}

void failures_markdown(FILE *f)
{
	table_names(f, "failure", "when", PINTLE_FAILURE_COUNT, failure_name, failure_help);
}
