// SPDX-License-Identifier: Apache-2.0
// Times single operations of a kernel from inside: one line "NAME NANOSECONDS" for each.
//
//     micro [NAME...]           the measures named, or all
//     micro time COMMAND ARGS   how long a command runs, "time NANOSECONDS" on standard error, its status as its own
//
// Each measure runs a fixed number of times in five batches; the median batch counts, so that a host's hiccup does not.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void getppids(long count)
{
	for (long i = 0; i < count; i++)
		syscall(SYS_getppid);
}

// One byte to another process and back: two writes, two reads, two switches.
static int there[2], back[2];
static pid_t partner;

static void pipe_start(void)
{
	if (pipe(there) < 0 || pipe(back) < 0)
		die("pipe");
	partner = fork();
	if (partner == 0) {
		char byte;
		close(there[1]);
		while (read(there[0], &byte, 1) == 1)
			if (write(back[1], &byte, 1) != 1)
				_exit(1);
		_exit(0);
	}
	close(there[0]);
}

static void pipe_rounds(long count)
{
	char byte = 'x';

	for (long i = 0; i < count; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			die("pipe");
}

static void pipe_stop(void)
{
	close(there[1]);
	waitpid(partner, NULL, 0);
	close(back[0]);
	close(back[1]);
}

// Two threads hand a turn to each other.
static uint32_t turn;
static pthread_t thread;

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
	pthread_create(&thread, NULL, futex_partner, NULL);
	for (long i = 0; i < count; i++)
		futex_hand_over(0, 1);
	pthread_join(thread, NULL);
}

static void forks(long count)
{
	for (long i = 0; i < count; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			die("fork");
	}
}

static void fork_execs(long count)
{
	char *argv[] = { "/bin/true", NULL }, *envp[] = { NULL };

	for (long i = 0; i < count; i++) {
		pid_t pid = fork();
		int status;
		if (pid == 0) {
			execve(argv[0], argv, envp);
			_exit(127);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			die("fork and exec");
	}
}

static void faults(long count)
{
	size_t size = count * 4096ul;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	madvise(memory, size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < size; i += 4096)
		*(volatile char *)(memory + i) = 1;
	munmap(memory, size);
}

static void stats(long count)
{
	struct stat st;

	for (long i = 0; i < count; i++)
		if (stat("/usr/bin/bash", &st) < 0)
			die("stat");
}

static int file = -1;

static void pread_start(void)
{
	char block[4096];

	file = open("/usr/bin/bash", O_RDONLY);
	if (file < 0 || pread(file, block, 4096, 0) != 4096)
		die("/usr/bin/bash");
}

static void preads(long count)
{
	char block[4096];

	for (long i = 0; i < count; i++)
		if (pread(file, block, 4096, 0) != 4096)
			die("pread");
}

static void pread_stop(void) { close(file); }

struct measure {
	const char *name;
	long count; // operations in a batch
	void (*run)(long count);
	void (*start)(void);
	void (*stop)(void);
};

static const struct measure measures[] = {
	{ "getppid", 200000, getppids, NULL, NULL }, { "pipe", 4000, pipe_rounds, pipe_start, pipe_stop },
	{ "futex", 4000, futex_rounds, NULL, NULL }, { "fork", 100, forks, NULL, NULL },
	{ "fork_exec", 20, fork_execs, NULL, NULL }, { "fault", 4000, faults, NULL, NULL },
	{ "stat", 20000, stats, NULL, NULL },        { "pread", 40000, preads, pread_start, pread_stop },
};

static void measure(const struct measure *m)
{
	double batches[BATCHES];

	if (m->start)
		m->start();
	m->run(m->count / 10 + 1); // warm
	for (int i = 0; i < BATCHES; i++) {
		int64_t start = now_ns();
		m->run(m->count);
		batches[i] = (double)(now_ns() - start) / (double)m->count;
	}
	if (m->stop)
		m->stop();
	qsort(batches, BATCHES, sizeof(batches[0]), compare);
	printf("%s %.1f\n", m->name, batches[BATCHES / 2]);
	fflush(stdout);
}

static int time_command(char **argv)
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

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "time") == 0)
		return time_command(argv + 2);
	for (size_t i = 0; i < sizeof(measures) / sizeof(measures[0]); i++) {
		int wanted = argc == 1;
		for (int n = 1; n < argc; n++)
			wanted |= strcmp(argv[n], measures[i].name) == 0;
		if (wanted)
			measure(&measures[i]);
	}
	return 0;
}
