/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcomes.h - how many requests a model server says it answered well, refused, and failed: the
 * counters of its own metrics page, one table for all engines.
 *
 *   ok       it did what was asked
 *   refused  the request was wrong, came from nobody it knows, or was too much (4xx): the client's
 *            fault or its load's, and no word against the server
 *   failed   an error of the server (5xx)
 *
 * Some engines answer 500 to bad input, too: what follows from these counters, failing.h says.
 */
#ifndef PINTLE_OUTCOMES_H
#define PINTLE_OUTCOMES_H

#include <stdbool.h>
#include <stddef.h>

struct outcomes {
	bool told; /* the page has one of the counters */
	double ok, refused, failed;
	double promised; /* of `ok`: by the status alone, of requests that the engine works on */
	double made;     /* what the engine itself counts as done; 0 where it does not */
};

/* For docs/engines.md: what says so, by the name of its engine. */
struct outcome_metric {
	const char *engine, *name, *ok, *refused, *failed; /* NULL: not told apart */
};

/** Finds the i-th metric. Returns false past the end. */
bool outcome_metric(size_t i, struct outcome_metric *out);

/** Reads the counters of any engine's page. Any bytes are safe, and what cannot be read counts as
 * missing: it is no fault of the page. */
void outcomes_read(const char *page, size_t size, struct outcomes *out);

#endif
