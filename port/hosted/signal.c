// SPDX-License-Identifier: Apache-2.0
// The host's signals, as the kernel's traps and interrupts.
//
//	SIGSYS                      a system call of the program (the filter's RET_TRAP)
//	SIGSEGV SIGBUS              a fault: of the program, or of the kernel in a copy to or from user memory (a fixup)
//	SIGILL SIGFPE SIGTRAP       another exception of the program
//	HOSTED_KICK_SIGNAL          another task wants this one to look at its work
//
// A handler runs on the task's signal stack. When it hit the program, it fills the program's frame from what the host saved, loads the
// program's vector state back (the host gives a handler a fresh one) and leaves for the kernel stack; the host's frame is
// abandoned, which is sound because no signal is blocked meanwhile (SA_NODEFER) and the host judges by the stack pointer whether
// the signal stack is in use. When it hit the kernel, it returns in the ordinary way, perhaps to another address.
//
// Kicks alone are blocked while one is handled: others may send them faster than a thread that is seldom scheduled returns from
// them, and the signal stack has room for few frames. A kick that hit the program ends with unblocking them.
//
// Sources: sigaction(2), seccomp(2), arch/x86 of the host: struct ucontext, struct _fpx_sw_bytes.
#include "signal.h"

#include "aspace.h"
#include "layout.h"
#include "pkeys.h"
#include "rewrite.h"
#include "syscall.h"
#include "task.h"
#include "xstate.h"

#include <asm/errno.h>
#include <asm/siginfo.h>
#include <asm/sigcontext.h>
#include <asm/signal.h>
#include <asm/ucontext.h>
#include <linux/futex.h>

#define TRAP_DEBUG      1
#define TRAP_BREAKPOINT 3
#define TRAP_GP         13
#define TRAP_PAGE_FAULT 14
#define ERROR_WRITE     2u
#define ERROR_FETCH     16u
#define SA_RESTORER     0x04000000

struct host_sigaction {
	uint64_t handler;
	uint64_t flags;
	void (*restorer)(void);
	uint64_t mask;
};

struct fixup {
	int32_t at, to; // relative to themselves
};

extern const struct fixup hosted_fixups_start[], hosted_fixups_end[];

void hosted_signal_return(void);
void hosted_signal(int signal, siginfo_t *info, struct ucontext *context, uint64_t sp);
extern char hosted_wait_start[], hosted_wait_call[], hosted_wait_kicked[];

// ---- where the program was hit ----

static void frame_fill(struct user_regs *r, const struct sigcontext_64 *c, uint64_t orig_ax)
{
	*r = (struct user_regs){
		.r15 = c->r15,
		.r14 = c->r14,
		.r13 = c->r13,
		.r12 = c->r12,
		.bp = c->bp,
		.bx = c->bx,
		.r11 = c->r11,
		.r10 = c->r10,
		.r9 = c->r9,
		.r8 = c->r8,
		.ax = c->ax,
		.cx = c->cx,
		.dx = c->dx,
		.si = c->si,
		.di = c->di,
		.ip = c->ip,
		.cs = c->cs,
		.sp = c->sp,
		.ss = c->ss,
		.flags = c->flags,
		.orig_ax = orig_ax,
	};
}

static void handle_syscall(struct user_regs *r, uint64_t site)
{
	r->ax = (uint64_t)-ENOSYS;
	if (site)
		hosted_rewrite(r, site);
	kernel_upcall_syscall(r);
}

static void handle_fault(struct user_regs *r, uint64_t address, uint64_t flags)
{
	struct port_aspace *as = current_port()->aspace;

	if (!kernel_upcall_page_fault(r, address, (unsigned)flags) && as && !hosted_aspace_agrees(as, address))
		(void)kernel_upcall_page_fault(r, address, (unsigned)flags | UPCALL_FAULT_BUS);
}

static void handle_trap(struct user_regs *r, uint64_t vector, uint64_t error, uint64_t address)
{
	kernel_upcall_trap(r, (unsigned)vector, error, address);
}

static void handle_nothing(struct user_regs *r) { (void)r; } // the way out looks at the work

static void handle_kick(struct user_regs *r)
{
	uint64_t kick = UINT64_C(1) << (HOSTED_KICK_SIGNAL - 1);

	(void)r;
	(void)HOST(rt_sigprocmask, SIG_UNBLOCK, &kick, 0, sizeof(kick));
}

static unsigned fault_flags(const struct sigcontext_64 *c, int signal)
{
	return (c->err & ERROR_WRITE ? UPCALL_FAULT_WRITE : 0) | (c->err & ERROR_FETCH ? UPCALL_FAULT_EXEC : 0) |
	       (signal == SIGBUS ? UPCALL_FAULT_BUS : 0);
}

_Noreturn static void enter(struct port_task *p, void *fn, uint64_t a, uint64_t b, uint64_t c)
{
	hosted_trap_main((uint64_t)fn, task_frame(p), a, b, c);
}

_Noreturn static void from_program(struct port_task *p, int signal, const siginfo_t *info, struct ucontext *u)
{
	struct sigcontext_64 *c = (struct sigcontext_64 *)&u->uc_mcontext;
	struct user_regs *r = task_frame(p);

	hosted_xstate_load((void *)c->fpstate);
	if (signal == SIGSYS) {
		frame_fill(r, c, c->ax);
		bool native = info->si_code == SYS_SECCOMP && info->si_arch == 0xc000003eu /* AUDIT_ARCH_X86_64 */;
		if (!native)
			r->orig_ax = UINT64_MAX >> 1; // int $0x80 and kin: no such call
		enter(p, (void *)handle_syscall, native ? (uint64_t)info->si_call_addr - 2 : 0, 0, 0);
	}
	frame_fill(r, c, UINT64_MAX);
	if (signal == HOSTED_KICK_SIGNAL)
		enter(p, (void *)handle_kick, 0, 0, 0);
	if ((signal == SIGSEGV || signal == SIGBUS) && c->trapno == TRAP_PAGE_FAULT)
		enter(p, (void *)handle_fault, c->cr2, fault_flags(c, signal) | UPCALL_FAULT_USER, 0);
	if (signal == SIGTRAP && c->trapno == TRAP_BREAKPOINT && hosted_rewrite_retry(r))
		enter(p, (void *)handle_nothing, 0, 0, 0);
	enter(p, (void *)handle_trap, c->trapno, c->err, 0);
}

// ---- where the kernel was hit ----

static bool fixup_apply(struct port_task *p, struct sigcontext_64 *c, int signal)
{
	for (const struct fixup *f = hosted_fixups_start; f < hosted_fixups_end; f++) {
		if ((uint64_t)&f->at + (uint64_t)(int64_t)f->at != c->ip)
			continue;
		p->fault_address = c->cr2;
		p->fault_flags = c->trapno == TRAP_PAGE_FAULT ? fault_flags(c, signal) : UINT32_MAX;
		c->ip = (uint64_t)&f->to + (uint64_t)(int64_t)f->to;
		return true;
	}
	return false;
}

static void kicked_in_kernel(struct port_task *p, struct sigcontext_64 *c)
{
	__atomic_store_n(&p->kicked, 1, __ATOMIC_RELAXED);
	if (c->ip >= hosted_ways->leave && c->ip < hosted_ways->leave_end) {
		c->ip = hosted_ways->again;
		c->sp = (uint64_t)task_frame(p);
	} else if (c->ip >= (uint64_t)hosted_wait_start && c->ip <= (uint64_t)hosted_wait_call) {
		c->ip = (uint64_t)hosted_wait_kicked;
	}
}

// A wait with a deadline that the cell was stopped or frozen in: the host would have it go on by restart_syscall, which the filter does
// not admit. Whoever waits looks again.
static bool wait_ends_early(int signal, const siginfo_t *info, struct sigcontext_64 *c)
{
	if (signal != SIGSYS || info->si_code != SYS_SECCOMP || info->si_syscall != __NR_restart_syscall)
		return false;
	c->ax = (uint64_t)-EINTR;
	return true;
}

_Noreturn static void die_of(int signal, const struct sigcontext_64 *c)
{
	static const char *const names[32] = {
		[SIGSEGV] = "fault",           [SIGBUS] = "bus error",   [SIGILL] = "invalid instruction",
		[SIGFPE] = "arithmetic error", [SIGTRAP] = "breakpoint", [SIGSYS] = "host call refused by the filter"
	};
	struct user_regs r;
	frame_fill(&r, c, UINT64_MAX);
	if (signal == SIGSEGV && c->trapno == TRAP_PAGE_FAULT && in_stack_guard(c->cr2))
		kernel_upcall_panic("overflow of a kernel stack", c->ip, c->cr2, &r);
	kernel_upcall_panic(names[signal & 31] ? names[signal & 31] : "signal", c->ip, c->cr2, &r);
}

static void from_kernel(struct port_task *p, int signal, const siginfo_t *info, struct ucontext *u)
{
	struct sigcontext_64 *c = (struct sigcontext_64 *)&u->uc_mcontext;

	if (signal == HOSTED_KICK_SIGNAL) {
		kicked_in_kernel(p, c);
		return;
	}
	if (signal == SIGTRAP && c->trapno == TRAP_DEBUG)
		return; // single-stepping into the program: its first instruction will trap
	if ((signal == SIGSEGV || signal == SIGBUS) && fixup_apply(p, c, signal))
		return;
	if (wait_ends_early(signal, info, c))
		return;
	// The program's address was no place to jump to, or its frame none to return to: the program's fault.
	if (signal == SIGSEGV && (c->ip == hosted_ways->leave_jump || c->ip == hosted_ways->leave_iret)) {
		hosted_xstate_load((void *)c->fpstate);
		enter(p, (void *)handle_trap, c->trapno, c->err, 0);
	}
	die_of(signal, c);
}

// ---- dispatch ----

// Vector state of this thread for another one: here the program's is in the host's frame, wherever the kernel was.
static void serve_xstate(struct port_task *p, struct ucontext *u)
{
	struct sigcontext_64 *c = (struct sigcontext_64 *)&u->uc_mcontext;
	uint32_t request = __atomic_load_n(&p->xstate_request, __ATOMIC_ACQUIRE);

	if (!request)
		return;
	hosted_xstate_exchange((void *)c->fpstate, p->xstate_buffer, request == XSTATE_SET);
	p->fs_base = host_fs_base();
	__atomic_store_n(&p->xstate_request, XSTATE_NONE, __ATOMIC_RELEASE);
	port_lock_wake(&p->xstate_request);
}

void hosted_signal(int signal, siginfo_t *info, struct ucontext *u, uint64_t sp)
{
	struct sigcontext_64 *c = (struct sigcontext_64 *)&u->uc_mcontext;
	struct port_task *p = task_of_signal_stack(sp);

	if (p->gs_user) {
		if (hosted.flags & HOSTED_FLAG_FSGSBASE) {
			uint64_t base;
			__asm__ volatile("rdgsbase %0" : "=r"(base));
			if (base != (uint64_t)p)
				p->gs_base = base;
		}
		host_set_gs_base((uint64_t)p);
	}
	bool program = !in_kernel_text(c->ip);
	if (signal == HOSTED_KICK_SIGNAL)
		serve_xstate(p, u);
	if (program)
		from_program(p, signal, info, u);
	from_kernel(p, signal, info, u);
}

// ---- setting up ----

void hosted_signal_stack_set(struct port_task *p)
{
	struct sigaltstack stack = { .ss_sp = (void *)(task_entry_area(p) - SIGNAL_STACK_BYTES),
				     .ss_size = SIGNAL_STACK_BYTES };

	(void)HOST(sigaltstack, &stack, 0);
}

void hosted_signals_init(void)
{
	static const int handled[] = { SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
	struct host_sigaction a = {
		.handler = hosted_ways->signal,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTORER,
		.restorer = hosted_signal_return,
	};
	struct host_sigaction ignore = { .handler = (uint64_t)SIG_IGN };

	for (unsigned i = 0; i < sizeof(handled) / sizeof(*handled); i++)
		(void)HOST(rt_sigaction, handled[i], &a, 0, sizeof(a.mask));
	a.flags &= ~(uint64_t)SA_NODEFER;
	(void)HOST(rt_sigaction, HOSTED_KICK_SIGNAL, &a, 0, sizeof(a.mask));
	(void)HOST(rt_sigaction, SIGPIPE, &ignore, 0, sizeof(a.mask));
}

void hosted_signals_block(void)
{
	uint64_t all = UINT64_MAX;

	(void)HOST(rt_sigprocmask, SIG_BLOCK, &all, 0, sizeof(all));
}
