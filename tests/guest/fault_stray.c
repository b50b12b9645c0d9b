// SPDX-License-Identifier: Apache-2.0
// Do stray reads, writes and jumps fault alike in every kind of mapping: signal, code, and address to the byte?
#include "check.h"
#include <pthread.h>
#include <setjmp.h>

struct fault {
	int signal, code;
	void *address;
};
static __thread sigjmp_buf escape;
static __thread struct fault fault;

static void caught(int signal, siginfo_t *info, void *context CHECK_UNUSED)
{
	fault = (struct fault){ signal, info->si_code, info->si_addr };
	siglongjmp(escape, 1);
}

enum touch { READ, WRITE, JUMP };

static const char *const touches[] = { "read", "write", "jump" };

// What the access at `p` does; signal 0: nothing happened.
static struct fault touch(char *p, enum touch how)
{
	fault = (struct fault){ 0 };
	if (sigsetjmp(escape, 1) == 0) {
		if (how == READ)
			(void)*(volatile char *)p;
		else if (how == WRITE)
			*(volatile char *)p = 1;
		else
			((void (*)(void))p)();
	}
	return fault;
}

static void expect_at(int line, const char *what, char *p, enum touch how, int signal, int code)
{
	struct fault f = touch(p, how);

	if (f.signal != signal || (signal && (f.code != code || f.address != p)))
		check_fail(__FILE__, line, "%s, %s of %p: signal %d code %d at %p, expected signal %d code %d", what,
			   touches[how], p, f.signal, f.code, f.address, signal, code);
}
#define EXPECT(what, p, how, signal, code) expect_at(__LINE__, what, p, how, signal, code)

static int memory_file(void)
{
	int fd = CHECK_OK(memfd_create("stray", 0));

	CHECK_OK(ftruncate(fd, 2 * CHECK_PAGE));
	return fd;
}

static int disk_file(void)
{
	int fd = CHECK_OK(open("stray", O_RDWR | O_CREAT | O_TRUNC, 0600));

	CHECK_OK(ftruncate(fd, 2 * CHECK_PAGE));
	return fd;
}

static const struct kind {
	const char *name;
	int flags;
	int (*open)(void);
} kinds[] = {
	{ "private anonymous", MAP_PRIVATE | MAP_ANONYMOUS, NULL },
	{ "shared anonymous", MAP_SHARED | MAP_ANONYMOUS, NULL },
	{ "shared memfd", MAP_SHARED, memory_file },
	{ "private memfd", MAP_PRIVATE, memory_file },
	{ "shared file", MAP_SHARED, disk_file },
	{ "private file", MAP_PRIVATE, disk_file },
};

static void rights(const struct kind *k)
{
	int fd = k->open ? k->open() : -1;
	char *p = mmap(NULL, 2 * CHECK_PAGE, PROT_READ, k->flags, fd, 0);

	if (!CHECK(p != MAP_FAILED))
		return;
	// Once before the page was ever used, and once after.
	for (int round = 0; round < 2; round++) {
		EXPECT(k->name, p + 77, WRITE, SIGSEGV, SEGV_ACCERR);
		EXPECT(k->name, p + 77, READ, 0, 0);
		EXPECT(k->name, p + 16, JUMP, SIGSEGV, SEGV_ACCERR);
	}
	CHECK_OK(mprotect(p, CHECK_PAGE, PROT_NONE));
	EXPECT(k->name, p + 4095, READ, SIGSEGV, SEGV_ACCERR);
	EXPECT(k->name, p, WRITE, SIGSEGV, SEGV_ACCERR);
	EXPECT(k->name, p + 1, JUMP, SIGSEGV, SEGV_ACCERR);
	CHECK_OK(mprotect(p, 2 * CHECK_PAGE, PROT_READ | PROT_WRITE));
	EXPECT(k->name, p + 4095, WRITE, 0, 0);
	EXPECT(k->name, p + 64, JUMP, SIGSEGV, SEGV_ACCERR);
	CHECK_OK(munmap(p, CHECK_PAGE));
	EXPECT(k->name, p + 4095, READ, SIGSEGV, SEGV_MAPERR);
	EXPECT(k->name, p + 5, WRITE, SIGSEGV, SEGV_MAPERR);
	EXPECT(k->name, p + 5, JUMP, SIGSEGV, SEGV_MAPERR);
	EXPECT(k->name, p + CHECK_PAGE, READ, 0, 0);
	CHECK_OK(munmap(p + CHECK_PAGE, CHECK_PAGE));
	if (fd >= 0)
		close(fd);
}

static void beyond_the_end(const struct kind *k)
{
	if (!k->open)
		return;
	int fd = k->open();
	char *p = mmap(NULL, 6 * CHECK_PAGE, PROT_READ | PROT_WRITE, k->flags, fd, 0);

	if (!CHECK(p != MAP_FAILED))
		return;
	EXPECT(k->name, p + 2 * CHECK_PAGE + 3, READ, SIGBUS, BUS_ADRERR);
	EXPECT(k->name, p + 5 * CHECK_PAGE, WRITE, SIGBUS, BUS_ADRERR);
	CHECK_OK(ftruncate(fd, 3 * CHECK_PAGE + 1));
	EXPECT(k->name, p + 3 * CHECK_PAGE + 4095, READ, 0, 0);
	EXPECT(k->name, p + 4 * CHECK_PAGE + 9, READ, SIGBUS, BUS_ADRERR);
	CHECK_OK(ftruncate(fd, 0));
	EXPECT(k->name, p + CHECK_PAGE, READ, SIGBUS, BUS_ADRERR);
	CHECK_OK(ftruncate(fd, CHECK_PAGE));
	EXPECT(k->name, p + 8, WRITE, 0, 0);
	CHECK_OK(munmap(p, 6 * CHECK_PAGE));
	close(fd);
}

// An access over a page boundary faults at the first byte that is not there.
static void across_pages(void)
{
	char *p = mmap(NULL, 2 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK_OK(munmap(p + CHECK_PAGE, CHECK_PAGE));
	fault = (struct fault){ 0 };
	if (sigsetjmp(escape, 1) == 0)
		asm volatile("movq %0, %%rax" : : "m"(*(uint64_t *)(p + CHECK_PAGE - 3)) : "rax");
	CHECK_EQ(fault.signal, SIGSEGV);
	CHECK_EQ(fault.code, SEGV_MAPERR);
	CHECK(fault.address == p + CHECK_PAGE);
	CHECK_OK(munmap(p, CHECK_PAGE));
}

// The kernel's own accesses give an error, not a signal, in every kind.
static void kernel_accesses(const struct kind *k)
{
	int fds[2], fd = k->open ? k->open() : -1;
	char *p = mmap(NULL, 2 * CHECK_PAGE, PROT_READ | PROT_WRITE, k->flags, fd, 0);

	if (!CHECK(p != MAP_FAILED))
		return;
	CHECK_OK(pipe(fds));
	CHECK_EQ(write(fds[1], p, 10), 10); // never touched
	CHECK_EQ(read(fds[0], p + CHECK_PAGE, 10), 10);
	CHECK_OK(mprotect(p + CHECK_PAGE, CHECK_PAGE, PROT_READ));
	CHECK_EQ(write(fds[1], p, 10), 10);
	CHECK_ERR(read(fds[0], p + CHECK_PAGE, 10), EFAULT);
	CHECK_OK(mprotect(p, CHECK_PAGE, PROT_NONE));
	CHECK_ERR(write(fds[1], p, 1), EFAULT);
	CHECK_ERR(open(p, O_RDONLY), EFAULT);
	CHECK_OK(munmap(p, 2 * CHECK_PAGE));
	CHECK_ERR(write(fds[1], p, 1), EFAULT);
	CHECK_ERR(stat("/", (struct stat *)p), EFAULT);
	close(fds[0]);
	close(fds[1]);
	if (fd >= 0)
		close(fd);
}

static void all(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		rights(&kinds[i]);
		beyond_the_end(&kinds[i]);
		kernel_accesses(&kinds[i]);
	}
	across_pages();
	EXPECT("null", NULL, READ, SIGSEGV, SEGV_MAPERR);
	EXPECT("null", NULL, WRITE, SIGSEGV, SEGV_MAPERR);
	EXPECT("null", NULL, JUMP, SIGSEGV, SEGV_MAPERR);
	EXPECT("near null", (char *)8, JUMP, SIGSEGV, SEGV_MAPERR);
}

// Each thread gets its own fault.
static void *in_thread(void *argument)
{
	char *p = mmap(NULL, CHECK_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (long i = 0; i < 200; i++) {
		EXPECT("thread", p + (long)argument * 8 + i, WRITE, SIGSEGV, SEGV_ACCERR);
		EXPECT("thread", (char *)((long)argument + 1), READ, SIGSEGV, SEGV_MAPERR);
	}
	munmap(p, CHECK_PAGE);
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER };
	pthread_t threads[4];

	check_tmpdir();
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	all();
	CHECK_CHILD(all);
	for (long i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, in_thread, (void *)i), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	return check_done();
}
