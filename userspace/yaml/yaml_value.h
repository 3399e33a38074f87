/* SPDX-License-Identifier: Apache-2.0 */
/* yaml_value.h - reads one scalar into one field: the common types, and parts for further types. */
#ifndef PINTLE_YAML_VALUE_H
#define PINTLE_YAML_VALUE_H

#include "../base/text.h"
#include "yaml_key.h"

/* The common types, and the field that each fills. */
extern const struct yaml_type yaml_map;      /* a mapping with keys of its own */
extern const struct yaml_type yaml_maps;     /* a list of mappings; the key has a `list` */
extern const struct yaml_type yaml_constant; /* the only choice; nothing is stored */
extern const struct yaml_type yaml_choice;   /* uint32_t: index of the choice */
extern const struct yaml_type yaml_word;     /* const char *: the choice */
extern const struct yaml_type yaml_name;     /* char *, which the struct owns */
extern const struct yaml_type yaml_path;     /* the same */
extern const struct yaml_type yaml_bool;     /* bool */
extern const struct yaml_type yaml_integer;  /* int */
extern const struct yaml_type yaml_number;   /* double */
extern const struct yaml_type yaml_duration; /* uint64_t, nanoseconds */

/** Reads a scalar into the field by the key's type. A value that is refused is reported, and leaves
 * the field as it was. */
void yaml_value_read(struct yaml_report *r, const struct yaml_key *k, const struct yaml_node *n,
		     void *field);

/* ---- for a type's `read` ------------------------------------------------------ */

/* The value that a type's `read` gets. `read` may set `right` before it returns yaml_wrong(): the
 * message is "LABEL is VALUE, WRONG; RIGHT". */
struct yaml_value {
	const struct yaml_key *key;
	const char *text;
	size_t length;
	bool plain;
	const char *wrong;
	const char *right; /* NULL: "write " and what the key wants */
	char buf[TEXT_QUOTED_SIZE + 32];
};

/** Refuses the value; `what`, which is static, says why: "which is empty". Returns -EINVAL. */
int yaml_wrong(struct yaml_value *v, const char *what);
/** Makes the message ask "did you mean WORD?", if there is a nearest word. */
void yaml_suggest(struct yaml_value *v, const struct text_nearest *nearest);
/** Stores a copy of the value in the char * at `field`, and frees the former text, if the value is
 * no longer than the key's `max`. Returns 0, yaml_wrong() or -ENOMEM. */
int yaml_take_text(struct yaml_value *v, void *field);
/** Stores a copy of any text, of any length. Returns 0 or -ENOMEM. */
int yaml_set_text(void *field, const char *text);
/** Reads a decimal number at the start of text: no hexadecimal, no infinity, no NaN, and no leading
 * zeros, which YAML 1.1 reads as octal. Returns the number's end; or NULL if there is none. */
const char *yaml_take_number(const char *text, double *value);

#endif
