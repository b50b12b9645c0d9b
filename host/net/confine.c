// SPDX-License-Identifier: Apache-2.0
// Sources: seccomp_init(3), seccomp_rule_add(3), capset(2), prctl(2).
#include "net/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534u

static bool drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return !syscall(SYS_capset, &header, none);
}

// In a user namespace nobody may not exist: there root is the caller, without capabilities nothing more.
static bool become_nobody(void)
{
	if (geteuid() != 0)
		return true;
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
		return errno == EINVAL || errno == EPERM;
	return true;
}

static const int plain_calls[] = {
	SCMP_SYS(read),           SCMP_SYS(write),         SCMP_SYS(readv),
	SCMP_SYS(writev),         SCMP_SYS(sendto),        SCMP_SYS(sendmsg),
	SCMP_SYS(recvfrom),       SCMP_SYS(recvmsg),       SCMP_SYS(connect),
	SCMP_SYS(bind),           SCMP_SYS(listen),        SCMP_SYS(accept4),
	SCMP_SYS(getsockname),    SCMP_SYS(getpeername),   SCMP_SYS(getsockopt),
	SCMP_SYS(shutdown),       SCMP_SYS(close),         SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),      SCMP_SYS(epoll_wait),    SCMP_SYS(epoll_pwait),
	SCMP_SYS(munmap),         SCMP_SYS(mremap),        SCMP_SYS(brk),
	SCMP_SYS(madvise),        SCMP_SYS(fstat),         SCMP_SYS(newfstatat),
	SCMP_SYS(futex),          SCMP_SYS(exit_group),    SCMP_SYS(exit),
	SCMP_SYS(rt_sigreturn),   SCMP_SYS(clock_gettime), SCMP_SYS(restart_syscall),
	SCMP_SYS(getpid),         SCMP_SYS(gettid),        SCMP_SYS(tgkill),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(getrandom),
};

static int allow_socket(scmp_filter_ctx f, int domain, int type)
{
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)domain),
				SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)(type | SOCK_NONBLOCK | SOCK_CLOEXEC)));
}

static int allow_option(scmp_filter_ctx f, int level)
{
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 1, SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)level));
}

static int install_filter(void)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int error = f ? 0 : -ENOMEM;

	for (size_t i = 0; i < sizeof(plain_calls) / sizeof(*plain_calls) && !error; i++)
		error = seccomp_rule_add(f, SCMP_ACT_ALLOW, plain_calls[i], 0);
	for (int domain = 0; domain < 2 && !error; domain++) {
		error = allow_socket(f, domain ? AF_INET6 : AF_INET, SOCK_STREAM);
		if (!error)
			error = allow_socket(f, domain ? AF_INET6 : AF_INET, SOCK_DGRAM);
	}
	if (!error)
		error = allow_option(f, IPPROTO_TCP) || allow_option(f, SOL_SOCKET) || allow_option(f, IPPROTO_IPV6)
				? -EINVAL
				: 0;
	// Memory, and no code.
	if (!error)
		error = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
					 SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!error)
		error = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
					 SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!error)
		error = seccomp_load(f);
	seccomp_release(f);
	return error;
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

bool net_confine(struct err *e)
{
	int error;

	raise_descriptor_limit();
	if (!become_nobody() || !drop_capabilities() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_set(e, EXIT_USAGE, "cannot give up privileges: %s", strerror(errno));
	// The change of identity has cleared it.
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return err_set(e, EXIT_USAGE, "cannot follow the launcher: %s", strerror(errno));
	error = install_filter();
	return !error || err_set(e, EXIT_USAGE, "cannot install a seccomp filter: %s", strerror(-error));
}
