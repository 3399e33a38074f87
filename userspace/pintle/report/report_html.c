/* SPDX-License-Identifier: Apache-2.0 */
/* report_html.c - the report as one page: its tables, and plots as inline SVG. No script, and
 * nothing that is loaded from elsewhere. */
#include "report.h"

#include <ctype.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "../../base/buckets.h"
#include "../../base/log.h"
#include "../../base/util.h"
#include "../../maps/names.h"
#include "../text_table.h"

/* Everything that is not this file's own text goes through here: names come from a configuration,
 * or from a cluster. */
static void escaped(FILE *f, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '&':
			fputs("&amp;", f);
			break;
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		case '\'':
			fputs("&#39;", f);
			break;
		default:
			fputc(*text < ' ' || *text > '~' ? '?' : *text, f);
		}
}

/* ---- tables ----------------------------------------------------------------------------- */

static int html_table(FILE *f, const struct report_table *t, const struct report *r)
{
	const struct columns *c = t->columns;

	if (!t->count)
		return 0;
	fprintf(f, "<h2>%c%s</h2>\n<table>\n<tr>", toupper(t->name[0]), t->name + 1);
	for (size_t j = 0; j < c->count; j++)
		if (c->column[j].heading)
			fprintf(f, "<th%s>%s</th>", c->column[j].right ? " class=\"n\"" : "",
				c->column[j].heading);
	fputs("</tr>\n", f);
	for (size_t i = 0; i < t->count; i++) {
		fputs("<tr>", f);
		for (size_t j = 0; j < c->count; j++) {
			_cleanup_free_ char *text = NULL;
			struct value v;

			if (!c->column[j].heading)
				continue;
			v = c->column[j].get((const char *)t->rows + i * t->size, r);
			text = value_to_text(&v);
			if (!text)
				return -ENOMEM;
			fprintf(f, "<td%s>", c->column[j].right ? " class=\"n\"" : "");
			escaped(f, text);
			fputs("</td>", f);
		}
		fputs("</tr>\n", f);
	}
	fputs("</table>\n", f);
	return 0;
}

/* ---- plots ------------------------------------------------------------------------------- */

#define WIDTH  760
#define HEIGHT 200
#define LEFT   56
#define TOP    12
#define BOTTOM 24

/* Modes are colours, which the page names below each plot. */
static const char *const mode_classes[REPORT_MODES] = {"m0", "m1", "m2", "m3", "m4"};

struct axis {
	double from, to; /* what is at the ends */
	double at, length;
	bool up;
};

static double place(const struct axis *a, double value)
{
	double share = a->to > a->from ? (value - a->from) / (a->to - a->from) : 0;

	share = MAX(share, 0.0);
	share = MIN(share, 1.0);
	return a->up ? a->at + a->length * (1 - share) : a->at + a->length * share;
}

/* 1, 2 or 5 times a power of ten, at least `value`. */
static double round_up(double value)
{
	static const double steps[] = {1, 2, 5, 10};
	double ten = 1e-6;

	while (ten * 10 < value)
		ten *= 10;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		if (steps[i] * ten >= value)
			return steps[i] * ten;
	return value;
}

static struct axis plot_begin(FILE *f, const char *title, double most, const char *unit)
{
	struct axis y = {0, round_up(MAX(most, 1e-6)), TOP, HEIGHT - TOP - BOTTOM, true};

	fprintf(f, "<figure><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH,
		HEIGHT, title);
	for (int i = 0; i <= 4; i++) {
		double value = y.to * i / 4, at = place(&y, value);

		fprintf(f,
			"<line class=\"g\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
			"<text class=\"r\" x=\"%d\" y=\"%.1f\">%g%s</text>\n",
			LEFT, WIDTH - 8, at, at, LEFT - 6, at + 4, value, unit);
	}
	return y;
}

static void plot_end(FILE *f, const char *caption)
{
	fprintf(f, "</svg><figcaption>%s</figcaption></figure>\n", caption);
}

static double milliseconds(const struct waits *w, double q)
{
	return bucket_quantile((const __u64 *)w->bucket, q) / 1e3;
}

static struct axis time_axis(FILE *f, const struct report *r)
{
	struct axis x = {0, r->seconds, LEFT, WIDTH - 8 - LEFT, false};
	char text[48];

	fprintf(f,
		"<text x=\"%d\" y=\"%d\">%s ago</text><text class=\"r\" x=\"%d\" y=\"%d\">now</text>\n",
		LEFT, HEIGHT - 6, report_span_text(r->seconds, text), WIDTH - 8, HEIGHT - 6);
	return x;
}

static double middle(const struct report *r, const struct span *s)
{
	return ((double)(s->from_ns - r->from_ns) + (double)(s->to_ns - r->from_ns)) / 2e9;
}

static void plot_first_tokens(FILE *f, const struct report *r)
{
	double most = 0;
	struct axis x, y;

	for (size_t i = 0; i < r->span_count; i++)
		most = MAX(most, milliseconds(&r->spans[i].waits, 0.95));
	if (most <= 0)
		return;
	y = plot_begin(f, "Time to first token, minute by minute", most, " ms");
	x = time_axis(f, r);
	for (size_t i = 0; i < r->span_count; i++) {
		const struct span *s = &r->spans[i];
		double at = place(&x, middle(r, s));

		if (!s->waits.answers)
			continue;
		fprintf(f,
			"<line class=\"b %s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
			"<circle class=\"d %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>\n",
			mode_classes[s->mode], at, at, place(&y, milliseconds(&s->waits, 0.5)),
			place(&y, milliseconds(&s->waits, 0.95)), mode_classes[s->mode], at,
			place(&y, milliseconds(&s->waits, 0.5)));
	}
	plot_end(f, "Time to first token of each minute: median (dot) to 95th percentile");
}

static void plot_decisions(FILE *f, const struct report *r)
{
	double most = 0;
	struct axis x, y;

	for (size_t i = 0; i < r->span_count; i++) {
		double seconds = (double)(r->spans[i].to_ns - r->spans[i].from_ns) / 1e9;

		most = MAX(most, seconds > 0 ? (double)r->spans[i].decisions / seconds : 0);
	}
	if (most <= 0)
		return;
	y = plot_begin(f, "Connections a second", most, "");
	x = time_axis(f, r);
	for (size_t i = 0; i < r->span_count; i++) {
		const struct span *s = &r->spans[i];
		double from = place(&x, (double)(s->from_ns - r->from_ns) / 1e9);
		double to = place(&x, (double)(s->to_ns - r->from_ns) / 1e9);
		double seconds = (double)(s->to_ns - s->from_ns) / 1e9;
		double at = place(&y, seconds > 0 ? (double)s->decisions / seconds : 0);

		fprintf(f,
			"<rect class=\"a %s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
			mode_classes[s->mode], from, at, MAX(to - from, 0.5), y.at + y.length - at);
	}
	plot_end(f, "Connections a second");
}

/* Shares of answers that had come by then. */
static void plot_shares(FILE *f, const struct report *r)
{
	struct axis y, x;
	uint32_t last = 0;

	for (uint32_t k = 0; k < PINTLE_MODE_COUNT; k++)
		for (uint32_t i = 0; i < PINTLE_BUCKETS - 1; i++)
			if (r->modes[k].waits.bucket[i])
				last = MAX(last, i);
	if (!last)
		return;
	y = plot_begin(f, "Share of answers by time to first token", 1, "");
	/* A bucket is as wide as any other, so this is a logarithmic scale. */
	x = (struct axis){0, last, LEFT, WIDTH - 8 - LEFT, false};
	for (uint32_t i = 0; i <= last; i += 20)
		fprintf(f, "<text class=\"c\" x=\"%.1f\" y=\"%d\">%g ms</text>\n", place(&x, i),
			HEIGHT - 6, bucket_bound_us(i) / 1e3);
	for (uint32_t k = 0; k < PINTLE_MODE_COUNT; k++) {
		const struct waits *w = &r->modes[k].waits;
		double sum = 0;

		if (!w->answers)
			continue;
		fprintf(f, "<polyline class=\"l %s\" points=\"", mode_classes[k]);
		for (uint32_t i = 0; i <= last; i++) {
			sum += (double)w->bucket[i];
			fprintf(f, "%.1f,%.1f ", place(&x, i), place(&y, sum / (double)w->answers));
		}
		fputs("\"/>\n", f);
	}
	plot_end(f, "Share of answers whose first token had come by then");
}

static void legend(FILE *f, const struct report *r)
{
	fputs("<p class=\"k\">", f);
	for (uint32_t k = 0; k < REPORT_MODES; k++)
		if (r->modes[k].spans)
			fprintf(f, "<span class=\"%s\">&#9632;</span> %s &#160; ", mode_classes[k],
				report_mode_name(k));
	fputs("</p>\n", f);
}

/* ---- the page ------------------------------------------------------------------------------ */

static const char style[] =
	":root{--ink:#1a1a1a;--paper:#fff;--grid:#ddd;--m0:#888;--m1:#b35900;--m2:#0a6ebd;"
	"--m3:#7a3db8;--m4:#bbb}\n"
	"@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--paper:#16181b;--grid:#3a3d42;"
	"--m1:#f0a04b;--m2:#5cb3f5;--m3:#c08cf0;--m4:#666}}\n"
	"@media print{:root{--ink:#000;--paper:#fff;--grid:#ccc}figure,table{break-inside:avoid}}\n"
	"body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);"
	"max-width:60rem;margin:2rem auto;padding:0 1rem}\n"
	"h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}\n"
	"table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
	"th,td{text-align:left;padding:.15rem .8rem .15rem 0;border-bottom:1px solid var(--grid)}\n"
	".n{text-align:right}figure{margin:1.5rem 0}svg{width:100%;height:auto}\n"
	"figcaption,.k{font-size:.85rem}text{font-size:11px;fill:var(--ink)}\n"
	".r{text-anchor:end}.c{text-anchor:middle}.g{stroke:var(--grid)}\n"
	".m0{--c:var(--m0)}.m1{--c:var(--m1)}.m2{--c:var(--m2)}.m3{--c:var(--m3)}.m4{--c:var(--m4)}\n"
	"span{color:var(--c)}.b{stroke:var(--c);stroke-width:1.5;opacity:.5}.d{fill:var(--c)}\n"
	".a{fill:var(--c);opacity:.8}.l{fill:none;stroke:var(--c);stroke-width:2}\n";

static int page_write(FILE *f, const struct report *r)
{
	char buf[REPORT_SENTENCE_SIZE], span[48];
	struct report_tables tables;
	int err = 0;

	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
	      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>"
	      "<meta http-equiv=\"Content-Security-Policy\" "
	      "content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n<title>Pintle: ",
	      f);
	escaped(f, r->pool->name);
	fprintf(f, "</title>\n<style>\n%s</style></head><body>\n<h1>", style);
	escaped(f, r->pool->name);
	fprintf(f, "</h1>\n<p>The last %s, by pintle %s.</p>\n<ul>\n",
		report_span_text(r->seconds, span), PINTLE_VERSION);
	for (size_t i = 0; report_sentence(r, i, buf); i++) {
		fputs("<li>", f);
		escaped(f, buf);
		fputs("</li>\n", f);
	}
	fputs("</ul>\n", f);
	legend(f, r);
	plot_first_tokens(f, r);
	plot_shares(f, r);
	plot_decisions(f, r);
	report_tables(r, &tables);
	for (size_t i = 0; !err && i < REPORT_TABLES; i++)
		err = html_table(f, &tables.table[i], r);
	fputs("</body></html>\n", f);
	return err ? err : ferror(f) ? -EIO : 0;
}

/* Written beside the file, and renamed: a page that could not be written whole replaces none. */
int report_html(const struct report *r, const char *path)
{
	_cleanup_free_ char *beside = NULL;
	struct stat st;
	FILE *f;
	int fd, err;

	/* Renaming over /dev/stdout would take it from everybody. */
	if (!stat(path, &st) && !S_ISREG(st.st_mode)) {
		log_error("%s is no file; name one that may be written", path);
		return -EINVAL;
	}

	if (asprintf(&beside, "%s.XXXXXX", path) < 0) {
		beside = NULL;
		return log_err_r(ENOMEM, "%s", path);
	}
	fd = mkostemp(beside, O_CLOEXEC);
	f = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!f) {
		err = -errno;
		if (fd >= 0) {
			close(fd);
			unlink(beside);
		}
		return log_err_r(err, "cannot write %s", path);
	}
	fchmod(fd, 0644);
	err = page_write(f, r);
	if (fclose(f) && !err)
		err = -errno;
	if (!err && rename(beside, path))
		err = -errno;
	if (!err)
		return 0;
	unlink(beside);
	return log_err_r(err, "cannot write %s", path);
}
