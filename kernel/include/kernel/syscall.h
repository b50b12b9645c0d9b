// SPDX-License-Identifier: Apache-2.0
// The system-call table. Source: kernel/syscall/syscalls.def. Every sys_NAME takes its natural argument types (ints, struct uptr,
// sizes; each one register) and returns a long: the result or -errno.
#pragma once

#include "kernel/types.h"

#define SYSCALLS_MAX 512u

// Name of a system call or NULL.
const char *syscall_name(uint64_t nr);
// Prints `nr name count` of calls that were answered ENOSYS.
void syscall_summary(void (*print)(const char *line));
