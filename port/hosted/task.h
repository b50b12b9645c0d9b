// SPDX-License-Identifier: Apache-2.0
// The port's part of a task, at the top of the task's block. A block is BLOCK_BYTES, aligned, in shared memory: every
// process of the cell can follow pointers to what stands on another task's stack.
//
//     block + 0        a page that is not used, a guard where there can be one
//     block + 4 KiB    kernel stack, grows down from struct port_task; the program's frame is its first 168 bytes
//     end              struct port_task
//
// HOSTED_OPEN_BYTES behind struct port_task is the task's entry area, where no protection key closes anything (pkeys.h):
//
//     area - 16 KiB    the host's signal stack, grows down from the area
//     area             struct entry_area
//
// GS points at struct port_task while the kernel runs, and while the program runs unless it has set GS itself.
#pragma once

#include "abi/hosted.h"
#include "kernel/upcall.h"
#include "layout.h"
#include "lib/asan.h"
#include "port/inline.h"

#include <linux/types.h>
#include <stddef.h>

#define BLOCK_BYTES        (UINT64_C(32768) << CLOISTER_ASAN) // the sanitizer pads what is on the stack
#define GUARDED_BLOCKS     32u                                // the first ones: main.c
#define SIGNAL_STACK_BYTES UINT64_C(16384)
#define TID_WAITED_FOR     0x40000000 // no thread's number is so large

struct port_aspace;

enum gate { GATE_HOLD, GATE_WAITED_FOR, GATE_RUN, GATE_ABORT }; // WAITED_FOR: the thread sleeps until it changes
enum xstate_request { XSTATE_NONE, XSTATE_GET, XSTATE_SET };

struct port_task {
	// known to entry.S
	struct task *current;
	uint32_t slot;             // share of per-CPU data
	uint32_t kicked;           // a kick came while the kernel ran: the next call that waits must not
	uint64_t stack_top;        // = address of struct port_task
	uint64_t user_sp, user_ip; // scratch of entry and exit
	uint64_t gs_user;          // the program has set GS: leave by the way that loads it
	uint64_t gs_base;          // of the program
	uint64_t moved_sp;         // where the task goes on in another host process: hosted_migrate()

	// own task, or its maker before it runs
	struct port_aspace
		*aspace; // whose memory the host process has; NULL: the kernel's own process, or none any more
	struct task *task;
	void (*fn)(void *); // what to run first; NULL: the program
	void *arg;
	uint64_t fs_base; // of the program, as set last by a call
	bool set_fs;      // fs_base is to be loaded at the start
	bool adopted;     // the boot thread: not freed
	bool spawned;

	// the host's view; atomic
	int32_t tid; // 0: no thread, or gone; TID_WAITED_FOR: its end wakes somebody
	int32_t tgid;
	uint32_t gate;  // enum gate; the new thread waits here
	uint32_t ready; // it has its own signal stack: before that it must not get a signal

	// where a copy to or from user memory failed
	uint64_t fault_address;
	uint32_t fault_flags;

	uint32_t xstate_request; // atomic: enum xstate_request, served by the thread's signal handler
	void *xstate_buffer;

	struct port_task *next;         // on the free list or the list of the dead
	struct port_task *next_request; // idle.c
	uint32_t request_done;          // atomic
	int request_result;

	// exec leaves a shared host process
	struct port_aspace *moved_to;
	int32_t old_tid; // of the thread left behind, until it is gone
} __attribute__((aligned(64)));

#define BLOCK_TASK_OFFSET (BLOCK_BYTES - sizeof(struct port_task))

static_assert(offsetof(struct port_task, current) == HOSTED_CURRENT_OFFSET, "known to inline.h");
static_assert(offsetof(struct port_task, slot) == HOSTED_SLOT_OFFSET, "known to inline.h");
static_assert(offsetof(struct port_task, kicked) == 12, "known to entry.S");
static_assert(offsetof(struct port_task, stack_top) == 16, "known to entry.S");
static_assert(offsetof(struct port_task, user_sp) == 24, "known to entry.S");
static_assert(offsetof(struct port_task, user_ip) == 32, "known to entry.S");
static_assert(offsetof(struct port_task, gs_user) == 40, "known to entry.S");
static_assert(offsetof(struct port_task, gs_base) == 48, "known to entry.S");
static_assert(offsetof(struct port_task, moved_sp) == 56, "known to entry.S");

// Scratch of entry and exit. Whatever may write to it, the program included, can change the program's registers only.
struct entry_area {
	uint64_t dx, cx, ax;
	uint64_t ip, cs, flags, sp, ss; // as IRETQ takes them
};

static_assert(sizeof(struct entry_area) == 64 && offsetof(struct entry_area, ip) == 24, "known to entry.S");
static_assert(TID_WAITED_FOR == 0x40000000, "known to entry.S");
static_assert(offsetof(struct hosted_handoff, flags) == 184 && HOSTED_FLAG_FSGSBASE == 1, "known to entry.S");
static_assert(HOSTED_OPEN_BYTES == 0x40000000, "known to entry.S");
static_assert(sizeof(struct entry_area) <= sizeof(struct port_task) &&
		      SIGNAL_STACK_BYTES + sizeof(struct port_task) <= BLOCK_BYTES,
	      "entry areas do not overlap");

// The running thread's.
static inline struct port_task *current_port(void)
{
	struct port_task *p;
	// stack_top is the structure's own address
	__asm__("movq %%gs:%c1, %0" : "=r"(p) : "i"(offsetof(struct port_task, stack_top)));
	return p;
}

static inline struct user_regs *task_frame(struct port_task *p)
{
	return (struct user_regs *)(p->stack_top - sizeof(struct user_regs));
}

// The number of p's thread; 0: it has none.
static inline int32_t task_tid(const struct port_task *p)
{
	return __atomic_load_n(&p->tid, __ATOMIC_ACQUIRE) & ~TID_WAITED_FOR;
}

// Does `address` lie in the guard of a kernel stack?
static inline bool in_stack_guard(uint64_t address)
{
	return address >= hosted_stacks_start && address < hosted.arena_end && address % BLOCK_BYTES < PAGE_BYTES;
}

static inline uint64_t task_block(const struct port_task *p) { return (uint64_t)p & ~(BLOCK_BYTES - 1); }

// The end of the task's signal stack, and where its entry area begins.
static inline uint64_t task_entry_area(const struct port_task *p) { return (uint64_t)p + HOSTED_OPEN_BYTES; }

// The task whose signal stack contains `address`.
static inline struct port_task *task_of_signal_stack(uint64_t address)
{
	return (struct port_task *)((address & ~(BLOCK_BYTES - 1)) - HOSTED_OPEN_BYTES + BLOCK_TASK_OFFSET);
}

// task.c
struct port_task *hosted_block_alloc(void); // NULL
void hosted_blocks_init(void);
void hosted_task_attach(struct port_task *p); // the running thread becomes p's: GS and signal stack

// FS and GS base of the running thread (task.c).
uint64_t host_fs_base(void);
void host_set_fs_base(uint64_t v);
void host_set_gs_base(uint64_t v);

// entry.S
_Noreturn void hosted_enter_user(struct user_regs *frame);          // work first
long hosted_clone(uint64_t flags, void *child_stack, int32_t *tid); // in the child: hosted_child_main()
_Noreturn void hosted_thread_end(int32_t *tid); // clears *tid, wakes whoever waits for that, ends the thread
_Noreturn void hosted_trap_main(uint64_t fn, struct user_regs *frame, uint64_t a, uint64_t b, uint64_t c); // see there
_Noreturn void hosted_child_main(struct port_task *p);
