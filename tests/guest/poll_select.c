// SPDX-License-Identifier: Apache-2.0
// Do poll, ppoll, select and pselect report, count, time out and mask alike?
#include "check.h"
#include <poll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>

static volatile int hits;

static void on_signal(int signal)
{
	(void)signal;
	hits++;
}

static void polls(void)
{
	int fds[2], file = open("/proc/self/exe", O_RDONLY);

	CHECK_OK(pipe(fds));
	struct pollfd p[4] = { { .fd = fds[0], .events = POLLIN },
			       { .fd = -1, .events = POLLIN, .revents = 7 },
			       { .fd = 99, .events = POLLIN },
			       { .fd = file, .events = POLLIN | POLLOUT } };
	CHECK_EQ(poll(p, 4, 1000), 2);
	CHECK_EQ(p[0].revents, 0);
	CHECK_EQ(p[1].revents, 0);
	CHECK_EQ(p[2].revents, POLLNVAL);
	CHECK_EQ(p[3].revents, POLLIN | POLLOUT);
	CHECK_EQ(write(fds[1], "x", 1), 1);
	CHECK_EQ(poll(p, 1, -1), 1);
	CHECK_EQ(p[0].revents, POLLIN);
	p[0].events = POLLIN | POLLRDNORM;
	CHECK_EQ(poll(p, 1, -1), 1);
	CHECK_EQ(p[0].revents, POLLIN | POLLRDNORM);
	CHECK_ERR(poll((void *)8, 1, 0), EFAULT);
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	CHECK_ERR(poll(p, limit.rlim_cur + 1, 0), EINVAL);
	struct timespec bad = { 0, 1000000000 }, zero = { 0, 0 };
	CHECK_ERR(ppoll(p, 1, &bad, NULL), EINVAL);
	CHECK_EQ(ppoll(p, 1, &zero, NULL), 1);
	close(fds[0]);
	close(fds[1]);
	close(file);
}

static void selects(void)
{
	int fds[2];
	fd_set in, out, except;

	CHECK_OK(pipe(fds));
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_ZERO(&except);
	FD_SET(fds[0], &in);
	FD_SET(fds[1], &out);
	FD_SET(fds[0], &except);
	CHECK_EQ(select(fds[1] + 1, &in, &out, &except, NULL), 1);
	CHECK(!FD_ISSET(fds[0], &in) && FD_ISSET(fds[1], &out) && !FD_ISSET(fds[0], &except));
	CHECK_EQ(write(fds[1], "x", 1), 1);
	FD_SET(fds[0], &in);
	CHECK_EQ(select(fds[1] + 1, &in, &out, NULL, NULL), 2);
	FD_ZERO(&in);
	struct timeval t = { 0, 40000 };
	int64_t start = check_now_ns();
	CHECK_EQ(select(fds[0] + 1, &in, NULL, NULL, &t), 0);
	CHECK(check_now_ns() - start >= 40000000);
	CHECK(t.tv_sec == 0 && t.tv_usec == 0); // Linux writes what was left
	FD_SET(fds[0], &in);
	t = (struct timeval){ 10, 0 };
	CHECK_EQ(select(fds[0] + 1, &in, NULL, NULL, &t), 1);
	CHECK(t.tv_sec >= 5);
	FD_SET(50, &in);
	CHECK_ERR(select(51, &in, NULL, NULL, &t), EBADF);
	CHECK_ERR(select(-1, &in, NULL, NULL, &t), EINVAL);
	t.tv_usec = -1;
	CHECK_ERR(select(1, NULL, NULL, NULL, &t), EINVAL);
	CHECK_ERR(syscall(SYS_select, 1, 8, NULL, NULL, NULL), EFAULT);
	close(fds[1]);
	FD_ZERO(&in);
	FD_SET(fds[0], &in);
	CHECK_EQ(select(fds[0] + 1, &in, NULL, NULL, NULL), 1); // hang-up is readable
	close(fds[0]);
}

static void masks(void)
{
	sigset_t block, none;
	struct timespec limit = { 20, 0 };

	signal(SIGUSR1, on_signal);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigemptyset(&none);
	sigprocmask(SIG_BLOCK, &block, NULL);
	raise(SIGUSR1);
	CHECK_ERR(ppoll(NULL, 0, &limit, &none), EINTR);
	CHECK_EQ(hits, 1);
	raise(SIGUSR1);
	CHECK_ERR(pselect(0, NULL, NULL, NULL, &limit, &none), EINTR);
	CHECK_EQ(hits, 2);
	// Ready descriptors win over a pending signal; the mask is restored all the same.
	int fds[2];
	CHECK_OK(pipe(fds));
	CHECK_EQ(write(fds[1], "x", 1), 1);
	struct pollfd p = { .fd = fds[0], .events = POLLIN };
	CHECK_EQ(ppoll(&p, 1, &limit, &block), 1);
	raise(SIGUSR1);
	CHECK_EQ(hits, 2);
	sigprocmask(SIG_UNBLOCK, &block, NULL);
	CHECK_EQ(hits, 3);
}

static void many(void)
{
	enum { COUNT = 200 };
	struct pollfd p[COUNT];
	int pipes[COUNT][2];

	for (int i = 0; i < COUNT; i++) {
		CHECK_OK(pipe(pipes[i]));
		p[i] = (struct pollfd){ .fd = pipes[i][0], .events = POLLIN };
	}
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < COUNT; i += 50) {
			check_sleep_ms(10);
			if (write(pipes[i][1], "x", 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	int seen = 0;
	while (seen < 4) {
		int ready = CHECK_OK(poll(p, COUNT, 20000));
		if (ready <= 0)
			break;
		for (int i = 0; i < COUNT; i++)
			if (p[i].revents & POLLIN) {
				char byte;
				CHECK_EQ(read(pipes[i][0], &byte, 1), 1);
				seen++;
			}
	}
	CHECK_EQ(seen, 4);
	CHECK_EQ(check_wait(pid), 0);
	for (int i = 0; i < COUNT; i++) {
		close(pipes[i][0]);
		close(pipes[i][1]);
	}
}

// The descriptor may be closed by another thread, or become ready from several sides at once.
static int race_fds[2];

static void *writes_later(void *argument)
{
	check_sleep_ms(30);
	if (argument)
		close(race_fds[1]);
	else if (write(race_fds[1], "x", 1) != 1)
		return (void *)1;
	return NULL;
}

static void woken_by_threads(void)
{
	for (long closes = 0; closes < 2; closes++) {
		pthread_t thread;
		CHECK_OK(pipe(race_fds));
		struct pollfd p = { .fd = race_fds[0], .events = POLLIN };
		pthread_create(&thread, NULL, writes_later, (void *)closes);
		CHECK_EQ(poll(&p, 1, 20000), 1);
		CHECK_EQ(p.revents, closes ? POLLHUP : POLLIN);
		pthread_join(thread, NULL);
		close(race_fds[0]);
		if (!closes)
			close(race_fds[1]);
	}
}

int main(void)
{
	polls();
	selects();
	masks();
	many();
	woken_by_threads();
	return check_done();
}
