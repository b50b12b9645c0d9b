// SPDX-License-Identifier: Apache-2.0
// Futexes: what other subsystems need. Owner: kernel/sched/futex.c. futex(2).
#pragma once

#include "kernel/types.h"

struct task;
// Exit: walks the robust list, marks owners dead, wakes.
void futex_exit_robust(struct task *t);
// Wakes up to `count` waiters of the word (clear_child_tid, vfork-less wakes). Woken, or -errno.
long futex_wake_address(struct uptr address, unsigned count, bool shared);
