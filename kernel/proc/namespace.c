// SPDX-License-Identifier: Apache-2.0
// Namespaces of tasks: made by clone(2) and unshare(2), entered by setns(2). namespaces(7).
//
// task->namespaces is changed by its task under task->lock, under which others read it.
#include "internal.h"

#include "kernel/init.h"
#include "kernel/namespace.h"
#include "kernel/sysv.h"
#include "kernel/syscalls.h"
#include "pidfd.h"

#include <linux/capability.h>

#define INO_FIRST 0xF0000010u // above those of the first ones

const struct namespace_type *const namespace_types[NAMESPACE_KINDS] = {
	[NAMESPACE_UTS] = &uts_namespace_type,
	[NAMESPACE_IPC] = &ipc_namespace_type,
};

struct namespaces namespaces_initial = { .refs = { 1 } };

static void init(void)
{
	namespaces_initial.of[NAMESPACE_UTS] = uts_namespace_initial;
	namespaces_initial.of[NAMESPACE_IPC] = ipc_namespace_initial;
}
KERNEL_INIT(1, init);

// ---- one of them ----

int namespace_init(struct namespace *n, const struct namespace_type *type, struct user_namespace *owner)
{
	static uint32_t next_ino = INO_FIRST;
	int error = user_namespace_charge(owner, type->kind);
	if (error)
		return error;
	refcount_set(&n->refs, 1);
	n->ino = __atomic_fetch_add(&next_ino, 1, __ATOMIC_RELAXED);
	n->type = type;
	n->owner = owner;
	namespace_get(&owner->common);
	return 0;
}

void namespace_put(struct namespace *n)
{
	if (!n || !refcount_put(&n->refs))
		return;
	struct user_namespace *owner = n->owner;
	enum namespace_kind kind = n->type->kind;
	n->type->destroy(n);
	user_namespace_uncharge(owner, kind);
	namespace_put(&owner->common);
}

// ---- sets ----

void namespaces_put(struct namespaces *s)
{
	if (!s || !refcount_put(&s->refs))
		return;
	for (unsigned k = 0; k < NAMESPACE_KINDS; k++)
		namespace_put(s->of[k]);
	kfree(s);
}

static struct namespaces *copy(const struct namespaces *from)
{
	struct namespaces *s = kalloc(sizeof(*s));
	if (!s)
		return NULL;
	refcount_set(&s->refs, 1);
	for (unsigned k = 0; k < NAMESPACE_KINDS; k++) {
		s->of[k] = from->of[k];
		if (s->of[k])
			namespace_get(s->of[k]);
	}
	return s;
}

// A set like the current task's, but new where `flags` say so.
static struct namespaces *renew(uint64_t flags, struct user_namespace *owner)
{
	if (!cred_capable_in(current->cred, owner, CAP_SYS_ADMIN))
		return err_ptr(-EPERM);
	struct namespaces *s = copy(current->namespaces);
	if (!s)
		return err_ptr(-ENOMEM);
	for (unsigned k = 0; k < NAMESPACE_KINDS; k++) {
		const struct namespace_type *type = namespace_types[k];
		if (!type->create || !(flags & type->clone_flag))
			continue;
		struct namespace *n = type->create(s->of[k], owner);
		if (is_err(n)) {
			namespaces_put(s);
			return (struct namespaces *)n;
		}
		namespace_put(s->of[k]);
		s->of[k] = n;
	}
	return s;
}

struct namespaces *namespaces_for_child(uint64_t flags, struct user_namespace *owner)
{
	return likely(!(flags & NAMESPACE_FLAGS)) ? namespaces_get(current->namespaces) : renew(flags, owner);
}

struct namespace *task_namespace_get(struct task *t, enum namespace_kind kind)
{
	struct namespace *n = NULL;
	spin_lock(&t->lock);
	if (t->namespaces)
		n = t->namespaces->of[kind];
	if (n)
		namespace_get(n);
	spin_unlock(&t->lock);
	return n;
}

static void install(struct namespaces *s)
{
	struct task *t = current;
	// What a process would undo is undone in the namespace it did it in.
	if (s->of[NAMESPACE_IPC] != t->namespaces->of[NAMESPACE_IPC])
		sysv_process_exit(t->process->pid);
	spin_lock(&t->lock);
	struct namespaces *old = t->namespaces;
	t->namespaces = s;
	spin_unlock(&t->lock);
	namespaces_put(old);
}

// ---- unshare ----

static struct fs_context *fs_context_own(void)
{
	struct fs_context *fs = current->fs;
	if (refcount_read(&fs->refs) > 1)
		return fs_context_copy(fs);
	refcount_get(&fs->refs);
	return fs;
}

static void fs_context_install(struct fs_context *fs)
{
	struct task *t = current;
	spin_lock(&t->lock);
	struct fs_context *old = t->fs;
	t->fs = fs;
	spin_unlock(&t->lock);
	fs_context_put(old);
}

// What threads of one process must share cannot be taken apart; alone it is unshared already.
static bool is_alone(uint64_t flags)
{
	const struct process *p = current->process;
	if ((flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)) && p->thread_count > 1)
		return false;
	return (!(flags & CLONE_SIGHAND) || refcount_read(&p->sighand->refs) == 1) &&
	       (!(flags & CLONE_VM) || refcount_read(&current->mm->users) == 1);
}

long sys_unshare(uint64_t flags)
{
	const uint64_t known = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM;
	if (flags & ~(known | NAMESPACE_FLAGS))
		return -EINVAL;
	if (!is_alone(flags))
		return -EINVAL;
	struct fs_context *fs = NULL;
	struct namespaces *s = NULL;
	int error = 0;
	if (flags & NAMESPACE_FLAGS) {
		s = renew(flags, &user_namespace_initial);
		if (is_err(s))
			return ptr_err(s);
	}
	if (flags & CLONE_FS) {
		fs = fs_context_own();
		error = fs ? 0 : -ENOMEM;
	}
	if (!error && (flags & CLONE_FILES))
		error = files_unshare();
	if (error)
		goto undo;
	if (flags & CLONE_SYSVSEM)
		sysv_process_exit(current->process->pid);
	if (fs)
		fs_context_install(fs);
	if (s)
		install(s);
	return 0;
undo:
	if (fs)
		fs_context_put(fs);
	namespaces_put(s);
	return error;
}

// ---- setns ----

// May the current task make `n` its own? What that means for one kind is up to it.
static int may_enter(const struct namespace *n)
{
	const struct cred *c = current->cred;
	return cred_capable_in(c, n->owner, CAP_SYS_ADMIN) && cred_capable(c, CAP_SYS_ADMIN) ? 0 : -EPERM;
}

static int enter(struct namespaces *s, struct namespace *n)
{
	int error = may_enter(n);
	if (error)
		return error;
	namespace_get(n);
	namespace_put(s->of[n->type->kind]);
	s->of[n->type->kind] = n;
	return 0;
}

static int enter_file(struct namespaces *s, struct namespace *n, uint64_t flags)
{
	return flags && flags != n->type->clone_flag ? -EINVAL : enter(s, n);
}

// Those of a process that `flags` name.
static int enter_process(struct namespaces *s, struct pid *pid, uint64_t flags)
{
	if (!flags || flags & ~NAMESPACE_FLAGS)
		return -EINVAL;
	struct task *t = pid_task_get(pid);
	if (!t)
		return -ESRCH;
	int error = ptrace_may_access(t);
	for (unsigned k = 0; k < NAMESPACE_KINDS && !error; k++) {
		if (!(flags & namespace_types[k]->clone_flag))
			continue;
		struct namespace *n = task_namespace_get(t, k);
		error = n ? enter(s, n) : -ESRCH;
		namespace_put(n);
	}
	task_put(t);
	return error;
}

static int enter_any(struct namespaces *s, int fd, struct file *f, uint64_t flags)
{
	struct namespace *n = namespace_of_file(f);
	if (n)
		return enter_file(s, n, flags);
	struct pid *pid = pidfd_get(fd, NULL);
	if (is_err(pid))
		return -EINVAL;
	int error = enter_process(s, pid, flags);
	pid_put(pid);
	return error;
}

long sys_setns(int fd, int flags)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	struct namespaces *s = copy(current->namespaces);
	int error = s ? enter_any(s, fd, f, (uint32_t)flags) : -ENOMEM;
	file_put(f);
	if (error)
		namespaces_put(s);
	else
		install(s);
	return error;
}
