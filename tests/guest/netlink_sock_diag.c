// SPDX-License-Identifier: Apache-2.0
// Does NETLINK_SOCK_DIAG list sockets as ss(8) asks for them: internet and unix, by state, with names, queues, peers and inodes?
#include "check.h"
#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ALL_STATES 0xfff
#define TCP_ESTAB  1
#define TCP_CLOSED 7
#define TCP_LISTEN 10

static uint32_t inode_of(int fd)
{
	struct stat st = { 0 };

	CHECK_OK(fstat(fd, &st));
	return (uint32_t)st.st_ino;
}

static char found[1024]; // the message about the socket that was looked for
static unsigned listed;

// Takes one answer in. True: it was the last.
static bool take(const char *data, size_t size, uint32_t inode, int *error)
{
	for (const struct nlmsghdr *h = (const void *)data; NLMSG_OK(h, size); h = NLMSG_NEXT(h, size)) {
		const struct inet_diag_msg *i = NLMSG_DATA(h);
		const struct unix_diag_msg *u = NLMSG_DATA(h);
		CHECK_EQ(h->nlmsg_seq, 77);
		if (h->nlmsg_type == NLMSG_DONE)
			return true;
		if (h->nlmsg_type == NLMSG_ERROR) {
			*error = ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
			return true;
		}
		CHECK_EQ(h->nlmsg_type, SOCK_DIAG_BY_FAMILY);
		CHECK(h->nlmsg_flags & NLM_F_MULTI);
		listed++;
		if ((i->idiag_family == AF_UNIX ? u->udiag_ino : i->idiag_inode) == inode &&
		    h->nlmsg_len <= sizeof(found))
			memcpy(found, h, h->nlmsg_len);
	}
	return false;
}

// Asks for a list and keeps what it says of the socket with that inode in `found`. 0 or the error answered.
static int ask(const void *request, size_t size, uint32_t inode)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct nlmsghdr head = { .nlmsg_len = (uint32_t)(sizeof(head) + size),
				 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
				 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
				 .nlmsg_seq = 77 };
	struct iovec parts[2] = { { &head, sizeof(head) }, { (void *)request, size } };
	struct msghdr m = { .msg_name = &kernel, .msg_namelen = sizeof(kernel), .msg_iov = parts, .msg_iovlen = 2 };
	static char buffer[65536];
	int error = 0, fd = (int)CHECK_OK(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
	ssize_t got;

	memset(found, 0, sizeof(found));
	listed = 0;
	CHECK_OK(sendmsg(fd, &m, 0));
	do
		got = CHECK_OK(recv(fd, buffer, sizeof(buffer), 0));
	while (got > 0 && !take(buffer, (size_t)got, inode, &error));
	close(fd);
	return error;
}

static const struct inet_diag_msg *internet(int domain, int protocol, unsigned states, int fd)
{
	struct inet_diag_req_v2 q = { .sdiag_family = (uint8_t)domain,
				      .sdiag_protocol = (uint8_t)protocol,
				      .idiag_states = states };

	CHECK_EQ(ask(&q, sizeof(q), inode_of(fd)), 0);
	return found[0] ? NLMSG_DATA((struct nlmsghdr *)found) : NULL;
}

static const struct unix_diag_msg *local(unsigned states, int fd)
{
	struct unix_diag_req q = { .sdiag_family = AF_UNIX,
				   .udiag_states = states,
				   .udiag_show =
					   UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN };

	CHECK_EQ(ask(&q, sizeof(q), inode_of(fd)), 0);
	return found[0] ? NLMSG_DATA((struct nlmsghdr *)found) : NULL;
}

// An attribute of what was found, behind a message of `body` bytes.
static const void *attribute(size_t body, unsigned type, size_t *size)
{
	const struct nlmsghdr *h = (const void *)found;
	size_t left = h->nlmsg_len - NLMSG_LENGTH(0) - NLMSG_ALIGN(body);

	for (const struct rtattr *a = (const void *)((const char *)NLMSG_DATA(h) + NLMSG_ALIGN(body)); RTA_OK(a, left);
	     a = RTA_NEXT(a, left))
		if (a->rta_type == type) {
			*size = RTA_PAYLOAD(a);
			return RTA_DATA(a);
		}
	return NULL;
}

static void internet_sockets(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof(a);
	int server = (int)CHECK_OK(socket(AF_INET, SOCK_STREAM, 0)),
	    client = (int)CHECK_OK(socket(AF_INET, SOCK_STREAM, 0));
	int waiting = (int)CHECK_OK(socket(AF_INET, SOCK_STREAM, 0)),
	    datagram = (int)CHECK_OK(socket(AF_INET6, SOCK_DGRAM, 0));
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };

	CHECK_OK(bind(server, (void *)&a, sizeof(a)));
	CHECK_OK(getsockname(server, (void *)&a, &size));
	CHECK_OK(listen(server, 5));
	CHECK_OK(connect(client, (void *)&a, sizeof(a)));
	int child = (int)CHECK_OK(accept(server, NULL, NULL));
	CHECK_OK(connect(waiting, (void *)&a, sizeof(a)));
	CHECK_EQ(send(client, "hello", 5, 0), 5);
	CHECK_OK(bind(datagram, (void *)&six, sizeof(six)));

	const struct inet_diag_msg *m = internet(AF_INET, IPPROTO_TCP, ALL_STATES, server);
	if (CHECK(m != NULL)) {
		CHECK_EQ(m->idiag_state, TCP_LISTEN);
		CHECK_EQ(m->id.idiag_sport, a.sin_port);
		CHECK_EQ(m->id.idiag_src[0], a.sin_addr.s_addr);
		CHECK_EQ(m->id.idiag_dport, 0);
		CHECK_EQ(m->idiag_uid, getuid());
		CHECK_EQ(m->idiag_rqueue, 1);
		CHECK_EQ(m->idiag_wqueue, 5);
	}
	m = internet(AF_INET, IPPROTO_TCP, ALL_STATES, child);
	if (CHECK(m != NULL)) {
		CHECK_EQ(m->idiag_state, TCP_ESTAB);
		CHECK_EQ(m->id.idiag_sport, a.sin_port);
		CHECK_EQ(m->idiag_rqueue, 5);
	}
	m = internet(AF_INET, IPPROTO_TCP, 1 << TCP_ESTAB, client);
	CHECK(m && m->id.idiag_dport == a.sin_port);
	CHECK(!internet(AF_INET, IPPROTO_TCP, 1 << TCP_ESTAB, server)); // not in that state
	CHECK(!internet(AF_INET6, IPPROTO_TCP, ALL_STATES, client));    // nor in that family
	m = internet(AF_INET6, IPPROTO_UDP, ALL_STATES, datagram);
	if (CHECK(m != NULL)) {
		size_t bytes;
		CHECK_EQ(m->idiag_state, TCP_CLOSED);
		CHECK_EQ(memcmp(m->id.idiag_src, &six.sin6_addr, 16), 0);
		CHECK(m->id.idiag_sport != 0);
		const uint8_t *only = attribute(sizeof(*m), INET_DIAG_SKV6ONLY, &bytes);
		CHECK(only && bytes == 1 && *only == 1); // bound to an address of IPv6's own
	}
}

static void unix_sockets(void)
{
	int pair[2], server = (int)CHECK_OK(socket(AF_UNIX, SOCK_STREAM, 0));
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "name" };
	struct stat st;
	size_t size = 0;

	CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	CHECK_OK(bind(server, (void *)&a, sizeof(a)));
	CHECK_OK(listen(server, 7));
	CHECK_OK(stat("name", &st));
	const struct unix_diag_msg *m = local(ALL_STATES, server);
	if (CHECK(m != NULL)) {
		CHECK_EQ(m->udiag_type, SOCK_STREAM);
		CHECK_EQ(m->udiag_state, TCP_LISTEN);
		const char *name = attribute(sizeof(*m), UNIX_DIAG_NAME, &size);
		CHECK(name && size >= 4 && memcmp(name, "name", 4) == 0);
		const struct unix_diag_vfs *vfs = attribute(sizeof(*m), UNIX_DIAG_VFS, &size);
		CHECK(vfs && vfs->udiag_vfs_ino == (uint32_t)st.st_ino);
		const struct unix_diag_rqlen *length = attribute(sizeof(*m), UNIX_DIAG_RQLEN, &size);
		CHECK(length && length->udiag_rqueue == 0 && length->udiag_wqueue == 7);
	}
	CHECK(!local(1 << TCP_ESTAB, server));
	m = local(1 << TCP_ESTAB, pair[0]);
	if (CHECK(m != NULL)) {
		CHECK_EQ(m->udiag_type, SOCK_DGRAM);
		const uint32_t *peer = attribute(sizeof(*m), UNIX_DIAG_PEER, &size);
		CHECK(peer && *peer == inode_of(pair[1]));
		CHECK(!attribute(sizeof(*m), UNIX_DIAG_NAME, &size));
	}
}

// More than one answer holds.
static void very_many(void)
{
	int pairs[200][2];

	for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++)
		CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]));
	CHECK(local(ALL_STATES, pairs[ARRAY_SIZE(pairs) - 1][1]));
	CHECK(listed >= 2 * ARRAY_SIZE(pairs));
}

static void refusals(void)
{
	struct unix_diag_req short_one = { .sdiag_family = AF_UNIX };
	struct inet_diag_req_v2 odd = { .sdiag_family = 200 }, unlisted = { .sdiag_family = AF_ROSE };

	CHECK_EQ(ask(&short_one, 2, 0), -EINVAL);
	CHECK_EQ(ask(&odd, sizeof(odd), 0), -EINVAL); // no such family at all
	CHECK_EQ(ask(&unlisted, sizeof(unlisted), 0), -ENOENT);
}

int main(void)
{
	check_tmpdir();
	CHECK_CHILD(internet_sockets);
	CHECK_CHILD(unix_sockets);
	CHECK_CHILD(very_many);
	CHECK_CHILD(refusals);
	return check_done();
}
