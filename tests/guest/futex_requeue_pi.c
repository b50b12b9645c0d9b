// SPDX-License-Identifier: Apache-2.0
// Are waiters of a condition handed its mutex, one after the other, when they are moved there (FUTEX_CMP_REQUEUE_PI)?
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

#define WAITERS 4

static long futex(void *word, int op, uint32_t value, uintptr_t value2, void *word2, uint32_t value3)
{
	return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, value2, word2, value3);
}

static _Atomic uint32_t condition, mutex;
static atomic_int inside, woken, sleeping;
static uint32_t tid(void) { return (uint32_t)syscall(SYS_gettid); }

static void lock(void)
{
	uint32_t free = 0;

	if (!atomic_compare_exchange_strong(&mutex, &free, tid()))
		CHECK_OK(futex(&mutex, FUTEX_LOCK_PI, 0, 0, NULL, 0));
}

static void unlock(void)
{
	uint32_t mine = tid();

	if (!atomic_compare_exchange_strong(&mutex, &mine, 0))
		CHECK_OK(futex(&mutex, FUTEX_UNLOCK_PI, 0, 0, NULL, 0));
}

// As soon as there is one that waits.
static void move_one(void)
{
	while (CHECK_OK(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, 0, &mutex, condition)) == 0)
		check_sleep_ms(1);
}

static void *waiter(void *argument)
{
	(void)argument;
	lock();
	uint32_t seen = atomic_load(&condition);
	atomic_fetch_add(&sleeping, 1);
	unlock();
	CHECK_OK(futex(&condition, FUTEX_WAIT_REQUEUE_PI, seen, 0, &mutex, 0));
	CHECK_EQ(atomic_load(&mutex) & FUTEX_TID_MASK, tid()); // ours when it returns
	CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
	check_sleep_ms(5);
	atomic_fetch_sub(&inside, 1);
	atomic_fetch_add(&woken, 1);
	unlock();
	return NULL;
}

static void start(pthread_t *threads, int count)
{
	atomic_store(&sleeping, 0);
	atomic_store(&woken, 0);
	for (int i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, waiter, NULL);
	WAIT_UNTIL(atomic_load(&sleeping) == count);
	check_sleep_ms(50);
}

static void finish(pthread_t *threads, int count)
{
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(atomic_load(&woken), count);
	CHECK_EQ(atomic_load(&mutex), 0);
}

static void broadcast_with_the_mutex_held(void)
{
	pthread_t threads[WAITERS];

	start(threads, WAITERS);
	lock();
	CHECK_ERR(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, INT32_MAX, &mutex, condition + 1), EAGAIN);
	CHECK_EQ(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, INT32_MAX, &mutex, condition), WAITERS);
	CHECK(atomic_load(&mutex) & FUTEX_WAITERS);
	check_sleep_ms(20);
	CHECK_EQ(atomic_load(&woken), 0); // the mutex is held
	unlock();
	finish(threads, WAITERS);
}

static void broadcast_with_the_mutex_free(void)
{
	pthread_t threads[WAITERS];

	start(threads, WAITERS);
	CHECK_EQ(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, INT32_MAX, &mutex, condition), WAITERS);
	finish(threads, WAITERS);
}

static void signal_one_by_one(void)
{
	pthread_t threads[WAITERS];

	start(threads, WAITERS);
	for (int i = 1; i <= WAITERS; i++) {
		CHECK_EQ(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, 0, &mutex, condition), 1);
		WAIT_UNTIL(atomic_load(&woken) == i);
	}
	CHECK_EQ(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, 0, &mutex, condition), 0);
	finish(threads, WAITERS);
}

static void only_in_pairs(void)
{
	pthread_t thread;
	_Atomic uint32_t other = 0;

	start(&thread, 1);
	CHECK_ERR(futex(&condition, FUTEX_WAKE, 1, 0, NULL, 0), EINVAL);
	CHECK_ERR(futex(&condition, FUTEX_CMP_REQUEUE, 1, 1, &mutex, condition), EINVAL);
	CHECK_ERR(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, 1, &other, condition), EINVAL);
	CHECK_ERR(futex(&condition, FUTEX_CMP_REQUEUE_PI, 2, 1, &mutex, condition), EINVAL);
	CHECK_ERR(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, 1, &condition, condition), EINVAL);
	CHECK_ERR(futex(&condition, FUTEX_WAIT_REQUEUE_PI, condition, 0, &condition, 0), EINVAL);
	CHECK_ERR(futex(&condition, FUTEX_WAIT_REQUEUE_PI, condition + 1, 0, &mutex, 0), EAGAIN);
	CHECK_EQ(futex(&condition, FUTEX_CMP_REQUEUE_PI, 1, 1, &mutex, condition), 1);
	finish(&thread, 1);
}

static void *times_out(void *argument)
{
	struct timespec soon;

	clock_gettime(CLOCK_MONOTONIC, &soon);
	soon.tv_nsec += *(long *)argument * 1000000;
	soon.tv_sec += soon.tv_nsec / 1000000000;
	soon.tv_nsec %= 1000000000;
	CHECK_ERR(futex(&condition, FUTEX_WAIT_REQUEUE_PI, condition, (uintptr_t)&soon, &mutex, 0), ETIMEDOUT);
	CHECK(((atomic_load(&mutex)) & FUTEX_TID_MASK) != tid());
	return NULL;
}

static void deadlines(void)
{
	pthread_t thread;
	long ms = 30;

	times_out(&ms); // before it was moved
	ms = 300;
	lock();
	pthread_create(&thread, NULL, times_out, &ms);
	move_one();
	pthread_join(thread, NULL); // after it was moved
	unlock();
	CHECK_EQ(atomic_load(&mutex) & FUTEX_TID_MASK, 0);
}

static atomic_int handled;
static void handler(int signal)
{
	(void)signal;
	atomic_fetch_add(&handled, 1);
}

static void *interrupted(void *argument)
{
	(void)argument;
	atomic_store(&sleeping, 1);
	// Before it is moved the call goes on after the handler, afterwards the program has to look again.
	CHECK_ERR(futex(&condition, FUTEX_WAIT_REQUEUE_PI, condition, 0, &mutex, 0), EAGAIN);
	return NULL;
}

static void signals(void)
{
	pthread_t thread;
	struct sigaction action = { .sa_handler = handler };

	sigaction(SIGUSR1, &action, NULL);
	atomic_store(&sleeping, 0);
	pthread_create(&thread, NULL, interrupted, NULL);
	WAIT_UNTIL(atomic_load(&sleeping));
	check_sleep_ms(30);
	pthread_kill(thread, SIGUSR1);
	WAIT_UNTIL(atomic_load(&handled) == 1);
	check_sleep_ms(30);
	lock();
	move_one();
	pthread_kill(thread, SIGUSR1);
	pthread_join(thread, NULL);
	CHECK_EQ(atomic_load(&handled), 2);
	unlock();
}

static void *locks_with_deadline(void *argument)
{
	struct timespec soon;

	(void)argument;
	clock_gettime(CLOCK_MONOTONIC, &soon);
	soon.tv_sec += soon.tv_nsec >= 970000000;
	soon.tv_nsec = (soon.tv_nsec + 30000000) % 1000000000;
	CHECK_ERR(futex(&mutex, FUTEX_LOCK_PI2, 0, (uintptr_t)&soon, NULL, 0), ETIMEDOUT);
	return NULL;
}

static void lock_by_the_monotonic_clock(void)
{
	pthread_t thread;

	lock();
	pthread_create(&thread, NULL, locks_with_deadline, NULL);
	pthread_join(thread, NULL);
	unlock();
}

int main(void)
{
	CHECK_CHILD(broadcast_with_the_mutex_held);
	CHECK_CHILD(broadcast_with_the_mutex_free);
	CHECK_CHILD(signal_one_by_one);
	CHECK_CHILD(only_in_pairs);
	CHECK_CHILD(deadlines);
	CHECK_CHILD(signals);
	CHECK_CHILD(lock_by_the_monotonic_clock);
	return check_done();
}
