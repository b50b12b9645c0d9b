// SPDX-License-Identifier: Apache-2.0
// What the rest of the kernel tells ptrace(2). Owner: kernel/proc/ptrace.c.
#pragma once

#include "kernel/types.h"

struct task;
// System-call stop of the current task when its tracer asked for it.
void ptrace_syscall_stop(struct user_regs *regs, bool enter);
