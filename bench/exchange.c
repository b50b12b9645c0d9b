// SPDX-License-Identifier: Apache-2.0
// Two tasks that wait for each other in turn: what a switch between them costs.
#define _GNU_SOURCE
#include "micro.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// One byte to another task and back: two writes, two reads, two switches. Ours: [0] reads, [1] writes.
static int ours[2], theirs[2];
static pid_t partner;
static pthread_t thread;

static void echo(void)
{
	char byte;

	while (read(theirs[0], &byte, 1) == 1)
		if (write(theirs[1], &byte, 1) != 1)
			die("echo");
}

static void exchanges(long count)
{
	char byte = 'x';

	for (long i = 0; i < count; i++)
		if (write(ours[1], &byte, 1) != 1 || read(ours[0], &byte, 1) != 1)
			die("exchange");
}

static void make_pipes(void)
{
	int there[2], back[2];

	if (pipe(there) < 0 || pipe(back) < 0)
		die("pipe");
	theirs[0] = there[0], ours[1] = there[1];
	ours[0] = back[0], theirs[1] = back[1];
}

static void process_start(void)
{
	make_pipes();
	partner = fork();
	if (partner < 0)
		die("fork");
	if (partner == 0) {
		close(ours[1]);
		echo();
		_exit(0);
	}
	close(theirs[0]);
	close(theirs[1]);
}

static void process_stop(void)
{
	close(ours[1]);
	waitpid(partner, NULL, 0);
	close(ours[0]);
}

static void *echo_thread(void *argument)
{
	(void)argument;
	echo();
	return NULL;
}

static void thread_start(void)
{
	if (pthread_create(&thread, NULL, echo_thread, NULL))
		die("pthread_create");
}

static void pipe_thread_start(void)
{
	make_pipes();
	thread_start();
}

static void pipe_thread_stop(void)
{
	close(ours[1]);
	pthread_join(thread, NULL);
	close(ours[0]);
	close(theirs[0]);
	close(theirs[1]);
}

static void unix_start(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		die("socketpair");
	ours[0] = ours[1] = pair[0];
	theirs[0] = theirs[1] = pair[1];
	thread_start();
}

static void unix_stop(void)
{
	shutdown(ours[0], SHUT_WR);
	pthread_join(thread, NULL);
	close(ours[0]);
	close(theirs[0]);
}

// Two threads hand a turn to each other.
static uint32_t turn;

static void futex_hand_over(uint32_t mine, uint32_t next)
{
	while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != mine)
		syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, next, NULL, NULL, 0);
	__atomic_store_n(&turn, next, __ATOMIC_RELEASE);
	syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static long futex_partner_rounds;

static void *futex_partner(void *argument)
{
	(void)argument;
	for (long i = 0; i < futex_partner_rounds; i++)
		futex_hand_over(1, 0);
	return NULL;
}

static void futex_rounds(long count)
{
	futex_partner_rounds = count;
	turn = 0;
	if (pthread_create(&thread, NULL, futex_partner, NULL))
		die("pthread_create");
	for (long i = 0; i < count; i++)
		futex_hand_over(0, 1);
	pthread_join(thread, NULL);
}

static const struct measure list[] = {
	{ "pipe", 4000, exchanges, process_start, process_stop },
	{ "pipe_threads", 4000, exchanges, pipe_thread_start, pipe_thread_stop },
	{ "unix", 4000, exchanges, unix_start, unix_stop },
	{ "futex", 4000, futex_rounds, NULL, NULL },
};
const struct measures exchange_measures = { list, sizeof(list) / sizeof(list[0]) };
