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
	[NAMESPACE_UTS] = &uts_namespace_type,       [NAMESPACE_IPC] = &ipc_namespace_type,
	[NAMESPACE_USER] = &user_namespace_type,     [NAMESPACE_MNT] = &mnt_namespace_type,
	[NAMESPACE_PID] = &pid_namespace_type,       [NAMESPACE_NET] = &net_namespace_type,
	[NAMESPACE_CGROUP] = &cgroup_namespace_type,
};

struct namespaces namespaces_initial = { .refs = { 1 } };

static void init(void)
{
	namespaces_initial.of[NAMESPACE_UTS] = uts_namespace_initial;
	namespaces_initial.of[NAMESPACE_IPC] = ipc_namespace_initial;
	namespaces_initial.of[NAMESPACE_MNT] = mnt_namespace_initial;
	namespaces_initial.of[NAMESPACE_PID] = pid_namespace_initial;
	namespaces_initial.of[NAMESPACE_NET] = net_namespace_initial;
	namespaces_initial.of[NAMESPACE_CGROUP] = cgroup_namespace_initial;
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
	namespace_put(&owner->common); // recursion: at most as deep as user namespaces nest
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

// A set like the current task's, but new where `flags` say so, for somebody with those credentials.
static struct namespaces *renew(uint64_t flags, const struct cred *c, struct fs_context *fs)
{
	struct user_namespace *owner = cred_namespace(c);
	if (!cred_capable_own(c, CAP_SYS_ADMIN))
		return err_ptr(-EPERM);
	struct namespaces *s = copy(current->namespaces);
	if (!s)
		return err_ptr(-ENOMEM);
	for (unsigned k = 0; k < NAMESPACE_KINDS; k++) {
		const struct namespace_type *type = namespace_types[k];
		if (!type->create || !(flags & type->clone_flag))
			continue;
		struct namespace *n = type->create(s->of[k], owner, fs);
		if (is_err(n)) {
			namespaces_put(s);
			return (struct namespaces *)n;
		}
		namespace_put(s->of[k]);
		s->of[k] = n;
	}
	return s;
}

struct namespaces *namespaces_for_child(uint64_t flags, const struct cred *c, struct fs_context *fs)
{
	return likely(!(flags & NAMESPACE_SET_FLAGS)) ? namespaces_get(current->namespaces) : renew(flags, c, fs);
}

struct namespace *task_namespace_get(struct task *t, enum namespace_kind kind)
{
	struct namespace *n = NULL;
	spin_lock(&t->lock);
	if (kind == NAMESPACE_USER)
		n = &cred_namespace(t->cred)->common;
	else if (t->namespaces)
		n = t->namespaces->of[kind];
	if (n)
		namespace_get(n);
	spin_unlock(&t->lock);
	return n;
}

// What a task gets together: either all of it or nothing. NULL: it keeps what it has.
struct change {
	struct cred *cred;
	struct namespaces *set;
	struct fs_context *fs;
};

static void change_drop(struct change *c)
{
	if (c->cred)
		cred_put(c->cred);
	namespaces_put(c->set);
	fs_context_put(c->fs);
}

static void change_install(struct change *c)
{
	struct task *t = current;
	// What a process would undo is undone in the namespace it did it in.
	if (c->set && c->set->of[NAMESPACE_IPC] != t->namespaces->of[NAMESPACE_IPC])
		sysv_process_exit(t->process->pid);
	if (c->cred)
		cred_install(c->cred);
	c->cred = NULL;
	spin_lock(&t->lock);
	struct namespaces *set = t->namespaces;
	struct fs_context *fs = t->fs;
	if (c->set)
		t->namespaces = c->set;
	if (c->fs)
		t->fs = c->fs;
	spin_unlock(&t->lock);
	if (c->set)
		namespaces_put(set);
	if (c->fs)
		fs_context_put(fs);
}

// ---- unshare ----

// What threads of one process must share cannot be taken apart; alone it is unshared already.
static bool is_alone(uint64_t flags)
{
	const struct process *p = current->process;
	if ((flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)) && p->thread_count > 1)
		return false;
	return (!(flags & CLONE_SIGHAND) || refcount_read(&p->sighand->refs) == 1) &&
	       (!(flags & CLONE_VM) || refcount_read(&current->mm->users) == 1);
}

static int unshare_cred(struct change *c)
{
	c->cred = cred_copy(current->cred, current->cred->group_count);
	return c->cred ? user_namespace_create(c->cred) : -ENOMEM;
}

static int unshare_set(struct change *c, uint64_t flags)
{
	struct namespaces *s = renew(flags, c->cred ? c->cred : current->cred, c->fs);
	if (is_err(s))
		return (int)ptr_err(s);
	c->set = s;
	return 0;
}

static int unshare_fs(struct change *c)
{
	c->fs = fs_context_copy(current->fs);
	return c->fs ? 0 : -ENOMEM;
}

long sys_unshare(uint64_t flags)
{
	const uint64_t known = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM;
	struct change c = { NULL };
	int error = 0;
	if (flags & CLONE_NEWUSER)
		flags |= CLONE_THREAD | CLONE_FS;
	if (flags & CLONE_NEWNS)
		flags |= CLONE_FS;
	if (flags & ~(known | NAMESPACE_FLAGS) || !is_alone(flags))
		return -EINVAL;
	if (flags & CLONE_NEWUSER)
		error = unshare_cred(&c);
	if (!error && (flags & CLONE_FS))
		error = unshare_fs(&c);
	if (!error && (flags & NAMESPACE_SET_FLAGS))
		error = unshare_set(&c, flags);
	if (!error && (flags & CLONE_FILES))
		error = files_unshare();
	if (error) {
		change_drop(&c);
		return error;
	}
	if (flags & CLONE_SYSVSEM)
		sysv_process_exit(current->process->pid);
	change_install(&c);
	return 0;
}

// ---- setns ----

// A process with several threads, or one that shares its root and working directory, has one user namespace.
static int enter_user(struct change *c, struct user_namespace *n)
{
	if (n == cred_namespace(current->cred) || current->process->thread_count > 1 ||
	    refcount_read(&current->fs->refs) > 1)
		return -EINVAL;
	if (!cred_capable_in(current->cred, n, CAP_SYS_ADMIN))
		return -EPERM;
	c->cred = cred_copy(current->cred, current->cred->group_count);
	if (!c->cred)
		return -ENOMEM;
	cred_enter_namespace(c->cred, n);
	return 0;
}

// A mount namespace comes with a root and a working directory, which must be nobody else's.
static int enter_further(struct change *c, struct namespace *n)
{
	if (n->type->kind != NAMESPACE_MNT)
		return n->type->enter(n, NULL);
	if (refcount_read(&current->fs->refs) > 1)
		return -EINVAL;
	int error = unshare_fs(c);
	return error ? error : n->type->enter(n, c->fs);
}

static int enter(struct change *c, struct namespace *n)
{
	const struct cred *mine = c->cred ? c->cred : current->cred;
	if (n->type->kind == NAMESPACE_USER)
		return enter_user(c, container_of(n, struct user_namespace, common));
	if (!cred_capable_in(mine, n->owner, CAP_SYS_ADMIN) || !cred_capable_own(mine, CAP_SYS_ADMIN))
		return -EPERM;
	int error = n->type->enter ? enter_further(c, n) : 0;
	if (error)
		return error;
	namespace_get(n);
	namespace_put(c->set->of[n->type->kind]);
	c->set->of[n->type->kind] = n;
	return 0;
}

static int enter_kind_of(struct change *c, struct task *t, enum namespace_kind kind)
{
	struct namespace *n = kind == NAMESPACE_PID ? &task_pid_namespace(t)->common : task_namespace_get(t, kind);
	if (n && kind == NAMESPACE_PID)
		namespace_get(n); // the one it is in
	int error = n ? enter(c, n) : -ESRCH;
	namespace_put(n);
	return error;
}

// Those of a process that `flags` name, its user namespace first: rights for the others come from there.
static int enter_process(struct change *c, struct pid *pid, uint64_t flags)
{
	if (!flags || flags & ~NAMESPACE_FLAGS)
		return -EINVAL;
	struct task *t = pid_task_get(pid);
	if (!t)
		return -ESRCH;
	int error = ptrace_may_access(t);
	if (!error && (flags & CLONE_NEWUSER))
		error = enter_kind_of(c, t, NAMESPACE_USER);
	for (unsigned k = 0; k < NAMESPACE_KINDS && !error; k++)
		if (k != NAMESPACE_USER && (flags & namespace_types[k]->clone_flag))
			error = enter_kind_of(c, t, k);
	task_put(t);
	return error;
}

static int enter_any(struct change *c, int fd, struct file *f, uint64_t flags)
{
	struct namespace *n = namespace_of_file(f);
	if (n)
		return flags && flags != n->type->clone_flag ? -EINVAL : enter(c, n);
	struct pid *pid = pidfd_get(fd, NULL);
	if (is_err(pid))
		return -EINVAL;
	int error = enter_process(c, pid, flags);
	pid_put(pid);
	return error;
}

long sys_setns(int fd, int flags)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	struct change c = { .set = copy(current->namespaces) };
	int error = c.set ? enter_any(&c, fd, f, (uint32_t)flags) : -ENOMEM;
	file_put(f);
	if (error)
		change_drop(&c);
	else
		change_install(&c);
	return error;
}
