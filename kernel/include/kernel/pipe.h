// SPDX-License-Identifier: Apache-2.0
// Pipes: what fcntl(2), proc and the file systems need of them. Owner: kernel/ipc/pipe.c. pipe(7), fifo(7).
#pragma once

#include "kernel/fs.h"

struct pipe;

bool file_is_pipe(const struct file *f);
long pipe_get_size(struct file *f);                // F_GETPIPE_SZ
long pipe_set_size(struct file *f, uint64_t size); // F_SETPIPE_SZ
extern unsigned pipe_max_size;                     // /proc/sys/fs/pipe-max-size
// Both ends of a new pipe; flags: O_NONBLOCK, O_DIRECT. 0 or -errno.
int pipe_create(struct file *ends[2], int flags);
