// SPDX-License-Identifier: Apache-2.0
// The parts of kernel/uaccess.h that are more than one copy.
#include "kernel/uaccess.h"

#include "lib/string.h"

long string_from_user(char *to, struct uptr from, size_t size)
{
	long n = port_string_in(to, from.address, size);
	return n >= 0 && (size_t)n >= size ? -ENAMETOOLONG : n;
}

int copy_struct_from_user(void *to, size_t size, struct uptr from, size_t user_size)
{
	size_t known = min(size, user_size);
	for (size_t at = known; at < user_size;) {
		char rest[64];
		size_t n = min(user_size - at, sizeof(rest));
		if (copy_from_user(rest, uptr_add(from, at), n))
			return -EFAULT;
		for (size_t i = 0; i < n; i++)
			if (rest[i])
				return -E2BIG;
		at += n;
	}
	memset((char *)to + known, 0, size - known);
	return copy_from_user(to, from, known);
}
