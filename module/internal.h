/* SPDX-License-Identifier: GPL-2.0 */
/*
 * internal.h - the objects of avm and what its files offer one another
 *
 * Ownership goes one way. A space is a file: it lives while a descriptor or a
 * mapping of it lives. A view belongs to the mappings (VMAs) that it was made
 * for; each of them holds the file and with it the space. A space has no list
 * of its views: to take pages away from them it walks the mappings in the
 * i_mmap tree of its address_space, which core mm keeps.
 *
 * Order of locks, outermost first; those marked (f) the fault path may take:
 *
 *	space->map2_lock	mutex
 *	  mm->mmap_lock (or the VMA's own lock, in a fault)	(f)
 *	    space->trap_lock	mutex
 *	    space->discard_lock	mutex				(f)
 *	      mapping->i_mmap_rwsem
 *	        page-table lock	spinlock, see pte.c		(f)
 */
#ifndef AVM_INTERNAL_H
#define AVM_INTERNAL_H

#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/refcount.h>
#include <linux/sizes.h>
#include <linux/avm.h>

#include "compat.h"
#include "index.h"

/* Ranges that one call may name, and bytes in a space. */
#define AVM_MAX_RANGES	SZ_1M
#define AVM_MAX_SIZE	(128 * SZ_1T)

/* Pages whose state is kept in one piece: those of one page table. */
#define AVM_CHUNK_SHIFT	(PMD_SHIFT - PAGE_SHIFT)
#define AVM_CHUNK_PAGES	((unsigned int)(PMD_SIZE / PAGE_SIZE))

#define AVM_PROT_RWX	(AVM_PROT_READ | AVM_PROT_WRITE | AVM_PROT_EXEC)

/*
 * How to allocate on behalf of a user: charged to the memory cgroup, with
 * every effort short of killing somebody. A failure is the caller's ENOMEM or
 * SIGBUS, and no news for the kernel log.
 */
#define AVM_GFP		(GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

/* The same for what is given back before the call returns: not charged. */
#define AVM_GFP_TEMPORARY	(AVM_GFP & ~__GFP_ACCOUNT)

/*
 * State of a page in a view, one byte: its protection, and the accessed and
 * dirty bits of translations that have been taken away. The page is dirty if
 * either this or its PTE says so. The two have the places that the CPU gives
 * them in a PTE, so that carrying them over is a mask.
 */
#define AVM_STATE_PROT		AVM_PROT_RWX
#define AVM_STATE_ACCESSED	0x20
#define AVM_STATE_DIRTY		0x40
#define AVM_STATE_CARRIED	(AVM_STATE_ACCESSED | AVM_STATE_DIRTY)

/* Stands in space->frames for a page that is on its way out: see discard.c. */
#define AVM_FRAME_DYING		xa_mk_value(1)

struct avm_counters {
	u64 faults;
	u64 traps;
	u64 upcalls;
	u64 allocated;
	u64 discarded;
	u64 flushes;
	u64 flushed_pages;
};

/**
 * struct avm_space - page frames behind a file
 * @mapping: the file's f_mapping, for the tree of VMAs
 * @frames: page number in the space to struct page, or AVM_FRAME_DYING.
 *	Entries are added by anyone (cmpxchg from nothing), turned into
 *	AVM_FRAME_DYING and removed under @discard_lock only.
 * @discard_lock: one discard at a time. Who meets AVM_FRAME_DYING waits here.
 * @pages: pages that fit
 * @pending: flush debts: calls that have edited PTEs of a view of this space,
 *	or are about to, and have not flushed yet. Raised under the page-table
 *	lock before the edit; see tlb.c.
 * @parked_lock: guards @parked and @parked_round; innermost
 * @parked: struct avm_tlb of calls that gave mmap_lock up while in debt
 * @parked_round: of avm_tlb_flush_parked(), counted
 * @user: who pays for locked memory
 * @memlock_limit: pages that @user may have locked, ULONG_MAX for no limit;
 *	fixed when the space is made, because faults may come from others
 * @resident: frames allocated now
 * @state_bytes: bytes of the state of pages, in all views
 * @views: views alive
 * @map2_lock: one AVM_IOC_MAP2 at a time
 * @map2_task: who is in AVM_IOC_MAP2; written under @map2_lock
 * @map2_prot: protection that its view begins with; the same
 * @counters: per CPU, for AVM_IOC_STATS
 */
struct avm_space {
	struct address_space mapping;
	struct avm_index frames;
	struct mutex discard_lock;	/* outside of i_mmap_rwsem */
	pgoff_t pages;
	atomic_t pending;
	spinlock_t parked_lock;		/* innermost */
	struct list_head parked;
	unsigned int parked_round;
	struct user_struct *user;
	unsigned long memlock_limit;
	atomic_long_t resident;
	atomic_long_t state_bytes;
	atomic_long_t views;
	struct mutex map2_lock;		/* outside of mmap_lock */
	struct task_struct *map2_task;
	u8 map2_prot;
	struct avm_counters __percpu *counters;
};

/* Flag of view->forbidden: not for the short way, see short.c. */
#define AVM_UNSETTLED	0x80

#define avm_count(space, what, n)	this_cpu_add((space)->counters->what, n)

/**
 * struct avm_view - protections of one mapping, split or moved as it may be
 * @refs: VMAs that show it
 * @space: held by the file of each of these VMAs
 * @initial: protection of a page that was never given another
 * @forbidden: AVM_PROT_* that the mapping does not allow, and AVM_UNSETTLED
 *	unless the view has been one VMA ever since, at the place where it was
 *	made; changes under mmap_lock held for writing
 * @skew: aligns chunks of @state with page tables, where the mapping was made
 * @chunk0: what to add to an address in units of PMD_SIZE for its chunk, while
 *	the view is settled
 * @state: chunk to the state of its pages; see state.c
 * @trap_lock: guards @traps against other writers
 * @traps: what AVM_IOC_TRAP has registered; see trap.c
 * @pgprot: flags of a PTE for each AVM_PROT_* that exists, as the mapping has
 *	them; 0 for the others
 * @pgprot_old: the same for a page that nobody has accessed yet
 */
struct avm_view {
	refcount_t refs;
	struct avm_space *space;
	u8 initial;
	u8 forbidden;
	u16 skew;
	unsigned long chunk0;
	struct avm_index state;
	struct mutex trap_lock;		/* inside of mmap_lock */
	struct avm_traps __rcu *traps;
	pgprot_t pgprot[AVM_PROT_RWX + 1];
	pgprot_t pgprot_old[AVM_PROT_RWX + 1];
};

static inline bool avm_prot_valid(u32 prot)
{
	/* none, r, rw, rx, rwx */
	return prot <= AVM_PROT_RWX && (0xab >> prot & 1);
}

/* space.c */
int avm_space_create(struct avm_create *arg);
int avm_space_stats(struct avm_space *space, struct avm_stats *arg);
struct avm_space *avm_space_of(struct file *file);
int avm_frame_alloc(struct avm_space *space, pgoff_t pgoff);
void avm_frame_free(struct avm_space *space, struct page *page);
int avm_frame_wait(struct avm_space *space);

/* The frame of a page, NULL, or AVM_FRAME_DYING. */
static inline void *avm_frame_find(struct avm_space *space, pgoff_t pgoff)
{
	return avm_index_load(&space->frames, AVM_INDEX_LARGE, pgoff);
}

/* view.c */
int avm_view_mmap(struct file *file, struct vm_area_struct *vma);
bool avm_view_usable(struct vm_area_struct *vma, struct avm_space *space,
		     int *error);
int avm_view_check(struct avm_space *space, unsigned long addr,
		   unsigned long end, u8 prot);
int avm_view_find(struct avm_space *space, unsigned long addr,
		  unsigned long end, u8 prot, struct avm_view **view,
		  pgoff_t *first);
int avm_view_setup(void);
void avm_view_teardown(void);

static inline u8 avm_vma_prot(struct vm_area_struct *vma)
{
	u8 prot = vma->vm_flags & (VM_READ | VM_WRITE | VM_EXEC);

	/* The CPU has no page that can be written or executed, not read. */
	return prot ? prot | AVM_PROT_READ : AVM_PROT_NONE;
}

static inline pgoff_t avm_pgoff(struct vm_area_struct *vma, unsigned long addr)
{
	return vma->vm_pgoff + ((addr - vma->vm_start) >> PAGE_SHIFT);
}

/* state.c */
struct avm_chunk {
	pte_t *table;	/* the page table, if it is known: see short.c */
	spinlock_t *ptl;	/* and its lock */
	u8 bytes[AVM_CHUNK_PAGES];
};

struct avm_state {
	u8 *bytes;	/* of the page asked for and those after it, or NULL: */
	u8 uniform;	/* the state of every page of the chunk */
};

int avm_state_setup(void);
void avm_state_teardown(void);
struct avm_state avm_state_find(struct avm_view *view, pgoff_t pgoff);
int avm_state_expand(struct avm_view *view, pgoff_t pgoff, gfp_t gfp);
int avm_state_reserve(struct avm_view *view, pgoff_t pgoff);
bool avm_state_set_uniform(struct avm_view *view, pgoff_t pgoff, u8 prot);
void avm_state_destroy(struct avm_view *view);

/* A chunk, if its pages have bytes. */
static __always_inline struct avm_chunk *
avm_state_chunk(struct avm_view *view, unsigned long chunk)
{
	void *entry = avm_index_load(&view->state, AVM_INDEX_SMALL, chunk);

	return avm_index_is_pointer(entry) ? entry : NULL;
}

/* Pages from this one to the end of its chunk. */
static inline unsigned int avm_state_room(struct avm_view *view, pgoff_t pgoff)
{
	return AVM_CHUNK_PAGES - ((pgoff + view->skew) & (AVM_CHUNK_PAGES - 1));
}

/* symbol.c */
void *avm_symbol(const char *name);

/* tlb.c */

/**
 * struct avm_tlb - edits of a call, which one flush is to cover
 * @space: whose views
 * @mm: whose page tables, NULL after avm_tlb_end()
 * @start: first byte of what was edited
 * @end: byte after the last
 * @pages: translations that were edited
 * @owed: counted in space->pending
 * @needed: some of the translations may be cached
 * @parked: in space->parked
 * @everything: flush all of the mm: others edited what was looked at
 * @announced: between avm_tlb_notify_start() and avm_tlb_notify_end()
 * @round: space->parked_round when its debt was parked, or flushed for last
 * @debt: place in space->parked
 */
struct avm_tlb {
	struct avm_space *space;
	struct mm_struct *mm;
	unsigned long start;
	unsigned long end;
	unsigned long pages;
	bool owed;
	bool needed;
	bool parked;
	bool everything;
	bool announced;
	unsigned int round;
	struct list_head debt;
};

int avm_tlb_setup(void);
void avm_tlb_end(struct avm_tlb *tlb);
void avm_tlb_park(struct avm_tlb *tlb);
void avm_tlb_flush_parked(struct avm_space *space);
void avm_tlb_notify_start(struct avm_tlb *tlb,
			  struct mmu_notifier_range *range,
			  struct vm_area_struct *vma,
			  unsigned long start, unsigned long end);
void avm_tlb_notify_end(struct avm_tlb *tlb, struct mmu_notifier_range *range);

/**
 * avm_tlb_begin() - begin to collect edits
 * @tlb: what collects them
 * @space: whose pages
 * @mm: whose page tables
 */
static __always_inline void avm_tlb_begin(struct avm_tlb *tlb,
					  struct avm_space *space,
					  struct mm_struct *mm)
{
	*tlb = (struct avm_tlb) {
		.space = space, .mm = mm, .start = ULONG_MAX,
	};
}

/* pte.c */

/**
 * struct avm_step - pages under one page-table lock
 * @view: whose pages
 * @mm: whose page tables
 * @addr: first byte
 * @end: byte after the last; all in one page table and one chunk of state
 * @pgoff: number of the first page in the space
 * @pte: PTE of the first page while locked, NULL where there is no table
 * @ptl: the lock, while locked
 * @state: state of the pages, while locked
 */
struct avm_step {
	struct avm_view *view;
	struct mm_struct *mm;
	unsigned long addr;
	unsigned long end;
	pgoff_t pgoff;
	pte_t *pte;
	spinlock_t *ptl;	/* the page table's, or the PMD page's */
	struct avm_state state;
};

struct avm_match {
	u8 match;	/* AVM_STATE_CARRIED bits that are looked for */
	u8 clear;	/* and that are cleared where one was found */
	bool protect;	/* whether such pages then get: */
	u8 prot;
};

int avm_pte_table(struct mm_struct *mm, unsigned long addr);
unsigned long avm_pte_skip(struct mm_struct *mm, unsigned long addr,
			   unsigned long end);
unsigned long avm_step_set(struct avm_step *step, struct vm_area_struct *vma,
			   unsigned long addr, unsigned long end);
bool avm_pte_lock(struct avm_step *step);
bool avm_pte_lock_again(struct avm_step *step);
void avm_pte_unlock(struct avm_step *step);
void avm_pte_protect(struct avm_step *step, unsigned int first, unsigned int n,
		     u8 prot, struct avm_tlb *tlb);
unsigned int avm_pte_protect_ranges(struct avm_step *step,
				    const struct avm_range *ranges,
				    unsigned int n, long *left,
				    struct avm_tlb *tlb);
bool avm_pte_empty(const struct avm_step *step);
void avm_pte_populate(struct avm_step *step);
void avm_pte_discard(struct avm_step *step, struct avm_tlb *tlb);
void avm_pte_take_protect(struct avm_step *step, unsigned int i,
			  const struct avm_match *how, struct avm_tlb *tlb);
void avm_pte_mark(struct avm_step *step, unsigned int i, u8 bits);

static inline unsigned int avm_step_pages(const struct avm_step *step)
{
	return (step->end - step->addr) >> PAGE_SHIFT;
}

/* trap.c */

/* What is handed to avm_upcall() beside the access, one AVM_PROT_* bit. */
#define AVM_UPCALL_ACCESS	AVM_PROT_RWX
#define AVM_UPCALL_ONSTACK	0x80	/* on the alternate stack */

/**
 * struct avm_trap_entry - what AVM_IOC_TRAP registers for some pages
 * @first: number of the first page in the space
 * @end: number after the last
 * @code: user code to go on at; 0 once it was taken away
 * @arg: handed to it
 * @how: AVM_UPCALL_ONSTACK or 0
 * @raise: AVM_PROT_* to add to the protection of the page before
 */
struct avm_trap_entry {
	pgoff_t first;
	pgoff_t end;
	unsigned long code;
	u64 arg;
	u8 how;
	u8 raise;
};

/**
 * struct avm_traps - the registrations of a view: see trap.c
 * @rcu: to be freed
 * @room: entries that there is room for
 * @live: entries that were not taken away
 * @n: entries
 * @entries: sorted, without overlaps
 */
struct avm_traps {
	struct rcu_head rcu;
	unsigned int room;
	unsigned int live;
	unsigned int n;
	struct avm_trap_entry entries[];
};

int avm_trap(struct avm_space *space, const struct avm_trap *arg);
unsigned int avm_trap_position(const struct avm_traps *traps, unsigned int n,
			       pgoff_t pgoff);
void avm_trap_destroy(struct avm_view *view);
void avm_trap_teardown(void);

/*
 * The registration of a page, or NULL. Under a page-table lock, which is a
 * read-side critical section of RCU, too.
 */
static __always_inline const struct avm_trap_entry *
avm_trap_find(struct avm_view *view, pgoff_t pgoff)
{
	struct avm_traps *traps = rcu_dereference_sched(view->traps);
	const struct avm_trap_entry *entry;
	unsigned int i, n;

	if (!traps)
		return NULL;
	entry = traps->entries;
	/* Pairs with traps_add(): entries below are complete. */
	n = smp_load_acquire(&traps->n);
	if (unlikely(n > 1)) {
		i = avm_trap_position(traps, n, pgoff);
		if (i == n)
			return NULL;
		entry += i;
	}
	return pgoff >= READ_ONCE(entry->first) &&
	       pgoff < READ_ONCE(entry->end) ? entry : NULL;
}

/* upcall.c */
int avm_upcall_setup(void);
void avm_upcall_teardown(void);
vm_fault_t avm_upcall_later(const struct vm_fault *vmf, unsigned long code,
			    u64 arg, unsigned int how);
long avm_trap_pass(struct file *file, const void __user *from);

/* ioctl.c */
long avm_device_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
long avm_space_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

/* batch.c */
#define AVM_FEW	8	/* ranges that need no memory of their own */

struct avm_reader {
	const struct avm_range __user *from;
	u32 left;
	struct avm_range *ranges;
	unsigned int n;
	struct avm_range few[AVM_FEW];
};

int avm_reader_open(struct avm_reader *reader, const struct avm_batch *arg);
int avm_reader_next(struct avm_reader *reader);
void avm_reader_close(struct avm_reader *reader);
int avm_range_check(const struct avm_range *range);
int avm_batch_protect(struct avm_space *space, struct avm_batch *arg);
int avm_protect_page_long(struct avm_space *space, unsigned long addr, u8 prot);

/* short.c */
long avm_protect_page(struct avm_space *space, unsigned long arg);
bool avm_protect_few(struct avm_space *space, const struct avm_range *ranges,
		     unsigned int n);
int avm_batch_populate(struct avm_space *space, struct avm_batch *arg);

/* discard.c */
int avm_batch_discard(struct avm_space *space, struct avm_batch *arg);

/* scan.c */
int avm_scan(struct avm_space *space, struct avm_scan *arg);

/* map2.c */
int avm_map2(struct file *file, struct avm_map2 *arg);

#endif /* AVM_INTERNAL_H */
