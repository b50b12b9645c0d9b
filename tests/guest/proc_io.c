// SPDX-License-Identifier: Apache-2.0
// Does /proc/PID/io count what a process, its threads and its children read and write?
#include "check.h"
#include <sys/uio.h>

struct counts {
	long long rchar, wchar, syscr, syscw;
};

static char data[1000];

static struct counts counts_of(const char *file)
{
	struct counts c = { 0 };
	long long read_bytes, write_bytes, cancelled;

	CHECK_EQ(sscanf(check_read_file(file),
			"rchar: %lld\nwchar: %lld\nsyscr: %lld\nsyscw: %lld\nread_bytes: %lld\nwrite_bytes: %lld\n"
			"cancelled_write_bytes: %lld\n",
			&c.rchar, &c.wchar, &c.syscr, &c.syscw, &read_bytes, &write_bytes, &cancelled),
		 7);
	return c;
}

static struct counts own(void) { return counts_of("/proc/self/io"); }

// What `work` added, without what looking added.
static struct counts added(void (*work)(void))
{
	struct counts zero = own(), before = own(), after;

	work();
	after = own();
	return (struct counts){ after.rchar - before.rchar - (before.rchar - zero.rchar), after.wchar - before.wchar,
				after.syscr - before.syscr - (before.syscr - zero.syscr), after.syscw - before.syscw };
}

static void write_and_read(void)
{
	struct iovec v[2] = { { data, 100 }, { data, 200 } };
	int fd = CHECK_OK(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600));

	CHECK_EQ(write(fd, data, 1000), 1000);
	CHECK_EQ(pwrite(fd, data, 500, 2000), 500);
	CHECK_EQ(writev(fd, v, 2), 300);
	CHECK_EQ(pread(fd, data, 700, 0), 700);
	CHECK_EQ(read(fd, data, 10), 10);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 2500);
	CHECK_EQ(read(fd, data, 10), 0);
	CHECK_ERR(read(-1, data, 10), EBADF);
	close(fd);
}

static void *thread(void *unused)
{
	write_and_read();
	return unused;
}

static void in_thread(void)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, thread, NULL), 0);
	pthread_join(t, NULL);
}

static void in_child(void) { CHECK_CHILD(write_and_read); }

static void check_added(void (*work)(void))
{
	struct counts c = added(work);

	// The text of the file itself may have grown by a digit or two.
	CHECK(c.rchar >= 710 && c.rchar < 740);
	CHECK_EQ(c.wchar, 1800);
	CHECK_EQ(c.syscr, 3);
	CHECK_EQ(c.syscw, 3);
}

static void of_a_thread(void)
{
	struct counts before, after;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/io", (int)gettid());
	before = counts_of(path);
	in_thread(); // is not this one's
	after = counts_of(path);
	CHECK_EQ(after.wchar, before.wchar);
}

int main(void)
{
	check_tmpdir();
	write_and_read(); // the C library has what it loads
	in_thread();
	check_added(write_and_read);
	check_added(in_thread);
	check_added(in_child);
	of_a_thread();
	return check_done();
}
