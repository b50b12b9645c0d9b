// SPDX-License-Identifier: Apache-2.0
// Do seccomp's strict mode and filters refuse, trap, trace and kill, are they inherited, and are bad programs refused?
#include "check.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#define OFFSET(field) ((uint32_t)offsetof(struct seccomp_data, field))

static long seccomp(unsigned operation, unsigned flags, void *arguments)
{
	return syscall(SYS_seccomp, operation, flags, arguments);
}

static long attach(struct sock_filter *program, unsigned count, unsigned flags)
{
	struct sock_fprog p = { .len = count, .filter = program };

	return seccomp(SECCOMP_SET_MODE_FILTER, flags, &p);
}

// Everything is allowed but `nr`, which has `action`.
static long attach_for(int nr, uint32_t action, unsigned flags)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, OFFSET(arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, OFFSET(nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	return attach(program, 7, flags);
}

static void need_no_privs(void) { CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }

static int status_of(void (*body)(void))
{
	int status = 0;
	pid_t child = CHECK_OK(fork());

	if (!child) {
		body();
		_exit(check_done());
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	return status;
}

static void bad_programs(void)
{
	static const struct {
		unsigned count;
		struct sock_filter program[4];
	} bad[] = {
		{ 0, { { 0 } } },
		{ 1, { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0) } },                                      // no return
		{ 2, { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, 0) } },       // beyond
		{ 2, { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), BPF_STMT(BPF_RET | BPF_K, 0) } },        // unaligned
		{ 2, { BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_RET | BPF_K, 0) } },        // a byte
		{ 2, { BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), BPF_STMT(BPF_RET | BPF_K, 0) } },        // indirect
		{ 2, { BPF_STMT(BPF_JMP | BPF_JA, 1), BPF_STMT(BPF_RET | BPF_K, 0) } },                // out of it
		{ 2, { BPF_STMT(BPF_JMP | BPF_JA, 0xffffffff), BPF_STMT(BPF_RET | BPF_K, 0) } },       // backwards
		{ 2, { BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0) } }, // out of it
		{ 2, { BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 0) } },
		{ 2, { BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3), BPF_STMT(BPF_RET | BPF_K, 0) } },
		{ 2, { BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), BPF_STMT(BPF_RET | BPF_K, 0) } },
		{ 2, { BPF_STMT(BPF_ST, 16), BPF_STMT(BPF_RET | BPF_K, 0) } },
		{ 2, { BPF_STMT(BPF_LD | BPF_MEM, 3), BPF_STMT(BPF_RET | BPF_A, 0) } }, // never written
		{ 2, { BPF_STMT(0xffff, 0), BPF_STMT(BPF_RET | BPF_K, 0) } },
	};
	struct sock_filter half[] = { // written on one of two ways only
				      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), BPF_STMT(BPF_ST, 3),
				      BPF_STMT(BPF_LD | BPF_MEM, 3), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
	};

	need_no_privs();
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		CHECK_ERR(attach((struct sock_filter *)bad[i].program, bad[i].count, 0), EINVAL);
	CHECK_ERR(attach(half, 4, 0), EINVAL);
	CHECK_ERR(seccomp(SECCOMP_SET_MODE_FILTER, 0, (void *)8), EFAULT);
	CHECK_ERR(seccomp(SECCOMP_SET_MODE_FILTER, 1u << 20, NULL), EINVAL);
	CHECK_ERR(seccomp(SECCOMP_SET_MODE_STRICT, 1, NULL), EINVAL);
	CHECK_ERR(seccomp(77, 0, NULL), EINVAL);
	CHECK_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 0);
	uint32_t action = SECCOMP_RET_TRAP;
	CHECK_OK(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action));
	action = 0x12340000;
	CHECK_ERR(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action), EOPNOTSUPP);
}

static void needs_no_new_privs(void)
{
	if (!geteuid())
		CHECK_OK(setresuid(65534, 65534, 65534));
	CHECK_ERR(attach_for(SYS_getppid, SECCOMP_RET_ALLOW, 0), EACCES);
}

static void errnos(void)
{
	char text[4096] = "";

	need_no_privs();
	CHECK_OK(attach_for(SYS_getppid, SECCOMP_RET_ERRNO | 77, 0));
	CHECK_ERR(syscall(SYS_getppid), 77);
	CHECK(getpid() > 0);
	CHECK_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2);
	CHECK_OK(attach_for(SYS_getpgrp, SECCOMP_RET_ERRNO | 0xffff, 0)); // a second one, of its own
	CHECK_ERR(syscall(SYS_getpgrp), 4095);
	CHECK_ERR(syscall(SYS_getppid), 77);
	CHECK_OK(attach_for(SYS_getppid, SECCOMP_RET_ALLOW, 0)); // cannot be taken back
	CHECK_ERR(syscall(SYS_getppid), 77);
	int fd = CHECK_OK(open("/proc/self/status", O_RDONLY));
	CHECK(read(fd, text, sizeof(text) - 1) > 0);
	CHECK(strstr(text, "\nSeccomp:\t2\n"));
	CHECK(strstr(text, "\nSeccomp_filters:\t3\n"));
	pid_t child = CHECK_OK(fork());
	if (!child)
		_exit(syscall(SYS_getppid) == -1 && errno == 77 ? 3 : 4);
	int status;
	CHECK_OK(waitpid(child, &status, 0));
	CHECK_EQ(WEXITSTATUS(status), 3);
}

// By arguments and arithmetic: getpriority(which, who) fails when which + who == 5, and scratch memory is kept.
static void arguments(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, OFFSET(nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 7),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, OFFSET(args[0])),
		BPF_STMT(BPF_ST, 7),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, OFFSET(args[1])),
		BPF_STMT(BPF_LDX | BPF_MEM, 7),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 5, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	need_no_privs();
	CHECK_OK(attach(program, 10, 0));
	CHECK_ERR(syscall(SYS_getpriority, 3, 2), EDOM);
	CHECK_ERR(syscall(SYS_getpriority, 0, 5), EDOM);
	CHECK_OK(syscall(SYS_getpriority, 0, 0));
}

static siginfo_t trapped;
static void on_sigsys(int number, siginfo_t *info, void *context)
{
	(void)number;
	trapped = *info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 4242;
}

static void traps(void)
{
	struct sigaction a = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };

	CHECK_OK(sigaction(SIGSYS, &a, NULL));
	need_no_privs();
	CHECK_OK(attach_for(SYS_getppid, SECCOMP_RET_TRAP | 9, 0));
	for (int i = 0; i < 3; i++)
		CHECK_EQ(syscall(SYS_getppid), 4242);
	CHECK_EQ(trapped.si_signo, SIGSYS);
	CHECK_EQ(trapped.si_code, 1);
	CHECK_EQ(trapped.si_errno, 9);
	CHECK_EQ(trapped.si_syscall, SYS_getppid);
	CHECK_EQ(trapped.si_arch, AUDIT_ARCH_X86_64);
}

static void strict(void)
{
	CHECK_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
	if (write(STDERR_FILENO, "", 0))
		syscall(SYS_exit, 1);
	syscall(SYS_exit, 5);
}

static void strict_broken(void)
{
	CHECK_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0));
	syscall(SYS_getpid);
	syscall(SYS_exit, 5);
}

static void killed(void)
{
	need_no_privs();
	CHECK_OK(attach_for(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0));
	syscall(SYS_getppid);
}

static void *call_getppid(void *unused)
{
	(void)unused;
	syscall(SYS_getppid);
	return NULL;
}

static void thread_killed(void)
{
	pthread_t t;

	need_no_privs();
	CHECK_OK(attach_for(SYS_getppid, SECCOMP_RET_KILL_THREAD, 0));
	CHECK_EQ(pthread_create(&t, NULL, call_getppid, NULL), 0);
	pthread_join(t, NULL); // its word is cleared though it never came back
	CHECK(getpid() > 0);
}

static atomic_int stage;
static void *other_thread(void *unused)
{
	(void)unused;
	atomic_store(&stage, 1);
	WAIT_UNTIL(atomic_load(&stage) == 2);
	CHECK_ERR(syscall(SYS_getppid), 55);
	CHECK_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	CHECK_OK(attach_for(SYS_getpgrp, SECCOMP_RET_ERRNO | 1, 0));
	atomic_store(&stage, 3);
	WAIT_UNTIL(atomic_load(&stage) == 4);
	return NULL;
}

static void synchronised(void)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, other_thread, NULL), 0);
	WAIT_UNTIL(atomic_load(&stage) == 1);
	need_no_privs();
	CHECK_OK(attach_for(SYS_getppid, SECCOMP_RET_ERRNO | 55, SECCOMP_FILTER_FLAG_TSYNC));
	atomic_store(&stage, 2);
	WAIT_UNTIL(atomic_load(&stage) == 3);
	CHECK(attach_for(SYS_getppid, SECCOMP_RET_ERRNO | 56, SECCOMP_FILTER_FLAG_TSYNC) >
	      0); // the tid of one that differs
	CHECK_ERR(syscall(SYS_getppid), 55);
	atomic_store(&stage, 4);
	pthread_join(t, NULL);
}

static void traced_child(void)
{
	need_no_privs();
	CHECK_OK(ptrace(PTRACE_TRACEME, 0, 0, 0));
	raise(SIGSTOP);
	CHECK_OK(attach_for(SYS_getppid, SECCOMP_RET_TRACE | 31, 0));
	CHECK_EQ(syscall(SYS_getppid), getpid()); // the tracer makes it another call
	_exit(check_done() ? 1 : 6);
}

static void traced(void)
{
	struct user_regs_struct regs;
	unsigned long message = 0;
	int status;
	pid_t child = CHECK_OK(fork());

	if (!child)
		traced_child();
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_OK(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESECCOMP));
	CHECK_OK(ptrace(PTRACE_CONT, child, 0, 0));
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status >> 8, SIGTRAP | PTRACE_EVENT_SECCOMP << 8);
	CHECK_OK(ptrace(PTRACE_GETEVENTMSG, child, 0, &message));
	CHECK_EQ(message, 31);
	CHECK_OK(ptrace(PTRACE_GETREGS, child, 0, &regs));
	CHECK_EQ(regs.orig_rax, SYS_getppid);
	regs.orig_rax = SYS_getpid;
	CHECK_OK(ptrace(PTRACE_SETREGS, child, 0, &regs));
	CHECK_OK(ptrace(PTRACE_CONT, child, 0, 0));
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(WEXITSTATUS(status), 6);
}

static void not_traced(void)
{
	need_no_privs();
	CHECK_OK(attach_for(SYS_getppid, SECCOMP_RET_TRACE, 0));
	CHECK_ERR(syscall(SYS_getppid), ENOSYS);
}

static void kept_by_exec(void)
{
	char *arguments[] = { "seccomp_filters", "exec", NULL };

	need_no_privs();
	CHECK_OK(attach_for(SYS_getppid, SECCOMP_RET_ERRNO | 88, 0));
	execv("/proc/self/exe", arguments);
	CHECK(false);
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		return syscall(SYS_getppid) == -1 && errno == 88 ? 0 : 1;
	CHECK_EQ(status_of(bad_programs), 0);
	CHECK_EQ(status_of(needs_no_new_privs), 0);
	CHECK_EQ(status_of(errnos), 0);
	CHECK_EQ(status_of(arguments), 0);
	CHECK_EQ(status_of(traps), 0);
	CHECK_EQ(status_of(strict), 5 << 8);
	CHECK_EQ(status_of(strict_broken), SIGKILL);
	CHECK_EQ(status_of(killed) & 0x7f, SIGSYS);
	CHECK_EQ(status_of(thread_killed), 0);
	CHECK_EQ(status_of(synchronised), 0);
	CHECK_EQ(status_of(traced), 0);
	CHECK_EQ(status_of(not_traced), 0);
	CHECK_EQ(status_of(kept_by_exec), 0);
	return check_done();
}
