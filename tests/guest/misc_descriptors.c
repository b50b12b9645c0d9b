// SPDX-License-Identifier: Apache-2.0
// Do dup, fcntl, close_range and their kin keep the descriptor table right?
#include "check.h"
#include <sys/ioctl.h>
#include <sys/resource.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

static void duplicates(void)
{
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT | O_APPEND, 0600)), copy;

	copy = CHECK_OK(dup(fd));
	CHECK(copy > fd);
	CHECK_EQ(write(copy, "abc", 3), 3);
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 3); // one offset
	CHECK_OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
	CHECK_EQ(fcntl(copy, F_GETFD), 0); // but flags of their own
	CHECK_EQ(dup2(fd, 20), 20);
	CHECK_EQ(fcntl(20, F_GETFD), 0);
	CHECK_EQ(dup2(fd, fd), fd);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(dup3(fd, 21, O_CLOEXEC), 21);
	CHECK_EQ(fcntl(21, F_GETFD), FD_CLOEXEC);
	CHECK_ERR(dup3(fd, fd, 0), EINVAL);
	CHECK_ERR(dup3(fd, 22, O_APPEND), EINVAL);
	CHECK_ERR(dup2(99, 22), EBADF);
	CHECK_ERR(dup2(fd, -1), EBADF);
	CHECK_ERR(dup(99), EBADF);
	CHECK_ERR(dup(-1), EBADF);
	CHECK_EQ(fcntl(fd, F_DUPFD, 30), 30);
	CHECK_EQ(fcntl(fd, F_DUPFD, 30), 31);
	CHECK_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 30), 32);
	CHECK_EQ(fcntl(32, F_GETFD), FD_CLOEXEC);
	CHECK_ERR(fcntl(fd, F_DUPFD, -1), EINVAL);
	for (int i = 20; i < 33; i++)
		close(i);
	close(copy);
	// The lowest free number is taken.
	int low = dup(fd), next = dup(fd);
	close(low);
	CHECK_EQ(dup(fd), low);
	close(low);
	close(next);
	close(fd);
	CHECK_ERR(close(fd), EBADF);
	CHECK_ERR(close(-1), EBADF);
}

static void status_flags(void)
{
	int fd = CHECK_OK(open("file", O_WRONLY | O_APPEND | O_NONBLOCK));

	CHECK_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_WRONLY | O_APPEND | O_NONBLOCK);
	CHECK_OK(fcntl(fd, F_SETFL, 0));
	CHECK_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_WRONLY);
	CHECK_OK(fcntl(fd, F_SETFL, O_RDWR | O_CREAT | O_TRUNC | O_NONBLOCK)); // only some may change
	CHECK_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY | O_NONBLOCK);
	int off = 0;
	CHECK_OK(ioctl(fd, FIONBIO, &off));
	CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	CHECK_OK(ioctl(fd, FIOCLEX));
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_OK(ioctl(fd, FIONCLEX));
	CHECK_EQ(fcntl(fd, F_GETFD), 0);
	CHECK_ERR(ioctl(fd, 0x5401 /* TCGETS */, &off), ENOTTY);
	CHECK_ERR(fcntl(fd, 9999), EINVAL);
	CHECK_ERR(fcntl(99, F_GETFD), EBADF);
	CHECK_ERR(read(fd, &off, 1), EBADF);
	close(fd);
	int path = CHECK_OK(open("file", O_PATH));
	CHECK_ERR(read(path, &off, 1), EBADF);
	CHECK_ERR(ioctl(path, FIONBIO, &off), EBADF);
	CHECK_OK(fcntl(path, F_GETFD));
	struct stat st;
	CHECK_OK(fstat(path, &st));
	close(path);
}

static long close_range_(unsigned first, unsigned last, unsigned flags)
{
	return syscall(SYS_close_range, first, last, flags);
}

static void ranges(void)
{
	for (int i = 40; i < 50; i++)
		CHECK_EQ(dup2(0, i), i);
	CHECK_OK(close_range_(42, 45, 0));
	for (int i = 40; i < 50; i++)
		CHECK_EQ(fcntl(i, F_GETFD) == 0, i < 42 || i > 45);
	CHECK_OK(close_range_(46, 47, CLOSE_RANGE_CLOEXEC));
	CHECK_EQ(fcntl(46, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(fcntl(48, F_GETFD), 0);
	CHECK_OK(close_range_(40, ~0u, 0));
	for (int i = 40; i < 50; i++)
		CHECK_ERR(fcntl(i, F_GETFD), EBADF);
	CHECK_ERR(close_range_(50, 49, 0), EINVAL);
	CHECK_ERR(close_range_(50, 51, 0x80), EINVAL);
	CHECK_OK(close_range_(1000, 2000, 0));
}

static void grows(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	int top = limit.rlim_cur < 2000 ? (int)limit.rlim_cur - 1 : 1999;
	CHECK_EQ(dup2(0, top), top);
	CHECK_EQ(dup2(0, 700), 700);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(fcntl(top, F_GETFD));
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_OK(close(top));
	CHECK_OK(close(700));
}

static int thread_fd;

static void *closes(void *argument)
{
	(void)argument;
	for (int i = 0; i < 300; i++) {
		int fd = open("/proc/self/exe", O_RDONLY);
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static void threads_share_the_table(void)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, closes, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	int fd = open("/", O_RDONLY);
	CHECK(fd >= 3 && fd < 10); // nothing was left open
	close(fd);
	(void)thread_fd;
}

int main(void)
{
	check_tmpdir();
	close_range_(3, ~0u, 0);
	duplicates();
	status_flags();
	ranges();
	grows();
	threads_share_the_table();
	return check_done();
}
