// SPDX-License-Identifier: Apache-2.0
// Does epoll report levels, edges and single shots, keep its set, nest, and refuse what it must?
#include "check.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static int control(int epoll, int operation, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = { .events = events, .data.u64 = data };

	return epoll_ctl(epoll, operation, fd, &event);
}

static int collect(int epoll, struct epoll_event *events, int ms) { return epoll_wait(epoll, events, 8, ms); }

static void level(void)
{
	struct epoll_event events[8];
	int fds[2], epoll = CHECK_OK(epoll_create1(EPOLL_CLOEXEC));

	CHECK(fcntl(epoll, F_GETFD) & FD_CLOEXEC);
	CHECK_OK(pipe(fds));
	CHECK_OK(control(epoll, EPOLL_CTL_ADD, fds[0], EPOLLIN, 111));
	CHECK_EQ(collect(epoll, events, 0), 0);
	CHECK_EQ(write(fds[1], "ab", 2), 2);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(collect(epoll, events, 0), 1);
		CHECK_EQ(events[0].events, EPOLLIN);
		CHECK_EQ(events[0].data.u64, 111);
	}
	char buffer[4];
	CHECK_EQ(read(fds[0], buffer, 4), 2);
	CHECK_EQ(collect(epoll, events, 0), 0);
	CHECK_OK(control(epoll, EPOLL_CTL_ADD, fds[1], EPOLLOUT, 222));
	CHECK_EQ(collect(epoll, events, 0), 1);
	CHECK_EQ(events[0].data.u64, 222);
	CHECK_OK(control(epoll, EPOLL_CTL_MOD, fds[1], 0, 222));
	CHECK_EQ(collect(epoll, events, 0), 0);
	CHECK_OK(control(epoll, EPOLL_CTL_DEL, fds[1], 0, 0));
	close(fds[1]);
	CHECK_EQ(collect(epoll, events, 0), 1);
	CHECK_EQ(events[0].events, EPOLLHUP);
	close(fds[0]); // leaves the set
	CHECK_EQ(collect(epoll, events, 0), 0);
	close(epoll);
}

static void edge(void)
{
	struct epoll_event events[8];
	int fds[2], epoll = epoll_create1(0);
	char buffer[4];

	CHECK_OK(pipe(fds));
	CHECK_OK(control(epoll, EPOLL_CTL_ADD, fds[0], EPOLLIN | EPOLLET, 1));
	CHECK_EQ(write(fds[1], "ab", 2), 2);
	CHECK_EQ(collect(epoll, events, 0), 1);
	CHECK_EQ(collect(epoll, events, 0), 0); // no news
	CHECK_EQ(write(fds[1], "c", 1), 1);
	CHECK_EQ(collect(epoll, events, 0), 1);
	CHECK_EQ(read(fds[0], buffer, 1), 1);
	CHECK_EQ(collect(epoll, events, 0), 0);                                // still data, still no news
	CHECK_OK(control(epoll, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLET, 2)); // a change looks again
	CHECK_EQ(collect(epoll, events, 0), 1);
	CHECK_EQ(events[0].data.u64, 2);
	close(fds[0]);
	close(fds[1]);

	// Already ready when added.
	int event_fd = eventfd(1, 0);
	CHECK_OK(control(epoll, EPOLL_CTL_ADD, event_fd, EPOLLIN | EPOLLET, 3));
	CHECK_EQ(collect(epoll, events, 0), 1);
	CHECK_EQ(collect(epoll, events, 0), 0);
	uint64_t one = 1;
	CHECK_EQ(write(event_fd, &one, 8), 8);
	CHECK_EQ(collect(epoll, events, 0), 1);
	close(event_fd);
	close(epoll);
}

static void one_shot(void)
{
	struct epoll_event events[8];
	int epoll = epoll_create1(0), event_fd = eventfd(1, 0);

	CHECK_OK(control(epoll, EPOLL_CTL_ADD, event_fd, EPOLLIN | EPOLLONESHOT, 1));
	CHECK_EQ(collect(epoll, events, 0), 1);
	CHECK_EQ(collect(epoll, events, 0), 0);
	uint64_t one = 1;
	CHECK_EQ(write(event_fd, &one, 8), 8);
	CHECK_EQ(collect(epoll, events, 0), 0);
	CHECK_OK(control(epoll, EPOLL_CTL_MOD, event_fd, EPOLLIN | EPOLLONESHOT, 1));
	CHECK_EQ(collect(epoll, events, 0), 1);
	close(event_fd);
	close(epoll);
}

static void nested(void)
{
	struct epoll_event events[8];
	int outer = epoll_create1(0), inner = epoll_create1(0), event_fd = eventfd(0, 0);
	uint64_t one = 1;

	CHECK_OK(control(inner, EPOLL_CTL_ADD, event_fd, EPOLLIN, 5));
	CHECK_OK(control(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 6));
	CHECK_EQ(collect(outer, events, 0), 0);
	struct pollfd p = { .fd = outer, .events = POLLIN };
	CHECK_EQ(poll(&p, 1, 0), 0);
	CHECK_EQ(write(event_fd, &one, 8), 8);
	CHECK_EQ(poll(&p, 1, 1000), 1);
	CHECK_EQ(collect(outer, events, 1000), 1);
	CHECK_EQ(events[0].data.u64, 6);
	CHECK_EQ(collect(inner, events, 0), 1);
	CHECK_EQ(events[0].data.u64, 5);
	CHECK_EQ(read(event_fd, &one, 8), 8);
	CHECK_EQ(collect(outer, events, 0), 0);
	CHECK_ERR(control(outer, EPOLL_CTL_ADD, outer, EPOLLIN, 0), EINVAL);
	CHECK_ERR(control(inner, EPOLL_CTL_ADD, outer, EPOLLIN, 0), ELOOP);
	// A chain that is too deep.
	int chain[8], failed = 0;
	for (int i = 0; i < 8; i++) {
		chain[i] = epoll_create1(0);
		if (i > 0 && control(chain[i], EPOLL_CTL_ADD, chain[i - 1], EPOLLIN, 0) < 0) {
			CHECK(errno == ELOOP || errno == EINVAL);
			failed++;
		}
	}
	CHECK(failed > 0);
	for (int i = 0; i < 8; i++)
		close(chain[i]);
	close(outer);
	close(inner);
	close(event_fd);
}

static void errors(void)
{
	struct epoll_event events[8];
	int epoll = epoll_create1(0), event_fd = eventfd(0, 0), file = open("/proc/self/exe", O_RDONLY);
	int other = eventfd(0, 0);

	CHECK_ERR(epoll_create(0), EINVAL);
	CHECK_ERR(epoll_create1(1), EINVAL);
	CHECK_OK(control(epoll, EPOLL_CTL_ADD, event_fd, EPOLLIN, 0));
	CHECK_ERR(control(epoll, EPOLL_CTL_ADD, event_fd, EPOLLIN, 0), EEXIST);
	CHECK_ERR(control(epoll, EPOLL_CTL_MOD, other, EPOLLIN, 0), ENOENT);
	CHECK_ERR(control(epoll, EPOLL_CTL_DEL, other, EPOLLIN, 0), ENOENT);
	CHECK_ERR(control(epoll, EPOLL_CTL_ADD, 99, EPOLLIN, 0), EBADF);
	CHECK_ERR(control(99, EPOLL_CTL_ADD, event_fd, EPOLLIN, 0), EBADF);
	CHECK_ERR(control(event_fd, EPOLL_CTL_ADD, epoll, EPOLLIN, 0), EINVAL);
	CHECK_ERR(control(epoll, 77, event_fd, EPOLLIN, 0), EINVAL);
	CHECK_ERR(control(epoll, EPOLL_CTL_ADD, file, EPOLLIN, 0), EPERM); // plain files are always ready
	CHECK_ERR(epoll_ctl(epoll, EPOLL_CTL_MOD, event_fd, (void *)8), EFAULT);
	CHECK_ERR(epoll_wait(epoll, events, 0, 0), EINVAL);
	CHECK_ERR(epoll_wait(epoll, events, -1, 0), EINVAL);
	CHECK_ERR(epoll_wait(event_fd, events, 1, 0), EINVAL);
	CHECK_ERR(epoll_wait(99, events, 1, 0), EBADF);
	int64_t start = check_now_ns();
	CHECK_EQ(epoll_wait(epoll, events, 1, 40), 0);
	CHECK(check_now_ns() - start >= 40000000);
	close(epoll);
}

static void duplicates(void)
{
	struct epoll_event events[8];
	int epoll = epoll_create1(0), event_fd = eventfd(1, 0), copy = dup(event_fd);

	// Both descriptors may be in the set; the set belongs to the open file.
	CHECK_OK(control(epoll, EPOLL_CTL_ADD, event_fd, EPOLLIN, 1));
	CHECK_OK(control(epoll, EPOLL_CTL_ADD, copy, EPOLLIN, 2));
	CHECK_EQ(collect(epoll, events, 0), 2);
	close(copy); // stays in the set while the file is open
	CHECK_EQ(collect(epoll, events, 0), 2);
	close(event_fd);
	CHECK_EQ(collect(epoll, events, 0), 0);
	close(epoll);
}

static void round_robin(void)
{
	struct epoll_event event;
	int epoll = epoll_create1(0), seen[4] = { 0 };

	for (int i = 0; i < 4; i++)
		CHECK_OK(control(epoll, EPOLL_CTL_ADD, eventfd(1, 0), EPOLLIN, i));
	for (int i = 0; i < 8; i++) {
		CHECK_EQ(epoll_wait(epoll, &event, 1, 0), 1);
		seen[event.data.u64]++;
	}
	for (int i = 0; i < 4; i++)
		CHECK_EQ(seen[i], 2); // no file starves the others
}

static int exclusive_epoll[3], source;
static atomic_int waiting, woken;

static void *waits(void *argument)
{
	struct epoll_event event;

	atomic_fetch_add(&waiting, 1);
	if (epoll_wait(exclusive_epoll[(long)argument], &event, 1, 300) == 1)
		atomic_fetch_add(&woken, 1);
	return NULL;
}

static void exclusive(void)
{
	pthread_t threads[3];
	uint64_t one = 1;

	source = eventfd(0, 0);
	for (long i = 0; i < 3; i++) {
		exclusive_epoll[i] = epoll_create1(0);
		CHECK_OK(control(exclusive_epoll[i], EPOLL_CTL_ADD, source, EPOLLIN | EPOLLEXCLUSIVE | EPOLLET, 0));
		pthread_create(&threads[i], NULL, waits, (void *)i);
	}
	WAIT_UNTIL(atomic_load(&waiting) == 3);
	check_sleep_ms(60);
	CHECK_EQ(write(source, &one, 8), 8);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	CHECK(atomic_load(&woken) >= 1); // at least one; not all need be
	CHECK_ERR(control(exclusive_epoll[0], EPOLL_CTL_MOD, source, EPOLLIN, 0), EINVAL);
	CHECK_ERR(control(exclusive_epoll[0], EPOLL_CTL_ADD, eventfd(0, 0), EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 0),
		  EINVAL);
}

static void sockets(void)
{
	struct epoll_event events[8];
	int pair[2], epoll = epoll_create1(0);

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_OK(control(epoll, EPOLL_CTL_ADD, pair[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 0));
	CHECK_EQ(collect(epoll, events, 0), 1);
	CHECK_EQ(events[0].events, EPOLLOUT);
	CHECK_EQ(write(pair[1], "x", 1), 1);
	CHECK_EQ(collect(epoll, events, 0), 1);
	CHECK_EQ(events[0].events, EPOLLIN | EPOLLOUT);
	shutdown(pair[1], SHUT_WR);
	CHECK_EQ(collect(epoll, events, 0), 1);
	CHECK_EQ(events[0].events, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	close(pair[1]);
	CHECK_EQ(collect(epoll, events, 0), 1);
	CHECK(events[0].events & EPOLLHUP);
	close(pair[0]);
	close(epoll);
}

static volatile int hits;

static void on_signal(int signal)
{
	(void)signal;
	hits++;
}

static void wakes_a_sleeper_and_masks_signals(void)
{
	struct epoll_event events[8];
	int fds[2], epoll = epoll_create1(0);
	sigset_t block, none;

	CHECK_OK(pipe(fds));
	CHECK_OK(control(epoll, EPOLL_CTL_ADD, fds[0], EPOLLIN, 1));
	pid_t pid = fork();
	if (pid == 0) {
		check_sleep_ms(40);
		_exit(write(fds[1], "x", 1) == 1 ? 0 : 1);
	}
	CHECK_EQ(collect(epoll, events, 20000), 1);
	CHECK_EQ(check_wait(pid), 0);
	char byte;
	CHECK_EQ(read(fds[0], &byte, 1), 1);
	// epoll_pwait opens the mask only while it waits.
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigemptyset(&none);
	signal(SIGUSR1, on_signal);
	sigprocmask(SIG_BLOCK, &block, NULL);
	raise(SIGUSR1);
	CHECK_EQ(hits, 0);
	CHECK_ERR(epoll_pwait(epoll, events, 8, 20000, &none), EINTR);
	CHECK_EQ(hits, 1);
	raise(SIGUSR1);
	CHECK_EQ(hits, 1);
	sigprocmask(SIG_UNBLOCK, &block, NULL);
	CHECK_EQ(hits, 2);
	close(epoll);
}

static int late_epoll, late_fd;

static void *adds_later(void *argument)
{
	(void)argument;
	check_sleep_ms(40);
	CHECK_OK(control(late_epoll, EPOLL_CTL_ADD, late_fd, EPOLLIN, 77));
	return NULL;
}

static void added_while_waiting(void)
{
	struct epoll_event events[8];
	pthread_t thread;

	late_epoll = epoll_create1(0);
	late_fd = eventfd(1, 0);
	pthread_create(&thread, NULL, adds_later, NULL);
	CHECK_EQ(collect(late_epoll, events, 20000), 1);
	CHECK_EQ(events[0].data.u64, 77);
	pthread_join(thread, NULL);
}

int main(void)
{
	level();
	edge();
	one_shot();
	nested();
	errors();
	duplicates();
	round_robin();
	exclusive();
	sockets();
	wakes_a_sleeper_and_masks_signals();
	added_while_waiting();
	return check_done();
}
