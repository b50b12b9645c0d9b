// SPDX-License-Identifier: Apache-2.0
// Inside of the virtio-console driver: console.c (device and control queue) and port.c (data of a port).
#pragma once

#include "kernel/channel.h"
#include "kernel/mutex.h"
#include "kernel/spinlock.h"
#include "virtio/virtio.h"

struct console;

enum host_state { HOST_NOT_YET, HOST_OPEN, HOST_CLOSED };

#define PORT_RX_PAGES 8u  // input buffered ahead of its reader; then the host waits
#define PORT_TX_PAGES 32u // output in the host's hands; then the writer waits
#define PORT_NAME_MAX 64u

struct port {
	struct channel channel;
	struct console *console; // constant, like id, the queues and, once registered, the name
	unsigned id;
	struct virtqueue *rx, *tx;
	char name[PORT_NAME_MAX];
	bool added, registered; // the console task's

	struct spinlock lock; // guards what follows
	enum host_state host;
	struct list received; // struct page.lru, in order: private = offset of the next byte, count = bytes left
	struct list tx_free;  // struct page.lru
	unsigned tx_free_count, tx_in_flight;
	unsigned tx_waiters; // tasks that need to hear of output taken
};

// Queues exist; takes them and gives the host its input buffers. Task context.
int must_check port_init(struct port *p, struct console *c, unsigned id, struct virtqueue *rx, struct virtqueue *tx);
void port_register(struct port *p, const char *name);
void port_host_changed(struct port *p, bool open);
void port_broken(struct port *p);
void port_rx_interrupt(struct virtqueue *q, void *port);
void port_tx_interrupt(struct virtqueue *q, void *port);
// Tells the device something about a port. Sleeps.
void console_post(struct console *c, unsigned id, unsigned event, unsigned value);
