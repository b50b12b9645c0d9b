// SPDX-License-Identifier: Apache-2.0
// The ports' own messages: before the kernel has a log, and in a panic. They go to port_log_write().
#pragma once

#include "lib/compiler.h"

void amd64_log(const char *format, ...) printf_like(1, 2);
// The machine or what was loaded cannot be used: one line, then the end. Position-independent.
_Noreturn void amd64_refuse(const char *why);
