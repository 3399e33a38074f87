/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.c - loads all programs of a BPF object, also those that are loaded only on request
 *(SEC("?..."), and says their names.
 *
 *	load FILE
 */
#include <bpf/libbpf.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct bpf_object *o = argc == 2 ? bpf_object__open_file(argv[1], NULL) : NULL;
	struct bpf_program *p;
	int failed;

	if (!o) {
		fprintf(stderr, "usage: load FILE, a BPF object\n");
		return 2;
	}
	bpf_object__for_each_program(p, o) bpf_program__set_autoload(p, true);
	failed = bpf_object__load(o);
	if (!failed)
		bpf_object__for_each_program(p, o) printf("%s\n", bpf_program__name(p));
	bpf_object__close(o);
	return !!failed;
}
