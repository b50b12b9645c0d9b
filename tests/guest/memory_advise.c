// SPDX-License-Identifier: Apache-2.0
// Do madvise, mlock, msync and their errors behave?
#include "check.h"

int main(void)
{
	char *m = mmap(NULL, 6 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char present[6];

	check_tmpdir();
	memset(m, 5, 6 * CHECK_PAGE);
	CHECK_OK(madvise(m + CHECK_PAGE, 2 * CHECK_PAGE, MADV_DONTNEED));
	CHECK_EQ(m[0], 5);
	CHECK_EQ(m[CHECK_PAGE], 0);
	CHECK_EQ(m[2 * CHECK_PAGE + 100], 0);
	CHECK_EQ(m[3 * CHECK_PAGE], 5);
	m[CHECK_PAGE] = 6;
	CHECK_EQ(m[CHECK_PAGE], 6);
	CHECK_OK(madvise(m, CHECK_PAGE, MADV_FREE));
	CHECK(m[0] == 5 || m[0] == 0);
	m[0] = 9;
	CHECK_EQ(m[0], 9);
	CHECK_OK(madvise(m, CHECK_PAGE, MADV_WILLNEED));
	CHECK_OK(madvise(m, CHECK_PAGE, MADV_NORMAL));
	CHECK_OK(madvise(m, CHECK_PAGE, MADV_RANDOM));
	CHECK_OK(madvise(m, CHECK_PAGE, MADV_SEQUENTIAL));
	CHECK_OK(madvise(m, CHECK_PAGE, MADV_DONTDUMP));
	CHECK_ERR(madvise(m + 1, CHECK_PAGE, MADV_NORMAL), EINVAL);
	CHECK_ERR(madvise(m, CHECK_PAGE, 9999), EINVAL);
	CHECK_OK(munmap(m + 4 * CHECK_PAGE, CHECK_PAGE));
	CHECK_ERR(madvise(m, 6 * CHECK_PAGE, MADV_DONTNEED), ENOMEM);
	CHECK_EQ(m[5 * CHECK_PAGE], 0); // done all the same

	// Not inherited, or wiped, by fork.
	m[0] = 1;
	m[CHECK_PAGE] = 1;
	CHECK_OK(madvise(m, CHECK_PAGE, MADV_DONTFORK));
	CHECK_OK(madvise(m + CHECK_PAGE, CHECK_PAGE, MADV_WIPEONFORK));
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_ERR(mincore(m, CHECK_PAGE, present), ENOMEM);
		CHECK_EQ(m[CHECK_PAGE], 0);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_OK(madvise(m, CHECK_PAGE, MADV_DOFORK));
	CHECK_OK(madvise(m + CHECK_PAGE, CHECK_PAGE, MADV_KEEPONFORK));

	// Locking.
	CHECK_OK(mlock(m, 2 * CHECK_PAGE));
	CHECK_OK(munlock(m, 2 * CHECK_PAGE));
	CHECK_ERR(mlock(m + 4 * CHECK_PAGE, CHECK_PAGE), ENOMEM);
	CHECK_ERR(mlockall(0), EINVAL);
	CHECK_OK(mlockall(MCL_CURRENT));
	CHECK_OK(munlockall());

	// A private file mapping drops its own copy and shows the file again.
	check_write_file("file", "original");
	int fd = open("file", O_RDWR);
	char *f = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	f[0] = 'X';
	CHECK_OK(madvise(f, CHECK_PAGE, MADV_DONTNEED));
	CHECK_EQ(f[0], 'o');
	munmap(f, CHECK_PAGE);

	// msync.
	f = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memcpy(f, "modified", 8);
	CHECK_OK(msync(f, CHECK_PAGE, MS_SYNC));
	char text[9] = "";
	CHECK_EQ(pread(fd, text, 8, 0), 8);
	CHECK_STR(text, "modified");
	CHECK_OK(msync(f, CHECK_PAGE, MS_ASYNC));
	CHECK_OK(msync(f, CHECK_PAGE, MS_SYNC | MS_INVALIDATE));
	CHECK_ERR(msync(f, CHECK_PAGE, MS_SYNC | MS_ASYNC), EINVAL);
	CHECK_ERR(msync(f, CHECK_PAGE, 0x100), EINVAL);
	CHECK_ERR(msync(f + 1, CHECK_PAGE, MS_SYNC), EINVAL);
	munmap(f, CHECK_PAGE);
	CHECK_ERR(msync(f, CHECK_PAGE, MS_SYNC), ENOMEM);

	// Punching a hole into shared memory.
	char *s = check_shared(4 * CHECK_PAGE);
	memset(s, 4, 4 * CHECK_PAGE);
	CHECK_OK(madvise(s + CHECK_PAGE, CHECK_PAGE, MADV_REMOVE));
	CHECK_EQ(s[CHECK_PAGE], 0);
	CHECK_EQ(s[2 * CHECK_PAGE], 4);
	CHECK_OK(madvise(s, 4 * CHECK_PAGE, MADV_DONTNEED));
	CHECK_EQ(s[0], 4); // shared memory keeps its content
	return check_done();
}
