/* SPDX-License-Identifier: Apache-2.0 */
#include "scores.h"

void scores_write(struct pintle_score *to, const struct pintle_score *from)
{
	__u32 sequence = to->sequence & ~1U;
	struct pintle_score v = *from;

	__atomic_store_n(&to->sequence, sequence + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	v.sequence = sequence + 1;
	*to = v;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&to->sequence, sequence + 2, __ATOMIC_RELEASE);
}
