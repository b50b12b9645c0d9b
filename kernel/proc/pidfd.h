// SPDX-License-Identifier: Apache-2.0
// Process descriptors, for fork.c and wait.c. pidfd_open(2).
#pragma once

#include "internal.h"

// Reserves a descriptor and makes its file, to be installed with fd_install() or given up with fd_cancel() and file_put().
// The descriptor or -errno. flags: O_NONBLOCK (PIDFD_NONBLOCK).
int pidfd_prepare(struct pid *pid, int flags, struct file **out);
