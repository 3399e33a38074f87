/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what all of the CLI shares.
 *
 *   main.c         the program
 *   commands.c     the nouns and verbs: dispatch, help and completion come from this table
 *   options.c      the table of options; a command line to a struct cli
 *   help.c         --help, of the program and of each command
 *   completion.c   bash completion
 *   output.c       rows as an aligned table or as JSON, from one table of columns
 *   words.c        ages, times
 *   target.c       pools and endpoints by name
 *   setting.c      keys of pools: checked with the file, set, taken back, waited for
 *   programs.c     programs that are attached, ours and others
 *   noun_*.c       a noun each, with its entry of the table: they read
 *   verb_*.c       verbs, likewise: they write
 *   doctor*.c      what is wrong with this machine
 *
 * Data goes to stdout, talk to stderr (log.h).
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

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_UNTOLD = 2 /* of diff, as diff(1) */ };

struct command;

struct cli {
	const struct command *command; /* NULL: none was given */
	const char *bpffs;
	const char *pool; /* --pool; NULL: not given */
	bool json;
	bool color; /* stdout takes colours */
	bool help, version;
	char **words; /* the command's arguments, not the command itself */
	int word_count;
};

/* ---- commands.c ------------------------------------------------------------- */

enum command_kind { NOUN, VERB };

/* What an argument is: for completion. */
enum word_kind {
	WORD_NONE,
	WORD_POOL,
	WORD_ENDPOINT,
	WORD_MODE,
	WORD_SETTING, /* KEY=VALUE */
	WORD_KEY,
	WORD_SESSION,
	WORD_FILE,
	WORD_COMMAND,
	WORD_SHELL
};

#define COMMAND_WORDS 2

/* Options that only some commands take, as bits. */
#define OPTION_OUTPUT 0x1 /* -o */
#define OPTION_POOL   0x2 /* --pool */
#define OPTION_BPFFS  0x4 /* --bpffs: it looks into the maps */
#define OPTIONS_VERB  OPTION_BPFFS
#define OPTIONS_NOUN  (OPTION_BPFFS | OPTION_OUTPUT)

struct columns;

struct command {
	const char *name;
	enum command_kind kind;
	const char *arguments;         /* "POOL MODE"; "" */
	const char *summary;           /* one line, beginning small, without a full stop */
	const char *help;              /* more, or NULL */
	void (*more)(FILE *f);         /* and more, made from a table; or NULL */
	int (*run)(struct cli *cli);   /* an exit status */
	const struct columns *columns; /* of -o json; NULL: none */
	unsigned int options;          /* OPTION_* */
	int least, most;               /* arguments */
	enum word_kind words[COMMAND_WORDS];
};

/* X(name): every noun and verb, in the order of --help. */
#define PINTLE_COMMANDS(X)                                                                         \
	X(status)                                                                                  \
	X(pools)                                                                                   \
	X(endpoints)                                                                               \
	X(sessions)                                                                                \
	X(stats)                                                                                   \
	X(events)                                                                                  \
	X(diff)                                                                                    \
	X(version)                                                                                 \
	X(mode)                                                                                    \
	X(enable)                                                                                  \
	X(disable)                                                                                 \
	X(set)                                                                                     \
	X(drain)                                                                                   \
	X(undrain)                                                                                 \
	X(unbind)                                                                                  \
	X(reset)                                                                                   \
	X(reload)                                                                                  \
	X(check)                                                                                   \
	X(doctor)                                                                                  \
	X(help)                                                                                    \
	X(completion)

#define X(name) extern const struct command command_##name;
PINTLE_COMMANDS(X)
#undef X
extern const struct command *const commands[];
extern const size_t command_count;

/** A command by its name. Tells what would be right and returns NULL if there is none. */
const struct command *command_find(const char *name);

/* ---- options.c -------------------------------------------------------------- */

struct option_help {
	const char *name;     /* without the dashes */
	char letter;          /* 0: none */
	const char *argument; /* NULL: takes none */
	const char *help;
	unsigned int bit; /* OPTION_*: only commands with it; 0: all */
};

extern const struct option_help options[];
extern const size_t option_count;

/** Reads a command line; options may stand anywhere. Returns 0, or EXIT_USAGE after telling
 * what is wrong and what would be right. */
int options_parse(struct cli *cli, int argc, char **argv);

/* ---- help.c, completion.c --------------------------------------------------- */

/* What an exit status says. */
struct exit_help {
	int status;
	const char *says;
};

extern const struct exit_help exit_helps[];
extern const size_t exit_help_count;

void help_program(FILE *f);
void help_command(FILE *f, const struct command *c);
/** "usage: pintle mode POOL MODE" on stderr; returns EXIT_USAGE. */
int usage_error(const struct cli *cli);

/* ---- words.c ---------------------------------------------------------------- */

#define WORDS_SIZE 32

/** An age as people say it: "0.2 s", "47 s", "5 m", "3 h", "2 d". `buf` has WORDS_SIZE bytes. */
const char *age_text(double seconds, char *buf);
/** Local wall-clock time, "2026-03-01 14:02:11", of a time of the maps. */
const char *wall_text(uint64_t monotonic, char *buf);
/** The same as RFC 3339 in UTC, "2026-03-01T13:02:11Z". */
const char *wall_rfc3339(uint64_t monotonic, char *buf);

/* ---- target.c --------------------------------------------------------------- */

/** Opens the maps; tells what is wrong and returns NULL if it cannot. */
struct maps *open_maps(const struct cli *cli, enum maps_access access);
/** The same, and reads them: *m and *s. Returns 0, or EXIT_FAILED after telling. */
int open_state(const struct cli *cli, enum maps_access access, struct maps **m, struct state **s);

/** The network namespace that is steered: a descriptor (the caller's), or -errno: -ENOENT when it
 * is gone, -EACCES when it may exist where we cannot look. */
int open_steered_netns(const struct state *s);

/** A pool by name; an endpoint as POOL/NAME, or as NAME where that is the only one. Tells what
 * would be right and returns NULL if there is none. */
struct state_pool *find_pool(const struct state *s, const char *name);
struct state_endpoint *find_endpoint(const struct state *s, const char *name);

/** What becomes of a pool's connections while no endpoint is ready: "are refused (FailClose)". */
const char *without_endpoints(const struct state_pool *p);

/** "POOL/NAME" into buf. */
#define ENDPOINT_NAME_SIZE (2 * PINTLE_NAME_SIZE + 1)
const char *endpoint_name(const struct state *s, const struct state_endpoint *e, char *buf);

/* With what was written in its place. */
#define NOT_A_SESSION                                                                              \
	"'%s' is no session; write one as `pintle sessions` shows it, such as 10.0.0.7, "          \
	"10.0.0.0/24, cgroup:NAME or hint:HASH, or hint=TEXT as a client said it"

/* ---- setting.c -------------------------------------------------------------- */

/** Sets a key of a pool, which `pool` and `key` name: checked, and what the daemon has to apply
 * also with the file; then written, and waited for. Returns an exit status after telling. */
int setting_set(struct cli *cli, const char *pool, const char *key, const char *value);

/** The key of that pool that is set; NULL: it is not. */
const struct state_setting *find_setting(const struct state *s, const char *pool, const char *key);
/** Whether there is such a pool, or something is set for one of that name. Tells if not. */
bool setting_pool(const struct state *s, const char *name);

/** Reads the file that the daemon runs by. Returns 0 with out->text to be freed; or -errno, told.
 */
int settings_read_file(const struct state *s, struct config_text *out);
/** Whether that is the text that the daemon read last, as far as the maps tell. */
bool settings_file_runs(const struct state *s, const struct config_text *text);
/** What holds by that text of what is set, but for one (NULL: all) and with one more as the last
 * (NULL: none), whose warnings are told. Returns 0 with *out (free() it; pool and key are `s`'s)
 * and *n; or -errno: the text has errors, of which the first was told. */
int settings_judge(const struct state *s, const struct config_text *text,
		   const struct state_setting *but, const struct config_setting *with,
		   struct config_setting **out, size_t *n);

/** Takes back what the map `settings` has there. Returns 0 or -errno, logged. */
int setting_take_back(const struct maps *m, const struct pintle_setting_key *key);
/** Sets PINTLE_OVERRIDE_MODE or _REQUESTS of a pool, or takes it back when the value is the
 * configured one; the other stays. Returns 0 or -errno, logged. */
int override_pool(const struct maps *m, const struct state_pool *p, uint32_t flag, uint32_t value,
		  bool configured);

/** Waits until it is done, at most so long, and while the daemon is alive: `alive` at first.
 * Returns whether it is. */
typedef bool (*await_fn)(const struct maps *m, void *arg);
bool wait_for_daemon(const struct maps *m, bool alive, uint64_t limit_ns, await_fn done, void *arg);
/** The same until the daemon has taken back what was set there. Returns from when on that holds, to
 * end a sentence; or NULL after telling that it does not. */
const char *setting_wait_gone(const struct maps *m, bool alive,
			      const struct pintle_setting_key *key);

/* ---- verb_mode.c, verb_drain.c ---------------------------------------------- */

/** Tells which frontends of a pool that is off nobody answers. */
void warn_of_refusals(const struct state *s, const struct state_pool *p);
/** Drains an endpoint, or takes that back. Returns 0 or -errno, logged. */
int drain_set(const struct maps *m, const struct state_endpoint *e, bool drained);

#endif
