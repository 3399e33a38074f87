/* SPDX-License-Identifier: Apache-2.0 */
#include "links.h"

const struct link_kind link_kinds[LINK_COUNT] = {
	[LINK_SERVERS] = {"link_sockops_servers", "pintle_servers", BPF_CGROUP_SOCK_OPS,
			  PINTLE_HOOK_LOOKUP, .sees_ends = true},
	[LINK_CLIENTS] = {"link_sockops_clients", "pintle_clients", BPF_CGROUP_SOCK_OPS,
			  PINTLE_HOOK_CONNECT, .sees_ends = true},
	[LINK_LOOKUP] = {"link_lookup", "pintle_lookup", BPF_SK_LOOKUP, .netns = true},
	[LINK_RELEASE] = {"link_release", "pintle_release", BPF_CGROUP_INET_SOCK_RELEASE,
			  PINTLE_HOOK_CONNECT, .sees_ends = true},
	[LINK_GETPEERNAME4] = {"link_getpeername4", "pintle_getpeername4",
			       BPF_CGROUP_INET4_GETPEERNAME, PINTLE_HOOK_CONNECT},
	[LINK_GETPEERNAME6] = {"link_getpeername6", "pintle_getpeername6",
			       BPF_CGROUP_INET6_GETPEERNAME, PINTLE_HOOK_CONNECT},
	[LINK_HINT] = {"link_hint", "pintle_hint", BPF_CGROUP_SETSOCKOPT, .key = PINTLE_KEY_HINT,
		       .classes = true},
	[LINK_CONNECT4] = {"link_connect4", "pintle_connect4", BPF_CGROUP_INET4_CONNECT,
			   PINTLE_HOOK_CONNECT, .preorder = true},
	[LINK_CONNECT6] = {"link_connect6", "pintle_connect6", BPF_CGROUP_INET6_CONNECT,
			   PINTLE_HOOK_CONNECT, .preorder = true},
};
