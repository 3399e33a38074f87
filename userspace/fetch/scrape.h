/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrape.h - fetches metrics pages over HTTP, again and again: libcurl driven by the
 * daemon's libuv loop. It knows nothing of what is on a page. A target may be a probe instead: no
 * page, but a sign of life, at the same intervals, and only while somebody wants to know.
 *
 * Connections are kept alive, unless the target asks for a fresh one. Each request has to end
 * within the target's timeout; redirects, proxies, compression and protocols other than http and
 * https are off; a page is at most 4 MiB. One target has at most one request at a time, at
 * intervals of interval_ns +-10 %; a scrape missed while the loop stood still is not made up for.
 *
 * After a failure the wait doubles from interval_ns up to SCRAPE_RETRY_MAX_NS; up to
 * SCRAPE_RETRY_SOON_NS only where a try is cheap: a refused connection, a status other than 200,
 * and every failure of a loopback address. (Neither is ever shorter than interval_ns.) Failing is
 * logged once, and so is recovery; one that comes and goes, at most once a minute.
 */
#ifndef PINTLE_SCRAPE_H
#define PINTLE_SCRAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "fetch.h"

#define SCRAPE_RETRY_MAX_NS  10000000000ULL
#define SCRAPE_RETRY_SOON_NS 1000000000ULL

struct scraper;       /* everything scraped from within one network namespace */
struct scrape_target; /* one page */

/* All strings are copied. */
struct scrape_options {
	const char *url;          /* http or https */
	const char *fallback_url; /* tried where no connection to `url` comes about; NULL: none.
				   * Whichever worked is tried first from then on. */
	/* Each may be NULL: there is none. */
	const char *credentials_file;     /* holds the bearer token; read again when it changes */
	const char *ca_file;              /* whom to believe, instead of the system's authorities */
	const char *cert_file, *key_file; /* what we show to the server */
	const char *server_name;          /* of an https server, instead of the URL's host */
	const char *label;                /* "pool/endpoint": names the target in logs */
	uint64_t interval_ns;             /* from start to start, at least 1 ms */
	uint64_t timeout_ns; /* for the whole scrape, connecting included; at least 1 ms */
	bool probe; /* a request is made only when fresh() says so, and any answer will do: see
		     * FETCH_PROBE */
};

/* Called on the loop, never from within a function of this header. */
struct scrape_callbacks {
	/* A request is about to be made: whether it must go over a connection of its own, instead
	 * of one that was kept. That of a probe goes in no other way, so that without it none is
	 * made, and done() not called. Only scraper_failures() may be called from here. May be
	 * NULL: never. */
	bool (*fresh)(void *arg);
	/* The connection stands and the request goes out next: the time to note counters and the
	 * start of the scrape. Called again when the request had to be sent anew, because the
	 * server had closed the kept connection: the last call counts. Not called where no
	 * connection came about. Returns whether whoever is at the other end may be asked: if not,
	 * a kept connection is made anew, and of a new one the other URL is tried. May be NULL. Of
	 * the functions below only scraper_remove() and scraper_kick() may be called from here. */
	bool (*begin)(void *arg, const struct fetch_connection *c);
	/* The scrape is over. error is 0 and the page complete (size may be 0; page is never
	 * NULL, not terminated, and valid during the call only); or error is -errno: -ECONNREFUSED
	 * and other errors of connecting, -ESTALE (begin() would not ask), -ETIMEDOUT, -EFBIG,
	 * -EPROTO (a status other than 200, or no HTTP), -ECONNRESET (cut short), ... and page is
	 * NULL. Returns NULL, or what is wrong with the page, in words that are valid until the
	 * next call and hold nothing of it that is not printable: the scrape has then failed like
	 * any other. Every function below may be called from here. */
	const char *(*done)(void *arg, int error, const char *page, size_t size);
};

struct scrape_stats {
	uint64_t started;  /* requests, of both URLs */
	uint64_t failed;   /* scrapes, bad pages included */
	uint64_t bytes;    /* of complete pages */
	uint64_t connects; /* sockets made */
	unsigned int targets, in_flight;
};

/** Makes a scraper whose sockets live in the network namespace `netns_fd` (kept open by the
 * caller as long as the scraper lives), or in the caller's own with -1. Host names are resolved in
 * the caller's own in any case. Returns 0 and *out, or -errno (logged) with *out untouched. */
int scraper_new(uv_loop_t *loop, int netns_fd, struct scraper **out);

/** Ends all requests without a callback, closes all connections, frees the targets. What belongs
 * to the loop is freed while that runs on: run it until it has no handles left before
 * uv_loop_close(). NULL is allowed. Not from within a callback. */
void scraper_free(struct scraper *s);

/** Adds a target; its first scrape starts within a small random time. `callbacks` must outlive
 * the target; `arg` goes to each of them. Returns 0 and *out, -EINVAL (no http(s) URL, times too
 * small), or -ENOMEM, with *out untouched. */
int scraper_add(struct scraper *s, const struct scrape_options *options,
		const struct scrape_callbacks *callbacks, void *arg, struct scrape_target **out);

/** Forgets a target, its request included: no callback follows. Safe anywhere, its own callbacks
 * included. NULL is allowed. */
void scraper_remove(struct scrape_target *t);

/** Puts new options in place (a reload). A request in flight ends under the old ones. With
 * another URL or access to it the target starts afresh: no back-off, scraped at once. Errors as
 * scraper_add(), and then nothing has changed. */
int scraper_set_options(struct scrape_target *t, const struct scrape_options *options);

/** Scrapes now, whatever the interval and the back-off say; while a request is in flight, right
 * after it. */
void scraper_kick(struct scrape_target *t);

/** Scrapes of this target failed in a row; 0 when the last one went well or none is over. */
unsigned int scraper_failures(const struct scrape_target *t);

void scraper_stats(const struct scraper *s, struct scrape_stats *out);

#endif
