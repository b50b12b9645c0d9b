// SPDX-License-Identifier: Apache-2.0
// Registered buffers: IORING_REGISTER_BUFFERS and its kin.
//
// A registered buffer is a range of the program's memory that was there when it was registered. Linux pins its pages; here the range is
// reached as any other, so a program that unmaps it gets -EFAULT for it from then on. What is registered counts towards RLIMIT_MEMLOCK.
#include "files.h"

#include <linux/capability.h>
#include <linux/resource.h>

#define BUFFERS_MAX      (1u << 14)          // as Linux
#define BUFFER_BYTES_MAX (UINT64_C(1) << 30) // likewise

struct uring_buffers {
	uint32_t count;
	struct user *user; // who is charged; reference
	struct {
		struct iov_segment range; // size 0: none
		uint64_t tag;
	} slots[];
};

int uring_buffer_check(struct uring *u, uint16_t index, uint64_t address, uint64_t size)
{
	int error = -EFAULT;

	mutex_lock(&u->lock);
	if (u->buffers && index < u->buffers->count) {
		const struct iov_segment *s = &u->buffers->slots[index].range;

		if (s->size && address >= s->address && size <= s->size && address - s->address <= s->size - size)
			error = 0;
	}
	mutex_unlock(&u->lock);
	return error;
}

// ---- what they count ----

static uint64_t pages_of(const struct iov_segment *s)
{
	return (align_up(s->address + s->size, PAGE_SIZE) - align_down(s->address, PAGE_SIZE)) / PAGE_SIZE;
}

static int charge(struct user *user, uint64_t pages)
{
	uint64_t limit = process_rlimit(current->process, RLIMIT_MEMLOCK) / PAGE_SIZE;

	if (__atomic_add_fetch(&user->registered_pages, pages, __ATOMIC_RELAXED) <= limit ||
	    cred_capable(current->cred, CAP_IPC_LOCK))
		return 0;
	__atomic_sub_fetch(&user->registered_pages, pages, __ATOMIC_RELAXED);
	return -ENOMEM;
}

static void clear_slot(struct uring *u, uint32_t index)
{
	struct uring_buffers *b = u->buffers;

	if (b->slots[index].range.size) {
		__atomic_sub_fetch(&b->user->registered_pages, pages_of(&b->slots[index].range), __ATOMIC_RELAXED);
		uring_tell_tag(u, b->slots[index].tag);
	}
	b->slots[index].range = (struct iov_segment){ 0, 0 };
	b->slots[index].tag = 0;
}

// One that the program describes, looked at and charged. *range has size 0: none.
static int range_from_user(struct uring_buffers *b, struct uptr vectors, struct uptr tags, uint32_t index,
			   struct iov_segment *range, uint64_t *tag)
{
	int error;

	*range = (struct iov_segment){ 0, 0 };
	*tag = 0;
	if (!uptr_is_null(vectors) && get_user(range, uptr_add(vectors, index * sizeof(*range))))
		return -EFAULT;
	if (!uptr_is_null(tags) && get_user(tag, uptr_add(tags, index * sizeof(*tag))))
		return -EFAULT;
	if (!range->address)
		return range->size || *tag ? -EFAULT : 0;
	if (!range->size || range->size > BUFFER_BYTES_MAX || !user_range_ok(range->address, range->size))
		return -EFAULT;
	error = mm_populate(current->mm, align_down(range->address, PAGE_SIZE), pages_of(range) * PAGE_SIZE, true);
	if (error)
		return -EFAULT;
	return charge(b->user, pages_of(range));
}

// ---- io_uring_register(2); uring.lock held ----

int uring_buffers_unregister(struct uring *u)
{
	if (!u->buffers)
		return -ENXIO;
	for (uint32_t i = 0; i < u->buffers->count; i++)
		clear_slot(u, i);
	user_put(u->buffers->user);
	kfree(u->buffers);
	u->buffers = NULL;
	return 0;
}

int uring_buffers_register(struct uring *u, struct uptr vectors, struct uptr tags, uint32_t count)
{
	struct uring_buffers *b;
	int error = 0;

	if (u->buffers)
		return -EBUSY;
	if (!count || count > BUFFERS_MAX)
		return -EINVAL;
	b = kalloc(sizeof(*b) + count * sizeof(b->slots[0]));
	if (!b)
		return -ENOMEM;
	b->user = user_get(current->cred->user);
	u->buffers = b;
	for (; b->count < count && !error; b->count += !error) {
		error = range_from_user(b, vectors, tags, b->count, &b->slots[b->count].range, &b->slots[b->count].tag);
		if (error)
			b->slots[b->count].range.size = 0;
	}
	if (error) {
		for (uint32_t i = 0; i < b->count; i++)
			b->slots[i].tag = 0; // nobody hears of what never was
		(void)uring_buffers_unregister(u);
	}
	return error;
}

int uring_buffers_update(struct uring *u, uint32_t from, struct uptr vectors, struct uptr tags, uint32_t count)
{
	struct uring_buffers *b = u->buffers;
	uint32_t done;
	int error = 0;

	if (!b)
		return -ENXIO;
	if (from + count < from || from + count > b->count)
		return -EINVAL;
	for (done = 0; done < count; done++) {
		struct iov_segment range;
		uint64_t tag;

		error = range_from_user(b, vectors, tags, done, &range, &tag);
		if (error)
			break;
		clear_slot(u, from + done);
		b->slots[from + done].range = range;
		b->slots[from + done].tag = tag;
	}
	return done ? (int)done : error;
}

void uring_buffers_drop(struct uring *u)
{
	mutex_lock(&u->lock);
	(void)uring_buffers_unregister(u);
	mutex_unlock(&u->lock);
}
