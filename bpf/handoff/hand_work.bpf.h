/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hand_work.bpf.h - what the hand-off's TC programs work on. A CPU runs only one of them at a time,
 * and what is there of one packet means nothing to the next.
 *
 * No part shares its memory with another, because most are in use at once: when a request is
 * changed or sent on, the header, the way, the request as it was read and the model's name are all
 * still wanted.
 */
#ifndef PINTLE_HAND_WORK_BPF_H
#define PINTLE_HAND_WORK_BPF_H

#include "learn.bpf.h"
#include "oneshot_write.bpf.h"
#include "splice_write.bpf.h"
#include "work.bpf.h"

struct hand_work {
	/* The request. First, because most functions find it: see WORK_PART. */
	struct hand_scratch scratch;
	struct segment_header header; /* of the packet */
	struct way way;               /* of an answer */
	struct model_scratch model;   /* its model, wanted until it is counted */
	struct model_scratch prompt;  /* where its prompt begins */
	struct prompt_scratch chunks; /* of the prompt */
	struct oneshot_scratch edit;  /* of the request */
	struct splice_work splice;
};

WORK(hand_work);

WORK_PART(hand_work, scratch, scratch_find)
WORK_PART(hand_work, header, header_find)
WORK_PART(hand_work, way, way_now)
WORK_PART(hand_work, model, model_scratch_find)
WORK_PART(hand_work, prompt, prompt_scan_find)
WORK_PART(hand_work, chunks, prompt_scratch_find)
WORK_PART(hand_work, edit, oneshot_scratch_find)
WORK_PART(hand_work, splice, splice_work_find)

#endif
