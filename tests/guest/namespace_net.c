// SPDX-License-Identifier: Apache-2.0
// Network namespaces: names and ports of their own, a loopback interface that is down at first, who may bring it up, and what shows them.
#include "check.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/net_namespace.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

static ino_t number_of(const char *path)
{
	struct stat st;

	return CHECK_OK(stat(path, &st)) < 0 ? 0 : st.st_ino;
}

static ino_t number(void) { return number_of("/proc/self/ns/net"); }

// ---- addresses ----

struct address {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
	socklen_t size;
};

static struct address loopback(int domain, unsigned port)
{
	struct address a = { .any.sa_family = (sa_family_t)domain, .size = sizeof(a.in6) };

	if (domain == AF_INET6) {
		a.in6.sin6_addr = in6addr_loopback;
		a.in6.sin6_port = htons((uint16_t)port);
		return a;
	}
	a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.in.sin_port = htons((uint16_t)port);
	a.size = sizeof(a.in);
	return a;
}

static struct address abstract(const char *name)
{
	struct address a = { .un.sun_family = AF_UNIX };

	strcpy(a.un.sun_path + 1, name);
	a.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
	return a;
}

static struct address at_path(const char *path)
{
	struct address a = { .un.sun_family = AF_UNIX, .size = sizeof(a.un) };

	strcpy(a.un.sun_path, path);
	return a;
}

// A socket that listens at an address, whose port it fills in.
static int server(struct address *a)
{
	int fd = CHECK_OK(socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));

	CHECK_OK(bind(fd, &a->any, a->size));
	CHECK_OK(listen(fd, 4));
	CHECK_OK(getsockname(fd, &a->any, &a->size));
	return fd;
}

static int try(const struct address *a) // 0 or an error number
{
	int fd = CHECK_OK(socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	int error = connect(fd, &a->any, a->size) < 0 ? errno : 0;

	close(fd);
	return error;
}

static int try_bind(const struct address *a, int type)
{
	int fd = CHECK_OK(socket(a->any.sa_family, type | SOCK_CLOEXEC, 0));
	int error = bind(fd, &a->any, a->size) < 0 ? errno : 0;

	close(fd);
	return error;
}

// ---- the interface ----

static int lo_request(unsigned long request, struct ifreq *r)
{
	int fd = CHECK_OK(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));

	strcpy(r->ifr_name, "lo");
	int result = ioctl(fd, request, r), error = errno;
	close(fd);
	errno = error;
	return result;
}

static int lo_flags(void)
{
	struct ifreq r = { 0 };

	CHECK_OK(lo_request(SIOCGIFFLAGS, &r));
	return r.ifr_flags;
}

static int lo_set(bool up)
{
	struct ifreq r = { .ifr_flags = up ? IFF_UP : 0 };

	return lo_request(SIOCSIFFLAGS, &r);
}

static unsigned addresses(int family)
{
	struct ifaddrs *all = NULL;
	unsigned count = 0;

	CHECK_OK(getifaddrs(&all));
	for (struct ifaddrs *i = all; i; i = i->ifa_next)
		count += i->ifa_addr && i->ifa_addr->sa_family == family;
	freeifaddrs(all);
	return count;
}

static bool in_table(const char *table, const struct address *a)
{
	char text[16];

	snprintf(text, sizeof(text), ":%04X ", ntohs(a->in.sin_port));
	return strstr(check_read_file(table), text) != NULL;
}

// ---- a new one, from an old one with something in it ----

static void nothing_answers(const struct address *inner4, const struct address *inner6)
{
	struct ifreq r = { 0 };
	struct ifconf c = { .ifc_len = sizeof(r), .ifc_req = &r };
	int udp = CHECK_OK(socket(AF_INET, SOCK_DGRAM, 0));

	CHECK_EQ(lo_flags() & (IFF_UP | IFF_RUNNING | IFF_LOOPBACK), IFF_LOOPBACK);
	CHECK_EQ(if_nametoindex("lo"), 1);
	CHECK_EQ(addresses(AF_INET), 0);
	CHECK_EQ(addresses(AF_INET6), 0);
	CHECK_ERR(lo_request(SIOCGIFADDR, &r), EADDRNOTAVAIL);
	CHECK_OK(ioctl(udp, SIOCGIFCONF, &c));
	CHECK_EQ(c.ifc_len, 0);
	CHECK_STR(check_read_file("/proc/net/if_inet6"), "");
	CHECK_EQ(try(inner4), ENETUNREACH);
	CHECK_EQ(try_bind(inner6, SOCK_STREAM), EADDRNOTAVAIL);
	CHECK(try(inner6) != 0);
	CHECK_ERR(sendto(udp, "x", 1, 0, &inner4->any, inner4->size), ENETUNREACH);
	close(udp);
}

static void separate(void)
{
	struct address v4 = loopback(AF_INET, 0), v6 = loopback(AF_INET6, 0), name = abstract("namespace_net");
	struct address path = at_path("namespace_net.socket"), any = loopback(AF_INET, 0);
	int outer = CHECK_OK(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)), pair[2];
	int server4 = server(&v4), server6 = server(&v6), named = server(&name), file = server(&path);
	char c = 0;
	ino_t first = number();

	CHECK_EQ(ioctl(outer, NS_GET_NSTYPE), CLONE_NEWNET);
	CHECK_EQ(lo_flags() & (IFF_UP | IFF_LOOPBACK), IFF_UP | IFF_LOOPBACK);
	CHECK_EQ(try(&v4), 0);
	CHECK_EQ(try(&name), 0);
	int before = CHECK_OK(socket(AF_INET, SOCK_STREAM, 0));
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	CHECK_OK(unshare(CLONE_NEWNET));
	CHECK(number() != first);
	nothing_answers(&v4, &v6);
	CHECK(!in_table("/proc/net/tcp", &v4));
	CHECK(!strstr(check_read_file("/proc/net/unix"), "@namespace_net"));
	CHECK_EQ(try(&name), ECONNREFUSED);
	CHECK_EQ(try(&path), 0); // files are names for all
	int named_inside = server(&name);
	CHECK_EQ(try(&name), 0);
	CHECK(strstr(check_read_file("/proc/net/unix"), "@namespace_net"));
	any.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = v4.in.sin_port };
	int inside = server(&any); // nobody has the port here
	CHECK(in_table("/proc/net/tcp", &v4));

	CHECK_OK(lo_set(true));
	CHECK_EQ(lo_flags() & (IFF_UP | IFF_LOOPBACK), IFF_UP | IFF_LOOPBACK);
	CHECK_EQ(addresses(AF_INET), 1);
	CHECK_EQ(addresses(AF_INET6), 1);
	CHECK_EQ(try(&v4), 0);
	CHECK_EQ(try(&v6), ECONNREFUSED);
	int inside6 = server(&v6);
	CHECK_EQ(try(&v6), 0);
	CHECK_OK(accept(inside, NULL, NULL));

	// A socket stays where it was made.
	CHECK_OK(connect(before, &v4.any, v4.size));
	int accepted = CHECK_OK(accept(server4, NULL, NULL)); // that of the first try
	CHECK_EQ(read(accepted, &c, 1), 0);
	close(accepted);
	accepted = CHECK_OK(accept(server4, NULL, NULL));
	CHECK_EQ(write(before, "y", 1), 1);
	CHECK_EQ(read(accepted, &c, 1), 1);
	CHECK_EQ(c, 'y');
	CHECK_EQ(write(pair[0], "z", 1), 1);
	CHECK_EQ(read(pair[1], &c, 1), 1);
	int space = CHECK_OK(ioctl(before, SIOCGSKNS));
	struct stat st;
	CHECK_OK(fstat(space, &st));
	CHECK_EQ(st.st_ino, first);
	close(space);

	CHECK_OK(lo_set(false));
	CHECK_EQ(lo_flags() & IFF_UP, 0);
	CHECK_EQ(addresses(AF_INET6), 0);
	CHECK_OK(setns(outer, CLONE_NEWNET));
	CHECK_EQ(number(), first);
	CHECK_EQ(lo_flags() & IFF_UP, IFF_UP);
	CHECK_EQ(try(&v4), 0);
	CHECK_EQ(try(&name), 0);
	CHECK_EQ(try_bind(&v4, SOCK_STREAM), EADDRINUSE);
	close(inside);
	close(inside6);
	close(named_inside);
	close(accepted);
	close(before);
	close(server4);
	close(server6);
	close(named);
	close(file);
	close(outer);
	CHECK_OK(unlink("namespace_net.socket"));
}

// ---- rtnetlink ----

struct request {
	struct nlmsghdr head;
	union {
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct rtgenmsg any;
	};
	char attributes[64];
};

static void attribute(struct request *r, unsigned short type, const void *data, unsigned short size)
{
	struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(size);
	memcpy(RTA_DATA(a), data, size);
	r->head.nlmsg_len = NLMSG_ALIGN(r->head.nlmsg_len) + RTA_LENGTH(size);
}

// What an acknowledged request is answered: 0 or an error number.
static int ask(int fd, struct request *r)
{
	union {
		struct nlmsghdr head;
		char bytes[4096];
	} answer;

	r->head.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	CHECK_EQ(send(fd, r, r->head.nlmsg_len, 0), r->head.nlmsg_len);
	if (CHECK_OK(recv(fd, &answer, sizeof(answer), 0)) < (int)NLMSG_LENGTH(sizeof(struct nlmsgerr)))
		return EPROTO;
	CHECK_EQ(answer.head.nlmsg_type, NLMSG_ERROR);
	return -((struct nlmsgerr *)NLMSG_DATA(&answer.head))->error;
}

static int give_address(int fd, uint32_t address)
{
	struct request r = { .head = { NLMSG_LENGTH(sizeof(r.address)), RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, 1, 0 },
			     .address = { AF_INET, 8, IFA_F_PERMANENT, RT_SCOPE_HOST, 1 } };

	attribute(&r, IFA_LOCAL, &address, sizeof(address));
	attribute(&r, IFA_ADDRESS, &address, sizeof(address));
	return ask(fd, &r);
}

static int set_link(int fd, uint16_t type, int index, const char *name, unsigned flags, unsigned change)
{
	struct request r = { .head = { NLMSG_LENGTH(sizeof(r.link)), type, 0, 2, 0 },
			     .link = { .ifi_index = index, .ifi_flags = flags, .ifi_change = change } };

	if (name)
		attribute(&r, IFLA_IFNAME, name, (unsigned short)(strlen(name) + 1));
	return ask(fd, &r);
}

// The number that a namespace has here: that, or the negative error number.
static int number_here(int fd, unsigned short type, int32_t value)
{
	struct request r = { .head = { NLMSG_LENGTH(sizeof(r.any)), RTM_GETNSID, NLM_F_REQUEST, 3, 0 } };
	struct request answer = { 0 };

	attribute(&r, type, &value, sizeof(value));
	CHECK_EQ(send(fd, &r, r.head.nlmsg_len, 0), r.head.nlmsg_len);
	CHECK(CHECK_OK(recv(fd, &answer, sizeof(answer), 0)) >= (int)NLMSG_LENGTH(sizeof(answer.any)));
	CHECK_EQ(answer.head.nlmsg_seq, 3);
	if (answer.head.nlmsg_type == NLMSG_ERROR)
		return ((struct nlmsgerr *)NLMSG_DATA(&answer.head))->error;
	CHECK_EQ(answer.head.nlmsg_type, RTM_NEWNSID);
	const struct rtattr *a = (void *)((char *)NLMSG_DATA(&answer.head) + NLMSG_ALIGN(sizeof(answer.any)));
	CHECK_EQ(a->rta_type, NETNSA_NSID);
	CHECK_EQ(a->rta_len, RTA_LENGTH(sizeof(value)));
	memcpy(&value, RTA_DATA(a), sizeof(value));
	return value;
}

static void numbers(void)
{
	int outer = CHECK_OK(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	int uts = CHECK_OK(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC));

	CHECK_OK(unshare(CLONE_NEWNET));
	int fd = CHECK_OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	CHECK_EQ(number_here(fd, NETNSA_FD, outer), NETNSA_NSID_NOT_ASSIGNED);
	CHECK_EQ(number_here(fd, NETNSA_PID, getpid()), NETNSA_NSID_NOT_ASSIGNED);
	CHECK_EQ(number_here(fd, NETNSA_FD, 999), -EBADF);
	CHECK_EQ(number_here(fd, NETNSA_FD, fd), -EINVAL);
	CHECK_EQ(number_here(fd, NETNSA_FD, uts), -EINVAL);
	CHECK_EQ(number_here(fd, NETNSA_PID, 1 << 30), -ESRCH);
	CHECK_EQ(number_here(fd, 99, 0), -EINVAL);
	close(fd);
}

static void by_netlink(void)
{
	CHECK_OK(unshare(CLONE_NEWNET));
	int fd = CHECK_OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	struct address a = loopback(AF_INET, 1);

	CHECK_EQ(give_address(fd, htonl(INADDR_LOOPBACK)), 0);
	CHECK_EQ(give_address(fd, htonl(INADDR_LOOPBACK)), EEXIST);
	CHECK_EQ(addresses(AF_INET), 1);
	CHECK_EQ(set_link(fd, RTM_NEWLINK, 0, NULL, 0, 0), ENODEV);
	CHECK_EQ(set_link(fd, RTM_NEWLINK, 7, NULL, IFF_UP, IFF_UP), ENODEV);
	CHECK_EQ(set_link(fd, RTM_NEWLINK, 0, "eth7", IFF_UP, IFF_UP), ENODEV);
	CHECK_EQ(lo_flags() & IFF_UP, 0);
	CHECK_EQ(set_link(fd, RTM_NEWLINK, 1, NULL, IFF_UP, 0), 0);
	CHECK_EQ(lo_flags() & IFF_UP, IFF_UP);
	CHECK_EQ(try(&a), ECONNREFUSED);
	CHECK_EQ(set_link(fd, RTM_SETLINK, 1, NULL, 0, IFF_UP), 0);
	CHECK_EQ(lo_flags() & IFF_UP, 0);
	CHECK_EQ(set_link(fd, RTM_NEWLINK, 0, "lo", IFF_UP, IFF_UP), 0);
	CHECK_EQ(lo_flags() & IFF_UP, IFF_UP);
	CHECK_EQ(set_link(fd, RTM_NEWLINK, 1, NULL, 0, IFF_PROMISC), 0); // what does not change
	CHECK_EQ(lo_flags() & IFF_UP, IFF_UP);
	CHECK_OK(setuid(12345));
	CHECK_EQ(set_link(fd, RTM_NEWLINK, 1, NULL, 0, IFF_UP), EPERM);
	CHECK_EQ(give_address(fd, htonl(INADDR_LOOPBACK + 1)), EPERM);
	CHECK_ERR(lo_set(false), EPERM);
	CHECK_ERR(ioctl(fd, SIOCGSKNS), EPERM);
	CHECK_EQ(lo_flags() & IFF_UP, IFF_UP);
	close(fd);
}

// Events of devices: there are none to come.
static void device_events(void)
{
	struct sockaddr_nl name = { .nl_family = AF_NETLINK, .nl_groups = 1 }, got = { 0 };
	socklen_t size = sizeof(got);
	char event[256];

	CHECK_OK(unshare(CLONE_NEWUSER | CLONE_NEWNET));
	int fd = CHECK_OK(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT));
	CHECK_OK(bind(fd, (struct sockaddr *)&name, sizeof(name)));
	CHECK_OK(getsockname(fd, (struct sockaddr *)&got, &size));
	CHECK_EQ(got.nl_groups, 1);
	CHECK_EQ(got.nl_pid, getpid());
	CHECK_ERR(recv(fd, event, sizeof(event), 0), EAGAIN);
	close(fd);
}

// ---- rights ----

static void of_an_ordinary_user(void)
{
	struct address low = { .in = { .sin_family = AF_INET, .sin_port = htons(81) }, .size = sizeof(low.in) };

	CHECK_OK(setgid(12345));
	CHECK_OK(setuid(12345));
	int outer = CHECK_OK(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	int netlink = CHECK_OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
	CHECK_ERR(unshare(CLONE_NEWNET), EPERM);
	CHECK_ERR(syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0), EPERM);
	CHECK_ERR(setns(outer, 0), EPERM);
	CHECK_OK(unshare(CLONE_NEWUSER));
	CHECK_ERR(lo_set(true), EPERM); // root of another user namespace
	CHECK_EQ(set_link(netlink, RTM_NEWLINK, 1, NULL, IFF_UP, IFF_UP), EPERM);
	CHECK_OK(unshare(CLONE_NEWNET));
	CHECK_EQ(set_link(netlink, RTM_NEWLINK, 1, NULL, IFF_UP, IFF_UP), EPERM); // that of the old one
	CHECK_EQ(try_bind(&low, SOCK_STREAM), 0);
	CHECK_OK(lo_set(true));
	CHECK_EQ(addresses(AF_INET), 1);
	CHECK_ERR(setns(outer, 0), EPERM);
	int inner = CHECK_OK(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	int user = CHECK_OK(ioctl(inner, NS_GET_USERNS));
	struct stat st;
	CHECK_OK(fstat(user, &st));
	CHECK_EQ(st.st_ino, number_of("/proc/self/ns/user"));
	CHECK_ERR(ioctl(outer, NS_GET_USERNS), EPERM);
	CHECK_ERR(ioctl(inner, NS_GET_PARENT), EINVAL);
}

static void together(void)
{
	ino_t first = number();

	CHECK_OK(setgid(12345));
	CHECK_OK(setuid(12345));
	CHECK_OK(unshare(CLONE_NEWUSER | CLONE_NEWNET));
	CHECK(number() != first);
	CHECK_OK(lo_set(true));
}

static void limit(void)
{
	CHECK_OK(unshare(CLONE_NEWUSER));
	int fd = CHECK_OK(open("/proc/self/uid_map", O_WRONLY));
	CHECK_EQ(write(fd, "0 0 1", 5), 5);
	close(fd);
	fd = CHECK_OK(open("/proc/sys/user/max_net_namespaces", O_WRONLY));
	CHECK_EQ(write(fd, "1", 1), 1);
	close(fd);
	CHECK_OK(unshare(CLONE_NEWNET));
	CHECK_ERR(unshare(CLONE_NEWNET), ENOSPC);
}

// ---- who keeps one ----

static void a_mount_keeps_it(void)
{
	char path[] = "namespace_net.mount";
	int outer = CHECK_OK(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));

	CHECK_OK(unshare(CLONE_NEWNS));
	CHECK_OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	close(CHECK_OK(creat(path, 0600)));
	CHECK_OK(unshare(CLONE_NEWNET));
	ino_t inner = number();
	CHECK_OK(lo_set(true));
	CHECK_OK(mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL));
	CHECK_OK(setns(outer, CLONE_NEWNET));
	int fd = CHECK_OK(open(path, O_RDONLY | O_CLOEXEC));
	CHECK_OK(setns(fd, CLONE_NEWNET));
	close(fd);
	CHECK_EQ(number(), inner);
	CHECK_EQ(lo_flags() & IFF_UP, IFF_UP);
	CHECK_OK(setns(outer, CLONE_NEWNET));
	CHECK_OK(umount(path));
	CHECK_OK(unlink(path));
	close(outer);
}

static void a_socket_keeps_it(void)
{
	int outer = CHECK_OK(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	struct address a = loopback(AF_INET, 0);

	CHECK_OK(unshare(CLONE_NEWNET));
	CHECK_OK(lo_set(true));
	int listening = server(&a), client = CHECK_OK(socket(AF_INET, SOCK_STREAM, 0));
	CHECK_OK(setns(outer, CLONE_NEWNET));
	CHECK_OK(connect(client, &a.any, a.size));
	int accepted = CHECK_OK(accept(listening, NULL, NULL));
	CHECK_EQ(write(client, "x", 1), 1);
	char c;
	CHECK_EQ(read(accepted, &c, 1), 1);
	int space = CHECK_OK(ioctl(accepted, SIOCGSKNS));
	close(client);
	close(accepted);
	close(listening);
	CHECK_OK(setns(space, CLONE_NEWNET));
	CHECK_EQ(lo_flags() & IFF_UP, IFF_UP);
	CHECK_OK(setns(outer, CLONE_NEWNET));
	close(space);
	close(outer);
}

// ---- sockets on their way ----

union rights {
	char buffer[CMSG_SPACE(3 * sizeof(int))];
	struct cmsghdr align;
};

static void send_fds(int to, const int *fds, unsigned count)
{
	union rights c = { 0 };
	struct iovec i = { "x", 1 };
	struct msghdr m = {
		.msg_iov = &i, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = CMSG_SPACE(count * sizeof(int))
	};

	*CMSG_FIRSTHDR(&m) = (struct cmsghdr){ CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, count * sizeof(int));
	CHECK_EQ(sendmsg(to, &m, 0), 1);
}

static void receive_fds(int from, int *fds, unsigned count)
{
	union rights c = { 0 };
	char byte;
	struct iovec i = { &byte, 1 };
	struct msghdr m = { .msg_iov = &i, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };

	CHECK_EQ(recvmsg(from, &m, 0), 1);
	if (CHECK(CMSG_FIRSTHDR(&m) && CMSG_FIRSTHDR(&m)->cmsg_len == CMSG_LEN(count * sizeof(int))))
		memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&m)), count * sizeof(int));
}

// A child leaves a new namespace to the sockets it sends, and to a file that stands for it, and is gone.
static void sent_by_the_last(int to, struct address *a)
{
	pid_t pid = CHECK_OK(fork());

	if (!pid) {
		CHECK_OK(unshare(CLONE_NEWNET));
		CHECK_OK(lo_set(true));
		int fds[] = { server(a), CHECK_OK(socket(AF_INET, SOCK_STREAM, 0)),
			      CHECK_OK(open("/proc/self/ns/net", O_RDONLY)) };
		send_fds(to, fds, 3);
		CHECK_EQ(write(to, a, sizeof(*a)), sizeof(*a));
		check_child_exit();
	}
	CHECK_EQ(check_wait(pid), 0);
}

static void in_flight(void)
{
	struct address a = loopback(AF_INET, 0);
	int pair[2], fds[3];
	char c = 0;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	sent_by_the_last(pair[1], &a);
	receive_fds(pair[0], fds, 3);
	CHECK_EQ(read(pair[0], &a, sizeof(a)), sizeof(a));
	CHECK_EQ(try(&a), ECONNREFUSED); // not here
	CHECK_OK(connect(fds[1], &a.any, a.size));
	int accepted = CHECK_OK(accept(fds[0], NULL, NULL));
	CHECK_EQ(write(fds[1], "x", 1), 1);
	CHECK_EQ(read(accepted, &c, 1), 1);
	close(fds[0]);
	close(fds[1]);
	int space = CHECK_OK(ioctl(accepted, SIOCGSKNS));
	struct stat of_socket, sent;
	CHECK_OK(fstat(space, &of_socket));
	CHECK_OK(fstat(fds[2], &sent));
	CHECK_EQ(of_socket.st_ino, sent.st_ino);
	close(space);
	close(fds[2]);
	close(accepted);
	sent_by_the_last(pair[1], &a); // nobody ever takes these
	close(pair[0]);
	close(pair[1]);
}

static void by_process(void)
{
	int go[2];
	char path[64];
	struct address a = loopback(AF_INET, 0);

	CHECK_OK(pipe(go));
	pid_t pid = CHECK_OK(syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0));
	if (!pid) {
		CHECK_OK(lo_set(true));
		(void)server(&a);
		CHECK_EQ(write(go[1], &a.in.sin_port, 2), 2);
		pause();
		_exit(1);
	}
	CHECK_EQ(read(go[0], &a.in.sin_port, 2), 2);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	CHECK(number_of(path) != number());
	snprintf(path, sizeof(path), "/proc/%d/net/tcp", pid); // shows that process's
	CHECK(in_table(path, &a));
	CHECK(!in_table("/proc/net/tcp", &a));
	int pidfd = CHECK_OK(syscall(SYS_pidfd_open, pid, 0));
	CHECK_OK(setns(pidfd, CLONE_NEWNET));
	CHECK_EQ(try(&a), 0);
	CHECK_OK(kill(pid, SIGKILL));
	CHECK_OK(waitpid(pid, NULL, 0));
	CHECK_EQ(try(&a), ECONNREFUSED);
	CHECK_EQ(lo_flags() & IFF_UP, IFF_UP);
	close(pidfd);
}

int main(void)
{
	if (geteuid())
		CHECK_SKIP("not root");
	check_tmpdir();
	CHECK_CHILD(separate);
	CHECK_CHILD(by_netlink);
	CHECK_CHILD(numbers);
	CHECK_CHILD(device_events);
	CHECK_CHILD(of_an_ordinary_user);
	CHECK_CHILD(together);
	CHECK_CHILD(limit);
	CHECK_CHILD(a_mount_keeps_it);
	CHECK_CHILD(a_socket_keeps_it);
	CHECK_CHILD(in_flight);
	CHECK_CHILD(by_process);
	return check_done();
}
