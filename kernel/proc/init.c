// SPDX-License-Identifier: Apache-2.0
// The first process: made from the boot record. It is the program itself, as pid 1, but treated as any other process: signals
// with default action end it, and orphans that fall to it are reaped without its knowing (exit.c).
#include "exec.h"

#include "kernel/boot_config.h"
#include "kernel/stdio.h"
#include "kernel/syscalls.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct start {
	const struct boot_config *boot;
	char *why;
	size_t why_size;
	int error;
	bool done; // atomic
	struct waitq wait;
};

// ---- limits; setrlimit(2). What Linux gives its first process, with Debian's usual sizes ----

static void set_limits(struct process *p, const struct boot_config *boot)
{
	struct page_stats pages;
	page_stats_get(&pages);
	uint64_t tasks = max(pages.total_pages / 32, UINT64_C(256)); // as many as an eighth of memory has stacks for
	for (unsigned i = 0; i < RLIM_NLIMITS; i++)
		p->rlimits[i] = (struct rlimit64){ RLIM64_INFINITY, RLIM64_INFINITY };
	p->rlimits[RLIMIT_STACK].rlim_cur = UINT64_C(8) << 20;
	p->rlimits[RLIMIT_CORE].rlim_cur = 0;
	p->rlimits[RLIMIT_NOFILE] = (struct rlimit64){ 1024, 1048576 };
	p->rlimits[RLIMIT_MEMLOCK] = (struct rlimit64){ UINT64_C(8) << 20, UINT64_C(8) << 20 };
	p->rlimits[RLIMIT_NPROC] = (struct rlimit64){ tasks, tasks };
	p->rlimits[RLIMIT_SIGPENDING] = (struct rlimit64){ tasks, tasks };
	p->rlimits[RLIMIT_MSGQUEUE] = (struct rlimit64){ 819200, 819200 };
	p->rlimits[RLIMIT_NICE] = (struct rlimit64){ 0, 0 };
	p->rlimits[RLIMIT_RTPRIO] = (struct rlimit64){ 0, 0 };
	for (unsigned i = 0; i < boot->rlimit_count; i++) {
		const struct boot_rlimit *l = boot->rlimits[i];
		if (l->resource < RLIM_NLIMITS && l->soft <= l->hard)
			p->rlimits[l->resource] = (struct rlimit64){ l->soft, l->hard };
	}
}

// ---- finding the program ----

static const char *environment(const struct boot_config *boot, const char *name)
{
	size_t length = strlen(name);
	for (const char *const *e = boot->envp; e && *e; e++)
		if (strncmp(*e, name, length) == 0 && (*e)[length] == '=')
			return *e + length + 1;
	return NULL;
}

static int try_candidate(const char *path)
{
	struct path p;
	int r = path_lookup(AT_FDCWD, path, LOOKUP_FOLLOW, &p);
	if (r)
		return r;
	r = inode_is_reg(p.dentry->inode) ? inode_permission(p.dentry->inode, MAY_EXEC) : -EACCES;
	path_put(&p);
	return r;
}

// As execvp(3) searches.
static int find_program(const struct boot_config *boot, char *out, size_t size)
{
	const char *path = environment(boot, "PATH");
	int result = -ENOENT;
	if (strchr(boot->program, '/'))
		return string_copy(out, boot->program, size) < size ? 0 : -ENAMETOOLONG;
	if (!path)
		path = DEFAULT_PATH;
	for (;;) {
		const char *end = strchr(path, ':');
		size_t length = end ? (size_t)(end - path) : strlen(path);
		int n = fmt_print(out, size, "%.*s%s%s", (int)length, path, length ? "/" : "", boot->program);
		int r = (size_t)n < size ? try_candidate(out) : -ENAMETOOLONG;
		if (!r)
			return 0;
		if (r == -EACCES)
			result = r;
		if (!end)
			return result;
		path = end + 1;
	}
}

// ---- in the new process ----

static int enter_directory(const char *path)
{
	struct path p;
	int r = path_lookup(AT_FDCWD, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);
	if (r)
		return r;
	r = inode_permission(p.dentry->inode, MAY_EXEC);
	if (r) {
		path_put(&p);
		return r;
	}
	struct fs_context *fs = current->fs;
	spin_lock(&fs->lock);
	struct path old = fs->cwd;
	fs->cwd = p;
	spin_unlock(&fs->lock);
	path_put(&old);
	return 0;
}

static const char *reason(int error)
{
	switch (-error) {
	case ENOENT: return "no such file or directory";
	case EACCES: return "not executable, or permission denied";
	case ENOEXEC: return "not an x86-64 Linux program";
	case ELIBBAD: return "its program interpreter is damaged or of another machine";
	case ENOTDIR: return "not a directory";
	case ELOOP: return "too many symbolic links or interpreters";
	case E2BIG: return "arguments and environment are too large";
	case ENOMEM: return "out of memory";
	case EISDIR: return "is a directory";
	default: return NULL;
	}
}

static void explain(struct start *s, const char *what, const char *name, int error)
{
	const char *why = reason(error);
	if (why)
		fmt_print(s->why, s->why_size, "%s%s: %s", what, name, why);
	else
		fmt_print(s->why, s->why_size, "%s%s: error %d", what, name, -error);
}

static int run_program(struct start *s)
{
	const struct boot_config *boot = s->boot;
	char *path = kalloc(PATH_MAX_BYTES);
	if (!path)
		return -ENOMEM;
	int r = find_program(boot, path, PATH_MAX_BYTES);
	if (!r) {
		struct exec_request request = { .dir = AT_FDCWD, .path = path };
		exec_args_init(&request.args, path);
		r = exec_args_from_kernel(&request.args, boot->argv, boot->envp);
		if (!r)
			r = (int)exec_run(&request);
		exec_args_destroy(&request.args);
	}
	kfree(path);
	if (r)
		explain(s, "", boot->program, r);
	return r;
}

static int become(struct start *s)
{
	const struct boot_config *boot = s->boot;
	if (boot->workdir && boot->workdir[0]) {
		int r = enter_directory(boot->workdir);
		if (r) {
			explain(s, "working directory ", boot->workdir, r);
			return r;
		}
	}
	int r = stdio_open();
	if (r) {
		explain(s, "", "standard streams", r);
		return r;
	}
	return run_program(s);
}

_Noreturn static void first_task(void *argument)
{
	struct start *s = argument;
	int error = become(s);
	s->error = error;
	__atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
	waitq_wake_all(&s->wait); // the last use of s
	if (error) {
		// The starter reports and stops the machine; this must not look like the end of the program.
		for (;;) {
			task_prepare_park(PARK_UNINTERRUPTIBLE);
			(void)task_park(PARK_FOREVER);
		}
	}
	port_task_enter_user();
}

// ---- making it ----

static int make_parts(struct task *t, struct process *p, const struct boot_config *boot)
{
	int error = -ENOMEM;
	t->cred = cred_create(boot->uid, boot->gid, boot->group_count, boot->groups);
	p->sighand = sighand_alloc();
	t->files = files_create();
	t->fs = fs_context_copy(NULL);
	t->namespaces = namespaces_get(&namespaces_initial);
	if (!t->cred || !p->sighand || !t->files || !t->fs)
		return -ENOMEM;
	t->pid = pid_alloc(&pid_namespace_first, &error);
	if (!t->pid)
		return error;
	return port_task_create(t, &t->port);
}

static void link_first(struct task *t, struct process *p)
{
	t->tid = t->own_tid = p->pid = p->own_pid = t->pid->number;
	t->sighand = p->sighand;
	t->start_ns = p->start_ns = clock_monotonic_ns();
	t->exit_signal = SIGCHLD;
	process_get(p);
	t->process = p;
	p->leader = t;
	__atomic_add_fetch(&t->cred->user->tasks, 1, __ATOMIC_RELAXED);
	spin_lock(&tasklist_lock);
	t->pid->task = t;
	list_add_tail(&p->threads, &t->thread_node);
	p->thread_count = p->live_count = 1;
	process_link(p, NULL);
	process_set_group(p, t->pid);
	process_set_session(p, t->pid);
	p->is_session_leader = true;
	init_process = p;
	spin_unlock(&tasklist_lock);
}

int process_start_init(const struct boot_config *boot, char *why, size_t why_size)
{
	static struct start s; // the waker may still hold the queue's lock when the waiter has returned
	struct task *t = task_alloc();
	struct process *p = process_alloc();
	int error = t && p ? make_parts(t, p, boot) : -ENOMEM;
	if (error) { // the machine stops: nothing to undo
		fmt_print(why, why_size, "the first process: error %d", -error);
		return error;
	}
	s = (struct start){ .boot = boot, .why = why, .why_size = why_size };
	waitq_init(&s.wait);
	set_limits(p, boot);
	string_copy(t->comm, "init", sizeof(t->comm));
	if (boot->options.flags & BOOT_OPTION_TRACE)
		t->work |= WORK_TRACE;
	link_first(t, p);
	sched_task_init(t, NULL);
	port_task_set_entry(t->port, first_task, &s);
	error = PORT_HOST ? port_task_spawn(t->port, NULL) : 0;
	if (error) {
		fmt_print(why, why_size, "the first process: error %d", -error);
		return error;
	}
	sched_start(t);
	wait_event(&s.wait, __atomic_load_n(&s.done, __ATOMIC_ACQUIRE));
	return s.error;
}
