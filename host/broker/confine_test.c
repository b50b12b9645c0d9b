// SPDX-License-Identifier: Apache-2.0
// What the broker's filter lets through and what it kills for.
#include "broker/confine.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define X32 0x40000000L

// How a process ends that is confined and then makes the call: with status 0 if that returned.
static int after(long number, long a, long b, long c, long d)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		struct err e = { 0 };
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || !confine_calls(&e))
			_exit(1);
		syscall(number, a, b, c, d, -1L, 0L);
		syscall(SYS_exit_group, 0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static bool is_killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS; }

static void what_it_serves_with_is_let_through(void **state)
{
	(void)state;
	assert_int_equal(after(SYS_recvfrom, -1, 0, 0, 0), 0);
	assert_int_equal(after(SYS_openat2, -1, 0, 0, 0), 0);
	assert_int_equal(after(SYS_futex, 0, 0, 0, 0), 0);
	assert_int_equal(after(SYS_close, 0, 0, 0, 0), 0);
}

static void all_else_kills(void **state)
{
	static const long calls[] = { SYS_socket,    SYS_connect,      SYS_execve,         SYS_clone,
				      SYS_fork,      SYS_ptrace,       SYS_kill,           SYS_open,
				      SYS_write,     SYS_ioctl,        SYS_fcntl,          SYS_mount,
				      SYS_prctl,     SYS_pidfd_getfd,  SYS_io_uring_setup, SYS_seccomp,
				      SYS_setresuid, SYS_memfd_create, X32 | SYS_recvfrom, X32 | SYS_close,
				      100000 };

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if (!is_killed(after(calls[i], -1, 0, 0, 0)))
			fail_msg("call %ld does not kill", calls[i]);
}

static void memory_is_not_executable(void **state)
{
	(void)state;
	assert_int_equal(after(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS), 0);
	assert_int_equal(after(SYS_mprotect, 0, 0, PROT_READ, 0), 0);
	assert_true(is_killed(after(SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS)));
	assert_true(is_killed(after(SYS_mprotect, 0, 0, PROT_EXEC, 0)));
	assert_true(is_killed(after(SYS_pkey_mprotect, 0, 0, PROT_READ, -1)));
}

// The calls of 32-bit programs have other numbers: 3 is their read(2).
static void other_architectures_kill(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (!pid) {
		struct err e = { 0 };
		long result = 3;
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || !confine_calls(&e))
			_exit(1);
		__asm__ volatile("int $0x80" : "+a"(result) : "b"(-1), "c"(0), "d"(0) : "memory");
		syscall(SYS_exit_group, 0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status)); // by SIGSYS, or SIGSEGV where the host has no such calls
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_serves_with_is_let_through),
		cmocka_unit_test(all_else_kills),
		cmocka_unit_test(memory_is_not_executable),
		cmocka_unit_test(other_architectures_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
