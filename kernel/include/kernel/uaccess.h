// SPDX-License-Identifier: Apache-2.0
// The program's memory. Task context, no spinlock held, may fault and sleep. 0 or -EFAULT.
#pragma once

#include "kernel/errno.h"
#include "kernel/types.h"

static inline int must_check copy_from_user(void *to, struct uptr from, size_t size)
{
	return port_copy_in(to, from.address, size) ? -EFAULT : 0;
}
static inline int must_check copy_to_user(struct uptr to, const void *from, size_t size)
{
	return port_copy_out(to.address, from, size) ? -EFAULT : 0;
}
static inline int must_check clear_user(struct uptr to, size_t size)
{
	return port_clear_out(to.address, size) ? -EFAULT : 0;
}
#define get_user(object, from) copy_from_user((object), (from), sizeof(*(object)))
#define put_user(object, to)                             \
	({                                               \
		__typeof__(object) put_ = (object);      \
		copy_to_user((to), &put_, sizeof(put_)); \
	})

// A string of at most size - 1 bytes: its length, -ENAMETOOLONG when longer, -EFAULT.
long string_from_user(char *to, struct uptr from, size_t size);
// Copies a struct of which the program knows `user_size` bytes (clone3, sched_setattr, openat2 convention): a shorter one
// is zero-filled; a longer one must be zero beyond: -E2BIG.
int copy_struct_from_user(void *to, size_t size, struct uptr from, size_t user_size);
static inline bool user_range_ok(uint64_t address, uint64_t size)
{
	uint64_t end = port_user_end();
	return size <= end && address <= end - size;
}
