// SPDX-License-Identifier: Apache-2.0
// Do clocks never go back, agree between threads, processes, vDSO and kernel, and does nothing end before its time?
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <sys/timerfd.h>

static int64_t ns(const struct timespec *t) { return t->tv_sec * INT64_C(1000000000) + t->tv_nsec; }

static int64_t by_library(clockid_t clock)
{
	struct timespec t = { -1, -1 };

	CHECK_OK(clock_gettime(clock, &t));
	CHECK(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
	return ns(&t);
}

static int64_t by_call(clockid_t clock)
{
	struct timespec t = { -1, -1 };

	CHECK_OK(syscall(SYS_clock_gettime, clock, &t));
	return ns(&t);
}

// Asked in turn both ways, a clock only moves forward.
static void one_clock(clockid_t clock)
{
	int64_t last = by_library(clock);

	for (int i = 0; i < 3000; i++) {
		int64_t now = i % 2 ? by_library(clock) : by_call(clock);
		if (!CHECK(now >= last)) {
			fprintf(stderr, "clock %d: %ld after %ld, step %d\n", clock, (long)now, (long)last, i);
			return;
		}
		last = now;
	}
}

// Coarse clocks stay behind the fine ones, and the other calls tell the same time.
static void clocks_agree(void)
{
	for (int i = 0; i < 200; i++) {
		struct timeval tv;
		int64_t coarse = by_library(CLOCK_MONOTONIC_COARSE), fine = by_library(CLOCK_MONOTONIC);
		CHECK(coarse <= fine);
		int64_t before = by_library(CLOCK_REALTIME);
		gettimeofday(&tv, NULL);
		int64_t after = by_library(CLOCK_REALTIME),
			middle = tv.tv_sec * INT64_C(1000000000) + tv.tv_usec * 1000;
		CHECK(middle >= before - 1000 && middle <= after);
		time_t seconds = time(NULL);
		CHECK(seconds >= after / 1000000000 - 1 && seconds <= by_library(CLOCK_REALTIME) / 1000000000);
		CHECK(by_library(CLOCK_BOOTTIME) >= by_library(CLOCK_MONOTONIC) - 1000000000);
	}
}

// A time that one task publishes is never later than what another then reads.
static atomic_llong *published;
static atomic_bool *ended;

static void follow(void)
{
	while (!atomic_load(ended)) {
		int64_t theirs = atomic_load(published), now = by_library(CLOCK_MONOTONIC);
		if (!CHECK(now >= theirs))
			return;
	}
}

static void *follow_in_thread(void *argument CHECK_UNUSED)
{
	follow();
	return NULL;
}

static void tasks_agree(void)
{
	pthread_t thread;

	published = check_shared(CHECK_PAGE);
	ended = (atomic_bool *)(published + 1);
	pid_t pid = fork();
	if (pid == 0) {
		follow();
		check_child_exit();
	}
	CHECK_EQ(pthread_create(&thread, NULL, follow_in_thread, NULL), 0);
	for (int i = 0; i < 20000; i++)
		atomic_store(published, i % 2 ? by_library(CLOCK_MONOTONIC) : by_call(CLOCK_MONOTONIC));
	atomic_store(ended, true);
	pthread_join(thread, NULL);
	CHECK_EQ(check_wait(pid), 0);
}

static int64_t begun;
static void begin(void) { begun = by_library(CLOCK_MONOTONIC); }
static int64_t passed(void) { return by_library(CLOCK_MONOTONIC) - begun; }

static void nothing_ends_early(void)
{
	static const long lengths[] = { 1, 1000, 50000, 999999, 1000001, 3000000 };
	int fd = CHECK_OK(epoll_create1(0));

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct timespec t = { 0, lengths[i] };
		begin();
		CHECK_OK(nanosleep(&t, NULL));
		CHECK(passed() >= lengths[i]);
		struct timespec end = { 0, 0 };
		clock_gettime(CLOCK_MONOTONIC, &end);
		int64_t when = ns(&end) + lengths[i];
		end = (struct timespec){ when / 1000000000, when % 1000000000 };
		CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL), 0);
		CHECK(by_library(CLOCK_MONOTONIC) >= when);
		CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL), 0); // past: at once
		begin();
		CHECK_EQ(ppoll(NULL, 0, &t, NULL), 0);
		CHECK(passed() >= lengths[i]);
	}
	for (int ms = 1; ms < 8; ms += 3) {
		struct epoll_event event;
		begin();
		CHECK_EQ(poll(NULL, 0, ms), 0);
		CHECK(passed() >= ms * 1000000);
		begin();
		CHECK_EQ(epoll_wait(fd, &event, 1, ms), 0);
		CHECK(passed() >= ms * 1000000);
	}
	close(fd);
}

// A periodic timer counts as many periods as passed, none more.
static void periods_are_counted(void)
{
	struct itimerspec setting = { { 0, 700000 }, { 0, 700000 } };
	int fd = CHECK_OK(timerfd_create(CLOCK_MONOTONIC, 0));
	uint64_t total = 0, count = 0;

	begin();
	CHECK_OK(timerfd_settime(fd, 0, &setting, NULL));
	while (total < 40) {
		CHECK_EQ(read(fd, &count, 8), 8);
		total += count;
		CHECK(total * 700000 <= (uint64_t)passed());
	}
	close(fd);
}

static void cpu_time_is_used_not_passed(void)
{
	int64_t process = by_library(CLOCK_PROCESS_CPUTIME_ID), thread = by_library(CLOCK_THREAD_CPUTIME_ID);

	begin();
	for (volatile int i = 0; i < 2000000; i++)
		;
	int64_t used = by_library(CLOCK_PROCESS_CPUTIME_ID) - process, wall = passed();
	CHECK(used > 0);
	CHECK(by_library(CLOCK_THREAD_CPUTIME_ID) > thread);
	CHECK(used <= wall + 20000000); // one thread: not more than the clock on the wall, but for its ticks
}

int main(void)
{
	static const clockid_t clocks[] = { CLOCK_MONOTONIC,        CLOCK_MONOTONIC_RAW,   CLOCK_BOOTTIME,
					    CLOCK_MONOTONIC_COARSE, CLOCK_REALTIME_COARSE, CLOCK_PROCESS_CPUTIME_ID,
					    CLOCK_THREAD_CPUTIME_ID };

	for (size_t i = 0; i < ARRAY_SIZE(clocks); i++)
		one_clock(clocks[i]);
	clocks_agree();
	tasks_agree();
	nothing_ends_early();
	periods_are_counted();
	cpu_time_is_used_not_passed();
	return check_done();
}
