// SPDX-License-Identifier: Apache-2.0
// Does exec from any thread end all the others, whatever they do, and go on under the process's own identity?
#include "check.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>

#define THREADS 24
#define CHAIN   6

static char *self;
static atomic_int running;
static uint32_t futex_word;
static int fds[2];

static void *busy(void *argument)
{
	char byte;

	atomic_fetch_add(&running, 1);
	for (long n = (long)argument;;) {
		struct pollfd p = { .fd = fds[0], .events = POLLIN };
		switch (n % 8) {
		case 0: (void)!read(fds[0], &byte, 1); break;
		case 1: syscall(SYS_futex, &futex_word, FUTEX_WAIT, 0, NULL, NULL, 0); break;
		case 2: pause(); break;
		case 3: poll(&p, 1, -1); break;
		case 4: sleep(1000); break;
		case 5:
			for (volatile int i = 0; i < 1000; i++)
				;
			break;
		case 6: {
			void *m = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			*(volatile char *)m = 1;
			munmap(m, 65536);
			break;
		}
		case 7: {
			pid_t pid = fork();
			if (pid == 0)
				_exit(0);
			check_wait(pid);
			break;
		}
		}
	}
	return NULL;
}

static void *executes(void *argument)
{
	int left = *(int *)argument;
	char pid[20], text[20], pipe_text[20];
	char *argv[] = { self, pid, text, pipe_text, NULL }, *envp[] = { "KEPT=yes", NULL };

	WAIT_UNTIL(atomic_load(&running) == THREADS);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(text, sizeof(text), "%d", left - 1);
	snprintf(pipe_text, sizeof(pipe_text), "%d", fds[1]);
	if (left % 2) // must change nothing
		CHECK_ERR(execve("/nonexistent", argv, envp), ENOENT);
	execve(self, argv, envp);
	CHECK(!"exec failed");
	return NULL;
}

static void threads_and_exec(int left)
{
	pthread_t thread;

	CHECK_OK(pipe2(fds, O_CLOEXEC));
	for (long i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread, NULL, busy, (void *)i), 0);
	if (left % 3 == 0)
		executes(&left); // the first thread itself
	CHECK_EQ(pthread_create(&thread, NULL, executes, &left), 0);
	for (;;)
		pause();
}

static int after(char **argv)
{
	int left = atoi(argv[2]);
	char *line = strstr(check_read_file("/proc/self/status"), "Threads:");

	CHECK_EQ(getpid(), atoi(argv[1]));
	CHECK_EQ(syscall(SYS_gettid), getpid());
	CHECK_STR(getenv("KEPT"), "yes");
	CHECK(line && atoi(line + 8) == 1);
	CHECK_ERR(fcntl(atoi(argv[3]), F_GETFD), EBADF); // close-on-exec: nobody else had it
	if (check_done())
		return 1;
	if (left > 0)
		threads_and_exec(left);
	return 44;
}

int main(int argc, char **argv)
{
	static char path[200];

	CHECK(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
	self = path;
	if (argc > 3)
		return after(argv);
	pid_t pid = fork();
	if (pid == 0)
		threads_and_exec(CHAIN);
	CHECK_EQ(check_wait(pid), 44 << 8);
	return check_done();
}
