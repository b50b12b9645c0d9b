// SPDX-License-Identifier: Apache-2.0
// Are file mappings coherent with read, write, truncate and other processes, private ones apart?
#include "check.h"
#include <setjmp.h>
#include <sys/sysmacros.h>

static sigjmp_buf escape;

static void caught(int signal)
{
	(void)signal;
	siglongjmp(escape, 1);
}

static void shared(void)
{
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600));

	CHECK_OK(ftruncate(fd, 4 * CHECK_PAGE));
	char *a = mmap(NULL, 4 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *b = mmap(NULL, 2 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 2 * CHECK_PAGE);
	CHECK(a != MAP_FAILED && b != MAP_FAILED);
	a[2 * CHECK_PAGE + 7] = 'm';
	CHECK_EQ(b[7], 'm');
	char byte = 0;
	CHECK_EQ(pread(fd, &byte, 1, 2 * CHECK_PAGE + 7), 1);
	CHECK_EQ(byte, 'm');
	CHECK_EQ(pwrite(fd, "w", 1, 3 * CHECK_PAGE), 1);
	CHECK_EQ(a[3 * CHECK_PAGE], 'w');
	CHECK_EQ(b[CHECK_PAGE], 'w');
	pid_t pid = fork();
	if (pid == 0) {
		a[0] = 'c';
		int again = open("file", O_RDWR);
		char *own = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0);
		CHECK_EQ(own[0], 'c');
		own[1] = 'd';
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK(a[0] == 'c' && a[1] == 'd');
	close(fd); // the mapping holds the file
	a[5] = 'x';
	fd = open("file", O_RDONLY);
	CHECK_EQ(pread(fd, &byte, 1, 5), 1);
	CHECK_EQ(byte, 'x');
	CHECK_OK(unlink("file"));
	a[6] = 'y'; // even when its name is gone
	CHECK_EQ(pread(fd, &byte, 1, 6), 1);
	CHECK_EQ(byte, 'y');
	munmap(a, 4 * CHECK_PAGE);
	munmap(b, 2 * CHECK_PAGE);
	close(fd);
}

static void private(void)
{
	check_write_file("file", "abcdef");
	int fd = open("file", O_RDWR);
	char *a = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *b = mmap(NULL, CHECK_PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

	CHECK(memcmp(a, "abcdef", 6) == 0);
	a[0] = 'X';
	CHECK_EQ(b[0], 'a');
	char byte;
	CHECK_EQ(pread(fd, &byte, 1, 0), 1);
	CHECK_EQ(byte, 'a');
	CHECK_EQ(pwrite(fd, "Z", 1, 1), 1);
	CHECK_EQ(b[1], 'Z'); // not yet copied: sees the file
	CHECK_EQ(a[1], 'b'); // copied: does not
	pid_t pid = fork();
	if (pid == 0) {
		CHECK_EQ(a[0], 'X');
		a[0] = 'Y';
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
	CHECK_EQ(a[0], 'X');
	CHECK_EQ(a[6], 0); // beyond the end, within the page
	munmap(a, CHECK_PAGE);
	munmap(b, CHECK_PAGE);
	close(fd);
}

static void truncation(void)
{
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600));

	CHECK_OK(ftruncate(fd, 3 * CHECK_PAGE));
	char *a = mmap(NULL, 3 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memset(a, 1, 3 * CHECK_PAGE);
	CHECK_OK(ftruncate(fd, CHECK_PAGE + 10));
	CHECK_EQ(a[CHECK_PAGE + 9], 1);
	CHECK_EQ(a[CHECK_PAGE + 10], 0); // the rest of the page is wiped
	signal(SIGBUS, caught);
	bool hit = true;
	if (sigsetjmp(escape, 1) == 0) {
		(void)*(volatile char *)(a + 2 * CHECK_PAGE);
		hit = false;
	}
	CHECK(hit);
	int fds[2];
	CHECK_OK(pipe(fds));
	CHECK_ERR(write(fds[1], a + 2 * CHECK_PAGE, 1), EFAULT); // the kernel gets an error, not a signal
	CHECK_OK(ftruncate(fd, 3 * CHECK_PAGE));
	CHECK_EQ(a[2 * CHECK_PAGE], 0); // grown again: zeroes
	CHECK_EQ(a[CHECK_PAGE + 10], 0);
	munmap(a, 3 * CHECK_PAGE);
	close(fd);
}

static void big_copy(void)
{
	size_t size = 3 << 20;
	int fd = CHECK_OK(open("big", O_RDWR | O_CREAT | O_TRUNC, 0600));
	int *data = malloc(size);

	for (size_t i = 0; i < size / sizeof(int); i++)
		data[i] = i * 2654435761u;
	CHECK_EQ(write(fd, data, size), (ssize_t)size);
	int *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(memcmp(map, data, size) == 0);
	CHECK_OK(lseek(fd, 0, SEEK_SET));
	// write() from a mapping of the same file, and read() into one
	int out = CHECK_OK(open("copy", O_RDWR | O_CREAT | O_TRUNC, 0600));
	CHECK_EQ(write(out, map, size), (ssize_t)size);
	int *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, out, 0);
	CHECK(memcmp(copy, data, size) == 0);
	memset(copy, 0, size);
	CHECK_EQ(pread(fd, copy, size, 0), (ssize_t)size);
	CHECK(memcmp(copy, data, size) == 0);
	CHECK_OK(msync(copy, size, MS_SYNC));
	CHECK_OK(fsync(out));
	munmap(map, size);
	munmap(copy, size);
	close(fd);
	close(out);
	free(data);
}

static void writes_from_a_page_into_itself(void)
{
	int fd = CHECK_OK(open("self", O_RDWR | O_CREAT | O_TRUNC, 0600));

	CHECK_OK(ftruncate(fd, CHECK_PAGE));
	char *a = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memcpy(a, "hello", 5);
	madvise(a, CHECK_PAGE, MADV_DONTNEED);
	CHECK_EQ(pwrite(fd, a, 5, 100), 5); // must not deadlock on the page
	CHECK(memcmp(a + 100, "hello", 5) == 0);
	madvise(a, CHECK_PAGE, MADV_DONTNEED);
	CHECK_EQ(pread(fd, a + 200, 5, 100), 5);
	CHECK(memcmp(a + 200, "hello", 5) == 0);
	close(fd);
}

static void shared_anonymous(void)
{
	int *m = check_shared(64 * CHECK_PAGE);
	pid_t pids[4];

	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			for (int page = i; page < 64; page += 4)
				m[page * 1024] = page + 1;
			_exit(0);
		}
	}
	for (int i = 0; i < 4; i++)
		CHECK_EQ(check_wait(pids[i]), 0);
	for (int page = 0; page < 64; page++)
		CHECK_EQ(m[page * 1024], page + 1);
	int *zero = mmap(NULL, CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, open("/dev/zero", O_RDWR), 0);
	if (CHECK(zero != MAP_FAILED)) {
		pid_t pid = fork();
		if (pid == 0) {
			*zero = 5;
			_exit(0);
		}
		check_wait(pid);
		CHECK_EQ(*zero, 5);
	}
}

static bool has_line(const char *path, const char *text)
{
	char line[512];
	FILE *f = fopen(path, "r");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, text) != NULL;
	if (f)
		fclose(f);
	return found;
}

// lsof(8) and fuser(1) look for what stat(2) tells.
static void known_by_device_and_number(void)
{
	struct stat st;
	char text[128], path[64];
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600));

	CHECK_OK(ftruncate(fd, CHECK_PAGE));
	CHECK_OK(fstat(fd, &st));
	void *a = mmap(NULL, CHECK_PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(a != MAP_FAILED);
	snprintf(text, sizeof(text), " %02x:%02x %lu ", major(st.st_dev), minor(st.st_dev), (unsigned long)st.st_ino);
	CHECK(has_line("/proc/self/maps", text));
	snprintf(text, sizeof(text), "ino:\t%lu\n", (unsigned long)st.st_ino);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	CHECK(has_line(path, text));
	munmap(a, CHECK_PAGE);
	close(fd);
	CHECK_OK(unlink("file"));
}

int main(void)
{
	check_tmpdir();
	shared();
	private();
	truncation();
	big_copy();
	writes_from_a_page_into_itself();
	shared_anonymous();
	known_by_device_and_number();
	return check_done();
}
