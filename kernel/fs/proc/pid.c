// SPDX-License-Identifier: Apache-2.0
// /proc/PID and /proc/PID/task/TID: directories that stand for processes and threads.
#include <linux/magic.h>

#include "kernel/coredump.h"
#include "kernel/errno.h"
#include "kernel/slab.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "proc.h"

static void task_object_get(void *object) { task_get(object); }
static void task_object_put(void *object) { task_put(object); }

static bool task_alive(struct pseudo *n)
{
	struct task *t = proc_task(n);

	// A leader whose place another thread took by exec is dead and stands for nothing; one that merely ended first stays.
	if (t->dead && (!proc_whole_process(n) || t != __atomic_load_n(&t->process->leader, __ATOMIC_RELAXED)))
		return false;
	return !proc_whole_process(n) || !t->process->reaped;
}

// Files of a process belong to who may look into it.
static void task_refresh(struct pseudo *n)
{
	struct task *t = proc_task(n);
	const struct cred *c = task_cred_get(t);
	struct mm *mm = task_mm_get(t);
	bool open = !mm || mm->dumpable || n->inode->mode == (S_IFDIR | 0555);

	n->inode->uid = open ? c->euid : 0;
	n->inode->gid = open ? c->egid : 0;
	if (mm)
		mm_release_user(mm);
	cred_put(c);
}

const struct pseudo_object_ops proc_task_ops = {
	.get = task_object_get,
	.put = task_object_put,
	.alive = task_alive,
	.refresh = task_refresh,
};

// ---- memory between two addresses of the process as content: cmdline, environ, auxv ----

static int copy_area(struct seq *s, struct mm *mm, uint64_t start, uint64_t end)
{
	char *chunk = kalloc(PAGE_SIZE);

	if (!chunk)
		return -ENOMEM;
	while (start < end) {
		size_t n = mm_access(mm, start, chunk, min(end - start, PAGE_SIZE), false);
		if (!n)
			break;
		seq_write(s, chunk, n);
		start += n;
	}
	kfree(chunk);
	return 0;
}

static int cmdline_show(struct seq *s, struct pseudo *n)
{
	struct mm *mm = task_mm_get(proc_task(n));
	int error = 0;

	if (mm) {
		error = copy_area(s, mm, mm->arg_start, mm->arg_end);
		mm_release_user(mm);
	}
	return error;
}

static int environ_show(struct seq *s, struct pseudo *n)
{
	int error = ptrace_may_access(proc_task(n));
	struct mm *mm = error ? NULL : task_mm_get(proc_task(n));

	if (mm) {
		error = copy_area(s, mm, mm->env_start, mm->env_end);
		mm_release_user(mm);
	}
	return error;
}

static int auxv_show(struct seq *s, struct pseudo *n)
{
	int error = ptrace_may_access(proc_task(n));
	struct mm *mm = error ? NULL : task_mm_get(proc_task(n));

	if (mm) {
		seq_write(s, mm->auxv, mm->auxv_words * sizeof(mm->auxv[0]));
		mm_release_user(mm);
	}
	return error;
}

static int comm_show(struct seq *s, struct pseudo *n)
{
	char comm[16];

	task_comm_get(proc_task(n), comm);
	seq_printf(s, "%s\n", comm);
	return 0;
}

static ssize_t comm_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	char comm[16];

	(void)f;
	if (proc_task(n)->process != current->process)
		return -EINVAL;
	string_copy(comm, data, sizeof(comm));
	size_t length = strlen(comm);
	if (length && comm[length - 1] == '\n')
		comm[length - 1] = '\0';
	task_comm_set(proc_task(n), comm);
	return (ssize_t)size;
}

// ---- magic links ----

static int exe_follow(struct pseudo *n, struct path *out)
{
	struct mm *mm = task_mm_get(proc_task(n));
	int error = -ENOENT;

	if (!mm)
		return error;
	rwsem_read_lock(&mm->lock);
	if (mm->exe) {
		*out = mm->exe->path;
		path_get(out);
		error = 0;
	}
	rwsem_read_unlock(&mm->lock);
	mm_release_user(mm);
	return error;
}

static int fs_path(struct pseudo *n, bool root, struct path *out)
{
	struct task *t = proc_task(n);
	int error = ptrace_may_access(t);

	if (error)
		return error;
	error = -ENOENT;
	spin_lock(&t->lock);
	if (t->fs) {
		spin_lock(&t->fs->lock);
		*out = root ? t->fs->root : t->fs->cwd;
		path_get(out);
		spin_unlock(&t->fs->lock);
		error = 0;
	}
	spin_unlock(&t->lock);
	return error;
}

static int cwd_follow(struct pseudo *n, struct path *out) { return fs_path(n, false, out); }
static int root_follow(struct pseudo *n, struct path *out) { return fs_path(n, true, out); }

static ssize_t link_readlink(struct pseudo *n, char *buffer, size_t size)
{
	struct path p;
	int error = n->entry->follow(n, &p);

	if (error)
		return error;
	char *text = kalloc(PATH_MAX_BYTES);
	ssize_t length = -ENOMEM;
	if (text) {
		char *path = path_print(&p, text, PATH_MAX_BYTES);
		length = is_err(path) ? ptr_err(path) : (ssize_t)min(string_copy(buffer, path, size), size - 1);
		kfree(text);
	}
	path_put(&p);
	return length;
}

// ---- small texts ----

static int zero_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	seq_puts(s, "0\n");
	return 0;
}

static int text_show(struct seq *s, struct pseudo *n)
{
	seq_puts(s, n->entry->data);
	return 0;
}

static int mounts_show_0(struct seq *s, struct pseudo *n)
{
	mounts_show(s, proc_task(n), 0);
	return 0;
}
static int mounts_show_1(struct seq *s, struct pseudo *n)
{
	mounts_show(s, proc_task(n), 1);
	return 0;
}
static int mounts_show_2(struct seq *s, struct pseudo *n)
{
	mounts_show(s, proc_task(n), 2);
	return 0;
}

static int personality_show(struct seq *s, struct pseudo *n)
{
	seq_printf(s, "%08x\n", proc_task(n)->personality);
	return 0;
}

static int oom_score_show(struct seq *s, struct pseudo *n)
{
	struct mm *mm = task_mm_get(proc_task(n));
	struct page_stats stats;
	uint64_t score = 0;

	page_stats_get(&stats);
	if (mm) {
		score = mm_resident_pages(mm) * 1000 / max(stats.total_pages, UINT64_C(1));
		mm_release_user(mm);
	}
	seq_printf(s, "%lu\n", score);
	return 0;
}

static int oom_adjust_show(struct seq *s, struct pseudo *n)
{
	seq_printf(s, "%d\n", proc_task(n)->process->oom_score_adjust);
	return 0;
}

static ssize_t oom_adjust_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	bool negative = data[0] == '-';
	char number[16];
	uint64_t v;

	(void)f;
	string_copy(number, data + negative, sizeof(number));
	if (number[0] && number[strlen(number) - 1] == '\n')
		number[strlen(number) - 1] = '\0';
	if (!string_to_u64(number, 10, &v) || v > 1000)
		return -EINVAL;
	int value = negative ? -(int)v : (int)v;
	struct process *p = proc_task(n)->process;
	if (value < p->oom_score_adjust && !cred_capable(current->cred, 24 /* CAP_SYS_RESOURCE */))
		return -EACCES;
	p->oom_score_adjust = value;
	return (ssize_t)size;
}

static int coredump_filter_show(struct seq *s, struct pseudo *n)
{
	struct mm *mm = task_mm_get(proc_task(n));

	if (mm) {
		seq_printf(s, "%08x\n", __atomic_load_n(&mm->dump_filter, __ATOMIC_RELAXED));
		mm_release_user(mm);
	}
	return 0;
}

static ssize_t coredump_filter_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	char number[16];
	uint64_t v;

	(void)f;
	string_copy(number, data, sizeof(number));
	if (number[0] && number[strlen(number) - 1] == '\n')
		number[strlen(number) - 1] = '\0';
	if (!string_to_u64(number, 0, &v) || v > UINT32_MAX)
		return -EINVAL;
	struct mm *mm = task_mm_get(proc_task(n));
	if (!mm)
		return -ESRCH;
	__atomic_store_n(&mm->dump_filter, (uint32_t)v & CORE_FILTER_ALL, __ATOMIC_RELAXED);
	mm_release_user(mm);
	return (ssize_t)size;
}

static ssize_t ignore_write(struct pseudo *n, struct file *f, const char *data, size_t size)
{
	(void)n, (void)f, (void)data;
	return (ssize_t)size;
}

static int children_show(struct seq *s, struct pseudo *n)
{
	struct process *p, *self = proc_task(n)->process;

	for (pid_t pid = 1; (p = process_next(pid)); pid++) {
		pid = p->pid;
		if (p->parent == self)
			seq_printf(s, "%d ", pid_shown_in(proc_pid_namespace(n), pid));
		process_put(p);
	}
	return 0;
}

static int wchan_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	seq_puts(s, "0");
	return 0;
}

static int syscall_show(struct seq *s, struct pseudo *n)
{
	(void)n;
	seq_puts(s, "running\n");
	return 0;
}

// ---- the trees ----

static int task_dir_lookup(struct pseudo *dir, const char *name, struct pseudo_child *out);
static int task_dir_iterate(struct pseudo *dir, struct dir_context *c);
static unsigned task_dir_subdirectories(struct pseudo *dir);

#define TEXT(text, function)                                           \
	{                                                              \
		.name = text, .mode = S_IFREG | 0444, .show = function \
	}
#define SECRET(text, function)                                         \
	{                                                              \
		.name = text, .mode = S_IFREG | 0400, .show = function \
	}
#define CONSTANT(text, content)                                                          \
	{                                                                                \
		.name = text, .mode = S_IFREG | 0444, .show = text_show, .data = content \
	}
#define ID_MAP(text, kind)                                                                                  \
	{                                                                                                   \
		.name = text, .mode = S_IFREG | 0644, .show = proc_id_map_show, .write = proc_id_map_write, \
		.data = &proc_id_kinds[kind]                                                                \
	}
#define NAMESPACE(text)                                                                    \
	{                                                                                  \
		.name = text, .mode = S_IFLNK | 0777, .readlink = proc_namespace_readlink, \
		.follow = proc_namespace_follow                                            \
	}

static const struct pseudo_entry namespaces[] = {
	NAMESPACE("cgroup"),
	NAMESPACE("ipc"),
	NAMESPACE("mnt"),
	NAMESPACE("net"),
	NAMESPACE("pid"),
	NAMESPACE("pid_for_children"),
	NAMESPACE("time"),
	NAMESPACE("time_for_children"),
	NAMESPACE("user"),
	NAMESPACE("uts"),
	{ NULL },
};

#define COMMON_ENTRIES                                                                                                \
	TEXT("cmdline", cmdline_show),                                                                                \
		{ .name = "comm", .mode = S_IFREG | 0644, .show = comm_show, .write = comm_write },                   \
		{ .name = "cwd", .mode = S_IFLNK | 0777, .readlink = link_readlink, .follow = cwd_follow },           \
		{ .name = "root", .mode = S_IFLNK | 0777, .readlink = link_readlink, .follow = root_follow },         \
		{ .name = "exe", .mode = S_IFLNK | 0777, .readlink = link_readlink, .follow = exe_follow },           \
		{ .name = "fd", .mode = S_IFDIR | 0500, .lookup = proc_fd_lookup, .iterate = proc_fd_iterate },       \
		{ .name = "fdinfo",                                                                                   \
		  .mode = S_IFDIR | 0500,                                                                             \
		  .lookup = proc_fdinfo_lookup,                                                                       \
		  .iterate = proc_fd_iterate },                                                                       \
		{ .name = "ns", .mode = S_IFDIR | 0511, .children = namespaces }, SECRET("environ", environ_show),    \
		SECRET("auxv", auxv_show), TEXT("maps", proc_maps_show), TEXT("smaps", proc_smaps_show),              \
		TEXT("smaps_rollup", proc_smaps_rollup_show),                                                         \
		{ .name = "mem", .mode = S_IFREG | 0600, .file_ops = &proc_mem_ops },                                 \
		{ .name = "pagemap", .mode = S_IFREG | 0400, .file_ops = &proc_pagemap_ops },                         \
		TEXT("stat", proc_stat_show), TEXT("statm", proc_statm_show), TEXT("status", proc_status_show),       \
		SECRET("io", proc_io_show), TEXT("limits", proc_limits_show), TEXT("schedstat", proc_schedstat_show), \
		TEXT("mounts", mounts_show_0), TEXT("mountinfo", mounts_show_1), SECRET("mountstats", mounts_show_2), \
		SECRET("personality", personality_show), SECRET("syscall", syscall_show), TEXT("wchan", wchan_show),  \
		TEXT("oom_score", oom_score_show),                                                                    \
		{ .name = "oom_score_adj",                                                                            \
		  .mode = S_IFREG | 0644,                                                                             \
		  .show = oom_adjust_show,                                                                            \
		  .write = oom_adjust_write },                                                                        \
		CONSTANT("cgroup", "0::/\n"), CONSTANT("cpuset", "/\n"),                                              \
		{ .name = "loginuid",                                                                                 \
		  .mode = S_IFREG | 0644,                                                                             \
		  .show = proc_login_uid_show,                                                                        \
		  .write = proc_login_uid_write },                                                                    \
		TEXT("sessionid", proc_login_session_show), ID_MAP("uid_map", ID_USER), ID_MAP("gid_map", ID_GROUP),  \
		ID_MAP("projid_map", ID_PROJECT),                                                                     \
		{ .name = "setgroups",                                                                                \
		  .mode = S_IFREG | 0644,                                                                             \
		  .open = proc_setgroups_open,                                                                        \
		  .show = proc_setgroups_show,                                                                        \
		  .write = proc_setgroups_write },                                                                    \
	{                                                                                                             \
		.name = "net", .mode = S_IFDIR | 0555, .children = proc_net_entries                                   \
	}

const struct pseudo_entry proc_thread_entries[] = {
	COMMON_ENTRIES,
	TEXT("children", children_show),
	{ NULL },
};

const struct pseudo_entry proc_process_entries[] = {
	COMMON_ENTRIES,
	{ .name = "task",
	  .mode = S_IFDIR | 0555,
	  .lookup = task_dir_lookup,
	  .iterate = task_dir_iterate,
	  .subdirectories = task_dir_subdirectories },
	{ .name = "coredump_filter",
	  .mode = S_IFREG | 0644,
	  .show = coredump_filter_show,
	  .write = coredump_filter_write },
	{ .name = "clear_refs", .mode = S_IFREG | 0200, .write = ignore_write },
	{ .name = "oom_adj", .mode = S_IFREG | 0444, .show = zero_show },
	{ .name = "timerslack_ns", .mode = S_IFREG | 0444, .show = text_show, .data = "50000\n" },
	{ NULL },
};

static const struct pseudo_entry process_entry = { .mode = S_IFDIR | 0555, .children = proc_process_entries };
static const struct pseudo_entry thread_entry = { .mode = S_IFDIR | 0555, .children = proc_thread_entries };

struct pid *proc_directory_pid(const struct file *f)
{
	if (!f->inode || f->inode->super->magic != PROC_SUPER_MAGIC)
		return NULL;
	struct pseudo *n = pseudo_of(f->inode);
	struct task *t = n->entry == &process_entry ? proc_task(n) : NULL;
	return t && t->pid ? pid_find(t->tid) : NULL;
}

static bool parse_pid(const char *name, pid_t *out)
{
	uint64_t v;

	if (name[0] < '1' || name[0] > '9' || !string_to_u64(name, 10, &v) || v > INT32_MAX)
		return false;
	*out = (pid_t)v;
	return true;
}

int proc_pid_lookup(struct pseudo *dir, const char *name, struct pseudo_child *out)
{
	pid_t pid;

	if (!parse_pid(name, &pid))
		return -ENOENT;
	pid = pid_meant_in(proc_pid_namespace(dir), pid);
	struct process *p = process_find(pid);
	if (!p) { // a thread's number is not listed, but it is there
		struct task *t = task_find(pid);
		if (!t)
			return -ENOENT;
		*out = (struct pseudo_child){ .entry = &process_entry, .object = t, .object_ops = &proc_task_ops };
		return 0;
	}
	spin_lock(&tasklist_lock);
	struct task *leader = p->leader;
	if (leader)
		task_get(leader);
	spin_unlock(&tasklist_lock);
	process_put(p);
	if (!leader)
		return -ENOENT;
	*out = (struct pseudo_child){ .entry = &process_entry, .object = leader, .object_ops = &proc_task_ops };
	return 0;
}

// Positions: PSEUDO_DYNAMIC_FIRST + the next pid to look at.
int proc_pid_iterate(struct pseudo *dir, struct dir_context *c)
{
	struct process *p;
	char name[16];

	while ((p = process_next((pid_t)(c->position - PSEUDO_DYNAMIC_FIRST)))) {
		loff_t next = PSEUDO_DYNAMIC_FIRST + (loff_t)p->pid + 1;
		pid_t number = pid_shown_in(proc_pid_namespace(dir), p->pid);
		bool more = true;
		fmt_print(name, sizeof(name), "%d", number);
		if (number)
			more = pseudo_emit(dir, c, name, next, S_IFDIR);
		else
			c->position = next;
		process_put(p);
		if (!more)
			break;
	}
	return 0;
}

unsigned proc_pid_subdirectories(struct pseudo *dir)
{
	(void)dir;
	return (unsigned)process_total();
}

static int task_dir_lookup(struct pseudo *dir, const char *name, struct pseudo_child *out)
{
	pid_t tid;

	if (!parse_pid(name, &tid))
		return -ENOENT;
	struct task *t = task_find(pid_meant_in(proc_pid_namespace(dir), tid));
	if (t && t->process == proc_task(dir)->process) {
		*out = (struct pseudo_child){
			.entry = &thread_entry, .object = t, .object_ops = &proc_task_ops, .key = 1
		};
		return 0;
	}
	if (t)
		task_put(t);
	return -ENOENT;
}

static int task_dir_iterate(struct pseudo *dir, struct dir_context *c)
{
	struct task *t;
	char name[16];

	while ((t = process_thread_next(proc_task(dir)->process, (pid_t)(c->position - PSEUDO_DYNAMIC_FIRST)))) {
		fmt_print(name, sizeof(name), "%d", pid_shown_in(proc_pid_namespace(dir), t->tid));
		bool more = pseudo_emit(dir, c, name, PSEUDO_DYNAMIC_FIRST + (loff_t)t->tid + 1, S_IFDIR);
		task_put(t);
		if (!more)
			break;
	}
	return 0;
}

// By the number of links a program sees whether it is alone (Chromium's zygote does).
static unsigned task_dir_subdirectories(struct pseudo *dir)
{
	return __atomic_load_n(&proc_task(dir)->process->thread_count, __ATOMIC_RELAXED);
}
