/* SPDX-License-Identifier: Apache-2.0 */
/* classify_names.h - the classes that the classifier knows, which the configuration names. */
#ifndef PINTLE_CLASSIFY_NAMES_H
#define PINTLE_CLASSIFY_NAMES_H

/* X(symbol, name) */
#define CLASSIFY_NAMES(X)                                                                          \
	X(INTERACTIVE, "interactive")                                                              \
	X(AGENT, "agent")                                                                          \
	X(BATCH, "batch")

#endif
