// SPDX-License-Identifier: Apache-2.0
// The port's own messages: before the kernel has a log, and in a panic.
#pragma once

#include "lib/compiler.h"

// Finds out whether a debug console is there. Position-independent.
void x86_log_early_init(void);
void x86_log(const char *format, ...) printf_like(1, 2);
// The machine or what was loaded cannot be used: one line, then the end. Position-independent.
_Noreturn void x86_refuse(const char *why);
