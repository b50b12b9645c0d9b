// SPDX-License-Identifier: Apache-2.0
// Does copy-on-write keep parent and child apart, page by page, in both directions and over generations?
#include "check.h"

#define PAGES 600

static unsigned char *memory;

static void fill(int seed)
{
	for (int i = 0; i < PAGES; i++)
		*(int *)(memory + i * CHECK_PAGE + 128) = seed + i;
}

static int mismatches(int seed)
{
	int bad = 0;

	for (int i = 0; i < PAGES; i++)
		bad += *(int *)(memory + i * CHECK_PAGE + 128) != seed + i;
	return bad;
}

static void child_writes(void)
{
	fill(1000);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_EQ(mismatches(1000), 0);
		fill(5000);
		CHECK_EQ(mismatches(5000), 0);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(mismatches(1000), 0);
}

static void parent_writes(void)
{
	int gate[2];
	char byte = 0;

	CHECK_OK(pipe(gate));
	fill(2000);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_EQ(read(gate[0], &byte, 1), 1);
		CHECK_EQ(mismatches(2000), 0);
		check_child_exit();
	}
	fill(9000);
	CHECK_EQ(write(gate[1], "x", 1), 1);
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(mismatches(9000), 0);
	close(gate[0]);
	close(gate[1]);
}

static void grandchildren(void)
{
	fill(100);
	pid_t pid = fork();
	if (pid == 0) {
		pid_t inner = fork();
		if (inner == 0) {
			CHECK_EQ(mismatches(100), 0);
			fill(300);
			CHECK_EQ(mismatches(300), 0);
			check_child_exit();
		}
		fill(200);
		CHECK_EQ(check_wait(inner), 0);
		CHECK_EQ(mismatches(200), 0);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(mismatches(100), 0);
}

static void kernel_writes_break_the_sharing(void)
{
	int data[2];

	CHECK_OK(pipe(data));
	memset(memory, 'p', CHECK_PAGE * 2);
	pid_t pid = fork();
	if (pid == 0) {
		// read() writes through the kernel's own path: it must copy too.
		CHECK_EQ(write(data[1], "kernel", 6), 6);
		CHECK_EQ(read(data[0], memory + CHECK_PAGE - 3, 6), 6);
		CHECK(memcmp(memory + CHECK_PAGE - 3, "kernel", 6) == 0);
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK(memcmp(memory + CHECK_PAGE - 3, "pppppp", 6) == 0);
	close(data[0]);
	close(data[1]);
}

static void read_only_pages_stay_read_only(void)
{
	CHECK_OK(mprotect(memory, CHECK_PAGE, PROT_READ));
	pid_t pid = fork();
	if (pid == 0) {
		*(volatile char *)memory = 1;
		_exit(0);
	}
	int status = check_wait(pid);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGSEGV);
	CHECK_OK(mprotect(memory, CHECK_PAGE, PROT_READ | PROT_WRITE));
	*(volatile char *)memory = 1;
}

static void untouched_pages_stay_zero(void)
{
	unsigned char *fresh = mmap(NULL, 64 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int sum = 0;

	for (int i = 0; i < 64; i += 2)
		sum += fresh[i * CHECK_PAGE]; // the zero page, read before the fork
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 64; i++)
			fresh[i * CHECK_PAGE] = 0xaa;
		_exit(0);
	}
	CHECK_EQ(check_wait(pid), 0);
	for (int i = 0; i < 64; i++)
		sum += fresh[i * CHECK_PAGE];
	CHECK_EQ(sum, 0);
	munmap(fresh, 64 * CHECK_PAGE);
}

int main(void)
{
	memory = mmap(NULL, PAGES * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	child_writes();
	parent_writes();
	grandchildren();
	kernel_writes_break_the_sharing();
	read_only_pages_stay_read_only();
	untouched_pages_stay_zero();
	return check_done();
}
