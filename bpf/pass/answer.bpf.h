/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * answer.bpf.h - what of an answer has come out: its head, or more.
 */
#ifndef PINTLE_ANSWER_BPF_H
#define PINTLE_ANSWER_BPF_H

#include "common.bpf.h"

/* An answer of one segment with more than so many bytes is more than a head. */
#define HEAD_BYTES 512
/* A shorter request has no prompt: a short answer to it is a whole one. */
#define PROMPT_BYTES 256

/* Whether so many first segments and bytes of an answer to a request of `asked` bytes are more than
 * its head. */
static __always_inline bool answer_beyond_head(__u32 segments, __u32 bytes, __u32 asked)
{
	return segments > 1 || bytes > HEAD_BYTES || asked < PROMPT_BYTES;
}

#endif
