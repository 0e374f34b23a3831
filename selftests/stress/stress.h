/* SPDX-License-Identifier: GPL-2.0 */
/*
 * stress.h - what the files of the stress program share
 *
 * A run is a series of episodes, each in processes of its own. In an episode
 * every thread has a *slot*: some pages of each of the shared spaces, which
 * only its views show, and an *arena*, a part of the address space where they
 * are. So a thread knows exactly what has to come of its operations, though
 * page tables, locks, spaces and flushes are shared with all others.
 *
 * An operation (struct op) names pages by their numbers in the arena. It means
 * something whatever has gone before: this is what lets operations be left out
 * of a sequence to make it shorter.
 *
 *	gen.c		makes operations up
 *	ops.c		writes and reads them as text
 *	model.c		what is mapped where, and what each page holds
 *	expect.c	what an operation must result in; changes the model
 *	exec.c		does it, for real
 *	access.c	accesses of single bytes, upcalls and signals
 *	episode.c	processes and threads, comparison
 *	shrink.c	from a long sequence that fails to a short one
 *	shared.c	the other mode: threads that share their pages
 */
#ifndef STRESS_H
#define STRESS_H

#include "../avmtest.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define SPACES		2
#define SLOTS		16		/* threads, over all processes */
#define REGION		600u		/* pages of each space that are a slot's */
#define ARENA		1700u		/* pages */
#define ARENAS		0x100000000000ul	/* address of the first */
#define BYTES		4		/* bytes of a page that are accessed */
#define RANGES		5		/* in a vector, at most */
#define WORDS		64		/* of an answer, at most */
#define EVENTS		4		/* in an access, at most */
#define EPISODE		4000u		/* operations, at most */
#define ACCESSES	110u		/* to 137 other operations: see gen.c */

enum kind {
	OP_ACCESS, OP_SYSCALL, OP_PROTECT, OP_PROTECT_PAGE, OP_SCAN, OP_DISCARD, OP_POPULATE,
	OP_MAP, OP_UNMAP, OP_MOVE, OP_MAP2, OP_TRAP, OP_UNTRAP, OP_FORK, OP_DEBUG, OP_MPROTECT,
	OP_QUERY, OP_CREATE, OP_STATS, KINDS
};

/* struct op, how: of OP_ACCESS. */
enum { READ, WRITE, MODIFY, FETCH };

/* struct op, deed: what a trap handler does. */
enum { SKIP_IT, RETRY, OPEN_PAGE, PASS, DEEDS };

/* struct op, bad: what is wrong with the arguments. */
enum {
	GOOD, BAD_SIZE, BAD_LARGE, BAD_FLAGS, BAD_COUNT, BAD_MANY, BAD_POINTER, BAD_ALIGN,
	BAD_EMPTY, BAD_WRAP, BAD_RESERVED, BAD_PROT, BAD_BUFFER, BAD_MATCH, BADS
};

struct pages {
	uint32_t at, n, prot, bad;
};

/*
 * One operation. What the fields mean is up to its kind; pages are numbers in
 * the arena.
 */
struct op {
	uint32_t kind;
	uint32_t by_signal;	/* done in a signal handler */
	uint32_t space;		/* whose descriptor is used */
	uint32_t bad;
	uint32_t at, n;
	uint32_t to, m;		/* a second place */
	uint32_t prot, prot2;
	uint32_t how;
	uint32_t flags;
	uint32_t deed;
	uint32_t byte;
	uint32_t value;
	uint32_t count;
	struct pages range[RANGES];
};

/* What an access met on its way. */
struct event {
	uint64_t what;		/* EVENT_* */
	uint64_t addr;
	uint64_t access;	/* of an upcall; si_code of a signal */
	uint64_t arg;
	int64_t did;		/* result of what the handler did */
};

enum { EVENT_NONE, EVENT_UPCALL, EVENT_SIGNAL };

/* What an operation results in. All of it is compared, so unused parts are 0. */
struct result {
	int64_t ret;
	uint64_t out[4];
	struct event event[EVENTS];
	uint64_t words[WORDS];
};

struct page {
	int view;		/* -1: nothing is mapped */
	uint32_t pgoff;		/* in the region */
	uint8_t starts;		/* a VMA begins here */
	uint8_t prot;
	uint8_t bits;		/* AVM_PAGE_* */
};

struct trap {
	uint32_t first, end;	/* pages of the region */
	uint64_t arg;
	uint8_t raise;
};

struct view {
	int space;
	uint8_t allowed;
	uint32_t pages;		/* 0: the view does not exist */
	struct trap *traps;
	uint32_t n_traps;
};

struct frame {
	uint8_t present;
	uint8_t byte[BYTES];
};

struct model {
	struct page page[ARENA];
	struct view view[ARENA];
	struct frame frame[SPACES][REGION];
	struct page *unsure;	/* it may have been accessed, or not */
	bool alone;		/* nobody else uses the spaces */
};

/* All that a thread needs. */
struct slot {
	unsigned int number;
	char *arena;
	int fd[SPACES];
	int dev;
	int pipe[2];
	int mem;		/* /proc/self/mem */
	struct model model;
	const struct op *pending;	/* for the signal handler */
	struct result got;
};

/* Who runs, and what. */
struct plan {
	uint64_t seed;
	unsigned int processes, threads;	/* threads of each */
	unsigned int first_slot;
	unsigned int ops;		/* of each thread */
	uint32_t only;			/* kinds, a bit each */
	uint32_t accesses;		/* to 137 others; those above ACCESSES go well */
	const struct op *script;	/* instead of what seed makes */
};

/* What came of an episode; the same memory for all processes. */
struct report {
	_Atomic int failed;		/* the first that fails says how */
	unsigned int slot;
	unsigned int steps;		/* operations before the one that failed */
	char text[8192];
	_Atomic uint64_t frames[SPACES];
	_Atomic uint64_t done;
	unsigned int made[SLOTS];
	struct op op[SLOTS][EPISODE];
};

/* The same on every run of a seed. */
struct random {
	uint64_t state;
};

static inline uint32_t next(struct random *r)
{
	r->state = r->state * 6364136223846793005ull + 1442695040888963407ull;
	return r->state >> 33;
}

static inline uint32_t below(struct random *r, uint32_t n)
{
	return next(r) % n;
}

/* Where in a page the bytes are that are accessed. */
extern const uint16_t byte_at[BYTES];
extern const char *const kind_names[KINDS];

struct op gen_op(struct random *r, const struct slot *s, const struct plan *plan,
		 unsigned int n);

void op_print(FILE *to, const struct op *op);
bool op_parse(const char *line, struct op *op);
void result_print(FILE *to, const struct result *expected, const struct result *got);

void model_init(struct model *m);
void model_end(struct model *m);
void model_map(struct model *m, uint32_t at, uint32_t n, int space, uint32_t pgoff,
	       int allowed, int prot);
void model_unmap(struct model *m, uint32_t at, uint32_t n);
void model_move(struct model *m, uint32_t at, uint32_t to, uint32_t n);
struct page *model_page(struct model *m, uint32_t at);
struct frame *model_frame(struct model *m, const struct page *p);
int model_allowed(const struct model *m, const struct page *p);
uint32_t model_vma_end(const struct model *m, uint32_t at);
const struct trap *model_trap(const struct model *m, const struct page *p);
int model_trap_add(struct model *m, int space, uint32_t at, uint32_t n, uint64_t arg,
		   int raise);
int model_trap_remove(struct model *m, int space, uint32_t at, uint32_t n);
void model_discard(struct model *m, int space, uint32_t pgoff);
uint64_t model_count_views(const struct model *m, int space);
uint64_t model_count_frames(const struct model *m, int space);

void expect(struct slot *s, const struct op *op, const struct result *got,
	    struct result *expected);

void exec_op(struct slot *s, const struct op *op, struct result *got);

void access_setup(void);
void access_begin(struct slot *s);
void access_do(struct slot *s, const struct op *op, struct result *got);
void upcall_entry(void);

bool episode(const struct plan *plan, struct report *report);
unsigned int shrink(struct plan *plan, struct report *report, struct op *ops);
int shared_mode(uint64_t seed, unsigned int threads, unsigned int seconds);

static inline bool prot_valid(uint32_t prot)
{
	return prot <= RWX && (0xab >> prot & 1);
}

#endif /* STRESS_H */
