// SPDX-License-Identifier: Apache-2.0
// The end on a bug of our own: says what, where, and what happened before, through the port's early console only, and
// ends the machine with a status of its own.
#include "abi/control.h"
#include "kernel/log.h"
#include "kernel/task.h"
#include "kernel/trace_ring.h"
#include "kernel/upcall.h"
#include "lib/fmt.h"

#define FRAMES_MAX 32

static void print(const char *format, ...) printf_like(1, 2);
static void print(const char *format, ...)
{
	char line[256];
	va_list arguments;

	va_start(arguments, format);
	int n = fmt_vprint(line, sizeof(line), format, arguments);
	va_end(arguments);
	port_log_write(line, min((size_t)n, sizeof(line) - 1));
}

static void print_regs(const struct user_regs *r)
{
	print("  rip %016lx rsp %016lx rflags %lx cs %lx\n", r->ip, r->sp, r->flags, r->cs);
	print("  rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", r->ax, r->bx, r->cx, r->dx);
	print("  rsi %016lx rdi %016lx rbp %016lx r8  %016lx\n", r->si, r->di, r->bp, r->r8);
	print("  r9  %016lx r10 %016lx r11 %016lx r12 %016lx\n", r->r9, r->r10, r->r11, r->r12);
	print("  r13 %016lx r14 %016lx r15 %016lx\n", r->r13, r->r14, r->r15);
}

// Function names from the port's table; the link address is for addr2line on the image with symbols.
static void print_frame(int number, uintptr_t address)
{
	size_t offset = 0;
	const char *name = port_symbol(address, &offset);

	print("  #%d %lx %s+0x%lx\n", number, address - port_image_slide(), name ? name : "?", offset);
}

static void print_backtrace(uintptr_t ip)
{
	uintptr_t frames[FRAMES_MAX];
	unsigned count = port_backtrace(frames, FRAMES_MAX);

	print("backtrace:\n");
	if (ip)
		print_frame(-1, ip);
	for (unsigned i = 0; i < count; i++)
		print_frame((int)i, frames[i]);
}

_Noreturn static void die(uintptr_t ip, const struct user_regs *regs)
{
	const struct task *t = current;

	if (t)
		print("task %d (%s), cpu %u\n", t->tid, t->comm, port_cpu_index());
	if (regs)
		print_regs(regs);
	port_panic_registers();
	print_backtrace(ip);
	print("trace ring:\n");
	trace_ring_print(port_log_write, 24);
	port_exit(MACHINE_EXIT_PANIC);
}

_Noreturn void panic(const char *format, ...)
{
	va_list arguments;
	char text[256];

	if (!port_panic_enter())
		port_exit(MACHINE_EXIT_PANIC);
	va_start(arguments, format);
	fmt_vprint(text, sizeof(text), format, arguments);
	va_end(arguments);
	print("kernel panic: %s\n", text);
	die(0, NULL);
}

_Noreturn void kernel_assert_failed(const char *expression, const char *file, int line)
{
	panic("assertion failed: %s (%s:%d)", expression, file, line);
}

_Noreturn void kernel_upcall_panic(const char *what, uintptr_t ip, uintptr_t address, const struct user_regs *regs)
{
	if (!port_panic_enter())
		port_exit(MACHINE_EXIT_PANIC);
	print("kernel panic: %s at %lx, address %lx\n", what, ip - port_image_slide(), address);
	die(ip, regs);
}
