// SPDX-License-Identifier: Apache-2.0
// Do interval timers, POSIX timers and alarm fire, repeat, report what is left, and stop?
#include "check.h"

#include <pthread.h>
#include <sys/time.h>

static volatile int hits, last_value, last_code, last_overrun;
static timer_t last_timer;

static void on_signal(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	hits++;
	last_value = info->si_value.sival_int;
	last_code = info->si_code;
	last_overrun = info->si_overrun;
}

static void catch (int signal)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };

	sigaction(signal, &action, NULL);
	hits = 0;
}

static void real(void)
{
	struct itimerval timer = { { 0, 10000 }, { 0, 10000 } }, old;

	catch (SIGALRM);
	CHECK_OK(setitimer(ITIMER_REAL, &timer, NULL));
	WAIT_UNTIL(hits >= 3);
	CHECK_OK(getitimer(ITIMER_REAL, &old));
	CHECK_EQ(old.it_interval.tv_usec, 10000);
	CHECK(old.it_value.tv_usec <= 10000);
	memset(&timer, 0, sizeof(timer));
	CHECK_OK(setitimer(ITIMER_REAL, &timer, &old));
	CHECK_EQ(old.it_interval.tv_usec, 10000);
	int seen = hits;
	check_sleep_ms(40);
	CHECK_EQ(hits, seen);
	CHECK_OK(getitimer(ITIMER_REAL, &old));
	CHECK_EQ(old.it_value.tv_usec + old.it_value.tv_sec, 0);
	timer.it_value.tv_usec = 1000000;
	CHECK_ERR(setitimer(ITIMER_REAL, &timer, NULL), EINVAL);
	CHECK_ERR(setitimer(9, &timer, NULL), EINVAL);
	CHECK_ERR(getitimer(9, &timer), EINVAL);
	CHECK_ERR(getitimer(ITIMER_REAL, (void *)8), EFAULT);
}

static void alarms(void)
{
	catch (SIGALRM);
	CHECK_EQ(alarm(100), 0);
	unsigned left = alarm(1);
	CHECK(left == 100 || left == 99);
	WAIT_UNTIL(hits == 1);
	CHECK_EQ(alarm(0), 0);
}

static void processor_time(int which, int signal)
{
	struct itimerval timer = { { 0, 20000 }, { 0, 20000 } };

	catch (signal);
	CHECK_OK(setitimer(which, &timer, NULL));
	int64_t end = check_now_ns() + 20000000000;
	while (hits < 2 && check_now_ns() < end)
		for (volatile int i = 0; i < 10000; i++)
			;
	CHECK(hits >= 2);
	memset(&timer, 0, sizeof(timer));
	CHECK_OK(setitimer(which, &timer, NULL));
}

static void posix(clockid_t clock)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
				  .sigev_signo = SIGRTMIN,
				  .sigev_value.sival_int = 4242 };
	struct itimerspec set = { { 0, 10000000 }, { 0, 10000000 } }, got;
	timer_t timer;

	catch (SIGRTMIN);
	if (!CHECK_EQ(timer_create(clock, &event, &timer), 0))
		return;
	CHECK_OK(timer_settime(timer, 0, &set, NULL));
	WAIT_UNTIL(hits >= 3);
	CHECK_EQ(last_value, 4242);
	CHECK_EQ(last_code, SI_TIMER);
	CHECK_OK(timer_gettime(timer, &got));
	CHECK_EQ(got.it_interval.tv_nsec, 10000000);
	CHECK(got.it_value.tv_nsec <= 10000000);

	// While the signal is blocked, expirations are counted as overruns.
	sigset_t block;
	sigemptyset(&block);
	sigaddset(&block, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &block, NULL);
	check_sleep_ms(100);
	hits = 0;
	sigprocmask(SIG_UNBLOCK, &block, NULL);
	CHECK(hits >= 1);
	memset(&set, 0, sizeof(set));
	CHECK_OK(timer_settime(timer, 0, &set, &got));
	CHECK_EQ(got.it_interval.tv_nsec, 10000000);
	CHECK(timer_getoverrun(timer) >= 0);
	CHECK_OK(timer_delete(timer));
	CHECK_ERR(timer_gettime(timer, &got), EINVAL);
}

static void spin_until(volatile int *flag)
{
	int64_t end = check_now_ns() + INT64_C(10000000000);

	while (!*flag && check_now_ns() < end)
		;
}

static volatile int rests;

static void *spinner(void *unused)
{
	(void)unused;
	spin_until(&rests);
	return NULL;
}

// A timer on CPU time goes as far as its clock does: that of the thread that made it, of another, or of all.
static void processor_time_of(clockid_t clock, bool mine)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	struct itimerspec set = { { 0, 0 }, { 0, 20000000 } }, got;
	timer_t timer;

	catch (SIGRTMIN);
	if (!CHECK_OK(timer_create(clock, &event, &timer)))
		CHECK_OK(timer_settime(timer, 0, &set, NULL));
	if (mine) {
		check_sleep_ms(40);
		CHECK_EQ(hits, 0);
		spin_until(&hits);
	} else {
		WAIT_UNTIL(hits == 1); // asleep
	}
	CHECK_EQ(hits, 1);
	CHECK_EQ(last_code, SI_TIMER);
	CHECK_OK(timer_gettime(timer, &got));
	CHECK_EQ(got.it_value.tv_nsec, 0);
	CHECK_OK(timer_delete(timer));
}

// A thread that was joined may take a moment more to go.
static bool is_gone(clockid_t clock)
{
	int id;

	if (syscall(SYS_timer_create, clock, NULL, &id))
		return CHECK_EQ(errno, EINVAL);
	syscall(SYS_timer_delete, id);
	return false;
}

static void processor_times(void)
{
	sigset_t all;
	pthread_t thread;
	clockid_t clock;

	processor_time_of(CLOCK_THREAD_CPUTIME_ID, true);
	processor_time_of(CLOCK_PROCESS_CPUTIME_ID, true);
	CHECK_OK(clock_getcpuclockid(getpid(), &clock));
	processor_time_of(clock, true);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL); // the signal is the process's, and this thread's to take
	CHECK_EQ(pthread_create(&thread, NULL, spinner, NULL), 0);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	CHECK_EQ(pthread_getcpuclockid(thread, &clock), 0);
	processor_time_of(clock, false);
	processor_time_of(CLOCK_PROCESS_CPUTIME_ID, false);
	rests = 1;
	pthread_join(thread, NULL);
	WAIT_UNTIL(is_gone(clock));
	int id;
	CHECK_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC_COARSE, NULL, &id), EOPNOTSUPP);
}

static void overruns(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	struct itimerspec set = { { 0, 2000000 }, { 0, 2000000 } };
	sigset_t block;
	siginfo_t info;
	timer_t timer;

	sigemptyset(&block);
	sigaddset(&block, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &block, NULL);
	CHECK_OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	CHECK_OK(timer_settime(timer, 0, &set, NULL));
	check_sleep_ms(60);
	CHECK_EQ(sigwaitinfo(&block, &info), SIGRTMIN);
	CHECK(info.si_overrun >= 10);
	CHECK_EQ(timer_getoverrun(timer), info.si_overrun);
	timer_delete(timer);
}

static void no_notification_and_errors(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_NONE };
	struct itimerspec set = { { 0, 0 }, { 0, 20000000 } }, got;
	timer_t timer;

	CHECK_OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	CHECK_OK(timer_settime(timer, 0, &set, NULL));
	check_sleep_ms(30);
	CHECK_OK(timer_gettime(timer, &got));
	CHECK_EQ(got.it_value.tv_nsec + got.it_value.tv_sec, 0);
	// Absolute, in the past: fires at once.
	set.it_value = (struct timespec){ 0, 1 };
	CHECK_OK(timer_settime(timer, TIMER_ABSTIME, &set, NULL));
	CHECK_OK(timer_gettime(timer, &got));
	CHECK_EQ(got.it_value.tv_nsec, 0);
	set.it_value.tv_nsec = 1000000000;
	CHECK_ERR(timer_settime(timer, 0, &set, NULL), EINVAL);
	CHECK_ERR(timer_settime(timer, 0, NULL, NULL), EINVAL);
	CHECK_OK(timer_delete(timer));
	CHECK_ERR(timer_create(99, &event, &timer), EINVAL);
	event = (struct sigevent){ .sigev_notify = SIGEV_SIGNAL, .sigev_signo = 99 };
	CHECK_ERR(timer_create(CLOCK_MONOTONIC, &event, &timer), EINVAL);
}

static atomic_int thread_calls;

static void in_a_thread(union sigval value) { atomic_fetch_add(&thread_calls, value.sival_int); }

static void thread_notification(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD,
				  .sigev_notify_function = in_a_thread,
				  .sigev_value.sival_int = 1 };
	struct itimerspec set = { { 0, 10000000 }, { 0, 10000000 } };
	timer_t timer;

	CHECK_OK(timer_create(CLOCK_MONOTONIC, &event, &timer));
	CHECK_OK(timer_settime(timer, 0, &set, NULL));
	WAIT_UNTIL(atomic_load(&thread_calls) >= 3);
	CHECK_OK(timer_delete(timer));
}

static void not_inherited(void)
{
	struct itimerval timer = { { 0, 0 }, { 5, 0 } }, got;

	CHECK_OK(setitimer(ITIMER_REAL, &timer, NULL));
	pid_t pid = fork();
	if (pid == 0) {
		getitimer(ITIMER_REAL, &got);
		CHECK_EQ(got.it_value.tv_sec + got.it_value.tv_usec, 0);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
}

int main(void)
{
	(void)last_timer, (void)last_overrun;
	CHECK_CHILD(real);
	CHECK_CHILD(alarms);
	processor_time(ITIMER_VIRTUAL, SIGVTALRM);
	processor_time(ITIMER_PROF, SIGPROF);
	posix(CLOCK_MONOTONIC);
	posix(CLOCK_REALTIME);
	CHECK_CHILD(processor_times);
	overruns();
	no_notification_and_errors();
	CHECK_CHILD(thread_notification);
	CHECK_CHILD(not_inherited);
	return check_done();
}
