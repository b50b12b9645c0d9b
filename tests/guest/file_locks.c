// SPDX-License-Identifier: Apache-2.0
// Do flock, POSIX and open-file-description locks exclude whom they should, and go when they should?
#include "check.h"
#include <sys/file.h>

static int lock(int fd, int command, short type, off_t start, off_t length)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };

	return fcntl(fd, command, &fl);
}

static void flocks(void)
{
	int a = open("file", O_RDWR), b = open("file", O_RDWR), copy = dup(a);

	CHECK_OK(flock(a, LOCK_EX));
	CHECK_ERR(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	CHECK_ERR(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	CHECK_OK(flock(copy, LOCK_EX | LOCK_NB)); // the same open file
	CHECK_OK(flock(a, LOCK_SH));              // downgraded
	CHECK_OK(flock(b, LOCK_SH | LOCK_NB));
	CHECK_ERR(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	CHECK_OK(flock(b, LOCK_UN));
	CHECK_OK(flock(a, LOCK_EX | LOCK_NB));
	close(a);
	CHECK_ERR(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK); // the copy holds it
	pid_t pid = fork();
	if (pid == 0) {
		close(copy);
		check_child_exit();
	}
	check_wait(pid);
	CHECK_ERR(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	close(copy);
	CHECK_OK(flock(b, LOCK_EX | LOCK_NB));
	CHECK_ERR(flock(99, LOCK_EX), EBADF);
	CHECK_ERR(flock(b, 0), EINVAL);
	// A waiter gets it when it is free.
	pid = fork();
	if (pid == 0) {
		int own = open("file", O_RDWR);
		close(b); // or the inherited copy would hold it
		CHECK_OK(flock(own, LOCK_EX));
		check_child_exit();
	}
	check_sleep_ms(30);
	CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
	close(b);
	CHECK_EQ(check_wait(pid), 0);
}

// Asks another process whether it could lock.
static bool other_can_lock(short type, off_t start, off_t length)
{
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open("file", O_RDWR);
		_exit(lock(fd, F_SETLK, type, start, length) == 0 ? 0 : errno == EAGAIN || errno == EACCES ? 1 : 2);
	}
	return check_wait(pid) == 0;
}

static void posix_locks(void)
{
	int fd = open("file", O_RDWR);
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 15, .l_len = 1 };

	CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 10, 10));
	CHECK(!other_can_lock(F_WRLCK, 10, 1));
	CHECK(!other_can_lock(F_RDLCK, 19, 5));
	CHECK(other_can_lock(F_WRLCK, 0, 10));
	CHECK(other_can_lock(F_WRLCK, 20, 0));
	CHECK(!other_can_lock(F_WRLCK, 0, 0));
	// Split in the middle.
	CHECK_OK(lock(fd, F_SETLK, F_UNLCK, 13, 4));
	CHECK(other_can_lock(F_WRLCK, 13, 4));
	CHECK(!other_can_lock(F_WRLCK, 12, 1));
	CHECK(!other_can_lock(F_WRLCK, 17, 1));
	// Part to shared.
	CHECK_OK(lock(fd, F_SETLK, F_RDLCK, 17, 3));
	CHECK(other_can_lock(F_RDLCK, 17, 3));
	CHECK(!other_can_lock(F_WRLCK, 17, 3));
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(fcntl(fd, F_GETLK, &fl));
		CHECK_EQ(fl.l_type, F_UNLCK);
		fl = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0 };
		CHECK_OK(fcntl(fd, F_GETLK, &fl));
		CHECK_EQ(fl.l_type, F_WRLCK);
		CHECK_EQ(fl.l_start, 10);
		CHECK_EQ(fl.l_len, 3);
		CHECK_EQ(fl.l_pid, getppid());
		check_child_exit(); // locks are not inherited, so nothing is lost here
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK(!other_can_lock(F_WRLCK, 10, 1));
	// Closing any descriptor of the file drops all of the process's locks.
	int second = open("file", O_RDONLY);
	close(second);
	CHECK(other_can_lock(F_WRLCK, 0, 0));
	CHECK_ERR(lock(fd, F_SETLK, 99, 0, 0), EINVAL);
	CHECK_ERR(lock(fd, F_SETLK, F_WRLCK, -5, 1), EINVAL);
	CHECK_ERR(lock(99, F_SETLK, F_WRLCK, 0, 0), EBADF);
	int read_only = open("file", O_RDONLY);
	CHECK_ERR(lock(read_only, F_SETLK, F_WRLCK, 0, 0), EBADF);
	CHECK_ERR(fcntl(fd, F_SETLK, (void *)8), EFAULT);
	close(read_only);
	close(fd);
}

static void waiting_and_deadlock(void)
{
	int fd = open("file", O_RDWR), ready[2], go[2];
	char byte;

	CHECK_OK(pipe(ready));
	CHECK_OK(pipe(go));
	CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_OK(lock(fd, F_SETLK, F_WRLCK, 1, 1));
		CHECK_EQ(write(ready[1], "r", 1), 1);
		CHECK_OK(lock(fd, F_SETLKW, F_WRLCK, 0, 1)); // waits for the parent
		check_child_exit();
	}
	CHECK_EQ(read(ready[0], &byte, 1), 1);
	check_sleep_ms(40);
	CHECK_ERR(lock(fd, F_SETLKW, F_WRLCK, 1, 1), EDEADLK);
	CHECK_OK(lock(fd, F_SETLK, F_UNLCK, 0, 1));
	CHECK_EQ(check_wait(pid), 0);
	CHECK_OK(lock(fd, F_SETLKW, F_WRLCK, 1, 1)); // an exit frees
	close(fd);
}

static void open_file_locks(void)
{
	int a = open("file", O_RDWR), b = open("file", O_RDWR);

	CHECK_OK(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	CHECK_ERR(lock(b, F_OFD_SETLK, F_RDLCK, 5, 1), EAGAIN); // within one process
	CHECK_OK(lock(b, F_OFD_SETLK, F_WRLCK, 10, 1));
	CHECK_ERR(lock(a, F_SETLK, F_WRLCK, 10, 1), EAGAIN); // the two kinds see each other
	int second = open("file", O_RDONLY);
	close(second);
	CHECK_ERR(lock(b, F_OFD_SETLK, F_RDLCK, 5, 1), EAGAIN); // still held
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
	CHECK_OK(fcntl(b, F_OFD_GETLK, &fl));
	CHECK_EQ(fl.l_type, F_WRLCK);
	CHECK_EQ(fl.l_pid, -1);
	fl.l_pid = 5;
	CHECK_ERR(fcntl(b, F_OFD_SETLK, &fl), EINVAL);
	close(a);
	CHECK_OK(lock(b, F_OFD_SETLK, F_RDLCK, 5, 1));
	close(b);
}

int main(void)
{
	check_tmpdir();
	check_write_file("file", "0123456789012345678901234567890123456789");
	flocks();
	posix_locks();
	waiting_and_deadlock();
	open_file_locks();
	return check_done();
}
