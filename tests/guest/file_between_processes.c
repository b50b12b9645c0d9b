// SPDX-License-Identifier: Apache-2.0
// Programs that share nothing but a file's name: are mappings, writes, ends of file and locks one for all?
#include "check.h"
#include <setjmp.h>
#include <sys/file.h>

#define WORKERS 6
#define LINES   60

static char *self;

static pid_t start(const char *what, int number)
{
	char text[20], *argv[] = { self, (char *)what, text, NULL };

	snprintf(text, sizeof(text), "%d", number);
	pid_t pid = fork();
	if (pid == 0) {
		execv(self, argv);
		_exit(99);
	}
	return pid;
}

static void in_programs(const char *what)
{
	pid_t pids[WORKERS];

	for (int i = 0; i < WORKERS; i++)
		pids[i] = start(what, i);
	for (int i = 0; i < WORKERS; i++)
		CHECK_EQ(check_wait(pids[i]), 0);
}

// ---- appending ----

static void append(int number)
{
	int fd = CHECK_OK(open("log", O_WRONLY | O_APPEND));
	char line[80];

	for (int i = 0; i < LINES; i++) {
		int size = snprintf(line, sizeof(line), "%d:%d %.*s\n", number, i, i % 40,
				    "........................................");
		CHECK_EQ(write(fd, line, size), size);
	}
	close(fd);
}

static void appended_by_many(void)
{
	int next[WORKERS] = { 0 }, lines = 0, number, index, length;

	check_write_file("log", "");
	in_programs("append");
	for (char *line = strtok(check_read_file("log"), "\n"); line; line = strtok(NULL, "\n"), lines++) {
		if (!CHECK(sscanf(line, "%d:%d %n", &number, &index, &length) == 2 && number >= 0 && number < WORKERS))
			return;
		CHECK_EQ(index, next[number]++);
		CHECK_EQ(strlen(line + length), index % 40);
	}
	CHECK_EQ(lines, WORKERS * LINES);
}

// ---- locks ----

static void count_up(const char *name, int by_flock)
{
	for (int i = 0; i < 25; i++) {
		int fd = CHECK_OK(open(name, O_RDWR));
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1 };
		long value = 0;

		CHECK_OK(by_flock ? flock(fd, LOCK_EX) : fcntl(fd, F_SETLKW, &lock));
		CHECK_EQ(pread(fd, &value, sizeof(value), 0), sizeof(value));
		value++;
		if (i % 8 == 0)
			usleep(100);
		CHECK_EQ(pwrite(fd, &value, sizeof(value), 0), sizeof(value));
		close(fd); // gives the lock up
	}
}

static void counted_by_many(const char *what)
{
	long value = 0;
	int fd = CHECK_OK(open(what, O_RDWR | O_CREAT | O_TRUNC, 0600));

	CHECK_EQ(write(fd, &value, sizeof(value)), sizeof(value));
	in_programs(what);
	CHECK_EQ(pread(fd, &value, sizeof(value), 0), sizeof(value));
	CHECK_EQ(value, WORKERS * 25);
	close(fd);
}

static void hold(void)
{
	int fd = CHECK_OK(open("held", O_RDWR)), other = CHECK_OK(open("held2", O_RDWR));
	struct flock lock = { .l_type = F_WRLCK };

	CHECK_OK(fcntl(fd, F_SETLK, &lock));
	CHECK_OK(flock(other, LOCK_EX));
	check_write_file("holding", "");
	for (;;)
		pause();
}

// Locks of a program that is killed are free; one that waits for them gets them.
static void locks_of_the_killed(void)
{
	struct flock lock = { .l_type = F_WRLCK };

	check_write_file("held", "x");
	check_write_file("held2", "x");
	pid_t holder = start("hold", 0);
	WAIT_UNTIL(access("holding", F_OK) == 0);
	int fd = CHECK_OK(open("held", O_RDWR)), other = CHECK_OK(open("held2", O_RDWR));
	CHECK(fcntl(fd, F_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES));
	CHECK_OK(fcntl(fd, F_GETLK, &lock));
	CHECK_EQ(lock.l_pid, holder);
	CHECK_ERR(flock(other, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	pid_t killer = fork();
	if (killer == 0) {
		check_sleep_ms(20);
		kill(holder, SIGKILL);
		_exit(0);
	}
	lock = (struct flock){ .l_type = F_WRLCK };
	CHECK_OK(fcntl(fd, F_SETLKW, &lock));
	CHECK_OK(flock(other, LOCK_EX));
	check_wait(killer);
	check_wait(holder);
	close(fd);
	close(other);
}

// ---- mappings ----

static sigjmp_buf escape;

static void caught(int signal CHECK_UNUSED) { siglongjmp(escape, 1); }

static bool faults(volatile char *p)
{
	if (sigsetjmp(escape, 1) == 0) {
		(void)*p;
		return false;
	}
	return true;
}

// Words at the file's start are the two programs' conversation.
static void answer(void)
{
	int fd = CHECK_OK(open("talk", O_RDWR));
	char *p = mmap(NULL, 4 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), byte = 0;
	char *own = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 2 * CHECK_PAGE);
	atomic_int *turn = (atomic_int *)p;

	own[0] = 'o';
	atomic_store(turn, 1);
	WAIT_UNTIL(atomic_load(turn) == 2);
	CHECK_EQ(p[CHECK_PAGE], 'w');
	CHECK_EQ(own[0], 'o');
	CHECK_EQ(p[2 * CHECK_PAGE], 'W');
	CHECK_EQ(pread(fd, &byte, 1, 3 * CHECK_PAGE), 1);
	CHECK_EQ(byte, 'm');
	CHECK_EQ(pwrite(fd, "answer", 6, 3 * CHECK_PAGE + 10), 6);
	atomic_store(turn, 3);
	WAIT_UNTIL(atomic_load(turn) == 4); // cut to one page
	CHECK(faults(p + CHECK_PAGE));
	CHECK(faults(p + 3 * CHECK_PAGE));
	CHECK_EQ(lseek(fd, 0, SEEK_END), CHECK_PAGE);
	atomic_store(turn, 5);
	WAIT_UNTIL(atomic_load(turn) == 6); // grown again
	CHECK(!faults(p + 3 * CHECK_PAGE));
	CHECK_EQ(p[3 * CHECK_PAGE + 10], 0);
	strcpy(p + CHECK_PAGE, "last words");
}

static void conversation(void)
{
	int fd = CHECK_OK(open("talk", O_RDWR | O_CREAT | O_TRUNC, 0600));

	CHECK_OK(ftruncate(fd, 4 * CHECK_PAGE));
	char *p = mmap(NULL, 4 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), text[11] = "";
	atomic_int *turn = (atomic_int *)p;
	pid_t pid = start("answer", 0);
	WAIT_UNTIL(atomic_load(turn) == 1);
	CHECK_EQ(pwrite(fd, "w", 1, CHECK_PAGE), 1);
	CHECK_EQ(pwrite(fd, "W", 1, 2 * CHECK_PAGE), 1);
	p[3 * CHECK_PAGE] = 'm';
	atomic_store(turn, 2);
	WAIT_UNTIL(atomic_load(turn) == 3);
	CHECK(memcmp(p + 3 * CHECK_PAGE + 10, "answer", 6) == 0);
	CHECK_OK(ftruncate(fd, CHECK_PAGE));
	atomic_store(turn, 4);
	WAIT_UNTIL(atomic_load(turn) == 5);
	CHECK(faults(p + CHECK_PAGE));
	CHECK_OK(ftruncate(fd, 4 * CHECK_PAGE));
	atomic_store(turn, 6);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(pread(fd, text, 10, CHECK_PAGE), 10);
	CHECK_STR(text, "last words");
	munmap(p, 4 * CHECK_PAGE);
	close(fd);
}

int main(int argc, char **argv)
{
	static char path[200];

	signal(SIGBUS, caught);
	if (argc > 2) {
		if (strcmp(argv[1], "append") == 0)
			append(atoi(argv[2]));
		else if (strcmp(argv[1], "flock") == 0 || strcmp(argv[1], "fcntl") == 0)
			count_up(argv[1], argv[1][1] == 'l');
		else if (strcmp(argv[1], "hold") == 0)
			hold();
		else if (strcmp(argv[1], "answer") == 0)
			answer();
		return check_done();
	}
	CHECK(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
	self = path;
	check_tmpdir();
	appended_by_many();
	counted_by_many("flock");
	counted_by_many("fcntl");
	locks_of_the_killed();
	conversation();
	return check_done();
}
