// SPDX-License-Identifier: Apache-2.0
// Do mprotect, guard pages and the kernel's own accesses respect protections, for every thread at once?
#include "check.h"
#include <setjmp.h>

static sigjmp_buf escape;
static volatile int faults;

static void caught(int signal)
{
	(void)signal;
	faults++;
	siglongjmp(escape, 1);
}

static bool can_read(volatile char *p)
{
	if (sigsetjmp(escape, 1))
		return false;
	(void)*p;
	return true;
}

static bool can_write(volatile char *p)
{
	if (sigsetjmp(escape, 1))
		return false;
	*p = *p;
	return true;
}

static void changes(void)
{
	char *m = mmap(NULL, 8 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(m, 3, 8 * CHECK_PAGE);
	CHECK_OK(mprotect(m + 2 * CHECK_PAGE, 2 * CHECK_PAGE, PROT_READ));
	CHECK(can_read(m + 2 * CHECK_PAGE));
	CHECK(!can_write(m + 2 * CHECK_PAGE));
	CHECK(!can_write(m + 4 * CHECK_PAGE - 1));
	CHECK(can_write(m + 2 * CHECK_PAGE - 1));
	CHECK(can_write(m + 4 * CHECK_PAGE));
	CHECK_OK(mprotect(m, 8 * CHECK_PAGE, PROT_NONE));
	for (int i = 0; i < 8; i++)
		CHECK(!can_read(m + i * CHECK_PAGE));
	CHECK_OK(mprotect(m, 8 * CHECK_PAGE, PROT_READ | PROT_WRITE));
	for (int i = 0; i < 8; i++) {
		CHECK(can_write(m + i * CHECK_PAGE));
		CHECK_EQ(m[i * CHECK_PAGE], 3); // the content stayed
	}
	CHECK_ERR(mprotect(m + 1, CHECK_PAGE, PROT_READ), EINVAL);
	CHECK_ERR(mprotect(m, CHECK_PAGE, 0x1000), EINVAL);
	CHECK_OK(mprotect(m, 0, PROT_READ));
	CHECK_OK(munmap(m + 4 * CHECK_PAGE, CHECK_PAGE));
	CHECK_ERR(mprotect(m, 8 * CHECK_PAGE, PROT_READ), ENOMEM); // but up to the hole it is done
	CHECK(!can_write(m));
	munmap(m, 8 * CHECK_PAGE);
}

static void kernel_respects(void)
{
	int fds[2];
	char *m = mmap(NULL, 2 * CHECK_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK_OK(pipe(fds));
	CHECK_EQ(write(fds[1], "0123456789", 10), 10);
	CHECK_ERR(read(fds[0], m, 4), EFAULT);
	CHECK_OK(mprotect(m, CHECK_PAGE, PROT_READ | PROT_WRITE));
	// A read that runs into the protected page gives what fitted, or EFAULT; never writes it.
	ssize_t got = read(fds[0], m + CHECK_PAGE - 4, 8);
	CHECK(got == 4 || (got < 0 && errno == EFAULT));
	CHECK_OK(mprotect(m, CHECK_PAGE, PROT_NONE));
	CHECK_ERR(write(fds[1], m, 1), EFAULT);
}

static void shared_files_keep_their_rights(void)
{
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT, 0600));

	CHECK_OK(ftruncate(fd, CHECK_PAGE));
	close(fd);
	fd = open("file", O_RDONLY);
	char *m = mmap(NULL, CHECK_PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK_ERR(mprotect(m, CHECK_PAGE, PROT_READ | PROT_WRITE), EACCES);
	munmap(m, CHECK_PAGE);
	m = mmap(NULL, CHECK_PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK_OK(mprotect(m, CHECK_PAGE, PROT_READ | PROT_WRITE));
	*m = 'x';
	char byte = 1;
	CHECK_EQ(pread(fd, &byte, 1, 0), 1);
	CHECK_EQ(byte, 0);
	close(fd);
}

static char *volatile target;
static atomic_int stop, others_faulted;
static __thread sigjmp_buf own_escape;

static void thread_caught(int signal)
{
	(void)signal;
	siglongjmp(own_escape, 1);
}

static void *writes_until_fault(void *argument)
{
	(void)argument;
	if (sigsetjmp(own_escape, 1) == 0)
		while (!atomic_load(&stop))
			target[64]++;
	else
		atomic_fetch_add(&others_faulted, 1);
	return NULL;
}

// When mprotect returns, no processor may still write through an old translation.
static void other_threads_see_it(void)
{
	signal(SIGSEGV, thread_caught);
	for (int round = 0; round < 20; round++) {
		pthread_t threads[2];
		target = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		atomic_store(&others_faulted, 0);
		for (int i = 0; i < 2; i++)
			pthread_create(&threads[i], NULL, writes_until_fault, NULL);
		while (*(volatile char *)(target + 64) == 0)
			sched_yield();
		CHECK_OK(mprotect(target, CHECK_PAGE, PROT_READ));
		char seen = *(volatile char *)(target + 64);
		for (int i = 0; i < 100; i++)
			sched_yield();
		CHECK_EQ(*(volatile char *)(target + 64), seen);
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		CHECK_EQ(atomic_load(&others_faulted), 2);
		munmap(target, CHECK_PAGE);
	}
}

static void execution(void)
{
	// mov $42, %eax; ret
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };
	unsigned char *m = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(m, code, sizeof(code));
	faults = 0;
	if (sigsetjmp(escape, 1) == 0)
		((int (*)(void))m)();
	CHECK_EQ(faults, 1);
	CHECK_OK(mprotect(m, CHECK_PAGE, PROT_READ | PROT_EXEC));
	CHECK_EQ(((int (*)(void))m)(), 42);
	CHECK(!can_write((char *)m));
	munmap(m, CHECK_PAGE);
}

int main(void)
{
	check_tmpdir();
	signal(SIGSEGV, caught);
	changes();
	kernel_respects();
	shared_files_keep_their_rights();
	execution();
	other_threads_see_it();
	return check_done();
}
