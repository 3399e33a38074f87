/* SPDX-License-Identifier: Apache-2.0 */
#include "addr.h"

#include <arpa/inet.h>

#include "../base/util.h"

#define V4_BITS 96 /* ::ffff:0:0/96, the prefix of every IPv4 address */

static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};

static const char want_address[] =
	"write ADDRESS:PORT or a port alone, as in 127.0.0.1:8001, [::1]:8001 or 8001";
static const char want_frontend[] =
	"write ADDRESS:PORT or PREFIX/LENGTH:PORT, as in 10.77.0.1:8000 or [fd77::/64]:8000";
static const char want_port[] = "write a port from 1 to 65535, without leading zeros";
static const char want_brackets[] = "write an IPv6 address in brackets, as in [fd77::1]:8000";
static const char want_length[] = "write a prefix length from 0 to 32 (IPv4) or to 128 (IPv6)";
static const char want_zeros[] =
	"set no bit beyond the prefix length, as in 10.77.0.0/24 or fd77::/64";

bool addr_is_v4(const struct addr *ip)
{
	return !memcmp(ip->bytes, v4_mapped, sizeof(v4_mapped));
}

bool addr_is_any(const struct addr *ip)
{
	static const uint8_t zero[16];

	return !memcmp(ip->bytes, zero, sizeof(zero)) ||
	       (addr_is_v4(ip) && !memcmp(ip->bytes + 12, zero, 4));
}

bool addr_is_special(const struct addr *ip)
{
	static const struct {
		struct addr prefix;
		unsigned int bits;
	} all[] = {
		{{{[10] = 0xff, 0xff, 0}}, 96 + 8},         /* 0.0.0.0/8 */
		{{{[10] = 0xff, 0xff, 127}}, 96 + 8},       /* 127.0.0.0/8 */
		{{{[10] = 0xff, 0xff, 169, 254}}, 96 + 16}, /* 169.254.0.0/16 */
		{{{[10] = 0xff, 0xff, 224}}, 96 + 4},       /* 224.0.0.0/4 */
		{{{0}}, 128},                               /* :: */
		{{{[15] = 1}}, 128},                        /* ::1 */
		{{{0xfe, 0x80}}, 10},                       /* fe80::/10 */
		{{{0xff}}, 8},                              /* ff00::/8 */
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (addr_prefixes_overlap(&all[i].prefix, all[i].bits, ip, 128))
			return true;
	return false;
}

void addr_from_v4(struct addr *ip, uint32_t network_order)
{
	memcpy(ip->bytes, v4_mapped, sizeof(v4_mapped));
	memcpy(ip->bytes + sizeof(v4_mapped), &network_order, sizeof(network_order));
}

void addr_mask(struct addr *ip, unsigned int bits)
{
	for (unsigned int i = 0; i < sizeof(ip->bytes); i++) {
		unsigned int kept = bits > 8 * i ? MIN(bits - 8 * i, 8U) : 0;

		ip->bytes[i] &= (uint8_t)(0xff00U >> kept);
	}
}

bool addr_prefixes_overlap(const struct addr *a, unsigned int a_bits, const struct addr *b,
			   unsigned int b_bits)
{
	struct addr left = *a, right = *b;
	unsigned int bits = MIN(a_bits, b_bits);

	addr_mask(&left, bits);
	addr_mask(&right, bits);
	return !memcmp(&left, &right, sizeof(left));
}

/* Parses a number up to `max` of `length` decimal digits and nothing else: no sign, no space, no
 * leading zero, which others would read as octal. */
static bool addr_parse_decimal(const char *text, size_t length, unsigned int max,
			       unsigned int *value)
{
	unsigned int sum = 0;

	if (!length || length > 5 || (length > 1 && text[0] == '0'))
		return false;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		sum = sum * 10 + (unsigned int)(text[i] - '0');
	}
	if (sum > max)
		return false;
	*value = sum;
	return true;
}

static bool addr_parse_port(const char *text, uint16_t *port)
{
	unsigned int value;

	if (!addr_parse_decimal(text, strlen(text), UINT16_MAX, &value) || !value)
		return false;
	*port = (uint16_t)value;
	return true;
}

/* Parses an address without a port, of `length` bytes. */
static bool parse_ip(const char *text, size_t length, bool v6, struct addr *ip)
{
	char copy[INET6_ADDRSTRLEN];
	struct in_addr v4;

	if (length >= sizeof(copy))
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	if (v6)
		return inet_pton(AF_INET6, copy, ip->bytes) == 1;
	if (inet_pton(AF_INET, copy, &v4) != 1)
		return false;
	addr_from_v4(ip, v4.s_addr);
	return true;
}

bool addr_parse_ip(const char *text, struct addr *out)
{
	return parse_ip(text, strlen(text), strchr(text, ':'), out);
}

/* "HOST:PORT" cut in two: `host` may be an address or a prefix. */
struct host_port {
	const char *host;
	size_t length;
	bool v6;
	uint16_t port;
};

/* Returns NULL, or a sentence that says what would be right. */
static const char *cut_host_port(const char *text, const char *want, struct host_port *out)
{
	const char *end, *colon;

	out->v6 = text[0] == '[';
	if (out->v6) {
		end = strchr(text, ']');
		if (!end || end[1] != ':')
			return want;
		out->host = text + 1;
		colon = end + 1;
	} else {
		colon = end = strchr(text, ':');
		if (!colon)
			return want;
		if (strchr(colon + 1, ':'))
			return want_brackets;
		out->host = text;
	}
	out->length = (size_t)(end - out->host);
	return addr_parse_port(colon + 1, &out->port) ? NULL : want_port;
}

static const char *parse_endpoint(const char *text, struct endpoint_addr *out)
{
	struct host_port cut;
	const char *wrong;

	if (text[0] && strspn(text, "0123456789") == strlen(text)) {
		out->any_ip = true;
		return addr_parse_port(text, &out->port) ? NULL : want_port;
	}
	wrong = cut_host_port(text, want_address, &cut);
	if (wrong)
		return wrong;
	out->port = cut.port;
	return parse_ip(cut.host, cut.length, cut.v6, &out->ip) ? NULL : want_address;
}

static const char *parse_frontend(const char *text, struct frontend_addr *out)
{
	struct host_port cut;
	const char *wrong = cut_host_port(text, want_frontend, &cut);
	const char *slash, *end;
	unsigned int bits = 128;
	struct addr masked;

	if (wrong)
		return wrong;
	end = cut.host + cut.length;
	slash = memchr(cut.host, '/', cut.length);
	if (!parse_ip(cut.host, slash ? (size_t)(slash - cut.host) : cut.length, cut.v6,
		      &out->prefix))
		return want_frontend;
	if (slash) {
		if (!addr_parse_decimal(slash + 1, (size_t)(end - slash - 1), cut.v6 ? 128 : 32,
					&bits))
			return want_length;
		bits += cut.v6 ? 0 : V4_BITS;
	}
	masked = out->prefix;
	addr_mask(&masked, bits);
	if (memcmp(&masked, &out->prefix, sizeof(masked)) != 0)
		return want_zeros;
	out->prefix_bits = (uint8_t)bits;
	out->port = cut.port;
	return NULL;
}

int addr_parse_endpoint(const char *text, struct endpoint_addr *out, const char **what)
{
	struct endpoint_addr parsed = {0};
	const char *wrong = parse_endpoint(text, &parsed);

	if (!wrong) {
		*out = parsed;
		return 0;
	}
	if (what)
		*what = wrong;
	return -EINVAL;
}

int addr_parse_frontend(const char *text, struct frontend_addr *out, const char **what)
{
	struct frontend_addr parsed = {0};
	const char *wrong = parse_frontend(text, &parsed);

	if (!wrong) {
		*out = parsed;
		return 0;
	}
	if (what)
		*what = wrong;
	return -EINVAL;
}

const char *addr_format_ip(const struct addr *ip, char *buf)
{
	bool v4 = addr_is_v4(ip);

	/* Cannot fail: both families are known, and the buffer has room for either. */
	if (!inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? ip->bytes + 12 : ip->bytes, buf,
		       ADDR_TEXT_SIZE))
		buf[0] = '\0';
	return buf;
}

const char *addr_format(const struct addr *ip, uint16_t port, char *buf)
{
	const struct frontend_addr f = {.prefix = *ip, .prefix_bits = 128, .port = port};

	return addr_format_frontend(&f, buf);
}

const char *addr_format_endpoint(const struct endpoint_addr *e, char *buf)
{
	if (!e->any_ip)
		return addr_format(&e->ip, e->port, buf);
	snprintf(buf, ADDR_TEXT_SIZE, "%u", e->port);
	return buf;
}

const char *addr_format_frontend(const struct frontend_addr *f, char *buf)
{
	char ip[ADDR_TEXT_SIZE], length[8] = "";
	bool v4 = addr_is_v4(&f->prefix) && f->prefix_bits >= V4_BITS;

	addr_format_ip(&f->prefix, ip);
	if (f->prefix_bits < 128)
		snprintf(length, sizeof(length), "/%u", f->prefix_bits - (v4 ? V4_BITS : 0U));
	snprintf(buf, ADDR_TEXT_SIZE, v4 ? "%.45s%s:%u" : "[%.45s%s]:%u", ip, length, f->port);
	return buf;
}
