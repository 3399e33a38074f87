/* SPDX-License-Identifier: Apache-2.0 */
#include "drift.h"

#include "../base/util.h"

/*
 * Say 100 had begun and 90 ended before the walk, and 103 had begun and 92 ended after it. Then at
 * least 8 of the first 100 were open all the time, and the walk must have seen them; it can have
 * seen 103 - 90 = 13 at most. If it saw 5, the count is 3 too high. Where nothing moved, the two
 * bounds are equal.
 */
int64_t drift_of(struct drift_count before, struct drift_count after, uint64_t seen)
{
	int64_t least = (int64_t)(before.begun - after.ended);
	int64_t most = (int64_t)(after.begun - before.ended);

	if ((int64_t)seen < least)
		return least - (int64_t)seen;
	return (int64_t)seen > most ? most - (int64_t)seen : 0;
}

int64_t drift_agreed(int64_t first, int64_t second)
{
	if (first > 0 && second > 0)
		return MIN(first, second);
	return first < 0 && second < 0 ? MAX(first, second) : 0;
}
