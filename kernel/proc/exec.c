// SPDX-License-Identifier: Apache-2.0
// execve(2), execveat(2): replaces the program of a process.
//
// The new address space is built completely before the point of no return (commit()), so whatever can fail with an errno does
// so while the old program still stands. After it come: the death of the other threads' rest, the switch, what execve resets,
// and the first stack, whose failure can only be a SIGSEGV.
#include "exec.h"

#include "kernel/keys.h"
#include "kernel/boot_config.h"
#include "kernel/futex.h"
#include "kernel/random.h"
#include "kernel/syscalls.h"
#include "kernel/timer.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "kernel/vdso.h"
#include "kernel/uring.h"

#include <asm/processor-flags.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/personality.h>
#include <linux/ptrace.h>
#include <linux/securebits.h>

// Segment selectors every x86-64 Linux program sees.
#define USER_CS 0x33u
#define USER_SS 0x2bu

struct exec {
	struct exec_request *request;
	struct file *program, *interpreter;
	struct exec_image image;
	struct exec_stack stack;
	struct cred *cred;
	bool secure, randomize;
	unsigned auxv_words;
	char interpreter_path[PATH_MAX_BYTES];
	char script_path[PATH_MAX_BYTES]; // of the interpreter of a script, which may be a script itself
	char head[EXEC_HEAD_BYTES];
	size_t head_size;
};

// ---- opening ----

static int open_checked(const struct path *p, struct file **out)
{
	struct inode *i = p->dentry->inode;
	if (inode_is_link(i))
		return -ELOOP; // AT_SYMLINK_NOFOLLOW
	if (!inode_is_reg(i) || (p->mount && (p->mount->flags & MS_NOEXEC)))
		return -EACCES;
	int r = inode_permission(i, MAY_EXEC);
	if (r)
		return r;
	struct file *f = file_open_path(p, O_RDONLY | OPEN_EXEC);
	if (is_err(f))
		return (int)ptr_err(f);
	// Nobody may write to it as long as it runs; file_put() ends that.
	r = inode_deny_write(i);
	if (r) {
		file_put(f);
		return r;
	}
	f->mode |= FILE_WRITE_DENIED;
	*out = f;
	return 0;
}

static int open_exec(int dir, const char *path, int flags, struct file **out)
{
	struct path p;
	unsigned lookup =
		(flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW) | (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY : 0);
	int r = path_lookup(dir, path, lookup, &p);
	if (r)
		return r;
	r = open_checked(&p, out);
	path_put(&p);
	return r;
}

static int read_head(struct exec *e, struct file *f)
{
	ssize_t n = file_read_kernel(f, e->head, sizeof(e->head), 0);
	if (n < 0)
		return (int)n;
	e->head_size = (size_t)n;
	return 0;
}

// Follows #! lines until a binary is found, which is in e->program then and its first bytes in e->head.
static int open_program(struct exec *e)
{
	struct exec_request *r = e->request;
	const char *script = r->path;
	int error = open_exec(r->dir, r->path, r->flags, &e->program);
	if (error)
		return error;
	for (unsigned depth = 0;; depth++) {
		char *interpreter, *argument;
		error = read_head(e, e->program);
		if (error)
			return error;
		if (exec_script_parse(e->head, e->head_size, &interpreter, &argument))
			return 0;
		if (depth == EXEC_SCRIPT_DEPTH)
			return -ELOOP;
		error = exec_args_push_interpreter(&r->args, interpreter, argument, script);
		if (error)
			return error;
		string_copy(e->script_path, interpreter, sizeof(e->script_path));
		script = e->script_path;
		file_put(e->program);
		e->program = NULL;
		error = open_exec(AT_FDCWD, script, 0, &e->program);
		if (error)
			return error;
	}
}

static int open_interpreter(struct exec *e)
{
	const struct elf_image *program = &e->image.program;
	if (!program->interp_size)
		return 0;
	int r = exec_elf_interpreter(e->program, program, e->interpreter_path, sizeof(e->interpreter_path));
	if (!r)
		r = open_exec(AT_FDCWD, e->interpreter_path, 0, &e->interpreter);
	if (!r)
		r = read_head(e, e->interpreter);
	if (r)
		return r;
	r = exec_elf_read(e->interpreter, e->head, e->head_size, &e->image.interpreter);
	return r == -ENOEXEC ? -ELIBBAD : r;
}

// ---- credentials: set-user-id bits and the capabilities of root; capabilities(7), "Capabilities and execution of programs" ----

static void apply_set_id(struct exec *e, struct cred *c)
{
	struct inode *i = e->program->inode;
	const struct mount *m = e->program->path.mount;
	if (task_no_new_privs(current) || !m || !mount_may_suid(m))
		return;
	// To become somebody the namespace does not know would be a way out of it.
	if (!id_is_mapped(c, ID_USER, i->uid) || !id_is_mapped(c, ID_GROUP, i->gid))
		return;
	if (i->mode & S_ISUID)
		c->euid = i->uid;
	if ((i->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		c->egid = i->gid;
}

static int make_cred(struct exec *e)
{
	const struct cred *old = current->cred;
	struct cred *c = cred_copy(old, old->group_count);
	if (!c)
		return -ENOMEM;
	apply_set_id(e, c);
	bool set_id = c->euid != old->euid || c->egid != old->egid;
	uid_t root_id = uid_meant(c, 0);
	bool root = !(c->securebits & (1u << SECURE_NOROOT)) && (c->uid == root_id || c->euid == root_id);
	if (set_id)
		c->cap_ambient = 0;
	c->cap_permitted = root ? (c->cap_inheritable | c->cap_bounding) : c->cap_ambient;
	c->cap_effective = root && c->euid == root_id ? c->cap_permitted : c->cap_ambient;
	c->suid = c->fsuid = c->euid;
	c->sgid = c->fsgid = c->egid;
	c->securebits &= ~(1u << SECURE_KEEP_CAPS);
	e->secure = set_id || c->euid != c->uid || c->egid != c->gid;
	e->cred = c;
	return 0;
}

// ---- the new address space ----

static int build(struct exec *e)
{
	struct exec_image *image = &e->image;
	int r = exec_elf_read(e->program, e->head, e->head_size, &image->program);
	if (!r)
		r = open_interpreter(e);
	if (!r)
		r = make_cred(e);
	if (r)
		return r;
	image->mm = mm_create();
	if (!image->mm)
		return -ENOMEM;
	if (current->mm)
		image->mm->dump_filter = current->mm->dump_filter;
	e->randomize =
		!(boot_config.options.flags & BOOT_OPTION_NO_ASLR) && !(current->personality & ADDR_NO_RANDOMIZE);
	mm_layout(image->mm, process_rlimit(current->process, RLIMIT_STACK), e->randomize);
	r = exec_elf_map(image, e->program, e->interpreter, e->randomize);
	if (!r)
		r = vdso_map(image->mm, exec_elf_mmap_end(image));
	if (r)
		return r;
	// The vector's length does not depend on addresses: plan, then fill.
	struct mm *mm = image->mm;
	mm->auxv_words = exec_auxv(image, &e->stack, e->cred, e->secure, mm->auxv, array_count(mm->auxv));
	r = exec_stack_plan(&e->request->args, mm->stack_top, mm->auxv_words, &e->stack);
	if (r)
		return r;
	(void)exec_auxv(image, &e->stack, e->cred, e->secure, mm->auxv, array_count(mm->auxv));
	return exec_stack_map(mm, &e->stack, image->program.exec_stack);
}

static void describe(struct exec *e)
{
	struct mm *mm = e->image.mm;
	const struct exec_stack *s = &e->stack;
	mm->arg_start = s->argv;
	mm->arg_end = mm->env_start = s->envp;
	mm->env_end = s->execfn;
	mm->dumpable = !e->secure;
	mm->exe = e->program;
	e->program = NULL;
}

// ---- the other threads ----

static bool alone(const struct process *p) { return __atomic_load_n(&p->thread_count, __ATOMIC_ACQUIRE) == 1; }

// Takes over pid, and with it the place, of the dead leader. tasklist_lock and sighand->lock held.
static struct task *become_leader(struct task *t)
{
	struct process *p = t->process;
	struct task *old = p->leader;
	struct pid *mine = t->pid, *theirs = old->pid;
	if (old->tracer)
		ptrace_unlink(old);
	t->pid = theirs;
	t->tid = theirs->number;
	t->own_tid = old->own_tid;
	theirs->task = t;
	old->pid = mine;
	old->tid = mine->number;
	old->own_tid = pid_number_in(task_pid_namespace(old), mine);
	mine->task = NULL;
	pid_release_if_unused(mine);
	list_remove(&old->thread_node);
	signal_flush(&old->pending);
	__atomic_sub_fetch(&old->cred->user->tasks, 1, __ATOMIC_RELAXED);
	t->start_ns = old->start_ns;
	t->exit_signal = SIGCHLD; // a thread has none: a parent that waits now would not take the process for a child
	p->leader = t;
	return old;
}

static int dethread(void)
{
	struct task *t = current, *old = NULL;
	struct process *p = t->process;
	struct sighand *s = process_sighand_lock(p);
	if (p->exiting || p->execing) {
		spin_unlock(&s->lock);
		return -EAGAIN; // about to be killed
	}
	if (likely(alone(p) && p->leader == t)) {
		spin_unlock(&s->lock);
		return 0;
	}
	p->execing = true;
	p->exec_task = t;
	process_zap_threads(p, t);
	spin_unlock(&s->lock);
	for (;;) {
		task_prepare_park(PARK_KILLABLE);
		if (alone(p) || fatal_signal_pending(t))
			break;
		(void)task_park(PARK_FOREVER);
	}
	task_finish_park();
	spin_lock(&tasklist_lock);
	s = process_sighand_lock(p);
	p->execing = false;
	p->exec_task = NULL;
	if (alone(p) && !p->exiting && p->leader != t)
		old = become_leader(t);
	bool done = p->leader == t && !p->exiting;
	spin_unlock(&s->lock);
	spin_unlock(&tasklist_lock);
	if (old)
		task_put(old);
	return done ? 0 : -EAGAIN;
}

// ---- the point of no return ----

static int switch_mm(struct mm *mm)
{
	struct task *t = current;
	struct mm *old = t->mm;
	if (old) {
		futex_exit_robust(t);
		if (t->clear_child_tid && refcount_read(&old->users) > 1) {
			struct uptr word = { t->clear_child_tid };
			if (!put_user((int32_t)0, word))
				(void)futex_wake_address(word, 1, true);
		}
		(void)mm_resident_pages(old);
		t->process->max_rss_pages = max(t->process->max_rss_pages, old->peak_resident);
	}
	t->clear_child_tid = t->set_child_tid = 0;
	t->robust_list = 0;
	sched_exec_times();
	keys_exec();
	spin_lock(&t->lock);
	t->mm = mm;
	spin_unlock(&t->lock);
	if (PORT_HOST && old)
		mm_leave(old, t);
	int error = mm_activate(mm);
	if (old)
		mm_release_user(old);
	vfork_complete(t);
	return error;
}

// Handlers are gone with the old program; what was ignored stays so. A table shared with others is left to them.
static void reset_signals(struct sighand *fresh)
{
	struct task *t = current;
	struct process *p = t->process;
	struct sighand *s = process_sighand_lock(p), *locked = s;
	if (fresh) {
		memcpy(fresh->action, s->action, sizeof(s->action));
		fresh->previous = s;
		s = fresh;
	}
	for (unsigned i = 0; i < SIGNALS_MAX; i++) {
		bool ignored = s->action[i].handler == (uint64_t)SIG_IGN;
		if (!s->action[i].handler && !s->action[i].flags && !s->action[i].mask)
			continue;
		memset(&s->action[i], 0, sizeof(s->action[i]));
		if (ignored)
			s->action[i].handler = (uint64_t)SIG_IGN;
	}
	if (fresh) {
		t->sighand = fresh;
		__atomic_store_n(&p->sighand, fresh, __ATOMIC_RELEASE);
	}
	t->altstack_base = t->altstack_size = 0;
	t->altstack_flags = SS_DISABLE;
	spin_unlock(&locked->lock);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static void reset_task(struct exec *e)
{
	struct task *t = current;
	if (e->secure)
		t->parent_death_signal = 0;
	t->flags &= ~(TASK_FORKED_NO_EXEC | TASK_VFORKED);
	t->did_exec = true;
	t->exit_signal = SIGCHLD;
	t->restart.fn = NULL;
	rseq_reset(t);
	task_comm_set(t, base_name(e->request->path));
	port_task_set_fs_base(t->port, 0);
	port_task_set_gs_base(t->port, 0);
	port_xstate_reset(t->port);
	cred_install(e->cred);
	e->cred = NULL;
}

static void set_registers(struct exec *e)
{
	struct user_regs *regs = port_task_regs(current->port);
	memset(regs, 0, sizeof(*regs));
	regs->orig_ax = UINT64_MAX;
	regs->ip = e->image.entry;
	regs->sp = e->stack.sp;
	regs->cs = USER_CS;
	regs->ss = USER_SS;
	regs->flags = X86_EFLAGS_IF | X86_EFLAGS_FIXED;
}

static int write_memory(struct exec *e)
{
	struct mm *mm = e->image.mm;
	uint64_t page = align_down(e->stack.sp, PAGE_SIZE);
	(void)mm_populate(mm, page, align_up(mm->stack_top, PAGE_SIZE) - page, true); // spares the faults
	for (unsigned i = 0; i < e->image.zero_count; i++)
		if (clear_user((struct uptr){ e->image.zero[i].start }, e->image.zero[i].size))
			return -EFAULT;
	return exec_stack_write(&e->request->args, &e->stack, mm->auxv, mm->auxv_words);
}

static int commit(struct exec *e)
{
	struct task *t = current;
	pid_t old_tid = t->tid;
	struct sighand *fresh = NULL;
	int r = files_unshare();
	if (r)
		return r;
	r = dethread();
	if (r)
		return r;
	uring_process_exit(t->process);
	if (t->uring_rings)
		uring_task_exit(t);
	if (refcount_read(&t->process->sighand->refs) > 1) {
		fresh = sighand_alloc();
		if (!fresh)
			return -ENOMEM;
	}
	describe(e);
	int error = switch_mm(e->image.mm);
	reset_signals(fresh);
	process_timers_exec(t->process);
	reset_task(e);
	files_close_on_exec(t->files);
	set_registers(e);
	if (error) {
		signal_force(SIGKILL, SI_KERNEL, 0); // nothing stands any more that could take an errno
	} else if (write_memory(e)) {
		signal_force(SIGSEGV, SI_KERNEL, 0);
		struct sighand *s = process_sighand_lock(t->process);
		s->action[SIGSEGV - 1].handler = (uint64_t)SIG_DFL;
		spin_unlock(&s->lock);
	}
	ptrace_exec_done(old_tid);
	return 0;
}

// RLIMIT_NPROC exceeded by setuid() shows here, where programs look at errors (setuid(2), EAGAIN note).
static int check_task_limit(void)
{
	const struct cred *c = current->cred;
	if (!c->over_task_limit || c->uid == 0)
		return 0;
	return (uint64_t)__atomic_load_n(&c->user->tasks, __ATOMIC_RELAXED) >
			       process_rlimit(current->process, RLIMIT_NPROC)
		       ? -EAGAIN
		       : 0;
}

long exec_run(struct exec_request *r)
{
	int error = check_task_limit();
	struct exec *e = error ? NULL : kalloc(sizeof(*e));
	if (!e)
		return error ? error : -ENOMEM;
	e->request = r;
	error = open_program(e);
	if (!error)
		error = build(e);
	if (!error)
		error = commit(e);
	if (error && e->image.mm)
		mm_release_user(e->image.mm);
	if (e->cred)
		cred_put(e->cred);
	if (e->program)
		file_put(e->program);
	if (e->interpreter)
		file_put(e->interpreter);
	kfree(e);
	return error;
}

// What the program and its scripts are called by: the path, or the descriptor it was opened by.
static int name_of(int dir, const char *path, char *buffer, size_t size, const char **out)
{
	*out = path;
	if (dir == AT_FDCWD || path[0] == '/')
		return 0;
	int n = path[0] ? fmt_print(buffer, size, "/dev/fd/%d/%s", dir, path)
			: fmt_print(buffer, size, "/dev/fd/%d", dir);
	*out = buffer;
	return (size_t)n < size ? 0 : -ENAMETOOLONG;
}

static long execute(int dir, struct uptr user_path, struct uptr argv, struct uptr envp, int flags)
{
	if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	char *path = path_string_get(user_path);
	if (is_err(path))
		return ptr_err(path);
	char *name_buffer = dir == AT_FDCWD ? NULL : kalloc(PATH_MAX_BYTES);
	struct exec_request r = { .dir = dir, .path = path, .flags = flags };
	const char *name = path;
	long error = 0;
	if (!path[0] && !(flags & AT_EMPTY_PATH))
		error = -ENOENT;
	if (!error && name_buffer)
		error = name_of(dir, path, name_buffer, PATH_MAX_BYTES, &name);
	if (!error) {
		exec_args_init(&r.args, name);
		error = exec_args_from_user(&r.args, argv, envp);
		if (!error)
			error = exec_run(&r);
		exec_args_destroy(&r.args);
	}
	kfree(name_buffer);
	path_string_free(path);
	return error;
}

long sys_execve(struct uptr path, struct uptr argv, struct uptr envp) { return execute(AT_FDCWD, path, argv, envp, 0); }

long sys_execveat(int dir, struct uptr path, struct uptr argv, struct uptr envp, int flags)
{
	return execute(dir, path, argv, envp, flags);
}
