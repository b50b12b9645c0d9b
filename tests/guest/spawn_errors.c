// SPDX-License-Identifier: Apache-2.0
// Do posix_spawn, vfork and CLONE_VM processes report errors and leave their parent as it was?
#include "check.h"
#include <sched.h>
#include <spawn.h>

extern char **environ;
static char *self;

static int spawn(const char *path, posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, const char *what,
		 int *status)
{
	char *argv[] = { (char *)path, (char *)what, NULL };
	pid_t pid;
	int error = posix_spawn(&pid, path, actions, attributes, argv, environ);

	if (!error)
		*status = check_wait(pid);
	return error;
}

static void errors(void)
{
	posix_spawn_file_actions_t actions;
	int status;

	check_write_file("text", "no program\n");
	CHECK_EQ(spawn("./text", NULL, NULL, "x", &status), EACCES);
	CHECK_OK(chmod("text", 0755));
	CHECK_EQ(spawn("./text", NULL, NULL, "x", &status), ENOEXEC);
	CHECK_EQ(spawn("./absent", NULL, NULL, "x", &status), ENOENT);
	CHECK_EQ(spawn("./text/below", NULL, NULL, "x", &status), ENOTDIR);
	CHECK_EQ(spawn(".", NULL, NULL, "x", &status), EACCES);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 5, "absent", O_RDONLY, 0);
	CHECK_EQ(spawn(self, &actions, NULL, "seven", &status), ENOENT);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, 900, 901);
	CHECK_EQ(spawn(self, &actions, NULL, "seven", &status), EBADF);
	posix_spawn_file_actions_destroy(&actions);
	CHECK_EQ(spawn(self, NULL, NULL, "seven", &status), 0);
	CHECK_EQ(status, 7 << 8);
	CHECK_ERR(waitpid(-1, NULL, 0), ECHILD); // failed spawns leave no zombies
}

static void what_the_child_gets(void)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t set;
	int status, fds[2];
	char byte;

	CHECK_OK(pipe2(fds, O_CLOEXEC));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 77);
	posix_spawn_file_actions_addclose(&actions, 0);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attributes, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	posix_spawnattr_setsigmask(&attributes, &set);
	sigaddset(&set, SIGUSR1);
	posix_spawnattr_setsigdefault(&attributes, &set);
	signal(SIGUSR1, SIG_IGN);
	CHECK_EQ(spawn(self, &actions, &attributes, "look", &status), 0);
	CHECK_EQ(status, 0);
	CHECK_EQ(read(fds[0], &byte, 1), 1);
	CHECK_EQ(byte, 'k');
	close(fds[0]);
	close(fds[1]);
	CHECK(signal(SIGUSR1, SIG_DFL) == SIG_IGN); // ours is as it was
	CHECK_ERR(fcntl(77, F_GETFD), EBADF);
	CHECK_OK(fcntl(0, F_GETFD));
	sigprocmask(SIG_BLOCK, NULL, &set);
	CHECK_EQ(sigismember(&set, SIGUSR2), 0);
}

static int look(void)
{
	struct sigaction action;
	sigset_t set;

	CHECK_EQ(getpgrp(), getpid());
	sigprocmask(SIG_BLOCK, NULL, &set);
	CHECK_EQ(sigismember(&set, SIGUSR2), 1);
	sigaction(SIGUSR1, NULL, &action);
	CHECK(action.sa_handler == SIG_DFL);
	CHECK_ERR(fcntl(0, F_GETFD), EBADF);
	CHECK_EQ(write(77, "k", 1), 1);
	return check_done();
}

static volatile int caught_signals;
static void caught(int signal CHECK_UNUSED) { caught_signals++; }

// A signal to the suspended parent waits for the child; the child's descriptors are its own.
static void vfork_child_apart(void)
{
	volatile int seen = -1;
	int fds[2];

	CHECK_OK(pipe(fds));
	signal(SIGUSR1, caught);
	caught_signals = 0;
	pid_t parent = getpid(), pid = vfork();
	if (pid == 0) {
		kill(parent, SIGUSR1);
		struct timespec t = { 0, 20 * 1000000 };
		nanosleep(&t, NULL);
		seen = caught_signals;
		close(fds[0]);
		close(fds[1]);
		_exit(4);
	}
	CHECK_EQ(seen, 0);
	CHECK_EQ(check_wait(pid), 4 << 8);
	CHECK_EQ(caught_signals, 1);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	close(fds[0]);
	close(fds[1]);
}

static void vfork_once(bool executes)
{
	char *argv[] = { self, "seven", NULL };
	pid_t pid = vfork();

	if (pid == 0) {
		execve("/nonexistent/one", argv, environ);
		execve("/", argv, environ);
		if (executes)
			execve(self, argv, environ);
		_exit(7);
	}
	CHECK_EQ(check_wait(pid), 7 << 8);
}

static atomic_int shared_word;
static char child_stack[65536] __attribute__((aligned(16)));

static int beside(void *argument CHECK_UNUSED)
{
	atomic_store(&shared_word, getpid());
	int fd = open("/", O_RDONLY); // a table of its own
	while (atomic_load(&shared_word) != 1)
		usleep(1000);
	return fd >= 0 ? 11 : 12;
}

// A process that shares memory and nothing else, and runs beside its parent.
static void memory_shared_process(void)
{
	for (int round = 0; round < 5; round++) {
		atomic_store(&shared_word, 0);
		pid_t pid = clone(beside, child_stack + sizeof(child_stack), CLONE_VM | SIGCHLD, NULL);
		if (!CHECK(pid > 0))
			return;
		WAIT_UNTIL(atomic_load(&shared_word) != 0);
		CHECK_EQ(atomic_load(&shared_word), pid);
		CHECK(pid != getpid());
		// What one maps the other sees.
		char *p = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		p[0] = 1;
		atomic_store(&shared_word, 1);
		CHECK_EQ(check_wait(pid), 11 << 8);
		munmap(p, CHECK_PAGE);
	}
}

static int replaces_itself(void *argument)
{
	char *argv[] = { argument, "seven", NULL };

	execve(argument, argv, environ);
	return 99;
}

static int ends_by_fault(void *argument CHECK_UNUSED)
{
	raise(SIGKILL);
	return 0;
}

// exec and death of one that shares our memory leave it to us.
static void memory_shared_process_goes(void)
{
	volatile int value = 5;
	pid_t pid = clone(replaces_itself, child_stack + sizeof(child_stack), CLONE_VM | SIGCHLD, self);

	CHECK_EQ(check_wait(pid), 7 << 8);
	CHECK_EQ(value, 5);
	pid = clone(ends_by_fault, child_stack + sizeof(child_stack), CLONE_VM | SIGCHLD, NULL);
	int status = check_wait(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	CHECK_EQ(value, 5);
}

int main(int argc, char **argv)
{
	static char path[200];

	if (argc > 1 && strcmp(argv[1], "seven") == 0)
		return 7;
	if (argc > 1 && strcmp(argv[1], "look") == 0)
		return look();
	CHECK(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
	self = path;
	check_tmpdir();
	errors();
	what_the_child_gets();
	vfork_child_apart();
	for (int i = 0; i < 20; i++)
		vfork_once(i % 2);
	memory_shared_process();
	memory_shared_process_goes();
	return check_done();
}
