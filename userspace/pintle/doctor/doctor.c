/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.c - checks everything that Pintle needs of a machine, and says what helps. */
#include "doctor.h"

#include <assert.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "../../base/log.h"
#include "../../base/text.h"
#include "../../net/netns.h"
#include "../output.h"

static const struct check {
	const char *name;
	doctor_fn run;
} checks[] = {
	{"kernel", doctor_kernel},         {"btf", doctor_btf},
	{"lockdown", doctor_lockdown},     {"capabilities", doctor_capabilities},
	{"programs", doctor_programs},     {"maps", doctor_maps},
	{"helpers", doctor_helpers},       {"link", doctor_link},
	{"connect", doctor_connect_link},  {"bpffs", doctor_bpffs},
	{"cgroup2", doctor_cgroup},        {"sysctl", doctor_sysctls},
	{"daemon", doctor_daemon},         {"hooks", doctor_attached},
	{"sk_lookup", doctor_lookup_hook}, {"sockops", doctor_sockops_hook},
	{"connect", doctor_connect_hook},  {"mptcp", doctor_mptcp},
	{"oneshot", doctor_oneshot},       {"names", doctor_names},
	{"hand-off", doctor_hand},         {"questions", doctor_questions},
};

static const struct {
	const char *json, *text;
	enum tone tone;
} verdicts[] = {
	[VERDICT_OK] = {"ok", "ok", TONE_GOOD},
	[VERDICT_WARN] = {"warn", "warn", TONE_WARN},
	[VERDICT_FAIL] = {"fail", "FAIL", TONE_BAD},
};

/* ---- findings -------------------------------------------------------------------- */

void doctor_say(struct doctor *d, enum verdict verdict, const char *cure, const char *fmt, ...)
{
	struct finding f = {.check = d->check, .verdict = verdict};
	struct finding *more;
	va_list ap;

	assert((verdict == VERDICT_OK) == !cure);
	va_start(ap, fmt);
	f.said = text_vformat(fmt, ap);
	va_end(ap);
	f.cure = cure ? strdup(cure) : NULL;
	more = realloc(d->findings, (d->count + 1) * sizeof(*more));
	if (more)
		d->findings = more;
	if (!more || !f.said || (cure && !f.cure)) {
		free(f.said);
		free(f.cure);
		d->out_of_memory = true;
		return;
	}
	d->findings[d->count++] = f;
}

static void doctor_free(struct doctor *d)
{
	for (size_t i = 0; i < d->count; i++) {
		free(d->findings[i].said);
		free(d->findings[i].cure);
	}
	free(d->findings);
	state_free(d->s);
	maps_close(d->m);
	if (d->netns >= 0)
		close(d->netns);
}

/* ---- output ---------------------------------------------------------------------- */

#define GET(name)    GETTER(name, const struct finding *f, const void *arg)
#define COLUMN(name) .get = get_##name

GET(check)
{
	return value_text(f->check);
}

GET(result)
{
	return value_text(verdicts[f->verdict].json);
}

GET(found)
{
	return value_text(f->said);
}

GET(cure)
{
	return f->cure ? value_text(f->cure) : value_none();
}

static const struct column columns[] = {
	{.key = "check", COLUMN(check), .help = "text: what was looked at; may appear again"},
	{.key = "result", COLUMN(result), .help = "text: ok, warn, fail"},
	{.key = "found", COLUMN(found), .help = "text: what was found"},
	{.key = "cure", COLUMN(cure), .help = "text: what helps, or null"},
};
static const struct columns doctor_columns = COLUMNS(columns);

static void doctor_print_text(const struct doctor *d)
{
	for (size_t i = 0; i < d->count; i++) {
		const struct finding *f = &d->findings[i];
		enum tone tone = verdicts[f->verdict].tone;

		printf("%s%-4s%s  %-12s  %s%s%s\n", tone_begin(d->cli, tone),
		       verdicts[f->verdict].text, tone_end(d->cli, tone), f->check, f->said,
		       f->cure ? "; " : "", f->cure ? f->cure : "");
	}
}

/* ---- the whole ------------------------------------------------------------------- */

/* The inode of the initial user namespace has this number in every kernel (PROC_USER_INIT_INO). */
#define FIRST_USERNS 0xEFFFFFFDU

static bool in_user_namespace(void)
{
	struct stat st;

	return !stat("/proc/self/ns/user", &st) && st.st_ino != FIRST_USERNS;
}

/* Reads what is pinned, if anything is: some checks can say more with it. */
static void doctor_begin(struct doctor *d)
{
	d->userns = in_user_namespace();
	d->privileged = doctor_may_load();
	d->for_privilege = d->userns        ? "run it outside of this user namespace"
			   : geteuid() != 0 ? "run it as root"
					    : "run it with CAP_BPF and CAP_NET_ADMIN";
	if (!maps_open(d->cli->bpffs, MAPS_READ, &d->m) && state_read(d->m, &d->s))
		d->s = NULL;
	d->netns = d->s ? open_steered_netns(d->s) : netns_open("/proc/self/ns/net");
}

static int run_doctor(struct cli *cli)
{
	_cleanup_(doctor_free) struct doctor d = {.cli = cli, .netns = -1};
	enum verdict worst = VERDICT_OK;
	int status;

	doctor_begin(&d);
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		d.check = checks[i].name;
		checks[i].run(&d);
	}
	if (d.out_of_memory) {
		log_error("out of memory");
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < d.count; i++)
		worst = MAX(worst, d.findings[i].verdict);
	if (cli->json) {
		status = output_rows(cli, &doctor_columns, d.findings, d.count, sizeof(*d.findings),
				     NULL, NULL);
	} else {
		doctor_print_text(&d);
		status = output_finish();
	}
	return status || worst == VERDICT_FAIL ? EXIT_FAILED : EXIT_OK;
}

const struct command command_doctor = {
	.name = "doctor",
	.kind = VERB,
	.arguments = "",
	.summary = "look for what keeps Pintle from working on this machine",
	.help = "Prints a line for each check: ok, warn or FAIL, what was found, and the cure. Exit\n"
		"status 1 if a check fails. Changes nothing. As root it sees most.",
	.run = run_doctor,
	.columns = &doctor_columns,
	.options = OPTIONS_NOUN,
};
