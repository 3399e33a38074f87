/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_url.c - any text as a URL: libcurl accepts every URL that the configuration accepts, and
 * connects to the same address and port. A host without an address is a name for libcurl, too.
 *
 * sources: userspace/net/url.c userspace/net/addr.c
 */
#include <curl/curl.h>
#include <string.h>

#include "../../userspace/base/util.h"
#include "../../userspace/net/url.h"
#include "fuzz.h"

/* What libcurl makes of a percent sign in a host, or of a host "." or "a..", depends on its
 * version. */
static bool versions_differ(const char *url)
{
	return strchr(url, '%') || strstr(url, "..") || strstr(url, "/.") || strstr(url, "@.");
}

static void check(const char *url)
{
	CURLU *u = curl_url();
	char *host = NULL, *port = NULL, address[128];
	struct endpoint_addr by_curl = {0};
	struct addr ip = {0};
	uint16_t number = 0;
	bool valid = !url_check(url), numeric = url_address(url, &ip, &number), same;

	PROMISE(valid || !numeric);
	if (valid && !versions_differ(url)) {
		PROMISE(!curl_url_set(u, CURLUPART_URL, url, 0));
		PROMISE(!curl_url_get(u, CURLUPART_HOST, &host, 0));
		PROMISE(!curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT));
		snprintf(address, sizeof(address), "%s:%s", host, port);
		same = !addr_parse_endpoint(address, &by_curl, NULL);
		PROMISE(same == numeric);
		PROMISE(!numeric ||
			(!memcmp(&by_curl.ip, &ip, sizeof(ip)) && by_curl.port == number));
	}
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *http = malloc(size + 16), *https = malloc(size + 16);

	snprintf(http, size + 16, "http://%.*s", (int)size, (const char *)data);
	snprintf(https, size + 16, "https://%.*s", (int)size, (const char *)data);
	check(http);
	check(https);
	return 0;
}
