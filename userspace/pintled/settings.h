/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - the configuration that runs: the file's text as it was read last, with what an
 *operator set since (`pintle set`), which is in the map `settings`.
 *
 *	settings_load()       at the start: the file, with what is pinned under the bpffs it names
 *	settings_use()        once the maps are open
 *	settings_look()       often: whether an operator set something, or asked for a reload
 *	settings_configure()  the configuration anew, by the same text
 *	settings_reload()     the same by the file as it is now
 *	settings_done()       what became of either: `verdicts` says so
 *
 * A setting that does not go with the file is left out, and never keeps the rest from running.
 */
#ifndef PINTLE_SETTINGS_H
#define PINTLE_SETTINGS_H

#include <stdbool.h>

#include "../config/config.h"
#include "../maps/maps.h"

struct settings;

/** Reads the file; errors go to the sink. Returns 0 with *out (settings_free() it) and *c
 * (config_free() it); or as config_load(). */
int settings_load(const char *path, const struct yaml_sink *sink, struct settings **out,
		  struct config **c);
void settings_free(struct settings *s);

/** From now on settings are read from these maps, which must outlive `s`. */
void settings_use(struct settings *s, const struct maps *m);

enum settings_news {
	SETTINGS_CHANGED = 1, /* since the configuration was made last */
	SETTINGS_RELOAD = 2,  /* `pintle reload` asked for it since it was begun last */
};
/** Returns enum settings_news, as bits. Cheap where nothing is set. */
unsigned int settings_look(struct settings *s);

/** The configuration by the text that runs and the settings as they are now. Returns 0 and *c, to
 * be followed by settings_done(); or -errno, logged: then settings_look() tells of it again. */
int settings_configure(struct settings *s, struct config **c);
/** The same by the file's text as it is now, which runs once settings_done() says so. Returns as
 * config_load(). */
int settings_reload(struct settings *s, const struct yaml_sink *sink, struct config **c);

/** That configuration could not be applied: the settings that are new in it are to be left out.
 * `why` is for the operator. Returns whether there are any: then it is worth another try. */
bool settings_leave_out(struct settings *s, const char *why);

/** What was made last runs (why is NULL); or, for that reason, what ran before it does. Of
 * settings_load() it is to be said once the maps are open and all is applied. Writes `verdicts`. */
void settings_done(struct settings *s, const char *why);

#endif
