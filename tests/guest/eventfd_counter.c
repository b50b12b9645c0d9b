// SPDX-License-Identifier: Apache-2.0
// Does an eventfd add, take, block at its limits and poll?
#include "check.h"
#include <poll.h>
#include <sys/eventfd.h>

int main(void)
{
	uint64_t value = 0;
	int fd = CHECK_OK(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC));
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };

	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN | POLLOUT);
	CHECK_EQ(read(fd, &value, 8), 8);
	CHECK_EQ(value, 3);
	CHECK_ERR(read(fd, &value, 8), EAGAIN);
	value = 5;
	CHECK_EQ(write(fd, &value, 8), 8);
	CHECK_EQ(write(fd, &value, 8), 8);
	CHECK_EQ(read(fd, &value, 8), 8);
	CHECK_EQ(value, 10);
	CHECK_ERR(read(fd, &value, 7), EINVAL);
	CHECK_ERR(write(fd, &value, 7), EINVAL);
	value = UINT64_MAX;
	CHECK_ERR(write(fd, &value, 8), EINVAL);
	value = UINT64_MAX - 1;
	CHECK_EQ(write(fd, &value, 8), 8);
	value = 1;
	CHECK_ERR(write(fd, &value, 8), EAGAIN);
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLIN);
	CHECK_ERR(eventfd(0, 0x1000000), EINVAL);
	close(fd);

	fd = CHECK_OK(eventfd(2, EFD_SEMAPHORE));
	CHECK_EQ(read(fd, &value, 8), 8);
	CHECK_EQ(value, 1);
	CHECK_EQ(read(fd, &value, 8), 8);
	CHECK_EQ(value, 1);
	pid_t pid = fork();
	if (pid == 0) {
		value = 2;
		check_sleep_ms(40);
		_exit(write(fd, &value, 8) == 8 ? 0 : 1);
	}
	CHECK_EQ(read(fd, &value, 8), 8);
	CHECK_EQ(value, 1);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(read(fd, &value, 8), 8);
	close(fd);

	// A writer waits until there is room.
	fd = eventfd(0, 0);
	value = UINT64_MAX - 1;
	CHECK_EQ(write(fd, &value, 8), 8);
	pid = fork();
	if (pid == 0) {
		check_sleep_ms(40);
		_exit(read(fd, &value, 8) == 8 && value == UINT64_MAX - 1 ? 0 : 1);
	}
	value = 9;
	CHECK_EQ(write(fd, &value, 8), 8);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(read(fd, &value, 8), 8);
	CHECK_EQ(value, 9);
	return check_done();
}
