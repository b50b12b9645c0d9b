// SPDX-License-Identifier: Apache-2.0
// Does MAP_FIXED replace exactly what it covers, and do calls on the gaps between mappings harm nothing?
#include "check.h"
#include <pthread.h>

#define PAGES 16

static char *fresh(int flags)
{
	char *p = mmap(NULL, PAGES * CHECK_PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	for (int i = 0; i < PAGES; i++)
		p[i * CHECK_PAGE] = 'a' + i;
	return p;
}

static void expect(const char *p, const char *wanted)
{
	char got[PAGES + 1] = "";

	for (int i = 0; i < PAGES; i++)
		got[i] = p[i * CHECK_PAGE] ? p[i * CHECK_PAGE] : '0';
	CHECK_STR(got, wanted);
}

static char *fix(char *p, int page, int pages, int flags, int fd, off_t offset)
{
	return mmap(p + page * CHECK_PAGE, pages * CHECK_PAGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, offset);
}

static int numbered_file(int fd)
{
	for (int i = 0; i < 10; i++) {
		char byte = '0' + i;
		CHECK_EQ(pwrite(fd, &byte, 1, i * CHECK_PAGE), 1);
	}
	CHECK_OK(ftruncate(fd, 10 * CHECK_PAGE));
	return fd;
}

// Every kind over every kind: at its start, in its middle, at its end.
static void replaces(int below, int fd)
{
	char *p = fresh(below);

	CHECK(fix(p, 0, 2, MAP_PRIVATE, fd, CHECK_PAGE) == p);
	expect(p, "12cdefghijklmnop");
	CHECK(fix(p, 5, 3, MAP_SHARED, fd, 3 * CHECK_PAGE) == p + 5 * CHECK_PAGE);
	expect(p, "12cde345ijklmnop");
	p[5 * CHECK_PAGE + 1] = 'w';
	char byte = 0;
	CHECK_EQ(pread(fd, &byte, 1, 3 * CHECK_PAGE + 1), 1);
	CHECK_EQ(byte, 'w');
	CHECK(fix(p, 14, 2, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == p + 14 * CHECK_PAGE);
	expect(p, "12cde345ijklmn00");
	CHECK(fix(p, 6, 4, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == p + 6 * CHECK_PAGE);
	expect(p, "12cde30000klmn00");
	CHECK_OK(munmap(p + 3 * CHECK_PAGE, 4 * CHECK_PAGE));
	CHECK(fix(p, 1, 8, MAP_PRIVATE, fd, 2 * CHECK_PAGE) == p + CHECK_PAGE); // over pieces and a hole
	expect(p, "1234567890klmn00");
	pid_t pid = fork();
	if (pid == 0) {
		CHECK(fix(p, 0, PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == p);
		expect(p, "0000000000000000");
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	expect(p, "1234567890klmn00");
	CHECK_OK(munmap(p, PAGES * CHECK_PAGE));
	CHECK_ERR(fix(p, 0, 1, MAP_PRIVATE, 999, 0), EBADF);
	CHECK_OK(pwrite(fd, "", 1, 3 * CHECK_PAGE + 1));
}

static void refusals(void)
{
	char *p = fresh(MAP_PRIVATE);

	CHECK_ERR(mmap(p + 1, CHECK_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
	CHECK_ERR(mmap(p, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
	CHECK_ERR(mmap(p, CHECK_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	CHECK_ERR(mmap(p - CHECK_PAGE * 4, 5 * CHECK_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		       -1, 0),
		  EEXIST);
	expect(p, "abcdefghijklmnop");
	void *high = (void *)0x7ffffffff000, *beyond = (void *)0x800000000000;
	CHECK_ERR(mmap(high, CHECK_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), ENOMEM);
	CHECK_ERR(mmap(beyond, CHECK_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), ENOMEM);
	CHECK_ERR(munmap(beyond, CHECK_PAGE), EINVAL);
	CHECK_ERR(munmap(p, 0), EINVAL);
	CHECK_ERR(munmap(p, -CHECK_PAGE), EINVAL);
	CHECK_ERR(mprotect(beyond, CHECK_PAGE, PROT_READ), ENOMEM);
	munmap(p, PAGES * CHECK_PAGE);
}

struct gap {
	uintptr_t start, end;
};

// What /proc/self/maps shows nothing in, up to the top of what programs may use.
static int find_gaps(struct gap *gaps, int max)
{
	uintptr_t last = 0x10000, start, end;
	int count = 0;

	for (char *line = strtok(check_read_file("/proc/self/maps"), "\n"); line; line = strtok(NULL, "\n")) {
		if (sscanf(line, "%lx-%lx", &start, &end) != 2 || start >= 0x7ffffffff000)
			continue;
		if (start > last && count < max)
			gaps[count++] = (struct gap){ last, start };
		last = end > last ? end : last;
	}
	if (last < 0x7ffffffff000 && count < max)
		gaps[count++] = (struct gap){ last, 0x7ffffffff000 };
	return count;
}

// Takes, uses and gives back memory at some place in a gap. In a cell the place may be the kernel's own: then refused.
static void use_place(uintptr_t place)
{
	char *p = mmap((void *)place, 4 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		       -1, 0);

	if (p == MAP_FAILED) {
		CHECK(getenv("CLOISTER_CELL") && (errno == ENOMEM || errno == EPERM));
		return;
	}
	CHECK_EQ((uintptr_t)p, place);
	CHECK_EQ(p[CHECK_PAGE], 0);
	memset(p, 0x5a, 4 * CHECK_PAGE);
	CHECK_OK(munmap(p, 4 * CHECK_PAGE));
}

static void gaps_are_harmless(void)
{
	struct gap gaps[60];
	int count = find_gaps(gaps, ARRAY_SIZE(gaps));

	CHECK(count > 1);
	for (int i = 0; i < count; i++) {
		uintptr_t start = gaps[i].start, size = gaps[i].end - start;
		// Nothing of the program's is there. (The stack may grow into the gap below it: leave room.)
		if (size <= 512 * CHECK_PAGE)
			continue;
		size -= 256 * CHECK_PAGE;
		// A cell's programs may have less address space than a host's.
		while (getenv("CLOISTER_CELL") && munmap((void *)start, size) < 0 && errno == EINVAL &&
		       size > 64 * CHECK_PAGE)
			size = size / 2 & ~(CHECK_PAGE - 1);
		CHECK_OK(munmap((void *)start, size));
		CHECK_ERR(mprotect((void *)start, size, PROT_READ | PROT_WRITE), ENOMEM);
		CHECK_ERR(mprotect((void *)start, size, PROT_NONE), ENOMEM);
		CHECK_ERR(madvise((void *)start, size, MADV_DONTNEED), ENOMEM);
		CHECK_ERR(msync((void *)start, size & ~(CHECK_PAGE - 1), MS_ASYNC), ENOMEM);
		CHECK_ERR(mremap((void *)start, CHECK_PAGE, 2 * CHECK_PAGE, MREMAP_MAYMOVE), EFAULT);
		for (uintptr_t step = size / 64 & ~(CHECK_PAGE - 1), at = start;
		     step >= 4 * CHECK_PAGE && at < start + size - 4 * CHECK_PAGE; at += step)
			use_place(at);
	}
}

// From the top down in ever smaller distances: whatever is up there survives.
static void top_of_the_address_space(void)
{
	struct gap gaps[60];
	int count = find_gaps(gaps, ARRAY_SIZE(gaps));

	for (int i = 0; i < count; i++)
		for (uintptr_t below = CHECK_PAGE * 512; below < gaps[i].end - gaps[i].start; below *= 2)
			use_place((gaps[i].end - below) & ~(CHECK_PAGE - 1));
	CHECK_EQ(getpid(), syscall(SYS_getpid));
	CHECK_CHILD(gaps_are_harmless);
}

static char *contested;
static atomic_bool done;

static void *reads(void *argument CHECK_UNUSED)
{
	while (!atomic_load(&done)) {
		char c = *(volatile char *)contested;
		CHECK(c == 0 || c == 'x' || c == '0');
	}
	return NULL;
}

// A reader never sees the place empty while it is replaced.
static void replaced_at_once(int fd)
{
	pthread_t thread;

	contested = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK_EQ(pthread_create(&thread, NULL, reads, NULL), 0);
	for (int i = 0; i < 300; i++) {
		fix(contested, 0, 1, i % 2 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_PRIVATE, i % 2 ? -1 : fd, 0);
		if (i % 2)
			contested[0] = 'x';
	}
	atomic_store(&done, true);
	pthread_join(thread, NULL);
	munmap(contested, CHECK_PAGE);
}

int main(void)
{
	check_tmpdir();
	int disk = numbered_file(CHECK_OK(open("numbers", O_RDWR | O_CREAT, 0600)));
	int memory = numbered_file(CHECK_OK(memfd_create("numbers", 0)));

	replaces(MAP_PRIVATE, disk);
	replaces(MAP_SHARED, disk);
	replaces(MAP_PRIVATE, memory);
	replaces(MAP_SHARED, memory);
	refusals();
	CHECK_CHILD(gaps_are_harmless);
	CHECK_CHILD(top_of_the_address_space);
	replaced_at_once(disk);
	return check_done();
}
