// SPDX-License-Identifier: Apache-2.0
// The link to the server. Who has something to say sends it himself; one task takes what the server says.
#include <linux/uio.h>

#include "abi/hosted.h"
#include "kernel/init.h"
#include "kernel/log.h"
#include "kernel/page.h"
#include "kernel/task.h"
#include "network.h"
#include "port/host.h"

#define BUFFER_ORDER 5u // for the longest datagram

static_assert(NETWORK_MESSAGE_MAX_BYTES < PAGE_SIZE << BUFFER_ORDER,
	      "room for any message, and to see that one is too long");

static bool dead; // atomic: the server is gone, and so will be the cell

// ---- to the server ----

// What -EINTR made of a wait that goes on is kept for whoever may be interrupted.
static int send(const struct network_message *m, const void *data, size_t size, bool give_up)
{
	struct iovec v[2] = { { (void *)m, sizeof(*m) }, { (void *)data, size } };
	bool kicked = false;
	long n;

	if (__atomic_load_n(&dead, __ATOMIC_RELAXED))
		return -ENETDOWN;
	while ((n = port_message_send(port_host_stream(HOSTED_NETWORK), v, size ? 2 : 1)) == -EINTR) {
		kicked = true;
		if (give_up && signal_pending(current))
			break;
	}
	if (kicked)
		port_task_kick(current->port);
	if (n >= 0)
		return 0;
	return n == -EINTR || n == -ENOBUFS ? (int)n : n == -ENOMEM ? -ENOBUFS : -ENETDOWN;
}

int network_ask(const struct network_message *m, const void *data, size_t size) { return send(m, data, size, true); }

void network_tell(const struct network_message *m) { (void)send(m, NULL, 0, false); }

// ---- from the server ----

static long receive(void *buffer, size_t capacity, int *fd)
{
	struct iovec v = { buffer, capacity };
	unsigned count = 1;
	long n;

	*fd = -1;
	n = port_message_receive(port_host_stream(HOSTED_NETWORK), &v, 1, fd, &count);
	if (!count)
		*fd = -1;
	// There was no room for a descriptor, which is its receiver's to notice. Nothing else comes with one.
	return n == -EMFILE ? (long)sizeof(struct network_message) : n;
}

static void listen(void *unused)
{
	const size_t capacity = PAGE_SIZE << BUFFER_ORDER;
	struct page *buffer = page_alloc(BUFFER_ORDER, 0);
	long n = -EINTR;
	int fd;

	(void)unused;
	while (buffer && (n > 0 || n == -EINTR)) {
		n = receive(page_address(buffer), capacity, &fd);
		if (n > 0)
			network_take(page_address(buffer), (size_t)n, fd);
	}
	if (buffer)
		page_put(buffer);
	__atomic_store_n(&dead, true, __ATOMIC_RELAXED);
	klog("network: the server is gone");
}

static void start(void)
{
	if (port_host_stream(HOSTED_NETWORK) < 0)
		return;
	if (is_err(kernel_task_create("network", listen, NULL)))
		klog("network: no memory for the task that listens");
	else
		network_outside_start();
}
KERNEL_INIT(3, start);
