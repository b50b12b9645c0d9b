// SPDX-License-Identifier: Apache-2.0
// Do free places beside program text stay free for the program: can it unmap, protect and advise them in vain, and map over them, and
// go on making system calls?
#include "check.h"

#define PAGES 64

static char *text; // lowest mapping of this program
static size_t page;

static char *lowest_mapping(void)
{
	unsigned long start = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	CHECK(f != NULL);
	CHECK_EQ(fscanf(f, "%lx", &start), 1);
	fclose(f);
	return (char *)start;
}

// Often enough for whatever a system makes of calls that come often.
static void call_a_lot(void)
{
	char buffer[8];
	int fd = open("/dev/null", O_RDWR);

	CHECK_OK(fd);
	for (int i = 0; i < 50; i++) {
		CHECK_EQ(getppid() > 0 || getpid() == 1, 1);
		CHECK_EQ(read(fd, buffer, sizeof(buffer)), 0);
		CHECK_EQ(write(fd, "x", 1), 1);
		CHECK_OK(lseek(fd, 0, SEEK_SET));
		CHECK_OK(madvise(NULL, 0, MADV_NORMAL));
	}
	CHECK_OK(close(fd));
}

// Each page of the gap alone, and all at once.
static void test_gap_is_empty(void)
{
	for (int i = 1; i <= PAGES; i++) {
		char *p = text - (size_t)i * page;

		CHECK_ERR(mprotect(p, page, PROT_NONE), ENOMEM);
		CHECK_ERR(madvise(p, page, MADV_DONTNEED), ENOMEM);
		CHECK_ERR(msync(p, page, MS_ASYNC), ENOMEM);
		CHECK_EQ(mremap(p, page, 2 * page, MREMAP_MAYMOVE) == MAP_FAILED ? errno : 0, EFAULT);
		CHECK_OK(munmap(p, page));
	}
	CHECK_OK(munmap(text - PAGES * page, PAGES * page));
	call_a_lot();
}

static void map_over(char *at, size_t size, int flags)
{
	char *p = mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	CHECK_EQ((uintptr_t)p, (uintptr_t)at);
	for (size_t i = 0; i < size; i += page) {
		CHECK_EQ(p[i], 0);
		p[i] = 1;
	}
}

static void test_map_over_the_gap(void)
{
	map_over(text - PAGES * page, PAGES * page, MAP_FIXED);
	call_a_lot();
	CHECK_OK(munmap(text - PAGES * page, PAGES * page));
	call_a_lot();
	map_over(text - PAGES * page, PAGES * page, MAP_FIXED_NOREPLACE);
	call_a_lot();
	CHECK_OK(munmap(text - PAGES * page, PAGES * page));
}

// A child has what its parent has, and it is the child's own.
static void test_a_child_maps_over_it(void)
{
	int status;
	pid_t child = fork();

	CHECK_OK(child);
	if (!child) {
		map_over(text - PAGES * page, PAGES * page, MAP_FIXED);
		call_a_lot();
		_exit(check_failed ? 1 : 0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	call_a_lot();
}

int main(void)
{
	page = (size_t)sysconf(_SC_PAGESIZE);
	text = lowest_mapping();
	call_a_lot();
	test_gap_is_empty();
	test_a_child_maps_over_it();
	test_map_over_the_gap();
	return check_done();
}
