// SPDX-License-Identifier: Apache-2.0
// With as many mappings as there may be, does an access to a page of shared memory come back: with the page, or by SIGBUS where whatever
// the system stands on has no room for one more mapping? And does the rest go on?
#include "check.h"

#include <setjmp.h>

#define MAPPINGS 70000 // more than vm.max_map_count usually allows

static sigjmp_buf out;

static void on_bus(int signal)
{
	(void)signal;
	siglongjmp(out, 1);
}

static bool touch(volatile char *at)
{
	if (sigsetjmp(out, 1))
		return false;
	*at = 'x';
	return true;
}

// Neither neighbour continues the other: each is a mapping of its own.
static int map_many(int fd, char **at)
{
	int count = 0;

	for (; count < MAPPINGS; count++) {
		at[count] = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (at[count] == MAP_FAILED) {
			CHECK_EQ(errno, ENOMEM);
			break;
		}
	}
	return count;
}

int main(void)
{
	static char *at[MAPPINGS];
	int fd = memfd_create("page", 0), count, refused = 0;
	bool cell = getenv("CLOISTER_CELL") != NULL;

	CHECK_OK(fd);
	CHECK_OK(ftruncate(fd, CHECK_PAGE));
	CHECK(signal(SIGBUS, on_bus) != SIG_ERR);
	count = map_many(fd, at);
	CHECK(count > 1000);
	for (int i = 0; i < count; i++)
		refused += !touch(at[i]);
	CHECK(cell || !refused);
	CHECK(refused < 1000);
	// A call's access to such a page is EFAULT, and nothing hangs there either.
	if (count && refused) {
		int pipes[2];

		CHECK_OK(pipe(pipes));
		CHECK_ERR(write(pipes[1], at[count - 1], 1), EFAULT);
	}
	for (int k = 0; k < count; k++)
		CHECK_OK(munmap(at[k], CHECK_PAGE));
	// There is room again.
	char *p = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED && *p == 'x');
	return check_done();
}
