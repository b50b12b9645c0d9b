// SPDX-License-Identifier: Apache-2.0
// /proc/PID/stat, statm, status, limits, schedstat, io.
#include "kernel/seccomp.h"
#include "kernel/slab.h"
#include "kernel/tty.h"
#include "proc.h"

#define TICKS_PER_SECOND 100

static uint64_t ticks(uint64_t ns) { return ns / (NSEC_PER_SEC / TICKS_PER_SECOND); }

struct ids {
	pid_t pid, tid, parent, group, session, tracer;
	unsigned threads;
};

#define NUMBERS_BYTES 400 // 32 levels

// As the file system's pid namespace has them.
static void ids_get(struct pseudo *n, struct ids *out)
{
	struct task *t = proc_task(n);
	struct process *p = t->process;
	const struct pid_namespace *space = proc_pid_namespace(n);

	spin_lock(&tasklist_lock);
	*out = (struct ids){
		.pid = p->leader ? pid_number_in(space, p->leader->pid) : 0,
		.tid = pid_number_in(space, t->pid),
		.parent = p->parent && p->parent->leader ? pid_number_in(space, p->parent->leader->pid) : 0,
		.group = p->pgrp ? pid_number_in(space, p->pgrp) : 0,
		.session = p->session ? pid_number_in(space, p->session) : 0,
		.tracer = t->tracer && t->tracer->leader ? pid_number_in(space, t->tracer->leader->pid) : 0,
		.threads = p->thread_count,
	};
	spin_unlock(&tasklist_lock);
}

struct masks {
	sigmask_t pending, shared, blocked, ignored, caught;
};

static void masks_get(struct task *t, struct masks *out)
{
	struct sighand *h = t->process->sighand;

	*out = (struct masks){ 0 };
	if (!h)
		return;
	spin_lock(&h->lock);
	out->pending = t->pending.set;
	out->shared = t->process->pending.set;
	out->blocked = t->blocked;
	for (int i = 0; i < SIGNALS_MAX; i++) {
		if (h->action[i].handler == (uint64_t)SIG_IGN)
			out->ignored |= SIGMASK(i + 1);
		else if (h->action[i].handler != (uint64_t)SIG_DFL)
			out->caught |= SIGMASK(i + 1);
	}
	spin_unlock(&h->lock);
}

int proc_stat_show(struct seq *s, struct pseudo *n)
{
	struct task *t = proc_task(n);
	struct process *p = t->process;
	struct process_usage usage;
	struct masks masks;
	struct ids ids;
	char comm[16];
	dev_t terminal;
	pid_t foreground;
	uint64_t user_ns, system_ns, vsize = 0, rss = 0, code_start = 0, stack = 0, brk = 0, args[4] = { 0 };
	struct mm *mm = task_mm_get(t);
	char state = task_state_char(t); // before anything that may wake it
	uint64_t anonymous, file;

	task_comm_get(t, comm);
	ids_get(n, &ids);
	masks_get(t, &masks);
	process_usage_get(p, &usage);
	if (proc_whole_process(n)) {
		user_ns = usage.user_ns;
		system_ns = usage.system_ns;
	} else {
		sched_thread_times(t, &user_ns, &system_ns);
	}
	tty_process_info(p, &terminal, &foreground);
	if (mm) {
		rwsem_read_lock(&mm->lock);
		vsize = mm->total_pages * PAGE_SIZE;
		stack = mm->stack_top;
		brk = mm->brk_start;
		args[0] = mm->arg_start;
		args[1] = mm->arg_end;
		args[2] = mm->env_start;
		args[3] = mm->env_end;
		rwsem_read_unlock(&mm->lock);
		mm_resident_count(mm, &anonymous, &file);
		rss = anonymous + file;
		mm_release_user(mm);
	}
	seq_printf(s, "%d (%s) %c %d %d %d %lu %d %u %lu %lu %lu %lu", ids.tid, comm, state, ids.parent, ids.group,
		   ids.session, dev_to_user(terminal), foreground, 0x400000u, usage.min_faults, p->children_min_faults,
		   usage.maj_faults, p->children_maj_faults);
	seq_printf(s, " %lu %lu %lu %lu %d %d %u 0 %lu %lu %lu %lu", ticks(user_ns), ticks(system_ns),
		   ticks(p->children_user_ns), ticks(p->children_system_ns),
		   t->sched.rt_priority ? -1 - t->sched.rt_priority : 20 + t->sched.nice, t->sched.nice, ids.threads,
		   ticks(t->start_ns), vsize, rss, (uint64_t)p->rlimits[RLIMIT_RSS].rlim_cur);
	seq_printf(s, " %lu 0 %lu 0 0 %lu %lu %lu %lu 0 0 0 %d %u %u %u 0 0 0", code_start, stack,
		   masks.pending | masks.shared, masks.blocked, masks.ignored, masks.caught, t->exit_signal,
		   sched_task_cpu(t), (unsigned)t->sched.rt_priority, (unsigned)t->sched.policy);
	seq_printf(s, " 0 0 %lu %lu %lu %lu %lu %d\n", brk, args[0], args[1], args[2], args[3],
		   p->zombie ? p->exit_code : 0);
	return 0;
}

int proc_statm_show(struct seq *s, struct pseudo *n)
{
	struct mm *mm = task_mm_get(proc_task(n));
	uint64_t total = 0, anonymous = 0, file = 0, data = 0;

	if (mm) {
		total = mm->total_pages;
		mm_resident_count(mm, &anonymous, &file);
		data = mm->data_pages + mm->stack_pages;
		mm_release_user(mm);
	}
	seq_printf(s, "%lu %lu %lu 0 0 %lu 0\n", total, anonymous + file, file, data);
	return 0;
}

static const char *state_name(char c)
{
	switch (c) {
	case 'R': return "running";
	case 'S': return "sleeping";
	case 'D': return "disk sleep";
	case 'T': return "stopped";
	case 't': return "tracing stop";
	case 'Z': return "zombie";
	default: return "dead";
	}
}

static void show_memory(struct seq *s, struct mm *mm)
{
	uint64_t anon, file;

	mm_resident_count(mm, &anon, &file);
	uint64_t resident = anon + file;
	seq_printf(s, "VmPeak:\t%8lu kB\nVmSize:\t%8lu kB\nVmLck:\t%8lu kB\nVmPin:\t%8u kB\n", mm->total_pages * 4,
		   mm->total_pages * 4, mm->locked_pages * 4, 0u);
	seq_printf(s, "VmHWM:\t%8lu kB\nVmRSS:\t%8lu kB\nRssAnon:\t%8lu kB\nRssFile:\t%8lu kB\nRssShmem:\t%8u kB\n",
		   max(mm->peak_resident, resident) * 4, resident * 4, anon * 4, file * 4, 0u);
	seq_printf(
		s,
		"VmData:\t%8lu kB\nVmStk:\t%8lu kB\nVmExe:\t%8u kB\nVmLib:\t%8u kB\nVmPTE:\t%8lu kB\nVmSwap:\t%8u kB\n",
		mm->data_pages * 4, mm->stack_pages * 4, 0u, 0u, (uint64_t)port_aspace_table_bytes(mm->aspace) / 1024,
		0u);
}

static void show_cpus(struct seq *s, const struct cpu_mask *mask)
{
	unsigned count = port_cpu_count();
	bool first = true;

	seq_puts(s, "Cpus_allowed:\t");
	for (int word = (int)((count - 1) / 32); word >= 0; word--)
		seq_printf(s, word ? "%08x," : "%x\n",
			   (unsigned)(mask->bits[word / 2] >> (word % 2 * 32)) &
				   (count - (unsigned)word * 32 >= 32 ? ~0u : (1u << count % 32) - 1));
	seq_puts(s, "Cpus_allowed_list:\t");
	for (unsigned c = 0; c < count; c++) {
		unsigned end = c;
		if (!bitmap_test(mask->bits, c))
			continue;
		while (end + 1 < count && bitmap_test(mask->bits, end + 1))
			end++;
		seq_printf(s, "%s%u", first ? "" : ",", c);
		if (end > c)
			seq_printf(s, "-%u", end);
		first = false;
		c = end;
	}
	seq_puts(s, "\nMems_allowed:\t1\nMems_allowed_list:\t0\n");
}

static void show_number(struct seq *s, const char *name, const struct pid *p, const struct pid_namespace *space)
{
	char numbers[NUMBERS_BYTES] = "";

	if (p)
		pid_numbers_print(p, true, space, numbers, sizeof(numbers));
	seq_printf(s, "\n%s:%s", name, numbers);
}

static void show_numbers(struct seq *s, struct pseudo *n)
{
	const struct pid_namespace *space = proc_pid_namespace(n);
	struct task *t = proc_task(n);
	struct process *p = t->process;
	struct pid *pids[3] = { NULL };

	spin_lock(&tasklist_lock);
	pids[0] = p->leader ? p->leader->pid : NULL;
	pids[1] = p->pgrp;
	pids[2] = p->session;
	for (unsigned k = 0; k < array_count(pids); k++)
		if (pids[k])
			refcount_get(&pids[k]->refs);
	spin_unlock(&tasklist_lock);
	show_number(s, "NStgid", pids[0], space);
	show_number(s, "NSpid", t->pid, space);
	show_number(s, "NSpgid", pids[1], space);
	show_number(s, "NSsid", pids[2], space);
	seq_putc(s, '\n');
	for (unsigned k = 0; k < array_count(pids); k++)
		if (pids[k])
			pid_put(pids[k]);
}

int proc_status_show(struct seq *s, struct pseudo *n)
{
	struct task *t = proc_task(n);
	const struct cred *c = task_cred_get(t), *me = current->cred;
	struct files *files = task_files_get(t);
	struct mm *mm = task_mm_get(t);
	struct fs_context *fs;
	struct masks masks;
	struct ids ids;
	char comm[16], state = task_state_char(t);
	unsigned mask = 022, groups = c->group_count;

	spin_lock(&t->lock);
	fs = t->fs;
	if (fs)
		mask = fs->umask;
	spin_unlock(&t->lock);
	task_comm_get(t, comm);
	ids_get(n, &ids);
	masks_get(t, &masks);
	seq_printf(
		s,
		"Name:\t%s\nUmask:\t%04o\nState:\t%c (%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t%d\n",
		comm, mask, state, state_name(state), ids.pid, ids.tid, ids.parent, ids.tracer);
	seq_printf(s, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", uid_shown(me, c->uid), uid_shown(me, c->euid),
		   uid_shown(me, c->suid), uid_shown(me, c->fsuid), gid_shown(me, c->gid), gid_shown(me, c->egid),
		   gid_shown(me, c->sgid), gid_shown(me, c->fsgid));
	seq_printf(s, "FDSize:\t%u\nGroups:\t", files ? max(files_max_open(files), 64u) : 0);
	for (unsigned i = 0; i < groups; i++)
		seq_printf(s, "%u ", gid_shown(me, c->groups[i]));
	show_numbers(s, n);
	if (mm) {
		show_memory(s, mm);
		seq_printf(s, "CoreDumping:\t%d\n", __atomic_load_n(&t->process->core, __ATOMIC_RELAXED) != NULL);
	}
	seq_printf(
		s,
		"Threads:\t%u\nSigQ:\t0/%lu\nSigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\nSigIgn:\t%016lx\nSigCgt:\t%016lx\n",
		ids.threads, process_rlimit(t->process, RLIMIT_SIGPENDING), masks.pending, masks.shared, masks.blocked,
		masks.ignored, masks.caught);
	seq_printf(
		s,
		"CapInh:\t%016lx\nCapPrm:\t%016lx\nCapEff:\t%016lx\nCapBnd:\t%016lx\nCapAmb:\t%016lx\nNoNewPrivs:\t%d\nSeccomp:\t%d\nSeccomp_filters:\t%u\n",
		c->cap_inheritable, c->cap_permitted, c->cap_effective, c->cap_bounding, c->cap_ambient,
		c->no_new_privs || t->tsync_no_new_privs, t->seccomp_mode, seccomp_filter_count(t));
	show_cpus(s, &t->sched.affinity);
	seq_printf(s, "voluntary_ctxt_switches:\t%lu\nnonvoluntary_ctxt_switches:\t%lu\n", t->sched.voluntary_switches,
		   t->sched.involuntary_switches);
	if (mm)
		mm_release_user(mm);
	if (files)
		files_put(files);
	cred_put(c);
	return 0;
}

int proc_io_show(struct seq *s, struct pseudo *n)
{
	struct task *t = proc_task(n);
	struct process_usage usage;
	int error = ptrace_may_access(t);

	if (error)
		return error;
	if (proc_whole_process(n)) {
		process_usage_get(t->process, &usage);
		spin_lock(&t->process->lock);
		io_usage_add(&usage.io, &t->process->children_io);
		spin_unlock(&t->process->lock);
	} else {
		usage.io = t->io;
	}
	seq_printf(s, "rchar: %lu\nwchar: %lu\nsyscr: %lu\nsyscw: %lu\n", usage.io.bytes_read, usage.io.bytes_written,
		   usage.io.reads, usage.io.writes);
	seq_puts(s, "read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n"); // storage is the host's
	return 0;
}

int proc_limits_show(struct seq *s, struct pseudo *n)
{
	static const struct {
		const char *name, *unit;
		int resource;
	} rows[] = {
		{ "Max cpu time", "seconds", RLIMIT_CPU },
		{ "Max file size", "bytes", RLIMIT_FSIZE },
		{ "Max data size", "bytes", RLIMIT_DATA },
		{ "Max stack size", "bytes", RLIMIT_STACK },
		{ "Max core file size", "bytes", RLIMIT_CORE },
		{ "Max resident set", "bytes", RLIMIT_RSS },
		{ "Max processes", "processes", RLIMIT_NPROC },
		{ "Max open files", "files", RLIMIT_NOFILE },
		{ "Max locked memory", "bytes", RLIMIT_MEMLOCK },
		{ "Max address space", "bytes", RLIMIT_AS },
		{ "Max file locks", "locks", RLIMIT_LOCKS },
		{ "Max pending signals", "signals", RLIMIT_SIGPENDING },
		{ "Max msgqueue size", "bytes", RLIMIT_MSGQUEUE },
		{ "Max nice priority", "", RLIMIT_NICE },
		{ "Max realtime priority", "", RLIMIT_RTPRIO },
		{ "Max realtime timeout", "us", RLIMIT_RTTIME },
	};
	struct process *p = proc_task(n)->process;

	seq_puts(s, "Limit                     Soft Limit           Hard Limit           Units     \n");
	for (unsigned i = 0; i < array_count(rows); i++) {
		spin_lock(&p->lock);
		struct rlimit64 l = p->rlimits[rows[i].resource];
		spin_unlock(&p->lock);
		seq_printf(s, "%-25s ", rows[i].name);
		for (int k = 0; k < 2; k++) {
			uint64_t v = k ? l.rlim_max : l.rlim_cur;
			if (v == RLIM64_INFINITY)
				seq_printf(s, "%-20s ", "unlimited");
			else
				seq_printf(s, "%-20lu ", v);
		}
		seq_printf(s, "%-10s\n", rows[i].unit);
	}
	return 0;
}

int proc_schedstat_show(struct seq *s, struct pseudo *n)
{
	struct task *t = proc_task(n);
	uint64_t user_ns, system_ns;

	sched_thread_times(t, &user_ns, &system_ns);
	seq_printf(s, "%lu 0 %lu\n", user_ns + system_ns, t->sched.voluntary_switches + t->sched.involuntary_switches);
	return 0;
}
