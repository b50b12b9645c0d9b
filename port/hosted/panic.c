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

unsigned port_backtrace(uintptr_t *out, unsigned max)
{
	uint64_t bp = (uint64_t)__builtin_frame_address(0), block = bp & ~(BLOCK_BYTES - 1);
	unsigned count = 0;

	while (count < max && bp % 8 == 0 && bp >= block && bp + 16 <= block + BLOCK_BYTES) {
		const uint64_t *frame = (const uint64_t *)bp;
		if (!in_kernel_text(frame[1]))
			break;
		out[count++] = frame[1];
		if (frame[0] <= bp)
			break; // stacks grow down: callers are above
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
