/* SPDX-License-Identifier: Apache-2.0 */
/* top_draw.c - what is on the screen of `pintle top`. */
#include <curses.h>

#include "../../base/text.h"
#include "top.h"
#include "top_screen.h"

#define WIDE        100 /* columns from which there is room for wider gaps */
#define NAME_LEAST  12  /* a first column is cut to no less */
#define TREND_LEAST 9

/* A piece of text at a place; what does not fit is left out. Texts are ours or printable ASCII, but
 * for bars: nothing else reaches the terminal. */
static void draw_put(const struct top *t, int y, int x, enum tone tone, int more, const char *text)
{
	char shown[TOP_TEXT_SIZE];

	if (y < 0 || y >= LINES || x < 0 || x >= COLS)
		return;
	snprintf(shown, sizeof(shown), "%.*s", COLS - x, text);
	text_make_printable(shown, '?');
	attrset(screen_attribute(t, tone) | more);
	mvaddstr(y, x, shown);
	attrset(A_NORMAL);
}

/* ---- a list -------------------------------------------------------------------------- */

/* What is needed while one list is drawn. */
struct area {
	struct top *t;
	enum top_list_id list;
	struct top_place *place;
	int y, height;
	size_t rows; /* that are drawn */
	struct text_table table;
	double trend_max;
};

static bool is_lower(const struct area *a)
{
	return a->list == top_views[a->t->view].lower;
}

static size_t table_room(const struct area *a)
{
	int room = COLS - 1 - (a->list == TOP_ENDPOINTS ? TREND_LEAST + (int)a->table.gap : 0);

	return (size_t)MAX(room, 1);
}

/* The rows of the screen, one behind the other; the caller frees them. */
static char *rows_copy(const struct area *a)
{
	size_t size = top_lists[a->list].size;
	char *rows = calloc(a->rows + 1, size);

	for (size_t i = 0; rows && i < a->rows; i++)
		memcpy(rows + i * size,
		       top_row(&a->t->data, a->list, a->place->order[a->place->offset + i]), size);
	return rows;
}

/* A column that can be spared is hidden while no row has a value for it. */
static void table_drop_empty(struct text_table *t)
{
	for (size_t j = 0; t->count && j < t->columns->count; j++) {
		bool empty = t->columns->column[j].spare > 0;

		for (size_t i = 0; empty && !t->hidden[j] && i < t->count; i++)
			empty = !strcmp(t->cells[i * t->columns->count + j].text, "-");
		t->hidden[j] = t->hidden[j] || empty;
	}
}

/* Takes so much from the first column, as far as may be. */
static void table_cut(struct text_table *t, size_t excess)
{
	size_t least = MIN(t->widths[0], (size_t)NAME_LEAST);

	t->widths[0] = t->widths[0] > least + excess ? t->widths[0] - excess : least;
}

static void table_fit(struct area *a)
{
	struct text_table *t = &a->table;
	size_t room = table_room(a), width;

	for (size_t j = 0; j < t->columns->count; j++)
		a->place->widths[j] = t->widths[j] = MAX(t->widths[j], a->place->widths[j]);
	table_drop_empty(t);
	text_table_narrow(t, room);
	width = text_table_width(t);
	if (width > room)
		table_cut(t, width - room);
}

/* Cuts a text in its middle: names of pods differ at their ends. */
static void text_cut(char *to, size_t size, const char *text, size_t width)
{
	size_t length = strlen(text), head = width / 3;

	if (length <= width || width < 4)
		snprintf(to, size, "%.*s", (int)width, text);
	else
		snprintf(to, size, "%.*s~%s", (int)head, text, text + length - (width - head - 1));
}

static void cell_draw(const struct area *a, int y, int x, size_t j, const char *text,
		      enum tone tone, int more)
{
	size_t width = a->table.widths[j], length;
	char shown[TOP_TEXT_SIZE];

	text_cut(shown, sizeof(shown), text, width);
	length = strlen(shown);
	if (a->table.columns->column[j].right && length < width)
		x += (int)(width - length);
	draw_put(a->t, y, x, tone, more, shown);
}

/* Returns the column behind the table. row == count: the headings. */
static int cells_draw(const struct area *a, int y, size_t row, int more)
{
	const struct columns *c = a->table.columns;
	int x = 1;

	for (size_t j = 0; j < c->count; j++) {
		const struct text_cell *cell = &a->table.cells[row * c->count + j];
		bool heading = row == a->table.count;
		bool sorted = heading && a->place->sorted_by == j;

		if (a->table.hidden[j])
			continue;
		cell_draw(a, y, x, j, heading ? c->column[j].heading : cell->text,
			  heading ? TONE_HEADING : cell->tone, sorted ? (int)A_REVERSE : more);
		x += (int)(a->table.widths[j] + a->table.gap);
	}
	return x;
}

static const struct state_endpoint *draw_endpoint_at(const struct area *a, size_t row)
{
	return top_row(&a->t->data, TOP_ENDPOINTS, a->place->order[a->place->offset + row]);
}

static double trend_max(const struct area *a)
{
	double max = 0;

	for (size_t i = 0; i < a->rows; i++)
		max = MAX(max, top_trend_max(a->t->trends, draw_endpoint_at(a, i), a->t->trend));
	return max;
}

static void trend_heading(const struct area *a, int x)
{
	char max[WORDS_SIZE], text[64];

	if (a->t->trend == TREND_LOAD)
		snprintf(max, sizeof(max), "%.1f", a->trend_max);
	else
		quantile_text(a->trend_max, max);
	snprintf(text, sizeof(text), "%s 0-%s", top_trend_names[a->t->trend], max);
	if ((int)strlen(text) > COLS - x)
		snprintf(text, sizeof(text), "%s", top_trend_names[a->t->trend]);
	draw_put(a->t, a->y, x, TONE_HEADING, 0, text);
}

static void trend_draw(const struct area *a, int y, int x, size_t row)
{
	char bars[TOP_TREND_SIZE];

	if (x >= COLS)
		return;
	top_trend_text(a->t->trends, draw_endpoint_at(a, row), a->t->trend, (size_t)(COLS - x),
		       a->trend_max, a->t->utf8, bars);
	mvaddstr(y, x, bars);
}

static void area_draw(const struct area *a)
{
	int x = cells_draw(a, a->y, a->table.count, 0);

	if (a->list == TOP_ENDPOINTS)
		trend_heading(a, x);
	for (size_t i = 0; i < a->rows; i++) {
		bool selected = is_lower(a) && a->place->offset + i == a->place->at;
		int y = a->y + 1 + (int)i;

		if (selected) {
			draw_put(a->t, y, 0, TONE_HEADING, 0, ">");
			mvhline(y, 1, ' ' | A_REVERSE, (int)text_table_width(&a->table));
		}
		x = cells_draw(a, y, i, selected ? (int)A_REVERSE : 0);
		if (a->list == TOP_ENDPOINTS)
			trend_draw(a, y, x, i);
	}
}

/* The rows that have room; with more of them, the upper list ends with how many. */
static void area_rows(struct area *a)
{
	struct top_place *p = a->place;
	size_t room = (size_t)MAX(a->height - 1, 0), last;

	if (!is_lower(a)) {
		p->offset = 0;
		a->rows = p->shown <= room ? p->shown : MAX(room, (size_t)1) - 1;
		return;
	}
	a->t->page = MAX(room, (size_t)1);
	if (p->at < p->offset)
		p->offset = p->at;
	else if (p->at >= p->offset + a->t->page)
		p->offset = p->at - a->t->page + 1;
	last = p->shown > room ? p->shown - room : 0;
	p->offset = MIN(p->offset, last);
	a->rows = MIN(p->shown - p->offset, room);
}

static void area_note(const struct area *a)
{
	char text[TOP_TEXT_SIZE];

	if (!a->place->shown && *a->t->filter && a->t->data.rows[a->list].count)
		snprintf(text, sizeof(text), "no %s with '%s'; Esc shows all",
			 top_lists[a->list].title, a->t->filter);
	else if (!a->place->shown)
		snprintf(text, sizeof(text), "%s", top_lists[a->list].none);
	else
		snprintf(text, sizeof(text), "and %zu more %s", a->place->shown - a->rows,
			 top_lists[a->list].title);
	draw_put(a->t, a->y + 1 + (int)a->rows, 1, TONE_FAINT, 0, text);
}

/* Draws a list and returns how many lines it took. */
static int list_draw(struct top *t, enum top_list_id list, int y, int height)
{
	struct area a = {.t = t, .list = list, .place = &t->places[list], .y = y, .height = height};
	_cleanup_free_ char *rows = NULL;
	size_t lines;

	if (height < 2)
		return 0;
	area_rows(&a);
	a.table = (struct text_table){
		.columns = top_columns(list), .count = a.rows, .gap = COLS < WIDE ? 1 : 2};
	rows = rows_copy(&a);
	if (rows && text_table_make(&a.table, rows, top_lists[list].size, t->data.s)) {
		table_fit(&a);
		if (list == TOP_ENDPOINTS)
			a.trend_max = trend_max(&a);
		area_draw(&a);
	}
	text_table_free(&a.table);
	if (!a.place->shown || (!is_lower(&a) && a.rows < a.place->shown))
		area_note(&a);
	lines = a.place->shown ? a.place->shown : 1;
	return lines < (size_t)height ? 1 + (int)lines : height;
}

/* ---- around the lists ------------------------------------------------------------------ */

static void title_draw(const struct top *t)
{
	const struct top_place *p = &t->places[top_views[t->view].lower];
	const struct columns *c = top_columns(top_views[t->view].lower);
	char left[128], right[TOP_TEXT_SIZE] = "", part[128], age[WORDS_SIZE];
	time_t now = time(NULL);
	struct tm tm;
	int x;

	snprintf(left, sizeof(left), "pintle top: %s", top_views[t->view].title);
	draw_put(t, 0, 0, TONE_HEADING, 0, left);
	if (p->sorted_by < c->count) {
		snprintf(part, sizeof(part), "by %s%s", c->column[p->sorted_by].heading,
			 p->reversed ? " reversed" : "");
		text_list_add(right, sizeof(right), part);
	}
	if (*t->filter) {
		snprintf(part, sizeof(part), "with '%s'", t->filter);
		text_list_add(right, sizeof(right), part);
	}
	snprintf(part, sizeof(part), "every %s",
		 age_text((double)t->interval_ns / (double)NSEC_PER_SEC, age));
	text_list_add(right, sizeof(right), t->paused ? "PAUSED" : part);
	if (localtime_r(&now, &tm) && strftime(part, sizeof(part), "%H:%M:%S", &tm))
		text_list_add(right, sizeof(right), part);
	x = COLS - (int)strlen(right);
	draw_put(t, 0, MAX(x, (int)strlen(left) + 2), TONE_PLAIN, 0, right);
}

/* In as many lines as it takes: no list is drawn below. */
static void trouble_draw(const struct top *t)
{
	const char *rest = t->trouble;
	int width = MAX(COLS, 1);

	for (int y = 1; *rest; y++) {
		draw_put(t, y, 0, TONE_BAD, 0, rest);
		rest += MIN(strlen(rest), (size_t)width);
	}
}

static void state_draw(const struct top *t)
{
	char text[TOP_TEXT_SIZE];
	enum tone tone = TONE_BAD;

	if (*t->trouble)
		trouble_draw(t);
	else if (t->data.s) {
		tone = top_daemon_text(&t->data, text, sizeof(text));
		draw_put(t, 1, 0, tone, 0, text);
	}
}

static void help_draw(const struct top *t)
{
	int y = 3;

	for (size_t i = 0; i < top_key_help_count; i++, y++) {
		draw_put(t, y, 2, TONE_HEADING, 0, top_key_helps[i].keys);
		draw_put(t, y, 18, TONE_PLAIN, 0, top_key_helps[i].says);
	}
}

static void question_draw(const struct top *t)
{
	char text[TOP_TEXT_SIZE];

	snprintf(text, sizeof(text), "%s%s %s? y/n", t->asking == ASK_TWICE ? "really " : "",
		 t->drain ? "drain" : "undrain", t->name);
	draw_put(t, LINES - 1, 0, TONE_HEADING, 0, text);
	draw_put(t, LINES - 1, (int)strlen(text) + 2, TONE_WARN, 0, t->message);
}

static void bottom_draw(const struct top *t)
{
	char text[TOP_TEXT_SIZE];

	switch (t->asking) {
	case ASK_FILTER:
		snprintf(text, sizeof(text), "show rows with: %s_", t->filter);
		break;
	case ASK_ONCE:
	case ASK_TWICE:
		question_draw(t);
		return;
	case ASK_HELP:
		snprintf(text, sizeof(text), "any key: back");
		break;
	default:
		snprintf(text, sizeof(text), "%s",
			 *t->message ? t->message
				     : "? help  q quit  Tab view  / filter  <>r sort  d drain  "
				       "u undrain  p pause");
	}
	draw_put(t, LINES - 1, 0,
		 t->asking     ? TONE_HEADING
		 : *t->message ? TONE_WARN
			       : TONE_FAINT,
		 0, text);
}

static void lists_draw(struct top *t)
{
	const struct top_view *v = &top_views[t->view];
	int y = 3;

	y += list_draw(t, v->upper, y, MAX(LINES / 4, 2)) + 1;
	list_draw(t, v->lower, y, LINES - 1 - y);
}

void top_draw(struct top *t)
{
	erase();
	title_draw(t);
	state_draw(t);
	if (t->asking == ASK_HELP)
		help_draw(t);
	else if (t->data.s)
		lists_draw(t);
	bottom_draw(t);
	refresh();
}
