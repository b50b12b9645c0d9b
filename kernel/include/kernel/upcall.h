// SPDX-License-Identifier: Apache-2.0
// What a port calls in the kernel. The only kernel header a port may include.
#pragma once

#include "port/port.h"

// How struct task begins: all a port knows of it. kernel/task.h asserts the offsets.
struct task_head {
	uint32_t work;          // atomic; != 0: kernel_upcall_user_return() has something to do before user mode
	uint32_t reserved;      // the kernel's own use
	struct port_task *port; // as port_task_create()/port_task_adopt() made it; set before the first switch to it
	// The kernel's own use too, where the port schedules: see kernel/spinlock.h. Own task.
	uint32_t spins; // spinlocks held
	uint32_t wakes; // threads to be woken when none is
};
static_assert(sizeof(struct task_head) == 24, "head of struct task");

// Boot CPU, on its boot stack, interrupts off: runs the whole kernel start; never returns (becomes idle).
// `record` is the boot record in directly mapped memory the port keeps reserved.
_Noreturn void kernel_upcall_boot(const void *boot_record, size_t size);
// Another CPU is up, on its boot stack: becomes that CPU's idle task.
_Noreturn void kernel_upcall_cpu_started(void);

// A system call of the current task; registers in `regs` (result into regs->ax). Task context.
void kernel_upcall_syscall(struct user_regs *regs);

// Before every return to user mode when port_current()->work != 0 (first field of struct task, uint32_t,
// atomic): signals, rescheduling, stops, tracing. Task context. Loops until there is no work left.
void kernel_upcall_user_return(struct user_regs *regs);

// A new task runs for the first time, before it enters user mode or the function of port_task_set_entry(). `prev` is
// the task that ran before on this CPU, as port_task_switch() returns it: hand it to the scheduler. Atomic until then.
void kernel_upcall_task_started(struct task *prev);

// The host thread of `t` is gone for good (PORT_SCHEDULES_TASKS): nothing uses its kernel stack any more. Frees the task when
// this was the last reference. Task context, of another task.
void kernel_upcall_task_gone(struct task *t);

// Bits of task_head.work that end a wait; the others matter only on the way to user mode.
#define UPCALL_WORK_INTERRUPTS 0x15u

#define UPCALL_FAULT_WRITE 1u
#define UPCALL_FAULT_EXEC  2u
#define UPCALL_FAULT_USER  4u // in user mode; else in a user-memory access of the kernel
#define UPCALL_FAULT_BUS   8u // the host said SIGBUS: the file behind the mapping ends before it
// A page fault on a user address. 0: retry the access. -EFAULT: for a user-mode fault the signal was already
// queued (return through kernel_upcall_user_return); for a kernel access the port takes its fixup. Task context.
int kernel_upcall_page_fault(struct user_regs *regs, uint64_t address, unsigned flags);

// A CPU exception in user mode other than a page fault: `vector` and `error` as in SDM vol. 3 ch. 6; `address`: faulting
// instruction or 0. Becomes a signal. Task context.
void kernel_upcall_trap(struct user_regs *regs, unsigned vector, uint64_t error, uint64_t address);

// Interrupt context: the timer of this CPU fired; a kick or device interrupt was handled. With PORT_SCHEDULES_TASKS the
// timer's is called in a kernel task of the port's, one call at a time, and there are no interrupts.
void kernel_upcall_timer(void);
void kernel_upcall_interrupt(void);

// A fault in the kernel itself that no fixup covers. Prints and ends the machine.
_Noreturn void kernel_upcall_panic(const char *what, uintptr_t ip, uintptr_t address, const struct user_regs *regs);

// ---- ports that rewrite system-call sites (PORT_HOST); current address space, task context ----

// Reserves a page of the program's address space less than `reach` from `near`, which the program's view of its mappings does not
// show. The port maps what it likes there. Address; 0: none is free.
uint64_t kernel_upcall_code_page(uint64_t near, uint64_t reach);
// Calls fn(context) if [address, address + size) lies in one mapping that the program can execute, cannot write, and has for
// itself; meanwhile no mapping changes and nothing forks. Also from port_code_page_leave(). fn must not sleep for long nor touch mappings by upcalls. Was it called?
bool kernel_upcall_code_change(uint64_t address, uint64_t size, void (*fn)(void *context), void *context);

// ---- memory for the port's own tables (implemented in kernel/mm/upcall.c) ----

// One zeroed page (direct-mapped), NULL when there is none; any context without kernel locks of mm held.
void *kernel_upcall_page_alloc(void);
void kernel_upcall_page_free(void *page);
// What the port's address sanitizer reports (lib/asan.h): the cache of the object in whose room `address` lies, NULL: none; where the
// room starts and its size. Any context.
const char *kernel_upcall_object(uintptr_t address, uintptr_t *start, size_t *room);
// Small zeroed objects, 64-byte aligned when size >= 64. Task context.
void *kernel_upcall_alloc(size_t size);
void kernel_upcall_free(void *object);
