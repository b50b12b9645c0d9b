// SPDX-License-Identifier: Apache-2.0
// User memory is accessed where it is. A fault in one of the routines of entry.S comes back as a count of what was not done
// and is then handled as any page fault of the program, on the kernel stack.
#include "aspace.h"
#include "layout.h"
#include "lib/asan.h"
#include "lib/compiler.h"
#include "lib/string.h"
#include "port/host.h"
#include "task.h"
#include "window.h"

#include <asm/errno.h>

size_t hosted_move(void *to, const void *from, size_t size);
size_t hosted_clear(void *to, size_t size);
size_t hosted_move1(void *to, const void *from);
size_t hosted_move2(void *to, const void *from);
size_t hosted_move4(void *to, const void *from);
size_t hosted_move8(void *to, const void *from);
int hosted_load32(const uint32_t *from, uint32_t *seen);
int hosted_cmpxchg32(uint32_t *at, uint32_t old, uint32_t new, uint32_t *seen);
long hosted_string(char *to, const char *from, size_t size);

uint64_t port_user_end(void) { return hosted_user_end; }

static inline bool range_ok(uint64_t va, size_t size)
{
	return size <= hosted_user_end && va <= hosted_user_end - size;
}

// What the last fault of this thread asks for: 0, try again.
static int fault_in(void)
{
	struct port_task *p = current_port();

	if (p->fault_flags == UINT32_MAX) // no page fault: a non-canonical address
		return -EFAULT;
	int error = kernel_upcall_page_fault(task_frame(p), p->fault_address, p->fault_flags);
	return !error && p->aspace && !hosted_aspace_agrees(p->aspace, p->fault_address) ? -EFAULT : error;
}

static inline size_t move(void *to, const void *from, size_t size)
{
	switch (size) {
	case 1: return hosted_move1(to, from);
	case 2: return hosted_move2(to, from);
	case 4: return hosted_move4(to, from);
	case 8: return hosted_move8(to, from);
	default: return hosted_move(to, from, size);
	}
}

static size_t move_faulting(void *to, const void *from, size_t size)
{
	asan_check(from, size, false);
	asan_check(to, size, true);
	size_t left = move(to, from, size);

	while (unlikely(left)) {
		if (fault_in())
			return left;
		size_t done = size - left;
		left = hosted_move((char *)to + done, (const char *)from + done, left);
	}
	return 0;
}

size_t port_copy_in(void *to, uint64_t user_from, size_t size)
{
	return likely(range_ok(user_from, size)) ? move_faulting(to, (const void *)user_from, size) : size;
}

size_t port_copy_out(uint64_t user_to, const void *from, size_t size)
{
	return likely(range_ok(user_to, size)) ? move_faulting((void *)user_to, from, size) : size;
}

size_t port_clear_out(uint64_t user_to, size_t size)
{
	size_t left = range_ok(user_to, size) ? hosted_clear((void *)user_to, size) : 0;

	if (!range_ok(user_to, size))
		return size;
	while (left && !fault_in())
		left = hosted_clear((void *)(user_to + size - left), left);
	return left;
}

long port_string_in(char *to, uint64_t user_from, size_t size)
{
	if (user_from >= hosted_user_end)
		return -EFAULT;
	// A string that runs into the end of what the program has is not terminated there.
	size_t room = hosted_user_end - user_from, limit = size < room ? size : room;
	for (;;) {
		long n = hosted_string(to, (const char *)user_from, limit);
		if (likely(n >= 0))
			return (size_t)n == limit && limit < size ? -EFAULT : n;
		if (fault_in())
			return -EFAULT;
	}
}

// ---- futex words ----

static int load_word(uint64_t user, uint32_t *seen, bool may_fault)
{
	if (user % 4 || !range_ok(user, 4))
		return -EFAULT;
	while (unlikely(hosted_load32((const uint32_t *)user, seen)))
		if (!may_fault || fault_in())
			return -EFAULT;
	return 0;
}

static int exchange_word(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen, bool may_fault)
{
	if (user % 4 || !range_ok(user, 4))
		return -EFAULT;
	while (unlikely(hosted_cmpxchg32((uint32_t *)user, old, new, seen)))
		if (!may_fault || fault_in())
			return -EFAULT;
	return 0;
}

int port_user_load32(uint64_t user, uint32_t *seen) { return load_word(user, seen, true); }

int port_user_cmpxchg32(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen)
{
	return exchange_word(user, old, new, seen, true);
}

int port_user_load32_atomic(uint64_t user, uint32_t *seen) { return load_word(user, seen, false); }

int port_user_cmpxchg32_atomic(uint64_t user, uint32_t old, uint32_t new, uint32_t *seen)
{
	return exchange_word(user, old, new, seen, false);
}

// ---- frames ----

void *port_frame_address(paddr_t frame) { return (void *)(hosted.data_start + frame); }

paddr_t port_frame_of(const void *kernel_address) { return (uint64_t)kernel_address - hosted.data_start; }

void port_page_expect_device(void *page) { (void)page; } // the host's devices write to no frame

void port_zero_page(void *page)
{
	size_t words = PAGE_BYTES / 8;
	asan_check(page, PAGE_BYTES, true);
	__asm__ volatile("rep stosq" : "+D"(page), "+c"(words) : "a"(0) : "memory");
}

void port_copy_page(void *to, const void *from)
{
	size_t words = PAGE_BYTES / 8;
	asan_check(from, PAGE_BYTES, false);
	asan_check(to, PAGE_BYTES, true);
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

unsigned port_memory_ranges(struct port_memory_range *out, unsigned max)
{
	if (max)
		out[0] = (struct port_memory_range){ port_frame_of((void *)hosted.arena_start),
						     port_frame_of((void *)hosted_stacks_start), false };
	return 1;
}

// Task blocks are not the page allocator's.
size_t port_held_pages(void) { return 0; }

bool port_stable_code(void) { return false; }
