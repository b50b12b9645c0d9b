// SPDX-License-Identifier: Apache-2.0
// Is shared memory of more pages than a process may have mappings usable, by one thread after the other and by two at once?
#include "check.h"

#include <pthread.h>

#define BYTES (300ul << 20) // 76,800 pages; vm.max_map_count is 65,530

static char *memory;

static void *touch(void *half)
{
	char *from = memory + (half ? BYTES / 2 : 0);

	for (size_t i = 0; i < BYTES / 2; i += CHECK_PAGE)
		from[i] = (char)(i / CHECK_PAGE | 1);
	return NULL;
}

static void map(int fd, int flags)
{
	memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);
	CHECK(memory != MAP_FAILED);
}

static void check_and_unmap(void)
{
	for (size_t i = 0; i < BYTES; i += CHECK_PAGE)
		if (!CHECK_EQ(memory[i], (char)(i % (BYTES / 2) / CHECK_PAGE | 1)))
			break;
	CHECK_OK(munmap(memory, BYTES));
}

int main(void)
{
	pthread_t thread;
	int fd = CHECK_OK(memfd_create("pages", 0));

	alarm(120);
	CHECK_OK(ftruncate(fd, BYTES));
	map(fd, 0);
	touch(NULL);
	touch(memory);
	check_and_unmap();
	map(fd, 0); // the pages are there now
	check_and_unmap();
	close(fd);
	map(-1, MAP_ANONYMOUS); // of pages that were used before
	CHECK_EQ(pthread_create(&thread, NULL, touch, memory), 0);
	touch(NULL);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	check_and_unmap();
	return check_done();
}
