// SPDX-License-Identifier: Apache-2.0
// Do handlers interrupt handlers, deep, on the alternate stack and off it, and return in order with everything restored?
#include "check.h"
#include <pthread.h>
#include <setjmp.h>
#include <ucontext.h>

#define DEPTH       100
#define STACK_BYTES (2 << 20) // frames hold the vector state: up to 11 KiB each

static __thread volatile int depth, deepest, order_wrong, outside;
static __thread char *stack;

static bool on_alternate(const void *p) { return stack && (char *)p >= stack && (char *)p < stack + STACK_BYTES; }

static void nest(int signal, siginfo_t *info CHECK_UNUSED, void *context)
{
	ucontext_t *uc = context;
	int here = ++depth;
	volatile double kept = here * 1.25;
	stack_t now;

	if (here > deepest)
		deepest = here;
	outside += !on_alternate(&now);
	// The inner handler's frame tells of the outer handler's stack.
	if (here > 1 && !on_alternate((void *)uc->uc_mcontext.gregs[REG_RSP]))
		order_wrong++;
	if (sigaltstack(NULL, &now) < 0 || !(now.ss_flags & SS_ONSTACK))
		order_wrong++;
	if (here < DEPTH)
		raise(signal == SIGUSR1 ? SIGUSR2 : SIGUSR1);
	if (depth != here || kept != here * 1.25)
		order_wrong++;
	depth--;
}

static void prepare(void)
{
	struct sigaction action = { .sa_sigaction = nest, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	stack_t s = { .ss_size = STACK_BYTES };

	stack = s.ss_sp = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK_OK(sigaltstack(&s, NULL));
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
}

static void nest_once(void)
{
	depth = deepest = order_wrong = outside = 0;
	raise(SIGUSR1);
	CHECK_EQ(depth, 0);
	CHECK_EQ(deepest, DEPTH);
	CHECK_EQ(order_wrong, 0);
	CHECK_EQ(outside, 0);
	stack_t now;
	CHECK_OK(sigaltstack(NULL, &now));
	CHECK_EQ(now.ss_flags & SS_ONSTACK, 0);
}

static void *in_thread(void *argument CHECK_UNUSED)
{
	prepare();
	for (int i = 0; i < 5; i++)
		nest_once();
	stack_t off = { .ss_flags = SS_DISABLE };
	CHECK_OK(sigaltstack(&off, NULL));
	munmap(stack, STACK_BYTES);
	return NULL;
}

// A fault in a handler of a fault, each at another address, to a depth; then out by one long jump, and again.
static __thread sigjmp_buf escape;
static __thread volatile int faults;

static void fault_again(int signal CHECK_UNUSED, siginfo_t *info, void *context CHECK_UNUSED)
{
	CHECK_EQ((long)info->si_addr, 16 + faults);
	if (++faults == 40)
		siglongjmp(escape, 1);
	*(volatile char *)(long)(16 + faults) = 1;
}

static void nested_faults(void)
{
	struct sigaction action = { .sa_sigaction = fault_again, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	prepare();
	sigaction(SIGSEGV, &action, NULL);
	for (int round = 0; round < 20; round++) {
		faults = 0;
		if (sigsetjmp(escape, 1) == 0) {
			*(volatile char *)16 = 1;
			CHECK(!"no fault");
		}
		CHECK_EQ(faults, 40);
	}
	nest_once();
}

// The alternate stack overflows: there is nowhere left to go.
static void dig(int signal CHECK_UNUSED)
{
	volatile char room[2000];

	room[0] = 1;
	raise(SIGUSR1);
	room[1] = room[0];
	(void)room[1];
}

static void overflow(void)
{
	struct sigaction action = { .sa_handler = dig, .sa_flags = SA_ONSTACK | SA_NODEFER };
	stack_t s = { .ss_size = 131072 };

	s.ss_sp = mmap(NULL, 131072 + CHECK_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	s.ss_sp = (char *)s.ss_sp + CHECK_PAGE;
	mprotect(s.ss_sp, 131072, PROT_READ | PROT_WRITE);
	CHECK_OK(sigaltstack(&s, NULL));
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
}

int main(void)
{
	pthread_t threads[3];

	prepare();
	nest_once();
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, in_thread, NULL), 0);
	nest_once();
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	CHECK_CHILD(nested_faults);
	int status = check_in_child(overflow);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	return check_done();
}
