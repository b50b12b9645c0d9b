// SPDX-License-Identifier: Apache-2.0
// Registered files and buffers, as io_uring_register(2) and operations use them.
#pragma once

#include "internal.h"

// uring.lock held. fds and tags are arrays of the program's, or NULL. 0 or -errno; update: how many.
int uring_files_register(struct uring *u, struct uptr fds, struct uptr tags, uint32_t count);
int uring_files_unregister(struct uring *u);
int uring_files_update(struct uring *u, uint32_t from, struct uptr fds, struct uptr tags, uint32_t count);
int uring_files_alloc_range(struct uring *u, struct uptr user);
int uring_buffers_register(struct uring *u, struct uptr vectors, struct uptr tags, uint32_t count);
int uring_buffers_unregister(struct uring *u);
int uring_buffers_update(struct uring *u, uint32_t from, struct uptr vectors, struct uptr tags, uint32_t count);
int uring_groups_register(struct uring *u, struct uptr user);
int uring_groups_unregister(struct uring *u, struct uptr user);
void uring_tell_tag(struct uring *u, uint64_t tag); // a completion, unless it is 0

// Not held. `where` is sqe.file_index: slot number + 1, or IORING_FILE_INDEX_ALLOC. Consumes the reference. 0, the slot, or -errno.
int uring_files_install(struct uring *u, struct file *f, uint32_t where);
int uring_files_close(struct uring *u, uint32_t index);
