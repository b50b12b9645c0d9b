// SPDX-License-Identifier: Apache-2.0
// Do POSIX threads start, share, keep their own storage, synchronise and end?
#include "check.h"
#include <semaphore.h>

static __thread int local_value = 3;
static int shared_value;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

static void *identity(void *argument)
{
	CHECK_EQ(local_value, 3);
	local_value = (int)(long)argument;
	sched_yield();
	CHECK_EQ(local_value, (int)(long)argument);
	CHECK(syscall(SYS_gettid) != getpid());
	return (void *)syscall(SYS_gettid);
}

static void identities(void)
{
	pthread_t threads[20];
	void *result;
	long last = 0;

	for (long i = 0; i < 20; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, identity, (void *)i), 0);
	for (int i = 0; i < 20; i++) {
		CHECK_EQ(pthread_join(threads[i], &result), 0);
		CHECK((long)result > 0 && (long)result != last);
		last = (long)result;
	}
	CHECK_EQ(local_value, 3);
}

static void *adds(void *argument)
{
	(void)argument;
	for (int i = 0; i < 2000; i++) {
		pthread_mutex_lock(&mutex);
		int seen = shared_value;
		if (i % 100 == 0)
			sched_yield();
		shared_value = seen + 1;
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void mutual_exclusion(void)
{
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, adds, NULL), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(shared_value, 16000);
}

static int stage;

static void *follows(void *argument)
{
	int mine = (int)(long)argument;

	pthread_mutex_lock(&mutex);
	while (stage != mine)
		pthread_cond_wait(&condition, &mutex);
	stage++;
	pthread_cond_broadcast(&condition);
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static void conditions(void)
{
	pthread_t threads[16];
	struct timespec soon;

	for (long i = 15; i >= 0; i--)
		pthread_create(&threads[i], NULL, follows, (void *)i);
	for (int i = 0; i < 16; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(stage, 16);
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_sec += (soon.tv_nsec + 30000000) / 1000000000;
	soon.tv_nsec = (soon.tv_nsec + 30000000) % 1000000000;
	pthread_mutex_lock(&mutex);
	CHECK_EQ(pthread_cond_timedwait(&condition, &mutex, &soon), ETIMEDOUT);
	pthread_mutex_unlock(&mutex);
}

static pthread_barrier_t barrier;
static atomic_int arrived;

static void *meets(void *argument)
{
	(void)argument;
	for (int i = 1; i <= 50; i++) {
		atomic_fetch_add(&arrived, 1);
		pthread_barrier_wait(&barrier);
		CHECK(atomic_load(&arrived) >= i * 4);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static void barriers(void)
{
	pthread_t threads[4];

	pthread_barrier_init(&barrier, NULL, 4);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, meets, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(atomic_load(&arrived), 200);
}

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static volatile int left_half, right_half;

static void *reads_or_writes(void *argument)
{
	for (int i = 0; i < 500; i++) {
		if ((long)argument) {
			pthread_rwlock_wrlock(&rwlock);
			left_half++;
			right_half++;
		} else {
			pthread_rwlock_rdlock(&rwlock);
			CHECK_EQ(left_half, right_half);
		}
		pthread_rwlock_unlock(&rwlock);
	}
	return NULL;
}

static void readers_and_writers(void)
{
	pthread_t threads[6];

	for (long i = 0; i < 6; i++)
		pthread_create(&threads[i], NULL, reads_or_writes, (void *)(i % 3 == 0 ? 1l : 0l));
	for (int i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(left_half, 1000);
}

static atomic_int cleaned;

static void clean(void *argument)
{
	(void)argument;
	atomic_fetch_add(&cleaned, 1);
}

static void *to_be_cancelled(void *argument)
{
	int fds[2];
	char byte;

	(void)argument;
	if (pipe(fds) < 0)
		return NULL;
	pthread_cleanup_push(clean, NULL);
	if (read(fds[0], &byte, 1) < 0)
		return NULL;
	pthread_cleanup_pop(1);
	return NULL;
}

static void cancellation(void)
{
	pthread_t thread;
	void *result;

	pthread_create(&thread, NULL, to_be_cancelled, NULL);
	check_sleep_ms(30);
	CHECK_EQ(pthread_cancel(thread), 0);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK(result == PTHREAD_CANCELED);
	CHECK_EQ(atomic_load(&cleaned), 1);
}

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void count_once(void) { atomic_fetch_add(&cleaned, 100); }

static void *uses_key(void *argument)
{
	pthread_once(&once, count_once);
	pthread_setspecific(key, argument);
	return pthread_getspecific(key);
}

static void keys(void)
{
	pthread_t threads[3];

	atomic_store(&cleaned, 0);
	pthread_key_create(&key, clean);
	for (long i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, uses_key, (void *)(i + 1));
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(atomic_load(&cleaned), 103);
}

static void *nothing(void *argument) { return argument; }

static void comings_and_goings(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	for (int i = 0; i < 300; i++) {
		CHECK_EQ(pthread_create(&thread, NULL, nothing, NULL), 0);
		pthread_join(thread, NULL);
	}
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 65536);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(pthread_create(&thread, &attributes, nothing, NULL), 0);
}

static void *forks(void *argument)
{
	(void)argument;
	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(getpid() == syscall(SYS_gettid) ? 7 : 8); // only the caller is in the child
		CHECK_EQ(check_wait(pid), 7 << 8);
	}
	return NULL;
}

static void forks_from_threads(void)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, forks, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	identities();
	mutual_exclusion();
	conditions();
	barriers();
	readers_and_writers();
	cancellation();
	keys();
	comings_and_goings();
	forks_from_threads();
	return check_done();
}
