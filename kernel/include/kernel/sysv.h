// SPDX-License-Identifier: Apache-2.0
// System V IPC: what the rest of the kernel calls. Owner: kernel/ipc/sysv/.
#pragma once

#include "kernel/types.h"

// A process ends: its semaphore adjustments are applied. Task context.
void sysv_process_exit(pid_t pid);
