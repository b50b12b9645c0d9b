// SPDX-License-Identifier: Apache-2.0
// poll(2) and ppoll(2).

#include <linux/resource.h>

#include "kernel/syscalls.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"
#include "poll_wait.h"

#define FEW 8u // descriptors whose bookkeeping fits on the stack

struct poll_slot {
	struct pollfd user;
	struct fd_borrow borrow; // file NULL: negative or not open
};

static unsigned ask(struct poll_slot *s, struct poll_table *table)
{
	unsigned wanted = (unsigned short)s->user.events | EPOLLERR | EPOLLHUP;

	if (s->user.fd < 0)
		return 0;
	return s->borrow.file ? file_poll(s->borrow.file, table) & wanted : POLLNVAL;
}

// One pass over all; how many have something. Waiters are queued until the first that does.
static int ask_all(struct poll_slot *slots, unsigned count, struct poll_waiters *w, bool queue)
{
	unsigned i;
	int ready = 0;

	for (i = 0; i < count; i++) {
		unsigned events;

		w->events = (unsigned short)slots[i].user.events | EPOLLERR | EPOLLHUP;
		events = ask(&slots[i], queue && !ready ? &w->table : NULL);
		slots[i].user.revents = (short)events;
		ready += events != 0;
	}
	return ready;
}

static int wait_for_events(struct poll_slot *slots, unsigned count, uint64_t deadline_ns)
{
	struct poll_waiters w;
	int ready, error = 0;

	poll_waiters_init(&w);
	ready = ask_all(slots, count, &w, deadline_ns != 0);
	while (!ready && !error && !w.error && deadline_ns) {
		error = poll_waiters_sleep(&w, deadline_ns);
		poll_waiters_rearm(&w);
		ready = ask_all(slots, count, &w, false);
	}
	poll_waiters_done(&w);
	if (ready || !error)
		return ready ? ready : w.error;
	return error == -ETIMEDOUT ? 0 : error;
}

// deadline_ns 0: do not wait.
static int do_poll(struct uptr fds, unsigned count, uint64_t deadline_ns)
{
	struct poll_slot few[FEW], *slots = few;
	unsigned i;
	int result = -EFAULT;

	if (count > FEW) {
		if (count > process_rlimit(current->process, RLIMIT_NOFILE))
			return -EINVAL;
		slots = kalloc_array(count, sizeof(*slots));
		if (!slots)
			return -ENOMEM;
	}
	for (i = 0; i < count; i++)
		if (get_user(&slots[i].user, uptr_add(fds, i * sizeof(struct pollfd))))
			goto out;
	for (i = 0; i < count; i++)
		slots[i].borrow = slots[i].user.fd >= 0 ? fd_begin(slots[i].user.fd) : (struct fd_borrow){ 0 };
	result = wait_for_events(slots, count, deadline_ns);
	for (i = 0; i < count; i++)
		if (slots[i].borrow.file)
			fd_end(slots[i].borrow);
	for (i = 0; i < count && result >= 0; i++)
		if (put_user(slots[i].user.revents,
			     uptr_add(fds, i * sizeof(struct pollfd) + offsetof(struct pollfd, revents))))
			result = -EFAULT;
out:
	if (slots != few)
		kfree(slots);
	return result;
}

static long restart_poll(struct restart_block *r)
{
	int result = do_poll((struct uptr){ r->arguments[0] }, (unsigned)r->arguments[1], r->arguments[2]);

	return result == -EINTR ? -ERESTART_BLOCK : result;
}

long sys_poll(struct uptr fds, unsigned count, int timeout_ms)
{
	uint64_t deadline = timeout_ms < 0 ? PARK_FOREVER
			    : timeout_ms   ? deadline_after((uint64_t)timeout_ms * NSEC_PER_MSEC)
					   : 0;
	struct restart_block *r = &current->restart;
	int result = do_poll(fds, count, deadline);

	if (result != -EINTR)
		return result;
	r->fn = restart_poll;
	r->arguments[0] = fds.address;
	r->arguments[1] = count;
	r->arguments[2] = deadline;
	return -ERESTART_BLOCK;
}

// What is left of a timeout goes back to the program; when it cannot be written there, Linux does not mind.
static void write_left(struct uptr timeout, uint64_t deadline_ns)
{
	if (!uptr_is_null(timeout))
		(void)!timespec_to_user(timeout, deadline_ns ? deadline_left(deadline_ns) : 0);
}

long sys_ppoll(struct uptr fds, unsigned count, struct uptr timeout, struct uptr mask, size_t mask_size)
{
	uint64_t deadline = PARK_FOREVER, ns;
	int result;

	if (!uptr_is_null(timeout)) {
		result = timespec_from_user(&ns, timeout);
		if (result)
			return result;
		deadline = ns ? deadline_after(ns) : 0;
	}
	result = signal_set_user_mask(mask, mask_size);
	if (result)
		return result;
	result = do_poll(fds, count, deadline);
	signal_restore_user_mask(result == -EINTR);
	write_left(timeout, deadline);
	return result == -EINTR ? -ERESTARTNOHAND : result;
}
