// SPDX-License-Identifier: GPL-2.0
/*
 * index.c - a sparse array of pointers that only grows: how it grows, is
 * walked, and goes. See index.h.
 */
#include <linux/sched.h>
#include <linux/slab.h>

#include "index.h"

static struct kmem_cache *node_cache;

/**
 * avm_index_init() - make an empty array
 * @index: the array
 * @entries: indices go up to this less one
 */
void avm_index_init(struct avm_index *index, unsigned long entries)
{
	index->root = NULL;
	index->shift = 0;
	while ((entries - 1) >> index->shift >= AVM_INDEX_SLOTS)
		index->shift += AVM_INDEX_BITS;
}

/* The node in a slot, made if there is none. */
static struct avm_index_node *get_node(struct avm_index_node **slot, gfp_t gfp)
{
	struct avm_index_node *node = READ_ONCE(*slot), *old;

	if (node)
		return node;
	node = kmem_cache_zalloc(node_cache, gfp);
	if (!node)
		return NULL;
	old = cmpxchg(slot, NULL, node);
	if (!old)
		return node;
	kmem_cache_free(node_cache, node);
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
	struct avm_index_node *node = get_node(&index->root, gfp);
	unsigned int shift;
	void **slot;

	for (shift = index->shift; node; shift -= AVM_INDEX_BITS) {
		slot = &node->slots[(i >> shift) % AVM_INDEX_SLOTS];
		if (!shift)
			return slot;
		node = get_node((struct avm_index_node **)slot, gfp);
	}
	return NULL;
}

/**
 * avm_index_next() - the next entry
 * @index: the array
 * @i: where to begin; where the entry is
 * @last: where to end
 *
 * Context: any. Takes a step for each node or empty slot that it passes.
 * Return: the slot, which is not empty, or NULL.
 */
void **avm_index_next(struct avm_index *index, unsigned long *i,
		      unsigned long last)
{
	struct avm_index_node *node;
	unsigned int shift;
	void **slot;

	while (*i <= last && *i >> index->shift < AVM_INDEX_SLOTS) {
		node = READ_ONCE(index->root);
		for (shift = index->shift; node; shift -= AVM_INDEX_BITS) {
			slot = &node->slots[(*i >> shift) % AVM_INDEX_SLOTS];
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
	}
	return NULL;
}

static void free_node(struct avm_index_node *node, unsigned int shift)
{
	unsigned int i;

	/* As deep as the index is high: seven at most. */
	if (shift)
		for (i = 0; i < AVM_INDEX_SLOTS; i++)
			if (node->slots[i])
				free_node(node->slots[i],
					  shift - AVM_INDEX_BITS);
	kmem_cache_free(node_cache, node);
	cond_resched();
}

/**
 * avm_index_destroy() - free all nodes
 * @index: the array; what its entries point to is the caller's
 */
void avm_index_destroy(struct avm_index *index)
{
	if (index->root)
		free_node(index->root, index->shift);
	index->root = NULL;
}

int avm_index_setup(void)
{
	node_cache = kmem_cache_create("avm_index",
				       sizeof(struct avm_index_node), 0,
				       SLAB_ACCOUNT | SLAB_HWCACHE_ALIGN, NULL);
	return node_cache ? 0 : -ENOMEM;
}

void avm_index_teardown(void)
{
	kmem_cache_destroy(node_cache);
}
