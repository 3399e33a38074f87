/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neighbour_tc.bpf.c - somebody else's programs in TC.
 *
 *   tag, untag    a machine behind VLANs, for kernels without them: a TCP segment that leaves a
 *                 device gets a tag by each filter with `tag`; what comes loses all by `untag`
 *   take          lets every packet go on to the kernel, past all programs behind it
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

static __always_inline int is_tcp(struct __sk_buff *skb)
{
	int at = skb->protocol == bpf_htons(ETH_P_IP) ? 9 : 6;
	__u8 protocol = 0;

	bpf_skb_load_bytes(skb, ETH_HLEN + at, &protocol, sizeof(protocol));
	return protocol == IPPROTO_TCP;
}

SEC("tc")
int tag(struct __sk_buff *skb)
{
	if (skb->vlan_present)
		bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021AD), 5);
	else if (is_tcp(skb))
		bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 5);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int untag(struct __sk_buff *skb)
{
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		if (skb->vlan_present)
			bpf_skb_vlan_pop(skb);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int take(struct __sk_buff *skb)
{
	(void)skb;
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Apache-2.0";
