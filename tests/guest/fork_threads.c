// SPDX-License-Identifier: Apache-2.0
// Does fork in a process with many threads give a whole process: one thread, a consistent copy, everything usable?
#include "check.h"
#include <dirent.h>
#include <pthread.h>
#include <spawn.h>

#define THREADS 12

static atomic_bool stop;
static atomic_int running;

// Keeps allocating, mapping and writing while others fork.
static void *disturbs(void *argument)
{
	long n = (long)argument;

	atomic_fetch_add(&running, 1);
	while (!atomic_load(&stop)) {
		char *p = mmap(NULL, 4 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (!CHECK(p != MAP_FAILED))
			break;
		memset(p, n++, 4 * CHECK_PAGE);
		mprotect(p, CHECK_PAGE, PROT_READ);
		munmap(p, 4 * CHECK_PAGE);
		char *q = malloc(100 + n % 3000);
		q[0] = 1;
		free(q);
	}
	return NULL;
}

// Two words that are always equal when seen by one instruction, and never differ by more than one step otherwise.
static volatile uint64_t first_word, second_word;

static void *counts(void *argument CHECK_UNUSED)
{
	atomic_fetch_add(&running, 1);
	while (!atomic_load(&stop)) {
		first_word++;
		second_word++;
	}
	return NULL;
}

static int entries(const char *path)
{
	DIR *directory = opendir(path);
	int count = 0;

	if (!directory)
		return -1;
	while (readdir(directory))
		count++;
	closedir(directory);
	return count - 2;
}

static void *adds_one(void *argument)
{
	atomic_fetch_add((atomic_int *)argument, 1);
	return NULL;
}

static void in_child(pid_t parent)
{
	pthread_t thread;
	atomic_int made = 0;
	uint64_t a = first_word, b = second_word;

	CHECK(a == b || a == b + 1);
	check_sleep_ms(1);
	CHECK(first_word == a && second_word == b); // its counter thread is not here
	CHECK_EQ(getppid(), parent);
	CHECK_EQ(syscall(SYS_gettid), getpid());
	CHECK_EQ(entries("/proc/self/task"), 1);
	void *p = malloc(100000);
	CHECK(p);
	free(p);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(pthread_create(&thread, NULL, adds_one, &made), 0);
		CHECK_EQ(pthread_join(thread, NULL), 0);
	}
	CHECK_EQ(atomic_load(&made), 3);
	check_child_exit();
}

static void fork_and_check(int depth)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0) {
		if (depth > 0)
			fork_and_check(depth - 1);
		in_child(parent);
	}
	if (CHECK(pid > 0))
		CHECK_EQ(check_wait(pid), 0);
}

static void *forks(void *argument CHECK_UNUSED)
{
	for (int i = 0; i < 6; i++)
		fork_and_check(i % 3 == 0);
	return NULL;
}

extern char **environ;

static void *spawns(void *argument)
{
	char *argv[] = { argument, "spawned", NULL };
	pid_t pid;

	for (int i = 0; i < 6; i++) {
		CHECK_EQ(posix_spawn(&pid, argument, NULL, NULL, argv, environ), 0);
		CHECK_EQ(check_wait(pid), 33 << 8);
		CHECK_EQ(posix_spawn(&pid, "/nonexistent/program", NULL, NULL, argv, environ), ENOENT);
	}
	return NULL;
}

// Forks while other threads' writes are under way are copies of one moment for memory nobody writes.
static void copies_what_is_quiet(void)
{
	size_t size = 256 * CHECK_PAGE;
	uint32_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int round = 0; round < 8; round++) {
		for (size_t i = 0; i < size / 4; i++)
			p[i] = i * 7 + round;
		pid_t pid = fork();
		if (pid == 0) {
			int wrong = 0;
			for (size_t i = 0; i < size / 4; i++)
				wrong += p[i] != i * 7 + round;
			CHECK_EQ(wrong, 0);
			check_child_exit();
		}
		memset(p, 0, size); // at once
		CHECK_EQ(check_wait(pid), 0);
	}
	munmap(p, size);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS], counter, workers[3];

	if (argc > 1 && strcmp(argv[1], "spawned") == 0)
		return 33;
	for (long i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, disturbs, (void *)i), 0);
	CHECK_EQ(pthread_create(&counter, NULL, counts, NULL), 0);
	WAIT_UNTIL(atomic_load(&running) == THREADS + 1);
	fork_and_check(2);
	CHECK_EQ(pthread_create(&workers[0], NULL, forks, NULL), 0);
	CHECK_EQ(pthread_create(&workers[1], NULL, forks, NULL), 0);
	CHECK_EQ(pthread_create(&workers[2], NULL, spawns, argv[0]), 0);
	copies_what_is_quiet();
	for (int i = 0; i < 3; i++)
		pthread_join(workers[i], NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(counter, NULL);
	return check_done();
}
