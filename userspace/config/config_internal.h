/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_internal.h - what the parts of config*.c share. Besides them, only the program that writes
 * docs/configuration.md (docs/reference/keys.c) includes it:
 *
 *   config_keys.c       the table of keys
 *   config_types.c      the types of values that only Pintle has
 *   config.c            the file
 *   config_check.c      what only the whole shows: overlaps, double claims, odd settings
 *   config_hooks.c      how servers are reached, which hook decides, and what it can do
 *   config_settings.c   keys that were set while their pools run
 */
#ifndef PINTLE_CONFIG_INTERNAL_H
#define PINTLE_CONFIG_INTERNAL_H

#include "../yaml/yaml_read.h"
#include "config.h"

#define CONFIG_API_VERSION "pintle.dev/v1alpha1"

/* ---- config.c -------------------------------------------------------------- */

/* What a configuration file is called where it cannot be read. */
#define CONFIG_FILE "configuration file that can"

/* The configuration that a document holds. Returns 0 and *(struct config **)out; -EINVAL after
 * errors; -ENOMEM. */
int config_read_root(struct yaml_report *r, const char *name, const struct yaml_node *root,
		     void *out);

/* ---- config_keys.c --------------------------------------------------------- */

enum config_set {
	SET_NEVER,     /* the file alone says it */
	SET_BY_DAEMON, /* the daemon applies it */
	SET_IN_KERNEL, /* the kernel reads it itself: it is in the map `overrides` */
};

extern const struct yaml_table config_table;

/* ---- config_types.c -------------------------------------------------------- */

extern const struct yaml_type config_frontends;  /* a list of struct frontend_addr */
extern const struct yaml_type config_group_name; /* char * */
extern const struct yaml_type config_user;       /* char * */
extern const struct yaml_type config_url;        /* char * */
extern const struct yaml_type config_url_path;   /* char * */
extern const struct yaml_type config_serve;      /* char *: "ADDRESS:PORT"; NULL for "off" */
extern const struct yaml_type config_listen;     /* struct endpoint_addr */
extern const struct yaml_type config_address;    /* the same, with an address */
extern const struct yaml_type config_session;    /* struct key_bits: a session's key, or a group */
extern const struct yaml_type config_headers;    /* struct pintle_header[PINTLE_MAX_HEADERS] */

/* The three members that config_stickiness has of each: kind, v4, v6. */
struct key_bits {
	uint32_t kind;
	uint8_t v4, v6;
};

/* How many bits of a client's address count where a length is left out. */
#define CONFIG_KEY_BITS_V4 32
#define CONFIG_KEY_BITS_V6 64

/* ---- config_hooks.c -------------------------------------------------------- */

/* Each pool's reach and hook, and the defaults that depend on them. */
void config_hooks_derive(struct config *c, const struct yaml_node *root);
/* Endpoints reached in two ways, and what a hook cannot do. Nodes as for config_check(). */
void config_hooks_check(const struct config *c, const struct yaml_node *root,
			struct yaml_report *r);

/* ---- config_check.c -------------------------------------------------------- */

/* Element i of a list in `c` came from child i of its node under `root`. Members that were
 * refused are still 0 or NULL, and are passed over. */
void config_check(const struct config *c, const struct yaml_node *root, struct yaml_report *r);
/* Names for messages: "?" for one that was refused. */
const char *pool_label(const struct config_pool *p);
const char *endpoint_label(const struct config_endpoint *e);

#endif
