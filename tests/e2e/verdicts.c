// SPDX-License-Identifier: Apache-2.0
/*
 * verdicts.c - what the classifier says of requests that were recorded elsewhere: reads a line for
 * each, "SESSION BEGUN_NS ENDED_NS BYTES BESIDE", in the order of their ends, with sessions
 * numbered from 0 on; writes "SESSION CLASS" for each session at the end.
 */
#include <inttypes.h>
#include <stdio.h>

#include "../../userspace/policy/classify.h"

#define SESSIONS 4096

int main(void)
{
	static struct classify all[SESSIONS];
	struct classify_request r;
	unsigned int session;

	while (scanf("%u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu32, &session, &r.begun_ns,
		     &r.ended_ns, &r.request_bytes, &r.beside) == 5)
		if (session < SESSIONS)
			classify_request(&all[session], &r);
	for (session = 0; session < SESSIONS; session++)
		if (all[session].requests)
			printf("%u %s\n", session, classify_name(classify_verdict(&all[session])));
	return 0;
}
