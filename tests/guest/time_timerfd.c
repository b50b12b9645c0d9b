// SPDX-License-Identifier: Apache-2.0
// Do timer descriptors count expirations, block, poll, and take relative and absolute times?
#include "check.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

int main(void)
{
	struct itimerspec set = { { 0, 10000000 }, { 0, 10000000 } }, got;
	uint64_t count = 0;

	int fd = CHECK_OK(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
	CHECK_ERR(read(fd, &count, 8), EAGAIN);
	CHECK_OK(timerfd_settime(fd, 0, &set, NULL));
	check_sleep_ms(55);
	CHECK_EQ(read(fd, &count, 8), 8);
	CHECK(count >= 5);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 20000), 1);
	CHECK_ERR(read(fd, &count, 4), EINVAL);
	CHECK_OK(timerfd_gettime(fd, &got));
	CHECK_EQ(got.it_interval.tv_nsec, 10000000);
	CHECK(got.it_value.tv_nsec > 0 && got.it_value.tv_nsec <= 10000000);

	// Setting anew forgets expirations.
	set = (struct itimerspec){ { 0, 0 }, { 0, 60000000 } };
	CHECK_OK(timerfd_settime(fd, 0, &set, &got));
	CHECK_EQ(got.it_interval.tv_nsec, 10000000);
	CHECK_ERR(read(fd, &count, 8), EAGAIN);
	fcntl(fd, F_SETFL, 0);
	int64_t start = check_now_ns();
	CHECK_EQ(read(fd, &count, 8), 8);
	CHECK_EQ(count, 1);
	CHECK(check_now_ns() - start >= 50000000);
	CHECK_OK(timerfd_gettime(fd, &got));
	CHECK_EQ(got.it_value.tv_nsec, 0);

	// Disarmed: never.
	memset(&set, 0, sizeof(set));
	CHECK_OK(timerfd_settime(fd, 0, &set, NULL));
	CHECK_EQ(poll(&p, 1, 30), 0);

	// Absolute real time, waited for by epoll.
	int real = CHECK_OK(timerfd_create(CLOCK_REALTIME, 0));
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	set.it_value.tv_sec = now.tv_sec;
	set.it_value.tv_nsec = now.tv_nsec + 40000000;
	set.it_value.tv_sec += set.it_value.tv_nsec / 1000000000;
	set.it_value.tv_nsec %= 1000000000;
	CHECK_OK(timerfd_settime(real, TFD_TIMER_ABSTIME, &set, NULL));
	int epoll = epoll_create1(0);
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 9 };
	CHECK_OK(epoll_ctl(epoll, EPOLL_CTL_ADD, real, &event));
	CHECK_EQ(epoll_wait(epoll, &event, 1, 20000), 1);
	CHECK_EQ(read(real, &count, 8), 8);
	CHECK_EQ(count, 1);

	CHECK_ERR(timerfd_create(99, 0), EINVAL);
	CHECK_ERR(timerfd_create(CLOCK_MONOTONIC, 3), EINVAL);
	CHECK_ERR(timerfd_settime(0, 0, &set, NULL), EINVAL);
	CHECK_ERR(timerfd_settime(99, 0, &set, NULL), EBADF);
	CHECK_ERR(timerfd_settime(fd, 0, (void *)8, NULL), EFAULT);
	set.it_value.tv_nsec = -1;
	CHECK_ERR(timerfd_settime(fd, 0, &set, NULL), EINVAL);
	return check_done();
}
