// SPDX-License-Identifier: Apache-2.0
// The kernel log: a ring of text that /dev/kmsg and syslog(2) read; each line also goes to the port's early console. The
// ring's lock is a leaf: any context may log.
#include "kernel/log.h"
#include "kernel/spinlock.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define RING_BYTES 65536u

static char ring[RING_BYTES];
static uint64_t written; // bytes ever written; lock
static struct spinlock lock = SPINLOCK_INIT;

void klog(const char *format, ...)
{
	char line[256];
	uint64_t us = port_time_ns() / 1000;
	va_list arguments;

	int n = fmt_print(line, sizeof(line), "[%5lu.%06lu] ", us / 1000000, us % 1000000);
	va_start(arguments, format);
	n += fmt_vprint(line + n, sizeof(line) - (size_t)n - 1, format, arguments);
	va_end(arguments);
	size_t length = min((size_t)n, sizeof(line) - 2);
	line[length++] = '\n';
	spin_lock(&lock);
	for (size_t i = 0; i < length; i++)
		ring[written++ % RING_BYTES] = line[i];
	spin_unlock(&lock);
	port_log_write(line, length);
}

size_t klog_read(char *buffer, size_t size, uint64_t *position)
{
	size_t n = 0;

	spin_lock(&lock);
	if (written > RING_BYTES && *position < written - RING_BYTES)
		*position = written - RING_BYTES;
	while (n < size && *position < written)
		buffer[n++] = ring[(*position)++ % RING_BYTES];
	spin_unlock(&lock);
	return n;
}
