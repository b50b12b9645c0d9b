// SPDX-License-Identifier: Apache-2.0
// io_uring for guest tests, on raw system calls.
#pragma once

#include "check.h"
#include <linux/io_uring.h>

struct completion { // struct io_uring_cqe, but of one size
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};

struct ring {
	int fd;
	struct io_uring_params p;
	char *rings, *sqes;
	size_t rings_size;
	unsigned queued; // entries since the last submission
};

CHECK_UNUSED static long ring_setup(unsigned entries, struct io_uring_params *p)
{
	return syscall(SYS_io_uring_setup, entries, p);
}
CHECK_UNUSED static long ring_enter(const struct ring *r, unsigned count, unsigned least, unsigned flags,
				    void *argument, size_t size)
{
	return syscall(SYS_io_uring_enter, r->fd, count, least, flags, argument, size);
}
CHECK_UNUSED static long ring_register(const struct ring *r, unsigned what, void *argument, unsigned count)
{
	return syscall(SYS_io_uring_register, r->fd, what, argument, count);
}

// Some hosts forbid it, or have none.
CHECK_UNUSED static void ring_skip_without(void)
{
	struct io_uring_params p = { 0 };
	long fd = ring_setup(1, &p);

	if (fd < 0 && (errno == ENOSYS || errno == EPERM)) {
		printf("SKIP: no io_uring here\n");
		exit(77);
	}
	close((int)fd);
}

CHECK_UNUSED static void ring_init_with(struct ring *r, unsigned entries, struct io_uring_params p)
{
	size_t cqes, array;

	memset(r, 0, sizeof(*r));
	r->p = p;
	r->fd = (int)CHECK_OK(ring_setup(entries, &r->p));
	cqes = r->p.cq_off.cqes + r->p.cq_entries * (sizeof(struct io_uring_cqe) << !!(p.flags & IORING_SETUP_CQE32));
	array = r->p.sq_off.array + r->p.sq_entries * sizeof(unsigned);
	r->rings_size = cqes > array ? cqes : array;
	r->rings = mmap(NULL, r->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	CHECK(r->rings != MAP_FAILED);
	r->sqes = mmap(NULL, r->p.sq_entries * (sizeof(struct io_uring_sqe) << !!(p.flags & IORING_SETUP_SQE128)),
		       PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, (off_t)IORING_OFF_SQES);
	CHECK(r->sqes != MAP_FAILED);
}

CHECK_UNUSED static void ring_init(struct ring *r, unsigned entries, unsigned flags)
{
	ring_init_with(r, entries, (struct io_uring_params){ .flags = flags });
}

CHECK_UNUSED static void ring_close(struct ring *r)
{
	munmap(r->rings, r->rings_size);
	munmap(r->sqes, r->p.sq_entries * (sizeof(struct io_uring_sqe) << !!(r->p.flags & IORING_SETUP_SQE128)));
	close(r->fd);
}

static inline unsigned *ring_word(const struct ring *r, unsigned offset) { return (unsigned *)(r->rings + offset); }

// The next free entry, cleared; ring_add() makes it visible.
CHECK_UNUSED static struct io_uring_sqe *ring_sqe(struct ring *r, unsigned char opcode, int fd, uint64_t data)
{
	unsigned *tail = ring_word(r, r->p.sq_off.tail);
	unsigned slot = *tail & (r->p.sq_entries - 1);
	struct io_uring_sqe *s =
		(struct io_uring_sqe *)(r->sqes + slot * (sizeof(*s) << !!(r->p.flags & IORING_SETUP_SQE128)));

	memset(s, 0, sizeof(*s));
	s->opcode = opcode;
	s->fd = fd;
	s->user_data = data;
	ring_word(r, r->p.sq_off.array)[slot] = slot;
	r->queued++;
	return s;
}

// Adds an entry. What is set in it afterwards counts until the submission (but with a thread that polls).
CHECK_UNUSED static struct io_uring_sqe *ring_add(struct ring *r, unsigned char opcode, int fd, const void *address,
						  unsigned length, uint64_t offset, uint64_t data)
{
	struct io_uring_sqe *s = ring_sqe(r, opcode, fd, data);

	s->addr = (uintptr_t)address;
	s->len = length;
	s->off = offset;
	__atomic_store_n(ring_word(r, r->p.sq_off.tail), *ring_word(r, r->p.sq_off.tail) + 1, __ATOMIC_RELEASE);
	return s;
}

CHECK_UNUSED static long ring_submit(struct ring *r, unsigned least)
{
	unsigned n = r->queued;

	r->queued = 0;
	return ring_enter(r, n, least, least ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
}

CHECK_UNUSED static unsigned ring_ready(const struct ring *r)
{
	return __atomic_load_n(ring_word(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE) - *ring_word(r, r->p.cq_off.head);
}

// Takes a completion, if there is one.
CHECK_UNUSED static bool ring_take(struct ring *r, struct completion *c)
{
	unsigned *head = ring_word(r, r->p.cq_off.head);

	if (!ring_ready(r))
		return false;
	memcpy(c,
	       r->rings + r->p.cq_off.cqes +
		       (*head & (r->p.cq_entries - 1)) * (sizeof(*c) << !!(r->p.flags & IORING_SETUP_CQE32)),
	       sizeof(*c));
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return true;
}

// Waits for a completion.
CHECK_UNUSED static struct completion ring_wait(struct ring *r)
{
	struct completion c = { 0 };

	while (!ring_take(r, &c))
		if (ring_enter(r, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 && errno != EINTR) {
			CHECK(!"io_uring_enter failed");
			break;
		}
	return c;
}

// Submits what was added, takes one completion, and checks whose it is. Its result.
#define RING_RUN(r, data)                         \
	({                                        \
		struct completion ring_c;         \
		CHECK(ring_submit((r), 1) >= 0);  \
		ring_c = ring_wait(r);            \
		CHECK_EQ(ring_c.user_data, data); \
		ring_c.res;                       \
	})
// The next completion is this one.
#define RING_EXPECT(r, data, result)                     \
	({                                               \
		struct completion ring_c = ring_wait(r); \
		CHECK_EQ(ring_c.user_data, data);        \
		CHECK_EQ(ring_c.res, result);            \
		ring_c.flags;                            \
	})
