// SPDX-License-Identifier: GPL-2.0
/*
 * ops.c - operations as text, one a line: its kind, then the fields that are
 * not 0, then its ranges
 */
#include "stress.h"

const char *const kind_names[KINDS] = {
	[OP_ACCESS] = "access", [OP_SYSCALL] = "syscall", [OP_PROTECT] = "protect",
	[OP_PROTECT_PAGE] = "protect-page", [OP_SCAN] = "scan", [OP_DISCARD] = "discard",
	[OP_POPULATE] = "populate", [OP_MAP] = "map", [OP_UNMAP] = "unmap",
	[OP_MOVE] = "move", [OP_MAP2] = "map2", [OP_TRAP] = "trap", [OP_UNTRAP] = "untrap",
	[OP_FORK] = "fork", [OP_DEBUG] = "debug", [OP_MPROTECT] = "mprotect",
	[OP_QUERY] = "query", [OP_CREATE] = "create", [OP_STATS] = "stats",
};

/* Between words. */
#define BLANKS "\n "

#define FIELD(name) { #name, offsetof(struct op, name) }

static const struct {
	const char *name;
	size_t at;
} fields[] = {
	FIELD(at), FIELD(n), FIELD(to), FIELD(m), FIELD(prot), FIELD(prot2), FIELD(how),
	FIELD(flags), FIELD(deed), FIELD(byte), FIELD(value), FIELD(space), FIELD(bad),
	FIELD(by_signal), FIELD(count),
};

#define FIELDS (sizeof(fields) / sizeof(fields[0]))

static uint32_t *field(const struct op *op, unsigned int i)
{
	return (uint32_t *)((char *)(uintptr_t)op + fields[i].at);
}

void op_print(FILE *to, const struct op *op)
{
	const struct pages *r = op->range;
	unsigned int i;

	fputs(kind_names[op->kind], to);
	for (i = 0; i < FIELDS; i++)
		if (*field(op, i))
			fprintf(to, " %s=%u", fields[i].name, *field(op, i));
	for (i = 0; i < op->count && i < RANGES; i++, r++)
		fprintf(to, " range=%u,%u,%u,%u", r->at, r->n, r->prot, r->bad);
	fputc('\n', to);
}

static bool parse_field(const char *word, struct op *op, unsigned int *ranges)
{
	struct pages *r = &op->range[*ranges];
	const char *value = strchr(word, '=');
	unsigned int i;

	if (!value)
		return false;
	if (!strncmp(word, "range=", 6))
		return (*ranges)++ < RANGES &&
		       sscanf(value + 1, "%u,%u,%u,%u", &r->at, &r->n, &r->prot, &r->bad) == 4;
	for (i = 0; i < FIELDS; i++)
		if (strlen(fields[i].name) == (size_t)(value - word) &&
		    !strncmp(word, fields[i].name, value - word))
			return sscanf(value + 1, "%u", field(op, i)) == 1;
	return false;
}

static bool in_arena(uint32_t at, uint32_t n)
{
	return at < ARENA && n <= ARENA - at;
}

static bool in_bounds(const struct op *op)
{
	unsigned int i;

	if (!in_arena(op->at, op->n) || op->space >= SPACES || op->byte >= BYTES ||
	    op->count > RANGES || op->how > FETCH)
		return false;
	for (i = 0; i < op->count; i++)
		if (!in_arena(op->range[i].at, op->range[i].n))
			return false;
	if (op->kind == OP_MAP || op->kind == OP_FORK)
		return op->to < REGION && op->n <= REGION - op->to;
	return in_arena(op->to, op->kind == OP_MAP2 ? op->n : op->kind == OP_MOVE ? op->m : 0);
}

/* What op_print() wrote. */
bool op_parse(const char *line, struct op *op)
{
	char copy[1024], *rest, *word;
	unsigned int ranges = 0;

	memset(op, 0, sizeof(*op));
	snprintf(copy, sizeof(copy), "%s", line);
	word = strtok_r(copy, BLANKS, &rest);
	if (!word)
		return false;
	while (op->kind < KINDS && strcmp(word, kind_names[op->kind]))
		op->kind++;
	if (op->kind == KINDS)
		return false;
	while ((word = strtok_r(NULL, BLANKS, &rest)))
		if (!parse_field(word, op, &ranges))
			return false;
	return op->count == ranges && in_bounds(op);
}

static void event_print(FILE *to, const struct event *e)
{
	if (e->what == EVENT_UPCALL)
		fprintf(to, "; upcall at %#lx, access %lu, arg %lu, handler got %ld",
			(unsigned long)e->addr, (unsigned long)e->access,
			(unsigned long)e->arg, (long)e->did);
	else if (e->what == EVENT_SIGNAL)
		fprintf(to, "; signal at %#lx, code %lu%s", (unsigned long)e->addr,
			(unsigned long)e->access, e->did ? ", not SIGSEGV" : "");
}

static void one_print(FILE *to, const char *name, const struct result *r)
{
	unsigned int i;

	fprintf(to, "  %-9s returns %ld, out %#lx %#lx %#lx %#lx", name, (long)r->ret,
		(long)r->out[0], (long)r->out[1], (long)r->out[2], (long)r->out[3]);
	for (i = 0; i < EVENTS; i++)
		event_print(to, &r->event[i]);
	fputc('\n', to);
}

void result_print(FILE *to, const struct result *expected, const struct result *got)
{
	unsigned int i;

	one_print(to, "expected:", expected);
	one_print(to, "got:", got);
	for (i = 0; i < WORDS; i++)
		if (expected->words[i] != got->words[i])
			fprintf(to, "  word %u of the answer: expected %#lx, got %#lx\n", i,
				(long)expected->words[i], (long)got->words[i]);
}
