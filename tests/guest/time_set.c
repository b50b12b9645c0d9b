// SPDX-License-Identifier: Apache-2.0
// Do timers that were set to a moment of CLOCK_REALTIME follow the clock when it is set, and others not? A shared machine's clock is not ours
// to set: only in a cell.
#include "check.h"
#include <poll.h>
#include <sys/timerfd.h>
#include <time.h>

#define HOUR 3600

static struct itimerspec in(int clock, time_t seconds, long ms)
{
	struct itimerspec s = { 0 };

	if (clock >= 0)
		CHECK_OK(clock_gettime(clock, &s.it_value));
	s.it_value.tv_sec += seconds;
	s.it_value.tv_nsec += ms * 1000000;
	s.it_value.tv_sec += s.it_value.tv_nsec / 1000000000;
	s.it_value.tv_nsec %= 1000000000;
	return s;
}

static void move_clock(time_t seconds)
{
	struct itimerspec s = in(CLOCK_REALTIME, seconds, 0);

	CHECK_OK(clock_settime(CLOCK_REALTIME, &s.it_value));
}

static bool fired(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) && count == 1;
}

static void descriptors(void)
{
	int absolute = (int)CHECK_OK(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));
	int relative = (int)CHECK_OK(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK));
	int monotonic = (int)CHECK_OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	struct itimerspec s = in(CLOCK_REALTIME, HOUR, 0);

	CHECK_OK(timerfd_settime(absolute, TFD_TIMER_ABSTIME, &s, NULL));
	s = in(-1, HOUR, 0);
	CHECK_OK(timerfd_settime(relative, 0, &s, NULL));
	s = in(CLOCK_MONOTONIC, HOUR, 0);
	CHECK_OK(timerfd_settime(monotonic, TFD_TIMER_ABSTIME, &s, NULL));
	move_clock(2 * HOUR);
	CHECK_EQ(poll(&(struct pollfd){ .fd = absolute, .events = POLLIN }, 1, 20000), 1);
	CHECK(fired(absolute));
	CHECK(!fired(relative) && !fired(monotonic));
	s = in(CLOCK_REALTIME, 0, 100);
	CHECK_OK(timerfd_settime(absolute, TFD_TIMER_ABSTIME, &s, NULL));
	move_clock(-2 * HOUR);
	CHECK_OK(timerfd_gettime(absolute, &s));
	CHECK(s.it_value.tv_sec >= 2 * HOUR - 60);
	check_sleep_ms(200);
	CHECK(!fired(absolute));
	// Told, too, when it wants to be.
	s = in(CLOCK_REALTIME, HOUR, 0);
	CHECK_OK(timerfd_settime(absolute, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &s, NULL));
	move_clock(1);
	uint64_t count;
	CHECK_ERR(read(absolute, &count, sizeof(count)), ECANCELED);
	CHECK_ERR(read(absolute, &count, sizeof(count)), EAGAIN);
	move_clock(-1);
}

static volatile sig_atomic_t signals;
static void handler(int signal)
{
	(void)signal;
	signals++;
}

static void posix_timers(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 },
			silent = { .sigev_notify = SIGEV_NONE };
	struct itimerspec s = in(CLOCK_REALTIME, HOUR, 0), left;
	timer_t absolute, relative;

	signal(SIGUSR1, handler);
	CHECK_OK(timer_create(CLOCK_REALTIME, &event, &absolute));
	CHECK_OK(timer_create(CLOCK_REALTIME, &silent, &relative));
	CHECK_OK(timer_settime(absolute, TIMER_ABSTIME, &s, NULL));
	s = in(-1, HOUR, 0);
	CHECK_OK(timer_settime(relative, 0, &s, NULL));
	move_clock(2 * HOUR);
	WAIT_UNTIL(signals == 1);
	CHECK_OK(timer_gettime(relative, &left));
	CHECK(left.it_value.tv_sec > HOUR - 60 && left.it_value.tv_sec <= HOUR);
	s = in(CLOCK_REALTIME, 0, 100);
	CHECK_OK(timer_settime(absolute, TIMER_ABSTIME, &s, NULL));
	move_clock(-2 * HOUR);
	check_sleep_ms(200);
	CHECK_EQ(signals, 1);
	CHECK_OK(timer_delete(absolute));
	CHECK_OK(timer_delete(relative));
	move_clock(1);
	move_clock(-1);
}

int main(void)
{
	if (!getenv("CLOISTER_CELL"))
		CHECK_SKIP("the clock is everybody's");
	descriptors();
	posix_timers();
	return check_done();
}
