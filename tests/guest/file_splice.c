// SPDX-License-Identifier: Apache-2.0
// Do sendfile, splice, tee and vmsplice move exactly the bytes they say?
#include "check.h"
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static char data[200000];

static void sendfiles(void)
{
	int in = open("data", O_RDONLY), out = open("out", O_RDWR | O_CREAT | O_TRUNC, 0600), pair[2], fds[2];
	off_t offset = 100;
	static char back[200000];

	CHECK_EQ(sendfile(out, in, &offset, 1000), 1000);
	CHECK_EQ(offset, 1100);
	CHECK_EQ(lseek(in, 0, SEEK_CUR), 0);
	CHECK_EQ(pread(out, back, 1000, 0), 1000);
	CHECK(memcmp(back, data + 100, 1000) == 0);
	CHECK_EQ(sendfile(out, in, NULL, 50), 50);
	CHECK_EQ(lseek(in, 0, SEEK_CUR), 50);
	offset = sizeof(data);
	CHECK_EQ(sendfile(out, in, &offset, 10), 0);

	// Into a socket, with a reader on the other side.
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid_t pid = fork();
	if (pid == 0) {
		size_t have = 0;
		ssize_t n;
		close(pair[0]);
		while ((n = read(pair[1], back + have, sizeof(back) - have)) > 0)
			have += n;
		_exit(have == sizeof(data) && memcmp(back, data, have) == 0 ? 0 : 1);
	}
	close(pair[1]);
	offset = 0;
	while (offset < (off_t)sizeof(data))
		if (!CHECK(sendfile(pair[0], in, &offset, sizeof(data) - offset) > 0))
			break;
	close(pair[0]);
	CHECK_EQ(check_wait(pid), 0);

	CHECK_OK(pipe(fds));
	CHECK_EQ(write(fds[1], "x", 1), 1);
	offset = 0;
	CHECK_ERR(sendfile(out, fds[0], &offset, 1), ESPIPE);
	CHECK_ERR(sendfile(out, 99, NULL, 1), EBADF);
	CHECK_ERR(sendfile(in, in, NULL, 1), EBADF); // not open for writing
	offset = -1;
	CHECK_ERR(sendfile(out, in, &offset, 1), EINVAL);
	int append = open("out", O_WRONLY | O_APPEND);
	offset = 0;
	CHECK(sendfile(append, in, &offset, 1) == 1 || errno == EINVAL);
	close(append);
	close(in);
	close(out);
	close(fds[0]);
	close(fds[1]);
}

static void splices(void)
{
	int in = open("data", O_RDONLY), out = open("out", O_RDWR | O_CREAT | O_TRUNC, 0600), a[2], b[2];
	loff_t offset = 0;
	char back[10000] = "";

	CHECK_OK(pipe(a));
	CHECK_OK(pipe(b));
	CHECK_EQ(splice(in, &offset, a[1], NULL, 9000, 0), 9000);
	CHECK_EQ(offset, 9000);
	CHECK_EQ(tee(a[0], b[1], 4000, 0), 4000); // copies, consumes nothing
	CHECK_EQ(splice(a[0], NULL, out, NULL, 9000, 0), 9000);
	CHECK_EQ(pread(out, back, sizeof(back), 0), 9000);
	CHECK(memcmp(back, data, 9000) == 0);
	CHECK_EQ(read(b[0], back, sizeof(back)), 4000);
	CHECK(memcmp(back, data, 4000) == 0);
	CHECK_EQ(write(b[1], "through", 7), 7);
	CHECK_EQ(splice(b[0], NULL, a[1], NULL, 100, 0), 7); // pipe to pipe
	CHECK_EQ(read(a[0], back, 100), 7);
	CHECK_ERR(splice(a[0], NULL, b[1], NULL, 10, SPLICE_F_NONBLOCK), EAGAIN);
	CHECK_ERR(splice(in, NULL, out, NULL, 10, 0), EINVAL); // one must be a pipe
	CHECK_ERR(splice(in, NULL, a[1], &offset, 10, 0), ESPIPE);
	CHECK_ERR(splice(99, NULL, a[1], NULL, 10, 0), EBADF);
	struct iovec iov[2] = { { "vm", 2 }, { "splice", 6 } };
	CHECK_EQ(vmsplice(a[1], iov, 2, 0), 8);
	CHECK_EQ(read(a[0], back, 100), 8);
	CHECK(memcmp(back, "vmsplice", 8) == 0);
	close(a[1]);
	CHECK_EQ(splice(a[0], NULL, out, NULL, 10, 0), 0); // end of file
}

int main(void)
{
	check_tmpdir();
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 31 + (i >> 9));
	int fd = open("data", O_WRONLY | O_CREAT, 0600);
	CHECK_EQ(write(fd, data, sizeof(data)), (ssize_t)sizeof(data));
	close(fd);
	sendfiles();
	splices();
	return check_done();
}
