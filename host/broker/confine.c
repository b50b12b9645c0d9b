// SPDX-License-Identifier: Apache-2.0
// Sources: capabilities(7), seccomp(2), prctl(2).
//
// Root keeps what a file server of its rights needs, and nothing that reaches beyond files: a cell that root starts may do
// to the granted trees what root may. Anybody else keeps no capability, also in a user namespace of his own, where they
// would open his own files to him against their modes.
#include "broker/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOT_CAPABILITIES                                                                                             \
	(1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH | 1u << CAP_FOWNER | 1u << CAP_FSETID | \
	 1u << CAP_SETUID | 1u << CAP_SETGID)

#define SECUREBITS                                                                                       \
	(SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | \
	 SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

static bool fail(struct err *e, const char *what)
{
	return err_set(e, EXIT_USAGE, "cannot confine the broker: %s: %s", what, strerror(errno));
}

static bool drop_capabilities(struct err *e)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	uint32_t keep = geteuid() ? 0 : ROOT_CAPABILITIES;

	if (syscall(SYS_capget, &header, data))
		return fail(e, "capget");
	// These two want CAP_SETPCAP; without it there is less to lose.
	if (prctl(PR_SET_SECUREBITS, SECUREBITS) && errno != EPERM)
		return fail(e, "secure bits");
	for (unsigned c = 0; c <= CAP_LAST_CAP; c++)
		prctl(PR_CAPBSET_DROP, c);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	data[0].permitted &= keep;
	data[0].effective = data[0].permitted;
	data[0].inheritable = 0;
	data[1] = (struct __user_cap_data_struct){ 0 };
	return !syscall(SYS_capset, &header, data) || fail(e, "capset");
}

bool confine_rights(struct err *e)
{
	const struct rlimit none = { 0, 0 };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return fail(e, "no new privileges");
	if (!drop_capabilities(e))
		return false;
	if (prctl(PR_SET_DUMPABLE, 0) || setrlimit(RLIMIT_CORE, &none))
		return fail(e, "core dumps");
	setrlimit(RLIMIT_MEMLOCK, &none);
	return true;
}

// ---- system calls ----

static const int allowed[] = {
	// the cell's messages
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(shutdown),
	SCMP_SYS(poll),
	// names and attributes
	SCMP_SYS(openat),
	SCMP_SYS(openat2),
	SCMP_SYS(close),
	SCMP_SYS(statx),
	SCMP_SYS(fstatfs),
	SCMP_SYS(faccessat2),
	SCMP_SYS(readlinkat),
	SCMP_SYS(getdents64),
	SCMP_SYS(lseek),
	SCMP_SYS(getxattr),
	SCMP_SYS(listxattr),
	// changes
	SCMP_SYS(mkdirat),
	SCMP_SYS(mknodat),
	SCMP_SYS(symlinkat),
	SCMP_SYS(linkat),
	SCMP_SYS(unlinkat),
	SCMP_SYS(renameat2),
	SCMP_SYS(fchmodat),
	SCMP_SYS(fchownat),
	SCMP_SYS(utimensat),
	SCMP_SYS(ftruncate),
	SCMP_SYS(setxattr),
	SCMP_SYS(removexattr),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(syncfs),
	SCMP_SYS(setfsuid),
	SCMP_SYS(setfsgid),
	// watches
	SCMP_SYS(inotify_init1),
	SCMP_SYS(inotify_add_watch),
	SCMP_SYS(inotify_rm_watch),
	SCMP_SYS(read),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	// memory and threads of this process
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(futex),
	SCMP_SYS(getrandom),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

// Memory, but none that can be executed.
static int allow_memory(scmp_filter_ctx filter)
{
	const struct scmp_arg_cmp not_executable = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, not_executable);

	return error ? error : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, not_executable);
}

bool confine_calls(struct err *e)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int error = filter ? 0 : -ENOMEM;

	if (!error)
		error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	for (size_t i = 0; !error && i < sizeof(allowed) / sizeof(*allowed); i++)
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	if (!error)
		error = allow_memory(filter);
	if (!error)
		error = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	errno = -error;
	return !error || fail(e, "seccomp");
}
