/* SPDX-License-Identifier: Apache-2.0 */
/* commands.c - the table of nouns and verbs. */
#include "cli.h"

#include "../base/log.h"
#include "../base/text.h"

#define MAPS      OPTION_BPFFS
#define NOUN_MAPS (OPTION_BPFFS | OPTION_OUTPUT)

const struct command commands[] = {
	{
		.name = "status",
		.kind = NOUN,
		.arguments = "",
		.summary =
			"where and since when Pintle is attached, the daemon, the pools, what was set",
		.help = "Exit status 1 if nothing is pinned under the directory. A daemon that does not run\n"
			"is reported, but is no failure: the kernel keeps steering.",
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
			"what the rule compares now, in request equivalents. A narrow terminal shows\n"
			"fewer columns; -o json has all of them.",
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
			"destination:ADDRESS; hint:HASH. Pintle does not keep a hint's text, but hint=TEXT\n"
			"finds it: one session for each client that gave this hint.",
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
		.help = "Also what one-shot did with the first segments of connections, in pools with one\n"
			"request per connection.",
		.run = run_stats,
		.columns = &stats_columns,
		.options = NOUN_MAPS | OPTION_POOL,
	},
	{
		.name = "events",
		.kind = NOUN,
		.arguments = "[--pool POOL]",
		.summary = "closed connections, rare decisions and ejections, as they come (root)",
		.help = "Prints a line for each connection that closed, for each decision whose outcome is\n"
			"rare (escaped, stale, no_endpoint), and for each endpoint that is ejected or\n"
			"restored, until Ctrl-C. With -o json one object a line.\n"
			"Needs root. Only one `pintle events` can run at a time; the kernel writes events\n"
			"only while it runs.",
		.run = run_events,
		.columns = &events_columns,
		.options = NOUN_MAPS | OPTION_POOL,
	},
	{
		.name = "diff",
		.kind = NOUN,
		.arguments = "[POOL]",
		.summary = "what runs otherwise than the file says",
		.help = "Prints a row for each key that was set (`pintle set`, `pintle mode`) and for each\n"
			"endpoint that is drained. Exit status 0 if nothing differs; 1 if something does, or\n"
			"if the file changed after pintled read it; 2 if neither can be known. A reader who\n"
			"may not read the file sees its values as pintled last read them.",
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
			"kernel's own lookup, or, where endpoints have an `address`, to whatever else serves\n"
			"the frontend. Warns of a frontend that nothing else answers. Holds until it is set\n"
			"again or `pintle reset`, over reload and restart. Setting what the file says takes\n"
			"the override back.",
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
		.help = "KEY is the key's path in the pool, VALUE as in the configuration file:\n"
			"stickiness.ttl=100s. set refuses what the file's check refuses, by itself or together\n"
			"with the other keys. mode and requests take effect at once, even without pintled. For\n"
			"any other key, set waits until pintled has applied it; without pintled it takes\n"
			"effect when pintled starts. It holds until it is set again or `pintle reset`, over\n"
			"reload and restart. Setting what the file says takes it back.",
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
		.help = "Open connections continue; bound sessions move at their next connection. ENDPOINT\n"
			"is POOL/NAME, or NAME where that is unambiguous.",
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
		.help = "Takes back everything, or what belongs to one pool, or one key; then the file holds.\n"
			"A key stays set if another key that is set needs it; reset says which.",
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
		.help = "Does what SIGHUP and `systemctl reload pintled` do, and waits for the result. Exit\n"
			"status 0 if pintled took the file; 1 if it did not, with the first error (what ran\n"
			"before keeps running), or if pintled does not run. Keys that were set stay set.",
		.run = run_reload,
		.options = MAPS,
	},
	{
		.name = "check",
		.kind = VERB,
		.arguments = "FILE",
		.summary = "validate a configuration file without touching anything",
		.help = "Errors and warnings go to stderr as FILE:LINE:COLUMN: what is wrong; what would\n"
			"be right. Exit status 0 if the file would load, even with warnings, else 2.",
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
		.help = "Prints a line for each check: ok, warn or FAIL, what was found, and the cure. Exit\n"
			"status 1 if a check fails. Changes nothing. As root it sees most.",
		.run = run_doctor,
		.columns = &doctor_columns,
		.options = NOUN_MAPS,
	},
	{
		.name = "help",
		.kind = VERB,
		.arguments = "[COMMAND]",
		.summary = "list the commands, or explain one",
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
	struct text_nearest n = {.begun = true};

	for (size_t i = 0; i < command_count; i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
		text_nearest_try(&n, name, commands[i].name);
	}
	if (n.best)
		log_error("no command '%s'; did you mean %s?", name, n.best);
	else
		log_error("no command '%s'; pintle --help lists them: status, pools, "
			  "endpoints, ...",
			  name);
	return NULL;
}
