// SPDX-License-Identifier: MIT
/*
 * The pager proper.
 *
 * One avm space, as long as the file, holds the frames. It is mapped twice:
 *
 *   view   what the program uses. A page that is not in is closed (no
 *          protection at all), so that its use traps.
 *   alias  what the pager uses, always open: the file is read into a frame,
 *          and written from it, while the view shows nothing of it yet or no
 *          longer.
 *
 * A page is in, out, or on its way under the lock; nothing else is known
 * about it here. Whether it was used or written, the CPU notes in the view's
 * page tables. What the pager itself does is done through the alias, whose
 * bits are its own, and so never looks like a use or a write of the program.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "avm.h"

#include "clock.h"
#include "io.h"
#include "pager.h"

/**
 * struct pager - a file shown as memory
 * @setup: as given
 * @space: descriptor of the space, or negative
 * @length: @setup.size rounded up to whole pages
 * @open_prot: protection of a page that is in
 * @batch: pages that go out together
 * @view: what the program uses
 * @alias: what the pager uses
 * @trapping: our handler is registered
 * @lock: guards all below, and the transfer of pages: one at a time, which is
 *	simple, and lets a thread that waits find its page in. Taken in traps:
 *	who holds it must not touch the view
 * @clock: which pages are in
 * @counts: what was done
 * @victims: the pages that are going out
 * @ranges: the same, as ranges of the view
 * @dirty: bits of a window; here because a trap may run on a small stack
 */
struct pager {
	struct pager_setup setup;
	int space;
	size_t length;
	int open_prot;
	size_t batch;
	char *view;
	char *alias;
	bool trapping;

	pthread_mutex_t lock;
	struct clock clock;
	struct pager_counts counts;
	size_t victims[CLOCK_BATCH];
	struct avm_range ranges[CLOCK_BATCH];
	uint64_t dirty[CLOCK_WORDS];
};

static char *view_of(const struct pager *p, size_t page)
{
	return p->view + page * AVM_PAGE_SIZE;
}

static char *alias_of(const struct pager *p, size_t page)
{
	return p->alias + page * AVM_PAGE_SIZE;
}

/* Bytes of the file in these pages: the last page may be a part of one. */
static size_t bytes_in(const struct pager *p, size_t page, size_t count)
{
	size_t left = p->setup.size - page * AVM_PAGE_SIZE;

	return left < count * AVM_PAGE_SIZE ? left : count * AVM_PAGE_SIZE;
}

static int failed(const char *what, int err)
{
	complain("%s: %s", what, avm_strerror(err));
	return err;
}

/* Ask the module, not our own books, how many pages there are. */
static int count_resident(struct pager *p)
{
	struct avm_stats st;
	int err = avm_stats(p->space, &st);

	if (err)
		return failed("cannot read the statistics of the space", err);
	p->counts.upcalls = st.out_upcalls;
	p->counts.flushes = st.out_flushes;
	p->counts.flushed_pages = st.out_flushed_pages;
	p->counts.resident = st.out_resident_pages;
	if (p->counts.most_resident < st.out_resident_pages)
		p->counts.most_resident = st.out_resident_pages;
	return 0;
}

/*
 * Putting out
 */

/* Dirty bits of a window of the view, left as they are. */
static int get_dirty(struct pager *p, size_t first, size_t count, uint64_t *bits)
{
	struct avm_scan scan = {
		.flags = AVM_SCAN_BITMAP,
		.addr = (uintptr_t)view_of(p, first),
		.length = count * AVM_PAGE_SIZE,
		.match = AVM_PAGE_DIRTY,
		.buffer = (uintptr_t)bits,
		.buffer_size = (count + 63) / 64 * sizeof(*bits),
	};
	int err;

	if (!p->setup.writable) {
		memset(bits, 0, scan.buffer_size);
		return 0;
	}
	err = avm_scan(p->space, &scan);
	return err ? failed("cannot tell which pages were written", err) : 0;
}

/* For the clock. The pages are still open: what is clean now may soon not be. */
static int look(void *arg, size_t first, size_t count, uint64_t *accessed, uint64_t *dirty)
{
	struct pager *p = arg;
	int64_t n;

	n = avm_accessed(p->space, view_of(p, first), count * AVM_PAGE_SIZE, accessed,
			 (count + 63) / 64 * sizeof(*accessed));
	if (n < 0)
		return failed("cannot tell which pages were used", n);
	return get_dirty(p, first, count, dirty);
}

/* The victims as ranges, neighbours joined: what PROTN and discard take. */
static size_t make_ranges(struct pager *p, size_t count)
{
	size_t n, ranges = 0;

	for (n = 0; n < count; n++) {
		if (n && p->victims[n] == p->victims[n - 1] + 1) {
			p->ranges[ranges - 1].length += AVM_PAGE_SIZE;
			continue;
		}
		p->ranges[ranges++] = (struct avm_range){
			.addr = (uintptr_t)view_of(p, p->victims[n]),
			.length = AVM_PAGE_SIZE,
			.prot = AVM_PROT_NONE,
		};
	}
	return ranges;
}

static int write_run(struct pager *p, size_t page, size_t count)
{
	size_t at = page * AVM_PAGE_SIZE;
	int err;

	err = io_write(p->setup.file, alias_of(p, page), bytes_in(p, page, count), at);
	if (err) {
		complain("cannot write the file at byte %zu: %s", at, strerror(-err));
		return err;
	}
	p->counts.written += count;
	return 0;
}

/* Write back victims [n, end), whose dirty bits are in p->dirty from first on. */
static int write_dirty(struct pager *p, size_t n, size_t end, size_t first)
{
	while (n < end) {
		size_t run = n;
		int err;

		while (run < end && p->victims[run] == p->victims[n] + (run - n)) {
			size_t bit = p->victims[run] - first;

			if (!(p->dirty[bit / 64] >> (bit % 64) & 1))
				break;
			run++;
		}
		if (run == n) {
			n++;
			continue;
		}
		err = write_run(p, p->victims[n], run - n);
		if (err)
			return err;
		n = run;
	}
	return 0;
}

/* A scan for each window that holds victims; it is one, nearly always. */
static int write_back(struct pager *p, size_t count)
{
	size_t n, end;

	for (n = 0; n < count; n = end) {
		size_t first = p->victims[n];
		int err;

		for (end = n + 1; end < count; end++)
			if (p->victims[end] - first >= CLOCK_WINDOW)
				break;
		err = get_dirty(p, first, p->victims[end - 1] - first + 1, p->dirty);
		if (!err)
			err = write_dirty(p, n, end, first);
		if (err)
			return err;
	}
	return 0;
}

/*
 * The order is what keeps every write:
 *
 *  1. Close the victims, all with one flush at most. From here on no thread
 *     writes them; who tries traps, and waits for the lock.
 *  2. Only now ask which are dirty: the answer is final. Asked earlier, a
 *     write between the answer and the closing would be lost.
 *  3. Write those back, through the alias, as the view is closed.
 *  4. Only then free the frames. That also clears the dirty bits, so that the
 *     page begins clean when it comes in again.
 */
static int put_out(struct pager *p)
{
	size_t ranges;
	int count, err;

	/* The most that are ever in are in now. */
	err = count_resident(p);
	if (err)
		return err;

	count = clock_pick(&p->clock, p->batch, p->victims, look, p);
	if (count < 0)
		return count;
	ranges = make_ranges(p, count);

	err = avm_protn(p->space, p->ranges, ranges, NULL);
	if (err)
		return failed("cannot close pages", err);
	if (p->setup.writable) {
		err = write_back(p, count);
		if (err)
			return err;
	}
	err = avm_discardn(p->space, p->ranges, ranges, NULL);
	if (err)
		return failed("cannot free pages", err);

	p->counts.out += count;
	return 0;
}

/*
 * Bringing in
 */

/* The frame is allocated by this read, as zeros: so is what lies past the end. */
static int read_page(struct pager *p, size_t page)
{
	size_t at = page * AVM_PAGE_SIZE;
	int err;

	err = io_read(p->setup.file, alias_of(p, page), bytes_in(p, page, 1), at);
	switch (err) {
	case 0:
		return 0;
	case -EFAULT:
		/* The alias is there and open: only memory can be wanting. */
		return failed("no frame for a page", -ENOMEM);
	case -ENODATA:
		complain("the file has become shorter: nothing to read at byte %zu", at);
		return err;
	default:
		complain("cannot read the file at byte %zu: %s", at, strerror(-err));
		return err;
	}
}

static int bring_in(struct pager *p, size_t page)
{
	int err;

	if (clock_has(&p->clock, page)) {
		/* Another thread was faster; the access has only to be retried. */
		p->counts.met++;
		return 0;
	}
	if (p->clock.count >= p->setup.frames) {
		err = put_out(p);
		if (err)
			return err;
	}
	err = read_page(p, page);
	if (err)
		return err;
	/*
	 * Open for writing at once where the file is: whether a write comes the
	 * CPU will tell, and so no second trap is needed to find out.
	 */
	err = avm_unprot(p->space, view_of(p, page), p->open_prot);
	if (err)
		return failed("cannot open a page", err);
	clock_add(&p->clock, page);
	p->counts.in++;
	return 0;
}

static int trap(const struct avm_trap_info *info, void *arg)
{
	struct pager *p = arg;
	size_t page = ((char *)info->addr - p->view) / AVM_PAGE_SIZE;

	/* A write to what is only read, or an execution: the program's bug. */
	if (info->access & ~p->open_prot)
		return AVM_TRAP_PASS;

	pthread_mutex_lock(&p->lock);
	p->counts.traps++;
	if (bring_in(p, page)) {
		/* With the lock held: nothing more is to reach the file. */
		p->setup.fail();
		abort();
	}
	pthread_mutex_unlock(&p->lock);
	return AVM_TRAP_RETRY;
}

/*
 * Opening and closing
 */

/* Better now than in a trap, when there is nothing left to do but to die. */
static int check_limit(struct pager *p)
{
	size_t want = p->setup.frames, kb = want * (AVM_PAGE_SIZE / 1024);
	struct avm_stats st;
	int err = avm_stats(p->space, &st);

	if (err)
		return failed("cannot read the statistics of the space", err);
	if (st.out_limit_pages >= want)
		return 0;
	complain("%zu frames are %zu kB of locked memory, and this user may have %llu kB",
		 want, kb, st.out_limit_pages * (AVM_PAGE_SIZE / 1024));
	complain("run \"ulimit -l %zu\" first, or run as root, or ask for --frames %llu or fewer",
		 kb, st.out_limit_pages);
	return -ENOMEM;
}

static int make_space(struct pager *p)
{
	int dev = avm_open();

	if (dev < 0)
		return failed("cannot open " AVM_DEVICE, dev);
	p->space = avm_create(dev, p->length);
	close(dev);
	return p->space < 0 ? failed("cannot make a space", p->space) : 0;
}

static int make_views(struct pager *p)
{
	void *addr;
	int err;

	err = avm_map(p->space, 0, p->length, AVM_PROT_READ | AVM_PROT_WRITE, &addr);
	if (err)
		return failed("cannot map the frames", err);
	p->alias = addr;
	err = avm_map2(p->space, p->alias, p->length, p->open_prot, AVM_PROT_NONE, &addr);
	if (err)
		return failed("cannot map the view", err);
	p->view = addr;
	err = avm_trap(p->space, p->view, p->length, trap, p, 0);
	if (err)
		return failed("cannot register the trap handler", err);
	p->trapping = true;
	return 0;
}

static void release(struct pager *p)
{
	if (p->trapping)
		avm_untrap(p->view);
	if (p->view)
		avm_unmap(p->view, p->length);
	if (p->alias)
		avm_unmap(p->alias, p->length);
	if (p->space >= 0)
		close(p->space);
	clock_free(&p->clock);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

int pager_open(const struct pager_setup *setup, struct pager **out)
{
	struct pager *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return failed("no memory for the pager", -ENOMEM);
	p->setup = *setup;
	p->space = -1;
	p->length = (setup->size + AVM_PAGE_SIZE - 1) / AVM_PAGE_SIZE * AVM_PAGE_SIZE;
	p->open_prot = AVM_PROT_READ | (setup->writable ? AVM_PROT_WRITE : 0);
	/* A good part of the frames at once would put out what is in use. */
	p->batch = setup->frames / 8;
	if (p->batch > CLOCK_BATCH)
		p->batch = CLOCK_BATCH;
	pthread_mutex_init(&p->lock, NULL);

	err = clock_init(&p->clock, p->length / AVM_PAGE_SIZE);
	if (err) {
		failed("no memory for the pager", err);
		goto fail;
	}
	err = make_space(p);
	if (err)
		goto fail;
	err = check_limit(p);
	if (err)
		goto fail;
	err = make_views(p);
	if (err)
		goto fail;
	*out = p;
	return 0;

fail:
	release(p);
	return err;
}

void *pager_view(const struct pager *p)
{
	return p->view;
}

int pager_watch(struct pager *p, struct pager_counts *out)
{
	int err;

	pthread_mutex_lock(&p->lock);
	err = count_resident(p);
	*out = p->counts;
	pthread_mutex_unlock(&p->lock);
	return err;
}

int pager_close(struct pager *p, struct pager_counts *out)
{
	int err = 0;

	pthread_mutex_lock(&p->lock);
	while (!err && p->clock.count)
		err = put_out(p);
	if (!err && p->setup.writable) {
		err = io_sync(p->setup.file);
		if (err)
			complain("cannot write the file to its disk: %s", strerror(-err));
	}
	if (!err)
		err = count_resident(p);
	if (out)
		*out = p->counts;
	pthread_mutex_unlock(&p->lock);
	release(p);
	return err;
}
