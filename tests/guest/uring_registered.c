// SPDX-License-Identifier: Apache-2.0
// io_uring: what is registered: files, buffers, an eventfd, credentials, restrictions, rings; buffers that are provided; the thread that polls.
// io_uring_register(2).
#include "uring.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

static void can_files_be_registered(void)
{
	struct ring r;
	char c[4] = "";
	int fds[2], table[3] = { -1, -1, -1 };

	CHECK_OK(pipe(fds));
	ring_init(&r, 8, 0);
	CHECK_ERR(ring_register(&r, IORING_UNREGISTER_FILES, NULL, 0), ENXIO);
	table[1] = fds[0];
	CHECK_EQ(ring_register(&r, IORING_REGISTER_FILES, table, 3), 0);
	CHECK_ERR(ring_register(&r, IORING_REGISTER_FILES, table, 3), EBUSY);
	close(fds[0]);
	CHECK_EQ(write(fds[1], "ab", 2), 2);
	ring_add(&r, IORING_OP_READ, 1, c, 1, 0, 1)->flags = IOSQE_FIXED_FILE;
	CHECK_EQ(RING_RUN(&r, 1), 1);
	CHECK_EQ(c[0], 'a');
	ring_add(&r, IORING_OP_READ, 0, c, 1, 0, 2)->flags = IOSQE_FIXED_FILE;
	CHECK_EQ(RING_RUN(&r, 2), -EBADF);
	ring_add(&r, IORING_OP_READ, 3, c, 1, 0, 3)->flags = IOSQE_FIXED_FILE;
	CHECK_EQ(RING_RUN(&r, 3), -EBADF);
	CHECK_EQ(ring_register(&r, IORING_UNREGISTER_FILES, NULL, 0), 0);
	signal(SIGPIPE, SIG_IGN);
	WAIT_UNTIL(write(fds[1], "x", 1) == -1 && errno == EPIPE);
	table[1] = r.fd; // a ring in a ring
	CHECK_ERR(ring_register(&r, IORING_REGISTER_FILES, table, 3), EBADF);
	table[1] = 999;
	CHECK_ERR(ring_register(&r, IORING_REGISTER_FILES, table, 3), EBADF);
	ring_close(&r);
	close(fds[1]);
}

static void can_files_be_exchanged(void)
{
	struct io_uring_rsrc_register reg = { .nr = 4, .flags = IORING_RSRC_REGISTER_SPARSE };
	struct io_uring_files_update u = { .offset = 2 };
	struct io_uring_file_index_range range = { .off = 3, .len = 1 };
	struct ring r;
	uint64_t got = 0;
	int e = eventfd(5, 0), fd = e, list[1] = { e };

	ring_init(&r, 8, 0);
	u.fds = (uintptr_t)&fd;
	CHECK_ERR(ring_register(&r, IORING_REGISTER_FILES_UPDATE, &u, 1), ENXIO);
	CHECK_EQ(ring_register(&r, IORING_REGISTER_FILES2, &reg, sizeof(reg)), 0);
	CHECK_EQ(ring_register(&r, IORING_REGISTER_FILES_UPDATE, &u, 1), 1);
	ring_add(&r, IORING_OP_READ, 2, &got, 8, 0, 1)->flags = IOSQE_FIXED_FILE;
	CHECK_EQ(RING_RUN(&r, 1), 8);
	CHECK_EQ(got, 5);
	u.offset = 4;
	CHECK_ERR(ring_register(&r, IORING_REGISTER_FILES_UPDATE, &u, 1), EINVAL);
	CHECK_EQ(ring_register(&r, IORING_REGISTER_FILE_ALLOC_RANGE, &range, 0), 0);
	ring_add(&r, IORING_OP_FILES_UPDATE, -1, list, 1, IORING_FILE_INDEX_ALLOC, 2);
	CHECK_EQ(RING_RUN(&r, 2), 1);
	CHECK_EQ(list[0], 3);
	list[0] = -1;
	ring_add(&r, IORING_OP_FILES_UPDATE, -1, list, 1, 2, 3);
	CHECK_EQ(RING_RUN(&r, 3), 1);
	ring_add(&r, IORING_OP_READ, 2, &got, 8, 0, 4)->flags = IOSQE_FIXED_FILE;
	CHECK_EQ(RING_RUN(&r, 4), -EBADF);
	ring_close(&r);
	close(e);
}

static void can_buffers_be_registered(void)
{
	static char memory[8192];
	struct iovec v[2] = { { memory, 4096 }, { memory + 4096, 4096 } }, bad = { (void *)8, 4096 };
	struct ring r;
	int fd = memfd_create("uring", 0);

	ring_init(&r, 8, 0);
	CHECK_ERR(ring_register(&r, IORING_REGISTER_BUFFERS, &bad, 1), EFAULT);
	CHECK_ERR(ring_register(&r, IORING_UNREGISTER_BUFFERS, NULL, 0), ENXIO);
	CHECK_EQ(ring_register(&r, IORING_REGISTER_BUFFERS, v, 2), 0);
	CHECK_ERR(ring_register(&r, IORING_REGISTER_BUFFERS, v, 2), EBUSY);
	strcpy(memory + 4096, "fixed");
	ring_add(&r, IORING_OP_WRITE_FIXED, fd, memory + 4096, 6, 0, 1)->buf_index = 1;
	CHECK_EQ(RING_RUN(&r, 1), 6);
	ring_add(&r, IORING_OP_READ_FIXED, fd, memory + 100, 6, 0, 2)->buf_index = 0;
	CHECK_EQ(RING_RUN(&r, 2), 6);
	CHECK_STR(memory + 100, "fixed");
	ring_add(&r, IORING_OP_READ_FIXED, fd, memory + 4090, 10, 0, 3)->buf_index = 0;
	CHECK_EQ(RING_RUN(&r, 3), -EFAULT);
	ring_add(&r, IORING_OP_READ_FIXED, fd, memory, 10, 0, 4)->buf_index = 2;
	CHECK_EQ(RING_RUN(&r, 4), -EFAULT);
	CHECK_EQ(ring_register(&r, IORING_UNREGISTER_BUFFERS, NULL, 0), 0);
	ring_close(&r);
	close(fd);
}

static void is_an_eventfd_told(void)
{
	struct ring r;
	uint64_t got;
	int e = eventfd(0, EFD_NONBLOCK), pipes[2];

	ring_init(&r, 8, 0);
	CHECK_ERR(ring_register(&r, IORING_UNREGISTER_EVENTFD, NULL, 0), ENXIO);
	CHECK_OK(pipe(pipes));
	CHECK_ERR(ring_register(&r, IORING_REGISTER_EVENTFD, &pipes[0], 1), EINVAL);
	CHECK_EQ(ring_register(&r, IORING_REGISTER_EVENTFD, &e, 1), 0);
	CHECK_ERR(ring_register(&r, IORING_REGISTER_EVENTFD, &e, 1), EBUSY);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	CHECK_EQ(RING_RUN(&r, 1), 0);
	CHECK_EQ(read(e, &got, 8), 8);
	*ring_word(&r, r.p.cq_off.flags) = IORING_CQ_EVENTFD_DISABLED;
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2);
	CHECK_EQ(RING_RUN(&r, 2), 0);
	CHECK_ERR(read(e, &got, 8), EAGAIN);
	CHECK_EQ(ring_register(&r, IORING_UNREGISTER_EVENTFD, NULL, 0), 0);
	ring_close(&r);
	close(e);
	close(pipes[0]);
	close(pipes[1]);
}

static void do_restrictions_hold(void)
{
	struct io_uring_restriction res[2] = { { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_NOP },
					       { .opcode = IORING_RESTRICTION_REGISTER_OP,
						 .register_op = IORING_REGISTER_ENABLE_RINGS } };
	struct ring r;
	char c;

	ring_init(&r, 8, IORING_SETUP_R_DISABLED);
	CHECK_ERR(ring_enter(&r, 0, 0, 0, NULL, 0), EBADFD);
	CHECK_EQ(ring_register(&r, IORING_REGISTER_RESTRICTIONS, res, 2), 0);
	CHECK_ERR(ring_register(&r, IORING_REGISTER_RESTRICTIONS, res, 2), EBUSY);
	CHECK_EQ(ring_register(&r, IORING_REGISTER_ENABLE_RINGS, NULL, 0), 0);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	CHECK_EQ(RING_RUN(&r, 1), 0);
	ring_add(&r, IORING_OP_READ, 0, &c, 1, 0, 2);
	CHECK_EQ(RING_RUN(&r, 2), -EACCES);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3)->flags = IOSQE_ASYNC;
	CHECK_EQ(RING_RUN(&r, 3), -EACCES);
	CHECK_ERR(ring_register(&r, IORING_REGISTER_PERSONALITY, NULL, 0), EACCES);
	ring_close(&r);
}

static void do_threads_register_rings(void)
{
	struct io_uring_rsrc_update u = { .offset = -1u };
	struct ring r;

	ring_init(&r, 8, 0);
	u.data = (unsigned)r.fd;
	CHECK_EQ(ring_register(&r, IORING_REGISTER_RING_FDS, &u, 1), 1);
	CHECK_EQ(u.offset, 0);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	CHECK_EQ(syscall(SYS_io_uring_enter, u.offset, 1, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_REGISTERED_RING,
			 NULL, 0),
		 1);
	RING_EXPECT(&r, 1, 0);
	u.data = 0;
	CHECK_EQ(ring_register(&r, IORING_UNREGISTER_RING_FDS, &u, 1), 1);
	ring_close(&r);
}

static void are_credentials_kept(void)
{
	struct ring r;
	long id;

	ring_init(&r, 8, 0);
	id = CHECK_OK(ring_register(&r, IORING_REGISTER_PERSONALITY, NULL, 0));
	CHECK(id > 0);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1)->personality = (unsigned short)id;
	CHECK_EQ(RING_RUN(&r, 1), 0);
	CHECK_EQ(ring_register(&r, IORING_UNREGISTER_PERSONALITY, NULL, (unsigned)id), 0);
	CHECK_ERR(ring_register(&r, IORING_UNREGISTER_PERSONALITY, NULL, (unsigned)id), EINVAL);
	ring_close(&r);
}

static void are_provided_buffers_used(void)
{
	static char memory[4][16];
	struct io_uring_sqe *s;
	struct ring r;
	unsigned flags;
	int fds[2];

	CHECK_OK(pipe(fds));
	ring_init(&r, 8, 0);
	s = ring_add(&r, IORING_OP_PROVIDE_BUFFERS, 4, memory, 16, 10, 1);
	s->buf_group = 3;
	CHECK_EQ(RING_RUN(&r, 1), 0);
	for (unsigned i = 0; i < 4; i++) {
		CHECK_EQ(write(fds[1], "provided", 8), 8);
		s = ring_add(&r, IORING_OP_READ, fds[0], NULL, 8, 0, 2);
		s->flags = IOSQE_BUFFER_SELECT;
		s->buf_group = 3;
		CHECK_EQ(ring_submit(&r, 1), 1);
		flags = RING_EXPECT(&r, 2, 8);
		CHECK(flags & IORING_CQE_F_BUFFER);
		CHECK_STR(memory[(flags >> IORING_CQE_BUFFER_SHIFT) - 10], "provided");
	}
	s = ring_add(&r, IORING_OP_READ, fds[0], NULL, 8, 0, 3);
	s->flags = IOSQE_BUFFER_SELECT;
	s->buf_group = 3;
	CHECK_EQ(write(fds[1], "provided", 8), 8);
	CHECK_EQ(RING_RUN(&r, 3), -ENOBUFS);
	ring_add(&r, IORING_OP_REMOVE_BUFFERS, 1, NULL, 0, 0, 4)->buf_group = 99;
	CHECK_EQ(RING_RUN(&r, 4), -ENOENT);
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

static void are_buffers_taken_from_a_ring(void)
{
	struct io_uring_buf_ring *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)b, .ring_entries = 4, .bgid = 7 };
	struct io_uring_sqe *s;
	struct ring r;
	char memory[2][8] = { "", "" };
	unsigned flags;
	int fds[2];

	CHECK_OK(pipe(fds));
	ring_init(&r, 8, 0);
	CHECK_EQ(ring_register(&r, IORING_REGISTER_PBUF_RING, &reg, 1), 0);
	CHECK_ERR(ring_register(&r, IORING_REGISTER_PBUF_RING, &reg, 1), EEXIST);
	for (unsigned i = 0; i < 2; i++) {
		b->bufs[i].addr = (uintptr_t)memory[i];
		b->bufs[i].len = 8;
		b->bufs[i].bid = (unsigned short)(20 + i);
	}
	__atomic_store_n(&b->tail, 2, __ATOMIC_RELEASE);
	// The buffer is chosen when there is something to read.
	s = ring_add(&r, IORING_OP_READ, fds[0], NULL, 8, 0, 1);
	s->flags = IOSQE_BUFFER_SELECT;
	s->buf_group = 7;
	CHECK_EQ(ring_submit(&r, 0), 1);
	CHECK_EQ(write(fds[1], "one", 3), 3);
	flags = RING_EXPECT(&r, 1, 3);
	CHECK_EQ(flags, IORING_CQE_F_BUFFER | 20u << IORING_CQE_BUFFER_SHIFT);
	CHECK_STR(memory[0], "one");
	CHECK_EQ(ring_register(&r, IORING_UNREGISTER_PBUF_RING, &reg, 1), 0);
	CHECK_ERR(ring_register(&r, IORING_UNREGISTER_PBUF_RING, &reg, 1), ENOENT);
	ring_close(&r);
	munmap(b, 4096);
	close(fds[0]);
	close(fds[1]);
}

static void does_a_thread_poll_the_queue(void)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 20 };
	struct ring r;
	char c = 0;
	int fds[2];

	CHECK_OK(pipe(fds));
	ring_init_with(&r, 8, p);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	if (*ring_word(&r, r.p.sq_off.flags) & IORING_SQ_NEED_WAKEUP)
		CHECK_EQ(ring_enter(&r, 1, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0), 1);
	WAIT_UNTIL(ring_ready(&r) == 1); // without a call, or with one to wake it
	RING_EXPECT(&r, 1, 0);
	WAIT_UNTIL(*ring_word(&r, r.p.sq_off.flags) & IORING_SQ_NEED_WAKEUP);
	ring_add(&r, IORING_OP_READ, fds[0], &c, 1, 0, 2);
	CHECK_EQ(ring_enter(&r, 1, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0), 1);
	CHECK_EQ(write(fds[1], "q", 1), 1);
	RING_EXPECT(&r, 2, 1);
	CHECK_EQ(c, 'q');
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

static void do_tags_come_back(void)
{
	uint64_t tag = 4711;
	int e = eventfd(0, 0);
	struct io_uring_rsrc_register reg = { .nr = 1, .data = (uintptr_t)&e, .tags = (uintptr_t)&tag };
	struct ring r;

	ring_init(&r, 8, 0);
	CHECK_EQ(ring_register(&r, IORING_REGISTER_FILES2, &reg, sizeof(reg)), 0);
	CHECK_EQ(ring_register(&r, IORING_UNREGISTER_FILES, NULL, 0), 0);
	RING_EXPECT(&r, 4711, 0);
	ring_close(&r);
	close(e);
}

static void is_only_the_issuer_let_in(void)
{
	struct ring r;
	pid_t child;
	int status;

	ring_init(&r, 8, IORING_SETUP_SINGLE_ISSUER);
	child = fork();
	if (!child) {
		ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
		_exit(ring_enter(&r, 1, 0, 0, NULL, 0) == -1 && errno == EEXIST ? 0 : 1);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	ring_close(&r);
}

static void do_rings_stay_at_home(void)
{
	struct {
		struct cmsghdr head;
		int fd;
	} control = { { sizeof(control.head) + sizeof(int), SOL_SOCKET, SCM_RIGHTS }, -1 };
	struct iovec v = { "x", 1 };
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	struct ring r;
	int fds[2];

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	ring_init(&r, 8, 0);
	control.fd = r.fd;
	CHECK_ERR(sendmsg(fds[0], &m, 0), EINVAL);
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

// As many threads as there are CPUs, and one, that always find entries: a tail that makes no sense. Others must get their turn, and the
// end of the rings ends it.
static void pollers_without_end(void)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 1000 };
	long count = sysconf(_SC_NPROCESSORS_ONLN) + 1;
	struct ring rings[count];

	for (long i = 0; i < count; i++) {
		struct ring *r = &rings[i];

		ring_init_with(r, 8, p);
		for (unsigned n = 0; n < 8; n++) {
			ring_sqe(r, IORING_OP_NOP, -1, 0)->flags = IOSQE_CQE_SKIP_SUCCESS;
			++*ring_word(r, r->p.sq_off.tail);
		}
		__atomic_store_n(ring_word(r, r->p.sq_off.tail), 0x70000000, __ATOMIC_RELEASE);
	}
	for (int i = 0; i < 5; i++)
		check_sleep_ms(10);
	for (long i = 0; i < count; i++)
		ring_close(&rings[i]);
}

int main(void)
{
	ring_skip_without();
	can_files_be_registered();
	can_files_be_exchanged();
	can_buffers_be_registered();
	is_an_eventfd_told();
	do_restrictions_hold();
	do_threads_register_rings();
	are_credentials_kept();
	are_provided_buffers_used();
	are_buffers_taken_from_a_ring();
	does_a_thread_poll_the_queue();
	do_tags_come_back();
	is_only_the_issuer_let_in();
	do_rings_stay_at_home();
	CHECK_CHILD(pollers_without_end);
	return check_done();
}
