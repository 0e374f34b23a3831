// SPDX-License-Identifier: GPL-2.0
/*
 * world.c - set up before each program, in a process of its own; signals and
 * upcalls that it may get
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <linux/avm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "world.h"

#define NOBODY		65534
#define LOCKED_BYTES	(32ul << 20)
#define MOST_UPCALLS	64
#define AUTODISARM	(1u << 31)	/* SS_AUTODISARM, which glibc does not declare */

struct world world;
__thread sigjmp_buf way_out;
__thread volatile sig_atomic_t armed;
static __thread unsigned int upcalls;

static void leave(void)
{
	if (!armed)
		_exit(3);
	armed = 0;
	siglongjmp(way_out, 1);
}

static void denied(int sig)
{
	(void)sig;
	leave();
}

/* SIGSEGV and SIGBUS: caught, default, ignored, blocked, on another stack. */
void world_signal(unsigned int how)
{
	static char stack[65536];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction sa = { .sa_handler = denied, .sa_flags = SA_NODEFER };
	sigset_t set;

	if (how & 4) {
		alternate.ss_flags = how & 8 ? (int)AUTODISARM : 0;
		sigaltstack(&alternate, NULL);
		sa.sa_flags |= SA_ONSTACK;
	}
	if ((how & 3) == 1)
		sa.sa_handler = SIG_DFL;
	if ((how & 3) == 2)
		sa.sa_handler = SIG_IGN;
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	sigaction(SIGTRAP, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigprocmask((how & 3) == 3 ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void open_page(const struct avm_upcall *upcall)
{
	uint64_t page = upcall->addr & ~(PAGE - 1);
	unsigned int i;

	for (i = 0; i < N_SPACES; i++)
		ioctl(world.spaces[i], AVM_IOC_PROTECT_PAGE, page | AVM_PROT_READ |
		      AVM_PROT_WRITE | (upcall->access & AVM_PROT_EXEC));
}

static void take_away(const struct avm_upcall *upcall)
{
	struct avm_trap arg = {
		.size = sizeof(arg),
		.addr = upcall->addr & ~(PAGE - 1),
		.length = PAGE,
	};
	unsigned int i;

	for (i = 0; i < N_SPACES; i++)
		ioctl(world.spaces[i], AVM_IOC_TRAP, &arg);
}

static void pass(struct avm_trap_pass *frame)
{
	unsigned int i;

	for (i = 0; i < N_SPACES; i++)
		ioctl(world.spaces[i], AVM_IOC_TRAP_PASS, frame);
}

/*
 * The code that AVM_IOC_TRAP registers does what its argument says, and then
 * resumes. Where the frame is not below the red zone, that would take an IRETQ,
 * which QEMU 7.2 gets wrong: then it leaves instead, as it does in time.
 * Vector registers are not saved: accesses that get here use none.
 */
void upcall(struct avm_trap_pass *frame);
void upcall(struct avm_trap_pass *frame)
{
	const struct avm_upcall *what = &frame->upcall;

	if (upcalls++ > MOST_UPCALLS)
		leave();
	switch (what->arg & 7) {
	case 0:
		leave();
		break;
	case 1:
		open_page(what);
		break;
	case 2:
		pass(frame);
		break;
	case 3: /* what registered has raised the page, or comes again */
		break;
	case 4:
		take_away(what);
		break;
	case 5: /* another upcall in this one */
		*(volatile char *)((what->addr ^ PAGE) & ~1ul);
		open_page(what);
		break;
	case 6:
		munmap((void *)(what->addr & ~(PAGE - 1)), PAGE);
		break;
	default:
		open_page(what);
		leave();
	}
	if ((uint64_t)(what + 1) + 128 != what->sp)
		leave();
}

static void give_up_privileges(void)
{
	struct rlimit limit = { LOCKED_BYTES, LOCKED_BYTES };

	/* Without them, locked memory is limited, and no program eats it all. */
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		abort();
	prctl(PR_SET_DUMPABLE, 1); /* or /proc/thread-self is not ours */
	limit.rlim_cur = 0;
	limit.rlim_max = 0;
	setrlimit(RLIMIT_CORE, &limit);
}

void world_make(void)
{
	unsigned int i;

	world.device = open(AVM_DEVICE, O_RDWR);
	world.other = open("/dev/null", O_RDWR);
	if (world.device < 0 || world.other < 0)
		abort();
	for (i = 0; i < N_SPACES; i++)
		world.spaces[i] = -1;
	world.memory = mmap(NULL, (MEMORY_PAGES + 1) * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	world.readonly = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (world.memory == MAP_FAILED || world.readonly == MAP_FAILED)
		abort();
	munmap(world.memory + MEMORY_PAGES * PAGE, PAGE);
	give_up_privileges();
	world_signal(0);
}

uint64_t world_value(const struct value *value)
{
	unsigned int symbol = value->symbol;

	switch (symbol) {
	case SYM_NONE:
		return value->number;
	case SYM_DEVICE:
		return world.device + value->number;
	case SYM_OTHER:
		return world.other + value->number;
	case SYM_MEMORY:
		return (uintptr_t)world.memory + value->number;
	case SYM_READONLY:
		return (uintptr_t)world.readonly + value->number;
	case SYM_CODE:
		return (uintptr_t)upcall_entry + value->number;
	}
	if (symbol < SYM_VIEW)
		return world.spaces[symbol - SYM_SPACE] + value->number;
	return world.views[symbol - SYM_VIEW] + value->number;
}
