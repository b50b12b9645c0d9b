// SPDX-License-Identifier: Apache-2.0
// Tasks: creation, fork, the switch. Everything runs with interrupts off; a task's port part is touched by the CPU it
// runs on, or by its parent or tracer while it does not run.
#include "task.h"

#include "aspace.h"
#include "io.h"
#include "kernel/upcall.h"
#include "lib/string.h"
#include "smp.h"
#include "trap.h"
#include "xstate.h"

#include <asm/errno.h>

static_assert(offsetof(struct task_head, work) == 0 && offsetof(struct task_head, port) == 8,
	      "known to entry.S, task.h");

void x86_task_first(void);
struct task *x86_stack_switch(uint64_t *save, uint64_t load, struct task *prev);

// What x86_stack_switch() pops.
struct switch_frame {
	uint64_t r15, r14, r13, r12, bx, bp, ip;
};

static inline struct port_task *port_of(struct task *t) { return ((struct task_head *)t)->port; }

static struct port_task idle_tasks[CPUS_MAX]; // of the adopted boot contexts; no vector state

void port_task_adopt(struct task *t, struct port_task **out)
{
	struct cpu *cpu = this_cpu();
	struct port_task *p = &idle_tasks[cpu->index];
	p->stack_top = cpu->boot_stack_top;
	p->adopted = true;
	p->xstate_cpu = CPUS_MAX;
	p->task = t;
	*out = p;
	cpu->current = t;
}

int port_task_create(struct task *t, struct port_task **out)
{
	struct port_task *p = x86_stack_alloc();
	if (!p)
		return -ENOMEM;
	p->user = false;
	p->adopted = false;
	p->fs_base = p->gs_base = 0;
	p->task = t;
	p->xstate_cpu = CPUS_MAX;
	*out = p;
	return 0;
}

void port_task_destroy(struct port_task *p)
{
	if (!p->adopted)
		x86_stack_free(p);
}

static void set_first_frame(struct port_task *p, uint64_t sp, uint64_t fn, uint64_t arg)
{
	struct switch_frame *f = (struct switch_frame *)(sp - sizeof(*f));
	*f = (struct switch_frame){ .r12 = fn, .r13 = arg, .ip = (uint64_t)x86_task_first };
	p->sp = (uint64_t)f;
}

void port_task_set_entry(struct port_task *p, void (*fn)(void *), void *arg)
{
	// The program's frame keeps its place: the function may end in port_task_enter_user().
	struct user_regs *regs = task_frame(p);
	memset(regs, 0, sizeof(*regs));
	regs->orig_ax = UINT64_MAX;
	set_first_frame(p, (uint64_t)regs, (uint64_t)fn, (uint64_t)arg);
}

// ---- TLS bases: in the registers while the task runs ----

static inline uint64_t read_fs_base(void)
{
	uint64_t v;
	if (!x86_features.common.fsgsbase)
		return rdmsr(MSR_FS_BASE);
	__asm__ volatile("rdfsbase %0" : "=r"(v));
	return v;
}

static inline void write_fs_base(uint64_t v)
{
	if (x86_features.common.fsgsbase)
		__asm__ volatile("wrfsbase %0" : : "r"(v));
	else
		wrmsr(MSR_FS_BASE, v);
}

// The program's GS base is the inactive one: with the instructions it takes a swap there and back, which interrupts
// cannot see.
static inline uint64_t read_gs_base(void)
{
	uint64_t v;
	if (!x86_features.common.fsgsbase)
		return rdmsr(MSR_KERNEL_GS_BASE);
	__asm__ volatile("swapgs; rdgsbase %0; swapgs" : "=r"(v) : : "memory");
	return v;
}

static inline void write_gs_base(uint64_t v)
{
	if (x86_features.common.fsgsbase)
		__asm__ volatile("swapgs; wrgsbase %0; swapgs" : : "r"(v) : "memory");
	else
		wrmsr(MSR_KERNEL_GS_BASE, v);
}

uint64_t port_task_fs_base(struct port_task *p) { return p == current_port() ? read_fs_base() : p->fs_base; }

uint64_t port_task_gs_base(struct port_task *p) { return p == current_port() ? read_gs_base() : p->gs_base; }

// A non-canonical base would fault in ring 0 when it is loaded; the kernel has checked the range (arch_prctl: EPERM).
void port_task_set_fs_base(struct port_task *p, uint64_t base)
{
	if (base >= USER_END)
		base = 0;
	p->fs_base = base;
	if (p == current_port())
		write_fs_base(base);
}

void port_task_set_gs_base(struct port_task *p, uint64_t base)
{
	if (base >= USER_END)
		base = 0;
	p->gs_base = base;
	if (p == current_port())
		write_gs_base(base);
}

// ---- fork, and the way to user mode ----

struct user_regs *port_task_regs(struct port_task *p) { return task_frame(p); }

void port_task_fork(struct port_task *child, uint64_t sp)
{
	struct port_task *parent = current_port();
	struct user_regs *regs = task_frame(child);
	*regs = *task_frame(parent);
	regs->ax = 0;
	if (sp)
		regs->sp = sp;
	child->fs_base = read_fs_base();
	child->gs_base = read_gs_base();
	x86_xstate_save(parent);
	memcpy(child->xstate, parent->xstate, x86_features.xstate_size_bytes);
	child->xstate_cpu = CPUS_MAX;
	child->user = true;
	set_first_frame(child, (uint64_t)regs, 0, 0);
}

void port_task_enter_user(void)
{
	struct port_task *p = current_port();
	if (!p->user) {
		p->user = true;
		port_xstate_reset(p);
		write_fs_base(p->fs_base);
		write_gs_base(p->gs_base);
	}
	if (!x86_smp_started)
		x86_smp_start();
	x86_enter_user(task_frame(p));
}

// ---- the switch ----

static void save_user(struct port_task *p)
{
	p->fs_base = read_fs_base();
	p->gs_base = read_gs_base();
	x86_xstate_save(p);
}

static void load_user(struct port_task *n)
{
	write_fs_base(n->fs_base);
	write_gs_base(n->gs_base);
	x86_xstate_restore(n);
}

struct task *port_task_switch(struct task *prev, struct task *next, struct port_aspace *as)
{
	struct cpu *cpu = this_cpu();
	struct port_task *p = port_of(prev), *n = port_of(next);

	if (p->user)
		save_user(p);
	x86_aspace_switch(cpu, as);
	cpu->current = next;
	cpu->kernel_stack_top = n->stack_top;
	cpu->tss.rsp[0] = n->stack_top;
	if (n->user)
		load_user(n);
	return x86_stack_switch(&p->sp, n->sp, prev);
}
