// SPDX-License-Identifier: Apache-2.0
// What every guest test shares: checks that name their line, and a few helpers.
//
// A guest test is a plain Linux program. It exits 0 when every check held, 1 when one failed, 77 when it cannot
// run here (with one line "SKIP: why"). A failed check prints one line and the test goes on.
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK_PAGE   4096ul
#define CHECK_UNUSED __attribute__((unused))

static atomic_int check_failed;
static char check_dir[64];
static pid_t check_dir_owner;

__attribute__((format(printf, 3, 4))) CHECK_UNUSED static void check_fail(const char *file, int line,
									  const char *format, ...)
{
	char text[600];
	int used = snprintf(text, sizeof(text), "%s:%d: ", file, line);
	va_list arguments;

	va_start(arguments, format);
	used += vsnprintf(text + used, sizeof(text) - used - 1, format, arguments);
	va_end(arguments);
	if (used > (int)sizeof(text) - 2)
		used = sizeof(text) - 2;
	text[used++] = '\n';
	// One write a line, so that lines of several processes do not mix.
	if (write(STDERR_FILENO, text, used) < 0)
		abort();
	atomic_store(&check_failed, 1);
}

// The condition holds.
#define CHECK(condition)                                                                    \
	({                                                                                  \
		bool check_held = (condition);                                              \
		if (!check_held)                                                            \
			check_fail(__FILE__, __LINE__, "%s (errno %d)", #condition, errno); \
		check_held;                                                                 \
	})

// Both integers are equal; prints what they were.
#define CHECK_EQ(actual, expected)                                                                               \
	({                                                                                                       \
		long long check_a = (long long)(actual), check_b = (long long)(expected);                        \
		if (check_a != check_b)                                                                          \
			check_fail(__FILE__, __LINE__, "%s is %lld, expected %s = %lld (errno %d: %s)", #actual, \
				   check_a, #expected, check_b, errno, strerror(errno));                         \
		check_a == check_b;                                                                              \
	})

// The call did not return -1; its value is the macro's value.
#define CHECK_OK(call)                                                                           \
	({                                                                                       \
		long check_r = (long)(call);                                                     \
		if (check_r == -1)                                                               \
			check_fail(__FILE__, __LINE__, "%s failed: %s", #call, strerror(errno)); \
		check_r;                                                                         \
	})

// The call returned -1 with this errno.
#define CHECK_ERR(call, expected)                                                                                  \
	({                                                                                                         \
		errno = 0;                                                                                         \
		long check_r = (long)(call);                                                                       \
		int check_e = errno;                                                                               \
		if (check_r != -1)                                                                                 \
			check_fail(__FILE__, __LINE__, "%s returned %ld, expected %s", #call, check_r, #expected); \
		else if (check_e != (expected))                                                                    \
			check_fail(__FILE__, __LINE__, "%s: errno %d (%s), expected %s", #call, check_e,           \
				   strerror(check_e), #expected);                                                  \
		check_r == -1 && check_e == (expected);                                                            \
	})

#define CHECK_STR(actual, expected)                                                                      \
	({                                                                                               \
		const char *check_a = (actual), *check_b = (expected);                                   \
		bool check_same = check_a && strcmp(check_a, check_b) == 0;                              \
		if (!check_same)                                                                         \
			check_fail(__FILE__, __LINE__, "%s is \"%.200s\", expected \"%.200s\"", #actual, \
				   check_a ? check_a : "(null)", check_b);                               \
		check_same;                                                                              \
	})

// Waits (up to 20 s) until the condition holds.
#define WAIT_UNTIL(condition)                                \
	({                                                   \
		int check_tries = 0;                         \
		while (!(condition) && check_tries++ < 4000) \
			usleep(5000);                        \
		CHECK(condition);                            \
	})

#define CHECK_SKIP(why)                    \
	do {                               \
		printf("SKIP: %s\n", why); \
		exit(77);                  \
	} while (0)

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

CHECK_UNUSED static int check_done(void) { return atomic_load(&check_failed) ? 1 : 0; }

// Ends a child of a test: 0 when its checks held.
CHECK_UNUSED __attribute__((noreturn)) static void check_child_exit(void) { _exit(check_done()); }

// Runs the function in a child process and returns the child's wait status.
CHECK_UNUSED static int check_in_child(void (*function)(void))
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		atomic_store(&check_failed, 0);
		function();
		check_child_exit();
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

// The function's checks hold in a child process.
#define CHECK_CHILD(function) CHECK_EQ(check_in_child(function), 0)

CHECK_UNUSED static int check_wait(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}

CHECK_UNUSED static int64_t check_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

// Sleeps the whole time, signals or not.
CHECK_UNUSED static void check_sleep_ms(int ms)
{
	struct timespec left = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

// Memory that children share with their parent.
CHECK_UNUSED static void *check_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		check_fail(__FILE__, __LINE__, "mmap shared: %s", strerror(errno));
		exit(1);
	}
	return memory;
}

CHECK_UNUSED static int check_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path), 0;
}

CHECK_UNUSED static void check_remove_dir(void)
{
	if (getpid() == check_dir_owner && chdir("/") == 0)
		nftw(check_dir, check_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

// Changes into a fresh directory under $TMPDIR or /tmp that is removed when the test ends.
CHECK_UNUSED static void check_tmpdir(void)
{
	const char *base = getenv("TMPDIR");

	snprintf(check_dir, sizeof(check_dir), "%.40s/guest.XXXXXX", base && *base ? base : "/tmp");
	if (!mkdtemp(check_dir) || chdir(check_dir) < 0 || chmod(check_dir, 0777) < 0) {
		check_fail(__FILE__, __LINE__, "cannot make %s: %s", check_dir, strerror(errno));
		exit(1);
	}
	check_dir_owner = getpid();
	atexit(check_remove_dir);
}

// Makes a file with this content.
CHECK_UNUSED static void check_write_file(const char *path, const char *content)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, content, strlen(content)) != (ssize_t)strlen(content)) {
		check_fail(__FILE__, __LINE__, "cannot write %s: %s", path, strerror(errno));
		exit(1);
	}
	close(fd);
}

// Reads a whole small file; the text is valid until the next call. Empty when it cannot be read.
CHECK_UNUSED static char *check_read_file(const char *path)
{
	static char text[262144];
	size_t used = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		check_fail(__FILE__, __LINE__, "cannot open %s: %s", path, strerror(errno));
		text[0] = 0;
		return text;
	}
	while (used < sizeof(text) - 1 && (got = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += got;
	close(fd);
	text[used] = 0;
	return text;
}

// The state letter of a task in /proc/PID/stat, 0 when there is none.
CHECK_UNUSED static char check_task_state(pid_t pid)
{
	char path[64], text[512] = "", *end;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	end = strrchr(text, ')');
	return end ? end[2] : 0;
}
