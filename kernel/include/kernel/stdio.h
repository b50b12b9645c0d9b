// SPDX-License-Identifier: Apache-2.0
// The first process's standard streams over the launcher's channels. Owner: kernel/fs/dev/stdio.c.
#pragma once

#include "kernel/types.h"

// Opens descriptors 0, 1 and 2 of the current task as the boot record says: the console terminal, three stream files, or (where the
// stream was closed on the host) nothing. 0 or -errno.
int stdio_open(void);
// Waits until the host took everything written to the streams.
void stdio_drain(void);
