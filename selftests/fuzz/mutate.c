// SPDX-License-Identifier: GPL-2.0
/*
 * mutate.c - programs from random numbers: mostly calls that are nearly right,
 * with values near the limits of what is
 */
#include <linux/avm.h>
#include <string.h>

#include "calls.h"
#include "mutate.h"
#include "world.h"

static uint64_t state = 1;

void random_seed(uint64_t seed)
{
	state = seed * 0x9e3779b97f4a7c15u | 1;
}

static uint64_t random_bits(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1du;
}

uint64_t random_below(uint64_t n)
{
	return (random_bits() >> 16) % n;
}

static int one_in(unsigned int n)
{
	return !random_below(n);
}

#define pick(table)	((table)[random_below(sizeof(table) / sizeof(*(table)))])

static const uint64_t extremes[] = {
	0, 1, 7, 8, 0xfff, 0x1000, 0x1001, 0x7fffffff, 0x80000000, 0xffffffff,
	0x100000000, 0x7ffffffff000, 0x800000000000, 0x7fffffffffffffff,
	0x8000000000000000, 0xfffffffffffff000, 0xffffffffffffffff,
};

/* In pages: around the pages of a table, and of what is done at once. */
static const uint64_t page_counts[] = {
	0, 1, 1, 1, 2, 2, 3, 4, 7, 8, 9, 16, 31, 63, 64, 65, 511, 512, 513, 1023,
	1024, 1025, 2048, 0x40000, 0x40001, 0x8000000, 0x800000000,
};

static struct value number(uint64_t n)
{
	return (struct value){ SYM_NONE, n };
}

static struct value symbol(enum symbol symbol, uint64_t n)
{
	return (struct value){ symbol, n };
}

static struct value make_pages(void)
{
	uint64_t n = pick(page_counts) * PAGE;

	return number(one_in(20) ? n + 1 : n);
}

static struct value make_address(void)
{
	unsigned int view = one_in(3) ? random_below(N_VIEWS) : random_below(2);
	uint64_t at = one_in(3) ? pick(page_counts) : random_below(8);

	if (one_in(40))
		return number(pick(extremes));
	return symbol(SYM_VIEW + view, at * PAGE + (one_in(20) ? random_below(PAGE) : 0));
}

static struct value make_memory(void)
{
	switch (random_below(24)) {
	case 0: /* across the end */
		return symbol(SYM_MEMORY, MEMORY_PAGES * PAGE - 8 * random_below(8));
	case 1:
		return symbol(SYM_READONLY, 0);
	case 2:
		return make_address();
	case 3:
		return number(pick(extremes));
	case 4:
		return symbol(SYM_MEMORY, random_below(64));
	default:
		return symbol(SYM_MEMORY, 0x100 * random_below(16));
	}
}

/* Arrays are apart from structures; those of a batch are written one by one. */
static struct value make_buffer(void)
{
	if (one_in(12))
		return make_memory();
	if (one_in(4))
		return number(0);
	return symbol(SYM_MEMORY, 0x1000 + 24 * (one_in(2) ? 0 : random_below(8)));
}

static struct value make_size(unsigned int size)
{
	switch (random_below(24)) {
	case 0:
		return number(size - 8);
	case 1:
		return number(size + 8);
	case 2:
		return number(pick(extremes));
	case 3:
		return number(PAGE);
	default:
		return number(size);
	}
}

static struct value make_prot(void)
{
	static const uint64_t good[] = {
		AVM_PROT_NONE, AVM_PROT_READ, AVM_PROT_READ | AVM_PROT_WRITE,
		AVM_PROT_READ | AVM_PROT_EXEC,
		AVM_PROT_READ | AVM_PROT_WRITE | AVM_PROT_EXEC,
	};

	return number(one_in(16) ? random_below(16) : pick(good));
}

static struct value make_space(void)
{
	switch (random_below(24)) {
	case 0:
		return symbol(SYM_DEVICE, 0);
	case 1:
		return symbol(SYM_OTHER, 0);
	case 2:
		return number(pick(extremes));
	case 3:
	case 4:
	case 5:
		return symbol(SYM_SPACE + random_below(N_SPACES), 0);
	default:
		return symbol(SYM_SPACE, 0);
	}
}

static struct value make_count(void)
{
	static const uint64_t counts[] = {
		0, 2, 3, 8, 9, 100, 1u << 20, (1u << 20) + 1, 0xffffffff,
	};

	return number(one_in(3) ? pick(counts) : 1);
}

static struct value make_bytes(void)
{
	static const uint64_t bytes[] = { 0, 8, 16, 32, 64, 4096, 0x10000 };

	return number(one_in(16) ? pick(extremes) : pick(bytes));
}

static struct value make(const struct call_type *type, enum hint hint)
{
	switch (hint) {
	case H_SPACE_SLOT:
		return number(one_in(3) ? random_below(N_SPACES) : 0);
	case H_VIEW_SLOT:
		return number(random_below(one_in(4) ? N_VIEWS : 2));
	case H_SPACE:
		return make_space();
	case H_DEVICE:
		return one_in(20) ? make_space() : symbol(SYM_DEVICE, 0);
	case H_WHERE:
		return make_memory();
	case H_SIZE:
		return make_size(type->size);
	case H_FLAGS:
		return number(one_in(24) ? pick(extremes) : random_below(8));
	case H_ADDR:
		return make_address();
	case H_LENGTH:
	case H_OFFSET:
		if (one_in(24))
			return number(pick(extremes));
		return hint == H_OFFSET && one_in(2) ? number(0) : make_pages();
	case H_PROT:
		return make_prot();
	case H_COUNT:
		return make_count();
	case H_BUFFER:
		return make_buffer();
	case H_BYTES:
		return make_bytes();
	case H_MATCH:
		return number(random_below(one_in(16) ? 8 : 4));
	case H_ZERO:
		return number(one_in(4) ? pick(extremes) & 7 : 0);
	case H_CODE:
		return one_in(3) ? number(pick(extremes) & (one_in(2) ? 0 : ~0ull)) :
				   symbol(SYM_CODE, 0);
	case H_SMALL:
		return number(random_below(one_in(3) ? 26 : 4));
	case H_COMMAND:
		return number(random_below(16));
	}
	return number(0);
}

static void make_call(struct call *call)
{
	const struct call_type *type;
	unsigned int i;

	memset(call, 0, sizeof(*call));
	call->type = random_below(n_call_types);
	type = call_types + call->type;
	for (i = 0; i < type->n; i++)
		call->args[i] = make(type, type->hints[i]);
}

/* A space and two views of it, that what follows has something to work on. */
static void make_prologue(struct program *program)
{
	static const char *const lengths[] = { "0x8000", "0x40000", "0x200000", "0x403000" };
	const char *length = pick(lengths);
	char text[256], *end = text;
	const char *format =
		"create 0 d m 0x10 0 LENGTH\nmmap 0 0 LENGTH 7 1 s0 0\nmmap 1 0 LENGTH 3 1 s0 0\n";

	for (; *format; format++) {
		if (!strncmp(format, "LENGTH", 6)) {
			strcpy(end, length);
			end += strlen(length);
			format += 5;
		} else {
			*end++ = *format;
		}
	}
	*end = 0;
	program_parse(program, text);
}

void program_make(struct program *program)
{
	unsigned int n = 2 + random_below(12);

	make_prologue(program);
	while (n--)
		make_call(program->calls + program->n++);
}

void program_remove(struct program *program, unsigned int i, unsigned int n)
{
	program->n -= n;
	memmove(program->calls + i, program->calls + i + n,
		(program->n - i) * sizeof(struct call));
}

static void insert(struct program *program, const struct call *call)
{
	unsigned int i = random_below(program->n + 1);

	if (program->n == MAX_CALLS)
		program_remove(program, random_below(MAX_CALLS), 1);
	if (i > program->n)
		i = program->n;
	memmove(program->calls + i + 1, program->calls + i,
		(program->n - i) * sizeof(*call));
	program->calls[i] = *call;
	program->n++;
}

static void change_argument(struct program *program)
{
	struct call *call = program->calls + random_below(program->n);
	const struct call_type *type = call_types + call->type;
	struct value *value;
	unsigned int i;

	if (!type->n)
		return;
	i = random_below(type->n);
	value = call->args + i;
	switch (random_below(5)) {
	case 0:
		value->number += PAGE;
		break;
	case 1:
		value->number ^= 1ull << random_below(one_in(4) ? 64 : 16);
		break;
	default:
		*value = make(type, type->hints[i]);
	}
}

/* The beginning of one, the end of another. */
static void splice(struct program *program, const struct program *other)
{
	unsigned int from = random_below(other->n + 1), n = other->n - from;

	if (program->n)
		program->n = 1 + random_below(program->n);
	if (n > MAX_CALLS - program->n)
		n = MAX_CALLS - program->n;
	memcpy(program->calls + program->n, other->calls + from, n * sizeof(struct call));
	program->n += n;
}

void program_mutate(struct program *program, const struct program *other)
{
	unsigned int n = 1 + random_below(4);
	struct call call;

	while (n--) {
		if (!program->n)
			program_make(program);
		switch (random_below(8)) {
		case 0:
			splice(program, other);
			break;
		case 1:
			program_remove(program, random_below(program->n), 1);
			break;
		case 2:
			call = program->calls[random_below(program->n)];
			insert(program, &call);
			break;
		case 3:
		case 4:
			make_call(&call);
			insert(program, &call);
			break;
		default:
			change_argument(program);
		}
	}
}
