// SPDX-License-Identifier: GPL-2.0
/*
 * An upcall preserves everything: the code that it interrupts cannot tell that
 * it was there.
 *
 * Each access is a few instructions (a row of a table). They run twice from
 * the same registers and the same memory: first with all pages open, then with
 * some closed, so that upcalls come in between, whose handler puts other values
 * in all registers that it may change. Both runs must leave the same in all
 * registers and in memory; the handler must have been called for just the
 * addresses and accesses that the row names, and as the library promises.
 *
 * All of it for each way in which handlers are set up: the variants.
 */
#include "avmtest.h"

#include <asm/prctl.h>
#include <avm.h>
#include <stdbool.h>
#include <sys/syscall.h>

#include "harness.h"

#include "registers.h"


#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define GENERAL_REGS	__attribute__((target("general-regs-only")))

#define PAGES		5ul
#define D		(2 * PAGE + 256)	/* where most rows have their data */
#define STACK_SIZE	(16 * PAGE)

#define READS		AVM_PROT_READ
#define WRITES		AVM_PROT_WRITE
#define FETCHES		AVM_PROT_EXEC

#define MAX_TRAPS	8

struct trap {
	uint32_t at;		/* offset in the view */
	uint32_t access;
};

/*
 * An access. rdi is the address of view + di (D, if 0), rsi of view + si, rsp,
 * if sp is given, of view + sp. rax and rcx are as given; what is not given is
 * noise. @prepare may change registers and memory after that.
 */
struct row {
	const char *name;
	const char *stub;
	uint32_t di, si, sp;
	uint64_t ax, cx;
	bool df;
	bool changes;		/* reads and writes: the order is the CPU's */
	uint32_t window;	/* how much of it can be copied; 0: all */
	uint32_t closed;	/* pages, as bits */
	uint32_t size;		/* of what is accessed in the order of the CPU's choice */
	uint32_t pointers;	/* where x87's are stored: what they are is the CPU's secret */
	bool writes;		/* to all that is closed: is tried on read-only pages, too */
	void (*prepare)(void);
	struct trap traps[MAX_TRAPS];	/* up to the first without an access */
};

/* What a row begins with, besides. */
struct state {
	const char *name;
	uint64_t flags;
	int lower;		/* bytes that rsp is below where it would be */
	bool untouched_stack;	/* the frame goes to pages that are not there yet */
	bool untouched_pages;	/* the pages of the row are not there yet, either */
	bool nested;		/* the handler makes an access that is denied, too */
	void (*vec)(uint8_t *vec);
};

enum stack { NO_STACK, OTHER_STACK, SAME_STACK };

/* How the handler is set up. */
struct setup {
	unsigned int flags;
	enum stack stack;	/* whether the thread has an alternate stack, and is on it */
	bool signal;
};

/* Of this process: each test is one. */
static struct setup setup;
static int space;
static char *view;
static char *stack;		/* what rows run on */
static char *alternate;
static uint8_t pattern[PAGES * PAGE];
static uint8_t expected_memory[PAGES * PAGE];
static struct regs expected;

/* What handlers saw. */
struct seen {
	char *addr;
	unsigned int access;
	unsigned int reserved;
	char *view;
	size_t length;
	void *arg;
	uint64_t rsp;		/* at the first instruction */
	uint64_t flags;
	unsigned int fcw, fsw, ftw, mxcsr;
};

static struct seen seen[MAX_TRAPS];
static unsigned int seen_count;
static volatile char *nested_at;
static void (*hook)(const struct avm_trap_info *info);

/*
 * The handler: first and last in assembly, where every register is in reach.
 * It notes what it begins with, and ends with noise in all that a function may
 * change, and flags as unlike as can be. (The direction flag has to be clear.)
 */
uint64_t entry_rsp, entry_flags;
uint8_t entry_vec[512] __attribute__((aligned(64)));
uint8_t dirty_vec[VEC_SIZE] __attribute__((aligned(64)));
uint64_t dirty_flags;

int handler(const struct avm_trap_info *info, void *arg);

__asm__("	.text\n"
"handler:\n"
"	pushfq\n"
"	popq	entry_flags(%rip)\n"
"	movq	%rsp, entry_rsp(%rip)\n"
"	fxsave64 entry_vec(%rip)\n"
"	subq	$8, %rsp\n"
"	call	handle\n"
"	addq	$8, %rsp\n"
"	testl	%eax, %eax\n"
"	jz	1f\n"
"	movl	regs_mask(%rip), %eax\n"
"	xorl	%edx, %edx\n"
"	xrstor64 dirty_vec(%rip)\n"
"1:	movabsq	$0x1bad1bad1bad1bad, %rcx\n"
"	movabsq	$0x2bad2bad2bad2bad, %rdx\n"
"	movabsq	$0x3bad3bad3bad3bad, %rsi\n"
"	movabsq	$0x4bad4bad4bad4bad, %rdi\n"
"	movabsq	$0x5bad5bad5bad5bad, %r8\n"
"	movabsq	$0x6bad6bad6bad6bad, %r9\n"
"	movabsq	$0x7bad7bad7bad7bad, %r10\n"
"	movabsq	$0x0bad0bad0bad0bad, %r11\n"
"	pushq	dirty_flags(%rip)\n"
"	popfq\n"
"	cld\n"
/* An int: the upper half of the register means nothing. AVM_TRAP_RETRY. */
"	movabsq	$0x1bad1bad00000000, %rax\n"
"	ret\n"
);

static GENERAL_REGS void note(const struct avm_trap_info *info, void *arg)
{
	struct seen *s = &seen[seen_count++];

	/* A trap without end is the end of the test. */
	if (seen_count > MAX_TRAPS)
		_exit(1);
	s->addr = info->addr;
	s->access = info->access;
	s->reserved = info->reserved;
	s->view = info->view;
	s->length = info->length;
	s->arg = arg;
	s->rsp = entry_rsp;
	s->flags = entry_flags;
	s->fcw = *(uint16_t *)&entry_vec[VEC_FCW];
	s->fsw = *(uint16_t *)&entry_vec[VEC_FSW];
	s->ftw = entry_vec[VEC_FTW];
	s->mxcsr = *(uint32_t *)&entry_vec[VEC_MXCSR];
}

/* Where AVM_TRAP_RAISE has opened the page, nothing is left to do. */
static GENERAL_REGS void open_page(const struct avm_trap_info *info)
{
	char *page = (char *)((uintptr_t)info->addr & ~(PAGE - 1));
	int ret = 0;

	if (info->access == FETCHES)
		ret = avm_unprot(space, page, RX);
	else if (!(setup.flags & AVM_TRAP_RAISE))
		ret = avm_unprot(space, page, RW);
	if (ret)
		_exit(1);
}

/* Return: whether vector registers may be changed. */
GENERAL_REGS int handle(const struct avm_trap_info *info, void *arg);
GENERAL_REGS __attribute__((used)) int handle(const struct avm_trap_info *info, void *arg)
{
	note(info, arg);
	if (nested_at && seen_count == 1)
		(void)*nested_at;
	if (hook)
		hook(info);
	open_page(info);
	errno = ENOTBLK;
	return !(setup.flags & AVM_TRAP_NOVECTOR);
}

/*
 * The state that rows begin with: nothing as a program has it at first, and
 * some x87 registers empty. No exception is unmasked: rows compute with noise.
 */
static void usual_vec(uint8_t *vec)
{
	regs_vec_fill(vec, 1);
	regs_put(&vec[VEC_FCW], 0x0a7f, 2);	/* 53 bits, upwards */
	regs_put(&vec[VEC_FSW], 0x5d21, 2);	/* top is 3; conditions, IE, PE */
	vec[VEC_FTW] = 0xf8;
	regs_put(&vec[VEC_MXCSR], 0xffe1, 4);	/* towards 0, FTZ, DAZ; IE, PE */
}

static const struct state usual = {
	.name = "usual",
	.flags = FLAG_CF | FLAG_AF | FLAG_SF,
	.vec = usual_vec,
};

static char *rows_stack(void)
{
	return (setup.stack == SAME_STACK ? alternate : stack) + STACK_SIZE / 2;
}

static void begin_registers(const struct row *row, const struct state *state)
{
	uint64_t *gpr = regs_in.gpr;
	int i;

	for (i = 0; i < REGS; i++)
		gpr[i] = 0x0123456789abcdeful * (2 * i + 3) ^ 0xa5a5ul << i;
	gpr[RDI] = (uintptr_t)view + (row->di ?: D);
	gpr[RSI] = (uintptr_t)view + row->si;
	gpr[RAX] = row->ax ?: gpr[RAX];
	gpr[RCX] = row->cx ?: gpr[RCX];
	gpr[RSP] = (uintptr_t)(row->sp ? view + row->sp : rows_stack()) - state->lower;
	if (state->untouched_stack)
		gpr[RSP] += RED_ZONE;
	gpr[R15] = (uintptr_t)regs_store;
	regs_in.flags = state->flags | FLAGS_ALWAYS | (row->df ? FLAG_DF : 0);
	regs_in.window_size = row->window ?: row->sp ? row->window : WINDOW;
	for (i = 0; i < WINDOW; i++)
		regs_in.window[i] = regs_noise(3, i);
	state->vec(regs_in.vec);
}

static void begin(const struct row *row, const struct state *state)
{
	uint64_t changed;

	must(!protect(space, view, PAGES, RWX));
	if (state->untouched_pages)
		must(!discard(space, view, PAGES));
	else
		memcpy(view, pattern, sizeof(pattern));
	begin_registers(row, state);
	if (row->prepare)
		row->prepare();
	memset(&regs_out, 0, sizeof(regs_out));
	regs_stub = row->stub;
	seen_count = 0;
	/* The return from a signal handler leaves ID as that had it. */
	changed = FLAGS_ARITH | (setup.signal ? 0 : FLAG_ID);
	dirty_flags = (regs_in.flags ^ changed) | FLAG_DF;
	dirty_flags &= ~(FLAG_AC | FLAG_NT);
}

static void close_pages(const struct row *row, const struct state *state, int prot)
{
	unsigned long i;

	for (i = 0; i < PAGES; i++) {
		if (row->closed >> i & 1)
			must(!protect(space, view + i * PAGE, 1, prot));
	}
	nested_at = NULL;
	if (state->nested) {
		nested_at = view + 4 * PAGE + 77;
		must(!protect(space, view + 4 * PAGE, 1, NONE));
	}
	if (state->untouched_stack) {
		must(!madvise(stack, STACK_SIZE / 2, MADV_DONTNEED));
		must(!madvise(alternate, STACK_SIZE / (setup.stack == SAME_STACK ? 2 : 1),
			      MADV_DONTNEED));
	}
}

/* A name for messages: which row, from which state, and how it was closed. */
static char where[256];

static void set_where(const struct row *row, const struct state *state, int prot)
{
	snprintf(where, sizeof(where), "%s, %s, closed to %d, rsp - %d", row->name, state->name,
		 prot, state->lower);
}

/* The x87 control word that a row begins with. */
static unsigned int row_control_word(void)
{
	bool initial = !(regs_in.vec[VEC_HEADER] & 1);

	return initial ? 0x37f : regs_get(&regs_in.vec[VEC_FCW], 2);
}

/* Whether a handler that interrupts code with this rsp has another stack. */
static bool switches_stack(uint64_t rsp)
{
	if (!(setup.flags & AVM_TRAP_ONSTACK || setup.signal) || setup.stack == NO_STACK)
		return false;
	return rsp - (uintptr_t)alternate > STACK_SIZE;
}

/* What all handlers are promised; @saved: x87 and vector registers are theirs. */
static void check_entry(struct __test_metadata *_metadata, const struct seen *s, bool first)
{
	bool saved = !(setup.flags & AVM_TRAP_NOVECTOR) || setup.signal;
	bool away = switches_stack(regs_in.gpr[RSP]);
	uint64_t top = away ? (uintptr_t)alternate + STACK_SIZE : regs_in.gpr[RSP] - RED_ZONE;
	uint64_t clear = FLAG_DF | FLAG_TF | (setup.signal ? 0 : FLAG_AC | FLAG_NT);

	EXPECT_EQ(8, s->rsp % 16) TH_LOG("%s: stack %#lx", where, s->rsp);
	EXPECT_GT(top, s->rsp) TH_LOG("%s", where);
	EXPECT_LT(top - 3 * PAGE, s->rsp) TH_LOG("%s", where);
	EXPECT_EQ(0, s->flags & clear) TH_LOG("%s: flags %#lx", where, s->flags);
	EXPECT_EQ(&space, s->arg);
	EXPECT_EQ(view, s->view);
	EXPECT_EQ(PAGES * PAGE, s->length);
	EXPECT_EQ(0, s->reserved);
	if (saved) {
		EXPECT_EQ(0x37f, s->fcw) TH_LOG("%s", where);
		EXPECT_EQ(0, s->fsw) TH_LOG("%s", where);
		EXPECT_EQ(0, s->ftw) TH_LOG("%s", where);
		EXPECT_EQ(0x1f80, s->mxcsr) TH_LOG("%s", where);
	} else if (first) {
		EXPECT_EQ(row_control_word(), s->fcw) TH_LOG("%s", where);
		EXPECT_EQ(regs_get(&regs_in.vec[VEC_MXCSR], 4), s->mxcsr) TH_LOG("%s", where);
	}
}

static void check_trap(struct __test_metadata *_metadata, const struct seen *s,
		       const struct trap *t, bool either, unsigned int more)
{
	EXPECT_TRUE(s->addr >= view + t->at && s->addr <= view + t->at + more)
		TH_LOG("%s: %#lx, not %#x", where, s->addr - view, t->at);
	if (either) {
		EXPECT_TRUE(s->access == READS || s->access == WRITES) TH_LOG("%s", where);
	} else {
		EXPECT_EQ(t->access, s->access) TH_LOG("%s", where);
	}
}

/* Return: how many traps there had to be. */
static unsigned int check_traps(struct __test_metadata *_metadata, const struct row *row,
				bool nested, int prot)
{
	static const struct trap inner = { 4 * PAGE + 77, READS };
	struct trap all[MAX_TRAPS + 1];
	unsigned int i, n = 0;

	for (i = 0; i < MAX_TRAPS && row->traps[i].access; i++) {
		all[n++] = row->traps[i];
		if (!i && nested)
			all[n++] = inner;
	}
	EXPECT_EQ(n, seen_count) TH_LOG("%s", where);
	for (i = 0; i < n && i < seen_count; i++) {
		/*
		 * Of a page that cannot even be read, one that is read and
		 * written: real CPUs ask for both at once, emulators one by one.
		 */
		check_trap(_metadata, &seen[i], &all[i],
			   row->changes && prot == NONE && !(nested && i == 1),
			   row->size && !i ? row->size - 1 : 0);
		check_entry(_metadata, &seen[i], !i);
	}
	return n;
}

static void check_memory(struct __test_metadata *_metadata, const struct row *row)
{
	/* Where rows have their stack in the view, what is below is nobody's. */
	unsigned long i = row->sp ? row->sp - RED_ZONE : 0;

	for (; i < PAGES * PAGE; i++) {
		if (row->pointers && i >= row->pointers && i < row->pointers + 16)
			continue;
		if ((uint8_t)view[i] == expected_memory[i])
			continue;
		EXPECT_EQ(expected_memory[i], (uint8_t)view[i])
			TH_LOG("%s: memory at %#lx", where, i);
		return;
	}
}

/* What the row does where nothing is closed. */
static void run_open(struct __test_metadata *_metadata, const struct row *row,
		     const struct state *state)
{
	begin(row, state);
	regs_run();
	EXPECT_EQ(0, seen_count) TH_LOG("%s", where);
	expected = regs_out;
	memcpy(expected_memory, view, sizeof(expected_memory));
}

static void run_closed(struct __test_metadata *_metadata, const struct row *row,
		       const struct state *state, int prot)
{
	struct avm_stats before, after;
	char text[REGS_TEXT] = "";
	unsigned int n;
	int error;

	begin(row, state);
	close_pages(row, state, prot);
	before = stats(space);
	errno = EXDEV;
	regs_run();
	error = errno;
	after = stats(space);
	must(!protect(space, view, PAGES, RWX));
	EXPECT_TRUE(regs_same(&expected, &regs_out, true, text)) TH_LOG("%s: %s", where, text);
	check_memory(_metadata, row);
	n = check_traps(_metadata, row, state->nested, prot);
	EXPECT_EQ(EXDEV, error) TH_LOG("%s", where);
	EXPECT_EQ(n, after.out_traps - before.out_traps) TH_LOG("%s", where);
	EXPECT_EQ(setup.signal ? 0 : n, after.out_upcalls - before.out_upcalls)
		TH_LOG("%s", where);
}

static void check_row(struct __test_metadata *_metadata, const struct row *row,
		      const struct state *state)
{
	int prot;

	for (prot = NONE; prot <= R; prot++) {
		if (prot == R && !row->writes)
			continue;
		set_where(row, state, prot);
		run_open(_metadata, row, state);
		run_closed(_metadata, row, state, prot);
	}
}

/* Each row of a table, from one state. */
#define CHECK_ALL(table, state) do {					\
	for (unsigned int row_ = 0; row_ < COUNT(table); row_++)	\
		check_row(_metadata, &(table)[row_], state);		\
} while (0)

/* The stacks, the view and its handler; a thread that has SIGSEGV blocked. */
static void set_up(const struct setup *how)
{
	stack_t alt = { .ss_size = STACK_SIZE };
	sigset_t blocked;
	unsigned int i;

	setup = *how;
	must(regs_setup());
	space = space_new(PAGES);
	view = view_new(space, 0, PAGES, RWX);
	stack = mmap(NULL, STACK_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	alternate = mmap(NULL, STACK_SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(stack != MAP_FAILED && alternate != MAP_FAILED);
	alt.ss_sp = alternate;
	must(setup.stack == NO_STACK || !sigaltstack(&alt, NULL));
	for (i = 0; i < sizeof(pattern); i++)
		pattern[i] = regs_noise(2, i);
	regs_vec_fill(dirty_vec, 4);
	regs_put(&dirty_vec[VEC_FCW], 0x0540, 2);
	regs_put(&dirty_vec[VEC_FSW], 0x0000, 2);
	dirty_vec[VEC_FTW] = 0xff;
	regs_put(&dirty_vec[VEC_MXCSR], 0x2000, 4);
	must(!syscall(SYS_arch_prctl, ARCH_SET_GS, view + D));
	must(!avm_trap(setup.signal ? AVM_NO_SPACE : space, view, PAGES * PAGE, handler, &space,
		       setup.flags));
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGSEGV);
	must(setup.signal || !sigprocmask(SIG_BLOCK, &blocked, NULL));
}

static void tear_down(void)
{
	avm_untrap(view);
	munmap(view, PAGES * PAGE);
	close(space);
}

FIXTURE(upcall) {
};

FIXTURE_VARIANT(upcall) {
	struct setup setup;
};

#define VARIANT(fixture, name, ...)					\
	FIXTURE_VARIANT_ADD(fixture, name) { .setup = { __VA_ARGS__ } }

VARIANT(upcall, plain, .flags = 0);
VARIANT(upcall, novector, .flags = AVM_TRAP_NOVECTOR);
VARIANT(upcall, onstack, .flags = AVM_TRAP_ONSTACK, .stack = OTHER_STACK);
VARIANT(upcall, onstack_novector, .flags = AVM_TRAP_ONSTACK | AVM_TRAP_NOVECTOR,
	.stack = OTHER_STACK);
VARIANT(upcall, onstack_without_a_stack, .flags = AVM_TRAP_ONSTACK);
VARIANT(upcall, onstack_when_on_it, .flags = AVM_TRAP_ONSTACK, .stack = SAME_STACK);
VARIANT(upcall, stack_not_asked_for, .flags = 0, .stack = OTHER_STACK);
VARIANT(upcall, raise, .flags = AVM_TRAP_RAISE);
VARIANT(upcall, raise_novector, .flags = AVM_TRAP_RAISE | AVM_TRAP_NOVECTOR);
VARIANT(upcall, raise_onstack, .flags = AVM_TRAP_RAISE | AVM_TRAP_ONSTACK,
	.stack = OTHER_STACK);
VARIANT(upcall, signal, .signal = true);

FIXTURE_SETUP(upcall) {
	set_up(&variant->setup);
}

FIXTURE_TEARDOWN(upcall) {
	tear_down();
}

/*
 * Tables. NAME(ROW) makes the rows of a table; the same list makes the code
 * that they point to, each with its jump to regs_store.
 */
#define STUB(name, code, ...)						\
	extern const char stub_##name[];				\
	__asm__(".text\nstub_" #name ":\n" code "\njmp regs_store\n");
#define ROW(label, code, ...)						\
	{ .name = #label, .stub = stub_##label, __VA_ARGS__ },
#define TABLE(name, list)						\
	list(STUB)							\
	static const struct row name[] = { list(ROW) }

#define CLOSED(page)	(1u << (page))
#define AT(...)		.traps = { __VA_ARGS__ }
#define READ(offset)	.closed = CLOSED(2), AT({ D + (offset), READS })
#define WRITE(offset)	.closed = CLOSED(2), .writes = true, AT({ D + (offset), WRITES })
#define CHANGE(offset)	WRITE(offset), .changes = true
/* QEMU changes the carry before it stores, and a fault does not change it back. */
#define ROTATE(offset)	.closed = CLOSED(2), .changes = true, AT({ D + (offset), WRITES })

/* The test of the test: what goes in comes out, and memory is left alone. */
#define NOTHINGS(X)							\
	X(nothing, "nop", .closed = 0)					\
	X(nothing_closed, "nop", .closed = CLOSED(2))			\
	X(prefetch, "prefetcht0 (%rdi)", .closed = CLOSED(2))		\
	X(lea, "leaq 5(%rdi), %rbx", .closed = CLOSED(2))

TABLE(nothings, NOTHINGS);

static uint64_t all_flags(unsigned int i)
{
	return (i & 1 ? FLAG_CF : 0) | (i & 2 ? FLAG_PF : 0) | (i & 4 ? FLAG_AF : 0) |
	       (i & 8 ? FLAG_ZF : 0) | (i & 16 ? FLAG_SF : 0) | (i & 32 ? FLAG_OF : 0);
}

TEST_F(upcall, registers_are_loaded_and_stored_as_this_test_means_them)
{
	struct state state = usual;
	char text[REGS_TEXT] = "";
	unsigned int i;

	CHECK_ALL(nothings, &usual);
	for (i = 0; i < 64; i++) {
		state.flags = all_flags(i) | (i % 3 ? FLAG_DF : 0) | (i % 5 ? FLAG_AC : 0) |
			      (i % 7 ? FLAG_NT : 0) | (i % 2 ? FLAG_ID : 0);
		state.lower = i;
		run_open(_metadata, &nothings[0], &state);
		memcpy(regs_in.selector, expected.selector, sizeof(regs_in.selector));
		EXPECT_TRUE(regs_same(&regs_in, &expected, false, text)) TH_LOG("%s", text);
	}
	EXPECT_EQ(0, memcmp(pattern, expected_memory, sizeof(pattern)));
}

static void rbx_to_data(void)
{
	regs_in.gpr[RBX] = regs_in.gpr[RDI];
}

#define LOADS(X)							\
	X(load_1, "movb 1(%rdi), %bl", READ(1))				\
	X(load_1_high, "movb 7(%rdi), %ah", READ(7))			\
	X(load_2, "movw 2(%rdi), %bx", READ(2))				\
	X(load_4, "movl 4(%rdi), %ebx", READ(4))			\
	X(load_8, "movq 8(%rdi), %rbx", READ(8))			\
	X(load_8_unaligned, "movq 3(%rdi), %rbx", READ(3))		\
	X(load_zero_extended, "movzbl 3(%rdi), %r14d", READ(3))		\
	X(load_sign_extended, "movsbq 3(%rdi), %r13", READ(3))		\
	X(load_rax, "movq 8(%rdi), %rax", READ(8))			\
	X(load_rdi, "movq 8(%rdi), %rdi", READ(8))			\
	X(load_rsi, "movq 8(%rdi), %rsi", READ(8))			\
	X(load_rbp, "movq 8(%rdi), %rbp", READ(8))			\
	X(load_rsp, "movq 8(%rdi), %rsp", READ(8))			\
	X(load_r11, "movq 8(%rdi), %r11", READ(8))			\
	X(load_indexed, "movq 8(%rdi,%rcx,8), %rbx", .cx = 5, READ(48))	\
	X(load_by_gs, "movq %gs:8, %rbx", READ(8))			\
	X(load_end_of_page, "movb -1(%rdi), %bl", .di = 3 * PAGE,	\
	  .closed = CLOSED(2), AT({ 3 * PAGE - 1, READS }))		\
	X(load_start_of_page, "movb (%rdi), %bl", .di = 2 * PAGE,	\
	  .closed = CLOSED(2), AT({ 2 * PAGE, READS }))			\
	X(adc_from, "adcq 8(%rdi), %rbx", READ(8))			\
	X(sbb_from, "sbbl 8(%rdi), %ebx", READ(8))			\
	X(add_from_keeps_carry, "incq %rdx; adcq 8(%rdi), %rbx", READ(8)) \
	X(imul_from, "imulq 8(%rdi), %rbx", READ(8))			\
	X(mul_from, "mulq 8(%rdi)", READ(8))				\
	X(cmp_with, "cmpq %rbx, 8(%rdi)", READ(8))			\
	X(test_with, "testb $0x5a, 8(%rdi)", READ(8))			\
	X(bt_of, "btq %rcx, (%rdi)", .cx = 64 * 17 + 5, READ(136))	\
	X(bt_of_negative, "btq %rcx, (%rdi)", .cx = -185ul, READ(-24))	\
	X(cmov_taken, "cmovcq 8(%rdi), %rbx", READ(8))			\
	X(cmov_not_taken, "cmovncq 8(%rdi), %rbx", READ(8))		\
	X(xlat, "xlatb", .prepare = rbx_to_data, .ax = 0x12345678abcd05, READ(5)) \
	X(lods, "lodsq", .si = D + 8, READ(8))				\
	X(two_loads, "movl (%rdi), %eax; movl 4(%rdi), %edx", READ(0))

#define STORES(X)							\
	X(store_1, "movb %bl, 1(%rdi)", WRITE(1))			\
	X(store_1_high, "movb %ah, 7(%rdi)", WRITE(7))			\
	X(store_2, "movw %bx, 2(%rdi)", WRITE(2))			\
	X(store_4, "movl %ebx, 4(%rdi)", WRITE(4))			\
	X(store_8, "movq %rbx, 8(%rdi)", WRITE(8))			\
	X(store_8_unaligned, "movq %rbx, 3(%rdi)", WRITE(3))		\
	X(store_constant, "movq $-12345, 8(%rdi)", WRITE(8))		\
	X(store_rdi, "movq %rdi, 8(%rdi)", WRITE(8))			\
	X(store_rsp, "movq %rsp, 8(%rdi)", WRITE(8))			\
	X(store_rbp, "movq %rbp, 8(%rdi)", WRITE(8))			\
	X(store_r11, "movq %r11, 8(%rdi)", WRITE(8))			\
	X(store_selector, "movw %ds, 8(%rdi)", WRITE(8))		\
	X(store_around_caches, "movnti %rbx, 8(%rdi)", WRITE(8))	\
	X(store_condition, "setc 8(%rdi)", WRITE(8))			\
	X(store_indexed, "movl %eax, 8(%rdi,%rcx,8)", .cx = 5, WRITE(48)) \
	X(store_by_gs, "movq %rbx, %gs:8", WRITE(8))			\
	X(stos, "stosq", WRITE(0))					\
	X(movs_to, "movsb", .si = 64, WRITE(0))				\
	X(movs_from_to, "movsq", .si = PAGE + 8, .closed = CLOSED(1) | CLOSED(2), \
	  AT({ PAGE + 8, READS }, { D, WRITES }))			\
	X(load_then_store, "movq (%rdi), %rbx; movq %rbx, 8(%rsi)", .si = PAGE, \
	  .closed = CLOSED(1) | CLOSED(2), AT({ D, READS }, { PAGE + 8, WRITES }))

#define CHANGES(X)							\
	X(inc_1, "incb 1(%rdi)", CHANGE(1))				\
	X(inc_2, "incw 2(%rdi)", CHANGE(2))				\
	X(inc_4, "incl 4(%rdi)", CHANGE(4))				\
	X(inc_8, "incq 8(%rdi)", CHANGE(8))				\
	X(dec, "decq 8(%rdi)", CHANGE(8))				\
	X(add, "addq %rbx, 8(%rdi)", CHANGE(8))				\
	X(add_constant, "addw $0x1234, 8(%rdi)", CHANGE(8))		\
	X(adc, "adcq %rbx, 8(%rdi)", CHANGE(8))				\
	X(sub, "subl %ebx, 8(%rdi)", CHANGE(8))				\
	X(sbb, "sbbb %bl, 8(%rdi)", CHANGE(8))				\
	X(and, "andq %rbx, 8(%rdi)", CHANGE(8))				\
	X(or, "orq %rbx, 8(%rdi)", CHANGE(8))				\
	X(xor, "xorq %rbx, 8(%rdi)", CHANGE(8))				\
	X(not, "notq 8(%rdi)", CHANGE(8))				\
	X(neg, "negl 8(%rdi)", CHANGE(8))				\
	X(shl, "shlq %cl, 8(%rdi)", .cx = 3, CHANGE(8))			\
	X(rcl, "rclq %cl, 8(%rdi)", .cx = 3, ROTATE(8))			\
	X(rcr, "rcrl 8(%rdi)", ROTATE(8))				\
	X(shld, "shldq $5, %rbx, 8(%rdi)", CHANGE(8))			\
	X(bts, "btsq %rcx, (%rdi)", .cx = 64 * 17 + 5, CHANGE(136))	\
	X(btr_negative, "btrq %rcx, (%rdi)", .cx = -185ul, CHANGE(-24))	\
	X(btc, "btcw $5, 8(%rdi)", CHANGE(8))				\
	X(xadd, "xaddq %rbx, 8(%rdi)", CHANGE(8))			\
	X(cmpxchg, "cmpxchgq %rbx, 8(%rdi)", CHANGE(8))

/* For cmpxchg8b and 16b, too: the upper half is in rdx. */
static void expect_8(void)
{
	regs_in.gpr[RAX] = regs_get((uint8_t *)view + D, 8);
	regs_in.gpr[RDX] = regs_get((uint8_t *)view + D + 8, 8);
}

static void expect_4_and_4(void)
{
	regs_in.gpr[RAX] = regs_get((uint8_t *)view + D, 4);
	regs_in.gpr[RDX] = regs_get((uint8_t *)view + D + 4, 4);
}

#define LOCKED(X)							\
	X(xchg_1, "xchgb %bl, 8(%rdi)", WRITE(8))			\
	X(xchg_8, "xchgq %rbx, 8(%rdi)", WRITE(8))			\
	X(xchg_rdi, "xchgq %rdi, 8(%rdi)", WRITE(8))			\
	X(lock_inc, "lock incw 8(%rdi)", WRITE(8))			\
	X(lock_add_1, "lock addb %bl, 8(%rdi)", WRITE(8))		\
	X(lock_add_4, "lock addl %ebx, 8(%rdi)", WRITE(8))		\
	X(lock_add_8, "lock addq %rbx, 8(%rdi)", WRITE(8))		\
	X(lock_adc, "lock adcq %rbx, 8(%rdi)", WRITE(8))		\
	X(lock_and, "lock andq %rbx, 8(%rdi)", WRITE(8))		\
	X(lock_bts, "lock btsq %rcx, (%rdi)", .cx = 64 * 17 + 5, WRITE(136)) \
	X(lock_xadd, "lock xaddq %rbx, 8(%rdi)", WRITE(8))		\
	X(lock_cmpxchg_other, "lock cmpxchgq %rbx, (%rdi)", WRITE(0))	\
	X(lock_cmpxchg_same, "lock cmpxchgq %rbx, (%rdi)", .prepare = expect_8, WRITE(0)) \
	X(lock_cmpxchg8b_other, "lock cmpxchg8b (%rdi)", WRITE(0))	\
	X(lock_cmpxchg8b_same, "lock cmpxchg8b (%rdi)", .prepare = expect_4_and_4, WRITE(0))

/* Not in every CPU. */
#define LOCKED_16(X)							\
	X(lock_cmpxchg16b_other, "lock cmpxchg16b (%rdi)", WRITE(0))	\
	X(lock_cmpxchg16b_same, "lock cmpxchg16b (%rdi)", .prepare = expect_8, WRITE(0))

TABLE(loads, LOADS);
TABLE(stores, STORES);
TABLE(changes, CHANGES);
TABLE(locked, LOCKED);
TABLE(locked_16, LOCKED_16);

TEST_F(upcall, loads)
{
	CHECK_ALL(loads, &usual);
}

TEST_F(upcall, stores)
{
	CHECK_ALL(stores, &usual);
}

TEST_F(upcall, read_modify_write)
{
	CHECK_ALL(changes, &usual);
}

TEST_F(upcall, locked_read_modify_write)
{
	unsigned int a, b, c = 0, d;

	CHECK_ALL(locked, &usual);
	__get_cpuid(1, &a, &b, &c, &d);
	if (c & bit_CMPXCHG16B)
		CHECK_ALL(locked_16, &usual);
}

/*
 * Stack operands in closed memory: what is pushed or popped lies there, or the
 * place to go to. landing and regs_store are where code goes.
 */
extern const char landing[];
__asm__(".text\nlanding: incq %rbx\nret\n");

static void landing_at_data(void)
{
	regs_put((uint8_t *)view + D, (uintptr_t)landing, 8);
}

static void end_at_data(void)
{
	regs_put((uint8_t *)view + D, (uintptr_t)regs_store, 8);
}

#define OPERANDS(X)							\
	X(push_from, "pushq (%rdi)", READ(0))				\
	X(push_2_from, "pushw (%rdi)", READ(0))				\
	X(pop_to, "popq (%rdi)", WRITE(0))				\
	X(pop_2_to, "popw (%rdi)", WRITE(0))				\
	X(call_from, "callq *(%rdi)", .prepare = landing_at_data, READ(0)) \
	X(jump_from, "jmpq *(%rdi)", .prepare = end_at_data, READ(0))	\
	X(red_zone_to, "movq -128(%rsp), %rax; movq %rax, (%rdi)", WRITE(0)) \
	X(to_red_zone, "movq %rbx, -8(%rsp); movq (%rdi), %rax; movq -8(%rsp), %rdx", READ(0))

TABLE(operands, OPERANDS);

TEST_F(upcall, operands_of_push_pop_call_jump)
{
	CHECK_ALL(operands, &usual);
}

/* rsp is the start of a closed page: the frame goes to the open one below. */
#define TOP	(2 * PAGE)
#define POP	.sp = TOP, .window = RED_ZONE, .closed = CLOSED(2), AT({ TOP, READS })

static void end_at_top(void)
{
	regs_put((uint8_t *)view + TOP, (uintptr_t)regs_store, 8);
}

static void flags_at_top(void)
{
	regs_put((uint8_t *)view + TOP, FLAGS_ALWAYS | FLAG_OF | FLAG_PF | FLAG_DF, 8);
}

static void rbp_to_top(void)
{
	regs_in.gpr[RBP] = (uintptr_t)view + TOP;
}

#define POPS(X)								\
	X(pop, "popq %rbx", POP)					\
	X(pop_rsp, "popq %rsp", POP)					\
	X(pop_2, "popw %bx", POP)					\
	X(popf, "popfq", .prepare = flags_at_top, POP)			\
	X(return, "ret", .prepare = end_at_top, POP)			\
	X(return_and_drop, "ret $24", .prepare = end_at_top, POP)	\
	X(leave, "leave", .prepare = rbp_to_top, .closed = CLOSED(2), AT({ TOP, READS }))

TABLE(pops, POPS);

TEST_F(upcall, pops_from_a_closed_page)
{
	CHECK_ALL(pops, &usual);
}

/* String instructions that get half way. */
static void same_from_page_2_and_3(void)
{
	memcpy(view + 3 * PAGE + 40, view + 2 * PAGE - 100, 300);
	view[3 * PAGE + 40 + 250] ^= 1;
}

/* In 300 bytes of x from rdi on, the 250th another. */
static void one_among_many(void)
{
	memset(view + 2 * PAGE - 100, 'x', 300);
	view[2 * PAGE + 150] = 'y';
}

#define CROSS(page, access_)	.closed = CLOSED((page)), AT({ (page) * PAGE, access_ })
/* Downwards into a page: its last byte, or element of @size. */
#define CROSS_DOWN(page, size, access_)					\
	.df = true, .closed = CLOSED(page), AT({ ((page) + 1) * PAGE - (size), access_ })

#define STRINGS(X)							\
	X(movsb_to, "rep movsb", .si = 64, .di = 2 * PAGE - 100, .cx = 300, CROSS(2, WRITES), \
	  .writes = true)						\
	X(movsb_from, "rep movsb", .si = 2 * PAGE - 100, .di = 3 * PAGE + 64, .cx = 300, \
	  CROSS(2, READS))						\
	X(movsb_both, "rep movsb", .si = PAGE - 50, .di = 3 * PAGE - 100, .cx = 300, \
	  .closed = CLOSED(1) | CLOSED(3), AT({ PAGE, READS }, { 3 * PAGE, WRITES })) \
	X(movsb_both_at_once, "rep movsb", .si = PAGE - 70, .di = 3 * PAGE - 70, .cx = 300, \
	  .closed = CLOSED(1) | CLOSED(3), AT({ PAGE, READS }, { 3 * PAGE, WRITES })) \
	X(movsb_overlapping, "rep movsb", .si = 2 * PAGE - 101, .di = 2 * PAGE - 100, .cx = 300, \
	  CROSS(2, WRITES))						\
	X(movsb_none, "rep movsb", .si = 64, .prepare = no_count, .closed = CLOSED(2)) \
	X(movsb_from_the_first, "rep movsb", .si = 64, .cx = 30, WRITE(0)) \
	X(movsw_to, "rep movsw", .si = 64, .di = 2 * PAGE - 100, .cx = 150, CROSS(2, WRITES)) \
	X(movsl_to, "rep movsl", .si = 64, .di = 2 * PAGE - 100, .cx = 70, CROSS(2, WRITES)) \
	X(movsq_to, "rep movsq", .si = 64, .di = 2 * PAGE - 96, .cx = 40, CROSS(2, WRITES)) \
	X(movsq_from, "rep movsq", .si = 2 * PAGE - 96, .di = 64, .cx = 40, CROSS(2, READS)) \
	X(movsq_across, "rep movsq", .si = 64, .di = 2 * PAGE - 20, .cx = 30, CROSS(2, WRITES)) \
	X(stosb, "rep stosb", .di = 2 * PAGE - 100, .cx = 300, CROSS(2, WRITES)) \
	X(stosq, "rep stosq", .di = 2 * PAGE - 96, .cx = 40, CROSS(2, WRITES)) \
	X(stosq_across, "rep stosq", .di = 2 * PAGE - 20, .cx = 30, CROSS(2, WRITES)) \
	X(stosb_3_pages, "rep stosb", .di = PAGE - 10, .cx = 2 * PAGE + 20, \
	  .closed = CLOSED(1) | CLOSED(2) | CLOSED(3), .writes = true, \
	  AT({ PAGE, WRITES }, { 2 * PAGE, WRITES }, { 3 * PAGE, WRITES })) \
	X(lodsb, "rep lodsb", .si = 2 * PAGE - 10, .cx = 20, CROSS(2, READS)) \
	X(cmpsb_source, "repe cmpsb", .prepare = same_from_page_2_and_3, .si = 2 * PAGE - 100, \
	  .di = 3 * PAGE + 40, .cx = 300, CROSS(2, READS))		\
	X(cmpsb_other, "repe cmpsb", .prepare = same_from_page_2_and_3, .si = 3 * PAGE + 40, \
	  .di = 2 * PAGE - 100, .cx = 300, CROSS(2, READS))		\
	X(cmpsw_to_the_end, "repne cmpsw", .si = 2 * PAGE - 50, .di = 64, .cx = 60, \
	  CROSS(2, READS))						\
	X(scasb, "repne scasb", .prepare = one_among_many, .ax = 'y', .di = 2 * PAGE - 100, \
	  .cx = 300, CROSS(2, READS))					\
	X(scasb_while_same, "repe scasb", .prepare = one_among_many, .ax = 'x', \
	  .di = 2 * PAGE - 100, .cx = 300, CROSS(2, READS))

#define STRINGS_DOWN(X)							\
	X(movsb_to_down, "rep movsb", .si = 3 * PAGE + 500, .di = 2 * PAGE + 99, .cx = 300, \
	  CROSS_DOWN(1, 1, WRITES), .writes = true)		\
	X(movsb_from_down, "rep movsb", .si = 2 * PAGE + 99, .di = 3 * PAGE + 500, .cx = 300, \
	  CROSS_DOWN(1, 1, READS))					\
	X(movsw_to_down, "rep movsw", .si = 3 * PAGE + 500, .di = 2 * PAGE + 98, .cx = 150, \
	  CROSS_DOWN(1, 2, WRITES))					\
	X(movsq_to_down, "rep movsq", .si = 3 * PAGE + 512, .di = 2 * PAGE + 96, .cx = 40, \
	  CROSS_DOWN(1, 8, WRITES))					\
	X(movsq_across_down, "rep movsq", .si = 3 * PAGE + 512, .di = 2 * PAGE + 100, .cx = 40, \
	  CROSS_DOWN(1, 4, WRITES))					\
	X(movsb_overlapping_down, "rep movsb", .si = 2 * PAGE + 100, .di = 2 * PAGE + 99, \
	  .cx = 300, CROSS_DOWN(1, 1, WRITES))				\
	X(stosb_down, "rep stosb", .di = 2 * PAGE + 99, .cx = 300, CROSS_DOWN(1, 1, WRITES)) \
	X(stosl_down, "rep stosl", .di = 2 * PAGE + 96, .cx = 60, CROSS_DOWN(1, 4, WRITES)) \
	X(cmpsb_down, "repne cmpsb", .si = 2 * PAGE + 20, .di = 3 * PAGE + 90, .cx = 60, \
	  .prepare = nothing_alike, CROSS_DOWN(1, 1, READS))		\
	X(lodsw_down, "rep lodsw", .si = 2 * PAGE + 20, .cx = 20, CROSS_DOWN(1, 2, READS))

static void no_count(void)
{
	regs_in.gpr[RCX] = 0;
}

static void nothing_alike(void)
{
	memset(view + 2 * PAGE - 100, 'x', 200);
	memset(view + 3 * PAGE, 'y', 100);
}

TABLE(strings, STRINGS);
TABLE(strings_down, STRINGS_DOWN);

TEST_F(upcall, string_instructions_half_done)
{
	CHECK_ALL(strings, &usual);
}

TEST_F(upcall, string_instructions_half_done_downwards)
{
	CHECK_ALL(strings_down, &usual);
}

/*
 * Each element is stored once. At the trap a second view shows those before it
 * stored and those after it not; the former are overwritten there, and must
 * stay so.
 */
#define MARK	0xee

static uint8_t *second;
static const struct row *once_row;
static unsigned long once_size, once_low, once_high;	/* of the destination */
static unsigned long done_low, done_high;
static bool once_right;

static GENERAL_REGS void check_half(const struct avm_trap_info *info)
{
	unsigned long at = (char *)info->addr - view, i;
	volatile uint8_t *mark = second;

	done_low = once_row->df ? at + once_size : once_low;
	done_high = once_row->df ? once_high : at;
	once_right = done_low < done_high && done_high - done_low < once_high - once_low;
	for (i = once_low; i < once_high; i++) {
		bool done = i >= done_low && i < done_high;

		if (mark[i] != (done ? expected_memory : pattern)[i])
			once_right = false;
		if (done)
			mark[i] = MARK;
	}
}

static void check_once(struct __test_metadata *_metadata, const struct row *row,
		       unsigned long size)
{
	uint64_t count = row->cx;
	unsigned long i, wrong = 0;

	set_where(row, &usual, NONE);
	run_open(_metadata, row, &usual);
	once_row = row;
	once_size = size;
	once_low = row->df ? row->di - (count - 1) * size : row->di;
	once_high = once_low + count * size;
	begin(row, &usual);
	close_pages(row, &usual, NONE);
	hook = check_half;
	regs_run();
	hook = NULL;
	must(!protect(space, view, PAGES, RWX));
	EXPECT_EQ(1, seen_count);
	EXPECT_TRUE(once_right) TH_LOG("%s", where);
	for (i = 0; i < PAGES * PAGE; i++) {
		bool marked = i >= done_low && i < done_high;

		wrong += (uint8_t)view[i] != (marked ? MARK : expected_memory[i]);
	}
	EXPECT_EQ(0, wrong) TH_LOG("%s: %lu bytes", where, wrong);
	EXPECT_EQ(0, regs_out.gpr[RCX]);
}

static const struct row *row_named(const struct row *table, unsigned int count, const char *name)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (!strcmp(table[i].name, name))
			return &table[i];
	}
	must(!"a row of that name");
	return NULL;
}

TEST_F(upcall, string_elements_are_stored_once)
{
	static const struct {
		const char *name;
		unsigned long size;
	} up[] = {
		{ "movsb_to", 1 }, { "movsw_to", 2 }, { "movsl_to", 4 }, { "movsq_to", 8 },
		{ "stosb", 1 }, { "stosq", 8 },
	}, down[] = {
		{ "movsb_to_down", 1 }, { "movsw_to_down", 2 }, { "movsq_to_down", 8 },
		{ "stosb_down", 1 }, { "stosl_down", 4 },
	};
	unsigned int i;

	second = (uint8_t *)map2(space, view, PAGES, RW, RW);
	for (i = 0; i < COUNT(up); i++)
		check_once(_metadata, row_named(strings, COUNT(strings), up[i].name), up[i].size);
	for (i = 0; i < COUNT(down); i++)
		check_once(_metadata, row_named(strings_down, COUNT(strings_down), down[i].name),
			   down[i].size);
	munmap(second, PAGES * PAGE);
}

/* One access, two protected pages: two traps, the second at the page's start. */
#define BACK(bytes)	.di = 2 * PAGE - (bytes), .closed = CLOSED(1) | CLOSED(2)
#define READ_2(bytes)	BACK(bytes), AT({ 2 * PAGE - (bytes), READS }, { 2 * PAGE, READS })
#define WRITE_2(bytes)	BACK(bytes), .writes = true,		\
	AT({ 2 * PAGE - (bytes), WRITES }, { 2 * PAGE, WRITES })

#define ACROSS(X)							\
	X(across_load_2, "movw (%rdi), %bx", READ_2(1))			\
	X(across_load_4, "movl (%rdi), %ebx", READ_2(3))		\
	X(across_load_8, "movq (%rdi), %rbx", READ_2(3))		\
	X(across_load_16, "movups (%rdi), %xmm3", READ_2(5))		\
	X(across_load_16_halves, "movdqu (%rdi), %xmm3", READ_2(8))	\
	X(across_store_2, "movw %bx, (%rdi)", WRITE_2(1))		\
	X(across_store_4, "movl %ebx, (%rdi)", WRITE_2(3))		\
	X(across_store_8, "movq %rbx, (%rdi)", WRITE_2(3))		\
	X(across_store_16, "movups %xmm3, (%rdi)", WRITE_2(5))		\
	X(across_store_16_halves, "movdqu %xmm3, (%rdi)", WRITE_2(8))	\
	X(across_load_80, "fldt (%rdi)", READ_2(4))			\
	X(across_store_80, "fstpt (%rdi)", WRITE_2(4))			\
	X(across_inc, "incq (%rdi)", BACK(3), .changes = true, .writes = true, \
	  AT({ 2 * PAGE - 3, WRITES }, { 2 * PAGE, WRITES }))		\
	X(across_load_upper, "movq (%rdi), %rbx", .di = 2 * PAGE - 3, CROSS(2, READS)) \
	X(across_store_upper, "movq %rbx, (%rdi)", .di = 2 * PAGE - 3, CROSS(2, WRITES)) \
	X(across_store_lower, "movq %rbx, (%rdi)", .di = 2 * PAGE - 3, .closed = CLOSED(1), \
	  AT({ 2 * PAGE - 3, WRITES }))					\
	X(across_push_from, "pushq (%rdi)", READ_2(3))			\
	X(across_movsq, "movsq", .si = 64, WRITE_2(3))

#define ACROSS_AVX(X)							\
	X(across_load_32, "vmovups (%rdi), %ymm3", READ_2(13))		\
	X(across_load_32_halves, "vmovups (%rdi), %ymm3", READ_2(16))	\
	X(across_store_32, "vmovups %ymm3, (%rdi)", WRITE_2(13))	\
	X(across_store_32_halves, "vmovups %ymm3, (%rdi)", WRITE_2(16))

TABLE(across, ACROSS);
TABLE(across_avx, ACROSS_AVX);

TEST_F(upcall, access_to_two_closed_pages)
{
	CHECK_ALL(across, &usual);
}

/* SSE and MMX. */
#define SSE(X)								\
	X(movups_load, "movups 1(%rdi), %xmm3", READ(1))		\
	X(movups_load_15, "movups 1(%rdi), %xmm15", READ(1))		\
	X(movups_store, "movups %xmm3, 1(%rdi)", WRITE(1))		\
	X(movaps_load, "movaps 16(%rdi), %xmm0", READ(16))		\
	X(movaps_store, "movaps %xmm0, 16(%rdi)", WRITE(16))		\
	X(movdqu_load, "movdqu 3(%rdi), %xmm3", READ(3))		\
	X(movdqu_store, "movdqu %xmm3, 3(%rdi)", WRITE(3))		\
	X(movntdq, "movntdq %xmm3, 16(%rdi)", WRITE(16))		\
	X(movss_load, "movss 4(%rdi), %xmm3", READ(4))			\
	X(movss_store, "movss %xmm3, 4(%rdi)", WRITE(4))		\
	X(movsd_load, "movsd 8(%rdi), %xmm3", READ(8))			\
	X(movhps_load, "movhps 8(%rdi), %xmm3", READ(8))		\
	X(movlps_store, "movlps %xmm3, 8(%rdi)", WRITE(8))		\
	X(addps_from, "addps 16(%rdi), %xmm3", READ(16))		\
	X(divpd_from, "divpd 16(%rdi), %xmm3", READ(16))		\
	X(ucomisd_with, "ucomisd 8(%rdi), %xmm3", READ(8))		\
	X(cvtsi2sd_from, "cvtsi2sdq 8(%rdi), %xmm3", READ(8))		\
	X(cvtsd2si_from, "cvtsd2siq 8(%rdi), %rbx", READ(8))		\
	X(paddd_from, "paddd 16(%rdi), %xmm3", READ(16))		\
	X(pshufb_by, "pshufb 16(%rdi), %xmm3", READ(16))		\
	X(movd_mmx_load, "movq 8(%rdi), %mm2", READ(8))			\
	X(movd_mmx_store, "movq %mm2, 8(%rdi)", WRITE(8))		\
	X(paddd_mmx_from, "paddd 8(%rdi), %mm2", READ(8))

TABLE(sse, SSE);

TEST_F(upcall, sse_and_mmx)
{
	CHECK_ALL(sse, &usual);
}

/* Masks. All lanes of a mask register take part, or those that a row needs. */
static void mask_all(void)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		regs_lane(regs_in.vec, 2, i, 0x80808080u | i);
}

static void mask_mmx(void)
{
	/* st(i) is register i + top; mm2 is register 2, whatever top is. */
	unsigned int top = regs_get(&regs_in.vec[VEC_FSW], 2) >> 11 & 7;

	regs_put(&regs_in.vec[VEC_ST + 16 * ((2 - top) & 7)], 0x80808080808080ul << 8 | 0x80, 8);
}

/*
 * Of lanes 2 and up none, so that the second page is not touched. (For loads,
 * QEMU reads it nevertheless.)
 */
static void mask_two(void)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		regs_lane(regs_in.vec, 2, i, i < 2 ? 0x80808080u : 0);
}

#define MASKED(X)							\
	X(maskmovdqu, "maskmovdqu %xmm2, %xmm3", .prepare = mask_all, WRITE(0)) \
	X(maskmovdqu_across, "maskmovdqu %xmm2, %xmm3", .prepare = mask_all, WRITE_2(5)) \
	X(maskmovq, "maskmovq %mm2, %mm3", .prepare = mask_mmx, WRITE(0))

#define MASKED_AVX(X)							\
	X(vmaskmov_load, "vmaskmovps (%rdi), %ymm2, %ymm3", .prepare = mask_all, READ(0)) \
	X(vmaskmov_load_across, "vmaskmovps (%rdi), %ymm2, %ymm3", .prepare = mask_all, \
	  READ_2(8))							\
	X(vmaskmov_store, "vmaskmovps %ymm3, %ymm2, (%rdi)", .prepare = mask_all, WRITE(0)) \
	X(vmaskmov_store_across, "vmaskmovps %ymm3, %ymm2, (%rdi)", .prepare = mask_all, \
	  WRITE_2(8))							\
	X(vmaskmov_store_part, "vmaskmovps %ymm3, %ymm2, (%rdi)", .prepare = mask_two, \
	  BACK(8), AT({ 2 * PAGE - 8, WRITES }))

#define AVX(X)								\
	X(vmovups_load, "vmovups 1(%rdi), %ymm3", READ(1))		\
	X(vmovups_load_15, "vmovups 1(%rdi), %ymm15", READ(1))		\
	X(vmovups_store, "vmovups %ymm3, 1(%rdi)", WRITE(1))		\
	X(vmovups_store_0, "vmovups %ymm0, 1(%rdi)", WRITE(1))		\
	X(vmovups_load_16, "vmovups 1(%rdi), %xmm3", READ(1))		\
	X(vmovaps_load, "vmovaps 32(%rdi), %ymm3", READ(32))		\
	X(vmovaps_store, "vmovaps %ymm3, 32(%rdi)", WRITE(32))		\
	X(vaddpd_from, "vaddpd 32(%rdi), %ymm4, %ymm3", READ(32))	\
	X(vbroadcast_from, "vbroadcastss 4(%rdi), %ymm3", READ(4))	\
	X(vinsert_from, "vinsertf128 $1, 16(%rdi), %ymm4, %ymm3", READ(16)) \
	X(vextract_to, "vextractf128 $1, %ymm3, 16(%rdi)", WRITE(16))	\
	X(vmovntdq_to, "vmovntdq %ymm3, 32(%rdi)", WRITE(32))

/*
 * Gathers: the offset of each lane from rdi. Lane 1 is in an open page, lane 4
 * in one that lane 0 has opened, lane 5 is not wanted and in a closed page.
 */
#define GATHER_BASE	64

static const uint32_t lanes[8] = {
	PAGE + 4, 128, 2 * PAGE + 8, 3 * PAGE + 12, PAGE + 100, 4 * PAGE, 2 * PAGE + 64, 0,
};

static void gather_lanes(void)
{
	unsigned int i;

	for (i = 0; i < 8; i++) {
		regs_lane(regs_in.vec, 1, i, lanes[i]);
		regs_lane(regs_in.vec, 2, i, i == 5 ? 0x7fffffff : 0x80000000u | i);
	}
}

/* Four wide lanes: in open, first, first and second closed page. */
static void gather_wide(void)
{
	static const uint32_t at[4] = { 8, PAGE + 8, PAGE + 80, 3 * PAGE + 8 };
	unsigned int i;

	for (i = 0; i < 4; i++) {
		regs_lane(regs_in.vec, 1, 2 * i, at[i]);
		regs_lane(regs_in.vec, 1, 2 * i + 1, 0);
		regs_lane(regs_in.vec, 2, 2 * i, i);
		regs_lane(regs_in.vec, 2, 2 * i + 1, 0x80000000u);
	}
}

#define GATHER_TRAPS	.di = GATHER_BASE, .prepare = gather_lanes,	\
	.closed = CLOSED(1) | CLOSED(2) | CLOSED(3) | CLOSED(4),	\
	AT({ GATHER_BASE + PAGE + 4, READS }, { GATHER_BASE + 2 * PAGE + 8, READS }, \
	   { GATHER_BASE + 3 * PAGE + 12, READS })
#define GATHER_WIDE	.di = GATHER_BASE, .prepare = gather_wide,	\
	.closed = CLOSED(1) | CLOSED(3) | CLOSED(4),			\
	AT({ GATHER_BASE + PAGE + 8, READS }, { GATHER_BASE + 3 * PAGE + 8, READS })

#define AVX2(X)								\
	X(vpgatherdd, "vpgatherdd %ymm2, (%rdi,%ymm1,1), %ymm3", GATHER_TRAPS) \
	X(vgatherdps, "vgatherdps %ymm2, (%rdi,%ymm1,1), %ymm3", GATHER_TRAPS) \
	X(vpgatherqq, "vpgatherqq %ymm2, (%rdi,%ymm1,1), %ymm3", GATHER_WIDE) \
	X(vpmaskmov_load, "vpmaskmovd (%rdi), %ymm2, %ymm3", .prepare = mask_all, READ(0)) \
	X(vpmaskmov_store, "vpmaskmovd %ymm3, %ymm2, (%rdi)", .prepare = mask_all, WRITE(0)) \
	X(vpmaskmov_store_across, "vpmaskmovd %ymm3, %ymm2, (%rdi)", .prepare = mask_all, \
	  WRITE_2(12))							\
	X(vpbroadcast_from, "vpbroadcastq 8(%rdi), %ymm3", READ(8))	\
	X(vpaddd_from, "vpaddd 32(%rdi), %ymm4, %ymm3", READ(32))

TABLE(masked, MASKED);
TABLE(masked_avx, MASKED_AVX);
TABLE(avx, AVX);
TABLE(avx2, AVX2);

TEST_F(upcall, masked_moves)
{
	CHECK_ALL(masked, &usual);
}

TEST_F(upcall, avx)
{
	if (!(regs_mask & 4))
		SKIP(return, "this CPU has no AVX");
	CHECK_ALL(avx, &usual);
	CHECK_ALL(masked_avx, &usual);
	CHECK_ALL(across_avx, &usual);
}

TEST_F(upcall, avx2_gathers)
{
	if (!(regs_mask & 4) || !__builtin_cpu_supports("avx2"))
		SKIP(return, "this CPU has no AVX2");
	CHECK_ALL(avx2, &usual);
}

/*
 * Lanes that were gathered before a trap are not gathered again: the mask
 * register says so. Their memory is changed meanwhile, by the second view.
 */
static GENERAL_REGS void change_lanes_before(const struct avm_trap_info *info)
{
	unsigned long at = (char *)info->addr - view - GATHER_BASE;
	unsigned int i;

	for (i = 0; i < 8 && lanes[i] != at; i++)
		*(volatile uint32_t *)(second + GATHER_BASE + lanes[i]) = 0xeeeeeeee;
}

TEST_F(upcall, gathered_lanes_are_gathered_once)
{
	char text[REGS_TEXT] = "";

	if (!(regs_mask & 4) || !__builtin_cpu_supports("avx2"))
		SKIP(return, "this CPU has no AVX2");
	second = (uint8_t *)map2(space, view, PAGES, RW, RW);
	run_open(_metadata, &avx2[0], &usual);
	begin(&avx2[0], &usual);
	close_pages(&avx2[0], &usual, NONE);
	hook = change_lanes_before;
	regs_run();
	EXPECT_EQ(3, seen_count);
	EXPECT_TRUE(regs_same(&expected, &regs_out, true, text)) TH_LOG("%s", text);
	/* Of the four before the last trap, each was changed. */
	EXPECT_EQ(0xeeeeeeee, *(uint32_t *)(second + GATHER_BASE + lanes[2]));
	munmap(second, PAGES * PAGE);
}

/* x87, and the instructions that save and restore whole states. */
static void control_word_at_data(void)
{
	regs_put((uint8_t *)view + D, 0x0e7f, 2);
}

static void mxcsr_at_data(void)
{
	regs_put((uint8_t *)view + D, 0x5fb0, 4);
}

static void image_at(unsigned long at)
{
	uint8_t *image = (uint8_t *)view + at;

	regs_vec_fill(image, 6);
	regs_put(&image[VEC_FCW], 0x047f, 2);
	image[VEC_FTW] = 0x5a;
	regs_put(&image[VEC_MXCSR], 0x3fa0, 4);
	regs_in.gpr[RAX] = regs_mask;
	regs_in.gpr[RDX] = 0;
}

static void image_at_data(void)
{
	image_at(D);
}

static void image_across(void)
{
	image_at(2 * PAGE - 256);
}

/* What fnstenv or fnsave stores, 32-bit format: all but tags as a state has it. */
static void environment_at_data(void)
{
	static const uint32_t environment[7] = { 0xffff047f, 0xffff1820, 0xffff3fff, 0, 0, 0, 0 };

	memcpy(view + D, environment, sizeof(environment));
}

#define X87(X)								\
	X(fld_4, "flds 4(%rdi)", READ(4))				\
	X(fld_8, "fldl 8(%rdi)", READ(8))				\
	X(fld_10, "fldt 3(%rdi)", READ(3))				\
	X(fild_2, "filds 2(%rdi)", READ(2))				\
	X(fild_8, "fildll 8(%rdi)", READ(8))				\
	X(fst_4, "fsts 4(%rdi)", WRITE(4))				\
	X(fstp_4, "fstps 4(%rdi)", WRITE(4))				\
	X(fstp_8, "fstpl 8(%rdi)", WRITE(8))				\
	X(fstp_10, "fstpt 3(%rdi)", WRITE(3))				\
	X(fistp_8, "fistpll 8(%rdi)", WRITE(8))				\
	X(fisttp_4, "fisttpl 4(%rdi)", WRITE(4))			\
	X(fbstp, "fbstp 3(%rdi)", .size = 10, WRITE(3))				\
	X(fadd_from, "faddl 8(%rdi)", READ(8))				\
	X(fdivr_from, "fdivrs 8(%rdi)", READ(8))			\
	X(fcomp_with, "fcompl 8(%rdi)", READ(8))			\
	X(fiadd_from, "fiaddl 8(%rdi)", READ(8))			\
	X(fnstcw, "fnstcw 2(%rdi)", WRITE(2))				\
	X(fnstsw, "fnstsw 2(%rdi)", WRITE(2))				\
	X(fldcw, "fldcw (%rdi)", .prepare = control_word_at_data, READ(0)) \
	X(stmxcsr, "stmxcsr (%rdi)", WRITE(0))				\
	X(ldmxcsr, "ldmxcsr (%rdi)", .prepare = mxcsr_at_data, READ(0))

#define IMAGES(X)							\
	X(fnstenv, "fnstenv (%rdi)", .pointers = D + 12, .size = 28, WRITE(0)) \
	X(fldenv, "fldenv (%rdi)", .prepare = environment_at_data, .size = 28, READ(0)) \
	X(fnsave, "fnsave (%rdi)", .pointers = D + 12, .size = 108, WRITE(0)) \
	X(frstor, "frstor (%rdi)", .prepare = environment_at_data, .size = 108, READ(0)) \
	X(fxsave, "fxsave64 (%rdi)", .size = 512, WRITE(0))		\
	X(fxsave_across, "fxsave64 (%rdi)", .size = 256, WRITE_2(256))	\
	X(fxrstor, "fxrstor64 (%rdi)", .prepare = image_at_data, .size = 512, READ(0)) \
	X(fxrstor_across, "fxrstor64 (%rdi)", .prepare = image_across, .size = 256, \
	  READ_2(256))							\
	X(xsave, "xsave64 (%rdi)", .prepare = image_at_data, .size = VEC_SIZE, WRITE(0)) \
	X(xrstor, "xrstor64 (%rdi)", .prepare = image_at_data, .size = VEC_SIZE, READ(0))

TABLE(x87, X87);
TABLE(images, IMAGES);

TEST_F(upcall, x87_and_control_registers)
{
	CHECK_ALL(x87, &usual);
}

TEST_F(upcall, images_of_x87_and_vector_registers)
{
	CHECK_ALL(images, &usual);
}

/* Fetches. Code, of rbx or of memory at rsi, that goes on where r15 says. */
#define SET_RBX		0xbb, 0x44, 0x33, 0x22, 0x11	/* movl $..., %ebx */
#define LOAD_RBX	0x8b, 0x1e			/* movl (%rsi), %ebx */
#define STORE_RBX	0x89, 0x1e			/* movl %ebx, (%rsi) */
#define LEAVE		0x41, 0xff, 0xe7		/* jmpq *%r15 */
#define RETURN		0xc3				/* retq */

#define CODE(...) do {							\
	static const uint8_t code_[] = { __VA_ARGS__ };			\
	memcpy((void *)regs_in.gpr[RDI], code_, sizeof(code_));		\
} while (0)

static void code_leaves(void)
{
	CODE(SET_RBX, LEAVE);
}

static void code_returns(void)
{
	CODE(SET_RBX, RETURN);
}

static void code_loads(void)
{
	CODE(LOAD_RBX, LEAVE);
}

static void code_stores(void)
{
	CODE(STORE_RBX, LEAVE);
}

static void code_that_rsi_points_to(void)
{
	code_leaves();
	regs_put((uint8_t *)regs_in.gpr[RSI], regs_in.gpr[RDI], 8);
}

#define FETCH		.closed = CLOSED(2), AT({ D, FETCHES })
#define FETCH_2(bytes)	BACK(bytes), AT({ 2 * PAGE - (bytes), FETCHES }, { 2 * PAGE, FETCHES })

#define FETCHED(X)							\
	X(jump_to, "jmpq *%rdi", .prepare = code_leaves, FETCH)		\
	X(call_to, "callq *%rdi", .prepare = code_returns, FETCH)	\
	X(return_to, "pushq %rdi; ret", .prepare = code_leaves, FETCH)	\
	X(jump_by_memory_to, "jmpq *(%rsi)", .prepare = code_that_rsi_points_to, \
	  .si = PAGE + 16, .closed = CLOSED(1) | CLOSED(2),		\
	  AT({ PAGE + 16, READS }, { D, FETCHES }))			\
	X(code_across, "jmpq *%rdi", .prepare = code_leaves, FETCH_2(2)) \
	X(code_across_upper, "jmpq *%rdi", .prepare = code_leaves, .di = 2 * PAGE - 2, \
	  CROSS(2, FETCHES))						\
	X(code_into_next, "jmpq *%rdi", .prepare = code_leaves, FETCH_2(5)) \
	X(code_that_loads, "jmpq *%rdi", .prepare = code_loads, .si = 3 * PAGE + 8, \
	  .closed = CLOSED(2) | CLOSED(3), AT({ D, FETCHES }, { 3 * PAGE + 8, READS })) \
	X(code_that_loads_itself, "jmpq *%rdi", .prepare = code_loads, .si = D, FETCH) \
	X(code_that_stores, "jmpq *%rdi", .prepare = code_stores, .si = 3 * PAGE + 8, \
	  .closed = CLOSED(2) | CLOSED(3), AT({ D, FETCHES }, { 3 * PAGE + 8, WRITES }))

TABLE(fetched, FETCHED);

TEST_F(upcall, fetches)
{
	CHECK_ALL(fetched, &usual);
}

/*
 * A few accesses from every state: one that loads the register that the kernel
 * keeps in the frame, one that uses the carry, and one of each kind.
 */
#define FEW(X)								\
	X(few_load, "movq 8(%rdi), %rdi", READ(8))			\
	X(few_adc, "adcq 8(%rdi), %rbx", READ(8))			\
	X(few_store, "movq %rbx, 8(%rdi)", WRITE(8))			\
	X(few_lock_add, "lock addq %rbx, 8(%rdi)", WRITE(8))		\
	X(few_movaps, "movaps 16(%rdi), %xmm5", READ(16))		\
	X(few_both, "movq (%rdi), %rax; movq %rax, (%rsi)", .si = PAGE + 8, \
	  .closed = CLOSED(1) | CLOSED(2), AT({ D, READS }, { PAGE + 8, WRITES }))

/* These need memory, and the direction flag, as they have them. */
#define FEW_MORE(X)							\
	X(few_push, "pushq 8(%rdi)", READ(8))				\
	X(few_movups, "movups %xmm5, 1(%rdi)", WRITE(1))		\
	X(few_movsb, "rep movsb", .si = 64, .di = 2 * PAGE - 100, .cx = 300, CROSS(2, WRITES)) \
	X(few_call, "callq *%rdi", .prepare = code_returns, FETCH)

TABLE(few, FEW);
TABLE(few_more, FEW_MORE);

TEST_F(upcall, every_combination_of_arithmetic_flags)
{
	struct state state = { .name = "arithmetic flags", .vec = usual_vec };
	unsigned int i;

	for (i = 0; i < 64; i++) {
		state.flags = all_flags(i) | (i % 2 ? FLAG_ID : 0);
		check_row(_metadata, &few[0], &state);
		check_row(_metadata, &few[1], &state);
	}
}

TEST_F(upcall, direction_and_other_flags)
{
	static const struct {
		const char *name;
		uint64_t flags;
	} table[] = {
		{ "DF", FLAG_DF | FLAG_ZF },
		{ "AC", FLAG_AC | FLAG_OF },
		{ "NT", FLAG_NT | FLAG_CF },
		{ "ID", FLAG_ID | FLAG_CF },
		{ "AC, DF, NT", FLAG_AC | FLAG_DF | FLAG_NT | FLAGS_ARITH },
	};
	struct state state = { .vec = usual_vec };
	unsigned int i;

	/*
	 * A signal handler begins with AC as it was, and may make accesses that
	 * are not aligned; the return from it restores neither NT nor ID.
	 */
	for (i = 0; i < (setup.signal ? 1 : COUNT(table)); i++) {
		state.name = table[i].name;
		state.flags = table[i].flags;
		CHECK_ALL(few, &state);
	}
}

TEST_F(upcall, stack_pointer_at_any_byte)
{
	struct state state = usual;

	state.name = "odd stack";
	for (state.lower = 1; state.lower < 16; state.lower++) {
		CHECK_ALL(few, &state);
		CHECK_ALL(few_more, &state);
	}
}

/* The frame cannot be written at once: it is when the thread may sleep. */
TEST_F(upcall, stack_that_was_never_touched)
{
	static const int frame = sizeof(struct avm_upcall);
	struct state state = usual;

	state.name = "untouched stack";
	state.untouched_stack = true;
	CHECK_ALL(few, &state);
	CHECK_ALL(few_more, &state);
	/* Part of the frame is in the page that is there. */
	state.lower = -frame / 2;
	CHECK_ALL(few, &state);
	CHECK_ALL(few_more, &state);
	state.lower = -frame / 2 - 3;
	CHECK_ALL(few, &state);
}

TEST_F(upcall, pages_that_were_never_touched)
{
	struct state state = usual;

	state.name = "untouched pages";
	state.untouched_pages = true;
	CHECK_ALL(loads, &state);
	CHECK_ALL(stores, &state);
	CHECK_ALL(changes, &state);
	CHECK_ALL(across, &state);
}

TEST_F(upcall, handler_that_traps_itself)
{
	struct state state = usual;

	state.name = "nested";
	state.nested = true;
	CHECK_ALL(few, &state);
	CHECK_ALL(few_more, &state);
	CHECK_ALL(strings, &state);
	CHECK_ALL(x87, &state);
	CHECK_ALL(sse, &state);
}

/* States of x87 and vector registers. */
static void full_vec(uint8_t *vec)
{
	usual_vec(vec);
	regs_put(&vec[VEC_FSW], 5 << 11, 2);
	vec[VEC_FTW] = 0xff;
}

static void empty_vec(uint8_t *vec)
{
	usual_vec(vec);
	regs_put(&vec[VEC_FSW], 0x4700, 2);
	vec[VEC_FTW] = 0;
}

static void mmx_vec(uint8_t *vec)
{
	unsigned int i;

	usual_vec(vec);
	regs_put(&vec[VEC_FSW], 0, 2);
	vec[VEC_FTW] = 0xff;
	for (i = 0; i < 8; i++)
		regs_put(&vec[VEC_ST + 16 * i + 8], 0xffff, 2);
}

/* The next x87 instruction is to raise #MF: none of ours may be that. */
static void pending_vec(uint8_t *vec)
{
	usual_vec(vec);
	regs_put(&vec[VEC_FCW], 0x037b, 2);
	regs_put(&vec[VEC_FSW], 0x8084 | 3 << 11, 2);
}

static void unmasked_vec(uint8_t *vec)
{
	usual_vec(vec);
	regs_put(&vec[VEC_FCW], 0x0c40, 2);
	regs_put(&vec[VEC_FSW], 3 << 11, 2);
	regs_put(&vec[VEC_MXCSR], 0x4000, 4);
}

/* Components in their initial state, of which XSAVE may save nothing. */
static void initial_vec(uint8_t *vec)
{
	regs_vec_fill(vec, 1);
	regs_put(&vec[VEC_HEADER], 0, 8);
}

static void only_x87_vec(uint8_t *vec)
{
	usual_vec(vec);
	regs_put(&vec[VEC_HEADER], 1, 8);
}

static void only_sse_vec(uint8_t *vec)
{
	usual_vec(vec);
	regs_put(&vec[VEC_HEADER], 2, 8);
}

static void only_beyond_sse_vec(uint8_t *vec)
{
	usual_vec(vec);
	regs_put(&vec[VEC_HEADER], regs_mask & ~3u, 8);
}

TEST_F(upcall, every_state_of_x87_and_vector_registers)
{
	static const struct state states[] = {
		{ .name = "x87 full", .vec = full_vec },
		{ .name = "x87 empty", .vec = empty_vec },
		{ .name = "MMX", .vec = mmx_vec },
		{ .name = "x87 exception pending", .vec = pending_vec },
		{ .name = "exceptions unmasked", .vec = unmasked_vec },
		{ .name = "all initial", .vec = initial_vec },
		{ .name = "only x87", .vec = only_x87_vec },
		{ .name = "only SSE", .vec = only_sse_vec },
		{ .name = "only beyond SSE", .vec = only_beyond_sse_vec },
	};
	unsigned int i;

	for (i = 0; i < COUNT(states); i++) {
		CHECK_ALL(few, &states[i]);
		CHECK_ALL(few_more, &states[i]);
	}
}

static uint16_t rounding_control;
static uint32_t rounding_mxcsr;

static void rounding_vec(uint8_t *vec)
{
	usual_vec(vec);
	regs_put(&vec[VEC_FCW], rounding_control, 2);
	regs_put(&vec[VEC_MXCSR], rounding_mxcsr, 4);
}

TEST_F(upcall, every_rounding_mode)
{
	static const uint16_t control[] = { 0x007f, 0x0e7f, 0x067f, 0x0b7f };
	static const uint32_t mxcsr[] = { 0x1f80, 0x3f80, 0x5fc0, 0xff80 };
	static const struct state state = { .name = "rounding", .vec = rounding_vec };
	unsigned int i;

	for (i = 0; i < COUNT(control); i++) {
		rounding_control = control[i];
		rounding_mxcsr = mxcsr[i];
		CHECK_ALL(few, &state);
		check_row(_metadata, row_named(x87, COUNT(x87), "fadd_from"), &state);
		check_row(_metadata, row_named(sse, COUNT(sse), "divpd_from"), &state);
	}
}

/*
 * Where the handler has a stack of its own, the interrupted code's may be what
 * is closed.
 */
FIXTURE(own_stack) {
};

FIXTURE_VARIANT(own_stack) {
	struct setup setup;
};

VARIANT(own_stack, plain, .flags = AVM_TRAP_ONSTACK, .stack = OTHER_STACK);
VARIANT(own_stack, novector, .flags = AVM_TRAP_ONSTACK | AVM_TRAP_NOVECTOR,
	.stack = OTHER_STACK);
VARIANT(own_stack, raise, .flags = AVM_TRAP_ONSTACK | AVM_TRAP_RAISE, .stack = OTHER_STACK);
VARIANT(own_stack, signal, .signal = true, .stack = OTHER_STACK);

FIXTURE_SETUP(own_stack) {
	set_up(&variant->setup);
}

FIXTURE_TEARDOWN(own_stack) {
	tear_down();
}

/* The red zone is in the closed page, too, and is compared as memory. */
#define PUSH(bytes)	.sp = D, .closed = CLOSED(2), .writes = true, \
	AT({ D - (bytes), WRITES })

#define PUSHES(X)							\
	X(push, "pushq %rbx", PUSH(8))					\
	X(push_rsp, "pushq %rsp", PUSH(8))				\
	X(push_2, "pushw %bx", PUSH(2))					\
	X(pushf, "pushfq", PUSH(8))					\
	X(call, "call 1f\n1:", PUSH(8))					\
	X(enter, "enter $16, $0", PUSH(8))				\
	X(push_across, "pushq %rbx", .sp = 2 * PAGE + 3, .closed = CLOSED(1) | CLOSED(2), \
	  .writes = true, AT({ 2 * PAGE - 5, WRITES }, { 2 * PAGE, WRITES })) \
	X(red_zone_store, "movq %rbx, -128(%rsp)", PUSH(128))		\
	X(red_zone_load, "movq -8(%rsp), %rbx", .sp = D, .closed = CLOSED(2), \
	  AT({ D - 8, READS }))						\
	X(pop_within, "popq %rbx", .sp = D, .closed = CLOSED(2), AT({ D, READS }))

TABLE(pushes, PUSHES);

TEST_F(own_stack, pushes_to_a_closed_stack)
{
	CHECK_ALL(pushes, &usual);
}

TEST_HARNESS_MAIN
