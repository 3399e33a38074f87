/* SPDX-License-Identifier: Apache-2.0 */
/* fetch.h - one GET of one page, or a sign of life: the limits it is held to, and what its end
 * means. */
#ifndef PINTLE_FETCH_H
#define PINTLE_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define FETCH_MAX_PAGE (4U << 20)  /* bytes of body */
#define FETCH_MAX_HEAD (64U << 10) /* bytes of all headers together */

struct fetcher; /* requests from within one network namespace */
struct fetch;   /* a request in flight */

/* The kept connections of some of those who ask again and again. libcurl looks at every kept
 * connection of its handle after each request, so that one handle does not do for 1,000. */
struct fetch_lane;

struct fetch_result {
	int error;          /* 0, or -errno as in scrape.h */
	const char *reason; /* with an error: in words, printable, one line */
	const char *page;   /* without: not terminated, never NULL; valid during the call */
	size_t size;
	bool no_connection; /* none came about: another address may still answer */
	bool answered;      /* with something else than 200 */
	bool loopback;      /* it was a loopback address */
	bool refused;       /* by begin(): the request did not go out, the connection was closed */
	bool fresh;         /* the connection was made for this request */
};

struct fetch_connection {
	bool fresh; /* made for this request */
	bool v6;    /* to an IPv6 address, not a mapped one */
	uint16_t local_port;
};

enum fetch_how {
	FETCH_KEPT,  /* the page, over a kept connection if there is one */
	FETCH_FRESH, /* the page, over a connection that is made for it, and closed after it */
	FETCH_PROBE, /* over such a connection, too, a sign of life: the head of any answer, or a
		      * line of it, whatever the status; even what is no HTTP, or the certificate of
		      * a server that is not trusted. The page is then empty */
};

struct fetch_callbacks {
	/* Connected. True: the request goes out; this is asked again when the server had closed the
	 * kept connection. False: neither this request nor another goes out over this connection.
	 * Only fetch_cancel() may be called from here. */
	bool (*begin)(void *arg, const struct fetch_connection *c);
	/* Over; the fetch is no more. Any function may be called from here, but fetcher_free(). */
	void (*end)(void *arg, const struct fetch_result *result);
};

/** See scraper_new(). */
int fetcher_new(uv_loop_t *loop, int netns_fd, struct fetcher **out);
/** Cancels what is in flight. See scraper_free(). */
void fetcher_free(struct fetcher *f);

/** Gives whoever will ask again and again a lane, with room for one more kept connection. NULL:
 * out of memory. To be given back with fetcher_leave(), before fetcher_free(). */
struct fetch_lane *fetcher_join(struct fetcher *f);
void fetcher_leave(struct fetch_lane *lane);

/* What proves pintled to the server, and the server to pintled. Redirects are not followed, so that
 * a credential goes to the host of the URL alone. */
struct fetch_access {
	const char *bearer;               /* sent as a bearer token; NULL: none */
	const char *ca_file;              /* instead of the system's authorities; NULL: these */
	const char *cert_file, *key_file; /* our certificate; NULL: none */
	const char *connect_to;           /* see fetch_name_server(); NULL: the URL's own host */
};

/** Asks for a page; `end` may be called, with *out already set, before this returns. The strings
 * are copied; `access` may be NULL; `callbacks` must outlive the fetch. Returns 0, or -ENOMEM with
 * *out NULL and no callback. */
int fetch_start(struct fetch_lane *lane, const char *url, const struct fetch_access *access,
		enum fetch_how how, uint64_t timeout_ms, const struct fetch_callbacks *callbacks,
		void *arg, struct fetch **out);

/** No callback follows. */
void fetch_cancel(struct fetch *x);

/** Sockets made so far. */
uint64_t fetcher_connects(const struct fetcher *f);

/** What may be fetched: 0, and unless NULL *shown (the caller's to free) is the URL for logs,
 * without user, password and query; or -EINVAL, not an http or https URL; or -ENOMEM. */
int fetch_check_url(const char *url, char **shown);

/** For a server that has a certificate for `name` and is where `url` says. Returns 0 with *named,
 * the URL to ask for, and *connect_to, for fetch_access, both the caller's to free; or -EINVAL, or
 * -ENOMEM. */
int fetch_name_server(const char *url, const char *name, char **named, char **connect_to);

#endif
