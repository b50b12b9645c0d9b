// SPDX-License-Identifier: Apache-2.0
// Do processor faults become the right signal with the right code and address?
#include "check.h"
#include <setjmp.h>
#include <ucontext.h>

static sigjmp_buf escape;
static volatile int signo, code;
static void *volatile address;
static volatile uintptr_t fault_ip, fault_cr2, fault_error, fault_trap;

static void caught(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	signo = signal;
	code = info->si_code;
	address = info->si_addr;
	fault_ip = uc->uc_mcontext.gregs[REG_RIP];
	fault_cr2 = uc->uc_mcontext.gregs[REG_CR2];
	fault_error = uc->uc_mcontext.gregs[REG_ERR];
	fault_trap = uc->uc_mcontext.gregs[REG_TRAPNO];
	siglongjmp(escape, 1);
}

#define FAULT(...)                               \
	do {                                     \
		signo = code = 0;                \
		address = NULL;                  \
		if (sigsetjmp(escape, 1) == 0) { \
			__VA_ARGS__;             \
			CHECK(!"no fault");      \
		}                                \
	} while (0)

static void memory_faults(void)
{
	char *page = mmap(NULL, 2 * CHECK_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *gone = mmap(NULL, CHECK_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(gone, CHECK_PAGE);
	FAULT(*(volatile int *)0x10 = 1);
	CHECK_EQ(signo, SIGSEGV);
	CHECK_EQ(code, SEGV_MAPERR);
	CHECK_EQ((uintptr_t)address, 0x10);
	CHECK_EQ(fault_cr2, 0x10);
	CHECK_EQ(fault_trap, 14);
	CHECK_EQ(fault_error, 6); // a user write to a page not present

	FAULT((void)*(volatile char *)(gone + 77));
	CHECK_EQ(code, SEGV_MAPERR);
	CHECK(address == gone + 77);

	FAULT(*(volatile char *)(page + 4099) = 1);
	CHECK_EQ(signo, SIGSEGV);
	CHECK_EQ(code, SEGV_ACCERR);
	CHECK(address == page + 4099);

	mprotect(page, CHECK_PAGE, PROT_NONE);
	FAULT((void)*(volatile char *)page);
	CHECK_EQ(code, SEGV_ACCERR);

	// No execution from data.
	FAULT(((void (*)(void))(page + CHECK_PAGE))());
	CHECK_EQ(signo, SIGSEGV);
	CHECK_EQ(code, SEGV_ACCERR);
	CHECK(address == page + CHECK_PAGE);
	CHECK_EQ(fault_ip, (uintptr_t)page + CHECK_PAGE);

	// An address that is not canonical, and one of the kernel's.
	FAULT((void)*(volatile char *)0x8000000000000000ul);
	CHECK_EQ(signo, SIGSEGV);
	CHECK_EQ(code, SI_KERNEL);
	CHECK(address == NULL);
	FAULT((void)*(volatile char *)0xffffffff80000000ul);
	CHECK_EQ(signo, SIGSEGV);
	CHECK_EQ(code, SEGV_MAPERR);
	CHECK_EQ((uintptr_t)address, 0xffffffff80000000ul);
	munmap(page, 2 * CHECK_PAGE);
}

static void file_end(void)
{
	int fd = open("short", O_RDWR | O_CREAT, 0600);

	CHECK_EQ(write(fd, "abc", 3), 3);
	char *map = mmap(NULL, 3 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK_EQ(map[0], 'a');
	CHECK_EQ(map[100], 0);
	FAULT((void)*(volatile char *)(map + CHECK_PAGE + 5));
	CHECK_EQ(signo, SIGBUS);
	CHECK_EQ(code, BUS_ADRERR);
	CHECK(address == map + CHECK_PAGE + 5);
	munmap(map, 3 * CHECK_PAGE);
	close(fd);
}

// QEMU's software emulation computes SSE but raises no exceptions for it.
static bool emulated_vectors(void)
{
	unsigned a = 0x40000000, b, c, d;

	asm volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
	return b == 0x54474354; // "TCGT"
}

static void arithmetic(void)
{
	volatile int zero = 0, one = 1;

	FAULT(one = one / zero);
	CHECK_EQ(signo, SIGFPE);
	CHECK_EQ(code, FPE_INTDIV);
	CHECK_EQ((uintptr_t)address, fault_ip);

	if (emulated_vectors())
		return;
	// An unmasked SSE division by zero.
	FAULT({
		unsigned mxcsr = 0x1f80 & ~(1u << 9);
		volatile double a = 1.0, b = 0.0;
		asm volatile("ldmxcsr %0" ::"m"(mxcsr));
		a = a / b;
	});
	CHECK_EQ(signo, SIGFPE);
	CHECK_EQ(code, FPE_FLTDIV);
	unsigned normal = 0x1f80;
	asm volatile("ldmxcsr %0" ::"m"(normal));
}

static void instructions(void)
{
	FAULT(asm volatile("ud2"));
	CHECK_EQ(signo, SIGILL);
	CHECK_EQ(code, ILL_ILLOPN);
	CHECK_EQ((uintptr_t)address, fault_ip);

	FAULT(asm volatile("int3"));
	CHECK_EQ(signo, SIGTRAP);
	CHECK_EQ(code, SI_KERNEL);

	FAULT(asm volatile("hlt"));
	CHECK_EQ(signo, SIGSEGV);
	CHECK_EQ(code, SI_KERNEL);
	FAULT(asm volatile("cli"));
	CHECK_EQ(signo, SIGSEGV);
	FAULT(asm volatile("outb %%al, $0x80" ::"a"(0)));
	CHECK_EQ(signo, SIGSEGV);
	FAULT(asm volatile("mov %%cr0, %%rax" ::: "rax"));
	CHECK_EQ(signo, SIGSEGV);
	FAULT(asm volatile("int $0x30"));
	CHECK_EQ(signo, SIGSEGV);

	// Single step.
	FAULT(asm volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop" ::: "memory", "cc"));
	CHECK_EQ(signo, SIGTRAP);
	CHECK_EQ(code, TRAP_TRACE);
}

static volatile int repaired;
static char *broken_page;

static void repair(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context, (void)info;
	repaired++;
	mprotect(broken_page, CHECK_PAGE, PROT_READ | PROT_WRITE);
}

// The faulting instruction runs again after the handler returns.
static void handler_may_repair(void)
{
	struct sigaction action = { .sa_sigaction = repair, .sa_flags = SA_SIGINFO };

	broken_page = mmap(NULL, CHECK_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigaction(SIGSEGV, &action, NULL);
	*(volatile int *)broken_page = 99;
	CHECK_EQ(repaired, 1);
	CHECK_EQ(*(volatile int *)broken_page, 99);
}

static void skip_hlt(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 1;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 4711;
}

static void handler_may_change_registers(void)
{
	struct sigaction action = { .sa_sigaction = skip_hlt, .sa_flags = SA_SIGINFO };
	long rax = 0;

	sigaction(SIGSEGV, &action, NULL);
	asm volatile("hlt" : "+a"(rax));
	CHECK_EQ(rax, 4711);
}

static void ignored_faults_kill(void)
{
	signal(SIGSEGV, SIG_IGN);
	*(volatile int *)8 = 1;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER };
	static const int all[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };

	check_tmpdir();
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		sigaction(all[i], &action, NULL);
	memory_faults();
	file_end();
	arithmetic();
	instructions();
	handler_may_repair();
	handler_may_change_registers();
	int status = check_in_child(ignored_faults_kill);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	return check_done();
}
