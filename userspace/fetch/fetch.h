/* SPDX-License-Identifier: Apache-2.0 */
/* fetch.h - one HTTP GET, for a page or a sign of life: its limits, and what its end means. */
#ifndef PINTLE_FETCH_H
#define PINTLE_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "../net/addr.h"

#define FETCH_MAX_PAGE (4U << 20)  /* bytes of body */
#define FETCH_MAX_HEAD (64U << 10) /* bytes of all headers together */

struct fetcher; /* requests from within one network namespace */
struct fetch;   /* a request in flight */

/* The kept connections of some targets. libcurl looks at every kept connection of its handle after
 * each request, so one handle is not enough for 1,000 targets. */
struct fetch_lane;

struct fetch_result {
	int error;          /* 0, or -errno as in scrape.h */
	const char *reason; /* with an error: a line of printable text */
	const char *page;   /* without: never NULL; no NUL at its end; valid during the call */
	size_t size;
	bool no_connection; /* connecting failed: another address may still answer */
	bool answered;      /* with another status than 200 */
	bool loopback;      /* the server's address was a loopback address */
	bool unframed;      /* nothing but the end of the connection ended the page */
	bool refused; /* by begin(): the request was not sent, and the connection was closed */
	bool fresh;   /* the connection was made for this request */
	/* The server refused a new connection (ECONNREFUSED), or reset it before a byte of an
	 * answer (ECONNRESET); else 0. */
	int turned_away;
	unsigned int status; /* of the answer; 0 with FETCH_PROBE, and of a page */
	uint64_t retry_ns;   /* with a status: how long to wait, by Retry-After; 0: it has none */
};

struct fetch_connection {
	bool fresh; /* made for this request */
	bool v6;    /* to an IPv6 address; an IPv4-mapped one is IPv4 */
	struct addr local, remote;
	uint16_t local_port, remote_port;
};

enum fetch_how {
	FETCH_KEPT,  /* the page, over a kept connection if there is one */
	FETCH_FRESH, /* the page, over a connection that is made for it, and closed after it */
	FETCH_PROBE, /* a sign of life, over such a connection, too: any answer is good, whatever
		      * its status, even if it is not HTTP, or a certificate that is not trusted.
		      * The page is then empty */
	FETCH_CHECK, /* the status of an answer, over such a connection, too: any status is good,
		      * and the page is empty */
};

struct fetch_callbacks {
	/* Called when the connection is established. True: the request is sent; called again when
	 * the server had closed the kept connection. False: the connection is closed, and this
	 * request ends. Of the functions below only fetch_cancel() may be called from here. */
	bool (*begin)(void *arg, const struct fetch_connection *c);
	/* Called when the fetch is over; its handle is no longer valid. Every function below but
	 * fetcher_free() may be called from here. */
	void (*end)(void *arg, const struct fetch_result *result);
};

/** Makes *out as scraper_new() does. */
int fetcher_new(uv_loop_t *loop, int netns_fd, struct fetcher **out);
/** Cancels what is in flight. See scraper_free(). */
void fetcher_free(struct fetcher *f);

/** Returns a lane with room for one more kept connection, for a target that will be fetched again
 * and again; fetcher_leave() it before fetcher_free(). NULL: out of memory. */
struct fetch_lane *fetcher_join(struct fetcher *f);
void fetcher_leave(struct fetch_lane *lane);

/* How pintled and the server prove to each other who they are. Redirects are never followed, so
 * that the token goes to the URL's host alone. */
struct fetch_access {
	const char *bearer;               /* sent as a bearer token; NULL: none */
	const char *ca_file;              /* certificate authorities; NULL: the system's */
	const char *cert_file, *key_file; /* our certificate and its key; NULL: none */
	const char *post;                 /* JSON that is sent by POST; NULL: a GET */
	const char *connect_to;           /* see fetch_name_server(); NULL: the URL's own host */
};

/** Starts a request, which must end within timeout_ms. `end` may be called before this returns;
 * *out is set before. The strings are copied; `access` may be NULL; `callbacks` must outlive the
 * fetch. Returns 0; or -ENOMEM with *out NULL and no callback. */
int fetch_start(struct fetch_lane *lane, const char *url, const struct fetch_access *access,
		enum fetch_how how, uint64_t timeout_ms, const struct fetch_callbacks *callbacks,
		void *arg, struct fetch **out);

/** Ends the fetch without a callback; `x` is no longer valid. */
void fetch_cancel(struct fetch *x);

/** Returns how many sockets were made so far. */
uint64_t fetcher_connects(const struct fetcher *f);

/** Checks a URL. Returns 0, and unless `shown` is NULL sets *shown, which the caller frees, to the
 * URL without user, password and query, for logs; -EINVAL: not an http or https URL; or -ENOMEM. */
int fetch_check_url(const char *url, char **shown);

/** Names a server at the address in `url` whose certificate is for `name`. Returns 0 with *named,
 * the URL to fetch, and *connect_to, for struct fetch_access, both of which the caller frees; or
 * -EINVAL or -ENOMEM. */
int fetch_name_server(const char *url, const char *name, char **named, char **connect_to);

#endif
