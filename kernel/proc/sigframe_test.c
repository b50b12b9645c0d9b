// SPDX-License-Identifier: Apache-2.0
// Is a signal frame where and what the Linux ABI says, does it come back as it went, and are forged ones refused?
#include "proc_fakes.h"

#include "kernel/syscalls.h"
#include "sigframe.h"

#include <asm/processor-flags.h>

#define XSTATE_BYTES 832u
#define FEATURES     7u

static struct port_task {
	struct user_regs regs;
	uint8_t xstate[XSTATE_BYTES];
	bool reset;
} port;
static struct task task = { .port = &port };
static int forced;

size_t port_xstate_size_bytes(void) { return XSTATE_BYTES; }
uint64_t port_xstate_features(void) { return FEATURES; }
void port_xstate_get(struct port_task *p, void *buffer) { memcpy(buffer, p->xstate, XSTATE_BYTES); }
int port_xstate_set(struct port_task *p, const void *buffer)
{
	uint64_t features;
	memcpy(&features, (const char *)buffer + 512, sizeof(features));
	if (features & ~(uint64_t)FEATURES)
		return -EINVAL;
	memcpy(p->xstate, buffer, XSTATE_BYTES);
	return 0;
}
void port_xstate_reset(struct port_task *p) { p->reset = true; }
struct user_regs *port_task_regs(struct port_task *p) { return &p->regs; }
void signal_force(int signal, int code, uint64_t address)
{
	(void)code;
	(void)address;
	forced = signal;
}
void signal_set_blocked(sigmask_t mask) { task.blocked = mask; }

// User memory is the test's own.
size_t port_copy_out(uint64_t to, const void *from, size_t size)
{
	memcpy((void *)to, from, size);
	return 0;
}
size_t port_copy_in(void *to, uint64_t from, size_t size)
{
	memcpy(to, (const void *)from, size);
	return 0;
}

static uint8_t stack[16384] __attribute__((aligned(64))), alternate[16384] __attribute__((aligned(64)));
static struct user_regs before;

static int set_up(void **state)
{
	(void)state;
	memset(&port, 0, sizeof(port));
	memset(&task, 0, sizeof(task));
	task.port = &port;
	fake_current = &task;
	forced = 0;
	uint64_t *words = (uint64_t *)&port.regs;
	for (unsigned i = 0; i < sizeof(port.regs) / 8; i++)
		words[i] = 0x1000 + i;
	port.regs.sp = (uint64_t)stack + sizeof(stack) - 1000;
	port.regs.cs = 0x33;
	port.regs.ss = 0x2b;
	port.regs.flags = X86_EFLAGS_IF | X86_EFLAGS_ZF | 2;
	for (unsigned i = 0; i < XSTATE_BYTES; i++)
		port.xstate[i] = (uint8_t)i;
	memset(port.xstate + 512, 0, 64);
	port.xstate[512] = FEATURES;
	before = port.regs;
	return 0;
}

static const struct sigaction_kernel action = { .handler = 0x4000,
						.flags = SA_RESTORER | SA_SIGINFO,
						.restorer = 0x5000 };

static void deliver(uint64_t flags)
{
	siginfo_t info = { .si_signo = 10, .si_code = -1 };
	struct sigaction_kernel a = action;
	a.flags |= flags;
	assert_int_equal(sigframe_setup(&port.regs, 10, &info, &a, 0xabc), 0);
}

static void registers_are_a_function_call(void **state)
{
	(void)state;
	deliver(0);
	const struct rt_sigframe *f = (void *)port.regs.sp;
	assert_int_equal(port.regs.sp % 16, 8);
	assert_int_equal(port.regs.ip, 0x4000);
	assert_int_equal(port.regs.di, 10);
	assert_int_equal(port.regs.si, (uint64_t)&f->info);
	assert_int_equal(port.regs.dx, (uint64_t)&f->uc_flags);
	assert_int_equal(f->return_address, 0x5000);
	assert_int_equal(f->mask, 0xabc);
	assert_int_equal(f->context.sp, before.sp);
	assert_int_equal(f->uc_flags, UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS);
	// The red zone is left alone, the vector state aligned and marked.
	assert_true(f->context.fpstate + XSTATE_BYTES + FP_XSTATE_MAGIC2_SIZE <= before.sp - 128);
	assert_int_equal(f->context.fpstate % 64, 0);
	const struct _fpstate_64 *fp = (void *)f->context.fpstate;
	assert_int_equal(fp->sw_reserved.magic1, FP_XSTATE_MAGIC1);
	assert_int_equal(fp->sw_reserved.xstate_size, XSTATE_BYTES);
	assert_int_equal(fp->sw_reserved.extended_size, XSTATE_BYTES + FP_XSTATE_MAGIC2_SIZE);
	assert_int_equal(fp->sw_reserved.xfeatures, FEATURES);
	assert_int_equal(*(const uint32_t *)(f->context.fpstate + XSTATE_BYTES), FP_XSTATE_MAGIC2);
}

static void the_way_back_restores_everything(void **state)
{
	uint8_t xstate[XSTATE_BYTES];
	(void)state;
	memcpy(xstate, port.xstate, sizeof(xstate));
	deliver(0);
	memset(port.xstate, 0, sizeof(port.xstate));
	uint64_t frame = port.regs.sp;
	memset(&port.regs, 0x55, sizeof(port.regs));
	port.regs.cs = 0x33;
	port.regs.ss = 0x2b;
	port.regs.flags = X86_EFLAGS_IF | 2;
	port.regs.sp = frame + 8; // the handler returned
	assert_int_equal(sys_rt_sigreturn(), before.ax);
	assert_int_equal(forced, 0);
	assert_int_equal(task.blocked, 0xabc);
	assert_int_equal(port.regs.orig_ax, UINT64_MAX);
	port.regs.orig_ax = before.orig_ax;
	assert_memory_equal(&port.regs, &before, sizeof(before));
	memcpy(xstate + 464, port.xstate + 464, 48); // the software's own bytes
	assert_memory_equal(port.xstate, xstate, sizeof(xstate));
}

static struct rt_sigframe *delivered(void)
{
	deliver(0);
	struct rt_sigframe *f = (void *)port.regs.sp;
	port.regs.sp += 8;
	return f;
}

static void forged_frames_end_in_sigsegv(void **state)
{
	(void)state;
	struct rt_sigframe *f = delivered();
	f->context.ip = UINT64_C(0xffff800000000000);
	sys_rt_sigreturn();
	assert_int_equal(forced, SIGSEGV);
	set_up(state);
	f = delivered();
	f->context.cs = 0x10; // the kernel's
	sys_rt_sigreturn();
	assert_int_equal(forced, SIGSEGV);
	set_up(state);
	f = delivered();
	((struct _header *)(f->context.fpstate + 512))->xfeatures = UINT64_C(1) << 40;
	((struct _fpstate_64 *)f->context.fpstate)->sw_reserved.xfeatures = FEATURES;
	sys_rt_sigreturn();
	assert_int_equal(forced, 0); // what was not saved is not loaded either
	set_up(state);
	f = delivered();
	f->context.flags = UINT64_MAX;
	sys_rt_sigreturn();
	assert_int_equal(forced, 0);
	assert_int_equal(port.regs.flags & (X86_EFLAGS_IOPL | X86_EFLAGS_NT | X86_EFLAGS_VM), 0);
	assert_true(port.regs.flags & X86_EFLAGS_IF);
}

static void a_damaged_mark_means_sse_only(void **state)
{
	(void)state;
	struct rt_sigframe *f = delivered();
	((struct _fpstate_64 *)f->context.fpstate)->sw_reserved.magic1 = 0;
	sys_rt_sigreturn();
	assert_int_equal(forced, 0);
	assert_int_equal(port.xstate[512], 3);
	set_up(state);
	f = delivered();
	f->context.fpstate = 0;
	sys_rt_sigreturn();
	assert_true(port.reset);
}

static void the_alternate_stack_is_used_once(void **state)
{
	(void)state;
	task.altstack_base = (uint64_t)alternate;
	task.altstack_size = sizeof(alternate);
	deliver(0);
	assert_true(port.regs.sp > (uint64_t)stack && port.regs.sp < (uint64_t)stack + sizeof(stack));
	port.regs = before;
	deliver(SA_ONSTACK);
	assert_true(port.regs.sp > (uint64_t)alternate && port.regs.sp < (uint64_t)alternate + sizeof(alternate));
	uint64_t first = port.regs.sp;
	deliver(SA_ONSTACK); // nested: goes on below
	assert_true(port.regs.sp < first && port.regs.sp > (uint64_t)alternate);
	siginfo_t info = { 0 };
	struct sigaction_kernel a = action;
	a.flags |= SA_ONSTACK;
	task.altstack_size = 1024; // too small for a frame
	port.regs = before;
	assert_int_equal(sigframe_setup(&port.regs, 10, &info, &a, 0), -EFAULT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, set_up)
	const struct CMUnitTest tests[] = {
		T(registers_are_a_function_call), T(the_way_back_restores_everything), T(forged_frames_end_in_sigsegv),
		T(a_damaged_mark_means_sse_only), T(the_alternate_stack_is_used_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
