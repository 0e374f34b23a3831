// SPDX-License-Identifier: GPL-2.0
/*
 * test_step.c - a call of avm, and what may happen between any two instructions
 * of it: a first write by another CPU, or a whole other call
 *
 * Races that other tests try to hit are hit here, one after the other, each in a
 * call of its own: see kernel/step/. What is checked is that no write is lost,
 * and that what the last call took away is away.
 *
 * Not on debug kernels: a discard has 200,000 instructions there, and RCU would
 * not wait for that.
 */
#include "harness.h"
#include "testmodule.h"
#include "kernel/step/avm_step.h"

#include <pthread.h>
#include <sched.h>

#define VALUE	0x0123456789abcdefull
#define PAGES	32

/* A thread that gives up its CPU is not stepped on. */
static void keep_the_cpu(void)
{
	struct sched_param param = { .sched_priority = 1 };

	pin(0);
	must(!sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param));
}

FIXTURE(step)
{
	int dev, space;
	char *view;
	volatile uint64_t *word;	/* in page 1 of the view */
};

FIXTURE_SETUP(step)
{
	module_load("avm_step");
	self->dev = open(STEP_DEVICE, O_RDWR | O_CLOEXEC);
	must(self->dev >= 0);
	self->space = space_new(PAGES);
	self->view = view_new(self->space, 0, PAGES, RW);
	self->word = (uint64_t *)(self->view + PAGE + 8);
	denied_setup();
	keep_the_cpu();
}

FIXTURE_TEARDOWN(step)
{
	close(self->dev);
	module_unload("avm_step");
}

/* Tries of one step, if the thread loses its CPU. */
#define TRIES	100

/* A call to be made step by step, ready to be made anew. */
struct made {
	struct step_call call;
	struct avm_batch batch;
	struct avm_range ranges[9];
	struct avm_scan scan;
};

/* Of @count ranges of so many pages, with a page between them. */
static void make_batch(struct made *made, int space, unsigned long cmd, char *addr,
		       unsigned int count, unsigned int pages, int prot)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		made->ranges[i] = (struct avm_range) {
			.addr = (uintptr_t)addr + i * (pages + 1) * PAGE,
			.length = pages * PAGE, .prot = prot,
		};
	made->batch = (struct avm_batch) {
		.size = sizeof(made->batch), .ranges = (uintptr_t)made->ranges, .count = count,
	};
	made->call = (struct step_call) {
		.fd = space, .cmd = cmd, .arg = (uintptr_t)&made->batch,
	};
}

static void make_protect(struct made *made, int space, char *addr, int prot)
{
	make_batch(made, space, AVM_IOC_PROTECT, addr, 1, 1, prot);
}

static void make_protect_page(struct made *made, int space, char *addr, int prot)
{
	made->call = (struct step_call) {
		.fd = space, .cmd = AVM_IOC_PROTECT_PAGE, .arg = (uintptr_t)addr + prot,
	};
}

static void make_discard(struct made *made, int space, char *addr)
{
	make_batch(made, space, AVM_IOC_DISCARD, addr, 1, 1, 0);
}

/* Of one page: get and clear. */
static void make_scan(struct made *made, int space, char *addr, uint32_t bits)
{
	made->scan = (struct avm_scan) {
		.size = sizeof(made->scan), .addr = (uintptr_t)addr, .length = PAGE,
		.match = bits, .clear = bits,
	};
	made->call = (struct step_call) {
		.fd = space, .cmd = AVM_IOC_SCAN, .arg = (uintptr_t)&made->scan,
	};
}

/* And protect: the page is accessed, so it matches. */
static void make_scan_protect(struct made *made, int space, char *addr, int prot)
{
	make_scan(made, space, addr, AVM_PAGE_ACCESSED);
	made->scan.flags = AVM_SCAN_PROTECT;
	made->scan.prot = prot;
}

/* What a write during a call came to, over all steps. */
struct sums {
	unsigned long written, denied, wrong;
};

/* What a call promises. */
enum promise {
	CLOSES,		/* the page cannot be written afterwards */
	KEEPS,		/* it stays as it is */
	EMPTIES,	/* it is empty and clean */
};

/* How often the page was reported dirty, or EMPTIES, accessed or dirty. */
static unsigned int reported(struct _test_data_step *self, const struct made *made,
			     enum promise promise)
{
	uint32_t bits = AVM_PAGE_DIRTY | (promise == EMPTIES ? AVM_PAGE_ACCESSED : 0);
	unsigned int n = scan(self->space, self->view + PAGE, 1, bits, bits, NULL);

	if (made->call.cmd == AVM_IOC_SCAN && made->scan.match == AVM_PAGE_DIRTY)
		n += made->scan.out_pages;
	return n;
}

static bool is_wrong(struct _test_data_step *self, const struct made *made,
		     enum promise promise, const struct step_run *run)
{
	bool written = run->out_how == STEP_WRITTEN, open;
	unsigned int n;
	uint64_t held;

	open = promise == CLOSES && !try_write(self->view + PAGE, 0);
	n = reported(self, made, promise);
	must(!protect(self->space, self->view, PAGES, RW));
	held = *self->word;
	if (!open && (promise == EMPTIES ? !n && !held :
		      !!n == written && held == (written ? run->value : 1)))
		return false;
	printf("# step %lu: %s, %u times dirty, reads %lx%s\n", (unsigned long)run->at,
	       written ? "written" : "denied", n, (unsigned long)held,
	       open ? ", can still be written" : "");
	return true;
}

/* Until a call has been stepped as far as was asked for. */
static void run_until_stepped(struct _test_data_step *self, const struct made *made,
			      struct step_run *run)
{
	unsigned int tries = 0;

	do {
		must(tries++ < TRIES);
		must(!protect(self->space, self->view, PAGES, RW));
		*self->word = 1;
		must(scan(self->space, self->view, PAGES, AVM_PAGE_DIRTY, AVM_PAGE_DIRTY,
			  NULL) >= 1);
		run->call = made->call;
		must(!call(self->dev, STEP_RUN, run) && run->call.out_ret >= 0);
	} while (run->out_how == STEP_LOST);
}

/*
 * Make a call again and again, with a first write to the page one step later
 * each time, or @every so many: three in long calls, as the code between two
 * accesses to a page's state is longer. A write that was made is reported: by
 * the call, if that is one that reports, or after it.
 */
static struct sums write_at_each_step(struct _test_data_step *self, struct made *made,
				      enum promise promise, unsigned int every)
{
	struct step_run run = { .event = STEP_WRITE, .addr = (uintptr_t)self->word };
	struct sums sums = {};

	for (run.at = 1;; run.at += every) {
		run.value = VALUE + run.at;
		run_until_stepped(self, made, &run);
		if (run.out_how == STEP_NOT_REACHED)
			break;
		sums.written += run.out_how == STEP_WRITTEN;
		sums.denied += run.out_how == STEP_DENIED;
		sums.wrong += is_wrong(self, made, promise, &run);
	}
	printf("# %lu writes, %lu denied\n", sums.written, sums.denied);
	return sums;
}

#define TEST_WRITE(name, promise, every, make)				\
TEST_F(step, name)							\
{									\
	struct made made = {};						\
	struct sums sums;						\
									\
	make;								\
	sums = write_at_each_step(self, &made, promise, every);		\
	EXPECT_EQ(0, sums.wrong);					\
	EXPECT_LE(100, sums.written);					\
	EXPECT_EQ(promise != KEEPS, sums.denied >= 100);		\
}

TEST_WRITE(a_write_at_each_step_of_protect_to_read, CLOSES, 1,
	   make_protect(&made, self->space, self->view + PAGE, R))
TEST_WRITE(a_write_at_each_step_of_protect_to_none, CLOSES, 1,
	   make_protect(&made, self->space, self->view + PAGE, NONE))
TEST_WRITE(a_write_at_each_step_of_protect_page_to_read, CLOSES, 1,
	   make_protect_page(&made, self->space, self->view + PAGE, R))
TEST_WRITE(a_write_at_each_step_of_protect_page_to_none, CLOSES, 1,
	   make_protect_page(&made, self->space, self->view + PAGE, NONE))
TEST_WRITE(a_write_at_each_step_of_protect_of_two_pages_to_read, CLOSES, 3,
	   make_batch(&made, self->space, AVM_IOC_PROTECT, self->view, 1, 2, R))
TEST_WRITE(a_write_at_each_step_of_protect_of_two_pages_to_none, CLOSES, 3,
	   make_batch(&made, self->space, AVM_IOC_PROTECT, self->view, 1, 2, NONE))
TEST_WRITE(a_write_at_each_step_of_protect_of_a_vector_to_read, CLOSES, 3,
	   make_batch(&made, self->space, AVM_IOC_PROTECT, self->view, 9, 2, R))
TEST_WRITE(a_write_at_each_step_of_protect_of_a_vector_to_none, CLOSES, 3,
	   make_batch(&made, self->space, AVM_IOC_PROTECT, self->view, 9, 2, NONE))
TEST_WRITE(a_write_at_each_step_of_a_scan_that_clears, KEEPS, 1,
	   make_scan(&made, self->space, self->view + PAGE, AVM_PAGE_DIRTY))
TEST_WRITE(a_write_at_each_step_of_a_scan_that_clears_accessed, KEEPS, 1,
	   make_scan(&made, self->space, self->view + PAGE, AVM_PAGE_ACCESSED))
TEST_WRITE(a_write_at_each_step_of_a_scan_that_protects_to_read, CLOSES, 3,
	   make_scan_protect(&made, self->space, self->view + PAGE, R))
TEST_WRITE(a_write_at_each_step_of_a_scan_that_protects_to_none, CLOSES, 3,
	   make_scan_protect(&made, self->space, self->view + PAGE, NONE))
TEST_WRITE(a_write_at_each_step_of_a_discard, EMPTIES, 3,
	   make_discard(&made, self->space, self->view + PAGE))

/* The other thread of a pair. */
struct other {
	int dev;
	struct step_call call;
	int ret;
};

static void *join_the_run(void *arg)
{
	struct other *other = arg;

	other->ret = call(other->dev, STEP_JOIN, &other->call);
	return NULL;
}

/*
 * How the other call fared that came after the nth instruction of this one.
 * A fault may find its access denied.
 */
static uint32_t run_both(int dev, unsigned long at, const struct made *made,
			 const struct made *meanwhile)
{
	struct step_run run = { .event = STEP_OTHER, .at = at, .call = made->call };
	struct other other = { .dev = dev, .call = meanwhile->call };
	pthread_attr_t attr;
	pthread_t thread;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(1, &set);
	must(!pthread_attr_init(&attr) && !pthread_attr_setaffinity_np(&attr, sizeof(set), &set));
	must(!pthread_create(&thread, &attr, join_the_run, &other));
	must(!call(dev, STEP_RUN, &run));
	must(!pthread_join(thread, NULL) && !pthread_attr_destroy(&attr));
	must(run.call.out_ret >= 0 || run.call.fd == STEP_FAULT);
	if (run.out_how < STEP_COMPLETE)
		must(other.ret == -ECANCELED || run.out_how == STEP_LOST);
	else
		must(!other.ret && (other.call.out_ret >= 0 || other.call.fd == STEP_FAULT));
	return run.out_how;
}

/* A page that is dirty, holds VALUE, and has a PTE. */
static void mapped(struct _test_data_step *self)
{
	must(!protect(self->space, self->view, PAGES, RW));
	*self->word = VALUE;
}

/*
 * The same in a new view, where it has no PTE: the next access is a fault. The
 * page table is there, and the state of each page, as for most faults.
 */
static void unmapped(struct _test_data_step *self)
{
	mapped(self);
	must(mmap(self->view, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		  self->space, 0) == self->view);
	must(!protect(self->space, self->view + 3 * PAGE, 1, R));
	self->view[0] = 1;
}

static int may_be_written(struct _test_data_step *self)
{
	return !try_write(self->view + PAGE, 1);
}

static int may_be_read(struct _test_data_step *self)
{
	return !try_read(self->view + PAGE);
}

/* A discarded page is empty, and the same in all views. */
static int holds_what_it_held(struct _test_data_step *self)
{
	volatile uint64_t *second;
	char *view;
	int wrong;

	must(!protect(self->space, self->view, PAGES, RW));
	wrong = *self->word != 0;
	view = view_new(self->space, 1, 1, RW);
	second = (uint64_t *)(view + 8);
	*second = VALUE + 1;
	wrong |= *self->word != VALUE + 1;
	must(!munmap(view, PAGE));
	return wrong;
}

/* And clean; and closed, as the other call has it. */
static int holds_or_is_open(struct _test_data_step *self)
{
	uint32_t bits = AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED;

	return may_be_read(self) || scan(self->space, self->view + PAGE, 1, bits, 0, NULL) ||
	       holds_what_it_held(self);
}

/*
 * Make a call again and again, and another by another thread one step further
 * on each time, or @every so many. Return: how often @wrong was true after both.
 */
static unsigned long meet_at_each_step(struct _test_data_step *self, struct made *made,
				       struct made *meanwhile, unsigned int every,
				       void (*prepare)(struct _test_data_step *self),
				       int (*wrong)(struct _test_data_step *self))
{
	unsigned long at, complete = 0, blocked = 0, wrongs = 0;
	unsigned int tries = 0;
	uint32_t how;

	for (at = 1;; at += every) {
		do {
			must(tries++ < TRIES);
			prepare(self);
			how = run_both(self->dev, at, made, meanwhile);
		} while (how == STEP_LOST);
		tries = 0;
		if (how == STEP_NOT_REACHED)
			break;
		complete += how == STEP_COMPLETE;
		blocked += how == STEP_BLOCKED;
		if (wrong(self)) {
			wrongs++;
			printf("# step %lu is wrong, the other call was %s\n", at,
			       how == STEP_COMPLETE ? "complete" : "blocked");
		}
	}
	printf("# %lu complete, %lu blocked\n", complete, blocked);
	must(complete + blocked > 100 && (made->call.fd != STEP_FAULT || complete > 50));
	return wrongs;
}

static void make_fault(struct made *made, const char *addr)
{
	made->call = (struct step_call) {
		.fd = STEP_FAULT, .cmd = 1, .arg = (uintptr_t)addr,
	};
}

TEST_F(step, protect_to_read_at_each_step_of_a_fault)
{
	struct made fault, close;

	make_fault(&fault, self->view + PAGE);
	make_protect(&close, self->space, self->view + PAGE, R);
	EXPECT_EQ(0, meet_at_each_step(self, &fault, &close, 1, unmapped, may_be_written));
}

TEST_F(step, protect_to_none_at_each_step_of_a_fault)
{
	struct made fault, close;

	make_fault(&fault, self->view + PAGE);
	make_protect(&close, self->space, self->view + PAGE, NONE);
	EXPECT_EQ(0, meet_at_each_step(self, &fault, &close, 3, unmapped, may_be_read));
}

TEST_F(step, discard_at_each_step_of_a_fault)
{
	struct made fault, empty;

	make_fault(&fault, self->view + PAGE);
	make_discard(&empty, self->space, self->view + PAGE);
	EXPECT_EQ(0, meet_at_each_step(self, &fault, &empty, 3, unmapped, holds_what_it_held));
}

TEST_F(step, fault_at_each_step_of_a_discard)
{
	struct made fault, empty;

	make_fault(&fault, self->view + PAGE);
	make_discard(&empty, self->space, self->view + PAGE);
	EXPECT_EQ(0, meet_at_each_step(self, &empty, &fault, 3, mapped, holds_what_it_held));
}

TEST_F(step, protect_at_each_step_of_a_discard)
{
	struct made close, empty;

	make_protect(&close, self->space, self->view + PAGE, NONE);
	make_discard(&empty, self->space, self->view + PAGE);
	EXPECT_EQ(0, meet_at_each_step(self, &empty, &close, 3, mapped, holds_or_is_open));
}

/* Two protections at once: one of them is the last, and no dirty bit is lost. */
static int lost_or_writable(struct _test_data_step *self)
{
	return dirty(self->space, self->view + PAGE, 1, NULL) != 1 || may_be_written(self);
}

TEST_F(step, protect_at_each_step_of_protect)
{
	struct made first, second;

	make_protect(&first, self->space, self->view + PAGE, NONE);
	make_protect(&second, self->space, self->view + PAGE, R);
	EXPECT_EQ(0, meet_at_each_step(self, &first, &second, 3, mapped, lost_or_writable));
	EXPECT_EQ(0, meet_at_each_step(self, &second, &first, 3, mapped, lost_or_writable));
}

/* What was written before is told once. */
static struct made *reports[2];

static int not_told_once(struct _test_data_step *self)
{
	unsigned int told = dirty(self->space, self->view + PAGE, 1, NULL), i;

	for (i = 0; i < 2; i++)
		told += reports[i] ? reports[i]->scan.out_pages : 0;
	return told != 1;
}

static int not_told_or_open(struct _test_data_step *self)
{
	return may_be_read(self) || not_told_once(self);
}

TEST_F(step, scan_at_each_step_of_protect)
{
	struct made close, tell;

	make_protect(&close, self->space, self->view + PAGE, NONE);
	make_scan(&tell, self->space, self->view + PAGE, AVM_PAGE_DIRTY);
	reports[0] = &tell;
	EXPECT_EQ(0, meet_at_each_step(self, &close, &tell, 3, mapped, not_told_or_open));
	EXPECT_EQ(0, meet_at_each_step(self, &tell, &close, 3, mapped, not_told_or_open));
}

TEST_F(step, scan_at_each_step_of_a_scan)
{
	struct made first, second;

	make_scan(&first, self->space, self->view + PAGE, AVM_PAGE_DIRTY);
	make_scan(&second, self->space, self->view + PAGE, AVM_PAGE_DIRTY);
	reports[0] = &first;
	reports[1] = &second;
	EXPECT_EQ(0, meet_at_each_step(self, &first, &second, 3, mapped, not_told_once));
}

TEST_HARNESS_MAIN
