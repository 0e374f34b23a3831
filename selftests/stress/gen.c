// SPDX-License-Identifier: GPL-2.0
/*
 * gen.c - makes operations up
 *
 * Most are about a few pages around the place where two page tables meet, so
 * that they have to do with one another; some are about many pages, and a few
 * about nothing that makes sense.
 */
#include "stress.h"

#define HOT 40u

/* How often, of 137; accesses besides, as the plan says. */
static const uint16_t weights[KINDS] = {
	[OP_SYSCALL] = 12, [OP_PROTECT] = 26, [OP_PROTECT_PAGE] = 24,
	[OP_SCAN] = 24, [OP_DISCARD] = 7, [OP_POPULATE] = 7, [OP_MAP] = 5, [OP_UNMAP] = 2,
	[OP_MOVE] = 5, [OP_MAP2] = 4, [OP_TRAP] = 8, [OP_UNTRAP] = 4, [OP_FORK] = 1,
	[OP_DEBUG] = 3, [OP_MPROTECT] = 1, [OP_QUERY] = 1, [OP_CREATE] = 1, [OP_STATS] = 2,
};

static const uint8_t prots[] = { NONE, NONE, R, R, RW, RW, RW, RX, RWX };
/* What views are mapped with. */
static const uint8_t mosts[] = { RWX, RWX, RWX, RW, RW, RW, R, RX, NONE };
static const uint8_t raises[] = { NONE, NONE, R, RW, RW };

#define ONE_OF(r, array) ((array)[below(r, sizeof(array) / sizeof((array)[0]))])

/* The first page in the arena that a page table begins with, plus one more. */
static uint32_t boundary(const struct slot *s)
{
	return 512 - (uintptr_t)s->arena / PAGE % 512 + 512;
}

static uint32_t any_page(struct random *r, const struct slot *s)
{
	if (below(r, 4))
		return boundary(s) - HOT / 2 + below(r, HOT);
	return below(r, ARENA);
}

/* One that is mapped, if there is one soon. */
static uint32_t some_page(struct random *r, const struct slot *s)
{
	unsigned int tries = 6;
	uint32_t at;

	do {
		at = any_page(r, s);
	} while (s->model.page[at].view < 0 && --tries);
	return at;
}

/* One that may be written, if there is one soon: most accesses of programs go well. */
static uint32_t open_page(struct random *r, const struct slot *s)
{
	unsigned int tries = 12;
	const struct page *p;
	uint32_t at;

	do {
		at = any_page(r, s);
		p = &s->model.page[at];
	} while ((p->view < 0 || !(p->prot & AVM_PROT_WRITE)) && --tries);
	return at;
}

static uint32_t some_pages(struct random *r, uint32_t at, uint32_t most)
{
	uint32_t n = below(r, 12) ? 1 + below(r, 9) : 1 + below(r, most);

	return n < ARENA - at ? n : ARENA - at;
}

/* As many as are mapped there. */
static uint32_t clip(struct random *r, const struct slot *s, uint32_t at, uint32_t n)
{
	uint32_t i;

	if (!below(r, 12))
		return n;
	for (i = 1; i < n; i++)
		if (s->model.page[at + i].view < 0)
			return i;
	return n;
}

/* The right space, but for now and then. */
static uint32_t space_at(struct random *r, const struct slot *s, uint32_t at)
{
	int view = s->model.page[at].view;

	if (view < 0 || !below(r, 40))
		return below(r, SPACES);
	return s->model.view[view].space;
}

static uint8_t some_prot(struct random *r, const struct slot *s, uint32_t at)
{
	int view = s->model.page[at].view;
	uint8_t prot = ONE_OF(r, prots);

	return view < 0 || !below(r, 20) ? prot : prot & s->model.view[view].allowed;
}

static uint32_t bad_one(struct random *r, const uint8_t *bads, unsigned int n)
{
	return below(r, 25) ? GOOD : bads[below(r, n)];
}

#define SOME_BAD(r, ...) bad_one(r, (const uint8_t[]) { __VA_ARGS__ },		\
				 sizeof((const uint8_t[]) { __VA_ARGS__ }))

static void gen_access(struct random *r, const struct slot *s, struct op *op)
{
	op->how = below(r, 12) ? below(r, 3) : FETCH;
	op->byte = below(r, BYTES);
	/* So that there is code to be fetched. */
	op->value = below(r, 3) ? below(r, 256) : 0xC3;
	op->deed = below(r, DEEDS);
	op->prot = some_prot(r, s, op->at);
}

static void gen_ranges(struct random *r, const struct slot *s, struct op *op)
{
	uint32_t most = op->kind == OP_PROTECT ? 700 : op->kind == OP_DISCARD ? 100 : 40;
	struct pages *p = op->range;
	unsigned int i;

	op->n = 0;
	op->bad = SOME_BAD(r, BAD_SIZE, BAD_LARGE, BAD_FLAGS, BAD_COUNT, BAD_MANY, BAD_POINTER);
	op->count = below(r, 2) ? 1 : 1 + below(r, RANGES);
	for (i = 0; i < op->count; i++, p++) {
		p->at = i ? some_page(r, s) : op->at;
		p->n = clip(r, s, p->at, below(r, 3) ? some_pages(r, p->at, most) : 1);
		if (op->kind == OP_PROTECT)
			p->prot = some_prot(r, s, p->at);
		p->bad = SOME_BAD(r, GOOD, GOOD, GOOD, BAD_ALIGN, BAD_EMPTY, BAD_WRAP,
				  BAD_RESERVED, BAD_PROT);
	}
}

static void gen_scan(struct random *r, const struct slot *s, struct op *op)
{
	static const uint8_t answers[] = { 0, AVM_SCAN_BITMAP, AVM_SCAN_BITMAP, AVM_SCAN_RANGES };

	op->n = clip(r, s, op->at, some_pages(r, op->at, 1600));
	op->how = 1 + below(r, 3);
	op->prot2 = below(r, 4);
	op->flags = ONE_OF(r, answers);
	op->m = op->flags & AVM_SCAN_RANGES ? 1 + below(r, 6) : 0;
	if (!below(r, 3)) {
		op->flags |= AVM_SCAN_PROTECT;
		op->prot = some_prot(r, s, op->at);
	}
	op->bad = SOME_BAD(r, BAD_SIZE, BAD_LARGE, BAD_FLAGS, BAD_ALIGN, BAD_EMPTY, BAD_WRAP,
			   BAD_RESERVED, BAD_PROT, BAD_BUFFER, BAD_MATCH, BAD_POINTER);
	if (!(op->flags & ~AVM_SCAN_PROTECT) && (op->bad == BAD_BUFFER || op->bad == BAD_POINTER))
		op->bad = BAD_MATCH;
}

static void gen_map(struct random *r, struct op *op)
{
	op->at = below(r, 3) ? op->at : below(r, ARENA);
	op->n = below(r, 3) ? 1 + below(r, REGION) : 1 + below(r, 30);
	if (op->n > ARENA - op->at)
		op->n = ARENA - op->at;
	op->to = below(r, REGION - op->n + 1);
	op->prot = ONE_OF(r, mosts);
	op->flags = !below(r, 8);
	op->bad = SOME_BAD(r, BAD_PROT, BAD_WRAP);
}

static void gen_move(struct random *r, const struct slot *s, struct op *op)
{
	op->n = clip(r, s, op->at, some_pages(r, op->at, 600));
	op->m = below(r, 4) ? op->n : 1 + below(r, op->n + 3);
	op->flags = below(r, 4) != 0;
	op->to = any_page(r, s);
	if (op->to + op->m > ARENA)
		op->to = ARENA - op->m;
}

static void gen_map2(struct random *r, const struct slot *s, struct op *op)
{
	op->n = clip(r, s, op->at, some_pages(r, op->at, 300));
	op->to = below(r, 3) ? below(r, ARENA) : any_page(r, s);
	if (op->to + op->n > ARENA)
		op->to = ARENA - op->n;
	op->prot = ONE_OF(r, mosts);
	op->prot2 = ONE_OF(r, prots);
	if (below(r, 10))
		op->prot2 &= op->prot;
	op->flags = below(r, 3) != 0;
	op->bad = SOME_BAD(r, BAD_SIZE, BAD_LARGE, BAD_FLAGS, BAD_ALIGN, BAD_EMPTY, BAD_WRAP,
			   BAD_PROT);
}

static void gen_trap(struct random *r, const struct slot *s, struct op *op)
{
	op->n = clip(r, s, op->at, some_pages(r, op->at, 200));
	op->bad = SOME_BAD(r, BAD_SIZE, BAD_LARGE, BAD_FLAGS, BAD_ALIGN, BAD_EMPTY, BAD_WRAP,
			   BAD_RESERVED, BAD_PROT);
	if (op->kind == OP_UNTRAP)
		return;
	op->prot = ONE_OF(r, raises);
	op->value = 1 + below(r, 1000);
	op->flags = below(r, 2) ? AVM_TRAP_ONSTACK : 0;
	if (!below(r, 60))
		op->bad = BAD_POINTER;
}

static uint32_t weight(const struct plan *plan, uint32_t kind)
{
	if (!(plan->only >> kind & 1))
		return 0;
	return kind == OP_ACCESS ? plan->accesses : weights[kind];
}

static uint32_t some_kind(struct random *r, const struct plan *plan)
{
	uint32_t total = 0, kind, pick;

	for (kind = 0; kind < KINDS; kind++)
		total += weight(plan, kind);
	pick = below(r, total);
	for (kind = 0; pick >= weight(plan, kind); kind++)
		pick -= weight(plan, kind);
	return kind;
}

static void gen_details(struct random *r, const struct slot *s, struct op *op)
{
	switch (op->kind) {
	case OP_ACCESS:
	case OP_SYSCALL:
	case OP_DEBUG: return gen_access(r, s, op);
	case OP_PROTECT:
	case OP_DISCARD:
	case OP_POPULATE: return gen_ranges(r, s, op);
	case OP_PROTECT_PAGE:
		op->prot = some_prot(r, s, op->at);
		op->bad = SOME_BAD(r, BAD_PROT, BAD_ALIGN);
		return;
	case OP_SCAN: return gen_scan(r, s, op);
	case OP_MAP: return gen_map(r, op);
	case OP_UNMAP:
		op->n = some_pages(r, op->at, 300);
		return;
	case OP_MOVE: return gen_move(r, s, op);
	case OP_MAP2: return gen_map2(r, s, op);
	case OP_TRAP:
	case OP_UNTRAP: return gen_trap(r, s, op);
	case OP_FORK:
		op->to = below(r, REGION);
		op->byte = below(r, BYTES);
		op->value = below(r, 256);
		op->flags = below(r, 2);
		return;
	case OP_CREATE:
		op->bad = SOME_BAD(r, BAD_SIZE, BAD_LARGE, BAD_FLAGS, BAD_ALIGN, BAD_EMPTY,
				   BAD_WRAP);
		return;
	case OP_QUERY:
		op->flags = below(r, 2);
		op->bad = SOME_BAD(r, BAD_SIZE, BAD_LARGE, BAD_FLAGS);
		return;
	}
}

/* Operation @n. Some views come first. */
struct op gen_op(struct random *r, const struct slot *s, const struct plan *plan, unsigned int n)
{
	struct op op = { .kind = n < 4 ? OP_MAP : some_kind(r, plan) };

	if (op.kind == OP_ACCESS && below(r, plan->accesses) >= ACCESSES)
		op.at = open_page(r, s);
	else
		op.at = some_page(r, s);
	op.n = 1;
	op.space = space_at(r, s, op.at);
	op.by_signal = !below(r, 40);
	gen_details(r, s, &op);
	return op;
}
