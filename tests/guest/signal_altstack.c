// SPDX-License-Identifier: Apache-2.0
// Does SA_ONSTACK run a handler on the alternate stack, even after the ordinary one has overflowed?
#include "check.h"
#include <setjmp.h>
#include <sys/resource.h>

static char area[65536];
static volatile uintptr_t where;
static volatile int flags_inside, change_errno;
static sigjmp_buf escape;

static void look(int signal)
{
	stack_t stack;
	int local;

	(void)signal;
	where = (uintptr_t)&local;
	sigaltstack(NULL, &stack);
	flags_inside = stack.ss_flags;
	stack_t other = { .ss_sp = area, .ss_size = 32768 };
	change_errno = sigaltstack(&other, NULL) < 0 ? errno : 0;
}

static bool on_area(void) { return where >= (uintptr_t)area && where < (uintptr_t)area + sizeof(area); }

static void overflowed(int signal, siginfo_t *info, void *context)
{
	int local;

	(void)signal, (void)context, (void)info;
	where = (uintptr_t)&local;
	siglongjmp(escape, 1);
}

static int __attribute__((noinline)) recurse(volatile char *above)
{
	volatile char frame[4096];

	frame[0] = above ? above[0] : 1;
	return frame[0] == 2 ? 0 : recurse(frame) + frame[0];
}

int main(void)
{
	struct sigaction action = { .sa_handler = look, .sa_flags = SA_ONSTACK };
	stack_t stack = { .ss_sp = area, .ss_size = sizeof(area) }, old;

	CHECK_OK(sigaltstack(NULL, &old));
	CHECK_EQ(old.ss_flags, SS_DISABLE);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	CHECK(!on_area());

	CHECK_OK(sigaltstack(&stack, NULL));
	CHECK_OK(sigaltstack(NULL, &old));
	CHECK(old.ss_sp == area && old.ss_size == sizeof(area) && old.ss_flags == 0);
	raise(SIGUSR1);
	CHECK(on_area());
	CHECK_EQ(flags_inside, SS_ONSTACK);
	CHECK_EQ(change_errno, EPERM); // not while it is in use

	action.sa_flags = 0;
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	CHECK(!on_area());

	stack.ss_size = 100;
	CHECK_ERR(sigaltstack(&stack, NULL), ENOMEM);
	stack.ss_size = sizeof(area);
	stack.ss_flags = 0x40;
	CHECK_ERR(sigaltstack(&stack, NULL), EINVAL);
	CHECK_ERR(sigaltstack((void *)8, NULL), EFAULT);

	// SS_AUTODISARM: the handler may set another one.
	stack.ss_flags = (int)(1u << 31);
	action.sa_flags = SA_ONSTACK;
	sigaction(SIGUSR1, &action, NULL);
	CHECK_OK(sigaltstack(&stack, NULL));
	raise(SIGUSR1);
	CHECK(on_area());
	CHECK_EQ(flags_inside, SS_DISABLE);
	CHECK_EQ(change_errno, 0);
	stack.ss_flags = 0;
	CHECK_OK(sigaltstack(&stack, NULL));

	// The stack overflows: only the alternate one can take the signal.
	struct rlimit limit;
	getrlimit(RLIMIT_STACK, &limit);
	limit.rlim_cur = 1 << 20;
	setrlimit(RLIMIT_STACK, &limit);
	struct sigaction catch = { .sa_sigaction = overflowed, .sa_flags = SA_ONSTACK | SA_SIGINFO };
	sigaction(SIGSEGV, &catch, NULL);
	if (sigsetjmp(escape, 1) == 0)
		recurse(NULL);
	CHECK(on_area());

	// Without one, it ends the process.
	pid_t pid = fork();
	if (pid == 0) {
		stack.ss_flags = SS_DISABLE;
		sigaltstack(&stack, NULL);
		recurse(NULL);
	}
	int status = check_wait(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);

	// A fork inherits the alternate stack.
	pid = fork();
	if (pid == 0) {
		sigaltstack(NULL, &old);
		_exit(old.ss_sp == area ? 0 : 1);
	}
	CHECK_EQ(check_wait(pid), 0);
	return check_done();
}
