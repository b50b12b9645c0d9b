// SPDX-License-Identifier: Apache-2.0
// Does the owner of a PI lock run with the priority of who waits for it, past others that would keep it from the CPU?
#include "check.h"
#include <pthread.h>
#include <sched.h>

#define PATIENCE_NS 2000000000ll

static pthread_mutex_t first, second; // with priority inheritance
static atomic_int owned, waiting, go, done;
static atomic_int gave_up;

static int priority(int value)
{
	struct sched_param p = { .sched_priority = value };

	return pthread_setschedparam(pthread_self(), SCHED_FIFO, &p);
}

static void work_ms(int ms)
{
	int64_t end = check_now_ns() + ms * 1000000ll;

	while (check_now_ns() < end)
		;
}

static void *low(void *argument)
{
	(void)argument;
	CHECK_EQ(priority(2), 0);
	pthread_mutex_lock(&first);
	atomic_store(&owned, 1);
	while (!atomic_load(&go)) // until all others are there
		usleep(1000);
	work_ms(20);
	pthread_mutex_unlock(&first);
	return NULL;
}

// Owns one lock and waits for the other.
static void *between(void *argument)
{
	(void)argument;
	CHECK_EQ(priority(3), 0);
	pthread_mutex_lock(&second);
	atomic_fetch_add(&waiting, 1);
	pthread_mutex_lock(&first);
	pthread_mutex_unlock(&first);
	pthread_mutex_unlock(&second);
	return NULL;
}

static void *high(void *argument)
{
	CHECK_EQ(priority(20), 0);
	atomic_fetch_add(&waiting, 1);
	pthread_mutex_lock(argument);
	atomic_store(&done, 1);
	pthread_mutex_unlock(argument);
	return NULL;
}

// Keeps the CPU from whoever has less priority.
static void *greedy(void *argument)
{
	int64_t end = check_now_ns() + PATIENCE_NS;

	(void)argument;
	CHECK_EQ(priority(10), 0);
	atomic_store(&go, 1);
	while (!atomic_load(&done) && check_now_ns() < end)
		;
	atomic_store(&gave_up, !atomic_load(&done));
	return NULL;
}

static void run(bool chain)
{
	pthread_t threads[4];
	int count = 0;

	pthread_create(&threads[count++], NULL, low, NULL);
	WAIT_UNTIL(atomic_load(&owned));
	if (chain) {
		pthread_create(&threads[count++], NULL, between, NULL);
		WAIT_UNTIL(atomic_load(&waiting) == 1);
		check_sleep_ms(30);
	}
	pthread_create(&threads[count++], NULL, high, chain ? &second : &first);
	WAIT_UNTIL(atomic_load(&waiting) == 1 + chain);
	check_sleep_ms(30);
	pthread_create(&threads[count++], NULL, greedy, NULL);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	CHECK(atomic_load(&done));
	CHECK(!atomic_load(&gave_up));
}

static void direct(void) { run(false); }
static void through_another_owner(void) { run(true); }

int main(void)
{
	pthread_mutexattr_t attributes;
	struct sched_param none = { 0 };
	cpu_set_t cpus, one;

	if (priority(1) != 0)
		CHECK_SKIP("no real-time priorities for us");
	CHECK_EQ(pthread_setschedparam(pthread_self(), SCHED_OTHER, &none), 0);
	CHECK_OK(sched_getaffinity(0, sizeof(cpus), &cpus));
	CPU_ZERO(&one);
	for (int i = CPU_SETSIZE - 1; i >= 0 && !CPU_COUNT(&one); i--)
		if (CPU_ISSET(i, &cpus))
			CPU_SET(i, &one);
	CHECK_OK(sched_setaffinity(0, sizeof(one), &one));
	pthread_mutexattr_init(&attributes);
	CHECK_EQ(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT), 0);
	CHECK_EQ(pthread_mutex_init(&first, &attributes), 0);
	CHECK_EQ(pthread_mutex_init(&second, &attributes), 0);
	CHECK_CHILD(direct);
	CHECK_CHILD(through_another_owner);
	return check_done();
}
