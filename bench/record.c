// SPDX-License-Identifier: GPL-2.0
/*
 * record - the table that is printed, and the JSON: see record.h
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "bench.h"
#include "peer.h"
#include "record.h"

#define TITLE	35	/* columns of a row's title */
#define CELL	13

struct figure {
	const char *work;
	const struct peer *peer;
	char point[64];
	char metric[24];
	char unit[32];
	const char *missing;	/* or: */
	struct series series;
};

static struct figure *figures;
static int count, room;
static const char *work;
static char table_unit[32];
static char at[64];
static const struct peer *row;
static char **whys;
static int why_count;

void record_work(const char *name, const char *title, int i, int n)
{
	static double start;

	if (!start)
		start = now();
	work = name;
	at[0] = '\0';
	printf("\n== [%d/%d] %s: %s\n", i, n, name, title);
	progress("%.0f s so far", (now() - start) / 1e9);
	settle();
}

static const char *clock_unit(void)
{
	return options.instructions ? "instructions" : "ns";
}

void record_unit(const char *per, const char *unit)
{
	snprintf(table_unit, sizeof(table_unit), per ? "%s/%s" : "%s",
		 unit ? unit : clock_unit(), per);
}

void progress(const char *format, ...)
{
	va_list args;

	printf("  ... ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

void table_begin(const char *heading, const char *per, const char *unit,
		 const char *const *columns)
{
	record_unit(per, unit);
	printf("\n%s, %s\n%-*s", heading, table_unit, TITLE, "");
	for (; *columns; columns++)
		printf("%*s", CELL, *columns);
	putchar('\n');
	fflush(stdout);
}

/* The number of the note that says why, the same for the same words. */
static int why_number(const char *why)
{
	char **more;
	int i;

	for (i = 0; i < why_count; i++)
		if (!strcmp(whys[i], why))
			return i + 1;
	more = realloc(whys, (why_count + 1) * sizeof(*whys));
	check(more, "realloc");
	whys = more;
	whys[why_count++] = strdup(why);
	return why_count;
}

static const char *why_not(const struct peer *peer)
{
	row = peer;
	return peer->missing ? peer->missing() : NULL;
}

bool row_silent(const struct peer *peer)
{
	const char *why = why_not(peer);

	if (why)
		record_missing("", why);
	return !why;
}

static bool row_print(const struct peer *peer)
{
	const char *why = why_not(peer);

	printf("%-*s", TITLE, peer->title);
	if (why)
		printf("  not here: %s\n", why);
	fflush(stdout);
	return !why;
}

bool row_begin(const struct peer *peer)
{
	bool here = row_print(peer);

	if (!here)
		record_missing("", why_not(peer));
	return here;
}

bool row_again(const struct peer *peer)
{
	return row_print(peer);
}

void row_end(void)
{
	putchar('\n');
	fflush(stdout);
}

void table_end(void)
{
	int i;

	for (i = 0; i < why_count; i++) {
		printf("  (%d) %s\n", i + 1, whys[i]);
		free(whys[i]);
	}
	why_count = 0;
}

void point(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(at, sizeof(at), format, args);
	va_end(args);
}

static struct figure *figure_new(const char *metric)
{
	struct figure *f;

	if (count == room) {
		room = room ? 2 * room : 256;
		f = realloc(figures, room * sizeof(*figures));
		check(f, "realloc");
		figures = f;
	}
	f = &figures[count++];
	memset(f, 0, sizeof(*f));
	f->work = work;
	f->peer = row;
	snprintf(f->point, sizeof(f->point), "%s", at);
	snprintf(f->metric, sizeof(f->metric), "%s", metric);
	snprintf(f->unit, sizeof(f->unit), "%s", table_unit);
	return f;
}

void record_missing(const char *metric, const char *why)
{
	figure_new(metric)->missing = strdup(why);
}

void record(const char *metric, const struct series *series)
{
	if (series->n < SAMPLES_LEAST)
		record_missing(metric, pace_slow());
	else
		figure_new(metric)->series = *series;
}

/* Three digits at least, and thousands apart. */
static void print_value(double value)
{
	char text[32];
	int i, length;

	snprintf(text, sizeof(text), "%.*f",
		 value < 10 ? 2 : value < 100 ? 1 : 0, value);
	length = strcspn(text, ".");
	printf("%*s", CELL - (int)strlen(text) - (length - 1) / 3, "");
	for (i = 0; text[i]; i++) {
		putchar(text[i]);
		if (i < length - 1 && (length - 1 - i) % 3 == 0)
			putchar(',');
	}
	fflush(stdout);
}

void cell(const char *metric, const struct series *series)
{
	record(metric, series);
	cell_again(metric);
}

void cell_count(const char *metric, const char *unit, double value)
{
	struct figure *f = figure_new(metric);

	series_add(&f->series, value);
	snprintf(f->unit, sizeof(f->unit), "%s", unit);
	print_value(value);
}

static void print_missing(const char *why)
{
	printf("%*s(%d)", CELL - 3, "", why_number(why));
	fflush(stdout);
}

void cell_missing(const char *metric, const char *why)
{
	record_missing(metric, why);
	print_missing(why);
}

static const struct figure *find(const char *metric)
{
	int i;

	for (i = count - 1; i >= 0; i--)
		if (figures[i].work == work && figures[i].peer == row &&
		    !strcmp(figures[i].point, at) &&
		    !strcmp(figures[i].metric, metric))
			return &figures[i];
	return NULL;
}

const struct series *recorded(const char *metric)
{
	const struct figure *f = find(metric);

	return f && !f->missing ? &f->series : NULL;
}

void cell_again(const char *metric)
{
	const struct figure *f = find(metric);

	if (!f)
		printf("%*s", CELL, "-");
	else if (f->missing)
		print_missing(f->missing);
	else
		print_value(series_median(&f->series));
}

/* "pages=10 layout=spread" as members: numbers are numbers. */
static void point_json(FILE *f, const char *text)
{
	char copy[64], *word, *value, *end, *save;
	const char *comma = "";

	snprintf(copy, sizeof(copy), "%s", text);
	for (word = strtok_r(copy, " ", &save); word;
	     word = strtok_r(NULL, " ", &save)) {
		value = strchr(word, '=');
		*value++ = '\0';
		strtod(value, &end);
		fprintf(f, *end ? "%s\"%s\": \"%s\"" : "%s\"%s\": %s", comma, word,
			value);
		comma = ", ";
	}
}

static void figure_json(FILE *f, const struct figure *figure)
{
	const struct series *s = &figure->series;

	fprintf(f, "  {\"work\": \"%s\", \"point\": {", figure->work);
	point_json(f, figure->point);
	fprintf(f, "}, \"peer\": \"%s\", \"metric\": \"%s\", \"unit\": \"%s\", ",
		figure->peer->id, figure->metric, figure->unit);
	if (figure->missing) {
		fprintf(f, "\"missing\": ");
		json_string(f, figure->missing);
		putc('}', f);
	} else {
		fprintf(f, "\"n\": %d, \"min\": %.10g, \"median\": %.10g, \"max\": %.10g}",
			s->n, series_min(s), series_median(s), series_max(s));
	}
}

/* The titles of the peers that have figures. */
static void peers_json(FILE *f)
{
	const char *comma = "";
	int i, j;

	fprintf(f, " \"peers\": {");
	for (i = 0; i < count; i++) {
		for (j = 0; figures[j].peer != figures[i].peer; j++)
			;
		if (j < i)
			continue;
		fprintf(f, "%s\n  \"%s\": \"%s\"", comma, figures[i].peer->id,
			figures[i].peer->title);
		comma = ",";
	}
	fprintf(f, "\n },\n");
}

static FILE *output;
static char *unfinished;	/* its name, until all is in it */
const char *record_error;

void record_open(void)
{
	struct stat st;

	if (!stat(options.json, &st) && !S_ISREG(st.st_mode))
		fail("--json %s: not a file", options.json);
	check(asprintf(&unfinished, "%s.unfinished", options.json) > 0, "asprintf");
	output = fopen(unfinished, "w");
	if (!output)
		fail("cannot write %s: %s", unfinished, strerror(errno));
}

void record_write(void)
{
	time_t seconds = time(NULL);
	FILE *f = output;
	char date[32];
	int i;

	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime(&seconds));
	fprintf(f, "{\n \"program\": \"avm-bench\",\n \"date\": \"%s\",\n", date);
	if (record_error) {
		fprintf(f, " \"error\": ");
		json_string(f, record_error);
		fprintf(f, ",\n");
	}
	fprintf(f, " \"clock\": \"%s\",\n \"quick\": %s,\n",
		options.instructions ? "instructions" : "time",
		options.quick ? "true" : "false");
	machine_json(f);
	peers_json(f);
	fprintf(f, " \"figures\": [\n");
	for (i = 0; i < count; i++) {
		figure_json(f, &figures[i]);
		fprintf(f, i < count - 1 ? ",\n" : "\n");
	}
	fprintf(f, " ]\n}\n");
	check(!ferror(f) && !fclose(f) && !rename(unfinished, options.json), options.json);
}
