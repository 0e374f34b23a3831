/* SPDX-License-Identifier: GPL-2.0 */
/*
 * index.h - a sparse array of pointers that only grows
 *
 * What a space finds its frames by, and a view the state of its pages. A radix
 * tree of 64 slots a node, of a height that its size fixes. Nodes stay until
 * the whole index goes: so a look-up takes no lock and no RCU (the kernel's
 * xarray has both, which is most of what a fault-free call costs), and a slot
 * that was found stays where it is. Nodes are put in place by compare-and-
 * exchange; what is in a slot is its user's to guard.
 *
 * Values that are no pointers are made and told apart as in an xarray
 * (xa_mk_value(), xa_is_value()).
 */
#ifndef AVM_INDEX_H
#define AVM_INDEX_H

#include <linux/compiler.h>
#include <linux/types.h>
#include <linux/xarray.h>

#define AVM_INDEX_BITS	6
#define AVM_INDEX_SLOTS	(1u << AVM_INDEX_BITS)

struct avm_index_node {
	void *slots[AVM_INDEX_SLOTS];
};

/**
 * struct avm_index - the array
 * @root: the top node, or NULL
 * @shift: bits of an index below the top node's
 */
struct avm_index {
	struct avm_index_node *root;
	unsigned int shift;
};

void avm_index_init(struct avm_index *index, unsigned long entries);
void **avm_index_slot(struct avm_index *index, unsigned long i, gfp_t gfp);
void **avm_index_next(struct avm_index *index, unsigned long *i,
		      unsigned long last);
void avm_index_destroy(struct avm_index *index);
int avm_index_setup(void);
void avm_index_teardown(void);

/**
 * avm_index_load() - the entry at an index
 * @index: the array
 * @i: less than the number of entries that it was made for
 *
 * Context: any.
 * Return: the entry, or NULL.
 */
static inline void *avm_index_load(const struct avm_index *index,
				   unsigned long i)
{
	const struct avm_index_node *node = READ_ONCE(index->root);
	int shift = index->shift;

	while (node && shift >= 0) {
		node = READ_ONCE(node->slots[(i >> shift) % AVM_INDEX_SLOTS]);
		shift -= AVM_INDEX_BITS;
	}
	return (void *)node;
}

#endif /* AVM_INDEX_H */
