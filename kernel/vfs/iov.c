// SPDX-License-Identifier: Apache-2.0
// Data in flight: walks the program's buffers, or one kernel buffer. No locking: an iterator belongs to one call.
#include "internal.h"

#include "lib/string.h"

void iov_init_user(struct iov_iter *i, struct uptr buffer, size_t size)
{
	i->single = (struct iov_segment){ buffer.address, size };
	i->segments = &i->single;
	i->segment_count = 1;
	i->segment_offset = 0;
	i->kernel = NULL;
	i->append = false;
	i->count = size;
}

void iov_init_kernel(struct iov_iter *i, void *buffer, size_t size)
{
	i->segments = NULL;
	i->append = false;
	i->segment_count = 0;
	i->segment_offset = 0;
	i->kernel = buffer;
	i->count = size;
}

// The present segment's rest; skips finished ones. i->count > 0.
static size_t segment_left(struct iov_iter *i)
{
	while (i->segment_offset == i->segments->size && i->segment_count > 1) {
		i->segments++;
		i->segment_count--;
		i->segment_offset = 0;
	}
	return i->segments->size - i->segment_offset;
}

enum way { COPY_OUT, COPY_IN, ZERO_OUT };

static size_t move(struct iov_iter *i, char *data, size_t size, enum way way)
{
	size_t done = 0;
	size = min(size, i->count);
	while (done < size) {
		size_t part = min(size - done, segment_left(i));
		if (!part)
			break;
		uint64_t user = i->segments->address + i->segment_offset;
		size_t missed = way == COPY_OUT  ? port_copy_out(user, data + done, part)
				: way == COPY_IN ? port_copy_in(data + done, user, part)
						 : port_clear_out(user, part);
		part -= missed;
		i->segment_offset += part;
		i->count -= part;
		done += part;
		if (missed)
			break;
	}
	return done;
}

size_t iov_copy_to(struct iov_iter *to, const void *from, size_t size)
{
	if (to->segments)
		return move(to, (char *)from, size, COPY_OUT);
	size = min(size, to->count);
	memcpy(to->kernel, from, size);
	to->kernel += size;
	to->count -= size;
	return size;
}

size_t iov_copy_from(void *to, struct iov_iter *from, size_t size)
{
	if (from->segments)
		return move(from, to, size, COPY_IN);
	size = min(size, from->count);
	memcpy(to, from->kernel, size);
	from->kernel += size;
	from->count -= size;
	return size;
}

size_t iov_zero(struct iov_iter *to, size_t size)
{
	if (to->segments)
		return move(to, NULL, size, ZERO_OUT);
	size = min(size, to->count);
	memset(to->kernel, 0, size);
	to->kernel += size;
	to->count -= size;
	return size;
}

void iov_advance(struct iov_iter *i, size_t size)
{
	size = min(size, i->count);
	if (!i->segments) {
		i->kernel += size;
		i->count -= size;
		return;
	}
	while (size) {
		size_t part = min(size, segment_left(i));
		if (!part)
			return;
		i->segment_offset += part;
		i->count -= part;
		size -= part;
	}
}

void iov_revert(struct iov_iter *i, size_t size)
{
	i->count += size;
	if (!i->segments) {
		i->kernel -= size;
		return;
	}
	while (size > i->segment_offset) { // the caller went this way before: earlier segments are there
		size -= i->segment_offset;
		i->segments--;
		i->segment_count++;
		i->segment_offset = i->segments->size;
	}
	i->segment_offset -= size;
}

#define FAULT_IN_BYTES (UINT64_C(256) << 10)

int iov_fault_in(struct iov_iter *i, bool store)
{
	if (!i->segments || !i->count || !current->mm)
		return -EFAULT;
	uint64_t size = min(min(segment_left(i), i->count), FAULT_IN_BYTES);
	uint64_t address = i->segments->address + i->segment_offset, start = align_down(address, PAGE_SIZE);
	if (!size || !user_range_ok(address, size) || mm_populate(current->mm, start, PAGE_SIZE, store))
		return -EFAULT;
	if (address + size > start + PAGE_SIZE) // the rest only spares further rounds
		(void)mm_populate(current->mm, start + PAGE_SIZE, address + size - start - PAGE_SIZE, store);
	return 0;
}
