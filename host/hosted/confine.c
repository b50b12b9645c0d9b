// SPDX-License-Identifier: Apache-2.0
// Sources: capabilities(7), user_namespaces(7), prctl(2), getrlimit(2).
#include "hosted/confine.h"

#include "base/cleanup.h"
#include "base/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY       65534u
#define KILLED_FIRST "50"   // twentieths of all memory more than it uses
#define EMPTY_ROOT   "/tmp" // only a place to mount something on

static bool complain(const char *what)
{
	fprintf(stderr, "cannot %s: %s\n", what, strerror(errno));
	return false;
}

bool confine_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capget, &header, data))
		return complain("read capabilities");
	for (int i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(keep >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &header, data))
		return complain("give capabilities up");
	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || complain("set no-new-privs");
}

// An empty directory that nothing can be made in. The cell's filter admits no call that takes a path; this is for the day it has
// a hole.
static void leave_file_systems(void)
{
	if (unshare(CLONE_NEWNS) || !tree_propagate(MS_PRIVATE) ||
	    mount("none", EMPTY_ROOT, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0,nr_inodes=1"))
		return;
	if (!chdir(EMPTY_ROOT))
		(void)!chroot(".");
}

// Root's cell needs nothing of root.
static void become_nobody(void)
{
	if (geteuid() != 0)
		return;
	(void)!setgroups(0, NULL);
	if (!setresgid(NOBODY, NOBODY, NOBODY))
		(void)!setresuid(NOBODY, NOBODY, NOBODY);
}

// The host's limits on a program of the launcher's user are not those of the cell's programs, which have their own: all the
// host allows, no core dumps of the whole cell's memory, and a bound on tasks where it counts only this cell's.
static void settle_limits(unsigned long namespaces, uint64_t tasks_max)
{
	static const int raised[] = { RLIMIT_NOFILE, RLIMIT_AS, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_MEMLOCK, RLIMIT_CPU };
	struct rlimit limit;

	for (unsigned i = 0; i < sizeof(raised) / sizeof(*raised); i++) {
		if (getrlimit(raised[i], &limit))
			continue;
		limit.rlim_cur = limit.rlim_max;
		setrlimit(raised[i], &limit);
	}
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
	if (!(namespaces & CLONE_NEWUSER) || !tasks_max || getrlimit(RLIMIT_NPROC, &limit))
		return;
	if (limit.rlim_max > tasks_max)
		limit.rlim_max = tasks_max;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NPROC, &limit);
}

// Programs inherit it: when the host must kill a process of the cell, let it not be the broker or the supervisor.
static void be_killed_first(void)
{
	cleanup_close int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, KILLED_FIRST, strlen(KILLED_FIRST));
}

bool confine_cell(pid_t parent, unsigned long namespaces, uint64_t tasks_max)
{
	setpgid(0, 0);
	settle_limits(namespaces, tasks_max);
	be_killed_first();
	if (namespaces & CLONE_NEWNS)
		leave_file_systems();
	become_nobody();
	if (!confine_capabilities(0))
		return false;
	// After all changes of identity: they clear it.
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return complain("ask for a death signal");
	return getppid() == parent;
}
