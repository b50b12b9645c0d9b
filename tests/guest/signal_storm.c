// SPDX-License-Identifier: Apache-2.0
// Do signals reach code that never calls the kernel, and do storms of them lose nothing and damage nothing?
#include "check.h"
#include <pthread.h>

// ---- a busy loop is interrupted, again and again, and notices nothing ----

static atomic_int caught_count;
static atomic_bool enough;

static void count(int signal CHECK_UNUSED)
{
	// Uses registers the loop uses.
	volatile double x = 1.5;
	x = x * x + caught_count;
	atomic_fetch_add(&caught_count, 1);
}

struct sums {
	uint64_t integer;
	double floating;
};

// A fixed computation without a call; long enough to be hit many times.
static struct sums compute(void)
{
	struct sums s = { 0, 1.0 };

	for (uint64_t i = 1; i < 1000000; i++) {
		s.integer = s.integer * 6364136223846793005u + (i ^ s.integer >> 29);
		s.floating = s.floating * 0.999999 + (double)i * 1e-6;
	}
	return s;
}

static void *kicks(void *argument)
{
	pthread_t target = *(pthread_t *)argument;

	while (!atomic_load(&enough)) {
		pthread_kill(target, SIGUSR1);
		usleep(200);
	}
	return NULL;
}

static void busy_loops(void)
{
	pthread_t self = pthread_self(), thread;
	struct sums quiet = compute();
	int rounds = 0;

	signal(SIGUSR1, count);
	atomic_store(&caught_count, 0);
	CHECK_EQ(pthread_create(&thread, NULL, kicks, &self), 0);
	while (atomic_load(&caught_count) < 50 && rounds++ < 3000) {
		struct sums s = compute();
		CHECK(s.integer == quiet.integer && s.floating == quiet.floating);
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	CHECK(atomic_load(&caught_count) >= 50);
}

// Ended by a signal, stopped and continued, out of a loop without calls.
static void *spins(void *argument CHECK_UNUSED)
{
	for (volatile uint64_t i = 0;; i++)
		;
	return NULL;
}

static void ends_spinners(void)
{
	int *ready = check_shared(CHECK_PAGE), status;
	pid_t pid = fork();

	if (pid == 0) {
		pthread_t thread;
		for (int i = 0; i < 3; i++)
			pthread_create(&thread, NULL, spins, NULL);
		*(volatile int *)ready = 1;
		spins(NULL);
	}
	WAIT_UNTIL(*(volatile int *)ready);
	kill(pid, SIGSTOP);
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK(WIFSTOPPED(status));
	kill(pid, SIGCONT);
	kill(pid, SIGTERM);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

// ---- queued signals between threads: every one arrives ----

#define THREADS 4
#define EACH    150

static pthread_t threads[THREADS];
static atomic_int received[THREADS];
static __thread int own_index = -1;
static pthread_barrier_t barrier;
static atomic_long value_sum;

static void take(int signal CHECK_UNUSED, siginfo_t *info, void *context CHECK_UNUSED)
{
	int saved = errno;

	if (own_index >= 0)
		atomic_fetch_add(&received[own_index], 1);
	atomic_fetch_add(&value_sum, info->si_value.sival_int);
	(void)getppid();
	errno = saved;
}

static int total_received(void)
{
	int sum = 0;

	for (int i = 0; i < THREADS; i++)
		sum += atomic_load(&received[i]);
	return sum;
}

static void *storms(void *argument)
{
	own_index = (int)(long)argument;
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < EACH; i++)
		for (int n = 0; n < THREADS; n++)
			while (pthread_sigqueue(threads[n], SIGRTMIN + 1, (union sigval){ .sival_int = i }) == EAGAIN)
				sched_yield();
	pthread_barrier_wait(&barrier);
	WAIT_UNTIL(total_received() == THREADS * THREADS * EACH);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void nothing_is_lost(void)
{
	struct sigaction action = { .sa_sigaction = take, .sa_flags = SA_SIGINFO | SA_RESTART };

	sigaction(SIGRTMIN + 1, &action, NULL);
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (long i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, storms, (void *)i), 0);
	for (int i = 0; i < 3; i++)
		pthread_barrier_wait(&barrier);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(total_received(), THREADS * THREADS * EACH);
	CHECK_EQ(atomic_load(&value_sum), (long)THREADS * THREADS * EACH * (EACH - 1) / 2);
}

// ---- data that moves through calls meanwhile ----

static int fds[2];
static atomic_bool moved;

static void *sends(void *argument CHECK_UNUSED)
{
	for (int i = 0; i < 20000; i++) {
		uint32_t word = i * 2654435761u;
		if (!CHECK_EQ(write(fds[1], &word, sizeof(word)), sizeof(word)))
			break;
	}
	return NULL;
}

static void *receives(void *argument CHECK_UNUSED)
{
	for (int i = 0; i < 20000; i++) {
		uint32_t word = 0;
		if (!CHECK_EQ(read(fds[0], &word, sizeof(word)), sizeof(word)) || !CHECK_EQ(word, i * 2654435761u))
			break;
	}
	atomic_store(&moved, true);
	return NULL;
}

static void calls_are_restarted(void)
{
	struct sigaction action = { .sa_handler = count, .sa_flags = SA_RESTART };
	pthread_t sender, receiver;

	sigaction(SIGUSR1, &action, NULL);
	CHECK_OK(pipe(fds));
	CHECK_EQ(pthread_create(&sender, NULL, sends, NULL), 0);
	CHECK_EQ(pthread_create(&receiver, NULL, receives, NULL), 0);
	for (int i = 0; !atomic_load(&moved) && !check_done(); i++) {
		pthread_kill(i % 2 ? sender : receiver, SIGUSR1);
		if (i % 16 == 0)
			usleep(50);
	}
	pthread_join(sender, NULL);
	pthread_join(receiver, NULL);
	close(fds[0]);
	close(fds[1]);
}

// Without SA_RESTART a call that waits says EINTR, wherever the signal finds it: never does it sleep on.
static void no_wakeup_is_missed(void)
{
	struct sigaction action = { .sa_handler = count };
	pthread_t self = pthread_self(), thread;
	char byte;

	sigaction(SIGUSR1, &action, NULL);
	CHECK_OK(pipe(fds));
	atomic_store(&enough, false);
	CHECK_EQ(pthread_create(&thread, NULL, kicks, &self), 0);
	for (int i = 0; i < 60; i++)
		CHECK_ERR(read(fds[0], &byte, 1), EINTR);
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	busy_loops();
	ends_spinners();
	nothing_is_lost();
	calls_are_restarted();
	CHECK_CHILD(no_wakeup_is_missed);
	return check_done();
}
