// SPDX-License-Identifier: GPL-2.0
/*
 * episode.c - processes and threads that carry operations out, and compare
 *
 * Spaces are made anew for each episode, and everything runs in children, so
 * that episodes have nothing to do with one another and can be repeated.
 */
#include "stress.h"

#include <pthread.h>
#include <sys/time.h>

struct thread {
	pthread_t id;
	struct slot slot;
	const struct plan *plan;
	struct report *report;
};

/* The first that fails says how: whether that is this one. */
static bool first_to_fail(struct report *r, unsigned int slot, unsigned int steps)
{
	int nobody = 0;

	if (!atomic_compare_exchange_strong(&r->failed, &nobody, 1))
		return false;
	r->slot = slot;
	r->steps = steps;
	return true;
}

static void say_difference(struct thread *t, unsigned int step, const struct op *op,
			   const struct result *expected)
{
	struct report *r = t->report;
	FILE *text;

	if (!first_to_fail(r, t->slot.number, step))
		return;
	text = fmemopen(r->text, sizeof(r->text) - 1, "w");
	must(text);
	fprintf(text, "step %u of slot %u: ", step, t->slot.number);
	op_print(text, op);
	result_print(text, expected, &t->slot.got);
	fclose(text);
}

/* What is in a page in the end is not what was written last. */
static void say_end(struct thread *t, int space, unsigned int page, int is, int should_be)
{
	struct report *r = t->report;
	unsigned int slot = t->slot.number;

	if (first_to_fail(r, slot, r->made[slot]))
		snprintf(r->text, sizeof(r->text),
			 "the end: space %d, page %u of slot %u: %#x, not %#x\n", space, page,
			 slot, is, should_be);
}

/* Code is only called where there is some. */
static void avoid_wild_fetch(struct slot *s, struct op *op)
{
	const struct page *p = model_page(&s->model, op->at);

	if (op->kind == OP_ACCESS && op->how == FETCH && p &&
	    model_frame(&s->model, p)->byte[op->byte] != 0xC3)
		op->how = READ;
}

/* Ask the module what the model cannot know. */
static void learn(struct slot *s, uint32_t at)
{
	struct page *p = s->model.unsure;

	s->model.unsure = NULL;
	if (p && !scan(s->fd[s->model.view[p->view].space], s->arena + at * PAGE, 1,
		       AVM_PAGE_ACCESSED, 0, NULL))
		p->bits &= ~AVM_PAGE_ACCESSED;
}

/* Return: false when it did not result in what it must. */
static bool step(struct thread *t, unsigned int n, const struct op *op)
{
	struct slot *s = &t->slot;
	struct result expected;

	s->pending = op;
	if (op->by_signal)
		pthread_kill(pthread_self(), SIGUSR1);
	else
		exec_op(s, op, &s->got);
	expect(s, op, &s->got, &expected);
	learn(s, op->at);
	if (!memcmp(&expected, &s->got, sizeof(expected)))
		return true;
	say_difference(t, n, op, &expected);
	return false;
}

/* The bits of all pages that are mapped: operations like any other, at the end. */
static bool last_scans(struct thread *t, unsigned int n)
{
	const struct model *m = &t->slot.model;
	struct op op = { .kind = OP_SCAN, .flags = AVM_SCAN_BITMAP,
			 .how = AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED };

	for (op.at = 0; op.at < ARENA; op.at += op.n) {
		op.n = 1;
		if (m->page[op.at].view < 0)
			continue;
		op.n = model_vma_end(m, op.at) - op.at;
		op.space = m->view[m->page[op.at].view].space;
		if (!step(t, n, &op))
			return false;
	}
	return true;
}

/* What was written is there, mapped or not: in a view of its own. */
static void last_look(struct thread *t, int space)
{
	const struct slot *s = &t->slot;
	const struct frame *frame = s->model.frame[space];
	unsigned char *p = (unsigned char *)view_new(s->fd[space], s->number * REGION, REGION, R);
	unsigned int i, j;

	for (i = 0; i < REGION; i++)
		for (j = 0; frame[i].present && j < BYTES; j++)
			if (p[i * PAGE + byte_at[j]] != frame[i].byte[j])
				say_end(t, space, i, p[i * PAGE + byte_at[j]], frame[i].byte[j]);
	must(!munmap(p, REGION * PAGE));
}

static void run_ops(struct thread *t)
{
	const struct plan *plan = t->plan;
	struct report *r = t->report;
	struct random random = { (plan->seed * SLOTS + t->slot.number) * 2654435761u };
	struct op *record = r->op[t->slot.number], op;
	unsigned int i;

	next(&random);
	for (i = 0; i < plan->ops && !r->failed; i++) {
		if (plan->script)
			op = plan->script[i];
		else
			op = gen_op(&random, &t->slot, plan, i);
		avoid_wild_fetch(&t->slot, &op);
		record[i] = op;
		r->made[t->slot.number] = i + 1;
		if (!step(t, i, &op))
			break;
	}
	r->done += i;
	if (r->failed || !last_scans(t, i))
		return;
	for (i = 0; i < SPACES; i++)
		last_look(t, i);
}

static void slot_open(struct thread *t)
{
	struct slot *s = &t->slot;

	s->arena = (char *)ARENAS + s->number * ARENA * PAGE;
	model_init(&s->model);
	s->model.alone = t->plan->processes * t->plan->threads == 1;
	must(!pipe(s->pipe));
	s->dev = open(AVM_DEVICE, O_RDWR);
	s->mem = open("/proc/self/mem", O_RDWR);
	must(s->dev >= 0 && s->mem >= 0);
	access_begin(s);
}

static void slot_close(struct thread *t)
{
	int i;

	for (i = 0; i < SPACES; i++)
		t->report->frames[i] += model_count_frames(&t->slot.model, i);
	model_end(&t->slot.model);
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	slot_open(t);
	run_ops(t);
	slot_close(t);
	return NULL;
}

/* A signal that nobody asked for, now and then, in any of the threads. */
static void alarms(void)
{
	const struct itimerval often = { .it_interval = { .tv_usec = 50000 },
					 .it_value = { .tv_usec = 50000 } };

	must(!setitimer(ITIMER_REAL, &often, NULL));
}

static void process_main(const struct plan *plan, struct report *report, const int *fd,
			 unsigned int first)
{
	struct thread *threads = calloc(plan->threads, sizeof(*threads));
	unsigned int i;

	must(threads);
	access_setup();
	alarms();
	for (i = 0; i < plan->threads; i++) {
		threads[i].plan = plan;
		threads[i].report = report;
		threads[i].slot.number = first + i;
		memcpy(threads[i].slot.fd, fd, SPACES * sizeof(*fd));
		must(!pthread_create(&threads[i].id, NULL, thread_main, &threads[i]));
	}
	for (i = 0; i < plan->threads; i++)
		must(!pthread_join(threads[i].id, NULL));
	_exit(0);
}

static void check_count(struct report *r, int space, const char *what, uint64_t is,
			uint64_t should_be)
{
	if (is != should_be && first_to_fail(r, r->slot, r->made[r->slot]))
		snprintf(r->text, sizeof(r->text), "the end: space %d: %s: %lu, not %lu\n", space,
			 what, is, should_be);
}

/* All views were those of processes that are no more. */
static void check_end(struct report *r, const int *fd)
{
	struct avm_stats st;
	int i;

	for (i = 0; i < SPACES; i++) {
		st = stats(fd[i]);
		check_count(r, i, "pages that are allocated", st.out_resident_pages, r->frames[i]);
		check_count(r, i, "views that are left", st.out_views, 0);
	}
}

/* The operation that a process died in is its last. */
static void wait_for(struct report *r, pid_t pid, unsigned int first)
{
	int status;

	must(waitpid(pid, &status, 0) == pid);
	if (!status || !first_to_fail(r, first, r->made[first] ? r->made[first] - 1 : 0))
		return;
	snprintf(r->text, sizeof(r->text), "the process of slot %u: it died, status %#x\n", first,
		 (unsigned int)status);
}

/* Return: whether all went as it must. */
bool episode(const struct plan *plan, struct report *r)
{
	pid_t pid[SLOTS];
	unsigned int i;
	int fd[SPACES];

	memset(r, 0, offsetof(struct report, op));
	r->slot = plan->first_slot;
	for (i = 0; i < SPACES; i++)
		fd[i] = space_new(SLOTS * REGION);
	fflush(stdout);
	for (i = 0; i < plan->processes; i++) {
		pid[i] = fork();
		must(pid[i] >= 0);
		if (!pid[i])
			process_main(plan, r, fd, plan->first_slot + i * plan->threads);
	}
	for (i = 0; i < plan->processes; i++)
		wait_for(r, pid[i], plan->first_slot + i * plan->threads);
	if (!r->failed)
		check_end(r, fd);
	for (i = 0; i < SPACES; i++)
		close(fd[i]);
	return !r->failed;
}
