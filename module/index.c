// SPDX-License-Identifier: GPL-2.0
/*
 * index.c - a sparse array of pointers that only grows: how it grows, is
 * walked, and goes. See index.h.
 */
#include <linux/sched.h>
#include <linux/slab.h>

#include "index.h"

static struct kmem_cache *small_cache, *large_cache;

static struct kmem_cache *cache_of(const struct avm_index *index)
{
	return index->bits == AVM_INDEX_SMALL ? small_cache : large_cache;
}

/* Where in its node of a level an index goes. */
static unsigned int slot_of(const struct avm_index *index, unsigned long i,
			    int shift)
{
	return (i >> shift) & ((1u << index->bits) - 1);
}

/**
 * avm_index_init() - make an empty array
 * @index: the array
 * @bits: AVM_INDEX_*
 * @entries: indices go up to this less one
 */
void avm_index_init(struct avm_index *index, unsigned int bits,
		    unsigned long entries)
{
	index->root = NULL;
	index->bits = bits;
	index->shift = 0;
	while ((entries - 1) >> index->shift >> bits)
		index->shift += bits;
}

/* The node in a slot, made if there is none. */
static struct avm_index_node *get_node(const struct avm_index *index,
				       struct avm_index_node **slot, gfp_t gfp)
{
	struct avm_index_node *node = READ_ONCE(*slot), *old;

	if (node)
		return node;
	node = kmem_cache_zalloc(cache_of(index), gfp);
	if (!node)
		return NULL;
	old = cmpxchg(slot, NULL, node);
	if (!old)
		return node;
	kmem_cache_free(cache_of(index), node);
	return old;
}

/**
 * avm_index_slot() - the place of an entry, made if there is none
 * @index: the array
 * @i: the index
 * @gfp: how to allocate
 *
 * Context: as @gfp says. Any number of callers at once.
 * Return: the slot, or NULL when there is no memory.
 */
void **avm_index_slot(struct avm_index *index, unsigned long i, gfp_t gfp)
{
	struct avm_index_node *node = get_node(index, &index->root, gfp);
	void **slot;
	int shift;

	for (shift = index->shift; node; shift -= index->bits) {
		slot = &node->slots[slot_of(index, i, shift)];
		if (!shift)
			return slot;
		node = get_node(index, (struct avm_index_node **)slot, gfp);
	}
	return NULL;
}

/**
 * avm_index_next() - the next entry
 * @index: the array
 * @i: where to begin; where the entry is
 * @last: where to end
 *
 * Context: may sleep. Takes a step for each node or empty slot that it passes.
 * Return: the slot, which is not empty, or NULL.
 */
void **avm_index_next(struct avm_index *index, unsigned long *i,
		      unsigned long last)
{
	struct avm_index_node *node;
	void **slot;
	int shift;

	while (*i <= last && !(*i >> index->shift >> index->bits)) {
		node = READ_ONCE(index->root);
		for (shift = index->shift; node; shift -= index->bits) {
			slot = &node->slots[slot_of(index, *i, shift)];
			node = READ_ONCE(*slot);
			if (!shift || !node)
				break;
		}
		if (node)
			return slot;
		/* Nothing below that slot: on to the one after it. */
		if (!READ_ONCE(index->root))
			break;
		*i = ((*i >> shift) + 1) << shift;
		if (!*i)
			break;
		if (!slot_of(index, *i, shift))
			cond_resched();
	}
	return NULL;
}

static void free_node(const struct avm_index *index,
		      struct avm_index_node *node, int shift)
{
	unsigned int i;

	/* As deep as the index is high: six at most. */
	if (shift)
		for (i = 0; i < 1u << index->bits; i++)
			if (node->slots[i])
				free_node(index, node->slots[i],
					  shift - index->bits);
	kmem_cache_free(cache_of(index), node);
	cond_resched();
}

/**
 * avm_index_destroy() - free all nodes
 * @index: the array; what its entries point to is the caller's
 */
void avm_index_destroy(struct avm_index *index)
{
	if (index->root)
		free_node(index, index->root, index->shift);
	index->root = NULL;
}

int avm_index_setup(void)
{
	small_cache = kmem_cache_create("avm_index_small",
					sizeof(void *) << AVM_INDEX_SMALL, 0,
					SLAB_ACCOUNT, NULL);
	large_cache = kmem_cache_create("avm_index_large",
					sizeof(void *) << AVM_INDEX_LARGE, 0,
					SLAB_ACCOUNT, NULL);
	if (small_cache && large_cache)
		return 0;
	avm_index_teardown();
	return -ENOMEM;
}

void avm_index_teardown(void)
{
	kmem_cache_destroy(small_cache);
	kmem_cache_destroy(large_cache);
}
