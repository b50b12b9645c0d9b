// SPDX-License-Identifier: Apache-2.0
// Wild accesses to the kernel's memory, as a program's mistakes, by every way that leads from the kernel to the program: each must
// fault in the program where a protection key closes that memory, and none where it does not.
//
//     attack stray closed|open
#define _GNU_SOURCE
#include "attack.h"

#include <asm/prctl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE_BYTES   UINT64_C(4096)
#define FLAG_TF      0x100u
#define PKRU_PROGRAM 0x55555554u // as Linux starts a program
#define CALLS        20          // so many that the site is rewritten

// int stray_read(uintptr_t), int stray_write(uintptr_t): 1 when it faulted, else 0. Each begins with the access.
int stray_read(uintptr_t address), stray_write(uintptr_t address);
extern const char stray_faulted[];
__asm__("stray_read:	movq (%rdi), %rax\n"
	"		xorl %eax, %eax\n"
	"		ret\n"
	"stray_write:	lock orq $0, (%rdi)\n"
	"		xorl %eax, %eax\n"
	"		ret\n"
	"stray_faulted:	movl $1, %eax\n"
	"		ret\n");

static bool closed; // what is expected
static atomic_int checks, wrong;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	greg_t *ip = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	(void)info;
	if (*ip != (greg_t)stray_read && *ip != (greg_t)stray_write)
		_exit(100 + signal);
	*ip = (greg_t)stray_faulted;
}

static void expect(const char *when, const char *what, bool as_expected)
{
	checks++;
	if (as_expected)
		return;
	wrong++;
	fprintf(stderr, "WRONG %s: %s\n", when, what);
}

static void check(const char *when)
{
	const uintptr_t below = (places.task & ~(PAGE_BYTES - 1)) - PAGE_BYTES; // kernel stack that nobody uses now

	// The first one tells: after it the program comes from a signal handler.
	bool first = stray_write(below);

	expect(when, "write to a kernel stack", first == closed);
	expect(when, "read of a kernel stack", stray_read(below) == closed);
	expect(when, "read of text", stray_read(places.text) == closed);
	expect(when, "read of the port's part of the task", stray_read(places.task) == closed);
	expect(when, "read of the task", stray_read(places.current) == closed);
}

static uint32_t read_pkru(void)
{
	uint32_t pkru, high;

	__asm__ volatile("rdpkru" : "=a"(pkru), "=d"(high) : "c"(0));
	return pkru;
}

// ---- signals ----

static const char *handler_of;
static volatile sig_atomic_t came;

static void on_signal(int signal)
{
	(void)signal;
	check(handler_of);
	came = 1;
}

static void signals(void)
{
	const struct itimerval soon = { .it_value.tv_usec = 20000 };

	handler_of = "in a handler of a signal to itself";
	signal(SIGUSR1, on_signal);
	raise(SIGUSR1);
	check("after that handler");
	handler_of = "in a handler that interrupted the program";
	signal(SIGALRM, on_signal);
	came = 0;
	setitimer(ITIMER_REAL, &soon, NULL);
	while (!came) // no call: only a kick gets it out of here
		;
	check("after the interruption");
}

// ---- single steps: the way out by IRET ----

static volatile sig_atomic_t steps;

static void on_step(int signal)
{
	(void)signal;
	steps = steps + 1;
}

static void single_steps(void)
{
	signal(SIGTRAP, on_step);
	__asm__ volatile("pushfq\n\torq %0, (%%rsp)\n\tpopfq\n\tnop" : : "i"(FLAG_TF) : "memory", "cc");
	bool faulted = stray_read(places.task);
	__asm__ volatile("pushfq\n\tandq %0, (%%rsp)\n\tpopfq" : : "i"(~FLAG_TF) : "memory", "cc");
	expect("between single steps", "read of the port's part of the task", faulted == closed);
	expect("between single steps", "there were some", steps > 5);
}

// ---- threads and processes ----

static void *thread(void *unused)
{
	check("in a new thread");
	for (int i = 0; i < CALLS; i++)
		getppid();
	check("in a thread, after calls");
	return unused;
}

static void child_ended(const char *when, pid_t pid)
{
	int status = -1;

	expect(when, "the child ended well", pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void children(void)
{
	pthread_t t;

	pthread_create(&t, NULL, thread, NULL);
	pthread_join(t, NULL);
	pid_t pid = fork();
	if (pid == 0) {
		wrong = 0;
		check("in a forked child");
		_exit(wrong != 0);
	}
	child_ended("fork", pid);
	check("after fork");
	pid = vfork();
	if (pid == 0) {
		check("in a child of vfork");
		_exit(0);
	}
	child_ended("vfork", pid);
}

// Its first look is before any call that we make.
static void after_exec(void)
{
	char text[3][20];
	const uintptr_t where[3] = { places.task, places.text, places.current };

	for (int i = 0; i < 3; i++)
		snprintf(text[i], sizeof(text[i]), "%#lx", where[i]);
	pid_t pid = fork();
	if (pid == 0) {
		execl("/proc/self/exe", "attack", "stray", closed ? "closed" : "open", text[0], text[1], text[2], NULL);
		_exit(1);
	}
	child_ended("exec", pid);
}

// ---- the program's own GS ----

static void own_gs(void)
{
	static uint64_t words[2] = { 1, 2 };
	uint64_t got;
	pid_t pid = fork();

	if (pid == 0) {
		wrong = 0;
		syscall(SYS_arch_prctl, ARCH_SET_GS, words);
		check("with a GS of its own");
		getppid();
		check("with a GS of its own, after a call");
		__asm__ volatile("movq %%gs:8, %0" : "=r"(got));
		expect("with a GS of its own", "GS is what was set", got == 2);
		_exit(wrong != 0);
	}
	child_ended("GS", pid);
}

int attack_stray(int argc, char **argv)
{
	const struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	closed = argc > 0 && strcmp(argv[0], "closed") == 0;
	sigaction(SIGSEGV, &action, NULL);
	if (argc > 3) {
		places = (struct kernel_places){ .task = strtoull(argv[1], NULL, 0),
						 .text = strtoull(argv[2], NULL, 0),
						 .current = strtoull(argv[3], NULL, 0) };
		check("after exec");
		return wrong != 0;
	}
	attack_find_kernel(); // which opens the memory
	getppid();
	if (closed)
		expect("after a call", "PKRU is a program's", read_pkru() == PKRU_PROGRAM);
	check("after a call");
	for (int i = 0; i < CALLS; i++)
		getppid();
	check("after a rewritten call");
	signals();
	single_steps();
	children();
	after_exec();
	own_gs();
	printf("%d checks, %d wrong\n", checks, wrong);
	return wrong != 0;
}
