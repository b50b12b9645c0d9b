// SPDX-License-Identifier: Apache-2.0
// Tells those who sleep on a channel's queue (poll, epoll) that the host's descriptor is ready. One task waits for all
// descriptors that somebody wants to hear of; when one more is wanted meanwhile, an eventfd gets it out of its sleep. Who
// reads or writes and has to wait does that himself (channel.c).
//
// Locks: lock (spinlock) guards everything here and stream.wanted.
#include <linux/poll.h>
#include <linux/uio.h>

#include "hostio.h"
#include "kernel/sched.h"
#include "port/host.h"

static struct spinlock lock = SPINLOCK_INIT;
static struct stream *streams[HOSTIO_STREAMS_MAX]; // constant once started, like their number and the doorbell
static unsigned stream_count;
static int bell = -1;
static bool any_wanted;                      // lock
static bool asleep, rung;                    // lock: the task waits in the host; it was called
static struct waitq work = WAITQ_INIT(work); // something is wanted

// Positions in the set the task waits for: the doorbell, then the streams.
struct round {
	struct pollfd set[HOSTIO_STREAMS_MAX + 1];
	struct stream *of[HOSTIO_STREAMS_MAX + 1];
	unsigned count;
};

void ready_add(struct stream *s) { streams[stream_count++] = s; }

static void ring(void)
{
	uint64_t one = 1;
	struct iovec v = { &one, sizeof(one) };

	(void)port_file_write(bell, &v, 1, -1, 0); // full: it rings already
}

static void silence(void)
{
	uint64_t count;
	struct iovec v = { &count, sizeof(count) };

	(void)port_file_read(bell, &v, 1, -1, 0);
}

void ready_want(struct stream *s, unsigned events)
{
	bool call = false;

	spin_lock(&lock);
	if (events & ~s->wanted) {
		s->wanted |= events;
		any_wanted = true;
		call = asleep && !rung;
		rung |= call;
	}
	spin_unlock(&lock);
	if (call)
		ring();
	else
		waitq_wake_all(&work);
}

static bool is_any_wanted(void)
{
	spin_lock(&lock);
	bool any = any_wanted;
	spin_unlock(&lock);
	return any;
}

static void gather(struct round *r)
{
	r->set[0] = (struct pollfd){ .fd = bell, .events = POLLIN };
	r->count = 1;
	spin_lock(&lock);
	for (unsigned i = 0; i < stream_count; i++) {
		if (!streams[i]->wanted)
			continue;
		r->of[r->count] = streams[i];
		r->set[r->count++] = (struct pollfd){ .fd = streams[i]->fd, .events = (short)streams[i]->wanted };
	}
	asleep = true;
	spin_unlock(&lock);
}

// What came is wanted no more; an end or an error ends all wishes. An odd failure of the wait looks like an end, so that the
// waiters find out by themselves.
static void settle(struct round *r, bool failed)
{
	bool was_rung;

	spin_lock(&lock);
	was_rung = rung;
	asleep = rung = any_wanted = false;
	for (unsigned i = 1; i < r->count; i++) {
		if (failed)
			r->set[i].revents = POLLERR;
		r->of[i]->wanted &= ~(unsigned)r->set[i].revents;
		if (r->set[i].revents & (POLLHUP | POLLERR | POLLNVAL))
			r->of[i]->wanted = 0;
	}
	for (unsigned i = 0; i < stream_count; i++)
		any_wanted |= streams[i]->wanted != 0;
	spin_unlock(&lock);
	if (was_rung)
		silence();
}

static unsigned events_of(short revents)
{
	if (revents & (POLLHUP | POLLERR | POLLNVAL))
		return 0; // any
	return (revents & POLLIN ? EPOLLIN | EPOLLRDNORM : 0) | (revents & POLLOUT ? EPOLLOUT | EPOLLWRNORM : 0);
}

void ready_round(void)
{
	struct round r;

	gather(&r);
	int n = port_file_poll(r.set, r.count, PARK_FOREVER);
	settle(&r, n < 0 && n != -EINTR);
	for (unsigned i = 1; i < r.count && n != -EINTR; i++)
		if (r.set[i].revents)
			waitq_wake_events(&r.of[i]->channel.wait, 0, events_of(r.set[i].revents));
}

static void ready_task(void *unused)
{
	(void)unused;
	for (;;) {
		wait_event(&work, is_any_wanted());
		ready_round();
	}
}

int ready_start(int doorbell)
{
	bell = doorbell;
	return is_err(kernel_task_create("hostio", ready_task, NULL)) ? -ENOMEM : 0;
}
