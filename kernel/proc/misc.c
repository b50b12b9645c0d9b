// SPDX-License-Identifier: Apache-2.0
// Small system calls about the cell and the comparison of tasks: sysinfo(2), kcmp(2).
#include "internal.h"

#include "kernel/syscalls.h"
#include "lib/string.h"

#include <linux/kcmp.h>
#include <linux/sysinfo.h>

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
	struct task *a = task_find(pid_meant(pid1)), *b = task_find(pid_meant(pid2));
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
