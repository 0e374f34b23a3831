// SPDX-License-Identifier: GPL-2.0
/*
 * state.c - the protection of each page of a view
 *
 * Owns view->state, an array by chunk (512 pages, those of one page table
 * where the mapping was made). An entry is one of
 *
 *	nothing			every page is as view->initial says;
 *	a value			every page is as the value says;
 *	a struct avm_chunk	a byte for each page.
 *
 * so that pages whose protection was never changed cost nothing, those that
 * were changed a chunk at a time next to nothing, and all others one byte.
 * An entry goes from nothing to value to bytes, and bytes stay until the view
 * goes.
 *
 * The state of a page is read and written under its page-table lock (pte.c),
 * except that bytes may be put in place without it: they say what the value
 * said, and whoever stores a value does it by compare-and-exchange, sees that
 * bytes have come, and writes there. Never touches a PTE.
 */
#include <linux/slab.h>

#include "internal.h"

static struct kmem_cache *chunk_cache;

static unsigned long chunk_of(struct avm_view *view, pgoff_t pgoff)
{
	return (pgoff + view->skew) >> AVM_CHUNK_SHIFT;
}

static u8 entry_uniform(struct avm_view *view, void *entry)
{
	return entry ? xa_to_value(entry) : view->initial;
}

static bool entry_has_bytes(void *entry)
{
	return entry && !xa_is_value(entry);
}

/**
 * avm_state_find() - state of a page
 * @view: the view
 * @pgoff: number of the page in the space
 *
 * Context: under the page-table lock of the page, for the answer to stay true.
 */
struct avm_state avm_state_find(struct avm_view *view, pgoff_t pgoff)
{
	void *entry = avm_index_load(&view->state, AVM_INDEX_SMALL,
				     chunk_of(view, pgoff));
	struct avm_state state = {};

	if (entry_has_bytes(entry))
		state.bytes = ((struct avm_chunk *)entry)->bytes +
			((pgoff + view->skew) & (AVM_CHUNK_PAGES - 1));
	else
		state.uniform = entry_uniform(view, entry);
	return state;
}

/**
 * avm_state_expand() - see to it that a page has a byte of its own
 * @view: the view
 * @pgoff: number of the page in the space
 * @gfp: how to allocate
 *
 * Context: no page-table lock held; may sleep.
 * Return: 0 or -ENOMEM.
 */
int avm_state_expand(struct avm_view *view, pgoff_t pgoff, gfp_t gfp)
{
	void **slot = avm_index_slot(&view->state, chunk_of(view, pgoff), gfp);
	void *old, *found;
	struct avm_chunk *chunk;

	if (!slot)
		return -ENOMEM;
	old = READ_ONCE(*slot);
	if (entry_has_bytes(old))
		return 0;
	chunk = kmem_cache_alloc(chunk_cache, gfp);
	if (!chunk)
		return -ENOMEM;
	chunk->table = NULL;
	do {
		found = old;
		memset(chunk->bytes, entry_uniform(view, old),
		       AVM_CHUNK_PAGES);
		old = cmpxchg(slot, found, chunk);
	} while (old != found && !entry_has_bytes(old));
	if (old == found)
		atomic_long_add(AVM_CHUNK_PAGES, &view->space->state_bytes);
	else
		kmem_cache_free(chunk_cache, chunk);
	return 0;
}

/**
 * avm_state_reserve() - make avm_state_set_uniform() possible
 * @view: the view
 * @pgoff: number of a page in the space
 *
 * Context: no page-table lock held; may sleep.
 * Return: 0 or -ENOMEM.
 */
int avm_state_reserve(struct avm_view *view, pgoff_t pgoff)
{
	return avm_index_slot(&view->state, chunk_of(view, pgoff), AVM_GFP) ?
		0 : -ENOMEM;
}

/**
 * avm_state_set_uniform() - give all pages of a chunk one protection
 * @view: the view
 * @pgoff: number of a page in the space
 * @prot: the protection
 *
 * Context: under the lock that guards all pages of the chunk, after
 * avm_state_reserve(); does not sleep.
 * Return: false when the chunk has bytes, which the caller then writes.
 */
bool avm_state_set_uniform(struct avm_view *view, pgoff_t pgoff, u8 prot)
{
	void **slot = avm_index_slot(&view->state, chunk_of(view, pgoff), 0);
	void *old;

	if (WARN_ON_ONCE(!slot))
		return false;
	old = READ_ONCE(*slot);
	/* Others cannot store a value now; bytes may come in between. */
	return !entry_has_bytes(old) &&
	       cmpxchg(slot, old, xa_mk_value(prot)) == old;
}

/**
 * avm_state_destroy() - forget the state of a view
 * @view: the view, which nobody can reach any more
 */
void avm_state_destroy(struct avm_view *view)
{
	unsigned long chunk = 0, freed = 0;
	void **slot;

	while ((slot = avm_index_next(&view->state, &chunk, ULONG_MAX))) {
		if (entry_has_bytes(*slot)) {
			kmem_cache_free(chunk_cache, *slot);
			freed += AVM_CHUNK_PAGES;
		}
		chunk++;
		cond_resched();
	}
	avm_index_destroy(&view->state);
	atomic_long_sub(freed, &view->space->state_bytes);
}

int avm_state_setup(void)
{
	chunk_cache = KMEM_CACHE(avm_chunk, SLAB_ACCOUNT);
	return chunk_cache ? 0 : -ENOMEM;
}

void avm_state_teardown(void)
{
	kmem_cache_destroy(chunk_cache);
}
