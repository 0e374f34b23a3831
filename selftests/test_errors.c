// SPDX-License-Identifier: GPL-2.0
/*
 * Bad input to every call: each is the errno that the ABI header names, and a
 * failed call has changed nothing but what its count of work done says. What a
 * call changed is seen from outside: by trying each page, by the dirty bits, by
 * the contents, by the counts of pages and views.
 *
 * All that is mapped is at fixed addresses far below where mmap(2) puts things
 * by itself, so that holes stay holes.
 */
#include <stdbool.h>
#include <stddef.h>

#include "avmtest.h"
#include "entry.h"
#include "harness.h"

#define N	16ul
#define AT(page)	(0x100000000ul + (page) * PAGE)
#define VIEW	AT(0)		/* N pages, rw, pages 0.. of the space */
#define HOLE	AT(32)
#define LOW	AT(64)		/* 4 pages whose mapping is r; next to it: */
#define HIGH	AT(68)		/* 4 pages whose mapping is rw; and next to it: */
#define TOP	AT(72)		/* 2 pages whose mapping is r */
#define OTHER	AT(96)		/* 4 pages of another space */
#define ANON	AT(128)		/* 4 pages that are no view */
#define SHUT	AT(160)		/* 4 pages whose mapping is none */
#define SPLIT	AT(192)		/* 2 pages of the space, a hole, 2 pages */
#define EDGE	AT(256)		/* an ordinary page, then nothing */
#define MIXED	AT(320)		/* an ordinary page, then a read-only one */
#define ARG	AT(384)		/* where structures are */
#define ALIAS	AT(512)		/* the N pages again, always rw */
#define FRESH	24ul		/* a page of the space, never touched */
#define KERNEL	0xffff800000000000ul

static int dev, space, other;
static char *const view = (char *)VIEW;
static char *const alias = (char *)ALIAS;

/* What each page of the view ought to be. */
static struct {
	int prot;
	bool dirty;
	char value;
} model[N];
static uint64_t resident, views;

static void map(unsigned long at, unsigned long pages, int prot, int fd, long first)
{
	int flags = MAP_FIXED_NOREPLACE |
		(fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);

	must(mmap((void *)at, pages * PAGE, prot, flags, fd,
		  fd < 0 ? 0 : first * PAGE) == (void *)at);
}

static void setup(void)
{
	dev = open(AVM_DEVICE, O_RDWR | O_CLOEXEC);
	must(dev >= 0);
	space = space_new(64);
	other = space_new(64);
	map(VIEW, N, RW, space, 0);
	map(ALIAS, N, RW, space, 0);
	map(LOW, 4, R, space, 32);
	map(HIGH, 4, RW, space, 36);
	map(TOP, 2, R, space, 50);
	map(OTHER, 4, RW, other, 0);
	map(ANON, 4, RW, -1, 0);
	map(SHUT, 4, NONE, space, 40);
	map(SPLIT, 2, RW, space, 44);
	map(SPLIT + 3 * PAGE, 2, RW, space, 47);
	map(EDGE, 1, RW, -1, 0);
	map(MIXED, 1, RW, -1, 0);
	map(MIXED + PAGE, 1, R, -1, 0);
	map(ARG, 4, RW, -1, 0);
	denied_setup();
}

/* Give the pages various protections, dirtiness and contents. */
static void reset(void)
{
	static const int prots[] = { NONE, R, RW };
	struct avm_range ranges[N];
	unsigned long i;

	must(!protect(space, view, N, RW));
	for (i = 0; i < N; i++)
		view[i * PAGE] = i + 1;
	must(dirty(space, view, N, NULL) >= 0);
	for (i = 0; i < N; i++) {
		model[i].prot = prots[i % 3];
		model[i].dirty = i % 4 == 0;
		model[i].value = i + 1;
		if (model[i].dirty)
			view[i * PAGE] = i + 1;
		ranges[i] = (struct avm_range){ VIEW + i * PAGE, PAGE, prots[i % 3], 0 };
	}
	must(!batch(space, AVM_IOC_PROTECT, ranges, N, NULL));
	resident = stats(space).out_resident_pages;
	views = stats(space).out_views;
	upcalls_made = 0;
}

/*
 * Pages that are not as the model says, or other things that have changed.
 * Trying makes pages dirty, which the model is told.
 */
static int wrong(void)
{
	struct avm_stats now = stats(space);
	uint64_t bits = 0;
	unsigned long i;
	int prot, n = 0;

	if (now.out_resident_pages != resident || now.out_views != views) {
		printf("# pages or views have come or gone\n");
		n++;
	}
	must(scan(space, view, N, AVM_PAGE_DIRTY, 0, &bits) >= 0);
	for (i = 0; i < N; i++) {
		char value = alias[i * PAGE];

		bool expected = bit(&bits, i) == model[i].dirty && value == model[i].value;

		prot = try_read(view + i * PAGE) ? NONE : R;
		if (!try_write(view + i * PAGE, value)) {
			prot |= AVM_PROT_WRITE;
			model[i].dirty = true;
		}
		if (expected && prot == model[i].prot)
			continue;
		printf("# page %lu: prot %d dirty %d value %d; expected %d %d %d\n",
		       i, prot, bit(&bits, i), value, model[i].prot,
		       model[i].dirty, model[i].value);
		n++;
	}
	if (upcalls_made) {
		printf("# %u upcalls\n", upcalls_made);
		n++;
	}
	return n;
}

/* Every call there is, with arguments that would work and would show. */
static const struct command {
	const char *name;
	unsigned long cmd;
	size_t size;
	size_t out;		/* where its answers begin */
	uint32_t flags;		/* that it knows */
} commands[] = {
	{ "query", AVM_IOC_QUERY, sizeof(struct avm_query),
	  offsetof(struct avm_query, out_abi_version), 0 },
	{ "create", AVM_IOC_CREATE, sizeof(struct avm_create), sizeof(struct avm_create), 0 },
	{ "protect", AVM_IOC_PROTECT, sizeof(struct avm_batch),
	  offsetof(struct avm_batch, out_done), 0 },
	{ "discard", AVM_IOC_DISCARD, sizeof(struct avm_batch),
	  offsetof(struct avm_batch, out_done), 0 },
	{ "populate", AVM_IOC_POPULATE, sizeof(struct avm_batch),
	  offsetof(struct avm_batch, out_done), 0 },
	{ "scan", AVM_IOC_SCAN, sizeof(struct avm_scan), offsetof(struct avm_scan, out_pages),
	  AVM_SCAN_BITMAP | AVM_SCAN_RANGES | AVM_SCAN_PROTECT },
	{ "map2", AVM_IOC_MAP2, sizeof(struct avm_map2), offsetof(struct avm_map2, out_addr),
	  AVM_MAP2_FIXED },
	{ "stats", AVM_IOC_STATS, sizeof(struct avm_stats),
	  offsetof(struct avm_stats, out_length), 0 },
	{ "trap", AVM_IOC_TRAP, sizeof(struct avm_trap), sizeof(struct avm_trap),
	  AVM_TRAP_ONSTACK },
};

#define COMMANDS	(sizeof(commands) / sizeof(commands[0]))
#define for_each_command(c)	for (c = commands; c < commands + COMMANDS; c++)

static struct avm_range one_range;

static int fd_of(const struct command *c)
{
	return c->cmd == AVM_IOC_CREATE ? dev : space;
}

/* Page 2 is rw, page 4 is dirty, page FRESH has no frame (seen by SPLIT). */
static void fill_batch(const struct command *c, struct avm_batch *arg)
{
	one_range = (struct avm_range){ VIEW + 2 * PAGE, PAGE, NONE, 0 };
	if (c->cmd == AVM_IOC_DISCARD)
		one_range.addr = VIEW + 4 * PAGE;
	if (c->cmd == AVM_IOC_POPULATE)
		one_range.addr = SPLIT;
	arg->ranges = (uintptr_t)&one_range;
	arg->count = 1;
}

/* Page 0 is none. */
static void fill_trap(struct avm_trap *arg)
{
	arg->addr = VIEW;
	arg->length = PAGE;
	arg->entry = (uintptr_t)upcall_entry;
}

static void *fill(const struct command *c, void *at)
{
	struct avm_scan *scan_arg = at;
	struct avm_map2 *map2_arg = at;

	memset(at, 0, c->size);
	*(uint32_t *)at = c->size;
	switch (c->cmd) {
	case AVM_IOC_CREATE:
		((struct avm_create *)at)->length = PAGE;
		break;
	case AVM_IOC_SCAN:
		scan_arg->addr = VIEW;
		scan_arg->length = N * PAGE;
		scan_arg->match = AVM_PAGE_DIRTY;
		scan_arg->clear = AVM_PAGE_DIRTY;
		break;
	case AVM_IOC_MAP2:
		map2_arg->addr = VIEW;
		map2_arg->length = PAGE;
		map2_arg->max_prot = RW;
		break;
	case AVM_IOC_PROTECT:
	case AVM_IOC_DISCARD:
	case AVM_IOC_POPULATE:
		fill_batch(c, at);
		break;
	case AVM_IOC_TRAP:
		fill_trap(at);
		break;
	}
	return at;
}

static int trap(int fd, unsigned long addr, unsigned long length, const void *entry,
		uint32_t raise)
{
	struct avm_trap arg = {
		.size = sizeof(arg), .addr = addr, .length = length,
		.entry = (uintptr_t)entry, .raise = raise,
	};

	return call(fd, AVM_IOC_TRAP, &arg);
}

/* What a call that went through has made. Returns 0 if it did go through. */
static int undo(const struct command *c, void *at, int ret)
{
	struct avm_map2 *map2_arg = at;

	if (ret < 0)
		return ret;
	if (c->cmd == AVM_IOC_CREATE)
		return close(ret);
	if (c->cmd == AVM_IOC_MAP2)
		must(!munmap((void *)(uintptr_t)map2_arg->out_addr, map2_arg->length));
	if (c->cmd == AVM_IOC_POPULATE)
		must(!discard(space, (void *)SPLIT, 1));
	if (c->cmd == AVM_IOC_TRAP)
		must(!trap(space, VIEW, PAGE, NULL, 0));
	return ret;
}

#define refused(err, c, at, ...)					\
	EXPECT_EQ(-(err), call(fd_of(c), (c)->cmd, at)) TH_LOG("%s: " __VA_ARGS__)

/* What a call did by mistake is not undone by the next that fails: look once. */
#define unchanged(c) EXPECT_EQ(0, wrong()) TH_LOG("%s changed something", (c)->name)

TEST(every_call_goes_through_with_good_input)
{
	const struct command *c;

	setup();
	for_each_command(c) {
		reset();
		EXPECT_EQ(0, undo(c, (void *)ARG, call(fd_of(c), c->cmd, fill(c, (void *)ARG))))
			TH_LOG("%s", c->name);
	}
	EXPECT_EQ(0, call(dev, AVM_IOC_QUERY, fill(commands, (void *)ARG)));
}

TEST(a_size_below_the_first_version_is_EINVAL)
{
	const struct command *c;
	unsigned int i;

	setup();
	reset();
	for_each_command(c) {
		const uint32_t sizes[] = { 0, 1, 4, 7, 8, c->size - 8, c->size - 4, c->size - 1 };

		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			*(uint32_t *)fill(c, (void *)ARG) = sizes[i];
			refused(EINVAL, c, (void *)ARG, "size %u", c->name, sizes[i]);
		}
		unchanged(c);
	}
}

TEST(a_longer_size_with_zeros_is_accepted)
{
	const struct command *c;
	unsigned int i;

	setup();
	memset((void *)ARG, 0, 2 * PAGE);
	for_each_command(c) {
		const uint32_t sizes[] = { c->size + 1, c->size + 4, c->size + 8, PAGE };

		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			reset();
			*(uint32_t *)fill(c, (void *)ARG) = sizes[i];
			EXPECT_EQ(0, undo(c, (void *)ARG, call(fd_of(c), c->cmd, (void *)ARG)))
				TH_LOG("%s: size %u", c->name, sizes[i]);
			/* The kernel writes nothing that it does not know. */
			EXPECT_EQ(0, *(char *)(ARG + c->size));
			EXPECT_EQ(sizes[i], *(uint32_t *)ARG);
			memset((void *)ARG, 0, PAGE);
		}
	}
}

TEST(a_longer_size_with_something_in_it_is_E2BIG)
{
	const struct command *c;
	unsigned int i;

	setup();
	reset();
	for_each_command(c) {
		const uint32_t sizes[] = { c->size + 1, c->size + 8, c->size + 9, PAGE };

		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			memset((void *)ARG, 0, PAGE);
			*(uint32_t *)fill(c, (void *)ARG) = sizes[i];
			*(char *)(ARG + sizes[i] - 1) = 1;
			refused(E2BIG, c, (void *)ARG, "size %u, last byte", c->name, sizes[i]);
			*(char *)(ARG + sizes[i] - 1) = 0;
			*(char *)(ARG + c->size) = 0x80;
			refused(E2BIG, c, (void *)ARG, "size %u, first byte", c->name, sizes[i]);
		}
		unchanged(c);
	}
}

TEST(a_size_above_a_page_is_E2BIG)
{
	static const uint32_t sizes[] = { PAGE + 1, PAGE + 8, 2 * PAGE, 1u << 31, ~0u };
	const struct command *c;
	unsigned int i;

	setup();
	reset();
	memset((void *)ARG, 0, 4 * PAGE);
	for_each_command(c) {
		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			*(uint32_t *)fill(c, (void *)ARG) = sizes[i];
			refused(E2BIG, c, (void *)ARG, "size %u", c->name, sizes[i]);
		}
		unchanged(c);
		memset((void *)ARG, 0, PAGE);
	}
}

TEST(an_unknown_flag_is_EOPNOTSUPP)
{
	const struct command *c;
	uint32_t flag;

	setup();
	reset();
	for_each_command(c) {
		for (flag = 1; flag; flag <<= 1) {
			if (flag & c->flags)
				continue;
			((uint32_t *)fill(c, (void *)ARG))[1] = flag;
			refused(EOPNOTSUPP, c, (void *)ARG, "flag %#x", c->name, flag);
			((uint32_t *)ARG)[1] |= c->flags & 1;
			refused(EOPNOTSUPP, c, (void *)ARG, "flag %#x and another", c->name, flag);
		}
		unchanged(c);
	}
}

TEST(a_structure_that_cannot_be_read_is_EFAULT)
{
	static const unsigned long places[] = {
		0, 1, PAGE - 8, HOLE, HOLE + 8, KERNEL, -PAGE, -8ul, 0x8000000000000000ul,
		SHUT, EDGE + PAGE,
	};
	const struct command *c;
	unsigned long at;
	unsigned int i;

	setup();
	reset();
	for_each_command(c) {
		for (i = 0; i < sizeof(places) / sizeof(places[0]); i++)
			refused(EFAULT, c, (void *)places[i], "at %#lx", c->name, places[i]);
		/* Some of it is there: the size, all but the last byte. */
		at = EDGE + PAGE - 4;
		*(uint32_t *)at = c->size;
		refused(EFAULT, c, (void *)at, "only the size", c->name);
		at = EDGE + PAGE - c->size + 1;
		memcpy((void *)at, fill(c, (void *)ARG), c->size - 1);
		refused(EFAULT, c, (void *)at, "all but a byte", c->name);
		/* A long one whose tail is not there. */
		at = EDGE + PAGE - c->size;
		*(uint32_t *)fill(c, (void *)at) = c->size + 8;
		refused(EFAULT, c, (void *)at, "no tail", c->name);
		unchanged(c);
	}
}

TEST(a_structure_that_cannot_be_written_is_EFAULT_before_anything_is_done)
{
	const struct command *c;
	unsigned long at;

	setup();
	reset();
	for_each_command(c) {
		if (c->out == c->size)
			continue; /* nothing to write */
		must(!mprotect((void *)ARG, PAGE, RW));
		fill(c, (void *)ARG);
		must(!mprotect((void *)ARG, PAGE, R));
		refused(EFAULT, c, (void *)ARG, "read-only", c->name);
		/* The answers are in a page that can only be read. */
		at = MIXED + PAGE - c->out;
		must(!mprotect((void *)MIXED, 2 * PAGE, RW));
		fill(c, (void *)at);
		must(!mprotect((void *)(MIXED + PAGE), PAGE, R));
		refused(EFAULT, c, (void *)at, "answers read-only", c->name);
		/* All of them can be written but the last 4 bytes. */
		at = MIXED + PAGE - c->size + 4;
		must(!mprotect((void *)MIXED, 2 * PAGE, RW));
		fill(c, (void *)at);
		must(!mprotect((void *)(MIXED + PAGE), PAGE, R));
		refused(EFAULT, c, (void *)at, "last answer read-only", c->name);
		unchanged(c);
	}
}

TEST(a_structure_without_answers_is_only_read)
{
	const struct command *create = &commands[1];
	int fd;

	setup();
	fill(create, (void *)ARG);
	must(!mprotect((void *)ARG, PAGE, R));
	fd = call(dev, AVM_IOC_CREATE, (void *)ARG);
	EXPECT_LE(0, fd);
	close(fd);
	must(!mprotect((void *)ARG, PAGE, RW));
	fill(&commands[COMMANDS - 1], (void *)ARG);
	must(!mprotect((void *)ARG, PAGE, R));
	EXPECT_EQ(0, call(space, AVM_IOC_TRAP, (void *)ARG));
	EXPECT_EQ(0, trap(space, VIEW, PAGE, NULL, 0));
}

TEST(a_structure_in_a_view_obeys_the_protection_of_its_page)
{
	const struct command *c;

	setup();
	for_each_command(c) {
		reset();
		/* In page 14, rw: it works there, and the page shows it. */
		fill(c, view + 14 * PAGE);
		EXPECT_EQ(0, undo(c, view + 14 * PAGE,
				  call(fd_of(c), c->cmd, view + 14 * PAGE)))
			TH_LOG("%s", c->name);
		reset();
		fill(c, alias + 12 * PAGE);
		model[12].value = alias[12 * PAGE];
		refused(EFAULT, c, view + 12 * PAGE, "in a page without access", c->name);
		unchanged(c);
		if (c->out == c->size)
			continue;
		reset();
		fill(c, alias + 13 * PAGE);
		model[13].value = alias[13 * PAGE];
		refused(EFAULT, c, view + 13 * PAGE, "in a read-only page", c->name);
		unchanged(c);
	}
}

TEST(a_descriptor_of_another_kind_is_ENOTTY)
{
	const struct command *c;
	int fds[4], i;

	setup();
	reset();
	must(!pipe(fds));
	fds[2] = open("/dev/null", O_RDWR);
	fds[3] = memfd_create("file", 0);
	must(fds[2] >= 0 && fds[3] >= 0);
	for_each_command(c) {
		for (i = 0; i < 4; i++)
			EXPECT_EQ(-ENOTTY, call(fds[i], c->cmd, fill(c, (void *)ARG)))
				TH_LOG("%s: descriptor %d", c->name, i);
		if (c->cmd == AVM_IOC_QUERY)
			continue;
		EXPECT_EQ(-ENOTTY, call(c->cmd == AVM_IOC_CREATE ? space : dev, c->cmd,
					fill(c, (void *)ARG)))
			TH_LOG("%s: device and space exchanged", c->name);
		/* Even where it could not be read. */
		EXPECT_EQ(-ENOTTY, call(c->cmd == AVM_IOC_CREATE ? space : dev, c->cmd, NULL));
	}
	EXPECT_EQ(0, wrong());
}

TEST(a_closed_descriptor_is_EBADF)
{
	int closed, path = open(AVM_DEVICE, O_PATH);
	const struct command *c;

	setup();
	reset();
	closed = dup(space);
	must(path >= 0 && closed >= 0 && !close(closed));
	for_each_command(c) {
		EXPECT_EQ(-EBADF, call(closed, c->cmd, fill(c, (void *)ARG)));
		EXPECT_EQ(-EBADF, call(-1, c->cmd, fill(c, (void *)ARG)));
		EXPECT_EQ(-EBADF, call(path, c->cmd, fill(c, (void *)ARG)));
	}
	EXPECT_EQ(0, wrong());
}

static bool is_number_of_a_command(unsigned int nr)
{
	const struct command *c;

	for_each_command(c) {
		if (_IOC_NR(c->cmd) == nr)
			return true;
	}
	return false;
}

TEST(an_unknown_command_is_ENOTTY)
{
	const struct command *c;
	unsigned long cmd;
	unsigned int nr, i;

	setup();
	reset();
	memset((void *)ARG, 0, PAGE);
	*(uint32_t *)ARG = 64;
	for (nr = 0; nr < 256; nr++) {
		if (is_number_of_a_command(nr))
			continue;
		for (i = 0; i < 4; i++) {
			cmd = _IOC(i, AVM_IOC_MAGIC, nr, i ? 64 : 0);
			if (cmd == AVM_IOC_PROTECT_PAGE || cmd == AVM_IOC_TRAP_PASS)
				continue;
			EXPECT_EQ(-ENOTTY, call(space, cmd, (void *)ARG)) TH_LOG("%#lx", cmd);
			EXPECT_EQ(-ENOTTY, call(dev, cmd, (void *)ARG)) TH_LOG("%#lx", cmd);
		}
	}
	/* Known numbers with another direction or letter. */
	for_each_command(c) {
		fill(c, (void *)ARG);
		EXPECT_EQ(-ENOTTY, call(fd_of(c), c->cmd ^ (2u << _IOC_DIRSHIFT), (void *)ARG));
		EXPECT_EQ(-ENOTTY, call(fd_of(c), c->cmd ^ (1 << _IOC_TYPESHIFT), (void *)ARG));
	}
	EXPECT_EQ(0, wrong());
}

/* A structure that has grown since, or not yet: what it says itself counts. */
TEST(a_command_is_known_by_its_number_whatever_the_size_in_it)
{
	const struct command *c;

	setup();
	for_each_command(c) {
		const unsigned int others[] = {
			c->cmd + (8 << _IOC_SIZESHIFT), c->cmd - (8 << _IOC_SIZESHIFT),
		};
		unsigned int i;

		for (i = 0; i < 2; i++) {
			reset();
			fill(c, (void *)ARG);
			EXPECT_EQ(0, undo(c, (void *)ARG, call(fd_of(c), others[i], (void *)ARG)))
				TH_LOG("%s", c->name);
		}
	}
}

TEST(a_failed_call_writes_its_answers_and_nothing_else)
{
	struct avm_batch batch_arg = {
		.size = sizeof(batch_arg), .ranges = HOLE, .count = 7,
		.out_done = 0xdeadbeef, .out_bytes = ~0ull,
	};
	struct avm_scan scan_arg = {
		.size = sizeof(scan_arg), .addr = HOLE, .length = PAGE, .match = 1,
		.out_pages = ~0ull, .out_end = ~0ull, .out_spans = ~0ull,
	};
	struct avm_map2 map2_arg = {
		.size = sizeof(map2_arg), .addr = HOLE, .length = PAGE, .out_addr = ~0ull,
	};

	setup();
	EXPECT_EQ(-EFAULT, call(space, AVM_IOC_PROTECT, &batch_arg));
	EXPECT_EQ(0, batch_arg.out_done);
	EXPECT_EQ(0, batch_arg.out_bytes);
	EXPECT_EQ(HOLE, batch_arg.ranges);
	EXPECT_EQ(7, batch_arg.count);
	EXPECT_EQ(-ENXIO, call(space, AVM_IOC_SCAN, &scan_arg));
	EXPECT_EQ(0, scan_arg.out_pages);
	EXPECT_EQ(HOLE, scan_arg.out_end);
	EXPECT_EQ(0, scan_arg.out_spans);
	EXPECT_EQ(HOLE, scan_arg.addr);
	EXPECT_EQ(-ENXIO, call(space, AVM_IOC_MAP2, &map2_arg));
	EXPECT_EQ(0, map2_arg.out_addr);
}

/* Ranges that none of the three batches can do. */
static const struct bad {
	const char *what;
	struct avm_range range;
	int err;
} bad_ranges[] = {
	{ "address off by 1", { VIEW + 1, PAGE, 0, 0 }, EINVAL },
	{ "address off by 2048", { VIEW + 2048, PAGE, 0, 0 }, EINVAL },
	{ "length 1", { VIEW, 1, 0, 0 }, EINVAL },
	{ "length a page less 1", { VIEW, PAGE - 1, 0, 0 }, EINVAL },
	{ "length a page and 1", { VIEW, PAGE + 1, 0, 0 }, EINVAL },
	{ "no length", { VIEW, 0, 0, 0 }, EINVAL },
	{ "wrapping by a page", { -PAGE, 2 * PAGE, 0, 0 }, EINVAL },
	{ "wrapping to 0", { -PAGE, PAGE, 0, 0 }, EINVAL },
	{ "wrapping to itself", { VIEW, -PAGE, 0, 0 }, EINVAL },
	{ "reserved", { VIEW, PAGE, 0, 1 }, EINVAL },
	{ "reserved, high bit", { VIEW, PAGE, 0, 1u << 31 }, EINVAL },
	{ "a page beyond the view", { VIEW, (N + 1) * PAGE, 0, 0 }, ENXIO },
	{ "behind the view", { VIEW + N * PAGE, PAGE, 0, 0 }, ENXIO },
	{ "a page before the view", { VIEW - PAGE, 2 * PAGE, 0, 0 }, ENXIO },
	{ "far beyond the view", { VIEW, 1ul << 46, 0, 0 }, ENXIO },
	{ "up to the end of all", { VIEW, -VIEW - PAGE, 0, 0 }, ENXIO },
	{ "address 0", { 0, PAGE, 0, 0 }, ENXIO },
	{ "in the kernel", { KERNEL, PAGE, 0, 0 }, ENXIO },
	{ "not canonical", { 0x8000000000000000ul, PAGE, 0, 0 }, ENXIO },
	{ "nothing there", { HOLE, PAGE, 0, 0 }, ENXIO },
	{ "a hole in it", { SPLIT, 5 * PAGE, 0, 0 }, ENXIO },
	{ "another space", { OTHER, PAGE, 0, 0 }, ENXIO },
	{ "an ordinary mapping", { ANON, PAGE, 0, 0 }, ENXIO },
	{ "the program's own stack", { 0x7ffffffff000 - PAGE, PAGE, 0, 0 }, ENXIO },
};

#define BADS	(sizeof(bad_ranges) / sizeof(bad_ranges[0]))

static const unsigned long batches[] = {
	AVM_IOC_PROTECT, AVM_IOC_DISCARD, AVM_IOC_POPULATE,
};

TEST(a_bad_range_is_refused)
{
	const struct bad *b;
	struct avm_batch out;
	unsigned int i;

	setup();
	for (i = 0; i < 3; i++) {
		reset();
		for (b = bad_ranges; b < bad_ranges + BADS; b++) {
			EXPECT_EQ(-b->err, batch(space, batches[i], &b->range, 1, &out))
				TH_LOG("call %u: %s", i, b->what);
			EXPECT_EQ(0, out.out_done);
			EXPECT_EQ(0, out.out_bytes) TH_LOG("call %u: %s", i, b->what);
		}
		EXPECT_EQ(0, wrong()) TH_LOG("call %u", i);
	}
}

/* Ranges that can be done, and what they do. */
static void good_range(unsigned long cmd, unsigned long page, struct avm_range *range)
{
	*range = (struct avm_range){ VIEW + page * PAGE, PAGE, 0, 0 };
	if (cmd == AVM_IOC_PROTECT)
		range->prot = model[page].prot == RW ? NONE : RW;
}

static void good_done(unsigned long cmd, unsigned long page)
{
	if (cmd == AVM_IOC_PROTECT) {
		model[page].prot = model[page].prot == RW ? NONE : RW;
	} else if (cmd == AVM_IOC_DISCARD) {
		model[page].dirty = false;
		model[page].value = 0;
		resident--;
	}
}

TEST(a_bad_range_ends_the_call_where_it_stands)
{
	struct avm_range ranges[4];
	const struct bad *b;
	struct avm_batch out;
	unsigned int i;

	setup();
	for (i = 0; i < 3; i++) {
		for (b = bad_ranges; b < bad_ranges + BADS; b++) {
			reset();
			good_range(batches[i], 4, &ranges[0]);
			good_range(batches[i], 5, &ranges[1]);
			ranges[2] = b->range;
			good_range(batches[i], 8, &ranges[3]);
			EXPECT_EQ(-b->err, batch(space, batches[i], ranges, 4, &out))
				TH_LOG("call %u: %s", i, b->what);
			EXPECT_EQ(2, out.out_done) TH_LOG("call %u: %s", i, b->what);
			EXPECT_EQ(0, out.out_bytes) TH_LOG("call %u: %s", i, b->what);
			good_done(batches[i], 4);
			good_done(batches[i], 5);
			EXPECT_EQ(0, wrong()) TH_LOG("call %u: %s", i, b->what);
		}
	}
}

/* Long vectors are read by the kernel a piece at a time. */
TEST(a_bad_range_far_into_a_vector_ends_the_call_there)
{
	static const unsigned int places[] = { 7, 8, 9, 63, 64, 65, 169, 170, 171, 399 };
	static struct avm_range ranges[401];
	struct avm_batch out;
	unsigned int i, j, k;

	setup();
	for (i = 0; i < 3; i++) {
		for (j = 0; j < sizeof(places) / sizeof(places[0]); j++) {
			reset();
			for (k = 0; k < places[j]; k++)
				good_range(batches[i], 5, &ranges[k]);
			ranges[k++] = bad_ranges[j % BADS].range;
			for (; k < 401; k++)
				good_range(batches[i], 8, &ranges[k]);
			EXPECT_EQ(-bad_ranges[j % BADS].err,
				  batch(space, batches[i], ranges, 401, &out))
				TH_LOG("call %u, range %u", i, places[j]);
			EXPECT_EQ(places[j], out.out_done) TH_LOG("call %u", i);
			EXPECT_EQ(0, out.out_bytes);
			good_done(batches[i], 5);
			EXPECT_EQ(0, wrong()) TH_LOG("call %u, range %u", i, places[j]);
		}
	}
}

TEST(a_protection_that_does_not_exist_is_EINVAL)
{
	static const uint32_t prots[] = {
		2, 4, 6, 8, 9, 11, 16, 0x100, 0x80000000, 0x80000003, ~0u,
	};
	unsigned int i;

	setup();
	reset();
	for (i = 0; i < sizeof(prots) / sizeof(prots[0]); i++) {
		EXPECT_EQ(-EINVAL, one(space, AVM_IOC_PROTECT, view, 1, prots[i]))
			TH_LOG("prot %#x", prots[i]);
		EXPECT_EQ(-EINVAL, one(space, AVM_IOC_DISCARD, view, 1, prots[i]));
		EXPECT_EQ(-EINVAL, one(space, AVM_IOC_POPULATE, view, 1, prots[i]));
	}
	EXPECT_EQ(-EINVAL, one(space, AVM_IOC_DISCARD, view, 1, R));
	EXPECT_EQ(-EINVAL, one(space, AVM_IOC_POPULATE, view, 1, RW));
	EXPECT_EQ(0, wrong());
}

TEST(a_protection_above_the_mappings_own_is_EACCES)
{
	static const struct {
		unsigned long addr, pages;
		int prot;
	} cases[] = {
		{ LOW, 1, RW }, { LOW, 4, RW }, { LOW, 1, RX }, { LOW, 1, RWX },
		{ HIGH, 1, RX }, { HIGH, 1, RWX }, { SHUT, 1, R }, { SHUT, 1, RW }, { SHUT, 4, RX },
		/* From one that does not allow it into one that does, and back. */
		{ LOW, 8, RW }, { LOW + 3 * PAGE, 2, RW },
	};
	struct avm_range two[2] = { { HIGH, PAGE, RW, 0 }, { LOW, PAGE, RW, 0 } };
	struct avm_batch out;
	unsigned int i;

	setup();
	must(!protect(space, (void *)LOW, 8, NONE));
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		EXPECT_EQ(-EACCES, protect(space, (void *)cases[i].addr, cases[i].pages,
					   cases[i].prot)) TH_LOG("case %u", i);
	}
	for (i = 0; i < 8; i++)
		EXPECT_EQ(SIGSEGV, try_read((void *)(LOW + i * PAGE))) TH_LOG("page %u", i);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(SIGSEGV, try_read((void *)(SHUT + i * PAGE))) TH_LOG("page %u", i);
	EXPECT_EQ(-EACCES, batch(space, AVM_IOC_PROTECT, two, 2, &out));
	EXPECT_EQ(1, out.out_done);
	EXPECT_EQ(0, out.out_bytes);
	EXPECT_EQ(0, try_write((void *)HIGH, 1));
	EXPECT_EQ(SIGSEGV, try_read((void *)LOW));
	/* From one that allows it into one that does not: what the count says. */
	two[0] = (struct avm_range){ HIGH + 3 * PAGE, 2 * PAGE, RW, 0 };
	EXPECT_EQ(-EACCES, batch(space, AVM_IOC_PROTECT, two, 1, &out));
	EXPECT_EQ(0, out.out_done);
	EXPECT_GE(PAGE, out.out_bytes);
	EXPECT_EQ(out.out_bytes ? 0 : SIGSEGV, try_write((void *)(HIGH + 3 * PAGE), 1));
	EXPECT_EQ(SIGSEGV, try_write((void *)TOP, 1));
	/* What they do allow. */
	EXPECT_EQ(0, protect(space, (void *)LOW, 8, R));
	EXPECT_EQ(SIGSEGV, try_write((void *)LOW, 1));
	EXPECT_EQ(0, protect(space, (void *)SHUT, 4, NONE));
}

/* The call for one page: its argument is an address and a protection. */
static int page(int fd, unsigned long arg)
{
	return call(fd, AVM_IOC_PROTECT_PAGE, (void *)arg);
}

static const struct page_case {
	unsigned long arg;
	int err;
} page_cases[] = {
	{ VIEW + 2, EINVAL }, /* w alone */
	{ VIEW + 4, EINVAL }, /* x alone */
	{ VIEW + 6, EINVAL }, /* wx */
	{ VIEW + 8, EINVAL }, /* prot 8 */
	{ VIEW + 16 + R, EINVAL }, /* off by 16 */
	{ VIEW + 2048, EINVAL }, /* off by 2048 */
	{ VIEW + PAGE - 1, EINVAL }, /* all low bits */
	{ VIEW + RX, EACCES }, /* above rw */
	{ VIEW + RWX, EACCES }, /* above rw, all */
	{ LOW + RW, EACCES }, /* above r */
	{ LOW + RX, EACCES }, /* x above r */
	{ SHUT + R, EACCES }, /* above none */
	{ VIEW + N * PAGE + R, ENXIO }, /* behind the view */
	{ VIEW - PAGE + R, ENXIO }, /* before the view */
	{ SPLIT + 2 * PAGE + R, ENXIO }, /* in the hole */
	{ HOLE + R, ENXIO }, /* nothing there */
	{ R, ENXIO }, /* page 0 */
	{ 0, ENXIO }, /* page 0, none */
	{ KERNEL + R, ENXIO }, /* in the kernel */
	{ 0x8000000000000000ul + R, ENXIO }, /* not canonical */
	{ -PAGE + R, EINVAL }, /* the last page of all */
	{ OTHER + R, ENXIO }, /* another space */
	{ ANON + R, ENXIO }, /* an ordinary mapping */
};

TEST(the_call_for_one_page_refuses_what_protect_refuses)
{
	const struct page_case *c, *end = page_cases + sizeof(page_cases) / sizeof(*c);
	int pipes[2], closed, round, i;

	setup();
	must(!pipe(pipes));
	closed = dup(space);
	must(!close(closed));
	/* As new, and when each has been protected page by page. */
	for (round = 0; round < 2; round++) {
		reset();
		for (c = page_cases; c < end; c++)
			EXPECT_EQ(-c->err, page(space, c->arg))
				TH_LOG("case %d", (int)(c - page_cases));
		EXPECT_EQ(-ENXIO, page(other, VIEW + R));
		EXPECT_EQ(-ENOTTY, page(dev, VIEW + R));
		EXPECT_EQ(-ENOTTY, page(pipes[0], VIEW + R));
		EXPECT_EQ(-EBADF, page(closed, VIEW + R));
		EXPECT_EQ(0, wrong());
		EXPECT_EQ(0, try_read((void *)LOW));
		EXPECT_EQ(SIGSEGV, try_write((void *)LOW, 1));
		EXPECT_EQ(SIGSEGV, try_read((void *)SHUT));
		EXPECT_EQ(0, try_write((void *)OTHER, 1));
		/* There is a short way, for what has been called before. */
		for (i = 0; i < 4; i++) {
			must(!page(space, LOW + (i % 2 ? R : NONE)));
			must(!page(space, HIGH + (i % 2 ? RW : NONE)));
			must(!page(space, VIEW + (i % 2 ? NONE : R)));
			must(!page(other, OTHER + (i % 2 ? RW : NONE)));
			must(!page(space, SHUT + NONE));
		}
	}
}

TEST(the_call_for_one_page_changes_this_page_and_no_other)
{
	static const int prots[] = { NONE, R, RW, R, NONE, RW, NONE };
	unsigned long i;
	unsigned int j;

	setup();
	/* On a new view, page by page, then from each protection to each. */
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, page(space, HIGH + i * PAGE + (i % 2 ? NONE : R)));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(i % 2 ? SIGSEGV : 0, try_read((void *)(HIGH + i * PAGE)));
		EXPECT_EQ(SIGSEGV, try_write((void *)(HIGH + i * PAGE), 1));
	}
	reset();
	for (i = 0; i < N; i += 5) {
		for (j = 0; j < sizeof(prots) / sizeof(prots[0]); j++) {
			EXPECT_EQ(0, page(space, VIEW + i * PAGE + prots[j]));
			model[i].prot = prots[j];
			EXPECT_EQ(0, wrong()) TH_LOG("page %lu, step %u", i, j);
		}
	}
}

/*
 * The kernel has a short way for a page that has been protected before, in a
 * space with few views. It must refuse what the long one does.
 */
TEST(the_call_for_one_page_refuses_the_same_the_short_way)
{
	static const int maps[] = { NONE, R, RW, RX, RWX };
	const int *map;
	int fd, prot, want, now, i;
	char *p;

	denied_setup();
	for (map = maps; map < maps + 5; map++) {
		fd = space_new(4);
		p = view_new(fd, 0, 4, *map);
		now = *map & R;
		for (i = 0; i < 4; i++) {
			EXPECT_EQ(0, page(fd, (unsigned long)p + (i % 2 ? now : NONE)));
			EXPECT_EQ(i % 2 && now ? 0 : SIGSEGV, try_read(p));
		}
		for (prot = 0; prot < 8; prot++) {
			want = prot & ~*map ? -EACCES : 0;
			/* Nothing can be written or executed and not read. */
			if (prot && !(prot & R))
				want = -EINVAL;
			EXPECT_EQ(want, page(fd, (unsigned long)p + prot))
				TH_LOG("mapping %d, protection %d", *map, prot);
			now = want ? now : prot;
			EXPECT_EQ(now & R ? 0 : SIGSEGV, try_read(p));
			EXPECT_EQ(now & AVM_PROT_WRITE ? 0 : SIGSEGV, try_write(p, 0));
		}
		EXPECT_EQ(-EINVAL, page(fd, (unsigned long)p + 8 + now));
		EXPECT_EQ(-ENXIO, page(fd, (unsigned long)p + 4 * PAGE));
		EXPECT_EQ(-ENXIO, page(fd, (unsigned long)p - PAGE));
		munmap(p, 4 * PAGE);
		close(fd);
	}
}

TEST(a_count_of_zero_is_EINVAL_and_one_above_the_limit_E2BIG)
{
	struct avm_query query = { .size = sizeof(query) };
	struct avm_range range = { VIEW + 2 * PAGE, PAGE, 0, 0 };
	struct avm_batch out;
	unsigned int i;

	setup();
	reset();
	must(!call(space, AVM_IOC_QUERY, &query));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(-EINVAL, batch(space, batches[i], &range, 0, &out));
		EXPECT_EQ(-EINVAL, batch(space, batches[i], NULL, 0, &out));
		EXPECT_EQ(-E2BIG, batch(space, batches[i], &range, query.out_max_ranges + 1, &out));
		EXPECT_EQ(-E2BIG, batch(space, batches[i], &range, 1u << 31, &out));
		EXPECT_EQ(-E2BIG, batch(space, batches[i], &range, ~0u, &out));
		EXPECT_EQ(0, out.out_done);
		EXPECT_EQ(0, out.out_bytes);
	}
	EXPECT_EQ(0, wrong());
	/* The limit itself is none of these: it is their address that is bad. */
	EXPECT_EQ(-EFAULT, batch(space, AVM_IOC_PROTECT, NULL, query.out_max_ranges, &out));
}

TEST(ranges_that_cannot_be_read_are_EFAULT)
{
	static const unsigned long places[] = {
		0, 8, HOLE, KERNEL, -PAGE, -24ul, 0x8000000000000000ul, SHUT, EDGE + PAGE,
	};
	static const uint32_t counts[] = { 1, 2, 8, 9, 200, 1u << 20 };
	struct avm_batch out;
	unsigned int i, j, k;

	setup();
	reset();
	for (i = 0; i < 3; i++) {
		for (j = 0; j < sizeof(places) / sizeof(places[0]); j++) {
			for (k = 0; k < sizeof(counts) / sizeof(counts[0]); k++) {
				EXPECT_EQ(-EFAULT, batch(space, batches[i],
							 (void *)places[j], counts[k], &out))
					TH_LOG("call %u: %u at %#lx", i, counts[k], places[j]);
				EXPECT_EQ(0, out.out_done);
				EXPECT_EQ(0, out.out_bytes);
			}
		}
	}
	EXPECT_EQ(0, wrong());
}

TEST(ranges_before_one_that_cannot_be_read_are_done)
{
	static const uint32_t readable[] = { 1, 3, 8, 9, 100, 169 };
	struct avm_range *ranges;
	struct avm_batch out;
	unsigned int i, j, k;

	setup();
	for (i = 0; i < 3; i++) {
		for (j = 0; j < sizeof(readable) / sizeof(readable[0]); j++) {
			reset();
			/* The one after these is there but for its last word. */
			ranges = (void *)(EDGE + PAGE - 16 - readable[j] * sizeof(*ranges));
			for (k = 0; k < readable[j]; k++)
				good_range(batches[i], 5, &ranges[k]);
			ranges[k].addr = VIEW + 8 * PAGE;
			ranges[k].length = PAGE;
			EXPECT_EQ(-EFAULT, batch(space, batches[i], ranges, 1000, &out));
			EXPECT_EQ(readable[j], out.out_done) TH_LOG("call %u", i);
			EXPECT_EQ(0, out.out_bytes);
			good_done(batches[i], 5);
			EXPECT_EQ(0, wrong()) TH_LOG("call %u, %u readable", i, readable[j]);
		}
	}
}

TEST(ranges_in_memory_that_can_only_be_read_are_good)
{
	struct avm_range *ranges = (void *)ARG;

	setup();
	reset();
	good_range(AVM_IOC_PROTECT, 5, ranges);
	must(!mprotect(ranges, PAGE, R));
	EXPECT_EQ(0, batch(space, AVM_IOC_PROTECT, ranges, 1, NULL));
	good_done(AVM_IOC_PROTECT, 5);
	EXPECT_EQ(0, wrong());
}

TEST(where_ranges_overlap_the_last_one_wins)
{
	struct avm_range ranges[] = {
		{ VIEW, N * PAGE, RW, 0 }, { VIEW + 2 * PAGE, 6 * PAGE, NONE, 0 },
		{ VIEW + 4 * PAGE, 2 * PAGE, R, 0 }, { VIEW + 5 * PAGE, PAGE, RW, 0 },
		{ VIEW + 5 * PAGE, PAGE, NONE, 0 }, { VIEW + 7 * PAGE, 2 * PAGE, R, 0 },
	};
	static const int want[N] = {
		RW, RW, NONE, NONE, R, NONE, NONE, R, R, RW, RW, RW, RW, RW, RW, RW,
	};
	struct avm_batch out;
	unsigned int i;

	setup();
	reset();
	EXPECT_EQ(0, batch(space, AVM_IOC_PROTECT, ranges, 6, &out));
	EXPECT_EQ(6, out.out_done);
	EXPECT_EQ(0, out.out_bytes);
	for (i = 0; i < N; i++)
		model[i].prot = want[i];
	EXPECT_EQ(0, wrong());
}

TEST(a_range_may_cross_into_an_adjacent_view)
{
	uint64_t bits = 0;

	setup();
	EXPECT_EQ(0, protect(space, (void *)LOW, 8, NONE));
	EXPECT_EQ(SIGSEGV, try_read((void *)(LOW + 3 * PAGE)));
	EXPECT_EQ(SIGSEGV, try_read((void *)HIGH));
	EXPECT_EQ(0, protect(space, (void *)LOW, 8, R));
	EXPECT_EQ(0, try_read((void *)(LOW + 3 * PAGE)));
	EXPECT_EQ(0, protect(space, (void *)HIGH, 1, RW));
	EXPECT_EQ(0, populate(space, (void *)LOW, 8));
	EXPECT_EQ(8, stats(space).out_resident_pages);
	*(char *)HIGH = 1;
	EXPECT_EQ(1, scan(space, (void *)LOW, 8, AVM_PAGE_DIRTY, 0, &bits));
	EXPECT_EQ(1 << 4, bits);
	EXPECT_EQ(0, discard(space, (void *)LOW, 8));
	EXPECT_EQ(0, stats(space).out_resident_pages);
}

/* A good scan, of which each case changes something. */
static struct avm_scan good_scan(uint32_t flags)
{
	static uint64_t answer[32];
	struct avm_scan arg = {
		.size = sizeof(arg), .flags = flags, .addr = VIEW, .length = N * PAGE,
		.match = AVM_PAGE_DIRTY, .clear = AVM_PAGE_DIRTY,
	};

	if (flags & (AVM_SCAN_BITMAP | AVM_SCAN_RANGES)) {
		arg.buffer = (uintptr_t)answer;
		arg.buffer_size = sizeof(answer);
	}
	return arg;
}

#define CHANGE(what, form, field, value, err)	\
	{ what, form, offsetof(struct avm_scan, field),	\
	  sizeof(((struct avm_scan *)0)->field), value, err }

static const struct scan_case {
	const char *what;
	uint32_t flags;
	size_t at, size;
	uint64_t value;
	int err;
} scan_cases[] = {
	CHANGE("address off by 1", 0, addr, VIEW + 1, EINVAL),
	CHANGE("address off by 8", AVM_SCAN_BITMAP, addr, VIEW + 8, EINVAL),
	CHANGE("length off by 1", 0, length, PAGE + 1, EINVAL),
	CHANGE("length 1", AVM_SCAN_RANGES, length, 1, EINVAL),
	CHANGE("no length", 0, length, 0, EINVAL),
	CHANGE("wrapping", 0, length, -VIEW + PAGE, EINVAL),
	CHANGE("wrapping to 0", 0, length, -VIEW, EINVAL),
	CHANGE("wrapping to itself", AVM_SCAN_RANGES, length, -PAGE, EINVAL),
	CHANGE("reserved", 0, reserved, 1, EINVAL),
	CHANGE("nothing to match", 0, match, 0, EINVAL),
	CHANGE("a bit that does not exist", 0, match, 4, EINVAL),
	CHANGE("all bits to match", 0, match, ~0u, EINVAL),
	CHANGE("a bit that cannot be cleared", 0, clear, 5, EINVAL),
	CHANGE("all bits to clear", 0, clear, ~0u, EINVAL),
	CHANGE("a protection that is not asked for", 0, prot, R, EINVAL),
	CHANGE("w alone", AVM_SCAN_PROTECT, prot, 2, EINVAL),
	CHANGE("x alone", AVM_SCAN_PROTECT, prot, 4, EINVAL),
	CHANGE("prot 8", AVM_SCAN_PROTECT, prot, 8, EINVAL),
	CHANGE("prot ~0", AVM_SCAN_PROTECT, prot, ~0u, EINVAL),
	CHANGE("above the mapping's own", AVM_SCAN_PROTECT, prot, RX, EACCES),
	CHANGE("bitmap and ranges", 0, flags, AVM_SCAN_BITMAP | AVM_SCAN_RANGES, EINVAL),
	CHANGE("a buffer for no answer", 0, buffer, ARG, EINVAL),
	CHANGE("buffer off by 1", AVM_SCAN_BITMAP, buffer, ARG + 1, EINVAL),
	CHANGE("buffer off by 4", AVM_SCAN_RANGES, buffer, ARG + 4, EINVAL),
	CHANGE("no room for the bitmap", AVM_SCAN_BITMAP, buffer_size, 0, ENOBUFS),
	CHANGE("7 bytes for the bitmap", AVM_SCAN_BITMAP, buffer_size, 7, ENOBUFS),
	CHANGE("no room for a span", AVM_SCAN_RANGES, buffer_size, 0, ENOBUFS),
	CHANGE("15 bytes for a span", AVM_SCAN_RANGES, buffer_size, 15, ENOBUFS),
	CHANGE("a page beyond the view", 0, length, (N + 1) * PAGE, ENXIO),
	CHANGE("far beyond the view", AVM_SCAN_RANGES, length, 1ul << 46, ENXIO),
	CHANGE("before the view", 0, addr, VIEW - PAGE, ENXIO),
	CHANGE("nothing there", AVM_SCAN_RANGES, addr, HOLE, ENXIO),
	CHANGE("address 0", 0, addr, 0, ENXIO),
	CHANGE("in the kernel", 0, addr, KERNEL, ENXIO),
	CHANGE("another space", AVM_SCAN_BITMAP, addr, OTHER, ENXIO),
	CHANGE("an ordinary mapping", 0, addr, ANON, ENXIO),
	CHANGE("a hole in it", 0, addr, SPLIT, ENXIO),
	CHANGE("bitmap at 0", AVM_SCAN_BITMAP, buffer, 0, EFAULT),
	CHANGE("bitmap nowhere", AVM_SCAN_BITMAP, buffer, HOLE, EFAULT),
	CHANGE("bitmap in the kernel", AVM_SCAN_BITMAP, buffer, KERNEL, EFAULT),
	CHANGE("bitmap read-only", AVM_SCAN_BITMAP, buffer, MIXED + PAGE, EFAULT),
	CHANGE("bitmap in a shut page", AVM_SCAN_BITMAP, buffer, SHUT, EFAULT),
	CHANGE("spans at 0", AVM_SCAN_RANGES, buffer, 0, EFAULT),
	CHANGE("spans nowhere", AVM_SCAN_RANGES, buffer, HOLE, EFAULT),
	CHANGE("spans in the kernel", AVM_SCAN_RANGES, buffer, KERNEL, EFAULT),
	CHANGE("spans read-only", AVM_SCAN_RANGES, buffer, MIXED + PAGE, EFAULT),
	CHANGE("spans partly there", AVM_SCAN_RANGES, buffer, EDGE + PAGE - 16, EFAULT),
	CHANGE("spans partly read-only", AVM_SCAN_RANGES, buffer, MIXED + PAGE - 16, EFAULT),
};

TEST(a_bad_scan_is_refused_and_clears_nothing)
{
	const struct scan_case *c;
	struct avm_scan arg;
	uint64_t addr;

	setup();
	reset();
	for (c = scan_cases; c < scan_cases + sizeof(scan_cases) / sizeof(*c); c++) {
		arg = good_scan(c->flags);
		memcpy((char *)&arg + c->at, &c->value, c->size);
		addr = arg.addr;
		EXPECT_EQ(-c->err, call(space, AVM_IOC_SCAN, &arg)) TH_LOG("%s", c->what);
		EXPECT_EQ(0, arg.out_pages) TH_LOG("%s", c->what);
		EXPECT_EQ(addr, arg.out_end) TH_LOG("%s", c->what);
		EXPECT_EQ(0, arg.out_spans) TH_LOG("%s", c->what);
	}
	EXPECT_EQ(0, wrong());
}

/* The bitmap's second page is missing: 32768 pages are told, the rest are not. */
TEST(a_scan_whose_bitmap_is_cut_off_reports_what_it_cleared)
{
	const unsigned long pages = 2 * 32768;
	static const unsigned long written[] = { 5, 32767, 32768, 40000 };
	struct avm_scan arg = good_scan(0);
	uint64_t *bitmap = (void *)EDGE, bits[pages / 64];
	int fd = space_new(pages);
	char *big = view_new(fd, 0, pages, RW);
	unsigned int i;

	setup();
	for (i = 0; i < 4; i++)
		big[written[i] * PAGE] = 1;
	arg.flags = AVM_SCAN_BITMAP;
	arg.addr = (uintptr_t)big;
	arg.length = pages * PAGE;
	arg.buffer = EDGE;
	arg.buffer_size = pages / 8;
	EXPECT_EQ(-EFAULT, call(fd, AVM_IOC_SCAN, &arg));
	EXPECT_EQ(2, arg.out_pages);
	EXPECT_EQ((uintptr_t)big + 32768 * PAGE, arg.out_end);
	EXPECT_EQ(1, bit(bitmap, 5));
	EXPECT_EQ(1, bit(bitmap, 32767));
	EXPECT_EQ(2, dirty(fd, big, pages, bits));
	EXPECT_EQ(1, bit(bits, 32768));
	EXPECT_EQ(1, bit(bits, 40000));
	EXPECT_EQ(0, dirty(fd, big, pages, bits));
}

TEST(a_buffer_of_just_the_right_size_is_enough)
{
	static const unsigned long sizes[] = { 1, 63, 64 };
	struct avm_scan arg;
	int fd = space_new(65);
	char *p = view_new(fd, 0, 65, RW);
	unsigned int i;

	setup();
	for (i = 0; i < 3; i++) {
		arg = good_scan(AVM_SCAN_BITMAP);
		arg.addr = (uintptr_t)p;
		arg.length = sizes[i] * PAGE;
		arg.buffer = EDGE + PAGE - 8;
		arg.buffer_size = 8;
		EXPECT_EQ(0, call(fd, AVM_IOC_SCAN, &arg)) TH_LOG("%lu pages", sizes[i]);
		arg.buffer_size = 7;
		EXPECT_EQ(-ENOBUFS, call(fd, AVM_IOC_SCAN, &arg)) TH_LOG("%lu pages", sizes[i]);
	}
	arg.length = 65 * PAGE;
	arg.buffer_size = 15;
	EXPECT_EQ(-ENOBUFS, call(fd, AVM_IOC_SCAN, &arg));
	arg.buffer = EDGE + PAGE - 16;
	arg.buffer_size = 16;
	EXPECT_EQ(0, call(fd, AVM_IOC_SCAN, &arg));
	arg.flags = AVM_SCAN_RANGES;
	EXPECT_EQ(0, call(fd, AVM_IOC_SCAN, &arg));
}

/* A scan that gives a protection checks it for all of the range beforehand. */
TEST(a_scan_that_may_not_protect_all_of_its_range_does_nothing)
{
	struct avm_scan arg = good_scan(AVM_SCAN_PROTECT);

	setup();
	*(char *)HIGH = 1;
	arg.addr = HIGH;
	arg.length = 4 * PAGE;
	arg.prot = R;
	must(munmap((void *)(HIGH + 2 * PAGE), PAGE) == 0);
	EXPECT_EQ(-ENXIO, call(space, AVM_IOC_SCAN, &arg));
	EXPECT_EQ(0, try_write((void *)HIGH, 1));
	arg.addr = LOW;
	arg.length = 6 * PAGE;
	arg.prot = RW;
	EXPECT_EQ(-EACCES, call(space, AVM_IOC_SCAN, &arg));
	EXPECT_EQ(1, scan(space, (void *)LOW, 6, AVM_PAGE_DIRTY, 0, NULL));
}

static const struct {
	const char *what;
	uint32_t flags;
	uint64_t addr, length, to;
	uint32_t max_prot, prot;
	int err;
} map2_cases[] = {
	{ "address off by 1", 0, VIEW + 1, PAGE, 0, RW, R, EINVAL },
	{ "length off by 1", 0, VIEW, PAGE + 1, 0, RW, R, EINVAL },
	{ "no length", 0, VIEW, 0, 0, RW, R, EINVAL },
	{ "wrapping", 0, VIEW, -VIEW + PAGE, 0, RW, R, EINVAL },
	{ "wrapping to 0", 0, VIEW, -VIEW, 0, RW, R, EINVAL },
	{ "to off by 1", 0, VIEW, PAGE, HOLE + 1, RW, R, EINVAL },
	{ "to off by 1, fixed", AVM_MAP2_FIXED, VIEW, PAGE, HOLE + 1, RW, R, EINVAL },
	{ "w alone", 0, VIEW, PAGE, 0, RW, 2, EINVAL },
	{ "x alone", 0, VIEW, PAGE, 0, RWX, 4, EINVAL },
	{ "prot 8", 0, VIEW, PAGE, 0, RWX, 8, EINVAL },
	{ "prot ~0", 0, VIEW, PAGE, 0, RWX, ~0u, EINVAL },
	{ "at most w", 0, VIEW, PAGE, 0, 2, 0, EINVAL },
	{ "at most 8", 0, VIEW, PAGE, 0, 8, 0, EINVAL },
	{ "at most ~0", 0, VIEW, PAGE, 0, ~0u, 0, EINVAL },
	{ "above the most", 0, VIEW, PAGE, 0, R, RW, EACCES },
	{ "above none", 0, VIEW, PAGE, 0, NONE, R, EACCES },
	{ "x above the most", 0, VIEW, PAGE, 0, RW, RX, EACCES },
	{ "a page beyond the view", 0, VIEW, (N + 1) * PAGE, 0, RW, R, ENXIO },
	{ "behind the view", 0, VIEW + N * PAGE, PAGE, 0, RW, R, ENXIO },
	{ "two views", 0, LOW, 8 * PAGE, 0, R, R, ENXIO },
	{ "nothing there", 0, HOLE, PAGE, 0, RW, R, ENXIO },
	{ "address 0", 0, 0, PAGE, 0, RW, R, ENXIO },
	{ "in the kernel", 0, KERNEL, PAGE, 0, RW, R, ENXIO },
	{ "another space", 0, OTHER, PAGE, 0, RW, R, ENXIO },
	{ "an ordinary mapping", 0, ANON, PAGE, 0, RW, R, ENXIO },
	{ "onto itself", AVM_MAP2_FIXED, VIEW, PAGE, VIEW, RW, R, EEXIST },
	{ "onto an ordinary mapping", AVM_MAP2_FIXED, VIEW, PAGE, ANON, RW, R, EEXIST },
	{ "into a mapping's first page", AVM_MAP2_FIXED, VIEW, 2 * PAGE, ANON - PAGE, RW, R,
	  EEXIST },
	{ "into the kernel", AVM_MAP2_FIXED, VIEW, PAGE, KERNEL, RW, R, ENOMEM },
};

TEST(a_bad_map2_is_refused_and_maps_nothing)
{
	struct avm_map2 arg;
	unsigned int i;

	setup();
	reset();
	memcpy((char *)ANON, "as before", 10);
	for (i = 0; i < sizeof(map2_cases) / sizeof(map2_cases[0]); i++) {
		arg = (struct avm_map2){
			.size = sizeof(arg), .flags = map2_cases[i].flags,
			.addr = map2_cases[i].addr, .length = map2_cases[i].length,
			.to = map2_cases[i].to, .max_prot = map2_cases[i].max_prot,
			.prot = map2_cases[i].prot, .out_addr = 1,
		};
		EXPECT_EQ(-map2_cases[i].err, call(space, AVM_IOC_MAP2, &arg))
			TH_LOG("%s", map2_cases[i].what);
		EXPECT_EQ(0, arg.out_addr) TH_LOG("%s", map2_cases[i].what);
	}
	EXPECT_EQ(0, strcmp((char *)ANON, "as before"));
	EXPECT_EQ(0, wrong());
}

/* A good trap, of which each case changes something. */
#define TRAP(what, field, value, err)	\
	{ what, offsetof(struct avm_trap, field),	\
	  sizeof(((struct avm_trap *)0)->field), value, err }

static const struct {
	const char *what;
	size_t at, size;
	uint64_t value;
	int err;
} trap_cases[] = {
	TRAP("address off by 1", addr, VIEW + 1, EINVAL),
	TRAP("address off by 2048", addr, VIEW + 2048, EINVAL),
	TRAP("length 1", length, 1, EINVAL),
	TRAP("length a page and 1", length, PAGE + 1, EINVAL),
	TRAP("no length", length, 0, EINVAL),
	TRAP("wrapping", length, -VIEW + PAGE, EINVAL),
	TRAP("wrapping to 0", length, -VIEW, EINVAL),
	TRAP("wrapping to itself", length, -PAGE, EINVAL),
	TRAP("reserved", reserved, 1, EINVAL),
	TRAP("reserved, high bit", reserved, 1u << 31, EINVAL),
	TRAP("raise to w alone", raise, 2, EINVAL),
	TRAP("raise to x alone", raise, 4, EINVAL),
	TRAP("raise to rx", raise, RX, EINVAL),
	TRAP("raise to rwx", raise, RWX, EINVAL),
	TRAP("raise to 8", raise, 8, EINVAL),
	TRAP("raise to ~0", raise, ~0u, EINVAL),
	TRAP("entry in the kernel", entry, KERNEL, EFAULT),
	TRAP("entry at the very end", entry, ~0ul, EFAULT),
	TRAP("entry not canonical", entry, 1ul << 63, EFAULT),
	TRAP("entry of the vsyscalls", entry, 0xffffffffff600000, EFAULT),
	TRAP("a page beyond the view", length, (N + 1) * PAGE, ENXIO),
	TRAP("far beyond the view", length, 1ul << 46, ENXIO),
	TRAP("a page before the view", addr, VIEW - PAGE, ENXIO),
	TRAP("behind the view", addr, VIEW + N * PAGE, ENXIO),
	TRAP("address 0", addr, 0, ENXIO),
	TRAP("in the kernel", addr, KERNEL, ENXIO),
	TRAP("nothing there", addr, HOLE, ENXIO),
	TRAP("another space", addr, OTHER, ENXIO),
	TRAP("an ordinary mapping", addr, ANON, ENXIO),
	TRAP("nothing to take away", entry, 0, ENOENT),
};

TEST(a_bad_trap_is_refused_and_registers_nothing)
{
	struct avm_trap arg;
	unsigned int i;

	setup();
	reset();
	for (i = 0; i < sizeof(trap_cases) / sizeof(trap_cases[0]); i++) {
		arg = (struct avm_trap){ .size = sizeof(arg) };
		fill_trap(&arg);
		memcpy((char *)&arg + trap_cases[i].at, &trap_cases[i].value, trap_cases[i].size);
		EXPECT_EQ(-trap_cases[i].err, call(space, AVM_IOC_TRAP, &arg))
			TH_LOG("%s", trap_cases[i].what);
		EXPECT_EQ(0, wrong()) TH_LOG("%s", trap_cases[i].what);
	}
	/* The ranges that are in no one view. */
	EXPECT_EQ(-ENXIO, trap(space, LOW, 8 * PAGE, upcall_entry, 0));
	EXPECT_EQ(-ENXIO, trap(space, SPLIT, 5 * PAGE, upcall_entry, 0));
	/* That the registration that all this was made of is a good one. */
	EXPECT_EQ(0, trap(space, VIEW, PAGE, upcall_entry, 0));
	EXPECT_EQ(1, wrong());
}

TEST(a_trap_is_taken_away_by_entry_0_and_all_else_0)
{
	struct avm_trap arg = { .size = sizeof(arg), .addr = VIEW, .length = 4 * PAGE };

	setup();
	reset();
	EXPECT_EQ(0, trap(space, VIEW, 4 * PAGE, upcall_entry, 0));
	arg.arg = 1;
	EXPECT_EQ(-EINVAL, call(space, AVM_IOC_TRAP, &arg));
	arg.arg = 0;
	arg.raise = R;
	EXPECT_EQ(-EINVAL, call(space, AVM_IOC_TRAP, &arg));
	arg.raise = 0;
	arg.flags = AVM_TRAP_ONSTACK;
	EXPECT_EQ(-EINVAL, call(space, AVM_IOC_TRAP, &arg));
	arg.flags = 0;
	arg.reserved = 1;
	EXPECT_EQ(-EINVAL, call(space, AVM_IOC_TRAP, &arg));
	arg.reserved = 0;
	EXPECT_EQ(-ENOENT, trap(space, VIEW + 4 * PAGE, PAGE, NULL, 0));
	EXPECT_EQ(1, wrong());
	upcalls_made = 0;
	EXPECT_EQ(0, call(space, AVM_IOC_TRAP, &arg));
	EXPECT_EQ(-ENOENT, call(space, AVM_IOC_TRAP, &arg));
	EXPECT_EQ(0, wrong());
	/* In parts, and with more than there is. */
	EXPECT_EQ(0, trap(space, VIEW, 4 * PAGE, upcall_entry, 0));
	EXPECT_EQ(0, trap(space, VIEW + PAGE, PAGE, NULL, 0));
	EXPECT_EQ(-ENOENT, trap(space, VIEW + PAGE, PAGE, NULL, 0));
	EXPECT_EQ(0, trap(space, VIEW, 16 * PAGE, NULL, 0));
	EXPECT_EQ(-ENOENT, trap(space, VIEW, 16 * PAGE, NULL, 0));
}

TEST(a_page_with_a_trap_is_EEXIST)
{
	static const struct {
		unsigned long first, pages;
	} cases[] = {
		{ 4, 4 }, { 4, 1 }, { 5, 2 }, { 7, 1 }, { 0, 5 }, { 7, 3 }, { 0, 16 }, { 3, 6 },
		{ 10, 1 }, { 9, 2 }, { 8, 8 },
	};
	unsigned int i;

	setup();
	EXPECT_EQ(0, trap(space, VIEW + 4 * PAGE, 4 * PAGE, upcall_entry, 0));
	EXPECT_EQ(0, trap(space, VIEW + 10 * PAGE, PAGE, upcall_entry, RW));
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		EXPECT_EQ(-EEXIST, trap(space, VIEW + cases[i].first * PAGE,
					cases[i].pages * PAGE, upcall_entry, 0))
			TH_LOG("case %u", i);
	/* Those beside them are free, and so are the same pages in another view. */
	EXPECT_EQ(0, trap(space, VIEW + 3 * PAGE, PAGE, upcall_entry, 0));
	EXPECT_EQ(0, trap(space, VIEW + 8 * PAGE, 2 * PAGE, upcall_entry, 0));
	EXPECT_EQ(0, trap(space, ALIAS, N * PAGE, upcall_entry, 0));
}

TEST(a_trap_that_raises_above_the_mapping_is_EACCES)
{
	setup();
	EXPECT_EQ(-EACCES, trap(space, LOW, PAGE, upcall_entry, RW));
	EXPECT_EQ(-EACCES, trap(space, SHUT, PAGE, upcall_entry, R));
	EXPECT_EQ(-EACCES, trap(space, SHUT, 4 * PAGE, upcall_entry, RW));
	EXPECT_EQ(-ENOENT, trap(space, LOW, PAGE, NULL, 0));
	EXPECT_EQ(0, trap(space, LOW, PAGE, upcall_entry, R));
	EXPECT_EQ(0, trap(space, SHUT, PAGE, upcall_entry, 0));
	EXPECT_EQ(0, trap(space, HIGH, PAGE, upcall_entry, RW));
}

TEST(a_view_with_4096_traps_is_ENOSPC)
{
	int fd = space_new(4100);
	unsigned long at = (uintptr_t)view_new(fd, 0, 4100, RW), i;

	for (i = 0; i < 4096; i++)
		ASSERT_EQ(0, trap(fd, at + i * PAGE, PAGE, upcall_entry, 0));
	EXPECT_EQ(-ENOSPC, trap(fd, at + 4096 * PAGE, PAGE, upcall_entry, 0));
	EXPECT_EQ(-EEXIST, trap(fd, at + 4095 * PAGE, PAGE, upcall_entry, 0));
	/* Of another view there may be more. */
	EXPECT_EQ(0, trap(fd, (uintptr_t)view_new(fd, 0, 4, RW), PAGE, upcall_entry, 0));
	EXPECT_EQ(0, trap(fd, at + 2000 * PAGE, PAGE, NULL, 0));
	EXPECT_EQ(0, trap(fd, at + 4096 * PAGE, 4 * PAGE, upcall_entry, 0));
	EXPECT_EQ(-ENOSPC, trap(fd, at + 2000 * PAGE, PAGE, upcall_entry, 0));
	/* All of them are found. */
	denied_setup();
	must(!protect(fd, (void *)at, 4100, NONE));
	for (i = 0; i < 4100; i += 100) {
		upcalls_made = 0;
		EXPECT_EQ(SIGSEGV, try_write((char *)at + i * PAGE, 1));
		EXPECT_EQ(i != 2000, upcalls_made) TH_LOG("page %lu", i);
	}
}

TEST(a_bad_pass_is_refused)
{
	static const unsigned long places[] = {
		0, 1, HOLE, KERNEL, -PAGE, -8ul, 1ul << 63, SHUT, EDGE + PAGE, EDGE + PAGE - 8,
		EDGE + PAGE - sizeof(struct avm_trap_pass) + 1,
	};
	int closed, pipes[2];
	unsigned int i;

	setup();
	reset();
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		EXPECT_EQ(-EFAULT, call(space, AVM_IOC_TRAP_PASS, (void *)places[i]))
			TH_LOG("at %#lx", places[i]);
	must(!pipe(pipes));
	closed = dup(space);
	must(!close(closed));
	EXPECT_EQ(-EBADF, call(closed, AVM_IOC_TRAP_PASS, (void *)ARG));
	EXPECT_EQ(-ENOTTY, call(dev, AVM_IOC_TRAP_PASS, (void *)ARG));
	EXPECT_EQ(-ENOTTY, call(pipes[0], AVM_IOC_TRAP_PASS, (void *)ARG));
	EXPECT_EQ(0, wrong());
}

TEST_HARNESS_MAIN
