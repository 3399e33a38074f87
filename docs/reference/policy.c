/* SPDX-License-Identifier: Apache-2.0 */
/* policy.c - the keys that a SteeringPolicy may have, as a list and as the schema of its CRD. */
#include "reference.h"

#include <assert.h>
#include <stdarg.h>

#include "../../userspace/base/util.h"
#include "../../userspace/config/config_internal.h"
#include "../../userspace/maps/names.h"

void policy_markdown(FILE *f)
{
	const char *key;

	for (size_t i = 0; (key = config_policy_key_at(i)); i++)
		fprintf(f, "%s`%s`", i ? ", " : "", key);
	fputs(".\n", f);
}

/* ---- the schema ------------------------------------------------------------------ */

#define DEPTH 14 /* of the keys of spec in manifests/crd.yaml, in spaces */

static void line(FILE *f, int depth, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void line(FILE *f, int depth, const char *fmt, ...)
{
	va_list ap;

	fprintf(f, "%*s", depth, "");
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fputc('\n', f);
}

/* A text in quotes, as JSON and YAML have it. */
static void write_quoted(FILE *f, const char *text)
{
	fputc('"', f);
	for (; *text; text++) {
		if (strchr("\"\\", *text))
			fputc('\\', f);
		fputc(*text, f);
	}
	fputc('"', f);
}

static void write_description(FILE *f, int depth, const struct yaml_key *k)
{
	char wants[YAML_WANTS_SIZE], text[4096];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", k->help);

	if (k->type != &yaml_map && k->type != &yaml_maps)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " It takes %s.",
				      yaml_key_wants(NULL, k, wants));
	if (k->preset)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " Default: %s.", k->preset);
	assert(n < sizeof(text));
	fprintf(f, "%*sdescription: ", depth, "");
	write_quoted(f, text);
	fputc('\n', f);
}

static void map_schema(FILE *f, int depth, const struct yaml_key *k);
static void maps_schema(FILE *f, int depth, const struct yaml_key *k);

static void choice_schema(FILE *f, int depth, const struct yaml_key *k)
{
	line(f, depth, "type: string");
	fprintf(f, "%*senum: [", depth, "");
	for (size_t i = 0; k->choices[i]; i++)
		fprintf(f, "%s%s", i ? ", " : "", k->choices[i]);
	fputs("]\n", f);
}

static void bool_schema(FILE *f, int depth, const struct yaml_key *k)
{
	(void)k;
	line(f, depth, "type: boolean");
}

static void number_schema(FILE *f, int depth, const struct yaml_key *k)
{
	line(f, depth, "type: %s", k->type == &yaml_integer ? "integer" : "number");
	line(f, depth, "minimum: %.15g", k->min);
	line(f, depth, "maximum: %.15g", k->max);
}

static void duration_schema(FILE *f, int depth, const struct yaml_key *k)
{
	(void)k;
	line(f, depth, "type: string");
	line(f, depth, "maxLength: 32");
	line(f, depth, "pattern: '^[0-9]*\\.?[0-9]+(ms|s|m|h)$'");
}

static void session_schema(FILE *f, int depth, const struct yaml_key *k)
{
	(void)k;
	line(f, depth, "type: string");
	fprintf(f, "%*spattern: '^(", depth, "");
	for (uint32_t i = 0; i < CONFIG_SESSION_KEYS; i++)
		fprintf(f, "%s%s", i ? "|" : "", key_name(config_session_kind(i)));
	fputs("|source/[0-9]+(/[0-9]+)?)$'\n", f);
}

/* A number or a word, or a word or a list: a schema of the API server's cannot say so. */
static void any_schema(FILE *f, int depth, const struct yaml_key *k)
{
	(void)k;
	line(f, depth, "x-kubernetes-preserve-unknown-fields: true");
}

static void path_schema(FILE *f, int depth, const struct yaml_key *k)
{
	line(f, depth, "type: string");
	line(f, depth, "maxLength: %.0f", k->max);
	line(f, depth, "pattern: '^/'");
}

static void text_schema(FILE *f, int depth, const struct yaml_key *k)
{
	line(f, depth, "type: string");
	line(f, depth, "maxLength: %.0f", k->max > 0 ? k->max : 1024);
}

/* Of models: names of Services and InferencePools, perhaps with a port's. */
static void models_schema(FILE *f, int depth, const struct yaml_key *k)
{
	(void)k;
	line(f, depth, "type: object");
	line(f, depth, "maxProperties: %d", PINTLE_MAX_POOL_MODELS);
	line(f, depth, "additionalProperties:");
	line(f, depth + 2, "type: string");
	line(f, depth + 2, "maxLength: 317");
	line(f, depth + 2, "pattern: '^[a-z0-9]([-.a-z0-9]*[a-z0-9])?(:[a-z0-9-]+)?$'");
}

static const struct {
	const struct yaml_type *type;
	void (*write)(FILE *f, int depth, const struct yaml_key *k);
} schemas[] = {
	{&yaml_map, map_schema},
	{&yaml_maps, maps_schema},
	{&yaml_name, text_schema},
	{&config_source, text_schema},
	{&config_account, text_schema},
	{&yaml_choice, choice_schema},
	{&yaml_word, choice_schema},
	{&yaml_bool, bool_schema},
	{&yaml_integer, number_schema},
	{&yaml_number, number_schema},
	{&yaml_duration, duration_schema},
	{&config_session, session_schema},
	{&config_tenant_by, session_schema},
	{&config_extra, any_schema},
	{&config_headers, text_schema},
	{&config_reserve, any_schema},
	{&config_rate, text_schema},
	{&config_tenant, text_schema},
	{&config_url_path, path_schema},
	{&config_metric, text_schema},
	{&config_session_key, any_schema},
	{&config_models, models_schema},
};

static void write_schema(FILE *f, int depth, const struct yaml_key *k)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(schemas) && schemas[i].type != k->type)
		i++;
	assert(i < ARRAY_SIZE(schemas)); /* else add a row above */
	line(f, depth, "%s:", yaml_key_local(k));
	write_description(f, depth + 2, k);
	schemas[i].write(f, depth + 2, k);
}

static void write_children(FILE *f, int depth, const char *prefix)
{
	const struct yaml_table *t = config_policy_table();

	for (size_t i = 0; i < t->count; i++)
		if (yaml_key_is_child(&t->keys[i], prefix))
			write_schema(f, depth, &t->keys[i]);
}

/* What is not known is not cut off: pintled tells its author. */
static void map_schema(FILE *f, int depth, const struct yaml_key *k)
{
	char prefix[YAML_PREFIX_SIZE];

	yaml_key_prefix(k, prefix);
	line(f, depth, "type: object");
	line(f, depth, "x-kubernetes-preserve-unknown-fields: true");
	line(f, depth, "properties:");
	write_children(f, depth + 2, prefix);
}

static void maps_schema(FILE *f, int depth, const struct yaml_key *k)
{
	line(f, depth, "type: array");
	line(f, depth, "maxItems: %.0f", k->each);
	line(f, depth, "items:");
	map_schema(f, depth + 2, k);
}

void policy_manifest(FILE *f)
{
	write_children(f, DEPTH, config_policy_table()->prefix);
}
