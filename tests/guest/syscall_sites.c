// SPDX-License-Identifier: Apache-2.0
// Does a system call leave everything but RAX, RCX and R11 alone, whichever way it is made and however often? A kernel may turn call
// sites into something else after a while, so each is used many times.
#include "check.h"

#include <ucontext.h>

#define ROUNDS 300

// Fills registers and red zone, calls getppid at the site named, and compares. `how`: the bytes of the call.
// Result: 0, or the number of what changed.
#define SITE(name, call)                                                                               \
	__attribute__((naked, noinline)) static long name(void)                                        \
	{                                                                                              \
		__asm__("push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"      \
			"mov $0x1111, %ebx\n mov $0x2222, %ebp\n mov $0x3333, %r12d\n"                 \
			"mov $0x4444, %r13d\n mov $0x5555, %r14d\n mov $0x6666, %r15d\n"               \
			"mov $0x7777, %edi\n mov $0x8888, %esi\n mov $0x9999, %edx\n"                  \
			"mov $0xaaaa, %r10d\n mov $0xbbbb, %r8d\n mov $0xcccc, %r9d\n"                 \
			"movq $0x1234, -8(%rsp)\n movq $0x5678, -128(%rsp)\n"                          \
			"mov $0xdead, %eax\n movq %rax, %xmm7\n"                                       \
			"stc\n std\n" call "\n"                                                        \
			"pushfq\n pop %rcx\n cld\n"                                                    \
			"mov %rax, %r11\n"                                                             \
			"mov $1, %eax\n cmp $0x1111, %rbx\n jne 9f\n"                                  \
			"mov $2, %eax\n cmp $0x2222, %rbp\n jne 9f\n"                                  \
			"mov $3, %eax\n cmp $0x3333, %r12\n jne 9f\n"                                  \
			"mov $4, %eax\n cmp $0x4444, %r13\n jne 9f\n"                                  \
			"mov $5, %eax\n cmp $0x5555, %r14\n jne 9f\n"                                  \
			"mov $6, %eax\n cmp $0x6666, %r15\n jne 9f\n"                                  \
			"mov $7, %eax\n cmp $0x7777, %rdi\n jne 9f\n"                                  \
			"mov $8, %eax\n cmp $0x8888, %rsi\n jne 9f\n"                                  \
			"mov $9, %eax\n cmp $0x9999, %rdx\n jne 9f\n"                                  \
			"mov $10, %eax\n cmp $0xaaaa, %r10\n jne 9f\n"                                 \
			"mov $11, %eax\n cmp $0xbbbb, %r8\n jne 9f\n"                                  \
			"mov $12, %eax\n cmp $0xcccc, %r9\n jne 9f\n"                                  \
			"mov $13, %eax\n cmpq $0x5678, -128(%rsp)\n jne 9f\n"                          \
			"mov $14, %eax\n and $0x401, %ecx\n cmp $0x401, %ecx\n jne 9f\n"               \
			"mov $15, %eax\n movq %xmm7, %rcx\n cmp $0xdead, %rcx\n jne 9f\n"              \
			"mov $16, %eax\n cmp %r11, expected_ppid(%rip)\n jne 9f\n"                     \
			"xor %eax, %eax\n"                                                             \
			"9: pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n"); \
	}

__attribute__((used)) static long expected_ppid;

SITE(site_plain, "mov $110, %eax\n syscall")
SITE(site_unaligned1, ".balign 16\n .byte 0x90, 0x90, 0x90, 0x90, 0x90\n mov $110, %eax\n syscall")
SITE(site_unaligned2, ".balign 16\n .byte 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90\n mov $110, %eax\n syscall")
SITE(site_register, "mov number(%rip), %rax\n syscall")
SITE(site_distant, "mov $110, %eax\n nop\n nop\n syscall")
SITE(site_jumped, "mov $110, %eax\n jmp 1f\n nop\n .byte 0xb8, 110, 0, 0, 0\n 1: syscall")
SITE(site_other_way, "mov $110, %eax\n jmp 2f\n 3: mov $110, %eax\n 2: syscall")
// The end of an instruction looks like a move to EAX.
SITE(site_other_register, "mov $110, %r8d\n mov %r8, %rax\n mov $0xbbbb, %r8d\n syscall")
SITE(site_other_order, "mov $110, %r8d\n mov $0x9999, %edx\n mov %r8, %rax\n mov $0xbbbb, %r8d\n syscall")
SITE(site_not_a_number, "mov $110, %eax\n mov $110, %r8d\n lea 0xbb4d(%r8), %r8d\n syscall")
SITE(site_store, "mov $110, %eax\n movl $110, -0x48(%rsp)\n syscall")
SITE(site_store_elsewhere, "mov $110, %eax\n lea -0x20(%rsp), %rcx\n movl $110, -0x48(%rcx)\n syscall")
SITE(site_64bit, "mov $110, %rax\n syscall")
SITE(site_page_end, ".balign 4096\n .skip 4092, 0x90\n mov $110, %eax\n syscall")

SITE(site_of_children, "mov $110, %eax\n syscall")
SITE(site_of_grandchildren, "mov $110, %eax\n nop\n syscall\n mov $110, %eax\n syscall")

__attribute__((used)) static long number = 110;

static void sites_keep_registers(void)
{
	static long (*const sites[])(
		void) = { site_plain,  site_unaligned1,      site_unaligned2,     site_register,    site_distant,
			  site_jumped, site_other_way,       site_other_register, site_other_order, site_not_a_number,
			  site_store,  site_store_elsewhere, site_64bit,          site_page_end };
	expected_ppid = getppid();
	for (unsigned i = 0; i < sizeof(sites) / sizeof(*sites); i++)
		for (int round = 0; round < ROUNDS; round++)
			if (!CHECK_EQ(sites[i](), 0)) {
				fprintf(stderr, "site %u round %d\n", i, round);
				break;
			}
}

// RCX is the address of the next instruction and R11 the flags, as the instruction sets them.
static void rcx_and_r11_are_what_syscall_leaves(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t cx, r11, next, flags;
		long r;
		__asm__ volatile("pushfq\n pop %[flags]\n mov $39, %%eax\n syscall\n 1: lea 1b(%%rip), %[next]\n"
				 "mov %%r11, %[r11]"
				 : "=&a"(r), "=&c"(cx), [r11] "=&r"(r11), [next] "=&r"(next), [flags] "=&r"(flags)
				 :
				 : "r11", "memory");
		if (!CHECK_EQ(cx, next) || !CHECK_EQ(r11 & ~0x10000ul, flags & ~0x10000ul))
			return;
	}
}

// Somebody jumps right at the instruction, with another number.
static void jump_to_the_instruction_itself(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		long pid, uid;
		__asm__ volatile("xor %%edx, %%edx\n mov $39, %%eax\n 1: syscall\n test %%edx, %%edx\n jnz 2f\n"
				 "mov %%rax, %%rbx\n mov $102, %%eax\n mov $1, %%edx\n jmp 1b\n 2:"
				 : "=&a"(uid), "=&b"(pid)
				 :
				 : "rcx", "r11", "rdx", "memory");
		if (!CHECK_EQ(pid, getpid()) || !CHECK_EQ(uid, getuid()))
			return;
	}
}

// Forks a child that ends by the number of what its call of `site` changed.
static int in_child(long (*site)(void))
{
	int status = 0;
	pid_t child = fork();

	if (!child) {
		expected_ppid = getppid();
		_exit((int)site());
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static long nested(void)
{
	for (int i = 0; i < 4; i++) {
		int changed = in_child(site_of_grandchildren);
		if (changed)
			return changed;
	}
	return 0;
}

// Only children make these calls, each a few times.
static void sites_of_children_keep_registers(void)
{
	for (int i = 0; i < 20; i++)
		if (!CHECK_EQ(in_child(site_of_children), 0) || !CHECK_EQ(in_child(nested), 0))
			return;
	expected_ppid = getppid();
	CHECK_EQ(site_of_children(), 0);
	CHECK_EQ(site_of_grandchildren(), 0);
}

// What stood at a child's site may be something else in its parent: children with text of their own at one place.
static void text_of_children_stays_theirs(void)
{
	static const uint8_t call[] = { 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3 }, // getpid
		other[] = { 0xb8, 39, 0, 0, 0, 0x90, 0x90, 0xc3 };
	char name[] = "/tmp/syscall-sites-XXXXXX";
	int file = mkstemp(name), status;
	long (*code)(void) = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *page = (uint8_t *)code;

	CHECK(file >= 0);
	unlink(name);
	CHECK_EQ(pwrite(file, call, sizeof(call), 512), (ssize_t)sizeof(call));
	CHECK_EQ(pwrite(file, other, sizeof(other), 4096 + 512), (ssize_t)sizeof(other));
	code = (long (*)(void))(page + 512);
	CHECK(mmap(page, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, file, 4096) == page);
	for (int i = 0; i < 20; i++) {
		pid_t child = fork();
		if (!child) {
			bool theirs = i % 3;
			if (mmap(page, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, file, theirs ? 0 : 4096) !=
			    page)
				_exit(2);
			_exit(code() != (theirs ? getpid() : 39));
		}
		CHECK_EQ(waitpid(child, &status, 0), child);
		if (!CHECK_EQ(status, 0))
			break;
	}
	for (int i = 0; i < 8; i++)
		CHECK_EQ(in_child(site_of_children), 0);
	CHECK_EQ(code(), 39);
	CHECK(!memcmp((void *)code, other, sizeof(other)));
	close(file);
}

// Threads use a site while it is new: each sees a whole call.
__attribute__((noinline)) static long raced(void)
{
	long r;
	__asm__ volatile(".balign 8\n .byte 0x90, 0x90, 0x90, 0x90, 0x90\n mov $39, %%eax\n syscall"
			 : "=a"(r)
			 :
			 : "rcx", "r11", "memory");
	return r;
}

static atomic_int go;

static void *race(void *unused)
{
	(void)unused;
	while (!atomic_load(&go))
		;
	for (int i = 0; i < 20000; i++)
		if (raced() != getpid())
			return (void *)1;
	return NULL;
}

static void threads_race_through_a_new_site(void)
{
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, race, NULL), 0);
	atomic_store(&go, 1);
	for (int i = 0; i < 4; i++) {
		void *result;
		pthread_join(t[i], &result);
		CHECK(result == NULL);
	}
}

static volatile int steps;

static void step(int signal, siginfo_t *info, void *context)
{
	ucontext_t *u = context;

	(void)signal, (void)info;
	if (++steps == 4)
		u->uc_mcontext.gregs[REG_EFL] &= ~0x100L;
}

// Instructions whose last byte is what a changed site may begin with: a trap behind them is not one at a site.
static void single_steps_are_told_from_changed_sites(void)
{
	struct sigaction a = { .sa_sigaction = step, .sa_flags = SA_SIGINFO };
	uint32_t values[3];

	CHECK_OK(sigaction(SIGTRAP, &a, NULL));
	steps = 0;
	__asm__ volatile("lea -128(%%rsp), %%rsp\n pushfq\n orl $0x100, (%%rsp)\n popfq\n lea 128(%%rsp), %%rsp\n"
			 "mov $0xe9000001, %0\n mov $0xeb000002, %1\n mov $0xb8000003, %2"
			 : "=r"(values[0]), "=r"(values[1]), "=r"(values[2])
			 :
			 : "memory", "cc");
	CHECK_EQ(values[0], 0xe9000001u);
	CHECK_EQ(values[1], 0xeb000002u);
	CHECK_EQ(values[2], 0xb8000003u);
	CHECK_EQ(steps, 4);
	signal(SIGTRAP, SIG_DFL);
}

static volatile int handled;

static void handler(int signal)
{
	(void)signal;
	if (site_plain() == 0 && site_register() == 0)
		handled++;
}

static void calls_in_signal_handlers(void)
{
	signal(SIGUSR1, handler);
	for (int i = 0; i < ROUNDS; i++)
		raise(SIGUSR1);
	CHECK_EQ(handled, ROUNDS);
}

static void calls_in_vfork_children(void)
{
	for (int i = 0; i < 20; i++) {
		pid_t pid = vfork();
		if (pid == 0) {
			long me;
			__asm__ volatile("mov $39, %%eax\n syscall" : "=a"(me) : : "rcx", "r11", "memory");
			_exit(me == getppid() || me <= 1);
		}
		int status = -1;
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, 0);
	}
}

// A number nobody knows, and the largest: ENOSYS, whatever the way.
static void unknown_numbers(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		long r;
		__asm__ volatile("mov $999, %%eax\n syscall" : "=a"(r) : : "rcx", "r11", "memory");
		if (!CHECK_EQ(r, -ENOSYS))
			return;
		__asm__ volatile("mov $-1, %%eax\n syscall" : "=a"(r) : : "rcx", "r11", "memory");
		if (!CHECK_EQ(r, -ENOSYS))
			return;
	}
}

// A call through a null pointer is a fault, not a system call.
static void null_calls_fault(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		__asm__ volatile("xor %%eax, %%eax\n call *%%rax" : : : "rax", "memory");
		_exit(0);
	}
	int status;
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

int main(void)
{
	sites_keep_registers();
	rcx_and_r11_are_what_syscall_leaves();
	jump_to_the_instruction_itself();
	sites_of_children_keep_registers();
	text_of_children_stays_theirs();
	threads_race_through_a_new_site();
	single_steps_are_told_from_changed_sites();
	calls_in_signal_handlers();
	calls_in_vfork_children();
	unknown_numbers();
	null_calls_fault();
	return check_done();
}
