// SPDX-License-Identifier: Apache-2.0
// select(2) and pselect(2).

#include "kernel/syscalls.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"
#include "lib/bitmap.h"
#include "poll_wait.h"
#include "select.h"

#define FEW_WORDS 4u // 256 descriptors' sets fit on the stack

struct fd_sets {
	uint64_t *in[3], *out[3]; // read, write, except
	unsigned words;
	struct fd_borrow *borrows; // of the descriptors named in any set, in order
};

static int ask_all(struct fd_sets *s, struct poll_waiters *w, bool queue)
{
	int fd, ready = 0;
	unsigned i = 0;

	for (fd = select_next(s->in, s->words, 0); fd >= 0; fd = select_next(s->in, s->words, fd + 1)) {
		unsigned events;

		w->events = select_events_wanted(s->in, (unsigned)fd) | EPOLLERR | EPOLLHUP;
		events = file_poll(s->borrows[i++].file, queue && !ready ? &w->table : NULL);
		ready += (int)select_events_store(s->in, s->out, (unsigned)fd, events);
	}
	return ready;
}

static int wait_for_events(struct fd_sets *s, uint64_t deadline_ns)
{
	struct poll_waiters w;
	int ready, error = 0;

	poll_waiters_init(&w);
	ready = ask_all(s, &w, deadline_ns != 0);
	while (!ready && !error && !w.error && deadline_ns) {
		error = poll_waiters_sleep(&w, deadline_ns);
		poll_waiters_rearm(&w);
		ready = ask_all(s, &w, false);
	}
	poll_waiters_done(&w);
	if (ready || !error)
		return ready ? ready : w.error;
	return error == -ETIMEDOUT ? 0 : error;
}

static int borrow_all(struct fd_sets *s, uint64_t deadline_ns)
{
	unsigned count = 0, held;
	int fd, result = 0;

	for (fd = select_next(s->in, s->words, 0); fd >= 0; fd = select_next(s->in, s->words, fd + 1))
		count++;
	s->borrows = kalloc_array(count + 1, sizeof(*s->borrows));
	if (!s->borrows)
		return -ENOMEM;
	held = 0;
	for (fd = select_next(s->in, s->words, 0); fd >= 0; fd = select_next(s->in, s->words, fd + 1)) {
		s->borrows[held] = fd_begin(fd);
		if (!s->borrows[held].file) {
			result = -EBADF;
			break;
		}
		held++;
	}
	if (!result)
		result = wait_for_events(s, deadline_ns);
	while (held--)
		fd_end(s->borrows[held]);
	kfree(s->borrows);
	return result;
}

// deadline_ns 0: do not wait.
static int do_select(int count, const struct uptr user[3], uint64_t deadline_ns)
{
	uint64_t few[6 * FEW_WORDS] = { 0 }, *words = few;
	struct fd_sets s;
	unsigned set, max, bytes;
	int result = 0;

	if (count < 0)
		return -EINVAL;
	// Beyond the table nothing is open; Linux does not even look there.
	max = align_up(files_max_open(current->files), 64u);
	if ((unsigned)count > max)
		count = (int)max;
	s.words = BITMAP_WORDS((unsigned)count);
	bytes = s.words * 8;
	if (s.words > FEW_WORDS) {
		words = kalloc_array(6, bytes);
		if (!words)
			return -ENOMEM;
	}
	for (set = 0; set < 3; set++) {
		s.in[set] = words + set * s.words;
		s.out[set] = words + (3 + set) * s.words;
		if (uptr_is_null(user[set]))
			continue;
		if (copy_from_user(s.in[set], user[set], bytes)) {
			result = -EFAULT;
			goto out;
		}
		if (count % 64)
			s.in[set][s.words - 1] &= (UINT64_C(1) << (count % 64)) - 1;
	}
	result = borrow_all(&s, deadline_ns);
	for (set = 0; set < 3 && result >= 0; set++)
		if (!uptr_is_null(user[set]) && copy_to_user(user[set], s.out[set], bytes))
			result = -EFAULT;
out:
	if (words != few)
		kfree(words);
	return result;
}

long sys_select(int count, struct uptr read, struct uptr write, struct uptr except, struct uptr timeout)
{
	const struct uptr sets[3] = { read, write, except };
	struct __kernel_old_timeval v;
	uint64_t deadline = PARK_FOREVER, ns;
	int result;

	if (!uptr_is_null(timeout)) {
		if (get_user(&v, timeout))
			return -EFAULT;
		// More than a second of microseconds is fine here.
		if (v.tv_sec < 0 || v.tv_usec < 0)
			return -EINVAL;
		ns = v.tv_sec > TIME_NS_MAX / NSEC_PER_SEC - 1000000
			     ? TIME_NS_MAX
			     : (uint64_t)v.tv_sec * NSEC_PER_SEC +
				       (uint64_t)min(v.tv_usec, INT64_MAX / 2000) * NSEC_PER_USEC;
		deadline = ns ? deadline_after(ns) : 0;
	}
	result = do_select(count, sets, deadline);
	if (!uptr_is_null(timeout))
		(void)!timeval_to_user(timeout, deadline ? deadline_left(deadline) : 0);
	return result == -EINTR ? -ERESTARTNOHAND : result;
}

long sys_pselect6(int count, struct uptr read, struct uptr write, struct uptr except, struct uptr timeout,
		  struct uptr mask)
{
	const struct uptr sets[3] = { read, write, except };
	struct {
		struct uptr mask;
		uint64_t size;
	} m = { { 0 }, 0 };
	uint64_t deadline = PARK_FOREVER, ns;
	int result;

	if (!uptr_is_null(mask) && get_user(&m, mask))
		return -EFAULT;
	if (!uptr_is_null(timeout)) {
		result = timespec_from_user(&ns, timeout);
		if (result)
			return result;
		deadline = ns ? deadline_after(ns) : 0;
	}
	result = signal_set_user_mask(m.mask, m.size);
	if (result)
		return result;
	result = do_select(count, sets, deadline);
	signal_restore_user_mask(result == -EINTR);
	if (!uptr_is_null(timeout))
		(void)!timespec_to_user(timeout, deadline ? deadline_left(deadline) : 0);
	return result == -EINTR ? -ERESTARTNOHAND : result;
}
