// SPDX-License-Identifier: Apache-2.0
// Does single-stepping see each instruction once in a program whose call sites a kernel has turned into something else while threads ran,
// also instructions that end in what begins a jump?
#include "check.h"

#include <pthread.h>

#define CALLS 20

// As in syscall_sites_shared: the instruction before the call cannot be replaced by one store.
__attribute__((naked, noinline, aligned(4096))) static long site(void)
{
	__asm__(".skip 5, 0x90\n mov $110, %eax\n syscall\n ret\n .balign 4096");
}

// Traps behind each of the three `mov`, the last bytes of which are those of a jump, a short one and a move.
__attribute__((naked, noinline)) static long stepped(void)
{
	__asm__("pushfq\n orq $0x100, (%rsp)\n popfq\n"
		"mov $0xe9000001, %eax\n mov $0xeb000002, %ecx\n mov $0xb8000003, %edx\n"
		"pushfq\n andq $~0x100, (%rsp)\n popfq\n"
		"xor %rcx, %rax\n xor %rdx, %rax\n ret");
}

static volatile int traps;

static void on_trap(int signal)
{
	(void)signal;
	traps++;
}

static void *waits(void *mutex)
{
	pthread_mutex_lock(mutex);
	return NULL;
}

int main(void)
{
	struct sigaction a = { .sa_handler = on_trap };
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_t thread;

	pthread_mutex_lock(&mutex);
	CHECK_EQ(pthread_create(&thread, NULL, waits, &mutex), 0);
	for (int i = 0; i < CALLS; i++)
		CHECK_EQ(site(), getppid());
	CHECK_OK(sigaction(SIGTRAP, &a, NULL));
	CHECK_EQ(stepped(), 0xe9000001 ^ 0xeb000002 ^ 0xb8000003);
	CHECK_EQ(traps, 6); // the three moves, and what ends it: pushfq, andq, popfq
	pthread_mutex_unlock(&mutex);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	return check_done();
}
