/* SPDX-License-Identifier: GPL-2.0 */
/*
 * index.h - a sparse array of pointers that only grows
 *
 * What a space finds its frames by, and a view the state of its pages. A radix
 * tree of a height that its size fixes; nodes have 64 slots for state, which
 * may be sparse, and 512 for frames, whose page tables are as large. Nodes stay until
 * the whole index goes: so a look-up takes no lock and no RCU (the kernel's
 * xarray has both, which is most of what a fault-free call costs), and a slot
 * that was found stays where it is. Nodes are put in place by compare-and-
 * exchange; what is in a slot is its user's to guard.
 *
 * Values that are no pointers are made and told apart as in an xarray
 * (xa_mk_value(), xa_is_value()); they are small, so that one comparison tells
 * a pointer from a value and from nothing.
 */
#ifndef AVM_INDEX_H
#define AVM_INDEX_H

#include <linux/compiler.h>
#include <linux/stddef.h>
#include <linux/types.h>
#include <linux/xarray.h>

/* Bits of an index that a node resolves: one of these. */
#define AVM_INDEX_SMALL	6
#define AVM_INDEX_LARGE	9

struct avm_index_node {
	DECLARE_FLEX_ARRAY(void *, slots);
};

/**
 * struct avm_index - the array
 * @root: the top node, or NULL
 * @bits: AVM_INDEX_*
 * @shift: bits of an index below the top node's
 */
struct avm_index {
	struct avm_index_node *root;
	unsigned int bits;
	int shift;
};

/* Whether an entry is a pointer. Values are less than 64. */
static __always_inline bool avm_index_is_pointer(const void *entry)
{
	return (unsigned long)entry > 128;
}

void avm_index_init(struct avm_index *index, unsigned int bits,
		    unsigned long entries);
void **avm_index_slot(struct avm_index *index, unsigned long i, gfp_t gfp);
void **avm_index_next(struct avm_index *index, unsigned long *i,
		      unsigned long last);
void avm_index_destroy(struct avm_index *index);
int avm_index_setup(void);
void avm_index_teardown(void);

/**
 * avm_index_load() - the entry at an index
 * @index: the array
 * @bits: AVM_INDEX_* that it was made with, for the compiler to know
 * @i: less than the number of entries that it was made for
 *
 * Context: any.
 * Return: the entry, or NULL.
 */
static __always_inline void *avm_index_load(const struct avm_index *index,
					    unsigned int bits, unsigned long i)
{
	const struct avm_index_node *node = READ_ONCE(index->root);
	int shift = index->shift;

	while (node && shift >= 0) {
		node = READ_ONCE(node->slots[(i >> shift) % (1u << bits)]);
		shift -= bits;
	}
	return (void *)node;
}

#endif /* AVM_INDEX_H */
