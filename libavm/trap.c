// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libavm: TRAP: which handler an address belongs to.
 *
 * Owns the table of handlers. Knows nothing of how a denied access gets here,
 * nor of what has to follow one that nobody takes: that is the business of
 * upcall.c and signal.c.
 *
 * The table is read at any moment: in a signal handler, nested, in a thread
 * that is just changing the table itself, by handlers that never return. So
 * readers (table.h) take no lock and leave no mark, not even a count of readers, which
 * a longjmp() would leave raised. There are two tables instead. @changes
 * counts changes, and its lowest bit says which table is the current one. A
 * writer fills the other and then raises @changes: it is never in a reader's
 * way, even if it is stopped half way. A reader copies what it found, and
 * does so again if @changes has moved meanwhile, because then its table may
 * have become the one that is written.
 *
 * A reader may thus read from a table for a while after it was replaced by a
 * larger one. So tables are never freed: their sizes double, which bounds the
 * waste by the size of those in use, and two tables are static, so that most
 * programs never allocate any.
 */
#include <errno.h>
#include <pthread.h>

#include "internal.h"
#include "table.h"

#define FIRST_CAPACITY	64

static struct entry first_entries[2][FIRST_CAPACITY];
static struct table first_tables[2] = {
	{ .entries = first_entries[0], .capacity = FIRST_CAPACITY },
	{ .entries = first_entries[1], .capacity = FIRST_CAPACITY },
};

table_slot avm_tables[2] = { &first_tables[0], &first_tables[1] };
atomic_ulong avm_table_changes;

/*
 * Held by writers. A child of fork() begins with a new one: another thread may
 * have held the old one, or this one, if a signal handler forks; to wait for
 * it before the fork would hang there. The change that it was about is not in
 * the child's table, or is: a half-made one is only ever in the other table.
 *
 * It checks errors for the thread that held it, forked in a signal handler and
 * goes on in the child: to give up what it does not hold is then harmless.
 */
static pthread_mutex_t write_lock = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
static bool installed;			/* protected by write_lock */
static bool fork_handled;		/* protected by write_lock */

/* Index of the first entry that ends above @addr, or the count. */
static size_t position(const struct table *t, uintptr_t addr)
{
	size_t low = 0, high = get(t->count);

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (get(t->entries[middle].end) <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Look @addr up in @t, which a writer may be changing. */
static bool search(const struct table *t, uintptr_t addr, struct handler *h)
{
	size_t i = position(t, addr);

	return i < get(t->count) && take(&t->entries[i], addr, h);
}

bool avm_table_find(uintptr_t addr, struct handler *h)
{
	unsigned long before;
	bool found;

	do {
		found = search(begin_read(&before), addr, h);
	} while (!end_read(before));
	return found;
}

static struct table *current_table(void)
{
	return get(avm_tables[get(avm_table_changes) & 1]);
}

static table_slot *other_slot(void)
{
	return &avm_tables[(get(avm_table_changes) + 1) & 1];
}

/* Make room for @count in the table that is not current. */
static int reserve(size_t count)
{
	struct table *t = get(*other_slot());
	size_t capacity = t->capacity;

	if (capacity >= count)
		return 0;
	capacity *= 2;
	t = avm_sys_pages(sizeof(*t) + capacity * sizeof(struct entry));
	if (!t)
		return -ENOMEM;
	t->entries = (struct entry *)(t + 1);
	t->capacity = capacity;
	atomic_store_explicit(other_slot(), t, memory_order_release);
	return 0;
}

/* The table that is not current, to be filled. */
static struct table *begin_change(void)
{
	/*
	 * A reader that is still in this table, current before the last change,
	 * and sees any of what is stored there from now on, sees that change.
	 */
	atomic_thread_fence(memory_order_release);
	return get(*other_slot());
}

/* Make it the current one. */
static void publish(void)
{
	atomic_store_explicit(&avm_table_changes, get(avm_table_changes) + 1, memory_order_release);
}

static void copy(struct table *to, size_t to_index, const struct table *from,
		 size_t from_index, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct entry *d = &to->entries[to_index + i];
		const struct entry *s = &from->entries[from_index + i];

		set(d->start, get(s->start));
		set(d->end, get(s->end));
		set(d->fn, get(s->fn));
		set(d->arg, get(s->arg));
		set(d->space, get(s->space));
		set(d->flags, get(s->flags));
	}
}

static void fill(struct entry *e, const struct handler *h)
{
	set(e->start, h->start);
	set(e->end, h->end);
	set(e->fn, h->fn);
	set(e->arg, (uintptr_t)h->arg);
	set(e->space, h->space);
	set(e->flags, h->flags);
}

/* @index: where it is in the table. */
static int insert(const struct handler *h, size_t *index)
{
	const struct table *from = current_table();
	size_t count = get(from->count);
	size_t i = position(from, h->start);
	struct table *to;
	int ret;

	if (i < count && get(from->entries[i].start) < h->end)
		return -EEXIST;
	ret = reserve(count + 1);
	if (ret)
		return ret;
	to = begin_change();
	copy(to, 0, from, 0, i);
	fill(&to->entries[i], h);
	*index = i;
	copy(to, i + 1, from, i, count - i);
	set(to->count, count + 1);
	publish();
	return 0;
}

static void delete(uintptr_t start)
{
	const struct table *from = current_table();
	size_t count = get(from->count);
	size_t i = position(from, start);
	struct table *to;

	/* There is room: before the last change it held one fewer, or more. */
	to = begin_change();
	copy(to, 0, from, 0, i);
	copy(to, i, from, i + 1, count - 1 - i);
	set(to->count, count - 1);
	publish();
}

static void lock(void)
{
	pthread_mutex_lock(&write_lock);
}

static void unlock(void)
{
	pthread_mutex_unlock(&write_lock);
}

static void lock_anew(void)
{
	write_lock = (pthread_mutex_t)PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
}

/* What has to be there before the first entry; once a process. */
static int prepare(void)
{
	int ret;

	if (!fork_handled) {
		ret = pthread_atfork(NULL, NULL, lock_anew);
		if (ret)
			return -ret;
		fork_handled = true;
	}
	if (!installed) {
		avm_upcall_prepare();
		ret = avm_signal_install();
		if (ret)
			return ret;
		installed = true;
	}
	return 0;
}

/*
 * Have the kernel forget what it knows of pages. Errors tell that there is
 * nothing to forget (the view is gone, or this is a child, which has none), or
 * that the space was closed: then upcalls go on until the view is gone, and
 * find no handler.
 */
static int upcalls_off(const struct handler *h)
{
	struct avm_trap trap = {
		.size = sizeof(trap),
		.addr = h->start,
		.length = h->end - h->start,
	};
	int ret;

	if (h->space < 0)
		return 0;
	ret = avm_sys_ioctl(h->space, AVM_IOC_TRAP, &trap);
	return ret == -ENOENT || ret == -EBADF || ret == -ENOTTY ? 0 : ret;
}

/*
 * Tell the kernel, if it is to make upcalls. The table has the handler by then,
 * and has it until the kernel has been told to stop. What the kernel still has
 * there and the table had not came with pages that mremap(2) has moved, from a
 * range that was registered elsewhere: this one takes its place.
 */
static int upcalls_on(const struct handler *h, size_t hint)
{
	struct avm_trap trap = {
		.size = sizeof(trap),
		.flags = h->flags & AVM_TRAP_ONSTACK,
		.addr = h->start,
		.length = h->end - h->start,
		.raise = h->flags & AVM_TRAP_RAISE ?
			AVM_PROT_READ | AVM_PROT_WRITE : AVM_PROT_NONE,
	};
	int ret;

	if (h->space < 0)
		return 0;
	ret = avm_upcall_register(&trap, h->space, hint);
	if (ret != -EEXIST)
		return ret;
	ret = upcalls_off(h);
	return ret ? ret : avm_upcall_register(&trap, h->space, hint);
}

static bool valid(const struct handler *h)
{
	const unsigned int known = AVM_TRAP_ONSTACK | AVM_TRAP_NOVECTOR |
				   AVM_TRAP_RAISE;

	return h->fn && h->start % AVM_PAGE_SIZE == 0 &&
	       h->end % AVM_PAGE_SIZE == 0 && h->end > h->start &&
	       !(h->flags & ~known) &&
	       (h->space >= 0 || (h->space == AVM_NO_SPACE && !h->flags));
}

int avm_trap(int space, void *addr, size_t length, avm_trap_fn *fn, void *arg,
	     unsigned int flags)
{
	struct handler h = {
		.start = (uintptr_t)addr,
		.end = (uintptr_t)addr + length,
		.fn = fn,
		.arg = arg,
		.space = space,
		.flags = flags,
	};
	size_t index;
	int ret;

	if (!valid(&h))
		return -EINVAL;
	lock();
	ret = prepare();
	if (!ret)
		ret = insert(&h, &index);
	if (!ret) {
		ret = upcalls_on(&h, index);
		if (ret)
			delete(h.start);
	}
	unlock();
	return ret;
}

int avm_untrap(void *addr)
{
	struct handler h;
	int ret = -ENOENT;

	lock();
	if (search(current_table(), (uintptr_t)addr, &h) &&
	    h.start == (uintptr_t)addr) {
		ret = upcalls_off(&h);
		if (!ret)
			delete(h.start);
	}
	unlock();
	return ret;
}
