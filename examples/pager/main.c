// SPDX-License-Identifier: MIT
/*
 * pager: show a file as memory, with few of its pages in at a time, and prove
 * that it is the file: by its SHA-256, and by random writes found back in it.
 *
 * Here are the options, the order of work and the report.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "pager.h"
#include "sum.h"
#include "writes.h"

#define PAGE		4096
/* Seconds between two lines of progress. */
#define PROGRESS	2.0

/* The parts of the work, each with a pager of its own. */
enum part { READING, WRITING, REREADING, PARTS };

static const char *const part_names[PARTS] = { "reading", "writing", "re-reading" };

static struct {
	size_t frames;
	unsigned int threads;
	size_t writes;
	unsigned long seed;
	bool read_only;
	bool keep;
	const char *path;
} opt = { .threads = 2, .seed = 1 };

static int file = -1;
static size_t file_size;
static struct pager_counts counts[PARTS];
/* Filled from the first write on, until all are undone. */
static struct writes writes;
static atomic_int interrupted;

static const char usage_text[] =
	"usage: pager [OPTION]... FILE\n"
	"\n"
	"Show FILE as memory by demand paging in user space, with the avm module:\n"
	"read it all through the view and compare its SHA-256 with sha256sum's.\n"
	"\n"
	"  --frames N    pages that may be in at a time, at least 16\n"
	"                (default: an eighth of the file's)\n"
	"  --writes N    also make N random writes through the view, and look for\n"
	"                them in the file after it is closed; then put the old\n"
	"                bytes back (default: 0; FILE is then opened read-only)\n"
	"  --keep        do not put the old bytes back: FILE IS CHANGED\n"
	"  --threads T   threads that write, 1 to 64 (default: 2)\n"
	"  --seed S      decides where and what is written (default: 1)\n"
	"  --read-only   open FILE read-only; not with --writes\n"
	"  --help        this text\n"
	"\n"
	"Do not let others write FILE meanwhile. A run with --writes that is ended\n"
	"by Ctrl-C puts the old bytes back, too; one ended by SIGKILL cannot.\n"
	"\n"
	"Exit status: 0 when all matched, 1 when not or on an error, 2 when the\n"
	"command line is wrong.\n";

static noreturn void bad_usage(void)
{
	fputs("Try 'pager --help'.\n", stderr);
	exit(2);
}

static unsigned long to_number(const char *name, const char *text,
			       unsigned long min, unsigned long max)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 0);
	if (*text < '0' || *text > '9' || *end || errno || n < min || n > max) {
		complain("--%s takes a number from %lu to %lu, not '%s'",
			 name, min, max, text);
		bad_usage();
	}
	return n;
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "frames", required_argument, NULL, 'f' },
		{ "threads", required_argument, NULL, 't' },
		{ "writes", required_argument, NULL, 'w' },
		{ "seed", required_argument, NULL, 's' },
		{ "read-only", no_argument, NULL, 'r' },
		{ "keep", no_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			opt.frames = to_number("frames", optarg, PAGER_MIN_FRAMES, SIZE_MAX / PAGE);
			break;
		case 't':
			opt.threads = to_number("threads", optarg, 1, WRITES_MAX_THREADS);
			break;
		case 'w':
			opt.writes = to_number("writes", optarg, 0, SIZE_MAX / 64);
			break;
		case 's':
			opt.seed = to_number("seed", optarg, 0, ULONG_MAX);
			break;
		case 'r':
			opt.read_only = true;
			break;
		case 'k':
			opt.keep = true;
			break;
		case 'h':
			fputs(usage_text, stdout);
			exit(fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS);
		default:
			bad_usage();
		}
	}
	if (optind + 1 != argc) {
		complain(optind < argc ? "one file at a time" : "which file?");
		bad_usage();
	}
	opt.path = argv[optind];
	if (opt.read_only && opt.writes) {
		complain("--read-only and --writes exclude each other");
		bad_usage();
	}
}

static int open_file(void)
{
	struct stat st;
	off_t end;

	file = open(opt.path, (opt.writes ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (file < 0) {
		complain("cannot open %s%s: %s", opt.path, opt.writes ? " for writing" : "",
			 strerror(errno));
		return -1;
	}
	if (fstat(file, &st)) {
		complain("cannot examine %s: %s", opt.path, strerror(errno));
		return -1;
	}
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		complain("%s is neither a regular file nor a block device", opt.path);
		return -1;
	}
	end = lseek(file, 0, SEEK_END);
	if (end < 0) {
		complain("cannot tell how long %s is: %s", opt.path, strerror(errno));
		return -1;
	}
	if (!end) {
		complain("%s is empty: there is nothing to show", opt.path);
		return -1;
	}
	file_size = end;
	return 0;
}

/*
 * Progress: whole lines, few of them, so that a terminal, a log and a serial
 * console show them alike.
 */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

struct progress {
	struct pager *pager;
	enum part part;
	size_t total;
	double began;
	double told;
};

static void progress_begin(struct progress *pr, struct pager *pager, enum part part, size_t total)
{
	*pr = (struct progress){ .pager = pager, .part = part, .total = total };
	pr->began = now();
	pr->told = pr->began;
}

/* Also the time to look whether the pager keeps to its frames. */
static bool tick(void *arg, size_t done)
{
	struct progress *pr = arg;
	struct pager_counts c;

	if (interrupted)
		return false;
	if (now() - pr->told < PROGRESS)
		return true;
	pr->told = now();
	if (pager_watch(pr->pager, &c))
		return false;
	printf("  %-10s %3d %%   pages: %lu in, %lu out, %lu written back; frames: %lu of %zu\n",
	       part_names[pr->part], (int)(100.0 * done / pr->total), c.in, c.out, c.written,
	       c.resident, opt.frames);
	return true;
}

static void progress_end(const struct progress *pr)
{
	printf("  %-10s 100 %%   in %.1f s\n", part_names[pr->part], now() - pr->began);
}

/*
 * The work
 */

/* Called in a trap, with the pager locked: system calls only. */
static void fail(void)
{
	if (writes.count && !opt.keep) {
		size_t lost = writes_undo(&writes);

		if (lost)
			complain("%zu of %zu writes could not be undone: the file is changed", lost,
				 writes.count);
		else
			complain("the old bytes are back in the file");
	}
	_exit(EXIT_FAILURE);
}

static int open_pager(bool writable, struct pager **pager)
{
	const struct pager_setup setup = {
		.file = file,
		.size = file_size,
		.writable = writable,
		.frames = opt.frames,
		.fail = fail,
	};

	return pager_open(&setup, pager);
}

/* Read all of the file through a view; sha256sum reads it, too, at its side. */
static int compare_sums(enum part part)
{
	char mine[SUM_TEXT], theirs[SUM_TEXT];
	struct sum_child child;
	struct progress pr;
	struct pager *pager;
	int err;

	err = open_pager(false, &pager);
	if (err)
		return err;
	err = sum_start(&child, opt.path);
	if (err) {
		pager_close(pager, NULL);
		return err;
	}
	progress_begin(&pr, pager, part, file_size);
	if (!sum_memory(pager_view(pager), file_size, mine, tick, &pr)) {
		sum_stop(&child);
		pager_close(pager, NULL);
		return -EINTR;
	}
	progress_end(&pr);
	err = pager_close(pager, &counts[part]);
	if (sum_wait(&child, theirs) || err)
		return -EIO;

	printf("  SHA-256 through the view  %s\n  SHA-256 by sha256sum      %s\n", mine, theirs);
	if (strcmp(mine, theirs)) {
		complain("the sums differ: the view does not show what is in the file");
		return -EBADMSG;
	}
	return 0;
}

static int write_and_close(void)
{
	struct progress pr;
	struct pager *pager;
	int err, err2;

	err = open_pager(true, &pager);
	if (err)
		return err;
	progress_begin(&pr, pager, WRITING, opt.writes);
	err = writes_make(&writes, pager_view(pager), opt.threads, tick, &pr);
	err2 = pager_close(pager, &counts[WRITING]);
	if (err || err2)
		return err ? err : err2;
	progress_end(&pr);
	return 0;
}

static int make_and_find_writes(void)
{
	size_t missing;
	int err;

	err = write_and_close();
	if (err)
		return err;
	missing = writes_missing(&writes);
	printf("  %zu random writes by %u threads, %zu found in the file after close\n",
	       opt.writes, opt.threads, opt.writes - missing);
	if (missing) {
		complain("%zu writes are lost", missing);
		return -EBADMSG;
	}
	return compare_sums(REREADING);
}

static void interrupt(int signal)
{
	interrupted = signal;
}

/* Be told of what would end the program, but for what it is to ignore (nohup). */
static void catch_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
	const struct sigaction act = { .sa_handler = interrupt };
	size_t n;

	for (n = 0; n < sizeof(signals) / sizeof(*signals); n++) {
		struct sigaction old;

		if (!sigaction(signals[n], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(signals[n], &act, NULL);
	}
}

static int put_back(void)
{
	size_t lost = writes_undo(&writes);
	int err = io_sync(file);

	if (lost)
		complain("%zu of %zu writes could not be undone: the file is changed", lost,
			 writes.count);
	if (err)
		complain("cannot write the old bytes to the disk: %s", strerror(-err));
	if (lost || err)
		return -EIO;
	puts("  the old bytes are back in the file");
	return 0;
}

static int write_test(void)
{
	int err;

	err = writes_plan(&writes, file, file_size, opt.writes, opt.seed);
	if (err)
		return err;
	/* From here on the file is changed, and must not be left so. */
	catch_signals();

	err = make_and_find_writes();
	if (!opt.keep && put_back() && !err)
		err = -EIO;
	writes_free(&writes);
	return err;
}

/*
 * The report
 */

static void row(const char *name, size_t field)
{
	enum part part;

	printf("  %-20s", name);
	for (part = 0; part < (opt.writes ? PARTS : 1); part++)
		printf(" %11lu", *(unsigned long *)((char *)&counts[part] + field));
	putchar('\n');
}

#define ROW(name, field) row(name, offsetof(struct pager_counts, field))

static void table(void)
{
	enum part part, parts = opt.writes ? PARTS : 1;

	printf("\n  %-20s", "");
	for (part = 0; part < parts; part++)
		printf(" %11s", part_names[part]);
	putchar('\n');
	ROW("traps", traps);
	ROW("  by upcall", upcalls);
	ROW("  page just come in", met);
	ROW("pages in", in);
	ROW("pages out", out);
	ROW("written back", written);
	ROW("most frames in use", most_resident);
	ROW("flushes", flushes);
	printf("  %-20s", "pages per flush");
	for (part = 0; part < parts; part++) {
		const struct pager_counts *c = &counts[part];

		printf(" %11.1f", c->flushes ? (double)c->flushed_pages / c->flushes : 0.0);
	}
	puts("\n");
}

/* Things that must hold whatever was read or written. */
static int check_counts(void)
{
	enum part part;
	int err = 0;

	for (part = 0; part < (opt.writes ? PARTS : 1); part++) {
		const struct pager_counts *c = &counts[part];

		if (c->most_resident > opt.frames) {
			complain("%s took %lu frames, and was allowed %zu",
				 part_names[part], c->most_resident, opt.frames);
			err = -EBADMSG;
		}
		if (c->resident || c->in != c->out) {
			complain("%s left %lu pages behind", part_names[part], c->resident);
			err = -EBADMSG;
		}
	}
	return err;
}

static int work(void)
{
	size_t pages = file_size / PAGE + (file_size % PAGE != 0);
	int err;

	if (!opt.frames)
		opt.frames = pages / 8 < PAGER_MIN_FRAMES ? PAGER_MIN_FRAMES : pages / 8;
	printf("pager: %s: %zu bytes, %zu pages; at most %zu in at a time\n",
	       opt.path, file_size, pages, opt.frames);

	err = compare_sums(READING);
	if (!err && opt.writes)
		err = write_test();
	if (err)
		return err;
	table();
	return check_counts();
}

int main(int argc, char **argv)
{
	int err;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv);
	if (open_file())
		return EXIT_FAILURE;
	err = work();
	if (interrupted)
		complain("interrupted");
	else if (!err)
		puts("pager: all matches");
	close(file);
	if (fflush(stdout) || ferror(stdout)) {
		complain("cannot write the standard output");
		return EXIT_FAILURE;
	}
	return err || interrupted ? EXIT_FAILURE : EXIT_SUCCESS;
}
