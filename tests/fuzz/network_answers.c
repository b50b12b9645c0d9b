// SPDX-License-Identifier: Apache-2.0
// Fuzzes the driver for network grants on a host (drivers/network) against a server that says anything at any time, with descriptors
// or without, while sockets of the cell come and go.
//
// Whatever it says: every descriptor is used only while it is open and closed once, nothing is asked that abi/network.h does not know,
// and in the end all memory is returned (LeakSanitizer).
#include <stddef.h>
#include <stdint.h>

#include "kernel/fs.h"
#include "kernel/init.h"
#include "kernel/leak.h"
#include "kernel/mm.h"
#include "kernel/outside.h"
#include "kernel/sched.h"
#include "kernel/slab.h"
#include "kernel/task.h"
#include "lib/string.h"
#include "network.h"
#include "port/host.h"

#include <linux/poll.h>
#include <linux/uio.h>

// Of libc, whose headers and the kernel's do not go together.
_Noreturn void abort(void);
void *calloc(size_t count, size_t size);
void *malloc(size_t size);
void free(void *p);

#define SOCKETS 8u
#define FDS     64

_Thread_local struct task *fake_current;
_Thread_local unsigned fake_cpu;

_Noreturn void kernel_assert_failed(const char *expression, const char *file, int line)
{
	(void)expression, (void)file, (void)line;
	abort();
}
void *kalloc(size_t size) { return calloc(1, size); }
void kfree(void *p) { free(p); }
void spin_lock(struct spinlock *l)
{
	if (l->word++)
		abort();
}
void spin_unlock(struct spinlock *l)
{
	if (--l->word)
		abort();
}
void leak_counter_register(struct leak_counter *c) { (void)c; }
void sched_sleep_begin(void) {}
void sched_sleep_end(void) {}
void mm_serve(void) {}
bool fatal_signal_pending(struct task *t) { return (void)t, false; }

// ---- buffers: the kernel kind only ----

size_t iov_copy_from(void *to, struct iov_iter *from, size_t size)
{
	memcpy(to, from->kernel, size);
	iov_advance(from, size);
	return size;
}
void iov_advance(struct iov_iter *i, size_t size)
{
	if (size > i->count)
		abort();
	i->kernel += size;
	i->count -= size;
}
void iov_revert(struct iov_iter *i, size_t size)
{
	i->kernel -= size;
	i->count += size;
}
int iov_fault_in(struct iov_iter *i, bool store) { return (void)i, (void)store, -EFAULT; }

// ---- the host ----

static bool fd_open[FDS];
static uint8_t mood; // of the host's answers

static int fd_make(void)
{
	for (int fd = 0; fd < FDS; fd++)
		if (!fd_open[fd])
			return fd_open[fd] = true, fd;
	return -1;
}

static void fd_check(int fd)
{
	if (fd < 0 || fd >= FDS || !fd_open[fd])
		abort();
}

void port_file_close(int fd)
{
	fd_check(fd);
	fd_open[fd] = false;
}

static long answer(int fd, const struct iovec *v, unsigned count)
{
	static const int errors[] = { EAGAIN, ECONNRESET, EPIPE, EFAULT, ENOBUFS };
	size_t total = 0;

	fd_check(fd);
	for (unsigned i = 0; i < count; i++)
		total += v[i].iov_len;
	if (mood & 1)
		return -errors[mood / 2 % 5];
	return (long)(mood & 2 ? total : total * (mood / 4) / 64);
}

long port_file_read(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	(void)offset, (void)flags;
	return answer(fd, v, count);
}
long port_file_write(int fd, const struct iovec *v, unsigned count, int64_t offset, int flags)
{
	(void)offset, (void)flags;
	return answer(fd, v, count);
}
long port_socket_receive(int fd, const struct iovec *v, unsigned count, unsigned flags)
{
	(void)flags;
	return answer(fd, v, count);
}
int port_socket_error(int fd)
{
	fd_check(fd);
	return mood & 1 ? -ECONNRESET : 0;
}
int port_file_poll(struct pollfd *fds, unsigned count, uint64_t deadline_ns)
{
	(void)deadline_ns;
	for (unsigned i = 0; i < count; i++) {
		fd_check(fds[i].fd);
		fds[i].revents = mood & 0x1d;
	}
	return (int)count;
}
void port_task_kick(struct port_task *p) { (void)p; }

// ---- the link ----

static bool link_fails;

static void check_message(const struct network_message *m, size_t size)
{
	if (m->kind < NETWORK_CONNECT || m->kind > NETWORK_TARGET || !m->channel || (m->kind != NETWORK_SEND && size) ||
	    size > OUTSIDE_DATAGRAM_MAX)
		abort();
	// Only what came by the server's number may be talked about by it.
	if (m->channel >= NETWORK_SERVER && m->kind <= NETWORK_DATAGRAM)
		abort();
}

int network_ask(const struct network_message *m, const void *data, size_t size)
{
	(void)data;
	check_message(m, size);
	return link_fails ? -ENETDOWN : 0;
}
void network_tell(const struct network_message *m)
{
	// A refusal repeats the number of what was refused, whatever it was.
	if (m->kind != NETWORK_CLOSE)
		check_message(m, 0);
}

// ---- the sockets ----

static struct net_channel *sockets[SOCKETS];
static const struct outside_backend *outside;
static bool refuse_incoming, awaited;

void outside_register(const struct outside_backend *b) { outside = b; }
void net_channel_init(struct net_channel *c, const struct net_channel_ops *ops)
{
	c->ops = ops;
	refcount_set(&c->refs, 1);
}
bool net_channel_awaited(struct net_channel *c) { return (void)c, awaited; }
void net_channel_changed(struct net_channel *c, unsigned events) { (void)c, (void)events; }
void net_channel_connected(struct net_channel *c, int error)
{
	if (error < 0 || error > 4095)
		abort();
	c->error = error;
	c->answered = true;
}
void net_channel_datagram_error(struct net_channel *c, int error)
{
	(void)c;
	if (error < 0 || error > 4095)
		abort();
}
struct packet *net_datagram_create(size_t size, void **data)
{
	if (size > OUTSIDE_DATAGRAM_MAX)
		abort();
	*data = malloc(size + 1);
	return *data;
}
void net_channel_datagram(struct net_channel *c, struct packet *p, const struct outside_endpoint *from)
{
	(void)c, (void)from;
	free(p);
}
int net_channel_incoming(struct net_channel *listener, struct net_channel *child)
{
	if (network_channel_of(listener)->kind != NETWORK_IS_LISTENER)
		abort();
	for (unsigned i = 0; i < SOCKETS && !refuse_incoming; i++) {
		if (sockets[i])
			continue;
		sockets[i] = child;
		return 0;
	}
	return -ECONNREFUSED;
}

// ---- what happens ----

static char bytes[70000];

static void open_socket(unsigned slot, unsigned kind)
{
	struct outside_request r = { .operation = 1 + kind % 3 };
	struct net_channel *c;

	if (sockets[slot])
		return;
	c = outside->create();
	if (is_err(c))
		return;
	if (outside->begin(c, &r))
		c->ops->close(c, false);
	else
		sockets[slot] = c;
}

// A socket with bytes to move is a connection that was answered well (kernel/net).
static void use_connection(struct net_channel *c, const uint8_t *x, struct iov_iter *i)
{
	size_t skip = x[2] % 64;

	if (network_channel_of(c)->kind != NETWORK_IS_CONNECTION || !c->answered || c->error)
		return;
	switch (x[0] % 4) {
	case 0: (void)c->ops->send(c, i); break;
	case 1:
		if (x[1] & 1) // what was peeked at before lies in front
			iov_advance(i, skip = min(skip, i->count));
		(void)c->ops->receive(c, i, x[1] & 1, x[1] & 1 ? skip : 0);
		break;
	case 2: (void)c->ops->wait(c, EPOLLIN, 0); break;
	default: (void)c->ops->take_error(c); break;
	}
}

static void use_socket(unsigned slot, const uint8_t *x)
{
	struct net_channel *c = sockets[slot];
	struct outside_endpoint to = { .port = x[1] };
	struct iov_iter i = { .kernel = bytes, .count = (size_t)(x[1] | x[2] << 8) + 1 };

	if (!c)
		return;
	switch (x[0] / 4 % 8) {
	case 0: (void)c->ops->ready(c); break;
	case 1: (void)c->ops->queued(c); break;
	case 2: c->ops->shutdown(c, x[1] & 1, x[1] & 2); break;
	case 3:
		c->ops->close(c, x[1] & 1);
		sockets[slot] = NULL;
		break;
	case 4:
		if (network_channel_of(c)->kind == NETWORK_IS_LISTENER)
			c->ops->accepted(c);
		break;
	case 5:
		i.count = min(i.count, (size_t)OUTSIDE_DATAGRAM_MAX);
		if (network_channel_of(c)->kind != NETWORK_IS_DATAGRAM)
			break;
		if (x[0] & 1)
			(void)c->ops->send_datagram(c, &i, &to);
		else
			(void)c->ops->set_target(c, &to);
		break;
	default: use_connection(c, x, &i); break;
	}
}

// A message like those of a real server, as far as the input lets it be one.
static void server_says(const uint8_t *x)
{
	static char message[NETWORK_MESSAGE_MAX_BYTES + 4096];
	struct network_message m = { .kind = NETWORK_OPENED + x[1] % 7, .channel = x[2], .value = x[3] };
	struct net_channel *c = sockets[x[2] % SOCKETS], *l = sockets[x[3] % SOCKETS];
	size_t size = x[5] % 8 ? 0 : (size_t)x[6] << 9;

	if (c && x[4] & 1)
		m.channel = network_channel_of(c)->number;
	if (m.kind == NETWORK_INCOMING) {
		m.channel |= x[4] & 2 ? NETWORK_SERVER : 0;
		m.value = l ? network_channel_of(l)->number : x[3];
	} else if (x[4] & 4) {
		m.value = x[4] & 8 ? UINT32_MAX - x[3] : 0;
	}
	memcpy(message, &m, sizeof(m));
	network_take(message, x[7] == 0xff ? x[6] : min(sizeof(m) + size, sizeof(message)), x[4] & 16 ? fd_make() : -1);
}

static void start(void)
{
	extern const struct init_entry __start_init_table_2[], __stop_init_table_2[];
	static struct task task;

	if (outside)
		return;
	fake_current = &task;
	for (const struct init_entry *e = __start_init_table_2; e < __stop_init_table_2; e++)
		e->fn();
	network_outside_start();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	start();
	link_fails = refuse_incoming = awaited = false;
	mood = 0;
	for (size_t at = 0; at + 8 <= size; at += 8) {
		const uint8_t *x = data + at;

		switch (x[0] % 8) {
		case 0: open_socket(x[1] % SOCKETS, x[2]); break;
		case 1:
		case 2: use_socket(x[1] % SOCKETS, x + 2); break;
		case 3:
			link_fails = x[1] & 1;
			refuse_incoming = x[1] & 2;
			awaited = x[1] & 4;
			break;
		case 4: mood = x[1]; break;
		default: server_says(x); break;
		}
	}
	for (unsigned i = 0; i < SOCKETS; i++) {
		if (sockets[i])
			sockets[i]->ops->close(sockets[i], false);
		sockets[i] = NULL;
	}
	for (int fd = 0; fd < FDS; fd++)
		if (fd_open[fd])
			abort();
	return 0;
}
