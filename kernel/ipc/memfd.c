// SPDX-License-Identifier: Apache-2.0
// memfd_create(2): a tmpfs file on no mount.
#include <linux/fcntl.h>
#include <linux/memfd.h>

#include "kernel/fs.h"
#include "kernel/slab.h"
#include "kernel/syscalls.h"
#include "kernel/tmpfs.h"
#include "kernel/uaccess.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define NAME_MAX_LENGTH 249 // NAME_MAX less "memfd:"

long sys_memfd_create(struct uptr name, unsigned flags)
{
	if (flags & ~(unsigned)(MFD_CLOEXEC | MFD_ALLOW_SEALING))
		return -EINVAL; // no huge pages
	char given[NAME_MAX_LENGTH + 1], full[NAME_MAX_LENGTH + 32];
	long length = string_from_user(given, name, sizeof(given));
	if (length < 0)
		return length == -ENAMETOOLONG ? -EINVAL : length;
	fmt_print(full, sizeof(full), "/memfd:%s (deleted)", given);
	struct file *f = tmpfs_create_unlinked(full, O_RDWR);
	if (is_err(f))
		return ptr_err(f);
	if (flags & MFD_ALLOW_SEALING)
		tmpfs_allow_seals(f);
	return fd_install_new(f, flags & MFD_CLOEXEC);
}
