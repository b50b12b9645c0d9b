// SPDX-License-Identifier: Apache-2.0
// A file that is read in small pieces again and again: does each piece show what is in the file now, whoever changed it?
#include "check.h"
#include <sys/resource.h>
#include <sys/uio.h>

#define SIZE  (64 * CHECK_PAGE)
#define READS 200
#define FAR   (16ul << 20)

static char *self;

static unsigned char byte_at(uint64_t position) { return 1 + (position * UINT64_C(0x9e3779b97f4a7c15) >> 40) % 255; }

static void fill(int fd, uint64_t from, uint64_t to)
{
	static unsigned char text[1 << 16];

	while (from < to) {
		size_t n = to - from < sizeof(text) ? to - from : sizeof(text);
		for (size_t i = 0; i < n; i++)
			text[i] = byte_at(from + i);
		CHECK_EQ(pwrite(fd, text, n, from), n);
		from += n;
	}
}

static bool is_right(const unsigned char *text, uint64_t position, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] != byte_at(position + i))
			return false;
	return true;
}

// What is asked for, however it is asked for, is what is there.
static void check_part(int fd, uint64_t position, size_t asked, size_t expected)
{
	static _Thread_local unsigned char text[1 << 15];

	memset(text, 0, asked + 1);
	if (!CHECK_EQ(pread(fd, text, asked, position), expected))
		return;
	CHECK(is_right(text, position, expected));
	for (size_t i = expected; i <= asked; i++)
		if (!CHECK_EQ(text[i], 0))
			return;
}

// So often that whoever remembers has something to remember.
static void read_often(int fd, uint64_t size)
{
	uint64_t at = 0;

	for (int i = 0; i < READS; i++, at = (at * 7 + 13 * CHECK_PAGE + 5) % (size - CHECK_PAGE))
		check_part(fd, i % 2 ? at : at & ~(CHECK_PAGE - 1), i % 3 ? CHECK_PAGE : 100, i % 3 ? CHECK_PAGE : 100);
}

static int make(const char *name, int flags)
{
	int fd = CHECK_OK(open(name, flags | O_CREAT | O_TRUNC, 0755));

	fill(fd, 0, SIZE);
	read_often(fd, SIZE);
	return fd;
}

static void the_end(void)
{
	int fd = make("end", O_RDWR);

	check_part(fd, SIZE - 10, 100, 10);
	check_part(fd, SIZE, 100, 0);
	check_part(fd, SIZE + 100000, 100, 0);
	CHECK_ERR(pread(fd, (char[1]){ 0 }, 1, -1), EINVAL);
	static const uint64_t cuts[] = { SIZE - 1,
					 SIZE - 3 * CHECK_PAGE,
					 20 * CHECK_PAGE + 10,
					 20 * CHECK_PAGE,
					 20 * CHECK_PAGE - 1,
					 CHECK_PAGE + 1,
					 1,
					 0 };
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		CHECK_OK(ftruncate(fd, cuts[i]));
		for (uint64_t at = 0; at < SIZE; at += CHECK_PAGE) {
			uint64_t left = at < cuts[i] ? cuts[i] - at : 0;
			check_part(fd, at, CHECK_PAGE, left < CHECK_PAGE ? left : CHECK_PAGE);
		}
		fill(fd, cuts[i], SIZE);
		read_often(fd, SIZE);
	}
	fill(fd, SIZE, SIZE + 3 * CHECK_PAGE + 7);
	check_part(fd, SIZE - CHECK_PAGE, 5 * CHECK_PAGE, 4 * CHECK_PAGE + 7);
	close(fd);
}

static void position(void)
{
	int fd = make("position", O_RDWR), other;
	unsigned char text[3000];

	close(fd);
	other = CHECK_OK(open("position", O_RDWR));
	fill(other, 0, SIZE);
	fd = CHECK_OK(open("position", O_RDONLY));
	uint64_t at = 0;
	for (; at < SIZE; at += sizeof(text)) {
		uint64_t left = SIZE - at < sizeof(text) ? SIZE - at : sizeof(text);
		CHECK_EQ(read(fd, text, sizeof(text)), left);
		CHECK(is_right(text, at, left));
		CHECK_EQ(lseek(fd, 0, SEEK_CUR), at + left);
	}
	CHECK_EQ(read(fd, text, sizeof(text)), 0);
	fill(other, SIZE, SIZE + 10);
	CHECK_EQ(read(fd, text, sizeof(text)), 10);
	struct iovec v[2] = { { text, 100 }, { text + 200, 100 } };
	CHECK_EQ(preadv(fd, v, 2, 50), 200);
	CHECK(is_right(text, 50, 100) && is_right(text + 200, 150, 100));
	close(other);
	close(fd);
}

static void changes(void)
{
	int fd = make("changes", O_RDWR), other = CHECK_OK(open("changes", O_RDWR));
	char *mapped = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), got[4] = "";

	CHECK(mapped != MAP_FAILED);
	for (int i = 0; i < 300; i++) {
		uint64_t at = (uint64_t)i * 777;
		char text[4] = { (char)i, 'a', 'b', 'c' };
		if (i % 2)
			memcpy(mapped + at, text, 4);
		else
			CHECK_EQ(pwrite(other, text, 4, at), 4);
		CHECK_EQ(pread(fd, got, 4, at), 4);
		CHECK(!memcmp(got, text, 4));
	}
	munmap(mapped, SIZE);
	int direct = open("changes", O_RDWR | O_DIRECT);
	char *page = aligned_alloc(CHECK_PAGE, CHECK_PAGE);
	memset(page, 'd', CHECK_PAGE);
	if (direct >= 0 && pwrite(direct, page, CHECK_PAGE, 5 * CHECK_PAGE) == (ssize_t)CHECK_PAGE) {
		CHECK_EQ(pread(fd, got, 4, 5 * CHECK_PAGE + 9), 4);
		CHECK(!memcmp(got, "dddd", 4));
	}
	free(page);
	close(direct);
	close(other);
	close(fd);
}

// ---- between processes ----

static void other_processes(void)
{
	int fd = make("processes", O_RDWR), to[2], from[2];
	char c = 0;

	CHECK_OK(pipe(to));
	CHECK_OK(pipe(from));
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; read(to[0], &c, 1) == 1 && c != 'q'; i++) {
			read_often(fd, 30 * CHECK_PAGE);
			if (c == 'c')
				CHECK_OK(ftruncate(fd, 40 * CHECK_PAGE + i));
			else
				fill(fd, 40 * CHECK_PAGE, SIZE);
			CHECK_EQ(write(from[1], &c, 1), 1);
		}
		check_child_exit();
	}
	for (int i = 0; i < 20; i++) {
		CHECK_EQ(write(to[1], i % 2 ? "g" : "c", 1), 1);
		CHECK_EQ(read(from[0], &c, 1), 1);
		check_part(fd, 40 * CHECK_PAGE, CHECK_PAGE, i % 2 ? CHECK_PAGE : (size_t)i);
		check_part(fd, 39 * CHECK_PAGE, 2 * CHECK_PAGE, CHECK_PAGE + (i % 2 ? CHECK_PAGE : (size_t)i));
		check_part(fd, 50 * CHECK_PAGE, CHECK_PAGE, i % 2 ? CHECK_PAGE : 0);
		read_often(fd, 40 * CHECK_PAGE);
	}
	CHECK_EQ(write(to[1], "q", 1), 1);
	CHECK_EQ(check_wait(pid), 0);
	close(fd);
}

static void names_and_descriptors(void)
{
	int fd = make("named", O_RDWR), copy = CHECK_OK(dup(fd));

	close(fd);
	read_often(copy, SIZE);
	CHECK_OK(rename("named", "other"));
	read_often(copy, SIZE);
	int fresh = make("named", O_RDWR);
	CHECK_EQ(pwrite(fresh, "fresh", 5, 0), 5);
	check_part(copy, 0, 100, 100);
	CHECK_OK(unlink("other"));
	read_often(copy, SIZE);
	close(copy);
	// The number and the memory of what was closed serve again.
	for (int i = 0; i < 50; i++) {
		char got[3], text[3] = { (char)i, 'x', (char)i };
		fd = CHECK_OK(open(i % 2 ? "odd" : "even", O_RDWR | O_CREAT | O_TRUNC, 0644));
		fill(fd, 0, 3 * CHECK_PAGE);
		CHECK_EQ(pwrite(fd, text, 3, 10), 3);
		for (int k = 0; k < 60; k++)
			CHECK(pread(fd, got, 3, 10) == 3 && !memcmp(got, text, 3));
		close(fd);
	}
	close(fresh);
}

static void many_files(void)
{
	int fds[100];
	char name[20];

	for (int i = 0; i < 100; i++) {
		sprintf(name, "many%d", i);
		fds[i] = CHECK_OK(open(name, O_RDWR | O_CREAT, 0644));
		fill(fds[i], 0, 2 * CHECK_PAGE);
		CHECK_EQ(pwrite(fds[i], &(char){ (char)i }, 1, 7), 1);
	}
	for (int round = 0; round < READS; round++)
		for (int i = 0; i < 100; i++) {
			char got = -1;
			if (!CHECK(pread(fds[i], &got, 1, 7) == 1 && got == (char)i))
				return;
		}
	for (int i = 0; i < 100; i++)
		close(fds[i]);
}

static void far_away(void)
{
	int fd = CHECK_OK(open("far", O_RDWR | O_CREAT, 0644));

	for (uint64_t n = 0; n < 130; n++)
		fill(fd, n * FAR - (n ? 3000 : 0), n * FAR + 3000);
	for (int round = 0; round < READS; round++)
		for (uint64_t n = 1; n < 130; n += 1 + round % 3) {
			check_part(fd, n * FAR - 10 - (uint64_t)round, 20, 20);
			check_part(fd, n * FAR, 1000, 1000);
			check_part(fd, n * FAR - 300, 300, 300);
		}
	char hole[10] = "xxxxxxxxxx";
	CHECK_EQ(pread(fd, hole, 10, FAR / 2), 10);
	CHECK(!memcmp(hole, (char[10]){ 0 }, 10));
	close(fd);
}

// ---- at once ----

static atomic_bool over;
static int shared_fd;

static void *reader(void *unused)
{
	unsigned char text[CHECK_PAGE];
	uint64_t at = 0;

	while (!over) {
		at = (at * 5 + 3 * CHECK_PAGE + 11) % SIZE;
		ssize_t n = pread(shared_fd, text, sizeof(text), at);
		if (!CHECK(n >= 0 && n <= (ssize_t)sizeof(text)))
			return unused;
		// Cut and written again meanwhile: what is not there is zeros, and nothing else.
		for (ssize_t i = 0; i < n; i++)
			if (text[i] && !CHECK_EQ(text[i], byte_at(at + i)))
				return unused;
	}
	return unused;
}

static void *opener(void *unused)
{
	char name[20], c;

	for (int i = 0; !over; i++) {
		sprintf(name, "many%d", i % 100);
		int fd = open(name, O_RDONLY);
		for (int k = 0; k < 50; k++)
			if (!CHECK(pread(fd, &c, 1, 7) == 1 && c == (char)(i % 100)))
				break;
		close(fd);
	}
	return unused;
}

static void at_once(void)
{
	pthread_t threads[4];

	shared_fd = make("at-once", O_RDWR);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, i == 3 ? opener : reader, NULL), 0);
	for (uint64_t i = 0; i < 150; i++) {
		CHECK_OK(ftruncate(shared_fd, (i * 12345) % SIZE));
		fill(shared_fd, 0, SIZE);
		if (i % 30 == 0) {
			pid_t pid = fork();
			if (pid == 0) {
				read_often(shared_fd, SIZE);
				check_child_exit();
			}
			CHECK_EQ(check_wait(pid), 0);
		}
	}
	over = true;
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	close(shared_fd);
}

// ---- the program's memory ----

static void bad_buffers(void)
{
	int fd = make("buffers", O_RDWR);
	char *area = mmap(NULL, 3 * CHECK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = check_shared(4 * CHECK_PAGE);

	CHECK_OK(mprotect(area + CHECK_PAGE, CHECK_PAGE, PROT_NONE));
	CHECK_ERR(pread(fd, area + CHECK_PAGE, 100, 0), EFAULT);
	CHECK_ERR(pread(fd, NULL, 100, 0), EFAULT);
	CHECK_ERR(pread(fd, (void *)UINT64_C(0x7fffffff0000), CHECK_PAGE, 0), EFAULT);
	CHECK_EQ(pread(fd, area, 2 * CHECK_PAGE, CHECK_PAGE), CHECK_PAGE);
	CHECK(is_right((void *)area, CHECK_PAGE, CHECK_PAGE));
	CHECK_EQ(pread(fd, shared + 100, 2 * CHECK_PAGE, 5), 2 * CHECK_PAGE); // not touched before
	CHECK(is_right((void *)(shared + 100), 5, 2 * CHECK_PAGE));
	read_often(fd, SIZE);
	close(fd);
}

static unsigned mappings(void)
{
	unsigned lines = 0;

	for (const char *at = check_read_file("/proc/self/maps"); (at = strchr(at, '\n')); at++)
		lines++;
	return lines;
}

static void nothing_of_the_program_is_used(void)
{
	struct rlimit all, none;
	int fd = CHECK_OK(open("limits", O_RDWR | O_CREAT, 0644));
	unsigned before = mappings();

	fill(fd, 0, SIZE);
	CHECK_OK(getrlimit(RLIMIT_AS, &all));
	none = (struct rlimit){ 0, all.rlim_max };
	CHECK_OK(setrlimit(RLIMIT_AS, &none));
	read_often(fd, SIZE);
	CHECK_OK(setrlimit(RLIMIT_AS, &all));
	CHECK_EQ(mappings(), before);
	close(fd);
}

// A program's file, read while it is open for writing, can be executed once it is closed.
static void executable_when_closed(void)
{
	char text[1 << 14];
	ssize_t n;
	int from = CHECK_OK(open(self, O_RDONLY)), to = CHECK_OK(open("program", O_RDWR | O_CREAT, 0755));

	while ((n = read(from, text, sizeof(text))) > 0)
		CHECK_EQ(write(to, text, n), n);
	for (int i = 0; i < READS; i++)
		CHECK_EQ(pread(to, text, 100, i * 64), 100);
	close(to);
	close(from);
	pid_t pid = fork();
	if (pid == 0) {
		execl("program", "program", "nothing", NULL);
		_exit(99);
	}
	CHECK_EQ(check_wait(pid), 0);
}

int main(int argc, char **argv)
{
	self = realpath(argv[0], NULL);
	if (argc > 1)
		return 0;
	check_tmpdir();
	the_end();
	position();
	changes();
	other_processes();
	names_and_descriptors();
	many_files();
	far_away();
	at_once();
	bad_buffers();
	nothing_of_the_program_is_used();
	executable_when_closed();
	return check_done();
}
