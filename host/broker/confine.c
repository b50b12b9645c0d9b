// SPDX-License-Identifier: Apache-2.0
// Sources: capabilities(7), seccomp(2), prctl(2).
//
// Root keeps what a file server of its rights needs, and nothing that reaches beyond files: a cell that root starts may do
// to the granted trees what root may. Anybody else keeps no capability, also in a user namespace of his own, where they
// would open his own files to him against their modes.
#include "broker/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <stddef.h>
#include <stdint.h>
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

static const unsigned allowed[] = {
	// the cell's messages
	SYS_recvfrom,
	SYS_sendto,
	SYS_sendmsg,
	SYS_shutdown,
	SYS_poll,
	// names and attributes
	SYS_openat,
	SYS_openat2,
	SYS_close,
	SYS_statx,
	SYS_fstatfs,
	SYS_faccessat2,
	SYS_readlinkat,
	SYS_getdents64,
	SYS_lseek,
	SYS_getxattr,
	SYS_listxattr,
	// changes
	SYS_mkdirat,
	SYS_mknodat,
	SYS_symlinkat,
	SYS_linkat,
	SYS_unlinkat,
	SYS_renameat2,
	SYS_fchmodat,
	SYS_fchownat,
	SYS_utimensat,
	SYS_ftruncate,
	SYS_setxattr,
	SYS_removexattr,
	SYS_fsync,
	SYS_fdatasync,
	SYS_syncfs,
	SYS_setfsuid,
	SYS_setfsgid,
	// watches
	SYS_inotify_init1,
	SYS_inotify_add_watch,
	SYS_inotify_rm_watch,
	SYS_read,
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	// memory and threads of this process
	SYS_brk,
	SYS_munmap,
	SYS_mremap,
	SYS_madvise,
	SYS_futex,
	SYS_getrandom,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_restart_syscall,
	SYS_exit,
	SYS_exit_group,
};

#define LOAD(field)            (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define JUMP_IF(test, k, t, f) (struct sock_filter) BPF_JUMP(BPF_JMP | (test) | BPF_K, k, t, f)
#define ANSWER(action)         (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_##action)

#define ALLOWED_COUNT (sizeof(allowed) / sizeof(*allowed))
#define FILTER_COUNT  (2 * ALLOWED_COUNT + 10)

static void filter_build(struct sock_filter *at)
{
	*at++ = LOAD(arch);
	*at++ = JUMP_IF(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0);
	*at++ = ANSWER(KILL_PROCESS);
	*at++ = LOAD(nr);
	for (size_t i = 0; i < ALLOWED_COUNT; i++) {
		*at++ = JUMP_IF(BPF_JEQ, allowed[i], 0, 1);
		*at++ = ANSWER(ALLOW);
	}
	// Memory, but none that can be executed.
	*at++ = JUMP_IF(BPF_JEQ, SYS_mmap, 1, 0);
	*at++ = JUMP_IF(BPF_JEQ, SYS_mprotect, 0, 3);
	*at++ = LOAD(args[2]);
	*at++ = JUMP_IF(BPF_JSET, PROT_EXEC, 1, 0);
	*at++ = ANSWER(ALLOW);
	*at++ = ANSWER(KILL_PROCESS);
}

bool confine_calls(struct err *e)
{
	struct sock_filter filter[FILTER_COUNT];
	const struct sock_fprog program = { .len = FILTER_COUNT, .filter = filter };
	long error;

	filter_build(filter);
	error = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
	if (error > 0)
		errno = ESRCH; // a thread that cannot be made to
	return !error || fail(e, "seccomp");
}
