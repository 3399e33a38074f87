/* SPDX-License-Identifier: Apache-2.0 */
#include "homes.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "../../base/util.h"

struct types {
	struct btf *btf;
	int key, value;
};

/* btf__add_field() adds to the struct that was added last. */
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

/* Returns the descriptor of an inner map that holds `v`, or -errno. */
static int make_table(const struct pintle_homes *v, bool typed)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	struct types t = {.btf = typed ? btf__new_empty() : NULL};
	uint32_t zero = 0;
	int fd;

	if (t.btf && !describe(&t)) {
		opts.btf_fd = (__u32)btf__fd(t.btf);
		opts.btf_key_type_id = (__u32)t.key;
		opts.btf_value_type_id = (__u32)t.value;
	}
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "homes_inner", sizeof(__u32), sizeof(*v), 1, &opts);
	btf__free(t.btf); /* the map holds its own reference */
	if (fd >= 0 && bpf_map_update_elem(fd, &zero, v, BPF_ANY)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static int put_table(const struct maps *m, uint32_t pool, const struct pintle_homes *v, bool typed)
{
	_cleanup_close_ int fd = make_table(v, typed);

	if (fd < 0)
		return fd;
	return bpf_map_update_elem(m->fd[MAP_homes], &pool, &fd, BPF_ANY) ? -errno : 0;
}

int homes_put(const struct maps *m, uint32_t pool, const struct pintle_homes *v)
{
	int err;

	assert(pool < PINTLE_MAX_POOLS);
	err = put_table(m, pool, v, true);
	/* `homes` was made for inner maps without BTF. Linux 6.1 takes a table with BTF for another
	 * kind of map, and refuses it. */
	return err == -EINVAL ? put_table(m, pool, v, false) : err;
}
