/* SPDX-License-Identifier: Apache-2.0 */
#include "firewall.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/xt_CT.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <netlink/attr.h>
#include <netlink/netlink.h>
#include <pintle/abi.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../base/util.h"

#include "netlink.h"
#include "netns.h"

static const char *family_name(uint8_t family)
{
	switch (family) {
	case NFPROTO_IPV4:
		return "ip";
	case NFPROTO_IPV6:
		return "ip6";
	case NFPROTO_INET:
		return "inet";
	default:
		return NULL;
	}
}

static uint32_t family_flags(uint8_t family)
{
	return (family != NFPROTO_IPV6 ? PINTLE_FAMILY_V4 : 0) |
	       (family != NFPROTO_IPV4 ? PINTLE_FAMILY_V6 : 0);
}

static const char *firewall_text_of(const struct nlattr *a)
{
	const char *text = a ? nla_data(a) : NULL;

	return text && nla_len(a) > 0 && !text[nla_len(a) - 1] ? text : NULL;
}

/* ---- what was found --------------------------------------------------------------------- */

static void add_chain(struct firewall_chains *to, uint8_t family, const char *table,
		      const char *chain)
{
	char name[FIREWALL_CHAIN_SIZE] = "";

	snprintf(name, sizeof(name), "table %s %.255s, chain %.255s", family_name(family), table,
		 chain);
	for (size_t i = 0; i < to->count && i < FIREWALL_CHAINS; i++)
		if (!strcmp(to->names[i], name))
			return;
	if (to->count < FIREWALL_CHAINS)
		memcpy(to->names[to->count], name, sizeof(name));
	to->count++;
}

/* ---- nftables ---------------------------------------------------------------------------- */

struct reading {
	struct firewall *out;
	/* The chain that is read: a rule of it asks for a state; and one may drop. */
	uint8_t family;
	char table[FIREWALL_NAME_SIZE], chain[FIREWALL_NAME_SIZE];
	bool asks, drops;
	/* The rule that is read: it leaves packets untracked; what it compared last; the one port
	 * that its packets have (-1: any); and none of them is TCP's. */
	bool untracks, not_tcp;
	enum { READS_OTHER, READS_PROTOCOL, READS_PORT } reads;
	int port;
};

/* Asks for all chains, or rules. */
static int dump(int netns_fd, int type, netlink_fn each, struct reading *r)
{
	const struct nfgenmsg all = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};
	_cleanup_(nl_msg_freep) struct nl_msg *msg =
		nlmsg_alloc_simple(NFNL_SUBSYS_NFTABLES << 8 | type, NLM_F_DUMP);

	if (!msg || nlmsg_append(msg, (void *)&all, sizeof(all), NLMSG_ALIGNTO))
		return -ENOMEM;
	return netlink_ask(netns_fd, NETLINK_NETFILTER, msg, each, r);
}

static int on_chain(const struct nlmsghdr *answer, void *arg)
{
	struct nlattr *a[NFTA_CHAIN_MAX + 1];
	const struct nfgenmsg *h = nlmsg_data(answer);
	const char *table, *chain, *type;
	struct reading *r = arg;

	if (nlmsg_parse((struct nlmsghdr *)answer, sizeof(*h), a, NFTA_CHAIN_MAX, NULL) < 0)
		return 0;
	table = firewall_text_of(a[NFTA_CHAIN_TABLE]);
	chain = firewall_text_of(a[NFTA_CHAIN_NAME]);
	type = firewall_text_of(a[NFTA_CHAIN_TYPE]);
	if (!table || !chain || !type || strcmp(type, "nat") != 0 || !family_name(h->nfgen_family))
		return 0;
	add_chain(&r->out->nat, h->nfgen_family, table, chain);
	r->out->nat_families |= family_flags(h->nfgen_family);
	return 0;
}

/* Whether the expression is a verdict that lets no packet through. */
static bool is_drop(const struct nlattr *data)
{
	struct nlattr *a[NFTA_IMMEDIATE_MAX + 1], *d[NFTA_DATA_MAX + 1], *v[NFTA_VERDICT_MAX + 1];

	return data && !nla_parse_nested(a, NFTA_IMMEDIATE_MAX, (struct nlattr *)data, NULL) &&
	       a[NFTA_IMMEDIATE_DATA] &&
	       !nla_parse_nested(d, NFTA_DATA_MAX, a[NFTA_IMMEDIATE_DATA], NULL) &&
	       d[NFTA_DATA_VERDICT] &&
	       !nla_parse_nested(v, NFTA_VERDICT_MAX, d[NFTA_DATA_VERDICT], NULL) &&
	       v[NFTA_VERDICT_CODE] && nla_len(v[NFTA_VERDICT_CODE]) >= 4 &&
	       ntohl(nla_get_u32(v[NFTA_VERDICT_CODE])) == NF_DROP;
}

/* A number in network order; -1: there is none. */
static int64_t firewall_number_of(const struct nlattr *a)
{
	return a && nla_len(a) >= 4 ? (int64_t)ntohl(nla_get_u32(a)) : -1;
}

/* Whether the expression reads those bytes of the header of TCP or UDP. */
static bool is_transport(const struct nlattr *data, int64_t offset, int64_t size)
{
	struct nlattr *a[NFTA_PAYLOAD_MAX + 1];

	return data && !nla_parse_nested(a, NFTA_PAYLOAD_MAX, (struct nlattr *)data, NULL) &&
	       firewall_number_of(a[NFTA_PAYLOAD_BASE]) == NFT_PAYLOAD_TRANSPORT_HEADER &&
	       firewall_number_of(a[NFTA_PAYLOAD_OFFSET]) == offset &&
	       firewall_number_of(a[NFTA_PAYLOAD_LEN]) == size;
}

/* Whether it reads the protocol. */
static bool is_protocol(const struct nlattr *data)
{
	struct nlattr *a[NFTA_META_MAX + 1];

	return data && !nla_parse_nested(a, NFTA_META_MAX, (struct nlattr *)data, NULL) &&
	       firewall_number_of(a[NFTA_META_KEY]) == NFT_META_L4PROTO;
}

/* The bytes to which the expression compares; NULL: it is no comparison for equality. */
static const uint8_t *equals(const struct nlattr *data, int size)
{
	struct nlattr *a[NFTA_CMP_MAX + 1], *d[NFTA_DATA_MAX + 1];

	if (!data || nla_parse_nested(a, NFTA_CMP_MAX, (struct nlattr *)data, NULL) ||
	    firewall_number_of(a[NFTA_CMP_OP]) != NFT_CMP_EQ || !a[NFTA_CMP_DATA] ||
	    nla_parse_nested(d, NFTA_DATA_MAX, a[NFTA_CMP_DATA], NULL) || !d[NFTA_DATA_VALUE] ||
	    nla_len(d[NFTA_DATA_VALUE]) != size)
		return NULL;
	return nla_data(d[NFTA_DATA_VALUE]);
}

/* The name of a match or a target of iptables. */
static const char *xtables_name(const struct nlattr *data)
{
	struct nlattr *a[NFTA_MATCH_MAX + 1];

	_Static_assert((int)NFTA_MATCH_NAME == (int)NFTA_TARGET_NAME, "one attribute for both");
	if (!data || nla_parse_nested(a, NFTA_MATCH_MAX, (struct nlattr *)data, NULL))
		return "";
	return firewall_text_of(a[NFTA_MATCH_NAME]) ?: "";
}

/* Copies the first `size` bytes of its own structure, which stands unaligned in the message.
 * Returns whether it has that many. */
static bool xtables_info(const struct nlattr *data, void *info, size_t size)
{
	struct nlattr *a[NFTA_MATCH_MAX + 1];

	_Static_assert((int)NFTA_MATCH_INFO == (int)NFTA_TARGET_INFO, "one attribute for both");
	if (nla_parse_nested(a, NFTA_MATCH_MAX, (struct nlattr *)data, NULL) ||
	    !a[NFTA_MATCH_INFO] || nla_len(a[NFTA_MATCH_INFO]) < (int)size)
		return false;
	memcpy(info, nla_data(a[NFTA_MATCH_INFO]), size);
	return true;
}

/* ---- rules that leave packets untracked --------------------------------------------------- */

/* CT may also only choose a zone or a helper. */
static bool is_untracking(const char *name, const struct nlattr *data)
{
	__u16 flags; /* the first member of each revision of struct xt_ct_target_info */

	if (strcmp(name, "target") != 0)
		return !strcmp(name, "notrack");
	if (strcmp(xtables_name(data), "CT") != 0)
		return !strcmp(xtables_name(data), "NOTRACK");
	_Static_assert(!offsetof(struct xt_ct_target_info, flags), "the flags come first");
	return !xtables_info(data, &flags, sizeof(flags)) || flags & XT_CT_NOTRACK;
}

static void look_at_match(struct reading *r, const struct nlattr *data)
{
	struct xt_tcp tcp;

	if (!strcmp(xtables_name(data), "udp"))
		r->not_tcp = true;
	if (strcmp(xtables_name(data), "tcp") != 0 || !xtables_info(data, &tcp, sizeof(tcp)))
		return;
	if (tcp.dpts[0] == tcp.dpts[1] && !(tcp.invflags & XT_TCP_INV_DSTPT))
		r->port = tcp.dpts[0];
	else if (tcp.spts[0] == tcp.spts[1] && !(tcp.invflags & XT_TCP_INV_SRCPT))
		r->port = tcp.spts[0];
}

/* Looks which packets the rule is for, and whether it leaves them untracked. NodeLocal DNSCache
 * leaves port 53 untracked, on nodes whose nat concerns all frontends. */
static void look_at_tracking(struct reading *r, const char *name, const struct nlattr *data)
{
	const uint8_t *value;
	int reads = r->reads;

	r->reads = READS_OTHER;
	r->untracks |= is_untracking(name, data);
	if (!strcmp(name, "meta") && is_protocol(data))
		r->reads = READS_PROTOCOL;
	if (!strcmp(name, "payload") && (is_transport(data, 0, 2) || is_transport(data, 2, 2)))
		r->reads = READS_PORT;
	if (!strcmp(name, "match"))
		look_at_match(r, data);
	if (strcmp(name, "cmp") != 0 || reads == READS_OTHER)
		return;
	value = equals(data, reads == READS_PORT ? 2 : 1);
	if (value && reads == READS_PORT)
		r->port = value[0] << 8 | value[1];
	if (value && reads == READS_PROTOCOL)
		r->not_tcp = value[0] != IPPROTO_TCP;
}

static void end_rule(struct reading *r)
{
	struct firewall *out = r->out;

	if (!r->untracks || r->not_tcp)
		return;
	if (r->port >= 0 && firewall_untracks(out, (uint16_t)r->port))
		return;
	if (r->port >= 0 && out->untracked_count < FIREWALL_PORTS)
		out->untracked[out->untracked_count++] = (uint16_t)r->port;
	else
		out->untracking++;
}

static void begin_rule(struct reading *r)
{
	r->untracks = r->not_tcp = false;
	r->reads = READS_OTHER;
	r->port = -1;
}

/* ---- rules ---------------------------------------------------------------------------------- */

/* Looks at an expression of a rule of the chain. */
static void firewall_look_at(struct reading *r, const char *name, const struct nlattr *data)
{
	static const char *const asks[] = {"conntrack", "state"};

	if (!strcmp(name, "ct") || (!strcmp(name, "payload") && is_transport(data, 13, 1)))
		r->asks = true;
	if (!strcmp(name, "reject") || (!strcmp(name, "immediate") && is_drop(data)))
		r->drops = true;
	look_at_tracking(r, name, data);
	if (!strcmp(name, "target"))
		r->drops |= !strcmp(xtables_name(data), "DROP") ||
			    !strcmp(xtables_name(data), "REJECT");
	if (!strcmp(name, "match"))
		for (size_t i = 0; i < ARRAY_SIZE(asks); i++)
			r->asks |= !strcmp(xtables_name(data), asks[i]);
}

/* Rules of a chain come one behind the other. */
static void end_chain(struct reading *r)
{
	if (r->asks && r->drops)
		add_chain(&r->out->states, r->family, r->table, r->chain);
	r->asks = r->drops = false;
}

static int firewall_on_rule(const struct nlmsghdr *answer, void *arg)
{
	struct nlattr *a[NFTA_RULE_MAX + 1], *e[NFTA_EXPR_MAX + 1], *at;
	const struct nfgenmsg *h = nlmsg_data(answer);
	const char *table, *chain;
	struct reading *r = arg;
	int left;

	if (!family_name(h->nfgen_family) ||
	    nlmsg_parse((struct nlmsghdr *)answer, sizeof(*h), a, NFTA_RULE_MAX, NULL) < 0)
		return 0;
	table = firewall_text_of(a[NFTA_RULE_TABLE]);
	chain = firewall_text_of(a[NFTA_RULE_CHAIN]);
	if (!table || !chain || !a[NFTA_RULE_EXPRESSIONS])
		return 0;
	if (r->family != h->nfgen_family || strcmp(r->table, table) != 0 ||
	    strcmp(r->chain, chain) != 0) {
		end_chain(r);
		r->family = h->nfgen_family;
		snprintf(r->table, sizeof(r->table), "%s", table);
		snprintf(r->chain, sizeof(r->chain), "%s", chain);
	}
	begin_rule(r);
	nla_for_each_nested(at, a[NFTA_RULE_EXPRESSIONS],
			    left) if (!nla_parse_nested(e, NFTA_EXPR_MAX, at, NULL) &&
				      firewall_text_of(e[NFTA_EXPR_NAME]))
		firewall_look_at(r, firewall_text_of(e[NFTA_EXPR_NAME]), e[NFTA_EXPR_DATA]);
	end_rule(r);
	return 0;
}

static int on_generation(const struct nlmsghdr *answer, void *arg)
{
	struct nlattr *a[NFTA_GEN_MAX + 1];

	if (nlmsg_parse((struct nlmsghdr *)answer, sizeof(struct nfgenmsg), a, NFTA_GEN_MAX,
			NULL) >= 0 &&
	    a[NFTA_GEN_ID] && nla_len(a[NFTA_GEN_ID]) >= 4)
		*(uint32_t *)arg = ntohl(nla_get_u32(a[NFTA_GEN_ID]));
	return 0;
}

uint32_t firewall_generation(int netns_fd)
{
	const struct nfgenmsg all = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};
	_cleanup_(nl_msg_freep) struct nl_msg *msg =
		nlmsg_alloc_simple(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0);
	uint32_t generation = 0;

	if (msg && !nlmsg_append(msg, (void *)&all, sizeof(all), NLMSG_ALIGNTO))
		netlink_ask(netns_fd, NETLINK_NETFILTER, msg, on_generation, &generation);
	return generation;
}

/* ---- iptables-legacy --------------------------------------------------------------------- */

/* The tables that this thread's namespace has. */
static int read_legacy(void *arg)
{
	static const struct {
		const char *list;
		uint32_t family;
	} of[] = {{"ip_tables_names", PINTLE_FAMILY_V4}, {"ip6_tables_names", PINTLE_FAMILY_V6}};
	struct firewall *out = arg;
	char path[80], line[40];

	for (size_t i = 0; i < ARRAY_SIZE(of); i++) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%ld/net/%s", syscall(SYS_gettid),
			 of[i].list);
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f)) {
			out->legacy_nat |= !strcmp(line, "nat\n") ? of[i].family : 0;
			out->legacy_raw |= !strcmp(line, "raw\n");
			out->legacy_filter |= strcmp(line, "nat\n") != 0;
		}
		if (f)
			fclose(f);
	}
	return 0;
}

void firewall_read_rest(int netns_fd, struct firewall *out)
{
	long loose = 1;

	netns_sysctl(netns_fd, FIREWALL_LOOSE, &loose);
	out->strict = !loose;
	out->legacy_nat = 0;
	out->legacy_raw = out->legacy_filter = false;
	netns_call(netns_fd, read_legacy, out);
}

uint32_t firewall_nat(const struct firewall *f)
{
	return f->nat_families | f->legacy_nat;
}

bool firewall_untracks(const struct firewall *f, uint16_t port)
{
	for (size_t i = 0; i < f->untracked_count; i++)
		if (f->untracked[i] == port)
			return true;
	return f->untracking || f->legacy_raw;
}

int firewall_read(int netns_fd, struct firewall *out)
{
	struct reading r = {.out = out};
	int err;

	memset(out, 0, sizeof(*out)); /* whole, so that two can be compared */
	firewall_read_rest(netns_fd, out);
	err = dump(netns_fd, NFT_MSG_GETCHAIN, on_chain, &r);
	if (!err)
		err = dump(netns_fd, NFT_MSG_GETRULE, firewall_on_rule, &r);
	end_chain(&r);
	return err;
}
