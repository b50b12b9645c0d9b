// SPDX-License-Identifier: Apache-2.0
// Do faults, maps, unmaps and forks of many threads in one address space stay consistent?
#include "check.h"

#define PAGES 64

static char *common;
static atomic_int errors;

static void *maps_and_unmaps(void *argument)
{
	unsigned seed = (unsigned)(long)argument;

	for (int i = 0; i < 200; i++) {
		size_t pages = 1 + rand_r(&seed) % 16;
		char *m = mmap(NULL, pages * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (m == MAP_FAILED) {
			atomic_fetch_add(&errors, 1);
			continue;
		}
		for (size_t p = 0; p < pages; p++) {
			if (m[p * CHECK_PAGE] != 0)
				atomic_fetch_add(&errors, 1);
			m[p * CHECK_PAGE] = (char)(long)argument;
		}
		if (pages > 2)
			mprotect(m + CHECK_PAGE, CHECK_PAGE, PROT_READ);
		for (size_t p = 0; p < pages; p++)
			if (m[p * CHECK_PAGE] != (char)(long)argument)
				atomic_fetch_add(&errors, 1);
		munmap(m, pages * CHECK_PAGE);
	}
	return NULL;
}

static void *counts_in_common(void *argument)
{
	(void)argument;
	for (int round = 0; round < 50; round++)
		for (int p = 0; p < PAGES; p++)
			__atomic_fetch_add((int *)(common + p * CHECK_PAGE), 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void *forks(void *argument)
{
	(void)argument;
	for (int i = 0; i < 8; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			for (int p = 0; p < PAGES; p++)
				*(int *)(common + p * CHECK_PAGE) = -1;
			_exit(0);
		}
		if (pid < 0 || check_wait(pid) != 0)
			atomic_fetch_add(&errors, 1);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[8];

	common = mmap(NULL, PAGES * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (long i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, maps_and_unmaps, (void *)(i + 1));
	for (int i = 3; i < 7; i++)
		pthread_create(&threads[i], NULL, counts_in_common, NULL);
	pthread_create(&threads[7], NULL, forks, NULL);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(atomic_load(&errors), 0);
	// No count is lost, though forks made the pages copy-on-write under the counters.
	for (int p = 0; p < PAGES; p++)
		if (!CHECK_EQ(*(int *)(common + p * CHECK_PAGE), 200))
			break;
	return check_done();
}
