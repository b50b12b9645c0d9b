// SPDX-License-Identifier: Apache-2.0
// Do datagram sockets of ICMP hear from the loopback interface what they ask it, and nothing else?
#include "check.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

struct request {
	uint8_t type, code;
	uint16_t checksum, id, sequence;
	char data[17]; // an odd number of bytes
};

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static union address at(int domain, const char *text)
{
	union address a = { .any.sa_family = (sa_family_t)domain };

	CHECK_EQ(inet_pton(domain, text, domain == AF_INET ? (void *)&a.in.sin_addr : &a.in6.sin6_addr), 1);
	return a;
}

static int icmp(int domain)
{
	return CHECK_OK(socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, domain == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6));
}

static uint16_t sum(const struct request *r, size_t size, uint32_t start)
{
	uint16_t words[sizeof(*r) / 2 + 1] = { 0 };

	memcpy(words, r, size);
	for (size_t i = 0; i < (size + 1) / 2; i++)
		start += words[i];
	while (start >> 16)
		start = (start & 0xffff) + (start >> 16);
	return (uint16_t)start;
}

static unsigned identifier(int fd)
{
	union address a;
	socklen_t size = sizeof(a);

	CHECK_OK(getsockname(fd, &a.any, &size));
	return ntohs(a.in.sin_port);
}

static void expect_reply(int fd, int domain, const struct request *sent, size_t size, const char *from)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct request r = { 0 };
	union address a = { 0 }, expected = at(domain, from);
	socklen_t address_size = sizeof(a);
	bool v4 = domain == AF_INET;

	CHECK_EQ(poll(&p, 1, 5000), 1);
	CHECK_EQ(recvfrom(fd, &r, sizeof(r), MSG_DONTWAIT, &a.any, &address_size), (ssize_t)size);
	CHECK_EQ(r.type, v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY);
	CHECK_EQ(r.code, 0);
	CHECK_EQ(ntohs(r.id), identifier(fd));
	CHECK_EQ(r.sequence, sent->sequence);
	CHECK(!memcmp(r.data, sent->data, size - offsetof(struct request, data)));
	CHECK_EQ(sum(&r, size, v4 ? 0 : 2 * htons(1) + htons((uint16_t)size) + htons(IPPROTO_ICMPV6)), 0xffff);
	CHECK_EQ(a.any.sa_family, domain);
	CHECK_EQ(a.in.sin_port, 0);
	CHECK(v4 ? a.in.sin_addr.s_addr == expected.in.sin_addr.s_addr
		 : !memcmp(&a.in6.sin6_addr, &expected.in6.sin6_addr, 16));
}

static void expect_nothing(int fd)
{
	char byte;

	CHECK_ERR(recv(fd, &byte, 1, MSG_DONTWAIT), EAGAIN);
}

static void exchange(int domain, const char *where)
{
	struct request r = { .type = domain == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST,
			     .sequence = htons(7),
			     .data = "sixteen of them!" };
	union address a = at(domain, where);
	int fd = icmp(domain), other = icmp(domain);
	size_t header = offsetof(struct request, data);

	CHECK_ERR(send(fd, &r, sizeof(r), 0), EDESTADDRREQ);
	CHECK(identifier(fd) != 0); // it has one from then on
	CHECK_EQ(sendto(other, &r, header, 0, &a.any, sizeof(a)), (ssize_t)header);
	expect_reply(other, domain, &r, header, where);
	CHECK_EQ(sendto(fd, &r, header + 17, 0, &a.any, sizeof(a)), (ssize_t)header + 17);
	expect_reply(fd, domain, &r, header + 17, where);
	expect_nothing(other);
	expect_nothing(fd);
	CHECK_ERR(sendto(fd, &r, header - 1, 0, &a.any, sizeof(a)), EINVAL);
	CHECK_ERR(sendto(fd, &r, header, MSG_OOB, &a.any, sizeof(a)), EOPNOTSUPP);
	r.code = 1;
	CHECK_ERR(sendto(fd, &r, header, 0, &a.any, sizeof(a)), EINVAL);
	r.code = 0;
	r.type = domain == AF_INET ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
	CHECK_ERR(sendto(fd, &r, header, 0, &a.any, sizeof(a)), EINVAL);
	r.type = domain == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	CHECK_OK(connect(fd, &a.any, sizeof(a)));
	CHECK_EQ(send(fd, &r, header, 0), (ssize_t)header);
	expect_reply(fd, domain, &r, header, where);
	close(fd);
	close(other);
}

// How far the answer may still go is told to who wants to know.
static void hops(int domain, const char *where)
{
	struct request r = { .type = domain == AF_INET ? ICMP_ECHO : ICMP6_ECHO_REQUEST };
	union address a = at(domain, where);
	char control[64];
	struct iovec iov = { &r, sizeof(r) };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	int fd = icmp(domain), on = 1, got = 0;
	bool v4 = domain == AF_INET;

	CHECK_OK(setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVTTL : IPV6_RECVHOPLIMIT, &on, sizeof(on)));
	CHECK_EQ(sendto(fd, &r, 8, 0, &a.any, sizeof(a)), 8);
	CHECK_EQ(recvmsg(fd, &m, 0), 8);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (CHECK(c != NULL)) {
		CHECK_EQ(c->cmsg_level, v4 ? IPPROTO_IP : IPPROTO_IPV6);
		CHECK_EQ(c->cmsg_type, v4 ? IP_TTL : IPV6_HOPLIMIT);
		CHECK_EQ(c->cmsg_len, CMSG_LEN(sizeof(got)));
		memcpy(&got, CMSG_DATA(c), sizeof(got));
		CHECK_EQ(got, 64);
	}
	close(fd);
}

static void elsewhere(void)
{
	struct request r = { .type = ICMP_ECHO };
	union address far = at(AF_INET, "10.1.2.3"), a = at(AF_INET, "127.0.0.5"), b = at(AF_INET, "127.0.0.6"),
		      v6 = at(AF_INET6, "::1");
	int fd = icmp(AF_INET);

	CHECK_ERR(sendto(fd, &r, 8, 0, &far.any, sizeof(far)), ENETUNREACH);
	CHECK_ERR(sendto(fd, &r, 8, 0, &v6.any, sizeof(v6)), EAFNOSUPPORT);
	CHECK_ERR(bind(fd, &far.any, sizeof(far)), EADDRNOTAVAIL);
	CHECK_OK(connect(fd, &a.any, sizeof(a)));
	CHECK_EQ(sendto(fd, &r, 8, 0, &b.any, sizeof(b)), 8); // somebody else's answer is heard, too
	expect_reply(fd, AF_INET, &r, 8, "127.0.0.6");
	CHECK_EQ(send(fd, &r, 8, 0), 8);
	expect_reply(fd, AF_INET, &r, 8, "127.0.0.5");
	close(fd);
}

// Identifiers are not ports of UDP, and one may be chosen.
static void identifiers(void)
{
	union address a = at(AF_INET, "127.0.0.1");
	int fd = icmp(AF_INET), other = icmp(AF_INET), udp = CHECK_OK(socket(AF_INET, SOCK_DGRAM, 0));

	a.in.sin_port = htons(4321);
	CHECK_OK(bind(udp, &a.any, sizeof(a.in)));
	CHECK_OK(bind(fd, &a.any, sizeof(a.in)));
	CHECK_EQ(identifier(fd), 4321);
	a.in.sin_port = htons(77);
	CHECK_OK(bind(other, &a.any, sizeof(a.in)));
	CHECK(strstr(check_read_file("/proc/net/udp"), ":10E1 "));
	CHECK(!strstr(check_read_file("/proc/net/udp"), ":004D "));
	a.in.sin_port = htons(4321);
	CHECK_EQ(sendto(udp, "\10\0\0\0\0\0\0\0", 8, 0, &a.any, sizeof(a.in)),
		 8); // to itself, not to who has the identifier
	expect_nothing(fd);
	int shared = icmp(AF_INET);
	CHECK_OK(bind(shared, &a.any, sizeof(a.in)));
	CHECK_EQ(identifier(shared), 4321);
	close(shared);
	close(fd);
	close(other);
	close(udp);
}

static void protocols(void)
{
	CHECK_ERR(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6), EPROTONOSUPPORT);
	CHECK_ERR(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMP), EPROTONOSUPPORT);
	CHECK_ERR(socket(AF_INET, SOCK_STREAM, IPPROTO_ICMP), EPROTONOSUPPORT);
}

// A namespace with a loopback interface, where who asks may have such sockets.
static bool prepare(void)
{
	static const char everybody[] = "0 2147483647";
	struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	if (geteuid() || unshare(CLONE_NEWNET) < 0)
		return false;
	int fd = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, everybody, strlen(everybody)) < 0)
		return false;
	close(fd);
	fd = icmp(AF_INET);
	struct request q = { .type = ICMP_ECHO };
	union address a = at(AF_INET, "127.0.0.1");
	CHECK_ERR(sendto(fd, &q, 8, 0, &a.any, sizeof(a.in)), ENETUNREACH);
	CHECK_OK(ioctl(fd, SIOCSIFFLAGS, &r));
	close(fd);
	return true;
}

int main(void)
{
	if (!prepare())
		CHECK_SKIP("no network namespace of our own");
	exchange(AF_INET, "127.0.0.1");
	exchange(AF_INET, "127.1.2.3");
	exchange(AF_INET6, "::1");
	hops(AF_INET, "127.0.0.1");
	hops(AF_INET6, "::1");
	elsewhere();
	identifiers();
	protocols();
	return check_done();
}
