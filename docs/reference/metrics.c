/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c - the families of the page /metrics. */
#include "reference.h"

#include "../../userspace/base/text.h"
#include "../../userspace/base/util.h"
#include "../../userspace/pintled/observe/metrics_page.h"

#define CELL_SIZE 1024

static void family_row(FILE *f, const struct metrics_family *family, const char *kept)
{
	char name[CODE_SIZE], labels[CELL_SIZE] = "", meaning[CELL_SIZE];

	for (size_t i = 0; family->labels[i]; i++)
		text_list_add(labels, sizeof(labels), family->labels[i]);
	snprintf(meaning, sizeof(meaning), "%s%s%s%s", family->help, family->more ? " " : "",
		 family->more ? family->more : "", kept);
	table_row(f, code(family->name, name), metrics_type_name(family->type), labels, meaning,
		  NULL);
}

/* The first labels show what a family is about: POOL has `pool`, ENDPOINT `pool` and `endpoint`. */
enum subject { NODE, POOL, ENDPOINT };

static enum subject subject_of(const struct metrics_family *family)
{
	if (!family->labels[0] || strcmp(family->labels[0], "pool") != 0)
		return NODE;
	return family->labels[1] && !strcmp(family->labels[1], "endpoint") ? ENDPOINT : POOL;
}

static void families(FILE *f, enum subject subject)
{
	const struct metrics_family *family;
	const char *kept;

	table_head(f, "metric", "type", "labels", "meaning", NULL);
	for (size_t i = 0; (family = metrics_page_family(i, &kept)); i++)
		if (subject_of(family) == subject)
			family_row(f, family, kept);
}

void metrics_of_node_markdown(FILE *f)
{
	families(f, NODE);
}

void metrics_of_pools_markdown(FILE *f)
{
	families(f, POOL);
}

void metrics_of_endpoints_markdown(FILE *f)
{
	families(f, ENDPOINT);
}
