/* SPDX-License-Identifier: Apache-2.0 */
/* verb_ab.c - an A/B test of a pool: starts it, ends it, and shows what it measured. */
#include <bpf/bpf.h>
#include <math.h>
#include <sys/random.h>

#include "../../base/log.h"
#include "../../maps/names.h"
#include "../../policy/trial.h"
#include "../cli.h"
#include "../output.h"
#include "rule/trial.bpf.h"

#define DEFAULT_WASHOUT_NS (30 * NSEC_PER_SEC)
#define DEFAULT_BLOCKS     24
/* pintled looks twice a second: with less, it would come too late. */
#define LEAST_WASHOUT_NS NSEC_PER_SEC
/* So that at most a quarter of the time is left out. */
#define LEAST_PERIOD 4 /* washouts */
#define ANSWER_NS    (5 * NSEC_PER_SEC)

struct test {
	const struct cli *cli;
	const struct maps *m;
	const struct state *s;
	const struct state_pool *p;
	bool has_result;
	struct pintle_trial_result result;
	struct trial_figure figures[TRIAL_FIGURE_COUNT];
};

/* ---- figures ------------------------------------------------------------------------ */

struct row {
	uint32_t id; /* enum trial_figure_id */
	const struct trial_figure *f;
};

#define GET(name) GETTER(name, const struct row *r, const struct test *t)

static struct value amount(const struct row *r, double n)
{
	enum value_kind kind = trial_figure_is_share(r->id) ? VALUE_SHARE
			       : r->id == TRIAL_MEAN        ? VALUE_WAIT
							    : VALUE_QUANTILE;

	return value_number(kind, n, r->f->pairs);
}

GET(figure)
{
	return value_text(trial_figure_name(r->id));
}

GET(baseline)
{
	return amount(r, r->f->baseline);
}

GET(enforce)
{
	return amount(r, r->f->enforce);
}

GET(change)
{
	return value_number(VALUE_NUMBER, r->f->change, r->f->pairs);
}

GET(low)
{
	return value_number(VALUE_NUMBER, r->f->low, r->f->pairs >= TRIAL_LEAST_PAIRS);
}

GET(high)
{
	return value_number(VALUE_NUMBER, r->f->high, r->f->pairs >= TRIAL_LEAST_PAIRS);
}

GET(pairs)
{
	return value_count(r->f->pairs);
}

/* "-56.1 %"; of shares, which are percentages themselves, "-0.3 points". */
static void change_print(const struct row *r, double change, char *to, size_t size)
{
	snprintf(to, size, "%+.1f%s", 100 * change, trial_figure_is_share(r->id) ? " pt" : " %");
}

GET(change_text)
{
	struct value v = {.kind = VALUE_TEXT};

	if (!r->f->pairs)
		return value_none();
	change_print(r, r->f->change, v.text, sizeof(v.text));
	return v;
}

GET(interval)
{
	struct value v = {.kind = VALUE_TEXT};
	char low[64], high[64];

	if (r->f->pairs < TRIAL_LEAST_PAIRS)
		return value_none();
	change_print(r, r->f->low, low, sizeof(low));
	change_print(r, r->f->high, high, sizeof(high));
	snprintf(v.text, sizeof(v.text), "%s to %s", low, high);
	return v;
}

GET(verdict)
{
	static const enum tone tones[] = {
		[TRIAL_VERDICT_TOO_FEW] = TONE_FAINT,
		[TRIAL_VERDICT_NO_DIFFERENCE] = TONE_PLAIN,
		[TRIAL_VERDICT_BETTER] = TONE_GOOD,
		[TRIAL_VERDICT_WORSE] = TONE_BAD,
	};
	struct value v = value_text(trial_verdict_name(r->f->verdict));

	v.tone = tones[r->f->verdict];
	return v;
}

#define COLUMN(name) .get = get_##name

static const struct column columns[] = {
	{.key = "figure",
	 .heading = "FIGURE",
	 COLUMN(figure),
	 .help = "text: ttft_mean, ttft_p50, ttft_p95 (time to first token); failed, told_no, kept "
		 "(shares of the decisions)"},
	{.key = "baseline",
	 .heading = "BASELINE",
	 .right = true,
	 COLUMN(baseline),
	 .help = "seconds, or 0..1: mean of the blocks in mode baseline, of times the geometric "
		 "one; null: no pair has enough answers"},
	{.key = "enforce",
	 .heading = "ENFORCE",
	 .right = true,
	 COLUMN(enforce),
	 .help = "the same in mode enforce"},
	{.heading = "CHANGE", .right = true, COLUMN(change_text)},
	{.key = "change",
	 COLUMN(change),
	 .help = "of enforce against baseline: of times relative, -0.5 is half the time; of shares "
		 "the difference"},
	{.heading = "95 % INTERVAL", .right = true, COLUMN(interval)},
	{.key = "low",
	 COLUMN(low),
	 .help = "the change lies between low and high, with 95 % confidence; null: fewer than 6 "
		 "pairs"},
	{.key = "high", COLUMN(high), .help = "see low"},
	{.key = "pairs",
	 .heading = "PAIRS",
	 .right = true,
	 COLUMN(pairs),
	 .help = "pairs of blocks that have at least 20 answers, or decisions, each"},
	{.key = "verdict",
	 .heading = "SAYS",
	 COLUMN(verdict),
	 .help = "text: not enough yet (fewer than 6 pairs), no difference beyond chance, better, "
		 "worse"},
};
static const struct columns ab_columns = COLUMNS(columns);

static void rows_make(const struct test *t, struct row rows[TRIAL_FIGURE_COUNT])
{
	for (uint32_t id = 0; id < TRIAL_FIGURE_COUNT; id++)
		rows[id] = (struct row){id, &t->figures[id]};
}

/* ---- blocks ------------------------------------------------------------------------- */

static const char *measured_name(const struct test *t, uint32_t state)
{
	static const char *const names[] = {
		[PINTLE_MEASURED_NOT] = "to come", [PINTLE_MEASURED_BEGUN] = "now",
		[PINTLE_MEASURED_ENDED] = "now",   [PINTLE_MEASURED_WHOLE] = "whole",
		[PINTLE_MEASURED_LOST] = "lost",
	};

	if (state == PINTLE_MEASURED_NOT && t->result.ended_ns)
		return "left out";
	return state < ARRAY_SIZE(names) ? names[state] : "?";
}

static uint32_t blocks_in(const struct test *t, uint32_t state)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < trial_block_count(&t->result.trial); i++)
		n += t->result.block[i].state == state;
	return n;
}

static cJSON *blocks_json(const struct test *t)
{
	cJSON *list = cJSON_CreateArray();

	for (uint32_t i = 0; i < trial_block_count(&t->result.trial); i++) {
		const struct pintle_measure *b = &t->result.block[i];
		bool whole = b->state == PINTLE_MEASURED_WHOLE;
		cJSON *o = cJSON_CreateObject();

		cJSON_AddStringToObject(o, "mode", mode_name(trial_mode_in(&t->result.trial, i)));
		cJSON_AddStringToObject(o, "state", measured_name(t, b->state));
		cJSON_AddItemToObject(o, "answers", json_count(whole ? b->answers : 0));
		cJSON_AddItemToObject(o, "ttft_mean", json_number(whole ? b->mean_us / 1e6 : 0));
		cJSON_AddItemToObject(o, "ttft_p50", json_number(whole ? b->p50_us / 1e6 : 0));
		cJSON_AddItemToObject(o, "ttft_p95", json_number(whole ? b->p95_us / 1e6 : 0));
		cJSON_AddItemToObject(o, "decisions", json_count(whole ? b->sums.decisions : 0));
		cJSON_AddItemToObject(o, "kept", json_count(whole ? b->sums.kept : 0));
		cJSON_AddItemToObject(o, "told_no", json_count(whole ? b->sums.told_no : 0));
		cJSON_AddItemToObject(o, "failed", json_count(whole ? b->sums.failed : 0));
		cJSON_AddItemToArray(list, o);
	}
	return list;
}

/* ---- showing ------------------------------------------------------------------------ */

static double ab_seconds(uint64_t ns)
{
	return (double)ns / (double)NSEC_PER_SEC;
}

/* Why the test is over; NULL: it runs, or its last answers are still awaited. */
static const char *end_name(const struct test *t)
{
	static const char *const names[] = {
#define X(symbol, name, says) [PINTLE_TRIAL_END_##symbol] = (name),
		PINTLE_TRIAL_ENDS(X)
#undef X
	};
	uint32_t why = t->result.ended;

	return t->p->trial_runs || !why || why >= ARRAY_SIZE(names) ? NULL : names[why];
}

static int show_json(const struct test *t)
{
	const struct pintle_trial *trial = &t->result.trial;
	uint32_t number = trial_block(trial, t->s->now_ns);
	struct row rows[TRIAL_FIGURE_COUNT];
	char when[WORDS_SIZE];
	cJSON *o = cJSON_CreateObject(), *list = cJSON_CreateArray();
	const char *ended = end_name(t);
	bool runs = t->p->trial_runs;

	rows_make(t, rows);
	for (uint32_t id = 0; id < TRIAL_FIGURE_COUNT; id++)
		cJSON_AddItemToArray(list, columns_object(&ab_columns, &rows[id], t));
	cJSON_AddStringToObject(o, "pool", t->p->name);
	cJSON_AddBoolToObject(o, "runs", runs);
	cJSON_AddStringToObject(o, "mode", mode_name(t->p->mode));
	cJSON_AddStringToObject(o, "mode_afterwards", mode_name(t->p->mode_otherwise));
	cJSON_AddStringToObject(o, "since", wall_rfc3339(trial->since_ns, when));
	cJSON_AddStringToObject(o, "until",
				wall_rfc3339(t->result.ended_ns ?: trial->until_ns, when));
	cJSON_AddItemToObject(o, "ended", ended ? cJSON_CreateString(ended) : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "period_seconds", json_number(ab_seconds(trial->period_ns)));
	cJSON_AddItemToObject(o, "washout_seconds", json_number(ab_seconds(trial->washout_ns)));
	cJSON_AddItemToObject(o, "block",
			      runs && number != TRIAL_NO_BLOCK ? json_count(number)
							       : cJSON_CreateNull());
	cJSON_AddItemToObject(o, "figures", list);
	cJSON_AddItemToObject(o, "blocks", blocks_json(t));
	return output_json(o);
}

static void print_state(const struct test *t)
{
	const struct pintle_trial *trial = &t->result.trial;
	uint32_t number = trial_block(trial, t->s->now_ns), blocks = trial_block_count(trial);
	char since[WORDS_SIZE], until[WORDS_SIZE], length[WORDS_SIZE], left[WORDS_SIZE];

	printf("%s: %s A/B test, %s to %s\n", t->p->name, t->p->trial_runs ? "an" : "the newest",
	       wall_text(trial->since_ns, since),
	       wall_text(t->result.ended_ns ?: trial->until_ns, until));
	printf("  blocks    %u of %s, the first %s of each left out\n", blocks,
	       age_text(ab_seconds(trial->period_ns), length),
	       age_text(ab_seconds(trial->washout_ns), left));
	printf("  measured  %u", blocks_in(t, PINTLE_MEASURED_WHOLE));
	if (blocks_in(t, PINTLE_MEASURED_LOST))
		printf(", lost %u: pintled was away", blocks_in(t, PINTLE_MEASURED_LOST));
	putchar('\n');
	if (!t->p->trial_runs)
		printf("  now       over (%s); mode %s\n",
		       end_name(t) ?: "pintled awaits the last answers", mode_name(t->p->mode));
	else if (t->p->daemonless)
		printf("  now       pintled is away, so mode %s holds\n", mode_name(t->p->mode));
	else if (number != TRIAL_NO_BLOCK)
		printf("  now       mode %s, block %u; afterwards %s\n", mode_name(t->p->mode),
		       number + 1, mode_name(t->p->mode_otherwise));
	putchar('\n');
}

static int show(struct test *t)
{
	struct row rows[TRIAL_FIGURE_COUNT];
	int status;

	if (!t->has_result) {
		log_error("%s has had no A/B test; `pintle ab %s --period 10m` begins one",
			  t->p->name, t->p->name);
		return EXIT_FAILED;
	}
	trial_judge(&t->result, t->figures);
	if (t->cli->json)
		return show_json(t);
	print_state(t);
	rows_make(t, rows);
	status = output_rows(t->cli, &ab_columns, rows, TRIAL_FIGURE_COUNT, sizeof(rows[0]), t,
			     NULL);
	if (status || t->figures[TRIAL_MEAN].pairs >= TRIAL_LEAST_PAIRS)
		return status;
	printf("\nIt takes %d pairs of blocks with %d answers each to tell an effect from chance.\n",
	       TRIAL_LEAST_PAIRS, TRIAL_LEAST_ANSWERS);
	return output_finish();
}

/* ---- starting ----------------------------------------------------------------------- */

/* How long the pool's connections lasted on average; 0: none ended yet. */
static double life_of(const struct test *t)
{
	double sum = 0, count = 0;

	for (size_t i = 0; i < t->p->endpoint_count; i++) {
		uint32_t id = t->s->endpoints[t->p->first_endpoint + i].id;
		struct pintle_ends ends;

		if (maps_value(t->m, MAP_ends, id, &ends))
			continue;
		sum += ab_seconds(ends.duration_ns);
		for (int k = 0; k < PINTLE_ENDING_COUNT; k++)
			count += (double)ends.count[k];
	}
	return count > 0 ? sum / count : 0;
}

/* Returns 0, or EXIT_USAGE after logging what is wrong. */
static int times_check(const struct pintle_trial *trial, uint64_t for_ns)
{
	char a[WORDS_SIZE], b[WORDS_SIZE];

	if (trial->washout_ns < LEAST_WASHOUT_NS) {
		log_error("a washout of %.1f s is too short; at least 1 s, and longer than a "
			  "request takes",
			  ab_seconds(trial->washout_ns));
		return EXIT_USAGE;
	}
	if (trial->period_ns < LEAST_PERIOD * trial->washout_ns) {
		log_error(
			"a period of %s is too short for a washout of %s; at least %d times that, "
			"or a --washout that is just longer than a request takes",
			age_text(ab_seconds(trial->period_ns), a),
			age_text(ab_seconds(trial->washout_ns), b), LEAST_PERIOD);
		return EXIT_USAGE;
	}
	if (for_ns < 2 * trial->period_ns || for_ns / trial->period_ns > PINTLE_MAX_BLOCKS) {
		log_error("--for %s is no test with a period of %s; 2 to %d periods",
			  age_text(ab_seconds(for_ns), a),
			  age_text(ab_seconds(trial->period_ns), b), PINTLE_MAX_BLOCKS);
		return EXIT_USAGE;
	}
	return 0;
}

/* Returns an exit status: 0 if a test of the pool makes sense. */
static int may_start(const struct test *t)
{
	_cleanup_free_ struct pintle_pool *pool = malloc(sizeof(*pool));
	const char *name = t->p->name;

	if (!pool || maps_value(t->m, MAP_pools, t->p->id, pool)) {
		log_error("cannot read the pool %s", name);
		return EXIT_FAILED;
	}
	if (t->p->trial_runs) {
		log_error("%s has an A/B test that runs; `pintle ab %s --stop` ends it", name,
			  name);
		return EXIT_FAILED;
	}
	if (!t->s->daemon_alive) {
		log_error("pintled does not run, and only while it does a test goes on; start it");
		return EXIT_FAILED;
	}
	if (!pool->follow) {
		log_error("%s does not follow its requests, so nobody knows how long answers take; "
			  "set follow=true",
			  name);
		return EXIT_FAILED;
	}
	if (t->p->endpoint_count < 2)
		log_warn("%s has %zu endpoint%s: both modes place alike", name,
			 t->p->endpoint_count, plural(t->p->endpoint_count));
	return 0;
}

static bool is_seen(const struct maps *m, void *arg)
{
	const struct test *t = arg;
	struct pintle_trial_result r;

	return state_trial_result(m, t->p, &r) &&
	       !memcmp(&r.trial, &t->result.trial, sizeof(r.trial)) && !r.ended_ns;
}

/* The override comes first: pintled takes a test without one for one that was stopped. */
static int trial_write(const struct test *t)
{
	struct pintle_ref key = {t->p->id, t->p->generation};
	int err;

	if (override_pool(t->m, t->p, PINTLE_OVERRIDE_TRIAL, 0, false))
		return EXIT_FAILED;
	if (!bpf_map_update_elem(t->m->fd[MAP_trials], &key, &t->result.trial, BPF_NOEXIST))
		return 0;
	err = errno;
	if (err == EEXIST) {
		log_error("%s has an A/B test that runs, or ended just now; "
			  "`pintle ab %s` shows it",
			  t->p->name, t->p->name);
		return EXIT_FAILED;
	}
	if (err == E2BIG)
		log_error("%d pools have A/B tests, and no more can have one; end one by "
			  "`pintle ab POOL --stop`",
			  PINTLE_MAX_TRIALS);
	else
		log_err_r(err, "cannot begin the test");
	return EXIT_FAILED;
}

static int start(struct test *t)
{
	const struct cli *cli = t->cli;
	struct pintle_trial *trial = &t->result.trial;
	uint64_t for_ns = cli->for_ns ?: DEFAULT_BLOCKS * cli->period_ns;
	char life[WORDS_SIZE], until[WORDS_SIZE], period[WORDS_SIZE];
	int status;

	t->result = (struct pintle_trial_result){0};
	trial->period_ns = cli->period_ns;
	trial->washout_ns = cli->washout_ns ?: DEFAULT_WASHOUT_NS;
	status = times_check(trial, for_ns) ?: may_start(t);
	if (status)
		return status;
	if (getrandom(&trial->seed, sizeof(trial->seed), 0) != sizeof(trial->seed)) {
		log_err_r(errno, "no random numbers");
		return EXIT_FAILED;
	}
	if (life_of(t) > ab_seconds(trial->washout_ns))
		log_warn("connections of %s last %s on average: after the washout, many servers "
			 "are still busy with what the other mode placed",
			 t->p->name, age_text(life_of(t), life));
	trial->since_ns = monotonic_ns();
	trial->until_ns = trial->since_ns + for_ns / trial->period_ns / 2 * 2 * trial->period_ns;
	status = trial_write(t);
	if (status)
		return status;
	if (!wait_for_daemon(t->m, true, ANSWER_NS, is_seen, t)) {
		log_error("pintled has not begun to measure; its log may say why");
		return EXIT_FAILED;
	}
	printf("%s: mode enforce and baseline by turns of %s until %s, then %s\n", t->p->name,
	       age_text(ab_seconds(trial->period_ns), period), wall_text(trial->until_ns, until),
	       mode_name(t->p->mode_otherwise));
	return output_finish();
}

/* ---- stopping ----------------------------------------------------------------------- */

static bool is_over(const struct maps *m, void *arg)
{
	struct test *t = arg;

	t->has_result = state_trial_result(m, t->p, &t->result);
	return !t->has_result || t->result.ended_ns;
}

static int ab_stop(struct test *t)
{
	if (!t->p->trial_runs) {
		printf("%s: no A/B test runs\n", t->p->name);
		return output_finish();
	}
	if (override_pool(t->m, t->p, PINTLE_OVERRIDE_TRIAL, 0, true))
		return EXIT_FAILED;
	wait_for_daemon(t->m, t->s->daemon_alive, ANSWER_NS, is_over, t);
	printf("%s: the A/B test is over; mode %s\n", t->p->name, mode_name(t->p->mode_otherwise));
	return output_finish();
}

/* ---- the verb ----------------------------------------------------------------------- */

/* Returns 0, or EXIT_USAGE after logging which options do not go together. */
static int options_check(const struct cli *cli)
{
	if (cli->stop && (cli->period_ns || cli->for_ns || cli->washout_ns))
		log_error("--stop takes no times; leave them out");
	else if (!cli->period_ns && (cli->for_ns || cli->washout_ns))
		log_error("a test needs a period; add --period 10m");
	else if (cli->json && (cli->stop || cli->period_ns))
		log_error("-o json shows a test; leave out --stop and --period");
	else
		return 0;
	return EXIT_USAGE;
}

static int run_ab(struct cli *cli)
{
	_cleanup_(state_freep) struct state *s = NULL;
	_cleanup_(maps_closep) struct maps *m = NULL;
	_cleanup_free_ struct test *t = calloc(1, sizeof(*t));
	bool writes = cli->period_ns || cli->stop;
	int status = options_check(cli);

	if (!status)
		status = open_state(cli, writes ? MAPS_WRITE : MAPS_READ, &m, &s);
	if (status)
		return status;
	if (!t) {
		log_error("out of memory");
		return EXIT_FAILED;
	}
	t->cli = cli;
	t->m = m;
	t->s = s;
	t->p = find_pool(s, cli->words[0]);
	if (!t->p)
		return EXIT_FAILED;
	if (cli->stop)
		return ab_stop(t);
	if (cli->period_ns)
		return start(t);
	t->has_result = state_trial_result(m, t->p, &t->result);
	return show(t);
}

static const struct json_key keys[] = {
	{"pool", "text: POOL"},
	{"runs", "bool: else it is the newest test, which is over"},
	{"mode", "text: that holds now"},
	{"mode_afterwards", "text: that holds when no test runs"},
	{"since, until", "text: RFC 3339 times"},
	{"ended", "text: done, stopped; null: it runs, or its last answers are awaited"},
	{"period_seconds", "length of a block"},
	{"washout_seconds", "what is left out at the beginning of each block"},
	{"block", "number of the present block, from 0; null: none"},
	{"figures", "list of the objects below"},
	{"blocks",
	 "list of {mode, state (to come, now, whole; lost: pintled was away; left out: the test "
	 "ended before), answers, ttft_mean, ttft_p50, ttft_p95, decisions, kept, told_no, "
	 "failed}, of whole blocks"},
	{0},
};

const struct command command_ab = {
	.name = "ab",
	.kind = VERB,
	.arguments = "POOL [--period TIME [--for TIME] [--washout TIME]] [--stop]",
	.summary = "compare enforce with baseline, by turns in time",
	.help = "--period begins a test: blocks of that length in mode enforce and baseline, of each\n"
		"pair in an order drawn at random. It ends after --for, with --stop, or when the mode\n"
		"is set or reset; then the former mode holds, and also while pintled is away for longer\n"
		"than saturation.staleness. Without options, ab shows what the newest test says.",
	.run = run_ab,
	.keys = keys,
	.columns = &ab_columns,
	.options = OPTIONS_NOUN | OPTION_TRIAL,
	.least = 1,
	.most = 1,
	.words = {WORD_POOL},
};
