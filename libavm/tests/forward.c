// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is no trap ends as if the library were not there. Each case is a child
 * of its own, because the first avm_trap() of a process decides what "there
 * before" means.
 */
#include <errno.h>
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "tap.h"

#define READ_WRITE	(PROT_READ | PROT_WRITE)

static unsigned char *trapped, *other;

static int pass(const struct avm_trap_info *info, void *arg)
{
	(void)info;
	(void)arg;
	return AVM_TRAP_PASS;
}

static int retry_open(const struct avm_trap_info *info, void *arg)
{
	(void)arg;
	mprotect(info->view, info->length, READ_WRITE);
	return AVM_TRAP_RETRY;
}

static void start(avm_trap_fn *fn)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	trapped = pages(1, PROT_NONE);
	other = pages(1, PROT_NONE);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, trapped, AVM_PAGE_SIZE, fn, NULL, 0), 0);
}

static void store(unsigned char *p)
{
	__asm__ volatile("" : : : "memory");
	*(volatile unsigned char *)p = 1;
	__asm__ volatile("" : : : "memory");
}

/* The handler that was there before. */
static volatile int calls;
static siginfo_t seen;
static sigset_t seen_mask;
static bool seen_context;

static void old_siginfo(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	calls++;
	seen = *info;
	seen_context = uc->uc_mcontext.gregs[REG_TRAPNO] == 14;
	pthread_sigmask(SIG_SETMASK, NULL, &seen_mask);
	CHECK_EQ(sig, SIGSEGV);
	errno = ENOTRECOVERABLE;
	if (info->si_code > 0)
		mprotect((void *)((uintptr_t)info->si_addr & -AVM_PAGE_SIZE),
			 AVM_PAGE_SIZE, READ_WRITE);
}

static void old_plain(int sig)
{
	calls++;
	CHECK_EQ(sig, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, NULL, &seen_mask);
	mprotect(other, AVM_PAGE_SIZE, READ_WRITE);
}

static void install(void (*siginfo)(int, siginfo_t *, void *),
		    void (*plain)(int), int flags)
{
	struct sigaction action = { .sa_flags = flags };

	if (siginfo) {
		action.sa_sigaction = siginfo;
		action.sa_flags |= SA_SIGINFO;
	} else {
		action.sa_handler = plain;
	}
	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, SIGUSR2);
	CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
}

static bool blocked(int sig)
{
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	return sigismember(&mask, sig);
}

static void outside_to_siginfo(void)
{
	install(old_siginfo, NULL, 0);
	start(retry_open);
	store(other + 5);
	CHECK_EQ(calls, 1);
	CHECK(seen.si_addr == other + 5);
	CHECK_EQ(seen.si_code, SEGV_ACCERR);
	CHECK(seen_context);
	CHECK_EQ(sigismember(&seen_mask, SIGSEGV), 1);
	CHECK_EQ(sigismember(&seen_mask, SIGUSR2), 1);
	CHECK_EQ(sigismember(&seen_mask, SIGUSR1), 0);
	CHECK(!blocked(SIGSEGV));
	CHECK(!blocked(SIGUSR2));
	/* Both go on working. */
	store(trapped);
	CHECK_EQ(calls, 1);
	mprotect(other, AVM_PAGE_SIZE, PROT_NONE);
	store(other);
	CHECK_EQ(calls, 2);
}

static void pass_to_siginfo(void)
{
	install(old_siginfo, NULL, SA_NODEFER);
	start(pass);
	store(trapped + 7);
	CHECK_EQ(calls, 1);
	CHECK(seen.si_addr == trapped + 7);
	CHECK_EQ(sigismember(&seen_mask, SIGSEGV), 0);
	CHECK_EQ(sigismember(&seen_mask, SIGUSR2), 1);
	CHECK(!blocked(SIGUSR2));
}

static void outside_to_plain(void)
{
	install(NULL, old_plain, 0);
	start(retry_open);
	store(other);
	CHECK_EQ(calls, 1);
	CHECK_EQ(sigismember(&seen_mask, SIGSEGV), 1);
	CHECK_EQ(sigismember(&seen_mask, SIGUSR2), 1);
}

/* Sent ones are never traps, whatever stands in the context from before. */
static void sent_to_siginfo(void)
{
	install(old_siginfo, NULL, 0);
	start(retry_open);
	store(trapped);
	CHECK_EQ(calls, 0);
	sigqueue(getpid(), SIGSEGV, (union sigval){ .sival_int = 33 });
	CHECK_EQ(calls, 1);
	CHECK_EQ(seen.si_code, SI_QUEUE);
	CHECK_EQ(seen.si_pid, getpid());
	CHECK_EQ(seen.si_value.sival_int, 33);
}

/* Queue a signal to this thread that says what a real fault would. */
static void forge(int code)
{
	siginfo_t info = { .si_signo = SIGSEGV, .si_code = code };

	info.si_addr = trapped;
	CHECK_EQ(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGSEGV,
			 &info), 0);
}

/* The address is in the range, and the registers are those of a page fault. */
static void forged_sent(void)
{
	install(old_siginfo, NULL, 0);
	start(retry_open);
	store(trapped);
	forge(SI_QUEUE);
	CHECK_EQ(calls, 1);
}

/* The code is that of a denied access, but no page fault ever was. */
static void forged_fault(void)
{
	install(old_siginfo, NULL, 0);
	start(retry_open);
	forge(SEGV_ACCERR);
	CHECK_EQ(calls, 1);
	CHECK(seen.si_addr == trapped);
}

static void sent_default(void)
{
	start(retry_open);
	kill(getpid(), SIGSEGV);
}

static void outside_default(void)
{
	start(retry_open);
	store(trapped);
	store(other);
}

static void pass_default(void)
{
	start(pass);
	store(trapped);
}

/* Not a page fault: no address, and the error code means something else. */
static void non_canonical_default(void)
{
	start(retry_open);
	store((unsigned char *)0x8000000000000000);
}

static void ignored_fault(void)
{
	signal(SIGSEGV, SIG_IGN);
	start(retry_open);
	store(other);
}

static void ignored_sent(void)
{
	signal(SIGSEGV, SIG_IGN);
	start(retry_open);
	kill(getpid(), SIGSEGV);
	kill(getpid(), SIGSEGV);
	store(trapped);
}

/* As if it had never come: no system call ends early. */
static void ignored_interrupts_nothing(void)
{
	int fds[2], status;
	pid_t parent = getpid(), pid;
	char byte;

	signal(SIGSEGV, SIG_IGN);
	start(retry_open);
	CHECK_EQ(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 10; i++) {
			usleep(20000);
			kill(parent, SIGSEGV);
		}
		_exit(write(fds[1], "x", 1) != 1);
	}
	CHECK_EQ(read(fds[0], &byte, 1), 1);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
}

/* Once to the handler, then the default; traps go on in between. */
static void reset_handler(void)
{
	install(old_siginfo, NULL, SA_RESETHAND);
	start(retry_open);
	store(other);
	CHECK_EQ(calls, 1);
	store(trapped);
	if (tap_bad || calls != 1)
		_exit(1);
	mprotect(other, AVM_PAGE_SIZE, PROT_NONE);
	store(other);
}

static sigjmp_buf way_out;

static void old_leaves(int sig)
{
	(void)sig;
	siglongjmp(way_out, 1);
}

static void leave_previous(void)
{
	volatile int jumps = 0;

	install(NULL, old_leaves, 0);
	start(pass);
	for (int i = 0; i < 100; i++) {
		if (sigsetjmp(way_out, 1) == 0)
			store(trapped);
		else
			jumps++;
	}
	CHECK_EQ(jumps, 100);
	CHECK(!blocked(SIGSEGV));
	CHECK(!blocked(SIGUSR2));
}

/* A call through NULL that the handler of page 0 does not want. */
static volatile int passes;

static int count_pass(const struct avm_trap_info *info, void *arg)
{
	(void)info;
	(void)arg;
	passes++;
	return AVM_TRAP_PASS;
}

static void null_to_previous(void)
{
	void (*volatile none)(void) = NULL;
	volatile int jumps = 0;

	install(NULL, old_leaves, 0);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, NULL, AVM_PAGE_SIZE, count_pass, NULL, 0), 0);
	for (volatile int i = 0; i < 3; i++) {
		if (sigsetjmp(way_out, 1) == 0)
			none();
		else
			jumps++;
	}
	CHECK_EQ(jumps, 3);
	CHECK_EQ(passes, 3);
}

/* Unregistered: what was a trap is a fault like any other. */
static void untrapped_default(void)
{
	start(retry_open);
	store(trapped);
	mprotect(trapped, AVM_PAGE_SIZE, PROT_NONE);
	CHECK_EQ(avm_untrap(trapped), 0);
	store(trapped);
}

/* No handler is installed for a registration that is refused. */
static void refused_installs_nothing(void)
{
	struct sigaction now;

	CHECK_EQ(avm_trap(AVM_NO_SPACE, (void *)1, AVM_PAGE_SIZE, pass, NULL, 0), -EINVAL);
	CHECK_EQ(avm_trap(-1, (void *)4096, AVM_PAGE_SIZE, pass, NULL, 0), -EINVAL);
	CHECK_EQ(avm_trap(-ENODEV, (void *)4096, AVM_PAGE_SIZE, pass, NULL, 0), -EINVAL);
	CHECK_EQ(avm_untrap((void *)4096), -ENOENT);
	CHECK_EQ(sigaction(SIGSEGV, NULL, &now), 0);
	CHECK(now.sa_handler == SIG_DFL);
}

static void test_outside(void)
{
	CHECK_CHILD_PASSES(outside_to_siginfo);
	CHECK_CHILD_PASSES(outside_to_plain);
}

static void test_pass(void)
{
	CHECK_CHILD_PASSES(pass_to_siginfo);
}

static void test_sent(void)
{
	CHECK_CHILD_PASSES(sent_to_siginfo);
}

static void test_forged(void)
{
	CHECK_CHILD_PASSES(forged_sent);
	CHECK_CHILD_PASSES(forged_fault);
}

static void test_default(void)
{
	CHECK_CHILD_DIES(outside_default, SIGSEGV);
	CHECK_CHILD_DIES(pass_default, SIGSEGV);
	CHECK_CHILD_DIES(untrapped_default, SIGSEGV);
}

static void test_default_sent(void)
{
	CHECK_CHILD_DIES(sent_default, SIGSEGV);
}

static void test_non_canonical(void)
{
	CHECK_CHILD_DIES(non_canonical_default, SIGSEGV);
}

static void old_says_kernel(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	_exit(info->si_code == SI_KERNEL && !info->si_addr ? 0 : 1);
}

static void non_canonical_previous(void)
{
	install(old_says_kernel, NULL, 0);
	start(retry_open);
	CHECK_EQ(avm_trap(AVM_NO_SPACE, NULL, AVM_PAGE_SIZE, retry_open, NULL, 0), 0);
	store((unsigned char *)0x8000000000000000);
	_exit(1);
}

static void test_non_canonical_previous(void)
{
	CHECK_CHILD_PASSES(non_canonical_previous);
}

static void test_ignored(void)
{
	CHECK_CHILD_DIES(ignored_fault, SIGSEGV);
	CHECK_CHILD_PASSES(ignored_sent);
	CHECK_CHILD_PASSES(ignored_interrupts_nothing);
}

static void test_reset_handler(void)
{
	CHECK_CHILD_DIES(reset_handler, SIGSEGV);
}

static void test_leave_previous(void)
{
	CHECK_CHILD_PASSES(leave_previous);
}

static void test_null(void)
{
	CHECK_CHILD_PASSES(null_to_previous);
}

static void test_refused(void)
{
	CHECK_CHILD_PASSES(refused_installs_nothing);
}

static const struct tap_test tests[] = {
	TEST(test_refused, "a refused registration installs nothing"),
	TEST(test_outside, "outside of ranges: to the previous handler, with its mask"),
	TEST(test_pass, "AVM_TRAP_PASS: to the previous handler, SA_NODEFER honoured"),
	TEST(test_sent, "a signal that was sent: to the previous handler, whole"),
	TEST(test_forged, "a signal that looks like a trap and is none"),
	TEST(test_default, "default action: dies of SIGSEGV"),
	TEST(test_default_sent, "default action of a signal that was sent"),
	TEST(test_non_canonical, "a non-canonical address is no trap: dies"),
	TEST(test_non_canonical_previous, "a non-canonical address: to the previous handler"),
	TEST(test_ignored, "SIG_IGN: a fault dies, a signal that was sent is ignored"),
	TEST(test_reset_handler, "SA_RESETHAND: the previous handler once, then death"),
	TEST(test_leave_previous, "siglongjmp out of the previous handler"),
	TEST(test_null, "a call through NULL: asked, and to the previous handler"),
};

int main(void)
{
	return tap_run(tests, ARRAY_SIZE(tests));
}
