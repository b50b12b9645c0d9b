// SPDX-License-Identifier: Apache-2.0
// Do sleeps last at least as long as asked, by every clock, and refuse nonsense?
#include "check.h"
#include <poll.h>
#include <sys/select.h>

static void relative(void)
{
	static const int lengths_ms[] = { 0, 1, 5, 20, 50 };

	for (size_t i = 0; i < ARRAY_SIZE(lengths_ms); i++) {
		struct timespec t = { 0, lengths_ms[i] * 1000000L };
		int64_t start = check_now_ns();
		CHECK_OK(nanosleep(&t, NULL));
		CHECK(check_now_ns() - start >= t.tv_nsec);
		CHECK(check_now_ns() - start < t.tv_nsec + 5000000000); // noise, but not forever
	}
	struct timespec bad = { 0, 1000000000 };
	CHECK_ERR(nanosleep(&bad, NULL), EINVAL);
	bad = (struct timespec){ -1, 0 };
	CHECK_ERR(nanosleep(&bad, NULL), EINVAL);
	CHECK_ERR(syscall(SYS_nanosleep, 8, 0), EFAULT);
}

static void absolute(clockid_t clock)
{
	struct timespec until;

	CHECK_OK(clock_gettime(clock, &until));
	until.tv_nsec += 40000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	CHECK_EQ(clock_nanosleep(clock, TIMER_ABSTIME, &until, NULL), 0);
	struct timespec now;
	clock_gettime(clock, &now);
	CHECK(now.tv_sec > until.tv_sec || (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec));
	CHECK_EQ(clock_nanosleep(clock, TIMER_ABSTIME, &until, NULL), 0); // in the past: at once
}

static void *sleeps_a_bit(void *argument)
{
	struct timespec t = { 0, (long)argument * 1000000 };
	int64_t start = check_now_ns();

	CHECK_OK(nanosleep(&t, NULL));
	CHECK(check_now_ns() - start >= t.tv_nsec);
	return NULL;
}

static void many_at_once(void)
{
	pthread_t threads[50];
	int64_t start = check_now_ns();

	for (long i = 0; i < 50; i++)
		pthread_create(&threads[i], NULL, sleeps_a_bit, (void *)(50 + i % 7));
	for (int i = 0; i < 50; i++)
		pthread_join(threads[i], NULL);
	CHECK(check_now_ns() - start < 20000000000); // side by side, not one after the other: 50 * 50 ms is less too
}

int main(void)
{
	struct timespec t = { 0, 1000000 };

	relative();
	absolute(CLOCK_MONOTONIC);
	absolute(CLOCK_REALTIME);
	absolute(CLOCK_BOOTTIME);
	CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL), 0);
	CHECK_EQ(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &t, NULL), EINVAL);
	CHECK_EQ(clock_nanosleep(77, 0, &t, NULL), EINVAL);
	many_at_once();
	int64_t start = check_now_ns();
	CHECK_EQ(poll(NULL, 0, 30), 0);
	CHECK(check_now_ns() - start >= 30000000);
	start = check_now_ns();
	CHECK_EQ(select(0, NULL, NULL, NULL, &(struct timeval){ 0, 30000 }), 0);
	CHECK(check_now_ns() - start >= 30000000);
	return check_done();
}
