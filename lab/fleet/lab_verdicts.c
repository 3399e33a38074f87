// SPDX-License-Identifier: Apache-2.0
#include "lab_verdicts.h"

#include <assert.h>
#include <inttypes.h>

#include "../../userspace/base/util.h"
#include "../../userspace/policy/classify.h"
#include "lab_index.h"

#define MOST_CLIENTS (1U << 24)

/* After so many requests of a client its verdict is written. */
static const uint32_t moments[] = {5, 20};

struct client {
	struct classify judged;
	uint32_t under_way;
};

struct lab_verdicts {
	FILE *out;
	struct lab_index *numbers; /* of clients, in the order in which they came */
	struct client *clients;
	size_t count, room;
};

int lab_verdicts_new(FILE *out, struct lab_verdicts **v)
{
	struct lab_verdicts *new = calloc(1, sizeof(*new));

	if (!new)
		return -ENOMEM;
	if (lab_index_new(1, MOST_CLIENTS, &new->numbers)) {
		free(new);
		return -ENOMEM;
	}
	new->out = out;
	*v = new;
	return 0;
}

void lab_verdicts_free(struct lab_verdicts *v)
{
	if (!v)
		return;
	lab_index_free(v->numbers);
	free(v->clients);
	free(v);
}

int lab_verdicts_begin(struct lab_verdicts *v, uint64_t client, uint32_t *beside)
{
	const struct lab_entry *e = lab_index_get(v->numbers, client, 0);
	uint32_t number = e ? e->value : (uint32_t)v->count;

	if (!e) {
		if (v->count == MOST_CLIENTS || !ROOM_FOR_ONE(v->clients, v->count, v->room, 256) ||
		    lab_index_put(v->numbers, client, 0, number, 0))
			return -ENOMEM;
		v->clients[v->count++] = (struct client){};
	}
	*beside = v->clients[number].under_way++;
	return 0;
}

void lab_verdicts_end(struct lab_verdicts *v, const struct lab_verdicts_request *r)
{
	const struct lab_entry *e = lab_index_get(v->numbers, r->client, 0);
	struct client *c = e ? &v->clients[e->value] : NULL;
	char reason[CLASSIFY_REASON_SIZE];

	assert(c && c->under_way);
	c->under_way--;
	classify_request(&c->judged,
			 &(struct classify_request){
				 .begun_ns = r->begun_ns,
				 .ended_ns = r->ended_ns,
				 .request_bytes = (uint64_t)r->prompt_tokens * LAB_REQUEST_BYTES,
				 .beside = r->beside,
			 });
	for (size_t i = 0; i < ARRAY_SIZE(moments); i++)
		if (c->judged.requests == moments[i])
			fprintf(v->out,
				"{\"class\":\"%s\",\"client\":%u,\"requests\":%u,"
				"\"verdict\":\"%s\",\"reason\":\"%s\"}\n",
				r->class, e->value, moments[i],
				classify_name(classify_verdict(&c->judged)),
				classify_reason(&c->judged, reason));
}
