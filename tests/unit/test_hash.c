/* SPDX-License-Identifier: Apache-2.0 */
/* The hash of hints, compared with SipHash's test vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../../userspace/base/util.h"
#include "hash.bpf.h"

/* Key 00 01 .. 0f, text 00 01 ..: the first two as the authors publish them, the others by
 * `openssl mac -macopt hexkey:000102030405060708090a0b0c0d0e0f -macopt size:16 SIPHASH`. */
static void test_vectors(void **state)
{
	static const struct {
		uint32_t size;
		const char *hash;
	} cases[] = {
		{0, "a3817f04ba25a8e66df67214c7550293"},  {1, "da87c1d86b99af44347659119b22fc45"},
		{7, "a1f1ebbed8dbc153c0b84aa61ff08239"},  {8, "3b62a9ba6258f5610f83e264f31497b4"},
		{9, "264499060ad9baabc47f8b02bb6d71ed"},  {63, "5150d1772f50834a503e069a973fbd7c"},
		{64, "1eaf077dc0d4cd3f8cad4d383658a74b"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct hash_input in = {.size = cases[i].size};
		struct hash_output out;
		char hex[33];

		for (uint8_t b = 0; b < 16; b++)
			((uint8_t *)in.key)[b] = b;
		for (uint8_t b = 0; b < cases[i].size; b++)
			((uint8_t *)in.word)[b] = b;
		hash_text(&in, &out);
		for (size_t b = 0; b < 16; b++)
			snprintf(hex + 2 * b, 3, "%02x", ((uint8_t *)out.word)[b]);
		assert_string_equal(hex, cases[i].hash);
	}
}

static void test_a_size_beyond_counts_as_the_most(void **state)
{
	struct hash_input in = {.size = UINT32_MAX}, most = {.size = PINTLE_HINT_MAX};
	struct hash_output a, b;

	(void)state;
	hash_text(&in, &a);
	hash_text(&most, &b);
	assert_memory_equal(&a, &b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_a_size_beyond_counts_as_the_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
