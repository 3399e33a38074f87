/* SPDX-License-Identifier: Apache-2.0 */
/* curl_loop.h - libcurl's multi interface on a libuv loop, with sockets of a chosen netns. */
#ifndef PINTLE_CURL_LOOP_H
#define PINTLE_CURL_LOOP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct curl_loop;

/** Called on the loop when a transfer has ended by itself; `easy` is the caller's again and may
 * be started anew, or freed, in the call. */
typedef void (*curl_loop_done)(CURL *easy, CURLcode result, void *arg);

/** Sockets are made in the network namespace `netns_fd`, which stays the caller's to keep open
 * and to close; -1: the caller's own. Returns 0 and *out, or -errno (logged) with *out
 * untouched. */
int curl_loop_new(uv_loop_t *loop, int netns_fd, curl_loop_done done, void *arg,
		  struct curl_loop **out);

/** Closes all connections and frees; what is libuv's, while the loop runs on. No transfer may be
 * running any more. NULL is allowed; not from within a callback. */
void curl_loop_free(struct curl_loop *l);

/** Sets what an easy handle needs to live on this loop; before its first start, and when it comes
 * from another loop. */
void curl_loop_adopt(struct curl_loop *l, CURL *easy);

/** Begins the transfer, and does at once what needs no waiting: `done` may be called, for this
 * transfer too, before this returns. Returns 0, or -ENOMEM. Not from within one of libcurl's
 * callbacks. */
int curl_loop_start(struct curl_loop *l, CURL *easy);

/** Takes a running transfer off: `done` will not be called. False, and nothing happened, from
 * within one of libcurl's callbacks, where libcurl does not allow it. */
bool curl_loop_stop(struct curl_loop *l, CURL *easy);

/** How many idle connections may be kept. */
void curl_loop_keep(struct curl_loop *l, unsigned int connections);

/** Why the newest socket could not be made, -errno, or 0: libcurl itself does not tell. */
int curl_loop_socket_error(const struct curl_loop *l);

/** Sockets made so far. */
uint64_t curl_loop_connects(const struct curl_loop *l);

#endif
