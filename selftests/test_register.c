// SPDX-License-Identifier: GPL-2.0
/*
 * AVM_IOC_TRAP, straight on the ABI: registrations that come, go and are cut,
 * against a model of which page has which; as many as there may be; without
 * memory; while others trap. And what is done to pages that other threads
 * raise meanwhile, and on an alternate stack that is full.
 *
 * The argument of each registration says what else belongs to it (its code,
 * whether it raises, its stack), so that a mixture of two shows.
 */
#include "cgroup.h"

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#include "harness.h"

#define MAX_TRAPS	4096ul	/* in a view */
#define RED_ZONE	128ul
#define FRAME		sizeof(struct avm_upcall)
#define ALT_SIZE	65536
#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define WAIT_SECONDS	120	/* for what another thread has to do */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Reproducible: each test begins with a seed of its own. */
static uint64_t seed;

static uint32_t draw(uint64_t *state, uint32_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (*state >> 32) % below;
}

static uint32_t rnd(uint32_t below)
{
	return draw(&seed, below);
}

/*
 * touch_read(at, landed) and touch_write(at, landed) make one access. They
 * return 0 when it got through. The code that is registered, land_a or land_b,
 * copies the frame to `landed` and returns 1 or 2 from the function instead of
 * resuming it.
 */
struct landed {
	struct avm_upcall up;
	uint64_t frame;		/* where it was */
};

extern const char land_a[], land_b[];
long touch_read(const char *at, struct landed *landed);
long touch_write(char *at, struct landed *landed);

asm("	.pushsection .text\n"
	"	.globl touch_read, touch_write, land_a, land_b\n"
	"touch_read:\n"
	"	movb (%rdi), %al\n"
	"	xorl %eax, %eax\n"
	"	ret\n"
	"touch_write:\n"
	"	movb $1, (%rdi)\n"
	"	xorl %eax, %eax\n"
	"	ret\n"
	"land_a:\n"
	"	movl $1, %eax\n"
	"	jmp 1f\n"
	"land_b:\n"
	"	movl $2, %eax\n"
	"1:\n"
	"	movq 56(%rdi), %rdx\n"		/* the rsp of touch_*() */
	"	xchgq %rdi, %rsi\n"
	"	movl $9, %ecx\n"
	"	rep movsq\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rdx, %rsp\n"
	"	ret\n"
	"	.popsection\n");

_Static_assert(FRAME == 9 * 8, "as many words as the code above copies");
_Static_assert(offsetof(struct avm_upcall, sp) == 56, "as the code above has it");

/* What an argument says of its registration. */
#define ARG_CODE_B	1u
#define ARG_RAISES	2u	/* to rw */
#define ARG_ONSTACK	4u
#define ARG_SERIAL	8u	/* times a number from 1 on */

static int trap_call(int space, const char *at, unsigned long pages, uint64_t arg)
{
	struct avm_trap trap = {
		.size = sizeof(trap), .addr = (uintptr_t)at, .length = pages * PAGE, .arg = arg,
		.flags = arg & ARG_ONSTACK ? AVM_TRAP_ONSTACK : 0,
		.entry = (uintptr_t)(arg & ARG_CODE_B ? land_b : land_a),
		.raise = arg & ARG_RAISES ? RW : NONE,
	};

	return call(space, AVM_IOC_TRAP, &trap);
}

static int untrap(int space, const char *at, unsigned long pages)
{
	struct avm_trap trap = {
		.size = sizeof(trap), .addr = (uintptr_t)at, .length = pages * PAGE,
	};

	return call(space, AVM_IOC_TRAP, &trap);
}

/* One access: 0, the number of the code that was called, or a signal, negated. */
static long touch(char *at, bool write, struct landed *landed)
{
	volatile long ret = 0;

	denied.sig = 0;
	denied_armed = 1;
	if (!sigsetjmp(denied_jump, 0))
		ret = write ? touch_write(at, landed) : touch_read(at, landed);
	denied_armed = 0;
	return denied.sig ? -denied.sig : ret;
}

/* The thread's alternate stack ends here. */
static __thread char *alt_top;

static void alt_setup(void)
{
	stack_t alt = { .ss_sp = malloc(ALT_SIZE), .ss_size = ALT_SIZE };

	must(alt.ss_sp && !sigaltstack(&alt, NULL));
	alt_top = (char *)alt.ss_sp + ALT_SIZE;
}

/* Whether all that the code was told belongs to the same registration. */
static bool consistent(const struct landed *l, long code, const char *at, bool write)
{
	uint64_t top = l->up.arg & ARG_ONSTACK ? (uintptr_t)alt_top & ~15ul : l->up.sp - RED_ZONE;

	return code == (l->up.arg & ARG_CODE_B ? 2 : 1) && l->frame == top - FRAME &&
	       l->up.addr == (uintptr_t)at && !l->up.reserved &&
	       l->up.access == (write ? AVM_PROT_WRITE : R);
}

#define NOTHING		0	/* SIGSEGV: nothing is registered */
#define THROUGH		(~0ull)
#define MIXTURE		(~1ull)

/*
 * The argument of the registration that an access of a closed page meets. The
 * page is closed again behind it.
 */
static uint64_t finds(int space, char *at, bool write)
{
	struct landed l = {}, again = {};
	long code = touch(at, write, &l);

	if (!code)
		return THROUGH;
	if (code == -SIGSEGV)
		return denied.addr == at ? NOTHING : MIXTURE;
	if (code < 0 || !consistent(&l, code, at, write))
		return MIXTURE;
	/* Open now, if it is one that raises, and only then. */
	if (!touch(at, write, &again) != !!(l.up.arg & ARG_RAISES))
		return MIXTURE;
	/* The second may have met another registration than the first. */
	if ((l.up.arg | again.up.arg) & ARG_RAISES)
		must(!ioctl(space, AVM_IOC_PROTECT_PAGE, (uintptr_t)at & ~(PAGE - 1)));
	return l.up.arg;
}

/* A view whose pages are all closed. */
static char *closed_view(int space, unsigned long pages)
{
	char *view = view_new(space, 0, pages, RW);

	must(!protect(space, view, pages, NONE));
	return view;
}

/*
 * The model: an area of addresses, what page of what view is at each, and the
 * argument that each page of each view has. View 0 and view 1 are of the
 * space, the last of another.
 */
#define AREA		96
#define VIEWS		3
#define FOREIGN		2
#define SPACE_PAGES	64

struct place {
	int view;	/* -1: no view is here */
	int page;	/* in the space */
	int vma;	/* pages in a row with the same number can be moved at once */
};

struct model {
	int space;
	int other;	/* the space of view FOREIGN */
	char *area;
	struct place at[AREA];
	uint64_t arg[VIEWS][SPACE_PAGES];
	uint64_t serial;
	int vmas;
	unsigned int adds, removes, refusals, moves;
};

static void model_map(struct model *m, int view, int at, int page, int pages)
{
	int space = view == FOREIGN ? m->other : m->space, i;
	char *p = m->area + at * PAGE;

	must(mmap(p, pages * PAGE, RW, MAP_SHARED | MAP_FIXED, space, page * PAGE) == p);
	must(!protect(space, p, pages, NONE));
	m->vmas++;
	for (i = 0; i < pages; i++)
		m->at[at + i] = (struct place){ view, page + i, m->vmas };
}

static void model_open(struct model *m)
{
	int i;

	memset(m, 0, sizeof(*m));
	m->space = space_new(SPACE_PAGES);
	m->other = space_new(SPACE_PAGES);
	m->area = mmap(NULL, AREA * PAGE, NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(m->area != MAP_FAILED);
	for (i = 0; i < AREA; i++)
		m->at[i].view = -1;
}

static void model_close(struct model *m)
{
	munmap(m->area, AREA * PAGE);
	close(m->space);
	close(m->other);
}

static int model_add(struct model *m, int first, int pages, uint64_t arg)
{
	const struct place *p = m->at + first;
	uint64_t *args;
	int i;

	for (i = 0; i < pages; i++)
		if (p[i].view < 0 || p[i].view == FOREIGN || p[i].view != p->view ||
		    p[i].page != p->page + i)
			return -ENXIO;
	args = m->arg[p->view] + p->page;
	for (i = 0; i < pages; i++)
		if (args[i])
			return -EEXIST;
	for (i = 0; i < pages; i++)
		args[i] = arg;
	return 0;
}

/* The registration of a page loses what it has from page low up to high. */
static void model_cut(uint64_t *args, int page, int low, int high)
{
	uint64_t arg = args[page];
	int i;

	for (i = page; i >= low && i >= 0 && args[i] == arg; i--)
		args[i] = 0;
	for (i = page + 1; i < high && i < SPACE_PAGES && args[i] == arg; i++)
		args[i] = 0;
}

static int model_remove(struct model *m, int first, int pages)
{
	bool found = false;
	int i;

	for (i = first; i < first + pages; i++) {
		const struct place *p = m->at + i;

		if (p->view < 0 || p->view == FOREIGN || !m->arg[p->view][p->page])
			continue;
		found = true;
		model_cut(m->arg[p->view], p->page, p->page - (i - first),
			  p->page + (first + pages - i));
	}
	return found ? 0 : -ENOENT;
}

/* A hole; or memory that is none of ours. */
static void model_unmap(struct model *m, int first, int pages)
{
	char *p = m->area + first * PAGE;
	int i;

	if (rnd(2))
		must(!munmap(p, pages * PAGE));
	else
		must(mmap(p, pages * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		     p);
	for (i = first; i < first + pages; i++)
		m->at[i].view = -1;
}

static void model_move(struct model *m, int from, int pages, int to)
{
	char *p = m->area + from * PAGE, *q = m->area + to * PAGE;
	int i;

	must(mremap(p, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q);
	m->vmas++;
	m->moves++;
	for (i = 0; i < pages; i++) {
		m->at[to + i] = m->at[from + i];
		m->at[to + i].vma = m->vmas;
		m->at[from + i].view = -1;
	}
}

/* Unmap or move a few pages from a random place, if there are any. */
static void model_rearrange(struct model *m)
{
	int first = rnd(AREA), most = 1 + rnd(8), pages = 1, to;
	const struct place *p = m->at + first;

	if (p->view < 0)
		return;
	while (pages < most && first + pages < AREA && p[pages].view >= 0 &&
	       p[pages].vma == p->vma)
		pages++;
	if (!rnd(4)) {
		model_unmap(m, first, pages);
		return;
	}
	to = rnd(AREA - pages + 1);
	if (to + pages <= first || first + pages <= to)
		model_move(m, first, pages, to);
}

/* How many pages do not find what they have. */
static unsigned int model_wrong(struct model *m, bool write)
{
	unsigned int wrong = 0, i;

	for (i = 0; i < AREA; i++) {
		const struct place *p = m->at + i;

		if (p->view >= 0)
			wrong += m->arg[p->view][p->page] !=
				 finds(p->view == FOREIGN ? m->other : m->space,
				       m->area + i * PAGE + i * 41, write);
	}
	return wrong;
}

static uint64_t next_arg(struct model *m)
{
	return ++m->serial * ARG_SERIAL + rnd(8);
}

/* One call, with whatever it should return. False if it returned another thing. */
static bool model_step(struct model *m)
{
	int first = rnd(AREA), most = rnd(5) ? 6 : AREA, pages, expected, ret;
	uint64_t arg = next_arg(m);

	if (most > AREA - first)
		most = AREA - first;
	pages = 1 + rnd(most);
	if (rnd(5) < 3) {
		expected = model_add(m, first, pages, arg);
		ret = trap_call(m->space, m->area + first * PAGE, pages, arg);
		m->adds += !expected;
	} else {
		expected = model_remove(m, first, pages);
		ret = untrap(m->space, m->area + first * PAGE, pages);
		m->removes += !expected;
	}
	m->refusals += !!expected;
	if (ret != expected)
		printf("# %d pages at %d: %d, not %d\n", pages, first, ret, expected);
	return ret == expected;
}

#define MODEL_FIRST_SEED	0x9E3779B97F4A7C15ull

FIXTURE(model) {
	struct model m;
};

FIXTURE_SETUP(model) {
	denied_setup();
	alt_setup();
	model_open(&self->m);
}

FIXTURE_TEARDOWN(model) {
	model_close(&self->m);
}

TEST_F(model, each_page_has_what_was_registered_for_it_last)
{
	unsigned int often = slow() ? 30 : 6, round, step;
	struct model *m = &self->m;

	for (round = 0; round < 4; round++) {
		seed = MODEL_FIRST_SEED * (round + 1);
		memset(m->arg, 0, sizeof(m->arg));
		model_map(m, 0, round, 0, SPACE_PAGES);
		for (step = 0; step < 1500; step++) {
			ASSERT_TRUE(model_step(m)) TH_LOG("round %u, step %u", round, step);
			if (step % often == 0)
				ASSERT_EQ(0, model_wrong(m, step % 4))
					TH_LOG("round %u, step %u", round, step);
		}
		model_unmap(m, round, SPACE_PAGES);
	}
	EXPECT_LT(500, m->adds);
	EXPECT_LT(500, m->removes);
	EXPECT_LT(500, m->refusals);
}

/* The two views have the same pages, at other places; the third is a stranger. */
TEST_F(model, holes_and_moved_pages_and_other_views_have_what_is_theirs)
{
	unsigned int often = slow() ? 30 : 6, round, step;
	struct model *m = &self->m;
	uint64_t arg;

	for (round = 0; round < 24; round++) {
		seed = MODEL_FIRST_SEED * (round + 11);
		memset(m->arg, 0, sizeof(m->arg));
		model_map(m, 0, 4, 8, 32);
		model_map(m, 1, 36, 0, 32);
		model_map(m, FOREIGN, 76, 20, 8);
		arg = next_arg(m);
		ASSERT_EQ(0, trap_call(m->other, m->area + 76 * PAGE, 8, arg));
		for (step = 0; step < 8; step++)
			m->arg[FOREIGN][20 + step] = arg;
		for (step = 0; step < 160; step++) {
			if (step % 6 == 5)
				model_rearrange(m);
			ASSERT_TRUE(model_step(m)) TH_LOG("round %u, step %u", round, step);
			if (step % often == 0)
				ASSERT_EQ(0, model_wrong(m, step % 4))
					TH_LOG("round %u, step %u", round, step);
		}
		model_unmap(m, 0, AREA);
	}
	EXPECT_LT(300, m->adds);
	EXPECT_LT(300, m->removes);
	EXPECT_LT(100, m->moves);
}

TEST_F(model, removal_takes_what_was_made_for_the_range_and_not_what_moved_away)
{
	struct model *m = &self->m;
	char *area = m->area;

	model_map(m, 0, 0, 0, 32);
	ASSERT_EQ(0, trap_call(m->space, area, 8, ARG_SERIAL));
	ASSERT_EQ(0, trap_call(m->space, area + 8 * PAGE, 8, 2 * ARG_SERIAL));
	/* Part of the first, and all of the second. */
	model_move(m, 2, 2, 40);
	model_move(m, 8, 8, 50);
	ASSERT_EQ(0, untrap(m->space, area, 16));
	EXPECT_EQ(NOTHING, finds(m->space, area, true));
	EXPECT_EQ(NOTHING, finds(m->space, area + 40 * PAGE, true));
	EXPECT_EQ(NOTHING, finds(m->space, area + 41 * PAGE, true));
	EXPECT_EQ(2 * ARG_SERIAL, finds(m->space, area + 50 * PAGE, true));
	EXPECT_EQ(2 * ARG_SERIAL, finds(m->space, area + 57 * PAGE, true));
	EXPECT_EQ(-ENOENT, untrap(m->space, area, 16));
	EXPECT_EQ(0, untrap(m->space, area + 50 * PAGE, 1));
	EXPECT_EQ(NOTHING, finds(m->space, area + 50 * PAGE, true));
	EXPECT_EQ(2 * ARG_SERIAL, finds(m->space, area + 51 * PAGE, true));
}

/* What else is in the range, and where, makes no difference. */
TEST_F(model, removal_behind_another_mapping_takes_what_was_made_for_the_range)
{
	struct model *m = &self->m;
	char *area = m->area;

	model_map(m, 0, 0, 0, 32);
	ASSERT_EQ(0, trap_call(m->space, area, 8, ARG_SERIAL));
	model_move(m, 0, 3, 40);
	must(mmap(area, 3 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == area);
	ASSERT_EQ(0, untrap(m->space, area, 8));
	EXPECT_EQ(NOTHING, finds(m->space, area + 3 * PAGE, true));
	EXPECT_EQ(NOTHING, finds(m->space, area + 40 * PAGE, true));
	EXPECT_EQ(NOTHING, finds(m->space, area + 42 * PAGE, true));
}

/* As many as there may be. */

#define MANY_PAGES	(2 * MAX_TRAPS + 16)

enum order { ASCENDING, DESCENDING, RANDOM };

static void shuffle(unsigned int *list, unsigned int n)
{
	unsigned int i, j, kept;

	for (i = n - 1; i; i--) {
		j = rnd(i + 1);
		kept = list[i];
		list[i] = list[j];
		list[j] = kept;
	}
}

/*
 * Numbers from 0 to MAX_TRAPS - 1. Only the first ones are in disorder: each of
 * these takes a new array, and large ones take long to be given back.
 */
#define DISORDER	1024u

static const unsigned int *in_order(enum order order)
{
	static unsigned int list[MAX_TRAPS];
	unsigned int i;

	seed = MODEL_FIRST_SEED;	/* the same list each time */
	for (i = 0; i < MAX_TRAPS; i++)
		list[i] = order == DESCENDING && i < DISORDER ? DISORDER - 1 - i : i;
	if (order == RANDOM)
		shuffle(list, DISORDER);
	return list;
}

static uint64_t many_arg(unsigned int i)
{
	return (i + 1) * ARG_SERIAL + (i & (ARG_CODE_B | ARG_ONSTACK));
}

/* Every other page, the ends of the space included. */
static char *many_at(char *view, unsigned int i)
{
	return view + 2 * i * PAGE;
}

FIXTURE(many) {
	int space;
	char *view;
};

FIXTURE_SETUP(many) {
	denied_setup();
	alt_setup();
	self->space = space_new(MANY_PAGES);
	self->view = closed_view(self->space, MANY_PAGES);
}

FIXTURE_TEARDOWN(many) {
	munmap(self->view, MANY_PAGES * PAGE);
	close(self->space);
}

static int fill(int space, char *view, enum order order, unsigned int n)
{
	const unsigned int *list = in_order(order);
	unsigned int i;
	int err = 0;

	for (i = 0; i < n && !err; i++)
		err = trap_call(space, many_at(view, list[i]), 1, many_arg(list[i]));
	return err;
}

/* Registrations that are not found where they should be, and some that are between. */
static unsigned int many_wrong(int space, char *view, unsigned int n)
{
	unsigned int wrong = 0, i;

	for (i = 0; i < n; i++) {
		wrong += finds(space, many_at(view, i) + i % PAGE, i % 2) != many_arg(i);
		if (i % 64 == 0)
			wrong += finds(space, many_at(view, i) + PAGE, i % 2) != NOTHING;
	}
	return wrong;
}

static void full_in_order(struct __test_metadata *_metadata, int space, char *view,
			  enum order order)
{
	const unsigned int *list;
	unsigned int i;

	ASSERT_EQ(0, fill(space, view, order, MAX_TRAPS));
	EXPECT_EQ(0, many_wrong(space, view, MAX_TRAPS));
	EXPECT_EQ(-ENOSPC, trap_call(space, view + PAGE, 1, ARG_SERIAL));
	EXPECT_EQ(-ENOSPC, trap_call(space, view + (MANY_PAGES - 1) * PAGE, 1, ARG_SERIAL));
	EXPECT_EQ(-EEXIST, trap_call(space, view, MANY_PAGES, ARG_SERIAL));
	/* One out, one in. */
	for (i = 0; i < 48; i++) {
		unsigned int one = rnd(MAX_TRAPS);

		ASSERT_EQ(0, untrap(space, many_at(view, one), 1));
		ASSERT_EQ(0, trap_call(space, many_at(view, one), 1, many_arg(one)));
	}
	EXPECT_EQ(0, many_wrong(space, view, MAX_TRAPS));
	EXPECT_EQ(-ENOSPC, trap_call(space, view + PAGE, 1, ARG_SERIAL));
	/* Half of them, in the same order; then what is left, at once. */
	list = in_order(order);
	for (i = 0; i < MAX_TRAPS / 2; i++)
		ASSERT_EQ(0, untrap(space, many_at(view, list[i]), 1));
	for (i = 0; i < MAX_TRAPS; i += 16)
		EXPECT_EQ(i < MAX_TRAPS / 2 ? NOTHING : many_arg(list[i]),
			  finds(space, many_at(view, list[i]), false));
	EXPECT_EQ(0, untrap(space, view, MANY_PAGES));
	EXPECT_EQ(-ENOENT, untrap(space, view, MANY_PAGES));
	EXPECT_EQ(NOTHING, finds(space, many_at(view, list[MAX_TRAPS - 1]), false));
}

TEST_F(many, a_view_has_4096_in_ascending_order)
{
	full_in_order(_metadata, self->space, self->view, ASCENDING);
}

TEST_F(many, a_view_has_4096_in_descending_order)
{
	full_in_order(_metadata, self->space, self->view, DESCENDING);
}

TEST_F(many, a_view_has_4096_in_random_order)
{
	full_in_order(_metadata, self->space, self->view, RANDOM);
}

TEST_F(many, cutting_the_middle_of_one_of_4096_is_ENOSPC_and_changes_nothing)
{
	char *three = self->view + (MANY_PAGES - 4) * PAGE;
	unsigned int i;

	ASSERT_EQ(0, fill(self->space, self->view, ASCENDING, MAX_TRAPS - 1));
	ASSERT_EQ(0, trap_call(self->space, three, 3, 9999 * ARG_SERIAL));
	EXPECT_EQ(-ENOSPC, untrap(self->space, three + PAGE, 1));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(9999 * ARG_SERIAL, finds(self->space, three + i * PAGE, true));
	EXPECT_EQ(0, many_wrong(self->space, self->view, MAX_TRAPS - 1));
	/* Its ends can be cut; and its middle once there is room. */
	EXPECT_EQ(0, untrap(self->space, many_at(self->view, 5), 1));
	EXPECT_EQ(0, untrap(self->space, three + PAGE, 1));
	EXPECT_EQ(NOTHING, finds(self->space, three + PAGE, true));
	EXPECT_EQ(9999 * ARG_SERIAL, finds(self->space, three, true));
	EXPECT_EQ(9999 * ARG_SERIAL, finds(self->space, three + 2 * PAGE, true));
	EXPECT_EQ(-ENOSPC, trap_call(self->space, three + PAGE, 1, ARG_SERIAL));
}

TEST_F(many, the_limit_is_the_views)
{
	char *second = closed_view(self->space, MANY_PAGES);

	ASSERT_EQ(0, fill(self->space, self->view, ASCENDING, MAX_TRAPS));
	ASSERT_EQ(0, fill(self->space, second, ASCENDING, MAX_TRAPS));
	EXPECT_EQ(-ENOSPC, trap_call(self->space, second + PAGE, 1, ARG_SERIAL));
	EXPECT_EQ(0, untrap(self->space, self->view, MANY_PAGES));
	EXPECT_EQ(-ENOSPC, trap_call(self->space, second + PAGE, 1, ARG_SERIAL));
	EXPECT_EQ(0, many_wrong(self->space, second, MAX_TRAPS));
	EXPECT_EQ(NOTHING, finds(self->space, self->view, true));
	munmap(second, MANY_PAGES * PAGE);
}

/* Without memory. */

/*
 * The group has no memory for a new array: after what the CPUs had charged in
 * advance. Each try leaves the view with one registration less than is full.
 */
static bool registering_fails(int space, char *view)
{
	unsigned int i;
	int err;

	for (i = 0; i < 64; i++) {
		err = trap_call(space, view + PAGE, 1, ARG_SERIAL);
		if (err)
			return err == -ENOMEM;
		must(!untrap(space, view + PAGE, 1));
	}
	return false;
}

/* Runs in the group: how its end is told is the exit status. */
static int remove_without_memory(int space)
{
	char *view = closed_view(space, MANY_PAGES);
	const unsigned int *list;
	unsigned int i;

	if (fill(space, view, RANDOM, MAX_TRAPS) || untrap(space, many_at(view, 100), 1))
		return 2;
	list = in_order(RANDOM);
	/* A page table that a touch lacks would be the group's. */
	for (i = 0; i < MANY_PAGES + 511; i += 512) {
		char *at = view + (i < MANY_PAGES ? i : MANY_PAGES - 1) * PAGE;

		must(!protect(space, at, 1, RW));
		*at = 1;
		must(!protect(space, at, 1, NONE));
	}
	group_enter(0);
	if (!registering_fails(space, view))
		return 3;
	for (i = 0; i < MAX_TRAPS; i++)
		if (list[i] != 100 && untrap(space, many_at(view, list[i]), 1))
			return 4;
	for (i = 0; i < MAX_TRAPS; i++)
		if (finds(space, many_at(view, i), true) != NOTHING)
			return 5;
	return untrap(space, view, MANY_PAGES) == -ENOENT ? 1 : 6;
}

TEST_F(many, removal_needs_no_memory)
{
	long kills;
	int status;
	pid_t pid;

	must(!mkdir(GROUP, 0755) || errno == EEXIST);
	put(GROUP "/memory.max", "max");
	kills = get(GROUP "/memory.events", "oom_kill ");
	pid = fork();
	if (!pid) {
		alarm(WAIT_SECONDS);
		_exit(remove_without_memory(self->space));
	}
	must(pid > 0 && waitpid(pid, &status, 0) == pid);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(1, WEXITSTATUS(status));
	EXPECT_EQ(kills, get(GROUP "/memory.events", "oom_kill "));
	EXPECT_EQ(0, rmdir(GROUP));
}

/* Over and over. */

static struct {
	int stop;
	unsigned long rounds;
	unsigned int errors;
	unsigned int ready;
} spin;

/* Each registration here takes a new array of more than 160 KB. */
static void *spin_thread(void *arg)
{
	int space = space_new(MANY_PAGES);
	char *view = closed_view(space, MANY_PAGES), *at = many_at(view, MAX_TRAPS);

	(void)arg;
	must(!fill(space, view, ASCENDING, MAX_TRAPS - 1));
	__atomic_add_fetch(&spin.ready, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&spin.stop, __ATOMIC_RELAXED)) {
		if (trap_call(space, at, 1, ARG_SERIAL) || untrap(space, at, 1))
			__atomic_add_fetch(&spin.errors, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&spin.rounds, 1, __ATOMIC_RELAXED);
	}
	munmap(view, MANY_PAGES * PAGE);
	close(space);
	return NULL;
}

/* So many that the machine would miss them when it ends. */
TEST(registrations_go_with_their_view)
{
	int space = space_new(1), n = slow() ? 256 : 16384, i;

	for (i = 0; i < n; i++) {
		char *view = view_new(space, 0, 1, RW);
		struct avm_trap arg = {
			.size = sizeof(arg),
			.addr = (uintptr_t)view,
			.length = PAGE,
			.entry = 1,
		};

		ASSERT_EQ(0, call(space, AVM_IOC_TRAP, &arg));
		must(!munmap(view, PAGE));
	}
	close(space);
}

TEST(registering_over_and_over_does_not_use_up_memory)
{
	long before, lowest, available;
	pthread_t threads[2];
	double end;
	unsigned int i;

	for (i = 0; i < 2; i++)
		must(!pthread_create(&threads[i], NULL, spin_thread, NULL));
	for (end = now() + WAIT_SECONDS; __atomic_load_n(&spin.ready, __ATOMIC_SEQ_CST) < 2;)
		must(now() < end);
	before = get("/proc/meminfo", "MemAvailable:");
	lowest = before;
	for (end = now() + 3; now() < end || __atomic_load_n(&spin.rounds, __ATOMIC_RELAXED) < 500;
	     usleep(2000)) {
		available = get("/proc/meminfo", "MemAvailable:");
		if (available < lowest)
			lowest = available;
	}
	__atomic_store_n(&spin.stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		must(!pthread_join(threads[i], NULL));
	TH_LOG("%lu rounds, %ld kB at most", spin.rounds, before - lowest);
	EXPECT_EQ(0, spin.errors);
	EXPECT_GT(32 << 10, before - lowest);
}

/*
 * While others trap. One thread registers and removes; which call is begun and
 * which has ended is told for each page, so that those who trap know what
 * their page may have had at that moment.
 */
#define MOVING		16	/* pages that are registered and removed */
#define STANDING	300	/* registrations that stay, on every other page behind */
#define RACE_PAGES	(MOVING + 2 * STANDING)
#define OPS		40000
#define TRAPPERS	2

struct op {
	uint8_t first;
	uint8_t pages;
	bool adds;
	uint8_t bits;		/* of its argument */
};

static struct race {
	int space;
	char *view;
	struct op ops[OPS];	/* from 1 on; 0 is the start, without any */
	uint32_t begun[MOVING];
	uint32_t ended[MOVING];
	uint64_t has[MOVING];
	int stop;
	struct trapper {
		pthread_t thread;
		unsigned int id;
		uint64_t seed;
		uint64_t bad;		/* what it was that should not have been */
		unsigned long wrong;
		unsigned long turns, landed, denied, standing;
	} trappers[TRAPPERS];
} race;

static bool op_concerns(uint32_t number, unsigned int page, bool adds)
{
	const struct op *op = &race.ops[number];

	return op->adds == adds && page >= op->first && page < op->first + op->pages;
}

/* Whether a page may have had this when calls from..to may have been the last. */
static bool possible(uint64_t found, unsigned int page, uint32_t from, uint32_t to)
{
	uint64_t number = found / ARG_SERIAL;

	if (found == NOTHING) {
		if (!from)
			return true;
		for (; from <= to; from++)
			if (op_concerns(from, page, false))
				return true;
		return false;
	}
	return number >= from && number <= to && number && op_concerns(number, page, true) &&
	       found % ARG_SERIAL == race.ops[number].bits;
}

static uint64_t standing_arg(unsigned int i)
{
	return (OPS + i) * ARG_SERIAL + i % ARG_SERIAL;
}

/* One trap on a page of this thread's. False if it found what it cannot have. */
static bool trap_moving(struct trapper *t)
{
	unsigned int page = draw(&t->seed, MOVING / TRAPPERS) * TRAPPERS + t->id;
	uint32_t from = __atomic_load_n(&race.ended[page], __ATOMIC_ACQUIRE);

	t->bad = finds(race.space, race.view + page * PAGE + page, t->seed & 1);
	if (t->bad == NOTHING)
		__atomic_add_fetch(&t->denied, 1, __ATOMIC_RELAXED);
	else
		__atomic_add_fetch(&t->landed, 1, __ATOMIC_RELAXED);
	return possible(t->bad, page, from, __atomic_load_n(&race.begun[page], __ATOMIC_ACQUIRE));
}

/* On one of those that are never touched: never a signal. */
static bool trap_standing(struct trapper *t)
{
	unsigned int i = draw(&t->seed, STANDING / TRAPPERS) * TRAPPERS + t->id;

	t->bad = finds(race.space, race.view + (MOVING + 2 * i) * PAGE, t->seed & 1);
	__atomic_add_fetch(&t->standing, 1, __ATOMIC_RELAXED);
	return t->bad == standing_arg(i);
}

static void *trapper_thread(void *arg)
{
	struct trapper *t = arg;

	alt_setup();
	while (!__atomic_load_n(&race.stop, __ATOMIC_RELAXED) && !t->wrong) {
		if (!(draw(&t->seed, 3) ? trap_moving(t) : trap_standing(t)))
			__atomic_store_n(&t->wrong, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&t->turns, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void set_all(uint32_t *numbers, const struct op *op, uint32_t number)
{
	unsigned int i;

	for (i = op->first; i < op->first + op->pages; i++)
		__atomic_store_n(&numbers[i], number, __ATOMIC_RELEASE);
}

static int race_expected(const struct op *op)
{
	bool any = false;
	unsigned int i;

	for (i = op->first; i < op->first + op->pages; i++)
		any |= !!race.has[i];
	if (op->adds)
		return any ? -EEXIST : 0;
	return any ? 0 : -ENOENT;
}

/*
 * A random call; most often the last one's opposite, as what is read in between
 * two that are close to one another is what could be mixed.
 */
static struct op random_op(const struct op *last)
{
	struct op op = { .first = rnd(MOVING), .adds = rnd(3), .bits = rnd(ARG_SERIAL) };

	op.pages = 1 + rnd(rnd(8) ? 4 : MOVING);
	if (last->pages && rnd(8)) {
		op.first = last->first;
		op.pages = last->pages;
		op.adds = !last->adds;
	}
	if (op.pages > MOVING - op.first)
		op.pages = MOVING - op.first;
	return op;
}

/* Make a call, with this number if it is one that changes anything. */
static bool race_step(uint32_t *number)
{
	const struct op op = random_op(&race.ops[*number - 1]);
	uint64_t arg = *number * ARG_SERIAL + op.bits;
	int expected, ret;
	unsigned int i;

	expected = race_expected(&op);
	if (!expected) {
		race.ops[*number] = op;
		set_all(race.begun, &op, *number);
	}
	ret = op.adds ? trap_call(race.space, race.view + op.first * PAGE, op.pages, arg) :
			untrap(race.space, race.view + op.first * PAGE, op.pages);
	if (!expected) {
		set_all(race.ended, &op, *number);
		for (i = op.first; i < op.first + op.pages; i++)
			race.has[i] = op.adds ? arg : 0;
		++*number;
	}
	return ret == expected;
}

/* Each has had some of everything. */
static bool race_seen_enough(void)
{
	bool enough = true;
	unsigned int i;

	for (i = 0; i < TRAPPERS; i++) {
		struct trapper *t = &race.trappers[i];

		enough &= __atomic_load_n(&t->landed, __ATOMIC_RELAXED) > 300 &&
			  __atomic_load_n(&t->denied, __ATOMIC_RELAXED) > 300 &&
			  __atomic_load_n(&t->standing, __ATOMIC_RELAXED) > 300;
	}
	return enough;
}

/* Not to have done all before the others have begun. */
static void race_pace(uint32_t number)
{
	double end = now() + WAIT_SECONDS;
	unsigned int i;

	for (i = 0; i < TRAPPERS; i++) {
		struct trapper *t = &race.trappers[i];

		while (__atomic_load_n(&t->turns, __ATOMIC_RELAXED) < number / 16 &&
		       !__atomic_load_n(&t->wrong, __ATOMIC_RELAXED))
			must(now() < end);
	}
}

static void race_begin(void)
{
	unsigned int i;

	denied_setup();
	alt_setup();
	seed = MODEL_FIRST_SEED;
	race.space = space_new(RACE_PAGES);
	race.view = closed_view(race.space, RACE_PAGES);
	for (i = 0; i < STANDING; i++)
		must(!trap_call(race.space, race.view + (MOVING + 2 * i) * PAGE, 1,
				standing_arg(i)));
	for (i = 0; i < TRAPPERS; i++) {
		race.trappers[i].id = i;
		race.trappers[i].seed = MODEL_FIRST_SEED * (i + 2);
		must(!pthread_create(&race.trappers[i].thread, NULL, trapper_thread,
				     &race.trappers[i]));
	}
}

static void race_end(void)
{
	unsigned int i;

	__atomic_store_n(&race.stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < TRAPPERS; i++)
		must(!pthread_join(race.trappers[i].thread, NULL));
}

TEST(traps_meet_what_their_page_has_at_that_moment_while_others_register)
{
	unsigned int failed = 0, i;
	uint32_t number = 1;

	race_begin();
	while (number < OPS && (number < 8000 || !race_seen_enough()) && !failed) {
		failed += !race_step(&number);
		if (number % 64 == 0)
			race_pace(number);
		for (i = 0; i < TRAPPERS; i++)
			failed += __atomic_load_n(&race.trappers[i].wrong, __ATOMIC_RELAXED);
	}
	race_end();
	EXPECT_EQ(0, failed);
	EXPECT_TRUE(race_seen_enough());
	for (i = 0; i < TRAPPERS; i++) {
		struct trapper *t = &race.trappers[i];

		EXPECT_EQ(0, t->wrong) TH_LOG("found %lx", (unsigned long)t->bad);
		TH_LOG("%u calls; %lu landed, %lu denied, %lu standing", number, t->landed,
		       t->denied, t->standing);
	}
}

/*
 * Registrations that are cut to pieces, page by page, around two pages that
 * are never touched and on which others trap all the while.
 */
#define GROUP_PAGES	16
#define GROUPS		40

static struct {
	int space;
	char *view;
	unsigned int group;
	int stop;
	unsigned long traps[2];
	unsigned long wrong;
} pieces;

static const unsigned int kept_pages[2] = { 5, 10 };

static uint64_t group_arg(unsigned int group)
{
	return (group + 1) * ARG_SERIAL + group % ARG_SERIAL;
}

static void *pieces_thread(void *arg)
{
	unsigned int id = (uintptr_t)arg, group;
	char *at;

	alt_setup();
	while (!__atomic_load_n(&pieces.stop, __ATOMIC_RELAXED)) {
		group = __atomic_load_n(&pieces.group, __ATOMIC_ACQUIRE);
		at = pieces.view + (group * GROUP_PAGES + kept_pages[id]) * PAGE;
		if (finds(pieces.space, at, true) != group_arg(group))
			__atomic_add_fetch(&pieces.wrong, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&pieces.traps[id], 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void pieces_wait(void)
{
	double end = now() + WAIT_SECONDS;
	unsigned long before;
	unsigned int id;

	for (id = 0; id < 2; id++) {
		before = __atomic_load_n(&pieces.traps[id], __ATOMIC_RELAXED);
		while (__atomic_load_n(&pieces.traps[id], __ATOMIC_RELAXED) == before)
			must(now() < end);
	}
}

/* Cut all pages of a group but those that are kept, in a random order. */
static unsigned int cut_group(unsigned int group)
{
	char *at = pieces.view + group * GROUP_PAGES * PAGE;
	unsigned int order[GROUP_PAGES], failed = 0, i;

	for (i = 0; i < GROUP_PAGES; i++)
		order[i] = i;
	shuffle(order, GROUP_PAGES);
	for (i = 0; i < GROUP_PAGES; i++) {
		if (order[i] == kept_pages[0] || order[i] == kept_pages[1])
			continue;
		failed += !!untrap(pieces.space, at + order[i] * PAGE, 1);
		failed += finds(pieces.space, at + order[i] * PAGE, true) != NOTHING;
		if (i % 4 == 0)
			pieces_wait();
	}
	return failed;
}

TEST(pages_that_are_kept_when_their_neighbours_are_cut_off_never_miss_an_upcall)
{
	unsigned int group, failed = 0, i;
	pthread_t threads[2];

	denied_setup();
	alt_setup();
	seed = MODEL_FIRST_SEED;
	pieces.space = space_new(GROUPS * GROUP_PAGES);
	pieces.view = closed_view(pieces.space, GROUPS * GROUP_PAGES);
	ASSERT_EQ(0, trap_call(pieces.space, pieces.view, GROUP_PAGES, group_arg(0)));
	for (i = 0; i < 2; i++)
		must(!pthread_create(&threads[i], NULL, pieces_thread, (void *)(uintptr_t)i));
	for (group = 0; group < GROUPS; group++) {
		if (group)
			failed += !!trap_call(pieces.space,
					      pieces.view + group * GROUP_PAGES * PAGE,
					      GROUP_PAGES, group_arg(group));
		__atomic_store_n(&pieces.group, group, __ATOMIC_RELEASE);
		pieces_wait();
		failed += cut_group(group);
	}
	__atomic_store_n(&pieces.stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		must(!pthread_join(threads[i], NULL));
	EXPECT_EQ(0, failed);
	EXPECT_EQ(0, pieces.wrong) TH_LOG("of %lu and %lu", pieces.traps[0], pieces.traps[1]);
}

/*
 * AVM_IOC_PROTECT of a few ranges. Page 0 is closed by each call, and opened by
 * the write of another thread: once a call, or the call has closed it twice.
 */
uint64_t resumed;	/* upcalls of the code below */
extern const char land_resume[];

asm("	.pushsection .text\n"
	"	.globl land_resume\n"
	"land_resume:\n"
	"	lock incq resumed(%rip)\n"
	"	movq 32(%rsp), %rdi\n"		/* ip, over ss */
	"	movq %rdi, 64(%rsp)\n"
	"	movq 24(%rsp), %rdi\n"
	"	leaq 48(%rsp), %rsp\n"
	"	popfq\n"
	"	leaq 8(%rsp), %rsp\n"
	"	ret $128\n"
	"	.popsection\n");

#define FEW_STRIDE	512ul	/* pages that share a page table */
#define FEW_CALLS	1500u
#define FEW_FRESH	1024u	/* calls that need a page without a table each */
#define FEW_PAGES	(FEW_STRIDE * (FEW_FRESH + 2))

FIXTURE(few) {
	int space;
	char *view;
	pthread_t thread;
	uint64_t *words;	/* in page 0 */
	int stop;
};

/* What is beside page 0 in the call: ranges after it, and the answer. */
FIXTURE_VARIANT(few) {
	unsigned int count;
	struct avm_range ranges[3];	/* addr: from the view on */
	bool fresh;			/* the last is of a page of its own in each call */
	int ret;
	unsigned int done;
	unsigned int calls;
};

FIXTURE_VARIANT_ADD(few, pages) {
	.count = 2, .ranges = { { PAGE, PAGE, R, 0 }, { 2 * PAGE, PAGE, NONE, 0 } },
	.done = 3, .calls = FEW_CALLS,
};

FIXTURE_VARIANT_ADD(few, range_of_two_pages) {
	.count = 1, .ranges = { { PAGE, 2 * PAGE, R, 0 } },
	.done = 2, .calls = FEW_CALLS,
};

FIXTURE_VARIANT_ADD(few, range_of_two_pages_at_the_end) {
	.count = 2, .ranges = { { 3 * PAGE, PAGE, NONE, 0 }, { PAGE, 2 * PAGE, R, 0 } },
	.done = 3, .calls = FEW_CALLS,
};

FIXTURE_VARIANT_ADD(few, page_without_a_table) {
	.count = 2, .ranges = { { PAGE, PAGE, R, 0 }, { 0, PAGE, NONE, 0 } }, .fresh = true,
	.done = 3, .calls = FEW_FRESH,
};

FIXTURE_VARIANT_ADD(few, length_of_zero) {
	.count = 3, .ranges = { { PAGE, PAGE, R, 0 }, { PAGE, 0, R, 0 }, { PAGE, PAGE, R, 0 } },
	.ret = -EINVAL, .done = 2, .calls = FEW_CALLS,
};

FIXTURE_VARIANT_ADD(few, address_between_pages) {
	.count = 1, .ranges = { { PAGE + 8, PAGE, R, 0 } },
	.ret = -EINVAL, .done = 1, .calls = FEW_CALLS,
};

FIXTURE_VARIANT_ADD(few, protection_that_does_not_exist) {
	.count = 2, .ranges = { { PAGE, PAGE, AVM_PROT_WRITE, 0 }, { PAGE, PAGE, R, 0 } },
	.ret = -EINVAL, .done = 1, .calls = FEW_CALLS,
};

FIXTURE_VARIANT_ADD(few, protection_with_an_unknown_bit) {
	.count = 2, .ranges = { { PAGE, PAGE, 8 | R, 0 }, { PAGE, PAGE, R, 0 } },
	.ret = -EINVAL, .done = 1, .calls = FEW_CALLS,
};

FIXTURE_VARIANT_ADD(few, reserved_word) {
	.count = 1, .ranges = { { PAGE, PAGE, R, 1 } },
	.ret = -EINVAL, .done = 1, .calls = FEW_CALLS,
};

FIXTURE_VARIANT_ADD(few, more_than_the_view_allows) {
	.count = 2, .ranges = { { PAGE, PAGE, R, 0 }, { 2 * PAGE, PAGE, RX, 0 } },
	.ret = -EACCES, .done = 2, .calls = FEW_CALLS,
};

FIXTURE_VARIANT_ADD(few, page_that_is_not_mapped) {
	.count = 2, .ranges = { { FEW_PAGES * PAGE, PAGE, R, 0 }, { PAGE, PAGE, R, 0 } },
	.ret = -ENXIO, .done = 1, .calls = FEW_CALLS,
};

static void *few_thread(void *arg)
{
	struct _test_data_few *self = arg;
	volatile uint64_t *word = self->words;

	while (!__atomic_load_n(&self->stop, __ATOMIC_RELAXED))
		++*word;
	return NULL;
}

FIXTURE_SETUP(few) {
	struct avm_trap trap = {
		.size = sizeof(trap), .length = PAGE, .entry = (uintptr_t)land_resume, .raise = RW,
	};

	/* Other memory behind it. (A hole in the view would shut the short way.) */
	self->view = mmap(NULL, (FEW_PAGES + 1) * PAGE, NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(self->view != MAP_FAILED);
	self->space = space_new(FEW_PAGES);
	must(mmap(self->view, FEW_PAGES * PAGE, RW, MAP_SHARED | MAP_FIXED, self->space, 0) ==
	     self->view);
	self->words = (uint64_t *)self->view;
	memset(self->view, 1, 4 * PAGE);
	trap.addr = (uintptr_t)self->view;
	must(!call(self->space, AVM_IOC_TRAP, &trap));
	/* So that the short way knows the view. */
	must(!ioctl(self->space, AVM_IOC_PROTECT_PAGE, (uintptr_t)self->view | R));
	must(!ioctl(self->space, AVM_IOC_PROTECT_PAGE, (uintptr_t)self->view | RW));
	must(!pthread_create(&self->thread, NULL, few_thread, self));
}

FIXTURE_TEARDOWN(few) {
	__atomic_store_n(&self->stop, 1, __ATOMIC_RELAXED);
	must(!pthread_join(self->thread, NULL));
	close(self->space);
}

static uint64_t resumptions(void)
{
	return __atomic_load_n(&resumed, __ATOMIC_SEQ_CST);
}

/* Until it has trapped since, and then written: no trap of before is to come. */
static void few_settle(struct _test_data_few *self, uint64_t before)
{
	double end = now() + WAIT_SECONDS;
	uint64_t word;

	while (resumptions() == before)
		must(now() < end);
	word = __atomic_load_n(self->words, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(self->words, __ATOMIC_SEQ_CST) - word < 3)
		must(now() < end);
}

TEST_F(few, ranges_are_done_once_with_one_flush)
{
	struct avm_range ranges[4] = { { (uintptr_t)self->view, PAGE, R, 0 } };
	unsigned int i, twice = 0, flushed = 0;
	struct avm_batch out;
	uint64_t before, flushes;

	for (i = 0; i < variant->count; i++) {
		ranges[i + 1] = variant->ranges[i];
		ranges[i + 1].addr += (uintptr_t)self->view;
	}
	for (i = 0; i < variant->calls; i++) {
		if (variant->fresh)
			ranges[variant->count].addr = (uintptr_t)self->view +
						      (i + 2) * FEW_STRIDE * PAGE;
		ASSERT_EQ(0, protect(self->space, self->view + PAGE, 3, RW));
		before = resumptions();
		flushes = stats(self->space).out_flushes;
		ASSERT_EQ(variant->ret, batch(self->space, AVM_IOC_PROTECT, ranges,
					      variant->count + 1, &out));
		flushed += stats(self->space).out_flushes - flushes != 1;
		ASSERT_EQ(variant->done, out.out_done);
		ASSERT_EQ(0, out.out_bytes);
		few_settle(self, before);
		twice += resumptions() - before != 1;
	}
	EXPECT_EQ(0, twice);
	EXPECT_EQ(0, flushed);
}

/*
 * Upcalls on the alternate stack, each of which makes the next, until it is
 * full. A tracer sees the signal that then comes: no handler could run.
 */
uint64_t dig_step;	/* bytes that each takes of the stack */
char *dig_at;
extern const char land_dig[];

asm("	.pushsection .text\n"
	"	.globl land_dig\n"
	"land_dig:\n"
	"	subq dig_step(%rip), %rsp\n"
	"	movq dig_at(%rip), %rax\n"
	"	movb $1, (%rax)\n"
	"	ud2\n"
	"	.popsection\n");

#define BELOW	(4 * PAGE)	/* memory under the stack, to see what is written there */
#define UNTOUCHED	((char)0xA5)

static int dig(int space, char *stack, unsigned long size)
{
	stack_t alt = { .ss_sp = stack, .ss_size = size };
	struct avm_trap trap = {
		.size = sizeof(trap), .flags = AVM_TRAP_ONSTACK, .length = PAGE,
		.entry = (uintptr_t)land_dig,
	};

	alarm(30);
	dig_at = closed_view(space, 1) + 321;
	trap.addr = (uintptr_t)dig_at & ~(PAGE - 1);
	must(!call(space, AVM_IOC_TRAP, &trap) && !sigaltstack(&alt, NULL));
	signal(SIGSEGV, SIG_DFL);
	must(!ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	*(volatile char *)dig_at = 1;
	return 1;
}

/* Upcalls that there is room for, and the stack pointer of the access after. */
static unsigned int dig_levels(const char *stack, unsigned long size, uint64_t *sp)
{
	unsigned int levels = 1;

	*sp = (((uintptr_t)stack + size) & ~15ul) - FRAME - dig_step;
	while (*sp - RED_ZONE - FRAME >= (uintptr_t)stack) {
		*sp -= RED_ZONE + FRAME + dig_step;
		levels++;
	}
	return levels;
}

static void dig_ends(struct __test_metadata *_metadata, char *room, unsigned int offset,
		     unsigned long size)
{
	char *stack = room + BELOW + offset;
	struct user_regs_struct regs;
	unsigned int i, written = 0;
	int space = space_new(1), status, signal;
	siginfo_t info;
	uint64_t sp;
	pid_t pid;

	memset(room, UNTOUCHED, BELOW + offset);
	pid = fork();
	if (!pid)
		_exit(dig(space, stack, size));
	must(pid > 0 && waitpid(pid, &status, 0) == pid);
	ASSERT_TRUE(WIFSTOPPED(status));
	signal = WSTOPSIG(status);
	must(!ptrace(PTRACE_GETSIGINFO, pid, NULL, &info));
	must(!ptrace(PTRACE_GETREGS, pid, NULL, &regs));
	must(!kill(pid, SIGKILL) && waitpid(pid, &status, 0) == pid);
	ASSERT_EQ(SIGSEGV, signal);
	EXPECT_EQ(SEGV_MAPERR, info.si_code);
	EXPECT_EQ(321, (uintptr_t)info.si_addr % PAGE);
	EXPECT_EQ(dig_levels(stack, size, &sp), stats(space).out_upcalls);
	EXPECT_EQ(stats(space).out_upcalls + 1, stats(space).out_traps);
	EXPECT_EQ(sp, regs.rsp);
	for (i = 0; i < BELOW + offset; i++)
		written += room[i] != UNTOUCHED;
	EXPECT_EQ(0, written);
	close(space);
}

TEST(nested_upcalls_on_a_full_alternate_stack_are_a_signal_and_write_nothing_below)
{
	static const unsigned int steps[] = { 0, 16, 56 };
	char *room = mmap(NULL, BELOW + ALT_SIZE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int i, j;
	uint64_t sp;

	must(room != MAP_FAILED);
	for (i = 0; i < COUNT(steps); i++) {
		dig_step = steps[i];
		for (j = 0; j < 12; j++) {
			unsigned long size = 8192 + 40 * j + j % 3;

			/* With rsp at the very end it is on the stack no more. */
			dig_levels(room + BELOW + j, size, &sp);
			if (sp > (uintptr_t)room + BELOW + j)
				dig_ends(_metadata, room, j, size);
		}
	}
}

/* Userfaultfd: what headers of Debian 12 do not have yet. */
#define WP_UNPOPULATED	(1ull << 13)
#define WP_ASYNC	(1ull << 15)

static int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	must(fd >= 0);
	if (!ioctl(fd, UFFDIO_API, &api))
		return fd;
	close(fd);
	return -1;
}

static bool kernel_has_wp_async(void)
{
	struct utsname name;
	int major, minor;

	must(!uname(&name) && sscanf(name.release, "%d.%d", &major, &minor) == 2);
	return major > 6 || (major == 6 && minor >= 7);
}

static bool uffd_watches(int fd, char *at, unsigned long pages)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)at, pages * PAGE }, .mode = UFFDIO_REGISTER_MODE_WP,
	};

	return !ioctl(fd, UFFDIO_REGISTER, &reg);
}

TEST(removal_works_under_userfaultfd)
{
	int space = space_new(16), fd = uffd_open(WP_ASYNC | WP_UNPOPULATED);
	char *view;

	denied_setup();
	alt_setup();
	view = closed_view(space, 16);
	ASSERT_EQ(0, trap_call(space, view, 8, ARG_SERIAL));
	ASSERT_EQ(0, trap_call(space, view + 8 * PAGE, 8, 2 * ARG_SERIAL));
	EXPECT_EQ(kernel_has_wp_async(), fd >= 0);
	if (fd < 0)	/* It has no mode in which a view can be watched. */
		fd = uffd_open(0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(kernel_has_wp_async(), uffd_watches(fd, view, 16));
	if (kernel_has_wp_async())
		EXPECT_EQ(-EBUSY, trap_call(space, view, 1, 3 * ARG_SERIAL));
	/* The middle of one, the end of it, and all that is left of the other. */
	EXPECT_EQ(0, untrap(space, view + 2 * PAGE, 2));
	EXPECT_EQ(0, untrap(space, view + 6 * PAGE, 2));
	EXPECT_EQ(0, untrap(space, view + 8 * PAGE, 8));
	EXPECT_EQ(-ENOENT, untrap(space, view + 8 * PAGE, 8));
	close(fd);
	ASSERT_EQ(0, protect(space, view, 16, NONE));
	EXPECT_EQ(ARG_SERIAL, finds(space, view + PAGE, true));
	EXPECT_EQ(NOTHING, finds(space, view + 2 * PAGE, true));
	EXPECT_EQ(NOTHING, finds(space, view + 3 * PAGE, true));
	EXPECT_EQ(ARG_SERIAL, finds(space, view + 5 * PAGE, true));
	EXPECT_EQ(NOTHING, finds(space, view + 7 * PAGE, true));
	EXPECT_EQ(NOTHING, finds(space, view + 15 * PAGE, true));
	close(space);
}

TEST_HARNESS_MAIN
