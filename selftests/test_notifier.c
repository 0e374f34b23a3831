// SPDX-License-Identifier: GPL-2.0
/*
 * Secondary MMUs (KVM, GPUs, SVA): a device that uses a view's pages as the page
 * tables give them is told of every access that is taken away, before the page
 * tables change and before the call returns; and no page is freed that a
 * device may still use. The device is a model, in the test module kernel/, whose
 * mirror.c says how it judges. All tests are made with both kinds of device.
 */
#include "notifier.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "harness.h"

#define PAGES	16ul	/* of the window, and the view */
#define FIRST	5ul	/* pages that something is done to */
#define SOME	3ul
#define PAINT(i) (0xa5a5000000000000ull + (i))

FIXTURE(notifier) {
	int dev;
	int space;
	char *view;
};

FIXTURE_VARIANT(notifier) {
	uint32_t kind;
};

FIXTURE_VARIANT_ADD(notifier, tables) { .kind = NOTIFIER_TABLES };
FIXTURE_VARIANT_ADD(notifier, tlb) { .kind = NOTIFIER_TLB };

static uint64_t *word(char *view, unsigned long page)
{
	return (uint64_t *)(view + page * PAGE);
}

FIXTURE_SETUP(notifier)
{
	unsigned long i;

	module_load("avm_notifier");
	denied_setup();
	self->dev = notifier_open();
	self->space = space_new(64 * PAGES);
	self->view = view_new(self->space, 0, PAGES, PROT_READ | PROT_WRITE);
	for (i = 0; i < PAGES; i++)
		*word(self->view, i) = PAINT(i);
	/* Some bytes of state, and the page table remembered: the short way. */
	must(!protect(self->space, self->view, 1, R));
	must(!protect(self->space, self->view, 1, RW));
	*word(self->view, 0) = PAINT(0);
	notifier_attach(self->dev, variant->kind, self->view, PAGES);
}

FIXTURE_TEARDOWN(notifier)
{
	close(self->dev);
	close(self->space);
	module_unload("avm_notifier");
}

static void map_all(int dev, char *view)
{
	unsigned long i;

	for (i = 0; i < PAGES; i++)
		must(!device_map(dev, word(view, i), 1));
}

/* What is wrong with the pages that a device is to see as they were painted. */
static unsigned long unlike_paint(int dev, char *view, unsigned long first,
				  unsigned long n, bool still_mapped)
{
	unsigned long i, wrong = 0;
	uint64_t value;

	for (i = first; i < first + n; i++) {
		if (!still_mapped && device_map(dev, word(view, i), 1))
			wrong++;
		else if (device_read(dev, word(view, i), &value) || value != PAINT(i))
			wrong++;
	}
	return wrong;
}

/* The device has lost pages FIRST to FIRST + SOME, and gets what @prot gives. */
static unsigned long unlike_withdrawn(int dev, char *view, int prot)
{
	unsigned long i, wrong = 0;
	uint64_t value;

	for (i = FIRST; i < FIRST + SOME; i++) {
		wrong += device_read(dev, word(view, i), &value) != -ENXIO;
		wrong += device_write(dev, word(view, i), 1) != -ENXIO;
		wrong += device_map(dev, word(view, i), 1) != (prot & PROT_WRITE ? 0 : -EFAULT);
		wrong += device_map(dev, word(view, i), 0) != (prot ? 0 : -EFAULT);
	}
	if (wrong)
		printf("# %lu accesses of withdrawn pages not as they should be\n", wrong);
	return wrong;
}

/*
 * @op withdraws something of pages FIRST to FIRST + SOME, which leaves @prot;
 * the others stay as they are.
 */
static unsigned long withdraw(int dev, int space, char *view, uint32_t kind,
			      int (*op)(int space, char *at), int prot)
{
	bool exact = kind == NOTIFIER_TABLES;
	unsigned long wrong;

	map_all(dev, view);
	must(device_spray(dev, PAINT(0)) == PAGES);
	for (unsigned long i = 0; i < PAGES; i++)
		must(!device_write(dev, word(view, i), PAINT(i)));
	must(op(space, view + FIRST * PAGE) == 0);
	wrong = device_wrongs(dev);
	wrong += unlike_withdrawn(dev, view, prot);
	wrong += unlike_paint(dev, view, 0, FIRST, exact);
	wrong += unlike_paint(dev, view, FIRST + SOME, PAGES - FIRST - SOME, exact);
	return wrong + device_wrongs(dev);
}

#define WITHDRAWS(name, op, prot)					\
TEST_F(notifier, name)							\
{									\
	EXPECT_EQ(0, withdraw(self->dev, self->space, self->view,	\
			      variant->kind, op, prot));		\
}

static int protect_none(int space, char *at)
{
	return protect(space, at, SOME, NONE);
}

static int protect_r(int space, char *at)
{
	return protect(space, at, SOME, R);
}

static int page_by_page(int space, char *at, int prot)
{
	unsigned long i;
	int err = 0;

	for (i = 0; i < SOME && !err; i++)
		err = call(space, AVM_IOC_PROTECT_PAGE, at + i * PAGE + prot);
	return err;
}

static int page_none(int space, char *at)
{
	return page_by_page(space, at, NONE);
}

static int page_r(int space, char *at)
{
	return page_by_page(space, at, R);
}

static int vector(int space, char *at, int prot, unsigned int times)
{
	struct avm_range ranges[SOME * 64];
	unsigned int i;

	for (i = 0; i < SOME * times; i++)
		ranges[i] = (struct avm_range) {
			.addr = (uintptr_t)at + i % SOME * PAGE,
			.length = PAGE,
			.prot = prot,
		};
	return batch(space, AVM_IOC_PROTECT, ranges, SOME * times, NULL);
}

static int few_none(int space, char *at)
{
	return vector(space, at, NONE, 1);
}

static int few_r(int space, char *at)
{
	return vector(space, at, R, 1);
}

static int many_none(int space, char *at)
{
	return vector(space, at, NONE, 64);
}

static int many_r(int space, char *at)
{
	return vector(space, at, R, 64);
}

WITHDRAWS(protect_to_none_is_announced, protect_none, NONE)
WITHDRAWS(protect_to_read_is_announced, protect_r, R)
WITHDRAWS(protect_page_to_none_is_announced, page_none, NONE)
WITHDRAWS(protect_page_to_read_is_announced, page_r, R)
WITHDRAWS(short_vector_to_none_is_announced, few_none, NONE)
WITHDRAWS(short_vector_to_read_is_announced, few_r, R)
WITHDRAWS(long_vector_to_none_is_announced, many_none, NONE)
WITHDRAWS(long_vector_to_read_is_announced, many_r, R)

static int discard_some(int space, char *at)
{
	return discard(space, at, SOME);
}

/* By another mapping of the same pages. */
static int discard_alias(int space, char *at)
{
	char *alias = map2(space, at, SOME, RW, RW);
	int err = discard(space, alias, SOME);

	munmap(alias, SOME * PAGE);
	return err;
}

/* By another process, which has the space and not the memory. */
static int discard_elsewhere(int space, char *at)
{
	unsigned long offset = FIRST;
	pid_t pid = fork();
	char *view;

	(void)at;
	if (!pid) {
		child_begins();
		view = view_new(space, offset, SOME, PROT_READ | PROT_WRITE);
		_exit(!!discard(space, view, SOME));
	}
	return status_of(pid);
}

WITHDRAWS(discard_is_announced, discard_some, NONE)
WITHDRAWS(discard_by_an_alias_is_announced, discard_alias, NONE)
WITHDRAWS(discard_by_another_process_is_announced, discard_elsewhere, NONE)

static int scan_clear_dirty(int space, char *at)
{
	return scan(space, at, SOME, AVM_PAGE_DIRTY, AVM_PAGE_DIRTY, NULL) != SOME;
}

static int scan_clear_accessed(int space, char *at)
{
	return scan(space, at, SOME, AVM_PAGE_ACCESSED, AVM_PAGE_ACCESSED, NULL) != SOME;
}

static int scan_protect(int space, char *at, int prot)
{
	struct avm_scan arg = {
		.size = sizeof(arg),
		.flags = AVM_SCAN_PROTECT,
		.addr = (uintptr_t)at,
		.length = SOME * PAGE,
		.match = AVM_PAGE_DIRTY,
		.prot = prot,
	};

	return call(space, AVM_IOC_SCAN, &arg) || arg.out_pages != SOME;
}

static int scan_protect_r(int space, char *at)
{
	return scan_protect(space, at, R);
}

static int scan_protect_none(int space, char *at)
{
	return scan_protect(space, at, NONE);
}

WITHDRAWS(scan_that_clears_dirty_is_announced, scan_clear_dirty, RW)
WITHDRAWS(scan_that_clears_accessed_is_announced, scan_clear_accessed, RW)
WITHDRAWS(scan_that_protects_to_read_is_announced, scan_protect_r, R)
WITHDRAWS(scan_that_protects_to_none_is_announced, scan_protect_none, NONE)

static int unmap_some(int space, char *at)
{
	(void)space;
	return munmap(at, SOME * PAGE);
}

static int move_some(int space, char *at)
{
	(void)space;
	return mremap(at, SOME * PAGE, SOME * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		      at + 4096 * PAGE) != at + 4096 * PAGE;
}

static int map_over(int space, char *at)
{
	return mmap(at, SOME * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    space, FIRST * PAGE) != at;
}

WITHDRAWS(munmap_is_announced, unmap_some, NONE)
WITHDRAWS(mremap_is_announced, move_some, NONE)
WITHDRAWS(mmap_over_a_view_is_announced, map_over, NONE)

/* The same as for views: it is the model that is tried here. */
static int mprotect_ordinary(int space, char *at)
{
	(void)space;
	return mprotect(at, SOME * PAGE, PROT_NONE);
}

TEST_F(notifier, model_is_right_about_ordinary_memory)
{
	char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int dev = notifier_open();
	unsigned long i;

	ASSERT_NE(MAP_FAILED, p);
	madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE);
	for (i = 0; i < PAGES; i++)
		*word(p, i) = PAINT(i);
	notifier_attach(dev, variant->kind, p, PAGES);
	EXPECT_EQ(0, withdraw(dev, -1, p, variant->kind, mprotect_ordinary, NONE));
	ASSERT_EQ(0, mprotect(p, PAGES * PAGE, PROT_READ | PROT_WRITE));
	for (i = 0; i < PAGES; i++)
		*word(p, i) = PAINT(i);
	EXPECT_EQ(0, withdraw(dev, -1, p, variant->kind, unmap_some, NONE));
	close(dev);
}

/* Populated, so that the CPU has not set a single accessed bit. */
TEST_F(notifier, pages_that_no_cpu_has_accessed_are_withdrawn_too)
{
	char *view = view_new(self->space, PAGES, PAGES, PROT_READ | PROT_WRITE);
	int dev = notifier_open();
	unsigned long i;
	uint64_t value;

	ASSERT_EQ(0, populate(self->space, view, PAGES));
	notifier_attach(dev, variant->kind, view, PAGES);
	map_all(dev, view);
	EXPECT_EQ(PAGES, device_spray(dev, 1));
	EXPECT_EQ(0, protect(self->space, view, 4, NONE));
	EXPECT_EQ(0, vector(self->space, view + 4 * PAGE, R, 1));
	EXPECT_EQ(0, discard(self->space, view + 8 * PAGE, 8));
	for (i = 0; i < PAGES; i++)
		if (i != 7)
			EXPECT_EQ(-ENXIO, device_read(dev, word(view, i), &value));
	EXPECT_EQ(0, device_wrongs(dev));
	close(dev);
}

/* Protect and scan across page tables, and a table that is there no more. */
TEST_F_TIMEOUT(notifier, ranges_across_page_tables_are_withdrawn_whole, 300)
{
	const unsigned long n = 1200;
	int space = space_new(n), dev = notifier_open();
	char *view = view_new(space, 0, n, PROT_READ | PROT_WRITE);
	unsigned long i;

	notifier_attach(dev, variant->kind, view, n);
	for (i = 0; i < n; i++) {
		*word(view, i) = PAINT(i);
		must(!device_map(dev, word(view, i), 1));
	}
	EXPECT_EQ(n, device_stats(dev).mapped);
	EXPECT_EQ(n, dirty(space, view, n, NULL));
	EXPECT_EQ(0, device_stats(dev).mapped);
	EXPECT_EQ(0, device_wrongs(dev));
	for (i = 0; i < n; i++)
		must(!device_map(dev, word(view, i), 1));
	EXPECT_EQ(0, protect(space, view, n, R));
	EXPECT_EQ(0, device_stats(dev).mapped);
	EXPECT_EQ(0, device_wrongs(dev));
	for (i = 0; i < n; i++)
		must(!device_map(dev, word(view, i), 0));
	EXPECT_EQ(0, discard(space, view, n));
	EXPECT_EQ(0, device_stats(dev).mapped);
	EXPECT_EQ(0, device_wrongs(dev));
	close(dev);
	close(space);
}

TEST_F(notifier, no_madvise_takes_anything_unannounced)
{
	int advice;

	map_all(self->dev, self->view);
	for (advice = 0; advice < 30; advice++) {
		madvise(self->view, PAGES * PAGE, advice);
		EXPECT_EQ(0, device_wrongs(self->dev));
	}
	EXPECT_EQ(0, unlike_paint(self->dev, self->view, 0, PAGES, false));
}

/* What execve() runs: this program, which ends at once. */
__attribute__((constructor)) static void exit_at_once(void)
{
	char name[8] = "";
	int fd = open("/proc/self/cmdline", O_RDONLY);
	ssize_t n = read(fd, name, sizeof(name));

	close(fd);
	if (n == 5 && !strcmp(name, "true"))
		_exit(0);
}

/* A child attaches a device that its parent keeps open, and ends. */
static void end_with_device(int dev, int space, uint32_t kind, int how)
{
	char *view = view_new(space, 0, PAGES, PROT_READ | PROT_WRITE);
	unsigned long i;

	child_begins();
	for (i = 0; i < PAGES; i++)
		*word(view, i) = PAINT(i);
	notifier_attach(dev, kind, view, PAGES);
	map_all(dev, view);
	device_spray(dev, 1);
	if (how == 1)
		raise(SIGKILL);
	if (how == 2)
		execl("/proc/self/exe", "true", NULL);
	_exit(0);
}

TEST_F(notifier, end_of_a_process_withdraws_all)
{
	struct notifier_stats s;
	int how, dev, status;
	pid_t pid;

	for (how = 0; how < 3; how++) {
		dev = notifier_open();
		pid = fork();
		if (!pid)
			end_with_device(dev, self->space, variant->kind, how);
		status = status_of(pid);
		EXPECT_EQ(how == 1 ? SIGKILL : 0, died_by(status));
		s = device_stats(dev);
		EXPECT_EQ(1, s.releases);
		EXPECT_EQ(0, s.mapped);
		EXPECT_EQ(PAGES, s.dropped);
		EXPECT_EQ(0, device_wrongs(dev));
		close(dev);
	}
}

/* The space lives while the view does: nothing is withdrawn, nor freed. */
TEST_F(notifier, closing_the_space_leaves_the_pages_until_the_view_goes)
{
	uint64_t value;

	map_all(self->dev, self->view);
	close(self->space);
	self->space = -1;
	EXPECT_EQ(0, unlike_paint(self->dev, self->view, 0, PAGES, true));
	ASSERT_EQ(0, munmap(self->view, PAGES * PAGE));
	EXPECT_EQ(-ENXIO, device_read(self->dev, self->view, &value));
	EXPECT_EQ(0, device_stats(self->dev).mapped);
	EXPECT_EQ(0, device_wrongs(self->dev));
}

static unsigned long told(int dev)
{
	struct notifier_stats s = device_stats(dev);

	return s.starts + s.flushes;
}

TEST_F(notifier, what_withdraws_nothing_is_not_announced)
{
	char *view = self->view, *alias;
	unsigned long before;
	uint64_t bitmap[1];

	must(!protect(self->space, view, 1, R));
	must(!discard(self->space, view + PAGE, 1));
	before = told(self->dev);
	EXPECT_EQ(0, populate(self->space, view, PAGES));
	EXPECT_EQ(0, try_read(view + PAGE));
	EXPECT_EQ(SIGSEGV, try_write(view, 1));
	EXPECT_EQ(0, try_write(view + 2 * PAGE, 1));
	EXPECT_LE(0, scan(self->space, view, PAGES, AVM_PAGE_DIRTY, 0, bitmap));
	alias = map2(self->space, view, PAGES, RW, RW);
	EXPECT_EQ(0, try_write(alias + PAGE, 1));
	EXPECT_EQ(0, protect(self->space, alias, PAGES, NONE));
	stats(self->space);
	EXPECT_EQ(before, told(self->dev));
	EXPECT_EQ(0, device_wrongs(self->dev));
}

/*
 * PROTECT does not know beforehand which way a protection goes, and announces
 * all: the device has to map again, and gets what was added.
 */
TEST_F(notifier, unprot_gives_a_device_what_it_gives_the_cpu)
{
	char *page = self->view + FIRST * PAGE;
	unsigned long added = (unsigned long)page + RW;

	must(!protect(self->space, page, 1, R));
	ASSERT_EQ(0, device_map(self->dev, page, 0));
	EXPECT_EQ(-EACCES, device_write(self->dev, page, 1));
	EXPECT_EQ(0, call(self->space, AVM_IOC_PROTECT_PAGE, (void *)added));
	ASSERT_EQ(0, device_map(self->dev, page, 1));
	EXPECT_EQ(0, device_write(self->dev, page, 1));
	EXPECT_EQ(0, device_wrongs(self->dev));
}

/* README, Limits. */
TEST_F(notifier, writes_of_a_device_are_seen_and_not_dirty)
{
	char *page = self->view + FIRST * PAGE;

	must(dirty(self->space, self->view, PAGES, NULL) >= 0);
	ASSERT_EQ(0, device_map(self->dev, page, 1));
	EXPECT_EQ(0, device_write(self->dev, page, 77));
	EXPECT_EQ(77, *word(self->view, FIRST));
	EXPECT_EQ(0, dirty(self->space, self->view, PAGES, NULL));
}

/* A device that attaches to a view whose pages go the short way all the time. */
TEST_F_TIMEOUT(notifier, device_that_comes_late_is_told_as_well, 300)
{
	unsigned long page = (unsigned long)self->view + FIRST * PAGE;
	unsigned int round;
	int dev;

	close(self->dev);
	for (round = 0; round < 20; round++) {
		must(!call(self->space, AVM_IOC_PROTECT_PAGE, (void *)(page + R)));
		must(!call(self->space, AVM_IOC_PROTECT_PAGE, (void *)(page + RW)));
		*word(self->view, FIRST) = round;
		dev = notifier_open();
		notifier_attach(dev, variant->kind, self->view, PAGES);
		ASSERT_EQ(0, device_map(dev, (void *)page, 1));
		must(!call(self->space, AVM_IOC_PROTECT_PAGE, (void *)(page + R)));
		EXPECT_EQ(-ENXIO, device_write(dev, (void *)page, 1));
		EXPECT_EQ(0, device_wrongs(dev));
		must(!call(self->space, AVM_IOC_PROTECT_PAGE, (void *)(page + RW)));
		close(dev);
	}
	self->dev = notifier_open();
}

#define POISON	0x6b6b6b6b6b6b6b6bull

/* Every page of a new view that is touched has to be, and stay, empty. */
static unsigned long poisoned(char *view, unsigned long n)
{
	unsigned long i, wrong = 0;

	for (i = 0; i < n; i++)
		wrong += *word(view, i) != 0;
	return wrong;
}

TEST_F_TIMEOUT(notifier, discarded_pages_are_the_devices_no_more, 300)
{
	int other = space_new(4 * PAGES);
	char *fresh = view_new(other, 0, 4 * PAGES, PROT_READ | PROT_WRITE);
	unsigned int round;

	for (round = 0; round < 100; round++) {
		memset(self->view, 1, PAGES * PAGE);
		map_all(self->dev, self->view);
		EXPECT_EQ(PAGES, device_spray(self->dev, POISON));
		must(!discard(self->space, self->view, PAGES));
		EXPECT_EQ(0, poisoned(fresh, 4 * PAGES));
		EXPECT_EQ(0, device_spray(self->dev, POISON));
		EXPECT_EQ(0, poisoned(fresh, 4 * PAGES));
		must(!discard(other, fresh, 4 * PAGES));
	}
	EXPECT_EQ(0, device_wrongs(self->dev));
	close(other);
}

/*
 * Everything at once: threads protect, scan, discard, touch, map and move, a
 * process discards, and the device maps pages and writes to all that it may.
 * What it wrote must never be found in a page of another space, which takes
 * the frames that go.
 */
#define SECONDS	3.0

struct storm {
	int dev;
	int space;
	char *view;
	unsigned int seed;
	atomic_bool stop;
	atomic_ulong foreign;	/* pages of the other space that had something */
	atomic_ulong calls;
};

struct actor {
	struct storm *storm;
	unsigned int seed;
	pthread_t thread;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static const int prots[] = { NONE, R, RW, RW };

static int any_prot(unsigned int *seed)
{
	return prots[rand_r(seed) % 4];
}

/* Some pages of the view, at random. */
struct part {
	char *at;
	unsigned long n;
};

static struct part pick(struct storm *s, unsigned int *seed)
{
	unsigned long first = rand_r(seed) % PAGES;

	return (struct part) {
		.at = s->view + first * PAGE,
		.n = 1 + rand_r(seed) % (PAGES - first),
	};
}

static void protect_at_random(struct storm *s, unsigned int *seed)
{
	int prot = any_prot(seed);
	struct avm_range ranges[40];
	struct part p = pick(s, seed);
	unsigned int i;

	switch (rand_r(seed) % 3) {
	case 0:
		protect(s->space, p.at, p.n, prot);
		return;
	case 1:
		call(s->space, AVM_IOC_PROTECT_PAGE, p.at + prot);
		return;
	}
	for (i = 0; i < 40; i++)
		ranges[i] = (struct avm_range) {
			.addr = (uintptr_t)pick(s, seed).at,
			.length = PAGE,
			.prot = any_prot(seed),
		};
	batch(s->space, AVM_IOC_PROTECT, ranges, 1 + rand_r(seed) % 40, NULL);
}

static void scan_at_random(struct storm *s, unsigned int *seed)
{
	struct part p = pick(s, seed);
	struct avm_scan arg = {
		.size = sizeof(arg),
		.flags = rand_r(seed) % 4 ? 0 : AVM_SCAN_PROTECT,
		.addr = (uintptr_t)p.at,
		.length = p.n * PAGE,
		.match = 1 + rand_r(seed) % 3,
		.clear = rand_r(seed) % 4,
	};

	if (arg.flags)
		arg.prot = any_prot(seed);
	call(s->space, AVM_IOC_SCAN, &arg);
}

static void discard_at_random(struct storm *s, unsigned int *seed)
{
	struct part p = pick(s, seed);

	if (rand_r(seed) % 4)
		discard(s->space, p.at, p.n);
	else
		populate(s->space, p.at, p.n);
}

static void touch_at_random(struct storm *s, unsigned int *seed)
{
	struct part p = pick(s, seed);
	unsigned long i;

	for (i = 0; i < p.n; i++)
		if (rand_r(seed) % 2)
			try_write(p.at + i * PAGE, 1);
		else
			try_read(p.at + i * PAGE);
}

/*
 * Replace some of the view, in one step, so that nothing else is ever mapped
 * there: by a new mapping, or by one that has been in use elsewhere.
 */
static void map_at_random(struct storm *s, unsigned int *seed)
{
	struct part p = pick(s, seed);
	unsigned long bytes = p.n * PAGE;
	char *spare;

	if (rand_r(seed) % 2) {
		mmap(p.at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, s->space,
		     p.at - s->view);
		return;
	}
	spare = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s->space,
		     p.at - s->view);
	if (spare == MAP_FAILED)
		return;
	try_write(spare, 1);
	mremap(spare, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, p.at);
}

static void use_other_space(struct storm *s, unsigned int *seed)
{
	static int other = -1;
	static char *fresh;
	unsigned int i, times = 2 + rand_r(seed) % 8;

	if (other < 0) {
		other = space_new(PAGES);
		fresh = view_new(other, 0, PAGES, PROT_READ | PROT_WRITE);
	}
	for (i = 0; i < times; i++)
		s->foreign += poisoned(fresh, PAGES);
	discard(other, fresh, PAGES);
}

#define ACTOR(name)							\
static void *name##_all_the_time(void *arg)				\
{									\
	struct actor *a = arg;						\
									\
	while (!a->storm->stop) {					\
		name(a->storm, &a->seed);				\
		a->storm->calls++;					\
		/* Or announcements never cease, and nothing gets mapped. */ \
		usleep(rand_r(&a->seed) % 300);				\
	}								\
	return NULL;							\
}

ACTOR(protect_at_random)
ACTOR(scan_at_random)
ACTOR(discard_at_random)
ACTOR(touch_at_random)
ACTOR(map_at_random)
ACTOR(use_other_space)

static void *(*const actors[])(void *) = {
	protect_at_random_all_the_time, scan_at_random_all_the_time,
	discard_at_random_all_the_time, touch_at_random_all_the_time,
	map_at_random_all_the_time, use_other_space_all_the_time,
};

#define ACTORS	(sizeof(actors) / sizeof(actors[0]))

/* The process that has the space and not the memory. */
static pid_t discarder(int space, unsigned int seed)
{
	struct storm s = { .space = space };
	pid_t pid = fork();

	if (pid)
		return pid;
	child_begins();
	s.view = view_new(space, 0, PAGES, PROT_READ | PROT_WRITE);
	for (;;) {
		discard_at_random(&s, &seed);
		usleep(rand_r(&seed) % 300);
	}
}

static void device_at_random(struct storm *s, unsigned int *seed)
{
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		device_map(s->dev, pick(s, seed).at, rand_r(seed) % 2);
	device_spray(s->dev, POISON);
	usleep(rand_r(seed) % 300);
}

static unsigned int seed_of_run(void)
{
	const char *given = getenv("AVM_SEED");
	unsigned int seed = time(NULL) ^ getpid();

	if (given)
		seed = strtoul(given, NULL, 0);

	printf("# AVM_SEED=%u\n", seed);
	return seed;
}

TEST_F_TIMEOUT(notifier, storm_withdraws_nothing_unannounced, 300)
{
	struct storm s = {
		.dev = self->dev, .space = self->space, .view = self->view,
		.seed = seed_of_run(),
	};
	struct notifier_stats seen;
	struct actor a[ACTORS];
	unsigned long rounds = 0;
	unsigned int i;
	double end;
	pid_t pid;

	pid = discarder(self->space, s.seed);
	for (i = 0; i < ACTORS; i++) {
		a[i] = (struct actor) { .storm = &s, .seed = s.seed + 1 + i };
		must(!pthread_create(&a[i].thread, NULL, actors[i], &a[i]));
	}
	for (end = now() + SECONDS; now() < end; rounds++)
		device_at_random(&s, &s.seed);
	s.stop = true;
	for (i = 0; i < ACTORS; i++)
		pthread_join(a[i].thread, NULL);
	kill(pid, SIGKILL);
	status_of(pid);
	EXPECT_EQ(0, s.foreign);
	EXPECT_EQ(0, device_wrongs(self->dev));
	seen = device_stats(self->dev);
	EXPECT_LT(0, seen.dropped);
	printf("# %lu rounds, %lu calls, %lu announcements, %lu flushes, %lu pages dropped, %lu retries\n",
	       rounds, (unsigned long)s.calls, (unsigned long)seen.starts,
	       (unsigned long)seen.flushes, (unsigned long)seen.dropped,
	       (unsigned long)seen.retries);
}

TEST_HARNESS_MAIN
