// SPDX-License-Identifier: Apache-2.0
// Do FIFOs meet by name, block in open, and end like pipes?
#include "check.h"
#include <poll.h>

int main(void)
{
	struct stat st;
	char buffer[16];

	check_tmpdir();
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	CHECK_OK(mkfifo("fifo", 0666));
	CHECK_ERR(mkfifo("fifo", 0666), EEXIST);
	CHECK_OK(stat("fifo", &st));
	CHECK(S_ISFIFO(st.st_mode));
	CHECK_EQ(st.st_mode & 0777, 0644);

	CHECK_ERR(open("fifo", O_WRONLY | O_NONBLOCK), ENXIO);
	int reader = CHECK_OK(open("fifo", O_RDONLY | O_NONBLOCK));
	CHECK_EQ(read(reader, buffer, 16), 0); // no writer: end of file
	struct pollfd p = { .fd = reader, .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 0), 0); // nobody has written yet: no hang-up either
	int writer = CHECK_OK(open("fifo", O_WRONLY | O_NONBLOCK));
	CHECK_ERR(read(reader, buffer, 16), EAGAIN);
	CHECK_EQ(write(writer, "hello", 5), 5);
	CHECK_EQ(read(reader, buffer, 16), 5);
	close(writer);
	CHECK_EQ(read(reader, buffer, 16), 0);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLHUP);
	close(reader);

	// Both ends in one descriptor.
	int both = CHECK_OK(open("fifo", O_RDWR));
	CHECK_EQ(write(both, "self", 4), 4);
	CHECK_EQ(read(both, buffer, 16), 4);
	close(both);

	// open() waits for the other side.
	int64_t start = check_now_ns();
	pid_t pid = fork();
	if (pid == 0) {
		check_sleep_ms(50);
		int fd = open("fifo", O_WRONLY);
		if (write(fd, "late", 4) != 4)
			_exit(1);
		_exit(0);
	}
	reader = CHECK_OK(open("fifo", O_RDONLY));
	CHECK(check_now_ns() - start >= 50000000);
	CHECK_EQ(read(reader, buffer, 16), 4);
	CHECK_EQ(read(reader, buffer, 16), 0);
	CHECK_EQ(check_wait(pid), 0);
	close(reader);

	pid = fork();
	if (pid == 0) {
		int fd = open("fifo", O_RDONLY);
		char byte;
		_exit(read(fd, &byte, 1) == 1 ? byte : 0);
	}
	writer = CHECK_OK(open("fifo", O_WRONLY));
	CHECK_EQ(write(writer, "c", 1), 1);
	CHECK_EQ(check_wait(pid), 'c' << 8);
	CHECK_ERR(write(writer, "c", 1), EPIPE);
	close(writer);

	// A signal interrupts a waiting open.
	pid = fork();
	if (pid == 0) {
		open("fifo", O_RDONLY);
		_exit(0);
	}
	check_sleep_ms(30);
	kill(pid, SIGTERM);
	int status = check_wait(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);

	// The name may go while it is in use.
	both = open("fifo", O_RDWR);
	CHECK_OK(unlink("fifo"));
	CHECK_EQ(write(both, "x", 1), 1);
	CHECK_EQ(read(both, buffer, 1), 1);
	close(both);
	CHECK_OK(mknod("fifo2", S_IFIFO | 0600, 0));
	CHECK_OK(unlink("fifo2"));
	return check_done();
}
