/* SPDX-License-Identifier: Apache-2.0 */
/* classify.c - the table by which sessions are classified. */
#include "reference.h"

#include "../../userspace/base/util.h"
#include "../../userspace/policy/classify.h"

#define CELL_SIZE 64

static void write_row(FILE *f, const struct classify_feature *feature, size_t i)
{
	const struct classify_row *row = &feature->rows[i];
	char value[CELL_SIZE], of[CLASSIFY_CLASSES][CELL_SIZE];

	if (row->up_to == UINT32_MAX)
		snprintf(value, sizeof(value), "more");
	else
		snprintf(value, sizeof(value), "to %u%s%s", row->up_to, *feature->unit ? " " : "",
			 feature->unit);
	for (int k = 0; k < CLASSIFY_CLASSES; k++)
		snprintf(of[k], CELL_SIZE, "%u", row->per_mille[k]);
	table_row(f, i ? "" : feature->name, value, of[CLASSIFY_INTERACTIVE], of[CLASSIFY_AGENT],
		  of[CLASSIFY_BATCH], NULL);
}

void classifier_markdown(FILE *f)
{
	table_head(f, "feature", "value", classify_name(CLASSIFY_INTERACTIVE),
		   classify_name(CLASSIFY_AGENT), classify_name(CLASSIFY_BATCH), NULL);
	for (size_t k = 0; k < classify_feature_count; k++)
		for (size_t i = 0; i < classify_features[k].count; i++)
			write_row(f, &classify_features[k], i);
}
