// SPDX-License-Identifier: GPL-2.0
/*
 * corpus.c - the programs that are kept
 */
#include <stdio.h>
#include <stdlib.h>

#include "corpus.h"

#define MAX_CORPUS	4096

static struct program *programs[MAX_CORPUS];
static unsigned int n_programs;

unsigned int corpus_count(void)
{
	return n_programs;
}

const struct program *corpus_get(unsigned int i)
{
	return programs[i];
}

void corpus_add(const struct program *program)
{
	if (!program->n || n_programs == MAX_CORPUS)
		return;
	programs[n_programs] = malloc(sizeof(*program));
	if (!programs[n_programs])
		abort();
	*programs[n_programs++] = *program;
}

void corpus_load(const char *path, struct program *program)
{
	char text[MAX_TEXT] = "";
	const char *bad = NULL;
	FILE *file = fopen(path, "r");

	if (file) {
		text[fread(text, 1, sizeof(text) - 1, file)] = 0;
		fclose(file);
		bad = program_parse(program, text);
	}
	if (!file || bad || !program->n) {
		printf("Bail out! %s: %s%s\n", path, !file ? "cannot be read" :
		       bad ? "not understood: " : "has no calls", bad ? bad : "");
		exit(1);
	}
}

/* For tools/fuzz, which makes a file of each. */
void corpus_print(const struct program *program)
{
	char text[MAX_TEXT];

	program_print(program, text, sizeof(text));
	printf("# corpus begins\n%s# corpus ends\n", text);
	fflush(stdout);
}
