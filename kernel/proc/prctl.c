// SPDX-License-Identifier: Apache-2.0
// prctl(2), arch_prctl(2), personality(2).
#include "internal.h"

#include "kernel/seccomp.h"
#include "kernel/syscalls.h"
#include "lib/string.h"

#include <asm/prctl.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/personality.h>
#include <linux/securebits.h>

#define SECUREBITS_KNOWN       (SECURE_ALL_BITS | SECURE_ALL_LOCKS)
#define TIMER_SLACK_DEFAULT_NS 50000

// ---- names ----

static long set_name(uint64_t address)
{
	char name[16];
	long n = port_string_in(name, address, sizeof(name));
	if (n < 0)
		return n;
	name[sizeof(name) - 1] = '\0';
	task_comm_set(current, name);
	return 0;
}

static long get_name(uint64_t address)
{
	char name[16];
	task_comm_get(current, name);
	return copy_to_user((struct uptr){ address }, name, sizeof(name));
}

// ---- credentials ----

static struct cred *copy_current(void) { return cred_copy(current->cred, current->cred->group_count); }

static long set_securebits(uint32_t bits)
{
	const struct cred *old = current->cred;
	uint32_t changed = old->securebits ^ bits, locks = old->securebits & SECURE_ALL_LOCKS;
	if (bits & ~SECUREBITS_KNOWN || (changed & locks >> 1) || (locks & ~bits) ||
	    !cred_capable_own(old, CAP_SETPCAP))
		return -EPERM;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	new->securebits = bits;
	cred_install(new);
	return 0;
}

static long set_keepcaps(uint64_t on)
{
	if (on > 1)
		return -EINVAL;
	if (current->cred->securebits & (1u << SECURE_KEEP_CAPS_LOCKED))
		return -EPERM;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	new->securebits &= ~(1u << SECURE_KEEP_CAPS);
	new->securebits |= on ? 1u << SECURE_KEEP_CAPS : 0;
	cred_install(new);
	return 0;
}

static bool is_capability(uint64_t cap) { return cap < 64 && (CAPABILITIES_ALL >> cap & 1); }

static long drop_bounding(uint64_t cap)
{
	if (!is_capability(cap))
		return -EINVAL;
	if (!cred_capable_own(current->cred, CAP_SETPCAP))
		return -EPERM;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	new->cap_bounding &= ~(UINT64_C(1) << cap);
	cred_install(new);
	return 0;
}

static long change_ambient(uint64_t what, uint64_t cap)
{
	const struct cred *old = current->cred;
	if (what == PR_CAP_AMBIENT_CLEAR_ALL ? cap != 0 : !is_capability(cap))
		return -EINVAL;
	uint64_t bit = UINT64_C(1) << cap, ambient = old->cap_ambient;
	switch (what) {
	case PR_CAP_AMBIENT_IS_SET: return (ambient & bit) != 0;
	case PR_CAP_AMBIENT_CLEAR_ALL: ambient = 0; break;
	case PR_CAP_AMBIENT_LOWER: ambient &= ~bit; break;
	case PR_CAP_AMBIENT_RAISE:
		if (!(old->cap_permitted & old->cap_inheritable & bit) ||
		    (old->securebits & (1u << SECURE_NO_CAP_AMBIENT_RAISE)))
			return -EPERM;
		ambient |= bit;
		break;
	default: return -EINVAL;
	}
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	new->cap_ambient = ambient;
	cred_install(new);
	return 0;
}

static long set_no_new_privs(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	if (a != 1 || b || c || d)
		return -EINVAL;
	struct cred *new = copy_current();
	if (!new)
		return -ENOMEM;
	new->no_new_privs = true;
	cred_install(new);
	return 0;
}

// ---- the process's place and memory ----

static bool descends_from(const struct process *p, const struct process *ancestor)
{
	for (p = p->parent; p; p = p->parent)
		if (p == ancestor)
			return true;
	return false;
}

static long set_subreaper(uint64_t on)
{
	struct process *p = current->process, *other;
	spin_lock(&tasklist_lock);
	p->is_subreaper = on != 0;
	if (on) // those to come inherit it at fork
		list_for_each (other, &process_list, node)
			if (!other->has_child_subreaper && descends_from(other, p))
				other->has_child_subreaper = true;
	spin_unlock(&tasklist_lock);
	return 0;
}

static long set_dumpable(uint64_t value)
{
	if (value > 1)
		return -EINVAL;
	current->mm->dumpable = value;
	return 0;
}

static long set_mm_field(uint64_t what, uint64_t address)
{
	struct mm *mm = current->mm;
	if (!cred_capable(current->cred, CAP_SYS_RESOURCE))
		return -EPERM;
	if (!user_range_ok(address, 0))
		return -EINVAL;
	switch (what) {
	case PR_SET_MM_ARG_START: mm->arg_start = address; return 0;
	case PR_SET_MM_ARG_END: mm->arg_end = address; return 0;
	case PR_SET_MM_ENV_START: mm->env_start = address; return 0;
	case PR_SET_MM_ENV_END: mm->env_end = address; return 0;
	}
	return -EINVAL;
}

static long set_timer_slack(uint64_t ns)
{
	current->timer_slack_ns = (int64_t)ns <= 0 ? TIMER_SLACK_DEFAULT_NS : ns;
	return 0;
}

static long parent_death(uint64_t signal)
{
	if (signal > SIGNALS_MAX)
		return -EINVAL;
	current->parent_death_signal = (int)signal;
	return 0;
}

static long put_int(uint64_t address, int value) { return put_user((int32_t)value, ((struct uptr){ address })); }

long sys_prctl(int option, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct task *t = current;
	const struct cred *cred = t->cred;
	switch (option) {
	case PR_SET_NAME: return set_name(a);
	case PR_GET_NAME: return get_name(a);
	case PR_SET_PDEATHSIG: return parent_death(a);
	case PR_GET_PDEATHSIG: return put_int(a, t->parent_death_signal);
	case PR_SET_DUMPABLE: return set_dumpable(a);
	case PR_GET_DUMPABLE: return t->mm->dumpable;
	case PR_SET_KEEPCAPS: return set_keepcaps(a);
	case PR_GET_KEEPCAPS: return cred->securebits >> SECURE_KEEP_CAPS & 1;
	case PR_SET_SECUREBITS: return set_securebits((uint32_t)a);
	case PR_GET_SECUREBITS: return cred->securebits;
	case PR_CAPBSET_READ: return is_capability(a) ? (long)(cred->cap_bounding >> a & 1) : -EINVAL;
	case PR_CAPBSET_DROP: return drop_bounding(a);
	case PR_CAP_AMBIENT: return c || d ? -EINVAL : change_ambient(a, b);
	case PR_SET_NO_NEW_PRIVS: return set_no_new_privs(a, b, c, d);
	case PR_GET_NO_NEW_PRIVS: return a || b || c || d ? -EINVAL : task_no_new_privs(t);
	case PR_SET_CHILD_SUBREAPER: return set_subreaper(a);
	case PR_GET_CHILD_SUBREAPER: return put_int(a, t->process->is_subreaper);
	case PR_SET_TIMERSLACK: return set_timer_slack(a);
	case PR_GET_TIMERSLACK: return (long)t->timer_slack_ns;
	case PR_GET_TIMING: return PR_TIMING_STATISTICAL;
	case PR_SET_TIMING: return a == PR_TIMING_STATISTICAL ? 0 : -EINVAL;
	case PR_GET_TSC: return put_int(a, PR_TSC_ENABLE);
	case PR_SET_TSC: return a == PR_TSC_ENABLE ? 0 : -EINVAL; // the vDSO of a cell may need it
	case PR_GET_SECCOMP: return t->seccomp_mode;
	case PR_SET_SECCOMP: return seccomp_set_mode(a, (struct uptr){ b });
	case PR_GET_TID_ADDRESS: return put_user(t->clear_child_tid, ((struct uptr){ a }));
	case PR_SET_MM: return d ? -EINVAL : set_mm_field(a, b);
	case PR_SET_VMA:
		return a == PR_SET_VMA_ANON_NAME ? 0 : -EINVAL;    // names of anonymous memory are only shown in maps
	case PR_SET_THP_DISABLE: return b || c || d ? -EINVAL : 0; // there are no huge pages to disable
	case PR_GET_THP_DISABLE: return a || b || c || d ? -EINVAL : 1;
	case PR_MCE_KILL_GET: return PR_MCE_KILL_DEFAULT;
	case PR_SET_PTRACER: return 0; // Yama's; without it any process of the same user may trace
	case PR_SET_IO_FLUSHER: return -EINVAL;
	case PR_TASK_PERF_EVENTS_DISABLE:
	case PR_TASK_PERF_EVENTS_ENABLE: return -EINVAL;
	case PR_GET_SPECULATION_CTRL: return PR_SPEC_NOT_AFFECTED;
	}
	return -EINVAL;
}

long sys_arch_prctl(int option, uint64_t argument)
{
	struct port_task *p = current->port;
	struct uptr user = { argument };
	switch (option) {
	case ARCH_SET_FS:
	case ARCH_SET_GS:
		if (argument >= port_user_end())
			return -EPERM;
		if (option == ARCH_SET_FS)
			port_task_set_fs_base(p, argument);
		else
			port_task_set_gs_base(p, argument);
		return 0;
	case ARCH_GET_FS: return put_user(port_task_fs_base(p), user);
	case ARCH_GET_GS: return put_user(port_task_gs_base(p), user);
	case ARCH_GET_CPUID: return 1;
	case ARCH_SET_CPUID: return argument ? 0 : -ENODEV;
	case ARCH_GET_XCOMP_SUPP:
	case ARCH_GET_XCOMP_PERM: return put_user(port_xstate_features(), user);
	case ARCH_REQ_XCOMP_PERM: return argument < 64 && (port_xstate_features() >> argument & 1) ? 0 : -EOPNOTSUPP;
	}
	return -EINVAL;
}

long sys_personality(unsigned persona)
{
	unsigned old = current->personality;
	if (persona != 0xffffffff)
		current->personality = persona;
	return old;
}
