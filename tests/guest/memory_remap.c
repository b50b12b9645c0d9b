// SPDX-License-Identifier: Apache-2.0
// Does mremap grow, shrink, move and duplicate mappings with their content?
#include "check.h"

static char *anonymous(size_t pages)
{
	char *m = mmap(NULL, pages * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(m != MAP_FAILED);
	return m;
}

static void fill(char *m, size_t pages, int seed)
{
	for (size_t i = 0; i < pages; i++)
		m[i * CHECK_PAGE + 9] = (char)(seed + i);
}

static void verify(const char *m, size_t pages, int seed)
{
	for (size_t i = 0; i < pages; i++)
		if (!CHECK_EQ(m[i * CHECK_PAGE + 9], (char)(seed + i)))
			return;
}

static void sizes(void)
{
	char *area = anonymous(20), *m = area;

	CHECK_OK(munmap(area + 4 * CHECK_PAGE, 16 * CHECK_PAGE));
	fill(m, 4, 1);
	CHECK(mremap(m, 4 * CHECK_PAGE, 8 * CHECK_PAGE, 0) == m); // grows in place
	verify(m, 4, 1);
	CHECK_EQ(m[7 * CHECK_PAGE], 0);
	CHECK(mremap(m, 8 * CHECK_PAGE, 2 * CHECK_PAGE, 0) == m); // shrinks
	verify(m, 2, 1);
	unsigned char present;
	CHECK_ERR(mincore(m + 2 * CHECK_PAGE, CHECK_PAGE, &present), ENOMEM);
	// No room: fails without MAYMOVE, moves with it.
	char *blocker = mmap(m + 2 * CHECK_PAGE, CHECK_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(blocker == m + 2 * CHECK_PAGE);
	CHECK_ERR(mremap(m, 2 * CHECK_PAGE, 4 * CHECK_PAGE, 0), ENOMEM);
	char *moved = mremap(m, 2 * CHECK_PAGE, 40 * CHECK_PAGE, MREMAP_MAYMOVE);
	CHECK(moved != MAP_FAILED && moved != m);
	verify(moved, 2, 1);
	CHECK_ERR(mincore(m, CHECK_PAGE, &present), ENOMEM);
	munmap(moved, 40 * CHECK_PAGE);
	munmap(blocker, CHECK_PAGE);
}

static void fixed(void)
{
	char *from = anonymous(4), *to = anonymous(8);

	fill(from, 4, 50);
	fill(to, 8, 90);
	CHECK(mremap(from, 4 * CHECK_PAGE, 4 * CHECK_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + CHECK_PAGE) ==
	      to + CHECK_PAGE);
	verify(to + CHECK_PAGE, 4, 50);
	CHECK_EQ(to[9], 90);
	CHECK_EQ(to[5 * CHECK_PAGE + 9], 95);
	unsigned char present;
	CHECK_ERR(mincore(from, CHECK_PAGE, &present), ENOMEM);
	CHECK_ERR(mremap(to, 4 * CHECK_PAGE, 4 * CHECK_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + 2 * CHECK_PAGE),
		  EINVAL);
	CHECK_ERR(mremap(to, CHECK_PAGE, CHECK_PAGE, MREMAP_FIXED, from), EINVAL);
	munmap(to, 8 * CHECK_PAGE);
}

static void errors(void)
{
	char *m = anonymous(3);

	CHECK_ERR(mremap(m + 1, CHECK_PAGE, CHECK_PAGE, 0), EINVAL);
	CHECK_ERR(mremap(m, CHECK_PAGE, 0, 0), EINVAL);
	CHECK_ERR(mremap(m, CHECK_PAGE, CHECK_PAGE, 0x40), EINVAL);
	CHECK_ERR(mremap(m, 3 * CHECK_PAGE, (1ul << 47) - 64 * CHECK_PAGE, MREMAP_MAYMOVE), ENOMEM);
	munmap(m + CHECK_PAGE, CHECK_PAGE);
	CHECK_ERR(mremap(m + CHECK_PAGE, CHECK_PAGE, 2 * CHECK_PAGE, MREMAP_MAYMOVE), EFAULT);
	munmap(m, 3 * CHECK_PAGE);
}

static void files(void)
{
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT, 0600));
	char text[] = "page 0";

	for (int i = 0; i < 6; i++) {
		text[5] = '0' + i;
		CHECK_EQ(pwrite(fd, text, 6, i * CHECK_PAGE), 6);
	}
	CHECK_OK(ftruncate(fd, 6 * CHECK_PAGE));
	char *m = mmap(NULL, 2 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, CHECK_PAGE);
	m = mremap(m, 2 * CHECK_PAGE, 5 * CHECK_PAGE, MREMAP_MAYMOVE);
	if (CHECK(m != MAP_FAILED)) {
		CHECK(memcmp(m + 4 * CHECK_PAGE, "page 5", 6) == 0);
		m[4 * CHECK_PAGE] = 'P';
		char byte;
		CHECK_EQ(pread(fd, &byte, 1, 5 * CHECK_PAGE), 1);
		CHECK_EQ(byte, 'P');
		// old size 0 makes a second view of a shared mapping
		char *second = mremap(m, 0, 2 * CHECK_PAGE, MREMAP_MAYMOVE);
		if (CHECK(second != MAP_FAILED && second != m)) {
			CHECK(memcmp(second, "page 1", 6) == 0);
			second[0] = 'Q';
			CHECK_EQ(m[0], 'Q');
			munmap(second, 2 * CHECK_PAGE);
		}
		munmap(m, 5 * CHECK_PAGE);
	}
	close(fd);
}

static void dont_unmap(void)
{
	char *from = anonymous(2);

	fill(from, 2, 11);
	char *to = mremap(from, 2 * CHECK_PAGE, 2 * CHECK_PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
	if (to == MAP_FAILED && errno == EINVAL)
		return; // Linux before 5.7
	verify(to, 2, 11);
	CHECK_EQ(from[9], 0); // still mapped, empty
	munmap(from, 2 * CHECK_PAGE);
	munmap(to, 2 * CHECK_PAGE);
}

static void after_fork(void)
{
	char *m = anonymous(4);

	fill(m, 4, 30);
	pid_t pid = fork();
	if (pid == 0) {
		char *moved = mremap(m, 4 * CHECK_PAGE, 64 * CHECK_PAGE, MREMAP_MAYMOVE);
		verify(moved, 4, 30);
		fill(moved, 4, 60);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	verify(m, 4, 30);
	munmap(m, 4 * CHECK_PAGE);
}

static void grow_in_steps(void)
{
	size_t pages = 1;
	char *m = anonymous(1);

	for (int i = 0; i < 10; i++) {
		fill(m, pages, i);
		char *next = mremap(m, pages * CHECK_PAGE, pages * 2 * CHECK_PAGE, MREMAP_MAYMOVE);
		if (!CHECK(next != MAP_FAILED))
			return;
		m = next;
		verify(m, pages, i);
		pages *= 2;
	}
	munmap(m, pages * CHECK_PAGE);
}

int main(void)
{
	check_tmpdir();
	sizes();
	fixed();
	errors();
	files();
	dont_unmap();
	after_fork();
	grow_in_steps();
	return check_done();
}
