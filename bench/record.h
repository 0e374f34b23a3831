/* SPDX-License-Identifier: GPL-2.0 */
/*
 * record - figures: the table that is printed as they come, and the JSON
 *
 * A figure is named by its work, the point it was measured at ("pages=1000
 * layout=scattered"), the peer and the metric. Within a table the peers are
 * the rows, and the columns are points or metrics.
 */
#ifndef RECORD_H
#define RECORD_H

#include "sample.h"

struct peer;

/* The work whose figures follow: the @i'th of @n. */
void record_work(const char *name, const char *title, int i, int n);

/* What values are for ("page"; or NULL), in the clock's unit, or in @unit. */
void record_unit(const char *per, const char *unit);
/* A few words on what is being measured, where no cells tell. */
void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * A table: its heading, and the heads of its columns, NULL at the end. @per is
 * what the values are for ("page"), in the clock's unit; @unit in its place
 * is for values that no clock gives.
 */
void table_begin(const char *heading, const char *per, const char *unit,
		 const char *const *columns);
/* A peer's row; false, and the reason printed, where it is not to be had. */
bool row_begin(const struct peer *peer);
/* The same without a table: figures that are recorded only. */
bool row_silent(const struct peer *peer);
/* A row of figures that were recorded before: for cell_again(). */
bool row_again(const struct peer *peer);
void row_end(void);
/* What follows the rows: why some cells are empty. */
void table_end(void);

/* The point of the cells that follow. */
void point(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A cell of the row; NULL in place of the series with why there is none. */
void cell(const char *metric, const struct series *series);
void cell_missing(const char *metric, const char *why);
/* A figure that is recorded only. */
void record(const char *metric, const struct series *series);
void record_missing(const char *metric, const char *why);
/* A cell that has one value, in a unit of its own: a count, a ratio. */
void cell_count(const char *metric, const char *unit, double value);
/* What was recorded at the current point for the current peer, or NULL. */
const struct series *recorded(const char *metric);
/* A cell that shows what was recorded at the current point. */
void cell_again(const char *metric);

/* Why the program ends before it is through, or NULL. */
extern const char *record_error;
/* Open a file beside options.json, before anything is measured in vain. */
void record_open(void);
/* Write all, and give it its name: what was there before is gone only now. */
void record_write(void);

#endif /* RECORD_H */
