// SPDX-License-Identifier: Apache-2.0
// Times single operations of a kernel from inside: one line "NAME NANOSECONDS" for each.
//
//     micro [--divide N] [NAME...]   the measures named, or all; N: that many times fewer operations
//     micro time [-n COUNT] COMMAND ARGS
//                                    how long a command runs, "time NANOSECONDS" on standard error for each of COUNT runs,
//                                    the last run's status as its own
//
// Each measure runs a fixed number of times in five batches; the median batch counts, so that a host's hiccup does not.
#define _GNU_SOURCE
#include "micro.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 5

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void die(const char *what)
{
	perror(what);
	exit(1);
}

const char *micro_directory(void)
{
	const char *directory = getenv("BENCH_DIRECTORY");

	return directory && *directory ? directory : ".";
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void measure(const struct measure *m, long divide)
{
	long count = m->count / divide + 1;
	double batches[BATCHES];

	if (m->start)
		m->start();
	m->run(count / 10 + 1); // warm
	for (int i = 0; i < BATCHES; i++) {
		int64_t start = now_ns();
		m->run(count);
		batches[i] = (double)(now_ns() - start) / (double)count;
	}
	if (m->stop)
		m->stop();
	qsort(batches, BATCHES, sizeof(batches[0]), compare);
	printf("%s %.1f\n", m->name, batches[BATCHES / 2]);
	fflush(stdout);
}

static int time_once(char **argv)
{
	int64_t start = now_ns();
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("fork");
	fprintf(stderr, "time %lld\n", (long long)(now_ns() - start));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int time_command(int argc, char **argv)
{
	int first = 2, status = 2;
	long count = 1;

	if (argc > 4 && strcmp(argv[2], "-n") == 0) {
		count = atol(argv[3]);
		first = 4;
	}
	while (count-- > 0)
		status = time_once(argv + first);
	return status;
}

static int wanted(const char *name, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return 1;
	return argc == 0;
}

int main(int argc, char **argv)
{
	const struct measures *tables[] = { &calls_measures, &exchange_measures, &files_measures, &memory_measures,
					    &process_measures };
	int first = 1;
	long divide = 1;

	if (argc > 2 && strcmp(argv[1], "time") == 0)
		return time_command(argc, argv);
	if (argc > 2 && strcmp(argv[1], "--divide") == 0) {
		divide = atol(argv[2]) > 0 ? atol(argv[2]) : 1;
		first = 3;
	}
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (size_t i = 0; i < tables[t]->count; i++)
			if (wanted(tables[t]->list[i].name, argc - first, argv + first))
				measure(&tables[t]->list[i], divide);
	return 0;
}
