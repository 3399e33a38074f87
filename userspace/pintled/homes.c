/* SPDX-License-Identifier: Apache-2.0 */
#include "homes.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <pintle/abi.h>
#include <stddef.h>

struct types {
	struct btf *btf;
	int key, value;
};

/* libbpf adds a field to the struct that was added last. */
#define FIELD(btf, of, name, type) btf__add_field(btf, #name, type, 8 * offsetof(of, name), 0)

static int describe(struct types *t)
{
	struct btf *b = t->btf;
	int u32 = btf__add_int(b, "__u32", sizeof(__u32), 0);
	int ref = btf__add_struct(b, "pintle_ref", sizeof(struct pintle_ref));
	int table;

	if (FIELD(b, struct pintle_ref, id, u32) || FIELD(b, struct pintle_ref, generation, u32))
		return -EINVAL;
	table = btf__add_array(b, u32, ref, PINTLE_HOME_ENTRIES);
	t->key = u32;
	t->value = btf__add_struct(b, "pintle_homes", sizeof(struct pintle_homes));
	if (FIELD(b, struct pintle_homes, pool_generation, u32) ||
	    FIELD(b, struct pintle_homes, zero, u32) || FIELD(b, struct pintle_homes, home, table))
		return -EINVAL;
	return btf__load_into_kernel(b);
}

int homes_make(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	struct types t = {.btf = btf__new_empty()};
	int fd;

	if (t.btf && !describe(&t)) {
		opts.btf_fd = (__u32)btf__fd(t.btf);
		opts.btf_key_type_id = (__u32)t.key;
		opts.btf_value_type_id = (__u32)t.value;
	}
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "homes_inner", sizeof(__u32),
			    sizeof(struct pintle_homes), 1, &opts);
	if (fd < 0)
		fd = -errno;
	btf__free(t.btf); /* the map holds its own reference */
	return fd;
}
