// SPDX-License-Identifier: Apache-2.0
// Do threads that fault, map, unmap, protect, fork and truncate at the same time ever see another's data or lose their own?
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGES   48
#define THREADS 4
#define ROUNDS  30

static int failures;

static void broken(const char *what)
{
	fprintf(stderr, "memory_stress: %s\n", what);
	__atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST);
}

static uint32_t next(uint32_t *seed) { return *seed = *seed * 1664525 + 1013904223; }

// Private memory of one thread: every page holds what was last stored, or zero.
static void *private_worker(void *argument)
{
	uint32_t seed = (uint32_t)(uintptr_t)argument;
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t value[PAGES] = { 0 };
		char *m = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (m == MAP_FAILED) {
			broken("mmap");
			return NULL;
		}
		for (int step = 0; step < 60; step++) {
			unsigned i = (next(&seed) >> 8) % PAGES;
			volatile uint64_t *word = (uint64_t *)(m + i * 4096 + (seed >> 20) % 500 / 8 * 8 * 0);
			if (*word != value[i])
				broken("private page holds something else");
			switch ((next(&seed) >> 8) % 8) {
			case 0:
				madvise(m + i * 4096, 4096, MADV_DONTNEED);
				value[i] = 0;
				break;
			case 1:
				mprotect(m + i * 4096, 4096, PROT_READ);
				if (*word != value[i])
					broken("mprotect changed a page");
				mprotect(m + i * 4096, 4096, PROT_READ | PROT_WRITE);
				break;
			case 2: {
				char *moved = mremap(m, PAGES * 4096, PAGES * 4096 + 4096, MREMAP_MAYMOVE);
				if (moved == MAP_FAILED)
					broken("mremap");
				else
					m = mremap(moved, PAGES * 4096 + 4096, PAGES * 4096, 0);
				break;
			}
			default: *word = value[i] = (uint64_t)next(&seed) << 32 | (uintptr_t)argument;
			}
		}
		munmap(m, PAGES * 4096);
	}
	return NULL;
}

static char *area; // stays mapped; each thread stores into pages of its own
static int stop;

static void *fork_worker(void *argument)
{
	for (int round = 0; round < ROUNDS / 10; round++) {
		uint64_t sum = 0;
		for (int i = 0; i < PAGES; i++)
			((volatile uint64_t *)(area + i * 4096))[1] = (uint64_t)round * 1000 + (uint64_t)i;
		pid_t child = fork();
		if (child == 0) {
			for (int i = 0; i < PAGES; i++) {
				volatile uint64_t *word = (uint64_t *)(area + i * 4096);
				if (word[1] != (uint64_t)round * 1000 + (uint64_t)i)
					_exit(1);
				word[1] = 0;
			}
			_exit(0);
		}
		int status = 0;
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			broken("the child saw something else");
		for (int i = 0; i < PAGES; i++)
			if (((volatile uint64_t *)(area + i * 4096))[1] != (uint64_t)round * 1000 + (uint64_t)i)
				broken("the child's stores came back");
		(void)sum;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	return argument;
}

// Stores go on while other threads fork: none may get lost by copy-on-write.
static void *store_worker(void *argument)
{
	unsigned slot = 2 + (unsigned)(uintptr_t)argument;
	uint64_t count = 0;
	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		count++;
		for (int i = 0; i < PAGES; i++)
			((volatile uint64_t *)(area + i * 4096))[slot] = count;
		for (int i = 0; i < PAGES; i++)
			if (((volatile uint64_t *)(area + i * 4096))[slot] != count)
				broken("a store got lost");
	}
	return NULL;
}

static __thread sigjmp_buf bus_return;
static void on_bus(int signal) { siglongjmp(bus_return, signal); }

static int shared_file;
static void *truncate_worker(void *argument)
{
	for (int round = 0; round < ROUNDS * 2; round++)
		if (ftruncate(shared_file, round % 3 * 8 * 4096 + 100))
			broken("ftruncate");
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	return argument;
}

// Every access to the file's mapping gives what was stored, zero after truncation, or SIGBUS: never another's page.
static void *map_worker(void *argument)
{
	uint64_t mine = UINT64_C(0xabcd000000000000);
	static __thread uint32_t seed; // static: siglongjmp() may not restore a local
	seed = (uint32_t)(uintptr_t)argument + 77;
	char *m = mmap(NULL, 24 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared_file, 0);
	if (m == MAP_FAILED) {
		broken("mmap of a file");
		return NULL;
	}
	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		volatile uint64_t *word = (uint64_t *)(m + (next(&seed) >> 8) % 24 * 4096);
		if (sigsetjmp(bus_return, 1))
			continue;
		uint64_t seen = *word;
		if (seen && seen != mine)
			broken("a file page holds something else");
		*word = mine;
	}
	munmap(m, 24 * 4096);
	return NULL;
}

static void run(void *(*one)(void *), void *(*others)(void *))
{
	pthread_t thread[THREADS];
	stop = 0;
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, i == 0 ? one : others, (void *)(i + 1)), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

int main(void)
{
	run(private_worker, private_worker);

	area = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(area != MAP_FAILED);
	run(fork_worker, store_worker);
	munmap(area, PAGES * 4096);

	signal(SIGBUS, on_bus);
	const char *directories[] = { "/tmp", "." };
	for (unsigned i = 0; i < 2; i++) {
		char path[64];
		snprintf(path, sizeof(path), "%s/memory_stress.%d", directories[i], (int)getpid());
		shared_file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		if (shared_file < 0)
			continue; // the working directory may be read-only
		run(truncate_worker, map_worker);
		close(shared_file);
		unlink(path);
	}
	CHECK_EQ(failures, 0);
	return check_done();
}
