// SPDX-License-Identifier: GPL-2.0
/*
 * Drivers and the pages of a view. A fault that a device has the kernel resolve
 * (SVA) is given what the protection allows, and nothing else: it calls no
 * handler, raises nothing, and ends nobody. What gets or pins pages is refused;
 * what follows page tables (KVM) finds what they give. The drivers are the
 * test module kernel/.
 */
#include "notifier.h"

#include <avm.h>
#include <sys/resource.h>

#include "harness.h"

#define PAGES	8ul

/* Of enum vm_fault_reason. */
#define FAULT_SIGBUS	0x2
#define FAULT_SIGSEGV	0x40
#define FAULT_NOPAGE	0x100

FIXTURE(device) {
	int dev;
	int space;
	char *view;
	int here;
};

FIXTURE_VARIANT(device) {
	int here;	/* in the thread that has registered, or a kernel thread */
};

FIXTURE_VARIANT_ADD(device, kernel_thread) { .here = 0 };
FIXTURE_VARIANT_ADD(device, same_thread) { .here = NOTIFIER_FAULT_HERE };

FIXTURE_SETUP(device)
{
	module_load("avm_notifier");
	denied_setup();
	self->here = variant->here;
	self->dev = notifier_open();
	self->space = space_new(PAGES);
	self->view = view_new(self->space, 0, PAGES, PROT_READ | PROT_WRITE | PROT_EXEC);
	notifier_attach(self->dev, NOTIFIER_TABLES, self->view, PAGES);
}

FIXTURE_TEARDOWN(device)
{
	close(self->dev);
	close(self->space);
	module_unload("avm_notifier");
}

#define WRITE	NOTIFIER_FAULT_WRITE
#define EXEC	NOTIFIER_FAULT_EXEC

/* VM_FAULT_* of a fault of the device, or -errno. */
static int fault(int dev, const void *addr, int flags)
{
	struct notifier_fault arg = { .addr = (uintptr_t)addr, .flags = flags };
	int err = call(dev, NOTIFIER_FAULT, &arg);

	return err ?: (int)arg.out_fault;
}

static int other(int dev, const void *addr, int how, uint32_t *write)
{
	struct notifier_other arg = {
		.addr = (uintptr_t)addr, .how = how, .write = *write,
	};
	int err = call(dev, NOTIFIER_OTHER, &arg);

	*write = arg.write;
	return err;
}

static int get(int dev, const void *addr, int how, uint32_t write)
{
	return other(dev, addr, how, &write);
}

static int handled;

static int on_trap(const struct avm_trap_info *info, void *arg)
{
	(void)info;
	(void)arg;
	handled++;
	return AVM_TRAP_RETRY;
}

TEST_F(device, fault_on_a_closed_page_calls_nobody_and_raises_nothing)
{
	static const int kinds[] = { 0, WRITE, EXEC };
	struct avm_stats before, after;
	char *page = self->view;
	unsigned int i;

	page[0] = 1;
	ASSERT_EQ(0, avm_trap(self->space, page, PAGES * PAGE, on_trap, NULL,
			      AVM_TRAP_RAISE));
	ASSERT_EQ(0, protect(self->space, page, PAGES, NONE));
	before = stats(self->space);
	for (i = 0; i < 3; i++) {
		/* Where there is a frame, and where there is none. */
		EXPECT_EQ(FAULT_SIGSEGV, fault(self->dev, page, kinds[i] | self->here));
		EXPECT_EQ(FAULT_SIGSEGV, fault(self->dev, page + PAGE, kinds[i] | self->here));
	}
	after = stats(self->space);
	EXPECT_EQ(0, handled);
	EXPECT_EQ(before.out_upcalls, after.out_upcalls);
	EXPECT_EQ(before.out_allocated, after.out_allocated);
	EXPECT_EQ(-EFAULT, device_map(self->dev, page, 0));
	EXPECT_EQ(-EFAULT, device_map(self->dev, page + PAGE, 0));
	/* The thread's own access is handled as ever, and raises. */
	EXPECT_EQ(0, try_write(page, 2));
	EXPECT_EQ(1, handled);
	EXPECT_EQ(0, device_map(self->dev, page, 1));
	EXPECT_EQ(0, avm_untrap(page));
}

TEST_F(device, write_fault_on_a_read_only_page_calls_nobody_and_raises_nothing)
{
	char *page = self->view;

	page[0] = 1;
	ASSERT_EQ(0, avm_trap(self->space, page, PAGES * PAGE, on_trap, NULL,
			      AVM_TRAP_RAISE));
	ASSERT_EQ(0, protect(self->space, page, PAGES, R));
	EXPECT_EQ(FAULT_SIGSEGV, fault(self->dev, page, WRITE | self->here));
	EXPECT_EQ(FAULT_SIGSEGV, fault(self->dev, page + PAGE, WRITE | self->here));
	EXPECT_EQ(0, handled);
	EXPECT_EQ(-EFAULT, device_map(self->dev, page, 1));
	EXPECT_EQ(0, device_map(self->dev, page, 0));
	EXPECT_EQ(0, try_write(page, 2));
	EXPECT_EQ(1, handled);
	EXPECT_EQ(0, avm_untrap(page));
}

TEST_F(device, fault_on_an_open_page_gives_it_to_the_device)
{
	char *page = self->view;
	uint64_t value;

	EXPECT_EQ(FAULT_NOPAGE, fault(self->dev, page, WRITE | self->here));
	ASSERT_EQ(0, device_map(self->dev, page, 1));
	EXPECT_EQ(0, device_read(self->dev, page, &value));
	EXPECT_EQ(0, value);
	EXPECT_EQ(0, device_write(self->dev, page, 42));
	EXPECT_EQ(42, *page);
	EXPECT_EQ(FAULT_NOPAGE, fault(self->dev, page + PAGE, self->here));
	EXPECT_EQ(0, device_map(self->dev, page + PAGE, 0));
	EXPECT_EQ(FAULT_NOPAGE, fault(self->dev, page + 2 * PAGE, EXEC | self->here));
	EXPECT_EQ(3, stats(self->space).out_resident_pages);
	EXPECT_EQ(0, device_wrongs(self->dev));
}

TEST_F(device, fault_that_the_mapping_forbids_fails)
{
	char *view = view_new(self->space, 0, PAGES, PROT_READ);

	EXPECT_EQ(-EFAULT, fault(self->dev, view, WRITE | self->here));
	EXPECT_EQ(-EFAULT, fault(self->dev, view, EXEC | self->here));
	EXPECT_EQ(0, stats(self->space).out_resident_pages);
}

/* Past RLIMIT_MEMLOCK: the device has an error, the process no signal. */
TEST_F(device, fault_past_the_limit_fails_in_the_device_alone)
{
	struct avm_create arg = { .size = sizeof(arg), .length = PAGES * PAGE };
	int avm = open(AVM_DEVICE, O_RDWR), space;
	struct rlimit none = {};
	char *view;

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &none));
	ASSERT_EQ(0, seteuid(65534));
	space = ioctl(avm, AVM_IOC_CREATE, &arg);
	ASSERT_EQ(0, seteuid(0));
	ASSERT_LE(0, space);
	view = view_new(space, 0, PAGES, PROT_READ | PROT_WRITE);
	EXPECT_EQ(FAULT_SIGBUS, fault(self->dev, view, WRITE | self->here));
	EXPECT_EQ(0, stats(space).out_resident_pages);
}

TEST_F(device, pages_cannot_be_got_or_pinned)
{
	static const int ways[] = {
		NOTIFIER_GET, NOTIFIER_PIN, NOTIFIER_GET_FAST, NOTIFIER_PIN_FAST,
	};
	char *ordinary = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int i, write;

	self->view[0] = 1;
	ordinary[0] = 1;
	must(!protect(self->space, self->view + PAGE, 1, NONE));
	for (i = 0; i < 4; i++)
		for (write = 0; write < 2; write++) {
			EXPECT_EQ(0, get(self->dev, ordinary, ways[i], write));
			EXPECT_EQ(-EFAULT, get(self->dev, self->view, ways[i], write));
			EXPECT_EQ(-EFAULT, get(self->dev, self->view + PAGE, ways[i], write));
			EXPECT_EQ(-EFAULT, get(self->dev, self->view + 2 * PAGE, ways[i], write));
		}
	EXPECT_EQ(1, stats(self->space).out_resident_pages);
}

/* How KVM comes to a page of a VM_PFNMAP area. */
TEST_F(device, what_follows_page_tables_finds_what_they_give)
{
	static const int given[] = { NONE, R, RW };
	char *page = self->view;
	unsigned int i;
	uint32_t write;

	EXPECT_GT(0, get(self->dev, page, NOTIFIER_FOLLOW, 0));
	ASSERT_EQ(0, avm_trap(self->space, page, PAGES * PAGE, on_trap, NULL,
			      AVM_TRAP_RAISE));
	for (i = 0; i < 3; i++) {
		must(!protect(self->space, page, PAGES, given[i]));
		EXPECT_EQ(given[i] ? 0 : -EFAULT, get(self->dev, page, NOTIFIER_FIXUP, 0));
		EXPECT_EQ(given[i] == RW ? 0 : -EFAULT,
			  get(self->dev, page, NOTIFIER_FIXUP, 1));
		write = 2;
		if (given[i]) {
			EXPECT_EQ(0, other(self->dev, page, NOTIFIER_FOLLOW, &write));
			EXPECT_EQ(given[i] == RW, write);
		} else {
			EXPECT_GT(0, other(self->dev, page, NOTIFIER_FOLLOW, &write));
		}
	}
	EXPECT_EQ(0, handled);
	EXPECT_EQ(0, avm_untrap(page));
}

TEST_HARNESS_MAIN
