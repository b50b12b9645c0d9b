// SPDX-License-Identifier: Apache-2.0
// The early console (the descriptor the loader named), the end, and the port's part of a panic: walk the stack, name functions.
#include "amd64/log.h"
#include "amd64/symbols.h"
#include "kernel/upcall.h"
#include "layout.h"
#include "lib/compiler.h"
#include "port/inline.h"
#include "syscall.h"
#include "task.h"

void port_log_write(const char *text, size_t size)
{
	struct {
		const char *base;
		size_t size;
	} v = { text, size };

	if (hosted.streams[HOSTED_LOG] >= 0)
		(void)HOST(pwritev2, hosted.streams[HOSTED_LOG], &v, 1, -1, -1, 0);
}

void port_exit(unsigned status)
{
	for (;;)
		(void)HOST(exit_group, status);
}

// ---- panic ----

// The others run on until the supervisor has seen this process's status: a moment.
bool port_panic_enter(void)
{
	static uint32_t entered;
	return !__atomic_exchange_n(&entered, 1, __ATOMIC_SEQ_CST);
}

void port_panic_registers(void)
{
	struct port_task *p = current_port();
	amd64_log("image at %lx, task block %lx, process %d, thread %d, FS %lx\n", (unsigned long)hosted.image_start,
		  (unsigned long)task_block(p), p->tgid, p->tid, (unsigned long)host_fs_base());
}

uintptr_t port_image_slide(void) { return hosted.image_start; }

// The stack that `bp` lies on: a task's kernel or signal stack.
static bool on_stack(uint64_t bp, uint64_t stack) { return bp >= stack && bp + 16 <= stack + BLOCK_BYTES; }

// Frames lie one above the other, but where a signal's are followed by those of the kernel that it interrupted.
unsigned port_backtrace(uintptr_t *out, unsigned max)
{
	uint64_t bp = (uint64_t)__builtin_frame_address(0), stack = bp & ~(BLOCK_BYTES - 1);
	const uint64_t interrupted = task_block(current_port());
	unsigned count = 0;

	while (count < max && bp % 8 == 0 && on_stack(bp, stack)) {
		const uint64_t *frame = (const uint64_t *)bp;
		if (!in_kernel_text(frame[1]))
			break;
		out[count++] = frame[1];
		if (stack != interrupted && on_stack(frame[0], interrupted))
			stack = interrupted;
		else if (frame[0] <= bp)
			break;
		bp = frame[0];
	}
	return count;
}

extern const char hosted_symbols_start[], hosted_symbols_end[];

const char *port_symbol(uintptr_t address, size_t *offset)
{
	if (!in_kernel_text(address))
		return NULL;
	return amd64_symbol_find(hosted_symbols_start, hosted_symbols_end, (uint32_t)(address - hosted.image_start),
				 offset);
}
