// SPDX-License-Identifier: Apache-2.0
// io_uring: operations on names, and calls on files that are operations of their own.
#include "uring.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/xattr.h>
#include <linux/openat2.h>

static struct ring r;
static int dir;

static void are_names_made_and_removed(void)
{
	struct statx x;
	struct stat s;
	char target[16] = "";
	int fd;

	ring_add(&r, IORING_OP_MKDIRAT, dir, "d", 0755, 0, 1);
	CHECK_EQ(RING_RUN(&r, 1), 0);
	ring_add(&r, IORING_OP_MKDIRAT, dir, "d", 0755, 0, 2);
	CHECK_EQ(RING_RUN(&r, 2), -EEXIST);
	ring_add(&r, IORING_OP_OPENAT, dir, "d/file", 0640, 0, 3)->open_flags = O_CREAT | O_RDWR | O_CLOEXEC;
	fd = RING_RUN(&r, 3);
	CHECK(fd >= 0);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_EQ(write(fd, "data", 4), 4);
	ring_add(&r, IORING_OP_STATX, dir, "d/file", STATX_ALL & ~0x80000000u, (uintptr_t)&x, 4);
	CHECK_EQ(RING_RUN(&r, 4), 0);
	CHECK_EQ(x.stx_size, 4);
	ring_add(&r, IORING_OP_LINKAT, dir, "d/file", (unsigned)dir, (uintptr_t) "hard", 5);
	CHECK_EQ(RING_RUN(&r, 5), 0);
	ring_add(&r, IORING_OP_SYMLINKAT, dir, "d/file", 0, (uintptr_t) "soft", 6);
	CHECK_EQ(RING_RUN(&r, 6), 0);
	CHECK_EQ(readlinkat(dir, "soft", target, 15), 6);
	CHECK_STR(target, "d/file");
	ring_add(&r, IORING_OP_RENAMEAT, dir, "hard", (unsigned)dir, (uintptr_t) "d/other", 7);
	CHECK_EQ(RING_RUN(&r, 7), 0);
	CHECK_EQ(fstat(fd, &s), 0);
	CHECK_EQ(s.st_nlink, 2);
	ring_add(&r, IORING_OP_CLOSE, fd, NULL, 0, 0, 8);
	CHECK_EQ(RING_RUN(&r, 8), 0);
	CHECK_ERR(fcntl(fd, F_GETFD), EBADF);
	ring_add(&r, IORING_OP_UNLINKAT, dir, "d", 0, 0, 9);
	CHECK_EQ(RING_RUN(&r, 9), -EISDIR);
	ring_add(&r, IORING_OP_UNLINKAT, dir, "", 0, 0, 10);
	CHECK_EQ(RING_RUN(&r, 10), -ENOENT);
	ring_add(&r, IORING_OP_STATX, dir, (void *)8, 0, (uintptr_t)&x, 11);
	CHECK_EQ(RING_RUN(&r, 11), -EFAULT);
	for (int i = 0; i < 4; i++) {
		static const char *const names[] = { "soft", "d/file", "d/other", "d" };
		struct io_uring_sqe *sqe = ring_add(&r, IORING_OP_UNLINKAT, dir, names[i], 0, 0, 12);

		sqe->unlink_flags = i == 3 ? AT_REMOVEDIR : 0;
		CHECK_EQ(RING_RUN(&r, 12), 0);
	}
}

// A path is read when the entry is taken, not when the operation runs.
static void are_paths_copied(void)
{
	char name[] = "copied";
	struct __kernel_timespec t = { .tv_nsec = 5000000 };
	struct io_uring_sqe *s = ring_add(&r, IORING_OP_TIMEOUT, -1, &t, 1, 0, 1);

	s->flags = IOSQE_IO_HARDLINK;
	ring_add(&r, IORING_OP_MKDIRAT, dir, name, 0700, 0, 2);
	CHECK_EQ(ring_submit(&r, 0), 2);
	memset(name, 'x', 6);
	RING_EXPECT(&r, 1, -ETIME);
	RING_EXPECT(&r, 2, 0);
	CHECK_OK(unlinkat(dir, "copied", AT_REMOVEDIR));
}

static void does_openat2_check(void)
{
	struct open_how how = { .flags = O_RDWR | O_CREAT, .mode = 0600, .resolve = RESOLVE_BENEATH };
	int fd;

	ring_add(&r, IORING_OP_OPENAT2, dir, "how", sizeof(how), (uintptr_t)&how, 1);
	fd = RING_RUN(&r, 1);
	CHECK(fd >= 0);
	close(fd);
	how.flags = O_RDONLY;
	how.mode = 0;
	ring_add(&r, IORING_OP_OPENAT2, dir, "../how", sizeof(how), (uintptr_t)&how, 2);
	CHECK_EQ(RING_RUN(&r, 2), -EXDEV);
	how.mode = 1;
	ring_add(&r, IORING_OP_OPENAT2, dir, "how", sizeof(how), (uintptr_t)&how, 3);
	CHECK_EQ(RING_RUN(&r, 3), -EINVAL);
	ring_add(&r, IORING_OP_OPENAT2, dir, "how", 8, (uintptr_t)&how, 4);
	CHECK_EQ(RING_RUN(&r, 4), -EINVAL);
	CHECK_OK(unlinkat(dir, "how", 0));
}

static void can_files_be_opened_into_the_table(void)
{
	struct io_uring_rsrc_register reg = { .nr = 2, .flags = IORING_RSRC_REGISTER_SPARSE };
	struct io_uring_sqe *s;
	char in[8] = "";

	CHECK_EQ(ring_register(&r, IORING_REGISTER_FILES2, &reg, sizeof(reg)), 0);
	// Opened, written, read back and closed, in one chain.
	s = ring_add(&r, IORING_OP_OPENAT, dir, "slot", 0600, 0, 1);
	s->open_flags = O_CREAT | O_RDWR;
	s->file_index = 1;
	s->flags = IOSQE_IO_LINK;
	ring_add(&r, IORING_OP_WRITE, 0, "chain", 5, 0, 2)->flags = IOSQE_IO_LINK | IOSQE_FIXED_FILE;
	ring_add(&r, IORING_OP_READ, 0, in, 5, 0, 3)->flags = IOSQE_IO_LINK | IOSQE_FIXED_FILE;
	ring_add(&r, IORING_OP_CLOSE, 0, NULL, 0, 0, 4)->file_index = 1;
	CHECK_EQ(ring_submit(&r, 4), 4);
	RING_EXPECT(&r, 1, 0);
	RING_EXPECT(&r, 2, 5);
	RING_EXPECT(&r, 3, 5);
	RING_EXPECT(&r, 4, 0);
	CHECK_STR(in, "chain");
	CHECK_EQ(ring_register(&r, IORING_UNREGISTER_FILES, NULL, 0), 0);
	CHECK_OK(unlinkat(dir, "slot", 0));
}

// A FIFO without a writer: the opener waits, nobody else does.
static void does_opening_a_fifo_wait(void)
{
	int fd, writer;

	CHECK_OK(mkfifoat(dir, "fifo", 0600));
	ring_add(&r, IORING_OP_OPENAT, dir, "fifo", 0, 0, 1)->flags = IOSQE_ASYNC;
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2);
	CHECK_EQ(ring_submit(&r, 0), 2);
	RING_EXPECT(&r, 2, 0);
	writer = (int)CHECK_OK(openat(dir, "fifo", O_WRONLY));
	fd = ring_wait(&r).res;
	CHECK(fd >= 0);
	close(fd);
	close(writer);
	// One that never comes can be given up.
	ring_add(&r, IORING_OP_OPENAT, dir, "fifo", 0, 0, 3)->flags = IOSQE_ASYNC;
	CHECK_EQ(ring_submit(&r, 0), 1);
	usleep(20000);
	ring_add(&r, IORING_OP_ASYNC_CANCEL, -1, (void *)3, 0, 0, 4);
	CHECK_EQ(ring_submit(&r, 2), 1);
	for (int i = 0; i < 2; i++) {
		struct completion c = ring_wait(&r);

		CHECK(c.res < 0 || (c.res == 0 && c.user_data == 4)); // it has ended, with whatever error
	}
	CHECK_OK(unlinkat(dir, "fifo", 0));
}

static void do_the_other_calls_work(void)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 5 }, got;
	struct stat s;
	char value[8] = "", c;
	int fd = (int)CHECK_OK(openat(dir, "f", O_CREAT | O_RDWR, 0600)), a[2], b[2];
	int ep = epoll_create1(0), ev = eventfd(1, 0);

	CHECK_OK(pipe(a));
	CHECK_OK(pipe(b));
	ring_add(&r, IORING_OP_FALLOCATE, fd, (void *)8192, 0, 0, 1);
	CHECK_EQ(RING_RUN(&r, 1), 0);
	CHECK_OK(fstat(fd, &s));
	CHECK_EQ(s.st_size, 8192);
	ring_add(&r, IORING_OP_FADVISE, fd, NULL, 0, 0, 2)->fadvise_advice = POSIX_FADV_SEQUENTIAL;
	CHECK_EQ(RING_RUN(&r, 2), 0);
	ring_add(&r, IORING_OP_SYNC_FILE_RANGE, fd, NULL, 4096, 0, 3);
	CHECK_EQ(RING_RUN(&r, 3), 0);
	ring_add(&r, IORING_OP_EPOLL_CTL, ep, &e, EPOLL_CTL_ADD, (unsigned)ev, 4);
	CHECK_EQ(RING_RUN(&r, 4), 0);
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 1);
	CHECK_EQ(got.data.u64, 5);
	CHECK_EQ(write(a[1], "s", 1), 1);
	struct io_uring_sqe *q = ring_add(&r, IORING_OP_TEE, b[1], NULL, 1, 0, 5);
	q->splice_fd_in = a[0];
	CHECK_EQ(RING_RUN(&r, 5), 1);
	q = ring_add(&r, IORING_OP_SPLICE, b[1], (void *)-1, 1, -1ull, 6);
	q->splice_fd_in = a[0];
	CHECK_EQ(RING_RUN(&r, 6), 1);
	CHECK_EQ(read(b[0], value, 2), 2);
	CHECK_STR(value, "ss");
	q = ring_add(&r, IORING_OP_SPLICE, b[1], (void *)-1, 1, -1ull, 7);
	q->splice_fd_in = a[0];
	CHECK_EQ(ring_submit(&r, 0), 1);
	CHECK_EQ(write(a[1], "t", 1), 1);
	RING_EXPECT(&r, 7, 1);
	CHECK_EQ(read(b[0], &c, 1), 1);
	if (fsetxattr(fd, "user.test", "v", 1, 0) == 0) {
		ring_add(&r, IORING_OP_FSETXATTR, fd, "user.uring", 2, (uintptr_t) "ok", 8);
		CHECK_EQ(RING_RUN(&r, 8), 0);
		memset(value, 0, sizeof(value));
		ring_add(&r, IORING_OP_FGETXATTR, fd, "user.uring", 7, (uintptr_t)value, 9);
		CHECK_EQ(RING_RUN(&r, 9), 2);
		CHECK_STR(value, "ok");
	}
	close(fd);
	close(ep);
	close(ev);
	for (int i = 0; i < 2; i++) {
		close(a[i]);
		close(b[i]);
	}
	CHECK_OK(unlinkat(dir, "f", 0));
}

int main(void)
{
	ring_skip_without();
	check_tmpdir();
	dir = (int)CHECK_OK(open(".", O_RDONLY | O_DIRECTORY));
	ring_init(&r, 16, 0);
	are_names_made_and_removed();
	are_paths_copied();
	does_openat2_check();
	can_files_be_opened_into_the_table();
	does_opening_a_fifo_wait();
	do_the_other_calls_work();
	ring_close(&r);
	return check_done();
}
