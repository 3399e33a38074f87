/* SPDX-License-Identifier: Apache-2.0 */
/*
 * url.h - http:// and https:// URLs, split as libcurl splits them, without libcurl: the CLI, which
 * checks a configuration, needs no network library. A test and a fuzzer hold the two against each
 * other.
 */
#ifndef PINTLE_URL_H
#define PINTLE_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"

/** Whether the text is a URL, "http://[USER@]HOST[:PORT][/PATH][?QUERY][#FRAGMENT]" or with https,
 * that libcurl takes. Returns 0, -EINVAL or -ENOMEM. */
int url_check(const char *url);

/** The address and port that a URL names by number; the port may be the scheme's. Returns whether
 * it does; if not, *ip and *port stay as they were. */
bool url_address(const char *url, struct addr *ip, uint16_t *port);

#endif
