/* SPDX-License-Identifier: Apache-2.0 */
/* neighbour_xdp.bpf.c - somebody else's XDP program, which passes every frame. */
#include <linux/bpf.h>

__attribute__((section("xdp"), used)) int other_xdp(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char LICENSE[] __attribute__((section("license"), used)) = "Dual BSD/GPL";
