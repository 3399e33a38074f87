/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel.h"

#include <bpf/libbpf.h>

bool kernel_hands_over(void)
{
	static int known = -1; /* reading BTF takes a while */

	libbpf_print_fn_t print;

	if (known >= 0)
		return known;
	print = libbpf_set_print(NULL);
	known = libbpf_find_vmlinux_btf_id("bpf_sk_assign_tcp_reqsk", BPF_TRACE_FENTRY) > 0;
	libbpf_set_print(print);
	return known;
}
