/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrape.h - fetches metrics pages over HTTP at regular intervals, by libcurl on the daemon's libuv
 * loop; what a page says is the caller's business. A target may be a probe instead: it asks for a
 * sign of life, not a page, at the same intervals, but only when fresh() says so. Or it is a
 * health check, whose answer must have a certain status; each goes over a new connection.
 *
 * Connections are kept alive, unless the target asks for a fresh one. Each request has to end
 * within the target's timeout; redirects, proxies, compression and protocols other than http and
 * https are off; a page is at most 4 MiB. One target has at most one request at a time, at
 * intervals of interval_ns +-10 %; a scrape missed while the loop stood still is not made up for.
 *
 * After a failure the wait doubles, from interval_ns up to SCRAPE_RETRY_MAX_NS, or only up to
 * SCRAPE_RETRY_SOON_NS where a try is cheap: a refused connection, a status other than 200, and
 * every failure of a loopback address. (Neither limit is ever shorter than interval_ns.) The first
 * failure and the recovery are logged; for a target that fails now and then, at most once a minute.
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
struct scrape_target; /* one page, or one probe */

/* All strings are copied. */
struct scrape_options {
	const char *url;          /* http or https */
	const char *fallback_url; /* tried where connecting to `url` fails; NULL: none. The URL that
				   * worked is tried first from then on. */
	/* Each may be NULL: none. */
	const char *credentials_file;     /* holds the bearer token; read again when it changes */
	const char *ca_file;              /* certificate authorities, instead of the system's */
	const char *cert_file, *key_file; /* our certificate and its key */
	const char *server_name; /* name in an https server's certificate, if not the URL's host */
	const char *label;       /* "pool/endpoint": names the target in logs */
	uint64_t interval_ns;    /* from start to start, at least 1 ms */
	uint64_t timeout_ns;     /* for the whole scrape, connecting included; at least 1 ms */
	unsigned int expect; /* the target is a health check: an answer with this status is good,
			      * whatever its body, and any other is not; 0: the page is wanted */
	const char *post; /* with `expect`: JSON that is sent by POST, and only when fresh() returns
			   * true; NULL: a GET */
	bool probe; /* a request is made only when fresh() returns true, and any answer is good: see
		     * FETCH_PROBE */
};

/* Called on the loop, never from within a function of this header. */
struct scrape_callbacks {
	/* Called before each request. Returns whether the request must go over a new connection,
	 * instead of a kept one. A probe always uses a new connection: where this returns false, it
	 * makes no request, and done() is not called. NULL: always false. Of the functions below
	 * only scraper_failures() may be called from here. */
	bool (*fresh)(void *arg);
	/* Called when the connection is established, just before the request is sent: the moment to
	 * note counters and the start of the scrape. It is called again when the request must be
	 * sent again, because the server had closed the kept connection: the last call counts.
	 * Returns whether to send the request. If not, the connection is closed; after a kept
	 * connection a new one is tried, and after a new one the other URL. NULL: always true. Of
	 * the functions below only scraper_remove(), scraper_kick() and scraper_other() may be
	 * called from here. */
	bool (*begin)(void *arg, const struct fetch_connection *c);
	/* Called when the scrape is over. Either error is 0 and the page is complete: `size` bytes,
	 * perhaps 0, at `page`, which is never NULL, not NUL-terminated, and valid during the call
	 * only. Or error is -errno and `page` is NULL: -ECONNREFUSED and other errors of
	 * connecting, -ESTALE (begin() returned false), -ETIMEDOUT, -EFBIG, -EPROTO (a status other
	 * than 200, or not HTTP), -ECONNRESET (cut short), ... Returns NULL; or what is wrong with
	 * the page, as printable text that stays valid until the next call: then the scrape counts
	 * as failed. Every function below may be called from here. */
	const char *(*done)(void *arg, int error, const char *page, size_t size);
};

struct scrape_stats {
	uint64_t started;  /* requests, of both URLs */
	uint64_t failed;   /* scrapes, bad pages included */
	uint64_t bytes;    /* of complete pages */
	uint64_t connects; /* sockets made */
	unsigned int targets, in_flight;
};

/** Makes a scraper whose sockets are in the network namespace `netns_fd`, which the caller keeps
 * open as long as the scraper exists; -1: in the caller's own. Host names are always resolved in
 * the caller's own. Returns 0 and *out (scraper_free() it), or -errno (logged) with *out
 * untouched. */
int scraper_new(uv_loop_t *loop, int netns_fd, struct scraper **out);

/** Ends all requests without a callback, closes all connections, frees the targets. The loop must
 * then run until it has no handles left, before it is closed. NULL is fine. Must not be called from
 * within a callback. */
void scraper_free(struct scraper *s);

/** Adds a target; its first scrape starts after a short random time. `callbacks` must outlive the
 * target; `arg` is passed to each of them. Returns 0 and *out (scraper_remove() it); -EINVAL (not
 * an http or https URL, or a time below 1 ms) or -ENOMEM, with *out untouched. */
int scraper_add(struct scraper *s, const struct scrape_options *options,
		const struct scrape_callbacks *callbacks, void *arg, struct scrape_target **out);

/** Removes a target and ends its request; no callback follows. May be called anywhere, also from
 * within done() and begin(). NULL is fine. */
void scraper_remove(struct scrape_target *t);

/** Replaces the options. With other URLs or another access the target starts afresh: a request in
 * flight is cancelled, failures are forgotten, and the first scrape starts at once. Otherwise a
 * request in flight goes on. Returns as scraper_add(); on an error nothing has changed. */
int scraper_set_options(struct scrape_target *t, const struct scrape_options *options);

/** Scrapes now, before the interval or the wait after a failure is over; while a request is in
 * flight, right after it. */
void scraper_kick(struct scrape_target *t);

/** Has a scrape follow the one before after rest_ns, +-10 %, if that is longer than interval_ns;
 * the first one at a random time before that. 0: by interval_ns again, beginning with a scrape
 * after a short random time. A failure ends the rest by itself. May be called from within
 * done(). */
void scraper_rest(struct scrape_target *t, uint64_t rest_ns);

/** Says that two targets are of one page, at two addresses of its server; `b` NULL: that `a` is of
 * its own. While a failure of one is told of, none of the other is. */
void scraper_pair(struct scrape_target *a, struct scrape_target *b);

/** Returns the target that it is paired with, if a page of `t` may stand for one of that: its
 * newest scrape was good, and none is under way. Else NULL. May be called from within begin() and
 * done(). */
struct scrape_target *scraper_other(const struct scrape_target *t);

/** Counts a good page of `t`, from within done(), that stands for one of scraper_other(), whose
 * next scrape follows an interval after this one. The next of `t` follows that, so that both
 * addresses are asked in turn. */
void scraper_stand_for_other(struct scrape_target *t);

/** Returns how many scrapes of this target have failed in a row; 0: the newest succeeded, or none
 * is over. */
unsigned int scraper_failures(const struct scrape_target *t);

/** Returns the HTTP status of the newest health check that is over, or the one that came instead of
 * a page (200); 0: no answer came, or a page. May be called from within done(). */
unsigned int scraper_status(const struct scrape_target *t);

/** Returns for how long that answer asked to be left alone (Retry-After), a day at most; 0: it did
 * not. May be called from within done(). */
uint64_t scraper_retry_ns(const struct scrape_target *t);

/** Returns ECONNREFUSED if the server refused the connection of the newest scrape that is over;
 * ECONNRESET if it reset that connection, a new one, before a byte of an answer; else 0. With two
 * URLs, both must have failed. May be called from within done(). */
int scraper_turned_away(const struct scrape_target *t);

/** Returns whether nothing but the end of the connection ended the newest page, so that lines may
 * be missing at its end: the answer was of HTTP/1.0, or said Connection: close, and had no
 * Content-Length. (A page that ends so and says neither is an error.) May be called from within
 * done(). */
bool scraper_unframed(const struct scrape_target *t);

void scraper_stats(const struct scraper *s, struct scrape_stats *out);

#endif
