// SPDX-License-Identifier: Apache-2.0
// What does execve keep, and what does it reset?
#include "check.h"
#include <sys/prctl.h>
#include <sys/time.h>

static char self[PATH_MAX];

static void handler(int signal) { (void)signal; }

// The name of a task is at first its program's file name.
static const char *program_name(void)
{
	static char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	path[length > 0 ? length : 0] = 0;
	return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

static int after_exec(char **argv)
{
	struct sigaction action;
	sigset_t set;
	stack_t stack;
	char name[17] = "", cwd[PATH_MAX];

	CHECK_EQ(getpid(), atoi(argv[2]));
	CHECK_EQ(syscall(SYS_gettid), getpid());
	CHECK_OK(fcntl(atoi(argv[3]), F_GETFD));
	CHECK_ERR(fcntl(atoi(argv[4]), F_GETFD), EBADF);
	sigaction(SIGUSR1, NULL, &action);
	CHECK(action.sa_handler == SIG_DFL);
	sigaction(SIGUSR2, NULL, &action);
	CHECK(action.sa_handler == SIG_IGN);
	sigprocmask(SIG_BLOCK, NULL, &set);
	CHECK(sigismember(&set, SIGHUP));
	sigpending(&set);
	CHECK(sigismember(&set, SIGHUP));
	CHECK(alarm(0) > 50);
	CHECK_STR(getcwd(cwd, sizeof(cwd)), "/proc");
	CHECK_EQ(umask(0), 0135);
	prctl(PR_GET_NAME, name);
	CHECK(strncmp(name, "exec_state", 10) == 0 || strncmp(name, program_name(), 15) == 0);
	CHECK_OK(sigaltstack(NULL, &stack));
	CHECK(stack.ss_flags & SS_DISABLE);
	int death = -1;
	CHECK_OK(prctl(PR_GET_PDEATHSIG, &death));
	CHECK_EQ(death, SIGUSR2);
	return check_done();
}

static void replace(void)
{
	char pid[20], kept[20], closed[20];
	char *argv[] = { "self", "after", pid, kept, closed, NULL }, *envp[] = { NULL };
	static char alternate[16384];
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	sigset_t set;

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(kept, sizeof(kept), "%d", open("/", O_RDONLY));
	snprintf(closed, sizeof(closed), "%d", open("/", O_RDONLY | O_CLOEXEC));
	signal(SIGUSR1, handler);
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGHUP);
	alarm(100);
	sigaltstack(&stack, NULL);
	prctl(PR_SET_NAME, "renamed");
	prctl(PR_SET_PDEATHSIG, SIGUSR2);
	umask(0135);
	if (chdir("/proc") < 0)
		_exit(97);
	execve(self, argv, envp);
	_exit(99);
}

static atomic_int threads_started;
static int alive_pipe[2];

static void *spin_or_sleep(void *argument)
{
	atomic_fetch_add(&threads_started, 1);
	if (argument)
		for (;;)
			pause();
	char byte;
	if (read(alive_pipe[0], &byte, 1) < 0)
		return NULL;
	return NULL;
}

static void *exec_from_thread(void *argument)
{
	char pid[20];
	char *argv[] = { "self", "pid", pid, NULL }, *envp[] = { NULL };

	(void)argument;
	while (atomic_load(&threads_started) < 3)
		usleep(1000);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	execve(self, argv, envp);
	_exit(99);
}

// Any thread may exec: the others die and it takes the leader's pid.
static void threads(void)
{
	pthread_t thread;

	CHECK_OK(pipe(alive_pipe));
	for (long i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&thread, NULL, spin_or_sleep, (void *)i), 0);
	CHECK_EQ(pthread_create(&thread, NULL, exec_from_thread, NULL), 0);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "after") == 0)
		return after_exec(argv);
	if (argc > 1 && strcmp(argv[1], "pid") == 0)
		return getpid() == atoi(argv[2]) && syscall(SYS_gettid) == getpid() ? 44 : 45;
	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	pid_t pid = fork();
	if (pid == 0)
		replace();
	CHECK_EQ(check_wait(pid), 0);
	pid = fork();
	if (pid == 0)
		threads();
	CHECK_EQ(check_wait(pid), 44 << 8);
	return check_done();
}
