/* SPDX-License-Identifier: Apache-2.0 */
/* support_packet.h - frames with TCP segments, for the programs at TC. */
#ifndef PINTLE_TESTS_SUPPORT_PACKET_H
#define PINTLE_TESTS_SUPPORT_PACKET_H

#include "support_bpf.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/in.h>

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define ACK 0x10
#define URG 0x20

struct framing {
	const char *says;
	int family;
	int tags;       /* VLAN tags */
	int ip_options; /* words of four bytes */
	int tcp_options;
	int padding; /* bytes after the packet */
	bool bare;   /* no link layer; the kernel takes bytes 12 and 13, of the source, for its type
		      */
	int protocol;     /* 0: TCP */
	int fragment;     /* IPv4's field in host byte order */
	const char *from; /* NULL: the usual addresses */
	const char *to;
	uint16_t to_port; /* 0: 8000 */
};

struct packet {
	uint8_t bytes[4096];
	size_t size;
	size_t ip, tcp, data; /* offsets */
	const struct framing *framing;
};

static inline uint32_t sum_of(const void *bytes, size_t size, uint32_t sum)
{
	const uint8_t *b = bytes;

	for (size_t i = 0; i < size; i++)
		sum += i & 1 ? b[i] : (uint32_t)b[i] << 8;
	return sum;
}

static inline uint16_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Sums up the packet: 0 when its checksum is right; with a checksum field of 0, the checksum. */
static inline uint16_t tcp_checksum(const struct packet *p)
{
	size_t size = p->size - p->tcp - (size_t)p->framing->padding;
	uint32_t sum = IPPROTO_TCP + (uint32_t)size;

	if (p->framing->family == AF_INET)
		sum = sum_of(p->bytes + p->ip + 12, 8, sum);
	else
		sum = sum_of(p->bytes + p->ip + 8, 32, sum);
	return folded(sum_of(p->bytes + p->tcp, size, sum));
}

static inline void append(struct packet *p, const void *bytes, size_t size)
{
	assert_true(p->size + size <= sizeof(p->bytes));
	if (size)
		memcpy(p->bytes + p->size, bytes, size);
	p->size += size;
}

static inline void put16(struct packet *p, size_t at, uint32_t value)
{
	p->bytes[at] = (uint8_t)(value >> 8);
	p->bytes[at + 1] = (uint8_t)value;
}

static inline void put32(struct packet *p, size_t at, uint32_t value)
{
	put16(p, at, value >> 16);
	put16(p, at + 2, value & 0xffff);
}

static inline void append_ip4(struct packet *p, const struct framing *f, size_t tcp_size)
{
	static const uint8_t options[40] = {1, 1, 1, 1};
	size_t header = 20 + 4 * (size_t)f->ip_options, at = p->size;
	uint8_t ip[20] = {(uint8_t)(0x40 | header / 4), 0, 0, 0, 0x12, 0x34, 0, 0, 64};

	ip[9] = (uint8_t)(f->protocol ?: IPPROTO_TCP);
	assert_int_equal(inet_pton(AF_INET, f->from ?: "192.0.2.7", ip + 12), 1);
	assert_int_equal(inet_pton(AF_INET, f->to ?: "10.77.0.1", ip + 16), 1);
	append(p, ip, sizeof(ip));
	append(p, options, header - sizeof(ip));
	put16(p, at + 2, (uint32_t)(header + tcp_size));
	put16(p, at + 6, (uint32_t)f->fragment);
	put16(p, at + 10, folded(sum_of(p->bytes + at, header, 0)));
}

static inline void append_ip6(struct packet *p, const struct framing *f, size_t tcp_size)
{
	uint8_t ip[40] = {0x60, 0x01, 0x23, 0x45, 0, 0, 0, 64};
	size_t at = p->size;

	ip[6] = (uint8_t)(f->protocol ?: IPPROTO_TCP);
	assert_int_equal(inet_pton(AF_INET6, f->from ?: "2001:db8::7", ip + 8), 1);
	assert_int_equal(inet_pton(AF_INET6, f->to ?: "fd77::1", ip + 24), 1);
	append(p, ip, sizeof(ip));
	put16(p, at + 4, (uint32_t)tcp_size);
}

static inline struct packet make(const struct framing *f, uint16_t port, uint32_t sequence,
				 int flags, const void *data, size_t size)
{
	size_t header = 20 + 4 * (size_t)f->tcp_options;
	const uint16_t type = f->family == AF_INET ? ETH_P_IP : ETH_P_IPV6;
	struct packet p = {.framing = f};
	static const uint8_t zeros[64];
	uint8_t tcp[60];

	memset(tcp, 1, sizeof(tcp)); /* NOP options */
	memset(tcp, 0, 20);
	if (!f->bare)
		append(&p, "\x02\0\0\0\0\1\x02\0\0\0\0\2", 12);
	for (int i = 0; !f->bare && i <= f->tags; i++) {
		append(&p, zeros, i ? 4 : 2);
		put16(&p, p.size - 2, i < f->tags ? ETH_P_8021Q : type);
		if (i)
			put16(&p, p.size - 4, 0x2064);
	}
	p.ip = p.size;
	if (f->family == AF_INET)
		append_ip4(&p, f, header + size);
	else
		append_ip6(&p, f, header + size);
	p.tcp = p.size;
	tcp[12] = (uint8_t)(header / 4 << 4);
	tcp[13] = (uint8_t)flags;
	append(&p, tcp, header);
	put16(&p, p.tcp, port);
	put16(&p, p.tcp + 2, f->to_port ?: 8000);
	put32(&p, p.tcp + 4, sequence);
	p.data = p.size;
	append(&p, data, size);
	append(&p, zeros, (size_t)f->padding);
	put16(&p, p.tcp + 16, tcp_checksum(&p));
	return p;
}

/* Once more, after a change of the segment. */
static inline void sum_again(struct packet *p)
{
	put16(p, p->tcp + 16, 0);
	put16(p, p->tcp + 16, tcp_checksum(p));
}

static inline bool same(const struct packet *a, const struct packet *b)
{
	return a->size == b->size && !memcmp(a->bytes, b->bytes, a->size);
}

#endif
