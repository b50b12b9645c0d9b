// SPDX-License-Identifier: Apache-2.0
// Byte channels to the launcher: control, standard streams, terminal. Drivers register them by name (abi/control.h), the kernel's
// control task, stream files and tty use them. Owner of the registry: kernel/core/channel.c.
#pragma once

#include "kernel/poll.h"
#include "kernel/types.h"

struct channel;
struct channel_ops {
	// Bytes moved (>= 1), 0 = end of file (read), -EAGAIN with nonblock, -EPIPE (write: other side closed), -ERESTARTSYS.
	ssize_t (*read)(struct channel *c, void *buffer, size_t size, bool nonblock);
	ssize_t (*write)(struct channel *c, const void *data, size_t size, bool nonblock);
	void (*close_write)(struct channel *c); // tells the other side that no more comes
	unsigned (*ready)(struct channel *c);   // POLL* bits present now: EPOLLIN, EPOLLOUT, EPOLLHUP
	void (*flush)(struct channel *c);       // waits until all written bytes were taken by the host
};
struct channel {
	const char *name;
	const struct channel_ops *ops;
	struct waitq wait; // woken by the driver with events
	struct channel *next;
};
void channel_register(struct channel *c);                           // driver, level 3
struct channel *channel_find(const char *name);                     // NULL
void control_start(void);                                           // the control task
void control_send(unsigned type, const void *payload, size_t size); // whole message; may sleep
void control_send_text(unsigned type, const char *text);
void control_flush(void); // waits until the launcher took everything
