/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_internal.h - what the parts of config*.c share. Besides them, only the program that writes
 * docs/configuration.md (docs/reference/keys.c) includes it:
 *
 *   config_keys.c       the table of keys
 *   config.c            the walk along it, and the file
 *   config_tree.c       YAML text to a tree that remembers lines and columns
 *   config_value.c      one scalar to one field
 *   config_words.c      what messages say: values in quotes, what is wanted, the nearest name
 *   config_check.c      what only the whole shows: overlaps, double claims, odd settings
 *   config_hooks.c      which hook decides each pool, and what it can do
 *   config_settings.c   keys that were set while their pools run
 *   config_report.c     messages, collected and told in the order of the file
 */
#ifndef PINTLE_CONFIG_INTERNAL_H
#define PINTLE_CONFIG_INTERNAL_H

#include <locale.h>

#include "config.h"

/* ---- config_report.c ------------------------------------------------------- */

/* Nobody reads more; and a hostile file must not cost memory without end. */
#define CONFIG_MAX_MESSAGES 1000

struct message {
	int line, column;
	bool warning;
	char *text;
};

struct report {
	struct message *messages;
	size_t count, room;
	size_t errors;
	bool out_of_memory;
};

/* "what is wrong; what would be right" at a place; lines and columns from 1. */
void report_error(struct report *r, int line, int column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void report_warning(struct report *r, int line, int column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Whether there is no room for further errors: whoever loops over input stops then. */
bool report_full(const struct report *r);
/* Tells the sink all of it, in the order of the file. */
void report_tell(struct report *r, const char *file, const struct config_sink *sink);
void report_free(struct report *r);

/* ---- config.c -------------------------------------------------------------- */

/* The configuration that a document holds. Returns 0 and *out; -EINVAL after errors; -ENOMEM. */
struct node;
int config_read_root(struct report *r, const char *name, const struct node *root,
		     struct config **out);

/* ---- config_tree.c --------------------------------------------------------- */

enum node_kind {
	NODE_SCALAR,
	NODE_LIST,
	NODE_MAP,
	NODE_BROKEN, /* already reported: to be passed over in silence */
};

struct node {
	enum node_kind kind;
	bool plain; /* a scalar written without quotes */
	int line, column;
	char *text;       /* of a scalar; may hold NULs */
	size_t length;    /* of text */
	size_t count;     /* of children */
	struct node *key; /* of a mapping's child */
	struct node *first, *last, *next;
	struct node *allocated; /* the tree's nodes in one chain, to be freed by */
};

struct tree {
	struct node *root; /* NULL: no document */
	struct node *nodes;
};

/* Reads the text as one YAML document without anchors, aliases and tags, at most
 * CONFIG_MAX_DEPTH deep. What it cannot take is reported; the tree then holds what was
 * understood. Returns whether that is the whole of (the first) document. */
#define CONFIG_MAX_DEPTH 16
#define CONFIG_MAX_NODES 65536
bool tree_read(struct tree *t, const char *text, size_t size, struct report *r);
void tree_free(struct tree *t);
/* Gives a scalar another text, as if it had been written without quotes. Returns 0 or -ENOMEM. */
int tree_set(struct node *n, const char *text);
/* Adds a key to a mapping that has none of that name, and an empty node as its value. NULL: out of
 * memory. */
struct node *tree_add(struct tree *t, struct node *map, const char *key, enum node_kind kind,
		      int line);

/* The mapping's child of that key, or NULL (also when `map` is NULL or no mapping). */
const struct node *node_get(const struct node *map, const char *key);
/* The list's i-th child, or NULL. */
const struct node *node_at(const struct node *list, size_t i);

/* ---- config_keys.c ---------------------------------------------------------- */

enum key_type {
	KEY_MAP,       /* keys of its own */
	KEY_MAPS,      /* a list of such */
	KEY_FRONTENDS, /* a list of struct frontend_addr */
	KEY_CONSTANT,  /* the one choice; nothing is stored */
	KEY_CHOICE,    /* uint32_t: index of the choice */
	KEY_WORD,      /* const char *: the choice */
	KEY_NAME,      /* char * */
	KEY_PATH,
	KEY_GROUP_NAME,
	KEY_USER,
	KEY_URL,
	KEY_URL_PATH,
	KEY_SERVE,    /* char *: "ADDRESS:PORT"; NULL for "off" */
	KEY_LISTEN,   /* struct endpoint_addr */
	KEY_ADDRESS,  /* the same, with an address */
	KEY_BOOL,     /* bool */
	KEY_INTEGER,  /* int */
	KEY_NUMBER,   /* double */
	KEY_DURATION, /* uint64_t, nanoseconds */
	KEY_SESSION,  /* struct key_bits: a session's key, or a group */
	KEY_HEADERS,  /* struct pintle_header[PINTLE_MAX_HEADERS] */
};

/* The three members that config_stickiness has of each: kind, v4, v6. */
struct key_bits {
	uint32_t kind;
	uint8_t v4, v6;
};

/* How the elements of a KEY_MAPS or KEY_FRONTENDS lie in memory. */
struct config_list {
	size_t size;  /* of an element */
	size_t count; /* offset of the size_t count, in what holds the list */
	size_t line;  /* offset of the int line, in an element of a KEY_MAPS */
};

enum key_set {
	SET_NEVER,     /* the file alone says it */
	SET_BY_DAEMON, /* the daemon applies it */
	SET_IN_KERNEL, /* the kernel reads it itself: it is in the map `overrides` */
};

struct key {
	const char *path; /* "pools[].scrape.interval": "[]" is an element of a list */
	enum key_type type;
	bool required;
	bool secret;      /* what stands there by mistake may be a secret: no message shows it */
	enum key_set set; /* whether a pool's key can be set while it runs */
	/* Of a number or duration (nanoseconds) the range, of a text the most bytes, of a list
	 * the most elements in the whole file. */
	double min, max;
	const char *const *choices; /* up to a NULL */
	const char *preset;         /* the default, read as if it had been written */
	const char *absent;         /* what holds without it, where no preset can say that */
	size_t offset;              /* in the struct of the innermost list element */
	const struct config_list *list;
	const char *help;
};

#define CONFIG_MAX_KEYS 96
extern const struct key config_keys[];
extern const size_t config_key_count;

/* Whether `k` stands directly in the mapping whose keys' paths begin with `prefix`. */
bool key_is_child(const struct key *k, const char *prefix);
/* The last part of its path: "interval". */
const char *key_local(const struct key *k);
/* Its path from the innermost list element on: "scrape.interval". */
const char *key_label(const struct key *k);
/* The prefix of the keys in it: "pools[].scrape." for the mapping "pools[].scrape". */
/* How many bits of a client's address count where a length is left out. */
#define CONFIG_KEY_BITS_V4 32
#define CONFIG_KEY_BITS_V6 64

#define KEY_PREFIX_SIZE 128
void key_prefix(const struct key *k, char prefix[KEY_PREFIX_SIZE]);

/* ---- config_words.c -------------------------------------------------------- */

/* User text for a message: in quotes, cut, with nothing that a terminal would obey. */
#define QUOTED_SIZE 100
const char *quote(const char *text, size_t length, char buf[QUOTED_SIZE]);

/* The same of what was meant as a URL, without what may be a password or a token. */
const char *quote_url(const char *text, size_t length, char buf[QUOTED_SIZE]);

/* What may stand there, for messages and the reference: "a number from 0 to 1000". */
#define WANTED_SIZE 512
const char *key_wants(const struct key *k, char buf[WANTED_SIZE]);

/* The candidate that `text` was most likely meant to be, or NULL when none is near. */
struct nearest {
	const char *best;
	size_t distance;
};
void nearest_try(struct nearest *n, const char *text, const char *candidate);

struct unit {
	const char *name;
	double nanoseconds;
};
extern const struct unit config_units[];
extern const size_t config_unit_count;

/* Between the two, numbers are read and written with a decimal point, whatever the
 * program's locale. */
locale_t numbers_begin(void);
void numbers_end(locale_t outer);

/* ---- config_value.c -------------------------------------------------------- */

/* Reads a scalar into the field, which stays as it was when the value is refused. */
void value_read(struct report *r, const struct key *k, const struct node *n, void *field);
/* One element of a KEY_FRONTENDS. */
void value_read_frontend(struct report *r, const struct key *k, const struct node *n,
			 struct frontend_addr *out);

/* ---- config_hooks.c -------------------------------------------------------- */

/* Each pool's hook, and the defaults that depend on it. */
void config_hooks_derive(struct config *c, const struct node *root);
/* Endpoints of two hooks, and what a hook cannot do. Nodes as for config_check(). */
void config_hooks_check(const struct config *c, const struct node *root, struct report *r);

/* ---- config_check.c -------------------------------------------------------- */

/* Element i of a list in `c` came from child i of its node under `root`. Members that were
 * refused are still 0 or NULL, and are passed over. */
void config_check(const struct config *c, const struct node *root, struct report *r);
/* The node of a value, or of what would hold it: where to point a message about it. */
const struct node *place_of(const struct node *node, const char *first, const char *second);
/* Names for messages: "?" for one that was refused. */
const char *pool_label(const struct config_pool *p);
const char *endpoint_label(const struct config_endpoint *e);

#endif
