/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - pintled's command line. */
#ifndef PINTLE_DAEMON_OPTIONS_H
#define PINTLE_DAEMON_OPTIONS_H

#include <argp.h>
#include <stdbool.h>

#include "../../base/log.h"

#define EXIT_USAGE 2

struct options {
	const char *config;
	const char *bpffs; /* NULL: not given */
	bool detach;
	bool force;                /* with `detach` */
	unsigned int detach_nodes; /* seconds; 0: not given */
	enum log_level level;
};

/** The options, ended by one that is all zeros: for --help and for pintled(8). */
extern const struct argp_option daemon_options[];

/** Parses the command line into *o, which the caller has initialised. On an error it prints what is
 * wrong and what would be right, and exits with EXIT_USAGE; --help and --version exit with 0. */
void daemon_options_parse(int argc, char **argv, struct options *o);

#endif
