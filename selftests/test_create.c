// SPDX-License-Identifier: GPL-2.0
/*
 * Spaces and views as they are made: what a query tells, which lengths and
 * mappings there can be, what a new page is, and that the file of a space is
 * good for ioctl and mmap and harmless for all else.
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include "avmtest.h"
#include "harness.h"

#define TIB	(1ul << 40)

static struct avm_query query(int fd)
{
	struct avm_query arg = { .size = sizeof(arg), .out_reserved = ~0u };

	must(call(fd, AVM_IOC_QUERY, &arg) == 0);
	return arg;
}

static int device(void)
{
	int fd = open(AVM_DEVICE, O_RDWR | O_CLOEXEC);

	must(fd >= 0);
	return fd;
}

static int create(int dev, uint64_t length)
{
	struct avm_create arg = { .size = sizeof(arg), .length = length };

	return call(dev, AVM_IOC_CREATE, &arg);
}

static long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

TEST(a_query_tells_what_the_header_promises)
{
	struct avm_query q = query(device()), again;

	EXPECT_EQ(AVM_ABI_VERSION, q.out_abi_version);
	EXPECT_EQ(PAGE, q.out_page_size);
	EXPECT_TRUE(q.out_features & AVM_FEATURE_SIGNAL);
	EXPECT_LE(TIB, q.out_max_size);
	EXPECT_EQ(0, q.out_max_size % PAGE);
	EXPECT_LE(1000000, q.out_max_ranges);
	EXPECT_EQ(0, q.out_reserved);
	/* A space says the same. */
	again = query(space_new(1));
	EXPECT_EQ(0, memcmp(&q, &again, sizeof(q)));
}

TEST(lengths_that_a_space_cannot_have_are_EINVAL)
{
	int dev = device(), fd;
	uint64_t max = query(dev).out_max_size;
	const uint64_t bad[] = {
		0, 1, PAGE - 1, PAGE + 1, TIB + 8, max + 1, max + PAGE, max + PAGE - 1,
		2 * max, 1ull << 63, -PAGE, ~0ull,
	};
	const uint64_t good[] = { PAGE, 3 * PAGE, TIB, max - PAGE, max };
	const uint64_t *p;

	for (p = bad; p < bad + sizeof(bad) / sizeof(bad[0]); p++)
		EXPECT_EQ(-EINVAL, create(dev, *p)) TH_LOG("case %d", (int)(p - bad));
	for (p = good; p < good + sizeof(good) / sizeof(good[0]); p++) {
		fd = create(dev, *p);
		ASSERT_LE(0, fd) TH_LOG("case %d", (int)(p - good));
		EXPECT_EQ(*p, stats(fd).out_length);
		close(fd);
	}
}

TEST(a_space_and_view_of_a_TiB_are_made_at_once)
{
	static const unsigned long places[] = { 0, TIB / 2, TIB / 2 + 513 * PAGE, TIB - 1 };
	long begin = milliseconds();
	int fd = create(device(), TIB);
	struct avm_stats s;
	unsigned int i;
	char *p;

	ASSERT_LE(0, fd);
	p = view_new(fd, 0, TIB / PAGE, RW);
	EXPECT_GT(1000, milliseconds() - begin);
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, p[places[i]]);
		p[places[i]] = i + 1;
	}
	for (i = 0; i < 4; i++)
		EXPECT_EQ(i + 1, p[places[i]]);
	s = stats(fd);
	EXPECT_EQ(4, s.out_resident_pages);
	EXPECT_EQ(0, s.out_state_bytes);
	begin = milliseconds();
	EXPECT_EQ(0, munmap(p, TIB));
	EXPECT_EQ(0, close(fd));
	EXPECT_GT(1000, milliseconds() - begin);
}

TEST(the_end_of_a_space_of_the_greatest_size_can_be_mapped)
{
	int dev = device(), fd;
	uint64_t max = query(dev).out_max_size;
	char *p;

	fd = create(dev, max);
	ASSERT_LE(0, fd);
	p = view_new(fd, max / PAGE - 2, 2, RW);
	p[2 * PAGE - 1] = 1;
	EXPECT_EQ(0, protect(fd, p, 2, R));
	EXPECT_EQ(1, dirty(fd, p, 2, NULL));
	EXPECT_EQ(0, discard(fd, p, 2));
	EXPECT_EQ(0, p[2 * PAGE - 1]);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, max - PAGE));
	EXPECT_EQ(EINVAL, errno);
}

TEST(a_space_is_close_on_exec_and_read_write)
{
	int fd = space_new(1);

	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_EQ(O_RDWR, fcntl(fd, F_GETFL) & O_ACCMODE);
}

TEST(no_descriptor_left_is_EMFILE)
{
	struct rlimit limit = { 16, 16 };
	int dev = device(), n = 0, fd;

	must(!setrlimit(RLIMIT_NOFILE, &limit));
	while ((fd = create(dev, PAGE)) >= 0)
		n++;
	EXPECT_EQ(-EMFILE, fd);
	EXPECT_GT(16, n);
	/* It was no loss: one closed, one made. */
	close(15);
	EXPECT_EQ(15, create(dev, PAGE));
}

/* Leaves nothing behind: so many spaces would be missed when the machine ends. */
TEST(creation_that_fails_leaves_no_memory_behind)
{
	struct rlimit limit = { 16, 16 };
	int dev = device(), i;

	must(!setrlimit(RLIMIT_NOFILE, &limit));
	while (create(dev, PAGE) >= 0)
		;
	for (i = 0; i < 8192; i++)
		ASSERT_EQ(-EMFILE, create(dev, PAGE));
}

/* Sizes around those at which what finds the pages gets higher by a level. */
TEST(each_page_is_one_of_its_own_whatever_the_size)
{
	static const unsigned long sizes[] = {
		1, 2, 511, 512, 513, 514, 512 * 512 - 1, 512 * 512,
		512 * 512 + 1, 512 * 512 + 2,
	};
	unsigned int i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd = space_new(sizes[i]);
		char *p = view_new(fd, 0, sizes[i], RW);
		char *last = p + (sizes[i] - 1) * PAGE;

		p[0] = 1;
		if (last != p) {
			EXPECT_EQ(0, last[0]) TH_LOG("%lu pages", sizes[i]);
			last[0] = 2;
			EXPECT_EQ(1, p[0]) TH_LOG("%lu pages", sizes[i]);
			EXPECT_EQ(2, stats(fd).out_resident_pages);
		}
		ASSERT_EQ(0, discard(fd, p, sizes[i]));
		EXPECT_EQ(0, stats(fd).out_resident_pages);
		must(!munmap(p, sizes[i] * PAGE));
		close(fd);
	}
}

#define FILE_MAX	"/proc/sys/fs/file-max"

static void set_file_max(const char *text)
{
	int fd = open(FILE_MAX, O_WRONLY);

	must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

/* Root is not limited: somebody else, to whom it has given the device. */
TEST(no_file_left_is_ENFILE)
{
	int dev = device(), fd = open(FILE_MAX, O_RDONLY), status;
	char before[32] = "";
	pid_t pid;

	must(fd >= 0 && read(fd, before, sizeof(before) - 1) > 0);
	set_file_max("0");
	pid = fork();
	if (!pid) {
		child_begins();
		must(!setresuid(65534, 65534, 65534));
		_exit(-create(dev, PAGE));
	}
	status = status_of(pid);
	set_file_max(before);
	EXPECT_EQ(ENFILE, exited_with(status));
	EXPECT_LE(0, create(dev, PAGE));
}

TEST(a_device_opened_for_reading_only_makes_spaces)
{
	int dev = open(AVM_DEVICE, O_RDONLY), fd;

	ASSERT_LE(0, dev);
	fd = create(dev, PAGE);
	ASSERT_LE(0, fd);
	*view_new(fd, 0, 1, RW) = 1;
}

TEST(the_device_itself_cannot_be_mapped_read_or_written)
{
	int dev = device();
	char c = 0;

	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, RW, MAP_SHARED, dev, 0));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, read(dev, &c, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(dev, &c, 1));
	EXPECT_EQ(EINVAL, errno);
}

TEST(a_private_mapping_is_EINVAL)
{
	int fd = space_new(4);

	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, R, MAP_PRIVATE, fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, stats(fd).out_views);
}

TEST(a_mapping_must_lie_within_the_space)
{
	static const struct {
		unsigned long offset, length;
		int err;
	} cases[] = {
		{ 0, 4 * PAGE, 0 }, { 0, PAGE, 0 }, { 3 * PAGE, PAGE, 0 }, { PAGE, 3 * PAGE, 0 },
		{ 0, 1, 0 }, { 3 * PAGE, 1, 0 }, { 0, 4 * PAGE - 1, 0 },
		{ 0, 5 * PAGE, EINVAL }, { 0, 4 * PAGE + 1, EINVAL }, { 4 * PAGE, PAGE, EINVAL },
		{ 3 * PAGE, 2 * PAGE, EINVAL }, { 1ul << 40, PAGE, EINVAL },
		{ 1ul << 62, PAGE, EINVAL }, { ~0ul - 2 * PAGE + 1, PAGE, EINVAL },
		{ 0, 1ul << 40, EINVAL }, { 0, 0, EINVAL }, { 1, PAGE, EINVAL },
		{ PAGE / 2, PAGE, EINVAL }, { -PAGE, PAGE, EOVERFLOW },
		{ -PAGE, 2 * PAGE, EOVERFLOW },
	};
	int fd = space_new(4), err;
	unsigned int i;
	char *p;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		errno = 0;
		p = mmap(NULL, cases[i].length, RW, MAP_SHARED, fd, cases[i].offset);
		err = p == MAP_FAILED ? errno : 0;
		EXPECT_EQ(cases[i].err, err)
			TH_LOG("offset %#lx, length %#lx", cases[i].offset, cases[i].length);
		if (p == MAP_FAILED)
			continue;
		EXPECT_EQ(0, p[0]);
		EXPECT_EQ(0, munmap(p, cases[i].length));
	}
	EXPECT_EQ(0, stats(fd).out_views);
}

TEST(a_mapping_shows_the_pages_at_its_offset)
{
	int fd = space_new(8);
	char *all = view_new(fd, 0, 8, RW), *part = view_new(fd, 3, 2, RW);

	all[3 * PAGE] = 3;
	part[PAGE + 7] = 4;
	EXPECT_EQ(3, part[0]);
	EXPECT_EQ(4, all[4 * PAGE + 7]);
	EXPECT_EQ(0, munmap(part, PAGE));
	EXPECT_EQ(4, part[PAGE + 7]);
	part[PAGE] = 5;
	EXPECT_EQ(5, all[4 * PAGE]);
}

TEST(a_new_page_is_all_zeros)
{
	const unsigned long pages = 256;
	int fd = space_new(pages), round;
	char *p = view_new(fd, 0, pages, RW);
	unsigned long i, j, wrong = 0;

	/* Dirty memory, give it back, get it again: also by populate. */
	for (round = 0; round < 3; round++) {
		if (round == 1)
			ASSERT_EQ(0, populate(fd, p, pages));
		for (i = 0; i < pages * PAGE / sizeof(long); i++)
			wrong += ((long *)p)[i] != 0;
		memset(p, 0xa5, pages * PAGE);
		ASSERT_EQ(0, discard(fd, p, pages));
	}
	for (j = 0; j < 20; j++) {
		int other = space_new(1);
		char *q = view_new(other, 0, 1, RW);

		for (i = 0; i < PAGE; i++)
			wrong += q[i] != 0;
		memset(q, 0xa5, PAGE);
		munmap(q, PAGE);
		close(other);
	}
	EXPECT_EQ(0, wrong);
}

TEST(a_mapping_without_access_stays_so)
{
	int fd = space_new(2);
	char *p = view_new(fd, 0, 2, PROT_NONE);

	denied_setup();
	EXPECT_EQ(SIGSEGV, try_read(p));
	EXPECT_EQ(p, denied.addr);
	EXPECT_EQ(SIGSEGV, try_write(p + PAGE + 5, 1));
	EXPECT_EQ(p + PAGE + 5, denied.addr);
	EXPECT_EQ(-EACCES, protect(fd, p, 1, R));
	EXPECT_EQ(SIGSEGV, try_read(p));
	EXPECT_EQ(0, protect(fd, p, 2, NONE));
	/* It can be populated all the same: others see the pages. */
	EXPECT_EQ(0, populate(fd, p, 2));
	EXPECT_EQ(2, stats(fd).out_resident_pages);
	EXPECT_EQ(SIGSEGV, try_read(p));
}

TEST(a_read_only_mapping_never_becomes_writable)
{
	int fd = space_new(2);
	char *p = view_new(fd, 0, 2, R), *q = view_new(fd, 0, 2, RW);

	denied_setup();
	EXPECT_EQ(0, try_read(p));
	EXPECT_EQ(SIGSEGV, try_write(p, 1));
	EXPECT_EQ(-EACCES, protect(fd, p, 1, RW));
	EXPECT_EQ(0, protect(fd, p, 1, NONE));
	EXPECT_EQ(0, protect(fd, p, 1, R));
	EXPECT_EQ(SIGSEGV, try_write(p, 1));
	q[0] = 7;
	EXPECT_EQ(7, p[0]);
}

TEST(a_mapping_with_execution_runs_code_where_its_page_allows)
{
	int fd = space_new(2);
	char *p = view_new(fd, 0, 2, RWX);

	denied_setup();
	p[0] = (char)0xc3; /* ret */
	EXPECT_EQ(0, try_fetch(p));
	EXPECT_EQ(0, protect(fd, p, 1, RX));
	EXPECT_EQ(0, try_fetch(p));
	EXPECT_EQ(SIGSEGV, try_write(p, 1));
	EXPECT_EQ(0, protect(fd, p, 1, RW));
	EXPECT_EQ(SIGSEGV, try_fetch(p));
	EXPECT_EQ(p, denied.addr);
	EXPECT_EQ(0, protect(fd, p, 1, RX));
	EXPECT_EQ(0, try_fetch(p));
}

TEST(a_mapping_without_execution_does_not_run_code)
{
	int fd = space_new(1);
	char *p = view_new(fd, 0, 1, RW);

	denied_setup();
	p[0] = (char)0xc3;
	EXPECT_EQ(SIGSEGV, try_fetch(p));
	EXPECT_EQ(-EACCES, protect(fd, p, 1, RX));
	EXPECT_EQ(SIGSEGV, try_fetch(p));
}

TEST(writing_alone_implies_reading)
{
	int fd = space_new(1);
	char *p = view_new(fd, 0, 1, PROT_WRITE);

	denied_setup();
	EXPECT_EQ(0, try_write(p, 3));
	EXPECT_EQ(0, try_read(p));
	EXPECT_EQ(0, protect(fd, p, 1, R));
	EXPECT_EQ(SIGSEGV, try_write(p, 4));
	EXPECT_EQ(0, protect(fd, p, 1, RW));
	EXPECT_EQ(3, p[0]);
}

TEST(a_fixed_mapping_replaces_what_was_there)
{
	int fd = space_new(8);
	volatile char *p = view_new(fd, 0, 8, RW);

	memset((char *)p, 1, 8 * PAGE);
	/* Page 6 in the place of page 2, an ordinary page in that of page 4. */
	ASSERT_EQ(p + 2 * PAGE, mmap((char *)p + 2 * PAGE, PAGE, RW,
				     MAP_SHARED | MAP_FIXED, fd, 6 * PAGE));
	ASSERT_EQ(p + 4 * PAGE, mmap((char *)p + 4 * PAGE, PAGE, RW,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	p[6 * PAGE] = 6;
	EXPECT_EQ(6, p[2 * PAGE]);
	EXPECT_EQ(0, p[4 * PAGE]);
	EXPECT_EQ(-ENXIO, protect(fd, (char *)p, 8, R));
	EXPECT_EQ(0, protect(fd, (char *)p, 4, NONE));
	EXPECT_EQ(0, protect(fd, (char *)p + 5 * PAGE, 3, R));
	EXPECT_EQ(6, p[6 * PAGE]);
}

TEST(MAP_POPULATE_and_MAP_LOCKED_are_harmless)
{
	int fd = space_new(8);
	char *p = mmap(NULL, 8 * PAGE, RW, MAP_SHARED | MAP_POPULATE, fd, 0);

	ASSERT_NE(MAP_FAILED, p);
	p[5 * PAGE] = 1;
	EXPECT_EQ(1, dirty(fd, p, 8, NULL));
	p = mmap(NULL, 8 * PAGE, RW, MAP_SHARED | MAP_LOCKED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(1, p[5 * PAGE]);
}

TEST(a_view_outlives_the_descriptor)
{
	int fd = space_new(4);
	char *p = view_new(fd, 0, 4, RW);

	p[0] = 1;
	EXPECT_EQ(0, protect(fd, p, 1, R));
	close(fd);
	denied_setup();
	p[3 * PAGE] = 3;
	EXPECT_EQ(1, p[0]);
	EXPECT_EQ(3, p[3 * PAGE]);
	EXPECT_EQ(SIGSEGV, try_write(p, 2));
	EXPECT_EQ(0, munmap(p + PAGE, PAGE));
	EXPECT_EQ(3, p[3 * PAGE]);
}

TEST(pages_outlive_the_view)
{
	int fd = space_new(4);
	char *p = view_new(fd, 0, 4, RW);

	p[PAGE] = 1;
	EXPECT_EQ(0, protect(fd, p, 4, NONE));
	EXPECT_EQ(0, munmap(p, 4 * PAGE));
	EXPECT_EQ(1, stats(fd).out_resident_pages);
	EXPECT_EQ(0, stats(fd).out_views);
	EXPECT_EQ(0, stats(fd).out_state_bytes);
	/* A new view begins with protections and bits of its own. */
	p = view_new(fd, 0, 4, RW);
	EXPECT_EQ(0, scan(fd, p, 4, AVM_PAGE_DIRTY | AVM_PAGE_ACCESSED, 0, NULL));
	EXPECT_EQ(1, p[PAGE]);
	EXPECT_EQ(1, stats(fd).out_resident_pages);
}

TEST(the_file_of_a_space_refuses_to_be_read_or_written)
{
	int fd = space_new(4);
	char *p = view_new(fd, 0, 4, RW), buf[16] = "from outside";
	struct iovec iov = { buf, sizeof(buf) };

	memcpy(p, "from inside", 12);
	EXPECT_EQ(-1, read(fd, buf, sizeof(buf)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(fd, buf, sizeof(buf)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(fd, buf, sizeof(buf), 0));
	EXPECT_EQ(-1, pwrite(fd, buf, sizeof(buf), 0));
	EXPECT_EQ(-1, readv(fd, &iov, 1));
	EXPECT_EQ(-1, writev(fd, &iov, 1));
	EXPECT_EQ(0, strcmp(p, "from inside"));
	EXPECT_EQ(0, strcmp(buf, "from outside"));
}

TEST(the_size_of_a_space_cannot_be_changed_by_other_calls)
{
	int fd = space_new(4);
	char *p = view_new(fd, 0, 4, RW);

	p[3 * PAGE] = 3;
	EXPECT_EQ(-1, ftruncate(fd, 0));
	EXPECT_EQ(-1, ftruncate(fd, 64 * PAGE));
	EXPECT_EQ(-1, fallocate(fd, 0, 0, 64 * PAGE));
	EXPECT_EQ(-1, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 * PAGE));
	EXPECT_EQ(4 * PAGE, stats(fd).out_length);
	EXPECT_EQ(3, p[3 * PAGE]);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 5 * PAGE, RW, MAP_SHARED, fd, 0));
}

TEST(other_calls_on_the_file_do_no_harm)
{
	int fd = space_new(4), pipes[2];
	char *p = view_new(fd, 0, 4, RW);
	struct stat st;

	p[0] = 1;
	EXPECT_EQ(0, msync(p, 4 * PAGE, MS_SYNC));
	EXPECT_EQ(0, msync(p, 4 * PAGE, MS_ASYNC));
	EXPECT_EQ(0, msync(p, 4 * PAGE, MS_SYNC | MS_INVALIDATE));
	fsync(fd);
	fdatasync(fd);
	EXPECT_LE(-1, lseek(fd, 100, SEEK_SET));
	lseek(fd, 0, SEEK_END);
	lseek(fd, 0, SEEK_HOLE);
	EXPECT_EQ(0, fstat(fd, &st));
	fchmod(fd, 0600);
	posix_fadvise(fd, 0, 4 * PAGE, POSIX_FADV_DONTNEED);
	readahead(fd, 0, 4 * PAGE);
	must(!pipe(pipes));
	EXPECT_EQ(-1, splice(fd, NULL, pipes[1], NULL, PAGE, 0));
	EXPECT_EQ(1, p[0]);
	EXPECT_EQ(1, dirty(fd, p, 4, NULL));
	p[PAGE] = 1;
	EXPECT_EQ(1, dirty(fd, p, 4, NULL));
}

/* All anonymous files share an inode: what is done to one must not hit another. */
TEST(spaces_know_nothing_of_one_another)
{
	int one_fd = space_new(4), two_fd = space_new(4);
	char *p = view_new(one_fd, 0, 4, RW), *q = view_new(two_fd, 0, 4, RW);

	p[0] = 1;
	q[0] = 2;
	EXPECT_EQ(0, discard(one_fd, p, 4));
	EXPECT_EQ(0, p[0]);
	EXPECT_EQ(2, q[0]);
	EXPECT_EQ(1, dirty(two_fd, q, 4, NULL));
	EXPECT_EQ(0, protect(one_fd, p, 4, NONE));
	q[0] = 3;
	EXPECT_EQ(1, stats(one_fd).out_views);
}

TEST_HARNESS_MAIN
