// SPDX-License-Identifier: Apache-2.0
// Error numbers: Linux's, plus those that never leave the kernel.
#pragma once

#include <asm/errno.h>

// A blocking call was interrupted; the return path turns these into a restart or -EINTR (signal(7)).
#define ERESTARTSYS    512 // restart if the handler has SA_RESTART
#define ERESTARTNOINTR 513 // always restart
#define ERESTARTNOHAND 514 // restart only if no handler ran
#define ERESTART_BLOCK 516 // restart through restart_syscall() and task->restart
#define ENOIOCTLCMD    515 // no such ioctl: the caller tries the next layer, then -ENOTTY

// Errors in pointers: the last page of the address space holds no object.
static inline void *err_ptr(long error) { return (void *)error; }
static inline long ptr_err(const void *p) { return (long)p; }
static inline int is_err(const void *p) { return (unsigned long)p >= (unsigned long)-4095; }
