// SPDX-License-Identifier: Apache-2.0
// The boot thread's life as idle task: timers, and what others ask of the kernel's process.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct port_task;

extern int32_t hosted_kernel_tgid;

int hosted_request(struct port_task *p);          // a thread for a kernel task, made there; waits. -errno
void hosted_request_migrate(struct port_task *p); // hosted_migrate_serve(p), there; does not wait
bool hosted_migrate_serve(struct port_task *p);   // task.c; false: the host makes no process now
void hosted_reap(void);                           // task.c
