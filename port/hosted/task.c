// SPDX-License-Identifier: Apache-2.0
// Tasks as host threads: made, released, moved to a host process of their own, ended.
//
// The kernel's own process (the one the loader made) holds the kernel's tasks and the boot thread. The boot thread sleeps in
// port_cpu_idle() (idle.c) and makes there what others cannot make where they are: kernel tasks, and processes for tasks whose exec must
// leave the host process they share.
//
// A task block is free again when its thread is gone: the thread's last instructions use no stack (entry.S) and clear port_task.tid.
// Dead tasks wait on a list; whoever makes the next task, or the boot thread, drops the kernel's reference to them.
#include "task.h"

#include "aspace.h"
#include "idle.h"
#include "layout.h"
#include "lib/compiler.h"
#include "lib/string.h"
#include "lock.h"
#include "port/host.h"
#include "rewrite.h"
#include "signal.h"
#include "syscall.h"
#include "window.h"

#include <asm/errno.h>
#include <asm/prctl.h>
#include <linux/sched.h>

#define CHILD_EXIT_SIGNAL 17u // SIGCHLD

static_assert(offsetof(struct task_head, work) == 0, "known to entry.S");

uint64_t hosted_stacks_start;

static struct hosted_lock blocks_lock;
static struct port_task *free_blocks; // blocks_lock
static uint64_t blocks_used;          // blocks_lock: those before it were used at some time
static uint32_t next_slot;            // atomic
static struct port_task *dead;        // atomic stack

// ---- blocks ----

void hosted_blocks_init(void)
{
	uint64_t size = (hosted.arena_end - hosted.arena_start) / 4;
	size = size < STACKS_MAX_BYTES ? size : STACKS_MAX_BYTES;
	hosted_stacks_start = (hosted.arena_end - size + BLOCK_BYTES - 1) & ~(BLOCK_BYTES - 1);
}

struct port_task *hosted_block_alloc(void)
{
	struct port_task *p;

	hosted_lock(&blocks_lock);
	p = free_blocks;
	if (p) {
		free_blocks = p->next;
	} else if (hosted_stacks_start + (blocks_used + 1) * BLOCK_BYTES <= hosted.arena_end) {
		p = (struct port_task *)(hosted_stacks_start + blocks_used * BLOCK_BYTES + BLOCK_TASK_OFFSET);
		blocks_used++;
	}
	hosted_unlock(&blocks_lock);
	if (!p)
		return NULL;
	asan_unpoison((void *)task_block(p), BLOCK_TASK_OFFSET);
	*p = (struct port_task){
		.stack_top = (uint64_t)p,
		.slot = __atomic_fetch_add(&next_slot, 1, __ATOMIC_RELAXED) % hosted.cpu_count,
	};
	return p;
}

static void block_free(struct port_task *p)
{
	asan_poison((void *)task_block(p), BLOCK_TASK_OFFSET, ASAN_STACK_FREE);
	hosted_lock(&blocks_lock);
	p->next = free_blocks;
	free_blocks = p;
	hosted_unlock(&blocks_lock);
}

// ---- the dead ----

static void push(struct port_task **list, struct port_task *p)
{
	struct port_task *seen = __atomic_load_n(list, __ATOMIC_RELAXED);
	do
		p->next = seen;
	while (!__atomic_compare_exchange_n(list, &seen, p, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
}

void hosted_reap(void)
{
	if (!__atomic_load_n(&dead, __ATOMIC_RELAXED))
		return;
	struct port_task *p = __atomic_exchange_n(&dead, NULL, __ATOMIC_ACQUIRE), *next;
	for (; p; p = next) {
		next = p->next;
		if (__atomic_load_n(&p->tid, __ATOMIC_ACQUIRE))
			push(&dead, p); // not quite
		else
			kernel_upcall_task_gone(p->task);
	}
}

static void wait_gone(int32_t *tid)
{
	int32_t seen = __atomic_load_n(tid, __ATOMIC_ACQUIRE);

	while (seen) {
		int32_t waited_for = seen | TID_WAITED_FOR;
		if (seen != waited_for &&
		    !__atomic_compare_exchange_n(tid, &seen, waited_for, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			continue;
		port_lock_wait((uint32_t *)tid, (uint32_t)waited_for);
		seen = __atomic_load_n(tid, __ATOMIC_ACQUIRE);
	}
}

void port_task_reap(void)
{
	struct port_task *p = __atomic_exchange_n(&dead, NULL, __ATOMIC_ACQUIRE), *next;
	for (; p; p = next) {
		next = p->next;
		wait_gone(&p->tid);
		kernel_upcall_task_gone(p->task);
	}
}

// ---- creation ----

void port_task_adopt(struct task *t, struct port_task **out)
{
	struct port_task *p = current_port();

	p->task = p->current = t;
	*out = p;
}

int port_task_create(struct task *t, struct port_task **out)
{
	hosted_reap();
	struct port_task *p = hosted_block_alloc();
	if (!p)
		return -EAGAIN;
	p->task = p->current = t;
	*out = p;
	return 0;
}

void port_task_destroy(struct port_task *p)
{
	if (p->adopted)
		return;
	wait_gone(&p->tid);
	block_free(p);
}

void port_task_set_entry(struct port_task *p, void (*fn)(void *), void *arg)
{
	struct user_regs *regs = task_frame(p);
	memset(regs, 0, sizeof(*regs));
	regs->orig_ax = UINT64_MAX;
	p->fn = fn;
	p->arg = arg;
}

void port_task_fork(struct port_task *child, uint64_t sp)
{
	struct port_task *parent = current_port();
	struct user_regs *regs = task_frame(child);

	hosted_rewrite_news();
	*regs = *task_frame(parent);
	regs->ax = 0;
	if (sp)
		regs->sp = sp;
	child->fs_base = host_fs_base();
	child->gs_user = parent->gs_user;
	child->gs_base = parent->gs_base;
}

static void leave_aspace(struct port_task *p)
{
	struct port_aspace *as = p->aspace;

	p->aspace = NULL;
	if (as)
		hosted_aspace_leave(as);
}

// Threads of processes that run the program have tgid and aspace; signals and vector state come with the host's clone.
static int make_thread(struct port_task *p, uint64_t flags, uint64_t stack)
{
	*(uint64_t *)(stack - 16) = (uint64_t)p;
	long r = hosted_clone(flags | CLONE_FILES | CLONE_PARENT_SETTID, (void *)(stack - 16), &p->tid);
	return r < 0 ? (int)r : 0;
}

static int spawn_thread(struct port_task *p, struct port_aspace *as)
{
	p->tgid = current_port()->tgid;
	p->aspace = as;
	if (as) {
		hosted_rewrite_threads_begin(as);
		hosted_aspace_enter(as);
	}
	int error = make_thread(p, CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
				(uint64_t)task_frame(p));
	if (error)
		leave_aspace(p);
	return error;
}

static int spawn_process(struct port_task *p, struct port_aspace *as, uint64_t stack)
{
	int error = make_thread(p, CLONE_PARENT | CHILD_EXIT_SIGNAL, stack);
	if (error)
		return error;
	p->tgid = p->tid;
	p->aspace = as;
	hosted_aspace_enter(as);
	__atomic_store_n(&as->tgid, p->tid, __ATOMIC_RELEASE);
	return 0;
}

int port_task_spawn(struct port_task *p, struct port_aspace *as)
{
	struct port_task *me = current_port();
	int error;

	p->gate = GATE_HOLD;
	if (as && as == me->aspace) {
		error = spawn_thread(p, as);
	} else if (as) {
		hosted_windows_hold(me->aspace);
		error = spawn_process(p, as, (uint64_t)task_frame(p));
		hosted_windows_release(me->aspace);
		if (!error)
			hosted_rewrite_inherit(&as->rewriting, &me->aspace->rewriting);
	} else {
		error = me->tgid == hosted_kernel_tgid ? spawn_thread(p, NULL) : hosted_request(p);
	}
	p->spawned = !error;
	return error;
}

int port_task_run(struct port_task *p)
{
	p->gate = GATE_RUN;
	return spawn_thread(p, current_port()->aspace);
}

static void gate_open(struct port_task *p, enum gate how)
{
	if (__atomic_exchange_n(&p->gate, how, __ATOMIC_ACQ_REL) == GATE_WAITED_FOR)
		port_lock_wake(&p->gate);
}

static enum gate gate_pass(struct port_task *p)
{
	uint32_t gate = GATE_HOLD;

	if (!__atomic_compare_exchange_n(&p->gate, &gate, GATE_WAITED_FOR, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return gate;
	while ((gate = __atomic_load_n(&p->gate, __ATOMIC_ACQUIRE)) == GATE_WAITED_FOR)
		port_lock_wait(&p->gate, GATE_WAITED_FOR);
	return gate;
}

void port_task_release(struct port_task *p, bool run)
{
	if (!p->spawned)
		return;
	if (!run)
		leave_aspace(p);
	gate_open(p, run ? GATE_RUN : GATE_ABORT);
}

void hosted_task_attach(struct port_task *p)
{
	host_set_gs_base((uint64_t)p);
	hosted_signal_stack_set(p);
}

_Noreturn void hosted_resume(uint64_t sp);

// A new thread's first function, on its own kernel stack. GS is still its maker's.
void hosted_child_main(struct port_task *p)
{
	hosted_task_attach(p);
	// From here on it can be kicked. Whoever found that it could not has set the work before, which is looked at below.
	__atomic_store_n(&p->ready, 1, __ATOMIC_SEQ_CST);
	if (p->set_fs)
		host_set_fs_base(p->fs_base);
	if (gate_pass(p) == GATE_ABORT) {
		hosted_signals_block();
		hosted_thread_end(&p->tid);
	}
	if (p->moved_sp) {
		uint64_t sp = p->moved_sp;
		p->moved_sp = 0;
		hosted_resume(sp);
	}
	kernel_upcall_task_started(NULL);
	if (p->fn)
		p->fn(p->arg);
	hosted_enter_user(task_frame(p));
}

// ---- the end ----

void port_task_exit(void)
{
	struct port_task *me = current_port();

	hosted_reap();
	leave_aspace(me);
	hosted_signals_block();
	push(&dead, me);
	hosted_thread_end(&me->tid);
}

// ---- exec ----

// entry.S: saves the context in p->moved_sp, then hosted_migrate_post() on the signal stack.
long hosted_migrate(struct port_task *p);
_Noreturn void hosted_migrate_post(struct port_task *p);

// The old thread's last steps; p's kernel stack belongs to the new one from the request on.
void hosted_migrate_post(struct port_task *p)
{
	__atomic_store_n(&p->ready, 0, __ATOMIC_SEQ_CST);
	p->old_tid = p->tid;
	hosted_request_migrate(p);
	hosted_thread_end(&p->old_tid);
}

// The boot thread: a process for a task that left its old one. The task has no thread until then, so nobody can do anything else for it.
bool hosted_migrate_serve(struct port_task *p)
{
	wait_gone(&p->old_tid);
	p->gate = GATE_HOLD;
	if (spawn_process(p, p->moved_to, p->moved_sp - 256))
		return false;
	gate_open(p, GATE_RUN);
	return true;
}

void port_aspace_abandon(void) { leave_aspace(current_port()); }

void port_aspace_activate(struct port_aspace *as)
{
	struct port_task *me = current_port();
	struct port_aspace *old = me->aspace;

	if (as == old)
		return;
	if (!as) { // the last user is leaving
		leave_aspace(me);
		(void)HOST(munmap, 0, hosted.image_start);
		return;
	}
	if (me->tgid == hosted_kernel_tgid || (old && __atomic_load_n(&old->threads, __ATOMIC_ACQUIRE) > 1)) {
		leave_aspace(me);
		me->moved_to = as;
		hosted_signals_block();
		hosted_migrate(me);
		return;
	}
	leave_aspace(me);
	(void)HOST(munmap, 0, hosted.image_start);
	me->aspace = as;
	hosted_aspace_enter(as);
	__atomic_store_n(&as->tgid, me->tgid, __ATOMIC_RELEASE);
}

// ---- registers ----

uint64_t host_fs_base(void)
{
	uint64_t v = 0;
	if (hosted.flags & HOSTED_FLAG_FSGSBASE)
		__asm__ volatile("rdfsbase %0" : "=r"(v));
	else
		(void)HOST(arch_prctl, ARCH_GET_FS, &v);
	return v;
}

void host_set_fs_base(uint64_t v)
{
	if (hosted.flags & HOSTED_FLAG_FSGSBASE)
		__asm__ volatile("wrfsbase %0" : : "r"(v));
	else
		(void)HOST(arch_prctl, ARCH_SET_FS, v);
}

void host_set_gs_base(uint64_t v)
{
	if (hosted.flags & HOSTED_FLAG_FSGSBASE)
		__asm__ volatile("wrgsbase %0" : : "r"(v) : "memory");
	else
		(void)HOST(arch_prctl, ARCH_SET_GS, v);
}

struct user_regs *port_task_regs(struct port_task *p) { return task_frame(p); }

void port_task_enter_user(void) { hosted_enter_user(task_frame(current_port())); }

uint64_t port_task_fs_base(struct port_task *p) { return p == current_port() ? host_fs_base() : p->fs_base; }

uint64_t port_task_gs_base(struct port_task *p) { return p->gs_base; }

void port_task_set_fs_base(struct port_task *p, uint64_t base)
{
	if (base >= hosted.image_start)
		base = 0;
	p->fs_base = base;
	if (p == current_port())
		host_set_fs_base(base);
	else
		p->set_fs = true;
}

void port_task_set_gs_base(struct port_task *p, uint64_t base)
{
	if (base >= hosted.image_start)
		base = 0;
	p->gs_base = base;
	p->gs_user = base != 0;
	if (p->gs_user)
		hosted_rewrite_forbid();
}

// ---- between tasks ----

void port_task_kick(struct port_task *p)
{
	int32_t tid = task_tid(p);
	// A thread that was just made has its maker's signal stack yet, which is in use.
	if (tid && __atomic_load_n(&p->ready, __ATOMIC_SEQ_CST))
		(void)HOST(tgkill, p->tgid, tid, HOSTED_KICK_SIGNAL);
}

void port_task_yield(void) { (void)HOST(sched_yield); }

int port_task_affinity(const uint64_t *mask, unsigned words)
{
	uint64_t host[16] = { 0 }; // the host's CPUs up to 1023

	for (unsigned cpu = 0; cpu < hosted.cpu_count && cpu / 64 < words; cpu++)
		if ((mask[cpu / 64] >> (cpu % 64) & 1) && hosted.cpus[cpu] < 1024)
			host[hosted.cpus[cpu] / 64] |= UINT64_C(1) << (hosted.cpus[cpu] % 64);
	long r = HOST(sched_setaffinity, 0, sizeof(host), host);
	return r < 0 ? (int)r : 0;
}

unsigned port_cpu_count(void) { return hosted.cpu_count; }

unsigned port_cpu_now(void)
{
	uint32_t low, high, host;
	// Linux keeps node << 12 | cpu in TSC_AUX.
	__asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(host));
	host &= 0xfff;
	for (unsigned cpu = 0; cpu < hosted.cpu_count; cpu++)
		if (hosted.cpus[cpu] == host)
			return cpu;
	return 0;
}

void port_cpu_kick(unsigned cpu) { (void)cpu; }

void port_preempt_point(void) {}

struct task *port_task_switch(struct task *prev, struct task *next, struct port_aspace *as)
{
	(void)next, (void)as;
	return prev; // the host switches
}
