// SPDX-License-Identifier: Apache-2.0
// Do all registers survive a handler: general, flags, SSE, AVX, AVX-512, x87, control words, the red zone?
#include "check.h"
#include <cpuid.h>
#include <immintrin.h>
#include <setjmp.h>
#include <sys/time.h>
#include <ucontext.h>

static volatile int hits;
static volatile uint32_t magic1, extended_size, magic2;
static volatile uint64_t xstate_features;

// The handler destroys every vector register the processor has.
static void destroy(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uint8_t *state = (uint8_t *)uc->uc_mcontext.fpregs;
	uint32_t mxcsr = 0x1f80, other = 0x9fc0;

	(void)signal, (void)info;
	hits++;
	memcpy((void *)&magic1, state + 464, 4);
	memcpy((void *)&extended_size, state + 468, 4);
	memcpy((void *)&xstate_features, state + 472, 8);
	if (magic1 == 0x46505853 && extended_size >= 512 + 64 && extended_size < 65536)
		memcpy((void *)&magic2, state + extended_size - 4, 4);
	asm volatile("ldmxcsr %0" ::"m"(other));
	asm volatile("fninit; fldpi; fldpi; fldpi" ::
			     : "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
	asm volatile("pxor %%xmm0,%%xmm0; pxor %%xmm7,%%xmm7; pxor %%xmm15,%%xmm15" ::: "xmm0", "xmm7", "xmm15");
	if (__builtin_cpu_supports("avx"))
		asm volatile("vzeroall" ::: "xmm0", "xmm1", "xmm2", "xmm15");
	asm volatile("fninit");
	asm volatile("ldmxcsr %0" ::"m"(mxcsr));
}

// In its own assembly function, so that the compiler's frame is out of the way.
uint64_t frame_saved[16];
void frame_probe(long pid);
asm(".text\n.globl frame_probe\n.type frame_probe,@function\nframe_probe:\n"
    "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov $10, %esi\nmov $0x1111, %ebx\nmov $0x2222, %edx\nmov $0x3333, %r8d\nmov $0x4444, %r9d\n"
    "mov $0x5555, %r10d\nmov $0x6666, %r12d\nmov $0x7777, %r13d\nmov $0x8888, %r14d\nmov $0x9999, %r15d\n"
    "mov $0xaaaa, %ebp\n"
    "movq $0x1dad, -8(%rsp)\nmovq $0x2dad, -64(%rsp)\nmovq $0x3dad, -128(%rsp)\n"
    "std\nstc\n"
    "mov $62, %eax\nsyscall\n"
    "mov %rbx, frame_saved+8(%rip)\n"
    "mov -8(%rsp), %rbx\nmov %rbx, frame_saved+96(%rip)\n"
    "mov -64(%rsp), %rbx\nmov %rbx, frame_saved+104(%rip)\n"
    "mov -128(%rsp), %rbx\nmov %rbx, frame_saved+112(%rip)\n"
    "pushfq\npop %rbx\ncld\nmov %rbx, frame_saved+88(%rip)\n"
    "mov %rax, frame_saved(%rip)\nmov %rdx, frame_saved+16(%rip)\nmov %rsi, frame_saved+24(%rip)\n"
    "mov %r8, frame_saved+32(%rip)\nmov %r9, frame_saved+40(%rip)\nmov %r10, frame_saved+48(%rip)\n"
    "mov %r12, frame_saved+56(%rip)\nmov %r13, frame_saved+64(%rip)\nmov %r14, frame_saved+72(%rip)\n"
    "mov %r15, frame_saved+80(%rip)\nmov %rbp, frame_saved+120(%rip)\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n"
    ".size frame_probe,.-frame_probe\n");

static void general_registers(void)
{
	hits = 0;
	frame_probe(getpid());
	CHECK_EQ(hits, 1);
	CHECK_EQ(frame_saved[0], 0);
	CHECK_EQ(frame_saved[1], 0x1111);
	CHECK_EQ(frame_saved[2], 0x2222);
	CHECK_EQ(frame_saved[3], 10);
	CHECK_EQ(frame_saved[4], 0x3333);
	CHECK_EQ(frame_saved[5], 0x4444);
	CHECK_EQ(frame_saved[6], 0x5555);
	CHECK_EQ(frame_saved[7], 0x6666);
	CHECK_EQ(frame_saved[8], 0x7777);
	CHECK_EQ(frame_saved[9], 0x8888);
	CHECK_EQ(frame_saved[10], 0x9999);
	CHECK_EQ(frame_saved[15], 0xaaaa);
	CHECK_EQ(frame_saved[11] & 0x401, 0x401); // carry and direction
	CHECK_EQ(frame_saved[12], 0x1dad);
	CHECK_EQ(frame_saved[13], 0x2dad);
	CHECK_EQ(frame_saved[14], 0x3dad);
}

static void sse(void)
{
	char in[16 * 16], out[16 * 16];
	uint32_t mxcsr = 0x1f80 | 0x6000 /* round to zero */, back = 0;
	uint16_t control = 0x027f, control_back = 0;
	long pid = getpid(), result;

	for (int i = 0; i < 256; i++)
		in[i] = i ^ 0x5a;
	asm volatile("ldmxcsr %[mxcsr]\n fninit\n fldcw %[control]\n"
		     "movups 0(%[in]),%%xmm0\n movups 16(%[in]),%%xmm1\n movups 32(%[in]),%%xmm2\n"
		     "movups 112(%[in]),%%xmm7\n movups 128(%[in]),%%xmm8\n movups 240(%[in]),%%xmm15\n"
		     "mov $62,%%eax\n mov $10,%%esi\n syscall\n"
		     "movups %%xmm0,0(%[out])\n movups %%xmm1,16(%[out])\n movups %%xmm2,32(%[out])\n"
		     "movups %%xmm7,112(%[out])\n movups %%xmm8,128(%[out])\n movups %%xmm15,240(%[out])\n"
		     "stmxcsr %[back]\n fnstcw %[control_back]\n"
		     : "=&a"(result), [back] "=m"(back), [control_back] "=m"(control_back)
		     : [in] "r"(in), [out] "r"(out), "D"(pid), [mxcsr] "m"(mxcsr), [control] "m"(control)
		     : "rsi", "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm7", "xmm8", "xmm15");
	CHECK_EQ(result, 0);
	CHECK(memcmp(in, out, 48) == 0);
	CHECK(memcmp(in + 112, out + 112, 32) == 0);
	CHECK(memcmp(in + 240, out + 240, 16) == 0);
	CHECK_EQ(back, mxcsr);
	CHECK_EQ(control_back, control);
	mxcsr = 0x1f80;
	asm volatile("fninit; ldmxcsr %0" ::"m"(mxcsr));
	CHECK_EQ(magic1, 0x46505853);
	CHECK_EQ(magic2, 0x46505845);
	CHECK((xstate_features & 3) == 3);
}

__attribute__((target("avx"))) static void avx(void)
{
	__m256i in = _mm256_setr_epi64x(1, -2, 3, -4), out, high = _mm256_setr_epi64x(5, 6, -7, 8), high_out;
	long result, pid = getpid();

	asm volatile("vmovdqu %[in],%%ymm3\n vmovdqu %[high],%%ymm12\n"
		     "mov $62,%%eax\n mov $10,%%esi\n syscall\n"
		     "vmovdqu %%ymm3,%[out]\n vmovdqu %%ymm12,%[high_out]\n"
		     : "=&a"(result), [out] "=m"(out), [high_out] "=m"(high_out)
		     : [in] "m"(in), [high] "m"(high), "D"(pid)
		     : "rsi", "rcx", "r11", "memory", "xmm3", "xmm12");
	CHECK(memcmp(&in, &out, 32) == 0);
	CHECK(memcmp(&high, &high_out, 32) == 0);
	CHECK(xstate_features & 4);
}

// The x87 stack, with values on it.
static void x87(void)
{
	long double a = 1.25L, b = -3.5L, out_a = 0, out_b = 0;
	long result, pid = getpid();

	asm volatile(
		"fldt %[a]\n fldt %[b]\n mov $62,%%eax\n mov $10,%%esi\n syscall\n fstpt %[out_b]\n fstpt %[out_a]\n"
		: "=&a"(result), [out_a] "=m"(out_a), [out_b] "=m"(out_b)
		: [a] "m"(a), [b] "m"(b), "D"(pid)
		: "rsi", "rcx", "r11", "memory", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
	CHECK(out_a == a && out_b == b);
}

static void change_vector(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signal, (void)info;
	memset(&uc->uc_mcontext.fpregs->_xmm[5], 0x77, 16);
}

// What the handler writes into the frame is what the program goes on with.
static void frame_is_live(void)
{
	struct sigaction action = { .sa_sigaction = change_vector, .sa_flags = SA_SIGINFO };
	char out[16], expected[16];
	long result, pid = getpid();

	sigaction(SIGUSR2, &action, NULL);
	asm volatile("pxor %%xmm5,%%xmm5\n mov $62,%%eax\n mov $12,%%esi\n syscall\n movups %%xmm5,%[out]\n"
		     : "=&a"(result), [out] "=m"(out)
		     : "D"(pid)
		     : "rsi", "rcx", "r11", "memory", "xmm5");
	memset(expected, 0x77, 16);
	CHECK(memcmp(out, expected, 16) == 0);
}

static sigset_t mask_in_context;

static void change_mask(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signal, (void)info;
	memcpy(&mask_in_context, &uc->uc_sigmask, 8);
	sigaddset(&uc->uc_sigmask, SIGHUP);
}

static void mask_comes_from_the_frame(void)
{
	struct sigaction action = { .sa_sigaction = change_mask, .sa_flags = SA_SIGINFO };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_SETMASK, &set, NULL);
	sigaction(SIGUSR2, &action, NULL);
	raise(SIGUSR2);
	CHECK(sigismember(&mask_in_context, SIGALRM));
	sigprocmask(SIG_SETMASK, NULL, &set);
	CHECK(sigismember(&set, SIGHUP) && sigismember(&set, SIGALRM));
	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

// Timer signals hit arithmetic anywhere; the sums must not change.
static void asynchronous(void)
{
	struct itimerval timer = { { 0, 1000 }, { 0, 1000 } };
	struct sigaction action = { .sa_sigaction = destroy, .sa_flags = SA_SIGINFO | SA_RESTART };
	double expected = 0, sum;
	uint64_t hash = 0, first_hash = 0;

	sigaction(SIGALRM, &action, NULL);
	hits = 0;
	setitimer(ITIMER_REAL, &timer, NULL);
	int64_t end = check_now_ns() + 20000000000;
	for (int round = 0; (round < 10 || hits < 15) && check_now_ns() < end; round++) {
		sum = 0;
		hash = 1469598103934665603ull;
		for (int i = 1; i < 20000; i++) {
			sum += 1.0 / i;
			hash = (hash ^ (uint64_t)i) * 1099511628211ull;
		}
		if (round == 0) {
			expected = sum;
			first_hash = hash;
		}
		if (sum != expected || hash != first_hash) {
			CHECK(sum == expected);
			CHECK(hash == first_hash);
			break;
		}
	}
	CHECK(hits >= 15);
	memset(&timer, 0, sizeof(timer));
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void alignment(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	// At entry the stack is as after a call; siginfo and ucontext lie in the frame above.
	CHECK_EQ(((uintptr_t)__builtin_frame_address(0)) % 16, 0);
	CHECK((uintptr_t)context > (uintptr_t)__builtin_frame_address(0));
	CHECK((uintptr_t)info > (uintptr_t)context);
	CHECK_EQ((uintptr_t)((ucontext_t *)context)->uc_mcontext.fpregs % 64, 0);
}

static void bad_frame_kills(void) { asm volatile("mov $0x1000, %%rsp\n mov $15, %%eax\n syscall" ::: "memory"); }

int main(void)
{
	struct sigaction action = { .sa_sigaction = destroy, .sa_flags = SA_SIGINFO };

	sigaction(SIGUSR1, &action, NULL);
	general_registers();
	sse();
	x87();
	if (__builtin_cpu_supports("avx"))
		avx();
	frame_is_live();
	mask_comes_from_the_frame();
	asynchronous();
	action.sa_sigaction = alignment;
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	int status = check_in_child(bad_frame_kills);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	return check_done();
}
