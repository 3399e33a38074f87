/* SPDX-License-Identifier: Apache-2.0 */
/* commands.c - the table of nouns and verbs. */
#include "cli.h"

#include "../base/log.h"

#define MAPS      OPTION_BPFFS
#define NOUN_MAPS (OPTION_BPFFS | OPTION_OUTPUT)

const struct command commands[] = {
	{
		.name = "status",
		.kind = NOUN,
		.arguments = "",
		.summary = "attached where, since when, the daemon, the pools, what was set",
		.help = "Exit status 1 when nothing is pinned under the directory. A daemon that does\n"
			"not run is told, and is no failure: the kernel goes on steering.",
		.run = run_status,
		.columns = &status_columns,
		.options = NOUN_MAPS,
	},
	{
		.name = "pools",
		.kind = NOUN,
		.arguments = "",
		.summary = "each pool with its mode, frontends and policy",
		.run = run_pools,
		.columns = &pools_columns,
		.options = NOUN_MAPS,
	},
	{
		.name = "endpoints",
		.kind = NOUN,
		.arguments = "[--pool POOL]",
		.summary = "each endpoint with its state, signals, load and connections",
		.help = "IN-FLIGHT counts steered connections; DIRECT the others, such as scrapes. LOAD is\n"
			"what the rule compares now, in request equivalents. On a narrow terminal columns\n"
			"are left out; -o json has them all.",
		.run = run_endpoints,
		.columns = &endpoints_columns,
		.options = NOUN_MAPS | OPTION_POOL,
	},
	{
		.name = "sessions",
		.kind = NOUN,
		.arguments = "[SESSION] [--pool POOL]",
		.summary = "which session is bound to which endpoint",
		.help = "A session is shown, and taken, by what makes it (stickiness.key): an address or a\n"
			"prefix; client:COOKIE of the client's network namespace; cgroup:NAME of a client,\n"
			"or cgroup:/PATH (cgroup:ID) of a cgroup without one; mark:0xMARK;\n"
			"destination:ADDRESS; hint:HASH. A hint's text is not kept, but hint=TEXT finds it:\n"
			"one session for each client that said so.",
		.run = run_sessions,
		.columns = &sessions_columns,
		.options = NOUN_MAPS | OPTION_POOL,
		.most = 1,
		.words = {WORD_SESSION},
	},
	{
		.name = "stats",
		.kind = NOUN,
		.arguments = "[--pool POOL]",
		.summary = "decisions per pool and outcome since the maps were made",
		.help = "And what one-shot did with the first segments of connections, in pools with one\n"
			"request per connection.",
		.run = run_stats,
		.columns = &stats_columns,
		.options = NOUN_MAPS | OPTION_POOL,
	},
	{
		.name = "events",
		.kind = NOUN,
		.arguments = "[--pool POOL]",
		.summary = "follow closed connections, rare decisions and ejections (root)",
		.help = "A line for each connection that closed, for each decision whose outcome is rare\n"
			"(escaped, stale, no_endpoint), and for each endpoint that is ejected or restored,\n"
			"until Ctrl-C. With -o json one object a line.\n"
			"Needs root, and one can follow at a time: the kernel fills a ring of its own as\n"
			"long as somebody does.",
		.run = run_events,
		.columns = &events_columns,
		.options = NOUN_MAPS | OPTION_POOL,
	},
	{
		.name = "diff",
		.kind = NOUN,
		.arguments = "[POOL]",
		.summary = "what runs otherwise than the file says",
		.help = "A row for each key that is set (`pintle set`, `pintle mode`) and each endpoint that\n"
			"is drained. Exit status 0 when nothing differs; 1 when something does, also when\n"
			"the file was changed after pintled read it; 2 when that cannot be told. Whoever may\n"
			"not read the file sees its values as pintled read them last.",
		.run = run_diff,
		.columns = &diff_columns,
		.options = NOUN_MAPS,
		.most = 1,
		.words = {WORD_POOL},
	},
	{
		.name = "version",
		.kind = NOUN,
		.arguments = "",
		.summary = "versions of this program, the maps' layout, the daemon and the kernel",
		.run = run_version,
		.columns = &version_columns,
		.options = NOUN_MAPS,
	},
	{
		.name = "mode",
		.kind = VERB,
		.arguments = "POOL enforce|baseline|off",
		.summary = "set what holds for a pool's new connections",
		.help = "enforce: the rule; baseline: at random over the ready endpoints; off: left to the\n"
			"kernel's own lookup. Holds until it is set again or `pintle reset`, over reload\n"
			"and restart. Setting what the file says takes the override back.",
		.run = run_mode,
		.options = MAPS,
		.least = 2,
		.most = 2,
		.words = {WORD_POOL, WORD_MODE},
	},
	{
		.name = "enable",
		.kind = VERB,
		.arguments = "POOL",
		.summary = "the same as mode POOL enforce",
		.run = run_enable,
		.options = MAPS,
		.least = 1,
		.most = 1,
		.words = {WORD_POOL},
	},
	{
		.name = "disable",
		.kind = VERB,
		.arguments = "POOL",
		.summary = "the same as mode POOL off",
		.run = run_disable,
		.options = MAPS,
		.least = 1,
		.most = 1,
		.words = {WORD_POOL},
	},
	{
		.name = "set",
		.kind = VERB,
		.arguments = "POOL KEY=VALUE",
		.summary = "set a key of a pool while it runs",
		.help = "KEY and VALUE as in the configuration file, which has the units, too. A value that the\n"
			"file's check refuses, by itself or with the other keys, is refused. mode and\n"
			"requests hold at once, also without pintled; the others once it has taken them up,\n"
			"which is waited for. Holds until it is set again or `pintle reset`, over reload and\n"
			"restart. Setting what the file says takes it back.",
		.more = help_settings,
		.run = run_set,
		.options = MAPS,
		.least = 2,
		.most = 2,
		.words = {WORD_POOL, WORD_SETTING},
	},
	{
		.name = "drain",
		.kind = VERB,
		.arguments = "ENDPOINT",
		.summary = "send no further connection to an endpoint",
		.help = "Open connections go on; bound sessions move at their next connection. ENDPOINT is\n"
			"POOL/NAME, or NAME where that is unambiguous.",
		.run = run_drain,
		.options = MAPS,
		.least = 1,
		.most = 1,
		.words = {WORD_ENDPOINT},
	},
	{
		.name = "undrain",
		.kind = VERB,
		.arguments = "ENDPOINT",
		.summary = "take back a drain",
		.run = run_undrain,
		.options = MAPS,
		.least = 1,
		.most = 1,
		.words = {WORD_ENDPOINT},
	},
	{
		.name = "unbind",
		.kind = VERB,
		.arguments = "[SESSION] [--pool POOL]",
		.summary = "forget to which endpoint a session is bound",
		.help = "SESSION is what `pintle sessions` shows or takes, or an address in it. With --pool\n"
			"alone, all sessions of that pool. The next connection is decided afresh.",
		.run = run_unbind,
		.options = MAPS | OPTION_POOL,
		.most = 1,
		.words = {WORD_SESSION},
	},
	{
		.name = "reset",
		.kind = VERB,
		.arguments = "[POOL [KEY]]",
		.summary = "take back what mode, set and drain changed",
		.help = "All of it; what belongs to one pool; or one key of it. Then what the file says holds.\n"
			"One key stays where others that are set need it, which is told.",
		.run = run_reset,
		.options = MAPS,
		.most = 2,
		.words = {WORD_POOL, WORD_KEY},
	},
	{
		.name = "reload",
		.kind = VERB,
		.arguments = "",
		.summary = "have pintled read its configuration again, and say what came of it",
		.help = "As SIGHUP and `systemctl reload pintled` do, which do not wait. Exit status 0 when the\n"
			"file was taken; 1 when it was not, with the first error: then what ran before goes\n"
			"on; also 1 when pintled does not run. What was set still holds.",
		.run = run_reload,
		.options = MAPS,
	},
	{
		.name = "check",
		.kind = VERB,
		.arguments = "FILE",
		.summary = "validate a configuration file without touching anything",
		.help = "Errors and warnings go to stderr as FILE:LINE:COLUMN: what is wrong; what would\n"
			"be right. Exit status 0 when it would load, even with warnings; 2 when not.",
		.run = run_check,
		.least = 1,
		.most = 1,
		.words = {WORD_FILE},
	},
	{
		.name = "doctor",
		.kind = VERB,
		.arguments = "",
		.summary = "look for what keeps Pintle from working on this machine",
		.help = "A line for each thing: ok, warn or FAIL, what was found, and the cure. Exit\n"
			"status 1 when something fails. It changes nothing; as root it sees most.",
		.run = run_doctor,
		.columns = &doctor_columns,
		.options = NOUN_MAPS,
	},
	{
		.name = "help",
		.kind = VERB,
		.arguments = "[COMMAND]",
		.summary = "list the commands, or say what one takes and prints",
		.help = "The same as --help, and as COMMAND --help.",
		.run = run_help,
		.most = 1,
		.words = {WORD_COMMAND},
	},
	{
		.name = "completion",
		.kind = VERB,
		.arguments = "bash",
		.summary = "print a completion script for a shell",
		.help = "For this shell alone: source <(pintle completion bash)",
		.run = run_completion,
		.least = 1,
		.most = 1,
		.words = {WORD_SHELL},
	},
};
const size_t command_count = ARRAY_SIZE(commands);

const struct command *command_find(const char *name)
{
	struct nearest_word n = {.word = name};

	for (size_t i = 0; i < command_count; i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
		nearest_word_try(&n, commands[i].name);
	}
	if (n.best)
		log_error("no command '%s'; did you mean %s?", name, n.best);
	else
		log_error("no command '%s'; pintle --help lists them: status, pools, "
			  "endpoints, ...",
			  name);
	return NULL;
}
