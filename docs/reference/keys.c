/* SPDX-License-Identifier: Apache-2.0 */
/* keys.c - the keys of the configuration, and the names of their values. */
#include "reference.h"

#include "../../userspace/base/util.h"
#include "../../userspace/config/config_internal.h"
#include "../../userspace/maps/names.h"
#include "../../userspace/policy/engine_names.h"
#include "traits.bpf.h"

struct choice {
	const char *name;
	const char *help;
};

#define X(symbol, text, says, ...) {text, says},
static const struct choice engines[] = {PINTLE_ENGINES(X)};
static const struct choice modes[] = {PINTLE_MODES(X)};
#undef X

static void write_default(FILE *f, const struct yaml_key *k)
{
	if (k->required)
		fputs("required", f);
	else if (k->preset)
		fprintf(f, "`%s`", k->preset);
	else
		fputs(k->absent ? k->absent : "as below", f);
}

/* Whether `pintle set` takes the key, and when the value takes effect. */
static const char *const set_words[] = {
	[SET_NEVER] = "",
	[SET_BY_DAEMON] = "yes",
	[SET_IN_KERNEL] = "at once",
};

static void write_row(FILE *f, const struct yaml_key *k, bool set)
{
	char wants[YAML_WANTS_SIZE];

	fprintf(f, "| `%s` | %s | ", yaml_key_local(k), yaml_key_wants(&config_table, k, wants));
	write_default(f, k);
	if (set)
		fprintf(f, " | %s", set_words[k->set]);
	fprintf(f, " | %s |\n", k->help);
}

static bool any_is_set(const char *prefix)
{
	for (size_t i = 0; i < config_table.count; i++)
		if (config_table.keys[i].set && yaml_key_is_child(&config_table.keys[i], prefix))
			return true;
	return false;
}

static void write_section(FILE *f, const char *title, const char *prefix)
{
	bool set = any_is_set(prefix);

	fprintf(f, "### %s\n\n", title);
	fprintf(f, "| key | takes | default |%s meaning |\n|---|---|---|%s---|\n",
		set ? " `set` |" : "", set ? "---|" : "");
	for (size_t i = 0; i < config_table.count; i++) {
		if (yaml_key_is_child(&config_table.keys[i], prefix))
			write_row(f, &config_table.keys[i], set);
	}
	fputc('\n', f);
}

static void write_mapping(FILE *f, const struct yaml_key *k)
{
	char prefix[YAML_PREFIX_SIZE], title[YAML_PREFIX_SIZE + 2];

	yaml_key_prefix(k, prefix);
	snprintf(title, sizeof(title), "`%.*s`", (int)strlen(prefix) - 1, prefix);
	write_section(f, title, prefix);
}

static void write_choices(FILE *f, const char *title, const struct choice *choices, size_t count)
{
	fprintf(f, "### %s\n\n| name | meaning |\n|---|---|\n", title);
	for (size_t i = 0; i < count; i++)
		fprintf(f, "| `%s` | %s |\n", choices[i].name, choices[i].help);
}

static void write_keys(FILE *f)
{
	fputs("### Session keys\n\n| name |", f);
	for (uint32_t hook = 1; hook < PINTLE_HOOK_COUNT; hook++)
		fprintf(f, " %s hook |", hook_name(hook));
	fputs(" tells apart by |\n|---|", f);
	for (uint32_t hook = 1; hook < PINTLE_HOOK_COUNT; hook++)
		fputs("---|", f);
	fputs("---|\n", f);
	for (uint32_t key = 0; key < PINTLE_KEY_COUNT; key++) {
		fprintf(f, "| `%s` |", key_name(key));
		for (uint32_t hook = 1; hook < PINTLE_HOOK_COUNT; hook++)
			fprintf(f, " %s |", hook_sees(hook, key) ? "yes" : "no");
		fprintf(f, " %s |\n", key_help(key));
	}
	fputc('\n', f);
}

void keys_markdown(FILE *f)
{
	write_section(f, "The file", "");
	for (size_t i = 0; i < config_table.count; i++) {
		if (config_table.keys[i].type == &yaml_map ||
		    config_table.keys[i].type == &yaml_maps)
			write_mapping(f, &config_table.keys[i]);
	}
	write_keys(f);
	write_choices(f, "Engines", engines, ARRAY_SIZE(engines));
	fputc('\n', f);
	write_choices(f, "Modes", modes, ARRAY_SIZE(modes));
}

/* ---- pintle.yaml(5) ------------------------------------------------------------ */

static void manual_key(FILE *f, const struct yaml_key *k)
{
	char wants[YAML_WANTS_SIZE], *text;

	if (asprintf(&text, "Takes %s. %s%s%s%s%s", yaml_key_wants(&config_table, k, wants),
		     k->required ? "Required" : "The default is ", k->preset ? "`" : "",
		     k->required ? ""
		     : k->preset ? k->preset
				 : k->absent ?: "what its keys have",
		     k->preset ? "`" : "",
		     k->set ? ". `pintle set` takes it." : ".") < 0)
		return;
	fprintf(f, ".It Cm %s\n", yaml_key_local(k));
	manual_text(f, text);
	free(text);
	fputs(".br\n", f);
	manual_text(f, k->help);
}

static void manual_section(FILE *f, const char *title, const char *prefix)
{
	fprintf(f, ".Ss %s\n.Bl -tag -width Ds\n", title);
	for (size_t i = 0; i < config_table.count; i++)
		if (yaml_key_is_child(&config_table.keys[i], prefix))
			manual_key(f, &config_table.keys[i]);
	fputs(".El\n", f);
}

static void manual_name(FILE *f, const char *name, const char *help)
{
	fprintf(f, ".It Cm %s\n", name);
	manual_text(f, help);
}

static void manual_choices(FILE *f, const char *title, const struct choice *choices, size_t count)
{
	fprintf(f, ".Ss %s\n.Bl -tag -width Ds\n", title);
	for (size_t i = 0; i < count; i++)
		manual_name(f, choices[i].name, choices[i].help);
	fputs(".El\n", f);
}

static void manual_session_keys(FILE *f)
{
	fputs(".Ss Session keys\n.Bl -tag -width Ds\n", f);
	for (uint32_t key = 0; key < PINTLE_KEY_COUNT; key++)
		manual_name(f, key_name(key), key_help(key));
	fputs(".El\n", f);
}

void keys_manual(FILE *f)
{
	manual_section(f, "The file", "");
	for (size_t i = 0; i < config_table.count; i++) {
		const struct yaml_key *k = &config_table.keys[i];
		char prefix[YAML_PREFIX_SIZE], title[YAML_PREFIX_SIZE];

		if (k->type != &yaml_map && k->type != &yaml_maps)
			continue;
		yaml_key_prefix(k, prefix);
		snprintf(title, sizeof(title), "%.*s", (int)strlen(prefix) - 1, prefix);
		manual_section(f, title, prefix);
	}
	manual_session_keys(f);
	manual_choices(f, "Engines", engines, ARRAY_SIZE(engines));
	manual_choices(f, "Modes", modes, ARRAY_SIZE(modes));
}
