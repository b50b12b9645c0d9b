// SPDX-License-Identifier: Apache-2.0
// Do the device files of /dev do what mem(4), random(4) and full(4) say?
#include "check.h"
#include <poll.h>

static void node(const char *path, mode_t type)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		check_fail(__FILE__, __LINE__, "%s: %s", path, strerror(errno));
	else if ((st.st_mode & S_IFMT) != type)
		check_fail(__FILE__, __LINE__, "%s has type %o", path, st.st_mode & S_IFMT);
}

int main(void)
{
	char buffer[5000];
	int fd, sum = 0;

	node("/dev/null", S_IFCHR);
	node("/dev/zero", S_IFCHR);
	node("/dev/full", S_IFCHR);
	node("/dev/random", S_IFCHR);
	node("/dev/urandom", S_IFCHR);
	node("/dev/tty", S_IFCHR);
	node("/dev/stdin", S_IFLNK);
	node("/dev/stdout", S_IFLNK);
	node("/dev/stderr", S_IFLNK);
	node("/dev/fd", S_IFLNK);
	node("/dev/pts", S_IFDIR);
	node("/dev/shm", S_IFDIR);

	fd = CHECK_OK(open("/dev/null", O_RDWR));
	CHECK_EQ(read(fd, buffer, 10), 0);
	CHECK_EQ(write(fd, buffer, sizeof(buffer)), (ssize_t)sizeof(buffer));
	CHECK_EQ(lseek(fd, 100, SEEK_SET) >= 0, 1);
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_ERR(isatty(fd) ? 0 : -1, ENOTTY);
	CHECK_OK(ftruncate(fd, 0) == 0 || errno == EINVAL ? 0 : -1);
	close(fd);
	fd = CHECK_OK(open("/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0666));
	close(fd);

	fd = CHECK_OK(open("/dev/zero", O_RDWR));
	memset(buffer, 1, sizeof(buffer));
	CHECK_EQ(read(fd, buffer, sizeof(buffer)), (ssize_t)sizeof(buffer));
	for (size_t i = 0; i < sizeof(buffer); i++)
		sum += buffer[i];
	CHECK_EQ(sum, 0);
	CHECK_EQ(write(fd, buffer, 10), 10);
	char *m = mmap(NULL, 2 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (CHECK(m != MAP_FAILED)) {
		CHECK_EQ(m[4097], 0);
		m[0] = 1;
		munmap(m, 2 * CHECK_PAGE);
	}
	CHECK_ERR(read(fd, (void *)8, 1), EFAULT);
	close(fd);

	fd = CHECK_OK(open("/dev/full", O_RDWR));
	CHECK_ERR(write(fd, "x", 1), ENOSPC);
	CHECK_EQ(read(fd, buffer, 10), 10);
	close(fd);

	static const char *const sources[] = { "/dev/random", "/dev/urandom" };
	for (int i = 0; i < 2; i++) {
		char a[64] = "", b[64] = "";
		fd = CHECK_OK(open(sources[i], O_RDWR));
		CHECK_EQ(read(fd, a, 64), 64);
		CHECK_EQ(read(fd, b, 64), 64);
		CHECK(memcmp(a, b, 64) != 0);
		CHECK_EQ(write(fd, a, 64), 64); // adds entropy
		close(fd);
	}

	// /dev/fd and the standard streams are this process's descriptors.
	int fds[2];
	CHECK_OK(pipe(fds));
	snprintf(buffer, sizeof(buffer), "/dev/fd/%d", fds[0]);
	int again = CHECK_OK(open(buffer, O_RDONLY));
	CHECK_EQ(write(fds[1], "q", 1), 1);
	CHECK_EQ(read(again, buffer, 1), 1);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fds[0], 0);
		int in = CHECK_OK(open("/dev/stdin", O_RDONLY));
		CHECK_EQ(write(fds[1], "w", 1), 1);
		CHECK_EQ(read(in, buffer, 1), 1);
		CHECK_EQ(buffer[0], 'w');
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);

	// Shared memory by name.
	fd = CHECK_OK(shm_open("/guest_dev_nodes", O_RDWR | O_CREAT, 0600));
	CHECK_OK(ftruncate(fd, CHECK_PAGE));
	CHECK_OK(access("/dev/shm/guest_dev_nodes", R_OK | W_OK));
	CHECK_OK(shm_unlink("/guest_dev_nodes"));
	close(fd);
	return check_done();
}
