// SPDX-License-Identifier: Apache-2.0
// Pid namespaces: made, entered, and their end with that of their first process. pid_namespaces(7). The numbers are pid.c's.
#include "internal.h"

#include <linux/sched.h>

#define LEVEL_MAX 32u

struct pid_namespace pid_namespace_first = {
	.common = NAMESPACE_INIT(&pid_namespace_type, NAMESPACE_INO_PID, &user_namespace_initial),
};
struct namespace *const pid_namespace_initial = &pid_namespace_first.common;

static struct pid_namespace *of(struct namespace *n) { return container_of(n, struct pid_namespace, common); }

struct pid_namespace *task_pid_namespace(const struct task *t)
{
	return t->pid && t->pid->space ? t->pid->space : &pid_namespace_first;
}

bool pid_namespace_is_below(const struct pid_namespace *n, const struct pid_namespace *above)
{
	while (n && n->level > above->level)
		n = n->parent;
	return n == above;
}

static struct namespace *create(struct namespace *old, struct user_namespace *owner, struct fs_context *fs)
{
	struct pid_namespace *parent = of(old);
	if (parent != task_pid_namespace(current))
		return err_ptr(-EINVAL);
	if (parent->level >= LEVEL_MAX)
		return err_ptr(-ENOSPC);
	struct pid_namespace *n = kalloc(sizeof(*n));
	if (!n)
		return err_ptr(-ENOMEM);
	int error = namespace_init(&n->common, &pid_namespace_type, owner);
	if (error) {
		kfree(n);
		return err_ptr(error);
	}
	n->parent = parent;
	namespace_get(old);
	n->level = parent->level + 1;
	return &n->common;
}

static void destroy(struct namespace *common)
{
	struct pid_namespace *n = of(common);
	namespace_put(&n->parent->common); // recursion: at most LEVEL_MAX deep
	kfree(n);
}

// Children are born where their parent is, or below.
static int enter(struct namespace *n, struct fs_context *fs)
{
	return pid_namespace_is_below(of(n), task_pid_namespace(current)) ? 0 : -EINVAL;
}

const struct namespace_type pid_namespace_type = { .name = "pid",
						   .kind = NAMESPACE_PID,
						   .clone_flag = CLONE_NEWPID,
						   .create = create,
						   .enter = enter,
						   .destroy = destroy };

// ---- the end; tasklist_lock held ----

static bool is_in(const struct process *p, const struct pid_namespace *n)
{
	return p->leader && pid_namespace_is_below(task_pid_namespace(p->leader), n);
}

void pid_namespace_kill(struct pid_namespace *n, const struct process *except)
{
	struct process *p;
	n->dying = true;
	list_for_each (p, &process_list, node)
		if (p != except && is_in(p, n))
			(void)signal_send_process(p, SIGKILL, NULL);
}

bool pid_namespace_is_empty(const struct pid_namespace *n, const struct process *except)
{
	struct process *p;
	list_for_each (p, &process_list, node)
		if (p != except && !p->zombie && is_in(p, n))
			return false;
	return true;
}
