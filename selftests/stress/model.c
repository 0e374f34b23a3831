// SPDX-License-Identifier: GPL-2.0
/*
 * model.c - what is mapped where, and what each page holds
 *
 * It follows <linux/avm.h> and the manual pages of mmap(2) and its like, not
 * the module: a page has its protection and bits wherever it is moved; a
 * registration is one of pages of the view.
 */
#include "stress.h"

void model_init(struct model *m)
{
	uint32_t i;

	memset(m, 0, sizeof(*m));
	for (i = 0; i < ARENA; i++)
		m->page[i].view = -1;
}

void model_end(struct model *m)
{
	uint32_t i;

	for (i = 0; i < ARENA; i++)
		free(m->view[i].traps);
}

/* The page, or NULL where nothing is mapped. */
struct page *model_page(struct model *m, uint32_t at)
{
	return at < ARENA && m->page[at].view >= 0 ? &m->page[at] : NULL;
}

struct frame *model_frame(struct model *m, const struct page *p)
{
	return &m->frame[m->view[p->view].space][p->pgoff];
}

int model_allowed(const struct model *m, const struct page *p)
{
	return m->view[p->view].allowed;
}

/* The page after the VMA that has this one. */
uint32_t model_vma_end(const struct model *m, uint32_t at)
{
	do {
		at++;
	} while (at < ARENA && m->page[at].view >= 0 && !m->page[at].starts);
	return at;
}

static void forget(struct view *v)
{
	free(v->traps);
	v->traps = NULL;
	v->n_traps = 0;
}

/* What is behind a hole that was made is a VMA of its own. */
static void split_at(struct model *m, uint32_t at)
{
	if (at < ARENA && m->page[at].view >= 0)
		m->page[at].starts = 1;
}

void model_unmap(struct model *m, uint32_t at, uint32_t n)
{
	struct view *v;
	uint32_t i;

	for (i = at; i < at + n; i++) {
		if (m->page[i].view < 0)
			continue;
		v = &m->view[m->page[i].view];
		if (!--v->pages)
			forget(v);
		m->page[i].view = -1;
	}
	split_at(m, at + n);
}

void model_map(struct model *m, uint32_t at, uint32_t n, int space, uint32_t pgoff,
	       int allowed, int prot)
{
	uint32_t i;
	int v = 0;

	model_unmap(m, at, n);
	while (m->view[v].pages)
		v++;
	m->view[v].space = space;
	m->view[v].allowed = allowed;
	m->view[v].pages = n;
	for (i = 0; i < n; i++)
		m->page[at + i] = (struct page) {
			.view = v, .pgoff = pgoff + i, .starts = !i, .prot = prot,
		};
}

/* All in one VMA; nothing is at the destination. */
void model_move(struct model *m, uint32_t at, uint32_t to, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		m->page[to + i] = m->page[at + i];
		m->page[to + i].starts = !i;
		m->page[at + i].view = -1;
	}
	split_at(m, at + n);
}

const struct trap *model_trap(const struct model *m, const struct page *p)
{
	const struct view *v = &m->view[p->view];
	uint32_t i;

	for (i = 0; i < v->n_traps; i++)
		if (p->pgoff >= v->traps[i].first && p->pgoff < v->traps[i].end)
			return &v->traps[i];
	return NULL;
}

static void add(struct view *v, struct trap trap)
{
	if (trap.first >= trap.end)
		return;
	v->traps = realloc(v->traps, (v->n_traps + 1) * sizeof(trap));
	must(v->traps);
	v->traps[v->n_traps++] = trap;
}

/* 0, or why not. */
int model_trap_add(struct model *m, int space, uint32_t at, uint32_t n, uint64_t arg, int raise)
{
	struct trap trap = { .arg = arg, .raise = raise };
	const struct page *p, *first = model_page(m, at);
	struct view *v;
	uint32_t i;

	for (i = 0; i < n; i++) {
		p = model_page(m, at + i);
		if (!p || m->view[p->view].space != space)
			return -ENXIO;
		if (raise & ~model_allowed(m, p))
			return -EACCES;
		if (p->view != first->view || p->pgoff != first->pgoff + i)
			return -ENXIO;
	}
	v = &m->view[first->view];
	trap.first = first->pgoff;
	trap.end = first->pgoff + n;
	for (i = 0; i < v->n_traps; i++)
		if (v->traps[i].first < trap.end && v->traps[i].end > trap.first)
			return -EEXIST;
	add(v, trap);
	return 0;
}

/*
 * Page @pgoff of a view is in a range that begins where page @low would be, and
 * ends at @high: the registration that it has loses all between them.
 */
static bool cut(struct view *v, uint32_t pgoff, int64_t low, int64_t high)
{
	struct trap old, part;
	uint32_t i;

	for (i = 0; i < v->n_traps; i++) {
		old = v->traps[i];
		if (pgoff < old.first || pgoff >= old.end)
			continue;
		v->traps[i] = v->traps[--v->n_traps];
		part = old;
		if (low < old.end && low > old.first) {
			part.end = low;
			add(v, part);
		}
		part = old;
		if (high > old.first && high < old.end) {
			part.first = high;
			add(v, part);
		}
		return true;
	}
	return false;
}

int model_trap_remove(struct model *m, int space, uint32_t at, uint32_t n)
{
	const struct page *p;
	bool found = false;
	uint32_t i;

	for (i = 0; i < n; i++) {
		p = model_page(m, at + i);
		if (p && m->view[p->view].space == space)
			found |= cut(&m->view[p->view], p->pgoff, (int64_t)p->pgoff - i,
				     (int64_t)p->pgoff - i + n);
	}
	return found ? 0 : -ENOENT;
}

/* A page of the space goes, from all views. */
void model_discard(struct model *m, int space, uint32_t pgoff)
{
	uint32_t i;

	memset(&m->frame[space][pgoff], 0, sizeof(struct frame));
	for (i = 0; i < ARENA; i++)
		if (m->page[i].pgoff == pgoff && m->page[i].view >= 0 &&
		    m->view[m->page[i].view].space == space)
			m->page[i].bits = 0;
}

uint64_t model_count_views(const struct model *m, int space)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < ARENA; i++)
		n += m->view[i].pages && m->view[i].space == space;
	return n;
}

uint64_t model_count_frames(const struct model *m, int space)
{
	uint64_t n = 0;
	uint32_t i;

	for (i = 0; i < REGION; i++)
		n += m->frame[space][i].present;
	return n;
}
