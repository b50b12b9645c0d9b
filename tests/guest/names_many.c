// SPDX-License-Identifier: Apache-2.0
// Are names found while many more are made and removed beside them?
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>

#define NAMES   20000 // a kernel that has few buckets for them at first makes more meanwhile
#define READERS 2

static atomic_int made; // so many names are there
static atomic_bool over;

static void name_of(char *path, int number) { sprintf(path, "d%d/n%d", number % 7, number); }

static void *reader(void *seed)
{
	unsigned random = (unsigned)(uintptr_t)seed;
	long missed = 0;
	char path[32];
	struct stat st;

	while (!atomic_load(&over)) {
		int count = atomic_load(&made);
		if (!count)
			continue;
		random = random * 1664525 + 1013904223;
		name_of(path, (int)(random >> 8) % count);
		missed += stat(path, &st) != 0;
		missed += stat("absent", &st) == 0;
	}
	return (void *)missed;
}

int main(void)
{
	pthread_t readers[READERS];
	char path[32];
	struct stat st;
	void *missed;
	int failed = 0;

	check_tmpdir();
	for (int i = 0; i < 7; i++) {
		sprintf(path, "d%d", i);
		CHECK_OK(mkdir(path, 0755));
	}
	for (uintptr_t i = 0; i < READERS; i++)
		pthread_create(&readers[i], NULL, reader, (void *)(i + 1));
	for (int i = 0; i < NAMES; i++) {
		name_of(path, i);
		failed += mknod(path, S_IFREG | 0600, 0) != 0;
		atomic_store(&made, i + 1);
	}
	atomic_store(&over, true);
	for (int i = 0; i < READERS; i++) {
		pthread_join(readers[i], &missed);
		CHECK_EQ((intptr_t)missed, 0);
	}
	for (int i = 0; i < NAMES; i++) {
		name_of(path, i);
		failed += stat(path, &st) != 0 || unlink(path) != 0 || stat(path, &st) == 0;
	}
	CHECK_EQ(failed, 0);
	return check_done();
}
