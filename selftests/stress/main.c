// SPDX-License-Identifier: GPL-2.0
/*
 * stress - random operations against an exact model of what they must do
 */
#include "stress.h"

#include <getopt.h>
#include <time.h>

static const char usage_text[] =
"usage: stress [OPTION...]\n"
"Random operations of avm, each compared with what a model says that it must\n"
"result in. The first difference ends it: the operations are made as few as\n"
"still show it, and printed as a script for --replay.\n"
"\n"
"  --seed S         begin with this seed (1); each episode has the next one\n"
"  --ops N          operations in all (100000)\n"
"  --seconds N      or so long\n"
"  --episode N      operations of a thread in an episode (2000; at most 4000)\n"
"  --processes P    processes (1) that share the spaces\n"
"  --threads T      threads of each process (2); P * T is at most 16\n"
"  --accesses N     accesses of bytes, to 137 other operations (110; those above\n"
"                   choose pages that may be written: the fastest operation)\n"
"  --only K,K,...   only these kinds of operations\n"
"  --replay FILE    carry out a script, and compare (- is standard input)\n"
"  --print          print the operations of the first episode, as a script\n"
"  --shared         threads share their pages, and what has to hold in any\n"
"                   order is checked (for --seconds)\n"
"Kinds:";

static struct options {
	struct plan plan;
	uint64_t ops;
	unsigned int seconds;
	const char *replay;
	const char *only;
	bool print;
	bool shared;
} options = {
	.plan = { .seed = 1, .processes = 1, .threads = 2, .ops = 2000, .only = ~0u,
		  .accesses = ACCESSES },
	.ops = 100000,
	.only = "",
};

static struct report *report;

static void usage(FILE *to)
{
	unsigned int i;

	fputs(usage_text, to);
	for (i = 0; i < KINDS; i++)
		fprintf(to, " %s", kind_names[i]);
	fputc('\n', to);
}

static void wrong(const char *what, const char *value)
{
	fprintf(stderr, "stress: %s: %s (stress --help says what is known)\n", what, value);
	exit(2);
}

static uint32_t parse_only(char *list)
{
	uint32_t only = 0, i;
	char *rest, *word;

	for (word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
		for (i = 0; i < KINDS && strcmp(word, kind_names[i]); i++)
			;
		if (i == KINDS)
			wrong("no such kind of operation", word);
		only |= 1u << i;
	}
	return only;
}

static uint64_t to_number(const char *text, uint64_t least, uint64_t most)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	if (*end || end == text || n < least || n > most)
		wrong("not a number, or not one that is possible", text);
	return n;
}

static void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "seed", 1, NULL, 's' }, { "ops", 1, NULL, 'n' },
		{ "seconds", 1, NULL, 'S' }, { "episode", 1, NULL, 'e' },
		{ "processes", 1, NULL, 'p' }, { "threads", 1, NULL, 't' },
		{ "accesses", 1, NULL, 'a' }, { "only", 1, NULL, 'o' }, { "replay", 1, NULL, 'r' },
		{ "print", 0, NULL, 'P' }, { "shared", 0, NULL, 'x' },
		{ "help", 0, NULL, 'h' }, { },
	};
	struct plan *plan = &options.plan;
	int c;

	while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		switch (c) {
		case 's':
			plan->seed = to_number(optarg, 0, -1ul);
			break;
		case 'n':
			options.ops = to_number(optarg, 1, -1ul);
			break;
		case 'S':
			options.seconds = to_number(optarg, 1, 1000000);
			break;
		case 'e':
			plan->ops = to_number(optarg, 5, EPISODE);
			break;
		case 'p':
			plan->processes = to_number(optarg, 1, SLOTS);
			break;
		case 't':
			plan->threads = to_number(optarg, 1, SLOTS);
			break;
		case 'a':
			plan->accesses = to_number(optarg, 0, 100000);
			break;
		case 'o':
			options.only = optarg;
			plan->only = parse_only(strdup(optarg));
			break;
		case 'r':
			options.replay = optarg;
			break;
		case 'P':
			options.print = true;
			break;
		case 'x':
			options.shared = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			exit(2);
		}
	}
	if (optind < argc)
		wrong("not an option", argv[optind]);
	if (!plan->only || (plan->only == 1u << OP_ACCESS && !plan->accesses))
		wrong("no operation is left", "--only, --accesses");
	if (plan->processes * plan->threads > SLOTS)
		wrong("more than 16 threads in all", "--processes, --threads");
}

static void print_script(const struct op *ops, unsigned int n, unsigned int slot)
{
	unsigned int i;

	printf("# stress --replay: slot=%u\n", slot);
	for (i = 0; i < n; i++)
		op_print(stdout, &ops[i]);
}

/* Return: how many operations; the slot that did them. */
static unsigned int read_script(const char *name, struct op *ops, unsigned int *slot)
{
	FILE *from = strcmp(name, "-") ? fopen(name, "r") : stdin;
	unsigned int n = 0, line_number = 0;
	char line[1024];

	if (!from)
		wrong("cannot read the script", name);
	while (fgets(line, sizeof(line), from)) {
		line_number++;
		if (sscanf(line, "# stress --replay: slot=%u", slot) == 1 || line[0] == '#' ||
		    line[0] == '\n')
			continue;
		if (n == EPISODE || *slot >= SLOTS || !op_parse(line, &ops[n])) {
			fprintf(stderr, "stress: %s:%u: not an operation, or out of bounds\n",
				name, line_number);
			exit(2);
		}
		n++;
	}
	if (from != stdin)
		fclose(from);
	if (!n)
		wrong("no operations in the script", name);
	return n;
}

static int replay(void)
{
	struct op *ops = calloc(EPISODE, sizeof(*ops));
	struct plan plan = options.plan;

	must(ops);
	plan.processes = 1;
	plan.threads = 1;
	plan.ops = read_script(options.replay, ops, &plan.first_slot);
	plan.script = ops;
	if (episode(&plan, report)) {
		printf("%u operations, no difference\n", plan.ops);
		return 0;
	}
	printf("DIFFERENCE at %s", report->text);
	return 1;
}

/* A difference: say it, make it short, say that. */
static int difference(struct plan plan)
{
	struct op *ops = calloc(EPISODE, sizeof(*ops));
	unsigned int n;

	must(ops);
	printf("DIFFERENCE, seed %lu (to repeat: --seed %lu --processes %u --threads %u --episode %u --accesses %u%s%s)\n"
	       "%s", plan.seed, plan.seed, plan.processes, plan.threads, plan.ops,
	       plan.accesses, *options.only ? " --only " : "", options.only, report->text);
	printf("shrinking %u operations of slot %u\n", report->made[report->slot], report->slot);
	fflush(stdout);
	n = shrink(&plan, report, ops);
	if (!n) {
		printf("it does not fail alone: other threads have a part in it\n");
		return 1;
	}
	printf("%u operations are left, and fail at %s", n, report->text);
	print_script(ops, n, plan.first_slot);
	return 1;
}

static int print_first(void)
{
	struct plan plan = options.plan;

	plan.processes = 1;
	plan.threads = 1;
	if (!episode(&plan, report))
		return difference(plan);
	print_script(report->op[0], report->made[0], 0);
	return 0;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int model_mode(void)
{
	double begin = now(), said = begin;
	struct plan plan = options.plan;
	uint64_t done = 0;

	printf("# seed %lu, %u processes of %u threads, episodes of %u operations each\n",
	       plan.seed, plan.processes, plan.threads, plan.ops);
	while (options.seconds ? now() < begin + options.seconds : done < options.ops) {
		if (!episode(&plan, report))
			return difference(plan);
		done += report->done;
		plan.seed++;
		if (now() < said + 10)
			continue;
		said = now();
		printf("# %lu operations, %.0f s, next seed %lu\n", done, said - begin, plan.seed);
		fflush(stdout);
	}
	printf("%lu operations in %.0f s, no difference\n", done, now() - begin);
	return 0;
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	must(report != MAP_FAILED);
	if (options.shared)
		return shared_mode(options.plan.seed, options.plan.threads,
				   options.seconds ? options.seconds : 10);
	if (options.replay)
		return replay();
	return options.print ? print_first() : model_mode();
}
