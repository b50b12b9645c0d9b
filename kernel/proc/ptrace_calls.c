// SPDX-License-Identifier: Apache-2.0
// ptrace(2): the requests. The tracee stands still while one is served: it is in a ptrace stop and off its CPU.
#include "internal.h"

#include "kernel/syscalls.h"
#include "lib/string.h"
#include "ptrace_internal.h"

#include <asm/processor-flags.h>
#include <asm/ptrace-abi.h>
#include <linux/elf.h>
#include <linux/ptrace.h>

#define OPTIONS_KNOWN PTRACE_O_MASK
#define FLAGS_CHANGEABLE                                                                                 \
	(X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_ZF | X86_EFLAGS_SF | X86_EFLAGS_TF | \
	 X86_EFLAGS_DF | X86_EFLAGS_OF | X86_EFLAGS_RF | X86_EFLAGS_AC)
#define AUDIT_ARCH_X86_64      0xc000003eu
#define DEBUG_REGISTERS_OFFSET 848u // of struct user
#define USER_BYTES             912u

// ---- attaching ----

static int attach_checked(struct task *t, bool seize, uint32_t options)
{
	struct process *me = current->process;
	if (t->process == me || (t->flags & (TASK_KERNEL | TASK_WORKER)))
		return -EPERM;
	int r = ptrace_may_access(t);
	if (r)
		return r;
	spin_lock(&tasklist_lock);
	r = t->tracer || t->dead ? -EPERM : 0;
	if (!r)
		ptrace_link(t, me, seize, options);
	spin_unlock(&tasklist_lock);
	if (r || seize)
		return r;
	return signal_send_task(t, SIGSTOP, NULL);
}

static long trace_me(void)
{
	struct task *t = current;
	int r = -EPERM;
	spin_lock(&tasklist_lock);
	if (!t->tracer && t->process->parent) {
		ptrace_link(t, t->process->parent, false, 0);
		r = 0;
	}
	spin_unlock(&tasklist_lock);
	return r;
}

// ---- resuming ----

static void step(struct task *t, bool on)
{
	struct user_regs *regs = port_task_regs(t->port);
	if (on) {
		regs->flags |= X86_EFLAGS_TF;
		t->ptrace_stepping = true;
	} else if (t->ptrace_stepping) {
		regs->flags &= ~(uint64_t)X86_EFLAGS_TF;
		t->ptrace_stepping = false;
	}
}

static long resume(struct task *t, int64_t request, uint64_t signal)
{
	if (signal > SIGNALS_MAX)
		return -EIO;
	step(t, request == PTRACE_SINGLESTEP);
	struct sighand *s = process_sighand_lock(t->process);
	if (request == PTRACE_SYSCALL)
		task_work_set(t, WORK_PTRACE);
	else
		task_work_clear(t, WORK_PTRACE);
	t->ptrace_signal = (int)signal;
	t->ptrace_stop_code = 0;
	__atomic_and_fetch(&t->jobctl, ~JOBCTL_TRACED, __ATOMIC_SEQ_CST);
	task_unpark(t);
	spin_unlock(&s->lock);
	return 0;
}

static long detach(struct task *t, uint64_t signal)
{
	if (signal > SIGNALS_MAX)
		return -EIO;
	step(t, false);
	t->ptrace_signal = (int)signal;
	spin_lock(&tasklist_lock);
	ptrace_unlink(t);
	spin_unlock(&tasklist_lock);
	return 0;
}

static long interrupt(struct task *t)
{
	if (!t->ptrace_seized)
		return -EIO;
	struct sighand *s = process_sighand_lock(t->process);
	if (t->jobctl & JOBCTL_LISTENING) {
		__atomic_and_fetch(&t->jobctl, ~(JOBCTL_LISTENING | JOBCTL_TRACED), __ATOMIC_SEQ_CST);
		task_unpark(t);
	}
	t->jobctl |= JOBCTL_TRAP_STOP;
	signal_wake(t, false);
	spin_unlock(&s->lock);
	return 0;
}

static long listen(struct task *t)
{
	if (!t->ptrace_seized)
		return -EIO;
	struct sighand *s = process_sighand_lock(t->process);
	t->jobctl |= JOBCTL_LISTENING;
	spin_unlock(&s->lock);
	return 0;
}

// ---- memory ----

static long peek(struct task *t, uint64_t address, struct uptr to)
{
	uint64_t word;
	struct mm *mm = task_mm_get(t);
	size_t n = mm ? mm_access(mm, address, &word, sizeof(word), false) : 0;
	if (mm)
		mm_release_user(mm);
	return n == sizeof(word) ? put_user(word, to) : -EIO;
}

static long poke(struct task *t, uint64_t address, uint64_t word)
{
	struct mm *mm = task_mm_get(t);
	size_t n = mm ? mm_access(mm, address, &word, sizeof(word), true) : 0;
	if (mm)
		mm_release_user(mm);
	return n == sizeof(word) ? 0 : -EIO;
}

// ---- registers ----

void task_user_regs(struct task *t, struct user_regs_full *out)
{
	memset(out, 0, sizeof(*out));
	out->r = *port_task_regs(t->port);
	if (t->ptrace_stepping)
		out->r.flags &= ~(uint64_t)X86_EFLAGS_TF;
	out->fs_base = port_task_fs_base(t->port);
	out->gs_base = port_task_gs_base(t->port);
}

static int regs_set(struct task *t, const struct user_regs_full *in)
{
	struct user_regs *regs = port_task_regs(t->port);
	uint64_t cs = regs->cs, ss = regs->ss, flags = regs->flags;
	if (in->fs_base >= port_user_end() || in->gs_base >= port_user_end())
		return -EIO;
	*regs = in->r;
	regs->cs = cs; // only the flat 64-bit segments exist
	regs->ss = ss;
	regs->flags = (flags & ~(uint64_t)FLAGS_CHANGEABLE) | (in->r.flags & FLAGS_CHANGEABLE);
	port_task_set_fs_base(t->port, in->fs_base);
	port_task_set_gs_base(t->port, in->gs_base);
	return 0;
}

static long regs_copy(struct task *t, struct uptr user, size_t *size, bool set)
{
	struct user_regs_full r;
	task_user_regs(t, &r);
	*size = min(*size, sizeof(r));
	if (!set)
		return copy_to_user(user, &r, *size);
	if (copy_from_user(&r, user, *size))
		return -EFAULT;
	return regs_set(t, &r);
}

void task_user_xstate(struct task *t, uint8_t *out)
{
	port_xstate_get(t->port, out);
	// XCR0, where debuggers look for it (the software bytes of the FXSAVE area).
	uint64_t features = port_xstate_features();
	memcpy(out + 464, &features, sizeof(features));
}

// The first `limit` bytes of the XSAVE area: 512 are struct user_fpregs_struct.
static long xstate_copy(struct task *t, struct uptr user, size_t *size, size_t limit, bool set)
{
	size_t full = port_xstate_size_bytes();
	uint8_t *x = kalloc(full);
	long r;
	if (!x)
		return -ENOMEM;
	*size = min(*size, min(limit, full));
	task_user_xstate(t, x);
	if (!set) {
		r = copy_to_user(user, x, *size);
	} else {
		r = copy_from_user(x, user, *size);
		if (!r)
			r = port_xstate_set(t->port, x);
	}
	kfree(x);
	return r;
}

static long regset(struct task *t, uint64_t type, struct uptr user, bool set)
{
	struct {
		uint64_t base, size;
	} iov;
	long r;
	if (get_user(&iov, user))
		return -EFAULT;
	struct uptr buffer = { iov.base };
	size_t size = iov.size;
	switch (type) {
	case NT_PRSTATUS: r = size % 8 ? -EINVAL : regs_copy(t, buffer, &size, set); break;
	case NT_PRFPREG: r = xstate_copy(t, buffer, &size, 512, set); break;
	case NT_X86_XSTATE: r = xstate_copy(t, buffer, &size, SIZE_MAX, set); break;
	default: return -EINVAL;
	}
	return r ? r : put_user(size, uptr_add(user, 8));
}

static long peek_user(struct task *t, uint64_t offset, struct uptr to)
{
	struct user_regs_full r;
	uint64_t word = 0; // the debug registers are never set
	if (offset % 8 || offset >= USER_BYTES)
		return -EIO;
	task_user_regs(t, &r);
	if (offset < sizeof(r))
		memcpy(&word, (char *)&r + offset, sizeof(word));
	return put_user(word, to);
}

static long poke_user(struct task *t, uint64_t offset, uint64_t word)
{
	struct user_regs_full r;
	if (offset % 8 || offset >= USER_BYTES)
		return -EIO;
	if (offset >= sizeof(r)) // hardware breakpoints are not offered; debuggers fall back to stepping
		return offset >= DEBUG_REGISTERS_OFFSET && word ? -EINVAL : 0;
	task_user_regs(t, &r);
	memcpy((char *)&r + offset, &word, sizeof(word));
	return regs_set(t, &r);
}

// ---- what stopped it ----

static long siginfo_get(struct task *t, struct uptr to)
{
	siginfo_t info;
	struct sighand *s = process_sighand_lock(t->process);
	bool there = t->ptrace_siginfo != NULL;
	if (there)
		info = *t->ptrace_siginfo;
	spin_unlock(&s->lock);
	return there ? put_user(info, to) : -EINVAL;
}

static long siginfo_set(struct task *t, struct uptr from)
{
	siginfo_t info;
	if (get_user(&info, from))
		return -EFAULT;
	struct sighand *s = process_sighand_lock(t->process);
	bool there = t->ptrace_siginfo != NULL;
	if (there)
		*t->ptrace_siginfo = info;
	spin_unlock(&s->lock);
	return there ? 0 : -EINVAL;
}

static long syscall_info(struct task *t, uint64_t size, struct uptr to)
{
	struct ptrace_syscall_info i;
	const struct user_regs *r = port_task_regs(t->port);
	size_t known = offsetof(struct ptrace_syscall_info, entry);
	memset(&i, 0, sizeof(i));
	i.op = PTRACE_SYSCALL_INFO_NONE;
	i.arch = AUDIT_ARCH_X86_64;
	i.instruction_pointer = r->ip;
	i.stack_pointer = r->sp;
	bool stop = t->ptrace_siginfo && (t->ptrace_siginfo->si_code & 0x7f) == SIGTRAP &&
		    !(t->ptrace_siginfo->si_code >> 8);
	if (stop && t->ptrace_message == PTRACE_EVENTMSG_SYSCALL_ENTRY) {
		i.op = PTRACE_SYSCALL_INFO_ENTRY;
		i.entry.nr = r->orig_ax;
		const uint64_t args[6] = { r->di, r->si, r->dx, r->r10, r->r8, r->r9 };
		memcpy(i.entry.args, args, sizeof(args));
		known = offsetof(struct ptrace_syscall_info, entry) + sizeof(i.entry);
	} else if (stop && t->ptrace_message == PTRACE_EVENTMSG_SYSCALL_EXIT) {
		i.op = PTRACE_SYSCALL_INFO_EXIT;
		i.exit.rval = (int64_t)r->ax;
		i.exit.is_error = (int64_t)r->ax < 0 && (int64_t)r->ax >= -4095;
		known = offsetof(struct ptrace_syscall_info, exit) + offsetof(__typeof__(i.exit), is_error) + 1;
	}
	return copy_to_user(to, &i, min((size_t)size, known)) ? -EFAULT : (long)known;
}

static long sigmask_access(struct task *t, uint64_t size, struct uptr user, bool set)
{
	sigmask_t mask = t->blocked;
	if (size != sizeof(mask))
		return -EINVAL;
	if (!set)
		return put_user(mask, user);
	if (get_user(&mask, user))
		return -EFAULT;
	struct sighand *s = process_sighand_lock(t->process);
	t->blocked = mask & ~SIGMASK_KERNEL_ONLY;
	signal_recompute(t);
	spin_unlock(&s->lock);
	return 0;
}

static long options_set(struct task *t, uint64_t options)
{
	if (options & ~(uint64_t)OPTIONS_KNOWN)
		return -EINVAL;
	t->ptrace_options = (uint32_t)options;
	return 0;
}

// ---- the call ----

static long request_stopped(struct task *t, int64_t request, uint64_t address, uint64_t data)
{
	struct uptr user = { data };
	size_t size = SIZE_MAX;
	switch (request) {
	case PTRACE_PEEKTEXT:
	case PTRACE_PEEKDATA: return peek(t, address, user);
	case PTRACE_POKETEXT:
	case PTRACE_POKEDATA: return poke(t, address, data);
	case PTRACE_PEEKUSR: return peek_user(t, address, user);
	case PTRACE_POKEUSR: return poke_user(t, address, data);
	case PTRACE_CONT:
	case PTRACE_SYSCALL:
	case PTRACE_SINGLESTEP: return resume(t, request, data);
	case PTRACE_DETACH: return detach(t, data);
	case PTRACE_GETREGS: return regs_copy(t, user, &size, false);
	case PTRACE_SETREGS: return regs_copy(t, user, &size, true);
	case PTRACE_GETFPREGS: return xstate_copy(t, user, &size, 512, false);
	case PTRACE_SETFPREGS: return xstate_copy(t, user, &size, 512, true);
	case PTRACE_GETREGSET: return regset(t, address, user, false);
	case PTRACE_SETREGSET: return regset(t, address, user, true);
	case PTRACE_SETOPTIONS: return options_set(t, data);
	case PTRACE_GETEVENTMSG: return put_user(t->ptrace_message, user);
	case PTRACE_GETSIGINFO: return siginfo_get(t, user);
	case PTRACE_SETSIGINFO: return siginfo_set(t, user);
	case PTRACE_GETSIGMASK: return sigmask_access(t, address, user, false);
	case PTRACE_SETSIGMASK: return sigmask_access(t, address, user, true);
	case PTRACE_GET_SYSCALL_INFO: return syscall_info(t, address, user);
	case PTRACE_LISTEN: return listen(t);
	case PTRACE_ARCH_PRCTL: return -EIO;
	}
	return -EIO;
}

static bool is_stopped(struct task *t)
{
	struct sighand *s = process_sighand_lock(t->process);
	bool stopped = (t->jobctl & (JOBCTL_TRACED | JOBCTL_LISTENING)) == JOBCTL_TRACED && !t->dead;
	spin_unlock(&s->lock);
	// It is on its way to park: its registers are to be read only when they are saved.
	while (stopped && __atomic_load_n(&t->sched.running, __ATOMIC_ACQUIRE) && !fatal_signal_pending(t))
		port_cpu_relax();
	return stopped;
}

static long request_on(struct task *t, int64_t request, uint64_t address, uint64_t data)
{
	if (request == PTRACE_ATTACH)
		return attach_checked(t, false, 0);
	if (request == PTRACE_SEIZE) {
		if (address || (data & ~(uint64_t)OPTIONS_KNOWN))
			return -EIO;
		return attach_checked(t, true, (uint32_t)data);
	}
	spin_lock(&tasklist_lock);
	bool mine = t->tracer == current->process;
	spin_unlock(&tasklist_lock);
	if (!mine)
		return -ESRCH;
	if (request == PTRACE_KILL)
		return signal_send_task(t, SIGKILL, NULL);
	if (request == PTRACE_INTERRUPT)
		return interrupt(t);
	return is_stopped(t) ? request_stopped(t, request, address, data) : -ESRCH;
}

long sys_ptrace(int64_t request, pid_t pid, uint64_t address, uint64_t data)
{
	if (request == PTRACE_TRACEME)
		return trace_me();
	struct task *t = task_find(pid_meant(pid));
	if (!t)
		return -ESRCH;
	long r = request_on(t, request, address, data);
	task_put(t);
	return r;
}
