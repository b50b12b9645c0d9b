// SPDX-License-Identifier: Apache-2.0
// A network namespace's one interface, lo: its state, and the requests of netdevice(7). Netlink's are in route.c.
#include "namespace.h"

#include <linux/capability.h>
#include <linux/sockios.h>

#include "kernel/uaccess.h"
#include "lib/string.h"
#include "socket.h"

unsigned lo_flags(const struct net_namespace *n)
{
	return lo_is_up(n) ? IFF_UP | IFF_LOOPBACK | IFF_RUNNING : IFF_LOOPBACK;
}

void lo_set_flags(struct net_namespace *n, unsigned flags)
{
	bool up = flags & IFF_UP;

	if (up)
		__atomic_store_n(&n->addressed, true, __ATOMIC_RELAXED);
	__atomic_store_n(&n->up, up, __ATOMIC_RELAXED);
}

int lo_add_address(struct net_namespace *n, uint32_t address)
{
	if (address != LO_ADDRESS)
		return -EOPNOTSUPP;
	return __atomic_exchange_n(&n->addressed, true, __ATOMIC_RELAXED) ? -EEXIST : 0;
}

// ---- requests ----

static long list_interfaces(const struct net_namespace *n, uint64_t argument)
{
	struct {
		int32_t size, padding;
		uint64_t buffer;
	} request;
	struct user_ifreq r = { .name = "lo", .in = { .sin_family = AF_INET, .sin_addr = { LO_ADDRESS } } };
	struct uptr user = { argument };

	if (get_user(&request, user))
		return -EFAULT;
	if (!lo_is_addressed(n) || (request.buffer && request.size < (int32_t)sizeof(r))) {
		request.size = 0;
	} else {
		if (request.buffer && copy_to_user((struct uptr){ request.buffer }, &r, sizeof(r)))
			return -EFAULT;
		request.size = sizeof(r);
	}
	return put_user(request, user);
}

static int describe(const struct net_namespace *n, unsigned command, struct user_ifreq *r)
{
	memset(r->bytes, 0, sizeof(r->bytes));
	switch (command) {
	case SIOCGIFFLAGS: r->flags = (int16_t)lo_flags(n); return 0;
	case SIOCGIFINDEX: r->value = LO_INDEX; return 0;
	case SIOCGIFMTU: r->value = 65536; return 0;
	case SIOCGIFMETRIC: return 0;
	case SIOCGIFTXQLEN: r->value = 1000; return 0;
	case SIOCGIFADDR:
	case SIOCGIFNETMASK:
		if (!lo_is_addressed(n))
			return -EADDRNOTAVAIL;
		r->in.sin_family = AF_INET;
		r->in.sin_addr.s_addr = command == SIOCGIFADDR ? LO_ADDRESS : 0xff;
		return 0;
	case SIOCGIFHWADDR: r->family = ARPHRD_LOOPBACK; return 0;
	default: return -EINVAL;
	}
}

static int answer(struct net_namespace *n, unsigned command, struct user_ifreq *r)
{
	if (command == SIOCSIFFLAGS && !net_capable(current->cred, n, CAP_NET_ADMIN))
		return -EPERM;
	if (command == SIOCGIFNAME) {
		if (r->value != LO_INDEX)
			return -ENODEV;
		memcpy(r->name, "lo", 3);
		return 0;
	}
	if (strncmp(r->name, "lo", sizeof(r->name)))
		return -ENODEV;
	if (command != SIOCSIFFLAGS)
		return describe(n, command, r);
	lo_set_flags(n, (uint16_t)r->flags);
	return 0;
}

long interface_ioctl(struct socket *s, unsigned command, uint64_t argument)
{
	struct uptr user = { argument };
	struct user_ifreq r;

	if (command == SIOCGSKNS)
		return net_capable(current->cred, s->net, CAP_NET_ADMIN) ? namespace_open(&s->net->common) : -EPERM;
	if (command == SIOCGIFCONF)
		return list_interfaces(s->net, argument);
	if (command < SIOCGIFNAME || command > SIOCGIFTXQLEN)
		return -ENOIOCTLCMD;
	if (get_user(&r, user))
		return -EFAULT;
	int error = answer(s->net, command, &r);
	return error ? error : put_user(r, user);
}
