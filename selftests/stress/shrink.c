// SPDX-License-Identifier: GPL-2.0
/*
 * shrink.c - from a long sequence that fails to a short one
 *
 * Delta debugging: operations are left out, many at first, then fewer, as long
 * as what is left fails as well, whatever the difference. Then those that are
 * left are made simpler. Each try is an episode of one thread, in a child.
 */
#include "stress.h"

/* The ops that are tried, and those of the report they come from. */
struct search {
	struct plan *plan;
	struct report *report;
	struct op *ops;
	unsigned int n;
	struct op *best;
};

/* Whether the best fails, cut off after the step that does. */
static bool fails(struct search *s, unsigned int n)
{
	unsigned int end;

	s->plan->script = s->best;
	s->plan->ops = n;
	if (episode(s->plan, s->report))
		return false;
	end = s->report->steps + 1;
	s->n = end < n ? end : n;
	memcpy(s->ops, s->best, s->n * sizeof(*s->ops));
	return true;
}

static bool fails_without(struct search *s, unsigned int from, unsigned int count)
{
	memcpy(s->best, s->ops, from * sizeof(*s->ops));
	memcpy(s->best + from, s->ops + from + count, (s->n - from - count) * sizeof(*s->ops));
	return fails(s, s->n - count);
}

static void leave_out(struct search *s)
{
	unsigned int chunk = s->n / 2, at;
	bool less;

	while (chunk) {
		less = false;
		for (at = 0; at < s->n; ) {
			if (chunk > s->n - at || chunk == s->n || !fails_without(s, at, chunk))
				at += chunk;
			else
				less = true;
		}
		if (!less || chunk > 1)
			chunk /= 2;
	}
}

static bool try_with(struct search *s, unsigned int at, const struct op *op)
{
	memcpy(s->best, s->ops, s->n * sizeof(*s->ops));
	s->best[at] = *op;
	return fails(s, s->n);
}

static void without_ranges(struct search *s, unsigned int at)
{
	struct op op;
	uint32_t i = 0;

	while (at < s->n && s->ops[at].count > 1 && i < s->ops[at].count) {
		op = s->ops[at];
		op.count--;
		memmove(op.range + i, op.range + i + 1, (op.count - i) * sizeof(*op.range));
		if (!try_with(s, at, &op))
			i++;
	}
}

static void make_simple(struct search *s)
{
	unsigned int at;
	struct op op;

	for (at = 0; at < s->n; at++) {
		op = s->ops[at];
		op.by_signal = 0;
		if (s->ops[at].by_signal)
			try_with(s, at, &op);
		without_ranges(s, at);
	}
}

/*
 * What slot @report->slot did when it failed, made short. Return: how many
 * operations are left in @ops, or 0 when the slot does not fail alone. The
 * report is then that of the short sequence.
 */
unsigned int shrink(struct plan *plan, struct report *report, struct op *ops)
{
	struct search s = { .plan = plan, .report = report, .ops = ops };
	unsigned int slot = report->slot, n = report->made[slot];

	s.best = calloc(EPISODE, sizeof(*s.best));
	must(s.best);
	memcpy(s.best, report->op[slot], n * sizeof(*ops));
	plan->processes = 1;
	plan->threads = 1;
	plan->first_slot = slot;
	if (n && fails(&s, n)) {
		leave_out(&s);
		make_simple(&s);
		memcpy(s.best, s.ops, s.n * sizeof(*ops));
		fails(&s, s.n);
	}
	free(s.best);
	return s.n;
}
