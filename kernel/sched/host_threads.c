// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#define sigset_t libc_sigset_t // as sched_libc.h has it
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "host_threads.h"

struct host_thread {
	pthread_t thread;
	void (*fn)(void *);
	void *arg;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void *run(void *arg)
{
	struct host_thread *t = arg;

	t->fn(t->arg);
	return NULL;
}

struct host_thread *host_thread_start(void (*fn)(void *), void *arg)
{
	struct host_thread *t = malloc(sizeof(*t));

	t->fn = fn;
	t->arg = arg;
	if (pthread_create(&t->thread, NULL, run, t))
		abort();
	return t;
}

void host_thread_join(struct host_thread *t)
{
	pthread_join(t->thread, NULL);
	free(t);
}

void host_sleep_while(uint32_t *state, uint32_t seen)
{
	pthread_mutex_lock(&mutex);
	while (__atomic_load_n(state, __ATOMIC_SEQ_CST) == seen)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
}

void host_wake_all(void)
{
	pthread_mutex_lock(&mutex);
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

void host_yield(void) { sched_yield(); }
void host_sleep_ms(unsigned ms) { usleep(ms * 1000); }

void host_futex_wait(uint32_t *word, uint32_t seen, uint64_t deadline_ns)
{
	struct timespec t = { (time_t)(deadline_ns / 1000000000), (long)(deadline_ns % 1000000000) };

	syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, deadline_ns == UINT64_MAX ? NULL : &t, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

void host_futex_wake(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, 1); }

static void kicked(int signal) { (void)signal; }

struct host_self *host_thread_self(void)
{
	struct sigaction a = { .sa_handler = kicked };

	sigaction(SIGURG, &a, NULL);
	return (struct host_self *)pthread_self();
}

void host_kick(struct host_self *s) { pthread_kill((pthread_t)s, SIGURG); }

void host_wait_kicked(const uint32_t *work)
{
	sigset_t kick, before;

	sigemptyset(&kick);
	sigaddset(&kick, SIGURG);
	pthread_sigmask(SIG_BLOCK, &kick, &before);
	while (!__atomic_load_n(work, __ATOMIC_SEQ_CST))
		sigsuspend(&before);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
