/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - makes the current configuration: the file's text as it was read last, with what
 * operators set since by `pintle set`, which is in the map `settings`, and with the pools that were
 * found in a cluster.
 *
 *	settings_load()       at the start: the file, with what is pinned under the bpffs it names
 *	settings_find()       whenever a cluster's pools changed
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

#include "../../config/config.h"
#include "../../maps/maps.h"

struct settings;

/** Reads the file, and the settings pinned under the bpffs that the file names; errors go to the
 * sink. Returns 0 with *out (settings_free() it) and *c (config_free() it); or as config_load(). */
int settings_load(const char *path, const struct yaml_sink *sink, struct settings **out,
		  struct config **c);
void settings_free(struct settings *s);

/** Reads settings, from now on, in these maps, which must outlive `s`. */
void settings_use(struct settings *s, const struct maps *m);

/** Takes the pools in *found, which replace those of the last call in the next configuration that
 * is made. A pool that does not go with the file is left out, and logged once. */
void settings_find(struct settings *s, struct config_founds *found);

struct hosts;
/** Adds endpoints at the addresses of these hosts to the next configurations; `hosts` must outlive
 * `s`. */
void settings_resolve(struct settings *s, struct hosts *hosts);

/** Returns those pools, as the configuration that was made last judged them. */
const struct config_founds *settings_found(const struct settings *s);

enum settings_news {
	SETTINGS_CHANGED = 1, /* settings changed since the configuration was made last */
	SETTINGS_RELOAD = 2,  /* `pintle reload` was called since a reload was begun last */
};
/** Returns bits of enum settings_news. Cheap where nothing is set. */
unsigned int settings_look(struct settings *s);

/** Makes the configuration from the current text and the settings as they are now. Returns 0 and *c
 * (config_free() it), to be followed by settings_done(); or -errno, logged: then the next
 * settings_look() says SETTINGS_CHANGED again. */
int settings_configure(struct settings *s, struct config **c);
/** Makes the configuration from the file as it is now, whose text becomes the current one once
 * settings_done() is called without a reason. Returns as config_load(); settings_done() must follow
 * either way. */
int settings_reload(struct settings *s, const struct yaml_sink *sink, struct config **c);

/** Leaves out the settings that are new in that configuration, which could not be applied. `why` is
 * for the operator. Returns whether there were any: then another settings_configure() may
 * succeed. */
bool settings_leave_out(struct settings *s, const char *why);

/** Says what became of the configuration that was made last: it was applied (`why` is NULL), or for
 * the reason `why` the one before it still holds. After settings_load() it is to be called once
 * settings_use() was called and the configuration is applied. Writes `verdicts`. */
void settings_done(struct settings *s, const char *why);

#endif
