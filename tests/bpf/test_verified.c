/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the verifier counts. It goes through instructions to load a program: that is what loading
 * costs, and so how long a daemon that starts with `decide: request` is not ready; the kernel's
 * limit is a million. A static function is gone through for each of its calls, a global one once.
 * And a program may use 64 maps, those of .rodata and .bss among them.
 */
#include "support_bpf.h"

#include "../../userspace/maps/kernel.h"

static uint32_t verified(const char *name)
{
	struct pintle_bpf *skel = load_programs(name);
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);
	int fd;

	assert_non_null(skel);
	fd = bpf_program__fd(bpf_object__find_program_by_name(skel->obj, name));
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	pintle_bpf__destroy(skel);
	return info.verified_insns;
}

static void test_work_of_the_verifier(void **state)
{
	/* About twice what clang 14 makes of them on Linux 6.18. */
	static const struct {
		const char *program;
		uint32_t most;
	} programs[] = {
		{"pintle_connect4", 200000}, {"pintle_lookup", 200000}, {"pintle_hand", 150000},
		{"pintle_hand_pod", 15000},  {"pintle_splice", 400000}, {"pintle_xdp", 65000},
		{"pintle_xdp_veth", 65000},
	};

	(void)state;
	if (!kernel_hands_over())
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		uint32_t insns = verified(programs[i].program);

		print_message("%s: %u instructions\n", programs[i].program, insns);
		assert_in_range(insns, 1, programs[i].most);
	}
}

#define MAPS_MOST 60 /* of 64: a change that fails here has four left */

static void test_maps_of_a_program(void **state)
{
	struct pintle_bpf *skel;
	struct bpf_program *p;

	(void)state;
	if (!kernel_hands_over())
		skip();
	skel = skeleton_open();
	assert_non_null(skel);
	bpf_object__for_each_program(p, skel->obj) bpf_program__set_autoload(p, true);
	assert_int_equal(pintle_bpf__load(skel), 0);
	bpf_object__for_each_program(p, skel->obj)
	{
		struct bpf_prog_info info = {};
		uint32_t size = sizeof(info);

		assert_int_equal(bpf_obj_get_info_by_fd(bpf_program__fd(p), &info, &size), 0);
		print_message("%s: %u maps\n", bpf_program__name(p), info.nr_map_ids);
		assert_in_range(info.nr_map_ids, 0, MAPS_MOST);
	}
	pintle_bpf__destroy(skel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_work_of_the_verifier),
		cmocka_unit_test(test_maps_of_a_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
