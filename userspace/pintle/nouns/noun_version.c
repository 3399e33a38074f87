/* SPDX-License-Identifier: Apache-2.0 */
/* noun_version.c - versions of the parts that have to fit together. */
#include <bpf/libbpf.h>
#include <sys/utsname.h>

#include "../../base/build.h"
#include "../output.h"

struct version_row {
	char daemon[PINTLE_TEXT_SIZE]; /* "": not known */
	struct utsname kernel;
};

#define GET(name) GETTER(name, const struct version_row *r, const void *arg)

GET(version)
{
	return value_text(PINTLE_VERSION);
}

GET(commit)
{
	return build_commit[0] ? value_text(build_commit) : value_none();
}

GET(layout)
{
	return value_count(PINTLE_ABI_VERSION);
}

GET(daemon)
{
	return r->daemon[0] ? value_text(r->daemon) : value_none();
}

GET(kernel)
{
	return value_text(r->kernel.release);
}

GET(libbpf)
{
	char text[32];

	snprintf(text, sizeof(text), "%u.%u", libbpf_major_version(), libbpf_minor_version());
	return value_text(text);
}

#define COLUMN(name) .get = get_##name

static const struct column columns[] = {
	{.key = "version", .heading = "PINTLE", COLUMN(version), .help = "text: of this program"},
	{.key = "commit",
	 .heading = "COMMIT",
	 COLUMN(commit),
	 .help = "text: of the sources of this program; -dirty: with changes; null: not known"},
	{.key = "layout_version",
	 .heading = "LAYOUT",
	 .right = true,
	 COLUMN(layout),
	 .help = "of the maps that it knows"},
	{.key = "daemon_version",
	 .heading = "PINTLED",
	 COLUMN(daemon),
	 .help = "text: of the daemon that runs or ran; null: none can be seen"},
	{.key = "kernel_version", .heading = "KERNEL", COLUMN(kernel), .help = "text: its release"},
	{.key = "libbpf_version", .heading = "LIBBPF", COLUMN(libbpf), .help = "text"},
};
static const struct columns version_columns = COLUMNS(columns);

static int run_version(struct cli *cli)
{
	_cleanup_(maps_closep) struct maps *m = NULL;
	struct version_row row = {0};
	struct pintle_node node;

	if (cli->version) {
		printf("pintle %s\n", build_version);
		return output_finish();
	}
	uname(&row.kernel);
	/* Maps that are not there, or may not be read, are no failure here. */
	if (!maps_open(cli->bpffs, MAPS_READ, &m) && !maps_value(m, MAP_node, 0, &node))
		state_text(row.daemon, sizeof(row.daemon), node.version, sizeof(node.version));
	return output_rows(cli, &version_columns, &row, 1, sizeof(row), NULL, NULL);
}

const struct command command_version = {
	.name = "version",
	.kind = NOUN,
	.arguments = "",
	.summary = "versions of this program, the maps' layout, the daemon and the kernel",
	.run = run_version,
	.columns = &version_columns,
	.options = OPTIONS_NOUN,
};
