/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fitness.h - whether an endpoint is fit for connections by what the daemon asks besides the load:
 * health checks of the server, and its GPUs' errors. Pure functions.
 *
 *   faulty      a GPU of the endpoint reported an error that only a restart ends
 *   starting    the server appeared less than the startup time ago, and has passed no check since
 *   unhealthy   so many checks in a row failed; or none succeeded in the startup time
 *   asleep      its page says that its engine sleeps
 *
 * A server that is loading its model for minutes is no failure; one that answers no check after
 * that is.
 */
#ifndef PINTLE_FITNESS_H
#define PINTLE_FITNESS_H

#include <pintle/abi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the pool asks for. */
struct fitness_terms {
	bool checked;          /* a health check is configured */
	unsigned int failures; /* checks in a row that must fail, at least 1 */
	uint64_t startup_ns;   /* time that a new server is given */
};

/* The fitness checks of one endpoint so far. Must begin as zeros. */
struct fitness {
	uint64_t since_ns;     /* when its server appeared */
	uint64_t good_ns;      /* when the newest check that succeeded was begun; 0: none did */
	unsigned int failures; /* checks that failed since, in a row */
	uint32_t status;       /* the HTTP status that the newest failed check got; 0: none */
	bool refused;          /* its port refused pintled's newest connection */
	bool faulty;  /* a GPU was, at faulty_ns; a server that appeared since has another */
	uint32_t xid; /* faulty: the XID; 0: an error of its memory */
	uint64_t faulty_ns;
	bool gpus_known; /* the next two are: what the page says that is no news */
	uint32_t old_xid;
	double old_dbe;
	bool asleep; /* by its newest page */
};

#define FITNESS_XIDS 16

/* What a DCGM page says of the endpoint's GPUs. */
struct fitness_gpus {
	uint32_t xids[FITNESS_XIDS]; /* those after which a GPU must be reset */
	size_t count;
	double dbe;   /* errors of more than one bit in their memory, of all together */
	bool spoiled; /* a number is missing above: what was there before may still be */
};

/** Begins the health checks at `now`. `heard`: the endpoint's page was read before, by an earlier
 * daemon perhaps; `unfit` is what health.unfit says. An endpoint that served goes on serving until
 * a check says otherwise, and an unhealthy one is so until a check succeeds. */
void fitness_begin(struct fitness *f, bool heard, uint32_t unfit, const struct fitness_terms *t,
		   uint64_t now);

/** Takes in a connection to the endpoint's own port, begun at `now`: it was refused, or a server
 * answered. listening_ns is since when that server listens; 0: not known. Returns whether a server
 * has appeared since the newest check that succeeded, so that it should be checked at once. */
bool fitness_met(struct fitness *f, bool refused, uint64_t listening_ns, uint64_t now);

/** Takes in a check that was begun at begun_ns and got the HTTP `status`; 0: no answer. Returns
 * whether it counts as a failure: not while a new server is given time. */
bool fitness_checked(struct fitness *f, const struct fitness_terms *t, bool good, uint32_t status,
		     uint64_t begun_ns, uint64_t now);

/** Takes in a DCGM page. An XID stays on it long after the GPU has recovered, until the exporter or
 * the driver restarts. So only one that was not there on the page before, or a count that has
 * grown, makes the endpoint faulty. That ends when the XID is gone from the page, or when a server
 * has appeared since (fitness_met()): it would not have come up without its GPU. */
void fitness_gpus(struct fitness *f, const struct fitness_gpus *gpus, uint64_t now);

/** Returns the enum pintle_unfit at `now`. */
uint32_t fitness_judge(const struct fitness *f, const struct fitness_terms *t, uint64_t now);

#endif
