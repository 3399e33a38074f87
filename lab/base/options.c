/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <ctype.h>
#include <math.h>

#include "../../userspace/base/util.h"

/* NaN is out of range. */
static double option_read(struct argp_state *state, const char *option, const char *text,
			  double low, double high, bool whole)
{
	char *end;
	double value;

	errno = 0;
	value = strtod(text, &end);
	if (end == text || *end || errno == ERANGE || !(value >= low && value <= high) ||
	    (whole && value != floor(value)))
		argp_error(state, "--%s: '%s' is not a %snumber from %.15g to %.15g", option, text,
			   whole ? "whole " : "", low, high);
	return value;
}

double option_number(struct argp_state *state, const char *option, const char *text, double low,
		     double high)
{
	return option_read(state, option, text, low, high, false);
}

uint64_t option_count(struct argp_state *state, const char *option, const char *text, double low,
		      double high)
{
	return (uint64_t)option_read(state, option, text, low, high, true);
}

const char *option_name(struct argp_state *state, const char *option, const char *text)
{
	if (!*text || strlen(text) > 200)
		argp_error(state, "--%s: a name of 1 to 200 characters", option);
	for (const char *at = text; *at; at++)
		if (!isprint((unsigned char)*at))
			argp_error(state, "--%s: printable characters only", option);
	return text;
}

int option_choice(struct argp_state *state, const char *option, const char *text, const char *first,
		  const char *second)
{
	if (!strcmp(text, first))
		return 0;
	if (strcmp(text, second) != 0)
		argp_error(state, "--%s: '%s' is neither %s nor %s", option, text, first, second);
	return 1;
}
