// SPDX-License-Identifier: Apache-2.0
// AF_VSOCK streams: within the cell (VMADDR_CID_LOCAL, or its own CID), and to the host where a device leads there
// (kernel/vsock.h). vsock(7).
//
// Bound sockets stand in a list; there are few. ports_lock guards it and the names of the sockets on it.

#include "socket.h"

#include <linux/capability.h>

#include "kernel/init.h"
#include "kernel/random.h"
#include "kernel/timespec.h"
#include "kernel/uaccess.h"
#include "kernel/vsock.h"
#include "lib/string.h"

#define PORT_LAST_RESERVED 1023u
#define MISC_MAJOR         10u
#define VSOCK_MINOR        121u
#define BUFFER_DEFAULT     262144
#define BUFFER_MIN         128
#define TIMEOUT_DEFAULT_NS (2 * NSEC_PER_SEC)

static struct spinlock ports_lock = SPINLOCK_INIT;
static struct list ports = LIST_INIT(ports); // struct socket.name_node
static const struct vsock_backend *backend;

void vsock_register(const struct vsock_backend *b) { __atomic_store_n(&backend, b, __ATOMIC_RELEASE); }

static struct user_sockaddr_vm *vm_of(struct net_address *a) { return (struct user_sockaddr_vm *)a->bytes; }
static const struct user_sockaddr_vm *vm_of_const(const struct net_address *a)
{
	return (const struct user_sockaddr_vm *)a->bytes;
}

static uint32_t local_cid(void)
{
	const struct vsock_backend *b = __atomic_load_n(&backend, __ATOMIC_ACQUIRE);

	return b ? b->local_cid() : VMADDR_CID_ANY;
}

static int check(const struct net_address *a)
{
	if (a->size < sizeof(struct user_sockaddr_vm))
		return -EINVAL;
	return a->family == AF_VSOCK ? 0 : -EAFNOSUPPORT;
}

static bool is_here(uint32_t cid) { return cid == VMADDR_CID_LOCAL || (cid == local_cid() && cid != VMADDR_CID_ANY); }

static int vsock_create(struct socket *s, int protocol)
{
	if (protocol && protocol != AF_VSOCK)
		return -EPROTONOSUPPORT;
	return s->type == SOCK_STREAM ? 0 : -ESOCKTNOSUPPORT;
}

// ---- names ----

static struct socket *find_port_locked(uint32_t port)
{
	struct socket *s;

	list_for_each (s, &ports, name_node)
		if (vm_of(&s->name)->port == port)
			return s;
	return NULL;
}

static int name_socket(struct socket *s, uint32_t cid, uint32_t port)
{
	struct user_sockaddr_vm vm = { .family = AF_VSOCK, .cid = cid, .port = port };
	int error = 0;

	spin_lock(&ports_lock);
	if (s->named)
		error = -EINVAL;
	while (!error && vm.port == VMADDR_PORT_ANY) {
		uint32_t try = PORT_LAST_RESERVED + 1 + (uint32_t)random_u64() % (1u << 31);

		if (!find_port_locked(try))
			vm.port = try;
	}
	if (!error && (find_port_locked(vm.port) || vm.port == OUTSIDE_PORT))
		error = -EADDRINUSE;
	if (!error) {
		memcpy(s->name.bytes, &vm, sizeof(vm));
		s->name.size = sizeof(vm);
		list_add(&ports, &s->name_node);
		s->named = true;
	}
	spin_unlock(&ports_lock);
	return error;
}

static int vsock_bind(struct socket *s, const struct net_address *a)
{
	const struct user_sockaddr_vm *vm = vm_of_const(a);

	if (check(a))
		return -EINVAL;
	if (vm->cid != VMADDR_CID_ANY && !is_here(vm->cid))
		return -EADDRNOTAVAIL;
	if (vm->port <= PORT_LAST_RESERVED && !cred_capable(current->cred, CAP_NET_BIND_SERVICE))
		return -EACCES;
	return name_socket(s, vm->cid, vm->port);
}

static int vsock_autobind(struct socket *s) { return s->named ? 0 : name_socket(s, VMADDR_CID_ANY, VMADDR_PORT_ANY); }

static struct socket *vsock_find(struct socket *s, const struct net_address *a)
{
	struct socket *found;

	(void)s;
	if (check(a))
		return err_ptr(check(a));
	spin_lock(&ports_lock);
	found = find_port_locked(vm_of_const(a)->port);
	if (found && found->state == SOCKET_LISTENING)
		socket_get(found);
	else
		found = NULL;
	spin_unlock(&ports_lock);
	return found ? found : err_ptr(-ECONNRESET);
}

static int vsock_get_name(struct socket *s, bool peer, struct net_address *out)
{
	if (peer && s->state != SOCKET_CONNECTED)
		return -ENOTCONN;
	*out = peer ? s->peer_name : s->name;
	if (!out->size) {
		*out = (struct net_address){ .size = sizeof(struct user_sockaddr_vm), .family = AF_VSOCK };
		vm_of(out)->cid = VMADDR_CID_ANY;
		vm_of(out)->port = VMADDR_PORT_ANY;
	}
	if (peer && vm_of(out)->cid == VMADDR_CID_ANY) // both ends are here
		vm_of(out)->cid = VMADDR_CID_LOCAL;
	return 0;
}

static void vsock_unbind(struct socket *s)
{
	spin_lock(&ports_lock);
	if (s->named)
		list_remove(&s->name_node);
	s->named = false;
	spin_unlock(&ports_lock);
}

// ---- to the host ----

static int start_channel(struct socket *s, struct net_channel *c, const struct net_address *a, bool nonblock)
{
	int error = socket_set_channel(s, c, SOCKET_CONNECTING);

	if (error) {
		c->ops->close(c, false);
		return error;
	}
	s->peer_name = *a;
	s->connect_reported = !nonblock;
	error = backend->begin(c, vm_of(&s->name)->port, vm_of_const(a)->port);
	if (error) {
		socket_drop_channel(s, c);
		return error;
	}
	return socket_wait_connected(s, nonblock);
}

static int vsock_connect(struct socket *s, const struct net_address *a, bool nonblock)
{
	struct net_channel *c;
	int error = check(a);

	if (error || is_here(vm_of_const(a)->cid))
		return error ? error : 1;
	if (!__atomic_load_n(&backend, __ATOMIC_ACQUIRE))
		return -ENODEV;
	if (vm_of_const(a)->cid != VMADDR_CID_HOST)
		return -ENETUNREACH;
	error = socket_take_error(s);
	error = error ? -error : vsock_autobind(s);
	if (error)
		return error;
	c = backend->create();
	return is_err(c) ? (int)ptr_err(c) : start_channel(s, c, a, nonblock);
}

// ---- options: kept; every stream has the same buffers ----

static const struct {
	int option;
	int32_t initial;
} kept[] = {
	{ SO_VM_SOCKETS_BUFFER_SIZE, BUFFER_DEFAULT },
	{ SO_VM_SOCKETS_BUFFER_MIN_SIZE, BUFFER_MIN },
	{ SO_VM_SOCKETS_BUFFER_MAX_SIZE, BUFFER_DEFAULT },
};

static int vsock_set_option(struct socket *s, int level, int option, struct uptr value, int size)
{
	uint64_t number;

	if (level != AF_VSOCK)
		return -ENOPROTOOPT;
	if (option == SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD || option == SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW)
		return size < (int)sizeof(struct __kernel_old_timeval) ? -EINVAL : timeval_from_user(&number, value);
	for (unsigned i = 0; i < array_count(kept); i++) {
		if (kept[i].option != option)
			continue;
		if (size < (int)sizeof(number))
			return -EINVAL;
		if (get_user(&number, value))
			return -EFAULT;
		s->protocol_options[i] = (int32_t)min(number, (uint64_t)INT32_MAX) - kept[i].initial;
		return 0;
	}
	return -ENOPROTOOPT;
}

static int vsock_get_option(struct socket *s, int level, int option, struct uptr value, struct uptr size)
{
	uint64_t number;

	if (level != AF_VSOCK)
		return -ENOPROTOOPT;
	if (option == SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD || option == SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW) {
		struct __kernel_old_timeval v = { .tv_sec = TIMEOUT_DEFAULT_NS / NSEC_PER_SEC };

		return option_put(value, size, &v, sizeof(v));
	}
	for (unsigned i = 0; i < array_count(kept); i++) {
		if (kept[i].option != option)
			continue;
		number = (uint64_t)(s->protocol_options[i] + kept[i].initial);
		return option_put(value, size, &number, sizeof(number));
	}
	return -ENOPROTOOPT;
}

const struct family vsock_family = {
	.domain = AF_VSOCK,
	.name = "VSOCK",
	.create = vsock_create,
	.bind = vsock_bind,
	.autobind = vsock_autobind,
	.find = vsock_find,
	.get_name = vsock_get_name,
	.unbind = vsock_unbind,
	.connect_outside = vsock_connect,
	.set_option = vsock_set_option,
	.get_option = vsock_get_option,
};

// ---- /dev/vsock ----

static long device_ioctl(struct file *f, unsigned command, uint64_t argument)
{
	(void)f;
	if (command != IOCTL_VM_SOCKETS_GET_LOCAL_CID)
		return -ENOIOCTLCMD;
	return put_user(local_cid(), (struct uptr){ argument });
}

static const struct file_ops device_ops = { .ioctl = device_ioctl };

static void vsock_init(void) { chrdev_register(MISC_MAJOR, VSOCK_MINOR, 1, &device_ops); }
KERNEL_INIT(2, vsock_init);
