// SPDX-License-Identifier: GPL-2.0
/*
 * The end of a trap handler, through libavm: what avm_untrap() finds when the
 * view was unmapped or moved, when the space was closed, and when another thread
 * is just being called; what becomes of an access that nobody wants; and what a
 * full alternate stack ends in.
 *
 * That an access came by upcall is seen by out_upcalls.
 */
#include "avmtest.h"

#include <avm.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "harness.h"

#ifndef SS_AUTODISARM	/* of <linux/signal.h>, which fights with <signal.h> */
#define SS_AUTODISARM	(1u << 31)
#endif

#define PAGES		8ul
#define STACK_PAGES	8ul
#define ROUNDS		6u
#define PAST		(-1)	/* opens nothing */
#define RED_ZONE	128ul
#define FRAME		sizeof(struct avm_upcall)
#define PATTERN		0x5a
#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))

/* What a handler is to do, and how often it was called. */
struct log {
	int space;
	int open_to;		/* AVM_PROT_*, or PAST */
	int verdict;
	unsigned int calls;
};

static char *page_of(const void *addr)
{
	return (char *)((uintptr_t)addr & ~(PAGE - 1));
}

static int record(const struct avm_trap_info *info, void *arg)
{
	struct log *log = arg;

	log->calls++;
	if (log->open_to != PAST && avm_unprot(log->space, page_of(info->addr), log->open_to))
		_exit(99);
	return log->verdict;
}

static char *memory(unsigned long pages, int prot, int flags)
{
	char *p = mmap(NULL, pages * PAGE, prot, flags | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	return p;
}

static void altstack(void *at, size_t size, unsigned int flags)
{
	stack_t alt = { .ss_sp = at, .ss_size = size, .ss_flags = flags };

	must(!sigaltstack(&alt, NULL));
}

/* access_on(stack, at): one write, always by the same instruction. */
void access_on(char *stack, char *at);

asm("	.pushsection .text\n"
	"	.globl access_on\n"
	"access_on:\n"
	"	mov %rsp, %rax\n"
	"	mov %rdi, %rsp\n"
	"	movb $1, (%rsi)\n"
	"	mov %rax, %rsp\n"
	"	ret\n"
	"	.popsection\n");

/* 0 when the write went through, or the signal, as try_write(). */
static int try_on(char *stack, char *at)
{
	memset(&denied, 0, sizeof(denied));
	denied_armed = 1;
	if (!sigsetjmp(denied_jump, 1))
		access_on(stack, at);
	denied_armed = 0;
	return denied.sig;
}

static uint64_t upcalls(int space)
{
	return stats(space).out_upcalls;
}

/* Whether a closed page calls the handler, once, and without a signal. */
static bool by_upcall(struct log *log, char *at)
{
	uint64_t before = upcalls(log->space);
	unsigned int calls = log->calls;

	return !protect(log->space, page_of(at), 1, NONE) && try_write(at, 3) == 0 &&
	       log->calls == calls + 1 && upcalls(log->space) == before + 1 && *at == 3;
}

/* Whether a closed page is a SIGSEGV of the program's own, which asks nobody. */
static bool plain(struct log *log, char *at)
{
	uint64_t before = upcalls(log->space);
	unsigned int calls = log->calls;

	return !protect(log->space, page_of(at), 1, NONE) && try_write(at, 3) == SIGSEGV &&
	       denied.addr == at && log->calls == calls && upcalls(log->space) == before;
}

/* The number of a descriptor is somebody else's from now on. */
static void give_number(int number, int to)
{
	must(dup2(to, number) == number);
}

static int dev_null(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	must(fd >= 0);
	return fd;
}

/* The program's own handler is there before that of the library. */
FIXTURE(untrap) {
	int space;
	struct log log;
};

FIXTURE_SETUP(untrap) {
	denied_setup();
	self->space = space_new(PAGES);
	self->log = (struct log){ .space = self->space, .open_to = RW };
}

FIXTURE_TEARDOWN(untrap) {
	close(self->space);
}

/* After munmap(2). */

static bool gone(unsigned int mask, unsigned int i)
{
	return mask >> i & 1;
}

/* Length of the run of pages from @i on that are there. */
static unsigned int run_at(unsigned int mask, unsigned int i)
{
	unsigned int n = 0;

	while (i + n < PAGES && !gone(mask, i + n))
		n++;
	return n;
}

/* Of the pages that are there, those for which @is does not hold. */
static unsigned int wrong_pages(struct log *log, char *view, unsigned int mask,
				bool (*is)(struct log *, char *))
{
	unsigned int i, wrong = 0;

	for (i = 0; i < PAGES; i++)
		wrong += !gone(mask, i) && !is(log, view + i * PAGE + i);
	return wrong;
}

/* Each run of pages that is there, by itself. Returns how many calls failed. */
static unsigned int trap_runs(struct log *log, char *view, unsigned int mask)
{
	unsigned int i, n, failed = 0;

	for (i = 0; i < PAGES; i += n + 1) {
		n = run_at(mask, i);
		failed += n && avm_trap(log->space, view + i * PAGE, n * PAGE, record, log, 0);
	}
	return failed;
}

static unsigned int untrap_runs(char *view, unsigned int mask)
{
	unsigned int i, n, failed = 0;

	for (i = 0; i < PAGES; i += n + 1) {
		n = run_at(mask, i);
		failed += n && avm_untrap(view + i * PAGE);
	}
	return failed;
}

/* The first, the last, one in the middle, several: every way there is. */
TEST_F(untrap, after_munmap_of_any_part_the_rest_can_be_registered_again)
{
	const unsigned int ways = 1u << PAGES;
	unsigned int mask, i;
	char *view;

	for (mask = 1; mask < ways; mask++) {
		view = view_new(self->space, 0, PAGES, RW);
		ASSERT_EQ(0, avm_trap(self->space, view, PAGES * PAGE, record, &self->log, 0));
		for (i = 0; i < PAGES; i++)
			ASSERT_EQ(0, gone(mask, i) ? munmap(view + i * PAGE, PAGE) : 0);
		EXPECT_EQ(0, wrong_pages(&self->log, view, mask, by_upcall)) TH_LOG("%#x", mask);
		EXPECT_EQ(0, avm_untrap(view)) TH_LOG("gone: %#x", mask);
		EXPECT_EQ(0, wrong_pages(&self->log, view, mask, plain)) TH_LOG("gone: %#x", mask);
		EXPECT_EQ(0, trap_runs(&self->log, view, mask)) TH_LOG("gone: %#x", mask);
		EXPECT_EQ(0, wrong_pages(&self->log, view, mask, by_upcall)) TH_LOG("%#x", mask);
		EXPECT_EQ(0, untrap_runs(view, mask)) TH_LOG("gone: %#x", mask);
		EXPECT_EQ(0, wrong_pages(&self->log, view, mask, plain)) TH_LOG("gone: %#x", mask);
		EXPECT_EQ(-ENOENT, avm_untrap(view));
		ASSERT_EQ(0, munmap(view, PAGES * PAGE));
	}
}

/* After mremap(2). */

/* Pages [@first, @first + @pages) of a view, registered as a whole, have moved. */
struct moved {
	struct log old, new;	/* who is registered where */
	char *view, *there;
	unsigned int first, pages, mask;
};

static void move(struct moved *m, int space)
{
	char *hole = memory(PAGES, NONE, MAP_PRIVATE);
	size_t length = m->pages * PAGE;

	m->old = (struct log){ .space = space, .open_to = RW };
	m->new = m->old;
	m->mask = ((1u << m->pages) - 1) << m->first;
	m->view = view_new(space, 0, PAGES, RW);
	must(!avm_trap(space, m->view, PAGES * PAGE, record, &m->old, 0));
	m->there = mremap(m->view + m->first * PAGE, length, length,
			  MREMAP_MAYMOVE | MREMAP_FIXED, hole);
	must(m->there == hole);
}

static int trap_there(struct moved *m)
{
	return avm_trap(m->new.space, m->there, m->pages * PAGE, record, &m->new, 0);
}

static unsigned int wrong_there(struct moved *m, bool (*is)(struct log *, char *))
{
	return wrong_pages(&m->new, m->there, ~((1u << m->pages) - 1), is);
}

static unsigned int wrong_here(struct moved *m, bool (*is)(struct log *, char *))
{
	return wrong_pages(&m->old, m->view, m->mask, is);
}

static void move_ends(struct moved *m)
{
	munmap(m->there, PAGES * PAGE);
	munmap(m->view, PAGES * PAGE);
}

/* Every part of the view, the whole one too. */
#define for_each_move(m)						\
	for ((m)->pages = 1; (m)->pages <= PAGES; (m)->pages++)		\
		for ((m)->first = 0; (m)->first + (m)->pages <= PAGES; (m)->first++)

#define expect(expected, what)						\
	EXPECT_EQ(expected, what) TH_LOG("moved: %u from %u on", m.pages, m.first)

TEST_F(untrap, moved_pages_can_be_registered_before_the_old_place_is_given_up)
{
	struct moved m;

	for_each_move(&m) {
		move(&m, self->space);
		expect(0, trap_there(&m));
		expect(0, wrong_there(&m, by_upcall));
		expect(0, wrong_here(&m, by_upcall));
		expect(0, avm_untrap(m.view));
		/* What is registered at the new place stays. */
		expect(0, wrong_there(&m, by_upcall));
		expect(0, wrong_here(&m, plain));
		expect(0, avm_untrap(m.there));
		expect(0, wrong_there(&m, plain));
		move_ends(&m);
	}
}

TEST_F(untrap, moved_pages_can_be_registered_after_the_old_place_was_given_up)
{
	struct moved m;

	for_each_move(&m) {
		move(&m, self->space);
		expect(0, avm_untrap(m.view));
		expect(0, wrong_here(&m, plain));
		/* What was registered as a whole goes as a whole, if a part is left. */
		if (m.pages < PAGES)
			expect(0, wrong_there(&m, plain));
		expect(0, trap_there(&m));
		expect(0, wrong_there(&m, by_upcall));
		expect(0, wrong_here(&m, plain));
		expect(0, avm_untrap(m.there));
		expect(0, wrong_there(&m, plain));
		move_ends(&m);
	}
}

TEST_F(untrap, new_place_of_moved_pages_can_be_given_up_first)
{
	struct moved m;

	for_each_move(&m) {
		move(&m, self->space);
		expect(0, trap_there(&m));
		expect(0, avm_untrap(m.there));
		expect(0, wrong_there(&m, plain));
		/* What has stayed is still handled. */
		expect(0, wrong_here(&m, by_upcall));
		expect(0, avm_untrap(m.view));
		expect(0, wrong_here(&m, plain));
		move_ends(&m);
	}
}

TEST_F(untrap, pages_that_have_moved_and_come_back_are_given_up_with_the_rest)
{
	struct moved m;
	char *home;

	for_each_move(&m) {
		move(&m, self->space);
		expect(0, trap_there(&m));
		home = m.view + m.first * PAGE;
		ASSERT_EQ(home, mremap(m.there, m.pages * PAGE, m.pages * PAGE,
				       MREMAP_MAYMOVE | MREMAP_FIXED, home));
		m.mask = 0;
		expect(0, wrong_here(&m, by_upcall));
		expect(0, m.new.calls);
		expect(0, avm_untrap(m.view));
		expect(0, wrong_here(&m, plain));
		expect(0, avm_untrap(m.there));
		move_ends(&m);
	}
}

/*
 * While an upcall is in flight: the kernel has found the registration, and the
 * thread is not yet in the library. It is held there by its stack, of which the
 * page for the frame is awaited by another thread, from userfaultfd(2). That one
 * then does whatever the test is about, and delivers the page.
 */
static struct flight {
	pthread_t thread;
	int uffd;
	char *stack;
	struct log *log;
	char *at;
	void (*meanwhile)(struct flight *flight);
	unsigned int rounds;
} flight;

static void let_land(struct flight *f)
{
	struct uffdio_zeropage zero = { .range = { (uintptr_t)f->stack, STACK_PAGES * PAGE } };

	must(!ioctl(f->uffd, UFFDIO_ZEROPAGE, &zero));
}

static void *control(void *arg)
{
	struct flight *f = arg;
	struct pollfd pollfd = { .fd = f->uffd, .events = POLLIN };
	struct uffd_msg msg;
	unsigned int i;

	for (i = 0; i < f->rounds; i++) {
		must(poll(&pollfd, 1, 100000) == 1);
		must(read(f->uffd, &msg, sizeof(msg)) == sizeof(msg));
		f->meanwhile(f);
		let_land(f);
	}
	return NULL;
}

static void flight_begin(struct flight *f)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	f->uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	must(f->uffd >= 0 && !ioctl(f->uffd, UFFDIO_API, &api));
	f->stack = memory(STACK_PAGES, RW, MAP_PRIVATE);
	reg.range.start = (uintptr_t)f->stack;
	reg.range.len = STACK_PAGES * PAGE;
	must(!ioctl(f->uffd, UFFDIO_REGISTER, &reg));
	must(!pthread_create(&f->thread, NULL, control, f));
}

static void flight_end(struct flight *f)
{
	must(!pthread_join(f->thread, NULL));
	munmap(f->stack, STACK_PAGES * PAGE);
	close(f->uffd);
}

/* The access, with its upcall on the way. Returns the signal that it ended in. */
static int fly(struct flight *f)
{
	must(!avm_trap(f->log->space, page_of(f->at), PAGE, record, f->log, 0));
	must(!protect(f->log->space, page_of(f->at), 1, NONE));
	must(!madvise(f->stack, STACK_PAGES * PAGE, MADV_DONTNEED));
	return try_on(f->stack + STACK_PAGES * PAGE, f->at);
}

static void opens_and_untraps(struct flight *f)
{
	must(!protect(f->log->space, page_of(f->at), 1, RW));
	must(!avm_untrap(page_of(f->at)));
}

static void untraps(struct flight *f)
{
	must(!avm_untrap(page_of(f->at)));
}

static void opens_untraps_and_closes(struct flight *f)
{
	opens_and_untraps(f);
	close(f->log->space);
}

static void opens_untraps_and_gives_the_number_away(struct flight *f)
{
	int null = dev_null();

	opens_and_untraps(f);
	give_number(f->log->space, null);
	close(null);
}

/* The same instruction and the same address, time and again. */
TEST_F(untrap, open_page_is_accessed_however_often_untrap_meets_an_upcall_in_flight)
{
	char *view = view_new(self->space, 0, PAGES, RW);
	unsigned int i;

	flight = (struct flight){ .log = &self->log, .at = view + 5, .rounds = ROUNDS,
				  .meanwhile = opens_and_untraps };
	flight_begin(&flight);
	for (i = 1; i <= ROUNDS; i++) {
		*view = 0;
		EXPECT_EQ(0, fly(&flight)) TH_LOG("round %u", i);
		EXPECT_EQ(1, view[5]);
		view[5] = 0;
		EXPECT_EQ(i, upcalls(self->space));
	}
	flight_end(&flight);
	/* It was taken away before it was asked. */
	EXPECT_EQ(0, self->log.calls);
	munmap(view, PAGES * PAGE);
}

/* Another address in between, of the same instruction, and back. */
TEST_F(untrap, open_pages_are_accessed_however_often_untrap_meets_upcalls_in_flight)
{
	char *view = view_new(self->space, 0, PAGES, RW);
	unsigned int i;

	flight = (struct flight){ .log = &self->log, .rounds = 2 * ROUNDS,
				  .meanwhile = opens_and_untraps };
	flight_begin(&flight);
	for (i = 0; i < 2 * ROUNDS; i++) {
		flight.at = view + i % 2 * PAGE;
		EXPECT_EQ(0, fly(&flight)) TH_LOG("round %u", i);
	}
	flight_end(&flight);
	EXPECT_EQ(2 * ROUNDS, upcalls(self->space));
	EXPECT_EQ(0, self->log.calls);
	munmap(view, PAGES * PAGE);
}

TEST_F(untrap, closed_page_is_a_plain_signal_where_untrap_meets_an_upcall_in_flight)
{
	char *view = view_new(self->space, 0, PAGES, RW);
	unsigned int i;

	flight = (struct flight){ .log = &self->log, .at = view + 5, .rounds = ROUNDS,
				  .meanwhile = untraps };
	flight_begin(&flight);
	for (i = 1; i <= ROUNDS; i++) {
		EXPECT_EQ(SIGSEGV, fly(&flight)) TH_LOG("round %u", i);
		EXPECT_EQ(flight.at, denied.addr);
		EXPECT_EQ(6, denied.error);
		EXPECT_EQ(i, upcalls(self->space));
	}
	flight_end(&flight);
	EXPECT_EQ(0, self->log.calls);
	munmap(view, PAGES * PAGE);
}

/* A space of its own in each round, its view where the last one was. */
static void flight_without_descriptor(struct __test_metadata *_metadata, struct log *log,
				      void (*meanwhile)(struct flight *))
{
	char *place = memory(1, NONE, MAP_PRIVATE);
	int again;
	unsigned int i;

	flight = (struct flight){ .log = log, .at = place + 5, .rounds = ROUNDS,
				  .meanwhile = meanwhile };
	flight_begin(&flight);
	for (i = 1; i <= ROUNDS; i++) {
		log->space = space_new(1);
		again = dup(log->space);
		must(mmap(place, PAGE, RW, MAP_SHARED | MAP_FIXED, log->space, 0) == place);
		EXPECT_EQ(0, fly(&flight)) TH_LOG("round %u", i);
		EXPECT_EQ(1, place[5]);
		EXPECT_EQ(1, upcalls(again));
		close(again);
		close(log->space);	/* or what has its number */
	}
	flight_end(&flight);
	EXPECT_EQ(0, log->calls);
	munmap(place, PAGE);
}

TEST_F(untrap, space_may_be_closed_after_untrap_while_an_upcall_is_in_flight)
{
	flight_without_descriptor(_metadata, &self->log, opens_untraps_and_closes);
}

TEST_F(untrap, number_of_the_space_may_be_used_again_while_an_upcall_is_in_flight)
{
	flight_without_descriptor(_metadata, &self->log, opens_untraps_and_gives_the_number_away);
}

/*
 * A handler that passes when its range and its space are gone. The access is
 * then the program's own, as that of any page that is closed.
 */
enum number { OPEN, CLOSED, NULL_DEVICE, OTHER_SPACE, NUMBERS };

static struct late {
	int phase;	/* 1: the handler runs; 2: it may go on */
	unsigned int calls;
	int space;
	char *view;
	enum number number;
} late;

static void phase_begins(int phase)
{
	__atomic_store_n(&late.phase, phase, __ATOMIC_SEQ_CST);
}

static void phase_await(int phase)
{
	while (__atomic_load_n(&late.phase, __ATOMIC_SEQ_CST) != phase)
		sched_yield();
}

static int passes_late(const struct avm_trap_info *info, void *arg)
{
	(void)info;
	(void)arg;
	late.calls++;
	phase_begins(1);
	phase_await(2);
	return AVM_TRAP_PASS;
}

static void change_number(int number, enum number to)
{
	int other = to == NULL_DEVICE ? dev_null() : to == OTHER_SPACE ? space_new(1) : -1;

	if (to == CLOSED)
		close(number);
	if (other < 0)
		return;
	give_number(number, other);
	close(other);
}

static void *takes_away(void *arg)
{
	long ret;

	phase_await(1);
	ret = avm_untrap(late.view);
	change_number(late.space, late.number);
	phase_begins(2);
	(void)arg;
	return (void *)ret;
}

/* @after: the program's handler is installed after that of the library. */
static void pass_late(struct __test_metadata *_metadata, enum number number, bool after)
{
	pthread_t thread;
	void *ret;

	late = (struct late){ .space = space_new(1), .number = number };
	late.view = view_new(late.space, 0, 1, RW);
	ASSERT_EQ(0, avm_trap(late.space, late.view, PAGE, passes_late, NULL, 0));
	if (after)
		denied_setup();
	ASSERT_EQ(0, protect(late.space, late.view, 1, NONE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, takes_away, NULL));
	EXPECT_EQ(SIGSEGV, try_write(late.view + 7, 1)) TH_LOG("number %u", number);
	EXPECT_EQ(late.view + 7, denied.addr);
	EXPECT_EQ(6, denied.error);
	EXPECT_EQ(1, late.calls);
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_EQ(NULL, ret);
	munmap(late.view, PAGE);
	close(late.space);
}

TEST(pass_of_what_was_taken_away_goes_to_the_handler_that_was_there_before)
{
	enum number number;

	denied_setup();
	for (number = OPEN; number < NUMBERS; number++)
		pass_late(_metadata, number, false);
}

TEST(pass_of_what_was_taken_away_goes_to_the_handler_that_came_after)
{
	enum number number;

	for (number = OPEN; number < NUMBERS; number++)
		pass_late(_metadata, number, true);
}

/*
 * An access that was passed by upcall, and whose SIGSEGV the library has not
 * seen, as the program had put its own handler in place. When that of the
 * library is back, it must not take another access for it.
 */
struct stale {
	struct log log;
	char *view, *stack;
	struct sigaction library;
};

static void stale_begin(struct stale *s, int space, unsigned int flags)
{
	s->log = (struct log){ .space = space, .open_to = PAST, .verdict = AVM_TRAP_PASS };
	s->view = view_new(space, 0, PAGES, RW);
	s->stack = memory(STACK_PAGES, RW, MAP_PRIVATE) + STACK_PAGES * PAGE;
	altstack(memory(16, RW, MAP_PRIVATE), 16 * PAGE, 0);
	must(!avm_trap(space, s->view, PAGES * PAGE, record, &s->log, flags));
	must(!protect(space, s->view, PAGES, NONE));
	must(!sigaction(SIGSEGV, NULL, &s->library));
	/* The access is passed, and the program's handler leaves. */
	denied_setup();
	must(try_on(s->stack, s->view) == SIGSEGV && s->log.calls == 1);
	must(upcalls(space) == 1);
	must(!sigaction(SIGSEGV, &s->library, NULL));
	s->log = (struct log){ .space = space, .open_to = RW };
}

TEST_F(untrap, access_that_was_passed_is_asked_about_after_a_change_of_handlers)
{
	struct stale s;

	stale_begin(&s, self->space, 0);
	ASSERT_EQ(0, avm_untrap(s.view));
	ASSERT_EQ(0, avm_trap(AVM_NO_SPACE, s.view, PAGE, record, &s.log, 0));
	/* The same instruction, address and stack, and by signal. */
	EXPECT_EQ(0, try_on(s.stack, s.view));
	EXPECT_EQ(1, s.log.calls);
	EXPECT_EQ(1, upcalls(self->space));
}

TEST_F(untrap, access_that_was_passed_is_asked_about_where_the_stack_is_another)
{
	struct stale s;

	stale_begin(&s, self->space, 0);
	/* No frame can be written there, so it is a signal. */
	EXPECT_EQ(0, try_on(memory(4, NONE, MAP_PRIVATE) + 4 * PAGE, s.view));
	EXPECT_EQ(1, s.log.calls);
	EXPECT_EQ(1, upcalls(self->space));
}

TEST_F(untrap, access_that_was_passed_is_asked_about_after_another_upcall)
{
	struct stale s;

	stale_begin(&s, self->space, AVM_TRAP_ONSTACK);
	EXPECT_EQ(0, try_write(s.view + PAGE, 1));
	EXPECT_EQ(1, s.log.calls);
	EXPECT_EQ(2, upcalls(self->space));
	/* To the last detail the same, but by signal. */
	altstack(memory(16, RW, MAP_PRIVATE), 16 * PAGE, SS_AUTODISARM);
	EXPECT_EQ(0, try_on(s.stack, s.view));
	EXPECT_EQ(2, s.log.calls);
	EXPECT_EQ(2, upcalls(self->space));
}

TEST_F(untrap, access_that_was_passed_is_asked_about_after_another_signal)
{
	struct stale s;
	char *closed = memory(1, NONE, MAP_PRIVATE);

	stale_begin(&s, self->space, AVM_TRAP_ONSTACK);
	EXPECT_EQ(SIGSEGV, try_read(closed));
	altstack(memory(16, RW, MAP_PRIVATE), 16 * PAGE, SS_AUTODISARM);
	EXPECT_EQ(0, try_on(s.stack, s.view));
	EXPECT_EQ(1, s.log.calls);
}

/* A space that is closed before avm_untrap(). */

TEST_F(untrap, handler_of_a_closed_space_can_be_taken_away_and_replaced)
{
	char *place = memory(1, NONE, MAP_PRIVATE);
	enum number number;
	struct log *log = &self->log;

	for (number = CLOSED; number < NUMBERS; number++) {
		log->space = space_new(1);
		must(mmap(place, PAGE, RW, MAP_SHARED | MAP_FIXED, log->space, 0) == place);
		ASSERT_EQ(0, avm_trap(log->space, place, PAGE, record, log, 0));
		change_number(log->space, number);
		/* With the view still there, or without it. */
		for (int mapped = 1; mapped >= 0; mapped--) {
			if (!mapped)
				must(!munmap(place, PAGE));
			EXPECT_EQ(0, avm_untrap(place)) TH_LOG("number %u", number);
			EXPECT_EQ(-ENOENT, avm_untrap(place));
			log->space = space_new(1);
			must(mmap(place, PAGE, RW, MAP_SHARED | MAP_FIXED, log->space, 0) ==
			     place);
			EXPECT_EQ(0, avm_trap(log->space, place, PAGE, record, log, 0));
			EXPECT_TRUE(by_upcall(log, place + 9));
			change_number(log->space, number);
		}
		EXPECT_EQ(0, avm_untrap(place));
	}
}

/* Another descriptor of the space is as good as the one that was closed. */
TEST_F(untrap, view_of_a_closed_space_can_be_registered_again_by_another_descriptor)
{
	char *view = view_new(self->space, 0, PAGES, RW);
	int other = dup(self->space);

	ASSERT_EQ(0, avm_trap(other, view, PAGES * PAGE, record, &self->log, 0));
	close(other);
	EXPECT_EQ(0, avm_untrap(view));
	EXPECT_EQ(0, avm_trap(self->space, view, PAGE, record, &self->log, 0));
	EXPECT_TRUE(by_upcall(&self->log, view));
	EXPECT_EQ(0, avm_trap(self->space, view + PAGE, 7 * PAGE, record, &self->log, 0));
	EXPECT_TRUE(by_upcall(&self->log, view + 7 * PAGE));
	EXPECT_EQ(0, avm_untrap(view));
	EXPECT_EQ(0, avm_untrap(view + PAGE));
	EXPECT_TRUE(plain(&self->log, view));
	EXPECT_TRUE(plain(&self->log, view + 7 * PAGE));
	munmap(view, PAGES * PAGE);
}

/* The kernel still makes upcalls, and nobody can be told not to want them. */
static void access_orphan(enum number number, unsigned int flags)
{
	int space = space_new(1);
	char *view = view_new(space, 0, 1, RW);
	struct log log = { .space = space, .open_to = RW };

	must(!avm_trap(space, view, PAGE, record, &log, flags));
	must(!protect(space, view, 1, NONE));
	change_number(space, number);
	must(!avm_untrap(view));
	*(volatile char *)view = 1;
}

static void (*const segvs[])(void) = { default_segv, denied_setup, ignore_segv, block_segv };

TEST(access_of_a_view_without_space_and_handler_kills)
{
	static const unsigned int flags[] = { 0, AVM_TRAP_ONSTACK };
	static const enum number numbers[] = { CLOSED, NULL_DEVICE };
	unsigned int i, j, k;

	for (i = 0; i < COUNT(flags); i++) {
		for (j = 0; j < COUNT(numbers); j++) {
			for (k = 0; k < COUNT(segvs); k++) {
				pid_t pid = fork();

				if (!pid) {
					child_begins();
					segvs[k]();
					access_orphan(numbers[j], flags[i]);
					_exit(0);
				}
				EXPECT_EQ(SIGSEGV, died_by(status_of(pid)))
					TH_LOG("case %u, %u, %u", i, j, k);
			}
		}
	}
}

/*
 * The first process of a PID namespace, which no signal kills by default that is
 * sent: what is meant to end it has to do so all the same.
 */
static unsigned int *asked;	/* shared with children */

static int counts_and_passes(const struct avm_trap_info *info, void *arg)
{
	(void)info;
	__atomic_add_fetch(asked, 1, __ATOMIC_SEQ_CST);
	change_number(*(int *)arg, late.number);
	return AVM_TRAP_PASS;
}

static void passes_in_first(void)
{
	int space = space_new(1);
	char *view = view_new(space, 0, 1, RW);

	must(!avm_trap(space, view, PAGE, counts_and_passes, &space, 0));
	must(!protect(space, view, 1, NONE));
	*(volatile char *)view = 1;
}

static void accesses_orphan_in_first(void)
{
	access_orphan(CLOSED, 0);
}

/* It is killed if it is asked again and again, or if nothing happens at all. */
static int status_of_first(pid_t pid)
{
	time_t begun = time(NULL);
	int status;

	must(pid > 0);
	while (!waitpid(pid, &status, WNOHANG)) {
		if (__atomic_load_n(asked, __ATOMIC_SEQ_CST) > 1000 || time(NULL) - begun > 60)
			kill(pid, SIGKILL);
		usleep(1000);
	}
	return status;
}

/* What the first process of a namespace dies by that does this. */
static int first_dies_by(void (*does)(void))
{
	pid_t pid, first;
	int status;

	pid = fork();
	if (!pid) {
		must(!unshare(CLONE_NEWPID));
		first = fork();
		if (!first) {
			must(getpid() == 1);
			signal(SIGSEGV, SIG_DFL);
			does();
			_exit(0);
		}
		_exit(died_by(status_of_first(first)));
	}
	status = status_of(pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int first_dies_passing(enum number number)
{
	asked = (unsigned int *)memory(1, RW, MAP_SHARED);
	late.number = number;
	return first_dies_by(passes_in_first);
}

TEST(first_process_of_a_namespace_dies_of_what_it_passes)
{
	EXPECT_EQ(SIGSEGV, first_dies_passing(OPEN));
	EXPECT_LT(0, *asked);
	EXPECT_EQ(SIGSEGV, first_dies_passing(OTHER_SPACE));
	EXPECT_LT(0, *asked);
}

TEST(first_process_of_a_namespace_dies_of_what_it_passes_on_a_closed_descriptor)
{
	EXPECT_EQ(SIGSEGV, first_dies_passing(CLOSED));
	EXPECT_EQ(1, *asked);
	EXPECT_EQ(SIGSEGV, first_dies_passing(NULL_DEVICE));
	EXPECT_EQ(1, *asked);
}

TEST(first_process_of_a_namespace_dies_of_a_view_without_space_and_handler)
{
	asked = (unsigned int *)memory(1, RW, MAP_SHARED);
	EXPECT_EQ(SIGSEGV, first_dies_by(accesses_orphan_in_first));
}

/*
 * Nested upcalls that fill the alternate stack. The code needs no stack of its
 * own beside the frames: it makes an access of the next page, and so on.
 */
#define NEST_PAGES	128ul

extern const char nest[];

asm("	.pushsection .text\n"
	"	.globl nest\n"
	"nest:\n"
	"	mov 8(%rdi), %rax\n"
	"	add $4096, %rax\n"
	"	movb $1, (%rax)\n"
	"	ud2\n"
	"	.popsection\n");

static void never_runs(int sig)
{
	(void)sig;
	_exit(77);
}

/* In a child: returns only if it has survived. */
static void fill_stack(int space, char *stack, size_t size, bool handled)
{
	struct sigaction sa = { .sa_handler = handled ? never_runs : SIG_DFL,
				.sa_flags = SA_ONSTACK };
	char *view = view_new(space, 0, NEST_PAGES, RW);
	struct avm_trap trap = {
		.size = sizeof(trap), .flags = AVM_TRAP_ONSTACK, .addr = (uintptr_t)view,
		.length = NEST_PAGES * PAGE, .entry = (uintptr_t)nest,
	};

	must(!sigaction(SIGSEGV, &sa, NULL));
	must(!protect(space, view, NEST_PAGES, NONE));
	must(!call(space, AVM_IOC_TRAP, &trap));
	altstack(stack, size, 0);
	*(volatile char *)view = 1;
}

static unsigned long changed(const char *from, const char *to)
{
	unsigned long n = 0;

	while (from < to)
		n += *from++ != PATTERN;
	return n;
}

/*
 * Of every size; in some the last frame would just fit. It is refused: who is at
 * the very bottom is not on the stack any more, as the kernel sees it.
 */
TEST(nested_upcalls_end_in_death_before_a_frame_leaves_the_alternate_stack)
{
	const size_t smallest = 2048, step = RED_ZONE + FRAME;
	char *room = memory(4, RW, MAP_SHARED), *stack = room + PAGE;
	int space = space_new(NEST_PAGES);
	size_t size;

	for (size = smallest; size <= smallest + 2 * step; size += 8) {
		uint64_t before = upcalls(space);
		pid_t pid;

		memset(room, PATTERN, 4 * PAGE);
		pid = fork();
		if (!pid) {
			child_begins();
			fill_stack(space, stack, size, size % 16);
			_exit(0);
		}
		EXPECT_EQ(SIGSEGV, died_by(status_of(pid))) TH_LOG("size %zu", size);
		/* The first ends at the top, and each of the others where it can. */
		EXPECT_EQ(1 + ((size & ~15ul) - FRAME - 1) / step, upcalls(space) - before)
			TH_LOG("size %zu", size);
		EXPECT_EQ(0, changed(room, stack)) TH_LOG("size %zu", size);
		EXPECT_EQ(0, changed(stack + size, room + 4 * PAGE)) TH_LOG("size %zu", size);
	}
	close(space);
}

static int nests(const struct avm_trap_info *info, void *arg)
{
	char *next = page_of(info->addr) + PAGE;

	__atomic_add_fetch(asked, 1, __ATOMIC_SEQ_CST);
	if (next < (char *)info->view + info->length)
		*(volatile char *)next = 1;
	return avm_unprot(*(int *)arg, page_of(info->addr), RW);
}

/* Where its lowest page is followed by one that is closed, as it should be. */
TEST(handlers_nested_too_deep_for_the_alternate_stack_end_in_death)
{
	int space = space_new(NEST_PAGES);
	pid_t pid;

	asked = (unsigned int *)memory(1, RW, MAP_SHARED);
	pid = fork();
	if (!pid) {
		char *view = view_new(space, 0, NEST_PAGES, RW);
		char *stack = memory(5, RW, MAP_PRIVATE) + PAGE;

		child_begins();
		must(!mprotect(stack - PAGE, PAGE, NONE));
		must(!avm_trap(space, view, NEST_PAGES * PAGE, nests, &space, AVM_TRAP_ONSTACK));
		must(!protect(space, view, NEST_PAGES, NONE));
		altstack(stack, 4 * PAGE, 0);
		*(volatile char *)view = 1;
		_exit(0);
	}
	EXPECT_EQ(SIGSEGV, died_by(status_of(pid)));
	EXPECT_LT(1, *asked);
	EXPECT_GT(NEST_PAGES, *asked);
	close(space);
}

TEST_HARNESS_MAIN
