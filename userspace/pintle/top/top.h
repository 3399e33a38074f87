/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top.h - what the files of `pintle top` share.
 *
 *   verb_top.c     the command; one frame; the loop of the screen
 *   top_data.c     what is read from the maps for one frame
 *   top_lists.c    the four lists: their columns, rows, order and filter
 *   top_trend.c    the last minute of each endpoint, as a line of small bars
 *   top_screen.c   the terminal: begun, given back, waited for
 *   top_terminal.c whether the terminal will do
 *   top_draw.c     what is on the screen
 *   top_keys.c     what keys do
 *
 * The screen has two views of two lists each: the upper one sums up, in the lower one a row is
 * selected. Values and columns are those of the nouns.
 */
#ifndef PINTLE_TOP_H
#define PINTLE_TOP_H

#include "../cli.h"
#include "../text_table.h"

/* ---- top_data.c ------------------------------------------------------------- */

enum top_list_id { TOP_POOLS, TOP_ENDPOINTS, TOP_CLASSES, TOP_SESSIONS, TOP_LISTS };

struct top_class {
	uint32_t pool; /* index into state.pools */
	uint32_t class_id;
};

/* The rows of a list; not owned. */
struct top_rows {
	const char *first;
	size_t count;
};

struct top_data {
	struct state *s;
	struct state_session *sessions;
	struct top_class *classes;
	struct top_rows rows[TOP_LISTS]; /* of the pool of --pool, or of all */
};

/** Opens the maps, reads them and closes them: what is pinned may be another set the next time.
 * Sessions are read if they are wanted: there may be many. Returns 0 with *out, which the caller
 * frees (top_data_free()); or EXIT_FAILED after logging why. */
int top_data_read(const struct cli *cli, bool sessions, struct top_data *out);
void top_data_free(struct top_data *d);

/* ---- top_lists.c ------------------------------------------------------------ */

#define TOP_COLUMNS 16

struct top_list {
	const char *title;
	const char *none; /* what a frame says in the place of rows */
	size_t size;      /* of a row */
	/* The index of the row's pool in state.pools; NULL: the row is the pool. */
	size_t (*pool_of)(const void *row);
	/* Tells rows apart from one frame to the next. */
	uint64_t (*identity)(const struct state *s, const void *row);
};

extern const struct top_list top_lists[TOP_LISTS];

/** Returns the columns of a list: the nouns' own, under shorter headings where those are long.
 * Static. */
const struct columns *top_columns(enum top_list_id list);

/* What a list shows of its rows, and where. */
struct top_place {
	size_t sorted_by; /* column; count of columns: as they come */
	bool reversed;
	uint64_t selected;          /* identity of a row; 0: none yet */
	size_t at;                  /* its place among the rows that are shown */
	size_t offset;              /* the first row on the screen */
	size_t widths[TOP_COLUMNS]; /* so that columns do not jump as numbers change */
	/* the rows that are shown, in their order: indexes of top_data.rows */
	size_t *order; /* owned */
	size_t shown;
};

/** Orders the rows of a list that have `filter` in one of their texts ("": all). Returns false
 * without memory. */
bool top_order(const struct top_data *d, enum top_list_id list, const char *filter,
	       struct top_place *p);
const void *top_row(const struct top_data *d, enum top_list_id list, size_t i);

/* ---- top_trend.c ------------------------------------------------------------ */

#define TOP_TREND_SECONDS 60

enum top_trend { TREND_LOAD, TREND_FIRST_TOKEN, TREND_COUNT };

extern const char *const top_trend_names[TREND_COUNT];

struct top_trends;

struct top_trends *top_trends_new(void);
void top_trends_free(struct top_trends *t);
/** Adds what was read. `step_ns` is the time between two readings; after a longer gap nothing is
 * known of the time between. */
void top_trends_add(struct top_trends *t, const struct top_data *d, uint64_t step_ns);
/** Returns the highest value of the last minute among these endpoints. */
double top_trend_max(const struct top_trends *t, const struct state_endpoint *e,
		     enum top_trend trend);
/** Draws the last minute of an endpoint in `width` characters, bars up to `max`, into `buf`
 * (TOP_TREND_SIZE bytes). `utf8`: with block elements, else in ASCII. */
#define TOP_TREND_SIZE (3 * TOP_TREND_SECONDS + 1)
void top_trend_text(const struct top_trends *t, const struct state_endpoint *e,
		    enum top_trend trend, size_t width, double max, bool utf8, char *buf);

/* ---- the screen ------------------------------------------------------------- */

enum top_asking { ASK_NOTHING, ASK_FILTER, ASK_ONCE, ASK_TWICE, ASK_HELP };

#define TOP_TEXT_SIZE 1024

struct top {
	const struct cli *cli;
	uint64_t interval_ns;
	struct top_data data;
	char trouble[TOP_TEXT_SIZE]; /* why nothing could be read; "": it could */
	size_t view;                 /* index into top_views */
	struct top_place places[TOP_LISTS];
	char filter[64];
	bool paused;
	enum top_trend trend;
	struct top_trends *trends;

	enum top_asking asking;
	/* ONCE, TWICE: of which endpoint */
	char name[ENDPOINT_NAME_SIZE];
	uint32_t id, generation;
	bool drain;                  /* else undrain */
	char message[TOP_TEXT_SIZE]; /* what came of the last key; "": nothing to say */

	bool utf8, color;
	size_t page; /* rows of the lower list on the screen */
	bool due;    /* read at once, whatever the interval */
	bool stopped;
};

struct top_view {
	const char *title;
	enum top_list_id upper, lower;
};

extern const struct top_view top_views[];
extern const size_t top_view_count;

/* ---- verb_top.c ------------------------------------------------------------- */

/** Writes how the daemon is into buf, and without it how old the pages are; returns its tone. */
enum tone top_daemon_text(const struct top_data *d, char *buf, size_t size);
/** Orders and filters the lists of the view anew, and finds the selected row again. */
void top_arrange(struct top *t);

/* ---- top_screen.c ----------------------------------------------------------- */

enum top_event { TOP_KEY = 1, TOP_TIME, TOP_RESIZED, TOP_STOPPED };

/** Takes the terminal. Returns 0, or EXIT_FAILED after logging why it cannot; screen_end() gives
 * the terminal back. */
int screen_begin(struct top *t);
void screen_end(void);
/** Returns whether a frame can be written: not after Ctrl-S. Writing would wait for Ctrl-Q, and no
 * signal would end that. */
bool screen_takes(void);
/** Waits for a key (*key), until `until_ns` (0: no end), or for a signal. A stop by Ctrl-Z is done
 * here. */
enum top_event screen_wait(uint64_t until_ns, int *key);

/* ---- top_draw.c, top_keys.c ------------------------------------------------- */

void top_draw(struct top *t);
void top_key(struct top *t, int key);
/** A line for each key, for --help and for the screen. */
struct top_key_help {
	const char *keys, *says;
};
extern const struct top_key_help top_key_helps[];
extern const size_t top_key_help_count;

#endif
