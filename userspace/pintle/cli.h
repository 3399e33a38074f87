/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what the files of the CLI share.
 *
 *   main.c         the program
 *   commands.c     the nouns and verbs: dispatch, help and completion come from this table
 *   options.c      the table of options; a command line to a struct cli
 *   help.c         --help, of the program and of each command
 *   completion.c   completion for bash, fish and zsh, each in completion_SHELL.c
 *   output.c       rows as an aligned table or as JSON, from one table of columns
 *   text_table.c   the cells of a table, and which columns have room
 *   target.c       pools and endpoints by name
 *   setting.c      keys of pools: checked with the file, set, taken back, waited for
 *   programs.c     programs that are attached: Pintle's and others
 *   noun_*.c       a noun each, with its entry of the table: nouns read
 *   verb_*.c       a verb or more each, likewise: verbs write, or look around
 *   top*.[ch]      the live view (top.h)
 *   report*.[ch]   what enforcing would change, or did (report.h)
 *   doctor*.c      what is wrong with this machine
 *
 * Data goes to stdout, messages go to stderr (log.h).
 */
#ifndef PINTLE_CLI_H
#define PINTLE_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../config/config.h"
#include "../maps/maps.h"
#include "../maps/state.h"
#include "../base/util.h"
#include "../base/words.h"

enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_UNTOLD = 2, /* of diff, as diff(1) */
	EXIT_DEADLINE = 3,
};

struct command;

#define CLI_MAX_HEADERS 64

struct cli {
	const struct command *command; /* NULL: none was given */
	const char *bpffs;
	const char *pool; /* --pool; NULL: not given, as the next ones */
	const char *source, *session, *cgroup, *pod, *bytes, *class, *model, *prompt;
	const char *headers[CLI_MAX_HEADERS]; /* --header, in their order */
	size_t header_count;
	const char *rate; /* --rate; NULL: not given */
	uint64_t slow_ns; /* --slow; 0: not given */
	bool failed;      /* --failed */
	bool json;
	bool color; /* stdout takes colours */
	bool help, version;
	bool wait;                              /* --wait */
	uint64_t deadline_ns;                   /* --deadline; 0: none */
	bool once;                              /* --once */
	uint64_t interval_ns;                   /* --interval; 0: none */
	bool stop;                              /* --stop */
	uint64_t period_ns, for_ns, washout_ns; /* --period, --for, --washout; 0: not given */
	uint64_t since_ns;                      /* --since; 0: not given */
	const char *html;                       /* --html; NULL: not given */
	char **words; /* the command's arguments, not the command itself */
	int word_count;
};

/* ---- commands.c ------------------------------------------------------------- */

enum command_kind { NOUN, VERB };

/* What an argument names, of a command or an option, for completion. */
enum word_kind {
	WORD_NONE,
	WORD_POOL,
	WORD_ENDPOINT,
	WORD_MODE,
	WORD_SETTING, /* KEY=VALUE */
	WORD_KEY,
	WORD_SESSION,
	WORD_FILE,
	WORD_DIRECTORY,
	WORD_FORMAT,
	WORD_COMMAND,
	WORD_SHELL
};

#define COMMAND_WORDS 2

/* Options that only some commands take, as bits. */
#define OPTION_OUTPUT 0x1    /* -o */
#define OPTION_POOL   0x2    /* --pool */
#define OPTION_BPFFS  0x4    /* --bpffs: the command uses the maps */
#define OPTION_CLIENT 0x8    /* --source and the others that tell of a client */
#define OPTION_WAIT   0x10   /* --wait and --deadline */
#define OPTION_LIVE   0x100  /* --once and --interval */
#define OPTION_TRIAL  0x200  /* --period, --for, --washout, --stop */
#define OPTION_REPORT 0x2000 /* --since and --html */
#define OPTION_TRACE  0x4000 /* --rate, --slow and --failed */
#define OPTIONS_VERB  OPTION_BPFFS
#define OPTIONS_NOUN  (OPTION_BPFFS | OPTION_OUTPUT)

struct columns;

/* A key of the one object that a command prints with -o json. */
struct json_key {
	const char *key, *help;
};

struct command {
	const char *name;
	enum command_kind kind;
	const char *arguments;         /* "POOL MODE"; "": none */
	const char *summary;           /* one line, beginning small, without a full stop */
	const char *help;              /* further lines; NULL: none */
	void (*more)(FILE *f);         /* prints further help from a table; NULL: none */
	int (*run)(struct cli *cli);   /* returns an exit status */
	const struct json_key *keys;   /* with an empty one at the end; NULL: it prints a list */
	const struct columns *columns; /* whose keys -o json prints; NULL: it prints no data */
	unsigned int options;          /* OPTION_* */
	int least, most;               /* number of arguments */
	enum word_kind words[COMMAND_WORDS];
};

/* X(name): every noun and verb, in the order of --help. */
#define PINTLE_COMMANDS(X)                                                                         \
	X(status)                                                                                  \
	X(pools)                                                                                   \
	X(endpoints)                                                                               \
	X(sessions)                                                                                \
	X(tenants)                                                                                 \
	X(stats)                                                                                   \
	X(events)                                                                                  \
	X(diff)                                                                                    \
	X(version)                                                                                 \
	X(mode)                                                                                    \
	X(enable)                                                                                  \
	X(disable)                                                                                 \
	X(set)                                                                                     \
	X(ab)                                                                                      \
	X(report)                                                                                  \
	X(drain)                                                                                   \
	X(undrain)                                                                                 \
	X(unbind)                                                                                  \
	X(classify)                                                                                \
	X(unclassify)                                                                              \
	X(reset)                                                                                   \
	X(reload)                                                                                  \
	X(explain)                                                                                 \
	X(top)                                                                                     \
	X(trace)                                                                                   \
	X(check)                                                                                   \
	X(doctor)                                                                                  \
	X(help)                                                                                    \
	X(completion)

#define X(name) extern const struct command command_##name;
PINTLE_COMMANDS(X)
#undef X
extern const struct command *const commands[];
extern const size_t command_count;

/** Returns the command of that name; or NULL after logging what would be right. */
const struct command *command_find(const char *name);

/* ---- options.c -------------------------------------------------------------- */

struct option_help {
	const char *name;     /* without the dashes */
	char letter;          /* 0: none */
	const char *argument; /* NULL: takes none */
	enum word_kind word;  /* what the argument names */
	const char *help;
	unsigned int bit; /* OPTION_*: only commands with it; 0: all */
};

extern const struct option_help options[];
extern const size_t option_count;

/** Returns whether the command takes the option; NULL: any command. */
bool option_taken(const struct option_help *o, const struct command *c);

/** Writes the commands that take the option into buf, "a, b"; "" for one that is for most. Returns
 * buf. */
#define OPTION_COMMANDS_SIZE 128
const char *option_commands(const struct option_help *o, char buf[OPTION_COMMANDS_SIZE]);

/** Reads a command line; options may stand anywhere. Returns 0, or EXIT_USAGE after logging what is
 * wrong and what would be right. */
int options_parse(struct cli *cli, int argc, char **argv);

/* ---- help.c ------------------------------------------------------------------- */

/* What an exit status means. */
struct exit_help {
	int status;
	const char *says;
};

extern const struct exit_help exit_helps[];
extern const size_t exit_help_count;

void help_program(FILE *f);
void help_command(FILE *f, const struct command *c);
/** Writes "usage: pintle mode POOL MODE" to stderr; returns EXIT_USAGE. */
int usage_error(const struct cli *cli);

/* ---- target.c --------------------------------------------------------------- */

/** Opens the maps, which the caller closes (maps_close()); or returns NULL after logging why
 * not. */
struct maps *open_maps(const struct cli *cli, enum maps_access access);
/** Opens the maps and reads them: *m and *s, which the caller frees, whatever is returned. Returns
 * 0, or EXIT_FAILED after logging why. */
int open_state(const struct cli *cli, enum maps_access access, struct maps **m, struct state **s);

/** Opens the network namespace that is steered. Returns a descriptor, which the caller closes; or
 * -errno: -ENOENT if the namespace is gone, -EACCES if it may exist where this process cannot
 * look. */
int open_steered_netns(const struct state *s);

/** Returns the pool of that name; the endpoint with the name POOL/NAME, or NAME if only one pool
 * has such an endpoint. NULL after logging what would be right. */
struct state_pool *find_pool(const struct state *s, const char *name);
struct state_endpoint *find_endpoint(const struct state *s, const char *name);

/** Returns whether `from` names the pool in its `models`. */
bool pool_names_in_models(const struct state *s, const struct state_pool *from,
			  const struct state_pool *p);
/** Returns whether another pool does. */
bool serves_models_of_others(const struct state *s, const struct state_pool *p);

/** Returns what becomes of a pool's connections while no endpoint is ready: "are refused
 * (FailClose)". */
const char *without_endpoints(const struct state_pool *p);
/** Returns that while the pool's fallbacks may take them. */
const char *without_own_endpoints(const struct state *s, const struct state_pool *p);

/** Writes "POOL/NAME" into buf (ENDPOINT_NAME_SIZE bytes), and returns buf. */
#define ENDPOINT_NAME_SIZE (2 * PINTLE_NAME_SIZE + 1)
const char *endpoint_name(const struct state *s, const struct state_endpoint *e, char *buf);

/** Writes the names of the pool's classes into buf (CLASSES_SIZE bytes), "": it has none; returns
 * buf. */
#define CLASSES_SIZE (PINTLE_MAX_CLASSES * (PINTLE_CLASS_NAME_SIZE + 2))
const char *class_names(const struct state_pool *p, char *buf);

/* The message for a text that is no session, with that text. */
#define NOT_A_SESSION                                                                              \
	"'%s' is no session; write one as `pintle sessions` shows it, such as 10.0.0.7, "          \
	"10.0.0.0/24, cgroup:NAME, request:HASH or hint:HASH, or hint=TEXT as a client said it"

/* ---- setting.c -------------------------------------------------------------- */

/** Runs `pintle set`: checks the value, and with it the whole file if the daemon has to apply the
 * key; writes it; waits for the daemon; prints what came of it. Returns an exit status. */
int setting_set(struct cli *cli, const char *pool, const char *key, const char *value);

/** Returns what is set for that key of that pool; NULL: nothing. */
const struct state_setting *find_setting(const struct state *s, const char *pool, const char *key);
/** Returns whether there is a pool of that name, or something is set for one; logs if neither. */
bool setting_pool(const struct state *s, const char *name);

/** Reads the file that the daemon says it runs by. Returns 0 with *out, whose text the caller
 * frees; or -errno, logged. */
int settings_read_file(const struct state *s, struct config_text *out);
/** Returns whether the daemon runs by that text; true if the maps do not say. */
bool settings_file_runs(const struct state *s, const struct config_text *text);
/** Judges by that text which settings hold: all that are set but `but` (NULL: all), and `with` as
 * the last of them (NULL: none), whose warnings are logged. Returns 0 with *out, which the caller
 * frees and whose pools, keys and values are those of `s` and `with`, and *n; or -errno, with both
 * untouched: the text itself has errors, of which the first was logged. */
int settings_judge(const struct state *s, const struct config_text *text,
		   const struct state_setting *but, const struct config_setting *with,
		   struct config_setting **out, size_t *n);

/** Deletes the setting from the map `settings`. `m` is writable. Returns 0, also if there was none;
 * or -errno, logged. */
int setting_take_back(const struct maps *m, const struct pintle_setting_key *key);
/** Sets one override of a pool, `flag` (PINTLE_OVERRIDE_MODE, _REQUESTS or _TRIAL), to `value`;
 * with `configured` takes it back instead. Other overrides stay, but _MODE takes _TRIAL back: it
 * ends an A/B test. `m` is writable. Returns 0 or -errno, logged. */
int override_pool(const struct maps *m, const struct state_pool *p, uint32_t flag, uint32_t value,
		  bool configured);

/** Waits until `done` returns true, for at most `limit_ns`, and no longer than the daemon is alive;
 * `alive` says whether it is at the start. Returns whether `done` returned true. */
typedef bool (*await_fn)(const struct maps *m, void *arg);
bool wait_for_daemon(const struct maps *m, bool alive, uint64_t limit_ns, await_fn done, void *arg);
/** Waits until the daemon has applied that the setting at `key` was taken back. Returns the end of
 * a sentence: "", or "; takes effect when pintled starts"; or NULL after logging that the setting
 * still holds. */
const char *setting_wait_gone(const struct maps *m, bool alive,
			      const struct pintle_setting_key *key);

/* ---- verb_mode.c, verb_drain.c ---------------------------------------------- */

/** Warns of each frontend of the pool at which nothing but Pintle answers: with the pool off,
 * connections to it are refused. */
void warn_of_refusals(const struct state *s, const struct state_pool *p);
/** Returns a frontend of another pool, *from, that names the pool in its `models`, at which nothing
 * but Pintle answers: with the pool off, requests there for its models are reset. NULL: there is
 * none. */
const struct state_frontend *models_unanswered(const struct state *s, const struct state_pool *p,
					       const struct state_pool **from);
/** Drains an endpoint, or takes that back. `m` is writable. Returns 0 or -errno, logged. */
int drain_set(const struct maps *m, const struct state_endpoint *e, bool drained);
/** Returns whether no endpoint of the pool is ready but, perhaps, this one. */
bool drain_leaves_none(const struct state *s, const struct state_endpoint *e);
/** Returns why the endpoint takes no connection even if `pintle drain` does not hold; NULL: it
 * does. */
const char *drain_still(const struct state *s, const struct state_endpoint *e);

#endif
