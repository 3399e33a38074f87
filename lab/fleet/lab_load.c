// SPDX-License-Identifier: Apache-2.0
/*
 * lab_load.c - the sessions of pintle-load. With the same seed they ask the same at the same times
 * as pintle-load's, except that answers end at other times.
 *
 * Tokens are counted as pintle-sim counts a chat: one at the beginning, then for each message its
 * role and three marks. "assistant" is three tokens, and two of its marks stand before the answer.
 */
#include "lab_internal.h"

enum { BEGIN = 1, SYSTEM = 2 + 3, USER = 1 + 3, ASKED = 3 + 2, ANSWERED = 1 };

struct lab_class {
	const struct workload_class *c;
	struct rng arrivals;
	struct zipf groups;
	uint64_t arrived_ns, sessions;
};

static void arrival_wait(struct lab *lab, uint32_t class)
{
	struct lab_class *k = &lab->classes[class];

	k->arrived_ns = arrival_next(&k->c->arrival, &k->arrivals, k->arrived_ns);
	if (k->arrived_ns != ARRIVAL_NEVER)
		lab_event_put(lab, k->arrived_ns, LOAD_BEGINS, class, 0);
}

int lab_load_init(struct lab *lab)
{
	const struct workload *w = lab->o->load;

	lab->classes = calloc(w->class_count, sizeof(*lab->classes));
	if (!lab->classes)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->class_count; i++) {
		const struct workload_class *c = &w->classes[i];
		struct lab_class *k = &lab->classes[i];

		k->c = c;
		rng_init(&k->arrivals, lab->o->seed, ~(uint64_t)i, 0);
		if (zipf_init(&k->groups, (uint32_t)MAX(c->groups, 1), c->zipf))
			return -ENOMEM;
		for (int user = 0; user < c->users; user++)
			lab_event_put(lab,
				      (uint64_t)((double)c->spread_ns * user / (double)c->users),
				      LOAD_BEGINS, i, 0);
		if (!c->users)
			arrival_wait(lab, i);
	}
	return 0;
}

void lab_load_fini(struct lab *lab)
{
	for (uint32_t i = 0; lab->classes && i < lab->o->load->class_count; i++)
		zipf_free(&lab->classes[i].groups);
	free(lab->classes);
}

/* Sets the session's address, and the group of sessions that share the address's prefix. */
static void choose_address(struct lab_session *s, uint32_t class)
{
	const struct workload_class *c = s->says.c;
	uint64_t slice = lab_hash(class, 0xc1a55);

	switch ((enum workload_addresses)c->addresses) {
	case ADDRESSES_SESSION: /* consecutive addresses: a /24 holds 256 sessions in a row */
		s->r.group = lab_hash(slice, s->number >> 8);
		s->r.client = lab_hash(slice + 1, s->number);
		break;
	case ADDRESSES_GROUP:
		s->r.group = lab_hash(slice, s->says.group);
		s->r.client = lab_hash(s->r.group, s->number & 0xff);
		break;
	case ADDRESSES_CLASS:
		s->r.group = slice;
		s->r.client = slice;
		break;
	}
}

void lab_load_begin(struct lab *lab, uint32_t class)
{
	struct lab_class *k = &lab->classes[class];
	struct lab_session *s = lab_session_new(lab);

	if (!k->c->users)
		arrival_wait(lab, class);
	if (!s) {
		lab->err = -ENOMEM;
		return;
	}
	s->number = k->sessions++;
	session_begin(&s->says, k->c, class, &k->groups, lab->o->seed, s->number);
	s->class = class;
	s->history = 0;
	s->r.part = class > 0 || lab->o->trace;
	s->r.session = lab_hash(class, s->number);
	choose_address(s, class);
	s->r.node = (uint32_t)(hash_mix(s->r.client) % lab->o->nodes);
	s->r.prefix = lab_hash(s->r.session, 0x9ef1);
	lab_load_turn(lab, s);
}

void lab_load_turn(struct lab *lab, struct lab_session *s)
{
	const struct workload_class *c = s->says.c;
	uint32_t context = s->history ? 0 : s->says.context_tokens, turn = s->says.turns_left;
	uint32_t shared = BEGIN + (s->says.shared_tokens ? SYSTEM + s->says.shared_tokens : 0);
	uint32_t prompt, output;
	struct lab_text texts[3];

	session_draw(&s->says, &prompt, &output);
	s->r.prompt_tokens = shared + s->history + USER + context + prompt + ASKED;
	s->r.output_tokens = output;
	texts[0] = (struct lab_text){shared, lab_hash(s->class, s->says.group)};
	texts[1] = (struct lab_text){c->history ? UINT32_MAX : shared + USER + context,
				     lab_hash(s->r.session, 0x5a1d)};
	texts[2] = (struct lab_text){UINT32_MAX, lab_hash(texts[1].content, turn)};
	if (lab_blocks_name(lab, s, texts)) {
		lab->err = -ENOMEM;
		return;
	}
	lab_submit(lab, s);
}

void lab_load_ended(struct lab *lab, struct lab_session *s)
{
	const struct workload_class *c = s->says.c;
	uint32_t shared = BEGIN + (s->says.shared_tokens ? SYSTEM + s->says.shared_tokens : 0);

	if (c->history)
		s->history = s->r.prompt_tokens - shared + s->r.output_tokens + ANSWERED;
	if (s->says.turns_left) {
		lab_turn_wait(lab, s, session_think_ns(&s->says), c->connection == CONNECTION_KEPT);
		return;
	}
	if (c->users)
		lab_event_put(lab, lab->now_ns + session_think_ns(&s->says), LOAD_BEGINS, s->class,
			      0);
	lab_session_end(lab, s);
}
