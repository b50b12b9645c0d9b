// SPDX-License-Identifier: Apache-2.0
// The kernel's memory in an attacker's hands.
//
//     attack memory scribble HOW SEED   all shared memory overwritten; HOW: zero, ones, random, bits (a few bits a page),
//                                       pointers (words that look like addresses replaced by others), stacks, low
//     attack memory text HOW            the text itself: protect, unmap, replace, move, forget
//     attack memory copy PATH           kernel memory mapped again, executable, and a syscall instruction run there
#define _GNU_SOURCE
#include "attack.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE_BYTES UINT64_C(4096)

// Is there a page? Asked of the host: reading it would use memory.
static bool page_is_there(uintptr_t address)
{
	unsigned char resident;

	return HOST(SYS_mincore, address & ~(PAGE_BYTES - 1), PAGE_BYTES, &resident) == 0;
}

static bool page_is_used(uintptr_t address)
{
	unsigned char resident = 0;

	HOST(SYS_mincore, address & ~(PAGE_BYTES - 1), PAGE_BYTES, &resident);
	return resident & 1;
}

// The shared memory: from the text's end (text and data lie side by side; a write decides) to the end of the task blocks.
static uintptr_t memory_start, memory_end;
static sigjmp_buf escape;

static void caught(int signal)
{
	(void)signal;
	siglongjmp(escape, 1);
}

static bool writable(uintptr_t address)
{
	if (sigsetjmp(escape, 1))
		return false;
	volatile unsigned char *p = (volatile unsigned char *)address;
	*p = *p;
	return true;
}

static void find_memory(void)
{
	signal(SIGSEGV, caught);
	memory_start = places.text & ~(PAGE_BYTES - 1);
	while (!writable(memory_start))
		memory_start += PAGE_BYTES;
	memory_end = places.task & ~(PAGE_BYTES - 1);
	while (page_is_there(memory_end))
		memory_end += PAGE_BYTES;
	signal(SIGSEGV, SIG_DFL);
}

static uint64_t random_state;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void scribble_page(uint64_t *page, const char *how)
{
	const unsigned words = PAGE_BYTES / 8;

	if (strcmp(how, "zero") == 0)
		memset(page, 0, PAGE_BYTES);
	else if (strcmp(how, "ones") == 0)
		memset(page, 0xff, PAGE_BYTES);
	else if (strcmp(how, "bits") == 0)
		for (int i = 0; i < 4; i++)
			page[next_random() % words] ^= UINT64_C(1) << next_random() % 64;
	else if (strcmp(how, "pointers") == 0)
		for (unsigned i = 0; i < words; i++) {
			if (page[i] >= memory_start && page[i] < memory_end && next_random() % 4 == 0)
				page[i] = memory_start + next_random() % (memory_end - memory_start);
		}
	else
		for (unsigned i = 0; i < words; i++)
			page[i] = next_random();
}

static int scribble(const char *how, uint64_t seed)
{
	random_state = seed * 2654435761u + 1;
	find_memory();
	uintptr_t start = memory_start, end = memory_end;
	if (strcmp(how, "stacks") == 0)
		start = places.task - (64u << 10) < start ? start : (places.task - (64u << 10)) & ~(PAGE_BYTES - 1);
	if (strcmp(how, "low") == 0)
		end = start + (1u << 20);
	for (uintptr_t p = start; p < end; p += PAGE_BYTES)
		if (page_is_used(p))
			scribble_page((uint64_t *)p, how);
	// The kernel shall use what is left of it.
	for (int i = 0; i < 100; i++) {
		if (fork() == 0)
			_exit(0);
		(void)!write(1, "x", 1);
		(void)getppid();
		munmap(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096);
	}
	return 0;
}

static int text(const char *how)
{
	const uint64_t page = places.text & ~(PAGE_BYTES - 1), room = UINT64_C(0x100000000);
	long result = -1;

	if (strcmp(how, "protect") == 0)
		result = HOST(SYS_mprotect, page, PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC);
	else if (strcmp(how, "unmap") == 0)
		result = HOST(SYS_munmap, page, PAGE_BYTES);
	else if (strcmp(how, "replace") == 0)
		result = HOST(SYS_mmap, page, PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	else if (strcmp(how, "move") == 0) // something of ours over it
		result = HOST(SYS_mremap,
			      mmap(NULL, PAGE_BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			      PAGE_BYTES, PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, page);
	else if (strcmp(how, "away") == 0)
		result = HOST(SYS_mremap, page, PAGE_BYTES, PAGE_BYTES, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	else if (strcmp(how, "forget") == 0)
		result = HOST(SYS_madvise, page, PAGE_BYTES, MADV_DONTNEED);
	else if (strcmp(how, "around") == 0) // from below, over it
		result = HOST(SYS_munmap, page - (UINT64_C(1) << 40), UINT64_C(1) << 41);
	else if (strcmp(how, "wrap") == 0) // sums that overflow
		result = HOST(SYS_munmap, page, -(page - room));
	shout("RETURNED %ld\n", result);
	return 0;
}

static uint64_t size_of(int fd)
{
	struct stat st = { 0 };

	HOST(SYS_fstat, fd, &st);
	return (uint64_t)st.st_size;
}

// Memory that kernel and attacker write, executable somewhere else: its calls are the program's, not the kernel's.
static int copy(const char *path)
{
	static const unsigned char code[] = { 0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x0f, 0x05, 0xc3 };
	unsigned mode;

	for (int fd = 0; fd < FDS_MAX; fd++) {
		if (!host_fd(fd, &mode) || !S_ISREG(mode))
			continue;
		uint64_t middle = size_of(fd) / 2 & ~(PAGE_BYTES - 1); // free, probably
		long p = HOST(SYS_mmap, 0, PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, fd, middle);
		if (p < 0 && p > -4096)
			continue;
		memcpy((void *)p, code, sizeof(code));
		long result = ((long (*)(long, const char *, long))p)(SYS_unlink, path, 0);
		printf("fd %d: unlink says %ld\n", fd, result);
	}
	return 0;
}

int attack_memory(const char *what, int argc, char **argv)
{
	if (strcmp(what, "scribble") == 0 && argc > 1)
		return scribble(argv[0], strtoull(argv[1], NULL, 0));
	if (strcmp(what, "text") == 0 && argc > 0)
		return text(argv[0]);
	if (strcmp(what, "copy") == 0 && argc > 0)
		return copy(argv[0]);
	return 2;
}
