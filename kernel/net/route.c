// SPDX-License-Identifier: Apache-2.0
// NETLINK_ROUTE, as much as getifaddrs(3), if_nameindex(3) and ip(8) ask, and to bring the interface up and down: each namespace has one, lo, with
// 127.0.0.1 and ::1. rtnetlink(7).
#include "netlink.h"

#include <linux/capability.h>
#include <linux/if_addr.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>

#include "lib/string.h"

enum { OPER_UNKNOWN, OPER_DOWN = 2 }; // IF_OPER_*: <linux/if.h> drags the C library in

// ---- requests ----

// The attributes of a request, behind its fixed part of `size` bytes. NULL begins and ends.
static const struct rtattr *next_attribute(const struct nlmsghdr *h, size_t size, const struct rtattr *previous)
{
	size_t at = NLMSG_HDRLEN + NLMSG_ALIGN(size);

	if (previous)
		at = (size_t)((const char *)previous - (const char *)h) + RTA_ALIGN(previous->rta_len);
	if (at + sizeof(struct rtattr) > h->nlmsg_len)
		return NULL;
	const struct rtattr *a = (const void *)((const char *)h + at);
	return a->rta_len >= sizeof(*a) && a->rta_len <= h->nlmsg_len - at ? a : NULL;
}

// What stands in the first one of that type and at least that length. NULL: there is none.
static const void *find_attribute(const struct nlmsghdr *h, size_t size, unsigned short type, size_t least)
{
	const struct rtattr *a = NULL;

	while ((a = next_attribute(h, size, a)))
		if (a->rta_type == type && a->rta_len - sizeof(*a) >= least)
			return a + 1;
	return NULL;
}

// The fixed part of a request. NULL: it is too short.
static const void *fixed_part(const struct nlmsghdr *h, size_t size)
{
	return h->nlmsg_len >= NLMSG_HDRLEN + size ? h + 1 : NULL;
}

// Does a request for one interface mean lo?
static bool means_lo(const struct nlmsghdr *h, const struct ifinfomsg *i)
{
	if (i->ifi_index)
		return i->ifi_index == LO_INDEX;
	const char *name = find_attribute(h, sizeof(*i), IFLA_IFNAME, 3);
	return name && !strncmp(name, "lo", 3);
}

// Whoever opened the socket may have handed it to somebody with more rights, or less.
static bool may_change(const struct socket *s)
{
	return net_capable(current->cred, s->net, CAP_NET_ADMIN) &&
	       (!s->file || net_capable(s->file->cred, s->net, CAP_NET_ADMIN));
}

// ---- the interface ----

static void put_link(struct netlink_reply *r, uint16_t flags)
{
	const struct net_namespace *net = r->socket->net;
	static const uint8_t no_address[6];
	struct nlmsghdr *h = netlink_begin(r, RTM_NEWLINK, flags);
	struct ifinfomsg *i = netlink_append(r, sizeof(*i));
	uint32_t mtu = 65536, queue = 1000;
	uint8_t state = lo_is_up(net) ? OPER_UNKNOWN : OPER_DOWN; // as lo has it

	*i = (struct ifinfomsg){ .ifi_type = ARPHRD_LOOPBACK,
				 .ifi_index = LO_INDEX,
				 .ifi_flags = lo_flags(net) | (lo_is_up(net) ? IFF_LOWER_UP : 0) };
	netlink_attribute(r, IFLA_IFNAME, "lo", 3);
	netlink_attribute(r, IFLA_MTU, &mtu, sizeof(mtu));
	netlink_attribute(r, IFLA_TXQLEN, &queue, sizeof(queue));
	netlink_attribute(r, IFLA_OPERSTATE, &state, sizeof(state));
	netlink_attribute(r, IFLA_ADDRESS, no_address, sizeof(no_address));
	netlink_attribute(r, IFLA_BROADCAST, no_address, sizeof(no_address));
	netlink_end(r, h);
}

static void put_address(struct netlink_reply *r, uint8_t family)
{
	static const uint8_t v4[4] = { 127, 0, 0, 1 }, v6[16] = { [15] = 1 };
	struct nlmsghdr *h = netlink_begin(r, RTM_NEWADDR, NLM_F_MULTI);
	struct ifaddrmsg *i = netlink_append(r, sizeof(*i));

	*i = (struct ifaddrmsg){ .ifa_family = family,
				 .ifa_prefixlen = family == AF_INET ? 8 : 128,
				 .ifa_flags = IFA_F_PERMANENT,
				 .ifa_scope = RT_SCOPE_HOST,
				 .ifa_index = LO_INDEX };
	if (family == AF_INET) {
		netlink_attribute(r, IFA_ADDRESS, v4, sizeof(v4));
		netlink_attribute(r, IFA_LOCAL, v4, sizeof(v4));
		netlink_attribute(r, IFA_LABEL, "lo", 3);
	} else {
		netlink_attribute(r, IFA_ADDRESS, v6, sizeof(v6));
	}
	netlink_end(r, h);
}

static int get_link(struct netlink_reply *r)
{
	const struct ifinfomsg *i = fixed_part(r->request, sizeof(*i));

	if (netlink_is_dump(r->request)) {
		put_link(r, NLM_F_MULTI);
		return 0;
	}
	if (!i)
		return -EINVAL;
	if (!means_lo(r->request, i))
		return -ENODEV;
	put_link(r, 0);
	return 0;
}

// Is anything to be changed but flags? Of lo nothing else can be.
static bool changes_more(const struct nlmsghdr *h)
{
	const struct rtattr *a = NULL;

	while ((a = next_attribute(h, sizeof(struct ifinfomsg), a)))
		if (a->rta_type != IFLA_IFNAME && a->rta_type != IFLA_EXT_MASK)
			return true;
	return false;
}

static int set_link(struct netlink_reply *r)
{
	const struct nlmsghdr *h = r->request;
	const struct ifinfomsg *i = fixed_part(h, sizeof(*i));
	struct net_namespace *net = r->socket->net;

	if (!may_change(r->socket))
		return -EPERM;
	if (!i)
		return -EINVAL;
	if (!means_lo(h, i))
		return h->nlmsg_flags & NLM_F_CREATE ? -EOPNOTSUPP : -ENODEV;
	if (h->nlmsg_flags & NLM_F_EXCL)
		return -EEXIST;
	if (changes_more(h))
		return -EOPNOTSUPP;
	if (!i->ifi_flags && !i->ifi_change)
		return 0;
	uint32_t change = i->ifi_change ? i->ifi_change : UINT32_MAX;
	if (change & IFF_UP)
		lo_set_flags(net, i->ifi_flags);
	return 0;
}

static int add_address(struct netlink_reply *r)
{
	const struct ifaddrmsg *i = fixed_part(r->request, sizeof(*i));

	if (!may_change(r->socket))
		return -EPERM;
	if (!i)
		return -EINVAL;
	if (i->ifa_index != LO_INDEX)
		return -ENODEV;
	const void *local = find_attribute(r->request, sizeof(*i), IFA_LOCAL, sizeof(uint32_t));
	if (i->ifa_family != AF_INET || !local)
		return -EOPNOTSUPP;
	uint32_t address;
	memcpy(&address, local, sizeof(address));
	int error = lo_add_address(r->socket->net, address);
	return error == -EEXIST && !(r->request->nlmsg_flags & NLM_F_EXCL) ? 0 : error;
}

static int list_addresses(struct netlink_reply *r)
{
	const struct net_namespace *net = r->socket->net;
	uint8_t family = r->request->nlmsg_len > NLMSG_HDRLEN ? *(const uint8_t *)(r->request + 1) : 0;

	if (!netlink_is_dump(r->request))
		return -EOPNOTSUPP;
	if (family != AF_INET6 && lo_is_addressed(net))
		put_address(r, AF_INET);
	if (family != AF_INET && lo_is_up(net))
		put_address(r, AF_INET6);
	return 0;
}

// ---- namespaces ----

static int check_process(pid_t number)
{
	struct task *t = task_find(number);
	struct namespace *n = t ? task_namespace_get(t, NAMESPACE_NET) : NULL;

	if (t)
		task_put(t);
	if (!n)
		return -ESRCH;
	namespace_put(n);
	return 0;
}

static int check_file(int fd)
{
	struct file *f = fd_get(fd);

	if (!f)
		return -EBADF;
	struct namespace *n = namespace_of_file(f);
	int error = n && n->type == &net_namespace_type ? 0 : -EINVAL;
	file_put(f);
	return error;
}

// Numbers that a namespace gives others. None has any: that is how they are answered.
static int get_namespace(struct netlink_reply *r)
{
	const struct nlmsghdr *request = r->request;
	const int32_t *fd = find_attribute(request, sizeof(struct rtgenmsg), NETNSA_FD, sizeof(*fd));
	const int32_t *pid = find_attribute(request, sizeof(struct rtgenmsg), NETNSA_PID, sizeof(*pid));
	int32_t number = NETNSA_NSID_NOT_ASSIGNED;

	if (netlink_is_dump(request))
		return 0;
	int error = pid ? check_process(*pid) : fd ? check_file(*fd) : -EINVAL;
	if (error)
		return error;
	struct nlmsghdr *h = netlink_begin(r, RTM_NEWNSID, 0);
	(void)netlink_append(r, sizeof(struct rtgenmsg));
	netlink_attribute(r, NETNSA_NSID, &number, sizeof(number));
	netlink_end(r, h);
	return 0;
}

int route_answer(struct netlink_reply *r)
{
	switch (r->request->nlmsg_type) {
	case RTM_GETLINK: return get_link(r);
	case RTM_NEWLINK:
	case RTM_SETLINK: return set_link(r);
	case RTM_NEWADDR: return add_address(r);
	case RTM_GETADDR: return list_addresses(r);
	case RTM_GETNSID: return get_namespace(r);
	case RTM_GETROUTE:
	case RTM_GETNEIGH:
	case RTM_GETRULE: return netlink_is_dump(r->request) ? 0 : -EOPNOTSUPP; // there are none
	}
	return -EOPNOTSUPP;
}
