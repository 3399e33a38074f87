/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - pintled's command line. */
#ifndef PINTLE_DAEMON_OPTIONS_H
#define PINTLE_DAEMON_OPTIONS_H

#include <argp.h>
#include <stdbool.h>

#include "../base/log.h"

#define EXIT_USAGE 2

struct options {
	const char *config;
	const char *bpffs; /* NULL: not given */
	bool detach;
	enum log_level level;
};

/** The options, up to one that is all zeros: for --help and for pintled(8). */
extern const struct argp_option daemon_options[];

/** Reads a command line. What is wrong with it is told, with what would be right, and ends the
 * process with EXIT_USAGE; --help and --version end it, too. */
void daemon_options_parse(int argc, char **argv, struct options *o);

#endif
