// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The error paths on a real kernel, nothing in between. The module need not
 * be there.
 */
#include <errno.h>
#include <fcntl.h>

#include "tap.h"

static void test_no_device(void)
{
	int fd;

	if (access(AVM_DEVICE, F_OK) == 0) {
		tap_skip("/dev/avm is there");
		return;
	}
	fd = avm_open();
	CHECK_EQ(fd, -ENODEV);
}

/* Every call on @fd fails with @error. */
static void check_all(int fd, int error)
{
	struct avm_range range = { 0 };
	struct avm_query query;
	struct avm_stats stats;
	struct avm_scan scan = { 0 };
	struct avm_span span;
	uint64_t bitmap;
	uint32_t done = 9;
	void *out = &out;

	CHECK_EQ(avm_query(fd, &query), error);
	CHECK_EQ(avm_create(fd, 4096), error);
	CHECK_EQ(avm_prot1(fd, NULL, 0), error);
	CHECK_EQ(avm_unprot(fd, NULL, 0), error);
	CHECK_EQ(avm_protect(fd, NULL, 4096, 0), error);
	CHECK_EQ(avm_protn(fd, &range, 1, &done), error);
	CHECK_EQ(done, 0);
	CHECK_EQ(avm_populate(fd, NULL, 4096), error);
	CHECK_EQ(avm_populaten(fd, &range, 1, &done), error);
	CHECK_EQ(avm_discard(fd, NULL, 4096), error);
	CHECK_EQ(avm_discardn(fd, &range, 1, &done), error);
	CHECK_EQ(avm_dirty(fd, NULL, 4096, &bitmap, 8), error);
	CHECK_EQ(avm_accessed(fd, NULL, 4096, &bitmap, 8), error);
	CHECK_EQ(avm_dirty_spans(fd, NULL, 4096, &span, 1, NULL), error);
	CHECK_EQ(avm_scan(fd, &scan), error);
	CHECK_EQ(avm_map2(fd, NULL, 4096, 1, 1, &out), error);
	CHECK(out == &out);
	CHECK_EQ(avm_stats(fd, &stats), error);
}

static void test_bad_descriptor(void)
{
	check_all(-1, -EBADF);
	CHECK_EQ(avm_map(-1, 0, 4096, 1, &(void *){ NULL }), -EBADF);
}

static void test_foreign_descriptor(void)
{
	int fd = open("/dev/null", O_RDWR);

	REQUIRE(fd >= 0);
	check_all(fd, -ENOTTY);
	close(fd);
}

static void test_map_unmap(void)
{
	char name[] = "/tmp/avm-test-XXXXXX";
	int fd = mkstemp(name);
	void *view;

	REQUIRE(fd >= 0);
	unlink(name);
	CHECK_EQ(ftruncate(fd, 8192), 0);
	CHECK_EQ(pwrite(fd, "avm", 3, 4096), 3);
	CHECK_EQ(avm_map(fd, 4096, 4096, AVM_PROT_READ, &view), 0);
	CHECK(!tap_bad && !memcmp(view, "avm", 3));
	CHECK_EQ(avm_unmap(view, 4096), 0);
	CHECK_EQ(avm_map(fd, 1, 4096, AVM_PROT_READ, &view), -EINVAL);
	CHECK_EQ(avm_map(fd, 0, 0, AVM_PROT_READ, &view), -EINVAL);
	CHECK_EQ(avm_unmap((void *)1, 4096), -EINVAL);
	close(fd);
}

static const struct tap_test tests[] = {
	TEST(test_no_device, "without the device: -ENODEV"),
	TEST(test_bad_descriptor, "no descriptor: -EBADF from every call"),
	TEST(test_foreign_descriptor, "foreign descriptor: -ENOTTY from every call"),
	TEST(test_map_unmap, "map and unmap a file"),
};

int main(void)
{
	return tap_run(tests, ARRAY_SIZE(tests));
}
