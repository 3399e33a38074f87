/* SPDX-License-Identifier: Apache-2.0 */
/* yaml_value.h - one scalar to one field: the common types, and what further types are made of. */
#ifndef PINTLE_YAML_VALUE_H
#define PINTLE_YAML_VALUE_H

#include "../base/text.h"
#include "yaml_key.h"

/* The common types, and the field that each fills. */
extern const struct yaml_type yaml_map;      /* keys of its own */
extern const struct yaml_type yaml_maps;     /* a list of such; the key has a `list` */
extern const struct yaml_type yaml_constant; /* the one choice; nothing is stored */
extern const struct yaml_type yaml_choice;   /* uint32_t: index of the choice */
extern const struct yaml_type yaml_word;     /* const char *: the choice */
extern const struct yaml_type yaml_name;     /* char *, to be freed */
extern const struct yaml_type yaml_path;     /* the same */
extern const struct yaml_type yaml_bool;     /* bool */
extern const struct yaml_type yaml_integer;  /* int */
extern const struct yaml_type yaml_number;   /* double */
extern const struct yaml_type yaml_duration; /* uint64_t, nanoseconds */

/** Reads a scalar into the field by the key's type; when the value is refused, that is reported
 * and the field stays as it was. */
void yaml_value_read(struct yaml_report *r, const struct yaml_key *k, const struct yaml_node *n,
		     void *field);

/* ---- for a type's `read` ------------------------------------------------------ */

/* What a type's reader knows. It may set `right` before it returns yaml_wrong(): the message is
 * "LABEL is VALUE, WRONG; RIGHT". */
struct yaml_value {
	const struct yaml_key *key;
	const char *text;
	size_t length;
	bool plain;
	const char *wrong;
	const char *right; /* NULL: "write " and what the key wants */
	char buf[TEXT_QUOTED_SIZE + 32];
};

/** Refuses the value: `what` says why, as in "which is empty". Returns -EINVAL. */
int yaml_wrong(struct yaml_value *v, const char *what);
/** Has the message ask for the word that was probably meant, if there is any. */
void yaml_suggest(struct yaml_value *v, const struct text_nearest *nearest);
/** Takes the value for the char * at `field`, if it is no longer than the key's `max`; what was
 * there is freed. Returns 0, yaml_wrong() or -ENOMEM. */
int yaml_take_text(struct yaml_value *v, void *field);
/** The same with another text, of any length. Returns 0 or -ENOMEM. */
int yaml_set_text(void *field, const char *text);
/** Takes a decimal number off the front of text: no hexadecimal, no infinity, no NaN, and no
 * leading zeros, which YAML 1.1 reads as octal. Returns its end, or NULL. */
const char *yaml_take_number(const char *text, double *value);

#endif
