// SPDX-License-Identifier: Apache-2.0
// Do threads that use the same call site at the same time get through, while a kernel turns it into something else? Each round uses a
// fresh copy of the site, mapped from the program's file.
#include "check.h"

#include <elf.h>
#include <pthread.h>
#include <sys/auxv.h>

#define ROUNDS  50
#define THREADS 6
#define CALLS   20

// The instruction before the call lies across a boundary of eight bytes: it cannot be replaced by one store.
__attribute__((naked, noinline, aligned(4096))) static long site(void)
{
	__asm__(".skip 5, 0x90\n mov $110, %eax\n syscall\n ret\n .balign 4096");
}

static pthread_barrier_t barrier;
static long (*copy)(void);

static void *caller(void *ppid)
{
	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&barrier); // there is a copy
		for (int i = 0; i < CALLS; i++)
			if (!CHECK_EQ(copy(), (long)ppid))
				exit(1);
		pthread_barrier_wait(&barrier); // it is used no more
	}
	return NULL;
}

static off_t file_offset(uint64_t address)
{
	const Elf64_Phdr *p = (const Elf64_Phdr *)getauxval(AT_PHDR);

	for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++)
		if (p[i].p_type == PT_LOAD && address >= p[i].p_vaddr && address < p[i].p_vaddr + p[i].p_filesz)
			return (off_t)(address - p[i].p_vaddr + p[i].p_offset);
	exit(1);
}

int main(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	pthread_t threads[THREADS];

	CHECK_OK(fd);
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, caller, (void *)(long)getppid()), 0);
	for (int round = 0; round < ROUNDS; round++) {
		void *page =
			mmap(NULL, CHECK_PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, file_offset((uint64_t)site));
		if (!CHECK(page != MAP_FAILED))
			return 1;
		copy = (long (*)(void))page;
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		CHECK_OK(munmap(page, CHECK_PAGE));
	}
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	return check_done();
}
