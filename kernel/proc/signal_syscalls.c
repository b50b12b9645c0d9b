// SPDX-License-Identifier: Apache-2.0
// The system calls of signals: dispositions, masks, waiting, sending, the alternate stack.
// sigaction(2), sigprocmask(2), sigpending(2), sigsuspend(2), sigtimedwait(2), rt_sigqueueinfo(2), sigaltstack(2), kill(2).
#include "internal.h"

#include "kernel/syscalls.h"
#include "lib/string.h"

#include <linux/capability.h>
#include <linux/time_types.h>

#define SA_KNOWN \
	(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND | SA_RESTORER)

static bool signal_is_valid(int signal) { return signal >= 1 && signal <= SIGNALS_MAX; }

// ---- dispositions and masks ----

static void action_set(struct process *p, struct sighand *s, int signal, const struct sigaction_kernel *new)
{
	struct sigaction_kernel *a = &s->action[signal - 1];
	*a = *new;
	a->mask &= ~SIGMASK_KERNEL_ONLY;
	a->flags &= SA_KNOWN;
	bool ignored = a->handler == (uint64_t)SIG_IGN ||
		       (a->handler == (uint64_t)SIG_DFL && (SIGMASK_IGNORE & SIGMASK(signal)));
	if (ignored) // POSIX 2.4.3: pending ones are discarded, blocked or not
		signal_forget_ignored(p, SIGMASK(signal));
}

long sys_rt_sigaction(int signal, struct uptr action, struct uptr old, size_t mask_size)
{
	struct sigaction_kernel new, before;
	struct process *p = current->process;
	if (mask_size != sizeof(sigmask_t))
		return -EINVAL;
	if (!uptr_is_null(action) && get_user(&new, action))
		return -EFAULT;
	if (!signal_is_valid(signal) || (!uptr_is_null(action) && (SIGMASK_KERNEL_ONLY & SIGMASK(signal))))
		return -EINVAL;
	struct sighand *s = process_sighand_lock(p);
	before = s->action[signal - 1];
	if (!uptr_is_null(action))
		action_set(p, s, signal, &new);
	spin_unlock(&s->lock);
	return uptr_is_null(old) ? 0 : put_user(before, old);
}

long sys_rt_sigprocmask(int how, struct uptr set, struct uptr old, size_t mask_size)
{
	struct task *t = current;
	sigmask_t before = t->blocked, new;
	if (mask_size != sizeof(sigmask_t))
		return -EINVAL;
	if (!uptr_is_null(set)) {
		if (get_user(&new, set))
			return -EFAULT;
		switch (how) {
		case SIG_BLOCK: new = before | new; break;
		case SIG_UNBLOCK: new = before & ~new; break;
		case SIG_SETMASK: break;
		default: return -EINVAL;
		}
		signal_set_blocked(new);
	}
	return uptr_is_null(old) ? 0 : put_user(before, old);
}

long sys_rt_sigpending(struct uptr set, size_t mask_size)
{
	struct task *t = current;
	sigmask_t shared, private;
	if (mask_size > sizeof(sigmask_t))
		return -EINVAL;
	signal_get_pending(t->process, t, &shared, &private);
	sigmask_t pending = (shared | private) & t->blocked;
	return copy_to_user(set, &pending, mask_size);
}

// ---- waiting ----

static void park_until_signal(void)
{
	for (;;) {
		task_prepare_park(PARK_INTERRUPTIBLE);
		if (signal_pending(current))
			break;
		if (task_park(PARK_FOREVER))
			break;
	}
	task_finish_park();
}

long sys_pause(void)
{
	park_until_signal();
	return -ERESTARTNOHAND;
}

long sys_rt_sigsuspend(struct uptr mask, size_t mask_size)
{
	if (mask_size != sizeof(sigmask_t))
		return -EINVAL;
	sigmask_t set;
	if (get_user(&set, mask))
		return -EFAULT;
	int r = signal_set_user_mask(mask, mask_size);
	if (r)
		return r;
	park_until_signal();
	return -ERESTARTNOHAND;
}

// Sleeps with `set` unblocked, so that such a signal wakes; the caller then takes it from the queue. sighand->lock held.
static int wait_for_set(struct task *t, struct sighand *s, sigmask_t set, uint64_t deadline)
{
	t->real_blocked = t->blocked;
	t->blocked &= ~set;
	signal_recompute(t);
	spin_unlock(&s->lock);
	int r = 0;
	while (!r) {
		task_prepare_park(PARK_INTERRUPTIBLE);
		if (signal_pending(t))
			break;
		r = task_park(deadline);
	}
	task_finish_park();
	spin_lock(&s->lock);
	t->blocked = t->real_blocked;
	t->real_blocked = 0;
	return r;
}

static int timeout_read(struct uptr timeout, uint64_t *deadline)
{
	struct __kernel_timespec ts;
	*deadline = PARK_FOREVER;
	if (uptr_is_null(timeout))
		return 0;
	if (get_user(&ts, timeout))
		return -EFAULT;
	if (ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= NSEC_PER_SEC)
		return -EINVAL;
	uint64_t ns;
	if (__builtin_mul_overflow((uint64_t)ts.tv_sec, (uint64_t)NSEC_PER_SEC, &ns) || ns > INT64_MAX)
		return 0;
	*deadline = ns || ts.tv_nsec ? clock_monotonic_ns() + ns + (uint64_t)ts.tv_nsec : 0;
	return 0;
}

long sys_rt_sigtimedwait(struct uptr set, struct uptr info, struct uptr timeout, size_t mask_size)
{
	struct task *t = current;
	sigmask_t wanted;
	siginfo_t got;
	uint64_t deadline;
	if (mask_size != sizeof(wanted))
		return -EINVAL;
	if (get_user(&wanted, set))
		return -EFAULT;
	int r = timeout_read(timeout, &deadline);
	if (r)
		return r;
	wanted &= ~SIGMASK_KERNEL_ONLY;
	struct sighand *s = process_sighand_lock(t->process);
	int signal = signal_dequeue_locked(t, wanted, &got);
	if (!signal && deadline) {
		r = wait_for_set(t, s, wanted, deadline);
		signal = signal_dequeue_locked(t, wanted, &got);
	}
	signal_recompute(t);
	spin_unlock(&s->lock);
	signal_info_shown(&got);
	if (!signal)
		return r == -ETIMEDOUT || !deadline ? -EAGAIN : -EINTR;
	if (!uptr_is_null(info) && put_user(got, info))
		return -EFAULT;
	return signal;
}

// ---- sending ----

void signal_info_user(siginfo_t *info, int signal, int code)
{
	memset(info, 0, sizeof(*info));
	info->si_signo = signal;
	info->si_code = code;
	info->si_pid = current->process->pid;
	info->si_uid = current->cred->uid;
}

// kill(2): a real or effective uid of the sender equals the real or saved one of the target; SIGCONT: same session.
// tasklist_lock held.
int signal_permission(struct process *p, int signal, const siginfo_t *info)
{
	const struct cred *c = current->cred;
	if (info && info->si_code > 0)
		return 0;
	if (p == current->process || cred_capable(c, CAP_KILL))
		return 0;
	struct task *leader = p->leader; // there until it is reaped, which takes the lock that we hold
	if (!leader)
		return -ESRCH;
	const struct cred *target = task_cred_get(leader);
	bool same = c->euid == target->suid || c->euid == target->uid || c->uid == target->suid ||
		    c->uid == target->uid || cred_capable_in(c, cred_namespace(target), CAP_KILL);
	cred_put(target);
	if (same || (signal == SIGCONT && p->session == current->process->session))
		return 0;
	return -EPERM;
}

// tasklist_lock held.
static int send_checked(struct process *p, int signal, const siginfo_t *info)
{
	int r = signal_permission(p, signal, info);
	return r ? r : signal_send_process(p, signal, info);
}

static int kill_group(pid_t pgrp, int signal, const siginfo_t *info)
{
	int result = -ESRCH;
	struct process *p;
	struct pid *g = pgrp ? pid_find_locked(pid_meant(pgrp)) : current->process->pgrp;
	if (g)
		list_for_each (p, &g->group, pgrp_node) {
			int r = send_checked(p, signal, info);
			if (result)
				result = r;
		}
	return result;
}

static int kill_all(int signal, const siginfo_t *info)
{
	int result = -ESRCH;
	struct process *p;
	const struct pid_namespace *mine = task_pid_namespace(current);
	list_for_each (p, &process_list, node) {
		if (p == init_process || p == mine->init || p == current->process || !p->leader ||
		    !pid_number_in(mine, p->leader->pid))
			continue;
		int r = send_checked(p, signal, info);
		if (result == -ESRCH || !r)
			result = r;
	}
	return result;
}

static int kill_one(pid_t pid, int signal, const siginfo_t *info)
{
	struct task *t = task_find_locked(pid_meant(pid));
	return t ? send_checked(t->process, signal, info) : -ESRCH;
}

long sys_kill(pid_t pid, int signal)
{
	siginfo_t info;
	int r;
	if (signal && !signal_is_valid(signal))
		return -EINVAL;
	if (pid == INT32_MIN)
		return -ESRCH;
	signal_info_user(&info, signal, SI_USER);
	spin_lock(&tasklist_lock);
	if (pid > 0)
		r = kill_one(pid, signal, &info);
	else if (pid == -1)
		r = kill_all(signal, &info);
	else
		r = kill_group(-pid, signal, &info);
	spin_unlock(&tasklist_lock);
	return r;
}

static long send_thread(pid_t tgid, pid_t tid, int signal, const siginfo_t *info)
{
	if (tid <= 0 || tgid == 0 || (tgid < 0 && tgid != -1))
		return -EINVAL;
	if (signal && !signal_is_valid(signal))
		return -EINVAL;
	struct task *t = task_find(pid_meant(tid));
	long r = -ESRCH;
	if (!t)
		return r;
	if (tgid == -1 || t->process->pid == pid_meant(tgid)) {
		spin_lock(&tasklist_lock);
		r = signal_permission(t->process, signal, info);
		spin_unlock(&tasklist_lock);
		if (!r)
			r = signal_send_task(t, signal, info);
	}
	task_put(t);
	return r;
}

long sys_tkill(pid_t tid, int signal)
{
	siginfo_t info;
	signal_info_user(&info, signal, SI_TKILL);
	return send_thread(-1, tid, signal, &info);
}

long sys_tgkill(pid_t tgid, pid_t tid, int signal)
{
	siginfo_t info;
	if (tgid <= 0)
		return -EINVAL;
	signal_info_user(&info, signal, SI_TKILL);
	return send_thread(tgid, tid, signal, &info);
}

// Does it name a process and its user?
static bool info_has_sender(const siginfo_t *info)
{
	if (info->si_signo == SIGCHLD && info->si_code > 0)
		return true;
	return info->si_code <= 0 && info->si_code != SI_TIMER && info->si_code != SI_SIGIO;
}

int signal_from_user_info(siginfo_t *info, struct uptr user)
{
	if (get_user(info, user))
		return -EFAULT;
	if (info_has_sender(info)) {
		info->si_pid = info->si_pid ? pid_meant(info->si_pid) : 0;
		info->si_uid = uid_meant(current->cred, info->si_uid);
	}
	return 0;
}

void signal_info_translate(siginfo_t *info, const struct task *to)
{
	if (info_has_sender(info))
		info->si_pid = pid_shown_in(to->pid->space, info->si_pid);
}

void signal_info_shown(siginfo_t *info)
{
	if (unlikely(current->cred->user_namespace) && info_has_sender(info))
		info->si_uid = uid_shown(current->cred, info->si_uid);
}

// A program may not pretend to be the kernel or kill(2) towards others.
static bool info_is_forged(const siginfo_t *info, pid_t target)
{
	return (info->si_code >= 0 || info->si_code == SI_TKILL) && target != current->process->own_pid;
}

long sys_rt_sigqueueinfo(pid_t pid, int signal, struct uptr user)
{
	siginfo_t info;
	if (signal_from_user_info(&info, user))
		return -EFAULT;
	if (info_is_forged(&info, pid))
		return -EPERM;
	if (signal && !signal_is_valid(signal))
		return -EINVAL;
	info.si_signo = signal;
	spin_lock(&tasklist_lock);
	int r = kill_one(pid, signal, &info);
	spin_unlock(&tasklist_lock);
	return r;
}

long sys_rt_tgsigqueueinfo(pid_t tgid, pid_t tid, int signal, struct uptr user)
{
	siginfo_t info;
	if (tgid <= 0 || tid <= 0)
		return -EINVAL;
	if (signal_from_user_info(&info, user))
		return -EFAULT;
	if (info_is_forged(&info, tgid))
		return -EPERM;
	info.si_signo = signal;
	return send_thread(tgid, tid, signal, &info);
}

// ---- alternate stack ----

struct stack_user { // stack_t
	uint64_t base;
	int32_t flags;
	uint32_t padding;
	uint64_t size;
};
static_assert(sizeof(struct stack_user) == sizeof(stack_t), "stack_t layout");

static int altstack_set(struct task *t, const struct stack_user *new)
{
	int32_t mode = new->flags & ~(int32_t)SS_AUTODISARM;
	if (altstack_contains(t, port_task_regs(t->port)->sp))
		return -EPERM;
	if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
		return -EINVAL;
	if (mode != SS_DISABLE && new->size < MINSIGSTKSZ)
		return -ENOMEM;
	t->altstack_base = mode == SS_DISABLE ? 0 : new->base;
	t->altstack_size = mode == SS_DISABLE ? 0 : new->size;
	t->altstack_flags = (uint32_t) new->flags;
	return 0;
}

long sys_sigaltstack(struct uptr stack, struct uptr old)
{
	struct task *t = current;
	struct stack_user new, before = { .base = t->altstack_base, .size = t->altstack_size };
	if (!t->altstack_size)
		before.flags = SS_DISABLE;
	else if (altstack_contains(t, port_task_regs(t->port)->sp))
		before.flags = SS_ONSTACK;
	before.flags |= (int32_t)(t->altstack_flags & SS_AUTODISARM);
	if (!uptr_is_null(stack)) {
		if (get_user(&new, stack))
			return -EFAULT;
		int r = altstack_set(t, &new);
		if (r)
			return r;
	}
	return uptr_is_null(old) ? 0 : put_user(before, old);
}
