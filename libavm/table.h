/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libavm: the table of handlers, for its readers. trap.c owns it, and says why
 * reading it is safe anywhere.
 */
#ifndef AVM_TABLE_H
#define AVM_TABLE_H

#include <stdatomic.h>

#include "internal.h"

typedef struct table *_Atomic table_slot;
typedef _Atomic(avm_trap_fn *) entry_fn;

/* Fields are atomic because a reader may meet a writer, and then retries. */
struct entry {
	atomic_uintptr_t start;
	atomic_uintptr_t end;
	entry_fn fn;
	atomic_uintptr_t arg;
	atomic_int space;
	atomic_uint flags;
};

/* A copy of one, which nobody else can change. */
struct handler {
	uintptr_t start;
	uintptr_t end;
	avm_trap_fn *fn;
	void *arg;
	int space;
	unsigned int flags;
};

/*
 * @entries is sorted by address, without overlaps. It and @capacity never
 * change, and @count never exceeds @capacity, so that even a reader that
 * finds nonsense stays within the table.
 */
struct table {
	struct entry *entries;
	size_t capacity;
	atomic_size_t count;
};

extern table_slot avm_tables[2];
extern atomic_ulong avm_table_changes;

#define get(field)		atomic_load_explicit(&(field), memory_order_relaxed)
#define set(field, value)	atomic_store_explicit(&(field), value, memory_order_relaxed)

/* Copy an entry. Returns whether it is that of @addr. */
static inline bool take(const struct entry *e, uintptr_t addr,
			struct handler *h)
{
	h->start = get(e->start);
	h->end = get(e->end);
	h->fn = get(e->fn);
	h->arg = (void *)get(e->arg);
	h->space = get(e->space);
	h->flags = get(e->flags);
	return h->start <= addr && addr < h->end;
}

static inline const struct table *begin_read(unsigned long *before)
{
	*before = atomic_load_explicit(&avm_table_changes, memory_order_acquire);
	return atomic_load_explicit(&avm_tables[*before & 1], memory_order_acquire);
}

/* Whether what was read was the current table throughout. */
static inline bool end_read(unsigned long before)
{
	/* Pairs with the one in begin_change(). */
	atomic_thread_fence(memory_order_acquire);
	return get(avm_table_changes) == before;
}

/* trap.c: the entry of an address. */
bool avm_table_find(uintptr_t addr, struct handler *h);

/* A number that changes with the table. */
static inline unsigned long table_version(void)
{
	return get(avm_table_changes);
}

/*
 * The same where it is at @hint still, as it is where no other handler has come
 * or gone since.
 */
static inline bool find_near(uintptr_t addr, size_t hint, struct handler *h)
{
	unsigned long before;
	const struct table *t = begin_read(&before);

	return hint < get(t->count) && take(&t->entries[hint], addr, h) &&
	       end_read(before);
}

/* An access, to be known again: the same, with the same handlers in the table. */
struct seen {
	uint64_t ip;
	uint64_t sp;		/* 0: none */
	uint64_t addr;
	unsigned long version;
};

static inline void seen_set(struct seen *seen, const struct avm_upcall *up)
{
	seen->ip = up->ip;
	seen->sp = up->sp;
	seen->addr = up->addr;
	seen->version = table_version();
}

static inline bool seen_is(const struct seen *seen, uint64_t ip, uint64_t sp,
			   uint64_t addr)
{
	return seen->sp && seen->sp == sp && seen->ip == ip &&
	       seen->addr == addr && seen->version == table_version();
}

/*
 * What a handler, called by an upcall, has just passed in this thread: it is
 * not to be asked again by the SIGSEGV that follows. Another SIGSEGV handler
 * may take that, and then this stays until the next upcall; so it has to be the
 * same access to the last detail. (Initial-exec: without a call that may
 * allocate.)
 */
extern __thread struct seen avm_passed
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/*
 * Call a handler; may never return. @saved: the x87 and vector registers of the
 * interrupted code are. Returns whether the access is to be resumed.
 */
static inline bool call_handler(const struct handler *h, void *addr,
				unsigned int access, bool saved)
{
	struct avm_trap_info info;

	info.addr = addr;
	info.access = access;
	info.reserved = 0;
	info.view = (void *)h->start;
	info.length = h->end - h->start;
	if (saved || h->flags & AVM_TRAP_NOVECTOR)
		return h->fn(&info, h->arg) == AVM_TRAP_RETRY;
	return avm_call_vector(&info, h->arg, h->fn) == AVM_TRAP_RETRY;
}

#endif /* AVM_TABLE_H */
