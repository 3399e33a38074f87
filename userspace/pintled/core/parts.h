/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.h - the parts of the daemon, in one table (parts.c): how each begins, what tells it the
 * configuration, when it looks, and how it ends.
 *
 * Parts begin in the order of the table and end in reverse, so a part may use those above it.
 */
#ifndef PINTLE_PARTS_H
#define PINTLE_PARTS_H

#include "../../config/config.h"
#include "../ground.h"
#include "../observe/exporter.h"
#include "../publish/publication.h"

enum parts_stage {
	PARTS_LOADED,   /* before anything steers by this process */
	PARTS_ATTACHED, /* the programs are attached, and the pins in their place */
};

enum parts_clock {
	PARTS_BEAT,  /* with the heartbeat */
	PARTS_TEND,  /* every 300 ms */
	PARTS_HOUSE, /* every 2 s */
	PARTS_CLOCKS
};

/* What the parts find each other by. NULL: not begun, or not wanted. */
struct parts {
	const struct ground *ground; /* NULL until the programs are loaded */
	const struct config *config; /* the current one, and what it was published as */
	const struct publication *publication;
	struct bindings *bindings;
	struct telemetry *telemetry;
	struct tenant_minutes *tenant_minutes;
	struct cluster *cluster; /* made before the ground; NULL: no Kubernetes */
	struct poller *poller;
	struct client_pods *client_pods;
	struct clients *clients;
	struct audit *audit;
	struct same_model *same_model;
	struct pass *pass;   /* NULL: the kernel does not let requests be followed */
	struct hosts *hosts; /* made before the ground */
	struct orders *orders;
	struct overload *overload;
	struct judge *judge;
	struct keeper *keeper; /* of the history */
	struct exporter *exporter;
	struct oneshot *oneshot;
	struct hand *hand;
	struct in_pods *in_pods;
	struct splice *splice;
	uint64_t rounds[PARTS_CLOCKS];
	bool recounting; /* after a takeover, until a recount finds nothing wrong */
	/* The daemon, and what it is called for. */
	void *daemon;
	const struct exporter_callbacks *exporter_callbacks;
	void (*on_hosts)(void *daemon);
};

/** Begins the parts of that stage. Returns 0, or -errno, logged: some may have begun. */
int parts_new(struct parts *p, enum parts_stage stage);

/** Configures the parts of that stage by `c`, which was published as `pub`. Both must live until
 * the next call. Each part is told; returns 0, or the first -errno, logged. */
int parts_configure(struct parts *p, enum parts_stage stage, const struct config *c,
		    const struct publication *pub);

/** Lets each part look whose turn it is. */
void parts_tick(struct parts *p, enum parts_clock clock);

/** Compares the counts with the sockets. To be called, too, once a hook was lost. */
void parts_recount_now(struct parts *p);

/** Ends all parts that have begun; the loop must run once more before the ground goes. */
void parts_free(struct parts *p);

#endif
