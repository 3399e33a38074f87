/* SPDX-License-Identifier: Apache-2.0 */
/* Where kernels count softirqs, by their types: the layouts that Linux has had since 6.1, with the
 * offsets cut down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <bpf/btf.h>
#include <stdbool.h>

#include <pintle/abi.h>

#include "../../userspace/base/util.h"
#include "../../userspace/maps/kernel.h"

/* A kernel's types that matter. */
struct layout {
	bool in_thread_info; /* task_struct.thread_info.preempt_count, of 64 bits: arm64 */
	bool in_task;        /* task_struct.softirq_disable_cnt: PREEMPT_RT */
	bool hot;            /* x86 from 6.2 to 6.14: pcpu_hot has both */
	bool own;            /* x86 before and after: variables of their own */
	bool no_groups;      /* cfs_rq has no `rq`: without CONFIG_FAIR_GROUP_SCHED */
};

/* To the struct or union that was added last. */
static void add_member(struct btf *b, const char *name, int type, uint32_t at)
{
	assert_int_equal(btf__add_field(b, name, type, 8 * at, 0), 0);
}

/* thread_info has its count 8 bytes from its beginning, in an anonymous union, as on arm64. */
static int add_thread_info(struct btf *b, int u32, int u64, bool counts)
{
	int halves = btf__add_struct(b, NULL, 8), one = 0, id;

	add_member(b, "count", u32, 0);
	add_member(b, "need_resched", u32, 4);
	if (counts) {
		one = btf__add_union(b, NULL, 8);
		add_member(b, "preempt_count", u64, 0);
		add_member(b, "preempt", halves, 0);
	}
	id = btf__add_struct(b, "thread_info", 24);
	add_member(b, "flags", u64, 0);
	if (counts)
		add_member(b, NULL, one, 8);
	add_member(b, "cpu", u32, 16);
	return id;
}

static int add_scheduler(struct btf *b, int u64, bool groups)
{
	int rq = btf__add_struct(b, "rq", 128), cfs, id;

	add_member(b, "nr_running", u64, 0);
	rq = btf__add_ptr(b, rq);
	cfs = btf__add_struct(b, "cfs_rq", 16);
	add_member(b, "load", u64, 0);
	if (groups)
		add_member(b, "rq", rq, 8);
	cfs = btf__add_ptr(b, cfs);
	id = btf__add_struct(b, "sched_entity", 16);
	add_member(b, "load", u64, 0);
	add_member(b, "cfs_rq", cfs, 8);
	return id;
}

static void add_hot(struct btf *b, int u64, int u32, int *var)
{
	int inner = btf__add_struct(b, NULL, 16), both;

	add_member(b, "current_task", u64, 0);
	add_member(b, "preempt_count", u32, 8);
	both = btf__add_union(b, NULL, 64);
	add_member(b, NULL, inner, 0);
	inner = btf__add_struct(b, "pcpu_hot", 64);
	add_member(b, NULL, both, 0);
	*var = btf__add_var(b, "pcpu_hot", BTF_VAR_GLOBAL_ALLOCATED, inner);
}

static struct btf *kernel_of(const struct layout *l)
{
	struct btf *b = btf__new_empty();
	int u32 = btf__add_int(b, "unsigned int", 4, 0);
	int u64 = btf__add_int(b, "unsigned long", 8, 0);
	int thread = add_thread_info(b, u32, u64, l->in_thread_info);
	int entity = add_scheduler(b, u64, !l->no_groups), hot = 0, count, current, queue;

	btf__add_struct(b, "task_struct", 96);
	add_member(b, "thread_info", thread, 0);
	add_member(b, "se", entity, 32);
	if (l->in_task)
		add_member(b, "softirq_disable_cnt", u32, 72);
	if (l->hot)
		add_hot(b, u64, u32, &hot);
	count = btf__add_var(b, "__preempt_count", BTF_VAR_GLOBAL_ALLOCATED, u32);
	current = btf__add_var(b, "current_task", BTF_VAR_GLOBAL_ALLOCATED, u64);
	queue = btf__add_var(b, "runqueues", BTF_VAR_GLOBAL_ALLOCATED,
			     btf__find_by_name_kind(b, "rq", BTF_KIND_STRUCT));
	btf__add_datasec(b, ".data..percpu", 4096);
	btf__add_datasec_var_info(b, queue, 2048, 128);
	if (l->hot)
		btf__add_datasec_var_info(b, hot, 512, 64);
	if (l->own) {
		btf__add_datasec_var_info(b, current, 64, 8);
		btf__add_datasec_var_info(b, count, 4000, 4);
	}
	return b;
}

/* clang-format off */
static const struct {
	const char *says;
	struct layout layout;
	struct kernel_softirq found;
} kernels[] = {
	{"x86 of 6.1, and from 6.15 on", {.own = true}, {PINTLE_COUNT_OF_CPU, 1952, -1984}},
	{"x86 from 6.2 to 6.14", {.hot = true}, {PINTLE_COUNT_OF_CPU, -1528, -1536}},
	{"x86 with PREEMPT_RT", {.own = true, .in_task = true}, {PINTLE_COUNT_OF_TASK, 72, 0}},
	{"arm64", {.in_thread_info = true}, {PINTLE_COUNT_OF_TASK, 8, 0}},
	{"arm64 with PREEMPT_RT", {.in_thread_info = true, .in_task = true}, {PINTLE_COUNT_OF_TASK, 72, 0}},
	{"x86 without group scheduling", {.own = true, .no_groups = true}, {PINTLE_COUNT_UNKNOWN, 0, 0}},
	{"an architecture that has it elsewhere", {0}, {PINTLE_COUNT_UNKNOWN, 0, 0}},
};
/* clang-format on */

static void test_where_the_count_is(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kernels); i++) {
		struct btf *types = kernel_of(&kernels[i].layout);
		struct kernel_softirq s = kernel_softirq_of(types);

		print_message("%s\n", kernels[i].says);
		assert_int_equal(s.count_of, kernels[i].found.count_of);
		if (s.count_of != PINTLE_COUNT_UNKNOWN)
			assert_int_equal(s.count_at, kernels[i].found.count_at);
		if (s.count_of == PINTLE_COUNT_OF_CPU)
			assert_int_equal(s.current_at, kernels[i].found.current_at);
		btf__free(types);
	}
}

static void test_strange_types(void **state)
{
	struct btf *empty = btf__new_empty(), *odd = btf__new_empty();
	int u32 = btf__add_int(odd, "unsigned int", 4, 0);

	(void)state;
	btf__add_struct(odd, "task_struct", 8);
	add_member(odd, "thread_info", u32, 0);
	add_member(odd, "se", u32, 4);
	btf__add_datasec(odd, ".data..percpu", 4096);
	assert_int_equal(kernel_softirq_of(empty).count_of, PINTLE_COUNT_UNKNOWN);
	assert_int_equal(kernel_softirq_of(odd).count_of, PINTLE_COUNT_UNKNOWN);
	btf__free(empty);
	btf__free(odd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_where_the_count_is),
		cmocka_unit_test(test_strange_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
