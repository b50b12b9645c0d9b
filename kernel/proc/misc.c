// SPDX-License-Identifier: Apache-2.0
// Small system calls about the cell and the comparison and separation of tasks: uname(2), sysinfo(2), sethostname(2), kcmp(2),
// unshare(2).
#include "internal.h"

#include "kernel/boot_config.h"
#include "kernel/syscalls.h"
#include "kernel/uts.h"
#include "lib/string.h"

#include <linux/capability.h>
#include <linux/kcmp.h>
#include <linux/sysinfo.h>
#include <linux/utsname.h>

// ---- names; uts_lock is a leaf ----

static struct spinlock uts_lock = SPINLOCK_INIT;
static char host_name[UTS_NAME_BYTES], domain_name[UTS_NAME_BYTES] = "(none)";
static bool host_name_set;

void uts_hostname(char out[UTS_NAME_BYTES])
{
	spin_lock(&uts_lock);
	if (!host_name_set)
		string_copy(out, boot_config.hostname && boot_config.hostname[0] ? boot_config.hostname : "cell",
			    UTS_NAME_BYTES);
	else
		memcpy(out, host_name, UTS_NAME_BYTES);
	spin_unlock(&uts_lock);
}

void uts_domainname(char out[UTS_NAME_BYTES])
{
	spin_lock(&uts_lock);
	memcpy(out, domain_name, UTS_NAME_BYTES);
	spin_unlock(&uts_lock);
}

void uts_set(bool host, const char *name, size_t length)
{
	char *to = host ? host_name : domain_name;
	spin_lock(&uts_lock);
	memset(to, 0, UTS_NAME_BYTES);
	memcpy(to, name, min(length, (size_t)UTS_NAME_BYTES - 1));
	if (host)
		host_name_set = true;
	spin_unlock(&uts_lock);
}

long sys_uname(struct uptr buffer)
{
	struct new_utsname u;
	memset(&u, 0, sizeof(u));
	string_copy(u.sysname, "Linux", sizeof(u.sysname));
	uts_hostname(u.nodename);
	string_copy(u.release, UTS_RELEASE, sizeof(u.release));
	string_copy(u.version, UTS_VERSION, sizeof(u.version));
	string_copy(u.machine, "x86_64", sizeof(u.machine));
	uts_domainname(u.domainname);
	return put_user(u, buffer);
}

static long set_name(bool host, struct uptr name, int size)
{
	char text[UTS_NAME_BYTES];
	if (!cred_capable(current->cred, CAP_SYS_ADMIN))
		return -EPERM;
	if (size < 0 || size >= UTS_NAME_BYTES)
		return -EINVAL;
	if (copy_from_user(text, name, (size_t)size))
		return -EFAULT;
	uts_set(host, text, (size_t)size);
	return 0;
}

long sys_sethostname(struct uptr name, int size) { return set_name(true, name, size); }
long sys_setdomainname(struct uptr name, int size) { return set_name(false, name, size); }

// ---- the cell as a whole ----

long sys_sysinfo(struct uptr info)
{
	struct sysinfo s;
	struct page_stats pages;
	uint64_t load[3];
	memset(&s, 0, sizeof(s));
	page_stats_get(&pages);
	sched_load_average(load);
	s.uptime = (long)((clock_monotonic_ns() + (uint64_t)NSEC_PER_SEC - 1) / (uint64_t)NSEC_PER_SEC);
	for (unsigned i = 0; i < 3; i++)
		s.loads[i] = load[i];
	s.totalram = pages.total_pages;
	s.freeram = pages.free_pages;
	s.sharedram = pages.shmem_pages;
	s.procs = (uint16_t)min(pid_count(), 65535u);
	s.mem_unit = (uint32_t)PAGE_SIZE;
	return put_user(s, info);
}

// ---- kcmp: an order of kernel objects that tells nothing about their addresses ----

static int compare(uint64_t a, uint64_t b) { return a == b ? 0 : a < b ? 1 : 2; }

static uint64_t disguise(const void *p, unsigned type)
{
	static uint64_t key; // odd, so that the product is a permutation
	uint64_t fresh = 0, mine;
	if (!__atomic_load_n(&key, __ATOMIC_RELAXED)) {
		mine = (uint64_t)clock_monotonic_ns() * 2 + 1;
		(void)__atomic_compare_exchange_n(&key, &fresh, mine, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	}
	return ((uint64_t)p ^ (uint64_t)type << 56) * __atomic_load_n(&key, __ATOMIC_RELAXED);
}

static int compare_files(struct task *a, struct task *b, uint64_t fd_a, uint64_t fd_b)
{
	struct files *fa = task_files_get(a), *fb = task_files_get(b);
	struct file *x = fa ? files_lookup(fa, (int)fd_a) : NULL, *y = fb ? files_lookup(fb, (int)fd_b) : NULL;
	int r = x && y ? compare(disguise(x, KCMP_FILE), disguise(y, KCMP_FILE)) : -EBADF;
	if (x)
		file_put(x);
	if (y)
		file_put(y);
	if (fa)
		files_put(fa);
	if (fb)
		files_put(fb);
	return r;
}

static long compare_tasks(struct task *a, struct task *b, int type, uint64_t index1, uint64_t index2)
{
	unsigned t = (unsigned)type;
	switch (type) {
	case KCMP_FILE: return compare_files(a, b, index1, index2);
	case KCMP_VM: return compare(disguise(a->mm, t), disguise(b->mm, t));
	case KCMP_FILES: return compare(disguise(a->files, t), disguise(b->files, t));
	case KCMP_FS: return compare(disguise(a->fs, t), disguise(b->fs, t));
	case KCMP_SIGHAND: return compare(disguise(a->process->sighand, t), disguise(b->process->sighand, t));
	case KCMP_IO: return compare(disguise(a, t), disguise(b, t));
	case KCMP_SYSVSEM: return -EOPNOTSUPP;
	}
	return -EINVAL;
}

long sys_kcmp(pid_t pid1, pid_t pid2, int type, uint64_t index1, uint64_t index2)
{
	struct task *a = task_find(pid1), *b = task_find(pid2);
	long r = -ESRCH;
	if (a && b) {
		r = ptrace_may_access(a);
		if (!r)
			r = ptrace_may_access(b);
		if (!r)
			r = compare_tasks(a, b, type, index1, index2);
	}
	if (a)
		task_put(a);
	if (b)
		task_put(b);
	return r;
}

// ---- unshare ----

static int unshare_fs(void)
{
	struct task *t = current;
	if (refcount_read(&t->fs->refs) == 1)
		return 0;
	struct fs_context *copy = fs_context_copy(t->fs), *old;
	if (!copy)
		return -ENOMEM;
	spin_lock(&t->lock);
	old = t->fs;
	t->fs = copy;
	spin_unlock(&t->lock);
	fs_context_put(old);
	return 0;
}

long sys_unshare(uint64_t flags)
{
	const uint64_t shared = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
	const uint64_t spaces = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID |
				CLONE_NEWUSER | CLONE_NEWCGROUP | CLONE_NEWTIME;
	struct process *p = current->process;
	if (flags & ~(shared | spaces | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM))
		return -EINVAL;
	if (flags & spaces)
		return cred_capable(current->cred, CAP_SYS_ADMIN) ? -EINVAL : -EPERM;
	// What threads of one process must share cannot be taken apart; alone it is unshared already.
	if ((flags & shared) &&
	    (p->thread_count > 1 || ((flags & CLONE_SIGHAND) && refcount_read(&p->sighand->refs) > 1) ||
	     ((flags & CLONE_VM) && refcount_read(&current->mm->users) > 1)))
		return -EINVAL;
	int r = flags & CLONE_FS ? unshare_fs() : 0;
	if (!r && (flags & CLONE_FILES))
		r = files_unshare();
	return r;
}

// There are no namespaces to enter: every descriptor is of the wrong kind.
long sys_setns(int fd, int flags)
{
	struct file *f = fd_get(fd);
	(void)flags;
	if (!f)
		return -EBADF;
	file_put(f);
	return -EINVAL;
}
