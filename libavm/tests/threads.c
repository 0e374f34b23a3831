// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The dispatcher under threads: traps while the table changes, and fork().
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/time.h>

#include "tap.h"

#define THREADS		4
#define ROUNDS		20000
#define READ_WRITE	(PROT_READ | PROT_WRITE)

/* Every thread has a page, and a word that says whether its traps are right. */
struct trapper {
	pthread_t thread;
	unsigned char *page;
	bool jumps;
	sigjmp_buf out;
	long traps;
	long wrong;
};

/* The compiler has to know that anything may happen at it. */
static void store(unsigned char *p)
{
	__asm__ volatile("" : : : "memory");
	*(volatile unsigned char *)p = 1;
	__asm__ volatile("" : : : "memory");
}

static __thread struct trapper *self;
static atomic_bool stop;
static long changes_made, changes_failed;

static int on_trap(const struct avm_trap_info *info, void *arg)
{
	struct trapper *t = arg;

	t->traps++;
	if (info->view != t->page || info->length != AVM_PAGE_SIZE ||
	    info->addr != t->page + t->traps % 4096 ||
	    t != self)
		t->wrong++;
	if (t->jumps)
		siglongjmp(t->out, 1);
	mprotect(t->page, AVM_PAGE_SIZE, READ_WRITE);
	return AVM_TRAP_RETRY;
}

static void *trapping(void *arg)
{
	struct trapper *t = arg;

	self = t;
	for (volatile long i = 1; i <= ROUNDS; i++) {
		if (sigsetjmp(t->out, 0) == 0) {
			store(t->page + i % 4096);
			mprotect(t->page, AVM_PAGE_SIZE, PROT_NONE);
		}
	}
	return NULL;
}

/* Must never be called: nobody touches what it is registered for. */
static int stranger(const struct avm_trap_info *info, void *arg)
{
	(void)info;
	(void)arg;
	abort();
}

/*
 * Register and unregister pages between and around the trapped ones, past the
 * size of the static tables and back, so that their entries move all the time.
 */
static void *changing(void *arg)
{
	unsigned char *base = arg;
	const int count = 200;

	while (!atomic_load(&stop)) {
		for (int i = 0; i < count; i++)
			changes_failed += avm_trap(AVM_NO_SPACE, base + 2 * i * AVM_PAGE_SIZE,
						   AVM_PAGE_SIZE, stranger,
						   NULL, 0) != 0;
		for (int i = 0; i < count; i++)
			changes_failed += avm_untrap(base + 2 * i *
						     AVM_PAGE_SIZE) != 0;
		changes_made += 2 * count;
	}
	return NULL;
}

static void check_traps(bool jumps)
{
	static struct trapper trappers[THREADS];
	unsigned char *base = pages(400, PROT_NONE);
	pthread_t changer;

	memset(trappers, 0, sizeof(trappers));
	changes_made = 0;
	changes_failed = 0;
	atomic_store(&stop, false);
	/* Odd pages: strangers are left and right of each of them. */
	for (int i = 0; i < THREADS; i++) {
		trappers[i].page = base + (100 * i + 31) * AVM_PAGE_SIZE;
		trappers[i].jumps = jumps && i % 2;
		REQUIRE(avm_trap(AVM_NO_SPACE, trappers[i].page, AVM_PAGE_SIZE, on_trap,
				 &trappers[i], 0) == 0);
	}
	REQUIRE(!pthread_create(&changer, NULL, changing, base));
	for (int i = 0; i < THREADS; i++)
		REQUIRE(!pthread_create(&trappers[i].thread, NULL, trapping,
					&trappers[i]));
	for (int i = 0; i < THREADS; i++)
		pthread_join(trappers[i].thread, NULL);
	atomic_store(&stop, true);
	pthread_join(changer, NULL);

	for (int i = 0; i < THREADS; i++) {
		CHECK_EQ(trappers[i].traps, ROUNDS);
		CHECK_EQ(trappers[i].wrong, 0);
		CHECK_EQ(avm_untrap(trappers[i].page), 0);
	}
	printf("# %ld changes meanwhile\n", changes_made);
	CHECK(changes_made > 1000);
	CHECK_EQ(changes_failed, 0);
	free_pages(base, 400);
}

static void test_traps(void)
{
	check_traps(false);
}

static void test_jumps(void)
{
	check_traps(true);
}

/* Two threads that change the table: none of the changes is lost. */
static void test_two_changers(void)
{
	unsigned char *base = pages(800, PROT_NONE);
	pthread_t a, b;

	changes_failed = 0;
	atomic_store(&stop, false);
	REQUIRE(!pthread_create(&a, NULL, changing, base));
	REQUIRE(!pthread_create(&b, NULL, changing, base + AVM_PAGE_SIZE));
	usleep(200000);
	atomic_store(&stop, true);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	CHECK_EQ(changes_failed, 0);
	for (int i = 0; i < 400; i++)
		CHECK_EQ(avm_untrap(base + i * AVM_PAGE_SIZE), -ENOENT);
	free_pages(base, 800);
}

static int opens(const struct avm_trap_info *info, void *arg)
{
	*(int *)arg += 1;
	mprotect(info->view, info->length, READ_WRITE);
	return AVM_TRAP_RETRY;
}

static unsigned char *forked_page, *forked_other;
static int forked_calls;

/* In the child: the table is whole, and can be changed. */
static void child(void)
{
	mprotect(forked_page, AVM_PAGE_SIZE, PROT_NONE);
	store(forked_page);
	CHECK_EQ(forked_calls, 1);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, forked_other, AVM_PAGE_SIZE, opens, &forked_calls, 0),
		 0);
	store(forked_other);
	CHECK_EQ(forked_calls, 2);
	CHECK_EQ(avm_untrap(forked_other), 0);
	CHECK_EQ(avm_untrap(forked_page), 0);
}

static void test_fork(void)
{
	unsigned char *base = pages(400, PROT_NONE);
	pthread_t changer;

	forked_page = pages(1, PROT_NONE);
	forked_other = pages(1, PROT_NONE);
	changes_failed = 0;
	atomic_store(&stop, false);
	REQUIRE(avm_trap(AVM_NO_SPACE, forked_page, AVM_PAGE_SIZE, opens,
			 &forked_calls, 0) == 0);
	REQUIRE(!pthread_create(&changer, NULL, changing, base));
	for (int i = 0; i < 200 && !tap_bad; i++)
		CHECK_CHILD_PASSES(child);
	atomic_store(&stop, true);
	pthread_join(changer, NULL);
	CHECK_EQ(changes_failed, 0);
	CHECK_EQ(avm_untrap(forked_page), 0);
	free_pages(base, 400);
}

#define FORKS	50

/* What the handler of the timer has done; in a child, that it is one. */
static volatile sig_atomic_t forks_made, forks_failed, is_child;

static void forks(int sig)
{
	int saved = errno, status = -1;
	pid_t pid = fork();

	(void)sig;
	if (pid == 0) {
		is_child = true;
		alarm(20);
	} else {
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		forks_failed += status != 0;
		forks_made++;
	}
	errno = saved;
}

/* By the time that this thread runs, so that it is in the midst of something. */
static void set_timer(long microseconds)
{
	struct itimerval timer = {
		.it_value.tv_usec = microseconds,
		.it_interval.tv_usec = microseconds,
	};

	setitimer(ITIMER_VIRTUAL, &timer, NULL);
}

/*
 * A signal handler that forks, wherever avm_trap() and avm_untrap() are just
 * then. The child goes on with that call, and finds all as it should be.
 */
static void test_fork_in_signal(void)
{
	struct sigaction action = { .sa_handler = forks };
	unsigned char *base = pages(400, PROT_NONE), *p = base + AVM_PAGE_SIZE;

	forked_calls = 0;
	forked_page = pages(1, PROT_NONE);
	forked_other = pages(1, PROT_NONE);
	changes_failed = 0;
	for (int i = 0; i < 200; i++)
		REQUIRE(avm_trap(AVM_NO_SPACE, base + 2 * i * AVM_PAGE_SIZE, AVM_PAGE_SIZE,
				 stranger, NULL, 0) == 0);
	REQUIRE(avm_trap(AVM_NO_SPACE, forked_page, AVM_PAGE_SIZE, opens,
			 &forked_calls, 0) == 0);
	REQUIRE(sigaction(SIGVTALRM, &action, NULL) == 0);
	set_timer(1000);
	while (forks_made < FORKS && !is_child) {
		changes_failed += avm_trap(AVM_NO_SPACE, p, AVM_PAGE_SIZE, stranger, NULL, 0) != 0;
		changes_failed += avm_untrap(p) != 0;
	}
	set_timer(0);
	CHECK_EQ(changes_failed, 0);
	child();
	if (is_child) {
		fflush(stdout);
		_exit(tap_bad);
	}
	CHECK_EQ(forks_failed, 0);
	for (int i = 0; i < 200; i++)
		CHECK_EQ(avm_untrap(base + 2 * i * AVM_PAGE_SIZE), 0);
	free_pages(base, 400);
}

static const struct tap_test tests[] = {
	TEST(test_traps, "4 threads trap while another changes the table"),
	TEST(test_jumps, "the same, half of them leave by siglongjmp"),
	TEST(test_two_changers, "two threads change the table"),
	TEST(test_fork, "fork while the table changes: the child's is whole"),
	TEST(test_fork_in_signal, "fork in a signal handler while the same thread changes it"),
};

int main(void)
{
	return tap_run(tests, ARRAY_SIZE(tests));
}
