// SPDX-License-Identifier: Apache-2.0
// The port's part of a task. It stands at the top of the task's kernel-stack slot, above the stack, with the vector state
// behind it, so that one allocation makes all of it:
//
//     slot + 0        guard, never mapped
//     slot + 12 KiB   stack, grows down from struct port_task; the program's frame is its first 168 bytes
//     end             struct port_task, XSAVE area; on one page with the top of the stack, which spares a TLB entry
#pragma once

#include "cpu.h"
#include "layout.h"

#define STACK_SLOT_BYTES  UINT64_C(32768)
#define STACK_GUARD_BYTES UINT64_C(12288)

struct port_task {
	uint64_t sp; // saved stack pointer while switched out
	uint64_t stack_top;
	bool user;                 // has user registers beyond the frame: vector state and bases are saved and loaded
	bool adopted;              // a CPU's idle task on its boot stack: not freed
	uint32_t xstate_cpu;       // CPU whose registers hold the vector state as saved last, or CPUS_MAX
	uint64_t fs_base, gs_base; // while switched out
	struct task *task;
	struct port_task *next_free;
	uint8_t xstate[] __attribute__((aligned(64)));
};

static inline struct port_task *current_port(void)
{
	return *(struct port_task **)((char *)port_current() + 8); // struct task_head.port
}

static inline struct user_regs *task_frame(struct port_task *p)
{
	return (struct user_regs *)(p->stack_top - sizeof(struct user_regs));
}

static inline uint64_t port_task_bytes(void)
{
	return (sizeof(struct port_task) + x86_features.xstate_size_bytes + 63) & ~UINT64_C(63);
}

// kstack.c: a slot's struct port_task, mapped and with stack_top set; NULL.
struct port_task *x86_stack_alloc(void);
void x86_stack_free(struct port_task *p);
// Does `address` lie in the guard of a kernel stack?
bool x86_stack_guard_contains(uint64_t address);
