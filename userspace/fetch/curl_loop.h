/* SPDX-License-Identifier: Apache-2.0 */
/* curl_loop.h - libcurl's multi interface on a libuv loop, with sockets of a chosen netns. */
#ifndef PINTLE_CURL_LOOP_H
#define PINTLE_CURL_LOOP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct curl_loop;

/** Called on the loop when a transfer has ended by itself. `easy` is the caller's again, and may be
 * started again or freed in this call. */
typedef void (*curl_loop_done)(CURL *easy, CURLcode result, void *arg);

/** Sockets are made in the network namespace `netns_fd`, which the caller keeps open meanwhile, and
 * closes; -1: the caller's own. Returns 0 and *out (curl_loop_free() it), or -errno (logged) with
 * *out untouched. */
int curl_loop_new(uv_loop_t *loop, int netns_fd, curl_loop_done done, void *arg,
		  struct curl_loop **out);

/** Closes all connections. The loop must then run until it has no handles left, before it is
 * closed. No transfer may be running. NULL is fine. Must not be called from within a callback. */
void curl_loop_free(struct curl_loop *l);

/** Prepares an easy handle for this loop: before its first start, and when it was used on another
 * loop. */
void curl_loop_adopt(struct curl_loop *l, CURL *easy);

/** Starts the transfer, and does at once what needs no waiting: `done` may be called, also for this
 * transfer, before this returns. Returns 0 or -ENOMEM. Must not be called from within a callback of
 * libcurl. */
int curl_loop_start(struct curl_loop *l, CURL *easy);

/** Ends a running transfer without a call of `done`. Returns false, and does nothing, from within a
 * callback of libcurl, which does not allow it there. */
bool curl_loop_stop(struct curl_loop *l, CURL *easy);

/** Has requests to one server share a connection, from now on, if it speaks HTTP/2. */
void curl_loop_multiplex(struct curl_loop *l);

/** Sets how many idle connections are kept. */
void curl_loop_keep(struct curl_loop *l, unsigned int connections);

/** Returns why the newest socket could not be made, as -errno; 0: it was made. libcurl itself does
 * not tell. */
int curl_loop_socket_error(const struct curl_loop *l);

/** Returns how many sockets were made so far. */
uint64_t curl_loop_connects(const struct curl_loop *l);

#endif
