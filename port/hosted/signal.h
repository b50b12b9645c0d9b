// SPDX-License-Identifier: Apache-2.0
// The host's signals, as the kernel's traps and interrupts.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct port_task;

void hosted_signals_init(void);                    // handlers; once, they are inherited
void hosted_signal_stack_set(struct port_task *p); // the running thread's
// Blocks every signal of the running thread, for good: it is about to end.
void hosted_signals_block(void);
