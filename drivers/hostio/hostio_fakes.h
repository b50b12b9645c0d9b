// SPDX-License-Identifier: Apache-2.0
// What hostio_test.c asks of the host.
#pragma once

#include <stdbool.h>
#include <stddef.h>

extern unsigned host_kicks; // so many waits end with -EINTR at once

void host_pipe(int *ours, int *theirs, bool we_write);
int host_eventfd(void);
long host_read(int fd, void *to, size_t size);
long host_write(int fd, const void *from, size_t size);
void host_close(int fd);
void host_beside(void (*fn)(void), void (*meanwhile)(void)); // fn in a thread of its own; meanwhile when that polls
