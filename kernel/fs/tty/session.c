// SPDX-License-Identifier: Apache-2.0
// Terminals and sessions: controlling terminal, foreground process group, background access (setsid(2), tcsetpgrp(3), credentials(7)).
#include "kernel/errno.h"
#include "kernel/uaccess.h"
#include "tty.h"

#include <asm/ioctls.h>

// process->tty is guarded by tasklist_lock and holds a reference.

static struct tty *current_tty_get(void)
{
	spin_lock(&tasklist_lock);
	struct tty *t = current->process->tty;
	if (t)
		tty_get(t);
	spin_unlock(&tasklist_lock);
	return t;
}

void tty_process_inherit(struct process *child, struct process *parent)
{
	child->tty = parent->tty;
	if (child->tty)
		tty_get(child->tty);
}

void tty_process_release(struct process *p)
{
	spin_lock(&tasklist_lock);
	struct tty *t = p->tty;
	p->tty = NULL;
	spin_unlock(&tasklist_lock);
	tty_put(t);
}

void tty_process_info(struct process *p, dev_t *device, pid_t *foreground)
{
	*device = 0;
	*foreground = -1;
	spin_lock(&tasklist_lock);
	struct tty *t = p->tty;
	if (t)
		tty_get(t);
	spin_unlock(&tasklist_lock);
	if (!t)
		return;
	*device = t->device;
	mutex_lock(&t->lock);
	if (t->foreground)
		*foreground = t->foreground->number;
	mutex_unlock(&t->lock);
	tty_put(t);
}

// Takes the terminal from every process of a session. Their references are dropped outside the spinlock.
static void session_clear_tty(struct pid *session, struct tty *t)
{
	unsigned dropped = 0;
	struct process *p;

	spin_lock(&tasklist_lock);
	list_for_each (p, &session->session, session_node)
		if (p->tty == t) {
			p->tty = NULL;
			dropped++;
		}
	spin_unlock(&tasklist_lock);
	while (dropped--)
		tty_put(t);
}

void tty_disassociate(struct process *leader, bool exiting)
{
	spin_lock(&tasklist_lock);
	struct tty *t = leader->tty;
	struct pid *session = leader->session;
	if (t)
		tty_get(t);
	if (t && session)
		refcount_get(&session->refs);
	spin_unlock(&tasklist_lock);
	if (!t || !session) {
		tty_put(t);
		return;
	}
	mutex_lock(&t->lock);
	if (t->session == session) {
		tty_signal_foreground(t, SIGHUP);
		tty_signal_foreground(t, SIGCONT);
		pid_put(t->session);
		t->session = NULL;
		if (t->foreground)
			pid_put(t->foreground);
		t->foreground = NULL;
	}
	mutex_unlock(&t->lock);
	session_clear_tty(session, t);
	pid_put(session);
	tty_put(t);
	(void)exiting;
}

void tty_signal_foreground(struct tty *t, int signal)
{
	if (t->foreground)
		signal_send_group(t->foreground->number, signal, NULL);
}

void tty_acquire(struct tty *t, bool steal)
{
	struct process *p = current->process;
	struct pid *old = NULL;

	mutex_lock(&t->lock);
	spin_lock(&tasklist_lock);
	bool may = p->is_session_leader && !p->tty;
	spin_unlock(&tasklist_lock);
	if (!may || (t->session && !steal)) {
		mutex_unlock(&t->lock);
		return;
	}
	old = t->session;
	if (t->foreground)
		pid_put(t->foreground);
	spin_lock(&tasklist_lock);
	t->session = p->session;
	t->foreground = p->pgrp;
	refcount_get(&t->session->refs);
	refcount_get(&t->foreground->refs);
	tty_get(t);
	p->tty = t;
	spin_unlock(&tasklist_lock);
	mutex_unlock(&t->lock);
	if (old) {
		session_clear_tty(old, t);
		pid_put(old);
	}
}

static bool is_ignored_or_blocked(int signal)
{
	struct sighand *h = current->sighand;

	spin_lock(&h->lock);
	bool yes = current->blocked & SIGMASK(signal) || h->action[signal - 1].handler == (uint64_t)SIG_IGN;
	spin_unlock(&h->lock);
	return yes;
}

// Does the current process, in the background of its own terminal, have to stop before it may go on?
int tty_check_background(struct tty *t, int signal)
{
	struct process *p = current->process;
	int result = 0;
	pid_t group;

	mutex_lock(&t->lock);
	spin_lock(&tasklist_lock);
	bool background = p->tty == t && t->foreground && p->pgrp != t->foreground;
	bool orphaned = background && process_is_orphaned_group(p->pgrp);
	group = p->pgrp ? p->pgrp->number : 0;
	spin_unlock(&tasklist_lock);
	mutex_unlock(&t->lock);
	if (!background)
		return 0;
	if (is_ignored_or_blocked(signal))
		result = signal == SIGTTIN ? -EIO : 0;
	else if (orphaned)
		result = -EIO;
	else {
		signal_send_group(group, signal, NULL);
		result = -ERESTARTSYS;
	}
	return result;
}

static long set_foreground(struct tty *t, struct uptr argument)
{
	pid_t number;

	int error = tty_check_background(t, SIGTTOU);
	if (error)
		return error;
	if (get_user(&number, argument))
		return -EFAULT;
	if (number < 0)
		return -EINVAL;
	struct pid *group = pid_find(pid_meant(number));
	if (!group)
		return -ESRCH;
	mutex_lock(&t->lock);
	spin_lock(&tasklist_lock);
	struct process *p = current->process;
	if (p->tty != t || t->session != p->session)
		error = -ENOTTY;
	else if (list_empty(&group->group) ||
		 list_first(&group->group, struct process, pgrp_node)->session != p->session)
		error = list_empty(&group->group) ? -ESRCH : -EPERM;
	spin_unlock(&tasklist_lock);
	if (!error) {
		struct pid *old = t->foreground;
		t->foreground = group;
		group = old;
	}
	mutex_unlock(&t->lock);
	if (group)
		pid_put(group);
	return error;
}

static long get_group(struct tty *t, struct file *f, struct uptr argument, bool session)
{
	pid_t number = 0;
	bool mine = current->process->tty == t;

	if (!mine && !(t->is_pty && f->ops->ioctl != tty_file_ops.ioctl)) // the master's side may ask too
		return -ENOTTY;
	mutex_lock(&t->lock);
	struct pid *p = session ? t->session : t->foreground;
	if (p)
		number = pid_number_in(task_pid_namespace(current), p);
	mutex_unlock(&t->lock);
	if (session && !number)
		return -ENOTTY;
	return put_user(number, argument);
}

static long set_controlling(struct tty *t, struct file *f, uint64_t steal)
{
	struct process *p = current->process;

	(void)f;
	spin_lock(&tasklist_lock);
	bool already = p->is_session_leader && p->tty == t;
	bool may = p->is_session_leader && !p->tty;
	spin_unlock(&tasklist_lock);
	if (already)
		return 0;
	if (!may)
		return -EPERM;
	if (t->session && !(steal == 1 && cred_capable(current->cred, 21 /* CAP_SYS_ADMIN */)))
		return -EPERM;
	tty_acquire(t, steal == 1);
	return 0;
}

static long give_up(struct tty *t)
{
	struct tty *mine = current_tty_get();

	tty_put(mine);
	if (mine != t)
		return -ENOTTY;
	if (current->process->is_session_leader)
		tty_disassociate(current->process, false);
	else
		tty_process_release(current->process);
	return 0;
}

long tty_session_ioctl(struct tty *t, struct file *f, unsigned command, struct uptr argument)
{
	switch (command) {
	case TIOCGPGRP: return get_group(t, f, argument, false);
	case TIOCGSID: return get_group(t, f, argument, true);
	case TIOCSPGRP: return set_foreground(t, argument);
	case TIOCSCTTY: return set_controlling(t, f, argument.address);
	case TIOCNOTTY: return give_up(t);
	}
	return -ENOIOCTLCMD;
}
