// SPDX-License-Identifier: Apache-2.0
// The dispatch table; for kernel/syscall/ only.
#pragma once

#include "kernel/syscall.h"

// Every sys_NAME fits this shape in the System V calling convention: up to six integer arguments in registers, a long result.
typedef long syscall_fn(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
extern syscall_fn *const syscall_table[SYSCALLS_MAX]; // NULL: not implemented

const char *syscall_signature(uint64_t nr); // "(int fd, struct uptr path)" or NULL
const char *errno_name(long error);         // "ENOENT" for ENOENT; NULL when it has none
void syscall_count_unimplemented(uint64_t nr);

// The tracer (--trace): called around the dispatch when task->work has WORK_TRACE.
void syscall_trace_enter(const struct user_regs *regs, uint64_t nr);
void syscall_trace_exit(const struct user_regs *regs, uint64_t nr, long result);
