// SPDX-License-Identifier: Apache-2.0
// The broker as a process: one thread a channel, the first of which is the process's own, and one for watches.
//
// Rights are given up before the threads are made, since they are a thread's own; system calls after, since making threads is
// not among those that stay. Nobody serves before both is done.
#include "broker/broker.h"

#include "abi/hosted.h"
#include "base/descriptors.h"
#include "broker/confine.h"
#include "broker/request.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STACK_BYTES       (192u << 10)
#define DESCRIPTORS_FIRST 4096u // room from the start; there may be more

struct server {
	struct broker broker;
	pthread_barrier_t made, confined;
};

struct channel_thread {
	struct server *server;
	int channel;
	pthread_t thread;
};

static void gates_pass(struct server *s)
{
	pthread_barrier_wait(&s->made);
	pthread_barrier_wait(&s->confined);
}

static void *channel_thread(void *context)
{
	struct channel_thread *t = context;

	gates_pass(t->server);
	channel_serve(&t->server->broker, t->channel);
	return NULL;
}

static void *watch_thread(void *context)
{
	struct server *s = context;

	gates_pass(s);
	watches_run(&s->broker);
	return NULL;
}

static _Noreturn void die(const struct err *e)
{
	fprintf(stderr, "%s\n", e->text);
	_exit(e->exit_status);
}

static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

// Everything but standard error and what was handed over.
static void close_others(const struct broker_spec *spec)
{
	int keep[3 + HOSTED_CHANNELS_MAX + BROKER_TREES_MAX];
	unsigned count = 0, next = 0;

	keep[count++] = STDERR_FILENO;
	if (spec->events >= 0)
		keep[count++] = spec->events;
	if (spec->enclosure)
		keep[count++] = spec->enclosure;
	for (unsigned i = 0; i < spec->channel_count; i++)
		keep[count++] = spec->channels[i];
	for (unsigned i = 0; i < spec->root_count; i++)
		keep[count++] = spec->roots[i].fd;
	qsort(keep, count, sizeof(*keep), compare);
	for (unsigned i = 0; i < count; i++) {
		if ((unsigned)keep[i] > next)
			close_range(next, (unsigned)keep[i] - 1, 0);
		next = (unsigned)keep[i] + 1;
	}
	close_range(next, UINT_MAX, 0);
}

static bool threads_start(struct server *s, struct channel_thread *channels, unsigned count, struct err *e)
{
	pthread_attr_t attributes;
	pthread_t watch;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	error = pthread_barrier_init(&s->made, NULL, count + 1) | pthread_barrier_init(&s->confined, NULL, count + 1);
	for (unsigned i = 1; !error && i < count; i++)
		error = pthread_create(&channels[i].thread, &attributes, channel_thread, &channels[i]);
	if (!error)
		error = pthread_create(&watch, &attributes, watch_thread, s);
	pthread_attr_destroy(&attributes);
	return !error || err_set(e, EXIT_RESOURCES, "cannot start the broker's threads: %s", strerror(error));
}

static bool spec_check(const struct broker_spec *spec, struct err *e)
{
	if (!spec->channel_count || spec->channel_count > HOSTED_CHANNELS_MAX || spec->root_count > BROKER_TREES_MAX)
		return err_set(e, EXIT_USAGE, "a broker has 1 to %u channels and at most %u grants",
			       HOSTED_CHANNELS_MAX, BROKER_TREES_MAX);
	return true;
}

_Noreturn void broker_main(const struct broker_spec *spec)
{
	struct channel_thread channels[HOSTED_CHANNELS_MAX];
	struct server *s = calloc(1, sizeof(*s));
	struct err e = { .exit_status = EXIT_RESOURCES, .text = "the broker is out of memory" };

	signal(SIGPIPE, SIG_IGN);
	if (!s || !spec_check(spec, &e))
		die(&e);
	close_others(spec);
	for (unsigned i = 0; i < spec->channel_count; i++)
		channels[i] = (struct channel_thread){ .server = s, .channel = spec->channels[i] };
	if (!confine_rights(&e) || !broker_init(&s->broker, spec, &e))
		die(&e);
	descriptors_widen(STDERR_FILENO, DESCRIPTORS_FIRST);
	mallopt(M_ARENA_MAX, 1); // a thread's own arena grows by a page at a time, with a call each
	if (!threads_start(s, channels, spec->channel_count, &e))
		die(&e);
	pthread_barrier_wait(&s->made);
	if (!confine_calls(&e))
		die(&e);
	pthread_barrier_wait(&s->confined);
	channel_serve(&s->broker, spec->channels[0]);
	for (unsigned i = 1; i < spec->channel_count; i++)
		pthread_join(channels[i].thread, NULL);
	_exit(0);
}
