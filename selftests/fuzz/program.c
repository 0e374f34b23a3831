// SPDX-License-Identifier: GPL-2.0
/*
 * program.c - fuzz programs as text: a call a line, for people
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "program.h"

static const char *const symbols[N_SYMBOLS] = {
	"", "d", "other", "s0", "s1", "s2", "s3", "v0", "v1", "v2", "v3", "v4",
	"v5", "v6", "v7", "m", "ro", "code",
};

static int print_value(char *text, size_t size, const struct value *value)
{
	const char *name = symbols[value->symbol];

	if (!value->symbol)
		return snprintf(text, size, value->number < 10 ? " %ju" : " 0x%jx",
				(uintmax_t)value->number);
	if (!value->number)
		return snprintf(text, size, " %s", name);
	return snprintf(text, size, " %s+0x%jx", name, (uintmax_t)value->number);
}

/* Returns the length; what has no room is left out, by whole calls. */
size_t program_print(const struct program *program, char *text, size_t size)
{
	const struct call *call;
	char line[MAX_ARGS * 32 + 32];
	size_t at = 0, n;
	unsigned int i, j;

	for (i = 0; i < program->n; i++) {
		call = program->calls + i;
		n = snprintf(line, sizeof(line), "%s", call_types[call->type].name);
		for (j = 0; j < call_types[call->type].n; j++)
			n += print_value(line + n, sizeof(line) - n, call->args + j);
		if (at + n + 2 > size)
			break;
		memcpy(text + at, line, n);
		at += n;
		text[at++] = '\n';
	}
	text[at] = 0;
	return at;
}

static int parse_value(struct value *value, char *word)
{
	char *plus = strchr(word, '+'), *end;
	unsigned int i;

	memset(value, 0, sizeof(*value));
	if (*word >= '0' && *word <= '9') {
		value->number = strtoull(word, &end, 0);
		return *end ? -1 : 0;
	}
	if (plus) {
		*plus = 0;
		value->number = strtoull(plus + 1, &end, 0);
		if (*end || end == plus + 1)
			return -1;
	}
	for (i = 1; i < N_SYMBOLS; i++) {
		if (!strcmp(word, symbols[i])) {
			value->symbol = i;
			return 0;
		}
	}
	return -1;
}

static int parse_call(struct call *call, char *line)
{
	char *save, *word = strtok_r(line, " \t", &save);
	unsigned int i, type;

	for (type = 0; type < n_call_types; type++)
		if (!strcmp(word, call_types[type].name))
			break;
	if (type == n_call_types)
		return -1;
	call->type = type;
	for (i = 0; i < call_types[type].n; i++) {
		word = strtok_r(NULL, " \t", &save);
		if (!word || parse_value(call->args + i, word))
			return -1;
	}
	return strtok_r(NULL, " \t", &save) ? -1 : 0;
}

/* Returns NULL, or the line that cannot be understood. */
const char *program_parse(struct program *program, const char *text)
{
	static char bad[256];
	char *copy = strdup(text), *save, *line;
	char work[256];

	memset(program, 0, sizeof(*program));
	bad[0] = 0;
	for (line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		line[strcspn(line, "#\r")] = 0;
		if (strspn(line, " \t") == strlen(line))
			continue;
		snprintf(work, sizeof(work), "%s", line);
		if (program->n == MAX_CALLS ||
		    parse_call(program->calls + program->n, work)) {
			snprintf(bad, sizeof(bad), "%s", line);
			break;
		}
		program->n++;
	}
	free(copy);
	return bad[0] ? bad : NULL;
}
