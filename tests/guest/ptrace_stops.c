// SPDX-License-Identifier: Apache-2.0
// Does a tracer see its tracee's stops: signals, system calls, exec, fork, exit, single steps; and can it look into it and let go?
#include "check.h"
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif

static volatile long word = 0x1122334455667788;

static int next_stop(pid_t pid)
{
	int status = -1;

	CHECK_EQ(waitpid(pid, &status, __WALL), pid);
	return status;
}

// A child that is traced and has stopped itself once.
static pid_t traced_child(void (*body)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(90);
		raise(SIGSTOP);
		body();
		_exit(0);
	}
	int status = next_stop(pid);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	return pid;
}

static void one_call(void)
{
	word = syscall(SYS_getppid);
	_exit(word == 4711 ? 3 : 4);
}

// Stops at entry and exit of a call; the tracer changes its result.
static void system_calls(void)
{
	pid_t pid = traced_child(one_call);
	struct user_regs_struct regs;
	int status, seen = 0;

	CHECK_OK(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD));
	for (;;) {
		CHECK_OK(ptrace(PTRACE_SYSCALL, pid, NULL, NULL));
		status = next_stop(pid);
		if (!WIFSTOPPED(status))
			break;
		CHECK_EQ(WSTOPSIG(status), SIGTRAP | 0x80);
		CHECK_OK(ptrace(PTRACE_GETREGS, pid, NULL, &regs));
		if (regs.orig_rax != SYS_getppid)
			continue;
		if (seen++ == 0) {
			CHECK_EQ((long)regs.rax, -ENOSYS); // not yet made
			continue;
		}
		CHECK_EQ(regs.rax, getpid());
		regs.rax = 4711;
		CHECK_OK(ptrace(PTRACE_SETREGS, pid, NULL, &regs));
	}
	CHECK_EQ(seen, 2);
	CHECK_EQ(status, 3 << 8);
}

static void wait_for_signal(void)
{
	for (;;)
		pause();
}

static void memory_and_signals(void)
{
	pid_t pid = traced_child(wait_for_signal);
	siginfo_t info;
	struct user_regs_struct regs;
	struct iovec vector = { &regs, sizeof(regs) };

	errno = 0;
	CHECK_EQ(ptrace(PTRACE_PEEKDATA, pid, &word, NULL), 0x1122334455667788);
	CHECK_OK(ptrace(PTRACE_POKEDATA, pid, &word, (void *)77L));
	CHECK_EQ(ptrace(PTRACE_PEEKDATA, pid, &word, NULL), 77);
	CHECK_EQ(word, 0x1122334455667788); // ours is another
	CHECK_ERR(ptrace(PTRACE_POKEDATA, pid, 8, 0), EIO);
	CHECK_OK(ptrace(PTRACE_GETREGSET, pid, (void *)1, &vector));
	CHECK_EQ(vector.iov_len, sizeof(regs));
	CHECK_OK(ptrace(PTRACE_GETSIGINFO, pid, NULL, &info));
	CHECK_EQ(info.si_signo, SIGSTOP);
	CHECK_OK(ptrace(PTRACE_CONT, pid, NULL, NULL));
	kill(pid, SIGUSR1); // would end it: the tracer swallows it
	int status = next_stop(pid);
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR1);
	CHECK_OK(ptrace(PTRACE_CONT, pid, NULL, NULL));
	CHECK_ERR(ptrace(PTRACE_GETREGS, pid, NULL, &regs), ESRCH); // it runs
	kill(pid, SIGUSR2);
	next_stop(pid);
	CHECK_OK(ptrace(PTRACE_CONT, pid, NULL, (void *)(long)SIGTERM)); // another one instead
	status = next_stop(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void some_instructions(void)
{
	asm volatile("nop; nop; nop; nop");
	_exit(5);
}

static void single_steps(void)
{
	pid_t pid = traced_child(some_instructions);
	struct user_regs_struct a, b;
	int moved = 0;

	for (int i = 0; i < 20; i++) {
		CHECK_OK(ptrace(PTRACE_GETREGS, pid, NULL, &a));
		CHECK_OK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL));
		int status = next_stop(pid);
		CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
		CHECK_OK(ptrace(PTRACE_GETREGS, pid, NULL, &b));
		moved += a.rip != b.rip;
	}
	CHECK(moved > 10);
	CHECK_OK(ptrace(PTRACE_DETACH, pid, NULL, NULL));
	CHECK_EQ(check_wait(pid), 5 << 8);
}

static void forks_and_execs(void)
{
	pid_t inner = fork();

	if (inner == 0)
		_exit(6);
	check_wait(inner);
	execl("/proc/self/exe", "self", "exec-child", NULL);
	_exit(9);
}

static void events(void)
{
	pid_t pid = traced_child(forks_and_execs);
	unsigned long message = 0;

	CHECK_OK(ptrace(PTRACE_SETOPTIONS, pid, NULL,
			(void *)(PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT)));
	CHECK_OK(ptrace(PTRACE_CONT, pid, NULL, NULL));
	int status = next_stop(pid);
	CHECK_EQ(status >> 8, SIGTRAP | PTRACE_EVENT_FORK << 8);
	CHECK_OK(ptrace(PTRACE_GETEVENTMSG, pid, NULL, &message));
	pid_t inner = (pid_t)message;
	status = next_stop(inner); // attached by itself
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	CHECK_OK(ptrace(PTRACE_DETACH, inner, NULL, NULL));
	CHECK_OK(ptrace(PTRACE_CONT, pid, NULL, NULL));
	int execs = 0, exits = 0;
	for (;;) {
		status = next_stop(pid);
		if (!WIFSTOPPED(status))
			break;
		execs += status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8);
		exits += status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8);
		int signal = status >> 16 ? 0 : WSTOPSIG(status);
		CHECK_OK(ptrace(PTRACE_CONT, pid, NULL, (void *)(long)signal));
	}
	CHECK_EQ(execs, 1);
	CHECK_EQ(exits, 1);
	CHECK_EQ(status, 7 << 8);
}

static void seizing(void)
{
	pid_t pid = fork();

	if (pid == 0)
		wait_for_signal();
	CHECK_OK(ptrace(PTRACE_SEIZE, pid, NULL, NULL));
	CHECK_ERR(ptrace(PTRACE_SEIZE, pid, NULL, NULL), EPERM);
	CHECK_OK(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL));
	int status = next_stop(pid);
	CHECK_EQ(status >> 8, SIGTRAP | PTRACE_EVENT_STOP << 8);
	CHECK_OK(ptrace(PTRACE_CONT, pid, NULL, NULL));
	kill(pid, SIGSTOP);
	status = next_stop(pid); // the signal
	CHECK_EQ(status >> 8, SIGSTOP);
	CHECK_OK(ptrace(PTRACE_CONT, pid, NULL, (void *)(long)SIGSTOP));
	status = next_stop(pid); // the group stop
	CHECK_EQ(status >> 8, SIGSTOP | PTRACE_EVENT_STOP << 8);
	CHECK_OK(ptrace(PTRACE_DETACH, pid, NULL, NULL));
	kill(pid, SIGCONT);
	kill(pid, SIGKILL);
	status = check_wait(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void refusals(void)
{
	CHECK_ERR(ptrace(PTRACE_ATTACH, getpid(), NULL, NULL), EPERM);
	CHECK_ERR(ptrace(PTRACE_CONT, getppid(), NULL, NULL), ESRCH);
	CHECK_ERR(ptrace(PTRACE_ATTACH, 1 << 22, NULL, NULL), ESRCH);
}

// The tracees of a tracer that ends go on, or end with it when that was asked for.
static void the_tracer_ends(void)
{
	int fds[2];
	char byte;

	CHECK_OK(pipe(fds));
	pid_t tracer = fork();
	if (tracer == 0) {
		pid_t pid = fork();
		if (pid == 0)
			wait_for_signal();
		CHECK_OK(ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_EXITKILL));
		check_child_exit();
	}
	close(fds[1]);
	CHECK_EQ(read(fds[0], &byte, 1), 0); // all that held the other end are gone
	CHECK_EQ(check_wait(tracer), 0);
	close(fds[0]);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exec-child") == 0)
		return 7;
	pid_t probe = fork();
	if (probe == 0)
		_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0);
	if (check_wait(probe) != 0)
		CHECK_SKIP("no ptrace here");
	CHECK_CHILD(system_calls);
	CHECK_CHILD(memory_and_signals);
	CHECK_CHILD(single_steps);
	CHECK_CHILD(events);
	CHECK_CHILD(seizing);
	CHECK_CHILD(refusals);
	CHECK_CHILD(the_tracer_ends);
	return check_done();
}
