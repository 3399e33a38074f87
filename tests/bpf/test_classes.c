/* SPDX-License-Identifier: Apache-2.0 */
/* Classes: which one a connection belongs to, by rules and hints; and what its limit does in the
 * lookup hook. test_rule.c tests what the limit means. */
#define PROGRAMS "pintle_lookup", "pintle_class"
#include "support_world.h"

#include "rule/classes.bpf.h"

/* ---- whose class ----------------------------------------------------------------------- */

enum { INTERACTIVE, AGENT, BATCH, CLASSES };

static const struct pintle_class classes[CLASSES] = {
	[INTERACTIVE] = {.name = "interactive"},
	[AGENT] = {.name = "agent"},
	[BATCH] = {.priority = -1, .name = "batch"},
};

#define SPACE   71
#define ACCOUNT 72
#define PATTERN 73
#define CGROUP  74

/* A client's address, or a rule's prefix with so many bits of its mask. */
struct network {
	const char *address;
	unsigned int bits;
};

/* clang-format off: a row is said, given, expected */
static const struct {
	const char *says;
	struct network of[2]; /* of the rule i, which is for the class 1 + i */
	struct pintle_class_rule rules[2];
	uint32_t rule_count;
	const char *from;
	struct class_client client;
	uint16_t port;
	uint8_t hint; /* 1 + a class */
	uint32_t trusted;
	const char *word;  /* of the operator, on the session */
	const char *found; /* of the classifier, on the session */
	uint32_t mute;     /* 1: the pool does not classify */
	uint32_t class;
} rows[] = {
	{"no rule: the first class", .class = INTERACTIVE},
	{"a rule that matches",
	 {{"10.9.0.0", 112}},
	 .rule_count = 1,
	 .from = "10.9.7.1",
	 .class = AGENT},
	{"one bit beside its prefix",
	 {{"10.9.0.0", 112}},
	 .rule_count = 1,
	 .from = "10.8.255.255",
	 .class = INTERACTIVE},
	{"an odd prefix",
	 {{"10.9.128.0", 113}},
	 .rule_count = 1,
	 .from = "10.9.128.1",
	 .class = AGENT},
	{"below it",
	 {{"10.9.128.0", 113}},
	 .rule_count = 1,
	 .from = "10.9.127.255",
	 .class = INTERACTIVE},
	{"one address", {{"10.9.0.1", 128}}, .rule_count = 1, .from = "10.9.0.1", .class = AGENT},
	{"IPv6", {{"fd00:1::", 32}}, .rule_count = 1, .from = "fd00:1:2::3", .class = AGENT},
	{"IPv4 is not in a prefix of IPv6",
	 {{"fd00:1::", 32}},
	 .rule_count = 1,
	 .from = "10.9.0.1",
	 .class = INTERACTIVE},
	{"every IPv4 address",
	 {{"0.0.0.0", 96}},
	 .rule_count = 1,
	 .from = "192.0.2.1",
	 .class = AGENT},
	{"is no IPv6 address",
	 {{"0.0.0.0", 96}},
	 .rule_count = 1,
	 .from = "2001:db8::1",
	 .class = INTERACTIVE},
	{"every IPv6 address", {{"::", 0}}, .rule_count = 1, .from = "2001:db8::1", .class = AGENT},
	{"is no IPv4 address",
	 {{"::", 0}},
	 .rule_count = 1,
	 .from = "192.0.2.1",
	 .class = INTERACTIVE},
	{"an IPv4 socket that is not bound has no address",
	 {{"0.0.0.0", 96}},
	 .rule_count = 1,
	 .from = "0.0.0.0",
	 .class = INTERACTIVE},
	{"nor has an IPv6 socket",
	 {{"::", 0}},
	 .rule_count = 1,
	 .from = "::",
	 .class = INTERACTIVE},
	{"the first that matches counts",
	 {{"10.0.0.0", 104}, {"10.9.0.0", 112}},
	 .rule_count = 2,
	 .from = "10.9.0.1",
	 .class = AGENT},
	{"or the second",
	 {{"10.8.0.0", 112}, {"10.9.0.0", 112}},
	 .rule_count = 2,
	 .from = "10.9.0.1",
	 .class = BATCH},
	{"a rule behind the last says nothing",
	 {{"10.8.0.0", 112}, {"10.9.0.0", 112}},
	 .rule_count = 1,
	 .from = "10.9.0.1",
	 .class = INTERACTIVE},
	{"a port", .rules = {{.port = 8001}}, .rule_count = 1, .port = 8001, .class = AGENT},
	{"another port", .rules = {{.port = 8001}}, .rule_count = 1, .port = 8000,
	 .class = INTERACTIVE},
	{"a namespace", .rules = {{.space = SPACE}}, .rule_count = 1, .client = {.space = SPACE},
	 .class = AGENT},
	{"another namespace", .rules = {{.space = SPACE}}, .rule_count = 1,
	 .client = {.space = SPACE + 1}, .class = INTERACTIVE},
	{"of a client that nobody knows", .rules = {{.space = SPACE}}, .rule_count = 1,
	 .class = INTERACTIVE},
	{"a service account", .rules = {{.account = ACCOUNT}}, .rule_count = 1,
	 .client = {.account = ACCOUNT}, .class = AGENT},
	{"another account", .rules = {{.account = ACCOUNT}}, .rule_count = 1,
	 .client = {.account = SPACE}, .class = INTERACTIVE},
	{"a cgroup that the pattern matches", .rules = {{.pattern = PATTERN}}, .rule_count = 1,
	 .client = {.cgroup = CGROUP}, .class = AGENT},
	{"another cgroup", .rules = {{.pattern = PATTERN}}, .rule_count = 1,
	 .client = {.cgroup = CGROUP + 1}, .class = INTERACTIVE},
	{"all that a rule says must match",
	 {{"10.9.0.0", 112}},
	 .rules = {{.space = SPACE, .port = 8001}},
	 .rule_count = 1,
	 .from = "10.9.0.1",
	 .port = 8001,
	 .client = {.space = SPACE},
	 .class = AGENT},
	{"not only a part",
	 {{"10.9.0.0", 112}},
	 .rules = {{.space = SPACE, .port = 8001}},
	 .rule_count = 1,
	 .from = "10.9.0.1",
	 .port = 8000,
	 .client = {.space = SPACE},
	 .class = INTERACTIVE},
	{"a hint lowers", .hint = 1 + BATCH, .class = BATCH},
	{"a hint moves to a class of the same priority", .hint = 1 + AGENT, .class = AGENT},
	{"a hint does not raise what a rule says", .rules = {{.port = 1}, {.port = 8000}},
	 .rule_count = 2, .port = 8000, .hint = 1 + INTERACTIVE, .class = BATCH},
	{"unless all hints are trusted", .rules = {{.port = 1}, {.port = 8000}}, .rule_count = 2,
	 .port = 8000, .hint = 1 + INTERACTIVE, .trusted = 1, .class = INTERACTIVE},
	{"or those of whom the rule names",
	 .rules = {{.port = 1}, {.port = 8000, .flags = PINTLE_RULE_TRUSTED}}, .rule_count = 2,
	 .port = 8000, .hint = 1 + AGENT, .class = AGENT},
	{"a rule that does not match trusts nobody",
	 .rules = {{.port = 1, .flags = PINTLE_RULE_TRUSTED}, {.port = 8000}}, .rule_count = 2,
	 .port = 8000, .hint = 1 + AGENT, .class = BATCH},
	{"a hint of a class that there is not says nothing", .hint = 1 + CLASSES,
	 .class = INTERACTIVE},
	{"DSCP lowers", .rules = {{.port = 1}, {.dscp = 9}}, .rule_count = 2, .client = {.dscp = 9},
	 .class = BATCH},
	{"another DSCP", .rules = {{.port = 1}, {.dscp = 9}}, .rule_count = 2,
	 .client = {.dscp = 10}, .class = INTERACTIVE},
	{"DSCP 0 is not an unknown one", .rules = {{.dscp = 1}}, .rule_count = 1,
	 .class = INTERACTIVE},
	{"DSCP does not raise", .rules = {{.dscp = 9}, {.port = 8000}}, .rule_count = 2,
	 .port = 8000, .client = {.dscp = 9}, .class = BATCH},
	{"unless hints are trusted", .rules = {{.dscp = 9}, {.port = 8000}}, .rule_count = 2,
	 .port = 8000, .client = {.dscp = 9}, .trusted = 1, .class = AGENT},
	{"the operator's word comes before rules", .rules = {{.port = 8000}}, .rule_count = 1,
	 .port = 8000, .word = "batch", .class = BATCH},
	{"also if it raises", .rules = {{.port = 1}, {.port = 8000}}, .rule_count = 2, .port = 8000,
	 .word = "interactive", .class = INTERACTIVE},
	{"a hint may lower that", .word = "agent", .hint = 1 + BATCH, .class = BATCH},
	{"and does not raise it", .word = "batch", .hint = 1 + AGENT, .class = BATCH},
	{"the classifier's comes before the first class", .found = "batch", .class = BATCH},
	{"not where the pool does not classify", .found = "batch", .mute = 1, .class = INTERACTIVE},
	{"a rule comes before the classifier", .rules = {{.port = 8000}}, .rule_count = 1,
	 .port = 8000, .found = "batch", .class = AGENT},
	{"and the operator before both", .rules = {{.port = 8000}}, .rule_count = 1, .port = 8000,
	 .found = "batch", .word = "interactive", .class = INTERACTIVE},
	{"a hint lowers what the classifier found", .found = "agent", .hint = 1 + BATCH,
	 .class = BATCH},
	{"and does not raise it", .found = "batch", .hint = 1 + AGENT, .class = BATCH},
	{"the classifier, too, may name a class that there is not", .found = "agents",
	 .class = INTERACTIVE},
	{"a class that the pool does not have counts for nothing", .rules = {{.port = 8000}},
	 .rule_count = 1, .port = 8000, .word = "bat", .class = AGENT},
	{"a hint comes before DSCP", .rules = {{.port = 1}, {.dscp = 9}}, .rule_count = 2,
	 .client = {.dscp = 9}, .hint = 1 + AGENT, .class = AGENT},
};
/* clang-format on */

static void put_classes(uint32_t count)
{
	memcpy(w.pool.class_of, classes, sizeof(classes));
	w.pool.class_count = w.pool.classes = count;
	put_pool();
}

static void rule_is(struct pintle_class_rule *r, const struct network *of)
{
	uint8_t address[16];

	if (!of->address)
		return;
	address_of(of->address, address);
	r->flags |= PINTLE_RULE_SOURCE;
	for (unsigned int bit = 0; bit < of->bits; bit++)
		r->mask[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	for (size_t i = 0; i < sizeof(address); i++)
		r->prefix[i] = address[i] & r->mask[i];
}

/* The row's session, of which the operator may have said something; its key is the row's. */
static struct pintle_session_key session_of_row(size_t i)
{
	struct pintle_affinity_key key = {
		.pool = POOL,
		.pool_generation = POOL_GEN,
		.session = {.kind = PINTLE_KEY_MARK, .prefix_bits = 128, .id = {(uint8_t)i}},
	};
	struct pintle_session_class said = {0};

	if (rows[i].word) {
		strcpy(said.name, rows[i].word);
		put(classified, key, &said);
	}
	if (rows[i].found) {
		said = (struct pintle_session_class){0};
		strcpy(said.name, rows[i].found);
		put(sessions, key, &said);
	}
	return key.session;
}

static uint32_t class_of_row(size_t i)
{
	const struct pintle_server_cgroup cgroup = {.cgroup = CGROUP, .pattern = PATTERN};
	struct class_one *one = &w.skel->bss->class_case.of[0];
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	uint32_t yes = 1;

	put(server_cgroups, cgroup, &yes);
	w.pool.rule_count = rows[i].rule_count;
	w.pool.hints_trusted = rows[i].trusted;
	w.pool.classify = !rows[i].mute;
	for (uint8_t j = 0; j < ARRAY_SIZE(rows[i].rules); j++) {
		w.pool.rules[j] = rows[i].rules[j];
		w.pool.rules[j].class_id = 1 + j;
		rule_is(&w.pool.rules[j], &rows[i].of[j]);
	}
	put_classes(CLASSES);
	w.skel->bss->class_case.pool = (struct pintle_ref){POOL, POOL_GEN};
	w.skel->bss->class_case.count = 1;
	*one = (struct class_one){
		.client = rows[i].client, .port = rows[i].port, .asked = rows[i].hint};
	one->session = session_of_row(i);
	if (rows[i].from)
		address_of(rows[i].from, one->client.address);
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(w.skel->progs.pintle_class), &opts),
			 0);
	return one->class_id;
}

static void test_rules_and_hints(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t class = class_of_row(i);

		if (class != rows[i].class)
			fail_msg("%s: class %u", rows[i].says, class);
	}
}

static void test_thirty_two_rules(void **state)
{
	struct class_one *one = &w.skel->bss->class_case.of[0];
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	(void)state;
	put_classes(CLASSES);
	w.pool.rule_count = PINTLE_MAX_RULES;
	for (uint32_t i = 0; i < PINTLE_MAX_RULES; i++)
		w.pool.rules[i] = (struct pintle_class_rule){
			.port = (uint16_t)(9000 + i),
			.class_id = i == PINTLE_MAX_RULES - 1 ? BATCH : AGENT};
	put_pool();
	w.skel->bss->class_case.pool = (struct pintle_ref){POOL, POOL_GEN};
	w.skel->bss->class_case.count = 1;
	*one = (struct class_one){.port = 9000 + PINTLE_MAX_RULES - 1};
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(w.skel->progs.pintle_class), &opts),
			 0);
	assert_int_equal(one->class_id, BATCH);
}

/* ---- the lookup hook -------------------------------------------------------------------- */

/* Batch jobs come from 10.9.0.0/16. */
static void batch_has_limit(double requests, enum pintle_admission admission)
{
	w.pool.rules[0] = (struct pintle_class_rule){.class_id = BATCH};
	rule_is(&w.pool.rules[0], &(struct network){"10.9.0.0", 112});
	w.pool.rule_count = 1;
	put_classes(CLASSES);
	w.pool.class_of[BATCH].limit = (uint32_t)(requests * 1000);
	w.pool.class_of[BATCH].admission = admission;
	put_pool();
}

static void test_counted_by_class(void **state)
{
	struct pintle_inflight n;
	struct seen seen;

	(void)state;
	make_endpoints(1);
	batch_has_limit(0, PINTLE_ADMISSION_PROCEED);
	seen = visit("10.9.0.1");
	assert_went(seen, 0, LEAST_LOADED);
	assert_int_equal(seen.decision.class_id, BATCH);
	assert_int_equal(visit("10.8.0.1").decision.class_id, INTERACTIVE);
	assert_int_equal(bpf_map_lookup_elem(map_fd(inflight), &(uint32_t){0}, &n), 0);
	assert_int_equal(n.by_class[BATCH].placed, 1);
	assert_int_equal(n.by_class[INTERACTIVE].placed, 1);
}

static void test_a_full_pool_refuses_the_class_alone(void **state)
{
	struct seen seen;

	(void)state;
	make_endpoints(2);
	put_load(0, 3);
	put_load(1, 4);
	batch_has_limit(3.5, PINTLE_ADMISSION_REFUSE);
	assert_went(visit("10.9.0.1"), 0, LEAST_LOADED); /* and now both are full */
	seen = visit("10.9.0.2");
	assert_int_equal(seen.verdict, SK_DROP);
	assert_int_equal(seen.cookie, 0);
	assert_int_equal(seen.decision.outcome, PINTLE_OUTCOME_REFUSED);
	assert_int_equal(seen.decision.class_id, BATCH);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_REFUSED), 1);
	put_load(0, 2); /* 3 with the first connection */
	assert_went_to(visit("10.8.0.1"), 0);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_REFUSED), 1);
	put_load(1, 1);
	assert_went(visit("10.9.0.2"), 1, LEAST_LOADED);
}

/* In a large pool only a few endpoints are compared. A class that finds no room at these is not
 * refused while any endpoint of the pool has room. */
static void test_room_is_found_in_a_large_pool(void **state)
{
	char from[32];

	(void)state;
	make_many_endpoints(100);
	for (uint32_t e = 0; e < 100; e++)
		put_load(e, 50);
	put_load(42, 1);
	batch_has_limit(40, PINTLE_ADMISSION_REFUSE);
	for (int i = 0; i < 20; i++) {
		snprintf(from, sizeof(from), "10.9.0.%d", 1 + i);
		assert_went(visit(from), 42, LEAST_LOADED);
	}
	put_load(42, 40);
	assert_int_equal(visit("10.9.0.1").verdict, SK_DROP);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_REFUSED), 1);
}

static void test_a_segment_sent_again_is_decided_again(void **state)
{
	const struct segment s = {.from = "10.9.0.1", .port = 5000};

	(void)state;
	make_endpoints(1);
	put_load(0, 3);
	batch_has_limit(3, PINTLE_ADMISSION_REFUSE);
	assert_int_equal(look_up(s).verdict, SK_DROP);
	put_load(0, 2);
	assert_went(look_up(s), 0, LEAST_LOADED);
	assert_int_equal(counters_of(0).failed, 0);
}

static void test_fail_open_does_not_let_it_in(void **state)
{
	(void)state;
	make_endpoints(1);
	put_load(0, 3);
	w.pool.failure_mode = PINTLE_FAIL_OPEN;
	batch_has_limit(3, PINTLE_ADMISSION_REFUSE);
	assert_int_equal(visit("10.9.0.1").verdict, SK_DROP);
	/* Where nothing is ready, the limit says nothing, and the failure mode decides. */
	make_unready(0);
	assert_went(visit("10.9.0.1"), 0, NO_ENDPOINT);
}

static void test_proceed_refuses_nobody(void **state)
{
	(void)state;
	make_endpoints(1);
	put_load(0, 100);
	batch_has_limit(1, PINTLE_ADMISSION_PROCEED);
	assert_went(visit("10.9.0.1"), 0, LEAST_LOADED);
}

static void test_shadow_refuses_nobody(void **state)
{
	(void)state;
	make_endpoints(1);
	put_load(0, 100);
	w.pool.mode = PINTLE_MODE_SHADOW;
	batch_has_limit(1, PINTLE_ADMISSION_REFUSE);
	assert_went(visit("10.9.0.1"), 0, RANDOM);
	assert_int_equal(shadow_outcomes(POOL, PINTLE_OUTCOME_REFUSED), 1);
}

static void test_a_session_leaves_a_full_endpoint(void **state)
{
	struct pintle_affinity a = {.endpoint = 0, .generation = GEN(0), .used_ns = w.now};
	struct pintle_affinity_key key = {
		.pool = POOL,
		.pool_generation = POOL_GEN,
		.session = {.kind = PINTLE_KEY_SOURCE, .prefix_bits = 128},
	};

	(void)state;
	make_endpoints(2);
	put_load(0, 3);
	put_load(1, 2);
	batch_has_limit(3, PINTLE_ADMISSION_REFUSE);
	address_of("10.9.0.1", key.session.id);
	put(affinity, key, &a);
	assert_went(visit("10.9.0.1"), 1, ESCAPED);
	address_of("10.8.0.1", key.session.id);
	put(affinity, key, &a);
	assert_went(visit("10.8.0.1"), 0, STICKY);
}

/* ---- what a class shares with others ----------------------------------------------------- */

static void batch_is_bounded(struct pintle_class bounds)
{
	batch_has_limit(0, PINTLE_ADMISSION_REFUSE);
	w.pool.class_of[BATCH].flags |= PINTLE_CLASS_BOUNDED;
	w.pool.class_of[BATCH].connections = bounds.connections;
	w.pool.class_of[BATCH].pool_connections = bounds.pool_connections;
	w.pool.class_of[BATCH].limit = bounds.limit;
	put_pool();
}

/* How many of so many connections of batch are let in. */
static uint32_t let_in(uint32_t n)
{
	uint32_t in = 0;
	char from[32];

	for (uint32_t i = 0; i < n; i++) {
		snprintf(from, sizeof(from), "10.9.1.%u", 1 + i);
		in += visit(from).verdict == SK_PASS;
	}
	return in;
}

static void test_connections_at_an_endpoint(void **state)
{
	struct pintle_inflight n;

	(void)state;
	make_endpoints(3);
	put_load(0, 1);
	put_load(1, 50);
	put_load(2, 90);
	batch_is_bounded((struct pintle_class){.connections = 2});
	assert_int_equal(let_in(20), 6);
	for (uint32_t e = 0; e < 3; e++) {
		assert_int_equal(bpf_map_lookup_elem(map_fd(inflight), &e, &n), 0);
		assert_int_equal(n.by_class[BATCH].placed - n.by_class[BATCH].failed, 2);
	}
	assert_went_to(visit("10.8.0.1"), 0);
	/* One ends: another one gets its place. */
	n.by_class[BATCH].failed++;
	put(inflight, (uint32_t){2}, &n);
	assert_int_equal(let_in(5), 1);
}

static void test_connections_in_the_pool(void **state)
{
	(void)state;
	make_many_endpoints(100);
	batch_is_bounded((struct pintle_class){.pool_connections = 7});
	assert_int_equal(let_in(20), 7);
	assert_int_equal(outcomes(POOL, PINTLE_OUTCOME_REFUSED), 13);
	assert_int_equal(visit("10.8.0.1").verdict, SK_PASS);
}

/* Corrections of the counts may leave more ended than began: no place is lost by that. */
static void test_counts_below_zero_leave_all_places(void **state)
{
	struct pintle_inflight n = {.by_class = {[BATCH] = {.closed = 5}}};

	(void)state;
	make_endpoints(1);
	put(inflight, (uint32_t){0}, &n);
	batch_is_bounded((struct pintle_class){.connections = 1, .pool_connections = 1});
	assert_int_equal(visit("10.9.0.1").verdict, SK_PASS);
}

static void test_reserved_endpoints(void **state)
{
	struct pintle_health h;

	(void)state;
	make_endpoints(2);
	put_load(0, 1);
	put_load(1, 80);
	batch_is_bounded((struct pintle_class){0});
	assert_int_equal(bpf_map_lookup_elem(map_fd(health), &(uint32_t){0}, &h), 0);
	h.closed_classes = 1U << BATCH;
	put(health, (uint32_t){0}, &h);
	assert_went_to(visit("10.9.0.1"), 1);
	assert_went_to(visit("10.8.0.1"), 0);
}

/* Batch's load goes up and down by one request around the limit of 8, as where one request ends and
 * another one takes its place. How often does the answer change? */
static uint32_t changes(bool marks)
{
	const struct pintle_inflight none = {0};
	uint32_t n = 0;
	bool in = true;

	batch_is_bounded((struct pintle_class){.limit = 8000});
	if (!marks)
		w.pool.class_of[BATCH].flags &= ~PINTLE_CLASS_BOUNDED;
	put_pool();
	for (uint32_t i = 0; i < 100; i++) {
		struct seen seen;

		put(inflight, (uint32_t){0}, &none);
		put_load(0, 8 - (i & 1) * 0.9);
		seen = visit("10.9.0.1");
		n += in != (seen.verdict == SK_PASS);
		in = seen.verdict == SK_PASS;
	}
	return n;
}

static void test_no_flapping_at_the_limit(void **state)
{
	struct pintle_health h;

	(void)state;
	make_endpoints(1);
	assert_int_equal(changes(true), 1);
	assert_int_equal(bpf_map_lookup_elem(map_fd(health), &(uint32_t){0}, &h), 0);
	assert_int_equal(h.full_classes, 1U << BATCH);
	put_load(0, 6.9);
	assert_int_equal(visit("10.9.0.1").verdict, SK_PASS);
	assert_int_equal(bpf_map_lookup_elem(map_fd(health), &(uint32_t){0}, &h), 0);
	assert_int_equal(h.full_classes, 0);
	/* Without the mark, each answer is the opposite of the one before. */
	assert_int_equal(changes(false), 100);
}

/* What the rule would do leaves no mark. */
static void test_shadow_marks_nothing(void **state)
{
	struct pintle_health h;

	(void)state;
	make_endpoints(1);
	put_load(0, 9);
	w.pool.mode = PINTLE_MODE_SHADOW;
	batch_is_bounded((struct pintle_class){.limit = 8000});
	assert_int_equal(visit("10.9.0.1").verdict, SK_PASS);
	assert_int_equal(bpf_map_lookup_elem(map_fd(health), &(uint32_t){0}, &h), 0);
	assert_int_equal(h.full_classes, 0);
}

/* ---- shares ---------------------------------------------------------------------------------- */

/* Batch has 20 places, of which `taken` are. The session of 10.9.0.1 has `open` connections, and
 * shares with `others` more. */
static void batch_shares(uint32_t taken, uint32_t open, uint32_t others)
{
	struct pintle_inflight n = {.by_class = {[BATCH] = {.placed = taken, .opened = taken}}};
	struct pintle_affinity a = {.endpoint = 0,
				    .generation = GEN(0),
				    .used_ns = w.now,
				    .open = open,
				    .sharing = 1 + BATCH};
	struct pintle_bindings b = {.sharing = {[BATCH] = 1 + others}};
	struct pintle_affinity_key key = {
		.pool = POOL,
		.pool_generation = POOL_GEN,
		.session = {.kind = PINTLE_KEY_SOURCE, .prefix_bits = 128},
	};

	batch_is_bounded((struct pintle_class){.pool_connections = 20});
	w.pool.class_of[BATCH].places = 20;
	put_pool();
	put(inflight, (uint32_t){0}, &n);
	put(bindings, (uint32_t){POOL}, &b);
	address_of("10.9.0.1", key.session.id);
	put(affinity, key, &a);
}

static bool is_let_in(const char *from)
{
	return visit(from).verdict == SK_PASS;
}

/* An eighth of the places is left for sessions that have no more than their share. */
static void test_who_is_over_its_share_is_told_no_first(void **state)
{
	(void)state;
	make_endpoints(1);
	batch_shares(17, 16, 1);
	assert_true(is_let_in("10.9.0.1"));
	batch_shares(18, 16, 1);
	assert_false(is_let_in("10.9.0.1"));
	assert_true(is_let_in("10.9.0.2"));
	batch_shares(19, 16, 1);
	assert_true(is_let_in("10.9.0.2"));
	batch_shares(20, 16, 1);
	assert_false(is_let_in("10.9.0.2"));
	/* Its share, and no more: it may have what is left. */
	batch_shares(18, 10, 1);
	assert_true(is_let_in("10.9.0.1"));
	/* Nobody to share with. */
	batch_shares(19, 19, 0);
	assert_true(is_let_in("10.9.0.1"));
}

static uint64_t retries(void)
{
	struct pintle_bindings n;

	assert_int_equal(bpf_map_lookup_elem(map_fd(bindings), &(uint32_t){POOL}, &n), 0);
	return n.retry_suspected;
}

/* As if it had been told no so long ago that it may come back. */
static void pause_made(const char *from)
{
	struct pintle_affinity_key key = {
		.pool = POOL,
		.pool_generation = POOL_GEN,
		.session = {.kind = PINTLE_KEY_SOURCE, .prefix_bits = 128},
	};
	struct pintle_refusal r;

	address_of(from, key.session.id);
	assert_int_equal(bpf_map_lookup_elem(map_fd(refusals), &key, &r), 0);
	r.told_ns -= PINTLE_RETRY_NS;
	put(refusals, key, &r);
}

/* A session that comes back at once again and again gets its share, and no more, until it makes a
 * pause; also where there is room. */
static void test_who_comes_back_at_once_gets_its_share(void **state)
{
	(void)state;
	make_endpoints(1);
	for (int i = 0; i < 3; i++) {
		batch_shares(20, 10, 1);
		assert_false(is_let_in("10.9.0.1"));
	}
	assert_int_equal(retries(), 0);
	batch_shares(2, 10, 1);
	assert_true(is_let_in("10.9.0.1")); /* twice is not yet again and again */
	batch_shares(20, 10, 1);
	assert_false(is_let_in("10.9.0.1"));
	assert_int_equal(retries(), 1);
	batch_shares(2, 10, 1);
	assert_false(is_let_in("10.9.0.1"));
	assert_true(is_let_in("10.9.0.2"));
	batch_shares(2, 9, 1);
	assert_true(is_let_in("10.9.0.1"));
	batch_shares(2, 10, 1);
	pause_made("10.9.0.1");
	assert_true(is_let_in("10.9.0.1"));
}

static void test_a_class_may_have_its_own_extra(void **state)
{
	struct pintle_affinity a = {.endpoint = 0, .generation = GEN(0), .used_ns = w.now};
	struct pintle_affinity_key key = {
		.pool = POOL,
		.pool_generation = POOL_GEN,
		.session = {.kind = PINTLE_KEY_SOURCE, .prefix_bits = 128},
	};

	(void)state;
	make_endpoints(2);
	put_load(0, 3);
	put_load(1, 1);
	batch_has_limit(0, PINTLE_ADMISSION_PROCEED);
	w.pool.class_of[BATCH].flags = PINTLE_CLASS_EXTRA;
	w.pool.class_of[BATCH].max_extra_load = 1000;
	put_pool();
	address_of("10.9.0.1", key.session.id);
	put(affinity, key, &a);
	assert_went(visit("10.9.0.1"), 1, ESCAPED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		world_test(test_rules_and_hints),
		world_test(test_thirty_two_rules),
		world_test(test_counted_by_class),
		world_test(test_a_full_pool_refuses_the_class_alone),
		world_test(test_room_is_found_in_a_large_pool),
		world_test(test_a_segment_sent_again_is_decided_again),
		world_test(test_fail_open_does_not_let_it_in),
		world_test(test_proceed_refuses_nobody),
		world_test(test_shadow_refuses_nobody),
		world_test(test_a_session_leaves_a_full_endpoint),
		world_test(test_a_class_may_have_its_own_extra),
		world_test(test_connections_at_an_endpoint),
		world_test(test_connections_in_the_pool),
		world_test(test_counts_below_zero_leave_all_places),
		world_test(test_reserved_endpoints),
		world_test(test_no_flapping_at_the_limit),
		world_test(test_shadow_marks_nothing),
		world_test(test_who_is_over_its_share_is_told_no_first),
		world_test(test_who_comes_back_at_once_gets_its_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
