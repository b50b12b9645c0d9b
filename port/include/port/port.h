// SPDX-License-Identifier: Apache-2.0
// The port contract: everything the portable kernel needs from what it stands on. Nothing else.
//
// A port implements every function declared here and the inline ones in its own `port/inline.h` (chosen by the
// include path: port/X/include). What libkernel.a leaves undefined is exactly this list; ./dev lint checks it.
// The other direction, what a port calls in the kernel, is kernel/upcall.h.
//
// Contexts. "Task" means on a task's kernel stack, may sleep. "Atomic": may be called under spinlocks, never
// sleeps. "Interrupt" means on top of user code, idle or port_preempt_point(): no kernel lock is held below it.
// Ports must not interrupt the kernel anywhere else; host preemption (port hosted) is not an interrupt.
//
// Errors are 0 or -errno.
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t paddr_t; // physical address of a page frame or device

struct task;
struct port_task;   // the port's part of a task: kernel stack, saved registers, vector state
struct port_aspace; // the port's part of an address space: page tables, or the host mappings

// The program's general registers at its last entry into the kernel; the layout of Linux's struct pt_regs and
// user_regs_struct (without the trailing segment bases), so that ptrace and signal frames copy it as is.
struct user_regs {
	uint64_t r15, r14, r13, r12, bp, bx;
	uint64_t r11, r10, r9, r8, ax, cx, dx, si, di;
	uint64_t orig_ax; // system-call number, or -1 when the entry was no system call
	uint64_t ip, cs, flags, sp, ss;
};
static_assert(sizeof(struct user_regs) == 21 * 8, "struct user_regs is pt_regs");

// ---- inline part: port/X/include/port/inline.h provides ----
//   static inline struct task *port_current(void);   the running task; never NULL after boot
//   static inline unsigned port_cpu_index(void);     this CPU, < port_cpu_count(); a hint once the caller may move
//   static inline void port_cpu_relax(void);         in spin loops; serves requests of other CPUs
//   PORT_SCHEDULES_TASKS                             1: one host thread per task, the host schedules (hosted);
//                                                    0: kernel/sched multiplexes tasks over CPUs (x86)
//   PORT_DEMAND_PAGING                               1: port_aspace_* page operations and faults (x86);
//                                                    0: whole ranges are mapped at mmap time (hosted)
//   PORT_HOST                                        1: the port stands on another kernel, and port/host.h is there too

// ---- CPUs ----

// Number of CPUs; constant after boot, >= 1. Any context.
unsigned port_cpu_count(void);

// Makes `cpu` call kernel_upcall_interrupt() soon, leaving user code or idle for it. Atomic.
void port_cpu_kick(unsigned cpu);

// Waits until an interrupt was handled on this CPU. Called by the idle task with nothing to run; the caller
// has published that it is idle, and a kick sent after that must end the wait. Never returns with work lost.
void port_cpu_idle(void);

// Takes pending interrupts now. Task context, no spinlock held. Cheap enough for every 50 us of a long loop.
void port_preempt_point(void);

// A contended kernel lock: waits until *word may be free (it was seen as `seen`), and the matching wake. Ports
// without host threads spin once with port_cpu_relax() and have an empty wake. Atomic.
void port_lock_wait(uint32_t *word, uint32_t seen);
void port_lock_wake(uint32_t *word);

// ---- tasks ----

// Allocates the port's part of `t`: kernel stack with a guard page, vector-state area in its initial state.
// -ENOMEM. Task context.
int port_task_create(struct task *t, struct port_task **out);
// Makes the context this CPU runs on since its start (boot stack) the task `t`: its idle task. Sets port_current().
// Once a CPU, before its first port_task_switch(). Never fails: the port keeps one port_task a CPU for this.
void port_task_adopt(struct task *t, struct port_task **out);
// Frees it. `p` is not running and never runs again. Task context (not on p's own stack).
void port_task_destroy(struct port_task *p);

// Prepares `p` to enter fn(arg) on its kernel stack when first switched to, after kernel_upcall_task_started(prev); fn
// never returns.
void port_task_set_entry(struct port_task *p, void (*fn)(void *), void *arg);

// Prepares `child` to return to user mode with a copy of the current task's registers, vector state and TLS
// bases, except ax = 0 and, when nonzero, sp = `sp`. The child first calls kernel_upcall_task_started(prev).
void port_task_fork(struct port_task *child, uint64_t sp);

// Switches from `prev` (the current task) to `next`, loading `as` when it is not NULL and not loaded (kernel
// tasks run on whatever is loaded). Returns when `prev` is switched to again, on any CPU; returns the task that
// ran before it there, which the caller must hand to the scheduler. Only with !PORT_SCHEDULES_TASKS. Atomic.
struct task *port_task_switch(struct task *prev, struct task *next, struct port_aspace *as);

// The user registers saved at p's last kernel entry; valid while p is in the kernel.
struct user_regs *port_task_regs(struct port_task *p);

// From kernel context of the current task (no user entry below it yet, or after exec): enters user mode with the
// registers in port_task_regs(). Runs kernel_upcall_user_return() first.
_Noreturn void port_task_enter_user(void);

// TLS bases (FS, GS) of a task; of the current one or of one that is stopped.
uint64_t port_task_fs_base(struct port_task *p);
uint64_t port_task_gs_base(struct port_task *p);
void port_task_set_fs_base(struct port_task *p, uint64_t base);
void port_task_set_gs_base(struct port_task *p, uint64_t base);

// Vector state in XSAVE standard format (SDM vol. 1 ch. 13), for signal frames and ptrace. `size` is fixed after
// boot (>= 512 + 64). port_xstate_set() checks the header and MXCSR: -EINVAL and unchanged on nonsense.
size_t port_xstate_size_bytes(void);
uint64_t port_xstate_features(void); // XCR0
void port_xstate_get(struct port_task *p, void *buffer);
int port_xstate_set(struct port_task *p, const void *buffer);
void port_xstate_reset(struct port_task *p); // the initial state, as after execve

// ---- address spaces ----
// All calls on one address space are serialised by the kernel: structure changes under the mm's write lock, page
// installation under the page-table lock that port_aspace_lock() takes for the page's region.

#define PORT_PROT_READ  1u
#define PORT_PROT_WRITE 2u
#define PORT_PROT_EXEC  4u

// Lowest and one-past-highest user address. Constant.
#define PORT_USER_START UINT64_C(0x10000)
uint64_t port_user_end(void);

int port_aspace_create(struct port_aspace **out);
// No task uses it any more; all pages were unmapped before. Task context.
void port_aspace_destroy(struct port_aspace *as);
// Makes `as` the current one, now (exec). Task context. NULL: the kernel's own.
void port_aspace_activate(struct port_aspace *as);

struct port_pte {
	paddr_t frame;
	uint8_t prot; // PORT_PROT_*
	bool present, dirty, accessed;
	bool busy; // not present, but port_aspace_unmap() is still at work on it: unlock, relax, look again before installing
};

// Reads the translation of one page. Under the region lock for a stable answer.
void port_aspace_get_page(struct port_aspace *as, uint64_t va, struct port_pte *out);

// Locks the page-table region (2 MiB) of `va`; allocates the table when missing (-ENOMEM). Spinlock class:
// atomic afterwards. Region locks nest in address order only, parent before child address space at fork.
int port_aspace_lock(struct port_aspace *as, uint64_t va);
void port_aspace_unlock(struct port_aspace *as, uint64_t va);

// Installs or replaces one page. Region locked. The old translation, if present, is flushed on every CPU before
// the return when it allowed more than the new one does or named another frame.
void port_aspace_set_page(struct port_aspace *as, uint64_t va, paddr_t frame, unsigned prot);

// Removes every present page of [start, end), flushes, then calls gone() for each removed page (its frame may be
// freed there; called under the region lock). Takes the region locks itself. At most one call at a time on an address space; faults
// may install pages meanwhile (see port_pte.busy). Task context.
void port_aspace_unmap(struct port_aspace *as, uint64_t start, uint64_t end,
		       void (*gone)(void *context, uint64_t va, const struct port_pte *pte), void *context);

// Changes the protection of every present page of [start, end) to the intersection of `prot` and what
// `limit_write` says: with limit_write, pages lose PORT_PROT_WRITE whatever `prot` says (they regain it by a
// fault: copy-on-write, dirty tracking). Clears dirty bits when clean is set and reports them to dirty() (may be
// NULL). Flushes.
void port_aspace_protect(struct port_aspace *as, uint64_t start, uint64_t end, unsigned prot, bool limit_write,
			 void (*dirty)(void *context, uint64_t va, paddr_t frame), void *context);

// Copies the present translations of [start, end) from `from` to the same addresses of `to`; with `cow` both
// sides lose PORT_PROT_WRITE. shared() is called once for each copied page, before the child can see it, to take
// its reference; -ENOMEM leaves what was copied (the caller unmaps). Flushes `from` once at the end.
int port_aspace_copy(struct port_aspace *to, struct port_aspace *from, uint64_t start, uint64_t end, bool cow,
		     void (*shared)(void *context, uint64_t va, const struct port_pte *pte), void *context);

// Page-table memory of `as`, for accounting.
size_t port_aspace_table_bytes(struct port_aspace *as);

// ---- user memory ---- (current address space; may fault and sleep; task context, no spinlock)

// Bytes NOT copied: 0 is success. Addresses outside the user range copy nothing.
size_t port_copy_in(void *to, uint64_t user_from, size_t size);
size_t port_copy_out(uint64_t user_to, const void *from, size_t size);
size_t port_clear_out(uint64_t user_to, size_t size);
// Copies a string up to and including its NUL: its length without NUL; `size` when no NUL came within it; -EFAULT.
long port_string_in(char *to, uint64_t user_from, size_t size);
// Does the same code run much faster at an address where it ran before than at a new one (software emulation keeps what it
// translated by address)? Then the kernel keeps code where it is. Constant.
bool port_stable_code(void);
// Atomic 32-bit access for futexes: -EFAULT. *seen is the value before. cmpxchg stores when *seen == old.
int port_user_load32(uint64_t user, uint32_t *seen);
int port_user_cmpxchg32(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen);
// The same, but never sleeps: -EFAULT also when the page is not present (the caller faults it in and retries).
int port_user_load32_atomic(uint64_t user, uint32_t *seen);
int port_user_cmpxchg32_atomic(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen);

// ---- physical memory ----

// The kernel's address of a frame. All frames of all ranges are mapped. Any context.
void *port_frame_address(paddr_t frame);
paddr_t port_frame_of(const void *kernel_address); // inverse, for direct-mapped addresses only

void port_zero_page(void *page); // 4 KiB, aligned
// A device may write to this page from now on, and programs may run what it writes: nothing that the CPU keeps of instructions the page
// had before may be used again. The page's contents are lost. (A processor sees what devices write; software emulation keeps translated
// instructions, and learns of the writes of its own CPUs only, not of another process that shares the memory.) Any context.
void port_page_expect_device(void *page);
void port_copy_page(void *to, const void *from); // 4 KiB, aligned

// Pages the port holds from kernel_upcall_page_alloc() for reuse (kernel stacks, living or cached, and the tables that map
// them): not part of any address space, no leak. Page tables are in port_aspace_table_bytes().
size_t port_held_pages(void);

struct port_memory_range {
	paddr_t start, end; // page aligned
	bool shared_window; // reachable by devices; nothing else is
};
// Free memory as the port found it at boot: everything the kernel may use. Count; fills up to `max`.
unsigned port_memory_ranges(struct port_memory_range *out, unsigned max);

// ---- time and randomness ----

uint64_t port_time_ns(void); // monotonic since boot; any context; same on every CPU
// kernel_upcall_timer() on this CPU at or after; UINT64_MAX: never. Replaces what was set before. Atomic. With
// PORT_SCHEDULES_TASKS there is one timer for the whole cell, and the calls of it are serialised by the kernel.
void port_timer_set(uint64_t deadline_ns);
// What the vDSO needs to compute port_time_ns() from the TSC: ns = ((tsc - tsc_base) * mult) >> shift. False when the
// program must call the kernel for time. Constant after boot.
bool port_time_tsc(uint64_t *tsc_base, uint32_t *mult, uint32_t *shift);
uint64_t port_tsc_hz(void);        // 0 = unknown
bool port_random64(uint64_t *out); // hardware randomness; false = none

// ---- end, and diagnostics ----

void port_log_write(const char *text, size_t size); // early console; any context, any time
// Ends the machine; `status` is MACHINE_EXIT_* (abi/control.h).
_Noreturn void port_exit(unsigned status);
// First half of a panic: stops the other CPUs. Returns false when a panic already runs (then the caller halts).
bool port_panic_enter(void);
// Return addresses of the current stack, innermost first; never faults. Count.
unsigned port_backtrace(uintptr_t *out, unsigned max);
// Prints the port's own registers (control registers and such) by port_log_write().
void port_panic_registers(void);
// Kernel image offset between link and run address, for symbolising.
uintptr_t port_image_slide(void);
// The function that contains `address`, and the offset in it; NULL when unknown. Any context.
const char *port_symbol(uintptr_t address, size_t *offset);
// What /proc/cpuinfo prints for `cpu`: one block of text. Length as snprintf.
int port_cpuinfo(unsigned cpu, char *buffer, size_t size);
// Topology of `cpu`, for /sys/devices/system/cpu. Source: CPUID leaves 4, 0xb / 1.
struct port_cpu_topology {
	unsigned package_id, core_id, thread_id;
	unsigned threads_per_core, cores_per_package;
};
void port_cpu_topology(unsigned cpu, struct port_cpu_topology *out);
struct port_cpu_cache {
	unsigned level, line_bytes, sets, ways, partitions, size_bytes, shared_cpus;
	char type; // 'D', 'I', 'U'
};
unsigned port_cpu_caches(struct port_cpu_cache *out, unsigned max); // count
uint64_t port_hwcap(void);                                          // AT_HWCAP: CPUID.1:EDX
uint64_t port_hwcap2(void);                                         // AT_HWCAP2
