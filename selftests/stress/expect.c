// SPDX-License-Identifier: GPL-2.0
/*
 * expect.c - what an operation must result in
 *
 * Each function says it from the model, and changes the model as the operation
 * changes what is modelled. What really happened is looked at in one place
 * only, access_either(): where the header leaves two answers open.
 */
#include "stress.h"

static uint64_t address(const struct slot *s, uint32_t at)
{
	return (uintptr_t)s->arena + at * PAGE;
}

/* Where @space is what the call is made on: its page, or NULL. */
static struct page *page_of(struct model *m, uint32_t space, uint32_t at)
{
	struct page *p = model_page(m, at);

	return p && m->view[p->view].space == (int)space ? p : NULL;
}

/* 0, or why a call cannot be made on a range. */
static int check_range(struct model *m, uint32_t space, uint32_t at, uint32_t n, int prot)
{
	const struct page *p;
	uint32_t i;

	for (i = at; i < at + n; i++) {
		p = page_of(m, space, i);
		if (!p)
			return -ENXIO;
		if (prot & ~model_allowed(m, p))
			return -EACCES;
	}
	return 0;
}

static const int8_t needs[] = { [READ] = R, [WRITE] = RW, [MODIFY] = RW, [FETCH] = RX };

static struct event *event(struct result *e, unsigned int n, uint64_t what, uint64_t addr,
			   uint64_t access)
{
	struct event *event = &e->event[n];

	event->what = what;
	event->addr = addr;
	event->access = access;
	return event;
}

/* The access goes through. */
static void touch(struct model *m, struct page *p, const struct op *op, struct result *e)
{
	struct frame *f = model_frame(m, p);
	uint8_t *byte = &f->byte[op->byte];

	f->present = 1;
	p->bits |= AVM_PAGE_ACCESSED;
	m->unsure = NULL;
	if (op->how == READ)
		e->ret = *byte;
	if (op->how != WRITE && op->how != MODIFY)
		return;
	p->bits |= AVM_PAGE_DIRTY;
	*byte = op->how == WRITE ? op->value : *byte + op->value;
}

static int set_prot(struct model *m, struct page *p, int prot)
{
	if (prot & ~model_allowed(m, p))
		return -EACCES;
	p->prot = prot;
	return 0;
}

/*
 * A fetch from a page that may be read: the CPU says no where it has been
 * touched, with another code and no upcall; avm says no where it has not.
 */
static bool access_either(const struct page *p, const struct op *op, const struct result *got,
			  unsigned int n)
{
	return op->how == FETCH && p->prot & R && n < EVENTS &&
	       got->event[n].what == EVENT_SIGNAL && got->event[n].access == SEGV_ACCERR;
}

/*
 * The page is raised and mapped, which counts as an access. If it may have been
 * mapped before, the header does not say: then the module is asked, later.
 */
static void raise_page(struct model *m, struct page *p, int raise)
{
	if (p->prot && !(p->bits & AVM_PAGE_ACCESSED))
		m->unsure = p;
	p->prot |= raise;
	p->bits |= AVM_PAGE_ACCESSED;
	model_frame(m, p)->present = 1;
}

/* What the handler does. Return: whether the access is made again. */
static bool handle(struct slot *s, struct page *p, const struct op *op, unsigned int n,
		   struct event *v, uint64_t addr, struct result *e)
{
	switch (op->deed) {
	case OPEN_PAGE:
		v->did = page_of(&s->model, op->space, op->at) ?
			set_prot(&s->model, p, op->prot) : -ENXIO;
		break;
	case RETRY:
		break;
	case PASS:
		event(e, n + 1, EVENT_SIGNAL, addr, SEGV_MAPERR);
		return false;
	default:
		return false;
	}
	return !n;
}

/*
 * Whether the mapping as a whole forbids it, so that avm is not asked. To fetch
 * from what may be read is not forbidden so, but as access_either() says.
 */
static bool forbidden(const struct model *m, const struct page *p, int need)
{
	if (need & AVM_PROT_EXEC)
		need = R;
	return need & ~model_allowed(m, p);
}

static void expect_access(struct slot *s, const struct op *op, const struct result *got,
			  struct result *e)
{
	uint64_t addr = address(s, op->at) + byte_at[op->byte];
	struct page *p = model_page(&s->model, op->at);
	int need = needs[op->how];
	const struct trap *trap;
	struct event *v;
	unsigned int n;

	e->ret = -1;
	for (n = 0; ; n++) {
		if (!p || forbidden(&s->model, p, need)) {
			event(e, n, EVENT_SIGNAL, addr, p ? SEGV_ACCERR : SEGV_MAPERR);
			return;
		}
		if (!(need & ~p->prot)) {
			e->ret = 0;
			touch(&s->model, p, op, e);
			return;
		}
		if (access_either(p, op, got, n)) {
			event(e, n, EVENT_SIGNAL, addr, SEGV_ACCERR);
			return;
		}
		trap = model_trap(&s->model, p);
		if (!trap) {
			event(e, n, EVENT_SIGNAL, addr, SEGV_MAPERR);
			return;
		}
		if (!(need & ~trap->raise))
			raise_page(&s->model, p, trap->raise);
		v = event(e, n, EVENT_UPCALL, addr, need == R ? R : need & ~R);
		v->arg = trap->arg;
		if (!handle(s, p, op, n, v, addr, e))
			return;
	}
}

/* By read(2) or write(2) of one byte. */
static void expect_syscall(struct slot *s, const struct op *op, struct result *e)
{
	struct page *p = model_page(&s->model, op->at);
	struct op as = *op;

	as.how = op->how == READ ? READ : WRITE;
	if (!p || needs[as.how] & ~p->prot) {
		e->ret = -EFAULT;
		return;
	}
	touch(&s->model, p, &as, e);
}

/* By a debugger: nothing is in its way, and what it writes is dirty. */
static void expect_debug(struct slot *s, const struct op *op, struct result *e)
{
	struct page *p = model_page(&s->model, op->at);
	struct frame *f;

	if (!p) {
		e->ret = -EIO;
		return;
	}
	f = model_frame(&s->model, p);
	if (op->how == READ) {
		e->ret = f->byte[op->byte];
		return;
	}
	f->byte[op->byte] = op->value;
	f->present = 1;
	p->bits = AVM_PAGE_ACCESSED | AVM_PAGE_DIRTY;
}

/* What is wrong with a structure comes before all else. */
static int bad_structure(const struct op *op)
{
	switch (op->bad) {
	case BAD_SIZE:
	case BAD_COUNT:
		return -EINVAL;
	case BAD_LARGE:
	case BAD_MANY:
		return -E2BIG;
	case BAD_FLAGS:
		return -EOPNOTSUPP;
	case BAD_POINTER:
		return -EFAULT;
	}
	return 0;
}

static void do_page(struct model *m, struct page *p, const struct op *op, int prot)
{
	if (op->kind == OP_PROTECT)
		p->prot = prot;
	else if (op->kind == OP_POPULATE)
		model_frame(m, p)->present = 1;
	else
		model_discard(m, m->view[p->view].space, p->pgoff);
}

/* PROTECT, DISCARD and POPULATE: out_done, out_bytes. */
static void expect_batch(struct slot *s, const struct op *op, struct result *e)
{
	const struct pages *r = op->range;
	uint32_t i, k;

	e->ret = bad_structure(op);
	if (e->ret)
		return;
	for (i = 0; i < op->count; i++, r++) {
		e->ret = -EINVAL;
		if (r->bad || !prot_valid(r->prot) || (op->kind != OP_PROTECT && r->prot))
			break;
		e->ret = check_range(&s->model, op->space, r->at, r->n, r->prot);
		if (e->ret)
			break;
		for (k = r->at; k < r->at + r->n; k++)
			do_page(&s->model, model_page(&s->model, k), op, r->prot);
	}
	e->out[0] = i;
}

static void expect_protect_page(struct slot *s, const struct op *op, struct result *e)
{
	e->ret = -EINVAL;
	if (op->bad || !prot_valid(op->prot))
		return;
	e->ret = check_range(&s->model, op->space, op->at, 1, op->prot);
	if (!e->ret)
		model_page(&s->model, op->at)->prot = op->prot;
}

/* An answer that cannot be written is found out later. */
static int bad_scan(const struct op *op)
{
	int err = op->bad == BAD_POINTER ? 0 : bad_structure(op);

	if (err)
		return err;
	if (op->bad && op->bad != BAD_POINTER)
		return op->bad == BAD_BUFFER ? -ENOBUFS : -EINVAL;
	if (op->flags & AVM_SCAN_PROTECT && !prot_valid(op->prot))
		return -EINVAL;
	return 0;
}

/* A page that matched. Return: false when it found no room. */
static bool scan_page(struct slot *s, const struct op *op, uint32_t at, struct result *e)
{
	struct page *p = model_page(&s->model, at);
	uint64_t *span = e->words + 2 * e->out[2];

	if (op->flags & AVM_SCAN_BITMAP)
		e->words[(at - op->at) / 64] |= 1ull << (at - op->at) % 64;
	if (op->flags & AVM_SCAN_RANGES) {
		if (!e->out[2] || span[-2] + span[-1] != address(s, at)) {
			if (e->out[2] == op->m)
				return false;
			span[0] = address(s, at);
			e->out[2]++;
			span += 2;
		}
		span[-1] += PAGE;
	}
	p->bits &= ~op->prot2;
	if (op->flags & AVM_SCAN_PROTECT)
		p->prot = op->prot;
	e->out[0]++;
	return true;
}

/* How: match. Prot2: clear. M: spans. Out: out_pages, out_end, out_spans. */
static void expect_scan(struct slot *s, const struct op *op, struct result *e)
{
	uint32_t at, end = op->at + op->n;

	e->ret = bad_scan(op);
	if (op->bad == BAD_SIZE || op->bad == BAD_LARGE || op->bad == BAD_FLAGS)
		return;
	e->out[1] = address(s, op->at) + (op->bad == BAD_ALIGN);
	if (!e->ret)
		e->ret = check_range(&s->model, op->space, op->at, op->n,
				     op->flags & AVM_SCAN_PROTECT ? op->prot : 0);
	if (!e->ret && op->bad == BAD_POINTER)
		e->ret = -EFAULT;
	if (e->ret)
		return;
	for (at = op->at; at < end; at++)
		if (s->model.page[at].bits & op->how && !scan_page(s, op, at, e))
			break;
	e->out[1] = address(s, at);
}

static bool occupied(const struct model *m, uint32_t at, uint32_t n)
{
	uint32_t i;

	for (i = at; i < at + n; i++)
		if (m->page[i].view >= 0)
			return true;
	return false;
}

/* To: page of the region. Flags: not to map over anything. */
static void expect_map(struct slot *s, const struct op *op, struct result *e)
{
	if (op->bad || op->flags) {
		e->ret = occupied(&s->model, op->at, op->n) ? -EEXIST : -EINVAL;
		if (op->bad || e->ret == -EEXIST)
			return;
	}
	e->ret = 0;
	model_map(&s->model, op->at, op->n, op->space, op->to, op->prot, op->prot);
}

/* To an address: of @n pages, @m are to be moved. */
static int expect_move_to(struct model *m, const struct op *op)
{
	uint32_t n = op->n;

	if (op->at + op->n > op->to && op->to + op->m > op->at)
		return -EINVAL;
	model_unmap(m, op->to, op->m);
	if (n > op->m) {
		model_unmap(m, op->at + op->m, n - op->m);
		n = op->m;
	}
	if (!model_page(m, op->at) || n > model_vma_end(m, op->at) - op->at || n < op->m)
		return -EFAULT;
	model_move(m, op->at, op->to, n);
	return 0;
}

static void expect_move(struct slot *s, const struct op *op, struct result *e)
{
	struct model *m = &s->model;

	if (!model_page(m, op->at))
		e->ret = -EFAULT;
	else if (op->flags)
		e->ret = expect_move_to(m, op);
	else if (op->m > op->n)
		e->ret = -EFAULT;
	else if (op->m < op->n)
		model_unmap(m, op->at + op->m, op->n - op->m);
}

/* Whether pages are of one view, and in the order of the space. */
static bool one_range(struct model *m, uint32_t at, uint32_t n)
{
	const struct page *first = model_page(m, at), *p;
	uint32_t i;

	for (i = 1; i < n; i++) {
		p = model_page(m, at + i);
		if (!p || p->view != first->view || p->pgoff != first->pgoff + i)
			return false;
	}
	return true;
}

/* Prot: at most; prot2: to begin with. Ret: 1 when it went elsewhere. */
static void expect_map2(struct slot *s, const struct op *op, struct result *e)
{
	struct model *m = &s->model;
	const struct page *p = page_of(m, op->space, op->at);

	e->ret = bad_structure(op);
	if (!e->ret && (op->bad || !prot_valid(op->prot) || !prot_valid(op->prot2)))
		e->ret = -EINVAL;
	if (!e->ret && op->prot2 & ~op->prot)
		e->ret = -EACCES;
	if (e->ret)
		return;
	e->ret = -ENXIO;
	if (!p || !one_range(m, op->at, op->n))
		return;
	if (occupied(m, op->to, op->n)) {
		e->ret = op->flags ? -EEXIST : 1;
		return;
	}
	e->ret = 0;
	model_map(m, op->to, op->n, op->space, p->pgoff, op->prot, op->prot2);
}

/* Prot: raise. */
static void expect_trap(struct slot *s, const struct op *op, struct result *e)
{
	e->ret = bad_structure(op);
	if (!e->ret && (op->bad || op->prot & ~RW || !prot_valid(op->prot)))
		e->ret = -EINVAL;
	if (e->ret)
		return;
	if (op->kind == OP_UNTRAP)
		e->ret = model_trap_remove(&s->model, op->space, op->at, op->n);
	else
		e->ret = model_trap_add(&s->model, op->space, op->at, op->n, op->value,
					op->prot);
}

/*
 * A child: its parent's view is not there (out 0); it maps the page for itself
 * and reads (out 1), writes, finds it dirty (out 2), and discards it, if that is
 * asked for.
 */
static void expect_fork(struct slot *s, const struct op *op, struct result *e)
{
	struct frame *f = &s->model.frame[op->space][op->to];

	e->out[0] = SIGSEGV;
	e->out[1] = f->byte[op->byte];
	e->out[2] = 1;
	f->present = 1;
	f->byte[op->byte] = op->value;
	if (op->flags)
		model_discard(&s->model, op->space, op->to);
}

static void expect_mprotect(struct slot *s, const struct op *op, struct result *e)
{
	e->ret = model_page(&s->model, op->at) ? -EACCES : -ENOMEM;
}

static void expect_query(const struct op *op, struct result *e)
{
	e->ret = bad_structure(op);
	if (e->ret)
		return;
	e->out[0] = AVM_ABI_VERSION;
	e->out[1] = PAGE;
	e->out[2] = AVM_FEATURE_SIGNAL | AVM_FEATURE_UPCALL;
}

/* Only while nobody else is there can the counts be known. */
static void expect_stats(struct slot *s, const struct op *op, struct result *e)
{
	const struct model *m = &s->model;

	e->ret = bad_structure(op);
	if (e->ret)
		return;
	e->out[0] = (uint64_t)SLOTS * REGION * PAGE;
	if (!m->alone)
		return;
	e->out[1] = model_count_frames(m, op->space);
	e->out[2] = model_count_views(m, op->space);
}

static void expect_create(const struct op *op, struct result *e)
{
	e->ret = bad_structure(op);
	if (!e->ret && op->bad)
		e->ret = -EINVAL;
}

void expect(struct slot *s, const struct op *op, const struct result *got, struct result *e)
{
	memset(e, 0, sizeof(*e));
	switch (op->kind) {
	case OP_ACCESS: return expect_access(s, op, got, e);
	case OP_SYSCALL: return expect_syscall(s, op, e);
	case OP_DEBUG: return expect_debug(s, op, e);
	case OP_PROTECT:
	case OP_DISCARD:
	case OP_POPULATE: return expect_batch(s, op, e);
	case OP_PROTECT_PAGE: return expect_protect_page(s, op, e);
	case OP_SCAN: return expect_scan(s, op, e);
	case OP_MAP: return expect_map(s, op, e);
	case OP_UNMAP: return model_unmap(&s->model, op->at, op->n);
	case OP_MOVE: return expect_move(s, op, e);
	case OP_MAP2: return expect_map2(s, op, e);
	case OP_TRAP:
	case OP_UNTRAP: return expect_trap(s, op, e);
	case OP_FORK: return expect_fork(s, op, e);
	case OP_MPROTECT: return expect_mprotect(s, op, e);
	case OP_QUERY: return expect_query(op, e);
	case OP_CREATE: return expect_create(op, e);
	case OP_STATS: return expect_stats(s, op, e);
	}
}
