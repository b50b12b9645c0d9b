// SPDX-License-Identifier: Apache-2.0
// seccomp(2): what a program allows itself to call. Strict mode, and filters in classic BPF.
//
// A task's filters are a list from the newest to the oldest, shared with those it was inherited by: filters are constant and counted. They
// run on a task's own calls only; task->work has WORK_SECCOMP then, so that who has none pays nothing.
//
// Locks: sighand->lock guards who of a process gets which filters (fork, SECCOMP_FILTER_FLAG_TSYNC). A task reads its own without: what
// another thread puts there has the old ones at its end.
#include "internal.h"

#include "kernel/ptrace.h"
#include "kernel/seccomp.h"
#include "kernel/syscalls.h"
#include "bpf.h"
#include "seccomp_notify.h"

#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/ptrace.h>

#define INSTRUCTIONS_MAX 32768u // of all filters of a task together
#define FILTER_COST      4u     // and this for each filter
#define ERRNO_MAX        4095u

#define FLAGS_KNOWN                                                                             \
	(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW | \
	 SECCOMP_FILTER_FLAG_TSYNC_ESRCH | SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)

struct seccomp_filter {
	struct refcount refs;
	struct seccomp_filter *previous;   // a reference
	struct seccomp_listener *listener; // who answers for SECCOMP_RET_USER_NOTIF; or NULL
	unsigned depth, cost;              // filters and instructions up to here
	struct sock_filter program[];
};

static void filter_put(struct seccomp_filter *f)
{
	while (f && refcount_put(&f->refs)) {
		struct seccomp_filter *previous = f->previous;
		if (f->listener)
			seccomp_listener_drop(f->listener);
		kfree(f);
		f = previous;
	}
}

void seccomp_release(struct task *t)
{
	filter_put(t->seccomp_filter);
	t->seccomp_filter = NULL;
}

unsigned seccomp_filter_count(struct task *t)
{
	struct sighand *s = process_sighand_lock(t->process);
	unsigned depth = t->seccomp_filter ? t->seccomp_filter->depth : 0;

	spin_unlock(&s->lock);
	return depth;
}

// `t` gets mode and filters; what it had is among them. sighand->lock.
static void assign(struct task *t, uint8_t mode, struct seccomp_filter *f)
{
	struct seccomp_filter *old = t->seccomp_filter;

	if (f)
		refcount_get(&f->refs);
	__atomic_store_n(&t->seccomp_filter, f, __ATOMIC_RELEASE);
	t->seccomp_mode = mode;
	task_work_set(t, WORK_SECCOMP); // after the above: it looks there next
	filter_put(old);
}

void seccomp_inherit(struct task *child, struct task *parent)
{
	child->tsync_no_new_privs = parent->tsync_no_new_privs;
	if (parent->seccomp_mode)
		assign(child, parent->seccomp_mode, parent->seccomp_filter);
}

// ---- a call ----

// *decided: the filter that said so, NULL when all allow it.
static uint32_t run_filters(const struct seccomp_data *data, const struct seccomp_filter **decided)
{
	uint32_t result = SECCOMP_RET_ALLOW;

	*decided = NULL;

	for (const struct seccomp_filter *f = __atomic_load_n(&current->seccomp_filter, __ATOMIC_ACQUIRE); f;
	     f = f->previous) {
		uint32_t r = bpf_run(f->program, data);
		if ((int32_t)(r & SECCOMP_RET_ACTION_FULL) < (int32_t)(result & SECCOMP_RET_ACTION_FULL)) {
			result = r;
			*decided = f;
		}
	}
	return result;
}

static _Noreturn void kill(bool process)
{
	if (process || current->process->live_count == 1)
		process_exit_group(SIGSYS);
	task_exit(SIGSYS);
}

// The tracer decides: may the call go on?
static bool ask_tracer(struct user_regs *regs, uint32_t data)
{
	regs->ax = (uint64_t)-ENOSYS;
	if (!current->tracer || !ptrace_wants(current, PTRACE_EVENT_SECCOMP))
		return false;
	ptrace_event(PTRACE_EVENT_SECCOMP, data);
	return !fatal_signal_pending(current) && (int32_t)regs->orig_ax >= 0;
}

// The listener decides: may the call go on?
static bool ask_listener(struct user_regs *regs, struct seccomp_listener *l, const struct seccomp_data *call)
{
	long result = -ENOSYS; // nobody listens
	bool go_on = l && seccomp_listener_ask(l, call, &result);

	if (!go_on)
		regs->ax = (uint64_t)result;
	return go_on;
}

static bool apply_filters(struct user_regs *regs, bool asked)
{
	struct seccomp_data call = { .nr = (int)regs->orig_ax,
				     .arch = AUDIT_ARCH_X86_64,
				     .instruction_pointer = regs->ip,
				     .args = { regs->di, regs->si, regs->dx, regs->r10, regs->r8, regs->r9 } };
	const struct seccomp_filter *filter;
	uint32_t result = run_filters(&call, &filter), data = result & SECCOMP_RET_DATA;

	switch (result & SECCOMP_RET_ACTION_FULL) {
	case SECCOMP_RET_ALLOW:
	case SECCOMP_RET_LOG: return true;
	case SECCOMP_RET_ERRNO: regs->ax = (uint64_t) - (int64_t)min(data, ERRNO_MAX); return false;
	case SECCOMP_RET_TRAP:
		regs->ax = regs->orig_ax; // as if the call had not begun
		signal_force_syscall((int)regs->orig_ax, regs->ip, (int)data);
		return false;
	case SECCOMP_RET_TRACE:
		if (asked)
			return true;
		return ask_tracer(regs, data) && apply_filters(regs, true); // it may have made another call of it
	case SECCOMP_RET_USER_NOTIF: return ask_listener(regs, filter->listener, &call);
	case SECCOMP_RET_KILL_THREAD: kill(false);
	}
	kill(true);
}

bool seccomp_admits(struct user_regs *regs)
{
	uint32_t nr = (uint32_t)regs->orig_ax;

	if (current->seccomp_mode == SECCOMP_MODE_FILTER)
		return apply_filters(regs, false);
	if (nr != __NR_read && nr != __NR_write && nr != __NR_exit && nr != __NR_rt_sigreturn)
		task_exit(SIGKILL);
	return true;
}

// ---- installing ----

static long set_strict(void)
{
	struct sighand *s = process_sighand_lock(current->process);
	bool filtered = current->seccomp_mode == SECCOMP_MODE_FILTER;

	if (!filtered)
		assign(current, SECCOMP_MODE_STRICT, NULL);
	spin_unlock(&s->lock);
	return filtered ? -EINVAL : 0;
}

static int check_program(const struct sock_filter *program, unsigned count)
{
	uint16_t *scratch = kalloc_array(count, sizeof(*scratch));
	int error = scratch ? bpf_check(program, count, scratch) : -ENOMEM;

	kfree(scratch);
	return error;
}

// The filter of a struct sock_fprog, checked; err_ptr.
static struct seccomp_filter *filter_get(struct uptr user)
{
	struct sock_fprog fprog;
	struct seccomp_filter *f;
	size_t size;
	int error;

	if (get_user(&fprog, user))
		return err_ptr(-EFAULT);
	if (!fprog.len || fprog.len > BPF_MAXINSNS)
		return err_ptr(-EINVAL);
	if (!task_no_new_privs(current) && !cred_capable_own(current->cred, CAP_SYS_ADMIN))
		return err_ptr(-EACCES);
	size = fprog.len * sizeof(struct sock_filter);
	f = kalloc(sizeof(*f) + size);
	if (!f)
		return err_ptr(-ENOMEM);
	error = copy_from_user(f->program, (struct uptr){ (uint64_t)fprog.filter }, size);
	if (!error)
		error = check_program(f->program, fprog.len);
	if (error) {
		kfree(f);
		return err_ptr(error);
	}
	refcount_set(&f->refs, 1);
	f->depth = 1;
	f->cost = fprog.len;
	return f;
}

static bool is_ancestor(const struct seccomp_filter *ancestor, const struct seccomp_filter *f)
{
	while (f && f != ancestor)
		f = f->previous;
	return f == ancestor;
}

// A thread that cannot take over the caller's filters: its own are others. sighand->lock.
static struct task *find_other(void)
{
	struct task *t;

	list_for_each (t, &current->process->threads, thread_node)
		if (t != current && !t->dead && t->seccomp_mode &&
		    !(t->seccomp_mode == SECCOMP_MODE_FILTER &&
		      is_ancestor(t->seccomp_filter, current->seccomp_filter)))
			return t;
	return NULL;
}

// The caller's filters become those of all threads. sighand->lock.
static void synchronise(void)
{
	bool privs = task_no_new_privs(current);
	struct task *t;

	list_for_each (t, &current->process->threads, thread_node) {
		if (t == current || t->dead)
			continue;
		assign(t, SECCOMP_MODE_FILTER, current->seccomp_filter);
		t->tsync_no_new_privs |= privs;
	}
}

static bool has_listener(const struct seccomp_filter *f)
{
	while (f && !f->listener)
		f = f->previous;
	return f;
}

static long attach_locked(struct seccomp_filter *f, unsigned flags)
{
	struct seccomp_filter *old = current->seccomp_filter;
	struct task *other;

	if (current->seccomp_mode == SECCOMP_MODE_STRICT)
		return -EINVAL;
	if (old && f->cost + FILTER_COST + old->cost > INSTRUCTIONS_MAX)
		return -ENOMEM;
	if (f->listener && has_listener(old))
		return -EBUSY;
	other = flags & SECCOMP_FILTER_FLAG_TSYNC ? find_other() : NULL;
	if (other)
		return flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH ? -ESRCH : other->own_tid;
	if (old) {
		refcount_get(&old->refs);
		f->previous = old;
		f->depth += old->depth;
		f->cost += old->cost + FILTER_COST;
	}
	assign(current, SECCOMP_MODE_FILTER, f);
	if (flags & SECCOMP_FILTER_FLAG_TSYNC)
		synchronise();
	return 0;
}

static long attach(struct seccomp_filter *f, unsigned flags)
{
	struct sighand *s = process_sighand_lock(current->process);
	long result = attach_locked(f, flags);

	spin_unlock(&s->lock);
	return result;
}

// With a listener: its descriptor.
static long attach_with_listener(struct seccomp_filter *f, unsigned flags)
{
	struct file *file;
	int fd = fd_reserve(0, true);
	long result = fd;

	if (fd < 0)
		return fd;
	result = seccomp_listener_create(flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &f->listener, &file);
	if (result) {
		fd_cancel(fd);
		return result;
	}
	result = attach(f, flags);
	if (result) {
		fd_cancel(fd);
		file_put(file);
		return result;
	}
	fd_install(fd, file);
	return fd;
}

// With a listener the result is its descriptor, so that TSYNC cannot answer by a thread's number.
static bool flags_valid(unsigned flags)
{
	bool listener = flags & SECCOMP_FILTER_FLAG_NEW_LISTENER;

	if (flags & ~FLAGS_KNOWN || (flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV && !listener))
		return false;
	return !listener || !(flags & SECCOMP_FILTER_FLAG_TSYNC) || flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
}

static long set_filter(unsigned flags, struct uptr user)
{
	struct seccomp_filter *f;
	long result;

	if (!flags_valid(flags))
		return -EINVAL;
	f = filter_get(user);
	if (is_err(f))
		return ptr_err(f);
	result = flags & SECCOMP_FILTER_FLAG_NEW_LISTENER ? attach_with_listener(f, flags) : attach(f, flags);
	filter_put(f);
	return result;
}

static long notify_sizes(unsigned flags, struct uptr user)
{
	const struct seccomp_notif_sizes sizes = { sizeof(struct seccomp_notif), sizeof(struct seccomp_notif_resp),
						   sizeof(struct seccomp_data) };

	return flags ? -EINVAL : put_user(sizes, user);
}

static long action_available(unsigned flags, struct uptr user)
{
	static const uint32_t available[] = { SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP,
					      SECCOMP_RET_ERRNO,        SECCOMP_RET_TRACE,       SECCOMP_RET_LOG,
					      SECCOMP_RET_ALLOW,        SECCOMP_RET_USER_NOTIF };
	uint32_t action;

	if (flags)
		return -EINVAL;
	if (get_user(&action, user))
		return -EFAULT;
	for (size_t i = 0; i < sizeof(available) / sizeof(*available); i++)
		if (available[i] == action)
			return 0;
	return -EOPNOTSUPP;
}

long sys_seccomp(unsigned operation, unsigned flags, struct uptr arguments)
{
	switch (operation) {
	case SECCOMP_SET_MODE_STRICT: return flags || !uptr_is_null(arguments) ? -EINVAL : set_strict();
	case SECCOMP_SET_MODE_FILTER: return set_filter(flags, arguments);
	case SECCOMP_GET_ACTION_AVAIL: return action_available(flags, arguments);
	case SECCOMP_GET_NOTIF_SIZES: return notify_sizes(flags, arguments);
	}
	return -EINVAL;
}

long seccomp_set_mode(uint64_t mode, struct uptr filter)
{
	switch (mode) {
	case SECCOMP_MODE_STRICT: return set_strict();
	case SECCOMP_MODE_FILTER: return set_filter(0, filter);
	}
	return -EINVAL;
}
