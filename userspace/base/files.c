/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <sys/resource.h>

uint64_t files_raise_limit(void)
{
	struct rlimit limit, raised;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return UINT64_MAX;
	raised = (struct rlimit){limit.rlim_max, limit.rlim_max};
	return setrlimit(RLIMIT_NOFILE, &raised) ? limit.rlim_cur : raised.rlim_cur;
}
