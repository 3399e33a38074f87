/* SPDX-License-Identifier: Apache-2.0 */
#include "kernel.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <string.h>

#include <pintle/abi.h>

/* ---- the softirq count ------------------------------------------------------------ */

#define NOWHERE INT64_MIN

static const struct btf_type *bare(const struct btf *types, uint32_t id)
{
	const struct btf_type *t = btf__type_by_id(types, id);

	while (t && (btf_is_mod(t) || btf_is_typedef(t)))
		t = btf__type_by_id(types, t->type);
	return t;
}

/* The offset in bytes of a member, also of one of an anonymous member's: "thread_info.cpu" of a
 * task_struct, say. NOWHERE if there is none. */
static int64_t member_at(const struct btf *types, const struct btf_type *of, const char *path)
{
	size_t length = strcspn(path, ".");

	if (!of || !btf_is_composite(of))
		return NOWHERE;
	for (uint32_t i = 0; i < btf_vlen(of); i++) {
		const struct btf_member *m = &btf_members(of)[i];
		const char *name = btf__name_by_offset(types, m->name_off);
		int64_t at = btf_member_bit_offset(of, i) / 8, within = 0;

		if (!*name)
			within = member_at(types, bare(types, m->type), path);
		else if (strncmp(name, path, length) != 0 || name[length])
			continue;
		else if (path[length])
			within = member_at(types, bare(types, m->type), path + length + 1);
		if (within != NOWHERE)
			return at + within;
	}
	return NOWHERE;
}

static int64_t struct_member_at(const struct btf *types, const char *name, const char *path)
{
	int id = btf__find_by_name_kind(types, name, BTF_KIND_STRUCT);

	return id < 0 ? NOWHERE : member_at(types, btf__type_by_id(types, (uint32_t)id), path);
}

/* Where a CPU has that variable of its own, or with a path that member of it; NOWHERE if there is
 * none. */
static int64_t percpu_at(const struct btf *types, const char *name, const char *path)
{
	int id = btf__find_by_name_kind(types, ".data..percpu", BTF_KIND_DATASEC);
	const struct btf_type *all = id < 0 ? NULL : btf__type_by_id(types, (uint32_t)id);

	for (uint32_t i = 0; all && i < btf_vlen(all); i++) {
		const struct btf_var_secinfo *at = &btf_var_secinfos(all)[i];
		const struct btf_type *var = btf__type_by_id(types, at->type);
		int64_t within = 0;

		if (!var || strcmp(btf__name_by_offset(types, var->name_off), name) != 0)
			continue;
		if (path)
			within = member_at(types, bare(types, var->type), path);
		return within == NOWHERE ? NOWHERE : at->offset + within;
	}
	return NOWHERE;
}

/* The former of two places where there is one. */
static int64_t either(int64_t a, int64_t b)
{
	return a == NOWHERE ? b : a;
}

static void softirq_of_task(const struct btf *types, struct kernel_softirq *s)
{
	/* With PREEMPT_RT softirqs are counted there alone. arm64 has 64 bits, whose lower half is
	 * the count. */
	s->count_at = either(struct_member_at(types, "task_struct", "softirq_disable_cnt"),
			     struct_member_at(types, "task_struct", "thread_info.preempt_count"));
	if (s->count_at != NOWHERE)
		s->count_of = PINTLE_COUNT_OF_TASK;
}

/* `pcpu_hot` has both variables in Linux 6.2 to 6.14. */
static void softirq_of_cpu(const struct btf *types, struct kernel_softirq *s)
{
	int64_t queue = percpu_at(types, "runqueues", NULL);
	int64_t count = either(percpu_at(types, "__preempt_count", NULL),
			       percpu_at(types, "pcpu_hot", "preempt_count"));
	int64_t current = either(percpu_at(types, "current_task", NULL),
				 percpu_at(types, "pcpu_hot", "current_task"));

	if (queue == NOWHERE || count == NOWHERE || current == NOWHERE ||
	    struct_member_at(types, "task_struct", "se.cfs_rq") == NOWHERE ||
	    struct_member_at(types, "cfs_rq", "rq") == NOWHERE)
		return;
	s->count_of = PINTLE_COUNT_OF_CPU;
	s->count_at = count - queue;
	s->current_at = current - queue;
}

struct kernel_softirq kernel_softirq_of(const struct btf *types)
{
	struct kernel_softirq s = {.count_of = PINTLE_COUNT_UNKNOWN};

	softirq_of_task(types, &s);
	if (s.count_of == PINTLE_COUNT_UNKNOWN)
		softirq_of_cpu(types, &s);
	return s;
}

/* ---- this kernel -------------------------------------------------------------------- */

struct facts {
	bool hands_over;
	struct kernel_softirq softirq;
};

static struct facts facts_read(void)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	struct btf *types = btf__load_vmlinux_btf();
	struct facts f = {.softirq.count_of = PINTLE_COUNT_UNKNOWN};

	libbpf_set_print(print);
	if (!types)
		return f;
	f.hands_over = btf__find_by_name_kind(types, "bpf_sk_assign_tcp_reqsk", BTF_KIND_FUNC) > 0;
	f.softirq = kernel_softirq_of(types);
	btf__free(types);
	return f;
}

/* All at once, because reading the kernel's types takes longer than to look for one. */
static const struct facts *facts(void)
{
	static struct facts known;
	static bool is_known;

	if (!is_known)
		known = facts_read();
	is_known = true;
	return &known;
}

bool kernel_hands_over(void)
{
	return facts()->hands_over;
}

struct kernel_softirq kernel_softirq(void)
{
	return facts()->softirq;
}
