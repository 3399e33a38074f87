/* SPDX-License-Identifier: Apache-2.0 */
#include "url.h"

#include <arpa/inet.h>
#include <ctype.h>

#include "../base/util.h"

struct url {
	uint16_t port;
	bool numeric;
	struct addr ip; /* if `numeric` */
};

/* "" leaves the scheme's port, as in http://host:/ */
static bool url_parse_port(const char *text, uint16_t *port)
{
	unsigned long n;
	char *end;

	if (!*text)
		return true;
	errno = 0;
	n = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || n > UINT16_MAX)
		return false;
	*port = (uint16_t)n;
	return true;
}

/* "fd77::1", or with a zone, "fe80::1%eth0" or "fe80::1%25eth0". */
static bool parse_v6(char *host, struct url *u)
{
	char *zone = host + strspn(host, "0123456789abcdefABCDEF:.");

	if (*zone == '%') {
		*zone++ = '\0';
		if (!strncmp(zone, "25", 2) && zone[2])
			zone += 2;
		if (!*zone || strlen(zone) > 15)
			return false;
	}
	u->numeric = inet_pton(AF_INET6, host, &u->ip) == 1;
	return u->numeric;
}

/* Decodes in place. Returns false at a control character. */
static bool decode_percent(char *text)
{
	char *to = text;

	for (; *text; text++) {
		unsigned int c = (unsigned char)*text;

		if (c == '%' && isxdigit((unsigned char)text[1]) &&
		    isxdigit((unsigned char)text[2])) {
			sscanf(text + 1, "%2x", &c);
			text += 2;
			if (c < ' ')
				return false;
		}
		*to++ = (char)c;
	}
	*to = '\0';
	return true;
}

/* A name, or an IPv4 address of four decimal numbers. Rarer forms are refused: libcurl 7.88 reads
 * 0X7f.1 as 127.0.0.1, and libcurl 8.14 as a name, of which the resolver makes 127.0.0.1. */
static bool parse_host(char *host, struct url *u)
{
	struct in_addr v4;

	if (!decode_percent(host) || !*host || strpbrk(host, " /:#?!@{}[]\\$'\"^`*<>=;,+&()%|"))
		return false;
	u->numeric = addr_parse_ip(host, &u->ip);
	return u->numeric || !inet_aton(host, &v4);
}

/* "[USER@]HOST[:PORT]" */
static bool parse_authority(char *text, struct url *u)
{
	char *at = strchr(text, '@'), *host = at ? at + 1 : text;
	char *end = *host == '[' ? strchr(host, ']') : host + strcspn(host, ":");
	bool v6 = *host == '[';

	if (!end)
		return false;
	if (v6)
		*end++ = '\0';
	if (*end == ':')
		*end++ = '\0';
	else if (*end)
		return false;
	return url_parse_port(end, &u->port) && (v6 ? parse_v6(host + 1, u) : parse_host(host, u));
}

static int parse_url(const char *text, struct url *u)
{
	bool tls = !strncmp(text, "https://", 8);
	const char *authority = text + (tls ? 8 : 7);
	_cleanup_free_ char *copy = NULL;

	if (!tls && strncmp(text, "http://", 7) != 0)
		return -EINVAL;
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return -EINVAL;
	authority += *authority == '/'; /* libcurl accepts three slashes */
	copy = strndup(authority, strcspn(authority, "/?#"));
	if (!copy)
		return -ENOMEM;
	u->port = tls ? 443 : 80;
	return parse_authority(copy, u) ? 0 : -EINVAL;
}

int url_check(const char *url)
{
	struct url u;

	return parse_url(url, &u);
}

bool url_address(const char *url, struct addr *ip, uint16_t *port)
{
	struct url u;

	if (parse_url(url, &u) || !u.numeric || !u.port)
		return false;
	*ip = u.ip;
	*port = u.port;
	return true;
}
