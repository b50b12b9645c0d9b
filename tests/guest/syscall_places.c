// SPDX-License-Identifier: Apache-2.0
// Does a syscall instruction do the same in every place: made at run time, at a page's end, patched, jumped at, raced for?
#include "check.h"
#include <pthread.h>

typedef long (*site)(long first, long rax); // what `first` (rdi) and `rax` (rsi) mean is up to the code

#define WRITABLE   (PROT_READ | PROT_WRITE)
#define EXECUTABLE (PROT_READ | PROT_EXEC)
#define BOTH       (PROT_READ | PROT_WRITE | PROT_EXEC)

static char *code_pages(int pages, int protection)
{
	char *p = mmap(NULL, pages * CHECK_PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

// The ways programs load a call's number; NN is where its low byte stands.
static const struct form {
	const char *name;
	unsigned char bytes[24];
	int size, number; // number: offset of NN
} forms[] = {
	{ "mov eax; syscall", { 0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0xc3 }, 8, 1 },
	{ "mov rax; syscall", { 0x48, 0xc7, 0xc0, 0, 0, 0, 0, 0x0f, 0x05, 0xc3 }, 10, 3 },
	{ "movabs; syscall", { 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0f, 0x05, 0xc3 }, 13, 2 },
	{ "xor, mov al; syscall", { 0x31, 0xc0, 0xb0, 0, 0x0f, 0x05, 0xc3 }, 7, 3 },
	{ "push, pop; syscall", { 0x6a, 0, 0x58, 0x0f, 0x05, 0xc3 }, 6, 1 },
	{ "mov eax; nop; syscall", { 0xb8, 0, 0, 0, 0, 0x90, 0x0f, 0x05, 0xc3 }, 9, 1 },
	{ "mov eax; mov r10, rcx; syscall", { 0xb8, 0, 0, 0, 0, 0x49, 0x89, 0xca, 0x0f, 0x05, 0xc3 }, 11, 1 },
	{ "endbr64; mov eax; syscall; cmp; ja; ret",
	  { 0xf3, 0x0f, 0x1e, 0xfa, 0xb8, 0,    0,    0,    0,    0x0f, 0x05,
	    0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, 0x73, 0x01, 0xc3, 0xc3 },
	  21,
	  5 },
};

static site emit(char *p, const struct form *f, int number)
{
	memcpy(p, f->bytes, f->size);
	p[f->number] = number;
	return (site)p;
}

static void expect_pid(const char *what, site s)
{
	for (int i = 0; i < 4; i++)
		if (s(0, 0) != getpid())
			check_fail(__FILE__, __LINE__, "%s: run %d: not the pid", what, i);
}

static void every_form(void)
{
	char *p = code_pages(1, BOTH);

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		for (int shift = 0; shift < 16; shift++)
			expect_pid(forms[i].name, emit(p + 32 * shift + shift, &forms[i], SYS_getpid));
	munmap(p, CHECK_PAGE);
}

// The last bytes of the last page, and at every place across two pages.
static void at_the_edge(void)
{
	char *p = code_pages(3, BOTH);

	munmap(p + 2 * CHECK_PAGE, CHECK_PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct form *f = &forms[i];
		expect_pid("at the end", emit(p + 2 * CHECK_PAGE - f->size, f, SYS_getpid));
		for (int before = 1; before < f->size; before++)
			expect_pid("across pages", emit(p + CHECK_PAGE - before, f, SYS_getpid));
	}
	// The two bytes stand at the very end: what follows them is elsewhere.
	char *q = p + 2 * CHECK_PAGE - 7;
	memcpy(q, "\xb8\x27\0\0\0\x0f\x05", 7);
	char *next = mmap(p + 2 * CHECK_PAGE, CHECK_PAGE, BOTH, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	next[0] = 0xc3;
	expect_pid("return on the next page", (site)q);
	munmap(p, 3 * CHECK_PAGE);
}

// Jumped at behind the instruction that loads the number, before and after the ordinary way in was used.
static void jumped_at(void)
{
	char *p = code_pages(1, BOTH);
	// mov eax, getpid; L: syscall; ret; second way in: mov eax, esi; jmp L
	static const unsigned char code[] = { 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3, 0x89, 0xf0, 0xeb, 0xf9 };

	for (int order = 0; order < 3; order++) {
		char *here = p + order * 64;
		memcpy(here, code, sizeof(code));
		site ordinary = (site)here, other = (site)(here + 8);
		if (order != 1)
			CHECK_EQ(ordinary(0, 0), getpid());
		for (int i = 0; i < 3; i++) {
			CHECK_EQ(other(0, SYS_getppid), getppid());
			CHECK_EQ(other(-1, SYS_close), -EBADF);
			CHECK_EQ(other(0, 5000), -ENOSYS);
			CHECK_EQ(other(0, SYS_getpid), getpid());
			if (order != 2)
				CHECK_EQ(ordinary(0, 0), getpid());
		}
	}
	munmap(p, CHECK_PAGE);
}

// New code at an old place: patched, protected and opened again, unmapped and mapped anew.
static void patched(void)
{
	char *p = code_pages(1, BOTH);
	const struct form *f = &forms[0];
	site s = emit(p, f, SYS_getpid);

	for (int i = 0; i < 20; i++) {
		emit(p, f, i % 2 ? SYS_getppid : SYS_getpid);
		CHECK_EQ(s(0, 0), i % 2 ? getppid() : getpid());
	}
	memcpy(p, "\xb8\x2a\0\0\0\x90\x90\xc3", 8); // no call any more
	CHECK_EQ(s(0, 0), 42);
	memcpy(p, "\x89\xf0\x0f\x05\xc3", 5); // mov eax, esi; syscall: it stands elsewhere now
	CHECK_EQ(s(0, SYS_getppid), getppid());
	for (int i = 0; i < 6; i++) {
		CHECK_OK(mprotect(p, CHECK_PAGE, WRITABLE));
		emit(p, f, i % 2 ? SYS_getppid : SYS_getpid);
		CHECK_OK(mprotect(p, CHECK_PAGE, EXECUTABLE));
		CHECK_EQ(s(0, 0), i % 2 ? getppid() : getpid());
		CHECK_EQ(s(0, 0), i % 2 ? getppid() : getpid());
	}
	for (int i = 0; i < 6; i++) {
		CHECK(mmap(p, CHECK_PAGE, BOTH, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
		emit(p, &forms[i % 3], i % 2 ? SYS_getppid : SYS_getpid);
		CHECK_EQ(s(0, 0), i % 2 ? getppid() : getpid());
	}
	char *moved = mremap(p, CHECK_PAGE, CHECK_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, code_pages(1, PROT_NONE));
	CHECK(moved != MAP_FAILED);
	CHECK_EQ(((site)moved)(0, 0), getppid());
	munmap(moved, CHECK_PAGE);
}

// Code in a file: the file stays what it was; two mappings, two processes.
static void in_files(int flags)
{
	char bytes[8];
	int fd = CHECK_OK(memfd_create("code", 0));
	char *w = NULL, *x;

	CHECK_OK(ftruncate(fd, CHECK_PAGE));
	CHECK_EQ(pwrite(fd, "\xb8\x27\0\0\0\x0f\x05\xc3", 8, 0), 8);
	x = mmap(NULL, CHECK_PAGE, EXECUTABLE, flags, fd, 0);
	if (!CHECK(x != MAP_FAILED))
		return;
	expect_pid("in a file", (site)x);
	pid_t pid = fork();
	if (pid == 0) {
		expect_pid("in a child", (site)x);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(pread(fd, bytes, 8, 0), 8);
	CHECK(memcmp(bytes, "\xb8\x27\0\0\0\x0f\x05\xc3", 8) == 0);
	if (flags == MAP_SHARED) { // a JIT's two views of one memory
		w = mmap(NULL, CHECK_PAGE, WRITABLE, MAP_SHARED, fd, 0);
		CHECK(memcmp(w, "\xb8\x27\0\0\0\x0f\x05\xc3", 8) == 0);
		w[1] = SYS_getppid;
		CHECK_EQ(((site)x)(0, 0), getppid());
		munmap(w, CHECK_PAGE);
	}
	munmap(x, CHECK_PAGE);
	close(fd);
}

// ---- what the call leaves alone ----

struct marks {
	uint64_t rbx, rdx, rsi, rdi, r8, r9, r10, r12, r13, r14, r15, red_near, red_middle, red_far, flags, rbp, rax;
};

// Calls `code` with all registers, flags and the red zone as `in` says; `out`: what they are then.
void marked_call(const void *code, const struct marks *in, struct marks *out);
asm(".pushsection .text\n"
    ".globl marked_call\n"
    "marked_call:\n"
    "pushq %rbx\n pushq %rbp\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n pushq %rdx\n"
    "movq %rdi, %rax\n movq %rsi, %rbp\n"
    "pushq 112(%rbp)\n popfq\n"
    "movq 0(%rbp), %rbx\n movq 8(%rbp), %rdx\n movq 16(%rbp), %rsi\n movq 24(%rbp), %rdi\n movq 32(%rbp), %r8\n"
    "movq 40(%rbp), %r9\n movq 48(%rbp), %r10\n movq 56(%rbp), %r12\n movq 64(%rbp), %r13\n movq 72(%rbp), %r14\n"
    "movq 80(%rbp), %r15\n"
    "movq 88(%rbp), %rcx\n movq %rcx, -16(%rsp)\n" // the call's return address goes to -8
    "movq 96(%rbp), %rcx\n movq %rcx, -64(%rsp)\n"
    "movq 104(%rbp), %rcx\n movq %rcx, -128(%rsp)\n"
    "callq *%rax\n"
    "movq (%rsp), %r11\n"
    "movq -16(%rsp), %rcx\n movq %rcx, 88(%r11)\n"
    "movq -64(%rsp), %rcx\n movq %rcx, 96(%r11)\n"
    "movq -128(%rsp), %rcx\n movq %rcx, 104(%r11)\n"
    "pushfq\n popq %rcx\n cld\n movq %rcx, 112(%r11)\n"
    "movq %rbx, 0(%r11)\n movq %rdx, 8(%r11)\n movq %rsi, 16(%r11)\n movq %rdi, 24(%r11)\n movq %r8, 32(%r11)\n"
    "movq %r9, 40(%r11)\n movq %r10, 48(%r11)\n movq %r12, 56(%r11)\n movq %r13, 64(%r11)\n movq %r14, 72(%r11)\n"
    "movq %r15, 80(%r11)\n movq %rbp, 120(%r11)\n movq %rax, 128(%r11)\n"
    "popq %rdx\n popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbp\n popq %rbx\n"
    "retq\n"
    ".popsection\n");

static void leaves_registers_alone(void)
{
	static const char *const names[] = {
		"rbx", "rdx", "rsi", "rdi", "r8",           "r9",           "r10",
		"r12", "r13", "r14", "r15", "red zone -16", "red zone -64", "red zone -128"
	};
	const uint64_t flags = 0xcd5; // carry, parity, adjust, zero, sign, direction, overflow
	char *p = code_pages(1, BOTH);
	struct marks in, out;
	uint64_t *words = (uint64_t *)&in, *after = (uint64_t *)&out;

	for (int i = 0; i < 16; i++) { // four calls a site
		char *here = p + i / 4 * 64;
		if (i % 4 == 0)
			emit(here, &forms[i / 4 % 2], SYS_getpid);
		for (size_t n = 0; n < ARRAY_SIZE(names); n++)
			words[n] = 0x1234567890abcdefu * (n + 3) + i;
		in.flags = 0x202 | (i & 2 ? flags : 0);
		marked_call(here, &in, &out);
		CHECK_EQ(out.rax, getpid());
		CHECK_EQ(out.rbp, (uintptr_t)&in);
		CHECK_EQ(out.flags & flags, in.flags & flags);
		for (size_t n = 0; n < ARRAY_SIZE(names); n++)
			if (words[n] != after[n])
				check_fail(__FILE__, __LINE__, "call %d changed %s", i, names[n]);
	}
	munmap(p, CHECK_PAGE);
}

// The stack pointer is the program's own affair.
static void without_a_stack(void)
{
	// push rbx; mov rbx, rsp; mov rsp, rsi; mov eax, getpid; syscall; mov rsp, rbx; pop rbx; ret
	static const unsigned char code[] = { 0x53, 0x48, 0x89, 0xe3, 0x48, 0x89, 0xf4, 0xb8, 39,  0,
					      0,    0,    0x0f, 0x05, 0x48, 0x89, 0xdc, 0x5b, 0xc3 };
	static const long pointers[] = { 0, 8, 0x10001, 0x7ffffffffff0, (long)0x8000000000000000u, -8, 4096 };
	char *p = code_pages(1, BOTH);

	memcpy(p, code, sizeof(code));
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < ARRAY_SIZE(pointers); i++)
			CHECK_EQ(((site)p)(0, pointers[i]), getpid());
	munmap(p, CHECK_PAGE);
}

static void numbers(void)
{
	char *p = code_pages(1, BOTH);
	site s = (site)p;

	memcpy(p, "\x48\x89\xf0\x0f\x05\xc3", 6); // mov rax, rsi; syscall; ret
	CHECK_EQ(s(0, SYS_getpid), getpid());
	CHECK_EQ(s(0, -1), -ENOSYS);
	CHECK_EQ(s(0, 100000), -ENOSYS);
	CHECK_EQ(s(0, 0x7fffffff), -ENOSYS);
	CHECK_EQ(s(0, (long)(0xffffffff00000000u | SYS_getpid)), getpid()); // only the low half counts
	CHECK_EQ(s(0, (long)(0x1234567800000000u | SYS_getppid)), getppid());
	munmap(p, CHECK_PAGE);
}

// ---- first uses in odd places ----

#define SITES 400

static char *raced;
static atomic_int arrived[SITES];

static void *races(void *argument CHECK_UNUSED)
{
	for (int i = 0; i < SITES; i++) {
		atomic_fetch_add(&arrived[i], 1);
		while (atomic_load(&arrived[i]) < 4)
			sched_yield();
		for (int n = 0; n < 3; n++)
			if (!CHECK_EQ(((site)(raced + i * 32 + i % 24))(0, 0), getpid()))
				return NULL;
	}
	return NULL;
}

static void raced_for(void)
{
	pthread_t threads[4];

	raced = code_pages(5, BOTH);
	for (int i = 0; i < SITES; i++)
		emit(raced + i * 32 + i % 24, &forms[i % 2 * 4], SYS_getpid);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, races, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	munmap(raced, 5 * CHECK_PAGE);
}

static char *handled;
static int handled_index;

static void in_handler(int signal CHECK_UNUSED) { CHECK_EQ(((site)(handled + handled_index * 16))(0, 0), getpid()); }

static void first_used_in_handlers(void)
{
	handled = code_pages(1, BOTH);
	for (int i = 0; i < 20; i++)
		emit(handled + i * 16, &forms[i % 6], SYS_getpid);
	signal(SIGUSR1, in_handler);
	for (handled_index = 0; handled_index < 20; handled_index++) {
		raise(SIGUSR1);
		CHECK_EQ(((site)(handled + handled_index * 16))(0, 0), getpid());
	}
	munmap(handled, CHECK_PAGE);
}

static void first_used_in_vfork_children(char *p)
{
	volatile long said = 0;
	pid_t pid = vfork();

	if (pid == 0) {
		said = ((site)p)(0, 0);
		_exit(0);
	}
	CHECK_EQ(said, pid);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(((site)p)(0, 0), getpid());
}

static void first_used_in_children(void)
{
	char *p = code_pages(1, BOTH);

	for (int i = 0; i < 6; i++) {
		emit(p + i * 16, &forms[0], SYS_getpid);
		first_used_in_vfork_children(p + i * 16);
		emit(p + 1024 + i * 16, &forms[0], SYS_getpid);
		pid_t pid = fork();
		if (pid == 0) {
			CHECK_EQ(((site)(p + 1024 + i * 16))(0, 0), getpid());
			emit(p + 1024 + i * 16, &forms[0], SYS_getppid); // its own copy
			CHECK_EQ(((site)(p + 1024 + i * 16))(0, 0), getppid());
			check_child_exit();
		}
		CHECK_EQ(check_wait(pid), 0);
		CHECK_EQ(((site)(p + 1024 + i * 16))(0, 0), getpid());
	}
	munmap(p, CHECK_PAGE);
}

int main(void)
{
	every_form();
	at_the_edge();
	jumped_at();
	patched();
	in_files(MAP_PRIVATE);
	in_files(MAP_SHARED);
	leaves_registers_alone();
	without_a_stack();
	numbers();
	raced_for();
	first_used_in_handlers();
	first_used_in_children();
	return check_done();
}
