// SPDX-License-Identifier: Apache-2.0
// Between ptrace.c and ptrace_calls.c.
#pragma once

#include "internal.h"

void ptrace_link(struct task *t, struct process *tracer, bool seized, uint32_t options); // tasklist_lock
