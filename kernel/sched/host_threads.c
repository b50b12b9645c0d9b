// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

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
