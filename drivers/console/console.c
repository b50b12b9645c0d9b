// SPDX-License-Identifier: Apache-2.0
// Virtio console with several ports (VIRTIO 1.2, 5.3): device start-up and the control queue, on which the host announces
// ports, names them, opens and closes its end. A port with a name becomes a channel (kernel/channel.h).
//
// Control messages are copied out of shared memory before they are looked at, and handled by a task of their own because a
// new port allocates memory. Locks: post_lock (mutex) guards the outgoing control messages.
#include <linux/virtio_console.h>

#include "console.h"
#include "kernel/errno.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/page.h"
#include "kernel/sched.h"
#include "kernel/slab.h"
#include "kernel/timer.h"
#include "kernel/tty.h"
#include "lib/compiler.h"
#include "lib/string.h"

#define PORTS_MAX         16u
#define CONTROL_RX_QUEUE  2u
#define CONTROL_TX_QUEUE  3u
#define CONTROL_MESSAGES  32u
#define MESSAGE_BYTES     128u // with the port's name
#define START_PATIENCE_NS (2 * NSEC_PER_SEC)

static_assert(CONTROL_MESSAGES * MESSAGE_BYTES <= PAGE_SIZE, "control messages fill a page");

struct console {
	struct virtio_device *device;
	unsigned port_count;
	struct virtqueue *control_rx, *control_tx;
	struct page *rx_page, *tx_page;
	struct waitq wait;      // something happened on a control queue
	struct mutex post_lock; // guards tx_busy and adding to control_tx
	bool tx_busy[CONTROL_MESSAGES];
	unsigned added, named; // ports; the console task's, read by the probe
	struct port ports[];
};

static unsigned queue_of(unsigned port) { return port ? 2 * port + 2 : 0; } // input; output is the next

static char *rx_message(struct console *c, unsigned i) { return (char *)page_address(c->rx_page) + i * MESSAGE_BYTES; }
static char *tx_message(struct console *c, unsigned i) { return (char *)page_address(c->tx_page) + i * MESSAGE_BYTES; }

// ---- to the host ----

// Finished messages are free again. post_lock held. True: some message is free.
static bool collect_posts(struct console *c)
{
	char *message;
	uint32_t written;
	while ((message = virtqueue_take(c->control_tx, &written)))
		c->tx_busy[(message - tx_message(c, 0)) / MESSAGE_BYTES] = false;
	for (unsigned i = 0; i < CONTROL_MESSAGES; i++)
		if (!c->tx_busy[i])
			return true;
	return virtqueue_is_broken(c->control_tx);
}

static bool post_ready(struct console *c)
{
	while (!virtqueue_enable_callback(c->control_tx))
		if (collect_posts(c))
			return true;
	return collect_posts(c);
}

static void post_locked(struct console *c, unsigned id, unsigned event, unsigned value)
{
	wait_event(&c->wait, post_ready(c));
	if (virtqueue_is_broken(c->control_tx))
		return;
	unsigned i = 0;
	while (c->tx_busy[i])
		i++;
	struct virtio_console_control m = { .id = id, .event = (uint16_t)event, .value = (uint16_t)value };
	memcpy(tx_message(c, i), &m, sizeof(m));
	struct vq_segment s = { page_to_frame(c->tx_page) + i * MESSAGE_BYTES, sizeof(m) };
	if (!virtqueue_add(c->control_tx, &s, 1, 0, NULL, tx_message(c, i)))
		c->tx_busy[i] = true;
	else
		klog("console: control message %u lost", event);
}

void console_post(struct console *c, unsigned id, unsigned event, unsigned value)
{
	mutex_lock(&c->post_lock);
	post_locked(c, id, event, value);
	mutex_unlock(&c->post_lock);
	virtqueue_kick(c->control_tx);
}

// ---- from the host ----

static void port_added(struct console *c, struct port *p)
{
	if (p->added)
		return;
	p->added = true;
	mutex_lock(&c->post_lock);
	post_locked(c, p->id, VIRTIO_CONSOLE_PORT_READY, 1);
	post_locked(c, p->id, VIRTIO_CONSOLE_PORT_OPEN, 1);
	mutex_unlock(&c->post_lock);
	__atomic_fetch_add(&c->added, 1, __ATOMIC_RELAXED);
}

static void port_named(struct console *c, struct port *p, const char *name, size_t length)
{
	char text[PORT_NAME_MAX];
	if (p->registered || !length)
		return;
	length = strnlen(name, min(length, sizeof(text) - 1));
	memcpy(text, name, length);
	text[length] = 0;
	port_register(p, text);
	__atomic_fetch_add(&c->named, 1, __ATOMIC_RELEASE);
}

static void port_resized(const char *payload, size_t size)
{
	uint16_t columns_rows[2];
	if (size < sizeof(columns_rows))
		return;
	memcpy(columns_rows, payload, sizeof(columns_rows));
	tty_console_resize(columns_rows[1], columns_rows[0]);
}

static void handle_message(struct console *c, const char *message, size_t size)
{
	struct virtio_console_control m;
	if (size < sizeof(m))
		return;
	memcpy(&m, message, sizeof(m));
	if (m.id >= c->port_count || !c->ports[m.id].rx)
		return;
	struct port *p = &c->ports[m.id];
	switch (m.event) {
	case VIRTIO_CONSOLE_PORT_ADD: port_added(c, p); break;
	case VIRTIO_CONSOLE_PORT_REMOVE: port_host_changed(p, false); break;
	case VIRTIO_CONSOLE_PORT_NAME: port_named(c, p, message + sizeof(m), size - sizeof(m)); break;
	case VIRTIO_CONSOLE_PORT_OPEN: port_host_changed(p, m.value); break;
	case VIRTIO_CONSOLE_RESIZE: port_resized(message + sizeof(m), size - sizeof(m)); break;
	}
}

static int lend_message(struct console *c, char *message)
{
	struct vq_segment s = { page_to_frame(c->rx_page) + (paddr_t)(message - rx_message(c, 0)), MESSAGE_BYTES };
	return virtqueue_add(c->control_rx, &s, 0, 1, NULL, message);
}

static void receive_messages(struct console *c)
{
	char *message, copy[MESSAGE_BYTES];
	uint32_t size;
	while ((message = virtqueue_take(c->control_rx, &size))) {
		memcpy(copy, message, size); // virtqueue_take() bounds it
		if (lend_message(c, message))
			break;
		handle_message(c, copy, size);
		sched_preempt_point();
	}
	virtqueue_kick(c->control_rx);
	virtqueue_kick(c->control_tx);
	waitq_wake_all(&c->wait); // the probe waits for names
}

static void control_interrupt(struct virtqueue *q, void *console)
{
	waitq_wake_all(&((struct console *)console)->wait);
}

static bool console_is_broken(struct console *c)
{
	return virtqueue_is_broken(c->control_rx) || virtqueue_is_broken(c->control_tx);
}

static void console_task(void *argument)
{
	struct console *c = argument;
	for (;;) {
		wait_event(&c->wait, !virtqueue_enable_callback(c->control_rx) || console_is_broken(c));
		if (console_is_broken(c))
			break;
		receive_messages(c);
	}
	klog("console: the device broke the protocol: control queue given up");
	for (unsigned i = 0; i < c->port_count; i++)
		if (c->ports[i].rx)
			port_host_changed(&c->ports[i], false);
	sched_exit_current();
}

// ---- start ----

static int create_queues(struct console *c, struct virtio_device *d)
{
	unsigned cpus = port_cpu_count();
	int error = 0;
	for (unsigned i = 0; i < c->port_count && !error; i++) {
		unsigned q = queue_of(i);
		error = virtio_queue_create(d, q, PORT_RX_PAGES, i % cpus, port_rx_interrupt, &c->ports[i]);
		if (!error)
			error = virtio_queue_create(d, q + 1, PORT_TX_PAGES, i % cpus, port_tx_interrupt, &c->ports[i]);
	}
	if (!error)
		error = virtio_queue_create(d, CONTROL_RX_QUEUE, CONTROL_MESSAGES, 0, control_interrupt, c);
	if (!error)
		error = virtio_queue_create(d, CONTROL_TX_QUEUE, CONTROL_MESSAGES, 0, control_interrupt, c);
	c->control_rx = d->queues[CONTROL_RX_QUEUE];
	c->control_tx = d->queues[CONTROL_TX_QUEUE];
	return error;
}

static int lend_buffers(struct console *c, struct virtio_device *d)
{
	c->rx_page = page_alloc(0, PAGE_DEVICE | PAGE_ZERO);
	c->tx_page = page_alloc(0, PAGE_DEVICE | PAGE_ZERO);
	if (!c->rx_page || !c->tx_page)
		return -ENOMEM;
	for (unsigned i = 0; i < CONTROL_MESSAGES; i++)
		if (lend_message(c, rx_message(c, i)))
			break;
	for (unsigned i = 0; i < c->port_count; i++) {
		int error = port_init(&c->ports[i], c, i, d->queues[queue_of(i)], d->queues[queue_of(i) + 1]);
		if (error)
			return error;
	}
	return 0;
}

static bool ports_are_known(struct console *c)
{
	unsigned named = __atomic_load_n(&c->named, __ATOMIC_ACQUIRE);
	return named && named >= __atomic_load_n(&c->added, __ATOMIC_RELAXED);
}

static int console_probe(struct virtio_device *d)
{
	struct virtio_console_config config;
	int error = virtio_negotiate(d, UINT64_C(1) << VIRTIO_CONSOLE_F_MULTIPORT);
	if (error)
		return error;
	if (!virtio_has(d, VIRTIO_CONSOLE_F_MULTIPORT))
		return -ENODEV;
	virtio_config_read(d, 0, &config, sizeof(config));
	unsigned ports = min(config.max_nr_ports, PORTS_MAX);
	struct console *c = kalloc(sizeof(*c) + ports * sizeof(c->ports[0]));
	if (!c)
		return -ENOMEM;
	c->device = d;
	c->port_count = ports;
	waitq_init(&c->wait);
	mutex_init(&c->post_lock);
	d->private = c;
	error = create_queues(c, d);
	if (!error)
		error = lend_buffers(c, d);
	if (!error && is_err(kernel_task_create("console", console_task, c)))
		error = -ENOMEM;
	if (error) { // start-up fails for good: what was allocated stays with the dead device
		virtio_stop(d);
		return error;
	}
	virtio_start(d);
	console_post(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	// The control channel must be there when the kernel looks for it.
	if (wait_event_deadline(&c->wait, ports_are_known(c), clock_monotonic_ns() + START_PATIENCE_NS))
		klog("console: %u of %u ports have a name", c->named, c->added);
	return 0;
}

static struct virtio_driver console_driver = { .name = "console",
					       .device_id = VIRTIO_ID_CONSOLE,
					       .probe = console_probe };

static void console_init(void) { virtio_driver_register(&console_driver); }
KERNEL_INIT(2, console_init);
