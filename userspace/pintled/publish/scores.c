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

void scores_count(const struct pintle_inflight *counts, uint64_t *opened, int64_t *inflight,
		  int64_t *pending)
{
	*inflight = *pending = 0;
	*opened = 0;
	for (int i = 0; i < PINTLE_MAX_CLASSES; i++) {
		const struct pintle_counters *c = &counts->by_class[i];
		__u64 n = __atomic_load_n(&c->opened, __ATOMIC_RELAXED);

		*opened += n;
		*inflight += (int64_t)(n - __atomic_load_n(&c->closed, __ATOMIC_RELAXED));
		*pending += (int64_t)(__atomic_load_n(&c->placed, __ATOMIC_RELAXED) - n -
				      __atomic_load_n(&c->failed, __ATOMIC_RELAXED));
	}
}
