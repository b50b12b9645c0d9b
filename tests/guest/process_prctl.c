// SPDX-License-Identifier: Apache-2.0
// Do prctl, personality and arch_prctl keep names, death signals, dumpability and segment bases?
#include "check.h"
#include <pthread.h>
#include <asm/prctl.h>
#include <sys/prctl.h>

static void names(void)
{
	char name[20] = "xxxxxxxxxxxxxxxxxxx", line[64];

	CHECK_OK(prctl(PR_SET_NAME, "0123456789abcdefgh"));
	CHECK_OK(prctl(PR_GET_NAME, name));
	CHECK_STR(name, "0123456789abcde");
	snprintf(line, sizeof(line), "%s", check_read_file("/proc/self/comm"));
	CHECK_STR(line, "0123456789abcde\n");
	check_write_file("/proc/self/comm", "written");
	CHECK_OK(prctl(PR_GET_NAME, name));
	CHECK_STR(name, "written");
	CHECK_ERR(prctl(PR_SET_NAME, 8), EFAULT);
}

static void death_signal(void)
{
	int fds[2];
	char byte;

	CHECK_OK(pipe(fds));
	pid_t middle = fork();
	if (middle == 0) {
		int ready[2];
		if (pipe(ready) < 0)
			_exit(1);
		if (fork() == 0) {
			CHECK_OK(prctl(PR_SET_PDEATHSIG, SIGKILL));
			int value = 0;
			CHECK_OK(prctl(PR_GET_PDEATHSIG, &value));
			CHECK_EQ(value, SIGKILL);
			CHECK_EQ(write(ready[1], "r", 1), 1);
			for (;;)
				pause();
		}
		CHECK_EQ(read(ready[0], &byte, 1), 1);
		check_child_exit();
	}
	close(fds[1]);
	CHECK_EQ(check_wait(middle), 0);
	CHECK_EQ(read(fds[0], &byte, 1), 0); // the grandchild is gone too
	close(fds[0]);
	CHECK_ERR(prctl(PR_SET_PDEATHSIG, 65), EINVAL);
}

static int told[2];
static pid_t of_main, of_thread;

static pid_t child_that_tells(char byte)
{
	int ready[2];
	char go;

	CHECK_OK(pipe(ready));
	pid_t pid = fork();
	if (pid == 0) {
		sigset_t set;
		int signal;
		sigemptyset(&set);
		sigaddset(&set, SIGUSR1);
		sigprocmask(SIG_BLOCK, &set, NULL);
		CHECK_OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
		CHECK_EQ(write(ready[1], "r", 1), 1);
		sigwait(&set, &signal);
		CHECK_EQ(write(told[1], &byte, 1), 1);
		_exit(0);
	}
	CHECK_EQ(read(ready[0], &go, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void *thread_with_child(void *argument)
{
	(void)argument;
	of_thread = child_that_tells('t');
	return NULL;
}

// Whose parent thread ends hears of it, though the process goes on.
static void death_of_a_thread(void)
{
	pthread_t thread;
	char byte = 0;

	CHECK_OK(pipe(told));
	of_main = child_that_tells('m');
	pthread_create(&thread, NULL, thread_with_child, NULL);
	pthread_join(thread, NULL);
	CHECK_EQ(read(told[0], &byte, 1), 1);
	CHECK_EQ(byte, 't');
	CHECK_EQ(check_wait(of_thread), 0);
	CHECK_EQ(waitpid(of_main, NULL, WNOHANG), 0);
	kill(of_main, SIGUSR1);
	CHECK_EQ(check_wait(of_main), 0);
	close(told[0]);
	close(told[1]);
}

static void others(void)
{
	CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
	CHECK_OK(prctl(PR_SET_DUMPABLE, 0));
	CHECK_EQ(prctl(PR_GET_DUMPABLE), 0);
	CHECK_OK(prctl(PR_SET_DUMPABLE, 1));
	CHECK_ERR(prctl(PR_SET_DUMPABLE, 7), EINVAL);
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	CHECK_ERR(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
	CHECK_EQ(prctl(PR_GET_KEEPCAPS), 0);
	CHECK_OK(prctl(PR_SET_KEEPCAPS, 1));
	CHECK_EQ(prctl(PR_GET_KEEPCAPS), 1);
	CHECK_OK(prctl(PR_SET_TIMERSLACK, 70000));
	CHECK_EQ(prctl(PR_GET_TIMERSLACK), 70000);
	int reaper = -1;
	CHECK_OK(prctl(PR_GET_CHILD_SUBREAPER, &reaper));
	CHECK_EQ(reaper, 0);
	CHECK_ERR(prctl(12345), EINVAL);
}

static void segment_bases(void)
{
	unsigned long fs = 0, gs = 0, old_gs = 0, read_back = 0;
	static long there[2] = { 0x1234567, 0x89abcd };

	CHECK_OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
	CHECK(fs != 0);
	CHECK_OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &old_gs));
	CHECK_OK(syscall(SYS_arch_prctl, ARCH_SET_GS, there));
	CHECK_OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
	CHECK_EQ(gs, (uintptr_t)there);
	asm volatile("movq %%gs:8, %0" : "=r"(read_back));
	CHECK_EQ(read_back, 0x89abcd);
	sched_yield();
	check_sleep_ms(5);
	asm volatile("movq %%gs:0, %0" : "=r"(read_back));
	CHECK_EQ(read_back, 0x1234567);
	pid_t pid = fork();
	if (pid == 0) {
		asm volatile("movq %%gs:8, %0" : "=r"(read_back));
		_exit(read_back == 0x89abcd ? 0 : 1);
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_OK(syscall(SYS_arch_prctl, ARCH_SET_GS, old_gs));
	CHECK_ERR(syscall(SYS_arch_prctl, ARCH_SET_FS, 0xffff800000000000ul), EPERM);
	CHECK_ERR(syscall(SYS_arch_prctl, 0x7777, 0), EINVAL);
	CHECK_EQ(syscall(SYS_personality, 0xffffffffu), 0);
}

int main(void)
{
	CHECK_CHILD(names);
	CHECK_CHILD(death_signal);
	CHECK_CHILD(death_of_a_thread);
	CHECK_CHILD(others);
	CHECK_CHILD(segment_bases);
	return check_done();
}
