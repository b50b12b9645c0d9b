// SPDX-License-Identifier: Apache-2.0
// Does clone share exactly what its flags say, write the thread ids, and refuse senseless flags?
#include "check.h"
#include <linux/futex.h>

static char stack[65536] __attribute__((aligned(16)));
static volatile int value;
static int shared_fd;

static int set_value(void *argument)
{
	value = (int)(long)argument;
	return 0;
}

static void vm_is_shared(void)
{
	value = 0;
	pid_t pid = CHECK_OK(clone(set_value, stack + sizeof(stack), CLONE_VM | SIGCHLD, (void *)12));
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(value, 12);
	value = 0;
	pid = CHECK_OK(clone(set_value, stack + sizeof(stack), SIGCHLD, (void *)13));
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(value, 0);
}

static int close_shared(void *argument)
{
	(void)argument;
	return close(shared_fd) == 0 ? 0 : 1;
}

static void files_are_shared(void)
{
	shared_fd = CHECK_OK(open("/", O_RDONLY));
	pid_t pid = CHECK_OK(clone(close_shared, stack + sizeof(stack), CLONE_FILES | SIGCHLD, NULL));
	CHECK_EQ(check_wait(pid), 0);
	CHECK_ERR(fcntl(shared_fd, F_GETFD), EBADF);
}

static int change_directory(void *argument)
{
	umask(0123);
	return chdir(argument) == 0 ? 0 : 1;
}

static void fs_is_shared(void)
{
	char where[PATH_MAX];

	umask(022);
	pid_t pid = CHECK_OK(clone(change_directory, stack + sizeof(stack), CLONE_FS | SIGCHLD, "/proc"));
	CHECK_EQ(check_wait(pid), 0);
	CHECK_STR(getcwd(where, sizeof(where)), "/proc");
	CHECK_EQ(umask(022), 0123);
	pid = CHECK_OK(clone(change_directory, stack + sizeof(stack), SIGCHLD, "/"));
	CHECK_EQ(check_wait(pid), 0);
	CHECK_STR(getcwd(where, sizeof(where)), "/proc");
	CHECK_OK(chdir("/"));
}

static void handler(int signal) { (void)signal; }

static int set_handler(void *argument)
{
	(void)argument;
	return signal(SIGUSR2, handler) == SIG_ERR;
}

static void handlers_are_shared(void)
{
	struct sigaction action;

	signal(SIGUSR2, SIG_DFL);
	pid_t pid = CHECK_OK(clone(set_handler, stack + sizeof(stack), CLONE_VM | CLONE_SIGHAND | SIGCHLD, NULL));
	CHECK_EQ(check_wait(pid), 0);
	CHECK_OK(sigaction(SIGUSR2, NULL, &action));
	CHECK(action.sa_handler == handler);
	signal(SIGUSR2, SIG_DFL);
}

static pid_t parent_tid, child_tid;

static int report_tid(void *argument)
{
	(void)argument;
	check_sleep_ms(20);
	return child_tid == syscall(SYS_gettid) ? 0 : 1;
}

static void tids_are_written(void)
{
	pid_t cleared = 0;
	int flags = CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;

	parent_tid = child_tid = 0;
	pid_t pid = CHECK_OK(clone(report_tid, stack + sizeof(stack), flags, NULL, &parent_tid, NULL, &child_tid));
	CHECK_EQ(parent_tid, pid);
	// The exit clears the word and wakes its futex.
	while ((cleared = *(volatile pid_t *)&child_tid) != 0)
		syscall(SYS_futex, &child_tid, FUTEX_WAIT, cleared, NULL, NULL, 0);
	CHECK_EQ(check_wait(pid), 0);
}

static volatile int got_signal;

static void count_signal(int signal) { got_signal = signal; }

static void exit_signal_is_delivered(void)
{
	signal(SIGUSR1, count_signal);
	pid_t pid = CHECK_OK(clone(set_value, stack + sizeof(stack), SIGUSR1, (void *)1));
	CHECK_ERR(waitpid(pid, NULL, 0), ECHILD); // a clone child needs __WCLONE or __WALL
	CHECK_EQ(waitpid(pid, NULL, __WCLONE), pid);
	CHECK_EQ(got_signal, SIGUSR1);
	got_signal = 0;
	pid = CHECK_OK(clone(set_value, stack + sizeof(stack), 0, (void *)1));
	CHECK_EQ(waitpid(pid, NULL, __WALL), pid);
	CHECK_EQ(got_signal, 0);
	signal(SIGUSR1, SIG_DFL);
}

static int parent_is(void *argument) { return getppid() == (pid_t)(long)argument ? 0 : 1; }

static void clone_parent_makes_a_sibling(void)
{
	pid_t self = getpid();
	pid_t pid = fork();

	if (pid == 0) {
		pid_t sibling = clone(parent_is, stack + sizeof(stack), CLONE_PARENT | SIGCHLD, (void *)(long)self);
		CHECK(sibling > 0);
		CHECK_ERR(waitpid(sibling, NULL, 0), ECHILD);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	int status = -1;
	CHECK(waitpid(-1, &status, 0) > 0);
	CHECK_EQ(status, 0);
}

static void senseless_flags_are_refused(void)
{
	CHECK_ERR(syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0), EINVAL);
	CHECK_ERR(syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0), EINVAL);
	CHECK_ERR(syscall(SYS_clone, CLONE_THREAD | CLONE_VM | SIGCHLD, 0, 0, 0, 0), EINVAL);
	CHECK_ERR(syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0), EINVAL);
}

int main(void)
{
	vm_is_shared();
	files_are_shared();
	fs_is_shared();
	handlers_are_shared();
	tids_are_written();
	exit_signal_is_delivered();
	clone_parent_makes_a_sibling();
	senseless_flags_are_refused();
	return check_done();
}
