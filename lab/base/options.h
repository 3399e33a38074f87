/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - reads the arguments of options: numbers, names, choices.
 *
 * Each function reads the whole of `text`, or says what is wrong and ends the program, as
 * argp_error() does. `option` is the option's long name, for that message.
 */
#ifndef PINTLE_LAB_OPTIONS_H
#define PINTLE_LAB_OPTIONS_H

#include <argp.h>
#include <stdint.h>

/** low <= the number <= high. */
double option_number(struct argp_state *state, const char *option, const char *text, double low,
		     double high);
/** A whole number; `high` is at most 2^53. */
uint64_t option_count(struct argp_state *state, const char *option, const char *text, double low,
		      double high);
/** 1 to 200 printable characters: names go into headers and labels. */
const char *option_name(struct argp_state *state, const char *option, const char *text);
/** The index of the choice: 0 or 1. */
int option_choice(struct argp_state *state, const char *option, const char *text, const char *first,
		  const char *second);

#endif
