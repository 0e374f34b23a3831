// SPDX-License-Identifier: GPL-2.0
/*
 * exec.c - does an operation, for real, by system calls of its own, so that
 * what the ABI says is what is tried
 */
#include "stress.h"

#define NOWHERE		0x1000ul	/* nothing is ever mapped here */
#define GARBAGE		0x5A5A5A5A5A5A5A5Aul

static uint64_t address(const struct slot *s, uint32_t at)
{
	return (uintptr_t)s->arena + at * PAGE;
}

static uint32_t bad_size(const struct op *op, uint32_t size)
{
	return op->bad == BAD_SIZE ? size - 8 : op->bad == BAD_LARGE ? PAGE + 8 : size;
}

static uint32_t bad_flags(const struct op *op, uint32_t flags)
{
	return op->bad == BAD_FLAGS ? flags | 1u << 30 : flags;
}

static uint64_t bad_addr(uint32_t bad, uint64_t addr)
{
	return bad == BAD_ALIGN ? addr + 1 : addr;
}

static uint64_t bad_length(uint32_t bad, uint64_t length)
{
	return bad == BAD_EMPTY ? 0 : bad == BAD_WRAP ? -PAGE : length;
}

/* In a buffer of its own, if it claims to be larger than it is. */
static int call_with(int fd, unsigned long cmd, void *arg, size_t size)
{
	char page[2 * PAGE];
	int ret;

	if (*(uint32_t *)arg <= size)
		return call(fd, cmd, arg);
	memset(page, 0, sizeof(page));
	memcpy(page, arg, size);
	ret = call(fd, cmd, page);
	memcpy(arg, page, size);
	return ret;
}

static void syscall_one(struct slot *s, const struct op *op, struct result *got)
{
	char *at = s->arena + op->at * PAGE + byte_at[op->byte], byte = op->value;
	bool reads = op->how == READ;
	long ret;

	if (!reads)
		must(write(s->pipe[1], &byte, 1) == 1);
	ret = reads ? write(s->pipe[1], at, 1) : read(s->pipe[0], at, 1);
	got->ret = ret < 0 ? -errno : 0;
	/* What is in the pipe is to be taken out again. */
	if (reads ? ret == 1 : ret < 0)
		must(read(s->pipe[0], &byte, 1) == 1);
	if (reads && ret == 1)
		got->ret = (uint8_t)byte;
}

static void debug(struct slot *s, const struct op *op, struct result *got)
{
	off_t at = address(s, op->at) + byte_at[op->byte];
	uint8_t byte = op->value;
	long ret;

	ret = op->how == READ ? pread(s->mem, &byte, 1, at) : pwrite(s->mem, &byte, 1, at);
	got->ret = ret < 0 ? -errno : op->how == READ ? byte : 0;
}

static void range_fill(const struct slot *s, const struct pages *p, struct avm_range *range)
{
	range->addr = bad_addr(p->bad, address(s, p->at));
	range->length = bad_length(p->bad, p->n * PAGE);
	range->prot = p->bad == BAD_PROT ? AVM_PROT_WRITE : p->prot;
	range->reserved = p->bad == BAD_RESERVED;
}

static void batch_op(struct slot *s, const struct op *op, struct result *got)
{
	static const unsigned long cmds[] = {
		[OP_PROTECT] = AVM_IOC_PROTECT, [OP_DISCARD] = AVM_IOC_DISCARD,
		[OP_POPULATE] = AVM_IOC_POPULATE,
	};
	struct avm_range ranges[RANGES];
	struct avm_batch arg = {
		.size = bad_size(op, sizeof(arg)),
		.flags = bad_flags(op, 0),
		.ranges = op->bad == BAD_POINTER ? NOWHERE : (uintptr_t)ranges,
		.count = op->bad == BAD_COUNT ? 0 : op->bad == BAD_MANY ? -1u : op->count,
	};
	uint32_t i;

	for (i = 0; i < op->count; i++)
		range_fill(s, &op->range[i], &ranges[i]);
	got->ret = call_with(s->fd[op->space], cmds[op->kind], &arg, sizeof(arg));
	got->out[0] = arg.out_done;
	got->out[1] = arg.out_bytes;
}

static void protect_page_op(struct slot *s, const struct op *op, struct result *got)
{
	uint64_t arg = address(s, op->at) + op->prot;

	if (op->bad)
		arg = op->bad == BAD_PROT ? address(s, op->at) + AVM_PROT_WRITE : arg + 8;
	got->ret = call(s->fd[op->space], AVM_IOC_PROTECT_PAGE, (void *)arg);
}

/* The part of the answer that is one, and that nothing is written behind it. */
static void take_answer(const struct avm_scan *arg, const uint64_t *buffer, struct result *got)
{
	size_t n = arg->buffer_size / 8, i;

	for (i = 0; i < WORDS; i++)
		if (i < n && !got->ret)
			got->words[i] = buffer[i];
		else if (i >= n && buffer[i] != GARBAGE)
			got->words[i] = ~0ul;
	if (arg->flags & AVM_SCAN_RANGES)
		for (i = 2 * arg->out_spans; i < n; i++)
			got->words[i] = 0;
}

static void scan_op(struct slot *s, const struct op *op, struct result *got)
{
	uint64_t buffer[WORDS];
	struct avm_scan arg = {
		.size = bad_size(op, sizeof(arg)),
		.flags = bad_flags(op, op->flags),
		.addr = bad_addr(op->bad, address(s, op->at)),
		.length = bad_length(op->bad, op->n * PAGE),
		.match = op->bad == BAD_MATCH ? 0 : op->how,
		.clear = op->prot2,
		.prot = op->prot,
		.reserved = op->bad == BAD_RESERVED,
	};

	memset(buffer, GARBAGE & 0xff, sizeof(buffer));
	if (op->bad == BAD_PROT)
		arg.prot = AVM_PROT_WRITE;
	if (op->flags & AVM_SCAN_RANGES)
		arg.buffer_size = op->m * sizeof(struct avm_span);
	if (op->flags & AVM_SCAN_BITMAP)
		arg.buffer_size = (op->n + 63) / 64 * 8;
	if (arg.buffer_size)
		arg.buffer = op->bad == BAD_POINTER ? NOWHERE : (uintptr_t)buffer;
	if (op->bad == BAD_BUFFER)
		arg.buffer_size = op->flags & AVM_SCAN_RANGES ? 8 : arg.buffer_size - 8;
	got->ret = call_with(s->fd[op->space], AVM_IOC_SCAN, &arg, sizeof(arg));
	got->out[0] = arg.out_pages;
	got->out[1] = arg.out_end;
	got->out[2] = arg.out_spans;
	take_answer(&arg, buffer, got);
}

static void map_op(struct slot *s, const struct op *op, struct result *got)
{
	int flags = op->flags || op->bad ? MAP_FIXED_NOREPLACE : MAP_FIXED;
	off_t offset = (s->number * REGION + op->to) * PAGE;
	char *want = (char *)address(s, op->at), *p;

	if (op->bad == BAD_WRAP)
		offset += SLOTS * REGION * PAGE;
	flags |= op->bad == BAD_PROT ? MAP_PRIVATE : MAP_SHARED;
	p = mmap(want, op->n * PAGE, op->prot, flags, s->fd[op->space], offset);
	got->ret = p == MAP_FAILED ? -errno : p - want;
}

static void move_op(struct slot *s, const struct op *op, struct result *got)
{
	char *from = (char *)address(s, op->at), *to = (char *)address(s, op->to), *p;

	if (op->flags)
		p = mremap(from, op->n * PAGE, op->m * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	else
		p = mremap(from, op->n * PAGE, op->m * PAGE, 0);
	got->ret = p == MAP_FAILED ? -errno : p - (op->flags ? to : from);
}

/* A view that came to be elsewhere is taken away again. */
static void map2_op(struct slot *s, const struct op *op, struct result *got)
{
	uint64_t to = address(s, op->to);
	struct avm_map2 arg = {
		.size = bad_size(op, sizeof(arg)),
		.flags = bad_flags(op, op->flags ? AVM_MAP2_FIXED : 0),
		.addr = bad_addr(op->bad, address(s, op->at)),
		.length = bad_length(op->bad, op->n * PAGE),
		.to = to,
		.max_prot = op->bad == BAD_PROT ? AVM_PROT_WRITE : op->prot,
		.prot = op->prot2,
	};

	got->ret = call_with(s->fd[op->space], AVM_IOC_MAP2, &arg, sizeof(arg));
	if (got->ret)
		return;
	got->ret = arg.out_addr != to;
	if (got->ret)
		must(!munmap((void *)(uintptr_t)arg.out_addr, op->n * PAGE));
}

static void trap_op(struct slot *s, const struct op *op, struct result *got)
{
	bool adds = op->kind == OP_TRAP;
	struct avm_trap arg = {
		.size = bad_size(op, sizeof(arg)),
		.flags = bad_flags(op, adds ? op->flags : 0),
		.addr = bad_addr(op->bad, address(s, op->at)),
		.length = bad_length(op->bad, op->n * PAGE),
		.entry = adds ? (uintptr_t)upcall_entry : 0,
		.arg = adds ? op->value : 0,
		.raise = op->bad == BAD_PROT ? (adds ? AVM_PROT_WRITE : R) : op->prot,
		.reserved = op->bad == BAD_RESERVED,
	};

	if (op->bad == BAD_POINTER)
		arg.entry = 0xffffffff81000000ul;
	got->ret = call_with(s->fd[op->space], AVM_IOC_TRAP, &arg, sizeof(arg));
}

/* What the child says: see expect.c. */
static void child(struct slot *s, const struct op *op, uint64_t *out)
{
	struct op touch = { .kind = OP_ACCESS, .at = op->at };
	int fd = s->fd[op->space];
	struct result got = { 0 };
	char *p;

	access_do(s, &touch, &got);
	if (got.event[0].what == EVENT_SIGNAL && got.event[0].access == SEGV_MAPERR)
		out[0] = SIGSEGV;
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		 (s->number * REGION + op->to) * PAGE);
	if (p == MAP_FAILED)
		return;
	out[1] = *(volatile uint8_t *)(p + byte_at[op->byte]);
	*(volatile uint8_t *)(p + byte_at[op->byte]) = op->value;
	out[2] = dirty(fd, p, 1, NULL);
	if (op->flags)
		must(!discard(fd, p, 1));
}

static void fork_op(struct slot *s, const struct op *op, struct result *got)
{
	uint64_t out[3] = { 0 };
	int ends[2], status;
	pid_t pid;

	must(!pipe(ends));
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		child(s, op, out);
		_exit(write(ends[1], out, sizeof(out)) != sizeof(out));
	}
	close(ends[1]);
	must(waitpid(pid, &status, 0) == pid);
	got->ret = status;
	must(read(ends[0], out, sizeof(out)) >= 0);
	close(ends[0]);
	memcpy(got->out, out, sizeof(out));
}

static void query_op(struct slot *s, const struct op *op, struct result *got)
{
	struct avm_query arg = {
		.size = bad_size(op, sizeof(arg)), .flags = bad_flags(op, 0),
	};

	got->ret = call_with(op->flags ? s->dev : s->fd[op->space], AVM_IOC_QUERY, &arg,
			     sizeof(arg));
	got->out[0] = arg.out_abi_version;
	got->out[1] = arg.out_page_size;
	got->out[2] = arg.out_features;
}

static void create_op(struct slot *s, const struct op *op, struct result *got)
{
	struct avm_create arg = {
		.size = bad_size(op, sizeof(arg)),
		.flags = bad_flags(op, 0),
		.length = bad_length(op->bad, bad_addr(op->bad, 8 * PAGE)),
	};
	int fd = call_with(s->dev, AVM_IOC_CREATE, &arg, sizeof(arg));

	got->ret = fd < 0 ? fd : close(fd);
}

static void stats_op(struct slot *s, const struct op *op, struct result *got)
{
	struct avm_stats arg = {
		.size = bad_size(op, sizeof(arg)), .flags = bad_flags(op, 0),
	};

	got->ret = call_with(s->fd[op->space], AVM_IOC_STATS, &arg, sizeof(arg));
	got->out[0] = arg.out_length;
	if (!s->model.alone)
		return;
	got->out[1] = arg.out_resident_pages;
	got->out[2] = arg.out_views;
}

static void simple_op(struct slot *s, const struct op *op, struct result *got)
{
	void *at = (void *)address(s, op->at);
	int ret;

	ret = op->kind == OP_UNMAP ? munmap(at, op->n * PAGE) :
				     mprotect(at, op->n * PAGE, PROT_READ | PROT_WRITE);
	got->ret = ret ? -errno : 0;
}

void exec_op(struct slot *s, const struct op *op, struct result *got)
{
	memset(got, 0, sizeof(*got));
	switch (op->kind) {
	case OP_ACCESS: return access_do(s, op, got);
	case OP_SYSCALL: return syscall_one(s, op, got);
	case OP_DEBUG: return debug(s, op, got);
	case OP_PROTECT:
	case OP_DISCARD:
	case OP_POPULATE: return batch_op(s, op, got);
	case OP_PROTECT_PAGE: return protect_page_op(s, op, got);
	case OP_SCAN: return scan_op(s, op, got);
	case OP_MAP: return map_op(s, op, got);
	case OP_UNMAP:
	case OP_MPROTECT: return simple_op(s, op, got);
	case OP_MOVE: return move_op(s, op, got);
	case OP_MAP2: return map2_op(s, op, got);
	case OP_TRAP:
	case OP_UNTRAP: return trap_op(s, op, got);
	case OP_FORK: return fork_op(s, op, got);
	case OP_QUERY: return query_op(s, op, got);
	case OP_CREATE: return create_op(s, op, got);
	case OP_STATS: return stats_op(s, op, got);
	}
}
