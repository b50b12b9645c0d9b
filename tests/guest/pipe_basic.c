// SPDX-License-Identifier: Apache-2.0
// Do pipes hold 64 KiB, block, end, break and report as pipe(7) says?
#include "check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static void ends(void)
{
	int fds[2];
	char buffer[16];

	CHECK_OK(pipe(fds));
	CHECK_EQ(write(fds[1], "hello", 5), 5);
	CHECK_EQ(read(fds[0], buffer, 2), 2);
	CHECK_EQ(read(fds[0], buffer + 2, 14), 3);
	CHECK(memcmp(buffer, "hello", 5) == 0);
	CHECK_ERR(write(fds[0], "x", 1), EBADF);
	CHECK_ERR(read(fds[1], buffer, 1), EBADF);
	CHECK_ERR(lseek(fds[0], 0, SEEK_SET), ESPIPE);
	CHECK_ERR(pread(fds[0], buffer, 1, 0), ESPIPE);
	CHECK_ERR(ftruncate(fds[1], 0), EINVAL);
	CHECK_EQ(write(fds[1], "", 0), 0);
	CHECK_EQ(write(fds[1], "tail", 4), 4);
	close(fds[1]);
	CHECK_EQ(read(fds[0], buffer, 16), 4); // what was written stays
	CHECK_EQ(read(fds[0], buffer, 16), 0);
	close(fds[0]);
	CHECK_ERR(syscall(SYS_pipe2, fds, 0x1234), EINVAL);
	CHECK_ERR(syscall(SYS_pipe2, 8, 0), EFAULT);
	struct stat st;
	CHECK_OK(pipe(fds));
	CHECK_OK(fstat(fds[0], &st));
	CHECK(S_ISFIFO(st.st_mode));
	close(fds[0]);
	close(fds[1]);
}

static volatile int broken;

static void on_pipe(int signal) { broken = signal; }

static void breaks(void)
{
	int fds[2];

	signal(SIGPIPE, on_pipe);
	CHECK_OK(pipe(fds));
	close(fds[0]);
	CHECK_ERR(write(fds[1], "x", 1), EPIPE);
	CHECK_EQ(broken, SIGPIPE);
	struct pollfd p = { .fd = fds[1], .events = POLLOUT };
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLERR);
	close(fds[1]);
	// A blocked writer is told too.
	CHECK_OK(pipe(fds));
	pid_t pid = fork();
	if (pid == 0) {
		static char big[100000];
		close(fds[0]);
		signal(SIGPIPE, SIG_IGN);
		ssize_t wrote = write(fds[1], big, sizeof(big)); // what fitted counts
		CHECK_EQ(wrote, 65536);
		CHECK_ERR(write(fds[1], big, 1), EPIPE);
		check_child_exit();
	}
	close(fds[1]);
	check_sleep_ms(40);
	close(fds[0]);
	CHECK_EQ(check_wait(pid), 0);
}

static void capacity(void)
{
	int fds[2], available = 0;
	char block[4096] = "";
	size_t total = 0;
	ssize_t wrote;

	CHECK_OK(pipe2(fds, O_NONBLOCK | O_CLOEXEC));
	CHECK(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	CHECK(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	CHECK_ERR(read(fds[0], block, 1), EAGAIN);
	CHECK_EQ(fcntl(fds[0], F_GETPIPE_SZ), 65536);
	while ((wrote = write(fds[1], block, sizeof(block))) > 0)
		total += wrote;
	CHECK_EQ(errno, EAGAIN);
	CHECK_EQ(total, 65536);
	CHECK_OK(ioctl(fds[0], FIONREAD, &available));
	CHECK_EQ(available, 65536);
	struct pollfd p = { .fd = fds[1], .events = POLLOUT };
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_EQ(read(fds[0], block, 4096), 4096);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(write(fds[1], block, 4096), 4096);

	CHECK_ERR(fcntl(fds[1], F_SETPIPE_SZ, 4096), EBUSY); // more is in it
	CHECK_EQ(fcntl(fds[1], F_SETPIPE_SZ, 200000), 262144);
	CHECK_EQ(fcntl(fds[0], F_GETPIPE_SZ), 262144);
	CHECK_EQ(write(fds[1], block, 4096), 4096);
	while (read(fds[0], block, sizeof(block)) > 0)
		;
	CHECK_EQ(fcntl(fds[1], F_SETPIPE_SZ, 1), 4096);
	CHECK_EQ(write(fds[1], block, 4096), 4096);
	CHECK_ERR(write(fds[1], block, 1), EAGAIN);
	CHECK_ERR(fcntl(0, F_GETPIPE_SZ), EBADF);
	close(fds[0]);
	close(fds[1]);
}

// Writes of up to PIPE_BUF bytes are atomic; larger nonblocking ones may be partial.
static void nonblocking_atomicity(void)
{
	int fds[2];
	static char big[70000];

	CHECK_OK(pipe2(fds, O_NONBLOCK));
	CHECK_EQ(write(fds[1], big, 65536 - 100), 65536 - 100);
	CHECK_ERR(write(fds[1], big, 4096), EAGAIN); // all or nothing
	ssize_t partial = write(fds[1], big, 5000);
	CHECK(partial == 100 || (partial < 0 && errno == EAGAIN));
	close(fds[0]);
	close(fds[1]);
	CHECK_OK(pipe2(fds, O_NONBLOCK));
	CHECK_EQ(write(fds[1], big, sizeof(big)), 65536);
	close(fds[0]);
	close(fds[1]);
}

static void vectors(void)
{
	int fds[2];
	char a[3], b[10];
	struct iovec out[3] = { { "one", 3 }, { "", 0 }, { "two", 3 } }, in[2] = { { a, 3 }, { b, 10 } };

	CHECK_OK(pipe(fds));
	CHECK_EQ(writev(fds[1], out, 3), 6);
	CHECK_EQ(readv(fds[0], in, 2), 6);
	CHECK(memcmp(a, "one", 3) == 0 && memcmp(b, "two", 3) == 0);
	CHECK_ERR(writev(fds[1], out, 1025), EINVAL);
	CHECK_ERR(writev(fds[1], out, -1), EINVAL);
	CHECK_ERR(writev(fds[1], (void *)8, 1), EFAULT);
	CHECK_EQ(writev(fds[1], out, 0), 0);
	struct iovec negative[2] = { { a, 3 }, { b, (size_t)-1 } };
	CHECK_ERR(readv(fds[0], negative, 2), EINVAL);
	close(fds[0]);
	close(fds[1]);
}

static void polling(void)
{
	int fds[2];

	CHECK_OK(pipe(fds));
	struct pollfd p = { .fd = fds[0], .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN);
	close(fds[1]);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN | POLLHUP);
	char byte;
	CHECK_EQ(read(fds[0], &byte, 1), 1);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLHUP);
	close(fds[0]);
}

// By /proc/self/fd a pipe can be opened anew.
static void reopened(void)
{
	int fds[2];
	char path[40], byte;

	CHECK_OK(pipe(fds));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[1]);
	char target[64] = "";
	CHECK(readlink(path, target, sizeof(target) - 1) > 0);
	CHECK(strncmp(target, "pipe:[", 6) == 0);
	int again = CHECK_OK(open(path, O_WRONLY));
	close(fds[1]);
	CHECK_EQ(write(again, "y", 1), 1);
	CHECK_EQ(read(fds[0], &byte, 1), 1);
	close(again);
	CHECK_EQ(read(fds[0], &byte, 1), 0);
	close(fds[0]);
}

int main(void)
{
	ends();
	breaks();
	capacity();
	nonblocking_atomicity();
	vectors();
	polling();
	reopened();
	return check_done();
}
