/* SPDX-License-Identifier: Apache-2.0 */
/*
 * url.h - checks and splits http:// and https:// URLs as libcurl does, but without libcurl, so that
 * the CLI, which checks configurations, needs no network library. A test and a fuzzer compare the
 * two.
 */
#ifndef PINTLE_URL_H
#define PINTLE_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

/** Checks that the text is a URL that libcurl accepts,
 * "http://[USER@]HOST[:PORT][/PATH][?QUERY][#FRAGMENT]" or with https. Returns 0, -EINVAL or
 * -ENOMEM. */
int url_check(const char *url);

/** Reads the numeric address and the port, or the scheme's port, of a URL. Returns false, with *ip
 * and *port untouched, where the URL has none. */
bool url_address(const char *url, struct addr *ip, uint16_t *port);

#endif
