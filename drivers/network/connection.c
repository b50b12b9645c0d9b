// SPDX-License-Identifier: Apache-2.0
// TCP connections by the host's descriptors, which are non-blocking: bytes go straight between the program's buffers and the host.
#include <linux/poll.h>
#include <linux/uio.h>

#include "kernel/fs.h"
#include "kernel/mm.h"
#include "kernel/sched.h"
#include "kernel/task.h"
#include "network.h"
#include "port/host.h"

#define SEGMENTS  16u // of a program's vector at once
#define QUEUE_MAX 0x7ffff000u
#define MSG_PEEK  0x02u
#define MSG_TRUNC 0x20u

static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR && POLLHUP == EPOLLHUP &&
		      POLLRDHUP == EPOLLRDHUP,
	      "poll(2) and epoll(7) name events alike");

// ---- readiness ----

// Who comes to the queue later looks for himself.
static void watch(struct network_channel *n, uint32_t events)
{
	struct network_message m = { .kind = NETWORK_WATCH, .channel = n->number };

	__atomic_thread_fence(__ATOMIC_SEQ_CST); // the look before the question whether somebody waits
	if (!(events & ~__atomic_load_n(&n->watched, __ATOMIC_RELAXED)) || !net_channel_awaited(&n->channel))
		return;
	m.value = events & ~__atomic_fetch_or(&n->watched, events, __ATOMIC_SEQ_CST);
	if (m.value && network_ask(&m, NULL, 0))
		__atomic_fetch_and(&n->watched, ~m.value, __ATOMIC_SEQ_CST);
}

unsigned network_connection_ready(struct net_channel *c)
{
	struct network_channel *n = network_channel_of(c);
	struct pollfd p = { .fd = n->fd, .events = POLLIN | POLLOUT | POLLRDHUP };
	unsigned events;

	if (n->fd < 0)
		return 0;
	if (port_file_poll(&p, 1, 0) < 0)
		p.revents = 0; // kicked: the server's word will have it look again
	events = (unsigned)p.revents & (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLERR | EPOLLHUP);
	watch(n, (EPOLLIN | EPOLLOUT | EPOLLRDHUP) & ~events);
	return events | (events & EPOLLIN ? EPOLLRDNORM : 0) | (events & EPOLLOUT ? EPOLLWRNORM : 0);
}

int network_connection_wait(struct net_channel *c, unsigned events, uint64_t deadline_ns)
{
	struct pollfd p = { .fd = network_channel_of(c)->fd, .events = (short)events };
	int n;

	sched_sleep_begin();
	n = port_file_poll(&p, 1, deadline_ns);
	sched_sleep_end();
	if (n == -EINTR && signal_pending(current))
		return -EINTR;
	if (n == -EINTR && task_work_test(current, WORK_REMOTE))
		mm_serve();
	return n ? 0 : -ETIMEDOUT;
}

int network_connection_take_error(struct net_channel *c)
{
	int error = network_channel_of(c)->fd >= 0 ? port_socket_error(network_channel_of(c)->fd) : 0;

	return error == -EPIPE || error == -EAGAIN ? 0 : -error;
}

void network_connection_shutdown(struct net_channel *c, bool read, bool write)
{
	const struct network_message m = { .kind = NETWORK_SHUTDOWN,
					   .channel = network_channel_of(c)->number,
					   .value = (read ? NETWORK_SHUT_READ : 0) | (write ? NETWORK_SHUT_WRITE : 0) };

	network_tell(&m);
}

// ---- bytes ----

// What is left of `i`, or its beginning, as the host wants it. The number of segments; *size: bytes in them.
static unsigned vector_make(struct iovec v[SEGMENTS], const struct iov_iter *i, size_t *size)
{
	size_t left = i->count, skip = i->segment_offset;
	unsigned count = 0;

	if (!i->segments) {
		v[0] = (struct iovec){ i->kernel, left };
		*size = left;
		return 1;
	}
	for (unsigned k = 0; k < i->segment_count && left && count < SEGMENTS; k++, skip = 0) {
		size_t part = min((size_t)i->segments[k].size - skip, left);

		if (part)
			v[count++] = (struct iovec){ (void *)(i->segments[k].address + skip), part };
		left -= part;
	}
	*size = i->count - left;
	return count;
}

enum direction { RECEIVE, PEEK, SEND };

// One call of the host. The call does not wait; -EINTR is what somebody else's kick made of it.
static ssize_t transfer_once(int fd, struct iov_iter *i, enum direction what, size_t *asked)
{
	struct iovec v[SEGMENTS];
	unsigned count = vector_make(v, i, asked);
	bool kicked = false;
	long n;

	do {
		n = what == SEND   ? port_file_write(fd, v, count, -1, 0)
		    : what == PEEK ? port_socket_receive(fd, v, count, MSG_PEEK)
				   : port_file_read(fd, v, count, -1, 0);
		kicked |= n == -EINTR;
	} while (n == -EINTR);
	if (kicked)
		port_task_kick(current->port);
	return n;
}

// Until the host has no more to give or to take; *dry: it had not.
static ssize_t transfer(int fd, struct iov_iter *i, enum direction what, bool *dry)
{
	ssize_t done = 0, n;
	bool faulted = false;
	size_t asked;

	do {
		n = transfer_once(fd, i, what, &asked);
		if (n == -EFAULT && !faulted && !iov_fault_in(i, what != SEND)) { // pages of ours the host cannot reach
			faulted = true;
			continue;
		}
		faulted = false;
		*dry = n < (ssize_t)asked;
		if (n > 0) {
			iov_advance(i, (size_t)n);
			done += n;
		}
	} while (faulted || (n == (ssize_t)asked && i->count && what != PEEK));
	return done ? done : n;
}

ssize_t network_connection_send(struct net_channel *c, struct iov_iter *from)
{
	struct network_channel *n = network_channel_of(c);
	bool dry;
	ssize_t done = transfer(n->fd, from, SEND, &dry);

	if (dry)
		watch(n, EPOLLOUT);
	return done;
}

// What was seen before is seen again, at the same place.
static ssize_t peek(struct network_channel *n, struct iov_iter *to, size_t skip)
{
	bool dry;
	ssize_t seen;

	iov_revert(to, skip);
	seen = transfer(n->fd, to, PEEK, &dry);
	if (seen > (ssize_t)skip || !skip)
		return seen - (ssize_t)skip;
	iov_advance(to, skip - (size_t)max(seen, (ssize_t)0));
	return network_connection_ready(&n->channel) & EPOLLRDHUP ? 0 : -EAGAIN;
}

ssize_t network_connection_receive(struct net_channel *c, struct iov_iter *to, bool peek_only, size_t skip)
{
	struct network_channel *n = network_channel_of(c);
	bool dry;
	ssize_t done;

	if (peek_only)
		return peek(n, to, skip);
	done = transfer(n->fd, to, RECEIVE, &dry);
	if (dry)
		watch(n, EPOLLIN | EPOLLRDHUP);
	return done;
}

size_t network_connection_queued(struct net_channel *c)
{
	struct iovec all = { NULL, QUEUE_MAX };
	int fd = network_channel_of(c)->fd;
	// Of TCP, MSG_TRUNC counts and copies nothing (tcp(7)).
	long n = fd >= 0 ? port_socket_receive(fd, &all, 1, MSG_PEEK | MSG_TRUNC) : 0;

	return n > 0 ? (size_t)n : 0;
}
