// SPDX-License-Identifier: Apache-2.0
// io_uring: setup, rings in shared memory, and operations on files that end at once. io_uring_setup(2), io_uring_enter(2).
#include "uring.h"
#include <sys/epoll.h>
#include <sys/uio.h>

static void does_setup_check_its_arguments(void)
{
	struct io_uring_params p = { 0 };

	CHECK_ERR(ring_setup(0, &p), EINVAL);
	CHECK_ERR(ring_setup(32769, &p), EINVAL);
	CHECK_ERR(syscall(SYS_io_uring_setup, 1, NULL), EFAULT);
	p.flags = 1u << 31;
	CHECK_ERR(ring_setup(1, &p), EINVAL);
	p = (struct io_uring_params){ .flags = IORING_SETUP_CQSIZE };
	CHECK_ERR(ring_setup(1, &p), EINVAL);
	p.cq_entries = 4;
	CHECK_ERR(ring_setup(8, &p), EINVAL);
	p = (struct io_uring_params){ .flags = IORING_SETUP_SQ_AFF };
	CHECK_ERR(ring_setup(8, &p), EINVAL);
	p = (struct io_uring_params){ .flags = IORING_SETUP_TASKRUN_FLAG };
	CHECK_ERR(ring_setup(8, &p), EINVAL);
	p = (struct io_uring_params){ .flags = IORING_SETUP_DEFER_TASKRUN };
	CHECK_ERR(ring_setup(8, &p), EINVAL);
	p = (struct io_uring_params){ .resv = { 0, 1 } };
	CHECK_ERR(ring_setup(8, &p), EINVAL);
	CHECK_ERR(syscall(SYS_io_uring_enter, 0, 0, 0, 1u << 30, NULL, 0), EINVAL);
	CHECK_ERR(syscall(SYS_io_uring_enter, 999, 0, 0, 0, NULL, 0), EBADF);
	CHECK_ERR(syscall(SYS_io_uring_enter, STDERR_FILENO, 0, 0, 0, NULL, 0), EOPNOTSUPP);
}

static void are_sizes_rounded(void)
{
	struct io_uring_params p = { 0 };
	int fd = (int)CHECK_OK(ring_setup(5, &p));

	CHECK_EQ(p.sq_entries, 8);
	CHECK_EQ(p.cq_entries, 16);
	CHECK(p.features & IORING_FEAT_SINGLE_MMAP && p.features & IORING_FEAT_NODROP);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	p = (struct io_uring_params){ .flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP, .cq_entries = 100 };
	fd = (int)CHECK_OK(ring_setup(1, &p));
	CHECK_EQ(p.cq_entries, 128);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0x18000000) == MAP_FAILED);
	close(fd);
}

static void do_nops_complete_in_order(unsigned flags)
{
	struct ring r;

	ring_init(&r, 8, flags);
	for (unsigned round = 0; round < 5; round++) {
		for (uint64_t i = 0; i < 8; i++)
			ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, round * 8 + i);
		CHECK_EQ(ring_submit(&r, 8), 8);
		CHECK_EQ(ring_ready(&r), 8);
		for (uint64_t i = 0; i < 8; i++)
			RING_EXPECT(&r, round * 8 + i, 0);
	}
	CHECK_EQ(ring_enter(&r, 1, 0, 0, NULL, 0), 0); // nothing is there
	ring_close(&r);
}

static void is_the_second_mapping_the_same_memory(void)
{
	struct ring r;
	char *cq;

	ring_init(&r, 4, 0);
	cq = mmap(NULL, r.rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r.fd, IORING_OFF_CQ_RING);
	CHECK(cq != MAP_FAILED);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 77);
	CHECK_EQ(ring_submit(&r, 1), 1);
	CHECK_EQ(*(unsigned *)(cq + r.p.cq_off.tail), 1);
	CHECK_EQ(((struct io_uring_cqe *)(cq + r.p.cq_off.cqes))->user_data, 77);
	munmap(cq, r.rings_size);
	ring_close(&r);
}

static void do_reads_and_writes_move_data(void)
{
	struct ring r;
	char text[] = "uring writes and reads", got[64];
	struct iovec v[2] = { { text, 6 }, { text + 6, 16 } }, in[2] = { { got, 10 }, { got + 10, 30 } };
	int fd = (int)CHECK_OK(open("/tmp", O_TMPFILE | O_RDWR, 0600));

	if (fd < 0)
		fd = memfd_create("uring", 0);
	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_WRITE, fd, text, 5, 0, 1);
	CHECK_EQ(RING_RUN(&r, 1), 5);
	ring_add(&r, IORING_OP_WRITEV, fd, v, 2, 0, 2);
	CHECK_EQ(RING_RUN(&r, 2), 22);
	ring_add(&r, IORING_OP_FSYNC, fd, NULL, 0, 0, 3);
	CHECK_EQ(RING_RUN(&r, 3), 0);
	memset(got, 0, sizeof(got));
	ring_add(&r, IORING_OP_READ, fd, got, sizeof(got), 6, 4);
	CHECK_EQ(RING_RUN(&r, 4), 16);
	CHECK_STR(got, "writes and reads");
	memset(got, 0, sizeof(got));
	ring_add(&r, IORING_OP_READV, fd, in, 2, 0, 5)->flags = IOSQE_ASYNC;
	CHECK_EQ(RING_RUN(&r, 5), 22);
	CHECK_STR(got, text);
	lseek(fd, 6, SEEK_SET);
	memset(got, 0, sizeof(got));
	ring_add(&r, IORING_OP_READ, fd, got, 6, UINT64_MAX, 6);
	CHECK_EQ(RING_RUN(&r, 6), 6);
	CHECK_STR(got, "writes");
	CHECK_EQ(lseek(fd, 0, SEEK_CUR), 12);
	ring_close(&r);
	close(fd);
}

static void are_errors_told_in_completions(void)
{
	struct ring r;
	char c;
	int fd = (int)CHECK_OK(open("/proc/self/exe", O_RDONLY));

	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_READ, 999, &c, 1, 0, 1);
	CHECK_EQ(RING_RUN(&r, 1), -EBADF);
	ring_add(&r, 200, 0, NULL, 0, 0, 2);
	CHECK_EQ(RING_RUN(&r, 2), -EINVAL);
	ring_add(&r, IORING_OP_WRITE, fd, &c, 1, 0, 3);
	CHECK_EQ(RING_RUN(&r, 3), -EBADF);
	ring_add(&r, IORING_OP_READ, fd, (void *)8, 100, 0, 4);
	CHECK_EQ(RING_RUN(&r, 4), -EFAULT);
	ring_add(&r, IORING_OP_READ, fd, &c, 1, 0, 5)->flags = IOSQE_FIXED_FILE;
	CHECK_EQ(RING_RUN(&r, 5), -EBADF);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 6)->flags = 0x80;
	CHECK_EQ(RING_RUN(&r, 6), -EINVAL);
	ring_add(&r, IORING_OP_FSYNC, fd, NULL, 0, 0, 7)->fsync_flags = 8;
	CHECK_EQ(RING_RUN(&r, 7), -EINVAL);
	ring_add(&r, IORING_OP_READ, fd, &c, 1, 0, 8)->personality = 9;
	CHECK_EQ(RING_RUN(&r, 8), -EINVAL);
	ring_close(&r);
	close(fd);
}

static void does_an_error_end_the_batch(void)
{
	for (unsigned all = 0; all < 2; all++) {
		struct ring r;

		ring_init(&r, 8, all ? IORING_SETUP_SUBMIT_ALL : 0);
		ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
		ring_add(&r, 200, -1, NULL, 0, 0, 2);
		ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
		CHECK_EQ(ring_enter(&r, 3, 0, 0, NULL, 0), all ? 3 : 2);
		CHECK_EQ(ring_ready(&r), all ? 3 : 2);
		ring_close(&r);
	}
}

static void are_completions_kept_when_the_ring_is_full(void)
{
	struct ring r;

	ring_init(&r, 2, 0); // room for four
	for (uint64_t i = 0; i < 10; i++) {
		ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, i);
		CHECK_EQ(ring_submit(&r, 0), 1);
	}
	CHECK_EQ(ring_ready(&r), 4);
	CHECK(*ring_word(&r, r.p.sq_off.flags) & IORING_SQ_CQ_OVERFLOW);
	CHECK_EQ(*ring_word(&r, r.p.cq_off.overflow), 0);
	for (uint64_t i = 0; i < 10; i++)
		RING_EXPECT(&r, i, 0);
	CHECK(!(*ring_word(&r, r.p.sq_off.flags) & IORING_SQ_CQ_OVERFLOW));
	ring_close(&r);
}

static void are_wrong_indices_dropped(void)
{
	struct ring r;

	ring_init(&r, 4, 0);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	ring_word(&r, r.p.sq_off.array)[0] = 4711;
	CHECK(ring_submit(&r, 0) >= 0);
	CHECK_EQ(*ring_word(&r, r.p.sq_off.dropped), 1);
	CHECK_EQ(ring_ready(&r), 0);
	*ring_word(&r, r.p.sq_off.tail) += 1000000; // a tail that lies
	CHECK(ring_enter(&r, 1000000, 0, 0, NULL, 0) >= 0);
	ring_close(&r);
}

static void can_the_ring_be_polled(void)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET }, got;
	struct ring r;
	int ep = (int)CHECK_OK(epoll_create1(0));

	ring_init(&r, 4, 0);
	CHECK_OK(epoll_ctl(ep, EPOLL_CTL_ADD, r.fd, &e));
	CHECK_EQ(epoll_wait(ep, &got, 1, 0), 0);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	CHECK_EQ(ring_submit(&r, 0), 1);
	CHECK_EQ(epoll_wait(ep, &got, 1, 1000), 1);
	RING_EXPECT(&r, 1, 0);
	close(ep);
	ring_close(&r);
}

static void does_a_child_share_the_ring(void)
{
	struct ring r;
	int status;
	pid_t child;

	ring_init(&r, 4, 0);
	child = fork();
	if (!child) {
		ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 42);
		_exit(ring_submit(&r, 0) == 1 ? 0 : 1);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	RING_EXPECT(&r, 42, 0);
	ring_close(&r);
}

static void does_a_wait_end_in_time(void)
{
	struct __kernel_timespec t = { .tv_nsec = 20000000 };
	struct io_uring_getevents_arg a = { .ts = (uintptr_t)&t };
	struct ring r;

	ring_init(&r, 4, 0);
	CHECK_ERR(ring_enter(&r, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &a, sizeof(a)), ETIME);
	CHECK_ERR(ring_enter(&r, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &a, 8), EINVAL);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	r.queued = 0;
	CHECK_EQ(ring_enter(&r, 1, 2, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &a, sizeof(a)), 1);
	RING_EXPECT(&r, 1, 0);
	ring_close(&r);
}

static void is_what_the_probe_tells_true(void)
{
	struct {
		struct io_uring_probe head;
		struct io_uring_probe_op ops[256];
	} probe = { 0 };
	struct ring r;

	ring_init(&r, 4, IORING_SETUP_SUBMIT_ALL);
	CHECK_OK(ring_register(&r, IORING_REGISTER_PROBE, &probe, 256));
	CHECK(probe.head.ops_len >= IORING_OP_LAST - 1);
	CHECK(probe.ops[IORING_OP_NOP].flags & IO_URING_OP_SUPPORTED);
	CHECK(probe.ops[IORING_OP_READV].flags & IO_URING_OP_SUPPORTED);
	for (unsigned i = 0; i < probe.head.ops_len; i++) {
		CHECK_EQ(probe.ops[i].op, i);
		if (probe.ops[i].flags & IO_URING_OP_SUPPORTED)
			continue;
		ring_add(&r, (unsigned char)i, -1, NULL, 0, 0, i);
		CHECK(RING_RUN(&r, i) < 0);
	}
	CHECK_ERR(ring_register(&r, IORING_REGISTER_PROBE, &probe, 256), EINVAL); // must be zero
	CHECK_ERR(ring_register(&r, 4711, NULL, 0), EINVAL);
	ring_close(&r);
}

int main(void)
{
	ring_skip_without();
	does_setup_check_its_arguments();
	are_sizes_rounded();
	do_nops_complete_in_order(0);
	do_nops_complete_in_order(IORING_SETUP_SQE128 | IORING_SETUP_CQE32);
	do_nops_complete_in_order(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	do_nops_complete_in_order(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
	is_the_second_mapping_the_same_memory();
	do_reads_and_writes_move_data();
	are_errors_told_in_completions();
	does_an_error_end_the_batch();
	are_completions_kept_when_the_ring_is_full();
	are_wrong_indices_dropped();
	can_the_ring_be_polled();
	does_a_child_share_the_ring();
	does_a_wait_end_in_time();
	is_what_the_probe_tells_true();
	return check_done();
}
