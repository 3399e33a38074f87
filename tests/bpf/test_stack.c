/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much of the 512 bytes of stack the programs leave free. The verifier says each function's
 * depth; the calls between them are read from the loaded program. As the verifier does
 * (check_max_stack_depth()), a chain of calls takes the sum of its functions' depths, each rounded
 * up to 32 bytes. Linux 6.9 and newer round up to 16 where programs are compiled (JIT), and so have
 * more left: the hand-off's TC program, which only they load, is counted so.
 *
 *	test_stack [FILE]	of this build, or of another BPF object (tests/compilers)
 */
#include "support_bpf.h"

#include <bpf/btf.h>

#include "../../userspace/maps/kernel.h"

#define MAX_STACK     512
#define MAX_FUNCTIONS 256 /* of a program; the kernel's limit */
#define MAX_INSNS     65536
#define UNIT_OLD      32 /* bytes to which a function's depth is rounded up */
#define UNIT_JIT      16

struct function {
	uint32_t first; /* instruction */
	uint32_t depth; /* bytes of stack */
	const char *name;
};

/* The verifier replaces a call of bpf_loop() by a loop, and keeps three registers on the stack
 * there. It adds these after it has checked the sum. */
#define LOOP_STACK 24

struct program {
	struct function functions[MAX_FUNCTIONS];
	uint32_t count;
	struct bpf_insn insns[MAX_INSNS];
	uint32_t insn_count;
	struct btf *btf;
};

/* "processed 812 insns ...\nstack depth 104+0+64" */
static void read_depths(struct program *p, const char *log)
{
	const char *at = strstr(log, "stack depth ");
	uint32_t n = 0;

	assert_non_null(at);
	at += strlen("stack depth");
	do {
		char *end;
		unsigned long depth = strtoul(at + 1, &end, 10);

		assert_true(end > at + 1 && n < p->count);
		p->functions[n++].depth = (uint32_t)depth;
		at = end;
	} while (*at == '+');
	assert_int_equal(n, p->count);
}

static void read_functions(struct program *p, int fd)
{
	static struct bpf_func_info functions[MAX_FUNCTIONS];
	struct bpf_prog_info info = {
		.xlated_prog_len = sizeof(p->insns),
		.xlated_prog_insns = (uintptr_t)p->insns,
		.func_info_rec_size = sizeof(functions[0]),
		.nr_func_info = ARRAY_SIZE(functions),
		.func_info = (uintptr_t)functions,
	};
	uint32_t size = sizeof(info);

	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	assert_in_range(info.xlated_prog_len, 1, sizeof(p->insns));
	assert_in_range(info.nr_func_info, 1, ARRAY_SIZE(functions));
	p->insn_count = info.xlated_prog_len / sizeof(p->insns[0]);
	p->count = info.nr_func_info;
	p->btf = btf__load_from_kernel_by_id(info.btf_id);
	assert_non_null(p->btf);
	for (uint32_t i = 0; i < p->count; i++) {
		const struct btf_type *t = btf__type_by_id(p->btf, functions[i].type_id);

		p->functions[i].first = functions[i].insn_off;
		p->functions[i].name = btf__name_by_offset(p->btf, t->name_off);
	}
}

/* The kernel says of a call how far away the function is, in 16 bits: no two functions may begin at
 * the same place but for these. */
static uint32_t function_at(const struct program *p, uint32_t insn)
{
	uint32_t i = 0;

	assert_in_range(p->insn_count, 1, 1 << 16);
	while (i < p->count && (uint16_t)p->functions[i].first != (uint16_t)insn)
		i++;
	assert_in_range(i, 0, p->count - 1);
	return i;
}

/* Whether the instruction calls the function at *target, or hands it to a helper as a callback. */
static bool calls_at(const struct program *p, uint32_t at, uint32_t *target, bool *callback)
{
	const struct bpf_insn *i = &p->insns[at];

	*callback = i->code == (BPF_LD | BPF_IMM | BPF_DW) && i->src_reg == BPF_PSEUDO_FUNC;
	if (*callback)
		*target = function_at(p, at + 1 + (uint32_t)i->imm);
	else if (i->code == (BPF_JMP | BPF_CALL) && i->src_reg == BPF_PSEUDO_CALL)
		*target = function_at(p, at + 1 + (uint32_t)(int32_t)i->off);
	else
		return false;
	return true;
}

/* Returns the stack of the deepest chain of calls from the function on, and writes the chain. */
static uint32_t deepest(const struct program *p, uint32_t f, uint32_t unit, char *chain,
			size_t size)
{
	uint32_t end = f + 1 < p->count ? p->functions[f + 1].first : p->insn_count, most = 0;
	uint32_t own = p->functions[f].depth, called, looped = 0;
	char below[512] = "", one[512];
	bool callback;

	for (uint32_t i = p->functions[f].first; i < end; i++) {
		uint32_t depth;

		if (!calls_at(p, i, &called, &callback))
			continue;
		/* A callback that is called, too: the loop is there. */
		if (callback)
			looped = called;
		else if (called == looped)
			own -= LOOP_STACK;
		depth = deepest(p, called, unit, one, sizeof(one));
		if (depth > most) {
			most = depth;
			memcpy(below, one, sizeof(below));
		}
	}
	snprintf(chain, size, "%s %u%s%.400s", p->functions[f].name, own, most ? ", " : "", below);
	if (unit == UNIT_OLD)
		own = MAX(own, 1U);
	return (own + unit - 1) / unit * unit + most;
}

static const char *file; /* NULL: this build */

static uint32_t stack_of(const char *name, uint32_t unit, char *chain, size_t size)
{
	static struct program p;
	static char log[1 << 16];
	struct pintle_bpf *skel = file ? NULL : skeleton_open();
	struct bpf_object *object = skel ? skel->obj : bpf_object__open_file(file, NULL);
	struct bpf_program *program;
	uint32_t all;

	assert_non_null(object);
	bpf_object__for_each_program(program, object)
	{
		bool wanted = !strcmp(bpf_program__name(program), name);

		bpf_program__set_autoload(program, wanted);
		if (!wanted)
			continue;
		bpf_program__set_log_buf(program, log, sizeof(log));
		bpf_program__set_log_level(program, 4); /* BPF_LOG_STATS */
	}
	assert_int_equal(bpf_object__load(object), 0);
	read_functions(&p, bpf_program__fd(bpf_object__find_program_by_name(object, name)));
	read_depths(&p, log);
	all = deepest(&p, 0, unit, chain, size);
	btf__free(p.btf);
	if (skel)
		pintle_bpf__destroy(skel);
	else
		bpf_object__close(object);
	return all;
}

static void test_free_stack(void **state)
{
	static const struct {
		const char *program;
		uint32_t unit;
		uint32_t spare; /* bytes that clang 14 to 19 all leave; clang 14 leaves twice as
				   many */
		bool hand;      /* for kernels that hand over */
	} programs[] = {
		{"pintle_lookup", UNIT_OLD, 32, false},   {"pintle_connect4", UNIT_OLD, 32, false},
		{"pintle_connect6", UNIT_OLD, 32, false}, {"pintle_xdp", UNIT_OLD, 32, true},
		{"pintle_xdp_veth", UNIT_OLD, 32, true},  {"pintle_hand", UNIT_JIT, 16, true},
		{"pintle_splice", UNIT_JIT, 16, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		char chain[512];
		uint32_t all;

		if (programs[i].hand && !kernel_hands_over())
			continue;
		all = stack_of(programs[i].program, programs[i].unit, chain, sizeof(chain));
		print_message("%s: %u of %d bytes: %s\n", programs[i].program, all, MAX_STACK,
			      chain);
		assert_in_range(all, 32, MAX_STACK - programs[i].spare);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_free_stack),
	};

	file = argc > 1 ? argv[1] : NULL;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
