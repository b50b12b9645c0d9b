// SPDX-License-Identifier: Apache-2.0
// Calls that do little and wait for nobody: what entering and leaving the kernel costs.
#define _GNU_SOURCE
#include "micro.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIPES 10

static void getppids(long count)
{
	for (long i = 0; i < count; i++)
		syscall(SYS_getppid);
}

static int fds[2 * PIPES];

static void file_start(void)
{
	fds[0] = open("/usr/bin/bash", O_RDONLY);
	if (fds[0] < 0)
		die("/usr/bin/bash");
}

static void one_stop(void) { close(fds[0]); }

static void lseeks(long count)
{
	for (long i = 0; i < count; i++)
		if (lseek(fds[0], i, SEEK_SET) != i)
			die("lseek");
}

static void pipe_start(void)
{
	if (pipe(fds) < 0)
		die("pipe");
}

static void pipe_stop(void)
{
	close(fds[0]);
	close(fds[1]);
}

// A byte written and read by the same thread.
static void pipe_selves(long count)
{
	char byte = 'x';

	for (long i = 0; i < count; i++)
		if (write(fds[1], &byte, 1) != 1 || read(fds[0], &byte, 1) != 1)
			die("pipe");
}

static void eventfd_start(void)
{
	fds[0] = eventfd(0, 0);
	if (fds[0] < 0)
		die("eventfd");
}

static void eventfds(long count)
{
	uint64_t value = 1;

	for (long i = 0; i < count; i++)
		if (write(fds[0], &value, 8) != 8 || read(fds[0], &value, 8) != 8)
			die("eventfd");
}

static struct pollfd polled[PIPES];

static void poll_start(void)
{
	for (int i = 0; i < PIPES; i++) {
		if (pipe(fds + 2 * i) < 0 || write(fds[2 * i + 1], "x", 1) != 1)
			die("pipe");
		polled[i] = (struct pollfd){ .fd = fds[2 * i], .events = POLLIN };
	}
}

static void polls(long count)
{
	for (long i = 0; i < count; i++)
		if (poll(polled, PIPES, -1) != PIPES)
			die("poll");
}

static void poll_stop(void)
{
	for (int i = 0; i < 2 * PIPES; i++)
		close(fds[i]);
}

// Nobody waits for the word.
static void futex_wakes(long count)
{
	static uint32_t word;

	for (long i = 0; i < count; i++)
		if (syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) != 0)
			die("futex");
}

static const struct measure list[] = {
	{ "getppid", 200000, getppids, NULL, NULL },
	{ "lseek", 200000, lseeks, file_start, one_stop },
	{ "pipe_self", 100000, pipe_selves, pipe_start, pipe_stop },
	{ "eventfd", 100000, eventfds, eventfd_start, one_stop },
	{ "poll10", 50000, polls, poll_start, poll_stop },
	{ "futex_wake", 200000, futex_wakes, NULL, NULL },
};
const struct measures calls_measures = { list, sizeof(list) / sizeof(list[0]) };
