// SPDX-License-Identifier: Apache-2.0
// Kernel log, panic and the trace ring. Owner: kernel/core/.
#pragma once

#include "kernel/types.h"

// One line (no newline needed) into the log ring and, when up, the control channel. Any context.
void klog(const char *format, ...) printf_like(1, 2);
size_t klog_read(char *buffer, size_t size, uint64_t *position); // dmesg, /dev/kmsg
_Noreturn void panic(const char *format, ...) printf_like(1, 2);

// Per-CPU trace ring, printed on panic. `what` is a static string.
void trace_event(const char *what, uint64_t a, uint64_t b);
