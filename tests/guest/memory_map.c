// SPDX-License-Identifier: Apache-2.0
// Does mmap place, refuse, replace and split mappings as Linux does?
#include "check.h"

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static void placement(void)
{
	char *a = mmap(NULL, 1, PROT_READ | PROT_WRITE, ANON, -1, 0);

	CHECK(a != MAP_FAILED);
	CHECK_EQ((uintptr_t)a % CHECK_PAGE, 0);
	a[CHECK_PAGE - 1] = 1; // rounded up to a page
	char *hint = mmap(a + 100 * CHECK_PAGE, CHECK_PAGE, PROT_READ, ANON, -1, 0);
	CHECK(hint != MAP_FAILED && hint != a);
	char *other = mmap(a, CHECK_PAGE, PROT_READ, ANON, -1, 0); // taken: elsewhere
	CHECK(other != a && other != MAP_FAILED);
	CHECK_ERR(mmap(a, CHECK_PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	CHECK_EQ(a[CHECK_PAGE - 1], 1);
	char *replaced = mmap(a, CHECK_PAGE, PROT_READ | PROT_WRITE, ANON | MAP_FIXED, -1, 0);
	CHECK(replaced == a);
	CHECK_EQ(a[CHECK_PAGE - 1], 0);
	CHECK_OK(munmap(a, CHECK_PAGE));
	CHECK(mmap(a, CHECK_PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0) == a);
	CHECK_OK(munmap(a, CHECK_PAGE));
	CHECK_OK(munmap(a, CHECK_PAGE)); // nothing there is no error
	munmap(hint, CHECK_PAGE);
	munmap(other, CHECK_PAGE);
	char *low = mmap(NULL, 10 * CHECK_PAGE, PROT_READ, ANON | MAP_32BIT, -1, 0);
	CHECK(low != MAP_FAILED && (uintptr_t)low < 0x80000000ul);
}

static void refusals(void)
{
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT, 0600)), read_only, write_only;

	CHECK_OK(ftruncate(fd, 3 * CHECK_PAGE));
	read_only = open("file", O_RDONLY);
	write_only = open("file", O_WRONLY);
	CHECK_ERR(mmap(NULL, 0, PROT_READ, ANON, -1, 0), EINVAL);
	CHECK_ERR(mmap((void *)1, CHECK_PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0), EINVAL);
	CHECK_ERR(mmap(NULL, CHECK_PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL); // neither private nor shared
	CHECK_ERR(mmap(NULL, CHECK_PAGE, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
	CHECK_ERR(mmap(NULL, CHECK_PAGE, PROT_READ, MAP_PRIVATE, fd, 1), EINVAL);
	CHECK_ERR(mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, read_only, 0), EACCES);
	CHECK_ERR(mmap(NULL, CHECK_PAGE, PROT_READ, MAP_PRIVATE, write_only, 0), EACCES);
	CHECK(mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, read_only, 0) != MAP_FAILED);
	CHECK_ERR(mmap(NULL, 1ul << 48, PROT_READ, ANON, -1, 0), ENOMEM);
	CHECK_ERR(mmap(NULL, -CHECK_PAGE, PROT_READ, ANON, -1, 0), ENOMEM);
	CHECK_ERR(mmap((void *)0x7ffffffff000ul, CHECK_PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0), ENOMEM);
	CHECK_ERR(mmap((void *)0xffff800000000000ul, CHECK_PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0), ENOMEM);
	CHECK_ERR(munmap((void *)1, CHECK_PAGE), EINVAL);
	CHECK_ERR(munmap((void *)CHECK_PAGE, 0), EINVAL);
	CHECK_ERR(munmap((void *)0x7fffffffe000ul, -CHECK_PAGE), EINVAL);
	int directory = open(".", O_RDONLY), fds[2];
	CHECK_ERR(mmap(NULL, CHECK_PAGE, PROT_READ, MAP_PRIVATE, directory, 0), ENODEV);
	CHECK_OK(pipe(fds));
	CHECK_ERR(mmap(NULL, CHECK_PAGE, PROT_READ, MAP_PRIVATE, fds[0], 0), ENODEV);
	CHECK_ERR(mmap(NULL, CHECK_PAGE, PROT_READ, MAP_PRIVATE, fd, -CHECK_PAGE), EOVERFLOW);
	CHECK_ERR(mmap(NULL, CHECK_PAGE, PROT_READ, MAP_SHARED_VALIDATE | 0x200000, fd, 0), EOPNOTSUPP);
	close(fd);
	close(read_only);
	close(write_only);
}

static void holes(void)
{
	char *a = mmap(NULL, 10 * CHECK_PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);

	memset(a, 7, 10 * CHECK_PAGE);
	CHECK_OK(munmap(a + 3 * CHECK_PAGE, 2 * CHECK_PAGE));
	CHECK_EQ(a[3 * CHECK_PAGE - 1], 7);
	CHECK_EQ(a[5 * CHECK_PAGE], 7);
	CHECK(mmap(a + 3 * CHECK_PAGE, CHECK_PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0) == a + 3 * CHECK_PAGE);
	CHECK_EQ(a[3 * CHECK_PAGE], 0);
	CHECK_OK(munmap(a, 10 * CHECK_PAGE)); // over several mappings and a hole
	// System calls on the hole fail, not the kernel.
	int fds[2];
	CHECK_OK(pipe(fds));
	CHECK_ERR(write(fds[1], a + 4 * CHECK_PAGE, 1), EFAULT);
}

static void zeroed(void)
{
	// What one process leaves is never seen by the next.
	for (int round = 0; round < 5; round++) {
		pid_t pid = fork();
		if (pid == 0) {
			unsigned char *m = mmap(NULL, 400 * CHECK_PAGE, PROT_READ | PROT_WRITE, ANON, -1, 0);
			for (size_t i = 0; i < 400 * CHECK_PAGE; i += 64)
				if (m[i] != 0)
					_exit(1);
			memset(m, 0xee, 400 * CHECK_PAGE);
			_exit(0);
		}
		CHECK_EQ(check_wait(pid), 0);
	}
}

static void big_and_sparse(void)
{
	// A terabyte of address space costs nothing until it is touched.
	size_t size = 1ul << 40;
	char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, ANON | MAP_NORESERVE, -1, 0);

	if (!CHECK(m != MAP_FAILED))
		return;
	for (int i = 0; i < 16; i++)
		m[size / 16 * i + 12345] = i;
	for (int i = 0; i < 16; i++)
		CHECK_EQ(m[size / 16 * i + 12345], i);
	CHECK_OK(munmap(m, size));
}

static void populate(void)
{
	unsigned char present[8] = { 0 };
	char *m = mmap(NULL, 8 * CHECK_PAGE, PROT_READ | PROT_WRITE, ANON | MAP_POPULATE, -1, 0);

	CHECK_OK(mincore(m, 8 * CHECK_PAGE, present));
	for (int i = 0; i < 8; i++)
		CHECK_EQ(present[i] & 1, 1);
	CHECK_OK(munmap(m, 8 * CHECK_PAGE));
	CHECK_ERR(mincore(m, CHECK_PAGE, present), ENOMEM);
	CHECK_ERR(mincore(m + 1, CHECK_PAGE, present), EINVAL);
}

static void many(void)
{
	static char *maps[2000];

	for (int i = 0; i < 2000; i++) {
		maps[i] = mmap(NULL, CHECK_PAGE * (1 + i % 3), i % 2 ? PROT_READ | PROT_WRITE : PROT_READ, ANON, -1, 0);
		if (!CHECK(maps[i] != MAP_FAILED))
			return;
		if (i % 2)
			*(int *)maps[i] = i;
	}
	for (int i = 0; i < 2000; i += 2)
		CHECK_OK(munmap(maps[i], CHECK_PAGE * (1 + i % 3)));
	for (int i = 1; i < 2000; i += 2) {
		CHECK_EQ(*(int *)maps[i], i);
		CHECK_OK(munmap(maps[i], CHECK_PAGE * (1 + i % 3)));
	}
}

int main(void)
{
	check_tmpdir();
	placement();
	refusals();
	holes();
	zeroed();
	big_and_sparse();
	populate();
	many();
	return check_done();
}
