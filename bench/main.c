// SPDX-License-Identifier: GPL-2.0
/*
 * avm-bench - avm beside everything else that Linux has, in one run
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "limits.h"
#include "record.h"
#include "sample.h"

struct options options;
static bool measuring;	/* into a file */

static const struct work *const works[] = {
	&work_floor, &work_calls, &work_appel, &work_dune, &work_protn,
	&work_dirty, &work_accessed, &work_map2, &work_populate, &work_memory,
	&work_scale, &work_threads, &work_events,
};

/* What was measured before is not lost. */
void fail(const char *format, ...)
{
	static char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fflush(stdout);
	fprintf(stderr, "\navm-bench: %s\n", text);
	if (measuring) {
		measuring = false;
		record_error = text;
		record_write();
	}
	exit(2);
}

void check(bool ok, const char *what)
{
	if (!ok)
		fail("%s: %s", what, strerror(errno));
}

static void print_help(FILE *f)
{
	size_t i;

	fprintf(f, "usage: avm-bench [OPTION...]\n"
		"Measure avm and its peers on the same work, in one run.\n\n"
		"  --only WORK,...   only these (a beginning of the name will do)\n"
		"  --quick           smaller sizes: a few seconds a work\n"
		"  --raise-limits    raise vm.max_map_count while it runs: mprotect needs it\n"
		"                    from 32,000 scattered pages on\n"
		"  --json FILE       write all figures there: median, min, max\n"
		"  --patience S      leave out a figure that takes longer (5; of counted\n"
		"                    instructions: a thousand million)\n"
		"  --instructions    the clock counts instructions, as QEMU's -icount shift=0\n"
		"                    makes it: call them so\n"
		"  --list            name the works, and end\n\n"
		"Tables show medians of at least %d samples. avm has to be loaded; some peers\n"
		"need root. The works:\n", SAMPLES_LEAST);
	for (i = 0; i < COUNT(works); i++)
		fprintf(f, "  %-10s %s\n", works[i]->name, works[i]->title);
}

/* Whether the first @length characters of @word begin the work's name. */
static bool is_called(const struct work *work, const char *word, size_t length)
{
	return length && !strncmp(work->name, word, length);
}

static bool wanted(const struct work *work)
{
	const char *word = options.only;
	size_t length;

	if (!word)
		return true;
	for (; *word; word += length + (word[length] == ',')) {
		length = strcspn(word, ",");
		if (is_called(work, word, length))
			return true;
	}
	return false;
}

/* Each word of --only has to mean something. */
static void check_only(void)
{
	const char *word = options.only;
	size_t length, i;

	for (; word && *word; word += length + (word[length] == ',')) {
		length = strcspn(word, ",");
		for (i = 0; i < COUNT(works); i++)
			if (is_called(works[i], word, length))
				break;
		if (i == COUNT(works))
			fail("no work is called %.*s: see --list", (int)length, word);
	}
}

static void print_list(void)
{
	size_t i;

	for (i = 0; i < COUNT(works); i++)
		puts(works[i]->name);
}

static double patience_of(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (*end || !(value > 0))
		fail("--patience %s: seconds, more than 0", text);
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option names[] = {
		{ "only", required_argument, NULL, 'o' },
		{ "json", required_argument, NULL, 'j' },
		{ "patience", required_argument, NULL, 'p' },
		{ "raise-limits", no_argument, NULL, 'r' },
		{ "quick", no_argument, NULL, 'q' },
		{ "instructions", no_argument, NULL, 'i' },
		{ "list", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 'o':
			options.only = optarg;
			break;
		case 'j':
			options.json = optarg;
			break;
		case 'p':
			options.patience = patience_of(optarg);
			break;
		case 'r':
			options.raise_limits = true;
			break;
		case 'q':
			options.quick = true;
			break;
		case 'i':
			options.instructions = true;
			break;
		case 'l':
			print_list();
			exit(0);
		case 'h':
			print_help(stdout);
			exit(0);
		default:
			print_help(stderr);
			exit(2);
		}
	}
	if (optind < argc) {
		print_help(stderr);
		exit(2);
	}
	if (!options.patience)
		options.patience = options.instructions ? 1 : 5;
}

static void on_interrupt(int sig)
{
	/* timeout(1) asks twice, the process and its group: who asks more is in a hurry. */
	if (++interrupted > 2)
		signal(sig, SIG_DFL);
}

/* What was measured so far is written in any case. */
static void catch_interrupts(void)
{
	signal(SIGINT, on_interrupt);
	signal(SIGTERM, on_interrupt);
	signal(SIGHUP, on_interrupt);
}

int main(int argc, char **argv)
{
	size_t i, n = 0, done = 0;

	parse(argc, argv);
	for (i = 0; i < COUNT(works); i++)
		n += wanted(works[i]);
	check_only();
	if (!n)
		fail("--only names no work: see --list");
	if (options.json)
		record_open();
	measuring = options.json;
	catch_interrupts();
	machine_print();
	limits_raise();
	pin(0);
	clock_calibrate();
	for (i = 0; i < COUNT(works); i++) {
		if (!wanted(works[i]))
			continue;
		record_work(works[i]->name, works[i]->title, ++done, n);
		works[i]->run();
	}
	if (measuring) {
		measuring = false;
		record_write();
	}
	return 0;
}
