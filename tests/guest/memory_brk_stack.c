// SPDX-License-Identifier: Apache-2.0
// Does the heap move by brk, and the stack grow on demand down to its limit?
#include "check.h"
#include <alloca.h>
#include <sys/resource.h>

static void heap(void)
{
	char *start = (char *)syscall(SYS_brk, 0), *end;

	CHECK(start != NULL);
	end = (char *)syscall(SYS_brk, start + 10 * CHECK_PAGE);
	CHECK(end == start + 10 * CHECK_PAGE);
	memset(start, 7, 10 * CHECK_PAGE);
	CHECK((char *)syscall(SYS_brk, start + 2 * CHECK_PAGE) == start + 2 * CHECK_PAGE);
	CHECK((char *)syscall(SYS_brk, start + 4 * CHECK_PAGE) == start + 4 * CHECK_PAGE);
	CHECK_EQ(start[CHECK_PAGE], 7);
	CHECK_EQ(start[3 * CHECK_PAGE + 5], 0); // given back and zero again
	CHECK((char *)syscall(SYS_brk, start + 4 * CHECK_PAGE + 5) == start + 4 * CHECK_PAGE + 5); // to the byte
	// A refused change returns the old break.
	char *old = (char *)syscall(SYS_brk, 0);
	CHECK((char *)syscall(SYS_brk, 0x7fffffffffff) == old);
	CHECK((char *)syscall(SYS_brk, 16) == old);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK((char *)syscall(SYS_brk, 0) == old);
		syscall(SYS_brk, start);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(start[0], 7);
	CHECK((char *)syscall(SYS_brk, start) == start);
}

static size_t __attribute__((noinline)) deep(int levels)
{
	volatile char frame[8192];

	memset((char *)frame, levels, sizeof(frame));
	return levels == 0 ? (size_t)frame[100] : deep(levels - 1) + (size_t)(frame[5] != (char)levels);
}

static void stack_grows(void)
{
	CHECK_EQ(deep(700), 0); // 5.6 MiB of the usual 8
	// Far below the present end in one step.
	char *far = alloca(6 << 20);
	*(volatile char *)far = 1;
	CHECK_EQ(*(volatile char *)far, 1);
	// By the kernel: read() into untouched stack.
	int fds[2];
	CHECK_OK(pipe(fds));
	CHECK_EQ(write(fds[1], "abc", 3), 3);
	CHECK_EQ(read(fds[0], far + 4096 * 5, 3), 3);
}

static void stack_limit_holds(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_STACK, &limit);
	limit.rlim_cur = 1 << 20;
	setrlimit(RLIMIT_STACK, &limit);
	deep(700);
}

static void limit_counts_for_the_next_program(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_STACK, &limit);
	limit.rlim_cur = 64 << 20;
	if (setrlimit(RLIMIT_STACK, &limit) < 0)
		_exit(0); // the hard limit is lower
	execl("/proc/self/exe", "self", "deep", NULL);
	_exit(9);
}

// A thread's stack ends in a guard page.
static void *overflows(void *argument)
{
	(void)argument;
	return (void *)deep(100);
}

static void guard_pages(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 128 << 10);
	pthread_create(&thread, &attributes, overflows, NULL);
	pthread_join(thread, NULL);
}

// MAP_GROWSDOWN areas grow, and stop before the next mapping.
static void grows_down(void)
{
	char *area = mmap(NULL, 600 * CHECK_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(area, 600 * CHECK_PAGE);
	char *top = mmap(area + 590 * CHECK_PAGE, CHECK_PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	CHECK(top == area + 590 * CHECK_PAGE);
	for (int i = 0; i < 20; i++)
		*(volatile char *)(top - i * CHECK_PAGE) = i;
	CHECK_EQ(top[-19 * (long)CHECK_PAGE], 19);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "deep") == 0)
		return deep(4000) == 0 ? 0 : 1; // 32 MiB
	heap();
	CHECK_CHILD(stack_grows);
	int status = check_in_child(stack_limit_holds);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	CHECK_CHILD(limit_counts_for_the_next_program);
	status = check_in_child(guard_pages);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	CHECK_CHILD(grows_down);
	(void)argv;
	return check_done();
}
