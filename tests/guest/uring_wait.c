// SPDX-License-Identifier: Apache-2.0
// io_uring: requests that wait for files and timers, end early, or hang together. io_uring_enter(2).
#include "uring.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

static struct __kernel_timespec ms(long n)
{
	return (struct __kernel_timespec){ .tv_sec = n / 1000, .tv_nsec = n % 1000 * 1000000 };
}

static void does_a_read_wait_for_a_pipe(void)
{
	struct ring r;
	char c = 0;
	int fds[2];

	CHECK_OK(pipe(fds));
	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_READ, fds[0], &c, 1, 0, 1);
	CHECK_EQ(ring_submit(&r, 0), 1);
	usleep(10000);
	CHECK_EQ(ring_ready(&r), 0);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	RING_EXPECT(&r, 1, 1);
	CHECK_EQ(c, 'x');
	// The same without anybody who waits in a call.
	ring_add(&r, IORING_OP_READ, fds[0], &c, 1, 0, 2);
	CHECK_EQ(ring_submit(&r, 0), 1);
	CHECK_EQ(write(fds[1], "y", 1), 1);
	WAIT_UNTIL(ring_ready(&r) == 1);
	RING_EXPECT(&r, 2, 1);
	CHECK_EQ(c, 'y');
	// And in a worker from the beginning.
	ring_add(&r, IORING_OP_READ, fds[0], &c, 1, 0, 3)->flags = IOSQE_ASYNC;
	CHECK_EQ(ring_submit(&r, 0), 1);
	usleep(5000);
	CHECK_EQ(write(fds[1], "z", 1), 1);
	RING_EXPECT(&r, 3, 1);
	CHECK_EQ(c, 'z');
	ring_add(&r, IORING_OP_READ, fds[0], &c, 1, 0, 4)->rw_flags = RWF_NOWAIT;
	CHECK_EQ(RING_RUN(&r, 4), -EAGAIN);
	fcntl(fds[0], F_SETFL, O_NONBLOCK); // makes no difference
	ring_add(&r, IORING_OP_READ, fds[0], &c, 1, 0, 5);
	CHECK_EQ(ring_submit(&r, 0), 1);
	CHECK_EQ(write(fds[1], "n", 1), 1);
	RING_EXPECT(&r, 5, 1);
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

static void do_many_readers_get_their_parts(void)
{
	struct ring r;
	char c[64] = { 0 };
	int fds[2], sum = 0;

	CHECK_OK(pipe(fds));
	ring_init(&r, 64, 0);
	for (int i = 0; i < 64; i++)
		ring_add(&r, IORING_OP_READ, fds[0], &c[i], 1, 0, i);
	CHECK_EQ(ring_submit(&r, 0), 64);
	for (int i = 0; i < 64; i++)
		CHECK_EQ(write(fds[1], "a", 1), 1);
	for (int i = 0; i < 64; i++) {
		struct completion cqe = ring_wait(&r);

		CHECK_EQ(cqe.res, 1);
		sum += c[cqe.user_data] == 'a';
	}
	CHECK_EQ(sum, 64);
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

static void does_a_poll_tell_once(void)
{
	struct ring r;
	int e = eventfd(0, 0);
	uint64_t one = 1;

	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_POLL_ADD, e, NULL, 0, 0, 1)->poll32_events = POLLIN;
	CHECK_EQ(ring_submit(&r, 0), 1);
	CHECK_EQ(ring_ready(&r), 0);
	CHECK_EQ(write(e, &one, 8), 8);
	CHECK_EQ(RING_EXPECT(&r, 1, POLLIN), 0);
	ring_add(&r, IORING_OP_POLL_ADD, e, NULL, 0, 0, 2)->poll32_events = POLLIN | POLLOUT;
	CHECK_EQ(RING_RUN(&r, 2), POLLIN | POLLOUT);
	ring_close(&r);
	close(e);
}

static void does_a_multishot_poll_go_on(void)
{
	struct completion c;
	struct ring r;
	int e = eventfd(0, 0);
	uint64_t one = 1, got;

	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_POLL_ADD, e, NULL, IORING_POLL_ADD_MULTI, 0, 1)->poll32_events = POLLIN;
	CHECK_EQ(ring_submit(&r, 0), 1);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(write(e, &one, 8), 8);
		CHECK_EQ(RING_EXPECT(&r, 1, POLLIN), IORING_CQE_F_MORE);
		CHECK_EQ(read(e, &got, 8), 8);
	}
	ring_add(&r, IORING_OP_POLL_REMOVE, -1, (void *)1, 0, 0, 2);
	CHECK_EQ(ring_submit(&r, 0), 1);
	for (int i = 0; i < 2; i++) {
		c = ring_wait(&r);
		CHECK_EQ(c.res, c.user_data == 1 ? -ECANCELED : 0);
		CHECK_EQ(c.flags, 0);
	}
	ring_add(&r, IORING_OP_POLL_REMOVE, -1, (void *)1, 0, 0, 3);
	CHECK_EQ(RING_RUN(&r, 3), -ENOENT);
	ring_close(&r);
	close(e);
}

static void can_a_poll_be_changed(void)
{
	struct io_uring_sqe *s;
	struct ring r;
	int e = eventfd(0, 0);

	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_POLL_ADD, e, NULL, 0, 0, 1)->poll32_events = POLLIN;
	CHECK_EQ(ring_submit(&r, 0), 1);
	s = ring_add(&r, IORING_OP_POLL_REMOVE, -1, (void *)1, IORING_POLL_UPDATE_USER_DATA, 7, 2);
	(void)s;
	CHECK_EQ(RING_RUN(&r, 2), 0);
	s = ring_add(&r, IORING_OP_POLL_REMOVE, -1, (void *)7, IORING_POLL_UPDATE_EVENTS, 0, 3);
	s->poll32_events = POLLOUT;
	CHECK_EQ(ring_submit(&r, 0), 1);
	for (int i = 0; i < 2; i++) {
		struct completion c = ring_wait(&r);

		CHECK_EQ(c.res, c.user_data == 7 ? POLLOUT : 0);
	}
	ring_close(&r);
	close(e);
}

static void do_timeouts_expire(void)
{
	struct __kernel_timespec t = ms(20), abs;
	struct timespec now;
	struct ring r;

	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_TIMEOUT, -1, &t, 1, 0, 1);
	CHECK_EQ(ring_submit(&r, 0), 1);
	CHECK_EQ(ring_ready(&r), 0);
	WAIT_UNTIL(ring_ready(&r) == 1); // nobody waits in a call
	RING_EXPECT(&r, 1, -ETIME);
	clock_gettime(CLOCK_REALTIME, &now);
	abs = (struct __kernel_timespec){ now.tv_sec, now.tv_nsec };
	ring_add(&r, IORING_OP_TIMEOUT, -1, &abs, 1, 0, 2)->timeout_flags =
		IORING_TIMEOUT_ABS | IORING_TIMEOUT_REALTIME;
	CHECK_EQ(RING_RUN(&r, 2), -ETIME);
	ring_add(&r, IORING_OP_TIMEOUT, -1, &t, 2, 0, 3);
	CHECK_EQ(RING_RUN(&r, 3), -EINVAL);
	t.tv_nsec = -1;
	ring_add(&r, IORING_OP_TIMEOUT, -1, &t, 1, 0, 4);
	CHECK_EQ(RING_RUN(&r, 4), -EINVAL);
	ring_add(&r, IORING_OP_TIMEOUT, -1, (void *)8, 1, 0, 5);
	CHECK_EQ(RING_RUN(&r, 5), -EFAULT);
	ring_close(&r);
}

static void do_timeouts_count_completions(void)
{
	struct __kernel_timespec t = ms(100000);
	struct ring r;

	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_TIMEOUT, -1, &t, 1, 2, 1);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2);
	CHECK_EQ(ring_submit(&r, 0), 2);
	RING_EXPECT(&r, 2, 0);
	CHECK_EQ(ring_ready(&r), 0);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
	CHECK_EQ(ring_submit(&r, 2), 1);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(ring_wait(&r).res, 0);
	ring_close(&r);
}

static void can_timeouts_be_removed_and_changed(void)
{
	struct __kernel_timespec t = ms(100000), soon = ms(1);
	struct io_uring_sqe *s;
	struct ring r;

	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_TIMEOUT, -1, &t, 1, 0, 1);
	ring_add(&r, IORING_OP_TIMEOUT_REMOVE, -1, (void *)1, 0, 0, 2);
	CHECK_EQ(ring_submit(&r, 2), 2);
	for (int i = 0; i < 2; i++) {
		struct completion c = ring_wait(&r);

		CHECK_EQ(c.res, c.user_data == 1 ? -ECANCELED : 0);
	}
	ring_add(&r, IORING_OP_TIMEOUT_REMOVE, -1, (void *)1, 0, 0, 3);
	CHECK_EQ(RING_RUN(&r, 3), -ENOENT);
	ring_add(&r, IORING_OP_TIMEOUT, -1, &t, 1, 0, 4);
	s = ring_add(&r, IORING_OP_TIMEOUT_REMOVE, -1, (void *)4, 0, (uintptr_t)&soon, 5);
	s->timeout_flags = IORING_TIMEOUT_UPDATE;
	CHECK_EQ(ring_submit(&r, 2), 2);
	RING_EXPECT(&r, 5, 0);
	RING_EXPECT(&r, 4, -ETIME);
	ring_close(&r);
}

static void can_requests_be_cancelled(void)
{
	struct ring r;
	char c[4];
	int fds[2];

	CHECK_OK(pipe(fds));
	ring_init(&r, 16, 0);
	ring_add(&r, IORING_OP_READ, fds[0], c, 1, 0, 1);
	ring_add(&r, IORING_OP_ASYNC_CANCEL, -1, (void *)1, 0, 0, 2);
	CHECK_EQ(ring_submit(&r, 2), 2);
	for (int i = 0; i < 2; i++) {
		struct completion cqe = ring_wait(&r);

		CHECK_EQ(cqe.res, cqe.user_data == 1 ? -ECANCELED : 0);
	}
	ring_add(&r, IORING_OP_ASYNC_CANCEL, -1, (void *)1, 0, 0, 3);
	CHECK_EQ(RING_RUN(&r, 3), -ENOENT);
	for (int i = 0; i < 3; i++)
		ring_add(&r, IORING_OP_READ, fds[0], c + i, 1, 0, 10 + i);
	CHECK_EQ(ring_submit(&r, 0), 3);
	ring_add(&r, IORING_OP_ASYNC_CANCEL, fds[0], NULL, 0, 0, 4)->cancel_flags =
		IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
	CHECK_EQ(ring_submit(&r, 4), 1);
	for (int i = 0; i < 4; i++) {
		struct completion cqe = ring_wait(&r);

		CHECK_EQ(cqe.res, cqe.user_data >= 10 ? -ECANCELED : 3);
	}
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

static void do_links_run_in_order(void)
{
	struct ring r;
	char out[] = "ab", in[3] = "";
	int fds[2];

	CHECK_OK(pipe(fds));
	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_READ, fds[0], in, 1, 0, 1)->flags = IOSQE_IO_LINK;
	ring_add(&r, IORING_OP_READ, fds[0], in + 1, 1, 0, 2)->flags = IOSQE_IO_LINK;
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
	CHECK_EQ(ring_submit(&r, 0), 3);
	CHECK_EQ(write(fds[1], out, 2), 2);
	RING_EXPECT(&r, 1, 1);
	RING_EXPECT(&r, 2, 1);
	RING_EXPECT(&r, 3, 0);
	CHECK_STR(in, "ab");
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

static void does_a_failure_end_the_chain(void)
{
	struct ring r;
	char in[8];
	int fds[2];

	CHECK_OK(pipe(fds));
	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_READ, 999, in, 1, 0, 1)->flags = IOSQE_IO_LINK;
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2)->flags = IOSQE_IO_LINK;
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
	CHECK_EQ(ring_submit(&r, 3), 3);
	RING_EXPECT(&r, 1, -EBADF);
	RING_EXPECT(&r, 2, -ECANCELED);
	RING_EXPECT(&r, 3, -ECANCELED);
	// Less than asked for is a failure, too; a hard link does not mind.
	CHECK_EQ(write(fds[1], "xx", 2), 2);
	ring_add(&r, IORING_OP_READ, fds[0], in, 8, 0, 4)->flags = IOSQE_IO_LINK;
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 5);
	CHECK_EQ(ring_submit(&r, 2), 2);
	RING_EXPECT(&r, 4, 2);
	RING_EXPECT(&r, 5, -ECANCELED);
	ring_add(&r, IORING_OP_READ, 999, in, 8, 0, 6)->flags = IOSQE_IO_HARDLINK;
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 7);
	CHECK_EQ(ring_submit(&r, 2), 2);
	RING_EXPECT(&r, 6, -EBADF);
	RING_EXPECT(&r, 7, 0);
	// One that is wrong takes all with it.
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 8)->flags = IOSQE_IO_LINK;
	ring_add(&r, 200, -1, NULL, 0, 0, 9);
	CHECK(ring_submit(&r, 2) >= 1);
	RING_EXPECT(&r, 8, -ECANCELED);
	RING_EXPECT(&r, 9, -EINVAL);
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

static void do_link_timeouts_limit(void)
{
	struct __kernel_timespec soon = ms(10), late = ms(100000);
	struct ring r;
	char in;
	int fds[2];

	CHECK_OK(pipe(fds));
	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_READ, fds[0], &in, 1, 0, 1)->flags = IOSQE_IO_LINK;
	ring_add(&r, IORING_OP_LINK_TIMEOUT, -1, &soon, 1, 0, 2);
	CHECK_EQ(ring_submit(&r, 2), 2);
	for (int i = 0; i < 2; i++) {
		struct completion c = ring_wait(&r);

		CHECK_EQ(c.res, c.user_data == 1 ? -ECANCELED : -ETIME);
	}
	ring_add(&r, IORING_OP_READ, fds[0], &in, 1, 0, 3)->flags = IOSQE_IO_LINK;
	ring_add(&r, IORING_OP_LINK_TIMEOUT, -1, &late, 1, 0, 4);
	CHECK_EQ(ring_submit(&r, 0), 2);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	for (int i = 0; i < 2; i++) {
		struct completion c = ring_wait(&r);

		CHECK_EQ(c.res, c.user_data == 3 ? 1 : -ECANCELED);
	}
	ring_add(&r, IORING_OP_LINK_TIMEOUT, -1, &late, 1, 0, 5);
	CHECK_EQ(RING_RUN(&r, 5), -EINVAL);
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

static void does_a_drain_wait_for_all_before(void)
{
	struct ring r;
	char in;
	int fds[2];

	CHECK_OK(pipe(fds));
	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_READ, fds[0], &in, 1, 0, 1);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 2)->flags = IOSQE_IO_DRAIN;
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3);
	CHECK_EQ(ring_submit(&r, 0), 3);
	usleep(5000);
	CHECK_EQ(ring_ready(&r), 0);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	RING_EXPECT(&r, 1, 1);
	RING_EXPECT(&r, 2, 0);
	RING_EXPECT(&r, 3, 0);
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

// One that is wrong does not wait for others, nor do others for it.
static void is_a_wrong_drain_told_at_once(void)
{
	struct ring r;
	char in;
	int fds[2];

	CHECK_OK(pipe(fds));
	ring_init(&r, 8, IORING_SETUP_SUBMIT_ALL);
	ring_add(&r, IORING_OP_READ, fds[0], &in, 1, 0, 1);
	ring_add(&r, 200, -1, NULL, 0, 0, 2)->flags = IOSQE_IO_DRAIN;
	CHECK_EQ(ring_submit(&r, 0), 2);
	RING_EXPECT(&r, 2, -EINVAL);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 3)->flags = IOSQE_IO_DRAIN;
	ring_add(&r, 200, -1, NULL, 0, 0, 4)->flags = IOSQE_IO_DRAIN;
	CHECK_EQ(ring_submit(&r, 0), 2);
	RING_EXPECT(&r, 4, -EINVAL);
	CHECK_EQ(ring_ready(&r), 0);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	RING_EXPECT(&r, 1, 1);
	RING_EXPECT(&r, 3, 0);
	ring_close(&r);
	close(fds[0]);
	close(fds[1]);
}

static void can_successes_be_silent(void)
{
	struct ring r;

	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1)->flags = IOSQE_CQE_SKIP_SUCCESS;
	ring_add(&r, IORING_OP_READ, 999, NULL, 0, 0, 2)->flags = IOSQE_CQE_SKIP_SUCCESS;
	CHECK_EQ(ring_submit(&r, 1), 2);
	RING_EXPECT(&r, 2, -EBADF);
	CHECK_EQ(ring_ready(&r), 0);
	ring_close(&r);
}

static int handled;
static void handler(int signal) { handled = signal; }

static void does_a_signal_end_the_wait(void)
{
	struct sigaction a = { .sa_handler = handler };
	struct ring r;

	ring_init(&r, 8, 0);
	sigaction(SIGALRM, &a, NULL);
	ualarm(20000, 0);
	CHECK_ERR(ring_enter(&r, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0), EINTR);
	CHECK_EQ(handled, SIGALRM);
	ring_close(&r);
}

// Requests that wait when their process ends keep nothing.
static void does_the_end_of_the_process_end_them(void)
{
	struct __kernel_timespec t = ms(100000);
	int fds[2], status;
	char c;
	pid_t child;

	CHECK_OK(pipe(fds));
	child = fork();
	if (!child) {
		struct ring r;
		int own[2];

		CHECK_OK(pipe(own));
		close(fds[0]);
		ring_init(&r, 8, 0);
		ring_add(&r, IORING_OP_READ, own[0], &c, 1, 0, 1)->flags = IOSQE_IO_LINK;
		ring_add(&r, IORING_OP_LINK_TIMEOUT, -1, &t, 1, 0, 2);
		ring_add(&r, IORING_OP_TIMEOUT, -1, &t, 1, 0, 3);
		ring_add(&r, IORING_OP_POLL_ADD, r.fd, NULL, 0, 0, 4)->poll32_events = POLLIN;
		ring_add(&r, IORING_OP_POLL_ADD, fds[1], NULL, 0, 0, 5)->poll32_events = POLLIN;
		ring_add(&r, IORING_OP_READ, own[0], &c, 1, 0, 6)->flags = IOSQE_ASYNC;
		ring_add(&r, IORING_OP_NOP, -1, NULL, 0, 0, 7)->flags = IOSQE_IO_DRAIN;
		CHECK_EQ(ring_submit(&r, 0), 7);
		check_child_exit();
	}
	close(fds[1]);
	CHECK_EQ(read(fds[0], &c, 1), 0); // the last reference is gone
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	close(fds[0]);
}

static void does_closing_the_ring_end_them(void)
{
	struct ring r;
	char c;
	int fds[2];
	struct pollfd p;

	CHECK_OK(pipe(fds));
	ring_init(&r, 8, 0);
	ring_add(&r, IORING_OP_READ, fds[0], &c, 1, 0, 1);
	CHECK_EQ(ring_submit(&r, 0), 1);
	close(fds[0]); // the request's reference is the last
	p = (struct pollfd){ .fd = fds[1], .events = POLLOUT };
	CHECK_EQ(poll(&p, 1, 0), 1);
	CHECK_EQ(p.revents, POLLOUT);
	ring_close(&r);
	WAIT_UNTIL(poll(&p, 1, 0) == 1 && p.revents & POLLERR); // no reader is left
	close(fds[1]);
}

static void is_exec_free_of_them(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		struct ring r;
		int own[2];
		char c;

		CHECK_OK(pipe(own));
		ring_init(&r, 8, 0);
		ring_add(&r, IORING_OP_READ, own[0], &c, 1, 0, 1);
		ring_add(&r, IORING_OP_READ, own[0], &c, 1, 0, 2)->flags = IOSQE_ASYNC;
		CHECK_EQ(ring_submit(&r, 0), 2);
		execl("/proc/self/exe", "uring_wait", "nothing", NULL);
		_exit(1);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
}

static void *exits_with_threads(void *unused)
{
	(void)unused;
	usleep(20000);
	syscall(SYS_exit, 7);
	return NULL;
}

static void is_the_exit_status_the_programs(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		pthread_t t;
		struct ring r;
		int own[2];
		char c;

		CHECK_OK(pipe(own));
		ring_init(&r, 8, 0);
		ring_add(&r, IORING_OP_READ, own[0], &c, 1, 0, 2)->flags = IOSQE_ASYNC;
		CHECK_EQ(ring_submit(&r, 0), 1);
		pthread_create(&t, NULL, exits_with_threads, NULL);
		syscall(SYS_exit, 7); // this thread only: the other one is the last, and workers are none
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 7);
}

static void do_stops_include_workers(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		struct ring r;
		int own[2];
		char c;

		CHECK_OK(pipe(own));
		ring_init(&r, 8, 0);
		ring_add(&r, IORING_OP_READ, own[0], &c, 1, 0, 2)->flags = IOSQE_ASYNC;
		CHECK_EQ(ring_submit(&r, 0), 1);
		usleep(10000);
		raise(SIGSTOP);
		CHECK_EQ(write(own[1], "x", 1), 1);
		RING_EXPECT(&r, 2, 1);
		check_child_exit();
	}
	CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
	CHECK(WIFSTOPPED(status));
	kill(child, SIGCONT);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
}

// Where children are born in another pid namespace, Linux makes no worker; one that is made is no first process there.
static void does_a_worker_leave_its_process_mortal(void)
{
	int status;
	pid_t child = fork();

	if (!child) {
		struct ring r;
		int own[2];
		char c;

		if (unshare(CLONE_NEWPID))
			raise(SIGTERM); // not allowed here
		CHECK_OK(pipe(own));
		ring_init(&r, 8, 0);
		ring_add(&r, IORING_OP_READ, own[0], &c, 1, 0, 2)->flags = IOSQE_ASYNC;
		CHECK_EQ(ring_submit(&r, 0), 1);
		CHECK_EQ(write(own[1], "x", 1), 1);
		struct completion done = ring_wait(&r);
		CHECK(done.res == 1 || done.res == -ECANCELED);
		pid_t inner = fork();
		if (!inner)
			_exit(getpid());
		CHECK_EQ(check_wait(inner), 1 << 8); // it is the first
		raise(SIGTERM);
		check_child_exit();
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, SIGTERM);
}

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		return 0;
	ring_skip_without();
	does_a_read_wait_for_a_pipe();
	do_many_readers_get_their_parts();
	does_a_poll_tell_once();
	does_a_multishot_poll_go_on();
	can_a_poll_be_changed();
	do_timeouts_expire();
	do_timeouts_count_completions();
	can_timeouts_be_removed_and_changed();
	can_requests_be_cancelled();
	do_links_run_in_order();
	does_a_failure_end_the_chain();
	do_link_timeouts_limit();
	does_a_drain_wait_for_all_before();
	is_a_wrong_drain_told_at_once();
	can_successes_be_silent();
	does_a_signal_end_the_wait();
	does_the_end_of_the_process_end_them();
	does_closing_the_ring_end_them();
	is_exec_free_of_them();
	is_the_exit_status_the_programs();
	do_stops_include_workers();
	does_a_worker_leave_its_process_mortal();
	return check_done();
}
